//! One server: alone, or a member of an ensemble in whatever role it has at the moment.
//!
//! ```text
//!            views            disk                        other servers
//!   submit | ^ take_published | take_group, durable       accepted, connected, received, closed
//!          v |                v ^                         v ^ take_outputs
//!   +---------------------------------------------------------------------+
//!   | Replica:  Commit (alone, or leads)  |  Follow (follows, or looks)   |
//!   |           Leader                    |  Learner       ElectionPort   |
//!   +---------------------------------------------------------------------+
//! ```
//!
//! Nothing here knows a file, a socket or a clock: the server's shell and the simulator drive the same code.
//!
//! Invariants: what views are given is committed. The tree is never ahead of the log when this server votes, and
//! what is voted with is what the log holds. Entries that may still be taken back are held until a leader confirms
//! them; if it does not, views begin anew.

use super::commit::{GROUP_BYTES_MAX, GROUP_FIT_BYTES, SLOW_GROUP_BYTES_MAX};
use super::core::{Core, SessionClock};
use super::follow::{Differs, Follow, Logged};
use super::group_delay::GroupDelay;
use super::report::Answered;
use super::{
    CnxnId, Commit, CommitSettings, Deltas, Entry, EntryKind, Now, Proposed, Request, Restart, Uplink,
    ViewRequest,
};
use crate::admin::{LastMinMax, Leading, Metrics, Mode, Text};
use crate::auth::Policy;
use crate::config::Ensemble;
use crate::database::{Builder, Database, FuzzyReplay, ReplayError};
use crate::proto::Zxid;
use crate::snapshot::java::{Decoder, Form, Progress};
use crate::txn::{self, Change};
use crate::wal::{self, Batch, Marker};
use crate::zab::LinkId;
use crate::zab::election::{Candidate, ElectionPort, Output as ElectionOutput, Unwelcome};
use crate::zab::history::History;
use crate::zab::leader::{Asked, CloseLearner, Epochs, Lag, Leader, LeaderOutput, Membership};
use crate::zab::learner::{Learner, LearnerOutput, LostLeader};
use crate::zab::notification::{ServerState, Vote};
use crate::zab::quorum::{Quorum, with_version};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Bytes of txns that wait for the log at which the leader is not listened to.
const TO_LOG_BYTES_MAX: usize = 16 << 20;

/// Bytes of txns that become one group of the log before this server is up to date: it has many to write until then, and
/// each flush adds to the time.
const SYNC_GROUP_BYTES: usize = 16 << 20;

/// The limit of `TO_LOG_BYTES_MAX` before this server is up to date: one group is gathered while another one waits.
const SYNC_TO_LOG_BYTES_MAX: usize = 2 * SYNC_GROUP_BYTES;

/// Bytes of learners' requests that wait for room in a group at which they are not listened to.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// How long the leader may take to answer as one: who was elected without knowing it gives up sooner, too.
const CONNECT_MS: i64 = 1_000;

/// Pause between two attempts to connect to the leader, which may not know yet that it is one.
const CONNECT_RETRY_MS: i64 = 10;

/// Pause before the third attempt in a row to synchronise; it doubles with each further one, up to [`PAUSE_MS_MAX`].
/// The first two come at once, since a leader that has just begun may refuse once.
const PAUSE_MS: i64 = 50;

/// Longest pause between two attempts to synchronise.
const PAUSE_MS_MAX: i64 = 800;

/// Pause after a tree that the disk did not take.
const PAUSE_NOT_STORED_MS: i64 = 10_000;

/// How often a synchronisation says how far it is.
const PROGRESS_MS: i64 = 3_000;

/// Connections to the quorum port that are kept until this server knows whether it leads.
const EARLY_LINKS_MAX: usize = 64;

/// How often a server without a leader says so.
const UNSERVED_EVERY_MS: i64 = 30_000;

/// How a server is a member.
#[derive(Clone, Debug)]
pub struct MemberSettings {
    /// The servers.
    pub ensemble: Ensemble,
    /// What leaders and learners are told.
    pub membership: Membership,
    /// Whether it follows without a vote.
    pub is_observer: bool,
    /// Where its election port is, for the others: `host:port`.
    pub election_address: String,
    /// Whether its data was lost or damaged: it may have acknowledged what it does not know any more. It does not vote
    /// until a leader has given it everything.
    pub repairing: bool,
}

/// Which port of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Where votes go.
    Election,
    /// Where learners connect to their leader.
    Quorum,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub enum Output {
    /// Connect to a peer; `connected` or `closed` follows.
    Connect {
        /// The connection's number from now on.
        link: LinkId,
        /// Whose port.
        sid: i64,
        /// Which of them.
        port: Port,
    },
    /// Send bytes, behind those sent before.
    Send {
        /// Where to.
        link: LinkId,
        /// What.
        bytes: Bytes,
    },
    /// End a connection, or an attempt; nothing more is said of it.
    Close {
        /// Which.
        link: LinkId,
    },
    /// Must be durable before anything that comes after it is done.
    SaveEpochs {
        /// What this server has promised.
        epochs: Epochs,
        /// Whether its own data is not complete: it does not vote, also after a restart.
        repairing: bool,
    },
    /// Here in the stream of this connection stands the tree of the image that was begun for it.
    SendImage(LinkId),
    /// Find out what the log knows of this zxid, where a learner's log ends: [`Replica::log_found`].
    FindInLog(LinkId, Zxid),
    /// Read txns of the log after this zxid, oldest first, about [`WINDOW_BYTES`](crate::zab::leader::WINDOW_BYTES) of
    /// them, for a learner that is behind: [`Replica::log_read`].
    ReadLog(LinkId, Zxid),
    /// Write this as an incoming snapshot, and flush it: [`Replica::tree_stored`] or [`Replica::tree_not_stored`]. One
    /// at a time: the next is not asked for before.
    StoreTree(Box<Database>),
    /// The log now begins at the incoming snapshot: give it its name.
    FinishInstall(Zxid),
    /// Find out whether the log can be cut behind this zxid: [`Replica::truncate`].
    CheckTruncation(Zxid),
    /// The log is cut behind this zxid. Read everything from the disk again: [`Replica::reloaded`].
    Reload(Zxid),
    /// The log holds a txn that cannot be applied: the tree is not what it should be, and the process must end.
    Diverged(ReplayError),
    /// Something for people.
    Event(Event),
}

/// What happens to a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Event {
    #[error("looking for a leader: zxid={zxid} epoch={epoch} served={served} why={}", Text(.why))]
    Looking { zxid: Zxid, epoch: u32, served: bool, why: String },
    #[error("{}: heard={heard} of={of} silent={} for_s={for_s}", missing(*.is_quorum), Text(.silent))]
    Unserved { is_quorum: bool, heard: usize, of: usize, silent: String, for_s: i64 },
    #[error(
        "the others' data is older than this server's: leader={leader} epoch={theirs} own_epoch={ours} why={} do={}",
        Text("a majority of the servers seems to have lost its data"),
        Text("restore that; or give up what only this server has: start it with an empty data directory")
    )]
    Outdated { leader: i64, theirs: i64, ours: u32 },
    #[error("elected: leader={sid}")]
    Elected { sid: i64 },
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

/// What a server that serves nobody lacks.
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
    /// Whether service goes on without any one of those in step but the leader.
    pub may_lose_one: bool,
}

impl std::fmt::Display for Redundancy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { in_step, of, may_lose_one } = self;
        write!(f, "in_step={in_step} of={of} may_lose_one={may_lose_one}")
    }
}

/// How much an event is worth an operator's look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Things are as they should be, or on the way there.
    Info,
    /// Service has ended, or could with the next failure.
    Warn,
    /// Something is wrong that does not mend itself.
    Error,
}

impl Event {
    /// How much it is worth a look.
    pub fn weight(&self) -> Weight {
        match self {
            Self::Looking { served: false, .. }
            | Self::Elected { .. }
            | Self::Leading { .. }
            | Self::Following { .. }
            | Self::LearnerInStep { .. }
            | Self::Synchronising { .. }
            | Self::Storing { .. }
            | Self::LearnerLost { voter: false, .. } => Weight::Info,
            Self::Looking { .. }
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

    /// The connection that it is about, where that is not a known server's.
    pub fn link(&self) -> Option<LinkId> {
        match self {
            Self::LearnerLeft { link, .. } | Self::Unwelcome { link, .. } => Some(*link),
            _ => None,
        }
    }

    /// What of its kind it is, where many are counted together.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::LearnerLeft { why, .. } => why.name(),
            Self::Unwelcome { why, .. } => why.name(),
            _ => self.kind(),
        }
    }

    /// What it is one of many of.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Looking { .. } => "looking for a leader",
            Self::Unserved { is_quorum, .. } => missing(*is_quorum),
            Self::Outdated { .. } => "the others' data is older than this server's",
            Self::Elected { .. } => "elected",
            Self::Leading { .. } => "leading",
            Self::Following { .. } => "following",
            Self::CannotTruncate { .. } => "the log cannot be cut where the leader says",
            Self::LearnerInStep { .. } => "learner in step",
            Self::LearnerLost { .. } => "learner lost",
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

/// What a server is to its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no ensemble.
    Alone,
    /// Without a leader.
    Looking,
    /// Leads, and clients are served.
    Leading,
    /// Follows, and clients are served.
    Following,
    /// The same without a vote.
    Observing,
}

/// Which machine does the commit side's work.
#[derive(Debug)]
enum Side {
    Commit(Box<Commit>),
    Follow(Box<Follow>),
    /// Between two.
    Nobody,
}

/// Proposed together, to be published together.
#[derive(Debug)]
struct Group {
    through: Zxid,
    deltas: Deltas,
    /// A sync is among them: a quorum must have confirmed the lead since.
    round: Option<u64>,
    /// Records among them, and when that was.
    records: usize,
    at_us: i64,
    /// When the first of them was made.
    made_us: i64,
    /// Changes of znodes among them, as ZooKeeper counts them.
    changes: u64,
}

/// See the module's page.
#[derive(Debug)]
pub struct Replica {
    side: Side,
    /// How often clients were dropped; uplinks of earlier terms are void.
    term: u32,
    /// Whether views serve clients.
    serving: bool,
    groups: VecDeque<Group>,
    published: VecDeque<Deltas>,
    /// Newest entry that was published, and the digest then.
    shown: (Zxid, u64),
    to_log: VecDeque<Arc<Batch>>,
    /// The log has a group that is not durable.
    logging: bool,
    /// Says when the next group begins.
    group_delay: GroupDelay,
    spare: Batch,
    durable: Zxid,
    /// Since when each group of `to_log` that is no marker has waited, and the one that the log has.
    log_waits_us: VecDeque<i64>,
    logging_since_us: i64,
    member: Option<Box<Member>>,
}

#[derive(Debug)]
struct Member {
    settings: MemberSettings,
    election: ElectionPort,
    election_links: BTreeSet<LinkId>,
    epochs: Epochs,
    /// See [`MemberSettings::repairing`].
    repairing: bool,
    history: History,
    state: State,
    restoring: Restoring,
    /// Attempts to synchronise in a row that failed.
    failed_syncs: u32,
    /// When the next attempt may begin.
    next_sync_ms: i64,
    /// Connections to the quorum port that came before this server knew whether it leads: a follower that is quicker
    /// than its leader need not come again.
    early_links: BTreeMap<LinkId, i64>,
    /// Proposals behind a tree that is not installed yet, and how far they are committed.
    waiting: VecDeque<Logged>,
    waiting_bytes: usize,
    waiting_commit: Zxid,
    /// Entries that a leader has yet to confirm.
    held: VecDeque<Deltas>,
    /// Clients wait for a leader until then.
    hold_until_ms: Option<i64>,
    /// Since when the log has been busy with one group.
    busy_since_ms: Option<i64>,
    /// Proposals that go to the log together.
    gathered: Batch,
    /// When the first of these came.
    gathered_us: i64,
    /// Since when it looks for a leader, and since when it has served no client.
    looking_us: i64,
    unavailable_us: Option<i64>,
    next_link: u64,
    /// Learners that people were told are in step: number, and whether they vote.
    in_step: BTreeMap<LinkId, (i64, bool)>,
    /// Since when this server serves nobody, and when it said so last.
    unserved_ms: Option<(i64, i64)>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// The log is behind; then the next election begins.
    Settling,
    Electing,
    Connecting {
        sid: i64,
        link: Option<LinkId>,
        retry_ms: i64,
        until_ms: i64,
        /// See [`Learner::wanting_all`].
        wants_all: bool,
    },
    Learning(Box<Learning>),
    Leading(Box<Leader>),
}

#[derive(Debug)]
struct Learning {
    sid: i64,
    /// The leader has said that clients may be served, in this epoch, and not all of the tree is committed.
    up_to_date: Option<u32>,
    is_up_to_date: bool,
    /// Until when the leader may be silent about who it is.
    until_ms: i64,
    link: LinkId,
    learner: Learner,
    sync: &'static str,
    /// When it began, and when it last said how far it is.
    began_ms: i64,
    said_ms: i64,
    /// Bytes that came.
    bytes: u64,
    /// When the leader was last told which sessions live.
    answered_ms: i64,
}

/// A tree that comes in.
#[derive(Debug)]
struct Receiving {
    /// As of when it is, as the leader says.
    zxid: Zxid,
    decoder: Decoder,
    builder: Builder,
}

/// How far TRUNC or SNAP has come.
#[derive(Debug)]
enum Restoring {
    No,
    /// A tree comes in.
    Receiving(Box<Receiving>),
    /// It is whole, and may hold some of what comes behind it.
    Fuzzy(Box<FuzzyReplay>),
    /// It is exact, and on its way to the disk.
    Storing(Zxid),
    /// The disk is asked whether the log can forget what is behind this.
    Checking(Zxid),
    /// The log is being told to.
    Truncating(Zxid),
    /// The disk is read again.
    Reloading,
    /// The tree is on disk. The log is being told where it begins.
    Basing(Box<Database>),
}

impl Learning {
    /// How this server is brought up to date, once the leader has said so.
    fn sync(&self) -> &'static str {
        if self.learner.has_begun() { self.sync } else { "none" }
    }

    /// How far the synchronisation is.
    fn progress(&self, now_ms: i64, attempt: u32) -> Event {
        let Self { sid, bytes, began_ms, .. } = *self;
        let (sync, took_ms) = (self.sync(), now_ms - began_ms);
        let rate = bytes * 1000 / took_ms.max(1) as u64;
        Event::Synchronising { sid, sync, bytes, took_ms, rate, attempt }
    }
}

impl Member {
    /// An attempt to synchronise has failed: the next one waits. The pause does not begin anew with each election.
    fn sync_failed(&mut self, now_ms: i64) {
        self.failed_syncs += 1;
        let pause_ms = match self.failed_syncs {
            0 | 1 => 0,
            failed => (PAUSE_MS << (failed - 2).min(8)).min(PAUSE_MS_MAX),
        };
        self.next_sync_ms = self.next_sync_ms.max(now_ms + pause_ms);
    }

    /// A learner's connection has ended: what people are told of it, if they were told that it was in step.
    fn lose(&mut self, link: LinkId, why: &dyn std::fmt::Display) -> Option<Event> {
        let (sid, voter) = self.in_step.remove(&link)?;
        let redundancy = self.redundancy();
        Some(Event::LearnerLost { sid, voter, redundancy, why: why.to_string() })
    }

    /// That of a leader.
    fn redundancy(&self) -> Redundancy {
        let Membership { quorum, sid: own, .. } = &self.settings.membership;
        let followers = || self.in_step.values().filter(|(_, voter)| *voter).map(|(sid, _)| *sid);
        let is_quorum_without = |lost: i64| {
            let rest = followers().filter(|sid| *sid != lost).chain([*own]);
            quorum.contains_quorum(&quorum.set(rest))
        };
        let (in_step, of) = (followers().count() + 1, quorum.voters().count());
        let may_lose_one = followers().count() > 0 && followers().all(is_quorum_without);
        Redundancy { in_step, of, may_lose_one }
    }

    /// Whether it follows without a vote.
    fn is_observer(&self) -> bool {
        self.settings.is_observer || self.repairing
    }

    /// The ensemble's configuration as it is now, and its version.
    fn config(&self) -> (Vec<u8>, i64) {
        let membership = &self.settings.membership;
        let version = membership.config_version.max(self.epochs.config_version);
        (with_version(&membership.config_text, version), version)
    }
}

impl Restoring {
    /// True if it can be left without a trace: neither disk nor log were told anything. A tree that is on its way to the
    /// disk is installed also where its leader is gone: it is exact, holds all that was committed when it was sent, and
    /// spares the next leader from sending it again.
    fn is_revocable(&self) -> bool {
        matches!(self, Self::Receiving(_) | Self::Fuzzy(_) | Self::Checking(_))
    }

    /// Whether txns wait for a tree that is not installed yet.
    fn is_installing(&self) -> bool {
        matches!(self, Self::Fuzzy(_) | Self::Storing(_) | Self::Basing(_))
    }
}

impl Replica {
    /// A server on its own.
    pub fn alone(settings: CommitSettings, policy: Arc<Policy>, restored: Database, now: Now) -> Self {
        let shown = (restored.zxid, restored.tree.digest());
        let commit = Commit::new(settings, policy, restored, now);
        Self::new(Side::Commit(Box::new(commit)), shown, true, None)
    }

    /// A member of an ensemble: it looks for a leader. Views begin without serving. `history` is the end of the log,
    /// as far as it is known.
    pub fn member(
        member: MemberSettings,
        settings: CommitSettings,
        policy: Arc<Policy>,
        restored: Database,
        epochs: Epochs,
        history: History,
        now: Now,
    ) -> Self {
        let last = restored.zxid;
        assert_eq!(history.last(), last, "the history ends elsewhere than the log");
        let shown = (last, restored.tree.digest());
        let (core, sessions) = Core::new(settings, policy, restored, now);
        let follow = Follow::of(core, sessions, now);
        let Membership { sid, ref quorum, .. } = member.membership;
        // Beyond every round of this server's past, which followers of then may still name.
        let round = i64::from(epochs.accepted) << 20;
        let election =
            ElectionPort::new(&member.ensemble, Quorum::clone(quorum), sid, &member.election_address, round);
        let member = Member {
            election,
            election_links: BTreeSet::new(),
            epochs,
            repairing: member.repairing,
            history,
            state: State::Settling,
            restoring: Restoring::No,
            failed_syncs: 0,
            next_sync_ms: 0,
            early_links: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_commit: Zxid::ZERO,
            held: VecDeque::new(),
            hold_until_ms: None,
            busy_since_ms: None,
            gathered: Batch::default(),
            gathered_us: 0,
            looking_us: now.mono_us,
            unavailable_us: None,
            next_link: 0,
            in_step: BTreeMap::new(),
            unserved_ms: None,
            outputs: VecDeque::new(),
            settings: member,
        };
        let mut replica = Self::new(Side::Follow(Box::new(follow)), shown, false, Some(Box::new(member)));
        replica.hold(now);
        replica.settle(now);
        replica
    }

    fn new(side: Side, shown: (Zxid, u64), serving: bool, member: Option<Box<Member>>) -> Self {
        Self {
            side,
            term: 0,
            serving,
            groups: VecDeque::new(),
            published: VecDeque::new(),
            shown,
            to_log: VecDeque::new(),
            logging: false,
            group_delay: GroupDelay::default(),
            spare: Batch::default(),
            durable: shown.0,
            log_waits_us: VecDeque::new(),
            logging_since_us: 0,
            member,
        }
    }

    /// What this server is to its ensemble.
    pub fn standing(&self) -> Standing {
        let Some(member) = &self.member else { return Standing::Alone };
        match &member.state {
            State::Leading(leader) if leader.is_established() => Standing::Leading,
            State::Learning(learning) if learning.is_up_to_date => match member.is_observer() {
                true => Standing::Observing,
                false => Standing::Following,
            },
            _ => Standing::Looking,
        }
    }

    /// Epochs as they are on disk, or about to be.
    pub fn epochs(&self) -> Epochs {
        self.member.as_ref().map(|member| member.epochs).unwrap_or_default()
    }

    /// Has a group take so many bytes before the rest waits for the next one; the limits are 4 and 16 MiB. The shell says
    /// how many the disk writes in twice the time of a flush. A flush costs what it costs, whatever it makes durable: with
    /// smaller groups a disk with slow flushes would do little else, and with larger ones a group of a quick disk
    /// would keep those waiting that come after it.
    pub fn set_group_bytes(&mut self, bytes: usize) {
        self.core().group_bytes_max = bytes.clamp(GROUP_BYTES_MAX, SLOW_GROUP_BYTES_MAX);
    }

    fn core(&mut self) -> &mut Core {
        match &mut self.side {
            Side::Commit(commit) => commit.core_mut(),
            Side::Follow(follow) => &mut follow.core,
            Side::Nobody => unreachable!("a side is only away within one call"),
        }
    }

    /// For a leader whose epoch has no txn yet: passes over zxids, so that only so many are left.
    #[cfg(any(test, feature = "sim"))]
    pub fn spend_zxids(&mut self, left: u32) {
        if let Side::Commit(commit) = &mut self.side {
            commit.spend_zxids(left);
        }
    }

    /// The digest of the tree, of whatever it holds.
    pub fn digest(&self) -> u64 {
        match &self.side {
            Side::Commit(commit) => commit.digest(),
            Side::Follow(follow) => follow.core.tree.digest(),
            Side::Nobody => unreachable!("a side is only away within one call"),
        }
    }

    /// What the shell measures on this side: the log, snapshots, recovery.
    pub fn metrics_mut(&mut self) -> &mut Metrics {
        &mut self.core().metrics
    }

    /// Whether [`Replica::checked`] has something to say.
    pub fn is_unmeasured(&self) -> bool {
        matches!(&self.side, Side::Commit(commit) if commit.is_unmeasured())
    }

    /// Requests that were checked since the last call took so long together.
    pub fn checked(&mut self, took_us: u64) {
        if let Side::Commit(commit) = &mut self.side {
            commit.checked(took_us);
        }
    }

    /// As many requests that were checked here are with the log and the followers; handing them over took so long.
    pub fn handed(&mut self, requests: u64, took_us: u64) {
        if let Side::Commit(commit) = &mut self.side {
            let times = &mut commit.core_mut().metrics.times;
            times.proposal_process_time.record_n(took_us / requests.max(1), requests);
        }
    }

    /// Four-letter words that only lack what the shell knows; [`Replica::tell`] must follow for each.
    pub fn take_answered(&mut self, now: Now) -> Vec<Answered> {
        let mut answered = self.core().take_answered();
        let standing = self.standing();
        for Answered { status, .. } in &mut answered {
            status.serving = standing != Standing::Looking;
            status.mode = match standing {
                Standing::Alone | Standing::Looking => Mode::Standalone,
                Standing::Leading => Mode::Leader,
                Standing::Following => Mode::Follower,
                Standing::Observing => Mode::Observer,
            };
            let Some(member) = &self.member else { continue };
            status.quorum_size = Some(member.settings.membership.quorum.voters().count() as u64);
            if let (Standing::Observing, State::Learning(learning)) = (standing, &member.state) {
                status.observer_master_id = Some(learning.sid);
            }
            if let State::Leading(leader) = &member.state {
                let pending_syncs = self.groups.iter().filter(|group| group.round.is_some()).count() as u64;
                status.leader = Some(Leading { pending_syncs, ..leader.status(now.mono_ms()) });
            }
        }
        answered
    }

    /// The answer to a four-letter word.
    pub fn tell(&mut self, cnxn: CnxnId, text: Vec<u8>) {
        self.core().tell(cnxn, text);
    }

    /// Whether there is room for more of what views send up.
    pub fn has_room(&self) -> bool {
        match &self.side {
            Side::Commit(commit) => commit.has_room(),
            _ => true,
        }
    }

    /// Whether another uplink of a view may be submitted.
    pub fn takes_uplinks(&self) -> bool {
        match &self.side {
            Side::Commit(commit) => commit.takes_uplinks(),
            _ => true,
        }
    }

    /// Whether [`Self::proceed`] has more to do at once.
    pub fn has_more(&self) -> bool {
        matches!(&self.side, Side::Commit(commit) if commit.has_more())
    }

    /// These sessions of this server's clients gave a sign of life.
    pub fn heard(&mut self, now: Now, sessions: &[i64]) {
        match &mut self.side {
            Side::Commit(commit) => commit.heard(now, sessions),
            Side::Follow(follow) => follow.heard(sessions),
            Side::Nobody => unreachable!("a side is only away within one call"),
        }
    }

    /// Sessions live by a clock that is so far ahead of the one that the caller tells with everything else; by that clock,
    /// all signs of life through `through_ms` were told with [`Self::heard`], and no session is judged beyond.
    pub fn set_session_clock(&mut self, ahead_ms: i64, through_ms: i64) {
        self.core().session_clock = SessionClock { ahead_ms, through_ms };
    }

    /// Takes in what a view sends up.
    pub fn submit(&mut self, now: Now, mut uplink: Uplink) {
        if uplink.term != self.term {
            uplink.items.retain(|item| {
                matches!(item, ViewRequest::FourLetterWord { .. } | ViewRequest::Report { .. })
            });
        }
        match &mut self.side {
            Side::Commit(commit) => commit.submit_of_view(now, uplink),
            Side::Follow(follow) => follow.submit(now, uplink),
            Side::Nobody => unreachable!("a side is only away within one call"),
        }
        self.forward();
    }

    /// Goes on with what waits for room.
    pub fn proceed(&mut self, now: Now) {
        if let Side::Commit(commit) = &mut self.side {
            commit.proceed(now);
        }
    }

    /// Sends what the follower's side has for the leader.
    fn forward(&mut self) {
        let (Side::Follow(follow), Some(member)) = (&mut self.side, &mut self.member) else { return };
        let State::Learning(learning) = &member.state else { return };
        if learning.learner.must_be_silent() {
            return;
        }
        let packets = follow.take_packets();
        if !packets.is_empty() {
            member.outputs.push_back(Output::Send { link: learning.link, bytes: packets.into() });
        }
    }

    /// What is to be written to the log next and made durable; `None` while the last group is not, or waits for more.
    pub fn take_group(&mut self, now: Now) -> Option<Arc<Batch>> {
        if self.logging {
            return None;
        }
        if self.to_log.is_empty() {
            if self.waits_for_more(now) {
                return None;
            }
            self.gather(now);
        }
        let batch = self.to_log.pop_front()?;
        self.logging = true;
        if !batch.is_marker() {
            self.logging_since_us = self.log_waits_us.pop_front().unwrap_or(now.mono_us);
            let (waited_us, records) = (since(self.logging_since_us, now), batch.records().into());
            let behind = self.to_log.iter().map(|batch| u64::from(batch.records())).sum();
            let Metrics { counters, sizes, latencies, .. } = self.metrics_mut();
            sizes.sync_processor_queue_size.record(behind);
            counters.sync_processor_request_queued += records;
            latencies.sync_processor_queue_time_ms.record_n(waited_us, records);
        }
        Some(batch)
    }

    /// Whether what is there for the next group waits for more; see [`Self::waits_until_us`].
    fn waits_for_more(&mut self, now: Now) -> bool {
        let waiting = match &self.side {
            Side::Commit(commit) if commit.has_room() => commit.waiting(),
            // Nothing more can come.
            _ => 0,
        };
        let in_flight = self.groups.iter().map(|group| group.records).sum();
        !self.group_delay.is_due(waiting, in_flight, now.mono_us)
    }

    /// Until when what is there for the next group waits for more, where it does: [`Self::take_group`] is to be called
    /// then, if not before.
    pub fn waits_until_us(&self) -> Option<i64> {
        self.group_delay.until_us().filter(|_| !self.logging)
    }

    /// Makes the next group of what was proposed since.
    fn gather(&mut self, now: Now) {
        let is_syncing = self.is_syncing();
        match &mut self.side {
            // A turn in which nobody asked anything leaves the spare memory for the next one.
            Side::Commit(commit) if !commit.has_proposals() => {}
            Side::Commit(commit) => {
                let Some(proposed) = commit.take(std::mem::take(&mut self.spare)) else { return };
                self.propose(proposed, now);
            }
            Side::Follow(_) if is_syncing => {}
            Side::Follow(_) => self.gather_proposals(),
            Side::Nobody => unreachable!("a side is only away within one call"),
        }
    }

    /// Whether more txns of a synchronisation are on their way.
    fn is_syncing(&self) -> bool {
        let state = self.member.as_ref().map(|member| &member.state);
        matches!(state, Some(State::Learning(learning)) if learning.learner.is_syncing())
    }

    /// What the leader proposed becomes a group for the log.
    fn gather_proposals(&mut self) {
        let Some(member) = &mut self.member else { return };
        if member.gathered.is_empty() {
            return;
        }
        let batch = Arc::new(std::mem::take(&mut member.gathered));
        member.history.push(batch.clone());
        member.history.trim(Zxid(u64::MAX));
        self.log_waits_us.push_back(member.gathered_us);
        self.to_log.push_back(batch);
    }

    fn propose(&mut self, Proposed { records, deltas, through, since_us }: Proposed, now: Now) {
        let changes = self.note_proposed(&records, &deltas, now);
        let has_sync = || deltas.entries.iter().any(|entry| matches!(entry.what, EntryKind::Synced));
        let mut round = None;
        if let Some(member) = &mut self.member
            && let State::Leading(leader) = &mut member.state
        {
            let mut out = Vec::new();
            leader.propose(records.iter(), &mut out);
            round = has_sync().then(|| leader.begin_round(&mut out));
            Self::send(member, out);
        }
        let count = records.records() as usize;
        let (at_us, made_us) = (now.mono_us, since_us);
        self.groups.push_back(Group { through, deltas, round, records: count, at_us, made_us, changes });
        if records.is_empty() {
            self.spare = records;
            return self.advance(now);
        }
        let batch = Arc::new(records);
        if let Some(member) = &mut self.member {
            member.history.push(batch.clone());
        }
        self.log_waits_us.push_back(since_us);
        self.to_log.push_back(batch);
    }

    /// Counts what is about to be proposed; says how many changes there are.
    fn note_proposed(&mut self, records: &Batch, deltas: &Deltas, now: Now) -> u64 {
        let leads = self.member.is_some();
        let changes = deltas.changes.iter().map(Change::records).sum::<u64>();
        let metrics = self.metrics_mut();
        metrics.counters.outstanding_changes_queued += changes;
        if leads {
            metrics.counters.proposal_count += u64::from(records.records());
            for (_, txn) in records.iter() {
                metrics.proposal_size.record(now.mono_us, txn.len() as u64);
            }
        }
        changes
    }

    /// Counts a group that is committed, and about to be published.
    fn note_committed(&mut self, group: &Group, now: Now) {
        let leads = self.member.is_some();
        let (took_us, records) = (since(group.made_us, now), group.records as u64);
        let Metrics { counters, latencies, .. } = self.metrics_mut();
        counters.request_commit_queued += group.deltas.requests;
        counters.outstanding_changes_removed += group.changes;
        latencies.propagation_latency.record_n(took_us, records);
        if leads {
            counters.commit_count += records;
            latencies.quorum_ack_latency.record_n(took_us, records);
        }
    }

    /// Counts a group that is durable here.
    fn note_durable(&mut self, batch: &Batch, now: Now) {
        let (took_us, records) = (since(self.logging_since_us, now), batch.records().into());
        let is_voter = self.member.as_ref().is_some_and(|member| !member.is_observer());
        let is_follower = matches!(self.side, Side::Follow(_));
        // What a sync brings is acknowledged as a whole.
        let is_in_step = !self.core().is_held();
        let latencies = &mut self.metrics_mut().latencies;
        latencies.sync_processor_queue_and_flush_time_ms.record_n(took_us, records);
        match (is_voter, is_follower) {
            (true, false) => latencies.proposal_ack_creation_latency.record_n(took_us, records),
            (true, true) if is_in_step => {
                let ack = &mut latencies.proposal_ack_creation_latency;
                batch.iter().for_each(|(_, txn)| ack.record_since(now.wall_ms, txn::time_ms(txn)));
            }
            (true, true) | (false, _) => {}
        }
    }

    /// Only for what a leader sends of its own accord.
    fn send(member: &mut Member, out: Vec<LeaderOutput>) {
        member.outputs.extend(out.into_iter().map(|output| match output {
            LeaderOutput::Send(link, bytes) => Output::Send { link, bytes },
            LeaderOutput::ReadLog(link, after) => Output::ReadLog(link, after),
            other => unreachable!("nothing was received: {other:?}"),
        }));
    }

    /// A group is durable.
    pub fn durable(&mut self, batch: Arc<Batch>, now: Now) {
        assert!(self.logging, "a group is durable that was not given out");
        self.logging = false;
        if let Some(member) = &mut self.member {
            member.busy_since_ms = None;
        }
        if batch.is_marker() {
            return self.marked(now);
        }
        self.note_durable(&batch, now);
        self.durable = batch.last();
        let mut learned = Vec::new();
        if let Some(member) = &mut self.member {
            match &mut member.state {
                State::Leading(leader) => leader.durable(self.durable),
                State::Learning(learning) => {
                    learning.learner.durable(batch.iter().map(|(zxid, _)| zxid), &mut learned);
                }
                State::Settling | State::Electing | State::Connecting { .. } => {}
            }
        }
        self.settle(now);
        self.learned(learned, now);
        if let Ok(mut batch) = Arc::try_unwrap(batch) {
            batch.clear();
            self.spare = batch;
        }
        self.advance(now);
    }

    /// Publishes what is committed.
    fn advance(&mut self, now: Now) {
        let (mut committed, mut confirmed) = (self.durable, 0);
        if let Some(member) = &mut self.member {
            let State::Leading(leader) = &mut member.state else { return };
            if !leader.is_established() {
                return;
            }
            (committed, confirmed) = (leader.committed(), leader.confirmed_round());
        }
        while let Some(group) = self.groups.front()
            && (group.through <= committed || group.through.counter() == 0)
            && group.round.is_none_or(|round| round <= confirmed)
            && let Some(group) = self.groups.pop_front()
        {
            self.note_committed(&group, now);
            let Group { through, deltas, records, at_us, .. } = group;
            // What is not logged takes no time.
            if records > 0 {
                self.group_delay.committed(now.mono_us - at_us);
            }
            if let Side::Commit(commit) = &mut self.side {
                commit.committed(through);
            }
            self.answer_learners(&deltas, through);
            self.publish(deltas);
        }
        if let Some(member) = &mut self.member {
            let State::Leading(leader) = &member.state else { return };
            // What is not here any more is read from the log.
            member.history.trim(leader.announced().min(self.shown.0).min(self.durable));
        }
    }

    fn publish(&mut self, deltas: Deltas) {
        let Some(last) = deltas.entries.last() else { return };
        self.shown = (last.zxid, last.digest);
        self.published.push_back(deltas);
    }

    /// Publishes one entry that is no txn.
    fn announce(&mut self, what: EntryKind) {
        let (zxid, digest) = self.shown;
        let entry = Entry { zxid, digest, to: None, xid: 0, what, changes_end: 0, results_end: 0 };
        self.publish(Deltas { entries: vec![entry], ..Deltas::default() });
    }

    /// Publishes what four-letter words ask and tell, as of what is shown.
    fn publish_words(&mut self) {
        let (zxid, digest) = self.shown;
        let words = self.core().take_words().into_iter();
        let entry = |(to, what)| Entry { zxid, digest, to, xid: 0, what, changes_end: 0, results_end: 0 };
        self.publish(Deltas { entries: words.map(entry).collect(), ..Deltas::default() });
    }

    /// Tells the learners what is committed now, and answers what they asked for that is no txn: each answer in its
    /// place between the commits, for a learner tells from that place which of its requests came before.
    fn answer_learners(&mut self, deltas: &Deltas, through: Zxid) {
        let Some(member) = &mut self.member else { return };
        let State::Leading(leader) = &mut member.state else { return };
        let mut out = Vec::new();
        let history = &member.history;
        for entry in &deltas.entries {
            let Some(learner) = entry.to.and_then(CnxnId::learner) else { continue };
            let answer = match entry.what {
                EntryKind::Synced => None,
                EntryKind::Attached { session_id, .. } => Some((session_id, true)),
                EntryKind::Refused { session_id } => Some((session_id, false)),
                _ => continue,
            };
            leader.commit(entry.zxid, history, &mut out);
            match answer {
                None => leader.synced(learner, history, &mut out),
                Some((session_id, valid)) => {
                    leader.revalidated(learner, session_id, valid, history, &mut out)
                }
            }
        }
        leader.commit(through, history, &mut out);
        Self::send(member, out);
    }

    /// Whether everything that was proposed is published, or is another leader's to commit.
    pub fn is_idle(&self) -> bool {
        let is_proposing = match &self.side {
            Side::Commit(commit) => commit.has_proposals(),
            _ => false,
        };
        !is_proposing && self.groups.is_empty() && self.is_logged()
    }

    /// Newest txn that the log has, durable.
    pub fn durable_through(&self) -> Zxid {
        self.durable
    }

    /// Whether the log has everything that it was given, and no group waits for more.
    pub fn is_logged(&self) -> bool {
        !self.logging && self.to_log.is_empty() && self.waits_until_us().is_none()
    }

    /// What the views are to be given next, in order.
    pub fn take_published(&mut self) -> Option<Deltas> {
        self.publish_words();
        if self.published.is_empty() {
            self.publish_visible();
        }
        self.published.pop_front()
    }

    /// What the shell is to do next.
    pub fn take_output(&mut self) -> Option<Output> {
        self.member.as_mut()?.outputs.pop_front()
    }

    /// True if [`Self::take_output`] has something.
    pub fn has_output(&self) -> bool {
        self.member.as_ref().is_some_and(|member| !member.outputs.is_empty())
    }

    /// Tells the replica whether a view is so far behind that nothing more is to be made for it, which bounds what waits for
    /// views. Until it has caught up a follower does not read what its leader sends, and a leader, or a server alone, makes
    /// no txns.
    pub fn set_views_lag(&mut self, lag: bool) {
        self.core().views_lag = lag;
    }

    fn views_lag(&self) -> bool {
        match &self.side {
            Side::Follow(follow) => follow.core.views_lag,
            // A leader must hear its learners' ACKs.
            Side::Commit(_) | Side::Nobody => false,
        }
    }

    /// Whether bytes of this peer may be received: what waits for the log, and for views, is bounded.
    pub fn may_receive(&self, link: LinkId) -> bool {
        let Some(member) = &self.member else { return false };
        if member.early_links.contains_key(&link) {
            // Its socket keeps them until this server knows what it is.
            return false;
        }
        match &member.state {
            State::Learning(learning) if learning.link == link && self.views_lag() => false,
            State::Learning(learning) if learning.link == link => match member.restoring {
                // The learner does not look at it before that is done.
                Restoring::Checking(_) | Restoring::Truncating(_) | Restoring::Reloading => false,
                Restoring::Storing(_) | Restoring::Basing(_) => member.waiting_bytes < TO_LOG_BYTES_MAX,
                Restoring::No | Restoring::Receiving(_) | Restoring::Fuzzy(_) => {
                    let waiting = self.to_log.iter().map(|batch| batch.bytes()).sum::<usize>();
                    let limit = if learning.is_up_to_date { TO_LOG_BYTES_MAX } else { SYNC_TO_LOG_BYTES_MAX };
                    waiting + member.gathered.bytes() < limit
                }
            },
            State::Leading(_) if !member.election_links.contains(&link) => match &self.side {
                Side::Commit(commit) => commit.backlog_bytes() < BACKLOG_BYTES_MAX,
                _ => true,
            },
            _ => true,
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now) {
        let now_ms = now.mono_ms();
        let is_deaf = match self.member.as_ref().map(|member| &member.state) {
            Some(State::Learning(learning)) => !self.may_receive(learning.link),
            _ => false,
        };
        let Some(member) = &mut self.member else {
            if let Side::Commit(commit) = &mut self.side {
                commit.tick(now);
            }
            return;
        };
        // Whom they wait for takes longer, or is another: they look again.
        member.early_links.retain(|link, since_ms| {
            let is_kept = now_ms - *since_ms < CONNECT_MS;
            if !is_kept {
                member.outputs.push_back(Output::Close { link: *link });
            }
            is_kept
        });
        let mut elected = Vec::new();
        member.election.tick(now_ms as u64, &mut elected);
        let (mut led, mut learned) = (Vec::new(), Vec::new());
        let mut lost = None;
        match &mut member.state {
            State::Leading(leader) => leader.tick(now_ms, &mut led),
            // A leader that nobody listens to is not silent.
            State::Learning(learning) if is_deaf => {
                learning.learner.excuse(now_ms);
                learning.learner.show_life(now_ms, &mut learned);
            }
            State::Learning(learning) => {
                learning.learner.tick(now_ms, &mut learned);
                learning.learner.show_life(now_ms, &mut learned);
                if !learning.is_up_to_date && now_ms - learning.said_ms >= PROGRESS_MS {
                    learning.said_ms = now_ms;
                    let event = learning.progress(now_ms, member.failed_syncs + 1);
                    member.outputs.push_back(Output::Event(event));
                }
            }
            State::Connecting { sid, link: link @ None, retry_ms, until_ms, .. } => {
                if now_ms >= *until_ms {
                    lost = Some(LostLeader::Unreachable);
                } else if now_ms >= *retry_ms {
                    let (sid, asked) = (*sid, member.next_link);
                    member.next_link += 1;
                    let asked = LinkId(LinkId::ASKED | asked);
                    *link = Some(asked);
                    member.outputs.push_back(Output::Connect { link: asked, sid, port: Port::Quorum });
                }
            }
            State::Connecting { until_ms, .. } if now_ms >= *until_ms => lost = Some(LostLeader::Unreachable),
            State::Connecting { .. } | State::Settling | State::Electing => {}
        }
        if member.hold_until_ms.is_some_and(|until_ms| now_ms >= until_ms) {
            self.drop_clients();
        }
        self.elected(elected, now);
        self.led(led, now);
        self.learned(learned, now);
        if let Some(why) = lost {
            self.look(now, &why);
        }
        if self.standing() == Standing::Leading
            && let Side::Commit(commit) = &mut self.side
        {
            commit.tick(now);
            if commit.is_epoch_spent() {
                self.look(now, &"the epoch's zxids are spent");
            }
        }
        self.show_life(now);
        self.watch_log(now);
        self.advance(now);
        self.forward();
        self.tell_of_learners();
        self.tell_of_quorum(now);
    }

    /// Whether that server's election port is heard, or hears this one.
    pub fn hears(&self, sid: i64) -> bool {
        self.member.as_ref().is_some_and(|member| member.election.hears(sid))
    }

    /// Says which learners have come into step.
    fn tell_of_learners(&mut self) {
        let Some(member) = &mut self.member else { return };
        let State::Leading(leader) = &member.state else { return };
        if !leader.is_established() {
            return;
        }
        let new: Vec<_> =
            leader.in_step().filter(|(link, _, _)| !member.in_step.contains_key(link)).collect();
        for (link, sid, voter) in new {
            member.in_step.insert(link, (sid, voter));
            if leader.is_non_voting_follower(link) {
                member.outputs.push_back(Output::Event(Event::Unlisted { sid }));
            }
            let redundancy = member.redundancy();
            member.outputs.push_back(Output::Event(Event::LearnerInStep { sid, voter, redundancy }));
        }
    }

    /// Says from time to time who is missing, while there is no leader.
    fn tell_of_quorum(&mut self, now: Now) {
        let is_looking = self.standing() == Standing::Looking;
        let Some(member) = &mut self.member else { return };
        // One that is being brought up to date has a leader, and says how far it is.
        let is_synchronizing =
            matches!(&member.state, State::Learning(learning) if learning.learner.has_begun());
        if !is_looking || is_synchronizing {
            member.unserved_ms = None;
            return;
        }
        let now_ms = now.mono_ms();
        let (since_ms, said_ms) = member.unserved_ms.get_or_insert((now_ms, now_ms));
        if now_ms - *said_ms < UNSERVED_EVERY_MS {
            return;
        }
        *said_ms = now_ms;
        let for_s = (now_ms - *since_ms) / 1000;
        let Membership { quorum, sid: own, .. } = &member.settings.membership;
        let (heard, silent): (Vec<i64>, Vec<i64>) =
            quorum.voters().partition(|sid| sid == own || member.election.hears(*sid));
        let is_quorum = quorum.contains_quorum(&quorum.set(heard.iter().copied()));
        let of = heard.len() + silent.len();
        let silent = silent.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let event = Event::Unserved { is_quorum, heard: heard.len(), of, silent, for_s };
        member.outputs.push_back(Output::Event(event));
    }

    /// Tells a zkfast leader which sessions live where none of its pings came for a while: they stand behind all that this
    /// server has not read, or that waits for its connection.
    fn show_life(&mut self, now: Now) {
        let (Side::Follow(follow), Some(member)) = (&mut self.side, &mut self.member) else { return };
        let State::Learning(learning) = &mut member.state else { return };
        let is_due = now.mono_ms() - learning.answered_ms > member.settings.membership.tick_ms;
        if is_due && learning.is_up_to_date && !learning.learner.has_java_leader() {
            learning.answered_ms = now.mono_ms();
            // The number of no ping: it confirms nothing.
            follow.answer_ping(Zxid::ZERO);
        }
    }

    /// Nothing is proposed while the log is busy. A leader whose disk hangs lets another one lead, which may have a
    /// better one: while it answers pings nobody else would find out.
    fn watch_log(&mut self, now: Now) {
        let Some(member) = &mut self.member else { return };
        if !self.logging {
            return;
        }
        let busy_ms = now.mono_ms() - *member.busy_since_ms.get_or_insert(now.mono_ms());
        if matches!(member.state, State::Leading(_)) && busy_ms > member.settings.membership.sync_ms {
            self.look(
                now,
                &format_args!("the log has been busy with one group for {busy_ms} ms (syncLimit)"),
            );
        }
    }

    /// Clients are not served from here on, and nothing that they asked for is answered.
    fn drop_clients(&mut self) {
        let Some(member) = &mut self.member else { return };
        member.hold_until_ms = None;
        if self.serving {
            // Who was answered before hears it.
            self.publish_words();
            self.publish_visible();
            self.serving = false;
            self.term += 1;
            if let Side::Follow(follow) = &mut self.side {
                follow.drop_clients();
            }
            self.announce(EntryKind::Serving(false));
        }
    }

    /// Entries that no leader has confirmed are kept back, and whatever is said meanwhile goes past them.
    fn hold(&mut self, now: Now) {
        let shown = self.shown;
        let Side::Follow(follow) = &mut self.side else { return };
        let Some(member) = &mut self.member else { return };
        follow.core.hold(shown);
        member.hold_until_ms = Some(now.mono_ms() + member.settings.membership.tick_ms);
    }

    /// A leader confirms what was held: it is published, then the epoch begins.
    fn confirm(&mut self, epoch: u32) {
        let Some(member) = &mut self.member else { return };
        member.hold_until_ms = None;
        let held = std::mem::take(&mut member.held);
        let (config_text, config_version) = member.config();
        self.publish_visible();
        held.into_iter().for_each(|deltas| self.publish(deltas));
        if let Side::Follow(follow) = &mut self.side {
            follow.core.release();
            follow.core.show_config(&config_text, config_version);
            follow.core.begin_epoch(epoch);
        }
        self.publish_visible();
        if !self.serving {
            self.serving = true;
            self.announce(EntryKind::Serving(true));
        }
    }

    /// What was said until here goes in front of what comes.
    fn publish_visible(&mut self) {
        while let Side::Follow(follow) = &mut self.side
            && let Some(deltas) = follow.core.take_visible()
        {
            self.publish(deltas);
        }
    }

    /// Leaves whatever role it has.
    fn look(&mut self, now: Now, why: &dyn std::fmt::Display) {
        let served = self.standing() != Standing::Looking;
        let Some(member) = &mut self.member else { return };
        let now_ms = now.mono_ms();
        let mut links = Vec::new();
        let mut of_java = false;
        member.in_step.clear();
        match std::mem::replace(&mut member.state, State::Settling) {
            State::Leading(leader) => links.extend(leader.links()),
            State::Learning(learning) => {
                of_java = learning.learner.has_java_leader();
                if !learning.is_up_to_date && !learning.learner.is_unheard() {
                    member.sync_failed(now_ms);
                    let (sid, bytes, began_ms) = (learning.sid, learning.bytes, learning.began_ms);
                    let sync = learning.sync();
                    let (took_ms, attempt, why) = (now_ms - began_ms, member.failed_syncs, why.to_string());
                    let event = Event::SyncFailed { sid, sync, bytes, took_ms, attempt, why };
                    member.outputs.push_back(Output::Event(event));
                }
                links.push(learning.link);
            }
            State::Connecting { link, .. } => links.extend(link),
            State::Settling | State::Electing => {}
        }
        member.outputs.extend(links.into_iter().map(|link| Output::Close { link }));
        // What was received of a tree is forgotten; once the disk or the log was told, there is no way back.
        if member.restoring.is_revocable() {
            member.restoring = Restoring::No;
        }
        member.waiting.clear();
        member.waiting_bytes = 0;
        member.waiting_commit = Zxid::ZERO;
        let (zxid, epoch) = (member.history.last(), member.epochs.current);
        let event = Event::Looking { zxid, epoch, served, why: why.to_string() };
        member.outputs.push_back(Output::Event(event));
        match std::mem::replace(&mut self.side, Side::Nobody) {
            Side::Commit(mut commit) => {
                let groups = std::mem::take(&mut self.groups).into_iter();
                let mut held: Vec<Deltas> = groups.map(|group| unaddressed(group.deltas)).collect();
                // Whatever was proposed goes to the log: the tree has it.
                if let Some(proposed) = commit.take(std::mem::take(&mut self.spare)) {
                    let Proposed { records, deltas, since_us, .. } = proposed;
                    held.push(unaddressed(deltas));
                    if !records.is_empty() {
                        let batch = Arc::new(records);
                        member.history.push(batch.clone());
                        self.log_waits_us.push_back(since_us);
                        self.to_log.push_back(batch);
                    }
                }
                let (core, sessions) = commit.into_core();
                self.side = Side::Follow(Box::new(Follow::of(core, sessions, now)));
                // Nobody could tell its clients what became of their requests.
                self.drop_clients();
                self.hold(now);
                if let Some(member) = &mut self.member {
                    member.held.extend(held);
                }
            }
            Side::Follow(mut follow) => {
                follow.disconnect();
                let is_held = follow.core.is_held();
                self.side = Side::Follow(follow);
                if !is_held {
                    self.publish_visible();
                    self.hold(now);
                }
                if of_java {
                    // Its log does not tell which clients have moved to other servers.
                    self.drop_clients();
                }
                // The log has it, or is about to.
                self.gather_proposals();
                self.commit_logged(Zxid(u64::MAX), now);
            }
            Side::Nobody => unreachable!("a side is only away within one call"),
        }
        self.settle(now);
    }

    /// Applies what the leader, or the log, says.
    fn commit_logged(&mut self, through: Zxid, now: Now) {
        let (Side::Follow(follow), Some(member)) = (&mut self.side, &mut self.member) else { return };
        match follow.commit(through, now) {
            Ok(differ) => {
                let events = differ.into_iter().map(|Differs { why, is_hint }| match is_hint {
                    true => Event::DigestHint { why: why.to_string() },
                    false => Event::Digest { why: why.to_string() },
                });
                member.outputs.extend(events.map(Output::Event));
            }
            Err(why) => member.outputs.push_back(Output::Diverged(why)),
        }
    }

    /// Begins an election once the log has everything.
    fn settle(&mut self, now: Now) {
        let Some(member) = &mut self.member else { return };
        let is_restoring = !matches!(member.restoring, Restoring::No);
        if !matches!(member.state, State::Settling) || is_restoring || self.logging || !self.to_log.is_empty()
        {
            return;
        }
        let last = member.history.last();
        assert_eq!(self.durable, last, "the log ends elsewhere than the history");
        member.state = State::Electing;
        member.looking_us = now.mono_us;
        member.unavailable_us.get_or_insert(now.mono_us);
        self.core().metrics.counters.looking_count += 1;
        let Some(member) = &mut self.member else { return };
        let own = Candidate { zxid: last, peer_epoch: member.epochs.current };
        let own = (!member.is_observer()).then_some(own);
        let mut out = Vec::new();
        member.election.look(now.mono_ms() as u64, own, &mut out);
        self.elected(out, now);
    }

    fn elected(&mut self, out: Vec<ElectionOutput>, now: Now) {
        for output in out {
            let Some(member) = &mut self.member else { return };
            match output {
                ElectionOutput::Connect { link, sid } => {
                    member.election_links.insert(link);
                    member.outputs.push_back(Output::Connect { link, sid, port: Port::Election });
                }
                ElectionOutput::Send { link, bytes } => {
                    member.outputs.push_back(Output::Send { link, bytes: bytes.into() });
                }
                ElectionOutput::Close { link } => {
                    member.election_links.remove(&link);
                    member.outputs.push_back(Output::Close { link });
                }
                ElectionOutput::Unwelcome { link, why } => {
                    member.outputs.push_back(Output::Event(Event::Unwelcome { link, why }));
                }
                ElectionOutput::Elected { vote, state, .. } => {
                    assert!(
                        matches!(member.state, State::Electing),
                        "elected as {state:?} in {:?}",
                        member.state
                    );
                    let (sid, now_ms) = (vote.leader, now.mono_ms());
                    let took_us = (!member.is_observer()).then(|| since(member.looking_us, now));
                    member.outputs.push_back(Output::Event(Event::Elected { sid }));
                    // A quorum that elected with this server's vote knows as much as it does.
                    let (theirs, ours) = (vote.peer_epoch, member.epochs.current);
                    if state != ServerState::Leading && theirs < i64::from(ours) {
                        let event = Event::Outdated { leader: sid, theirs, ours };
                        member.outputs.push_back(Output::Event(event));
                    }
                    if let Some(took_us) = took_us {
                        self.core().metrics.times.election_time.record(took_us);
                    }
                    let Some(member) = &mut self.member else { return };
                    if state == ServerState::Leading {
                        let last = member.history.last();
                        let membership = member.settings.membership.clone();
                        let mut leader = Leader::new(membership, member.epochs, last, now_ms);
                        let mut led = Vec::new();
                        for link in std::mem::take(&mut member.early_links).into_keys() {
                            leader.accepted(link, now_ms, &mut led);
                        }
                        leader.discover(now_ms, &mut member.history, &mut led);
                        member.state = State::Leading(Box::new(leader));
                        self.led(led, now);
                    } else {
                        let early = std::mem::take(&mut member.early_links);
                        member.outputs.extend(early.into_keys().map(|link| Output::Close { link }));
                        let (link, retry_ms, wants_all) = (None, now_ms.max(member.next_sync_ms), false);
                        let until_ms = retry_ms + member.settings.membership.init_ms.min(CONNECT_MS);
                        member.state = State::Connecting { sid, link, retry_ms, until_ms, wants_all };
                        self.tick(now);
                    }
                }
                ElectionOutput::Looks { sid, peer_epoch } => {
                    if let State::Leading(leader) = &mut member.state {
                        leader.looks(sid, peer_epoch);
                    }
                }
                ElectionOutput::LeaderLooks { round } => {
                    if matches!(member.state, State::Connecting { .. }) {
                        self.look(now, &format_args!("the leader looks for one itself, in round {round}"));
                        return;
                    }
                }
            }
        }
    }

    fn led(&mut self, out: Vec<LeaderOutput>, now: Now) {
        for output in out {
            let Some(member) = &mut self.member else { return };
            match output {
                LeaderOutput::Send(link, bytes) => member.outputs.push_back(Output::Send { link, bytes }),
                LeaderOutput::Close(link, why) => {
                    let event = match member.lose(link, &why) {
                        Some(lost) => lost,
                        None => Event::LearnerLeft { link, why },
                    };
                    member.outputs.push_back(Output::Event(event));
                    member.outputs.push_back(Output::Close { link });
                }
                LeaderOutput::SaveEpochs(epochs) => {
                    member.epochs = epochs;
                    let repairing = member.repairing;
                    member.outputs.push_back(Output::SaveEpochs { epochs, repairing });
                }
                LeaderOutput::Syncing { is_snap, begins, under_way } => {
                    self.note_syncing(is_snap, begins, under_way)
                }
                LeaderOutput::Image(link) => self.image(link),
                LeaderOutput::SendImage(link) => member.outputs.push_back(Output::SendImage(link)),
                LeaderOutput::FindInLog(link, zxid) => {
                    member.outputs.push_back(Output::FindInLog(link, zxid))
                }
                LeaderOutput::ReadLog(link, after) => member.outputs.push_back(Output::ReadLog(link, after)),
                LeaderOutput::Lags(lag) => {
                    member.outputs.push_back(Output::Event(Event::LearnerLags { lag }));
                }
                LeaderOutput::Established(epoch) => self.established(epoch, now),
                LeaderOutput::Asked(learner, asked) => self.asked(learner, asked, now),
                LeaderOutput::Lost(why) => {
                    self.look(now, &why);
                    // What else it had to say is of no account any more.
                    return;
                }
            }
        }
    }

    /// Counts a learner that begins or ends to be brought up to date.
    fn note_syncing(&mut self, is_snap: bool, begins: bool, under_way: u64) {
        let Metrics { counters, sizes, .. } = self.metrics_mut();
        let (count, in_flight) = match is_snap {
            true => (&mut counters.snap_count, &mut sizes.inflight_snap_count),
            false => (&mut counters.diff_count, &mut sizes.inflight_diff_count),
        };
        *count += u64::from(begins);
        in_flight.record(under_way);
    }

    /// A learner needs the tree: a view takes an image of it.
    fn image(&mut self, link: LinkId) {
        let is_established = self.standing() == Standing::Leading;
        if !is_established {
            // What was held goes to the views, which show it to nobody; should it be taken back, they begin anew.
            self.publish_visible();
            self.drop_clients();
            let held =
                self.member.as_mut().map(|member| std::mem::take(&mut member.held)).unwrap_or_default();
            held.into_iter().for_each(|deltas| self.publish(deltas));
            if let Side::Follow(follow) = &mut self.side
                && let Some(rest) = follow.core.take_held()
            {
                self.publish(unaddressed(rest));
            }
            if let Side::Follow(follow) = &mut self.side {
                follow.core.hold(self.shown);
            }
        }
        self.announce(EntryKind::Image(link));
    }

    /// A view has begun the image that [`EntryKind::Image`] asked for; its tree is as of `zxid`.
    pub fn image_begun(&mut self, link: LinkId, zxid: Zxid, now: Now) {
        let Some(member) = &mut self.member else { return };
        let State::Leading(leader) = &mut member.state else { return };
        let mut out = Vec::new();
        leader.image_begun(link, zxid, now.mono_ms(), &mut member.history, &mut out);
        self.led(out, now);
    }

    /// A connection to a peer has taken `bytes` of what it was to be sent; `messages` of them were handed out by
    /// [`Output::Send`], the others belong to a tree.
    pub fn taken(&mut self, link: LinkId, bytes: usize, messages: usize, now: Now) {
        let Some(member) = &mut self.member else { return };
        let State::Leading(leader) = &mut member.state else { return };
        let mut out = Vec::new();
        leader.taken(link, bytes, messages, now.mono_ms(), &member.history, &mut out);
        Self::send(member, out);
    }

    /// What the log says to [`Output::FindInLog`]: its newest txn that is not above the zxid; `None` where the log does
    /// not go back so far, or a tree is less to send.
    pub fn log_found(&mut self, link: LinkId, floor: Option<Zxid>, now: Now) {
        let Some(member) = &mut self.member else { return };
        let State::Leading(leader) = &mut member.state else { return };
        let mut out = Vec::new();
        leader.found(link, floor, now.mono_ms(), &mut member.history, &mut out);
        self.led(out, now);
    }

    /// What the log gave for [`Output::ReadLog`], or why it gave nothing.
    pub fn log_read(&mut self, link: LinkId, read: Result<&Batch, String>, now: Now) {
        let Some(member) = &mut self.member else { return };
        let State::Leading(leader) = &mut member.state else { return };
        let mut out = Vec::new();
        leader.log_read(link, read, &mut member.history, &mut out);
        self.led(out, now);
    }

    fn established(&mut self, epoch: u32, now: Now) {
        self.confirm(epoch);
        let Side::Follow(follow) = std::mem::replace(&mut self.side, Side::Nobody) else {
            unreachable!("established twice")
        };
        let (core, sessions, owners, waiting) = follow.into_parts();
        let zxid = core.last_txn;
        let mut commit = Commit::of(core, sessions, now);
        commit.core_mut().metrics.proposal_size = LastMinMax::default();
        commit.lead(owners);
        commit.submit(now, Uplink { term: self.term, ..waiting });
        self.side = Side::Commit(Box::new(commit));
        self.note_available(now);
        if let Some(member) = &mut self.member {
            member.outputs.push_back(Output::Event(Event::Leading { epoch, zxid }));
            let mut out = Vec::new();
            let vote = member.election.vote();
            member.election.settle(ServerState::Leading, Vote { peer_epoch: epoch.into(), ..vote }, &mut out);
            self.elected(out, now);
        }
    }

    /// Counts for how long it served no client, now that it does.
    fn note_available(&mut self, now: Now) {
        let Some(since_us) = self.member.as_mut().and_then(|member| member.unavailable_us.take()) else {
            return;
        };
        let leads = matches!(self.side, Side::Commit(_));
        let times = &mut self.metrics_mut().times;
        times.unavailable_time.record(since(since_us, now));
        if leads {
            times.leader_unavailable_time.record(since(since_us, now));
        }
    }

    fn asked(&mut self, learner: u32, asked: Asked, now: Now) {
        let Side::Commit(commit) = &mut self.side else { return };
        let Some(State::Leading(leader)) = self.member.as_ref().map(|member| &member.state) else { return };
        // One that is gone asks again if it comes back.
        let Some(sid) = leader.sid_of(learner) else { return };
        let from = CnxnId::of_learner(learner, sid);
        let mut bytes = Vec::new();
        let item = match asked {
            Asked::Request { session_id, cxid, op, body, ids } => {
                bytes = body;
                let body = 0..bytes.len();
                ViewRequest::Request(Request { cnxn: from, session_id, xid: cxid, op, body, ids: ids.into() })
            }
            Asked::CreateSession { session_id, timeout_ms } => {
                ViewRequest::CreateSession { from, session_id, timeout_ms }
            }
            Asked::Revalidate { session_id, timeout_ms } => {
                commit.core_mut().metrics.counters.revalidate_count += 1;
                ViewRequest::Revalidate { from, session_id, timeout_ms }
            }
            Asked::Touched(sessions) => ViewRequest::Touched(sessions),
        };
        let since_us = Some(now.mono_us);
        commit.submit(now, Uplink { bytes, items: vec![item], since_us, term: self.term });
    }

    fn learned(&mut self, out: Vec<LearnerOutput>, now: Now) {
        for output in out {
            let Some(member) = &mut self.member else { return };
            let State::Learning(learning) = &mut member.state else { return };
            let link = learning.link;
            match output {
                LearnerOutput::Send(bytes) => member.outputs.push_back(Output::Send { link, bytes }),
                LearnerOutput::SaveEpochs(epochs) => {
                    member.epochs = epochs;
                    let repairing = member.repairing;
                    member.outputs.push_back(Output::SaveEpochs { epochs, repairing });
                }
                LearnerOutput::Trunc(to) => {
                    learning.sync = "TRUNC";
                    member.restoring = Restoring::Checking(to);
                    member.outputs.push_back(Output::CheckTruncation(to));
                }
                LearnerOutput::Snap(zxid) => {
                    learning.sync = "SNAP";
                    let settings = self.core().tree.settings();
                    let receiving = Receiving {
                        zxid,
                        decoder: Decoder::new(Form::Stream),
                        builder: Builder::new(settings),
                    };
                    let Some(member) = &mut self.member else { return };
                    member.restoring = Restoring::Receiving(Box::new(receiving));
                }
                LearnerOutput::Propose(zxid, txn) => self.log(zxid, txn, now),
                LearnerOutput::SyncEnds => self.gather_proposals(),
                LearnerOutput::Commit(zxid) if member.restoring.is_installing() => {
                    member.waiting_commit = zxid;
                    self.sharpen(now);
                }
                LearnerOutput::Commit(zxid) => {
                    self.commit_logged(zxid, now);
                    self.check_up_to_date(now);
                }
                LearnerOutput::UpToDate(epoch) => {
                    learning.up_to_date = Some(epoch);
                    self.check_up_to_date(now);
                }
                LearnerOutput::Ping(zxid) => {
                    learning.answered_ms = now.mono_ms();
                    if let Side::Follow(follow) = &mut self.side {
                        follow.answer_ping(zxid);
                    }
                }
                LearnerOutput::Revalidated(answer) => {
                    if let Side::Follow(follow) = &mut self.side {
                        follow.revalidated(answer.session, answer.valid);
                    }
                }
                LearnerOutput::Synced => {
                    if let Side::Follow(follow) = &mut self.side {
                        follow.synced();
                    }
                }
                LearnerOutput::Lost(why) => {
                    self.look(now, &why);
                    return;
                }
            }
        }
        self.forward();
    }

    fn log(&mut self, zxid: Zxid, txn: Bytes, now: Now) {
        let (Side::Follow(follow), Some(member)) = (&mut self.side, &mut self.member) else { return };
        // An observer hears of it when it is committed; what a sync brings was proposed before.
        if !member.is_observer() && !follow.core.is_held() {
            let Metrics { counters, latencies, .. } = &mut follow.core.metrics;
            counters.learner_proposal_received_count += 1;
            latencies.proposal_latency.record_since(now.wall_ms, txn::time_ms(&txn));
        }
        let is_hint = match &member.state {
            State::Learning(learning) => !learning.learner.vouches_for(zxid),
            _ => true,
        };
        let logged = Logged { zxid, txn, is_hint };
        if member.restoring.is_installing() {
            member.waiting_bytes += logged.txn.len();
            return member.waiting.push_back(logged);
        }
        if member.gathered.bytes() + logged.txn.len() + wal::BLOCK_BYTES > GROUP_FIT_BYTES {
            self.gather_proposals();
        }
        let (Side::Follow(follow), Some(member)) = (&mut self.side, &mut self.member) else { return };
        if member.gathered.is_empty() {
            member.gathered_us = now.mono_us;
        }
        member.gathered.put(zxid, |out| out.extend_from_slice(logged.record()));
        follow.log(logged);
        let limit = match &member.state {
            State::Learning(learning) if !learning.is_up_to_date => SYNC_GROUP_BYTES,
            _ => follow.core.group_bytes_max,
        };
        if member.gathered.bytes() >= limit {
            self.gather_proposals();
        }
    }

    /// Goes on once the leader has said so, and has committed all that the tree holds: a log that was the leader's
    /// before may end with what is being committed still.
    fn check_up_to_date(&mut self, now: Now) {
        let (Side::Follow(follow), Some(member)) = (&self.side, &mut self.member) else { return };
        let State::Learning(learning) = &mut member.state else { return };
        // The start of an epoch is no txn: a leader's tree that was as of that was committed.
        let last = follow.core.last_txn;
        if (last <= learning.learner.committed() || last.counter() == 0)
            && let Some(epoch) = learning.up_to_date.take()
        {
            learning.is_up_to_date = true;
            member.failed_syncs = 0;
            let took_us = (now.mono_ms() - learning.began_ms).max(0) as u64 * 1000;
            let is_observer = member.is_observer();
            let times = &mut self.metrics_mut().times;
            match is_observer {
                true => times.observer_sync_time.record(took_us),
                false => times.follower_sync_time.record(took_us),
            }
            self.up_to_date(epoch, now);
        }
    }

    fn up_to_date(&mut self, epoch: u32, now: Now) {
        if let Some(member) = &mut self.member
            && std::mem::replace(&mut member.repairing, false)
        {
            // What a quorum has is on this disk: from here on it counts again.
            let epochs = member.epochs;
            member.outputs.push_back(Output::SaveEpochs { epochs, repairing: false });
            if !member.settings.is_observer {
                return self.look(now, &"repaired, and now with a vote");
            }
        }
        self.confirm(epoch);
        self.note_available(now);
        let (Side::Follow(follow), Some(member)) = (&mut self.side, &mut self.member) else { return };
        let State::Learning(learning) = &member.state else { return };
        follow.connect(epoch, learning.learner.has_java_leader());
        let (sid, zxid, sync) = (learning.sid, follow.core.last_txn, learning.sync);
        member.outputs.push_back(Output::Event(Event::Following { sid, epoch, zxid, sync }));
        let mut out = Vec::new();
        let state = match member.is_observer() {
            true => ServerState::Observing,
            false => ServerState::Following,
        };
        let vote = member.election.vote();
        member.election.settle(state, Vote { peer_epoch: epoch.into(), ..vote }, &mut out);
        self.elected(out, now);
    }

    /// Decodes what has come of a tree. The bytes after its end stay with the learner, whose packets they are.
    ///
    /// A leader of ZooKeeper's goes on committing while it sends its tree, so that the tree holds some of what it sends
    /// behind it. What was committed by then makes it exact, and comes without being waited for.
    fn take_tree(&mut self, now: Now) {
        let Some(member) = &mut self.member else { return };
        let (State::Learning(learning), Restoring::Receiving(receiving)) =
            (&mut member.state, &mut member.restoring)
        else {
            return;
        };
        let Some(bytes) = learning.learner.tree_bytes() else {
            unreachable!("a tree is received that the learner does not know of")
        };
        let used = match receiving.decoder.feed(bytes, &mut receiving.builder) {
            Ok(Progress::More) => return learning.learner.take_tree(bytes.len()),
            Ok(Progress::Whole { used }) => used,
            Err(damage) => return self.look(now, &LostLeader::Tree(damage.to_string())),
        };
        learning.learner.take_tree(used);
        let Restoring::Receiving(receiving) = std::mem::replace(&mut member.restoring, Restoring::No) else {
            unreachable!("looked at above")
        };
        let Receiving { zxid, decoder, builder } = *receiving;
        let tail = decoder.finish().map_err(|damage| damage.to_string());
        match tail.and_then(|tail| builder.finish_fuzzy(zxid, tail).map_err(|why| why.to_string())) {
            Ok(tree) => {
                member.restoring = Restoring::Fuzzy(Box::new(tree));
                let mut out = Vec::new();
                learning.learner.tree_ended(zxid, &mut out);
                self.sharpen(now);
                self.learned(out, now);
            }
            Err(why) => self.look(now, &LostLeader::Tree(why)),
        }
    }

    /// Has a tree stored once it is exact.
    fn sharpen(&mut self, now: Now) {
        let Some(member) = &mut self.member else { return };
        let Restoring::Fuzzy(tree) = &mut member.restoring else { return };
        while let Some(first) = member.waiting.front()
            && first.zxid <= member.waiting_commit
            && let Some(Logged { zxid, txn, .. }) = member.waiting.pop_front()
        {
            member.waiting_bytes -= txn.len();
            if let Err(why) = tree.replay(zxid, &txn) {
                return self.look(now, &LostLeader::Tree(why.to_string()));
            }
        }
        if !tree.is_reached() {
            return;
        }
        let Restoring::Fuzzy(tree) = std::mem::replace(&mut member.restoring, Restoring::No) else {
            unreachable!("looked at above")
        };
        match tree.finish() {
            Ok((restored, report)) => {
                if let State::Learning(learning) = &member.state {
                    let (sid, took_ms) = (learning.sid, now.mono_ms() - learning.began_ms);
                    let attempt = member.failed_syncs + 1;
                    let event = Event::Storing { sid, znodes: restored.tree.len(), took_ms, attempt };
                    member.outputs.push_back(Output::Event(event));
                }
                member.restoring = Restoring::Storing(restored.zxid);
                member.outputs.push_back(Output::StoreTree(Box::new(restored)));
                self.metrics_mut().counters.digest_mismatches_count += report.digest_mismatches;
            }
            Err(why) => self.look(now, &LostLeader::Tree(why.to_string())),
        }
    }

    /// That tree is durable as an incoming snapshot.
    pub fn tree_stored(&mut self, restored: Database) {
        let Some(member) = &mut self.member else { return };
        let is_awaited = matches!(member.restoring, Restoring::Storing(zxid) if zxid == restored.zxid);
        assert!(is_awaited, "a tree at {} was stored while {:?}", restored.zxid, member.restoring);
        self.to_log.push_back(Arc::new(Batch::marker(Marker::Base { at: restored.zxid })));
        member.restoring = Restoring::Basing(Box::new(restored));
    }

    /// That tree could not be written: nothing of it is on the disk. Whether there is room the next attempt shows, after
    /// a pause, for each costs all of the tree.
    pub fn tree_not_stored(&mut self, why: String, now: Now) {
        let Some(member) = &mut self.member else { return };
        let is_awaited = matches!(member.restoring, Restoring::Storing(_));
        assert!(is_awaited, "a tree was not stored while {:?}", member.restoring);
        member.restoring = Restoring::No;
        member.next_sync_ms = now.mono_ms() + PAUSE_NOT_STORED_MS;
        match member.state {
            State::Learning(_) => {
                self.look(now, &LostLeader::Tree(format!("the tree cannot be stored: {why}")))
            }
            _ => self.settle(now),
        }
    }

    /// What the disk says to [`Output::CheckTruncation`]. A log that begins with a tree behind `to` cannot be cut there:
    /// that tree came from a leader which held what nobody committed, and was gone before it told. The leader is asked
    /// for everything, over a new connection and at once, since it may need this server for its quorum. Nothing is
    /// taken back meanwhile: all that this server ever acknowledged is on its disk until what comes takes its place.
    pub fn truncate(&mut self, to: Zxid, is_possible: bool, now: Now) {
        let Some(member) = &mut self.member else { return };
        let State::Learning(learning) = &member.state else { return };
        if !matches!(member.restoring, Restoring::Checking(asked) if asked == to) {
            return;
        }
        if is_possible {
            member.restoring = Restoring::Truncating(to);
            self.to_log.push_back(Arc::new(Batch::marker(Marker::Truncate { to })));
            return;
        }
        member.restoring = Restoring::No;
        let (sid, link, retry_ms) = (learning.sid, learning.link, now.mono_ms());
        member.outputs.push_back(Output::Event(Event::CannotTruncate { sid, to }));
        member.outputs.push_back(Output::Close { link });
        let until_ms = retry_ms + member.settings.membership.init_ms.min(CONNECT_MS);
        member.state = State::Connecting { sid, link: None, retry_ms, until_ms, wants_all: true };
        self.tick(now);
    }

    /// The log has its marker.
    fn marked(&mut self, now: Now) {
        let Some(member) = &mut self.member else { return };
        match std::mem::replace(&mut member.restoring, Restoring::Reloading) {
            Restoring::Truncating(to) => member.outputs.push_back(Output::Reload(to)),
            Restoring::Basing(restored) => {
                member.outputs.push_back(Output::FinishInstall(restored.zxid));
                self.adopt(*restored, now);
            }
            other => unreachable!("a marker in the log while {other:?}"),
        }
    }

    /// What the disk holds, after [`Output::Reload`].
    pub fn reloaded(&mut self, restored: Database, now: Now) {
        self.adopt(restored, now);
    }

    /// Goes on with another tree than before.
    fn adopt(&mut self, mut restored: Database, now: Now) {
        // Of the tree before.
        self.publish_words();
        self.publish_visible();
        self.drop_clients();
        let last = restored.zxid;
        if let Some(member) = &self.member {
            let (config_text, config_version) = member.config();
            restored.set_config(&config_text, config_version);
        }
        let (Side::Follow(follow), Some(member)) = (&mut self.side, &mut self.member) else { return };
        member.history = History::new(last);
        member.held.clear();
        member.restoring = Restoring::No;
        self.durable = last;
        let shown = (last, restored.tree.digest());
        let sessions = restored.sessions.clone();
        follow.reset(restored, shown);
        let restart = Restart { tree: follow.core.tree.for_view(), sessions };
        self.shown = shown;
        self.announce(EntryKind::Reset(Arc::new(restart)));
        let Some(member) = &mut self.member else { return };
        let mut out = Vec::new();
        match &mut member.state {
            State::Learning(learning) => learning.learner.restored(last, &mut out),
            _ => return self.settle(now),
        }
        let waiting = std::mem::take(&mut member.waiting);
        member.waiting_bytes = 0;
        let committed = std::mem::replace(&mut member.waiting_commit, Zxid::ZERO);
        for Logged { zxid, txn, .. } in waiting.into_iter().filter(|logged| logged.zxid > last) {
            self.log(zxid, txn, now);
        }
        self.commit_logged(committed, now);
        self.learned(out, now);
    }

    /// A peer has connected.
    pub fn accepted(&mut self, link: LinkId, port: Port, now: Now) {
        let Some(member) = &mut self.member else { return };
        let (mut out, mut led) = (Vec::new(), Vec::new());
        match (port, &mut member.state) {
            (Port::Election, _) => {
                member.election_links.insert(link);
                member.election.accepted(now.mono_ms() as u64, link, &mut out);
            }
            (Port::Quorum, State::Leading(leader)) => {
                leader.accepted(link, now.mono_ms(), &mut led);
            }
            (Port::Quorum, State::Settling | State::Electing) => {
                member.early_links.insert(link, now.mono_ms());
                if member.early_links.len() > EARLY_LINKS_MAX
                    && let Some((oldest, _)) = member.early_links.pop_first()
                {
                    member.outputs.push_back(Output::Close { link: oldest });
                }
            }
            (Port::Quorum, _) => member.outputs.push_back(Output::Close { link }),
        }
        self.elected(out, now);
        self.led(led, now);
    }

    /// A connection that was asked for is there.
    pub fn connected(&mut self, link: LinkId, now: Now) {
        let Some(member) = &mut self.member else { return };
        let (mut elected, mut learned) = (Vec::new(), Vec::new());
        if member.election_links.contains(&link) {
            member.election.connected(now.mono_ms() as u64, link, &mut elected);
        } else if let State::Connecting { sid, link: Some(asked), until_ms, wants_all, .. } = member.state
            && asked == link
        {
            let is_observer = member.is_observer();
            let Member { settings, epochs, history, .. } = &**member;
            let (membership, last, now_ms) = (settings.membership.clone(), history.last(), now.mono_ms());
            let learner = Learner::new(membership, is_observer, *epochs, last, now_ms, &mut learned)
                .wanting_all(wants_all);
            let (up_to_date, is_up_to_date) = (None, false);
            let sync = "DIFF";
            let (began_ms, said_ms, bytes) = (now_ms, now_ms, 0);
            let learning = Learning {
                sid,
                up_to_date,
                is_up_to_date,
                until_ms,
                link,
                learner,
                sync,
                began_ms,
                said_ms,
                bytes,
                answered_ms: now_ms,
            };
            member.state = State::Learning(Box::new(learning));
        } else {
            member.outputs.push_back(Output::Close { link });
        }
        self.elected(elected, now);
        self.learned(learned, now);
    }

    /// Bytes of a peer.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], now: Now) {
        let Some(member) = &mut self.member else { return };
        let (mut elected, mut led, mut learned) = (Vec::new(), Vec::new(), Vec::new());
        if member.election_links.contains(&link) {
            member.election.received(now.mono_ms() as u64, link, bytes, &mut elected);
        } else {
            match &mut member.state {
                State::Leading(leader) => {
                    leader.received(link, bytes, now.mono_ms(), &mut member.history, &mut led);
                }
                State::Learning(learning) if learning.link == link => {
                    learning.bytes += bytes.len() as u64;
                    learning.learner.received(bytes, now.mono_ms(), &mut learned);
                }
                // A connection that this server has left: its end is on the way to the shell.
                _ => {}
            }
        }
        self.elected(elected, now);
        self.led(led, now);
        self.learned(learned, now);
        self.take_tree(now);
        self.advance(now);
    }

    /// A connection has ended, or one that was asked for could not be made.
    pub fn closed(&mut self, link: LinkId, now: Now) {
        let Some(member) = &mut self.member else { return };
        let mut out = Vec::new();
        if member.early_links.remove(&link).is_some() {
            return;
        }
        if member.election_links.remove(&link) {
            member.election.closed(now.mono_ms() as u64, link, &mut out);
            return self.elected(out, now);
        }
        match &mut member.state {
            State::Leading(leader) => {
                leader.closed(link);
                let lost = member.lose(link, &"its connection ended");
                member.outputs.extend(lost.map(Output::Event));
            }
            State::Connecting { link: asked, retry_ms, .. } if *asked == Some(link) => {
                *asked = None;
                *retry_ms = now.mono_ms() + CONNECT_RETRY_MS;
            }
            // It may not know yet that it leads.
            State::Learning(learning) if learning.link == link && learning.learner.is_unheard() => {
                let (sid, until_ms) = (learning.sid, learning.until_ms);
                let retry_ms = now.mono_ms() + CONNECT_RETRY_MS;
                let wants_all = learning.learner.wants_all();
                member.state = State::Connecting { sid, link: None, retry_ms, until_ms, wants_all };
            }
            State::Learning(learning) if learning.link == link => self.look(now, &LostLeader::Closed),
            _ => {}
        }
    }
}

/// Microseconds since then.
fn since(then_us: i64, now: Now) -> u64 {
    (now.mono_us - then_us).max(0) as u64
}

/// The same entries, with nobody to answer.
fn unaddressed(mut deltas: Deltas) -> Deltas {
    deltas.entries.iter_mut().for_each(|entry| entry.to = None);
    deltas
}

#[cfg(test)]
mod tests;
