//! Commit side and views in memory: clients are byte strings, the disk is a log of groups.

use super::*;
use crate::auth::Policy;
use crate::database::Database;
use crate::proto::acl::{RawAcl, put_acls};
use crate::proto::reply::MultiHeader;
use crate::proto::{
    Acl, ConnectRequest, ConnectResponse, Perms, Reader, ReplyHeader, Stat, WatcherEvent, XID_NOTIFICATION,
    jute,
};
use crate::proto::{JuteWrite, XID_SET_WATCHES};
use crate::tree::{self, Digests, ImageOf, NodeImage, Tree};
use crate::txn::{AclTable, Quotas};
use crate::wal::{Entry as LogEntry, GroupEncoder, Place as LogPlace, Recovery};
use bytes::BufMut;
use std::collections::BTreeMap;

const SEGMENT_BYTES: usize = 8 << 20;
const TICK_MS: i64 = 1000;

pub(super) fn tree_settings() -> tree::Settings {
    tree::Settings { extended_types: tree::ExtendedTypes::On, digests: Digests::Kept, hash_seed: 1 }
}

pub(super) fn settings() -> CommitSettings {
    CommitSettings {
        extended_types: true,
        enforce_quota: true,
        container_never_used_ms: 300_000,
        ..CommitSettings::new(2, TICK_MS as i32)
    }
}

/// A server with two views, its log, and its clients.
struct Net {
    now: Now,
    commit: Commit,
    views: Vec<View>,
    encoder: GroupEncoder,
    log: Vec<u8>,
    clients: Vec<Client>,
}

/// What a client has on its side.
struct Client {
    view: usize,
    place: Place,
    inbox: Vec<u8>,
    session_id: i64,
    closed: Option<CloseReason>,
    /// Whether it takes what it is sent.
    takes: bool,
}

/// A frame as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Event { kind: i32, path: String, zxid: i64 },
    Reply { xid: i32, zxid: i64, err: i32, body: Vec<u8> },
}

impl Got {
    fn body(&self) -> &[u8] {
        match self {
            Self::Reply { body, err: 0, .. } => body,
            other => panic!("not a success: {other:?}"),
        }
    }

    fn zxid(&self) -> i64 {
        match self {
            Self::Reply { zxid, .. } | Self::Event { zxid, .. } => *zxid,
        }
    }

    /// `xid:err` or `kind path`.
    fn brief(&self) -> String {
        match self {
            Self::Event { kind, path, .. } => format!("{kind} {path}"),
            Self::Reply { xid, err, .. } => format!("{xid}:{err}"),
        }
    }
}

fn brief(got: &[Got]) -> Vec<String> {
    got.iter().map(Got::brief).collect()
}

type Frame = Vec<u8>;

fn request(xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Frame {
    let mut out = Vec::new();
    jute::frame(&mut out, |out| {
        out.put_i32(xid);
        out.put_i32(op.0);
        body(out);
    });
    out
}

fn put_create(out: &mut Vec<u8>, path: &str, data: &[u8], flags: i32) {
    put_create_acl(out, path, data, &[Acl::open()], flags);
}

fn put_create_acl(out: &mut Vec<u8>, path: &str, data: &[u8], acl: &[Acl], flags: i32) {
    out.put_string(path.as_bytes());
    out.put_buffer(Some(data));
    put_acls(out, acl);
    out.put_i32(flags);
}

fn create(xid: i32, path: &str, flags: i32) -> Frame {
    request(xid, OpCode::CREATE, |out| put_create(out, path, b"", flags))
}

fn set(xid: i32, path: &str, data: &[u8], version: i32) -> Frame {
    request(xid, OpCode::SET_DATA, |out| {
        out.put_string(path.as_bytes());
        out.put_buffer(Some(data));
        out.put_i32(version);
    })
}

fn delete(xid: i32, path: &str, version: i32) -> Frame {
    request(xid, OpCode::DELETE, |out| {
        out.put_string(path.as_bytes());
        out.put_i32(version);
    })
}

fn read(xid: i32, op: OpCode, path: &str, watch: bool) -> Frame {
    request(xid, op, |out| {
        out.put_string(path.as_bytes());
        out.put_bool(watch);
    })
}

fn get(xid: i32, path: &str) -> Frame {
    read(xid, OpCode::GET_DATA, path, false)
}

fn close(xid: i32) -> Frame {
    request(xid, OpCode::CLOSE_SESSION, |_| ())
}

/// A multi of operations whose bodies are written as they are.
fn multi(xid: i32, ops: &[(OpCode, Vec<u8>)]) -> Frame {
    request(xid, OpCode::MULTI, |out| {
        for (op, body) in ops {
            MultiHeader { op: *op, done: false, err: -1 }.put(out);
            out.put_slice(body);
        }
        MultiHeader::END.put(out);
    })
}

/// The body of a request, for [`multi`].
fn body(frame: Frame) -> Vec<u8> {
    frame[12..].to_vec()
}

fn password(session_id: i64) -> Vec<u8> {
    crate::session::password(session_id).to_vec()
}

impl Net {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: CommitSettings) -> Self {
        Self::restored(settings, Database::fresh(tree_settings()))
    }

    fn restored(settings: CommitSettings, restored: Database) -> Self {
        let policy = Arc::new(Policy::default());
        let views = (0..settings.views).map(|number| {
            let settings = ViewSettings { serving: true, ..ViewSettings::new(number) };
            let (tree, sessions) = (restored.tree.for_view(), restored.sessions.clone());
            View::new(settings, policy.clone(), tree, restored.zxid, sessions, restored.tree.digest())
        });
        let views = views.collect();
        let now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
        let encoder = GroupEncoder::new(SEGMENT_BYTES, 1, restored.zxid);
        let commit = Commit::new(settings, policy, restored, now);
        Self { now, commit, views, encoder, log: vec![0; SEGMENT_BYTES], clients: Vec::new() }
    }

    fn open(&mut self, view: usize) -> usize {
        let place = self.views[view].open("10.0.0.1:5".parse().unwrap(), self.now);
        let client = Client { view, place, inbox: Vec::new(), session_id: 0, closed: None, takes: true };
        self.clients.push(client);
        self.clients.len() - 1
    }

    fn send_connect(&mut self, client: usize, session_id: i64, password: &[u8], timeout_ms: i32) {
        let mut frame = Vec::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms,
            session_id,
            password: Some(password),
            read_only: Some(false),
        };
        jute::frame(&mut frame, |out| request.put(out));
        self.send(client, &frame);
    }

    /// Takes the connect response out of what a client got.
    fn connected(&mut self, client: usize) -> ConnectResponse {
        self.collect();
        let inbox = &mut self.clients[client].inbox;
        assert!(inbox.len() >= 4, "no connect response");
        let length = u32::from_be_bytes(inbox[..4].try_into().unwrap()) as usize;
        let response = ConnectResponse::read(&mut Reader::new(&inbox[4..4 + length])).unwrap();
        inbox.drain(..4 + length);
        self.clients[client].session_id = response.session_id;
        response
    }

    fn connect(&mut self, view: usize) -> usize {
        let client = self.open(view);
        self.send_connect(client, 0, &[0; 16], 10_000);
        self.settle();
        assert_eq!(self.connected(client).timeout_ms, 10_000);
        client
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        let Client { view, place, .. } = self.clients[client];
        self.views[view].receive(place, bytes, self.now);
    }

    fn send_all(&mut self, client: usize, frames: &[Frame]) {
        self.send(client, &frames.concat());
    }

    /// Does what a view's shell does: looks at connections, takes their output, closes them.
    fn collect(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.closed.is_none()) {
            let view = &mut self.views[client.view];
            loop {
                let wants = view.poll_connection(client.place, self.now);
                if wants.write && client.takes {
                    let bytes = view.output(client.place);
                    client.inbox.extend_from_slice(bytes);
                    let bytes = bytes.len();
                    view.sent(client.place, bytes);
                    continue;
                }
                if wants.again {
                    continue;
                }
                if let (Some(reason), false) = (wants.close, wants.write) {
                    client.closed = Some(reason);
                    view.closed(client.place);
                }
                break;
            }
        }
        self.views.iter_mut().for_each(|view| while view.next_listed().is_some() {});
    }

    fn up(&mut self) {
        for view in &mut self.views {
            while let Some(uplink) = view.take_uplink() {
                self.commit.submit(self.now, uplink);
            }
        }
        self.commit.proceed(self.now);
    }

    /// One group to the log; what the views learn after that.
    fn log(&mut self) -> Option<Deltas> {
        let Proposed { records, deltas, through, .. } = self.commit.take(Default::default())?;
        if !records.is_empty() {
            let (from, bytes) = (self.encoder.offset(), self.encoder.group_bytes(&records));
            self.encoder.encode(&records, &mut self.log[from..from + bytes]);
        }
        self.commit.committed(through);
        Some(deltas)
    }

    fn publish(&mut self, deltas: &Deltas) {
        self.views.iter_mut().for_each(|view| view.apply(deltas, self.now));
        self.collect();
    }

    /// Lets everything that is under way come to rest.
    fn settle(&mut self) {
        loop {
            self.collect();
            self.up();
            let Some(deltas) = self.log() else { break };
            self.publish(&deltas);
        }
        self.collect();
    }

    fn pass(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.now.mono_us += 100_000;
            self.now.wall_ms += 100;
            self.views.iter_mut().for_each(|view| view.tick(self.now));
            self.up();
            self.commit.tick(self.now);
            self.settle();
        }
    }

    fn got(&mut self, client: usize) -> Vec<Got> {
        self.collect();
        let inbox = std::mem::take(&mut self.clients[client].inbox);
        let mut rest = &inbox[..];
        let mut got = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let (frame, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
            rest = behind;
            let mut reader = Reader::new(frame);
            let header = ReplyHeader::read(&mut reader).unwrap();
            got.push(match header.xid {
                XID_NOTIFICATION => {
                    let event = WatcherEvent::read(&header, &mut reader).unwrap();
                    let path = String::from_utf8(event.path).unwrap();
                    Got::Event { kind: event.kind, path, zxid: header.zxid }
                }
                xid => {
                    let ReplyHeader { zxid, err, .. } = header;
                    Got::Reply { xid, zxid, err, body: reader.rest().to_vec() }
                }
            });
        }
        got
    }

    /// Sends, lets it be done, and says what came back.
    fn call(&mut self, client: usize, frame: Frame) -> Got {
        self.send(client, &frame);
        self.settle();
        let mut got = self.got(client);
        assert_eq!(got.len(), 1, "{got:?}");
        got.remove(0)
    }

    fn err(&mut self, client: usize, frame: Frame) -> i32 {
        match self.call(client, frame) {
            Got::Reply { err, .. } => err,
            event => panic!("{event:?}"),
        }
    }

    fn ok(&mut self, client: usize, frame: Frame) {
        assert_eq!(self.err(client, frame), 0);
    }

    fn stat(&mut self, client: usize, path: &str) -> Stat {
        let got = self.call(client, read(9999, OpCode::EXISTS, path, false));
        Stat::read(&mut Reader::new(got.body())).unwrap()
    }

    fn data(&mut self, client: usize, path: &str) -> String {
        let got = self.call(client, get(9999, path));
        let data = Reader::new(got.body()).buffer().unwrap().unwrap().to_vec();
        String::from_utf8(data).unwrap()
    }

    /// What a server that starts on this log knows.
    fn replay(&self) -> Database {
        let mut restored = Database::fresh(tree_settings());
        let mut recovery = Recovery::new(SEGMENT_BYTES);
        let each = |entry: LogEntry<'_>| match entry {
            LogEntry::Txn(zxid, txn) => restored.replay(zxid, txn).expect("what was logged"),
            LogEntry::Marker { .. } => panic!("nothing is taken back"),
        };
        let end = recovery.segment(&self.log, 1, LogPlace::Newest, each).expect("a whole log");
        assert_eq!(end.torn, None);
        restored
    }

    /// The log, replayed, is the commit side's tree and the views'.
    fn check_replay(&self) {
        let restored = self.replay();
        assert_eq!(restored.zxid, self.commit.zxid());
        assert_eq!(restored.tree.digest(), self.commit.tree().digest());
        assert_eq!(dump(&restored.tree), dump(self.commit.tree()));
        for view in &self.views {
            assert_eq!(dump(&restored.tree), dump(view.tree()));
            assert_eq!(restored.sessions, *view.sessions());
        }
        assert_eq!(restored.sessions.len(), self.commit.session_count());
    }
}

/// Everything of a tree that a client can see, by path.
fn dump(tree: &Tree) -> BTreeMap<Vec<u8>, (Vec<u8>, String, Stat)> {
    let mut rows = BTreeMap::new();
    let mut todo = vec![b"/".to_vec()];
    while let Some(path) = todo.pop() {
        let index = tree.find(&path).unwrap();
        let body = tree.body(index);
        for name in tree.children(index) {
            let parent: &[u8] = if path == b"/" { b"" } else { &path };
            todo.push([parent, b"/", name].concat());
        }
        rows.insert(path, (body.bytes().to_vec(), format!("{:?}", body.acl()), tree.stat(index)));
    }
    rows
}

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
    net.settle();
    net.clients[a].takes = true;
    net.settle();
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
    net.settle();
    let got = net.got(a);
    assert_eq!(brief(&got), ["1:-101", "2:0", "1 /x", "4 /", "3:0", "4:0"]);
    assert_eq!(got[2].zxid(), got[4].zxid());

    net.send(a, &read(5, OpCode::GET_DATA, "/x", true));
    net.send(b, &set(1, "/x", b"new", -1));
    net.settle();
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
    net.settle();
    assert_eq!(brief(&net.got(a)), ["1 /none", "2:0"]);
    // zxids are signed in Java: -1 is before everything.
    let b = net.connect(1);
    net.send(b, &set_watches(-1));
    assert!(brief(&net.got(b)).contains(&"3 /same".to_owned()));
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

/// The codes of a failed multi.
fn results(body: &[u8]) -> Vec<i32> {
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
    net.settle();
    net.got(a);
    net.got(b);
    net.send_all(a, &[close(3), get(4, "/kept")]);
    net.settle();
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
        net.settle();
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
    net.settle();
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
    for (session_id, password) in
        [(id, vec![0; 16]), (id, vec![]), (id, vec![0; 1000]), (id + 1, password(id + 1)), (-1, password(-1))]
    {
        let b = net.open(1);
        net.send_connect(b, session_id, &password, 10_000);
        net.settle();
        assert_eq!(net.connected(b), ConnectResponse::expired(Some(false)));
        assert_eq!(net.clients[b].closed, Some(CloseReason::Done));
    }
    net.ok(a, create(1, "/x", 1));
    assert_eq!(net.clients[a].closed, None);
}

/// A token is answered with null, as by a 3.9 without a login configuration; a client that never stops
/// sending them is told that it failed.
#[test]
fn sasl_ends() {
    let mut net = Net::new();
    let a = net.connect(0);
    let token = |xid| request(xid, OpCode::SASL, |out| out.put_buffer(Some(b"")));
    for xid in 1..=8 {
        net.ok(a, token(xid));
    }
    assert_eq!(net.err(a, token(9)), ErrorCode::AuthFailed.to_wire());
    assert_eq!(net.clients[a].closed, Some(CloseReason::Auth(ErrorCode::AuthFailed)));
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
            session_id: 0,
            password: None,
            read_only: None,
        };
        jute::frame(&mut frame, |out| request.put(out));
        net.send(a, &frame);
        net.settle();
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
    net.send_connect(a, 0, &[0; 16], 2_000);
    net.settle();
    let id = net.connected(a).session_id;
    let b = net.open(1);
    net.send_connect(b, id, &password(id), 20_000);
    net.settle();
    assert_eq!(net.connected(b).timeout_ms, 20_000);
    net.ok(b, create(1, "/e", 1));
    // A client with 20 s pings every 6 to 7.
    net.pass(7_000);
    net.ok(b, get(2, "/e"));
    net.pass(7_000);
    net.ok(b, get(3, "/e"));
}

/// Containers go once their children are gone, TTL nodes once their time is over, and no others.
#[test]
fn containers_and_ttls() {
    let mut net = Net::new();
    let a = net.open(0);
    net.send_connect(a, 0, &[0; 16], 20_000);
    net.settle();
    net.connected(a);
    for path in ["/used", "/full", "/unused"] {
        net.ok(a, request(1, OpCode::CREATE_CONTAINER, |out| put_create(out, path, b"", 4)));
    }
    for path in ["/used/c", "/full/c", "/plain"] {
        net.ok(a, create(1, path, 0));
    }
    net.ok(a, delete(1, "/used/c", -1));
    for (path, ttl_ms) in [("/short", 1_000), ("/long", 3_600_000)] {
        net.ok(
            a,
            request(1, OpCode::CREATE_TTL, |out| {
                put_create(out, path, b"", 5);
                out.put_i64(ttl_ms);
            }),
        );
    }
    net.send(a, &read(2, OpCode::EXISTS, "/used", true));
    net.got(a);
    assert_eq!(net.stat(a, "/short").ephemeral_owner, 0);
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

/// However many containers are due and allowed at once, a group of the log stays one.
#[test]
fn sweep_in_groups() {
    let settings = CommitSettings { container_max_per_minute: u32::MAX, ..settings() };
    let mut now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
    let restored = Database::fresh(tree_settings());
    let mut commit = Commit::new(settings, Arc::new(Policy::default()), restored, now);
    let group = |commit: &mut Commit| {
        let proposed = commit.take(crate::wal::Batch::default())?;
        commit.committed(proposed.through);
        Some(proposed)
    };
    let cnxn = CnxnId { view: 0, slot: 0, generation: 1 };
    let (password, last_zxid_seen) = (Box::from([0; 16]), Zxid::ZERO);
    let connect = ViewRequest::Connect { cnxn, session_id: 0, password, timeout_ms: 20_000, last_zxid_seen };
    commit.submit(now, Uplink { items: vec![connect], ..Uplink::default() });
    let EntryKind::Session(SessionKind::Created { session_id, .. }) =
        group(&mut commit).unwrap().deltas.entries[0].what
    else {
        panic!("no session");
    };
    let long = "p".repeat(5_000);
    for n in 0..4_000 {
        let mut bytes = Vec::new();
        put_create(&mut bytes, &format!("/{long}{n}"), b"", 5);
        bytes.put_i64(1);
        let (op, body, ids) = (OpCode::CREATE_TTL, 0..bytes.len(), Arc::from([]));
        let origin = cnxn.into();
        let request = Request { origin, session_id, xid: n, op, body, ids };
        commit.submit(now, Uplink { bytes, items: vec![ViewRequest::Request(request)], ..Uplink::default() });
        assert!(matches!(
            group(&mut commit).unwrap().deltas.entries[0].what,
            EntryKind::Txn(TxnKind::Done(_))
        ));
    }
    let mut groups = 0;
    (now.mono_us, now.wall_ms) = (now.mono_us + 61_000_000, now.wall_ms + 61_000);
    loop {
        commit.tick(now);
        let Some(proposed) = group(&mut commit) else { break };
        groups += 1;
        assert!(proposed.records.bytes() < 5 << 20, "{} bytes", proposed.records.bytes());
    }
    assert!(groups > 3, "{groups} groups");
    assert_eq!(dump(commit.tree()).keys().filter(|path| path.starts_with(b"/p")).count(), 0);
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
    let ttl = request(1, OpCode::CREATE_TTL, |out| {
        put_create(out, "/p/l-", b"", 6);
        out.put_i64(5);
    });
    assert_eq!(path(net.call(a, ttl)), "/p/l-0000000004");
    net.check_replay();
}

/// Which error wins where several apply.
#[test]
fn error_precedence() {
    let mut net = Net::new();
    let a = net.connect(0);
    let acl = |perms: Perms| vec![Acl { perms, id: Id::new("world", "anyone") }];
    let create_acl = |path: &'static str, acl: Vec<Acl>, flags: i32| {
        request(1, OpCode::CREATE, move |out| put_create_acl(out, path, b"", &acl, flags))
    };
    let set_acl = |path: &'static str, acl: Vec<Acl>, version: i32| {
        request(1, OpCode::SET_ACL, move |out| {
            out.put_string(path.as_bytes());
            put_acls(out, &acl);
            out.put_i32(version);
        })
    };
    net.ok(a, create(1, "/e", 1));
    net.ok(a, create(1, "/p", 0));
    net.ok(a, create(1, "/p/c", 0));
    net.ok(a, create_acl("/locked", acl(Perms::READ), 0));
    net.ok(a, create_acl("/dark", acl(Perms::WRITE), 0));
    let ttl = |flags: i32, ttl_ms: i64| {
        request(1, OpCode::CREATE_TTL, move |out| {
            put_create(out, "/missing/x", b"", flags);
            out.put_i64(ttl_ms);
        })
    };
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
    net.settle();
    assert_eq!(brief(&net.got(a)), ["1:0", "2:0", "3:0", "4:0"]);
}

/// What a client pipelines behind its connect request waits for the session.
#[test]
fn pipelined_behind_connect() {
    let mut net = Net::new();
    let a = net.open(0);
    net.send_connect(a, 0, &[0; 16], 5_000);
    net.send_all(a, &[create(1, "/x", 1), get(2, "/x")]);
    net.settle();
    assert_ne!(net.connected(a).session_id, 0);
    assert_eq!(brief(&net.got(a)), ["1:0", "2:0"]);
}

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
    net.settle();
    assert!(net.clients[b].inbox.is_empty());
    net.send_connect(b, 0, &[0; 16], 5_000);
    net.settle();
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

/// An image that is taken in slices while the tree changes gives the tree, digest included, as it was
/// when the image began, and the log from there gives the newest.
#[test]
fn image_while_changes_go_on() {
    let mut net = Net::new();
    let a = net.connect(0);
    let mut random = 7u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut change = move |net: &mut Net| {
        let frames: Vec<_> = (0..4)
            .map(|_| {
                let (dir, name) = (next(5), next(12));
                let path = format!("/d{dir}/n{name}");
                match next(6) {
                    0 => create(1, &format!("/d{dir}"), 0),
                    1 => create(1, &path, i32::from(next(2) == 0)),
                    2 => set(1, &path, format!("{name}").as_bytes(), -1),
                    3 => delete(1, &path, -1),
                    4 => multi(
                        1,
                        &[
                            (OpCode::CREATE, body(create(0, &path, 0))),
                            (OpCode::DELETE, body(delete(0, &format!("/d{dir}/n{}", next(12)), -1))),
                        ],
                    ),
                    _ => create(1, &format!("/d{dir}/s"), 2),
                }
            })
            .collect();
        net.send_all(a, &frames);
        net.settle();
        net.got(a);
    };
    (0..100).for_each(|_| change(&mut net));
    for _ in 0..10 {
        let (zxid, digest, sessions) = net.views[0].begin_image(ImageOf::Snapshot);
        assert_eq!(zxid, net.commit.zxid());
        let wanted = dump(net.commit.tree());
        let mut nodes: Vec<NodeImage> = Vec::new();
        while net.views[0].image_slice(ImageOf::Snapshot, 7, usize::MAX, &mut nodes) {
            change(&mut net);
        }
        let mut tree = Tree::empty(tree_settings());
        nodes.into_iter().for_each(|node| tree.restore(node));
        tree.link_restored().unwrap();
        assert_eq!(dump(&tree), wanted);
        assert_eq!(tree.digest(), digest);
        let quotas = Quotas::of(&tree);
        let acls = AclTable::new(1);
        let mut restored = Database { tree, quotas, acls, sessions: sessions.into_iter().collect(), zxid };
        let mut recovery = Recovery::new(SEGMENT_BYTES);
        let each = |entry: LogEntry<'_>| match entry {
            LogEntry::Txn(record, txn) if record > zxid => restored.replay(record, txn).unwrap(),
            _ => {}
        };
        recovery.segment(&net.log, 1, LogPlace::Newest, each).unwrap();
        assert_eq!(dump(&restored.tree), dump(net.commit.tree()));
    }
    net.check_replay();
}

/// A server that starts again has its sessions and their ephemerals, and goes on where it was.
#[test]
fn restart() {
    let mut net = Net::new();
    let a = net.connect(0);
    let id = net.clients[a].session_id;
    net.ok(a, create(1, "/e", 1));
    let restored = net.replay();
    let zxid = restored.zxid;
    let mut net = Net::restored(settings(), restored);
    let b = net.open(1);
    net.send_connect(b, id, &password(id), 10_000);
    net.settle();
    assert_eq!(net.connected(b).session_id, id);
    assert_eq!(net.stat(b, "/e").ephemeral_owner, id);
    let got = net.call(b, create(2, "/x", 0));
    assert_eq!(got.zxid(), zxid.next().unwrap().to_wire());
    // The clock of this server has not moved on, and still the next session is another one.
    let c = net.connect(0);
    assert_ne!(net.clients[c].session_id, id);
}

/// What an auth packet vouches for, `auth` entries stand for, and getACL shows without the hash to who
/// may not administer.
#[test]
fn auth_and_acls() {
    let mut net = Net::new();
    let (a, b) = (net.connect(0), net.connect(1));
    let packet = |scheme: &'static str| {
        request(-4, OpCode::AUTH, move |out| {
            out.put_i32(0);
            out.put_string(scheme.as_bytes());
            out.put_buffer(Some(b"user:secret"));
        })
    };
    let mine = [
        Acl { perms: Perms::ALL, id: Id::new("auth", "") },
        Acl { perms: Perms::READ, id: Id::new("world", "anyone") },
    ];
    let create = || request(1, OpCode::CREATE, |out| put_create_acl(out, "/mine", b"", &mine, 0));
    assert_eq!(net.err(a, create()), -114);
    let got = net.call(a, packet("digest"));
    assert_eq!((got.brief().as_str(), got.zxid()), ("-4:0", 0));
    net.ok(a, create());
    assert_eq!(net.err(b, set(2, "/mine", b"", -1)), -102);
    net.ok(a, set(2, "/mine", b"", -1));
    let mut shown = |client| {
        let got = net.call(client, request(3, OpCode::GET_ACL, |out| out.put_string(b"/mine")));
        let mut reader = Reader::new(got.body());
        let acls = crate::proto::acl::read_acls(&mut reader).unwrap();
        let id = |acl: &RawAcl<'_>| String::from_utf8(acl.id.unwrap().to_vec()).unwrap();
        acls.iter().map(id).collect::<Vec<_>>()
    };
    assert_ne!(shown(a), ["user:x", "anyone"]);
    assert_eq!(shown(b), ["user:x", "anyone"]);
    assert_eq!(net.call(b, packet("nonsense")).brief(), "-4:-115");
    assert!(matches!(net.clients[b].closed, Some(CloseReason::Auth(_))));
    net.check_replay();
}

/// However much arrives or expires at once, a group stays small, in order, and nothing is lost.
#[test]
fn groups_are_bounded() {
    let mut net = Net::new();
    let clients: Vec<_> = (0..8).map(|view| net.connect(view % 2)).collect();
    let groups = |net: &mut Net| {
        let mut sizes = Vec::new();
        net.up();
        while let Some(Proposed { records, deltas, through, .. }) = net.commit.take(Default::default()) {
            sizes.push(records.bytes());
            net.commit.committed(through);
            net.publish(&deltas);
            net.up();
        }
        sizes
    };
    let check = |sizes: &[usize]| {
        assert!(sizes.len() > 1 && sizes.iter().all(|bytes| *bytes < 6 << 20), "{sizes:?}");
    };
    for &client in &clients {
        let name = "n".repeat(900);
        let ephemerals =
            (0..950).map(|n| (OpCode::CREATE, body(create(0, &format!("/{client}-{name}{n}"), 1))));
        net.send(client, &multi(1, &ephemerals.collect::<Vec<_>>()));
        net.send(client, &create(2, &format!("/{client}"), 0));
    }
    check(&groups(&mut net));
    for &client in &clients {
        assert_eq!(brief(&net.got(client)), ["1:0", "2:0"]);
    }
    assert_eq!(net.commit.tree().ephemeral_count(), 8 * 950);
    net.now.mono_us += 60_000_000;
    net.commit.tick(net.now);
    check(&groups(&mut net));
    assert_eq!((net.commit.tree().ephemeral_count(), net.commit.session_count()), (0, 0));
    assert!(clients.iter().all(|client| net.clients[*client].closed.is_some()));
}

/// Neither ids nor access lists nor a multi grow into a txn that the log does not take: the request
/// fails, and the server goes on.
#[test]
fn oversized_txns_are_refused() {
    let mut net = Net::new();
    let a = net.connect(0);
    let packet = |user: String| {
        request(-4, OpCode::AUTH, move |out| {
            out.put_i32(0);
            out.put_string(b"digest");
            out.put_buffer(Some(format!("{user}:x").as_bytes()));
        })
    };
    assert_eq!(net.call(a, packet("u".repeat(900_000))).brief(), "-4:0");
    let auth = |count: i32| -> Vec<Acl> {
        (1..=count).map(|perms| Acl { perms: Perms(perms), id: Id::new("auth", "") }).collect()
    };
    let create =
        |path: String, acl: &[Acl]| request(1, OpCode::CREATE, |out| put_create_acl(out, &path, b"", acl, 0));
    assert_eq!(net.err(a, create("/x".to_owned(), &auth(2))), -114);
    net.ok(a, create("/one".to_owned(), &auth(1)));
    let ops: Vec<_> = (0..70).map(|n| (OpCode::CREATE, body(create(format!("/m{n}"), &auth(1))))).collect();
    let zxid = net.commit.zxid();
    let before = dump(net.commit.tree());
    assert_eq!(net.err(a, multi(2, &ops)), -5);
    assert_eq!(net.commit.zxid(), zxid.next().unwrap());
    assert_eq!(dump(net.commit.tree()), before);
    assert_eq!(net.call(a, packet("v".repeat(900_000))).brief(), "-4:-115");
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

fn watch_all(net: &mut Net, client: usize) {
    let frame = request(1, OpCode::ADD_WATCH, |out| {
        out.put_string(b"/");
        out.put_i32(1);
    });
    net.send(client, &frame);
    net.settle();
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
            net.settle();
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
    net.settle();
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
