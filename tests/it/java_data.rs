//! Data of a real Apache ZooKeeper 3.9.4, taken over; and data of zkfast that it starts on.
//!
//! What counts is what Java itself showed before it was killed: every znode with its data, ACL and Stat, and
//! every session. Not what it shows after a restart: from a snapshot taken under load it comes back with
//! orphans where a znode was deleted and made again, or not at all ("Failed to fetch acls").
//!
//! With `ZKFAST_ZOOKEEPER_LIB` on the jars of a 3.6 or 3.8 all of it holds as well; with those of a 3.4 and
//! `ZKFAST_JAVA_3_4=1`, `an_ensemble` and `killed_under_load`.

use crate::harness::{
    ANSWER_TIMEOUT, Directory, GroupDelay, Kind, Random, Server, alone, free_address, setting, zkfast_binary,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Incoming, Request};
use zkfast::proto::{Acl, Id, OpCode, Perms, Stat};
use zkfast::server::java_data::{self, Imported, JavaDataError, Options, Source};
use zkfast::snapshot::java::parse_snapshot_name;
use zkfast::tree::{Digests, ExtendedTypes, Settings};

/// How long a quorum may take to come together, on a quiet machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Of every server here. Sessions outlive the test, containers and TTL nodes stay.
const KEYS: &[(&str, &str)] = &[
    ("tickTime", "2000"),
    ("maxSessionTimeout", "900000"),
    ("extendedTypesEnabled", "true"),
    ("znode.container.checkIntervalMs", "3600000"),
    ("preAllocSize", "4096"),
    // super:admin
    ("DigestAuthenticationProvider.superDigest", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="),
];

fn options() -> Options {
    let settings = Settings { extended_types: ExtendedTypes::On, digests: Digests::Kept, hash_seed: 1 };
    Options { settings, without_log: false, trust_empty: is_3_4() }
}

fn keys(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [KEYS, more].concat()
}

fn connect(address: SocketAddr) -> Connection {
    let connect = Connect { timeout_ms: 600_000, ..Connect::default() };
    Connection::connect(address, &connect, ANSWER_TIMEOUT).expect("a session")
}

/// Waits until a session can be opened: once a server of the ensemble was killed, there is a quorum again.
fn settle(address: SocketAddr) {
    let connect = Connect { timeout_ms: 600_000, ..Connect::default() };
    let mut group_delay = GroupDelay::new(TIMEOUT);
    loop {
        match Connection::connect(address, &connect, ANSWER_TIMEOUT) {
            Ok(mut connection) => {
                return assert_eq!(call(&mut connection, &Request::CloseSession), Body::Empty);
            }
            Err(error) => assert!(!group_delay.is_over(), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a session may be attached with.
type Identity = (i64, [u8; 16]);

/// Attaches to a session that was opened before, and sees that it lives.
fn attach(address: SocketAddr, session: Identity) -> Connection {
    let connect = Connect { timeout_ms: 600_000, session: Some(session), ..Connect::default() };
    let connection = Connection::connect(address, &connect, ANSWER_TIMEOUT);
    connection.unwrap_or_else(|error| panic!("session {:#x}: {error}", session.0))
}

fn call(connection: &mut Connection, request: &Request) -> Body {
    let reply = connection.call(request, &mut Vec::new()).expect("a reply");
    assert_eq!(reply.header.err, 0, "{request:?}");
    reply.body
}

fn create(op: OpCode, path: &str, data: Option<&[u8]>, flags: i32, acl: Vec<Acl>) -> Request {
    let data = data.map(Into::into);
    Request::Create { op, path: path.into(), data, acl, flags, ttl_ms: 86_400_000 }
}

fn node(path: &str) -> Request {
    create(OpCode::CREATE, path, Some(path.as_bytes()), 0, vec![Acl::open()])
}

fn set(path: &str, data: &str) -> Request {
    Request::SetData { path: path.into(), data: Some(data.into()), version: -1 }
}

fn delete(path: &str) -> Request {
    Request::Delete { path: path.into(), version: -1 }
}

fn one_of(scheme: &str, id: &str) -> Vec<Acl> {
    vec![
        Acl { perms: Perms::ALL, id: Id::new(scheme, id) },
        Acl { perms: Perms::READ, id: Id::new("ip", "10.0.0.9") },
    ]
}

/// Whether the jars are those of a 3.4, which has neither create2 nor containers nor TTL nodes nor digests.
fn is_3_4() -> bool {
    setting("ZKFAST_JAVA_3_4", 0) == 1
}

/// The request, as far as the server knows it.
fn known(request: Request) -> Option<Request> {
    match request {
        Request::Create { op, .. }
            if is_3_4() && matches!(op, OpCode::CREATE_TTL | OpCode::CREATE_CONTAINER) =>
        {
            None
        }
        Request::Create { path, data, acl, flags, ttl_ms, .. } if is_3_4() => {
            Some(Request::Create { op: OpCode::CREATE, path, data, acl, flags, ttl_ms })
        }
        Request::Multi { ops } => Some(Request::Multi { ops: ops.into_iter().filter_map(known).collect() }),
        other => Some(other),
    }
}

/// Everything that a tree can hold; the sessions that are left open.
fn fill(address: SocketAddr) -> Vec<Identity> {
    let mut one = connect(address);
    let mut two = connect(address);
    let ephemeral = |path: &str, flags| {
        known(create(OpCode::CREATE2, path, Some(b"e"), flags, vec![Acl::open()])).expect("known as create")
    };
    for request in [
        node("/a"),
        node("/a/b"),
        node("/a/b/c"),
        create(OpCode::CREATE, "/null", None, 0, vec![Acl::open()]),
        create(OpCode::CREATE2, "/empty", Some(b""), 0, one_of("digest", "bob:hash")),
        create(OpCode::CREATE_CONTAINER, "/container", Some(b"c"), 4, vec![Acl::open()]),
        node("/a/b/d"),
        create(OpCode::CREATE_CONTAINER, "/a/b/d/container", Some(b"c"), 4, vec![Acl::open()]),
        create(OpCode::CREATE_TTL, "/ttl", Some(b"t"), 5, vec![Acl::open()]),
        create(OpCode::CREATE_TTL, "/a/ttl-", Some(b"t"), 6, vec![Acl::open()]),
        create(OpCode::CREATE, "/a/seq-", Some(b"s"), 2, vec![Acl::open()]),
        create(OpCode::CREATE, "/a/seq-", Some(b"s"), 2, one_of("ip", "127.0.0.1")),
        ephemeral("/a/eph", 1),
        ephemeral("/a/eph-", 3),
        set("/a/b", "once"),
        set("/a/b", "twice"),
        delete("/a/b/c"),
        Request::SetAcl { path: b"/a/b".to_vec(), acl: one_of("digest", "eve:hash"), version: -1 },
        Request::SetData { path: b"/null".to_vec(), data: None, version: -1 },
        create(OpCode::CREATE, "/\u{e4}\u{20ac}", Some(b"utf-8"), 0, vec![Acl::open()]),
        Request::Multi {
            ops: vec![
                node("/multi"),
                node("/multi/one"),
                set("/multi/one", "two"),
                delete("/multi/one"),
                Request::Check { path: b"/multi".to_vec(), version: 0 },
                create(OpCode::CREATE_CONTAINER, "/multi/container", None, 4, vec![Acl::open()]),
                create(OpCode::CREATE_TTL, "/multi/ttl", None, 5, vec![Acl::open()]),
            ],
        },
        // A quota: limits, and usage that follows.
        node("/zookeeper/quota/a"),
        create(
            OpCode::CREATE,
            "/zookeeper/quota/a/zookeeper_limits",
            Some(b"count=50,bytes=500=;byteHardLimit=-1;countHardLimit=-1"),
            0,
            vec![Acl::open()],
        ),
        create(
            OpCode::CREATE,
            "/zookeeper/quota/a/zookeeper_stats",
            Some(b"count=0,bytes=0"),
            0,
            vec![Acl::open()],
        ),
        node("/a/counted"),
        set("/a/counted", "and changed"),
    ] {
        if let Some(request) = known(request) {
            call(&mut one, &request);
        }
    }
    call(&mut two, &ephemeral("/two", 1));
    call(&mut two, &ephemeral("/a/two", 1));
    // One that ends, with its ephemerals; and what fails, which is logged as well.
    let mut three = connect(address);
    call(&mut three, &ephemeral("/a/three", 1));
    call(&mut three, &Request::CloseSession);
    for request in [
        node("/a"),
        delete("/a"),
        Request::Multi { ops: vec![node("/never"), delete("/absent")] },
        Request::SetData { path: b"/a".to_vec(), data: None, version: 77 },
    ] {
        one.call(&request, &mut Vec::new()).expect("a reply");
    }
    vec![one.identity(), two.identity()]
}

/// A znode as clients see it.
type Seen = (Option<Vec<u8>>, Vec<Acl>, Stat);

/// A server's tree and sessions, as clients see them.
#[derive(Debug, PartialEq)]
struct Shown {
    nodes: BTreeMap<String, Seen>,
    sessions: BTreeSet<i64>,
}

/// Walks the whole tree. The walker's own session does not count.
fn show(address: SocketAddr) -> Shown {
    let mut walker = connect(address);
    call(&mut walker, &Request::Auth { scheme: b"digest".to_vec(), auth: Some(b"super:admin".to_vec()) });
    let mut nodes = BTreeMap::new();
    let mut todo = vec!["/".to_owned()];
    while !todo.is_empty() {
        // In bursts: a round trip a znode takes too long.
        let burst: Vec<String> = todo.split_off(todo.len().saturating_sub(200));
        for path in &burst {
            let path = path.clone().into_bytes();
            walker.queue(&Request::GetChildren { path: path.clone(), watch: false });
            walker.queue(&Request::GetData { path: path.clone(), watch: false });
            walker.queue(&Request::GetAcl { path });
        }
        walker.flush().expect("sent");
        let mut next = || match walker.receive().expect("an answer") {
            Incoming::Reply(reply) => {
                assert_eq!(reply.header.err, 0, "{:?} at {address}", reply.op);
                reply.body
            }
            other => panic!("{other:?}"),
        };
        for path in burst {
            let Body::Paths(names) = next() else { panic!("names") };
            let Body::Data { data, stat } = next() else { panic!("data") };
            let Body::Acl { acl, .. } = next() else { panic!("an ACL") };
            let parent = if path == "/" { "" } else { &path };
            todo.extend(names.into_iter().map(|name| format!("{parent}/{}", String::from_utf8_lossy(&name))));
            nodes.insert(path, (data, acl, stat));
        }
    }
    if is_3_4() {
        // A 3.4 has no config node; a tree that began from nothing here has.
        nodes.retain(|path, _| !matches!(path.as_str(), "/zookeeper" | "/zookeeper/config"));
    }
    let own = walker.identity().0;
    let mut sessions = sessions(address);
    assert!(sessions.remove(&own), "the walker's session {own:#x} is not in the dump");
    call(&mut walker, &Request::CloseSession);
    Shown { nodes, sessions }
}

fn sessions(address: SocketAddr) -> BTreeSet<i64> {
    let dump = four_letter_word(address, "dump", ANSWER_TIMEOUT).expect("dump");
    let tracker = dump.split("ephemeral nodes dump").next().expect("has a first part");
    let ids = tracker.lines().filter_map(|line| line.trim().strip_prefix("0x"));
    ids.map(|id| u64::from_str_radix(id, 16).expect("an id").cast_signed()).collect()
}

/// Asserts with the difference, not with both trees.
fn assert_same(one: &Shown, other: &Shown, what: &str) {
    let paths: BTreeSet<&String> = one.nodes.keys().chain(other.nodes.keys()).collect();
    let differ = |path: &&&String| one.nodes.get(**path) != other.nodes.get(**path);
    let differing: Vec<_> = paths.iter().filter(differ).collect();
    let first = differing
        .iter()
        .take(5)
        .map(|path| format!("{path}:\n  {:?}\n  {:?}", one.nodes.get(**path), other.nodes.get(**path)));
    assert!(
        differing.is_empty(),
        "{what}: {} differ\n{}",
        differing.len(),
        first.collect::<Vec<_>>().join("\n")
    );
    assert_eq!(one.sessions, other.sessions, "{what}: sessions");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            fs::copy(&entry, &target).expect("a copy");
        }
    }
}

/// Names in a folder, sorted, with their bytes' checksum: to see that nothing changed.
fn fingerprint(folder: &Path) -> Vec<(String, usize, u32)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries
        .map(|path| {
            let bytes = fs::read(&path).expect("a file");
            let sum = bytes.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
            (path.file_name().expect("a name").to_string_lossy().into_owned(), bytes.len(), sum)
        })
        .collect();
    files.sort();
    files
}

fn zkfast(args: &[&str]) -> Output {
    Command::new(zkfast_binary()).args(args).output().expect("zkfast runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A copy of a killed ZooKeeper's data, and what that ZooKeeper showed last.
struct Killed {
    /// Its dataDir.
    copy: Directory,
    shown: Shown,
    sessions: Vec<Identity>,
}

fn killed(more: &[(&'static str, &'static str)], load: impl FnOnce(SocketAddr)) -> Killed {
    let mut java = Server::start(Kind::Java, &keys(more));
    let sessions = fill(java.address());
    load(java.address());
    let shown = show(java.address());
    java.kill();
    let directory = Directory::new("java-data");
    copy(&java.data(), directory.path());
    Killed { copy: directory, shown, sessions }
}

fn snapshots(data: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(data.join("version-2")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let zxid = |path: &PathBuf| parse_snapshot_name(path.file_name()?.to_str()?).map(|(zxid, _)| zxid);
    let mut snapshots: Vec<_> = entries.filter(|path| zxid(path).is_some()).collect();
    snapshots.sort_by_key(zxid);
    snapshots
}

fn logs(data: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(data.join("version-2")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_log =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log."));
    let mut logs: Vec<_> = entries.filter(is_log).collect();
    logs.sort_by_key(|path| {
        u64::from_str_radix(&path.extension().expect("a zxid").to_string_lossy(), 16).expect("hex")
    });
    logs
}

fn import(data: &Path) -> Result<(Imported, Directory), JavaDataError> {
    let target = Directory::new("imported");
    let imported = java_data::import(&Source::new(data, data), target.path(), target.path(), options())?;
    Ok((imported, target))
}

/// A zkfast whose data directory holds what `data` holds.
fn zkfast_on(data: &Path) -> Server {
    let mut server = Server::new(Kind::Zkfast, KEYS);
    copy(data, &server.data());
    server.start_again();
    server
}

/// Both commands, all kinds of znodes: what Java had zkfast shows, sessions can be attached, and Java starts on
/// what zkfast gives back, with the digest that it expects.
#[test]
fn there_and_back() {
    let _alone = alone();
    let killed = killed(&[], |_| ());
    let before = fingerprint(&killed.copy.path().join("version-2"));
    let target = Directory::new("imported");

    let refused = zkfast(&["import", text(killed.copy.path()), text(target.path())]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && why.contains("extendedTypesEnabled"), "{why}");
    // What is missing is a setting, however many snapshots there are.
    assert_eq!(why.matches("is a TTL node").count(), 1, "{why}");
    // What an import that was killed left is not taken for data, and goes.
    let left = target.path().join("zkfast-1.unfinished");
    fs::create_dir(&left).expect("made");
    fs::write(left.join("snapshot.ffffff"), "half of one").expect("written");
    let import = ["import", text(killed.copy.path()), text(target.path()), "--extended-types"];
    let done = zkfast(&import);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains(&format!("znodes={} sessions=2", killed.shown.nodes.len())), "{said}");
    assert!(said.contains("digest=agrees"), "{said}");
    eprint!("{said}");
    assert!(!left.exists() && !target.path().join("zkfast-1/snapshot.ffffff").exists());
    let again = zkfast(&import);
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(3) && why.contains("is there already"), "{why}");
    assert_eq!(fingerprint(&killed.copy.path().join("version-2")), before, "the old files changed");

    let mut server = zkfast_on(target.path());
    assert_same(&killed.shown, &show(server.address()), "Java and zkfast");
    let mut one = attach(server.address(), killed.sessions[0]);
    call(&mut one, &delete("/a/eph"));
    call(&mut one, &create(OpCode::CREATE, "/a/seq-", None, 2, vec![Acl::open()]));
    call(&mut attach(server.address(), killed.sessions[1]), &Request::CloseSession);
    let shown = show(server.address());
    assert!(!shown.nodes.contains_key("/two") && shown.sessions.len() == 1);
    server.kill();

    let mut java = Server::new(Kind::Java, KEYS);
    fs::remove_dir_all(java.data()).expect("removed");
    let done = zkfast(&["export", text(&server.data()), text(&java.data())]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    eprint!("{said}");
    let exported = Directory::new("exported");
    copy(&java.data(), exported.path());
    // Java looks for a digest behind the tree, or not, by its own settings.
    let mut without_digests = Server::new(Kind::Java, &keys(&[("digest.enabled", "false")]));
    copy(exported.path(), &without_digests.data());
    without_digests.start_again();
    assert_same(&shown, &show(without_digests.address()), "zkfast and Java without digests");
    // Its own snapshot, of another kind, lies beside the exported one.
    without_digests.kill();
    without_digests.start_again();
    assert_same(&shown, &show(without_digests.address()), "Java without digests, again");
    without_digests.kill();
    java.start_again();
    assert_same(&shown, &show(java.address()), "zkfast and Java");
    let numbers = four_letter_word(java.address(), "mntr", ANSWER_TIMEOUT).expect("mntr");
    let mismatches = numbers.lines().find(|line| line.starts_with("zk_digest_mismatches_count"));
    assert_eq!(mismatches.map(|line| line.ends_with("\t0")), Some(true), "{mismatches:?}");
    let mut one = attach(java.address(), killed.sessions[0]);
    call(&mut one, &node("/made-by-java"));
    java.kill();
    // What Java went on with comes back, and what was exported as well.
    let (imported, target) = self::import(&java.data()).expect("whole");
    assert!(imported.report.exact_from.is_some(), "{imported}");
    assert!(show(zkfast_on(target.path()).address()).nodes.contains_key("/made-by-java"));
    let (imported, _) = self::import(exported.path()).expect("whole");
    assert_eq!((imported.report.txns, imported.znodes), (0, shown.nodes.len()));
}

/// A server started on a dataDir of ZooKeeper takes the data over, says so, and leaves the old files alone;
/// its next start takes its own.
#[test]
fn a_server_takes_over() {
    let _alone = alone();
    let killed = killed(&[], |_| ());
    let mut server = Server::new(Kind::Zkfast, KEYS);
    copy(killed.copy.path(), &server.data());
    let before = fingerprint(&server.data().join("version-2"));
    server.start_again();
    let output = server.output();
    let znodes = format!("znodes={} sessions=2", killed.shown.nodes.len());
    assert!(output.contains("import: done:") && output.contains(&znodes), "{output}");
    assert_same(&killed.shown, &show(server.address()), "Java and zkfast");
    call(&mut connect(server.address()), &node("/after"));
    server.kill();
    server.start_again();
    assert!(show(server.address()).nodes.contains_key("/after"));
    assert_eq!(server.output().matches("import: done:").count(), 1);
    for session in killed.sessions {
        attach(server.address(), session);
    }
    assert_eq!(fingerprint(&server.data().join("version-2")), before, "the old files changed");
}

/// Snapshots packed by gzip and by snappy are read, whole and torn ones.
#[test]
fn packed_snapshots() {
    let _alone = alone();
    for (method, extension) in [("gz", "gz"), ("snappy", "snappy")] {
        let killed = killed(&[("snapshot.compression.method", method), ("snapCount", "20")], |_| ());
        let files = snapshots(killed.copy.path());
        let packed = files.iter().filter(|path| path.extension().is_some_and(|is| is == extension)).count();
        assert!(packed >= 2, "{files:?}");
        let (imported, target) = import(killed.copy.path()).expect("whole");
        // What was being written when the server was killed is passed over.
        assert_eq!(imported.snapshot.as_ref(), files.iter().rev().nth(imported.passed_over));
        eprintln!("{method}: {imported}");
        assert_same(&killed.shown, &show(zkfast_on(target.path()).address()), method);
        // That one cut: an older one and more log come to the same.
        let newest = imported.snapshot.as_ref().expect("one");
        let bytes = fs::read(newest).expect("a file");
        fs::write(newest, &bytes[..bytes.len() - bytes.len() / 3]).expect("written");
        let (older, target) = import(killed.copy.path()).expect("the older one");
        assert_eq!((older.passed_over, older.zxid), (imported.passed_over + 1, imported.zxid));
        assert_same(&killed.shown, &show(zkfast_on(target.path()).address()), method);
    }
}

/// Snapshots taken under load are fuzzy. From each of them, with the log behind it, comes the same exact tree:
/// every digest in Java's log from there on is ours.
#[test]
fn snapshots_under_load() {
    let _alone = alone();
    let killed =
        killed(&[("snapCount", "1500")], |address| load(address, setting("ZKFAST_JAVA_LOAD", 12_000)));
    let mut files = snapshots(killed.copy.path());
    // The newest may have been in the making.
    if import(killed.copy.path()).expect("whole").0.passed_over == 1 {
        fs::remove_file(files.pop().expect("several")).expect("removed");
    }
    let mut fuzzy = 0;
    let mut imported_first = None;
    for number in (0..files.len()).rev() {
        let (imported, target) = import(killed.copy.path()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((imported.snapshot.as_ref(), imported.passed_over), (files.get(number), 0));
        let name = files[number].file_name().expect("a name").to_str().expect("UTF-8");
        let (zxid, _) = parse_snapshot_name(name).expect("a snapshot");
        let exact_from = imported.report.exact_from.or(is_3_4().then_some(zxid)).expect("digests that agree");
        // Java notes its digests behind the change: the next txn agrees at the latest, unless it is fuzzy.
        fuzzy += u32::from(exact_from.0 > zxid.0 + 1);
        eprintln!("{name}: {imported}");
        match &imported_first {
            None => {
                assert_same(&killed.shown, &show(zkfast_on(target.path()).address()), "Java and zkfast");
                imported_first = Some(imported);
            }
            Some(first) => {
                let same = |one: &Imported| (one.zxid, one.znodes, one.sessions);
                assert_eq!(same(first), same(&imported), "from {name}");
                if number == 0 {
                    assert_same(&killed.shown, &show(zkfast_on(target.path()).address()), "from the oldest");
                }
            }
        }
        // The next one is tried without those.
        fs::remove_file(&files[number]).expect("removed");
    }
    eprintln!("{} snapshots, {fuzzy} of them fuzzy", files.len());
    assert!(fuzzy > 0 || is_3_4(), "no snapshot of {} was fuzzy", files.len());
}

/// Writes from three sessions at once: creates, sequential and ephemeral ones, sets, deletes, multis, ACLs.
fn load(address: SocketAddr, requests: u64) {
    let mut first = connect(address);
    call(&mut first, &node("/load"));
    // Enough for a snapshot to take its time.
    for place in 0..20 {
        call(&mut first, &node(&format!("/load/{place}")));
        for number in 0..200 {
            first.queue(&node(&format!("/load/{place}/{number}")));
        }
        first.flush().expect("sent");
        while first.session().pending() > 0 {
            first.receive().expect("an answer");
        }
    }
    std::thread::scope(|scope| {
        for writer in 0..3 {
            scope.spawn(move || write(address, writer, requests / 3));
        }
    });
}

fn write(address: SocketAddr, writer: u64, requests: u64) {
    let mut random = Random(writer + 1);
    let mut connection = connect(address);
    for number in 0..requests {
        let path = format!("/load/{}/{}", random.below(20), random.below(250));
        let child = format!("{path}/{}", random.below(2));
        let request = match random.below(10) {
            0 => delete(&path),
            1 => delete(&child),
            2 => node(&path),
            3 => node(&child),
            4 => create(
                OpCode::CREATE2,
                &path,
                None,
                1,
                one_of("ip", &format!("10.1.1.{}", random.below(200))),
            ),
            5 => create(OpCode::CREATE, &format!("{path}-"), None, 2, vec![Acl::open()]),
            6 => Request::Multi { ops: vec![delete(&path), node(&path), set(&path, "multi")] },
            7 => {
                let acl = one_of("digest", &format!("user:{}", random.below(1000)));
                Request::SetAcl { path: path.into(), acl, version: -1 }
            }
            _ => set(&path, &number.to_string()),
        };
        connection.queue(&known(request).expect("known as create"));
        if number % 100 == 99 {
            connection.flush().expect("sent");
            while connection.session().pending() > 20 {
                connection.receive().expect("an answer");
            }
        }
        // Ephemerals go with their session now and then.
        if number % 1000 == 999 {
            connection.flush().expect("sent");
            while connection.session().pending() > 0 {
                connection.receive().expect("an answer");
            }
            call(&mut connection, &Request::CloseSession);
            connection = connect(address);
        }
    }
    while connection.session().pending() > 0 {
        connection.receive().expect("an answer");
    }
}

/// Killed in the middle of writes, twice: what Java recovers, zkfast takes over, torn records or not.
#[test]
fn killed_under_load() {
    let _alone = alone();
    let mut java = Server::start(Kind::Java, &keys(&[("snapCount", "2000")]));
    fill(java.address());
    for round in 0..setting("ZKFAST_JAVA_KILLS", 3) {
        let address = java.address();
        std::thread::scope(|scope| {
            let writers = [0, 1].map(|writer| {
                scope.spawn(move || {
                    let mut connection = connect(address);
                    for number in 0.. {
                        let path = format!("/round-{round}-{writer}-{number}");
                        connection.queue(&create(
                            OpCode::CREATE,
                            &path,
                            Some(&[7; 3000]),
                            0,
                            vec![Acl::open()],
                        ));
                        if number % 50 == 49 && connection.flush().is_err() {
                            break;
                        }
                        while connection.session().pending() > 100 {
                            if connection.receive().is_err() {
                                return;
                            }
                        }
                    }
                })
            });
            std::thread::sleep(Duration::from_millis(700 + 130 * round));
            java.kill();
            writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        });
        let directory = Directory::new("java-data");
        copy(&java.data(), directory.path());
        let (imported, target) = import(directory.path()).unwrap_or_else(|error| panic!("{error}"));
        eprintln!("round {round}: torn={} {imported}", imported.torn);
        java.start_again();
        assert_same(&show(java.address()), &show(zkfast_on(target.path()).address()), "Java and zkfast");
    }
}

/// The newest zxid that a server has processed, as `srvr` tells it.
fn processed(address: SocketAddr) -> String {
    let answer = four_letter_word(address, "srvr", ANSWER_TIMEOUT).expect("srvr");
    let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: "));
    zxid.unwrap_or_else(|| panic!("no zxid: {answer}")).to_owned()
}

/// Three servers in several epochs, with one that fell behind and got a snapshot from its leader: the
/// directory of each is taken over, with its epochs, to the same tree.
#[test]
fn an_ensemble() {
    let _alone = alone();
    let ports: Vec<[u16; 2]> = (0..3).map(|_| [free_address().port(), free_address().port()]).collect();
    let members: Vec<(String, String)> = (1..)
        .zip(&ports)
        .map(|(id, [quorum, election])| (format!("server.{id}"), format!("127.0.0.1:{quorum}:{election}")))
        .collect();
    // No snapshots under load: Java is started on its data again.
    let mut all =
        keys(&[("initLimit", "10"), ("syncLimit", "5"), ("snapCount", "100000"), ("commitLogCount", "100")]);
    all.extend(members.iter().map(|(key, value)| (&**key, &**value)));
    let mut servers: Vec<Server> = (1..=3)
        .map(|id| {
            let server = Server::new(Kind::Java, &all);
            fs::write(server.data().join("myid"), id.to_string()).expect("myid");
            server
        })
        .collect();
    servers.iter_mut().for_each(Server::spawn);
    servers.iter_mut().for_each(Server::wait_until_it_answers);
    let sessions = fill(servers[0].address());
    // The third one misses more than the leader keeps for a DIFF.
    servers[2].kill();
    settle(servers[0].address());
    load(servers[0].address(), 1500);
    servers[2].start_again();
    // Epochs go by.
    for victim in [0, 1] {
        servers[victim].kill();
        settle(servers[2].address());
        call(&mut connect(servers[2].address()), &node(&format!("/epoch-without-{victim}")));
        servers[victim].start_again();
        settle(servers[2].address());
    }
    let mut shown = show(servers[2].address());
    // Each server of Java's sets it at its own start, by its own clock.
    assert_eq!(shown.nodes.remove("/zookeeper/config").is_some(), !is_3_4());
    // The last txn ended the walker's session: two of three have logged it.
    let newest = processed(servers[2].address());
    let mut group_delay = GroupDelay::new(TIMEOUT);
    for server in &servers {
        while processed(server.address()) != newest {
            assert!(!group_delay.is_over(), "{} does not come to {newest}", server.address());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    servers.iter_mut().for_each(Server::kill);
    for (id, server) in (1..).zip(&servers) {
        let (imported, target) =
            import(&server.data()).unwrap_or_else(|error| panic!("server {id}: {error}"));
        let epochs = imported.epochs.expect("an ensemble has epochs");
        eprintln!("server {id}: {epochs:?} {imported}");
        assert!(imported.zxid.epoch() >= 2 && epochs.current >= imported.zxid.epoch());
        let server = zkfast_on(target.path());
        let mut ours = show(server.address());
        ours.nodes.remove("/zookeeper/config");
        let missing: Vec<_> =
            shown.nodes.iter().filter(|(path, seen)| ours.nodes.get(*path) != Some(seen)).collect();
        assert!(
            missing.is_empty(),
            "server {id}: {} of {} differ: {:?}",
            missing.len(),
            shown.nodes.len(),
            missing[0]
        );
        assert_eq!(ours.nodes.len(), shown.nodes.len(), "server {id}");
        assert_eq!(ours.sessions, shown.sessions, "server {id}");
        attach(server.address(), sessions[0]);
    }
}

/// Nothing that is missing or damaged is passed over: each is refused with the file named, and nothing is made.
#[test]
fn refusals() {
    let _alone = alone();
    let mut java = Server::start(Kind::Java, &keys(&[("snapCount", "100000")]));
    for round in 0..3 {
        let mut connection = connect(java.address());
        for number in 0..20 {
            call(&mut connection, &node(&format!("/{round}-{number}")));
        }
        java.kill();
        java.start_again();
    }
    call(&mut connect(java.address()), &node("/last"));
    java.kill();
    let (files, log_files) = (snapshots(&java.data()), logs(&java.data()));
    assert!(files.len() == 4 && log_files.len() == 4, "{files:?} {log_files:?}");
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    // Changes a copy, and gives what import says of it.
    let said = |change: &dyn Fn(&Path)| {
        let directory = Directory::new("java-data");
        copy(&java.data(), directory.path());
        change(&directory.path().join("version-2"));
        let target = Directory::new("imported");
        let source = Source::new(directory.path(), directory.path());
        let result = java_data::import(&source, target.path(), target.path(), options());
        let left = fs::read_dir(target.path()).expect("a folder").count();
        assert_eq!(left, usize::from(result.is_ok()), "something is left behind");
        result.map(|imported| imported.zxid).map_err(|error| error.to_string())
    };
    let remove = |folder: &Path, path: &Path| fs::remove_file(folder.join(name(path))).expect("removed");
    let only_oldest = |folder: &Path| files[1..].iter().for_each(|file| remove(folder, file));
    let zxid = said(&|_| ()).expect("whole");
    assert_eq!(said(&|folder| only_oldest(folder)), Ok(zxid));
    let refused = |change: &dyn Fn(&Path), words: &[&str]| {
        let why = said(change).expect_err("refused");
        assert!(words.iter().all(|word| why.contains(word)), "{why}: {words:?}");
    };
    let (first, middle, last) = (name(&log_files[0]), name(&log_files[1]), name(&log_files[3]));
    refused(&|folder| files.iter().for_each(|file| remove(folder, file)), &["no snapshot", "--trust-empty"]);
    refused(
        &|folder| log_files.iter().for_each(|file| remove(folder, file)),
        &["--log-dir", "--without-log"],
    );
    refused(
        &|folder| {
            fs::remove_dir_all(folder).expect("removed");
            fs::create_dir(folder).expect("made");
        },
        &["neither a snapshot nor a log"],
    );
    // A log that is missing between the snapshot and the first, and between two.
    let gap = |missing: &Path, folder: &Path| {
        only_oldest(folder);
        remove(folder, missing);
    };
    refused(&|folder| gap(&log_files[0], folder), &[&middle, "missing"]);
    refused(&|folder| gap(&log_files[1], folder), &[&name(&log_files[2]), "missing"]);
    // The last log gone: the snapshot in front of it still stands for all there was.
    assert!(said(&|folder| remove(folder, &log_files[3])).expect("less") < zxid);
    // All snapshots cut; only the newer ones cut, and the log in front of them gone.
    let cut = |folder: &Path, path: &Path| {
        let bytes = fs::read(path).expect("a file");
        fs::write(folder.join(name(path)), &bytes[..bytes.len() / 2]).expect("written");
    };
    refused(
        &|folder| files.iter().for_each(|file| cut(folder, file)),
        &["no snapshot", "cut off", &name(&files[3])],
    );
    refused(
        &|folder| {
            files[1..].iter().for_each(|file| cut(folder, file));
            log_files[1..].iter().for_each(|file| remove(folder, file));
        },
        &["the log ends at", "cannot be used"],
    );
    // Bytes changed: in an entry, in a length, an end mark gone; other versions; an empty log in the middle.
    let change = |folder: &Path, file: &str, at: usize, to: &dyn Fn(u8) -> u8| {
        only_oldest(folder);
        let path = folder.join(file);
        let mut bytes = fs::read(&path).expect("a file");
        bytes[at] = to(bytes[at]);
        fs::write(path, bytes).expect("written");
    };
    refused(&|folder| change(folder, &first, 60, &|byte| byte ^ 4), &[&first, "byte 16", "checksum"]);
    refused(&|folder| change(folder, &first, 27, &|byte| byte ^ 1), &[&first, "byte 16"]);
    refused(&|folder| change(folder, &first, 27, &|_| 0), &[&first, "byte 16"]);
    refused(&|folder| change(folder, &middle, 7, &|_| 3), &[&middle, "version 3"]);
    refused(&|folder| change(folder, &middle, 3, &|_| 3), &[&middle, "no txn log"]);
    refused(
        &|folder| {
            only_oldest(folder);
            fs::write(folder.join(&middle), b"").expect("written");
        },
        &[&middle, "cut off"],
    );
    let is_fine = said(&|folder| fs::write(folder.join("log.ffff"), b"").expect("written"));
    assert_eq!(is_fine, Ok(zxid), "an empty last log is a crash at its birth");
    // The last record cut off anywhere was never acknowledged, or says that it was.
    let bytes = fs::read(&log_files[3]).expect("a file");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("entries") + 1;
    let cut_at =
        |length: usize, folder: &Path| fs::write(folder.join(&last), &bytes[..length]).expect("written");
    assert!(said(&|folder| cut_at(end - 3, folder)).expect("torn") < zxid);
    assert_eq!(said(&|folder| cut_at(end, folder)), Ok(zxid));
    // Files in the wrong folder.
    let directory = Directory::new("java-data");
    copy(&java.data(), directory.path());
    let other = Directory::new("java-log");
    copy(&java.data(), other.path());
    let source = Source::new(directory.path(), other.path());
    let target = Directory::new("imported");
    let why = java_data::import(&source, target.path(), target.path(), options()).expect_err("refused");
    assert!(why.to_string().contains("belongs into"), "{why}");
    // A server refuses in the same words, and does not start empty.
    let mut server = Server::new(Kind::Zkfast, KEYS);
    copy(&java.data(), &server.data());
    files.iter().for_each(|file| remove(&server.data().join("version-2"), file));
    assert_eq!(server.start_in_vain(), Some(3));
    assert!(server.output().contains("--trust-empty"), "{}", server.output());
    assert!(!server.data().join("zkfast-1").exists());
}
