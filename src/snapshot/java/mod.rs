//! ZooKeeper's own snapshots and txn logs, byte for byte.
//!
//! ```text
//! snapshot file    header, body, seal; then a digest block and its seal; then the last zxid and its seal
//! SNAP stream      body, signature: how a leader sends its tree to a learner
//! body             sessions, ACL lists, znodes with parents before children, the path "/"
//! log file         header, entries (Adler-32, length, txn, end mark), zeroes
//! ```
//!
//! ZooKeeper's snapshots are fuzzy: they may hold some of what txns after their zxid made, and are whole
//! only once those are replayed with forgiveness ([`crate::txn::apply_fuzzy`]).
//!
//! Invariants: what the encoder writes the decoder gives back; nothing is kept by a length that was not
//! compared with a named limit. Source: `FileSnap`, `FileTxnLog`, `SerializeUtils`, `DataTree`, 3.9.

mod decode;
mod encode;
mod log;

pub use decode::{Damage, Decoder, Progress, Seen, Tail};
pub use encode::Encoder;
pub use log::{
    LOG_ENTRY_BYTES_MAX, LOG_FRAME_BYTES, LOG_HEADER_BYTES, LogDamage, LogEnd, LogError, LogNext, LogReader,
    LogSeen, Place, Torn, check_log_header, log_end, next_log_entry, put_log_entry, put_log_header,
};

use crate::proto::Zxid;

/// Begins a snapshot file: `ZKSN`.
const SNAPSHOT_MAGIC: i32 = 0x5A4B_534E;
/// Begins a log file: `ZKLG`.
const LOG_MAGIC: i32 = 0x5A4B_4C47;
/// Of both. Java does not look at it; another one is refused here.
const VERSION: i32 = 2;
/// What Java writes as the database's id into snapshots, and into logs.
const SNAPSHOT_DBID: i64 = -1;
const LOG_DBID: i64 = 0;
/// Magic (4), version (4), dbid (8).
const FILE_HEADER_BYTES: usize = 16;

/// The ACL id that grants everything to everybody and is never defined. Source: `ReferenceCountedACLCache`.
const ACL_ID_OPEN: i64 = -1;

/// What follows the body in a SNAP stream.
const SIGNATURE: &[u8] = b"BenWasHere";

/// Longest path.
pub const PATH_BYTES_MAX: usize = 1 << 20;
/// Longest data of a znode, and longest entry of a log: what zkfast's own log takes.
pub const DATA_BYTES_MAX: usize = crate::wal::TXN_BYTES_MAX;
/// Longest scheme or id in an ACL.
pub const ACL_TEXT_BYTES_MAX: usize = 1 << 20;
/// Most entries of one ACL list.
pub const ACL_ENTRIES_MAX: usize = 1 << 17;

/// Where a snapshot's bytes come from, or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A file, uncompressed: with header and seals.
    File,
    /// What a leader sends after a SNAP packet.
    Stream,
}

/// How a snapshot file is compressed, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// `.gz`.
    Gzip,
    /// `.snappy`, in the blocks of xerial's `SnappyOutputStream`.
    Snappy,
}

/// Name of the snapshot file at `zxid`.
pub fn snapshot_name(zxid: Zxid) -> String {
    format!("snapshot.{:x}", zxid.0)
}

/// The zxid and packing in a snapshot's name; `None` for every other name.
pub fn parse_snapshot_name(name: &str) -> Option<(Zxid, Packing)> {
    let rest = name.strip_prefix("snapshot.")?;
    let (zxid, packing) = match rest.split_once('.') {
        None => (rest, Packing::Plain),
        Some((zxid, "gz")) => (zxid, Packing::Gzip),
        Some((zxid, "snappy")) => (zxid, Packing::Snappy),
        Some(_) => return None,
    };
    Some((parse_zxid(zxid)?, packing))
}

/// Name of the log file whose first txn is `zxid`.
pub fn log_name(zxid: Zxid) -> String {
    format!("log.{:x}", zxid.0)
}

/// The zxid in a log file's name; `None` for every other name.
pub fn parse_log_name(name: &str) -> Option<Zxid> {
    parse_zxid(name.strip_prefix("log.")?)
}

fn parse_zxid(text: &str) -> Option<Zxid> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok().map(Zxid)).flatten()
}

/// A running Adler-32, as `java.util.zip.Adler32`.
#[derive(Clone, Copy, Debug)]
struct Adler {
    a: u32,
    b: u32,
}

impl Adler {
    const MODULUS: u32 = 65_521;
    /// Most bytes after which neither sum has left 32 bits.
    const RUN: usize = 5552;

    const fn new() -> Self {
        Self { a: 1, b: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(Self::RUN) {
            for &byte in run {
                self.a += u32::from(byte);
                self.b += self.a;
            }
            self.a %= Self::MODULUS;
            self.b %= Self::MODULUS;
        }
    }

    /// As it is stored: a long of which only the low half is used.
    const fn value(self) -> i64 {
        ((self.b << 16) | self.a) as i64
    }

    fn of(bytes: &[u8]) -> i64 {
        let mut adler = Self::new();
        adler.update(bytes);
        adler.value()
    }
}

#[cfg(test)]
mod tests;
