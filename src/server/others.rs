//! What an ensemble asks of a server's shell: the other servers' connections, epochs on disk, trees that come and go.

use super::files::DataDir;
use super::peers::{self, Bound, Peers, Piece};
use super::ring::Bell;
use super::{EXIT_DATA, EXIT_LOG, exit};
use crate::config::Ensemble;
use crate::proto::Zxid;
use crate::replica::{Now, Output, Replica, Restored};
use crate::tree::{self, NodeImage};
use crate::zab::LinkId;
use crate::zab::leader::Epochs;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// Pieces of a tree that are made ahead of what its learner takes.
const PIECES_AHEAD: usize = 16;

/// A view's image of its tree, for a learner.
#[derive(Debug)]
pub struct Image {
    /// For whom.
    pub link: LinkId,
    /// As of when.
    pub zxid: Zxid,
    /// Sessions that are alive then, with their timeouts in milliseconds.
    pub sessions: BTreeMap<i64, i32>,
    /// The znodes; once it ends with an empty batch, those were all.
    pub nodes: Receiver<Vec<NodeImage>>,
}

/// What other threads have for the commit thread.
#[derive(Debug)]
pub enum Arrival {
    /// A view has begun an image.
    Image(Image),
    /// The tree that came in is on disk.
    Stored(Box<Restored>),
    /// It could not be written.
    NotStored(io::Error),
    /// The disk was read again.
    Reloaded(Box<Restored>),
}

/// Where other threads put what they have.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Arrival>,
    bell: Bell,
}

impl Inbox {
    /// Puts something there.
    pub fn put(&self, arrival: Arrival) {
        // Nobody takes it any more once the server stops.
        let _ = self.sender.send(arrival);
        self.bell.ring();
    }
}

/// See the module's page.
pub struct Others {
    peers: Peers,
    dir: DataDir,
    tree_settings: tree::Settings,
    arrivals: Receiver<Arrival>,
    inbox: Inbox,
    /// Images that were begun and are not being sent yet.
    images: BTreeMap<LinkId, Image>,
    receiving: Option<Box<Receiving>>,
}

impl Others {
    /// The shell of a member whose ports are `bound`; `bell` wakes the commit thread.
    ///
    /// # Errors
    /// The system has no `epoll` to give.
    pub fn new(
        bound: Bound,
        ensemble: &Ensemble,
        dir: DataDir,
        tree_settings: tree::Settings,
        bell: Bell,
    ) -> io::Result<Self> {
        let (sender, arrivals) = mpsc::channel();
        Ok(Self {
            peers: Peers::new(bound, ensemble)?,
            dir,
            tree_settings,
            arrivals,
            inbox: Inbox { sender, bell },
            images: BTreeMap::new(),
            receiving: None,
        })
    }

    /// Where views put their images.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Ends a [`Self::wait`] from any thread.
    pub fn waker(&self) -> Arc<mio::Waker> {
        self.peers.waker()
    }

    /// Waits until something happens, or the time is over.
    pub fn wait(&mut self, timeout: Duration) {
        self.peers.wait(timeout);
    }

    /// Tells the replica what happened; says whether there is more of it already.
    pub fn take_in(&mut self, replica: &mut Replica, now: Now) -> bool {
        while let Some(event) = self.peers.next_event() {
            match event {
                peers::Event::Accepted(link, port) => replica.accepted(link, port, now),
                peers::Event::Connected(link) => replica.connected(link, now),
                peers::Event::Closed(link) => {
                    self.images.remove(&link);
                    replica.closed(link, now);
                }
            }
        }
        while let Ok(arrival) = self.arrivals.try_recv() {
            match arrival {
                Arrival::Image(image) => {
                    let (link, zxid) = (image.link, image.zxid);
                    self.images.insert(link, image);
                    replica.image_begun(link, zxid, now);
                }
                Arrival::Stored(restored) => replica.tree_stored(*restored),
                Arrival::NotStored(error) => replica.tree_refused(error.to_string(), now),
                Arrival::Reloaded(restored) => replica.reloaded(*restored, now),
            }
        }
        self.peers.receive(replica, now)
    }

    /// Does what the replica wants done.
    pub fn give_out(&mut self, replica: &mut Replica, now: Now) {
        while let Some(output) = replica.take_output() {
            match output {
                Output::Connect { link, sid, port } => self.peers.connect(link, sid, port),
                Output::Send { link, bytes } => self.peers.send(link, bytes),
                Output::Close { link } => {
                    self.images.remove(&link);
                    self.peers.close(link);
                }
                Output::SaveEpochs(epochs) => self.save(epochs),
                Output::SendImage { link, .. } => self.send_image(link),
                Output::ReceiveTree => self.receiving = Some(Box::new(Receiving::new(self.tree_settings))),
                Output::Tree(bytes) => self.receive(&bytes, replica, now),
                Output::FinishInstall(zxid) => self.finish_install(zxid),
                Output::Reload => self.reload(),
                Output::Diverged(why) => exit(
                    EXIT_DATA,
                    format_args!("{why}: this server's tree is not its leader's; remove its data, and it takes the leader's"),
                ),
                Output::Event(event) => log::info!(target: "zab", "{event}"),
            }
        }
        self.peers.flush();
    }
}
