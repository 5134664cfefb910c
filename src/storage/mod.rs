//! What a server has on disk: which files, in which order they change, what a start makes of them.
//!
//! Nothing here opens a file. [`Storage`] is what the shell can do with files (`src/server/files.rs`) and what the
//! simulator's disk does (`src/sim/disk.rs`); all that decides is here, and runs over both.
//!
//! | file | what | changes by |
//! |---|---|---|
//! | `log.<number>` | a segment of the log | [`LogWriter`] |
//! | `snapshot.<zxid>` | the tree and its sessions | another name, flush, rename, flush of the folder |
//! | `incoming.<zxid>.<segment>` | a snapshot from the leader whose base may not be in the log yet | [`Incoming`], [`adopt`] |
//! | `epochs` | what was promised to leaders | [`Epochs::write`] |
//! | `damaged.<n>/` | files that were found damaged | [`move_aside`] |
//! | `spare.<n>` | an old segment, or zeros, to be used again | [`purge`] says which; [`Storage::retire_segment`] renames |
//!
//! The code: `recover` (a start), `log_writer` (groups, segments, spares), `log_file` (its files over any [`Storage`],
//! for the simulator and for tests), `records` (the log read for learners), `received` (trees of a leader, damage), `image` (snapshots), `retention`
//! (what is purged), `epochs`.
//!
//! Invariants: [`recover`] gives all that was acknowledged, or names what is wrong and changes nothing; epochs never
//! go back; no file has its name before it is whole and flushed.

mod epochs;
mod image;
mod log_file;
mod log_writer;
mod received;
mod records;
mod recover;
mod retention;
#[cfg(test)]
mod tests;

pub use epochs::{EPOCHS, Epochs, EpochsError};
pub use image::{ImageEncoder, ImageError, decode};
pub use log_file::LogFile;
pub use log_writer::{Done, Flushed, LogError, LogFiles, LogWriter, Placed, is_full};
pub use received::{Incoming, adopt, can_truncate, move_aside, truncated};
pub use records::{ForLearnerError, LogReader, LogSlices, ReadError, SLICE_BYTES, records};
pub use recover::{Event, FIRST_SEGMENT, Recovered, RecoveryError, recover, write_snapshot};
pub use retention::{Purged, purge};

use crate::proto::Zxid;
use crate::{snapshot, wal};
use std::io;
use std::path::PathBuf;

/// A snapshot being written. A file that is being made has this name, or that of [`temporary_name`].
pub const SNAPSHOT_TMP: &str = "snapshot.tmp";
/// A segment being made.
pub const SEGMENT_TMP: &str = "segment.tmp";
/// A segment being made ahead.
pub const SPARE_TMP: &str = "spare.tmp";
/// A snapshot in ZooKeeper's form on its way to an HTTP client.
pub const EXPORT_TMP: &str = "export.tmp";
/// One that an HTTP client sends.
pub const RESTORE_TMP: &str = "restore.tmp";
const INCOMING_TMP: &str = "incoming.tmp";
const EPOCHS_TMP: &str = "epochs.tmp";

/// One of the two folders, which may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// Snapshots and epochs: `dataDir`.
    Snap,
    /// The log: `dataLogDir`.
    Log,
}

/// What can be done with files. Nothing is durable before a flush has returned: a file's bytes by
/// [`flush`](Self::flush), what was created, renamed or removed by [`sync`](Self::sync).
///
/// # Errors
/// Those of the system. The log writer ends the process at the first one.
pub trait Storage {
    /// A file being made.
    type New: NewFile;

    /// Length of every segment.
    fn segment_bytes(&self) -> usize;

    /// Where a file is, for messages; the folder for an empty name.
    fn path(&self, folder: Folder, name: &str) -> PathBuf;

    /// Names of the files in a folder, in any order.
    fn names(&self, folder: Folder) -> io::Result<Vec<String>>;

    /// Length of a file.
    fn length(&self, folder: Folder, name: &str) -> io::Result<u64>;

    /// All of a file.
    fn read(&self, folder: Folder, name: &str) -> io::Result<Vec<u8>>;

    /// Fills `out` from `offset` on.
    fn read_at(&self, folder: Folder, name: &str, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Begins a file, which gets its name when it is [finished](NewFile::finish). `name` is one of those that end with
    /// `.tmp`; until then the file has it, or [`temporary_name`] of it.
    fn create(&self, folder: Folder, name: &str) -> io::Result<Self::New>;

    /// Overwrites bytes of a file.
    fn write_at(&self, folder: Folder, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's bytes durable.
    fn flush(&self, folder: Folder, name: &str) -> io::Result<()>;

    /// Gives a file another name, over one that has it.
    fn rename(&self, folder: Folder, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, folder: Folder, name: &str) -> io::Result<()>;

    /// Whether snapshots and log are in the same folder, so that one flush is for both.
    fn is_one_folder(&self) -> bool;

    /// Makes what was created, renamed and removed in a folder durable.
    fn sync(&self, folder: Folder) -> io::Result<()>;

    /// Moves files into a folder of this one, which is made; durable when it returns.
    fn move_into(&self, folder: Folder, names: &[String], below: &str) -> io::Result<()>;

    /// Bytes of a segment, from its start, whose blocks were written once. A segment begins as a hole and is written from
    /// its start on, so that what the file system holds of it is that.
    fn filled_bytes(&self, number: u32) -> io::Result<usize>;

    /// Puts a segment of full length in its place, of zeros or of what an older one held; durable when it returns.
    fn place_segment(&self, number: u32) -> io::Result<()>;

    /// Takes a segment that is not needed any more out of the log; it may be placed again.
    fn retire_segment(&self, number: u32) -> io::Result<()>;

    /// Forgets the segments that wait to be placed again, for a log that begins: they may be of a log that was
    /// here before, whose numbers are higher, and reading would take that for damage.
    fn remove_spares(&self) -> io::Result<()>;

    /// Whether `bytes` more fit, and leave the log its room: what can wait must not take it.
    fn check_room(&self, _folder: Folder, _bytes: usize) -> io::Result<()> {
        Ok(())
    }
}

/// A file being made. One that is dropped unfinished may be gone.
pub trait NewFile {
    /// Appends.
    ///
    /// # Errors
    /// Those of the system.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Flushes it, gives it its name, and makes the name durable.
    ///
    /// # Errors
    /// Those of the system.
    fn finish(self, name: &str) -> io::Result<()>;
}

/// Writes a whole file: another name, flush, rename, flush of the folder.
fn write_whole<S: Storage>(
    storage: &S,
    folder: Folder,
    tmp: &str,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut file = storage.create(folder, tmp)?;
    file.write(bytes)?;
    file.finish(name)
}

/// Zxids of the snapshots, ascending.
///
/// # Errors
/// Those of the system.
pub fn snapshots<S: Storage>(storage: &S) -> io::Result<Vec<Zxid>> {
    let names = storage.names(Folder::Snap)?;
    let mut zxids: Vec<_> = names.iter().filter_map(|name| snapshot::parse_file_name(name)).collect();
    zxids.sort_unstable();
    Ok(zxids)
}

/// The log's segments, ascending, and where they begin. One whose first block is damaged does not show that: it is
/// judged, with its place, when all of it is read. One that the system does not let us read may be sound, so that is an
/// error.
///
/// # Errors
/// Those of the system.
pub fn segments<S: Storage>(storage: &S) -> io::Result<Vec<wal::Segment>> {
    let in_file =
        |(name, error): (String, io::Error)| io::Error::new(error.kind(), format!("{name}: {error}"));
    Ok(starts(storage).map_err(in_file)?.into_iter().map(|(segment, _)| segment).collect())
}

/// A segment, and what is wrong where it begins.
type Start = (wal::Segment, Option<wal::Damage>);

/// The same, with what is wrong where a segment begins; an error comes with the name of the file, empty for the folder.
fn starts<S: Storage>(storage: &S) -> Result<Vec<Start>, (String, io::Error)> {
    let numbers = || {
        let names = storage.names(Folder::Log).map_err(|error| (String::new(), error))?;
        let mut numbers: Vec<_> = names.iter().filter_map(|name| wal::parse_file_name(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    };
    let mut block = vec![0; wal::BLOCK_BYTES];
    let mut starts = Vec::new();
    for number in numbers()? {
        let name = wal::file_name(number);
        let unknown = wal::Segment { number, after: None, is_base: false };
        match storage.read_at(Folder::Log, &name, 0, &mut block) {
            Ok(()) => starts.push(match wal::peek(&block, number) {
                Ok(segment) => (segment, None),
                Err(damage) => (unknown, Some(damage)),
            }),
            // A file that was cut: its length shows that when all of it is read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => starts.push((unknown, None)),
            // It was purged meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !numbers()?.contains(&number) => {}
            Err(error) => return Err((name, error)),
        }
    }
    Ok(starts)
}

/// Where the newest base that is in the log begins.
fn newest_base(segments: &[wal::Segment]) -> Option<(u32, Zxid)> {
    let base = segments.iter().rev().find(|segment| segment.is_base)?;
    Some((base.number, base.after?))
}

/// The name of a file that is being made: `what` is `<noun>.tmp`, the name is `<noun>.<number>.tmp`. With a number of
/// its own, no file is ever begun over one that is being made.
pub fn temporary_name(what: &str, number: u64) -> String {
    let noun = what.strip_suffix(".tmp").expect("what is being made ends so");
    format!("{noun}.{number}.tmp")
}

/// Whether `name` is that of a file being made: `what`, or [`temporary_name`] of it.
fn is_temporary(name: &str, what: &str) -> bool {
    let noun = what.strip_suffix(".tmp").expect("what is being made ends so");
    let number = name.strip_prefix(noun).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".tmp"));
    name == what || number.is_some_and(|number| number.parse::<u64>().is_ok())
}

/// Removes what a crash left half made. For a start: a writer that is at work would miss its file.
///
/// # Errors
/// Those of the system.
pub fn remove_leftovers<S: Storage>(storage: &S) -> io::Result<()> {
    for folder in [Folder::Snap, Folder::Log] {
        // Only what is ours: others may keep files here, too.
        let is_left = |name: &String| {
            let made =
                [SNAPSHOT_TMP, SEGMENT_TMP, SPARE_TMP, EXPORT_TMP, RESTORE_TMP, INCOMING_TMP, EPOCHS_TMP];
            made.iter().any(|what| is_temporary(name, what))
        };
        // One that is there again after a crash is removed again.
        for name in storage.names(folder)?.into_iter().filter(is_left) {
            storage.remove(folder, &name)?;
        }
    }
    Ok(())
}

/// Takes a snapshot's name away: it does not count among those that are kept.
fn set_aside<S: Storage>(storage: &S, zxid: Zxid, why: &str) -> io::Result<()> {
    let name = snapshot::file_name(zxid);
    storage.rename(Folder::Snap, &name, &format!("{name}.{why}"))?;
    storage.sync(Folder::Snap)
}
