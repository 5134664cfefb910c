//! zoo.cfg, its dynamic file, `myid`, JVM flags and command line into one checked [`Config`].
//!
//! ```text
//! built in (without a file) ─┐
//! JVMFLAGS -Dzookeeper.x=y ──┤  settings, later ones win   checked      Config
//! zoo.cfg ───────────────────┼───────────────────────────▶ by key  ───▶ Findings (error, warning, note)
//! command line ──────────────┘                                          Settings (for `zkfast check`)
//! ```
//!
//! A file means to zkfast what it means to Java (`QuorumPeerConfig` and `java.util.Properties`, 3.9.4),
//! except where [`docs`] says otherwise; unknown keys are warned of and stop nothing. A [`Loader`] reads files,
//! so this module sees no file system and no environment.
//!
//! One table, `keys.rs`, has name, default, limits and meaning of every key, and the text that says why one is refused or
//! has no effect. `read/fate.rs` picks that text, `reading.rs` says what is wrong with a value, `check.rs` prints both. No
//! other file repeats a default.

mod check;
mod client;
mod cores;
mod ensemble;
mod finding;
mod jaas;
#[cfg(test)]
mod java_cases;
mod key;
mod keys;
mod number;
pub mod properties;
mod read;
mod reading;
mod sasl;
mod suggest;
mod tls;

use crate::auth::sasl::SaslPolicy;
use crate::auth::{DigestAlgorithm, EnsembleNames};
use crate::tree::ExtendedTypes;
use std::io;
use std::path::PathBuf;

pub use check::{Checked, check, check_report, defaults};
pub use client::{ClientConfig, ClientIdentity, ClientSasl, ServerPrincipal, client_config};
pub use cores::{CORE_NUMBER_MAX, CORES_MAX, CoresError, parse_cores};
pub use ensemble::{ClientAddress, Ensemble, ParseError, PeerAddress, Role, Server};
pub use finding::{Finding, Origin, Severity};
pub use keys::keys_as_markdown;
pub use read::{Loaded, Setting, Verdict, load};
pub use sasl::{KerberosConfig, QuorumLogin, QuorumSasl};
pub use suggest::suggestion;
pub use tls::{ClientAuth, Password, Secret, StoreConfig, StoreKind, TlsConfig, TlsVersions};

#[doc = "[operating]: crate::docs::operating\n\n"]
#[doc = include_str!("../docs/configuration.md")]
pub mod docs {}

/// How configuration files are read; the shell brings one that knows the disk.
pub trait Loader {
    /// The bytes of a file.
    ///
    /// # Errors
    /// What the system says; the finding shows it with the path.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// True if there is a plain file at `path`.
    fn is_file(&self, path: &str) -> bool;

    /// False if other users of the host may read or write the file at `path`.
    fn is_private(&self, path: &str) -> bool {
        let _ = path;
        true
    }

    /// Looks whether a host name has an address now.
    ///
    /// # Errors
    /// What the system says; the finding shows it with the name.
    fn resolve(&self, host: &str) -> io::Result<()> {
        let _ = host;
        Ok(())
    }

    /// What keeps a server with `config` from starting on this host though the settings themselves are right: each with
    /// its key or flag, or an empty text. Makes nothing.
    fn obstacles(&self, config: &Config) -> Vec<(&'static str, String)> {
        let _ = config;
        Vec::new()
    }
}

/// Everything a configuration comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// Path of zoo.cfg; without one, zkfast starts standalone on the settings that the key table has for that.
    pub file: Option<&'a str>,
    /// Environment variables with JVM flags and their contents: `("JVMFLAGS", "-Dzookeeper.skipACL=yes")`.
    pub jvm_flags: &'a [(&'static str, &'a str)],
    /// The command line.
    pub overrides: Option<&'a Overrides>,
}

/// What the command line says; it wins over the file, and is checked by the same rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--client-port`
    pub client_port: Option<u16>,
    /// `--client-port-address`
    pub client_port_address: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<String>,
    /// `--data-log-dir`
    pub data_log_dir: Option<String>,
    /// `--tick-time`, ms
    pub tick_time_ms: Option<u32>,
    /// `--max-client-cnxns`
    pub max_client_cnxns: Option<u32>,
    /// `--four-letter-words`, as `4lw.commands.whitelist`
    pub four_letter_words: Option<String>,
    /// `--cores`, see [`parse_cores`]
    pub cores: Option<String>,
    /// `--engine`, see [`Engine`]
    pub engine: Option<String>,
    /// `--set KEY=VALUE`, any key of zoo.cfg
    pub set: Vec<String>,
}

/// What the shards' executors stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// epoll: what every kernel and container allows.
    Epoll,
    /// io_uring: in most loads less CPU than epoll. Before Linux 6.1 through glommio, with more CPU.
    Uring,
}

impl Engine {
    /// Its name for `--engine` and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Which four-letter words are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FourLetterWords {
    all: bool,
    words: Vec<String>,
}

impl FourLetterWords {
    /// True if `word` is answered; case matters.
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.words.iter().any(|w| w == word)
    }

    /// The words named, or `None` for all of them.
    pub fn words(&self) -> Option<&[String]> {
        if self.all { None } else { Some(&self.words) }
    }
}

/// The HTTP server. Source: `JettyAdminServer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// `admin.enableServer`
    pub enabled: bool,
    /// TLS of HTTPS; `None` where neither `admin.portUnification` nor `admin.forceHttps` asks for it
    pub tls: Option<TlsConfig>,
    /// `admin.forceHttps`: no HTTP without TLS
    pub force_https: bool,
    /// `admin.serverAddress`, a name or an address; without a file that of clients
    pub address: String,
    /// `admin.serverPort`; 0 lets the system choose
    pub port: u16,
    /// `admin.commandURL`, with a slash before it and none after it
    pub command_url: String,
    /// `admin.idleTimeout`
    pub idle_timeout_ms: u32,
    /// `admin.snapshot.enabled`
    pub snapshot_enabled: bool,
    /// `admin.restore.enabled`
    pub restore: Restore,
    /// `admin.rateLimiterIntervalInMS`
    pub rate_limiter_interval_ms: u32,
    /// `IPAuthenticationProvider.usexforwardedfor`
    pub trusts_forwarded_for: bool,
    /// `admin.console.enabled`: a page at `/`, and what it asks
    pub console: bool,
    /// What its commands show of the sources, without secrets
    pub shown: Shown,
}

/// Who may replace all data by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// No client.
    Off,
    /// Who may do everything at the root, unless that is everybody: by default the root is open and HTTP is served on every
    /// address.
    UnlessOpen,
    /// Who may do everything at the root.
    On,
}

/// The sources as people may see them: secrets stand there as `***`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The file as it was read; `None` without one.
    pub file: Option<String>,
    /// What Java has as system properties, by name: each key that is read as one, or is none of ZooKeeper's.
    pub properties: Vec<(String, String)>,
    /// What became of each setting.
    pub settings: Vec<Setting>,
}

/// The metrics provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// `metricsProvider.className` is ZooKeeper's Prometheus provider
    pub prometheus: bool,
    /// `metricsProvider.httpHost`
    pub http_host: String,
    /// `metricsProvider.httpPort`
    pub http_port: u16,
    /// `metricsProvider.exportJvmInfo`: the page has metrics of the process
    pub export_jvm_info: bool,
}

/// What is read for ensembles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// Server, group and weight lines.
    pub ensemble: Ensemble,
    /// Number in `dataDir/myid`; `None` without the file.
    pub my_id: Option<i64>,
    /// `dynamicConfigFile`
    pub dynamic_config_file: Option<String>,
    /// `-Dzookeeper.multiAddress.enabled`: a server line may give several addresses.
    pub multi_address: bool,
    /// zoo.cfg, where it or its dynamic file has all lines of the ensemble; `None` where flags give some, or there are none
    pub lines_file: Option<String>,
    /// `peerType`, or what the server line of `my_id` says
    pub peer_type: Role,
    /// `initLimit`, ticks; 0 is unset
    pub init_limit_ticks: i32,
    /// `syncLimit`, ticks; 0 is unset
    pub sync_limit_ticks: i32,
    /// `quorumListenOnAllIPs`
    pub listen_on_all_ips: bool,
    /// `sslQuorum`: connections to other servers have TLS
    pub ssl: bool,
    /// `portUnification`: other servers may connect with or without TLS
    pub port_unification: bool,
    /// TLS between servers; `None` where neither of the two above asks for it
    pub tls: Option<TlsConfig>,
    /// `tcpKeepAlive`, between servers
    pub tcp_keep_alive: bool,
    /// `commitLogCount`: txns at the log's end that a start reads back for followers
    pub commit_log_count: u32,
    /// `leader.maxConcurrentSnapSyncs`: with so many trees under way, the leader sends further observers away
    pub max_concurrent_snap_syncs: u32,
    /// `forceSnapshotSync`: every learner that joins gets the whole tree
    pub force_snapshot_sync: bool,
    /// `db.autocreate`: a member whose data directory is empty votes
    pub db_autocreate: bool,
    /// `observerMasterPort`: followers serve observers there; `None` where all observers connect to the leader
    pub observer_master_port: Option<u16>,
    /// `observerMaster.sizeLimit`: bytes of txns that a follower keeps for observers
    pub observer_master_bytes: u32,
    /// `observer.reconnectDelayMs`
    pub observer_reconnect_delay_ms: u64,
    /// `leaderServes`: a server that leads serves clients
    pub leader_serves: bool,
    /// `oraclePath`: file that begins with 1 where this server of two may lead without the other one
    pub oracle_path: Option<String>,
    /// `electionPortBindRetry`: tries to bind the election port, a second apart; `None` is without end
    pub election_port_tries: Option<u32>,
}

/// Schemes of authentication that keys turn on or off. Scheme sasl is in [`Config::sasl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// `DigestAuthenticationProvider.enabled`, or `authProvider.*` names that class
    pub digest: bool,
    /// `authProvider.*` names `X509AuthenticationProvider`: lists may have entries of scheme x509 without TLS, too
    pub x509: bool,
    /// `authProvider.*` names `KeyAuthenticationProvider`
    pub key: bool,
    /// `ensembleAuthName`, where `authProvider.*` names `EnsembleAuthenticationProvider`
    pub ensemble: Option<EnsembleNames>,
}

/// What a member of an ensemble does without asking its leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByItself {
    /// `localSessionsEnabled`
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`
    pub upgrades_sessions: bool,
    /// `readonlymode.enabled`
    pub read_only_mode: bool,
}

/// The server's settings, checked. Names are those of zoo.cfg, units are in the names; defaults and limits are in the
/// table of [`docs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `clientPort`; `None` where a member of an ensemble has none
    pub client_port: Option<u16>,
    /// `clientPortAddress`, a name or an address; `None` is every interface
    pub client_port_address: Option<String>,
    /// `secureClientPort`: clients with TLS
    pub secure_client_port: Option<u16>,
    /// `secureClientPortAddress`, a name or an address; `None` is every interface
    pub secure_client_port_address: Option<String>,
    /// `client.portUnification`: `clientPort` takes clients with TLS, too
    pub client_port_unification: bool,
    /// TLS for clients; `None` where neither of the two above asks for it
    pub client_tls: Option<TlsConfig>,
    /// `clientPortListenBacklog`; `None` leaves it to the shell
    pub client_port_listen_backlog: Option<u32>,
    /// `dataDir`
    pub data_dir: PathBuf,
    /// `dataLogDir`, or `data_dir`
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: create missing directories
    pub data_dir_autocreate: bool,
    /// `tickTime`
    pub tick_time_ms: u32,
    /// `minSessionTimeout`, signed as on the wire: a negative one bounds nothing
    pub min_session_timeout_ms: i32,
    /// `maxSessionTimeout`
    pub max_session_timeout_ms: i32,
    /// `maxClientCnxns`, connections from one address; 0 is no limit
    pub max_client_cnxns: u32,
    /// `maxCnxns`, connections in all; 0 is no limit
    pub max_cnxns: u32,
    /// `nio.sessionlessCnxnTimeout`: a connection without a session is closed after it
    pub sessionless_cnxn_timeout_ms: u32,
    /// `clientTcpKeepAlive`
    pub client_tcp_keep_alive: bool,
    /// `globalOutstandingLimit`: requests in progress above which sockets are not read
    pub global_outstanding_limit: u32,
    /// `jute.maxbuffer`: longest frame from a client
    pub jute_max_buffer_bytes: u32,
    /// `snapCount`: transactions between snapshots, at least 2
    pub snap_count: u32,
    /// `snapSizeLimitInKb`: log between snapshots, KiB; 0 is no limit
    pub snap_size_limit_kb: u64,
    /// `autopurge.snapRetainCount`: snapshots that purging keeps
    pub snap_retain_count: u32,
    /// `autopurge.purgeInterval`; 0 is never
    pub purge_interval_hours: u32,
    /// `4lw.commands.whitelist`
    pub four_letter_words: FourLetterWords,
    /// `skipACL`
    pub skip_acl: bool,
    /// `extendedTypesEnabled` and `emulate353TTLNodes`: TTL nodes, and those of 3.5.3
    pub extended_types: ExtendedTypes,
    /// `enforceQuota`: hard quotas
    pub enforce_quota: bool,
    /// `digest.enabled`: tree digest
    pub digest_enabled: bool,
    /// `snapshot.trust.empty`: ZooKeeper's log without a snapshot is taken over
    pub snapshot_trust_empty: bool,
    /// `closeSessionTxn.enabled`: closeSession txns list the ephemerals they delete
    pub close_session_txn_enabled: bool,
    /// `DigestAuthenticationProvider.superDigest`, `user:hash`
    pub super_digest: Option<String>,
    /// `DigestAuthenticationProvider.digestAlg`
    pub digest_alg: DigestAlgorithm,
    /// Schemes of authentication that keys turn on or off
    pub schemes: Schemes,
    /// `enforce.auth.enabled` and `enforce.auth.schemes`, or `sessionRequireClientSASLAuth`: a session must authenticate by one of these
    /// before anything else; `None` is off
    pub enforce_auth_schemes: Option<Vec<String>>,
    /// SASL of clients: the JAAS file's section for the server, and the keys of scheme `sasl`
    pub sasl: SaslPolicy,
    /// What Kerberos finds on the host
    pub kerberos: KerberosConfig,
    /// `quorum.auth.*`: SASL between servers; `None` where it is off
    pub quorum_sasl: Option<QuorumSasl>,
    /// `znode.container.checkIntervalMs`
    pub container_check_interval_ms: u32,
    /// `znode.container.maxPerMinute`
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; 0 is never
    pub container_max_never_used_interval_ms: u64,
    /// `standaloneEnabled`
    pub standalone_enabled: bool,
    /// `reconfigEnabled`
    pub reconfig_enabled: bool,
    /// what a member of an ensemble does by itself
    pub by_itself: ByItself,
    /// `audit.enable`: the log has lines of target `audit`
    pub audit_enabled: bool,
    /// `zkfast.slowRequestThresholdMs`; 0 is off
    pub slow_request_ms: u32,
    /// `zkfast.traceOneIn`; 0 is off
    pub trace_one_in: u32,
    /// The server holds private keys or passwords, and `zkfast.allowCoreDumps` is not true: the process leaves no core dump
    pub core_dumps_off: bool,
    /// `--cores`: the CPU of each shard; `None` leaves number and places to the shell
    pub cores: Option<Vec<usize>>,
    /// `--engine`; `None` leaves it to the shell, which knows the kernel
    pub engine: Option<Engine>,
    /// What is read for ensembles
    pub quorum: QuorumConfig,
    /// The HTTP AdminServer
    pub admin: AdminConfig,
    /// The metrics provider
    pub metrics: MetricsConfig,
}

impl Config {
    /// True for a member of an ensemble, be it of one; false for a standalone server.
    pub fn is_distributed(&self) -> bool {
        !self.standalone_enabled || self.quorum.ensemble.participants() > 1
    }

    /// Ports on which HTTP is served: the AdminServer's, and that of the metrics provider.
    pub fn http_ports(&self) -> usize {
        usize::from(self.admin.enabled) + usize::from(self.metrics.prometheus)
    }
}
