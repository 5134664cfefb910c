//! The files `acceptedEpoch` and `currentEpoch`: one decimal number each.

use super::error::{JavaDataError, at};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const ACCEPTED: &str = "acceptedEpoch";
const CURRENT: &str = "currentEpoch";

/// Epochs as ZooKeeper keeps them beside its snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch that this server promised to follow.
    pub accepted: u32,
    /// The newest epoch whose leader this server followed.
    pub current: u32,
}

impl Epochs {
    /// Reads the files in `folder`; if one is missing, the other one gives both values. `None` if both are missing: the
    /// server was never in an ensemble.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, JavaDataError> {
        Ok(match (number(folder, ACCEPTED)?, number(folder, CURRENT)?) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(Self { accepted: one, current: one }),
            (Some(accepted), Some(current)) => Some(Self { accepted, current }),
        })
    }

    /// Writes both files into `folder`.
    pub(super) fn write(self, folder: &Path) -> Result<(), JavaDataError> {
        for (name, number) in [(ACCEPTED, self.accepted), (CURRENT, self.current)] {
            let path = folder.join(name);
            let written = File::create(&path).and_then(|mut file| {
                file.write_all(number.to_string().as_bytes())?;
                file.sync_all()
            });
            at(&path, written)?;
        }
        Ok(())
    }
}

fn number(folder: &Path, name: &str) -> Result<Option<u32>, JavaDataError> {
    let path = folder.join(name);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => at(&path, read)?,
    };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(JavaDataError::Epoch { path, text }),
    }
}
