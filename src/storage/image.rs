//! Between a tree with its sessions and the bytes of a snapshot.

use super::{Folder, Storage};
use crate::database::{BuildError, Builder, Database};
use crate::proto::{SessionId, Zxid};
use crate::snapshot::{self, ACL_OPEN, Counts, Header, Node, SnapshotEncoder};
use crate::tree::{self, AclRef, NodeImage};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Places of the tree that are looked at in one go.
const SLICE: u32 = 4096;

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
    pub fn new(header: &Header, sessions: impl IntoIterator<Item = (SessionId, i32)>) -> Self {
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

    /// All of a snapshot of what there is after `restored.zxid`, in pieces.
    ///
    /// # Errors
    /// The first one of `write`.
    pub fn all(
        restored: &mut Database,
        wall_ms: i64,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let Database { tree, sessions, zxid, .. } = restored;
        let header = Header { zxid: *zxid, digest: tree.digest(), wall_ms };
        let mut encoder = Self::new(&header, sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)));
        let (mut nodes, mut more) = (Vec::new(), true);
        tree.begin_image();
        while more {
            more = tree.image_slice(SLICE, &mut nodes);
            for node in nodes.drain(..) {
                encoder.put(&node);
                if encoder.is_chunk_due() {
                    write(&encoder.take_chunk())?;
                }
            }
        }
        write(&encoder.finish().0)
    }
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The system gives no bytes: they may be sound.
    #[error(transparent)]
    Io(io::Error),
    /// Another version's, and whole as far as can be seen.
    #[error("{0}")]
    Version(snapshot::Damage),
    /// Bytes of it are missing or changed.
    #[error("{0}")]
    Damaged(snapshot::Damage),
    /// Its entries make no tree.
    #[error("{0}")]
    Tree(#[from] BuildError),
}

/// What all of a snapshot's bytes hold.
///
/// # Errors
/// See [`ImageError`].
pub fn decode(mut bytes: &[u8], settings: tree::Settings) -> Result<Database, ImageError> {
    let (builder, header) = build(&mut bytes, settings)?;
    Ok(builder.finish(header.zxid, header.digest)?)
}

/// What the snapshot at `zxid` holds, read chunk by chunk; `tell` gets the offset of each and the file's length, and the length
/// twice once all is read and the tree is yet to be linked. (Not mapped: where the disk fails below a mapping the process is ended by a signal, without a word in its log.)
pub(super) fn read<S: Storage>(
    storage: &S,
    zxid: Zxid,
    settings: tree::Settings,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Database, ImageError> {
    let name = snapshot::file_name(zxid);
    let bytes = storage.length(Folder::Snap, &name).map_err(ImageError::Io)?;
    let (builder, header) = build(&mut File { storage, name, bytes, tell: &mut *tell }, settings)?;
    tell(bytes, bytes);
    Ok(builder.finish(header.zxid, header.digest)?)
}

/// The znodes and sessions of a snapshot, not yet linked.
fn build(
    source: &mut impl snapshot::Source,
    settings: tree::Settings,
) -> Result<(Builder, snapshot::Header), ImageError> {
    let mut builder = Builder::new(settings);
    match snapshot::decode_from(source, &mut builder) {
        Ok((header, _)) => Ok((builder, header)),
        Err(snapshot::ReadError::Io(error)) => Err(ImageError::Io(error)),
        Err(snapshot::ReadError::Damage(damage)) => Err(match damage.seen {
            snapshot::Seen::Version(_) => ImageError::Version(damage),
            _ => ImageError::Damaged(damage),
        }),
    }
}

/// A snapshot's file.
struct File<'a, S> {
    storage: &'a S,
    name: String,
    bytes: u64,
    tell: &'a mut dyn FnMut(u64, u64),
}

impl<S: Storage> snapshot::Source for File<'_, S> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (self.tell)(offset, self.bytes);
        self.storage.read_at(Folder::Snap, &self.name, offset, out)
    }
}
