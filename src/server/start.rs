//! The start of a server, step by step: checks, data, ports, state machines, threads.

use super::about::About;
use super::admission::Admission;
use super::binding;
use super::browse;
use super::client_port::{self, ClientPort};
use super::commit_shard::{self, CommitShard, FromHttp, Log};
use super::cores::{Cpu, Roles, list, pin};
use super::dynamic::{DynamicFiles, DynamicWriter};
use super::ensemble::{self, EnsembleIo};
use super::files::{self, DataDir};
use super::gate::Gates;
use super::http::{self, Http};
use super::kerberos;
use super::lifetime::{self, Signals};
use super::log_writer::{LogThread, LogWriter};
use super::logging::Text;
use super::oracle::Oracle;
use super::orders::{self, Placed};
use super::random;
use super::signs::Signs;
use super::spsc::{self, Consumer, Notify, Producer};
use super::start_up::StartUp;
use super::supervisor;
use super::tls;
use super::{
    Clock, EXIT_BUG, EXIT_DATA, EXIT_HOST, EXIT_PORT, EXIT_USAGE, Shared, audit, environment, exit,
    hand_overs, helper, java_data, listener, own_ports, peers, preflight, questions, recovery, restores, rt,
    snapshots, view_tasks,
};
use crate::admin::Step;
use crate::auth::Policy;
use crate::auth::sasl::NonceKey;
use crate::config::{ClientAddress, Config, Ensemble, QuorumConfig};
use crate::database::Database;
use crate::kerberos::Kerberos;
use crate::replica::{CommitSettings, Deltas, MemberSettings, Replica, Uplink, View, ViewSettings};
use crate::tls::Acceptor;
use crate::tree::{self, Digests, ExtendedTypes};
use crate::zab::notification::put_hello;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Batches that may be under way between two shards.
const CHANNEL_SLOTS: usize = 8;

/// Connections that may be under way from the listener to a shard.
const ACCEPTED_SLOTS: usize = 256;

/// Runs a server, alone or as a member of an ensemble, until a signal stops it; returns once everything accepted is durable.
/// Calls `started` with the port for clients, if there is one, once they may connect.
/// Ends the process, with the status for its reason, where the server cannot start or go on.
pub fn run(config: &Config, started: impl FnOnce(Option<u16>)) {
    prepare(config);
    let signals = Signals::listen();
    let clock = Clock::start();
    let member = config.is_distributed().then(|| ensemble::settings(config));
    let mut member = member.transpose().unwrap_or_else(|error| exit(EXIT_USAGE, error));
    let kerberos = kerberos::load(config);
    let Host { roles, descriptors, engine } = Host::of(config);
    let start_up = Arc::new(StartUp::default());
    let http = Http::start(config, start_up.clone(), clock);
    let opened = Opened::new(config, member.as_ref(), &start_up);
    let tree_settings = configured_tree(config);
    let (commit_thread, mut recovered, loading) =
        CommitThread::recover(opened.dir.clone(), tree_settings, member.is_some(), start_up);
    if let Some(member) = &mut member {
        ensemble::resume(member, &mut recovered, proposed(config));
    }
    let admission = Admission::new(config.max_cnxns, config.max_client_cnxns, descriptors);
    let shared = Arc::new(Shared::new(admission, roles.views.len() + 1));
    let numbers = [opened.port, opened.secure_port];
    let about =
        Arc::new(About::new(config, &opened.dir, numbers, opened.ports.moves.clone(), opened.acceptor));

    signals.serving();
    let (notify, policy, is_member) =
        (Notify::default(), Arc::new(policy(config, kerberos.as_ref())), member.is_some());
    let ways = Ways { notify: &notify, dir: &opened.dir, tree_settings, is_member };
    let (mut server, placed, from_http) = ways.of_http(about.clone(), shared.clone(), policy.clone());
    let begin = |(member, peers)| {
        let own = (peers, opened.ports.moves.clone());
        ensemble_io(member, own, config, &opened.dir, tree_settings, &notify, kerberos.clone())
    };
    let (ensemble_io, waiter) = member.as_ref().zip(opened.peers).map(begin).unzip();
    let parts = ViewParts {
        config,
        dir: &opened.dir,
        policy: &policy,
        commit_notify: &notify,
        recovered: &recovered,
        nonce_key: NonceKey(random::key()),
        kerberos: kerberos.as_ref(),
    };
    let views = Views::all(&roles, &parts, ensemble_io.as_ref(), placed);
    let Views { uplinks, signs, deltas, targets, mains, browser, .. } = views;

    let durable = (recovered.restored.zxid, recovered.encoder.position());
    let (mut replica, writer) = state_machines(config, member, recovered, policy, &opened.dir, &roles, clock);
    loading.record(replica.metrics_mut());
    let mut threads = Vec::new();
    let log = log(writer, &roles, is_member, &notify, &mut threads);
    let notified = notify.clone();
    let channels = commit_shard::Channels { uplinks, signs, deltas, log, from_http, notify: notified };
    let commit_shard =
        Arc::new(commit_shard::new(replica, channels, ensemble_io, durable, clock, shared.clone(), about));
    server.browser = browser;
    let hand_overs = server.hand_overs.clone();
    http.serving(server);
    spawn_commit(commit_thread, &commit_shard, roles.commit, waiter, is_member, &mut threads);
    let shards = spawn_views(engine.backend, mains, opened.ports, targets, clock, &shared, &commit_shard);
    let ended = lifetime::join(shards, threads);
    log_started(is_member, opened.port, &opened.dir, &roles, engine.backend.engine().name(), clock);
    started(opened.port);
    lifetime::watch(&signals, &shared, &notify, &hand_overs, is_member);
    lifetime::wait(&ended);
    // Writes the counts of lines that were not written.
    log::logger().flush();
    log::info!(target: "server", "stopped: durable=all");
    drop(opened.lock);
}

/// What precedes everything that may fail.
fn prepare(config: &Config) {
    end_on_panic();
    if config.core_dumps_off {
        preflight::leave_no_core_dump();
    }
    audit::begin(config.audit_enabled);
    helper::remember_cores();
}

/// Says, in the log and to systemd, that the ports are open.
fn log_started(
    is_member: bool,
    port: Option<u16>,
    dir: &DataDir,
    roles: &Roles,
    engine: &'static str,
    clock: Clock,
) {
    let mode = if is_member { "ensemble" } else { "standalone" };
    let port = port.map_or_else(|| "none".to_owned(), |port| port.to_string());
    log::info!(target: "server", "started: mode={mode} clientPort={port} dataDir={} commit={} log={} views={} \
        engine={engine} started_ms={}", Text(dir.snap.display()), list(&[roles.commit]),
        list(&[roles.log_cpu()]), list(&roles.views), clock.mono_us() / 1000);
    audit::started();
    supervisor::ready(format_args!("started: mode={mode} clientPort={port}"));
}

/// What the host gives.
struct Host {
    roles: Roles,
    /// Connections for which there are descriptors.
    descriptors: u32,
    engine: rt::Choice,
}

impl Host {
    /// Ends the process where the host does not give what the configuration needs.
    fn of(config: &Config) -> Self {
        let roles = Roles::of_process(config);
        let views = roles.views.len();
        let descriptors = preflight::check(config, views);
        let descriptors = descriptors.unwrap_or_else(|why| exit(EXIT_HOST, why));
        let engine = rt::choose(config.engine, views).unwrap_or_else(|why| exit(EXIT_HOST, why));
        log::info!(target: "server", "engine: name={} why={}", engine.backend.engine().name(), Text(&engine.why));
        Self { roles, descriptors, engine }
    }
}

/// What a start has opened: the data directory, with ZooKeeper's data if that had to be taken over, and the ports.
struct Opened {
    dir: DataDir,
    lock: files::Lock,
    peers: Option<own_ports::Bound>,
    ports: Ports,
    /// The port for plain clients, and that for clients with TLS.
    port: Option<u16>,
    secure_port: Option<u16>,
    acceptor: Option<Arc<Acceptor>>,
}

/// The listening sockets for clients.
struct Ports {
    /// The port for plain clients first, if there is one or may be one later.
    sockets: Vec<(Option<TcpListener>, tls::Port)>,
    /// That port, where a reconfiguration may move it.
    moves: Option<Arc<ClientPort>>,
}

impl Opened {
    fn new(config: &Config, member: Option<&MemberSettings>, start_up: &StartUp) -> Self {
        start_up.begin(Step::Importing);
        import_java(config);
        start_up.begin(Step::Opening);
        let opened = files::open(&config.data_dir, &config.data_log_dir, config.data_dir_autocreate);
        let (dir, lock) = opened.unwrap_or_else(|error| exit(EXIT_DATA, error));
        if member.is_some() && !config.quorum.db_autocreate {
            let checked = ensemble::distrust_empty(&dir, &config.data_dir);
            checked.unwrap_or_else(|error| {
                exit(EXIT_DATA, format_args!("{}: {error}", config.data_dir.display()))
            });
        }
        let peers = member.map(|member| ensemble::bind(member, &config.quorum));
        let acceptor = acceptor(config);
        let (mut sockets, mut numbers, mut moves) = (Vec::new(), [None; 2], None);
        for (is_secure, number) in numbers.iter_mut().enumerate() {
            let socket = listen(config, is_secure == 1);
            if member.is_some() && config.reconfig_enabled && is_secure == 0 {
                moves = Some(moving_port(config, socket.as_ref()));
            } else if socket.is_none() {
                continue;
            }
            *number =
                socket.as_ref().and_then(|socket| socket.local_addr().ok()).map(|address| address.port());
            let port = match &acceptor {
                Some(acceptor) if is_secure == 1 => tls::Port::Tls(acceptor.clone()),
                Some(acceptor) if config.client_port_unification => tls::Port::Either(acceptor.clone()),
                _ => tls::Port::Plain,
            };
            sockets.push((socket, port));
        }
        let [port, secure_port] = numbers;
        let ports = Ports { sockets, moves };
        Self { dir, lock, peers, ports, port, secure_port, acceptor }
    }
}

/// The links to the other servers, and the waiter of the commit thread.
fn ensemble_io(
    member: &MemberSettings,
    (peers, client_port): (own_ports::Bound, Option<Arc<ClientPort>>),
    config: &Config,
    dir: &DataDir,
    tree_settings: tree::Settings,
    notify: &Notify,
    kerberos: Option<Kerberos>,
) -> (EnsembleIo, peers::Waiter) {
    let quorum = &config.quorum;
    let gates = config.quorum_sasl.clone().map(|sasl| {
        let mut hello = Vec::new();
        put_hello(&mut hello, member.membership.sid, &member.election_address);
        let keys = kerberos::keys(kerberos.as_ref(), Some(&sasl.mechanism), &config.data_dir);
        let hosts = quorum.ensemble.servers.values().flat_map(|server| &server.addresses);
        let hosts = hosts.map(|address| address.host.clone()).collect();
        Gates::new(sasl, hello, hosts, keys, kerberos)
    });
    let (keep_alive, guards) = (quorum.tcp_keep_alive, peers::Guards { tls: peer_tls(quorum), gates });
    let oracle = quorum.oracle_path.as_ref().filter(|_| member.membership.configs.has_oracle());
    let oracle = oracle.map(|path| Oracle::watch(path.into(), notify.clone())).transpose();
    let oracle =
        oracle.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("no thread for the oracle: {error}")));
    let io = EnsembleIo::new(peers, member, keep_alive, guards, dir.clone(), tree_settings, notify.clone());
    let (io, waiter) = io.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("epoll: {error}")));
    let files = DynamicFiles::of(config).map(|files| DynamicWriter::new(files, quorum.ensemble.version));
    let active = member.membership.configs.active().ensemble();
    let io = io.with_written(&quorum.ensemble, active).with_oracle(oracle);
    let io = io.with_observers(quorum.observer_master_port);
    (io.with_files(files).with_client_port(client_port), waiter)
}

/// What the ways from HTTP to the shards are made from.
struct Ways<'a> {
    /// Wakes the commit shard.
    notify: &'a Notify,
    dir: &'a DataDir,
    tree_settings: tree::Settings,
    is_member: bool,
}

impl Ways<'_> {
    /// HTTP's end, that of the first view, and those of the commit shard.
    fn of_http(
        &self,
        about: Arc<About>,
        shared: Arc<Shared>,
        policy: Arc<Policy>,
    ) -> (http::Server, Placed, FromHttp) {
        let &Self { notify, dir, tree_settings, is_member } = self;
        let (questions, pending) = questions::channel(notify.clone());
        let (orders, placed) = orders::channel();
        let (restores, arrived) =
            (!is_member).then(|| restores::channel(notify.clone(), dir.clone())).unzip();
        let (hand_overs, asked) = hand_overs::channel(notify.clone());
        let dir = dir.clone();
        // The first view brings its end.
        let browser = None;
        let server = http::Server {
            questions,
            orders,
            browser,
            restores,
            hand_overs,
            about,
            shared,
            policy,
            dir,
            tree_settings,
        };
        (server, placed, FromHttp { questions: pending, restores: arrived, hand_overs: asked })
    }
}

/// What every view is made from.
struct ViewParts<'a> {
    config: &'a Config,
    dir: &'a DataDir,
    policy: &'a Arc<Policy>,
    commit_notify: &'a Notify,
    recovered: &'a recovery::Recovered,
    nonce_key: NonceKey,
    kerberos: Option<&'a Kerberos>,
}

/// A view shard that is to be started.
struct ViewMain {
    cpu: Cpu,
    view: View,
    channels: view_tasks::Channels,
    snapshots: Option<(snapshots::Plan, Placed)>,
    inbox: Option<ensemble::Inbox>,
}

/// The views, and the ends of their channels that belong to the commit shard and the listener.
#[derive(Default)]
struct Views {
    uplinks: Vec<Consumer<Uplink>>,
    signs: Vec<Arc<Signs>>,
    deltas: Vec<Producer<Arc<Deltas>>>,
    targets: Vec<listener::Target>,
    mains: Vec<ViewMain>,
    /// What HTTP clients order, for the first view.
    placed: Option<Placed>,
    /// The way from HTTP to the first view, where there is a console.
    browser: Option<browse::Browser>,
}

impl Views {
    /// One for each of their cores; the first takes what HTTP clients have `placed`.
    fn all(roles: &Roles, parts: &ViewParts<'_>, ensemble_io: Option<&EnsembleIo>, placed: Placed) -> Self {
        let hash_seed = parts.recovered.restored.tree.settings().hash_seed;
        let mut views = Self { placed: Some(placed), ..Self::default() };
        roles.views.iter().for_each(|cpu| views.add(*cpu, parts, ensemble_io, hash_seed));
        views
    }

    /// Adds the next view, whose thread stays on `cpu`.
    fn add(&mut self, cpu: Cpu, parts: &ViewParts<'_>, ensemble_io: Option<&EnsembleIo>, hash_seed: u64) {
        let number = self.mains.len();
        let (inbound, outbound) = (Notify::default(), Notify::default());
        // The view itself has its requests handled ([`CommitShard::submit`]), so that this end needs no notification.
        let (up_in, up_out) = spsc::channel(CHANNEL_SLOTS, Notify::default(), outbound.clone());
        let (delta_in, delta_out) =
            spsc::channel(CHANNEL_SLOTS, inbound.clone(), parts.commit_notify.clone());
        let (accepted_in, accepted_out) = spsc::channel(ACCEPTED_SLOTS, inbound.clone(), Notify::default());
        let signs = Arc::new(Signs::default());
        self.uplinks.push(up_out);
        self.signs.push(signs.clone());
        self.deltas.push(delta_in);
        self.targets.push(listener::Target { channel: accepted_in, notify: inbound.clone() });
        let settings = ViewSettings {
            audit_user: parts.config.audit_enabled.then(environment::user_name),
            // The library locks keys while it uses them: each view has its own.
            kerberos: kerberos::keys(
                parts.kerberos,
                parts.config.sasl.mechanism.as_ref(),
                &parts.config.data_dir,
            ),
            ..ViewSettings::of(parts.config, number as u16, hash_seed, parts.nonce_key.clone())
        };
        let Database { tree, zxid, sessions, .. } = &parts.recovered.restored;
        let view = View::new(
            settings,
            parts.policy.clone(),
            tree.for_view(),
            *zxid,
            sessions.clone(),
            tree.digest(),
        );
        let admin = &parts.config.admin;
        let has_console = number == 0 && admin.enabled && admin.console;
        let (browser, browse) = has_console.then(|| browse::channel(parts.policy.clone())).unzip();
        self.browser = self.browser.take().or(browser);
        let channels = view_tasks::Channels {
            uplink: up_in,
            signs,
            deltas: delta_out,
            accepted: accepted_out,
            inbound,
            outbound,
            browse,
        };
        // One view takes the snapshots: all have the same tree.
        let snapshots = self.placed.take().map(|placed| {
            let (limits, replayed) = (snapshot_limits(parts.config), parts.recovered.replayed);
            (snapshots::Plan::new(parts.dir.clone(), limits, *zxid, replayed, hash_seed), placed)
        });
        let inbox = ensemble_io.map(EnsembleIo::inbox);
        self.mains.push(ViewMain { cpu, view, channels, snapshots, inbox });
    }
}

fn snapshot_limits(config: &Config) -> snapshots::Limits {
    snapshots::Limits {
        snap_count: config.snap_count.into(),
        log_bytes: (config.snap_size_limit_kb > 0).then(|| config.snap_size_limit_kb.saturating_mul(1024)),
        retain: (config.purge_interval_hours > 0).then_some(config.snap_retain_count as usize),
    }
}

/// What the files say of a reconfiguration that was proposed; one that cannot be read is said and left out.
fn proposed(config: &Config) -> Option<Ensemble> {
    let files = DynamicFiles::of(config)?;
    files.pending().unwrap_or_else(|error| {
        log::warn!(target: "zab", "a proposed configuration is left out: error={}", Text(&error));
        None
    })
}

/// The replica with the recovered data, and the writer that continues the log.
fn state_machines(
    config: &Config,
    member: Option<MemberSettings>,
    recovered: recovery::Recovered,
    policy: Arc<Policy>,
    dir: &DataDir,
    roles: &Roles,
    clock: Clock,
) -> (Replica, LogWriter) {
    let recovery::Recovered { restored, encoder, digest_mismatches, epochs, .. } = recovered;
    let sid = member.as_ref().map(|member| member.membership.sid.0);
    let hash_seed = restored.tree.settings().hash_seed;
    let settings = CommitSettings::of(config, roles.views.len() as u16, sid, hash_seed);
    let mut replica = match member {
        None => Replica::alone(settings, policy, restored, clock.now()),
        Some(mut member) => {
            member.repairing = epochs.repairing;
            let limit = config.quorum.commit_log_count;
            let history = ensemble::history(dir, restored.zxid, encoder.position(), limit);
            Replica::member(member, settings, policy, restored, (&epochs).into(), history, clock.now())
        }
    };
    replica.metrics_mut().counters.digest_mismatches_count += digest_mismatches;
    (replica, LogWriter::new(dir.clone(), encoder))
}

/// The log: on the commit thread of a server alone that has no core for it, else on a thread of its own. A member must be
/// able to go on with the others while its disk stands still.
fn log(
    writer: LogWriter,
    roles: &Roles,
    is_member: bool,
    notify: &Notify,
    threads: &mut Vec<JoinHandle<()>>,
) -> Log {
    if roles.log.is_none() && !is_member {
        return Log::Here(Box::new(writer));
    }
    let (log, thread) = LogThread::spawn(roles.log_cpu(), writer, notify.clone())
        .unwrap_or_else(|error| exit(EXIT_HOST, format_args!("the log's thread does not start: {error}")));
    threads.push(thread);
    Log::There(log)
}

/// Starts the commit shard on its thread, and for a member the thread that stands in for it while it waits for the disk.
fn spawn_commit(
    commit_thread: CommitThread,
    commit_shard: &Arc<CommitShard>,
    cpu: Cpu,
    waiter: Option<peers::Waiter>,
    is_member: bool,
    threads: &mut Vec<JoinHandle<()>>,
) {
    let shard = commit_shard.clone();
    threads.push(commit_thread.start(move || {
        pin("commit", cpu);
        shard.run(waiter);
    }));
    if is_member {
        threads.push(spawn_stand_in(commit_shard.clone()));
    }
}

/// Starts the thread that stands in for a commit thread which waits for the disk.
fn spawn_stand_in(commit_shard: Arc<CommitShard>) -> JoinHandle<()> {
    let spawned =
        std::thread::Builder::new().name("zkfast-stand-in".to_owned()).spawn(move || commit_shard.stand_in());
    spawned.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("thread stand-in: {error}")))
}

/// Starts the view shards; the first one accepts connections, too.
fn spawn_views(
    backend: rt::Backend,
    mains: Vec<ViewMain>,
    ports: Ports,
    targets: Vec<listener::Target>,
    clock: Clock,
    shared: &Arc<Shared>,
    commit_shard: &Arc<CommitShard>,
) -> Vec<rt::Shard> {
    let mut listeners = Some((ports, targets));
    let mut shards = Vec::new();
    for (number, ViewMain { cpu, view, channels, snapshots, inbox }) in mains.into_iter().enumerate() {
        let (listeners, shared, commit_shard) = (listeners.take(), shared.clone(), commit_shard.clone());
        let main = move || async move {
            if let Some((Ports { sockets, mut moves }, targets)) = listeners {
                let targets = Rc::new(RefCell::new(targets));
                for (socket, port) in sockets {
                    let source = listener::Source::new(socket, moves.take());
                    rt::spawn_local(listener::run(source, port, targets.clone(), shared.clone()));
                }
            }
            view_tasks::run(view, channels, clock, shared, commit_shard, snapshots, inbox).await;
        };
        let spawned = rt::spawn(backend, cpu, &format!("zkfast-view{number}"), main);
        shards.push(
            spawned
                .unwrap_or_else(|error| exit(EXIT_HOST, format_args!("shard view does not start: {error}"))),
        );
    }
    shards
}

/// Settings of a tree whose hashes have a seed of their own, which clients cannot know.
pub fn tree_settings(extended_types: ExtendedTypes, digests: Digests) -> tree::Settings {
    tree::Settings { extended_types, digests, hash_seed: RandomState::new().hash_one(0u8) }
}

fn configured_tree(config: &Config) -> tree::Settings {
    let digests = if config.digest_enabled { Digests::Kept } else { Digests::Off };
    tree_settings(config.extended_types, digests)
}

fn policy(config: &Config, kerberos: Option<&Kerberos>) -> Policy {
    let mut sasl = config.sasl.clone();
    sasl.names.default_realm = kerberos.and_then(Kerberos::default_realm).unwrap_or_default();
    Policy {
        super_digest: config.super_digest.clone(),
        digest_algorithm: config.digest_alg,
        digest_enabled: config.schemes.digest,
        skip_acl: config.skip_acl,
        x509_enabled: config.client_tls.is_some() || config.schemes.x509,
        sasl,
        ensemble: config.schemes.ensemble.clone(),
        key_enabled: config.schemes.key,
    }
}

/// What begins connections with TLS, where a port for clients has it; ends the process where it cannot be had.
fn acceptor(config: &Config) -> Option<Arc<Acceptor>> {
    let acceptor = Acceptor::new(config.client_tls.clone()?);
    let acceptor = Arc::new(acceptor.unwrap_or_else(|why| exit(EXIT_USAGE, why)));
    tls::watch(&acceptor).unwrap_or_else(|error| exit(EXIT_HOST, format_args!("thread tls: {error}")));
    Some(acceptor)
}

/// How this server and the others connect to each other; ends the process where it cannot be had.
fn peer_tls(quorum: &QuorumConfig) -> tls::PeerTls {
    let Some(config) = quorum.tls.clone() else { return tls::PeerTls::default() };
    let hosts = quorum.ensemble.servers.values().flat_map(|server| &server.addresses);
    let hosts = hosts.map(|address| address.host.clone()).collect();
    let made = tls::PeerTls::new(config, quorum.ssl, quorum.port_unification, hosts);
    let made = made.unwrap_or_else(|why| exit(EXIT_USAGE, why));
    let (acceptor, connector) = made.stores();
    let watched = acceptor.map_or(Ok(()), tls::watch).and_then(|()| connector.map_or(Ok(()), tls::watch));
    watched.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("thread tls: {error}")));
    made
}

/// Listens for clients, plain ones or those with TLS, or ends the process.
fn listen(config: &Config, is_secure: bool) -> Option<TcpListener> {
    let (port, name, key) = match is_secure {
        false => (config.client_port?, &config.client_port_address, "clientPort"),
        true => (config.secure_client_port?, &config.secure_client_port_address, "secureClientPort"),
    };
    let ip = name.as_deref().map(|name| match binding::resolve(name) {
        Ok(Some(ip)) => ip,
        Ok(None) => exit(EXIT_PORT, format_args!("{key}Address={name} resolves to no address")),
        Err(error) => exit(EXIT_PORT, format_args!("{key}Address={name}: {error}")),
    });
    let bound = binding::bind(ip, port, config.client_port_listen_backlog, config.client_tcp_keep_alive);
    Some(bound.unwrap_or_else(|error| {
        let at = ip.map_or_else(|| "every address".to_owned(), |ip| ip.to_string());
        let flag = match error.kind() {
            ErrorKind::AddrInUse if !is_secure => "; --client-port names another port",
            ErrorKind::AddrNotAvailable if !is_secure => "; --client-port-address names another address",
            _ => "",
        };
        exit(EXIT_PORT, format_args!("{key}={port} on {at}: {error}{flag}"))
    }))
}

/// The port for plain clients, which follows this server's own line.
fn moving_port(config: &Config, socket: Option<&TcpListener>) -> Arc<ClientPort> {
    let host = config.client_port_address.clone();
    let at = config.client_port.map(|port| ClientAddress { host, port });
    let options = client_port::Options {
        backlog: config.client_port_listen_backlog,
        keep_alive: config.client_tcp_keep_alive,
    };
    let port = ClientPort::new(at, socket, options);
    Arc::new(port.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("clientPort: {error}"))))
}

/// Ends the process when any of its threads panics: the remaining threads would serve some clients only.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        exit(EXIT_BUG, "a thread panicked: this is a bug of zkfast; nothing acknowledged is lost");
    }));
}

/// Imports the data of a ZooKeeper that ran on this data directory before, if there is none of zkfast's yet.
fn import_java(config: &Config) {
    let found = java_data::only_java(&config.data_dir, &config.data_log_dir);
    let found = found.unwrap_or_else(|error| exit(EXIT_DATA, format_args!("import: {error}")));
    let Some(source) = found else { return };
    // ZooKeeper starts on a snapshot without a log, and on a log without a snapshot if it is configured to.
    let options = java_data::Options {
        settings: configured_tree(config),
        without_log: true,
        trust_empty: config.snapshot_trust_empty,
    };
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

/// Restricts every file and directory that this process creates to its user: 0600 and 0700.
pub fn hide_new_files() {
    use rustix::fs::Mode;
    let others = Mode::RWXG | Mode::RWXO;
    let before = rustix::process::umask(others);
    // Restrictions that were set before stay.
    rustix::process::umask(before | others);
}

/// The commit thread. It reads the data before it commits: glibc returns freed memory to the arena of the thread that
/// allocated it, so the memory of znodes that another thread had read could not be used for later znodes.
struct CommitThread {
    main: Sender<Box<dyn FnOnce() + Send>>,
    thread: JoinHandle<()>,
}

impl CommitThread {
    /// Starts the thread, and waits until it has read the data.
    fn recover(
        dir: files::DataDir,
        tree_settings: tree::Settings,
        is_member: bool,
        start_up: Arc<StartUp>,
    ) -> (Self, recovery::Recovered, recovery::Loading) {
        let (main, job) = channel::<Box<dyn FnOnce() + Send>>();
        let (sender, recovered) = channel();
        let told = start_up.clone();
        let work = move || {
            let recover = || recovery::recover(&dir, tree_settings, &told);
            let recovered = match recover() {
                Err(error) if error.is_damage() && is_member => {
                    recovery::move_aside(&dir, &error).and_then(|()| recover())
                }
                recovered => recovered,
            };
            // The receiver lives as long as the process.
            let _ = sender.send(recovered.unwrap_or_else(|error| exit(EXIT_DATA, error)));
            if let Ok(main) = job.recv() {
                main();
            }
        };
        let spawned = std::thread::Builder::new().name("zkfast-commit".to_owned()).spawn(work);
        let thread = spawned.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("thread commit: {error}")));
        let (recovered, loading) =
            recovered.recv().unwrap_or_else(|_| exit(EXIT_BUG, "the data was not read"));
        start_up.begin(Step::Joining);
        (Self { main, thread }, recovered, loading)
    }

    /// Has the thread run `main`.
    fn start(self, main: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let sent = self.main.send(Box::new(main));
        assert!(sent.is_ok(), "the commit thread has ended");
        self.thread
    }
}
