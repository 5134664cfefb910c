//! Files that are written once, from start to end, and leave the page cache as they are flushed: a snapshot, a tree from the
//! leader, a segment made ahead, an export. A snapshot that is read leaves it as well.
//!
//! The server does not read them again while it runs, and in the page cache they would take the place of what others use.
//! Direct I/O would save a copy, but the log's flushes wait longer beside it; see "Bulk files leave the page cache" in
//! `src/docs/decisions.md`.

use rustix::fs::{Advice, fadvise};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that are written and not flushed, at most. A writer that rests after flushes flushes sooner.
pub const UNFLUSHED_BYTES_MAX: u64 = 16 << 20;

/// Bytes that are read ahead.
const AHEAD_BYTES: u64 = 512 << 10;

const PAGE_BYTES: u64 = 4096;

/// A file that is being written.
#[derive(Debug)]
pub struct BulkFile {
    file: File,
    /// Bytes that were written, and those of them that were flushed.
    written: u64,
    flushed: u64,
    /// The disk has failed once. The kernel says so once, and a later flush may succeed without what was lost.
    is_failed: bool,
}

impl BulkFile {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self { file, written: 0, flushed: 0, is_failed: false })
    }

    /// The file, for its lock and its length.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that were written and not flushed.
    pub fn unflushed(&self) -> u64 {
        self.written - self.flushed
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// Those of the system, for example where the disk is full.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        self.note(written)?;
        self.written += bytes.len() as u64;
        if self.unflushed() >= UNFLUSHED_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes durable what was written, and gives its pages back.
    ///
    /// # Errors
    /// Those of the system.
    pub fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.sync_data();
        self.note(flushed)?;
        // Not the page that is written next: the kernel would have to read it again.
        give_back(&self.file, self.written / PAGE_BYTES * PAGE_BYTES);
        self.flushed = self.written;
        Ok(())
    }

    /// Makes all of the file durable.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Panics
    /// After an error of this file.
    pub fn finish(self) -> io::Result<()> {
        assert!(!self.is_failed, "a file that the disk has failed is finished");
        self.file.sync_all()?;
        give_back(&self.file, self.written);
        Ok(())
    }

    fn note(&mut self, result: io::Result<()>) -> io::Result<()> {
        self.is_failed |= result.is_err();
        result
    }
}

/// Fills `out` from `offset` on, in a file that is read once and from start to end. The disk reads ahead meanwhile, and
/// what was read leaves the page cache, also for others that read the file.
///
/// # Errors
/// Those of the system.
pub fn read_once(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(out, offset)?;
    // The page of a part that is shorter is given back with the next part.
    if out.len() as u64 >= PAGE_BYTES {
        let end = offset + out.len() as u64;
        // Advice: where it fails, reading takes longer.
        let _ = fadvise(file, end, NonZeroU64::new(AHEAD_BYTES), Advice::WillNeed);
        give_back(file, end);
    }
    Ok(())
}

/// Gives back the whole pages before `end`, and the last one where the file ends there. All of them each time: the kernel
/// keeps pages in groups, and passes over a group that lies on both sides of `end`.
fn give_back(file: &File, end: u64) {
    // No length would mean all of the file.
    if let Some(length) = NonZeroU64::new(end) {
        // Advice: where it fails, they stay taken.
        let _ = fadvise(file, 0, Some(length), Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    use std::fs;
    use std::io::{IoSliceMut, Write};
    use std::path::PathBuf;

    /// Pages that the kernel may keep together.
    const GROUP_PAGES: usize = 64;

    /// A file's path, and what removes it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("zkfast-bulk-{}-{name}", std::process::id())))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|number| (number % 251) as u8).collect()
    }

    /// Pages of a file that can be read without a disk.
    fn cached_pages(path: &Path) -> usize {
        let file = File::open(path).expect("a file");
        let length = file.metadata().expect("a file").len();
        // A page that is asked for is read, so each is asked for once, and none is read ahead.
        fadvise(&file, 0, None, Advice::Random).expect("a file");
        let is_cached = |offset: &u64| {
            let read = preadv2(&file, &mut [IoSliceMut::new(&mut [0])], *offset, ReadWriteFlags::NOWAIT);
            read.inspect_err(|error| assert_eq!(*error, Errno::AGAIN, "no other reason")).is_ok()
        };
        (0..length).step_by(4096).filter(is_cached).count()
    }

    /// Takes a file out of the page cache.
    fn drop_cached(path: &Path) {
        fadvise(File::open(path).expect("a file"), 0, None, Advice::DontNeed).expect("a file");
    }

    /// All lengths come back, however they are cut and flushed.
    #[test]
    fn what_was_appended_is_in_the_file() {
        for length in [0, 1, 4095, 4096, 4097, 300_000] {
            let (place, all) = (Place::new("whole"), bytes(length));
            let mut file = BulkFile::create_new(&place.0).expect("a new file");
            for part in all.chunks(70_001) {
                file.append(part).expect("room");
                assert_eq!(file.unflushed(), part.len() as u64);
                file.flush().expect("a disk");
            }
            file.finish().expect("a disk");
            assert!(fs::read(&place.0).expect("it is there") == all, "{length} bytes");
        }
    }

    /// What is flushed holds no memory, but for the pages around the end, and a finished file none. Where the file
    /// system is in memory, nothing is shown.
    #[test]
    fn nothing_stays_in_the_page_cache() {
        let (ordinary, place) = (Place::new("ordinary"), Place::new("bulk"));
        let all = bytes((UNFLUSHED_BYTES_MAX + (4 << 20)) as usize);
        let mut file = File::create(&ordinary.0).expect("a file");
        file.write_all(&all).expect("room");
        file.sync_all().expect("a disk");
        assert!(cached_pages(&ordinary.0) > 100, "an ordinary file stays");
        drop_cached(&ordinary.0);
        if cached_pages(&ordinary.0) > 0 {
            eprintln!("skipped: {} is in memory", ordinary.0.display());
            return;
        }
        let mut file = BulkFile::create_new(&place.0).expect("a new file");
        for part in all.chunks(100_001) {
            file.append(part).expect("room");
            assert!(file.unflushed() < UNFLUSHED_BYTES_MAX, "{} bytes are not flushed", file.unflushed());
        }
        file.flush().expect("a disk");
        let meanwhile = cached_pages(&place.0);
        assert!(meanwhile <= GROUP_PAGES, "{meanwhile} pages");
        file.finish().expect("a disk");
        let after = cached_pages(&place.0);
        assert!(after <= GROUP_PAGES, "{after} pages");
        assert!(fs::read(&place.0).expect("it is there") == all);
    }

    /// What is read once is what the file holds, and is not kept in memory, whatever the parts are.
    #[test]
    fn a_file_that_is_read_once_leaves_the_page_cache() {
        let (place, all) = (Place::new("read"), bytes((16 << 18) + 5000));
        let mut file = BulkFile::create_new(&place.0).expect("a new file");
        file.append(&all).expect("room");
        file.finish().expect("a disk");
        if cached_pages(&place.0) > 0 {
            eprintln!("skipped: {} is in memory", place.0.display());
            return;
        }
        drop_cached(&place.0);
        let (mut read, mut part) = (Vec::new(), vec![0; (1 << 18) - 777]);
        while read.len() < all.len() {
            let bytes = part.len().min(all.len() - read.len());
            let file = File::open(&place.0).expect("a file");
            read_once(&file, read.len() as u64, &mut part[..8.min(bytes)]).expect("it is there");
            read_once(&file, read.len() as u64, &mut part[..bytes]).expect("it is there");
            read.extend_from_slice(&part[..bytes]);
        }
        assert!(read == all);
        let left = cached_pages(&place.0);
        assert!(left <= GROUP_PAGES, "{left} pages");
        fs::read(&place.0).expect("it is there");
        assert!(cached_pages(&place.0) > 100, "an ordinary read keeps it");
    }
}
