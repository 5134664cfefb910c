//! `zkfast snapshot list`.

use super::super::output::Output;
use super::super::row::{Row, Value};
use super::files::{self, SnapshotFile};
use super::read::{About, Failure, read};
use crate::proto::{Acl, SessionId};
use crate::snapshot::{Header, Node, Refused, Visitor};
use std::io;
use std::path::PathBuf;

/// Lists snapshots, a row for each file. Each is read to its end, in the memory of a piece.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(named: &[PathBuf], output: &mut Output) -> io::Result<()> {
    for file in files::find(named, output) {
        let mut sum = DataBytes(0);
        match read(&file, &mut sum) {
            Ok(about) => output.row(&header_row(&file, &about).with("data_bytes", Value::count(sum.0)))?,
            Err(Failure::Unreadable(why)) => output.unreadable(&file.path, why),
            Err(Failure::Damage(offset, why)) => output.damage(&file.path, offset, why),
        }
    }
    Ok(())
}

/// What a snapshot is of.
pub fn header_row(file: &SnapshotFile, about: &About) -> Row {
    let row = Row::new()
        .bare("file", Value::Text(file.path.display().to_string()))
        .with("kind", Value::Text(file.kind.name().to_owned()))
        .with("zxid", about.zxid.map_or(Value::Null, |zxid| Value::Hex(zxid.0)))
        .with("written", about.wall_ms.map_or(Value::Null, Value::Time))
        .with("znodes", Value::count(about.counts.nodes))
        .with("sessions", Value::count(about.counts.sessions))
        .with("acls", Value::count(about.counts.acls))
        .with("file_bytes", Value::count(file.bytes));
    match about.digest {
        Some((zxid, digest)) => {
            row.with("digest", Value::Hex(digest)).with("digest_zxid", Value::Hex(zxid.0))
        }
        None => row.with("digest", Value::Null),
    }
}

/// Sums up data bytes.
struct DataBytes(u64);

impl Visitor for DataBytes {
    fn header(&mut self, _header: &Header) -> Result<(), Refused> {
        Ok(())
    }

    fn session(&mut self, _id: SessionId, _timeout_ms: i32) -> Result<(), Refused> {
        Ok(())
    }

    fn acl(&mut self, _id: u32, _acls: Vec<Acl>) -> Result<(), Refused> {
        Ok(())
    }

    fn node(&mut self, node: Node<'_>) -> Result<(), Refused> {
        self.0 += node.data.map_or(0, <[u8]>::len) as u64;
        Ok(())
    }
}
