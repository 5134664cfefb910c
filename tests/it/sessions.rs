//! Sessions that one server knows, and servers that are read without a leader. tests/compat/sessions.py compares all of it
//! with Apache ZooKeeper.

use crate::ensemble::cluster::{Cluster, START_TIMEOUT, Shape};
use crate::ensemble::network::{Network, skip};
use crate::harness::{Kind, alone, wait_for};
use std::time::{Duration, Instant};
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::client::session::{Body, Incoming, Reply, Request};
use zkfast::proto::{Acl, ErrorCode, OpCode, SessionId, Zxid};

const ANSWER: Duration = Duration::from_secs(60);
const PERSISTENT: i32 = 0;
const EPHEMERAL: i32 = 1;

const KEYS: &[(&str, &str)] = &[
    ("tickTime", "500"),
    ("initLimit", "40"),
    ("syncLimit", "40"),
    ("maxSessionTimeout", "120000"),
    ("localSessionsEnabled", "true"),
    ("localSessionsUpgradingEnabled", "true"),
    ("readonlymode.enabled", "true"),
];

fn start(more: &[(&str, &str)]) -> Cluster {
    Cluster::start(&vec![Shape::voter(Kind::Zkfast); 3], &[KEYS, more].concat(), None)
}

fn connect(cluster: &Cluster, sid: usize, connect: &Connect) -> Result<Connection, ClientError> {
    Connection::connect(cluster.address(sid), connect, ANSWER)
}

fn create(path: &str, flags: i32) -> Request {
    let (path, data, acl) = (path.into(), Some(b"data".to_vec()), vec![Acl::open()]);
    Request::Create { op: OpCode::CREATE, path, data, acl, flags, ttl_ms: -1 }
}

fn call(connection: &mut Connection, request: &Request) -> Reply {
    connection.call(request, &mut Vec::new()).expect("an answer")
}

/// The server to which nobody has gone yet, and one that follows.
fn a_follower(cluster: &mut Cluster) -> usize {
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    if leader == 1 { 2 } else { 1 }
}

fn sessions(cluster: &Cluster, sid: usize) -> (String, String) {
    let figures = cluster.mntr(sid);
    (figures["local_sessions"].clone(), figures["global_sessions"].clone())
}

/// A session begins, writes and ends without a txn of its own. With its first ephemeral it becomes the ensemble's, and then
/// outlives its server.
#[test]
fn local_sessions_become_global() {
    let _alone = alone();
    let mut cluster = start(&[]);
    let follower = a_follower(&mut cluster);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    let mut client = connect(&cluster, follower, &Connect::default()).expect("a session");
    let first = call(&mut client, &create("/a", PERSISTENT)).header;
    assert_eq!((first.err, Zxid::from_wire(first.zxid).counter()), (0, 1), "the session is no txn");
    assert_eq!(sessions(&cluster, follower), ("1".into(), "0".into()));
    let identity = Connect { session: Some(client.identity()), ..Connect::default() };
    // Another server does not know it, and its own server still does.
    assert!(matches!(connect(&cluster, leader, &identity), Err(ClientError::Refused)));
    drop(client);
    let mut client = connect(&cluster, follower, &identity).expect("its own server knows it");
    assert_eq!(client.identity(), identity.session.expect("given above"));
    let second = call(&mut client, &create("/e", EPHEMERAL)).header;
    assert_eq!((second.err, second.zxid), (0, first.zxid + 2), "the session's txn, and the znode's");
    assert_eq!(sessions(&cluster, follower), ("0".into(), "1".into()));
    cluster.kill(follower);
    let mut client = connect(&cluster, leader, &identity).expect("all servers know it");
    let reply = call(&mut client, &Request::Exists { path: b"/e".to_vec(), watch: false });
    let Body::Stat(stat) = reply.body else { panic!("{reply:?}") };
    assert_eq!(stat.ephemeral_owner, client.identity().0);
    assert_eq!(call(&mut client, &Request::CloseSession).header.err, 0);
    let mut other = connect(&cluster, leader, &Connect::default()).expect("a session");
    let gone = call(&mut other, &Request::Exists { path: b"/e".to_vec(), watch: false });
    assert_eq!(gone.header.err, ErrorCode::NoNode.to_wire());
}

/// A local session that is not heard of ends at its server, whatever its role; without upgrading it owns no ephemeral.
#[test]
fn local_sessions_stay_local() {
    let _alone = alone();
    let mut cluster = start(&[("localSessionsUpgradingEnabled", "false")]);
    let follower = a_follower(&mut cluster);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    for sid in [follower, leader] {
        let brief = Connect { timeout_ms: 1000, ..Connect::default() };
        let mut client = connect(&cluster, sid, &brief).expect("a session");
        let refused = call(&mut client, &create("/e", EPHEMERAL));
        assert_eq!(refused.header.err, ErrorCode::EphemeralOnLocalSession.to_wire(), "server {sid}");
        let begun = Instant::now();
        assert!(client.receive_within(ANSWER).is_err(), "an answer to nothing");
        assert!(begun.elapsed() < ANSWER / 2, "server {sid} has not ended the session");
        let identity = Connect { session: Some(client.identity()), ..brief };
        assert!(matches!(connect(&cluster, sid, &identity), Err(ClientError::Refused)));
        assert_eq!(sessions(&cluster, sid), ("0".into(), "0".into()));
    }
}

/// A server without a leader is read by clients that ask for no more, and by no other; writes are refused. Once there is a
/// leader again the client attaches to the same session, its watch goes on, and it writes.
#[test]
fn reads_without_a_leader() {
    let _alone = alone();
    let mut cluster = start(&[]);
    let last = cluster.sids().last().expect("three servers");
    let mut writer = connect(&cluster, last, &Connect::default()).expect("a session");
    let zxid = call(&mut writer, &create("/a", PERSISTENT)).header.zxid;
    assert_eq!(call(&mut writer, &create("/e", EPHEMERAL)).header.err, 0);
    let global = writer.identity();
    for sid in [1, 2] {
        cluster.kill(sid);
    }
    let is_read_only = || match cluster.mode(last) {
        Some(mode) if mode == "read-only" => Ok(()),
        other => Err(format!("the last server is {other:?}")),
    };
    wait_for(START_TIMEOUT, is_read_only);
    assert_eq!(cluster.word(last, "isro").as_deref(), Some("ro"));
    assert_eq!(cluster.mntr(last)["server_state"], "read-only");
    let reads =
        Connect { read_only: Some(true), last_zxid_seen: Zxid::from_wire(zxid), ..Connect::default() };
    for refused in [Connect::default(), Connect { session: Some(global), ..reads.clone() }] {
        let refused = connect(&cluster, last, &refused);
        assert!(!matches!(refused, Ok(_) | Err(ClientError::Refused)), "{refused:?} instead of an end");
    }
    let mut reader = connect(&cluster, last, &reads).expect("a session to read with");
    assert_eq!(reader.response().read_only, Some(true));
    let read = call(&mut reader, &Request::GetData { path: b"/a".to_vec(), watch: true });
    assert!(matches!(read.body, Body::Data { .. }), "{read:?}");
    for write in [create("/b", PERSISTENT), Request::Sync { path: b"/".to_vec() }] {
        assert_eq!(call(&mut reader, &write).header.err, ErrorCode::NotReadOnly.to_wire(), "{write:?}");
    }
    let identity: (SessionId, _) = reader.identity();
    cluster.spawn(1);
    cluster.spawn(2);
    let ended = std::iter::from_fn(|| reader.receive_within(ANSWER).ok()).last();
    assert!(ended.is_none(), "{ended:?} instead of the connection's end");
    cluster.wait_for_leader(START_TIMEOUT);
    let again = Connect { session: Some(identity), ..reads };
    let mut reader = wait_for(START_TIMEOUT, || match connect(&cluster, last, &again) {
        Ok(reader) => Ok(reader),
        Err(error) => {
            assert!(!matches!(error, ClientError::Refused), "the session is gone");
            Err(error.to_string())
        }
    });
    assert_eq!(reader.response().read_only, Some(false));
    let lists = [vec![b"/a".to_vec()], Vec::new(), Vec::new()];
    let watches = Request::SetWatches { relative_zxid: Zxid::from_wire(zxid), lists };
    assert_eq!(call(&mut reader, &watches).header.err, 0);
    let set = Request::SetData { path: b"/a".to_vec(), data: None, version: -1 };
    let mut before = Vec::new();
    let reply = reader.call(&set, &mut before).expect("an answer");
    assert_eq!(reply.header.err, 0);
    assert!(matches!(before[..], [Incoming::Event(_)]), "{before:?}");
    let mut owner = connect(&cluster, last, &Connect { session: Some(global), ..Connect::default() })
        .expect("the ensemble's session goes on");
    let there = call(&mut owner, &Request::Exists { path: b"/e".to_vec(), watch: false });
    assert_eq!(there.header.err, 0);
}

/// A minority that is cut off is read as of what it has, while the others write; once the cut is healed it has that, too.
#[test]
fn reads_in_a_minority() {
    let _alone = alone();
    let network = match Network::new(3) {
        Ok(network) => network,
        Err(reason) => return skip("sessions::reads_in_a_minority", &reason),
    };
    let keys = [KEYS, &[("syncLimit", "4")]].concat();
    let mut cluster = Cluster::start(&vec![Shape::voter(Kind::Zkfast); 3], &keys, Some(network));
    let (minority, leader) = (a_follower(&mut cluster), cluster.wait_for_leader(START_TIMEOUT));
    let mut writer = connect(&cluster, leader, &Connect::default()).expect("a session");
    assert_eq!(call(&mut writer, &create("/a", PERSISTENT)).header.err, 0);
    let others: Vec<usize> = cluster.sids().filter(|sid| *sid != minority).collect();
    let network = cluster.network().expect("made above");
    for other in others {
        network.cut(minority, other);
        network.cut(other, minority);
    }
    wait_for(START_TIMEOUT, || match cluster.mode(minority) {
        Some(mode) if mode == "read-only" => Ok(()),
        other => Err(format!("the server that is cut off is {other:?}")),
    });
    let set = Request::SetData { path: b"/a".to_vec(), data: Some(b"new".to_vec()), version: -1 };
    assert_eq!(call(&mut writer, &set).header.err, 0, "the majority writes");
    let reads = Connect { read_only: Some(true), ..Connect::default() };
    let mut reader = connect(&cluster, minority, &reads).expect("a session to read with");
    let data = |reply: Reply| match reply.body {
        Body::Data { data, .. } => data,
        other => panic!("{other:?}"),
    };
    let get = Request::GetData { path: b"/a".to_vec(), watch: false };
    assert_eq!(data(call(&mut reader, &get)).as_deref(), Some(&b"data"[..]));
    // A client that has seen more is sent elsewhere.
    let ahead = Connect { last_zxid_seen: writer.session().last_zxid(), ..reads.clone() };
    assert!(connect(&cluster, minority, &ahead).is_err());
    cluster.network().expect("made above").heal();
    cluster.wait_until_all_serve(START_TIMEOUT);
    let mut reader = wait_for(START_TIMEOUT, || {
        let reader = connect(&cluster, minority, &reads).map_err(|error| error.to_string())?;
        if reader.response().read_only == Some(false) { Ok(reader) } else { Err("read-only".to_owned()) }
    });
    assert_eq!(call(&mut reader, &Request::Sync { path: b"/a".to_vec() }).header.err, 0);
    assert_eq!(data(call(&mut reader, &get)).as_deref(), Some(&b"new"[..]));
}
