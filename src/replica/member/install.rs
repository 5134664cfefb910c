//! How a follower replaces what it has: TRUNC cuts its log, SNAP brings it a whole tree.
//!
//! ```text
//! SNAP   Receiving --> Replaying --> Storing --> Basing ------------> the tree is adopted
//! TRUNC  Checking ---------------------------> Truncating --> Reloading --> the tree is adopted
//!        `--- a follower may leave these ---'  `-- Unfinished: the disk was told, there is no way back --'
//! ```
//!
//! Storing is unfinished as well: a tree that is on its way to the disk is installed also where its leader is gone. It is
//! exact, holds all that was committed when it was sent, and spares the next leader from sending it again.

use super::common::Common;
use super::log_queue::LogQueue;
use super::output::Output;
use crate::database::{BuildError, Builder, Database, FuzzyError, FuzzyReplay, ReplayError};
use crate::proto::Zxid;
use crate::replica::follow::Logged;
use crate::snapshot::java::{Damage, Decoder};
use crate::wal::Marker;
use std::collections::VecDeque;
use std::io;

/// How far TRUNC or SNAP has come at a follower.
#[derive(Debug)]
pub(super) enum Install {
    /// Neither is under way.
    Idle,
    /// A tree comes in.
    Receiving(Box<Receiving>),
    /// The tree is whole. It holds some of the txns that the leader sends after it, and those make it exact.
    Replaying(Box<FuzzyReplay>),
    /// The disk is asked whether the log can be cut after this zxid.
    Checking(Zxid),
    /// The disk, or the log, is at work.
    Unfinished(Unfinished),
}

/// What the disk and the log were told: it is carried out also where the leader is gone.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// The shell writes an exact tree as of this zxid.
    Storing(Zxid),
    /// That tree is on disk. The log is being told where it begins.
    Basing(Box<Database>),
    /// The log is being told to forget what comes after this zxid.
    Truncating(Zxid),
    /// The shell reads the disk again.
    Reloading,
}

/// A tree that comes in.
#[derive(Debug)]
pub(super) struct Receiving {
    /// As of when it is, as the leader says.
    pub zxid: Zxid,
    pub decoder: Decoder,
    pub builder: Builder,
}

/// Why a follower cannot take the tree that its leader has sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum LostTree {
    /// The bytes are no snapshot.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The entries make no tree.
    #[error(transparent)]
    Unbuilt(#[from] BuildError),
    /// A txn that the leader sent after the tree does not fit it.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The tree is not whole after the txns that were to make it exact.
    #[error(transparent)]
    Inexact(#[from] FuzzyError),
    /// The disk does not take the tree.
    #[error("the tree cannot be stored: {0}")]
    NotStored(io::Error),
}

/// What follows once the log has a marker.
#[derive(Debug)]
pub(super) enum AfterMarker {
    /// The shell reads the disk again.
    Reload,
    /// The log begins at this tree.
    Adopt(Box<Database>),
}

impl Install {
    /// Whether a tree is whole and not installed yet: txns that come meanwhile wait for it.
    pub fn is_installing(&self) -> bool {
        match self {
            Self::Replaying(_) => true,
            Self::Unfinished(unfinished) => {
                matches!(unfinished, Unfinished::Storing(_) | Unfinished::Basing(_))
            }
            Self::Idle | Self::Receiving(_) | Self::Checking(_) => false,
        }
    }

    /// What the disk or the log was told, if it was: none of it is under way then.
    pub fn take_unfinished(&mut self) -> Option<Unfinished> {
        match std::mem::replace(self, Self::Idle) {
            Self::Unfinished(unfinished) => Some(unfinished),
            other => {
                *self = other;
                None
            }
        }
    }

    /// What remains when the leader is gone. Of the rest neither the disk nor the log was told: it is forgotten.
    pub fn leave(self) -> Option<Unfinished> {
        match self {
            Self::Unfinished(unfinished) => Some(unfinished),
            Self::Idle | Self::Receiving(_) | Self::Replaying(_) | Self::Checking(_) => None,
        }
    }
}

impl Unfinished {
    /// The tree is durable as an incoming snapshot.
    pub fn stored(self, restored: Database, log: &mut LogQueue) -> Self {
        let is_awaited = matches!(self, Self::Storing(zxid) if zxid == restored.zxid);
        assert!(is_awaited, "a tree at {} was stored while {self:?}", restored.zxid);
        log.append_marker(Marker::Base { at: restored.zxid });
        Self::Basing(Box::new(restored))
    }

    /// The tree could not be written.
    pub fn not_stored(self) {
        assert!(matches!(self, Self::Storing(_)), "a tree was not stored while {self:?}");
    }

    /// The log has its marker.
    pub fn after_marker(self, common: &mut Common) -> AfterMarker {
        match self {
            Self::Truncating(to) => {
                common.push(Output::Reload(to));
                AfterMarker::Reload
            }
            Self::Basing(restored) => {
                common.push(Output::FinishInstall(restored.zxid));
                AfterMarker::Adopt(restored)
            }
            Self::Storing(_) | Self::Reloading => panic!("a marker in the log while {self:?}"),
        }
    }

    /// The shell has read the disk again.
    pub fn reloaded(self, restored: &Database) {
        assert!(matches!(self, Self::Reloading), "read again to {} while {self:?}", restored.zxid);
    }
}

/// Txns that come after a tree which is not installed yet, and how far they are committed.
#[derive(Debug)]
pub(super) struct Behind {
    txns: VecDeque<Logged>,
    bytes: usize,
    committed: Zxid,
}

impl Behind {
    pub const fn new() -> Self {
        Self { txns: VecDeque::new(), bytes: 0, committed: Zxid::ZERO }
    }

    pub fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Newest txn that waits.
    pub fn last(&self) -> Option<Zxid> {
        self.txns.back().map(|last| last.zxid)
    }

    pub fn push(&mut self, logged: Logged) {
        if let Some(last) = self.last() {
            assert!(logged.zxid > last, "proposal {} after {last}", logged.zxid);
        }
        self.bytes += logged.txn.len();
        self.txns.push_back(logged);
    }

    pub fn commit(&mut self, through: Zxid) {
        assert!(through >= self.committed, "commit goes back: {through} after {}", self.committed);
        self.committed = through;
    }

    /// Gives committed txns to a tree that they make exact. What was committed until the tree ended is enough, and comes
    /// without being waited for.
    pub fn replay(&mut self, tree: &mut FuzzyReplay) -> Result<(), ReplayError> {
        while let Some(first) = self.txns.front()
            && first.zxid <= self.committed
            && let Some(Logged { zxid, txn, .. }) = self.txns.pop_front()
        {
            self.bytes -= txn.len();
            tree.replay(zxid, &txn)?;
        }
        if self.is_empty() {
            assert_eq!(self.bytes, 0, "bytes of txns, and none waits");
        }
        Ok(())
    }

    /// All of it, oldest first, and how far it is committed.
    pub fn take(&mut self) -> (VecDeque<Logged>, Zxid) {
        let Self { txns, committed, .. } = std::mem::replace(self, Self::new());
        (txns, committed)
    }
}
