//! The measured load: a few threads, each with an epoll instance and its share of the sessions.
//!
//! Closed loop: every session keeps `in_flight` requests on their way, and each reply is followed by
//! the next request. Open loop: requests arrive as a Poisson process whatever the server does, and
//! latency counts from the arrival, so that a server that stalls pays for all who had to wait.
//!
//! Per wake-up of a session there is one read, one look at the clock and one write, however many
//! replies came.

use crate::random::Random;
use crate::session::{NoConnection, Sent, Session};
use crate::wire::{self, Kind, Op, Requests, Wrong};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::Timespec;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use zkfast::proto::jute::JuteWrite;
use zkfast::proto::{OpCode, XID_PING};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `host:port` each; sessions are spread over them in turn.
    pub servers: Vec<String>,
    /// Sessions.
    pub connections: usize,
    /// Requests on their way per session: always (closed loop) or at most (open loop).
    pub in_flight: usize,
    /// Threads of ours.
    pub threads: usize,
    /// What is asked for.
    pub work: Work,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Prepared keys.
    pub keys: u32,
    /// Parent of what is created.
    pub base: String,
    /// Arrivals per second of an open loop.
    pub rate: Option<f64>,
    /// Seed of keys, mix and arrivals.
    pub seed: u64,
}

/// Which requests a run is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// getData with this probability, otherwise setData.
    Mix {
        /// 0 to 1.
        read_ratio: f64,
    },
    /// Creates, below one parent per session.
    Create,
    /// So many creates and no more, so many to a parent.
    Fill {
        /// Znodes.
        znodes: u64,
        /// Znodes of one parent.
        fanout: u64,
    },
}

/// Longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// What is read from a socket at once, at least.
const SCRATCH_BYTES: usize = 256 << 10;
/// Events that are taken at once.
const EVENTS: usize = 256;
/// How often a thread looks whether the run is over when nothing happens.
const TICK: Duration = Duration::from_millis(50);
/// How long replies may take after the last request.
const DRAIN: Duration = Duration::from_secs(10);

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const DRAINING: u8 = 2;

/// What the threads and their owner tell each other.
#[derive(Debug)]
pub struct Shared {
    phase: AtomicU8,
    /// Threads that have nothing left to do.
    finished: AtomicUsize,
}

impl Default for Shared {
    fn default() -> Self {
        Self { phase: AtomicU8::new(WARM_UP), finished: AtomicUsize::new(0) }
    }
}

impl Shared {
    /// From here on, replies count.
    pub fn measure(&self) {
        self.phase.store(MEASURE, Ordering::Release);
    }

    /// From here on, nothing is sent and nothing counts.
    pub fn drain(&self) {
        self.phase.store(DRAINING, Ordering::Release);
    }

    /// Threads that have nothing left to do, or failed.
    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Tally {
    /// Latencies of getData in nanoseconds.
    pub reads: Histogram<u64>,
    /// Latencies of everything else.
    pub writes: Histogram<u64>,
    /// Replies that are not what the server must answer, warm-up included.
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: Option<String>,
    /// Requests that never got a reply, though their connections held.
    pub unanswered: u64,
    /// How far the open loop was behind its arrivals at the end.
    pub behind: Duration,
}

impl Tally {
    fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("bounds that fit");
        Self {
            reads: histogram(),
            writes: histogram(),
            wrong: 0,
            first_wrong: None,
            unanswered: 0,
            behind: Duration::ZERO,
        }
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads).expect("the same bounds");
        self.writes.add(&other.writes).expect("the same bounds");
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or_else(|| other.first_wrong.clone());
        self.unanswered += other.unanswered;
        self.behind = self.behind.max(other.behind);
    }

    /// Replies that counted.
    pub fn ops(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// All latencies.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        all.add(&self.writes).expect("the same bounds");
        all
    }

    fn record(&mut self, kind: Kind, latency_ns: u64) {
        if kind == Kind::Get {
            self.reads.saturating_record(latency_ns);
        } else {
            self.writes.saturating_record(latency_ns);
        }
    }

    fn wrong(&mut self, op: Op, wrong: &Wrong) {
        self.wrong += 1;
        self.first_wrong.get_or_insert_with(|| format!("{op:?}: {wrong}"));
    }
}

/// One thread's part of a run.
#[derive(Debug)]
pub struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    started: Instant,
    epoll: OwnedFd,
    sessions: Vec<Session>,
    work: Source,
    requests: Requests,
    tally: Tally,
    /// What sockets are read into; a frame is looked at where it is.
    scratch: Vec<u8>,
    /// What is written to one socket at once.
    out: Vec<u8>,
    /// When the next request of an open loop arrives, in nanoseconds since `started`.
    due_ns: f64,
    /// Mean time between a thread's arrivals; none in a closed loop.
    gap_ns: Option<f64>,
    /// The session that an arrival is offered first.
    turn: usize,
}

/// Says what the next request is.
#[derive(Debug)]
struct Source {
    random: Random,
    work: Work,
    /// A draw below this is a read.
    reads_below: u64,
    keys: u32,
    /// Number of this thread's first session, over all threads.
    first: usize,
    /// Creates so far, by session.
    created: Vec<u32>,
    /// Next znode of a fill, and how far it is to the one after.
    next: u64,
    step: u64,
}

impl Source {
    fn next(&mut self, session: usize) -> Option<Op> {
        match self.work {
            Work::Mix { .. } => {
                let kind = if self.random.bits() >> 11 < self.reads_below { Kind::Get } else { Kind::Set };
                Some(Op { kind, group: 0, leaf: self.random.below(self.keys) })
            }
            Work::Create => {
                let leaf = self.created[session];
                self.created[session] += 1;
                Some(Op { kind: Kind::Create, group: (self.first + session) as u32, leaf })
            }
            Work::Fill { znodes, fanout } => {
                let number = self.next;
                if number >= znodes {
                    return None;
                }
                self.next += self.step;
                Some(Op { kind: Kind::Create, group: (number / fanout) as u32, leaf: number as u32 })
            }
        }
    }
}

impl<'a> Worker<'a> {
    /// The `index`-th of `plan.threads`; `sessions` is its share, the first of which has the number `first`.
    pub fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        started: Instant,
        index: usize,
        first: usize,
        sessions: Vec<Session>,
    ) -> Result<Self, NoConnection> {
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| sessions[0].io(error.into()))?;
        let read_ratio = if let Work::Mix { read_ratio } = plan.work { read_ratio } else { 0.0 };
        let mut worker = Self {
            plan,
            shared,
            started,
            epoll,
            work: Source {
                random: Random::new(plan.seed, index as u64),
                work: plan.work,
                reads_below: (read_ratio * (1u64 << 53) as f64) as u64,
                keys: plan.keys,
                first,
                created: vec![0; sessions.len()],
                next: index as u64,
                step: plan.threads as u64,
            },
            requests: Requests::new(plan.value_bytes, &plan.base),
            tally: Tally::new(),
            scratch: vec![0; SCRATCH_BYTES.max(2 * plan.value_bytes)],
            out: Vec::new(),
            due_ns: 0.0,
            gap_ns: plan.rate.map(|rate| 1e9 * plan.threads as f64 / rate),
            turn: 0,
            sessions,
        };
        for session in &mut worker.sessions {
            // A follower may not have what was prepared elsewhere; behind a sync it has.
            let xid = session.take_xid();
            worker.out.clear();
            wire::put_request(&mut worker.out, xid, OpCode::SYNC, |out| out.put_string(b"/"));
            session.send(&worker.out)?;
        }
        worker.out.clear();
        for session in &mut worker.sessions {
            session.read_frame()?;
            session.take_reply_xid();
        }
        for (index, session) in worker.sessions.iter().enumerate() {
            session.nonblocking()?;
            epoll::add(
                &worker.epoll,
                &session.stream,
                EventData::new_u64(index as u64),
                EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
            )
            .map_err(|error| session.io(error.into()))?;
        }
        Ok(worker)
    }

    /// Runs until [`Shared::drain`], or until there is nothing left to send.
    pub fn run(mut self) -> Result<Tally, NoConnection> {
        let result = self.serve();
        self.shared.finished.fetch_add(1, Ordering::AcqRel);
        Session::close_all(self.sessions);
        result.map(|()| self.tally)
    }

    fn serve(&mut self) -> Result<(), NoConnection> {
        // The kernel would round our sleep up by 50 us, and arrivals with it.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        self.due_ns = self.now_ns() as f64;
        if self.gap_ns.is_none() {
            for index in 0..self.sessions.len() {
                let now = self.now_ns();
                for _ in 0..self.plan.in_flight {
                    self.put_next(index, now);
                }
                self.flush(index, now)?;
            }
        }
        let mut events = Vec::with_capacity(EVENTS);
        let mut drain_until = None;
        let mut ping_at = Instant::now() + Duration::from_secs(1);
        loop {
            let wait = self.wait();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(self.sessions[0].io(error.into())),
            }
            let phase = self.shared.phase.load(Ordering::Acquire);
            for event in &events {
                let index = event.data.u64() as usize;
                let flags = event.flags;
                if flags.contains(EventFlags::OUT) && !self.sessions[index].unsent.is_empty() {
                    self.sessions[index].send_rest()?;
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR) {
                    let hangs_up = flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR);
                    self.receive(index, phase, hangs_up)?;
                }
            }
            if phase == DRAINING {
                let until = *drain_until.get_or_insert_with(|| {
                    self.tally.behind = self.behind();
                    Instant::now() + DRAIN
                });
                let unanswered: usize = self.sessions.iter().map(|session| session.sent.len()).sum();
                if unanswered == 0 || Instant::now() > until {
                    self.tally.unanswered = unanswered as u64;
                    return Ok(());
                }
            } else if let Some(gap_ns) = self.gap_ns {
                self.arrivals(gap_ns)?;
            } else if self.sessions.iter().all(|session| session.sent.is_empty()) {
                return Ok(());
            }
            if events.len() < EVENTS && Instant::now() > ping_at {
                self.ping()?;
                ping_at = Instant::now() + Duration::from_secs(1);
            }
        }
    }

    /// How long nothing can happen that the sockets would not say.
    fn wait(&self) -> Timespec {
        let mut wait = TICK;
        if self.gap_ns.is_some() && self.shared.phase.load(Ordering::Relaxed) != DRAINING {
            let until_due = self.due_ns - self.now_ns() as f64;
            // Where an arrival waits for room, a reply makes it.
            if until_due > 0.0 {
                wait = wait.min(Duration::from_nanos(until_due as u64));
            }
        }
        Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as _ }
    }

    /// Reads all that a session has, checks it, and in a closed loop asks for as much again.
    fn receive(&mut self, index: usize, phase: u8, hangs_up: bool) -> Result<(), NoConnection> {
        loop {
            let session = &mut self.sessions[index];
            let kept = session.partial.len();
            self.scratch[..kept].copy_from_slice(&session.partial);
            let read = match session.stream.read(&mut self.scratch[kept..]) {
                Ok(0) => return Err(session.closed()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(session.io(error)),
            };
            let now = self.started.elapsed().as_nanos() as u64;
            let replies = self.replies(index, kept + read, now, phase)?;
            if self.gap_ns.is_none() && phase != DRAINING {
                for _ in 0..replies {
                    self.put_next(index, now);
                }
                self.flush(index, now)?;
            }
            // A short read took all there was. What comes later is a new event, but the end of the
            // stream may have been told together with the last bytes.
            if kept + read < self.scratch.len() && !hangs_up {
                return Ok(());
            }
        }
    }

    /// Takes the frames at the start of the scratch buffer; returns how many requests they answer.
    fn replies(&mut self, index: usize, end: usize, now: u64, phase: u8) -> Result<usize, NoConnection> {
        let session = &mut self.sessions[index];
        let mut rest = &self.scratch[..end];
        let mut replies = 0;
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let bytes = usize::try_from(length).ok().filter(|bytes| bytes + 4 <= self.scratch.len());
            let Some(bytes) = bytes else {
                return Err(session.protocol(format!("a frame of {length} bytes")));
            };
            let Some((reply, after)) = behind.split_at_checked(bytes) else { break };
            rest = after;
            if reply.starts_with(&XID_PING.to_be_bytes()) {
                continue;
            }
            let Some(sent) = session.sent.pop_front() else {
                return Err(session.protocol("a reply that nothing asked for".to_owned()));
            };
            let xid = session.take_reply_xid();
            match self.requests.check(reply, xid, sent.op) {
                Ok(()) if phase == MEASURE => self.tally.record(sent.op.kind, now.saturating_sub(sent.at_ns)),
                Ok(()) => {}
                Err(wrong) => self.tally.wrong(sent.op, &wrong),
            }
            replies += 1;
        }
        session.partial.clear();
        session.partial.extend_from_slice(rest);
        Ok(replies)
    }

    /// Sends what has arrived by now, as far as sessions have room.
    fn arrivals(&mut self, gap_ns: f64) -> Result<(), NoConnection> {
        let now = self.now_ns();
        let count = self.sessions.len();
        while self.due_ns <= now as f64 {
            let free = (0..count)
                .map(|offset| (self.turn + offset) % count)
                .find(|index| self.sessions[*index].sent.len() < self.plan.in_flight);
            let Some(index) = free else { return Ok(()) };
            self.turn = index + 1;
            self.put_next(index, self.due_ns as u64);
            self.flush(index, now)?;
            self.due_ns += self.work.random.exponential(gap_ns);
        }
        Ok(())
    }

    fn behind(&self) -> Duration {
        let behind_ns = if self.gap_ns.is_some() { self.now_ns() as f64 - self.due_ns } else { 0.0 };
        Duration::from_nanos(behind_ns.max(0.0) as u64)
    }

    /// Encodes the next request of a session, if there is one.
    fn put_next(&mut self, index: usize, at_ns: u64) {
        if let Some(op) = self.work.next(index) {
            let session = &mut self.sessions[index];
            let xid = session.take_xid();
            self.requests.put(&mut self.out, xid, op);
            session.sent.push_back(Sent { at_ns, op });
        }
    }

    fn flush(&mut self, index: usize, now: u64) -> Result<(), NoConnection> {
        if !self.out.is_empty() {
            self.sessions[index].send(&self.out)?;
            self.sessions[index].sent_at_ns = now;
            self.out.clear();
        }
        Ok(())
    }

    /// Keeps sessions alive that had nothing to ask for a third of their timeout.
    fn ping(&mut self) -> Result<(), NoConnection> {
        let now = self.now_ns();
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            if now.saturating_sub(session.sent_at_ns) > session.timeout_ms * 1_000_000 / 3 {
                wire::put_ping(&mut self.out);
                self.flush(index, now)?;
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

/// Puts `sessions` on `plan.threads` threads and runs them; `conduct` says when to measure and to stop.
///
/// # Errors
/// The first connection that could not be had or held, of any thread.
pub fn run<T>(plan: &Plan, conduct: impl FnOnce(&Shared) -> T) -> Result<(Tally, T), NoConnection> {
    let shared = Shared::default();
    if matches!(plan.work, Work::Fill { .. }) {
        // Each of its znodes counts, those that are created before `conduct` looks too.
        shared.measure();
    }
    let started = Instant::now();
    let mut sessions = Session::open_many(&plan.servers, plan.connections)?;
    let mut workers = Vec::with_capacity(plan.threads);
    let mut first = 0;
    for index in 0..plan.threads {
        let share = (plan.connections - first).div_ceil(plan.threads - index);
        let rest = sessions.split_off(share);
        workers.push(Worker::new(
            plan,
            &shared,
            started,
            index,
            first,
            std::mem::replace(&mut sessions, rest),
        )?);
        first += share;
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || worker.run())).collect();
        let conducted = conduct(&shared);
        shared.drain();
        let mut sum = Tally::new();
        for thread in threads {
            sum.add(&thread.join().expect("a thread of ours does not panic")?);
        }
        Ok((sum, conducted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Lie, serve};

    fn plan(server: String, work: Work) -> Plan {
        Plan {
            servers: vec![server],
            connections: 3,
            in_flight: 16,
            threads: 2,
            work,
            value_bytes: 100,
            keys: 50,
            base: "/loadgen/new".to_owned(),
            rate: None,
            seed: 1,
        }
    }

    fn measure(plan: &Plan, time: Duration) -> Result<Tally, NoConnection> {
        let until = Instant::now() + time;
        let conduct = |shared: &Shared| {
            shared.measure();
            while shared.finished() < plan.threads && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        run(plan, conduct).map(|(tally, ())| tally)
    }

    /// Against an honest server nothing is wrong, nothing stays unanswered, and the mix is as asked.
    #[test]
    fn honest_server() {
        let plan = plan(serve(Lie::None, 100), Work::Mix { read_ratio: 0.75 });
        let tally = measure(&plan, Duration::from_millis(300)).expect("a connection");
        assert_eq!((tally.wrong, tally.unanswered, tally.first_wrong.clone()), (0, 0, None));
        assert!(tally.ops() > 1000, "{}", tally.ops());
        let reads = tally.reads.len() as f64 / tally.ops() as f64;
        assert!((0.7..0.8).contains(&reads), "{reads}");
    }

    /// One wrong reply in a hundred does not stay unseen, whatever is wrong with it.
    #[test]
    fn liars_are_caught() {
        for (lie, word) in [(Lie::ShortData, "bytes instead of"), (Lie::Error, "NoNode"), (Lie::Order, "xid")]
        {
            let plan = plan(serve(lie, 100), Work::Mix { read_ratio: 0.5 });
            let tally = measure(&plan, Duration::from_millis(200)).expect("a connection");
            assert!(tally.wrong > 0 && tally.wrong < tally.ops(), "{lie:?}: {}", tally.wrong);
            assert!(tally.first_wrong.is_some_and(|first| first.contains(word)), "{lie:?}");
        }
    }

    /// A server that hangs up ends the run with an error that names it.
    #[test]
    fn lost_connection() {
        let server = serve(Lie::HangUp, 100);
        let plan = plan(server.clone(), Work::Mix { read_ratio: 1.0 });
        let error = measure(&plan, Duration::from_secs(10)).expect_err("the server hung up");
        assert!(error.to_string().starts_with(&server), "{error}");
    }

    /// A fill sends each of its znodes once, over all threads, and ends by itself.
    #[test]
    fn fill_is_complete() {
        let plan = plan(serve(Lie::None, 100), Work::Fill { znodes: 10_001, fanout: 100 });
        let tally = measure(&plan, Duration::from_secs(60)).expect("a connection");
        assert_eq!((tally.writes.len(), tally.reads.len(), tally.wrong), (10_001, 0, 0));
    }

    /// An open loop sends at its rate, however much faster the server could be, and one that has no
    /// room says how far behind it is.
    #[test]
    fn open_loop_holds_its_rate() {
        let mut plan = plan(serve(Lie::None, 100), Work::Mix { read_ratio: 0.5 });
        plan.rate = Some(2000.0);
        let tally = measure(&plan, Duration::from_secs(1)).expect("a connection");
        assert!((1600..2400).contains(&tally.ops()), "{}", tally.ops());
        plan.rate = Some(1e9);
        let tally = measure(&plan, Duration::from_millis(200)).expect("a connection");
        assert!(tally.behind > Duration::from_millis(100), "{:?}", tally.behind);
    }
}
