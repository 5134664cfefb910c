//! A machine: its disk, its clocks, and the process that runs on it or does not.

use super::disk::SimDisk;
use super::event::Event;
use super::process::Process;
use super::stop::Stop;
use crate::replica::Now;
use std::collections::VecDeque;

/// Segments are short, so that there are some.
pub const SEGMENT_BYTES: usize = 512 << 10;

/// A machine and its clocks.
#[derive(Debug)]
pub(crate) struct Server {
    pub disk: SimDisk,
    pub process: Option<Process>,
    pub incarnation: u64,
    /// The machine is on, whether the process runs or not.
    pub is_on: bool,
    /// Nothing is done until then; what happens meanwhile waits.
    pub stalled_until_us: u64,
    pub(super) backlog: VecDeque<Event>,
    /// Of the clock that never goes back: how much faster than time, in millionths.
    pub drift_ppm: i64,
    mono_base_us: i64,
    /// Of the wall's clock.
    pub wall_offset_ms: i64,
    /// The latest that it was when the process ended or the clock jumped.
    pub latest_wall_ms: i64,
    /// Steps until the process stops.
    pub fuse: Option<(u64, Stop)>,
    pub is_observer: bool,
    /// Starts that found damage.
    pub repairs: u32,
}

impl Server {
    pub fn new(seed: u64, is_observer: bool) -> Self {
        Self {
            disk: SimDisk::new(SEGMENT_BYTES, seed),
            process: None,
            incarnation: 0,
            is_on: true,
            stalled_until_us: 0,
            backlog: VecDeque::new(),
            drift_ppm: 0,
            mono_base_us: (seed % 1_000_000_007) as i64 * 1000,
            wall_offset_ms: 0,
            latest_wall_ms: 0,
            fuse: None,
            is_observer,
            repairs: 0,
        }
    }

    /// What its clocks say when so many microseconds have passed.
    pub fn now(&self, now_us: u64) -> Now {
        let now_us = now_us as i64;
        Now {
            mono_us: self.mono_base_us + now_us + now_us * self.drift_ppm / 1_000_000,
            wall_ms: 1_700_000_000_000 + now_us / 1000 + self.wall_offset_ms,
        }
    }
}
