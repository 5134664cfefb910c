//! Sessions: clients open them, attach to them, close them or let them expire.

use super::net::{Client, Net, brief, close, create, get, password, read, request, set, settings};
use crate::proto::{ConnectRequest, ConnectResponse, OpCode, SessionId, Zxid, jute};
use crate::replica::{CloseReason, CommitSettings};

/// closeSession deletes the session's ephemerals in one txn; their events come before the reply, and
/// the connection ends after it.
#[test]
fn close_session_deletes_ephemerals() {
    let mut net = Net::new();
    let (a, b) = (net.connect(0), net.connect(1));
    net.ok(a, create(1, "/e1", 1));
    net.ok(a, create(1, "/e2", 1));
    net.ok(b, create(1, "/kept", 1));
    assert_eq!(net.stat(b, "/e1").ephemeral_owner, net.clients[a].session_id);
    net.send(a, &read(2, OpCode::EXISTS, "/e1", true));
    net.send(b, &read(2, OpCode::EXISTS, "/e2", true));
    net.run_until_idle();
    net.got(a);
    net.got(b);
    net.send_all(a, &[close(3), get(4, "/kept")]);
    net.run_until_idle();
    let got = net.got(a);
    assert_eq!(brief(&got), ["2 /e1", "3:0"]);
    assert_eq!(got[0].zxid(), got[1].zxid());
    assert_eq!(net.clients[a].closed, Some(CloseReason::Done));
    assert_eq!(brief(&net.got(b)), ["2 /e2"]);
    assert_eq!(net.err(b, get(5, "/e1")), -101);
    net.ok(b, get(6, "/kept"));
    assert_eq!(net.commit.session_count(), 1);
    net.check_replay();
}

/// The txn of a closeSession that lists no paths is read back as such, with a digest behind it.
#[test]
fn close_session_without_paths_is_replayed() {
    let mut net = Net::with(CommitSettings { close_session_paths: false, ..settings() });
    let (a, b) = (net.connect(0), net.connect(1));
    net.ok(a, create(1, "/e1", 1));
    net.ok(a, create(1, "/e2", 1));
    net.ok(a, close(2));
    net.ok(b, create(1, "/after", 0));
    net.check_replay();
}

/// A client that attaches again gets its session with ephemerals; its former connection is silent
/// before the new one is told, and what that still sent up is not done.
#[test]
fn attach_fences_the_former_connection() {
    for view in [0, 1] {
        let mut net = Net::new();
        let a = net.connect(0);
        net.ok(a, create(1, "/e", 1));
        net.ok(a, read(2, OpCode::GET_DATA, "/e", true));
        let id = net.clients[a].session_id;
        let b = net.open(view);
        net.send_connect(b, id, &password(id), 10_000);
        net.up();
        // Overtaken: it comes from a connection that the session has left.
        net.send(a, &set(3, "/e", b"late", -1));
        net.up();
        let deltas = net.log().unwrap();
        net.publish(&deltas);
        assert!(net.clients[b].inbox.is_empty(), "told before the former connection is known to be silent");
        assert!(matches!(net.clients[a].closed, Some(CloseReason::SessionMoved { .. })));
        net.run_until_idle();
        let response = net.connected(b);
        assert_eq!((response.session_id, response.timeout_ms), (id, 10_000));
        assert_eq!(net.data(b, "/e"), "");
        assert!(net.got(a).is_empty());
        net.ok(b, set(4, "/e", b"new", 0));
        assert!(net.got(a).is_empty(), "no event either");
        assert_eq!(net.stat(b, "/e").ephemeral_owner, id);
        net.check_replay();
    }
}

/// Of two connections that attach to one session, the later has it, and only once both former
/// connections are silent, in whatever order their views say so.
#[test]
fn attach_overtaken_by_another() {
    let mut net = Net::new();
    let a = net.connect(0);
    let id = net.clients[a].session_id;
    let (b, c) = (net.open(1), net.open(1));
    net.send_connect(b, id, &password(id), 10_000);
    net.send_connect(c, id, &password(id), 10_000);
    net.up();
    let deltas = net.log().unwrap();
    // The first view is slow: the second says that `b` is silent while `a` still may answer.
    net.views[1].apply(&deltas, net.now);
    net.up();
    let more = net.log();
    if let Some(more) = &more {
        net.views[1].apply(more, net.now);
    }
    net.collect();
    assert!(net.clients[c].inbox.is_empty(), "attached while the first connection still talks");
    assert_eq!(net.clients[a].closed, None);
    net.views[0].apply(&deltas, net.now);
    if let Some(more) = &more {
        net.views[0].apply(more, net.now);
    }
    net.run_until_idle();
    assert_eq!(net.connected(c).session_id, id);
    assert!(net.clients[a].closed.is_some() && net.clients[b].closed.is_some());
    assert!(net.clients[b].inbox.is_empty());
    net.ok(c, create(1, "/x", 0));
}

/// Who only guesses a session's id gets nothing, and its owner notices nothing.
#[test]
fn wrong_password() {
    let mut net = Net::new();
    let a = net.connect(0);
    let id = net.clients[a].session_id;
    let (next, other) = (SessionId(id.0 + 1), SessionId(-1));
    for (session_id, password) in [
        (id, vec![0; 16]),
        (id, vec![]),
        (id, vec![0; 1000]),
        (next, password(next)),
        (other, password(other)),
    ] {
        let b = net.open(1);
        net.send_connect(b, session_id, &password, 10_000);
        net.run_until_idle();
        assert_eq!(net.connected(b), ConnectResponse::expired(Some(false)));
        assert_eq!(net.clients[b].closed, Some(CloseReason::Done));
    }
    net.ok(a, create(1, "/x", 1));
    assert_eq!(net.clients[a].closed, None);
}

/// A client that has seen what this server has not is turned away; zxids are signed there.
#[test]
fn client_ahead() {
    let mut net = Net::new();
    for (seen, turned_away) in [(Zxid(1 << 40), true), (Zxid::from_wire(-1), false)] {
        let a = net.open(0);
        let mut frame = Vec::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: seen,
            timeout_ms: 5000,
            session_id: SessionId::NONE,
            password: None,
            read_only: None,
        };
        jute::frame(&mut frame, |out| request.put(out));
        net.send(a, &frame);
        net.run_until_idle();
        assert_eq!(matches!(net.clients[a].closed, Some(CloseReason::ZxidAhead { .. })), turned_away);
    }
}

/// A session that is silent for its timeout ends, with its ephemerals; one that pings does not, and a
/// ping just before a connection breaks still counts.
#[test]
fn expiry() {
    let ping = || request(-2, OpCode::PING, |_| ());
    let mut net = Net::new();
    let (a, b, c) = (net.connect(0), net.connect(1), net.connect(1));
    net.ok(a, create(1, "/a", 1));
    net.ok(b, create(1, "/b", 1));
    net.ok(c, create(1, "/c", 1));
    for _ in 0..3 {
        net.pass(3_000);
        assert_eq!(net.call(b, ping()).brief(), "-2:0");
    }
    // At 9 s: the last sign of life of `c`, and the end of its connection.
    net.ok(c, ping());
    let Client { view, place, .. } = net.clients[c];
    net.views[view].closed(place);
    net.clients[c].closed = Some(CloseReason::Done);
    net.pass(3_000);
    assert_eq!(net.call(b, get(5, "/a")).brief(), "5:-101");
    assert!(matches!(net.clients[a].closed, Some(CloseReason::SessionGone { .. })));
    assert!(net.got(a).is_empty(), "no reply tells of an expiry");
    net.ok(b, get(6, "/b"));
    net.pass(5_500);
    assert_eq!(net.err(b, get(7, "/c")), 0, "expired before its timeout was over");
    net.pass(3_500);
    assert_eq!(net.err(b, get(8, "/c")), -101);
    net.check_replay();
}

/// A client that attaches again with another timeout is expired by that one.
#[test]
fn attach_changes_the_timeout() {
    let mut net = Net::new();
    let a = net.open(0);
    net.send_connect(a, SessionId::NONE, &[0; 16], 2_000);
    net.run_until_idle();
    let id = net.connected(a).session_id;
    let b = net.open(1);
    net.send_connect(b, id, &password(id), 20_000);
    net.run_until_idle();
    assert_eq!(net.connected(b).timeout_ms, 20_000);
    net.ok(b, create(1, "/e", 1));
    // A client with 20 s pings every 6 to 7.
    net.pass(7_000);
    net.ok(b, get(2, "/e"));
    net.pass(7_000);
    net.ok(b, get(3, "/e"));
}
