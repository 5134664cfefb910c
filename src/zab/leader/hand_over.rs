//! Hand-over: a leader makes a follower the leader, and no election is held. A leader whose epoch is spent hands over to itself:
//! all come again at once, and another epoch begins.
//!
//! It costs nothing until the next leader has answered a ping, and acknowledged all that was proposed when the hand-over was asked
//! for: it is at work, and so is its disk. From then on the commit side makes no txn. Once all that was proposed is committed and announced,
//! and the next leader has it on disk, every zkfast learner in step is told who leads from here on. So the next leader has
//! all that any of them has. Learners leave, this server waits for that, and then follows. Where the next leader fails
//! before a quorum follows it, an election is held as ever: what was committed a quorum has.
//!
//! ZooKeeper's own learners are told nothing. Their connections end when this server leaves, and they find the next leader by
//! votes.

use super::handing::{GivenUp, HandOver, HandOverError, UnderWay};
use super::learners::{LearnerHandler, Step};
use super::output::{LeaderOutput, LostLead};
use super::{Leader, Phase};
use crate::config::Role;
use crate::proto::{ServerId, Zxid};
use crate::zab::configuration::Configuration;
use crate::zab::message::put_hand_over;

/// How long writes wait for a hand-over at most; less where syncLimit is less.
const HAND_OVER_MS: i64 = 2_000;

/// How long a leader waits for the last of its learners to leave.
const LEAVE_MS: i64 = 20;

impl Leader {
    /// Begins to hand over, to the follower in step that has the most if none is asked for. See
    /// [`Self::go_on_handing_over`]; once it [is barred](Self::is_barred), the caller proposes what is checked already, and
    /// nothing more.
    ///
    /// # Errors
    /// See [`HandOverError`].
    pub fn begin_hand_over(
        &mut self,
        to: Option<ServerId>,
        now_ms: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<ServerId, HandOverError> {
        assert!(self.is_established(), "a hand-over before the epoch begins");
        if let Some(LostLead::HandedOver(before)) = self.leaving {
            return Err(HandOverError::UnderWay(before));
        }
        if let Some(UnderWay { to: before, .. }) = self.hand_over.under_way {
            return match to.is_none_or(|to| to == before) {
                true => Ok(before),
                false => Err(HandOverError::UnderWay(before)),
            };
        }
        let to = match to {
            Some(to) => self.check_successor(to)?,
            None => self.best_successor().ok_or(HandOverError::NoFollower)?,
        };
        self.begin(to, now_ms, out);
        Ok(to)
    }

    /// Begins to hand over to this server itself: the zxids of its epoch are nearly spent. False where that is impossible, since a
    /// voter in step is ZooKeeper's own, or has come to nothing before.
    pub fn begin_renewal(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) -> bool {
        assert!(self.is_established(), "a hand-over before the epoch begins");
        let knows = |handler: &LearnerHandler| handler.is_cumulative || !self.votes(handler);
        let is_possible = !self.hand_over.is_renewal_given_up && self.learners.synced_followers().all(knows);
        if is_possible && !self.is_handing_over() {
            self.begin(self.membership.sid, now_ms, out);
        }
        is_possible
    }

    fn begin(&mut self, to: ServerId, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let round = self.begin_round(out);
        let until_ms = now_ms + HAND_OVER_MS.min(self.membership.sync_ms);
        self.hand_over.under_way =
            Some(UnderWay { to, until_ms, from: self.proposed, round, is_barred: false });
    }

    /// Whether another server leads next, or may.
    pub fn is_handing_over(&self) -> bool {
        self.hand_over.under_way.is_some() || self.is_leaving()
    }

    /// Whether nothing more is to be proposed for that.
    pub fn is_barred(&self) -> bool {
        self.hand_over.under_way.is_some_and(|under_way| under_way.is_barred) || self.is_leaving()
    }

    /// Tells the learners who leads next once all that was proposed is committed, and the next leader has it; or gives up.
    /// `is_idle` says that all that was checked is proposed, and announced.
    pub fn go_on_handing_over(
        &mut self,
        is_idle: bool,
        now_ms: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Option<GivenUp> {
        let under_way = self.hand_over.under_way?;
        let UnderWay { to, until_ms, from, round, is_barred } = under_way;
        if self.is_leaving() {
            // A reconfiguration was quicker.
            self.hand_over.under_way = None;
            return None;
        }
        let is_renewal = to == self.membership.sid;
        let is_gone = !is_renewal && self.check_successor(to).is_err();
        if is_gone || now_ms >= until_ms {
            self.hand_over.under_way = None;
            self.hand_over.is_renewal_given_up |= is_renewal;
            return Some(GivenUp { to, is_gone });
        }
        if !is_barred && self.has_answered(to, round) && self.has_through(to, from) {
            self.hand_over.under_way = Some(UnderWay { is_barred: true, ..under_way });
        } else if is_barred && self.is_ready(to, is_idle) {
            self.tell(to, now_ms, out);
        }
        None
    }

    /// Whether the next leader has answered a ping since; of this server itself a quorum must have.
    fn has_answered(&self, to: ServerId, round: u64) -> bool {
        match to == self.membership.sid {
            true => self.confirmed_round() >= round,
            false => {
                let answered = |handler: &LearnerHandler| handler.sid == to && handler.round >= round;
                self.learners.synced_followers().any(answered)
            }
        }
    }

    /// Whether the next leader has everything through `zxid` on its disk; of this server itself a quorum must come again.
    fn has_through(&self, to: ServerId, zxid: Zxid) -> bool {
        let has_it = |handler: &&LearnerHandler| {
            handler.acked.max(handler.synced_through) >= zxid && handler.is_cumulative
        };
        let have_it = self.learners.synced_followers().filter(has_it).map(|handler| handler.sid);
        match to == self.membership.sid {
            true => self.durable >= zxid && self.decides(have_it.chain([to])),
            false => have_it.into_iter().any(|sid| sid == to),
        }
    }

    /// Whether all that was proposed is committed and announced, and the next leader has it.
    fn is_ready(&self, to: ServerId, is_idle: bool) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if self.membership.configs.has_bug(crate::zab::configuration::ConfigurationsBug::HandOverEarly) {
            return true;
        }
        let told = self.learners.synced_followers().filter(|handler| self.may_be_told(handler));
        let mut told = told.map(|handler| handler.sid);
        is_idle
            && self.announced == self.proposed
            && self.membership.configs.next().is_none()
            && self.has_through(to, self.proposed)
            && (to == self.membership.sid || told.any(|sid| sid == to))
    }

    fn tell(&mut self, to: ServerId, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let mut bytes = Vec::new();
        put_hand_over(&mut bytes, self.announced, to);
        let links = self.learners.links_where(|handler| self.may_be_told(handler));
        for link in links {
            self.learners.at_mut(link).send(bytes.clone().into(), out);
            self.hand_over.told.insert(link);
        }
        (self.hand_over.under_way, self.hand_over.told_ms) = (None, now_ms);
        self.leaving = Some(LostLead::HandedOver(to));
    }

    /// Whether the learner knows what that means, and has been sent all that comes before.
    fn may_be_told(&self, handler: &LearnerHandler) -> bool {
        let cursor = &handler.cursor;
        // The start of an epoch is no txn.
        let is_announced = cursor.announced == self.announced || self.announced.counter() == 0;
        handler.step == Step::Synced
            && handler.is_cumulative
            && cursor.sent >= self.announced
            && is_announced
            && cursor.answers.is_empty()
    }

    /// Whether learners were told of a hand-over.
    pub(super) fn hand_over_told(&self) -> bool {
        !self.hand_over.told.is_empty()
    }

    /// Whether those that were told of a hand-over have gone.
    pub(super) fn told_have_left(&self) -> bool {
        !self.hand_over.told.iter().any(|link| self.learners.contains(*link))
    }

    /// Whether enough of them have gone, and the others have had [`LEAVE_MS`]: those might lose what they were told with
    /// their connections, and look for a leader.
    pub(super) fn has_handed_over_late(&self, now_ms: i64) -> bool {
        let HandOver { told, told_ms, .. } = &self.hand_over;
        let is_next = |handler: &LearnerHandler| self.is_leaving_for(handler.sid);
        let awaits_next = told.iter().any(|link| self.learners.get(*link).is_some_and(is_next));
        self.hand_over_told()
            && !awaits_next
            && !self.decides(self.in_step_with_own())
            && now_ms - told_ms >= LEAVE_MS
    }

    /// Whether another server leads, or this one in another epoch, and all that this one has proposed is committed.
    pub fn has_handed_over(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if self.membership.configs.has_bug(crate::zab::configuration::ConfigurationsBug::HandOverEarly) {
            return self.is_leaving();
        }
        matches!(self.leaving, Some(LostLead::HandedOver(_)))
            && self.phase == Phase::Broadcast
            && self.announced == self.proposed
    }

    /// The follower that is to lead where none is asked for: one that has the most.
    fn best_successor(&self) -> Option<ServerId> {
        let can_lead = |handler: &&LearnerHandler| self.check_successor(handler.sid).is_ok();
        let weight = |sid| self.membership.configs.active().quorum().weight(sid);
        let key = |handler: &LearnerHandler| {
            (handler.acked.max(handler.synced_through), weight(handler.sid), handler.sid)
        };
        self.learners.synced_followers().filter(can_lead).map(key).max().map(|(_, _, sid)| sid)
    }

    /// Whether that server may lead next.
    fn check_successor(&self, to: ServerId) -> Result<ServerId, HandOverError> {
        let configs = &self.membership.configs;
        let active: &Configuration = configs.active();
        if to == self.membership.sid {
            return Err(HandOverError::LeadsAlready(to));
        }
        match active.role(to) {
            None => return Err(HandOverError::Unknown(to)),
            Some(Role::Observer) => return Err(HandOverError::NoVote(to)),
            Some(Role::Participant) if !active.quorum().can_lead(to) => {
                return Err(HandOverError::NoVote(to));
            }
            Some(Role::Participant) => {}
        }
        let mut handlers = self.learners.synced_followers().filter(|handler| handler.sid == to);
        match handlers.next() {
            None => Err(HandOverError::NotInStep(to)),
            Some(handler) if !handler.is_cumulative => Err(HandOverError::OfJava(to)),
            Some(_) => Ok(to),
        }
    }
}
