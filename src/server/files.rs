//! The data directory: who owns it, what is in it, how files come and go.
//!
//! A file appears under its name only when it is whole and flushed, and its directory is flushed after:
//! a power loss leaves the old state or the new one.

use crate::proto::Zxid;
use crate::{snapshot, wal};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder for our files, beside ZooKeeper's `version-2`.
pub(super) const FOLDER: &str = "zkfast-1";

/// What file names a segment that waits to be used has; a number follows.
const SPARE_PREFIX: &str = "spare.";

/// What is being written has these names.
const SEGMENT_TMP: &str = "segment.tmp";
const SPARE_TMP: &str = "spare.tmp";
const SNAPSHOT_TMP: &str = "snapshot.tmp";

/// Spares that are kept; more old segments than that are deleted.
const SPARES_MAX: usize = 2;

/// Where snapshots and segments are.
#[derive(Clone, Debug)]
pub struct DataDir {
    /// Folder of the snapshots.
    pub snap: PathBuf,
    /// Folder of the log; the same unless `dataLogDir` says otherwise.
    pub log: PathBuf,
}

/// Holds the data directory for this process as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _files: Vec<File>,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another server has it.
    #[error("{} is in use by another server: stop that one, or set another dataDir", .0.display())]
    InUse(PathBuf),
    /// Only ZooKeeper's own data is there, though zkfast's is where the rest is.
    #[error(
        "{} holds data of Apache ZooKeeper and none of zkfast's, which is in the other of dataDir and dataLogDir: \
         remove {FOLDER} there to have ZooKeeper's data taken over again, or set another dataDir",
        .0.display()
    )]
    Foreign(PathBuf),
    /// Files lie where `dataDir` or `dataLogDir` no longer points.
    #[error(
        "{} holds {name}, and {keys} says that it is not looked for there: set that back, or move the files to where \
         it points",
        .folder.display()
    )]
    Misplaced {
        /// Where it lies.
        folder: PathBuf,
        /// One of the files.
        name: String,
        /// The key that points elsewhere.
        keys: &'static str,
    },
    /// It is not there, and `datadir.autocreate` forbids making it.
    #[error("{} does not exist, and datadir.autocreate=false", .0.display())]
    Missing(PathBuf),
    /// The system refuses.
    #[error("{}: {error}", .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, DirError> {
    result.map_err(|error| DirError::Io { path: path.to_owned(), error })
}

/// Opens the data directory, makes its folders, and takes it for this process alone.
pub fn open(data: &Path, data_log: &Path, create: bool) -> Result<(DataDir, Lock), DirError> {
    let mut locks = Vec::new();
    let folder = |base: &Path| {
        let folder = base.join(FOLDER);
        if !base.exists() && !create {
            return Err(DirError::Missing(base.to_owned()));
        }
        let foreign = base.join("version-2");
        let holds_data = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if !folder.exists() && holds_data(&foreign) {
            return Err(DirError::Foreign(foreign));
        }
        at(&folder, fs::create_dir_all(&folder))?;
        // Both may be new, each in the one above it.
        let above = base.canonicalize().ok().and_then(|base| base.parent().map(Path::to_owned));
        for parent in above.iter().map(PathBuf::as_path).chain([base]) {
            at(parent, sync_dir(parent))?;
        }
        Ok(folder)
    };
    let dir = DataDir { snap: folder(data)?, log: folder(data_log)? };
    let mut folders = vec![&dir.snap];
    if dir.log != dir.snap {
        folders.push(&dir.log);
        // Starting without them would be starting from less than what was acknowledged.
        if let Some(&number) = at(&dir.snap, numbers_in(&dir.snap))?.last() {
            let (folder, name) = (dir.snap.clone(), wal::file_name(number));
            return Err(DirError::Misplaced { folder, name, keys: "dataLogDir" });
        }
        if let Some(&zxid) = at(&dir.log, zxids_in(&dir.log))?.last() {
            let (folder, name) = (dir.log.clone(), snapshot::file_name(zxid));
            return Err(DirError::Misplaced { folder, name, keys: "dataDir" });
        }
    }
    for folder in folders {
        let path = folder.join("lock");
        let file = at(&path, OpenOptions::new().create(true).truncate(false).write(true).open(&path))?;
        match file.try_lock() {
            Ok(()) => locks.push(file),
            Err(TryLockError::WouldBlock) => return Err(DirError::InUse(folder.clone())),
            Err(TryLockError::Error(error)) => return at(&path, Err(error)),
        }
    }
    Ok((dir, Lock { _files: locks }))
}

/// Makes what was created, renamed or removed in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// Numbers of the log's segments, ascending.
pub fn segments(dir: &DataDir) -> io::Result<Vec<u32>> {
    numbers_in(&dir.log)
}

fn numbers_in(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<_> = names(folder)?.iter().filter_map(|name| wal::parse_file_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Zxids of the snapshots, ascending.
pub fn snapshots(dir: &DataDir) -> io::Result<Vec<Zxid>> {
    zxids_in(&dir.snap)
}

fn zxids_in(folder: &Path) -> io::Result<Vec<Zxid>> {
    let mut zxids: Vec<_> =
        names(folder)?.iter().filter_map(|name| snapshot::parse_file_name(name)).collect();
    zxids.sort_unstable();
    Ok(zxids)
}

/// Takes a damaged snapshot's name away: it does not count among those that are kept.
pub fn set_aside(dir: &DataDir, zxid: Zxid) -> io::Result<()> {
    let name = snapshot::file_name(zxid);
    fs::rename(dir.snap.join(&name), dir.snap.join(format!("{name}.damaged")))?;
    sync_dir(&dir.snap)
}

/// Removes what a crash left half made, and makes the names of what it left whole durable: the crash may
/// have come between a rename and its flush.
pub fn remove_leftovers(dir: &DataDir) -> io::Result<()> {
    for folder in [&dir.snap, &dir.log] {
        // Only what is ours: others may keep files here, too.
        for path in [SEGMENT_TMP, SPARE_TMP, SNAPSHOT_TMP].map(|name| folder.join(name)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync_dir(folder)?;
    }
    Ok(())
}

/// Bytes of all files that a four-letter word or metric counts.
pub fn dir_bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
}

/// Bytes of a segment, from its start, whose blocks were written once. A segment begins as a hole and
/// is written from its start on, so that what the file system holds of it is that.
pub fn filled_bytes(path: &Path) -> io::Result<usize> {
    let held = fs::metadata(path)?.blocks().saturating_mul(512);
    let blocks = usize::try_from(held).unwrap_or(usize::MAX) / wal::BLOCK_BYTES * wal::BLOCK_BYTES;
    Ok(blocks.min(wal::SEGMENT_BYTES))
}

/// Puts a segment in its place: a spare if there is one, a new file otherwise.
pub fn place_segment(dir: &DataDir, number: u32) -> io::Result<()> {
    let path = dir.log.join(wal::file_name(number));
    let spare = spares(dir)?.pop();
    match spare {
        Some(spare) => fs::rename(spare, &path)?,
        None => {
            let new = dir.log.join(SEGMENT_TMP);
            let file = File::create(&new)?;
            file.set_len(wal::SEGMENT_BYTES as u64)?;
            file.sync_all()?;
            fs::rename(new, &path)?;
        }
    }
    sync_dir(&dir.log)
}

fn spares(dir: &DataDir) -> io::Result<Vec<PathBuf>> {
    let names = names(&dir.log)?;
    let spares = names.iter().filter(|name| name.starts_with(SPARE_PREFIX) && !name.ends_with(".tmp"));
    let whole = |path: &PathBuf| fs::metadata(path).is_ok_and(|data| data.len() == wal::SEGMENT_BYTES as u64);
    Ok(spares.map(|name| dir.log.join(name)).filter(whole).collect())
}

/// Removes spares, for a log that begins: what they hold may be of a log that was here before, whose
/// numbers are higher, and reading would take that for damage.
pub fn remove_spares(dir: &DataDir) -> io::Result<()> {
    spares(dir)?.iter().try_for_each(fs::remove_file)?;
    sync_dir(&dir.log)
}

/// Makes sure that a written segment waits for when the current one is full.
pub fn prepare_spare(dir: &DataDir) -> io::Result<()> {
    if !spares(dir)?.is_empty() {
        return Ok(());
    }
    check_room(dir, &dir.log, wal::SEGMENT_BYTES as u64)?;
    let new = Temporary::create(dir.log.join(SPARE_TMP))?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..wal::SEGMENT_BYTES / zeros.len() {
        (&new.file).write_all(&zeros)?;
    }
    new.finish(&dir.log.join(format!("{SPARE_PREFIX}new")))?;
    sync_dir(&dir.log)
}

/// Whether `bytes` more fit into `folder` beside what the log's newest segment has yet to take: the log
/// ends the process when it finds no room, and what can wait must not be the reason.
fn check_room(dir: &DataDir, folder: &Path, bytes: u64) -> io::Result<()> {
    let mut need = bytes;
    if fs::metadata(folder)?.dev() == fs::metadata(&dir.log)?.dev()
        && let Some(&newest) = segments(dir)?.last()
    {
        need += (wal::SEGMENT_BYTES - filled_bytes(&dir.log.join(wal::file_name(newest)))?) as u64;
    }
    let system = rustix::fs::statvfs(folder)?;
    match system.f_bavail.saturating_mul(system.f_frsize) {
        room if room < need => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("{need} bytes are needed, with what the log's segment may take, and {room} are free"),
        )),
        _ => Ok(()),
    }
}

/// What a purge did.
#[derive(Debug, Default)]
pub struct Purged {
    /// Snapshots that were deleted.
    pub snapshots: usize,
    /// Segments that were deleted, or kept to be used again.
    pub segments: usize,
}

/// Deletes snapshots beyond the newest `retain`, and the log that only they need.
pub fn purge(dir: &DataDir, retain: usize) -> io::Result<Purged> {
    let mut known = Vec::new();
    for number in segments(dir)? {
        let mut first = vec![0; 4096];
        let file = File::open(dir.log.join(wal::file_name(number)))?;
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut first, 0)?;
        // A segment that says nothing yet is the newest one, and stays.
        let unknown = wal::Segment { number, after: None, is_base: false };
        known.push(wal::peek(&first, number).unwrap_or(unknown));
    }
    let plan = snapshot::purge(&snapshots(dir)?, &known, retain);
    for zxid in &plan.snapshots {
        fs::remove_file(dir.snap.join(snapshot::file_name(*zxid)))?;
    }
    sync_dir(&dir.snap)?;
    for number in &plan.segments {
        let path = dir.log.join(wal::file_name(*number));
        if spares(dir)?.len() < SPARES_MAX {
            fs::rename(path, dir.log.join(format!("{SPARE_PREFIX}{number:08x}")))?;
        } else {
            fs::remove_file(path)?;
        }
        sync_dir(&dir.log)?;
    }
    Ok(Purged { snapshots: plan.snapshots.len(), segments: plan.segments.len() })
}

/// A file that is gone again unless it is finished: half of one on a full disk is in everybody's way.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
    finished: bool,
}

impl Temporary {
    fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: File::create(&path)?, path, finished: false })
    }

    /// Flushes it and gives it its name.
    fn finish(mut self, name: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, name)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.finished {
            // What stays is removed by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A snapshot being written; it gets its name when it is whole.
#[derive(Debug)]
pub struct SnapshotFile {
    temporary: Temporary,
    dir: DataDir,
}

impl SnapshotFile {
    /// Begins one.
    pub fn create(dir: &DataDir) -> io::Result<Self> {
        Ok(Self { temporary: Temporary::create(dir.snap.join(SNAPSHOT_TMP))?, dir: dir.clone() })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.temporary.file.write_all(bytes)
    }

    /// Whether `bytes` more fit, and leave the log its room.
    pub fn check_room(&self, bytes: usize) -> io::Result<()> {
        check_room(&self.dir, &self.dir.snap, bytes as u64)
    }

    /// Flushes it and gives it its name.
    pub fn finish(self, zxid: Zxid) -> io::Result<()> {
        self.temporary.finish(&self.dir.snap.join(snapshot::file_name(zxid)))?;
        sync_dir(&self.dir.snap)
    }
}
