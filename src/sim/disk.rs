//! A disk with a write cache that forgets, tears, fills up, fails and rots, as a seed says.
//!
//! A file is blocks of 4 KiB; those that were never written are zeros and take no room. What is written is in the
//! cache until the file is flushed, and names are until their folder is: a [`crash`](SimDisk::crash) keeps or drops
//! each of them by itself. A process that dies without the machine loses nothing: its handle is dropped.

use super::Random;
use crate::storage::{Folder, NewFile, SEGMENT_TMP, Storage};
use crate::wal;
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

const BLOCK: usize = 4096;
/// The least that is written whole.
const SECTOR: usize = 512;

type Block = Box<[u8; BLOCK]>;
type Name = (Folder, String);

/// A disk with one server's two folders. Clones are the same disk; it outlives the server's crashes.
#[derive(Clone, Debug)]
pub struct SimDisk(Rc<RefCell<Disk>>);

/// What was done to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes of bytes.
    pub writes: u64,
    /// Bytes in them.
    pub written_bytes: u64,
    /// Flushes of files.
    pub flushes: u64,
    /// Flushes of folders.
    pub syncs: u64,
}

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Where.
    pub folder: Folder,
    /// In which file.
    pub name: String,
    /// In which byte.
    pub offset: u64,
}

#[derive(Debug)]
struct Disk {
    segment_bytes: usize,
    files: BTreeMap<u64, File>,
    next_file: u64,
    /// As a running server sees them, and as they are after a crash that keeps nothing.
    names: BTreeMap<Name, u64>,
    durable_names: BTreeMap<Name, u64>,
    changes: Vec<Change>,
    /// Blocks that fit; `None` for as many as are wanted.
    blocks_max: Option<usize>,
    /// Operations that change something until the power goes.
    power: Option<u64>,
    /// Flushes until one fails.
    fail_flush: Option<u64>,
    /// Files whose bytes are not given, and with which error of the system.
    unreadable: BTreeMap<Name, i32>,
    random: Random,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct File {
    length: u64,
    durable_length: u64,
    durable: BTreeMap<u64, Block>,
    /// Written, not flushed.
    cache: BTreeMap<u64, Block>,
}

/// A change of names that is not flushed.
#[derive(Clone, Debug)]
enum Change {
    Link(Name, u64),
    Unlink(Name, u64),
    Rename(Name, Name, u64),
}

impl Change {
    fn folder(&self) -> Folder {
        match self {
            Self::Link(name, _) | Self::Unlink(name, _) | Self::Rename(name, ..) => name.0,
        }
    }

    fn apply(self, names: &mut BTreeMap<Name, u64>) {
        match self {
            Self::Link(name, file) => {
                names.insert(name, file);
            }
            Self::Unlink(name, file) => {
                if names.get(&name) == Some(&file) {
                    names.remove(&name);
                }
            }
            Self::Rename(from, to, file) => {
                if names.get(&from) == Some(&file) {
                    names.remove(&from);
                }
                names.insert(to, file);
            }
        }
    }
}

impl File {
    fn block(&self, number: u64) -> Option<&Block> {
        self.cache.get(&number).or_else(|| self.durable.get(&number))
    }

    /// Blocks that were written.
    fn blocks(&self) -> usize {
        let is_new = |number: &&u64| !self.durable.contains_key(*number);
        self.durable.len() + self.cache.keys().filter(is_new).count()
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        for (at, byte) in pieces(offset, out.len()) {
            let piece = &mut out[at.clone()];
            match self.block(byte / BLOCK as u64) {
                Some(block) => piece.copy_from_slice(&block[byte as usize % BLOCK..][..piece.len()]),
                None => piece.fill(0),
            }
        }
    }

    fn flush(&mut self) {
        self.durable.append(&mut self.cache);
        self.durable_length = self.length;
    }
}

/// The parts of a range that lie in one block each: where in the range, and at which byte of the file.
fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = (std::ops::Range<usize>, u64)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = offset + at as u64;
        let end = bytes.min(at + BLOCK - byte as usize % BLOCK);
        let piece = (at < bytes).then_some((at..end, byte));
        at = end;
        piece
    })
}

impl Disk {
    fn file(&self, folder: Folder, name: &str) -> io::Result<u64> {
        let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("{folder:?}/{name}"));
        self.names.get(&(folder, name.to_owned())).copied().ok_or_else(not_found)
    }

    /// Whether its bytes are given.
    fn check_readable(&self, folder: Folder, name: &str) -> io::Result<()> {
        let errno = self.unreadable.get(&(folder, name.to_owned()));
        errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(*errno)))
    }

    /// Whether there is power for one more operation.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.power {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }

    fn blocks(&self) -> usize {
        self.files.values().map(File::blocks).sum()
    }

    fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        self.counts.writes += 1;
        self.counts.written_bytes += bytes.len() as u64;
        let mut room = self.blocks_max.map(|max| max.saturating_sub(self.blocks()));
        let file = self.files.get_mut(&id).expect("open files are there");
        for (at, byte) in pieces(offset, bytes.len()) {
            let number = byte / BLOCK as u64;
            if file.block(number).is_none()
                && let Some(room) = &mut room
            {
                *room = room.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
            }
            let mut block = file.block(number).cloned().unwrap_or_else(|| Box::new([0; BLOCK]));
            block[byte as usize % BLOCK..][..at.len()].copy_from_slice(&bytes[at.clone()]);
            file.cache.insert(number, block);
            file.length = file.length.max(byte + at.len() as u64);
        }
        Ok(())
    }

    fn flush(&mut self, id: u64) -> io::Result<()> {
        self.step()?;
        self.counts.flushes += 1;
        let fails = self.fail_flush == Some(0);
        self.fail_flush = self.fail_flush.and_then(|left| left.checked_sub(1));
        if fails {
            // The kernel says so once, and forgets that the pages were dirty.
            self.forget(id);
            return Err(io::Error::other("flush failed"));
        }
        self.files.get_mut(&id).expect("open files are there").flush();
        Ok(())
    }

    /// Keeps, drops or tears every block of the cache.
    fn forget(&mut self, id: u64) {
        let Self { files, random, .. } = self;
        let file = files.get_mut(&id).expect("it is there");
        for (number, block) in std::mem::take(&mut file.cache) {
            let old = file.durable.get(&number).cloned().unwrap_or_else(|| Box::new([0; BLOCK]));
            let kept = match random.below(3) {
                0 => continue,
                1 => block,
                _ => {
                    let mut torn = old;
                    for sector in (0..BLOCK).step_by(SECTOR) {
                        if random.one_in(2) {
                            torn[sector..sector + SECTOR].copy_from_slice(&block[sector..sector + SECTOR]);
                        }
                    }
                    torn
                }
            };
            file.durable.insert(number, kept);
        }
        if random.one_in(2) {
            file.durable_length = file.length;
        }
        file.length = file.durable_length;
        let end = file.length.div_ceil(BLOCK as u64);
        file.durable.retain(|number, _| *number < end);
    }

    /// Forgets files without a name.
    fn sweep(&mut self) {
        let named: BTreeSet<u64> = self.names.values().chain(self.durable_names.values()).copied().collect();
        let pending: BTreeSet<u64> = self
            .changes
            .iter()
            .map(|change| match change {
                Change::Link(_, file) | Change::Unlink(_, file) | Change::Rename(_, _, file) => *file,
            })
            .collect();
        self.files.retain(|id, _| named.contains(id) || pending.contains(id));
    }
}

impl SimDisk {
    /// An empty disk for segments of `segment_bytes`.
    pub fn new(segment_bytes: usize, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Disk {
            segment_bytes,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            blocks_max: None,
            power: None,
            fail_flush: None,
            unreadable: BTreeMap::new(),
            random: Random(seed),
            counts: Counts::default(),
        })))
    }

    fn disk(&self) -> RefMut<'_, Disk> {
        self.0.borrow_mut()
    }

    /// Limits the disk to so many blocks of 4 KiB: a write that needs another one fails half done.
    pub fn set_blocks_max(&self, blocks: Option<usize>) {
        self.disk().blocks_max = blocks;
    }

    /// Blocks that are taken.
    pub fn blocks(&self) -> usize {
        self.disk().blocks()
    }

    /// The power goes after `operations` more that change something: all further ones fail and do nothing. The
    /// caller then lets the server go, and calls [`crash`](Self::crash).
    pub fn power_off_after(&self, operations: u64) {
        self.disk().power = Some(operations);
    }

    /// Calls that off, and the flush that was to fail.
    pub fn call_off(&self) {
        let mut disk = self.disk();
        (disk.power, disk.fail_flush) = (None, None);
    }

    /// Whether it has gone.
    pub fn is_off(&self) -> bool {
        self.disk().power == Some(0)
    }

    /// After `flushes` that succeed one fails. What it should have made durable may be or not, and a later flush does
    /// not say so.
    pub fn fail_flush_after(&self, flushes: u64) {
        self.disk().fail_flush = Some(flushes);
    }

    /// From now on the bytes of a file are not given but for an error of the system; `None` ends that.
    pub fn set_unreadable(&self, folder: Folder, name: &str, errno: Option<i32>) {
        let unreadable = &mut self.disk().unreadable;
        match errno {
            Some(errno) => unreadable.insert((folder, name.to_owned()), errno),
            None => unreadable.remove(&(folder, name.to_owned())),
        };
    }

    /// A loss of power: keeps, drops or tears (by sectors of 512 bytes) each block that is not flushed, keeps or drops
    /// each change of a name. The power is back then.
    pub fn crash(&self, seed: u64) {
        let mut disk = self.disk();
        disk.random = Random(seed);
        let ids: Vec<u64> = disk.files.keys().copied().collect();
        ids.into_iter().for_each(|id| disk.forget(id));
        let changes = std::mem::take(&mut disk.changes);
        let mut names = disk.durable_names.clone();
        for change in changes {
            if disk.random.one_in(2) {
                change.apply(&mut names);
            }
        }
        (disk.names, disk.durable_names) = (names.clone(), names);
        (disk.power, disk.fail_flush) = (None, None);
        disk.sweep();
    }

    /// Flips a bit in one of the flushed blocks; says where. `None` where there is no block.
    pub fn damage(&self, seed: u64) -> Option<Damaged> {
        let mut disk = self.disk();
        let mut random = Random(seed);
        let blocks: Vec<(Name, u64, u64)> = disk
            .durable_names
            .iter()
            .flat_map(|(name, id)| {
                let numbers = disk.files[id].durable.keys();
                numbers.map(move |number| (name.clone(), *id, *number))
            })
            .collect();
        let ((folder, name), id, number) = blocks.get(random.draw() as usize % blocks.len().max(1))?.clone();
        let file = disk.files.get_mut(&id).expect("it has a name");
        let bytes = (file.durable_length - number * BLOCK as u64).min(BLOCK as u64);
        let (byte, bit) = (random.below(bytes) as usize, random.below(8));
        file.durable.get_mut(&number).expect("it was listed")[byte] ^= 1 << bit;
        Some(Damaged { folder, name, offset: number * BLOCK as u64 + byte as u64 })
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.disk().counts
    }
}

/// A file being made on a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    id: u64,
    name: Name,
    length: u64,
}

impl NewFile for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.disk().write(self.id, self.length, bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn finish(self, name: &str) -> io::Result<()> {
        self.disk.disk().flush(self.id)?;
        self.disk.rename(self.name.0, &self.name.1, name)?;
        self.disk.sync(self.name.0)
    }
}

impl Storage for SimDisk {
    type New = SimFile;

    fn segment_bytes(&self) -> usize {
        self.disk().segment_bytes
    }

    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        PathBuf::from(if folder == Folder::Snap { "snap" } else { "log" }).join(name)
    }

    fn names(&self, folder: Folder) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let names = disk.names.keys().filter(|name| name.0 == folder);
        let first = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        Ok(names.map(|name| first(&name.1)).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn length(&self, folder: Folder, name: &str) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk.files[&disk.file(folder, name)?].length)
    }

    fn read(&self, folder: Folder, name: &str) -> io::Result<Vec<u8>> {
        let disk = self.disk();
        disk.check_readable(folder, name)?;
        let file = &disk.files[&disk.file(folder, name)?];
        let mut bytes = vec![0; file.length as usize];
        file.read(0, &mut bytes);
        Ok(bytes)
    }

    fn read_at(&self, folder: Folder, name: &str, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk();
        disk.check_readable(folder, name)?;
        let file = &disk.files[&disk.file(folder, name)?];
        if offset + out.len() as u64 > file.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.read(offset, out);
        Ok(())
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<SimFile> {
        let mut disk = self.disk();
        disk.step()?;
        let (id, name) = (disk.next_file, (folder, name.to_owned()));
        disk.next_file += 1;
        disk.files.insert(id, File::default());
        disk.change(Change::Link(name.clone(), id));
        Ok(SimFile { disk: self.clone(), id, name, length: 0 })
    }

    fn write_at(&self, folder: Folder, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let id = disk.file(folder, name)?;
        disk.write(id, offset, bytes)
    }

    fn flush(&self, folder: Folder, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let id = disk.file(folder, name)?;
        disk.flush(id)
    }

    fn rename(&self, folder: Folder, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step()?;
        let id = disk.file(folder, from)?;
        disk.change(Change::Rename((folder, from.to_owned()), (folder, to.to_owned()), id));
        Ok(())
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step()?;
        let id = disk.file(folder, name)?;
        disk.change(Change::Unlink((folder, name.to_owned()), id));
        Ok(())
    }

    fn is_one_folder(&self) -> bool {
        false
    }

    fn sync(&self, folder: Folder) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step()?;
        disk.counts.syncs += 1;
        let Disk { changes, durable_names, .. } = &mut *disk;
        for change in changes.extract_if(.., |change| change.folder() == folder) {
            change.apply(durable_names);
        }
        disk.sweep();
        Ok(())
    }

    fn move_into(&self, folder: Folder, names: &[String], below: &str) -> io::Result<()> {
        for name in names {
            self.rename(folder, name, &format!("{below}/{name}"))?;
        }
        self.sync(folder)
    }

    fn filled_bytes(&self, number: u32) -> io::Result<usize> {
        let disk = self.disk();
        let file = &disk.files[&disk.file(Folder::Log, &wal::file_name(number))?];
        Ok(file.blocks() * BLOCK)
    }

    fn place_segment(&self, number: u32) -> io::Result<()> {
        let file = self.create(Folder::Log, SEGMENT_TMP)?;
        {
            let mut disk = self.disk();
            let bytes = disk.segment_bytes as u64;
            disk.files.get_mut(&file.id).expect("it was made").length = bytes;
        }
        file.finish(&wal::file_name(number))
    }

    fn retire_segment(&self, number: u32) -> io::Result<()> {
        self.remove(Folder::Log, &wal::file_name(number))
    }

    fn remove_spares(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &SimDisk, name: &str, bytes: &[u8]) {
        let mut file = disk.create(Folder::Snap, "tmp").expect("power");
        file.write(bytes).expect("room");
        file.finish(name).expect("power");
    }

    /// What is flushed survives every crash, what is not may survive in part, sector by sector.
    #[test]
    fn crashes() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::new(1 << 16, seed);
            file(&disk, "a", &[1; 3 * BLOCK]);
            disk.write_at(Folder::Snap, "a", BLOCK as u64, &[2; BLOCK]).expect("room");
            assert_eq!(disk.read(Folder::Snap, "a").expect("there")[BLOCK..2 * BLOCK], [2; BLOCK]);
            disk.crash(seed);
            let bytes = disk.read(Folder::Snap, "a").expect("there");
            assert_eq!((&bytes[..BLOCK], &bytes[2 * BLOCK..]), (&[1; BLOCK][..], &[1; BLOCK][..]));
            let sectors: Vec<u8> = bytes[BLOCK..2 * BLOCK].chunks(SECTOR).map(|sector| sector[0]).collect();
            for (i, sector) in bytes[BLOCK..2 * BLOCK].chunks(SECTOR).enumerate() {
                assert!(sector.iter().all(|byte| *byte == sectors[i]), "a sector is never torn");
            }
            outcomes.insert(sectors);
        }
        assert!(outcomes.len() > 20, "torn in few ways: {}", outcomes.len());
        assert!(outcomes.contains(&vec![1; 8]) && outcomes.contains(&vec![2; 8]));
    }

    /// Names come and go with their folder's flush; before it, each by chance.
    #[test]
    fn names() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let disk = SimDisk::new(1 << 16, seed);
            file(&disk, "a", b"a");
            disk.rename(Folder::Snap, "a", "b").expect("there");
            disk.create(Folder::Snap, "c").expect("power");
            disk.crash(seed);
            seen.insert(disk.names(Folder::Snap).expect("power"));
        }
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(seen, [names(&["a"]), names(&["a", "c"]), names(&["b"]), names(&["b", "c"])].into());
    }

    /// A full disk fails the write that needs a block, not one that overwrites; a failed flush fails once.
    #[test]
    fn full_and_failing() {
        let disk = SimDisk::new(1 << 16, 1);
        file(&disk, "a", &[1; 2 * BLOCK]);
        disk.set_blocks_max(Some(2));
        disk.write_at(Folder::Snap, "a", 0, &[2; BLOCK]).expect("no new block");
        let error = disk.write_at(Folder::Snap, "a", 2 * BLOCK as u64, &[2; 1]).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.fail_flush_after(0);
        assert!(disk.flush(Folder::Snap, "a").is_err());
        disk.flush(Folder::Snap, "a").expect("it fails once");
        disk.power_off_after(1);
        disk.sync(Folder::Snap).expect("one more");
        assert!(disk.is_off() && disk.sync(Folder::Snap).is_err());
        disk.crash(1);
        disk.sync(Folder::Snap).expect("the power is back");
    }

    /// Damage is one bit of what was flushed, and is told.
    #[test]
    fn damage() {
        let disk = SimDisk::new(1 << 16, 1);
        assert_eq!(disk.damage(1), None);
        file(&disk, "a", &[0; 5000]);
        let damaged = disk.damage(1).expect("has blocks");
        let bytes = disk.read(Folder::Snap, "a").expect("there");
        let changed: Vec<_> = (0..5000).filter(|at| bytes[*at] != 0).collect();
        assert_eq!(changed, [damaged.offset as usize]);
    }
}
