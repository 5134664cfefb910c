//! Requests written from templates, and checks of their replies.
//!
//! A request is a copy of a frame made once, with its xid and the digits of its path overwritten: no field is encoded
//! twice.

use crate::engine::wire::frames::{EPHEMERAL, PERSISTENT, ended, put_request, read_stat};
use crate::engine::wire::op::{Kind, Op};
use crate::engine::wire::paths::{DIGITS, KEY_PREFIX, digits, group_path, key_path, leaf_path, number};
use crate::engine::wire::values::Values;
use crate::engine::wire::wrong::Wrong;
use bytes::BufMut;
use zkfast::proto::jute::{JuteWrite, Reader};
use zkfast::proto::reply::MultiHeader;
use zkfast::proto::{Acl, OpCode, SessionId, Stat, acl};

/// Offset of the xid in a frame, after the length.
const XID_AT: usize = 4;

/// Offset of the path's bytes in a frame, after the length, xid, opcode and the path's own length.
const PATH_AT: usize = 16;

/// A frame made once, in which xid, numbers and value are put for each request.
#[derive(Clone, Debug)]
struct Template {
    /// The frame up to the value; the whole frame if it has none.
    head: Vec<u8>,
    /// Offset of the parent's digits, if the path has a parent of its own.
    group_at: Option<usize>,
    /// Offset of the znode's digits, at the end of the path.
    leaf_at: usize,
    /// The frame after the value; none without a value.
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

/// Templates of the most frequent requests, and checks of their replies.
#[derive(Clone, Debug)]
pub struct Requests {
    get: Template,
    set: Template,
    create: Template,
    ephemeral: Template,
    delete: Template,
    values: Values,
    /// Offset of the parent's digits in a created path.
    group_at: usize,
    /// Length of a created path in bytes.
    created_bytes: usize,
}

impl Requests {
    /// Templates for `values`; creates are below `base`.
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

    /// What the data of znodes looks like.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Appends the frame of `op`, whose kind has a template.
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

    /// Appends the frame of a multi of setDatas of `keys`, of `bytes` bytes each.
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

    /// Checks data and Stat of a getData of key `leaf`; returns the zxid of its last change.
    pub fn check_get(&self, body: &[u8], leaf: u32) -> Result<i64, Wrong> {
        let mut reader = Reader::new(body);
        let data = reader.buffer()?.unwrap_or_default();
        self.values.check(data, leaf)?;
        let stat = read_stat(&mut reader, data.len())?;
        ended(&reader)?;
        Ok(stat.mzxid.to_wire())
    }

    /// Checks the reply to a setData of `bytes` bytes; returns its Stat.
    pub fn check_set(&self, body: &[u8], bytes: u32) -> Result<Stat, Wrong> {
        let mut reader = Reader::new(body);
        let stat = read_stat(&mut reader, bytes as usize)?;
        ended(&reader)?;
        Ok(stat)
    }

    /// Checks the reply to a create: its path.
    pub fn check_create(&self, body: &[u8], op: Op) -> Result<(), Wrong> {
        let mut reader = Reader::new(body);
        self.check_path(&mut reader, op)?;
        ended(&reader)
    }

    /// Checks the reply to a create2 of an ephemeral by session `owner`: its path and Stat.
    pub fn check_ephemeral(&self, body: &[u8], op: Op, owner: SessionId) -> Result<(), Wrong> {
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

    /// Checks the reply to a multi of `ops` setDatas of `bytes` bytes: it has all results, and they are of one txn.
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

/// Checks the reply to a getChildren: the children `0..children`, each once, in any order. `seen` is scratch memory.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wire::values::key_value;
    use std::ops::RangeInclusive;
    use zkfast::proto::Zxid;
    use zkfast::proto::request::{
        Create, MultiOp, PathVersion, PathWatch, RequestHeader, SetData, read_multi,
    };

    const BASE: &str = "/loadgen/new";

    fn requests(sizes: RangeInclusive<u32>) -> Requests {
        Requests::new(Values::new(sizes), BASE)
    }

    /// The header of a frame, and a reader of its body.
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

    /// The server's own decoder reads each template as the request it stands for.
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

    /// The server's own decoder reads a multi as its setDatas of neighbouring keys.
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

    /// Each wrong reply to a get is noticed, and the right one passes.
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

    /// A value whose digits give another size is two values mixed.
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

    /// An ephemeral with another owner or another path is noticed.
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
        assert_eq!(requests.check_ephemeral(&body(&path, SessionId(77)), op, SessionId(77)), Ok(()));
        assert_eq!(
            requests.check_ephemeral(&body(&path, SessionId::NONE), op, SessionId(77)),
            Err(Wrong::Owner { have: SessionId::NONE })
        );
        let other = leaf_path(&group_path(BASE, 1), 3);
        assert_eq!(
            requests.check_ephemeral(&body(&other, SessionId(77)), op, SessionId(77)),
            Err(Wrong::Path)
        );
    }

    /// A multi with a result that is missing, failed or of another txn is noticed.
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

    /// A list with a child that is missing, doubled or unknown is noticed.
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
