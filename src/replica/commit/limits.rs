//! How many bytes a write, an access list and a group of the log may have: each txn must fit a record, and each group a
//! segment.

use crate::wal;

/// Bytes of records at which the rest of what was submitted waits for the next group: what is in a
/// group beyond that is one txn, so that every group fits a segment.
pub(in crate::replica) const GROUP_BYTES_MAX: usize = 4 << 20;

/// The same where the log's flushes take longer than its writes: see [`Replica::set_group_bytes`](crate::replica::Replica::set_group_bytes).
pub(in crate::replica) const SLOW_GROUP_BYTES_MAX: usize = 16 << 20;

/// Bytes of records that fit a segment, whatever its header is: a txn that would not fit begins the next group.
pub(in crate::replica) const GROUP_FIT_BYTES: usize = wal::SEGMENT_PAYLOAD_BYTES - wal::BLOCK_BYTES;

const _: () = assert!(GROUP_BYTES_MAX + wal::TXN_BYTES_MAX <= GROUP_FIT_BYTES);

/// Bytes of a stored access list. A client chooses how many ids `auth` stands for and how often it names
/// it: the product must fit a txn.
pub(super) const ACL_BYTES_MAX: usize = 1 << 20;

/// Bytes of a write's body: its txn has an access list and a header beside, and must fit the log.
pub(in crate::replica) const WRITE_BYTES_MAX: usize = wal::TXN_BYTES_MAX - (2 << 20);

const _: () = assert!(WRITE_BYTES_MAX + ACL_BYTES_MAX + 4096 <= wal::TXN_BYTES_MAX);
