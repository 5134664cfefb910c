//! The data directory of Apache ZooKeeper: import and export.
//!
//! An import never changes ZooKeeper's files. A result gets its name only when it is whole and flushed.

mod epochs;
mod export;
mod read;
mod target;
mod unpack;

pub use epochs::Epochs;
pub use export::{Exported, export};

use super::files::{self, DataDir};
use crate::database::{FuzzyError, FuzzyReport};
use crate::proto::Zxid;
use crate::snapshot::java::LogDamage;
use crate::storage::{self, RecoveryError, Storage};
use crate::tree;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use target::Target;

/// ZooKeeper's folder in its data directory.
pub const FOLDER: &str = "version-2";

/// The folders of ZooKeeper's data.
#[derive(Clone, Debug)]
pub struct Source {
    /// Folder of the snapshots and epochs.
    snap: PathBuf,
    /// Folder of the log; the same folder unless `dataLogDir` is set.
    log: PathBuf,
}

impl Source {
    /// The folders `version-2` in `dataDir` and `dataLogDir`; either argument may also be that folder itself.
    pub fn new(data: &Path, data_log: &Path) -> Self {
        let folder = |base: &Path| match base.file_name() {
            Some(name) if name == FOLDER => base.to_owned(),
            _ => base.join(FOLDER),
        };
        Self { snap: folder(data), log: folder(data_log) }
    }

    /// As [`Self::new`], for directories that the user named.
    ///
    /// # Errors
    /// One of them does not exist or cannot be read.
    pub fn named(data: &Path, data_log: &Path) -> Result<Self, JavaDataError> {
        is_directory(data)?;
        is_directory(data_log)?;
        let source = Self::new(data, data_log);
        if !source.log.exists() {
            is_directory(&source.snap)?;
        }
        Ok(source)
    }
}

/// Options of an import.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Settings of the tree: support for TTL nodes, and comparison of digests.
    pub settings: tree::Settings,
    /// Accept a snapshot without any log.
    pub without_log: bool,
    /// Accept a log without any snapshot, if it begins with the first txn.
    pub trust_empty: bool,
}

/// The result of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The last txn.
    pub zxid: Zxid,
    /// The snapshot that was used, if there was one.
    pub snapshot: Option<PathBuf>,
    /// Newer snapshots that could not be used.
    pub passed_over: usize,
    /// The report of the replay.
    pub report: FuzzyReport,
    /// Znodes, the root included.
    pub znodes: usize,
    /// Sessions that are alive.
    pub sessions: usize,
    /// True if the last record of the log was incomplete, and was left out.
    pub torn: bool,
    /// True if there was a snapshot and no log.
    pub without_log: bool,
    /// The epochs, if their files exist.
    pub epochs: Option<Epochs>,
    /// The duration of the import.
    pub took: Duration,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zxid, report, znodes, sessions, .. } = self;
        write!(
            f,
            "zxid={zxid} znodes={znodes} sessions={sessions} txns={} snapshot={} took_ms={}",
            report.txns,
            self.snapshot.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string()),
            self.took.as_millis()
        )?;
        match report.exact_from {
            Some(from) => write!(f, " digest=agrees from={from}")?,
            None => write!(f, " digest=none")?,
        }
        if report.digest_mismatches > 0 {
            write!(f, " digest_mismatches={}", report.digest_mismatches)?;
        }
        match report.orphans {
            0 => Ok(()),
            orphans => write!(f, " ephemerals_of_dead_sessions={orphans}"),
        }
    }
}

impl Imported {
    /// Warnings for the operator, one line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let without_log = self.without_log.then_some(
            "there is a snapshot and no log: what was written after the snapshot is not there, and of what was written \
             while it was taken some may be missing, as with ZooKeeper; if dataLogDir was elsewhere, stop, remove what \
             was made here, and name it",
        );
        let without_snapshot = self.snapshot.is_none().then_some(
            "there is a log and no snapshot: what came before the log would be missing; it begins with the first txn",
        );
        let torn = self.torn.then_some("the last record of the log was never written whole, and is left out");
        without_log.into_iter().chain(without_snapshot).chain(torn).map(str::to_owned)
    }
}

/// Why an import or export failed.
#[derive(Debug, thiserror::Error)]
pub enum JavaDataError {
    /// The system refuses an operation.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The source does not exist.
    #[error("{}: no such directory", .0.display())]
    Absent(PathBuf),
    /// The target exists already.
    #[error("{} is there already, and is not written over: name another folder, or move it away", .0.display())]
    Occupied(PathBuf),
    /// Another process is writing to the target.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// There are neither snapshots nor logs.
    #[error(
        "{} holds neither a snapshot nor a log of ZooKeeper: name the dataDir; a server starts empty where that folder is \
         not there",
        .0.display()
    )]
    Nothing(PathBuf),
    /// There are logs and no snapshot.
    #[error(
        "{} holds logs, and {} no snapshot: what came before the logs may be missing; restore a snapshot, or, if there \
         never was one, as a young 3.4 has none, set snapshot.trust.empty=true (zkfast import: --trust-empty)",
        .log.display(),
        .snap.display()
    )]
    NoSnapshot {
        /// The log's folder.
        log: PathBuf,
        /// The snapshots' folder.
        snap: PathBuf,
    },
    /// There are snapshots and no log.
    #[error(
        "{} holds snapshots, and {} no log: name the dataLogDir (--log-dir); if there is no log, and what came after \
         the snapshot may go, import with --without-log",
        .snap.display(),
        .log.display()
    )]
    NoLog {
        /// The log's folder.
        log: PathBuf,
        /// The snapshots' folder.
        snap: PathBuf,
    },
    /// Files are in a folder to which `dataDir` or `dataLogDir` no longer points.
    #[error("{} holds {name}, which belongs into {}: move it there", .folder.display(), .other.display())]
    Misplaced {
        /// The folder that holds the file.
        folder: PathBuf,
        /// One of the files.
        name: String,
        /// The folder that should hold it.
        other: PathBuf,
    },
    /// The log is damaged or incomplete.
    #[error("{}: {damage}", .path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The position and the damage.
        damage: LogDamage,
    },
    /// No snapshot gives a whole tree.
    #[error("no snapshot of {} can be used: {}", .folder.display(), .why.join("; "))]
    Unusable {
        /// The snapshots' folder.
        folder: PathBuf,
        /// Each snapshot with its reason, newest first.
        why: Vec<String>,
    },
    /// The result is refused whichever snapshot is used.
    #[error("{}: {error}", .path.display())]
    Tree {
        /// The newest snapshot, or the folder of the logs.
        path: PathBuf,
        /// Why.
        error: FuzzyError,
    },
    /// An older snapshot and the log end before the newest snapshot.
    #[error(
        "{}: the log ends at {last}, before the snapshot {newest}, which cannot be used: {}",
        .folder.display(),
        .why.join("; ")
    )]
    Behind {
        /// The log's folder.
        folder: PathBuf,
        /// Where the log ends.
        last: Zxid,
        /// The newest snapshot.
        newest: Zxid,
        /// Why newer snapshots were not used.
        why: Vec<String>,
    },
    /// A file of epochs is not a number.
    #[error("{} holds {text:?}, which is no epoch", .path.display())]
    Epoch {
        /// The file.
        path: PathBuf,
        /// The content of the file.
        text: String,
    },
    /// zkfast's own data cannot be read.
    #[error(transparent)]
    Dir(#[from] files::DirError),
    /// zkfast's own data cannot be read.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, JavaDataError> {
    result.map_err(|error| JavaDataError::Io { path: path.to_owned(), error })
}

/// Fails unless `path` is a directory that this user may read.
fn is_directory(path: &Path) -> Result<(), JavaDataError> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(JavaDataError::Absent(path.to_owned())),
        read => at(path, read).map(drop),
    }
}

/// True if `base` holds data of ZooKeeper.
fn holds_data(base: &Path) -> Result<bool, JavaDataError> {
    let folder = base.join(FOLDER);
    match fs::read_dir(&folder) {
        // The target of a link may be on a disk that is not mounted now.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&folder).is_err() => {
            Ok(false)
        }
        entries => Ok(at(&folder, entries)?.next().is_some()),
    }
}

/// ZooKeeper's data in `data` and `data_log`, if there is some and none of zkfast's.
///
/// # Errors
/// This user cannot read the directories: a start without their data would be a start with an empty tree.
pub fn only_java(data: &Path, data_log: &Path) -> Result<Option<Source>, JavaDataError> {
    let is_ours = |base: &Path| base.join(files::FOLDER).exists();
    if is_ours(data) || is_ours(data_log) {
        return Ok(None);
    }
    let holds_some = holds_data(data)? | holds_data(data_log)?;
    Ok(holds_some.then(|| Source::new(data, data_log)))
}

/// Imports ZooKeeper's data into the data directory `data` with the log in `data_log`.
///
/// # Errors
/// The source is incomplete or damaged, or the result cannot be written; then nothing remains in `data` and `data_log`.
pub fn import(
    source: &Source,
    data: &Path,
    data_log: &Path,
    options: Options,
) -> Result<Imported, JavaDataError> {
    let started = Instant::now();
    let target = Target::begin(&[data, data_log], files::FOLDER)?;
    let (mut restored, mut imported) = read::read(source, options)?;
    let dir = DataDir { snap: target.folder(0).to_owned(), log: target.folder(1).to_owned() };
    at(&dir.snap, storage::write_snapshot(&dir, &mut restored))?;
    if let Some(Epochs { accepted, current }) = imported.epochs {
        let epochs = storage::Epochs { accepted, current, config_version: 0, repairing: false };
        at(&dir.snap, epochs.write(&dir))?;
    }
    at(&dir.log, dir.place_segment(storage::FIRST_SEGMENT))?;
    target.finish()?;
    imported.took = started.elapsed();
    Ok(imported)
}
