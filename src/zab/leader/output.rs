//! What a leader is made with, and what it asks of its caller.

use crate::proto::{Epoch, Id, OpCode, ServerId, SessionId, Zxid};
use crate::zab::LinkId;
use crate::zab::configuration::Configurations;
use crate::zab::message::MessageError;
use bytes::Bytes;

/// Most connections that have not said who they are; the oldest is closed when there is another.
pub const STRANGERS_MAX: usize = 64;

/// Epochs as they are on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch that this server has promised to follow: it listens to no leader of an earlier one.
    pub accepted: Epoch,
    /// The epoch of the leader that this server was last in step with.
    pub current: Epoch,
}

/// What leaders and learners know of the ensemble, and how long they wait.
#[derive(Clone, Debug)]
pub struct Membership {
    /// This server.
    pub sid: ServerId,
    /// The servers that vote, and which sets of them decide.
    pub configs: Configurations,
    /// True if configurations change while servers run, and a leader gives a version to one that has none:
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// Length of a tick, in milliseconds.
    pub tick_ms: i64,
    /// How long a learner may take to connect and get up to date, in milliseconds.
    pub init_ms: i64,
    /// How long either side may be silent after that, in milliseconds.
    pub sync_ms: i64,
    /// Most trees that are on their way to learners at a time; an observer that would need one more comes again later.
    pub snaps_max: usize,
    /// True if every learner gets the whole tree.
    pub always_snap: bool,
    /// For the simulator: speaks to other servers as ZooKeeper's own server does, and is as strict.
    pub as_java: bool,
}

/// What a learner asks of the commit side.
#[derive(Debug)]
pub enum Asked {
    /// A client's write, sync or closeSession.
    Request {
        /// The client's session.
        session_id: SessionId,
        /// The client's number for the request.
        cxid: i32,
        /// The operation.
        op: OpCode,
        /// Its record.
        body: Vec<u8>,
        /// The ids that the client has proved.
        ids: Vec<Id>,
    },
    /// A client opens a session.
    CreateSession {
        /// The new session.
        session_id: SessionId,
        /// The negotiated timeout in milliseconds.
        timeout_ms: i32,
    },
    /// A client attaches to its session.
    Revalidate {
        /// The session.
        session_id: SessionId,
        /// The timeout in milliseconds, negotiated anew.
        timeout_ms: i32,
    },
    /// These sessions gave a sign of life.
    Touched(Vec<SessionId>),
}

/// What the caller must do, in this order.
#[derive(Debug)]
pub enum LeaderOutput {
    /// Send these bytes to a learner.
    Send(LinkId, Bytes),
    /// End a connection.
    Close(LinkId, CloseLearner),
    /// Make these durable before anything that comes after.
    SaveEpochs(Epochs),
    /// The same, and elections are held with these from here on.
    Configure(Configurations),
    /// A learner needs the whole tree: [`Leader::image_begun`](super::Leader::image_begun) takes the zxid that the tree is
    /// as of.
    Image(LinkId),
    /// Send the tree, here in the learner's stream.
    SendImage(LinkId),
    /// A learner's log ends at this zxid, before the history begins: search the log for it.
    /// [`Leader::found`](super::Leader::found) takes the answer.
    FindInLog(LinkId, Zxid),
    /// A learner lacks more than the history holds: read txns of the log after this zxid, oldest first, about
    /// [`WINDOW_BYTES`](super::WINDOW_BYTES) at most. [`Leader::log_read`](super::Leader::log_read) takes them.
    ReadLog(LinkId, Zxid),
    /// A learner in step takes less than is proposed.
    Lags(Lag),
    /// The synchronization of a learner begins or has ended: something to count.
    Syncing {
        /// True if the learner gets the tree, false if it gets the txns that it lacks.
        is_snap: bool,
        /// True if it begins.
        begins: bool,
        /// How many learners are synchronized in the same way now.
        under_way: u64,
    },
    /// A quorum follows: the epoch begins.
    Established(Epoch),
    /// A learner asks. The number names the learner until its connection ends.
    Asked(u32, Asked),
    /// This server leads no longer.
    Lost(LostLead),
}

/// How far a learner is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The learner.
    pub sid: ServerId,
    /// Newest txn that was sent to it.
    pub sent: Zxid,
    /// Newest txn.
    pub last: Zxid,
    /// For how long, in milliseconds.
    pub for_ms: i64,
}

/// Why a leader closes a learner's connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseLearner {
    /// The bytes are no packet.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// A packet came that the protocol does not allow at this point.
    #[error("packet of type {0} is not expected now")]
    Unexpected(i32),
    /// The learner's configuration is newer.
    #[error("its configuration has version {theirs:#x}, this server's has {ours:#x}")]
    ConfigAhead {
        /// The learner's version.
        theirs: i64,
        /// This server's version.
        ours: i64,
    },
    /// The learner's log goes further than the leader's: the learner should have been elected.
    #[error("its log reaches epoch {epoch}, zxid {zxid}, further than this leader's")]
    Ahead {
        /// The learner's current epoch.
        epoch: i32,
        /// The end of its log.
        zxid: Zxid,
    },
    /// The learner was in step with a leader that this ensemble never had.
    #[error(
        "server {sid} has data of epoch {theirs}, and this leader's is {ours}: is that another ensemble's? Without its \
         data directory it gets this one's"
    )]
    Foreign {
        /// The learner.
        sid: ServerId,
        /// The epoch that it votes with.
        theirs: i64,
        /// This leader's epoch.
        ours: Epoch,
    },
    /// The observer has txns that this server, its master, has not committed: another server has them.
    #[error(
        "its log reaches zxid {zxid}, and this server, which is no leader, has committed through {committed}"
    )]
    AheadOfMaster {
        /// The end of the observer's log.
        zxid: Zxid,
        /// What this server knows to be committed.
        committed: Zxid,
    },
    /// Nothing came from the learner.
    #[error("nothing heard of it for {0} ms")]
    Silent(i64),
    /// The connection has not said whose it is, and too many others came.
    #[error("{STRANGERS_MAX} connections have not said who they are")]
    Crowded,
    /// An observer needs the tree while as many trees as allowed are on their way.
    #[error("observer {sid} has to wait: trees_on_their_way={snaps} (leader.maxConcurrentSnapSyncs)")]
    Throttled {
        /// The observer.
        sid: ServerId,
        /// How many trees are on their way.
        snaps: usize,
    },
    /// The same server has connected again.
    #[error("server {0} has connected again")]
    Replaced(ServerId),
    /// The log no longer has what the learner lacks.
    #[error(
        "server {sid} lacks txns after {after}, which the log cannot give: {why}; it comes again and gets the tree"
    )]
    LogGone {
        /// The learner.
        sid: ServerId,
        /// Newest txn that was sent to it.
        after: Zxid,
        /// Why the log gave nothing.
        why: String,
    },
    /// The learner acknowledged a txn that was never proposed.
    #[error("server {sid} acknowledges {zxid}, and the last proposal is {last}")]
    Unproposed {
        /// The learner.
        sid: ServerId,
        /// The zxid that it acknowledged.
        zxid: Zxid,
        /// The last proposal.
        last: Zxid,
    },
}

impl CloseLearner {
    /// The kind of reason, without its values: events of one kind are counted together.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Message(_) | Self::Unexpected(_) => "no learner's message",
            Self::ConfigAhead { .. } => "newer configuration",
            Self::Ahead { .. } | Self::Foreign { .. } => "data that this ensemble does not have",
            Self::AheadOfMaster { .. } => "further than its master",
            Self::Silent(_) => "silent",
            Self::Crowded => "too many strangers",
            Self::Throttled { .. } => "has to wait",
            Self::Replaced(_) => "connected again",
            Self::LogGone { .. } => "log is gone",
            Self::Unproposed { .. } => "acknowledges what was not proposed",
        }
    }
}

/// Why a leader stops leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostLead {
    /// No quorum came in time.
    #[error("no quorum follows after {0} ms")]
    NotEstablished(i64),
    /// The followers go to the leader that a reconfiguration designates, or to which this one hands over.
    #[error("server {0} leads from here on")]
    HandedOver(ServerId),
    /// The configuration with which the epoch began has this server in another role, or at another address.
    #[error("this server does not lead in the configuration with which its epoch began")]
    Removed,
    /// The quorum went away.
    #[error("no quorum follows any more: connections ended, or nothing came for {0} ms (syncLimit)")]
    NoQuorum(i64),
    /// A voter has promised a later epoch and can never follow this leader.
    #[error("server {sid} has promised epoch {promised} to a leader that came to nothing; this is {epoch}")]
    Promised {
        /// The voter.
        sid: ServerId,
        /// The epoch that it accepted.
        promised: Epoch,
        /// This leader's epoch.
        epoch: Epoch,
    },
}
