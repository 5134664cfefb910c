//! The reading side: every acknowledged record of a log, or the reason why not.

use super::format::{
    FORMAT_VERSION, GROUP_HEADER_BYTES, MAGIC, MARKER_BYTES, MARKERS_SINCE, OWN_DIGESTS_SINCE,
    RECORD_HEADER_BYTES, SEGMENT_BYTES, SEGMENT_HEADER_BYTES, TXN_BYTES_MAX, u32_at, zxid_at,
};
use super::sector::{self, BLOCK_BYTES, PAYLOAD_BYTES, Sector};
use super::{GroupEncoder, Marker, Segment, file_name};
use crate::proto::Zxid;
use std::fmt;

/// A log that must not be used: something acknowledged is gone or changed, or may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}, byte {offset}: {seen}. The log is whole up to {}. Nothing was changed. Restore the file from a \
     copy; or, if this server belongs to an ensemble, move its data directory away and start it: it then \
     takes everything from the leader",
    file_name(*segment), Through(*through)
)]
pub struct Damage {
    /// Number of the segment.
    pub segment: u32,
    /// Where in its file.
    pub offset: u64,
    /// What was found there.
    pub seen: Seen,
    /// The last record that was read; `None` if none was.
    pub through: Option<Zxid>,
}

struct Through(Option<Zxid>);

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(zxid) => write!(f, "zxid {zxid}"),
            None => write!(f, "there, of what was read: no record"),
        }
    }
}

/// What recovery found that no crash causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Seen {
    /// Segments always have their full length.
    #[error("the file has {bytes} bytes, a segment has {segment_bytes}: it was cut, or is no segment")]
    Length {
        /// Of the file.
        bytes: usize,
        /// Of every segment.
        segment_bytes: usize,
    },
    /// A number is left out.
    #[error("the segment before it, {}, is missing", file_name(*.0))]
    Missing(u32),
    /// Only the newest segment may be empty.
    #[error("the segment is empty, and a later one exists")]
    Empty,
    /// A sector that is neither this segment's, nor empty, nor an older segment's.
    #[error("a sector's checksum is wrong: bytes of it changed after they were written")]
    Checksum,
    /// A sector of a segment with a higher number.
    #[error("a sector belongs to {}: the file was renamed or overwritten", file_name(*.0))]
    NewerSegment(u32),
    /// Sectors are missing from a group that was acknowledged, as something follows it.
    #[error("sectors of group {group} are missing, and {follower} was written after it")]
    Incomplete {
        /// Number of the group in its segment.
        group: u32,
        /// What shows that the group was once whole.
        follower: Follower,
    },
    /// A sector of a group that ends before it.
    #[error("a sector of group {0} lies after that group's end: a cut tail was not cleared")]
    Leftover(u32),
    /// A group of another log, or of another course of this one.
    #[error("group {group} follows a group with chain value {names:08x}, the one before it has {is:08x}")]
    Chain {
        /// Number of the group in its segment.
        group: u32,
        /// Chain value of its predecessor, as its header has it.
        names: u32,
        /// Chain value of its predecessor.
        is: u32,
    },
    /// The segment begins elsewhere than the one before it ends.
    #[error("the segment begins after zxid {begins}, the one before it ends at {ends}")]
    Begin {
        /// What the segment's header has.
        begins: Zxid,
        /// Zxid of the last record before it.
        ends: Zxid,
    },
    /// A record that does not come after the one before it.
    #[error("zxid {zxid} stands after zxid {after}")]
    Order {
        /// Of the record.
        zxid: Zxid,
        /// Of the record before it.
        after: Zxid,
    },
    /// A valid checksum over what no version of the writer writes.
    #[error("a group cannot be read: {0}")]
    Malformed(&'static str),
    /// Another version's segment.
    #[error(
        "the segment has format version {0}, this zkfast reads up to {FORMAT_VERSION}: start the one that wrote it"
    )]
    Version(u32),
    /// A base goes with the snapshot that the leader sent, or a later one.
    #[error("the log restarts at zxid {0}, from a snapshot that is missing or damaged")]
    NoSnapshot(Zxid),
    /// A snapshot is made of records that are in the log.
    #[error("the log ends before zxid {0}, which a snapshot holds")]
    BehindSnapshot(Zxid),
}

/// What follows a group and so shows that it was durable: groups are written one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follower {
    /// A group of the same segment.
    Group {
        /// Its number.
        number: u32,
        /// Where a sector of it lies.
        offset: u64,
    },
    /// A later segment.
    Segment,
}

impl fmt::Display for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { number, offset } => write!(f, "group {number} at byte {offset}"),
            Self::Segment => write!(f, "the next segment"),
        }
    }
}

/// The group that was being written when the server stopped, and was acknowledged to no client.
///
/// The shell fills its bytes with zeros and flushes them before it writes anything: what is left of
/// it would otherwise mix with the group that takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}, byte {offset}: cut off a group that was not completely written ({sectors} of its sectors, within \
     {bytes} bytes); none of it was acknowledged", file_name(*segment)
)]
pub struct Torn {
    /// Number of the segment.
    pub segment: u32,
    /// Where the group starts, a multiple of [`BLOCK_BYTES`].
    pub offset: usize,
    /// How many bytes to clear, a multiple of [`BLOCK_BYTES`].
    pub bytes: usize,
    /// How many of its sectors were there.
    pub sectors: usize,
}

/// Where a segment's records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Groups in the segment.
    pub groups: u32,
    /// Where the next one goes.
    pub offset: usize,
    /// What was cut off there; only ever in the newest segment.
    pub torn: Option<Torn>,
}

/// Where a segment stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Another one follows: it must be whole.
    Inner,
    /// No other one follows: it may be empty, or end in a torn group.
    Newest,
}

/// What a log holds, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A txn. The markers after it decide whether it counts.
    Txn(Zxid, &'a [u8]),
    /// A marker.
    Marker {
        /// What no longer counts.
        marker: Marker,
        /// Where the log ended before it.
        from: Zxid,
    },
}

/// What comes next in a segment that is read piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A group of so many bytes; its entries were handed out.
    Group {
        /// How many bytes it takes.
        bytes: usize,
    },
    /// A group that does not end within the bytes that were given.
    Cut,
    /// No group begins here.
    End,
}

/// Reads a log, segment by segment in the order of their numbers.
///
/// Records are handed out as they are read. Where a later one turns out damaged, none of them may be
/// used: the caller drops what it built from them and stops.
#[derive(Debug)]
pub struct Recovery {
    segment_bytes: usize,
    /// The segment read last, and where it ends.
    end: Option<(u32, End)>,
    /// Chain value of the group read last.
    chain: Option<u32>,
    /// Zxid of the record or marker read last, or of the last record before the first segment read.
    last: Option<Zxid>,
    /// Version of the segment read last.
    version: u32,
    records: u64,
    /// A record that spans sectors is put together here.
    scratch: Vec<u8>,
}

impl Recovery {
    /// Starts with the first segment that [`segment`](Self::segment) is given, which is
    /// [`replay_start`](super::replay_start)'s; what came before it is purged, and not missed.
    pub fn new(segment_bytes: usize) -> Self {
        assert!(
            segment_bytes > 0 && segment_bytes.is_multiple_of(BLOCK_BYTES),
            "segment of {segment_bytes} bytes"
        );
        Self {
            segment_bytes,
            end: None,
            chain: None,
            last: None,
            version: FORMAT_VERSION,
            records: 0,
            scratch: Vec::new(),
        }
    }

    /// Reads the segment `number` in place and hands out its entries.
    pub fn segment(
        &mut self,
        bytes: &[u8],
        number: u32,
        place: Place,
        mut each: impl FnMut(Entry<'_>),
    ) -> Result<End, Damage> {
        assert!(number > 0, "segments count from 1");
        let segment_bytes = self.segment_bytes;
        if bytes.len() != segment_bytes {
            let seen = Seen::Length { bytes: bytes.len(), segment_bytes };
            return Err(self.damage(number, bytes.len().min(segment_bytes), seen));
        }
        if let Some((before, _)) = self.end {
            assert!(number > before, "segment {number} is read after {before}");
            if number != before + 1 {
                return Err(self.damage(number, 0, Seen::Missing(number - 1)));
            }
        }
        let (mut group, mut offset) = (0, 0);
        while let Some(extent) = Extent::find(&bytes[offset..], offset, number, group) {
            self.group(&bytes[offset..], (number, offset), group, &extent, &mut each)?;
            (group, offset) = (group + 1, offset + extent.bytes);
        }
        let torn = self.tail(bytes, number, group, offset, place)?;
        let end = End { groups: group, offset, torn };
        self.end = Some((number, end));
        Ok(end)
    }

    /// Reads what `bytes` begin with, which lie in segment `number` from `offset` on: its group `group`, and
    /// hands out the entries if it is whole. Groups are read in their order, over segments too; what lies
    /// where no group begins is not judged: the next segment's first group shows whether it follows.
    ///
    /// # Errors
    /// Where a group is malformed, or does not follow the one that was read before.
    pub fn next(
        &mut self,
        bytes: &[u8],
        number: u32,
        group: u32,
        offset: usize,
        mut each: impl FnMut(Entry<'_>),
    ) -> Result<Next, Damage> {
        if let Some(extent) = Extent::find(bytes, offset, number, group) {
            self.group(bytes, (number, offset), group, &extent, &mut each)?;
            return Ok(Next::Group { bytes: extent.bytes });
        }
        let first = bytes.get(..sector::BYTES);
        match first.map(|first| sector::read(first, (offset / sector::BYTES) as u32, number)) {
            None => Ok(Next::Cut),
            Some(Sector::Own(header, _)) if header.group == group => Ok(Next::Cut),
            Some(_) => Ok(Next::End),
        }
    }

    /// The encoder that goes on where the newest segment ends, once what was torn is cleared; `None`
    /// where there is no segment. `snapshot` is the zxid of the snapshot that the log continues: a
    /// log that ends before it lost its end.
    pub fn encoder(&self, snapshot: Zxid) -> Result<Option<GroupEncoder>, Damage> {
        let Some((segment, end)) = self.end else { return Ok(None) };
        let (chain, last) = (self.chain.unwrap_or(0), self.last.unwrap_or(snapshot));
        if last < snapshot {
            return Err(self.damage(segment, end.offset, Seen::BehindSnapshot(snapshot)));
        }
        let mut encoder = GroupEncoder::new(self.segment_bytes, segment, last);
        (encoder.group, encoder.offset, encoder.chain) = (end.groups, end.offset, chain);
        encoder.version = if end.groups == 0 { FORMAT_VERSION } else { self.version };
        Ok(Some(encoder))
    }

    /// Zxid that the log ends at, of what was read: the last record's or marker's.
    pub fn last(&self) -> Option<Zxid> {
        self.last
    }

    /// Number of records read.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Reads one group that is there in full, at the start of `bytes`.
    fn group(
        &mut self,
        bytes: &[u8],
        (number, offset): (u32, usize),
        group: u32,
        extent: &Extent,
        each: &mut impl FnMut(Entry<'_>),
    ) -> Result<(), Damage> {
        // Lent to the payload's reader while `self` is needed too.
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = self.entries_of(bytes, group, extent, &mut scratch, each);
        self.scratch = scratch;
        result.map_err(|seen| self.damage(number, offset, seen))
    }

    fn entries_of(
        &mut self,
        bytes: &[u8],
        group: u32,
        extent: &Extent,
        scratch: &mut Vec<u8>,
        each: &mut impl FnMut(Entry<'_>),
    ) -> Result<(), Seen> {
        let mut payload = Payload { sectors: &bytes[..extent.bytes], at: 0, bytes: extent.payload_bytes };
        let mut begins = None;
        if group == 0 {
            let (version, after) = segment_header(payload.take(SEGMENT_HEADER_BYTES, scratch)?)?;
            (self.version, begins) = (version, Some(after));
        }
        let header = payload.take(GROUP_HEADER_BYTES, scratch)?;
        let (names, records) = (u32_at(header, 0), u32_at(header, 4));
        let marker = match records {
            0 if self.version < MARKERS_SINCE => return Err(Seen::Malformed("no record")),
            0 => {
                let marker = Marker::decode(payload.take(MARKER_BYTES, scratch)?);
                Some(marker.ok_or(Seen::Malformed("a marker of unknown kind"))?)
            }
            _ => None,
        };
        // A base holds where the segment begins, in place of where the one before ended; that is known as well.
        let follows = match marker {
            Some((Marker::Base { at }, from)) if begins == Some(at) => Some(from),
            Some((Marker::Base { .. }, _)) => return Err(Seen::Malformed("a base begins no segment")),
            _ => begins,
        };
        match (self.last, follows) {
            (Some(ends), Some(begins)) if begins != ends => return Err(Seen::Begin { begins, ends }),
            (None, _) => self.last = begins,
            _ => {}
        }
        let mut last = self.last.expect("group 0 has been read");
        match self.chain {
            Some(is) if is != names => return Err(Seen::Chain { group, names, is }),
            _ => self.chain = Some(extent.chain),
        }
        if let Some((marker, from)) = marker {
            if let Marker::Truncate { to } = marker
                && (from != last || to > last)
            {
                return Err(Seen::Malformed("a truncation that does not follow the record before it"));
            }
            each(Entry::Marker { marker, from });
            last = marker.zxid();
        }
        for _ in 0..records {
            let header = payload.take(RECORD_HEADER_BYTES, scratch)?;
            let (txn_bytes, zxid) = (u32_at(header, 0) as usize, zxid_at(header, 4));
            if txn_bytes > TXN_BYTES_MAX {
                return Err(Seen::Malformed("a record over the limit"));
            }
            if zxid <= last {
                return Err(Seen::Order { zxid, after: last });
            }
            each(Entry::Txn(zxid, payload.take(txn_bytes, scratch)?));
            last = zxid;
            self.records += 1;
        }
        if payload.at != payload.bytes {
            return Err(Seen::Malformed("bytes after the last record"));
        }
        self.last = Some(last);
        Ok(())
    }

    /// Judges what lies from `offset` to the segment's end, where no whole `group` starts.
    ///
    /// All of it is read: one sector of a later group anywhere shows that this one was durable.
    fn tail(
        &self,
        bytes: &[u8],
        number: u32,
        group: u32,
        offset: usize,
        place: Place,
    ) -> Result<Option<Torn>, Damage> {
        let damage = |at, seen| Err(self.damage(number, at, seen));
        let incomplete = |follower| Seen::Incomplete { group, follower };
        // Of the sectors of `group`: how many, where the last of them ends, where its payload does.
        let (mut sectors, mut end, mut last_end) = (0, offset, None);
        for at in (offset..bytes.len()).step_by(sector::BYTES) {
            let header = match sector_at(bytes, at, number) {
                Sector::Before => continue,
                Sector::Bad => {
                    let seen = if at == 0 { foreign_version(bytes) } else { None };
                    return damage(at, seen.unwrap_or(Seen::Checksum));
                }
                Sector::Newer(segment) => return damage(at, Seen::NewerSegment(segment)),
                Sector::Own(header, _) => header,
            };
            if header.group > group {
                let follower = Follower::Group { number: header.group, offset: at as u64 };
                return damage(offset, incomplete(follower));
            }
            if header.group < group {
                return damage(at, Seen::Leftover(header.group));
            }
            let is_padding = last_end.is_some_and(|end: usize| at < end.next_multiple_of(BLOCK_BYTES));
            let fits = match last_end {
                None => header.is_first == (at == offset),
                Some(_) => is_padding && header.used == 0,
            };
            if !fits {
                return damage(at, Seen::Malformed("its sectors do not fit together"));
            }
            end = at + sector::BYTES;
            sectors += 1;
            if header.is_last {
                last_end = Some(end);
            }
        }
        match (place, sectors) {
            (Place::Inner, 0) if group == 0 => damage(0, Seen::Empty),
            (_, 0) => Ok(None),
            (Place::Inner, _) => damage(offset, incomplete(Follower::Segment)),
            (Place::Newest, _) => {
                let cleared = end.next_multiple_of(BLOCK_BYTES) - offset;
                // Torn is only what lacks a sector: one of these, or those with its end.
                let lacks_none = sectors * sector::BYTES == cleared;
                if lacks_none && (last_end.is_some() || end == bytes.len()) {
                    return damage(offset, Seen::Malformed("its sectors do not fit together"));
                }
                Ok(Some(Torn { segment: number, offset, bytes: cleared, sectors }))
            }
        }
    }

    fn damage(&self, segment: u32, offset: usize, seen: Seen) -> Damage {
        Damage { segment, offset: offset as u64, seen, through: self.last() }
    }
}

/// Where segment `number` begins, from its first block alone: its `after` is `None` where no group 0 starts in
/// it. Whether that group is whole is for [`Recovery`] to find out, but for a base, which counts as not there unless
/// it is whole.
///
/// # Errors
/// Where the first sector is damaged; the rest of the segment is not looked at.
pub fn peek(block: &[u8], number: u32) -> Result<Segment, Damage> {
    let damage = |seen| Damage { segment: number, offset: 0, seen, through: None };
    let begins = |after, is_base| Segment { number, after, is_base };
    let Some(first) = block.get(..sector::BYTES).filter(|_| block.len() >= BLOCK_BYTES) else {
        return Err(damage(Seen::Length { bytes: block.len(), segment_bytes: SEGMENT_BYTES }));
    };
    match sector_at(first, 0, number) {
        Sector::Before => Ok(begins(None, false)),
        Sector::Newer(segment) => Err(damage(Seen::NewerSegment(segment))),
        Sector::Bad => Err(damage(foreign_version(first).unwrap_or(Seen::Checksum))),
        Sector::Own(header, _) if header.group != 0 || !header.is_first => {
            Err(damage(Seen::Malformed("it is not group 0")))
        }
        Sector::Own(header, _) => {
            let payload = &first[sector::HEADER_BYTES..][..header.used];
            let Some(head) = payload.get(..SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES) else {
                return Err(damage(Seen::Malformed(ENDS_EARLY)));
            };
            let (version, after) = segment_header(head).map_err(damage)?;
            let is_marker = version >= MARKERS_SINCE && u32_at(head, SEGMENT_HEADER_BYTES + 4) == 0;
            let marker = payload[head.len()..].get(..MARKER_BYTES).and_then(Marker::decode);
            let is_base = is_marker && matches!(marker, Some((Marker::Base { .. }, _)));
            let is_whole = Extent::find(&block[..BLOCK_BYTES], 0, number, 0).is_some();
            Ok(if is_base && !is_whole { begins(None, false) } else { begins(Some(after), is_base) })
        }
    }
}

/// Whether the digests in segment `number` are zkfast's own, so that one that disagrees with the tree proves damage;
/// in segments of older versions they are hints. `block` is the start of its file.
pub fn has_own_digests(block: &[u8], number: u32) -> bool {
    let Some(first) = block.get(..sector::BYTES) else { return true };
    match sector_at(first, 0, number) {
        Sector::Own(header, _) => {
            let head = first[sector::HEADER_BYTES..][..header.used].get(..SEGMENT_HEADER_BYTES);
            let version = head.and_then(|head| segment_header(head).ok()).map(|(version, _)| version);
            version.is_none_or(|version| version >= OWN_DIGESTS_SINCE)
        }
        // There are no records in it, or it is damaged.
        Sector::Before | Sector::Newer(_) | Sector::Bad => true,
    }
}

/// A group that is there in full: every sector from its first to the end of its last block.
struct Extent {
    /// To where its last block ends.
    bytes: usize,
    payload_bytes: usize,
    /// Chain value: over the checksums of all its sectors, and so over all their bytes.
    chain: u32,
}

impl Extent {
    /// The extent of `group`, with which `bytes` begin, themselves at `offset` of the segment; `None` unless all
    /// of it is there.
    fn find(bytes: &[u8], offset: usize, number: u32, group: u32) -> Option<Self> {
        let mut chain = crc32fast::Hasher::new();
        let (mut at, mut payload_bytes, mut is_ended) = (0usize, 0, false);
        while !is_ended || !at.is_multiple_of(BLOCK_BYTES) {
            let sector = bytes.get(at..at + sector::BYTES)?;
            let index = ((offset + at) / sector::BYTES) as u32;
            let Sector::Own(header, crc) = sector::read(sector, index, number) else { return None };
            if header.group != group || header.is_first != (at == 0) || is_ended != (header.used == 0) {
                return None;
            }
            chain.update(&crc.to_be_bytes());
            payload_bytes += header.used;
            is_ended |= header.is_last;
            at += sector::BYTES;
        }
        Some(Self { bytes: at, payload_bytes, chain: chain.finalize() })
    }
}

const ENDS_EARLY: &str = "it ends inside a field";

/// Reads a group's payload, which lies in pieces of 496 bytes.
struct Payload<'a> {
    sectors: &'a [u8],
    /// Payload bytes that have been read, of `bytes`.
    at: usize,
    bytes: usize,
}

impl<'a> Payload<'a> {
    /// The next `need` bytes: in place where one sector holds them, else put together in `scratch`.
    fn take<'s>(&mut self, need: usize, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Seen>
    where
        'a: 's,
    {
        if need > self.bytes - self.at {
            return Err(Seen::Malformed(ENDS_EARLY));
        }
        let mut piece = self.piece(need);
        if piece.len() == need {
            return Ok(piece);
        }
        scratch.clear();
        loop {
            scratch.extend_from_slice(piece);
            if scratch.len() == need {
                return Ok(scratch);
            }
            piece = self.piece(need - scratch.len());
        }
    }

    /// The next bytes, at most `limit`, that lie in one piece.
    fn piece(&mut self, limit: usize) -> &'a [u8] {
        let (sector, within) = (self.at / PAYLOAD_BYTES, self.at % PAYLOAD_BYTES);
        let bytes = limit.min(PAYLOAD_BYTES - within);
        let start = sector * sector::BYTES + sector::HEADER_BYTES + within;
        self.at += bytes;
        // Nothing may be asked for at the very end of the last sector.
        if bytes == 0 { &[] } else { &self.sectors[start..start + bytes] }
    }
}

/// Version of the segment, and zxid of the last record before it.
fn segment_header(header: &[u8]) -> Result<(u32, Zxid), Seen> {
    if header[..8] != MAGIC {
        return Err(Seen::Malformed("it lacks the segment's header"));
    }
    match u32_at(header, 8) {
        version @ 1..=FORMAT_VERSION => Ok((version, zxid_at(header, 12))),
        version => Err(Seen::Version(version)),
    }
}

/// The version that an unreadable first sector names: one with sectors of another form keeps magic
/// and version in their places, and is not called damage. (A sector of this form is, where only its version changed.)
fn foreign_version(bytes: &[u8]) -> Option<Seen> {
    let header = &bytes[sector::HEADER_BYTES..][..12];
    let version = u32_at(header, 8);
    let was_ours = |ours: u32| {
        let mut sector = bytes[..sector::BYTES].to_vec();
        sector[sector::HEADER_BYTES + 8..][..4].copy_from_slice(&ours.to_be_bytes());
        sector::read(&sector, 0, u32::MAX) != Sector::Bad
    };
    let is_foreign = header[..8] == MAGIC && !(1..=FORMAT_VERSION).contains(&version);
    (is_foreign && !(1..=FORMAT_VERSION).any(was_ours)).then_some(Seen::Version(version))
}

fn sector_at(bytes: &[u8], at: usize, number: u32) -> Sector {
    sector::read(&bytes[at..at + sector::BYTES], (at / sector::BYTES) as u32, number)
}
