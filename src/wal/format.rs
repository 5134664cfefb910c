//! The format's numbers: lengths, versions, and integers of its headers.

use super::sector::{self, BLOCK_BYTES};
use crate::proto::Zxid;

/// Bytes of a segment file, from its creation to its end.
pub const SEGMENT_BYTES: usize = 64 << 20;

/// Largest txn, in bytes: what a segment takes beside the small records of one group.
pub const TXN_BYTES_MAX: usize = 56 << 20;

/// Bytes of headers and records that a segment takes.
pub const SEGMENT_PAYLOAD_BYTES: usize = SEGMENT_BYTES / sector::BYTES * sector::PAYLOAD_BYTES;

/// Version of the format; every segment names its own. Older ones are read, later ones are refused.
pub const FORMAT_VERSION: u32 = 3;

/// First version with markers.
pub(super) const MARKERS_SINCE: u32 = 2;

/// First version in which a txn carries a digest only if a leader of zkfast's made it, so that one that disagrees
/// proves damage. Older segments hold what leaders of ZooKeeper's predicted as well.
pub(super) const OWN_DIGESTS_SINCE: u32 = 3;

/// First bytes of a segment's payload, at byte 16 of the file.
pub(super) const MAGIC: [u8; 8] = *b"ZKFASTLG";

/// Magic, version (4), zxid of the last record before the segment (8): before its group 0.
pub(super) const SEGMENT_HEADER_BYTES: usize = 20;

/// Chain value of the group before (4), number of records (4).
pub(super) const GROUP_HEADER_BYTES: usize = 8;

/// Bytes of the txn (4), zxid (8).
pub(super) const RECORD_HEADER_BYTES: usize = 12;

/// Kind (4), zxid (8), zxid of the log's end before it (8): in place of a group's records.
pub(super) const MARKER_BYTES: usize = 20;

const _: () = assert!(TXN_BYTES_MAX + BLOCK_BYTES <= SEGMENT_PAYLOAD_BYTES);
const _: () = assert!(SEGMENT_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + MARKER_BYTES <= sector::PAYLOAD_BYTES);

pub(super) fn zxid_at(bytes: &[u8], at: usize) -> Zxid {
    Zxid((u64::from(u32_at(bytes, at)) << 32) | u64::from(u32_at(bytes, at + 4)))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
