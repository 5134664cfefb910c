//! Connections of a view: slots, buffers, turns, signs of life.

use super::net::{
    Client, Net, SEGMENT_BYTES, create, get, password, put_create, read, request, set, watch_all,
};
use crate::proto::{OpCode, SessionId};
use crate::replica::{CloseReason, DeltasCursor, Shed};
use crate::wal::GroupEncoder;

/// A slot that is used again gets nothing that was meant for the connection before.
#[test]
fn slots_are_reused() {
    let mut net = Net::new();
    let a = net.connect(0);
    net.ok(a, read(1, OpCode::GET_DATA, "/", true));
    net.send(a, &create(2, "/x", 0));
    net.send(a, &set(3, "/", b"x", -1));
    let Client { view, place, .. } = net.clients[a];
    net.views[view].closed(place);
    net.clients[a].closed = Some(CloseReason::Done);
    let b = net.open(0);
    assert_eq!(net.clients[b].place.slot, place.slot);
    net.run_until_idle();
    assert!(net.clients[b].inbox.is_empty());
    net.send_connect(b, SessionId::NONE, &[0; 16], 5_000);
    net.run_until_idle();
    net.connected(b);
    net.ok(b, get(1, "/x"));
}

/// A connection that always has something left to send does not grow what it keeps of that.
#[test]
fn output_of_a_busy_connection_stays_small() {
    let mut net = Net::new();
    let a = net.connect(0);
    net.ok(a, request(1, OpCode::CREATE, |out| put_create(out, "/x", &[1; 1000], 0)));
    let Client { place, .. } = net.clients[a];
    net.clients[a].takes = false;
    for xid in 0..20_000 {
        net.send(a, &get(xid, "/x"));
        let view = &mut net.views[0];
        let wants = view.poll_connection(place, net.now);
        if wants.write && view.output(place).len() > 1 {
            let bytes = view.output(place).len() - 1;
            view.sent(place, bytes);
        }
    }
    assert!(net.views[0].buffered_bytes(place) < 1 << 20, "{}", net.views[0].buffered_bytes(place));
}

/// A client that takes events steadily, and never all of them, stays connected; one that takes none does not.
#[test]
fn events_count_while_they_are_unsent() {
    const ROUNDS: usize = 100;
    let mut net = Net::new();
    let (watcher, writer) = (net.connect(0), net.connect(0));
    let path = format!("/{}", "n".repeat(2000));
    net.send(writer, &create(1, &path, 0));
    watch_all(&mut net, watcher);
    net.clients[watcher].takes = false;
    let place = net.clients[watcher].place;
    let (mut events, mut xid) = (0, 1);
    for steady in [true, false] {
        for _ in 0..ROUNDS {
            let sets: Vec<_> = (xid + 1..=xid + 100).map(|xid| set(xid, &path, b"", -1)).collect();
            xid += 100;
            // The log of all rounds is longer than a segment.
            net.encoder = GroupEncoder::new(SEGMENT_BYTES, 1, net.views[0].zxid());
            net.send_all(writer, &sets);
            net.run_until_idle();
            if steady {
                let taken = net.views[0].output(place).len().saturating_sub(50_000);
                net.views[0].sent(place, taken);
                events += taken;
                assert_eq!(net.clients[watcher].closed, None, "after {events} bytes");
            }
        }
    }
    assert!(events > 17 << 20, "{events} bytes are no test");
    assert!(matches!(net.clients[watcher].closed, Some(CloseReason::SlowReader { .. })));
}

/// Deltas that are much work are taken in by turns, whole entries each.
#[test]
fn deltas_by_turns() {
    let mut net = Net::new();
    for _ in 0..100 {
        let watcher = net.connect(0);
        watch_all(&mut net, watcher);
    }
    let writer = net.connect(0);
    let sets: Vec<_> = (1..=900).map(|xid| set(xid, "/", b"x", -1)).collect();
    net.send_all(writer, &sets);
    net.up();
    let deltas = net.log().expect("a group");
    let (mut cursor, mut turns, mut zxid) = (DeltasCursor::default(), 0, net.views[0].zxid());
    while !net.views[0].apply_some(&deltas, &mut cursor, net.now) {
        assert!(net.views[0].zxid() > zxid, "a turn takes in some");
        zxid = net.views[0].zxid();
        turns += 1;
    }
    assert!(turns > 3, "{turns} turns for 90,000 events");
    assert_eq!(Some(net.views[0].zxid()), deltas.entries.last().map(|entry| entry.zxid));
    assert_eq!(net.views[0].tree().stat(net.views[0].tree().find(b"/").unwrap()).version, 900);
}

/// What a client sends while its requests wait for a large answer to be taken is read, and it lives; and so does one that
/// sends nothing and takes what it asked for.
#[test]
fn signs_of_life_of_who_is_not_served() {
    let mut net = Net::new();
    let client = net.connect(0);
    net.send(client, &request(1, OpCode::CREATE, |out| put_create(out, "/big", &vec![7; 900_000], 0)));
    net.run_until_idle();
    let place = net.clients[client].place;
    net.clients[client].takes = false;
    let signs = |net: &mut Net| {
        net.now.mono_us += 200_000;
        net.views[0].tick(net.now);
        net.views[0].take_signs().len()
    };
    net.send(client, &get(2, "/big"));
    net.send(client, &get(3, "/big"));
    net.collect();
    assert_eq!((signs(&mut net), signs(&mut net)), (1, 0));
    assert!(net.views[0].poll_connection(place, net.now).read, "it is read ahead");
    net.send(client, &request(-2, OpCode::PING, |_| ()));
    assert_eq!((signs(&mut net), signs(&mut net)), (1, 0));
    net.views[0].sent(place, 100_000);
    assert_eq!((signs(&mut net), signs(&mut net)), (1, 0));
    // The kernel takes this whether the client lives or not.
    let left = net.views[0].output(place).len();
    net.views[0].sent(place, left - 1000);
    assert_eq!((signs(&mut net), signs(&mut net)), (1, 0));
    net.views[0].sent(place, 1000);
    assert_eq!(signs(&mut net), 0);
}

/// Of a view's connections those go whose clients owe nothing and are owed nothing; sessions and ephemerals stay, and the
/// clients attach elsewhere.
#[test]
fn shed() {
    let mut net = Net::new();
    let clients: Vec<usize> = (0..6).map(|_| net.connect(0)).collect();
    let [idle, owed, slow, half, busy, other] = clients[..] else { unreachable!("six") };
    net.ok(idle, create(1, "/e", 1));
    net.ok(other, get(1, "/e"));
    let fresh = net.open(0);
    net.now.mono_us += 1_000_000;
    let before_ms = net.now.mono_ms();
    net.now.mono_us += 1_000;
    // One write is with the commit side, one answer is not taken, half a request has come, one was answered just now.
    net.send(owed, &set(2, "/e", b"x", -1));
    net.clients[slow].takes = false;
    net.send(slow, &get(2, "/e"));
    net.send(half, &get(2, "/e")[..9]);
    net.ok(busy, get(2, "/e"));
    net.send(owed, &set(3, "/e", b"y", -1));
    let late = net.connect(0);
    net.send(owed, &set(4, "/e", b"z", -1));
    let order = |count| Shed { count, opened_before_ms: before_ms, answered_before_ms: before_ms };
    assert_eq!((net.views[1].shed(order(9)), net.views[0].shed(order(1))), (0, 1));
    assert_eq!((net.views[0].shed(order(9)), net.views[0].shed(order(9))), (1, 0));
    net.collect();
    let gone = |net: &Net| -> Vec<usize> {
        let shed = |client: &usize| net.clients[*client].closed == Some(CloseReason::Shed);
        (0..net.clients.len()).filter(shed).collect()
    };
    assert_eq!(gone(&net), [idle, other]);
    net.run_until_idle();
    // Clients that always ask go when nothing else is left, and those that have come meanwhile do not.
    let last = Shed { answered_before_ms: i64::MAX, ..order(9) };
    assert_eq!(net.views[0].shed(last), 2, "owed and busy");
    net.run_until_idle();
    assert_eq!(gone(&net), [idle, owed, busy, other]);
    assert_eq!(net.views[0].metrics_mut().counters.connections_shed, 4);
    assert_eq!((net.clients[late].closed.clone(), net.clients[fresh].closed.clone()), (None, None));
    // The session lives on at another view, with its ephemeral.
    let (again, session_id) = (net.open(1), net.clients[idle].session_id);
    net.send_connect(again, session_id, &password(session_id), 10_000);
    net.run_until_idle();
    assert_eq!(net.connected(again).session_id, session_id);
    net.ok(again, get(9, "/e"));
    net.check_replay();
}
