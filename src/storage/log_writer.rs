//! Writes the log: one group in flight, each durable before the next one begins.
//!
//! All that decides is here: in which segment a group goes, when blocks are zeroed ahead of it, when a segment is made
//! ahead, whether the disk is quick, that the first error is the last. What is done to files is behind [`LogFiles`]: the
//! server's writes past the page cache and keeps the time (`src/server/log_writer.rs`), [`LogFile`](super::LogFile) works
//! over any [`Storage`](super::Storage), and so on the simulator's disk.

use crate::wal::{self, BLOCK_BYTES, Batch, GroupEncoder, Position, Written};
use std::io;
use std::sync::Arc;

/// Bytes ahead of the writer that are zeroed at once when it gets there. Blocks that were never written
/// cost twice the time of those that were.
const FILL_BYTES: usize = 1 << 20;

/// Segments that are shorter than the server's are filled in steps that are shorter as well.
const FILLS_PER_SEGMENT_MIN: usize = 32;

/// Groups of this size and more take their blocks as they are. A block that was never written costs its group a second
/// write to the disk, of the file system's own records; a group this large takes longer to write than that, and zeros
/// before it would double what the disk has to take.
const LARGE_GROUP_BYTES: usize = 256 << 10;

/// How long the log must have been idle for the rest of its segment to be zeroed, step by step.
const FILL_PAUSE_US: i64 = 5_000;

/// How often to look whether there was a first group, which another thread may have written. Before that nothing is
/// zeroed: the first group may be long in coming, and the disk of a server that joins has the leader's tree to write.
const FIRST_GROUP_PAUSE_US: i64 = 1_000_000;

/// After a step the log rests so many times as long as that took: others may need the disk, and a slow one has no time to
/// spare.
const FILL_REST: i64 = 7;

/// A group that took longer than this marks the disk slow.
const SLOW_GROUP_US: i64 = 2_000;

/// The disk stays marked slow for so many times as long as that group took: a thread that has others to serve then stands
/// still for a twentieth of its time at most.
const SLOW_PENALTY_FACTOR: i64 = 20;

/// Groups may grow until they take so many times as long to be written as to be flushed.
const BALANCE: u128 = 2;

/// What the writer of the log does to files. Calls come from one thread, one after the other.
///
/// # Errors
/// Those of the system. The writer passes the first one on, and is not used after it: the kernel may have dropped the
/// pages, and a second flush would say that all is well.
pub trait LogFiles {
    /// Length of every segment.
    fn segment_bytes(&self) -> usize;

    /// Bytes from the start of the open segment whose blocks were written once.
    fn filled(&self) -> usize;

    /// True if a write takes as long as the disk does, and not as long as a page cache.
    fn is_direct(&self) -> bool;

    /// The first `bytes` of the memory that [`write`](Self::write) writes from; whatever was in it.
    fn buffer(&mut self, bytes: usize) -> &mut [u8];

    /// Writes the first `bytes` of [`buffer`](Self::buffer) to the open segment. They are durable once
    /// [`flush`](Self::flush) returns.
    fn write(&mut self, offset: usize, bytes: usize) -> io::Result<()>;

    /// Makes all durable that was written to the open segment.
    fn flush(&mut self) -> io::Result<()>;

    /// Zeroes `bytes` of the open segment from [`filled`](Self::filled) on.
    fn fill(&mut self, bytes: usize) -> io::Result<()>;

    /// Puts a segment in its place, its name durable, and opens it in place of the one before.
    fn begin_segment(&mut self, number: u32) -> io::Result<Placed>;

    /// Begins to make a segment ahead, beside the log; false if one is being made still. What becomes of it the log need
    /// not know: without it, the next segment is a new file, which is slower and no less safe.
    fn prepare_spare(&mut self) -> bool;

    /// Gives memory back that a group of `bytes` did not need.
    fn shrink(&mut self, _bytes: usize) {}

    /// Microseconds of a clock that never goes back.
    fn now_us(&self) -> i64;
}

/// What a segment was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// A file that waited for this.
    Spare,
    /// A new file, which holds no blocks yet.
    New,
}

/// The log cannot go on; nothing is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}: {error}", wal::file_name(*.segment))]
pub struct LogError {
    /// In which segment.
    pub segment: u32,
    /// What failed.
    pub what: &'static str,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        Self::new(error.error.kind(), error)
    }
}

/// A group that is durable.
#[derive(Debug)]
pub struct Done {
    /// What was written.
    pub batch: Arc<Batch>,
    /// How it went.
    pub flushed: Flushed,
}

/// How a group became durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// How long write and flush took together, in microseconds.
    pub took_us: i64,
    /// How long the flush took, in microseconds.
    pub fsync_us: i64,
    /// Bytes of the group.
    pub bytes: usize,
    /// Where the log ends: all before is durable.
    pub end: Position,
    /// How many bytes the disk writes in twice the time of a flush, lately; 0 while that is not known.
    pub balanced_bytes: usize,
}

/// Whether the segment to come is being prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spare {
    /// It is asked for once half of the current one is written.
    AtHalf,
    /// It is asked for with the next group: there was none when this segment began.
    Soon,
    /// It was asked for.
    AskedFor,
}

/// A group that is written and not flushed.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    written: Written,
    started_us: i64,
    fsync_started_us: i64,
}

/// The log's writing end.
#[derive(Debug)]
pub struct LogWriter<F> {
    files: F,
    encoder: GroupEncoder,
    in_flight: Option<InFlight>,
    spare: Spare,
    /// Groups, and their bytes, that this segment has got from this writer.
    groups: usize,
    group_bytes: usize,
    /// The disk was full when there was time to fill ahead.
    no_room: bool,
    /// When the next step of filling ahead may begin; `None` before this writer's first group.
    fill_at_us: Option<i64>,
    /// See [`Flushed::balanced_bytes`].
    balanced_bytes: usize,
    /// Until when the disk is marked slow.
    slow_until_us: Option<i64>,
}

impl<F: LogFiles> LogWriter<F> {
    /// Goes on where the log ends, which is durable: in the segment that `files` has open.
    pub fn new(files: F, encoder: GroupEncoder) -> Self {
        assert!(
            files.filled() >= encoder.offset(),
            "{} bytes of the segment were written once, and it ends at {}",
            files.filled(),
            encoder.offset()
        );
        Self {
            files,
            encoder,
            in_flight: None,
            spare: Spare::AtHalf,
            groups: 0,
            group_bytes: 0,
            no_room: false,
            fill_at_us: None,
            balanced_bytes: 0,
            slow_until_us: None,
        }
    }

    /// Where the log stands, the group in flight included.
    pub fn encoder(&self) -> &GroupEncoder {
        &self.encoder
    }

    /// The files that it writes.
    pub fn files_mut(&mut self) -> &mut F {
        &mut self.files
    }

    /// True if the disk was quick lately, so that a caller that has others to serve may write the next group itself.
    pub fn is_quick(&self) -> bool {
        self.slow_until_us.is_none_or(|until_us| self.files.now_us() >= until_us)
    }

    /// Whether nothing is to be zeroed ahead.
    fn is_filled(&self) -> bool {
        self.files.filled() == self.files.segment_bytes() || self.no_room
    }

    /// Microseconds to wait for a group before [`idle`](Self::idle) has something to do; `None` for as long as it takes.
    pub fn pause_us(&self) -> Option<i64> {
        let until = |at_us: i64| FILL_PAUSE_US.max(at_us - self.files.now_us());
        (!self.is_filled()).then(|| self.fill_at_us.map_or(FIRST_GROUP_PAUSE_US, until))
    }

    /// Uses a moment in which nothing is to be written to zero what comes next. Says how many bytes of the segment are
    /// left where the disk is full: no group waits for these zeros yet, and there may be room again when one does.
    ///
    /// # Errors
    /// Every other one of the system: the log ends.
    ///
    /// # Panics
    /// Where a group is in flight.
    pub fn idle(&mut self) -> Result<Option<usize>, LogError> {
        assert!(self.in_flight.is_none(), "the log is idle with a group in flight: {:?}", self.in_flight);
        let begun_us = self.files.now_us();
        if self.is_filled() || self.fill_at_us.is_none_or(|at_us| begun_us < at_us) {
            return Ok(None);
        }
        let filled = self.fill();
        let ended_us = self.files.now_us();
        self.fill_at_us = Some(ended_us + FILL_REST * (ended_us - begun_us));
        match filled {
            Err(failed) if is_full(&failed.error) => {
                self.no_room = true;
                Ok(Some(self.files.filled() - self.encoder.offset()))
            }
            filled => filled.map(|()| None),
        }
    }

    /// Zeroes a step of what comes next.
    fn fill(&mut self) -> Result<(), LogError> {
        let segment_bytes = self.files.segment_bytes();
        let step = FILL_BYTES.min((segment_bytes / FILLS_PER_SEGMENT_MIN).max(BLOCK_BYTES));
        let bytes = step.min(segment_bytes - self.files.filled());
        self.files.fill(bytes).map_err(|error| self.failed("cannot be filled ahead", error))
    }

    fn failed(&self, what: &'static str, error: io::Error) -> LogError {
        LogError { segment: self.encoder.segment(), what, error }
    }

    /// Makes one group durable: records or a marker.
    ///
    /// # Errors
    /// Those of the system: the log ends.
    pub fn group(&mut self, batch: Arc<Batch>) -> Result<Done, LogError> {
        self.write(&batch)?;
        Ok(Done { flushed: self.flush()?, batch })
    }

    /// Writes a group, which is durable once [`flush`](Self::flush) returns. The next segment begins where the group does
    /// not fit, or is a base.
    ///
    /// # Errors
    /// Those of the system: the log ends.
    ///
    /// # Panics
    /// Where the group before is not flushed, or the batch is larger than a segment.
    pub fn write(&mut self, batch: &Batch) -> Result<Written, LogError> {
        assert!(self.in_flight.is_none(), "two groups in flight: {:?}", self.in_flight);
        if !self.encoder.fits(batch) {
            self.next_segment()?;
        }
        assert!(self.encoder.fits(batch), "a group of {} bytes is larger than a segment", batch.bytes());
        let bytes = self.encoder.group_bytes(batch);
        let end = self.encoder.offset() + bytes;
        while end > self.files.filled() && bytes < self.large_group_bytes() {
            self.fill()?;
            self.no_room = false;
        }
        (self.groups, self.group_bytes) = (self.groups + 1, self.group_bytes + bytes);
        self.make_spare();
        let started_us = self.files.now_us();
        let written = self.encoder.encode(batch, self.files.buffer(bytes));
        assert_eq!(written.bytes, bytes, "a group of another length than was foreseen");
        self.files.write(written.offset, bytes).map_err(|error| self.failed("write failed", error))?;
        let fsync_started_us = self.files.now_us();
        self.in_flight = Some(InFlight { written, started_us, fsync_started_us });
        Ok(written)
    }

    /// Makes the group in flight durable.
    ///
    /// # Errors
    /// Those of the system: the log ends.
    ///
    /// # Panics
    /// Where no group is in flight.
    pub fn flush(&mut self) -> Result<Flushed, LogError> {
        let in_flight = self.in_flight.expect("a group is flushed after it is written");
        let InFlight { written, started_us, fsync_started_us } = in_flight;
        self.files.flush().map_err(|error| self.failed("fdatasync failed", error))?;
        self.in_flight = None;
        let ended_us = self.files.now_us();
        let (took_us, fsync_us) = (ended_us - started_us, ended_us - fsync_started_us);
        self.fill_at_us = self.fill_at_us.max(Some(ended_us + FILL_PAUSE_US));
        if took_us >= SLOW_GROUP_US {
            self.slow_until_us = self.slow_until_us.max(Some(ended_us + SLOW_PENALTY_FACTOR * took_us));
        }
        self.files.shrink(written.bytes);
        self.weigh(written.bytes, took_us - fsync_us, fsync_us);
        let balanced_bytes = self.balanced_bytes;
        Ok(Flushed { took_us, fsync_us, bytes: written.bytes, end: written.end(), balanced_bytes })
    }

    /// Takes note of how fast the disk is. What a small group takes to be written says little of that, and what a page
    /// cache takes nothing.
    fn weigh(&mut self, bytes: usize, write_us: i64, fsync_us: i64) {
        if bytes < LARGE_GROUP_BYTES || !self.files.is_direct() {
            return;
        }
        let (write_us, fsync_us) = (write_us.max(1) as u128, fsync_us.max(0) as u128);
        let balanced = bytes as u128 * BALANCE * fsync_us / write_us;
        let balanced = usize::try_from(balanced).unwrap_or(usize::MAX).min(self.files.segment_bytes());
        // One slow flush among quick ones changes little.
        self.balanced_bytes = self.balanced_bytes / 4 * 3 + balanced / 4;
    }

    fn large_group_bytes(&self) -> usize {
        LARGE_GROUP_BYTES.min(self.files.segment_bytes() / 8)
    }

    /// Has the segment to come made ahead when it is time and nothing makes one.
    fn make_spare(&mut self) {
        let is_due = match self.spare {
            Spare::AtHalf => self.encoder.offset() > self.files.segment_bytes() / 2,
            Spare::Soon => true,
            Spare::AskedFor => false,
        };
        // Large groups do without zeros, and need all that the disk can take for themselves.
        let is_wanted = self.group_bytes / self.groups < self.large_group_bytes();
        if is_due && is_wanted && self.files.prepare_spare() {
            self.spare = Spare::AskedFor;
        }
    }

    fn next_segment(&mut self) -> Result<(), LogError> {
        let number = self.encoder.begin_segment();
        let placed = self.files.begin_segment(number);
        let placed = placed.map_err(|error| self.failed("cannot begin a segment", error))?;
        self.spare = if placed == Placed::New { Spare::Soon } else { Spare::AtHalf };
        (self.groups, self.group_bytes, self.no_room) = (0, 0, false);
        Ok(())
    }
}

/// Whether there is no room for what was to be written.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
