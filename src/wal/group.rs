//! The writing side: records into a batch, a batch into the sectors of one group.

use super::format::{
    FORMAT_VERSION, GROUP_HEADER_BYTES, MAGIC, MARKER_BYTES, MARKERS_SINCE, RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES, TXN_BYTES_MAX,
};
use super::sector::{self, BLOCK_BYTES, Header, PAYLOAD_BYTES};
use super::{Marker, Position};
use crate::proto::Zxid;
use bytes::BufMut;

/// Records that go to disk together, in the order of their zxids, or one [`Marker`]. Kept and cleared, not
/// dropped, so that its buffer grows once.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: u32,
    first: Zxid,
    last: Zxid,
    marker: Option<Marker>,
}

impl Batch {
    /// A batch that is one marker, which has a group of its own.
    pub fn marker(marker: Marker) -> Self {
        Self { last: marker.zxid(), marker: Some(marker), ..Self::default() }
    }

    /// An empty batch with room for `bytes` of records.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Appends one record: what `txn` writes, under `zxid`.
    ///
    /// # Panics
    /// Where `zxid` is not above that of the record before, or the txn is longer than
    /// [`TXN_BYTES_MAX`]: the commit side keeps to both.
    pub fn put(&mut self, zxid: Zxid, txn: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.marker.is_none(), "a marker has a group of its own");
        assert!(zxid > self.last, "log goes back: {zxid} after {}", self.last);
        let start = self.bytes.len();
        self.bytes.put_u32(0);
        self.bytes.put_u64(zxid.0);
        txn(&mut self.bytes);
        let txn_bytes = self.bytes.len() - start - RECORD_HEADER_BYTES;
        assert!(txn_bytes <= TXN_BYTES_MAX, "txn {zxid} has {txn_bytes} bytes, limit {TXN_BYTES_MAX}");
        self.bytes[start..start + 4].copy_from_slice(&(txn_bytes as u32).to_be_bytes());
        if self.records == 0 {
            self.first = zxid;
        }
        self.records += 1;
        self.last = zxid;
    }

    /// Forgets the records or the marker, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.records, self.first, self.last, self.marker) = (0, Zxid::ZERO, Zxid::ZERO, None);
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.marker.is_none()
    }

    /// Number of records; 0 for a marker.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes of all records, headers included.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Zxid of the first record, [`Zxid::ZERO`] if there is none.
    pub fn first(&self) -> Zxid {
        self.first
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let length = u32::from_be_bytes(rest.get(..4)?.try_into().expect("four")) as usize;
            let zxid = u64::from_be_bytes(rest[4..RECORD_HEADER_BYTES].try_into().expect("eight"));
            let (record, following) = rest.split_at(RECORD_HEADER_BYTES + length);
            rest = following;
            Some((Zxid(zxid), &record[RECORD_HEADER_BYTES..]))
        })
    }

    /// The marker, if it is one.
    pub fn as_marker(&self) -> Option<Marker> {
        self.marker
    }

    /// Whether it is a marker.
    pub fn is_marker(&self) -> bool {
        self.marker.is_some()
    }

    /// Zxid of the last record, or the marker's; [`Zxid::ZERO`] if there is none.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Bytes after the group's header.
    fn body_bytes(&self) -> usize {
        if self.marker.is_some() { MARKER_BYTES } else { self.bytes.len() }
    }

    /// Whether the log restarts with this.
    fn is_base(&self) -> bool {
        matches!(self.marker, Some(Marker::Base { .. }))
    }
}

/// Where an encoded group goes: one write, then one `fdatasync`, then its records are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Number of the segment.
    pub segment: u32,
    /// Where in the segment, a multiple of [`BLOCK_BYTES`].
    pub offset: usize,
    /// How many bytes, a multiple of [`BLOCK_BYTES`].
    pub bytes: usize,
    /// Zxid of the group's last record, or the marker's.
    pub last: Zxid,
}

impl Written {
    /// Where the group ends: all before is durable once this one is.
    pub fn end(&self) -> Position {
        Position { segment: self.segment, offset: self.offset + self.bytes }
    }
}

/// Turns batches into groups, each of which follows the one before it.
///
/// The caller writes a group only when the one before it is durable, and ends the process at the
/// first write or flush that fails: nothing here can be taken back.
#[derive(Debug)]
pub struct GroupEncoder {
    pub(super) segment_bytes: usize,
    pub(super) segment: u32,
    pub(super) group: u32,
    pub(super) offset: usize,
    /// Chain value of the last group.
    pub(super) chain: u32,
    /// Zxid of the last record, or of a marker after it.
    pub(super) last: Zxid,
    /// Version of the segment's format; an older one has no markers.
    pub(super) version: u32,
}

impl GroupEncoder {
    /// Starts a new log whose records come after `after` (that of the snapshot it continues) with
    /// segment `number`. A log that is there goes on with [`Recovery::encoder`].
    ///
    /// [`Recovery::encoder`]: super::Recovery::encoder
    pub fn new(segment_bytes: usize, number: u32, after: Zxid) -> Self {
        assert!(
            segment_bytes > 0 && segment_bytes.is_multiple_of(BLOCK_BYTES),
            "segment of {segment_bytes} bytes"
        );
        assert!(number > 0, "segments count from 1");
        let version = FORMAT_VERSION;
        Self { segment_bytes, segment: number, group: 0, offset: 0, chain: 0, last: after, version }
    }

    /// Number of the segment that the next group goes to.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Where in the segment the next group goes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Segment and offset of the next group.
    pub fn position(&self) -> Position {
        Position { segment: self.segment, offset: self.offset }
    }

    /// Zxid of the last record that counts: after a marker, the marker's.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Bytes that [`encode`](Self::encode) makes of `batch` here.
    pub fn group_bytes(&self, batch: &Batch) -> usize {
        sector::padded_bytes(self.head_bytes() + batch.body_bytes())
    }

    /// Whether `batch` may stand in this segment, and fits into what is left of it; if not, the next segment
    /// is due.
    ///
    /// A base begins a segment: the segments' starts alone then show where replay starts, also where
    /// zxids went back. A segment that a version without markers began gets none.
    pub fn fits(&self, batch: &Batch) -> bool {
        let may_stand = match batch.marker {
            None => true,
            Some(Marker::Truncate { .. }) => self.version >= MARKERS_SINCE,
            Some(Marker::Base { .. }) => self.group == 0,
        };
        may_stand && self.group_bytes(batch) <= self.segment_bytes - self.offset
    }

    /// Goes to the next segment, whose number it returns; the next group is its group 0.
    ///
    /// The caller does so when every group of this segment is durable, and has the file in place
    /// (full length, name durable) before it writes to it.
    pub fn begin_segment(&mut self) -> u32 {
        assert!(self.group > 0, "segment {} is left without a group", self.segment);
        self.segment = self.segment.checked_add(1).expect("2^32 segments of 64 MiB");
        (self.group, self.offset, self.version) = (0, 0, FORMAT_VERSION);
        self.segment
    }

    /// Writes `batch` as the next group to the start of `out`, which has at least
    /// [`group_bytes`](Self::group_bytes); copies each byte once and allocates nothing.
    ///
    /// # Panics
    /// Where the batch is empty, does not fit, or does not come after the last record.
    pub fn encode(&mut self, batch: &Batch, out: &mut [u8]) -> Written {
        assert!(!batch.is_empty(), "a group without records");
        match batch.marker {
            None => assert!(batch.first > self.last, "log goes back: {} after {}", batch.first, self.last),
            Some(Marker::Truncate { to }) => {
                assert!(to <= self.last, "log cut at {to}, it ends at {}", self.last);
            }
            Some(Marker::Base { .. }) => {}
        }
        assert!(self.fits(batch), "group of {} bytes at {}", self.group_bytes(batch), self.offset);
        let bytes = self.group_bytes(batch);
        let out = &mut out[..bytes];

        let (head, head_bytes) = self.head(batch);
        let marker = batch.marker.map(|marker| marker.encode(self.last));
        let body = marker.as_ref().map_or(&batch.bytes[..], |marker| &marker[..]);
        let (begin, rest) = body.split_at(body.len().min(PAYLOAD_BYTES - head_bytes));
        let data_sectors = sector::count(head_bytes + body.len());
        let first_index = (self.offset / sector::BYTES) as u32;
        let mut rest = rest.chunks(PAYLOAD_BYTES);
        let mut chain = crc32fast::Hasher::new();
        for (i, sector) in out.chunks_exact_mut(sector::BYTES).enumerate() {
            let payload = &mut sector[sector::HEADER_BYTES..];
            let used = if i == 0 {
                payload[..head_bytes].copy_from_slice(&head[..head_bytes]);
                payload[head_bytes..head_bytes + begin.len()].copy_from_slice(begin);
                head_bytes + begin.len()
            } else {
                let chunk = rest.next().unwrap_or_default();
                payload[..chunk.len()].copy_from_slice(chunk);
                chunk.len()
            };
            payload[used..].fill(0);
            let (is_first, is_last) = (i == 0, i + 1 == data_sectors);
            let header = Header { segment: self.segment, group: self.group, used, is_first, is_last };
            let crc = sector::seal(sector, first_index + i as u32, header);
            chain.update(&crc.to_be_bytes());
        }
        assert!(rest.next().is_none(), "records are left over");

        let written = Written { segment: self.segment, offset: self.offset, bytes, last: batch.last };
        self.group += 1;
        self.offset += bytes;
        self.chain = chain.finalize();
        self.last = batch.last;
        written
    }

    /// Bytes before the records.
    fn head_bytes(&self) -> usize {
        GROUP_HEADER_BYTES + if self.group == 0 { SEGMENT_HEADER_BYTES } else { 0 }
    }

    /// What stands before the records: the segment's header in group 0, the group's in each.
    fn head(&self, batch: &Batch) -> ([u8; SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES], usize) {
        let mut head = [0; SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES];
        let mut out = &mut head[..];
        if self.group == 0 {
            out.put_slice(&MAGIC);
            out.put_u32(self.version);
            // What precedes the segment's records: nothing before a base does.
            out.put_u64(if batch.is_base() { batch.last.0 } else { self.last.0 });
        }
        out.put_u32(self.chain);
        out.put_u32(batch.records);
        (head, self.head_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(zxid: u64, txn_bytes: usize) -> Batch {
        let mut batch = Batch::default();
        batch.put(Zxid(zxid), |out| out.resize(out.len() + txn_bytes, 1));
        batch
    }

    /// A group ends exactly at a sector or block, or one byte after it, with the room that it names.
    #[test]
    fn sizes() {
        let mut encoder = GroupEncoder::new(1 << 16, 1, Zxid::ZERO);
        let full = 8 * PAYLOAD_BYTES - SEGMENT_HEADER_BYTES - GROUP_HEADER_BYTES - RECORD_HEADER_BYTES;
        assert_eq!(encoder.group_bytes(&batch(1, full)), 4096);
        assert_eq!(encoder.group_bytes(&batch(1, full + 1)), 8192);
        let mut out = [0xFF; 8192];
        assert_eq!(encoder.encode(&batch(1, full), &mut out).bytes, 4096);
        // Without the segment's header there is room for as much more.
        assert_eq!(encoder.group_bytes(&batch(2, full + SEGMENT_HEADER_BYTES)), 4096);
        assert_eq!(out[4096..], [0xFF; 4096], "nothing is written after the group");
    }

    /// A log that goes back is a bug, whether inside a batch or between two.
    #[test]
    #[should_panic(expected = "log goes back: 0x5 after 0x5")]
    fn zxids_increase() {
        let mut encoder = GroupEncoder::new(1 << 16, 1, Zxid(5));
        encoder.encode(&batch(5, 1), &mut [0; 4096]);
    }

    /// After a marker the log goes on after the marker's zxid; a base begins a segment, a truncation does not.
    #[test]
    fn markers() {
        let mut encoder = GroupEncoder::new(1 << 16, 1, Zxid::ZERO);
        let mut out = [0; 8192];
        encoder.encode(&batch(9, 1), &mut out);
        let truncate = Batch::marker(Marker::Truncate { to: Zxid(5) });
        assert!(!truncate.is_empty() && encoder.fits(&truncate));
        assert_eq!(encoder.encode(&truncate, &mut out).end(), Position { segment: 1, offset: 8192 });
        assert_eq!(encoder.last(), Zxid(5));
        encoder.encode(&batch(6, 1), &mut out);
        let base = Batch::marker(Marker::Base { at: Zxid(3) });
        assert!(!encoder.fits(&base));
        encoder.begin_segment();
        assert!(encoder.fits(&base));
        encoder.encode(&base, &mut out);
        assert_eq!((encoder.last(), encoder.position()), (Zxid(3), Position { segment: 2, offset: 4096 }));
        encoder.encode(&batch(4, 1), &mut out);
    }

    /// A truncation above the log's end would make up records.
    #[test]
    #[should_panic(expected = "log cut at 0x6, it ends at 0x5")]
    fn truncation_above_the_end() {
        let mut encoder = GroupEncoder::new(1 << 16, 1, Zxid(5));
        encoder.encode(&Batch::marker(Marker::Truncate { to: Zxid(6) }), &mut [0; 4096]);
    }

    /// What does not fit is for the next segment, which goes on where this one ends.
    #[test]
    fn segments_follow() {
        let mut encoder = GroupEncoder::new(8192, 1, Zxid::ZERO);
        let mut out = [0; 8192];
        encoder.encode(&batch(1, 10), &mut out);
        assert!(encoder.fits(&batch(2, 1000)));
        assert!(!encoder.fits(&batch(2, 5000)));
        assert_eq!(encoder.begin_segment(), 2);
        assert!(encoder.fits(&batch(2, 5000)));
        let written = encoder.encode(&batch(2, 5000), &mut out);
        assert_eq!(written, Written { segment: 2, offset: 0, bytes: 8192, last: Zxid(2) });
    }
}
