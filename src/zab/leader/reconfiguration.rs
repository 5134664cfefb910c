//! Reconfiguration: a leader proposes another configuration, and goes on in it or hands over to a server that does.
//!
//! From its proposal on, two quorums decide (see [`configuration`](crate::zab::configuration)). It becomes active here when its
//! commit is announced, and is durable before. Learners hear of it by COMMITANDACTIVATE and INFORMANDACTIVATE, which name the
//! server that leads from then on: this one, if it votes in the new configuration and its followers find it where they
//! found it; else an in-step follower that votes there. This server proposes nothing more then, and its followers end their
//! connections: that way a majority of them has the commit.
//!
//! Source: `Leader.getDesignatedLeader`, `commitAndActivate`, `informAndActivate`, Apache ZooKeeper 3.9.4.

use super::output::{CloseLearner, LeaderOutput, LostLead};
use super::{Leader, Phase};
use crate::proto::{ServerId, Zxid};
use crate::zab::configuration::{Configuration, Configurations};
use crate::zab::message::{
    put_commit, put_commit_and_activate, put_inform, put_inform_and_activate,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

/// Reconfigurations that became active, each with the leader that it designates.
pub(super) type Activations = BTreeMap<Zxid, ServerId>;

impl Leader {
    /// The configurations as this leader knows them.
    pub fn configs(&self) -> &Configurations {
        &self.membership.configs
    }

    /// Gives the servers' file its first version.
    pub(super) fn set_config_version(&mut self, version: i64, out: &mut Vec<LeaderOutput>) {
        self.membership.configs.set_version(version);
        out.push(LeaderOutput::Configure(self.membership.configs.clone()));
    }

    /// Takes the version of a learner's active configuration.
    pub(super) fn take_config_version(
        &mut self,
        theirs: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let configs = &mut self.membership.configs;
        let ours = configs.active().version();
        if theirs <= ours {
            return Ok(());
        }
        if self.is_observer_master {
            return Err(CloseLearner::ConfigAhead { theirs, ours });
        }
        // A former leader has committed what this server knows as proposed.
        if self.phase != Phase::Broadcast && configs.next().is_some_and(|next| next.version() == theirs) {
            configs.commit(Zxid::from_wire(theirs));
            out.push(LeaderOutput::Configure(configs.clone()));
            return Ok(());
        }
        // A version that begins an epoch was given to the file's servers by a leader; any other one is of servers
        // that a reconfiguration has changed.
        if Zxid::from_wire(theirs).counter() != 0 || configs.next().is_some() {
            return Err(CloseLearner::ConfigAhead { theirs, ours });
        }
        self.set_config_version(theirs, out);
        Ok(())
    }

    /// The next proposal, or one of those that come with it, changes the configuration.
    pub fn propose_configuration(&mut self, configuration: Configuration, out: &mut Vec<LeaderOutput>) {
        assert!(self.is_established(), "a reconfiguration before the epoch begins");
        let (zxid, proposed) = (Zxid::from_wire(configuration.version()), self.proposed);
        assert!(zxid > proposed, "reconfiguration {zxid} after {proposed}");
        assert!(self.membership.configs.next().is_none(), "two reconfigurations are proposed at once");
        self.membership.configs.propose(configuration);
        out.push(LeaderOutput::Configure(self.membership.configs.clone()));
    }

    /// The configuration with which the epoch begins is active: a quorum of it supports this leader.
    pub(super) fn activate_at_start(&mut self, out: &mut Vec<LeaderOutput>) {
        let (sid, before) = (self.membership.sid, self.membership.configs.active().clone());
        let version = self.membership.configs.last_seen().version();
        if self.membership.configs.commit(Zxid::from_wire(version)) {
            out.push(LeaderOutput::Configure(self.membership.configs.clone()));
            if !before.keeps_leader(self.membership.configs.active(), sid) {
                self.leaving = Some(LostLead::Removed);
            }
        }
    }

    /// The commit of everything through `through` is about to be announced.
    pub(super) fn activate(&mut self, through: Zxid, out: &mut Vec<LeaderOutput>) {
        let configs = &self.membership.configs;
        let Some(next) = configs.next().filter(|next| next.version() <= through.to_wire()) else { return };
        assert!(!self.is_observer_master, "a follower activates a configuration by itself");
        let zxid = Zxid::from_wire(next.version());
        let leader = match configs.active().keeps_leader(next, self.membership.sid) {
            true => self.membership.sid,
            false => self.designate(next, zxid),
        };
        if leader != self.membership.sid {
            self.leaving = Some(LostLead::HandedOver(leader));
        }
        self.activations.insert(zxid, leader);
        self.membership.configs.commit(through);
        out.push(LeaderOutput::Configure(self.membership.configs.clone()));
    }

    /// The follower that is to lead: one that votes in the new configuration, and has the most.
    fn designate(&self, next: &Configuration, zxid: Zxid) -> ServerId {
        let voters = self.learners.synced_followers().filter(|handler| next.quorum().votes(handler.sid));
        let key = |sid, acked| (next.quorum().can_lead(sid), acked, next.quorum().weight(sid), sid);
        let best = voters.map(|handler| key(handler.sid, handler.acked)).max();
        let Some((_, acked, _, sid)) = best else { panic!("reconfiguration {zxid} is committed by no follower") };
        assert!(acked >= zxid, "server {sid} is to lead, and has {acked} of {zxid}");
        sid
    }

    /// This server's own leader has other configurations: observers are told. `activated` is the reconfiguration that
    /// became active by that, and the leader that it designates.
    pub fn follow_configurations(&mut self, configs: Configurations, activated: Option<(Zxid, ServerId)>) {
        assert!(self.is_observer_master, "a leader changes its configuration by itself");
        self.membership.configs = configs;
        self.activations.extend(activated);
    }

    /// Whether it makes no more proposals, since another server is to lead.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Why it leads no longer, once enough of its followers have gone to another leader.
    pub fn has_left(&self) -> Option<LostLead> {
        self.leaving.filter(|_| !self.decides(self.in_step_with_own()))
    }

    /// Followers that are in step, also without a vote, and this server: a reconfiguration may count on them.
    ///
    /// Source: `Leader.isQuorumSynced`.
    pub fn followers_in_step(&self) -> BTreeSet<ServerId> {
        self.in_step_with_own().collect()
    }

    /// Grows with each change of [`Self::followers_in_step`].
    pub fn followers_version(&self) -> u64 {
        self.learners.changes()
    }
}

/// What NEWLEADER says: until the epoch begins, the configuration that begins with it; afterwards the active one, since a
/// proposed one comes as a proposal.
pub(super) fn newleader_config(phase: Phase, configs: &Configurations) -> &Configuration {
    match phase {
        Phase::Broadcast => configs.active(),
        Phase::Discovery | Phase::Promises | Phase::Synchronizing => configs.last_seen(),
    }
}

/// Appends the commit of everything through `through` for a zkfast learner that has heard of those through `after`.
pub(super) fn put_commits(out: &mut Vec<u8>, activations: &Activations, after: Zxid, through: Zxid) {
    let mut last = after;
    for (zxid, leader) in activations.range((Excluded(after), Included(through))) {
        put_commit_and_activate(out, *zxid, *leader);
        last = *zxid;
    }
    if last < through {
        put_commit(out, through);
    }
}

/// Appends the commit of one txn.
pub(super) fn put_commit_of(out: &mut Vec<u8>, activations: &Activations, zxid: Zxid) {
    match activations.get(&zxid) {
        Some(leader) => put_commit_and_activate(out, zxid, *leader),
        None => put_commit(out, zxid),
    }
}

/// Appends a committed txn for an observer.
pub(super) fn put_inform_of(out: &mut Vec<u8>, activations: &Activations, zxid: Zxid, txn: &[u8]) {
    match activations.get(&zxid) {
        Some(leader) => put_inform_and_activate(out, zxid, *leader, txn),
        None => put_inform(out, zxid, txn),
    }
}
