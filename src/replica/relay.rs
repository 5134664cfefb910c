//! What a follower forwards for its observers, and how it finds out whom an answer is for.
//!
//! To the leader an observer's clients are this server's. The answer to a write is its txn, which the observer finds in what
//! is committed; the other answers come in the order in which the leader was asked.
//!
//! Source: `ObserverMaster`, `LearnerHandler`, `FollowerZooKeeperServer`, Apache ZooKeeper 3.9.4.

use crate::proto::SessionId;
use std::collections::{BTreeMap, VecDeque};

/// The leader's answer to what an observer of this server asked. The observer finds the answer to a write in its txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relayed {
    /// To a sync.
    Synced { observer: u32 },
    /// To the question whether a session lives.
    Revalidated { observer: u32, session_id: SessionId, valid: bool },
}

/// What is asked for observers, and through whom an observer asks.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// The follower that this observer is connected to in place of its leader, whose number the leader knows it by.
    pub(super) via: Option<u32>,
    /// Attachments through that follower that were seen of sessions that attach here.
    seen_via: BTreeMap<SessionId, usize>,
    /// Questions about sessions that the leader has not answered, oldest first, each with the observer that asked, if it
    /// was none of this server's clients.
    revalidating: VecDeque<(SessionId, Option<u32>)>,
    /// Syncs of observers by number, among those of this server.
    relayed_syncs: BTreeMap<u64, u32>,
    /// Answers for observers, oldest first.
    relayed: VecDeque<Relayed>,
}

impl Relay {
    /// What was asked a former leader, or for clients that are gone, is not answered any more.
    pub fn forget_asked(&mut self) {
        self.revalidating.clear();
        self.relayed_syncs.clear();
        self.relayed.clear();
    }

    /// The answers for observers are of no account any more.
    pub fn forget_answers(&mut self) {
        self.relayed.clear();
    }

    /// No attachment through a follower was seen.
    pub fn forget_seen(&mut self) {
        self.seen_via.clear();
    }

    /// The leader is asked whether a session lives, for an observer or for a client of this server.
    pub fn ask(&mut self, session_id: SessionId, observer: Option<u32>) {
        self.revalidating.push_back((session_id, observer));
    }

    /// An observer's sync with this number is on its way to the leader.
    pub fn sync(&mut self, number: u64, observer: u32) {
        self.relayed_syncs.insert(number, observer);
    }

    /// The leader has answered the sync with this number; whether it was an observer's.
    pub fn synced(&mut self, number: u64) -> bool {
        let observer = self.relayed_syncs.remove(&number);
        self.relayed.extend(observer.map(|observer| Relayed::Synced { observer }));
        observer.is_some()
    }

    /// The leader has said whether a session lives; whether an observer had asked.
    pub fn revalidated(&mut self, session_id: SessionId, valid: bool) -> bool {
        let asked = self.revalidating.iter().position(|(asked, _)| *asked == session_id);
        let observer = asked.and_then(|at| self.revalidating.remove(at)).and_then(|(_, observer)| observer);
        let answer = |observer| Relayed::Revalidated { observer, session_id, valid };
        self.relayed.extend(observer.map(answer));
        observer.is_some()
    }

    /// The next answer for an observer, in the leader's order.
    pub fn take(&mut self) -> Option<Relayed> {
        self.relayed.pop_front()
    }

    /// A client attached to the session through the follower that serves this observer, as one here is about to.
    pub fn saw_via(&mut self, session_id: SessionId) {
        *self.seen_via.entry(session_id).or_default() += 1;
    }

    /// Whether a client here whose attachment the leader grants may have been overtaken by another server's, which is this
    /// server, or through the same follower as this one, to the leader. `waiting` more attach here. Called once for each answer.
    pub fn is_overtaken(&mut self, session_id: SessionId, waiting: usize) -> bool {
        let by_observer =
            self.revalidating.iter().any(|(asked, observer)| *asked == session_id && observer.is_some());
        let Some(seen) = self.seen_via.get_mut(&session_id) else { return by_observer };
        *seen = seen.saturating_sub(1);
        let is_overtaken = *seen > waiting;
        if waiting == 0 {
            self.seen_via.remove(&session_id);
        }
        by_observer || is_overtaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(0x0400_0000_0000_0001);

    /// Answers go to whom asked, in the order in which the leader was asked about a session.
    #[test]
    fn answers_find_their_observers() {
        let mut relay = Relay::default();
        relay.ask(SESSION, Some(7));
        relay.ask(SESSION, None);
        relay.ask(SESSION, Some(8));
        relay.sync(3, 9);
        assert!(relay.revalidated(SESSION, true) && !relay.revalidated(SESSION, true));
        assert!(!relay.synced(2) && relay.synced(3) && relay.revalidated(SESSION, false));
        let revalidated = |observer, valid| Relayed::Revalidated { observer, session_id: SESSION, valid };
        let expected = [revalidated(7, true), Relayed::Synced { observer: 9 }, revalidated(8, false)];
        assert_eq!(std::iter::from_fn(|| relay.take()).collect::<Vec<_>>(), expected);
        relay.ask(SESSION, Some(7));
        relay.forget_asked();
        assert!(!relay.revalidated(SESSION, true), "a former leader's answer");
    }

    /// A client is overtaken where an observer of this server asked for its session later, and may be where more clients
    /// attached through the follower that serves this observer than are here.
    #[test]
    fn who_is_overtaken() {
        let mut relay = Relay::default();
        relay.ask(SESSION, Some(7));
        assert!(relay.is_overtaken(SESSION, 0));
        let mut relay = Relay::default();
        for (seen, waiting, expected) in
            [(0, 0, false), (1, 0, false), (2, 0, true), (2, 1, false), (3, 1, true)]
        {
            (0..seen).for_each(|_| relay.saw_via(SESSION));
            assert_eq!(relay.is_overtaken(SESSION, waiting), expected, "{seen} were seen, {waiting} wait");
            relay.forget_seen();
        }
    }
}
