//! A member that was elected: it waits for a quorum that follows, then proposes.
//!
//! Invariants: `announced <= committed <= proposed`, and views are given nothing beyond `committed`. What is proposed is in
//! the history as soon as the leader's machine has it.

use super::common::{Common, Context};
use super::event::Event;
use super::log_queue::since;
use super::next::{Late, Next};
use super::proposer::{Proposer, has_sync};
use super::settling::Settling;
use crate::admin::LastMinMax;
use crate::proto::{ServerId, Zxid};
use crate::replica::follow::Follow;
use crate::replica::{
    Commit, ControlKind, Deltas, EntryKind, Origin, Proposed, Request, SessionKind, TxnKind, Uplink,
    ViewRequest,
};
use crate::zab::LinkId;
use crate::zab::history::History;
use crate::zab::leader::{Asked, GivenUp, HandOverError, Leader};
use crate::zab::notification::ServerState;

/// Bytes of learners' requests that wait for room in a group at which they are not listened to.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// It was elected, and waits for a quorum that follows.
#[derive(Debug)]
pub(super) struct Synchronizing {
    pub leader: Box<Leader>,
    pub follow: Box<Follow>,
}

/// A quorum follows.
#[derive(Debug)]
pub(super) struct Leading {
    pub leader: Box<Leader>,
    pub proposer: Proposer,
    /// What the commit side knows of: followers in step, and the active configuration, both by their versions, and whether
    /// another server is to lead.
    known: (u64, i64, bool),
}

impl Synchronizing {
    /// A learner needs the tree: a view takes an image of it, with all that the log holds.
    pub fn publish_image(&mut self, link: LinkId, cx: &mut Context<'_>) {
        cx.publisher.publish_unconfirmed(&mut self.follow);
        cx.publisher.publish_control(ControlKind::Image(link));
    }

    /// A quorum follows: the epoch begins.
    pub fn established(self, epoch: u32, cx: &mut Context<'_>) -> (Leading, Next) {
        let Self { leader, mut follow } = self;
        assert!(leader.is_established(), "epoch {epoch} begins without a quorum");
        let serves = cx.common.settings.duties.leader_serves;
        if !serves {
            cx.publisher.drop_clients(&mut follow);
        }
        cx.release_held(&mut follow, epoch, serves);
        let (core, sessions, owners, waiting) = follow.into_parts(cx.now);
        let zxid = core.last_txn;
        let mut commit = Commit::of(core, sessions, cx.now);
        commit.core_mut().metrics.proposal_size = LastMinMax::default();
        commit.lead(owners, cx.now);
        commit.set_configurations(leader.configs(), leader.followers_in_step(), leader.is_leaving());
        commit.submit(cx.now, Uplink { serving_generation: cx.publisher.serving_generation(), ..waiting });
        if let Some(since_us) = cx.common.take_unavailable() {
            let times = &mut commit.core_mut().metrics.times;
            times.unavailable_time.record(since(since_us, cx.now));
            times.leader_unavailable_time.record(since(since_us, cx.now));
        }
        cx.common.push_event(Event::Leading { epoch, zxid });
        let out = cx.settle_election(ServerState::Leading, epoch);
        let leading = Leading { leader, proposer: Proposer::new(commit, true), known: (0, -1, false) };
        (leading, Next::election(out))
    }

    /// Leads no longer.
    pub fn leave(mut self, why: &str, cx: &mut Context<'_>) -> Settling {
        self.leader.links().for_each(|link| cx.common.close(link));
        cx.tell_looking(false, why);
        cx.leave_leader(&mut self.follow, false);
        Settling::new(self.follow)
    }
}

impl Leading {
    /// Whether bytes of learners may be received: what waits for room in a group is bounded.
    pub fn may_receive(&self) -> bool {
        self.proposer.commit.backlog_bytes() < BACKLOG_BYTES_MAX
    }

    /// Proposes what was checked, and appends it to the log.
    pub fn propose(&mut self, mut proposed: Proposed, cx: &mut Context<'_>) {
        let records = &proposed.records;
        let metrics = &mut self.proposer.commit.core_mut().metrics;
        metrics.counters.proposal_count += u64::from(records.records());
        for (_, txn) in records.iter() {
            metrics.proposal_size.record(cx.now.mono_us, txn.len() as u64);
        }
        let mut out = Vec::new();
        if let Some(configuration) = proposed.configuration.take() {
            self.leader.propose_configuration(configuration, &mut out);
        }
        self.leader.propose(proposed.records.iter(), &mut out);
        let round = has_sync(&proposed.deltas).then(|| self.leader.begin_round(&mut out));
        cx.common.send_of_leader(out, cx.now);
        match self.proposer.queue(proposed, round, cx.log, cx.now) {
            Some(batch) => cx.common.history.push(batch),
            None => self.publish_committed(cx),
        }
    }

    /// Publishes what is committed, and tells the learners.
    pub fn publish_committed(&mut self, cx: &mut Context<'_>) {
        let (committed, confirmed) = (self.leader.committed(), self.leader.confirmed_round());
        while let Some((deltas, through)) = self.proposer.take_committed(committed, confirmed, cx.log, cx.now)
        {
            self.answer_learners(&deltas, through, cx);
            cx.publisher.publish(deltas);
        }
        self.go_on_handing_over(cx);
        self.update_commit_side(cx.common);
        // What is not here any more is read from the log.
        let needed = self.leader.announced().min(cx.publisher.shown().0).min(cx.log.durable());
        cx.common.history.trim(needed);
    }

    /// Tells the learners what is committed now, and answers what they asked for that is no txn: each answer in its
    /// place between the commits, for a learner tells from that place which of its requests came before.
    fn answer_learners(&mut self, deltas: &Deltas, through: Zxid, cx: &mut Context<'_>) {
        let (mut out, history) = (Vec::new(), &cx.common.history);
        for entry in &deltas.entries {
            let Some(learner) = entry.to.and_then(Origin::learner) else { continue };
            let answer = match entry.what {
                EntryKind::Txn(TxnKind::Synced) => None,
                EntryKind::Session(SessionKind::Attached { session_id, .. }) => Some((session_id, true)),
                EntryKind::Session(SessionKind::Refused { session_id }) => Some((session_id, false)),
                // A txn: the learner has it from the log.
                _ => continue,
            };
            self.leader.commit(entry.zxid, history, &mut out);
            match answer {
                None => self.leader.synced(learner, history, &mut out),
                Some((session_id, valid)) => {
                    self.leader.revalidated(learner, session_id, valid, history, &mut out);
                }
            }
        }
        self.leader.commit(through, history, &mut out);
        cx.common.send_of_leader(out, cx.now);
    }

    /// Tells the commit side of other configurations, and of followers that came into step or went.
    pub fn update_commit_side(&mut self, common: &mut Common) {
        let (leader, commit) = (&self.leader, &mut self.proposer.commit);
        let is_leaving = leader.is_barred();
        let versions = (leader.followers_version(), leader.configs().active().version(), is_leaving);
        if std::mem::replace(&mut self.known, versions) == versions {
            return;
        }
        if commit.config_version() != versions.1 {
            common.tell_of_configuration();
        }
        commit.set_configurations(leader.configs(), leader.followers_in_step(), is_leaving);
    }

    /// Begins to hand over to another server.
    ///
    /// # Errors
    /// See [`HandOverError`].
    pub fn hand_over(
        &mut self,
        to: Option<ServerId>,
        cx: &mut Context<'_>,
    ) -> Result<ServerId, HandOverError> {
        let mut out = Vec::new();
        let to = self.leader.begin_hand_over(to, cx.now.mono_ms(), &mut out)?;
        cx.common.send_of_leader(out, cx.now);
        cx.common.push_event(Event::HandsOver { sid: to.0 });
        self.publish_committed(cx);
        Ok(to)
    }

    /// Begins another epoch without an election, where that is possible: this server hands over to itself.
    pub fn renew(&mut self, cx: &mut Context<'_>) -> bool {
        let was_under_way = self.leader.is_handing_over();
        let mut out = Vec::new();
        let is_begun = self.leader.begin_renewal(cx.now.mono_ms(), &mut out);
        cx.common.send_of_leader(out, cx.now);
        if is_begun && !was_under_way {
            cx.common.push_event(Event::HandsOver { sid: cx.common.settings.membership.sid.0 });
        }
        is_begun
    }

    fn go_on_handing_over(&mut self, cx: &mut Context<'_>) {
        let mut out = Vec::new();
        let is_idle = self.proposer.is_idle();
        let given_up = self.leader.go_on_handing_over(is_idle, cx.now.mono_ms(), &mut out);
        cx.common.send_of_leader(out, cx.now);
        if let Some(GivenUp { to, is_gone }) = given_up {
            cx.common.push_event(Event::HandOverGivenUp { sid: to.0, is_gone });
        }
    }

    /// A learner needs the tree: a view takes an image of it.
    pub fn publish_image(&mut self, link: LinkId, cx: &mut Context<'_>) {
        cx.publisher.publish_control(ControlKind::Image(link));
    }

    /// A learner asks for something.
    pub fn asked(&mut self, learner: u32, asked: Asked, cx: &mut Context<'_>) -> Next {
        let Some(ServerId(sid)) = self.leader.sid_of(learner) else {
            return Next::Late(Late::AskedByLostLearner);
        };
        let from = Origin::Learner { learner, sid: sid as u32 };
        let mut bytes = Vec::new();
        let item = match asked {
            Asked::Request { session_id, cxid, op, body, ids } => {
                bytes = body;
                let body = 0..bytes.len();
                ViewRequest::Request(Request {
                    origin: from,
                    session_id,
                    xid: cxid,
                    op,
                    body,
                    ids: ids.into(),
                })
            }
            Asked::CreateSession { session_id, timeout_ms } => {
                ViewRequest::CreateSession { from, session_id, timeout_ms }
            }
            Asked::Revalidate { session_id, timeout_ms } => {
                self.proposer.commit.core_mut().metrics.counters.revalidate_count += 1;
                ViewRequest::Revalidate { from, session_id, timeout_ms }
            }
            Asked::Touched(sessions) => ViewRequest::Touched(sessions),
        };
        let (since_us, serving_generation) = (Some(cx.now.mono_us), cx.publisher.serving_generation());
        self.proposer
            .commit
            .submit(cx.now, Uplink { bytes, items: vec![item], since_us, serving_generation });
        Next::Done
    }

    /// Says which learners have come into step.
    pub fn tell_of_learners(&self, common: &mut Common) {
        common.tell_of_learners(&self.leader);
    }

    /// Leads no longer. The tree has all that was proposed, so all of it goes to the log; the next leader says what of it
    /// counts.
    pub fn leave(self, why: &str, cx: &mut Context<'_>) -> Settling {
        let Self { leader, proposer, .. } = self;
        leader.links().for_each(|link| cx.common.close(link));
        cx.tell_looking(true, why);
        let (commit, rest, mut groups) = proposer.into_parts(cx.log);
        if leader.has_handed_over() {
            return Settling::new(follow_next(commit, groups.into_iter(), rest, cx));
        }
        if let Some(Proposed { records, deltas, since_us, configuration, .. }) = rest {
            groups.push(deltas);
            if let Some(configuration) = configuration {
                let mut configs = cx.common.configs().clone();
                configs.propose(configuration);
                cx.common.configure(configs, cx.now.mono_ms());
            }
            if !records.is_empty() {
                let batch = cx.log.append(records, since_us);
                cx.common.history.push(batch);
            }
        }
        let (core, sessions) = commit.into_core();
        let mut follow = Follow::of(core, sessions, cx.now);
        // What became of their clients' requests no server could tell them.
        cx.publisher.drop_clients(&mut follow);
        cx.hold_unconfirmed(&mut follow);
        cx.publisher.hold_groups(groups.into_iter());
        Settling::new(Box::new(follow))
    }

    /// Whether a connection that comes now is of a learner that was sent away, and comes again to the same server.
    pub fn begins_anew(&self, common: &Common) -> bool {
        self.leader.is_leaving_for(common.settings.membership.sid)
    }

    /// Asserts what must hold after every call.
    pub fn check(&self, history: &History, shown: Zxid) {
        let (announced, committed) = (self.leader.announced(), self.leader.committed());
        let proposed = history.last();
        assert!(announced <= committed, "announced {announced}, committed {committed}");
        assert!(committed <= proposed, "committed {committed}, proposed {proposed}");
        // The start of an epoch is no txn.
        let is_committed = shown <= committed || shown.counter() == 0;
        assert!(is_committed, "views were given {shown}, committed {committed}");
    }
}

/// Goes on as a follower of the server to which this one has handed over: all that was proposed is committed and published, so
/// that clients stay, and what they asked goes to the next leader. What is left are ends of local sessions, which are no txns.
fn follow_next(
    commit: Commit,
    groups: impl Iterator<Item = Deltas>,
    rest: Option<Proposed>,
    cx: &mut Context<'_>,
) -> Box<Follow> {
    groups.for_each(|deltas| cx.publisher.publish(deltas));
    if let Some(Proposed { records, deltas, .. }) = rest {
        assert!(records.is_empty(), "a leader has handed over, and made {}", records.last());
        cx.publisher.publish(deltas);
    }
    let mut follow = Follow::of_leader(commit.into_parts(), cx.now);
    cx.publisher.publish_visible(&mut follow.core);
    cx.hold_unconfirmed(&mut follow);
    Box::new(follow)
}
