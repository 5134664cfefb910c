//! One client connection as a state machine: requests to bytes, bytes to replies and events.
//!
//! Replies carry no type: what a frame means follows from the request at the head of the queue.
//! [`Session`] keeps that queue, checks that the server answers in order, and hands out replies and
//! events as one stream in the order in which they came, which is the order that ZooKeeper's
//! promises about watches are made of.

use crate::proto::acl::put_acls;
use crate::proto::jute::{self, JuteWrite, Reader, Short};
use crate::proto::reply::MultiHeader;
use crate::proto::{
    Acl, ConnectRequest, ConnectResponse, OpCode, ReplyHeader, Stat, WatcherEvent, XID_AUTH,
    XID_NOTIFICATION, XID_PING, XID_SET_WATCHES, Zxid,
};
use bytes::BufMut;
use std::collections::VecDeque;

/// Every request of 3.9. Fields are not checked: a client may ask for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // fields are named as in `zookeeper.jute`
pub enum Request {
    /// create, create2, createContainer or createTTL, by `op`; `ttl_ms` is sent with createTTL only.
    Create { op: OpCode, path: Vec<u8>, data: Option<Vec<u8>>, acl: Vec<Acl>, flags: i32, ttl_ms: i64 },
    /// delete.
    Delete { path: Vec<u8>, version: i32 },
    /// exists.
    Exists { path: Vec<u8>, watch: bool },
    /// getData.
    GetData { path: Vec<u8>, watch: bool },
    /// setData.
    SetData { path: Vec<u8>, data: Option<Vec<u8>>, version: i32 },
    /// getACL.
    GetAcl { path: Vec<u8> },
    /// setACL.
    SetAcl { path: Vec<u8>, acl: Vec<Acl>, version: i32 },
    /// getChildren.
    GetChildren { path: Vec<u8>, watch: bool },
    /// getChildren2: with the Stat.
    GetChildren2 { path: Vec<u8>, watch: bool },
    /// sync.
    Sync { path: Vec<u8> },
    /// ping; its xid is -2.
    Ping,
    /// check; by itself an unknown operation, known in a multi.
    Check { path: Vec<u8>, version: i32 },
    /// multi of creates, deletes, setDatas and checks.
    Multi { ops: Vec<Request> },
    /// multiRead of getDatas and getChildren.
    MultiRead { ops: Vec<Request> },
    /// checkWatches; `kind` is a `WatcherType`'s number.
    CheckWatches { path: Vec<u8>, kind: i32 },
    /// removeWatches; `kind` is a `WatcherType`'s number.
    RemoveWatches { path: Vec<u8>, kind: i32 },
    /// addWatch; `mode` is an `AddWatchMode`'s number: 0 persistent, 1 persistent recursive.
    AddWatch { path: Vec<u8>, mode: i32 },
    /// setWatches; data, exist and child watches. Its xid is -8.
    SetWatches { relative_zxid: Zxid, lists: [Vec<Vec<u8>>; 3] },
    /// setWatches2; data, exist, child, persistent and persistent recursive watches. Its xid is -8.
    SetWatches2 { relative_zxid: Zxid, lists: [Vec<Vec<u8>>; 5] },
    /// auth; its xid is -4.
    Auth { scheme: Vec<u8>, auth: Option<Vec<u8>> },
    /// sasl: a token of an exchange, which nothing else may interrupt.
    Sasl { token: Vec<u8> },
    /// getEphemerals of the own session.
    GetEphemerals { prefix: Vec<u8> },
    /// getAllChildrenNumber.
    GetAllChildrenNumber { path: Vec<u8> },
    /// whoAmI.
    WhoAmI,
    /// reconfig.
    Reconfig {
        joining: Option<Vec<u8>>,
        leaving: Option<Vec<u8>>,
        new_members: Option<Vec<u8>>,
        config_id: i64,
    },
    /// closeSession: the server answers, then closes the connection.
    CloseSession,
    /// Any opcode with any body, well formed or not.
    Raw { op: OpCode, body: Vec<u8> },
}

impl Request {
    /// The opcode in its header.
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create { op, .. } | Self::Raw { op, .. } => *op,
            Self::Delete { .. } => OpCode::DELETE,
            Self::Exists { .. } => OpCode::EXISTS,
            Self::GetData { .. } => OpCode::GET_DATA,
            Self::SetData { .. } => OpCode::SET_DATA,
            Self::GetAcl { .. } => OpCode::GET_ACL,
            Self::SetAcl { .. } => OpCode::SET_ACL,
            Self::GetChildren { .. } => OpCode::GET_CHILDREN,
            Self::GetChildren2 { .. } => OpCode::GET_CHILDREN2,
            Self::Sync { .. } => OpCode::SYNC,
            Self::Ping => OpCode::PING,
            Self::Check { .. } => OpCode::CHECK,
            Self::Multi { .. } => OpCode::MULTI,
            Self::MultiRead { .. } => OpCode::MULTI_READ,
            Self::CheckWatches { .. } => OpCode::CHECK_WATCHES,
            Self::RemoveWatches { .. } => OpCode::REMOVE_WATCHES,
            Self::AddWatch { .. } => OpCode::ADD_WATCH,
            Self::SetWatches { .. } => OpCode::SET_WATCHES,
            Self::SetWatches2 { .. } => OpCode::SET_WATCHES2,
            Self::Auth { .. } => OpCode::AUTH,
            Self::Sasl { .. } => OpCode::SASL,
            Self::GetEphemerals { .. } => OpCode::GET_EPHEMERALS,
            Self::GetAllChildrenNumber { .. } => OpCode::GET_ALL_CHILDREN_NUMBER,
            Self::WhoAmI => OpCode::WHO_AM_I,
            Self::Reconfig { .. } => OpCode::RECONFIG,
            Self::CloseSession => OpCode::CLOSE_SESSION,
        }
    }

    /// The xid that clients give to it, where it is not the next number.
    fn special_xid(&self) -> Option<i32> {
        match self.op() {
            OpCode::PING => Some(XID_PING),
            OpCode::AUTH => Some(XID_AUTH),
            OpCode::SET_WATCHES | OpCode::SET_WATCHES2 => Some(XID_SET_WATCHES),
            _ => None,
        }
    }

    /// Appends the request's body, without frame and header.
    pub fn put_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create { op, path, data, acl, flags, ttl_ms } => {
                out.put_string(path);
                out.put_buffer(data.as_deref());
                put_acls(out, acl);
                out.put_i32(*flags);
                if *op == OpCode::CREATE_TTL {
                    out.put_i64(*ttl_ms);
                }
            }
            Self::Exists { path, watch }
            | Self::GetData { path, watch }
            | Self::GetChildren { path, watch }
            | Self::GetChildren2 { path, watch } => {
                out.put_string(path);
                out.put_bool(*watch);
            }
            Self::SetData { path, data, version } => {
                out.put_string(path);
                out.put_buffer(data.as_deref());
                out.put_i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.put_string(path);
                put_acls(out, acl);
                out.put_i32(*version);
            }
            Self::GetAcl { path }
            | Self::Sync { path }
            | Self::GetEphemerals { prefix: path }
            | Self::GetAllChildrenNumber { path } => out.put_string(path),
            Self::Delete { path, version: number }
            | Self::Check { path, version: number }
            | Self::CheckWatches { path, kind: number }
            | Self::RemoveWatches { path, kind: number }
            | Self::AddWatch { path, mode: number } => {
                out.put_string(path);
                out.put_i32(*number);
            }
            Self::Multi { ops } | Self::MultiRead { ops } => {
                for op in ops {
                    MultiHeader { op: op.op(), done: false, err: -1 }.put(out);
                    op.put_body(out);
                }
                MultiHeader::END.put(out);
            }
            Self::SetWatches { relative_zxid, lists } => put_watches(out, *relative_zxid, lists),
            Self::SetWatches2 { relative_zxid, lists } => put_watches(out, *relative_zxid, lists),
            Self::Auth { scheme, auth } => {
                out.put_i32(0);
                out.put_string(scheme);
                out.put_buffer(auth.as_deref());
            }
            Self::Sasl { token } => out.put_buffer(Some(token)),
            Self::Reconfig { joining, leaving, new_members, config_id } => {
                for text in [joining, leaving, new_members] {
                    out.put_buffer(text.as_deref());
                }
                out.put_i64(*config_id);
            }
            Self::Ping | Self::WhoAmI | Self::CloseSession => {}
            Self::Raw { body, .. } => out.put_slice(body),
        }
    }
}

fn put_watches(out: &mut Vec<u8>, relative_zxid: Zxid, lists: &[Vec<Vec<u8>>]) {
    out.put_i64(relative_zxid.to_wire());
    for list in lists {
        out.put_count(list.len());
        for path in list {
            out.put_string(path);
        }
    }
}

/// What follows a reply's header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // fields are named as in `zookeeper.jute`
pub enum Body {
    /// Nothing: an error, or an operation that answers nothing else.
    Empty,
    /// Of create and sync.
    Path(Vec<u8>),
    /// Of the other creates.
    Created { path: Vec<u8>, stat: Stat },
    /// Of exists, setData and setACL.
    Stat(Stat),
    /// Of getData and reconfig; `None` is null.
    Data { data: Option<Vec<u8>>, stat: Stat },
    /// Of getACL.
    Acl { acl: Vec<Acl>, stat: Stat },
    /// Of getChildren and getEphemerals, in the server's order.
    Paths(Vec<Vec<u8>>),
    /// Of getChildren2, in the server's order.
    Children { children: Vec<Vec<u8>>, stat: Stat },
    /// Of sasl; `None` is null.
    Token(Option<Vec<u8>>),
    /// Of getAllChildrenNumber and addWatch.
    Number(i32),
    /// Of whoAmI: scheme and user.
    Identities(Vec<(Vec<u8>, Vec<u8>)>),
    /// Of multi and multiRead.
    Multi(Vec<OpResult>),
    /// Whatever followed an error, or answered an opcode that is not known here.
    Raw(Vec<u8>),
}

/// One result of a multi or multiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpResult {
    /// Type of the result; -1 for an error.
    pub op: OpCode,
    /// Code in the result's header.
    pub err: i32,
    /// What the operation by itself would have answered; [`Body::Number`], the code again, for an error.
    pub body: Body,
}

/// A reply and the request that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What had been asked.
    pub op: OpCode,
    /// xid, zxid and code.
    pub header: ReplyHeader,
    /// The rest.
    pub body: Body,
}

/// A watch notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The txn that made it; -1 where setWatches caught up.
    pub zxid: i64,
    /// Number of an [`EventType`](crate::proto::EventType).
    pub kind: i32,
    /// Number of a `KeeperState`.
    pub state: i32,
    /// The changed znode.
    pub path: Vec<u8>,
}

/// What a server sends after its connect response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// An answer.
    Reply(Reply),
    /// A notification.
    Event(Event),
}

/// What no server may send. The connection is of no use afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A frame longer than the client takes, or of negative length.
    #[error("frame of {bytes} bytes, limit {limit}")]
    Length {
        /// As read.
        bytes: i32,
        /// The client's limit.
        limit: usize,
    },
    /// A reply out of order, or to nothing.
    #[error("reply with xid {got}, expected {expected:?}")]
    Order {
        /// xid of the reply.
        got: i32,
        /// xid of the oldest request without a reply.
        expected: Option<i32>,
    },
    /// A body that is not what its request asks for.
    #[error("reply to opcode {}: {short}", op.0)]
    Body {
        /// The request's opcode.
        op: OpCode,
        /// Where the record ended.
        short: Short,
    },
    /// Bytes after a complete body.
    #[error("reply to opcode {} has {bytes} bytes too many", op.0)]
    Rest {
        /// The request's opcode.
        op: OpCode,
        /// The bytes after the body.
        bytes: usize,
    },
}

/// Largest frame that a client takes. A server does not limit its replies, so that this is only a
/// guard against nonsense.
pub const REPLY_BYTES_MAX: usize = 1 << 30;

/// The requests of one connection that wait for an answer, and the bytes that came.
///
/// `next_xid` grows from 1 and starts over before it would be negative; `last_zxid` never goes back.
#[derive(Debug)]
pub struct Session {
    next_xid: i32,
    pending: VecDeque<(i32, OpCode)>,
    last_zxid: Zxid,
    input: Vec<u8>,
    input_start: usize,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            next_xid: 1,
            pending: VecDeque::new(),
            last_zxid: Zxid::ZERO,
            input: Vec::new(),
            input_start: 0,
        }
    }
}

impl Session {
    /// Appends the frame that opens a session.
    pub fn put_connect(request: &ConnectRequest<'_>, out: &mut Vec<u8>) {
        jute::frame(out, |out| request.put(out));
    }

    /// Appends the frame of `request` and expects its answer; gives its xid.
    pub fn put(&mut self, request: &Request, out: &mut Vec<u8>) -> i32 {
        let xid = request.special_xid().unwrap_or(self.next_xid);
        if xid == self.next_xid {
            self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        }
        self.put_as(xid, request, out);
        xid
    }

    /// As [`put`](Self::put), with an xid of the caller's choice.
    pub fn put_as(&mut self, xid: i32, request: &Request, out: &mut Vec<u8>) {
        jute::frame(out, |out| {
            out.put_i32(xid);
            out.put_i32(request.op().0);
            request.put_body(out);
        });
        self.pending.push_back((xid, request.op()));
    }

    /// Requests that wait for an answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The newest zxid that a reply or event carried: what to send when connecting again.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Takes bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.input_start == self.input.len() {
            self.input.clear();
            self.input_start = 0;
        } else if self.input_start > self.input.len() / 2 {
            self.input.drain(..self.input_start);
            self.input_start = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Whether part of a frame has come.
    pub fn is_mid_frame(&self) -> bool {
        self.input_start < self.input.len()
    }

    /// The connect response, once it is complete.
    pub fn next_connect(&mut self) -> Result<Option<ConnectResponse>, SessionError> {
        let Some(frame) = self.next_frame()? else { return Ok(None) };
        let mut reader = Reader::new(&self.input[frame]);
        let response = ConnectResponse::read(&mut reader)
            .map_err(|short| SessionError::Body { op: OpCode::CREATE_SESSION, short })?;
        finished(OpCode::CREATE_SESSION, &reader)?;
        Ok(Some(response))
    }

    /// The next reply or event, once it is complete.
    ///
    /// # Errors
    /// [`SessionError`] where the server breaks the protocol.
    #[allow(clippy::should_implement_trait)] // an iterator would end, this goes on after `feed`
    pub fn next(&mut self) -> Result<Option<Incoming>, SessionError> {
        let Some(frame) = self.next_frame()? else { return Ok(None) };
        let mut reader = Reader::new(&self.input[frame]);
        let header = ReplyHeader::read(&mut reader)
            .map_err(|short| SessionError::Body { op: OpCode::NOTIFICATION, short })?;
        if header.xid == XID_NOTIFICATION {
            let op = OpCode::NOTIFICATION;
            let event =
                WatcherEvent::read(&header, &mut reader).map_err(|short| SessionError::Body { op, short })?;
            finished(op, &reader)?;
            self.saw(header.zxid);
            let WatcherEvent { kind, state, path } = event;
            return Ok(Some(Incoming::Event(Event { zxid: header.zxid, kind, state, path })));
        }
        let op = take_pending(&mut self.pending, header.xid)?;
        let body = if header.err == 0 {
            let body = read_body(op, &mut reader).map_err(|short| SessionError::Body { op, short })?;
            finished(op, &reader)?;
            body
        } else if reader.rest().is_empty() {
            Body::Empty
        } else {
            Body::Raw(reader.rest().to_vec())
        };
        self.saw(header.zxid);
        Ok(Some(Incoming::Reply(Reply { op, header, body })))
    }

    /// auth replies carry 0, replies to unknown opcodes and catch-up events -1: they tell nothing.
    fn saw(&mut self, zxid: i64) {
        if zxid > 0 {
            self.last_zxid = self.last_zxid.max(Zxid::from_wire(zxid));
        }
    }

    /// Where the next whole frame lies in `input`; it counts as read.
    fn next_frame(&mut self) -> Result<Option<std::ops::Range<usize>>, SessionError> {
        let Ok(bytes) = Reader::new(&self.input[self.input_start..]).int() else { return Ok(None) };
        let limit = REPLY_BYTES_MAX;
        let length = usize::try_from(bytes)
            .ok()
            .filter(|&length| length <= limit)
            .ok_or(SessionError::Length { bytes, limit })?;
        let start = self.input_start + 4;
        if self.input.len() - start < length {
            return Ok(None);
        }
        self.input_start = start + length;
        Ok(Some(start..start + length))
    }
}

/// Takes the request that a reply with `xid` answers: the oldest, except that answers to ping and
/// auth may overtake others, as they do in Java, where the connection answers auth itself.
fn take_pending(pending: &mut VecDeque<(i32, OpCode)>, xid: i32) -> Result<OpCode, SessionError> {
    let overtakes = |xid| xid == XID_PING || xid == XID_AUTH;
    let at = if overtakes(xid) {
        pending.iter().position(|&(waiting, _)| waiting == xid)
    } else {
        pending.iter().position(|&(waiting, _)| !overtakes(waiting)).filter(|&at| pending[at].0 == xid)
    };
    let expected = pending.front().map(|&(xid, _)| xid);
    let (_, op) = at.and_then(|at| pending.remove(at)).ok_or(SessionError::Order { got: xid, expected })?;
    Ok(op)
}

fn finished(op: OpCode, reader: &Reader<'_>) -> Result<(), SessionError> {
    match reader.rest().len() {
        0 => Ok(()),
        bytes => Err(SessionError::Rest { op, bytes }),
    }
}

fn read_body(op: OpCode, reader: &mut Reader<'_>) -> Result<Body, Short> {
    Ok(match op {
        OpCode::CREATE | OpCode::SYNC => Body::Path(string(reader)?),
        OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            Body::Created { path: string(reader)?, stat: Stat::read(reader)? }
        }
        OpCode::EXISTS | OpCode::SET_DATA | OpCode::SET_ACL => Body::Stat(Stat::read(reader)?),
        OpCode::GET_DATA | OpCode::RECONFIG => {
            Body::Data { data: reader.buffer()?.map(<[u8]>::to_vec), stat: Stat::read(reader)? }
        }
        OpCode::SASL => Body::Token(reader.buffer()?.map(<[u8]>::to_vec)),
        OpCode::GET_ACL => Body::Acl { acl: acls(reader)?, stat: Stat::read(reader)? },
        OpCode::GET_CHILDREN | OpCode::GET_EPHEMERALS => Body::Paths(strings(reader)?),
        OpCode::GET_CHILDREN2 => Body::Children { children: strings(reader)?, stat: Stat::read(reader)? },
        OpCode::GET_ALL_CHILDREN_NUMBER | OpCode::ADD_WATCH => Body::Number(reader.int()?),
        OpCode::WHO_AM_I => {
            let count = reader.count(8)?.unwrap_or(0);
            let mut identities = Vec::with_capacity(count);
            for _ in 0..count {
                identities.push((string(reader)?, string(reader)?));
            }
            Body::Identities(identities)
        }
        OpCode::MULTI | OpCode::MULTI_READ => Body::Multi(results(reader)?),
        OpCode::DELETE
        | OpCode::PING
        | OpCode::AUTH
        | OpCode::CHECK_WATCHES
        | OpCode::REMOVE_WATCHES
        | OpCode::SET_WATCHES
        | OpCode::SET_WATCHES2
        | OpCode::CLOSE_SESSION => Body::Empty,
        _ => {
            let rest = reader.rest();
            *reader = Reader::new(&[]);
            if rest.is_empty() { Body::Empty } else { Body::Raw(rest.to_vec()) }
        }
    })
}

fn results(reader: &mut Reader<'_>) -> Result<Vec<OpResult>, Short> {
    let mut results = Vec::new();
    loop {
        let header = MultiHeader::read(reader)?;
        if header.done {
            return Ok(results);
        }
        let body = match header.op {
            OpCode::ERROR => Body::Number(reader.int()?),
            OpCode::CHECK => Body::Empty,
            op => read_body(op, reader)?,
        };
        results.push(OpResult { op: header.op, err: header.err, body });
    }
}

fn string(reader: &mut Reader<'_>) -> Result<Vec<u8>, Short> {
    Ok(reader.string()?.ok_or(Short::Negative(-1))?.to_vec())
}

fn strings(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Short> {
    let count = reader.count(4)?.unwrap_or(0);
    let mut strings = Vec::with_capacity(count);
    for _ in 0..count {
        strings.push(string(reader)?);
    }
    Ok(strings)
}

fn acls(reader: &mut Reader<'_>) -> Result<Vec<Acl>, Short> {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let raw = crate::proto::acl::read_acls(reader)?;
    let acl = |raw: &crate::proto::acl::RawAcl<'_>| Acl {
        perms: crate::proto::Perms(raw.perms),
        id: crate::proto::acl::Id::new(&text(raw.scheme), &text(raw.id)),
    };
    Ok(raw.iter().map(acl).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::reply::{put_reply, put_status};
    use crate::proto::request::{Create, RequestHeader, SetWatches, read_multi};
    use crate::proto::{ErrorCode, EventType, event::put_event};

    fn get(path: &str) -> Request {
        Request::GetData { path: path.into(), watch: true }
    }

    /// A session with the given requests sent, and the frames that they became.
    fn sent(requests: &[Request]) -> (Session, Vec<u8>) {
        let mut session = Session::default();
        let mut out = Vec::new();
        for request in requests {
            session.put(request, &mut out);
        }
        (session, out)
    }

    /// What the client writes is what the server's side of `proto` reads.
    #[test]
    fn requests_read_back() {
        let create = Request::Create {
            op: OpCode::CREATE_TTL,
            path: b"/a".to_vec(),
            data: None,
            acl: vec![Acl::open()],
            flags: 5,
            ttl_ms: 7,
        };
        let (_, out) = sent(std::slice::from_ref(&create));
        let mut reader = Reader::new(&out[4..]);
        assert_eq!(RequestHeader::read(&mut reader), Ok(RequestHeader { xid: 1, op: OpCode::CREATE_TTL }));
        let read = Create::read(&mut reader, OpCode::CREATE_TTL).expect("whole");
        assert_eq!((read.path, read.data, read.flags, read.ttl_ms), (Some(&b"/a"[..]), None, 5, 7));
        assert!(reader.rest().is_empty());

        let lists = [vec![b"/d".to_vec()], vec![], vec![b"/c".to_vec()], vec![], vec![b"/r".to_vec()]];
        let watches = Request::SetWatches2 { relative_zxid: Zxid(9), lists };
        let (_, out) = sent(&[watches, Request::Multi { ops: vec![create] }]);
        let mut reader = Reader::new(&out[4..]);
        assert_eq!(RequestHeader::read(&mut reader).expect("whole").xid, XID_SET_WATCHES);
        let read = SetWatches::read(&mut reader, OpCode::SET_WATCHES2).expect("whole");
        assert_eq!((read.relative_zxid, read.lists[4][0]), (Zxid(9), &b"/r"[..]));
        let mut reader = Reader::new(&reader.rest()[4..]);
        assert_eq!(RequestHeader::read(&mut reader).expect("whole").xid, 1);
        assert_eq!(read_multi(&mut reader).expect("whole").len(), 1);
        assert!(reader.rest().is_empty());
    }

    /// Replies and events come out in the order of the bytes, however the bytes are cut.
    #[test]
    fn one_stream_in_order() {
        let stat = Stat { version: 3, ..Stat::default() };
        let mut bytes = Vec::new();
        put_event(&mut bytes, Some(Zxid(8)), EventType::NodeDeleted, b"/w");
        put_reply(&mut bytes, 1, Zxid(8), |out| {
            out.put_buffer(Some(b"x"));
            stat.put(out);
        });
        put_status(&mut bytes, XID_PING, 8, ErrorCode::Ok);
        put_status(&mut bytes, 2, 9, ErrorCode::NoNode);
        for step in [1, 7, bytes.len()] {
            let (mut session, _) = sent(&[get("/a"), get("/b"), Request::Ping]);
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                session.feed(piece);
                while let Some(incoming) = session.next().expect("in order") {
                    seen.push(incoming);
                }
            }
            let header = |xid, zxid, err| ReplyHeader { xid, zxid, err };
            let op = OpCode::GET_DATA;
            let data = Body::Data { data: Some(b"x".to_vec()), stat };
            assert_eq!(
                seen,
                [
                    Incoming::Event(Event { zxid: 8, kind: 2, state: 3, path: b"/w".to_vec() }),
                    Incoming::Reply(Reply { op, header: header(1, 8, 0), body: data }),
                    Incoming::Reply(Reply { op: OpCode::PING, header: header(-2, 8, 0), body: Body::Empty }),
                    Incoming::Reply(Reply { op, header: header(2, 9, -101), body: Body::Empty }),
                ]
            );
            assert_eq!((session.pending(), session.last_zxid()), (0, Zxid(9)));
        }
    }

    /// A server that answers out of order, too much or too little is noticed.
    #[test]
    fn broken_servers_are_noticed() {
        let answer = |requests: &[Request], fill: &dyn Fn(&mut Vec<u8>)| {
            let (mut session, _) = sent(requests);
            let mut bytes = Vec::new();
            fill(&mut bytes);
            session.feed(&bytes);
            session.next()
        };
        let two = [get("/a"), get("/b")];
        assert_eq!(
            answer(&two, &|out| put_status(out, 2, 0, ErrorCode::NoNode)),
            Err(SessionError::Order { got: 2, expected: Some(1) })
        );
        assert!(matches!(
            answer(&two, &|out| put_reply(out, 1, Zxid(1), |out| out.put_i32(-1))),
            Err(SessionError::Body { op: OpCode::GET_DATA, .. })
        ));
        assert_eq!(
            answer(&[Request::WhoAmI], &|out| put_reply(out, 1, Zxid(1), |out| out.put_i64(0))),
            Err(SessionError::Rest { op: OpCode::WHO_AM_I, bytes: 4 })
        );
        assert!(matches!(answer(&two, &|out| out.put_i32(-5)), Err(SessionError::Length { bytes: -5, .. })));
    }

    /// Tokens of SASL have numbers as requests have; what answers one is a token, null, or a code alone.
    #[test]
    fn sasl_tokens() {
        let token = |bytes: &[u8]| Request::Sasl { token: bytes.to_vec() };
        let (mut session, out) = sent(&[token(b""), token(b"answer"), token(b"again"), get("/a")]);
        let mut reader = Reader::new(&out);
        for (xid, bytes) in [(1, &b""[..]), (2, b"answer"), (3, b"again")] {
            assert_eq!(reader.int(), Ok(12 + i32::try_from(bytes.len()).expect("short")));
            assert_eq!(RequestHeader::read(&mut reader), Ok(RequestHeader { xid, op: OpCode::SASL }));
            assert_eq!(reader.buffer(), Ok(Some(bytes)));
        }
        let mut bytes = Vec::new();
        put_reply(&mut bytes, 1, Zxid::ZERO, |out| out.put_buffer(Some(b"challenge")));
        put_reply(&mut bytes, 2, Zxid::ZERO, |out| out.put_buffer(None));
        put_status(&mut bytes, 3, 0, ErrorCode::AuthFailed);
        session.feed(&bytes);
        let mut answers = Vec::new();
        while let Some(Incoming::Reply(reply)) = session.next().expect("in order") {
            answers.push((reply.op, reply.header.err, reply.body));
        }
        let refused = ErrorCode::AuthFailed.to_wire();
        let expected =
            [(0, Body::Token(Some(b"challenge".to_vec()))), (0, Body::Token(None)), (refused, Body::Empty)];
        assert_eq!(answers, expected.map(|(err, body)| (OpCode::SASL, err, body)));
        assert_eq!((session.pending(), session.last_zxid()), (1, Zxid::ZERO));
    }

    /// The results of a multi read as their operations' own answers; a failed one as its code twice.
    #[test]
    fn multi_results() {
        let (mut session, _) = sent(&[Request::Multi { ops: Vec::new() }]);
        let mut bytes = Vec::new();
        put_reply(&mut bytes, 1, Zxid(5), |out| {
            MultiHeader { op: OpCode::CREATE, done: false, err: 0 }.put(out);
            out.put_string(b"/a");
            MultiHeader { op: OpCode::CHECK, done: false, err: 0 }.put(out);
            MultiHeader { op: OpCode::ERROR, done: false, err: -2 }.put(out);
            out.put_i32(-2);
            MultiHeader::END.put(out);
        });
        session.feed(&bytes);
        let Ok(Some(Incoming::Reply(reply))) = session.next() else { panic!("a reply") };
        assert_eq!(
            reply.body,
            Body::Multi(vec![
                OpResult { op: OpCode::CREATE, err: 0, body: Body::Path(b"/a".to_vec()) },
                OpResult { op: OpCode::CHECK, err: 0, body: Body::Empty },
                OpResult { op: OpCode::ERROR, err: -2, body: Body::Number(-2) },
            ])
        );
    }
}
