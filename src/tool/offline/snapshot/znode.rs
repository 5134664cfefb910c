//! A znode of a snapshot, as it is held and shown.

use super::super::row::{Row, Value};
use crate::proto::{Acl, Zxid};
use crate::snapshot::Node;
use crate::tree::{ExtendedTypes, Owner, OwnerKind};
use sha1::{Digest, Sha1};

/// What is held of a znode's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Null.
    Null,
    /// All of it.
    Bytes(Box<[u8]>),
    /// Its length, and SHA-1, which tells equal data from other data.
    Hash(usize, [u8; 20]),
    /// Its length.
    Length(usize),
}

impl Held {
    /// Bytes of the data; 0 for null.
    pub fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Hash(length, _) | Self::Length(length) => *length,
        }
    }
}

/// How much of the data is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All.
    Bytes,
    /// What tells whether it is equal to other data.
    Hash,
    /// Its length.
    Length,
}

impl Keep {
    fn of(self, data: Option<&[u8]>) -> Held {
        match (self, data) {
            (_, None) => Held::Null,
            (Self::Bytes, Some(data)) => Held::Bytes(data.into()),
            (Self::Hash, Some(data)) => Held::Hash(data.len(), Sha1::digest(data).into()),
            (Self::Length, Some(data)) => Held::Length(data.len()),
        }
    }
}

/// A znode.
#[derive(Clone, Debug)]
pub struct Znode {
    /// The full path, `/` for the root.
    pub path: Box<[u8]>,
    /// Its data.
    pub data: Held,
    /// Id of its access list in the snapshot.
    pub acl: u32,
    /// Txn that created it.
    pub czxid: Zxid,
    /// Txn that last set its data.
    pub mzxid: Zxid,
    /// Txn that last created or deleted a child.
    pub pzxid: Zxid,
    /// When it was created, in milliseconds since 1970.
    pub ctime_ms: i64,
    /// When its data was last set.
    pub mtime_ms: i64,
    /// Times that its data was set.
    pub version: i32,
    /// Children ever created in it.
    pub cversion: i32,
    /// Times that its access list was set.
    pub aversion: i32,
    /// Owner as stored.
    pub owner: Owner,
}

impl Znode {
    /// A znode as a snapshot holds it.
    pub fn new(node: &Node<'_>, keep: Keep) -> Self {
        Self {
            path: node.path.into(),
            data: keep.of(node.data),
            acl: node.acl,
            czxid: node.czxid,
            mzxid: node.mzxid,
            pzxid: node.pzxid,
            ctime_ms: node.ctime_ms,
            mtime_ms: node.mtime_ms,
            version: node.version,
            cversion: node.cversion,
            aversion: node.aversion,
            owner: Owner(node.owner),
        }
    }

    /// What sorts znodes so that those below one follow it at once: the path, in which a slash is less than all else.
    pub fn key(path: &[u8]) -> impl Iterator<Item = u8> + '_ {
        let path = if path == b"/" { b"" } else { path };
        path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte })
    }

    /// The znode as a row.
    pub fn row(&self, acl: Option<&[Acl]>, children: u32) -> Row {
        let (kind, ttl_ms) = match self.owner.kind(ExtendedTypes::On) {
            OwnerKind::Persistent => ("persistent", None),
            OwnerKind::Ephemeral { .. } => ("ephemeral", None),
            OwnerKind::Container => ("container", None),
            OwnerKind::Ttl { ttl_ms } => ("ttl", Some(ttl_ms)),
        };
        let row = Row::new()
            .bare("path", Value::path(&self.path))
            .with("kind", Value::Text(kind.to_owned()))
            .with("czxid", Value::Hex(self.czxid.0))
            .with("ctime", Value::Time(self.ctime_ms))
            .with("mzxid", Value::Hex(self.mzxid.0))
            .with("mtime", Value::Time(self.mtime_ms))
            .with("pzxid", Value::Hex(self.pzxid.0))
            .with("cversion", Value::Int(self.cversion.into()))
            .with("version", Value::Int(self.version.into()))
            .with("aversion", Value::Int(self.aversion.into()))
            .with("owner", Value::Hex(self.owner.0 as u64));
        let row = match ttl_ms {
            Some(ttl_ms) => row.with("ttl_ms", Value::Int(ttl_ms)),
            None => row,
        };
        let row =
            row.with("children", Value::Int(children.into())).with("bytes", Value::count(self.data.len()));
        let row = match &self.data {
            Held::Bytes(bytes) => row.with("data", Value::Data(Some(bytes.to_vec()))),
            Held::Null => row.with("data", Value::Data(None)),
            Held::Hash(..) | Held::Length(_) => row,
        };
        match acl {
            Some(acl) => row.with("acl", Value::Acl(acl.to_vec())),
            None => row.with("acl_missing", Value::Int(self.acl.into())),
        }
    }
}
