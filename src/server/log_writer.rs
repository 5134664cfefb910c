//! The log's files, past the page cache, and the thread that writes them.
//!
//! What is written when is decided by [`storage::LogWriter`](crate::storage::LogWriter), which the simulator runs too. It
//! blocks in `pwrite` and `fdatasync`, so it is at home on a plain thread: the commit shard's own, or one of its own where
//! that must go on meanwhile. Through io_uring the fdatasync goes to a kernel worker anyway, and each of the two costs the
//! wake-up of its completion.
//!
//! Any failed write or fsync ends the process: the kernel may have dropped the pages, and a second fsync would say that
//! all is well.

use super::files::{self, DataDir};
use super::logging::{Text, provoked};
use super::spsc::{Consumer, Notify, Producer, channel};
use super::{fatal, helper};
use crate::driver::FSYNC_WARN_US;
use crate::storage::{Done, LogError, LogFiles, Placed};
use crate::wal::{self, Batch, GroupEncoder};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The log's writing end. The first error ends the process.
pub struct LogWriter {
    writer: crate::storage::LogWriter<SegmentFile>,
}

impl LogWriter {
    /// Goes on where the log ends.
    pub fn new(dir: DataDir, encoder: GroupEncoder) -> Self {
        let (segment, offset) = (encoder.segment(), encoder.offset());
        let files = SegmentFile::open(dir.clone(), segment, offset)
            .unwrap_or_else(|failed| fatal::log_failed(&dir.log, &failed));
        Self { writer: crate::storage::LogWriter::new(files, encoder) }
    }

    /// True if the disk was quick lately, so that a caller that has others to serve may write the next group itself.
    pub fn is_quick(&self) -> bool {
        self.writer.is_quick()
    }

    /// How long to wait for a group before [`LogWriter::idle`] has something to do; `None` for good.
    fn pause(&self) -> Option<Duration> {
        self.writer.pause_us().map(|us| Duration::from_micros(us.max(0) as u64))
    }

    /// Uses a moment in which nothing is to be written.
    pub fn idle(&mut self) {
        let full = self.writer.idle().unwrap_or_else(|failed| self.end(&failed));
        if let Some(bytes_left) = full {
            log::warn!(target: "log", "the disk is full: bytes_left={bytes_left} then={} do={}",
                Text("the server ends"), Text("free some space"));
        }
    }

    /// Makes one group durable: records or a marker.
    pub fn group(&mut self, batch: Arc<Batch>) -> Done {
        let done = self.writer.group(batch).unwrap_or_else(|failed| self.end(&failed));
        if done.flushed.fsync_us >= FSYNC_WARN_US {
            let line = format_args!(
                "fdatasync was slow: took_ms={} limit_ms={} group_bytes={} records={} do={}",
                done.flushed.fsync_us / 1000,
                FSYNC_WARN_US / 1000,
                done.flushed.bytes,
                done.batch.records(),
                Text("see whether others share the disk")
            );
            provoked(log::Level::Warn, "log", "fdatasync was slow", "slow disk", line);
        }
        done
    }

    fn end(&mut self, failed: &LogError) -> ! {
        fatal::log_failed(&self.writer.files_mut().dir.log, failed)
    }
}

/// A log writer on a thread of its own, or on its owner's while the disk is quick.
pub struct LogThread {
    /// Takes one group at a time.
    jobs: SyncSender<Arc<Batch>>,
    /// Gives it back once it is durable.
    done: Consumer<Done>,
    writer: Arc<Mutex<LogWriter>>,
}

impl LogThread {
    /// Starts the thread, which stays on `cpu` and notifies `notify` of each group that is durable. It ends once this is dropped.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(
        cpu: super::cores::Cpu,
        writer: LogWriter,
        notify: Notify,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, receiver) = sync_channel(1);
        let (producer, done) = channel(2, notify, Notify::default());
        let writer = Arc::new(Mutex::new(writer));
        let shared = writer.clone();
        let main = move || {
            super::cores::pin("log", cpu);
            run(&shared, &receiver, producer);
        };
        let thread = thread::Builder::new().name("zkfast-log".to_owned()).spawn(main)?;
        Ok((Self { jobs, done, writer }, thread))
    }

    /// True if the disk was quick lately, so that a caller may write the group itself; see [`LogWriter::is_quick`].
    pub fn is_quick(&self) -> bool {
        // The thread has it for a moment while it zeroes what comes next.
        self.writer.try_lock().is_ok_and(|writer| writer.is_quick())
    }

    /// The writer, for a thread that writes a group itself: while the disk is quick, and the log's thread has none.
    pub fn quick_writer(&self) -> Option<Arc<Mutex<LogWriter>>> {
        self.is_quick().then(|| self.writer.clone())
    }

    /// Makes a group durable: at once and `here`, on the caller's thread, which saves two wake-ups, or where the disk is
    /// slow on the thread, which says so in time.
    pub fn group(&mut self, batch: Arc<Batch>, here: bool) -> Option<Done> {
        if here
            && let Ok(mut writer) = self.writer.try_lock()
            && writer.is_quick()
        {
            return Some(writer.group(batch));
        }
        let sent = self.jobs.try_send(batch);
        assert!(sent.is_ok(), "the log takes a group whenever none is in flight: {sent:?}");
        None
    }

    /// A group that the thread has made durable.
    pub fn take_done(&mut self) -> Option<Done> {
        self.done.take()
    }
}

fn run(writer: &Mutex<LogWriter>, jobs: &Receiver<Arc<Batch>>, mut done: Producer<Done>) {
    // A thread that panicked with it has ended the process.
    let lock = || writer.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let pause = lock().pause();
        let job = match pause {
            None => jobs.recv().map_err(RecvTimeoutError::from),
            Some(pause) => jobs.recv_timeout(pause),
        };
        match job {
            Ok(batch) => {
                let mut message = lock().group(batch);
                // There is a place for each group in flight, and one group is in flight.
                while let Err(back) = done.put(message) {
                    message = back;
                    thread::yield_now();
                }
            }
            Err(RecvTimeoutError::Timeout) => lock().idle(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The segment that is being written. Its file is locked: it has one writer.
struct SegmentFile {
    dir: DataDir,
    file: File,
    /// See [`LogFiles::filled`].
    filled: usize,
    /// It is written past the page cache, so that a write takes as long as the disk does.
    is_direct: bool,
    buffer: Aligned,
    /// Makes the segment to come. There is one at a time as long as the process lives: two of them could write to one
    /// file, which may be the log's by then.
    maker: Option<JoinHandle<()>>,
    started: Instant,
}

impl SegmentFile {
    /// Opens a segment that holds groups up to `written`, for this writer alone. Nothing below that is zeroed, also where
    /// a file system that compresses, or a copy that made holes of zeros, holds fewer blocks.
    fn open(dir: DataDir, segment: u32, written: usize) -> Result<Self, LogError> {
        let failed = |(what, error)| LogError { segment, what, error };
        let (file, is_direct, filled) = open(&dir, segment, written).map_err(failed)?;
        let (buffer, started) = (Aligned::default(), Instant::now());
        Ok(Self { dir, file, filled, is_direct, buffer, maker: None, started })
    }
}

/// A segment's file, whether it is written past the page cache, and its bytes whose blocks were written once; or what
/// failed.
fn open(
    dir: &DataDir,
    number: u32,
    written: usize,
) -> Result<(File, bool, usize), (&'static str, io::Error)> {
    let path = dir.log.join(wal::file_name(number));
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let open = |flags| OpenOptions::new().write(true).custom_flags(flags).open(&path);
    let mut is_direct = true;
    let opened = match open(direct) {
        // A file system without direct I/O: the page cache costs CPU and memory, not durability.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            log::warn!(target: "log", "written through the page cache: file={} why={}",
                Text(path.display()), Text("its file system has no direct I/O"));
            is_direct = false;
            open(0)
        }
        opened => opened,
    };
    let file = opened.map_err(|error| ("cannot be opened", error))?;
    // Another writer would write over what is acknowledged.
    files::lock_for_writing(&file).map_err(|error| ("cannot be had for this writer alone", error))?;
    let filled = files::filled_bytes(&path).map_err(|error| ("cannot be looked at", error))?;
    log::debug!(target: "log", "writing {}: from={written} written_once={filled}", path.display());
    Ok((file, is_direct, filled.max(written)))
}

impl LogFiles for SegmentFile {
    fn segment_bytes(&self) -> usize {
        wal::SEGMENT_BYTES
    }

    fn filled(&self) -> usize {
        self.filled
    }

    fn is_direct(&self) -> bool {
        self.is_direct
    }

    fn buffer(&mut self, bytes: usize) -> &mut [u8] {
        self.buffer.bytes(bytes)
    }

    fn write(&mut self, offset: usize, bytes: usize) -> io::Result<()> {
        self.file.write_all_at(self.buffer.bytes(bytes), offset as u64)?;
        self.filled = self.filled.max(offset + bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let zeros = self.buffer.bytes(bytes);
        zeros.fill(0);
        self.file.write_all_at(zeros, self.filled as u64)?;
        self.filled += bytes;
        Ok(())
    }

    fn begin_segment(&mut self, number: u32) -> io::Result<Placed> {
        let placed = files::place_segment(&self.dir, number)?;
        let opened = open(&self.dir, number, 0);
        (self.file, self.is_direct, self.filled) =
            opened.map_err(|(what, error)| io::Error::new(error.kind(), format!("it {what}: {error}")))?;
        Ok(placed)
    }

    fn prepare_spare(&mut self) -> bool {
        if self.maker.as_ref().is_some_and(|maker| !maker.is_finished()) {
            return false;
        }
        let dir = self.dir.clone();
        let made = helper::spawn("zkfast-spare", move || {
            if let Err(error) = files::prepare_spare(&dir) {
                log::warn!(target: "log", "no segment could be prepared ahead: error={}", Text(&error));
            }
        });
        match made {
            Ok(maker) => self.maker = Some(maker),
            Err(error) => {
                log::warn!(target: "log", "no segment is prepared ahead, for lack of a thread: {error}")
            }
        }
        true
    }

    fn shrink(&mut self, bytes: usize) {
        self.buffer.shrink(bytes);
    }

    fn now_us(&self) -> i64 {
        self.started.elapsed().as_micros() as i64
    }
}

/// Memory that a disk can be written from: it begins at a block's boundary.
#[derive(Default)]
struct Aligned(Vec<u8>);

/// Memory that is kept from group to group.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

impl Aligned {
    /// `bytes` of it, with whatever was in it.
    fn bytes(&mut self, bytes: usize) -> &mut [u8] {
        let room = bytes + wal::BLOCK_BYTES;
        if self.0.len() < room {
            // Not grown in place: what it held is of no use, and pages that nothing touches cost nothing.
            self.0 = vec![0; room.next_power_of_two()];
        }
        let start = self.0.as_ptr().align_offset(wal::BLOCK_BYTES);
        &mut self.0[start..start + bytes]
    }

    /// Gives memory back that the last group, of so many bytes, did not need.
    fn shrink(&mut self, bytes: usize) {
        if self.0.len() > BUFFER_BYTES_KEPT && bytes < BUFFER_BYTES_KEPT / 4 {
            self.0 = Vec::new();
        }
    }
}
