//! What makes txns and publishes them once they are committed: a server alone, or a leader.
//!
//! Invariants: groups are published in the order in which they were proposed, none before it is committed. A group with a
//! sync in it also waits until a quorum has confirmed the lead since.

use super::log_queue::{LogQueue, since};
use crate::admin::Metrics;
use crate::proto::Zxid;
use crate::replica::{Commit, Deltas, EntryKind, Now, Proposed, TxnKind};
use crate::txn::Change;
use crate::wal::Batch;
use std::collections::VecDeque;
use std::sync::Arc;

/// The commit side, and what it has proposed.
#[derive(Debug)]
pub(super) struct Proposer {
    pub commit: Box<Commit>,
    /// Others follow.
    leads: bool,
    groups: VecDeque<Group>,
}

/// Proposed together, to be published together.
#[derive(Debug)]
struct Group {
    /// Newest zxid in it.
    through: Zxid,
    deltas: Deltas,
    /// A sync is in it: a quorum must have confirmed the lead in this round or a later one.
    round: Option<u64>,
    records: usize,
    /// When it was proposed.
    at_us: i64,
    /// When its first txn was made.
    made_us: i64,
    /// Changes of znodes, as ZooKeeper counts them.
    changes: u64,
}

impl Proposer {
    /// Nothing is proposed yet; it `leads` an ensemble or is alone.
    pub fn new(commit: Commit, leads: bool) -> Self {
        Self { commit: Box::new(commit), leads, groups: VecDeque::new() }
    }

    /// Requests of the next group, if waiting for more may bring more.
    pub fn waiting(&self) -> usize {
        if self.commit.has_room() { self.commit.waiting() } else { 0 }
    }

    /// Requests that are proposed and not committed.
    pub fn in_flight(&self) -> usize {
        self.groups.iter().map(|group| group.records).sum()
    }

    /// Syncs that wait for a quorum's confirmation, in groups.
    pub fn pending_syncs(&self) -> u64 {
        self.groups.iter().filter(|group| group.round.is_some()).count() as u64
    }

    /// Whether all that was checked is proposed, committed and published.
    pub fn is_idle(&self) -> bool {
        !self.commit.has_proposals() && self.groups.is_empty()
    }

    /// What was checked since the last group, if anything was.
    pub fn gather(&mut self, log: &mut LogQueue) -> Option<Proposed> {
        // A turn in which no request came leaves the spare memory for the next one.
        if !self.commit.has_proposals() {
            return None;
        }
        self.commit.take(log.take_spare())
    }

    /// Queues a group to be logged and published; gives what goes to the log, for the history. `round` is that of a sync.
    pub fn queue(
        &mut self,
        proposed: Proposed,
        round: Option<u64>,
        log: &mut LogQueue,
        now: Now,
    ) -> Option<Arc<Batch>> {
        let Proposed { records, deltas, through, since_us, configuration } = proposed;
        assert!(configuration.is_none(), "a reconfiguration is not proposed as one");
        if let Some(last) = self.groups.back() {
            assert!(through >= last.through, "group {through} after {}", last.through);
        }
        if !records.is_empty() {
            assert!(records.last() <= through, "group {through} has the record of {}", records.last());
        }
        let changes = deltas.changes.iter().map(Change::records).sum::<u64>();
        self.commit.core_mut().metrics.counters.outstanding_changes_queued += changes;
        let (at_us, made_us, count) = (now.mono_us, since_us, records.records() as usize);
        self.groups.push_back(Group { through, deltas, round, records: count, at_us, made_us, changes });
        if records.is_empty() {
            log.put_spare(records);
            return None;
        }
        Some(log.append(records, since_us))
    }

    /// The oldest group, if everything through `committed` is committed, and rounds through `confirmed` are confirmed:
    /// what the views learn of it, and its newest zxid.
    pub fn take_committed(
        &mut self,
        committed: Zxid,
        confirmed: u64,
        log: &mut LogQueue,
        now: Now,
    ) -> Option<(Deltas, Zxid)> {
        // The start of an epoch is no txn.
        let is_committed = |group: &&Group| {
            (group.through <= committed || group.through.counter() == 0)
                && group.round.is_none_or(|round| round <= confirmed)
        };
        self.groups.front().filter(is_committed)?;
        let Group { through, deltas, records, at_us, made_us, changes, .. } = self.groups.pop_front()?;
        let Metrics { counters, latencies, .. } = &mut self.commit.core_mut().metrics;
        counters.request_commit_queued += deltas.requests;
        counters.outstanding_changes_removed += changes;
        latencies.propagation_latency.record_n(since(made_us, now), records as u64);
        if self.leads {
            counters.commit_count += records as u64;
            latencies.quorum_ack_latency.record_n(since(made_us, now), records as u64);
        }
        // What is not logged takes no time.
        if records > 0 {
            log.note_committed(now.mono_us - at_us);
        }
        self.commit.committed(through);
        Some((deltas, through))
    }

    /// Gives the role up: the commit side, what it had checked and not proposed, and what the views would have learned of
    /// the groups that are not published.
    pub fn into_parts(mut self, log: &mut LogQueue) -> (Commit, Option<Proposed>, Vec<Deltas>) {
        let rest = self.commit.take(log.take_spare());
        (*self.commit, rest, self.groups.into_iter().map(|group| group.deltas).collect())
    }

    /// Asserts what must hold after every call.
    pub fn check(&self, log: &LogQueue) {
        let (proposed, appended) = (self.commit.zxid(), log.appended());
        assert!(appended <= proposed, "the log was given {appended}, and {proposed} is the newest txn");
        if let (Some(first), Some(last)) = (self.groups.front(), self.groups.back()) {
            assert!(
                last.through <= proposed,
                "group {} is proposed, and {proposed} the newest",
                last.through
            );
            assert!(first.through <= last.through, "group {} before {}", first.through, last.through);
        }
    }
}

/// Whether a client's sync is among these entries.
pub(super) fn has_sync(deltas: &Deltas) -> bool {
    deltas.entries.iter().any(|entry| matches!(entry.what, EntryKind::Txn(TxnKind::Synced)))
}
