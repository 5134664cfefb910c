//! Numbers of servers.

use std::fmt;

/// A server of an ensemble, by the number in its `myid` and in the `server` lines: ZooKeeper's sid. On the wire a `long`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
