//! Requests, read in place.

use super::acl::{RawAcl, read_acls};
use super::jute::{Reader, Short};
use super::op::OpCode;
use super::reply::MultiHeader;
use super::zxid::Zxid;

/// Begins every request but the first; 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The client's number for this request, echoed in the reply.
    pub xid: i32,
    /// What is asked for.
    pub op: OpCode,
}

impl RequestHeader {
    /// Reads the 8 bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self { xid: reader.int()?, op: OpCode(reader.int()?) })
    }
}

/// Body of create, create2, createContainer and createTTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create<'a> {
    /// Path, or its prefix for a sequential mode; null is found out late, as in Java.
    pub path: Option<&'a [u8]>,
    /// Data; `None` is null.
    pub data: Option<&'a [u8]>,
    /// Entries as sent.
    pub acl: Vec<RawAcl<'a>>,
    /// A `CreateMode`'s number.
    pub flags: i32,
    /// Time to live in milliseconds; -1 in every other operation than createTTL.
    pub ttl_ms: i64,
}

impl<'a> Create<'a> {
    /// Reads the body of `op`.
    pub fn read(reader: &mut Reader<'a>, op: OpCode) -> Result<Self, Short> {
        Ok(Self {
            path: reader.string()?,
            data: reader.buffer()?,
            acl: read_acls(reader)?,
            flags: reader.int()?,
            ttl_ms: if op == OpCode::CREATE_TTL { reader.long()? } else { -1 },
        })
    }
}

/// Body of delete and check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathVersion<'a> {
    /// Which znode; null is found out late, as in Java.
    pub path: Option<&'a [u8]>,
    /// Version that it must have; -1 for any.
    pub version: i32,
}

impl<'a> PathVersion<'a> {
    /// Reads the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(Self { path: reader.string()?, version: reader.int()? })
    }
}

/// Body of setData.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetData<'a> {
    /// Which znode; null is found out late, as in Java.
    pub path: Option<&'a [u8]>,
    /// New data; `None` is null.
    pub data: Option<&'a [u8]>,
    /// Version that it must have; -1 for any.
    pub version: i32,
}

impl<'a> SetData<'a> {
    /// Reads the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(Self { path: reader.string()?, data: reader.buffer()?, version: reader.int()? })
    }
}

/// Body of setACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAcl<'a> {
    /// Which znode; null is found out late, as in Java.
    pub path: Option<&'a [u8]>,
    /// Entries as sent.
    pub acl: Vec<RawAcl<'a>>,
    /// ACL version that it must have; -1 for any.
    pub version: i32,
}

impl<'a> SetAcl<'a> {
    /// Reads the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(Self { path: reader.string()?, acl: read_acls(reader)?, version: reader.int()? })
    }
}

/// Body of exists, getData, getChildren and getChildren2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathWatch<'a> {
    /// Which znode.
    pub path: &'a [u8],
    /// Whether to leave a watch.
    pub watch: bool,
}

impl<'a> PathWatch<'a> {
    /// Reads the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(Self { path: path(reader)?, watch: reader.bool()? })
    }
}

/// Body of checkWatches, removeWatches and addWatch: a path and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInt<'a> {
    /// Which znode.
    pub path: &'a [u8],
    /// A `WatcherType`'s or `AddWatchMode`'s number.
    pub number: i32,
}

impl<'a> PathInt<'a> {
    /// Reads the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(Self { path: path_or_null(reader)?, number: reader.int()? })
    }
}

/// Reads a path; null, which no request may have, is a marshalling error as a `NullPointerException`
/// makes it in Java.
pub fn path<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Short> {
    reader.string()?.ok_or(Short::Null)
}

/// What a null stands for where Java takes one as the name of a watch: it is no path, so no event names it.
pub const NULL_PATH: &[u8] = b"\0";

/// Reads the path of a persistent watch, or of one that is asked for or removed: Java keeps these by whatever they are
/// called, null included.
fn path_or_null<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Short> {
    Ok(reader.string()?.unwrap_or(NULL_PATH))
}

/// Body of setWatches and setWatches2. Lists are read as iterators over the frame: a client may send
/// hundreds of thousands of paths.
#[derive(Clone, Debug)]
pub struct SetWatches<'a> {
    /// The newest zxid that the client saw; the client is notified of changes after it at once.
    pub relative_zxid: Zxid,
    /// data, exist, child, persistent and persistent recursive watches, in that order.
    pub lists: [Vec<&'a [u8]>; 5],
}

impl<'a> SetWatches<'a> {
    /// Reads the body of `op`.
    pub fn read(reader: &mut Reader<'a>, op: OpCode) -> Result<Self, Short> {
        let relative_zxid = Zxid::from_wire(reader.long()?);
        let mut lists: [Vec<&'a [u8]>; 5] = Default::default();
        let count = if op == OpCode::SET_WATCHES2 { 5 } else { 3 };
        for (number, list) in lists[..count].iter_mut().enumerate() {
            let paths = reader.count(4)?.ok_or(Short::Null)?;
            for _ in 0..paths {
                // The first three are looked up in the tree, where Java fails at a null.
                list.push(if number < 3 { path(reader)? } else { path_or_null(reader)? });
            }
        }
        Ok(Self { relative_zxid, lists })
    }
}

impl SetWatches<'_> {
    /// Paths of all lists together.
    pub fn paths(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }
}

/// The paths of a setWatches one by one, from wherever the last turn ended: a long one takes many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCursor {
    /// Bytes of the body that are read.
    at: usize,
    /// Lists that were begun; the one of [`Self::list`] is the last of them.
    begun: usize,
    /// Paths that the last of them still has.
    left: usize,
}

impl WatchCursor {
    /// Which of [`SetWatches::lists`] the last path is of.
    pub fn list(&self) -> usize {
        self.begun.saturating_sub(1)
    }

    /// Bytes of the body that were read.
    pub fn bytes(&self) -> usize {
        self.at
    }

    /// The next path of `body`, `None` after the last.
    ///
    /// # Errors
    /// As [`SetWatches::read`].
    pub fn next<'a>(&mut self, body: &'a [u8], op: OpCode) -> Result<Option<&'a [u8]>, Short> {
        let lists = if op == OpCode::SET_WATCHES2 { 5 } else { 3 };
        let mut reader = Reader::new(&body[self.at..]);
        if self.at == 0 {
            reader.long()?;
        }
        while self.left == 0 && self.begun < lists {
            self.left = reader.count(4)?.ok_or(Short::Null)?;
            self.begun += 1;
        }
        let found = match self.left {
            0 => None,
            // As in `SetWatches::read`.
            _ => Some(if self.list() < 3 { path(&mut reader)? } else { path_or_null(&mut reader)? }),
        };
        self.left = self.left.saturating_sub(1);
        self.at = body.len() - reader.rest().len();
        Ok(found)
    }

    /// Whether all of `body` can be read.
    ///
    /// # Errors
    /// As [`SetWatches::read`].
    pub fn check(body: &[u8], op: OpCode) -> Result<(), Short> {
        let mut cursor = Self::default();
        while cursor.next(body, op)?.is_some() {}
        Ok(())
    }
}

/// Body of an auth packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthPacket<'a> {
    /// Scheme by name.
    pub scheme: Option<&'a [u8]>,
    /// What the scheme wants.
    pub auth: Option<&'a [u8]>,
}

impl<'a> AuthPacket<'a> {
    /// Reads the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        reader.int()?;
        Ok(Self { scheme: reader.string()?, auth: reader.buffer()? })
    }
}

/// Body of reconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconfig<'a> {
    /// Servers to add or change, comma-separated.
    pub joining: Option<&'a [u8]>,
    /// Ids of servers to remove, comma-separated.
    pub leaving: Option<&'a [u8]>,
    /// The whole new membership instead.
    pub new_members: Option<&'a [u8]>,
    /// Version that the configuration must have; -1 for any.
    pub config_id: i64,
}

impl<'a> Reconfig<'a> {
    /// Reads the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(Self {
            joining: reader.string()?,
            leaving: reader.string()?,
            new_members: reader.string()?,
            config_id: reader.long()?,
        })
    }
}

/// One operation of a multi or multiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2, createContainer or createTTL; the opcode is what the flags make of it.
    Create(OpCode, Create<'a>),
    /// delete.
    Delete(PathVersion<'a>),
    /// setData.
    SetData(SetData<'a>),
    /// check.
    Check(PathVersion<'a>),
    /// getData; its watch flag is dropped.
    GetData(&'a [u8]),
    /// getChildren; its watch flag is dropped.
    GetChildren(&'a [u8]),
}

impl MultiOp<'_> {
    fn is_read(&self) -> bool {
        matches!(self, Self::GetData(_) | Self::GetChildren(_))
    }

    fn has_null_path(&self) -> bool {
        match self {
            Self::Create(_, create) => create.path.is_none(),
            Self::Delete(delete) => delete.path.is_none(),
            Self::SetData(set) => set.path.is_none(),
            Self::Check(check) => check.path.is_none(),
            Self::GetData(_) | Self::GetChildren(_) => false,
        }
    }
}

/// Reads the operations of a multi or multiRead: all of one kind.
///
/// # Errors
/// [`Short`] for everything that makes 3.9 answer a marshalling error: an operation that may not be
/// here, reads among writes, a create mode that does not exist, an end that is missing.
pub fn read_multi<'a>(reader: &mut Reader<'a>) -> Result<Vec<MultiOp<'a>>, Short> {
    let mut ops: Vec<MultiOp<'a>> = Vec::new();
    loop {
        let header = MultiHeader::read(reader)?;
        if header.done {
            return Ok(ops);
        }
        let op = match header.op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                let create = Create::read(reader, header.op)?;
                MultiOp::Create(create_op(header.op, &create).ok_or(Short::Unknown(create.flags))?, create)
            }
            OpCode::DELETE => MultiOp::Delete(PathVersion::read(reader)?),
            OpCode::SET_DATA => MultiOp::SetData(SetData::read(reader)?),
            OpCode::CHECK => MultiOp::Check(PathVersion::read(reader)?),
            OpCode::GET_DATA => MultiOp::GetData(PathWatch::read(reader)?.path),
            OpCode::GET_CHILDREN => MultiOp::GetChildren(PathWatch::read(reader)?.path),
            OpCode(unknown) => return Err(Short::Unknown(unknown)),
        };
        if op.has_null_path() {
            return Err(Short::Null);
        }
        if ops.first().is_some_and(|first| first.is_read() != op.is_read()) {
            return Err(Short::Unknown(header.op.0));
        }
        ops.push(op);
    }
}

/// The opcode that `Op.Create` derives from a multi's create: its flags decide over its type. Only
/// createTTL has a time to live, without which a TTL mode is nothing.
fn create_op(sent: OpCode, create: &Create<'_>) -> Option<OpCode> {
    match create.flags {
        5 | 6 if sent == OpCode::CREATE_TTL => Some(OpCode::CREATE_TTL),
        5 | 6 => None,
        4 => Some(OpCode::CREATE_CONTAINER),
        // The check of the operation itself refuses flags that do not exist.
        _ if sent == OpCode::CREATE_TTL => Some(OpCode::CREATE),
        0..=3 => Some(sent),
        _ => None,
    }
}
