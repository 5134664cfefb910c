//! Order and framing: replies in the order of the requests, events before what shows the change.

use super::net::{Got, Net, brief, create, delete, get, put_create, read, request, set};
use crate::proto::{JuteWrite, OpCode, Reader, SessionId, XID_SET_WATCHES};
use bytes::BufMut;

/// Replies come in the order of the requests, reads wait for their own session's writes and see them,
/// and other sessions' reads neither wait nor see what is not durable.
#[test]
fn reads_and_writes_are_fifo() {
    let mut net = Net::new();
    let (a, b) = (net.connect(0), net.connect(1));
    net.send_all(
        a,
        &[
            get(1, "/x"),
            create(2, "/x", 0),
            get(3, "/x"),
            set(4, "/x", b"one", 0),
            get(5, "/x"),
            delete(6, "/x", 1),
            get(7, "/x"),
            create(8, "/x", 0),
        ],
    );
    net.up();
    let deltas = net.log().unwrap();
    assert_eq!(brief(&net.got(a)), ["1:-101"]);
    assert_eq!(net.err(b, get(1, "/x")), -101, "not durable, or at least not published");
    net.publish(&deltas);
    let got = net.got(a);
    assert_eq!(brief(&got), ["2:0", "3:0", "4:0", "5:0", "6:0", "7:-101", "8:0"]);
    assert_eq!(Reader::new(got[1].body()).buffer(), Ok(Some(&b""[..])));
    assert_eq!(Reader::new(got[3].body()).buffer(), Ok(Some(&b"one"[..])));
    assert!(got.is_sorted_by_key(Got::zxid), "{got:?}");
    net.check_replay();
}

/// A read that waits because the client takes nothing still is answered as of its place in the order,
/// not as of the session's later writes.
#[test]
fn deferred_reads_do_not_see_later_writes() {
    let mut net = Net::new();
    let a = net.connect(0);
    net.ok(a, request(1, OpCode::CREATE, |out| put_create(out, "/big", &[7; 400_000], 0)));
    net.clients[a].takes = false;
    net.send_all(
        a,
        &[
            create(2, "/w", 0),
            get(3, "/big"),
            get(4, "/big"),
            get(5, "/w"),
            delete(6, "/w", -1),
            get(7, "/w"),
            get(8, "/big"),
        ],
    );
    net.run_until_idle();
    net.clients[a].takes = true;
    net.run_until_idle();
    let got = net.got(a);
    assert_eq!(brief(&got), ["2:0", "3:0", "4:0", "5:0", "6:0", "7:-101", "8:0"]);
    assert!(got.is_sorted_by_key(Got::zxid), "a later reply carries an older zxid");
}

/// An event goes out before the reply of the write that caused it, before any read that shows it, and
/// with the txn's zxid.
#[test]
fn events_come_first() {
    let mut net = Net::new();
    let (a, b) = (net.connect(0), net.connect(0));
    net.send_all(a, &[read(1, OpCode::EXISTS, "/x", true), read(2, OpCode::GET_CHILDREN, "/", true)]);
    net.send_all(a, &[create(3, "/x", 0), get(4, "/x")]);
    net.run_until_idle();
    let got = net.got(a);
    assert_eq!(brief(&got), ["1:-101", "2:0", "1 /x", "4 /", "3:0", "4:0"]);
    assert_eq!(got[2].zxid(), got[4].zxid());

    net.send(a, &read(5, OpCode::GET_DATA, "/x", true));
    net.send(b, &set(1, "/x", b"new", -1));
    net.run_until_idle();
    net.send(a, &get(6, "/x"));
    assert_eq!(brief(&net.got(a)), ["5:0", "3 /x", "6:0"]);
}

/// What a client watched and missed is told before setWatches is answered, the rest is watched.
#[test]
fn set_watches_catches_up() {
    let mut net = Net::new();
    let a = net.connect(0);
    for path in ["/same", "/changed", "/parent"] {
        net.ok(a, create(1, path, 0));
    }
    let since = net.call(a, get(1, "/same")).zxid();
    net.ok(a, set(1, "/changed", b"x", -1));
    net.ok(a, create(1, "/parent/c", 0));
    let set_watches = |since: i64| {
        request(XID_SET_WATCHES, OpCode::SET_WATCHES, |out| {
            out.put_i64(since);
            for list in [&["/same", "/changed", "/gone"][..], &["/none", "/same"], &["/parent", "/same"]] {
                out.put_count(list.len());
                list.iter().for_each(|path| out.put_string(path.as_bytes()));
            }
        })
    };
    net.send(a, &set_watches(since));
    let got = net.got(a);
    assert_eq!(brief(&got), ["3 /changed", "2 /gone", "1 /same", "4 /parent", "-8:0"]);
    assert!(got[..4].iter().all(|event| event.zxid() == -1));
    net.send(a, &create(2, "/none", 0));
    net.run_until_idle();
    assert_eq!(brief(&net.got(a)), ["1 /none", "2:0"]);
    // zxids are signed in Java: -1 is before everything.
    let b = net.connect(1);
    net.send(b, &set_watches(-1));
    assert!(brief(&net.got(b)).contains(&"3 /same".to_owned()));
}

/// Bytes may come one by one, and more than one frame at once.
#[test]
fn frames_in_pieces() {
    let mut net = Net::new();
    let a = net.connect(0);
    let bytes = [create(1, "/x", 0), get(2, "/x"), set(3, "/x", b"y", 0), get(4, "/x")].concat();
    for byte in bytes {
        net.send(a, &[byte]);
        net.collect();
    }
    net.run_until_idle();
    assert_eq!(brief(&net.got(a)), ["1:0", "2:0", "3:0", "4:0"]);
}

/// What a client pipelines behind its connect request waits for the session.
#[test]
fn pipelined_behind_connect() {
    let mut net = Net::new();
    let a = net.open(0);
    net.send_connect(a, SessionId::NONE, &[0; 16], 5_000);
    net.send_all(a, &[create(1, "/x", 1), get(2, "/x")]);
    net.run_until_idle();
    assert_ne!(net.connected(a).session_id, SessionId::NONE);
    assert_eq!(brief(&net.got(a)), ["1:0", "2:0"]);
}
