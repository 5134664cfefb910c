//! Work on files that takes its time, and is done beside the driver.

use super::Fatal;
use crate::database::Database;
use crate::proto::Zxid;
use crate::snapshot;
use crate::storage::{self, Folder, ImageEncoder, Incoming, LogReader, ReadError, RecoveryError, Storage};
use crate::tree;
use crate::wal::{Batch, Position};
use crate::zab::LinkId;
use std::io;

/// A learner that lacks no more of the log than this gets it, and more where the tree is large.
const DIFF_BYTES_MIN: u64 = 128 << 20;

/// Which part of the newest snapshot's bytes the log may have for a learner. Source: `zookeeper.snapshotSizeFactor`.
const DIFF_TREE_PART: u64 = 3;

/// How far the log is durable: its newest txn, and where it ends.
pub(super) type Durable = (Zxid, Position);

/// Something to be done beside the driver.
#[derive(Debug)]
pub enum Job {
    /// Find where a learner's log, which ends with this zxid, ends in this server's.
    FindInLog(LinkId, Zxid, Durable),
    /// Read about so many bytes of txns after this zxid for a learner; the reader stopped there.
    ReadLog(LinkId, Zxid, Option<Box<LogReader>>, Durable, usize),
    /// Write a tree from the leader, where the log ends here.
    StoreTree(Box<Database>, Position),
    /// The log is cut after this zxid: read the disk again, as a start does. No group is written meanwhile.
    Reload(Zxid),
}

/// What came of a job.
#[derive(Debug)]
pub enum JobResult {
    /// The newest txn of the log that is not above the learner's last, and what reads on from there; `None` where the log
    /// does not go back so far, or a tree is less to send, or the log cannot be read.
    LogFound(LinkId, Option<(Zxid, Box<LogReader>)>, Option<ReadError>),
    /// Txns of the log, and what reads on.
    LogRead(LinkId, Result<(Batch, Box<LogReader>), String>),
    /// The tree is durable as an incoming snapshot.
    Stored(Box<Database>),
    /// It could not be written, and nothing of it is on disk.
    NotStored(io::Error),
    /// What the disk holds.
    Reloaded(Box<Database>),
    /// The disk could not be read again.
    NotReloaded(RecoveryError),
}

impl Job {
    /// Does it.
    pub fn run<S: Storage + Clone>(
        self,
        storage: &S,
        settings: tree::Settings,
        report: &mut dyn FnMut(storage::Event),
    ) -> JobResult {
        match self {
            Self::FindInLog(link, zxid, durable) => match find_in_log(storage, zxid, durable) {
                Ok(found) => JobResult::LogFound(link, found, None),
                Err(error) => JobResult::LogFound(link, None, Some(error)),
            },
            Self::ReadLog(link, after, reader, durable, bytes) => {
                let read = LogReader::read(reader.map(|reader| *reader), storage, after, durable, bytes);
                let read = read.map(|(batch, reader)| (batch, Box::new(reader)));
                JobResult::LogRead(link, read.map_err(|why| why.to_string()))
            }
            Self::StoreTree(mut tree, log) => match store(storage, &mut tree, log) {
                Ok(()) => JobResult::Stored(tree),
                Err(error) => JobResult::NotStored(error),
            },
            Self::Reload(to) => match reload(storage, to, settings, report) {
                Ok(tree) => JobResult::Reloaded(tree),
                Err(error) => JobResult::NotReloaded(error),
            },
        }
    }

    /// What kind it is.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::FindInLog(link, ..) => Kind::FindInLog(*link),
            Self::ReadLog(link, ..) => Kind::ReadLog(*link),
            Self::StoreTree(..) => Kind::StoreTree,
            Self::Reload(_) => Kind::Reload,
        }
    }
}

/// A kind of job, and for which learner it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    FindInLog(LinkId),
    ReadLog(LinkId),
    StoreTree,
    Reload,
}

impl Kind {
    /// What comes of it where there is no thread to do it.
    ///
    /// # Errors
    /// There is no going on without.
    pub(super) fn refused(self, error: io::Error) -> Result<JobResult, Fatal> {
        Ok(match self {
            Self::FindInLog(link) => JobResult::LogFound(link, None, Some(ReadError::Io(error))),
            Self::ReadLog(link) => JobResult::LogRead(link, Err(error.to_string())),
            Self::StoreTree => JobResult::NotStored(error),
            Self::Reload => return Err(Fatal::NoReload(error)),
        })
    }
}

/// Source: `ZKDatabase.getProposalsFromTxnLog`.
fn find_in_log<S: Storage>(
    storage: &S,
    zxid: Zxid,
    (last, log): Durable,
) -> Result<Option<(Zxid, Box<LogReader>)>, ReadError> {
    if let Some(&snapshot) = storage::snapshots(storage)?.last() {
        let tree_bytes = storage.length(Folder::Snap, &snapshot::file_name(snapshot))?;
        let is_lacked = |segment: &&crate::wal::Segment| segment.after.is_some_and(|after| after >= zxid);
        // About: what is written of the newest segment, and of the one in which it begins, is not looked at.
        let lacked = storage::segments(storage)?.iter().filter(is_lacked).count() as u64;
        let log_bytes = lacked * storage.segment_bytes() as u64;
        if log_bytes > DIFF_BYTES_MIN.max(tree_bytes / DIFF_TREE_PART) {
            return Ok(None);
        }
    }
    Ok(LogReader::new(storage, zxid, last, log)?.map(|reader| (reader.floor(), Box::new(reader))))
}

/// Writes a tree as an incoming snapshot, given where the log ends.
fn store<S: Storage + Clone>(storage: &S, tree: &mut Database, log: Position) -> io::Result<()> {
    let mut incoming = Incoming::create(storage.clone(), tree.zxid)?;
    ImageEncoder::all(tree, 0, |bytes| incoming.write(bytes))?;
    incoming.finish(log)
}

fn reload<S: Storage>(
    storage: &S,
    to: Zxid,
    settings: tree::Settings,
    report: &mut dyn FnMut(storage::Event),
) -> Result<Box<Database>, RecoveryError> {
    let cut = storage::truncated(storage, to);
    cut.map_err(|error| RecoveryError::Io { path: storage.path(Folder::Snap, ""), error })?;
    Ok(Box::new(storage::recover(storage, settings, report)?.restored))
}
