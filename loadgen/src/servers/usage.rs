//! What processes used, from `/proc`, and the flushes that servers count themselves.

use crate::servers::four_letter_word;
use std::fs;
use std::ops::Sub;

/// What processes used since they started, over all their threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode, microseconds, in steps of a clock tick (10 ms).
    pub user_us: u64,
    /// CPU time in the kernel, microseconds, in the same steps.
    pub sys_us: u64,
    /// Voluntary context switches of the threads that are alive.
    pub switches: u64,
    /// Involuntary context switches of the threads that are alive.
    pub preemptions: u64,
    /// Bytes that went to the block layer: `write_bytes` without those that were truncated before.
    pub write_bytes: u64,
    /// Resident memory now, in bytes.
    pub rss_bytes: u64,
}

impl Usage {
    /// Reads the sum over `pids`.
    ///
    /// # Errors
    /// The message names the process that does not exist, or that this user may not inspect.
    pub fn of(pids: &[u32]) -> Result<Self, String> {
        let mut sum = Self::default();
        for pid in pids {
            let read = |name: &str| {
                fs::read_to_string(format!("/proc/{pid}/{name}"))
                    .map_err(|error| format!("process {pid}: /proc/{pid}/{name}: {error}"))
            };
            let (user, sys) =
                cpu_ticks(&read("stat")?).ok_or(format!("process {pid}: no CPU time in stat"))?;
            let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second();
            sum.user_us += user * tick_us;
            sum.sys_us += sys * tick_us;
            sum.rss_bytes += field(&read("status")?, "VmRSS:").unwrap_or(0) * 1024;
            let io = read("io")?;
            let cancelled = field(&io, "cancelled_write_bytes:").unwrap_or(0);
            sum.write_bytes += field(&io, "write_bytes:").unwrap_or(0).saturating_sub(cancelled);
            // `status` of the process has the switches of its first thread only.
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                // A thread may end between the listing and the read.
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                sum.switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
                sum.preemptions += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            }
        }
        Ok(sum)
    }
}

impl Sub for Usage {
    type Output = Self;

    /// The difference of two readings; memory is that of the later one.
    fn sub(self, before: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(before.user_us),
            sys_us: self.sys_us.saturating_sub(before.sys_us),
            switches: self.switches.saturating_sub(before.switches),
            preemptions: self.preemptions.saturating_sub(before.preemptions),
            write_bytes: self.write_bytes.saturating_sub(before.write_bytes),
            rss_bytes: self.rss_bytes,
        }
    }
}

/// How often `servers` flushed their logs since they started, by `zk_cnt_fsynctime` of `mntr`; `None` if a server does
/// not report it.
pub fn fsyncs(servers: &[String]) -> Option<u64> {
    servers.iter().map(|server| fsyncs_of(&four_letter_word::ask(server, "mntr")?)).sum()
}

fn fsyncs_of(mntr: &str) -> Option<u64> {
    field(mntr, "zk_cnt_fsynctime\t")
}

/// utime and stime, fields 14 and 15 of `/proc/PID/stat`. The second field, the name, may have spaces and parentheses
/// in it: counting starts after the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The number in the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPU time is read from the right fields if the name of the process has parentheses in it.
    #[test]
    fn name_with_parenthesis() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 11 12 13 14 777 888 1 2 20 0 1 0 100 200 300";
        assert_eq!(cpu_ticks(stat), Some((777, 888)));
    }

    /// Flushes are read from `mntr`; a server that does not report them has none, not zero.
    #[test]
    fn fsyncs_of_mntr() {
        let answer = "zk_version\t3.9.4\nzk_sum_fsynctime\t9\nzk_cnt_fsynctime\t12\n";
        assert_eq!(fsyncs_of(answer), Some(12));
        assert_eq!(fsyncs_of("mntr is not executed because it is not in the whitelist."), None);
    }

    /// loadgen sees the CPU time that it uses itself; a process that does not exist is an error that names it.
    #[test]
    fn own_process() {
        let own = [std::process::id()];
        let before = Usage::of(&own).expect("our own process");
        let mut sum = 0u64;
        while (Usage::of(&own).expect("our own process") - before).user_us == 0 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(before.rss_bytes > 100_000, "{before:?} {sum}");
        assert!(Usage::of(&[u32::MAX]).is_err_and(|error| error.contains("4294967295")));
    }
}
