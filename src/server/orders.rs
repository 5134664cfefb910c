//! What HTTP clients need of the first view itself: the root's access list, an image of the tree, a snapshot.

use super::spsc::Notify;
use crate::proto::{Acl, SessionId, Zxid};
use crate::tree::NodeImage;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::task::Poll;

/// Orders that may wait to be taken.
const WAITING_MAX: usize = 16;

/// Gets what was ordered, on the view's thread: it must hand it over and return. It is dropped where there will be none.
pub type Deliver<T> = Box<dyn FnOnce(T) + Send>;

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

/// No order is taken now: many wait already, or the server has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server takes no order now: {WAITING_MAX} wait already, or it stops")]
pub struct Busy;

/// Orders; for any number of threads.
#[derive(Clone, Debug)]
pub struct Orders {
    sender: SyncSender<Order>,
    notify: Notify,
}

impl Orders {
    /// Orders, without waiting for what comes of it.
    ///
    /// # Errors
    /// The order is not taken.
    pub fn place(&self, order: Order) -> Result<(), Busy> {
        self.sender.try_send(order).map_err(|_| Busy)?;
        self.notify.notify();
        Ok(())
    }
}

/// The view's end.
#[derive(Debug)]
pub struct Placed {
    receiver: Receiver<Order>,
    notify: Notify,
}

impl Placed {
    /// The next order, once there is one; `None` once there will be no more.
    pub async fn next(&mut self) -> Option<Order> {
        poll_fn(|cx| {
            self.notify.register(cx.waker());
            match self.receiver.try_recv() {
                Ok(order) => Poll::Ready(Some(order)),
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(TryRecvError::Disconnected) => Poll::Ready(None),
            }
        })
        .await
    }
}

/// Both ends.
pub fn channel() -> (Orders, Placed) {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let notify = Notify::default();
    (Orders { sender, notify: notify.clone() }, Placed { receiver, notify })
}
