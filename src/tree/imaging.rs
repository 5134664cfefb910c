//! Images of the tree at one zxid, taken while the tree goes on changing.

use super::Tree;
use super::image::{Image, ImageOf, NodeImage};
use super::slab::{NIL, NodeIndex};

impl Tree {
    /// Begins an image of the tree as it is now. The caller takes it with [`Tree::image_slice`], in
    /// as many slices as it likes, while changes go on: a znode is copied aside before it changes.
    pub fn begin_image(&mut self) {
        self.begin_image_of(ImageOf::Snapshot);
    }

    /// The same, for either purpose; [`Tree::image_slice_of`] takes it.
    pub fn begin_image_of(&mut self, of: ImageOf) {
        let image = &mut self.images[of as usize];
        assert!(image.is_none(), "one image at a time: {of:?}");
        *image = Some(Box::new(Image { end: self.slab.end(), ..Image::default() }));
    }

    /// Appends some of the image's znodes to `out`, looking at `places` places; `false` once that
    /// was all of it.
    pub fn image_slice(&mut self, places: u32, out: &mut Vec<NodeImage>) -> bool {
        self.image_slice_of(ImageOf::Snapshot, places, usize::MAX, out)
    }

    /// Appends some of the znodes of the image for `of` to `out`: those of `places` places at most, and no more once
    /// their paths and data have `bytes` bytes; `false` once that was all of it.
    pub fn image_slice_of(
        &mut self,
        of: ImageOf,
        places: u32,
        bytes: usize,
        out: &mut Vec<NodeImage>,
    ) -> bool {
        let Some(mut image) = self.images[of as usize].take() else { return false };
        let (mut left_places, mut left_bytes) = (places, bytes as isize);
        // `usize::MAX` is no limit.
        if left_bytes < 0 {
            left_bytes = isize::MAX;
        }
        while left_places > 0 && left_bytes > 0 {
            let node = match image.saved.pop_front() {
                Some(saved) => Some(saved),
                None if image.cursor == image.end => break,
                None => {
                    let place = image.cursor;
                    image.cursor += 1;
                    let is_walked = image.early.is_empty() || !image.early.remove(&place);
                    is_walked.then(|| self.node_image(NodeIndex(place))).flatten()
                }
            };
            left_places -= 1;
            left_bytes -= node.as_ref().map_or(0, |node| node.body.path_and_data().len()) as isize;
            out.extend(node);
        }
        let more = image.cursor < image.end || !image.saved.is_empty();
        if more {
            self.images[of as usize] = Some(image);
        }
        more
    }

    /// Gives an image up.
    pub fn abandon_image(&mut self, of: ImageOf) {
        self.images[of as usize] = None;
    }

    fn node_image(&self, index: NodeIndex) -> Option<NodeImage> {
        let body = self.slab.entry(index).body.clone()?;
        let (cversion, pzxid) = self.child_stat(index);
        Some(NodeImage { body, cversion, pzxid })
    }

    /// Called before the znode at `index` changes in any way that an image shows.
    #[inline]
    pub(super) fn preserve(&mut self, index: NodeIndex) {
        if self.images.iter().any(Option::is_some) {
            self.preserve_in_images(index);
        }
    }

    #[cold]
    fn preserve_in_images(&mut self, index: NodeIndex) {
        for of in 0..self.images.len() {
            let image = self.images[of].as_ref();
            if !image.is_some_and(|image| image.is_ahead(index) && !image.early.contains(&index.0)) {
                continue;
            }
            let before = self.node_image(index);
            let image = self.images[of].as_mut().expect("looked at above");
            image.early.insert(index.0);
            image.saved.extend(before);
        }
    }

    /// Called after a place was filled: what came later is not in the image.
    pub(super) fn came_later(&mut self, index: NodeIndex) {
        debug_assert_ne!(index, NIL);
        for image in self.images.iter_mut().flatten().filter(|image| image.is_ahead(index)) {
            image.early.insert(index.0);
        }
    }
}
