//! Records of the log for a learner that lacks them (DIFF), read back from the segments.

use super::{Folder, Storage, newest_base, segments};
use crate::proto::Zxid;
use crate::wal::{self, BLOCK_BYTES, Batch, Cuts, Damage, Entry, Marker, Next, Position, Recovery};
use std::io;

/// Bytes of the log that are read at once. A larger group is read as a whole.
pub const SLICE_BYTES: usize = 256 << 10;

/// Why the log cannot be read back. The leader sends a snapshot instead.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses; or the segment was purged meanwhile.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The log is damaged; or the segment was purged meanwhile, and is used again.
    #[error("{0}")]
    Damage(#[from] Damage),
    /// It ends before what is said to be durable.
    #[error("{}, byte {}: the log ends, and is said to reach {}, byte {}", wal::file_name(.at.segment), .at.offset,
        wal::file_name(.durable.segment), .durable.offset)]
    Ends {
        /// Where it ends.
        at: Position,
        /// How far it should go.
        durable: Position,
    },
}

/// Why the log cannot give the txns that a learner lacks.
#[derive(Debug, thiserror::Error)]
pub enum ForLearnerError {
    /// The log cannot be read back.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The log begins later.
    #[error("it does not go back to {0}")]
    Begins(Zxid),
    /// The log has no txn after this one.
    #[error("it ends at {0}")]
    Ends(Zxid),
}

/// Looks for the records above `after`, to `through`; `None` where the log does not go back so far, restarts in
/// between, or does not reach `through`.
///
/// Reads the log from there to `durable`, where it ended when its newest group had become durable
/// ([`wal::Written::end`]); nothing after that is read, so that the writer may go on meanwhile. Then
/// [`LogSlices::slice`] hands them out. Blocks: for a helper thread.
///
/// # Errors
/// See [`ReadError`].
pub fn records<S: Storage>(
    storage: &S,
    after: Zxid,
    through: Zxid,
    durable: Position,
) -> Result<Option<LogSlices>, ReadError> {
    let mut known = segments(storage)?;
    known.retain(|segment| segment.number <= durable.segment);
    let base = newest_base(&known);
    known.retain(|segment| base.is_none_or(|(number, _)| segment.number >= number));
    let Some(first) = wal::replay_start(&known, after) else { return Ok(None) };
    let mut scan = Cursor::new(storage.segment_bytes(), first, durable);
    let begins = known.iter().find(|segment| segment.number == first).and_then(|segment| segment.after);
    let (mut markers, mut floor) = (Vec::new(), begins);
    let mut each = |entry: Entry<'_>| match entry {
        Entry::Txn(zxid, _) if zxid <= after => floor = Some(zxid),
        Entry::Txn(..) => {}
        Entry::Marker { marker, .. } => {
            markers.push(marker);
            // A base, and a truncation that cuts below, are where the log goes on from.
            floor = match (marker, floor) {
                (Marker::Truncate { to }, floor) => floor.map(|floor| floor.min(to)),
                (Marker::Base { at }, _) => Some(at),
            };
        }
    };
    while scan.group(storage, &mut each)? {}
    let (Some(ends), Some(floor)) = (scan.recovery.last(), floor) else { return Ok(None) };
    let cuts = Cuts::of(&markers);
    let restarts = markers.iter().skip(1).any(|marker| matches!(marker, Marker::Base { .. }));
    if restarts || through > ends {
        return Ok(None);
    }
    let cursor = Cursor::new(storage.segment_bytes(), first, durable);
    Ok(Some(LogSlices { cursor, cuts, markers: 0, floor, after, through, is_done: after >= through }))
}

/// Records that were found, to be handed out in slices.
#[derive(Debug)]
pub struct LogSlices {
    cursor: Cursor,
    cuts: Cuts,
    /// Markers passed.
    markers: usize,
    floor: Zxid,
    after: Zxid,
    through: Zxid,
    is_done: bool,
}

impl LogSlices {
    /// The last record that is not above `after`. If it is not `after` itself, a learner that ends there has what this
    /// log has not: it must truncate to this first. Source: `LearnerHandler.queueCommittedProposals`.
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// Reads about [`SLICE_BYTES`] of the log on, and hands out what of it was wanted, in order; `false` once that was
    /// all.
    ///
    /// # Errors
    /// See [`ReadError`]; what was handed out is right.
    pub fn slice<S: Storage>(
        &mut self,
        storage: &S,
        mut each: impl FnMut(Zxid, &[u8]),
    ) -> Result<bool, ReadError> {
        let mut bytes = 0;
        while !self.is_done && bytes < SLICE_BYTES {
            let Self { cursor, cuts, markers, after, through, is_done, .. } = self;
            let before = cursor.at;
            let went_on = cursor.group(storage, &mut |entry| match entry {
                Entry::Marker { .. } => *markers += 1,
                Entry::Txn(zxid, txn) => {
                    if *after < zxid && zxid <= *through && !*is_done && cuts.counts(zxid, *markers) {
                        each(zxid, txn);
                        *is_done = zxid == *through;
                    }
                }
            })?;
            *is_done |= !went_on;
            bytes += if cursor.at.segment == before.segment {
                cursor.at.offset - before.offset
            } else {
                cursor.at.offset
            };
        }
        Ok(!self.is_done)
    }
}

/// Reads the log for a learner that is behind, piece by piece.
///
/// The caller names where each piece begins, and may have used less of the piece before than it got: what was not used is
/// read again.
#[derive(Debug)]
pub struct LogReader {
    slices: LogSlices,
    /// Newest record that was handed out.
    given: Zxid,
}

impl LogReader {
    /// A reader of the log from `after` on; see [`records`]. `None` where the log does not go back so far.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn new<S: Storage>(
        storage: &S,
        after: Zxid,
        through: Zxid,
        durable: Position,
    ) -> Result<Option<Self>, ReadError> {
        let slices = records(storage, after, through, durable)?;
        Ok(slices.map(|slices| Self { slices, given: after }))
    }

    /// See [`LogSlices::floor`].
    pub fn floor(&self) -> Zxid {
        self.slices.floor()
    }

    /// The records after `after`, oldest first, about `bytes_max` bytes of them; none where the log ends there. It is
    /// durable through `through`, which ends at `durable`. `reader` goes on where it stopped, if that is there.
    ///
    /// # Errors
    /// See [`ForLearnerError`].
    pub fn read<S: Storage>(
        reader: Option<Self>,
        storage: &S,
        after: Zxid,
        (through, durable): (Zxid, Position),
        bytes_max: usize,
    ) -> Result<(Batch, Self), ForLearnerError> {
        let mut batch = Batch::default();
        let mut known = reader.filter(|reader| reader.given == after);
        // A reader knows what was durable when it was made: the second one knows all.
        for _ in 0..2 {
            let mut reader = match known.take() {
                Some(reader) => reader,
                None => Self::new(storage, after, through, durable)?.ok_or(ForLearnerError::Begins(after))?,
            };
            let mut more = true;
            while more && batch.bytes() < bytes_max {
                more = reader.slices.slice(storage, |zxid, txn| {
                    batch.put(zxid, |out| out.extend_from_slice(txn));
                })?;
            }
            if !batch.is_empty() {
                reader.given = batch.last();
                return Ok((batch, reader));
            }
        }
        Err(ForLearnerError::Ends(after))
    }
}

/// Goes through segments group by group, to where the log is known to be durable.
#[derive(Debug)]
struct Cursor {
    recovery: Recovery,
    segment_bytes: usize,
    durable: Position,
    at: Position,
    group: u32,
    /// What was read of the segment, from `window_at` on.
    window: Vec<u8>,
    window_at: usize,
}

impl Cursor {
    fn new(segment_bytes: usize, first: u32, durable: Position) -> Self {
        Self {
            recovery: Recovery::new(segment_bytes),
            segment_bytes,
            durable,
            at: Position { segment: first, offset: 0 },
            group: 0,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// Reads the next group; `false` where all that is durable was read.
    fn group<S: Storage>(
        &mut self,
        storage: &S,
        each: &mut impl FnMut(Entry<'_>),
    ) -> Result<bool, ReadError> {
        let ends = |at, durable| Err(ReadError::Ends { at, durable });
        while self.at < self.durable {
            let Position { segment, offset } = self.at;
            let is_newest = segment == self.durable.segment;
            let limit = if is_newest { self.durable.offset } else { self.segment_bytes };
            let given = &self.window[(offset - self.window_at).min(self.window.len())..];
            match self.recovery.next(given, segment, self.group, offset, &mut *each)? {
                Next::Group { bytes } => {
                    self.at.offset += bytes;
                    self.group += 1;
                    return Ok(true);
                }
                Next::Cut if offset + given.len() < limit => {
                    let want = SLICE_BYTES.max(2 * given.len()).min(limit - offset);
                    self.window.resize(want, 0);
                    self.window_at = offset;
                    let name = wal::file_name(segment);
                    storage.read_at(Folder::Log, &name, offset as u64, &mut self.window)?;
                }
                Next::Cut if offset < limit => return ends(self.at, self.durable),
                Next::Cut | Next::End if is_newest => return ends(self.at, self.durable),
                Next::Cut | Next::End => {
                    (self.at, self.group) = (Position { segment: segment + 1, offset: 0 }, 0);
                    self.window.clear();
                    self.window_at = 0;
                }
            }
        }
        Ok(false)
    }
}

const _: () = assert!(SLICE_BYTES.is_multiple_of(BLOCK_BYTES));
