//! Damaged files, full disks, and servers that end right after their start: one server of three logs what is wrong, and
//! serves again without an operator. The simulator tests what a power cut does to a disk.

use super::CALM_KEYS as KEYS;
use super::clients;
use super::cluster::{Cluster, START_TIMEOUT, Shape};
use super::network::skip;
use crate::harness::{ANSWER_TIMEOUT, Kind, Random, alone, wait_for};
use crate::log_lines::Line;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use zkfast::client::net::{Connect, Connection};
use zkfast::client::{Incoming, Request};
use zkfast::proto::{Acl, OpCode};

/// How long a server may take to exit or to log a line, on a quiet machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Exit status of a server that cannot write its log.
const EXIT_LOG: i32 = 10;
/// Milliseconds of a tick, as in [`KEYS`].
const TICK_MS: i32 = 500;
/// Requests in flight.
const PIPELINE: usize = 64;
/// Bytes of a znode's data that soon fill many blocks of a log.
const SMALL: usize = 3_000;
/// Bytes of a znode's data that soon fill a disk.
const LARGE: usize = 900_000;

fn servers() -> [Shape; 3] {
    std::array::from_fn(|_| Shape::voter(Kind::Zkfast))
}

fn path(index: usize) -> String {
    format!("/{index:06}")
}

fn data(index: usize, bytes: usize) -> Vec<u8> {
    format!("{index} ").into_bytes().into_iter().cycle().take(bytes).collect()
}

/// Creates znodes, with several requests in flight, and waits for all answers.
fn create(address: SocketAddr, indices: std::ops::Range<usize>, bytes: usize) {
    let mut connection =
        Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session");
    let take = |connection: &mut Connection| match connection.receive().expect("a reply") {
        Incoming::Reply(reply) => assert_eq!(reply.header.err, 0, "{reply:?}"),
        Incoming::Event(event) => panic!("an event without a watch: {event:?}"),
    };
    let mut waiting = 0;
    for index in indices {
        let (path, data, acl) = (path(index).into(), Some(data(index, bytes)), vec![Acl::open()]);
        connection.queue(&Request::Create { op: OpCode::CREATE, path, data, acl, flags: 0, ttl_ms: -1 });
        connection.flush().expect("a connection");
        waiting += 1;
        if waiting == PIPELINE {
            take(&mut connection);
            waiting -= 1;
        }
    }
    (0..waiting).for_each(|_| take(&mut connection));
    connection.call(&Request::CloseSession, &mut Vec::new()).expect("the end of the session");
}

/// Asserts that all servers have the same tree, with every znode that was acknowledged.
fn assert_whole(cluster: &Cluster, count: usize, bytes: usize) {
    let trees: Vec<_> =
        cluster.sids().map(|sid| clients::walk(cluster.address(sid)).expect("a tree")).collect();
    for (index, tree) in trees.iter().enumerate() {
        assert!(*tree == trees[0], "server {} shows another tree than server 1", index + 1);
    }
    for index in 0..count {
        let node = trees[0].get(&path(index)).unwrap_or_else(|| panic!("{} is lost", path(index)));
        assert!(node.data == Some(data(index, bytes)), "{} has other data", path(index));
    }
}

/// A server that follows.
fn follower(cluster: &mut Cluster) -> usize {
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    cluster.sids().find(|&sid| sid != leader).expect("three servers")
}

/// Waits until a leader has counted four ticks: it expires a session with that timeout whose client is gone.
fn wait_for_four_ticks(address: SocketAddr) {
    let open = |timeout_ms| {
        let connect = Connect { timeout_ms, ..Connect::default() };
        Connection::connect(address, &connect, ANSWER_TIMEOUT).expect("a session")
    };
    let (mut silent, mut observer) = (open(4 * TICK_MS), open(60_000));
    let (path, acl) = (b"/silent".to_vec(), vec![Acl::open()]);
    let create =
        Request::Create { op: OpCode::CREATE, path: path.clone(), data: None, acl, flags: 1, ttl_ms: -1 };
    assert_eq!(silent.call(&create, &mut Vec::new()).expect("an answer").header.err, 0);
    assert_eq!(silent.response().timeout_ms, 4 * TICK_MS);
    silent.shut_down();
    wait_for(TIMEOUT, || {
        let exists = Request::Exists { path: path.clone(), watch: false };
        match observer.call(&exists, &mut Vec::new()).expect("an answer").header.err {
            0 => Err("the session of a silent client lives".to_owned()),
            _ => Ok(()),
        }
    });
    observer.call(&Request::CloseSession, &mut Vec::new()).expect("the end of the session");
}

/// Files of a server whose names begin with `prefix`, in order.
fn files(cluster: &Cluster, sid: usize, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(cluster.data(sid).join("zkfast-1")).expect("the server's files");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    files.sort_unstable();
    files
}

/// Flips one bit of a file.
fn flip(file: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(file).expect("a file to damage");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a file of this length");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).expect("a disk");
}

/// A server with a damaged log names the file, takes all data from the leader, and votes again: without its vote there
/// would be no quorum after the other follower is killed.
#[test]
fn damaged_log_is_repaired_by_the_leader() {
    let _alone = alone();
    // Without snapshots the log is the only copy.
    let keys = [KEYS, &[("snapCount", "1000000")]].concat();
    let mut cluster = Cluster::start(&servers(), &keys, None);
    let victim = follower(&mut cluster);
    create(cluster.address(victim), 0..2_000, SMALL);
    cluster.kill(victim);
    let log = files(&cluster, victim, "log.").remove(0);
    // An offset in the middle of six acknowledged megabytes.
    flip(&log, 2_000_100);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    create(cluster.address(leader), 2_000..2_200, SMALL);
    cluster.spawn(victim);
    cluster.wait_until_all_serve(START_TIMEOUT);
    let output = cluster.output(victim);
    let name = log.file_name().expect("a file").to_string_lossy();
    assert!(
        output.contains(&*name) && output.contains("damage"),
        "the log does not name the file:\n{output}"
    );
    assert_whole(&cluster, 2_200, SMALL);
    let other = cluster.sids().find(|&sid| sid != victim && sid != leader).expect("three servers");
    cluster.kill(other);
    cluster.wait_for_leader(START_TIMEOUT);
    create(cluster.address(victim), 2_200..2_300, SMALL);
    cluster.spawn(other);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_whole(&cluster, 2_300, SMALL);
}

/// A server whose snapshots are all damaged, after the log before them was purged, takes all data from the leader.
#[test]
fn damaged_snapshots_are_replaced_by_the_leader() {
    let _alone = alone();
    let keys = [KEYS, &[("snapCount", "300")]].concat();
    let mut cluster = Cluster::start(&servers(), &keys, None);
    let victim = follower(&mut cluster);
    create(cluster.address(victim), 0..3_000, SMALL);
    cluster.kill(victim);
    let snapshots = files(&cluster, victim, "snapshot.");
    assert!(!snapshots.is_empty(), "3,000 txns without a snapshot");
    for snapshot in &snapshots {
        flip(snapshot, fs::metadata(snapshot).expect("a snapshot").len() / 2);
    }
    cluster.spawn(victim);
    cluster.wait_until_all_serve(START_TIMEOUT);
    let output = cluster.output(victim);
    assert!(
        output.contains("snapshot") && output.contains("damage"),
        "the log does not name the damage:\n{output}"
    );
    assert_whole(&cluster, 3_000, SMALL);
}

/// A server with a full disk exits with the status for that, the others go on, and once the disk has room the server
/// serves after a plain start.
#[test]
fn full_disk_ends_one_server_which_comes_back() {
    let _alone = alone();
    let mut cluster = Cluster::new(&servers(), KEYS, None);
    let victim = 2;
    let disk = match Tmpfs::mount(&cluster.data(victim), "96m") {
        Ok(disk) => disk,
        Err(reason) => return skip("ensemble::disks::full_disk_ends_one_server_which_comes_back", &reason),
    };
    for sid in cluster.sids() {
        cluster.spawn(sid);
    }
    cluster.wait_until_all_serve(START_TIMEOUT);
    let healthy = cluster.sids().find(|&sid| sid != victim).expect("three servers");
    create(cluster.address(healthy), 0..150, LARGE);
    let status = cluster.wait_for_exit(victim, TIMEOUT);
    let output = cluster.output(victim);
    assert_eq!(status, Some(EXIT_LOG), "{output}");
    assert!(output.contains("free some space"), "{output}");
    cluster.wait_for_leader(START_TIMEOUT);
    create(cluster.address(healthy), 150..160, LARGE);
    disk.grow("1g").expect("the same disk, larger");
    cluster.spawn(victim);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_whole(&cluster, 160, LARGE);
}

/// Servers that are all killed at a random moment of their first second start again and serve, without repairs to their
/// files.
#[test]
fn servers_that_end_in_their_first_second_start_again() {
    let _alone = alone();
    let mut random = Random(1);
    for round in 0..12 {
        let mut cluster = Cluster::new(&servers(), KEYS, None);
        for sid in cluster.sids() {
            cluster.spawn(sid);
        }
        // The moment of the kill is the test's input, so this is a time and not a condition.
        thread::sleep(Duration::from_millis(random.below(600) as u64));
        for sid in cluster.sids() {
            cluster.kill(sid);
        }
        for sid in cluster.sids() {
            cluster.spawn(sid);
        }
        let took = cluster.wait_until_all_serve(START_TIMEOUT);
        create(cluster.address(1), 0..10, SMALL);
        assert_whole(&cluster, 10, SMALL);
        eprintln!("round {round}: serves after {took:?}");
    }
}

/// A server with data of another ensemble, and of a later epoch, neither deposes the leader nor adds its data. With an
/// empty directory it joins.
#[test]
fn data_of_another_ensemble_stays_out() {
    let _alone = alone();
    let mut other = Cluster::start(&servers(), KEYS, None);
    create(other.address(1), 100..110, SMALL);
    for _ in 0..3 {
        let leader = other.wait_for_leader(START_TIMEOUT);
        other.stop(leader);
        other.wait_for_leader(START_TIMEOUT);
        other.spawn(leader);
        other.wait_until_all_serve(START_TIMEOUT);
    }
    let mut cluster = Cluster::start(&servers(), KEYS, None);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    create(cluster.address(leader), 0..20, SMALL);
    let victim = follower(&mut cluster);
    other.stop(victim);
    cluster.stop(victim);
    cluster.forget(victim);
    run("cp", &["-r", &other.data(victim).display().to_string()], &cluster.data(victim)).expect("a copy");
    drop(other);
    cluster.spawn(victim);
    wait_for(TIMEOUT, || match cluster.output(leader) {
        output if output.contains("another ensemble") => Ok(()),
        output => Err(format!("the leader does not log it:\n{output}")),
    });
    // The server itself logs what is most likely: that the others have lost their data. Mixed-up directories are rare.
    let is_the_warning = |line: Line| {
        let fields = (line.field("leader"), line.field("epoch"), line.field("own_epoch"));
        line.level == "WARN"
            && line.what == "the others' data is older than this server's"
            && fields.0 == Some(&*leader.to_string())
            && fields.1 < fields.2
            && line.field("why").is_some_and(|why| why.contains("lost its data"))
            && line.field("do").is_some()
    };
    wait_for(TIMEOUT, || {
        let is_logged = cluster.whole_output(victim).lines().filter_map(Line::of_text).any(is_the_warning);
        is_logged
            .then_some(())
            .ok_or_else(|| format!("the server does not log it:\n{}", cluster.output(victim)))
    });
    // Each of these ticks would suffice to depose the leader.
    wait_for_four_ticks(cluster.address(leader));
    assert_eq!((cluster.leader(), cluster.mode(victim)), (Some(leader), None));
    create(cluster.address(leader), 20..30, SMALL);
    assert!(!clients::walk(cluster.address(leader)).expect("a tree").contains_key(&path(100)));
    cluster.stop(victim);
    cluster.forget(victim);
    cluster.spawn(victim);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_whole(&cluster, 30, SMALL);
}

/// A file system of a limited size, in memory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(place: &Path, size: &str) -> Result<Self, String> {
        fs::create_dir_all(place).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], place)?;
        Ok(Self(place.to_owned()))
    }

    fn grow(&self, size: &str) -> Result<(), String> {
        run("mount", &["-o", &format!("remount,size={size}")], &self.0)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A lazy unmount: servers may still have files open.
        let _ = run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], place: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(place).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
