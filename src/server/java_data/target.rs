//! Where a result goes: a folder that gets its name when it is whole.

use super::{JavaDataError, at};
use crate::server::files::{or_current, sync_dir};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Behind the name of a folder that is being made.
const UNFINISHED: &str = ".unfinished";

/// Folders of one name in one or two base directories, being made; gone again unless they are finished.
#[derive(Debug)]
pub(super) struct Target {
    /// The folder as it is now, and as it will be.
    folders: Vec<(PathBuf, PathBuf)>,
    /// Directories above them that were not there, the innermost first.
    made: Vec<PathBuf>,
    _locks: Vec<File>,
    finished: bool,
}

impl Target {
    /// Makes the folder `name` in each base. What an attempt that was interrupted left is removed.
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
            // Ours from here on.
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

    /// The folder in the base of this number, to be filled.
    pub fn folder(&self, number: usize) -> &Path {
        &self.folders[number.min(self.folders.len() - 1)].0
    }

    /// Gives the folders their name, the first one first.
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
                // What stays is removed by the next attempt.
                let _ = fs::remove_dir_all(folder);
            }
            for made in &self.made {
                // One in which there is something by now is not ours alone, and stays.
                let _ = fs::remove_dir(made);
            }
        }
    }
}
