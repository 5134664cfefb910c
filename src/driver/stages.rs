//! When groups came through the log, by the clock: for requests that took long.
//!
//! The replica's clock leaves out the time for which the driver stood still, as it does while it waits for a disk that hangs.
//! Clients wait meanwhile, so the stages are measured by the other one.

use crate::proto::Zxid;
use crate::replica::{Deltas, GroupTimes};
use std::collections::VecDeque;

/// Groups that were logged and not published which are remembered: of more, the stages of the oldest are not known.
const GROUPS_MAX: usize = 1024;

/// Groups of the log that are not published yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Stages {
    groups: VecDeque<Group>,
}

/// Times are microseconds of the clock.
#[derive(Debug)]
struct Group {
    last: Zxid,
    /// How far the replica's clock was behind then.
    stalled_us: i64,
    logging_us: i64,
    durable_us: i64,
}

impl Stages {
    /// The log takes the group that ends at `last`; the replica's clock is so far behind.
    pub fn logging(&mut self, last: Zxid, stalled_us: i64, now_us: i64) {
        if self.groups.len() == GROUPS_MAX {
            self.groups.pop_front();
        }
        self.groups.push_back(Group { last, stalled_us, logging_us: now_us, durable_us: 0 });
    }

    /// That group is durable.
    pub fn durable(&mut self, last: Zxid, now_us: i64) {
        // A quorum may have committed it already.
        if let Some(group) = self.groups.iter_mut().rev().find(|group| group.last == last) {
            group.durable_us = now_us;
        }
    }

    /// Adds to `deltas`, which are published, when they came through the log; the replica's clock is so far behind now.
    pub fn published(&mut self, deltas: &mut Deltas, stalled_us: i64, now_us: i64) {
        let through = deltas.entries.last().map_or(Zxid::ZERO, |entry| entry.zxid);
        let mut group = None;
        while self.groups.front().is_some_and(|group| group.last <= through) {
            group = self.groups.pop_front();
        }
        let times = &mut deltas.times;
        times.published_us = now_us;
        match group {
            // A follower knows no more: its leader took the requests.
            _ if times.begun_us == 0 => {}
            Some(Group { stalled_us, logging_us, durable_us, .. }) => {
                let begun_us = times.begun_us + stalled_us;
                *times = GroupTimes { begun_us, logging_us, durable_us, ..*times };
            }
            // Nothing of it is in the log.
            None => times.begun_us += stalled_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Entry, EntryKind, TxnKind};

    fn deltas(zxid: u64, begun_us: i64) -> Deltas {
        let what = EntryKind::Txn(TxnKind::Synced);
        let zxid = Zxid(zxid);
        let entry = Entry { zxid, digest: 0, to: None, xid: 0, what, changes_end: 0, results_end: 0 };
        let times = GroupTimes { begun_us, check_us: 3, ..GroupTimes::default() };
        Deltas { entries: vec![entry], times, ..Deltas::default() }
    }

    fn times(deltas: &Deltas) -> [i64; 4] {
        let GroupTimes { begun_us, logging_us, durable_us, published_us, .. } = deltas.times;
        [begun_us, logging_us, durable_us, published_us]
    }

    /// A flush that hangs is the log's time although the replica's clock leaves it out. What a quorum commits first was
    /// never durable here, and a group without records was in no log.
    #[test]
    fn times_of_groups() {
        let mut stages = Stages::default();
        let mut first = deltas(1, 90);
        stages.logging(Zxid(1), 10, 120);
        stages.durable(Zxid(1), 5_000_120);
        stages.published(&mut first, 5_000_010, 5_000_130);
        assert_eq!(times(&first), [100, 120, 5_000_120, 5_000_130]);
        let (mut second, mut sync) = (deltas(3, 200), deltas(3, 300));
        stages.logging(Zxid(3), 0, 210);
        stages.published(&mut second, 0, 220);
        stages.durable(Zxid(3), 230);
        assert_eq!(times(&second), [200, 210, 0, 220]);
        stages.published(&mut sync, 7, 400);
        assert_eq!(times(&sync), [307, 0, 0, 400]);
        let mut followed = deltas(4, 0);
        stages.logging(Zxid(4), 0, 410);
        stages.published(&mut followed, 0, 420);
        assert_eq!(times(&followed), [0, 0, 0, 420]);
        for zxid in 5..5 + 2 * GROUPS_MAX as u64 {
            stages.logging(Zxid(zxid), 0, 1);
        }
        assert_eq!(stages.groups.len(), GROUPS_MAX);
    }
}
