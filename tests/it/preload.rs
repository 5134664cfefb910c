//! Disks that are slow or fail: the environment that puts `tests/preload/disk.rs` between a server and its files.

use crate::harness::{Deadline, Directory};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Bytes of the library's control file, and where two of its numbers stand.
const CONTROL_BYTES: usize = 40;
const FLUSH_US_OFFSET: u64 = 8;
const NEXT_FLUSH_US_OFFSET: u64 = 32;
/// How long a delayed flush may take until it begins, on a quiet machine.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Variables for a server: its environment.
pub type Environment = Vec<(&'static str, String)>;

/// The environment of a server whose flushes take `flush_ms` more, and whose disk has these faults. The library's page
/// says how they are written.
pub fn faulty_disk(flush_ms: u64, faults: &str) -> Environment {
    vec![
        ("LD_PRELOAD", library().display().to_string()),
        ("FAULTY_DISK_FLUSH_US", (flush_ms * 1000).to_string()),
        ("FAULTY_DISK_FAULTS", faults.to_owned()),
    ]
}

/// A disk whose delays a test changes while servers use it.
#[derive(Debug)]
pub struct SlowDisk {
    directory: Directory,
    control: File,
}

impl SlowDisk {
    /// A disk without any delay.
    pub fn new() -> Self {
        let directory = Directory::new("slow-disk");
        let path = directory.path().join("control");
        fs::write(&path, [0; CONTROL_BYTES]).expect("the control file");
        let control = File::options().read(true).write(true).open(path).expect("the control file");
        Self { directory, control }
    }

    /// The environment of a server that uses this disk.
    pub fn environment(&self) -> Environment {
        let control = self.directory.path().join("control").display().to_string();
        vec![("LD_PRELOAD", library().display().to_string()), ("FAULTY_DISK_CONTROL", control)]
    }

    /// From now on each flush takes so much longer.
    pub fn delay_flushes(&self, delay: Duration) {
        self.set(FLUSH_US_OFFSET, delay);
    }

    /// The next flush of a log takes so much longer; later ones do not.
    pub fn delay_next_flush(&self, delay: Duration) {
        self.set(NEXT_FLUSH_US_OFFSET, delay);
    }

    /// Waits until the flush of [`delay_next_flush`](Self::delay_next_flush) has begun.
    pub fn wait_until_delayed(&self) {
        let mut deadline = Deadline::new(BEGIN_TIMEOUT);
        let mut next_us = [0; 8];
        loop {
            self.control.read_exact_at(&mut next_us, NEXT_FLUSH_US_OFFSET).expect("the control file");
            if next_us == [0; 8] {
                return;
            }
            assert!(!deadline.is_over(), "no server flushes its log");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn set(&self, offset: u64, delay: Duration) {
        let us = u64::try_from(delay.as_micros()).expect("a delay of less than centuries");
        self.control.write_all_at(&us.to_le_bytes(), offset).expect("the control file");
    }
}

/// The library, built by the first call.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // It gets its name only once it is complete: another run of the tests may use it.
        let (new, path) = (folder.join(format!("disk-{}.so", std::process::id())), folder.join("disk.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preload/disk.rs");
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(compiler);
        command.args(["--edition", "2024", "--crate-type", "cdylib", "-C", "panic=abort", "-O", "-o"]);
        command.arg(&new).arg(source);
        let built = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(built.status.success(), "{command:?}: {}", String::from_utf8_lossy(&built.stderr));
        fs::rename(&new, &path).expect("a name");
        path
    })
}
