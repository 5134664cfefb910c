//! The newest txns of the log, in memory: what a leader brings its learners up to date with.

use crate::proto::Zxid;
use crate::wal::Batch;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of txns that are kept by default; more of them only while a learner needs them.
const BYTES_MAX: usize = 8 << 20;

/// How a learner gets what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// The txns after this zxid, which is the learner's last.
    Diff {
        /// The learner's last.
        after: Zxid,
    },
    /// First it forgets what is after this zxid, then it gets the txns after it.
    Trunc {
        /// The last that both have.
        to: Zxid,
    },
    /// Everything.
    Snap,
}

/// Every txn after `start`, up to the newest in the log, in order.
#[derive(Debug)]
pub struct History {
    start: Zxid,
    last: Zxid,
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    bytes_max: usize,
}

impl History {
    /// Nothing but where the log ends.
    pub fn new(last: Zxid) -> Self {
        Self { start: last, last, batches: VecDeque::new(), bytes: 0, bytes_max: BYTES_MAX }
    }

    /// Begins anew where the log ends now.
    pub fn restart(&mut self, last: Zxid) {
        *self = Self { bytes_max: self.bytes_max, ..Self::new(last) };
    }

    /// Keeps so many bytes of txns from here on, and more of them only while a learner needs them.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// What the log is known to hold: `batches`, which follow `start` without a gap.
    pub fn of(start: Zxid, batches: impl IntoIterator<Item = Batch>) -> Self {
        let mut history = Self::new(start);
        batches.into_iter().for_each(|batch| history.push(Arc::new(batch)));
        history.trim(history.last);
        history
    }

    /// The newest txn.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Adds the newest txns.
    pub fn push(&mut self, batch: Arc<Batch>) {
        if batch.is_empty() {
            return;
        }
        assert!(batch.first() > self.last, "history goes back: {} after {}", batch.first(), self.last);
        self.last = batch.last();
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
    }

    /// Forgets the oldest txns where there are too many, but for those after `needed`.
    pub fn trim(&mut self, needed: Zxid) {
        while self.bytes > self.bytes_max
            && self.batches.len() > 1
            && let Some(first) = self.batches.front()
            && first.last() <= needed
            && let Some(first) = self.batches.pop_front()
        {
            self.bytes -= first.bytes();
            self.start = first.last();
        }
        assert!(self.start <= self.last, "history begins after {}, ends at {}", self.start, self.last);
        assert_eq!(
            self.batches.is_empty(),
            self.bytes == 0,
            "{} bytes in {} batches",
            self.bytes,
            self.batches.len()
        );
        assert!(
            self.batches.front().is_none_or(|first| first.first() > self.start),
            "txns from before the history"
        );
        assert!(
            self.batches.back().is_none_or(|last| last.last() == self.last),
            "the history ends elsewhere"
        );
    }

    /// True if all txns after `after` are here.
    pub fn holds(&self, after: Zxid) -> bool {
        after >= self.start
    }

    /// The txns after `after`, which must not be before where the history begins.
    pub fn after(&self, after: Zxid) -> impl Iterator<Item = (Zxid, &[u8])> {
        assert!(after >= self.start, "history begins after {}, not {after}", self.start);
        let from = self.batches.partition_point(|batch| batch.last() <= after);
        let records = self.batches.range(from..).flat_map(|batch| batch.iter());
        records.skip_while(move |(zxid, _)| *zxid <= after)
    }

    /// The newest txn at or before `zxid`; `None` if that is older than what is known.
    fn floor(&self, zxid: Zxid) -> Option<Zxid> {
        if zxid < self.start {
            return None;
        }
        let at = self.batches.partition_point(|batch| batch.first() <= zxid);
        let Some(batch) = at.checked_sub(1).map(|at| &self.batches[at]) else { return Some(self.start) };
        batch.iter().map(|(known, _)| known).take_while(|known| *known <= zxid).last()
    }

    /// How a learner whose log ends at `last` is brought up to date, with what is known here.
    ///
    /// A learner that followed an epoch's leader and got no txn of it may give the start of that epoch, which
    /// is no txn's zxid: it has all txns before. One that gives zero is empty, or wants everything, as its log cannot go
    /// back to where it should: it gets the tree, as from ZooKeeper's own leader.
    ///
    /// Source: `LearnerHandler.syncFollower`.
    pub fn sync(&self, last: Zxid) -> Sync {
        self.sync_from(last, self.floor(last))
    }

    /// The same, where `floor` is the newest txn at or before `last` that is known, here or in the log; `None` where
    /// neither goes back so far.
    pub fn sync_from(&self, last: Zxid, floor: Option<Zxid>) -> Sync {
        assert!(floor.is_none_or(|floor| floor <= last), "{floor:?} is the newest at or before {last}");
        match floor {
            None => Sync::Snap,
            Some(_) if last == Zxid::ZERO && self.last != Zxid::ZERO => Sync::Snap,
            Some(common) if common == last || last.counter() == 0 => Sync::Diff { after: common },
            // What it has beyond, no leader ever committed. A leader of another epoch would not have given it
            // any before it was established, and this log would hold that epoch: then something else is wrong.
            Some(common) if common.epoch() == last.epoch() => Sync::Trunc { to: common },
            Some(_) => Sync::Snap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(zxids: impl IntoIterator<Item = u64>) -> Arc<Batch> {
        let mut batch = Batch::default();
        zxids.into_iter().for_each(|zxid| batch.put(Zxid(zxid), |out| out.extend(zxid.to_be_bytes())));
        Arc::new(batch)
    }

    fn history() -> History {
        let mut history = History::new(Zxid::new(1, 3));
        history.push(batch([0x1_0000_0004, 0x1_0000_0005]));
        history.push(batch([0x2_0000_0001]));
        history.push(batch([0x4_0000_0001, 0x4_0000_0002]));
        history
    }

    /// A learner gets what it lacks by the smallest means that makes its log this one's.
    #[test]
    fn how_to_sync() {
        let (diff, trunc) =
            (|e, c| Sync::Diff { after: Zxid::new(e, c) }, |e, c| Sync::Trunc { to: Zxid::new(e, c) });
        for (epoch, counter, wanted) in [
            (1, 2, Sync::Snap),
            (1, 3, diff(1, 3)),
            (1, 5, diff(1, 5)),
            (1, 6, trunc(1, 5)),
            (2, 0, diff(1, 5)),
            (2, 1, diff(2, 1)),
            (2, 2, trunc(2, 1)),
            (3, 0, diff(2, 1)),
            (3, 1, Sync::Snap),
            (4, 2, diff(4, 2)),
            (4, 9, trunc(4, 2)),
            (5, 0, diff(4, 2)),
            (5, 1, Sync::Snap),
        ] {
            assert_eq!(history().sync(Zxid::new(epoch, counter)), wanted, "{epoch} {counter}");
        }
    }

    /// A learner that gives zero gets everything, however far this log goes back, unless there is nothing.
    #[test]
    fn all_for_zero() {
        let mut history = History::new(Zxid::ZERO);
        assert_eq!(history.sync(Zxid::ZERO), Sync::Diff { after: Zxid::ZERO });
        history.push(batch([0x1_0000_0001]));
        assert_eq!(history.sync(Zxid::ZERO), Sync::Snap);
        assert_eq!(history.sync(Zxid::new(1, 0)), Sync::Diff { after: Zxid::ZERO });
    }

    /// What is after a zxid comes in order, from the middle of a batch too.
    #[test]
    fn after_a_zxid() {
        let history = history();
        let after = |zxid| history.after(zxid).map(|(zxid, txn)| (zxid, txn.to_vec())).collect::<Vec<_>>();
        assert_eq!(after(Zxid::new(4, 2)), []);
        let rest = after(Zxid::new(1, 4));
        let zxids: Vec<u64> = rest.iter().map(|(zxid, _)| zxid.0).collect();
        assert_eq!(zxids, [0x1_0000_0005, 0x2_0000_0001, 0x4_0000_0001, 0x4_0000_0002]);
        assert!(rest.iter().all(|(zxid, txn)| zxid.0.to_be_bytes() == txn[..]));
    }

    /// The oldest go once there are too many bytes, but not while they are needed.
    #[test]
    fn bounded() {
        let big = |zxid| {
            let mut batch = Batch::default();
            batch.put(Zxid(zxid), |out| out.resize(out.len() + BYTES_MAX / 2, 0));
            Arc::new(batch)
        };
        let mut history = History::new(Zxid::ZERO);
        (1..=5).for_each(|zxid| history.push(big(zxid)));
        assert_eq!((history.start, history.batches.len()), (Zxid::ZERO, 5));
        history.trim(Zxid(2));
        assert_eq!((history.start, history.batches.len()), (Zxid(2), 3));
        history.trim(Zxid(5));
        assert_eq!((history.start, history.batches.len()), (Zxid(4), 1));
    }
}
