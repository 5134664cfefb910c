//! What the disk alone takes for one durable block: no server can answer a lone write sooner.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One block, and what it must be aligned to in memory and in the file.
const BLOCK_BYTES: usize = 4096;
/// Blocks of the file that is overwritten, one after the other.
const BLOCKS: u64 = 1024;

/// A file in some directory whose blocks are written already; removed when this is dropped.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    path: PathBuf,
    /// Holds an aligned block from `aligned` on.
    memory: Vec<u8>,
    aligned: usize,
    next: u64,
}

impl Blocks {
    /// Makes the file in `dir`, past the page cache.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!(".loadgen-disk-{}", std::process::id()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        let memory = vec![0x5A; 2 * BLOCK_BYTES];
        let aligned = memory.as_ptr().align_offset(BLOCK_BYTES);
        let blocks = Self { file, path, memory, aligned, next: 0 };
        for block in 0..BLOCKS {
            blocks.write(block)?;
        }
        blocks.file.sync_all()?;
        Ok(blocks)
    }

    /// Overwrites the next block and waits until the disk has it.
    pub fn overwrite(&mut self) -> io::Result<Duration> {
        let block = self.next;
        self.next = (block + 1) % BLOCKS;
        let started = Instant::now();
        self.write(block)?;
        self.file.sync_data()?;
        Ok(started.elapsed())
    }

    fn write(&self, block: u64) -> io::Result<()> {
        let bytes = &self.memory[self.aligned..self.aligned + BLOCK_BYTES];
        self.file.write_all_at(bytes, block * BLOCK_BYTES as u64)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // What stays behind is 4 MiB under a name that says whose it is.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks are overwritten round and round, and the file goes when it is no longer needed.
    #[test]
    fn file_is_removed() {
        let dir = std::env::current_dir().expect("a directory");
        let Ok(mut blocks) = Blocks::create(&dir) else {
            return; // a file system without O_DIRECT
        };
        let path = blocks.path.clone();
        blocks.next = BLOCKS - 1;
        blocks.overwrite().expect("a write to the last block");
        blocks.overwrite().expect("a write to the first block");
        assert_eq!(blocks.next, 1);
        assert_eq!(path.metadata().expect("the file").len(), BLOCKS * BLOCK_BYTES as u64);
        drop(blocks);
        assert!(!path.exists());
    }
}
