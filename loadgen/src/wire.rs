//! Requests written from templates, replies checked in place.
//!
//! A request is a copy of a frame made once, with its xid and its path's digits overwritten: no
//! field is encoded twice.

use crate::random::Random;
use bytes::BufMut;
use std::ops::RangeInclusive;
use zkfast::proto::jute::{JuteWrite, Reader, frame};
use zkfast::proto::reply::MultiHeader;
use zkfast::proto::{Acl, ConnectResponse, ErrorCode, OpCode, PASSWORD_BYTES, Short, Stat, XID_PING, acl};

/// Everything that loadgen writes is below this path.
pub const ROOT: &str = "/loadgen";

/// Digits of every number in a path.
pub const DIGITS: usize = 8;
/// Numbers that a path can hold are below this.
pub const NUMBERS: u64 = 100_000_000;
/// Where a frame has its xid, behind the length.
const XID_AT: usize = 4;
/// Where a frame has its path's bytes: length, xid, opcode and the path's own length precede.
const PATH_AT: usize = 16;
/// Flags of a create. Source: `CreateMode`.
const PERSISTENT: i32 = 0;
const EPHEMERAL: i32 = 1;
const EPHEMERAL_SEQUENTIAL: i32 = 3;

/// What a request does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// getData of a prepared key.
    #[default]
    Get,
    /// setData of a prepared key.
    Set,
    /// create of a znode that is not there.
    Create,
    /// create2 of an ephemeral that is not there.
    Ephemeral,
    /// delete of that ephemeral.
    Delete,
    /// multi of setDatas of neighbouring keys.
    Multi,
    /// sync, in front of a get.
    Sync,
    /// getData behind a sync.
    SyncedGet,
    /// getChildren of a prepared parent.
    List,
    /// Joining the queue of a lock: create of a sequential ephemeral.
    Join,
    /// Looking at the queue of a lock: getChildren.
    Queue,
    /// Watching the one in front in a lock's queue: getData.
    Front,
    /// Changing what the lock protects: setData with the version that it must have.
    Claim,
    /// Giving up a lock: delete.
    Leave,
    /// Deleting what a lost connection left behind in a lock's queue.
    Sweep,
    /// Watching the znode of a fan-out: getData.
    Arm,
    /// Changing the znode of a fan-out: setData.
    Notify,
    /// closeSession.
    Close,
}

/// One request: what it does, to which znode, and what its reply must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Op {
    /// What it does.
    pub kind: Kind,
    /// Number of the parent, or of the lock.
    pub group: u32,
    /// Number of the znode, or of a fan-out's round.
    pub leaf: u32,
    /// Bytes of data that are written.
    pub bytes: u32,
    /// The oldest zxid, or the version, that the reply may show.
    pub since: i64,
}

/// What values look like: digits of the znode's number, digits of the length, then `x`; cut where the
/// value is short. Data of another znode, and data of two sizes mixed, are told apart.
#[derive(Clone, Debug)]
pub struct Values {
    sizes: RangeInclusive<u32>,
    filler: Vec<u8>,
}

impl Values {
    /// Values of `sizes` bytes.
    pub fn new(sizes: RangeInclusive<u32>) -> Self {
        let filler = vec![b'x'; *sizes.end() as usize];
        Self { sizes, filler }
    }

    /// A size, each as likely.
    pub fn size(&self, random: &mut Random) -> u32 {
        let (least, most) = (*self.sizes.start(), *self.sizes.end());
        if least == most { least } else { least + random.below(most - least + 1) }
    }

    /// Appends the value of `bytes` bytes of znode `leaf`, without its length.
    pub fn put(&self, out: &mut Vec<u8>, leaf: u32, bytes: u32) {
        let start = out.len();
        let bytes = bytes as usize;
        out.extend_from_slice(&self.filler[..bytes]);
        for (at, number) in [(start, leaf), (start + DIGITS, bytes as u32)] {
            if at + DIGITS <= start + bytes {
                out[at..at + DIGITS].copy_from_slice(&digits(number));
            }
        }
    }

    /// Checks what a server says is the value of znode `leaf`.
    pub fn check(&self, data: &[u8], leaf: u32) -> Result<(), Wrong> {
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if !self.sizes.contains(&bytes) {
            let want = bytes.clamp(*self.sizes.start(), *self.sizes.end()) as usize;
            return Err(Wrong::Length { want, have: data.len() });
        }
        let mut rest = data;
        for number in [leaf, bytes] {
            let Some((name, behind)) = rest.split_first_chunk::<DIGITS>() else { break };
            if *name != digits(number) {
                return Err(Wrong::Data);
            }
            rest = behind;
        }
        if *rest == self.filler[..rest.len()] { Ok(()) } else { Err(Wrong::Data) }
    }
}

/// A frame made once, with holes for xid, numbers and value.
#[derive(Clone, Debug)]
struct Template {
    /// Up to the value; the whole frame where there is none.
    head: Vec<u8>,
    /// Where the parent's digits are.
    group_at: Option<usize>,
    /// Where the znode's digits are: the end of the path.
    leaf_at: usize,
    /// Behind the value.
    tail: Option<Vec<u8>>,
}

impl Template {
    fn put(&self, out: &mut Vec<u8>, xid: i32, op: Op, values: &Values) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        let request = &mut out[start..];
        request[XID_AT..XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        if let Some(at) = self.group_at {
            request[at..at + DIGITS].copy_from_slice(&digits(op.group));
        }
        request[self.leaf_at..self.leaf_at + DIGITS].copy_from_slice(&digits(op.leaf));
        if let Some(tail) = &self.tail {
            out.put_u32(op.bytes);
            values.put(out, op.leaf, op.bytes);
            out.extend_from_slice(tail);
            let length = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// Templates for what is asked most often, and checks of the replies.
#[derive(Clone, Debug)]
pub struct Requests {
    get: Template,
    set: Template,
    create: Template,
    ephemeral: Template,
    delete: Template,
    values: Values,
    /// Where in a created path the parent's digits are.
    group_at: usize,
    /// Bytes of a created path.
    created_bytes: usize,
}

impl Requests {
    /// Templates for `values`, creating below `base`.
    pub fn new(values: Values, base: &str) -> Self {
        let key = key_path(0);
        let created = leaf_path(&group_path(base, 0), 0);
        let group_at = base.len() + "/g".len();
        let template = |op, path: &str, rest: &[u8], tail: Option<Vec<u8>>| {
            let mut head = Vec::new();
            put_request(&mut head, 0, op, |out| {
                out.put_string(path.as_bytes());
                out.put_slice(rest);
            });
            let leaf_at = PATH_AT + path.len() - DIGITS;
            let group_at = (path == created).then_some(PATH_AT + group_at);
            Template { head, group_at, leaf_at, tail }
        };
        let any_version = (-1i32).to_be_bytes();
        let mode = |flags: i32| {
            let mut tail = Vec::new();
            acl::put_acls(&mut tail, &[Acl::open()]);
            tail.put_i32(flags);
            tail
        };
        Self {
            get: template(OpCode::GET_DATA, &key, &[0], None),
            set: template(OpCode::SET_DATA, &key, &[], Some(any_version.to_vec())),
            create: template(OpCode::CREATE, &created, &[], Some(mode(PERSISTENT))),
            ephemeral: template(OpCode::CREATE2, &created, &[], Some(mode(EPHEMERAL))),
            delete: template(OpCode::DELETE, &created, &any_version, None),
            values,
            group_at,
            created_bytes: created.len(),
        }
    }

    /// What values look like.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Appends the frame of `op`, which is one of those with a template.
    pub fn put(&self, out: &mut Vec<u8>, xid: i32, op: Op) {
        let template = match op.kind {
            Kind::Set => &self.set,
            Kind::Create => &self.create,
            Kind::Ephemeral => &self.ephemeral,
            Kind::Delete => &self.delete,
            _ => &self.get,
        };
        template.put(out, xid, op, &self.values);
    }

    /// Appends the frame of a multi: setDatas of `bytes` bytes each, of `keys`.
    pub fn put_multi(&self, out: &mut Vec<u8>, xid: i32, bytes: u32, keys: impl Iterator<Item = u32>) {
        put_request(out, xid, OpCode::MULTI, |out| {
            for key in keys {
                MultiHeader { op: OpCode::SET_DATA, done: false, err: -1 }.put(out);
                out.put_count(KEY_PREFIX.len() + DIGITS);
                out.put_slice(KEY_PREFIX.as_bytes());
                out.put_slice(&digits(key));
                out.put_u32(bytes);
                self.values.put(out, key, bytes);
                out.put_i32(-1);
            }
            MultiHeader::END.put(out);
        });
    }

    /// Checks the data and Stat of a key; returns the zxid of its last change.
    pub fn check_get(&self, body: &[u8], leaf: u32) -> Result<i64, Wrong> {
        let mut reader = Reader::new(body);
        let data = reader.buffer()?.unwrap_or_default();
        self.values.check(data, leaf)?;
        let stat = read_stat(&mut reader, data.len())?;
        ended(&reader)?;
        Ok(stat.mzxid.to_wire())
    }

    /// Checks the Stat that answers a setData of `bytes` bytes.
    pub fn check_set(&self, body: &[u8], bytes: u32) -> Result<Stat, Wrong> {
        let mut reader = Reader::new(body);
        let stat = read_stat(&mut reader, bytes as usize)?;
        ended(&reader)?;
        Ok(stat)
    }

    /// Checks the path that a create answers.
    pub fn check_create(&self, body: &[u8], op: Op) -> Result<(), Wrong> {
        let mut reader = Reader::new(body);
        self.check_path(&mut reader, op)?;
        ended(&reader)
    }

    /// Checks the path and Stat that a create2 of an ephemeral answers to session `owner`.
    pub fn check_ephemeral(&self, body: &[u8], op: Op, owner: i64) -> Result<(), Wrong> {
        let mut reader = Reader::new(body);
        self.check_path(&mut reader, op)?;
        let stat = read_stat(&mut reader, op.bytes as usize)?;
        ended(&reader)?;
        if stat.ephemeral_owner == owner { Ok(()) } else { Err(Wrong::Owner { have: stat.ephemeral_owner }) }
    }

    fn check_path(&self, reader: &mut Reader<'_>, op: Op) -> Result<(), Wrong> {
        let path = reader.string()?.unwrap_or_default();
        let leaf_at = self.created_bytes - DIGITS;
        if path.len() != self.created_bytes
            || path[leaf_at..] != digits(op.leaf)
            || path[self.group_at..self.group_at + DIGITS] != digits(op.group)
        {
            return Err(Wrong::Path);
        }
        Ok(())
    }

    /// Checks the results of a multi of `ops` setDatas of `bytes` bytes: all there, and of one txn.
    pub fn check_multi(&self, body: &[u8], ops: u32, bytes: u32) -> Result<(), Wrong> {
        let mut reader = Reader::new(body);
        let mut mzxid = None;
        for _ in 0..ops {
            let header = MultiHeader::read(&mut reader)?;
            if header.done || header.op != OpCode::SET_DATA || header.err != 0 {
                return Err(Wrong::Result { op: header.op.0, err: header.err });
            }
            let stat = read_stat(&mut reader, bytes as usize)?;
            if stat.mzxid != *mzxid.get_or_insert(stat.mzxid) {
                return Err(Wrong::NotOneTxn);
            }
        }
        let end = MultiHeader::read(&mut reader)?;
        if end.done { ended(&reader) } else { Err(Wrong::Result { op: end.op.0, err: end.err }) }
    }
}

/// Reads a Stat that tells of `bytes` bytes of data.
pub fn read_stat(reader: &mut Reader<'_>, bytes: usize) -> Result<Stat, Wrong> {
    let stat = Stat::read(reader)?;
    if usize::try_from(stat.data_bytes) != Ok(bytes) {
        return Err(Wrong::StatLength { want: bytes, have: stat.data_bytes });
    }
    Ok(stat)
}

/// Checks that nothing follows.
pub fn ended(reader: &Reader<'_>) -> Result<(), Wrong> {
    if reader.rest().is_empty() { Ok(()) } else { Err(Wrong::Rest { bytes: reader.rest().len() }) }
}

/// Checks the children that getChildren lists: `0..children`, each once, in any order. `seen` is scratch.
pub fn check_list(body: &[u8], children: u32, seen: &mut Vec<u64>) -> Result<(), Wrong> {
    let mut reader = Reader::new(body);
    let count = reader.count(4)?.unwrap_or_default();
    if count != children as usize {
        return Err(Wrong::Children { want: children, have: count });
    }
    seen.clear();
    seen.resize(count.div_ceil(64), 0);
    for _ in 0..count {
        let name = reader.string()?.unwrap_or_default();
        let number = name.strip_prefix(b"n").and_then(number).filter(|number| *number < children);
        let number = number.ok_or(Wrong::Path)? as usize;
        let (word, bit) = (&mut seen[number / 64], 1 << (number % 64));
        if *word & bit != 0 {
            return Err(Wrong::Path);
        }
        *word |= bit;
    }
    ended(&reader)
}

/// The number that these digits are.
pub fn number(digits: &[u8]) -> Option<u32> {
    let ok = digits.len() == DIGITS && digits.iter().all(u8::is_ascii_digit);
    ok.then(|| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// Why a reply is not what the server must have answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Replies come in the order of their requests.
    #[error("reply to xid {have} where that to {want} is due")]
    Xid {
        /// The oldest request without a reply.
        want: i32,
        /// What came.
        have: i32,
    },
    /// An error code, where none can be right.
    #[error("error {code}{}", name(*.code))]
    Err {
        /// The reply's code.
        code: i32,
    },
    /// A reply or its data of another length.
    #[error("{have} bytes instead of {want}")]
    Length {
        /// What the request asked for.
        want: usize,
        /// What came.
        have: usize,
    },
    /// Stat.dataLength of another length.
    #[error("Stat says {have} bytes of data instead of {want}")]
    StatLength {
        /// What was written.
        want: usize,
        /// What came.
        have: i32,
    },
    /// The data of another znode.
    #[error("data of another znode")]
    Data,
    /// The path of another znode.
    #[error("path of another znode")]
    Path,
    /// Bytes behind the end of the reply.
    #[error("{bytes} bytes too many")]
    Rest {
        /// How many.
        bytes: usize,
    },
    /// Replies to a session never go back in time.
    #[error("zxid {have:#x} behind {want:#x}")]
    Zxid {
        /// What the session has seen.
        want: i64,
        /// What came.
        have: i64,
    },
    /// The Stat of a setData that no txn made, or one behind the reply.
    #[error("Stat says that zxid {have:#x} changed it last, in a reply of zxid {want:#x}")]
    Txn {
        /// The reply's.
        want: i64,
        /// The Stat's.
        have: i64,
    },
    /// A read behind a sync that shows less than was acknowledged before the sync.
    #[error("data of zxid {have:#x} behind a sync, though {want:#x} had been acknowledged before it")]
    Stale {
        /// Zxid of the write that was acknowledged.
        want: i64,
        /// What the read shows.
        have: i64,
    },
    /// An ephemeral that belongs to another session, or to none.
    #[error("ephemeral owned by {have:#x}")]
    Owner {
        /// What the Stat says.
        have: i64,
    },
    /// A result of a multi that is not what was asked for.
    #[error("a result of type {op} with error {err}")]
    Result {
        /// Type of the result.
        op: i32,
        /// Its code.
        err: i32,
    },
    /// Results of one multi that were made by more than one txn.
    #[error("the results of a multi are not of one txn")]
    NotOneTxn,
    /// Another number of children.
    #[error("{have} children instead of {want}")]
    Children {
        /// What the parent has.
        want: u32,
        /// What came.
        have: usize,
    },
    /// A notification that nobody asked for, or of something else.
    #[error("event of type {kind} that was not asked for")]
    Event {
        /// Number of its type.
        kind: i32,
    },
    /// A znode's version other than that which the last change left.
    #[error("version {have} instead of {want}")]
    Version {
        /// What it must be.
        want: i32,
        /// What came.
        have: i32,
    },
    /// A lock that two sessions were told they hold.
    #[error("lock {lock} is held by two: {one} and {other}")]
    TwoHolders {
        /// Number of the lock.
        lock: u32,
        /// Number of the one who held it.
        one: u32,
        /// Number of the one who was told to hold it as well.
        other: u32,
    },
    /// A session's own znode is not in the queue of a lock.
    #[error("the session's own znode is missing")]
    NotQueued,
    /// Bytes that are not this protocol.
    #[error("{what}")]
    Protocol {
        /// What is wrong with them.
        what: String,
    },
    /// A session id that another session was given before.
    #[error("session {0:#x} was given twice")]
    SessionTwice(i64),
    /// A record that ends early.
    #[error("{0}")]
    Short(#[from] Short),
}

fn name(code: i32) -> String {
    ErrorCode::from_wire(code).map(|code| format!(" ({code:?})")).unwrap_or_default()
}

const KEY_PREFIX: &str = "/loadgen/k";

/// Path of a prepared key.
pub fn key_path(key: u32) -> String {
    format!("{KEY_PREFIX}{key:08}")
}

/// What a key of `bytes` bytes holds.
pub fn key_value(key: u32, bytes: u32) -> Vec<u8> {
    let mut value = Vec::new();
    Values::new(bytes..=bytes).put(&mut value, key, bytes);
    value
}

/// Path of a parent of created znodes.
pub fn group_path(base: &str, group: u32) -> String {
    format!("{base}/g{group:08}")
}

/// Path of a znode below a parent.
pub fn leaf_path(parent: &str, leaf: u32) -> String {
    format!("{parent}/n{leaf:08}")
}

/// Appends the frame of a request whose body `body` writes.
pub fn put_request(out: &mut Vec<u8>, xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) {
    frame(out, |out| {
        out.put_i32(xid);
        out.put_i32(op.0);
        body(out);
    });
}

/// Appends the frame of a create of a persistent znode that is open to all.
pub fn put_create(out: &mut Vec<u8>, xid: i32, path: &[u8], data: &[u8]) {
    put_request(out, xid, OpCode::CREATE, |out| {
        out.put_string(path);
        out.put_buffer(Some(data));
        acl::put_acls(out, &[Acl::open()]);
        out.put_i32(PERSISTENT);
    });
}

/// Appends the frame of a create of a sequential ephemeral without data.
pub fn put_sequential(out: &mut Vec<u8>, xid: i32, path: &[u8]) {
    put_request(out, xid, OpCode::CREATE, |out| {
        out.put_string(path);
        out.put_buffer(Some(b""));
        acl::put_acls(out, &[Acl::open()]);
        out.put_i32(EPHEMERAL_SEQUENTIAL);
    });
}

/// Appends the frame of a getData or getChildren, with or without a watch.
pub fn put_read(out: &mut Vec<u8>, xid: i32, op: OpCode, path: &[u8], watch: bool) {
    put_request(out, xid, op, |out| {
        out.put_string(path);
        out.put_bool(watch);
    });
}

/// Appends the frame of a setData that wants `version`.
pub fn put_set(out: &mut Vec<u8>, xid: i32, path: &[u8], data: &[u8], version: i32) {
    put_request(out, xid, OpCode::SET_DATA, |out| {
        out.put_string(path);
        out.put_buffer(Some(data));
        out.put_i32(version);
    });
}

/// Appends the frame of a delete of whatever version.
pub fn put_delete(out: &mut Vec<u8>, xid: i32, path: &[u8]) {
    put_request(out, xid, OpCode::DELETE, |out| {
        out.put_string(path);
        out.put_i32(-1);
    });
}

/// Appends the frame of a sync of the whole tree.
pub fn put_sync(out: &mut Vec<u8>, xid: i32) {
    put_request(out, xid, OpCode::SYNC, |out| out.put_string(b"/"));
}

/// Appends the frame of a ping.
pub fn put_ping(out: &mut Vec<u8>) {
    put_request(out, XID_PING, OpCode::PING, |_| {});
}

/// Appends the frame that grants a session.
pub fn put_session(out: &mut Vec<u8>, session_id: i64, timeout_ms: i32, read_only: Option<bool>) {
    let password = [1; PASSWORD_BYTES];
    let read_only = read_only.map(|_| false);
    let response = ConnectResponse { protocol_version: 0, timeout_ms, session_id, password, read_only };
    frame(out, |out| response.put(out));
}

/// A frame's body, and what is behind it.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits the first frame off `bytes`; none where its end has not come.
///
/// # Errors
/// Its length, where that is negative or above `bytes_max`.
pub fn split_frame(bytes: &[u8], bytes_max: usize) -> Result<Option<Split<'_>>, i32> {
    let Some((length, behind)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let body = usize::try_from(length).ok().filter(|body| *body <= bytes_max).ok_or(length)?;
    Ok(behind.split_at_checked(body))
}

/// The digits of a number in a path.
pub fn digits(number: u32) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use zkfast::proto::Zxid;
    use zkfast::proto::request::{
        Create, MultiOp, PathVersion, PathWatch, RequestHeader, SetData, read_multi,
    };

    const BASE: &str = "/loadgen/new";

    fn requests(sizes: RangeInclusive<u32>) -> Requests {
        Requests::new(Values::new(sizes), BASE)
    }

    /// The one frame that `put` makes: its header and the reader of its body.
    fn request(frame: &[u8]) -> (RequestHeader, Reader<'_>) {
        let length = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
        assert_eq!(length as usize, frame.len() - 4);
        let mut reader = Reader::new(&frame[4..]);
        (RequestHeader::read(&mut reader).expect("a header"), reader)
    }

    fn stat(bytes: usize) -> Stat {
        Stat { data_bytes: bytes as i32, ..Stat::default() }
    }

    fn get_body(data: &[u8], data_bytes: usize) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_buffer(Some(data));
        stat(data_bytes).put(&mut body);
        body
    }

    /// A patched template reads as the request it stands for, in the server's own decoder.
    #[test]
    fn templates_read_as_requests() {
        let requests = requests(50..=100);
        let mut out = Vec::new();
        requests.put(&mut out, 7, Op { leaf: 12345, ..Op::default() });
        let (header, mut reader) = request(&out);
        assert_eq!(header, RequestHeader { xid: 7, op: OpCode::GET_DATA });
        assert_eq!(PathWatch::read(&mut reader), Ok(PathWatch { path: b"/loadgen/k00012345", watch: false }));
        assert!(reader.rest().is_empty());

        for bytes in [50, 100] {
            out.clear();
            requests.put(&mut out, 8, Op { kind: Kind::Set, leaf: 999, bytes, ..Op::default() });
            let (header, mut reader) = request(&out);
            assert_eq!(header, RequestHeader { xid: 8, op: OpCode::SET_DATA });
            let set = SetData::read(&mut reader).expect("a setData");
            assert_eq!(set.path, Some(&b"/loadgen/k00000999"[..]));
            assert_eq!((set.data, set.version), (Some(&key_value(999, bytes)[..]), -1));
            assert!(reader.rest().is_empty());
        }

        let created = Op { group: 42, leaf: 43, bytes: 60, ..Op::default() };
        for (kind, op, flags) in [(Kind::Create, OpCode::CREATE, 0), (Kind::Ephemeral, OpCode::CREATE2, 1)] {
            out.clear();
            requests.put(&mut out, 9, Op { kind, ..created });
            let (header, mut reader) = request(&out);
            assert_eq!(header, RequestHeader { xid: 9, op });
            let create = Create::read(&mut reader, op).expect("a create");
            assert_eq!(create.path, Some(&b"/loadgen/new/g00000042/n00000043"[..]));
            assert_eq!((create.data, create.flags), (Some(&key_value(43, 60)[..]), flags));
            assert!(reader.rest().is_empty());
        }

        out.clear();
        requests.put(&mut out, 10, Op { kind: Kind::Delete, ..created });
        let (header, mut reader) = request(&out);
        assert_eq!(header, RequestHeader { xid: 10, op: OpCode::DELETE });
        let path = Some(&b"/loadgen/new/g00000042/n00000043"[..]);
        assert_eq!(PathVersion::read(&mut reader), Ok(PathVersion { path, version: -1 }));
        assert!(reader.rest().is_empty());
    }

    /// A multi reads as its setDatas, of neighbouring keys.
    #[test]
    fn multi_reads_as_its_operations() {
        let mut out = Vec::new();
        requests(20..=20).put_multi(&mut out, 3, 20, 8..10);
        let (header, mut reader) = request(&out);
        assert_eq!(header.op, OpCode::MULTI);
        let ops = read_multi(&mut reader).expect("a multi");
        let wanted = [b"/loadgen/k00000008", b"/loadgen/k00000009"];
        for ((op, path), key) in ops.iter().zip(wanted).zip(8..) {
            let value = key_value(key, 20);
            let set = SetData { path: Some(path), data: Some(&value), version: -1 };
            assert_eq!(*op, MultiOp::SetData(set));
        }
        assert_eq!(ops.len(), 2);
        assert!(reader.rest().is_empty());
    }

    /// Each way in which a get can be answered wrongly is noticed, and the right answer is not.
    #[test]
    fn wrong_data_is_noticed() {
        let requests = requests(20..=20);
        let right = key_value(5, 20);
        let check = |body: &[u8]| requests.check_get(body, 5);
        assert_eq!(check(&get_body(&right, 20)), Ok(0));
        assert_eq!(check(&get_body(&right[..19], 19)), Err(Wrong::Length { want: 20, have: 19 }));
        assert_eq!(check(&get_body(&key_value(6, 20), 20)), Err(Wrong::Data));
        let mut torn = right.clone();
        torn[19] = 0;
        assert_eq!(check(&get_body(&torn, 20)), Err(Wrong::Data));
        assert_eq!(check(&get_body(&right, 21)), Err(Wrong::StatLength { want: 20, have: 21 }));
        assert_eq!(check(&[&get_body(&right, 20)[..], &[0]].concat()), Err(Wrong::Rest { bytes: 1 }));
        assert!(matches!(check(&[0; 3]), Err(Wrong::Short(_))));
    }

    /// A value of another size than that which it says it has is two values mixed.
    #[test]
    fn sizes_are_told_apart() {
        let requests = requests(4..=100);
        for bytes in [4, 8, 15, 16, 17, 100] {
            assert_eq!(requests.check_get(&get_body(&key_value(5, bytes), bytes as usize), 5), Ok(0));
        }
        let cut = &key_value(5, 100)[..60];
        assert_eq!(requests.check_get(&get_body(cut, 60), 5), Err(Wrong::Data));
        assert_eq!(
            requests.check_get(&get_body(b"000", 3), 5),
            Err(Wrong::Length { want: 4, have: 3 }),
            "below the least size"
        );
    }

    /// An ephemeral of another owner, or another path, is noticed.
    #[test]
    fn wrong_ephemeral_is_noticed() {
        let requests = requests(20..=20);
        let op = Op { kind: Kind::Ephemeral, group: 1, leaf: 2, bytes: 20, since: 0 };
        let body = |path: &str, owner| {
            let mut body = Vec::new();
            body.put_string(path.as_bytes());
            Stat { ephemeral_owner: owner, ..stat(20) }.put(&mut body);
            body
        };
        let path = leaf_path(&group_path(BASE, 1), 2);
        assert_eq!(requests.check_ephemeral(&body(&path, 77), op, 77), Ok(()));
        assert_eq!(requests.check_ephemeral(&body(&path, 0), op, 77), Err(Wrong::Owner { have: 0 }));
        let other = leaf_path(&group_path(BASE, 1), 3);
        assert_eq!(requests.check_ephemeral(&body(&other, 77), op, 77), Err(Wrong::Path));
    }

    /// A multi with a result missing, failed or of another txn is noticed.
    #[test]
    fn wrong_multi_is_noticed() {
        let requests = requests(20..=20);
        let body = |results: &[(OpCode, i32, u32)]| {
            let mut body = Vec::new();
            for (op, err, zxid) in results {
                MultiHeader { op: *op, done: false, err: *err }.put(&mut body);
                Stat { mzxid: Zxid::new(0, *zxid), ..stat(20) }.put(&mut body);
            }
            MultiHeader::END.put(&mut body);
            body
        };
        let good = (OpCode::SET_DATA, 0, 9);
        let check = |results: &[_]| requests.check_multi(&body(results), 2, 20);
        assert_eq!(check(&[good, good]), Ok(()));
        assert_eq!(check(&[good, (OpCode::SET_DATA, 0, 10)]), Err(Wrong::NotOneTxn));
        assert_eq!(check(&[good, (OpCode::ERROR, -101, 9)]), Err(Wrong::Result { op: -1, err: -101 }));
        assert_eq!(check(&[good]), Err(Wrong::Result { op: -1, err: -1 }));
        assert!(matches!(check(&[good, good, good]), Err(Wrong::Result { .. })));
    }

    /// A list with a child missing, doubled or unknown is noticed.
    #[test]
    fn wrong_list_is_noticed() {
        let check = |numbers: &[u32]| {
            let mut body = Vec::new();
            body.put_count(numbers.len());
            for number in numbers {
                body.put_string(format!("n{number:08}").as_bytes());
            }
            check_list(&body, 3, &mut Vec::new())
        };
        assert_eq!(check(&[2, 0, 1]), Ok(()));
        assert_eq!(check(&[2, 0]), Err(Wrong::Children { want: 3, have: 2 }));
        assert_eq!(check(&[2, 0, 2]), Err(Wrong::Path));
        assert_eq!(check(&[2, 0, 3]), Err(Wrong::Path));
    }
}
