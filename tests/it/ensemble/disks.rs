//! Disks that lie, fill up, or belong to servers that hardly began: one server of three says so, and comes back without
//! an operator. What a machine that loses its power does to a disk is the simulator's part.

use super::CALM_KEYS as KEYS;
use super::clients;
use super::cluster::{Cluster, START_TIMEOUT, Shape};
use super::network::skip;
use crate::harness::{ANSWER_TIMEOUT, GroupDelay, Kind, Random, alone};
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

/// How long something may take until it shows, on a quiet machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Status of a process whose log could not be written.
const EXIT_LOG: i32 = 10;
/// Requests on their way at once.
const PIPELINE: usize = 64;
/// Data of znodes of which a log soon has many blocks.
const SMALL: usize = 3_000;
/// Data of znodes that soon fill a disk.
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

/// Creates znodes, pipelined, and has an answer to each.
fn create(address: SocketAddr, indices: std::ops::Range<usize>, bytes: usize) {
    let mut connection =
        Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session");
    let take = |connection: &mut Connection| match connection.receive().expect("a reply") {
        Incoming::Reply(reply) => assert_eq!(reply.header.err, 0, "{reply:?}"),
        Incoming::Event(event) => panic!("nobody watches: {event:?}"),
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

/// All servers show the same, and all that was acknowledged.
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

/// One that follows.
fn follower(cluster: &mut Cluster) -> usize {
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    cluster.sids().find(|&sid| sid != leader).expect("three servers")
}

/// Files of a server whose names begin so, in order.
fn files(cluster: &Cluster, sid: usize, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(cluster.data(sid).join("zkfast-1")).expect("the server's files");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    files.sort_unstable();
    files
}

/// Changes one bit.
fn flip(file: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(file).expect("a file to damage");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("as long as that");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).expect("a disk");
}

/// A server that finds its log damaged says where, takes everything from the leader by itself, and has its vote
/// again: without it there would be no quorum once the other follower is gone.
#[test]
fn damaged_log_is_repaired_by_the_leader() {
    let _alone = alone();
    // No snapshot: the log is all that there is.
    let keys = [KEYS, &[("snapCount", "1000000")]].concat();
    let mut cluster = Cluster::start(&servers(), &keys, None);
    let victim = follower(&mut cluster);
    create(cluster.address(victim), 0..2_000, SMALL);
    cluster.kill(victim);
    let log = files(&cluster, victim, "log.").remove(0);
    // Six megabytes were acknowledged; this is in the midst of them.
    flip(&log, 2_000_100);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    create(cluster.address(leader), 2_000..2_200, SMALL);
    cluster.spawn(victim);
    cluster.wait_until_all_serve(START_TIMEOUT);
    let told = cluster.output(victim);
    let name = log.file_name().expect("a file").to_string_lossy();
    assert!(told.contains(&*name) && told.contains("damage"), "the file is not named:\n{told}");
    assert_whole(&cluster, 2_200, SMALL);
    let other = cluster.sids().find(|&sid| sid != victim && sid != leader).expect("three servers");
    cluster.kill(other);
    cluster.wait_for_leader(START_TIMEOUT);
    create(cluster.address(victim), 2_200..2_300, SMALL);
    cluster.spawn(other);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_whole(&cluster, 2_300, SMALL);
}

/// So does one whose snapshots are all damaged, after the log before them was purged.
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
    let told = cluster.output(victim);
    assert!(told.contains("snapshot") && told.contains("damage"), "nothing is said:\n{told}");
    assert_whole(&cluster, 3_000, SMALL);
}

/// A server whose disk is full ends with a status that says so, the others go on, and once there is room it only needs
/// to be started.
#[test]
fn full_disk_ends_one_server_which_comes_back() {
    let _alone = alone();
    let mut cluster = Cluster::new(&servers(), KEYS, None);
    let victim = 2;
    let disk = match Disk::mount(&cluster.data(victim), "96m") {
        Ok(disk) => disk,
        Err(reason) => return skip("ensemble::disks::full_disk_ends_one_server_which_comes_back", &reason),
    };
    for sid in cluster.sids() {
        cluster.spawn(sid);
    }
    cluster.wait_until_all_serve(START_TIMEOUT);
    let healthy = cluster.sids().find(|&sid| sid != victim).expect("three servers");
    create(cluster.address(healthy), 0..150, LARGE);
    let mut group_delay = GroupDelay::new(TIMEOUT);
    let status = loop {
        if let Some(status) = cluster.ended(victim) {
            break status;
        }
        assert!(!group_delay.is_over(), "it still runs:\n{}", cluster.output(victim));
        thread::sleep(Duration::from_millis(20));
    };
    let told = cluster.output(victim);
    assert_eq!(status, Some(EXIT_LOG), "{told}");
    assert!(told.contains("free some space"), "{told}");
    cluster.wait_for_leader(START_TIMEOUT);
    create(cluster.address(healthy), 150..160, LARGE);
    disk.grow("1g").expect("the same disk, larger");
    cluster.spawn(victim);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_whole(&cluster, 160, LARGE);
}

/// Servers that all end at any moment of their first second start again and serve, with nothing done to their files.
#[test]
fn servers_that_end_in_their_first_second_start_again() {
    let _alone = alone();
    let mut random = Random(1);
    for round in 0..12 {
        let mut cluster = Cluster::new(&servers(), KEYS, None);
        for sid in cluster.sids() {
            cluster.spawn(sid);
        }
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

/// A server that comes with the data of another ensemble, whose epoch is later, deposes nobody and brings nothing; with
/// an empty directory it is one of the others again.
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
    let mut group_delay = GroupDelay::new(TIMEOUT);
    while !cluster.output(leader).contains("another ensemble") {
        assert!(!group_delay.is_over(), "the leader says nothing:\n{}", cluster.output(leader));
        thread::sleep(Duration::from_millis(20));
    }
    // So does the server itself, as what it most likely is where nobody mixed up directories.
    let is_told = |line: Line| {
        let fields = (line.field("leader"), line.field("epoch"), line.field("own_epoch"));
        line.level == "WARN"
            && line.what == "the others' data is older than this server's"
            && fields.0 == Some(&*leader.to_string())
            && fields.1 < fields.2
            && line.field("why").is_some_and(|why| why.contains("lost its data"))
            && line.field("do").is_some()
    };
    let mut group_delay = GroupDelay::new(TIMEOUT);
    while !cluster.whole_output(victim).lines().filter_map(Line::of_text).any(is_told) {
        assert!(!group_delay.is_over(), "the server says nothing:\n{}", cluster.output(victim));
        thread::sleep(Duration::from_millis(20));
    }
    // Several ticks, of which each would do to depose it.
    thread::sleep(Duration::from_secs(2));
    assert_eq!((cluster.leader(), cluster.mode(victim)), (Some(leader), None));
    create(cluster.address(leader), 20..30, SMALL);
    assert!(!clients::walk(cluster.address(leader)).expect("a tree").contains_key(&path(100)));
    cluster.stop(victim);
    cluster.forget(victim);
    cluster.spawn(victim);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_whole(&cluster, 30, SMALL);
}

/// A file system of a few megabytes, in memory.
struct Disk(PathBuf);

impl Disk {
    fn mount(place: &Path, size: &str) -> Result<Self, String> {
        fs::create_dir_all(place).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], place)?;
        Ok(Self(place.to_owned()))
    }

    fn grow(&self, size: &str) -> Result<(), String> {
        run("mount", &["-o", &format!("remount,size={size}")], &self.0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: servers may still have files there.
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
