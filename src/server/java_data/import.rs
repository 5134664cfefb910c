//! Imports ZooKeeper's data into a data directory of zkfast.

use super::epochs::Epochs;
use super::error::{JavaDataError, at};
use super::imported::{Imported, Options};
use super::read;
use super::source::Source;
use super::target::Target;
use crate::server::files::{self, DataDir};
use crate::storage::{self, Storage};
use std::path::Path;
use std::time::Instant;

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
        let epochs = storage::Epochs { accepted, current, ..storage::Epochs::default() };
        at(&dir.snap, epochs.write(&dir))?;
    }
    at(&dir.log, dir.place_segment(storage::FIRST_SEGMENT))?;
    target.finish()?;
    imported.took = started.elapsed();
    Ok(imported)
}
