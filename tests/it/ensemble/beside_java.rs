//! One ensemble with servers of both kinds, where one says or does what the other must be able to live with.

use super::KEYS;
use super::cluster::{Cluster, START_TIMEOUT, Shape};
use crate::harness::{Directory, Kind, alone, zkfast_binary};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Incoming, Request};
use zkfast::proto::{Acl, OpCode};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A session at `address`, as soon as one is to be had there.
fn connect(address: SocketAddr) -> Connection {
    let deadline = Instant::now() + START_TIMEOUT;
    let connect = Connect { timeout_ms: 60_000, ..Connect::default() };
    loop {
        match Connection::connect(address, &connect, TIMEOUT) {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn create(path: &str, data: &[u8], flags: i32) -> Request {
    let (op, acl) = (OpCode::CREATE, vec![Acl::open()]);
    Request::Create { op, path: path.into(), data: Some(data.into()), acl, flags, ttl_ms: 0 }
}

fn set(path: &str, data: &str) -> Request {
    Request::SetData { path: path.into(), data: Some(data.into()), version: -1 }
}

fn call(connection: &mut Connection, request: &Request) -> Body {
    let reply = connection.call(request, &mut Vec::new()).expect("a reply");
    assert_eq!(reply.header.err, 0, "{request:?}");
    reply.body
}

/// Sends all at once, and takes all answers, none of which may be an error.
fn pipeline(connection: &mut Connection, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        connection.queue(&request);
    }
    connection.flush().expect("sent");
    while connection.session().pending() > 0 {
        match connection.receive().expect("an answer") {
            Incoming::Reply(reply) => assert_eq!(reply.header.err, 0, "{:?}", reply.op),
            other => panic!("{other:?}"),
        }
    }
}

fn children(address: SocketAddr, path: &str) -> usize {
    let mut connection = connect(address);
    call(&mut connection, &Request::Sync { path: path.into() });
    let Body::Paths(names) = call(&mut connection, &Request::GetChildren { path: path.into(), watch: false })
    else {
        panic!("names")
    };
    call(&mut connection, &Request::CloseSession);
    names.len()
}

/// Kinds in the order of their ids. Of servers that know the same, the one with the highest id leads.
fn shapes(kinds: &[Kind]) -> Vec<Shape> {
    kinds.iter().map(|kind| Shape::voter(*kind)).collect()
}

/// Has `wanted` lead, which must have a higher id than the others or know more. All serve then.
fn lead(cluster: &mut Cluster, wanted: usize) {
    cluster.wait_until_all_serve(START_TIMEOUT);
    while let leader = cluster.wait_for_leader(START_TIMEOUT)
        && leader != wanted
    {
        cluster.stop(leader);
        cluster.wait_for_leader(START_TIMEOUT);
        cluster.spawn(leader);
        cluster.wait_until_all_serve(START_TIMEOUT);
    }
}

/// A leader of Java's predicts wrong digests while writes of the root and creates below it are in flight together. Its
/// followers of zkfast count them, say so once, and come back after a restart of all with all that was written; the
/// leader's data is taken over as well.
#[test]
fn wrong_digests_of_a_java_leader() {
    let _alone = alone();
    let mut cluster = Cluster::start(&shapes(&[Kind::Zkfast, Kind::Zkfast, Kind::Java]), KEYS, None);
    lead(&mut cluster, 3);
    let mut connection = connect(cluster.address(3));
    let mixed = |number: usize| match number % 2 {
        0 => set("/", &number.to_string()),
        _ => create(&format!("/mixed-{number}"), b"", 0),
    };
    pipeline(&mut connection, (0..400).map(mixed));
    // The last one is predicted while others are in flight, too.
    let znodes = children(cluster.address(1), "/");
    assert_eq!(znodes, 201);
    let mismatches = number_of_mismatches;
    let by_java = mismatches(&cluster, 3);
    eprintln!("{by_java} digests of Java's leader were wrong");
    assert!(by_java > 0, "this Java predicts all rightly");
    for sid in [1, 2] {
        let deadline = Instant::now() + TIMEOUT;
        while mismatches(&cluster, sid) != mismatches(&cluster, 3) {
            assert!(Instant::now() < deadline, "server {sid}: {}", mismatches(&cluster, sid));
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = cluster.output(sid);
        assert!(!output.contains("ERROR"), "{output}");
        assert_eq!(output.matches("digest_mismatches_count").count(), 1, "{output}");
    }
    // Without a txn after the last wrong one, and with followers that are killed: their logs end so.
    for sid in [1, 2, 3] {
        cluster.kill(sid);
    }
    let imported = Directory::new("imported");
    let data = cluster.data(3);
    let import = Command::new(zkfast_binary())
        .arg("import")
        .arg(&data)
        .arg(imported.path())
        .output()
        .expect("zkfast runs");
    let said = String::from_utf8_lossy(&[import.stdout, import.stderr].concat()).into_owned();
    assert!(import.status.success(), "{said}");
    assert!(said.contains("digest_mismatches=") && said.contains("--no-digest"), "{said}");
    for sid in [1, 2] {
        cluster.spawn(sid);
    }
    cluster.wait_for_leader(START_TIMEOUT);
    for sid in [1, 2] {
        assert_eq!(children(cluster.address(sid), "/"), znodes, "server {sid}");
        let output = cluster.output(sid);
        assert!(!output.contains("damaged") && !output.contains("ERROR"), "{output}");
    }
    cluster.spawn(3);
    cluster.wait_until_all_serve(START_TIMEOUT);
    for sid in [1, 2, 3] {
        assert_eq!(children(cluster.address(sid), "/"), znodes, "server {sid}");
    }
    // From here on zkfast leads, whose digests are right: they are compared by all.
    call(&mut connect(cluster.address(1)), &create("/after", b"", 0));
    assert_eq!(children(cluster.address(3), "/"), znodes + 1);
    for sid in [1, 2] {
        assert_eq!(mismatches(&cluster, sid), 0, "server {sid}");
    }
}

fn number_of_mismatches(cluster: &Cluster, sid: usize) -> u64 {
    // With more patience than for a word that is asked again and again.
    let mntr = four_letter_word(cluster.address(sid), "mntr", TIMEOUT).expect("mntr");
    let line = mntr.lines().find_map(|line| line.strip_prefix("zk_digest_mismatches_count\t"));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("server {sid}: {mntr}"))
}

/// A tree from a leader of zkfast's is taken by servers of Java's that keep digests and by those that do not.
#[test]
fn trees_for_java_without_digests() {
    let _alone = alone();
    for digests in ["true", "false"] {
        let mut shapes = shapes(&[Kind::Java, Kind::Zkfast, Kind::Zkfast]);
        shapes[0].keys.push(("digest.enabled".to_owned(), digests.to_owned()));
        let mut cluster = Cluster::new(&shapes, KEYS, None);
        cluster.spawn(2);
        cluster.spawn(3);
        let mut connection = connect(cluster.address(3));
        pipeline(&mut connection, (0..500).map(|number| create(&format!("/{number}"), b"", number % 2)));
        cluster.spawn(1);
        cluster.wait_until_all_serve(START_TIMEOUT);
        assert_eq!(children(cluster.address(1), "/"), 501);
        call(&mut connection, &create("/behind-the-tree", b"", 0));
        assert_eq!(children(cluster.address(1), "/"), 502);
        assert_eq!(number_of_mismatches(&cluster, 1), 0, "digest.enabled={digests}");
        // It starts on what it has made of the tree.
        cluster.kill(1);
        cluster.spawn(1);
        cluster.wait_until_all_serve(START_TIMEOUT);
        assert_eq!(children(cluster.address(1), "/"), 502);
    }
}
