//! Reads zkfast's log, segment by segment: the memory of one of them.

use super::files::{Log, LogFile};
use super::item::{Each, Flow, Found, Item};
use crate::wal::{BLOCK_BYTES, Damage, End, Entry, Place, Recovery, SEGMENT_BYTES, Seen};
use std::fs::File;
use std::io::{self, Read};

/// Reads the segments of `log`.
///
/// # Errors
/// Those of `each`.
pub fn read(log: &Log, each: Each<'_>) -> io::Result<Flow> {
    let mut recovery = Recovery::new(SEGMENT_BYTES);
    let mut bytes = Vec::new();
    for (index, file) in log.files.iter().enumerate() {
        let is_last = index + 1 == log.files.len();
        let place = if is_last && !log.is_followed { Place::Newest } else { Place::Inner };
        let item = |offset, found| Item { file, offset, found };
        let length = match load(file, &mut bytes) {
            Ok(length) => length,
            Err(error) => {
                recovery = Recovery::new(SEGMENT_BYTES);
                if each(item(None, Found::Unreadable { why: error.to_string() }))? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
                continue;
            }
        };
        // What is there of a segment that was cut can be read all the same.
        let is_whole = length == SEGMENT_BYTES as u64;
        if !is_whole {
            let seen = Seen::Length { bytes: length as usize, segment_bytes: SEGMENT_BYTES };
            let damage = Found::Damage { why: seen.to_string(), entry: None };
            if each(item(Some(length.min(SEGMENT_BYTES as u64)), damage))? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            bytes.resize(SEGMENT_BYTES, 0);
        }
        if segment(&mut recovery, file, (&bytes, length), place, each)? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        if !is_whole {
            recovery = Recovery::new(SEGMENT_BYTES);
        }
    }
    Ok(Flow::Continue)
}

/// Reads a segment's file, at most a segment's bytes of it; returns the file's length.
fn load(file: &LogFile, bytes: &mut Vec<u8>) -> io::Result<u64> {
    bytes.clear();
    bytes.reserve_exact(SEGMENT_BYTES);
    let opened = File::open(&file.path)?;
    let length = opened.metadata()?.len();
    opened.take(SEGMENT_BYTES as u64).read_to_end(bytes)?;
    Ok(length)
}

/// Reads one segment, of which the file has `length` bytes. After damage, `recovery` begins anew with the next one.
fn segment(
    recovery: &mut Recovery,
    file: &LogFile,
    (bytes, length): (&[u8], u64),
    place: Place,
    each: Each<'_>,
) -> io::Result<Flow> {
    let item = |offset, found| Item { file, offset, found };
    let number = file.order.and_then(|order| u32::try_from(order).ok());
    let Some(number) = number.filter(|number| *number > 0) else {
        let why = "neither its name nor its first sector holds the number of a segment".to_owned();
        return match each(item(Some(0), Found::Damage { why, entry: None }))? {
            Flow::Continue => each(item(None, Found::End { txns: 0 })),
            Flow::Stop => Ok(Flow::Stop),
        };
    };
    loop {
        let (mut txns, mut flow) = (0u64, Ok(Flow::Continue));
        let result = recovery.segment(bytes, number, place, |entry| {
            txns += u64::from(matches!(entry, Entry::Txn(..)));
            if matches!(flow, Ok(Flow::Continue)) {
                let found = match entry {
                    Entry::Txn(zxid, bytes) => Found::Txn { zxid, bytes },
                    Entry::Marker { marker, from } => Found::Marker { marker, from },
                };
                flow = each(Item { file, offset: None, found });
            }
        });
        if flow? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        let is_missing = matches!(&result, Err(damage) if matches!(damage.seen, Seen::Missing(_)));
        if result.is_err() {
            *recovery = Recovery::new(SEGMENT_BYTES);
        }
        if let Some((offset, found)) = end_of(result, length) {
            let is_over = matches!(found, Found::Unreadable { .. });
            if each(item(Some(offset), found))? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            if is_over {
                return Ok(Flow::Continue);
            }
        }
        // A segment that is missing before this one keeps this one from being read at first.
        if !is_missing {
            return each(item(None, Found::End { txns }));
        }
    }
}

/// What is to be said of the end of a segment, of which the file has `length` bytes.
fn end_of(result: Result<End, Damage>, length: u64) -> Option<(u64, Found<'static>)> {
    let is_whole = length == SEGMENT_BYTES as u64;
    match result {
        // Of a file that was cut, the cut is known.
        Ok(end) => {
            let torn = end.torn.filter(|_| is_whole)?;
            Some((torn.offset as u64, Found::Torn { bytes: torn.bytes as u64 }))
        }
        Err(damage) if !is_whole && damage.offset + BLOCK_BYTES as u64 > length => None,
        Err(damage) => {
            let why = damage.seen.to_string();
            let found = match damage.seen {
                Seen::Version(_) => Found::Unreadable { why },
                _ => Found::Damage { why, entry: None },
            };
            Some((damage.offset, found))
        }
    }
}
