//! Disks that take long over a flush, or hang for a while: sessions live and end as their clients do, and servers go on.

use crate::ensemble::cluster::{Cluster, START_TIMEOUT, Shape};
use crate::harness::{Directory, Kind, Server, alone};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use zkfast::client::Request;
use zkfast::client::net::{Connect, Connection};
use zkfast::proto::{Acl, OpCode};

/// Longer than any hang here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const TICK_MS: u64 = 500;
const TIMEOUT_MS: i32 = 2000;

/// Makes each `fdatasync` of a process wait as the file says that `SLOW_DISK` names: so many milliseconds, and, where
/// `once` follows, only the next one.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd)
{
    int (*flush)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("SLOW_DISK");
    int file = path ? open(path, O_RDWR) : -1;
    if (file >= 0) {
        char text[64] = {0};
        if (read(file, text, sizeof text - 1) > 0) {
            long ms = atol(text);
            if (ms > 0 && strstr(text, "once"))
                (void)!ftruncate(file, 0);
            struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
            nanosleep(&wait, NULL);
        }
        close(file);
    }
    return flush(fd);
}
"#;

/// A disk whose pace a test sets.
struct SlowDisk {
    directory: Directory,
}

impl SlowDisk {
    fn new() -> Self {
        let directory = Directory::new("slow-disk");
        let (source, library) = (directory.path().join("slow.c"), directory.path().join("slow.so"));
        fs::write(&source, LIBRARY).expect("the library's source");
        let mut compiler = Command::new("cc");
        let built = compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        assert!(built.status().expect("cc, which links Rust programs too").success());
        fs::write(directory.path().join("pace"), "").expect("the pace");
        Self { directory }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let path = |name| self.directory.path().join(name).display().to_string();
        vec![("LD_PRELOAD", path("slow.so")), ("SLOW_DISK", path("pace"))]
    }

    fn set(&self, pace: &str) {
        fs::write(self.directory.path().join("pace"), pace).expect("the pace");
    }

    /// Waits until a hang that was to come once has begun.
    fn wait_until_it_hangs(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while !fs::read(self.directory.path().join("pace")).expect("the pace").is_empty() {
            assert!(Instant::now() < deadline, "nobody writes");
            sleep(Duration::from_millis(5));
        }
    }
}

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

/// A client that does the same again and again beside the test.
struct Busy {
    stop: Arc<AtomicBool>,
    /// Rounds that are done.
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Busy {
    /// Sets `path` to `bytes` bytes, `at_once` requests on their way.
    fn writer(address: SocketAddr, path: &str, bytes: usize, at_once: usize) -> Self {
        let mut connection =
            Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session");
        assert!(matches!(code(&mut connection, &create(path, b"", 0)), 0 | -110));
        let set = Request::SetData { path: path.into(), data: Some(vec![7; bytes]), version: -1 };
        Self::new(move || {
            (0..at_once).for_each(|_| _ = connection.queue(&set));
            let flushed = connection.flush();
            // A server that stops hangs up.
            flushed.is_ok() && (0..at_once).all(|_| connection.receive().is_ok())
        })
    }

    /// Pings, and keeps `/alive`, which goes with its session.
    fn pinger(address: SocketAddr) -> Self {
        let mut connection = open(address);
        assert_eq!(code(&mut connection, &create("/alive", b"", 1)), 0);
        Self::new(move || {
            sleep(Duration::from_millis(200));
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

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
    }
}

/// On a slow disk with a steady writer, what a dead client held is free about as soon as on a quick one: the time that the
/// commit shard waits for its disk counts, since clients are heard meanwhile.
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
    let writer = Busy::writer(server.address(), "/busy", 100, 1);
    let mut other =
        Connection::connect(server.address(), &Connect::default(), ANSWER_TIMEOUT).expect("a session");
    disk.set(&FLUSH_MS.to_string());
    drop(dead);
    let died = Instant::now();
    while code(&mut other, &exists("/lock")) == 0 {
        // Its timeout, a tick, and a few flushes until the end of its session is durable: a quarter of this.
        assert!(died.elapsed() < Duration::from_secs(20), "the lock of a dead client stays");
        sleep(Duration::from_millis(50));
    }
    eprintln!("the lock was free after {:?}, {} flushes", died.elapsed(), writer.rounds());
    disk.set("");
    writer.stop();
}

/// A client that pings outlives a disk that hangs with more writes waiting than a group has room for, and so does the
/// server, although it writes nothing for longer than a shard may stand still.
#[test]
fn hangs_end_no_session() {
    let _alone = alone();
    for (cores, hang_ms) in [("0,1", 33_000), ("0,1,0,1", 8_000)] {
        let disk = SlowDisk::new();
        let mut server = Server::new(Kind::Zkfast, &[("tickTime", &TICK_MS.to_string())]);
        server.set_environment(disk.environment());
        server.set_cores(cores);
        server.start_again();
        let pinger = Busy::pinger(server.address());
        // 6 MB on their way from each.
        let writers = ["/a", "/b"].map(|path| Busy::writer(server.address(), path, 20_000, 300));
        sleep(Duration::from_millis(500));
        disk.set(&format!("{hang_ms} once"));
        disk.wait_until_it_hangs();
        let rounds = pinger.rounds();
        sleep(Duration::from_millis(hang_ms));
        eprintln!("cores {cores}: {} pings were answered meanwhile", pinger.rounds() - rounds);
        sleep(Duration::from_millis(4 * TIMEOUT_MS.unsigned_abs() as u64));
        assert!(server.is_alive(), "the server ended");
        let mut other = open(server.address());
        assert_eq!(
            code(&mut other, &exists("/alive")),
            0,
            "cores {cores}: a client that pings lost its session"
        );
        writers.into_iter().for_each(Busy::stop);
        pinger.stop();
    }
}

fn ensemble() -> Cluster {
    let tick_ms = TICK_MS.to_string();
    let keys =
        [("tickTime", &*tick_ms), ("initLimit", "20"), ("syncLimit", "4"), ("maxSessionTimeout", "60000")];
    Cluster::new(&vec![Shape::voter(Kind::Zkfast); 3], &keys, None)
}

/// Starts the ensemble; a follower, and not the leader, has the disk.
fn start(cluster: &mut Cluster, disk: &SlowDisk) -> usize {
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

/// A follower whose disk hangs for far longer than its clients' timeouts, and than its leader's group_delay, stays with its
/// leader and tells it that they live.
#[test]
fn a_hang_of_a_follower_ends_no_session() {
    const HANG_MS: u64 = 8_000;
    let _alone = alone();
    let disk = SlowDisk::new();
    let mut cluster = ensemble();
    let follower = start(&mut cluster, &disk);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    let pinger = Busy::pinger(cluster.address(follower));
    let writer = Busy::writer(cluster.address(leader), "/busy", 100, 4);
    sleep(Duration::from_millis(1000));
    disk.set(&format!("{HANG_MS} once"));
    disk.wait_until_it_hangs();
    let (pings, writes) = (pinger.rounds(), writer.rounds());
    sleep(Duration::from_millis(HANG_MS / 2));
    assert_eq!(cluster.mode(follower).as_deref(), Some("follower"), "it answers in the middle of it");
    sleep(Duration::from_millis(HANG_MS / 2));
    let (pings, writes) = (pinger.rounds() - pings, writer.rounds() - writes);
    eprintln!("meanwhile {pings} pings and {writes} writes of others");
    assert!(pings >= 4 && writes >= 4, "{pings} pings, {writes} writes");
    sleep(Duration::from_millis(2 * TIMEOUT_MS.unsigned_abs() as u64));
    let mut other = open(cluster.address(leader));
    assert_eq!(code(&mut other, &exists("/alive")), 0, "a client that pings lost its session");
    writer.stop();
    pinger.stop();
}

/// A follower that is told to stop while others write without pause, faster than its disk, stops in order.
#[test]
fn stops_in_order_under_load() {
    let _alone = alone();
    let disk = SlowDisk::new();
    let mut cluster = ensemble();
    let follower = start(&mut cluster, &disk);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    let writers = ["/a", "/b", "/c", "/d"].map(|path| Busy::writer(cluster.address(leader), path, 1000, 50));
    disk.set("10");
    sleep(Duration::from_millis(1000));
    let process = cluster.process(follower);
    kill_process(Pid::from_raw(process.cast_signed()).expect("a process"), Signal::TERM).expect("a signal");
    let told = Instant::now();
    let status = loop {
        if let Some(status) = cluster.ended(follower) {
            break status;
        }
        assert!(told.elapsed() < Duration::from_secs(30), "it does not stop\n{}", cluster.output(follower));
        sleep(Duration::from_millis(20));
    };
    eprintln!("stopped after {:?}", told.elapsed());
    assert_eq!(status, Some(0), "{}", cluster.output(follower));
    writers.into_iter().for_each(Busy::stop);
}
