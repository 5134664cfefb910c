//! The files of a folder that may hold logs or snapshots.

use crate::server::{FOLDER, java_data};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder that `named` means: itself, or the one below it that holds the data of a zkfast or of a ZooKeeper.
///
/// # Errors
/// Those of the system; or it holds both, so that the user must name one.
pub fn data_folder(named: &Path) -> io::Result<PathBuf> {
    let (ours, java) = (named.join(FOLDER), named.join(java_data::FOLDER));
    match (ours.is_dir(), java.is_dir()) {
        (true, false) => Ok(ours),
        (false, true) => Ok(java),
        (false, false) => Ok(named.to_owned()),
        (true, true) => {
            let why = format!("it holds data of zkfast and of ZooKeeper: name {FOLDER} or version-2 in it");
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

/// Files of `folder` for whose name `order` gives a value, in the order of these values.
///
/// # Errors
/// Those of the system.
pub fn files_by<T: Ord>(folder: &Path, order: impl Fn(&str) -> Option<T>) -> io::Result<Vec<(T, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(&order);
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

/// Fills `out` from the start of `file`; what the file has less than that stays as it was. Returns the bytes read.
///
/// # Errors
/// Those of the system.
pub fn read_start(file: &mut impl io::Read, out: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < out.len() {
        match file.read(&mut out[have..]) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
