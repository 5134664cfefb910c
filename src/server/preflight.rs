//! Checks that the host grants what the server needs, before the first executor starts, so that an error names it.

use super::logging::Text;
use super::{gate, peers};
use crate::config::Config;
use crate::zab::{election, leader};
use io_uring::{IoUring, opcode};
use rlimit::Resource;
use rustix::io::Errno;
use std::{fs, io};

/// Locked memory that an executor takes: rings and registered buffers. Measured: 205 to 256 KiB.
const MEMLOCK_PER_SHARD: u64 = 256 << 10;

/// glommio refuses to start an executor below this.
const MEMLOCK_MIN: u64 = 512 << 10;

/// Descriptors that are kept for files, directories and executors. Measured: 14 with one view, 4 more for each further
/// view.
const DESCRIPTORS_KEPT: u64 = 32;
const DESCRIPTORS_PER_SHARD: u64 = 8;

/// Connections of HTTP clients that may be open at once, of each port.
pub const HTTP_CONNECTIONS_MAX: usize = 32;

/// Descriptors that are kept for a port of HTTP: its connections, and what its thread needs.
const DESCRIPTORS_HTTP: u64 = HTTP_CONNECTIONS_MAX as u64 + 8;

/// Descriptors that are kept for each other server: its connections to both ports, and one that takes the place of each.
const DESCRIPTORS_PER_SERVER: u64 = 4;

/// Descriptors that are kept for all but clients, with so many views. A server that cannot open its log's next segment ends:
/// what connects to its ports must not be able to cause that.
fn descriptors_kept(config: &Config, views: usize) -> u64 {
    let own = DESCRIPTORS_KEPT + DESCRIPTORS_PER_SHARD * views as u64;
    let http = DESCRIPTORS_HTTP * config.http_ports() as u64;
    if !config.is_distributed() {
        return own + http;
    }
    // A connection is with TLS, then SASL, then the replica: each counts those that it has.
    let unexpected = election::UNEXPECTED_MAX
        + leader::STRANGERS_MAX
        + if config.quorum.tls.is_some() { peers::OPENING_MAX } else { 0 }
        + if config.quorum_sasl.is_some() { gate::STRANGERS_MAX } else { 0 };
    own + http + DESCRIPTORS_PER_SERVER * config.quorum.ensemble.servers.len() as u64 + unexpected as u64
}

/// Raises the limits on descriptors and locked memory as far as allowed. Returns the number of connections for which
/// there are descriptors, with so many views.
///
/// # Errors
/// What the host does not grant, and how to grant it.
pub fn check(config: &Config, views: usize) -> Result<u32, String> {
    for resource in [Resource::MEMLOCK, Resource::NOFILE] {
        if let Ok((_, hard)) = resource.get() {
            // If this fails, the checks below or the lack of descriptors show it.
            let _ = resource.set(hard, hard);
        }
    }
    let (descriptors, _) = Resource::NOFILE.get().unwrap_or((u64::MAX, u64::MAX));
    let kept = descriptors_kept(config, views);
    let connections = descriptors.saturating_sub(kept);
    if connections == 0 {
        return Err(format!(
            "{descriptors} descriptors are too few, {kept} are not for clients: raise nofile (ulimit -n, LimitNOFILE=)"
        ));
    }
    if descriptors < 4096 {
        log::warn!(target: "server", "few descriptors: nofile={descriptors} connections_max={connections} do={}",
            Text("raise nofile (ulimit -n, LimitNOFILE=)"));
    }
    Ok(u32::try_from(connections).unwrap_or(u32::MAX))
}

/// Keeps private keys and passwords out of core dumps: a limit of 1 byte, with which the kernel writes no file and, unlike
/// with 0, gives none to the program of `core_pattern` either. `PR_SET_DUMPABLE` would do so as well, but would give `/proc/PID`
/// to root, where monitoring and this process itself read. Source: `do_coredump`, Linux.
pub fn leave_no_core_dump() {
    let hard = Resource::CORE.get().map_or(u64::MAX, |(_, hard)| hard);
    match Resource::CORE.set(1, hard) {
        Ok(()) => {
            log::info!(target: "server", "core dumps: off why={}", Text("private keys or passwords are configured"))
        }
        Err(error) => {
            log::warn!(target: "server", "core dumps may be left, with keys and passwords: error={} do={}",
            Text(&error.to_string()), Text("set the hard limit to 1 at least (ulimit -Hc, LimitCORE=), or core_pattern to a file"))
        }
    }
}

/// What to do where io_uring fails with `error`.
pub fn io_uring_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => {
            "a security module (SELinux, AppArmor) or a seccomp profile forbids it: allow io_uring"
        }
        Some(Errno::PERM) => {
            let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            match disabled.trim() {
                "1" => {
                    "the sysctl kernel.io_uring_disabled is 1: set it to 0, or start as a member of kernel.io_uring_group"
                }
                "2" => "the sysctl kernel.io_uring_disabled is 2: set it to 0",
                _ => {
                    "a seccomp profile forbids it: allow io_uring_setup, io_uring_enter and io_uring_register"
                }
            }
        }
        Some(Errno::NOSYS) => "the kernel has none, or a sandbox hides it: Linux 6.1 or newer is needed",
        Some(Errno::INVAL) => "Linux 6.1 or newer is needed",
        Some(Errno::NOMEM) => "there is no memory for it: raise memlock, or the limit of the cgroup",
        _ => "no remedy is known",
    }
}

/// Fails if the host does not grant what `shards` executors of glommio need, which serve where the kernel is older than
/// 6.1: locked memory, and Linux 5.8.
///
/// # Errors
/// What is missing, and how to grant it.
pub fn old_io_uring(shards: usize) -> Result<(), String> {
    let (memlock, _) = Resource::MEMLOCK.get().unwrap_or((u64::MAX, u64::MAX));
    let need = MEMLOCK_MIN.max(MEMLOCK_PER_SHARD * shards as u64);
    if memlock < need {
        return Err(format!(
            "locked memory is limited to {memlock} bytes, {shards} shards on io_uring need {need}: raise it (ulimit -l, \
             LimitMEMLOCK= in a systemd unit, --ulimit memlock in a container), or name fewer --cores"
        ));
    }
    let ring =
        IoUring::new(4).map_err(|error| format!("io_uring_setup: {error}: {}", io_uring_remedy(&error)))?;
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

#[cfg(test)]
mod tests {
    use super::descriptors_kept;
    use crate::config::{Config, Loader, Sources, load};
    use std::io;

    /// A zoo.cfg, and files with one certificate and a JAAS section.
    struct Files(String);

    impl Loader for Files {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            let module = "org.apache.zookeeper.server.auth.DigestLoginModule required";
            match path {
                "zoo.cfg" => Ok(self.0.clone().into_bytes()),
                "/d/myid" => Ok(b"1".to_vec()),
                "/jaas" => Ok(format!(
                    "QuorumServer {{ {module} user_zk=\"x\"; }};\n\
                     QuorumLearner {{ {module} username=\"zk\" password=\"x\"; }};"
                )
                .into_bytes()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn is_file(&self, path: &str) -> bool {
            ["zoo.cfg", "/d/myid", "/jaas"].contains(&path)
        }
    }

    fn config(keys: &[&str]) -> Config {
        let text = format!("dataDir=/d\nclientPort=2181\nadmin.enableServer=false\n{}", keys.join("\n"));
        let flags = [("JVMFLAGS", "-Djava.security.auth.login.config=/jaas")];
        let loaded =
            load(&Sources { file: Some("zoo.cfg"), jvm_flags: &flags, overrides: None }, &Files(text));
        loaded.config
    }

    /// What other servers, strangers among them, may hold at once is kept, with TLS and SASL each for those within it.
    #[test]
    fn kept() {
        let servers: String = (1..=3).map(|sid| format!("server.{sid}=host{sid}:2888:3888\n")).collect();
        let tls =
            "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/k.pem";
        let sasl = "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\nquorum.auth.serverRequireSasl=true";
        for (keys, expected) in [
            (&[][..], 32 + 2 * 8),
            (&["admin.enableServer=true"], 32 + 2 * 8 + 40),
            (&[&servers], 32 + 2 * 8 + 3 * 4 + 3 * 64),
            (&[&servers, tls], 32 + 2 * 8 + 3 * 4 + 4 * 64),
            (&[&servers, tls, sasl], 32 + 2 * 8 + 3 * 4 + 5 * 64),
        ] {
            assert_eq!(descriptors_kept(&config(keys), 2), expected, "{keys:?}");
        }
    }
}
