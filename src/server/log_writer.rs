//! Writes the log: one group commit in flight, each made durable before the next begins.
//!
//! It blocks in `pwrite` and `fdatasync`, so it is at home on a plain thread: the commit shard's own, or
//! one of its own where that must go on meanwhile. Through io_uring the fdatasync goes to a kernel worker
//! anyway, and each of the two costs the wake-up of its completion.
//!
//! Any failed write or fsync ends the process: the kernel may have dropped the pages, and a second
//! fsync would say that all is well.

use super::files::{self, DataDir, Placed};
use super::logging::{Text, provoked};
use super::spsc::{Consumer, Notify, Producer, channel};
use super::{fatal, helper};
use crate::wal::{self, Batch, GroupEncoder, Position};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A group that is durable.
#[derive(Debug)]
pub struct Done {
    /// What was written.
    pub batch: Arc<Batch>,
    /// How long write and fdatasync took together.
    pub took: Duration,
    /// How long the fdatasync took.
    pub fsync: Duration,
    /// Where the log ends: all before is durable.
    pub end: Position,
    /// How many bytes the disk writes in twice the time of a flush, lately.
    pub balanced_bytes: usize,
}

/// Bytes ahead of the writer that are zeroed at once when it gets there. Blocks that were never written
/// cost twice the time of those that were.
const FILL_BYTES: usize = 1 << 20;

/// Groups of this size and more take their blocks as they are. A block that was never written costs its group a second
/// write to the disk, of the file system's own records; a group this large takes longer to write than that, and zeros
/// before it would double what the disk has to take.
const LARGE_GROUP_BYTES: usize = 256 << 10;

/// How long the log must have been idle for the rest of its segment to be zeroed, step by step.
const FILL_PAUSE: Duration = Duration::from_millis(5);

/// How often to look whether there was a first group, which another thread may have written. Before that nothing is
/// zeroed: the first group may be long in coming, and the disk of a server that joins has the leader's tree to write.
const FIRST_GROUP_PAUSE: Duration = Duration::from_secs(1);

/// After a step it rests so many times as long as that took: others may need the disk, and a slow one has no time to spare.
const FILL_REST: u32 = 7;

/// A group that took longer than this shows a disk that is not to be waited for.
const QUICK: Duration = Duration::from_millis(2);

/// For how many times as long as that group took it is not waited for: a thread that has others to serve stands still for
/// a twentieth of its time at most.
const DISTRUST: u32 = 20;

/// Groups may grow until they take so many times as long to be written as to be flushed.
const BALANCE: u128 = 2;

/// fsyncs longer than this are logged. Source: `fsync.warningthresholdms`.
pub const FSYNC_WARN: Duration = Duration::from_secs(1);

/// The log's writing end.
pub struct LogWriter {
    dir: DataDir,
    encoder: GroupEncoder,
    segment: Segment,
    buffer: Aligned,
    spare: Spare,
    /// Makes the segment to come. There is one at a time as long as the process lives: two of them could write to one
    /// file, which may be the log's by then.
    maker: Option<JoinHandle<()>>,
    /// Groups, and their bytes, that this segment has got from this writer.
    groups: usize,
    group_bytes: usize,
    /// The disk was full when there was time to fill ahead.
    no_room: bool,
    /// When the next step of filling ahead may begin; `None` before this writer's first group.
    fill_at: Option<Instant>,
    /// See [`Done::balanced_bytes`].
    balanced_bytes: usize,
    /// Until when the disk is not to be waited for.
    slow_until: Option<Instant>,
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
    /// Starts the thread on `core`; it channels `notify`. It ends once this is dropped.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(core: usize, writer: LogWriter, notify: Notify) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, receiver) = sync_channel(1);
        let (producer, done) = channel(2, notify, Notify::default());
        let writer = Arc::new(Mutex::new(writer));
        let shared = writer.clone();
        let main = move || {
            super::pin("log", core);
            run(&shared, &receiver, producer);
        };
        let thread = thread::Builder::new().name("zkfast-log".to_owned()).spawn(main)?;
        Ok((Self { jobs, done, writer }, thread))
    }

    /// Whether nobody is to be afraid of waiting for a group; see [`LogWriter::is_quick`].
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

/// Whether the segment to come is being prepared.
#[derive(PartialEq, Eq)]
enum Spare {
    /// Once half of the current one is written.
    AtHalf,
    /// As soon as may be: there was none when this segment began.
    Soon,
    /// It was asked for.
    AskedFor,
}

/// The segment that is being written. Its file is locked: it has one writer.
struct Segment {
    file: File,
    number: u32,
    /// Bytes from the start whose blocks were written once.
    filled: usize,
    /// It is written past the page cache, so that a write takes as long as the disk does.
    is_direct: bool,
}

impl LogWriter {
    /// Goes on where the log ends.
    pub fn new(dir: DataDir, encoder: GroupEncoder) -> Self {
        let segment = Segment::open(&dir, encoder.segment(), encoder.offset());
        Self {
            dir,
            encoder,
            segment,
            buffer: Aligned::default(),
            spare: Spare::AtHalf,
            maker: None,
            groups: 0,
            group_bytes: 0,
            no_room: false,
            fill_at: None,
            balanced_bytes: 0,
            slow_until: None,
        }
    }

    /// Whether who has others to serve may as well wait for the next group: none was slow lately, see [`QUICK`].
    pub fn is_quick(&self) -> bool {
        self.slow_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Whether nothing is to be done ahead.
    fn is_filled(&self) -> bool {
        self.segment.is_filled() || self.no_room
    }

    /// How long to wait for a group before [`LogWriter::idle`] has something to do; `None` for good.
    fn pause(&self) -> Option<Duration> {
        let until = |at: Instant| FILL_PAUSE.max(at - Instant::now());
        (!self.is_filled()).then(|| self.fill_at.map_or(FIRST_GROUP_PAUSE, until))
    }

    /// Uses a moment in which nothing is to be written. Where the disk is full nobody waits for these
    /// zeros yet, and there may be room again when somebody does.
    pub fn idle(&mut self) {
        let begun = Instant::now();
        if self.is_filled() || self.fill_at.is_none_or(|at| begun < at) {
            return;
        }
        let filled = self.segment.fill(&mut self.buffer);
        let ended = Instant::now();
        self.fill_at = Some(ended + FILL_REST * (ended - begun));
        match filled {
            Err(error) if fatal::is_full(&error) => {
                self.no_room = true;
                log::warn!(target: "log", "the disk is full: bytes_left={} then={} do={}",
                    self.segment.filled - self.encoder.offset(), Text("the server ends"), Text("free some space"));
            }
            filled => self.filled(filled),
        }
    }

    fn filled(&self, result: io::Result<()>) {
        if let Err(error) = result {
            fatal::log_failed(&self.dir.log, self.segment.number, "cannot be filled ahead", &error);
        }
    }

    /// Makes one group durable: records or a marker.
    pub fn group(&mut self, batch: Arc<Batch>) -> Done {
        if !self.encoder.fits(&batch) {
            self.next_segment();
        }
        assert!(self.encoder.fits(&batch), "a group of {} bytes is larger than a segment", batch.bytes());
        let bytes = self.encoder.group_bytes(&batch);
        let end = self.encoder.offset() + bytes;
        while end > self.segment.filled && bytes < LARGE_GROUP_BYTES {
            let filled = self.segment.fill(&mut self.buffer);
            self.filled(filled);
            self.no_room = false;
        }
        (self.groups, self.group_bytes) = (self.groups + 1, self.group_bytes + bytes);
        self.make_spare();
        let started = Instant::now();
        let buffer = self.buffer.bytes(bytes);
        let written = self.encoder.encode(&batch, buffer);
        let failed = |what, error| fatal::log_failed(&self.dir.log, written.segment, what, &error);
        if let Err(error) = self.segment.file.write_all_at(buffer, written.offset as u64) {
            failed("write failed", error);
        }
        self.segment.filled = self.segment.filled.max(end);
        let fsync_started = Instant::now();
        if let Err(error) = self.segment.file.sync_data() {
            failed("fdatasync failed", error);
        }
        let ended = Instant::now();
        let (took, fsync) = (ended - started, ended - fsync_started);
        self.fill_at = self.fill_at.max(Some(ended + FILL_PAUSE));
        if took >= QUICK {
            self.slow_until = self.slow_until.max(Some(ended + DISTRUST * took));
        }
        if fsync >= FSYNC_WARN {
            let line = format_args!(
                "fdatasync was slow: took_ms={} limit_ms={} group_bytes={} records={} do={}",
                fsync.as_millis(),
                FSYNC_WARN.as_millis(),
                written.bytes,
                batch.records(),
                Text("see whether others share the disk")
            );
            provoked(log::Level::Warn, "log", "fdatasync was slow", "slow disk", line);
        }
        self.buffer.shrink(bytes);
        // What a small group takes to be written says little of how fast the disk is, and what a page cache takes nothing.
        if bytes >= LARGE_GROUP_BYTES && self.segment.is_direct {
            let write_us = (took - fsync).as_micros().max(1);
            let balanced = bytes as u128 * BALANCE * fsync.as_micros() / write_us;
            let balanced = usize::try_from(balanced).unwrap_or(usize::MAX).min(wal::SEGMENT_BYTES);
            // One slow flush among quick ones changes little.
            self.balanced_bytes = self.balanced_bytes / 4 * 3 + balanced / 4;
        }
        Done { batch, took, fsync, end: written.end(), balanced_bytes: self.balanced_bytes }
    }

    /// Has the segment to come made ahead when it is time and nothing makes one.
    fn make_spare(&mut self) {
        let is_due = match self.spare {
            Spare::AtHalf => self.encoder.offset() > wal::SEGMENT_BYTES / 2,
            Spare::Soon => true,
            Spare::AskedFor => false,
        };
        // Large groups do without zeros, and need all that the disk can take for themselves.
        let is_wanted = self.group_bytes / self.groups < LARGE_GROUP_BYTES;
        if !is_due || !is_wanted || self.maker.as_ref().is_some_and(|maker| !maker.is_finished()) {
            return;
        }
        self.spare = Spare::AskedFor;
        let dir = self.dir.clone();
        // Without one, the next segment begins as a new file: slower, and no less safe.
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
    }

    fn next_segment(&mut self) {
        let number = self.encoder.begin_segment();
        let placed = files::place_segment(&self.dir, number).unwrap_or_else(|error| {
            fatal::log_failed(&self.dir.log, number, "cannot begin a segment", &error)
        });
        self.segment = Segment::open(&self.dir, number, 0);
        self.spare = if placed == Placed::New { Spare::Soon } else { Spare::AtHalf };
        (self.groups, self.group_bytes, self.no_room) = (0, 0, false);
    }
}

impl Segment {
    /// Opens a segment that holds groups up to `written`, for this writer alone. Nothing below that is zeroed, also where
    /// a file system that compresses, or a copy that made holes of zeros, holds fewer blocks.
    fn open(dir: &DataDir, number: u32, written: usize) -> Self {
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
        let file =
            opened.unwrap_or_else(|error| fatal::log_failed(&dir.log, number, "cannot be opened", &error));
        // Whatever else wrote to it would write over what is acknowledged.
        if let Err(error) = files::lock_for_writing(&file) {
            fatal::log_failed(&dir.log, number, "cannot be had for this writer alone", &error);
        }
        match files::filled_bytes(&path) {
            Ok(filled) => {
                log::debug!(target: "log", "writing {}: from={written} written_once={filled}", path.display());
                Self { file, number, filled: filled.max(written), is_direct }
            }
            Err(error) => fatal::log_failed(&dir.log, number, "cannot be looked at", &error),
        }
    }

    fn is_filled(&self) -> bool {
        self.filled == wal::SEGMENT_BYTES
    }

    /// Zeroes what comes next.
    fn fill(&mut self, buffer: &mut Aligned) -> io::Result<()> {
        let bytes = FILL_BYTES.min(wal::SEGMENT_BYTES - self.filled);
        let zeros = buffer.bytes(bytes);
        zeros.fill(0);
        self.file.write_all_at(zeros, self.filled as u64)?;
        self.filled += bytes;
        Ok(())
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
