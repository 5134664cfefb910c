//! What waits for the log: groups of txns and markers, in the order in which they are written.
//!
//! ```text
//! gathered --> waiting --> (the shell writes one group) --> durable
//! ```
//!
//! A leader, or a server alone, appends whole groups. A follower gathers single proposals of its leader until they are
//! worth a flush.
//!
//! Invariants: `durable <= appended`; both are equal once nothing waits and nothing is being written. One group at a time
//! is being written. Gathered txns come after all appended ones.

use crate::proto::Zxid;
use crate::replica::Now;
use crate::replica::commit::GROUP_FIT_BYTES;
use crate::replica::group_delay::GroupDelay;
use crate::wal::{self, Batch, Marker};
use std::collections::VecDeque;
use std::sync::Arc;

/// The queue of the log; the module's page says how it goes.
#[derive(Debug)]
pub(super) struct LogQueue {
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    writing: Option<Writing>,
    /// Says when the next group begins.
    delay: GroupDelay,
    /// Proposals of the leader that go to the log together.
    gathered: Batch,
    /// When the first of these came.
    gathered_us: i64,
    /// An empty batch whose memory is used again.
    spare: Batch,
    /// Newest txn that the log was given, or that waits for it.
    appended: Zxid,
    durable: Zxid,
}

#[derive(Debug)]
struct Waiting {
    batch: Arc<Batch>,
    /// When its first txn was made, or came.
    since_us: i64,
}

/// The group that the shell is writing.
#[derive(Debug)]
struct Writing {
    /// When its first txn was made, or came.
    since_us: i64,
    /// When a tick first found the log busy with it.
    busy_since_ms: Option<i64>,
}

/// A group that the shell is to write.
#[derive(Debug)]
pub(super) struct Taken {
    pub batch: Arc<Batch>,
    /// How long its first txn has waited.
    pub waited_us: u64,
    /// Records of the groups that still wait.
    pub records_behind: u64,
}

impl LogQueue {
    /// For a log that ends at `last`, durable.
    pub fn new(last: Zxid) -> Self {
        Self {
            waiting: VecDeque::new(),
            writing: None,
            delay: GroupDelay::default(),
            gathered: Batch::default(),
            gathered_us: 0,
            spare: Batch::default(),
            appended: last,
            durable: last,
        }
    }

    /// Newest txn that is durable.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// Newest txn that the log was given, or that waits for it; gathered ones come after it.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// Whether the shell is writing a group.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether a group or a marker waits.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// True if nothing waits and nothing is being written.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_none()
    }

    /// Bytes of txns that wait.
    pub fn bytes(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.batch.bytes()).sum::<usize>() + self.gathered.bytes()
    }

    /// True if the next group may begin, with `waiting` requests in it and `in_flight` in earlier groups.
    pub fn is_due(&mut self, waiting: usize, in_flight: usize, now: Now) -> bool {
        self.delay.is_due(waiting, in_flight, now.mono_us)
    }

    /// Until when the next group waits for more requests, if it does.
    pub fn waits_until_us(&self) -> Option<i64> {
        self.delay.until_us().filter(|_| !self.is_writing())
    }

    /// Records that a group was committed `took_us` microseconds after its proposal.
    pub fn note_committed(&mut self, took_us: i64) {
        self.delay.committed(took_us);
    }

    /// An empty batch for the next group.
    pub fn take_spare(&mut self) -> Batch {
        std::mem::take(&mut self.spare)
    }

    /// Keeps the memory of a batch for the next group.
    pub fn put_spare(&mut self, mut batch: Batch) {
        batch.clear();
        self.spare = batch;
    }

    /// Appends a group whose first txn was made at `since_us`; gives it back to be shared with the history.
    pub fn append(&mut self, records: Batch, since_us: i64) -> Arc<Batch> {
        assert!(!records.is_empty(), "a group without txns needs no log");
        assert!(self.gathered.is_empty(), "a group is appended before txns that were gathered");
        let first = records.first();
        assert!(first > self.appended, "the log goes back: {first} after {}", self.appended);
        self.appended = records.last();
        let batch = Arc::new(records);
        self.waiting.push_back(Waiting { batch: batch.clone(), since_us });
        batch
    }

    /// Appends a marker, which takes back records before it.
    pub fn append_marker(&mut self, marker: Marker) {
        assert!(self.gathered.is_empty(), "{marker:?} after a txn that is not in the log yet");
        self.waiting.push_back(Waiting { batch: Arc::new(Batch::marker(marker)), since_us: 0 });
    }

    /// Bytes of what is gathered.
    pub fn gathered_bytes(&self) -> usize {
        self.gathered.bytes()
    }

    /// Whether a txn of so many bytes fits the segment beside what is gathered.
    pub fn fits_gathered(&self, bytes: usize) -> bool {
        self.gathered.bytes() + bytes + wal::BLOCK_BYTES <= GROUP_FIT_BYTES
    }

    /// Gathers one txn of the leader.
    pub fn gather(&mut self, zxid: Zxid, record: &[u8], now: Now) {
        let last = self.gathered_last();
        assert!(zxid > last, "the log goes back: {zxid} after {last}");
        if self.gathered.is_empty() {
            self.gathered_us = now.mono_us;
        }
        self.gathered.put(zxid, |out| out.extend_from_slice(record));
    }

    /// Newest txn that was gathered or appended.
    pub fn gathered_last(&self) -> Zxid {
        if self.gathered.is_empty() { self.appended } else { self.gathered.last() }
    }

    /// Appends what is gathered as one group; gives it back to be shared with the history.
    pub fn append_gathered(&mut self) -> Option<Arc<Batch>> {
        if self.gathered.is_empty() {
            return None;
        }
        let records = std::mem::take(&mut self.gathered);
        Some(self.append(records, self.gathered_us))
    }

    /// Gives the oldest group to the shell; [`Self::written`] must follow.
    pub fn take(&mut self, now: Now) -> Option<Taken> {
        assert!(!self.is_writing(), "a group is taken while another is being written");
        let Waiting { batch, since_us } = self.waiting.pop_front()?;
        self.writing = Some(Writing { since_us, busy_since_ms: None });
        let records_behind = self.waiting.iter().map(|waiting| u64::from(waiting.batch.records())).sum();
        Some(Taken { batch, waited_us: since(since_us, now), records_behind })
    }

    /// The shell has written what it took last, and it is durable; gives how long after its first txn.
    pub fn written(&mut self, batch: &Batch, now: Now) -> u64 {
        let Some(Writing { since_us, .. }) = self.writing.take() else {
            panic!("a group is durable that the log was not given, to {}", batch.last())
        };
        if !batch.is_marker() {
            let (first, last) = (batch.first(), batch.last());
            assert!(first > self.durable, "{first} is durable after {}", self.durable);
            assert!(last <= self.appended, "{last} is durable, and {} was appended", self.appended);
            self.durable = last;
        }
        since(since_us, now)
    }

    /// The log was cut, or begins anew with a tree: it ends at `last`, durable.
    pub fn restart_at(&mut self, last: Zxid) {
        assert!(self.is_idle(), "the log ends at {last} while txns through {} wait for it", self.appended);
        assert!(self.gathered.is_empty(), "the log ends at {last}, and {} is gathered", self.gathered.last());
        (self.appended, self.durable) = (last, last);
    }

    /// How long the log has been busy with one group, as far as ticks have seen.
    pub fn busy_ms(&mut self, now: Now) -> Option<i64> {
        let writing = self.writing.as_mut()?;
        Some(now.mono_ms() - *writing.busy_since_ms.get_or_insert(now.mono_ms()))
    }

    /// Asserts what must hold after every call.
    pub fn check(&self) {
        assert!(self.durable <= self.appended, "durable {}, appended {}", self.durable, self.appended);
        if self.is_idle() {
            assert_eq!(self.durable, self.appended, "the log is idle, and not all of it is durable");
        }
    }
}

/// Microseconds since then.
pub(super) fn since(then_us: i64, now: Now) -> u64 {
    (now.mono_us - then_us).max(0) as u64
}
