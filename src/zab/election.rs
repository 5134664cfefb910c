//! Fast leader election, and the port it is held on.
//!
//! Every voter votes for the best server it has heard of, itself first: highest peer epoch, then last zxid, then sid.
//! Votes carry a round: a server that gets one of a later round joins that with its own vote, and one of an earlier round it
//! answers with its own. When a quorum of one round agrees, its candidate is elected: a candidate's log is at least as good
//! as that of each member of the quorum, so it holds whatever a quorum had acknowledged.
//!
//! Servers that already have a leader answer those that look for one. Such a vote may be old, so a server joins on
//! it only if a quorum names that leader *and* the leader itself answers that it leads.
//!
//! Java waits 200 ms for a better vote after a quorum agrees. Here that wait ends as soon as every other voter has
//! voted in this round or refuses connections: no voter is left that could have one.
//!
//! Source: `FastLeaderElection`, Apache ZooKeeper 3.9.4.

mod output;

pub use output::{Output, Unwelcome};

use super::LinkId;
use super::configuration::{Configuration, Configurations};
use super::links::{self, Change, Heard, KnownVersions, Links};
use super::notification::{ServerState, Vote, put_notification};
use super::quorum::in_brackets;
use crate::proto::{Epoch, ServerId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// How long a quorum's candidate waits for voters that were not heard, in milliseconds. Source: `finalizeWait`.
pub const FINALIZE_MS: u64 = 200;
/// Pauses between repeated votes of a server that looks for a leader: doubled from the first to the second.
const RESEND_MS_MIN: u64 = 200;
const RESEND_MS_MAX: u64 = 1_000;
/// A voter that is connected and answers nothing for this long gets a new connection.
const SILENT_MS: u64 = 6_000;

/// How long the other one of two voters may take to connect before the oracle's word is enough, in milliseconds; no longer
/// where it refuses connections.
const ORACLE_MS: u64 = 2_000;

/// Most connections to the election port that no server line accounts for.
pub const UNEXPECTED_MAX: usize = links::STRANGERS_MAX + links::UNKNOWN_PEERS_MAX;

/// What a server goes to the vote with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The last zxid its log holds.
    pub zxid: Zxid,
    /// Its current epoch.
    pub peer_epoch: Epoch,
}

/// A voter's state and vote, as it sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ballot {
    state: ServerState,
    vote: Vote,
    /// The form of its notification, see [`Notification`](super::notification::Notification).
    version: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not started: the server still reads its log.
    Idle,
    Looking,
    Settled(ServerState),
}

/// The election port of one server: its connections and its vote.
///
/// Every call takes the time in milliseconds since any fixed moment; it does not go back. Bytes of a connection arrive
/// in order; a connection that closed is not heard of again.
#[derive(Debug)]
pub struct ElectionPort {
    me: ServerId,
    configs: Configurations,
    /// Whether configurations change while servers run.
    reconfig_enabled: bool,
    links: Links,
    phase: Phase,
    /// The logical clock.
    round: i64,
    /// What this server goes to the vote with; `None` takes part in no vote.
    candidate: Option<Candidate>,
    /// The same, if this server has a vote.
    own: Option<Candidate>,
    /// While looking, what this server votes for, if it does; after that, what elected its leader.
    vote: Option<Vote>,
    /// Votes of this round, by voter.
    votes: BTreeMap<ServerId, Ballot>,
    /// What servers that follow or lead said, whatever their round.
    settled: BTreeMap<ServerId, Ballot>,
    /// Votes received while this server was not looking; they count if it joins their round.
    early: BTreeMap<ServerId, Heard>,
    /// Voters that look for a leader and vote for no server.
    abstaining: BTreeSet<ServerId>,
    /// Voters whose connection ended after they had voted in this round.
    lost: BTreeSet<ServerId>,
    /// Peers that look for a leader: they are sent the vote when there is one.
    asking: BTreeSet<ServerId>,
    /// Peers of the configuration that are sent the vote once they are connected.
    owed: BTreeSet<ServerId>,
    finalize_ms: Option<u64>,
    resend_ms: u64,
    pause_ms: u64,
    looking_since_ms: u64,
}

impl ElectionPort {
    /// The port of server `me`, which listens for votes at `address`, `host:port`.
    ///
    /// `round` is where the logical clock starts. After a restart it must be beyond any round of this server's past:
    /// followers that have not noticed the restart still name it as the leader of that round. The accepted epoch grows
    /// with each leader, so `accepted_epoch << 20` is such a start. (Java starts at 0 and can take an old round for
    /// the new one.)
    pub fn new(configs: Configurations, me: ServerId, address: &str, round: i64) -> Self {
        Self {
            me,
            links: Links::new(me, address, configs.members().into_iter()),
            configs,
            reconfig_enabled: false,
            phase: Phase::Idle,
            round,
            candidate: None,
            own: None,
            vote: None,
            votes: BTreeMap::new(),
            settled: BTreeMap::new(),
            early: BTreeMap::new(),
            abstaining: BTreeSet::new(),
            lost: BTreeSet::new(),
            asking: BTreeSet::new(),
            owed: BTreeSet::new(),
            finalize_ms: None,
            resend_ms: 0,
            pause_ms: RESEND_MS_MIN,
            looking_since_ms: 0,
        }
    }

    /// Takes what the oracle of two voters says.
    pub fn set_oracle(&mut self, allows: bool) {
        self.configs.set_oracle(allows);
    }

    /// The same with configurations that change while servers run: it takes over one that a peer has active and that is later
    /// than its own.
    pub fn with_reconfiguration(mut self, reconfig_enabled: bool) -> Self {
        self.links.set_calls_unknown(reconfig_enabled);
        Self { reconfig_enabled, ..self }
    }

    /// Other configurations count from here on.
    pub fn configure(&mut self, now_ms: u64, configs: Configurations, out: &mut Vec<Output>) {
        let own = configs.active().ensemble().servers.get(&self.me.0);
        let address = own.and_then(|server| server.addresses.first());
        let address = address.map(|at| format!("{}:{}", in_brackets(&at.host), at.election_port));
        self.links.set_known(&configs.members(), address.as_deref(), out);
        self.configs = configs;
        let Self { configs, votes, early, abstaining, lost, owed, links, .. } = self;
        votes.retain(|sid, _| configs.votes(*sid));
        early.retain(|sid, _| configs.votes(*sid));
        abstaining.retain(|sid| configs.votes(*sid));
        lost.retain(|sid| configs.votes(*sid));
        owed.retain(|sid| links.is_known(*sid));
        self.own = self.candidate.filter(|_| self.configs.votes(self.me));
        // The vote of another server may be for one that the configurations do not name any more.
        if self.phase == Phase::Looking {
            self.begin_round(now_ms, self.round + 1, out);
        }
        self.check();
    }

    fn known_versions(&self) -> KnownVersions {
        let (active, last_seen) = (self.configs.active().version(), self.configs.last_seen().version());
        KnownVersions { active, last_seen }
    }

    /// Takes over a configuration that a peer has active, if it is later than this server's, and one that it has heard
    /// proposed: this server may have a vote by that. Of a peer that this server does not know only one that names both.
    fn adopt(
        &mut self,
        now_ms: u64,
        sid: ServerId,
        active: &[u8],
        next: Option<&[u8]>,
        out: &mut Vec<Output>,
    ) {
        let mut configs = self.configs.clone();
        let parse = |text: &[u8]| Configuration::parse(text).ok();
        let last = self.candidate.map_or(Zxid::ZERO, |own| own.zxid);
        // What cannot be read changes nothing: a leader will send it again.
        let (me, is_known) = (self.me, self.links.is_known(sid));
        let is_ours = |active: &Configuration| is_known || active.names(sid) && active.names(me);
        let is_news = parse(active).filter(is_ours).is_some_and(|active| {
            let version = active.version();
            let is_adopted = configs.adopt(active);
            is_adopted | next.and_then(parse).is_some_and(|next| configs.hear_of(version, next, last))
        });
        if is_news {
            out.push(Output::Configure(configs.clone()));
            self.configure(now_ms, configs, out);
        }
    }

    /// Another server than before leads, or this one, without an election: a leader has designated it.
    ///
    /// Source: `QuorumPeer.updateVote`, `updateServerState`.
    pub fn designate(&mut self, leader: ServerId, zxid: Zxid, own: Option<Candidate>, out: &mut Vec<Output>) {
        self.candidate = own;
        self.own = own.filter(|_| self.configs.votes(self.me));
        self.phase = Phase::Looking;
        let peer_epoch = own.map_or(0, |own| i64::from(own.peer_epoch));
        let vote = Vote { leader, zxid, round: self.round, peer_epoch };
        self.elected(vote, BTreeSet::new(), out);
    }

    /// Whether the oracle lets this server lead without the other voter, which is not there. One that is connected votes, or
    /// has a leader.
    fn decides_by_oracle(&self, now_ms: u64, sids: impl Iterator<Item = ServerId>) -> bool {
        let waited = now_ms >= self.looking_since_ms + ORACLE_MS;
        let is_away = |sid| self.links.is_down(sid) || waited && !self.links.is_open(sid);
        self.votes_for(self.me)
            && self.configs.decides_by_oracle(sids)
            && self.configs.voters().all(|sid| sid == self.me || is_away(sid))
    }

    /// Whether a round is held and has no result yet.
    pub fn is_looking(&self) -> bool {
        self.phase == Phase::Looking
    }

    /// Whether there is a connection to that server's election port, or from it.
    pub fn hears(&self, sid: ServerId) -> bool {
        self.links.is_open(sid)
    }

    /// The round: while looking, the one that is held; after that, the one of the vote that elected the leader.
    pub fn round(&self) -> i64 {
        self.round
    }

    /// The vote that elected this server's leader; while looking, what this server votes for.
    ///
    /// # Panics
    /// Where this server looks for a leader and votes for no server.
    pub fn vote(&self) -> Vote {
        self.vote.expect("a server with a leader has the vote that elected it")
    }

    /// Begins a round: this server has no leader.
    ///
    /// Without a candidate it votes for no server and only learns which one leads: an observer, or a server whose storage is
    /// damaged.
    pub fn look_for_leader(&mut self, now_ms: u64, own: Option<Candidate>, out: &mut Vec<Output>) {
        self.candidate = own;
        self.configs.forget_heard();
        self.own = own.filter(|_| self.configs.votes(self.me));
        self.phase = Phase::Looking;
        self.looking_since_ms = now_ms;
        self.settled.clear();
        self.asking.clear();
        self.owed.clear();
        self.links.try_anew(now_ms);
        self.begin_round(now_ms, self.round + 1, out);
        for (sid, heard) in std::mem::take(&mut self.early) {
            if self.phase == Phase::Looking && self.links.is_open(sid) {
                self.heard(now_ms, sid, heard, out);
            }
        }
        self.tick_links(now_ms, out);
        if self.phase == Phase::Looking {
            self.consider(now_ms, out);
        }
        self.check();
    }

    /// Sets this server's state and the vote that led to it; other servers are sent both.
    ///
    /// [`Output::Elected`] settles by itself. The replica calls this once the leader's new epoch is known, with that as
    /// the vote's peer epoch: servers that joined in different rounds agree on nothing else (ZOOKEEPER-1732).
    pub fn set_state(&mut self, state: ServerState, vote: Vote, out: &mut Vec<Output>) {
        assert_ne!(state, ServerState::Looking, "looking is no result");
        assert_eq!(state == ServerState::Leading, vote.leader == self.me, "{state:?} by {vote:?}");
        self.phase = Phase::Settled(state);
        self.vote = Some(vote);
        self.round = vote.round;
        self.votes.clear();
        self.settled.clear();
        self.abstaining.clear();
        self.finalize_ms = None;
        if self.configs.votes(self.me) && state != ServerState::Observing {
            for sid in self.asking.clone() {
                self.notify(sid, out);
            }
        }
        self.check();
    }

    /// A server connected to the port.
    pub fn accepted(&mut self, now_ms: u64, link: LinkId, out: &mut Vec<Output>) {
        self.links.accepted(now_ms, link, out);
        self.check();
    }

    /// A connection that was asked for is there.
    pub fn connected(&mut self, now_ms: u64, link: LinkId, out: &mut Vec<Output>) {
        let change = self.links.connected(now_ms, link, out);
        self.changed(now_ms, change, out);
        self.check();
    }

    /// Bytes of a connection.
    pub fn received(&mut self, now_ms: u64, link: LinkId, bytes: &[u8], out: &mut Vec<Output>) {
        let (sid, change) = self.links.received(now_ms, link, bytes, out);
        self.changed(now_ms, change, out);
        // Not all of a hello has come yet, or these are late bytes of a connection that this server has closed.
        if let Some(sid) = sid {
            while let Some(mut heard) = self.links.next(sid, self.known_versions(), out) {
                let takes_over = self.reconfig_enabled && self.phase == Phase::Looking;
                let configs = heard.configs.take().filter(|_| takes_over);
                if let Some((active, next)) = configs {
                    self.adopt(now_ms, sid, &active, next.as_deref(), out);
                }
                self.heard(now_ms, sid, heard, out);
            }
            if !self.links.is_open(sid) {
                self.forget(sid);
            }
        }
        self.check();
    }

    /// A connection ended, or one that was asked for could not be made.
    pub fn closed(&mut self, now_ms: u64, link: LinkId, out: &mut Vec<Output>) {
        let change = self.links.closed(now_ms, link);
        self.changed(now_ms, change, out);
        self.tick_links(now_ms, out);
        self.check();
    }

    /// Fires what is due: attempts, repeated votes, the end of the wait for a better vote. Call it every 20 ms or so, or at
    /// [`ElectionPort::deadline`].
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.tick_links(now_ms, out);
        if self.phase == Phase::Looking {
            self.consider(now_ms, out);
        }
        if self.phase == Phase::Looking && now_ms >= self.resend_ms {
            self.pause_ms = (self.pause_ms * 2).min(RESEND_MS_MAX);
            self.resend_ms = now_ms + self.pause_ms;
            self.notify_voters(out);
            self.tick_links(now_ms, out);
        }
        self.check();
    }

    /// When [`ElectionPort::tick`] is due next, as far as is known now. Later is safe, only slower.
    pub fn deadline(&self) -> Option<u64> {
        let looking = self.phase == Phase::Looking;
        let resend = looking.then_some(self.resend_ms);
        let links = self.links.deadline(|sid| self.wants(sid));
        [resend, self.finalize_ms.filter(|_| looking), links].into_iter().flatten().min()
    }

    /// Asserts what holds between two events.
    fn check(&self) {
        self.links.check();
        let is_voter = self.configs.votes(self.me);
        assert!(self.own.is_none() || is_voter, "server {} has no vote, and votes for itself", self.me);
        assert!(self.votes.keys().all(|sid| self.configs.votes(*sid)), "a server without a vote was counted");
        assert!(
            self.early.keys().all(|sid| self.configs.votes(*sid)),
            "an early vote of a server that has none"
        );
        assert!(!self.votes.contains_key(&self.me), "this server's own vote stands among those of others");
        match self.phase {
            Phase::Idle => assert!(self.vote.is_none(), "a vote before an election: {:?}", self.vote),
            Phase::Looking => {
                let rounds = self.vote.map(|vote| vote.round);
                assert!(
                    rounds.is_none_or(|round| round == self.round),
                    "{:?} in round {}",
                    self.vote,
                    self.round
                );
                assert!(self.early.is_empty(), "votes that came early are kept for a later round");
                assert_eq!(
                    self.own.is_some(),
                    self.vote.is_some(),
                    "a candidate and no vote, or a vote without one"
                );
            }
            Phase::Settled(_) => {
                assert!(self.vote.is_some(), "a server with a leader has no vote");
                assert!(self.votes.is_empty() && self.settled.is_empty(), "votes outlast their round");
                assert_eq!(self.finalize_ms, None, "a wait for better votes outlasts its round");
            }
        }
    }

    fn wants(&self, sid: ServerId) -> bool {
        self.owed.contains(&sid) || (self.phase == Phase::Looking && self.configs.votes(sid))
    }

    fn tick_links(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let looking = self.phase == Phase::Looking;
        let silent = (looking && now_ms >= self.looking_since_ms + SILENT_MS).then(|| now_ms - SILENT_MS);
        let (owed, configs) = (&self.owed, &self.configs);
        let wanted = |sid: ServerId| owed.contains(&sid) || (looking && configs.votes(sid));
        for change in self.links.tick(now_ms, wanted, silent, out) {
            self.changed(now_ms, Some(change), out);
        }
    }

    fn changed(&mut self, now_ms: u64, change: Option<Change>, out: &mut Vec<Output>) {
        match change {
            None => {}
            Some(Change::Opened(sid)) => {
                let owed = self.owed.remove(&sid);
                // A server that has its leader says so without being asked, as Java's: a peer that may authenticate by SASL
                // and need not can tell which by these bytes alone.
                if owed || self.phase != Phase::Looking || self.configs.votes(sid) {
                    self.notify(sid, out);
                }
            }
            Some(Change::Lost(sid)) => {
                self.forget(sid);
                if self.votes.contains_key(&sid) {
                    self.lost.insert(sid);
                }
            }
            Some(Change::Refused(sid)) => {
                if self.phase != Phase::Looking {
                    // It asks again when it is back.
                    self.owed.remove(&sid);
                    return;
                }
                if self.lost.remove(&sid) {
                    // It voted in this round and is gone: its vote makes no quorum that could serve.
                    self.votes.remove(&sid);
                    if self.votes_for(sid) {
                        self.begin_round(now_ms, self.round + 1, out);
                    }
                }
                self.consider(now_ms, out);
            }
        }
    }

    /// Forgets what a peer sent over a connection that ended: its state may be another one now.
    fn forget(&mut self, sid: ServerId) {
        self.settled.remove(&sid);
        self.early.remove(&sid);
        self.asking.remove(&sid);
        self.abstaining.remove(&sid);
    }

    /// What this server votes for by itself; `None` without a candidate.
    fn own_vote(&self) -> Option<Vote> {
        let own = self.own?;
        let peer_epoch = i64::from(own.peer_epoch);
        Some(Vote { leader: self.me, zxid: own.zxid, round: self.round, peer_epoch })
    }

    /// True if this server's vote, or the one that elected its leader, is for that server.
    fn votes_for(&self, sid: ServerId) -> bool {
        self.vote.is_some_and(|vote| vote.leader == sid)
    }

    fn begin_round(&mut self, now_ms: u64, round: i64, out: &mut Vec<Output>) {
        self.round = round;
        self.votes.clear();
        self.abstaining.clear();
        self.lost.clear();
        self.pause_ms = RESEND_MS_MIN;
        self.resend_ms = now_ms + self.pause_ms;
        self.propose(self.own_vote(), out);
    }

    fn propose(&mut self, vote: Option<Vote>, out: &mut Vec<Output>) {
        self.vote = vote;
        self.finalize_ms = None;
        self.notify_voters(out);
    }

    fn notify_voters(&mut self, out: &mut Vec<Output>) {
        if let Some(bytes) = self.notification() {
            let Self { configs, links, owed, me, .. } = self;
            for sid in configs.voters().filter(|sid| sid != me) {
                send_or_owe(links, owed, sid, &bytes, out);
            }
        }
    }

    /// Sends a peer this server's state and vote, at once or when it is connected; only the newest is sent.
    fn notify(&mut self, sid: ServerId, out: &mut Vec<Output>) {
        if let Some(bytes) = self.notification() {
            send_or_owe(&self.links, &mut self.owed, sid, &bytes, out);
        }
    }

    /// A frame with this server's state and vote; `None` before its first election.
    fn notification(&self) -> Option<Vec<u8>> {
        let state = match self.phase {
            Phase::Idle => return None,
            Phase::Looking => ServerState::Looking,
            Phase::Settled(state) => state,
        };
        let mut bytes = Vec::new();
        let (active, next) = (self.configs.active().text(), self.configs.next().map(Configuration::text));
        put_notification(&mut bytes, state, self.round, self.vote.as_ref(), active, next);
        Some(bytes)
    }

    fn heard(&mut self, now_ms: u64, sid: ServerId, heard: Heard, out: &mut Vec<Output>) {
        let looks = heard.state == ServerState::Looking;
        let votes = self.configs.votes(sid);
        if looks {
            self.asking.insert(sid);
        } else {
            self.asking.remove(&sid);
        }
        match (self.phase, heard.state) {
            (Phase::Idle | Phase::Settled(_), ServerState::Looking) => {
                let round = heard.round;
                if votes {
                    if self.phase == Phase::Settled(ServerState::Leading) {
                        let peer_epoch = heard.vote.map(|vote| vote.peer_epoch);
                        out.push(Output::Looks { sid, peer_epoch });
                    }
                    self.early.insert(sid, heard);
                }
                let follows = matches!(self.phase, Phase::Settled(state) if state != ServerState::Leading);
                if follows && self.votes_for(sid) && round > self.round {
                    out.push(Output::LeaderLooks { round });
                }
                // One that has no vote knows a configuration that the other may not know.
                let is_voter =
                    self.configs.votes(self.me) && self.phase != Phase::Settled(ServerState::Observing);
                if is_voter || self.reconfig_enabled {
                    self.notify(sid, out);
                }
            }
            (Phase::Idle | Phase::Settled(_), _) => {
                self.early.remove(&sid);
            }
            (Phase::Looking, ServerState::Looking) if !votes => {
                if self.own.is_some() {
                    self.notify(sid, out);
                }
            }
            (Phase::Looking, ServerState::Looking) => self.heard_looking(now_ms, sid, heard, out),
            (Phase::Looking, ServerState::Following | ServerState::Leading) => {
                let Heard { state, vote, version, .. } = heard;
                if let Some(vote) = vote.filter(|vote| votes && self.configs.votes(vote.leader)) {
                    self.heard_settled(now_ms, sid, Ballot { state, vote, version }, out);
                }
            }
            (Phase::Looking, ServerState::Observing) => {}
        }
    }

    fn heard_looking(&mut self, now_ms: u64, sid: ServerId, heard: Heard, out: &mut Vec<Output>) {
        self.settled.remove(&sid);
        if self.own.is_none() {
            // This server takes part in no vote: it waits for servers that have a leader.
            return;
        }
        let Some(vote) = heard.vote.filter(|vote| self.configs.votes(vote.leader)) else {
            // It may have voted before it was found to be damaged.
            self.votes.remove(&sid);
            if self.votes_for(sid) {
                self.begin_round(now_ms, self.round + 1, out);
            }
            self.abstaining.insert(sid);
            return self.consider(now_ms, out);
        };
        assert_eq!(vote.round, heard.round, "a vote of another round than its notification");
        self.abstaining.remove(&sid);
        if vote.round < self.round {
            return self.notify(sid, out);
        }
        if vote.round > self.round {
            let abstaining = std::mem::take(&mut self.abstaining);
            self.begin_round_silently(now_ms, vote.round);
            self.abstaining = abstaining;
            let own = self.vote();
            let best = if self.is_better(&vote, &own) { vote } else { own };
            self.propose(Some(best), out);
        } else if self.is_better(&vote, &self.vote()) {
            self.propose(Some(vote), out);
        } else if self.is_better(&self.vote(), &vote) {
            // Java leaves this to the peer's next repetition. The order is strict, so this cannot go to and fro.
            self.notify(sid, out);
        }
        self.lost.remove(&sid);
        self.votes.insert(sid, Ballot { state: heard.state, vote, version: heard.version });
        self.consider(now_ms, out);
    }

    /// As `begin_round`, but the caller sends the vote, once it has compared it with a better one.
    fn begin_round_silently(&mut self, now_ms: u64, round: i64) {
        self.round = round;
        self.votes.clear();
        self.lost.clear();
        self.pause_ms = RESEND_MS_MIN;
        self.resend_ms = now_ms + self.pause_ms;
        self.vote = self.own_vote();
        self.finalize_ms = None;
    }

    fn heard_settled(&mut self, now_ms: u64, sid: ServerId, heard: Ballot, out: &mut Vec<Output>) {
        let leader = heard.vote.leader;
        self.abstaining.remove(&sid);
        if self.own.is_some() && heard.vote.round == self.round {
            self.votes.insert(sid, heard);
            let agrees = |vote: &Ballot| match vote.state {
                ServerState::Looking => vote.vote == heard.vote,
                _ => vote.vote.leader == leader,
            };
            let own = Some(self.me).filter(|_| self.vote == Some(heard.vote));
            let agreeing = self.votes.iter().filter(|(_, v)| agrees(v)).map(|(sid, _)| *sid).chain(own);
            let is_quorum = self.configs.active().decides(agreeing);
            let confirmed = if leader == self.me {
                Some(heard.vote) == self.own_vote()
            } else {
                self.votes.get(&leader).is_some_and(|vote| vote.state == ServerState::Leading)
            };
            if confirmed && is_quorum {
                return self.elected(heard.vote, BTreeSet::new(), out);
            }
        }
        self.settled.insert(sid, heard);
        // Rounds and zxids differ between servers that joined at different times; leader and epoch do not. Servers
        // before 3.4.6 send another epoch, so against them only the leader is compared. Source: `Vote.equals`.
        let agrees = |other: &Ballot| {
            other.vote.leader == leader
                && ((other.version > 0) != (heard.version > 0)
                    || other.vote.peer_epoch == heard.vote.peer_epoch)
        };
        let agreeing = self.settled.iter().filter(|(_, v)| agrees(v)).map(|(sid, _)| *sid);
        // To join decides nothing: epochs keep old leaders away, so a proposed configuration is not asked.
        let is_quorum = self.configs.active().decides(agreeing);
        let leads = self.settled.get(&leader).filter(|other| other.state == ServerState::Leading);
        if let Some(leading) = leads
            && leader != self.me
            && agrees(leading)
            // One of two that leads by an oracle's word has no other follower.
            && (is_quorum || self.configs.oracle().is_some())
        {
            let vote = leading.vote;
            return self.elected(vote, BTreeSet::new(), out);
        }
        if self.own.is_some() {
            self.consider(now_ms, out);
        }
    }

    /// Elects this round's candidate if a quorum wants it and no voter is left to wait for.
    fn consider(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        if self.phase != Phase::Looking || self.own.is_none() {
            return;
        }
        let own = self.vote();
        assert_eq!(own.round, self.round, "this server votes in another round");
        let agreeing = self.votes.iter().filter(|(_, ballot)| ballot.vote == own).map(|(sid, _)| *sid);
        let agreeing = agreeing.chain([self.me]);
        let decides =
            self.configs.decides(agreeing.clone()) || self.decides_by_oracle(now_ms, agreeing.clone());
        if !decides || !self.configs.can_lead(own.leader) {
            self.finalize_ms = None;
            return;
        }
        let accounted = |sid: ServerId| {
            sid == self.me
                || self.votes.contains_key(&sid)
                || self.abstaining.contains(&sid)
                || self.links.is_down(sid)
        };
        let all = self.configs.voters().all(accounted) && !self.links.is_down(own.leader);
        let until = *self.finalize_ms.get_or_insert(now_ms + FINALIZE_MS);
        if all || now_ms >= until {
            let by = agreeing.collect();
            self.elected(own, by, out);
        }
    }

    fn elected(&mut self, vote: Vote, by: BTreeSet<ServerId>, out: &mut Vec<Output>) {
        assert_eq!(self.phase, Phase::Looking, "{vote:?} is elected by a server that does not look");
        let state = match (vote.leader == self.me, self.own) {
            (true, _) => ServerState::Leading,
            (false, Some(_)) => ServerState::Following,
            (false, None) => ServerState::Observing,
        };
        out.push(Output::Elected { state, vote, by });
        self.owed.clear();
        self.set_state(state, vote, out);
    }

    /// The order of votes. Source: `totalOrderPredicate`.
    fn is_better(&self, this: &Vote, other: &Vote) -> bool {
        if !self.configs.can_lead(this.leader) {
            return false;
        }
        let key = |vote: &Vote| (vote.peer_epoch, vote.zxid.to_wire(), vote.leader);
        !self.configs.can_lead(other.leader) || key(this) > key(other)
    }
}

/// Sends a notification at once, or notes that one is owed as soon as the peer is connected.
fn send_or_owe(
    links: &Links,
    owed: &mut BTreeSet<ServerId>,
    sid: ServerId,
    bytes: &[u8],
    out: &mut Vec<Output>,
) {
    if !links.send(sid, bytes, out) && links.is_known(sid) {
        owed.insert(sid);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
