//! An image of the tree at one zxid, taken while the tree goes on changing.

use super::Tree;
use super::body::Body;
use super::slab::{NIL, NodeIndex};
use crate::proto::Zxid;
use hashbrown::HashSet;

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

/// An image being taken: `cursor..end` is still to be walked.
///
/// Invariant: every znode that was there at the start is in exactly one of: walked (below the
/// cursor), saved early (`early` and `saved`, or handed out from there), or still unchanged ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    cursor: u32,
    end: u32,
    /// Places ahead of the cursor that the walk must skip: saved before they changed, or filled later.
    early: HashSet<u32, foldhash::fast::FixedState>,
    saved: Vec<NodeImage>,
}

impl Image {
    fn is_ahead(&self, index: NodeIndex) -> bool {
        (self.cursor..self.end).contains(&index.0)
    }
}

impl Tree {
    /// Begins an image of the tree as it is now. The caller takes it with [`Tree::image_slice`], in
    /// as many slices as it likes, while changes go on: a znode is copied aside before it changes.
    pub fn begin_image(&mut self) {
        assert!(self.image.is_none(), "one image at a time");
        self.image = Some(Box::new(Image { end: self.slab.end(), ..Image::default() }));
    }

    /// Appends some of the image's znodes to `out`, looking at `places` places; `false` once that
    /// was all of it.
    pub fn image_slice(&mut self, places: u32, out: &mut Vec<NodeImage>) -> bool {
        let Some(mut image) = self.image.take() else { return false };
        out.append(&mut image.saved);
        let stop = image.end.min(image.cursor.saturating_add(places));
        for place in image.cursor..stop {
            if image.early.is_empty() || !image.early.remove(&place) {
                out.extend(self.node_image(NodeIndex(place)));
            }
        }
        image.cursor = stop;
        let more = image.cursor < image.end;
        if more {
            self.image = Some(image);
        }
        more
    }

    /// Gives an image up.
    pub fn abandon_image(&mut self) {
        self.image = None;
    }

    fn node_image(&self, index: NodeIndex) -> Option<NodeImage> {
        let body = self.slab.entry(index).body.clone()?;
        let (cversion, pzxid) = self.child_stat(index);
        Some(NodeImage { body, cversion, pzxid })
    }

    /// Called before the znode at `index` changes in any way that an image shows.
    pub(super) fn preserve(&mut self, index: NodeIndex) {
        if !self.image.as_ref().is_some_and(|image| image.is_ahead(index) && !image.early.contains(&index.0))
        {
            return;
        }
        let before = self.node_image(index);
        let image = self.image.as_mut().expect("looked at above");
        image.early.insert(index.0);
        image.saved.extend(before);
    }

    /// Called after a place was filled: what came later is not in the image.
    pub(super) fn came_later(&mut self, index: NodeIndex) {
        debug_assert_ne!(index, NIL);
        if let Some(image) = self.image.as_mut().filter(|image| image.is_ahead(index)) {
            image.early.insert(index.0);
        }
    }
}
