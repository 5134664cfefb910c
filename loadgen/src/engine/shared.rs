//! What the threads of a run share with each other and with the command that conducts the run.

use crate::engine::tally::Seconds;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// How far a run is. A run passes through all phases in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Threads send, and no reply is measured.
    WarmUp,
    /// Threads send, and what begins now is measured.
    Measure,
    /// Threads begin nothing more and wait for the last replies.
    Drain,
}

/// The state of a run that all its threads see.
#[derive(Debug)]
pub struct Shared {
    started: Instant,
    /// A [`Phase`] as its number.
    phase: AtomicU8,
    /// When measuring began, in nanoseconds since `started`.
    measure_at_ns: AtomicU64,
    finished: AtomicUsize,
    lost_draining: AtomicBool,
    seconds: Mutex<Seconds>,
}

impl Shared {
    /// The state of a run of `threads` threads that begins now.
    pub fn new(threads: usize) -> Self {
        Self {
            started: Instant::now(),
            phase: AtomicU8::new(Phase::WarmUp as u8),
            measure_at_ns: AtomicU64::new(0),
            finished: AtomicUsize::new(0),
            lost_draining: AtomicBool::new(false),
            seconds: Mutex::new(Seconds::new(threads)),
        }
    }

    /// Nanoseconds since the run's start.
    pub fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// When measuring began, in nanoseconds since the run's start.
    pub fn measure_at_ns(&self) -> u64 {
        self.measure_at_ns.load(Ordering::Acquire)
    }

    /// Nanoseconds since measuring began.
    pub fn measured_ns(&self) -> u64 {
        self.now_ns().saturating_sub(self.measure_at_ns())
    }

    /// How far the run is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::WarmUp as u8 => Phase::WarmUp,
            phase if phase == Phase::Measure as u8 => Phase::Measure,
            _ => Phase::Drain,
        }
    }

    /// The seconds that are complete.
    pub fn seconds(&self) -> &Mutex<Seconds> {
        &self.seconds
    }

    /// The seconds, once all threads have ended.
    pub fn into_seconds(self) -> Seconds {
        self.seconds.into_inner().expect("no thread of loadgen panics")
    }

    /// Ends the warm-up: from now on work is measured. Does nothing if the run measures already.
    pub fn measure(&self) {
        if self.phase() == Phase::WarmUp {
            self.measure_at_ns.store(self.now_ns(), Ordering::Release);
            self.phase.store(Phase::Measure as u8, Ordering::Release);
        }
    }

    /// Ends the load: from now on threads begin nothing and wait for the last replies.
    pub fn drain(&self) {
        self.phase.store(Phase::Drain as u8, Ordering::Release);
    }

    /// Notes that a connection is missing that no thread connects again, because the run drains: what other sessions
    /// wait for may never come.
    pub fn note_lost_draining(&self) {
        self.lost_draining.store(true, Ordering::Release);
    }

    /// True after [`note_lost_draining`](Self::note_lost_draining).
    pub fn has_lost_draining(&self) -> bool {
        self.lost_draining.load(Ordering::Acquire)
    }

    /// Notes that a thread has nothing left to do, or failed.
    pub fn finish(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// Number of threads that have nothing left to do, or failed.
    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire)
    }
}
