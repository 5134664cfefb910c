//! What is used most, and what is largest: the command `top`, which is zkfast's own.

use super::json::{List, Object};
use super::{Connection, Status};
use std::collections::BTreeMap;

/// Paths, and clients, that are listed.
const LISTED_MAX: usize = 20;

/// A path that many requests name, as a view estimates it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HotPath {
    /// The path.
    pub path: Box<[u8]>,
    /// Reads of it since it is counted.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Requests that it may have had before: no more than so many.
    pub uncertain: u64,
}

impl HotPath {
    /// All requests, at most.
    pub const fn total(&self) -> u64 {
        self.reads + self.writes + self.uncertain
    }
}

/// What a walk through the tree has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargeZnodes {
    /// When it ended, in ms since 1970.
    pub wall_ms: i64,
    /// How long it took.
    pub took_ms: u64,
    /// Znodes that it has seen.
    pub znodes: u64,
    /// Znodes with most bytes of data, largest first.
    pub data: Vec<(Box<[u8]>, u64)>,
    /// Znodes with most children, most first.
    pub children: Vec<(Box<[u8]>, u64)>,
}

/// Writes what the command shows.
pub(super) fn top(status: &Status, o: &mut Object<'_>) {
    o.list("hot_paths", |l| hot_paths(&status.hot_paths, l));
    o.list("busiest_clients", |l| clients(&status.connections, l));
    match &status.large_znodes {
        None => o.set("walk", None::<&str>),
        Some(LargeZnodes { wall_ms, took_ms, znodes, .. }) => o.object("walk", |o| {
            o.set("time", *wall_ms);
            o.set("took_ms", *took_ms);
            o.set("znodes", *znodes);
        }),
    }
    let found = status.large_znodes.as_ref();
    o.list("largest_data", |l| found.iter().for_each(|found| numbers(&found.data, "bytes", l)));
    o.list("most_children", |l| found.iter().for_each(|found| numbers(&found.children, "children", l)));
}

/// Paths of all views, those with most requests first.
fn hot_paths(paths: &[HotPath], l: &mut List<'_>) {
    let mut by_path: BTreeMap<&[u8], HotPath> = BTreeMap::new();
    for HotPath { path, reads, writes, uncertain } in paths {
        let sum = by_path.entry(path).or_default();
        sum.reads += reads;
        sum.writes += writes;
        sum.uncertain += uncertain;
    }
    let mut sums: Vec<_> = by_path.into_iter().collect();
    // What is certain: a path that came just now may have had none of the requests before.
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.reads + sum.writes));
    for (path, sum) in sums.into_iter().take(LISTED_MAX) {
        l.object(|o| {
            o.set("path", path);
            o.set("reads", sum.reads);
            o.set("writes", sum.writes);
            o.set("uncertain", sum.uncertain);
        });
    }
}

/// Connections with most requests since they began.
fn clients(connections: &[Connection], l: &mut List<'_>) {
    let mut busiest: Vec<&Connection> = connections.iter().filter(|c| c.session.is_some()).collect();
    busiest.sort_by_key(|connection| std::cmp::Reverse(connection.received));
    for connection in busiest.into_iter().take(LISTED_MAX) {
        l.object(|o| {
            o.set("remote_socket_address", connection.peer.as_str());
            o.set("session", connection.session.map(|session| format!("{:#x}", session.id)));
            o.set("packets_received", connection.received);
            o.set("outstanding_requests", connection.queued);
            o.set("established", connection.established_wall_ms);
        });
    }
}

fn numbers(found: &[(Box<[u8]>, u64)], name: &str, l: &mut List<'_>) {
    for (path, number) in found {
        l.object(|o| {
            o.set("path", &**path);
            o.set(name, *number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConnectionSession, json};
    use super::*;
    use crate::proto::SessionId;

    /// Paths of several views are added up, clients without a session are none, and before a walk is over there is no list.
    #[test]
    fn as_json() {
        let hot =
            |path: &str, reads, writes| HotPath { path: path.as_bytes().into(), reads, writes, uncertain: 1 };
        let client = |received, id| Connection {
            peer: format!("10.0.0.1:{received}"),
            received,
            session: (id != 0)
                .then(|| ConnectionSession { id: SessionId(id), ..ConnectionSession::default() }),
            ..Connection::default()
        };
        let mut status = Status {
            hot_paths: vec![hot("/a", 64, 0), hot("/b", 128, 64), hot("/a", 64, 320)],
            connections: vec![client(5, 1), client(9, 0), client(7, 0x10)],
            ..Status::default()
        };
        let text = |status: &Status| {
            let text = String::from_utf8(json::object(|o| top(status, o))).expect("UTF-8");
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let before = text(&status);
        assert!(
            before.starts_with(
                "{ \"hot_paths\" : [ { \"path\" : \"/a\", \"reads\" : 128, \"writes\" : 320, \"uncertain\" : 2 }, \
                 { \"path\" : \"/b\", \"reads\" : 128, \"writes\" : 64, \"uncertain\" : 1 } ], \
                 \"busiest_clients\" : [ { \"remote_socket_address\" : \"10.0.0.1:7\", \"session\" : \"0x10\","
            ),
            "{before}"
        );
        assert!(
            before.ends_with("\"walk\" : null, \"largest_data\" : [ ], \"most_children\" : [ ] }"),
            "{before}"
        );
        status.large_znodes = Some(LargeZnodes {
            wall_ms: 5,
            took_ms: 3,
            znodes: 9,
            data: vec![(Box::from(&b"/d"[..]), 77)],
            children: vec![(Box::from(&b"/c"[..]), 4)],
        });
        let after = text(&status);
        let end = "\"walk\" : { \"time\" : 5, \"took_ms\" : 3, \"znodes\" : 9 }, \
                   \"largest_data\" : [ { \"path\" : \"/d\", \"bytes\" : 77 } ], \
                   \"most_children\" : [ { \"path\" : \"/c\", \"children\" : 4 } ] }";
        assert!(after.ends_with(end), "{after}");
    }
}
