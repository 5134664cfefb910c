//! Disks that flush slowly, fill up or fail while clients write: after SIGKILL the server still has every acknowledged
//! write.
//!
//! A library (`tests/preload/disk.rs`) delays each flush of a server by some milliseconds, or makes calls fail. Writers
//! record what was acknowledged. After each end of the server, all of it must be there, by value and version.
//! `ZKFAST_SLOW_DISK_SECONDS` makes runs longer: so many seconds of writing per setting, with a SIGKILL every ten
//! seconds.
//!
//! ```text
//! ZKFAST_SLOW_DISK_SECONDS=600 cargo test --release --test it slow_disk -- --nocapture
//! ```

use crate::ensemble::cluster::{Cluster, START_TIMEOUT, Shape};
use crate::harness::{Kind, Server, alone, setting, wait_for, zkfast_binary};
use crate::preload::faulty_disk;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::client::{Body, Incoming, Reply, Request};
use zkfast::proto::{Acl, OpCode, Zxid};

const WRITERS: usize = 24;
/// Bytes of a value. A group of such values is written at once, and the log soon needs its next segment.
const LARGE: usize = 500_000;
/// Bytes of a value. The blocks of a group of such values are zeroed first, and segments are made ahead.
const SMALL: usize = 8_000;
/// The longest time between two SIGKILLs.
const ROUND: Duration = Duration::from_secs(10);
/// A round ends early after so many bytes of values, all of which stay in the log.
const ROUND_BYTES_MAX: u64 = 3 << 30;
const ROUND_BYTES_MAX_IN_MEMORY: u64 = 500 << 20;
/// How long any answer may take, on a machine that does other things as well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Exit status of a server that cannot write its log, and of one that cannot use its data.
const EXIT_LOG: i32 = 10;
const EXIT_DATA: i32 = 3;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EAGAIN: i32 = 11;

/// A standalone server that is killed under load on disks of five speeds keeps what it acknowledged. (Several threads
/// that prepared the same segment once wrote zeros over it: with 10 ms per flush, three of four runs lost groups.)
#[test]
fn sigkill_alone() {
    let _alone = alone();
    for (flush_ms, bytes, seconds) in
        [(2, LARGE, 5), (5, LARGE, 6), (10, SMALL, 8), (10, LARGE, 6), (30, LARGE, 4)]
    {
        rounds(seconds, |round, time| {
            // With purging, the server reuses old segments and creates few; without, it creates many.
            let purge: &[_] = &[("snapCount", "1500"), ("autopurge.purgeInterval", "1")];
            let keys = if round % 2 == 1 { purge } else { &[] };
            killed_alone(flush_ms, bytes, time, keys, ROUND_BYTES_MAX)
        });
    }
}

/// The same with the log on a tmpfs, which does not support direct I/O.
#[test]
fn sigkill_with_the_log_in_memory() {
    let _alone = alone();
    let Some(memory) = Memory::new() else {
        return eprintln!("left out: /dev/shm has too little room");
    };
    for flush_ms in [2, 10] {
        rounds(2, |round, time| {
            let log = memory.0.join(format!("{flush_ms}-{round}"));
            let keys = [("dataLogDir", log.to_str().expect("a path"))];
            let acknowledged = killed_alone(
                flush_ms,
                if round % 2 == 0 { LARGE } else { SMALL },
                time,
                &keys,
                ROUND_BYTES_MAX_IN_MEMORY,
            );
            fs::remove_dir_all(&log).expect("the log");
            acknowledged
        });
    }
}

/// Of three servers the leader is killed, then all: after a restart each server has what was acknowledged.
#[test]
fn sigkill_of_one_and_of_all() {
    let _alone = alone();
    let long: &[u64] = &[2, 5, 10, 30];
    let flushes = if setting("ZKFAST_SLOW_DISK_SECONDS", 0) > 0 { long } else { &[10] };
    for &flush_ms in flushes {
        rounds(6, |round, time| {
            let bytes = if round % 2 == 0 { LARGE } else { SMALL };
            let mut cluster = Cluster::new(&vec![Shape::voter(Kind::Zkfast); 3], KEYS, None);
            for sid in cluster.sids() {
                cluster.set_environment(sid, faulty_disk(flush_ms, ""));
                cluster.spawn(sid);
            }
            cluster.wait_until_all_serve(START_TIMEOUT);
            let mut writers = Writers::new(&cluster.addresses(), bytes);
            // Three servers for half of the time, two for the rest.
            writers.run(|writing| {
                writing.go_on(time / 2, ROUND_BYTES_MAX / 6);
                let leader = cluster.wait_for_leader(START_TIMEOUT);
                cluster.kill(leader);
                writing.go_on(time / 2, ROUND_BYTES_MAX / 6);
                for sid in cluster.sids() {
                    cluster.kill(sid);
                }
            });
            for sid in cluster.sids() {
                cluster.set_environment(sid, Vec::new());
                cluster.spawn(sid);
            }
            cluster.wait_until_all_serve(START_TIMEOUT);
            for sid in cluster.sids() {
                writers.check(cluster.address(sid));
                assert!(!cluster.data(sid).join("zkfast-1/damaged.1").exists(), "server {sid} found damage");
            }
            writers.acknowledged()
        });
    }
}

/// A full disk, a failed write or a failed flush of the log ends the server, which logs the reason. Started on a good
/// disk it has what was acknowledged.
#[test]
fn the_log_fails_under_load() {
    let _alone = alone();
    let free = "free some space";
    for (fault, bytes, hint) in [
        (format!("write /log. {ENOSPC} 90000000"), LARGE, free),
        (format!("write /log. {ENOSPC} 30000000"), SMALL, free),
        (format!("write /log. {EIO} 60000000"), LARGE, "check the disk"),
        (format!("flush /log. {EIO} 40"), SMALL, "check the disk"),
        // The first write of the second segment.
        (format!("write /log.00000002 {EIO} 0"), LARGE, "check the disk"),
        (format!("open /segment. {ENOSPC} 1"), LARGE, free),
    ] {
        let mut server = Server::new(Kind::Zkfast, &[]);
        server.set_environment(faulty_disk(2, &fault));
        server.start_again();
        let mut writers = Writers::new(&[server.address()], bytes);
        writers.run(|writing| writing.go_on(ANSWER_TIMEOUT, u64::MAX));
        let status = server.wait_for_end();
        assert_eq!(status, Some(EXIT_LOG), "{fault}\n{}", server.output());
        assert!(
            server.output().contains(hint),
            "{fault}: the log does not say what to do\n{}",
            server.output()
        );
        server.set_environment(Vec::new());
        server.start_again();
        writers.check(server.address());
        assert!(writers.acknowledged() > 0, "{fault}: no write was acknowledged before the fault");
    }
}

/// A failed flush ends one of three servers, and the two others go on.
#[test]
fn the_log_of_one_fails() {
    let _alone = alone();
    let mut cluster = Cluster::new(&vec![Shape::voter(Kind::Zkfast); 3], KEYS, None);
    let victim = 2;
    for sid in cluster.sids() {
        let fault = if sid == victim { format!("flush /log. {EIO} 60") } else { String::new() };
        cluster.set_environment(sid, faulty_disk(5, &fault));
        cluster.spawn(sid);
    }
    cluster.wait_until_all_serve(START_TIMEOUT);
    let others: Vec<_> =
        cluster.sids().filter(|sid| *sid != victim).map(|sid| cluster.address(sid)).collect();
    let mut writers = Writers::new(&others, SMALL);
    let mut status = None;
    writers.run(|writing| {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while status.is_none() && !writing.is_over(deadline) {
            writing.go_on(Duration::from_millis(100), u64::MAX);
            status = cluster.ended(victim);
        }
        for sid in cluster.sids().filter(|sid| *sid != victim) {
            cluster.kill(sid);
        }
    });
    assert_eq!(status, Some(Some(EXIT_LOG)), "{}", cluster.output(victim));
    for sid in cluster.sids() {
        cluster.set_environment(sid, Vec::new());
        cluster.spawn(sid);
    }
    cluster.wait_until_all_serve(START_TIMEOUT);
    for sid in cluster.sids() {
        writers.check(cluster.address(sid));
    }
}

/// A disk with room for the log but not for a segment made ahead ends no server.
#[test]
fn no_room_for_a_spare() {
    let _alone = alone();
    let mut server = Server::new(Kind::Zkfast, &[]);
    server.set_environment(faulty_disk(0, &format!("write /spare. {ENOSPC} 0")));
    server.start_again();
    let mut writers = Writers::new(&[server.address()], SMALL);
    writers.run(|writing| {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while !server.output().contains("no segment could be prepared ahead") && !writing.is_over(deadline) {
            writing.go_on(Duration::from_millis(100), u64::MAX);
        }
        // The log goes on into a second segment, which was not made ahead.
        let second = server.data().join("zkfast-1/log.00000002");
        while !second.exists() && !writing.is_over(deadline) {
            writing.go_on(Duration::from_millis(100), u64::MAX);
        }
        assert!(second.exists(), "too little was written\n{}", server.output());
        server.kill();
    });
    assert!(server.output().contains("no segment could be prepared ahead"), "{}", server.output());
    server.set_environment(Vec::new());
    server.start_again();
    writers.check(server.address());
}

/// A server that cannot create threads goes on: no segments are made ahead, and a view writes its snapshots itself. (The
/// server once panicked.)
#[test]
fn no_thread_for_a_spare() {
    let _alone = alone();
    let mut server = Server::new(Kind::Zkfast, &[("snapCount", "1000")]);
    let flag = server.directory().join("no-threads");
    server.set_environment(faulty_disk(0, &format!("thread {} {EAGAIN} 0", flag.display())));
    server.start_again();
    // The server answers before it has created all of its threads.
    wait_for(ANSWER_TIMEOUT, || match server.output() {
        output if output.contains("started: ") => Ok(()),
        output => Err(output),
    });
    fs::write(&flag, "").expect("a file");
    let mut writers = Writers::new(&[server.address()], SMALL);
    writers.run(|writing| {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let folder = server.data().join("zkfast-1");
        let enough = || {
            let names = names(&folder);
            let snapshots = names.iter().filter(|name| name.starts_with("snapshot."));
            names.contains("log.00000002") && snapshots.count() > 1
        };
        while !enough() && !writing.is_over(deadline) {
            writing.go_on(Duration::from_millis(100), u64::MAX);
        }
        assert!(server.is_alive() && enough(), "too little was written\n{}", server.output());
        server.kill();
    });
    let output = server.whole_output();
    assert!(
        output.contains("for lack of a thread") && output.contains("no thread for files"),
        "{}",
        server.output()
    );
    server.set_environment(Vec::new());
    server.start_again();
    writers.check(server.address());
}

/// A server that cannot read a file does not start, names the file and changes nothing; once it may read the file it has
/// everything. A snapshot on a bad block is skipped, since the log has all of it. (That was a SIGBUS.)
#[test]
fn files_that_cannot_be_read() {
    let _alone = alone();
    let mut server = Server::new(Kind::Zkfast, &[("snapCount", "400"), ("autopurge.purgeInterval", "0")]);
    server.start_again();
    let mut writers = Writers::new(&[server.address()], SMALL);
    let folder = server.data().join("zkfast-1");
    writers.run(|writing| {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let enough = || {
            let names = names(&folder);
            let snapshots = names.iter().filter(|name| name.starts_with("snapshot."));
            snapshots.count() > 2 && names.contains("log.00000002")
        };
        while !enough() && !writing.is_over(deadline) {
            writing.go_on(Duration::from_millis(100), u64::MAX);
        }
        assert!(enough(), "{:?}", names(&folder));
        server.kill();
    });
    for fault in [
        format!("read /log. {EIO} 0"),
        format!("open /log. {EACCES} 0"),
        format!("open /log.00000001 {EACCES} 0"),
        format!("open /snapshot. {EACCES} 0"),
    ] {
        let before = names(&folder);
        server.set_environment(faulty_disk(0, &fault));
        assert_eq!(server.start_and_fail(), Some(EXIT_DATA), "{fault}\n{}", server.output());
        let output = server.output();
        let last = output.lines().last().unwrap_or_default();
        let name = fault.split_whitespace().nth(1).expect("four words");
        assert!(last.contains("cannot be read") && last.contains(name), "{fault}\n{output}");
        assert_eq!(names(&folder), before, "{fault}: files were changed");
    }
    let before = names(&folder);
    server.set_environment(faulty_disk(0, &format!("read /snapshot. {EIO} 0")));
    server.start_again();
    writers.check(server.address());
    server.kill();
    assert!(before.is_subset(&names(&folder)), "{before:?} {:?}", names(&folder));
    server.set_environment(Vec::new());
    server.start_again();
    writers.check(server.address());
}

/// An import names the file of ZooKeeper's log that cannot be read. (That was a SIGBUS.)
#[test]
fn files_to_import_that_cannot_be_read() {
    let _alone = alone();
    let mut server = Server::start(Kind::Java, &[]);
    let mut writers = Writers::new(&[server.address()], SMALL);
    writers.run(|writing| writing.go_on(Duration::from_secs(1), u64::MAX));
    server.kill();
    let data = server.data();
    let target = data.join("imported");
    let import = |environment: Vec<(&str, String)>| {
        let mut command = Command::new(zkfast_binary());
        let output =
            command.arg("import").args([&data, &target]).envs(environment).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, output) = import(faulty_disk(0, &format!("read /version-2/log. {EIO} 0")));
    assert_eq!(status, Some(EXIT_DATA), "{output}");
    assert!(output.contains("/version-2/log.") && output.contains("Input/output error"), "{output}");
    let (status, output) = import(Vec::new());
    assert_eq!(status, Some(0), "{output}");
}

/// A member without the right to read its log exits and leaves its files alone. Once it may read them it serves with all
/// of its data. (It moved its files aside.)
#[test]
fn a_member_that_may_not_read_its_log() {
    let _alone = alone();
    let mut cluster = Cluster::start(&vec![Shape::voter(Kind::Zkfast); 3], KEYS, None);
    let mut writers = Writers::new(&cluster.addresses(), SMALL);
    let victim = 1;
    writers.run(|writing| {
        writing.go_on(Duration::from_secs(1), u64::MAX);
        for sid in cluster.sids() {
            cluster.kill(sid);
        }
    });
    let folder = cluster.data(victim).join("zkfast-1");
    let before = names(&folder);
    cluster.set_environment(victim, faulty_disk(0, &format!("open /log. {EACCES} 0")));
    cluster.spawn(victim);
    let status = cluster.wait_for_exit(victim, START_TIMEOUT);
    assert_eq!(status, Some(EXIT_DATA), "{}", cluster.output(victim));
    assert!(cluster.output(victim).contains("cannot be read"), "{}", cluster.output(victim));
    assert_eq!(names(&folder), before, "files were moved");
    cluster.set_environment(victim, Vec::new());
    for sid in cluster.sids() {
        cluster.spawn(sid);
    }
    cluster.wait_until_all_serve(START_TIMEOUT);
    for sid in cluster.sids() {
        writers.check(cluster.address(sid));
    }
}

/// Short ticks, so that an election does not take most of a round.
const KEYS: &[(&str, &str)] = &[("tickTime", "500"), ("initLimit", "40"), ("syncLimit", "20")];

/// Runs rounds for so many seconds of writing. `round` gets its number and its time, and gives the acknowledged writes.
fn rounds(default_seconds: u64, mut round: impl FnMut(u64, Duration) -> u64) {
    let seconds = setting("ZKFAST_SLOW_DISK_SECONDS", default_seconds);
    let (mut left, mut number, mut acknowledged) = (Duration::from_secs(seconds), 0, 0);
    while !left.is_zero() {
        let time = left.min(ROUND);
        acknowledged += round(number, time);
        (left, number) = (left - time, number + 1);
    }
    eprintln!("{number} rounds in {seconds} s, {acknowledged} acknowledged writes, all there");
    assert!(acknowledged > 0, "no write was acknowledged: nothing was tested");
}

/// One round of a standalone server. Gives the number of acknowledged writes.
fn killed_alone(flush_ms: u64, bytes: usize, time: Duration, keys: &[(&str, &str)], bytes_max: u64) -> u64 {
    let mut server = Server::new(Kind::Zkfast, keys);
    server.set_environment(faulty_disk(flush_ms, ""));
    server.start_again();
    let mut writers = Writers::new(&[server.address()], bytes);
    let begun = Instant::now();
    writers.run(|writing| {
        let process = server.process();
        writing.go_on_while(time, bytes_max, || {
            let twice = open_twice(process, &server.data());
            assert!(twice.is_none(), "{twice:?} is open for writing twice");
        });
        assert!(server.is_alive(), "the server ended\n{}", server.output());
        server.kill();
    });
    let took = begun.elapsed();
    // After the crash the server writes to the same log.
    for flush_ms in [flush_ms, 0] {
        server.set_environment(faulty_disk(flush_ms, ""));
        server.start_again();
        writers.check(server.address());
        writers.run(|writing| {
            writing.go_on(Duration::from_millis(100), bytes_max);
            server.kill();
        });
    }
    server.start_again();
    writers.check(server.address());
    let acknowledged = writers.acknowledged();
    eprintln!(
        "{flush_ms} ms a flush, {bytes} bytes: {acknowledged} writes, {:.0} a second",
        acknowledged as f64 / took.as_secs_f64()
    );
    acknowledged
}

/// A file that a process has open for writing twice, so that two parts of the process may overwrite each other's bytes.
/// In this way the threads that prepare segments wrote zeros to the log.
fn open_twice(process: u32, folder: &Path) -> Option<PathBuf> {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten() {
        let number = entry.file_name();
        let information = Path::new("/proc").join(process.to_string()).join("fdinfo").join(&number);
        // The process may have closed it by now.
        let (Ok(path), Ok(file), Ok(information)) =
            (fs::read_link(entry.path()), fs::metadata(entry.path()), fs::read_to_string(information))
        else {
            continue;
        };
        let flags = information.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
        let is_for_writing = flags & 3 != 0;
        if is_for_writing && path.starts_with(folder) && !seen.insert((file.dev(), file.ino())) {
            return Some(path);
        }
    }
    None
}

/// Names of the files of a folder. Unfinished files are left out: the next start removes them.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".tmp")).collect()
}

/// A folder on the tmpfs `/dev/shm`, removed with this value.
struct Memory(PathBuf);

impl Memory {
    /// `None` if the tmpfs has too little room.
    fn new() -> Option<Self> {
        let shared = Path::new("/dev/shm");
        let output = Command::new("df").args(["--output=avail", "-k"]).arg(shared).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let free_kib: u64 = text.lines().last()?.trim().parse().ok()?;
        let path = shared.join(format!("zkfast-slow-disk-{}", std::process::id()));
        (free_kib << 10 > 3 * ROUND_BYTES_MAX_IN_MEMORY).then(|| fs::create_dir_all(&path).ok())??;
        Some(Self(path))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Clients that each set a znode of their own again and again, one request at a time.
struct Writers {
    addresses: Vec<SocketAddr>,
    records: Vec<Record>,
}

/// What one writer knows of its znode.
#[derive(Clone, Debug)]
struct Record {
    path: Vec<u8>,
    value_bytes: usize,
    /// The last acknowledged write: its number, the znode's version, and its zxid.
    acknowledged: Option<(u64, i32, Zxid)>,
    /// Number of the last write that was sent.
    sent: u64,
    /// Acknowledged writes.
    count: u64,
}

/// Writers at work.
struct Writing<'a> {
    bytes: &'a AtomicU64,
    running: &'a AtomicUsize,
}

impl Writing<'_> {
    /// True if the wait must end: all writers have lost their servers, or the deadline has passed.
    fn is_over(&self, deadline: Instant) -> bool {
        self.running.load(Ordering::Relaxed) == 0 || Instant::now() >= deadline
    }

    /// Lets the writers write for so long, or until so many more bytes are acknowledged, or all writers have lost their
    /// servers.
    fn go_on(&self, time: Duration, bytes: u64) {
        self.go_on_while(time, bytes, || {});
    }

    /// As [`go_on`](Self::go_on), and calls `inspect` every 10 ms.
    fn go_on_while(&self, time: Duration, bytes: u64, inspect: impl Fn()) {
        let deadline = Instant::now() + time;
        let limit = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        while Instant::now() < deadline
            && self.bytes.load(Ordering::Relaxed) < limit
            && self.running.load(Ordering::Relaxed) > 0
        {
            inspect();
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Writers {
    /// Writers of values of this size. They are spread over the servers.
    fn new(addresses: &[SocketAddr], value_bytes: usize) -> Self {
        let record = |number| Record {
            path: format!("/w{number}").into_bytes(),
            value_bytes,
            acknowledged: None,
            sent: 0,
            count: 0,
        };
        Self { addresses: addresses.to_vec(), records: (0..WRITERS).map(record).collect() }
    }

    /// Lets all writers write until `end` returns. `end` must kill their servers, unless these exit by themselves.
    fn run(&mut self, end: impl FnOnce(&Writing<'_>)) {
        let (bytes, running, over) = (AtomicU64::new(0), AtomicUsize::new(WRITERS), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for (number, record) in self.records.iter_mut().enumerate() {
                let address = self.addresses[number % self.addresses.len()];
                let (bytes, running, over) = (&bytes, &running, &over);
                scope.spawn(move || {
                    // The tests end servers before or while they answer, so a closed connection is expected.
                    let end = record.write(address, bytes, over);
                    running.fetch_sub(1, Ordering::Relaxed);
                    let is_end = matches!(end, Ok(()) | Err(ClientError::Closed | ClientError::Io(_)));
                    assert!(is_end, "{}: {end:?}", String::from_utf8_lossy(&record.path));
                });
            }
            // If `end` panics, the writers must stop.
            let _stop = StopOnDrop(&over);
            end(&Writing { bytes: &bytes, running: &running });
        });
    }

    /// Checks that this server has every acknowledged write.
    fn check(&mut self, address: SocketAddr) {
        let mut connection =
            Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a server that serves");
        let sync = Request::Sync { path: b"/".to_vec() };
        assert_eq!(connection.call(&sync, &mut Vec::new()).expect("an answer").header.err, 0, "sync");
        for record in &mut self.records {
            record.check(&mut connection);
        }
    }

    fn acknowledged(&self) -> u64 {
        self.records.iter().map(|record| record.count).sum()
    }
}

/// Stops the writers when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Record {
    /// The value of a write. It differs from the value of the write before in every byte after the number.
    fn value(&self, number: u64) -> Vec<u8> {
        let mut value = format!("{number:012}").into_bytes();
        value.resize(self.value_bytes, (number % 251) as u8);
        value
    }

    fn write(
        &mut self,
        address: SocketAddr,
        bytes: &AtomicU64,
        over: &AtomicBool,
    ) -> Result<(), ClientError> {
        let mut connection = Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT)?;
        if self.acknowledged.is_none() {
            let (acl, data) = (vec![Acl::open()], Some(self.value(0)));
            let (op, path) = (OpCode::CREATE, self.path.clone());
            let create = Request::Create { op, path, data, acl, flags: 0, ttl_ms: -1 };
            let Reply { header, .. } = connection.call(&create, &mut Vec::new())?;
            assert_eq!(header.err, 0, "{}", String::from_utf8_lossy(&self.path));
            self.acknowledged = Some((0, 0, Zxid::from_wire(header.zxid)));
        }
        while !over.load(Ordering::Relaxed) {
            self.sent += 1;
            let set =
                Request::SetData { path: self.path.clone(), data: Some(self.value(self.sent)), version: -1 };
            let mut events: Vec<Incoming> = Vec::new();
            let Reply { header, body, .. } = connection.call(&set, &mut events)?;
            assert_eq!(header.err, 0, "{}", String::from_utf8_lossy(&self.path));
            let Body::Stat(stat) = body else { panic!("{body:?}") };
            self.acknowledged = Some((self.sent, stat.version, stat.mzxid));
            self.count += 1;
            bytes.fetch_add(self.value_bytes as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks the znode against the record, and takes what it finds as the new record.
    fn check(&mut self, connection: &mut Connection) {
        let path = String::from_utf8_lossy(&self.path).into_owned();
        let get = Request::GetData { path: self.path.clone(), watch: false };
        let Reply { header, body, .. } = connection.call(&get, &mut Vec::new()).expect("an answer");
        let Some((number, version, zxid)) = self.acknowledged else {
            // The create was not acknowledged, and may have been applied all the same.
            assert!(header.err == 0 || header.err == -101, "{path}: {header:?}");
            if let Body::Data { stat, .. } = body {
                assert_eq!(stat.version, 0, "{path}: it was set before it was created");
                self.acknowledged = Some((0, 0, stat.mzxid));
            }
            return;
        };
        assert_eq!(header.err, 0, "{path} is gone: {number} was acknowledged as version {version} at {zxid}");
        let Body::Data { data: Some(data), stat } = body else { panic!("{path}: {body:?}") };
        let text = std::str::from_utf8(&data[..12]).expect("a number");
        let found: u64 = text.parse().unwrap_or_else(|_| panic!("{path}: {text} is no number"));
        assert!(
            found >= number && stat.version >= version && stat.mzxid >= zxid,
            "{path}: {number} was acknowledged as version {version} at {zxid}, and {found} is there, version {} of {}",
            stat.version,
            stat.mzxid
        );
        assert!(found > number || (stat.version, stat.mzxid) == (version, zxid), "{path}: {stat:?}");
        assert!(found <= self.sent, "{path}: {found} was never sent");
        assert!(data == self.value(found), "{path}: the value of {found} is not what was written");
        self.acknowledged = Some((found, stat.version, stat.mzxid));
    }
}
