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
//! except where [`docs`] says otherwise; unknown keys are warned of and stop nothing. Files are read
//! through a [`Loader`], so this module sees no file system and no environment.

mod check;
mod cores;
mod ensemble;
mod finding;
#[cfg(test)]
mod java_cases;
mod keys;
mod number;
pub mod properties;
mod read;
mod suggest;

use crate::auth::DigestAlgorithm;
use crate::tree::ExtendedTypes;
use std::io;
use std::path::PathBuf;

pub use check::{Checked, check, check_report};
pub use cores::{CORE_NUMBER_MAX, CORES_MAX, CoresError, parse_cores};
pub use ensemble::{ClientAddress, Ensemble, PeerAddress, Role, Server};
pub use finding::{Finding, Origin, Severity};
pub use keys::keys_as_markdown;
pub use read::{Loaded, Setting, Verdict, load};
pub use suggest::suggestion;

#[doc = "[operating]: crate::docs::operating\n\n"]
#[doc = include_str!("../docs/configuration.md")]
pub mod docs {}

/// How configuration files are read; the shell brings one that knows the disk.
pub trait Loader {
    /// The bytes of a file.
    ///
    /// # Errors
    /// Whatever the system says; the message is shown with the path.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// Whether there is a plain file at `path`.
    fn is_file(&self, path: &str) -> bool;

    /// Whether a host name has an address now.
    ///
    /// # Errors
    /// What the system says.
    fn resolve(&self, host: &str) -> io::Result<()> {
        let _ = host;
        Ok(())
    }

    /// What keeps a server with `config` from starting on this host, though nothing is wrong with the settings themselves:
    /// each with its key or flag, which may be empty. Makes nothing.
    fn obstacles(&self, config: &Config) -> Vec<(&'static str, String)> {
        let _ = config;
        Vec::new()
    }
}

/// Everything a configuration comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// Path of zoo.cfg; without one, zkfast starts standalone on its own defaults.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// epoll: less CPU than the other, half of it where requests come alone, and what every container allows.
    #[default]
    Epoll,
    /// io_uring, through glommio.
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
    /// Without the key: Java answers `srvr` alone, which leaves probes and dashboards in the dark.
    pub const DEFAULT: [&'static str; 5] = ["srvr", "ruok", "mntr", "conf", "isro"];

    /// Whether `word` is answered; case matters.
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.words.iter().any(|w| w == word)
    }

    /// The words named, or `None` for all of them.
    pub fn words(&self) -> Option<&[String]> {
        if self.all { None } else { Some(&self.words) }
    }
}

/// The HTTP AdminServer: read and checked, not served yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// `admin.enableServer`, true
    pub enabled: bool,
    /// `admin.serverAddress`, 0.0.0.0
    pub address: String,
    /// `admin.serverPort`, 8080
    pub port: u16,
    /// `admin.commandURL`, /commands
    pub command_url: String,
}

/// The metrics provider: read and checked, not served yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// `metricsProvider.className` is ZooKeeper's Prometheus provider; false by default
    pub prometheus: bool,
    /// `metricsProvider.httpHost`, 0.0.0.0
    pub http_host: String,
    /// `metricsProvider.httpPort`, 7000
    pub http_port: u16,
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
    /// `peerType`, or what the server line of `my_id` says
    pub peer_type: Role,
    /// `initLimit`, ticks; 0 is unset
    pub init_limit_ticks: i32,
    /// `syncLimit`, ticks; 0 is unset
    pub sync_limit_ticks: i32,
    /// `quorumListenOnAllIPs`; false
    pub listen_on_all_ips: bool,
    /// `tcpKeepAlive`, between servers; false
    pub tcp_keep_alive: bool,
    /// `commitLogCount`: txns at the log's end that a start reads back for followers; 500, never less
    pub commit_log_count: u32,
    /// `leader.maxConcurrentSnapSyncs`: observers beyond so many trees under way are sent away; 10
    pub max_concurrent_snap_syncs: u32,
    /// `forceSnapshotSync`: whoever joins gets the whole tree; false
    pub force_snapshot_sync: bool,
    /// `db.autocreate`: a member whose data directory is empty votes; true
    pub db_autocreate: bool,
    /// `electionPortBindRetry`: tries to bind the election port, a second apart; 3, `None` is without end
    pub election_port_tries: Option<u32>,
}

/// The server's settings, checked. Names are those of zoo.cfg, units are in the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `clientPort`; `None` where a member of an ensemble has none, 2181 without a file
    pub client_port: Option<u16>,
    /// `clientPortAddress`, a name or an address; `None` is every interface
    pub client_port_address: Option<String>,
    /// `clientPortListenBacklog`; `None` leaves it to the shell
    pub client_port_listen_backlog: Option<u32>,
    /// `dataDir`; `zkfast-data` in the current directory without a file
    pub data_dir: PathBuf,
    /// `dataLogDir`; `data_dir` by default
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: create missing directories; true
    pub data_dir_autocreate: bool,
    /// `tickTime`; 3000 with a file as in Java, 2000 without
    pub tick_time_ms: u32,
    /// `minSessionTimeout`; two ticks. Signed as on the wire: a negative one bounds nothing
    pub min_session_timeout_ms: i32,
    /// `maxSessionTimeout`; twenty ticks
    pub max_session_timeout_ms: i32,
    /// `maxClientCnxns`, connections from one address; 60, 0 is no limit
    pub max_client_cnxns: u32,
    /// `maxCnxns`, connections in all; 0 is no limit
    pub max_cnxns: u32,
    /// `nio.sessionlessCnxnTimeout`: a connection without a session is closed after it; 10000
    pub sessionless_cnxn_timeout_ms: u32,
    /// `clientTcpKeepAlive`; false
    pub client_tcp_keep_alive: bool,
    /// `globalOutstandingLimit`: requests in progress above which sockets are not read; 1000
    pub global_outstanding_limit: u32,
    /// `jute.maxbuffer`: longest frame from a client; 0xFFFFF
    pub jute_max_buffer_bytes: u32,
    /// `snapCount`: transactions between snapshots; 100000, at least 2
    pub snap_count: u32,
    /// `snapSizeLimitInKb`: log between snapshots, KiB; 4 GiB, 0 is no limit
    pub snap_size_limit_kb: u64,
    /// `autopurge.snapRetainCount`; 3, never less
    pub snap_retain_count: u32,
    /// `autopurge.purgeInterval`; 1 (Java: 0), 0 is never
    pub purge_interval_hours: u32,
    /// `4lw.commands.whitelist`
    pub four_letter_words: FourLetterWords,
    /// `skipACL`; false
    pub skip_acl: bool,
    /// `extendedTypesEnabled` and `emulate353TTLNodes`: TTL nodes, and those of 3.5.3; off
    pub extended_types: ExtendedTypes,
    /// `enforceQuota`: hard quotas; false
    pub enforce_quota: bool,
    /// `digest.enabled`: tree digest; true
    pub digest_enabled: bool,
    /// `snapshot.trust.empty`: ZooKeeper's log without a snapshot is taken over; false
    pub snapshot_trust_empty: bool,
    /// `closeSessionTxn.enabled`; true
    pub close_session_txn_enabled: bool,
    /// `DigestAuthenticationProvider.superDigest`, `user:hash`
    pub super_digest: Option<String>,
    /// `DigestAuthenticationProvider.digestAlg`; SHA1
    pub digest_alg: DigestAlgorithm,
    /// `DigestAuthenticationProvider.enabled`; true
    pub digest_auth_enabled: bool,
    /// `enforce.auth.enabled` and `enforce.auth.schemes`: a session must authenticate by one of these
    /// before anything else; `None` is off
    pub enforce_auth_schemes: Option<Vec<String>>,
    /// `znode.container.checkIntervalMs`; 60000
    pub container_check_interval_ms: u32,
    /// `znode.container.maxPerMinute`; 10000
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; 0 is never
    pub container_max_never_used_interval_ms: u64,
    /// `standaloneEnabled`; true
    pub standalone_enabled: bool,
    /// `reconfigEnabled`; false
    pub reconfig_enabled: bool,
    /// `readonlymode.enabled`; false
    pub read_only_mode_enabled: bool,
    /// `--cores`: the CPU of each shard; `None` leaves it to the shell
    pub cores: Option<Vec<usize>>,
    /// `--engine`; epoll
    pub engine: Engine,
    /// Ensembles
    pub quorum: QuorumConfig,
    /// AdminServer
    pub admin: AdminConfig,
    /// Metrics provider
    pub metrics: MetricsConfig,
}

impl Config {
    /// Whether it is a member of an ensemble, be it of one; otherwise it is standalone.
    pub fn is_distributed(&self) -> bool {
        !self.standalone_enabled || self.quorum.ensemble.participants() > 1
    }
}
