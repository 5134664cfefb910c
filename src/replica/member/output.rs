//! What a member wants of its shell: connections, packets, the disk.

use super::event::Event;
use crate::database::{Database, ReplayError};
use crate::proto::Zxid;
use crate::zab::LinkId;
use crate::zab::configuration::Configurations;
use crate::zab::leader::Epochs;
use bytes::Bytes;

/// Which port of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Where votes go.
    Election,
    /// Where learners connect to their leader.
    Quorum,
    /// Where observers connect to a follower.
    Observers,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub enum Output {
    /// Connect to a peer; `connected` or `closed` follows.
    Connect {
        /// The connection's number from now on.
        link: LinkId,
        /// The server to connect to.
        sid: i64,
        /// Which of its ports.
        port: Port,
    },
    /// Connect to the election port of a server that no configuration names, at the host and port that it says.
    ConnectAt {
        /// The connection's number from now on.
        link: LinkId,
        /// The server to connect to.
        sid: i64,
        /// Host and port.
        at: (String, u16),
    },
    /// Send bytes, after those sent before.
    Send {
        /// The connection.
        link: LinkId,
        /// One message or several, whole.
        bytes: Bytes,
    },
    /// End a connection, or an attempt to connect; the replica does not name it again.
    Close {
        /// The connection.
        link: LinkId,
    },
    /// Must be durable before anything that comes after it is done.
    SaveEpochs {
        /// What this server has promised.
        epochs: Epochs,
        /// The configurations by which it counts quorums.
        configs: Configurations,
        /// Whether its own data is not complete: then it does not vote, also after a restart.
        repairing: bool,
    },
    /// Send the tree of the image that was begun for this connection: its bytes come here in the stream.
    SendImage(LinkId),
    /// Find out what the log knows of this zxid, where a learner's log ends:
    /// [`Replica::log_found`](super::Replica::log_found).
    FindInLog(LinkId, Zxid),
    /// Read txns of the log after this zxid, oldest first, about [`WINDOW_BYTES`](crate::zab::leader::WINDOW_BYTES) of
    /// them, for a learner that is behind: [`Replica::log_read`](super::Replica::log_read).
    ReadLog(LinkId, Zxid),
    /// Write this as an incoming snapshot, and flush it: [`Replica::tree_stored`](super::Replica::tree_stored) or
    /// [`Replica::tree_not_stored`](super::Replica::tree_not_stored). The next is not asked for before.
    StoreTree(Box<Database>),
    /// The log now begins at the incoming snapshot: give it its name.
    FinishInstall(Zxid),
    /// Find out whether the log can be cut after this zxid: [`Replica::truncate`](super::Replica::truncate).
    CheckTruncation(Zxid),
    /// The log is cut after this zxid. Read everything from the disk again:
    /// [`Replica::reloaded`](super::Replica::reloaded).
    Reload(Zxid),
    /// The log holds a txn that cannot be applied: the tree is not what it should be, and the process must end.
    Diverged(ReplayError),
    /// Tell people.
    Event(Event),
}
