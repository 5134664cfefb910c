//! The commit shard: checks what the views send up, has it logged, and publishes what is durable.

use super::log_writer::{Done, FSYNC_WARN, LogThread, LogWriter};
use super::logging::Text;
use super::others::Others;
use super::peers::Waiter;
use super::spsc::{Consumer, Notify, Producer};
use super::view_shard::Signs;
use super::{About, Clock, Phase, Shared};
use crate::admin::{self, FourLetterWord};
use crate::replica::{Deltas, Now, Replica, Uplink};
use crate::wal::Batch;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How often time passes here.
const TICK: Duration = Duration::from_millis(20);

/// Groups that a view has not taken in yet at which no more is made: a slow one holds all up, and the
/// memory stays small.
const BACKLOG_MAX: usize = 64;

/// How long a member that stops waits for the others to commit what was proposed.
const STOP_QUORUM: Duration = Duration::from_secs(2);

/// Groups that a view's thread has written in a row after which the shard's own goes on.
const TURNS_HERE: u32 = 2;

/// A gap between two turns that is not work but standing still: the process was paused, or the disk hung.
const STALL: Duration = Duration::from_millis(500);

/// How long ago views have said whom they heard, at most, unless one stands still. Beyond, time does not pass for sessions
/// until it is known whether one does.
const HEARD_WITHIN_US: i64 = 200_000;

/// The channels of the commit shard.
pub struct Channels {
    /// From each view.
    pub uplinks: Vec<Consumer<Uplink>>,
    /// Of each view, beside its uplink: whose clients are alive must not stand in a queue behind writes.
    pub signs: Vec<Arc<Signs>>,
    /// To each view.
    pub deltas: Vec<Producer<Arc<Deltas>>>,
    /// The log.
    pub log: Log,
    /// Wakes this shard.
    pub notify: Notify,
}

/// Where the log is written.
pub enum Log {
    /// On this thread, which has nobody to keep waiting but those who wait for the log.
    Here(Box<LogWriter>),
    /// On another.
    There(LogThread),
    /// Nowhere any more: the server has stopped, and the log's thread ends.
    Ended,
}

/// The commit shard, for its thread and for views that do its work when it sleeps.
pub struct CommitShard {
    state: Mutex<State>,
    /// Its thread's.
    waker: OnceLock<Waker>,
    /// Wakes it.
    notify: Notify,
    /// Where it waits for the others, of a member.
    waiter: Mutex<Option<Waiter>>,
    /// Groups that a member's commit thread has begun and ended to write itself; odd while it does.
    writes: AtomicU64,
}

/// What a turn leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing to do until something happens.
    Idle,
    /// The next group waits for more, for so long.
    Wait(Duration),
    /// More may have come meanwhile.
    Again,
    /// The server stops, and nothing is left.
    Over,
}

struct State {
    replica: Replica,
    channels: Channels,
    /// In an ensemble: the others.
    others: Option<Box<Others>>,
    clock: Clock,
    shared: Arc<Shared>,
    about: Arc<About>,
    /// Published, but some view has not taken it in yet: its ring is full.
    backlog: Vec<VecDeque<Arc<Deltas>>>,
    ticked: Instant,
    /// Since when the server stops.
    stopping: Option<Instant>,
    /// When the last turn began, or wrote its group.
    turned: Instant,
    /// How long this shard has stood still in all. For other servers that time has not passed: what they sent was not
    /// looked at.
    stalled: Duration,
    /// How long some view stood still, in all, and until when last. For sessions that time has not passed: nobody was
    /// listening to their clients.
    deaf_us: i64,
    deaf_until_us: i64,
    /// Through when all views have said whose clients are alive.
    heard_us: i64,
    /// The view whose uplinks are taken first.
    first_uplink: usize,
    /// A group that this shard's thread writes itself, without anything of this shard meanwhile.
    aside: Option<(Arc<Batch>, Arc<Mutex<LogWriter>>)>,
}

/// The commit side of a server.
pub fn new(
    replica: Replica,
    channels: Channels,
    others: Option<Others>,
    clock: Clock,
    shared: Arc<Shared>,
    about: Arc<About>,
) -> CommitShard {
    let backlog = channels.deltas.iter().map(|_| VecDeque::new()).collect();
    let started = Instant::now();
    let notify = channels.notify.clone();
    let state = State {
        replica,
        channels,
        others: others.map(Box::new),
        clock,
        shared,
        about,
        backlog,
        ticked: started,
        stopping: None,
        turned: started,
        stalled: Duration::ZERO,
        deaf_us: 0,
        deaf_until_us: 0,
        heard_us: 0,
        first_uplink: 0,
        aside: None,
    };
    CommitShard {
        state: Mutex::new(state),
        waker: OnceLock::new(),
        notify,
        waiter: Mutex::default(),
        writes: AtomicU64::new(0),
    }
}

impl CommitShard {
    /// Works as a thread, until the server stops and all that was accepted is published. It is woken by a futex, or by
    /// its sockets, which costs a fraction of waking an executor, and is free to block in the log.
    ///
    /// `waiter` tells of the others, where there are any.
    pub fn run(&self, waiter: Option<Waiter>) {
        let waker = match &waiter {
            None => Waker::from(Arc::new(Unpark(thread::current()))),
            Some(waiter) => Waker::from(Arc::new(Poke(waiter.waker()))),
        };
        // The kernel would add 50 us to the wait of a group for more.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let is_member = waiter.is_some();
        *lock(&self.waiter) = waiter;
        let _ = self.waker.set(waker);
        while let Some(timeout) = self.one_turn() {
            if is_member {
                self.wait_for_others(timeout);
            } else if !timeout.is_zero() {
                let parked = Instant::now();
                thread::park_timeout(timeout);
                if parked.elapsed() >= TICK
                    && let Log::Here(writer) = &mut self.state().channels.log
                {
                    writer.idle();
                }
            }
        }
        let mut state = self.state();
        // Others have this shard as well; the log's thread waits for as long as there is somebody to give it a group.
        state.channels.log = Log::Ended;
        state.shared.set_phase(Phase::Stopped);
    }

    /// Takes a turn, writes the group that it made if that is to be done here, and says for how long there is nothing to do
    /// then; `None` once the server has stopped.
    fn one_turn(&self) -> Option<Duration> {
        let waker = self.waker.get()?;
        let (turn, aside) = {
            let mut state = self.state();
            // The thread that stands in may come behind the last turn.
            if state.shared.phase() == Phase::Stopped {
                return None;
            }
            if let Some(others) = &mut state.others
                && let Some(waiter) = &*lock(&self.waiter)
            {
                others.note(waiter);
            }
            (state.turn(waker, false), state.aside.take())
        };
        let Some((batch, writer)) = aside else {
            return match turn {
                Turn::Over => None,
                Turn::Again => Some(Duration::ZERO),
                Turn::Idle => Some(TICK),
                Turn::Wait(time) => Some(time),
            };
        };
        self.writes.fetch_add(1, Ordering::Release);
        let done = lock(&writer).group(batch);
        self.writes.fetch_add(1, Ordering::Release);
        if done.took >= TICK {
            // Whoever stood in may be waiting for the others.
            self.notify.notify();
        }
        self.state().written(done);
        Some(Duration::ZERO)
    }

    fn wait_for_others(&self, timeout: Duration) {
        if let Some(waiter) = &mut *lock(&self.waiter) {
            waiter.wait(timeout);
        }
    }

    /// Does this shard's work whenever its own thread, a member's, is held up by the disk; for a thread of its own.
    ///
    /// That thread writes the log itself while the disk is quick, which saves the wake-ups of another one. A quick disk may
    /// hang for seconds all the same: then the leader's pings are to be answered, and the signs of life of this server's
    /// clients told, or the leader ends their sessions.
    pub fn stand_in(&self) {
        let mut seen = 0;
        loop {
            thread::park_timeout(TICK);
            if self.state().shared.phase() == Phase::Stopped {
                return;
            }
            let write = self.writes.load(Ordering::Acquire);
            let is_held_up = write % 2 == 1 && write == seen;
            seen = write;
            while is_held_up && self.writes.load(Ordering::Acquire) == write {
                // There is one group at a time, and it is being written.
                let timeout = self.one_turn().unwrap_or(TICK);
                self.wait_for_others(timeout);
            }
        }
    }

    /// Has what was sent up handled: `here` on the caller's thread if that can be, else on the shard's own.
    ///
    /// A write that comes alone takes as long as the disk does and two wake-ups of sleeping threads, each a sixth of
    /// that. A view that has nothing else to do may as well do it.
    ///
    /// Where the next group waits for more then, the caller has to come again after so long.
    pub fn submit(&self, here: bool) -> Option<Duration> {
        if here
            && let Some(waker) = self.waker.get()
            && let Ok(mut state) = self.state.try_lock()
            && state.may_block()
        {
            for _ in 0..TURNS_HERE {
                match state.turn(waker, true) {
                    Turn::Again => {}
                    Turn::Wait(time) => return Some(time),
                    Turn::Idle | Turn::Over => return None,
                }
            }
        }
        self.notify.notify();
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked with it has ended the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Whether a turn holds up its thread no longer than the disk has lately.
    fn may_block(&self) -> bool {
        let is_quick = match &self.channels.log {
            Log::Here(writer) => writer.is_quick(),
            Log::There(log) => log.is_quick(),
            Log::Ended => false,
        };
        is_quick && self.others.is_none()
    }

    /// Does what there is to do. The log may be written `here` also where it has a thread of its own.
    fn turn(&mut self, waker: &Waker, here: bool) -> Turn {
        self.channels.notify.register(waker);
        let now = self.now();
        while let Log::There(log) = &mut self.channels.log
            && let Some(done) = log.take_done()
        {
            self.durable(done, now);
        }
        let stopping = self.shared.phase() != Phase::Running;
        let mut turn = Turn::Idle;
        // A member that stops has waited long enough for what was proposed. More would come for as long as others write.
        let is_over =
            self.others.is_some() && self.stopping.is_some_and(|since| since.elapsed() >= STOP_QUORUM);
        // A view is so far behind that nothing more is to be made for it.
        let views_lag = self.backlog.iter().any(|waiting| waiting.len() >= BACKLOG_MAX);
        self.replica.set_views_lag(views_lag);
        if let Some(others) = &mut self.others
            && !is_over
            && others.take_in(&mut self.replica, now)
        {
            turn = Turn::Again;
        }
        if !stopping {
            if !views_lag {
                self.take_uplinks(now);
            }
            if self.replica.has_more() {
                turn = Turn::Again;
            }
        }
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.shared.beat_commit();
            // Signs of life that have arrived count before sessions are ended for the lack of them.
            let now = self.take_signs();
            self.replica.tick(now);
        }
        if self.replica.is_unmeasured() {
            self.replica.checked(self.turned.elapsed().as_micros() as u64);
        }
        self.answer_words(now);
        // Where it was written here and now, more may have come meanwhile.
        if self.begin_group(now, here) {
            turn = Turn::Again;
        }
        if let Some(others) = &mut self.others {
            others.give_out(&mut self.replica, now);
            // Of a connection that could not be, no wait tells.
            if others.has_news() {
                turn = Turn::Again;
            }
        }
        self.shared.set_durable(self.replica.durable_through());
        self.publish();
        if turn == Turn::Idle
            && let Some(until_us) = self.replica.waits_until_us()
        {
            let now_us = self.now().mono_us;
            turn = Turn::Wait(Duration::from_micros((until_us - now_us).max(1) as u64));
        }
        if !stopping {
            return turn;
        }
        self.stopping.get_or_insert_with(Instant::now);
        // Without a quorum nothing that waits will ever be committed; the log has it.
        let is_idle = self.replica.is_idle() || is_over && self.replica.is_logged();
        match is_idle && self.backlog.iter().all(|waiting| waiting.is_empty()) {
            true => Turn::Over,
            false => turn,
        }
    }

    /// Notices that this shard stood still since it was last asked.
    fn note_gap(&mut self) {
        let now = Instant::now();
        let gap = now - std::mem::replace(&mut self.turned, now);
        if gap >= STALL {
            self.stalled += gap;
            log::warn!(target: "server", "the commit shard stood still: took_ms={}", gap.as_millis());
        }
    }

    /// The time, for all but the log: without that in which this shard stood still. Sessions live by a clock of their own,
    /// which does not pass while a view stands still, and are judged as of when all views have said whom they heard. That
    /// this shard waits for the disk makes no difference to them, since their clients are heard meanwhile.
    fn now(&mut self) -> Now {
        self.note_gap();
        let clock = self.clock.now();
        let now = Now { mono_us: clock.mono_us - self.stalled.as_micros() as i64, ..clock };
        let session_us = clock.mono_us.min(self.heard_us + HEARD_WITHIN_US) - self.deaf_us;
        let through_us = self.heard_us - self.deaf_us;
        self.replica.set_session_clock((session_us - now.mono_us) / 1000, through_us / 1000);
        now
    }

    fn take_uplinks(&mut self, now: Now) {
        self.replica.proceed(now);
        let views = self.channels.uplinks.len();
        for at in 0..views {
            let uplink = &mut self.channels.uplinks[(self.first_uplink + at) % views];
            while self.replica.takes_uplinks() {
                let Some(batch) = uplink.take() else { break };
                self.replica.submit(now, batch);
            }
        }
        self.first_uplink = (self.first_uplink + 1) % views;
    }

    /// Takes in which clients are alive; gives the time as it is then.
    fn take_signs(&mut self) -> Now {
        let told: Vec<_> = self.channels.signs.iter().map(|signs| signs.take()).collect();
        let mut gaps_us: Vec<_> = told.iter().flat_map(|told| told.gaps_us.iter().copied()).collect();
        // A pause of the process is each view's, and counts once.
        gaps_us.sort_unstable();
        for (from_us, until_us) in gaps_us {
            let gap_us = until_us - from_us.max(self.deaf_until_us);
            if gap_us > 0 {
                self.deaf_us += gap_us;
                self.deaf_until_us = until_us;
                log::warn!(target: "server", "a view stood still: took_ms={} then={}", gap_us / 1000,
                    Text("sessions are given that time"));
            }
        }
        self.heard_us = told.iter().map(|told| told.heard_us).min().unwrap_or_default();
        let now = self.now();
        told.iter().for_each(|told| self.replica.heard(now, &told.sessions));
        now
    }

    /// Four-letter words whose views have all reported.
    fn answer_words(&mut self, now: Now) {
        for mut answered in self.replica.take_answered(now) {
            self.about.fill_in(answered.word, &mut answered.status, &self.shared);
            if answered.word == FourLetterWord::Srst {
                self.shared.admission.forget_rejected();
            }
            let text = admin::render(answered.word, &answered.status);
            self.replica.tell(answered.cnxn, text);
        }
    }

    /// Has what was proposed made durable; `true` if that is done already.
    fn begin_group(&mut self, now: Now, here: bool) -> bool {
        let Some(batch) = self.replica.take_group(now) else { return false };
        let (taken, records) = (Instant::now(), u64::from(batch.records()));
        if !batch.is_marker() {
            let sizes = &mut self.replica.metrics_mut().sizes;
            sizes.sync_processor_batch_size.record(records);
        }
        // The others write it while this server does.
        if let Some(others) = &mut self.others {
            others.give_out(&mut self.replica, now);
            // What is committed does not wait for this group, which may keep this thread for as long as the disk takes.
            self.publish();
        }
        self.replica.handed(records, taken.elapsed().as_micros() as u64);
        if self.others.is_some()
            && let Log::There(log) = &self.channels.log
            && let Some(writer) = log.quick_writer()
        {
            self.aside = Some((batch, writer));
            return true;
        }
        self.shared.begin_write();
        let done = match &mut self.channels.log {
            Log::Here(writer) => Some(writer.group(batch)),
            Log::There(log) => log.group(batch, here),
            Log::Ended => unreachable!("no turn is taken behind the last"),
        };
        self.shared.end_write();
        let Some(done) = done else { return false };
        // The disk took its time, which must not be taken back later.
        let now = self.now();
        self.durable(done, now);
        true
    }

    /// The group that was put aside is written.
    fn written(&mut self, done: Done) {
        let now = self.now();
        self.durable(done, now);
        if let Some(others) = &mut self.others {
            others.give_out(&mut self.replica, now);
        }
        self.shared.set_durable(self.replica.durable_through());
        self.publish();
    }

    fn durable(&mut self, Done { batch, took, fsync, end, balanced_bytes }: Done, now: Now) {
        if let Some(others) = &mut self.others {
            others.logged(batch.as_marker().map_or(batch.last(), |marker| marker.zxid()), end);
        }
        let metrics = self.replica.metrics_mut();
        let records = u64::from(batch.records());
        let written_us = (took - fsync).as_micros() as u64 / records.max(1);
        metrics.times.sync_process_time.record_n(written_us, records);
        metrics.times.fsynctime.record(fsync.as_micros() as u64);
        metrics.counters.fsync_threshold_exceed_count += u64::from(fsync >= FSYNC_WARN);
        metrics.latencies.sync_processor_queue_flush_time_ms.record(took.as_micros() as u64);
        self.replica.set_group_bytes(balanced_bytes);
        self.replica.durable(batch, now);
    }

    fn publish(&mut self) {
        while let Some(deltas) = self.replica.take_published() {
            let deltas = Arc::new(deltas);
            for waiting in &mut self.backlog {
                waiting.push_back(deltas.clone());
            }
        }
        for (waiting, ring) in self.backlog.iter_mut().zip(&mut self.channels.deltas) {
            while ring.has_room() {
                let Some(deltas) = waiting.pop_front() else { break };
                let sent = ring.put(deltas);
                assert!(sent.is_ok(), "there was room");
            }
        }
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Wakes a thread that waits for its sockets.
struct Poke(Arc<mio::Waker>);

impl Wake for Poke {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.0.wake();
        assert!(woken.is_ok(), "the commit thread cannot be woken: {woken:?}");
    }
}
