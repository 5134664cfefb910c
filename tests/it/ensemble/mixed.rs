//! Ensembles of Java servers and zkfast servers: each accepts what the other sends, also where it is unusual or wrong.

use super::cluster::{Cluster, START_TIMEOUT, Shape};
use super::{CALM_KEYS, KEYS};
use crate::harness::{Directory, Kind, alone, wait_for, zkfast_binary};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Incoming, Request};
use zkfast::proto::{Acl, ErrorCode, OpCode, Zxid};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Opens a session at `address`, and tries again until the server accepts one.
fn connect(address: SocketAddr) -> Connection {
    let connect = Connect { timeout_ms: 60_000, ..Connect::default() };
    wait_for(START_TIMEOUT, || {
        Connection::connect(address, &connect, TIMEOUT).map_err(|error| format!("{address}: {error}"))
    })
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

/// Sends all requests without waiting, then takes all answers. None of them may be an error.
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

/// Voters of these kinds, in the order of their ids. Of servers with the same history, the one with the highest id leads.
fn shapes(kinds: &[Kind]) -> Vec<Shape> {
    kinds.iter().map(|kind| Shape::voter(*kind)).collect()
}

/// Makes `wanted` the leader: it must have a higher id or a longer history than the others. Waits until all serve.
fn make_leader(cluster: &mut Cluster, wanted: usize) {
    const TRIES_MAX: usize = 10;
    cluster.wait_until_all_serve(START_TIMEOUT);
    for _ in 0..TRIES_MAX {
        let leader = cluster.wait_for_leader(START_TIMEOUT);
        if leader == wanted {
            return;
        }
        // One that is stopped hands over to a server of zkfast.
        cluster.kill(leader);
        cluster.wait_for_leader(START_TIMEOUT);
        cluster.spawn(leader);
        cluster.wait_until_all_serve(START_TIMEOUT);
    }
    panic!("server {wanted} does not lead after {TRIES_MAX} elections");
}

/// Waits until all servers have the same zxid.
fn wait_until_in_step(cluster: &Cluster, sids: &[usize]) {
    let zxid = |sid: &usize| {
        let answer = cluster.word(*sid, "srvr")?;
        answer.lines().find_map(|line| line.strip_prefix("Zxid: ")).map(str::to_owned)
    };
    wait_for(START_TIMEOUT, || {
        let zxids: Vec<_> = sids.iter().map(zxid).collect();
        let are_equal = zxids[0].is_some() && zxids.iter().all(|zxid| *zxid == zxids[0]);
        are_equal.then_some(()).ok_or_else(|| format!("{zxids:?}"))
    });
}

/// A Java leader predicts wrong digests while writes of the root and creates below it are in flight together. Its zkfast
/// followers count these, log that once, and have every write after a restart. `zkfast import` accepts the leader's data.
#[test]
fn wrong_digests_of_a_java_leader() {
    let _alone = alone();
    let mut cluster = Cluster::start(&shapes(&[Kind::Zkfast, Kind::Zkfast, Kind::Java]), KEYS, None);
    make_leader(&mut cluster, 3);
    let mut connection = connect(cluster.address(3));
    let mixed = |number: usize| match number % 2 {
        0 => set("/", &number.to_string()),
        _ => create(&format!("/mixed-{number}"), b"", 0),
    };
    pipeline(&mut connection, (0..400).map(mixed));
    // The leader predicts the last digest too while other writes are in flight.
    let znodes = children(cluster.address(1), "/");
    assert_eq!(znodes, 201);
    let mismatches = number_of_mismatches;
    let by_java = mismatches(&cluster, 3);
    eprintln!("{by_java} digests of Java's leader were wrong");
    assert!(by_java > 0, "this Java predicts every digest correctly");
    for sid in [1, 2] {
        wait_for(TIMEOUT, || match [sid, 3].map(|sid| mismatches(&cluster, sid)) {
            [counted, by_leader] if counted == by_leader => Ok(()),
            [counted, by_leader] => {
                Err(format!("server {sid} counts {counted} mismatches, the leader {by_leader}"))
            }
        });
        let output = cluster.output(sid);
        assert!(!output.contains("ERROR"), "{output}");
        assert_eq!(output.matches("digest_mismatches_count").count(), 1, "{output}");
    }
    // No txn follows the last wrong digest, and the followers are killed: their logs end with it.
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
    let text = String::from_utf8_lossy(&[import.stdout, import.stderr].concat()).into_owned();
    assert!(import.status.success(), "{text}");
    assert!(text.contains("digest_mismatches=") && text.contains("--no-digest"), "{text}");
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
    // From here on zkfast leads. Its digests are right, and all servers compare them.
    call(&mut connect(cluster.address(1)), &create("/after", b"", 0));
    assert_eq!(children(cluster.address(3), "/"), znodes + 1);
    for sid in [1, 2] {
        assert_eq!(mismatches(&cluster, sid), 0, "server {sid}");
    }
}

/// Java servers give their configuration a version if `reconfigEnabled` is set. A zkfast leader has that version too,
/// since no Java server would follow it otherwise. Clients see it, and a restart keeps it.
#[test]
fn configuration_with_a_version() {
    let _alone = alone();
    let keys = [KEYS, &[("reconfigEnabled", "true")]].concat();
    let mut cluster = Cluster::start(&shapes(&[Kind::Java, Kind::Java, Kind::Zkfast]), &keys, None);
    let version = |cluster: &Cluster, sid| {
        let request = Request::GetData { path: b"/zookeeper/config".to_vec(), watch: false };
        let Body::Data { data, stat } = call(&mut connect(cluster.address(sid)), &request) else {
            panic!("data")
        };
        let text = String::from_utf8(data.expect("a text")).expect("UTF-8");
        let (_, version) = text.split_once("version=").expect("a version");
        assert_eq!(stat.mzxid, Zxid(u64::from_str_radix(version, 16).expect("a number")), "{text}");
        stat.mzxid
    };
    // zkfast joins after the two Java servers have elected a leader, so it learns the version from that leader only.
    cluster.stop(3);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    call(&mut connect(cluster.address(leader)), &create("/before", b"", 0));
    let wanted = version(&cluster, leader);
    assert!(wanted.counter() == 0 && wanted.epoch() > 0, "{wanted}");
    cluster.spawn(3);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_eq!((cluster.leader(), version(&cluster, 3)), (Some(leader), wanted));
    wait_until_in_step(&cluster, &[1, 2, 3]);
    cluster.kill(leader);
    let other = 3 - leader;
    call(&mut connect(cluster.address(3)), &create("/without-the-first", b"", 0));
    assert_eq!(children(cluster.address(other), "/"), 3);
    assert_eq!(cluster.wait_for_leader(START_TIMEOUT), 3);
    assert_eq!((version(&cluster, 3), version(&cluster, other)), (wanted, wanted));
    // The same after a restart of both.
    cluster.kill(3);
    cluster.kill(other);
    cluster.spawn(3);
    cluster.spawn(other);
    call(&mut connect(cluster.address(3)), &create("/and-again", b"", 0));
    assert_eq!(version(&cluster, 3), wanted);
    assert_eq!(children(cluster.address(other), "/"), 4);
}

/// Three zkfast servers give their configuration the version that three Java servers would, and keep it.
#[test]
fn a_version_without_java() {
    let _alone = alone();
    let keys = [KEYS, &[("reconfigEnabled", "true")]].concat();
    let mut cluster = Cluster::start(&shapes(&[Kind::Zkfast; 3]), &keys, None);
    let wanted = Zxid::new(1, 0);
    for round in 0..2 {
        for sid in [1, 2, 3] {
            let request = Request::GetData { path: b"/zookeeper/config".to_vec(), watch: false };
            let Body::Data { data, stat } = call(&mut connect(cluster.address(sid)), &request) else {
                panic!("data")
            };
            assert_eq!(stat.mzxid, wanted, "server {sid}, round {round}");
            let text = String::from_utf8(data.expect("a text")).expect("UTF-8");
            assert!(text.ends_with("version=100000000"), "{text}");
        }
        [1, 2, 3].into_iter().for_each(|sid| cluster.kill(sid));
        [1, 2, 3].into_iter().for_each(|sid| cluster.spawn(sid));
        cluster.wait_until_all_serve(START_TIMEOUT);
    }
}

/// The zxid of the configuration's znode may be above that of every txn. A Java leader's tree with such a znode is valid
/// for a zkfast server that joins and for `zkfast import`.
#[test]
fn a_configuration_above_all_txns() {
    let _alone = alone();
    let keys = [KEYS, &[("snapCount", "20")]].concat();
    let mut cluster = Cluster::new(&shapes(&[Kind::Java, Kind::Java, Kind::Zkfast]), &keys, None);
    cluster.set_java_config_version(0x5_0000_0000);
    cluster.spawn(1);
    cluster.spawn(2);
    let mut connection = connect(cluster.address(1));
    pipeline(&mut connection, (0..100).map(|number| create(&format!("/{number}"), b"", 0)));
    cluster.spawn(3);
    cluster.wait_until_all_serve(START_TIMEOUT);
    assert_eq!(children(cluster.address(3), "/"), 101);
    assert!(cluster.output(3).contains("sync=SNAP"), "{}", cluster.output(3));
    // zkfast leads the Java server that has this version.
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    wait_until_in_step(&cluster, &[1, 2, 3]);
    cluster.kill(leader);
    let other = 3 - leader;
    call(&mut connect(cluster.address(other)), &create("/led-by-zkfast", b"", 0));
    assert_eq!(cluster.wait_for_leader(START_TIMEOUT), 3);
    cluster.kill(other);
    let imported = Directory::new("imported");
    let import = Command::new(zkfast_binary())
        .arg("import")
        .arg(cluster.data(leader))
        .arg(imported.path())
        .output()
        .expect("zkfast runs");
    let text = String::from_utf8_lossy(&[import.stdout, import.stderr].concat()).into_owned();
    assert!(import.status.success() && text.contains("digest=agrees"), "{text}");
}

/// A session ends on all servers, although the names of its ephemerals are too long for one txn of a Java server.
#[test]
fn many_ephemerals_end_at_once() {
    let _alone = alone();
    let keys = [CALM_KEYS, &[("snapCount", "2000")]].concat();
    let mut cluster = Cluster::start(&shapes(&[Kind::Java, Kind::Zkfast, Kind::Zkfast]), &keys, None);
    make_leader(&mut cluster, 3);
    let mut owner = connect(cluster.address(3));
    let mut number = 0..30_000;
    while !number.is_empty() {
        let some = number.by_ref().take(2_000);
        pipeline(&mut owner, some.map(|number| create(&format!("/{number:0>79}"), b"", 1)));
    }
    assert_eq!(children(cluster.address(1), "/"), 30_001);
    call(&mut owner, &Request::CloseSession);
    for sid in [1, 2, 3] {
        assert_eq!(children(cluster.address(sid), "/"), 1, "server {sid}");
    }
    // The Java follower has not left its leader, and a leader with these txns in its log can bring it up to date.
    wait_until_in_step(&cluster, &[1, 2, 3]);
    assert!(!cluster.output(1).contains("Unreasonable length"), "{}", cluster.output(1));
    assert_eq!(number_of_mismatches(&cluster, 1), 0);
    cluster.kill(1);
    cluster.kill(3);
    cluster.spawn(1);
    let mut connection = connect(cluster.address(2));
    call(&mut connection, &create("/after", b"", 0));
    assert_eq!(children(cluster.address(1), "/"), 2);
    // A snapshot that Java took while the session ended may have the digest of another moment: it finds that as it starts.
    let of_its_start = number_of_mismatches(&cluster, 1);
    call(&mut connection, &create("/then", b"", 0));
    assert_eq!(children(cluster.address(1), "/"), 3);
    assert_eq!(number_of_mismatches(&cluster, 1), of_its_start);
}

fn number_of_mismatches(cluster: &Cluster, sid: usize) -> u64 {
    // A longer timeout than for a word that the test sends again and again.
    let mntr = four_letter_word(cluster.address(sid), "mntr", TIMEOUT).expect("mntr");
    let line = mntr.lines().find_map(|line| line.strip_prefix("zk_digest_mismatches_count\t"));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("server {sid}: {mntr}"))
}

/// The server that receives a malformed write refuses it. A Java leader would propose it with a zxid that it has used,
/// and commit nothing more.
#[test]
fn cut_writes_do_not_reach_the_leader() {
    let _alone = alone();
    let mut cluster = Cluster::start(&shapes(&[Kind::Zkfast, Kind::Zkfast, Kind::Java]), KEYS, None);
    make_leader(&mut cluster, 3);
    let mut connection = connect(cluster.address(1));
    let mut socket = connection.socket().expect("a second handle");
    // A good write before it and after it: the answers come in this order.
    for (xid, length) in [(101_i32, 0), (102, 7), (103, 0)] {
        let mut body = Vec::new();
        create(&format!("/cut-{xid}"), b"data", 0).put_body(&mut body);
        body.truncate(body.len() - length);
        let frame = [&xid.to_be_bytes()[..], &OpCode::CREATE.0.to_be_bytes(), &body].concat();
        socket.write_all(&(frame.len() as u32).to_be_bytes()).expect("sent");
        socket.write_all(&frame).expect("sent");
    }
    socket.set_read_timeout(Some(TIMEOUT)).expect("a limit");
    let answers = [101, 102, 103].map(|_| {
        let mut length = [0; 4];
        socket.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        socket.read_exact(&mut answer).expect("an answer");
        let int = |at: usize| i32::from_be_bytes(answer[at..at + 4].try_into().expect("four"));
        (int(0), int(12))
    });
    assert_eq!(answers, [(101, 0), (102, ErrorCode::MarshallingError.to_wire()), (103, 0)]);
    call(&mut connection, &create("/goes-on", b"", 0));
    for sid in [1, 2, 3] {
        assert_eq!(children(cluster.address(sid), "/"), 4, "server {sid}");
    }
}

/// A Java server accepts the tree of a zkfast leader with digests enabled and without.
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
        call(&mut connection, &create("/after-the-tree", b"", 0));
        assert_eq!(children(cluster.address(1), "/"), 502);
        assert_eq!(number_of_mismatches(&cluster, 1), 0, "digest.enabled={digests}");
        // The Java server starts on the files that it made from that tree.
        cluster.kill(1);
        cluster.spawn(1);
        cluster.wait_until_all_serve(START_TIMEOUT);
        assert_eq!(children(cluster.address(1), "/"), 502);
    }
}
