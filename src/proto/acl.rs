//! Access control entries.

use super::jute::{JuteWrite, Reader, Short};
use bytes::BufMut;
use std::fmt::{self, Write as _};

/// Permission bits. Source: `ZooDefs.Perms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Perms(pub i32);

#[allow(missing_docs)] // ZooKeeper's names
impl Perms {
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    pub const CREATE: Self = Self(4);
    pub const DELETE: Self = Self(8);
    pub const ADMIN: Self = Self(16);
    pub const ALL: Self = Self(31);

    /// Whether any bit of `wanted` is set.
    pub const fn intersects(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }

    /// Either's bits.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The letters of permissions in zkCli's order: `cdrwa`. Source: `ZKUtil.getPermString`.
impl fmt::Display for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (Self::CREATE, 'c'),
            (Self::DELETE, 'd'),
            (Self::READ, 'r'),
            (Self::WRITE, 'w'),
            (Self::ADMIN, 'a'),
        ];
        let granted = letters.into_iter().filter(|(perm, _)| self.intersects(*perm));
        granted.map(|(_, letter)| letter).try_for_each(|letter| f.write_char(letter))
    }
}

/// The id that passes every check has this scheme.
pub const SUPER: &str = "super";

/// Who: a scheme and what the scheme makes of the rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// `world`, `digest`, `ip`, ...
    pub scheme: Box<str>,
    /// `anyone`, `user:hash`, `127.0.0.1/8`, ...
    pub id: Box<str>,
}

impl Id {
    /// An id of `scheme`.
    pub fn new(scheme: &str, id: &str) -> Self {
        Self { scheme: scheme.into(), id: id.into() }
    }
}

/// One entry of a znode's access control list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    /// What it grants.
    pub perms: Perms,
    /// The user or address that it grants this to.
    pub id: Id,
}

/// `scheme:id:perms`, as zkCli takes it.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.id.scheme, self.id.id, self.perms)
    }
}

impl Acl {
    /// Everything to everybody: `ZooDefs.Ids.OPEN_ACL_UNSAFE`.
    pub fn open() -> Self {
        Self { perms: Perms::ALL, id: Id::new("world", "anyone") }
    }
}

/// Bytes of the smallest entry: perms and two null strings.
const ACL_BYTES_MIN: usize = 12;

/// An entry as a client sent it: either string may be null, which no valid entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAcl<'a> {
    /// Permission bits.
    pub perms: i32,
    /// Scheme, as bytes.
    pub scheme: Option<&'a [u8]>,
    /// Id, as bytes.
    pub id: Option<&'a [u8]>,
}

/// Reads a vector of entries; null reads as empty, which every request treats alike.
pub fn read_acls<'a>(reader: &mut Reader<'a>) -> Result<Vec<RawAcl<'a>>, Short> {
    let count = reader.count(ACL_BYTES_MIN)?.unwrap_or(0);
    let mut acls = Vec::with_capacity(count);
    for _ in 0..count {
        acls.push(RawAcl { perms: reader.int()?, scheme: reader.string()?, id: reader.string()? });
    }
    Ok(acls)
}

/// Writes a vector of entries.
pub fn put_acls<B: BufMut + ?Sized>(out: &mut B, acls: &[Acl]) {
    out.put_count(acls.len());
    for acl in acls {
        out.put_i32(acl.perms.0);
        out.put_string(acl.id.scheme.as_bytes());
        out.put_string(acl.id.id.as_bytes());
    }
}
