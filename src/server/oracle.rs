//! The oracle of an ensemble of two voters: a file that something outside the ensemble writes.

use super::helper;
use super::spsc::Notify;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the file is read.
const EVERY: Duration = Duration::from_millis(100);

/// What the file says, as a thread reads it again and again: a file that hangs holds up no other work, and what it said
/// last stays.
#[derive(Clone, Debug)]
pub struct Oracle(Arc<AtomicBool>);

impl Oracle {
    /// Reads the file now, and from now on for as long as the process runs.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn watch(path: PathBuf, notify: Notify) -> io::Result<Self> {
        let oracle = Self(Arc::new(AtomicBool::new(allows(&path))));
        let kept = oracle.clone();
        helper::spawn("zkfast-oracle", move || {
            loop {
                std::thread::sleep(EVERY);
                let said = allows(&path);
                if kept.0.swap(said, Ordering::AcqRel) != said {
                    notify.notify();
                }
            }
        })?;
        Ok(oracle)
    }

    /// Whether this server may lead without the other one.
    pub fn allows(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether the file begins with 1. Where it cannot be read it does not. Source: `QuorumOracleMaj.askOracle`.
fn allows(path: &PathBuf) -> bool {
    let mut first = [0];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *b"1"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a file that begins with 1 allows it.
    #[test]
    fn what_files_say() {
        let path = std::env::temp_dir().join(format!("zkfast-oracle-{}", std::process::id()));
        assert!(!allows(&path), "there is none");
        for (text, expected) in
            [("", false), ("0", false), ("1", true), ("1\n", true), ("01", false), (" 1", false)]
        {
            std::fs::write(&path, text).expect("a file");
            assert_eq!(allows(&path), expected, "{text:?}");
        }
        std::fs::remove_file(&path).expect("a file");
    }
}
