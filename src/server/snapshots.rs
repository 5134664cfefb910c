//! Snapshots: taken from a view's tree in slices, while it serves and changes.

use super::ensemble::Image;
use super::files::{DataDir, NewFile};
use super::logging::Text;
use super::mailbox::Deliver;
use super::orders::{Counted, Order, Placed, TreeImage};
use super::rt;
use super::view_shard::ViewShard;
use crate::admin::Metrics;
use crate::driver::{Arrival, ImageOrigin, SnapshotPlan, SnapshotSlices};
use crate::proto::Zxid;
use crate::replica::Deltas;
use crate::snapshot;
use crate::storage::{self, Folder, NewFile as _, SNAPSHOT_TMP, Storage};
use crate::tree::{ImageOf, NodeImage};
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

/// How long an ordered snapshot waits before it looks again whether the one that runs is done.
const ORDER_PAUSE: Duration = Duration::from_millis(20);

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
    plan: SnapshotPlan,
    taker: Taker,
}

/// Takes one snapshot at a time.
#[derive(Clone)]
struct Taker {
    dir: DataDir,
    retain: Option<usize>,
    running: Arc<AtomicBool>,
}

impl Plan {
    /// A plan that begins after `newest`, of which `txns` were replayed since its snapshot.
    pub fn new(dir: DataDir, limits: Limits, newest: Zxid, txns: u64, seed: u64) -> Self {
        let Limits { snap_count, log_bytes, retain } = limits;
        let plan = SnapshotPlan::new(snap_count, log_bytes, newest, txns, seed);
        Self { plan, taker: Taker { dir, retain, running: Arc::default() } }
    }

    /// What carries out the orders of HTTP clients, until there are no more; for a task of the view's thread.
    pub fn serve(&self, shard: &Rc<ViewShard>, placed: Placed) -> impl Future<Output = ()> + use<> {
        serve(shard.clone(), self.taker.clone(), placed)
    }

    /// Counts what was applied, and begins a snapshot if one is due.
    pub fn count(&mut self, deltas: &Deltas, shard: &Rc<ViewShard>) {
        self.plan.count(deltas);
        let is_serving = shard.view().borrow().is_serving();
        if !self.plan.begins(is_serving, self.taker.running.load(Ordering::Relaxed)) {
            return;
        }
        self.taker.running.store(true, Ordering::Relaxed);
        let (shard, taker) = (shard.clone(), self.taker.clone());
        rt::spawn_local(async move {
            // What went wrong is in the log.
            let _ = taker.take(&shard).await;
        });
    }
}

impl Taker {
    /// Takes a snapshot, and removes what is not to be kept beside it. None may be running, and one must be marked as such.
    async fn take(&self, shard: &ViewShard) -> io::Result<Zxid> {
        let started = Instant::now();
        let taken = take(shard, &self.dir).await;
        match &taken {
            Ok((zxid, znodes)) => {
                let took_us = started.elapsed().as_micros() as u64;
                shard.view().borrow_mut().metrics_mut().times.snapshottime.record(took_us);
                log::info!(target: "snapshot", "written: zxid={zxid} znodes={znodes} took_ms={}",
                    started.elapsed().as_millis());
            }
            Err(error) => {
                shard.view().borrow_mut().abandon_image(ImageOf::Snapshot);
                shard.view().borrow_mut().metrics_mut().counters.snapshot_error_count += 1;
                log::error!(target: "snapshot", "not written: error={} then={}", Text(error),
                    Text("the log keeps everything, and the next one is tried after snapCount more txns"));
            }
        }
        if let Some(retain) = self.retain {
            let dir = self.dir.clone();
            match rt::blocking(move || storage::purge(&dir, retain)).await {
                Ok(purged) if purged.snapshots + purged.segments > 0 => log::info!(target: "snapshot",
                    "purged: snapshots={} segments={}", purged.snapshots, purged.segments),
                Ok(_) => {}
                Err(error) => log::warn!(target: "snapshot", "not purged: error={}", Text(&error)),
            }
        }
        self.running.store(false, Ordering::Relaxed);
        taken.map(|(zxid, _)| zxid)
    }

    /// Takes a snapshot that a client has ordered, after the one that may be running.
    async fn take_ordered(&self, shard: &ViewShard) -> io::Result<(Zxid, u64)> {
        while self.running.swap(true, Ordering::Relaxed) {
            rt::sleep(ORDER_PAUSE).await;
        }
        if !shard.view().borrow().is_serving() {
            self.running.store(false, Ordering::Relaxed);
            return Err(io::Error::other("the server serves no clients now"));
        }
        let zxid = self.take(shard).await?;
        let dir = self.dir.clone();
        let length = move || dir.length(Folder::Snap, &snapshot::file_name(zxid));
        Ok((zxid, rt::blocking(length).await?))
    }
}

/// Carries out orders, one after the other.
async fn serve(shard: Rc<ViewShard>, taker: Taker, mut placed: Placed) {
    while let Some(order) = placed.next().await {
        match order {
            Order::RootAcl(deliver) => deliver(shard.view().borrow().root_acl()),
            Order::Count(counted) => count(shard.view().borrow_mut().metrics_mut(), counted),
            Order::Image(deliver) => {
                let shard = shard.clone();
                rt::spawn_local(async move { deliver_image(&shard, deliver).await });
            }
            Order::Snapshot(deliver) => {
                let (shard, taker) = (shard.clone(), taker.clone());
                rt::spawn_local(async move { deliver(taker.take_ordered(&shard).await) });
            }
        }
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

fn count(Metrics { counters, times, .. }: &mut Metrics, counted: Counted) {
    match counted {
        Counted::SnapshotLimited => counters.snapshot_rate_limited_count += 1,
        Counted::SnapshotFailed => counters.snapshot_error_count += 1,
        Counted::RestoreLimited => counters.restore_rate_limited_count += 1,
        Counted::RestoreFailed => counters.restore_error_count += 1,
        Counted::Restored(took_us) => times.restore_time.record(took_us),
    }
}

/// Takes an image of the view's tree for an HTTP client.
async fn deliver_image(shard: &ViewShard, deliver: Deliver<TreeImage>) {
    while shard.is_imaging().replace(true) {
        rt::sleep(IMAGE_PAUSE).await;
    }
    let (sender, nodes) = mpsc::channel();
    let (origin, digest, sessions) = ImageOrigin::begin(&mut shard.view().borrow_mut(), ImageOf::Learner);
    // A view says 0 where no digest is kept; of a tree it is one in 2^64.
    let digest = (digest != 0).then_some(digest);
    deliver(TreeImage { zxid: origin.zxid, digest, sessions, nodes });
    send_image(shard, origin, sender).await;
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
    send_image(&shard, origin, sender).await;
}

/// Sends what remains of an image, slice by slice, and an empty batch at its end.
async fn send_image(shard: &ViewShard, origin: ImageOrigin, sender: mpsc::Sender<Vec<NodeImage>>) {
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
            // Its receiver is gone if this fails.
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
