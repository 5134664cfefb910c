//! What the disk alone takes for durable blocks: no server can answer a lone write sooner.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One block, and what it must be aligned to in memory and in the file.
const BLOCK_BYTES: usize = 4096;
/// Blocks of the file that is overwritten, one after the other.
const BLOCKS: usize = 1024;
/// Bytes of one write, at most.
pub const WRITE_BYTES_MAX: usize = 1 << 20;

const _: () = assert!((BLOCKS * BLOCK_BYTES).is_multiple_of(WRITE_BYTES_MAX));

/// A file in some directory whose blocks are written already; removed when this is dropped.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    path: PathBuf,
    /// Holds aligned blocks from `aligned` on, of which `filled` bytes are to be written.
    memory: Vec<u8>,
    aligned: usize,
    filled: usize,
    /// Number of the block that is overwritten next.
    next: usize,
}

impl Blocks {
    /// Makes the file in `dir`, past the page cache.
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

    /// Adds `bytes` to what the next overwrite writes; says whether there was room.
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let room = &mut self.memory[self.aligned + self.filled..self.aligned + WRITE_BYTES_MAX];
        let Some(place) = room.get_mut(..bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.filled += bytes.len();
        true
    }

    /// Overwrites the next blocks, as many as were put and one at least, and waits until the disk has them.
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
