//! A leader's dealings with its learners: a new epoch, bringing each up to date, then broadcast.
//!
//! ```text
//! Discovery      FOLLOWERINFO of a quorum         -> new epoch, durable, then LEADERINFO
//! Promises       ACKEPOCH of a quorum             -> current epoch, durable, then DIFF | TRUNC | SNAP .. NEWLEADER
//! Synchronizing  ACK of NEWLEADER of a quorum     -> established: UPTODATE, clients are served
//! Broadcast      ACK of a txn of a quorum         -> committed
//! ```
//!
//! A learner that comes later goes through the same steps alone.
//!
//! Each learner has a cursor: the newest txn that was sent to it. A learner in step gets each proposal at once. One that
//! takes less than is proposed falls behind, and its memory here stays bounded: at most [`WINDOW_BYTES`] wait for its
//! connection, and [`Leader::pump`] goes on from the cursor when the connection has taken them, from the history or,
//! where that begins later, from the log ([`LeaderOutput::ReadLog`]).
//!
//! Invariants: `announced <= committed <= proposed`, `told <= sent <= proposed` for each learner, and a quorum of voters,
//! this server maybe among them, has acknowledged everything through `committed`; no packet leaves before the epoch that
//! it speaks of is durable.
//!
//! Source: Junqueira, Reed, Serafini, "Zab", DSN 2011; `Leader`, `LearnerHandler`, Apache ZooKeeper 3.9.4.

use super::LinkId;
use super::history::{History, Sync};
use super::message::{
    ForwardedRequest, LearnerInfo, MessageError, PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE, Packet,
    PacketStream, PacketType, Revalidate, Revalidated, Touched, put_bare, put_commit, put_inform,
    put_leader_info, put_ping, put_proposal, put_with, read_ack_epoch,
};
use super::quorum::{Quorum, SidSet, with_version};
use crate::admin::Leading;
use crate::proto::{Id, OpCode, Zxid};
use crate::wal::Batch;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long a leader waits for a quorum to connect. Those that voted for it come at once; if they do not, they
/// have found another leader meanwhile, and it is quicker to vote again than to wait for initLimit.
const DISCOVERY_MS: i64 = 1_000;

/// Most connections that have not said who they are; the oldest goes when there is another.
const STRANGERS_MAX: usize = 64;

/// Bytes that wait for a learner's connection at which it gets no more for now.
pub const WINDOW_BYTES: usize = 8 << 20;

/// Bytes of proposals that are put together for a learner that is behind.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes taken since the last look that show a learner at work. Pings alone are less, and the kernel takes those for a
/// peer that is gone.
const PROGRESS_BYTES: usize = 4 << 10;

/// A learner that lags for so long is named in the log.
const LAG_MS: i64 = 30_000;
/// Largest txn that one of ZooKeeper's servers reads with its default settings, `jute.maxbuffer` and as much extra, less
/// what a packet has around it.
const JAVA_TXN_BYTES_MAX: usize = 2 * 0xF_FFFF - 1024;

/// Epochs end here: in ACKEPOCH they are signed.
const EPOCH_MAX: u32 = i32::MAX as u32;

/// Epochs as they are on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest one whose leader was promised that no older leader is listened to.
    pub accepted: u32,
    /// The one of the leader that this server was last in step with.
    pub current: u32,
    /// The version that the ensemble's configuration has got since the file was written; 0 for none. It is kept with the
    /// epochs, since it must be durable at the same moments.
    pub config_version: i64,
}

/// What leaders and learners know of the ensemble, and how patient they are.
#[derive(Clone, Debug)]
pub struct Membership {
    /// This server.
    pub sid: i64,
    /// Who decides.
    pub quorum: Arc<Quorum>,
    /// The configuration as NEWLEADER tells it.
    pub config_text: Arc<[u8]>,
    /// Its version, as this server's file says it; see [`Epochs::config_version`].
    pub config_version: i64,
    /// Whether a leader gives a configuration without a version one: `reconfigEnabled`.
    pub versions_config: bool,
    /// Length of a tick.
    pub tick_ms: i64,
    /// How long a learner may take to connect and get up to date.
    pub init_ms: i64,
    /// How long either side may be silent after that.
    pub sync_ms: i64,
    /// Trees that are on their way to learners at a time; an observer beyond comes again later.
    pub snaps_max: usize,
    /// Whether every learner gets the whole tree.
    pub always_snap: bool,
    /// For the simulator: speaks to other servers as ZooKeeper's own server does, and is as strict.
    pub as_java: bool,
}

/// What a learner asks of the commit side. The number names the learner until it is gone.
#[derive(Debug)]
pub enum Asked {
    /// A client's write, sync or closeSession.
    Request {
        /// Whose.
        session_id: i64,
        /// The client's number for it.
        cxid: i32,
        /// What.
        op: OpCode,
        /// Its record.
        body: Vec<u8>,
        /// Who the client has proved to be.
        ids: Vec<Id>,
    },
    /// A client opens a session.
    CreateSession {
        /// The new session.
        session_id: i64,
        /// Negotiated.
        timeout_ms: i32,
    },
    /// A client attaches to its session.
    Revalidate {
        /// Which.
        session_id: i64,
        /// Negotiated anew.
        timeout_ms: i32,
    },
    /// These sessions gave a sign of life.
    Touched(Vec<i64>),
}

/// What must happen, in this order.
#[derive(Debug)]
pub enum LeaderOutput {
    /// These bytes go to a learner.
    Send(LinkId, Bytes),
    /// A connection ends.
    Close(LinkId, CloseLearner),
    /// Must be durable before anything that comes after it.
    SaveEpochs(Epochs),
    /// A learner needs the whole tree: [`Leader::image_begun`] says as of when.
    Image(LinkId),
    /// Here in the learner's stream stands the tree.
    SendImage(LinkId),
    /// A learner's log ends at this zxid, before the history begins: what the log knows of it. [`Leader::found`] has the
    /// answer.
    FindInLog(LinkId, Zxid),
    /// A learner is behind what the history holds: txns of the log after this zxid, oldest first, about
    /// [`WINDOW_BYTES`] at most; [`Leader::log_read`] has them.
    ReadLog(LinkId, Zxid),
    /// A learner in step takes less than is proposed.
    Lags(Lag),
    /// The synchronization of a learner begins or has ended: something to count.
    Syncing {
        /// Whether the learner gets the tree; if not, it gets the txns that it lacks.
        is_snap: bool,
        /// Whether it begins.
        begins: bool,
        /// How many learners are synchronized in the same way now.
        under_way: u64,
    },
    /// A quorum follows: the epoch begins.
    Established(u32),
    /// A learner asks.
    Asked(u32, Asked),
    /// It is no leader any more.
    Lost(LostLead),
}

/// How far a learner is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Which server.
    pub sid: i64,
    /// Newest txn that was sent to it.
    pub sent: Zxid,
    /// Newest txn.
    pub last: Zxid,
    /// For how long, in milliseconds.
    pub for_ms: i64,
}

/// Why a learner's connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseLearner {
    /// It says what nobody says.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// It says what it should not say now.
    #[error("packet of type {0} is not expected now")]
    Unexpected(i32),
    /// Its configuration is newer.
    #[error("its configuration has version {theirs:#x}, this server's has {ours:#x}")]
    ConfigAhead {
        /// The learner's.
        theirs: i64,
        /// This server's.
        ours: i64,
    },
    /// It knows more than the leader: it should have been elected.
    #[error("its log reaches epoch {epoch}, zxid {zxid}, further than this leader's")]
    Ahead {
        /// Its current epoch.
        epoch: i32,
        /// The end of its log.
        zxid: Zxid,
    },
    /// It was in step with a leader that this ensemble never had.
    #[error(
        "server {sid} has data of epoch {theirs}, and this leader's is {ours}: is that another ensemble's? Without its \
         data directory it gets this one's"
    )]
    Foreign {
        /// Which.
        sid: i64,
        /// The epoch that it votes with.
        theirs: i64,
        /// This leader's.
        ours: u32,
    },
    /// It was silent.
    #[error("nothing heard of it for {0} ms")]
    Silent(i64),
    /// It never said who it is, and others came.
    #[error("{STRANGERS_MAX} connections have not said who they are")]
    Crowded,
    /// Others are being given the tree.
    #[error("observer {sid} has to wait: trees_on_their_way={snaps} (leader.maxConcurrentSnapSyncs)")]
    Throttled {
        /// Which.
        sid: i64,
        /// How many are.
        snaps: usize,
    },
    /// It came again.
    #[error("server {0} has connected again")]
    Replaced(i64),
    /// What it lacks is not in the log any more.
    #[error(
        "server {sid} lacks txns after {after}, which the log cannot give: {why}; it comes again and gets the tree"
    )]
    LogGone {
        /// Which.
        sid: i64,
        /// Newest txn that was sent to it.
        after: Zxid,
        /// What the log said.
        why: String,
    },
    /// It acknowledged what was never proposed.
    #[error("server {sid} acknowledges {zxid}, and the last proposal is {last}")]
    Unproposed {
        /// Which.
        sid: i64,
        /// What it acknowledged.
        zxid: Zxid,
        /// The last proposal.
        last: Zxid,
    },
}

impl CloseLearner {
    /// What it is one of many of.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Message(_) | Self::Unexpected(_) => "no learner's message",
            Self::ConfigAhead { .. } => "newer configuration",
            Self::Ahead { .. } | Self::Foreign { .. } => "data that this ensemble does not have",
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
    /// The quorum went away.
    #[error("no quorum follows any more: connections ended, or nothing came for {0} ms (syncLimit)")]
    NoQuorum(i64),
    /// A voter cannot follow; a newer epoch is for all.
    #[error("server {sid} has promised epoch {promised} to a leader that came to nothing; this is {epoch}")]
    Promised {
        /// Which voter.
        sid: i64,
        /// The epoch that it accepted.
        promised: u32,
        /// This leader's.
        epoch: u32,
    },
}

/// Where a learner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has not said who it is.
    Fresh,
    /// It waits for the new epoch.
    Info,
    /// It was told the epoch.
    Told,
    /// It has promised; its log ends there.
    Promised(Zxid),
    /// The log is asked for where its own ends.
    Finding(Zxid),
    /// A tree is being prepared for it.
    Imaging,
    /// It was sent what it lacks, and gets every proposal.
    Syncing,
    /// It has all of that on disk.
    Synced,
}

#[derive(Debug)]
struct Learner {
    number: u32,
    sid: i64,
    step: Step,
    is_voter: bool,
    /// It said that it is an observer. A follower without a vote is in no server line.
    is_observer: bool,
    is_cumulative: bool,
    /// The tree is on its way to it, until it has said that it has that on disk.
    is_snap: bool,
    accepted: u32,
    stream: PacketStream,
    /// The newest txn that it has on disk.
    acked: Zxid,
    /// The newest ping that it has answered.
    round: u64,
    /// When it was heard last, or took bytes while it is brought up to date; as long as it has not said who it is, when
    /// it came.
    heard_ms: i64,
    cursor: Cursor,
}

/// What was sent to a learner.
#[derive(Debug, Default)]
struct Cursor {
    /// Newest txn that was sent.
    sent: Zxid,
    /// Newest txn whose commit was.
    told: Zxid,
    /// Txns that a server of ZooKeeper's was sent and not told the commit of: it wants to hear of each.
    uncommitted: VecDeque<Zxid>,
    /// NEWLEADER goes after the txns through this one; `None` once it has gone.
    newleader_after: Option<Zxid>,
    /// Answers to what it asked, oldest first, each for after the commits through a zxid.
    answers: VecDeque<(Zxid, Bytes)>,
    /// Bytes that wait for its connection, a tree left aside.
    queued: usize,
    /// Bytes that its connection took since that was last taken for a sign of life.
    taken: usize,
    /// The log is being read for it.
    is_reading: bool,
    /// Since when it has been behind.
    behind_since_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Discovery,
    Promises,
    Synchronizing,
    Broadcast,
}

/// See the module's page.
#[derive(Debug)]
pub struct Leader {
    membership: Membership,
    phase: Phase,
    epochs: Epochs,
    /// The end of the log when this server was elected, and the epoch it was of.
    elected: (u32, Zxid),
    learners: BTreeMap<LinkId, Learner>,
    links: BTreeMap<u32, LinkId>,
    next_number: u32,
    promised: SidSet,
    supporters: SidSet,
    /// Voters that looked for this leader and have not come yet, each with the epoch of its vote.
    looking: BTreeMap<i64, i64>,
    /// Newest txn on this server's own disk.
    durable: Zxid,
    committed: Zxid,
    /// Newest txn whose commit the learners were told of.
    announced: Zxid,
    /// Pings that were sent.
    round: u64,
    pinged_ms: i64,
    began_ms: i64,
    /// When a voter that is brought up to date was heard last, or took bytes.
    progress_ms: i64,
    /// Since when those who are here would not do for a quorum.
    hopeless_since_ms: Option<i64>,
    /// Newest txn of the log: elected with, or proposed since.
    proposed: Zxid,
}

impl Leader {
    /// Begins to lead: `last` is where the log ends, all of it durable.
    pub fn new(membership: Membership, epochs: Epochs, last: Zxid, now_ms: i64) -> Self {
        Self {
            phase: Phase::Discovery,
            elected: (epochs.current, last),
            epochs,
            learners: BTreeMap::new(),
            links: BTreeMap::new(),
            next_number: 0,
            promised: SidSet::EMPTY,
            looking: BTreeMap::new(),
            supporters: SidSet::EMPTY,
            durable: last,
            committed: last,
            announced: last,
            round: 0,
            pinged_ms: now_ms,
            began_ms: now_ms,
            progress_ms: now_ms,
            hopeless_since_ms: None,
            proposed: last,
            membership,
        }
    }

    /// Whether a quorum follows.
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    /// The epoch that it leads, once there is one.
    pub fn epoch(&self) -> u32 {
        self.epochs.accepted
    }

    /// Epochs as they are, or are about to be, on disk.
    pub fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// The version of the configuration that learners are told.
    fn config_version(&self) -> i64 {
        self.membership.config_version.max(self.epochs.config_version)
    }

    /// Newest txn that a quorum has.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Newest txn whose commit the learners were told of.
    pub fn announced(&self) -> Zxid {
        self.announced
    }

    /// Which server a learner is, while it is there.
    pub fn sid_of(&self, learner: u32) -> Option<i64> {
        Some(self.learners.get(self.links.get(&learner)?)?.sid)
    }

    /// The newest ping that a quorum has answered: this server led when that was sent, or later.
    pub fn confirmed_round(&self) -> u64 {
        self.newest_of_quorum(self.round, |learner| learner.round)
    }

    /// What it knows of its learners, for people.
    pub fn status(&self, now_ms: i64) -> Leading {
        let synced = |is_voter, is_observer| {
            let is_synced = |learner: &&Learner| {
                learner.step == Step::Synced
                    && (learner.is_voter, learner.is_observer) == (is_voter, is_observer)
            };
            self.learners.values().filter(is_synced).count() as u64
        };
        Leading {
            learners: self.learners.len() as u64,
            synced_followers: synced(true, false),
            synced_non_voting_followers: synced(false, false),
            synced_observers: synced(false, true),
            uptime_ms: (now_ms - self.began_ms) as u64,
            ..Leading::default()
        }
    }

    /// Whether that is a follower without a vote, which no server line names.
    pub fn is_non_voting_follower(&self, link: LinkId) -> bool {
        self.learners.get(&link).is_some_and(|learner| !learner.is_voter && !learner.is_observer)
    }

    /// A learner has connected.
    pub fn accepted(&mut self, link: LinkId, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let strangers = self.learners.iter().filter(|(_, learner)| learner.step == Step::Fresh);
        let oldest = strangers.clone().min_by_key(|(_, learner)| learner.number).map(|(link, _)| *link);
        if strangers.count() >= STRANGERS_MAX
            && let Some(oldest) = oldest
        {
            self.close(oldest, CloseLearner::Crowded, out);
        }
        let number = self.next_number;
        self.next_number += 1;
        let learner = Learner {
            number,
            sid: -1,
            step: Step::Fresh,
            is_voter: false,
            is_observer: false,
            is_cumulative: false,
            is_snap: false,
            accepted: 0,
            stream: PacketStream::default(),
            acked: Zxid::ZERO,
            round: 0,
            heard_ms: now_ms,
            cursor: Cursor::default(),
        };
        self.learners.insert(link, learner);
        self.links.insert(number, link);
    }

    /// A connection has ended.
    pub fn closed(&mut self, link: LinkId) {
        if let Some(learner) = self.learners.remove(&link) {
            self.links.remove(&learner.number);
        }
    }

    /// Learners that are in step: connection, number, and whether they vote.
    pub fn in_step(&self) -> impl Iterator<Item = (LinkId, i64, bool)> {
        let in_step = self.learners.iter().filter(|(_, learner)| learner.step == Step::Synced);
        in_step.map(|(link, learner)| (*link, learner.sid, learner.is_voter))
    }

    /// All learners' connections.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.learners.keys().copied()
    }

    fn close(&mut self, link: LinkId, why: CloseLearner, out: &mut Vec<LeaderOutput>) {
        self.closed(link);
        out.push(LeaderOutput::Close(link, why));
    }

    /// Bytes of a learner.
    pub fn received(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        if learner.step != Step::Fresh {
            learner.heard_ms = now_ms;
            // One that is in step waits as well, and brings the quorum no nearer.
            if learner.is_voter && learner.step == Step::Syncing {
                self.progress_ms = now_ms;
            }
        }
        // Taken out, so that a packet can lend its data while the leader acts on it.
        let mut stream = std::mem::take(&mut learner.stream);
        stream.feed(bytes);
        loop {
            let result = match stream.next_packet() {
                Ok(None) => break,
                Ok(Some(packet)) => self.packet(link, packet, now_ms, history, out),
                Err(error) => Err(error.into()),
            };
            if let Err(why) = result {
                return self.close(link, why, out);
            }
            if !self.learners.contains_key(&link) {
                return;
            }
        }
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stream = stream;
        }
    }

    fn packet(
        &mut self,
        link: LinkId,
        packet: Packet<'_>,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        match (learner.step, packet.kind) {
            (Step::Fresh, PacketType::FOLLOWERINFO | PacketType::OBSERVERINFO) => {
                self.info(link, &packet, now_ms, history, out)
            }
            (Step::Told, PacketType::ACKEPOCH) => {
                let current = read_ack_epoch(packet.data)?;
                self.promise(link, current, packet.zxid, now_ms, history, out)
            }
            (Step::Syncing, PacketType::ACK) if packet.zxid == Zxid::new(self.epochs.accepted, 0) => {
                learner.step = Step::Synced;
                let is_snap = std::mem::replace(&mut learner.is_snap, false);
                // What it was sent to get in step it has.
                learner.acked = learner.acked.max(self.elected.1);
                if learner.is_voter {
                    let sid = learner.sid;
                    self.membership.quorum.add(&mut self.supporters, sid);
                }
                out.push(self.syncing(is_snap, false));
                self.support(link, now_ms, out);
                Ok(())
            }
            (Step::Syncing, kind) if self.membership.as_java => Err(CloseLearner::Unexpected(kind.0)),
            // The answer to UPTODATE, which is no txn's.
            (Step::Synced, PacketType::ACK) if packet.zxid.counter() == 0 => Ok(()),
            (Step::Syncing | Step::Synced, PacketType::ACK) => {
                // It would count for txns that it has never seen.
                if packet.zxid > self.proposed {
                    let (sid, zxid, last) = (learner.sid, packet.zxid, self.proposed);
                    return Err(CloseLearner::Unproposed { sid, zxid, last });
                }
                // In the log's order, so the newest stands for all before it, also where each has its own.
                learner.acked = learner.acked.max(packet.zxid);
                self.advance();
                Ok(())
            }
            (
                Step::Promised(_) | Step::Finding(_) | Step::Imaging | Step::Syncing | Step::Synced,
                PacketType::PING,
            ) => {
                learner.round = learner.round.max(packet.zxid.0.min(self.round));
                let sessions: Vec<i64> =
                    Touched::read(packet.data)?.map(|(session_id, _)| session_id).collect();
                if !sessions.is_empty() {
                    out.push(LeaderOutput::Asked(learner.number, Asked::Touched(sessions)));
                }
                Ok(())
            }
            (Step::Synced, PacketType::REVALIDATE) => {
                let Revalidate { session, timeout } = Revalidate::read(packet.data)?;
                let asked = Asked::Revalidate { session_id: session, timeout_ms: timeout };
                out.push(LeaderOutput::Asked(learner.number, asked));
                Ok(())
            }
            (Step::Synced, PacketType::REQUEST) => {
                let ForwardedRequest { session, cxid, op, body } = ForwardedRequest::read(packet.data)?;
                let asked = match op {
                    OpCode::CREATE_SESSION => {
                        let Some(timeout) = body.first_chunk::<4>() else {
                            return Err(CloseLearner::Unexpected(packet.kind.0));
                        };
                        Asked::CreateSession { session_id: session, timeout_ms: i32::from_be_bytes(*timeout) }
                    }
                    _ => Asked::Request { session_id: session, cxid, op, body: body.into(), ids: packet.ids },
                };
                out.push(LeaderOutput::Asked(learner.number, asked));
                Ok(())
            }
            (_, PacketType(kind)) => Err(CloseLearner::Unexpected(kind)),
        }
    }

    /// A voter looks for this leader; its current epoch is `peer_epoch` at most.
    pub fn looks(&mut self, sid: i64, peer_epoch: i64) {
        self.looking.insert(sid, peer_epoch);
    }

    fn info(
        &mut self,
        link: LinkId,
        packet: &Packet<'_>,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let info = LearnerInfo::read(packet.data);
        let (theirs, ours) = (info.config_version, self.config_version());
        if theirs > ours {
            // A version that begins an epoch was given to the file's servers by a leader; any other one is of servers
            // that a reconfiguration has changed.
            if Zxid::from_wire(theirs).counter() != 0 {
                return Err(CloseLearner::ConfigAhead { theirs, ours });
            }
            self.epochs.config_version = theirs;
            out.push(LeaderOutput::SaveEpochs(self.epochs));
        }
        let Some(sid) = info.sid.filter(|_| info.protocol_version >= PROTOCOL_VERSION) else {
            // A server before 3.4: it knows no epochs to promise.
            return Err(CloseLearner::Unexpected(packet.kind.0));
        };
        if packet.zxid.epoch() >= EPOCH_MAX {
            // Nobody gets there by elections.
            return Err(CloseLearner::Unexpected(packet.kind.0));
        }
        let former = self.learners.iter().find(|(other, learner)| **other != link && learner.sid == sid);
        if let Some((&former, _)) = former {
            self.close(former, CloseLearner::Replaced(sid), out);
        }
        let is_voter = packet.kind == PacketType::FOLLOWERINFO
            && self.membership.quorum.votes(sid)
            && sid != self.membership.sid;
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.sid = sid;
        learner.is_voter = is_voter;
        learner.is_observer = packet.kind == PacketType::OBSERVERINFO;
        // Not above: what a later version of ZooKeeper's says means something else.
        learner.is_cumulative =
            info.protocol_version == PROTOCOL_VERSION_CUMULATIVE && !self.membership.as_java;
        learner.accepted = packet.zxid.epoch();
        learner.step = Step::Info;
        learner.heard_ms = now_ms;
        let (promised, epoch) = (learner.accepted, self.epochs.accepted);
        let vote = self.looking.remove(&sid);
        match self.phase {
            Phase::Discovery => self.discover(now_ms, history, out),
            // A quorum promises an epoch before anybody is in step with its leader, and all later epochs are beyond it.
            Phase::Broadcast if promised > epoch && vote.is_some_and(|theirs| theirs > i64::from(epoch)) => {
                return Err(CloseLearner::Foreign { sid, theirs: vote.unwrap_or_default(), ours: epoch });
            }
            // It would come again and again, refuse the epoch, and be missing in the quorum, also where it comes as an
            // observer to be repaired. ZooKeeper leaves it at that. Only for who has looked for this leader before, with
            // data that is not beyond its own: nobody else deposes it by a word. At most once a tick, for the sake of the
            // others; the next epoch is beyond both.
            Phase::Broadcast
                if self.membership.quorum.votes(sid)
                    && promised > epoch
                    && vote.is_some()
                    && now_ms - self.began_ms > self.membership.tick_ms =>
            {
                self.epochs.accepted = promised;
                out.push(LeaderOutput::SaveEpochs(self.epochs));
                out.push(LeaderOutput::Lost(LostLead::Promised { sid, promised, epoch }));
            }
            _ => self.tell_epoch(link, out),
        }
        Ok(())
    }

    /// Proposes a new epoch once a quorum is there.
    pub fn discover(&mut self, now_ms: i64, history: &mut History, out: &mut Vec<LeaderOutput>) {
        if self.phase != Phase::Discovery {
            return;
        }
        let quorum = &self.membership.quorum;
        let waiting = self.learners.values().filter(|learner| learner.step == Step::Info && learner.is_voter);
        let here = quorum.set(waiting.clone().map(|learner| learner.sid).chain([self.membership.sid]));
        if !quorum.contains_quorum(&here) {
            return;
        }
        let accepted = waiting.map(|learner| learner.accepted).fold(self.epochs.accepted, u32::max);
        self.epochs.accepted = accepted + 1;
        self.phase = Phase::Promises;
        out.push(LeaderOutput::SaveEpochs(self.epochs));
        quorum.add(&mut self.promised, self.membership.sid);
        let waiting: Vec<LinkId> = self.learners.keys().copied().collect();
        waiting.into_iter().for_each(|link| self.tell_epoch(link, out));
        self.check_promises(now_ms, history, out);
    }

    fn tell_epoch(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let Some(learner) = self.learners.get_mut(&link).filter(|learner| learner.step == Step::Info) else {
            return;
        };
        learner.step = Step::Told;
        let version = if learner.is_cumulative { PROTOCOL_VERSION_CUMULATIVE } else { PROTOCOL_VERSION };
        let mut bytes = Vec::new();
        put_leader_info(&mut bytes, self.epochs.accepted, version);
        learner.queue(link, bytes.into(), out);
    }

    fn promise(
        &mut self,
        link: LinkId,
        current: i32,
        last: Zxid,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        let (own_epoch, own_last) = self.elected;
        if self.phase == Phase::Promises
            && learner.is_voter
            && current != -1
            && (current > own_epoch as i32 || (current == own_epoch as i32 && last > own_last))
            // The start of the own epoch is no txn: what a server says that heard none of it.
            && !(current == own_epoch as i32 && last.counter() == 0)
        {
            return Err(CloseLearner::Ahead { epoch: current, zxid: last });
        }
        learner.step = Step::Promised(last);
        if learner.is_voter && current != -1 {
            let sid = learner.sid;
            self.membership.quorum.add(&mut self.promised, sid);
        }
        match self.phase {
            Phase::Promises => self.check_promises(now_ms, history, out),
            _ => self.sync(link, history, out),
        }
        Ok(())
    }

    fn check_promises(&mut self, now_ms: i64, history: &mut History, out: &mut Vec<LeaderOutput>) {
        if !self.membership.quorum.contains_quorum(&self.promised) {
            return;
        }
        self.epochs.current = self.epochs.accepted;
        self.progress_ms = now_ms;
        // Source: `Leader.lead`, ZOOKEEPER-1783.
        if self.membership.versions_config && self.config_version() == 0 {
            self.epochs.config_version = Zxid::new(self.epochs.accepted, 0).to_wire();
        }
        self.phase = Phase::Synchronizing;
        out.push(LeaderOutput::SaveEpochs(self.epochs));
        let sid = self.membership.sid;
        self.membership.quorum.add(&mut self.supporters, sid);
        let waiting: Vec<LinkId> = self.learners.keys().copied().collect();
        waiting.into_iter().for_each(|link| self.sync(link, history, out));
        self.check_support(now_ms, out);
    }

    /// Brings a learner that has promised up to date.
    fn sync(&mut self, link: LinkId, history: &mut History, out: &mut Vec<LeaderOutput>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Step::Promised(last) = learner.step else { return };
        if self.membership.always_snap {
            self.begin_sync(link, Sync::Snap, history, out);
        } else if history.holds(last) || last == Zxid::ZERO {
            let sync = history.sync(last);
            self.begin_sync(link, sync, history, out);
        } else {
            learner.step = Step::Finding(last);
            out.push(LeaderOutput::FindInLog(link, last));
        }
    }

    /// What the log says to [`LeaderOutput::FindInLog`]: its newest txn that is not above the zxid, where it goes back so
    /// far and what follows is less than a tree.
    pub fn found(
        &mut self,
        link: LinkId,
        floor: Option<Zxid>,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Step::Finding(last) = learner.step else { unreachable!("the log was asked for nothing") };
        learner.heard_ms = now_ms;
        let sync = history.sync_from(last, floor);
        self.begin_sync(link, sync, history, out);
    }

    fn begin_sync(
        &mut self,
        link: LinkId,
        mut sync: Sync,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let mut bytes = Vec::new();
        // A follower of ZooKeeper's takes all of its log for committed. What is has to stay there, since it may be one of the
        // quorum that has it, also where nobody was told of the commit.
        if let Sync::Diff { after } = sync
            && after > self.committed
            && !learner.is_cumulative
        {
            sync = match history.sync(self.committed) {
                Sync::Diff { after } => Sync::Trunc { to: after },
                other => other,
            };
        }
        // Java cuts behind the first record at or above what it is told, and the start of an epoch is no record: it would
        // keep a txn that nobody committed. Source: `FileTxnLog.truncate`.
        if let Sync::Trunc { to } = sync
            && to.counter() == 0
            && !learner.is_cumulative
        {
            sync = Sync::Snap;
        }
        // A txn that Java refuses to read would be in the way each time it comes.
        if let Sync::Diff { after } | Sync::Trunc { to: after } = sync
            && !learner.is_cumulative
            && history.holds(after)
            && history.after(after).any(|(_, txn)| txn.len() > JAVA_TXN_BYTES_MAX)
        {
            sync = Sync::Snap;
        }
        let after = match sync {
            Sync::Diff { after } => {
                put_bare(&mut bytes, PacketType::DIFF, history.last());
                after
            }
            Sync::Trunc { to } => {
                put_bare(&mut bytes, PacketType::TRUNC, to);
                to
            }
            Sync::Snap => {
                let (sid, is_voter) = (learner.sid, learner.is_voter);
                let snaps = self.learners.values().filter(|learner| learner.is_snap).count();
                // A follower may be needed for the quorum. Source: `LearnerHandler.run`, `LearnerSyncThrottler`.
                if !is_voter && snaps >= self.membership.snaps_max {
                    return self.close(link, CloseLearner::Throttled { sid, snaps }, out);
                }
                let Some(learner) = self.learners.get_mut(&link) else { return };
                learner.is_snap = true;
                learner.step = Step::Imaging;
                out.push(LeaderOutput::Image(link));
                return;
            }
        };
        learner.queue(link, bytes.into(), out);
        self.bring_up(link, after, history, out);
    }

    /// The tree that [`LeaderOutput::Image`] asked for will be as of `zxid`.
    pub fn image_begun(
        &mut self,
        link: LinkId,
        zxid: Zxid,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link).filter(|learner| learner.step == Step::Imaging)
        else {
            return;
        };
        // That the tree was not to be had sooner was not the learner's fault.
        learner.heard_ms = now_ms;
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::SNAP, zxid);
        learner.queue(link, bytes.into(), out);
        out.push(LeaderOutput::SendImage(link));
        self.bring_up(link, zxid, history, out);
    }

    /// From here on the learner gets what comes after `after`, at the pace at which it takes it.
    fn bring_up(&mut self, link: LinkId, after: Zxid, history: &History, out: &mut Vec<LeaderOutput>) {
        let announced = self.announced;
        let Some(learner) = self.learners.get_mut(&link) else { return };
        // An observer hears of a txn when it is committed.
        let through = if learner.is_voter { history.last() } else { announced };
        // A zkfast learner is told what is committed also where all of that is in its log: it cannot know.
        let told = if learner.is_cumulative { Zxid::ZERO } else { after };
        learner.cursor = Cursor {
            sent: after,
            told,
            newleader_after: Some(through.max(after)),
            ..std::mem::take(&mut learner.cursor)
        };
        learner.step = Step::Syncing;
        let is_snap = learner.is_snap;
        out.push(self.syncing(is_snap, true));
        self.pump(link, history, out);
    }

    /// A learner's connection has taken `bytes` of what was to be sent; `messages` of them belong to no tree.
    pub fn taken(
        &mut self,
        link: LinkId,
        bytes: usize,
        messages: usize,
        now_ms: i64,
        history: &History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let cursor = &mut learner.cursor;
        assert!(messages <= cursor.queued, "took {messages} bytes of {}", cursor.queued);
        cursor.queued -= messages;
        cursor.taken += bytes;
        // Its socket was full and took more: the other side has taken bytes. One that has room says nothing of that.
        if cursor.queued > 0 && learner.step == Step::Synced {
            learner.heard_ms = now_ms;
        }
        if cursor.taken >= PROGRESS_BYTES && learner.step == Step::Syncing {
            cursor.taken = 0;
            learner.heard_ms = now_ms;
            if learner.is_voter {
                self.progress_ms = now_ms;
            }
        }
        self.pump(link, history, out);
    }

    /// What the log gave for [`LeaderOutput::ReadLog`]: txns right after the cursor, or why there are none.
    pub fn log_read(
        &mut self,
        link: LinkId,
        read: Result<&Batch, String>,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        // An answer to a learner that was synchronised anew meanwhile would be another connection's.
        assert!(std::mem::take(&mut learner.cursor.is_reading), "the log was read unasked");
        let after = learner.cursor.sent;
        match read {
            // The learner would notice, and leave.
            Ok(batch)
                if batch
                    .iter()
                    .find(|(zxid, _)| *zxid > after)
                    .is_some_and(|(first, _)| is_next(after, first)) =>
            {
                let limit = self.limit(link, history);
                self.send_txns(
                    link,
                    batch.iter().skip_while(|(zxid, _)| *zxid <= after),
                    limit,
                    usize::MAX,
                    out,
                );
                self.pump(link, history, out);
            }
            read => {
                let why = read.err().unwrap_or_else(|| "it has others next".to_owned());
                let sid = learner.sid;
                self.close(link, CloseLearner::LogGone { sid, after, why }, out);
            }
        }
    }

    /// The newest txn that may be sent to a learner now. What was asked is answered between two commits, and an observer
    /// hears of a txn and its commit at once.
    fn limit(&self, link: LinkId, history: &History) -> Zxid {
        let Some(learner) = self.learners.get(&link) else { return Zxid::ZERO };
        let cursor = &learner.cursor;
        match learner.is_voter {
            true => history.last(),
            false => cursor.answers.front().map_or(self.announced, |(zxid, _)| self.announced.min(*zxid)),
        }
        .min(cursor.newleader_after.unwrap_or(Zxid(u64::MAX)))
    }

    /// Sends a learner what it lacks, as much as its connection may hold.
    pub fn pump(&mut self, link: LinkId, history: &History, out: &mut Vec<LeaderOutput>) {
        loop {
            let limit = self.limit(link, history);
            let Some(learner) = self.learners.get_mut(&link) else { return };
            if !matches!(learner.step, Step::Syncing | Step::Synced)
                || learner.cursor.is_reading
                || learner.cursor.queued >= WINDOW_BYTES
            {
                return;
            }
            let sent = learner.cursor.sent;
            if self.tell(link, out) {
                continue;
            }
            if sent >= limit {
                return;
            }
            let Some(learner) = self.learners.get_mut(&link) else { return };
            if !history.holds(sent) {
                learner.cursor.is_reading = true;
                out.push(LeaderOutput::ReadLog(link, sent));
                return;
            }
            self.send_txns(link, history.after(sent), limit, PIECE_BYTES, out);
        }
    }

    /// Sends a learner txns through `limit`, about `bytes_max` bytes of them. `txns` go on from its cursor.
    fn send_txns<'a>(
        &mut self,
        link: LinkId,
        txns: impl Iterator<Item = (Zxid, &'a [u8])>,
        limit: Zxid,
        bytes_max: usize,
        out: &mut Vec<LeaderOutput>,
    ) {
        let announced = self.announced;
        let Some(learner) = self.learners.get_mut(&link) else { return };
        // An answer stands between two commits.
        let border = learner.cursor.answers.front().map_or(announced, |(zxid, _)| announced.min(*zxid));
        let mut bytes = Vec::new();
        for (zxid, txn) in txns {
            if zxid > limit || bytes.len() >= bytes_max {
                break;
            }
            let cursor = &mut learner.cursor;
            assert!(is_next(cursor.sent, zxid), "txn {zxid} is sent after {}", cursor.sent);
            cursor.sent = zxid;
            // ZooKeeper's own servers, observers too, get proposal and commit before NEWLEADER.
            if !learner.is_voter && cursor.newleader_after.is_none() {
                put_inform(&mut bytes, zxid, txn);
                cursor.told = zxid;
                continue;
            }
            put_proposal(&mut bytes, zxid, txn);
            if learner.is_cumulative {
                continue;
            }
            // Not what will be announced: ZooKeeper's own servers want to hear of each commit once.
            if zxid <= border {
                put_commit(&mut bytes, zxid);
                cursor.told = zxid;
            } else {
                cursor.uncommitted.push_back(zxid);
            }
        }
        assert!(!bytes.is_empty(), "no txn after {}, and {limit} is to be sent", learner.cursor.sent);
        learner.queue(link, bytes.into(), out);
    }

    /// Tells a learner one thing that goes before its next txn: what is committed, NEWLEADER, an answer; `false` if
    /// there is none.
    fn tell(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) -> bool {
        let (announced, epoch) = (self.announced, Zxid::new(self.epochs.accepted, 0));
        let config_version = self.config_version();
        let Some(learner) = self.learners.get_mut(&link) else { return false };
        let cursor = &mut learner.cursor;
        let mut bytes = Vec::new();
        let border = cursor.answers.front().map_or(announced, |(zxid, _)| *zxid);
        let through = announced.min(cursor.sent).min(border);
        let is_due = cursor.newleader_after.is_some_and(|after| cursor.sent >= after);
        if learner.is_cumulative && through > cursor.told && through.counter() != 0 {
            put_commit(&mut bytes, through);
            cursor.told = through;
        } else if !learner.is_cumulative && cursor.uncommitted.front().is_some_and(|first| *first <= through)
        {
            while let Some(zxid) = cursor.uncommitted.front().copied().filter(|first| *first <= through) {
                cursor.uncommitted.pop_front();
                put_commit(&mut bytes, zxid);
                cursor.told = zxid;
            }
        } else if is_due {
            let config_text = with_version(&self.membership.config_text, config_version);
            put_with(&mut bytes, PacketType::NEWLEADER, epoch, &config_text);
            cursor.newleader_after = None;
        } else if cursor.answers.front().is_some_and(|(zxid, _)| *zxid <= cursor.sent)
            && let Some((_, answer)) = cursor.answers.pop_front()
        {
            learner.queue(link, answer, out);
            return true;
        } else {
            return false;
        }
        learner.queue(link, bytes.into(), out);
        true
    }

    fn syncing(&self, is_snap: bool, begins: bool) -> LeaderOutput {
        let is_one = |learner: &&Learner| learner.step == Step::Syncing && learner.is_snap == is_snap;
        let under_way = self.learners.values().filter(is_one).count() as u64;
        LeaderOutput::Syncing { is_snap, begins, under_way }
    }

    /// A learner is in step.
    fn support(&mut self, link: LinkId, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        match self.phase {
            Phase::Broadcast => self.up_to_date(link, out),
            _ => self.check_support(now_ms, out),
        }
    }

    fn check_support(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        if self.phase != Phase::Synchronizing || !self.membership.quorum.contains_quorum(&self.supporters) {
            return;
        }
        self.phase = Phase::Broadcast;
        self.pinged_ms = now_ms;
        out.push(LeaderOutput::Established(self.epochs.accepted));
        let in_step = self.learners.iter().filter(|(_, learner)| learner.step == Step::Synced);
        let in_step: Vec<LinkId> = in_step.map(|(link, _)| *link).collect();
        in_step.into_iter().for_each(|link| self.up_to_date(link, out));
    }

    fn up_to_date(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::UPTODATE, Zxid::from_wire(-1));
        learner.queue(link, bytes.into(), out);
    }

    /// These txns were proposed, and are about to be the newest of the history: every voter in step gets them at once,
    /// the others in their turn.
    pub fn propose<'a>(&mut self, txns: impl Iterator<Item = (Zxid, &'a [u8])>, out: &mut Vec<LeaderOutput>) {
        assert!(self.is_established(), "a proposal before the epoch begins");
        let (mut bytes, mut zxids) = (Vec::new(), Vec::new());
        let before = self.proposed;
        for (zxid, txn) in txns {
            assert!(zxid > self.proposed, "proposal {zxid} after {}", self.proposed);
            self.proposed = zxid;
            zxids.push(zxid);
            put_proposal(&mut bytes, zxid, txn);
        }
        let bytes = Bytes::from(bytes);
        for (&link, learner) in &mut self.learners {
            let cursor = &mut learner.cursor;
            let is_in_step = learner.is_voter
                && matches!(learner.step, Step::Syncing | Step::Synced)
                && cursor.sent == before
                && cursor.newleader_after.is_none()
                && cursor.queued < WINDOW_BYTES;
            if is_in_step {
                cursor.sent = self.proposed;
                if !learner.is_cumulative {
                    cursor.uncommitted.extend(&zxids);
                }
                learner.queue(link, bytes.clone(), out);
            }
        }
    }

    /// This server's own disk has everything through `zxid`.
    pub fn durable(&mut self, zxid: Zxid) {
        self.durable = self.durable.max(zxid);
        self.advance();
    }

    fn advance(&mut self) {
        if self.phase == Phase::Broadcast {
            self.committed =
                self.committed.max(Zxid(self.newest_of_quorum(self.durable.0, |learner| learner.acked.0)));
        }
    }

    /// The largest number that a quorum has reached, given this server's own.
    fn newest_of_quorum(&self, own: u64, of: impl Fn(&Learner) -> u64) -> u64 {
        let quorum = &self.membership.quorum;
        let voters =
            || self.learners.values().filter(|learner| learner.is_voter && learner.step == Step::Synced);
        let reached = |number: u64| {
            let mut set = SidSet::EMPTY;
            if own >= number {
                quorum.add(&mut set, self.membership.sid);
            }
            for learner in voters().filter(|learner| of(learner) >= number) {
                quorum.add(&mut set, learner.sid);
            }
            quorum.contains_quorum(&set)
        };
        voters().map(&of).chain([own]).filter(|number| reached(*number)).max().unwrap_or(0)
    }

    /// Tells the learners that everything through `through` is committed.
    pub fn commit(&mut self, through: Zxid, history: &History, out: &mut Vec<LeaderOutput>) {
        let before = self.announced;
        // The start of an epoch is no txn.
        if through <= before || through.counter() == 0 {
            return;
        }
        assert!(through <= self.committed, "told of {through}, committed is {}", self.committed);
        self.announced = through;
        let (mut commit, mut inform) = (Bytes::new(), Bytes::new());
        let mut others = Vec::new();
        for (&link, learner) in &mut self.learners {
            if !matches!(learner.step, Step::Syncing | Step::Synced) {
                continue;
            }
            let cursor = &mut learner.cursor;
            let is_free = cursor.newleader_after.is_none() && cursor.answers.is_empty();
            if learner.is_voter && learner.is_cumulative && is_free && cursor.sent >= through {
                if commit.is_empty() {
                    let mut bytes = Vec::new();
                    put_commit(&mut bytes, through);
                    commit = bytes.into();
                }
                cursor.told = through;
                learner.queue(link, commit.clone(), out);
            } else if !learner.is_voter && is_free && cursor.sent == before && cursor.queued < WINDOW_BYTES {
                if inform.is_empty() {
                    let mut bytes = Vec::new();
                    let txns = history.after(before).take_while(|(zxid, _)| *zxid <= through);
                    txns.for_each(|(zxid, txn)| put_inform(&mut bytes, zxid, txn));
                    inform = bytes.into();
                }
                (cursor.sent, cursor.told) = (through, through);
                learner.queue(link, inform.clone(), out);
            } else {
                others.push(link);
            }
        }
        others.into_iter().for_each(|link| self.pump(link, history, out));
    }

    /// Pings every learner; once [`Self::confirmed_round`] is as large as the number that this gives, this
    /// server was the leader at the time of the call or later.
    pub fn begin_round(&mut self, out: &mut Vec<LeaderOutput>) -> u64 {
        self.round += 1;
        let mut bytes = Vec::new();
        put_ping(&mut bytes, Zxid(self.round));
        let bytes = Bytes::from(bytes);
        for (&link, learner) in &mut self.learners {
            let hears = match learner.step {
                // A server of ZooKeeper's would take it for part of the synchronisation before NEWLEADER.
                Step::Syncing | Step::Synced => {
                    learner.is_cumulative || learner.cursor.newleader_after.is_none()
                }
                // A server of ZooKeeper's wants nothing but the synchronisation.
                Step::Finding(_) | Step::Imaging => learner.is_cumulative,
                Step::Fresh | Step::Info | Step::Told | Step::Promised(_) => false,
            };
            if hears {
                learner.queue(link, bytes.clone(), out);
            }
        }
        self.round
    }

    /// The answer to a learner's sync, right after the commits that were announced.
    pub fn synced(&mut self, learner: u32, history: &History, out: &mut Vec<LeaderOutput>) {
        self.answer(learner, history, out, |bytes| put_bare(bytes, PacketType::SYNC, Zxid::ZERO));
    }

    /// The answer to a learner's question about a session, right after the commits that were announced.
    pub fn revalidated(
        &mut self,
        learner: u32,
        session_id: i64,
        valid: bool,
        history: &History,
        out: &mut Vec<LeaderOutput>,
    ) {
        self.answer(learner, history, out, |bytes| Revalidated { session: session_id, valid }.write(bytes));
    }

    fn answer(
        &mut self,
        learner: u32,
        history: &History,
        out: &mut Vec<LeaderOutput>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(&link) = self.links.get(&learner) else { return };
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let mut bytes = Vec::new();
        write(&mut bytes);
        learner.cursor.answers.push_back((self.announced, bytes.into()));
        self.pump(link, history, out);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let Membership { tick_ms, init_ms, sync_ms, .. } = self.membership;
        let group_delay = |learner: &Learner| match learner.step {
            Step::Fresh => init_ms,
            Step::Synced => sync_ms,
            // It waits for this server's disk, or tree.
            Step::Finding(_) | Step::Imaging => i64::MAX,
            _ => init_ms + sync_ms,
        };
        let silent =
            self.learners.iter().filter(|(_, learner)| now_ms - learner.heard_ms > group_delay(learner));
        let silent: Vec<(LinkId, i64)> =
            silent.map(|(link, learner)| (*link, now_ms - learner.heard_ms)).collect();
        for (link, silent_ms) in silent {
            self.close(link, CloseLearner::Silent(silent_ms), out);
        }
        if self.phase == Phase::Discovery || self.phase == Phase::Promises {
            let limit_ms = if self.phase == Phase::Discovery { init_ms.min(DISCOVERY_MS) } else { init_ms };
            if now_ms - self.began_ms > limit_ms {
                out.push(LeaderOutput::Lost(LostLead::NotEstablished(now_ms - self.began_ms)));
            }
            return;
        }
        if now_ms - self.pinged_ms < tick_ms / 2 {
            return;
        }
        self.pinged_ms = now_ms;
        // Also before the epoch begins: a learner in step waits for the others, and one that stores a tree answers.
        self.begin_round(out);
        self.note_lags(now_ms, out);
        if self.phase == Phase::Synchronizing {
            // A tree takes as long as it takes, as long as it goes on, and as long as those who are here would do.
            let here = self.learners.values().filter(|learner| learner.is_voter).map(|learner| learner.sid);
            let quorum = &self.membership.quorum;
            let may_succeed = quorum.contains_quorum(&quorum.set(here.chain([self.membership.sid])));
            let waits_for_us = |learner: &Learner| matches!(learner.step, Step::Finding(_) | Step::Imaging);
            if self.learners.values().any(|learner| learner.is_voter && waits_for_us(learner)) {
                self.progress_ms = now_ms;
            }
            // Those who have left look for a leader, and cannot join this one.
            let hopeless_ms = now_ms - *self.hopeless_since_ms.get_or_insert(now_ms);
            if may_succeed {
                self.hopeless_since_ms = None;
            }
            if now_ms - self.progress_ms > init_ms || !may_succeed && hopeless_ms > init_ms.min(DISCOVERY_MS)
            {
                out.push(LeaderOutput::Lost(LostLead::NotEstablished(now_ms - self.began_ms)));
            }
            return;
        }
        let quorum = &self.membership.quorum;
        let in_step =
            self.learners.values().filter(|learner| learner.is_voter && learner.step == Step::Synced);
        let in_step = quorum.set(in_step.map(|learner| learner.sid).chain([self.membership.sid]));
        if !quorum.contains_quorum(&in_step) {
            out.push(LeaderOutput::Lost(LostLead::NoQuorum(sync_ms)));
        }
    }

    /// Names learners that have been behind what is proposed for long.
    fn note_lags(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        for learner in self.learners.values_mut().filter(|learner| learner.step == Step::Synced) {
            let (sid, cursor) = (learner.sid, &mut learner.cursor);
            let last = if learner.is_voter { self.proposed } else { self.announced };
            if cursor.queued < WINDOW_BYTES && cursor.sent >= last {
                cursor.behind_since_ms = None;
                continue;
            }
            let since_ms = *cursor.behind_since_ms.get_or_insert(now_ms);
            if now_ms - since_ms >= LAG_MS {
                // Once for each time that it has lagged so long.
                cursor.behind_since_ms = Some(now_ms);
                out.push(LeaderOutput::Lags(Lag { sid, sent: cursor.sent, last, for_ms: now_ms - since_ms }));
            }
        }
    }
}

impl Learner {
    /// Hands bytes to its connection.
    fn queue(&mut self, link: LinkId, bytes: Bytes, out: &mut Vec<LeaderOutput>) {
        if bytes.is_empty() {
            return;
        }
        self.cursor.queued += bytes.len();
        out.push(LeaderOutput::Send(link, bytes));
    }
}

/// True if no txn can be missing between these two. An epoch may begin with any.
fn is_next(before: Zxid, zxid: Zxid) -> bool {
    zxid > before && (zxid.epoch() > before.epoch() || before.counter() == 0 || before.next() == Some(zxid))
}

#[cfg(test)]
impl Membership {
    /// That of one of three servers with a vote, and their ensemble.
    pub(crate) fn of_three(sid: i64) -> (crate::config::Ensemble, Self) {
        use crate::config::{Ensemble, PeerAddress, Role, Server};
        let servers = (1..=3).map(|sid| {
            let address = PeerAddress { host: format!("zk{sid}"), quorum_port: 2888, election_port: 3888 };
            (sid, Server { sid, addresses: vec![address], role: Role::Participant, client: None })
        });
        let ensemble = Ensemble { servers: servers.collect(), ..Ensemble::default() };
        let membership = Self {
            sid,
            quorum: Arc::new(Quorum::new(&ensemble).expect("three voters")),
            config_text: super::quorum::config_text(&ensemble).into_bytes().into(),
            config_version: 0,
            versions_config: false,
            tick_ms: 1000,
            init_ms: 10_000,
            sync_ms: 5_000,
            snaps_max: 10,
            always_snap: false,
            as_java: false,
        };
        (ensemble, membership)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::put_ack_epoch;
    use super::*;
    use crate::wal::Batch;

    fn packets(out: &mut Vec<LeaderOutput>, to: LinkId) -> Vec<(PacketType, Zxid)> {
        let mut stream = PacketStream::default();
        let mut got = Vec::new();
        for output in out.drain(..) {
            if let LeaderOutput::Send(link, bytes) = output
                && link == to
            {
                stream.feed(&bytes);
            }
        }
        while let Some(packet) = stream.next_packet().expect("well formed") {
            got.push((packet.kind, packet.zxid));
        }
        got
    }

    const EPOCHS: Epochs = Epochs { accepted: 4, current: 4, config_version: 0 };

    /// A leader gives a configuration without a version the one of its epoch, where it is told to; otherwise it takes the
    /// one that a learner has from such a leader, and refuses one that a reconfiguration made.
    #[test]
    fn configuration_versions() {
        let told = |versions_config, theirs: i64| {
            let (mut leader, mut history) = leader(|membership| membership.versions_config = versions_config);
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            leader.accepted(LinkId(2), 0, &mut out);
            let info = LearnerInfo::bytes(2, PROTOCOL_VERSION, theirs);
            put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
            put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
            leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
            let ahead = CloseLearner::ConfigAhead { theirs, ours: 0 };
            if out.iter().any(|output| matches!(output, LeaderOutput::Close(_, why) if *why == ahead)) {
                return None;
            }
            // It is durable before any learner hears of it.
            let saved = out.iter().rev().find_map(|output| match output {
                LeaderOutput::SaveEpochs(epochs) => Some(epochs.config_version),
                _ => None,
            });
            let text = out.iter().find_map(|output| match output {
                LeaderOutput::Send(_, bytes) => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    text.split_once("version=").map(|(_, version)| version.to_owned())
                }
                _ => None,
            });
            let text = text.expect("NEWLEADER");
            let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
            let version = i64::from_str_radix(&digits, 16).expect("a number");
            assert_eq!(saved, Some(version));
            Some(version)
        };
        assert_eq!(told(false, 0), Some(0));
        assert_eq!(told(true, 0), Some(5 << 32));
        assert_eq!(told(false, 3 << 32), Some(3 << 32));
        assert_eq!(told(true, 3 << 32), Some(3 << 32));
        assert_eq!(told(true, (3 << 32) + 9), None);
    }

    /// ZooKeeper's servers cut behind the first record at or above what they are told: where that is none, and for txns
    /// that they do not read, they get the tree. A later version of theirs is not taken for zkfast.
    #[test]
    fn what_java_can_carry_out() {
        let how = |version, last: Zxid, batch: Option<Batch>| {
            let (mut leader, _) = leader(|_| {});
            let mut history = History::new(Zxid::new(4, 0));
            batch.into_iter().for_each(|batch| history.push(Arc::new(batch)));
            let mut out = Vec::new();
            leader.accepted(LinkId(2), 0, &mut out);
            let mut bytes = Vec::new();
            let info = LearnerInfo::bytes(2, version, 0);
            put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
            put_ack_epoch(&mut bytes, last, 3);
            leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
            if out.iter().any(|output| matches!(output, LeaderOutput::Image(_))) {
                return PacketType::SNAP;
            }
            packets(&mut out, LinkId(2)).into_iter().map(|(kind, _)| kind).nth(1).expect("a sync")
        };
        let batch = |bytes| {
            let mut batch = Batch::default();
            batch.put(Zxid::new(4, 1), |out| out.resize(out.len() + bytes, 0));
            Some(batch)
        };
        for (version, trunc) in [
            (PROTOCOL_VERSION, PacketType::SNAP),
            (PROTOCOL_VERSION_CUMULATIVE, PacketType::TRUNC),
            (PROTOCOL_VERSION_CUMULATIVE + 1, PacketType::SNAP),
        ] {
            assert_eq!(how(version, Zxid::new(4, 1), None), trunc);
            assert_eq!(how(version, Zxid::new(4, 2), batch(9)), PacketType::TRUNC);
            assert_eq!(how(version, Zxid::new(4, 0), batch(9)), PacketType::DIFF);
            let long = if trunc == PacketType::SNAP { PacketType::SNAP } else { PacketType::DIFF };
            assert_eq!(how(version, Zxid::new(4, 0), batch(3 << 20)), long);
        }
    }

    /// Server 1 leads three servers with a vote; its log ends at 4, 7.
    fn leader(change: impl FnOnce(&mut Membership)) -> (Leader, History) {
        let (_, mut membership) = Membership::of_three(1);
        change(&mut membership);
        let last = Zxid::new(4, 7);
        (Leader::new(membership, EPOCHS, last, 0), History::new(last))
    }

    /// Connections that say nothing, or half a word now and then, end after initLimit, and the oldest earlier where there
    /// are many; whoever has said who it is stays.
    #[test]
    fn strangers() {
        let (mut leader, mut history) = leader(|_| {});
        let mut out = promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        for link in 0..STRANGERS_MAX as u64 {
            leader.accepted(LinkId(100 + link), 1_000, &mut out);
        }
        let closed = |out: &mut Vec<LeaderOutput>| -> Vec<(u64, CloseLearner)> {
            let each = |output| match output {
                LeaderOutput::Close(link, why) => Some((link.0, why)),
                _ => None,
            };
            out.drain(..).filter_map(each).collect()
        };
        assert_eq!(closed(&mut out), []);
        leader.accepted(LinkId(1_000), 2_000, &mut out);
        assert_eq!(closed(&mut out), [(100, CloseLearner::Crowded)]);
        for now_ms in (3_000..=11_000).step_by(1_000) {
            // One byte a second is no packet for a while, and the follower answers.
            leader.received(LinkId(101), &[0], now_ms, &mut history, &mut out);
            let mut bytes = Vec::new();
            put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
            leader.received(LinkId(2), &bytes, now_ms, &mut history, &mut out);
            leader.tick(now_ms, &mut out);
        }
        assert_eq!(closed(&mut out), []);
        leader.tick(11_001, &mut out);
        let silent: Vec<_> = (101..100 + STRANGERS_MAX as u64).collect();
        let gone = closed(&mut out);
        assert_eq!(gone.iter().map(|(link, _)| *link).collect::<Vec<_>>(), silent);
        assert!(gone.iter().all(|(_, why)| *why == CloseLearner::Silent(10_001)), "{gone:?}");
        assert!(leader.is_established());
    }

    /// A follower that no server line names has no vote, and is no observer either.
    #[test]
    fn kinds_of_learners() {
        let (mut leader, mut history) = leader(|_| {});
        promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        for (sid, kind) in [(8, PacketType::FOLLOWERINFO), (9, PacketType::OBSERVERINFO)] {
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            leader.accepted(LinkId(sid), 0, &mut out);
            let info = LearnerInfo::bytes(sid as i64, PROTOCOL_VERSION_CUMULATIVE, 0);
            put_with(&mut bytes, kind, Zxid::new(4, 0), &info);
            put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
            leader.received(LinkId(sid), &bytes, 0, &mut history, &mut out);
            acks(&mut leader, &mut history, LinkId(sid), Zxid::new(5, 0));
        }
        let status = leader.status(0);
        let synced = [status.synced_followers, status.synced_non_voting_followers, status.synced_observers];
        assert_eq!((status.learners, synced), (3, [1; 3]));
        assert_eq!([2, 8, 9].map(|link| leader.is_non_voting_follower(LinkId(link))), [false, true, false]);
    }

    /// Only so many trees are on their way to observers at a time; followers get theirs at once. One that has its tree on
    /// disk makes room.
    #[test]
    fn trees_at_a_time() {
        let (mut leader, mut history) = leader(|membership| membership.snaps_max = 1);
        promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        let join = |leader: &mut Leader, history: &mut History, sid: u64, kind| {
            let mut out = Vec::new();
            leader.accepted(LinkId(sid), 0, &mut out);
            let mut bytes = Vec::new();
            let info = LearnerInfo::bytes(sid as i64, PROTOCOL_VERSION_CUMULATIVE, 0);
            put_with(&mut bytes, kind, Zxid::new(4, 0), &info);
            put_ack_epoch(&mut bytes, Zxid::new(3, 1), 3);
            leader.received(LinkId(sid), &bytes, 0, history, &mut out);
            assert!(
                matches!(out.pop(), Some(LeaderOutput::FindInLog(..))),
                "its log ends before the history"
            );
            leader.found(LinkId(sid), None, 0, history, &mut out);
            out.pop().expect("an answer")
        };
        let is_image = |output: &LeaderOutput| matches!(output, LeaderOutput::Image(_));
        let first = join(&mut leader, &mut history, 11, PacketType::OBSERVERINFO);
        assert!(is_image(&first), "{first:?}");
        let second = join(&mut leader, &mut history, 12, PacketType::OBSERVERINFO);
        let waits = CloseLearner::Throttled { sid: 12, snaps: 1 };
        assert!(matches!(&second, LeaderOutput::Close(LinkId(12), why) if *why == waits), "{second:?}");
        let voter = join(&mut leader, &mut history, 3, PacketType::FOLLOWERINFO);
        assert!(is_image(&voter), "{voter:?}");
        for link in [LinkId(11), LinkId(3)] {
            leader.image_begun(link, Zxid::new(4, 7), 0, &mut history, &mut Vec::new());
            acks(&mut leader, &mut history, link, Zxid::new(5, 0));
        }
        let again = join(&mut leader, &mut history, 12, PacketType::OBSERVERINFO);
        assert!(is_image(&again), "{again:?}");
    }

    /// A voter that has promised a later epoch, to a leader that never led, can follow nobody of this one: the leader
    /// makes way for a newer epoch, after a tick, also where the voter is being repaired; not for an observer, which the
    /// quorum does not miss, and neither for a word of nobody who votes nor for the data of another ensemble.
    #[test]
    fn later_promise() {
        let come = |sid, kind, now_ms, looks: Option<i64>| {
            let (mut leader, mut history) = leader(|_| {});
            promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
            acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
            assert!(leader.is_established());
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            let info = LearnerInfo::bytes(sid, PROTOCOL_VERSION_CUMULATIVE, 0);
            put_with(&mut bytes, kind, Zxid::new(9, 0), &info);
            if let Some(peer_epoch) = looks {
                leader.looks(sid, peer_epoch);
            }
            leader.accepted(LinkId(3), now_ms, &mut out);
            leader.received(LinkId(3), &bytes, now_ms, &mut history, &mut out);
            let foreign = CloseLearner::Foreign { sid, theirs: 6, ours: 5 };
            let is_foreign =
                |output: &LeaderOutput| matches!(output, LeaderOutput::Close(_, why) if *why == foreign);
            assert_eq!(out.iter().any(is_foreign), looks == Some(6));
            let lost = LostLead::Promised { sid, promised: 9, epoch: 5 };
            let [LeaderOutput::SaveEpochs(epochs), LeaderOutput::Lost(why)] = &out[..] else { return false };
            assert_eq!((epochs.accepted, epochs.current), (9, 5));
            *why == lost
        };
        assert!(come(3, PacketType::FOLLOWERINFO, 1_001, Some(5)));
        assert!(come(3, PacketType::OBSERVERINFO, 1_001, Some(i64::MIN)));
        assert!(!come(3, PacketType::FOLLOWERINFO, 999, Some(5)));
        assert!(!come(11, PacketType::OBSERVERINFO, 1_001, None));
        assert!(!come(3, PacketType::FOLLOWERINFO, 1_001, None), "it has not looked for a leader");
        assert!(
            !come(3, PacketType::FOLLOWERINFO, 1_001, Some(6)),
            "it has data that this ensemble never had"
        );
    }

    /// A leader that is told so gives everything to who lacks nothing.
    #[test]
    fn always_the_tree() {
        for always_snap in [false, true] {
            let (mut leader, mut history) = leader(|membership| membership.always_snap = always_snap);
            let out = promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
            assert_eq!(out.iter().any(|output| matches!(output, LeaderOutput::Image(_))), always_snap);
        }
    }

    fn promise(leader: &mut Leader, history: &mut History, link: LinkId, version: i32) -> Vec<LeaderOutput> {
        let mut out = Vec::new();
        leader.accepted(link, 0, &mut out);
        let mut bytes = Vec::new();
        let info = LearnerInfo::bytes(link.0 as i64, version, 0);
        put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
        put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
        leader.received(link, &bytes, 0, history, &mut out);
        out
    }

    fn acks(leader: &mut Leader, history: &mut History, link: LinkId, zxid: Zxid) {
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::ACK, zxid);
        leader.received(link, &bytes, 0, history, &mut Vec::new());
    }

    /// A learner that takes nothing costs no more than its window, and gets what it lacks in its turn: from the history,
    /// from the log where the history begins later, with commits and answers in their places.
    #[test]
    fn learner_that_lags() {
        const TXNS: u32 = 64;
        for version in [PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE] {
            let (mut leader, mut history) = leader(|_| {});
            promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
            acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
            let mut out = promise(&mut leader, &mut history, LinkId(3), version);
            acks(&mut leader, &mut history, LinkId(3), Zxid::new(5, 0));
            let mut queued = 0;
            let mut asked_after = None;
            for counter in 1..=TXNS {
                let mut batch = Batch::default();
                let zxid = Zxid::new(5, counter);
                batch.put(zxid, |out| out.resize(out.len() + (1 << 20), 0));
                let batch = Arc::new(batch);
                leader.propose(batch.iter(), &mut out);
                history.push(batch);
                leader.durable(zxid);
                acks(&mut leader, &mut history, LinkId(2), zxid);
                leader.commit(zxid, &history, &mut out);
                history.trim(leader.announced());
                if counter == 40 {
                    leader.synced(leader.learners[&LinkId(3)].number, &history, &mut out);
                    asked_after = Some(zxid);
                }
                let to_it = out.iter().filter_map(|output| match output {
                    LeaderOutput::Send(LinkId(3), bytes) => Some(bytes.len()),
                    _ => None,
                });
                queued = to_it.sum::<usize>();
            }
            assert!(queued < WINDOW_BYTES + PIECE_BYTES + (2 << 20), "{queued} bytes wait");
            assert!(!history.holds(Zxid::new(5, 20)), "the history was trimmed");
            let mut stream = PacketStream::default();
            let (mut proposed, mut committed, mut answered, mut from_log) = (0, 0, None, 0);
            for _ in 0..1000 {
                let mut taken = 0;
                for output in std::mem::take(&mut out) {
                    match output {
                        LeaderOutput::Send(LinkId(3), bytes) => {
                            taken += bytes.len();
                            stream.feed(&bytes);
                        }
                        LeaderOutput::ReadLog(LinkId(3), after) => {
                            from_log += 1;
                            let mut batch = Batch::default();
                            (after.counter() + 1..=(after.counter() + 3).min(TXNS)).for_each(|counter| {
                                batch.put(Zxid::new(5, counter), |out| out.resize(out.len() + (1 << 20), 0));
                            });
                            leader.log_read(LinkId(3), Ok(&batch), &mut history, &mut out);
                        }
                        LeaderOutput::Send(..) | LeaderOutput::Syncing { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
                while let Some(packet) = stream.next_packet().expect("well formed") {
                    match packet.kind {
                        PacketType::PROPOSAL => {
                            proposed += 1;
                            assert_eq!(packet.zxid, Zxid::new(5, proposed));
                        }
                        PacketType::COMMIT if packet.zxid.epoch() == 5 => {
                            assert!(packet.zxid.counter() <= proposed, "a commit of what was not proposed");
                            assert!(version != PROTOCOL_VERSION || packet.zxid.counter() == committed + 1);
                            committed = packet.zxid.counter();
                        }
                        PacketType::SYNC => answered = Some(Zxid::new(5, committed)),
                        _ => {}
                    }
                }
                if taken == 0 && out.is_empty() {
                    break;
                }
                leader.taken(LinkId(3), taken, taken, 0, &history, &mut out);
            }
            assert_eq!((proposed, committed), (TXNS, TXNS));
            assert_eq!(answered, asked_after, "the answer stands after the commits that it was asked behind");
            assert!(from_log > 5, "{from_log} reads of the log");
        }
    }

    /// A leader that waits for its quorum goes on waiting while a follower stores what it was sent, and not where those
    /// who are left would not do: the others have found another leader meanwhile.
    #[test]
    fn waits_for_those_who_may_bring_the_quorum() {
        for is_in_step in [false, true] {
            let (mut leader, mut history) = leader(|membership| membership.quorum = five_voters());
            let info = |sid| LearnerInfo::bytes(sid, PROTOCOL_VERSION_CUMULATIVE, 0);
            for sid in [2, 3] {
                let mut bytes = Vec::new();
                put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info(sid as i64));
                leader.accepted(LinkId(sid), 0, &mut Vec::new());
                leader.received(LinkId(sid), &bytes, 0, &mut history, &mut Vec::new());
            }
            for sid in [2, 3] {
                let mut bytes = Vec::new();
                put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
                leader.received(LinkId(sid), &bytes, 0, &mut history, &mut Vec::new());
            }
            acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
            if is_in_step {
                leader.closed(LinkId(3));
            }
            let (mut ping, mut out) = (Vec::new(), Vec::new());
            put_bare(&mut ping, PacketType::PING, Zxid::ZERO);
            for now_ms in (1_000..=40_000).step_by(1_000) {
                for link in [LinkId(2), LinkId(3)] {
                    leader.received(link, &ping, now_ms, &mut history, &mut out);
                }
                leader.tick(now_ms, &mut out);
            }
            let is_lost = out.iter().any(|output| matches!(output, LeaderOutput::Lost(_)));
            assert_eq!(is_lost, is_in_step);
        }
    }

    fn five_voters() -> Arc<Quorum> {
        use crate::config::{Ensemble, Role, Server};
        let server =
            |sid| (sid, Server { sid, addresses: Vec::new(), role: Role::Participant, client: None });
        let ensemble = Ensemble { servers: (1..=5).map(server).collect(), ..Ensemble::default() };
        Arc::new(Quorum::new(&ensemble).expect("five voters"))
    }

    /// An acknowledgement of what was never proposed counts for nothing, and ends its connection.
    #[test]
    fn acknowledges_too_much() {
        let (mut leader, mut history) = leader(|_| {});
        promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        put_bare(&mut bytes, PacketType::ACK, Zxid::new(5, 9));
        leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
        let why = CloseLearner::Unproposed { sid: 2, zxid: Zxid::new(5, 9), last: Zxid::new(4, 7) };
        assert!(
            out.iter().any(|output| matches!(output, LeaderOutput::Close(_, closed) if *closed == why)),
            "{out:?}"
        );
        assert_eq!(leader.committed(), Zxid::new(4, 7));
    }

    /// A learner whose log ends before the history begins gets what the log holds, if the log goes back so far; while
    /// the log is asked, and while bytes move, its silence is not held against it.
    #[test]
    fn found_in_the_log() {
        for floor in [None, Some(Zxid::new(4, 2)), Some(Zxid::new(4, 1))] {
            let (mut leader, mut history) = leader(|_| {});
            leader.accepted(LinkId(2), 0, &mut Vec::new());
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            let info = LearnerInfo::bytes(2, PROTOCOL_VERSION, 0);
            put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
            put_ack_epoch(&mut bytes, Zxid::new(4, 2), 4);
            leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
            let asks = |output: &LeaderOutput| matches!(output, LeaderOutput::FindInLog(LinkId(2), last) if *last == Zxid::new(4, 2));
            assert!(out.iter().any(asks), "{out:?}");
            out.clear();
            leader.found(LinkId(2), floor, 5_000, &mut history, &mut out);
            let is_image = out.iter().any(|output| matches!(output, LeaderOutput::Image(_)));
            let kind = packets(&mut out, LinkId(2)).first().map(|(kind, _)| *kind);
            match floor {
                None => assert!(is_image && kind.is_none()),
                Some(zxid) if zxid == Zxid::new(4, 2) => assert_eq!(kind, Some(PacketType::DIFF)),
                Some(_) => assert_eq!(kind, Some(PacketType::TRUNC)),
            }
        }
    }

    /// A follower of ZooKeeper's that comes while commits wait for a sync to be confirmed hears of each once: at a
    /// second time it would end its process.
    #[test]
    fn one_commit_each() {
        let (mut leader, mut history) = leader(|_| {});
        promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        assert!(leader.is_established());
        let mut batch = Batch::default();
        (1..=3).for_each(|counter| batch.put(Zxid::new(5, counter), |out| out.push(0)));
        let batch = Arc::new(batch);
        leader.propose(batch.iter(), &mut Vec::new());
        history.push(batch);
        leader.durable(Zxid::new(5, 3));
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 3));
        assert_eq!(leader.committed(), Zxid::new(5, 3));

        let mut out = Vec::new();
        leader.commit(Zxid::new(5, 1), &history, &mut out);
        out.extend(promise(&mut leader, &mut history, LinkId(3), PROTOCOL_VERSION));
        leader.commit(Zxid::new(5, 2), &history, &mut out);
        leader.commit(Zxid::new(5, 3), &history, &mut out);
        let got = packets(&mut out, LinkId(3));
        let of = |wanted| {
            let zxids = got.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, zxid)| *zxid);
            zxids.collect::<Vec<_>>()
        };
        let each: Vec<_> = (1..=3).map(|counter| Zxid::new(5, counter)).collect();
        assert_eq!(of(PacketType::PROPOSAL), each);
        assert_eq!(of(PacketType::COMMIT), each);
    }
}
