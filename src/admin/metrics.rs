//! What a server counts and measures, under ZooKeeper's names.
//!
//! Every shard has its own [`Metrics`] and adds to it without a lock; whoever renders merges them.

/// Number of values, their sum and extremes. Source: `AvgMinMaxCounter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Summary {
    /// Adds a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Values so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The smallest; 0 if there is none.
    pub const fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The largest; 0 if there is none.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The mean of the values, each divided by `unit`, to four places as Java shows it.
    pub fn average(&self, unit: u64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let average = self.sum as f64 / (self.count as f64 * unit as f64);
        (average * 10_000.0).round() / 10_000.0
    }
}

/// A [`Summary`] with percentiles. Values are microseconds; they are told apart to 1/16 of their
/// size, and those above 2^36 (19 hours) are not told apart. 4 KiB from the first value on.
///
/// Java keeps 4,096 values drawn at random since the start; here all count.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    summary: Summary,
    buckets: Vec<u64>,
}

/// Buckets of a [`Histogram`] within each power of two.
const STEPS: u64 = 16;
/// Largest power of two that has buckets.
const EXPONENT_MAX: u64 = 36;
const BUCKETS: usize = ((EXPONENT_MAX - 4 + 1) * STEPS) as usize;

impl Histogram {
    /// Adds a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.summary.record(value);
        if self.buckets.is_empty() {
            self.buckets.resize(BUCKETS, 0);
        }
        self.buckets[bucket(value)] += 1;
    }

    /// Count, sum and extremes.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The value that `part` per thousand of all values do not exceed; 0 if there are none. It is
    /// the upper end of its bucket, though never above the largest value.
    pub fn per_mille(&self, part: u64) -> u64 {
        let rank = (self.summary.count * part).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_end(at).clamp(self.summary.min(), self.summary.max);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    let value = value.min((1 << EXPONENT_MAX) - 1);
    if value < STEPS {
        return value as usize;
    }
    let exponent = u64::from(value.ilog2());
    ((exponent - 3) * STEPS + (value >> (exponent - 4)) - STEPS) as usize
}

fn upper_end(bucket: usize) -> u64 {
    let (row, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if row == 0 { step } else { ((STEPS + step + 1) << (row - 1)) - 1 }
}

/// Adding up what the shards measured.
pub trait Merge {
    /// Adds `other`, as if its values had been recorded here.
    fn merge(&mut self, other: &Self);
}

impl Merge for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl Merge for Summary {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Merge for Histogram {
    fn merge(&mut self, other: &Self) {
        self.summary.merge(&other.summary);
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        }
    }
}

macro_rules! group {
    ($(#[$doc:meta])* $group:ident of $value:ty { $($field:ident: $field_doc:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $group {
            $(#[doc = $field_doc] pub $field: $value,)*
        }

        impl $group {
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
    /// What happened, since the start.
    Counters of u64 {
        watch_bytes: "Bytes of notifications sent.",
        stale_requests_dropped: "Requests dropped since their connection or session had ended.",
        throttled_ops: "Requests answered with `ThrottledOp`.",
        insecure_admin_count: "Requests that came to the admin port without TLS.",
        connection_rejected: "Connections turned away: a limit of `maxCnxns` or `maxClientCnxns`.",
        sessionless_connections_expired: "Connections closed that never sent a handshake.",
        stale_requests: "Requests whose connection had ended before they ran.",
        connection_drop_count: "Connections that ended, for whatever reason.",
        bytes_received_count: "Bytes of requests.",
        request_throttle_wait_count: "Times that requests waited at the limit of outstanding ones.",
        prep_processor_request_queued: "Requests handed to the commit shard.",
        stale_replies: "Replies made for connections that had ended.",
        response_bytes: "Bytes of replies.",
        ensemble_auth_fail: "Clients that named another ensemble.",
        ensemble_auth_skip: "Clients whose ensemble name could not be checked.",
        ensemble_auth_success: "Clients that named this ensemble.",
        diff_count: "Learners brought up to date with the txns that they lacked.",
        connection_revalidate_count: "Sessions attached again by their clients.",
        quit_leading_due_to_disloyal_voter: "Times that a leader stepped down since a voter followed another.",
        unrecoverable_error_count: "Errors that end the process.",
        unsuccessful_handshake: "TLS handshakes that failed.",
        commit_count: "Txns committed by a leader.",
        outstanding_changes_queued: "Changes checked and not applied yet, put in.",
        outstanding_changes_removed: "Changes checked and not applied yet, taken out.",
        proposal_count: "Txns proposed by a leader.",
        large_requests_rejected: "Requests refused at the limit on bytes of large requests.",
        restore_error_count: "Restores that failed.",
        cnxn_closed_without_zk_server_running: "Connections closed since the server was not serving.",
        looking_count: "Times that the server went to look for a leader.",
        snapshot_rate_limited_count: "Snapshots by command refused for coming too often.",
        learner_proposal_received_count: "Proposals received from a leader.",
        digest_mismatches_count: "Txns after which the tree's digest was another than the leader's.",
        learner_commit_received_count: "Commits received from a leader.",
        snapshot_error_count: "Snapshots that failed.",
        connection_request_count: "Handshakes.",
        snap_count: "Learners brought up to date with a snapshot.",
        stale_sessions_expired: "Sessions expired.",
        restore_rate_limited_count: "Restores refused for coming too often.",
        sync_processor_request_queued: "Requests handed to the log.",
        tls_handshake_exceeded: "TLS handshakes refused since too many were under way.",
        revalidate_count: "Sessions asked for by followers.",
        fsync_threshold_exceed_count: "fsyncs longer than `fsync.warningthresholdms`.",
    }
}

group! {
    /// Amounts per event, without a unit.
    Sizes of Summary {
        node_created_watch_count: "Watches fired by a creation that fired any.",
        connection_token_deficit: "Tokens missing at a handshake, where connections are rationed.",
        node_deleted_watch_count: "Watches fired by a deletion that fired any.",
        sync_processor_queue_size: "Requests waiting for the log, seen as one joins.",
        prep_processor_queue_size: "Requests waiting for the commit shard, seen as one joins.",
        inflight_snap_count: "Learners being sent a snapshot, seen as one begins.",
        learner_request_processor_queue_size: "Requests of learners waiting, seen as one joins.",
        startup_txns_loaded: "Txns replayed at the start.",
        inflight_diff_count: "Learners being sent a diff, seen as one begins.",
        sync_processor_batch_size: "Txns in a group commit.",
        node_children_watch_count: "Child watches fired by a change that fired any.",
        node_changed_watch_count: "Watches fired by new data that fired any.",
    }
}

group! {
    /// Durations, recorded in microseconds.
    Times of Summary {
        proposal_process_time: "Handing a request from check to log.",
        leader_unavailable_time: "A leader without a quorum.",
        startup_txns_load_time: "Replaying the log at the start.",
        follower_sync_time: "Bringing a follower up to date.",
        fsynctime: "One fsync of the log.",
        restore_time: "One restore.",
        snapshottime: "Writing one snapshot.",
        unavailable_time: "Neither leading nor following.",
        prep_process_time: "Checking one request.",
        commit_process_time: "Handling one commit.",
        dbinittime: "Loading snapshot and log at the start.",
        election_time: "One election.",
        observer_sync_time: "Bringing an observer up to date.",
        sync_process_time: "Preparing one txn for the log.",
        startup_snap_load_time: "Loading the snapshot at the start.",
    }
}

group! {
    /// Durations with percentiles, recorded in microseconds.
    Latencies of Histogram {
        prep_processor_queue_time_ms: "Waiting for the commit shard.",
        close_session_prep_time: "Checking a closeSession.",
        updatelatency: "Writes, from the request's arrival to its reply.",
        request_throttle_queue_time_ms: "Waiting at the limit of outstanding requests.",
        readlatency: "Reads, from the request's arrival to its reply.",
        quorum_ack_latency: "A proposal until a quorum has it.",
        commit_propagation_latency: "A commit on its way from the leader.",
        proposal_ack_creation_latency: "A follower's ack, from the proposal on.",
        proposal_latency: "A proposal on its way from the leader.",
        sync_processor_queue_and_flush_time_ms: "A txn in the log stage, waiting and fsync together.",
        propagation_latency: "A txn from its making until it is applied.",
        sync_processor_queue_time_ms: "A txn waiting for the log.",
        sync_processor_queue_flush_time_ms: "A group commit's write and fsync.",
    }
}

/// Everything that is counted or measured where it happens.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // the types say it
pub struct Metrics {
    pub counters: Counters,
    pub sizes: Sizes,
    pub times: Times,
    pub latencies: Latencies,
}

impl Merge for Metrics {
    fn merge(&mut self, other: &Self) {
        self.counters.merge(&other.counters);
        self.sizes.merge(&other.sizes);
        self.times.merge(&other.times);
        self.latencies.merge(&other.latencies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets follow each other without gap or overlap, and are at most 1/16 of their values wide.
    #[test]
    fn buckets_touch() {
        let mut next = 0;
        for at in 0..BUCKETS {
            let end = upper_end(at);
            assert_eq!((bucket(next), bucket(end)), (at, at), "{next}..={end}");
            assert!(end - next <= next / 16);
            next = end + 1;
        }
        assert_eq!(next, 1 << EXPONENT_MAX);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    /// Percentiles are right to a bucket's width, also of what two shards measured.
    #[test]
    fn percentiles() {
        let (mut odd, mut even) = (Histogram::default(), Histogram::default());
        assert_eq!(odd.per_mille(500), 0);
        for value in 1..=100_000 {
            if value % 2 == 0 { &mut even } else { &mut odd }.record(value);
        }
        let mut all = Histogram::default();
        all.merge(&odd);
        all.merge(&even);
        assert_eq!(all.summary().sum(), 5_000_050_000);
        for (part, exact) in [(500, 50_000), (950, 95_000), (990, 99_000), (999, 99_900)] {
            let found = all.per_mille(part);
            assert!((exact..=exact + exact / 16).contains(&found), "{part}: {found}");
        }
        assert_eq!(all.per_mille(1000), 100_000);
        let mut one = Histogram::default();
        one.record(7777);
        assert_eq!([one.per_mille(0), one.per_mille(500), one.per_mille(999)], [7777; 3]);
    }

    /// A summary without values is all zero, and averages have four places.
    #[test]
    fn summaries() {
        let mut summary = Summary::default();
        assert_eq!((summary.min(), summary.max(), summary.average(1)), (0, 0, 0.0));
        for value in [70, 71, 71] {
            summary.record(value);
        }
        assert_eq!((summary.min(), summary.max(), summary.average(1)), (70, 71, 70.6667));
        assert_eq!(summary.average(1000), 0.0707);
        let mut other = Summary::default();
        other.merge(&summary);
        assert_eq!(other, summary);
    }
}
