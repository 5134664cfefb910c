//! Snapshots: taken from a view's tree in slices, while it serves and changes.

use super::files::{self, DataDir, SnapshotFile};
use super::others::{Arrival, Image};
use super::rt;
use super::view_shard::ViewShard;
use crate::proto::Zxid;
use crate::replica::{Deltas, Restored, What};
use crate::snapshot::{ACL_OPEN, Header, Node, SnapshotEncoder};
use crate::tree::{self, AclRef, NodeImage};
use crate::zab::LinkId;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Places of the tree in one slice: some tens of microseconds.
const SLICE: u32 = 128;

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

/// When snapshots are due.
pub struct Plan {
    dir: DataDir,
    limits: Limits,
    /// Txns since the last one, and how many make the next one due.
    txns: u64,
    due: u64,
    /// Bytes logged since the last one.
    bytes: u64,
    newest: Zxid,
    running: Arc<AtomicBool>,
    random: u64,
}

impl Plan {
    /// A plan that begins after `newest`, of which `txns` were replayed since its snapshot.
    pub fn new(dir: DataDir, limits: Limits, newest: Zxid, txns: u64, seed: u64) -> Self {
        let running = Arc::new(AtomicBool::new(false));
        let mut plan = Self { dir, limits, txns, due: 0, bytes: 0, newest, running, random: seed | 1 };
        plan.set_due();
        plan
    }

    /// Between half of snapCount and all of it, by chance, so that servers do not all do it at once.
    fn set_due(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = (self.limits.snap_count / 2).max(1);
        self.due = half + self.random % half;
    }

    /// Counts what was applied, and begins a snapshot if one is due.
    pub fn count(&mut self, deltas: &Deltas, shard: &Rc<ViewShard>) {
        for entry in &deltas.entries {
            if matches!(entry.what, What::Reset(_)) {
                (self.newest, self.txns) = (entry.zxid, 0);
            }
            if entry.zxid > self.newest {
                self.newest = entry.zxid;
                self.txns += 1;
            }
        }
        self.bytes += deltas.log_bytes as u64;
        let due = self.txns >= self.due || self.limits.log_bytes.is_some_and(|max| self.bytes >= max);
        if !due || self.running.load(Ordering::Relaxed) || shard.is_imaging().get() {
            return;
        }
        (self.txns, self.bytes) = (0, 0);
        self.set_due();
        self.running.store(true, Ordering::Relaxed);
        shard.is_imaging().set(true);
        let (shard, dir, retain, running) =
            (shard.clone(), self.dir.clone(), self.limits.retain, self.running.clone());
        rt::spawn_local(async move {
            let started = Instant::now();
            match take(&shard, &dir).await {
                Ok((zxid, znodes)) => {
                    log::info!(target: "snapshot", "written: zxid={zxid} znodes={znodes} took_ms={}",
                    started.elapsed().as_millis())
                }
                Err(error) => {
                    shard.view().borrow_mut().abandon_image();
                    log::error!(target: "snapshot", "not written: {error}; the log keeps everything, and the next \
                        one is tried after snapCount more txns");
                }
            }
            shard.is_imaging().set(false);
            if let Some(retain) = retain {
                match rt::blocking(move || files::purge(&dir, retain)).await {
                    Ok(purged) if purged.snapshots + purged.segments > 0 => log::info!(target: "snapshot",
                        "purged: snapshots={} segments={}", purged.snapshots, purged.segments),
                    Ok(_) => {}
                    Err(error) => log::warn!(target: "snapshot", "not purged: {error}"),
                }
            }
            running.store(false, Ordering::Relaxed);
        });
    }
}

async fn take(shard: &ViewShard, dir: &DataDir) -> io::Result<(Zxid, u64)> {
    let (zxid, digest, sessions) = shard.view().borrow_mut().begin_image();
    let header = Header { zxid, digest, wall_ms: shard.clock().now().wall_ms };
    let mut encoder = SnapshotEncoder::new(&header);
    sessions.iter().for_each(|(id, timeout_ms)| encoder.session(*id, *timeout_ms));
    let mut acls = Acls::default();
    let begin = dir.clone();
    let mut file = rt::blocking(move || SnapshotFile::create(&begin)).await?;
    let (mut nodes, mut more) = (Vec::new(), true);
    while more {
        more = shard.view().borrow_mut().image_slice(SLICE, &mut nodes);
        for node in nodes.drain(..) {
            put(&mut encoder, &node, &mut acls);
        }
        if encoder.is_chunk_due() {
            file = write(file, encoder.take_chunk()).await?;
        }
        rt::yield_now().await;
    }
    let (rest, counts) = encoder.finish();
    let file = write(file, rest).await?;
    rt::blocking(move || file.finish(zxid)).await?;
    Ok((zxid, counts.nodes))
}

/// Takes an image of the view's tree for a learner.
pub async fn image_for(shard: Rc<ViewShard>, link: LinkId) {
    // One at a time; learners are patient for initLimit.
    while shard.is_imaging().replace(true) {
        rt::sleep(IMAGE_PAUSE).await;
    }
    let (sender, nodes) = mpsc::channel();
    let (zxid, _, sessions) = shard.view().borrow_mut().begin_image();
    if let Some(inbox) = shard.inbox() {
        let sessions = sessions.into_iter().collect();
        inbox.put(Arrival::Image(Image { link, zxid, sessions, nodes }));
    }
    loop {
        let mut batch = Vec::with_capacity(SLICE as usize);
        let more = shard.view().borrow_mut().image_slice(SLICE, &mut batch);
        // Where places of the tree are free, or its image has been given up, there is nothing in between.
        if !batch.is_empty() && sender.send(batch).is_err() {
            shard.view().borrow_mut().abandon_image();
            break;
        }
        if !more {
            // Nobody waits for it any more if this fails.
            let _ = sender.send(Vec::new());
            break;
        }
        rt::yield_now().await;
    }
    shard.is_imaging().set(false);
}

/// Writes the snapshot of a server that has never run. A directory that has ever been used has a snapshot
/// then, wherever its log is: a log that is missing is told from one that never was.
///
/// # Errors
/// Those of the system.
pub fn write_fresh(dir: &DataDir, settings: tree::Settings) -> io::Result<()> {
    write_restored(dir, &mut Restored::fresh(settings))
}

/// Writes the snapshot of a server that does not run.
///
/// # Errors
/// Those of the system.
pub fn write_restored(dir: &DataDir, restored: &mut Restored) -> io::Result<()> {
    let Restored { tree, sessions, zxid, .. } = restored;
    let mut encoder = SnapshotEncoder::new(&Header { zxid: *zxid, digest: tree.digest(), wall_ms: 0 });
    sessions.iter().for_each(|(id, timeout_ms)| encoder.session(*id, *timeout_ms));
    let mut file = SnapshotFile::create(dir)?;
    let (mut nodes, mut acls, mut more) = (Vec::new(), Acls::default(), true);
    tree.begin_image();
    while more {
        more = tree.image_slice(SLICE, &mut nodes);
        nodes.drain(..).for_each(|node| put(&mut encoder, &node, &mut acls));
        if encoder.is_chunk_due() {
            file.write(&encoder.take_chunk())?;
        }
    }
    file.write(&encoder.finish().0)?;
    file.finish(*zxid)
}

async fn write(mut file: SnapshotFile, bytes: Vec<u8>) -> io::Result<SnapshotFile> {
    rt::blocking(move || {
        file.check_room(bytes.len())?;
        file.write(&bytes)?;
        Ok(file)
    })
    .await
}

/// Ids of access lists in one snapshot. A list is known by where it is: they are interned.
#[derive(Default)]
struct Acls {
    ids: BTreeMap<usize, u32>,
    /// Keeps the lists where they are while the snapshot is taken.
    held: Vec<AclRef>,
}

fn put(encoder: &mut SnapshotEncoder, node: &NodeImage, acls: &mut Acls) {
    let fixed = node.body.fixed();
    let acl = match &fixed.acl {
        None => ACL_OPEN,
        Some(list) => {
            let next = acls.held.len() as u32 + 1;
            *acls.ids.entry(Arc::as_ptr(list) as usize).or_insert_with(|| {
                encoder.acl(next, list);
                acls.held.push(fixed.acl.clone());
                next
            })
        }
    };
    encoder.node(&Node {
        path: node.body.path(),
        data: node.body.data(),
        acl,
        czxid: fixed.czxid,
        mzxid: fixed.mzxid,
        pzxid: node.pzxid,
        ctime_ms: fixed.ctime_ms,
        mtime_ms: fixed.mtime_ms,
        version: fixed.version,
        cversion: node.cversion,
        aversion: fixed.aversion,
        owner: fixed.owner.0,
    });
}
