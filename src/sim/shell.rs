//! What a simulated process has beside its driver: its log, connections, views, and what is on its way between them.

use super::disk::SimDisk;
use super::event::Socket;
use super::image::{Image, Imaging};
use crate::driver::{self, ImageOrigin, LinkEvent, Signs, SnapshotPlan, SnapshotSlices, Taken};
use crate::proto::Zxid;
use crate::replica::{Place, Uplink, View};
use crate::storage::{Done, LogFile, LogWriter};
use crate::wal::GroupEncoder;
use crate::zab::LinkId;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// What a process has beside its driver.
#[derive(Debug)]
pub(crate) struct Shell {
    pub views: Vec<ViewSide>,
    pub(super) log: LogWriter<LogFile<SimDisk>>,
    /// A group is written and not flushed.
    pub(super) is_unflushed: bool,
    /// A group that the driver has not heard of yet is durable.
    pub(super) done: Option<Done>,
    pub(super) peers: BTreeMap<LinkId, Peer>,
    pub(super) sockets: BTreeMap<Socket, LinkId>,
    pub(super) accepted: u64,
    /// Trees for learners, made and sent.
    pub(super) trees: BTreeMap<LinkId, Tree>,
    /// What connections were given, and what they have taken of that.
    pub(super) sent: Vec<Taken>,
    pub(super) taken: VecDeque<Taken>,
    pub(super) events: VecDeque<LinkEvent>,
    pub(super) arrivals: VecDeque<driver::Arrival<Image>>,
    /// To which servers it is asked to hand over.
    pub(super) hand_overs: VecDeque<Option<i64>>,
    /// A turn is about to be taken.
    pub(super) is_turn_due: bool,
    /// Learners for which the first view is to take an image, and the one that it takes.
    pub(super) wanted: VecDeque<LinkId>,
    pub(super) for_learner: Option<Imaging>,
    /// The snapshot that the first view takes, and its bytes so far.
    pub(super) snapshot: Option<(SnapshotSlices, Vec<u8>)>,
    /// A snapshot that is whole, and is written once the log is durable as far.
    pub(super) whole_snapshot: Option<(ImageOrigin, Vec<u8>)>,
    pub(super) plan: Option<SnapshotPlan>,
    /// The log is durable through this.
    pub(super) durable: Zxid,
    /// Deltas that any view was given.
    pub(super) published_count: u64,
    /// What is published is shown to clients.
    pub(super) is_serving: bool,
    /// Published while it was not, with the digest then.
    pub(super) tentative: Vec<(Zxid, u64)>,
    /// Newest zxid that was published.
    pub(super) published: Zxid,
    /// Newest zxid that is known to be committed.
    pub(super) confirmed: Zxid,
}

/// A connection to another server.
#[derive(Debug)]
pub(crate) struct Peer {
    pub socket: Socket,
    pub inbox: VecDeque<Bytes>,
    /// The other side has ended it; that is seen once all is read that came before.
    pub is_ended: bool,
    /// The driver was told of its end.
    pub is_lost: bool,
}

impl Peer {
    /// Whether reading gives bytes, or says that there is no more.
    pub fn is_readable(&self) -> bool {
        !self.is_lost && (!self.inbox.is_empty() || self.is_ended)
    }

    /// The connection is of no use any more; the driver is told once.
    pub fn lose(&mut self, link: LinkId, events: &mut VecDeque<LinkEvent>) {
        if !std::mem::replace(&mut self.is_lost, true) {
            events.push_back(LinkEvent::Closed(link));
        }
    }
}

/// A tree on its way to a learner.
#[derive(Debug)]
pub(crate) struct Tree {
    pub making: Making,
    /// Made, and not sent.
    pub pieces: Vec<Bytes>,
    pub is_sending: bool,
    /// What is to be sent after it on its connection.
    pub after: Vec<Bytes>,
}

/// How far a tree is made.
#[derive(Debug)]
pub(crate) enum Making {
    Gathering(Image),
    Encoding(VecDeque<Bytes>),
    Whole,
    Broken,
}

/// A view and its channels.
#[derive(Debug)]
pub(crate) struct ViewSide {
    pub view: View,
    pub(super) sockets: BTreeMap<Socket, Place>,
    pub(super) places: BTreeMap<u32, Socket>,
    pub uplinks: VecDeque<Uplink>,
    pub(super) uplinks_due_us: u64,
    pub signs: Signs,
    /// Deltas on their way to it, and all that it was given, and when the last arrives.
    pub deltas: usize,
    pub given: u64,
    pub due_us: u64,
}

impl ViewSide {
    pub fn new(view: View) -> Self {
        Self {
            view,
            sockets: BTreeMap::new(),
            places: BTreeMap::new(),
            uplinks: VecDeque::new(),
            uplinks_due_us: 0,
            signs: Signs::default(),
            deltas: 0,
            given: 0,
            due_us: 0,
        }
    }
}

impl Shell {
    /// A process's own part, whose log goes on where it ends, with `zxid`; `digest` is its tree's.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(
        views: Vec<ViewSide>,
        disk: &SimDisk,
        encoder: GroupEncoder,
        plan: Option<SnapshotPlan>,
        (zxid, digest): (Zxid, u64),
    ) -> io::Result<Self> {
        Ok(Self {
            views,
            log: LogFile::writer(disk.clone(), encoder)?,
            is_unflushed: false,
            done: None,
            peers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            accepted: 0,
            trees: BTreeMap::new(),
            sent: Vec::new(),
            taken: VecDeque::new(),
            events: VecDeque::new(),
            arrivals: VecDeque::new(),
            hand_overs: VecDeque::new(),
            is_turn_due: false,
            wanted: VecDeque::new(),
            for_learner: None,
            snapshot: None,
            whole_snapshot: None,
            plan,
            durable: zxid,
            published_count: 0,
            is_serving: false,
            tentative: vec![(zxid, digest)],
            published: zxid,
            confirmed: Zxid::ZERO,
        })
    }

    pub(super) fn add_peer(&mut self, link: LinkId, socket: Socket) {
        let peer = Peer { socket, inbox: VecDeque::new(), is_ended: false, is_lost: false };
        self.peers.insert(link, peer);
        self.sockets.insert(socket, link);
    }
}
