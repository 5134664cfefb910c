//! What happens next: to a connection, inside a server, to a client, or to the ensemble.

use super::image::Image;
use crate::driver::{Job, JobResult, Taken};
use crate::replica::{Deltas, Place, Port, Uplink};
use crate::tree::ImageOf;
use crate::wal::Batch;
use crate::zab::LinkId;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A machine: servers first, then clients.
pub(crate) type Machine = usize;
/// A connection, and which end of it.
pub(crate) type Socket = (u64, usize);

/// What is at one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A server's port for servers.
    Peer(Port),
    /// A server's view.
    View(u16),
    /// A client.
    Client,
}

/// What arrives at an end.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// A peer or client connects.
    Dial,
    /// The connection that was asked for is there.
    Connected,
    /// Bytes.
    Bytes(Bytes),
    /// It has ended.
    Closed,
}

/// What happens inside a server.
#[derive(Debug)]
#[allow(missing_docs)] // named as what they call
pub(crate) enum Inside {
    /// Time passes.
    Tick,
    /// The driver has something to do, or waited for more.
    Turn,
    Wake,
    Flush(Arc<Batch>),
    Deltas {
        view: u16,
        deltas: Arc<Deltas>,
    },
    Uplink {
        view: u16,
        uplink: Uplink,
    },
    LookAt {
        view: u16,
        place: Place,
    },
    /// A view has begun an image.
    Image(LinkId, Image),
    ImageSlice(ImageOf),
    /// Some more of a learner's tree is made.
    MakeTree(LinkId),
    StoreSnapshot,
    Taken(Taken),
    /// It took so many microseconds.
    /// It is asked to hand over.
    HandOver(Option<i64>),
    Job(Job, u64),
    JobDone(JobResult, u64),
}

/// What happens next.
#[derive(Debug)]
#[allow(missing_docs)] // the names say it
pub(crate) enum Event {
    Net {
        socket: Socket,
        arrival: Arrival,
    },
    Unstick(Socket),
    Inside {
        server: usize,
        incarnation: u64,
        what: Inside,
    },
    Client(usize),
    Start(usize),
    Resume(usize),
    Heal(Fault),
    Fault,
    /// A leader is asked to hand over.
    HandOver,
}

/// What is to end.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names say it
pub(crate) enum Fault {
    Cut(BTreeSet<(Machine, Machine)>),
    Slow,
    FullDisk(usize),
}
