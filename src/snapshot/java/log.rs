//! ZooKeeper's txn logs.
//!
//! Java takes nearly every damage for the end of a file and goes on with the next one. Here a file may end
//! early only where nothing can have been lost: where the last record was never written whole, and the log
//! goes on with the very zxid that it would have had, or does not go on at all.

use super::{Adler, DATA_BYTES_MAX, FILE_HEADER_BYTES, LOG_DBID, LOG_MAGIC, VERSION};
use crate::proto::Zxid;
use bytes::BufMut;

/// Bytes before a file's first entry.
pub const LOG_HEADER_BYTES: usize = FILE_HEADER_BYTES;
/// Checksum (8) and length (4) before an entry.
const ENTRY_HEADER_BYTES: usize = 12;
/// Bytes of an entry beside its txn: before it, and the end mark.
pub const LOG_FRAME_BYTES: usize = ENTRY_HEADER_BYTES + 1;
/// Most bytes of an entry with its frame.
pub const LOG_ENTRY_BYTES_MAX: usize = LOG_FRAME_BYTES + DATA_BYTES_MAX;
/// After an entry. Source: `FileTxnLog`, `Util.readTxnBytes`.
const END_MARK: u8 = b'B';
/// Session (8), cxid (4), zxid (8), time (8), type (4).
const TXN_HEADER_BYTES: usize = 32;
/// Where in an entry its zxid is.
const ZXID_AT: usize = 12;

/// A log that must not be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {seen}")]
pub struct LogDamage {
    /// Where in the file.
    pub offset: usize,
    /// What was found there.
    pub seen: LogSeen,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogSeen {
    /// A file without its header, and not the newest.
    #[error("the file ends within its header, and there are later ones: it was cut off")]
    Empty,
    /// Not a log of ZooKeeper.
    #[error("this is no txn log of ZooKeeper: it begins with {0:#010x}")]
    Magic(i32),
    /// Another version's.
    #[error("the file has format version {0}, only version {VERSION} is known")]
    Version(i32),
    /// Bytes of an entry changed.
    #[error("the checksum is {stored:#x}, that of the entry is {computed:#x}: bytes of it changed")]
    Checksum {
        /// In the file.
        stored: i64,
        /// Of the entry.
        computed: i64,
    },
    /// An entry that is too short for a txn.
    #[error("an entry of {0} bytes is no txn")]
    Short(usize),
    /// An entry over the limit.
    #[error("a txn of {0} bytes, at most {DATA_BYTES_MAX} are taken")]
    TooLong(usize),
    /// The length or the end mark of a whole entry changed: Java takes the file for ended here.
    #[error("an entry of {0} bytes is here in full, but its length or its end mark changed")]
    Frame(usize),
    /// Valid entries follow what cannot be read.
    #[error("this cannot be read, and a valid entry, txn {zxid}, follows at byte {offset}")]
    Followed {
        /// Of that entry.
        zxid: Zxid,
        /// Where it is.
        offset: usize,
    },
    /// Txns are out of order.
    #[error("txn {zxid} follows {before}")]
    Order {
        /// The one before.
        before: Zxid,
        /// The one here.
        zxid: Zxid,
    },
    /// Txns are missing.
    #[error(
        "txn {zxid} follows {before}: what was between is missing; restore the files it was in, or start ZooKeeper \
         on this data, if it does, and stop it: it writes a new snapshot"
    )]
    Gap {
        /// The one before, or the snapshot.
        before: Zxid,
        /// The one here.
        zxid: Zxid,
    },
    /// A file before this one ends in the middle of a record, and it is unknown whether that counted.
    #[error(
        "txn {zxid} begins an epoch, and the file before ends in the middle of a record: whether that was the last \
         cannot be told; start ZooKeeper on this data and stop it: it writes a new snapshot"
    )]
    AfterTorn {
        /// The one here.
        zxid: Zxid,
    },
}

/// Why the reading of a log ends early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError<E> {
    /// The log must not be used as it is.
    #[error("{0}")]
    Damage(LogDamage),
    /// The function that takes the entries refuses one.
    #[error("byte {offset}: {error}")]
    Refused {
        /// Where the entry begins in the file.
        offset: usize,
        /// Its reason.
        error: E,
    },
}

impl<E> From<LogDamage> for LogError<E> {
    fn from(damage: LogDamage) -> Self {
        Self::Damage(damage)
    }
}

/// Whether files follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// They do.
    Inner,
    /// This is the last one.
    Newest,
}

/// A record that was never written whole, at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it begins.
    pub offset: usize,
    /// Bytes of it that are there.
    pub bytes: usize,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// Entries in it.
    pub entries: u64,
    /// What was left of the last write.
    pub torn: Option<Torn>,
}

/// Reads the files of a log in their order, and sees that none is missing.
#[derive(Debug)]
pub struct LogReader {
    base: Zxid,
    last: Option<Zxid>,
    torn_before: bool,
}

/// What stands at a place in a file.
enum Found<'a> {
    Entry(&'a [u8]),
    End,
}

impl LogReader {
    /// A reader of the log after the snapshot at `base`. Its first file is the newest whose name is not after
    /// the snapshot, or the first there is.
    pub fn new(base: Zxid) -> Self {
        Self { base, last: None, torn_before: false }
    }

    /// The newest txn read, or the snapshot's.
    pub fn last(&self) -> Zxid {
        self.last.unwrap_or_default().max(self.base)
    }

    /// Reads one whole file. Entries after the snapshot go to `each`, with their zxid.
    ///
    /// # Errors
    /// [`LogError::Damage`] where the log is damaged or txns are missing; [`LogError::Refused`] with an error of `each`.
    pub fn file<E>(
        &mut self,
        bytes: &[u8],
        place: Place,
        mut each: impl FnMut(Zxid, &[u8]) -> Result<(), E>,
    ) -> Result<LogEnd, LogError<E>> {
        let mut end = LogEnd::default();
        let Some((header, _)) = bytes.split_first_chunk() else {
            // A crash right after the file was made.
            return match place {
                Place::Newest => Ok(end),
                Place::Inner => Err(LogDamage { offset: bytes.len(), seen: LogSeen::Empty }.into()),
            };
        };
        check_log_header(header)?;
        let mut at = FILE_HEADER_BYTES;
        loop {
            let damage = |seen| LogDamage { offset: at, seen };
            match entry(bytes, at).map_err(damage)? {
                Found::Entry(entry) => {
                    let zxid = zxid_of(entry).ok_or_else(|| damage(LogSeen::Short(entry.len())))?;
                    self.follow(zxid).map_err(damage)?;
                    if zxid > self.base {
                        each(zxid, entry).map_err(|error| LogError::Refused { offset: at, error })?;
                    }
                    end.entries += 1;
                    at += ENTRY_HEADER_BYTES + entry.len() + 1;
                }
                Found::End => {
                    end.torn =
                        torn(bytes, at, self.last).map_err(|(offset, seen)| LogDamage { offset, seen })?;
                    self.torn_before |= end.torn.is_some();
                    return Ok(end);
                }
            }
        }
    }

    fn follow(&mut self, zxid: Zxid) -> Result<(), LogSeen> {
        let torn_before = std::mem::take(&mut self.torn_before);
        if let Some(before) = self.last.filter(|last| zxid <= *last) {
            return Err(LogSeen::Order { before, zxid });
        }
        if zxid > self.base {
            let before = self.last();
            let is_next = before.next() == Some(zxid);
            if !is_next && (zxid.epoch() == before.epoch() || zxid.counter() != 1) {
                return Err(LogSeen::Gap { before, zxid });
            }
            if !is_next && torn_before {
                return Err(LogSeen::AfterTorn { zxid });
            }
        }
        self.last = Some(zxid);
        Ok(())
    }
}

/// Checks what a log file begins with.
///
/// # Errors
/// The file is no log of ZooKeeper, or of another version.
pub fn check_log_header(header: &[u8; LOG_HEADER_BYTES]) -> Result<(), LogDamage> {
    let int = |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    match (int(0), int(4)) {
        (LOG_MAGIC, VERSION) => Ok(()),
        (LOG_MAGIC, version) => Err(LogDamage { offset: 4, seen: LogSeen::Version(version) }),
        (magic, _) => Err(LogDamage { offset: 0, seen: LogSeen::Magic(magic) }),
    }
}

/// What some bytes of a log file begin with, where it is read in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNext<'a> {
    /// An entry.
    Entry {
        /// Its zxid.
        zxid: Zxid,
        /// Header, record, and the digest where there is one.
        txn: &'a [u8],
        /// Bytes of the entry with its frame.
        bytes: usize,
    },
    /// An entry with a whole frame that must not be used.
    Bad {
        /// What is wrong with it.
        seen: LogSeen,
        /// As it stands in the file.
        txn: &'a [u8],
        /// Bytes of the entry with its frame.
        bytes: usize,
    },
    /// An entry of so many bytes, of which some are not among those given. Where the file ends before, this is its end.
    Cut {
        /// Bytes of the entry with its frame.
        bytes: usize,
    },
    /// No entry: Java takes the file for ended here. [`log_end`] says whether it is right.
    End,
}

/// Reads the entry at the start of `bytes`.
pub fn next_log_entry(bytes: &[u8]) -> LogNext<'_> {
    let Some((_, length)) = entry_header(bytes, 0) else {
        return LogNext::Cut { bytes: ENTRY_HEADER_BYTES };
    };
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= DATA_BYTES_MAX) else {
        return LogNext::End;
    };
    let framed = ENTRY_HEADER_BYTES + length + 1;
    if bytes.len() < framed {
        return LogNext::Cut { bytes: framed };
    }
    let txn = &bytes[ENTRY_HEADER_BYTES..framed - 1];
    match entry(bytes, 0) {
        Ok(Found::End) => LogNext::End,
        Ok(Found::Entry(txn)) => match zxid_of(txn) {
            Some(zxid) => LogNext::Entry { zxid, txn, bytes: framed },
            None => LogNext::Bad { seen: LogSeen::Short(txn.len()), txn, bytes: framed },
        },
        Err(seen) => LogNext::Bad { seen, txn, bytes: framed },
    }
}

/// Judges `rest`, which follows the last entry of a file, `last`: zeroes only, or a record that was never whole. Offsets
/// count from the start of `rest`.
///
/// # Errors
/// An entry that was whole once: with another length, without its end mark, or further on.
pub fn log_end(rest: &[u8], last: Option<Zxid>) -> Result<Option<Torn>, LogSeen> {
    torn(rest, 0, last).map_err(|(_, seen)| seen)
}

fn zxid_of(entry: &[u8]) -> Option<Zxid> {
    if entry.len() < TXN_HEADER_BYTES {
        return None;
    }
    let bytes = entry[ZXID_AT..ZXID_AT + 8].try_into().expect("eight bytes");
    Some(Zxid::from_wire(i64::from_be_bytes(bytes)))
}

/// Checksum and length at `at`; `None` where the file ends.
fn entry_header(bytes: &[u8], at: usize) -> Option<(i64, i32)> {
    let header = bytes.get(at..)?.get(..ENTRY_HEADER_BYTES)?;
    let (checksum, length) = header.split_at(8);
    let checksum = i64::from_be_bytes(checksum.try_into().expect("eight bytes"));
    Some((checksum, i32::from_be_bytes(length.try_into().expect("four bytes"))))
}

/// The entry at `at`, or the place where Java takes the file for ended.
fn entry(bytes: &[u8], at: usize) -> Result<Found<'_>, LogSeen> {
    let Some((stored, length)) = entry_header(bytes, at) else { return Ok(Found::End) };
    let Ok(length) = usize::try_from(length) else { return Ok(Found::End) };
    let start = at + ENTRY_HEADER_BYTES;
    let framed = bytes.get(start..).and_then(|rest| rest.get(..=length));
    match framed {
        Some([entry @ .., END_MARK]) if !entry.is_empty() => match Adler::of(entry) {
            computed if computed != stored => Err(LogSeen::Checksum { stored, computed }),
            _ if length > DATA_BYTES_MAX => Err(LogSeen::TooLong(length)),
            _ => Ok(Found::Entry(entry)),
        },
        _ => Ok(Found::End),
    }
}

/// Judges what is after the last entry: zeroes only, or a record that was never whole.
///
/// # Errors
/// An entry that was whole once: with another length, without its end mark, or further on.
fn torn(bytes: &[u8], at: usize, last: Option<Zxid>) -> Result<Option<Torn>, (usize, LogSeen)> {
    let Some(length) = bytes[at..].iter().rposition(|&byte| byte != 0).map(|last| last + 1) else {
        return Ok(None);
    };
    if let Some((stored, length)) = entry_header(bytes, at)
        && let Some(bytes) = whole(&bytes[at + ENTRY_HEADER_BYTES..], stored, length)
    {
        return Err((at, LogSeen::Frame(bytes)));
    }
    for next in at + 1..at + length {
        // The upper half of the checksum's long is always zero.
        if bytes[next..].starts_with(&[0; 4])
            && let Some((_, length)) = entry_header(bytes, next)
            && length >= TXN_HEADER_BYTES as i32
            && let Ok(Found::Entry(entry)) = entry(bytes, next)
            && let Some(zxid) = zxid_of(entry)
            && last.is_none_or(|last| zxid > last)
        {
            return Err((at, LogSeen::Followed { zxid, offset: next }));
        }
    }
    Ok(Some(Torn { offset: at, bytes: length }))
}

/// Length of the entry at the start of `rest` whose checksum is `stored`, if there is one that is not what
/// its frame has, or lacks its end mark.
fn whole(rest: &[u8], stored: i64, stated: i32) -> Option<usize> {
    let mut adler = Adler::new();
    for (length, &byte) in rest.iter().take(DATA_BYTES_MAX).enumerate() {
        let is_end = byte == END_MARK || usize::try_from(stated) == Ok(length);
        if length >= TXN_HEADER_BYTES && is_end && adler.value() == stored {
            return Some(length);
        }
        adler.a = (adler.a + u32::from(byte)) % Adler::MODULUS;
        adler.b = (adler.b + adler.a) % Adler::MODULUS;
    }
    None
}

/// Appends a log file's header.
pub fn put_log_header(out: &mut Vec<u8>) {
    out.put_i32(LOG_MAGIC);
    out.put_i32(VERSION);
    out.put_i64(LOG_DBID);
}

/// Appends one txn. Java 3.9 wants zxids without gaps within an epoch.
pub fn put_log_entry(out: &mut Vec<u8>, txn: &[u8]) {
    assert!(txn.len() >= TXN_HEADER_BYTES, "a txn of {} bytes", txn.len());
    assert!(txn.len() <= DATA_BYTES_MAX, "a txn of {} bytes", txn.len());
    out.put_i64(Adler::of(txn));
    out.put_i32(txn.len() as i32);
    out.put_slice(txn);
    out.put_u8(END_MARK);
}
