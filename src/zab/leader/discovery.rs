//! Discovery: servers say who they are, and a quorum promises a new epoch.

use super::learners::{Introduction, LearnerHandler, LearnerKind, Step};
use super::output::{CloseLearner, LeaderOutput, LostLead};
use super::{Leader, Phase};
use crate::proto::{Epoch, ServerId, Zxid};
use crate::zab::LinkId;
use crate::zab::history::History;
use crate::zab::message::{
    LearnerInfo, PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE, Packet, PacketType, put_leader_info,
};

/// Epochs end here: in ACKEPOCH they are signed.
const EPOCH_MAX: Epoch = Epoch(i32::MAX as u32);

impl Leader {
    /// A voter looks for this leader; its current epoch is `peer_epoch` at most, `None` if it votes for no server.
    pub fn looks(&mut self, sid: ServerId, peer_epoch: Option<i64>) {
        self.looking.insert(sid, peer_epoch);
    }

    /// A connection says whose it is, by FOLLOWERINFO or OBSERVERINFO.
    pub(super) fn introduced(
        &mut self,
        link: LinkId,
        packet: &Packet<'_>,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let info = LearnerInfo::read(packet.data);
        let Some(sid) = info.sid.filter(|_| info.protocol_version >= PROTOCOL_VERSION) else {
            // A server before 3.4: it knows no epochs to promise.
            return Err(CloseLearner::Unexpected(packet.kind.0));
        };
        let accepted = Epoch::of(packet.zxid);
        if accepted >= EPOCH_MAX {
            // No ensemble gets there by elections.
            return Err(CloseLearner::Unexpected(packet.kind.0));
        }
        self.take_config_version(sid, accepted, info.config_version, out)?;
        let former = self.learners.iter().find(|handler| handler.sid == sid).map(|handler| handler.link);
        if let Some(former) = former {
            self.close(former, CloseLearner::Replaced(sid), out);
        }
        if self.is_observer_master && packet.kind != PacketType::OBSERVERINFO {
            return Err(CloseLearner::Unexpected(packet.kind.0));
        }
        let kind = match packet.kind {
            PacketType::OBSERVERINFO => LearnerKind::Observer,
            _ => LearnerKind::Follower,
        };
        // Not above: what a later version of ZooKeeper's means by its number is something else.
        let is_cumulative = info.protocol_version == PROTOCOL_VERSION_CUMULATIVE && !self.membership.as_java;
        self.learners.introduce(link, Introduction { sid, kind, is_cumulative, accepted }, now_ms);
        self.begin_epoch_with(link, now_ms, history, out)
    }

    /// A learner waits for the epoch: it is sent to it, if there is one and the learner can follow.
    fn begin_epoch_with(
        &mut self,
        link: LinkId,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let &LearnerHandler { sid, accepted: promised, .. } = self.learners.at(link);
        let epoch = self.epochs.accepted;
        let vote = self.looking.remove(&sid);
        match (self.phase, vote) {
            (Phase::Discovery, _) => self.discover(now_ms, history, out),
            // A quorum promises an epoch before any server is in step with its leader, and all later epochs exceed it.
            (Phase::Broadcast, Some(Some(theirs))) if promised > epoch && theirs > i64::from(epoch) => {
                return Err(CloseLearner::Foreign { sid, theirs, ours: epoch });
            }
            // A voter that promised a later epoch can never follow this leader, also where it comes as an observer to be
            // repaired; ZooKeeper leaves it at that, and the quorum misses the voter. This leader steps down, so that
            // the next epoch exceeds that promise: only for a voter that looked for this leader, with data of this epoch
            // or older, and at most once a tick, for the sake of the others.
            (Phase::Broadcast, Some(_))
                if self.membership.configs.votes(sid)
                    && promised > epoch
                    && now_ms - self.began_ms > self.membership.tick_ms =>
            {
                self.epochs.accepted = promised;
                out.push(LeaderOutput::SaveEpochs(self.epochs));
                out.push(LeaderOutput::Lost(LostLead::Promised { sid, promised, epoch }));
            }
            _ => self.send_epoch(link, out),
        }
        Ok(())
    }

    /// Proposes a new epoch once a quorum is there.
    pub fn discover(&mut self, now_ms: i64, history: &mut History, out: &mut Vec<LeaderOutput>) {
        assert_eq!(self.phase, Phase::Discovery, "a second epoch is proposed");
        let waiting =
            self.learners.iter().filter(|handler| handler.step == Step::AwaitsEpoch && self.votes(handler));
        if !self.decides(waiting.clone().map(|handler| handler.sid).chain([self.membership.sid])) {
            return;
        }
        let accepted = waiting.map(|handler| handler.accepted).fold(self.epochs.accepted, Epoch::max);
        // Zxids of the epoch exceed the version of every configuration before it.
        let of_config = Epoch::of(Zxid::from_wire(self.membership.configs.last_seen().version()));
        self.epochs.accepted = accepted.max(of_config).next();
        let (epoch, last) = (self.epochs.accepted, self.proposed);
        assert!(epoch > Epoch::of(last), "epoch {epoch} is proposed after zxid {last}");
        self.phase = Phase::Promises;
        out.push(LeaderOutput::SaveEpochs(self.epochs));
        self.promised.insert(self.membership.sid);
        for link in self.learners.links_where(|handler| handler.step == Step::AwaitsEpoch) {
            self.send_epoch(link, out);
        }
        self.check_promises(now_ms, history, out);
    }

    fn send_epoch(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let handler = self.learners.at_mut(link);
        assert_eq!(handler.step, Step::AwaitsEpoch, "server {} gets a second epoch", handler.sid);
        handler.step = Step::EpochSent;
        let version = if handler.is_cumulative { PROTOCOL_VERSION_CUMULATIVE } else { PROTOCOL_VERSION };
        let mut bytes = Vec::new();
        put_leader_info(&mut bytes, self.epochs.accepted, version);
        handler.send(bytes.into(), out);
    }

    /// A learner promises the epoch by ACKEPOCH: `current` is the epoch that it was last in step with, -1 where it had
    /// promised this one before.
    pub(super) fn promise(
        &mut self,
        link: LinkId,
        current: i32,
        last: Zxid,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let handler = self.learners.at_mut(link);
        assert_eq!(handler.step, Step::EpochSent, "server {} promises unasked", handler.sid);
        let (own_epoch, own_last) = (self.elected.0.0 as i32, self.elected.1);
        let is_counted = handler.is_follower() && current != -1;
        if self.phase == Phase::Promises
            && is_counted
            && (current > own_epoch || (current == own_epoch && last > own_last))
            // The start of the own epoch is no txn: a server that got none of that epoch says it.
            && !(current == own_epoch && last.counter() == 0)
        {
            return Err(CloseLearner::Ahead { epoch: current, zxid: last });
        }
        self.check_not_ahead(last)?;
        let handler = self.learners.at_mut(link);
        handler.step = Step::Promised(last);
        if is_counted {
            self.promised.insert(handler.sid);
        }
        match self.phase {
            Phase::Discovery => unreachable!("a promise before there is an epoch"),
            Phase::Promises => self.check_promises(now_ms, history, out),
            Phase::Synchronizing | Phase::Broadcast => self.synchronize(link, history, out),
        }
        Ok(())
    }

    fn check_promises(&mut self, now_ms: i64, history: &mut History, out: &mut Vec<LeaderOutput>) {
        assert_eq!(self.phase, Phase::Promises, "promises are counted twice");
        if !self.decides(self.promised.iter().copied()) {
            return;
        }
        self.epochs.current = self.epochs.accepted;
        self.progress_ms = now_ms;
        self.phase = Phase::Synchronizing;
        out.push(LeaderOutput::SaveEpochs(self.epochs));
        // Source: `Leader.lead`, ZOOKEEPER-1783.
        if self.membership.reconfig_enabled && self.membership.configs.last_seen().version() == 0 {
            self.set_config_version(self.epochs.accepted.start().to_wire(), out);
        }
        self.supporters.insert(self.membership.sid);
        for link in self.learners.links_where(|handler| matches!(handler.step, Step::Promised(_))) {
            self.synchronize(link, history, out);
        }
        self.check_support(now_ms, out);
    }
}
