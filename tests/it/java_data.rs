//! zkfast imports data of Apache ZooKeeper 3.9.4, and ZooKeeper starts on what zkfast exports.
//!
//! The tests compare with what Java showed before it was killed: every znode with its data, ACL and Stat, and every
//! session. They do not compare with Java after a restart: from a snapshot taken under load, Java restarts with orphans
//! where a znode was deleted and created again, or does not start ("Failed to fetch acls").
//!
//! All tests also pass with `ZKFAST_ZOOKEEPER_LIB` on the jars of 3.6 or 3.8. `an_ensemble` and `killed_under_load` pass
//! with those of 3.4 and `ZKFAST_JAVA_3_4=1`.

use crate::harness::{
    ANSWER_TIMEOUT, Directory, Kind, Random, Server, alone, free_address, setting, wait_for, zkfast_binary,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Incoming, Request};
use zkfast::proto::{Acl, Id, OpCode, Perms, SessionId, Stat, Zxid};
use zkfast::server::java_data::{self, Imported, JavaDataError, Options, Source};
use zkfast::snapshot::java::parse_snapshot_name;
use zkfast::tree::{Digests, ExtendedTypes, Settings};

/// How long a quorum may take to form, on a quiet machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Keys of every server. Sessions outlive the test, and containers and TTL nodes are not deleted.
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

pub fn keys(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [KEYS, more].concat()
}

pub fn connect(address: SocketAddr) -> Connection {
    let connect = Connect { timeout_ms: 600_000, ..Connect::default() };
    Connection::connect(address, &connect, ANSWER_TIMEOUT).expect("a session")
}

/// Waits until the server accepts sessions, that is until the ensemble has a quorum.
fn wait_for_quorum(address: SocketAddr) {
    let connect = Connect { timeout_ms: 600_000, ..Connect::default() };
    let mut connection = wait_for(TIMEOUT, || {
        Connection::connect(address, &connect, ANSWER_TIMEOUT).map_err(|error| error.to_string())
    });
    assert_eq!(call(&mut connection, &Request::CloseSession), Body::Empty);
}

/// Id and password of a session.
pub type Identity = (SessionId, [u8; 16]);

/// Attaches to a session that must still be open.
fn attach(address: SocketAddr, session: Identity) -> Connection {
    let connect = Connect { timeout_ms: 600_000, session: Some(session), ..Connect::default() };
    let connection = Connection::connect(address, &connect, ANSWER_TIMEOUT);
    connection.unwrap_or_else(|error| panic!("session {:#x}: {error}", session.0))
}

pub fn call(connection: &mut Connection, request: &Request) -> Body {
    let reply = connection.call(request, &mut Vec::new()).expect("a reply");
    assert_eq!(reply.header.err, 0, "{request:?}");
    reply.body
}

fn create(op: OpCode, path: &str, data: Option<&[u8]>, flags: i32, acl: Vec<Acl>) -> Request {
    let data = data.map(Into::into);
    Request::Create { op, path: path.into(), data, acl, flags, ttl_ms: 86_400_000 }
}

pub fn node(path: &str) -> Request {
    create(OpCode::CREATE, path, Some(path.as_bytes()), 0, vec![Acl::open()])
}

pub fn set(path: &str, data: &str) -> Request {
    Request::SetData { path: path.into(), data: Some(data.into()), version: -1 }
}

pub fn delete(path: &str) -> Request {
    Request::Delete { path: path.into(), version: -1 }
}

fn one_of(scheme: &str, id: &str) -> Vec<Acl> {
    vec![
        Acl { perms: Perms::ALL, id: Id::new(scheme, id) },
        Acl { perms: Perms::READ, id: Id::new("ip", "10.0.0.9") },
    ]
}

/// True if the jars are those of 3.4, which has no create2, containers, TTL nodes or digests.
fn is_3_4() -> bool {
    setting("ZKFAST_JAVA_3_4", 0) == 1
}

/// The request without what this version of Java does not know; `None` if it knows nothing of it.
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

/// An ephemeral with flags 1, a sequential one with flags 3.
fn ephemeral(path: &str, flags: i32) -> Request {
    known(create(OpCode::CREATE2, path, Some(b"e"), flags, vec![Acl::open()])).expect("known as create")
}

/// Requests that together leave every kind of znode.
fn every_kind_of_znode() -> Vec<Request> {
    vec![
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
        // A quota: its limits, and its usage, which later requests change.
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
    ]
}

/// Creates every kind of znode. Gives the sessions that it leaves open.
pub fn fill(address: SocketAddr) -> Vec<Identity> {
    let mut one = connect(address);
    let mut two = connect(address);
    for request in every_kind_of_znode() {
        if let Some(request) = known(request) {
            call(&mut one, &request);
        }
    }
    call(&mut two, &ephemeral("/two", 1));
    call(&mut two, &ephemeral("/a/two", 1));
    // A session that ends, with its ephemeral, and requests that fail, which Java logs too.
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

/// Data, ACL and Stat of a znode.
type Seen = (Option<Vec<u8>>, Vec<Acl>, Stat);

/// A server's tree and sessions, as clients see them.
#[derive(Debug, PartialEq)]
struct Content {
    nodes: BTreeMap<String, Seen>,
    sessions: BTreeSet<SessionId>,
}

/// Reads the whole tree and all sessions but its own.
fn read_content(address: SocketAddr) -> Content {
    let mut walker = connect(address);
    call(&mut walker, &Request::Auth { scheme: b"digest".to_vec(), auth: Some(b"super:admin".to_vec()) });
    let mut nodes = BTreeMap::new();
    let mut todo = vec!["/".to_owned()];
    while !todo.is_empty() {
        // Many requests at a time: a round trip per znode would take too long.
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
        // 3.4 has no configuration znode; an empty tree of zkfast begins with one.
        nodes.retain(|path, _| !matches!(path.as_str(), "/zookeeper" | "/zookeeper/config"));
    }
    let own = walker.identity().0;
    let mut sessions = sessions(address);
    assert!(sessions.remove(&own), "the walker's session {own:#x} is not in the dump");
    call(&mut walker, &Request::CloseSession);
    Content { nodes, sessions }
}

fn sessions(address: SocketAddr) -> BTreeSet<SessionId> {
    let dump = four_letter_word(address, "dump", ANSWER_TIMEOUT).expect("dump");
    let tracker = dump.split("ephemeral nodes dump").next().expect("has a first part");
    let ids = tracker.lines().filter_map(|line| line.trim().strip_prefix("0x"));
    ids.map(|id| SessionId(u64::from_str_radix(id, 16).expect("an id").cast_signed())).collect()
}

/// Asserts that both are equal, and shows the differences only.
fn assert_same(one: &Content, other: &Content, what: &str) {
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

pub fn copy(from: &Path, to: &Path) {
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

/// Names, lengths and checksums of the files in a folder, to detect changes.
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

pub fn zkfast(args: &[&str]) -> Output {
    Command::new(zkfast_binary()).args(args).output().expect("zkfast runs")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A copy of the data of a ZooKeeper that was killed, and its last content.
struct Killed {
    /// A copy of its dataDir.
    copy: Directory,
    content: Content,
    sessions: Vec<Identity>,
}

fn killed(more: &[(&'static str, &'static str)], load: impl FnOnce(SocketAddr)) -> Killed {
    let mut java = Server::start(Kind::Java, &keys(more));
    let sessions = fill(java.address());
    load(java.address());
    let content = read_content(java.address());
    java.kill();
    let directory = Directory::new("java-data");
    copy(&java.data(), directory.path());
    Killed { copy: directory, content, sessions }
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

/// Starts zkfast on a copy of `data`.
fn zkfast_on(data: &Path) -> Server {
    let mut server = Server::new(Kind::Zkfast, KEYS);
    copy(data, &server.data());
    server.start_again();
    server
}

/// `zkfast import` and `zkfast export` keep all kinds of znodes: zkfast has Java's content, clients can attach to the
/// sessions, and Java starts on the exported data with the digest that it expects.
#[test]
fn there_and_back() {
    let _alone = alone();
    let killed = killed(&[], |_| ());
    let before = fingerprint(&killed.copy.path().join("version-2"));
    let target = Directory::new("imported");

    let refused = zkfast(&["import", text(killed.copy.path()), text(target.path())]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && why.contains("extendedTypesEnabled"), "{why}");
    // The error names the missing setting once, however many snapshots there are.
    assert_eq!(why.matches("is a TTL node").count(), 1, "{why}");
    // Leftovers of an import that was killed are not taken for data, and are removed.
    let left = target.path().join("zkfast-1.unfinished");
    fs::create_dir(&left).expect("made");
    fs::write(left.join("snapshot.ffffff"), "half of one").expect("written");
    let import = ["import", text(killed.copy.path()), text(target.path()), "--extended-types"];
    let done = zkfast(&import);
    let report = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{report}{}", String::from_utf8_lossy(&done.stderr));
    assert!(report.contains(&format!("znodes={} sessions=2", killed.content.nodes.len())), "{report}");
    assert!(report.contains("digest=agrees"), "{report}");
    eprint!("{report}");
    assert!(!left.exists() && !target.path().join("zkfast-1/snapshot.ffffff").exists());
    let again = zkfast(&import);
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(3) && why.contains("is there already"), "{why}");
    assert_eq!(fingerprint(&killed.copy.path().join("version-2")), before, "the old files changed");

    let mut server = zkfast_on(target.path());
    assert_same(&killed.content, &read_content(server.address()), "Java and zkfast");
    let mut one = attach(server.address(), killed.sessions[0]);
    call(&mut one, &delete("/a/eph"));
    call(&mut one, &create(OpCode::CREATE, "/a/seq-", None, 2, vec![Acl::open()]));
    call(&mut attach(server.address(), killed.sessions[1]), &Request::CloseSession);
    let shown = read_content(server.address());
    assert!(!shown.nodes.contains_key("/two") && shown.sessions.len() == 1);
    server.kill();

    export_to_java(&killed, &server, &shown);
}

/// The second half of [`there_and_back`]: Java starts on the export of `server`, whose content is `shown`.
fn export_to_java(killed: &Killed, server: &Server, shown: &Content) {
    let mut java = Server::new(Kind::Java, KEYS);
    fs::remove_dir_all(java.data()).expect("removed");
    let done = zkfast(&["export", text(&server.data()), text(&java.data())]);
    let report = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{report}{}", String::from_utf8_lossy(&done.stderr));
    eprint!("{report}");
    let exported = Directory::new("exported");
    copy(&java.data(), exported.path());
    // Java's own setting decides whether it expects a digest after the tree.
    let mut without_digests = Server::new(Kind::Java, &keys(&[("digest.enabled", "false")]));
    copy(exported.path(), &without_digests.data());
    without_digests.start_again();
    assert_same(shown, &read_content(without_digests.address()), "zkfast and Java without digests");
    // Java has written a snapshot without digests beside the exported one.
    without_digests.kill();
    without_digests.start_again();
    assert_same(shown, &read_content(without_digests.address()), "Java without digests, again");
    without_digests.kill();
    java.start_again();
    assert_same(shown, &read_content(java.address()), "zkfast and Java");
    let numbers = four_letter_word(java.address(), "mntr", ANSWER_TIMEOUT).expect("mntr");
    let mismatches = numbers.lines().find(|line| line.starts_with("zk_digest_mismatches_count"));
    assert_eq!(mismatches.map(|line| line.ends_with("\t0")), Some(true), "{mismatches:?}");
    let mut one = attach(java.address(), killed.sessions[0]);
    call(&mut one, &node("/made-by-java"));
    java.kill();
    // zkfast imports what Java wrote after that, and what it exported itself.
    let (imported, target) = self::import(&java.data()).expect("whole");
    assert!(imported.report.exact_from.is_some(), "{imported}");
    assert!(read_content(zkfast_on(target.path()).address()).nodes.contains_key("/made-by-java"));
    let (imported, _) = self::import(exported.path()).expect("whole");
    assert_eq!((imported.report.txns, imported.znodes), (0, shown.nodes.len()));
}

/// A server that starts on ZooKeeper's dataDir imports the data, logs that, and leaves the old files unchanged. Its next
/// start uses its own files.
#[test]
fn a_server_takes_over() {
    let _alone = alone();
    let killed = killed(&[], |_| ());
    let mut server = Server::new(Kind::Zkfast, KEYS);
    copy(killed.copy.path(), &server.data());
    let before = fingerprint(&server.data().join("version-2"));
    server.start_again();
    let output = server.output();
    let znodes = format!("znodes={} sessions=2", killed.content.nodes.len());
    assert!(output.contains("import: done:") && output.contains(&znodes), "{output}");
    assert_same(&killed.content, &read_content(server.address()), "Java and zkfast");
    call(&mut connect(server.address()), &node("/after"));
    server.kill();
    server.start_again();
    assert!(read_content(server.address()).nodes.contains_key("/after"));
    assert_eq!(server.output().matches("import: done:").count(), 1);
    for session in killed.sessions {
        attach(server.address(), session);
    }
    assert_eq!(fingerprint(&server.data().join("version-2")), before, "the old files changed");
}

/// zkfast reads snapshots that gzip or snappy has compressed, and skips one that is cut off.
#[test]
fn packed_snapshots() {
    let _alone = alone();
    for (method, extension) in [("gz", "gz"), ("snappy", "snappy")] {
        let killed = killed(&[("snapshot.compression.method", method), ("snapCount", "20")], |_| ());
        let files = snapshots(killed.copy.path());
        let packed = files.iter().filter(|path| path.extension().is_some_and(|is| is == extension)).count();
        assert!(packed >= 2, "{files:?}");
        let (imported, target) = import(killed.copy.path()).expect("whole");
        // The import skips a snapshot that was unfinished when the server was killed.
        assert_eq!(imported.snapshot.as_ref(), files.iter().rev().nth(imported.passed_over));
        eprintln!("{method}: {imported}");
        assert_same(&killed.content, &read_content(zkfast_on(target.path()).address()), method);
        // If the newest is cut off, an older snapshot and more of the log give the same.
        let newest = imported.snapshot.as_ref().expect("one");
        let bytes = fs::read(newest).expect("a file");
        fs::write(newest, &bytes[..bytes.len() - bytes.len() / 3]).expect("written");
        let (older, target) = import(killed.copy.path()).expect("the older one");
        assert_eq!((older.passed_over, older.zxid), (imported.passed_over + 1, imported.zxid));
        assert_same(&killed.content, &read_content(zkfast_on(target.path()).address()), method);
    }
}

/// Snapshots taken under load are fuzzy. From each of them and the log after it, zkfast makes the same exact tree: its
/// digests equal all digests in Java's log from there on.
#[test]
fn snapshots_under_load() {
    let _alone = alone();
    let killed =
        killed(&[("snapCount", "1500")], |address| load(address, setting("ZKFAST_JAVA_LOAD", 12_000)));
    let mut files = snapshots(killed.copy.path());
    // The newest may be unfinished.
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
        // Java logs a digest after the change, so the next txn's digest agrees unless the snapshot is fuzzy.
        fuzzy += u32::from(exact_from.0 > zxid.0 + 1);
        eprintln!("{name}: {imported}");
        match &imported_first {
            None => {
                assert_same(
                    &killed.content,
                    &read_content(zkfast_on(target.path()).address()),
                    "Java and zkfast",
                );
                imported_first = Some(imported);
            }
            Some(first) => {
                let same = |one: &Imported| (one.zxid, one.znodes, one.sessions);
                assert_eq!(same(first), same(&imported), "from {name}");
                if number == 0 {
                    assert_same(
                        &killed.content,
                        &read_content(zkfast_on(target.path()).address()),
                        "from the oldest",
                    );
                }
            }
        }
        // The next round uses an older snapshot.
        fs::remove_file(&files[number]).expect("removed");
    }
    eprintln!("{} snapshots, {fuzzy} of them fuzzy", files.len());
    assert!(fuzzy > 0 || is_3_4(), "no snapshot of {} was fuzzy", files.len());
}

/// Writes from three sessions at the same time: creates of all kinds, sets, deletes, multis and ACLs.
fn load(address: SocketAddr, requests: u64) {
    let mut first = connect(address);
    call(&mut first, &node("/load"));
    // Enough znodes for a snapshot to take some time.
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
        // Now and then the session ends, with its ephemerals.
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

/// Java is killed under load several times. From its files, with a torn record or without, zkfast imports what Java
/// itself recovers.
#[test]
fn killed_under_load() {
    let _alone = alone();
    let mut java = Server::start(Kind::Java, &keys(&[("snapCount", "2000")]));
    fill(java.address());
    for round in 0..setting("ZKFAST_JAVA_KILLS", 3) {
        let (address, created) = (java.address(), AtomicU64::new(0));
        let created = &created;
        std::thread::scope(|scope| {
            let writers = [0, 1].map(|writer| {
                scope
                    .spawn(move || create_until_killed(address, &format!("/round-{round}-{writer}"), created))
            });
            // Snapshots are 1,000 to 2,000 txns apart: the kill hits one or more of them, at a different place per round.
            let enough = 2_500 + 430 * round;
            wait_for(ANSWER_TIMEOUT, || match created.load(Ordering::Relaxed) {
                count if count >= enough => Ok(()),
                count => Err(format!("{count} znodes were created, {enough} are wanted")),
            });
            java.kill();
            writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        });
        let directory = Directory::new("java-data");
        copy(&java.data(), directory.path());
        let (imported, target) = import(directory.path()).unwrap_or_else(|error| panic!("{error}"));
        eprintln!("round {round}: torn={} {imported}", imported.torn);
        java.start_again();
        assert_same(
            &read_content(java.address()),
            &read_content(zkfast_on(target.path()).address()),
            "Java and zkfast",
        );
    }
}

/// Creates znodes `PREFIX-0`, `PREFIX-1` and so on until the connection ends, and counts answers.
fn create_until_killed(address: SocketAddr, prefix: &str, created: &AtomicU64) {
    let mut connection = connect(address);
    for number in 0.. {
        let path = format!("{prefix}-{number}");
        connection.queue(&create(OpCode::CREATE, &path, Some(&[7; 3000]), 0, vec![Acl::open()]));
        if number % 50 == 49 && connection.flush().is_err() {
            return;
        }
        while connection.session().pending() > 100 {
            if connection.receive().is_err() {
                return;
            }
            created.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The newest zxid that a server has processed, from `srvr`.
fn processed(address: SocketAddr) -> String {
    let answer = four_letter_word(address, "srvr", ANSWER_TIMEOUT).expect("srvr");
    let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: "));
    zxid.unwrap_or_else(|| panic!("no zxid: {answer}")).to_owned()
}

/// zkfast imports the directory of each of three Java servers, with its epochs, and gets the same tree from all. The
/// servers went through several epochs, and one of them got a snapshot from its leader.
#[test]
fn an_ensemble() {
    let _alone = alone();
    let ports: Vec<[u16; 2]> = (0..3).map(|_| [free_address().port(), free_address().port()]).collect();
    let members: Vec<(String, String)> = (1..)
        .zip(&ports)
        .map(|(id, [quorum, election])| (format!("server.{id}"), format!("127.0.0.1:{quorum}:{election}")))
        .collect();
    // No snapshots under load, since Java must start on its data again.
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
    servers.iter_mut().for_each(Server::wait_until_serving);
    let sessions = fill(servers[0].address());
    // The third server misses more txns than the leader keeps for a DIFF.
    servers[2].kill();
    wait_for_quorum(servers[0].address());
    load(servers[0].address(), 1500);
    servers[2].start_again();
    // Elections of new leaders, with new epochs.
    for victim in [0, 1] {
        servers[victim].kill();
        wait_for_quorum(servers[2].address());
        call(&mut connect(servers[2].address()), &node(&format!("/epoch-without-{victim}")));
        servers[victim].start_again();
        wait_for_quorum(servers[2].address());
    }
    let mut shown = read_content(servers[2].address());
    // Each Java server writes this znode at its own start, with its own clock.
    assert_eq!(shown.nodes.remove("/zookeeper/config").is_some(), !is_3_4());
    // The last txn closed the session of `read_content`; at least two of three servers have logged it.
    let newest = processed(servers[2].address());
    for server in &servers {
        wait_for(TIMEOUT, || match processed(server.address()) {
            zxid if zxid == newest => Ok(()),
            zxid => Err(format!("{} has processed {zxid}, and not {newest}", server.address())),
        });
    }
    servers.iter_mut().for_each(Server::kill);
    for (id, server) in (1..).zip(&servers) {
        let (imported, target) =
            import(&server.data()).unwrap_or_else(|error| panic!("server {id}: {error}"));
        let epochs = imported.epochs.expect("an ensemble has epochs");
        eprintln!("server {id}: {epochs:?} {imported}");
        assert!(imported.zxid.epoch() >= 2 && epochs.current >= imported.zxid.epoch());
        let server = zkfast_on(target.path());
        let mut ours = read_content(server.address());
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

/// A copy of a dataDir that a test damages before the import.
struct Damage {
    data: PathBuf,
    /// In the order of their zxids.
    snapshots: Vec<PathBuf>,
    logs: Vec<PathBuf>,
    /// The last zxid of the undamaged data.
    zxid: Zxid,
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

impl Damage {
    /// Data of a ZooKeeper that was killed four times: four snapshots and four logs.
    fn new() -> (Self, Server) {
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
        let data = java.data();
        let (snapshots, logs) = (snapshots(&data), logs(&data));
        assert!(snapshots.len() == 4 && logs.len() == 4, "{snapshots:?} {logs:?}");
        let mut damage = Self { data, snapshots, logs, zxid: Zxid::ZERO };
        damage.zxid = damage.import(|_| ()).expect("whole");
        (damage, java)
    }

    /// Imports a copy of the data that `change` has damaged. Gives the last zxid.
    fn import(&self, change: impl FnOnce(&Path)) -> Result<Zxid, String> {
        let directory = Directory::new("java-data");
        copy(&self.data, directory.path());
        change(&directory.path().join("version-2"));
        let target = Directory::new("imported");
        let source = Source::new(directory.path(), directory.path());
        let result = java_data::import(&source, target.path(), target.path(), options());
        let left = fs::read_dir(target.path()).expect("a folder").count();
        assert_eq!(left, usize::from(result.is_ok()), "a failed import leaves files");
        result.map(|imported| imported.zxid).map_err(|error| error.to_string())
    }

    /// Asserts that the import of the damaged copy fails, and that the error contains `words`.
    #[track_caller]
    fn assert_refused(&self, change: impl FnOnce(&Path), words: &[&str]) {
        let why = self.import(change).expect_err("refused");
        assert!(words.iter().all(|word| why.contains(word)), "{why}: {words:?}");
    }

    fn remove(folder: &Path, file: &Path) {
        fs::remove_file(folder.join(file_name(file))).expect("removed");
    }

    /// Removes all snapshots but the oldest.
    fn keep_oldest_snapshot(&self, folder: &Path) {
        self.snapshots[1..].iter().for_each(|file| Self::remove(folder, file));
    }

    /// Cuts a file to half of its length.
    fn cut(folder: &Path, file: &Path) {
        let bytes = fs::read(file).expect("a file");
        fs::write(folder.join(file_name(file)), &bytes[..bytes.len() / 2]).expect("written");
    }

    /// Changes a byte of a log, which matters because only the oldest snapshot is left.
    fn change_byte(&self, folder: &Path, log: &Path, at: usize, to: impl Fn(u8) -> u8) {
        self.keep_oldest_snapshot(folder);
        let mut bytes = fs::read(log).expect("a file");
        bytes[at] = to(bytes[at]);
        fs::write(folder.join(file_name(log)), bytes).expect("written");
    }

    fn missing_files(&self) {
        let Self { snapshots, logs, zxid, .. } = self;
        assert_eq!(self.import(|folder| self.keep_oldest_snapshot(folder)), Ok(*zxid));
        self.assert_refused(
            |folder| snapshots.iter().for_each(|file| Self::remove(folder, file)),
            &["no snapshot", "--trust-empty"],
        );
        self.assert_refused(
            |folder| logs.iter().for_each(|file| Self::remove(folder, file)),
            &["--log-dir", "--without-log"],
        );
        let empty = |folder: &Path| {
            fs::remove_dir_all(folder).expect("removed");
            fs::create_dir(folder).expect("made");
        };
        self.assert_refused(empty, &["neither a snapshot nor a log"]);
        // A log is missing between the snapshot and the next log, and between two logs.
        for missing in [0, 1] {
            let gap = |folder: &Path| {
                self.keep_oldest_snapshot(folder);
                Self::remove(folder, &logs[missing]);
            };
            self.assert_refused(gap, &[&file_name(&logs[missing + 1]), "missing"]);
        }
        // Without the last log, the snapshot before it still has all of its txns.
        assert!(self.import(|folder| Self::remove(folder, &logs[3])).expect("less") < *zxid);
    }

    fn damaged_snapshots(&self) {
        let Self { snapshots, logs, .. } = self;
        self.assert_refused(
            |folder| snapshots.iter().for_each(|file| Self::cut(folder, file)),
            &["no snapshot", "cut off", &file_name(&snapshots[3])],
        );
        // Only the oldest snapshot is whole, and the logs after it are missing.
        let without_logs = |folder: &Path| {
            snapshots[1..].iter().for_each(|file| Self::cut(folder, file));
            logs[1..].iter().for_each(|file| Self::remove(folder, file));
        };
        self.assert_refused(without_logs, &["the log ends at", "cannot be used"]);
    }

    fn damaged_logs(&self) {
        let [first, middle, _, last] = &self.logs[..] else { panic!("four logs") };
        let names = [first, middle].map(|log| file_name(log));
        let [first_name, middle_name] = names.each_ref().map(String::as_str);
        // In an entry, in its length, and an end mark that is gone.
        self.assert_refused(
            |folder| self.change_byte(folder, first, 60, |byte| byte ^ 4),
            &[first_name, "byte 16", "checksum"],
        );
        self.assert_refused(
            |folder| self.change_byte(folder, first, 27, |byte| byte ^ 1),
            &[first_name, "byte 16"],
        );
        self.assert_refused(|folder| self.change_byte(folder, first, 27, |_| 0), &[first_name, "byte 16"]);
        // Another version, another magic number, an empty log in the middle.
        self.assert_refused(|folder| self.change_byte(folder, middle, 7, |_| 3), &[middle_name, "version 3"]);
        self.assert_refused(
            |folder| self.change_byte(folder, middle, 3, |_| 3),
            &[middle_name, "no txn log"],
        );
        let emptied = |folder: &Path| {
            self.keep_oldest_snapshot(folder);
            fs::write(folder.join(middle_name), b"").expect("written");
        };
        self.assert_refused(emptied, &[middle_name, "cut off"]);
        let with_empty_log = self.import(|folder| fs::write(folder.join("log.ffff"), b"").expect("written"));
        assert_eq!(with_empty_log, Ok(self.zxid), "an empty last log is a crash right after its creation");
        // A last record that is cut off was never acknowledged.
        let bytes = fs::read(last).expect("a file");
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("entries") + 1;
        let cut_at = |length: usize| {
            let bytes = &bytes[..length];
            self.import(|folder| fs::write(folder.join(file_name(last)), bytes).expect("written"))
        };
        assert!(cut_at(end - 3).expect("torn") < self.zxid);
        assert_eq!(cut_at(end), Ok(self.zxid));
    }
}

/// The import skips no missing or damaged file: it fails, names the file and leaves nothing. So does a server's start.
#[test]
fn refusals() {
    let _alone = alone();
    let (damage, java) = Damage::new();
    damage.missing_files();
    damage.damaged_snapshots();
    damage.damaged_logs();
    // Files in the wrong folder.
    let directory = Directory::new("java-data");
    copy(&java.data(), directory.path());
    let other = Directory::new("java-log");
    copy(&java.data(), other.path());
    let source = Source::new(directory.path(), other.path());
    let target = Directory::new("imported");
    let why = java_data::import(&source, target.path(), target.path(), options()).expect_err("refused");
    assert!(why.to_string().contains("belongs into"), "{why}");
    // A server gives the same error, and does not start with an empty tree.
    let mut server = Server::new(Kind::Zkfast, KEYS);
    copy(&java.data(), &server.data());
    damage.snapshots.iter().for_each(|file| Damage::remove(&server.data().join("version-2"), file));
    assert_eq!(server.start_and_fail(), Some(3));
    assert!(server.output().contains("--trust-empty"), "{}", server.output());
    assert!(!server.data().join("zkfast-1").exists());
}
