//! From a snapshot's entries to what a server knows.

use super::{Database, FuzzyReplay};
use crate::auth::AclList;
use crate::proto::{Acl, Id, Perms, SessionId, Zxid};
use crate::snapshot::java::Tail;
use crate::snapshot::{self, Header, Node, Refused, Visitor};
use crate::tree::{self, AclRef, Body, Fixed, NodeImage, Owner, Tree};
use crate::txn::{AclTable, Quotas, recount_quotas};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Builds a [`Database`] from a snapshot, zkfast's or ZooKeeper's.
#[derive(Debug)]
pub struct Builder {
    tree: Tree,
    table: AclTable,
    acls: BTreeMap<u32, AclRef>,
    sessions: BTreeMap<SessionId, i32>,
    /// Znodes of a fuzzy snapshot whose list came later than the snapshot's lists.
    unlisted: Vec<Box<[u8]>>,
    /// What these have until replay brings it: no client may do anything.
    closed: Arc<AclList>,
    scratch: Vec<u8>,
}

/// Why the entries of a snapshot make no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The tree's digest is not the header's.
    #[error("digest {tree:#x}, the header says {header:#x}")]
    Digest {
        /// The tree's digest.
        tree: u64,
        /// The header's.
        header: u64,
    },
    /// A znode names a list that did not come.
    #[error("{0} names an ACL that is not there")]
    Acl(String),
    /// There is no root.
    #[error("the tree has no root")]
    NoRoot,
    /// A znode's parent did not come.
    #[error("{0} has no parent")]
    NoParent(String),
}

impl Builder {
    /// A builder of one.
    pub fn new(settings: tree::Settings) -> Self {
        Self {
            tree: Tree::empty(settings),
            table: AclTable::new(settings.hash_seed),
            acls: BTreeMap::from([(snapshot::ACL_OPEN, None)]),
            sessions: BTreeMap::new(),
            unlisted: Vec::new(),
            closed: Arc::new(vec![Acl { perms: Perms(0), id: Id::new("world", "anyone") }].into()),
            scratch: Vec::new(),
        }
    }

    /// What there is after `zxid`; a digest other than 0 must be the tree's.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn finish(mut self, zxid: Zxid, digest: u64) -> Result<Database, BuildError> {
        self.link()?;
        if digest != 0 && self.tree.keeps_digests() && self.tree.digest() != digest {
            return Err(BuildError::Digest { tree: self.tree.digest(), header: digest });
        }
        if let Some(path) = self.unlisted.first() {
            return Err(BuildError::Acl(String::from_utf8_lossy(path).into()));
        }
        Ok(self.restored(zxid))
    }

    /// What there is of a fuzzy snapshot of `zxid`, for replay to make whole. Usage of quotas is counted anew.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn finish_fuzzy(mut self, zxid: Zxid, tail: Tail) -> Result<FuzzyReplay, BuildError> {
        self.link()?;
        let (closed, unlisted) = (self.closed.clone(), std::mem::take(&mut self.unlisted));
        let mut restored = self.restored(zxid);
        recount_quotas(&mut restored.tree, &mut restored.quotas);
        Ok(FuzzyReplay::new(restored, tail, unlisted, closed))
    }

    fn link(&mut self) -> Result<(), BuildError> {
        let orphan = |path: Vec<u8>| match &path[..] {
            b"/" => BuildError::NoRoot,
            path => BuildError::NoParent(String::from_utf8_lossy(path).into()),
        };
        self.tree.link_restored().map_err(orphan)
    }

    fn restored(self, zxid: Zxid) -> Database {
        let Self { tree, table, sessions, .. } = self;
        let quotas = Quotas::of(&tree);
        Database { tree, quotas, acls: table, sessions, zxid }
    }
}

impl Visitor for Builder {
    fn header(&mut self, _header: &Header) -> Result<(), Refused> {
        Ok(())
    }

    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), Refused> {
        match self.sessions.insert(id, timeout_ms) {
            None => Ok(()),
            Some(_) => Err(Refused::SessionTwice(id)),
        }
    }

    fn acl(&mut self, id: u32, acls: Vec<Acl>) -> Result<(), Refused> {
        let acl = self.table.intern(acls);
        self.acls.insert(id, acl);
        Ok(())
    }

    fn node(&mut self, node: Node<'_>) -> Result<(), Refused> {
        if self.tree.find(node.path).is_some() && !node.path.is_empty() {
            return Err(Refused::NodeTwice(String::from_utf8_lossy(node.path).into()));
        }
        let acl = match self.acls.get(&node.acl) {
            Some(acl) => acl.clone(),
            None => {
                self.unlisted.push(node.path.into());
                Some(self.closed.clone())
            }
        };
        let fixed = Fixed {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime_ms: node.ctime_ms,
            mtime_ms: node.mtime_ms,
            version: node.version,
            aversion: node.aversion,
            owner: Owner(node.owner),
            acl,
        };
        let body = Body::new(node.path, node.data, fixed, &mut self.scratch);
        self.tree.restore(NodeImage { body, cversion: node.cversion, pzxid: node.pzxid });
        Ok(())
    }
}
