//! Verbs of watches, and the stream of events.

use super::super::error::CliError;
use super::super::link::Attached;
use super::super::output::note;
use super::super::verb::Context;
use super::super::watches::{Kind, event_json, event_line, state_event};
use super::super::words::Words;
use crate::client::{Event, Request};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long `watch` waits for events before it looks whether a ping is due.
const WAIT: Duration = Duration::from_millis(200);
/// Pause between two attempts to connect again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// States of a session in the stream. Source: `Watcher.Event.KeeperState`.
const DISCONNECTED: i32 = 0;
const SYNC_CONNECTED: i32 = 3;
const EXPIRED: i32 = -112;

/// Flags of `removewatches`, and the numbers of `WatcherType`.
const WATCHER_TYPES: [(&str, i32); 5] = [("c", 1), ("d", 2), ("p", 4), ("r", 5), ("a", 3)];
const WATCHER_ANY: i32 = 3;

/// `addWatch`: a watch that stays.
pub fn add(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    let kind = match words.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => Kind::Recursive,
        Some("PERSISTENT") => Kind::Persistent,
        Some(_) => return Err(CliError::Usage("-m takes PERSISTENT or PERSISTENT_RECURSIVE".to_owned())),
    };
    set_watch(context, path, &full, kind)?;
    if context.out.json { context.out.value(&json!({ "path": path })) } else { Ok(()) }
}

fn set_watch(context: &mut Context<'_>, path: &str, full: &str, kind: Kind) -> Result<(), CliError> {
    context.link.call(&Request::AddWatch { path: full.into(), mode: kind.mode() }, path)?;
    context.link.watches.add(kind, full);
    Ok(())
}

/// `removewatches`: the watches of a znode, of the types that the flags say.
pub fn remove(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    let named = WATCHER_TYPES.iter().find(|(flag, _)| words.has(flag));
    let kind = named.map_or(WATCHER_ANY, |(_, number)| *number);
    match context.link.call(&Request::RemoveWatches { path: full.as_str().into(), kind }, path) {
        // `-l`: the watches are gone with the connection.
        Err(CliError::Lost(_)) if words.has("l") => {}
        other => drop(other?),
    }
    context.link.watches.remove(kind, &full);
    if context.out.json { context.out.value(&json!({ "path": path })) } else { Ok(()) }
}

/// `watch`: a line for each event, until `--count` of them have come.
pub fn watch(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    let kind = if words.has("recursive") || words.has("R") { Kind::Recursive } else { Kind::Persistent };
    let mut left: Option<u64> = words.number("count")?;
    set_watch(context, path, &full, kind)?;
    note(&format!("watching {path}"));
    while left != Some(0) {
        if let Err(error) = context.link.poll(WAIT) {
            reconnect(context, error)?;
        }
        for event in context.link.take_events() {
            if left == Some(0) {
                break;
            }
            print(context, &event)?;
            left = left.map(|left| left - 1);
        }
    }
    context.link.call(&Request::RemoveWatches { path: full.as_str().into(), kind: WATCHER_ANY }, path)?;
    context.link.watches.remove(WATCHER_ANY, &full);
    Ok(())
}

/// Goes on at another server. The stream says that the connection was lost, for events may lack there.
fn reconnect(context: &mut Context<'_>, error: CliError) -> Result<(), CliError> {
    for event in context.link.take_events() {
        print(context, &event)?;
    }
    note(&error.to_string());
    print(context, &state_event(DISCONNECTED))?;
    let end = Instant::now() + context.link.settings().timeout;
    loop {
        match context.link.attach() {
            Ok(attached) => {
                if attached == Attached::New {
                    print(context, &state_event(EXPIRED))?;
                }
                return print(context, &state_event(SYNC_CONNECTED));
            }
            Err(error @ CliError::Lost(_)) if Instant::now() < end => {
                log::debug!(target: "cli", "connecting again: why={error}");
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

fn print(context: &mut Context<'_>, event: &Event) -> Result<(), CliError> {
    let target = context.link.target();
    if context.out.json {
        context.out.value(&event_json(event, target))?;
    } else {
        context.out.line(&event_line(event, target))?;
    }
    context.out.flush()
}
