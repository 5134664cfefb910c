//! From a fuzzy snapshot to the exact tree.

use super::{Agreement, Database, ReplayError, note_session, read_next};
use crate::auth::AclList;
use crate::proto::{OpCode, SessionId, Zxid};
use crate::snapshot::java::Tail;
use crate::tree::{self, ExtendedTypes, Owner, OwnerKind};
use crate::txn::{Txn, TxnHeader, apply_fuzzy};
use std::sync::Arc;

impl Database {
    /// Applies a logged txn to a tree that may have some of it already.
    ///
    /// # Errors
    /// What cannot be forgiven: it does not decode, or is out of order.
    pub fn replay_fuzzy(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<Agreement, ReplayError> {
        let (header, txn, digest) = read_next(bytes, zxid, self.zxid, &mut self.acls)?;
        apply_fuzzy(&mut self.tree, &mut self.quotas, &header, &txn);
        note_session(&mut self.sessions, &header, &txn);
        self.zxid = zxid;
        Ok(self.agreement(digest))
    }
}

/// Replays a log onto a fuzzy snapshot: with forgiveness until the tree is known to be exact, which the
/// first digest that agrees shows. From there on each txn must fit.
///
/// A digest that disagrees proves nothing: the server that logged it predicted it, and ZooKeeper's predicts wrong ones
/// while writes of the root and creates below it are in flight together. It is counted.
#[derive(Debug)]
pub struct FuzzyReplay {
    restored: Database,
    tail: Tail,
    unlisted: Vec<Box<[u8]>>,
    closed: Arc<AclList>,
    exact_from: Option<Zxid>,
    /// The newest digest that did not agree, and none has since.
    disagrees: Option<ReplayError>,
    txns: u64,
    /// Digests that did not agree once the tree was known to be exact, or at the end.
    mismatches: u64,
    /// Those since the last one that agreed.
    doubtful: u64,
}

/// What became of a fuzzy snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FuzzyReport {
    /// Txns that were replayed.
    pub txns: u64,
    /// From which txn on the tree was known to be exact; `None` where no digest said so.
    pub exact_from: Option<Zxid>,
    /// Digests that did not agree, but for those that the snapshot's being fuzzy explains.
    pub digest_mismatches: u64,
    /// The newest of them, where no digest has agreed since: only this one may mean that the tree is another.
    pub doubt: Option<String>,
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
    /// A znode whose ACL is unknown.
    #[error("{path} names an ACL that is neither in the snapshot nor in the log")]
    Acl {
        /// The znode.
        path: String,
    },
    /// A TTL node, and these are switched off: it would pass for an ephemeral of an unknown session.
    #[error("{path} is a TTL node, which needs extendedTypesEnabled=true (zkfast import: --extended-types)")]
    TtlOff {
        /// The znode.
        path: String,
    },
}

impl FuzzyReplay {
    pub(super) fn new(
        restored: Database,
        tail: Tail,
        unlisted: Vec<Box<[u8]>>,
        closed: Arc<AclList>,
    ) -> Self {
        let mut replay = Self {
            restored,
            tail,
            unlisted,
            closed,
            exact_from: None,
            disagrees: None,
            txns: 0,
            mismatches: 0,
            doubtful: 0,
        };
        replay.compare_tail();
        replay
    }

    /// A replay from an empty tree on, for a log that begins with the first txn ever.
    pub fn from_nothing(settings: tree::Settings) -> Self {
        Self::new(Database::fresh(settings), Tail::default(), Vec::new(), Arc::default())
    }

    /// What is there so far.
    pub fn restored(&self) -> &Database {
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
    /// What does not fit; see [`Database::replay_fuzzy`] and, once the tree is exact, [`Database::replay_hinted`].
    pub fn replay(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), ReplayError> {
        self.txns += 1;
        let agreement = match self.is_exact() {
            true => self.restored.replay_hinted(zxid, bytes)?,
            false => self.restored.replay_fuzzy(zxid, bytes)?,
        };
        match agreement {
            Agreement::Same => self.agrees(),
            Agreement::Other { logged } => self.disagrees(zxid, logged),
            Agreement::Unsaid => {}
        }
        self.compare_tail();
        Ok(())
    }

    /// Compares with the digest that the snapshot itself holds of this txn. It may not agree: Java notes it
    /// after the change that it stands for.
    fn compare_tail(&mut self) {
        let zxid = self.restored.zxid;
        match self.tail.digest {
            Some((at, logged)) if at == zxid && !self.is_exact() && self.restored.tree.keeps_digests() => {
                match self.restored.tree.digest() {
                    tree if tree == logged => self.agrees(),
                    _ => self.disagrees(zxid, logged),
                }
            }
            _ => {}
        }
    }

    fn disagrees(&mut self, zxid: Zxid, logged: u64) {
        self.doubtful += 1;
        self.disagrees = Some(ReplayError::Digest { zxid, logged, tree: self.restored.tree.digest() });
    }

    fn agrees(&mut self) {
        self.disagrees = None;
        let doubtful = std::mem::take(&mut self.doubtful);
        if self.is_exact() {
            self.mismatches += doubtful;
            return;
        }
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

    /// There is no log at all: the snapshot is taken for what it holds, as ZooKeeper does, as of the newest txn of which
    /// it has something. Where it was taken under load, some of what txns at its end made may be missing.
    pub fn take_as_it_is(&mut self) {
        self.restored.zxid = self.restored.zxid.max(self.tail.reach());
        self.compare_tail();
        self.disagrees = None;
    }

    /// The log is over: what there is, if it is whole. Ephemerals of sessions that are not alive go.
    ///
    /// # Errors
    /// Why it is not whole.
    pub fn finish(self) -> Result<(Database, FuzzyReport), FuzzyError> {
        let (reach, last) = (self.tail.reach(), self.restored.zxid);
        if last < reach && !self.is_exact() {
            return Err(FuzzyError::Unreached { reach, last });
        }
        if let Some(path) = self.unlisted_path() {
            return Err(FuzzyError::Acl { path: String::from_utf8_lossy(path).into() });
        }
        let Self { mut restored, exact_from, txns, mismatches, doubtful, disagrees, .. } = self;
        let (digest_mismatches, doubt) = (mismatches + doubtful, disagrees.map(|why| why.to_string()));
        let dead: Vec<SessionId> =
            restored.tree.ephemeral_owners().filter(|owner| !restored.sessions.contains_key(owner)).collect();
        let before = restored.tree.len();
        for session_id in dead {
            if matches!(Owner::ephemeral(session_id).kind(ExtendedTypes::On), OwnerKind::Ttl { .. })
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
        Ok((restored, FuzzyReport { txns, exact_from, digest_mismatches, doubt, orphans }))
    }
}
