//! Ways to write a disk, compared in turn: `cargo bench --bench disk -- flush`, and `-- bulk`.
//!
//! `flush` makes groups of the log durable; `bulk` writes a snapshot beside a log. Both print one JSON line for each way
//! and round. `--test` runs each way once and briefly; `--rounds`, `--flushes` (of `flush`), `--mib` (of `bulk`) and
//! `--dir` set how much and where.

#![allow(clippy::print_stdout, reason = "the program prints its results")]

mod bulk;
mod flush;

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Where direct I/O may begin: in memory and in a file.
const ALIGNMENT: usize = 4096;

fn main() {
    let settings = Settings::from_arguments();
    let path = settings.dir.join(format!("zkfast-disk-{}", std::process::id()));
    if settings.wants("flush") {
        flush::run(&settings, &path).expect("the disk takes writes");
    }
    if settings.wants("bulk") {
        bulk::run(&settings, &path).expect("the disk takes writes");
    }
}

/// What the arguments say.
struct Settings {
    subjects: Vec<String>,
    rounds: usize,
    flushes: usize,
    mib: usize,
    dir: PathBuf,
}

impl Settings {
    fn from_arguments() -> Self {
        let dir = env!("CARGO_TARGET_TMPDIR").into();
        let mut settings = Self { subjects: Vec::new(), rounds: 15, flushes: 400, mib: 256, dir };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number =
                || arguments.next().and_then(|value| value.parse().ok()).expect("a number follows");
            match argument.as_str() {
                "--test" => (settings.rounds, settings.flushes, settings.mib) = (1, 3, 2),
                "--rounds" => settings.rounds = number(),
                "--flushes" => settings.flushes = number(),
                "--mib" => settings.mib = number(),
                "--dir" => settings.dir = arguments.next().expect("a folder follows").into(),
                // cargo adds flags.
                flag if flag.starts_with("--") => {}
                subject => settings.subjects.push(subject.to_owned()),
            }
        }
        settings
    }

    fn wants(&self, subject: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|wanted| wanted == subject)
    }
}

/// Percentiles of times, as fields of a JSON object.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let us = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000].as_nanos() as f64 / 1000.0;
    format!(
        "\"p50_us\":{:.1},\"p90_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1}",
        us(500),
        us(900),
        us(990),
        us(999),
        us(1000)
    )
}

/// CPU time of all threads of the process, those of the kernel's workers for its rings included; or of this thread.
fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU time of the kernel's own threads: some of what completes a write or flushes is done by them. What else the machine
/// does counts as well.
fn kernel_threads_time() -> Duration {
    let of_thread = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        // After the name, which is in brackets: the state, and then the parent, which is kthreadd.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        let ran = fs::read_to_string(task.path().join("schedstat")).ok().filter(|_| parent == "2")?;
        ran.split_whitespace().next()?.parse::<u64>().ok()
    };
    let tasks = fs::read_dir("/proc").into_iter().flatten().flatten();
    Duration::from_nanos(tasks.filter_map(of_thread).sum())
}

/// Context switches of all threads of the process that there are.
fn context_switches() -> u64 {
    let of_thread = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        counts.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>()
    };
    fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(of_thread).sum()
}
