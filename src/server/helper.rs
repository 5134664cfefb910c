//! Helper threads: they do what blocks and can wait, beside the threads that serve.
//!
//! A new thread inherits the affinity of the one that starts it, and each shard is pinned to one core. A helper
//! may run on every core that the process was given, so that encoding a tree, or zeroing a segment, does not take its
//! time from the core on which the commit shard runs.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};

/// The cores that this process may use.
static CORES: OnceLock<CpuSet> = OnceLock::new();

/// Reads the cores of the calling thread, which are the process's as long as it is not pinned: for the start of the
/// server. Later calls change nothing.
pub fn remember_cores() {
    // Without them a helper stays on the core of the thread that starts it: slower, and no less right.
    if let Ok(cores) = sched_getaffinity(None) {
        let _ = CORES.set(cores);
    }
}

/// Starts a thread of this name (at most 15 bytes are shown) on the process's own cores.
///
/// # Errors
/// The system has no thread to give. The caller goes on without, or says why it cannot: a server that serves does not
/// end because of a helper.
pub fn spawn<T: Send + 'static>(
    name: &str,
    main: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        // A core may have been taken from the process meanwhile; then the thread stays where it is.
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
