//! One sector: the smallest piece that a disk writes whole, so each names its segment and group itself.

/// Bytes of a sector: the least that any disk writes at once, so that a crash never halves it.
pub(super) const BYTES: usize = 512;

/// What a group starts at and is padded to: the largest block that disks of today write at once,
/// and so what keeps acknowledged bytes out of every later write.
pub const BLOCK_BYTES: usize = 4096;

/// Bytes of a sector's header.
pub(super) const HEADER_BYTES: usize = 16;

/// Bytes of a group's payload that a sector takes.
pub(super) const PAYLOAD_BYTES: usize = BYTES - HEADER_BYTES;

/// The first sector of its group.
const FIRST: u16 = 1;
/// The last sector of its group that holds payload; after it comes padding only.
const LAST: u16 = 2;

/// A sector's header without its checksum, integers big-endian.
///
/// | offset | bytes | field     |                                                              |
/// |-------:|------:|-----------|--------------------------------------------------------------|
/// |      0 |     4 | `crc32`   | of the 508 bytes after it, started from the sector's index   |
/// |      4 |     4 | `segment` | number of the segment it was written for, from 1             |
/// |      8 |     4 | `group`   | number of the group in the segment, from 0                   |
/// |     12 |     2 | `used`    | payload bytes: 496, fewer in the last one, 0 in padding      |
/// |     14 |     2 | `flags`   | 1 first, 2 last                                              |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub segment: u32,
    pub group: u32,
    pub used: usize,
    pub is_first: bool,
    pub is_last: bool,
}

/// What is found where a sector of segment N is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sector {
    /// A sector that was written for this place in this segment; the checksum of it.
    Own(Header, u32),
    /// What lies there before the segment's first write: zeros, or what the file held under the
    /// lower number that it had before it was recycled.
    Before,
    /// Valid, but of a segment with a higher number: the file is another one than its name.
    Newer(u32),
    /// None of these: the checksum is wrong, or the header cannot be.
    Bad,
}

/// Number of sectors that `payload_bytes` fill, without padding.
pub(super) const fn count(payload_bytes: usize) -> usize {
    payload_bytes.div_ceil(PAYLOAD_BYTES)
}

/// Bytes that a group of `payload_bytes` takes in its segment, with padding.
pub(super) const fn padded_bytes(payload_bytes: usize) -> usize {
    (count(payload_bytes) * BYTES).next_multiple_of(BLOCK_BYTES)
}

/// Seals `sector`, whose payload stands, as the `index`-th of its segment; returns its checksum.
pub(super) fn seal(sector: &mut [u8], index: u32, header: Header) -> u32 {
    assert_eq!(sector.len(), BYTES, "sector size");
    assert!(header.used <= PAYLOAD_BYTES, "payload of {} bytes in a sector", header.used);
    assert!(header.segment != 0, "segments count from 1, so that no sector is all zeros");
    let flags = if header.is_first { FIRST } else { 0 } | if header.is_last { LAST } else { 0 };
    sector[4..8].copy_from_slice(&header.segment.to_be_bytes());
    sector[8..12].copy_from_slice(&header.group.to_be_bytes());
    sector[12..14].copy_from_slice(&(header.used as u16).to_be_bytes());
    sector[14..16].copy_from_slice(&flags.to_be_bytes());
    let crc = checksum(sector, index);
    sector[..4].copy_from_slice(&crc.to_be_bytes());
    crc
}

/// Tells what `sector` is, found as the `index`-th of the segment `number`.
pub(super) fn read(sector: &[u8], index: u32, number: u32) -> Sector {
    if *sector == [0; BYTES] {
        return Sector::Before;
    }
    let word = |at: usize| u32::from_be_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
    let crc = word(0);
    if crc != checksum(sector, index) {
        return Sector::Bad;
    }
    let (used, flags) = ((word(12) >> 16) as usize, word(12) as u16);
    let header = Header {
        segment: word(4),
        group: word(8),
        used,
        is_first: flags & FIRST != 0,
        is_last: flags & LAST != 0,
    };
    // Every sector but the last is full, and padding is empty and follows the last.
    let is_sound = flags & !(FIRST | LAST) == 0
        && match (header.is_first, header.is_last) {
            (_, true) => (1..=PAYLOAD_BYTES).contains(&used),
            (true, false) => used == PAYLOAD_BYTES,
            (false, false) => used == PAYLOAD_BYTES || used == 0,
        };
    match header.segment {
        _ if !is_sound => Sector::Bad,
        0 => Sector::Bad,
        segment if segment < number => Sector::Before,
        segment if segment > number => Sector::Newer(segment),
        _ => Sector::Own(header, crc),
    }
}

/// Started from the index, so that a sector in another's place is never valid there.
fn checksum(sector: &[u8], index: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(index);
    crc.update(&sector[4..BYTES]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { segment: 7, group: 3, used: PAYLOAD_BYTES, is_first: true, is_last: false };

    fn sealed() -> [u8; BYTES] {
        let mut sector = [0xAB; BYTES];
        seal(&mut sector, 9, HEADER);
        sector
    }

    /// A sector is its segment's own, an older one's rest, or proof that the file is another one.
    #[test]
    fn whose_it_is() {
        assert!(matches!(read(&sealed(), 9, 7), Sector::Own(HEADER, _)));
        assert_eq!(read(&sealed(), 9, 8), Sector::Before);
        assert_eq!(read(&sealed(), 9, 6), Sector::Newer(7));
        assert_eq!(read(&[0; BYTES], 9, 7), Sector::Before);
    }

    /// A sector in another's place and a sector with any one bit flipped are neither old nor own.
    #[test]
    fn displaced_or_flipped() {
        for index in (0..1 << 17).filter(|&index| index != 9) {
            assert_eq!(read(&sealed(), index, 7), Sector::Bad, "{index}");
        }
        for bit in 0..BYTES * 8 {
            let mut sector = sealed();
            sector[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&sector, 9, 7), Sector::Bad, "{bit}");
        }
    }

    /// A valid checksum does not make a header good that no writer gives.
    #[test]
    fn impossible_headers() {
        let first = Header { used: 5, ..HEADER };
        let last = Header { used: 0, is_last: true, ..HEADER };
        let middle = Header { used: 1, is_first: false, ..HEADER };
        for header in [first, last, middle] {
            let mut sector = [0; BYTES];
            seal(&mut sector, 0, header);
            assert_eq!(read(&sector, 0, 7), Sector::Bad, "{header:?}");
        }
    }
}
