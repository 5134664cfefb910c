//! The tree of znodes.
//!
//! One type serves both sides: the commit side's tree, against which requests are checked and which
//! is ahead of what is durable, and each view's, which answers reads and holds what is committed. They
//! share every [`Body`]; a copy of the tree costs its index and links, no data.
//!
//! Invariant: every znode but the root has a parent in the tree; a znode's stat on the wire is a
//! function of its body and of its children's history (`cversion`, `pzxid`, their number).

mod body;
mod digest;
mod image;
mod imaging;
mod index;
mod slab;

pub use body::{AclRef, Body, ExtendedTypes, Fixed, Owner, OwnerKind, TTL_MS_MAX, acl_entries};
pub use digest::DIGEST_VERSION;
pub use image::{ImageOf, NodeImage};
pub use slab::NodeIndex;

use crate::proto::{Acl, Id, Perms, SessionId, Stat, Zxid, path};
use hashbrown::{HashMap, HashSet};
use index::PathIndex;
use slab::{Entry, NIL, Slab};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

type State = foldhash::fast::FixedState;

/// What a znode's children have left on it.
#[derive(Clone, Debug)]
struct Dir {
    first: NodeIndex,
    children: u32,
    /// Children ever created: what sequence numbers, txns, snapshots and digests use.
    cversion: i32,
    /// The parent's, [`NO_DIR`] for the root's.
    parent: u32,
    pzxid: Zxid,
    /// Data bytes of everything below.
    below_bytes: u64,
    /// Znodes below, at any depth: getAllChildrenNumber and quotas ask for it, and a client that asks 600 times in one
    /// packet must not make a view walk the tree 600 times.
    below: u32,
}

/// A znode that never had a child.
const NO_DIR: u32 = u32::MAX;

/// Which digests a tree keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// The commit side: each change updates the digest.
    Kept,
    /// A view, which never shows one.
    Off,
}

/// How a tree treats owners and digests.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `extendedTypesEnabled` and `emulate353TTLNodes`: which znodes are TTL nodes.
    pub extended_types: ExtendedTypes,
    /// Whether digests are kept.
    pub digests: Digests,
    /// Seeds the hash of paths.
    pub hash_seed: u64,
}

/// A tree of znodes at one zxid.
#[derive(Clone, Debug)]
pub struct Tree {
    slab: Slab,
    index: PathIndex,
    dirs: Vec<Dir>,
    free_dirs: Vec<u32>,
    root: NodeIndex,
    /// By session, and then by path, so that those below a prefix are found without a look at the others.
    ephemerals: HashMap<SessionId, BTreeSet<ByPath>, State>,
    containers: HashSet<NodeIndex, State>,
    ttls: HashSet<NodeIndex, State>,
    digest: u64,
    data_bytes: u64,
    images: image::Images,
    /// See [`Tree::find_again`].
    remembered: NodeIndex,
    settings: Settings,
    scratch: Vec<u8>,
    /// An empty hasher, cloned for each digest.
    no_bytes: crc32fast::Hasher,
}

/// A znode in the order of paths.
#[derive(Clone, Debug)]
struct ByPath(Body);

impl Borrow<[u8]> for ByPath {
    fn borrow(&self) -> &[u8] {
        self.0.path()
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.path() == other.0.path()
    }
}

impl Eq for ByPath {}

impl PartialOrd for ByPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.path().cmp(other.0.path())
    }
}

/// A znode taken out of the tree, with what is needed to put it back.
#[derive(Clone, Debug)]
pub struct Removed {
    /// The znode.
    pub body: Body,
    /// Its internal cversion.
    pub cversion: i32,
    /// Its pzxid.
    pub pzxid: Zxid,
}

/// Paths that are there from the start and cannot be deleted. Source: `DataTree.isSpecialPath`.
pub fn is_special(path: &[u8]) -> bool {
    matches!(path, b"/" | b"/zookeeper" | b"/zookeeper/quota" | b"/zookeeper/config")
}

impl Tree {
    /// A fresh tree: the root and `/zookeeper` with `quota` and `config`, all stats zero.
    pub fn new(settings: Settings) -> Self {
        let mut tree = Self::empty(settings);
        let mut made = Vec::new();
        let mut make = |path: &[u8], acl: AclRef, aversion| {
            let fixed = Fixed {
                czxid: Zxid::ZERO,
                mzxid: Zxid::ZERO,
                ctime_ms: 0,
                mtime_ms: 0,
                version: 0,
                aversion,
                owner: Owner::PERSISTENT,
                acl,
            };
            made.push(Body::new(path, Some(b""), fixed, &mut Vec::new()));
        };
        make(b"/", None, 0);
        make(b"/zookeeper", None, 0);
        make(b"/zookeeper/quota", None, 0);
        // Java sets this list with version -1, and clients see that.
        let read_only = vec![Acl { perms: Perms::READ, id: Id::new("world", "anyone") }];
        make(b"/zookeeper/config", Some(Arc::new(read_only.into())), -1);
        for body in made {
            tree.restore(NodeImage { body, cversion: 0, pzxid: Zxid::ZERO });
        }
        tree.link_restored().expect("the fresh tree's parents are there");
        tree
    }

    /// What it was made with.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// A tree without even a root, for [`Tree::restore`] to fill.
    pub fn empty(settings: Settings) -> Self {
        let state = || State::with_seed(settings.hash_seed);
        Self {
            slab: Slab::new(),
            index: PathIndex::new(settings.hash_seed),
            dirs: Vec::new(),
            free_dirs: Vec::new(),
            root: NIL,
            ephemerals: HashMap::with_hasher(state()),
            containers: HashSet::with_hasher(state()),
            ttls: HashSet::with_hasher(state()),
            digest: 0,
            data_bytes: 0,
            images: image::Images::default(),
            remembered: NIL,
            settings,
            scratch: Vec::new(),
            no_bytes: crc32fast::Hasher::new(),
        }
    }

    /// Adds a znode of a snapshot; parents may come later. [`Tree::link_restored`] must follow.
    pub fn restore(&mut self, node: NodeImage) {
        let NodeImage { body, cversion, pzxid } = node;
        let czxid = body.fixed().czxid;
        let index = self.place(body);
        if cversion != 0 || pzxid != czxid {
            let dir = self.dir_mut(index);
            (dir.cversion, dir.pzxid) = (cversion, pzxid);
        }
        self.count_digest(index);
    }

    /// Hangs restored znodes under their parents.
    ///
    /// # Errors
    /// The path of a znode whose parent is not there: the snapshot is not whole.
    pub fn link_restored(&mut self) -> Result<(), Vec<u8>> {
        for place in 0..self.slab.end() {
            let index = NodeIndex(place);
            let Some(body) = self.slab.entry(index).body.clone() else { continue };
            if body.path() == b"/" {
                self.root = index;
                continue;
            }
            let parent = path::split(body.path()).and_then(|(parent, _)| self.find(parent));
            let parent = parent.ok_or_else(|| body.path().to_vec())?;
            let dir = self.link(parent, index);
            let dir = &mut self.dirs[dir as usize];
            dir.below += 1;
            dir.below_bytes += body.bytes().len() as u64;
        }
        if self.root == NIL {
            return Err(b"/".to_vec());
        }
        self.sum_up();
        Ok(())
    }

    /// Makes sums of whole subtrees of sums that count direct children only.
    fn sum_up(&mut self) {
        let direct: Vec<_> = self.dirs.iter().map(|dir| (dir.parent, dir.below, dir.below_bytes)).collect();
        for (mut above, znodes, bytes) in direct {
            while above != NO_DIR {
                let dir = &mut self.dirs[above as usize];
                dir.below += znodes;
                dir.below_bytes += bytes;
                above = dir.parent;
            }
        }
    }

    /// A copy for a view: shares every body, keeps no digests.
    pub fn for_view(&self) -> Self {
        let settings = Settings { digests: Digests::Off, ..self.settings };
        Self { settings, images: image::Images::default(), scratch: Vec::new(), ..self.clone() }
    }

    /// The znode at `path`; the empty path is another name of the root.
    pub fn find(&self, path: &[u8]) -> Option<NodeIndex> {
        if path.is_empty() {
            return Some(self.root);
        }
        self.index.find(&self.slab, path)
    }

    /// Has [`Tree::find_again`] look at this znode first.
    pub fn remember(&mut self, index: NodeIndex) {
        self.remembered = index;
    }

    /// As [`Tree::find`]: quicker for the znode that was remembered last, as a write is when it is applied after it was
    /// checked.
    pub fn find_again(&self, path: &[u8]) -> Option<NodeIndex> {
        let is_it = self.remembered != NIL && self.slab.path(self.remembered) == Some(path);
        if is_it { Some(self.remembered) } else { self.find(path) }
    }

    /// A znode's body.
    pub fn body(&self, index: NodeIndex) -> &Body {
        self.slab.body(index)
    }

    fn dir(&self, index: NodeIndex) -> Option<&Dir> {
        match self.slab.entry(index).dir {
            NO_DIR => None,
            dir => Some(&self.dirs[dir as usize]),
        }
    }

    fn dir_mut(&mut self, index: NodeIndex) -> &mut Dir {
        let dir = self.dir_or_insert(index);
        &mut self.dirs[dir as usize]
    }

    fn dir_or_insert(&mut self, index: NodeIndex) -> u32 {
        let entry = self.slab.entry(index);
        if entry.dir != NO_DIR {
            return entry.dir;
        }
        let body = entry.body.as_ref().expect("a live znode");
        let (pzxid, parent) = (body.fixed().czxid, self.dir_above(body.path()));
        let fresh = Dir { first: NIL, children: 0, cversion: 0, parent, pzxid, below_bytes: 0, below: 0 };
        let dir = match self.free_dirs.pop() {
            Some(free) => {
                self.dirs[free as usize] = fresh;
                free
            }
            None => {
                self.dirs.push(fresh);
                (self.dirs.len() - 1) as u32
            }
        };
        self.slab.entry_mut(index).dir = dir;
        dir
    }

    /// Where the children of the parent of `path` hang; [`NO_DIR`] for the root, and for a znode that is not linked.
    fn dir_above(&self, path: &[u8]) -> u32 {
        if path == b"/" {
            return NO_DIR;
        }
        let parent = path::split(path).and_then(|(parent, _)| self.find(parent));
        parent.map_or(NO_DIR, |parent| self.slab.entry(parent).dir)
    }

    /// Counts znodes and bytes that came or went below `dir`, for it and all above it.
    fn count_below(&mut self, mut dir: u32, znodes: i32, bytes: i64) {
        while dir != NO_DIR {
            let above = &mut self.dirs[dir as usize];
            above.below = above.below.wrapping_add_signed(znodes);
            above.below_bytes = above.below_bytes.wrapping_add_signed(bytes);
            dir = above.parent;
        }
    }

    /// Direct children.
    pub fn child_count(&self, index: NodeIndex) -> u32 {
        self.dir(index).map_or(0, |dir| dir.children)
    }

    /// A znode's internal cversion (children ever created) and pzxid.
    pub fn child_stat(&self, index: NodeIndex) -> (i32, Zxid) {
        match self.dir(index) {
            Some(dir) => (dir.cversion, dir.pzxid),
            None => (0, self.body(index).fixed().czxid),
        }
    }

    /// What a client sees. `cversion` counts creations and deletions, as clients since 3.0 expect; a
    /// container's or TTL node's owner is not shown. Source: `DataNode.copyStat`.
    pub fn stat(&self, index: NodeIndex) -> Stat {
        let body = self.body(index);
        let fixed = body.fixed();
        let (children, cversion, pzxid) = match self.dir(index) {
            Some(dir) => (dir.children as i32, dir.cversion, dir.pzxid),
            None => (0, 0, fixed.czxid),
        };
        let ephemeral_owner = match fixed.owner.kind(self.settings.extended_types) {
            OwnerKind::Ephemeral { session_id } => session_id,
            _ => SessionId::NONE,
        };
        Stat {
            czxid: fixed.czxid,
            mzxid: fixed.mzxid,
            ctime_ms: fixed.ctime_ms,
            mtime_ms: fixed.mtime_ms,
            version: fixed.version,
            cversion: cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: fixed.aversion,
            ephemeral_owner,
            data_bytes: body.bytes().len() as i32,
            children,
            pzxid,
        }
    }

    /// Names of the children, newest first; clients must not rely on an order, as with Java's.
    pub fn children(&self, index: NodeIndex) -> impl Iterator<Item = &[u8]> {
        self.siblings(self.dir(index).map_or(NIL, |dir| dir.first)).map(|(_, name)| name)
    }

    /// The first of [`Tree::children`].
    pub fn newest_child(&self, index: NodeIndex) -> Option<NodeIndex> {
        self.dir(index).map(|dir| dir.first).filter(|first| *first != NIL)
    }

    /// This child and those of its parent that are older, with their names, newest first.
    pub fn older_siblings(&self, child: NodeIndex) -> impl Iterator<Item = (NodeIndex, &[u8])> {
        self.siblings(child)
    }

    fn siblings(&self, first: NodeIndex) -> impl Iterator<Item = (NodeIndex, &[u8])> {
        let mut next = first;
        std::iter::from_fn(move || {
            if next == NIL {
                return None;
            }
            let (index, entry) = (next, self.slab.entry(next));
            let body = entry.body.as_ref().expect("children are live");
            next = entry.next;
            Some((index, path::split(body.path()).expect("a child has a parent").1))
        })
    }

    /// All znodes below this one.
    pub fn descendants(&self, index: NodeIndex) -> usize {
        self.dir(index).map_or(0, |dir| dir.below as usize)
    }

    /// Znodes and data bytes of the subtree, itself included: what a quota counts.
    pub fn subtree(&self, index: NodeIndex) -> (usize, u64) {
        let below = self.dir(index).map_or((0, 0), |dir| (dir.below as usize, dir.below_bytes));
        (below.0 + 1, below.1 + self.body(index).bytes().len() as u64)
    }

    /// Paths of a session's ephemerals, in order.
    pub fn ephemerals(&self, session_id: SessionId) -> impl Iterator<Item = &[u8]> {
        self.ephemerals.get(&session_id).into_iter().flatten().map(|node| node.0.path())
    }

    /// Those of them that begin with `prefix`, in order.
    pub fn ephemerals_below<'t>(
        &'t self,
        session_id: SessionId,
        prefix: &'t [u8],
    ) -> impl Iterator<Item = &'t [u8]> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let owned = self.ephemerals.get(&session_id).into_iter();
        let owned = owned.flat_map(move |owned| owned.range::<[u8], _>(from)).map(|node| node.0.path());
        owned.take_while(move |path| path.starts_with(prefix))
    }

    /// How many ephemerals a session has.
    pub fn ephemerals_of(&self, session_id: SessionId) -> usize {
        self.ephemerals.get(&session_id).map_or(0, BTreeSet::len)
    }

    /// Sessions that own ephemerals.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = SessionId> {
        self.ephemerals.keys().copied()
    }

    /// Ephemeral znodes.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// Containers and TTL nodes that are due: no children, and had some once, or are older than
    /// `never_used_ms` (0: never), or have outlived their time. Source: `ContainerManager`.
    pub fn due_for_removal(&self, wall_ms: i64, never_used_ms: i64) -> Vec<Box<[u8]>> {
        let age_ms = |index: &NodeIndex| wall_ms - self.body(*index).fixed().mtime_ms;
        let containers = self.containers.iter().filter(|index| {
            let (cversion, _) = self.child_stat(**index);
            cversion > 0 || (never_used_ms != 0 && age_ms(index) > never_used_ms)
        });
        let ttls = self.ttls.iter().filter(|index| match self.owner_kind(**index) {
            OwnerKind::Ttl { ttl_ms } => age_ms(index) > ttl_ms,
            _ => false,
        });
        let empty = containers.chain(ttls).filter(|index| self.child_count(**index) == 0);
        empty.map(|index| self.body(*index).path().into()).collect()
    }

    /// Znodes, the root included once.
    pub fn len(&self) -> usize {
        self.slab.live()
    }

    /// A tree has its root at least, unless it is being restored.
    pub fn is_empty(&self) -> bool {
        self.slab.live() == 0
    }

    /// Bytes of all paths and data.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Places that znodes have had: those below may hold one.
    pub fn places(&self) -> u32 {
        self.slab.end()
    }

    /// The znode in a place below [`Self::places`], if there is one.
    pub fn at_place(&self, place: u32) -> Option<NodeIndex> {
        let index = NodeIndex(place);
        self.slab.path(index).map(|_| index)
    }

    /// True if [`Tree::digest`] is kept up to date.
    pub fn keeps_digests(&self) -> bool {
        self.settings.digests == Digests::Kept
    }

    /// Sum of all znodes' digests; 0 where none are kept.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How it treats owners.
    pub fn extended_types(&self) -> ExtendedTypes {
        self.settings.extended_types
    }

    /// What a znode's owner means.
    pub fn owner_kind(&self, index: NodeIndex) -> OwnerKind {
        self.body(index).fixed().owner.kind(self.settings.extended_types)
    }

    /// Makes a body, reusing the tree's scratch space.
    pub fn make_body(&mut self, path: &[u8], data: Option<&[u8]>, fixed: Fixed) -> Body {
        Body::new(path, data, fixed, &mut self.scratch)
    }

    /// Makes a body for a znode that is there.
    pub fn make_body_like(&mut self, index: NodeIndex, data: Option<&[u8]>, fixed: Fixed) -> Body {
        Body::new(self.slab.body(index).path(), data, fixed, &mut self.scratch)
    }

    fn place(&mut self, body: Body) -> NodeIndex {
        self.data_bytes += (body.path().len() + body.bytes().len()) as u64;
        let entry = Entry { body: Some(body.clone()), digest: 0, dir: NO_DIR, next: NIL, prev: NIL };
        let index = self.slab.insert(entry);
        self.index.insert(body.path(), index);
        match body.fixed().owner.kind(self.settings.extended_types) {
            OwnerKind::Persistent => {}
            OwnerKind::Ephemeral { session_id } => {
                self.ephemerals.entry(session_id).or_default().insert(ByPath(body));
            }
            OwnerKind::Container => {
                self.containers.insert(index);
            }
            OwnerKind::Ttl { .. } => {
                self.ttls.insert(index);
            }
        }
        index
    }

    /// Returns where the parent's children hang.
    fn link(&mut self, parent: NodeIndex, child: NodeIndex) -> u32 {
        let place = self.dir_or_insert(parent);
        let dir = &mut self.dirs[place as usize];
        let first = std::mem::replace(&mut dir.first, child);
        dir.children += 1;
        let entry = self.slab.entry_mut(child);
        entry.next = first;
        if entry.dir != NO_DIR {
            self.dirs[entry.dir as usize].parent = place;
        }
        if first != NIL {
            self.slab.entry_mut(first).prev = child;
        }
        place
    }

    fn unlink(&mut self, parent: NodeIndex, child: NodeIndex) {
        let Entry { next, prev, .. } = *self.slab.entry(child);
        if next != NIL {
            self.slab.entry_mut(next).prev = prev;
        }
        if prev != NIL {
            self.slab.entry_mut(prev).next = next;
        }
        let dir = self.dir_mut(parent);
        if prev == NIL {
            dir.first = next;
        }
        dir.children -= 1;
    }

    /// Brings the digest up to date with a znode that changed or came.
    fn count_digest(&mut self, index: NodeIndex) {
        if self.settings.digests == Digests::Off {
            return;
        }
        let (cversion, pzxid) = self.child_stat(index);
        let digest = digest::of(self.no_bytes.clone(), self.slab.body(index), cversion, pzxid);
        let before = std::mem::replace(&mut self.slab.entry_mut(index).digest, digest);
        self.digest = self.digest.wrapping_sub(before.into()).wrapping_add(digest.into());
    }

    /// Puts a new znode under `parent`. The path must be free and its parent be `parent`.
    pub fn insert(&mut self, parent: NodeIndex, body: Body) -> NodeIndex {
        self.preserve(parent);
        let bytes = body.bytes().len() as i64;
        let index = self.place(body);
        self.came_later(index);
        let dir = self.link(parent, index);
        self.count_below(dir, 1, bytes);
        self.count_digest(index);
        index
    }

    /// Takes a childless znode out.
    pub fn remove(&mut self, parent: NodeIndex, index: NodeIndex) -> Removed {
        assert_eq!(self.child_count(index), 0, "a znode with children is deleted");
        self.preserve(parent);
        self.preserve(index);
        let (cversion, pzxid) = self.child_stat(index);
        self.unlink(parent, index);
        let body = self.slab.body(index).clone();
        self.count_below(self.slab.entry(parent).dir, -1, -(body.bytes().len() as i64));
        self.index.remove(body.path(), index);
        let gone = self.slab.remove(index);
        if gone.dir != NO_DIR {
            self.free_dirs.push(gone.dir);
        }
        self.digest = self.digest.wrapping_sub(gone.digest.into());
        self.data_bytes -= (body.path().len() + body.bytes().len()) as u64;
        match body.fixed().owner.kind(self.settings.extended_types) {
            OwnerKind::Persistent => {}
            OwnerKind::Ephemeral { session_id } => {
                if let Some(owned) = self.ephemerals.get_mut(&session_id) {
                    owned.remove(body.path());
                    if owned.is_empty() {
                        self.ephemerals.remove(&session_id);
                    }
                }
            }
            OwnerKind::Container => {
                self.containers.remove(&index);
            }
            OwnerKind::Ttl { .. } => {
                self.ttls.remove(&index);
            }
        }
        Removed { body, cversion, pzxid }
    }

    /// Gives a znode another body of the same path and owner, and returns the one it had.
    pub fn replace(&mut self, index: NodeIndex, body: Body) -> Body {
        self.preserve(index);
        if let OwnerKind::Ephemeral { session_id } = body.fixed().owner.kind(self.settings.extended_types)
            && let Some(owned) = self.ephemerals.get_mut(&session_id)
        {
            // What is there shares its path, and would keep the data that was.
            owned.replace(ByPath(body.clone()));
        }
        let bytes = body.bytes().len();
        let before = self.slab.entry_mut(index).body.replace(body).expect("a live znode");
        let grown = bytes as i64 - before.bytes().len() as i64;
        if grown != 0 {
            self.data_bytes = self.data_bytes.wrapping_add_signed(grown);
            self.count_below(self.dir_above(before.path()), 0, grown);
        }
        self.count_digest(index);
        before
    }

    /// Sets what a znode's children leave on it.
    pub fn set_child_stat(&mut self, index: NodeIndex, cversion: i32, pzxid: Zxid) {
        self.preserve(index);
        let dir = self.dir_mut(index);
        (dir.cversion, dir.pzxid) = (cversion, pzxid);
        self.count_digest(index);
    }
}

#[cfg(test)]
mod tests;
