//! Between a tree with its sessions and the bytes of a snapshot.

use crate::proto::{Acl, Zxid};
use crate::replica::Restored;
use crate::snapshot::{self, ACL_OPEN, Counts, Header, Node, SnapshotEncoder, Visitor};
use crate::tree::{self, AclRef, Body, Fixed, NodeImage, Owner, Tree};
use crate::txn::{AclTable, Quotas};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Encodes a snapshot from a tree's image.
#[derive(Debug)]
pub struct ImageEncoder {
    encoder: SnapshotEncoder,
    /// Ids of access lists in this snapshot. A list is known by where it is: they are interned.
    ids: BTreeMap<usize, u32>,
    /// Keeps the lists where they are while the snapshot is taken.
    held: Vec<AclRef>,
}

impl ImageEncoder {
    /// Begins with the header and the sessions, each with its timeout in milliseconds.
    pub fn new(header: &Header, sessions: impl IntoIterator<Item = (i64, i32)>) -> Self {
        let mut encoder = SnapshotEncoder::new(header);
        sessions.into_iter().for_each(|(id, timeout_ms)| encoder.session(id, timeout_ms));
        Self { encoder, ids: BTreeMap::new(), held: Vec::new() }
    }

    /// Adds a znode.
    pub fn put(&mut self, node: &NodeImage) {
        let fixed = node.body.fixed();
        let acl = match &fixed.acl {
            None => ACL_OPEN,
            Some(list) => {
                let next = self.held.len() as u32 + 1;
                *self.ids.entry(Arc::as_ptr(list) as usize).or_insert_with(|| {
                    self.encoder.acl(next, list);
                    self.held.push(fixed.acl.clone());
                    next
                })
            }
        };
        self.encoder.node(&Node {
            path: node.body.path(),
            data: node.body.data(),
            acl,
            czxid: fixed.czxid,
            mzxid: fixed.mzxid,
            pzxid: node.pzxid,
            ctime_ms: fixed.ctime_ms,
            mtime_ms: fixed.mtime_ms,
            version: fixed.version,
            cversion: node.cversion,
            aversion: fixed.aversion,
            owner: fixed.owner.0,
        });
    }

    /// Whether a chunk is due to be taken.
    pub fn is_chunk_due(&self) -> bool {
        self.encoder.is_chunk_due()
    }

    /// The bytes so far, for the file.
    pub fn take_chunk(&mut self) -> Vec<u8> {
        self.encoder.take_chunk()
    }

    /// The end of the file, and what the snapshot holds.
    pub fn finish(self) -> (Vec<u8>, Counts) {
        self.encoder.finish()
    }

    /// All of a small snapshot at once: `tree` as it is after `zxid`.
    pub fn whole(tree: &mut Tree, sessions: &BTreeMap<i64, i32>, zxid: Zxid, wall_ms: i64) -> Vec<u8> {
        let header = Header { zxid, digest: tree.digest(), wall_ms };
        let mut encoder = Self::new(&header, sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)));
        let mut nodes = Vec::new();
        tree.begin_image();
        while tree.image_slice(u32::MAX, &mut nodes) {}
        let mut bytes = Vec::new();
        for node in &nodes {
            encoder.put(node);
            if encoder.is_chunk_due() {
                bytes.extend(encoder.take_chunk());
            }
        }
        bytes.extend(encoder.finish().0);
        bytes
    }
}

/// Builds a tree from a snapshot's records, in whatever pieces they come.
#[derive(Debug)]
pub struct ImageBuilder {
    settings: tree::Settings,
    tree: Tree,
    table: AclTable,
    acls: BTreeMap<u32, AclRef>,
    sessions: BTreeMap<i64, i32>,
    scratch: Vec<u8>,
}

impl ImageBuilder {
    /// Nothing yet.
    pub fn new(settings: tree::Settings) -> Self {
        Self {
            settings,
            tree: Tree::empty(settings),
            table: AclTable::new(settings.hash_seed),
            acls: BTreeMap::from([(ACL_OPEN, None)]),
            sessions: BTreeMap::new(),
            scratch: Vec::new(),
        }
    }

    /// What all of a snapshot's bytes hold.
    ///
    /// # Errors
    /// Why they are not one: it is damaged.
    pub fn decode(bytes: &[u8], settings: tree::Settings) -> Result<Restored, String> {
        let mut builder = Self::new(settings);
        let decoded = snapshot::decode(bytes, &mut builder).map_err(|damage| damage.to_string());
        decoded.and_then(|(header, _)| builder.finish(&header))
    }

    /// The tree, once all of it is there.
    ///
    /// # Errors
    /// Where it is not whole, or not the one that the header tells of.
    pub fn finish(mut self, header: &Header) -> Result<Restored, String> {
        let orphan = |path: Vec<u8>| format!("{} has no parent", String::from_utf8_lossy(&path));
        self.tree.link_restored().map_err(orphan)?;
        if header.digest != 0
            && self.settings.digests == tree::Digests::Kept
            && self.tree.digest() != header.digest
        {
            return Err(format!("digest {:#x}, the header says {:#x}", self.tree.digest(), header.digest));
        }
        let quotas = Quotas::of(&self.tree);
        let Self { tree, table, sessions, .. } = self;
        Ok(Restored { tree, quotas, acls: table, sessions, zxid: header.zxid })
    }
}

impl Visitor for ImageBuilder {
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
        let fixed = Fixed {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime_ms: node.ctime_ms,
            mtime_ms: node.mtime_ms,
            version: node.version,
            aversion: node.aversion,
            owner: Owner(node.owner),
            acl: self.acls.get(&node.acl).cloned().flatten(),
        };
        let body = Body::new(node.path, node.data, fixed, &mut self.scratch);
        self.tree.restore(NodeImage { body, cversion: node.cversion, pzxid: node.pzxid });
        Ok(())
    }
}
