//! When a snapshot is due.

use crate::proto::Zxid;
use crate::replica::{ControlKind, Deltas, EntryKind};

/// Counts what the view that takes the snapshots applies. One runs at a time.
#[derive(Debug)]
pub struct SnapshotPlan {
    /// Txns between two: `snapCount`.
    snap_count: u64,
    /// Bytes of log between two: `snapSizeLimitInKb`; `None` for no limit.
    log_bytes_max: Option<u64>,
    /// Txns since the last one, and how many make the next one due.
    txns: u64,
    due: u64,
    /// Bytes logged since the last one.
    bytes: u64,
    newest: Zxid,
    random: u64,
}

impl SnapshotPlan {
    /// A plan that begins after `newest`, of which `txns` were replayed since its snapshot.
    pub fn new(snap_count: u64, log_bytes_max: Option<u64>, newest: Zxid, txns: u64, seed: u64) -> Self {
        let mut plan = Self { snap_count, log_bytes_max, txns, due: 0, bytes: 0, newest, random: seed | 1 };
        plan.set_due();
        plan
    }

    /// Between half of snapCount and all of it, by chance, so that servers do not all do it at once.
    fn set_due(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = (self.snap_count / 2).max(1);
        self.due = half + self.random % half;
    }

    /// Counts what was applied.
    pub fn count(&mut self, deltas: &Deltas) {
        for entry in &deltas.entries {
            if matches!(entry.what, EntryKind::Control(ControlKind::Reset(_))) {
                (self.newest, self.txns) = (entry.zxid, 0);
            }
            if entry.zxid > self.newest {
                self.newest = entry.zxid;
                self.txns += 1;
            }
        }
        self.bytes += deltas.log_bytes as u64;
    }

    /// Whether a snapshot is to begin, which counts as the last one then. None does while one runs, or while the view does
    /// not serve: what no leader has confirmed may be taken back, and is in no snapshot.
    pub fn begins(&mut self, is_serving: bool, is_running: bool) -> bool {
        let is_due = self.txns >= self.due || self.log_bytes_max.is_some_and(|max| self.bytes >= max);
        if !is_due || is_running || !is_serving {
            return false;
        }
        (self.txns, self.bytes) = (0, 0);
        self.set_due();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Entry, TxnKind};

    fn deltas(zxids: std::ops::RangeInclusive<u64>, log_bytes: usize) -> Deltas {
        let entry = |zxid| Entry {
            zxid: Zxid(zxid),
            digest: 0,
            to: None,
            xid: 0,
            what: TxnKind::Multi.into(),
            changes_end: 0,
            results_end: 0,
        };
        Deltas { entries: zxids.map(entry).collect(), log_bytes, ..Deltas::default() }
    }

    /// A snapshot is due between half and all of snapCount, counts each txn once, and waits while one runs or the server
    /// does not serve; bytes of log make it due as well.
    #[test]
    fn due_by_txns_and_by_bytes() {
        for seed in 0..20 {
            let mut plan = SnapshotPlan::new(100, Some(1000), Zxid(0), 0, seed);
            plan.count(&deltas(1..=49, 1));
            plan.count(&deltas(1..=49, 1));
            assert!(!plan.begins(true, false), "{seed}");
            plan.count(&deltas(50..=100, 1));
            assert!(!plan.begins(false, false) && !plan.begins(true, true), "{seed}");
            assert!(plan.begins(true, false) && !plan.begins(true, false), "{seed}");
            plan.count(&deltas(101..=101, 1000));
            assert!(plan.begins(true, false), "{seed}");
        }
    }
}
