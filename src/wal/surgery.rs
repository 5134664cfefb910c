//! Every way to hurt a small log, one at a time: nothing acknowledged is lost silently.

use super::*;

/// 64 sectors: small enough to try everything.
const SEGMENT_BYTES: usize = 32 << 10;

/// A seeded generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

type Record = (Zxid, Vec<u8>);

/// A log in memory: the disk of these tests, and what was acknowledged of it.
struct Log {
    /// From number `first` on.
    segments: Vec<Vec<u8>>,
    first: u32,
    encoder: GroupEncoder,
    records: Vec<Record>,
    random: Random,
}

impl Log {
    fn new(seed: u64) -> Self {
        Self {
            segments: vec![vec![0; SEGMENT_BYTES]],
            first: 1,
            encoder: GroupEncoder::new(SEGMENT_BYTES, 1, Zxid::ZERO),
            records: Vec::new(),
            random: Random(seed),
        }
    }

    fn newest(&mut self) -> &mut Vec<u8> {
        self.segments.last_mut().expect("a log has a segment")
    }

    /// Encodes a group of txns of these sizes; neither written nor acknowledged.
    fn encode(&mut self, txn_bytes: &[usize]) -> (Written, Vec<u8>, Vec<Record>) {
        let mut batch = Batch::default();
        let mut records = Vec::new();
        for &bytes in txn_bytes {
            let last = batch.last().max(self.encoder.last());
            let zxid = Zxid(last.0 + 1 + self.random.below(3) as u64);
            let txn = self.random.bytes(bytes);
            batch.put(zxid, |out| out.extend_from_slice(&txn));
            records.push((zxid, txn));
        }
        if !self.encoder.fits(&batch) {
            self.encoder.begin_segment();
            self.segments.push(vec![0; self.segments[0].len()]);
        }
        // What the buffer held before must not matter.
        let mut out = vec![0xEE; self.encoder.group_bytes(&batch)];
        let written = self.encoder.encode(&batch, &mut out);
        (written, out, records)
    }

    /// Writes and acknowledges one group.
    fn append(&mut self, txn_bytes: &[usize]) -> Written {
        let (written, out, records) = self.encode(txn_bytes);
        self.newest()[written.offset..written.offset + written.bytes].copy_from_slice(&out);
        self.records.extend(records);
        written
    }

    /// Writes and acknowledges a marker.
    fn mark(&mut self, marker: Marker) -> Written {
        let batch = Batch::marker(marker);
        if !self.encoder.fits(&batch) {
            self.encoder.begin_segment();
            self.segments.push(vec![0; SEGMENT_BYTES]);
        }
        let mut out = vec![0xEE; self.encoder.group_bytes(&batch)];
        let written = self.encoder.encode(&batch, &mut out);
        self.newest()[written.offset..written.offset + written.bytes].copy_from_slice(&out);
        match marker {
            Marker::Truncate { to } => self.records.retain(|(zxid, _)| *zxid <= to),
            Marker::Base { .. } => self.records.clear(),
        }
        written
    }

    /// Goes to the next segment, whose file is the oldest one's: its sectors stay in it.
    fn recycle(&mut self) {
        self.encoder.begin_segment();
        let oldest = self.segments.remove(0);
        self.segments.push(oldest);
        self.first += 1;
    }

    fn recover(&self) -> Result<(Vec<Record>, Recovery, End), Damage> {
        recover(&self.segments, self.first)
    }
}

/// Reads all `segments`, the first of which has the number `first`.
fn recover(segments: &[Vec<u8>], first: u32) -> Result<(Vec<Record>, Recovery, End), Damage> {
    let mut recovery = Recovery::new(SEGMENT_BYTES);
    let (mut records, mut markers) = (Vec::new(), Vec::new());
    let mut end = None;
    for (i, bytes) in segments.iter().enumerate() {
        let place = if i + 1 == segments.len() { Place::Newest } else { Place::Inner };
        let each = |entry: Entry<'_>| match entry {
            Entry::Txn(zxid, txn) => records.push((zxid, txn.to_vec())),
            Entry::Marker { marker, .. } => markers.push((records.len(), marker)),
        };
        end = Some(recovery.segment(bytes, first + i as u32, place, each)?);
    }
    Ok((what_counts(records, &markers), recovery, end.expect("one segment at least")))
}

/// Without the records that markers took back; each marker stands after so many records.
fn what_counts(records: Vec<Record>, markers: &[(usize, Marker)]) -> Vec<Record> {
    let cuts = Cuts::of(&markers.iter().map(|(_, marker)| *marker).collect::<Vec<_>>());
    let before = |place: usize| markers.iter().filter(|(after, _)| *after <= place).count();
    let records = records.into_iter().enumerate();
    records
        .filter(|(place, (zxid, _))| cuts.counts(*zxid, before(*place)))
        .map(|(_, record)| record)
        .collect()
}

/// Segments 2 and 3, each of a few groups with free room after them; 3 is recycled from 1, whose
/// sectors lie after its tail. Returned with the records of both.
fn small_log() -> (Log, Vec<Record>) {
    let mut log = Log::new(1);
    for _ in 0..7 {
        log.append(&[300, 1500, 700]);
    }
    log.encoder.begin_segment();
    log.segments.push(vec![0; SEGMENT_BYTES]);
    let purged = log.records.len();
    log.append(&[10]);
    log.append(&[0, 2500, 1, 1300, 600]);
    log.append(&[3000, 2000]);
    log.recycle();
    log.append(&[5000]);
    log.append(&[20, 30]);
    log.append(&[40]);
    let records = log.records.split_off(purged);
    (log, records)
}

/// Every size of a record around the edges of sectors and blocks comes back as it was, alone and in
/// company, over segment ends and recycled files; the encoder goes on where recovery ends.
#[test]
fn round_trip() {
    let mut log = Log::new(2);
    for bytes in
        (0..40).chain(430..530).chain(930..1000).chain(3900..4200).chain([8000, 12_345, 20_000, 31_600])
    {
        log.append(&[bytes]);
        log.append(&[bytes / 2, 0, bytes / 3]);
        if log.segments.len() == 3 {
            let (records, recovery, end) = log.recover().expect("whole");
            assert_eq!(records.len() as u64, recovery.records());
            assert!(log.records.ends_with(&records) && end.torn.is_none());
            let encoder = recovery.encoder(Zxid::ZERO).expect("ends after it").expect("has segments");
            assert_eq!(format!("{encoder:?}"), format!("{:?}", log.encoder));
            log.encoder = encoder;
            log.recycle();
        }
    }
    assert!(log.first > 50, "few segments: {}", log.first);
}

/// A segment's first block shows where it begins; an empty one shows nothing.
#[test]
fn begins_after() {
    let (log, records) = small_log();
    let begins = |number, after| Ok(Segment { number, after, is_base: false });
    assert_eq!(peek(&log.segments[1], 3), begins(3, Some(records[7].0)));
    assert_eq!(peek(&log.segments[1], 4), begins(4, None), "recycled, not yet written");
    assert_eq!(peek(&vec![0; SEGMENT_BYTES], 4), begins(4, None));
    assert!(peek(&log.segments[1], 2).is_err());
    assert!(peek(&[], 2).is_err());
}

/// A flipped bit in any byte of the log, stale sectors and free room included, is refused: all of
/// it was acknowledged or lies where a group may have been.
#[test]
fn every_byte_flipped() {
    let (mut log, records) = small_log();
    assert_eq!(log.recover().expect("whole").0, records);
    for segment in 0..2 {
        for at in 0..SEGMENT_BYTES {
            let bit = 1 << log.random.below(8);
            log.segments[segment][at] ^= bit;
            let damage = log.recover().expect_err("a flipped bit is seen");
            assert!(!matches!(damage.seen, Seen::Version(_)), "{damage}");
            // What is named is the sector, or a group whose sector it is.
            assert_eq!(damage.segment, 2 + segment as u32, "{damage}");
            assert_eq!(damage.offset, (at / 512 * 512) as u64, "{damage}");
            log.segments[segment][at] ^= bit;
        }
    }
}

/// A segment that lost its end, however much of it, is refused, and so is one that grew.
#[test]
fn every_length() {
    let (log, _) = small_log();
    for segment in 0..2 {
        let mut segments = log.segments.clone();
        for length in (0..SEGMENT_BYTES).rev() {
            segments[segment].truncate(length);
            let mut recovery = Recovery::new(SEGMENT_BYTES);
            let result = recovery.segment(&segments[0], 2, Place::Inner, |_| ());
            let result = result.and_then(|_| recovery.segment(&segments[1], 3, Place::Newest, |_| ()));
            assert!(matches!(result.expect_err("cut").seen, Seen::Length { bytes, .. } if bytes == length));
        }
        segments[segment] = log.segments[segment].clone();
        segments[segment].push(0);
        assert!(recover(&segments, 2).is_err(), "one byte too long");
    }
}

/// Sectors that return to what they held before (a write that was lost) are refused, but for those
/// of the very last group, which then looks as if it had been in flight. Never wrong data.
#[test]
fn every_sector_lost() {
    let (log, records) = small_log();
    let (last_group, tail) = (8192 + 4096, 8192 + 4096 + 4096);
    for segment in 0..2 {
        for at in (0..SEGMENT_BYTES).step_by(512) {
            let mut segments = log.segments.clone();
            segments[segment][at..at + 512].fill(0);
            let unchanged = segments == log.segments;
            match recover(&segments, 2) {
                Ok((read, _, end)) if end.torn.is_some() => {
                    assert_eq!(read, records[..records.len() - 1]);
                    assert!(segment == 1 && (last_group..tail).contains(&at), "{segment} {at}");
                    assert_eq!(end.offset, last_group);
                }
                Ok((read, ..)) => {
                    assert_eq!(read, records);
                    assert!(unchanged || (segment == 1 && at >= tail), "{segment} {at}");
                }
                Err(damage) => assert!(at < [20_480, last_group][segment], "{damage}"),
            }
        }
    }
}

/// Any two sectors of the log exchanged, within a segment and across both, are noticed unless both
/// are alike or both lie in free room.
#[test]
fn sectors_exchanged() {
    let (mut log, records) = small_log();
    for _ in 0..3000 {
        let (a, b) = (log.random.below(128), log.random.below(128));
        let mut segments = log.segments.clone();
        let place = |sector: usize| (sector / 64, sector % 64 * 512);
        let ((segment_a, at_a), (segment_b, at_b)) = (place(a), place(b));
        segments[segment_a][at_a..at_a + 512].copy_from_slice(&log.segments[segment_b][at_b..at_b + 512]);
        segments[segment_b][at_b..at_b + 512].copy_from_slice(&log.segments[segment_a][at_a..at_a + 512]);
        if let Ok((read, ..)) = recover(&segments, 2) {
            assert_eq!(read, records, "{a} {b}");
            let is_free = |sector| sector >= if sector < 64 { 20_480 / 512 } else { 64 + 16_384 / 512 };
            assert!(segments == log.segments || is_free(a) && is_free(b), "{a} {b}");
        }
    }
}

/// Segments missing, doubled, out of another log, under another's name, or empty are refused.
#[test]
fn segments_mixed_up() {
    let (log, _) = small_log();
    let seen = |segments: &[Vec<u8>], first| recover(segments, first).expect_err("refused").seen;
    let [a, b] = [log.segments[0].clone(), log.segments[1].clone()];
    let empty = vec![0; SEGMENT_BYTES];
    assert_eq!(seen(&[b.clone(), a.clone()], 2), Seen::NewerSegment(3));
    assert_eq!(seen(&[a.clone(), empty.clone(), empty.clone()], 2), Seen::Empty);
    assert_eq!(seen(&[a.clone(), a.clone(), empty], 2), Seen::Empty, "a copy under the next number");

    let mut recovery = Recovery::new(SEGMENT_BYTES);
    recovery.segment(&a, 2, Place::Inner, |_| ()).expect("whole");
    let damage = recovery.segment(&b, 4, Place::Newest, |_| ()).expect_err("3 is missing");
    assert_eq!(damage.seen, Seen::Missing(3));

    // The same zxids with other txns: only the chain shows it.
    let mut batch = Batch::default();
    batch.put(Zxid(7), |out| out.push(1));
    let mut other = GroupEncoder::new(SEGMENT_BYTES, 2, Zxid(6));
    let mut foreign = vec![0; SEGMENT_BYTES];
    other.encode(&batch, &mut foreign);
    let first = foreign.clone();
    batch.clear();
    batch.put(Zxid(7), |out| out.push(2));
    other = GroupEncoder::new(SEGMENT_BYTES, 2, Zxid(6));
    other.encode(&batch, &mut foreign);
    other.begin_segment();
    let mut second = vec![0; SEGMENT_BYTES];
    batch.clear();
    batch.put(Zxid(8), |out| out.push(2));
    other.encode(&batch, &mut second);
    assert!(recover(&[foreign, second.clone()], 2).is_ok());
    assert!(matches!(seen(&[first.clone(), second], 2), Seen::Chain { group: 0, .. }));
    // And a segment that begins elsewhere is named as that.
    other = GroupEncoder::new(SEGMENT_BYTES, 3, Zxid(9));
    batch.clear();
    batch.put(Zxid(10), |out| out.push(2));
    second = vec![0; SEGMENT_BYTES];
    other.encode(&batch, &mut second);
    assert_eq!(seen(&[first, second], 2), Seen::Begin { begins: Zxid(9), ends: Zxid(7) });
}

/// A log that ends before its snapshot lost records; an empty one continues any snapshot.
#[test]
fn log_behind_its_snapshot() {
    let (log, records) = small_log();
    let (_, recovery, _) = log.recover().expect("whole");
    let last = records.last().expect("has records").0;
    assert!(recovery.encoder(last).is_ok());
    let damage = recovery.encoder(Zxid(last.0 + 1)).expect_err("a record is missing");
    assert_eq!(damage.seen, Seen::BehindSnapshot(Zxid(last.0 + 1)));

    let (read, recovery, end) = recover(&[vec![0; SEGMENT_BYTES]], 1).expect("nothing was written yet");
    assert_eq!((read.len(), end), (0, End { groups: 0, offset: 0, torn: None }));
    let encoder = recovery.encoder(Zxid(77)).expect("any snapshot").expect("has a segment");
    assert_eq!((encoder.last(), encoder.segment(), encoder.offset()), (Zxid(77), 1, 0));
    assert!(Recovery::new(SEGMENT_BYTES).encoder(Zxid(77)).expect("nothing").is_none());
}

/// What no writer makes is refused under valid checksums too: zxids that do not grow, and a group with
/// all of its sectors that still is none.
#[test]
fn impossible_groups() {
    let mut log = Log::new(10);
    log.append(&[1]);
    let after = log.encoder.last;
    log.encoder.last = Zxid(after.0 - 1);
    let mut batch = Batch::default();
    batch.put(after, |_| ());
    let (offset, segment) = (log.encoder.offset(), &mut log.segments[0]);
    log.encoder.encode(&batch, &mut segment[offset..]);
    assert_eq!(log.recover().expect_err("refused").seen, Seen::Order { zxid: after, after });

    let mut segment = vec![0; SEGMENT_BYTES];
    for index in 0..8 {
        // The first sector, padding, and only then the last one with payload.
        let used = [496, 0, 1, 0, 0, 0, 0, 0][index];
        let (is_first, is_last) = (index == 0, index == 2);
        let header = sector::Header { segment: 1, group: 0, used, is_first, is_last };
        sector::seal(&mut segment[index * 512..][..512], index as u32, header);
    }
    let damage = recover(&[segment], 1).expect_err("nothing is missing");
    assert!(matches!(damage.seen, Seen::Malformed(_)), "{damage}");
}

/// A segment of a later format is refused by its version, not called damaged, even where the form of
/// its sectors is another.
#[test]
fn unknown_version() {
    let mut segment = vec![0; SEGMENT_BYTES];
    segment[..16].fill(9);
    segment[16..24].copy_from_slice(b"ZKFASTLG");
    let later = FORMAT_VERSION + 1;
    segment[24..28].copy_from_slice(&later.to_be_bytes());
    assert_eq!(recover(&[segment], 1).expect_err("refused").seen, Seen::Version(later));
}

/// What an operator reads: file, offset, what was seen, how far the log is good, what to do.
#[test]
fn messages() {
    let (mut log, _) = small_log();
    log.segments[1][4096] ^= 1;
    let text = log.recover().expect_err("flipped").to_string();
    for part in ["log.00000003, byte 4096: ", "checksum is wrong", "whole up to zxid 0x", "ensemble"] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
}

/// The subsets of a group's sectors that reach the disk: all of them where they are few, else every
/// prefix, every suffix and seeded others; each as one flag a sector.
fn subsets(sectors: usize, random: &mut Random) -> Vec<Vec<bool>> {
    if sectors <= 8 {
        return (0..1 << sectors)
            .map(|set: usize| (0..sectors).map(|i| set >> i & 1 == 1).collect())
            .collect();
    }
    let mut sets = Vec::new();
    for cut in 0..=sectors {
        sets.push((0..sectors).map(|i| i < cut).collect());
        sets.push((0..sectors).map(|i| i >= cut).collect());
    }
    for _ in 0..200 {
        let odds = 1 + random.below(10);
        sets.push((0..sectors).map(|_| random.below(11) < odds).collect());
    }
    sets
}

/// Writes the group in flight torn in every way, recovers, clears, goes on, tears the next one too.
fn tear(mut log: Log, txn_bytes: &[usize]) {
    let acknowledged = log.records.split_off(log.records.len() - log.recover().expect("whole").0.len());
    let (written, group, in_flight) = log.encode(txn_bytes);
    let before = log.segments.clone();
    let mut random = Random(3);
    for set in subsets(written.bytes / 512, &mut random) {
        log.segments.clone_from(&before);
        let disk = log.newest();
        for (i, _) in set.iter().enumerate().filter(|(_, is_there)| **is_there) {
            disk[written.offset + i * 512..][..512].copy_from_slice(&group[i * 512..][..512]);
        }
        let (read, recovery, end) = log.recover().expect("torn, not damaged");
        let mut expected = acknowledged.clone();
        let there = set.iter().filter(|is_there| **is_there).count();
        if there == set.len() {
            expected.extend(in_flight.clone());
            assert_eq!(end.torn, None);
            assert_eq!(end.offset, written.offset + written.bytes);
        } else {
            assert_eq!(end.torn.map_or(0, |torn| torn.sectors), there, "{set:?}");
            assert_eq!(end.offset, written.offset);
        }
        assert_eq!(read, expected, "{set:?}");

        // A crash while the torn group is cleared leaves one that is torn still.
        if let Some(torn) = end.torn {
            let half = random.below(torn.bytes / 512) * 512;
            log.newest()[torn.offset..][..half].fill(0);
            assert_eq!(log.recover().expect("torn still").0, expected);
            log.newest()[torn.offset..][..torn.bytes].fill(0);
            assert_eq!(log.recover().expect("cleared").2.torn, None);
        }
        let encoder = recovery.encoder(Zxid::ZERO).expect("no snapshot").expect("has segments");
        let mut next =
            Log { segments: log.segments.clone(), encoder, records: expected, random: Random(4), ..log };
        next.append(&[100]);
        assert_eq!(next.recover().expect("goes on").0, next.records);
        if random.below(8) == 0 {
            let (written, group, _) = next.encode(&[600, 700]);
            next.newest()[written.offset..][..1024].copy_from_slice(&group[..1024]);
            let (read, _, end) = next.recover().expect("torn again");
            assert_eq!((read, end.torn.map(|torn| torn.sectors)), (next.records, Some(2)));
        }
        log.encoder = GroupEncoder::new(SEGMENT_BYTES, 1, Zxid::ZERO);
    }
}

/// A group of one block, torn over zeros and over an older segment's sectors.
#[test]
fn torn_block() {
    let (mut log, records) = small_log();
    log.records = records;
    tear(log, &[1000, 1500]);
    let mut log = Log::new(5);
    log.append(&[1]);
    tear(log, &[3500]);
}

/// A group of several blocks, the last of which is nearly all padding, torn over both as well.
#[test]
fn torn_blocks() {
    let (mut log, records) = small_log();
    log.records = records;
    tear(log, &[5000, 10, 3000]);
    let mut log = Log::new(6);
    log.append(&[1]);
    tear(log, &[26_000]);
}

/// The first group of a segment torn: the segment counts as empty, and what is before it as whole.
#[test]
fn torn_segment_start() {
    let (mut log, records) = small_log();
    log.records = records;
    log.encoder.begin_segment();
    log.segments.push(vec![0; SEGMENT_BYTES]);
    tear(log, &[9000]);
    tear(Log::new(7), &[100]);
}

/// A torn group that is followed by anything is damage: by a segment, by a later group, or by what a
/// careless start left of an earlier torn one.
#[test]
fn torn_in_the_middle() {
    let mut log = Log::new(8);
    log.append(&[1]);
    let torn = log.append(&[9000]);
    let whole = log.newest().clone();
    log.newest()[torn.offset + 512..][..512].fill(0);
    assert!(log.recover().expect("in flight").2.torn.is_some());

    log.segments.push(vec![0; SEGMENT_BYTES]);
    let seen = log.recover().expect_err("a segment follows").seen;
    assert_eq!(seen, Seen::Incomplete { group: 1, follower: Follower::Segment });
    log.segments.pop();

    *log.newest() = whole;
    let later = log.append(&[1]);
    log.newest()[torn.offset..][..torn.bytes].fill(0);
    let seen = log.recover().expect_err("a group follows").seen;
    let follower = Follower::Group { number: 2, offset: later.offset as u64 };
    assert_eq!(seen, Seen::Incomplete { group: 1, follower });

    // Group 1 again, shorter, over one of four blocks that is not cleared.
    let mut log = Log::new(9);
    log.append(&[1]);
    let (written, group, _) = log.encode(&[9000]);
    log.newest()[written.offset + 4096..][..512].copy_from_slice(&group[4096..][..512]);
    let (.., recovery, end) = log.recover().expect("in flight");
    assert!(end.torn.is_some());
    log.encoder = recovery.encoder(Zxid::ZERO).expect("no snapshot").expect("has a segment");
    log.append(&[1]);
    assert_eq!(log.recover().expect_err("not cleared").seen, Seen::Leftover(1));
}

/// Segment 1 with a truncation in its middle, 2 with a base that goes back and a truncation at its end.
fn marked_log() -> Log {
    let mut log = Log::new(11);
    log.append(&[300, 20]);
    let kept = log.append(&[1500]).last;
    log.append(&[700, 10]);
    log.mark(Marker::Truncate { to: kept });
    log.append(&[40]);
    log.append(&[5000]);
    let before = log.encoder.last();
    log.mark(Marker::Base { at: Zxid(before.0 - 1) });
    let kept = log.append(&[3000]).last;
    log.append(&[100]);
    log.mark(Marker::Truncate { to: kept });
    log
}

/// Markers come back in their places, over segments; the encoder goes on after the last one.
#[test]
fn markers_round_trip() {
    let mut log = marked_log();
    let mut entries = Vec::new();
    let mut recovery = Recovery::new(SEGMENT_BYTES);
    for (i, place) in [Place::Inner, Place::Newest].into_iter().enumerate() {
        let each = |entry: Entry<'_>| {
            entries.push(match entry {
                Entry::Txn(..) => None,
                Entry::Marker { marker, from } => Some((marker, from)),
            })
        };
        recovery.segment(&log.segments[i], 1 + i as u32, place, each).expect("whole");
    }
    let markers: Vec<_> = entries.iter().enumerate().filter_map(|(i, m)| m.map(|(m, _)| (i, m))).collect();
    assert!(matches!(
        markers[..],
        [(5, Marker::Truncate { .. }), (8, Marker::Base { .. }), (11, Marker::Truncate { .. })]
    ));
    let (read, recovery, _) = log.recover().expect("whole");
    assert_eq!((read.len(), &read), (1, &log.records));
    let begins = peek(&log.segments[1], 2).expect("whole");
    assert!(begins.is_base && begins.after < Some(log.records[0].0), "{begins:?}");
    let encoder = recovery.encoder(Zxid::ZERO).expect("no snapshot").expect("has segments");
    assert_eq!(format!("{encoder:?}"), format!("{:?}", log.encoder));
    log.append(&[5]);
    log.mark(Marker::Base { at: Zxid(1 << 32) });
    log.append(&[5]);
    assert_eq!(log.recover().expect("goes on").0, log.records);
    // The base's segment alone is all that replay needs.
    assert_eq!(recover(&log.segments[2..], 3).expect("whole").0, log.records);
}

/// A flipped bit in any byte of a log with markers is refused, and so is any sector that was lost, but for the
/// last group's.
#[test]
fn markers_every_byte() {
    let mut log = marked_log();
    let ends = [log.segments[0].len(), log.encoder.offset()];
    for segment in 0..2 {
        for at in 0..SEGMENT_BYTES {
            let bit = 1 << log.random.below(8);
            log.segments[segment][at] ^= bit;
            let damage = log.recover().expect_err("a flipped bit is seen");
            assert_eq!(
                (damage.segment, damage.offset),
                (1 + segment as u32, (at / 512 * 512) as u64),
                "{damage}"
            );
            log.segments[segment][at] ^= bit;
        }
        for at in (0..SEGMENT_BYTES).step_by(512) {
            let mut segments = log.segments.clone();
            segments[segment][at..at + 512].fill(0);
            let unchanged = segments == log.segments;
            match recover(&segments, 1) {
                Ok((.., end)) => {
                    let in_last = segment == 1 && (ends[1] - 4096..ends[1]).contains(&at);
                    assert!(unchanged || in_last && end.torn.is_some(), "{segment} {at}");
                }
                Err(damage) => assert!(!unchanged, "{damage}"),
            }
        }
    }
}

/// A marker in flight, torn in every way, is there as a whole or not at all; what it took back is back then.
#[test]
fn markers_torn() {
    for marker in [Marker::Truncate { to: Zxid(1) }, Marker::Base { at: Zxid(1) }] {
        let mut log = Log::new(12);
        log.append(&[10, 10, 10]);
        let before = log.records.clone();
        let written = log.mark(marker);
        let whole = log.segments.clone();
        for set in subsets(8, &mut Random(1)) {
            log.segments.clone_from(&whole);
            for (i, _) in set.iter().enumerate().filter(|(_, is_there)| !**is_there) {
                log.newest()[written.offset + i * 512..][..512].fill(0);
            }
            let is_whole = set.iter().all(|is_there| *is_there);
            let (read, recovery, end) = log.recover().expect("torn at most");
            assert_eq!(read, if is_whole { log.records.clone() } else { before.clone() });
            let begins = peek(log.segments.last().expect("has one"), written.segment).expect("sound");
            assert_eq!(begins.is_base, is_whole && matches!(marker, Marker::Base { .. }));
            if let Some(torn) = end.torn {
                log.newest()[torn.offset..][..torn.bytes].fill(0);
            }
            log.encoder = recovery.encoder(Zxid::ZERO).expect("no snapshot").expect("has segments");
            let next =
                Log { records: read, segments: log.segments.clone(), encoder: log.encoder, ..Log::new(13) };
            let mut next = next;
            next.append(&[7]);
            assert_eq!(next.recover().expect("goes on").0, next.records);
            log.encoder = GroupEncoder::new(SEGMENT_BYTES, 1, Zxid::ZERO);
        }
    }
}

/// Markers that no writer makes are refused under valid checksums.
#[test]
fn impossible_markers() {
    let refused = |marker: Marker, last: u64| {
        let mut log = Log::new(14);
        log.append(&[1, 1]);
        let real = log.encoder.last;
        log.encoder.last = Zxid(last);
        log.mark(marker);
        log.encoder.last = real;
        matches!(log.recover().map(|_| ()), Err(Damage { seen: Seen::Malformed(_) | Seen::Begin { .. }, .. }))
    };
    assert!(refused(Marker::Truncate { to: Zxid(1) }, 99), "after another end than the log's");
    assert!(refused(Marker::Truncate { to: Zxid(99) }, 99), "above the log's end");
    assert!(refused(Marker::Base { at: Zxid(1) }, 99), "of another log");
    // A base in the middle of a segment.
    let mut log = Log::new(15);
    log.append(&[1]);
    let offset = log.encoder.offset();
    let mut other = GroupEncoder::new(SEGMENT_BYTES, 1, log.encoder.last);
    (other.chain, other.offset) = (log.encoder.chain, offset);
    other.encode(&Batch::marker(Marker::Base { at: Zxid(1) }), &mut log.segments[0][offset..]);
    assert!(log.recover().is_err());
}

/// A log of version 1 is read and goes on; its first marker stands in a segment of the present version, whose digests are
/// zkfast's own.
#[test]
fn version_1() {
    let mut log = Log::new(16);
    log.encoder.version = 1;
    log.append(&[10]);
    log.append(&[20]);
    let (read, recovery, _) = log.recover().expect("read as before");
    assert_eq!(read, log.records);
    log.encoder = recovery.encoder(Zxid::ZERO).expect("no snapshot").expect("has a segment");
    assert_eq!(log.append(&[30]).segment, 1);
    let kept = log.records[1].0;
    assert_eq!(log.mark(Marker::Truncate { to: kept }).segment, 2);
    log.append(&[40]);
    assert_eq!((log.records.len(), log.recover().expect("both versions").0), (3, log.records.clone()));
    let version = |segment: &Vec<u8>| segment[27];
    assert_eq!([version(&log.segments[0]), version(&log.segments[1])], [1, 3]);
    let has_own = |index: usize| has_own_digests(&log.segments[index], index as u32 + 1);
    assert_eq!([has_own(0), has_own(1)], [false, true]);
    // A version 1 never wrote markers.
    log = Log::new(17);
    log.encoder.version = 1;
    log.append(&[10]);
    let (offset, mut other) = (log.encoder.offset(), GroupEncoder::new(SEGMENT_BYTES, 1, log.encoder.last));
    (other.group, other.offset, other.chain) = (1, offset, log.encoder.chain);
    let batch = Batch::marker(Marker::Truncate { to: Zxid::ZERO });
    other.encode(&batch, &mut log.segments[0][offset..]);
    assert_eq!(log.recover().expect_err("refused").seen, Seen::Malformed("no record"));
}

/// A segment read group by group, from pieces of any size, gives what it gives as a whole.
#[test]
fn piece_by_piece() {
    let (mut log, records) = small_log();
    let ends = [20_480, 16_384];
    for piece in [512, 4096, 6000, 20_000] {
        let mut recovery = Recovery::new(SEGMENT_BYTES);
        let mut read = Vec::new();
        for (segment, full) in ends.into_iter().enumerate() {
            let (mut group, mut offset, mut bytes) = (0, 0, piece);
            loop {
                let end = SEGMENT_BYTES.min(offset + bytes);
                let each = |entry: Entry<'_>| {
                    if let Entry::Txn(zxid, txn) = entry {
                        read.push((zxid, txn.to_vec()));
                    }
                };
                let slice = &log.segments[segment][offset..end];
                match recovery.next(slice, 2 + segment as u32, group, offset, each).expect("whole") {
                    Next::Group { bytes } => (group, offset) = (group + 1, offset + bytes),
                    Next::Cut => bytes *= 2,
                    Next::End => break,
                }
            }
            assert_eq!(offset, full);
        }
        assert_eq!(read, records);
    }
    log.segments[0][5000] ^= 1;
    let mut recovery = Recovery::new(SEGMENT_BYTES);
    recovery.next(&log.segments[0], 2, 0, 0, |_| ()).expect("whole");
    let cut = recovery.next(&log.segments[0][4096..], 2, 1, 4096, |_| ());
    assert_eq!(cut, Ok(Next::Cut), "a reader that knows of more sees that it does not come");
}
