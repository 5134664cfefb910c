//! Writes: which error wins, sequence numbers, quotas, and what becomes of containers and TTL nodes.

use super::multi::results;
use super::net::{
    Frame, Got, Net, body, brief, create, delete, dump, get, multi, put_create, put_create_acl, read,
    request, set,
};
use crate::proto::acl::put_acls;
use crate::proto::{Acl, Id, JuteWrite, OpCode, Perms, Reader, SessionId};
use crate::replica::CloseReason;
use bytes::BufMut;

/// An access list of one entry, for anyone.
fn acl(perms: Perms) -> Vec<Acl> {
    vec![Acl { perms, id: Id::new("world", "anyone") }]
}

fn create_acl(path: &str, acl: Vec<Acl>, flags: i32) -> Frame {
    request(1, OpCode::CREATE, |out| put_create_acl(out, path, b"", &acl, flags))
}

fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> Frame {
    request(1, OpCode::SET_ACL, |out| {
        out.put_string(path.as_bytes());
        put_acls(out, &acl);
        out.put_i32(version);
    })
}

fn create_ttl(path: &str, flags: i32, ttl_ms: i64) -> Frame {
    request(1, OpCode::CREATE_TTL, |out| {
        put_create(out, path, b"", flags);
        out.put_i64(ttl_ms);
    })
}

/// Which error wins where several apply.
#[test]
fn error_precedence() {
    let mut net = Net::new();
    let a = net.connect(0);
    net.ok(a, create(1, "/e", 1));
    net.ok(a, create(1, "/p", 0));
    net.ok(a, create(1, "/p/c", 0));
    net.ok(a, create_acl("/locked", acl(Perms::READ), 0));
    net.ok(a, create_acl("/dark", acl(Perms::WRITE), 0));
    let ttl = |flags: i32, ttl_ms: i64| create_ttl("/missing/x", flags, ttl_ms);
    for (code, frame) in [
        (-8, create(1, "/missing/x", 7)),
        (-8, create(1, "/missing/x", 5)),
        (-8, ttl(5, 0)),
        (-8, ttl(0, 5)),
        (-101, ttl(5, 5)),
        (-8, create(1, "no-slash", 0)),
        (-8, create_acl("/missing/\0", vec![], 0)),
        (-114, create_acl("/missing/x", vec![], 0)),
        (-101, create(1, "/missing//x", 0)),
        (-101, create(1, "/missing/x", 0)),
        (-102, create(1, "/locked/..", 0)),
        (-8, create(1, "/p/..", 0)),
        (-8, create(1, "/p/", 0)),
        (-110, create(1, "/", 0)),
        (-110, create(1, "/p/c", 1)),
        (-108, create(1, "/e/x", 0)),
        (-8, delete(1, "/", -1)),
        (-8, delete(1, "/zookeeper", -1)),
        (-8, delete(1, "no-slash", -1)),
        (-101, delete(1, "/missing/x", -1)),
        (-102, delete(1, "/locked/x", -1)),
        (-101, delete(1, "/p/x", -1)),
        (-103, delete(1, "/p", 5)),
        (-111, delete(1, "/p", 0)),
        (-8, set(1, "/p/", b"", -1)),
        (-101, set(1, "/missing", b"", 5)),
        (-102, set(1, "/locked", b"", 5)),
        (-103, set(1, "/p", b"", 5)),
        (-8, set_acl("/p/", vec![], -1)),
        (-114, set_acl("/missing", vec![], -1)),
        (-101, set_acl("/missing", acl(Perms::ALL), -1)),
        (-102, set_acl("/locked", acl(Perms::ALL), 5)),
        (-103, set_acl("/p", acl(Perms::ALL), 5)),
        (-101, get(1, "//")),
        (-102, get(1, "/dark")),
        (-102, read(1, OpCode::EXISTS, "/dark", false)),
        (-8, read(1, OpCode::EXISTS, "/x\0", false)),
        (-123, request(1, OpCode::RECONFIG, |out| out.extend_from_slice(&[0xFF; 20]))),
    ] {
        assert_eq!(net.err(a, frame.clone()), code, "{}", String::from_utf8_lossy(&frame[12..]));
    }
    for (code, op, frame) in [
        (-8, OpCode::CHECK, delete(0, "/p/", 0)),
        (-101, OpCode::CHECK, delete(0, "/missing", 0)),
        (-102, OpCode::CHECK, delete(0, "/dark", 5)),
        (-103, OpCode::CHECK, delete(0, "/p", 5)),
    ] {
        let got = net.call(a, multi(1, &[(op, body(frame))]));
        assert_eq!(results(got.body()), [code]);
    }
    net.check_replay();
}

/// An operation that no client may ask for is answered so, and ends the connection, not the session.
#[test]
fn unknown_operations() {
    for op in [OpCode::CHECK, OpCode::DELETE_CONTAINER, OpCode(500), OpCode::ERROR] {
        let mut net = Net::new();
        let a = net.connect(0);
        let got = net.call(a, request(1, op, |_| ()));
        assert_eq!((got.brief().as_str(), got.zxid()), ("1:-6", -1));
        assert_eq!(net.clients[a].closed, Some(CloseReason::UnknownOp(op)));
        assert_eq!(net.commit.session_count(), 1);
    }
}

/// A failed write is a txn of its own, so that zxids have no holes in the log.
#[test]
fn failed_writes_are_logged() {
    let mut net = Net::new();
    let a = net.connect(0);
    let zxid = net.commit.zxid();
    let got = net.call(a, create(1, "/missing/x", 0));
    assert_eq!(got.zxid(), zxid.next().unwrap().to_wire());
    assert_eq!(net.replay().zxid, zxid.next().unwrap());
}

/// Sequence numbers count all creations below the parent, and no deletions.
#[test]
fn sequence_numbers() {
    let mut net = Net::new();
    let a = net.connect(0);
    let path =
        |got: Got| String::from_utf8(Reader::new(got.body()).string().unwrap().unwrap().to_vec()).unwrap();
    net.ok(a, create(1, "/p", 0));
    assert_eq!(path(net.call(a, create(1, "/p/s-", 2))), "/p/s-0000000000");
    net.ok(a, create(1, "/p/plain", 0));
    net.ok(a, delete(1, "/p/plain", -1));
    assert_eq!(path(net.call(a, create(1, "/p/t-", 3))), "/p/t-0000000002");
    assert_eq!(path(net.call(a, create(1, "/p/", 2))), "/p/0000000003");
    // One that fails takes a zxid and no number.
    assert_eq!(net.err(a, create(1, "/p/plain/x", 2)), -101);
    let ttl = create_ttl("/p/l-", 6, 5);
    assert_eq!(path(net.call(a, ttl)), "/p/l-0000000004");
    net.check_replay();
}

/// Usage follows every kind of change; hard limits refuse, before the version is looked at.
#[test]
fn quotas() {
    let mut net = Net::new();
    let a = net.connect(0);
    let data = |path: &'static str, data: &'static [u8]| {
        request(1, OpCode::CREATE, move |out| put_create(out, path, data, 0))
    };
    for path in ["/q", "/zookeeper/quota/q"] {
        net.ok(a, data(path, b""));
    }
    net.ok(a, data("/q/a", b"123"));
    let limits = "/zookeeper/quota/q/zookeeper_limits";
    net.ok(a, data(limits, b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=4"));
    net.ok(a, data("/zookeeper/quota/q/zookeeper_stats", b""));
    let usage = |net: &mut Net| net.data(a, "/zookeeper/quota/q/zookeeper_stats");
    assert_eq!(usage(&mut net), "count=2,bytes=3");
    let stat = net.stat(a, "/zookeeper/quota/q/zookeeper_stats");
    net.ok(a, data("/q/b", b"4567"));
    net.ok(a, set(1, "/q/a", b"1", -1));
    assert_eq!(usage(&mut net), "count=3,bytes=5");
    let now = net.stat(a, "/zookeeper/quota/q/zookeeper_stats");
    assert_eq!((now.version, now.mzxid), (stat.version, stat.mzxid));
    assert_eq!(net.err(a, data("/q/c", b"123456")), -125);
    assert_eq!(net.err(a, set(1, "/q/a", b"1234567", 77)), -125);
    net.ok(a, create(1, "/q/e", 1));
    assert_eq!(net.err(a, create(1, "/q/f", 0)), -125);
    let both = [(OpCode::DELETE, body(delete(0, "/q/e", -1))), (OpCode::CREATE, body(create(0, "/q/f", 0)))];
    assert_eq!(net.err(a, multi(1, &both)), 0);
    assert_eq!(usage(&mut net), "count=4,bytes=5");
    net.ok(a, delete(1, "/q/b", -1));
    assert_eq!(usage(&mut net), "count=3,bytes=1");
    net.ok(a, delete(1, limits, -1));
    net.ok(a, data("/q/c", b"0123456789"));
    assert_eq!(usage(&mut net), "count=3,bytes=1");
    net.check_replay();
}

/// Containers go once their children are gone, TTL nodes once their time is over, and no others.
#[test]
fn containers_and_ttls() {
    let mut net = Net::new();
    let a = net.open(0);
    net.send_connect(a, SessionId::NONE, &[0; 16], 20_000);
    net.run_until_idle();
    net.connected(a);
    for path in ["/used", "/full", "/unused"] {
        net.ok(a, request(1, OpCode::CREATE_CONTAINER, |out| put_create(out, path, b"", 4)));
    }
    for path in ["/used/c", "/full/c", "/plain"] {
        net.ok(a, create(1, path, 0));
    }
    net.ok(a, delete(1, "/used/c", -1));
    for (path, ttl_ms) in [("/short", 1_000), ("/long", 3_600_000)] {
        net.ok(a, create_ttl(path, 5, ttl_ms));
    }
    net.send(a, &read(2, OpCode::EXISTS, "/used", true));
    net.got(a);
    assert_eq!(net.stat(a, "/short").ephemeral_owner, SessionId::NONE);
    let paths = |net: &Net| -> Vec<String> {
        let rows = dump(net.commit.tree()).into_keys().map(|path| String::from_utf8(path).unwrap());
        rows.filter(|path| path != "/" && !path.starts_with("/zookeeper")).collect()
    };
    for _ in 0..6 {
        net.pass(10_000);
        net.send(a, &request(-2, OpCode::PING, |_| ()));
    }
    net.pass(100);
    assert_eq!(paths(&net), ["/full", "/full/c", "/long", "/plain", "/unused"]);
    assert!(brief(&net.got(a)).contains(&"2 /used".to_owned()));
    for _ in 0..30 {
        net.pass(10_000);
        net.send(a, &request(-2, OpCode::PING, |_| ()));
    }
    net.pass(100);
    assert_eq!(paths(&net), ["/full", "/full/c", "/long", "/plain"]);
    net.check_replay();
}
