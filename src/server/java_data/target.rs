//! The folder of a result, which gets its name when it is whole.

use super::error::{JavaDataError, at};
use crate::server::files::{or_current, sync_dir};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// The suffix of a folder that is not whole yet.
const UNFINISHED: &str = ".unfinished";

/// Folders of one name in one or two base directories. Dropping them unfinished removes them.
#[derive(Debug)]
pub(super) struct Target {
    /// Each folder's present path and final path.
    folders: Vec<(PathBuf, PathBuf)>,
    /// Parent directories that were created, the innermost first.
    made: Vec<PathBuf>,
    _locks: Vec<File>,
    finished: bool,
}

impl Target {
    /// Creates the folder `name` in each base, and removes the remains of an interrupted attempt.
    pub fn begin(bases: &[&Path; 2], name: &str) -> Result<Self, JavaDataError> {
        let mut target = Self { folders: Vec::new(), made: Vec::new(), _locks: Vec::new(), finished: false };
        for (number, base) in bases.iter().enumerate() {
            let (folder, last) = (base.join(format!("{name}{UNFINISHED}")), base.join(name));
            if number > 0 && bases[0] == *base {
                continue;
            }
            if fs::read_dir(&last).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(JavaDataError::Occupied(last));
            }
            let absent = base.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
            target.made.splice(..0, absent.map(Path::to_owned));
            at(&folder, fs::create_dir_all(&folder))?;
            let path = folder.join("lock");
            let lock = at(&path, File::create(&path))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(JavaDataError::InUse(folder)),
                Err(TryLockError::Error(error)) => return at(&path, Err(error)),
            }
            // From here on a drop removes it.
            target.folders.push((folder.clone(), last));
            target._locks.push(lock);
            for entry in at(&folder, fs::read_dir(&folder))? {
                let left = at(&folder, entry)?.path();
                if left != path {
                    at(&left, fs::remove_file(&left))?;
                }
            }
        }
        Ok(target)
    }

    /// The present path of the folder in the base of this number.
    pub fn folder(&self, number: usize) -> &Path {
        &self.folders[number.min(self.folders.len() - 1)].0
    }

    /// Gives the folders their final name, in order.
    pub fn finish(mut self) -> Result<(), JavaDataError> {
        for made in &self.made {
            let above = made.parent().map_or(Path::new("."), or_current);
            at(above, sync_dir(above))?;
        }
        for (folder, last) in &self.folders {
            at(folder, sync_dir(folder))?;
            at(last, fs::rename(folder, last))?;
            let base = last.parent().unwrap_or(last);
            at(base, sync_dir(base))?;
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            for (folder, _) in &self.folders {
                // If this fails, the next attempt removes it.
                let _ = fs::remove_dir_all(folder);
            }
            for made in &self.made {
                // A parent that holds other files by now stays.
                let _ = fs::remove_dir(made);
            }
        }
    }
}
