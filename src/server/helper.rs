//! Helper threads: they do work that blocks and is not urgent.
//!
//! A new thread inherits the affinity of the thread that starts it, and with `--cores` each shard is pinned to one core. A helper may
//! run on every core of the process, so that encoding a tree or zeroing a segment does not take time from the commit
//! shard's core.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};

/// The cores that this process may use.
static CORES: OnceLock<CpuSet> = OnceLock::new();

/// Remembers the cores of the calling thread as the process's: call it at the start, before the thread is pinned. Later
/// calls change nothing.
pub fn remember_cores() {
    // If this fails, a helper stays on the core of the thread that starts it, which is only slower.
    if let Ok(cores) = sched_getaffinity(None) {
        let _ = CORES.set(cores);
    }
}

/// Starts a thread named `name` (the system shows 15 bytes) on the process's cores.
///
/// # Errors
/// The system refuses another thread. A server that serves goes on without the helper.
pub fn spawn<T: Send + 'static>(
    name: &str,
    main: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        // If the process has lost a core meanwhile, the thread keeps the affinity that it inherited.
        if let Some(cores) = CORES.get() {
            let _ = sched_setaffinity(None, cores);
        }
        main()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A helper that a pinned thread starts may run on every core of the process.
    #[test]
    fn helpers_are_not_pinned() {
        remember_cores();
        let own = sched_getaffinity(None).expect("a mask");
        let pinned = std::thread::spawn(|| {
            let core = (0..CpuSet::MAX_CPU).find(|&core| CORES.get().expect("set above").is_set(core));
            let mut one = CpuSet::new();
            one.set(core.expect("a core"));
            sched_setaffinity(None, &one).expect("one of its own cores");
            assert_eq!(sched_getaffinity(None).expect("a mask").count(), 1);
            spawn("test", || sched_getaffinity(None).expect("a mask")).expect("a thread").join()
        });
        assert_eq!(pinned.join().expect("no panic").expect("no panic"), own);
    }
}
