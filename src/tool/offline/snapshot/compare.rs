//! `zkfast snapshot compare`.

use super::super::output::Output;
use super::super::row::{Row, Value};
use super::args::{CompareArgs, Field};
use super::files;
use super::image::{Image, order};
use super::znode::{Keep, Znode};
use crate::proto::Acl;
use std::cmp::Ordering;
use std::io;
use std::ops::Range;

/// Compares two snapshots.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompareArgs, output: &mut Output) -> io::Result<()> {
    let by_subtree = args.bytes.is_some() || args.nodes.is_some();
    let keep = if by_subtree { Keep::Length } else { Keep::Hash };
    let mut load = |path| {
        let file = files::newest(path, output)?;
        Image::load(&file, keep, output)
    };
    // Both are looked at, so that damage of either is reported.
    let (left, right) = (load(&args.left), load(&args.right));
    let (Some(left), Some(right)) = (left, right) else { return Ok(()) };
    let range = |image: &Image| match &args.path {
        Some(path) => image.range(path),
        None => 0..image.nodes.len(),
    };
    let (in_left, in_right) = (range(&left), range(&right));
    let mut pairs = Pairs { left: &left, right: &right, in_left, in_right };
    if by_subtree {
        return subtrees(args, &mut pairs, output);
    }
    if args.path.is_none() {
        sessions(&left, &right, output)?;
    }
    while let Some(pair) = pairs.next() {
        let row = match pair {
            Pair::Left(index) => side_row("-", "removed", &left, index),
            Pair::Right(index) => side_row("+", "added", &right, index),
            Pair::Both(one, other) => {
                let (one, other) = (&left.nodes[one], &right.nodes[other]);
                let mut fields = changes((one, left.acl(one)), (other, right.acl(other)));
                fields.retain(|(field, _)| !args.ignore.contains(field));
                if fields.is_empty() {
                    continue;
                }
                changed_row(one, fields)
            }
        };
        output.set_found();
        output.row(&row)?;
    }
    Ok(())
}

/// The znodes of two trees in one order; those with one path come together.
struct Pairs<'a> {
    left: &'a Image,
    right: &'a Image,
    in_left: Range<usize>,
    in_right: Range<usize>,
}

/// The places of a znode.
#[derive(Clone, Copy, Debug)]
enum Pair {
    /// It is in the left tree only.
    Left(usize),
    /// It is in the right tree only.
    Right(usize),
    /// It is in both.
    Both(usize, usize),
}

impl Pairs<'_> {
    fn next(&mut self) -> Option<Pair> {
        let (one, other) = (self.in_left.start, self.in_right.start);
        let order = match (self.in_left.is_empty(), self.in_right.is_empty()) {
            (true, true) => return None,
            (false, true) => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, false) => order(&self.left.nodes[one].path, &self.right.nodes[other].path),
        };
        if order != Ordering::Greater {
            self.in_left.next();
        }
        if order != Ordering::Less {
            self.in_right.next();
        }
        Some(match order {
            Ordering::Less => Pair::Left(one),
            Ordering::Greater => Pair::Right(other),
            Ordering::Equal => Pair::Both(one, other),
        })
    }
}

/// Sessions that are in one of them only, or have another timeout.
fn sessions(left: &Image, right: &Image, output: &mut Output) -> io::Result<()> {
    let mut ids: Vec<_> = left.sessions.keys().chain(right.sessions.keys()).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let (one, other) = (left.sessions.get(id), right.sessions.get(id));
        let (sign, change) = match (one, other) {
            (one, other) if one == other => continue,
            (Some(_), None) => ("-", "removed"),
            (None, _) => ("+", "added"),
            (Some(_), Some(_)) => ("~", "changed"),
        };
        let timeout = |timeout: Option<&i32>| timeout.map_or(Value::Null, |ms| Value::Int((*ms).into()));
        output.set_found();
        output.row(
            &signed(sign, change)
                .with("session", Value::Hex(id.0 as u64))
                .with("left_timeout_ms", timeout(one))
                .with("right_timeout_ms", timeout(other)),
        )?;
    }
    Ok(())
}

fn signed(sign: &'static str, change: &'static str) -> Row {
    Row::new().prefix(format!("{sign} ")).hidden("change", Value::Text(change.to_owned()))
}

fn side_row(sign: &'static str, change: &'static str, image: &Image, index: usize) -> Row {
    let (node, below) = (&image.nodes[index], &image.below[index]);
    signed(sign, change)
        .bare("path", Value::path(&node.path))
        .with("bytes", Value::count(node.data.len()))
        .with("descendants", Value::count(below.nodes))
        .with("owner", Value::Hex(node.owner.0 as u64))
}

/// Fields that differ, each with both values.
fn changes(
    (one, one_acl): (&Znode, Option<&[Acl]>),
    (other, other_acl): (&Znode, Option<&[Acl]>),
) -> Vec<(Field, Row)> {
    let acl = |acl: Option<&[Acl]>| acl.map_or(Value::Null, |acl| Value::Acl(acl.to_vec()));
    let zxid = |zxid: crate::proto::Zxid| Value::Hex(zxid.0);
    let int = |number: i32| Value::Int(number.into());
    let of = |node: &Znode, list| {
        [
            (Field::Data, "bytes", Value::count(node.data.len())),
            (Field::Acl, "acl", acl(list)),
            (Field::Czxid, "czxid", zxid(node.czxid)),
            (Field::Mzxid, "mzxid", zxid(node.mzxid)),
            (Field::Pzxid, "pzxid", zxid(node.pzxid)),
            (Field::Ctime, "ctime", Value::Time(node.ctime_ms)),
            (Field::Mtime, "mtime", Value::Time(node.mtime_ms)),
            (Field::Version, "version", int(node.version)),
            (Field::Cversion, "cversion", int(node.cversion)),
            (Field::Aversion, "aversion", int(node.aversion)),
            (Field::Owner, "owner", Value::Hex(node.owner.0 as u64)),
        ]
    };
    let pairs = of(one, one_acl).into_iter().zip(of(other, other_acl));
    let differ = pairs.filter(|((field, _, left), (_, _, right))| match field {
        // Of the same length, it may be other data.
        Field::Data => one.data != other.data,
        _ => left != right,
    });
    differ
        .map(|((field, name, left), (_, _, right))| {
            let row = Row::new().bare("field", Value::Text(name.to_owned()));
            (field, row.with("left", left).with("right", right))
        })
        .collect()
}

fn changed_row(node: &Znode, fields: Vec<(Field, Row)>) -> Row {
    let rows = fields.into_iter().map(|(_, row)| row).collect();
    signed("~", "changed").bare("path", Value::path(&node.path)).with("fields", Value::Rows(rows))
}

/// Subtrees that differ by more than the limits. Source: `SnapshotComparer`, 3.9: data includes the znode's own, znodes
/// are those below it; a subtree of one side counts as a whole.
fn subtrees(args: &CompareArgs, pairs: &mut Pairs<'_>, output: &mut Output) -> io::Result<()> {
    let (bytes_max, nodes_max) = (args.bytes.unwrap_or(u64::MAX), args.nodes.unwrap_or(u64::MAX));
    while let Some(pair) = pairs.next() {
        let in_left = |index: usize| (pairs.left.below[index].bytes, pairs.left.below[index].nodes);
        let in_right = |index: usize| (pairs.right.below[index].bytes, pairs.right.below[index].nodes);
        let (left, right) = match pair {
            Pair::Left(index) => (in_left(index), (0, 0)),
            Pair::Right(index) => ((0, 0), in_right(index)),
            Pair::Both(one, other) => (in_left(one), in_right(other)),
        };
        if left.0.abs_diff(right.0) <= bytes_max && left.1.abs_diff(right.1) <= nodes_max {
            continue;
        }
        let (row, path) = match pair {
            Pair::Left(index) => (signed("-", "removed"), &pairs.left.nodes[index].path),
            Pair::Right(index) => (signed("+", "added"), &pairs.right.nodes[index].path),
            Pair::Both(index, _) => (signed("~", "changed"), &pairs.left.nodes[index].path),
        };
        let delta = |left: u64, right: u64| Value::Int(right.cast_signed().wrapping_sub(left.cast_signed()));
        output.set_found();
        output.row(
            &row.bare("path", Value::path(path))
                .with("bytes", delta(left.0, right.0))
                .with("descendants", delta(left.1, right.1)),
        )?;
    }
    Ok(())
}
