//! What the kernel says of this process, for metrics.

use crate::admin::Process;
use std::collections::BTreeMap;
use std::fs;

/// Units of CPU time in a second, in `/proc`: `USER_HZ`, which is 100 on every architecture that Rust has a Linux target for
/// but Alpha and IA-64.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads it: some 30 small files of `/proc`, in less than a millisecond. What the kernel hides is 0.
pub fn own_process() -> Process {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, status) = (text("/proc/self/stat"), text("/proc/self/status"));
    let own = Stat::parse(&stat).unwrap_or_default();
    let boot_seconds = field(&text("/proc/stat"), "btime ").unwrap_or(0);
    let kib = |name| field(&status, name).unwrap_or(0) << 10;
    let (open_fds, max_fds) = descriptors();
    Process {
        cpu_seconds: own.cpu_seconds,
        start_time_seconds: boot_seconds as f64 + own.start_seconds,
        open_fds,
        max_fds,
        virtual_memory_bytes: kib("VmSize:"),
        resident_memory_bytes: kib("VmRSS:"),
        threads: threads(),
    }
}

/// File descriptors that are open, and how many may be.
pub fn descriptors() -> (u64, u64) {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64);
    (open, rlimit::Resource::NOFILE.get().map_or(0, |(soft, _)| soft))
}

/// Seconds of CPU by the thread's name.
fn threads() -> Vec<(String, f64)> {
    let mut threads: BTreeMap<String, f64> = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        // One that ended meanwhile has no file.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        if let Some(stat) = Stat::parse(&stat) {
            *threads.entry(stat.name).or_default() += stat.cpu_seconds;
        }
    }
    threads.into_iter().collect()
}

/// What is taken of a `stat` of `/proc`. Source: proc_pid_stat(5).
#[derive(Debug, Default, PartialEq)]
struct Stat {
    name: String,
    /// In user mode and in the kernel.
    cpu_seconds: f64,
    /// After the boot.
    start_seconds: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may have blanks and parentheses.
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // `fields` begins with the third one of the manual.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            name: name.to_owned(),
            cpu_seconds: (ticks(14)? + ticks(15)?) as f64 / TICKS_PER_SECOND,
            start_seconds: ticks(22)? as f64 / TICKS_PER_SECOND,
        })
    }
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    /// The kernel's line with a name that has blanks and parentheses; one that is cut.
    #[test]
    fn stat() {
        let line = "7 (a (b) c) S 1 7 7 0 -1 4194560 900 0 0 0 123 45 0 0 20 0 9 0 6000 1000 50 1 2";
        let expected = Stat { name: "a (b) c".to_owned(), cpu_seconds: 1.68, start_seconds: 60.0 };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1 7"), None);
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
    }

    /// The figures are this process's: it uses CPU time, began before now, and has memory and files.
    #[test]
    fn own() {
        let began = Instant::now();
        let spin = || while began.elapsed() < Duration::from_millis(80) {};
        let is_done = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("spins (now)".to_owned());
            thread
                .spawn_scoped(scope, || {
                    spin();
                    is_done.wait();
                    is_done.wait();
                })
                .expect("a thread");
            is_done.wait();
            let process = own_process();
            is_done.wait();
            let now_seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
            let age_seconds = now_seconds - process.start_time_seconds;
            assert!((-2.0..86_400.0).contains(&age_seconds), "started {age_seconds} s ago");
            let spins = process.threads.iter().find(|(name, _)| name == "spins (now)").expect("the thread");
            assert!(spins.1 > 0.0 && spins.1 <= process.cpu_seconds, "{process:?}");
            assert!(process.open_fds > 2 && process.open_fds < process.max_fds, "{process:?}");
            assert!(process.resident_memory_bytes > 1 << 20, "{process:?}");
            assert!(process.virtual_memory_bytes > process.resident_memory_bytes, "{process:?}");
        });
    }
}
