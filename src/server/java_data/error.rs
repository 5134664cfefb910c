//! Why an import or export fails.

use crate::database::FuzzyError;
use crate::proto::Zxid;
use crate::server::files;
use crate::snapshot::java::LogDamage;
use crate::storage::RecoveryError;
use std::io;
use std::path::{Path, PathBuf};

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

/// Adds the path to an error of the system.
pub(super) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, JavaDataError> {
    result.map_err(|error| JavaDataError::Io { path: path.to_owned(), error })
}
