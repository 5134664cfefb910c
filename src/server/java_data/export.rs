//! Writes zkfast's data as a data directory of ZooKeeper.

use super::epochs::Epochs;
use super::error::{JavaDataError, at};
use super::source::{FOLDER, is_directory};
use super::target::Target;
use crate::proto::Zxid;
use crate::server::bulk::BulkFile;
use crate::server::start_up::StartUp;
use crate::server::{files, recovery};
use crate::snapshot::java::{self, Encoder, Form};
use crate::tree;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Znodes that are encoded in one step.
const SLICE: u32 = 4096;

/// The result of an export.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The last txn.
    pub zxid: Zxid,
    /// Znodes, the root included.
    pub znodes: usize,
    /// Sessions that are alive.
    pub sessions: usize,
    /// Txns that were replayed after the newest snapshot.
    pub txns: u64,
    /// Bytes of the snapshot.
    pub bytes: u64,
    /// The duration of the export.
    pub took: Duration,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zxid, znodes, sessions, txns, bytes, .. } = self;
        let took_ms = self.took.as_millis();
        write!(
            f,
            "zxid={zxid} znodes={znodes} sessions={sessions} txns={txns} bytes={bytes} took_ms={took_ms}"
        )
    }
}

/// Writes the data of a stopped server in `data` and `data_log` into the directory `target`. ZooKeeper 3.4 and later start
/// on it, with digests or without.
///
/// # Errors
/// zkfast's data cannot be read, or the result cannot be written; then nothing remains in `target`.
pub fn export(
    data: &Path,
    data_log: &Path,
    target: &Path,
    settings: tree::Settings,
) -> Result<Exported, JavaDataError> {
    let started = Instant::now();
    for base in [data, data_log] {
        is_directory(base)?;
        let folder = base.join(files::FOLDER);
        is_directory(&folder)?;
    }
    let (dir, _lock) = files::open(data, data_log, false)?;
    let target = Target::begin(&[target, target], FOLDER)?;
    let (recovered, _) = recovery::recover(&dir, settings, &StartUp::default())?;
    let recovery::Recovered { mut restored, replayed, epochs, .. } = recovered;
    let zxid = restored.zxid;
    let mut nodes = Vec::new();
    restored.tree.begin_image();
    while restored.tree.image_slice(SLICE, &mut nodes) {}
    let (znodes, sessions) = (nodes.len(), restored.sessions.len());
    let mut encoder = Encoder::new(Form::File, restored.sessions, nodes);
    let path = target.folder(0).join(java::snapshot_name(zxid));
    let mut file = at(&path, BulkFile::create_new(&path))?;
    let (mut piece, mut bytes, mut more) = (Vec::new(), 0, true);
    while more {
        piece.clear();
        more = encoder.next_piece(&mut piece);
        bytes += piece.len() as u64;
        at(&path, file.append(&piece))?;
    }
    at(&path, file.finish())?;
    // A log without txns shows the reader that no txn is missing.
    if let Some(next) = zxid.next() {
        let path = target.folder(0).join(java::log_name(next));
        let mut header = Vec::new();
        java::put_log_header(&mut header);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&header)?;
            file.sync_all()
        });
        at(&path, written)?;
    }
    // Java does not start if its epoch is older than that of its last txn.
    let of_zxid = zxid.epoch();
    let current = epochs.current.max(of_zxid);
    let accepted = epochs.accepted.max(current);
    Epochs { accepted, current }.write(target.folder(0))?;
    // ZooKeeper has no use for zkfast's lock.
    let lock = target.folder(0).join("lock");
    at(&lock, std::fs::remove_file(&lock))?;
    target.finish()?;
    Ok(Exported { zxid, znodes, sessions, txns: replayed, bytes, took: started.elapsed() })
}
