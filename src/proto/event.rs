//! Watch notifications.

use super::jute::{self, JuteWrite, Reader, Short};
use super::zxid::Zxid;
use super::{ReplyHeader, XID_NOTIFICATION};
use bytes::BufMut;

/// What happened to a watched znode. Source: `Watcher.Event.EventType`; the server sends these four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs)] // ZooKeeper's names
pub enum EventType {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// `KeeperState.SyncConnected`, the state of every event that a server sends.
const STATE_SYNC_CONNECTED: i32 = 3;

/// Appends the frame of one notification. `zxid` is `None` for the catch-up events of setWatches,
/// which carry -1.
pub fn put_event(out: &mut Vec<u8>, zxid: Option<Zxid>, kind: EventType, path: &[u8]) {
    jute::frame(out, |out| {
        out.put_i32(XID_NOTIFICATION);
        out.put_i64(zxid.map_or(-1, Zxid::to_wire));
        out.put_i32(0);
        out.put_i32(kind as i32);
        out.put_i32(STATE_SYNC_CONNECTED);
        out.put_string(path);
    });
}

/// A notification as a client reads it, after its [`ReplyHeader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatcherEvent {
    /// Number of an [`EventType`].
    pub kind: i32,
    /// Always `SyncConnected` from a server.
    pub state: i32,
    /// The changed znode.
    pub path: Vec<u8>,
}

impl WatcherEvent {
    /// Reads the body of the frame whose header `header` was.
    pub fn read(_header: &ReplyHeader, reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self {
            kind: reader.int()?,
            state: reader.int()?,
            path: reader.string()?.unwrap_or_default().to_vec(),
        })
    }
}
