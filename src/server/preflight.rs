//! Checks that the host grants what the server needs, before the first executor starts, so that an error names it.

use super::logging::Text;
use io_uring::{IoUring, opcode};
use rlimit::Resource;
use std::fs;

/// Locked memory that an executor takes: rings and registered buffers. Measured: 205 to 256 KiB.
const MEMLOCK_PER_SHARD: u64 = 256 << 10;

/// glommio refuses to start an executor below this.
const MEMLOCK_MIN: u64 = 512 << 10;

/// Descriptors that are kept for files, directories and executors. Measured: 14 with one view, 4 more for each further
/// view.
const DESCRIPTORS_KEPT: u64 = 32;
const DESCRIPTORS_PER_SHARD: u64 = 8;

/// Raises the limits on descriptors and locked memory as far as allowed. Returns the number of connections for which
/// there are descriptors. `on_glommio` is true if the views stand on glommio, which locks memory.
///
/// # Errors
/// What the host does not grant, and how to grant it.
pub fn check(shards: usize, on_glommio: bool) -> Result<u32, String> {
    for resource in [Resource::MEMLOCK, Resource::NOFILE] {
        if let Ok((_, hard)) = resource.get() {
            // If this fails, the checks below or the lack of descriptors show it.
            let _ = resource.set(hard, hard);
        }
    }
    let (descriptors, _) = Resource::NOFILE.get().unwrap_or((u64::MAX, u64::MAX));
    let connections = descriptors.saturating_sub(DESCRIPTORS_KEPT + DESCRIPTORS_PER_SHARD * shards as u64);
    if connections == 0 {
        return Err(format!("{descriptors} descriptors are too few: raise nofile (ulimit -n, LimitNOFILE=)"));
    }
    if descriptors < 4096 {
        log::warn!(target: "server", "few descriptors: nofile={descriptors} connections_max={connections} do={}",
            Text("raise nofile (ulimit -n, LimitNOFILE=)"));
    }
    if on_glommio {
        uring(shards)?;
    }
    Ok(u32::try_from(connections).unwrap_or(u32::MAX))
}

/// Fails if the host does not grant what glommio's executors need, which serve where the kernel is older than 6.0.
fn uring(shards: usize) -> Result<(), String> {
    let (memlock, _) = Resource::MEMLOCK.get().unwrap_or((u64::MAX, u64::MAX));
    let need = MEMLOCK_MIN.max(MEMLOCK_PER_SHARD * shards as u64);
    if memlock < need {
        return Err(format!(
            "locked memory is limited to {memlock} bytes, {shards} shards on io_uring need {need}: raise it (ulimit -l, \
             LimitMEMLOCK= in a systemd unit, --ulimit memlock in a container), or name fewer --cores"
        ));
    }
    probe()
}

fn probe() -> Result<(), String> {
    let ring = IoUring::new(4).map_err(|error| {
        let why = match error.raw_os_error() {
            Some(1) => {
                let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
                match disabled.trim() {
                    "1" | "2" => "the sysctl kernel.io_uring_disabled forbids it: set it to 0",
                    _ => "a seccomp profile forbids it: allow io_uring_setup, io_uring_enter and io_uring_register",
                }
            }
            Some(38) => "the kernel has none (or a sandbox hides it): Linux 5.8 or newer is needed",
            Some(12) => "locked memory is used up, by all processes of this user together: raise memlock",
            _ => "unexpected",
        };
        format!("io_uring is refused: {error}: {why}")
    })?;
    let mut known = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(|error| format!("io_uring cannot be probed: {error}: Linux 5.8 or newer is needed"))?;
    let needed = [
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("poll_add", opcode::PollAdd::CODE),
        ("accept", opcode::Accept::CODE),
        ("openat", opcode::OpenAt::CODE),
        ("statx", opcode::Statx::CODE),
    ];
    match needed.iter().find(|(_, code)| !known.is_supported(*code)) {
        Some((name, _)) => Err(format!("io_uring lacks {name}: Linux 5.8 or newer is needed")),
        None => Ok(()),
    }
}

/// The CPUs that this process may run on.
///
/// # Errors
/// `/proc/self/status` cannot be read.
pub fn allowed_cores() -> Result<Vec<usize>, String> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let list = list.ok_or("/proc/self/status has no Cpus_allowed_list")?;
    crate::config::parse_cores(list.trim()).map_err(|error| error.to_string())
}
