//! The part of a run that waits: warm-up, measured time, and what servers and loadgen used in the measured time.

use crate::engine::shared::Shared;
use crate::failure::Failure;
use crate::report::outcome::{ServerUse, rounded};
use crate::servers::usage::{self, Usage};
use crate::workloads::plan::Plan;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What the servers and loadgen used in the measured time.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Length of the measured time.
    pub seconds: f64,
    /// What the servers used; none if one of their processes has ended, or none are known.
    pub server: Option<Usage>,
    /// Flushes of the servers' logs; none if a server does not report them.
    pub fsyncs: Option<u64>,
    /// What loadgen used.
    pub client: Usage,
}

/// How often a run is checked for its end while it lasts.
const CHECK: Duration = Duration::from_millis(20);

/// Waits for the warm-up, then for `seconds`; ends early once the threads have nothing left to do.
pub fn conduct(
    shared: &Shared,
    plan: &Plan,
    pids: &[u32],
    warmup: f64,
    seconds: f64,
) -> Result<Measured, Failure> {
    let mut progress = Progress::new(seconds);
    let mut wait = |seconds: f64, enough: usize| {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while shared.finished() < enough {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(CHECK));
            progress.show(shared);
        }
    };
    wait(warmup, 1);
    let own = [std::process::id()];
    let fsyncs = usage::fsyncs(&plan.servers);
    let (server, client) = (Usage::of(pids), Usage::of(&own).map_err(Failure::Usage)?);
    let started = Instant::now();
    shared.measure();
    wait(seconds, plan.threads);
    shared.drain();
    let seconds = started.elapsed().as_secs_f64();
    progress.end();
    // A server that has ended in the meantime has no figures; the run still has its own.
    let server = server.ok().zip(Usage::of(pids).ok()).map(|(before, after)| after - before);
    let client = Usage::of(&own).map_err(Failure::Usage)? - client;
    let fsyncs = fsyncs.and_then(|before| usage::fsyncs(&plan.servers)?.checked_sub(before));
    Ok(Measured { seconds, server: server.filter(|_| !pids.is_empty()), fsyncs, client })
}

/// The line that a terminal shows while a run lasts.
struct Progress {
    seconds: f64,
    /// Seconds that were shown; none if stderr is no terminal.
    shown: Option<usize>,
}

impl Progress {
    /// Shows nothing if stderr is no terminal.
    fn new(seconds: f64) -> Self {
        Self { seconds, shown: std::io::stderr().is_terminal().then_some(0) }
    }

    fn show(&mut self, shared: &Shared) {
        let Some(shown) = self.shown else { return };
        let last = shared.seconds().lock().expect("no thread of loadgen panics").last();
        let Some((count, second)) = last.filter(|(count, _)| *count > shown) else { return };
        self.shown = Some(count);
        let lost = if second.lost > 0 { format!(", {} lost", second.lost) } else { String::new() };
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{count} of {:.0} s: {}/s, p50 {:.0} us, p99 {:.0} us, max {:.0} us{lost}",
            self.seconds,
            second.all.ops,
            second.all.p50_us,
            second.all.p99_us,
            second.all.max_us,
        );
    }

    fn end(&self) {
        if self.shown.is_some_and(|shown| shown > 0) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Usage of the servers as a record, per operation.
pub fn server_use(usage: &Usage, ops: u64, seconds: f64) -> ServerUse {
    let per_op = |value: u64| rounded(value as f64 / ops as f64);
    ServerUse {
        server_cpu_us_per_op: per_op(usage.user_us + usage.sys_us),
        server_user_us_per_op: per_op(usage.user_us),
        server_sys_us_per_op: per_op(usage.sys_us),
        server_cores: rounded((usage.user_us + usage.sys_us) as f64 / 1e6 / seconds),
        server_voluntary_switches_per_op: per_op(usage.switches),
        server_involuntary_switches_per_op: per_op(usage.preemptions),
        server_write_bytes_per_op: per_op(usage.write_bytes),
        server_rss_bytes: usage.rss_bytes,
    }
}
