//! Makes the znodes that a run needs, and deletes znodes after it.

use crate::engine::caller::Caller;
use crate::engine::session::NoConnection;
use crate::engine::wire::{self, ROOT};
use crate::workloads::independent::Independent;
use crate::workloads::plan::{Plan, Work};
use std::ops::RangeInclusive;
use zkfast::proto::jute::Reader;
use zkfast::proto::{ErrorCode, OpCode};

const OK: i32 = ErrorCode::Ok.to_wire();

const NO_NODE: i32 = ErrorCode::NoNode.to_wire();

const NODE_EXISTS: i32 = ErrorCode::NodeExists.to_wire();

/// Makes the znodes that the run of `plan` needs.
///
/// # Errors
/// The first server takes no session, the connection was lost, or a create failed.
pub fn for_plan(plan: &Plan) -> Result<(), NoConnection> {
    let server = &plan.servers[0];
    match &plan.work {
        Work::Independent(Independent::Create | Independent::Ephemeral) => {
            make_groups(server, &plan.base, plan.connections as u32)?;
        }
        Work::Independent(Independent::List { children, path }) => make_children(server, path, *children)?,
        Work::Independent(_) => make_keys(server, plan.key_count, plan.value_bytes.clone())?,
        Work::Lock { locks } => make_groups(server, &plan.base, *locks)?,
        Work::Watch => {
            make_groups(server, &plan.base, 0)?;
            make_watched(server, &wire::group_path(&plan.base, 0), *plan.value_bytes.end())?;
        }
        Work::Connect => {}
    }
    Ok(())
}

/// Makes [`ROOT`] and the first `keys` keys, with values of `sizes` bytes in turn.
pub fn make_keys(server: &str, keys: u32, sizes: RangeInclusive<u32>) -> Result<(), NoConnection> {
    let mut caller = Caller::open(server)?;
    create_all(&mut caller, &[ROOT.to_owned()])?;
    let all: Vec<u32> = (0..keys).collect();
    let (mut there, mut refused) = (Vec::new(), None);
    let value = |key: u32| wire::key_value(key, sizes.start() + key % (sizes.end() - sizes.start() + 1));
    caller.pipeline(
        &all,
        |out, xid, key| wire::put_create(out, xid, wire::key_path(key).as_bytes(), &value(key)),
        |key, err, _| match err {
            OK => {}
            NODE_EXISTS => there.push(key),
            _ => refused = Some(err),
        },
    )?;
    // Keys of an earlier run may have values of another length.
    caller.pipeline(
        &there,
        |out, xid, key| wire::put_set(out, xid, wire::key_path(key).as_bytes(), &value(key), -1),
        |_, err, _| refused = if err == OK { refused } else { Some(err) },
    )?;
    finish(caller, "keys", refused)
}

/// Makes `path` and its children `0..children`, without data.
fn make_children(server: &str, path: &str, children: u32) -> Result<(), NoConnection> {
    let mut caller = Caller::open(server)?;
    create_all(&mut caller, &[ROOT.to_owned(), path.to_owned()])?;
    let (all, mut refused): (Vec<u32>, _) = ((0..children).collect(), None);
    caller.pipeline(
        &all,
        |out, xid, child| wire::put_create(out, xid, wire::leaf_path(path, child).as_bytes(), b""),
        |_, err, _| {
            if err != OK && err != NODE_EXISTS {
                refused = Some(err);
            }
        },
    )?;
    finish(caller, "children", refused)
}

/// Makes the znode of a fan-out, with the value 0 of `bytes` bytes.
fn make_watched(server: &str, path: &str, bytes: u32) -> Result<(), NoConnection> {
    let mut caller = Caller::open(server)?;
    let mut refused = None;
    let value = wire::key_value(0, bytes);
    caller.pipeline(
        &[path],
        |out, xid, path| wire::put_create(out, xid, path.as_bytes(), &value),
        |_, err, _| refused = (err != OK).then_some(err),
    )?;
    finish(caller, "watched znode", refused)
}

/// Makes `base` and the parents `0..groups` below it.
///
/// # Errors
/// Those of [`for_plan`].
pub fn make_groups(server: &str, base: &str, groups: u32) -> Result<(), NoConnection> {
    let mut caller = Caller::open(server)?;
    let mut paths = vec![ROOT.to_owned(), base.to_owned()];
    paths.extend((0..groups).map(|group| wire::group_path(base, group)));
    create_all(&mut caller, &paths)?;
    caller.close();
    Ok(())
}

/// Deletes `root` and everything below it, on the first of `servers` that takes a session; returns the number of
/// znodes.
///
/// # Errors
/// No server takes a session, the connection was lost, or a delete failed.
pub fn clean(servers: &[String], root: &str) -> Result<u64, NoConnection> {
    let (last, others) = servers.split_last().expect("at least one server");
    let found = others.iter().find_map(|server| Caller::open(server).ok());
    let mut caller = found.map_or_else(|| Caller::open(last), Ok)?;
    // Parents come before their children, so that the reverse order deletes children first.
    let mut found = vec![root.to_owned()];
    let mut looked_at = 0;
    let mut refused = None;
    while looked_at < found.len() {
        let level: Vec<String> = found[looked_at..].to_vec();
        looked_at = found.len();
        let borrowed: Vec<&str> = level.iter().map(String::as_str).collect();
        caller.pipeline(
            &borrowed,
            |out, xid, path| wire::put_read(out, xid, OpCode::GET_CHILDREN, path.as_bytes(), false),
            |path, err, body| match err {
                OK => found.extend(names(body).into_iter().map(|name| format!("{path}/{name}"))),
                NO_NODE => {}
                _ => refused = Some(err),
            },
        )?;
    }
    let backwards: Vec<&str> = found.iter().rev().map(String::as_str).collect();
    let mut deleted = 0;
    caller.pipeline(
        &backwards,
        |out, xid, path| wire::put_delete(out, xid, path.as_bytes()),
        |_, err, _| match err {
            OK => deleted += 1,
            NO_NODE => {}
            _ => refused = Some(err),
        },
    )?;
    finish(caller, "clean", refused)?;
    Ok(deleted)
}

fn names(body: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(body);
    let count = reader.count(4).ok().flatten().unwrap_or(0);
    (0..count)
        .map_while(|_| reader.string().ok().flatten())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

fn create_all(caller: &mut Caller, paths: &[String]) -> Result<(), NoConnection> {
    let borrowed: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut refused = None;
    caller.pipeline(
        &borrowed,
        |out, xid, path| wire::put_create(out, xid, path.as_bytes(), b""),
        |_, err, _| {
            if err != OK && err != NODE_EXISTS {
                refused = Some(err);
            }
        },
    )?;
    match refused {
        None => Ok(()),
        Some(err) => Err(caller.refused(format!("create below {ROOT}: error {err}"))),
    }
}

fn finish(caller: Caller, what: &str, refused: Option<i32>) -> Result<(), NoConnection> {
    if let Some(err) = refused {
        return Err(caller.refused(format!("{what}: error {err}")));
    }
    caller.close();
    Ok(())
}
