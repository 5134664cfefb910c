//! The metrics of `mntr` and of the command `monitor`, each with its name and its value.

use super::{LastMinMax, Mode, Namespace, QuotaUse, Status, Summary};
use std::fmt;

/// Microseconds, in which times are recorded, in a millisecond, in which ZooKeeper shows them.
pub const MILLISECOND: u64 = 1000;

/// A metric's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure<'a> {
    /// A word.
    Text(&'a str),
    /// A number without a fraction.
    Whole(i64),
    /// An average.
    Real(f64),
}

/// As a line of `mntr` has it: numbers with a point as Java prints a double of ordinary size.
impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => write!(f, "{number:?}"),
        }
    }
}

impl From<u64> for Figure<'_> {
    fn from(number: u64) -> Self {
        Self::Whole(number as i64)
    }
}

impl From<i64> for Figure<'_> {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Figure<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// Tells each metric, without `zk_` before its name. Source: `MonitorCommand`, and what `ZooKeeperServer` and
/// `ServerMetrics` register.
pub fn figures(status: &Status, tell: &mut dyn FnMut(&str, Figure<'_>)) {
    let mut out = Out(tell);
    about_server(status, &mut out);
    let metrics = &status.metrics;
    for (name, value) in metrics.counters.each() {
        out.put(name, *value);
    }
    for (name, sizes) in metrics.sizes.each() {
        out.summary(name, sizes.summary(), 1);
    }
    for (name, times) in metrics.times.each() {
        out.summary(name, times.summary(), MILLISECOND);
    }
    for (name, histogram) in metrics.each_latency() {
        out.summary(name, histogram.summary(), MILLISECOND);
        for (percentile, part) in [("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)] {
            out.put(&format!("{percentile}_{name}"), histogram.per_mille(part) / MILLISECOND);
        }
    }
    // Java's has a line once there was a first value.
    for Namespace { name, write, quota_exceeded } in metrics.namespaces.each() {
        if write.summary().count() > 0 {
            out.summary(&format!("{name}_write_per_namespace"), write.summary(), 1);
        }
        if quota_exceeded > 0 {
            out.put(&format!("{name}_quota_exceeded_error_per_namespace"), quota_exceeded);
        }
    }
    for (name, quota) in &status.quotas {
        let QuotaUse { count_limit, bytes_limit, count, bytes } = *quota;
        out.put(&format!("{name}_quota_count_limit_per_namespace"), count_limit);
        out.put(&format!("{name}_quota_bytes_limit_per_namespace"), bytes_limit);
        out.put(&format!("{name}_quota_count_usage_per_namespace"), count);
        out.put(&format!("{name}_quota_bytes_usage_per_namespace"), bytes);
    }
}

/// The server's state, and what is there now.
fn about_server(status: &Status, out: &mut Out<'_>) {
    let Status { gauges, latency, metrics, .. } = status;
    out.put("version", Figure::Text(&status.version));
    out.put("server_state", Figure::Text(status.mode.name()));
    if status.quorum_size.is_some() {
        out.put("peer_state", Figure::Text(peer_state(status.mode)));
    }
    if let Some(leader) = status.observer_master_id {
        out.put("observer_master_id", leader);
    }
    out.put("ephemerals_count", gauges.ephemerals_count);
    out.put("num_alive_connections", gauges.num_alive_connections);
    out.put("avg_latency", latency.average(MILLISECOND));
    out.put("outstanding_requests", gauges.outstanding_requests);
    out.put("znode_count", gauges.znode_count);
    out.put("global_sessions", gauges.global_sessions);
    out.put("local_sessions", gauges.local_sessions);
    out.last_min_max("client_response_size", metrics.client_response_size);
    out.put("packets_sent", gauges.packets_sent);
    out.put("packets_received", gauges.packets_received);
    out.put("watch_count", gauges.watch_count);
    out.put("min_latency", latency.min() / MILLISECOND);
    out.put("max_file_descriptor_count", gauges.max_file_descriptor_count);
    out.put("approximate_data_size", gauges.approximate_data_size);
    out.put("open_file_descriptor_count", gauges.open_file_descriptor_count);
    out.put("uptime", status.uptime_ms);
    out.put("max_latency", latency.max() / MILLISECOND);
    if let Some(voters) = status.quorum_size {
        out.put("quorum_size", voters);
    }
    if let Some(leader) = &status.leader {
        out.put("learners", leader.learners);
        out.put("synced_followers", leader.synced_followers);
        out.put("synced_non_voting_followers", leader.synced_non_voting_followers);
        out.put("synced_observers", leader.synced_observers);
        out.put("pending_syncs", leader.pending_syncs);
        out.put("leader_uptime", leader.uptime_ms);
        out.last_min_max("proposal_size", metrics.proposal_size);
    } else if let Some(observers) = status.synced_observers {
        out.put("synced_observers", observers);
    }
}

struct Out<'a>(&'a mut dyn FnMut(&str, Figure<'_>));

impl Out<'_> {
    fn put<'f>(&mut self, name: &str, value: impl Into<Figure<'f>>) {
        (self.0)(name, value.into());
    }

    /// A summary of values that are `unit` times too large.
    fn summary(&mut self, name: &str, summary: &Summary, unit: u64) {
        self.put(&format!("avg_{name}"), summary.average(unit));
        self.put(&format!("min_{name}"), summary.min() / unit);
        self.put(&format!("max_{name}"), summary.max() / unit);
        self.put(&format!("cnt_{name}"), summary.count());
        self.put(&format!("sum_{name}"), summary.sum() / unit);
    }

    /// The last value, the smallest and the largest one; -1 before the first.
    fn last_min_max(&mut self, name: &str, sizes: LastMinMax) {
        for (at, which) in ["last", "min", "max"].into_iter().enumerate() {
            self.put(&format!("{which}_{name}"), sizes.values().map_or(-1, |sizes| sizes[at] as i64));
        }
    }
}

/// A member that answers is in the last phase of its role. Source: `QuorumPeer.getDetailedPeerState`.
fn peer_state(mode: Mode) -> &'static str {
    match mode {
        Mode::Leader => "leading - broadcast",
        Mode::Follower => "following - broadcast",
        Mode::Observer => "observing - broadcast",
        Mode::Standalone | Mode::ReadOnly => "looking",
    }
}
