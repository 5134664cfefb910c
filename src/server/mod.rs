//! The shell: sockets, files, clocks and threads around the state machines of [`crate::replica`].
//!
//! It decides nothing that a test should see: the [driver](crate::driver) says what is read, written, flushed and sent, and
//! in which order.
//!
//! | cores | roles |
//! |------:|-------|
//! |     1 | everything on it |
//! |     2 | commit and log, view |
//! |     3 | commit and log, view, view |
//! |    4+ | commit, log, views |
//!
//! Views are tasks of executors (`rt`); commit is a plain thread, and so is the log where it has a core of its own. A view
//! that is idle does the commit shard's work for a lone write on its own thread. A member of an ensemble has a thread for each
//! role on any number of cores: its commit thread waits in one `epoll` for the other servers (`peers`, `ensemble`) and for
//! its own. It writes the log itself while the disk is quick; while the disk is slow, a log thread writes and
//! the commit thread goes on (`log_writer`).
//!
//! | what | files |
//! |---|---|
//! | start and end | `start`, `preflight`, `obstacles`, `recovery`; `lifetime` (signals, watchdog for a shard that hangs), `fatal` (exit statuses). A stop goes from `lifetime` (the signal) to the driver (what was accepted becomes durable), `commit_shard` (the log ends), `view_tasks` (last replies) and back |
//! | threads | `cores` (pinning), `commit_shard`, `view_shard`, `view_tasks`, `signs` (of life), `helper`, `rt`, `spsc`, `alarm` (short sleeps) |
//! | clients | `listener`, `admission` (maxCnxns, maxClientCnxns), `shed` (clients that are to go to other servers), `tls` |
//! | other servers | `ensemble`, `peers`, `addresses` (where they are), `reach` |
//! | files | `files` (folders, segments, spares), `bulk` (out of the page cache), `log_writer`, `snapshots`, `java_data` (import, export) |
//! | what people see | `about`, `environment`, `process`, `logging`, `session_log`; `http`, `questions` (to the commit thread), `orders` (to the first view), `restores` and `hand_overs` (to the commit thread), `start_up` (how far a start is); `supervisor` (what systemd hears) |

mod about;
mod addresses;
mod admission;
mod alarm;
mod audit;
mod binding;
mod browse;
mod bulk;
mod client_port;
mod commit_shard;
mod cores;
mod dynamic;
mod ensemble;
mod environment;
mod fatal;
mod files;
mod gate;
mod hand_overs;
mod helper;
mod http;
pub mod java_data;
mod kerberos;
mod levels;
mod lifetime;
mod listener;
mod log_writer;
pub mod logging;
mod mailbox;
mod obstacles;
mod oracle;
mod orders;
mod own_ports;
mod peers;
mod preflight;
mod process;
mod questions;
pub(crate) mod random;
mod reach;
mod recovery;
mod restores;
#[doc(hidden)]
pub mod rt;
mod session_log;
mod shed;
mod signs;
mod snapshots;
#[doc(hidden)]
pub mod spsc;
mod start;
mod start_up;
mod supervisor;
mod tls;
mod view_shard;
mod view_tasks;

pub use fatal::{EXIT_BUG, EXIT_DATA, EXIT_HOST, EXIT_LOG, EXIT_PORT, EXIT_USAGE, exit};
#[cfg(feature = "tool")]
pub(crate) use files::FOLDER;
pub use http::{Asked as HttpAsked, ask as http_ask};
pub use obstacles::obstacles;
pub use start::{hide_new_files, run, tree_settings};

use crate::admin::Traces;
use crate::proto::Zxid;
use crate::replica::Now;
use admission::Admission;
use shed::Shedding;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Running,
    /// Nothing new is taken; what was is finished.
    Stopping,
    /// All that was accepted is durable and published.
    Stopped,
}

/// What all shards see.
#[derive(Debug)]
pub struct Shared {
    phase: AtomicU8,
    admission: Admission,
    /// Counted up by each shard in turn; the commit shard is the last.
    beats: Box<[AtomicU64]>,
    /// Newest txn of the log that is durable.
    durable: AtomicU64,
    /// Groups that a shard has begun and ended to write on its own thread; odd while it does.
    writes: AtomicU64,
    /// Requests that took long, and sampled ones.
    traces: Mutex<Traces>,
    /// Connections that an operator wants to go to other servers.
    shedding: Shedding,
}

impl Shared {
    /// Shared state of `shards` shards, the commit shard included.
    fn new(admission: Admission, shards: usize) -> Self {
        Self {
            phase: AtomicU8::new(0),
            admission,
            beats: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            durable: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            traces: Mutex::default(),
            shedding: Shedding::default(),
        }
    }

    /// The traces of all views.
    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Stopping,
            _ => Phase::Stopped,
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// How many views there are.
    fn views(&self) -> usize {
        self.beats.len() - 1
    }

    fn beat(&self, view: u16) {
        self.beats[usize::from(view)].fetch_add(1, Ordering::Relaxed);
    }

    fn durable(&self) -> Zxid {
        Zxid(self.durable.load(Ordering::Acquire))
    }

    fn set_durable(&self, zxid: Zxid) {
        self.durable.store(zxid.0, Ordering::Release);
    }

    /// A shard writes the log, and stands still for as long as the disk does.
    fn begin_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    fn end_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    fn beat_commit(&self) {
        self.beats[self.beats.len() - 1].fetch_add(1, Ordering::Relaxed);
    }
}

/// Both clocks, from one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now() }
    }

    fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.mono_us(), wall_ms: since_1970.as_millis() as i64 }
    }

    /// The clock that never goes back, alone.
    fn mono_us(&self) -> i64 {
        self.start.elapsed().as_micros() as i64
    }
}
