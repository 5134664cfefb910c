//! What the readers of logs hand out.

use super::files::LogFile;
use crate::proto::Zxid;
use crate::wal::Marker;
use std::io;

/// What a log holds at one place.
#[derive(Debug)]
pub enum Found<'a> {
    /// A txn.
    Txn {
        /// Its zxid.
        zxid: Zxid,
        /// Header, record, and the digest where there is one.
        bytes: &'a [u8],
    },
    /// Of zkfast's log: earlier records no longer count.
    Marker {
        /// Which.
        marker: Marker,
        /// Where the log ended before it.
        from: Zxid,
    },
    /// Something that no crash causes.
    Damage {
        /// What was found there.
        why: String,
        /// An entry with a whole frame and a wrong checksum, as it stands in the file.
        entry: Option<&'a [u8]>,
    },
    /// The file ends in a write that was never complete, as after a crash.
    Torn {
        /// Bytes of it.
        bytes: u64,
    },
    /// The system refuses, or the file is of a later version.
    Unreadable {
        /// Why.
        why: String,
    },
    /// The end of the file.
    End {
        /// Its txns.
        txns: u64,
    },
}

/// A place in a log, and what is there.
#[derive(Debug)]
pub struct Item<'a> {
    /// The file.
    pub file: &'a LogFile,
    /// Where in the file; `None` for a record of zkfast's log, whose group has the place.
    pub offset: Option<u64>,
    /// What is there.
    pub found: Found<'a>,
}

/// Whether the reader of a log wants more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It does not.
    Stop,
}

/// Takes what a log holds.
pub type Each<'a> = &'a mut dyn FnMut(Item<'_>) -> io::Result<Flow>;
