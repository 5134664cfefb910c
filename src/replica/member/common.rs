//! What a member of an ensemble has in every phase, and what its phases work with.

use super::event::{Event, Redundancy};
use super::log_queue::LogQueue;
use super::next::Next;
use super::output::{Output, Port};
use super::publisher::Publisher;
use super::settings::{Duties, MemberSettings};
use crate::config::Role;
use crate::database::Database;
use crate::proto::{ServerId, Zxid};
use crate::replica::follow::{Differs, Follow};
use crate::replica::{ControlKind, Now, Restart};
use crate::zab::LinkId;
use crate::zab::configuration::Configurations;
use crate::zab::election::{ElectionPort, Output as ElectionOutput};
use crate::zab::history::History;
use crate::zab::leader::{Epochs, Leader, LeaderOutput, LostLead, Membership};
use crate::zab::notification::{ServerState, Vote};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How long the leader may take to answer as one. A server that was elected without knowing it gives up sooner, too.
pub(super) const CONNECT_MS: i64 = 1_000;

/// Pause before the third attempt in a row to synchronise; it doubles with each further one, up to [`PAUSE_MS_MAX`].
/// The first two come at once, since a leader that has just begun may refuse once.
const PAUSE_MS: i64 = 50;

/// Longest pause between two attempts to synchronise.
const PAUSE_MS_MAX: i64 = 800;

/// Pause after a tree that the disk did not take.
const PAUSE_NOT_STORED_MS: i64 = 10_000;

/// Connections to the quorum port that are kept until this server knows whether it leads.
pub(super) const EARLY_LINKS_MAX: usize = 64;

/// How often a server without a leader says so.
const UNSERVED_EVERY_MS: i64 = 30_000;

/// What a member has in every phase.
#[derive(Debug)]
pub(super) struct Common {
    pub settings: MemberSettings,
    pub election: ElectionPort,
    /// Connections of the election port.
    pub election_links: BTreeSet<LinkId>,
    /// As they are on disk, or about to be.
    pub epochs: Epochs,
    /// See [`MemberSettings::repairing`].
    pub repairing: bool,
    /// The end of what the log was given.
    pub history: History,
    /// Attempts to synchronise in a row that failed.
    pub failed_syncs: u32,
    /// When the next attempt may begin.
    pub next_sync_ms: i64,
    /// Connections to the quorum port that came before this server knew whether it leads, and when: a follower that is
    /// quicker than its leader need not come again.
    pub early_links: BTreeMap<LinkId, i64>,
    /// Since when it has served no client.
    unavailable_us: Option<i64>,
    next_link: u64,
    /// Learners whose being in step was told: number, and whether they vote.
    pub in_step: BTreeMap<LinkId, (i64, bool)>,
    /// Since when this server has no leader, and when it said so last.
    unserved_ms: Option<(i64, i64)>,
    /// Attempts on one of them, or on the leader.
    attempts: usize,
    /// The server that leads without an election: a leader has designated it.
    pub designated: Option<ServerId>,
    /// The version of the configuration that people were told of last.
    told_version: i64,
    /// Txns after this one are kept in memory for observers of this follower, where there are any.
    pub observed: Option<Zxid>,
    /// See [`Replica::inform_early`](super::Replica::inform_early).
    #[cfg(any(test, feature = "sim"))]
    pub informs_early: bool,
    /// For the shell, oldest first.
    pub outputs: VecDeque<Output>,
}

/// What a phase works with beside its own machines.
pub(super) struct Context<'a> {
    pub common: &'a mut Common,
    pub log: &'a mut LogQueue,
    pub publisher: &'a mut Publisher,
    pub now: Now,
}

impl Common {
    pub fn new(
        settings: MemberSettings,
        election: ElectionPort,
        epochs: Epochs,
        mut history: History,
    ) -> Self {
        let Duties { observer_master_bytes, .. } = settings.duties;
        if let Some(bytes) = observer_master_bytes {
            history.set_bytes_max(bytes);
        }
        Self {
            election,
            election_links: BTreeSet::new(),
            epochs,
            repairing: settings.repairing,
            history,
            failed_syncs: 0,
            next_sync_ms: 0,
            early_links: BTreeMap::new(),
            unavailable_us: None,
            next_link: 0,
            in_step: BTreeMap::new(),
            unserved_ms: None,
            attempts: 0,
            designated: None,
            told_version: 0,
            observed: None,
            #[cfg(any(test, feature = "sim"))]
            informs_early: false,
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// Has the shell do this, after what it was told before.
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Tells people.
    pub fn push_event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Has the shell end a connection.
    pub fn close(&mut self, link: LinkId) {
        self.push(Output::Close { link });
    }

    /// Has the shell save what this server promises now.
    pub fn save_epochs(&mut self, epochs: Epochs) {
        assert!(
            epochs.accepted >= self.epochs.accepted && epochs.current >= self.epochs.current,
            "an epoch goes back: {epochs:?} after {:?}",
            self.epochs
        );
        self.epochs = epochs;
        self.save();
    }

    /// Has the shell save what this server promises and knows of its ensemble.
    fn save(&mut self) {
        let (epochs, configs, repairing) = (self.epochs, self.configs().clone(), self.repairing);
        self.push(Output::SaveEpochs { epochs, configs, repairing });
    }

    /// The ensemble's configurations, as this server knows them.
    pub fn configs(&self) -> &Configurations {
        &self.settings.membership.configs
    }

    /// Other configurations count from here on.
    pub fn configure(&mut self, configs: Configurations, now_ms: i64) {
        let mut out = Vec::new();
        self.election.configure(now_ms as u64, configs.clone(), &mut out);
        self.take_configs(configs);
        for output in out {
            let rest = self.run_election_output(output);
            assert!(rest.is_none(), "a configuration elects no server: {rest:?}");
        }
    }

    /// The same where the election port has them already.
    fn take_configs(&mut self, configs: Configurations) {
        let MemberSettings { membership, is_observer, .. } = &mut self.settings;
        let is_active_new = configs.active().version() != membership.configs.active().version();
        if is_active_new && membership.reconfig_enabled {
            // One that is not named is a follower without a vote, as in `QuorumPeer.updateLearnerType`.
            *is_observer = configs.active().role(membership.sid) == Some(Role::Observer);
        }
        membership.configs = configs;
        if is_active_new {
            self.save();
        }
    }

    /// Says what this server is in the active configuration.
    pub fn tell_of_configuration(&mut self) {
        let Membership { configs, sid, reconfig_enabled, .. } = &self.settings.membership;
        let active = configs.active();
        if !reconfig_enabled || self.told_version == active.version() {
            return;
        }
        self.told_version = active.version();
        let role = match active.role(*sid) {
            Some(Role::Participant) => "participant",
            Some(Role::Observer) => "observer",
            None => "none",
        };
        let (voters, servers) = (active.quorum().voters().count(), active.ensemble().servers.len());
        self.push_event(Event::Reconfigured { version: active.version(), role, voters, servers });
    }

    /// Does what the election port wants, but for what is about this server's role, which is given back.
    pub fn run_election_output(&mut self, output: ElectionOutput) -> Option<ElectionOutput> {
        match output {
            ElectionOutput::Connect { link, sid: ServerId(sid), at } => {
                self.election_links.insert(link);
                self.push(match at {
                    None => Output::Connect { link, sid, port: Port::Election },
                    Some(at) => Output::ConnectAt { link, sid, at },
                });
            }
            ElectionOutput::Send { link, bytes } => self.push(Output::Send { link, bytes: bytes.into() }),
            ElectionOutput::Close { link } => {
                self.election_links.remove(&link);
                self.close(link);
            }
            ElectionOutput::Unwelcome { link, why } => self.push_event(Event::Unwelcome { link, why }),
            ElectionOutput::Configure(configs) => {
                let (before, version) = (self.configs().active().version(), configs.active().version());
                self.take_configs(configs);
                if version != before {
                    self.push_event(Event::Adopted { version });
                }
            }
            role => return Some(role),
        }
        None
    }

    /// Has the shell connect to the quorum port of `sid`, or to its port for observers.
    pub fn connect(&mut self, sid: i64, port: Port) -> LinkId {
        let link = LinkId(LinkId::ASKED | self.next_link);
        self.next_link += 1;
        self.push(Output::Connect { link, sid, port });
        link
    }

    /// Voters that this observer connects to in turn, in an order of its own, so that observers are spread over them; none where it
    /// connects to its leader.
    fn masters(&self) -> Vec<i64> {
        if !self.is_observer() || self.settings.duties.observer_master_bytes.is_none() {
            return Vec::new();
        }
        let voters = self.configs().active().quorum().voters();
        let mut masters: Vec<i64> = voters.map(|ServerId(sid)| sid).collect();
        let at = self.settings.membership.sid.0.unsigned_abs() as usize % masters.len().max(1);
        masters.rotate_left(at);
        masters
    }

    /// The server that is to be connected to, its port, and how long to wait before, in milliseconds, where `leader` leads:
    /// for an observer with observer masters the next follower.
    ///
    /// Source: `QuorumPeer.findLearnerMaster`; there the leader is among them, and refuses.
    pub fn next_master(&mut self, leader: i64) -> (i64, Port, i64) {
        let masters = self.masters();
        let delay_max_ms = if self.is_observer() { self.settings.duties.reconnect_delay_ms } else { 0 };
        let begins_anew = masters.is_empty() || self.attempts.is_multiple_of(masters.len());
        // Spread by number: a leader that ends has all its observers come again at once.
        let spread = (self.settings.membership.sid.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let spread = spread.wrapping_add(self.attempts as u64).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33;
        let is_delayed = begins_anew && self.attempts > 0 && delay_max_ms > 0;
        let delay_ms = if is_delayed { spread as i64 % delay_max_ms } else { 0 };
        for _ in 0..masters.len() {
            let master = masters[self.attempts % masters.len()];
            self.attempts += 1;
            if master != leader {
                return (master, Port::Observers, delay_ms);
            }
        }
        if masters.is_empty() {
            self.attempts += 1;
            return (leader, Port::Quorum, delay_ms);
        }
        // There is no other voter than the leader, which listens for no observers at that port.
        (leader, Port::Quorum, delay_ms)
    }

    /// Forgets txns that are in the log, but for those that observers of this follower need.
    pub fn trim_history(&mut self, durable: Zxid) {
        // What is not here is read from the log.
        let needed = self.observed.map_or(self.history.last(), |observed| observed.min(durable));
        self.history.trim(needed);
    }

    /// What a leader sends of its own accord, not in answer to what it received.
    pub fn send_of_leader(&mut self, out: Vec<LeaderOutput>, now: Now) {
        for output in out {
            match output {
                LeaderOutput::Send(link, bytes) => self.push(Output::Send { link, bytes }),
                LeaderOutput::ReadLog(link, after) => self.push(Output::ReadLog(link, after)),
                LeaderOutput::Configure(configs) => self.configure(configs, now.mono_ms()),
                other => unreachable!("nothing was received: {other:?}"),
            }
        }
    }

    /// An attempt to synchronise has failed: the next one waits. The pause does not begin anew with each election.
    pub fn sync_failed(&mut self, now_ms: i64) {
        self.failed_syncs += 1;
        let pause_ms = match self.failed_syncs {
            0 | 1 => 0,
            failed => (PAUSE_MS << (failed - 2).min(8)).min(PAUSE_MS_MAX),
        };
        self.next_sync_ms = self.next_sync_ms.max(now_ms + pause_ms);
    }

    /// The disk did not take a tree: the next attempt to synchronise waits, for each costs all of the tree.
    pub fn tree_not_stored(&mut self, now_ms: i64) {
        self.next_sync_ms = now_ms + PAUSE_NOT_STORED_MS;
    }

    /// A learner's connection has ended: what people are told of it, if they were told that it was in step.
    pub fn lose(&mut self, link: LinkId, why: &dyn std::fmt::Display) -> Option<Event> {
        let (sid, voter) = self.in_step.remove(&link)?;
        let why = why.to_string();
        if self.observed.is_some() {
            return Some(Event::ObserverLost { sid, why });
        }
        let redundancy = self.redundancy();
        Some(Event::LearnerLost { sid, voter, redundancy, why })
    }

    /// Says which of these learners have come into step.
    pub fn tell_of_learners(&mut self, leader: &Leader) {
        let is_new = |link: &LinkId| !self.in_step.contains_key(link);
        let new: Vec<_> = leader.in_step().filter(|(link, _, _)| is_new(link)).collect();
        for (link, ServerId(sid), voter) in new {
            self.in_step.insert(link, (sid, voter));
            // Where servers are reconfigured that is how they join.
            if leader.is_non_voting_follower(link) && !self.settings.membership.reconfig_enabled {
                self.push_event(Event::Unlisted { sid });
            }
            self.push_event(match leader.is_observer_master() {
                true => Event::ObserverInStep { sid },
                false => Event::LearnerInStep { sid, voter, redundancy: self.redundancy() },
            });
        }
    }

    /// How far this server, which leads, is from losing its quorum.
    pub fn redundancy(&self) -> Redundancy {
        let Membership { configs, sid: own, .. } = &self.settings.membership;
        let followers = || self.in_step.values().filter(|(_, voter)| *voter).map(|(sid, _)| *sid);
        let is_quorum_without = |lost: i64| {
            let rest = followers().filter(|sid| *sid != lost).map(ServerId);
            configs.decides(rest.chain([*own]))
        };
        let (in_step, of) = (followers().count() + 1, configs.active().quorum().voters().count());
        let may_lose_one = followers().count() > 0 && followers().all(is_quorum_without);
        Redundancy { in_step, of, may_lose_one }
    }

    /// Whether it follows without a vote.
    pub fn is_observer(&self) -> bool {
        let MemberSettings { is_observer, membership, .. } = &self.settings;
        // A reconfiguration that is not committed yet may want its vote.
        let may_vote = membership.reconfig_enabled && membership.configs.votes(membership.sid);
        self.repairing || *is_observer && !may_vote
    }

    /// The ensemble's configuration as it is now, and its version.
    pub fn config(&self) -> (Vec<u8>, i64) {
        let active = self.configs().active();
        (active.text().to_vec(), active.version())
    }

    /// Keeps a connection to the quorum port until this server knows whether it leads.
    pub fn keep_early(&mut self, link: LinkId, now_ms: i64) {
        self.early_links.insert(link, now_ms);
        if self.early_links.len() > EARLY_LINKS_MAX
            && let Some((oldest, _)) = self.early_links.pop_first()
        {
            self.close(oldest);
        }
        assert!(self.early_links.len() <= EARLY_LINKS_MAX, "{} early links", self.early_links.len());
    }

    /// Ends connections that came too early: the server that they wait for takes longer, or is another one. Their servers
    /// look again.
    pub fn close_early(&mut self, now_ms: i64) {
        let outputs = &mut self.outputs;
        self.early_links.retain(|link, since_ms| {
            let is_kept = now_ms - *since_ms < CONNECT_MS;
            if !is_kept {
                outputs.push_back(Output::Close { link: *link });
            }
            is_kept
        });
    }

    /// Since when it looks for a leader; it serves no client meanwhile.
    pub fn note_looking(&mut self, now: Now) {
        self.unavailable_us.get_or_insert(now.mono_us);
    }

    /// It serves clients again: since when it has not, if that is to be counted.
    pub fn take_unavailable(&mut self) -> Option<i64> {
        self.unavailable_us.take()
    }

    /// Says from time to time who is missing, while this server has no leader.
    pub fn tell_of_quorum(&mut self, has_leader: bool, now_ms: i64) {
        if has_leader {
            self.unserved_ms = None;
            return;
        }
        let (since_ms, said_ms) = self.unserved_ms.get_or_insert((now_ms, now_ms));
        if now_ms - *said_ms < UNSERVED_EVERY_MS {
            return;
        }
        *said_ms = now_ms;
        let for_s = (now_ms - *since_ms) / 1000;
        let Membership { configs, sid: own, .. } = &self.settings.membership;
        let (heard, silent): (Vec<ServerId>, Vec<ServerId>) =
            configs.voters().partition(|sid| sid == own || self.election.hears(*sid));
        let is_quorum = configs.decides(heard.iter().copied());
        let of = heard.len() + silent.len();
        let silent = silent.iter().map(ServerId::to_string).collect::<Vec<_>>().join(",");
        self.push_event(Event::Unserved { is_quorum, heard: heard.len(), of, silent, for_s });
    }
}

impl Context<'_> {
    /// Keeps entries of txns back that no leader has confirmed; what is no txn is published before them.
    pub fn hold_unconfirmed(&mut self, follow: &mut Follow) {
        let until_ms = self.now.mono_ms() + self.common.settings.membership.tick_ms;
        self.publisher.hold(&mut follow.core, until_ms);
    }

    /// A leader confirms what was held: it is published, then the epoch begins, and clients are served, unless this server
    /// leads and serves none then.
    pub fn release_held(&mut self, follow: &mut Follow, epoch: u32, serves: bool) {
        let (config_text, config_version) = self.common.config();
        self.publisher.publish_held(&mut follow.core);
        follow.core.release();
        follow.core.show_config(&config_text, config_version);
        follow.core.begin_epoch(epoch);
        self.publisher.publish_visible(&mut follow.core);
        if serves {
            self.publisher.open();
        }
    }

    /// Clients that will do with that may read: there has been no leader for long.
    pub fn begin_read_only(&mut self, follow: &mut Follow) {
        self.publisher.drop_clients(follow);
        #[cfg(any(test, feature = "sim"))]
        if follow.core.settings.has_bug(crate::replica::SessionsBug::UnconfirmedRead) {
            self.publisher.confirm_wrongly(follow);
        }
        follow.begin_read_only(self.now);
        self.publisher.open_read_only();
        let (zxid, confirmed) = (self.publisher.shown().0, self.publisher.is_confirmed());
        self.common.push_event(Event::ReadOnly { zxid, confirmed });
    }

    /// There is a leader, or may be soon: clients that read come again.
    pub fn end_read_only(&mut self, follow: &mut Follow) {
        if self.publisher.is_read_only() {
            self.publisher.drop_clients(follow);
            follow.end_read_only();
        }
    }

    /// What the leader proposed, and was gathered, becomes a group for the log.
    pub fn append_gathered(&mut self) {
        if let Some(batch) = self.log.append_gathered() {
            self.common.history.push(batch);
            // A learner itself needs none of it: a leader begins with what is kept.
            self.common.trim_history(self.log.durable());
        }
    }

    /// This server leads no longer; where it has handed over, it knows to whom.
    pub fn stop_leading(&mut self, why: LostLead) -> Next {
        if let LostLead::HandedOver(leader) = why {
            self.common.designated = Some(leader);
        }
        Next::leave_role(&why)
    }

    /// Applies what the leader, or the log, says is committed.
    pub fn commit_logged(&mut self, follow: &mut Follow, through: Zxid) {
        match follow.commit(through, self.now) {
            Ok(differ) => differ.into_iter().for_each(|Differs { why, is_hint }| {
                let why = why.to_string();
                self.common.push_event(match is_hint {
                    true => Event::DigestHint { why },
                    false => Event::Digest { why },
                });
            }),
            Err(why) => self.common.push(Output::Diverged(why)),
        }
    }

    /// The server leaves the leader that `follow` works for. All that was proposed is applied: the log has it, or is about
    /// to. No quorum may have it, so clients do not see it until the next leader confirms it.
    pub fn leave_leader(&mut self, follow: &mut Follow, of_java: bool) {
        follow.disconnect();
        if !follow.core.is_held() {
            self.publisher.publish_visible(&mut follow.core);
            self.hold_unconfirmed(follow);
        }
        if of_java {
            // Its log does not tell which clients have moved to other servers.
            self.publisher.drop_clients(follow);
        }
        self.append_gathered();
        self.commit_logged(follow, self.common.history.last());
    }

    /// Goes on with another tree than before, which is durable, and the log ends with it.
    pub fn adopt(&mut self, follow: &mut Follow, mut restored: Database) {
        // Of the tree before.
        self.publisher.publish_words(&mut follow.core);
        self.publisher.publish_visible(&mut follow.core);
        self.publisher.drop_clients(follow);
        self.publisher.forget_held();
        let (config_text, config_version) = self.common.config();
        restored.set_config(&config_text, config_version);
        let last = restored.zxid;
        self.common.history.restart(last);
        self.log.restart_at(last);
        let shown = (last, restored.tree.digest());
        let sessions = restored.sessions.clone();
        follow.reset(restored, shown);
        let restart = Restart { tree: follow.core.tree.for_view(), sessions };
        self.publisher.restart(shown, ControlKind::Reset(Arc::new(restart)));
    }

    /// Says that the server looks for a leader, or knows the next one.
    pub fn tell_looking(&mut self, served: bool, why: &str) {
        let (zxid, epoch, why) = (self.common.history.last(), self.common.epochs.current.0, why.to_owned());
        self.common.push_event(match self.common.designated {
            Some(ServerId(leader)) => Event::Changes { leader, zxid, epoch, why },
            None => Event::Looking { zxid, epoch, served, why },
        });
    }

    /// Tells the election port what this server is in `epoch`, and has it tell the others.
    pub fn settle_election(&mut self, state: ServerState, epoch: u32) -> Vec<ElectionOutput> {
        let mut out = Vec::new();
        let vote = Vote { peer_epoch: epoch.into(), ..self.common.election.vote() };
        self.common.election.set_state(state, vote, &mut out);
        out
    }
}
