//! What a leader makes of a learner's files: a snapshot from it, a truncation, a new start after damage.
//!
//! A received snapshot and the log that goes on from it must appear at once, and are in two files. The base marker in
//! the log decides: the snapshot is `incoming.<zxid>.<segment>` until the marker is durable, and `snapshot.<zxid>` after.
//! A start finishes or undoes what a crash interrupted. The segment that the base begins is in the name, since zxids alone
//! do not tell two received snapshots apart where an ensemble was set up anew.

use super::{
    Epochs, EpochsError, Folder, INCOMING_TMP, NewFile, Storage, newest_base, segments, set_aside, snapshots,
};
use crate::proto::Zxid;
use crate::snapshot;
use crate::wal::{self, Position};
use std::io;

/// A snapshot that comes from the leader.
///
/// 1. [`create`](Self::create), [`write`](Self::write), [`finish`](Self::finish): it is durable
///    as `incoming.<zxid>.<segment>`.
/// 2. The log gets [`wal::Marker::Base`]: once that is durable, it is the state.
/// 3. [`adopt`], before anything else goes to the log.
///
/// Nothing else goes to the log between 1 and 3 either.
#[derive(Debug)]
pub struct Incoming<S: Storage> {
    storage: S,
    file: S::New,
    zxid: Zxid,
}

impl<S: Storage> Incoming<S> {
    /// Begins it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create(storage: S, zxid: Zxid) -> io::Result<Self> {
        let file = storage.create(Folder::Snap, INCOMING_TMP)?;
        Ok(Self { storage, file, zxid })
    }

    /// Appends bytes of the snapshot, in zkfast's format ([`crate::snapshot`]).
    ///
    /// # Errors
    /// Those of the system. A full disk shows here, while the log has room still.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.storage.check_room(Folder::Snap, bytes.len())?;
        self.file.write(bytes)
    }

    /// The file, for what knows how to write it.
    pub fn file_mut(&mut self) -> &mut S::New {
        &mut self.file
    }

    /// Flushes it, and gives it the name under which it waits for its base. `log` is where the log ends.
    ///
    /// # Errors
    /// Those of the system.
    pub fn finish(self, log: Position) -> io::Result<()> {
        self.file.finish(&file_name(self.zxid, log.base_segment()))
    }
}

/// Makes the received snapshot at `zxid` one of the server's, and sets aside those above it: they belong to a history
/// that was left. `base` is where the base's group ends: it must be durable, and nothing else be written to the log
/// before this returns.
///
/// # Errors
/// Those of the system: the process ends, and the next start does this.
pub fn adopt<S: Storage>(storage: &S, zxid: Zxid, base: Position) -> io::Result<()> {
    storage.rename(Folder::Snap, &file_name(zxid, base.segment), &snapshot::file_name(zxid))?;
    storage.sync(Folder::Snap)?;
    set_aside_above(storage, zxid)
}

/// Sets aside the snapshots above a truncation that is durable in the log, before anything else is written to that.
/// There are none in practice: what is truncated was never committed, and snapshots hold what was.
///
/// # Errors
/// Those of the system: the process ends, and the next start does this.
pub fn truncated<S: Storage>(storage: &S, to: Zxid) -> io::Result<()> {
    set_aside_above(storage, to)
}

/// Whether a truncation to `to` would leave what a start needs: a snapshot at it or below, or none at all, with its log.
/// If not, the leader must send a snapshot.
///
/// # Errors
/// Those of the system.
pub fn can_truncate<S: Storage>(storage: &S, to: Zxid) -> io::Result<bool> {
    let segments = segments(storage)?;
    let base = newest_base(&segments);
    let is_usable = |zxid: &&Zxid| **zxid <= to && base.is_none_or(|(_, base)| **zxid >= base);
    let zxids = snapshots(storage)?;
    let newest = zxids.iter().rev().find(is_usable).copied();
    // Without any, the empty tree is one, if the log goes back to the beginning.
    let newest = newest.or_else(|| base.is_none().then_some(Zxid::ZERO));
    Ok(newest.is_some_and(|zxid| wal::replay_start(&segments, zxid).is_some()))
}

fn set_aside_above<S: Storage>(storage: &S, zxid: Zxid) -> io::Result<()> {
    for above in snapshots(storage)?.into_iter().filter(|above| *above > zxid) {
        set_aside(storage, above, SUPERSEDED)?;
    }
    Ok(())
}

/// What the names of snapshots end with that the leader's history does not have.
pub(super) const SUPERSEDED: &str = "superseded";

/// Moves a damaged log and all snapshots aside, so that the server starts with nothing and takes all from its leader.
/// It does not vote until it has: that is durable first. What it promised is kept.
///
/// Returns the folder's name. Only for a server that belongs to an ensemble, and when
/// [`RecoveryError::is_damage`](super::RecoveryError::is_damage) is true.
///
/// # Errors
/// Those of the system; the next start finds either the damage or the promise not to vote.
pub fn move_aside<S: Storage>(storage: &S) -> io::Result<String> {
    let epochs = match Epochs::read(storage) {
        Ok(epochs) => epochs.unwrap_or_default(),
        Err(EpochsError::Io(error)) => return Err(error),
        Err(EpochsError::Damaged(_) | EpochsError::Version(_)) => Epochs::default(),
    };
    Epochs { repairing: true, ..epochs }.write(storage)?;
    let (snap, log) = (storage.names(Folder::Snap)?, storage.names(Folder::Log)?);
    let is_taken = |name: &String| snap.contains(name) || log.contains(name);
    let below = (1..).map(|n| format!("damaged.{n}")).find(|name| !is_taken(name)).expect("few of them");
    let snapshots = snap
        .into_iter()
        .filter(|name| snapshot::parse_file_name(name).is_some() || parse_file_name(name).is_some());
    let segments = log.into_iter().filter(|name| wal::parse_file_name(name).is_some());
    storage.move_into(Folder::Log, &segments.collect::<Vec<_>>(), &below)?;
    storage.move_into(Folder::Snap, &snapshots.collect::<Vec<_>>(), &below)?;
    Ok(below)
}

/// Name of a received snapshot that waits for its base.
pub(super) fn file_name(zxid: Zxid, segment: u32) -> String {
    format!("incoming.{:x}.{segment:08x}", zxid.0)
}

/// The zxid and the base's segment in a name that [`file_name`] gives; `None` for every other name.
pub(super) fn parse_file_name(name: &str) -> Option<(Zxid, u32)> {
    let (zxid, segment) = name.strip_prefix("incoming.")?.split_once('.')?;
    let zxid = Zxid(u64::from_str_radix(zxid, 16).ok()?);
    let segment = u32::from_str_radix(segment, 16).ok()?;
    (file_name(zxid, segment) == name).then_some((zxid, segment))
}
