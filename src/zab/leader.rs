//! A leader's dealings with its learners: a new epoch, bringing each up to date, then broadcast.
//!
//! ```text
//! Discovery      FOLLOWERINFO of a quorum         -> new epoch, durable, then LEADERINFO
//! Promises       ACKEPOCH of a quorum             -> current epoch, durable, then DIFF | TRUNC | SNAP .. NEWLEADER
//! Synchronizing  ACK of NEWLEADER of a quorum     -> established: UPTODATE, clients are served
//! Broadcast      ACK of a txn of a quorum         -> committed
//! ```
//!
//! A learner that comes later goes through the same steps alone. From the moment at which it is decided how a
//! learner is brought up to date it gets every proposal, so that nothing lies between the two.
//!
//! Invariants: `announced <= committed <= proposed`, and a quorum of voters, this server maybe among them, has
//! acknowledged everything through `committed`; no packet leaves before the epoch that it speaks of is durable.
//!
//! Source: Junqueira, Reed, Serafini, "Zab", DSN 2011; `Leader`, `LearnerHandler`, Apache ZooKeeper 3.9.4.

use super::LinkId;
use super::history::{History, Sync};
use super::message::{
    ForwardedRequest, LearnerInfo, MessageError, PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE, Packet,
    PacketStream, PacketType, Revalidate, Revalidated, Touched, put_bare, put_commit, put_inform,
    put_leader_info, put_ping, put_proposal, put_with, read_ack_epoch,
};
use super::quorum::{Quorum, SidSet};
use crate::admin::Leading;
use crate::proto::{Id, OpCode, Zxid};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a leader waits for a quorum to connect. Those that voted for it come at once; if they do not, they
/// have found another leader meanwhile, and it is quicker to vote again than to wait for initLimit.
const DISCOVERY_MS: i64 = 1_000;

/// Most connections that have not said who they are; the oldest goes when there is another.
const STRANGERS_MAX: usize = 64;

/// Epochs end here: in ACKEPOCH they are signed.
const EPOCH_MAX: u32 = i32::MAX as u32;

/// Epochs as they are on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest one whose leader was promised that no older leader is listened to.
    pub accepted: u32,
    /// The one of the leader that this server was last in step with.
    pub current: u32,
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
    /// Its version.
    pub config_version: i64,
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
    /// A quorum follows: the epoch begins.
    Established(u32),
    /// A learner asks.
    Asked(u32, Asked),
    /// It is no leader any more.
    Lost(LostLead),
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
}

/// Why a leader stops leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostLead {
    /// No quorum came in time.
    #[error("no quorum follows after {0} ms")]
    NotEstablished(i64),
    /// The quorum went away.
    #[error("no quorum was heard of within {0} ms (syncLimit)")]
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
    is_cumulative: bool,
    /// The tree is on its way to it, until it has said that it has that on disk.
    is_snap: bool,
    accepted: u32,
    stream: PacketStream,
    /// The newest txn that it has on disk.
    acked: Zxid,
    /// The newest ping that it has answered.
    round: u64,
    /// When it was heard last; as long as it has not said who it is, when it came.
    heard_ms: i64,
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
    /// Bytes of the last proposal, the smallest and the largest one.
    proposal_size: Option<[u64; 3]>,
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
            proposal_size: None,
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
        let synced = |is_voter| {
            let is_synced = |learner: &&Learner| learner.step == Step::Synced && learner.is_voter == is_voter;
            self.learners.values().filter(is_synced).count() as u64
        };
        Leading {
            learners: self.learners.len() as u64,
            synced_followers: synced(true),
            synced_observers: synced(false),
            uptime_ms: (now_ms - self.began_ms) as u64,
            proposal_size: self.proposal_size,
            ..Leading::default()
        }
    }

    /// A learner has connected.
    pub fn accepted(
        &mut self,
        link: LinkId,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let strangers = self.learners.iter().filter(|(_, learner)| learner.step == Step::Fresh);
        let oldest = strangers.clone().min_by_key(|(_, learner)| learner.number).map(|(link, _)| *link);
        if strangers.count() >= STRANGERS_MAX
            && let Some(oldest) = oldest
        {
            self.close(oldest, CloseLearner::Crowded, history, out);
        }
        let number = self.next_number;
        self.next_number += 1;
        let learner = Learner {
            number,
            sid: -1,
            step: Step::Fresh,
            is_voter: false,
            is_cumulative: false,
            is_snap: false,
            accepted: 0,
            stream: PacketStream::default(),
            acked: Zxid::ZERO,
            round: 0,
            heard_ms: now_ms,
        };
        self.learners.insert(link, learner);
        self.links.insert(number, link);
    }

    /// A connection has ended.
    pub fn closed(&mut self, link: LinkId, history: &mut History) {
        if let Some(learner) = self.learners.remove(&link) {
            self.links.remove(&learner.number);
        }
        self.check_pin(history);
    }

    /// All learners' connections.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.learners.keys().copied()
    }

    fn check_pin(&self, history: &mut History) {
        history.pin(self.learners.values().any(|learner| learner.step == Step::Imaging));
    }

    fn close(&mut self, link: LinkId, why: CloseLearner, history: &mut History, out: &mut Vec<LeaderOutput>) {
        self.closed(link, history);
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
                return self.close(link, why, history, out);
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
                learner.is_snap = false;
                // What it was sent to get in step it has.
                learner.acked = learner.acked.max(self.elected.1);
                if learner.is_voter {
                    let sid = learner.sid;
                    self.membership.quorum.add(&mut self.supporters, sid);
                }
                self.support(link, now_ms, out);
                Ok(())
            }
            // The answer to UPTODATE, which is no txn's.
            (Step::Synced, PacketType::ACK) if packet.zxid.counter() == 0 => Ok(()),
            (Step::Syncing | Step::Synced, PacketType::ACK) => {
                // In the log's order, so the newest stands for all before it, also where each has its own.
                learner.acked = learner.acked.max(packet.zxid);
                self.advance();
                Ok(())
            }
            (Step::Syncing | Step::Synced, PacketType::PING) => {
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
        let ours = self.membership.config_version;
        if info.config_version > ours {
            return Err(CloseLearner::ConfigAhead { theirs: info.config_version, ours });
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
            self.close(former, CloseLearner::Replaced(sid), history, out);
        }
        let is_voter = packet.kind == PacketType::FOLLOWERINFO
            && self.membership.quorum.votes(sid)
            && sid != self.membership.sid;
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.sid = sid;
        learner.is_voter = is_voter;
        learner.is_cumulative = info.protocol_version >= PROTOCOL_VERSION_CUMULATIVE;
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
        out.push(LeaderOutput::Send(link, bytes.into()));
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
        let mut bytes = Vec::new();
        let mut sync = if self.membership.always_snap { Sync::Snap } else { history.sync(last) };
        // A follower of ZooKeeper's takes all of its log for committed.
        if let Sync::Diff { after } = sync
            && after > self.announced
            && !learner.is_cumulative
        {
            sync = match history.sync(self.announced) {
                Sync::Diff { after } => Sync::Trunc { to: after },
                other => other,
            };
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
                    return self.close(link, CloseLearner::Throttled { sid, snaps }, history, out);
                }
                let Some(learner) = self.learners.get_mut(&link) else { return };
                learner.is_snap = true;
                learner.step = Step::Imaging;
                // As of when the tree will be is not known yet: what is behind that has to be there.
                history.pin(true);
                out.push(LeaderOutput::Image(link));
                return;
            }
        };
        self.bring_up(link, after, bytes, history, out);
    }

    /// The tree that [`LeaderOutput::Image`] asked for will be as of `zxid`.
    pub fn image_begun(
        &mut self,
        link: LinkId,
        zxid: Zxid,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        if self.learners.get(&link).is_none_or(|learner| learner.step != Step::Imaging) {
            return;
        }
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::SNAP, zxid);
        out.push(LeaderOutput::Send(link, bytes.into()));
        out.push(LeaderOutput::SendImage(link));
        self.bring_up(link, zxid, Vec::new(), history, out);
        self.check_pin(history);
    }

    /// Sends what is behind `after`, and from then on every proposal.
    fn bring_up(
        &mut self,
        link: LinkId,
        after: Zxid,
        mut bytes: Vec<u8>,
        history: &History,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        for (zxid, txn) in history.after(after) {
            // Not what is committed and will be announced: ZooKeeper's own servers want to hear it once.
            let is_committed = zxid <= self.announced;
            if !is_committed && !learner.is_voter {
                // An observer hears of it when it is.
                break;
            }
            put_proposal(&mut bytes, zxid, txn);
            if is_committed && !learner.is_cumulative {
                put_commit(&mut bytes, zxid);
            }
        }
        // Also where all of that is in its log already: it cannot know.
        if learner.is_cumulative && self.announced > Zxid::ZERO {
            put_commit(&mut bytes, self.announced);
        }
        let epoch = Zxid::new(self.epochs.accepted, 0);
        put_with(&mut bytes, PacketType::NEWLEADER, epoch, &self.membership.config_text);
        learner.step = Step::Syncing;
        out.push(LeaderOutput::Send(link, bytes.into()));
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

    fn up_to_date(&self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::UPTODATE, Zxid::from_wire(-1));
        out.push(LeaderOutput::Send(link, bytes.into()));
    }

    /// These txns were proposed: every voter that is being brought up to date or is in step gets them.
    pub fn propose<'a>(&self, txns: impl Iterator<Item = (Zxid, &'a [u8])>, out: &mut Vec<LeaderOutput>) {
        assert!(self.is_established(), "a proposal before the epoch begins");
        let mut bytes = Vec::new();
        txns.for_each(|(zxid, txn)| put_proposal(&mut bytes, zxid, txn));
        let bytes = Bytes::from(bytes);
        for (&link, learner) in &self.learners {
            if learner.is_voter && matches!(learner.step, Step::Syncing | Step::Synced) {
                out.push(LeaderOutput::Send(link, bytes.clone()));
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
        self.announced = through;
        let (mut one, mut each, mut inform) = (Bytes::new(), Bytes::new(), Bytes::new());
        let built = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            write(&mut bytes);
            Bytes::from(bytes)
        };
        let txns = || history.after(before).take_while(|(zxid, _)| *zxid <= through);
        for (&link, learner) in &self.learners {
            if !matches!(learner.step, Step::Syncing | Step::Synced) {
                continue;
            }
            let bytes = match (learner.is_voter, learner.is_cumulative) {
                (true, true) => &mut one,
                (true, false) => &mut each,
                (false, _) => &mut inform,
            };
            if bytes.is_empty() {
                *bytes = match (learner.is_voter, learner.is_cumulative) {
                    (true, true) => built(&|out| put_commit(out, through)),
                    (true, false) => built(&|out| txns().for_each(|(zxid, _)| put_commit(out, zxid))),
                    (false, _) => built(&|out| txns().for_each(|(zxid, txn)| put_inform(out, zxid, txn))),
                };
            }
            out.push(LeaderOutput::Send(link, bytes.clone()));
        }
    }

    /// Pings every learner; once [`Self::confirmed_round`] is as large as the number that this gives, this
    /// server was the leader at the time of the call or later.
    pub fn begin_round(&mut self, out: &mut Vec<LeaderOutput>) -> u64 {
        self.round += 1;
        let mut bytes = Vec::new();
        put_ping(&mut bytes, Zxid(self.round));
        let bytes = Bytes::from(bytes);
        for (&link, learner) in &self.learners {
            if matches!(learner.step, Step::Syncing | Step::Synced) {
                out.push(LeaderOutput::Send(link, bytes.clone()));
            }
        }
        self.round
    }

    /// The answer to a learner's sync, behind everything that was committed.
    pub fn synced(&self, learner: u32, out: &mut Vec<LeaderOutput>) {
        self.answer(learner, out, |bytes| put_bare(bytes, PacketType::SYNC, Zxid::ZERO));
    }

    /// The answer to a learner's question about a session.
    pub fn revalidated(&self, learner: u32, session_id: i64, valid: bool, out: &mut Vec<LeaderOutput>) {
        self.answer(learner, out, |bytes| Revalidated { session: session_id, valid }.write(bytes));
    }

    fn answer(&self, learner: u32, out: &mut Vec<LeaderOutput>, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(&link) = self.links.get(&learner) else { return };
        let mut bytes = Vec::new();
        write(&mut bytes);
        out.push(LeaderOutput::Send(link, bytes.into()));
    }

    /// Lets time pass.
    pub fn tick(&mut self, now_ms: i64, history: &mut History, out: &mut Vec<LeaderOutput>) {
        let Membership { tick_ms, init_ms, sync_ms, .. } = self.membership;
        let patience = |learner: &Learner| match learner.step {
            Step::Fresh => init_ms,
            Step::Synced => sync_ms,
            _ => init_ms + sync_ms,
        };
        let silent =
            self.learners.iter().filter(|(_, learner)| now_ms - learner.heard_ms > patience(learner));
        let silent: Vec<(LinkId, i64)> =
            silent.map(|(link, learner)| (*link, now_ms - learner.heard_ms)).collect();
        for (link, silent_ms) in silent {
            self.close(link, CloseLearner::Silent(silent_ms), history, out);
        }
        if self.phase != Phase::Broadcast {
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
        self.begin_round(out);
        let quorum = &self.membership.quorum;
        let in_step =
            self.learners.values().filter(|learner| learner.is_voter && learner.step == Step::Synced);
        let in_step = quorum.set(in_step.map(|learner| learner.sid).chain([self.membership.sid]));
        if !quorum.contains_quorum(&in_step) {
            out.push(LeaderOutput::Lost(LostLead::NoQuorum(sync_ms)));
        }
    }
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
            tick_ms: 1000,
            init_ms: 10_000,
            sync_ms: 5_000,
            snaps_max: 10,
            always_snap: false,
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

    /// Server 1 leads three servers with a vote; its log ends at 4, 7.
    fn leader(change: impl FnOnce(&mut Membership)) -> (Leader, History) {
        let (_, mut membership) = Membership::of_three(1);
        change(&mut membership);
        let last = Zxid::new(4, 7);
        (Leader::new(membership, Epochs { accepted: 4, current: 4 }, last, 0), History::new(last))
    }

    /// Connections that say nothing, or half a word now and then, end after initLimit, and the oldest earlier where there
    /// are many; whoever has said who it is stays.
    #[test]
    fn strangers() {
        let (mut leader, mut history) = leader(|_| {});
        let mut out = promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        for link in 0..STRANGERS_MAX as u64 {
            leader.accepted(LinkId(100 + link), 1_000, &mut history, &mut out);
        }
        let closed = |out: &mut Vec<LeaderOutput>| -> Vec<(u64, CloseLearner)> {
            let each = |output| match output {
                LeaderOutput::Close(link, why) => Some((link.0, why)),
                _ => None,
            };
            out.drain(..).filter_map(each).collect()
        };
        assert_eq!(closed(&mut out), []);
        leader.accepted(LinkId(1_000), 2_000, &mut history, &mut out);
        assert_eq!(closed(&mut out), [(100, CloseLearner::Crowded)]);
        for now_ms in (3_000..=11_000).step_by(1_000) {
            // One byte a second is no packet for a while, and the follower answers.
            leader.received(LinkId(101), &[0], now_ms, &mut history, &mut out);
            let mut bytes = Vec::new();
            put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
            leader.received(LinkId(2), &bytes, now_ms, &mut history, &mut out);
            leader.tick(now_ms, &mut history, &mut out);
        }
        assert_eq!(closed(&mut out), []);
        leader.tick(11_001, &mut history, &mut out);
        let silent: Vec<_> = (101..100 + STRANGERS_MAX as u64).collect();
        let gone = closed(&mut out);
        assert_eq!(gone.iter().map(|(link, _)| *link).collect::<Vec<_>>(), silent);
        assert!(gone.iter().all(|(_, why)| *why == CloseLearner::Silent(10_001)), "{gone:?}");
        assert!(leader.is_established());
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
            leader.accepted(LinkId(sid), 0, history, &mut out);
            let mut bytes = Vec::new();
            let info = LearnerInfo::bytes(sid as i64, PROTOCOL_VERSION_CUMULATIVE, 0);
            put_with(&mut bytes, kind, Zxid::new(4, 0), &info);
            put_ack_epoch(&mut bytes, Zxid::new(3, 1), 3);
            leader.received(LinkId(sid), &bytes, 0, history, &mut out);
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
            leader.image_begun(link, Zxid::new(4, 7), &mut history, &mut Vec::new());
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
            leader.accepted(LinkId(3), now_ms, &mut history, &mut out);
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
        leader.accepted(link, 0, history, &mut out);
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
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 2));
        assert_eq!(leader.committed(), Zxid::new(5, 2));

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
