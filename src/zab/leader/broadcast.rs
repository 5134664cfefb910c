//! Broadcast: proposals to learners in step, acknowledgements, commits, pings, and answers in their places.

use super::activations::{put_commits, put_inform_of};
use super::learners::{LearnerHandler, LearnerKind, Step};
use super::output::{CloseLearner, Lag, LeaderOutput};
use super::{Asked, Leader, Phase, WINDOW_BYTES, touched};
use crate::proto::{Epoch, SessionId, Zxid};
use crate::zab::LinkId;
use crate::zab::history::History;
use crate::zab::message::{Packet, PacketType, Revalidated, put_bare, put_ping, put_proposal};
use bytes::Bytes;

/// A learner that lags for so long is named in the log.
const LAG_MS: i64 = 30_000;

impl Leader {
    /// These txns were proposed, and are about to be the newest of the history: every voter in step gets them at once,
    /// the others in their turn.
    pub fn propose<'a>(&mut self, txns: impl Iterator<Item = (Zxid, &'a [u8])>, out: &mut Vec<LeaderOutput>) {
        assert!(self.is_established(), "a proposal before the epoch begins");
        assert!(!self.is_observer_master, "a follower proposes");
        let (mut bytes, mut zxids) = (Vec::new(), Vec::new());
        let before = self.proposed;
        for (zxid, txn) in txns {
            assert!(zxid > self.proposed, "proposal {zxid} after {}", self.proposed);
            self.proposed = zxid;
            zxids.push(zxid);
            put_proposal(&mut bytes, zxid, txn);
        }
        if zxids.is_empty() {
            return;
        }
        assert!(!self.is_leaving(), "a leader proposes after it has handed over");
        assert_eq!(Epoch::of(self.proposed), self.epochs.accepted, "a proposal of another epoch");
        let bytes = Bytes::from(bytes);
        for handler in self.learners.iter_mut() {
            let cursor = &handler.cursor;
            let is_in_step = handler.is_follower()
                && handler.gets_proposals()
                && cursor.sent == before
                && cursor.newleader_after.is_none()
                && cursor.queued < WINDOW_BYTES;
            if is_in_step {
                handler.cursor.sent = self.proposed;
                if !handler.is_cumulative {
                    handler.cursor.uncommitted.extend(&zxids);
                }
                handler.send(bytes.clone(), out);
            }
        }
        self.check();
    }

    /// This server's own disk has everything through `zxid`.
    pub fn durable(&mut self, zxid: Zxid) {
        assert!(zxid <= self.proposed, "durable is {zxid}, proposed {}", self.proposed);
        self.durable = self.durable.max(zxid);
        self.advance();
    }

    /// A learner has acknowledged `zxid`: NEWLEADER by the start of the epoch, else a txn, and all before it.
    ///
    /// # Errors
    /// [`CloseLearner::Unproposed`] for what was never proposed: it would count for txns that the learner has never
    /// seen. [`CloseLearner::Unexpected`] for an acknowledgement of NEWLEADER before that was sent.
    pub(super) fn acknowledged(
        &mut self,
        link: LinkId,
        zxid: Zxid,
        now_ms: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let epoch = self.epochs.accepted.start();
        let last = self.proposed;
        let handler = self.learners.at_mut(link);
        let is_syncing = matches!(handler.step, Step::Syncing { .. });
        if is_syncing && zxid == epoch && handler.cursor.newleader_after.is_none() {
            self.in_step_now(link, now_ms, out);
            return Ok(());
        }
        if is_syncing && (zxid == epoch || self.membership.as_java) {
            return Err(CloseLearner::Unexpected(PacketType::ACK.0));
        }
        // The answer to UPTODATE, which is no txn's.
        if !is_syncing && zxid.counter() == 0 && zxid <= epoch {
            return Ok(());
        }
        if zxid > last {
            return Err(CloseLearner::Unproposed { sid: handler.sid, zxid, last });
        }
        // In the log's order, so the newest stands for all before it, also where each has its own.
        handler.acked = handler.acked.max(zxid);
        self.advance();
        Ok(())
    }

    pub(super) fn advance(&mut self) {
        if self.phase == Phase::Broadcast && !self.is_observer_master {
            let reached = Zxid(self.newest_of_quorum(self.durable.0, |handler| handler.acked.0, Zxid));
            self.committed = self.committed.max(reached);
        }
        self.check();
    }

    /// The largest number that a quorum has reached, given this server's own; `zxid` says of which zxid's quorum that is.
    fn newest_of_quorum(
        &self,
        own: u64,
        of: impl Fn(&LearnerHandler) -> u64,
        zxid: impl Fn(u64) -> Zxid,
    ) -> u64 {
        let sid = self.membership.sid;
        let reached = |number: u64| {
            let own = Some(sid).filter(|_| own >= number);
            let others = self.learners.synced_followers().filter(|handler| of(handler) >= number);
            let sids = others.map(|handler| handler.sid).filter(|other| *other != sid).chain(own);
            self.membership.configs.decides_on(zxid(number), sids.clone()) || self.decides_by_oracle(sids)
        };
        let numbers = self.learners.synced_followers().map(&of).chain([own]);
        numbers.filter(|number| reached(*number)).max().unwrap_or(0)
    }

    /// Sends the learners the commit of everything through `through`, at most [`Self::committed`].
    pub fn commit(&mut self, through: Zxid, history: &History, out: &mut Vec<LeaderOutput>) {
        let before = self.announced;
        // The start of an epoch is no txn.
        if through <= before || through.counter() == 0 {
            return;
        }
        assert!(through <= self.committed, "commit of {through}, committed is {}", self.committed);
        assert!(through <= history.last(), "commit of {through}, history ends at {}", history.last());
        self.activate(through, out);
        self.announced = through;
        let activations = &self.activations;
        let window = self.window(LearnerKind::Observer);
        let (mut commit, mut inform) = (Bytes::new(), Bytes::new());
        let mut others = Vec::new();
        for handler in self.learners.iter_mut().filter(|handler| handler.gets_proposals()) {
            let (is_follower, is_cumulative) = (handler.is_follower(), handler.is_cumulative);
            let cursor = &mut handler.cursor;
            let is_free = cursor.newleader_after.is_none() && cursor.answers.is_empty();
            if is_follower && is_cumulative && is_free && cursor.sent >= through && cursor.announced == before
            {
                if commit.is_empty() {
                    let mut bytes = Vec::new();
                    put_commits(&mut bytes, activations, before, through);
                    commit = bytes.into();
                }
                cursor.announced = through;
                handler.send(commit.clone(), out);
            } else if !is_follower && is_free && cursor.sent == before && cursor.queued < window {
                if inform.is_empty() {
                    let mut bytes = Vec::new();
                    let txns = history.after(before).take_while(|(zxid, _)| *zxid <= through);
                    txns.for_each(|(zxid, txn)| put_inform_of(&mut bytes, activations, zxid, txn));
                    inform = bytes.into();
                }
                (cursor.sent, cursor.announced) = (through, through);
                handler.send(inform.clone(), out);
            } else {
                others.push(handler.link);
            }
        }
        others.into_iter().for_each(|link| self.pump(link, history, out));
        self.check();
    }

    /// Pings every learner; once [`Self::confirmed_round`] is as large as the number that this gives, this
    /// server was the leader at the time of the call or later.
    pub fn begin_round(&mut self, out: &mut Vec<LeaderOutput>) -> u64 {
        self.round += 1;
        let mut bytes = Vec::new();
        put_ping(&mut bytes, Zxid(self.round));
        let bytes = Bytes::from(bytes);
        for handler in self.learners.iter_mut().filter(|handler| handler.may_be_pinged()) {
            handler.send(bytes.clone(), out);
        }
        self.round
    }

    /// The newest ping that a quorum has answered: this server led when that was sent, or later.
    pub fn confirmed_round(&self) -> u64 {
        let all = |_| Zxid::from_wire(i64::MAX);
        let confirmed = self.newest_of_quorum(self.round, |handler| handler.round, all);
        assert!(confirmed <= self.round, "ping {confirmed} is answered, {} were sent", self.round);
        confirmed
    }

    /// A learner answers a ping, and names the sessions that live.
    pub(super) fn ping_answered(
        &mut self,
        link: LinkId,
        packet: &Packet<'_>,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), CloseLearner> {
        let handler = self.learners.at_mut(link);
        // No more than was sent: a server of ZooKeeper's may say any number.
        handler.round = handler.round.max(packet.zxid.0.min(self.round));
        let sessions = touched(packet)?;
        if !sessions.is_empty() {
            out.push(LeaderOutput::Asked(handler.number, Asked::Touched(sessions)));
        }
        Ok(())
    }

    /// The answer to a learner's sync, right after the commits that were announced.
    pub fn synced(&mut self, learner: u32, history: &History, out: &mut Vec<LeaderOutput>) {
        self.answer(learner, history, out, |bytes| put_bare(bytes, PacketType::SYNC, Zxid::ZERO));
    }

    /// The answer to a learner's question about a session, right after the commits that were announced.
    pub fn revalidated(
        &mut self,
        learner: u32,
        session_id: SessionId,
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
        // A learner whose connection ended before the commit side had its answer asks again when it comes back.
        let Some(link) = self.learners.by_number(learner).map(|handler| handler.link) else { return };
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.learners.at_mut(link).cursor.answers.push_back((self.announced, bytes.into()));
        self.pump(link, history, out);
    }

    /// Names learners that have been behind what is proposed for long.
    pub(super) fn note_lags(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let window = self.window(LearnerKind::Observer);
        for handler in self.learners.iter_mut().filter(|handler| handler.step == Step::Synced) {
            let last = if handler.is_follower() { self.proposed } else { self.announced };
            let window = if handler.kind == LearnerKind::Observer { window } else { WINDOW_BYTES };
            let (sid, cursor) = (handler.sid, &mut handler.cursor);
            if cursor.queued < window && cursor.sent >= last {
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
