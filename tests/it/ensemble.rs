//! Three servers as one service, under SIGKILL, SIGSTOP and cuts of the network: what clients saw is
//! what ZooKeeper promises.
//!
//! `ZKFAST_UNDER_TEST=java` judges the real server, `java,zkfast,java` a mixed ensemble.
//! `ZKFAST_FAULT_SECONDS`, `ZKFAST_FAULT_SEED` and `ZKFAST_FAULT_SERVERS` make other runs: ten minutes
//! of faults are
//!
//! ```text
//! ZKFAST_FAULT_SECONDS=600 cargo test --release --test it ensemble::faults -- --nocapture
//! ```
//!
//! Servers get the test's environment. With `ZKFAST_BIN` naming a build that is broken on purpose,
//! and `ZKFAST_FAULT_EXPECT=violation`, a run passes only if its clients notice.

mod beside_java;
mod clients;
pub mod cluster;
mod disks;
mod history;
mod mutations;
mod nemesis;
mod network;
mod story;

use crate::harness::{GroupDelay, Kind, alone, setting};
use clients::{AbortOnDrop, FINISH, RUN, Run};
use cluster::{Cluster, START_TIMEOUT, Shape};
use history::{Check, Entry, History, Op, Outcome, Violation, check, summary};
use nemesis::{Means, unleash};
use network::{Network, skip};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Of faults in each test.
const SECONDS: u64 = 25;
const SERVERS: u64 = 3;
const MIXED_CLIENTS: usize = 6;
const LOCK_CLIENTS: usize = 3;
/// Longest history whose changes are checked as well, which takes twenty times as long as the history.
const MUTATED_ENTRIES_MAX: usize = 150_000;
/// How many violations a failing test shows.
const SHOWN: usize = 20;

/// Short ticks, so that many elections fit in; snapshots often, so that faults meet them.
const KEYS: &[(&str, &str)] = &[
    ("tickTime", "500"),
    ("initLimit", "20"),
    ("syncLimit", "4"),
    ("maxSessionTimeout", "60000"),
    ("snapCount", "2000"),
];

/// For tests in which nobody is to lose its leader but by what the test does: a busy machine may keep a server from
/// running for two seconds, which is all that [`KEYS`] allow.
const CALM_KEYS: &[(&str, &str)] =
    &[("tickTime", "500"), ("initLimit", "40"), ("syncLimit", "120"), ("maxSessionTimeout", "60000")];

/// Servers that are killed and paused, the leader most of all, lose nothing and order everything.
#[test]
fn faults_of_processes() {
    let _alone = alone();
    judge(Cluster::start(&shapes(), KEYS, None), Means::Processes);
}

/// Servers that do not hear each other, in one direction or both, lose nothing and order everything.
#[test]
fn faults_of_the_network() {
    let _alone = alone();
    let shapes = shapes();
    match Network::new(shapes.len()) {
        Ok(network) => judge(Cluster::start(&shapes, KEYS, Some(network)), Means::Network),
        Err(reason) => skip("ensemble::faults_of_the_network", &reason),
    }
}

/// A leader that nobody hears any more, and that is more patient than the others, does not answer a sync once another
/// one leads: a read behind it would show what was.
#[test]
fn faults_make_no_sync_stale() {
    let _alone = alone();
    let mut shapes = shapes();
    let former = shapes.len();
    shapes[former - 1].keys.push(("syncLimit".to_owned(), "240".to_owned()));
    let network = match Network::new(shapes.len()) {
        Ok(network) => network,
        Err(reason) => return skip("ensemble::faults_make_no_sync_stale", &reason),
    };
    let mut cluster = Cluster::start(&shapes, KEYS, Some(network));
    // Of equals, the one with the highest number is elected.
    while let leader = cluster.wait_for_leader(START_TIMEOUT)
        && leader != former
    {
        cluster.stop(leader);
        cluster.wait_for_leader(START_TIMEOUT);
        cluster.spawn(leader);
        cluster.wait_until_all_serve(START_TIMEOUT);
    }
    clients::prepare(cluster.address(former));
    let mut reader = clients::Reader::new(cluster.address(former));
    assert_eq!(reader.read_synced(), 0, "nobody has written yet");
    let network = cluster.network().expect("made above");
    for sid in cluster.sids().filter(|sid| *sid != former) {
        network.cut(former, sid);
        network.cut(sid, former);
    }
    let mut group_delay = GroupDelay::new(START_TIMEOUT);
    let leader = loop {
        let leader = cluster.wait_for_leader(START_TIMEOUT);
        if leader != former {
            break leader;
        }
        assert!(!group_delay.is_over(), "the others elect nobody");
    };
    assert_eq!(clients::overwrite(cluster.address(leader)), 1);
    assert_eq!(cluster.mode(former).as_deref(), Some("leader"), "it has not noticed yet");
    let version = reader.try_read_synced();
    cluster.network().expect("made above").heal();
    cluster.wait_until_all_serve(START_TIMEOUT);
    let is_stale = version.is_some_and(|version| version < 1);
    eprintln!("a sync at the former leader: version {version:?} after 1 was written");
    assert_eq!(is_stale, std::env::var("ZKFAST_FAULT_EXPECT").is_ok_and(|what| what == "violation"));
}

/// Who leads, who follows and who observes is told; a stopped leader has a successor and comes back as a
/// follower; what an observer is asked to write, all write.
#[test]
fn roles_change_hands() {
    let _alone = alone();
    let mut shapes = shapes();
    let voters = shapes.len();
    shapes.push(Shape { observer: true, ..shapes[0].clone() });
    let mut cluster = Cluster::start(&shapes, CALM_KEYS, None);
    let observer = shapes.len();
    let modes = |cluster: &mut Cluster| {
        let mode = |sid| cluster.mode(sid).unwrap_or_default();
        let mut modes: Vec<String> = (1..=observer).map(mode).collect();
        assert_eq!(modes.pop().as_deref(), Some("observer"));
        modes.sort_unstable();
        modes
    };
    let expected = [vec!["follower"; voters - 1], vec!["leader"]].concat();
    assert_eq!(modes(&mut cluster), expected);
    for _ in 0..voters {
        let leader = cluster.wait_for_leader(START_TIMEOUT);
        let told = cluster.mntr(leader);
        assert_eq!(told.get("server_state").map(String::as_str), Some("leader"), "{told:?}");
        assert_eq!(
            told.get("synced_followers").map(String::as_str),
            Some(&*(voters - 1).to_string()),
            "{told:?}"
        );
        cluster.stop(leader);
        let successor = cluster.wait_for_leader(START_TIMEOUT);
        assert_ne!(successor, leader);
        cluster.spawn(leader);
        cluster.wait_until_all_serve(START_TIMEOUT);
        assert_eq!(modes(&mut cluster), expected);
        assert_eq!(cluster.leader(), Some(successor), "a server that comes back must not unseat the leader");
    }
    clients::prepare(cluster.address(observer));
    let trees: Vec<_> =
        cluster.sids().map(|sid| (sid, clients::walk(cluster.address(sid)).expect("a tree"))).collect();
    let history = History { clients: Vec::new(), trees };
    let violations = check(&history);
    assert!(violations.is_empty(), "{}", violations[0]);
}

/// Java servers are replaced by those under test one after the other, each with an empty disk, and these by
/// Java servers again: sessions, ephemerals and zxids go on, and nothing is lost.
#[test]
fn servers_are_replaced_one_by_one() {
    let _alone = alone();
    let ours = shapes();
    let java = vec![Shape::voter(Kind::Java); ours.len()];
    let mut cluster = Cluster::start(&java, KEYS, None);
    let history = record(&mut cluster, |cluster| {
        for (shape, sid) in ours.iter().chain(&java).zip((1..=ours.len()).cycle()) {
            std::thread::sleep(Duration::from_millis(300));
            cluster.stop(sid);
            cluster.forget(sid);
            cluster.reshape(sid, shape.clone());
            cluster.spawn(sid);
            let took = cluster.wait_until_all_serve(START_TIMEOUT);
            eprintln!("server {sid} is {:?} after {took:.1?}", shape.kind);
        }
    });
    eprintln!("{}", summary(&history));
    let violations = violations(&cluster, &history);
    assert!(violations.is_empty(), "{} violations, the first: {}", violations.len(), violations[0]);
}

/// Two of three servers that forget what they acknowledged are found out by the clients.
#[test]
fn faults_that_lose_writes_are_noticed() {
    let _alone = alone();
    let mut cluster = Cluster::start(&shapes(), KEYS, None);
    let sids: Vec<usize> = cluster.sids().collect();
    let history = record(&mut cluster, |cluster| {
        std::thread::sleep(Duration::from_secs(2));
        for &sid in &sids {
            cluster.kill(sid);
        }
        for &sid in &sids[..sids.len() / 2 + 1] {
            cluster.forget(sid);
            cluster.spawn(sid);
        }
        // The others must find a leader that knows less, else they would teach it.
        cluster.wait_for_leader(START_TIMEOUT);
        for &sid in &sids[sids.len() / 2 + 1..] {
            cluster.spawn(sid);
        }
        cluster.wait_until_all_serve(START_TIMEOUT);
        std::thread::sleep(Duration::from_secs(1));
    });
    let violations = check(&history);
    show(&violations);
    assert!(!violations.is_empty(), "a lost history went unnoticed: {}", summary(&history));
}

fn shapes() -> Vec<Shape> {
    let names = std::env::var("ZKFAST_UNDER_TEST").unwrap_or_default();
    let kinds: Vec<Kind> =
        names.split(',').map(|name| if name == "java" { Kind::Java } else { Kind::Zkfast }).collect();
    let servers = usize::try_from(setting("ZKFAST_FAULT_SERVERS", SERVERS)).expect("a few servers");
    kinds.into_iter().cycle().take(servers).map(Shape::voter).collect()
}

/// Runs clients and faults and looks at what came of it.
fn judge(mut cluster: Cluster, means: Means) {
    let seed = setting("ZKFAST_FAULT_SEED", 1);
    let time = Duration::from_secs(setting("ZKFAST_FAULT_SECONDS", SECONDS));
    eprintln!("again: ZKFAST_FAULT_SEED={seed} cargo test --release --test it ensemble::faults");
    let mut report = None;
    let history = record(&mut cluster, |cluster| report = Some(unleash(cluster, means, seed, time)));
    eprintln!("{}; {}", report.expect("set above"), summary(&history));
    eprintln!("longest time without an acknowledged write: {:.1?}", longest_silence(&history));
    let violations = violations(&cluster, &history);
    if std::env::var("ZKFAST_FAULT_EXPECT").is_ok_and(|what| what == "violation") {
        assert!(!violations.is_empty(), "this build is broken, but nobody noticed");
        return;
    }
    assert!(violations.is_empty(), "{} violations, the first: {}", violations.len(), violations[0]);
    if history.clients.iter().map(Vec::len).sum::<usize>() > MUTATED_ENTRIES_MAX {
        return;
    }
    let begun = Instant::now();
    let blind = mutations::unnoticed(&history);
    eprintln!("checked its mutations in {:.1?}", begun.elapsed());
    assert!(blind.is_empty(), "changes of this very history that the checks do not notice: {blind:?}");
}

/// Lets clients work while `faults` happen, and reads all trees at the end.
fn record(cluster: &mut Cluster, faults: impl FnOnce(&mut Cluster)) -> History {
    let run = Run {
        addresses: cluster.addresses(),
        begun: Instant::now(),
        seed: setting("ZKFAST_FAULT_SEED", 1),
        phase: AtomicU8::new(RUN),
    };
    clients::prepare(run.addresses[0]);
    let mut history = History::default();
    std::thread::scope(|scope| {
        let run = &run;
        let _abort = AbortOnDrop(run);
        let mixed = (0..MIXED_CLIENTS).map(|number| scope.spawn(move || clients::mixed(run, number)));
        let mut threads: Vec<_> = mixed.collect();
        let lockers = MIXED_CLIENTS..MIXED_CLIENTS + LOCK_CLIENTS;
        threads.extend(lockers.map(|number| {
            let abandons = number == MIXED_CLIENTS;
            scope.spawn(move || clients::locker(run, number, abandons))
        }));
        faults(cluster);
        run.phase.store(FINISH, Ordering::Relaxed);
        for thread in threads {
            history.clients.push(thread.join().expect("a client's record"));
        }
    });
    for sid in cluster.sids() {
        let tree = clients::walk(cluster.address(sid));
        history.trees.push((sid, tree.unwrap_or_else(|error| panic!("reading server {sid}: {error}"))));
    }
    history
}

/// What is wrong, but for what is known of Java. Shows it, and where there is something keeps the history.
fn violations(cluster: &Cluster, history: &History) -> Vec<Violation> {
    let begun = Instant::now();
    let mut violations = check(history);
    eprintln!("checked in {:.1?}", begun.elapsed());
    show(&violations);
    // A Java leader answers the sync of a client of its own like a read (`CommitProcessor.matchSyncs` 3.9), and a
    // follower may have applied, and told its client of, a commit that the leader has not applied yet. Seen without
    // any fault, by a sync one millisecond after the answer to the write. A follower's clients are safe.
    if cluster.has(Kind::Java) {
        let all = violations.len();
        violations.retain(|violation| violation.check != Check::SyncRead);
        eprintln!("stale reads behind a sync, allowed where Java may lead: {}", all - violations.len());
    }
    if !violations.is_empty() {
        let path = cluster.directory().join("history.txt");
        std::fs::write(&path, history.to_string()).expect("a file for the history");
        eprintln!("all that the clients saw: {}", path.display());
    }
    violations
}

fn show(violations: &[Violation]) {
    for violation in violations.iter().take(SHOWN) {
        eprintln!("{violation}");
    }
    if violations.len() > SHOWN {
        eprintln!("and {} more", violations.len() - SHOWN);
    }
}

fn longest_silence(history: &History) -> Duration {
    let mut times: Vec<u64> = history
        .clients
        .iter()
        .flatten()
        .filter_map(|entry| match entry {
            Entry::Op(Op {
                complete, outcome: Outcome::Written { .. } | Outcome::Created { .. }, ..
            }) => Some(*complete),
            _ => None,
        })
        .collect();
    times.sort_unstable();
    Duration::from_nanos(times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default())
}
