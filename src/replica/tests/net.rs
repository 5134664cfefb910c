//! Commit side and views in memory: clients are byte strings, the disk is a log of groups.

use crate::auth::Policy;
use crate::database::Database;
use crate::proto::acl::put_acls;
use crate::proto::reply::MultiHeader;
use crate::proto::{
    Acl, ConnectRequest, ConnectResponse, JuteWrite, OpCode, Reader, ReplyHeader, SessionId, Stat,
    WatcherEvent, XID_NOTIFICATION, Zxid, jute,
};
use crate::replica::{CloseReason, Commit, CommitSettings, Deltas, Now, Place, Proposed, View, ViewSettings};
use crate::tree::{self, Digests, Tree};
use crate::wal::{Entry as LogEntry, GroupEncoder, Place as LogPlace, Recovery};
use bytes::BufMut;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const SEGMENT_BYTES: usize = 8 << 20;
const TICK_MS: i64 = 1000;

pub fn tree_settings() -> tree::Settings {
    tree::Settings { extended_types: tree::ExtendedTypes::On, digests: Digests::Kept, hash_seed: 1 }
}

pub fn settings() -> CommitSettings {
    CommitSettings {
        extended_types: true,
        enforce_quota: true,
        container_never_used_ms: 300_000,
        ..CommitSettings::new(2, TICK_MS as i32)
    }
}

/// A server with two views, its log, and its clients.
pub struct Net {
    pub now: Now,
    pub commit: Commit,
    pub views: Vec<View>,
    pub encoder: GroupEncoder,
    pub log: Vec<u8>,
    pub clients: Vec<Client>,
}

/// What a client has on its side.
pub struct Client {
    pub view: usize,
    pub place: Place,
    pub inbox: Vec<u8>,
    pub session_id: SessionId,
    pub closed: Option<CloseReason>,
    /// Whether it takes what it is sent.
    pub takes: bool,
}

/// A frame as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Event { kind: i32, path: String, zxid: i64 },
    Reply { xid: i32, zxid: i64, err: i32, body: Vec<u8> },
}

impl Got {
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Reply { body, err: 0, .. } => body,
            other => panic!("not a success: {other:?}"),
        }
    }

    pub fn zxid(&self) -> i64 {
        match self {
            Self::Reply { zxid, .. } | Self::Event { zxid, .. } => *zxid,
        }
    }

    /// `xid:err` or `kind path`.
    pub fn brief(&self) -> String {
        match self {
            Self::Event { kind, path, .. } => format!("{kind} {path}"),
            Self::Reply { xid, err, .. } => format!("{xid}:{err}"),
        }
    }
}

pub fn brief(got: &[Got]) -> Vec<String> {
    got.iter().map(Got::brief).collect()
}

pub type Frame = Vec<u8>;

pub fn request(xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Frame {
    let mut out = Vec::new();
    jute::frame(&mut out, |out| {
        out.put_i32(xid);
        out.put_i32(op.0);
        body(out);
    });
    out
}

pub fn put_create(out: &mut Vec<u8>, path: &str, data: &[u8], flags: i32) {
    put_create_acl(out, path, data, &[Acl::open()], flags);
}

pub fn put_create_acl(out: &mut Vec<u8>, path: &str, data: &[u8], acl: &[Acl], flags: i32) {
    out.put_string(path.as_bytes());
    out.put_buffer(Some(data));
    put_acls(out, acl);
    out.put_i32(flags);
}

pub fn create(xid: i32, path: &str, flags: i32) -> Frame {
    request(xid, OpCode::CREATE, |out| put_create(out, path, b"", flags))
}

pub fn set(xid: i32, path: &str, data: &[u8], version: i32) -> Frame {
    request(xid, OpCode::SET_DATA, |out| {
        out.put_string(path.as_bytes());
        out.put_buffer(Some(data));
        out.put_i32(version);
    })
}

pub fn delete(xid: i32, path: &str, version: i32) -> Frame {
    request(xid, OpCode::DELETE, |out| {
        out.put_string(path.as_bytes());
        out.put_i32(version);
    })
}

pub fn read(xid: i32, op: OpCode, path: &str, watch: bool) -> Frame {
    request(xid, op, |out| {
        out.put_string(path.as_bytes());
        out.put_bool(watch);
    })
}

pub fn get(xid: i32, path: &str) -> Frame {
    read(xid, OpCode::GET_DATA, path, false)
}

pub fn close(xid: i32) -> Frame {
    request(xid, OpCode::CLOSE_SESSION, |_| ())
}

/// A multi of operations whose bodies are written as they are.
pub fn multi(xid: i32, ops: &[(OpCode, Vec<u8>)]) -> Frame {
    request(xid, OpCode::MULTI, |out| {
        for (op, body) in ops {
            MultiHeader { op: *op, done: false, err: -1 }.put(out);
            out.put_slice(body);
        }
        MultiHeader::END.put(out);
    })
}

/// The body of a request, for [`multi`].
pub fn body(frame: Frame) -> Vec<u8> {
    frame[12..].to_vec()
}

pub fn password(session_id: SessionId) -> Vec<u8> {
    crate::session::password(session_id).to_vec()
}

impl Net {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: CommitSettings) -> Self {
        Self::restored(settings, Database::fresh(tree_settings()))
    }

    /// A server whose views have these settings, but that they serve.
    pub fn with_views(view_settings: impl Fn(u16) -> ViewSettings) -> Self {
        Self::made_of(settings(), view_settings, Database::fresh(tree_settings()), Policy::default())
    }

    pub fn restored(settings: CommitSettings, restored: Database) -> Self {
        Self::made_of(settings, ViewSettings::new, restored, Policy::default())
    }

    /// One whose clients are subject to `policy`.
    pub fn with_policy(policy: Policy) -> Self {
        Self::made_of(settings(), ViewSettings::new, Database::fresh(tree_settings()), policy)
    }

    fn made_of(
        settings: CommitSettings,
        view_settings: impl Fn(u16) -> ViewSettings,
        restored: Database,
        policy: Policy,
    ) -> Self {
        let policy = Arc::new(policy);
        let views = (0..settings.views).map(|number| {
            let settings = ViewSettings { serving: true, ..view_settings(number) };
            let (tree, sessions) = (restored.tree.for_view(), restored.sessions.clone());
            View::new(settings, policy.clone(), tree, restored.zxid, sessions, restored.tree.digest())
        });
        let views = views.collect();
        let now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
        let encoder = GroupEncoder::new(SEGMENT_BYTES, 1, restored.zxid);
        let commit = Commit::new(settings, policy, restored, now);
        Self { now, commit, views, encoder, log: vec![0; SEGMENT_BYTES], clients: Vec::new() }
    }

    pub fn open(&mut self, view: usize) -> usize {
        let place = self.views[view].open("10.0.0.1:5".parse().unwrap(), self.now);
        let client =
            Client { view, place, inbox: Vec::new(), session_id: SessionId::NONE, closed: None, takes: true };
        self.clients.push(client);
        self.clients.len() - 1
    }

    pub fn send_connect(&mut self, client: usize, session_id: SessionId, password: &[u8], timeout_ms: i32) {
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
    pub fn connected(&mut self, client: usize) -> ConnectResponse {
        self.collect();
        let inbox = &mut self.clients[client].inbox;
        assert!(inbox.len() >= 4, "no connect response");
        let length = u32::from_be_bytes(inbox[..4].try_into().unwrap()) as usize;
        let response = ConnectResponse::read(&mut Reader::new(&inbox[4..4 + length])).unwrap();
        inbox.drain(..4 + length);
        self.clients[client].session_id = response.session_id;
        response
    }

    pub fn connect(&mut self, view: usize) -> usize {
        let client = self.open(view);
        self.send_connect(client, SessionId::NONE, &[0; 16], 10_000);
        self.run_until_idle();
        assert_eq!(self.connected(client).timeout_ms, 10_000);
        client
    }

    pub fn send(&mut self, client: usize, bytes: &[u8]) {
        let Client { view, place, .. } = self.clients[client];
        self.views[view].receive(place, bytes, self.now);
    }

    pub fn send_all(&mut self, client: usize, frames: &[Frame]) {
        self.send(client, &frames.concat());
    }

    /// Does what a view's shell does: looks at connections, takes their output, closes them.
    pub fn collect(&mut self) {
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

    pub fn up(&mut self) {
        for view in &mut self.views {
            while let Some(uplink) = view.take_uplink() {
                self.commit.submit(self.now, uplink);
            }
        }
        self.commit.proceed(self.now);
    }

    /// One group to the log; what the views learn after that.
    pub fn log(&mut self) -> Option<Deltas> {
        let Proposed { records, deltas, through, .. } = self.commit.take(Default::default())?;
        if !records.is_empty() {
            let (from, bytes) = (self.encoder.offset(), self.encoder.group_bytes(&records));
            self.encoder.encode(&records, &mut self.log[from..from + bytes]);
        }
        self.commit.committed(through);
        Some(deltas)
    }

    pub fn publish(&mut self, deltas: &Deltas) {
        self.views.iter_mut().for_each(|view| view.apply(deltas, self.now));
        self.collect();
    }

    /// Lets everything that is under way come to rest.
    pub fn run_until_idle(&mut self) {
        loop {
            self.collect();
            self.up();
            let Some(deltas) = self.log() else { break };
            self.publish(&deltas);
        }
        self.collect();
    }

    pub fn pass(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.now.mono_us += 100_000;
            self.now.wall_ms += 100;
            self.views.iter_mut().for_each(|view| view.tick(self.now));
            self.up();
            self.commit.tick(self.now);
            self.run_until_idle();
        }
    }

    pub fn got(&mut self, client: usize) -> Vec<Got> {
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
    pub fn call(&mut self, client: usize, frame: Frame) -> Got {
        self.send(client, &frame);
        self.run_until_idle();
        let mut got = self.got(client);
        assert_eq!(got.len(), 1, "{got:?}");
        got.remove(0)
    }

    pub fn err(&mut self, client: usize, frame: Frame) -> i32 {
        match self.call(client, frame) {
            Got::Reply { err, .. } => err,
            event => panic!("{event:?}"),
        }
    }

    pub fn ok(&mut self, client: usize, frame: Frame) {
        assert_eq!(self.err(client, frame), 0);
    }

    pub fn stat(&mut self, client: usize, path: &str) -> Stat {
        let got = self.call(client, read(9999, OpCode::EXISTS, path, false));
        Stat::read(&mut Reader::new(got.body())).unwrap()
    }

    pub fn data(&mut self, client: usize, path: &str) -> String {
        let got = self.call(client, get(9999, path));
        let data = Reader::new(got.body()).buffer().unwrap().unwrap().to_vec();
        String::from_utf8(data).unwrap()
    }

    /// What a server that starts on this log knows.
    pub fn replay(&self) -> Database {
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
    pub fn check_replay(&self) {
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
pub fn dump(tree: &Tree) -> BTreeMap<Vec<u8>, (Vec<u8>, String, Stat)> {
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

pub fn watch_all(net: &mut Net, client: usize) {
    let frame = request(1, OpCode::ADD_WATCH, |out| {
        out.put_string(b"/");
        out.put_i32(1);
    });
    net.send(client, &frame);
    net.run_until_idle();
}
