//! The folders that hold ZooKeeper's data.

use super::error::{JavaDataError, at};
use crate::server::files;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// ZooKeeper's folder in its data directory.
pub const FOLDER: &str = "version-2";

/// The folders of ZooKeeper's data.
#[derive(Clone, Debug)]
pub struct Source {
    /// Folder of the snapshots and epochs.
    pub(super) snap: PathBuf,
    /// Folder of the log; the same folder unless `dataLogDir` is set.
    pub(super) log: PathBuf,
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

/// Fails unless `path` is a directory that this user may read.
pub(super) fn is_directory(path: &Path) -> Result<(), JavaDataError> {
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
