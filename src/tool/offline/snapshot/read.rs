//! Decodes snapshots of both kinds, piece by piece.

use super::files::{Kind, SnapshotFile};
use crate::proto::Zxid;
use crate::server::java_data::unpack;
use crate::snapshot::java::{Decoder, Form, Packing, Tail};
use crate::snapshot::{self, Counts, Header, ReadError, Seen, Source, Visitor};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Bytes of a snapshot of ZooKeeper that are decoded in one step.
const PIECE_BYTES: usize = 256 << 10;

/// Why a snapshot cannot be used.
#[derive(Debug)]
pub enum Failure {
    /// The system refuses, or a later version wrote the file.
    Unreadable(String),
    /// Its bytes are not those that were written: where, in the uncompressed bytes, and what was found.
    Damage(Option<u64>, String),
}

/// What is known of a snapshot beside its entries.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The txn that it is of.
    pub zxid: Option<Zxid>,
    /// When it was begun; ZooKeeper's files do not say.
    pub wall_ms: Option<i64>,
    /// The tree's digest, and the txn after which it holds.
    pub digest: Option<(Zxid, u64)>,
    /// Of ZooKeeper's.
    pub tail: Option<Tail>,
    /// Entries.
    pub counts: Counts,
}

/// Hands the entries of a snapshot to `visitor`.
///
/// # Errors
/// See [`Failure`]; what the visitor got is then of no use.
pub fn read(file: &SnapshotFile, visitor: &mut impl Visitor) -> Result<About, Failure> {
    match file.kind {
        Kind::Zkfast => read_zkfast(file, visitor),
        Kind::Java(packing) => read_java(file, packing, visitor),
    }
}

/// A file that is read where it is asked for.
struct OnDisk {
    file: File,
    bytes: u64,
}

impl Source for OnDisk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

fn unreadable(error: impl ToString) -> Failure {
    Failure::Unreadable(error.to_string())
}

fn read_zkfast(file: &SnapshotFile, visitor: &mut impl Visitor) -> Result<About, Failure> {
    let opened = File::open(&file.path).map_err(unreadable)?;
    let bytes = opened.metadata().map_err(unreadable)?.len();
    match snapshot::decode_from(&mut OnDisk { file: opened, bytes }, visitor) {
        Ok((Header { zxid, digest, wall_ms }, counts)) => Ok(About {
            zxid: Some(zxid),
            wall_ms: Some(wall_ms),
            digest: (digest != 0).then_some((zxid, digest)),
            tail: None,
            counts,
        }),
        Err(ReadError::Io(error)) => Err(unreadable(error)),
        Err(ReadError::Damage(damage)) if matches!(damage.seen, Seen::Version(_)) => Err(unreadable(damage)),
        Err(ReadError::Damage(damage)) => Err(Failure::Damage(Some(damage.offset), damage.seen.to_string())),
    }
}

fn read_java(file: &SnapshotFile, packing: Packing, visitor: &mut impl Visitor) -> Result<About, Failure> {
    use crate::snapshot::java::Seen;
    let mut input = unpack(File::open(&file.path).map_err(unreadable)?, packing);
    let mut decoder = Decoder::new(Form::File);
    let mut piece = vec![0; PIECE_BYTES];
    let failure = |damage: crate::snapshot::java::Damage| match damage.seen {
        Seen::Version(_) => unreadable(damage),
        seen => Failure::Damage(Some(damage.offset), seen.to_string()),
    };
    loop {
        let bytes = match input.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A decompressor meets bytes that are none of its format; the system has other kinds of errors.
            Err(error) if packing != Packing::Plain && is_content(&error) => {
                return Err(Failure::Damage(None, format!("it cannot be decompressed: {error}")));
            }
            Err(error) => return Err(unreadable(error)),
        };
        decoder.feed(&piece[..bytes], visitor).map_err(failure)?;
    }
    let tail = decoder.finish().map_err(failure)?;
    let zxid = file.named.or(tail.last_zxid);
    Ok(About { zxid, wall_ms: None, digest: tail.digest, tail: Some(tail), counts: tail.counts })
}

fn is_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}
