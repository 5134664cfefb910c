//! The files of the log over any [`Storage`], for the simulator and for tests.

use super::{Folder, LogError, LogFiles, LogWriter, Placed, Storage};
use crate::wal::{self, GroupEncoder};
use std::io;

/// The open segment of a log. Its user tells it the time.
#[derive(Debug)]
pub struct LogFile<S> {
    storage: S,
    segment: u32,
    name: String,
    filled: usize,
    buffer: Vec<u8>,
    /// The user's clock, in microseconds.
    pub clock_us: i64,
}

impl<S: Storage> LogFile<S> {
    /// A writer that goes on where the log ends, which is durable.
    ///
    /// # Errors
    /// Those of the system: the log ends.
    pub fn writer(storage: S, encoder: GroupEncoder) -> Result<LogWriter<Self>, LogError> {
        let segment = encoder.segment();
        let failed = |error| LogError { segment, what: "cannot be looked at", error };
        let filled = storage.filled_bytes(segment).map_err(failed)?.max(encoder.offset());
        let (name, buffer) = (wal::file_name(segment), Vec::new());
        Ok(LogWriter::new(Self { storage, segment, name, filled, buffer, clock_us: 0 }, encoder))
    }
}

impl<S: Storage> LogFiles for LogFile<S> {
    fn segment_bytes(&self) -> usize {
        self.storage.segment_bytes()
    }

    fn filled(&self) -> usize {
        self.filled
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn buffer(&mut self, bytes: usize) -> &mut [u8] {
        self.buffer.resize(self.buffer.len().max(bytes), 0);
        &mut self.buffer[..bytes]
    }

    fn write(&mut self, offset: usize, bytes: usize) -> io::Result<()> {
        self.storage.write_at(Folder::Log, &self.name, offset as u64, &self.buffer[..bytes])?;
        self.filled = self.filled.max(offset + bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.storage.flush(Folder::Log, &self.name)
    }

    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        self.storage.write_at(Folder::Log, &self.name, self.filled as u64, &vec![0; bytes])?;
        self.filled += bytes;
        Ok(())
    }

    fn begin_segment(&mut self, number: u32) -> io::Result<Placed> {
        assert!(number > self.segment, "segment {number} begins after {}", self.segment);
        self.storage.place_segment(number)?;
        (self.segment, self.name) = (number, wal::file_name(number));
        self.filled = self.storage.filled_bytes(number)?;
        Ok(Placed::New)
    }

    fn prepare_spare(&mut self) -> bool {
        true
    }

    fn now_us(&self) -> i64 {
        self.clock_us
    }
}
