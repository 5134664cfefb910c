//! zkfast's own log, as a start reads it.
//!
//! An input is sectors: number of the sector in two segments, two bytes of length, so many bytes of it; the rest is zeros.
//! A checksum of 0 is put right first, and so is the chain value 0 of a group's first sector, or few inputs would come past
//! them.

use super::Bounds;
use bytes::BufMut;
use zkfast::proto::Zxid;
use zkfast::wal::{
    BLOCK_BYTES, Batch, Entry, GroupEncoder, Marker, Next, Place, Recovery, has_own_digests, peek,
};

/// Whatever the input, the segments have their length.
pub const BOUNDS: Bounds = Bounds { bytes: (8 * SEGMENT_BYTES as u64, 16), allocations: (4096, 64) };

/// Bytes of a segment here: few, so that an input often reaches its end.
const SEGMENT_BYTES: usize = 3 * BLOCK_BYTES;
const SECTOR_BYTES: usize = 512;
const SECTORS: usize = 2 * SEGMENT_BYTES / SECTOR_BYTES;
/// Magic, version, zxid: before the header of a segment's first group.
const SEGMENT_HEADER_BYTES: usize = 20;

/// A record or marker that was read.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Txn(Zxid, Vec<u8>),
    Marker(Marker, Zxid),
}

impl Read {
    fn of(entry: Entry<'_>) -> Self {
        match entry {
            Entry::Txn(zxid, bytes) => Self::Txn(zxid, bytes.to_vec()),
            Entry::Marker { marker, from } => Self::Marker(marker, from),
        }
    }
}

pub fn check(input: &[u8]) -> bool {
    let mut log = place(input);
    seal(&mut log);
    let segments: Vec<&[u8]> = log.chunks(SEGMENT_BYTES).collect();
    for (segment, number) in segments.iter().zip(1..) {
        let (whole, block) = (peek(segment, number), peek(&segment[..BLOCK_BYTES], number));
        assert_eq!(whole, block, "a segment's start is in its first block");
        has_own_digests(segment, number);
    }
    let has_second = segments[1].iter().any(|&byte| byte != 0);
    let segments = if has_second { &segments[..] } else { &segments[..1] };
    let mut recovery = Recovery::new(SEGMENT_BYTES);
    let mut read = Vec::new();
    for (segment, number) in segments.iter().zip(1..) {
        let place = if number as usize == segments.len() { Place::Newest } else { Place::Inner };
        let before = read.len();
        let Ok(end) = recovery.segment(segment, number, place, |entry| read.push(Read::of(entry))) else {
            return false;
        };
        assert!(end.offset.is_multiple_of(BLOCK_BYTES) && end.offset <= SEGMENT_BYTES);
        if before == 0 {
            check_pieces(segment, number, end.groups, &read);
        }
    }
    let records = read.iter().filter(|entry| matches!(entry, Read::Txn(..))).count();
    assert_eq!(recovery.records(), records as u64);
    go_on(&recovery, segments, &read);
    !read.is_empty()
}

/// Group by group, as the end of a log is read for followers, a segment holds the same.
fn check_pieces(segment: &[u8], number: u32, groups: u32, expected: &[Read]) {
    let mut recovery = Recovery::new(SEGMENT_BYTES);
    let (mut offset, mut read) = (0, Vec::new());
    for group in 0..groups {
        let next =
            recovery.next(&segment[offset..], number, group, offset, |entry| read.push(Read::of(entry)));
        let Ok(Next::Group { bytes }) = next else { panic!("group {group} at {offset}: {next:?}") };
        offset += bytes;
    }
    assert_eq!(read, expected);
}

/// The log goes on where it ends: with one more record it reads as before, and that record.
fn go_on(recovery: &Recovery, segments: &[&[u8]], read: &[Read]) {
    let Ok(Some(mut encoder)) = recovery.encoder(Zxid::ZERO) else { return };
    let Some(zxid) = encoder.last().0.checked_add(1).map(Zxid) else { return };
    let mut batch = Batch::with_capacity(64);
    batch.put(zxid, |out| out.extend(b"one more"));
    if !encoder.fits(&batch) {
        return;
    }
    let mut segments: Vec<Vec<u8>> = segments.iter().map(|segment| segment.to_vec()).collect();
    let newest = segments.last_mut().unwrap();
    // What was torn is cleared before anything is written.
    let offset = encoder.offset();
    newest[offset..].fill(0);
    encoder.encode(&batch, &mut newest[offset..]);
    let (mut again, mut recovery) = (Vec::new(), Recovery::new(SEGMENT_BYTES));
    for (segment, number) in segments.iter().zip(1..) {
        let place = if number as usize == segments.len() { Place::Newest } else { Place::Inner };
        let end = recovery.segment(segment, number, place, |entry| again.push(Read::of(entry)));
        assert_eq!(end.expect("it was read before").torn, None);
    }
    let (last, before) = again.split_last().unwrap();
    assert_eq!((last, before), (&Read::Txn(zxid, b"one more".to_vec()), read));
}

/// Two segments with the input's sectors in their places.
fn place(mut input: &[u8]) -> Vec<u8> {
    let mut log = vec![0; 2 * SEGMENT_BYTES];
    while let Some((&[number, high, low], rest)) = input.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(SECTOR_BYTES).min(rest.len());
        let at = usize::from(number) % SECTORS * SECTOR_BYTES;
        log[at..at + length].copy_from_slice(&rest[..length]);
        input = &rest[length..];
    }
    log
}

/// Puts chain values and checksums of 0 right.
fn seal(log: &mut [u8]) {
    let (mut chain, mut hasher) = (0, crc32fast::Hasher::new());
    for (number, sector) in log.chunks_mut(SECTOR_BYTES).enumerate() {
        if sector.iter().all(|&byte| byte == 0) {
            continue;
        }
        let is_first = sector[15] & 1 == 1;
        if is_first {
            (chain, hasher) = (std::mem::take(&mut hasher).finalize(), crc32fast::Hasher::new());
        }
        let is_group_0 = sector[8..12] == [0; 4];
        let names_at = 16 + if is_group_0 { SEGMENT_HEADER_BYTES } else { 0 };
        if is_first && sector[names_at..names_at + 4] == [0; 4] {
            sector[names_at..names_at + 4].copy_from_slice(&u32::to_be_bytes(chain));
        }
        if sector[..4] == [0; 4] {
            let index = number % (SECTORS / 2);
            let mut crc = crc32fast::Hasher::new_with_initial(index as u32);
            crc.update(&sector[4..]);
            sector[..4].copy_from_slice(&crc.finalize().to_be_bytes());
        }
        hasher.update(&sector[..4]);
    }
}

/// The sectors of a log that are not empty, as an input.
fn packed(log: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    for (number, sector) in log.chunks(SECTOR_BYTES).enumerate() {
        let Some(last) = sector.iter().rposition(|&byte| byte != 0) else { continue };
        input.put_u8(number as u8);
        input.put_u16(last as u16 + 1);
        input.put_slice(&sector[..=last]);
    }
    input
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for is_restarted in [false, true] {
        let mut log = vec![0; 2 * SEGMENT_BYTES];
        let mut encoder = GroupEncoder::new(SEGMENT_BYTES, 1, Zxid::ZERO);
        let mut write = |encoder: &mut GroupEncoder, batch: &Batch| {
            let at = (encoder.segment() as usize - 1) * SEGMENT_BYTES + encoder.offset();
            encoder.encode(batch, &mut log[at..]);
        };
        let mut batch = Batch::with_capacity(64);
        batch.put(Zxid::new(1, 1), |out| out.extend(b"first"));
        batch.put(Zxid::new(1, 2), |out| out.extend([7; 600]));
        write(&mut encoder, &batch);
        write(&mut encoder, &Batch::marker(Marker::Truncate { to: Zxid::new(1, 1) }));
        encoder.begin_segment();
        if is_restarted {
            write(&mut encoder, &Batch::marker(Marker::Base { at: Zxid::new(2, 0) }));
        }
        let mut batch = Batch::with_capacity(64);
        batch.put(Zxid::new(2, 5), |out| out.extend(b"last"));
        write(&mut encoder, &batch);
        seeds.push(packed(&log));
        // With checksums and chain values to be put right.
        let mut open = log.clone();
        for sector in open.chunks_mut(SECTOR_BYTES) {
            sector[..4].fill(0);
            let names_at = 16 + if sector[8..12] == [0; 4] { SEGMENT_HEADER_BYTES } else { 0 };
            if sector[15] & 1 == 1 {
                sector[names_at..names_at + 4].fill(0);
            }
        }
        seeds.push(packed(&open));
        // The second segment was never whole.
        log[SEGMENT_BYTES + SECTOR_BYTES..].fill(0);
        seeds.push(packed(&log));
    }
    seeds
}
