//! The data directory: its lock, its files, and how a file is made durable.
//!
//! A file gets its name only when it is whole and flushed, and its folder is flushed afterwards: a power loss leaves
//! the old state or the new one. `bulk` keeps them out of the page cache.

use super::bulk::{self, BulkFile};
use crate::proto::Zxid;
use crate::storage::{self, Folder, Placed, SEGMENT_TMP, SPARE_TMP, Storage};
use crate::{snapshot, wal};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The folder of zkfast's files, beside ZooKeeper's `version-2`.
pub(crate) const FOLDER: &str = "zkfast-1";

/// Names of spare segments begin with this; a number follows.
const SPARE_PREFIX: &str = "spare.";

/// Old segments that are kept as spares; further ones are deleted. Single writes fill about as many between two
/// snapshots, and blocks that were written once need no zeros.
const SPARES_MAX: usize = 6;

/// Bytes of another file than the log that are flushed at once, and their maximum where flushes are slow.
const PORTION_BYTES: usize = 256 << 10;
const SLOW_PORTION_BYTES_MAX: usize = 4 << 20;
const _: () = assert!((SLOW_PORTION_BYTES_MAX as u64) < bulk::UNFLUSHED_BYTES_MAX);

/// Portions grow only where one takes at least this long to flush.
const SLOW_PORTION: Duration = Duration::from_millis(4);

/// After a larger portion took notably longer, this many follow before a larger one is tried again.
const PORTIONS_HELD: u32 = 64;

/// Where snapshots and segments are.
#[derive(Clone, Debug)]
pub struct DataDir {
    /// Folder of the snapshots.
    pub snap: PathBuf,
    /// Folder of the log; the same unless `dataLogDir` says otherwise.
    pub log: PathBuf,
}

/// Keeps other processes out of the data directory until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _files: Vec<File>,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another server holds the lock.
    #[error("{} is in use by another server: stop that one, or set another dataDir (--data-dir)", .0.display())]
    InUse(PathBuf),
    /// One of the two folders holds only ZooKeeper's data, the other one zkfast's.
    #[error(
        "{} holds data of Apache ZooKeeper and none of zkfast's, which is in the other of dataDir and dataLogDir: \
         remove {FOLDER} there to have ZooKeeper's data taken over again, or set another dataDir",
        .0.display()
    )]
    Foreign(PathBuf),
    /// Files are in a folder to which `dataDir` or `dataLogDir` no longer points.
    #[error(
        "{} holds {name}, and {keys} says that it is not looked for there: set that back, or move the files to where \
         it points",
        .folder.display()
    )]
    Misplaced {
        /// The folder that holds the file.
        folder: PathBuf,
        /// The name of one of the files.
        name: String,
        /// The key that points elsewhere.
        keys: &'static str,
    },
    /// The folder does not exist, and `datadir.autocreate` forbids creating it.
    #[error("{} does not exist, and datadir.autocreate=false", .0.display())]
    Missing(PathBuf),
    /// The system refuses an operation.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, DirError> {
    result.map_err(|error| DirError::Io { path: path.to_owned(), error })
}

/// Creates the folders of the data directory where they are missing, and locks them for this process.
///
/// # Errors
/// [`DirError`]: another server holds the lock, a folder is missing and `create` is false, files are in the wrong folder,
/// or the system refuses.
pub fn open(data: &Path, data_log: &Path, create: bool) -> Result<(DataDir, Lock), DirError> {
    let mut locks = Vec::new();
    let folder = |base: &Path| {
        let folder = base.join(FOLDER);
        if !base.exists() && !create {
            return Err(DirError::Missing(base.to_owned()));
        }
        check_foreign(base)?;
        at(&folder, fs::create_dir_all(&folder))?;
        // Both the folder and its parent may be new.
        let above = base.canonicalize().ok().and_then(|base| base.parent().map(Path::to_owned));
        for parent in above.iter().map(PathBuf::as_path).chain([base]) {
            at(parent, sync_dir(parent))?;
        }
        Ok(folder)
    };
    let snap = folder(data)?;
    let log = if data_log == data { snap.clone() } else { folder(data_log)? };
    let dir = DataDir { snap, log };
    let mut folders = vec![&dir.snap];
    if dir.log != dir.snap {
        folders.push(&dir.log);
        check_places(&dir)?;
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

/// Fails if `base` holds only ZooKeeper's data.
fn check_foreign(base: &Path) -> Result<(), DirError> {
    let foreign = base.join("version-2");
    let holds_data = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    match !base.join(FOLDER).exists() && holds_data(&foreign) {
        true => Err(DirError::Foreign(foreign)),
        false => Ok(()),
    }
}

/// Fails if one of two folders holds files that belong into the other: a start without them would lose acknowledged
/// writes.
fn check_places(dir: &DataDir) -> Result<(), DirError> {
    if dir.snap.exists()
        && let Some(&number) = at(&dir.snap, numbers_in(&dir.snap))?.last()
    {
        let (folder, name) = (dir.snap.clone(), wal::file_name(number));
        return Err(DirError::Misplaced { folder, name, keys: "dataLogDir" });
    }
    if dir.log.exists()
        && let Some(&zxid) = at(&dir.log, zxids_in(&dir.log))?.last()
    {
        let (folder, name) = (dir.log.clone(), snapshot::file_name(zxid));
        return Err(DirError::Misplaced { folder, name, keys: "dataDir" });
    }
    Ok(())
}

/// Checks that [`open`] would find each file in its folder; creates nothing.
///
/// # Errors
/// The key that points to the wrong folder, and why.
pub(super) fn check_folders(data: &Path, data_log: &Path) -> Result<(), (&'static str, DirError)> {
    let (snap, log) = (data.join(FOLDER), data_log.join(FOLDER));
    if data == data_log || !(snap.exists() || log.exists()) {
        return Ok(());
    }
    check_foreign(data).map_err(|error| ("dataDir", error))?;
    check_foreign(data_log).map_err(|error| ("dataLogDir", error))?;
    check_places(&DataDir { snap, log }).map_err(|error| match &error {
        DirError::Misplaced { keys, .. } => (*keys, error),
        _ => ("dataDir", error),
    })
}

/// The parent of a relative path of one part is the empty path, which means the current directory.
pub(super) fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Makes the names that were created, changed or removed in a folder durable.
///
/// # Errors
/// The folder cannot be opened or flushed.
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

fn numbers_in(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<_> = names(folder)?.iter().filter_map(|name| wal::parse_file_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn zxids_in(folder: &Path) -> io::Result<Vec<Zxid>> {
    let mut zxids: Vec<_> =
        names(folder)?.iter().filter_map(|name| snapshot::parse_file_name(name)).collect();
    zxids.sort_unstable();
    Ok(zxids)
}

/// The sum of the sizes of all files in a folder, in bytes; 0 if the folder cannot be read.
pub fn dir_bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
}

/// Bytes of a segment, counted from its start, whose blocks were written at least once. A segment begins as a hole and
/// is written from its start on, so these are the blocks that the file system has allocated.
///
/// # Errors
/// The segment's metadata cannot be read.
pub fn filled_bytes(path: &Path) -> io::Result<usize> {
    let held = fs::metadata(path)?.blocks().saturating_mul(512);
    let blocks = usize::try_from(held).unwrap_or(usize::MAX) / wal::BLOCK_BYTES * wal::BLOCK_BYTES;
    Ok(blocks.min(wal::SEGMENT_BYTES))
}

/// Gives the name of segment `number` to a spare, or to a new file if there is no spare.
///
/// # Errors
/// The folder cannot be read or flushed, or the file cannot be created or renamed.
pub fn place_segment(dir: &DataDir, number: u32) -> io::Result<Placed> {
    let path = dir.log.join(wal::file_name(number));
    let placed = match spares(dir)?.pop() {
        Some(spare) => {
            fs::rename(spare, &path)?;
            Placed::Spare
        }
        None => {
            let mut new = Temporary::create(&dir.log, SEGMENT_TMP)?;
            new.file().file().set_len(wal::SEGMENT_BYTES as u64)?;
            new.finish(&path)?;
            Placed::New
        }
    };
    sync_dir(&dir.log)?;
    Ok(placed)
}

/// The spare segments. A file with a second hard link is not one: writing to it would change that copy, too.
fn spares(dir: &DataDir) -> io::Result<Vec<PathBuf>> {
    let names = names(&dir.log)?;
    let spares = names.iter().filter(|name| name.starts_with(SPARE_PREFIX) && !name.ends_with(".tmp"));
    let is_spare = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|data| data.len() == wal::SEGMENT_BYTES as u64 && data.nlink() == 1)
    };
    Ok(spares.map(|name| dir.log.join(name)).filter(is_spare).collect())
}

/// Makes a spare segment, filled with zeros, if there is none. The spare gets its name once all of it is durable, and is
/// not written to again until it becomes a segment.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] where the disk has room for the log only; else the system's error.
pub fn prepare_spare(dir: &DataDir) -> io::Result<()> {
    if !spares(dir)?.is_empty() {
        return Ok(());
    }
    check_room(dir, &dir.log, wal::SEGMENT_BYTES as u64)?;
    let mut new = Temporary::create(&dir.log, SPARE_TMP)?;
    let zeros = vec![0; PORTION_BYTES];
    for _ in 0..wal::SEGMENT_BYTES / zeros.len() {
        new.write_in_portions(&zeros)?;
    }
    let taken = names(&dir.log)?;
    let name = (1..).map(|n| format!("{SPARE_PREFIX}new.{n}")).find(|name| !taken.contains(name));
    new.finish(&dir.log.join(name.expect("some number is free")))?;
    sync_dir(&dir.log)
}

/// Fails if `bytes` more do not fit into `folder` beside the rest of the log's newest segment: a log without room ends
/// the process, and no other file may cause that.
fn check_room(dir: &DataDir, folder: &Path, bytes: u64) -> io::Result<()> {
    let mut need = bytes;
    if fs::metadata(folder)?.dev() == fs::metadata(&dir.log)?.dev()
        && let Some(&newest) = numbers_in(&dir.log)?.last()
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

/// Locks `file` for one writer, until the file is closed.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] where another open file of the same inode holds the lock, in this process or another.
pub fn lock_for_writing(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::WouldBlock, "another writer has it open: this is a bug of zkfast")
        }
        TryLockError::Error(error) => error,
    })
}

/// A file that is being written, under a temporary name that this process uses only once. Dropping an unfinished one
/// removes it: half a file would take room on a full disk.
#[derive(Debug)]
struct Temporary {
    /// `Some` until [`Self::finish`].
    file: Option<BulkFile>,
    path: PathBuf,
    /// The time that writing took since the last flush.
    took: Duration,
    portion: Portion,
    finished: bool,
}

impl Temporary {
    /// Creates the file in `folder`; `what` is `<purpose>.tmp`, and the name becomes `<purpose>.<number>.tmp`.
    fn create(folder: &Path, what: &str) -> io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let path = folder.join(storage::temporary_name(what, MADE.fetch_add(1, Ordering::Relaxed)));
        // An existing file may still be written by its maker. The start has removed files of a former process.
        let file = BulkFile::create_new(&path)?;
        lock_for_writing(file.file())?;
        let (took, portion) = (Duration::ZERO, Portion::default());
        Ok(Self { file: Some(file), path, took, portion, finished: false })
    }

    fn file(&mut self) -> &mut BulkFile {
        self.file.as_mut().expect("it is not finished")
    }

    /// Appends `bytes` without delaying the log: each portion is flushed, and followed by a pause as long as its write.
    /// Without portions, a flush of the log would wait until the disk has written tens of megabytes.
    fn write_in_portions(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PORTION_BYTES) {
            let started = Instant::now();
            self.file().append(part)?;
            let is_due = self.file().unflushed() >= self.portion.bytes as u64;
            if is_due {
                self.file().flush()?;
            }
            self.took += started.elapsed();
            if is_due {
                let took = std::mem::take(&mut self.took);
                self.portion.took(took);
                thread::sleep(took);
            }
        }
        Ok(())
    }

    /// Flushes the file and renames it to `name`.
    fn finish(mut self, name: &Path) -> io::Result<()> {
        // Closing unlocks the file. That comes before the name, under which a writer can find and lock it.
        self.file.take().expect("it is finished once").finish()?;
        fs::rename(&self.path, name)?;
        self.finished = true;
        Ok(())
    }
}

/// How many bytes of another file than the log are flushed at once. A flush of the log may have to wait for them.
#[derive(Debug)]
struct Portion {
    bytes: usize,
    /// The shortest time that a portion of [`PORTION_BYTES`] took.
    quickest: Duration,
    /// Portions before a larger one may be tried again.
    held: u32,
}

impl Default for Portion {
    fn default() -> Self {
        Self { bytes: PORTION_BYTES, quickest: Duration::MAX, held: 0 }
    }
}

impl Portion {
    /// Records the time of a portion and chooses the size of the next. Where a flush takes long whatever its size, twice
    /// as many bytes take hardly longer: portions grow until one takes a quarter longer than the smallest ones.
    fn took(&mut self, took: Duration) {
        if self.bytes == PORTION_BYTES {
            self.quickest = self.quickest.min(took);
        }
        self.held = self.held.saturating_sub(1);
        let is_longer = took > self.quickest + self.quickest / 4;
        if is_longer && self.bytes > PORTION_BYTES {
            self.bytes /= 2;
            self.held = PORTIONS_HELD;
        } else if !is_longer
            && self.held == 0
            && self.quickest >= SLOW_PORTION
            && self.bytes < SLOW_PORTION_BYTES_MAX
        {
            self.bytes *= 2;
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, the next start removes the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that is being written; it gets its name when it is whole.
#[derive(Debug)]
pub struct NewFile {
    temporary: Temporary,
    folder: PathBuf,
}

impl NewFile {
    /// Appends `bytes` without delaying the flushes of the log.
    ///
    /// # Errors
    /// The system's error, for example where the disk is full.
    pub fn write_in_portions(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.temporary.write_in_portions(bytes)
    }

    /// Flushes what was written so far.
    ///
    /// # Errors
    /// The system's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.temporary.file().flush()
    }

    /// Flushes the file, takes its name away, and opens it to be read: it is gone once that is closed, also by a crash.
    ///
    /// # Errors
    /// The system's.
    pub fn into_unnamed(mut self) -> io::Result<File> {
        self.temporary.file.take().expect("it is finished once").finish()?;
        // The temporary is dropped here, and its name with it.
        File::open(&self.temporary.path)
    }
}

impl storage::NewFile for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.temporary.file().append(bytes)
    }

    fn finish(self, name: &str) -> io::Result<()> {
        self.temporary.finish(&self.folder.join(name))?;
        sync_dir(&self.folder)
    }
}

impl DataDir {
    fn folder(&self, folder: Folder) -> &Path {
        match folder {
            Folder::Snap => &self.snap,
            Folder::Log => &self.log,
        }
    }
}

impl Storage for DataDir {
    type New = NewFile;

    fn segment_bytes(&self) -> usize {
        wal::SEGMENT_BYTES
    }

    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        match name {
            "" => self.folder(folder).to_owned(),
            name => self.folder(folder).join(name),
        }
    }

    fn names(&self, folder: Folder) -> io::Result<Vec<String>> {
        names(self.folder(folder))
    }

    fn length(&self, folder: Folder, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(folder, name))?.len())
    }

    fn read(&self, folder: Folder, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(folder, name))
    }

    fn read_at(&self, folder: Folder, name: &str, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = File::open(self.path(folder, name))?;
        match snapshot::parse_file_name(name) {
            Some(_) => bulk::read_once(&file, offset, out),
            // The log is read for one learner after the other.
            None => file.read_exact_at(out, offset),
        }
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<NewFile> {
        let folder = self.folder(folder).to_owned();
        Ok(NewFile { temporary: Temporary::create(&folder, name)?, folder })
    }

    fn write_at(&self, folder: Folder, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(folder, name))?.write_all_at(bytes, offset)
    }

    fn flush(&self, folder: Folder, name: &str) -> io::Result<()> {
        File::open(self.path(folder, name))?.sync_data()
    }

    fn rename(&self, folder: Folder, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(folder, from), self.path(folder, to))
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(folder, name))
    }

    fn is_one_folder(&self) -> bool {
        self.snap == self.log
    }

    fn sync(&self, folder: Folder) -> io::Result<()> {
        sync_dir(self.folder(folder))
    }

    fn move_into(&self, folder: Folder, names: &[String], below: &str) -> io::Result<()> {
        let target = self.path(folder, below);
        fs::create_dir_all(&target)?;
        names.iter().try_for_each(|name| fs::rename(self.path(folder, name), target.join(name)))?;
        sync_dir(&target)?;
        self.sync(folder)
    }

    fn filled_bytes(&self, number: u32) -> io::Result<usize> {
        filled_bytes(&self.log.join(wal::file_name(number)))
    }

    fn place_segment(&self, number: u32) -> io::Result<()> {
        place_segment(self, number).map(drop)
    }

    fn retire_segment(&self, number: u32) -> io::Result<()> {
        let path = self.log.join(wal::file_name(number));
        if spares(self)?.len() < SPARES_MAX && fs::metadata(&path)?.nlink() == 1 {
            fs::rename(path, self.log.join(format!("{SPARE_PREFIX}{number:08x}")))
        } else {
            fs::remove_file(path)
        }
    }

    fn remove_spares(&self) -> io::Result<()> {
        let spares = spares(self)?;
        if spares.is_empty() {
            return Ok(());
        }
        spares.iter().try_for_each(fs::remove_file)?;
        sync_dir(&self.log)
    }

    fn check_room(&self, folder: Folder, bytes: usize) -> io::Result<()> {
        check_room(self, self.folder(folder), bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory for one test, removed when the test ends.
    struct Folders(DataDir);

    impl Folders {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("zkfast-files-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a directory");
            Self(DataDir { snap: path.clone(), log: path })
        }
    }

    impl Drop for Folders {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.log);
        }
    }

    /// Two files that are made for the same purpose at once are two files, and dropping one keeps the other. (Two makers
    /// of segments once shared a file, and one wrote zeros to it when it already was the log.)
    #[test]
    fn makers_do_not_share_a_file() {
        let folders = Folders::new("makers");
        let dir = &folders.0;
        let mut first = Temporary::create(&dir.log, SPARE_TMP).expect("a file");
        let mut second = Temporary::create(&dir.log, SPARE_TMP).expect("another file");
        first.write_in_portions(&[1; 10]).expect("room");
        second.write_in_portions(&[2; 20]).expect("room");
        let path = dir.log.join("made");
        first.finish(&path).expect("a name");
        second.write_in_portions(&[2; 20]).expect("room");
        assert_eq!(fs::read(&path).expect("it is there"), [1; 10]);
        drop(second);
        assert_eq!(names(&dir.log).expect("a folder"), ["made"]);
        // The next start removes what a crash leaves.
        std::mem::forget(Temporary::create(&dir.log, SPARE_TMP).expect("a file"));
        fs::write(dir.log.join("spare.tmp"), [0; 5]).expect("as former versions named it");
        storage::remove_leftovers(dir).expect("a folder");
        assert_eq!(names(&dir.log).expect("a folder"), ["made"]);
    }

    /// A second writer is refused while the first one has the file open.
    #[test]
    fn a_file_has_one_writer() {
        let folders = Folders::new("writers");
        let path = folders.0.log.join("log");
        let open =
            || OpenOptions::new().create(true).truncate(false).write(true).open(&path).expect("a file");
        let first = open();
        lock_for_writing(&first).expect("no other lock");
        let second = open();
        let refused = lock_for_writing(&second).expect_err("it is taken");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        lock_for_writing(&second).expect("the lock is free again");
    }

    /// Portions grow on a disk with slow flushes until their bytes take time, too; on other disks they stay small.
    #[test]
    fn portions_grow_where_flushes_are_slow() {
        let zeroed = |flush: Duration, bytes_per_us: usize| {
            let (mut portion, mut time, mut left, mut longest) =
                (Portion::default(), Duration::ZERO, wal::SEGMENT_BYTES, Duration::ZERO);
            while left > 0 {
                let bytes = portion.bytes.min(left);
                let took = flush + Duration::from_micros((bytes / bytes_per_us) as u64);
                portion.took(took);
                (time, left, longest) = (time + 2 * took, left - bytes, longest.max(took));
            }
            (time, longest)
        };
        let ms = Duration::from_millis;
        // With small portions only: 5.7 s, longest 11 ms.
        let (time, longest) = zeroed(ms(10), 250);
        assert!(time < ms(3_500) && longest < ms(16), "{time:?} {longest:?}");
        // With small portions only: 16 s, longest 31 ms.
        let (time, longest) = zeroed(ms(30), 250);
        assert!(time < ms(3_500) && longest < ms(50), "{time:?} {longest:?}");
        let (_, longest) = zeroed(Duration::from_micros(300), 250);
        assert!(longest < ms(2), "{longest:?}");
        // A disk that writes slowly and flushes quickly.
        let (_, longest) = zeroed(Duration::from_micros(300), 27);
        assert!(longest < ms(21), "{longest:?}");
    }

    /// Only a spare of full size with one name becomes a segment.
    #[test]
    fn spares_are_whole_and_have_one_name() {
        let folders = Folders::new("spares");
        let dir = &folders.0;
        let file = |name: &str, bytes: u64| {
            let file = File::create(dir.log.join(name)).expect("a file");
            file.set_len(bytes).expect("a hole");
        };
        let whole = wal::SEGMENT_BYTES as u64;
        file("spare.0000000a", whole / 2);
        file("spare.1.tmp", whole);
        file("spare.0000000b", whole);
        fs::hard_link(dir.log.join("spare.0000000b"), dir.log.join("copy")).expect("a second name");
        assert_eq!(place_segment(dir, 1).expect("room"), Placed::New);
        fs::remove_file(dir.log.join("copy")).expect("it is there");
        assert_eq!(place_segment(dir, 2).expect("room"), Placed::Spare);
        assert!(!dir.log.join("spare.0000000b").exists());
        assert_eq!(numbers_in(&dir.log).expect("a folder"), [1, 2]);
    }
}
