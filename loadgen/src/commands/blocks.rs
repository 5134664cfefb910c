//! A file whose blocks are overwritten durably: how long the disk alone takes for a write. No server can answer a
//! single write sooner.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a block; blocks are aligned to this in memory and in the file, as O_DIRECT demands.
const BLOCK_BYTES: usize = 4096;
/// Blocks of the file; they are overwritten one after the other.
const BLOCKS: usize = 1024;
/// The most bytes of one write.
pub const WRITE_BYTES_MAX: usize = 1 << 20;

const _: () = assert!((BLOCKS * BLOCK_BYTES).is_multiple_of(WRITE_BYTES_MAX));

/// A file whose blocks are all allocated; dropping this removes it.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    path: PathBuf,
    /// Aligned blocks begin at `aligned`; `filled` bytes from there will be written.
    memory: Vec<u8>,
    aligned: usize,
    filled: usize,
    /// Number of the block that is overwritten next.
    next: usize,
}

impl Blocks {
    /// Makes the file in `dir`. Its writes bypass the page cache.
    ///
    /// # Errors
    /// The file exists or cannot be written, or the file system has no O_DIRECT (`InvalidInput`).
    pub fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!(".loadgen-disk-{}", std::process::id()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        let memory = vec![0x5A; WRITE_BYTES_MAX + BLOCK_BYTES];
        let aligned = memory.as_ptr().align_offset(BLOCK_BYTES);
        let blocks = Self { file, path, memory, aligned, filled: 0, next: 0 };
        for block in (0..BLOCKS).step_by(WRITE_BYTES_MAX / BLOCK_BYTES) {
            blocks.write(block, WRITE_BYTES_MAX)?;
        }
        blocks.file.sync_all()?;
        Ok(blocks)
    }

    /// Adds `bytes` to the next overwrite; false if they have no room in it.
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let room = &mut self.memory[self.aligned + self.filled..self.aligned + WRITE_BYTES_MAX];
        let Some(place) = room.get_mut(..bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.filled += bytes.len();
        true
    }

    /// Overwrites as many blocks as [`put`](Self::put) filled, at least one, and waits until they are durable. Returns
    /// the time that took.
    ///
    /// # Errors
    /// A write or a flush failed.
    pub fn overwrite(&mut self) -> io::Result<Duration> {
        let count = self.filled.div_ceil(BLOCK_BYTES).max(1);
        let block = if self.next + count <= BLOCKS { self.next } else { 0 };
        self.next = block + count;
        self.filled = 0;
        let started = Instant::now();
        self.write(block, count * BLOCK_BYTES)?;
        self.file.sync_data()?;
        Ok(started.elapsed())
    }

    fn write(&self, block: usize, bytes: usize) -> io::Result<()> {
        let bytes = &self.memory[self.aligned..self.aligned + bytes];
        self.file.write_all_at(bytes, (block * BLOCK_BYTES) as u64)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // If this fails, 4 MiB stay under a name that says what they are.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Overwrites begin again at the start of the file when they reach its end, and a drop removes the file.
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
        // Two blocks that are not both at the end begin at the start again.
        blocks.next = BLOCKS - 1;
        assert!(blocks.put(&[1; BLOCK_BYTES]) && blocks.put(&[2]));
        assert!(!blocks.put(&[3; WRITE_BYTES_MAX]));
        blocks.overwrite().expect("a write of two blocks");
        assert_eq!((blocks.next, blocks.filled), (2, 0));
        let written = std::fs::read(&path).expect("the file");
        assert_eq!(written.len(), BLOCKS * BLOCK_BYTES);
        assert_eq!(written[BLOCK_BYTES - 1..BLOCK_BYTES + 2], [1, 2, 0x5A]);
        drop(blocks);
        assert!(!path.exists());
    }
}
