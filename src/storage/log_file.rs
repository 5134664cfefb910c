//! The log's writing end over [`Storage`], one group after the other.

use super::{Folder, Storage};
use crate::wal::{self, Batch, GroupEncoder, Position, Written};
use std::io;

/// Writes the log where nothing else is wanted than that it is written: in the simulator, in tools. The server's own
/// writer also prepares segments ahead, writes past the page cache and keeps the time.
#[derive(Debug)]
pub struct LogFile<S> {
    storage: S,
    encoder: GroupEncoder,
    buffer: Vec<u8>,
    /// The group that is written and not yet flushed.
    in_flight: Option<Written>,
}

impl<S: Storage> LogFile<S> {
    /// Goes on where the log ends, which is durable.
    pub fn new(storage: S, encoder: GroupEncoder) -> Self {
        Self { storage, encoder, buffer: Vec::new(), in_flight: None }
    }

    /// Writes a batch or a marker as the next group; it is durable once [`flush`](Self::flush) returns.
    ///
    /// # Errors
    /// Those of the system: the log ends.
    ///
    /// # Panics
    /// Where the group before is not flushed, or the batch is larger than a segment.
    pub fn write(&mut self, batch: &Batch) -> io::Result<Written> {
        assert!(self.in_flight.is_none(), "one group in flight");
        if !self.encoder.fits(batch) {
            let number = self.encoder.begin_segment();
            self.storage.place_segment(number)?;
        }
        self.buffer.resize(self.encoder.group_bytes(batch), 0);
        let written = self.encoder.encode(batch, &mut self.buffer);
        let name = wal::file_name(written.segment);
        self.storage.write_at(Folder::Log, &name, written.offset as u64, &self.buffer)?;
        self.in_flight = Some(written);
        Ok(written)
    }

    /// Makes the group in flight durable; returns where the log ends.
    ///
    /// # Errors
    /// Those of the system: the log ends.
    pub fn flush(&mut self) -> io::Result<Position> {
        if let Some(written) = self.in_flight {
            self.storage.flush(Folder::Log, &wal::file_name(written.segment))?;
            self.in_flight = None;
        }
        Ok(self.encoder.position())
    }

    /// Both.
    ///
    /// # Errors
    /// Those of the system: the log ends.
    pub fn append(&mut self, batch: &Batch) -> io::Result<Position> {
        self.write(batch)?;
        self.flush()
    }

    /// Where the log stands, the group in flight included.
    pub fn encoder(&self) -> &GroupEncoder {
        &self.encoder
    }
}
