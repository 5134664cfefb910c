//! What an image of the tree holds, and which znodes it has still to walk.

use super::body::Body;
use super::slab::NodeIndex;
use crate::proto::Zxid;
use hashbrown::HashSet;
use std::collections::VecDeque;

/// A znode as it was when the image began.
#[derive(Clone, Debug)]
pub struct NodeImage {
    /// Path, data, ACL and its own bookkeeping.
    pub body: Body,
    /// Internal cversion: children ever created.
    pub cversion: i32,
    /// Txn that last created or deleted a child.
    pub pzxid: Zxid,
}

/// What an image is for; each may be under way at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageOf {
    /// A snapshot of this server, at the pace of its disk.
    Snapshot,
    /// The tree that a learner needs, which must not wait for that.
    Learner,
}

/// Images of one tree that are under way.
pub(super) type Images = [Option<Box<Image>>; 2];

/// An image being taken: `cursor..end` is still to be walked.
///
/// Invariant: every znode that was there at the start is in exactly one of: walked (below the
/// cursor), saved early (`early` and `saved`, or handed out from there), or still unchanged ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub cursor: u32,
    pub end: u32,
    /// Places ahead of the cursor that the walk must skip: saved before they changed, or filled later.
    pub early: HashSet<u32, foldhash::fast::FixedState>,
    pub saved: VecDeque<NodeImage>,
}

impl Image {
    /// True if the walk has not reached the place yet.
    pub fn is_ahead(&self, index: NodeIndex) -> bool {
        (self.cursor..self.end).contains(&index.0)
    }
}
