//! What a server counts and measures, under ZooKeeper's names.
//!
//! Every shard has its own [`Metrics`] and adds to it without a lock; the commit side merges them when it is asked.
//! Each field has code that records it (`tests/tidy`); `tests/compat/metrics.py` compares them with ZooKeeper's.

use super::histogram::{Histogram, Merge};
use super::operation::Operations;
use super::{FourLetterWord, Namespace};
use std::borrow::Cow;

macro_rules! group {
    ($(#[$doc:meta])* $group:ident of $value:ty { $($field:ident: $field_doc:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $group {
            $(#[doc = $field_doc] pub $field: $value,)*
        }

        impl $group {
            /// ZooKeeper's name of each, and what it is.
            pub const DESCRIBED: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), $field_doc),)*];

            /// ZooKeeper's name of each, which is the field's, and its value.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &$value)> {
                [$((stringify!($field), &self.$field),)*].into_iter()
            }
        }

        impl Merge for $group {
            fn merge(&mut self, other: &Self) {
                $(self.$field.merge(&other.$field);)*
            }
        }
    };
}

group! {
    /// What happened, since the start or `srst`.
    Counters of u64 {
        watch_bytes: "Bytes of notifications, without their lengths.",
        connection_rejected: "Connections turned away: a limit of `maxCnxns` or `maxClientCnxns`.",
        sessionless_connections_expired: "Connections closed that never sent a handshake.",
        connection_drop_count: "Connections that their clients ended without closing the session.",
        bytes_received_count: "Bytes of requests and words.",
        request_throttle_wait_count: "Times that a connection waited at the limit of outstanding requests.",
        prep_processor_request_queued: "Requests that the commit side took to check them.",
        stale_replies: "Answers to requests whose connection had ended.",
        response_bytes: "Bytes of replies, without their lengths.",
        diff_count: "Learners brought up to date with the txns that they lacked, or by taking txns back.",
        connection_revalidate_count: "Handshakes of clients that have a session.",
        commit_count: "Txns that this server committed as a leader.",
        outstanding_changes_queued: "Changes of znodes that were checked: two for a create or delete, else one.",
        outstanding_changes_removed: "Those that were published.",
        proposal_count: "Txns that this server proposed as a leader.",
        cnxn_closed_without_zk_server_running: "Connections closed since the server was not serving.",
        looking_count: "Times that this server went to look for a leader.",
        learner_proposal_received_count: "Txns that a leader proposed to this follower.",
        digest_mismatches_count: "Txns after which the tree's digest was another than the leader's.",
        learner_commit_received_count: "Txns that a leader said are committed.",
        restore_error_count: "Restores by HTTP that failed; the server went on with what it had.",
        snapshot_rate_limited_count: "Snapshots by HTTP that came too soon after another.",
        snapshot_error_count: "Snapshots that failed.",
        restore_rate_limited_count: "Restores by HTTP that came too soon after another.",
        connection_request_count: "Handshakes.",
        snap_count: "Learners brought up to date with the whole tree.",
        stale_sessions_expired: "Sessions expired.",
        sync_processor_request_queued: "Txns handed to the log.",
        revalidate_count: "Sessions that followers and observers asked for.",
        request_commit_queued: "Txns and syncs that were committed.",
        ensemble_auth_success: "Auth packets with a name of this ensemble.",
        ensemble_auth_fail: "Connections ended since the client meant another ensemble.",
        ensemble_auth_skip: "Auth packets of scheme `ensemble` without a name, or to an ensemble without one.",
        auth_failed_count: "Connections that failed to authenticate.",
        fsync_threshold_exceed_count: "fsyncs longer than `fsync.warningthresholdms`.",
        connections_shed: "Connections closed by `shed_connections`, so that their clients go to other servers.",
    }
}

group! {
    /// Amounts per event, without a unit.
    Sizes of Histogram {
        node_created_watch_count: "Watches fired by a creation that fired any.",
        node_deleted_watch_count: "Watches fired by a deletion that fired any.",
        sync_processor_queue_size: "Txns that wait for the log behind a group that it takes.",
        prep_processor_queue_size: "Requests that wait for the commit side, seen as it takes some.",
        inflight_snap_count: "Learners being sent a tree, seen as one begins and ends.",
        learner_request_processor_queue_size: "Requests of this learner's clients waiting, seen as one is taken.",
        startup_txns_loaded: "Txns replayed at the start.",
        inflight_diff_count: "Learners being sent txns, seen as one begins and ends.",
        sync_processor_batch_size: "Txns in a group commit.",
        node_children_watch_count: "Child watches fired by a change that fired any.",
        node_changed_watch_count: "Watches fired by new data that fired any.",
    }
}

group! {
    /// Durations, recorded in microseconds.
    Times of Histogram {
        proposal_process_time: "Handing a checked request to log and followers: its share of the group's.",
        leader_unavailable_time: "From looking for a leader until this server leads.",
        startup_txns_load_time: "Replaying the log at the start.",
        follower_sync_time: "From connecting to the leader until this follower is in step.",
        fsynctime: "One fsync of the log.",
        restore_time: "One restore by HTTP, receiving it included.",
        snapshottime: "Taking and writing one snapshot.",
        unavailable_time: "From looking for a leader until this server leads or follows.",
        prep_process_time: "Checking one request: its share of the turn's.",
        commit_process_time: "Applying a group of txns to a view's tree, and answering.",
        dbinittime: "Loading snapshot and log at the start.",
        election_time: "From looking for a leader until one is elected.",
        observer_sync_time: "From connecting to the leader until this observer is in step.",
        sync_process_time: "Encoding and writing a txn to the log, without fsync: its share of the group's.",
        startup_snap_load_time: "Loading the snapshot at the start.",
    }
}

group! {
    /// Durations with percentiles, recorded in microseconds. Those of requests are in [`Operations`].
    Latencies of Histogram {
        prep_processor_queue_time_ms: "A request from its view until the commit side takes it.",
        close_session_prep_time: "Checking a closeSession: its share of the turn's.",
        quorum_ack_latency: "A leader's txn from its making until a quorum has it.",
        read_final_proc_time_ms: "Answering a read: its share of the turn's.",
        commit_propagation_latency: "A txn from the leader's making until this learner hears that it is committed.",
        write_final_proc_time_ms: "Applying a txn to a view's tree, and answering: its share of the group's.",
        proposal_ack_creation_latency: "A txn from its making until this server has it durable.",
        proposal_latency: "A txn from the leader's making until this follower has received it.",
        sync_processor_queue_and_flush_time_ms: "A txn from waiting for the log until it is durable.",
        propagation_latency: "A txn from its making until it is committed on this server.",
        sync_processor_queue_time_ms: "A txn waiting for the log.",
        sync_processor_queue_flush_time_ms: "A group commit's write and fsync.",
    }
}

/// The last value, the smallest and the largest one. Source: `BufferStats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastMinMax {
    /// When the last one was, in microseconds.
    at_us: i64,
    last: u64,
    /// Above `max` before the first.
    min: u64,
    max: u64,
}

impl Default for LastMinMax {
    fn default() -> Self {
        Self { at_us: i64::MIN, last: 0, min: u64::MAX, max: 0 }
    }
}

impl LastMinMax {
    /// Adds a value.
    #[inline]
    pub fn record(&mut self, at_us: i64, value: u64) {
        (self.at_us, self.last) = (at_us, value);
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
    }

    /// Last, smallest, largest; `None` before the first.
    pub fn values(&self) -> Option<[u64; 3]> {
        (self.min <= self.max).then_some([self.last, self.min, self.max])
    }
}

impl Merge for LastMinMax {
    fn merge(&mut self, other: &Self) {
        if other.at_us > self.at_us {
            (self.at_us, self.last) = (other.at_us, other.last);
        }
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
    }
}

/// Namespaces that are counted apart; clients choose the names, so there is a limit.
pub const NAMESPACES_MAX: usize = 256;

/// Slots of a [`Namespaces`], a power of two, of which at most a quarter is taken.
const NAMESPACE_SLOTS: usize = 4 * NAMESPACES_MAX;

/// Bytes of writes by the first component of their paths. Source: `DataTree.updateWriteStat`. Reads are not counted: even
/// so a name costs a hundred instructions, an eighth of those of a read.
///
/// What a name begins and ends with is taken as a number, which leads to a slot, and which for most names is all of it.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    all: Vec<Counted>,
    /// Empty before the first name. A name is in the slot that its key leads to, or in the first free one after that.
    slots: Vec<Slot>,
    /// The one that was found last, and how long its name is: most traffic is about one namespace.
    last: Option<(u16, usize)>,
}

/// A name that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// As from [`key_of`].
    key: u64,
    /// 0 where the slot is free.
    length: u32,
    /// Where it is in `all`.
    place: u16,
}

#[derive(Clone, Debug)]
struct Counted {
    name: Box<[u8]>,
    write: Histogram,
    quota_exceeded: u64,
}

impl Namespaces {
    /// A write of `bytes` of data at `path`.
    pub fn write(&mut self, path: &[u8], bytes: usize) {
        if let Some(counted) = self.of(path) {
            counted.write.record((path.len() + bytes) as u64);
        }
    }

    /// A write at `path` that a hard quota refused.
    pub fn quota_exceeded(&mut self, path: &[u8]) {
        if let Some(counted) = self.of(path) {
            counted.quota_exceeded += 1;
        }
    }

    #[inline]
    fn of(&mut self, path: &[u8]) -> Option<&mut Counted> {
        if let Some((place, length)) = self.last
            && path.len() > length
            && path.get(1 + length).is_none_or(|next| *next == b'/')
            && path[1..=length] == *self.all[usize::from(place)].name
        {
            return self.all.get_mut(usize::from(place));
        }
        self.look_up(path)
    }

    fn look_up(&mut self, path: &[u8]) -> Option<&mut Counted> {
        let (key, length) = key_of(path)?;
        let mut at = slot_of(key);
        while let Some(&Slot { key: known, length: known_length, place }) = self.slots.get(at) {
            let is_same = (known, known_length as usize) == (key, length);
            if is_same && (length <= 8 || *self.all[usize::from(place)].name == path[1..=length]) {
                self.last = Some((place, length));
                return self.all.get_mut(usize::from(place));
            }
            if known_length == 0 {
                break;
            }
            at = (at + 1) % NAMESPACE_SLOTS;
        }
        self.add(&path[1..=length], key, at)
    }

    /// Adds a name, in the free slot `at`; not where there are too many.
    #[cold]
    fn add(&mut self, name: &[u8], key: u64, at: usize) -> Option<&mut Counted> {
        let place =
            u16::try_from(self.all.len()).ok().filter(|place| usize::from(*place) < NAMESPACES_MAX)?;
        self.slots.resize(NAMESPACE_SLOTS, Slot::default());
        self.slots[at] = Slot { key, length: name.len() as u32, place };
        self.all.push(Counted { name: name.into(), write: Histogram::default(), quota_exceeded: 0 });
        self.all.last_mut()
    }

    /// All of them, by name.
    pub fn each(&self) -> impl Iterator<Item = Namespace> {
        let all = self.all.iter().map(|Counted { name, write, quota_exceeded }| Namespace {
            name: String::from_utf8_lossy(name).into_owned(),
            write: write.clone(),
            quota_exceeded: *quota_exceeded,
        });
        let mut all: Vec<Namespace> = all.collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.into_iter()
    }
}

/// Where a key's slot is: a product's upper bits depend on all of it.
#[inline]
fn slot_of(key: u64) -> usize {
    (key.wrapping_mul(MIX) >> (64 - NAMESPACE_SLOTS.ilog2())) as usize
}

/// The first component of a path; the root has none. Source: `PathUtils.getTopNamespace`.
pub(crate) fn namespace(path: &[u8]) -> Option<&[u8]> {
    key_of(path).map(|(_, length)| &path[1..=length])
}

/// 2^64 divided by the golden ratio: a product with it spreads numbers that are close to each other.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A path's first component as a number, and how many bytes it has; `None` for the root. For names of up to 8 bytes the
/// number is all of them; for others it is made of the first 8 and the last 8.
#[inline]
fn key_of(path: &[u8]) -> Option<(u64, usize)> {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const SLASHES: u64 = EACH * b'/' as u64;
    let rest = path.strip_prefix(b"/")?;
    let head = match *rest {
        [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        [a, b, c, d, ..] => {
            let last = *rest.last_chunk::<4>()?;
            let shift = 8 * (rest.len() - 4);
            u64::from(u32::from_le_bytes([a, b, c, d])) | u64::from(u32::from_le_bytes(last)) << shift
        }
        _ => rest.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    };
    // The lowest bit that is left stands in the first byte that is a slash.
    let differs = head ^ SLASHES;
    let slash = differs.wrapping_sub(EACH) & !differs & (EACH << 7);
    let length = match slash {
        0 if rest.len() <= 8 => rest.len(),
        0 => rest[8..].iter().position(|byte| *byte == b'/').map_or(rest.len(), |more| 8 + more),
        slash => slash.trailing_zeros() as usize / 8,
    };
    match length {
        0 => None,
        1..8 => Some((head & ((1 << (8 * length)) - 1), length)),
        8 => Some((head, length)),
        _ => {
            let last = rest[..length].last_chunk::<8>()?;
            Some((head.wrapping_mul(MIX) ^ u64::from_le_bytes(*last), length))
        }
    }
}

impl Merge for Namespaces {
    fn merge(&mut self, other: &Self) {
        for Counted { name, write, quota_exceeded } in &other.all {
            let path = [&b"/"[..], name].concat();
            if let Some(mine) = self.of(&path) {
                mine.write.merge(write);
                mine.quota_exceeded += quota_exceeded;
            }
        }
    }
}

/// How often each four-letter word was asked for, also those that the whitelist leaves out.
#[derive(Clone, Debug, Default)]
pub struct Words([u64; FourLetterWord::ALL.len()]);

impl Words {
    /// Adds one.
    pub fn count(&mut self, word: FourLetterWord) {
        self.0[word as usize] += 1;
    }

    /// All words, and how often each came.
    pub fn each(&self) -> impl Iterator<Item = (FourLetterWord, u64)> {
        FourLetterWord::ALL.into_iter().map(|word| (word, self.0[word as usize]))
    }
}

impl Merge for Words {
    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// Everything that is counted or measured where it happens, since the start or `srst`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // each type has its description
pub struct Metrics {
    pub counters: Counters,
    pub sizes: Sizes,
    pub times: Times,
    pub latencies: Latencies,
    pub operations: Operations,
    pub words: Words,
    /// Bytes of replies and notifications, each without its length.
    pub client_response_size: LastMinMax,
    /// Bytes of proposals of a leader.
    pub proposal_size: LastMinMax,
    pub namespaces: Namespaces,
    /// What was counted before the last `srst`; `None` if there was none.
    before: Option<Box<Metrics>>,
}

impl Metrics {
    /// Begins at 0, as `srst` asks. What was counted until now is kept for [`Self::since_start`].
    pub fn reset(&mut self) {
        let before = Box::new(self.since_start().into_owned());
        *self = Self { before: Some(before), ..Self::default() };
    }

    /// What was counted since the start: Prometheus takes a number that falls for a restart of the server.
    pub fn since_start(&self) -> Cow<'_, Self> {
        let Some(before) = &self.before else { return Cow::Borrowed(self) };
        let mut all = (**before).clone();
        all.merge_current(self);
        Cow::Owned(all)
    }

    /// Durations with percentiles by ZooKeeper's names: [`Latencies`], and those of reads and updates.
    pub fn each_latency(&self) -> impl Iterator<Item = (&'static str, Cow<'_, Histogram>)> {
        let of_requests = [
            ("updatelatency", Cow::Owned(self.operations.updates())),
            ("readlatency", Cow::Owned(self.operations.reads())),
        ];
        of_requests
            .into_iter()
            .chain(self.latencies.each().map(|(name, latency)| (name, Cow::Borrowed(latency))))
    }

    /// Adds what `other` counted since its last reset.
    fn merge_current(&mut self, other: &Self) {
        self.counters.merge(&other.counters);
        self.sizes.merge(&other.sizes);
        self.times.merge(&other.times);
        self.latencies.merge(&other.latencies);
        self.operations.merge(&other.operations);
        self.words.merge(&other.words);
        self.client_response_size.merge(&other.client_response_size);
        self.proposal_size.merge(&other.proposal_size);
        self.namespaces.merge(&other.namespaces);
    }
}

impl Merge for Metrics {
    fn merge(&mut self, other: &Self) {
        self.merge_current(other);
        match (&mut self.before, &other.before) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Summary;
    use super::*;

    /// A reset begins at 0; what was counted since the start goes on, also when shards are added up.
    #[test]
    fn reset() {
        let (mut one, mut two) = (Metrics::default(), Metrics::default());
        let count = |metrics: &mut Metrics, times| {
            for _ in 0..times {
                metrics.counters.diff_count += 1;
                metrics.times.fsynctime.record(times);
                metrics.operations.record(crate::proto::OpCode::SET_DATA, 10);
                metrics.words.count(FourLetterWord::Ruok);
                metrics.namespaces.write(b"/a/b", 6);
            }
        };
        count(&mut one, 3);
        one.reset();
        count(&mut one, 4);
        one.reset();
        count(&mut one, 5);
        count(&mut two, 7);
        let mut all = Metrics::default();
        [&two, &one].into_iter().for_each(|shard| all.merge(shard));
        let seen = |metrics: &Metrics| {
            let words =
                metrics.words.each().find(|(word, _)| *word == FourLetterWord::Ruok).expect("a word").1;
            let namespace = metrics.namespaces.each().next().expect("one namespace");
            let updates = metrics.operations.updates();
            let counts = [updates.summary(), namespace.write.summary(), metrics.times.fsynctime.summary()];
            assert_eq!(counts.map(Summary::count), [words; 3]);
            (metrics.counters.diff_count, words)
        };
        assert_eq!((seen(&one), seen(&all)), ((5, 5), (12, 12)));
        assert_eq!((seen(&one.since_start()), seen(&all.since_start())), ((12, 12), (19, 19)));
        assert_eq!(all.since_start().times.fsynctime.per_mille(1000), 7);
    }

    /// The first component of paths of every length, and its first 8 bytes.
    #[test]
    fn namespaces() {
        for name in [
            "a",
            "ab",
            "abc",
            "abcd",
            "abcde",
            "abcdefg",
            "abcdefgh",
            "abcdefghi",
            "abcdefgh-ijklmnopqrst",
            "\u{e9}",
        ] {
            for rest in ["", "/", "/x", "/abcdefgh", "/x/y/z/0123456789"] {
                let path = format!("/{name}{rest}");
                assert_eq!(namespace(path.as_bytes()), Some(name.as_bytes()), "{path}");
                if name.len() <= 8 {
                    let mut all = [0; 8];
                    all[..name.len()].copy_from_slice(name.as_bytes());
                    assert_eq!(
                        key_of(path.as_bytes()),
                        Some((u64::from_le_bytes(all), name.len())),
                        "{path}"
                    );
                }
            }
        }
        for path in ["", "/", "//", "//x"] {
            assert_eq!(namespace(path.as_bytes()), None, "{path}");
        }
        // More than are counted apart, and than there are slots.
        let mut some = Namespaces::default();
        for _ in 0..2 {
            for number in 0..NAMESPACES_MAX + 10 {
                some.write(format!("/namespace-{number}/x").as_bytes(), number);
            }
            some.quota_exceeded(b"/namespace-7/x");
        }
        let all: Vec<Namespace> = some.each().collect();
        assert_eq!(all.len(), NAMESPACES_MAX);
        assert!(all.iter().all(|counted| counted.write.summary().count() == 2));
        let mut other = Namespaces::default();
        other.write(b"/namespace-7", 3);
        other.merge(&some);
        let seven = other.each().find(|counted| counted.name == "namespace-7").expect("it was counted");
        let bytes = 2 * ("/namespace-7/x".len() + 7) + "/namespace-7".len() + 3;
        let write = seven.write.summary();
        assert_eq!((write.count(), write.sum(), seven.quota_exceeded), (3, bytes as u64, 2));
    }

    /// The last value is the last one by time, of whichever shard.
    #[test]
    fn last_min_max() {
        let mut one = LastMinMax::default();
        assert_eq!(one.values(), None);
        let mut two = one;
        [(1, 16), (3, 70)].into_iter().for_each(|(at_us, value)| one.record(at_us, value));
        [(2, 20), (4, 18)].into_iter().for_each(|(at_us, value)| two.record(at_us, value));
        let mut all = LastMinMax::default();
        all.merge(&two);
        all.merge(&one);
        assert_eq!(all.values(), Some([18, 16, 70]));
    }
}
