//! What an ensemble asks of a server's shell: the other servers' connections, epochs on disk, trees that come and go.

use super::files::DataDir;
use super::helper;
use super::logging::{Text, provoked};
use super::peers::{self, Bound, Peers, Piece, Waiter};
use super::spsc::Notify;
use super::{EXIT_BUG, EXIT_DATA, EXIT_HOST, EXIT_LOG, EXIT_PORT, exit, recovery};
use crate::config::{Config, Ensemble, QuorumConfig, Role};
use crate::database::Database;
use crate::proto::Zxid;
use crate::replica::{Event, MemberSettings, Now, Output, Replica, Weight};
use crate::snapshot;
use crate::snapshot::java::{Encoder, Form};
use crate::storage::{self, Folder, ImageEncoder, Incoming, LogReader, Storage};
use crate::tree::{self, NodeImage};
use crate::wal::{self, Batch, Position};
use crate::zab::LinkId;
use crate::zab::history::History;
use crate::zab::leader::{Epochs, Membership, WINDOW_BYTES};
use crate::zab::quorum::{Quorum, config_text};
use log::Level;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// Pieces of a tree that are made ahead of what its learner takes.
const PIECES_AHEAD: usize = 16;

/// A learner that lacks no more of the log than this gets it, and more where the tree is large.
const DIFF_BYTES_MIN: u64 = 128 << 20;

/// Which part of the newest snapshot's bytes the log may have for a learner. Source: `zookeeper.snapshotSizeFactor`.
const DIFF_TREE_PART: u64 = 3;

/// How often in a turn learners that are behind get more of what they lack.
const SENDS_PER_TURN: usize = 4;

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
    /// The bytes of a tree for this learner begin to be there; it is as of that zxid.
    TreeReady(LinkId, Zxid),
    /// The tree that came in is on disk.
    Stored(Box<Database>, Duration),
    /// It could not be written.
    NotStored(io::Error),
    /// The disk was read again.
    Reloaded(Box<Database>),
    /// What the log knows of where a learner's ends, and what reads on from there.
    LogFound(LinkId, Option<(Zxid, Box<LogReader>)>),
    /// Txns of the log for a learner, and what reads on.
    LogRead(LinkId, Result<(Batch, Box<LogReader>), String>),
}

/// Where other threads put what they have.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Arrival>,
    notify: Notify,
}

impl Inbox {
    /// Puts something there.
    pub fn put(&self, arrival: Arrival) {
        // Nobody takes it any more once the server stops.
        let _ = self.sender.send(arrival);
        self.notify.notify();
    }
}

/// What the configuration says of the ensemble.
///
/// # Errors
/// What keeps this server from being a member, naming the key.
pub fn settings(config: &Config) -> Result<MemberSettings, String> {
    let QuorumConfig {
        ensemble,
        my_id,
        peer_type,
        init_limit_ticks,
        sync_limit_ticks,
        max_concurrent_snap_syncs,
        force_snapshot_sync,
        ..
    } = &config.quorum;
    // Where one of these is missing, the configuration was refused.
    let sid = my_id.ok_or("no myid")?;
    let server = ensemble.servers.get(&sid).ok_or_else(|| format!("no server.{sid}"))?;
    let address = server.addresses.first().ok_or_else(|| format!("server.{sid} has no address"))?;
    let quorum = Quorum::new(ensemble).map_err(|error| error.to_string())?;
    let tick_ms = i64::from(config.tick_time_ms);
    let membership = Membership {
        sid,
        quorum: Arc::new(quorum),
        config_text: config_text(ensemble).into_bytes().into(),
        config_version: ensemble.version,
        versions_config: config.reconfig_enabled,
        tick_ms,
        init_ms: i64::from(*init_limit_ticks) * tick_ms,
        sync_ms: i64::from(*sync_limit_ticks) * tick_ms,
        snaps_max: *max_concurrent_snap_syncs as usize,
        always_snap: *force_snapshot_sync,
        as_java: false,
    };
    Ok(MemberSettings {
        election_address: format!("{}:{}", address.host, address.election_port),
        is_observer: *peer_type == Role::Observer,
        ensemble: ensemble.clone(),
        membership,
        repairing: false,
    })
}

/// Says what happened to this member. Another server can bring about all of it, again and again.
fn tell(event: &Event, peer: Option<SocketAddr>) {
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
    let sid = member.membership.sid;
    let addresses = &member.ensemble.servers[&sid].addresses;
    let bound = peers::bind(addresses, quorum.listen_on_all_ips, quorum.election_port_tries);
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

/// The end of the log, which ends at `log` with `last`: `txns` of it, as many bytes as a history keeps. Without it,
/// others that lack anything get the whole tree. Source: `ZKDatabase.commitLogCount`.
pub fn history(dir: &DataDir, last: Zxid, log: Position, txns: u32) -> History {
    let after = Zxid::new(last.epoch(), last.counter().saturating_sub(txns));
    let read = || -> Result<Option<History>, storage::ReadError> {
        let Some(mut slices) = storage::records(dir, after, last, log)? else { return Ok(None) };
        let mut history = History::new(slices.floor());
        let mut more = true;
        while more {
            let mut batch = Batch::default();
            more = slices.slice(dir, |zxid, txn| batch.put(zxid, |out| out.extend_from_slice(txn)))?;
            history.push(Arc::new(batch));
            history.trim(last);
        }
        Ok((history.last() == last).then_some(history))
    };
    read().map(|history| history.unwrap_or_else(|| History::new(last))).unwrap_or_else(|error| {
        log::warn!(target: "recovery", "the end of the log is not read back: error={}", Text(&error));
        History::new(last)
    })
}

/// See the module's page.
pub struct Others {
    peers: Peers,
    dir: DataDir,
    tree_settings: tree::Settings,
    arrivals: Receiver<Arrival>,
    inbox: Inbox,
    /// Trees that are being made and not being sent yet.
    trees: BTreeMap<LinkId, Receiver<Piece>>,
    /// A tree is being written.
    is_storing: bool,
    /// What reads the log for a learner, while it is not reading.
    readers: BTreeMap<LinkId, Box<LogReader>>,
    /// The replica wants more done, in the next turn.
    has_more: bool,
    /// Where the log ends.
    log: Position,
    /// The newest txn in it.
    durable: Zxid,
}

impl Others {
    /// The shell of a member whose ports are `bound`; `notify` wakes the commit thread.
    ///
    /// # Errors
    /// The system has no `epoll` to give.
    pub fn new(
        bound: Bound,
        ensemble: &Ensemble,
        keep_alive: bool,
        dir: DataDir,
        tree_settings: tree::Settings,
        (durable, log): (Zxid, Position),
        notify: Notify,
    ) -> io::Result<(Self, Waiter)> {
        let (sender, arrivals) = mpsc::channel();
        let (peers, waiter) = Peers::new(bound, ensemble, keep_alive)?;
        let others = Self {
            peers,
            dir,
            tree_settings,
            arrivals,
            inbox: Inbox { sender, notify },
            trees: BTreeMap::new(),
            is_storing: false,
            readers: BTreeMap::new(),
            has_more: false,
            log,
            durable,
        };
        Ok((others, waiter))
    }

    /// The log is durable through `zxid` and ends there.
    pub fn logged(&mut self, zxid: Zxid, end: Position) {
        (self.durable, self.log) = (zxid, end);
    }

    /// Where views put their images.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Takes in what a wait has brought.
    pub fn note(&mut self, waiter: &Waiter) {
        self.peers.note(waiter);
    }

    /// Whether there is news that no wait tells of.
    pub fn has_news(&self) -> bool {
        self.has_more || self.peers.has_news()
    }

    /// Tells the replica what happened; says whether there is more of it already.
    pub fn take_in(&mut self, replica: &mut Replica, now: Now) -> bool {
        while let Some(event) = self.peers.next_event() {
            match event {
                peers::Event::Accepted(link, port) => replica.accepted(link, port, now),
                peers::Event::Connected(link) => replica.connected(link, now),
                peers::Event::Closed(link) => {
                    self.forget(link);
                    replica.closed(link, now);
                }
            }
        }
        while let Ok(arrival) = self.arrivals.try_recv() {
            match arrival {
                // Of one that is gone, it would wait for ever.
                Arrival::Image(image) if !self.peers.has(image.link) => {}
                Arrival::Image(image) => self.make_tree(image),
                Arrival::TreeReady(link, zxid) => replica.image_begun(link, zxid, now),
                Arrival::Stored(restored, took) => {
                    self.is_storing = false;
                    replica.metrics_mut().times.snapshottime.record(took.as_micros() as u64);
                    replica.tree_stored(*restored);
                }
                Arrival::NotStored(error) => {
                    self.is_storing = false;
                    replica.tree_not_stored(error.to_string(), now);
                }
                Arrival::Reloaded(restored) => replica.reloaded(*restored, now),
                // Of a learner that has gone.
                Arrival::LogFound(link, _) | Arrival::LogRead(link, _) if !self.peers.has(link) => {}
                Arrival::LogFound(link, found) => {
                    let floor = found.map(|(floor, reader)| {
                        self.readers.insert(link, reader);
                        floor
                    });
                    replica.log_found(link, floor, now);
                }
                Arrival::LogRead(link, Ok((batch, reader))) => {
                    self.readers.insert(link, reader);
                    replica.log_read(link, Ok(&batch), now);
                }
                Arrival::LogRead(link, Err(why)) => replica.log_read(link, Err(why), now),
            }
        }
        self.peers.receive(replica, now)
    }

    /// Does what the replica wants done. What a learner's connection takes makes room for more of what that lacks.
    pub fn give_out(&mut self, replica: &mut Replica, now: Now) {
        for _ in 0..SENDS_PER_TURN {
            self.carry_out(replica, now);
            self.peers.flush();
            while let Some(peers::Taken { link, bytes, messages }) = self.peers.next_taken() {
                replica.taken(link, bytes, messages, now);
            }
            self.has_more = replica.has_output();
            if !self.has_more {
                break;
            }
        }
        self.peers.settle(replica);
    }

    fn carry_out(&mut self, replica: &mut Replica, now: Now) {
        while let Some(output) = replica.take_output() {
            match output {
                Output::Connect { link, sid, port } => self.peers.connect(link, sid, port),
                Output::Send { link, bytes } => self.peers.send(link, bytes),
                Output::Close { link } => {
                    self.forget(link);
                    self.peers.close(link);
                }
                Output::SaveEpochs { epochs, repairing } => self.save(epochs, repairing),
                Output::SendImage(link) => {
                    if let Some(pieces) = self.trees.remove(&link) {
                        self.peers.send_stream(link, pieces);
                    }
                }
                Output::FindInLog(link, zxid) => self.find_in_log(link, zxid),
                Output::ReadLog(link, after) => self.read_log(link, after),
                Output::StoreTree(restored) => self.store(restored, replica, now),
                Output::FinishInstall(zxid) => self.finish_install(zxid),
                Output::CheckTruncation(to) => replica.truncate(to, self.can_truncate(to), now),
                Output::Reload(to) => self.reload(to),
                Output::Diverged(why) => exit(
                    EXIT_DATA,
                    format_args!(
                        "{why}: this server's tree is not its leader's; remove its data, and it takes the leader's"
                    ),
                ),
                Output::Event(event) => tell(&event, event.link().and_then(|link| self.peers.address(link))),
            }
        }
    }

    fn save(&self, epochs: Epochs, repairing: bool) {
        let Epochs { accepted, current, config_version } = epochs;
        let epochs = storage::Epochs { accepted, current, config_version, repairing };
        if let Err(error) = epochs.write(&self.dir) {
            exit(
                EXIT_LOG,
                format_args!("epochs cannot be written: {error}: nothing may be promised without"),
            );
        }
    }

    /// Makes a tree's bytes beside the commit thread, as fast as the learner takes them. The learner hears of the tree once
    /// the first of them are there: a large one takes its time to be put in order, and the learner's group_delay with a tree
    /// that has begun is short.
    fn make_tree(&mut self, image: Image) {
        let (link, zxid) = (image.link, image.zxid);
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

    /// A connection is gone.
    fn forget(&mut self, link: LinkId) {
        self.trees.remove(&link);
        self.readers.remove(&link);
    }

    /// Looks in the log for where a learner's ends, beside the commit thread.
    fn find_in_log(&mut self, link: LinkId, zxid: Zxid) {
        let (dir, inbox, log, durable) = (self.dir.clone(), self.inbox.clone(), self.log, self.durable);
        let main = move || {
            let found = find_in_log(&dir, zxid, durable, log).unwrap_or_else(|error| {
                log::warn!(target: "zab", "the log is not read for a learner that ends at {zxid}: {error}");
                None
            });
            inbox.put(Arrival::LogFound(link, found));
        };
        if let Err(error) = helper::spawn("zkfast-read-log", main) {
            log::warn!(target: "zab", "no thread to read the log for a learner: {error}");
            self.inbox.put(Arrival::LogFound(link, None));
        }
    }

    /// Reads txns of the log for a learner, beside the commit thread.
    fn read_log(&mut self, link: LinkId, after: Zxid) {
        let reader = self.readers.remove(&link);
        let (dir, inbox, log, durable) = (self.dir.clone(), self.inbox.clone(), self.log, self.durable);
        let main = move || {
            let reader = reader.map(|reader| *reader);
            let read = LogReader::read(reader, &dir, after, (durable, log), WINDOW_BYTES);
            let read = read.map(|(batch, reader)| (batch, Box::new(reader)));
            inbox.put(Arrival::LogRead(link, read.map_err(|why| why.to_string())));
        };
        if let Err(error) = helper::spawn("zkfast-read-log", main) {
            self.inbox.put(Arrival::LogRead(link, Err(error.to_string())));
        }
    }

    /// Writes a tree beside the commit thread.
    fn store(&mut self, restored: Box<Database>, replica: &mut Replica, now: Now) {
        assert!(!std::mem::replace(&mut self.is_storing, true), "two trees are stored at once");
        let (dir, inbox, log) = (self.dir.clone(), self.inbox.clone(), self.log);
        let main = move || {
            let started = Instant::now();
            inbox.put(match store(&dir, *restored, log) {
                Ok(restored) => Arrival::Stored(Box::new(restored), started.elapsed()),
                Err(error) => Arrival::NotStored(error),
            });
        };
        if let Err(error) = helper::spawn("zkfast-store", main) {
            self.is_storing = false;
            replica.tree_not_stored(error.to_string(), now);
        }
    }

    fn finish_install(&self, zxid: Zxid) {
        if let Err(error) = storage::adopt(&self.dir, zxid, self.log) {
            exit(EXIT_LOG, format_args!("the leader's snapshot at {zxid} cannot be given its name: {error}"));
        }
    }

    /// Reads the first block of each of the log's segments.
    fn can_truncate(&self, to: Zxid) -> bool {
        storage::can_truncate(&self.dir, to).unwrap_or_else(|error| {
            log::warn!(target: "zab", "not known whether the log can be cut: after={to} error={}", Text(&error));
            false
        })
    }

    /// Reads the disk again, as a start does.
    fn reload(&self, to: Zxid) {
        let (dir, inbox, settings) = (self.dir.clone(), self.inbox.clone(), self.tree_settings);
        let main = move || match recovery::recover_again(&dir, to, settings) {
            Ok(restored) => inbox.put(Arrival::Reloaded(Box::new(restored))),
            Err(error) => exit(EXIT_DATA, error),
        };
        if let Err(error) = helper::spawn("zkfast-reload", main) {
            exit(EXIT_HOST, format_args!("no thread to read the disk again: {error}"));
        }
    }
}

/// The newest txn of the log that is not above `zxid`, and what reads on from there; `None` where the log does not go back
/// so far, or holds so much behind it that a tree is less to send. Source: `ZKDatabase.getProposalsFromTxnLog`.
fn find_in_log(
    dir: &DataDir,
    zxid: Zxid,
    last: Zxid,
    log: Position,
) -> Result<Option<(Zxid, Box<LogReader>)>, storage::ReadError> {
    let Some(&snapshot) = storage::snapshots(dir)?.last() else {
        return Ok(LogReader::new(dir, zxid, last, log)?.map(|reader| (reader.floor(), Box::new(reader))));
    };
    let tree_bytes = fs::metadata(dir.path(Folder::Snap, &snapshot::file_name(snapshot)))?.len();
    let segments = storage::segments(dir)?;
    let known =
        segments.iter().filter(|segment| segment.after.is_some_and(|after| after >= zxid)).count() as u64;
    // About: what is written of the newest segment, and of the one in which it begins, is not looked at.
    let log_bytes = known * wal::SEGMENT_BYTES as u64;
    if log_bytes > DIFF_BYTES_MIN.max(tree_bytes / DIFF_TREE_PART) {
        return Ok(None);
    }
    Ok(LogReader::new(dir, zxid, last, log)?.map(|reader| (reader.floor(), Box::new(reader))))
}

/// Writes a tree as an incoming snapshot, given where the log ends.
fn store(dir: &DataDir, mut restored: Database, log: Position) -> io::Result<Database> {
    let mut incoming = Incoming::create(dir.clone(), restored.zxid)?;
    ImageEncoder::all(&mut restored, 0, |bytes| incoming.write(bytes))?;
    incoming.finish(log)?;
    Ok(restored)
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
        let path = std::env::temp_dir().join(format!("zkfast-others-{name}-{}", std::process::id()));
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

    /// A server listens on all of its addresses, on every interface if it is told so, and on a taken port not at all.
    #[test]
    fn ports() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let address = |quorum_port, election_port| crate::config::PeerAddress {
            host: "127.0.0.1".to_owned(),
            quorum_port,
            election_port,
        };
        assert!(peers::bind(&[address(0, 0), address(0, 0)], false, Some(1)).is_ok());
        assert!(peers::bind(&[address(0, 0)], true, Some(1)).is_ok());
        for on_all in [false, true] {
            let refused =
                peers::bind(&[address(0, port)], on_all, Some(1)).map(drop).expect_err("it is taken");
            assert_eq!(refused.0, format!("election port 127.0.0.1:{port}"));
            assert_eq!(refused.1.kind(), io::ErrorKind::AddrInUse);
        }
        // One address of several is enough.
        let absent = crate::config::PeerAddress { host: "host.invalid".to_owned(), ..address(0, 0) };
        assert!(peers::bind(&[absent.clone(), address(0, 0)], false, Some(1)).is_ok());
        let refused = peers::bind(&[absent], false, Some(1)).map(drop).expect_err("it has no address");
        assert_eq!(refused.0, "election port host.invalid:0");
    }

    /// Ports that are taken for a moment are waited for, the one for followers without end.
    #[test]
    fn ports_that_come_free() {
        let taken = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [quorum_port, election_port] =
            taken.each_ref().map(|socket| socket.local_addr().expect("its address").port());
        let address = crate::config::PeerAddress { host: "127.0.0.1".to_owned(), quorum_port, election_port };
        let (sender, begun) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            sender.send(()).expect("somebody waits");
            peers::bind(&[address], false, None).map(drop)
        });
        begun.recv().expect("it begins");
        drop(taken);
        assert!(waiting.join().expect("no panic").is_ok());
    }
}
