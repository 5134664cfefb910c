use super::*;
use crate::admin::{FourLetterWord, Gauges, Leading, Mode, Process, QuotaUse, ViewLoad};
use crate::proto::{OpCode, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// The families of a 3.9.4 with its `PrometheusMetricsProvider`, alone and in each role of an ensemble: which servers have it,
/// type, name, labels of its samples (a quantile as `quantile=0.5`).
const ZOOKEEPERS: &str = include_str!("../prometheus-names-3.9.4.txt");
const WORDS_PAGE: &str = include_str!("../../docs/four-letter-words.md");
const METRICS_PAGE: &str = include_str!("../../docs/metrics.md");
const RULES: &str = include_str!("../../../tuning/prometheus/rules.yml");
const DASHBOARD: &str = include_str!("../../../tuning/grafana/zkfast.json");

/// A leader that has something of everything.
fn leader() -> Status {
    let mut status = Status {
        version: crate::admin::version("2026-11-29 00:00 UTC"),
        serving: true,
        mode: Mode::Leader,
        leader: Some(Leading { learners: 3, synced_followers: 2, synced_observers: 1, ..Leading::default() }),
        quorum_size: Some(3),
        uptime_ms: 31_560,
        zxid: Zxid::new(7, 4711),
        gauges: Gauges { znode_count: 8, packets_received: 12_345_678, ..Gauges::default() },
        quotas: [("q".to_owned(), QuotaUse { count_limit: 3, bytes_limit: -1, count: 2, bytes: 50 })].into(),
        views: vec![
            ViewLoad { number: 0, connections: 3, outstanding_requests: 1, watches: 4, answered: 90 },
            ViewLoad { number: 1, ..ViewLoad::default() },
        ],
        http_requests: vec![("ruok", 5)],
        certificate_expires_s: Some(1_800_000_000),
        process: Some(Process {
            cpu_seconds: 12.5,
            threads: vec![("zkfast-commit".to_owned(), 0.25)],
            ..Process::default()
        }),
        ..Status::default()
    };
    let metrics = &mut status.metrics;
    metrics.counters.stale_sessions_expired = 3;
    metrics.counters.auth_failed_count = 2;
    metrics.counters.fsync_threshold_exceed_count = 1;
    [100, 1500, 12_345].into_iter().for_each(|us| metrics.times.fsynctime.record(us));
    [1, 15, 16].into_iter().for_each(|txns| metrics.sizes.sync_processor_batch_size.record(txns));
    (1..=100).for_each(|value| metrics.operations.record(OpCode::GET_DATA, value * 100));
    metrics.operations.record(OpCode::SET_DATA, 20_000_000);
    metrics.words.count(FourLetterWord::Mntr);
    metrics.namespaces.write(b"/q/a", 50);
    metrics.namespaces.quota_exceeded(b"/q/a");
    [70, 16, 20].into_iter().for_each(|bytes| metrics.client_response_size.record(0, bytes));
    status
}

fn page(status: &Status) -> String {
    Exporter::default().render(status, 0, &[])
}

/// A family on a page: its type, and for each of its samples' names the labels of each.
type Shape = (String, BTreeMap<String, BTreeSet<String>>);

fn shapes(page: &str) -> BTreeMap<String, Shape> {
    let mut families: BTreeMap<String, Shape> = BTreeMap::new();
    let mut family = String::new();
    for line in page.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("name and type");
            let is_new = families.insert(name.to_owned(), (kind.to_owned(), BTreeMap::new())).is_none();
            assert!(is_new, "{name} twice");
            family = name.to_owned();
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').expect("sample and value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            let labels = labels.strip_suffix('}').expect("labels end");
            let is_quantile = |label: &&str| label.starts_with("quantile=");
            let shown = labels.split_terminator(',').map(|label| match label {
                label if is_quantile(&label) => label.replace('"', ""),
                label => label.split('=').next().expect("a label's name").to_owned(),
            });
            let shown = shown.collect::<Vec<_>>().join(",");
            let samples = &mut families.get_mut(&family).expect("a family's sample").1;
            samples.entry(name.to_owned()).or_default().insert(shown);
        }
    }
    families
}

/// Every name of a sample on the page.
fn sample_names(page: &str) -> BTreeSet<&str> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().expect("a name")).collect()
}

/// What the pages of documentation list as left out.
fn left_out() -> BTreeSet<&'static str> {
    let rows = |page: &'static str, heading: &str| {
        let section = page.split_once(heading).expect("a section of the page").1;
        let section = section.split("\n## ").next().expect("its text");
        section.lines().filter(|line| line.starts_with("| `"))
    };
    let all = rows(WORDS_PAGE, "\n## Names left out\n").chain(rows(METRICS_PAGE, "\n## Left out\n"));
    all.flat_map(|row| row.split('|').nth(1).expect("a first column").split('`').skip(1).step_by(2)).collect()
}

/// A page has the families of a 3.9.4 in the same role with their types, labels and quantiles, except for those that the
/// pages list as left out. What is not there begins with `zkfast_` or `process_`.
#[test]
fn families_are_zookeepers() {
    let never = ["unrecoverable_error_count", "tls_handshake_exceeded", "large_requests_rejected"];
    let mut left_out = left_out();
    assert!(left_out.len() > 50, "the tables are found");
    never.iter().for_each(|name| _ = left_out.remove(name));
    let leader = leader();
    for (mode, is_member) in
        [(Mode::Standalone, false), (Mode::Leader, true), (Mode::Follower, true), (Mode::Observer, true)]
    {
        let leading = leader.leader.filter(|_| mode == Mode::Leader);
        let quorum_size = leader.quorum_size.filter(|_| is_member);
        let mut own = shapes(&page(&Status { mode, leader: leading, quorum_size, ..leader.clone() }));
        let mut compared = 0;
        for line in ZOOKEEPERS.lines() {
            let mut words = line.split(' ');
            let (who, kind, name) = (words.next(), words.next(), words.next());
            let (Some(who), Some(kind), Some(name)) = (who, kind, name) else { panic!("{line}") };
            if who != "all" && !who.split(',').any(|who| who == mode.name()) || left_out.contains(name) {
                continue;
            }
            let (own_kind, samples) =
                own.remove(name).unwrap_or_else(|| panic!("{mode:?}: {name} is missing"));
            assert_eq!(own_kind, kind, "{mode:?}: {name}");
            let theirs: BTreeSet<String> = words.map(str::to_owned).collect();
            let ours: BTreeSet<String> = samples
                .iter()
                .flat_map(|(sample, labels)| {
                    labels.iter().map(|label| format!("{}{{{label}}}", &sample[name.len()..]))
                })
                .collect();
            assert_eq!(ours, theirs, "{mode:?}: {name}");
            compared += 1;
        }
        assert!(compared > 80, "{mode:?}: {compared}");
        let foreign: Vec<&String> =
            own.keys().filter(|name| !name.starts_with("zkfast_") && !name.starts_with("process_")).collect();
        assert_eq!(foreign, [""; 0], "{mode:?}");
    }
}

/// Times are milliseconds, quantiles are right to a bucket, whole numbers have a point.
#[test]
fn zookeepers_values() {
    let page = page(&leader());
    let lines: BTreeSet<&str> = page.lines().collect();
    for expected in [
        "# HELP fsynctime fsynctime",
        "# TYPE fsynctime summary",
        "fsynctime_count 3.0",
        "fsynctime_sum 13.945",
        "fsynctime{quantile=\"0.5\",} 1.535",
        "readlatency{quantile=\"0.99\",} 10.0",
        "readlatency_count 100.0",
        "readlatency_sum 505.0",
        "updatelatency_sum 20000.0",
        "election_time{quantile=\"0.5\",} NaN",
        "sync_processor_batch_size_sum 32.0",
        "stale_sessions_expired 3.0",
        "# TYPE auth_failed_count gauge",
        "auth_failed_count 2.0",
        "packets_received 12345678.0",
        "znode_count 8.0",
        "uptime 31560.0",
        "quorum_size 3.0",
        "synced_followers 2.0",
        "last_client_response_size 20.0",
        "min_proposal_size -1.0",
        "write_per_namespace{key=\"q\",quantile=\"0.5\",} 54.0",
        "write_per_namespace_count{key=\"q\",} 1.0",
        "quota_bytes_limit_per_namespace{key=\"q\",} -1.0",
        "quota_exceeded_error_per_namespace{key=\"q\",} 1.0",
    ] {
        assert!(lines.contains(expected), "{expected} is not in\n{page}");
    }
    assert!(!sample_names(&page).contains("fsync_threshold_exceed_count"), "no family of ZooKeeper's");
}

/// Histograms are in seconds and count every value in its bucket; each part of the server has its series.
#[test]
fn own_values() {
    let page = page(&leader());
    let lines: BTreeSet<&str> = page.lines().collect();
    for expected in [
        concat!("zkfast_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",zookeeper=\"3.9.4\",} 1.0"),
        "zkfast_serving 1.0",
        "zkfast_role{role=\"leader\",} 1.0",
        "zkfast_role{role=\"follower\",} 0.0",
        "zkfast_epoch 7.0",
        "zkfast_epoch_txns 4711.0",
        "zkfast_certificate_expiry_timestamp_seconds 1800000000.0",
        "# TYPE zkfast_request_duration_seconds histogram",
        "zkfast_request_duration_seconds_bucket{operation=\"getData\",le=\"0.000064\",} 0.0",
        "zkfast_request_duration_seconds_bucket{operation=\"getData\",le=\"0.000128\",} 1.0",
        "zkfast_request_duration_seconds_bucket{operation=\"getData\",le=\"0.001024\",} 10.0",
        "zkfast_request_duration_seconds_bucket{operation=\"getData\",le=\"+Inf\",} 100.0",
        "zkfast_request_duration_seconds_count{operation=\"getData\",} 100.0",
        "zkfast_request_duration_seconds_sum{operation=\"getData\",} 0.505",
        "zkfast_request_duration_seconds_bucket{operation=\"setData\",le=\"16.777216\",} 0.0",
        "zkfast_request_duration_seconds_bucket{operation=\"setData\",le=\"+Inf\",} 1.0",
        "zkfast_write_stage_duration_seconds_count{stage=\"quorum\",} 0.0",
        "zkfast_fsync_duration_seconds_bucket{le=\"0.002048\",} 2.0",
        "zkfast_fsync_duration_seconds_sum 0.013945",
        "zkfast_fsync_slow_total 1.0",
        "zkfast_commit_group_txns_bucket{le=\"1\",} 1.0",
        "zkfast_commit_group_txns_bucket{le=\"15\",} 2.0",
        "zkfast_commit_group_txns_bucket{le=\"31\",} 3.0",
        "zkfast_four_letter_words_total{word=\"mntr\",} 1.0",
        "zkfast_http_requests_total{command=\"ruok\",} 5.0",
        "zkfast_view_requests_total{view=\"0\",} 90.0",
        "zkfast_view_connections{view=\"1\",} 0.0",
        "zkfast_thread_cpu_seconds_total{thread=\"zkfast-commit\",} 0.25",
        "process_cpu_seconds_total 12.5",
    ] {
        assert!(lines.contains(expected), "{expected} is not in\n{page}");
    }
    assert!(!page.contains("operation=\"ping\""), "an operation that no client asked for");
    let without = self::page(&Status { process: None, ..leader() });
    assert!(!without.contains("\nprocess_") && !without.contains("\nzkfast_thread"), "{without}");
}

/// `srst` sets back what Java sets back, and no counter, summary or histogram.
#[test]
fn reset() {
    let mut status = leader();
    let before = page(&status);
    status.metrics.reset();
    let after = page(&status);
    let changed: Vec<&str> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(before, _)| before.split(' ').next().expect("a name"))
        .collect();
    let sizes = ["last_client_response_size", "min_client_response_size", "max_client_response_size"];
    assert_eq!(changed, [&sizes[..], &["auth_failed_count"]].concat());
}

/// A server that does not serve has counters and summaries, and says that it does not serve.
#[test]
fn not_serving() {
    let page = page(&Status { serving: false, ..leader() });
    let names = sample_names(&page);
    for name in ["fsynctime_count", "looking_count", "zkfast_fsync_slow_total", "process_cpu_seconds_total"] {
        assert!(names.contains(name), "{name}");
    }
    for name in ["znode_count", "quorum_size", "learners", "zkfast_epoch_txns", "zkfast_view_connections"] {
        assert!(!names.contains(name), "{name}");
    }
    assert!(page.contains("\nzkfast_serving 0.0\n") && !page.contains("zkfast_role{role=\"leader\",} 1.0"));
}

/// Samples that are asked for by name come alone, each with the head of its family. So it is on a 3.9.4.
#[test]
fn by_name() {
    let names = ["znode_count", "readlatency_sum", "none"].map(str::to_owned);
    let page = Exporter::default().render(&leader(), 0, &names);
    let expected = "# HELP znode_count znode_count\n# TYPE znode_count gauge\nznode_count 8.0\n\
                    # HELP readlatency readlatency\n# TYPE readlatency summary\nreadlatency_sum 505.0\n";
    assert_eq!(page, expected);
}

/// The page of documentation has each family with its type, unit and meaning, and no other.
#[test]
fn documentation_is_current() {
    let [zookeepers, own] = metrics_as_markdown();
    for (heading, table) in [("## Table of ZooKeeper's\n\n", zookeepers), ("## Table of zkfast's\n\n", own)] {
        let section = METRICS_PAGE.split_once(heading).expect("a section").1;
        let current = section.split("\n\n").next().expect("a table");
        assert_eq!(
            current,
            table.trim_end(),
            "replace the table after {heading:?} of src/docs/metrics.md by:\n{table}"
        );
    }
    let described: BTreeSet<String> = metrics_as_markdown()
        .iter()
        .flat_map(|table| table.lines().skip(2))
        .map(|row| row.split('`').nth(1).expect("a name").to_owned())
        .collect();
    assert_eq!(shapes(&page(&leader())).into_keys().collect::<BTreeSet<_>>(), described);
}

/// zkfast's own names follow Prometheus's rules: base units, `_total` on counters and on nothing else.
#[test]
fn own_names_follow_the_rules() {
    for (name, (kind, _)) in shapes(&page(&leader())) {
        if name.starts_with("zkfast_") {
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            let is_foreign = ["_ms", "_us", "_milliseconds", "_count", "_sum", "_bucket"];
            assert!(!is_foreign.iter().any(|end| name.ends_with(end)), "{name}");
        }
    }
}

/// Words of PromQL that stand where a metric may stand.
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
const AGGREGATORS: [&str; 5] = ["sum", "max", "min", "avg", "count"];
/// Words after which a list of labels may stand.
const CLAUSES: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The metrics that an expression of PromQL names.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let after = |text: &str, end: char| text.find(end).map_or(text.len(), |at| at + end.len_utf8());
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_:.$".contains(c);
        if first == '{' || first == '[' {
            let (mut is_quoted, close) = (false, if first == '{' { '}' } else { ']' });
            let end = rest.find(|c: char| {
                is_quoted ^= c == '"';
                !is_quoted && c == close
            });
            rest = &rest[end.expect("an end of the selector") + 1..];
        } else if is_word(first) {
            let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(length);
            rest = tail.trim_start();
            let is_call = rest.starts_with('(');
            if CLAUSES.contains(&word) {
                rest = if is_call { &rest[after(rest, ')')..] } else { rest };
            } else if !(is_call
                || first.is_ascii_digit()
                || OPERATORS.contains(&word)
                || AGGREGATORS.contains(&word))
            {
                found.insert(word.to_owned());
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// The scanner finds metrics, and nothing else that looks like them.
#[test]
fn metrics_of_an_expression() {
    let found = |expression| metrics_of(expression).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("(max by (job) (a) - on (job) group_right b{x=~\"c}|d\"}) > 4e9"), "a b");
    assert_eq!(
        found("histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m]))) > 0.1 and b > 2"),
        "a_bucket b"
    );
    assert_eq!(found("max(a{job=\"$job\"}[$__rate_interval]) - a / count by (x) (b:c)"), "a b:c");
}

/// The alert rules and the dashboard name only metrics that are on the page.
#[test]
fn rules_and_dashboard_name_what_is_there() {
    let rules = RULES.split("expr: ").skip(1).map(|rest| {
        // An expression of several lines is indented deeper than its key.
        let lines = rest.lines().enumerate();
        let own = lines.take_while(|(at, line)| *at == 0 || line.starts_with("          "));
        own.map(|(_, line)| line.trim_start_matches('|')).collect::<Vec<_>>().join("\n")
    });
    let dashboard = DASHBOARD.split("\"expr\": \"").skip(1).map(|rest| {
        let mut end = rest.find('"').expect("an end of the text");
        while rest[..end].ends_with('\\') {
            end += 1 + rest[end + 1..].find('"').expect("an end of the text");
        }
        rest[..end].replace("\\\"", "\"")
    });
    let page = page(&leader());
    let known = sample_names(&page);
    let (mut expressions, mut wrong) = (0, Vec::new());
    for expression in rules.chain(dashboard) {
        let named = metrics_of(&expression);
        assert!(!named.is_empty(), "{expression}");
        // `up` is Prometheus's own.
        wrong.extend(named.into_iter().filter(|name| name != "up" && !known.contains(name.as_str())));
        expressions += 1;
    }
    assert_eq!(wrong, [""; 0]);
    assert!(expressions > 60, "{expressions} expressions are found");
}

/// What rules and dashboards for ZooKeeper name is on the page: ZooKeeper's own sample rules but for those of the JVM
/// (`zookeeperMonitor.md`), and what Grafana's dashboards for it read.
#[test]
fn stock_rules_find_their_metrics() {
    let sample_rules = "znode_count num_alive_connections approximate_data_size watch_count election_time_count \
        open_file_descriptor_count fsynctime_sum snapshottime_sum avg_latency";
    let dashboards = "ephemerals_count outstanding_requests max_latency min_latency packets_received packets_sent \
        max_file_descriptor_count uptime global_sessions local_sessions quorum_size learners synced_followers \
        synced_observers pending_syncs leader_uptime election_time_sum fsynctime_count snapshottime_count dbinittime_sum \
        readlatency_count readlatency_sum readlatency updatelatency updatelatency_sum propagation_latency_count \
        proposal_count commit_count diff_count snap_count looking_count connection_rejected connection_drop_count \
        stale_sessions_expired digest_mismatches_count unrecoverable_error_count tls_handshake_exceeded \
        large_requests_rejected bytes_received_count response_bytes";
    let page = page(&leader());
    let known = sample_names(&page);
    let all = sample_rules.split_whitespace().chain(dashboards.split_whitespace());
    let missing: Vec<&str> = all.filter(|name| !known.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
}
