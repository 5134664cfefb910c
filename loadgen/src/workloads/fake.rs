//! A server with a small tree and a thread per connection, which can be made to lie.

use crate::engine::wire;
use bytes::BufMut;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use zkfast::proto::event::put_event;
use zkfast::proto::jute::{JuteWrite, Reader, frame};
use zkfast::proto::reply::MultiHeader;
use zkfast::proto::request::{
    self, Create, MultiOp, PathVersion, PathWatch, RequestHeader, SetData, read_multi,
};
use zkfast::proto::{
    ConnectRequest, ErrorCode, EventType, OpCode, ReplyHeader, SessionId, Stat, XID_PING, Zxid,
};

/// What is wrong with some replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// The data of a get is a byte short.
    ShortData,
    /// A set, a delete or a list is answered with NoNode.
    Error,
    /// A reply has the xid of the next one.
    Order,
    /// A reply has a zxid from long ago.
    PastZxid,
    /// The server closes the connection.
    HangUp,
    /// An ephemeral has no owner.
    Owner,
    /// A multi has one result less.
    ShortMulti,
    /// A get shows a Stat from before the last write.
    Stale,
    /// A list lacks its first child, which in a lock's queue is the holder.
    ShortList,
    /// One watcher gets no event of a change.
    NoEvent,
    /// Watchers get two events of a change.
    TwoEvents,
    /// The event of a change names another znode.
    OtherEvent,
    /// The version of a setData skips one.
    Version,
    /// Two sessions get the same id.
    SameSession,
}

/// A znode, and the sessions that watch it.
#[derive(Debug, Default)]
struct Znode {
    data: Vec<u8>,
    stat: Stat,
    next_sequence: u32,
    watchers: Vec<SessionId>,
}

/// What a fake server has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Frames that it received.
    pub frames: u64,
    /// Sessions that were opened, new ones and known ones.
    pub sessions: u64,
    /// Connections that [`Lie::HangUp`] closed.
    pub hang_ups: u64,
}

#[derive(Debug, Default)]
struct Tree {
    znodes: BTreeMap<Vec<u8>, Znode>,
    counter: u32,
    sessions: i64,
    done: Done,
    /// The socket of each session, for its events.
    sockets: BTreeMap<SessionId, TcpStream>,
}

/// A fake server; clones share its tree.
#[derive(Clone, Debug)]
pub struct Fake {
    lie: Lie,
    /// One reply in this many is a lie.
    every: u32,
    tree: Arc<Mutex<Tree>>,
}

impl Fake {
    /// A server that lies once in `every` replies of a connection.
    pub fn new(lie: Lie, every: u32) -> Self {
        Self { lie, every, tree: Arc::default() }
    }

    /// A server of the same tree that does not lie.
    pub fn honest(&self) -> Self {
        self.with(Lie::None, 1)
    }

    /// A server of the same tree with other lies.
    pub fn with(&self, lie: Lie, every: u32) -> Self {
        Self { lie, every, ..self.clone() }
    }

    /// What all servers of its tree have done so far.
    pub fn done(&self) -> Done {
        self.tree().done
    }

    /// Listens on a free port of this machine, for as long as the test process lives.
    pub fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port").to_string();
        let fake = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let fake = fake.clone();
                std::thread::spawn(move || fake.answer(stream.expect("a connection")));
            }
        });
        address
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().expect("no thread of the fake panics")
    }

    fn answer(&self, mut stream: TcpStream) {
        let (mut bytes, mut scratch) = (Vec::new(), vec![0; 64 << 10]);
        stream.set_nodelay(true).expect("a socket");
        let (mut frames, mut session, mut closing) = (0, SessionId::NONE, false);
        while let Ok(read @ 1..) = stream.read(&mut scratch) {
            bytes.extend_from_slice(&scratch[..read]);
            let mut rest = &bytes[..];
            while let Some((body, after)) = wire::split_frame(rest, usize::MAX).expect("a frame") {
                rest = after;
                frames += 1;
                let lie = if frames > self.every && frames % self.every == 0 { self.lie } else { Lie::None };
                let mut out = Vec::new();
                // The lock keeps replies and events of a session in the order of the tree's changes.
                let mut tree = self.tree();
                tree.done.frames += 1;
                if lie == Lie::HangUp {
                    tree.done.hang_ups += 1;
                    tree.end(session, false);
                    return;
                }
                if frames == 1 {
                    session = tree.put_session(&mut out, body, self.lie);
                    tree.sockets.insert(session, stream.try_clone().expect("a socket"));
                } else {
                    closing = body[4..8] == OpCode::CLOSE_SESSION.0.to_be_bytes();
                    tree.put_answer(&mut out, body, session, lie);
                }
                if stream.write_all(&out).is_err() || closing {
                    tree.end(session, true);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
            let consumed = bytes.len() - rest.len();
            bytes.drain(..consumed);
        }
    }
}

impl Tree {
    fn put_session(&mut self, out: &mut Vec<u8>, body: &[u8], lie: Lie) -> SessionId {
        let request = ConnectRequest::read(&mut Reader::new(body)).expect("a connect request");
        self.sessions += 1;
        self.done.sessions += 1;
        let session_id = match request.session_id {
            SessionId::NONE if lie == Lie::SameSession => SessionId(self.sessions / 2 + 1),
            SessionId::NONE => SessionId(self.sessions),
            again => again,
        };
        wire::put_session(out, session_id, 10_000, request.read_only);
        session_id
    }

    /// Ends a connection, and its session too if `is_over`.
    fn end(&mut self, session: SessionId, is_over: bool) {
        if let Some(socket) = self.sockets.remove(&session) {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        for znode in self.znodes.values_mut() {
            znode.watchers.retain(|watcher| *watcher != session);
        }
        let own = |znode: &Znode| znode.stat.ephemeral_owner == session;
        let owned: Vec<Vec<u8>> =
            self.znodes.iter().filter(|(_, znode)| own(znode)).map(|(path, _)| path.clone()).collect();
        for path in owned.iter().filter(|_| is_over) {
            let _ = self.delete(path);
        }
    }

    fn zxid(&self) -> Zxid {
        Zxid::new(0, self.counter)
    }

    fn send_event(&mut self, watchers: Vec<SessionId>, kind: EventType, path: &[u8], lie: Lie) {
        let mut out = Vec::new();
        let path = if lie == Lie::OtherEvent { &path[1..] } else { path };
        put_event(&mut out, Some(self.zxid()), kind, path);
        let left_out = usize::from(lie == Lie::NoEvent);
        for watcher in watchers.iter().skip(left_out) {
            for _ in 0..if lie == Lie::TwoEvents { 2 } else { 1 } {
                if let Some(mut socket) = self.sockets.get(watcher) {
                    let _ = socket.write_all(&out);
                }
            }
        }
    }

    fn create(
        &mut self,
        create: &Create<'_>,
        session: SessionId,
        lie: Lie,
    ) -> Result<(Vec<u8>, Stat), ErrorCode> {
        let mut path = create.path.unwrap_or_default().to_vec();
        if create.flags & 2 != 0 {
            let parent = path.rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default().to_vec();
            let parent = self.znodes.entry(parent).or_default();
            path.extend_from_slice(format!("{:010}", parent.next_sequence).as_bytes());
            parent.next_sequence += 1;
        }
        if self.znodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        self.counter += 1;
        let is_owned = create.flags & 1 != 0 && lie != Lie::Owner;
        let data = create.data.unwrap_or_default().to_vec();
        let stat = Stat {
            czxid: self.zxid(),
            mzxid: self.zxid(),
            ephemeral_owner: if is_owned { session } else { SessionId::NONE },
            data_bytes: data.len() as i32,
            ..Stat::default()
        };
        self.znodes.insert(path.clone(), Znode { data, stat, ..Znode::default() });
        Ok((path, stat))
    }

    fn delete(&mut self, path: &[u8]) -> Result<(), ErrorCode> {
        let znode = self.znodes.remove(path).ok_or(ErrorCode::NoNode)?;
        self.counter += 1;
        self.send_event(znode.watchers, EventType::NodeDeleted, path, Lie::None);
        Ok(())
    }

    /// Sets data as part of the txn number `counter`.
    fn set(&mut self, set: &SetData<'_>, lie: Lie) -> Result<Stat, ErrorCode> {
        let (path, zxid) = (set.path.unwrap_or_default(), self.zxid());
        let znode = self.znodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        if set.version != -1 && set.version != znode.stat.version {
            return Err(ErrorCode::BadVersion);
        }
        znode.data = set.data.unwrap_or_default().to_vec();
        znode.stat.version += if lie == Lie::Version { 2 } else { 1 };
        znode.stat.mzxid = zxid;
        znode.stat.data_bytes = znode.data.len() as i32;
        let (stat, watchers) = (znode.stat, std::mem::take(&mut znode.watchers));
        self.send_event(watchers, EventType::NodeDataChanged, path, lie);
        Ok(stat)
    }

    fn children(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let prefix = [path, b"/"].concat();
        let below = self.znodes.range(prefix.clone()..).map(|(path, _)| path);
        let below = below.take_while(|path| path.starts_with(&prefix)).map(|path| &path[prefix.len()..]);
        below.filter(|name| !name.contains(&b'/')).map(<[u8]>::to_vec).collect()
    }

    fn put_answer(&mut self, out: &mut Vec<u8>, request: &[u8], session: SessionId, lie: Lie) {
        let mut reader = Reader::new(request);
        let RequestHeader { xid, op } = RequestHeader::read(&mut reader).expect("a request");
        let mut body = Vec::new();
        let done = self.put_body(&mut body, op, &mut reader, session, lie);
        let xid = match op {
            OpCode::PING => XID_PING,
            _ if lie == Lie::Order => xid + 1,
            _ => xid,
        };
        let zxid = if lie == Lie::PastZxid { 0 } else { self.zxid().to_wire() };
        let err = done.err().map_or(0, ErrorCode::to_wire);
        frame(out, |out| {
            ReplyHeader { xid, zxid, err }.put(out);
            if err == 0 {
                out.put_slice(&body);
            }
        });
    }

    fn put_body(
        &mut self,
        out: &mut Vec<u8>,
        op: OpCode,
        reader: &mut Reader<'_>,
        session: SessionId,
        lie: Lie,
    ) -> Result<(), ErrorCode> {
        let is_error = lie == Lie::Error;
        match op {
            OpCode::GET_DATA => {
                let get = PathWatch::read(reader).expect("a getData");
                let znode = self.znodes.get_mut(get.path).ok_or(ErrorCode::NoNode)?;
                if get.watch {
                    znode.watchers.push(session);
                }
                let cut = usize::from(lie == Lie::ShortData);
                out.put_buffer(Some(&znode.data[..znode.data.len() - cut]));
                let mzxid = if lie == Lie::Stale { Zxid::ZERO } else { znode.stat.mzxid };
                Stat { mzxid, ..znode.stat }.put(out);
            }
            OpCode::SET_DATA | OpCode::DELETE | OpCode::GET_CHILDREN if is_error => {
                return Err(ErrorCode::NoNode);
            }
            OpCode::SET_DATA => {
                self.counter += 1;
                self.set(&SetData::read(reader).expect("a setData"), lie)?.put(out);
            }
            OpCode::DELETE => {
                let delete = PathVersion::read(reader).expect("a delete");
                self.delete(delete.path.unwrap_or_default())?;
            }
            OpCode::CREATE | OpCode::CREATE2 => {
                let create = Create::read(reader, op).expect("a create");
                let (path, stat) = self.create(&create, session, lie)?;
                out.put_string(&path);
                if op == OpCode::CREATE2 {
                    stat.put(out);
                }
            }
            OpCode::GET_CHILDREN => {
                let path = PathWatch::read(reader).expect("a getChildren").path;
                let children = self.children(path);
                let children = &children[usize::from(lie == Lie::ShortList).min(children.len())..];
                out.put_count(children.len());
                children.iter().for_each(|child| out.put_string(child));
            }
            OpCode::MULTI => {
                self.counter += 1;
                let ops = read_multi(reader).expect("a multi");
                for op in &ops[usize::from(lie == Lie::ShortMulti)..] {
                    let MultiOp::SetData(set) = op else { return Err(ErrorCode::Unimplemented) };
                    MultiHeader { op: OpCode::SET_DATA, done: false, err: 0 }.put(out);
                    self.set(set, Lie::None)?.put(out);
                }
                MultiHeader::END.put(out);
            }
            OpCode::SYNC => out.put_string(request::path(reader).expect("a path")),
            _ => {}
        }
        Ok(())
    }
}
