//! The shell: sockets, files, clocks and threads around the state machines of [`crate::replica`].
//!
//! It has no opinions: it takes what arrived, lets a state machine handle it, writes, flushes, sends.
//!
//! | cores | roles |
//! |------:|-------|
//! |     1 | everything on it |
//! |     2 | commit and log, view |
//! |     3 | commit and log, view, view |
//! |    4+ | commit, log, views |
//!
//! Views are tasks of executors (`rt`); commit is a plain thread, and so is the log where it has a core of its own. A view
//! with nothing else to do does the commit shard's work for a lone write. A member of an ensemble has a thread for each
//! role on any number of cores: its commit thread waits in one `epoll` for the other servers (`peers`, `ensemble`) and for
//! its own. It writes the log itself while the disk is quick, and goes on without it while it is not (`log_writer`).

mod admission;
mod alarm;
mod commit_shard;
mod ensemble;
mod environment;
mod fatal;
mod files;
mod helper;
pub mod java_data;
mod listener;
mod log_writer;
pub mod logging;
mod obstacles;
mod peers;
mod preflight;
mod reach;
mod recovery;
mod rt;
mod session_log;
mod snapshots;
#[doc(hidden)]
pub mod spsc;
mod view_shard;

pub use fatal::{EXIT_BUG, EXIT_DATA, EXIT_HOST, EXIT_LOG, EXIT_PORT, EXIT_USAGE, exit};
pub use obstacles::obstacles;

use crate::admin::{self, Conf, FourLetterWord, Status};
use crate::auth::Policy;
use crate::config::{Config, Role};
use crate::proto::{Epoch, Zxid};
use crate::replica::{CommitSettings, MemberSettings, Now, Replica, View, ViewSettings};
use crate::storage::Epochs;
use crate::tree::{self, Digests};
use crate::zab::leader;
use crate::zab::quorum::{config_text, with_version};
use admission::Admission;
use commit_shard::Log;
use ensemble::EnsembleIo;
use files::DataDir;
use log_writer::{LogThread, LogWriter};
use logging::Text;
use spsc::Notify;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Most cores that are taken without `--cores`.
const CORES_DEFAULT_MAX: usize = 4;

/// Batches on their way between two shards.
const CHANNEL_SLOTS: usize = 8;

/// Connections on their way to a shard.
const ACCEPTED_SLOTS: usize = 256;

/// How long shards may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Checks without a sign of life from a shard, one a second, after which the process ends: a stalled
/// shard answers nobody, and whoever supervises the process cannot see it.
const WATCHDOG_CHECKS: u32 = 30;

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Running,
    /// Nothing new is taken; what was is finished.
    Stopping,
    /// All that was accepted is durable and published.
    Stopped,
}

/// What all shards see.
#[derive(Debug)]
pub struct Shared {
    phase: AtomicU8,
    admission: Admission,
    /// Counted up by each shard in turn; the commit shard is the last.
    beats: Box<[AtomicU64]>,
    /// Newest txn of the log that is durable.
    durable: AtomicU64,
    /// Groups that a shard has begun and ended to write on its own thread; odd while it does.
    writes: AtomicU64,
}

impl Shared {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Stopping,
            _ => Phase::Stopped,
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    fn beat(&self, view: u16) {
        self.beats[usize::from(view)].fetch_add(1, Ordering::Relaxed);
    }

    fn durable(&self) -> Zxid {
        Zxid(self.durable.load(Ordering::Acquire))
    }

    fn set_durable(&self, zxid: Zxid) {
        self.durable.store(zxid.0, Ordering::Release);
    }

    /// A shard writes the log, and stands still for as long as the disk does.
    fn begin_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    fn end_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    fn beat_commit(&self) {
        self.beats[self.beats.len() - 1].fetch_add(1, Ordering::Relaxed);
    }
}

/// Both clocks, from one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.mono_us(), wall_ms: since_1970.as_millis() as i64 }
    }

    /// The clock that never goes back, alone.
    fn mono_us(&self) -> i64 {
        self.start.elapsed().as_micros() as i64
    }
}

/// What four-letter words tell that only the shell knows.
#[derive(Debug)]
struct About {
    version: String,
    conf: Conf,
    data_dir: PathBuf,
    data_log_dir: PathBuf,
    environment: Vec<(String, String)>,
}

impl About {
    fn new(config: &Config, dir: &DataDir, port: Option<u16>) -> Self {
        let text = |path: &std::path::Path| path.display().to_string();
        Self {
            version: admin::version(BUILT_ON),
            conf: Conf {
                client_port: port.map_or(-1, i32::from),
                secure_client_port: -1,
                data_dir: text(&dir.snap),
                data_dir_bytes: 0,
                data_log_dir: text(&dir.log),
                data_log_bytes: 0,
                tick_time_ms: config.tick_time_ms as i32,
                max_client_cnxns: config.max_client_cnxns as i32,
                min_session_timeout_ms: config.min_session_timeout_ms,
                max_session_timeout_ms: config.max_session_timeout_ms,
                client_port_listen_backlog: config
                    .client_port_listen_backlog
                    .map_or(-1, |backlog| backlog as i32),
                server_id: config.quorum.my_id.filter(|_| config.is_distributed()).unwrap_or(0),
                member: if config.is_distributed() { member_lines(config) } else { Vec::new() },
            },
            data_dir: dir.snap.clone(),
            data_log_dir: dir.log.clone(),
            environment: environment::fixed(),
        }
    }

    fn fill_in(&self, word: FourLetterWord, status: &mut Status, shared: &Shared) {
        status.version.clone_from(&self.version);
        status.conf = self.conf.clone();
        status.conf.data_dir_bytes = files::dir_bytes(&self.data_dir);
        status.conf.data_log_bytes = files::dir_bytes(&self.data_log_dir);
        if word == FourLetterWord::Envi {
            status.environment.clone_from(&self.environment);
            status.environment.extend(environment::memory());
        }
        status.metrics.counters.connection_rejected += shared.admission.rejected();
        let gauges = &mut status.gauges;
        gauges.open_file_descriptor_count =
            std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64);
        gauges.max_file_descriptor_count = rlimit::Resource::NOFILE.get().map_or(0, |(soft, _)| soft);
    }
}

/// What `conf` says of an ensemble. Source: `QuorumZooKeeperServer.dumpConf`.
fn member_lines(config: &Config) -> Vec<String> {
    let quorum = &config.quorum;
    let address = quorum.my_id.and_then(|sid| quorum.ensemble.servers.get(&sid)?.addresses.first());
    let (election, follow) = address.map_or((0, 0), |own| (own.election_port, own.quorum_port));
    let mut lines = vec![
        format!("initLimit={}", quorum.init_limit_ticks),
        format!("syncLimit={}", quorum.sync_limit_ticks),
        "electionAlg=3".to_owned(),
        format!("electionPort={election}"),
        format!("quorumPort={follow}"),
        format!("peerType={}", u8::from(quorum.peer_type == Role::Observer)),
        "membership: ".to_owned(),
    ];
    lines.extend(config_text(&quorum.ensemble).lines().map(str::to_owned));
    lines
}

fn policy(config: &Config) -> Policy {
    Policy {
        super_digest: config.super_digest.clone(),
        digest_algorithm: config.digest_alg,
        digest_enabled: config.digest_auth_enabled,
        skip_acl: config.skip_acl,
    }
}

/// Which core does what.
#[derive(Debug, PartialEq, Eq)]
struct Roles {
    commit: usize,
    log: usize,
    views: Vec<usize>,
}

impl Roles {
    fn of(cores: &[usize]) -> Self {
        match *cores {
            [] => unreachable!("a list of cores has one at least"),
            [only] => Self { commit: only, log: only, views: vec![only] },
            [first, ref views @ ..] if cores.len() < 4 => {
                Self { commit: first, log: first, views: views.to_vec() }
            }
            [first, second, ref views @ ..] => Self { commit: first, log: second, views: views.to_vec() },
        }
    }
}

fn cores(config: &Config) -> Vec<usize> {
    let allowed = preflight::allowed_cores().unwrap_or_else(|why| exit(EXIT_HOST, why));
    match &config.cores {
        None => allowed.into_iter().take(CORES_DEFAULT_MAX).collect(),
        Some(named) => {
            if let Some(absent) = named.iter().find(|core| !allowed.contains(core)) {
                exit(
                    EXIT_USAGE,
                    format_args!("--cores names CPU {absent}; this process may use {allowed:?}"),
                );
            }
            named.clone()
        }
    }
}

/// The first address of a name, one of IPv4 before those of IPv6: `localhost` is 127.0.0.1. Source: `InetAddress.getByName`.
fn resolve(name: &str) -> std::io::Result<Option<IpAddr>> {
    let found: Vec<IpAddr> = (name, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    Ok(found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied())
}

fn address(config: &Config) -> Option<IpAddr> {
    let name = config.client_port_address.as_deref()?;
    match resolve(name) {
        Ok(Some(ip)) => Some(ip),
        Ok(None) => exit(EXIT_PORT, format_args!("clientPortAddress={name} resolves to no address")),
        Err(error) => exit(EXIT_PORT, format_args!("clientPortAddress={name}: {error}")),
    }
}

/// Listens for clients, or ends the process.
fn listen(config: &Config, port: u16) -> TcpListener {
    let ip = address(config);
    let bound = listener::bind(ip, port, config.client_port_listen_backlog, config.client_tcp_keep_alive);
    bound.unwrap_or_else(|error| {
        let at = ip.map_or_else(|| "every address".to_owned(), |ip| ip.to_string());
        let flag = match error.kind() {
            ErrorKind::AddrInUse => "; --client-port names another port",
            ErrorKind::AddrNotAvailable => "; --client-port-address names another address",
            _ => "",
        };
        exit(EXIT_PORT, format_args!("clientPort={port} on {at}: {error}{flag}"))
    })
}

/// Ends the process when any of its threads panics: what is left would serve some and not others.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        exit(EXIT_BUG, "a thread panicked: this is a bug of zkfast; nothing acknowledged is lost");
    }));
}

/// Takes the data of a ZooKeeper over that ran here before, once.
fn import_java(config: &Config) {
    let found = java_data::only_java(&config.data_dir, &config.data_log_dir);
    let found = found.unwrap_or_else(|error| exit(EXIT_DATA, format_args!("import: {error}")));
    let Some(source) = found else { return };
    let hash_seed = RandomState::new().hash_one(0u8);
    let digests = if config.digest_enabled { Digests::Kept } else { Digests::Off };
    let settings = tree::Settings { extended_types: config.extended_types, digests, hash_seed };
    // As ZooKeeper: it starts on a snapshot without a log, and on a log without a snapshot if it is told to.
    let options =
        java_data::Options { settings, without_log: true, trust_empty: config.snapshot_trust_empty };
    log::info!(target: "import", "taking over the data of Apache ZooKeeper: dataDir={} then={}",
        Text(config.data_dir.display()), Text("its files stay as they are"));
    match java_data::import(&source, &config.data_dir, &config.data_log_dir, options) {
        Ok(imported) => {
            imported.warnings().for_each(|warning| log::warn!(target: "import", "{warning}"));
            log::info!(target: "import", "done: {imported}");
        }
        Err(error) => exit(EXIT_DATA, format_args!("import: {error}")),
    }
}

/// Has every file and directory that this process makes belong to its user alone: 0600 and 0700.
pub fn hide_new_files() {
    use rustix::fs::Mode;
    let others = Mode::RWXG | Mode::RWXO;
    let before = rustix::process::umask(others);
    // What was forbidden before stays so.
    rustix::process::umask(before | others);
}

/// Runs a server, alone or as a member of an ensemble, until it is told to stop; returns once everything accepted is
/// durable.
pub fn run(config: &Config) {
    end_on_panic();
    helper::remember_cores();
    let signals = Signals::listen();
    let clock = Clock { start: Instant::now() };
    let member = config.is_distributed().then(|| ensemble::settings(config));
    let member = member.transpose().unwrap_or_else(|error| exit(EXIT_USAGE, error));
    let roles = Roles::of(&cores(config));
    let shards = roles.views.len();
    let descriptors = preflight::check(shards, config.engine).unwrap_or_else(|why| exit(EXIT_HOST, why));
    import_java(config);
    let opened = files::open(&config.data_dir, &config.data_log_dir, config.data_dir_autocreate);
    let (dir, lock) = opened.unwrap_or_else(|error| exit(EXIT_DATA, error));
    if member.is_some() && !config.quorum.db_autocreate {
        let told = ensemble::distrust_empty(&dir, &config.data_dir);
        told.unwrap_or_else(|error| exit(EXIT_DATA, format_args!("{}: {error}", config.data_dir.display())));
    }
    let peers = member.as_ref().map(|member| ensemble::bind(member, &config.quorum));
    let socket = config.client_port.map(|port| listen(config, port));
    let port = socket.as_ref().and_then(|socket| socket.local_addr().ok()).map(|address| address.port());

    let hash_seed = RandomState::new().hash_one(0u8);
    let digests = if config.digest_enabled { Digests::Kept } else { Digests::Off };
    let tree_settings = tree::Settings { extended_types: config.extended_types, digests, hash_seed };
    let (commit_thread, recovered) = CommitThread::recover(dir.clone(), tree_settings, member.is_some());
    let (recovered, loading) = recovered;
    let recovery::Recovered { mut restored, encoder, replayed, digest_mismatches, epochs, .. } = recovered;
    if let Some(MemberSettings { membership, .. }) = &member {
        let version = membership.config_version.max(epochs.config_version);
        restored.set_config(&with_version(&membership.config_text, version), version);
    }

    let policy = Arc::new(policy(config));
    let shared = Arc::new(Shared {
        phase: AtomicU8::new(0),
        admission: Admission::new(config.max_cnxns, config.max_client_cnxns, descriptors),
        beats: (0..=roles.views.len()).map(|_| AtomicU64::new(0)).collect(),
        durable: AtomicU64::new(0),
        writes: AtomicU64::new(0),
    });
    let about = Arc::new(About::new(config, &dir, port));

    signals.serving();
    let commit_notify = Notify::default();
    let durable = (restored.zxid, encoder.position());
    let ensemble_io = member.as_ref().zip(peers).map(|(member, peers)| {
        let ensemble_io = EnsembleIo::new(
            peers,
            &member.ensemble,
            config.quorum.tcp_keep_alive,
            dir.clone(),
            tree_settings,
            commit_notify.clone(),
        );
        ensemble_io.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("epoll: {error}")))
    });
    let (ensemble_io, waiter) = ensemble_io.unzip();
    let mut uplinks = Vec::new();
    let mut signs = Vec::new();
    let mut deltas = Vec::new();
    let mut targets = Vec::new();
    let mut view_mains = Vec::new();
    for (number, &core) in roles.views.iter().enumerate() {
        let (inbound, outbound) = (Notify::default(), Notify::default());
        // What is sent up, the view has handled as it sees fit: `CommitShard::submit`.
        let (up_in, up_out) = spsc::channel(CHANNEL_SLOTS, Notify::default(), outbound.clone());
        let (delta_in, delta_out) = spsc::channel(CHANNEL_SLOTS, inbound.clone(), commit_notify.clone());
        let (accepted_in, accepted_out) = spsc::channel(ACCEPTED_SLOTS, inbound.clone(), Notify::default());
        uplinks.push(up_out);
        let signs_of_view = Arc::new(view_shard::Signs::default());
        signs.push(signs_of_view.clone());
        deltas.push(delta_in);
        targets.push(listener::Target { channel: accepted_in, notify: inbound.clone() });
        let settings = ViewSettings::of(config, number as u16, hash_seed);
        let tree = restored.tree.for_view();
        let (zxid, sessions, digest) = (restored.zxid, restored.sessions.clone(), restored.tree.digest());
        let view = View::new(settings, policy.clone(), tree, zxid, sessions, digest);
        let channels = view_shard::Channels {
            uplink: up_in,
            signs: signs_of_view,
            deltas: delta_out,
            accepted: accepted_out,
            inbound,
            outbound,
        };
        let limits = snapshots::Limits {
            snap_count: config.snap_count.into(),
            log_bytes: (config.snap_size_limit_kb > 0)
                .then(|| config.snap_size_limit_kb.saturating_mul(1024)),
            retain: (config.purge_interval_hours > 0).then_some(config.snap_retain_count as usize),
        };
        // One view takes the snapshots: they are the same everywhere.
        let plan =
            (number == 0).then(|| snapshots::Plan::new(dir.clone(), limits, zxid, replayed, hash_seed));
        let inbox = ensemble_io.as_ref().map(EnsembleIo::inbox);
        view_mains.push((core, view, channels, plan, inbox));
    }
    let sid = member.as_ref().map(|member| member.membership.sid.0);
    let settings = CommitSettings::of(config, roles.views.len() as u16, sid, hash_seed);
    let mode = if member.is_some() { "ensemble" } else { "standalone" };
    let mut replica = match member {
        None => Replica::alone(settings, policy, restored, clock.now()),
        Some(mut member) => {
            let Epochs { accepted, current, config_version, repairing } = epochs;
            member.repairing = repairing;
            let (accepted, current) = (Epoch(accepted), Epoch(current));
            let epochs = leader::Epochs { accepted, current, config_version };
            let history =
                ensemble::history(&dir, restored.zxid, encoder.position(), config.quorum.commit_log_count);
            Replica::member(member, settings, policy, restored, epochs, history, clock.now())
        }
    };
    replica.metrics_mut().counters.digest_mismatches_count += digest_mismatches;
    loading.record(replayed, replica.metrics_mut());
    let writer = LogWriter::new(dir.clone(), encoder);
    let mut threads = Vec::new();
    // A member must be able to go on with the others while its disk stands still.
    let log = if roles.log == roles.commit && ensemble_io.is_none() {
        Log::Here(Box::new(writer))
    } else {
        let (log, thread) =
            LogThread::spawn(roles.log, writer, commit_notify.clone()).unwrap_or_else(|error| {
                exit(EXIT_HOST, format_args!("the log's thread does not start: {error}"))
            });
        threads.push(thread);
        Log::There(log)
    };
    let is_member = ensemble_io.is_some();
    let channels = commit_shard::Channels { uplinks, signs, deltas, log, notify: commit_notify.clone() };
    let commit_shard =
        commit_shard::new(replica, channels, ensemble_io, durable, clock, shared.clone(), about);
    let commit_shard = Arc::new(commit_shard);

    let started = |spawned: std::io::Result<rt::Shard>, what: &str| {
        spawned.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("shard {what} does not start: {error}")))
    };
    let mut listen_main = socket.map(|socket| {
        let shared = shared.clone();
        move || listener::run(socket, targets, shared)
    });
    let main = {
        let commit_shard = commit_shard.clone();
        move || {
            pin("commit", roles.commit);
            commit_shard.run(waiter);
        }
    };
    threads.push(commit_thread.start(main));
    if is_member {
        let commit_shard = commit_shard.clone();
        let spawned = std::thread::Builder::new()
            .name("zkfast-stand-in".to_owned())
            .spawn(move || commit_shard.stand_in());
        let thread =
            spawned.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("thread stand-in: {error}")));
        threads.push(thread);
    }
    let mut running = Vec::new();
    for (number, (core, view, channels, plan, inbox)) in view_mains.into_iter().enumerate() {
        let (shared, listen_main, commit_shard) = (shared.clone(), listen_main.take(), commit_shard.clone());
        let main = move || async move {
            if let Some(listen_main) = listen_main {
                rt::spawn_local(listen_main());
            }
            view_shard::run(view, channels, clock, shared, commit_shard, plan, inbox).await;
        };
        running.push(started(rt::spawn(config.engine, core, &format!("zkfast-view{number}"), main), "view"));
    }
    let ended = join(running, threads);
    let port = port.map_or_else(|| "none".to_owned(), |port| port.to_string());
    log::info!(target: "server", "started: mode={mode} clientPort={port} dataDir={} commit={} log={} views={} engine={} \
        started_ms={}", Text(dir.snap.display()), roles.commit, roles.log, list(&roles.views), config.engine.name(),
        clock.start.elapsed().as_millis());
    watch(&signals, &shared, &commit_notify);
    wait(&ended);
    // What was counted and not said.
    log::logger().flush();
    log::info!(target: "server", "stopped: durable=all");
    drop(lock);
}

/// What stands after the version, in the shape that tools parse: `2026-11-23 00:00 UTC`. See `src/build.rs`.
const BUILT_ON: &str = env!("ZKFAST_BUILT_ON");

/// Numbers in the form of `--cores`.
fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Keeps the calling thread on `core`.
fn pin(what: &str, core: usize) {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(core);
    // Elsewhere it is only slower.
    if let Err(error) = rustix::thread::sched_setaffinity(None, &cpus) {
        log::warn!(target: "server", "not pinned: thread={what} core={core} error={}", Text(&error));
    }
}

/// The thread that commits. It reads the data first: glibc gives what is freed back to where it was allocated, so that
/// znodes that were read by another thread would be memory that no later znode gets.
struct CommitThread {
    main: Sender<Box<dyn FnOnce() + Send>>,
    thread: JoinHandle<()>,
}

impl CommitThread {
    /// Starts it, and waits for what it has read.
    fn recover(
        dir: files::DataDir,
        tree_settings: tree::Settings,
        is_member: bool,
    ) -> (Self, (recovery::Recovered, recovery::Loading)) {
        let (main, job) = channel::<Box<dyn FnOnce() + Send>>();
        let (sender, recovered) = channel();
        let work = move || {
            let recovered = match recovery::recover(&dir, tree_settings) {
                Err(error) if error.is_damage() && is_member => {
                    recovery::move_aside(&dir, &error).and_then(|()| recovery::recover(&dir, tree_settings))
                }
                recovered => recovered,
            };
            // Who waits for it ends with this process only.
            let _ = sender.send(recovered.unwrap_or_else(|error| exit(EXIT_DATA, error)));
            if let Ok(main) = job.recv() {
                main();
            }
        };
        let spawned = std::thread::Builder::new().name("zkfast-commit".to_owned()).spawn(work);
        let thread = spawned.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("thread commit: {error}")));
        let recovered = recovered.recv().unwrap_or_else(|_| exit(EXIT_BUG, "the data was not read"));
        (Self { main, thread }, recovered)
    }

    /// Has it do its own work.
    fn start(self, main: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let sent = self.main.send(Box::new(main));
        assert!(sent.is_ok(), "the commit thread has ended");
        self.thread
    }
}

/// The signals that stop the server.
struct Signals {
    receiver: std::sync::mpsc::Receiver<i32>,
    serving: Arc<AtomicBool>,
}

impl Signals {
    /// Until the server serves, one ends the process at once: there is nothing to finish, and recovery may
    /// take long.
    fn listen() -> Self {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]);
        let mut signals = signals.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("signals: {error}")));
        let (sender, receiver) = channel();
        let serving = Arc::new(AtomicBool::new(false));
        let is_serving = serving.clone();
        let spawned = helper::spawn("zkfast-signals", move || {
            // A terminal that is closed, or a script that means "read your files again": no reason to end.
            let is_stop = |signal: &i32| {
                if *signal == SIGHUP {
                    log::info!(target: "server", "signal ignored: signal=SIGHUP why={}",
                        Text("zkfast reads its configuration at the start only"));
                }
                *signal != SIGHUP
            };
            let Some(signal) = signals.forever().find(is_stop) else { return };
            log::info!(target: "server", "stopping: signal={signal}");
            if !is_serving.load(Ordering::Acquire) {
                std::process::exit(0);
            }
            // Nobody listens any more if the process is ending already.
            let _ = sender.send(signal);
            // Further ones change nothing, and the handlers stay: the default would be an untimely end.
            signals.forever().for_each(drop);
        });
        if let Err(error) = spawned {
            exit(EXIT_HOST, format_args!("no thread for signals: {error}"));
        }
        Self { receiver, serving }
    }

    /// From here on a signal is an orderly stop.
    fn serving(&self) {
        self.serving.store(true, Ordering::Release);
    }
}

/// Waits for a signal, and meanwhile for shards that stand still.
fn watch(signals: &Signals, shared: &Shared, commit_notify: &Notify) {
    let mut seen: Vec<(u64, u32)> = vec![(0, 0); shared.beats.len()];
    let (mut write, mut writing) = (0, 0);
    loop {
        match signals.receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(_) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
        }
        logging::flush_due();
        // A disk that hangs is no bug of a shard that waits for it, and nothing is gained by another start.
        let now = shared.writes.load(Ordering::Relaxed);
        writing = if now % 2 == 1 && now == write { writing + 1 } else { 0 };
        write = now;
        if writing == WATCHDOG_CHECKS {
            log::warn!(target: "server", "a flush of the log goes on: seconds={WATCHDOG_CHECKS} then={}",
                Text("does its disk hang?"));
        }
        if writing > 0 {
            continue;
        }
        // Counted in checks of this thread's own, so that a paused process is not taken for a stalled one.
        for (shard, (beats, still)) in seen.iter_mut().enumerate() {
            let now = shared.beats[shard].load(Ordering::Relaxed);
            *still = if now == *beats { *still + 1 } else { 0 };
            *beats = now;
            if *still >= WATCHDOG_CHECKS {
                exit(EXIT_BUG, format_args!("shard {shard} has stood still for {WATCHDOG_CHECKS} s"));
            }
        }
    }
    shared.set_phase(Phase::Stopping);
    commit_notify.notify();
}

/// How the shards ended, once all have.
type Ended = std::sync::mpsc::Receiver<Vec<std::io::Result<()>>>;

/// Starts the thread that joins the shards. From the beginning: at the end there may be no thread to be had.
fn join(running: Vec<rt::Shard>, threads: Vec<JoinHandle<()>>) -> Ended {
    let (sender, ended) = channel();
    let spawned = helper::spawn("zkfast-end", move || {
        let mut results: Vec<_> = running.into_iter().map(rt::Shard::join).collect();
        let joined = threads.into_iter().map(JoinHandle::join);
        results.extend(joined.map(|joined| joined.map_err(|_| std::io::Error::other("a thread panicked"))));
        // Nobody listens any more if this took too long.
        let _ = sender.send(results);
    });
    if let Err(error) = spawned {
        exit(EXIT_HOST, format_args!("no thread to wait for the shards: {error}"));
    }
    ended
}

/// Waits for the shards to end, but not for ever.
fn wait(ended: &Ended) {
    match ended.recv_timeout(STOP_WITHIN) {
        Ok(results) => {
            if let Some(error) = results.into_iter().find_map(Result::err) {
                exit(EXIT_BUG, format_args!("a shard ended badly: {error}"));
            }
        }
        Err(_) => exit(
            EXIT_BUG,
            format_args!("shards do not stop within {STOP_WITHIN:?}; what was answered is durable"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The roles of the module's table.
    #[test]
    fn roles() {
        let roles = |commit, log, views: &[usize]| Roles { commit, log, views: views.to_vec() };
        assert_eq!(Roles::of(&[3]), roles(3, 3, &[3]));
        assert_eq!(Roles::of(&[0, 1]), roles(0, 0, &[1]));
        assert_eq!(Roles::of(&[0, 0, 1]), roles(0, 0, &[0, 1]));
        assert_eq!(Roles::of(&[0, 1, 2, 3, 4]), roles(0, 1, &[2, 3, 4]));
    }
}
