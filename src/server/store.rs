//! TEMPORARY until the storage branch is merged.
use super::files::{self, DataDir};
use crate::storage::{Folder, NewFile, Storage};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

fn folder(dir: &DataDir, folder: Folder) -> &Path {
    match folder {
        Folder::Snap => &dir.snap,
        Folder::Log => &dir.log,
    }
}

/// A file being made.
#[derive(Debug)]
pub struct New {
    file: File,
    from: PathBuf,
    dir: PathBuf,
}

impl NewFile for New {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }
    fn finish(self, name: &str) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.from, self.dir.join(name))?;
        files::sync_dir(&self.dir)
    }
}

impl Storage for DataDir {
    type Map = Vec<u8>;
    type New = New;
    fn segment_bytes(&self) -> usize {
        crate::wal::SEGMENT_BYTES
    }
    fn path(&self, f: Folder, name: &str) -> PathBuf {
        folder(self, f).join(name)
    }
    fn names(&self, f: Folder) -> io::Result<Vec<String>> {
        fs::read_dir(folder(self, f))?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
    }
    fn map(&self, f: Folder, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(f, name))
    }
    fn read(&self, f: Folder, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(f, name))
    }
    fn read_at(&self, f: Folder, name: &str, offset: u64, out: &mut [u8]) -> io::Result<()> {
        File::open(self.path(f, name))?.read_exact_at(out, offset)
    }
    fn create(&self, f: Folder, name: &str) -> io::Result<New> {
        let from = self.path(f, name);
        Ok(New { file: File::create(&from)?, from, dir: folder(self, f).to_owned() })
    }
    fn write_at(&self, f: Folder, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(f, name))?.write_all_at(bytes, offset)
    }
    fn flush(&self, f: Folder, name: &str) -> io::Result<()> {
        File::open(self.path(f, name))?.sync_all()
    }
    fn rename(&self, f: Folder, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(f, from), self.path(f, to))
    }
    fn remove(&self, f: Folder, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(f, name))
    }
    fn sync(&self, f: Folder) -> io::Result<()> {
        files::sync_dir(folder(self, f))
    }
    fn move_into(&self, _: Folder, _: &[String], _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn place_segment(&self, number: u32) -> io::Result<()> {
        files::place_segment(self, number)
    }
    fn retire_segment(&self, _: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove_spares(&self) -> io::Result<()> {
        files::remove_spares(self)
    }
}
