//! `zkfast log recover`: the sound part of a log of ZooKeeper, in a new file.

use super::super::output::Output;
use super::super::row::{Row, Value};
use super::args::RecoverArgs;
use super::files::{self, Kind, Log};
use super::item::{Flow, Found, Item};
use super::read::read;
use crate::proto::Zxid;
use crate::snapshot::java::{put_log_entry, put_log_header};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Why the copy ended before the log did.
#[derive(Debug)]
enum Cut {
    /// At damage.
    Damage { offset: u64, why: String },
    /// At a write that was never complete.
    Torn { offset: u64 },
    /// As `--through` says.
    Asked,
}

/// What was copied.
#[derive(Debug, Default)]
struct Copied {
    txns: u64,
    fixed: u64,
    last: Option<Zxid>,
    cut: Option<Cut>,
    unreadable: bool,
}

/// Copies a log as far as it is sound.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &RecoverArgs, output: &mut Output) -> io::Result<()> {
    let logs = files::find(std::slice::from_ref(&args.file), output);
    let (Some(log), true) = (logs.first(), !args.file.is_dir()) else {
        if args.file.is_dir() {
            output.unreadable(&args.file, "it is a directory: name a file");
        }
        return Ok(());
    };
    if log.kind == Kind::Zkfast {
        let why = "a log of zkfast needs no repair: a start cuts off a write that was never complete, and refuses damage";
        output.unreadable(&args.file, why);
        return Ok(());
    }
    let made = OpenOptions::new().write(true).create_new(true).open(&args.out);
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            output.unreadable(&args.out, error);
            return Ok(());
        }
    };
    let copied = match copy(log, args, file) {
        Ok(copied) => copied,
        Err(error) => {
            output.unreadable(&args.out, error);
            remove(&args.out, output);
            return Ok(());
        }
    };
    if let Some(through) = args.through.filter(|through| copied.last != Some(*through)) {
        output.damage(&args.file, None, format_args!("its sound part has no txn {through}"));
        remove(&args.out, output);
        return Ok(());
    }
    if copied.unreadable {
        output.unreadable(&args.file, "it cannot be read to its end");
        remove(&args.out, output);
        return Ok(());
    }
    report(&copied, args, output)
}

/// Removes a file that is of no use.
fn remove(path: &Path, output: &mut Output) {
    if let Err(error) = fs::remove_file(path) {
        output.unreadable(path, error);
    }
}

/// Writes the header and the entries that are to be kept, and makes them durable.
fn copy(log: &Log, args: &RecoverArgs, file: File) -> io::Result<Copied> {
    let mut writer = BufWriter::with_capacity(256 << 10, file);
    let mut piece = Vec::new();
    put_log_header(&mut piece);
    let mut copied = Copied::default();
    read(std::slice::from_ref(log), &mut |item: Item<'_>| {
        let offset = item.offset.unwrap_or(0);
        match item.found {
            Found::Txn { zxid, .. } if args.through.is_some_and(|through| zxid > through) => {
                copied.cut = Some(Cut::Asked);
                return Ok(Flow::Stop);
            }
            Found::Txn { zxid, bytes } => {
                put_log_entry(&mut piece, bytes);
                copied.txns += 1;
                copied.last = Some(zxid);
            }
            Found::Damage { entry: Some(entry), .. } if args.fix_checksums && has_header(entry) => {
                put_log_entry(&mut piece, entry);
                copied.txns += 1;
                copied.fixed += 1;
            }
            Found::Damage { why, .. } => {
                copied.cut = Some(Cut::Damage { offset, why });
                return Ok(Flow::Stop);
            }
            Found::Torn { .. } => copied.cut = Some(Cut::Torn { offset }),
            Found::Unreadable { .. } => copied.unreadable = true,
            Found::Marker { .. } | Found::End { .. } => {}
        }
        writer.write_all(&piece)?;
        piece.clear();
        Ok(Flow::Continue)
    })?;
    writer.write_all(&piece)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(copied)
}

/// True if an entry is long enough for a txn.
fn has_header(entry: &[u8]) -> bool {
    super::record::Record::read(entry).is_ok()
}

fn report(copied: &Copied, args: &RecoverArgs, output: &mut Output) -> io::Result<()> {
    let row = Row::new()
        .bare("file", Value::Text(args.out.display().to_string()))
        .with("txns", Value::count(copied.txns))
        .with("last", copied.last.map_or(Value::Null, |zxid| Value::Hex(zxid.0)))
        .with("checksums_fixed", Value::count(copied.fixed));
    output.row(&match &copied.cut {
        None => row.with("cut", Value::Text("nothing".to_owned())),
        Some(Cut::Asked) => row.with("cut", Value::Text("asked".to_owned())),
        Some(Cut::Torn { offset }) => {
            row.with("cut", Value::Text("torn".to_owned())).with("offset", Value::count(*offset))
        }
        Some(Cut::Damage { offset, why }) => row
            .with("cut", Value::Text("damage".to_owned()))
            .with("offset", Value::count(*offset))
            .with("why", Value::Text(why.clone())),
    })
}
