//! The measured load: a few threads, each with its share of the sessions.
//!
//! Closed loop: every session keeps `in_flight` requests on their way, and each reply is followed by
//! the next request. Open loop: requests arrive as a Poisson process whatever the server does, and
//! latency counts from the arrival, so that a server that stalls pays for all who had to wait.

use crate::driver::Driver;
use crate::fanout::FanOutDriver;
use crate::flow::{Flow, FlowDriver};
use crate::lock::{Lock, LockDriver};
use crate::outcome::Series;
use crate::random::{Keys, Random};
use crate::session::{NoConnection, Session};
use crate::storm::{SessionIds, StormDriver};
use crate::tally::{Seconds, Tally};
use crate::wire::{self, Requests, Values};
use crate::worker::Worker;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `host:port` each; sessions are spread over them in turn.
    pub servers: Vec<String>,
    /// Sessions; of a connect storm those that are opened at once.
    pub connections: usize,
    /// Units of work on their way per session: always (closed loop) or at most (open loop).
    pub in_flight: usize,
    /// Threads of ours.
    pub threads: usize,
    /// What is asked for.
    pub work: Work,
    /// Bytes of a value.
    pub value_bytes: RangeInclusive<u32>,
    /// Prepared keys.
    pub key_count: u32,
    /// How often which of them.
    pub keys: Keys,
    /// Parent of what is created.
    pub base: String,
    /// Arrivals per second of an open loop.
    pub rate: Option<f64>,
    /// Seed of keys, mix, values and arrivals.
    pub seed: u64,
    /// Whether a session whose connection ends connects again.
    pub reconnect: bool,
}

impl Plan {
    /// Most bytes of a reply that is right.
    pub fn reply_bytes_max(&self) -> usize {
        /// Bytes of a listed child, and of everything else in a reply.
        const CHILD_BYTES: usize = 32;
        const OTHER_BYTES: usize = 1024;
        let variable = match &self.work {
            Work::Flow(Flow::List { children, .. }) => *children as usize * CHILD_BYTES,
            // Twice: what connections left behind may be there as well.
            Work::Lock { .. } => 2 * self.connections * CHILD_BYTES,
            Work::Flow(Flow::Multi { ops }) => *ops as usize * 128,
            _ => *self.value_bytes.end() as usize,
        };
        variable + OTHER_BYTES
    }

    fn values(&self) -> Values {
        Values::new(self.value_bytes.clone())
    }
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub enum Work {
    /// Requests that do not depend on replies.
    Flow(Flow),
    /// The lock recipe, on locks `0..locks` below the base.
    Lock {
        /// Locks.
        locks: u32,
    },
    /// One writer and `connections - 1` watchers of the znode 0 below the base.
    Watch,
    /// Sessions that are opened and closed.
    Connect,
}

/// A server, where its name leads.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`, as given.
    pub name: String,
    /// The address that answers.
    pub address: SocketAddr,
}

impl Target {
    /// Of each of `servers`, of which sessions `0..` are open, in turn.
    fn all(servers: &[String], sessions: &[Session]) -> Result<Vec<Self>, NoConnection> {
        let find = |index: usize, name: &String| {
            let failed = |error| NoConnection::Io { server: name.clone(), error };
            let address = match sessions.get(index) {
                Some(session) => session.stream().peer_addr().map_err(failed)?,
                None => name
                    .to_socket_addrs()
                    .map_err(failed)?
                    .next()
                    .ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?,
            };
            Ok(Self { name: name.clone(), address })
        };
        servers.iter().enumerate().map(|(index, name)| find(index, name)).collect()
    }
}

const WARM_UP: u8 = 0;
/// Replies count.
pub const MEASURE: u8 = 1;
/// Nothing is begun and nothing counts.
pub const DRAINING: u8 = 2;

/// What the threads and their owner tell each other.
#[derive(Debug)]
pub struct Shared {
    started: Instant,
    phase: AtomicU8,
    /// When measuring began, in nanoseconds since `started`.
    measure_at_ns: AtomicU64,
    /// Threads that have nothing left to do.
    finished: AtomicUsize,
    seconds: Mutex<Seconds>,
}

impl Shared {
    /// For so many threads.
    fn new(threads: usize) -> Self {
        Self {
            started: Instant::now(),
            phase: AtomicU8::new(WARM_UP),
            measure_at_ns: AtomicU64::new(0),
            finished: AtomicUsize::new(0),
            seconds: Mutex::new(Seconds::new(threads)),
        }
    }

    /// Since the run's start, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Since measuring began, in nanoseconds.
    pub fn measured_ns(&self) -> u64 {
        self.now_ns().saturating_sub(self.measure_at_ns.load(Ordering::Acquire))
    }

    /// How far the run is.
    pub fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }

    /// The seconds that are over.
    pub fn seconds(&self) -> &Mutex<Seconds> {
        &self.seconds
    }

    /// From here on, replies count.
    pub fn measure(&self) {
        if self.phase() == WARM_UP {
            self.measure_at_ns.store(self.now_ns(), Ordering::Release);
            self.phase.store(MEASURE, Ordering::Release);
        }
    }

    /// From here on, nothing is begun and nothing counts.
    pub fn drain(&self) {
        self.phase.store(DRAINING, Ordering::Release);
    }

    /// A thread has nothing left to do, or failed.
    pub fn finish(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// Threads that have nothing left to do, or failed.
    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire)
    }
}

/// What threads share of a workload.
struct Common {
    locks: Vec<Lock>,
    ids: SessionIds,
}

/// The workload's part on thread `index`, whose sessions are `first..first + sessions`.
fn driver<'a>(
    plan: &Plan,
    common: &'a Common,
    index: usize,
    first: usize,
    sessions: usize,
) -> Box<dyn Driver + 'a> {
    match &plan.work {
        Work::Flow(flow) => Box::new(FlowDriver {
            flow: flow.clone(),
            in_flight: plan.in_flight,
            random: Random::new(plan.seed, index as u64),
            keys: plan.keys,
            key_count: plan.key_count,
            requests: Requests::new(plan.values(), &plan.base),
            first,
            turns: vec![0; sessions],
            fill_next: index as u64,
            fill_step: plan.threads as u64,
            seen: Vec::new(),
        }),
        Work::Lock { .. } => Box::new(LockDriver::new(&common.locks, first, sessions)),
        Work::Watch => {
            Box::new(FanOutDriver::new(wire::group_path(&plan.base, 0), *plan.value_bytes.end(), sessions))
        }
        Work::Connect => Box::new(StormDriver::new(&common.ids, sessions)),
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran<T> {
    /// Of all threads.
    pub tally: Tally,
    /// Second by second.
    pub series: Series,
    /// What the run's conductor returned.
    pub conducted: T,
}

/// Puts the sessions on `plan.threads` threads and runs them; `conduct` says when to measure and to stop, and
/// returns for how many seconds it measured.
///
/// # Errors
/// The first connection that could not be had or held, of any thread.
pub fn run<T>(plan: &Plan, conduct: impl FnOnce(&Shared) -> (f64, T)) -> Result<Ran<T>, NoConnection> {
    assert!(!matches!(plan.work, Work::Watch) || plan.threads == 1, "a fan-out runs on one thread");
    let storm = matches!(plan.work, Work::Connect);
    // A storm only needs to know where the servers are.
    let opened = if storm { plan.servers.len() } else { plan.connections };
    let mut sessions = Session::open_many(&plan.servers, opened)?;
    let targets = Target::all(&plan.servers, &sessions)?;
    if storm {
        Session::close_all(sessions);
        sessions = (0..plan.connections).map(|_| Session::unopened()).collect();
    }
    let locks = if let Work::Lock { locks } = plan.work { locks } else { 0 };
    let locks = (0..locks).map(|lock| Lock::new(wire::group_path(&plan.base, lock))).collect();
    let common = Common { locks, ids: SessionIds::default() };
    let shared = Shared::new(plan.threads);
    if matches!(plan.work, Work::Flow(Flow::Fill { .. })) {
        // Each of its znodes counts, those that are created before `conduct` looks too.
        shared.measure();
    }
    let mut workers = Vec::with_capacity(plan.threads);
    let mut first = 0;
    for index in 0..plan.threads {
        let share = (plan.connections - first).div_ceil(plan.threads - index);
        let rest = sessions.split_off(share);
        let own = std::mem::replace(&mut sessions, rest);
        let driver = driver(plan, &common, index, first, share);
        workers.push(Worker::new(plan, &shared, &targets, (index, first), own, driver)?);
        first += share;
    }
    let (tally, (seconds, conducted)) = std::thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || worker.run())).collect();
        let conducted = conduct(&shared);
        shared.drain();
        let mut sum = Tally::new();
        for thread in threads {
            sum.add(&thread.join().expect("a thread of ours does not panic")?);
        }
        Ok::<_, NoConnection>((sum, conducted))
    })?;
    let series = shared.seconds.into_inner().expect("no thread of ours panics").series(seconds);
    Ok(Ran { tally, series, conducted })
}
