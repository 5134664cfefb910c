//! Which files hold a snapshot, and of which kind they are.

use super::super::names::{data_folder, files_by, read_start};
use super::super::output::Output;
use crate::proto::Zxid;
use crate::snapshot::java::{Packing, parse_snapshot_name};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes that show the kind of a file.
const START_BYTES: usize = 32;
/// Where zkfast's snapshots have their magic: after the header of the first chunk and the kind of its first entry.
const ZKFAST_MAGIC_AT: usize = 9;

/// Which server writes such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A snapshot of zkfast.
    Zkfast,
    /// A snapshot of ZooKeeper.
    Java(Packing),
}

impl Kind {
    /// What outputs call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zkfast => "zkfast",
            Self::Java(Packing::Plain) => "zookeeper",
            Self::Java(Packing::Gzip) => "zookeeper-gz",
            Self::Java(Packing::Snappy) => "zookeeper-snappy",
        }
    }
}

/// A snapshot's file.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its kind.
    pub kind: Kind,
    /// The zxid in its name, if it has that form.
    pub named: Option<Zxid>,
    /// Its length.
    pub bytes: u64,
}

/// The snapshots that `named` files and directories hold, of a directory in their order. What cannot be read, or holds no
/// snapshot, is reported.
pub fn find(named: &[PathBuf], output: &mut Output) -> Vec<SnapshotFile> {
    let mut found = Vec::new();
    for path in named {
        match fs::metadata(path).and_then(|about| match about.is_dir() {
            true => in_folder(path),
            false => Ok(vec![path.clone()]),
        }) {
            Ok(paths) => found.extend(paths.iter().filter_map(|path| one(path, output))),
            Err(error) => output.unreadable(path, error),
        }
    }
    found
}

/// The snapshot that `named` is, or the newest one in it. What cannot be read is reported.
pub fn newest(named: &Path, output: &mut Output) -> Option<SnapshotFile> {
    let path = match fs::metadata(named) {
        Ok(about) if about.is_dir() => in_folder(named).map(|mut paths| paths.pop()),
        Ok(_) => Ok(Some(named.to_owned())),
        Err(error) => Err(error),
    };
    match path {
        Ok(path) => path.and_then(|path| one(&path, output)),
        Err(error) => {
            output.unreadable(named, error);
            None
        }
    }
}

fn in_folder(named: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = data_folder(named)?;
    let order = |name: &str| parse_snapshot_name(name).map(|(zxid, _)| zxid);
    let paths: Vec<PathBuf> = files_by(&folder, order)?.into_iter().map(|(_, path)| path).collect();
    match paths.is_empty() {
        true => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it holds no snapshot of zkfast or of ZooKeeper"))
        }
        false => Ok(paths),
    }
}

fn one(path: &Path, output: &mut Output) -> Option<SnapshotFile> {
    let looked = File::open(path).and_then(|mut file| {
        let mut start = [0; START_BYTES];
        let have = read_start(&mut file, &mut start)?;
        Ok((kind_of(&start[..have]), file.metadata()?.len()))
    });
    let named = path.file_name().and_then(|name| name.to_str()).and_then(parse_snapshot_name);
    match looked {
        Ok((Some(kind), bytes)) => {
            Some(SnapshotFile { path: path.to_owned(), kind, named: named.map(|(zxid, _)| zxid), bytes })
        }
        Ok((None, _)) if named.is_some() => {
            output.damage(path, Some(0), "it does not begin as a snapshot of zkfast or of ZooKeeper does");
            None
        }
        Ok((None, _)) => {
            output.unreadable(path, "it is neither a snapshot of zkfast nor one of ZooKeeper");
            None
        }
        Err(error) => {
            output.unreadable(path, error);
            None
        }
    }
}

fn kind_of(start: &[u8]) -> Option<Kind> {
    if start.get(ZKFAST_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ZKFASTSN")) {
        return Some(Kind::Zkfast);
    }
    if start.starts_with(b"ZKSN") {
        return Some(Kind::Java(Packing::Plain));
    }
    if start.starts_with(&[0x1F, 0x8B]) {
        return Some(Kind::Java(Packing::Gzip));
    }
    start.starts_with(b"\x82SNAPPY\0").then_some(Kind::Java(Packing::Snappy))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content counts.
    #[test]
    fn kinds() {
        assert_eq!(kind_of(b"\0\0\0\x09\x01\x02\x03\x04\x01ZKFASTSN\0\0\0\x01"), Some(Kind::Zkfast));
        assert_eq!(kind_of(b"ZKSN\0\0\0\x02"), Some(Kind::Java(Packing::Plain)));
        assert_eq!(kind_of(b"\x1f\x8b\x08"), Some(Kind::Java(Packing::Gzip)));
        assert_eq!(kind_of(b"\x82SNAPPY\0\0\0\0\x01"), Some(Kind::Java(Packing::Snappy)));
        assert_eq!((kind_of(b""), kind_of(b"ZKLG")), (None, None));
    }
}
