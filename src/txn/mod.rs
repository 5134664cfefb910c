//! Transactions: what the leader makes of a request once, and every replica applies.
//!
//! A txn is idempotent data (it carries resulting versions, not increments), encoded in jute as
//! ZooKeeper logs it. Checking a request against the tree is the commit side's (`replica::commit`);
//! here is what a checked txn does to a tree.
//!
//! Invariant: applying the same txns in the same order to equal trees gives equal trees, digests
//! included. It also gives the [`Change`]s that bring any other copy to the same state.

mod acl_table;
mod apply;
mod change;
mod codec;
mod fuzzy;
mod quota;

pub use acl_table::AclTable;
pub use apply::{Applied, Undo, apply, recount_quotas, undo};
pub use change::Change;
pub(crate) use codec::time_ms;
pub use codec::{configuration, put_digest, put_sub_txn, read, without_digest};
pub use fuzzy::apply_fuzzy;
pub use quota::{Limits, QuotaKind, Quotas};
pub(crate) use quota::{limits_path, stats_path};

use crate::proto::{OpCode, SessionId, Zxid};
use crate::tree::AclRef;

/// Before every logged txn; 32 bytes. Source: `TxnHeader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// Session that asked; 0 for the server's own.
    pub session_id: SessionId,
    /// The request's xid.
    pub cxid: i32,
    /// Its place in the order of all txns.
    pub zxid: Zxid,
    /// The leader's clock when it was made, ms since 1970: ctime and mtime.
    pub time_ms: i64,
    /// Which record follows; [`OpCode::ERROR`] for a request that failed.
    pub op: OpCode,
}

/// What a created znode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKind {
    /// Stays.
    Persistent,
    /// Goes with the header's session.
    Ephemeral,
    /// Goes once its children are gone.
    Container,
    /// Goes after this many milliseconds without children.
    Ttl(i64),
}

/// Body of create, create2, createContainer and createTTL.
#[derive(Clone, Debug)]
pub struct CreateTxn<'a> {
    /// Final path, sequence number included.
    pub path: &'a [u8],
    /// Data; `None` is null.
    pub data: Option<&'a [u8]>,
    /// Checked and expanded.
    pub acl: AclRef,
    /// What it is.
    pub kind: CreateKind,
    /// The parent's internal cversion afterwards.
    pub parent_cversion: i32,
}

/// A txn's record.
#[derive(Clone, Debug)]
pub enum Txn<'a> {
    /// A new znode.
    Create(CreateTxn<'a>),
    /// A znode goes: delete and deleteContainer.
    Delete {
        /// The znode.
        path: &'a [u8],
    },
    /// New data: setData and reconfig.
    SetData {
        /// Of which znode.
        path: &'a [u8],
        /// `None` is null.
        data: Option<&'a [u8]>,
        /// Its version afterwards.
        version: i32,
    },
    /// A new ACL.
    SetAcl {
        /// Of which znode.
        path: &'a [u8],
        /// Checked and expanded.
        acl: AclRef,
        /// Its ACL version afterwards.
        version: i32,
    },
    /// A version was checked: changes nothing.
    Check {
        /// Of which znode.
        path: &'a [u8],
        /// One more than the version that was found, as 3.9 logs it.
        version: i32,
    },
    /// A session begins.
    CreateSession {
        /// Negotiated, in milliseconds.
        timeout_ms: i32,
    },
    /// A session ends, and its ephemerals with it.
    CloseSession {
        /// The ephemerals; `None` in logs older than 3.7: those of the tree.
        paths: Option<Vec<&'a [u8]>>,
    },
    /// A request failed: changes nothing, but has its place in the order.
    Error {
        /// Number of an [`crate::proto::ErrorCode`].
        code: i32,
    },
    /// All or nothing; nothing if any of them is an error.
    Multi(Vec<(OpCode, Txn<'a>)>),
}
