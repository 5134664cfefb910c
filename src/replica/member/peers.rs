//! What only a member has: other servers, and what it wants of its shell. Each event is taken in by the member's phase.

use super::common::Context;
use super::install::LostTree;
use super::next::{Late, Next};
use super::output::{Output, Port};
use super::phase::{Phase, Slot};
use super::{Member, Replica, Role};
use crate::database::Database;
use crate::proto::Zxid;
use crate::replica::Now;
use crate::wal::Batch;
use crate::zab::LinkId;
use crate::zab::history::History;
use crate::zab::leader::{Leader, LeaderOutput};
use std::io;

/// What a member wants done, and what the disk says to it.
impl Replica {
    /// What the shell is to do next.
    pub fn take_output(&mut self) -> Option<Output> {
        match &mut self.role {
            Role::Alone(_) => None,
            Role::Member(member) => member.common.outputs.pop_front(),
        }
    }

    /// True if [`Self::take_output`] has something.
    pub fn has_output(&self) -> bool {
        match &self.role {
            Role::Alone(_) => false,
            Role::Member(member) => !member.common.outputs.is_empty(),
        }
    }

    /// A view has begun the image that [`ControlKind::Image`](super::super::ControlKind::Image) asked for; its tree is as of `zxid`.
    pub fn image_begun(&mut self, link: LinkId, zxid: Zxid, now: Now) {
        // A follower's views may show what is not a group for its log yet, and its observer goes on from there.
        self.step(now, |slot, cx| {
            if let Phase::Following(following) = &mut **slot
                && following.has_observer(link)
            {
                cx.append_gathered();
                following.tell_observers(cx);
            }
            Next::Done
        });
        self.step_leader(now, Late::ImageOfFormerLead, |leader, history, out| {
            leader.image_begun(link, zxid, now.mono_ms(), history, out);
        });
    }

    /// What the log says to [`Output::FindInLog`]: its newest txn that is not above the zxid; `None` where the log does
    /// not go back so far, or a tree is less to send.
    pub fn log_found(&mut self, link: LinkId, floor: Option<Zxid>, now: Now) {
        self.step_leader(now, Late::LogOfFormerLead, |leader, history, out| {
            leader.found(link, floor, now.mono_ms(), history, out);
        });
    }

    /// What the log gave for [`Output::ReadLog`], or why it gave nothing.
    pub fn log_read(&mut self, link: LinkId, read: Result<&Batch, String>, now: Now) {
        self.step_leader(now, Late::LogOfFormerLead, |leader, history, out| {
            leader.log_read(link, read, history, out);
        });
    }

    /// A connection to a peer has taken `bytes` of what it was to be sent; `messages` of them were handed out by
    /// [`Output::Send`], the others belong to a tree.
    pub fn taken(&mut self, link: LinkId, bytes: usize, messages: usize, now: Now) {
        self.step(now, |slot, cx| {
            if let Phase::Following(following) = &mut **slot
                && following.link == link
            {
                following.sent(messages);
            } else if let Some(master) = slot.learner_master_mut() {
                let mut out = Vec::new();
                master.taken(link, bytes, messages, now.mono_ms(), &cx.common.history, &mut out);
                cx.common.send_of_leader(out, now);
            }
            // A server without learners counts nothing of what its connections take.
            Next::Done
        });
    }

    /// That tree is durable as an incoming snapshot.
    pub fn tree_stored(&mut self, restored: Database) {
        let Self { role, log, .. } = self;
        let Role::Member(member) = role else { panic!("a server alone stores no tree") };
        let stored = member.phase.take_unfinished("a tree is stored").stored(restored, log);
        member.phase.put_unfinished(stored);
        self.check();
    }

    /// That tree could not be written: nothing of it is on the disk. Whether there is room the next attempt shows, after
    /// a pause, for each costs all of the tree.
    pub fn tree_not_stored(&mut self, error: io::Error, now: Now) {
        self.step(now, |slot, cx| {
            slot.take_unfinished("a tree is not stored").not_stored();
            cx.common.tree_not_stored(now.mono_ms());
            match &**slot {
                Phase::Following(_) => Next::leave_role(&LostTree::NotStored(error)),
                // It has left its leader already.
                _ => Next::StartElection,
            }
        });
    }

    /// What the disk says to [`Output::CheckTruncation`]. A log that begins with a tree after `to` cannot be cut there:
    /// that tree came from a leader which held what no quorum committed, and was gone before it told. The leader is asked
    /// for everything, over a new connection and at once, since it may need this server for its quorum. Nothing is
    /// taken back meanwhile: all that this server ever acknowledged is on its disk until what comes takes its place.
    pub fn truncate(&mut self, to: Zxid, is_possible: bool, now: Now) {
        self.step(now, |slot, cx| slot.change(|phase| phase.truncate(to, is_possible, cx)));
    }

    /// What the disk holds, after [`Output::Reload`].
    pub fn reloaded(&mut self, restored: Database, now: Now) {
        self.step(now, |slot, cx| {
            slot.take_unfinished("the disk is read again").reloaded(&restored);
            slot.adopt(restored, cx)
        });
    }
}

/// Other servers, and time.
impl Replica {
    /// A peer has connected.
    pub fn accepted(&mut self, link: LinkId, port: Port, now: Now) {
        self.step(now, |slot, cx| match port {
            Port::Election => {
                cx.common.election_links.insert(link);
                let mut out = Vec::new();
                cx.common.election.accepted(now.mono_ms() as u64, link, &mut out);
                Next::election(out)
            }
            Port::Quorum => slot.accepted(link, cx),
            Port::Observers => slot.accepted_observer(link, cx),
        });
    }

    /// A connection that was asked for is there.
    pub fn connected(&mut self, link: LinkId, now: Now) {
        self.step(now, |slot, cx| {
            if cx.common.election_links.contains(&link) {
                let mut out = Vec::new();
                cx.common.election.connected(now.mono_ms() as u64, link, &mut out);
                return Next::election(out);
            }
            slot.change(|phase| phase.connected(link, cx))
        });
    }

    /// Whether bytes of this peer may be received: what waits for the log, and for views, is bounded.
    pub fn may_receive(&self, link: LinkId) -> bool {
        match &self.role {
            Role::Alone(_) => false,
            // The socket of an early one keeps its bytes until this server knows what it is.
            Role::Member(member) => {
                let Member { common, phase, .. } = &**member;
                !common.early_links.contains_key(&link) && phase.may_receive(link, common, &self.log)
            }
        }
    }

    /// Bytes of a peer.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], now: Now) {
        self.step(now, |slot, cx| {
            if cx.common.election_links.contains(&link) {
                let mut out = Vec::new();
                cx.common.election.received(now.mono_ms() as u64, link, bytes, &mut out);
                return Next::election(out);
            }
            slot.received(link, bytes, cx)
        });
        self.step(now, |slot, cx| match &mut **slot {
            Phase::Following(following) => following.take_tree(cx),
            Phase::Leading(leading) => {
                leading.publish_committed(cx);
                Next::Done
            }
            Phase::Settling(_) | Phase::Electing(_) | Phase::Connecting(_) | Phase::Synchronizing(_) => {
                Next::Done
            }
        });
    }

    /// A connection has ended, or one that was asked for could not be made.
    pub fn closed(&mut self, link: LinkId, now: Now) {
        self.step(now, |slot, cx| {
            if cx.common.early_links.remove(&link).is_some() {
                return Next::Done;
            }
            if cx.common.election_links.remove(&link) {
                let mut out = Vec::new();
                cx.common.election.closed(now.mono_ms() as u64, link, &mut out);
                return Next::election(out);
            }
            slot.change(|phase| phase.closed(link, cx))
        });
    }

    /// See [`Replica::tick`]. An election comes before what the phase does, which comes before what it makes of it.
    pub(super) fn tick_member(&mut self, now: Now) {
        self.step(now, |slot, cx| {
            cx.common.close_early(now.mono_ms());
            if let Some(follow) = slot.follow_mut() {
                cx.publisher.drop_late(follow, now.mono_ms());
            }
            let mut out = Vec::new();
            cx.common.election.tick(now.mono_ms() as u64, &mut out);
            Next::election(out)
        });
        self.step(now, |slot, cx| slot.tick(cx));
        self.step(now, |slot, cx| slot.tick_lead(cx));
        self.step(now, |slot, cx| slot.tick_observers(cx));
        self.step(now, |slot, cx| {
            slot.finish_tick(cx);
            Next::Done
        });
    }

    /// Has a member's phase take in what happened, and does what follows from it.
    pub(super) fn step(&mut self, now: Now, take_in: impl FnOnce(&mut Slot, &mut Context<'_>) -> Next) {
        let Self { role, log, publisher, .. } = self;
        let Role::Member(member) = role else { panic!("a server alone has no peers") };
        let Member { common, phase, agenda } = &mut **member;
        let mut cx = Context { common, log, publisher, now };
        let next = take_in(phase, &mut cx);
        agenda.run(next, phase, &mut cx);
        self.check();
    }

    /// The same for an event that is about the learners of a leader; it may come `late`.
    fn step_leader(
        &mut self,
        now: Now,
        late: Late,
        take_in: impl FnOnce(&mut Leader, &mut History, &mut Vec<LeaderOutput>),
    ) {
        self.step(now, |slot, cx| match slot.learner_master_mut() {
            Some(leader) => {
                let mut out = Vec::new();
                take_in(leader, &mut cx.common.history, &mut out);
                Next::leader(out)
            }
            None => Next::Late(late),
        });
    }
}
