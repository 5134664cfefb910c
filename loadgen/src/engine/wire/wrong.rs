//! Why a reply is wrong.

use zkfast::proto::{ErrorCode, SessionId, Short};

/// Why a reply or an event is none that a correct server sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Replies come in the order of their requests.
    #[error("reply to xid {have} where that to {want} is due")]
    Xid {
        /// The oldest request without a reply.
        want: i32,
        /// What the server sent.
        have: i32,
    },
    /// An error code where success is the only correct reply.
    #[error("error {code}{}", name(*.code))]
    Err {
        /// The reply's code.
        code: i32,
    },
    /// Data of another length.
    #[error("{have} bytes instead of {want}")]
    Length {
        /// The nearest length that is possible.
        want: usize,
        /// What the server sent.
        have: usize,
    },
    /// A Stat with another data length.
    #[error("Stat says {have} bytes of data instead of {want}")]
    StatLength {
        /// The length that was written.
        want: usize,
        /// What the server sent.
        have: i32,
    },
    /// The data of another znode.
    #[error("data of another znode")]
    Data,
    /// The path of another znode.
    #[error("path of another znode")]
    Path,
    /// Bytes after the end of the reply.
    #[error("{bytes} bytes too many")]
    Rest {
        /// How many.
        bytes: usize,
    },
    /// An older zxid than that of the reply before.
    #[error("zxid {have:#x} after {want:#x}")]
    Zxid {
        /// The newest zxid that the session has seen.
        want: i64,
        /// What the server sent.
        have: i64,
    },
    /// The Stat of a setData names no txn, or one after the reply's.
    #[error("Stat says that zxid {have:#x} changed it last, in a reply of zxid {want:#x}")]
    Txn {
        /// The reply's.
        want: i64,
        /// The Stat's.
        have: i64,
    },
    /// A read after a sync that shows an older write than one acknowledged before the sync.
    #[error("data of zxid {have:#x} after a sync, though {want:#x} had been acknowledged before it")]
    Stale {
        /// Zxid of the acknowledged write.
        want: i64,
        /// Zxid that the read shows.
        have: i64,
    },
    /// An ephemeral of another session, or of none.
    #[error("ephemeral owned by {have:#x}")]
    Owner {
        /// The owner in the Stat.
        have: SessionId,
    },
    /// A result of a multi that does not fit its operation.
    #[error("a result of type {op} with error {err}")]
    Result {
        /// Type of the result.
        op: i32,
        /// Its code.
        err: i32,
    },
    /// Results of one multi from more than one txn.
    #[error("the results of a multi are not of one txn")]
    NotOneTxn,
    /// Another number of children.
    #[error("{have} children instead of {want}")]
    Children {
        /// What the parent has.
        want: u32,
        /// What the server sent.
        have: usize,
    },
    /// An event without a watch that can have caused it.
    #[error("event of type {kind} that was not asked for")]
    Event {
        /// Number of its type.
        kind: i32,
    },
    /// Another version than the last change left.
    #[error("version {have} instead of {want}")]
    Version {
        /// What it must be.
        want: i32,
        /// What the server sent.
        have: i32,
    },
    /// A lock that the server gave to two sessions.
    #[error("lock {lock} is held by two: {one} and {other}")]
    TwoHolders {
        /// Number of the lock.
        lock: u32,
        /// Number of the session that held it.
        one: u32,
        /// Number of the session that got it as well.
        other: u32,
    },
    /// A session's own znode is not in the queue of a lock.
    #[error("the session's own znode is missing")]
    NotQueued,
    /// Bytes that break the protocol.
    #[error("{what}")]
    Protocol {
        /// What is wrong.
        what: String,
    },
    /// A session id that another session has already.
    #[error("session {0:#x} was given twice")]
    SessionTwice(SessionId),
    /// A record that ends early.
    #[error("{0}")]
    Short(#[from] Short),
}

fn name(code: i32) -> String {
    ErrorCode::from_wire(code).map(|code| format!(" ({code:?})")).unwrap_or_default()
}
