//! ZooKeeper's metrics: names, types, labels and units of Apache ZooKeeper 3.9.4 with its `PrometheusMetricsProvider`.

use super::series::Series;
use super::text::{Family, Kind, Page};
use super::window::Opened;
use crate::admin::{Counters, Latencies, Leading, Metrics, Mode, QuotaUse, Sizes, Status, Times};
use std::borrow::Cow;

/// Microseconds, in which times are recorded, in a millisecond, which is Java's unit.
const MILLISECOND: f64 = 1000.0;

/// A gauge: name, unit, meaning, value.
type Gauge<S> = (&'static str, &'static str, &'static str, fn(&S) -> f64);

/// What a server has that serves. Source: `ZooKeeperServer.registerMetrics`.
const GAUGES: [Gauge<Status>; 20] = [
    ("avg_latency", "ms", "Mean latency of requests since the start or `srst`.", |s| s.latency.average(1000)),
    ("max_latency", "ms", "Largest latency since the start or `srst`, rounded down.", |s| {
        (s.latency.max() / 1000) as f64
    }),
    ("min_latency", "ms", "Smallest latency since the start or `srst`, rounded down.", |s| {
        (s.latency.min() / 1000) as f64
    }),
    ("packets_received", "packets", "Frames and words from clients, since the start or `srst`.", |s| {
        s.gauges.packets_received as f64
    }),
    ("packets_sent", "packets", "Frames to clients, since the start or `srst`.", |s| {
        s.gauges.packets_sent as f64
    }),
    ("num_alive_connections", "connections", "Client connections.", |s| {
        s.gauges.num_alive_connections as f64
    }),
    ("outstanding_requests", "requests", "Requests taken and not answered.", |s| {
        s.gauges.outstanding_requests as f64
    }),
    ("uptime", "ms", "Time since the start.", |s| s.uptime_ms as f64),
    ("znode_count", "znodes", "Znodes.", |s| s.gauges.znode_count as f64),
    ("watch_count", "watches", "Watches, of data and of children.", |s| s.gauges.watch_count as f64),
    ("ephemerals_count", "znodes", "Ephemeral znodes.", |s| s.gauges.ephemerals_count as f64),
    ("approximate_data_size", "bytes", "All paths and data.", |s| s.gauges.approximate_data_size as f64),
    ("global_sessions", "sessions", "Sessions known to the ensemble.", |s| s.gauges.global_sessions as f64),
    ("local_sessions", "sessions", "Sessions that only this server knows.", |s| {
        s.gauges.local_sessions as f64
    }),
    ("open_file_descriptor_count", "files", "Open file descriptors.", |s| {
        s.gauges.open_file_descriptor_count as f64
    }),
    ("max_file_descriptor_count", "files", "How many may be open.", |s| {
        s.gauges.max_file_descriptor_count as f64
    }),
    ("last_client_response_size", "bytes", "The last reply or notification; -1 before the first.", |s| {
        last_min_max(s.metrics.client_response_size.values(), 0)
    }),
    (
        "min_client_response_size",
        "bytes",
        "The smallest since the start or `srst`; -1 before the first.",
        |s| last_min_max(s.metrics.client_response_size.values(), 1),
    ),
    (
        "max_client_response_size",
        "bytes",
        "The largest since the start or `srst`; -1 before the first.",
        |s| last_min_max(s.metrics.client_response_size.values(), 2),
    ),
    (
        "auth_failed_count",
        "connections",
        "Connections that failed to authenticate, since the start or `srst`.",
        |s| s.metrics.counters.auth_failed_count as f64,
    ),
];

const SYNCED_OBSERVERS: &str = "synced_observers";

/// What a leader has beside these. Source: `LeaderZooKeeperServer.registerMetrics`.
const LEADER_GAUGES: [Gauge<Leading>; 6] = [
    ("learners", "connections", "Leader: connections of followers and observers.", |l| l.learners as f64),
    (
        "synced_followers",
        "servers",
        "Leader: followers that are in step, those without a vote included.",
        |l| l.synced_followers as f64,
    ),
    ("synced_non_voting_followers", "servers", "Leader: followers without a vote that are in step.", |l| {
        l.synced_non_voting_followers as f64
    }),
    (
        SYNCED_OBSERVERS,
        "servers",
        "Leader, and follower with `observerMasterPort`: its observers that are in step.",
        |l| l.synced_observers as f64,
    ),
    ("pending_syncs", "groups", "Leader: groups with a `sync` that wait for a quorum.", |l| {
        l.pending_syncs as f64
    }),
    ("leader_uptime", "ms", "Leader: time since it leads.", |l| l.uptime_ms as f64),
];

/// And sizes of its proposals.
const PROPOSAL_SIZES: [(&str, &str); 3] = [
    ("last_proposal_size", "Leader: the last proposal; -1 before the first."),
    ("min_proposal_size", "Leader: the smallest proposal of this leadership; -1 before the first."),
    ("max_proposal_size", "Leader: the largest proposal of this leadership; -1 before the first."),
];

const QUORUM_SIZE: (&str, &str) = ("quorum_size", "Member of an ensemble: servers with a vote.");

/// What rules ask for and what cannot happen here: the number is 0, and true.
const NEVER: [(&str, Kind, &str, &str); 3] = [
    ("unrecoverable_error_count", Kind::Counter, "errors", "0: such an error ends the process."),
    (
        "tls_handshake_exceeded",
        Kind::Counter,
        "handshakes",
        "0: handshakes have a limit of time, and none of their number.",
    ),
    ("large_requests_rejected", Kind::Counter, "requests", "0: large requests wait, and are not rejected."),
];

/// A gauge for each namespace that has a quota.
type QuotaGauge = (&'static str, &'static str, &'static str, fn(&QuotaUse) -> i64);

/// Source: `QuotaMetricsUtils`.
const QUOTAS: [QuotaGauge; 4] = [
    (
        "quota_count_limit_per_namespace",
        "znodes",
        "By `key`, the first component of paths: limit of znodes.",
        |q| q.count_limit,
    ),
    ("quota_bytes_limit_per_namespace", "bytes", "By `key`: limit of data.", |q| q.bytes_limit),
    ("quota_count_usage_per_namespace", "znodes", "By `key`: znodes below limits.", |q| q.count),
    ("quota_bytes_usage_per_namespace", "bytes", "By `key`: data below limits.", |q| q.bytes),
];

const QUOTA_EXCEEDED: (&str, &str) =
    ("quota_exceeded_error_per_namespace", "By `key`: writes that a hard quota refused.");

const WRITES: (&str, &str) =
    ("write_per_namespace", "By `key`, the first component of paths: path and data of each write.");

/// Latencies that are sums over operations.
const OF_REQUESTS: [(&str, &str); 2] = [
    ("updatelatency", "Writes, from the request's arrival to its reply."),
    ("readlatency", "Reads, from the request's arrival to its reply."),
];

/// In [`Counters`], and no counter of ZooKeeper's: the first is a gauge, the second is not exported.
const NO_COUNTERS: [&str; 3] = ["auth_failed_count", "connections_shed", "fsync_threshold_exceed_count"];

/// Quantiles of a summary that is `BASIC` in Java, as labels and parts per thousand.
const BASIC: &[(&str, u64)] = &[("0.5", 500)];
/// Those of one that is `ADVANCED`.
const ADVANCED: &[(&str, u64)] = &[("0.5", 500), ("0.9", 900), ("0.99", 990)];

fn last_min_max(values: Option<[u64; 3]>, which: usize) -> f64 {
    values.map_or(-1.0, |values| values[which] as f64)
}

/// Writes what is there now; nothing while the server does not serve.
pub(super) fn gauges(status: &Status, page: &mut Page<'_>) {
    if !status.serving {
        return;
    }
    let mut gauge = |name: &str, value: f64| {
        page.begin_zookeeper(name, Kind::Gauge);
        page.sample("", &[], value);
    };
    GAUGES.iter().for_each(|(name, .., value)| gauge(name, value(status)));
    let never = NEVER.iter().filter(|(_, kind, ..)| *kind == Kind::Gauge);
    never.for_each(|(name, ..)| gauge(name, 0.0));
    if let Some(voters) = status.quorum_size {
        gauge(QUORUM_SIZE.0, voters as f64);
    }
    if let Some(leading) = &status.leader {
        LEADER_GAUGES.iter().for_each(|(name, .., value)| gauge(name, value(leading)));
        for (which, (name, _)) in PROPOSAL_SIZES.iter().enumerate() {
            gauge(name, last_min_max(status.metrics.proposal_size.values(), which));
        }
    } else if status.mode == Mode::Follower {
        gauge(SYNCED_OBSERVERS, status.synced_observers.unwrap_or(0) as f64);
    }
    for (name, .., value) in &QUOTAS {
        page.begin_zookeeper(name, Kind::Gauge);
        for (namespace, quota) in &status.quotas {
            page.sample("", &[("key", namespace)], value(quota) as f64);
        }
    }
}

/// Writes what happened since the start.
pub(super) fn counters(metrics: &Metrics, page: &mut Page<'_>) {
    let never = NEVER.iter().filter(|(_, kind, ..)| *kind == Kind::Counter).map(|(name, ..)| (*name, 0));
    let counted = metrics.counters.each().filter(|(name, _)| !NO_COUNTERS.contains(name));
    for (name, value) in counted.map(|(name, value)| (name, *value)).chain(never) {
        page.begin_zookeeper(name, Kind::Counter);
        page.sample("", &[], value as f64);
    }
    page.begin_zookeeper(QUOTA_EXCEEDED.0, Kind::Counter);
    for namespace in metrics.namespaces.each().filter(|namespace| namespace.quota_exceeded > 0) {
        page.sample("", &[("key", &namespace.name)], namespace.quota_exceeded as f64);
    }
}

/// All summaries; series of one name follow each other.
pub(super) fn summaries(metrics: &Metrics) -> Vec<Series<'_>> {
    let basic = |name, values, unit| Series {
        name,
        key: String::new(),
        values: Cow::Borrowed(values),
        unit,
        quantiles: BASIC,
    };
    let sizes = metrics.sizes.each().map(|(name, values)| basic(name, values, 1.0));
    let times = metrics.times.each().map(|(name, values)| basic(name, values, MILLISECOND));
    let latencies = metrics.each_latency().map(|(name, values)| Series {
        name,
        key: String::new(),
        values,
        unit: MILLISECOND,
        quantiles: ADVANCED,
    });
    let writes = metrics.namespaces.each().filter(|namespace| namespace.write.summary().count() > 0);
    let writes = writes.map(|namespace| Series {
        name: WRITES.0,
        key: namespace.name,
        values: Cow::Owned(namespace.write),
        unit: 1.0,
        quantiles: BASIC,
    });
    sizes.chain(times).chain(latencies).chain(writes).collect()
}

/// Writes quantiles of the window, and count and sum since the start.
pub(super) fn put_summaries(all: &[Series<'_>], window: &Opened<'_>, page: &mut Page<'_>) {
    let mut family = "";
    for series in all {
        if series.name != family {
            page.begin_zookeeper(series.name, Kind::Summary);
            family = series.name;
        }
        let mut labels: Vec<(&str, &str)> = Vec::new();
        if !series.key.is_empty() {
            labels.push(("key", &series.key));
        }
        for (quantile, part) in series.quantiles {
            let value = window.per_mille(series, *part).map_or(f64::NAN, |value| value as f64 / series.unit);
            page.sample("", &[&labels[..], &[("quantile", *quantile)]].concat(), value);
        }
        let summary = series.values.summary();
        page.sample("_count", &labels, summary.count() as f64);
        page.sample("_sum", &labels, summary.sum() as f64 / series.unit);
    }
    if family != WRITES.0 {
        page.begin_zookeeper(WRITES.0, Kind::Summary);
    }
}

/// All families, for the page on metrics.
pub(super) fn described() -> Vec<Family> {
    let family = |name, kind, unit, meaning| Family { name, kind, unit, meaning };
    let gauge = |name, unit, meaning| family(name, Kind::Gauge, unit, meaning);
    let mut all: Vec<Family> =
        GAUGES.iter().map(|(name, unit, meaning, _)| gauge(name, unit, meaning)).collect();
    all.push(gauge(QUORUM_SIZE.0, "servers", QUORUM_SIZE.1));
    all.extend(LEADER_GAUGES.iter().map(|(name, unit, meaning, _)| gauge(name, unit, meaning)));
    all.extend(PROPOSAL_SIZES.iter().map(|(name, meaning)| gauge(name, "bytes", meaning)));
    all.extend(QUOTAS.iter().map(|(name, unit, meaning, _)| gauge(name, unit, meaning)));
    all.extend(NEVER.iter().map(|(name, kind, unit, meaning)| family(name, *kind, unit, meaning)));
    let counted = Counters::DESCRIBED.iter().filter(|(name, _)| !NO_COUNTERS.contains(name));
    all.extend(counted.map(|(name, meaning)| {
        let unit = if name.contains("bytes") { "bytes" } else { "events" };
        family(name, Kind::Counter, unit, meaning)
    }));
    all.push(family(QUOTA_EXCEEDED.0, Kind::Counter, "events", QUOTA_EXCEEDED.1));
    let summary = |unit| {
        move |(name, meaning): &(&'static str, &'static str)| family(name, Kind::Summary, unit, meaning)
    };
    all.extend(Sizes::DESCRIBED.iter().map(summary("amount")));
    all.extend(Times::DESCRIBED.iter().map(summary("ms")));
    all.extend(OF_REQUESTS.iter().chain(Latencies::DESCRIBED).map(summary("ms")));
    all.extend([WRITES].iter().map(summary("bytes")));
    all
}
