//! A run: a few threads, each with its share of the sessions.
//!
//! Closed loop: every session keeps `in_flight` units of work in flight, and each reply is followed by the next
//! request. Open loop: requests arrive as a Poisson process whatever the server does, and latency counts from the
//! arrival, so that it has the time that requests waited for a server that stalled.

use crate::engine::address::ServerAddress;
use crate::engine::driver::Driver;
use crate::engine::session::{NoConnection, Session};
use crate::engine::shared::Shared;
use crate::engine::tally::Tally;
use crate::engine::wire::{self, Requests};
use crate::engine::worker::Worker;
use crate::random::Random;
use crate::report::outcome::Series;
use crate::workloads::connect_storm::{SessionIds, StormDriver};
use crate::workloads::fan_out::FanOutDriver;
use crate::workloads::independent::{Independent, IndependentDriver};
use crate::workloads::lock::{Lock, LockDriver};
use crate::workloads::plan::{Plan, Work};
use std::collections::VecDeque;

/// The state of a workload that all threads share.
struct WorkState {
    /// Locks of the lock recipe; empty for other workloads.
    locks: Vec<Lock>,
    /// Ids of the sessions of a connect storm.
    ids: SessionIds,
}

/// The driver of thread `index`, whose sessions have the numbers `first..first + sessions`.
fn driver<'a>(
    plan: &Plan,
    state: &'a WorkState,
    index: usize,
    first: usize,
    sessions: usize,
) -> Box<dyn Driver + 'a> {
    match &plan.work {
        Work::Independent(requests) => Box::new(IndependentDriver {
            kind: requests.clone(),
            in_flight: plan.in_flight,
            random: Random::new(plan.seed, index as u64),
            keys: plan.keys,
            key_count: plan.key_count,
            requests: Requests::new(plan.values(), &plan.base),
            first,
            turns: vec![0; sessions],
            waiting: plan.retry.then(|| vec![VecDeque::new(); sessions]),
            fill_next: index as u64,
            fill_step: plan.threads as u64,
            seen: Vec::new(),
        }),
        Work::Lock { .. } => Box::new(LockDriver::new(&state.locks, first, sessions)),
        Work::Watch => {
            Box::new(FanOutDriver::new(wire::group_path(&plan.base, 0), *plan.value_bytes.end(), sessions))
        }
        Work::Connect => Box::new(StormDriver::new(&state.ids, sessions)),
    }
}

/// The results of a run.
#[derive(Debug)]
pub struct Ran<T> {
    /// Counts and latencies of all threads.
    pub tally: Tally,
    /// The same second by second.
    pub series: Series,
    /// What `conduct` returned.
    pub conducted: T,
}

/// Opens the sessions of `plan` and runs them on `plan.threads` threads. `conduct` decides when the run measures and
/// when it stops, and returns the seconds that it measured and a value of its own.
///
/// # Errors
/// A session could not be opened, or one was lost that may not or cannot connect again.
pub fn run<T>(plan: &Plan, conduct: impl FnOnce(&Shared) -> (f64, T)) -> Result<Ran<T>, NoConnection> {
    assert!(!matches!(plan.work, Work::Watch) || plan.threads == 1, "a fan-out runs on one thread");
    let storm = matches!(plan.work, Work::Connect);
    // A storm only needs to know where the servers are.
    let opened = if storm { plan.servers.len() } else { plan.connections };
    let mut sessions = Session::open_many(&plan.servers, opened)?;
    let addresses = ServerAddress::all(&plan.servers, &sessions)?;
    if storm {
        Session::close_all(sessions);
        sessions = (0..plan.connections).map(|_| Session::unopened()).collect();
    }
    let locks = if let Work::Lock { locks } = plan.work { locks } else { 0 };
    let locks = (0..locks).map(|lock| Lock::new(wire::group_path(&plan.base, lock))).collect();
    let state = WorkState { locks, ids: SessionIds::default() };
    let shared = Shared::new(plan.threads);
    if matches!(plan.work, Work::Independent(Independent::Fill { .. })) {
        // Every znode counts, also those that are created before `conduct` begins.
        shared.measure();
    }
    let mut workers = Vec::with_capacity(plan.threads);
    let mut first = 0;
    for index in 0..plan.threads {
        let share = (plan.connections - first).div_ceil(plan.threads - index);
        let rest = sessions.split_off(share);
        let own = std::mem::replace(&mut sessions, rest);
        let driver = driver(plan, &state, index, first, share);
        workers.push(Worker::new(plan.settings(), &shared, &addresses, (index, first), own, driver)?);
        first += share;
    }
    let (tally, (seconds, conducted)) = std::thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || worker.run())).collect();
        let conducted = conduct(&shared);
        shared.drain();
        let mut sum = Tally::new();
        for thread in threads {
            sum.add(&thread.join().expect("no thread of loadgen panics")?);
        }
        Ok::<_, NoConnection>((sum, conducted))
    })?;
    let series = shared.into_seconds().series(seconds);
    Ok(Ran { tally, series, conducted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Keys;
    use crate::workloads::fake::{Done, Fake, Lie};
    use crate::workloads::prepare;
    use std::time::{Duration, Instant};

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
            retry: false,
            work,
        }
    }

    fn mix(read_ratio: f64) -> Work {
        Work::Independent(Independent::Mix { read_ratio })
    }

    fn list() -> Work {
        Work::Independent(Independent::List { children: 20, path: "/loadgen/list".to_owned() })
    }

    /// Every workload, at least once.
    fn all_work() -> Vec<Work> {
        vec![
            mix(0.5),
            Work::Independent(Independent::sync(0.5, 50)),
            Work::Independent(Independent::Create),
            Work::Independent(Independent::Ephemeral),
            Work::Independent(Independent::Multi { ops: 3 }),
            list(),
            Work::Lock { locks: 1 },
            Work::Lock { locks: 3 },
            Work::Watch,
            Work::Connect,
        ]
    }

    /// If no frame arrives for this long, the server or loadgen waits for something that does not come.
    const STALL: Duration = Duration::from_secs(2);

    /// Prepares `plan` on the honest server, then runs it against `fake` until `is_enough` of what that has done since,
    /// or until no frame arrives. The machine decides how long that takes; returns the seconds.
    fn measure(
        fake: &Fake,
        plan: &mut Plan,
        is_enough: impl Fn(Done, Duration) -> bool,
    ) -> Result<Ran<f64>, NoConnection> {
        plan.servers = vec![fake.honest().listen()];
        prepare::for_plan(plan)?;
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

    /// `count` frames are enough.
    fn frames(count: u64) -> impl Fn(Done, Duration) -> bool {
        move |done, _| done.frames >= count
    }

    /// `duration` is enough, for a load at a rate.
    fn time(duration: Duration) -> impl Fn(Done, Duration) -> bool {
        move |_, elapsed| elapsed >= duration
    }

    /// Against an honest server no reply is wrong or missing, whatever the workload; the seconds add up to the whole.
    #[test]
    fn honest_server() {
        for work in all_work() {
            let mut plan = Plan { value_bytes: 10..=100, ..plan(work) };
            // A series leaves out a last second that is very short.
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
                // This thread woke up only after the next second had begun.
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

    /// The mix has the share of reads that was asked for.
    #[test]
    fn mix_has_its_ratio() {
        let ran = measure(&Fake::new(Lie::None, 100), &mut plan(mix(0.75)), frames(10_000));
        let tally = ran.expect("a connection").tally;
        let reads = tally.latencies.reads.len() as f64 / tally.ops() as f64;
        assert!(tally.ops() > 1000 && (0.7..0.8).contains(&reads), "{reads} of {}", tally.ops());
    }

    /// One wrong reply in 99, or in seven, is noticed, whatever is wrong with it.
    #[test]
    fn liars_are_caught() {
        let sync = || Work::Independent(Independent::sync(0.5, 50));
        let lock = || Work::Lock { locks: 1 };
        let cases = [
            (mix(0.5), Lie::ShortData, "bytes instead of"),
            (mix(0.5), Lie::Error, "NoNode"),
            (mix(0.5), Lie::Order, "xid"),
            (mix(0.5), Lie::PastZxid, "zxid"),
            (sync(), Lie::Stale, "after a sync"),
            (sync(), Lie::ShortData, "bytes instead of"),
            (Work::Independent(Independent::Create), Lie::Order, "xid"),
            (Work::Independent(Independent::Ephemeral), Lie::Owner, "owned by"),
            (Work::Independent(Independent::Ephemeral), Lie::Error, "NoNode"),
            (Work::Independent(Independent::Multi { ops: 3 }), Lie::ShortMulti, "result"),
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
            // With these numbers each request of a unit gets a wrong reply now and then.
            let every = if matches!(work, Work::Independent(_)) { 99 } else { 7 };
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

    /// A queue without its head gives a lock to two sessions, or to one that is not queued: both are noticed.
    #[test]
    fn two_holders_are_caught() {
        let fake = Fake::new(Lie::ShortList, 7);
        let ran = measure(&fake, &mut plan(Work::Lock { locks: 1 }), frames(4_000));
        let first = ran.expect("a connection").tally.trouble.first_wrong.expect("a wrong reply");
        assert!(first.contains("held by two") || first.contains("missing"), "{first}");
    }

    /// A watcher without its event leaves the change unanswered.
    #[test]
    fn missing_event_is_noticed() {
        let ran = measure(&Fake::new(Lie::NoEvent, 10), &mut plan(Work::Watch), |_, _| false);
        let tally = ran.expect("a connection").tally;
        assert_eq!((tally.trouble.wrong, tally.trouble.unanswered), (0, 1));
    }

    /// A server that closes a connection ends the run with an error that names it.
    #[test]
    fn lost_connection() {
        let mut plan = plan(mix(1.0));
        let error = measure(&Fake::new(Lie::HangUp, 100), &mut plan, |_, _| false);
        let error = error.expect_err("the server hung up");
        assert!(error.to_string().starts_with(&plan.servers[0]), "{error}");
    }

    /// Sessions that connect again go on; requests in flight are lost, and nothing is wrong.
    #[test]
    fn sessions_connect_again() {
        for work in all_work() {
            let every = match work {
                Work::Independent(_) => 100,
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

    /// If one server takes no sessions any more, they continue on the others.
    #[test]
    fn sessions_go_to_another_server() {
        let fake = Fake::new(Lie::None, 100);
        let mut plan = Plan { reconnect: true, ..plan(mix(0.5)) };
        plan.servers = vec![fake.honest().listen()];
        prepare::for_plan(&plan).expect("a connection");
        let bad = fake.with(Lie::HangUp, 100);
        plan.servers = vec![bad.listen(), fake.listen()];
        // Four at first, and two of them connect again.
        let ran = conduct(&fake, &plan, |done, _| done.sessions >= 6 && done.frames > 2_000);
        let tally = ran.expect("a connection").tally;
        assert_eq!((tally.trouble.wrong, tally.trouble.unanswered), (0, 0), "{tally:?}");
        assert_eq!((tally.trouble.reconnects, tally.trouble.expired), (2, 0), "{tally:?}");
    }

    /// A fill creates each of its znodes once, over all threads, and ends by itself.
    #[test]
    fn fill_is_complete() {
        let mut plan = plan(Work::Independent(Independent::Fill { znodes: 10_001, fanout: 100 }));
        let ran = measure(&Fake::new(Lie::None, 100), &mut plan, |_, _| false);
        let tally = ran.expect("a connection").tally;
        assert_eq!(
            (tally.latencies.writes.len(), tally.latencies.reads.len(), tally.trouble.wrong),
            (10_001, 0, 0)
        );
    }

    /// An open loop sends at its rate even if the server could do more; one without room reports how far behind it is.
    #[test]
    fn open_loop_holds_its_rate() {
        let fake = Fake::new(Lie::None, 100);
        let mut plan = Plan { rate: Some(2000.0), ..plan(mix(0.5)) };
        let ran = measure(&fake, &mut plan, time(Duration::from_secs(1))).expect("a connection");
        // On a busy machine loadgen may not have sent the last requests that were due.
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
