//! Disks that flush slowly or hang for a while: sessions live as long as their clients ping, and servers go on.

use crate::ensemble::cluster::{Cluster, START_TIMEOUT, Shape};
use crate::harness::{Kind, Server, alone, wait_for};
use crate::preload::SlowDisk;
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use zkfast::client::Request;
use zkfast::client::net::{Connect, Connection};
use zkfast::proto::{Acl, OpCode};

/// How long an answer may take: longer than any hang of these tests.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const TICK_MS: u64 = 500;
/// Session timeout of clients that ping.
const TIMEOUT_MS: i32 = 2000;
const PING_INTERVAL: Duration = Duration::from_millis(200);
/// Pings that take as long as the timeout of their session.
const PINGS_PER_TIMEOUT: u64 = TIMEOUT_MS as u64 / PING_INTERVAL.as_millis() as u64;

fn open(address: SocketAddr) -> Connection {
    let connect = Connect { timeout_ms: TIMEOUT_MS, ..Connect::default() };
    Connection::connect(address, &connect, ANSWER_TIMEOUT).expect("a session")
}

fn create(path: &str, data: &[u8], flags: i32) -> Request {
    let (path, data, acl) = (path.into(), Some(data.to_vec()), vec![Acl::open()]);
    Request::Create { op: OpCode::CREATE, path, data, acl, flags, ttl_ms: -1 }
}

fn code(connection: &mut Connection, request: &Request) -> i32 {
    connection.call(request, &mut Vec::new()).expect("an answer").header.err
}

fn exists(path: &str) -> Request {
    Request::Exists { path: path.into(), watch: false }
}

/// A client that repeats a round of requests on a thread of its own.
struct Background {
    stop: Arc<AtomicBool>,
    /// Finished rounds.
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Background {
    /// Sets `path` to `bytes` bytes, `at_once` requests at a time.
    fn writer(address: SocketAddr, path: &str, bytes: usize, at_once: usize) -> Self {
        let mut connection =
            Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session");
        assert!(matches!(code(&mut connection, &create(path, b"", 0)), 0 | -110));
        let set = Request::SetData { path: path.into(), data: Some(vec![7; bytes]), version: -1 };
        Self::new(move || {
            (0..at_once).for_each(|_| _ = connection.queue(&set));
            let flushed = connection.flush();
            // A server that stops closes its connections.
            flushed.is_ok() && (0..at_once).all(|_| connection.receive().is_ok())
        })
    }

    /// Pings, and owns the ephemeral `/alive`, which is deleted when its session ends.
    fn pinger(address: SocketAddr) -> Self {
        let mut connection = open(address);
        assert_eq!(code(&mut connection, &create("/alive", b"", 1)), 0);
        Self::new(move || {
            sleep(PING_INTERVAL);
            connection.call(&Request::Ping, &mut Vec::new()).is_ok()
        })
    }

    fn new(mut round: impl FnMut() -> bool + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, done) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && round() {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, rounds, thread }
    }

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Waits for so many more rounds.
    fn wait_for_rounds(&self, rounds: u64) {
        let enough = self.rounds() + rounds;
        wait_for(ANSWER_TIMEOUT, || match self.rounds() {
            done if done >= enough => Ok(()),
            done => Err(format!("{done} rounds, {enough} are wanted: the client has lost its connection?")),
        });
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client does not panic");
    }
}

/// On a slow disk with a steady writer, the session of a dead client expires about as soon as on a fast one. The time in
/// which the commit shard waits for its disk counts, since the views receive clients' requests in this time.
#[test]
fn dead_clients_end() {
    const FLUSH_MS: u64 = 600;
    let _alone = alone();
    let disk = SlowDisk::new();
    let mut server = Server::new(Kind::Zkfast, &[("tickTime", &TICK_MS.to_string())]);
    server.set_environment(disk.environment());
    server.set_cores("0");
    server.start_again();
    let mut dead = open(server.address());
    assert_eq!(code(&mut dead, &create("/lock", b"", 1)), 0);
    let writer = Background::writer(server.address(), "/busy", 100, 1);
    let mut other =
        Connection::connect(server.address(), &Connect::default(), ANSWER_TIMEOUT).expect("a session");
    disk.delay_flushes(Duration::from_millis(FLUSH_MS));
    drop(dead);
    let died = Instant::now();
    while code(&mut other, &exists("/lock")) == 0 {
        // The timeout, a tick, and some flushes until the end of the session is durable take a quarter of this.
        assert!(died.elapsed() < Duration::from_secs(20), "the lock of a dead client is still held");
        sleep(Duration::from_millis(50));
    }
    eprintln!("the lock was free after {:?}, {} flushes", died.elapsed(), writer.rounds());
    disk.delay_flushes(Duration::ZERO);
    writer.stop();
}

/// A disk hangs while more writes wait than fit in a group. No session of a client that pings expires, and the server
/// lives, although it writes nothing for longer than a shard may block.
#[test]
fn hangs_end_no_session() {
    let _alone = alone();
    for (cores, hang_ms) in [("0,1", 33_000), ("0,1,0,1", 8_000)] {
        let disk = SlowDisk::new();
        let mut server = Server::new(Kind::Zkfast, &[("tickTime", &TICK_MS.to_string())]);
        server.set_environment(disk.environment());
        server.set_cores(cores);
        server.start_again();
        let pinger = Background::pinger(server.address());
        // Each writer has 6 MB in flight.
        let writers = ["/a", "/b"].map(|path| Background::writer(server.address(), path, 20_000, 300));
        writers.iter().for_each(|writer| writer.wait_for_rounds(1));
        disk.delay_next_flush(Duration::from_millis(hang_ms));
        disk.wait_until_delayed();
        let rounds = pinger.rounds();
        sleep(Duration::from_millis(hang_ms));
        eprintln!("cores {cores}: {} pings were answered during the hang", pinger.rounds() - rounds);
        // A session that the hang had made expire would be gone by now.
        pinger.wait_for_rounds(4 * PINGS_PER_TIMEOUT);
        assert!(server.is_alive(), "the server ended");
        let mut other = open(server.address());
        assert_eq!(
            code(&mut other, &exists("/alive")),
            0,
            "cores {cores}: a client that pings lost its session"
        );
        writers.into_iter().for_each(Background::stop);
        pinger.stop();
    }
}

fn ensemble() -> Cluster {
    let tick_ms = TICK_MS.to_string();
    let keys =
        [("tickTime", &*tick_ms), ("initLimit", "20"), ("syncLimit", "4"), ("maxSessionTimeout", "60000")];
    Cluster::new(&vec![Shape::voter(Kind::Zkfast); 3], &keys, None)
}

/// Starts the ensemble such that a follower uses the slow disk. Gives that follower.
fn start_with_slow_follower(cluster: &mut Cluster, disk: &SlowDisk) -> usize {
    cluster.set_environment(1, disk.environment());
    for sid in cluster.sids() {
        cluster.spawn(sid);
    }
    cluster.wait_until_all_serve(START_TIMEOUT);
    if cluster.wait_for_leader(START_TIMEOUT) == 1 {
        cluster.stop(1);
        cluster.wait_for_leader(START_TIMEOUT);
        cluster.spawn(1);
        cluster.wait_until_all_serve(START_TIMEOUT);
    }
    assert_eq!(cluster.mode(1).as_deref(), Some("follower"));
    1
}

/// A follower's disk hangs for far longer than its clients' timeouts and than the leader's `syncLimit`. The follower
/// keeps its leader, and reports to it that the clients live.
#[test]
fn a_hang_of_a_follower_ends_no_session() {
    const HANG_MS: u64 = 8_000;
    let _alone = alone();
    let disk = SlowDisk::new();
    let mut cluster = ensemble();
    let follower = start_with_slow_follower(&mut cluster, &disk);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    let pinger = Background::pinger(cluster.address(follower));
    let writer = Background::writer(cluster.address(leader), "/busy", 100, 4);
    pinger.wait_for_rounds(1);
    writer.wait_for_rounds(1);
    disk.delay_next_flush(Duration::from_millis(HANG_MS));
    disk.wait_until_delayed();
    let (pings, writes) = (pinger.rounds(), writer.rounds());
    sleep(Duration::from_millis(HANG_MS / 2));
    assert_eq!(cluster.mode(follower).as_deref(), Some("follower"), "no answer during the hang");
    sleep(Duration::from_millis(HANG_MS / 2));
    let (pings, writes) = (pinger.rounds() - pings, writer.rounds() - writes);
    eprintln!("{pings} pings and {writes} writes during the hang");
    assert!(pings >= 4 && writes >= 4, "{pings} pings, {writes} writes");
    pinger.wait_for_rounds(2 * PINGS_PER_TIMEOUT);
    let mut other = open(cluster.address(leader));
    assert_eq!(code(&mut other, &exists("/alive")), 0, "a client that pings lost its session");
    writer.stop();
    pinger.stop();
}

/// A follower that gets SIGTERM while clients write faster than its disk flushes stops in order, with status 0.
#[test]
fn stops_in_order_under_load() {
    let _alone = alone();
    let disk = SlowDisk::new();
    let mut cluster = ensemble();
    let follower = start_with_slow_follower(&mut cluster, &disk);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    let writers =
        ["/a", "/b", "/c", "/d"].map(|path| Background::writer(cluster.address(leader), path, 1000, 50));
    disk.delay_flushes(Duration::from_millis(10));
    writers.iter().for_each(|writer| writer.wait_for_rounds(20));
    let process = cluster.process(follower);
    kill_process(Pid::from_raw(process.cast_signed()).expect("a process"), Signal::TERM).expect("a signal");
    let signalled = Instant::now();
    let status = cluster.wait_for_exit(follower, Duration::from_secs(30));
    eprintln!("stopped after {:?}", signalled.elapsed());
    assert_eq!(status, Some(0), "{}", cluster.output(follower));
    writers.into_iter().for_each(Background::stop);
}
