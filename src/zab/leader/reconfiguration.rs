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
use crate::proto::{Epoch, ServerId, Zxid};
use crate::zab::configuration::{Configuration, Configurations};
use std::collections::BTreeSet;

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

    /// Takes the version of the active configuration of a learner that has accepted this epoch.
    pub(super) fn take_config_version(
        &mut self,
        sid: ServerId,
        accepted: Epoch,
        theirs: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let configs = &mut self.membership.configs;
        let ours = configs.active().version();
        if theirs <= ours {
            return Ok(());
        }
        let is_of_voter = configs.active().quorum().votes(sid);
        if self.is_observer_master || self.phase == Phase::Broadcast || !is_of_voter {
            return Err(CloseLearner::ConfigAhead { theirs, ours });
        }
        // A former leader has committed what this server knows as proposed.
        if configs.next().is_some_and(|next| next.version() == theirs) {
            self.activate_at_start(out);
            return Ok(());
        }
        // A version that begins an epoch was given to the file's servers by a leader, and the new epoch is a later one; any other
        // version is of servers that a reconfiguration has changed.
        let version = Zxid::from_wire(theirs);
        if version.counter() != 0 || Epoch::of(version) > accepted || configs.next().is_some() {
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
        let is_later = self.membership.configs.propose(configuration);
        assert!(is_later, "reconfiguration {zxid} is older than the active configuration");
        out.push(LeaderOutput::Configure(self.membership.configs.clone()));
    }

    /// The configuration with which the epoch begins is active: a quorum of it supports this leader, or a former one.
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
        let (sid, configs) = (self.membership.sid, &self.membership.configs);
        if let Some(next) = configs.next().filter(|next| next.version() <= through.to_wire()) {
            assert!(!self.is_observer_master, "a follower activates a configuration by itself");
            let zxid = Zxid::from_wire(next.version());
            let leader = match configs.active().keeps_leader(next, sid) {
                true => sid,
                false => self.designate(next, zxid).unwrap_or(sid),
            };
            // Without a follower it goes on alone where it may, or ends.
            self.leaving = match (leader == sid, next.quorum().votes(sid)) {
                (false, _) => Some(LostLead::HandedOver(leader)),
                (true, false) => Some(LostLead::Removed),
                (true, true) => None,
            };
            self.activations.insert(zxid, leader);
            self.membership.configs.commit(through);
            out.push(LeaderOutput::Configure(self.membership.configs.clone()));
        }
    }

    /// The follower that is to lead: one that votes in the new configuration, and has the most; `None` if none is there any more.
    fn designate(&self, next: &Configuration, zxid: Zxid) -> Option<ServerId> {
        let voters = self.learners.synced_followers().filter(|handler| next.quorum().votes(handler.sid));
        let key = |sid, acked| (next.quorum().can_lead(sid), acked, next.quorum().weight(sid), sid);
        let have_it = voters.filter(|handler| handler.acked >= zxid);
        have_it.map(|handler| key(handler.sid, handler.acked)).max().map(|(.., sid)| sid)
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

    /// Whether that server leads next.
    pub fn is_leaving_for(&self, sid: ServerId) -> bool {
        self.leaving == Some(LostLead::HandedOver(sid))
    }

    /// Why it leads no longer, once enough of its followers have gone to another leader.
    pub fn has_left(&self) -> Option<LostLead> {
        let has_gone = match self.hand_over_told() {
            true => self.told_have_left(),
            false => !self.decides(self.in_step_with_own()),
        };
        self.leaving.filter(|_| has_gone)
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
