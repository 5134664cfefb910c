//! What a znode is, once: path, data and bookkeeping in one immutable allocation.

use crate::auth::AclList;
use crate::proto::{Acl, SessionId, Zxid};
use std::fmt;
use std::sync::Arc;
use triomphe::ThinArc;

/// A znode's access control list, interned: `None` is the open one (`world:anyone`, all permissions),
/// which nearly every znode has and which costs nothing to share.
pub type AclRef = Option<Arc<AclList>>;

/// The entries of a reference; the open list reads as empty, and an empty list permits all.
pub fn acl_entries(acl: &AclRef) -> &[Acl] {
    acl.as_ref().map_or(&[], |list| list)
}

/// Everything of a znode that only a change of the znode itself changes.
///
/// Not here: what its children change (cversion, pzxid, their number), which is the tree's.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// Txn that created it.
    pub czxid: Zxid,
    /// Txn that last set its data.
    pub mzxid: Zxid,
    /// When it was created, ms since 1970 by the leader's clock.
    pub ctime_ms: i64,
    /// When its data was last set.
    pub mtime_ms: i64,
    /// Times its data was set.
    pub version: i32,
    /// Times its ACL was set.
    pub aversion: i32,
    /// Stored form: a session, or what marks containers and TTL nodes.
    pub owner: Owner,
    /// Who may do what.
    pub acl: AclRef,
}

/// `ephemeralOwner` as it is stored and logged. Source: `EphemeralType`, Apache ZooKeeper 3.9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner(pub i64);

/// The high byte of what is not a session: 0xFF, which server ids stay below where TTLs are allowed.
const EXTENDED_MASK: i64 = 0xFF << 56;
/// The two bytes after it number the feature; 0 is TTL.
const EXTENDED_FEATURE_MASK: i64 = 0xFFFF << 40;
/// The low five bytes hold the feature's value.
const EXTENDED_VALUE_MASK: i64 = (1 << 40) - 1;

/// Longest time to live: 2^40 - 1 ms, about 34 years.
pub const TTL_MS_MAX: i64 = EXTENDED_VALUE_MASK;

/// Which owners mean more than a session. Source: `EphemeralType.get`, `EphemeralTypeEmulate353.get`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtendedTypes {
    /// `extendedTypesEnabled=false`: a TTL node's owner reads as a session.
    #[default]
    Off,
    /// Those that begin with 0xFF are TTL nodes'.
    On,
    /// `emulate353TTLNodes=true` beside: every negative owner but a container's is a TTL node's, as 3.5.3 wrote them,
    /// also that of a session of a server with a number above 127. New TTL nodes get the later layout.
    Emulate353,
}

/// What an [`Owner`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKind {
    /// A plain znode.
    Persistent,
    /// Goes with the session.
    Ephemeral {
        /// The session.
        session_id: SessionId,
    },
    /// Goes once it has had children and has none.
    Container,
    /// Goes once it has been left alone, without children, for this long.
    Ttl {
        /// Milliseconds.
        ttl_ms: i64,
    },
}

impl Owner {
    /// A persistent znode's.
    pub const PERSISTENT: Self = Self(0);
    /// A container's.
    pub const CONTAINER: Self = Self(i64::MIN);

    /// An ephemeral's.
    pub const fn ephemeral(session_id: SessionId) -> Self {
        Self(session_id.0)
    }

    /// Of a znode that lives `ttl_ms`; `None` unless 1 to [`TTL_MS_MAX`].
    pub fn ttl(ttl_ms: i64) -> Option<Self> {
        (1..=TTL_MS_MAX).contains(&ttl_ms).then_some(Self(EXTENDED_MASK | ttl_ms))
    }

    /// What it means.
    pub fn kind(self, extended_types: ExtendedTypes) -> OwnerKind {
        match self.0 {
            0 => OwnerKind::Persistent,
            i64::MIN => OwnerKind::Container,
            owner if extended_types == ExtendedTypes::Emulate353 && owner < 0 => {
                OwnerKind::Ttl { ttl_ms: owner & EXTENDED_VALUE_MASK }
            }
            owner
                if extended_types == ExtendedTypes::On
                    && owner & EXTENDED_MASK == EXTENDED_MASK
                    && owner & EXTENDED_FEATURE_MASK == 0 =>
            {
                OwnerKind::Ttl { ttl_ms: owner & EXTENDED_VALUE_MASK }
            }
            session => OwnerKind::Ephemeral { session_id: SessionId(session) },
        }
    }
}

#[derive(Clone)]
struct Header {
    fixed: Fixed,
    path_bytes: u32,
    data_is_null: bool,
}

/// A znode as every copy of the tree shares it: immutable, one allocation, one pointer wide.
#[derive(Clone)]
pub struct Body(ThinArc<Header, u8>);

impl Body {
    /// A znode at `path`. `scratch` is reused from call to call to join path and data.
    pub fn new(path: &[u8], data: Option<&[u8]>, fixed: Fixed, scratch: &mut Vec<u8>) -> Self {
        let path_bytes = u32::try_from(path.len()).expect("a path fits a frame");
        scratch.clear();
        scratch.extend_from_slice(path);
        scratch.extend_from_slice(data.unwrap_or_default());
        let header = Header { fixed, path_bytes, data_is_null: data.is_none() };
        let body = Self(ThinArc::from_header_and_slice(header, scratch));
        if scratch.capacity() > SCRATCH_BYTES_KEPT {
            *scratch = Vec::new();
        }
        body
    }

    /// Its path.
    pub fn path(&self) -> &[u8] {
        &self.0.slice[..self.0.header.header.path_bytes as usize]
    }

    /// Its path, and its data right after it.
    pub fn path_and_data(&self) -> &[u8] {
        &self.0.slice
    }

    /// Its data; `None` is null, which is not empty.
    pub fn data(&self) -> Option<&[u8]> {
        (!self.0.header.header.data_is_null).then(|| self.bytes())
    }

    /// Its data, null as empty.
    pub fn bytes(&self) -> &[u8] {
        &self.0.slice[self.0.header.header.path_bytes as usize..]
    }

    /// The rest of it.
    pub fn fixed(&self) -> &Fixed {
        &self.0.header.header.fixed
    }

    /// Its ACL, `None` if that is open.
    pub fn acl_list(&self) -> Option<&AclList> {
        self.fixed().acl.as_deref()
    }

    /// Its ACL's entries; empty is open.
    pub fn acl(&self) -> &[Acl] {
        acl_entries(&self.0.header.header.fixed.acl)
    }
}

/// A scratch buffer that one large znode grew is given back.
const SCRATCH_BYTES_KEPT: usize = 64 << 10;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {:?})", String::from_utf8_lossy(self.path()), self.fixed())
    }
}
