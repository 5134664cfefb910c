//! The commit shard: checks what the views send up, has it logged, and publishes what is durable.

use super::log_writer::{Done, Job};
use super::ring::{Bell, Consumer, Producer};
use super::{About, Clock, Phase, Shared, rt};
use crate::admin;
use crate::proto::Zxid;
use crate::replica::{Commit, Deltas, Proposed, Uplink};
use crate::wal::Batch;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often time passes here.
const TICK: Duration = Duration::from_millis(20);

/// Groups that a view has not taken in yet at which no more is made: a slow one holds all up, and the
/// memory stays small.
const BACKLOG_MAX: usize = 64;

/// The rings of the commit shard.
pub struct Rings {
    /// From each view.
    pub uplinks: Vec<Consumer<Uplink>>,
    /// To each view.
    pub deltas: Vec<Producer<Arc<Deltas>>>,
    /// To the log.
    pub jobs: Producer<Job>,
    /// From the log.
    pub done: Consumer<Done>,
    /// Wakes this shard's task.
    pub bell: Bell,
}

struct CommitShard {
    commit: Commit,
    rings: Rings,
    clock: Clock,
    shared: Arc<Shared>,
    about: Arc<About>,
    /// What is published once the group in flight is durable.
    in_flight: Option<(Deltas, Zxid)>,
    /// Published, but some view has not taken it in yet: its ring is full.
    backlog: Vec<std::collections::VecDeque<Arc<Deltas>>>,
    spare: Batch,
    tick_due: Rc<Cell<bool>>,
}

/// Works until the server stops and all that was accepted is published.
pub async fn run(commit: Commit, rings: Rings, clock: Clock, shared: Arc<Shared>, about: Arc<About>) {
    let backlog = rings.deltas.iter().map(|_| Default::default()).collect();
    let (bell, tick_due) = (rings.bell.clone(), Rc::new(Cell::new(false)));
    rt::spawn_local(tick(bell, tick_due.clone(), shared.clone()));
    let mut shard = CommitShard {
        commit,
        rings,
        clock,
        shared,
        about,
        in_flight: None,
        backlog,
        spare: Batch::default(),
        tick_due,
    };
    poll_fn(|cx| shard.turn(cx)).await;
    shard.shared.set_phase(Phase::Stopped);
}

async fn tick(bell: Bell, due: Rc<Cell<bool>>, shared: Arc<Shared>) {
    loop {
        rt::sleep(TICK).await;
        shared.beat_commit();
        due.set(true);
        bell.ring();
    }
}

impl CommitShard {
    /// Does what there is to do; ready once the server stops and nothing is left.
    fn turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.rings.bell.listen(cx.waker());
        while let Some(Done { batch, took, fsync }) = self.rings.done.take() {
            self.spare = batch;
            let times = self.commit.metrics_mut();
            times.times.fsynctime.record(fsync.as_micros() as u64);
            times.latencies.sync_processor_queue_flush_time_ms.record(took.as_micros() as u64);
            if let Some((deltas, through)) = self.in_flight.take() {
                self.publish(deltas, through);
            }
        }
        let stopping = self.shared.phase() != Phase::Running;
        // Signs of life that have arrived count before sessions are ended for the lack of them.
        if !stopping {
            self.take_uplinks();
        }
        if self.tick_due.replace(false) {
            self.commit.tick(self.clock.now());
        }
        self.answer_words();
        if self.in_flight.is_none() {
            self.begin_group();
        }
        self.send_backlog();
        let idle = self.in_flight.is_none() && self.backlog.iter().all(|waiting| waiting.is_empty());
        if stopping && idle { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take_uplinks(&mut self) {
        if self.backlog.iter().any(|waiting| waiting.len() >= BACKLOG_MAX) {
            return;
        }
        let now = self.clock.now();
        self.commit.proceed(now);
        for uplink in &mut self.rings.uplinks {
            while self.commit.has_room() {
                let Some(batch) = uplink.take() else { break };
                self.commit.submit(now, batch);
            }
        }
    }

    /// Four-letter words whose views have all reported.
    fn answer_words(&mut self) {
        for mut answered in self.commit.take_answered() {
            self.about.fill_in(&mut answered.status, &self.shared);
            let text = admin::render(answered.word, &answered.status);
            self.commit.tell(answered.cnxn, text);
        }
    }

    fn begin_group(&mut self) {
        let Some(Proposed { records, deltas, through }) = self.commit.take(std::mem::take(&mut self.spare))
        else {
            return;
        };
        if records.is_empty() {
            self.spare = records;
            return self.publish(deltas, through);
        }
        let metrics = self.commit.metrics_mut();
        metrics.sizes.sync_processor_batch_size.record(records.records().into());
        let sent = self.rings.jobs.put(Job { batch: records });
        assert!(sent.is_ok(), "the log takes a group whenever none is in flight");
        self.in_flight = Some((deltas, through));
    }

    fn publish(&mut self, deltas: Deltas, through: Zxid) {
        self.commit.committed(through);
        let deltas = Arc::new(deltas);
        for waiting in &mut self.backlog {
            waiting.push_back(deltas.clone());
        }
        self.send_backlog();
    }

    fn send_backlog(&mut self) {
        for (waiting, ring) in self.backlog.iter_mut().zip(&mut self.rings.deltas) {
            while ring.has_room() {
                let Some(deltas) = waiting.pop_front() else { break };
                let sent = ring.put(deltas);
                assert!(sent.is_ok(), "there was room");
            }
        }
    }
}
