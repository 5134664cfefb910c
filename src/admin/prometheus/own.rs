//! zkfast's own metrics, and those of the process under the names that Prometheus's clients have for them.
//!
//! Durations are histograms in seconds with fixed bounds, so that those of several servers can be added up: a quantile of an
//! ensemble is `histogram_quantile(0.99, sum by (le) (rate(zkfast_request_duration_seconds_bucket[5m])))`.

use super::text::{Family, Kind, Page};
use crate::admin::{Histogram, Metrics, Mode, Process, Status};

/// Microseconds, in which times are recorded, in a second.
const SECOND: f64 = 1e6;

/// Bounds of durations: powers of two from 16 us to 16.8 s. These are bounds of a [`Histogram`]'s buckets, so no value is
/// counted in the wrong one.
const BOUNDS_US: [u64; 21] = {
    let mut bounds = [0; 21];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = 1 << (at + 4);
        at += 1;
    }
    bounds
};

/// Bounds of amounts: up to so many, which are less than the bounds of a [`Histogram`]'s buckets.
const AMOUNTS: [u64; 13] = [1, 2, 4, 8, 15, 31, 63, 127, 255, 511, 1023, 2047, 4095];

/// Roles as values of the label `role`.
const ROLES: [Mode; 5] = [Mode::Standalone, Mode::Leader, Mode::Follower, Mode::Observer, Mode::ReadOnly];

const fn family(name: &'static str, kind: Kind, unit: &'static str, meaning: &'static str) -> Family {
    Family { name, kind, unit, meaning }
}

const BUILD_INFO: Family = family(
    "zkfast_build_info",
    Kind::Gauge,
    "1",
    "Versions by `version` (zkfast's) and `zookeeper` (the protocol's).",
);
const SERVING: Family = family(
    "zkfast_serving",
    Kind::Gauge,
    "0 or 1",
    "1 while the server reads and writes: a member has a quorum then.",
);
const ROLE: Family = family(
    "zkfast_role",
    Kind::Gauge,
    "0 or 1",
    "1 for the `role` that the server has: standalone, leader, follower, observer or read-only; 0 for all while it does not serve.",
);
const EPOCH: Family = family(
    "zkfast_epoch",
    Kind::Gauge,
    "epoch",
    "Upper half of the last zxid that the server has processed.",
);
const COUNTER: Family = family(
    "zkfast_epoch_txns",
    Kind::Gauge,
    "txns",
    "Lower half of that zxid: the difference between two servers of one epoch is their lag. At 4294967295 a new epoch begins.",
);
const CERTIFICATE: Family = family(
    "zkfast_certificate_expiry_timestamp_seconds",
    Kind::Gauge,
    "seconds",
    "When the certificate that clients with TLS see expires, since 1970; absent without TLS.",
);
const REQUESTS: Family = family(
    "zkfast_request_duration_seconds",
    Kind::Histogram,
    "seconds",
    "Requests by `operation`, from the request's arrival until its reply is made. An operation appears with its first request.",
);
const STAGES: Family = family(
    "zkfast_write_stage_duration_seconds",
    Kind::Histogram,
    "seconds",
    "Writes by `stage`: queue (from the view until the commit side takes it), check, log_queue (until the log takes it), \
     log (one write and fsync of a group), quorum (leader: from its making until a quorum has it), apply (to a view's tree).",
);
const FSYNC: Family =
    family("zkfast_fsync_duration_seconds", Kind::Histogram, "seconds", "One fsync of the log.");
const FSYNC_SLOW: Family = family(
    "zkfast_fsync_slow_total",
    Kind::Counter,
    "events",
    "fsyncs longer than a second; `zk_fsync_threshold_exceed_count` of `mntr`.",
);
const SHED: Family = family(
    "zkfast_connections_shed_total",
    Kind::Counter,
    "connections",
    "Connections closed by `shed_connections`, so that their clients go to other servers.",
);
const GROUPS: Family =
    family("zkfast_commit_group_txns", Kind::Histogram, "txns", "Txns that one write of the log takes.");
const WORDS: Family = family(
    "zkfast_four_letter_words_total",
    Kind::Counter,
    "requests",
    "Four-letter words by `word`, also those that the whitelist leaves out.",
);
const HTTP: Family = family(
    "zkfast_http_requests_total",
    Kind::Counter,
    "requests",
    "Requests to the admin port by `command`.",
);
const VIEW_CONNECTIONS: Family =
    family("zkfast_view_connections", Kind::Gauge, "connections", "Client connections by `view`.");
const VIEW_OUTSTANDING: Family = family(
    "zkfast_view_outstanding_requests",
    Kind::Gauge,
    "requests",
    "Requests that wait for the commit side, by `view`.",
);
const VIEW_WATCHES: Family = family("zkfast_view_watches", Kind::Gauge, "watches", "Watches by `view`.");
const VIEW_REQUESTS: Family =
    family("zkfast_view_requests_total", Kind::Counter, "requests", "Requests answered, by `view`.");
const THREADS: Family = family(
    "zkfast_thread_cpu_seconds_total",
    Kind::Counter,
    "seconds",
    "CPU time by `thread`, those of one name added up.",
);
const PROCESS_CPU: Family = family(
    "process_cpu_seconds_total",
    Kind::Counter,
    "seconds",
    "CPU time of the process, in user mode and in the kernel.",
);
const PROCESS_START: Family =
    family("process_start_time_seconds", Kind::Gauge, "seconds", "When the process started, since 1970.");
const PROCESS_FDS: Family = family("process_open_fds", Kind::Gauge, "files", "Open file descriptors.");
const PROCESS_FDS_MAX: Family = family("process_max_fds", Kind::Gauge, "files", "How many may be open.");
const PROCESS_VIRTUAL: Family =
    family("process_virtual_memory_bytes", Kind::Gauge, "bytes", "Addresses in use.");
const PROCESS_RESIDENT: Family =
    family("process_resident_memory_bytes", Kind::Gauge, "bytes", "Memory that the process has.");

/// What the server is, and how far it is.
pub(super) fn server(status: &Status, page: &mut Page<'_>) {
    begin(&BUILD_INFO, page);
    let zookeeper = status.version.split('-').next().unwrap_or_default();
    page.sample("", &[("version", env!("CARGO_PKG_VERSION")), ("zookeeper", zookeeper)], 1.0);
    begin(&SERVING, page);
    let writes = status.serving && status.mode != Mode::ReadOnly;
    page.sample("", &[], f64::from(u8::from(writes)));
    begin(&ROLE, page);
    for role in ROLES {
        let is_its = status.serving && role == status.mode;
        page.sample("", &[("role", role.name())], f64::from(u8::from(is_its)));
    }
    if status.serving {
        begin(&EPOCH, page);
        page.sample("", &[], f64::from(status.zxid.epoch()));
        begin(&COUNTER, page);
        page.sample("", &[], f64::from(status.zxid.counter()));
    }
    if let Some(expires_s) = status.certificate_expires_s {
        begin(&CERTIFICATE, page);
        page.sample("", &[], expires_s as f64);
    }
}

/// How long what took, since the start.
pub(super) fn measured(metrics: &Metrics, page: &mut Page<'_>) {
    begin(&REQUESTS, page);
    for (operation, took) in metrics.operations.each().filter(|(_, took)| took.summary().count() > 0) {
        durations(took, &[("operation", operation)], page);
    }
    begin(&STAGES, page);
    for (stage, took) in [
        ("queue", &metrics.latencies.prep_processor_queue_time_ms),
        ("check", &metrics.times.prep_process_time),
        ("log_queue", &metrics.latencies.sync_processor_queue_time_ms),
        ("log", &metrics.latencies.sync_processor_queue_flush_time_ms),
        ("quorum", &metrics.latencies.quorum_ack_latency),
        ("apply", &metrics.latencies.write_final_proc_time_ms),
    ] {
        durations(took, &[("stage", stage)], page);
    }
    begin(&FSYNC, page);
    durations(&metrics.times.fsynctime, &[], page);
    begin(&FSYNC_SLOW, page);
    page.sample("", &[], metrics.counters.fsync_threshold_exceed_count as f64);
    begin(&SHED, page);
    page.sample("", &[], metrics.counters.connections_shed as f64);
    begin(&GROUPS, page);
    let groups = &metrics.sizes.sync_processor_batch_size;
    let below = groups.below(&AMOUNTS.map(|amount| amount + 1));
    let counts = AMOUNTS.iter().zip(below).map(|(amount, count)| (amount.to_string(), count));
    histogram(groups, counts, groups.summary().sum() as f64, &[], page);
    begin(&WORDS, page);
    for (word, count) in metrics.words.each() {
        page.sample("", &[("word", word.name())], count as f64);
    }
}

/// Which part of the server does how much.
pub(super) fn load(status: &Status, page: &mut Page<'_>) {
    begin(&HTTP, page);
    for (command, count) in &status.http_requests {
        page.sample("", &[("command", command)], *count as f64);
    }
    if !status.serving {
        return;
    }
    let mut of_views = |family: &Family, value: &dyn Fn(usize) -> u64| {
        begin(family, page);
        for (at, view) in status.views.iter().enumerate() {
            page.sample("", &[("view", &view.number.to_string())], value(at) as f64);
        }
    };
    of_views(&VIEW_CONNECTIONS, &|at| status.views[at].connections);
    of_views(&VIEW_OUTSTANDING, &|at| status.views[at].outstanding_requests);
    of_views(&VIEW_WATCHES, &|at| status.views[at].watches);
    of_views(&VIEW_REQUESTS, &|at| status.views[at].answered);
}

/// What the kernel says of the process.
pub(super) fn process(status: &Status, page: &mut Page<'_>) {
    let Some(Process {
        cpu_seconds,
        start_time_seconds,
        open_fds,
        max_fds,
        virtual_memory_bytes,
        resident_memory_bytes,
        threads,
    }) = &status.process
    else {
        return;
    };
    for (family, value) in [
        (&PROCESS_CPU, *cpu_seconds),
        (&PROCESS_START, *start_time_seconds),
        (&PROCESS_FDS, *open_fds as f64),
        (&PROCESS_FDS_MAX, *max_fds as f64),
        (&PROCESS_VIRTUAL, *virtual_memory_bytes as f64),
        (&PROCESS_RESIDENT, *resident_memory_bytes as f64),
    ] {
        begin(family, page);
        page.sample("", &[], value);
    }
    begin(&THREADS, page);
    for (thread, seconds) in threads {
        page.sample("", &[("thread", thread)], *seconds);
    }
}

fn begin(family: &Family, page: &mut Page<'_>) {
    page.begin(family.name, family.kind, family.meaning);
}

/// Writes a series of durations, which are recorded in whole microseconds: one of less than a bound is below it.
fn durations(took: &Histogram, labels: &[(&str, &str)], page: &mut Page<'_>) {
    let below = took.below(&BOUNDS_US);
    let counts = BOUNDS_US.iter().zip(below).map(|(bound_us, count)| {
        let seconds = *bound_us as f64 / SECOND;
        (seconds.to_string(), count)
    });
    histogram(took, counts, took.summary().sum() as f64 / SECOND, labels, page);
}

fn histogram(
    values: &Histogram,
    counts: impl Iterator<Item = (String, u64)>,
    sum: f64,
    labels: &[(&str, &str)],
    page: &mut Page<'_>,
) {
    let all = values.summary().count();
    for (bound, count) in counts.chain([("+Inf".to_owned(), all)]) {
        page.sample("_bucket", &[labels, &[("le", bound.as_str())]].concat(), count as f64);
    }
    page.sample("_count", labels, all as f64);
    page.sample("_sum", labels, sum);
}

/// All families, for the page on metrics.
pub(super) fn described() -> Vec<Family> {
    vec![
        BUILD_INFO,
        SERVING,
        ROLE,
        EPOCH,
        COUNTER,
        CERTIFICATE,
        REQUESTS,
        STAGES,
        FSYNC,
        FSYNC_SLOW,
        SHED,
        GROUPS,
        WORDS,
        HTTP,
        VIEW_CONNECTIONS,
        VIEW_OUTSTANDING,
        VIEW_WATCHES,
        VIEW_REQUESTS,
        THREADS,
        PROCESS_CPU,
        PROCESS_START,
        PROCESS_FDS,
        PROCESS_FDS_MAX,
        PROCESS_VIRTUAL,
        PROCESS_RESIDENT,
    ]
}
