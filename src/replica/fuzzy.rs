//! From a fuzzy snapshot to the exact tree.

use super::restored::{note_session, read_next};
use super::{ReplayError, Restored};
use crate::auth::AclList;
use crate::proto::{OpCode, Zxid};
use crate::snapshot::java::Tail;
use crate::tree::{self, Owner, OwnerKind};
use crate::txn::{Txn, TxnHeader, apply_fuzzy};
use std::sync::Arc;

/// What the digest of a logged txn says of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// It is the tree that the txn made.
    Same,
    /// It is another one: the snapshot holds more than this.
    Other {
        /// What was logged.
        logged: u64,
    },
    /// Nothing: the txn carries none, or the tree keeps none.
    Unsaid,
}

impl Restored {
    /// Applies a logged txn to a tree that may have some of it already.
    ///
    /// # Errors
    /// What cannot be forgiven: it does not decode, or is out of order.
    pub fn replay_fuzzy(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<Agreement, ReplayError> {
        let (header, txn, digest) = read_next(bytes, zxid, self.zxid, &mut self.acls)?;
        apply_fuzzy(&mut self.tree, &mut self.quotas, &header, &txn);
        note_session(&mut self.sessions, &header, &txn);
        self.zxid = zxid;
        Ok(match digest {
            Some(logged) if self.tree.keeps_digests() => match logged == self.tree.digest() {
                true => Agreement::Same,
                false => Agreement::Other { logged },
            },
            _ => Agreement::Unsaid,
        })
    }
}

/// Replays a log onto a fuzzy snapshot: with forgiveness until the tree is known to be exact, which the
/// first digest that agrees shows, and without from there on.
#[derive(Debug)]
pub struct FuzzyReplay {
    restored: Restored,
    tail: Tail,
    unlisted: Vec<Box<[u8]>>,
    closed: Arc<AclList>,
    exact_from: Option<Zxid>,
    /// The newest digest that did not agree, and none has since.
    disagrees: Option<ReplayError>,
    txns: u64,
}

/// What became of a fuzzy snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FuzzyReport {
    /// Txns that were replayed.
    pub txns: u64,
    /// From which txn on the tree was known to be exact; `None` where no digest said so.
    pub exact_from: Option<Zxid>,
    /// Ephemerals that went because their session is not alive, as Java does at its start.
    pub orphans: usize,
}

/// Why a snapshot and its log make no whole tree.
#[derive(Debug, thiserror::Error)]
pub enum FuzzyError {
    /// The log ends too early.
    #[error("the snapshot holds some of what txns up to {reach} made, and the log ends at {last}")]
    Unreached {
        /// How far the snapshot goes.
        reach: Zxid,
        /// How far the log goes.
        last: Zxid,
    },
    /// The tree is not the one that was logged.
    #[error("the tree never becomes the one that was logged: {0}")]
    Digest(ReplayError),
    /// A znode whose ACL nobody knows.
    #[error("{path} names an ACL that is neither in the snapshot nor in the log")]
    Acl {
        /// The znode.
        path: String,
    },
    /// A TTL node, and these are switched off: it would pass for an ephemeral of a session that nobody knows.
    #[error("{path} is a TTL node, which needs extendedTypesEnabled=true")]
    TtlOff {
        /// The znode.
        path: String,
    },
}

impl FuzzyReplay {
    pub(super) fn new(
        restored: Restored,
        tail: Tail,
        unlisted: Vec<Box<[u8]>>,
        closed: Arc<AclList>,
    ) -> Self {
        let mut replay =
            Self { restored, tail, unlisted, closed, exact_from: None, disagrees: None, txns: 0 };
        replay.compare_tail();
        replay
    }

    /// A replay from an empty tree on, for a log that begins with the first txn ever.
    pub fn from_nothing(settings: tree::Settings) -> Self {
        Self::new(Restored::fresh(settings), Tail::default(), Vec::new(), Arc::default())
    }

    /// What is there so far.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// Whether everything was replayed of which the snapshot is known to hold something.
    pub fn is_reached(&self) -> bool {
        self.is_exact() || self.restored.zxid >= self.tail.reach() && self.unlisted_path().is_none()
    }

    /// As of which txn the tree is, at least.
    pub fn zxid(&self) -> Zxid {
        self.restored.zxid
    }

    /// Whether the tree is known to be exact.
    pub fn is_exact(&self) -> bool {
        self.exact_from.is_some()
    }

    /// Applies the next txn.
    ///
    /// # Errors
    /// What does not fit; see [`Restored::replay_fuzzy`] and, once the tree is exact, [`Restored::replay`].
    pub fn replay(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), ReplayError> {
        self.txns += 1;
        if self.is_exact() {
            return self.restored.replay(zxid, bytes);
        }
        match self.restored.replay_fuzzy(zxid, bytes)? {
            Agreement::Same => self.agrees(),
            Agreement::Other { logged } => {
                self.disagrees =
                    Some(ReplayError::Digest { zxid, logged, tree: self.restored.tree.digest() });
            }
            Agreement::Unsaid => {}
        }
        self.compare_tail();
        Ok(())
    }

    /// Compares with the digest that the snapshot itself says of this txn. It may not agree: Java notes it
    /// behind the change that it stands for.
    fn compare_tail(&mut self) {
        let zxid = self.restored.zxid;
        match self.tail.digest {
            Some((at, logged)) if at == zxid && !self.is_exact() && self.restored.tree.keeps_digests() => {
                match self.restored.tree.digest() {
                    tree if tree == logged => self.agrees(),
                    tree => self.disagrees = Some(ReplayError::Digest { zxid, logged, tree }),
                }
            }
            _ => {}
        }
    }

    fn agrees(&mut self) {
        self.disagrees = None;
        // Neither lists nor what is below /zookeeper are part of the digest, and some may still be to come.
        if self.restored.zxid >= self.tail.reach() && self.unlisted_path().is_none() {
            self.unlisted = Vec::new();
            self.exact_from = Some(self.restored.zxid);
        }
    }

    /// A znode that still has no list.
    fn unlisted_path(&self) -> Option<&[u8]> {
        let tree = &self.restored.tree;
        let is_closed = |path: &&[u8]| {
            let acl = tree.find(path).map(|index| tree.body(index).fixed().acl.clone());
            acl.flatten().is_some_and(|list| Arc::ptr_eq(&list, &self.closed))
        };
        self.unlisted.iter().map(|path| &**path).find(is_closed)
    }

    /// The log is over: what there is, if it is whole. Ephemerals of sessions that are not alive go.
    ///
    /// # Errors
    /// Why it is not whole.
    pub fn finish(mut self) -> Result<(Restored, FuzzyReport), FuzzyError> {
        let (reach, last) = (self.tail.reach(), self.restored.zxid);
        if last < reach && !self.is_exact() {
            return Err(FuzzyError::Unreached { reach, last });
        }
        if let Some(error) = self.disagrees.take() {
            return Err(FuzzyError::Digest(error));
        }
        if let Some(path) = self.unlisted_path() {
            return Err(FuzzyError::Acl { path: String::from_utf8_lossy(path).into() });
        }
        let Self { mut restored, exact_from, txns, .. } = self;
        let dead: Vec<i64> =
            restored.tree.ephemeral_owners().filter(|owner| !restored.sessions.contains_key(owner)).collect();
        let before = restored.tree.len();
        for session_id in dead {
            if matches!(Owner(session_id).kind(true), OwnerKind::Ttl { .. })
                && let Some(path) = restored.tree.ephemerals(session_id).next()
            {
                return Err(FuzzyError::TtlOff { path: String::from_utf8_lossy(path).into() });
            }
            let header =
                TxnHeader { session_id, cxid: 0, zxid: restored.zxid, time_ms: 0, op: OpCode::CLOSE_SESSION };
            let txn = Txn::CloseSession { paths: None };
            apply_fuzzy(&mut restored.tree, &mut restored.quotas, &header, &txn);
        }
        let orphans = before - restored.tree.len();
        Ok((restored, FuzzyReport { txns, exact_from, orphans }))
    }
}
