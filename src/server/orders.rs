//! What HTTP clients need of the first view itself: the root's access list, an image of the tree, a snapshot.

use super::mailbox::{self, Deliver};
use super::spsc::Notify;
use crate::proto::{Acl, SessionId, Zxid};
use crate::tree::NodeImage;
use std::fmt;
use std::io;
use std::sync::mpsc::Receiver;

/// Orders that may wait to be taken.
const WAITING_MAX: usize = 16;

/// Something that is ordered.
pub enum Order {
    /// The access list of the root; empty where it is open.
    RootAcl(Deliver<Vec<Acl>>),
    /// All of the tree as of now.
    Image(Deliver<TreeImage>),
    /// A snapshot in the data directory: its zxid and bytes.
    Snapshot(Deliver<io::Result<(Zxid, u64)>>),
    /// To count something among the view's metrics.
    Count(Counted),
}

/// What is counted of trees that leave or come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A snapshot was asked for too early.
    SnapshotLimited,
    /// A snapshot failed.
    SnapshotFailed,
    /// A restore was asked for too early.
    RestoreLimited,
    /// A restore failed.
    RestoreFailed,
    /// A restore took so many microseconds.
    Restored(u64),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RootAcl(_) => "RootAcl",
            Self::Image(_) => "Image",
            Self::Snapshot(_) => "Snapshot",
            Self::Count(_) => "Count",
        })
    }
}

/// A tree as of one zxid. It shares its znodes with the view; what changes there meanwhile is copied there.
#[derive(Debug)]
pub struct TreeImage {
    /// The last txn that it holds.
    pub zxid: Zxid,
    /// The tree's digest; `None` where none is kept.
    pub digest: Option<u64>,
    /// Sessions with their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
    /// The znodes, in any order. An empty batch ends them; where they end without one, the view has replaced its tree.
    pub nodes: Receiver<Vec<NodeImage>>,
}

/// Places orders.
pub type Orders = mailbox::Sender<Order>;

/// The view's end.
pub type Placed = mailbox::Receiver<Order>;

/// Both ends.
pub fn channel() -> (Orders, Placed) {
    mailbox::channel("order", WAITING_MAX, Notify::default())
}
