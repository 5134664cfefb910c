//! Verbs that change znodes.

use super::super::ask::{self, CONTAINER, NewNode, PERSISTENT, PERSISTENT_WITH_TTL};
use super::super::error::CliError;
use super::super::output::note;
use super::super::pipe::{Pipe, WRITE_BYTES_MAX};
use super::super::text::{from_base64, parse_acl, stat_json, stat_lines};
use super::super::verb::Context;
use super::super::walk::{self, Read, Walk};
use super::super::words::Words;
use super::read::print_stat;
use crate::client::{Body, Reply, Request};
use crate::proto::{Acl, ErrorCode};
use serde_json::json;

/// Flags of `CreateMode`'s numbers 0 to 3.
const MODE_EPHEMERAL: i32 = 1;
const MODE_SEQUENTIAL: i32 = 2;
/// The largest time to live, in milliseconds: 40 bits.
///
/// Source: `EphemeralType.TTL.maxValue`.
const TTL_MS_MAX: i64 = (1 << 40) - 1;
/// Deletes in one multi of `deleteall`, unless `-b` says another number. Source: `DeleteAllCommand`.
const BATCH_DEFAULT: usize = 1000;
/// Bytes of paths in one multi: a server takes frames of 1 MiB unless told otherwise.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// Data as an argument: itself, base64 with `-b`, or standard input where it is `-`.
fn data(context: &Context<'_>, words: &Words, text: &str) -> Result<Vec<u8>, CliError> {
    let bytes = if text == "-" { context.stdin()? } else { text.as_bytes().to_vec() };
    if !words.has("b") {
        return Ok(bytes);
    }
    from_base64(String::from_utf8_lossy(&bytes).trim())
}

/// `create`: a znode, of the kind that the flags say.
pub fn create(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let (mode, ttl_ms) = mode(words)?;
    let is_sequential = mode & MODE_SEQUENTIAL != 0;
    // The server appends digits, so that the path may end with a slash.
    context.full(&format!("{path}{}", if is_sequential { "0" } else { "" }))?;
    let full = context.link.target().full(path);
    let data = words.arguments.get(1).map(|text| data(context, words, text)).transpose()?;
    let acl = words.arguments.get(2).map_or_else(|| Ok(vec![Acl::open()]), |text| parse_acl(text))?;
    let (created, stat) = ask::create(context.link, NewNode { full, data, acl, mode, ttl_ms })?;
    let created = context.link.target().within(created.as_bytes());
    if context.out.json {
        return context.out.value(&json!({ "path": created, "stat": stat_json(&stat) }));
    }
    if words.has("print") {
        return context.out.line(&created);
    }
    note(&format!("Created {created}"));
    Ok(())
}

/// The `CreateMode`'s number and the time to live in milliseconds.
///
/// Source: `CreateCommand.exec`.
fn mode(words: &Words) -> Result<(i32, i64), CliError> {
    let usage = |why: &str| Err(CliError::Usage(why.to_owned()));
    let (is_ephemeral, is_sequential, is_container) = (words.has("e"), words.has("s"), words.has("c"));
    let ttl_ms: Option<i64> = words.number("t")?;
    if is_container && (is_ephemeral || is_sequential) {
        return usage("-c cannot be combined with -s or -e");
    }
    if ttl_ms.is_some() && (is_ephemeral || is_container) {
        return usage("-t cannot be combined with -e or -c");
    }
    let sequential = if is_sequential { MODE_SEQUENTIAL } else { PERSISTENT };
    match ttl_ms {
        Some(ttl_ms) if !(1..=TTL_MS_MAX).contains(&ttl_ms) => {
            usage(&format!("-t takes milliseconds from 1 to {TTL_MS_MAX}"))
        }
        Some(ttl_ms) => Ok((PERSISTENT_WITH_TTL + i32::from(is_sequential), ttl_ms)),
        None if is_container => Ok((CONTAINER, 0)),
        None => Ok((sequential + if is_ephemeral { MODE_EPHEMERAL } else { PERSISTENT }, 0)),
    }
}

/// `set`: a znode's data.
pub fn set(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    let version = words.number("v")?.unwrap_or(-1);
    let data = data(context, words, words.argument(1))?;
    let stat = ask::set_data(context.link, &full, data, version)?;
    if words.has("s") || context.out.json { print_stat(context, path, &stat) } else { Ok(()) }
}

/// `delete`: a znode without children.
pub fn delete(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    ask::delete(context.link, &full, words.number("v")?.unwrap_or(-1))?;
    if context.out.json { context.out.value(&json!({ "path": path, "deleted": 1 })) } else { Ok(()) }
}

/// `deleteall`: a znode and all below it, leaves first, in multis of which many are in flight.
///
/// Source: `ZKUtil.deleteRecursive`.
pub fn delete_all(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    if context.full(path)? == "/" {
        return Err(CliError::Usage("the root cannot be deleted".to_owned()));
    }
    let batch = words.number("b")?.unwrap_or(BATCH_DEFAULT).max(1);
    let nodes = walk::collect(context.link, path, Walk::all(Read::Stat))?;
    let target = context.link.target().clone();
    let mut pipe = Pipe::new(context.link, WRITE_BYTES_MAX);
    let (mut ops, mut bytes) = (Vec::new(), 0);
    for (left, node) in nodes.iter().enumerate().rev() {
        let full = target.full(&node.path);
        bytes += full.len();
        ops.push(Request::Delete { path: full.into(), version: -1 });
        if ops.len() < batch && bytes < BATCH_BYTES_MAX && left > 0 {
            continue;
        }
        while pipe.is_full() {
            deleted(&mut pipe, path)?;
        }
        pipe.send((), &Request::Multi { ops: std::mem::take(&mut ops) })?;
        bytes = 0;
    }
    while !pipe.is_empty() {
        deleted(&mut pipe, path)?;
    }
    drop(pipe);
    if context.out.json {
        return context.out.value(&json!({ "path": path, "deleted": nodes.len() }));
    }
    Ok(())
}

/// Takes the reply to a multi of deletes.
fn deleted(pipe: &mut Pipe<'_, ()>, path: &str) -> Result<(), CliError> {
    let Some((_, reply)) = pipe.next()? else { return Ok(()) };
    match first_error(&reply) {
        None => Ok(()),
        Some(code) => {
            note("Failed to delete some node(s) in the subtree!");
            Err(CliError::refused(code, path))
        }
    }
}

/// The error code of a reply to a multi: its own, or that of the operation that failed. The operations before and after
/// that one have codes as well, which only say that another one failed.
fn first_error(reply: &Reply) -> Option<i32> {
    let is_error = |code: &i32| *code != ErrorCode::Ok.to_wire();
    let Body::Multi(results) = &reply.body else { return Some(reply.header.err).filter(is_error) };
    let mut codes = results.iter().map(|result| match result.body {
        Body::Number(code) => code,
        _ => result.err,
    });
    let of_another = ErrorCode::RuntimeInconsistency.to_wire();
    codes.clone().find(|code| is_error(code) && *code != of_another).or_else(|| codes.find(is_error))
}

/// `setAcl`: the access list of a znode, or with `-R` of all in a subtree.
pub fn set_acl(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    let acl = parse_acl(words.argument(1))?;
    let version = words.number("v")?.unwrap_or(-1);
    if words.has("R") {
        return set_acls(context, path, &acl, version);
    }
    let stat = ask::set_acl(context.link, &full, acl, version)?;
    if context.out.json {
        return print_stat(context, path, &stat);
    }
    if words.has("s") { context.out.text(&stat_lines(&stat)) } else { Ok(()) }
}

/// Sets the same access list on a whole subtree; goes on after an error, and fails then.
fn set_acls(context: &mut Context<'_>, path: &str, acl: &[Acl], version: i32) -> Result<(), CliError> {
    let nodes = walk::collect(context.link, path, Walk::all(Read::Stat))?;
    let target = context.link.target().clone();
    let mut failed = 0;
    let mut pipe = Pipe::new(context.link, WRITE_BYTES_MAX);
    let mut take = |pipe: &mut Pipe<'_, usize>| -> Result<(), CliError> {
        if let Some((at, reply)) = pipe.next()?
            && reply.header.err != ErrorCode::Ok.to_wire()
        {
            failed += 1;
            note(&CliError::refused(reply.header.err, &nodes[at].path).to_string());
        }
        Ok(())
    };
    for (at, node) in nodes.iter().enumerate() {
        while pipe.is_full() {
            take(&mut pipe)?;
        }
        let path = target.full(&node.path).into_bytes();
        pipe.send(at, &Request::SetAcl { path, acl: acl.to_vec(), version })?;
    }
    while !pipe.is_empty() {
        take(&mut pipe)?;
    }
    drop(pipe);
    if failed > 0 {
        return Err(CliError::Failed(format!("{failed} of {} access lists could not be set", nodes.len())));
    }
    if context.out.json {
        return context.out.value(&json!({ "path": path, "changed": nodes.len() }));
    }
    Ok(())
}
