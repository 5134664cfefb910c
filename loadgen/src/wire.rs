//! Requests written from templates, replies checked in place.
//!
//! A request is a copy of a frame made once, with its xid and its path's digits overwritten: no
//! field is encoded twice, and every frame of a kind has the same length.

use bytes::BufMut;
use zkfast::proto::jute::{JuteWrite, Reader, frame};
use zkfast::proto::stat::STAT_BYTES;
use zkfast::proto::{Acl, ErrorCode, OpCode, ReplyHeader, Short, Stat, XID_PING, acl};

/// Everything that loadgen writes is below this path.
pub const ROOT: &str = "/loadgen";

/// Digits of every number in a path.
const DIGITS: usize = 8;
/// Numbers that a path can hold are below this.
pub const NUMBERS: u64 = 100_000_000;
/// Where a frame has its xid, behind the length.
const XID_AT: usize = 4;
/// Where a frame has its path's bytes: length, xid, opcode and the path's own length precede.
const PATH_AT: usize = 16;
/// Bytes of a reply's header.
const HEADER_BYTES: usize = 16;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// getData of a prepared key.
    Get,
    /// setData of a prepared key.
    Set,
    /// create of a znode that is not there.
    Create,
}

/// One request: what it does and to which znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What it does.
    pub kind: Kind,
    /// Number of the parent, for create.
    pub group: u32,
    /// Number of the znode.
    pub leaf: u32,
}

/// Templates for every [`Kind`].
#[derive(Clone, Debug)]
pub struct Requests {
    get: Vec<u8>,
    set: Vec<u8>,
    create: Vec<u8>,
    value_bytes: usize,
    /// Where in a created path the parent's digits are.
    group_at: usize,
    /// Bytes of a created path.
    created_bytes: usize,
}

impl Requests {
    /// Templates for values of `value_bytes`, creating below `base`.
    pub fn new(value_bytes: usize, base: &str) -> Self {
        let value = vec![b'x'; value_bytes];
        let key = key_path(0);
        let (mut get, mut set, mut create) = (Vec::new(), Vec::new(), Vec::new());
        put_request(&mut get, 0, OpCode::GET_DATA, |out| {
            out.put_string(key.as_bytes());
            out.put_bool(false);
        });
        put_request(&mut set, 0, OpCode::SET_DATA, |out| {
            out.put_string(key.as_bytes());
            out.put_buffer(Some(&value));
            out.put_i32(-1);
        });
        let created = format!("{}/n{:08}", group_path(base, 0), 0);
        put_create(&mut create, 0, created.as_bytes(), &value);
        let group_at = base.len() + "/g".len();
        Self { get, set, create, value_bytes, group_at, created_bytes: created.len() }
    }

    /// Appends the frame of `op`.
    pub fn put(&self, out: &mut Vec<u8>, xid: i32, op: Op) {
        let start = out.len();
        let leaf = digits(op.leaf);
        match op.kind {
            Kind::Get => out.extend_from_slice(&self.get),
            Kind::Set => out.extend_from_slice(&self.set),
            Kind::Create => out.extend_from_slice(&self.create),
        }
        let request = &mut out[start..];
        request[XID_AT..XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        let path_bytes = match op.kind {
            Kind::Get | Kind::Set => KEY_PREFIX.len() + DIGITS,
            Kind::Create => {
                let at = PATH_AT + self.group_at;
                request[at..at + DIGITS].copy_from_slice(&digits(op.group));
                self.created_bytes
            }
        };
        let path_end = PATH_AT + path_bytes;
        request[path_end - DIGITS..path_end].copy_from_slice(&leaf);
        // The value names its znode, so that data of another one is told apart.
        if op.kind != Kind::Get && self.value_bytes >= DIGITS {
            let at = path_end + 4;
            request[at..at + DIGITS].copy_from_slice(&leaf);
        }
    }

    /// Checks the reply to `op`: its place in the order, its code, and all that its body must say.
    pub fn check(&self, reply: &[u8], xid: i32, op: Op) -> Result<(), Wrong> {
        let mut reader = Reader::new(reply);
        let header = ReplyHeader::read(&mut reader)?;
        if header.xid != xid {
            return Err(Wrong::Xid { want: xid, have: header.xid });
        }
        if header.err != 0 {
            return Err(Wrong::Err { code: header.err });
        }
        let body_bytes = match op.kind {
            Kind::Get => 4 + self.value_bytes + STAT_BYTES,
            Kind::Set => STAT_BYTES,
            Kind::Create => 4 + self.created_bytes,
        };
        if reply.len() != HEADER_BYTES + body_bytes {
            return Err(Wrong::Length { want: HEADER_BYTES + body_bytes, have: reply.len() });
        }
        match op.kind {
            Kind::Get => {
                let data = reader.buffer()?.unwrap_or_default();
                if data.len() != self.value_bytes {
                    return Err(Wrong::Length { want: self.value_bytes, have: data.len() });
                }
                if self.value_bytes >= DIGITS && data[..DIGITS] != digits(op.leaf) {
                    return Err(Wrong::Data);
                }
                self.check_stat(&mut reader)
            }
            Kind::Set => self.check_stat(&mut reader),
            Kind::Create => {
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
        }
    }

    fn check_stat(&self, reader: &mut Reader<'_>) -> Result<(), Wrong> {
        let stat = Stat::read(reader)?;
        if usize::try_from(stat.data_bytes) != Ok(self.value_bytes) {
            return Err(Wrong::StatLength { want: self.value_bytes, have: stat.data_bytes });
        }
        Ok(())
    }
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

/// What the prepared key holds.
pub fn key_value(key: u32, value_bytes: usize) -> Vec<u8> {
    let mut value = vec![b'x'; value_bytes];
    if value_bytes >= DIGITS {
        value[..DIGITS].copy_from_slice(&digits(key));
    }
    value
}

/// Path of a parent of created znodes.
pub fn group_path(base: &str, group: u32) -> String {
    format!("{base}/g{group:08}")
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
        out.put_i32(0);
    });
}

/// Appends the frame of a ping.
pub fn put_ping(out: &mut Vec<u8>) {
    put_request(out, XID_PING, OpCode::PING, |_| {});
}

fn digits(number: u32) -> [u8; DIGITS] {
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
    use zkfast::proto::request::{Create, PathWatch, RequestHeader, SetData};

    const BASE: &str = "/loadgen/new";

    fn body(frame: &[u8]) -> Reader<'_> {
        let length = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
        assert_eq!(length as usize, frame.len() - 4);
        Reader::new(&frame[4..])
    }

    fn get_reply(xid: i32, err: i32, data: &[u8], data_bytes: i32) -> Vec<u8> {
        let mut reply = Vec::new();
        ReplyHeader { xid, zxid: 1, err }.put(&mut reply);
        reply.put_buffer(Some(data));
        Stat { data_bytes, ..Stat::default() }.put(&mut reply);
        reply
    }

    /// A patched template reads as the request it stands for, in the server's own decoder.
    #[test]
    fn templates_read_as_requests() {
        let requests = Requests::new(100, BASE);
        let mut out = Vec::new();
        requests.put(&mut out, 7, Op { kind: Kind::Get, group: 0, leaf: 12345 });
        let mut reader = body(&out);
        assert_eq!(RequestHeader::read(&mut reader), Ok(RequestHeader { xid: 7, op: OpCode::GET_DATA }));
        assert_eq!(PathWatch::read(&mut reader), Ok(PathWatch { path: b"/loadgen/k00012345", watch: false }));

        out.clear();
        requests.put(&mut out, 8, Op { kind: Kind::Set, group: 0, leaf: 999 });
        let mut reader = body(&out);
        assert_eq!(RequestHeader::read(&mut reader).map(|header| header.op), Ok(OpCode::SET_DATA));
        let set = SetData::read(&mut reader).expect("a setData");
        assert_eq!(set.path, Some(&b"/loadgen/k00000999"[..]));
        assert_eq!(set.data, Some(&key_value(999, 100)[..]));

        out.clear();
        requests.put(&mut out, 9, Op { kind: Kind::Create, group: 42, leaf: 43 });
        let mut reader = body(&out);
        assert_eq!(RequestHeader::read(&mut reader).map(|header| header.xid), Ok(9));
        let create = Create::read(&mut reader, OpCode::CREATE).expect("a create");
        assert_eq!(create.path, Some(&b"/loadgen/new/g00000042/n00000043"[..]));
        assert_eq!(create.data, Some(&key_value(43, 100)[..]));
        assert!(reader.rest().is_empty());
    }

    /// Each way in which a get can be answered wrongly is noticed, and the right answer is not.
    #[test]
    fn wrong_replies_are_noticed() {
        let requests = Requests::new(20, BASE);
        let op = Op { kind: Kind::Get, group: 0, leaf: 5 };
        let right = key_value(5, 20);
        assert_eq!(requests.check(&get_reply(3, 0, &right, 20), 3, op), Ok(()));
        assert_eq!(requests.check(&get_reply(4, 0, &right, 20), 3, op), Err(Wrong::Xid { want: 3, have: 4 }));
        assert_eq!(requests.check(&get_reply(3, -101, &right, 20), 3, op), Err(Wrong::Err { code: -101 }));
        assert!(matches!(
            requests.check(&get_reply(3, 0, &right[..19], 19), 3, op),
            Err(Wrong::Length { .. })
        ));
        assert_eq!(requests.check(&get_reply(3, 0, &key_value(6, 20), 20), 3, op), Err(Wrong::Data));
        assert_eq!(
            requests.check(&get_reply(3, 0, &right, 21), 3, op),
            Err(Wrong::StatLength { want: 20, have: 21 })
        );
        assert!(matches!(requests.check(&[0; 3], 3, op), Err(Wrong::Short(_))));
    }
}
