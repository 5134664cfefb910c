//! The options and the result of an import.

use super::epochs::Epochs;
use crate::database::FuzzyReport;
use crate::proto::Zxid;
use crate::tree;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Options of an import.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Settings of the tree: support for TTL nodes, and comparison of digests.
    pub settings: tree::Settings,
    /// Accept a snapshot without any log.
    pub without_log: bool,
    /// Accept a log without any snapshot, if it begins with the first txn.
    pub trust_empty: bool,
}

/// The result of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The last txn.
    pub zxid: Zxid,
    /// The snapshot that was used, if there was one.
    pub snapshot: Option<PathBuf>,
    /// Newer snapshots that could not be used.
    pub passed_over: usize,
    /// The report of the replay.
    pub report: FuzzyReport,
    /// Znodes, the root included.
    pub znodes: usize,
    /// Sessions that are alive.
    pub sessions: usize,
    /// True if the last record of the log was incomplete, and was left out.
    pub torn: bool,
    /// True if there was a snapshot and no log.
    pub without_log: bool,
    /// The epochs, if their files exist.
    pub epochs: Option<Epochs>,
    /// The duration of the import.
    pub took: Duration,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zxid, report, znodes, sessions, .. } = self;
        write!(
            f,
            "zxid={zxid} znodes={znodes} sessions={sessions} txns={} snapshot={} took_ms={}",
            report.txns,
            self.snapshot.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string()),
            self.took.as_millis()
        )?;
        match report.exact_from {
            Some(from) => write!(f, " digest=agrees from={from}")?,
            None => write!(f, " digest=none")?,
        }
        if report.digest_mismatches > 0 {
            write!(f, " digest_mismatches={}", report.digest_mismatches)?;
        }
        match report.orphans {
            0 => Ok(()),
            orphans => write!(f, " ephemerals_of_dead_sessions={orphans}"),
        }
    }
}

impl Imported {
    /// Warnings for the operator, one line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let without_log = self.without_log.then_some(
            "there is a snapshot and no log: what was written after the snapshot is not there, and of what was written \
             while it was taken some may be missing, as with ZooKeeper; if dataLogDir was elsewhere, stop, remove what \
             was made here, and name it",
        );
        let without_snapshot = self.snapshot.is_none().then_some(
            "there is a log and no snapshot: what came before the log would be missing; it begins with the first txn",
        );
        let torn = self.torn.then_some("the last record of the log was never written whole, and is left out");
        without_log.into_iter().chain(without_snapshot).chain(torn).map(str::to_owned)
    }
}
