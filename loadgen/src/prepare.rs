//! The znodes that a run needs, before it; and nothing left, after it.

use crate::session::{Caller, NoConnection};
use crate::wire::{self, ROOT};
use bytes::BufMut;
use zkfast::proto::jute::{JuteWrite, Reader};
use zkfast::proto::{ErrorCode, OpCode};

const OK: i32 = ErrorCode::Ok.to_wire();
const NO_NODE: i32 = ErrorCode::NoNode.to_wire();
const NODE_EXISTS: i32 = ErrorCode::NodeExists.to_wire();

/// Makes [`ROOT`] and the first `keys` keys, each with its value of `value_bytes`.
pub fn keys(server: &str, keys: u32, value_bytes: usize) -> Result<(), NoConnection> {
    let mut caller = Caller::open(server)?;
    create_all(&mut caller, &[ROOT.to_owned()])?;
    let all: Vec<u32> = (0..keys).collect();
    let (mut there, mut refused) = (Vec::new(), None);
    caller.pipeline(
        &all,
        |out, xid, key| {
            let (path, value) = (wire::key_path(key), wire::key_value(key, value_bytes));
            wire::put_create(out, xid, path.as_bytes(), &value);
        },
        |key, err, _| match err {
            OK => {}
            NODE_EXISTS => there.push(key),
            _ => refused = Some(err),
        },
    )?;
    // Those of an earlier run may have values of another length.
    caller.pipeline(
        &there,
        |out, xid, key| {
            wire::put_request(out, xid, OpCode::SET_DATA, |out| {
                out.put_string(wire::key_path(key).as_bytes());
                out.put_buffer(Some(&wire::key_value(key, value_bytes)));
                out.put_i32(-1);
            });
        },
        |_, err, _| refused = if err == OK { refused } else { Some(err) },
    )?;
    finish(caller, "keys", refused)
}

/// Makes `base` and the parents `0..groups` below it.
pub fn groups(server: &str, base: &str, groups: u32) -> Result<(), NoConnection> {
    let mut caller = Caller::open(server)?;
    let mut paths = vec![ROOT.to_owned(), base.to_owned()];
    paths.extend((0..groups).map(|group| wire::group_path(base, group)));
    create_all(&mut caller, &paths)?;
    caller.close();
    Ok(())
}

/// Deletes [`ROOT`] and all below it; returns how many znodes that were.
pub fn clean(server: &str) -> Result<u64, NoConnection> {
    let mut caller = Caller::open(server)?;
    // Parents come before their children, so that the way back deletes children first.
    let mut found = vec![ROOT.to_owned()];
    let mut looked_at = 0;
    let mut refused = None;
    while looked_at < found.len() {
        let level: Vec<String> = found[looked_at..].to_vec();
        looked_at = found.len();
        let borrowed: Vec<&str> = level.iter().map(String::as_str).collect();
        caller.pipeline(
            &borrowed,
            |out, xid, path| {
                wire::put_request(out, xid, OpCode::GET_CHILDREN, |out| {
                    out.put_string(path.as_bytes());
                    out.put_bool(false);
                });
            },
            |path, err, body| match err {
                OK => found.extend(children(body).into_iter().map(|name| format!("{path}/{name}"))),
                NO_NODE => {}
                _ => refused = Some(err),
            },
        )?;
    }
    let backwards: Vec<&str> = found.iter().rev().map(String::as_str).collect();
    let mut deleted = 0;
    caller.pipeline(
        &backwards,
        |out, xid, path| {
            wire::put_request(out, xid, OpCode::DELETE, |out| {
                out.put_string(path.as_bytes());
                out.put_i32(-1);
            });
        },
        |_, err, _| match err {
            OK => deleted += 1,
            NO_NODE => {}
            _ => refused = Some(err),
        },
    )?;
    finish(caller, "clean", refused)?;
    Ok(deleted)
}

fn children(body: &[u8]) -> Vec<String> {
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
