//! Which threads there are, and the CPUs that they stay on.

use super::logging::Text;
use super::{EXIT_HOST, EXIT_USAGE, exit, preflight};
use crate::config::Config;
use std::thread::available_parallelism;

/// The maximum of CPUs that the server has threads for without `--cores`: each view has a tree of its own in memory.
const CPUS_DEFAULT_MAX: usize = 4;

/// The CPU that a thread stays on; `None` leaves that to the kernel's scheduler.
pub type Cpu = Option<usize>;

/// Which threads there are, and the CPUs that they stay on.
#[derive(Debug, PartialEq, Eq)]
pub struct Roles {
    /// The commit shard's CPU.
    pub commit: Cpu,
    /// The log's, where it has one of its own.
    pub log: Option<Cpu>,
    /// The view shards', each with a thread.
    pub views: Vec<Cpu>,
}

impl Roles {
    /// Shares CPUs out, as the table in [`super`] has it.
    ///
    /// # Panics
    /// Without any CPU.
    pub fn of(cpus: &[Cpu]) -> Self {
        match *cpus {
            [] => unreachable!("there is one CPU at least"),
            [only] => Self { commit: only, log: None, views: vec![only] },
            [first, ref views @ ..] if cpus.len() < 4 => {
                Self { commit: first, log: None, views: views.to_vec() }
            }
            [first, second, ref views @ ..] => {
                Self { commit: first, log: Some(second), views: views.to_vec() }
            }
        }
    }

    /// The CPU of whatever thread writes the log.
    pub fn log_cpu(&self) -> Cpu {
        self.log.unwrap_or(self.commit)
    }

    /// Those of a server with `config`: pinned to the CPUs that `--cores` names, else as many as this process may use at a
    /// time (affinity mask and cgroup quota), and not pinned. A pinned thread waits for its CPU while another one is idle.
    ///
    /// # Errors
    /// The flag names a CPU that this process may not use, or the system does not say which it may use.
    pub fn find(config: &Config) -> Result<Self, NoCpu> {
        let Some(named) = &config.cores else {
            let cpus = available_parallelism().map_err(|error| NoCpu::Unknown(error.to_string()))?;
            return Ok(Self::of(&vec![None; cpus.get().min(CPUS_DEFAULT_MAX)]));
        };
        let allowed = preflight::allowed_cores().map_err(NoCpu::Unknown)?;
        match named.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(NoCpu::NotAllowed { cpu, allowed }),
            None => Ok(Self::of(&named.iter().copied().map(Some).collect::<Vec<_>>())),
        }
    }

    /// As [`Roles::find`]; ends the process where that fails.
    pub fn of_process(config: &Config) -> Self {
        Self::find(config).unwrap_or_else(|error| match error {
            NoCpu::NotAllowed { .. } => exit(EXIT_USAGE, format_args!("--cores {error}")),
            NoCpu::Unknown(_) => exit(EXIT_HOST, error),
        })
    }
}

/// Why threads have no place.
#[derive(Debug, thiserror::Error)]
pub enum NoCpu {
    /// `--cores` names one that this process may not use.
    #[error("names CPU {cpu}; this process may use {allowed:?}")]
    NotAllowed {
        /// The CPU.
        cpu: usize,
        /// Those that it may use.
        allowed: Vec<usize>,
    },
    /// The system does not say which there are.
    #[error("the CPUs of this process cannot be found out: {0}")]
    Unknown(String),
}

/// CPUs for a log line: `0,2`, or `any` for each thread that is not pinned.
pub fn list(cpus: &[Cpu]) -> String {
    let shown = cpus.iter().map(|cpu| cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string()));
    shown.collect::<Vec<_>>().join(",")
}

/// Keeps the calling thread on `cpu`, if there is one.
pub fn pin(what: &str, cpu: Cpu) {
    let Some(core) = cpu else { return };
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(core);
    // A thread on another core is only slower.
    if let Err(error) = rustix::thread::sched_setaffinity(None, &cpus) {
        log::warn!(target: "server", "not pinned: thread={what} core={core} error={}", Text(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The roles are those of the table in the parent module's documentation.
    #[test]
    fn roles() {
        let of = |cpus: &[usize]| Roles::of(&cpus.iter().copied().map(Some).collect::<Vec<_>>());
        let roles = |commit, log: Option<usize>, views: &[usize]| Roles {
            commit: Some(commit),
            log: log.map(Some),
            views: views.iter().copied().map(Some).collect(),
        };
        assert_eq!(of(&[3]), roles(3, None, &[3]));
        assert_eq!(of(&[0, 1]), roles(0, None, &[1]));
        assert_eq!(of(&[0, 0, 1]), roles(0, None, &[0, 1]));
        assert_eq!(of(&[0, 1, 2, 3, 4]), roles(0, Some(1), &[2, 3, 4]));
    }

    /// Without `--cores` no thread is pinned, and there are no more than the process may use at a time.
    #[test]
    fn not_pinned_by_default() {
        let config = crate::config::load(&crate::config::Sources::default(), &NoFiles).config;
        let roles = Roles::find(&config).expect("CPUs");
        let cpus = available_parallelism().expect("a number").get().min(CPUS_DEFAULT_MAX);
        assert_eq!(roles, Roles::of(&vec![None; cpus]));
        assert_eq!(list(&roles.views), vec!["any"; roles.views.len()].join(","));
    }

    struct NoFiles;

    impl crate::config::Loader for NoFiles {
        fn read(&self, _: &str) -> std::io::Result<Vec<u8>> {
            Err(std::io::ErrorKind::NotFound.into())
        }

        fn is_file(&self, _: &str) -> bool {
            false
        }
    }
}
