//! A member without a leader: it waits for its log, then holds an election.

use super::common::{CONNECT_MS, Context};
use super::connecting::Connecting;
use super::event::Event;
use super::install::{Marked, Unfinished};
use super::leading::Synchronizing;
use super::phase::{Next, Phase};
use super::since;
use crate::database::Database;
use crate::replica::follow::Follow;
use crate::zab::election::Candidate;
use crate::zab::leader::Leader;
use crate::zab::notification::{ServerState, Vote};

/// It has no leader, and the next election waits for the log.
#[derive(Debug)]
pub(super) struct Settling {
    pub follow: Box<Follow>,
    /// What a former leader wanted and the disk is carrying out.
    pub unfinished: Option<Unfinished>,
}

/// An election is held: this server votes with what its log holds, all of it durable.
#[derive(Debug)]
pub(super) struct Electing {
    pub follow: Box<Follow>,
    /// Since when.
    since_us: i64,
}

impl Settling {
    pub fn new(follow: Box<Follow>) -> Self {
        Self { follow, unfinished: None }
    }

    /// Begins an election once the log has everything.
    pub fn start_election_if_durable(mut self, cx: &mut Context<'_>) -> (Phase, Next) {
        if self.unfinished.is_some() || !cx.log.is_idle() {
            return (Phase::Settling(self), Next::Done);
        }
        let last = cx.common.history.last();
        assert_eq!(cx.log.durable(), last, "the log ends elsewhere than the history");
        cx.common.note_looking(cx.now);
        self.follow.core.metrics.counters.looking_count += 1;
        let own = Candidate { zxid: last, peer_epoch: cx.common.epochs.current };
        let own = (!cx.common.is_observer()).then_some(own);
        let mut out = Vec::new();
        cx.common.election.look(cx.now.mono_ms() as u64, own, &mut out);
        let electing = Electing { follow: self.follow, since_us: cx.now.mono_us };
        (Phase::Electing(electing), Next::election(out))
    }

    /// What the disk is carrying out, which has reached its next step.
    pub fn take_unfinished(&mut self, step: &str) -> Unfinished {
        match self.unfinished.take() {
            Some(unfinished) => unfinished,
            None => panic!("{step}, and nothing is under way for a former leader"),
        }
    }

    /// The log has its marker.
    pub fn on_marker_durable(&mut self, cx: &mut Context<'_>) -> Next {
        match self.take_unfinished("the log has a marker").marked(cx.common) {
            Marked::Reload => {
                self.unfinished = Some(Unfinished::Reloading);
                Next::Done
            }
            Marked::Adopt(restored) => self.adopt(restored, cx),
        }
    }

    /// Goes on with another tree, which the log ends with.
    pub fn adopt(&mut self, restored: Database, cx: &mut Context<'_>) -> Next {
        cx.adopt(&mut self.follow, restored);
        Next::StartElection
    }
}

impl Electing {
    /// The election has a result.
    pub fn elected(mut self, vote: Vote, state: ServerState, cx: &mut Context<'_>) -> (Phase, Next) {
        let (sid, now_ms) = (vote.leader, cx.now.mono_ms());
        cx.common.push_event(Event::Elected { sid });
        // A quorum that elected with this server's vote knows as much as it does.
        let (theirs, ours) = (vote.peer_epoch, cx.common.epochs.current);
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
            let until_ms = retry_ms + cx.common.settings.membership.init_ms.min(CONNECT_MS);
            let mut connecting =
                Connecting { follow: self.follow, sid, link: None, retry_ms, until_ms, wants_all: false };
            connecting.connect_if_due(cx);
            return (Phase::Connecting(connecting), Next::Done);
        }
        assert_eq!(sid, cx.common.settings.membership.sid, "this server leads, and another was elected");
        let last = cx.common.history.last();
        let membership = cx.common.settings.membership.clone();
        let mut leader = Leader::new(membership, cx.common.epochs, last, now_ms);
        let mut out = Vec::new();
        early_links.for_each(|link| leader.accepted(link, now_ms, &mut out));
        leader.discover(now_ms, &mut cx.common.history, &mut out);
        let synchronizing = Synchronizing { leader: Box::new(leader), follow: self.follow };
        (Phase::Synchronizing(synchronizing), Next::leader(out))
    }
}
