//! ZooKeeper's own snapshots and logs.

use super::snapshot::{SETTINGS, check_database, sample};
use bytes::BufMut;
use zkfast::database::{Builder, Database, FuzzyReplay};
use zkfast::proto::Zxid;
use zkfast::snapshot::java::{
    Damage, Decoder, Encoder, Form, LOG_HEADER_BYTES, LogEnd, LogNext, LogReader, Place, Progress, Seen,
    log_end, next_log_entry, put_log_entry, put_log_header,
};
use zkfast::tree::NodeImage;

/// The first byte: the lowest bit tells a file from a stream, the others in what pieces it arrives.
pub fn snapshot(input: &[u8]) -> bool {
    let Some((&how, bytes)) = input.split_first() else { return false };
    let form = if how & 1 == 0 { Form::Stream } else { Form::File };
    let whole = decode(form, bytes, bytes.len().max(1));
    let pieces = decode(form, bytes, usize::from(how >> 1).max(1));
    let database = match (whole, pieces) {
        (Ok(mut one), Ok(mut other)) => {
            assert_eq!(super::snapshot::image(&mut one), super::snapshot::image(&mut other));
            Some(one)
        }
        (Err(one), Err(other)) => {
            assert_eq!(one.place(), other.place(), "cut into pieces it is damaged differently");
            None
        }
        (one, other) => panic!("cut into pieces it reads differently: {:?} and {:?}", one.err(), other.err()),
    };
    let Some(mut database) = database else { return false };
    check_database(&mut database);
    for form in [Form::Stream, Form::File] {
        let written = encode(form, &mut database);
        let again = decode(form, &written, written.len()).expect("what was written can be read");
        assert_eq!(again.tree.digest(), database.tree.digest());
        assert_eq!(again.tree.len(), database.tree.len());
        assert_eq!(again.sessions, database.sessions);
    }
    true
}

/// Why a snapshot makes no database.
#[derive(Debug, PartialEq)]
enum Refused {
    Damage(Damage),
    Tree(String),
}

/// A snapshot without a log, which is taken as it is.
fn decode(form: Form, bytes: &[u8], piece: usize) -> Result<Database, Refused> {
    let (mut decoder, mut builder) = (Decoder::new(form), Builder::new(SETTINGS));
    for part in bytes.chunks(piece) {
        let progress = decoder.feed(part, &mut builder).map_err(Refused::Damage)?;
        if let Progress::Whole { used } = progress {
            assert!(used <= part.len());
            break;
        }
    }
    let counts = decoder.counts();
    let tail = decoder.finish().map_err(Refused::Damage)?;
    assert_eq!(tail.counts, counts);
    let mut replay =
        builder.finish_fuzzy(Zxid::ZERO, tail).map_err(|error| Refused::Tree(error.to_string()))?;
    replay.take_as_it_is();
    let (database, _) = replay.finish().map_err(|error| Refused::Tree(error.to_string()))?;
    Ok(database)
}

impl Refused {
    /// The same however the bytes arrive: of a trailer that is too long, not all need have come.
    fn place(self) -> Self {
        match self {
            Self::Damage(Damage { offset, seen: Seen::Trailer { .. } }) => {
                Self::Damage(Damage { offset, seen: Seen::Trailer { bytes: 0 } })
            }
            other => other,
        }
    }
}

fn encode(form: Form, database: &mut Database) -> Vec<u8> {
    let mut nodes: Vec<NodeImage> = Vec::new();
    database.tree.begin_image();
    while database.tree.image_slice(4096, &mut nodes) {}
    let mut encoder = Encoder::new(form, database.sessions.clone(), nodes);
    let mut out = Vec::new();
    while encoder.next_piece(&mut out) {}
    out
}

pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (form, how) in [(Form::Stream, 0), (Form::File, 1)] {
        for (txns, piece) in [(0, 1u8), (7, 30), (11, 100)] {
            let mut seed = vec![how | (piece << 1)];
            seed.extend(encode(form, &mut sample(txns)));
            seeds.push(seed);
        }
    }
    seeds
}

/// Files of a log, the first byte tells how many; two bytes of length before each. A checksum of 0 is put right first.
pub fn log(input: &[u8]) -> bool {
    let Some((&count, mut rest)) = input.split_first() else { return false };
    let mut reader = LogReader::new(Zxid::ZERO);
    let mut replay = FuzzyReplay::from_nothing(SETTINGS);
    let count = usize::from(count % 3) + 1;
    for number in 1..=count {
        let Some((length, after)) = rest.split_first_chunk() else { return false };
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let mut file = after[..length].to_vec();
        rest = &after[length..];
        seal(&mut file);
        let place = if number == count { Place::Newest } else { Place::Inner };
        let (mut entries, mut last) = (0, reader.last());
        let end = reader.file(&file, place, |zxid, bytes| {
            assert!(zxid > last, "{zxid} after {last}");
            (last, entries) = (zxid, entries + 1);
            super::txn::check_codec(bytes);
            replay.replay(zxid, bytes)
        });
        let Ok(end) = end else { return false };
        assert_eq!(reader.last(), last);
        // Zxid 0 alone is not after the snapshot, at 0, and is counted without being given.
        assert!(end.entries - entries <= 1, "{} entries, {entries} given", end.entries);
        if let Some(torn) = end.torn {
            assert!(torn.offset + torn.bytes <= file.len());
        }
        // What a later file may begin with depends on those before it.
        if number == 1 {
            check_entries(&file, end);
        }
    }
    let Ok((mut database, _)) = replay.finish() else { return false };
    check_database(&mut database);
    true
}

/// A reader that takes entries one by one finds what the reader of the whole file found.
fn check_entries(file: &[u8], end: LogEnd) {
    let (mut at, mut entries, mut last) = (LOG_HEADER_BYTES.min(file.len()), 0, None);
    while let LogNext::Entry { zxid, bytes, .. } = next_log_entry(&file[at..]) {
        (at, entries, last) = (at + bytes, entries + 1, Some(zxid));
    }
    assert_eq!(entries, end.entries);
    if file.len() >= LOG_HEADER_BYTES {
        let torn = log_end(&file[at..], last).expect("the whole file was read").map(|torn| torn.bytes);
        assert_eq!(torn, end.torn.map(|torn| torn.bytes));
    }
}

/// Puts right the checksums of entries that are 0, as far as their lengths lead.
fn seal(file: &mut [u8]) {
    const FILE_HEADER_BYTES: usize = 16;
    const ENTRY_HEADER_BYTES: usize = 12;
    let mut at = FILE_HEADER_BYTES;
    while let Some(header) = file.get(at..at + ENTRY_HEADER_BYTES) {
        let length = u32::from_be_bytes(header[8..].try_into().unwrap()) as usize;
        let start = at + ENTRY_HEADER_BYTES;
        let Some(entry) = start.checked_add(length).and_then(|end| file.get(start..end)) else { return };
        let sum = adler(entry);
        let place = &mut file[at..at + 8];
        if place == [0; 8] {
            place.copy_from_slice(&u64::from(sum).to_be_bytes());
        }
        at = start + length + 1;
    }
}

/// Adler-32. Source: RFC 1950.
fn adler(bytes: &[u8]) -> u32 {
    let add = |(a, b): (u32, u32), &byte: &u8| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    };
    let (a, b) = bytes.iter().fold((1, 0), add);
    (b << 16) | a
}

pub fn log_seeds() -> Vec<Vec<u8>> {
    let txns = super::txn::sample();
    let mut seeds = Vec::new();
    for files in [1, 2] {
        for is_sealed in [true, false] {
            let mut seed = vec![files - 1];
            for part in txns.chunks(txns.len().div_ceil(usize::from(files))) {
                let mut file = Vec::new();
                put_log_header(&mut file);
                for txn in part {
                    let at = file.len();
                    put_log_entry(&mut file, txn);
                    if !is_sealed {
                        file[at..at + 8].fill(0);
                    }
                }
                file.extend([0; 20]);
                seed.put_u16(file.len() as u16);
                seed.extend(file);
            }
            seeds.push(seed);
        }
    }
    seeds
}
