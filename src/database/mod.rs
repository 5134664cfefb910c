//! What a server knows: the tree with its quotas and access lists, and the sessions.
//!
//! A [`Database`] comes from a snapshot through a [`Builder`]; logged txns bring it up to date
//! ([`Database::replay`]). A fuzzy snapshot, as ZooKeeper writes them, becomes exact through a [`FuzzyReplay`].
//!
//! Source: `ZKDatabase`, Apache ZooKeeper 3.9.

mod builder;
mod fuzzy;

pub use builder::{BuildError, Builder};
pub use fuzzy::{FuzzyError, FuzzyReplay, FuzzyReport};

use crate::proto::{Acl, ErrorCode, Id, Perms, SessionId, Short, Zxid};
use crate::tree::{self, Fixed, Owner, Tree};
use crate::txn::{self, AclTable, Applied, Quotas, Txn, TxnHeader};
use crate::zab::quorum::version_in;
use std::collections::BTreeMap;

/// The znode that shows the ensemble's configuration.
pub(crate) const CONFIG_PATH: &[u8] = b"/zookeeper/config";

/// What a server knows when it starts.
#[derive(Debug)]
pub struct Database {
    /// Everything that was committed.
    pub tree: Tree,
    /// Limits in it.
    pub quotas: Quotas,
    /// Access lists in it.
    pub acls: AclTable,
    /// Sessions that are alive, with their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The last txn.
    pub zxid: Zxid,
}

impl Database {
    /// A server that has never run.
    pub fn fresh(settings: tree::Settings) -> Self {
        Self {
            tree: Tree::new(settings),
            quotas: Quotas::default(),
            acls: AclTable::new(settings.hash_seed),
            sessions: BTreeMap::new(),
            zxid: Zxid::ZERO,
        }
    }

    /// The configuration that the tree shows: that of its last reconfiguration, or what was shown before.
    pub fn config(&self) -> Option<&[u8]> {
        self.tree.body(self.tree.find(CONFIG_PATH)?).data()
    }

    /// Shows an ensemble's configuration to clients, unless the tree has a later one by a reconfiguration. No txn holds it, and no digest counts it; unlike Java's, servers
    /// that read the same file show the same `Stat`.
    ///
    /// Source: `ZKDatabase.initConfigInZKDatabase`.
    pub fn set_config(&mut self, text: &[u8], version: i64) {
        let path = CONFIG_PATH;
        let zxid = Zxid::from_wire(version);
        match self.tree.find(path) {
            Some(_) if version_in(self.config().unwrap_or_default()) > version => {}
            Some(index) => {
                let before = self.tree.body(index).fixed().clone();
                let fixed = Fixed { mzxid: zxid, mtime_ms: 0, version: -1, ..before };
                let body = self.tree.make_body(path, Some(text), fixed);
                self.tree.replace(index, body);
            }
            // Data of 3.4 has none.
            None => {
                let acl = vec![Acl { perms: Perms::READ, id: Id::new("world", "anyone") }];
                let acl = self.acls.intern(acl);
                let (czxid, owner) = (Zxid::ZERO, Owner::PERSISTENT);
                let fixed = Fixed {
                    czxid,
                    mzxid: zxid,
                    ctime_ms: 0,
                    mtime_ms: 0,
                    version: -1,
                    aversion: 0,
                    owner,
                    acl,
                };
                let body = self.tree.make_body(path, Some(text), fixed);
                if let Some(parent) = self.tree.find(b"/zookeeper") {
                    self.tree.insert(parent, body);
                }
            }
        }
    }

    /// Applies a logged txn, and checks that it fits and leaves the digest that was logged.
    ///
    /// # Errors
    /// What does not fit: the log is not this tree's, or is damaged in a way that its checksums missed.
    pub fn replay(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), ReplayError> {
        match self.replay_hinted(zxid, bytes)? {
            Agreement::Other { logged } => {
                Err(ReplayError::Digest { zxid, logged, tree: self.tree.digest() })
            }
            Agreement::Same | Agreement::Unsaid => Ok(()),
        }
    }

    /// Applies a logged txn, and checks that it fits. Its digest is a hint: another server predicted it, and a leader of
    /// ZooKeeper's predicts wrong ones.
    ///
    /// # Errors
    /// As [`Self::replay`], but for the digest.
    pub fn replay_hinted(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<Agreement, ReplayError> {
        let (header, txn, digest) = read_next(bytes, zxid, self.zxid, &mut self.acls)?;
        let mut applied = Applied::default();
        txn::apply(&mut self.tree, &mut self.quotas, &header, &txn, &mut applied)
            .map_err(|code| ReplayError::Impossible { zxid, code })?;
        note_session(&mut self.sessions, &header, &txn);
        self.zxid = zxid;
        Ok(self.agreement(digest))
    }

    /// How the tree compares with a digest that was logged.
    pub(crate) fn agreement(&self, digest: Option<u64>) -> Agreement {
        match digest {
            Some(logged) if self.tree.keeps_digests() => match logged == self.tree.digest() {
                true => Agreement::Same,
                false => Agreement::Other { logged },
            },
            _ => Agreement::Unsaid,
        }
    }
}

/// How the tree compares with the digest of a logged txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// It is the tree that the txn made.
    Same,
    /// It is another one, or the digest was predicted wrongly.
    Other {
        /// What was logged.
        logged: u64,
    },
    /// Nothing: the txn carries none, or the tree keeps none.
    Unsaid,
}

/// Reads the logged txn of `zxid`, which comes after `last`.
pub(crate) fn read_next<'a>(
    bytes: &'a [u8],
    zxid: Zxid,
    last: Zxid,
    acls: &mut AclTable,
) -> Result<(TxnHeader, Txn<'a>, Option<u64>), ReplayError> {
    let (header, txn, digest) = txn::read(bytes, acls)?;
    if header.zxid != zxid || zxid <= last {
        return Err(ReplayError::Order { before: last, record: zxid, header: header.zxid });
    }
    Ok((header, txn, digest))
}

/// Keeps `sessions` up to date with a txn.
pub(crate) fn note_session(sessions: &mut BTreeMap<SessionId, i32>, header: &TxnHeader, txn: &Txn<'_>) {
    match txn {
        Txn::CreateSession { timeout_ms } => {
            sessions.insert(header.session_id, *timeout_ms);
        }
        Txn::CloseSession { .. } => {
            sessions.remove(&header.session_id);
        }
        _ => {}
    }
}

/// Why a logged txn cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It does not decode.
    #[error("the txn does not decode: {0}")]
    Short(#[from] Short),
    /// It is out of order.
    #[error("txn {record} (header: {header}) follows {before}")]
    Order {
        /// The txn before.
        before: Zxid,
        /// The record's zxid.
        record: Zxid,
        /// The txn header's zxid.
        header: Zxid,
    },
    /// The tree is not the one that it was made for.
    #[error("txn {zxid} cannot be applied: {code:?}")]
    Impossible {
        /// The txn.
        zxid: Zxid,
        /// The error that the txn leads to.
        code: ErrorCode,
    },
    /// The tree is not the one that it made.
    #[error("txn {zxid} leaves digest {tree:#x}, the log says {logged:#x}")]
    Digest {
        /// The txn.
        zxid: Zxid,
        /// What was logged.
        logged: u64,
        /// What came out.
        tree: u64,
    },
}
