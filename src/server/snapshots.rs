//! Snapshots: taken from a view's tree in slices, while it serves and changes.

use super::ensemble::Image;
use super::files::{DataDir, NewFile};
use super::logging::Text;
use super::rt;
use super::view_shard::ViewShard;
use crate::driver::{Arrival, ImageOrigin, SnapshotPlan, SnapshotSlices};
use crate::proto::Zxid;
use crate::replica::Deltas;
use crate::snapshot;
use crate::storage::{self, Folder, NewFile as _, SNAPSHOT_TMP, Storage};
use crate::tree::ImageOf;
use crate::zab::LinkId;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Places of the tree in one slice: some tens of microseconds.
const SLICE: u32 = 128;

/// Bytes of paths and data in one slice, and one znode more: a snapshot copies them, and a view does nothing else meanwhile.
const SLICE_BYTES: usize = 256 << 10;

/// How long a snapshot waits before it looks again whether the log is durable as far.
const LOG_PAUSE: Duration = Duration::from_millis(20);

/// How long a learner's image waits before it asks again whether another one is done.
const IMAGE_PAUSE: Duration = Duration::from_millis(20);

/// What makes a snapshot due, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Txns between two: `snapCount`.
    pub snap_count: u64,
    /// Bytes of log between two: `snapSizeLimitInKb`; `None` for no limit.
    pub log_bytes: Option<u64>,
    /// How many to keep; `None` keeps all.
    pub retain: Option<usize>,
}

/// Takes the snapshots of a server when they are due.
pub struct Plan {
    dir: DataDir,
    retain: Option<usize>,
    plan: SnapshotPlan,
    running: Arc<AtomicBool>,
}

impl Plan {
    /// A plan that begins after `newest`, of which `txns` were replayed since its snapshot.
    pub fn new(dir: DataDir, limits: Limits, newest: Zxid, txns: u64, seed: u64) -> Self {
        let Limits { snap_count, log_bytes, retain } = limits;
        let plan = SnapshotPlan::new(snap_count, log_bytes, newest, txns, seed);
        Self { dir, retain, plan, running: Arc::new(AtomicBool::new(false)) }
    }

    /// Counts what was applied, and begins a snapshot if one is due.
    pub fn count(&mut self, deltas: &Deltas, shard: &Rc<ViewShard>) {
        self.plan.count(deltas);
        let is_serving = shard.view().borrow().is_serving();
        if !self.plan.begins(is_serving, self.running.load(Ordering::Relaxed)) {
            return;
        }
        self.running.store(true, Ordering::Relaxed);
        let (shard, dir, retain, running) =
            (shard.clone(), self.dir.clone(), self.retain, self.running.clone());
        rt::spawn_local(async move {
            let started = Instant::now();
            match take(&shard, &dir).await {
                Ok((zxid, znodes)) => {
                    let took_us = started.elapsed().as_micros() as u64;
                    shard.view().borrow_mut().metrics_mut().times.snapshottime.record(took_us);
                    log::info!(target: "snapshot", "written: zxid={zxid} znodes={znodes} took_ms={}",
                    started.elapsed().as_millis())
                }
                Err(error) => {
                    shard.view().borrow_mut().abandon_image(ImageOf::Snapshot);
                    shard.view().borrow_mut().metrics_mut().counters.snapshot_error_count += 1;
                    log::error!(target: "snapshot", "not written: error={} then={}", Text(&error),
                        Text("the log keeps everything, and the next one is tried after snapCount more txns"));
                }
            }
            if let Some(retain) = retain {
                match rt::blocking(move || storage::purge(&dir, retain)).await {
                    Ok(purged) if purged.snapshots + purged.segments > 0 => log::info!(target: "snapshot",
                        "purged: snapshots={} segments={}", purged.snapshots, purged.segments),
                    Ok(_) => {}
                    Err(error) => log::warn!(target: "snapshot", "not purged: error={}", Text(&error)),
                }
            }
            running.store(false, Ordering::Relaxed);
        });
    }
}

async fn take(shard: &ViewShard, dir: &DataDir) -> io::Result<(Zxid, u64)> {
    let wall_ms = shard.clock().now().wall_ms;
    let mut slices = SnapshotSlices::begin(&mut shard.view().borrow_mut(), wall_ms);
    let begin = dir.clone();
    let mut file = rt::blocking(move || begin.create(Folder::Snap, SNAPSHOT_TMP)).await?;
    let mut more = true;
    while more {
        let slice = slices.next_slice(&mut shard.view().borrow_mut(), SLICE, SLICE_BYTES);
        more = slice.map_err(io::Error::other)?;
        while let Some(chunk) = slices.next_chunk() {
            file = write(file, dir, chunk).await?;
        }
        rt::yield_now().await;
    }
    let (rest, origin, counts) = slices.finish();
    let file = write(file, dir, rest).await?;
    let may_be_stored = || origin.may_be_stored(&shard.view().borrow(), shard.shared().durable());
    while !may_be_stored().map_err(io::Error::other)? {
        rt::sleep(LOG_PAUSE).await;
    }
    rt::blocking(move || file.finish(&snapshot::file_name(origin.zxid))).await?;
    Ok((origin.zxid, counts.nodes))
}

/// Takes an image of the view's tree for a learner.
pub async fn image_for(shard: Rc<ViewShard>, link: LinkId) {
    // One at a time: it is a matter of the memory's pace. A snapshot, at the disk's pace, goes on beside it.
    while shard.is_imaging().replace(true) {
        rt::sleep(IMAGE_PAUSE).await;
    }
    let (sender, nodes) = mpsc::channel();
    let (origin, _, sessions) = ImageOrigin::begin(&mut shard.view().borrow_mut(), ImageOf::Learner);
    if let Some(inbox) = shard.inbox() {
        let sessions = sessions.into_iter().collect();
        inbox.put(Arrival::Image(link, Image { zxid: origin.zxid, sessions, nodes }));
    }
    loop {
        let mut batch = Vec::with_capacity(SLICE as usize);
        let more = shard.view().borrow_mut().image_slice(ImageOf::Learner, SLICE, SLICE_BYTES, &mut batch);
        if origin.check(&shard.view().borrow()).is_err() {
            // The helper that takes it misses the end.
            break;
        }
        // Where places of the tree are free, or its image has been given up, there is nothing in between.
        if !batch.is_empty() && sender.send(batch).is_err() {
            shard.view().borrow_mut().abandon_image(ImageOf::Learner);
            break;
        }
        if !more {
            // The learner is gone if this fails.
            let _ = sender.send(Vec::new());
            break;
        }
        rt::yield_now().await;
    }
    shard.is_imaging().set(false);
}

async fn write(mut file: NewFile, dir: &DataDir, bytes: Vec<u8>) -> io::Result<NewFile> {
    let dir = dir.clone();
    rt::blocking(move || {
        dir.check_room(Folder::Snap, bytes.len())?;
        file.write_in_portions(&bytes)?;
        Ok(file)
    })
    .await
}
