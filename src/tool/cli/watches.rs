//! The watches of a session, so that they are set again on another server, and the events that they give.

use super::target::Target;
use crate::client::{Event, Request};
use crate::proto::Zxid;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Which list of `SetWatches2` a watch is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of data of a znode that exists; fires once.
    Data = 0,
    /// Of a znode that does not exist; fires once.
    Exist = 1,
    /// Of children; fires once.
    Child = 2,
    /// Stays, for one znode.
    Persistent = 3,
    /// Stays, for a subtree.
    Recursive = 4,
}

impl Kind {
    /// The number of an `AddWatchMode`, for the two that stay.
    pub fn mode(self) -> i32 {
        if self == Self::Recursive { 1 } else { 0 }
    }
}

/// Types of events.
///
/// Source: `Watcher.Event.EventType`.
const EVENT_NONE: i32 = -1;
const NODE_CREATED: i32 = 1;
const NODE_DELETED: i32 = 2;
const NODE_DATA_CHANGED: i32 = 3;
const NODE_CHILDREN_CHANGED: i32 = 4;

/// The watches that are set, by the server's paths.
#[derive(Debug, Default)]
pub struct Watches {
    lists: [BTreeSet<Vec<u8>>; 5],
}

impl Watches {
    /// Notes that a watch is set.
    pub fn add(&mut self, kind: Kind, path: &str) {
        self.lists[kind as usize].insert(path.as_bytes().to_vec());
    }

    /// Forgets the watches of a path that the server has removed; `number` is a `WatcherType`'s.
    ///
    /// Source: `Watcher.WatcherType`: 1 children, 2 data, 3 any, 4 persistent, 5 persistent recursive.
    pub fn remove(&mut self, number: i32, path: &str) {
        let lists: &[usize] = match number {
            1 => &[2],
            2 => &[0, 1],
            4 => &[3],
            5 => &[4],
            _ => &[0, 1, 2, 3, 4],
        };
        for &list in lists {
            self.lists[list].remove(path.as_bytes());
        }
    }

    /// Forgets the watches that an event has used up.
    pub fn fired(&mut self, event: &Event) {
        let lists: &[usize] = match event.kind {
            NODE_CREATED | NODE_DATA_CHANGED => &[0, 1],
            NODE_DELETED => &[0, 1, 2],
            NODE_CHILDREN_CHANGED => &[2],
            _ => &[],
        };
        for &list in lists {
            self.lists[list].remove(&event.path);
        }
    }

    /// The request that sets all of them again; `None` if there are none.
    pub fn again(&self, last_zxid: Zxid) -> Option<Request> {
        if self.lists.iter().all(BTreeSet::is_empty) {
            return None;
        }
        let lists = self.lists.each_ref().map(|list| list.iter().cloned().collect());
        Some(Request::SetWatches2 { relative_zxid: last_zxid, lists })
    }
}

/// The name of an event's type.
fn event_name(kind: i32) -> String {
    match kind {
        EVENT_NONE => "None".to_owned(),
        NODE_CREATED => "NodeCreated".to_owned(),
        NODE_DELETED => "NodeDeleted".to_owned(),
        NODE_DATA_CHANGED => "NodeDataChanged".to_owned(),
        NODE_CHILDREN_CHANGED => "NodeChildrenChanged".to_owned(),
        other => format!("type {other}"),
    }
}

/// The name of a session's state in an event.
///
/// Source: `Watcher.Event.KeeperState`.
fn state_name(state: i32) -> String {
    match state {
        0 => "Disconnected".to_owned(),
        3 => "SyncConnected".to_owned(),
        5 => "ConnectedReadOnly".to_owned(),
        -112 => "Expired".to_owned(),
        other => format!("state {other}"),
    }
}

/// An event as the shell shows it, in zkCli's words.
pub fn event_text(event: &Event, target: &Target) -> String {
    let (state, kind) = (state_name(event.state), event_name(event.kind));
    let path = target.within(&event.path);
    format!("\nWATCHER::\n\nWatchedEvent state:{state} type:{kind} path:{path} zxid: {}", event.zxid)
}

/// An event as one line: type, path and zxid; of the connection itself `None` and its state.
pub fn event_line(event: &Event, target: &Target) -> String {
    if event.kind == EVENT_NONE {
        return format!("{} {}", event_name(event.kind), state_name(event.state));
    }
    format!("{} {} {:#x}", event_name(event.kind), target.within(&event.path), event.zxid)
}

/// An event as `{"type", "path", "state", "zxid"}`.
pub fn event_json(event: &Event, target: &Target) -> Value {
    json!({
        "type": event_name(event.kind),
        "path": target.within(&event.path),
        "state": state_name(event.state),
        "zxid": format!("{:#x}", event.zxid),
    })
}

/// What a stream of events says when its connection is lost (state 0) or there again (state 3): events may lack here.
pub fn state_event(state: i32) -> Event {
    Event { zxid: 0, kind: EVENT_NONE, state, path: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch that fired is not set again, one that stays is.
    #[test]
    fn set_again() {
        let mut watches = Watches::default();
        assert_eq!(watches.again(Zxid(5)), None);
        watches.add(Kind::Data, "/a");
        watches.add(Kind::Child, "/a");
        watches.add(Kind::Recursive, "/a");
        let event = |kind| Event { zxid: 1, kind, state: 3, path: b"/a".to_vec() };
        watches.fired(&event(NODE_DATA_CHANGED));
        let a = || vec![b"/a".to_vec()];
        let lists = [vec![], vec![], a(), vec![], a()];
        assert_eq!(watches.again(Zxid(5)), Some(Request::SetWatches2 { relative_zxid: Zxid(5), lists }));
        watches.fired(&event(NODE_CHILDREN_CHANGED));
        watches.remove(5, "/a");
        assert_eq!(watches.again(Zxid(5)), None);
    }

    /// An event as zkCli shows it, as a line and as JSON; paths begin at the chroot.
    #[test]
    fn shown() {
        let target = Target::parse("h/app").expect("good");
        let event = Event { zxid: 16, kind: 2, state: 3, path: b"/app/x".to_vec() };
        assert!(
            event_text(&event, &target)
                .ends_with("WatchedEvent state:SyncConnected type:NodeDeleted path:/x zxid: 16")
        );
        assert_eq!(event_line(&event, &target), "NodeDeleted /x 0x10");
        assert_eq!(event_line(&state_event(0), &target), "None Disconnected");
        assert_eq!(
            event_json(&event, &target),
            json!({ "type": "NodeDeleted", "path": "/x", "state": "SyncConnected", "zxid": "0x10" })
        );
    }
}
