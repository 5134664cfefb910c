//! A turn of the driver.

#[cfg(any(test, feature = "sim"))]
use super::Bug;
use super::outputs::Outputs;
use super::stages::Stages;
use super::time::Time;
use super::{Clock, Fatal, Log, Network, Views, World};
use crate::proto::Zxid;
use crate::replica::{Asker, Deltas, Now, Replica};
use crate::storage::Done;
use crate::wal::Position;
use std::collections::VecDeque;
use std::sync::Arc;

/// How often time passes for a replica, in microseconds.
pub const TICK_US: i64 = 20_000;

/// Groups that a view has not taken in yet at which no more is made: a slow one holds all up, and the
/// memory stays small.
const BACKLOG_MAX: usize = 64;

/// How long a member that stops waits for the others to commit what was proposed, in microseconds.
const STOP_QUORUM_US: i64 = 2_000_000;

/// Flushes of the log that take longer, in microseconds, are counted and told. Source: `fsync.warningthresholdms`.
pub const FSYNC_WARN_US: i64 = 1_000_000;

/// What a turn leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing to do until something happens.
    Idle,
    /// The next group waits for more, for so many microseconds.
    Wait(i64),
    /// There may be more to do at once.
    Again,
    /// The server stops, and nothing is left.
    Over,
}

/// Drives a replica. See the module's page.
#[derive(Debug)]
pub struct Driver {
    /// What is driven.
    pub replica: Replica,
    pub(super) outputs: Outputs,
    /// Published, but some view has no room for it yet.
    backlog: Vec<VecDeque<Arc<Deltas>>>,
    time: Time,
    stages: Stages,
    ticked_us: i64,
    /// Since when the server stops.
    stopping_us: Option<i64>,
    /// The view whose uplinks are taken first.
    first_uplink: usize,
    /// The server to which this one is handing over.
    pub(super) handing_over: Option<i64>,
    /// See [`Bug`].
    #[cfg(any(test, feature = "sim"))]
    bug: Option<Bug>,
    /// Of [`Bug::DurableNextTurn`]: the group that is reported in the next turn, and whether the log has one that was.
    #[cfg(any(test, feature = "sim"))]
    undurable: Option<Arc<crate::wal::Batch>>,
    #[cfg(any(test, feature = "sim"))]
    is_claimed: bool,
}

impl Driver {
    /// A driver of a replica with `views` views, by what the clock says that never goes back. The log is durable through
    /// `durable`, and ends at `log`.
    pub fn new(replica: Replica, views: usize, mono_us: i64, durable: Zxid, log: Position) -> Self {
        assert!(views > 0, "a server without a view");
        Self {
            replica,
            outputs: Outputs::new(durable, log),
            backlog: (0..views).map(|_| VecDeque::new()).collect(),
            time: Time::new(mono_us),
            stages: Stages::default(),
            ticked_us: mono_us,
            stopping_us: None,
            first_uplink: 0,
            handing_over: None,
            #[cfg(any(test, feature = "sim"))]
            bug: None,
            #[cfg(any(test, feature = "sim"))]
            undurable: None,
            #[cfg(any(test, feature = "sim"))]
            is_claimed: false,
        }
    }

    /// Gives it a deliberate bug.
    #[cfg(any(test, feature = "sim"))]
    pub fn set_bug(&mut self, bug: Bug) {
        (self.bug, self.outputs.bug) = (Some(bug), Some(bug));
    }

    /// Does what there is to do. `here` says that the log may be waited for, also where it has a thread of its own;
    /// `stopping` that no more uplinks are taken.
    ///
    /// # Errors
    /// The process ends.
    pub fn turn<W: World>(&mut self, world: &mut W, here: bool, stopping: bool) -> Result<Turn, Fatal> {
        let now = self.time.now(world, &mut self.replica);
        while let Some(done) = world.log().take_done() {
            self.durable(done, now);
        }
        self.confirm_early(now);
        let mut turn = Turn::Idle;
        // A member that stops has waited long enough for what was proposed. More would come for as long as others write.
        let stopped_us = self.stopping_us.map(|since_us| self.time.turned_us() - since_us);
        let is_over = world.member().is_some() && stopped_us.is_some_and(|us| us >= STOP_QUORUM_US);
        // A view is so far behind that nothing more is to be made for it.
        let views_lag = self.backlog.iter().any(|waiting| waiting.len() >= BACKLOG_MAX);
        self.replica.set_views_lag(views_lag);
        if !is_over && self.outputs.take_in(world, &mut self.replica, now)? {
            turn = Turn::Again;
        }
        if self.restore(world, now, stopping)? {
            turn = Turn::Again;
        }
        self.hand_over(world, now, stopping);
        if !stopping {
            if !views_lag {
                self.take_uplinks(world, now);
            }
            if self.replica.has_more() {
                turn = Turn::Again;
            }
        }
        if self.time.turned_us() - self.ticked_us >= TICK_US {
            self.tick(world);
        }
        if self.replica.is_unmeasured() {
            self.replica.checked((world.clock().mono_us() - self.time.turned_us()) as u64);
        }
        self.answer_words(world, now);
        // Where it was written here and now, more may have come meanwhile.
        if self.begin_group(world, now, here)? {
            turn = Turn::Again;
        }
        self.give_out(world, now)?;
        // Of a connection that could not be, no wait tells.
        if self.outputs.has_more() || world.member().is_some_and(|member| member.has_news()) {
            turn = Turn::Again;
        }
        world.views().set_durable(self.replica.durable_through());
        self.publish(world);
        if turn == Turn::Idle
            && let Some(until_us) = self.replica.waits_until_us()
        {
            let now_us = self.time.now(world, &mut self.replica).mono_us;
            turn = Turn::Wait((until_us - now_us).max(1));
        }
        Ok(if stopping { self.stop(turn, is_over) } else { turn })
    }

    /// A turn of a server that stops.
    fn stop(&mut self, turn: Turn, is_over: bool) -> Turn {
        self.stopping_us.get_or_insert(self.time.turned_us());
        // Without a quorum nothing that waits will ever be committed; the log has it.
        let is_idle = self.replica.is_idle() || is_over && self.replica.is_logged();
        match is_idle && self.backlog.iter().all(|waiting| waiting.is_empty()) {
            true => Turn::Over,
            false => turn,
        }
    }

    fn take_uplinks<W: World>(&mut self, world: &mut W, now: Now) {
        self.replica.proceed(now);
        let views = self.backlog.len();
        for at in 0..views {
            let view = (self.first_uplink + at) % views;
            while self.replica.takes_uplinks() {
                let Some(batch) = world.views().take_uplink(view) else { break };
                self.replica.submit(now, batch);
            }
        }
        self.first_uplink = (self.first_uplink + 1) % views;
        while self.replica.takes_uplinks() {
            let Some((number, word, mask)) = world.views().take_question() else { break };
            self.replica.ask(now, number, word, mask);
        }
    }

    /// Fires what is due. Signs of life that have arrived count before sessions are ended for the lack of them.
    fn tick<W: World>(&mut self, world: &mut W) {
        self.ticked_us = self.time.turned_us();
        let views = world.views();
        views.beat();
        let signs: Vec<_> = (0..self.backlog.len()).map(|view| views.take_signs(view)).collect();
        if let Some(allows) = world.member().and_then(|member| member.oracle()) {
            self.replica.set_oracle(allows);
        }
        let now = self.time.hear(&signs, world, &mut self.replica);
        self.replica.tick(now);
    }

    /// Answers questions that all views have reported on.
    fn answer_words<W: World>(&mut self, world: &mut W, now: Now) {
        for answered in self.replica.take_answered(now) {
            match answered.asker {
                Asker::Cnxn(cnxn) => {
                    let text = world.views().render(answered);
                    self.replica.answer_word(cnxn, text);
                }
                Asker::Shell(number) => world.views().tell(number, answered.status),
            }
        }
    }

    /// Has what was proposed made durable; true if there may be more to do at once.
    fn begin_group<W: World>(&mut self, world: &mut W, now: Now, here: bool) -> Result<bool, Fatal> {
        #[cfg(any(test, feature = "sim"))]
        if self.is_claimed {
            return Ok(false);
        }
        let Some(batch) = self.replica.take_group(now) else { return Ok(false) };
        let (taken_us, records) = (world.clock().mono_us(), u64::from(batch.records()));
        if !batch.is_marker() {
            let sizes = &mut self.replica.metrics_mut().sizes;
            sizes.sync_processor_batch_size.record(records);
            self.stages.logging(batch.last(), self.time.stalled_us(), taken_us);
        }
        if world.member().is_some() {
            // The others write it while this server does.
            self.give_out(world, now)?;
            // What is committed does not wait for this group, which may keep this thread for as long as the disk takes.
            self.publish(world);
        }
        self.replica.handed(records, (world.clock().mono_us() - taken_us) as u64);
        #[cfg(any(test, feature = "sim"))]
        if self.bug == Some(Bug::DurableNextTurn) && !batch.is_marker() {
            self.undurable = Some(batch.clone());
        }
        let Some(done) = world.log().write(batch, here)? else { return Ok(false) };
        // The disk took its time, which must not be taken back later.
        let now = self.time.now(world, &mut self.replica);
        self.durable(done, now);
        Ok(true)
    }

    /// A group that was written without the driver meanwhile is durable.
    ///
    /// # Errors
    /// The process ends.
    pub fn written<W: World>(&mut self, world: &mut W, done: Done) -> Result<(), Fatal> {
        let now = self.time.now(world, &mut self.replica);
        self.durable(done, now);
        self.give_out(world, now)?;
        world.views().set_durable(self.replica.durable_through());
        self.publish(world);
        Ok(())
    }

    fn durable(&mut self, Done { batch, flushed }: Done, now: Now) {
        self.outputs.logged(batch.as_marker().map_or(batch.last(), |marker| marker.zxid()), flushed.end);
        let metrics = self.replica.metrics_mut();
        let records = u64::from(batch.records());
        let (took_us, fsync_us) = (flushed.took_us as u64, flushed.fsync_us as u64);
        metrics.times.sync_process_time.record_n((took_us - fsync_us) / records.max(1), records);
        metrics.times.fsynctime.record(fsync_us);
        metrics.counters.fsync_threshold_exceed_count += u64::from(flushed.fsync_us >= FSYNC_WARN_US);
        metrics.latencies.sync_processor_queue_flush_time_ms.record(took_us);
        self.replica.set_group_bytes(flushed.balanced_bytes);
        if !batch.is_marker() {
            self.stages.durable(batch.last(), self.time.turned_us());
        }
        #[cfg(any(test, feature = "sim"))]
        if std::mem::take(&mut self.is_claimed) {
            return;
        }
        #[cfg(any(test, feature = "sim"))]
        self.undurable.take();
        self.replica.durable(batch, now);
    }

    /// See [`Bug::DurableNextTurn`].
    #[cfg(any(test, feature = "sim"))]
    fn confirm_early(&mut self, now: Now) {
        if let Some(batch) = self.undurable.take() {
            self.is_claimed = true;
            self.replica.durable(batch, now);
        }
    }

    #[cfg(not(any(test, feature = "sim")))]
    fn confirm_early(&mut self, _: Now) {}

    fn give_out<W: World>(&mut self, world: &mut W, now: Now) -> Result<(), Fatal> {
        self.outputs.give_out(world, &mut self.replica, now)
    }

    /// Gives views what was committed, as far as they have room.
    fn publish<W: World>(&mut self, world: &mut W) {
        while let Some(mut deltas) = self.replica.take_published() {
            self.stages.published(&mut deltas, self.time.stalled_us(), self.time.turned_us());
            let deltas = Arc::new(deltas);
            for waiting in &mut self.backlog {
                waiting.push_back(deltas.clone());
            }
        }
        let views = world.views();
        for (view, waiting) in self.backlog.iter_mut().enumerate() {
            while views.has_room(view) {
                #[cfg(any(test, feature = "sim"))]
                if self.bug == Some(Bug::BacklogOvertaken) && waiting.len() > 1 {
                    waiting.rotate_left(1);
                }
                let Some(deltas) = waiting.pop_front() else { break };
                views.put(view, deltas);
            }
        }
    }
}
