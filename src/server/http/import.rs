//! A snapshot in ZooKeeper's own form from a client: received into a file without a name, read whole, and checked, before
//! anything of what the server has is touched.

use super::super::files::{DataDir, NewFile};
use super::super::{bulk, helper};
use crate::database::{Builder, Database, FuzzyReport};
use crate::proto::Zxid;
use crate::snapshot::java::{Decoder, Form};
use crate::storage::{Folder, ImageEncoder, Incoming, RESTORE_TMP, Storage};
use crate::tree;
use bytes::{Bytes, BytesMut};
use hyper::body::Body;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes of a body that are gathered before they are written.
const PIECE_BYTES: usize = 256 << 10;

/// Longest body.
const BODY_BYTES_MAX: u64 = 64 << 30;

/// Bytes of a body that are taken, and thrown away, where a request is refused: a client that sends before it listens
/// hears why.
const REFUSED_BYTES_MAX: u64 = 4 << 20;

/// How long that may take.
const REFUSED_MAX: Duration = Duration::from_secs(2);

/// Epochs above this are taken from no snapshot: the server's own begin after it, and must have room.
const EPOCH_MAX: u32 = 1 << 30;

/// Zxids of an epoch that a server never makes while it reads a snapshot.
const COUNTERS_SPARE: u32 = 1 << 28;

/// What a snapshot holds, and where it waits for its place.
pub struct Import {
    /// The tree, as of a zxid that this server has not come to yet.
    pub tree: Box<Database>,
    /// In this server's form, written and flushed.
    pub incoming: Incoming<DataDir>,
    /// The last txn that the snapshot says it holds.
    pub zxid: Zxid,
    /// What is known of how exact it is.
    pub report: FuzzyReport,
    /// Whether it has a digest, and whether that is the tree's.
    pub digest: Digest,
}

/// What the digest of a snapshot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// There is none that can be compared.
    None,
    /// The tree has it.
    Agrees,
    /// The tree has another one: the snapshot was taken while the tree changed.
    Differs,
}

impl Digest {
    /// What it is called in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Agrees => "agrees",
            Self::Differs => "differs",
        }
    }
}

/// Receives a body into a file in the data directory; a client that sends nothing for `idle` is given up.
///
/// # Errors
/// The system's, and a body that ends early, is too long, or stops.
pub async fn receive<B>(dir: &DataDir, body: B, idle: Duration) -> io::Result<(File, u64)>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let mut body = pin!(body);
    let create = dir.clone();
    let mut file = blocking(move || create.create(Folder::Snap, RESTORE_TMP)).await?;
    let (mut gathered, mut received) = (BytesMut::new(), 0);
    while let Some(piece) = next(body.as_mut(), idle).await? {
        received += piece.len() as u64;
        if received > BODY_BYTES_MAX {
            return Err(io::Error::other(format!("the body is longer than {BODY_BYTES_MAX} bytes")));
        }
        gathered.extend_from_slice(&piece);
        if gathered.len() >= PIECE_BYTES {
            file = write(file, dir, gathered.split().freeze()).await?;
        }
    }
    let file = write(file, dir, gathered.freeze()).await?;
    Ok((blocking(move || file.into_unnamed()).await?, received))
}

/// Takes what a refused client sends, as far as that is little.
pub async fn pass_over<B: Body<Data = Bytes>>(body: B)
where
    B::Error: Display,
{
    let mut body = pin!(body);
    let mut received = 0;
    let all = async {
        while let Ok(Some(piece)) = next(body.as_mut(), REFUSED_MAX).await {
            received += piece.len() as u64;
            if received > REFUSED_BYTES_MAX {
                break;
            }
        }
    };
    // Where it takes longer, the connection ends with bytes that were not taken.
    let _ = tokio::time::timeout(REFUSED_MAX, all).await;
}

/// The next bytes of a body; `None` at its end.
async fn next<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, idle: Duration) -> io::Result<Option<Bytes>>
where
    B::Error: Display,
{
    loop {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx));
        let frame = tokio::time::timeout(idle, frame).await.map_err(|_| {
            let ms = idle.as_millis();
            io::Error::other(format!("nothing came for {ms} ms (admin.idleTimeout)"))
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(io::Error::other(format!("the body ends early: {error}"))),
            // What is no data are trailers, which mean nothing here.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_) => continue,
            },
        }
    }
}

async fn write(mut file: NewFile, dir: &DataDir, bytes: Bytes) -> io::Result<NewFile> {
    let dir = dir.clone();
    blocking(move || {
        dir.check_room(Folder::Snap, bytes.len())?;
        file.write_in_portions(&bytes)?;
        Ok(file)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten()
}

/// Reads all of a snapshot, and writes it in this server's form, on a thread of its own. `own` is the
/// zxid of what the server has. `held` is let go where the client is gone by then.
///
/// # Errors
/// Why it is no snapshot, or not a whole one; the system's.
pub async fn read<H: Send + 'static>(
    dir: &DataDir,
    (file, bytes): (File, u64),
    settings: tree::Settings,
    own: Zxid,
    held: H,
) -> io::Result<(Import, H)> {
    let dir = dir.clone();
    let (sender, done) = oneshot::channel();
    helper::spawn("zkfast-restore", move || {
        // The client may be gone.
        let _ = sender.send(read_here(dir, &file, bytes, settings, own).map(|import| (import, held)));
    })?;
    done.await.map_err(io::Error::other)?
}

fn read_here(
    dir: DataDir,
    file: &File,
    bytes: u64,
    settings: tree::Settings,
    own: Zxid,
) -> io::Result<Import> {
    let (mut decoder, mut builder) = (Decoder::new(Form::File), Builder::new(settings));
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(PIECE_BYTES as u64) as usize;
        bulk::read_once(file, at, &mut piece[..length])?;
        decoder.feed(&piece[..length], &mut builder).map_err(io::Error::other)?;
        at += length as u64;
    }
    let tail = decoder.finish().map_err(io::Error::other)?;
    let mut replay = builder.finish_fuzzy(Zxid::ZERO, tail).map_err(io::Error::other)?;
    replay.take_as_it_is();
    let (mut tree, report) = replay.finish().map_err(io::Error::other)?;
    let digest = match (report.exact_from, report.digest_mismatches) {
        (Some(_), _) => Digest::Agrees,
        (None, 0) => Digest::None,
        (None, _) => Digest::Differs,
    };
    let zxid = tail.last_zxid.unwrap_or(tree.zxid);
    // Above what the snapshot holds and all that this server makes meanwhile, so that no zxid is used twice.
    let own_epoch = own.epoch() + u32::from(own.counter() > u32::MAX - COUNTERS_SPARE);
    let newest = tree.zxid.epoch().max(zxid.epoch()).max(own_epoch);
    if newest > EPOCH_MAX {
        return Err(io::Error::other(format!(
            "the snapshot is as of {zxid}: zxids above epoch {EPOCH_MAX} are not taken"
        )));
    }
    tree.zxid = Zxid::new(newest + 1, 1);
    let mut incoming = Incoming::create(dir.clone(), tree.zxid)?;
    ImageEncoder::all(&mut tree, 0, |bytes| {
        dir.check_room(Folder::Snap, bytes.len())?;
        incoming.file_mut().write_in_portions(bytes)
    })?;
    incoming.file_mut().flush()?;
    Ok(Import { tree: Box::new(tree), incoming, zxid, report, digest })
}
