//! Writes the log: one group commit in flight, each made durable before the next begins.
//!
//! Any failed write or fsync ends the process: the kernel may have dropped the pages, and a second
//! fsync would say that all is well.

use super::fatal;
use super::files::{self, DataDir};
use super::ring::{Bell, Consumer, Producer};
use super::rt::{self, DirectFile};
use crate::wal::{self, Batch, GroupEncoder};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Records to make durable.
pub struct Job {
    /// The group.
    pub batch: Batch,
}

/// A group that is durable.
#[derive(Debug)]
pub struct Done {
    /// Its buffer, to be filled again.
    pub batch: Batch,
    /// How long write and fdatasync took together.
    pub took: Duration,
    /// How long the fdatasync took.
    pub fsync: Duration,
}

/// Bytes of the first segment that are zeroed before the first answer; the rest follows meanwhile.
/// Blocks that were never written cost twice the time of those that were.
const FILL_FIRST: usize = 1 << 20;
const FILL_STEP: usize = 1 << 20;
const FILL_PAUSE: Duration = Duration::from_millis(5);

struct Segment {
    file: DirectFile,
    /// Bytes from the start that were written once, or are the writer's.
    filled: Cell<usize>,
    /// The filler is writing zeros behind `filled`; the writer must not go there.
    filling: Cell<bool>,
}

/// Writes groups until `stop` says so and nothing is left.
pub async fn run(
    dir: DataDir,
    mut encoder: GroupEncoder,
    mut jobs: Consumer<Job>,
    mut done: Producer<Done>,
    bell: Bell,
    stop: impl Fn() -> bool,
    warn_after: Duration,
) {
    let mut segment = open(&dir, encoder.segment(), encoder.offset()).await;
    let mut spare_asked_for = false;
    loop {
        let job = poll_fn(|cx| {
            bell.listen(cx.waker());
            match jobs.take() {
                Some(job) => Poll::Ready(Some(job)),
                None if stop() => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await;
        let Some(Job { mut batch }) = job else { break };
        if !encoder.fits(&batch) {
            let number = encoder.begin_segment();
            let made = dir.clone();
            let placed = rt::blocking(move || files::place_segment(&made, number)).await;
            if let Err(error) = placed {
                fatal::log_failed(&dir.log, number, "cannot begin a segment", &error);
            }
            segment = open(&dir, number, 0).await;
            spare_asked_for = false;
        }
        let end = encoder.offset() + encoder.group_bytes(&batch);
        while end > segment.filled.get() && segment.filling.get() {
            rt::sleep(Duration::from_millis(1)).await;
        }
        segment.filled.set(segment.filled.get().max(end));
        if end > wal::SEGMENT_BYTES / 2 && !spare_asked_for {
            spare_asked_for = true;
            let dir = dir.clone();
            rt::spawn_local(async move {
                if let Err(error) = rt::blocking(move || files::prepare_spare(&dir)).await {
                    log::warn!(target: "log", "no segment could be prepared ahead: {error}");
                }
            });
        }
        let started = Instant::now();
        let mut buffer = segment.file.buffer(encoder.group_bytes(&batch));
        let written = encoder.encode(&batch, buffer.bytes_mut());
        let failed = |what: &str, error| -> ! { fatal::log_failed(&dir.log, written.segment, what, &error) };
        let file = &segment.file;
        file.write_at(buffer, written.offset as u64)
            .await
            .unwrap_or_else(|error| failed("write failed", error));
        let fsync_started = Instant::now();
        file.fdatasync().await.unwrap_or_else(|error| failed("fdatasync failed", error));
        let (took, fsync) = (started.elapsed(), fsync_started.elapsed());
        if fsync >= warn_after {
            log::warn!(target: "log", "fdatasync was slow: took_ms={} limit_ms={} group_bytes={} records={}: \
                is the disk shared?", fsync.as_millis(), warn_after.as_millis(), written.bytes, batch.records());
        }
        batch.clear();
        let mut message = Done { batch, took, fsync };
        // There is a place for each group in flight, and one group is in flight.
        while let Err(back) = done.put(message) {
            message = back;
            rt::yield_now().await;
        }
    }
    if let Ok(segment) = Rc::try_unwrap(segment) {
        segment.file.close().await.unwrap_or_else(|error| {
            fatal::log_failed(&dir.log, encoder.segment(), "close failed", &error);
        });
    }
}

/// Opens a segment for writing, and has what was never written in it zeroed meanwhile. Nothing below
/// `written` is: it holds groups, also where a file system that compresses, or a copy that made holes of
/// zeros, holds fewer blocks than that.
async fn open(dir: &DataDir, number: u32, written: usize) -> Rc<Segment> {
    let path = dir.log.join(wal::file_name(number));
    let failed = |error| -> ! { fatal::log_failed(&dir.log, number, "cannot be opened", &error) };
    let filled = files::filled_bytes(&path).unwrap_or_else(|error| failed(error)).max(written);
    let file = DirectFile::open(&path).await.unwrap_or_else(|error| failed(error));
    let segment = Rc::new(Segment { file, filled: Cell::new(filled), filling: Cell::new(false) });
    if filled < wal::SEGMENT_BYTES {
        fill(&segment, FILL_FIRST, dir, number).await;
        let (segment, dir) = (segment.clone(), dir.clone());
        rt::spawn_local(async move {
            while segment.filled.get() < wal::SEGMENT_BYTES && Rc::strong_count(&segment) > 1 {
                rt::sleep(FILL_PAUSE).await;
                fill(&segment, FILL_STEP, &dir, number).await;
            }
        });
    }
    segment
}

/// Zeroes the next `bytes` behind what is filled.
async fn fill(segment: &Segment, bytes: usize, dir: &DataDir, number: u32) {
    let from = segment.filled.get();
    let to = (from + bytes).min(wal::SEGMENT_BYTES);
    segment.filling.set(true);
    let mut buffer = segment.file.buffer(to - from);
    buffer.bytes_mut().fill(0);
    if let Err(error) = segment.file.write_at(buffer, from as u64).await {
        fatal::log_failed(&dir.log, number, "cannot be filled ahead", &error);
    }
    segment.filled.set(to);
    segment.filling.set(false);
}
