#![doc = include_str!("../docs/four-letter-words.md")]
//!
//! Nothing here asks for anything: the shell gathers a [`Status`] and gets bytes for it.

mod audit;
mod commands;
pub(crate) mod date;
mod ensemble;
mod facts;
mod field;
mod figures;
mod health;
mod histogram;
pub mod json;
mod metrics;
mod operation;
mod prometheus;
mod render;
mod top;
mod trace;
mod words;

pub use audit::{AUDIT_TARGET, AuditEvent, AuditResult};
pub use commands::{Command, Shedding, links, no_answer, unknown};
pub use ensemble::ensemble;
pub use facts::{Facts, Member};
pub use field::Text;
pub use health::{Health, Progress, Step, live, ready, started};
pub use histogram::{Histogram, Merge, Summary};
pub(crate) use metrics::namespace;
pub use metrics::{
    Counters, LastMinMax, Latencies, Metrics, NAMESPACES_MAX, Namespaces, Sizes, Times, Words,
};
pub(crate) use operation::{ATTACH_SESSION, operation_name};
pub use operation::{Operations, Unmeasured};
pub use prometheus::{CONTENT_TYPE, Exporter, metrics_as_markdown};
pub use render::{last_op, render};
pub use top::{HotPath, LargeZnodes};
pub use trace::{TRACE_PATH_BYTES_MAX, TRACES_KEPT, Trace, Traces};
pub use words::{FourLetterWord, Whitelist};

use crate::config::Ensemble;
use crate::proto::{SessionId, Zxid};
use crate::watch;
use std::collections::BTreeMap;

/// The version in `srvr`, `stat`, `mntr` and `envi`: ZooKeeper's that is spoken first, for
/// the tools that read a number there, then ours. `built_on` is like `2026-08-19 19:53 UTC`.
pub fn version(built_on: &str) -> String {
    format!("3.9.4-zkfast-{}, built on {built_on}", env!("CARGO_PKG_VERSION"))
}

/// What the server does in its ensemble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // ZooKeeper's names
pub enum Mode {
    #[default]
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl Mode {
    /// The word that tools look for after `Mode: `.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
        }
    }
}

/// Everything that a four-letter word may show. What only one word shows may be left empty for the
/// others; the field's doc names that word. Times ending in `wall_ms` are milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// As [`version`] writes it.
    pub version: String,
    /// Whether requests are answered; most words have no figures before.
    pub serving: bool,
    /// What the server does in its ensemble.
    pub mode: Mode,
    /// What a leader knows of its learners.
    pub leader: Option<Leading>,
    /// The ensemble's active configuration.
    pub ensemble: Option<Ensemble>,
    /// Voters of the ensemble.
    pub quorum_size: Option<u64>,
    /// The server that an observer follows.
    pub observer_master_id: Option<i64>,
    /// The server that leads, of a member that serves.
    pub leader_id: Option<i64>,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Last zxid processed.
    pub zxid: Zxid,
    /// Requests from arrival to reply, in microseconds, since the start or `srst`.
    pub latency: Summary,
    /// What is there now.
    pub gauges: Gauges,
    /// What was counted and measured; `mntr`.
    pub metrics: Metrics,
    /// Quotas by the first component of their paths; `mntr`.
    pub quotas: BTreeMap<String, QuotaUse>,
    /// `conf`, and the sizes in it also for `dirs`.
    pub conf: Conf,
    /// Name and value of what describes process and machine, after the version; `envi`.
    pub environment: Vec<(String, String)>,
    /// How many observers a leader has in step, or a follower that serves observers.
    pub synced_observers: Option<u64>,
    /// These.
    pub observers: Vec<Observer>,
    /// All learners of a leader.
    pub learners: Vec<LearnerSeen>,
    /// Client connections, also without a session, and the one that asks; `stat`, `cons`, `dump`.
    pub connections: Vec<Connection>,
    /// Paths that many requests name, of each view; `cons`, which does not show them.
    pub hot_paths: Vec<HotPath>,
    /// The largest znodes, once a walk through the tree is over; `cons`.
    pub large_znodes: Option<LargeZnodes>,
    /// When sessions expire, in `wall_ms`, soonest first, and which; `dump` of the server that expires them.
    pub sessions: Vec<(i64, Vec<SessionId>)>,
    /// Sessions by id with their timeouts in milliseconds; `dump` of a follower or an observer, which expires none.
    pub learner_sessions: Option<Vec<(SessionId, i32)>>,
    /// `dump` of a server with local sessions: as [`Self::sessions`].
    pub local_sessions: Option<Vec<(i64, Vec<SessionId>)>>,
    /// Sessions and their ephemeral znodes; `dump`.
    pub ephemerals: Vec<(SessionId, Vec<Box<[u8]>>)>,
    /// `wchs`.
    pub watches: watch::Summary,
    /// Sessions and the paths that they watch; `wchc`.
    pub watches_by_session: Vec<(SessionId, Vec<Box<[u8]>>)>,
    /// Paths and the sessions that watch them; `wchp`.
    pub watches_by_path: Vec<(Box<[u8]>, Vec<SessionId>)>,
    /// Tree digests of some zxids, oldest first; `hash`.
    pub digests: Vec<(Zxid, u64)>,
    /// What `gtmk` shows and `stmk` has set; nothing else uses it.
    pub trace_mask: i64,
    /// What each view has to do, by its number; metrics.
    pub views: Vec<ViewLoad>,
    /// Requests to the admin port by command, since the start; metrics.
    pub http_requests: Vec<(&'static str, u64)>,
    /// What the kernel says of the process; `None` where metrics leave it out.
    pub process: Option<Process>,
    /// When the certificate that clients with TLS see expires, in seconds since 1970; `None` without TLS; metrics.
    pub certificate_expires_s: Option<i64>,
}

/// What a view has to do now, and has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewLoad {
    /// The view.
    pub number: u16,
    /// Client connections.
    pub connections: u64,
    /// Requests that wait for the commit side.
    pub outstanding_requests: u64,
    /// Watches.
    pub watches: u64,
    /// Requests that it has answered since the start.
    pub answered: u64,
}

/// What the kernel says of the process. Source: `StandardExports` of Prometheus's client for Java.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Seconds of CPU, of the process and of the kernel for it.
    pub cpu_seconds: f64,
    /// When it started, in seconds since 1970.
    pub start_time_seconds: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many may be open.
    pub max_fds: u64,
    /// Bytes of addresses that are in use.
    pub virtual_memory_bytes: u64,
    /// Bytes of memory that it has.
    pub resident_memory_bytes: u64,
    /// Seconds of CPU by the thread's name. Threads of one name are added up.
    pub threads: Vec<(String, f64)>,
}

/// The mask that `gtmk` shows until `stmk` sets another, 306. Source: `ZooTrace`.
pub const TRACE_MASK_DEFAULT: i64 = 0b1_0011_0010;

/// What is there now, under the names of `mntr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Frames and words from clients, since the start or `srst`.
    pub packets_received: u64,
    /// Frames to clients, since the start or `srst`.
    pub packets_sent: u64,
    /// Client connections.
    pub num_alive_connections: u64,
    /// Requests taken and not answered.
    pub outstanding_requests: u64,
    /// Znodes.
    pub znode_count: u64,
    /// Watches, of data and of children.
    pub watch_count: u64,
    /// Ephemeral znodes.
    pub ephemerals_count: u64,
    /// Bytes of all paths and data.
    pub approximate_data_size: u64,
    /// Sessions known to the ensemble.
    pub global_sessions: u64,
    /// Sessions that only this server knows.
    pub local_sessions: u64,
    /// Open file descriptors.
    pub open_file_descriptor_count: u64,
    /// How many may be open.
    pub max_file_descriptor_count: u64,
}

/// The figures of a leader only. Source: `LeaderZooKeeperServer.registerMetrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leading {
    /// Connections of learners.
    pub learners: u64,
    /// Followers with a vote that are in step.
    pub synced_followers: u64,
    /// Followers in step that have no vote: they are in no server line.
    pub synced_non_voting_followers: u64,
    /// Observers that are in step.
    pub synced_observers: u64,
    /// Syncs that wait for the ensemble to confirm the leader.
    pub pending_syncs: u64,
    /// Milliseconds since it leads.
    pub uptime_ms: u64,
}

/// A learner, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerSeen {
    /// Its number.
    pub sid: i64,
    /// Whether it has all that it needs to serve.
    pub is_in_step: bool,
    /// The newest txn that a follower has on disk, and that an observer was sent.
    pub last: Zxid,
    /// Milliseconds since something came from it.
    pub heard_ms_ago: u64,
}

/// An observer, as its leader sees it. Source: `LearnerHandler.getLearnerHandlerInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    /// Names its connection, for the shell.
    pub connection: u64,
    /// Where it is, which only the shell knows: `/127.0.0.1:55346`.
    pub peer: String,
    /// Its number.
    pub sid: i64,
    /// When it connected.
    pub established_wall_ms: i64,
    /// Packets that it has not taken.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Packets that came from it.
    pub received: u64,
    /// Packets that it has taken.
    pub sent: u64,
    /// Requests of its clients.
    pub requests: u64,
    /// The zxid of the newest packet that it has taken and that has one; -1 before the first.
    pub last_zxid: i64,
}

impl Observer {
    /// What has happened since `before`, which is of the same connection or of another one.
    pub fn since(mut self, before: &[Self]) -> Self {
        if let Some(before) = before.iter().find(|before| before.connection == self.connection) {
            let is_still = self.last_zxid == before.last_zxid;
            self.received -= before.received.min(self.received);
            self.sent -= before.sent.min(self.sent);
            self.requests -= before.requests.min(self.requests);
            self.last_zxid = if is_still { -1 } else { self.last_zxid };
        }
        self
    }
}

/// Quotas of one namespace, added up. Source: `QuotaMetricsUtils`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUse {
    /// The hard limit on znodes; the soft one where there is none.
    pub count_limit: i64,
    /// The hard limit on bytes; the soft one where there is none.
    pub bytes_limit: i64,
    /// Znodes.
    pub count: i64,
    /// Bytes of data.
    pub bytes: i64,
}

/// Bytes moved in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// First component of the paths.
    pub name: String,
    /// Bytes of path and data of each write.
    pub write: Histogram,
    /// Writes that a hard quota refused.
    pub quota_exceeded: u64,
}

/// What `conf` lists. Source: `ZooKeeperServer.dumpConf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// -1 if there is no such port.
    pub client_port: i32,
    /// -1 if there is no such port.
    pub secure_client_port: i32,
    /// Where snapshots are, absolute.
    pub data_dir: String,
    /// Bytes of its files.
    pub data_dir_bytes: u64,
    /// Where logs are, absolute.
    pub data_log_dir: String,
    /// Bytes of its files.
    pub data_log_bytes: u64,
    /// Milliseconds.
    pub tick_time_ms: i32,
    /// Connections from one address; 0 for any number.
    pub max_client_cnxns: i32,
    /// Milliseconds.
    pub min_session_timeout_ms: i32,
    /// Milliseconds.
    pub max_session_timeout_ms: i32,
    /// -1 for the system's.
    pub client_port_listen_backlog: i32,
    /// A member of an ensemble: what it lists after the rest, line by line.
    pub member: Vec<String>,
    /// 0 for a standalone server.
    pub server_id: i64,
}

/// A client's connection. Source: `ServerCnxn.dumpConnectionInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// `127.0.0.1:54398`, or `[0:0:0:0:0:0:0:1]:54398`: groups are not left out.
    pub peer: String,
    /// Interest in reading (1) and writing (4), as bits; 0 for the connection that asks.
    pub interest_ops: u8,
    /// Requests taken and not answered.
    pub queued: u64,
    /// Frames from the client.
    pub received: u64,
    /// Frames to the client.
    pub sent: u64,
    /// When it began.
    pub established_wall_ms: i64,
    /// When it is closed unless something comes, for `dump`.
    pub expires_wall_ms: i64,
    /// `None` before the handshake and for four-letter words.
    pub session: Option<ConnectionSession>,
}

/// What is known of a connection that has a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSession {
    /// Session id.
    pub id: SessionId,
    /// As [`last_op`] writes it; empty is shown as `NA`.
    pub last_op: &'static str,
    /// The session's timeout.
    pub timeout_ms: i32,
    /// xid of the last request; not shown if it is negative.
    pub last_cxid: i64,
    /// zxid in the last reply; -1 before the first.
    pub last_zxid: i64,
    /// When the last reply was sent, on a clock with any start; 0 before the first.
    pub last_response_ms: i64,
    /// The last latency, in microseconds.
    pub last_latency_us: u64,
    /// All latencies, in microseconds.
    pub latency: Summary,
}
