//! A member without a leader that holds an election.

use super::common::Context;
use super::connecting::Connecting;
use super::event::Event;
use super::leading::Synchronizing;
use super::log_queue::since;
use super::next::Next;
use super::settling::Settling;
use crate::replica::follow::Follow;
use crate::zab::election::Candidate;
use crate::zab::leader::Leader;
use crate::zab::notification::{ServerState, Vote};

/// An election is held: this server votes with what its log holds, all of it durable.
#[derive(Debug)]
pub(super) struct Electing {
    pub follow: Box<Follow>,
    /// Since when.
    since_us: i64,
    /// When clients may read, unless there is a leader by then.
    read_only_ms: Option<i64>,
}

/// How long a server looks for a leader, at least, before clients may read. Source: `QuorumPeer.run`.
const READ_ONLY_AFTER_MS: i64 = 2_000;

/// What an election makes of a server.
#[derive(Debug)]
pub(super) enum Elected {
    Leader(Synchronizing, Next),
    Follower(Connecting),
}

impl Electing {
    /// Begins an election.
    pub fn begin(settling: Settling, cx: &mut Context<'_>) -> (Self, Next) {
        assert!(settling.may_vote(cx.log), "an election while {:?}", settling.unfinished);
        let (mut follow, last) = (settling.follow, cx.common.history.last());
        assert_eq!(cx.log.durable(), last, "the log ends elsewhere than the history");
        cx.common.note_looking(cx.now);
        cx.common.settings.membership.configs.forget_heard();
        follow.core.metrics.counters.looking_count += 1;
        let own = Candidate { zxid: last, peer_epoch: cx.common.epochs.current };
        // Whether it has a vote the configurations say, also those that it hears of.
        let may_vote = !cx.common.repairing
            && (!cx.common.is_observer() || cx.common.settings.membership.reconfig_enabled);
        let own = may_vote.then_some(own);
        let mut out = Vec::new();
        match cx.common.designated.take() {
            Some(leader) => cx.common.election.designate(leader, last, own, &mut out),
            None => cx.common.election.look_for_leader(cx.now.mono_ms() as u64, own, &mut out),
        }
        // One whose data was lost or damaged has nothing that it may show.
        let may_read = cx.common.settings.read_only_mode && !cx.common.repairing;
        let after_ms = cx.common.settings.membership.tick_ms.max(READ_ONLY_AFTER_MS);
        let read_only_ms = may_read.then_some(cx.now.mono_ms() + after_ms);
        (Self { follow, since_us: cx.now.mono_us, read_only_ms }, Next::election(out))
    }

    /// Lets clients read once there has been no leader for long enough.
    pub fn tick(&mut self, cx: &mut Context<'_>) {
        if self.read_only_ms.is_some_and(|at_ms| cx.now.mono_ms() >= at_ms) {
            self.read_only_ms = None;
            cx.begin_read_only(&mut self.follow);
        }
        if cx.publisher.is_read_only() {
            self.follow.expire_local(cx.now);
        }
    }

    /// The election has a result.
    pub fn elected(mut self, vote: Vote, state: ServerState, cx: &mut Context<'_>) -> Elected {
        let (sid, now_ms) = (vote.leader.0, cx.now.mono_ms());
        cx.end_read_only(&mut self.follow);
        cx.common.push_event(Event::Elected { sid });
        // A quorum that elected with this server's vote knows as much as it does.
        let (theirs, ours) = (vote.peer_epoch, cx.common.epochs.current.0);
        if state != ServerState::Leading && theirs < i64::from(ours) {
            cx.common.push_event(Event::Outdated { leader: sid, theirs, ours });
        }
        if !cx.common.is_observer() {
            let took_us = since(self.since_us, cx.now);
            self.follow.core.metrics.times.election_time.record(took_us);
        }
        let early_links = std::mem::take(&mut cx.common.early_links).into_keys();
        if state != ServerState::Leading {
            early_links.for_each(|link| cx.common.close(link));
            let retry_ms = now_ms.max(cx.common.next_sync_ms);
            return Elected::Follower(Connecting::begin(self.follow, sid, retry_ms, cx));
        }
        assert_eq!(
            vote.leader, cx.common.settings.membership.sid,
            "this server leads, and another was elected"
        );
        let last = cx.common.history.last();
        let membership = cx.common.settings.membership.clone();
        let mut leader = Leader::new(membership, cx.common.epochs, last, now_ms);
        let mut out = Vec::new();
        early_links.for_each(|link| leader.accepted(link, now_ms, &mut out));
        leader.discover(now_ms, &mut cx.common.history, &mut out);
        let synchronizing = Synchronizing { leader: Box::new(leader), follow: self.follow };
        Elected::Leader(synchronizing, Next::leader(out))
    }
}
