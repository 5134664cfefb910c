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
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
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
    /// Whether a connection ended after the last unit was begun: what others waited for may never come.
    lost_draining: AtomicBool,
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
            lost_draining: AtomicBool::new(false),
            seconds: Mutex::new(Seconds::new(threads)),
        }
    }

    /// Since the run's start, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// When measuring began, in nanoseconds since the run's start.
    pub fn measure_at_ns(&self) -> u64 {
        self.measure_at_ns.load(Ordering::Acquire)
    }

    /// Since measuring began, in nanoseconds.
    pub fn measured_ns(&self) -> u64 {
        self.now_ns().saturating_sub(self.measure_at_ns())
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

    /// A connection has ended that nobody connects again, now that only replies are awaited.
    pub fn lose_draining(&self) {
        self.lost_draining.store(true, Ordering::Release);
    }

    /// Whether one did.
    pub fn has_lost_draining(&self) -> bool {
        self.lost_draining.load(Ordering::Acquire)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Done, Fake, Lie};
    use crate::load;
    use std::time::Duration;

    fn plan(work: Work) -> Plan {
        Plan {
            servers: Vec::new(),
            connections: 4,
            in_flight: 16,
            threads: if matches!(work, Work::Watch) { 1 } else { 2 },
            value_bytes: 100..=100,
            key_count: 50,
            keys: Keys::Uniform(50),
            base: "/loadgen/new".to_owned(),
            rate: None,
            seed: 1,
            reconnect: matches!(work, Work::Connect),
            work,
        }
    }

    fn mix(read_ratio: f64) -> Work {
        Work::Flow(Flow::Mix { read_ratio })
    }

    fn list() -> Work {
        Work::Flow(Flow::List { children: 20, path: "/loadgen/list".to_owned() })
    }

    /// Each workload, at least once.
    fn all_work() -> Vec<Work> {
        vec![
            mix(0.5),
            Work::Flow(Flow::sync(0.5, 50)),
            Work::Flow(Flow::Create),
            Work::Flow(Flow::Ephemeral),
            Work::Flow(Flow::Multi { ops: 3 }),
            list(),
            Work::Lock { locks: 1 },
            Work::Lock { locks: 3 },
            Work::Watch,
            Work::Connect,
        ]
    }

    /// Without another frame for so long the server, or loadgen, waits for something that does not come.
    const STALL: Duration = Duration::from_secs(2);

    /// Prepares `plan` truthfully, then runs it against `fake` until `is_enough` of what that has done meanwhile, or
    /// until nothing goes on: how long that takes is what the machine makes of it. Gives the seconds it took.
    fn measure(
        fake: &Fake,
        plan: &mut Plan,
        is_enough: impl Fn(Done, Duration) -> bool,
    ) -> Result<Ran<f64>, NoConnection> {
        plan.servers = vec![fake.honest().listen()];
        load::prepare(plan)?;
        plan.servers = vec![fake.listen()];
        conduct(fake, plan, is_enough)
    }

    fn conduct(
        fake: &Fake,
        plan: &Plan,
        is_enough: impl Fn(Done, Duration) -> bool,
    ) -> Result<Ran<f64>, NoConnection> {
        let before = fake.done();
        run(plan, |shared| {
            let started = Instant::now();
            shared.measure();
            let (mut last, mut moved) = (before, started);
            while shared.finished() < plan.threads && moved.elapsed() < STALL {
                std::thread::sleep(Duration::from_millis(5));
                let now = fake.done();
                if now.frames > last.frames {
                    (last, moved) = (now, Instant::now());
                }
                let since = Done {
                    frames: now.frames - before.frames,
                    sessions: now.sessions - before.sessions,
                    hang_ups: now.hang_ups - before.hang_ups,
                };
                if is_enough(since, started.elapsed()) {
                    break;
                }
            }
            shared.drain();
            let seconds = started.elapsed().as_secs_f64();
            (seconds, seconds)
        })
    }

    /// So many frames are enough.
    fn frames(count: u64) -> impl Fn(Done, Duration) -> bool {
        move |done, _| done.frames >= count
    }

    /// So much time is enough: for what is done at a rate.
    fn time(duration: Duration) -> impl Fn(Done, Duration) -> bool {
        move |_, elapsed| elapsed >= duration
    }

    /// Against an honest server nothing is wrong and nothing stays unanswered, whatever the workload; the
    /// seconds tell of as much as the whole.
    #[test]
    fn honest_server() {
        for work in all_work() {
            let mut plan = Plan { value_bytes: 10..=100, ..plan(work) };
            // A series leaves out a last second that was cut very short.
            let enough =
                |done: Done, elapsed: Duration| done.frames >= 2_000 && elapsed.subsec_millis() >= 300;
            let ran = measure(&Fake::new(Lie::None, 100), &mut plan, enough);
            let Ran { tally, series, conducted: seconds } = ran.expect("a connection");
            let found = (
                tally.trouble.wrong,
                tally.trouble.unanswered,
                tally.trouble.lost,
                tally.trouble.first_wrong.clone(),
            );
            assert_eq!(found, (0, 0, 0, None), "{:?}", plan.work);
            assert!(tally.ops() > 20, "{:?}: {}", plan.work, tally.ops());
            if seconds.fract() < 0.15 {
                // The machine kept this thread until the next second had begun.
                continue;
            }
            let last = series.at_s.last().copied().unwrap_or(0.0);
            assert!((last - seconds).abs() < 0.01, "{series:?} of {seconds} s");
            let starts = std::iter::once(&0.0).chain(&series.at_s);
            let rates = series.all.ops_per_s.iter().zip(&series.at_s).zip(starts);
            let counted: f64 = rates.map(|((rate, end), start)| rate * (end - start)).sum();
            assert!((counted / tally.ops() as f64 - 1.0).abs() < 1e-2, "{counted} of {}", tally.ops());
        }
    }

    /// The mix is as asked.
    #[test]
    fn mix_has_its_ratio() {
        let ran = measure(&Fake::new(Lie::None, 100), &mut plan(mix(0.75)), frames(10_000));
        let tally = ran.expect("a connection").tally;
        let reads = tally.latencies.reads.len() as f64 / tally.ops() as f64;
        assert!(tally.ops() > 1000 && (0.7..0.8).contains(&reads), "{reads} of {}", tally.ops());
    }

    /// One wrong reply in a hundred, or in ten, does not stay unseen, whatever is wrong with it.
    #[test]
    fn liars_are_caught() {
        let sync = || Work::Flow(Flow::sync(0.5, 50));
        let lock = || Work::Lock { locks: 1 };
        let cases = [
            (mix(0.5), Lie::ShortData, "bytes instead of"),
            (mix(0.5), Lie::Error, "NoNode"),
            (mix(0.5), Lie::Order, "xid"),
            (mix(0.5), Lie::PastZxid, "zxid"),
            (sync(), Lie::Stale, "behind a sync"),
            (sync(), Lie::ShortData, "bytes instead of"),
            (Work::Flow(Flow::Create), Lie::Order, "xid"),
            (Work::Flow(Flow::Ephemeral), Lie::Owner, "owned by"),
            (Work::Flow(Flow::Ephemeral), Lie::Error, "NoNode"),
            (Work::Flow(Flow::Multi { ops: 3 }), Lie::ShortMulti, "result"),
            (list(), Lie::ShortList, "children"),
            (list(), Lie::Error, "NoNode"),
            (lock(), Lie::Version, "version"),
            (lock(), Lie::Error, "NoNode"),
            (Work::Watch, Lie::TwoEvents, "not asked for"),
            (Work::Watch, Lie::OtherEvent, "not asked for"),
            (Work::Watch, Lie::ShortData, "bytes instead of"),
            (Work::Connect, Lie::SameSession, "given twice"),
        ];
        for (work, lie, word) in cases {
            // Numbers with which no request of a unit is always spared.
            let every = if matches!(work, Work::Flow(_)) { 99 } else { 7 };
            let mut plan = plan(work);
            let ran = measure(&Fake::new(lie, every), &mut plan, frames(4_000));
            let tally = ran.unwrap_or_else(|error| panic!("{:?} {lie:?}: {error}", plan.work)).tally;
            let case = format!("{:?} {lie:?}: {} of {}", plan.work, tally.trouble.wrong, tally.ops());
            assert!(tally.trouble.wrong > 0, "{case}");
            assert!(
                tally.trouble.first_wrong.as_ref().is_some_and(|first| first.contains(word)),
                "{case}, {tally:?}"
            );
        }
    }

    /// A queue without its head lets two hold a lock, or one that is not in it: both are noticed.
    #[test]
    fn two_holders_are_caught() {
        let fake = Fake::new(Lie::ShortList, 7);
        let ran = measure(&fake, &mut plan(Work::Lock { locks: 1 }), frames(4_000));
        let first = ran.expect("a connection").tally.trouble.first_wrong.expect("a wrong reply");
        assert!(first.contains("held by two") || first.contains("missing"), "{first}");
    }

    /// A watcher that is not told leaves the change unanswered.
    #[test]
    fn missing_event_is_noticed() {
        let ran = measure(&Fake::new(Lie::NoEvent, 10), &mut plan(Work::Watch), |_, _| false);
        let tally = ran.expect("a connection").tally;
        assert_eq!((tally.trouble.wrong, tally.trouble.unanswered), (0, 1));
    }

    /// A server that hangs up ends the run with an error that names it.
    #[test]
    fn lost_connection() {
        let mut plan = plan(mix(1.0));
        let error = measure(&Fake::new(Lie::HangUp, 100), &mut plan, |_, _| false);
        let error = error.expect_err("the server hung up");
        assert!(error.to_string().starts_with(&plan.servers[0]), "{error}");
    }

    /// Sessions that connect again go on; what was on its way is lost, and nothing is wrong.
    #[test]
    fn connections_are_had_again() {
        for work in all_work() {
            let every = match work {
                Work::Flow(_) => 100,
                // The second frame of a connection is its last.
                Work::Connect => 1,
                _ => 20,
            };
            let mut plan = Plan { reconnect: true, ..plan(work) };
            let enough = |done: Done, _: Duration| done.hang_ups > 20 && done.frames > 2_000;
            let ran = measure(&Fake::new(Lie::HangUp, every), &mut plan, enough);
            let tally = ran.expect("a connection").tally;
            let found = (tally.trouble.wrong, tally.trouble.unanswered, tally.trouble.first_wrong.clone());
            assert_eq!(found, (0, 0, None), "{:?}", plan.work);
            assert!(tally.trouble.reconnects > 3 && tally.trouble.lost > 3, "{:?}: {tally:?}", plan.work);
            assert!(tally.ops() > 20, "{:?}: {}", plan.work, tally.ops());
        }
    }

    /// Where one server takes no sessions any more, they go to the others and are the same as before.
    #[test]
    fn sessions_go_to_another_server() {
        let fake = Fake::new(Lie::None, 100);
        let mut plan = Plan { reconnect: true, ..plan(mix(0.5)) };
        plan.servers = vec![fake.honest().listen()];
        load::prepare(&plan).expect("a connection");
        let bad = fake.with(Lie::HangUp, 100);
        plan.servers = vec![bad.listen(), fake.listen()];
        // Four at first, and two of them again.
        let ran = conduct(&fake, &plan, |done, _| done.sessions >= 6 && done.frames > 2_000);
        let tally = ran.expect("a connection").tally;
        assert_eq!((tally.trouble.wrong, tally.trouble.unanswered), (0, 0), "{tally:?}");
        assert_eq!((tally.trouble.reconnects, tally.trouble.expired), (2, 0), "{tally:?}");
    }

    /// A fill sends each of its znodes once, over all threads, and ends by itself.
    #[test]
    fn fill_is_complete() {
        let mut plan = plan(Work::Flow(Flow::Fill { znodes: 10_001, fanout: 100 }));
        let ran = measure(&Fake::new(Lie::None, 100), &mut plan, |_, _| false);
        let tally = ran.expect("a connection").tally;
        assert_eq!(
            (tally.latencies.writes.len(), tally.latencies.reads.len(), tally.trouble.wrong),
            (10_001, 0, 0)
        );
    }

    /// An open loop sends at its rate, however much faster the server could be, and one that has no
    /// room says how far behind it is.
    #[test]
    fn open_loop_holds_its_rate() {
        let fake = Fake::new(Lie::None, 100);
        let mut plan = Plan { rate: Some(2000.0), ..plan(mix(0.5)) };
        let ran = measure(&fake, &mut plan, time(Duration::from_secs(1))).expect("a connection");
        // A busy machine may have kept loadgen from sending what was due last.
        let (due, tally) = (2000.0 * ran.conducted, ran.tally);
        let sent = (tally.ops() + tally.unsent) as f64;
        assert!((0.8 * due..1.2 * due).contains(&sent), "{sent} of {due}");
        assert!(tally.ops() as f64 > 0.5 * due, "{} of {due}", tally.ops());
        plan.rate = Some(1e9);
        let tally = measure(&fake, &mut plan, time(Duration::from_millis(200))).expect("a connection").tally;
        assert!(tally.behind > Duration::from_millis(100), "{:?}", tally.behind);
        assert!(tally.unsent > 1_000_000, "{}", tally.unsent);
    }
}
