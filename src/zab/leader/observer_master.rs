//! A follower that serves observers: a leader's dealings with its observers, in an epoch that another server leads.
//!
//! It has been established from the beginning, and counts no acknowledgements: what is committed its own leader says. An
//! observer that has more than this server is sent away, since its master would take back what is committed.
//!
//! Source: `ObserverMaster`, Apache ZooKeeper 3.9.4.

use super::output::{CloseLearner, Epochs, LeaderOutput, Membership};
use super::{Leader, Phase};
use crate::proto::{Epoch, Zxid};
use crate::zab::history::History;

impl Leader {
    /// Begins to serve observers: the log ends at `last`, and everything through `committed` is committed.
    pub fn observer_master(
        membership: Membership,
        epochs: Epochs,
        last: Zxid,
        committed: Zxid,
        now_ms: i64,
    ) -> Self {
        assert_eq!(epochs.current, epochs.accepted, "observers of a server that is not in step");
        assert!(committed <= last, "committed is {committed}, the log ends at {last}");
        Self {
            is_observer_master: true,
            phase: Phase::Broadcast,
            elected: (epochs.current, committed),
            durable: Zxid::ZERO,
            committed,
            announced: committed,
            ..Self::new(membership, epochs, last, now_ms)
        }
    }

    /// Whether another server leads, and this one serves observers alone.
    pub fn is_observer_master(&self) -> bool {
        self.is_observer_master
    }

    /// This server's own leader has committed everything through `committed`, which `history` has: observers are told.
    pub fn committed_elsewhere(&mut self, committed: Zxid, history: &History, out: &mut Vec<LeaderOutput>) {
        assert!(self.is_observer_master, "a leader commits by itself: {committed}");
        assert!(committed <= history.last(), "committed is {committed}, history ends at {}", history.last());
        self.proposed = self.proposed.max(history.last());
        self.committed = self.committed.max(committed);
        self.commit(self.committed, history, out);
    }

    /// Whether an observer whose log ends at `last` can be brought up to date by this server.
    pub(super) fn check_not_ahead(&self, last: Zxid) -> Result<(), CloseLearner> {
        // Of an epoch before this one this server has everything. The start of an epoch is no txn.
        let is_ahead =
            Epoch::of(last) == self.epochs.accepted && last > self.committed && last.counter() != 0;
        match self.is_observer_master && is_ahead {
            true => Err(CloseLearner::AheadOfMaster { zxid: last, committed: self.committed }),
            false => Ok(()),
        }
    }
}
