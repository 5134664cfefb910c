//! What happens to a member, as its log tells people.

use crate::admin::Text;
use crate::proto::Zxid;
use crate::zab::LinkId;
use crate::zab::election::Unwelcome;
use crate::zab::leader::{CloseLearner, Lag};

/// What happens to a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages are the documentation
pub enum Event {
    #[error("looking for a leader: zxid={zxid} epoch={epoch} served={served} why={}", Text(.why))]
    Looking { zxid: Zxid, epoch: u32, served: bool, why: String },
    #[error("to the next leader: leader={leader} zxid={zxid} epoch={epoch} why={}", Text(.why))]
    Changes { leader: i64, zxid: Zxid, epoch: u32, why: String },
    #[error("{}: heard={heard} of={of} silent={} for_s={for_s}", missing(*.is_quorum), Text(.silent))]
    Unserved { is_quorum: bool, heard: usize, of: usize, silent: String, for_s: i64 },
    #[error(
        "the others' data is older than this server's: leader={leader} epoch={theirs} own_epoch={ours} why={} do={}",
        Text("a majority of the servers seems to have lost its data"),
        Text("restore that; or give up what only this server has: start it with an empty data directory")
    )]
    Outdated { leader: i64, theirs: i64, ours: u32 },
    #[error("clients may read: zxid={zxid} confirmed={confirmed} why={}", Text("there is no leader"))]
    ReadOnly { zxid: Zxid, confirmed: bool },
    #[error("the oracle: allows={allows} then={}", Text(oracle_says(*.allows)))]
    Oracle { allows: bool },
    #[error(
        "another server has a later configuration: version={version:x} then={}",
        Text("this server takes it over")
    )]
    Adopted { version: i64 },
    #[error("reconfigured: version={version:x} role={role} voters={voters} servers={servers}")]
    Reconfigured { version: i64, role: &'static str, voters: usize, servers: usize },
    #[error("elected: leader={sid}")]
    Elected { sid: i64 },
    #[error("handing over: leader={sid}")]
    HandsOver { sid: i64 },
    #[error("not handed over: leader={sid} why={} then={}", Text(not_ready(*.is_gone)), Text("this server leads on"))]
    HandOverGivenUp { sid: i64, is_gone: bool },
    #[error("leading: epoch={epoch} zxid={zxid}")]
    Leading { epoch: u32, zxid: Zxid },
    #[error("following: leader={sid} epoch={epoch} zxid={zxid} sync={sync}")]
    Following { sid: i64, epoch: u32, zxid: Zxid, sync: &'static str },
    #[error(
        "the log cannot be cut where the leader says: leader={sid} after={to} then={}",
        Text("it is asked for everything")
    )]
    CannotTruncate { sid: i64, to: Zxid },
    #[error("learner in step: sid={sid} voter={voter} {redundancy}")]
    LearnerInStep { sid: i64, voter: bool, redundancy: Redundancy },
    #[error("learner lost: sid={sid} voter={voter} {redundancy} why={}", Text(.why))]
    LearnerLost { sid: i64, voter: bool, redundancy: Redundancy, why: String },
    #[error("observer in step: sid={sid}")]
    ObserverInStep { sid: i64 },
    #[error("observer lost: sid={sid} why={}", Text(.why))]
    ObserverLost { sid: i64, why: String },
    #[error("learner turned away: why={}", Text(.why))]
    LearnerLeft { link: LinkId, why: CloseLearner },
    #[error("connection to the election port ended: why={}", Text(.why))]
    Unwelcome { link: LinkId, why: Unwelcome },
    #[error(
        "a follower has no vote: sid={sid} why={} then={} do={}",
        Text("no server line of this server gives it one"),
        Text("it is served, and does not count for a quorum"),
        Text("give all servers the same server lines, and each its own myid")
    )]
    Unlisted { sid: i64 },
    #[error(
        "a learner takes less than is proposed: sid={} sent={} last={} for_ms={} then={}",
        .lag.sid, .lag.sent, .lag.last, .lag.for_ms, Text("is its disk or its network too slow?")
    )]
    LearnerLags { lag: Lag },
    #[error(
        "synchronising: leader={sid} sync={sync} bytes={bytes} took_ms={took_ms} bytes_per_s={rate} try={attempt}"
    )]
    Synchronising { sid: i64, sync: &'static str, bytes: u64, took_ms: i64, rate: u64, attempt: u32 },
    #[error("storing the leader's tree: leader={sid} znodes={znodes} took_ms={took_ms} try={attempt}")]
    Storing { sid: i64, znodes: usize, took_ms: i64, attempt: u32 },
    #[error(
        "not synchronised: leader={sid} sync={sync} bytes={bytes} took_ms={took_ms} try={attempt} why={}", Text(.why)
    )]
    SyncFailed { sid: i64, sync: &'static str, bytes: u64, took_ms: i64, attempt: u32, why: String },
    #[error("the leader's tree is another: why={}", Text(.why))]
    Digest { why: String },
    #[error(
        "a digest that another server predicted is wrong: why={} then={}", Text(.why),
        Text("ZooKeeper's own servers predict wrong ones; all are counted in digest_mismatches_count, one is told for \
            each leader")
    )]
    DigestHint { why: String },
}

/// What follows from what the oracle says.
fn oracle_says(allows: bool) -> &'static str {
    match allows {
        true => "this server may lead without the other one",
        false => "this server needs the other one",
    }
}

/// Why a server does not lead that was to.
fn not_ready(is_gone: bool) -> &'static str {
    match is_gone {
        true => "it is not in step any more, or may not lead",
        false => "it does not have all that was proposed in time",
    }
}

/// What a server that serves no client lacks.
fn missing(is_quorum: bool) -> &'static str {
    if is_quorum { "no leader" } else { "no quorum" }
}

/// How far a leader is from losing its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redundancy {
    /// Voters in step, the leader among them.
    pub in_step: usize,
    /// Voters.
    pub of: usize,
    /// Whether service goes on without any one of the followers in step.
    pub may_lose_one: bool,
}

impl std::fmt::Display for Redundancy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { in_step, of, may_lose_one } = self;
        write!(f, "in_step={in_step} of={of} may_lose_one={may_lose_one}")
    }
}

/// How much of an operator's attention an event is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The server is as it should be, or on the way there.
    Info,
    /// Service has ended, or could with the next failure.
    Warn,
    /// Something is wrong that does not mend itself: an operator must act.
    Error,
}

impl Event {
    /// How much attention it is worth.
    pub fn weight(&self) -> Weight {
        match self {
            Self::Looking { served: false, .. }
            | Self::Changes { .. }
            | Self::Oracle { .. }
            | Self::Adopted { .. }
            | Self::Reconfigured { .. }
            | Self::Elected { .. }
            | Self::HandsOver { .. }
            | Self::Leading { .. }
            | Self::Following { .. }
            | Self::LearnerInStep { .. }
            | Self::ObserverInStep { .. }
            | Self::ObserverLost { .. }
            | Self::Synchronising { .. }
            | Self::Storing { .. }
            | Self::LearnerLost { voter: false, .. } => Weight::Info,
            Self::Looking { .. }
            | Self::HandOverGivenUp { .. }
            | Self::ReadOnly { .. }
            | Self::Unserved { .. }
            | Self::Outdated { .. }
            | Self::CannotTruncate { .. }
            | Self::LearnerLost { .. }
            | Self::LearnerLags { .. }
            | Self::SyncFailed { .. }
            | Self::DigestHint { .. }
            | Self::Unwelcome { .. }
            | Self::Unlisted { .. }
            | Self::LearnerLeft { .. } => Weight::Warn,
            Self::Digest { .. } => Weight::Error,
        }
    }

    /// The connection that it is about, where the other side has not said which server it is.
    pub fn link(&self) -> Option<LinkId> {
        match self {
            Self::LearnerLeft { link, .. } | Self::Unwelcome { link, .. } => Some(*link),
            _ => None,
        }
    }

    /// The cause by which events of this kind are counted together.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::LearnerLeft { why, .. } => why.name(),
            Self::Unwelcome { why, .. } => why.name(),
            _ => self.kind(),
        }
    }

    /// The kind by which events are counted together.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Looking { .. } => "looking for a leader",
            Self::Changes { .. } => "to the next leader",
            Self::Unserved { is_quorum, .. } => missing(*is_quorum),
            Self::Outdated { .. } => "the others' data is older than this server's",
            Self::ReadOnly { .. } => "clients may read",
            Self::Oracle { .. } => "the oracle",
            Self::Adopted { .. } => "another server has a later configuration",
            Self::Reconfigured { .. } => "reconfigured",
            Self::Elected { .. } => "elected",
            Self::HandsOver { .. } => "handing over",
            Self::HandOverGivenUp { .. } => "not handed over",
            Self::Leading { .. } => "leading",
            Self::Following { .. } => "following",
            Self::CannotTruncate { .. } => "the log cannot be cut where the leader says",
            Self::LearnerInStep { .. } => "learner in step",
            Self::LearnerLost { .. } => "learner lost",
            Self::ObserverInStep { .. } => "observer in step",
            Self::ObserverLost { .. } => "observer lost",
            Self::LearnerLeft { .. } => "learner turned away",
            Self::Unwelcome { .. } => "connection to the election port ended",
            Self::Unlisted { .. } => "a follower has no vote",
            Self::LearnerLags { .. } => "a learner takes less than is proposed",
            Self::Synchronising { .. } => "synchronising",
            Self::Storing { .. } => "storing the leader's tree",
            Self::SyncFailed { .. } => "not synchronised",
            Self::Digest { .. } => "the leader's tree is another",
            Self::DigestHint { .. } => "a digest that another server predicted is wrong",
        }
    }
}
