//! From the files to what the server knew: the newest snapshot, then the log after it.

use super::received::{self, SUPERSEDED};
use super::{
    EPOCHS, Epochs, EpochsError, Folder, ImageEncoder, ImageError, NewFile, SNAPSHOT_TMP, Storage, image,
    newest_base, set_aside, snapshots, starts,
};
use crate::database::{Agreement, Database, ReplayError};
use crate::proto::Zxid;
use crate::snapshot;
use crate::tree;
use crate::wal::{self, Cuts, End, Entry, GroupEncoder, Marker, Place, Recovery, Seen, Segment, Torn};
use std::io;
use std::path::PathBuf;

/// Where a log begins.
pub const FIRST_SEGMENT: u32 = 1;

/// Of the errors of a system call: the device failed.
const EIO: i32 = 5;

/// Txns between two [`Event::Replaying`].
const PROGRESS_TXNS: u64 = 4096;

/// Why the server cannot start on this data.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The system refuses.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The system does not let us read a file of the log or a snapshot, whose bytes may be sound.
    #[error(
        "{}: it cannot be read: {error}. Nothing was changed, and it is not taken for damaged: give this server's user \
         the right to read it, or see to the disk; what is lost for good is to be moved away, or restored from a copy",
        .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A snapshot is another version's.
    #[error("{}: {damage}. Nothing was changed", .path.display())]
    Version {
        /// The snapshot.
        path: PathBuf,
        /// What its bytes show.
        damage: snapshot::Damage,
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
    /// The same, where a crash came while damaged files were moved aside.
    #[error("{} holds no log: damaged files were being moved aside", .log.display())]
    Unfinished {
        /// The log's folder.
        log: PathBuf,
    },
    /// A txn does not fit the tree.
    #[error("{}: txn {zxid}: {error}: the log is not of this snapshot", .path.display())]
    Replay {
        /// The segment.
        path: PathBuf,
        /// The txn.
        zxid: Zxid,
        /// Why it does not fit.
        error: ReplayError,
    },
    /// What was promised to leaders is not known.
    #[error(
        "{}: {why}. Nothing was changed. Restore it from a copy; or, if this server belongs to an ensemble, move its \
         data directory away and start it: it then takes everything from the leader", .path.display()
    )]
    Epochs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: EpochsError,
    },
}

impl RecoveryError {
    /// Whether what is on disk was lost or changed, and another copy of the state would do: a server of an ensemble can
    /// [move it aside](super::move_aside) and take everything from its leader. Everything else is for an operator: the
    /// system refuses, folders are mixed up, a later version wrote the files.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damage { damage, .. } => !matches!(damage.seen, Seen::Version(_)),
            Self::Epochs { why, .. } => matches!(why, EpochsError::Damaged(_)),
            Self::Gap { .. } | Self::Unfinished { .. } | Self::Replay { .. } => true,
            Self::Io { .. } | Self::Unreadable { .. } | Self::Version { .. } | Self::NoLog { .. } => false,
        }
    }
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// What the server knew.
    pub restored: Database,
    /// Where the log goes on.
    pub encoder: GroupEncoder,
    /// Txns that were replayed.
    pub replayed: u64,
    /// How many of them carry a digest that another server may have predicted, and left another one.
    pub digest_mismatches: u64,
    /// The snapshot they were replayed on; `None` for an empty tree.
    pub snapshot: Option<Zxid>,
    /// What was promised to leaders. Without the file, which a server has once it belonged to an ensemble, both are
    /// the epoch of its last txn. Source: `QuorumPeer.loadDataBase`.
    pub epochs: Epochs,
}

/// What an operator wants to know of a start.
#[derive(Debug)]
pub enum Event {
    /// The next part of a snapshot is read.
    Reading {
        /// The snapshot.
        snapshot: Zxid,
        /// What was read of it; all, if its tree is to be linked next.
        offset: u64,
        /// Length of its file.
        bytes: u64,
    },
    /// The snapshot that is tried is read, or there is none; the log follows.
    SnapshotRead,
    /// A snapshot cannot be read; an older one is tried.
    LeftOut {
        /// The snapshot.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Its bytes were read, and are not those that were written. Otherwise the disk did not give them.
        is_damaged: bool,
    },
    /// Some thousand txns were replayed, and there are more.
    Replaying {
        /// The segment with which the log after the snapshot begins.
        first: u32,
        /// In this segment.
        segment: u32,
        /// The log's newest.
        newest: u32,
        /// The last of them.
        zxid: Zxid,
        /// How many so far.
        txns: u64,
        /// How large the tree is.
        znodes: usize,
    },
    /// A group that was in flight was cut off.
    Torn(Torn),
    /// What was replayed was taken back further on in the log: it is replayed once more, without that.
    Again {
        /// Markers in the part of the log that is read.
        markers: usize,
    },
    /// A received snapshot's base is in the log: it is one of the server's now.
    Adopted(Zxid),
    /// A received snapshot's base is not in the log: it was removed.
    NotAdopted(Zxid),
    /// Txns carry digests that another server may have predicted and that are not the tree's.
    Digests {
        /// How many digests are not the tree's.
        mismatches: u64,
        /// The newest of them.
        newest: ReplayError,
        /// Whether a later txn's digest agrees, so that the tree is the right one.
        is_refuted: bool,
    },
    /// A snapshot above where the log was taken back to was set aside.
    Superseded(Zxid),
}

/// Reads everything; leaves the log ready to be written. Nothing is changed unless all is well, but for a received
/// snapshot whose base is in the log, which gets its name.
///
/// # Errors
/// Why the server cannot start.
pub fn recover<S: Storage>(
    storage: &S,
    settings: tree::Settings,
    tell: &mut dyn FnMut(Event),
) -> Result<Recovered, RecoveryError> {
    let epochs = read_epochs(storage)?;
    let Log { known, base, later } = Log::survey(storage)?;
    let mut incoming = received_snapshots(storage)?;
    if let Some(base) = base {
        adopt(storage, base, &mut incoming, tell)?;
    }
    let zxids = in_snap(storage, snapshots(storage))?;
    if known.is_empty() && !zxids.is_empty() {
        return Err(without_log(storage, epochs));
    }
    let candidates = zxids.iter().copied().filter(|zxid| base.is_none_or(|(_, base)| *zxid >= base));
    let mut attempt = Attempt {
        storage,
        settings,
        candidates: candidates.collect(),
        superseded: Vec::new(),
        unreadable: Vec::new(),
        known,
        base,
        cuts: None,
        tell,
    };
    let Fit { restored, snapshot, recovery, newest, replayed, hints } = attempt.until_one_fits(later)?;
    let Attempt { superseded, unreadable, tell, .. } = attempt;
    // A server that ever took a snapshot has a log that reaches as far, the snapshot being readable or not: anything
    // less would be a lie.
    let reaches = zxids.iter().filter(|zxid| !superseded.contains(zxid)).max().copied();
    let reaches = reaches.unwrap_or_default().max(restored.zxid);
    let encoder = recovery.encoder(reaches).map_err(|damage| damaged(storage, damage))?;
    assert!(encoder.is_some() || snapshot.is_none(), "a log begins after snapshot {snapshot:?}");

    // All is well: from here on files change.
    let digest_mismatches = hints.mismatches;
    if let Some(newest) = hints.newest {
        tell(Event::Digests { mismatches: digest_mismatches, newest, is_refuted: hints.is_refuted });
    }
    if let Some((number, end)) = newest {
        flush_end(storage, number, end, tell)?;
    }
    let encoder = match encoder {
        Some(encoder) => {
            sync_folders(storage)?;
            encoder
        }
        None => begin_log(storage, restored.zxid)?,
    };
    for zxid in zxids.into_iter().filter(|zxid| snapshot.is_none_or(|used| *zxid > used)) {
        if superseded.contains(&zxid) {
            in_snap(storage, set_aside(storage, zxid, SUPERSEDED))?;
            tell(Event::Superseded(zxid));
        } else if !unreadable.iter().any(|(which, _)| *which == zxid) {
            in_snap(storage, set_aside(storage, zxid, "damaged"))?;
        }
    }
    drop_received(storage, incoming, tell)?;
    if snapshot.is_none() {
        in_snap(storage, write_snapshot(storage, &mut Database::fresh(settings)))?;
    }
    let epoch = restored.zxid.epoch();
    let epochs = epochs.unwrap_or(Epochs { accepted: epoch, current: epoch, ..Epochs::default() });
    Ok(Recovered { restored, encoder, replayed, digest_mismatches, snapshot, epochs })
}

fn read_epochs<S: Storage>(storage: &S) -> Result<Option<Epochs>, RecoveryError> {
    Epochs::read(storage).map_err(|why| {
        let path = storage.path(Folder::Snap, EPOCHS);
        match why {
            EpochsError::Io(error) => RecoveryError::Io { path, error },
            why => RecoveryError::Epochs { path, why },
        }
    })
}

/// There are snapshots, and no segment.
fn without_log<S: Storage>(storage: &S, epochs: Option<Epochs>) -> RecoveryError {
    let (log, snap) = (storage.path(Folder::Log, ""), storage.path(Folder::Snap, ""));
    match epochs {
        Some(Epochs { repairing: true, .. }) => RecoveryError::Unfinished { log },
        _ => RecoveryError::NoLog { log, snap },
    }
}

/// What the log's folder holds, from the first block of each segment.
struct Log {
    /// Segments from the newest base on: what is older cannot be used, nor be missed.
    known: Vec<Segment>,
    /// Segment and zxid of the newest base.
    base: Option<(u32, Zxid)>,
    /// The first segment that a later version of zkfast wrote.
    later: Option<wal::Damage>,
}

impl Log {
    fn survey<S: Storage>(storage: &S) -> Result<Self, RecoveryError> {
        let found = starts(storage).map_err(|(name, error)| {
            let path = storage.path(Folder::Log, &name);
            RecoveryError::Unreadable { path, error }
        })?;
        let mut damages = found.iter().filter_map(|(_, damage)| damage.as_ref());
        let later = damages.find(|damage| matches!(damage.seen, Seen::Version(_))).cloned();
        let mut known: Vec<Segment> = found.into_iter().map(|(segment, _)| segment).collect();
        let base = newest_base(&known);
        known.retain(|segment| base.is_none_or(|(number, _)| segment.number >= number));
        Ok(Self { known, base, later })
    }
}

/// Snapshots that leaders sent and whose base may not be in the log: their zxids, and the segments of the bases.
fn received_snapshots<S: Storage>(storage: &S) -> Result<Vec<(Zxid, u32)>, RecoveryError> {
    let names = in_snap(storage, storage.names(Folder::Snap))?;
    Ok(names.iter().filter_map(|name| received::parse_file_name(name)).collect())
}

/// Gives the received snapshot of `base` (its segment and zxid) the name of a snapshot, and takes it out of `incoming`.
/// Without such a snapshot nothing changes.
fn adopt<S: Storage>(
    storage: &S,
    (segment, zxid): (u32, Zxid),
    incoming: &mut Vec<(Zxid, u32)>,
    tell: &mut dyn FnMut(Event),
) -> Result<(), RecoveryError> {
    if let Some(place) = incoming.iter().position(|waits| *waits == (zxid, segment)) {
        incoming.swap_remove(place);
        // If the process alone died, the base may be in the page cache only, and the name of its segment, too.
        let log = wal::file_name(segment);
        in_log(storage, storage.flush(Folder::Log, &log).and_then(|()| storage.sync(Folder::Log)))?;
        let (from, to) = (received::file_name(zxid, segment), snapshot::file_name(zxid));
        let renamed = storage.rename(Folder::Snap, &from, &to);
        in_snap(storage, renamed.and_then(|()| storage.sync(Folder::Snap)))?;
        tell(Event::Adopted(zxid));
    }
    Ok(())
}

/// Removes received snapshots whose base is not in the log.
fn drop_received<S: Storage>(
    storage: &S,
    incoming: Vec<(Zxid, u32)>,
    tell: &mut dyn FnMut(Event),
) -> Result<(), RecoveryError> {
    for (zxid, segment) in incoming {
        let removed = storage.remove(Folder::Snap, &received::file_name(zxid, segment));
        in_snap(storage, removed.and_then(|()| storage.sync(Folder::Snap)))?;
        tell(Event::NotAdopted(zxid));
    }
    Ok(())
}

/// Makes the end of the newest segment durable. What a torn write left there is overwritten with zeros, so that it is
/// never taken for something else.
fn flush_end<S: Storage>(
    storage: &S,
    number: u32,
    end: End,
    tell: &mut dyn FnMut(Event),
) -> Result<(), RecoveryError> {
    let name = wal::file_name(number);
    if let Some(torn) = end.torn {
        tell(Event::Torn(torn));
        let cleared = storage.write_at(Folder::Log, &name, torn.offset as u64, &vec![0; torn.bytes]);
        at(storage, Folder::Log, &name, cleared)?;
    }
    // After a crash of the process alone the last group may be in the page cache only.
    at(storage, Folder::Log, &name, storage.flush(Folder::Log, &name))
}

/// Makes the names of files durable: a crash may have come between a rename and its flush.
fn sync_folders<S: Storage>(storage: &S) -> Result<(), RecoveryError> {
    in_log(storage, storage.sync(Folder::Log))?;
    if storage.is_one_folder() { Ok(()) } else { in_snap(storage, storage.sync(Folder::Snap)) }
}

/// Makes the first segment of a log, which flushes its folder; the log's records come after `zxid`.
fn begin_log<S: Storage>(storage: &S, zxid: Zxid) -> Result<GroupEncoder, RecoveryError> {
    in_log(storage, storage.remove_spares())?;
    in_log(storage, storage.place_segment(FIRST_SEGMENT))?;
    Ok(GroupEncoder::new(storage.segment_bytes(), FIRST_SEGMENT, zxid))
}

/// Writes the snapshot of a server that does not run. One that has never run has one, too: a directory that has
/// ever been used has a snapshot then, wherever its log is, and a log that is missing differs from one that never was.
///
/// # Errors
/// Those of the system.
pub fn write_snapshot<S: Storage>(storage: &S, restored: &mut Database) -> io::Result<()> {
    let mut file = storage.create(Folder::Snap, SNAPSHOT_TMP)?;
    ImageEncoder::all(restored, 0, |bytes| file.write(bytes))?;
    file.finish(&snapshot::file_name(restored.zxid))
}

fn at<S: Storage, T>(
    storage: &S,
    folder: Folder,
    name: &str,
    result: io::Result<T>,
) -> Result<T, RecoveryError> {
    result.map_err(|error| RecoveryError::Io { path: storage.path(folder, name), error })
}

fn in_log<S: Storage, T>(storage: &S, result: io::Result<T>) -> Result<T, RecoveryError> {
    at(storage, Folder::Log, "", result)
}

fn in_snap<S: Storage, T>(storage: &S, result: io::Result<T>) -> Result<T, RecoveryError> {
    at(storage, Folder::Snap, "", result)
}

fn damaged<S: Storage>(storage: &S, damage: wal::Damage) -> RecoveryError {
    RecoveryError::Damage { dir: storage.path(Folder::Log, ""), damage }
}

/// One way through snapshot and log after the other, until one fits. The first one does, unless a marker takes back
/// what was replayed before it, or a snapshot, or the newest segment turns out to have no group.
struct Attempt<'a, S> {
    storage: &'a S,
    settings: tree::Settings,
    /// Snapshots that may be used, ascending.
    candidates: Vec<Zxid>,
    /// Snapshots above the marker that the log ends with.
    superseded: Vec<Zxid>,
    /// Snapshots of which the disk does not give all bytes.
    unreadable: Vec<(Zxid, io::Error)>,
    /// Segments from the newest base on.
    known: Vec<Segment>,
    /// Segment and zxid of the newest base.
    base: Option<(u32, Zxid)>,
    /// What counts from a segment on, once all of that was read.
    cuts: Option<(u32, Cuts)>,
    tell: &'a mut dyn FnMut(Event),
}

/// An attempt that fits.
struct Fit {
    restored: Database,
    snapshot: Option<Zxid>,
    recovery: Recovery,
    /// The newest segment, and where it ends.
    newest: Option<(u32, End)>,
    replayed: u64,
    hints: Hints,
}

/// What digests said that prove nothing.
#[derive(Debug, Default)]
struct Hints {
    mismatches: u64,
    newest: Option<ReplayError>,
    /// One has agreed since.
    is_refuted: bool,
}

impl<S: Storage> Attempt<'_, S> {
    /// Tries until snapshot and log fit. `later` is a segment that a later version of zkfast wrote.
    fn until_one_fits(&mut self, later: Option<wal::Damage>) -> Result<Fit, RecoveryError> {
        let error = loop {
            match self.read() {
                Ok(None) => {}
                Ok(Some(fit)) => return Ok(fit),
                Err(error) => break error,
            }
        };
        // What is missing may be what could not be read; or the log may begin with what a later version wrote.
        let is_missing = match &error {
            RecoveryError::Gap { .. } => true,
            RecoveryError::Damage { damage, .. } => matches!(damage.seen, Seen::NoSnapshot(_)),
            _ => false,
        };
        if !is_missing {
            return Err(error);
        }
        Err(match (self.unreadable.pop(), later) {
            (Some((zxid, error)), _) => {
                let path = self.storage.path(Folder::Snap, &snapshot::file_name(zxid));
                RecoveryError::Unreadable { path, error }
            }
            (None, Some(damage)) => damaged(self.storage, damage),
            (None, None) => error,
        })
    }

    /// Reads snapshot and log; `None` where it must be tried again.
    fn read(&mut self) -> Result<Option<Fit>, RecoveryError> {
        let storage = self.storage;
        let (mut restored, snapshot) = self.newest_snapshot()?;
        (self.tell)(Event::SnapshotRead);
        let mut recovery = Recovery::new(storage.segment_bytes());
        let Some(newest) = self.known.last().map(|segment| segment.number) else {
            let hints = Hints::default();
            return Ok(Some(Fit { restored, snapshot, recovery, newest: None, replayed: 0, hints }));
        };
        let first = wal::replay_start(&self.known, restored.zxid).ok_or_else(|| RecoveryError::Gap {
            dir: storage.path(Folder::Log, ""),
            newest: snapshot.map_or_else(|| "an empty tree".to_owned(), |zxid| format!("snapshot {zxid}")),
        })?;
        let cuts = self.cuts.take().filter(|(from, _)| *from == first).map(|(_, cuts)| cuts);
        let is_first_time = cuts.is_none();
        let mut replay = Replay::new(&mut restored, cuts.unwrap_or_default());
        let mut ends = None;
        for number in self.known.iter().map(|segment| segment.number).filter(|number| *number >= first) {
            let name = wal::file_name(number);
            let bytes = storage.read(Folder::Log, &name).map_err(|error| {
                let path = storage.path(Folder::Log, &name);
                RecoveryError::Unreadable { path, error }
            })?;
            let place = if number == newest { Place::Newest } else { Place::Inner };
            replay.segment = number;
            replay.has_own_digests = wal::has_own_digests(&bytes, number);
            let each = |entry: Entry<'_>| {
                if let Some((zxid, txns, znodes)) = replay.entry(entry) {
                    (self.tell)(Event::Replaying { first, segment: number, newest, zxid, txns, znodes });
                }
            };
            let end =
                recovery.segment(&bytes, number, place, each).map_err(|damage| damaged(storage, damage))?;
            ends = Some((number, end));
        }
        let Replay { replayed, markers, ends_with, failed, is_taken_back, hints, .. } = replay;
        if matches!(ends, Some((_, End { groups: 0, .. }))) && first == newest && self.known.len() > 1 {
            // Its first sector is of a group that was never written whole: the log ends in the segment before.
            self.known.last_mut().expect("more than one").after = None;
            return Ok(None);
        }
        if is_taken_back {
            assert!(is_first_time, "what a marker takes back was replayed, though the marker was known");
            (self.tell)(Event::Again { markers: markers.len() });
            self.cuts = Some((first, Cuts::of(&markers)));
            return Ok(None);
        }
        if let Some((number, zxid, error)) = failed {
            let path = storage.path(Folder::Log, &wal::file_name(number));
            return Err(RecoveryError::Replay { path, zxid, error });
        }
        if let Some((marker, from)) = ends_with {
            // Snapshots above a marker go before anything else is logged, unless a crash came in between.
            let is_above = |zxid: &Zxid| marker.zxid() < *zxid && *zxid <= from;
            self.superseded.extend(self.candidates.extract_if(.., |zxid| is_above(zxid)));
            if snapshot.is_some_and(|used| is_above(&used)) {
                return Ok(None);
            }
        }
        Ok(Some(Fit { restored, snapshot, recovery, newest: ends, replayed, hints }))
    }

    /// The newest snapshot that reads whole; a fresh tree if there is none.
    ///
    /// A damaged one is left out, and so is one of which the disk fails to give bytes: the log after an older one
    /// leads to the same state, or is found to be missing. One that the system does not open, or that a later version
    /// wrote, is for an operator.
    fn newest_snapshot(&mut self) -> Result<(Database, Option<Zxid>), RecoveryError> {
        while let Some(&zxid) = self.candidates.last() {
            let path = self.storage.path(Folder::Snap, &snapshot::file_name(zxid));
            let tell = &mut *self.tell;
            let mut reading = |offset, bytes| tell(Event::Reading { snapshot: zxid, offset, bytes });
            match image::read(self.storage, zxid, self.settings, &mut reading) {
                Ok(restored) => return Ok((restored, Some(zxid))),
                Err(why @ (ImageError::Damaged(_) | ImageError::Tree(_))) => {
                    (self.tell)(Event::LeftOut { path, why: why.to_string(), is_damaged: true });
                }
                Err(ImageError::Io(error)) if error.raw_os_error() == Some(EIO) => {
                    (self.tell)(Event::LeftOut { path, why: error.to_string(), is_damaged: false });
                    self.unreadable.push((zxid, error));
                }
                Err(ImageError::Io(error)) => return Err(RecoveryError::Unreadable { path, error }),
                Err(ImageError::Version(damage)) => return Err(RecoveryError::Version { path, damage }),
            }
            self.candidates.pop();
        }
        match self.base {
            None => Ok((Database::fresh(self.settings), None)),
            Some((segment, zxid)) => {
                let damage =
                    wal::Damage { segment, offset: 0, seen: Seen::NoSnapshot(zxid), through: Some(zxid) };
                Err(damaged(self.storage, damage))
            }
        }
    }
}

/// Applies what counts of a log.
struct Replay<'a> {
    restored: &'a mut Database,
    cuts: Cuts,
    /// Zxid of the snapshot.
    start: Zxid,
    segment: u32,
    /// Whether the segment's digests are zkfast's own: one that disagrees proves damage.
    has_own_digests: bool,
    hints: Hints,
    replayed: u64,
    /// The record that was replayed last.
    reached: Zxid,
    markers: Vec<Marker>,
    /// The marker after which nothing came, and where the log ended before it.
    ends_with: Option<(Marker, Zxid)>,
    /// The first record that did not fit. A marker may show that it should not have been replayed.
    failed: Option<(u32, Zxid, ReplayError)>,
    /// A marker took back what was replayed.
    is_taken_back: bool,
}

impl<'a> Replay<'a> {
    fn new(restored: &'a mut Database, cuts: Cuts) -> Self {
        let start = restored.zxid;
        Self {
            restored,
            cuts,
            start,
            segment: 0,
            has_own_digests: true,
            hints: Hints::default(),
            replayed: 0,
            reached: start,
            markers: Vec::new(),
            ends_with: None,
            failed: None,
            is_taken_back: false,
        }
    }

    /// Takes the next entry; now and then reports how far it is.
    fn entry(&mut self, entry: Entry<'_>) -> Option<(Zxid, u64, usize)> {
        match entry {
            Entry::Marker { marker, from } => {
                self.is_taken_back |= self.reached > self.start && marker.zxid() < self.reached;
                self.markers.push(marker);
                self.ends_with = Some((marker, from));
                None
            }
            Entry::Txn(zxid, txn) => {
                self.ends_with = None;
                let is_wanted = zxid > self.start && self.cuts.counts(zxid, self.markers.len());
                if !is_wanted || self.failed.is_some() || self.is_taken_back {
                    return None;
                }
                self.replayed += 1;
                self.reached = zxid;
                self.failed = self.replay(zxid, txn).err().map(|error| (self.segment, zxid, error));
                let is_due = self.replayed.is_multiple_of(PROGRESS_TXNS);
                is_due.then(|| (zxid, self.replayed, self.restored.tree.len()))
            }
        }
    }

    fn replay(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), ReplayError> {
        if self.has_own_digests {
            return self.restored.replay(zxid, txn);
        }
        match self.restored.replay_hinted(zxid, txn)? {
            Agreement::Same => self.hints.is_refuted = true,
            Agreement::Other { logged } => {
                self.hints.mismatches += 1;
                self.hints.is_refuted = false;
                let tree = self.restored.tree.digest();
                self.hints.newest = Some(ReplayError::Digest { zxid, logged, tree });
            }
            Agreement::Unsaid => {}
        }
        Ok(())
    }
}
