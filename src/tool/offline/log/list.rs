//! `zkfast log list`.

use super::super::output::Output;
use super::super::row::Value;
use super::args::{Filter, ListArgs};
use super::files;
use super::item::{Flow, Found, Item};
use super::read::read;
use super::record::{Record, ShowData, marker_row};
use std::io;

/// Lists the txns that `args` ask for.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &ListArgs, output: &mut Output) -> io::Result<()> {
    let logs = files::find(&args.files, output);
    let data = if args.data { ShowData::Yes } else { ShowData::No };
    let mut left = args.limit.unwrap_or(u64::MAX);
    read(&logs, &mut |item: Item<'_>| {
        if left == 0 {
            return Ok(Flow::Stop);
        }
        let Item { file, offset, found } = item;
        match found {
            Found::Txn { bytes, .. } => match Record::read(bytes) {
                Ok(record) if record.matches(&args.filter) => {
                    left -= 1;
                    if let Err(why) = &record.txn {
                        output.damage(&file.path, offset, format_args!("txn {}: {why}", record.header.zxid));
                    }
                    output.row(&record.row(data))?;
                }
                Ok(_) => {}
                Err(why) => output.damage(&file.path, offset, why),
            },
            Found::Marker { marker, from } => {
                if shows_markers(&args.filter) {
                    output.row(&marker_row(marker, from))?;
                }
            }
            Found::Damage { why, entry } => {
                output.damage(&file.path, offset, &why);
                // As zkTxnLogToolkit.sh does: what is there may help, though a byte of it changed.
                if let Some(Ok(record)) = entry.map(Record::read)
                    && record.matches(&args.filter)
                {
                    left -= 1;
                    output.row(&record.row(data).with("damaged", Value::Text("checksum".to_owned())))?;
                }
            }
            Found::Torn { bytes } => {
                output.note(
                    &file.path,
                    format_args!("byte {}: a write of {bytes} bytes was never complete", offset.unwrap_or(0)),
                );
            }
            Found::Unreadable { why } => output.unreadable(&file.path, why),
            Found::End { .. } => {}
        }
        Ok(if left == 0 { Flow::Stop } else { Flow::Continue })
    })
}

/// Markers have neither a session nor a path, a time or a type.
fn shows_markers(filter: &Filter) -> bool {
    filter.path.is_none() && filter.session.is_none() && filter.types.is_empty()
}
