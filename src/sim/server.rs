//! One server's process: what the shell does, over a simulated disk and net.

use super::cluster::{Cluster, Mutation};
use super::disk::SimDisk;
use super::net::{Arrival, Event, Inside, Net, Socket, Who};
use crate::auth::Policy;
use crate::database::Database;
use crate::proto::{OpCode, Zxid};
use crate::replica::{
    CommitSettings, ControlKind, Deltas, Entry, EntryKind, Event as MemberEvent, MemberSettings, Now, Output,
    Place, Replica, Standing, TxnKind, Uplink, View, ViewRequest, ViewSettings,
};
use crate::snapshot::java::{Encoder, Form};
use crate::snapshot::{self, Header};
use crate::storage::{
    self, Folder, ImageEncoder, Incoming, LogFile, LogReader, NewFile, RecoveryError, Storage,
};
use crate::tree::{self, Digests, ImageOf, NodeImage};
use crate::wal::{Batch, Marker, Position};
use crate::zab::LinkId;
use crate::zab::history::History;
use crate::zab::leader::Membership;
use crate::zab::quorum::{Quorum, config_text};
use bytes::Bytes;
use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// How often time passes for a process.
const TICK_US: u64 = 10_000;
/// Snapshots that are kept.
const RETAIN: usize = 2;
/// How soon a process that cannot start is started again.
const RESTART_US: u64 = 300_000;
/// Segments are short, so that there are some.
pub const SEGMENT_BYTES: usize = 512 << 10;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process alone: its connections are closed, its files are as it wrote them.
    Killed,
    /// The machine: nobody is told, and what was not flushed may be gone.
    PowerOff,
}

/// A place in what a server does at which it may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Before epochs are saved.
    SaveEpochs,
    /// They are durable, and nothing that follows is done.
    EpochsSaved,
    /// Before a group is written.
    Write,
    /// It is written and not flushed.
    Written,
    /// It is durable, and nobody knows.
    Flushed,
    /// The same of a marker.
    Marked,
    /// A tree has come in whole, and is not on disk.
    StoreTree,
    /// It is, and the log knows nothing of it.
    TreeStored,
    /// The log begins with it, and it has no name.
    FinishInstall,
    /// It has its name.
    Installed,
    /// The log is truncated, and the tree is not read again.
    Reload,
    /// An image goes to a learner, and what follows it does not.
    ImageSent,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SaveEpochs,
        Self::EpochsSaved,
        Self::Write,
        Self::Written,
        Self::Flushed,
        Self::Marked,
        Self::StoreTree,
        Self::TreeStored,
        Self::FinishInstall,
        Self::Installed,
        Self::Reload,
        Self::ImageSent,
    ];
}

/// A machine and its clocks.
#[derive(Debug)]
pub(crate) struct Server {
    pub disk: SimDisk,
    pub process: Option<Process>,
    pub incarnation: u64,
    /// The machine is on, whether the process runs or not.
    pub is_on: bool,
    /// Nothing is done until then; what happens meanwhile waits.
    pub stalled_until_us: u64,
    backlog: VecDeque<Event>,
    /// Of the clock that never goes back: how much faster than time, in millionths.
    pub drift_ppm: i64,
    mono_base_us: i64,
    /// Of the wall's clock.
    pub wall_offset_ms: i64,
    /// The latest that it was when the process ended or the clock jumped.
    pub latest_wall_ms: i64,
    /// Steps until the process stops.
    pub fuse: Option<(u64, Stop)>,
    pub is_observer: bool,
    /// Starts that found damage.
    pub repairs: u32,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub replica: Replica,
    pub views: Vec<ViewSide>,
    log: LogFile<SimDisk>,
    /// Where the log ended when its newest group was flushed.
    flushed: Position,
    links: BTreeMap<LinkId, Socket>,
    sockets: BTreeMap<Socket, LinkId>,
    /// What waits behind an image in the stream of its link.
    behind: BTreeMap<LinkId, Vec<Bytes>>,
    images: BTreeMap<LinkId, Bytes>,
    /// Bytes that connections have taken, all and those of no tree, to be reported.
    taken: Vec<(LinkId, usize, usize)>,
    /// What reads the log for a learner.
    readers: BTreeMap<LinkId, LogReader>,
    inbox: BTreeMap<Socket, VecDeque<Bytes>>,
    uplinks: VecDeque<Uplink>,
    uplinks_due_us: u64,
    accepted: u64,
    /// A received tree on its way to the disk.
    storing: Option<Box<Database>>,
    wanted: VecDeque<LinkId>,
    image: Option<Image>,
    /// A snapshot that is whole, and is written once the log is durable as far.
    snapshot: Option<(Zxid, Vec<u8>)>,
    /// What is published is shown to clients.
    is_serving: bool,
    /// Published while it was not, with the digest then.
    tentative: Vec<(Zxid, u64)>,
    /// Newest zxid that was published.
    published: Zxid,
    /// Newest zxid that is known to be committed.
    confirmed: Zxid,
}

/// A view and what belongs to it.
#[derive(Debug)]
pub(crate) struct ViewSide {
    pub view: View,
    sockets: BTreeMap<Socket, Place>,
    places: BTreeMap<u32, Socket>,
    due_us: u64,
}

#[derive(Debug)]
struct Image {
    /// For a learner, or for a snapshot.
    link: Option<LinkId>,
    zxid: Zxid,
    digest: u64,
    sessions: BTreeMap<i64, i32>,
    nodes: Vec<NodeImage>,
}

fn tree_settings() -> tree::Settings {
    tree::Settings { extended_types: tree::ExtendedTypes::Off, digests: Digests::Kept, hash_seed: 1 }
}

impl Server {
    pub fn new(seed: u64, is_observer: bool) -> Self {
        Self {
            disk: SimDisk::new(SEGMENT_BYTES, seed),
            process: None,
            incarnation: 0,
            is_on: true,
            stalled_until_us: 0,
            backlog: VecDeque::new(),
            drift_ppm: 0,
            mono_base_us: (seed % 1_000_000_007) as i64 * 1000,
            wall_offset_ms: 0,
            latest_wall_ms: 0,
            fuse: None,
            is_observer,
            repairs: 0,
        }
    }

    pub fn now(&self, now_us: u64) -> Now {
        let now_us = now_us as i64;
        Now {
            mono_us: self.mono_base_us + now_us + now_us * self.drift_ppm / 1_000_000,
            wall_ms: 1_700_000_000_000 + now_us / 1000 + self.wall_offset_ms,
        }
    }
}

impl Process {
    /// What it is to its ensemble.
    pub fn standing(&self) -> Standing {
        self.replica.standing()
    }

    /// Newest zxid that was published, and whether clients are served.
    pub fn published(&self) -> (Zxid, bool) {
        (self.published, self.is_serving)
    }

    fn send(&mut self, net: &mut Net, link: LinkId, bytes: Bytes) {
        if let Some(behind) = self.behind.get_mut(&link) {
            behind.push(bytes);
        } else if let Some(&socket) = self.links.get(&link) {
            self.taken.push((link, bytes.len(), bytes.len()));
            net.send(socket, bytes);
        }
    }

    /// The image for `link` goes out, and what waits behind it.
    fn send_image(&mut self, net: &mut Net, link: LinkId) {
        if !self.behind.contains_key(&link) {
            return;
        }
        let Some(image) = self.images.remove(&link) else { return };
        let behind = self.behind.remove(&link).unwrap_or_default();
        if let Some(&socket) = self.links.get(&link) {
            self.taken.push((link, image.len(), 0));
            net.send(socket, image);
        }
        for bytes in behind {
            self.send(net, link, bytes);
        }
    }

    fn forget_link(&mut self, link: LinkId) -> Option<Socket> {
        self.behind.remove(&link);
        self.images.remove(&link);
        self.readers.remove(&link);
        let socket = self.links.remove(&link)?;
        self.sockets.remove(&socket);
        self.inbox.remove(&socket);
        Some(socket)
    }
}

impl Cluster {
    fn sid(server: usize) -> i64 {
        server as i64 + 1
    }

    /// Something happens to a server; it waits while that does nothing.
    pub(super) fn happens_to(&mut self, server: usize, event: Event) {
        let of = &mut self.servers[server];
        if of.stalled_until_us > self.net.now_us || !of.backlog.is_empty() {
            // Time passes once, however long it was.
            if matches!(event, Event::Inside { what: Inside::Tick, .. }) && self.net.random.one_in(2) {
                of.backlog.push_front(event);
            } else {
                of.backlog.push_back(event);
            }
            return;
        }
        self.handle(server, event);
    }

    /// A server does nothing for a while.
    pub fn stall(&mut self, server: usize, for_us: u64) {
        let until_us = self.net.now_us + for_us;
        let of = &mut self.servers[server];
        if until_us > of.stalled_until_us {
            of.stalled_until_us = until_us;
            self.net.at(until_us, Event::Resume(server));
        }
    }

    pub(super) fn resume(&mut self, server: usize) {
        while self.servers[server].stalled_until_us <= self.net.now_us
            && let Some(event) = self.servers[server].backlog.pop_front()
        {
            self.handle(server, event);
        }
    }

    fn handle(&mut self, server: usize, event: Event) {
        match event {
            Event::Inside { server, incarnation, what } => {
                if self.servers[server].incarnation == incarnation && self.servers[server].process.is_some() {
                    self.inside(server, what);
                }
            }
            Event::Net { socket, arrival } => self.arrives(server, socket, arrival),
            other => unreachable!("{other:?} is not for a server"),
        }
        self.drive(server);
    }

    fn within(&mut self, server: usize, delay_us: u64, what: Inside) {
        let incarnation = self.servers[server].incarnation;
        self.net.after(delay_us, Event::Inside { server, incarnation, what });
    }

    /// Starts a process on what the disk holds.
    pub(super) fn start(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            return;
        }
        self.servers[server].is_on = true;
        let disk = self.servers[server].disk.clone();
        let mut recovered = self.recover(server);
        if let Err(error) = &recovered
            && error.is_damage()
        {
            self.trace(|_| format!("server {} is damaged: {error}", server + 1));
            self.servers[server].repairs += 1;
            if storage::move_aside(&disk).is_ok() {
                self.shadows[server].lose();
                recovered = self.recover(server);
            }
        }
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                self.trace(|_| format!("server {} cannot start: {error}", server + 1));
                if error.is_damage() && self.may_not_be_damaged(server) {
                    self.oracle.violate(format!("server {} is damaged: {error}", server + 1));
                }
                return self.net.after(RESTART_US, Event::Start(server));
            }
        };
        let storage::Recovered { restored, encoder, epochs, .. } = recovered;
        if epochs.repairing && restored.zxid == Zxid::ZERO {
            // Moved aside, and the power went before that was said.
            self.shadows[server].lose();
        }
        self.oracle.started(server, &mut self.shadows[server], &self.images, restored.zxid);
        let of = &mut self.servers[server];
        of.incarnation += 1;
        // Session ids begin with the wall's time of the start, as Java's do: set back over a start it repeats them.
        let wall_ms = of.now(self.net.now_us).wall_ms;
        of.wall_offset_ms += (of.latest_wall_ms + 1_000 - wall_ms).max(0);
        let now = of.now(self.net.now_us);
        let policy = Arc::new(Policy::default());
        let settings = self.settings;
        let views = (0..settings.views).map(|number| {
            let settings = ViewSettings {
                outstanding_max: 100,
                sessionless_timeout_ms: 3_000,
                ..ViewSettings::new(number)
            };
            let (tree, sessions) = (restored.tree.for_view(), restored.sessions.clone());
            let digest = restored.tree.digest();
            let view = View::new(settings, policy.clone(), tree, restored.zxid, sessions, digest);
            ViewSide { view, sockets: BTreeMap::new(), places: BTreeMap::new(), due_us: 0 }
        });
        let views = views.collect();
        let ensemble = self.ensemble.clone();
        let mut quorum = Quorum::new(&ensemble).expect("an ensemble");
        if self.mutation == Some(Mutation::DecideAlone) {
            let mut alone = ensemble.clone();
            alone.servers.retain(|sid, _| *sid == Self::sid(server));
            quorum = Quorum::new(&alone).unwrap_or(quorum);
        }
        let tick_ms = i64::from(settings.tick_ms);
        let member = MemberSettings {
            membership: Membership {
                sid: Self::sid(server),
                quorum: Arc::new(quorum),
                config_text: config_text(&ensemble).into_bytes().into(),
                config_version: 0,
                versions_config: false,
                tick_ms,
                init_ms: 10 * tick_ms,
                sync_ms: 5 * tick_ms,
                snaps_max: 10,
                always_snap: false,
                as_java: settings.as_java,
            },
            ensemble,
            is_observer: of.is_observer,
            repairing: epochs.repairing,
            election_address: format!("zk{}:3888", Self::sid(server)),
        };
        let commit = CommitSettings {
            server_id: Self::sid(server) as u8,
            container_never_used_ms: 300_000,
            ..CommitSettings::new(settings.views, settings.tick_ms)
        };
        let (zxid, digest) = (restored.zxid, restored.tree.digest());
        let zab_epochs = crate::zab::leader::Epochs {
            accepted: epochs.accepted,
            current: epochs.current,
            config_version: epochs.config_version,
        };
        let history = self.history_of(&disk, zxid, encoder.position());
        let replica = Replica::member(member, commit, policy, restored, zab_epochs, history, now);
        let is_repairing = epochs.repairing;
        self.trace(|_| {
            let repairing = if is_repairing { ", to be repaired" } else { "" };
            format!("server {} starts: zxid={zxid} epochs={epochs:?}{repairing}", server + 1)
        });
        self.servers[server].process = Some(Process {
            replica,
            views,
            flushed: encoder.position(),
            log: LogFile::new(disk, encoder),
            links: BTreeMap::new(),
            sockets: BTreeMap::new(),
            behind: BTreeMap::new(),
            images: BTreeMap::new(),
            taken: Vec::new(),
            readers: BTreeMap::new(),
            inbox: BTreeMap::new(),
            uplinks: VecDeque::new(),
            uplinks_due_us: 0,
            accepted: 0,
            storing: None,
            wanted: VecDeque::new(),
            image: None,
            snapshot: None,
            is_serving: false,
            tentative: vec![(zxid, digest)],
            published: zxid,
            confirmed: Zxid::ZERO,
        });
        let delay_us = self.net.random.below(TICK_US);
        self.within(server, delay_us, Inside::Tick);
        if settings.snapshot_every_us > 0 {
            let delay_us = self.net.random.below(settings.snapshot_every_us);
            self.within(server, delay_us, Inside::Snapshot);
        }
        self.drive(server);
    }

    /// The end of the log, as far as it is read back.
    fn history_of(&mut self, disk: &SimDisk, last: Zxid, log: Position) -> History {
        let any = [0, 10, 500][self.net.random.below(3) as usize];
        let txns = self.history_txns.unwrap_or(any);
        let after = Zxid::new(last.epoch(), last.counter().saturating_sub(txns));
        let mut batch = Batch::default();
        let mut read = || -> Result<Option<Zxid>, storage::ReadError> {
            let Some(mut slices) = storage::records(disk, after, last, log)? else { return Ok(None) };
            let start = slices.floor();
            while slices.slice(disk, |zxid, txn| batch.put(zxid, |out| out.extend_from_slice(txn)))? {}
            Ok(Some(start))
        };
        match read() {
            Ok(Some(start)) if txns > 0 && batch.last() == last => History::of(start, [batch]),
            _ => History::new(last),
        }
    }

    fn recover(&mut self, server: usize) -> Result<storage::Recovered, RecoveryError> {
        let disk = self.servers[server].disk.clone();
        storage::remove_leftovers(&disk)
            .map_err(|error| RecoveryError::Io { path: disk.path(Folder::Snap, ""), error })?;
        let mut told = Vec::new();
        let recovered = storage::recover(&disk, tree_settings(), &mut |event| told.push(event));
        for event in told {
            self.trace(|_| format!("server {} recovers: {event:?}", server + 1));
        }
        recovered
    }

    /// A process ends.
    pub fn stop(&mut self, server: usize, how: Stop) {
        let of = &mut self.servers[server];
        of.latest_wall_ms = of.latest_wall_ms.max(of.now(self.net.now_us).wall_ms);
        of.fuse = None;
        if of.process.take().is_none() && how == Stop::Killed {
            return;
        }
        of.backlog.clear();
        of.stalled_until_us = 0;
        of.is_on = how == Stop::Killed;
        self.trace(|_| format!("server {} stops: {how:?}", server + 1));
        for socket in self.net.sockets(server) {
            match how {
                Stop::Killed => self.net.close(socket),
                Stop::PowerOff => self.net.vanish(socket),
            }
        }
        let of = &self.servers[server];
        if how == Stop::PowerOff {
            let seed = self.net.random.draw();
            of.disk.crash(seed);
        } else {
            of.disk.call_off();
        }
    }

    /// Whether the server stops at this step; it stays down.
    fn stops_at(&mut self, server: usize, step: Step) -> bool {
        let is_here = self.stop_at.is_some_and(|(who, at, _)| (who, at) == (server, step));
        if let Some((_, _, how)) = self.stop_at.take_if(|_| is_here) {
            self.trace(|_| format!("server {} is stopped at {step:?}", server + 1));
            self.stop(server, how);
        }
        is_here
    }

    /// The disk failed: the process ends, and a supervisor starts it again.
    fn failed(&mut self, server: usize, error: &io::Error) {
        self.trace(|_| format!("server {}: the disk says {error}", server + 1));
        let how = if self.servers[server].disk.is_off() { Stop::PowerOff } else { Stop::Killed };
        self.stop(server, how);
        let delay_us = RESTART_US + self.net.random.below(RESTART_US);
        self.net.after(delay_us, Event::Start(server));
    }

    /// Whether the process still runs after one more step.
    fn step(&mut self, server: usize) -> bool {
        match &mut self.servers[server].fuse {
            Some((0, how)) => {
                let how = *how;
                self.stop(server, how);
                let delay_us = self.net.random.below(2_000_000);
                self.net.after(delay_us, Event::Start(server));
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        self.servers[server].process.is_some()
    }

    /// Does whatever there is to do, until there is no more.
    fn drive(&mut self, server: usize) {
        while self.oracle.violation.is_none() && self.step(server) && self.one(server) {}
    }

    fn one(&mut self, server: usize) -> bool {
        let now = self.servers[server].now(self.net.now_us);
        let Some(process) = &mut self.servers[server].process else { return false };
        if let Some(output) = process.replica.take_output() {
            self.output(server, output);
            return true;
        }
        for (link, bytes, messages) in std::mem::take(&mut process.taken) {
            // A peer that is slow to take what it is sent.
            let slow_us = if self.net.random.one_in(20) { 400_000 } else { 500 };
            let delay_us = self.net.random.below(slow_us);
            self.within(server, delay_us, Inside::Taken { link, bytes, messages });
        }
        let Some(process) = &mut self.servers[server].process else { return false };
        if !process.uplinks.is_empty() {
            process.replica.proceed(now);
            if process.replica.has_room()
                && let Some(uplink) = process.uplinks.pop_front()
            {
                process.replica.submit(now, uplink);
                return true;
            }
        }
        if self.net.random.one_in(2)
            && let Some(deltas) = process.replica.take_published()
        {
            self.publish(server, deltas);
            return true;
        }
        if let Some(batch) = process.replica.take_group(now) {
            self.write(server, batch);
            return true;
        }
        if let Some(deltas) = process.replica.take_published() {
            self.publish(server, deltas);
            return true;
        }
        false
    }

    fn output(&mut self, server: usize, output: Output) {
        let now = self.servers[server].now(self.net.now_us);
        let disk = self.servers[server].disk.clone();
        let step = match &output {
            Output::SaveEpochs { .. } => Some(Step::SaveEpochs),
            Output::StoreTree(_) => Some(Step::StoreTree),
            Output::FinishInstall(_) => Some(Step::FinishInstall),
            Output::Reload(_) => Some(Step::Reload),
            _ => None,
        };
        if step.is_some_and(|step| self.stops_at(server, step)) {
            return;
        }
        let Some(process) = &mut self.servers[server].process else { return };
        match output {
            Output::Connect { link, sid, port } => {
                let from = (server, Who::Peer(port));
                let socket = self.net.dial(from, ((sid - 1) as usize, Who::Peer(port)));
                process.links.insert(link, socket);
                process.sockets.insert(socket, link);
            }
            Output::Send { link, bytes } => {
                let copies = match self.mutation {
                    Some(Mutation::ForwardTwice) if is_request(&bytes) => 2,
                    _ => 1,
                };
                (0..copies).for_each(|_| process.send(&mut self.net, link, bytes.clone()));
            }
            Output::Close { link } => {
                if let Some(socket) = process.forget_link(link) {
                    self.net.close(socket);
                }
            }
            Output::SaveEpochs { epochs, repairing } => {
                let crate::zab::leader::Epochs { accepted, current, config_version } = epochs;
                let epochs = storage::Epochs { accepted, current, config_version, repairing };
                self.trace(|_| format!("server {} saves {epochs:?}", server + 1));
                if self.mutation == Some(Mutation::ForgetEpochs) {
                    return;
                }
                if let Err(error) = epochs.write(&disk) {
                    return self.failed(server, &error);
                }
                if self.stops_at(server, Step::EpochsSaved) {
                    return;
                }
                if self.net.random.one_in(4) {
                    let for_us = self.net.random.below(20_000);
                    self.stall(server, for_us);
                }
            }
            Output::SendImage(link) => {
                process.behind.insert(link, Vec::new());
                process.send_image(&mut self.net, link);
                self.stops_at(server, Step::ImageSent);
            }
            Output::FindInLog(link, zxid) => {
                let delay_us = self.net.random.below(30_000);
                self.within(server, delay_us, Inside::LogFound { link, zxid });
            }
            Output::ReadLog(link, after) => {
                let delay_us = self.net.random.below(30_000);
                self.within(server, delay_us, Inside::LogRead { link, after });
            }
            Output::StoreTree(restored) => self.store_tree(server, restored),
            Output::FinishInstall(zxid) => {
                if let Err(error) = storage::adopt(&disk, zxid, process.log.encoder().position()) {
                    return self.failed(server, &error);
                }
                self.stops_at(server, Step::Installed);
            }
            Output::CheckTruncation(to) => {
                let can = storage::can_truncate(&disk, to);
                match can {
                    Ok(can) => process.replica.truncate(to, can, now),
                    Err(error) => self.failed(server, &error),
                }
            }
            Output::Reload(_) => {
                let recovered = self.recover(server);
                match recovered {
                    Ok(storage::Recovered { restored, encoder, .. }) => {
                        self.oracle.started(server, &mut self.shadows[server], &self.images, restored.zxid);
                        let Some(process) = &mut self.servers[server].process else { return };
                        process.flushed = encoder.position();
                        process.log = LogFile::new(disk, encoder);
                        process.replica.reloaded(restored, now);
                    }
                    Err(RecoveryError::Io { error, .. }) => self.failed(server, &error),
                    Err(error) => {
                        self.trace(|_| format!("server {} cannot read again: {error}", server + 1));
                        if !error.is_damage() || self.may_not_be_damaged(server) {
                            self.oracle.violate(format!("server {} cannot read again: {error}", server + 1));
                        }
                        self.failed(server, &io::Error::other("damaged"));
                    }
                }
            }
            Output::Diverged(why) => {
                self.oracle.violate(format!("server {} diverged: {why}", server + 1));
            }
            Output::Event(event) => {
                self.trace(|_| format!("server {}: {event}", server + 1));
                match event {
                    MemberEvent::Leading { epoch, .. } => {
                        self.led += 1;
                        self.oracle.leads(server, self.servers[server].incarnation, epoch);
                    }
                    MemberEvent::Following { sync, .. } => *self.syncs.entry(sync).or_default() += 1,
                    MemberEvent::SyncFailed { .. } => self.failed_syncs += 1,
                    // Here every leader's digests are right.
                    MemberEvent::Digest { why } | MemberEvent::DigestHint { why } => {
                        self.oracle.violate(format!("server {}: {why}", server + 1));
                    }
                    _ => {}
                }
            }
        }
    }

    fn store_tree(&mut self, server: usize, mut restored: Box<Database>) {
        let disk = self.servers[server].disk.clone();
        let Some(process) = &mut self.servers[server].process else { return };
        let log = process.log.encoder().position();
        let stored = Incoming::create(disk, restored.zxid).and_then(|mut incoming| {
            ImageEncoder::all(&mut restored, 0, |bytes| incoming.write(bytes))?;
            incoming.finish(log)
        });
        if let Err(error) = stored {
            return self.failed(server, &error);
        }
        assert!(process.storing.replace(restored).is_none(), "two trees are stored at once");
        if self.stops_at(server, Step::TreeStored) {
            return;
        }
        // Now and then longer than any time-out.
        let slow_us = [20_000, 20_000, 400_000, 5_000_000][self.net.random.below(4) as usize];
        let delay_us = self.net.random.below(slow_us);
        self.within(server, delay_us, Inside::TreeStored);
    }

    /// A group goes to the log; it is flushed later.
    fn write(&mut self, server: usize, batch: Arc<Batch>) {
        let now = self.servers[server].now(self.net.now_us);
        if self.stops_at(server, Step::Write) {
            return;
        }
        let Some(process) = &mut self.servers[server].process else { return };
        let shadow = &mut self.shadows[server];
        if self.mutation == Some(Mutation::SkipTruncation)
            && matches!(batch.as_marker(), Some(Marker::Truncate { .. }))
        {
            return process.replica.durable(batch, now);
        }
        if self.mutation == Some(Mutation::AcknowledgeEarly) {
            // Only the next group waits for it.
            if let Err(error) = process.log.flush() {
                return self.failed(server, &error);
            }
            shadow.records.values_mut().for_each(|(_, is_durable)| *is_durable = true);
        }
        match batch.as_marker() {
            Some(marker) => {
                let is_base = matches!(marker, Marker::Base { .. });
                let may_be_late = is_base || self.settings.as_java;
                let voters = may_be_late.then_some(self.settings.voters);
                self.oracle.taken_back(server, &self.shadows, marker.zxid(), voters);
                let shadow = &mut self.shadows[server];
                shadow.marker = Some((marker.zxid(), is_base));
            }
            None => {
                for (zxid, txn) in batch.iter() {
                    // The log of a server that did not follow the leader which made a txn has it without the digest.
                    let txn = crate::txn::without_digest(txn).unwrap_or(txn);
                    self.oracle.written(server, process.confirmed, zxid, txn);
                    shadow.records.insert(zxid, (Bytes::copy_from_slice(txn), false));
                }
            }
        }
        self.trace(|_| {
            let first = batch.iter().next().map(|(zxid, _)| zxid);
            format!("server {} writes {first:?} to {} {:?}", server + 1, batch.last(), batch.as_marker())
        });
        let Some(process) = &mut self.servers[server].process else { return };
        let is_lost = self.mutation == Some(Mutation::LoseWrites) && !batch.is_marker();
        if !is_lost && let Err(error) = process.log.write(&batch) {
            return self.failed(server, &error);
        }
        if self.stops_at(server, Step::Written) {
            return;
        }
        let Some(process) = &mut self.servers[server].process else { return };
        if self.mutation == Some(Mutation::AcknowledgeEarly) && !batch.is_marker() {
            return process.replica.durable(batch, now);
        }
        let (min, max) = self.settings.flush_us;
        let mut delay_us = min + self.net.random.below(max - min + 1);
        if self.net.random.one_in(100) {
            delay_us += self.net.random.below(300_000);
        }
        self.within(server, delay_us, Inside::Flush(batch));
    }

    fn publish(&mut self, server: usize, deltas: Deltas) {
        let voters = self.voters();
        let Some(process) = &mut self.servers[server].process else { return };
        for entry in &deltas.entries {
            match &entry.what {
                EntryKind::Control(ControlKind::Reset(restart)) => {
                    process.tentative.clear();
                    process.confirmed = Zxid::ZERO;
                    process.published = entry.zxid;
                    process.tentative.push((entry.zxid, restart.tree.digest()));
                    continue;
                }
                EntryKind::Control(ControlKind::Serving(is_serving)) => process.is_serving = *is_serving,
                _ => {}
            }
            process.published = entry.zxid;
            if entry.zxid.counter() != 0 {
                process.tentative.push((entry.zxid, entry.digest));
            }
            if process.is_serving
                && let Some(&(zxid, _)) = process.tentative.last()
            {
                self.oracle.committed(server, process.confirmed, zxid, &self.shadows, voters);
                for (zxid, digest) in std::mem::take(&mut process.tentative) {
                    self.oracle.digest(server, zxid, digest);
                }
                process.confirmed = zxid;
            }
        }
        self.trace(|_| {
            let brief = |entry: &Entry| format!("{} {}", entry.zxid, brief(&entry.what));
            let entries: Vec<_> = deltas.entries.iter().map(brief).collect();
            format!("server {} publishes {}", server + 1, entries.join(", "))
        });
        let deltas = Rc::new(deltas);
        let incarnation = self.servers[server].incarnation;
        let Some(process) = &mut self.servers[server].process else { return };
        for side in &mut process.views {
            let delay_us = self.net.random.below(self.settings.channel_us + 1);
            side.due_us = side.due_us.max(self.net.now_us + delay_us);
            let what = Inside::Deltas { view: side.view.number(), deltas: deltas.clone() };
            self.net.at(side.due_us, Event::Inside { server, incarnation, what });
        }
    }

    fn inside(&mut self, server: usize, what: Inside) {
        let now_us = self.net.now_us;
        let now = self.servers[server].now(now_us);
        let disk = self.servers[server].disk.clone();
        let Some(process) = &mut self.servers[server].process else { return };
        match what {
            Inside::Tick => {
                process.replica.tick(now);
                for view in 0..process.views.len() {
                    let Some(process) = &mut self.servers[server].process else { return };
                    process.views[view].view.tick(now);
                    self.view(server, view);
                }
                self.within(server, TICK_US, Inside::Tick);
            }
            Inside::Flush(batch) => {
                if let Err(error) = process.log.flush() {
                    return self.failed(server, &error);
                }
                process.flushed = process.log.encoder().position();
                let shadow = &mut self.shadows[server];
                match batch.as_marker() {
                    Some(marker) => {
                        shadow.mark(&self.images);
                        if matches!(marker, Marker::Truncate { .. })
                            && let Err(error) = storage::truncated(&disk, marker.zxid())
                        {
                            return self.failed(server, &error);
                        }
                    }
                    None => {
                        for (zxid, _) in batch.iter() {
                            if self.mutation != Some(Mutation::LoseWrites)
                                && let Some((_, is_durable)) = shadow.records.get_mut(&zxid)
                            {
                                *is_durable = true;
                            }
                        }
                    }
                }
                let step = if batch.is_marker() { Step::Marked } else { Step::Flushed };
                if self.stops_at(server, step) {
                    return;
                }
                let Some(process) = &mut self.servers[server].process else { return };
                process.replica.durable(batch, now);
            }
            Inside::Deltas { view, deltas } => {
                if view == 0
                    && deltas
                        .entries
                        .iter()
                        .any(|entry| matches!(entry.what, EntryKind::Control(ControlKind::Reset(_))))
                {
                    // Of a tree that is no more.
                    process.image = None;
                    process.wanted.clear();
                }
                let side = &mut process.views[usize::from(view)];
                side.view.apply(&deltas, now);
                while let Some(link) = side.view.next_image_wanted() {
                    if view == 0 {
                        process.wanted.push_back(link);
                    }
                }
                self.view(server, usize::from(view));
                self.begin_image(server, false);
            }
            Inside::Uplink(uplink) => process.uplinks.push_back(uplink),
            Inside::LookAt { view, .. } => self.view(server, usize::from(view)),
            Inside::ImageBegun { link, zxid } => process.replica.image_begun(link, zxid, now),
            Inside::ImageSlice => self.image_slice(server),
            Inside::ImageDone(link) => process.send_image(&mut self.net, link),
            Inside::Snapshot => {
                self.begin_image(server, true);
                let every_us = self.settings.snapshot_every_us;
                let delay_us = every_us / 2 + self.net.random.below(every_us);
                self.within(server, delay_us, Inside::Snapshot);
            }
            Inside::StoreSnapshot => self.store_snapshot(server),
            Inside::Taken { link, bytes, messages } => {
                if process.links.contains_key(&link) {
                    process.replica.taken(link, bytes, messages, now);
                }
            }
            Inside::LogFound { link, zxid } => {
                if process.links.contains_key(&link) {
                    let (through, log) = (process.replica.durable_through(), process.flushed);
                    let found = storage::records(&disk, zxid, through, log);
                    let floor = found.ok().flatten().map(|slices| slices.floor());
                    let floor = floor.filter(|_| !self.net.random.one_in(3));
                    self.logs_found += u64::from(floor.is_some());
                    let Some(process) = &mut self.servers[server].process else { return };
                    process.replica.log_found(link, floor, now);
                }
            }
            Inside::LogRead { link, after } => self.read_log(server, link, after),
            Inside::TreeStored => {
                if let Some(restored) = process.storing.take() {
                    process.replica.tree_stored(*restored);
                }
            }
        }
    }

    fn begin_image(&mut self, server: usize, is_snapshot: bool) {
        let Some(process) = &mut self.servers[server].process else { return };
        if process.image.is_some() {
            return;
        }
        let view = &mut process.views[0].view;
        let link = match process.wanted.pop_front() {
            Some(link) => Some(link),
            // What no leader has confirmed is nobody's snapshot.
            None if is_snapshot && view.is_serving() && process.snapshot.is_none() => None,
            None => return,
        };
        let (zxid, digest, sessions) = view.begin_image(ImageOf::Snapshot);
        let sessions = sessions.into_iter().collect();
        process.image = Some(Image { link, zxid, digest, sessions, nodes: Vec::new() });
        self.trace(|_| format!("server {} takes an image at {zxid} for {link:?}", server + 1));
        let delay_us = 1 + self.net.random.below(self.settings.channel_us + 1);
        if let Some(link) = link {
            let mut held = self.shadows[server].clone();
            held.records.retain(|known, record| {
                record.1 = true;
                *known <= zxid
            });
            held.marker = None;
            let known = self.images.entry(zxid).or_insert_with(|| held.clone());
            if known.records != held.records {
                self.oracle.violate(format!("server {} has another tree at {zxid}", server + 1));
            }
            self.within(server, delay_us, Inside::ImageBegun { link, zxid });
        }
        self.within(server, delay_us, Inside::ImageSlice);
    }

    fn image_slice(&mut self, server: usize) {
        let delay_us = 1 + self.net.random.below(3_000);
        let Some(process) = &mut self.servers[server].process else { return };
        let Some(image) = &mut process.image else { return };
        let places = 1 + self.net.random.below(20) as u32;
        let more = process.views[0].view.image_slice(ImageOf::Snapshot, places, usize::MAX, &mut image.nodes);
        if more {
            return self.within(server, delay_us, Inside::ImageSlice);
        }
        let Some(Image { link, zxid, digest, sessions, nodes }) = process.image.take() else { return };
        let mut bytes = Vec::new();
        match link {
            Some(link) if process.links.contains_key(&link) => {
                let mut encoder = Encoder::new(Form::Stream, sessions, nodes);
                while encoder.next_piece(&mut bytes) {}
                process.images.insert(link, bytes.into());
                self.within(server, delay_us, Inside::ImageDone(link));
            }
            Some(_) => {}
            None => {
                let mut encoder = ImageEncoder::new(&Header { zxid, digest, wall_ms: 0 }, sessions);
                for node in &nodes {
                    encoder.put(node);
                    if encoder.is_chunk_due() {
                        bytes.extend(encoder.take_chunk());
                    }
                }
                bytes.extend(encoder.finish().0);
                process.snapshot = Some((zxid, bytes));
                self.within(server, delay_us, Inside::StoreSnapshot);
            }
        }
        self.begin_image(server, false);
    }

    fn store_snapshot(&mut self, server: usize) {
        let disk = self.servers[server].disk.clone();
        let shadow = &self.shadows[server];
        let Some(process) = &mut self.servers[server].process else { return };
        let Some((zxid, bytes)) = process.snapshot.take() else { return };
        // A snapshot must not know what the log does not.
        if zxid > shadow.last() || shadow.records.get(&zxid).is_some_and(|(_, is_durable)| !is_durable) {
            process.snapshot = Some((zxid, bytes));
            return self.within(server, 5_000, Inside::StoreSnapshot);
        }
        let stored = disk.create(Folder::Snap, storage::SNAPSHOT_TMP).and_then(|mut file| {
            file.write(&bytes)?;
            file.finish(&snapshot::file_name(zxid))
        });
        self.trace(|_| format!("server {} has snapshot {zxid}: {stored:?}", server + 1));
        let done = match stored {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                disk.remove(Folder::Snap, storage::SNAPSHOT_TMP)
            }
            Err(error) => Err(error),
            Ok(()) => storage::purge(&disk, RETAIN).map(|_| ()),
        };
        if let Err(error) = done {
            self.failed(server, &error);
        }
    }

    /// Reads some of the log for a learner that is behind.
    fn read_log(&mut self, server: usize, link: LinkId, after: Zxid) {
        let (now, disk) = (self.servers[server].now(self.net.now_us), self.servers[server].disk.clone());
        let some_bytes = 1 + self.net.random.below(20_000) as usize;
        let Some(process) = &mut self.servers[server].process else { return };
        if !process.links.contains_key(&link) {
            return;
        }
        let (through, log) = (process.replica.durable_through(), process.flushed);
        let reader = process.readers.remove(&link);
        let read = LogReader::read(reader, &disk, after, (through, log), some_bytes);
        let read = read.map(|(batch, reader)| {
            process.readers.insert(link, reader);
            batch
        });
        self.log_reads += 1;
        process.replica.log_read(link, read.as_ref().map_err(ToString::to_string), now);
    }

    /// What arrives at a server, whether it runs or not.
    fn arrives(&mut self, server: usize, socket: Socket, arrival: Arrival) {
        let now = self.servers[server].now(self.net.now_us);
        let Some((_, who)) = self.net.whose(socket) else { return };
        let Some(process) = &mut self.servers[server].process else {
            if self.servers[server].is_on {
                self.net.reset(socket);
            }
            return;
        };
        let link = process.sockets.get(&socket).copied();
        match (who, arrival) {
            (Who::Peer(port), Arrival::Dial) => {
                process.accepted += 1;
                let link = LinkId(process.accepted);
                process.links.insert(link, socket);
                process.sockets.insert(socket, link);
                process.replica.accepted(link, port, now);
            }
            (Who::Peer(_), Arrival::Connected) => {
                if let Some(link) = link {
                    process.replica.connected(link, now);
                }
            }
            (Who::Peer(_), Arrival::Closed) => {
                if let Some(link) = link {
                    process.forget_link(link);
                    self.net.vanish(socket);
                    process.replica.closed(link, now);
                }
            }
            (Who::Peer(_), Arrival::Bytes(bytes)) => match link {
                Some(_) => {
                    process.inbox.entry(socket).or_default().push_back(bytes);
                    // A process that is busy finds more when it looks.
                    if self.net.random.one_in(4) {
                        let delay_us = self.net.random.below(3_000);
                        self.net.after(delay_us, Event::Net { socket, arrival: Arrival::Again });
                    } else {
                        self.receive(server, socket);
                    }
                }
                None => self.net.reset(socket),
            },
            (Who::Peer(_), Arrival::Again) => self.receive(server, socket),
            (Who::View(view), arrival) => self.client_arrives(server, usize::from(view), socket, arrival),
            (Who::Client, _) => unreachable!("a server is no client"),
        }
    }

    fn receive(&mut self, server: usize, socket: Socket) {
        loop {
            let now = self.servers[server].now(self.net.now_us);
            let Some(process) = &mut self.servers[server].process else { return };
            let (Some(&link), Some(inbox)) = (process.sockets.get(&socket), process.inbox.get_mut(&socket))
            else {
                return;
            };
            if inbox.is_empty() {
                return;
            }
            if !process.replica.may_receive(link) {
                return self.net.after(1_000, Event::Net { socket, arrival: Arrival::Again });
            }
            // Some reads of a turn, before anything that they lead to is done.
            let reads = 1 + self.net.random.below(4);
            for _ in 0..reads {
                if !process.replica.may_receive(link) {
                    break;
                }
                let Some(bytes) = inbox.pop_front() else { break };
                // What came in several pieces may be read at once.
                let mut read = bytes.to_vec();
                while self.net.random.one_in(2)
                    && let Some(more) = inbox.pop_front()
                {
                    read.extend_from_slice(&more);
                }
                process.replica.received(link, &read, now);
            }
            self.drive(server);
        }
    }

    fn client_arrives(&mut self, server: usize, view: usize, socket: Socket, arrival: Arrival) {
        let now = self.servers[server].now(self.net.now_us);
        let Some(process) = &mut self.servers[server].process else { return };
        let side = &mut process.views[view];
        let place = side.sockets.get(&socket).copied();
        match (arrival, place) {
            (Arrival::Dial, _) => {
                let place = side.view.open(SocketAddr::from(([127, 0, 0, 1], 1)), now);
                side.sockets.insert(socket, place);
                side.places.insert(place.slot, socket);
            }
            (Arrival::Bytes(bytes), Some(place)) => _ = side.view.receive(place, &bytes, now),
            (Arrival::Closed, Some(place)) => {
                side.sockets.remove(&socket);
                side.places.remove(&place.slot);
                self.net.vanish(socket);
                side.view.closed(place);
            }
            (Arrival::Bytes(_), None) => self.net.reset(socket),
            _ => {}
        }
        // `receive` lists nothing: whoever calls it looks.
        if let Some(place) = place {
            self.look_at(server, view, place);
        }
        self.view(server, view);
    }

    fn look_at(&mut self, server: usize, view: usize, place: Place) {
        let now = self.servers[server].now(self.net.now_us);
        let mutation = self.mutation;
        let Some(process) = &mut self.servers[server].process else { return };
        let side = &mut process.views[view];
        let Some(&socket) = side.places.get(&place.slot) else { return };
        if side.sockets.get(&socket) != Some(&place) {
            return;
        }
        let wants = side.view.poll_connection(place, now);
        if wants.write {
            let bytes = side.view.output(place).to_vec();
            side.view.sent(place, bytes.len());
            let bytes = mutate(mutation, bytes, &mut self.net.random);
            self.net.send(socket, bytes.into());
        }
        if wants.close.is_some() {
            self.net.close(socket);
            side.sockets.remove(&socket);
            side.places.remove(&place.slot);
            side.view.closed(place);
        } else if wants.again {
            self.within(server, 100, Inside::LookAt { view: view as u16, place });
        }
    }

    /// Lets a view's connections and requests go on.
    fn view(&mut self, server: usize, view: usize) {
        loop {
            let Some(process) = &mut self.servers[server].process else { return };
            let Some(place) = process.views[view].view.next_listed() else { break };
            self.look_at(server, view, place);
        }
        let now = self.servers[server].now(self.net.now_us);
        let Some(process) = &mut self.servers[server].process else { return };
        let side = &mut process.views[view];
        let Some(mut uplink) = side.view.take_uplink() else { return };
        if self.mutation == Some(Mutation::SyncAtOnce) {
            let zxid = side.view.zxid();
            let synced = uplink.items.extract_if(
                ..,
                |item| matches!(item, ViewRequest::Request(request) if request.op == OpCode::SYNC),
            );
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
            side.view.apply(&Deltas { entries, ..Deltas::default() }, now);
        }
        let delay_us = self.net.random.below(self.settings.channel_us + 1);
        let incarnation = self.servers[server].incarnation;
        let Some(process) = &mut self.servers[server].process else { return };
        process.uplinks_due_us = process.uplinks_due_us.max(self.net.now_us + delay_us);
        let what = Inside::Uplink(uplink);
        self.net.at(process.uplinks_due_us, Event::Inside { server, incarnation, what });
        if self.mutation == Some(Mutation::SyncAtOnce) {
            self.view(server, view);
        }
    }
}

fn is_request(bytes: &[u8]) -> bool {
    bytes.starts_with(&1i32.to_be_bytes())
}

/// What a broken server makes of its answers.
fn mutate(mutation: Option<Mutation>, bytes: Vec<u8>, random: &mut super::Random) -> Vec<u8> {
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

fn brief(what: &EntryKind) -> String {
    match what {
        EntryKind::Control(ControlKind::Reset(_)) => "Reset".to_owned(),
        other => format!("{other:?}"),
    }
}
