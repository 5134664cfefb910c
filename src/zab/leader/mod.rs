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
//! | file | what |
//! |---|---|
//! | `mod.rs` | the leader's state, connections and their packets, time |
//! | `discovery.rs` | from FOLLOWERINFO to ACKEPOCH: the new epoch, and the promises |
//! | `synchronization.rs` | from ACKEPOCH to UPTODATE: how a learner gets what it lacks, at its own pace |
//! | `reconfiguration.rs` | another configuration is proposed and becomes active, maybe with another leader |
//! | `activations.rs` | commits, as learners hear of them |
//! | `hand_over.rs` | another server leads from here on, without an election |
//! | `handing.rs` | what the leader knows of that, and why it does not |
//! | `broadcast.rs` | proposals, acknowledgements, commits, pings, answers |
//! | `learners.rs` | what the leader knows of each connection |
//! | `traffic.rs` | what is exchanged with an observer, counted |
//! | `observer_master.rs` | the same for a follower, which serves observers alone |
//! | `output.rs` | what it is made with, and what it asks of its caller |
//!
//! Each learner has a cursor: the newest txn that was sent to it. A learner in step gets each proposal at once. One that
//! takes less than is proposed falls behind, and its memory here stays bounded: at most [`WINDOW_BYTES`] wait for its
//! connection. When the connection has taken them, the leader goes on from the cursor, from the history or, where that
//! begins later, from the log ([`LeaderOutput::ReadLog`]).
//!
//! Invariants: `announced <= committed <= proposed`, `durable <= proposed`, for each learner `announced <= sent` and
//! `acked <= proposed`. A quorum of voters, this server maybe among them, has acknowledged everything through
//! `committed`. No packet leaves before the epoch that it speaks of is durable.
//!
//! Source: Junqueira, Reed, Serafini, "Zab", DSN 2011; `Leader`, `LearnerHandler`, Apache ZooKeeper 3.9.4.

mod activations;
mod broadcast;
mod discovery;
mod hand_over;
mod handing;
mod learners;
mod observer_master;
mod output;
mod reconfiguration;
mod synchronization;
mod traffic;

pub use handing::{GivenUp, HandOverError};
pub use output::{Asked, CloseLearner, Epochs, Lag, LeaderOutput, LostLead, Membership, STRANGERS_MAX};

use super::LinkId;
use super::history::History;
use super::message::{ForwardedRequest, Packet, PacketType, Revalidate, Touched, read_ack_epoch};
use crate::admin::{Leading, LearnerSeen, Observer};
use crate::proto::{Epoch, OpCode, ServerId, SessionId, Zxid};
use activations::Activations;
use handing::HandOver;
use learners::{LearnerHandler, LearnerKind, Learners, Step};
use std::collections::{BTreeMap, BTreeSet};

/// How long a leader waits for a quorum to connect. Servers that voted for it come at once; if they do not, they
/// have found another leader meanwhile, and it is quicker to vote again than to wait for initLimit.
const DISCOVERY_MS: i64 = 1_000;

/// Bytes that wait for a learner's connection at which it gets no more for now.
pub const WINDOW_BYTES: usize = 8 << 20;

/// Bytes that wait for the connections of all observers together, as far as each is left [`OBSERVER_WINDOW_BYTES_MIN`].
/// Bytes that several of them wait for are in memory once, and count for each.
const OBSERVERS_BYTES: usize = 64 << 20;

/// Bytes that an observer may have waiting, however many there are.
const OBSERVER_WINDOW_BYTES_MIN: usize = 64 << 10;

/// Observers for which the log is read at a time: each takes a thread and [`WINDOW_BYTES`].
const OBSERVER_READS_MAX: usize = 8;

/// How far a new leader has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Discovery,
    Promises,
    Synchronizing,
    Broadcast,
}

/// The leader's side of the protocol: bytes of learners and the log's progress in, [`LeaderOutput`]s out.
///
/// Each call appends to `out` what the caller must do, in that order. `now_ms` is in milliseconds since any fixed moment
/// and never goes back. After [`LeaderOutput::Lost`] the caller drops the leader.
#[derive(Debug)]
pub struct Leader {
    /// Another server leads, and this one, its follower, serves observers.
    is_observer_master: bool,
    membership: Membership,
    phase: Phase,
    epochs: Epochs,
    /// The current epoch and the end of the log when this server was elected.
    elected: (Epoch, Zxid),
    learners: Learners,
    /// Followers that have promised the new epoch, and this server.
    promised: BTreeSet<ServerId>,
    /// Followers that have acknowledged NEWLEADER, and this server.
    supporters: BTreeSet<ServerId>,
    /// Voters that looked for this leader and have not come yet, each with the epoch of its vote, if it votes.
    looking: BTreeMap<ServerId, Option<i64>>,
    /// Newest txn of the log: the last one at the election, or proposed since.
    proposed: Zxid,
    /// Newest txn on this server's own disk.
    durable: Zxid,
    /// Newest txn that a quorum has on disk.
    committed: Zxid,
    /// Newest txn whose commit the learners were sent.
    announced: Zxid,
    /// Pings that were sent.
    round: u64,
    pinged_ms: i64,
    began_ms: i64,
    /// When something came last from a voter that is brought up to date, or it took bytes.
    progress_ms: i64,
    /// Since when the voters that are connected would not do for a quorum.
    hopeless_since_ms: Option<i64>,
    /// Reconfigurations that became active in this epoch, each with the leader that it designates.
    activations: Activations,
    /// Why it stops leading, once its followers have gone to another leader.
    leaving: Option<LostLead>,
    /// Learners have had time to leave since.
    is_leaving_late: bool,
    hand_over: HandOver,
}

impl Leader {
    /// Begins to lead: `last` is where the log ends, all of it durable.
    pub fn new(mut membership: Membership, epochs: Epochs, last: Zxid, now_ms: i64) -> Self {
        assert!(epochs.current <= epochs.accepted, "epochs {} and {}", epochs.current, epochs.accepted);
        membership.configs.forget_heard();
        Self {
            is_observer_master: false,
            phase: Phase::Discovery,
            elected: (epochs.current, last),
            epochs,
            learners: Learners::default(),
            promised: BTreeSet::new(),
            looking: BTreeMap::new(),
            supporters: BTreeSet::new(),
            proposed: last,
            durable: last,
            committed: last,
            announced: last,
            round: 0,
            pinged_ms: now_ms,
            began_ms: now_ms,
            progress_ms: now_ms,
            hopeless_since_ms: None,
            activations: Activations::new(),
            leaving: None,
            is_leaving_late: false,
            hand_over: HandOver::default(),
            membership,
        }
    }

    /// Takes what the oracle of two voters says.
    pub fn set_oracle(&mut self, allows: bool) {
        self.membership.configs.set_oracle(allows);
    }

    /// Whether the set decides: as a quorum, or by the oracle's word while no other voter is in step.
    ///
    /// Source: `QuorumOracleMaj.containsQuorum`; `Leader.getForwardingFollowers` counts a follower sooner, so that nothing
    /// is committed there while one is brought up to date.
    fn decides(&self, sids: impl Iterator<Item = ServerId> + Clone) -> bool {
        self.membership.configs.decides(sids.clone()) || self.decides_by_oracle(sids)
    }

    fn decides_by_oracle(&self, sids: impl Iterator<Item = ServerId>) -> bool {
        let configs = &self.membership.configs;
        configs.oracle().is_some()
            && !self.learners.synced_followers().any(|handler| self.votes(handler))
            && configs.decides_by_oracle(sids)
    }

    /// Whether the learner counts for a quorum.
    fn votes(&self, handler: &LearnerHandler) -> bool {
        let Membership { sid, configs, .. } = &self.membership;
        handler.is_follower() && handler.sid != *sid && configs.votes(handler.sid)
    }

    /// Followers that count for a quorum and are in step, and this server.
    fn in_step_with_own(&self) -> impl Iterator<Item = ServerId> + Clone {
        let own = self.membership.sid;
        let followers = self.learners.synced_followers().map(|handler| handler.sid);
        followers.filter(move |sid| *sid != own).chain([own])
    }

    /// True once a quorum follows.
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    /// The epoch that it leads, once there is one.
    pub fn epoch(&self) -> Epoch {
        self.epochs.accepted
    }

    /// Epochs as they are, or are about to be, on disk.
    pub fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// Bytes that wait for a learner's connection at which it gets no more for now.
    fn window(&self, kind: LearnerKind) -> usize {
        match kind {
            LearnerKind::Follower => WINDOW_BYTES,
            LearnerKind::Observer => {
                let share = OBSERVERS_BYTES / self.learners.observers().max(1);
                share.clamp(OBSERVER_WINDOW_BYTES_MIN, WINDOW_BYTES)
            }
        }
    }

    /// Whether that is one of its connections, also one that has not said whose it is.
    pub fn has(&self, link: LinkId) -> bool {
        self.learners.contains(link)
    }

    /// Newest txn that a quorum has on disk.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Newest txn whose commit the learners were sent.
    pub fn announced(&self) -> Zxid {
        self.announced
    }

    /// The server of a learner, by the learner's number; `None` once its connection has ended.
    pub fn sid_of(&self, learner: u32) -> Option<ServerId> {
        self.learners.by_number(learner).map(|handler| handler.sid)
    }

    /// The figures of its learners, for admin.
    pub fn status(&self, now_ms: i64) -> Leading {
        let synced = || self.learners.iter().filter(|handler| handler.step == Step::Synced);
        let voters = synced().filter(|handler| self.votes(handler)).count() as u64;
        let followers = synced().filter(|handler| handler.is_follower()).count() as u64;
        Leading {
            learners: self.learners.connections() as u64,
            synced_followers: followers,
            synced_non_voting_followers: followers - voters,
            synced_observers: synced().count() as u64 - followers,
            uptime_ms: (now_ms - self.began_ms) as u64,
            ..Leading::default()
        }
    }

    /// All learners, for admin.
    pub fn learners_seen(&self, now_ms: i64) -> Vec<LearnerSeen> {
        // An observer acknowledges nothing.
        let last = |handler: &LearnerHandler| match handler.kind {
            LearnerKind::Observer => handler.cursor.announced,
            LearnerKind::Follower => handler.acked,
        };
        let seen = |handler: &LearnerHandler| LearnerSeen {
            sid: handler.sid.0,
            is_in_step: handler.step == Step::Synced,
            last: last(handler),
            heard_ms_ago: (now_ms - handler.heard_ms).max(0) as u64,
        };
        self.learners.iter().map(seen).collect()
    }

    /// Observers that are in step, for admin; `wall_ms` is the time of `now_ms` since 1970.
    pub fn observers(&self, now_ms: i64, wall_ms: i64) -> Vec<Observer> {
        let in_step = self.learners.iter().filter(|handler| handler.step == Step::Synced);
        let observer = |handler: &LearnerHandler| {
            let traffic = handler.traffic.as_ref()?;
            Some(Observer {
                connection: handler.link.0,
                peer: String::new(),
                sid: handler.sid.0,
                established_wall_ms: wall_ms - (now_ms - handler.came_ms),
                queued: traffic.queued(),
                queued_bytes: handler.cursor.queued as u64,
                received: traffic.received,
                sent: traffic.sent,
                requests: traffic.requests,
                last_zxid: traffic.last_zxid.map_or(-1, Zxid::to_wire),
            })
        };
        in_step.filter_map(observer).collect()
    }

    /// True for a follower without a vote, which no server line names.
    pub fn is_non_voting_follower(&self, link: LinkId) -> bool {
        self.learners.get(link).is_some_and(|handler| handler.is_follower() && !self.votes(handler))
    }

    /// Learners that are in step: connection, server, and whether it votes.
    pub fn in_step(&self) -> impl Iterator<Item = (LinkId, ServerId, bool)> {
        let in_step = self.learners.iter().filter(|handler| handler.step == Step::Synced);
        in_step.map(|handler| (handler.link, handler.sid, self.votes(handler)))
    }

    /// All connections, also those that have not said whose they are.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.learners.links()
    }

    /// A server has connected to the quorum port.
    pub fn accepted(&mut self, link: LinkId, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        if let Some(oldest) = self.learners.stranger_to_close() {
            self.close(oldest, CloseLearner::Crowded, out);
        }
        self.learners.accept(link, now_ms);
    }

    /// A connection has ended. The leader may have closed it itself before.
    pub fn closed(&mut self, link: LinkId) {
        self.learners.remove(link);
    }

    fn close(&mut self, link: LinkId, why: CloseLearner, out: &mut Vec<LeaderOutput>) {
        assert!(self.learners.contains(link), "{link:?} is closed twice: {why}");
        self.learners.remove(link);
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
        // Late bytes of a connection that the leader has closed: the caller has not carried that out yet.
        let Some(mut stream) = self.learners.take_stream(link) else { return };
        if let Some(handler) = self.learners.get_mut(link) {
            handler.heard_ms = now_ms;
            // A voter in step waits as well, and brings the quorum no nearer.
            if handler.is_follower() && matches!(handler.step, Step::Syncing { .. }) {
                self.progress_ms = now_ms;
            }
        }
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
            // What the packet led to may have closed the connection, for example `Throttled`.
            if !self.learners.contains(link) {
                return;
            }
        }
        self.learners.put_stream(link, stream);
        self.check();
    }

    fn packet(
        &mut self,
        link: LinkId,
        packet: Packet<'_>,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let Some(handler) = self.learners.get_mut(link) else {
            return match packet.kind {
                PacketType::FOLLOWERINFO | PacketType::OBSERVERINFO => {
                    self.introduced(link, &packet, now_ms, history, out)
                }
                PacketType(kind) => Err(CloseLearner::Unexpected(kind)),
            };
        };
        if let Some(traffic) = &mut handler.traffic {
            traffic.came(packet.kind);
        }
        match (handler.step, packet.kind) {
            (Step::EpochSent, PacketType::ACKEPOCH) => {
                let current = read_ack_epoch(packet.data)?;
                self.promise(link, current, packet.zxid, now_ms, history, out)
            }
            (Step::Syncing { .. } | Step::Synced, PacketType::ACK) => {
                self.acknowledged(link, packet.zxid, now_ms, out)
            }
            (Step::Syncing { .. }, kind) if self.membership.as_java => Err(CloseLearner::Unexpected(kind.0)),
            (
                Step::Promised(_) | Step::Searching(_) | Step::Imaging | Step::Syncing { .. } | Step::Synced,
                PacketType::PING,
            ) => self.ping_answered(link, &packet, out),
            (Step::Synced, PacketType::REVALIDATE | PacketType::REQUEST) => {
                let asked = asked(packet)?;
                out.push(LeaderOutput::Asked(handler.number, asked));
                Ok(())
            }
            (_, PacketType(kind)) => Err(CloseLearner::Unexpected(kind)),
        }
    }

    /// Closes connections that are silent or take nothing, sends pings, and stops leading without a quorum. Call it every 20 ms or so.
    pub fn tick(&mut self, now_ms: i64, history: &History, out: &mut Vec<LeaderOutput>) {
        self.close_silent(now_ms, out);
        if let Some(why) = self.leaving.filter(|_| self.has_handed_over_late(now_ms)) {
            return out.push(LeaderOutput::Lost(why));
        }
        let Membership { tick_ms, init_ms, sync_ms, .. } = self.membership;
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
        self.pump_readers(history, out);
        if self.phase == Phase::Synchronizing {
            return self.check_progress(now_ms, out);
        }
        if self.is_observer_master {
            return;
        }
        // A voter that is gone leaves what it had not acknowledged to the oracle.
        self.advance();
        // Its followers have gone, or this server has waited for that long enough.
        if let Some(why) = self.leaving {
            if std::mem::replace(&mut self.is_leaving_late, true) {
                out.push(LeaderOutput::Lost(why));
            }
            return;
        }
        if !self.decides(self.in_step_with_own()) {
            out.push(LeaderOutput::Lost(LostLead::NoQuorum(sync_ms)));
        }
    }

    fn close_silent(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let Membership { init_ms, sync_ms, .. } = self.membership;
        let mut silent = self.learners.silent_strangers(now_ms, init_ms);
        for handler in self.learners.iter().filter(|handler| !handler.waits_for_leader()) {
            let limit_ms = if handler.step == Step::Synced { sync_ms } else { init_ms + sync_ms };
            let silent_ms = now_ms - handler.heard_ms;
            if silent_ms > limit_ms {
                silent.push((handler.link, silent_ms));
            }
        }
        for (link, silent_ms) in silent {
            self.close(link, CloseLearner::Silent(silent_ms), out);
        }
    }

    /// The invariants of the module's page that cost nothing to look at.
    fn check(&self) {
        let Self { announced, committed, proposed, durable, .. } = *self;
        assert!(announced <= committed, "announced is {announced}, committed {committed}");
        assert!(committed <= proposed, "committed is {committed}, proposed {proposed}");
        assert!(durable <= proposed, "durable is {durable}, proposed {proposed}");
    }
}

/// What a learner asks in a REVALIDATE or REQUEST.
fn asked(packet: Packet<'_>) -> Result<Asked, CloseLearner> {
    if packet.kind == PacketType::REVALIDATE {
        let Revalidate { session, timeout } = Revalidate::read(packet.data)?;
        return Ok(Asked::Revalidate { session_id: session, timeout_ms: timeout });
    }
    assert_eq!(packet.kind, PacketType::REQUEST, "a learner asks by other packets");
    let ForwardedRequest { session, cxid, op, body } = ForwardedRequest::read(packet.data)?;
    if op != OpCode::CREATE_SESSION {
        return Ok(Asked::Request { session_id: session, cxid, op, body: body.into(), ids: packet.ids });
    }
    match body.first_chunk::<4>() {
        Some(timeout) => {
            Ok(Asked::CreateSession { session_id: session, timeout_ms: i32::from_be_bytes(*timeout) })
        }
        None => Err(CloseLearner::Unexpected(packet.kind.0)),
    }
}

/// The sessions that a learner's answer to a ping names.
fn touched(packet: &Packet<'_>) -> Result<Vec<SessionId>, CloseLearner> {
    Ok(Touched::read(packet.data)?.map(|(session_id, _)| session_id).collect())
}

#[cfg(test)]
impl Membership {
    /// That of one of three servers with a vote, and their ensemble.
    pub(crate) fn of_three(sid: i64) -> (crate::config::Ensemble, Self) {
        use super::configuration::{Configuration, Configurations};
        use crate::config::{Ensemble, PeerAddress, Role, Server};
        let servers = (1..=3).map(|sid| {
            let address = PeerAddress { host: format!("zk{sid}"), quorum_port: 2888, election_port: 3888 };
            (sid, Server { sid, addresses: vec![address], role: Role::Participant, client: None })
        });
        let ensemble = Ensemble { servers: servers.collect(), ..Ensemble::default() };
        let membership = Self {
            sid: ServerId(sid),
            configs: Configurations::new(Configuration::new(ensemble.clone()).expect("three voters")),
            reconfig_enabled: false,
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
mod tests;
