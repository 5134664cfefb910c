//! `zkfast snapshot verify`.

use super::super::output::Output;
use super::super::row::Value;
use super::files::{self, SnapshotFile};
use super::list::header_row;
use super::read::{About, Failure, read};
use crate::database::Builder;
use crate::proto::Zxid;
use crate::server::tree_settings;
use crate::tree::{Digests, ExtendedTypes};
use std::io;
use std::path::PathBuf;

/// Checks snapshots as a start does, a row for each that is whole.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(named: &[PathBuf], output: &mut Output) -> io::Result<()> {
    for file in files::find(named, output) {
        match check(&file) {
            Ok((about, digest)) => {
                let row = header_row(&file, &about).first("state", Value::Text("sound".to_owned()));
                output.row(&row.with("digest_check", Value::Text(digest.to_owned())))?;
            }
            Err(Failure::Unreadable(why)) => output.unreadable(&file.path, why),
            Err(Failure::Damage(offset, why)) => output.damage(&file.path, offset, why),
        }
    }
    Ok(())
}

/// Builds the tree; tells what its digest shows.
fn check(file: &SnapshotFile) -> Result<(About, &'static str), Failure> {
    let mut builder = Builder::new(tree_settings(ExtendedTypes::On, Digests::Kept));
    let about = read(file, &mut builder)?;
    let broken = |why: crate::database::BuildError| Failure::Damage(None, why.to_string());
    let Some(tail) = about.tail else {
        let zxid = about.zxid.unwrap_or_default();
        builder.finish(zxid, about.digest.map_or(0, |(_, digest)| digest)).map_err(broken)?;
        return Ok((about, if about.digest.is_some() { "agrees" } else { "none" }));
    };
    let zxid = about.zxid.unwrap_or(Zxid::ZERO);
    let replay = builder.finish_fuzzy(zxid, tail).map_err(broken)?;
    let agrees = tail.digest.is_some_and(|(_, digest)| replay.restored().tree.digest() == digest);
    // ZooKeeper goes on with writes while it takes a snapshot: another digest is damage only once the log is replayed.
    Ok((
        about,
        match tail.digest {
            None => "none",
            Some(_) if agrees => "agrees",
            Some(_) => "needs the log",
        },
    ))
}
