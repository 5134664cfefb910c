//! `zkfast log summary`.

use super::super::output::{Form, Output};
use super::super::row::{Row, Value};
use super::args::SummaryArgs;
use super::files;
use super::item::{Flow, Found, Item};
use super::read::read;
use super::record::{Record, error_name};
use super::types::type_name;
use crate::proto::{SessionId, Zxid};
use crate::txn::Txn;
use std::collections::BTreeMap;
use std::io;

/// Paths, and sessions, that are counted each for itself; the others are counted together.
const KEYS_MAX: usize = 100_000;

/// Txns and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    txns: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.txns += 1;
        self.bytes += bytes as u64;
    }

    fn fields(self, row: Row) -> Row {
        row.with("txns", Value::count(self.txns)).with("bytes", Value::count(self.bytes))
    }
}

/// Amounts by key, in bounded memory.
#[derive(Debug)]
struct Tally<K> {
    by_key: BTreeMap<K, Amount>,
    others: Amount,
}

impl<K: Ord> Tally<K> {
    fn new() -> Self {
        Self { by_key: BTreeMap::new(), others: Amount::default() }
    }

    fn add(&mut self, key: K, bytes: usize) {
        let is_full = self.by_key.len() >= KEYS_MAX;
        match self.by_key.get_mut(&key) {
            Some(amount) => amount.add(bytes),
            None if is_full => self.others.add(bytes),
            None => self.by_key.entry(key).or_default().add(bytes),
        }
    }

    /// Writes a row for each of the `top` keys with the most txns, and one for all others.
    fn write(
        mut self,
        name: &'static str,
        top: usize,
        output: &mut Output,
        value: impl Fn(K) -> Value,
    ) -> io::Result<()> {
        let mut sorted: Vec<(K, Amount)> = std::mem::take(&mut self.by_key).into_iter().collect();
        sorted.sort_by_key(|(_, counted)| std::cmp::Reverse(counted.txns));
        let rest = sorted.split_off(top.min(sorted.len()));
        for (key, amount) in sorted {
            output.row(&amount.fields(headed(name, output).bare(name, value(key))))?;
        }
        let mut others = self.others;
        for (_, amount) in &rest {
            others.txns += amount.txns;
            others.bytes += amount.bytes;
        }
        if others.txns > 0 {
            let row = headed(name, output).bare("others", Value::count(rest.len()));
            output.row(&others.fields(row))?;
        }
        Ok(())
    }
}

/// The start of a row: in text its heading is what it counts, in JSON the key tells.
fn headed(name: &'static str, output: &Output) -> Row {
    match output.form() {
        Form::Text => Row::new().bare("what", Value::Text(name.to_owned())),
        Form::Json => Row::new(),
    }
}

/// What was counted.
#[derive(Debug)]
struct Counts {
    all: Amount,
    zxids: Option<(Zxid, Zxid)>,
    times: Option<(i64, i64)>,
    markers: u64,
    types: Tally<String>,
    errors: Tally<i32>,
    paths: Tally<Vec<u8>>,
    sessions: Tally<SessionId>,
}

impl Counts {
    fn add(&mut self, record: &Record<'_>, depth: usize) {
        let (header, bytes) = (&record.header, record.bytes);
        self.all.add(bytes);
        let (first, _) = *self.zxids.get_or_insert((header.zxid, header.zxid));
        self.zxids = Some((first, header.zxid));
        let (earliest, latest) = self.times.unwrap_or((header.time_ms, header.time_ms));
        self.times = Some((earliest.min(header.time_ms), latest.max(header.time_ms)));
        self.types.add(type_name(header.op), bytes);
        self.sessions.add(header.session_id, bytes);
        if let Ok(Txn::Error { code }) = &record.txn {
            self.errors.add(*code, bytes);
        }
        // A txn that names several znodes below one path counts once for it.
        let mut tops: Vec<&[u8]> = record.paths().into_iter().map(|path| top_of(path, depth)).collect();
        tops.sort_unstable();
        tops.dedup();
        tops.into_iter().for_each(|top| self.paths.add(top.to_vec(), bytes));
    }
}

/// The first `depth` names of a path.
fn top_of(path: &[u8], depth: usize) -> &[u8] {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let end = slashes.map(|(at, _)| at).nth(depth).unwrap_or(path.len());
    &path[..end]
}

/// Counts the txns that `args` ask for.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &SummaryArgs, output: &mut Output) -> io::Result<()> {
    let logs = files::find(&args.files, output);
    let files = logs.iter().map(|log| log.files.len()).sum::<usize>();
    let mut counts = Counts {
        all: Amount::default(),
        zxids: None,
        times: None,
        markers: 0,
        types: Tally::new(),
        errors: Tally::new(),
        paths: Tally::new(),
        sessions: Tally::new(),
    };
    read(&logs, &mut |item: Item<'_>| {
        let Item { file, offset, found } = item;
        match found {
            Found::Txn { bytes, .. } => match Record::read(bytes) {
                Ok(record) if record.matches(&args.filter) => counts.add(&record, args.depth.into()),
                Ok(_) => {}
                Err(why) => output.damage(&file.path, offset, why),
            },
            Found::Marker { .. } => counts.markers += 1,
            Found::Damage { why, .. } => output.damage(&file.path, offset, why),
            Found::Unreadable { why } => output.unreadable(&file.path, why),
            Found::Torn { .. } | Found::End { .. } => {}
        }
        Ok(Flow::Continue)
    })?;
    let Counts { all, zxids, times, markers, types, errors, paths, sessions } = counts;
    let (zxids, times) = (zxids.unzip(), times.unzip());
    let zxid = |zxid: Option<Zxid>| zxid.map_or(Value::Null, |zxid| Value::Hex(zxid.0));
    let row = all.fields(headed("all", output).with("files", Value::count(files)));
    output.row(
        &row.with("first", zxid(zxids.0))
            .with("last", zxid(zxids.1))
            .with("from", times.0.map_or(Value::Null, Value::Time))
            .with("to", times.1.map_or(Value::Null, Value::Time))
            .with("markers", Value::count(markers)),
    )?;
    types.write("type", usize::MAX, output, Value::Text)?;
    errors.write("error", usize::MAX, output, |code| Value::Text(error_name(code)))?;
    paths.write("path", args.top, output, |path| Value::path(&path))?;
    sessions.write("session", args.top, output, |id| Value::Hex(id.0 as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The depth counts names; a shorter path is its own top.
    #[test]
    fn tops() {
        let top = |path: &'static str, depth| top_of(path.as_bytes(), depth);
        assert_eq!(top("/a/b/c", 1), b"/a");
        assert_eq!(top("/a/b/c", 2), b"/a/b");
        assert_eq!(top("/a", 2), b"/a");
        assert_eq!(top("/", 1), b"/");
    }

    /// Beyond the limit keys are counted together; those that are there go on.
    #[test]
    fn bounded() {
        let mut tally = Tally::new();
        (0..KEYS_MAX + 5).for_each(|key| tally.add(key, 2));
        tally.add(3, 1);
        assert_eq!((tally.by_key.len(), tally.others.txns, tally.others.bytes), (KEYS_MAX, 5, 10));
        assert_eq!((tally.by_key[&3].txns, tally.by_key[&3].bytes), (2, 3));
    }
}
