//! The commit shard: checks what the views send up, has it logged, and publishes what is durable.

use super::log_writer::{Done, LogThread, LogWriter};
use super::ring::{Bell, Consumer, Producer};
use super::{About, Clock, Phase, Shared, rt};
use crate::admin;
use crate::proto::Zxid;
use crate::replica::{Commit, Deltas, Now, Proposed, Uplink};
use crate::wal::Batch;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How often time passes here.
const TICK: Duration = Duration::from_millis(20);

/// Groups that a view has not taken in yet at which no more is made: a slow one holds all up, and the
/// memory stays small.
const BACKLOG_MAX: usize = 64;

/// A gap between two turns that is not work but standing still: the process was paused, or the disk hung.
const STALL: Duration = Duration::from_millis(500);

/// The rings of the commit shard.
pub struct Rings {
    /// From each view.
    pub uplinks: Vec<Consumer<Uplink>>,
    /// To each view.
    pub deltas: Vec<Producer<Arc<Deltas>>>,
    /// The log.
    pub log: Log,
    /// Wakes this shard.
    pub bell: Bell,
}

/// Where the log is written.
pub enum Log {
    /// On this thread, which has nobody to keep waiting but those who wait for the log.
    Here(Box<LogWriter>),
    /// On another.
    There(LogThread),
}

/// A commit shard; one of its `run`s works until the server stops and all that was accepted is published.
pub struct CommitShard {
    commit: Commit,
    rings: Rings,
    clock: Clock,
    shared: Arc<Shared>,
    about: Arc<About>,
    /// What is published once the group in flight is durable.
    in_flight: Option<(Deltas, Zxid)>,
    /// Published, but some view has not taken it in yet: its ring is full.
    backlog: Vec<VecDeque<Arc<Deltas>>>,
    spare: Batch,
    ticked: Instant,
    /// When the last turn began.
    turned: Instant,
    /// How long this shard has stood still in all. For sessions that time has not passed: nobody was
    /// listening to their clients.
    stalled: Duration,
}

/// The commit side of a server.
pub fn new(
    commit: Commit,
    rings: Rings,
    clock: Clock,
    shared: Arc<Shared>,
    about: Arc<About>,
) -> CommitShard {
    let backlog = rings.deltas.iter().map(|_| VecDeque::new()).collect();
    let started = Instant::now();
    CommitShard {
        commit,
        rings,
        clock,
        shared,
        about,
        in_flight: None,
        backlog,
        spare: Batch::default(),
        ticked: started,
        turned: started,
        stalled: Duration::ZERO,
    }
}

impl CommitShard {
    /// Works as a task of an executor.
    pub async fn run(mut self) {
        let bell = self.rings.bell.clone();
        let shared = self.shared.clone();
        rt::spawn_local(async move {
            while shared.phase() != Phase::Stopped {
                rt::sleep(TICK).await;
                bell.ring();
            }
        });
        poll_fn(|cx| self.turn(cx)).await;
        self.shared.set_phase(Phase::Stopped);
    }

    /// Works as a thread: woken by a futex, which costs a tenth of waking an executor, and free to block
    /// in the log.
    pub fn run_here(mut self) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let cx = Context::from_waker(&waker);
        while self.turn(&cx).is_pending() {
            let parked = Instant::now();
            thread::park_timeout(TICK);
            if parked.elapsed() >= TICK
                && let Log::Here(writer) = &mut self.rings.log
            {
                writer.idle();
            }
        }
        self.shared.set_phase(Phase::Stopped);
    }

    /// Does what there is to do; ready once the server stops and nothing is left.
    fn turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.rings.bell.listen(cx.waker());
        let gap = self.turned.elapsed();
        self.turned = Instant::now();
        if gap >= STALL {
            self.stalled += gap;
            log::warn!(target: "server", "stood still: took_ms={}; sessions are given that time", gap.as_millis());
        }
        while let Log::There(log) = &mut self.rings.log
            && let Some(done) = log.done.take()
        {
            self.durable(done);
        }
        let stopping = self.shared.phase() != Phase::Running;
        // Signs of life that have arrived count before sessions are ended for the lack of them.
        if !stopping {
            self.take_uplinks();
        }
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.shared.beat_commit();
            self.commit.tick(self.now());
        }
        self.answer_words();
        if self.in_flight.is_none() && self.begin_group() && self.in_flight.is_none() {
            // It was written here and now, and meanwhile more may have come.
            cx.waker().wake_by_ref();
        }
        self.send_backlog();
        let idle = self.in_flight.is_none() && self.backlog.iter().all(|waiting| waiting.is_empty());
        if stopping && idle { Poll::Ready(()) } else { Poll::Pending }
    }

    fn now(&self) -> Now {
        let now = self.clock.now();
        Now { mono_us: now.mono_us - self.stalled.as_micros() as i64, ..now }
    }

    fn take_uplinks(&mut self) {
        if self.backlog.iter().any(|waiting| waiting.len() >= BACKLOG_MAX) {
            return;
        }
        let now = self.now();
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

    /// Has what was proposed made durable; `false` if that was nothing.
    fn begin_group(&mut self) -> bool {
        let Some(Proposed { records, deltas, through }) = self.commit.take(std::mem::take(&mut self.spare))
        else {
            return false;
        };
        if records.is_empty() {
            self.spare = records;
            self.publish(deltas, through);
            return true;
        }
        let metrics = self.commit.metrics_mut();
        metrics.sizes.sync_processor_batch_size.record(records.records().into());
        self.in_flight = Some((deltas, through));
        match &mut self.rings.log {
            Log::Here(writer) => {
                let done = writer.group(records);
                self.durable(done);
            }
            Log::There(log) => {
                let sent = log.jobs.try_send(records);
                assert!(sent.is_ok(), "the log takes a group whenever none is in flight: {sent:?}");
            }
        }
        true
    }

    fn durable(&mut self, Done { batch, took, fsync, .. }: Done) {
        self.spare = batch;
        let metrics = self.commit.metrics_mut();
        metrics.times.fsynctime.record(fsync.as_micros() as u64);
        metrics.latencies.sync_processor_queue_flush_time_ms.record(took.as_micros() as u64);
        if let Some((deltas, through)) = self.in_flight.take() {
            self.publish(deltas, through);
        }
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
