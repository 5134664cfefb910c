//! Recovery at the start: runs [`storage::recover`] on the data directory and logs what it finds.

use super::files::DataDir;
use super::logging::Text;
use super::start_up::StartUp;
use super::supervisor;
use crate::admin::{Metrics, Step};
use crate::driver::{Job, JobResult};
use crate::proto::Zxid;
use crate::storage::{self, Event, RecoveryError};
use crate::tree;
use crate::wal::SEGMENT_BYTES;
use std::time::{Duration, Instant};

pub use crate::storage::Recovered;

/// The interval between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Bytes of a snapshot from which on a line tells that its tree is being linked: that takes some seconds for 2 GB.
const LINKING_TOLD_BYTES: u64 = 256 << 20;

/// Reads the snapshot and the log, and leaves the log ready to be written.
///
/// # Errors
/// The data is damaged or cannot be read; nothing was changed.
pub fn recover(
    dir: &DataDir,
    settings: tree::Settings,
    start_up: &StartUp,
) -> Result<(Recovered, Loading), RecoveryError> {
    let started = Instant::now();
    let (mut progress, mut snapshot_read) = (started, None);
    let leftovers = storage::remove_leftovers(dir);
    leftovers.map_err(|error| RecoveryError::Io { path: dir.log.clone(), error })?;
    let recovered = storage::recover(dir, settings, &mut |event| match event {
        // The last one counts: attempts before it failed.
        Event::SnapshotRead => snapshot_read = Some(Instant::now()),
        event => {
            note(&event, start_up);
            log_event(&event, &mut progress);
        }
    })?;
    let ended = Instant::now();
    let snapshot_read = snapshot_read.unwrap_or(ended);
    let loading = Loading {
        replayed: recovered.replayed,
        all: ended - started,
        snapshot: snapshot_read - started,
        txns: ended - snapshot_read,
    };
    let Recovered { restored, replayed, snapshot, .. } = &recovered;
    log::info!(target: "recovery", "done: zxid={} snapshot={} txns={replayed} znodes={} sessions={} took_ms={}",
        restored.zxid, snapshot.map_or_else(|| "none".to_owned(), |zxid| zxid.to_string()), restored.tree.len(),
        restored.sessions.len(), started.elapsed().as_millis());
    Ok((recovered, loading))
}

/// How long recovery took.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// Txns that were replayed.
    replayed: u64,
    all: Duration,
    snapshot: Duration,
    txns: Duration,
}

impl Loading {
    /// Records the times, and the number of txns replayed.
    pub fn record(&self, metrics: &mut Metrics) {
        let us = |time: Duration| time.as_micros() as u64;
        metrics.times.dbinittime.record(us(self.all));
        metrics.times.startup_snap_load_time.record(us(self.snapshot));
        // ZooKeeper records nothing for an empty log.
        if self.replayed > 0 {
            metrics.times.startup_txns_load_time.record(us(self.txns));
            metrics.sizes.startup_txns_loaded.record(self.replayed);
        }
    }
}

/// Cuts the log after `to` and reads everything again. The log must not be written to meanwhile.
pub fn recover_again(dir: &DataDir, to: Zxid, settings: tree::Settings) -> JobResult {
    let started = Instant::now();
    let mut progress = started;
    let done = Job::Reload(to).run(dir, settings, &mut |event| log_event(&event, &mut progress));
    if let JobResult::Reloaded(restored) = &done {
        log::info!(target: "recovery", "log cut: behind={to} zxid={} took_ms={}", restored.zxid,
            started.elapsed().as_millis());
    }
    done
}

/// Moves damaged files aside, so that this server can take its leader's state.
///
/// # Errors
/// The files cannot be moved.
pub fn move_aside(dir: &DataDir, damage: &RecoveryError) -> Result<(), RecoveryError> {
    log::error!(target: "recovery", "damage was found: why={}", Text(damage));
    let moved = storage::move_aside(dir);
    let folder = moved.map_err(|error| RecoveryError::Io { path: dir.snap.clone(), error })?;
    log::error!(target: "recovery", "damaged files are moved: to={folder} dataDir={} dataLogDir={} then={}",
        Text(dir.snap.display()), Text(dir.log.display()),
        Text("this server takes everything from its leader, and does not vote until it has it"));
    Ok(())
}

/// Tells probes how much is read.
fn note(event: &Event, start_up: &StartUp) {
    match event {
        Event::Reading { offset, bytes, .. } => start_up.read(Step::ReadingSnapshot, *offset, *bytes),
        Event::Replaying { first, segment, newest, .. } => {
            let bytes = |segments: u32| u64::from(segments) * SEGMENT_BYTES as u64;
            start_up.read(Step::ReplayingLog, bytes(segment - first), bytes(newest - first + 1));
        }
        _ => {}
    }
}

/// Whether another line of progress is due; the next one is due after [`PROGRESS_EVERY`].
fn is_due(progress: &mut Instant) -> bool {
    let is_due = progress.elapsed() >= PROGRESS_EVERY;
    if is_due {
        *progress = Instant::now();
    }
    is_due
}

/// How much `done` is of `all`.
fn percent(done: u64, all: u64) -> u64 {
    done * 100 / all.max(1)
}

fn log_event(event: &Event, progress: &mut Instant) {
    match event {
        Event::SnapshotRead => {}
        Event::LeftOut { path, why, is_damaged } => {
            let what = if *is_damaged { "it is damaged" } else { "it cannot be read" };
            log::error!(target: "recovery", "snapshot left out, {what}: file={} why={} then={}",
                Text(path.display()), Text(why),
                Text("an older one is taken and the log after it replayed, if there is one"));
        }
        Event::Reading { snapshot, offset, bytes } if offset == bytes => {
            if *bytes >= LINKING_TOLD_BYTES {
                let mb = bytes / 1_000_000;
                log::info!(target: "recovery", "linking: snapshot={snapshot} of_mb={mb}");
                supervisor::status(format_args!("linking the tree: of_mb={mb}"));
            }
        }
        Event::Reading { snapshot, offset, bytes } => {
            if is_due(progress) {
                let (share, mb) = (percent(*offset, *bytes), bytes / 1_000_000);
                log::info!(target: "recovery", "reading: snapshot={snapshot} percent={share} of_mb={mb}");
                supervisor::status(format_args!("reading the snapshot: percent={share} of_mb={mb}"));
            }
        }
        Event::Replaying { first, segment, newest, zxid, txns, znodes } => {
            if is_due(progress) {
                let (done, all) = (segment - first, newest - first + 1);
                let share = percent(done.into(), all.into());
                log::info!(target: "recovery", "replaying: percent={share} segment={segment} of={newest} zxid={zxid} \
                    txns={txns} znodes={znodes}");
                supervisor::status(format_args!("replaying the log: percent={share}"));
            }
        }
        Event::Torn(torn) => log::warn!(target: "recovery", "torn end of the log cut: why={}", Text(torn)),
        Event::Again { markers } => {
            log::info!(target: "recovery", "replaying again, without what was truncated: markers={markers}");
        }
        Event::Adopted(zxid) => {
            log::info!(target: "recovery", "snapshot from the leader taken over: zxid={zxid}");
        }
        Event::NotAdopted(zxid) => {
            log::info!(target: "recovery", "snapshot from the leader dropped, its base is not in the log: zxid={zxid}");
        }
        Event::Digests { mismatches, newest, is_refuted } => {
            let end = match is_refuted {
                true => "later ones agree, so the tree is the right one",
                false => "none has agreed since",
            };
            log::warn!(target: "recovery", "{mismatches} digests of a log of an older version are not those of the tree \
                ({newest}): {end}. A leader of ZooKeeper's predicts wrong ones; the log's checksums are right, and all of \
                it is taken");
        }
        Event::Superseded(zxid) => {
            log::warn!(target: "recovery", "snapshot set aside, it is above a truncation: zxid={zxid}");
        }
    }
}
