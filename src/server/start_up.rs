//! How far the start is: the threads that do it tell, and the one that serves HTTP shows it.

use crate::admin::{Progress, Step};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// See the module's page. A reader may see the bytes of one moment with those of the next: they are for people.
#[derive(Debug, Default)]
pub struct StartUp {
    /// The place of the step in [`Step::ALL`].
    step: AtomicU8,
    bytes: AtomicU64,
    bytes_all: AtomicU64,
}

impl StartUp {
    /// A step begins that reads nothing that could be counted.
    pub fn begin(&self, step: Step) {
        self.read(step, 0, 0);
    }

    /// Of a step's files `bytes` of `bytes_all` are read.
    pub fn read(&self, step: Step, bytes: u64, bytes_all: u64) {
        self.step.store(step as u8, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.bytes_all.store(bytes_all, Ordering::Relaxed);
    }

    /// What was told last, by a process that runs for so long.
    pub fn progress(&self, uptime_ms: u64) -> Progress {
        let step = Step::ALL[usize::from(self.step.load(Ordering::Relaxed))];
        let (bytes, bytes_all) = (self.bytes.load(Ordering::Relaxed), self.bytes_all.load(Ordering::Relaxed));
        Progress { step, bytes, bytes_all, uptime_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step is shown as it was told.
    #[test]
    fn steps() {
        let start_up = StartUp::default();
        assert_eq!(start_up.progress(1).step, Step::Opening);
        for step in Step::ALL {
            start_up.read(step, 1, 2);
            assert_eq!(start_up.progress(3), Progress { step, bytes: 1, bytes_all: 2, uptime_ms: 3 });
        }
        start_up.begin(Step::Joining);
        assert_eq!(start_up.progress(3).percent(), None);
    }
}
