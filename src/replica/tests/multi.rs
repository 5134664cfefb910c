//! Multis: all or nothing, results of their moment, bounded sizes.

use super::net::{Net, body, brief, create, delete, dump, get, multi, put_create, request, set};
use crate::proto::reply::MultiHeader;
use crate::proto::{JuteWrite, OpCode, Reader, Stat};
use bytes::BufMut;

/// The codes of a failed multi.
pub fn results(body: &[u8]) -> Vec<i32> {
    let (mut reader, mut codes) = (Reader::new(body), Vec::new());
    loop {
        let header = MultiHeader::read(&mut reader).unwrap();
        if header.done {
            assert_eq!(header, MultiHeader::END);
            assert!(reader.rest().is_empty());
            return codes;
        }
        assert_eq!(header.op, OpCode::ERROR);
        assert_eq!(reader.int(), Ok(header.err));
        codes.push(header.err);
    }
}

/// A multi that fails changes nothing, tells each operation's code, and takes one zxid.
#[test]
fn failed_multi_changes_nothing() {
    let mut net = Net::new();
    let a = net.connect(0);
    net.ok(a, create(1, "/p", 0));
    net.ok(a, request(1, OpCode::CREATE, |out| put_create(out, "/p/old", b"old", 0)));
    net.ok(a, create(1, "/zookeeper/quota/p", 0));
    let limits = "/zookeeper/quota/p/zookeeper_limits";
    net.ok(a, request(1, OpCode::CREATE, |out| put_create(out, limits, b"count=-1,bytes=-1", 0)));
    net.ok(a, create(1, "/zookeeper/quota/p/zookeeper_stats", 0));
    let before = dump(net.commit.tree());
    let zxid = net.commit.zxid();
    let got = net.call(
        a,
        multi(
            5,
            &[
                (OpCode::CREATE, body(create(0, "/p/new", 0))),
                (OpCode::CREATE, body(create(0, "/p/new/below", 1))),
                (OpCode::SET_DATA, body(set(0, "/p/old", b"newer", -1))),
                (OpCode::DELETE, body(delete(0, "/p/old", 1))),
                (OpCode::DELETE, body(delete(0, limits, -1))),
                (OpCode::CREATE, body(create(0, "/p/old", 2))),
                (OpCode::CHECK, body(delete(0, "/p/new", 7))),
                (OpCode::DELETE, body(delete(0, "/p/new", -1))),
            ],
        ),
    );
    assert_eq!(results(got.body()), [0, 0, 0, 0, 0, 0, -103, -2]);
    assert_eq!(net.commit.zxid(), zxid.next().unwrap());
    assert_eq!(dump(net.commit.tree()), before);
    net.ok(a, request(6, OpCode::CREATE, |out| put_create(out, "/p/x", b"abc", 0)));
    assert_eq!(net.data(a, "/zookeeper/quota/p/zookeeper_stats"), "count=3,bytes=6");
    net.check_replay();
}

/// Operations of a multi see those before them, and their Stats are of that moment; watchers are told
/// of each in order, with one zxid.
#[test]
fn multi_stats_are_of_their_moment() {
    let mut net = Net::new();
    let (a, b) = (net.connect(0), net.connect(1));
    net.send(
        b,
        &request(1, OpCode::ADD_WATCH, |out| {
            out.put_string(b"/");
            out.put_i32(1);
        }),
    );
    assert_eq!(brief(&net.got(b)), ["1:0"]);
    let got = net.call(
        a,
        multi(
            5,
            &[
                (OpCode::CREATE2, body(create(0, "/m", 0))),
                (OpCode::SET_DATA, body(set(0, "/m", b"12345", 0))),
                (OpCode::CREATE, body(create(0, "/m/s", 2))),
                (OpCode::CREATE, body(create(0, "/m/s", 2))),
                (OpCode::CHECK, body(delete(0, "/m", 1))),
                (OpCode::SET_DATA, body(set(0, "/m", b"1", 1))),
                (OpCode::DELETE, body(delete(0, "/m/s0000000001", -1))),
            ],
        ),
    );
    let zxid = got.zxid();
    let mut reader = Reader::new(got.body());
    let header = |reader: &mut Reader<'_>, op| {
        assert_eq!(MultiHeader::read(reader), Ok(MultiHeader { op, done: false, err: 0 }));
    };
    header(&mut reader, OpCode::CREATE2);
    assert_eq!(reader.string(), Ok(Some(&b"/m"[..])));
    let stat = Stat::read(&mut reader).unwrap();
    assert_eq!((stat.version, stat.data_bytes, stat.children), (0, 0, 0));
    header(&mut reader, OpCode::SET_DATA);
    let stat = Stat::read(&mut reader).unwrap();
    assert_eq!((stat.version, stat.data_bytes, stat.children, stat.cversion), (1, 5, 0, 0));
    header(&mut reader, OpCode::CREATE);
    assert_eq!(reader.string(), Ok(Some(&b"/m/s0000000000"[..])));
    header(&mut reader, OpCode::CREATE);
    assert_eq!(reader.string(), Ok(Some(&b"/m/s0000000001"[..])));
    header(&mut reader, OpCode::CHECK);
    header(&mut reader, OpCode::SET_DATA);
    let stat = Stat::read(&mut reader).unwrap();
    assert_eq!((stat.version, stat.data_bytes, stat.children, stat.cversion), (2, 1, 2, 2));
    header(&mut reader, OpCode::DELETE);
    assert_eq!(MultiHeader::read(&mut reader), Ok(MultiHeader::END));
    let stat = net.stat(a, "/m");
    assert_eq!((stat.cversion, stat.pzxid.to_wire(), stat.children), (3, zxid, 1));

    let got = net.got(b);
    let told = ["1 /m", "3 /m", "1 /m/s0000000000", "1 /m/s0000000001", "3 /m", "2 /m/s0000000001"];
    assert_eq!(brief(&got), told);
    assert!(got.iter().all(|event| event.zxid() == zxid));
    net.check_replay();
}

/// A multi that does not decode fails as a whole and takes a zxid; an empty one succeeds.
#[test]
fn odd_multis() {
    let mut net = Net::new();
    let a = net.connect(0);
    let zxid = net.commit.zxid();
    assert_eq!(net.err(a, request(1, OpCode::MULTI, |out| out.put_i32(1))), -5);
    assert_eq!(net.err(a, multi(2, &[(OpCode::GET_DATA, body(get(0, "/")))])), -5);
    let got = net.call(a, multi(3, &[]));
    assert!(results(got.body()).is_empty());
    assert_eq!(net.commit.zxid().0, zxid.0 + 3);
    assert_eq!(net.err(a, request(4, OpCode::CREATE, |out| out.put_i32(7))), -5);
    assert_eq!(net.commit.zxid().0, zxid.0 + 3, "a body that ends early takes none");
    net.check_replay();
}

/// A null that Java trips over in an operation's access list fails the whole multi.
#[test]
fn null_in_a_multi_fails_all_of_it() {
    let mut net = Net::new();
    let a = net.connect(0);
    let mut null = Vec::new();
    null.put_string(b"/y");
    null.put_buffer(None);
    null.put_count(1);
    null.put_i32(31);
    null.put_string(b"world");
    null.put_i32(-1);
    null.put_i32(0);
    let ops = [(OpCode::CREATE, body(create(0, "/x", 0))), (OpCode::CREATE, null)];
    assert_eq!(net.err(a, multi(1, &ops)), -5);
    assert_eq!(net.err(a, get(2, "/x")), -101);
    net.check_replay();
}

/// One frame that asks for gigabytes is refused.
#[test]
fn multi_read_is_bounded() {
    let mut net = Net::new();
    let a = net.connect(0);
    net.ok(a, request(1, OpCode::CREATE, |out| put_create(out, "/big", &[1; 900_000], 0)));
    let multi_read = |count: usize| {
        request(2, OpCode::MULTI_READ, |out| {
            for n in 0..count {
                MultiHeader { op: OpCode::GET_DATA, done: false, err: -1 }.put(out);
                out.put_slice(&body(get(0, if n % 2 == 0 { "/big" } else { "/none" })));
            }
            MultiHeader::END.put(out);
        })
    };
    assert_eq!(net.call(a, multi_read(4)).body().len(), 2 * (9 + 4 + 900_000 + 68) + 2 * 13 + 9);
    assert_eq!(net.err(a, multi_read(10_000)), -5);
}
