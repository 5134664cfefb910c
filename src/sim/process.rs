//! A simulated process: a driver, its views, and what is on its way between them.

use super::Random;
use super::cluster::Mutation;
use super::net::{Arrival, Inside, Socket, Who};
use super::oracle::Shadow;
use super::world::{Env, World};
use crate::driver::{self, Driver, JobResult, LinkEvent, Signs, SnapshotPlan, Taken, Turn};
use crate::proto::{OpCode, Zxid};
use crate::replica::{
    ControlKind, Deltas, Entry, EntryKind, Place, Replica, Standing, TxnKind, Uplink, View, ViewRequest,
};
use crate::snapshot::{self, Header};
use crate::storage::{self, Done, Folder, ImageEncoder, LogFile, LogWriter, NewFile, Storage};
use crate::tree::{ImageOf, NodeImage};
use crate::wal::GroupEncoder;
use crate::zab::LinkId;
use bytes::Bytes;
use core::net::SocketAddr;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

/// How often views are given the time.
pub(super) const TICK_US: u64 = 10_000;

/// Snapshots that are kept.
const RETAIN: usize = 2;

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub driver: Driver,
    pub shell: Shell,
}

/// What a process has beside its driver.
#[derive(Debug)]
pub(crate) struct Shell {
    pub views: Vec<ViewSide>,
    pub(super) log: LogWriter<LogFile<super::disk::SimDisk>>,
    /// A group is written and not flushed.
    pub(super) is_unflushed: bool,
    /// A group that the driver has not heard of yet is durable.
    pub(super) done: Option<Done>,
    pub(super) peers: BTreeMap<LinkId, Peer>,
    pub(super) sockets: BTreeMap<Socket, LinkId>,
    accepted: u64,
    /// Trees for learners, made and sent.
    pub(super) trees: BTreeMap<LinkId, Tree>,
    /// What connections were given, and what they have taken of that.
    pub(super) sent: Vec<Taken>,
    pub(super) taken: VecDeque<Taken>,
    pub(super) events: VecDeque<LinkEvent>,
    pub(super) arrivals: VecDeque<driver::Arrival<Image>>,
    /// A turn is about to be taken.
    is_turn_due: bool,
    /// Learners for which the first view is to take an image, the one that it takes, and the snapshot that it takes.
    wanted: VecDeque<LinkId>,
    for_learner: Option<Imaging>,
    snapshot: Option<Imaging>,
    /// A snapshot that is whole, and is written once the log is durable as far.
    snapshot_bytes: Option<Vec<u8>>,
    plan: Option<SnapshotPlan>,
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
}

/// A view's image of its tree, for a learner.
#[derive(Debug)]
pub(crate) struct Image {
    pub zxid: Zxid,
    pub sessions: BTreeMap<i64, i32>,
    pub gathered: Rc<RefCell<Gathered>>,
}

/// The znodes of an image.
#[derive(Debug)]
pub(crate) enum Gathered {
    Some(Vec<NodeImage>),
    All(Vec<NodeImage>),
    /// The view's tree was replaced.
    GivenUp,
}

impl Gathered {
    fn nodes(&mut self) -> &mut Vec<NodeImage> {
        match self {
            Self::Some(nodes) => nodes,
            ended => unreachable!("an image goes on that has ended: {ended:?}"),
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

/// An image that a view takes.
#[derive(Debug)]
struct Imaging {
    /// How often the tree had been replaced.
    resets: u32,
    header: Header,
    sessions: BTreeMap<i64, i32>,
    gathered: Rc<RefCell<Gathered>>,
}

/// A view and its channels.
#[derive(Debug)]
pub(crate) struct ViewSide {
    pub view: View,
    sockets: BTreeMap<Socket, Place>,
    places: BTreeMap<u32, Socket>,
    pub uplinks: VecDeque<Uplink>,
    uplinks_due_us: u64,
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
        disk: &super::disk::SimDisk,
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
            is_turn_due: false,
            wanted: VecDeque::new(),
            for_learner: None,
            snapshot: None,
            snapshot_bytes: None,
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

impl Process {
    /// What it is driven for.
    pub fn replica(&self) -> &Replica {
        &self.driver.replica
    }

    /// What it is to its ensemble.
    pub fn standing(&self) -> Standing {
        self.replica().standing()
    }

    /// Newest zxid that was published, and whether clients are served.
    pub fn published(&self) -> (Zxid, bool) {
        (self.shell.published, self.shell.is_serving)
    }

    /// Something happens inside.
    pub(super) fn happens(&mut self, what: Inside, env: &mut Env<'_>) {
        match what {
            Inside::Tick => self.tick(env),
            Inside::Turn => {
                self.shell.is_turn_due = false;
                self.turn(env);
            }
            Inside::Wake => self.turn(env),
            Inside::Flush(batch) => match self.shell.flush(batch, env) {
                Ok(done) => {
                    self.shell.done = done;
                    self.wake(env);
                }
                Err(failed) => env.failed(&failed),
            },
            Inside::Deltas { view, deltas } => self.apply(usize::from(view), &deltas, env),
            Inside::Uplink { view, uplink } => {
                self.shell.views[usize::from(view)].uplinks.push_back(uplink);
                self.wake(env);
            }
            Inside::LookAt { view, place } => {
                self.look_at(usize::from(view), place, env);
                self.serve(usize::from(view), env);
            }
            Inside::Image(link, image) => {
                self.shell.arrivals.push_back(driver::Arrival::Image(link, image));
                self.wake(env);
            }
            Inside::ImageSlice(of) => self.image_slice(of, env),
            Inside::MakeTree(link) => {
                self.shell.make_some(link, env);
                self.wake(env);
            }
            Inside::StoreSnapshot => self.store_snapshot(env),
            Inside::Taken(taken) => {
                self.shell.taken.push_back(taken);
                self.wake(env);
            }
            Inside::Job(job, took_us) => {
                let done = self.shell.run(job, env);
                self.done(done, took_us, env);
            }
            Inside::JobDone(done, took_us) => self.done(done, took_us, env),
        }
    }

    fn done(&mut self, done: JobResult, took_us: u64, env: &mut Env<'_>) {
        self.shell.arrivals.push_back(driver::Arrival::Done(done, took_us));
        self.wake(env);
    }

    /// Has a turn taken: now, or a little later with what comes until then.
    fn wake(&mut self, env: &mut Env<'_>) {
        if self.shell.is_turn_due {
            return;
        }
        match env.net.random.one_in(3) {
            true => self.turn_within(3_000, env),
            false => self.turn(env),
        }
    }

    fn turn_within(&mut self, bound_us: u64, env: &mut Env<'_>) {
        if !std::mem::replace(&mut self.shell.is_turn_due, true) {
            let delay_us = 1 + env.some_us(bound_us);
            env.within(delay_us, Inside::Turn);
        }
    }

    /// Takes a turn.
    fn turn(&mut self, env: &mut Env<'_>) {
        if !env.step() {
            return;
        }
        let Self { driver, shell } = self;
        let turned = driver.turn(&mut World { shell, env }, false, false);
        for taken in std::mem::take(&mut self.shell.sent) {
            // A peer that is slow to take what it is sent.
            let slow_us = if env.net.random.one_in(20) { 400_000 } else { 500 };
            let delay_us = env.some_us(slow_us);
            env.within(delay_us, Inside::Taken(taken));
        }
        match turned {
            Ok(Turn::Idle) => {}
            Ok(Turn::Wait(us)) => env.within(us as u64, Inside::Wake),
            Ok(Turn::Again) => self.turn_within(50, env),
            Ok(Turn::Over) => unreachable!("it was not told to stop"),
            Err(_) if env.end.is_some() => {}
            Err(why) => {
                if let driver::Fatal::Diverged(why) = &why {
                    env.oracle.violate(format!("server {} diverged: {why}", env.server + 1));
                }
                env.failed(&why);
            }
        }
    }

    fn tick(&mut self, env: &mut Env<'_>) {
        for view in 0..self.shell.views.len() {
            let side = &mut self.shell.views[view];
            side.view.tick(env.now);
            side.signs.put(side.view.take_signs(), side.view.heard_through_us());
            self.serve(view, env);
        }
        if !self.shell.is_unflushed && env.net.random.one_in(4) {
            self.shell.log.files_mut().clock_us = env.now.mono_us;
            match self.shell.log.idle() {
                Ok(None) => {}
                Ok(Some(left)) => {
                    env.trace(|server| format!("server {server}: the disk is full, {left} left"))
                }
                Err(failed) => return env.failed(&failed),
            }
        }
        self.turn(env);
        env.within(TICK_US, Inside::Tick);
    }

    /// A view applies what was committed.
    fn apply(&mut self, view: usize, deltas: &Deltas, env: &mut Env<'_>) {
        let shell = &mut self.shell;
        let side = &mut shell.views[view];
        side.deltas -= 1;
        side.view.apply(deltas, env.now);
        if view == 0 {
            if deltas
                .entries
                .iter()
                .any(|entry| matches!(entry.what, EntryKind::Control(ControlKind::Reset(_))))
            {
                // Of a tree that is no more.
                shell.wanted.clear();
            }
            if let Some(plan) = &mut shell.plan {
                plan.count(deltas);
                if plan.begins(side.view.is_serving(), shell.snapshot.is_some()) {
                    shell.snapshot = Some(begin_image(&mut side.view, ImageOf::Snapshot));
                    env.within(1, Inside::ImageSlice(ImageOf::Snapshot));
                }
            }
        }
        while let Some(link) = side.view.next_image_wanted() {
            if view == 0 {
                shell.wanted.push_back(link);
            }
        }
        self.begin_learners_image(env);
        self.serve(view, env);
        self.wake(env);
    }

    /// Begins an image for the next learner that wants one.
    fn begin_learners_image(&mut self, env: &mut Env<'_>) {
        let shell = &mut self.shell;
        if shell.for_learner.is_some() {
            return;
        }
        let Some(link) = shell.wanted.pop_front() else { return };
        let imaging = begin_image(&mut shell.views[0].view, ImageOf::Learner);
        let zxid = imaging.header.zxid;
        env.trace(|server| format!("server {server} takes an image at {zxid} for {link:?}"));
        let mut held: Shadow = env.shadows[env.server].clone();
        held.records.retain(|known, record| {
            record.1 = true;
            *known <= zxid
        });
        held.marker = None;
        let known = env.images.entry(zxid).or_insert_with(|| held.clone());
        if known.records != held.records {
            env.oracle.violate(format!("server {} has another tree at {zxid}", env.server + 1));
        }
        let (sessions, gathered) = (imaging.sessions.clone(), imaging.gathered.clone());
        shell.for_learner = Some(imaging);
        let delay_us = 1 + env.some_us(env.settings.channel_us + 1);
        env.within(delay_us, Inside::Image(link, Image { zxid, sessions, gathered }));
        env.within(delay_us, Inside::ImageSlice(ImageOf::Learner));
    }

    fn image_slice(&mut self, of: ImageOf, env: &mut Env<'_>) {
        let shell = &mut self.shell;
        let slot = match of {
            ImageOf::Learner => &mut shell.for_learner,
            ImageOf::Snapshot => &mut shell.snapshot,
        };
        let imaging = slot.as_mut().expect("slices are taken of an image that was begun");
        let (places, view) = (1 + env.some_us(20) as u32, &mut shell.views[0].view);
        let mut gathered = imaging.gathered.borrow_mut();
        let more = view.image_slice(of, places, usize::MAX, gathered.nodes());
        let is_replaced = view.resets() != imaging.resets;
        let delay_us = 1 + env.some_us(3_000);
        if is_replaced {
            *gathered = Gathered::GivenUp;
        } else if more {
            return env.within(delay_us, Inside::ImageSlice(of));
        } else {
            *gathered = Gathered::All(std::mem::take(gathered.nodes()));
        }
        drop(gathered);
        match of {
            ImageOf::Learner => {
                shell.for_learner = None;
                self.begin_learners_image(env);
            }
            ImageOf::Snapshot if is_replaced => shell.snapshot = None,
            ImageOf::Snapshot => {
                shell.snapshot_bytes = Some(imaging.encode());
                env.within(delay_us, Inside::StoreSnapshot);
            }
        }
    }

    /// Writes a snapshot once the log is durable as far: it must not know what the log does not.
    fn store_snapshot(&mut self, env: &mut Env<'_>) {
        let shell = &mut self.shell;
        let imaging = shell.snapshot.as_ref().expect("a snapshot is stored that was taken");
        let zxid = imaging.header.zxid;
        if shell.views[0].view.resets() != imaging.resets {
            (shell.snapshot, shell.snapshot_bytes) = (None, None);
            return;
        }
        if shell.durable < zxid {
            return env.within(5_000, Inside::StoreSnapshot);
        }
        let bytes = shell.snapshot_bytes.take().expect("it was encoded");
        shell.snapshot = None;
        let disk = &env.disk;
        let stored = disk.create(Folder::Snap, storage::SNAPSHOT_TMP).and_then(|mut file| {
            file.write(&bytes)?;
            file.finish(&snapshot::file_name(zxid))
        });
        // One that fails is tried again later: the log keeps everything.
        let left = match &stored {
            Ok(()) => storage::purge(disk, RETAIN).map(|_| ()),
            Err(_) => disk.remove(Folder::Snap, storage::SNAPSHOT_TMP),
        };
        env.trace(|server| format!("server {server} has snapshot {zxid}: {stored:?}, {left:?}"));
    }

    /// What arrives at a running process.
    pub(super) fn arrives(&mut self, who: Who, socket: Socket, arrival: Arrival, env: &mut Env<'_>) {
        match who {
            Who::Peer(port) => self.peer_arrives(port, socket, arrival, env),
            Who::View(view) => self.client_arrives(usize::from(view), socket, arrival, env),
            Who::Client => unreachable!("a server is no client"),
        }
    }

    fn peer_arrives(
        &mut self,
        port: crate::replica::Port,
        socket: Socket,
        arrival: Arrival,
        env: &mut Env<'_>,
    ) {
        let shell = &mut self.shell;
        let link = shell.sockets.get(&socket).copied();
        let peer = link.and_then(|link| shell.peers.get_mut(&link));
        match (arrival, link, peer) {
            (Arrival::Dial, ..) => {
                shell.accepted += 1;
                let link = LinkId(shell.accepted);
                shell.add_peer(link, socket);
                shell.events.push_back(LinkEvent::Accepted(link, port));
            }
            (Arrival::Connected, Some(link), _) => shell.events.push_back(LinkEvent::Connected(link)),
            (Arrival::Bytes(bytes), _, Some(peer)) => peer.inbox.push_back(bytes),
            (Arrival::Closed, Some(link), Some(peer)) => {
                peer.is_ended = true;
                // What was not read is lost with a connection that is reset.
                if env.net.random.one_in(2) {
                    peer.inbox.clear();
                    peer.lose(link, &mut shell.events);
                }
            }
            (Arrival::Bytes(_), ..) => return env.net.reset(socket),
            // Of a connection that this server has left.
            (Arrival::Connected | Arrival::Closed, ..) => return,
        }
        self.wake(env);
    }

    fn client_arrives(&mut self, view: usize, socket: Socket, arrival: Arrival, env: &mut Env<'_>) {
        let side = &mut self.shell.views[view];
        let place = side.sockets.get(&socket).copied();
        match (arrival, place) {
            (Arrival::Dial, _) => {
                let place = side.view.open(SocketAddr::from(([127, 0, 0, 1], 1)), env.now);
                side.sockets.insert(socket, place);
                side.places.insert(place.slot, socket);
            }
            (Arrival::Bytes(bytes), Some(place)) => _ = side.view.receive(place, &bytes, env.now),
            (Arrival::Closed, Some(place)) => {
                side.sockets.remove(&socket);
                side.places.remove(&place.slot);
                env.net.vanish(socket);
                side.view.closed(place);
            }
            (Arrival::Bytes(_), None) => env.net.reset(socket),
            (Arrival::Connected | Arrival::Closed, _) => {}
        }
        // `receive` lists nothing: its caller looks.
        if let Some(place) = place {
            self.look_at(view, place, env);
        }
        self.serve(view, env);
    }

    /// Does what a view wants for a connection, if that is there still.
    fn look_at(&mut self, view: usize, place: Place, env: &mut Env<'_>) {
        let side = &mut self.shell.views[view];
        let Some(&socket) = side.places.get(&place.slot) else { return };
        if side.sockets.get(&socket) != Some(&place) {
            return;
        }
        let wants = side.view.poll_connection(place, env.now);
        if wants.write {
            let bytes = side.view.output(place).to_vec();
            side.view.sent(place, bytes.len());
            let bytes = mutate(env.mutation, bytes, &mut env.net.random);
            env.net.send(socket, bytes.into());
        }
        if wants.close.is_some() {
            env.net.close(socket);
            side.sockets.remove(&socket);
            side.places.remove(&place.slot);
            side.view.closed(place);
        } else if wants.again {
            env.within(100, Inside::LookAt { view: view as u16, place });
        }
    }

    /// Lets a view's connections and requests go on.
    fn serve(&mut self, view: usize, env: &mut Env<'_>) {
        loop {
            while let Some(place) = self.shell.views[view].view.next_listed() {
                self.look_at(view, place, env);
            }
            let side = &mut self.shell.views[view];
            let Some(mut uplink) = side.view.take_uplink() else { return };
            if env.mutation == Some(Mutation::SyncAtOnce) {
                sync_at_once(&mut side.view, &mut uplink, env);
            }
            let delay_us = env.net.random.below(env.settings.channel_us + 1);
            side.uplinks_due_us = side.uplinks_due_us.max(env.net.now_us + delay_us);
            env.at(side.uplinks_due_us, Inside::Uplink { view: view as u16, uplink });
        }
    }
}

impl Imaging {
    /// The snapshot's bytes, of an image that is whole.
    fn encode(&self) -> Vec<u8> {
        let gathered = self.gathered.borrow();
        let Gathered::All(nodes) = &*gathered else { unreachable!("encoded before it is whole") };
        let mut bytes = Vec::new();
        let mut encoder = ImageEncoder::new(&self.header, self.sessions.clone());
        for node in nodes {
            encoder.put(node);
            if encoder.is_chunk_due() {
                bytes.extend(encoder.take_chunk());
            }
        }
        bytes.extend(encoder.finish().0);
        bytes
    }
}

fn begin_image(view: &mut View, of: ImageOf) -> Imaging {
    let (zxid, digest, sessions) = view.begin_image(of);
    Imaging {
        resets: view.resets(),
        header: Header { zxid, digest, wall_ms: 0 },
        sessions: sessions.into_iter().collect(),
        gathered: Rc::new(RefCell::new(Gathered::Some(Vec::new()))),
    }
}

/// A view answers sync by itself. See [`Mutation::SyncAtOnce`].
fn sync_at_once(view: &mut View, uplink: &mut Uplink, env: &Env<'_>) {
    let zxid = view.zxid();
    let synced = uplink
        .items
        .extract_if(.., |item| matches!(item, ViewRequest::Request(request) if request.op == OpCode::SYNC));
    let entries = synced.map(|item| {
        let ViewRequest::Request(request) = item else { unreachable!("looked at above") };
        Entry {
            zxid,
            digest: 0,
            to: Some(request.origin),
            xid: request.xid,
            what: TxnKind::Synced.into(),
            changes_end: 0,
            results_end: 0,
        }
    });
    let entries: Vec<_> = entries.collect();
    view.apply(&Deltas { entries, ..Deltas::default() }, env.now);
}

/// What a broken server makes of its answers.
fn mutate(mutation: Option<Mutation>, bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if !matches!(mutation, Some(Mutation::SwapReplies | Mutation::LoseEvents | Mutation::LateEvents)) {
        return bytes;
    }
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut rest = &bytes[..];
    while let Some(length) = rest.first_chunk::<4>() {
        let (frame, behind) = rest.split_at(4 + u32::from_be_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    let is_event = |frame: &Vec<u8>| frame.len() >= 8 && frame[4..8] == (-1i32).to_be_bytes();
    match mutation {
        Some(Mutation::SwapReplies) if frames.len() > 1 => {
            let at = random.below(frames.len() as u64 - 1) as usize;
            frames.swap(at, at + 1);
        }
        Some(Mutation::LoseEvents) if random.one_in(4) => frames.retain(|frame| !is_event(frame)),
        Some(Mutation::LateEvents) => frames.sort_by_key(is_event),
        _ => {}
    }
    frames.concat()
}
