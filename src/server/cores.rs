//! Which core does what, and threads that stay on their core.

use super::logging::Text;
use super::{EXIT_HOST, EXIT_USAGE, exit, preflight};
use crate::config::Config;

/// The maximum of cores that the server takes without `--cores`.
pub const CORES_DEFAULT_MAX: usize = 4;

/// Which core does what.
#[derive(Debug, PartialEq, Eq)]
pub struct Roles {
    /// The commit shard's core.
    pub commit: usize,
    /// The log's core.
    pub log: usize,
    /// The view shards' cores.
    pub views: Vec<usize>,
}

impl Roles {
    /// Shares `cores` out, as the table in [`super`] has it.
    ///
    /// # Panics
    /// Without any core.
    pub fn of(cores: &[usize]) -> Self {
        match *cores {
            [] => unreachable!("a list of cores has one at least"),
            [only] => Self { commit: only, log: only, views: vec![only] },
            [first, ref views @ ..] if cores.len() < 4 => {
                Self { commit: first, log: first, views: views.to_vec() }
            }
            [first, second, ref views @ ..] => Self { commit: first, log: second, views: views.to_vec() },
        }
    }
}

/// The cores that the configuration names, or the first ones that this process may use. Ends the process if one is named
/// that it may not use.
pub fn cores(config: &Config) -> Vec<usize> {
    let allowed = preflight::allowed_cores().unwrap_or_else(|why| exit(EXIT_HOST, why));
    match &config.cores {
        None => allowed.into_iter().take(CORES_DEFAULT_MAX).collect(),
        Some(named) => {
            if let Some(absent) = named.iter().find(|core| !allowed.contains(core)) {
                exit(
                    EXIT_USAGE,
                    format_args!("--cores names CPU {absent}; this process may use {allowed:?}"),
                );
            }
            named.clone()
        }
    }
}

/// Numbers in the form that `--cores` takes.
pub fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Keeps the calling thread on `core`.
pub fn pin(what: &str, core: usize) {
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
        let roles = |commit, log, views: &[usize]| Roles { commit, log, views: views.to_vec() };
        assert_eq!(Roles::of(&[3]), roles(3, 3, &[3]));
        assert_eq!(Roles::of(&[0, 1]), roles(0, 0, &[1]));
        assert_eq!(Roles::of(&[0, 0, 1]), roles(0, 0, &[0, 1]));
        assert_eq!(Roles::of(&[0, 1, 2, 3, 4]), roles(0, 1, &[2, 3, 4]));
    }
}
