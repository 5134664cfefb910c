//! From a snapshot's entries to what a server knows.

use super::{Database, FuzzyReplay};
use crate::auth::AclList;
use crate::proto::{Acl, Id, Perms, Zxid};
use crate::snapshot::java::Tail;
use crate::snapshot::{self, Header, Node, Visitor};
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
    sessions: BTreeMap<i64, i32>,
    /// Znodes of a fuzzy snapshot whose list came later than the snapshot's lists.
    unlisted: Vec<Box<[u8]>>,
    /// What these have until replay brings it: nobody may do anything.
    closed: Arc<AclList>,
    scratch: Vec<u8>,
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
    /// Why the entries make no tree.
    pub fn finish(mut self, zxid: Zxid, digest: u64) -> Result<Database, String> {
        self.link()?;
        if digest != 0 && self.tree.keeps_digests() && self.tree.digest() != digest {
            return Err(format!("digest {:#x}, the header says {digest:#x}", self.tree.digest()));
        }
        if let Some(path) = self.unlisted.first() {
            return Err(format!("{} names an ACL that is not there", String::from_utf8_lossy(path)));
        }
        Ok(self.restored(zxid))
    }

    /// What there is of a fuzzy snapshot of `zxid`, for replay to make whole. Usage of quotas is counted anew.
    ///
    /// # Errors
    /// Why the entries make no tree.
    pub fn finish_fuzzy(mut self, zxid: Zxid, tail: Tail) -> Result<FuzzyReplay, String> {
        self.link()?;
        let (closed, unlisted) = (self.closed.clone(), std::mem::take(&mut self.unlisted));
        let mut restored = self.restored(zxid);
        recount_quotas(&mut restored.tree, &mut restored.quotas);
        Ok(FuzzyReplay::new(restored, tail, unlisted, closed))
    }

    fn link(&mut self) -> Result<(), String> {
        let orphan = |path: Vec<u8>| match &path[..] {
            b"/" => "the tree has no root".to_owned(),
            path => format!("{} has no parent", String::from_utf8_lossy(path)),
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
    fn header(&mut self, _header: &Header) -> Result<(), String> {
        Ok(())
    }

    fn session(&mut self, id: i64, timeout_ms: i32) -> Result<(), String> {
        match self.sessions.insert(id, timeout_ms) {
            None => Ok(()),
            Some(_) => Err(format!("session {id:#x} is there twice")),
        }
    }

    fn acl(&mut self, id: u32, acls: Vec<Acl>) -> Result<(), String> {
        let acl = self.table.intern(acls);
        self.acls.insert(id, acl);
        Ok(())
    }

    fn node(&mut self, node: Node<'_>) -> Result<(), String> {
        if self.tree.find(node.path).is_some() && !node.path.is_empty() {
            return Err(format!("{} is there twice", String::from_utf8_lossy(node.path)));
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
