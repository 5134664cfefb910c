//! What a member of an ensemble has beside its log and views: peer connections, and helpers that work on its files.

use super::client_port::ClientPort;
use super::dynamic::DynamicWriter;
use super::files::DataDir;
use super::helper;
use super::logging::{Text, provoked};
use super::oracle::Oracle;
use super::own_ports::{self, Bound};
use super::peers::{Guards, Peers, Piece, Waiter};
use super::recovery;
use super::spsc::Notify;
use super::{EXIT_BUG, EXIT_PORT, exit};
use crate::config::{Config, Ensemble, QuorumConfig, Role, Server};
use crate::driver::{self, Arrival, Disk, Job, LinkEvent, Network, Taken};
use crate::proto::{ServerId, SessionId, Zxid};
use crate::replica::{Duties, Event, MemberSettings, Now, Port, Replica, Weight};
use crate::snapshot::java::{Encoder, Form};
use crate::storage;
use crate::tree::{self, NodeImage};
use crate::wal::Position;
use crate::zab::LinkId;
use crate::zab::configuration::{Configuration, ConfigurationError, Configurations};
use crate::zab::history::History;
use crate::zab::leader::Membership;
use crate::zab::notification::{NO_ADDRESS, put_hello};
use crate::zab::quorum::in_brackets;
use bytes::Bytes;
use log::Level;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

/// Pieces of a tree that are made ahead of what its learner takes.
const PIECES_AHEAD: usize = 16;

/// A view's image of its tree, for a learner.
#[derive(Debug)]
pub struct Image {
    /// As of when.
    pub zxid: Zxid,
    /// Sessions that are alive then, with their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The znodes; once it ends with an empty batch, those were all.
    pub nodes: Receiver<Vec<NodeImage>>,
}

/// Where views and helpers put what they have for the commit thread.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Arrival<Image>>,
    notify: Notify,
}

impl Inbox {
    /// Puts something there.
    pub fn put(&self, arrival: Arrival<Image>) {
        // It is not taken any more once the server stops.
        let _ = self.sender.send(arrival);
        self.notify.notify();
    }
}

/// Why a configuration makes this server no member of an ensemble. The reader of the configuration refuses the first three.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file `myid` is missing.
    #[error("no myid")]
    NoId,
    /// No line has this server's number, and no reconfiguration could bring one.
    #[error("no server.{0}")]
    NoLine(i64),
    /// The line of this server names no address.
    #[error("server.{0} has no address")]
    NoAddress(i64),
    /// The voters form no quorums.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// What the configuration says of the ensemble.
///
/// # Errors
/// See [`SettingsError`].
pub fn settings(config: &Config) -> Result<MemberSettings, SettingsError> {
    let QuorumConfig {
        ensemble,
        my_id,
        peer_type,
        init_limit_ticks,
        sync_limit_ticks,
        max_concurrent_snap_syncs,
        force_snapshot_sync,
        leader_serves,
        oracle_path,
        observer_master_port,
        observer_master_bytes,
        observer_reconnect_delay_ms,
        ..
    } = &config.quorum;
    let sid = my_id.ok_or(SettingsError::NoId)?;
    let own = ensemble.servers.get(&sid);
    if own.is_none() && !config.reconfig_enabled {
        return Err(SettingsError::NoLine(sid));
    }
    if own.is_some_and(|own| own.addresses.is_empty()) {
        return Err(SettingsError::NoAddress(sid));
    }
    let mut configs = Configurations::new(Configuration::new(ensemble.clone())?);
    if oracle_path.is_some() {
        configs = configs.with_oracle();
    }
    let tick_ms = i64::from(config.tick_time_ms);
    let membership = Membership {
        sid: ServerId(sid),
        configs,
        reconfig_enabled: config.reconfig_enabled,
        tick_ms,
        init_ms: i64::from(*init_limit_ticks) * tick_ms,
        sync_ms: i64::from(*sync_limit_ticks) * tick_ms,
        snaps_max: *max_concurrent_snap_syncs as usize,
        always_snap: *force_snapshot_sync,
        as_java: false,
    };
    Ok(MemberSettings {
        election_address: election_address(own),
        is_observer: *peer_type == Role::Observer,
        membership,
        read_only_mode: config.by_itself.read_only_mode,
        repairing: false,
        duties: Duties {
            leader_serves: *leader_serves,
            observer_master_bytes: observer_master_port.map(|_| *observer_master_bytes as usize),
            reconnect_delay_ms: i64::try_from(*observer_reconnect_delay_ms).unwrap_or(i64::MAX),
        },
    })
}

/// Takes up what the disk says of the ensemble, where that is later than the lines that were read. `proposed` is what a server of
/// ZooKeeper's that ran here before knew as proposed: it counts until this server has a configuration of its own on disk.
pub fn resume(member: &mut MemberSettings, recovered: &mut recovery::Recovered, proposed: Option<Ensemble>) {
    let Membership { sid, configs, reconfig_enabled, .. } = &mut member.membership;
    let read = configs.active().version();
    let file = configs.active().clone();
    let has_oracle = configs.has_oracle();
    *configs = driver::configurations(file, &recovered.epochs, &recovered.restored, *reconfig_enabled);
    if has_oracle {
        *configs = configs.clone().with_oracle();
    }
    let is_first = *reconfig_enabled && recovered.epochs.config.is_none() && configs.next().is_none();
    if let Some(Ok(next)) = proposed.filter(|_| is_first).map(Configuration::new) {
        configs.propose(next);
    }
    let active = configs.active();
    if *reconfig_enabled && active.version() > read {
        member.is_observer = active.role(*sid) == Some(Role::Observer);
        log::info!(target: "zab", "the ensemble was reconfigured since the lines of this server's files were written: \
            version={:x} files={read:x} then={}", active.version(), Text("what the data directory says counts"));
    }
    recovered.restored.set_config(active.text(), active.version());
}

/// Where this server listens for votes, as it tells others. Of a server that no line names yet it is an address that ZooKeeper
/// reads and does not call.
///
/// Source: `QuorumCnxManager.InitialMessage.parse`.
fn election_address(own: Option<&Server>) -> String {
    own.and_then(|own| own.addresses.first()).map_or_else(
        || NO_ADDRESS.to_owned(),
        |address| format!("{}:{}", in_brackets(&address.host), address.election_port),
    )
}

/// Says what happened to this member. Another server can bring about all of it, again and again.
fn log_event(event: &Event, peer: Option<SocketAddr>) {
    let level = match event.weight() {
        Weight::Info => Level::Info,
        Weight::Warn => Level::Warn,
        Weight::Error => Level::Error,
    };
    let line = match peer {
        Some(peer) => format!("{event} peer={peer}"),
        None => event.to_string(),
    };
    provoked(level, "zab", event.kind(), event.cause(), format_args!("{line}"));
}

/// Listens on this server's ports for others, waiting for them where that may help, or ends the process.
pub fn bind(member: &MemberSettings, quorum: &QuorumConfig) -> Bound {
    let sid = member.membership.sid.0;
    // The reader of the configuration has said so.
    let Some(own) = member.membership.configs.active().ensemble().servers.get(&sid) else {
        return Bound::nowhere(quorum.listen_on_all_ips);
    };
    let bound = own_ports::bind(&own.addresses, quorum.listen_on_all_ips, quorum.election_port_tries);
    bound.unwrap_or_else(|(what, error)| {
        let tries = quorum.election_port_tries.unwrap_or_default();
        exit(
            EXIT_PORT,
            format_args!(
                "server.{sid}: {what}: {error}: given up after {tries} tries, one a second; electionPortBindRetry \
                 says how many, 0 is without end"
            ),
        );
    })
}

/// With `db.autocreate=false`, a server whose disk is empty may have lost what it acknowledged: it does not vote until
/// a leader has given it everything. A file `initialize` says that there never was anything.
///
/// Source: `FileTxnSnapLog.restore`.
///
/// # Errors
/// Those of the system.
pub fn distrust_empty(dir: &DataDir, data_dir: &Path) -> io::Result<()> {
    let is_new = storage::snapshots(dir)?.is_empty() && storage::segments(dir)?.is_empty();
    if !is_new || storage::Epochs::read(dir).map_err(io::Error::other)?.is_some() {
        return Ok(());
    }
    let initialize = data_dir.join("initialize");
    if initialize.try_exists()? {
        return fs::remove_file(initialize);
    }
    log::warn!(target: "recovery", "empty data directory and db.autocreate=false: dataDir={} then={} do={}",
        Text(data_dir.display()), Text("this server does not vote until its leader has given it everything"),
        Text(format_args!("where no server of the ensemble has any data, make an empty file {} on each",
            initialize.display())));
    storage::Epochs { repairing: true, ..storage::Epochs::default() }.write(dir)
}

/// The end of the log, which ends at `log` with `last`: `txns` of it, or none where it cannot be read back.
pub fn history(dir: &DataDir, last: Zxid, log: Position, txns: u32) -> History {
    driver::history(dir, last, log, txns).unwrap_or_else(|error| {
        log::warn!(target: "recovery", "the end of the log is not read back: error={}", Text(&error));
        History::new(last)
    })
}

/// Peer connections, and helpers that work on a member's files. What they are asked for, and what comes of it, is
/// [`driver`]'s.
pub struct EnsembleIo {
    /// This server.
    sid: ServerId,
    peers: Peers,
    files: Option<DynamicWriter>,
    client_port: Option<Arc<ClientPort>>,
    dir: DataDir,
    tree_settings: tree::Settings,
    arrivals: Receiver<Arrival<Image>>,
    inbox: Inbox,
    /// Trees that are being made and not being sent yet.
    trees: BTreeMap<LinkId, Receiver<Piece>>,
    oracle: Option<Oracle>,
}

impl EnsembleIo {
    /// That of a member whose ports are `bound`; `notify` wakes the commit thread.
    ///
    /// # Errors
    /// The system has no `epoll` to give.
    pub fn new(
        bound: Bound,
        member: &MemberSettings,
        keep_alive: bool,
        guards: Guards,
        dir: DataDir,
        tree_settings: tree::Settings,
        notify: Notify,
    ) -> io::Result<(Self, Waiter)> {
        let (sender, arrivals) = mpsc::channel();
        let (peers, waiter) =
            Peers::new(bound, member.membership.configs.active().ensemble(), keep_alive, guards)?;
        let io = Self {
            sid: member.membership.sid,
            peers,
            files: None,
            client_port: None,
            dir,
            tree_settings,
            arrivals,
            inbox: Inbox { sender, notify },
            trees: BTreeMap::new(),
            oracle: None,
        };
        Ok((io, waiter))
    }

    /// The same with the lines of this server's file, where `active` is later.
    pub fn with_written(mut self, lines: &Ensemble, active: &Ensemble) -> Self {
        if active.version > lines.version {
            self.peers = self.peers.with_written(lines.clone(), active);
        }
        self
    }

    /// The same with a port where followers serve observers.
    pub fn with_observers(mut self, port: Option<u16>) -> Self {
        if let Some(port) = port {
            self.peers = self.peers.with_observers(port);
        }
        self
    }

    /// The same with an oracle.
    pub fn with_oracle(mut self, oracle: Option<Oracle>) -> Self {
        self.oracle = oracle;
        self
    }

    /// The same with files that follow the configuration.
    pub fn with_files(mut self, files: Option<DynamicWriter>) -> Self {
        self.files = files;
        self
    }

    /// The same with a port for clients that follows this server's own line.
    pub fn with_client_port(mut self, client_port: Option<Arc<ClientPort>>) -> Self {
        self.client_port = client_port;
        self
    }

    /// Follows a change of the active configuration or the proposed one. Returns at once: ports that are not bound yet and
    /// files have threads of their own.
    pub fn configure(&mut self, active: &Ensemble, next: Option<&Ensemble>, heard: Option<&Ensemble>) {
        let line = |ensemble: &Ensemble| ensemble.servers.get(&self.sid.0).cloned();
        // A server that joins listens before it is committed: those who propose it connect to it.
        let expected = next.or(heard);
        let own = line(active).or_else(|| line(expected?));
        self.peers.configure(own.as_ref(), active, expected);
        if let Some(own) = &own {
            let mut hello = Vec::new();
            put_hello(&mut hello, self.sid, &election_address(Some(own)));
            self.peers.set_hello(hello);
        }
        // Where clients are sent is what is committed. A line without a port for them leaves it where it is.
        let client = line(active).and_then(|own| own.client);
        if let (Some(port), Some(address)) = (&self.client_port, client) {
            port.follow(&address);
        }
        if let Some(files) = &mut self.files {
            files.configure(active, next);
        }
    }

    /// Where views put their images.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Where the other end of a connection is, while there is one.
    pub fn address(&self, link: LinkId) -> Option<SocketAddr> {
        self.peers.address(link)
    }

    /// Takes in what a wait has brought.
    pub fn note(&mut self, waiter: &Waiter) {
        self.peers.note(waiter);
    }
}

impl Network for EnsembleIo {
    fn configure(&mut self, active: &Ensemble, next: Option<&Ensemble>, heard: Option<&Ensemble>) {
        Self::configure(self, active, next, heard);
    }

    fn connect_at(&mut self, link: LinkId, sid: i64, (host, port): (String, u16)) {
        self.peers.connect_at(link, sid, &host, port);
    }

    fn connect(&mut self, link: LinkId, sid: i64, port: Port) {
        self.peers.connect(link, sid, port);
    }

    fn send(&mut self, link: LinkId, bytes: Bytes) {
        self.peers.send(link, bytes);
    }

    fn send_tree(&mut self, link: LinkId) {
        if let Some(pieces) = self.trees.remove(&link) {
            self.peers.send_stream(link, pieces);
        }
    }

    fn close(&mut self, link: LinkId) {
        self.trees.remove(&link);
        self.peers.close(link);
    }

    fn has(&self, link: LinkId) -> bool {
        self.peers.has(link)
    }

    fn flush(&mut self) {
        self.peers.flush();
    }

    fn next_taken(&mut self) -> Option<Taken> {
        self.peers.next_taken()
    }

    fn next_event(&mut self) -> Option<LinkEvent> {
        self.peers.next_event()
    }

    fn has_news(&self) -> bool {
        self.peers.has_news()
    }

    fn receive(&mut self, replica: &mut Replica, now: Now) -> bool {
        self.peers.receive(replica, now)
    }

    fn oracle(&self) -> Option<bool> {
        self.oracle.as_ref().map(Oracle::allows)
    }

    fn turn_ended(&mut self, replica: &Replica) {
        self.peers.update_reach(replica);
        self.peers.update_observers(replica);
    }

    fn report(&mut self, event: &Event) {
        log_event(event, event.link().and_then(|link| self.peers.address(link)));
    }
}

impl Disk for EnsembleIo {
    type Storage = DataDir;
    type Image = Image;

    fn storage(&self) -> &DataDir {
        &self.dir
    }

    /// A thread for each job.
    fn begin(&mut self, job: Job) -> io::Result<()> {
        let (dir, inbox, settings) = (self.dir.clone(), self.inbox.clone(), self.tree_settings);
        let name = match &job {
            Job::FindInLog(..) | Job::ReadLog(..) => "zkfast-read-log",
            Job::StoreTree(..) => "zkfast-store",
            Job::Reload(_) => "zkfast-reload",
        };
        let main = move || {
            let started = Instant::now();
            let done = match job {
                Job::Reload(to) => recovery::recover_again(&dir, to, settings),
                job => job.run(&dir, settings, &mut |_| {}),
            };
            inbox.put(Arrival::Done(done, started.elapsed().as_micros() as u64));
        };
        helper::spawn(name, main).map(drop)
    }

    /// As fast as the learner takes the pieces. The learner hears of the tree once the first of them are there: a large one
    /// takes its time to be put in order, and the learner's patience with a tree that has begun is short.
    fn make_tree(&mut self, link: LinkId, image: Image) {
        let zxid = image.zxid;
        let (sender, pieces) = mpsc::sync_channel(PIECES_AHEAD);
        let (waker, inbox) = (self.peers.waker(), self.inbox.clone());
        let main = move || {
            let Image { sessions, nodes, .. } = image;
            let mut all = Vec::new();
            loop {
                match nodes.recv() {
                    Ok(batch) if batch.is_empty() => break,
                    Ok(batch) => all.extend(batch),
                    // The view gave it up: without pieces the connection ends, and the learner comes again.
                    Err(_) => return inbox.put(Arrival::TreeReady(link, zxid)),
                }
            }
            let mut encoder = Encoder::new(Form::Stream, sessions, all);
            inbox.put(Arrival::TreeReady(link, zxid));
            let mut more = true;
            while more {
                let mut piece = Vec::new();
                more = encoder.next_piece(&mut piece);
                if sender.send(Piece::Bytes(piece.into())).is_err() {
                    return;
                }
                poke(&waker);
            }
            // The learner may be gone.
            let _ = sender.send(Piece::End);
            poke(&waker);
        };
        if let Err(error) = helper::spawn("zkfast-image", main) {
            // Without the pieces the connection ends, and the learner comes again.
            log::warn!(target: "zab", "no thread for a learner's tree: error={}", Text(&error));
            self.inbox.put(Arrival::TreeReady(link, zxid));
        }
        self.trees.insert(link, pieces);
    }

    fn next_arrival(&mut self) -> Option<Arrival<Image>> {
        self.arrivals.try_recv().ok()
    }
}

fn poke(waker: &mio::Waker) {
    if let Err(error) = waker.wake() {
        exit(EXIT_BUG, format_args!("the commit thread cannot be woken: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::files;
    use std::path::PathBuf;

    /// What a start in this folder would find: whether the server may vote; `None` where nothing is written down.
    fn may_vote(data_dir: &Path, prepare: impl FnOnce(&DataDir)) -> Option<bool> {
        let (dir, _lock) = files::open(data_dir, data_dir, true).expect("a folder");
        prepare(&dir);
        distrust_empty(&dir, data_dir).expect("a disk");
        storage::Epochs::read(&dir).expect("epochs").map(|epochs| !epochs.repairing)
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("zkfast-ensemble-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// A server that finds nothing on its disk does not vote, also after the next start; one that was told that there
    /// never was anything does, and so does one that has been here before.
    #[test]
    fn empty_disks_are_not_trusted() {
        let lost = folder("lost");
        assert_eq!(may_vote(&lost, |_| {}), Some(false));
        assert_eq!(may_vote(&lost, |_| {}), Some(false));
        let new = folder("new");
        let initialize = new.join("initialize");
        assert_eq!(may_vote(&new, |_| fs::write(&initialize, "").expect("a file")), None);
        assert!(!initialize.exists(), "it is for one start");
        let known = folder("known");
        let write = |dir: &DataDir| storage::Epochs::default().write(dir).expect("epochs");
        assert_eq!(may_vote(&known, write), Some(true));
        [lost, new, known].iter().for_each(|path| fs::remove_dir_all(path).expect("a folder"));
    }
}
