//! The data directory: who owns it, what is in it, how files come and go.
//!
//! A file appears under its name only when it is whole and flushed, and its directory is flushed after:
//! a power loss leaves the old state or the new one.

use crate::proto::Zxid;
use crate::storage::{self, Folder, SEGMENT_TMP, SPARE_TMP, Storage};
use crate::{snapshot, wal};
use memmap2::Mmap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

/// The folder for our files, beside ZooKeeper's `version-2`.
pub(super) const FOLDER: &str = "zkfast-1";

/// What file names a segment that waits to be used has; a number follows.
const SPARE_PREFIX: &str = "spare.";

/// Spares that are kept; more old segments than that are deleted. As many as lone writes fill between two snapshots: what
/// was written once need not be zeroed.
const SPARES_MAX: usize = 6;

/// Bytes of a file beside the log that the disk gets at once.
const PORTION_BYTES: usize = 256 << 10;

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
fn place_segment(dir: &DataDir, number: u32) -> io::Result<()> {
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

/// Makes sure that a written segment waits for when the current one is full.
pub fn prepare_spare(dir: &DataDir) -> io::Result<()> {
    if !spares(dir)?.is_empty() {
        return Ok(());
    }
    check_room(dir, &dir.log, wal::SEGMENT_BYTES as u64)?;
    let mut new = Temporary::create(dir.log.join(SPARE_TMP))?;
    let zeros = vec![0; PORTION_BYTES];
    for _ in 0..wal::SEGMENT_BYTES / zeros.len() {
        new.write_in_portions(&zeros)?;
    }
    new.finish(&dir.log.join(format!("{SPARE_PREFIX}new")))?;
    sync_dir(&dir.log)
}

/// Whether `bytes` more fit into `folder` beside what the log's newest segment has yet to take: the log
/// ends the process when it finds no room, and what can wait must not be the reason.
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

/// A file that is gone again unless it is finished: half of one on a full disk is in everybody's way.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
    /// Bytes that the disk has not got for sure.
    unflushed: usize,
    finished: bool,
}

impl Temporary {
    fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: File::create(&path)?, path, unflushed: 0, finished: false })
    }

    /// Adds to it without standing in the log's way: the disk gets it in portions, and has as much time without as with
    /// it. All at once, a flush of the log would wait until the disk has taken tens of megabytes.
    fn write_in_portions(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PORTION_BYTES) {
            let started = Instant::now();
            self.file.write_all(part)?;
            self.unflushed += part.len();
            if self.unflushed >= PORTION_BYTES {
                self.file.sync_data()?;
                self.unflushed = 0;
                thread::sleep(started.elapsed());
            }
        }
        Ok(())
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

/// A file being made; it gets its name when it is whole.
#[derive(Debug)]
pub struct NewFile {
    temporary: Temporary,
    folder: PathBuf,
}

impl NewFile {
    /// Adds bytes while the log is written as well.
    ///
    /// # Errors
    /// Of the system; a full disk is one.
    pub fn write_in_portions(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.temporary.write_in_portions(bytes)
    }
}

impl storage::NewFile for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.temporary.file.write_all(bytes)
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
    type Map = Mmap;
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

    fn map(&self, folder: Folder, name: &str) -> io::Result<Mmap> {
        let file = File::open(self.path(folder, name))?;
        // SAFETY: the lock keeps other servers out of this directory, and this one changes no file that is
        // read so (snapshots that have their name); a disk error ends the process by a signal instead of a message.
        #[allow(unsafe_code)]
        unsafe {
            Mmap::map(&file)
        }
    }

    fn read(&self, folder: Folder, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(folder, name))
    }

    fn read_at(&self, folder: Folder, name: &str, offset: u64, out: &mut [u8]) -> io::Result<()> {
        File::open(self.path(folder, name))?.read_exact_at(out, offset)
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<NewFile> {
        let folder = self.folder(folder).to_owned();
        Ok(NewFile { temporary: Temporary::create(folder.join(name))?, folder })
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

    fn place_segment(&self, number: u32) -> io::Result<()> {
        place_segment(self, number)
    }

    fn retire_segment(&self, number: u32) -> io::Result<()> {
        let path = self.log.join(wal::file_name(number));
        if spares(self)?.len() < SPARES_MAX {
            fs::rename(path, self.log.join(format!("{SPARE_PREFIX}{number:08x}")))
        } else {
            fs::remove_file(path)
        }
    }

    fn remove_spares(&self) -> io::Result<()> {
        spares(self)?.iter().try_for_each(fs::remove_file)?;
        sync_dir(&self.log)
    }

    fn check_room(&self, folder: Folder, bytes: usize) -> io::Result<()> {
        check_room(self, self.folder(folder), bytes as u64)
    }
}
