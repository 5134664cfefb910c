//! `diff`: in what two subtrees differ.

use super::super::error::CliError;
use super::super::lines::{self, Lines};
use super::super::record::Record;
use super::super::target::moved;
use super::super::verb::Context;
use super::super::walk::{self, Read, Walk};
use super::super::words::Words;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long to wait for a line of a file before asking again.
const LINE_WAIT: Duration = Duration::from_secs(1);
/// What an argument begins with that names an export in place of servers.
const FILE: &str = "file:";

/// A znode, in what is compared.
#[derive(Debug, PartialEq, Eq)]
struct Print {
    /// SHA-256; `None` for null.
    data: Option<[u8; 32]>,
    /// Entries, sorted: their order means nothing.
    acl: Vec<String>,
    is_ephemeral: bool,
}

impl From<Record> for Print {
    fn from(record: Record) -> Self {
        let mut acl: Vec<String> = record.acl.iter().map(ToString::to_string).collect();
        acl.sort_unstable();
        let data = record.data.map(|data| Sha256::digest(data).into());
        Self { data, acl, is_ephemeral: record.is_ephemeral }
    }
}

/// Znodes by path from the subtree's root on, which is `/`.
type Prints = BTreeMap<String, Print>;

/// Compares the subtrees of two arguments. Differences are lines on standard output, and status 1.
pub fn diff(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let ignores_ephemerals = words.has("no-ephemerals");
    let a = prints(context, words.argument(0))?;
    let mut b = prints(context, words.argument(1))?;
    let mut differences: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let counts = |print: &Print| !(ignores_ephemerals && print.is_ephemeral);
    for (path, print) in a.into_iter().filter(|(_, print)| counts(print)) {
        let found = match b.remove(&path) {
            None => vec!["only-a"],
            Some(other) => difference(&print, &other),
        };
        if !found.is_empty() {
            differences.insert(path, found);
        }
    }
    differences
        .extend(b.into_iter().filter(|(_, print)| counts(print)).map(|(path, _)| (path, vec!["only-b"])));
    let mut count = 0;
    for (path, found) in &differences {
        for what in found {
            count += 1;
            if context.out.json {
                context.out.value(&json!({ "path": path, "difference": what }))?;
            } else {
                context.out.line(&format!("{what} {path}"))?;
            }
        }
    }
    match count {
        0 => Ok(()),
        count => Err(CliError::Failed(format!("{count} differences"))),
    }
}

fn difference(a: &Print, b: &Print) -> Vec<&'static str> {
    let found = [
        (a.data != b.data, "data"),
        (a.acl != b.acl, "acl"),
        (a.is_ephemeral != b.is_ephemeral, "ephemeral"),
    ];
    found.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect()
}

/// All of one side.
fn prints(context: &Context<'_>, text: &str) -> Result<Prints, CliError> {
    match text.strip_prefix(FILE) {
        Some(file) => prints_of_file(file),
        None => {
            let (mut link, root) = context.place(text)?;
            let mut prints = Prints::new();
            let unreadable = walk::walk(&mut link, &root, Walk::all(Read::Whole), &mut |node| {
                let path = moved(&node.path, &root, "/")?;
                prints.insert(path, Record::from(node).into());
                Ok(())
            })?;
            walk::complete(unreadable)?;
            link.close();
            Ok(prints)
        }
    }
}

fn prints_of_file(file: &str) -> Result<Prints, CliError> {
    let lines = Lines::open(file)?;
    let (mut prints, mut root, mut number) = (Prints::new(), None, 0);
    loop {
        let line = match lines.next(LINE_WAIT)? {
            lines::Next::Line(line) => line,
            lines::Next::Wait => continue,
            lines::Next::End => return Ok(prints),
        };
        number += 1;
        let record =
            Record::parse(&line).map_err(|error| CliError::Usage(format!("{file}:{number}: {error}")))?;
        let root = root.get_or_insert_with(|| record.path.clone());
        prints.insert(moved(&record.path, root, "/")?, record.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Acl, Id, Perms};

    /// Data, access lists without their order, and owners are compared; null is not empty.
    #[test]
    fn differences() {
        let acl =
            |ids: [&str; 2]| ids.map(|id| Acl { perms: Perms::ALL, id: Id::new("digest", id) }).to_vec();
        let print = |data: Option<&[u8]>, ids, is_ephemeral| -> Print {
            Record { path: "/a".into(), data: data.map(<[u8]>::to_vec), acl: acl(ids), is_ephemeral }.into()
        };
        let one = print(Some(b""), ["a", "b"], false);
        assert_eq!(difference(&one, &print(Some(b""), ["b", "a"], false)), [""; 0]);
        assert_eq!(difference(&one, &print(None, ["a", "c"], true)), ["data", "acl", "ephemeral"]);
    }
}
