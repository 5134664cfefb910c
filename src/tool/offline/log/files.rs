//! Which files hold a log, of which kind they are, and in which order they are read.

use super::super::names::{data_folder, files_by, read_start};
use super::super::output::Output;
use crate::snapshot::java::parse_log_name;
use crate::wal;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes that show the kind of a file: the first sector of a segment.
const START_BYTES: usize = 512;
/// Where a segment has its magic: after the header of its first sector.
const SEGMENT_MAGIC_AT: usize = 16;

/// Which server writes such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A segment of zkfast's log.
    Zkfast,
    /// A txn log of ZooKeeper.
    Java,
}

impl Kind {
    /// What outputs call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zkfast => "zkfast",
            Self::Java => "zookeeper",
        }
    }
}

/// A file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its kind.
    pub kind: Kind,
    /// Its place in the log: the number of a segment, the first zxid of a log of ZooKeeper; `None` if neither its name nor
    /// its content tells.
    pub order: Option<u64>,
}

/// Files that follow each other.
#[derive(Debug)]
pub struct Log {
    /// Their kind.
    pub kind: Kind,
    /// In order.
    pub files: Vec<LogFile>,
    /// True if the folder holds a file that follows the last one.
    pub is_followed: bool,
}

/// The logs that `named` files and directories hold. What cannot be read, or holds no log, is reported.
pub fn find(named: &[PathBuf], output: &mut Output) -> Vec<Log> {
    let mut logs: Vec<Log> = Vec::new();
    for path in named {
        let files = match fs::metadata(path).and_then(|about| match about.is_dir() {
            true => in_folder(path),
            false => one(path).map(|file| vec![file]),
        }) {
            Ok(files) => files,
            Err(error) => {
                output.unreadable(path, error);
                continue;
            }
        };
        files.into_iter().for_each(|file| add(&mut logs, file));
    }
    for log in &mut logs {
        log.files.sort_by_key(|file| file.order);
        log.is_followed = log.files.last().is_some_and(|last| is_followed(last).unwrap_or(false));
    }
    logs
}

/// Adds a file to the log of its folder and kind. One whose place in it is not known, or taken, is a log of its own.
fn add(logs: &mut Vec<Log>, file: LogFile) {
    let folder = file.path.parent();
    let is_same = |log: &&mut Log| {
        log.kind == file.kind
            && log.files[0].path.parent() == folder
            && file.order.is_some()
            && log.files.iter().all(|other| other.order.is_some() && other.order != file.order)
    };
    match logs.iter_mut().find(is_same) {
        Some(log) => log.files.push(file),
        None => logs.push(Log { kind: file.kind, files: vec![file], is_followed: false }),
    }
}

/// True for the names of both kinds.
fn is_log_name(name: &str) -> Option<()> {
    (parse_log_name(name).is_some() || wal::parse_file_name(name).is_some()).then_some(())
}

fn in_folder(named: &Path) -> io::Result<Vec<LogFile>> {
    let folder = data_folder(named)?;
    let files: Vec<LogFile> = files_by(&folder, is_log_name)?
        .into_iter()
        .map(|(_, path)| match one(&path) {
            Ok(file) => Ok(file),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        })
        .collect::<Result<_, _>>()?;
    match files.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "it holds no log of zkfast or of ZooKeeper")),
        false => Ok(files),
    }
}

fn one(path: &Path) -> io::Result<LogFile> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut start = [0; START_BYTES];
    let have = read_start(&mut file, &mut start)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let kind = kind_of(&start[..have], length, name).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "it is neither a log of zkfast nor one of ZooKeeper")
    })?;
    let order = match kind {
        Kind::Java => parse_log_name(name).map(|zxid| zxid.0),
        // A copy under another name: each sector holds the number of its segment.
        Kind::Zkfast => match wal::parse_file_name(name) {
            Some(number) => Some(number.into()),
            None => {
                start.get(4..8).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")).into())
            }
        },
    };
    Ok(LogFile {
        path: path.to_owned(),
        kind,
        order: order.filter(|order| kind == Kind::Java || *order != 0),
    })
}

/// The kind of a file; by its name and length where its first bytes are damaged, or it is empty.
fn kind_of(start: &[u8], length: u64, name: &str) -> Option<Kind> {
    if start.starts_with(b"ZKLG") {
        return Some(Kind::Java);
    }
    if start.get(SEGMENT_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ZKFASTLG")) {
        return Some(Kind::Zkfast);
    }
    let is_segment = wal::parse_file_name(name).is_some() && length == wal::SEGMENT_BYTES as u64;
    match (is_segment, parse_log_name(name)) {
        (true, _) => Some(Kind::Zkfast),
        (false, Some(_)) => Some(Kind::Java),
        (false, None) => None,
    }
}

/// True if a file of the same log stands after `last` in its folder.
fn is_followed(last: &LogFile) -> io::Result<bool> {
    let Some(folder) = last.path.parent() else { return Ok(false) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let order = |name: &str| match last.kind {
        Kind::Zkfast => wal::parse_file_name(name).map(u64::from),
        Kind::Java => parse_log_name(name).map(|zxid| zxid.0),
    };
    let is_named =
        last.path.file_name().and_then(|name| name.to_str()).is_some_and(|name| order(name).is_some());
    let after = files_by(folder, order)?.into_iter().any(|(order, _)| Some(order) > last.order);
    Ok(is_named && after)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content counts; the name where the content is damaged or empty.
    #[test]
    fn kinds() {
        let mut segment = vec![0; 600];
        segment[SEGMENT_MAGIC_AT..][..8].copy_from_slice(b"ZKFASTLG");
        let full = wal::SEGMENT_BYTES as u64;
        assert_eq!(kind_of(b"ZKLG\0\0\0\x02", 20, "anything"), Some(Kind::Java));
        assert_eq!(kind_of(&segment, 600, "copy"), Some(Kind::Zkfast));
        assert_eq!(kind_of(&[0; 600], full, "log.00000007"), Some(Kind::Zkfast));
        assert_eq!(kind_of(b"XKLG", 20, "log.10000000f"), Some(Kind::Java));
        assert_eq!(kind_of(b"", 0, "log.1"), Some(Kind::Java));
        assert_eq!(kind_of(b"hello", 5, "README"), None);
    }
}
