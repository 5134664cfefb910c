//! `zkfast log verify`.

use super::super::output::{Form, Output};
use super::super::row::{Row, Value};
use super::files::{self, LogFile};
use super::item::{Flow, Found, Item};
use super::read::read;
use super::record::Record;
use crate::proto::Zxid;
use std::io;
use std::path::PathBuf;

/// What was found in one file.
#[derive(Debug, Default)]
struct Findings {
    first: Option<Zxid>,
    last: Option<Zxid>,
    /// Offset and reason.
    damages: Vec<(Option<u64>, String)>,
    /// Damages beyond those that are kept.
    more_damages: u64,
    /// Offset and bytes.
    torn: Option<(u64, u64)>,
}

/// Damages of a file that are kept for its row.
const DAMAGES_MAX: usize = 100;

/// Checks logs, a row for each file.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(named: &[PathBuf], output: &mut Output) -> io::Result<()> {
    let logs = files::find(named, output);
    let mut findings = Findings::default();
    read(&logs, &mut |item: Item<'_>| {
        let Item { file, offset, found } = item;
        match found {
            Found::Txn { zxid, bytes } => {
                findings.first = findings.first.or(Some(zxid));
                findings.last = Some(zxid);
                let why = match Record::read(bytes).map(|record| (record.header.zxid, record.txn.err())) {
                    Ok((header, None)) if header == zxid => None,
                    Ok((header, None)) => Some(format!("record {zxid} holds txn {header}")),
                    Ok((_, Some(why))) | Err(why) => Some(format!("txn {zxid} does not decode: {why}")),
                };
                if let Some(why) = why {
                    note(&mut findings, output, file, offset, why);
                }
            }
            Found::Marker { .. } => {}
            Found::Damage { why, .. } => note(&mut findings, output, file, offset, why),
            Found::Torn { bytes } => findings.torn = Some((offset.unwrap_or(0), bytes)),
            Found::Unreadable { why } => {
                output.unreadable(&file.path, why);
                findings = Findings::default();
            }
            Found::End { txns } => {
                output.row(&row(file, txns, &std::mem::take(&mut findings), output.form()))?
            }
        }
        Ok(Flow::Continue)
    })
}

/// Reports damage.
fn note(findings: &mut Findings, output: &mut Output, file: &LogFile, offset: Option<u64>, why: String) {
    output.damage(&file.path, offset, &why);
    match findings.damages.len() < DAMAGES_MAX {
        true => findings.damages.push((offset, why)),
        false => findings.more_damages += 1,
    }
}

fn row(file: &LogFile, txns: u64, findings: &Findings, form: Form) -> Row {
    let Findings { first, last, damages, more_damages, torn } = findings;
    let state = match (damages.is_empty(), torn) {
        (false, _) => "damaged",
        (true, Some(_)) => "torn",
        (true, None) => "sound",
    };
    let zxid = |zxid: &Option<Zxid>| zxid.map_or(Value::Null, |zxid| Value::Hex(zxid.0));
    let row = Row::new()
        .bare("state", Value::Text(state.to_owned()))
        .bare("file", Value::Text(file.path.display().to_string()))
        .with("kind", Value::Text(file.kind.name().to_owned()))
        .with("txns", Value::count(txns))
        .with("first", zxid(first))
        .with("last", zxid(last));
    let row = match torn {
        Some((offset, bytes)) => {
            row.with("torn_at", Value::count(*offset)).with("torn_bytes", Value::count(*bytes))
        }
        None => row,
    };
    let count = damages.len() as u64 + more_damages;
    let rows = damages.iter().map(|(offset, why)| {
        Row::new()
            .with("offset", offset.map_or(Value::Null, Value::count))
            .with("why", Value::Text(why.clone()))
    });
    match form {
        // Standard error has them.
        Form::Text if count == 0 => row,
        Form::Text => row.with("damages", Value::count(count)),
        Form::Json => row.with("damages", Value::Rows(rows.collect())),
    }
}
