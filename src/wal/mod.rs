//! The log's bytes: segments, groups, sectors, checksums, and recovery of a torn tail.
//!
//! Nothing here opens a file: the shell hands in what it read and writes what it is given. The
//! format, the rules of recovery and what the shell owes them are in `src/docs/wal.md`.
//!
//! ```text
//! segment  log.00000007, always SEGMENT_BYTES long
//!   group  one group commit: whole blocks of 4 KiB, one in flight, never rewritten
//!     sector  512 bytes that name their segment and group: 16 of header, 496 of payload
//!       record  one txn, where the payloads of a group's sectors are put together
//!       or a marker, alone in its group: it says which earlier records no longer count
//! ```
//!
//! Invariant: a record that was acknowledged is either given back by [`Recovery`], unchanged and in
//! its place, or recovery refuses with a [`Damage`]. Only a group that cannot have been acknowledged
//! is cut off, and is [`Torn`].
//!
//! # Writing and reading a log
//! ```
//! use zkfast::proto::Zxid;
//! use zkfast::wal::{Batch, Entry, GroupEncoder, Place, Recovery, SEGMENT_BYTES};
//!
//! // A new log in segment 1; its records come after zxid 0.
//! let mut encoder = GroupEncoder::new(SEGMENT_BYTES, 1, Zxid::ZERO);
//! let mut batch = Batch::with_capacity(64);
//! batch.put(Zxid(1), |bytes| bytes.extend(b"first txn"));
//! batch.put(Zxid(2), |bytes| bytes.extend(b"second txn"));
//! let mut segment = vec![0; SEGMENT_BYTES];
//! let written = encoder.encode(&batch, &mut segment);
//! // Both txns are acknowledged once these bytes are written at `written.offset` and flushed.
//! assert_eq!((written.offset, written.bytes, written.last), (0, 4096, Zxid(2)));
//!
//! // A start reads the segments in order.
//! let mut txns = Vec::new();
//! let end = Recovery::new(SEGMENT_BYTES).segment(&segment, 1, Place::Newest, |entry| {
//!     if let Entry::Txn(zxid, bytes) = entry {
//!         txns.push((zxid, bytes.to_vec()));
//!     }
//! })?;
//! assert_eq!(txns, [(Zxid(1), b"first txn".to_vec()), (Zxid(2), b"second txn".to_vec())]);
//! assert_eq!((end.offset, end.torn), (4096, None));
//! # Ok::<(), zkfast::wal::Damage>(())
//! ```

mod format;
mod group;
mod marker;
mod recover;
mod sector;
#[cfg(test)]
mod surgery;

pub use format::{FORMAT_VERSION, SEGMENT_BYTES, SEGMENT_PAYLOAD_BYTES, TXN_BYTES_MAX};
pub use group::{Batch, GroupEncoder, Written};
pub use marker::{Cuts, Marker};
pub use recover::{Damage, End, Entry, Follower, Next, Place, Recovery, Seen, Torn, has_own_digests, peek};
pub use sector::BLOCK_BYTES;

use crate::proto::Zxid;

/// A place between two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u32,
    /// Where in it.
    pub offset: usize,
}

impl Position {
    /// Number of the segment that a base begins if it is what the log gets here.
    pub fn base_segment(self) -> u32 {
        if self.offset == 0 { self.segment } else { self.segment + 1 }
    }
}

/// A segment that is there, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number, from 1.
    pub number: u32,
    /// Zxid of the last record that counted before it, or the base's; `None` while it has no durable group.
    /// See [`peek`].
    pub after: Option<Zxid>,
    /// Whether it begins with a base: no record before it counts.
    pub is_base: bool,
}

/// Name of the file that holds segment `number`.
pub fn file_name(number: u32) -> String {
    format!("log.{number:08x}")
}

/// The segment's number in a name that [`file_name`] gives; `None` for every other name.
pub fn parse_file_name(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_prefix("log.")?, 16).ok()?;
    (number != 0 && file_name(number) == name).then_some(number)
}

/// Number of the segment that replay starts with on top of a snapshot at `snapshot`: the last one
/// that begins at it or before. `None` where the log begins later, so that records are missing.
///
/// That is right where zxids went back, too: of what stands before a segment, only records up to its `after`
/// can count, and the snapshot holds those. What is read may be cut by a marker further on ([`Cuts`]).
///
/// A log without a single durable group continues every snapshot: it starts at its only segment.
pub fn replay_start(segments: &[Segment], snapshot: Zxid) -> Option<u32> {
    if let [Segment { number, after: None, .. }] = segments {
        return Some(*number);
    }
    let starts = segments.iter().filter(|segment| segment.after.is_some_and(|after| after <= snapshot));
    starts.map(|segment| segment.number).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the names that the log itself gives are segments.
    #[test]
    fn names() {
        for number in [1, 0x2a, u32::MAX] {
            assert_eq!(parse_file_name(&file_name(number)), Some(number));
        }
        assert_eq!(file_name(0x2a), "log.0000002a");
        for other in
            ["log.00000000", "log.1", "log.0000002A", "log.+000002a", "log.100000001", "snapshot.1", ""]
        {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    /// Replay starts in the segment that holds the first record after the snapshot, or nowhere.
    #[test]
    fn replay_starts_at_the_snapshot() {
        let segment = |number, after: Option<u64>| Segment { number, after: after.map(Zxid), is_base: false };
        let log = [segment(4, Some(10)), segment(5, Some(20)), segment(6, None)];
        for (snapshot, start) in [(9, None), (10, Some(4)), (19, Some(4)), (20, Some(5)), (99, Some(5))] {
            assert_eq!(replay_start(&log, Zxid(snapshot)), start, "{snapshot}");
        }
        // Cut back to 5 before segment 7 began: what counts of the older ones is in every snapshot from 5 on.
        let log = [&log[..2], &[segment(6, Some(30)), segment(7, Some(5))]].concat();
        for (snapshot, start) in [(4, None), (5, Some(7)), (15, Some(7)), (40, Some(7))] {
            assert_eq!(replay_start(&log, Zxid(snapshot)), start, "{snapshot}");
        }
        assert_eq!(replay_start(&[segment(1, None)], Zxid(7)), Some(1));
        assert_eq!(replay_start(&[], Zxid(7)), None);
    }
}
