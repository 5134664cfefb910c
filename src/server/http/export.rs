//! A snapshot in ZooKeeper's own form for a client: made in a file without a name, and sent from there.
//!
//! The view gives its znodes at the pace of memory, so the file is of one moment however slow the disk and the client are,
//! and neither of them holds the view or the tree. The answer begins once the file is whole, as in Java: its length is
//! known then, and a disk that is full is a status and not half a snapshot.

use super::super::files::DataDir;
use super::super::helper;
use super::super::orders::TreeImage;
use crate::proto::Zxid;
use crate::server::bulk;
use crate::snapshot::java::{Encoder, Form};
use crate::storage::{EXPORT_TMP, Folder, Storage};
use crate::tree::NodeImage;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tokio::sync::{mpsc, oneshot};

/// Bytes of a file that are read at once; a client that is being sent to has up to three times as many in memory.
const PIECE_BYTES: u64 = 256 << 10;

/// Pieces that wait for the connection.
const PIECES_WAITING: usize = 1;

/// A snapshot that is whole.
#[derive(Debug)]
pub struct Export {
    /// The last txn that it holds.
    pub zxid: Zxid,
    /// Its length.
    pub bytes: u64,
    file: File,
}

/// Writes `image` into a file in the data directory, on a thread of its own.
///
/// # Errors
/// Those of the system, and that the view replaced its tree.
pub async fn write(dir: &DataDir, image: TreeImage) -> io::Result<Export> {
    let dir = dir.clone();
    let (mut sender, done) = oneshot::channel();
    helper::spawn("zkfast-export", move || {
        let is_wanted = || !sender.is_closed();
        let written = write_here(&dir, image, is_wanted);
        // The client may be gone.
        let _ = std::mem::replace(&mut sender, oneshot::channel().0).send(written);
    })?;
    done.await.map_err(io::Error::other)?
}

fn write_here(dir: &DataDir, image: TreeImage, is_wanted: impl Fn() -> bool) -> io::Result<Export> {
    let TreeImage { zxid, digest, sessions, nodes } = image;
    let nodes = gather(&nodes)?;
    let encoder = Encoder::new(Form::File, sessions.into_iter().collect(), nodes);
    let mut encoder = encoder.with_trailer(zxid, digest);
    let mut file = dir.create(Folder::Snap, EXPORT_TMP)?;
    let (mut piece, mut more) = (Vec::new(), true);
    let mut bytes = 0;
    while more {
        if !is_wanted() {
            return Err(io::Error::other("the client is gone"));
        }
        piece.clear();
        more = encoder.next_piece(&mut piece);
        bytes += piece.len() as u64;
        dir.check_room(Folder::Snap, piece.len())?;
        file.write_in_portions(&piece)?;
    }
    Ok(Export { zxid, bytes, file: file.into_unnamed()? })
}

/// All znodes of an image, which an empty batch ends.
fn gather(batches: &Receiver<Vec<NodeImage>>) -> io::Result<Vec<NodeImage>> {
    let mut nodes = Vec::new();
    loop {
        let lost = |_| io::Error::other("the tree was replaced meanwhile; try again");
        let batch = batches.recv().map_err(lost)?;
        if batch.is_empty() {
            return Ok(nodes);
        }
        nodes.extend(batch);
    }
}

/// What of an export is on its way to the connection.
pub type Sending = mpsc::Receiver<io::Result<Bytes>>;

/// Begins to send an export, in a task of this thread, which reads no further than the connection takes it. Calls `end` with
/// the bytes that went out once there is no more to send, or the client is gone.
pub fn send(export: Export, end: impl FnOnce(u64) + 'static) -> Sending {
    let (sender, sending) = mpsc::channel(PIECES_WAITING);
    let Export { bytes, file, .. } = export;
    let file = Arc::new(file);
    tokio::task::spawn_local(async move {
        let mut at = 0;
        while at < bytes {
            let Ok(place) = sender.reserve().await else { break };
            let (file, length) = (file.clone(), PIECE_BYTES.min(bytes - at) as usize);
            let read = move || {
                let mut piece = vec![0; length];
                bulk::read_once(&file, at, &mut piece).map(|()| Bytes::from(piece))
            };
            let piece = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
            let is_read = piece.is_ok();
            place.send(piece);
            if !is_read {
                break;
            }
            at += length as u64;
        }
        end(at);
    });
    sending
}
