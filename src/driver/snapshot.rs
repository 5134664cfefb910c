//! How a snapshot is taken of a view's tree, in slices, while the view serves and changes.

use crate::proto::{SessionId, Zxid};
use crate::replica::View;
use crate::snapshot::{Counts, Header};
use crate::storage::ImageEncoder;
use crate::tree::{ImageOf, NodeImage};

/// The tree that a view's image is of. A view that replaces its tree ends an image of the former one early, as if it were
/// whole: [`check`](Self::check) tells the difference.
#[derive(Clone, Copy, Debug)]
pub struct ImageOrigin {
    /// The last txn that the image holds.
    pub zxid: Zxid,
    /// How often the view had replaced its tree when the image began.
    resets: u32,
}

/// The view has replaced its tree since the image began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the leader has replaced the tree meanwhile")]
pub struct Replaced;

impl ImageOrigin {
    /// Begins an image in `view`. Gives its origin, the tree's digest, and the sessions with their timeouts in milliseconds.
    pub fn begin(view: &mut View, of: ImageOf) -> (Self, u64, Vec<(SessionId, i32)>) {
        let resets = view.resets();
        let (zxid, digest, sessions) = view.begin_image(of);
        (Self { zxid, resets }, digest, sessions)
    }

    /// Checks that the view still has the tree.
    ///
    /// # Errors
    /// [`Replaced`]: the image is of no use.
    pub fn check(&self, view: &View) -> Result<(), Replaced> {
        if view.resets() == self.resets { Ok(()) } else { Err(Replaced) }
    }

    /// True once the log is durable through the image's last txn, so that a snapshot of the image may be stored. The other
    /// servers may have committed what this server's log does not have yet, and a start takes a log that ends before a
    /// snapshot for one that has lost its end.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn may_be_stored(&self, view: &View, durable: Zxid) -> Result<bool, Replaced> {
        self.check(view).map(|()| durable >= self.zxid)
    }
}

/// A snapshot that is being taken. The server and the simulator decide when the next slice is due and where its bytes go.
#[derive(Debug)]
pub struct SnapshotSlices {
    origin: ImageOrigin,
    encoder: ImageEncoder,
    /// Znodes of the last slice, and how many of them are encoded.
    nodes: Vec<NodeImage>,
    encoded: usize,
}

impl SnapshotSlices {
    /// Begins a snapshot of the tree that `view` has now, at `wall_ms` milliseconds since 1970.
    pub fn begin(view: &mut View, wall_ms: i64) -> Self {
        let (origin, digest, sessions) = ImageOrigin::begin(view, ImageOf::Snapshot);
        let header = Header { zxid: origin.zxid, digest, wall_ms };
        Self { origin, encoder: ImageEncoder::new(&header, sessions), nodes: Vec::new(), encoded: 0 }
    }

    /// Takes a slice of at most `places` places of the tree and about `bytes` bytes; false once that was the last one. The
    /// chunks of the slice before must have been taken.
    ///
    /// # Errors
    /// [`Replaced`]: the snapshot is of no use.
    pub fn next_slice(&mut self, view: &mut View, places: u32, bytes: usize) -> Result<bool, Replaced> {
        assert!(self.nodes.is_empty(), "{} znodes of a slice are not encoded", self.nodes.len());
        let more = view.image_slice(ImageOf::Snapshot, places, bytes, &mut self.nodes);
        self.origin.check(view).map(|()| more)
    }

    /// The next chunk of the file that the last slice fills; `None` once all of the slice is encoded. A slice of large
    /// znodes is many chunks: a reader takes a chunk as a whole.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        while let Some(node) = self.nodes.get(self.encoded) {
            self.encoder.put(node);
            self.encoded += 1;
            if self.encoder.is_chunk_due() {
                return Some(self.encoder.take_chunk());
            }
        }
        self.nodes.clear();
        self.encoded = 0;
        None
    }

    /// The end of the file, what the snapshot is of, and what it holds.
    pub fn finish(self) -> (Vec<u8>, ImageOrigin, Counts) {
        assert!(self.nodes.is_empty(), "{} znodes of a slice are not encoded", self.nodes.len());
        let (rest, counts) = self.encoder.finish();
        (rest, self.origin, counts)
    }
}
