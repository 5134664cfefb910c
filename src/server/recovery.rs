//! From the data directory to what the server knew: the newest snapshot, then the log behind it.

use super::files::{self, DataDir};
use super::snapshots;
use crate::proto::Zxid;
use crate::replica::{Builder, ReplayError, Restored};
use crate::snapshot;
use crate::tree;
use crate::wal::{self, GroupEncoder, Place, Recovery};
use memmap2::Mmap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the log says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Why the server cannot start on this data.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The system refuses.
    #[error("{}: {error}", .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A segment is damaged.
    #[error("{}: {damage}", .dir.display())]
    Damage {
        /// The log's folder.
        dir: PathBuf,
        /// Where and what to do.
        damage: wal::Damage,
    },
    /// No snapshot can be read, and the log does not go back to the beginning.
    #[error(
        "{}: the log begins after what {newest} holds: segments or snapshots are missing; restore them, or empty \
         the directory to start from nothing", .dir.display()
    )]
    Gap {
        /// The log's folder.
        dir: PathBuf,
        /// Which snapshot was used.
        newest: String,
    },
    /// There are snapshots, and no log at all.
    #[error(
        "{} holds no log, but {} holds snapshots: if dataLogDir was changed, set it back or move the log; otherwise \
         restore the log, or empty both to start from nothing",
        .log.display(),
        .snap.display()
    )]
    NoLog {
        /// The log's folder.
        log: PathBuf,
        /// The snapshots' folder.
        snap: PathBuf,
    },
    /// A txn does not fit the tree.
    #[error("{}: txn {zxid}: {error}: the log is not of this snapshot", .path.display())]
    Replay {
        /// The segment.
        path: PathBuf,
        /// The txn.
        zxid: Zxid,
        /// Why.
        error: ReplayError,
    },
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// What the server knew.
    pub restored: Restored,
    /// Where the log goes on.
    pub encoder: GroupEncoder,
    /// Txns that were replayed.
    pub replayed: u64,
}

fn at<T>(path: PathBuf, result: io::Result<T>) -> Result<T, RecoveryError> {
    result.map_err(|error| RecoveryError::Io { path, error })
}

/// Reads everything; leaves the log ready to be written.
pub fn recover(dir: &DataDir, settings: tree::Settings) -> Result<Recovered, RecoveryError> {
    let started = Instant::now();
    at(dir.log.clone(), files::remove_leftovers(dir))?;
    let (mut restored, snapshot) = newest_snapshot(dir, settings)?;
    let base = restored.zxid;
    let numbers = at(dir.log.clone(), files::segments(dir))?;
    let mut known = Vec::new();
    for &number in &numbers {
        let path = dir.log.join(wal::file_name(number));
        let mut first = vec![0; wal::BLOCK_BYTES];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut first, 0));
        // A file that is too short even for this is judged, with its place, when all of it is read.
        let unknown = wal::Segment { number, after: None, is_base: false };
        known.push(read.ok().and_then(|()| wal::peek(&first, number).ok()).unwrap_or(unknown));
    }
    let mut recovery = Recovery::new(wal::SEGMENT_BYTES);
    let mut replayed = 0;
    if let Some(&newest) = numbers.last() {
        let first = wal::replay_start(&known, base).ok_or_else(|| RecoveryError::Gap {
            dir: dir.log.clone(),
            newest: snapshot.map_or_else(|| "an empty tree".to_owned(), |zxid| format!("snapshot {zxid}")),
        })?;
        let mut progress = Instant::now();
        for &number in numbers.iter().filter(|number| **number >= first) {
            let path = dir.log.join(wal::file_name(number));
            let bytes = at(path.clone(), fs::read(&path))?;
            let place = if number == newest { Place::Newest } else { Place::Inner };
            let mut failed = None;
            let end = recovery.segment(&bytes, number, place, |entry| {
                let wal::Entry::Txn(zxid, txn) = entry else { return };
                if zxid <= base || failed.is_some() {
                    return;
                }
                replayed += 1;
                failed = restored.replay(zxid, txn).err().map(|error| (zxid, error));
                if progress.elapsed() >= PROGRESS_EVERY {
                    progress = Instant::now();
                    log::info!(target: "recovery", "replaying: segment={number} of={newest} zxid={zxid} \
                        txns={replayed} znodes={}", restored.tree.len());
                }
            });
            let end = end.map_err(|damage| RecoveryError::Damage { dir: dir.log.clone(), damage })?;
            if let Some((zxid, error)) = failed {
                return Err(RecoveryError::Replay { path, zxid, error });
            }
            if let Some(torn) = end.torn {
                log::warn!(target: "recovery", "{torn}");
                let range = torn.offset..torn.offset + torn.bytes;
                at(path.clone(), clear(&path, range.start as u64, range.len()))?;
            }
            if place == Place::Newest {
                // After a crash of the process alone the last group may be in the page cache only.
                at(path.clone(), File::open(&path).and_then(|file| file.sync_data()))?;
            }
        }
    }
    // A server that ever took a snapshot has a log, and one that reaches as far as its newest snapshot,
    // readable or not: anything less would be a lie.
    let zxids = at(dir.snap.clone(), files::snapshots(dir))?;
    if numbers.is_empty() && !zxids.is_empty() {
        return Err(RecoveryError::NoLog { log: dir.log.clone(), snap: dir.snap.clone() });
    }
    let reaches = zxids.last().copied().unwrap_or(base).max(base);
    let damaged = |damage| RecoveryError::Damage { dir: dir.log.clone(), damage };
    let encoder = match recovery.encoder(reaches).map_err(damaged)? {
        Some(encoder) => encoder,
        None => {
            at(dir.log.clone(), files::remove_spares(dir))?;
            at(dir.log.clone(), files::place_segment(dir, FIRST_SEGMENT))?;
            GroupEncoder::new(wal::SEGMENT_BYTES, FIRST_SEGMENT, base)
        }
    };
    for zxid in zxids.into_iter().filter(|zxid| snapshot.is_none_or(|used| *zxid > used)) {
        at(dir.snap.clone(), files::set_aside(dir, zxid))?;
    }
    if snapshot.is_none() {
        at(dir.snap.clone(), snapshots::write_fresh(dir, settings))?;
    }
    log::info!(target: "recovery", "done: zxid={} snapshot={} txns={replayed} znodes={} sessions={} took_ms={}",
        restored.zxid, snapshot.map_or_else(|| "none".to_owned(), |zxid| zxid.to_string()), restored.tree.len(),
        restored.sessions.len(), started.elapsed().as_millis());
    Ok(Recovered { restored, encoder, replayed })
}

/// Number of the segment that a log begins with.
pub(super) const FIRST_SEGMENT: u32 = 1;

/// Zeroes what a torn write left, so that it is never taken for something else.
fn clear(path: &std::path::Path, offset: u64, bytes: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&vec![0; bytes], offset)?;
    file.sync_data()
}

/// The newest snapshot that reads whole; a fresh tree if there is none.
fn newest_snapshot(
    dir: &DataDir,
    settings: tree::Settings,
) -> Result<(Restored, Option<Zxid>), RecoveryError> {
    let zxids = at(dir.snap.clone(), files::snapshots(dir))?;
    for &zxid in zxids.iter().rev() {
        let path = dir.snap.join(snapshot::file_name(zxid));
        let file = at(path.clone(), File::open(&path))?;
        // SAFETY: the lock keeps other servers out of this directory, and this one changes no snapshot
        // that has its name; a disk error ends the process by a signal instead of a message.
        #[allow(unsafe_code)]
        let bytes = at(path.clone(), unsafe { Mmap::map(&file) })?;
        let mut builder = Builder::new(settings);
        let decoded = snapshot::decode(&bytes, &mut builder).map_err(|damage| damage.to_string());
        match decoded.and_then(|(header, _)| builder.finish(header.zxid, header.digest)) {
            Ok(restored) => return Ok((restored, Some(zxid))),
            Err(why) => {
                log::error!(target: "recovery", "snapshot {} is damaged and left out: {why}; the log behind \
                an older one is replayed instead, if it is there", path.display())
            }
        }
    }
    Ok((Restored::fresh(settings), None))
}
