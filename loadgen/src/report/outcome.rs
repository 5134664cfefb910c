//! The record of one run. Table, JSON and page are made from it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run. Its JSON is one flat object with the lists at its end; unknown fields are null or absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Kind of the record: `load`.
    pub what: String,
    /// The workload, for people.
    pub workload: String,
    /// `host:port` of each server, separated by commas.
    pub servers: String,
    /// Sessions; in a connect storm those that are being opened at once.
    pub connections: u64,
    /// Units of work in flight per session: always (closed loop) or at most (open loop).
    pub in_flight: u64,
    /// Threads of loadgen.
    pub threads: u64,
    /// The least bytes of a value.
    pub value_bytes: u64,
    /// The most bytes of a value.
    pub value_bytes_max: u64,
    /// Znodes that are read and written.
    pub keys: u64,
    /// How often each of them is used: `uniform`, or `zipf` with its exponent.
    pub distribution: String,
    /// Seed of keys, mix, values and arrivals.
    pub seed: u64,
    /// Arrivals per second of an open loop; none in a closed loop.
    pub rate: Option<f64>,
    /// Measured time, in seconds.
    pub seconds: f64,
    /// Measured units of work: requests, acquisitions of a lock, sessions of a connect storm, or events of a fan-out.
    pub ops: u64,
    /// Units of work that count in `read`.
    pub reads: u64,
    /// Units of work per second.
    pub ops_per_s: f64,
    /// Latency of all units; in a fan-out, that of the last event of each change.
    #[serde(flatten)]
    pub latency: Latency,
    /// Reads alone; null if there were none.
    pub read: Option<ClassOutcome>,
    /// Writes alone; null if there were none.
    pub write: Option<ClassOutcome>,
    /// What went wrong.
    #[serde(flatten)]
    pub trouble: Trouble,
    /// How long the oldest unsent arrival of an open loop had waited at the end, in milliseconds.
    pub behind_ms: f64,
    /// Arrivals of an open loop that found no room by the end and were not sent.
    #[serde(default)]
    pub unsent: u64,
    /// The most milliseconds by which loadgen itself was late to send a request of an open loop that had room.
    #[serde(default)]
    pub late_ms: f64,
    /// The 99th percentile of these delays, in milliseconds.
    #[serde(default)]
    pub late_p99_ms: f64,
    /// What took longer than `--slow-ms`; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// CPU time of loadgen itself.
    pub client_cpu_us_per_op: f64,
    /// What the servers used; absent if their processes are unknown.
    #[serde(flatten)]
    pub server: Option<ServerUse>,
    /// How often the servers flushed their logs, by `zk_cnt_fsynctime` of `mntr`; absent if a server does not report
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_fsyncs: Option<u64>,
    /// Second by second.
    pub series: Series,
    /// Latency by percentile.
    pub curve: Curve,
}

/// Above this share of its threads' CPU time, loadgen itself limits what is measured.
const BUSY: f64 = 0.85;

impl Outcome {
    /// Cores that loadgen itself used.
    pub fn client_cores(&self) -> f64 {
        self.client_cpu_us_per_op * self.ops_per_s / 1e6
    }

    /// What a reader must know before trusting the figures, one sentence each.
    pub fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        if self.unsent > 0 {
            cautions.push(format!(
                "{} requests had arrived and were not sent at the end, the oldest {:.0} ms before: the servers did not \
                 reach the rate, and latencies are those of the requests that were sent",
                self.unsent, self.behind_ms
            ));
        }
        let cores = self.client_cores();
        if cores >= BUSY * self.threads.max(1) as f64 {
            cautions.push(format!(
                "loadgen used {cores:.2} cores with {} thread(s): it was the limit itself; more --threads show more of \
                 the server",
                self.threads
            ));
        }
        cautions
    }
}

/// What went wrong in a run, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// Replies that no correct server sends.
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: Option<String>,
    /// Replies by error code with which a correct server says that it could not serve, such as `SessionExpired`.
    pub errors: BTreeMap<String, u64>,
    /// Requests whose connection ended before their reply.
    pub lost: u64,
    /// Connections that were opened again after they had ended.
    pub reconnects: u64,
    /// Sessions that had expired when their connections were opened again.
    pub expired: u64,
    /// Requests without a reply on connections that did not end.
    pub unanswered: u64,
}

impl Trouble {
    /// Adds the counts of another thread.
    pub fn add(&mut self, other: &Self) {
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or_else(|| other.first_wrong.clone());
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.lost += other.lost;
        self.reconnects += other.reconnects;
        self.expired += other.expired;
        self.unanswered += other.unanswered;
    }
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // names say it
pub struct Latency {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    pub mean_us: f64,
}

impl Latency {
    /// Quantiles of latencies in nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(histogram.max()),
            mean_us: rounded(histogram.mean() / 1e3),
        }
    }
}

/// Operations that took longer than a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// The limit, in milliseconds.
    pub limit_ms: u32,
    /// Reads among them.
    pub reads: u64,
    /// Writes among them.
    pub writes: u64,
}

impl Slow {
    /// Those among latencies in nanoseconds.
    pub fn of(limit_ms: u32, reads: &Histogram<u64>, writes: &Histogram<u64>) -> Self {
        let from = u64::from(limit_ms) * 1_000_000;
        let over = |histogram: &Histogram<u64>| histogram.len() - histogram.count_between(0, from);
        Self { limit_ms, reads: over(reads), writes: over(writes) }
    }
}

/// Operations of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassOutcome {
    /// Their name: `read`, `write`, `list`, `acquire`, `connect`, `event`, `last event`.
    pub name: String,
    /// Number of measured operations.
    pub ops: u64,
    /// Operations per second.
    pub ops_per_s: f64,
    /// Their latency.
    #[serde(flatten)]
    pub latency: Latency,
}

impl ClassOutcome {
    /// The record of latencies in nanoseconds that were measured in `seconds`; `None` if there are none.
    pub fn of(name: &str, histogram: &Histogram<u64>, seconds: f64) -> Option<Self> {
        let ops = histogram.len();
        let ops_per_s = rounded(ops as f64 / seconds);
        let class = Self { name: name.to_owned(), ops, ops_per_s, latency: Latency::of(histogram) };
        (ops > 0).then_some(class)
    }
}

/// What the processes of the servers used, all together, from `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// CPU time.
    pub server_cpu_us_per_op: f64,
    /// CPU time in user mode.
    pub server_user_us_per_op: f64,
    /// CPU time in the kernel.
    pub server_sys_us_per_op: f64,
    /// CPU time per measured time: cores in use.
    pub server_cores: f64,
    /// Voluntary context switches: the thread waited.
    pub server_voluntary_switches_per_op: f64,
    /// Involuntary context switches: the kernel gave the CPU to another thread.
    pub server_involuntary_switches_per_op: f64,
    /// Bytes that went to the block layer.
    pub server_write_bytes_per_op: f64,
    /// Resident memory at the end, in bytes.
    pub server_rss_bytes: u64,
}

/// Lists with one value per second of measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// End of the second, in seconds since measuring began. The last one may be shorter than the rest.
    pub at_s: Vec<f64>,
    /// All operations.
    pub all: Band,
    /// Reads.
    pub read: Band,
    /// Writes.
    pub write: Band,
    /// Requests whose connection ended before their reply.
    pub lost: Vec<u64>,
}

/// Throughput and latency over time. A second without an operation has latencies of 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // names say it
pub struct Band {
    pub ops_per_s: Vec<f64>,
    pub p50_us: Vec<f64>,
    pub p99_us: Vec<f64>,
    pub max_us: Vec<f64>,
}

/// Points of the latency curve: percentile (0 to 100, closer together towards 100) and microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Reads; empty if there were none.
    pub read: Vec<(f64, f64)>,
    /// Writes; empty if there were none.
    pub write: Vec<(f64, f64)>,
}

/// Points of a curve between each percentile and the one at half its distance to 100 %.
const POINTS_PER_HALVING: u32 = 5;

impl Curve {
    /// The points of one histogram of nanoseconds.
    pub fn points(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for step in histogram.iter_quantiles(POINTS_PER_HALVING) {
            let percentile = (step.quantile_iterated_to() * 100.0).min(100.0);
            // After the last value the iterator repeats itself.
            if points.last().is_none_or(|(last, _)| *last < percentile) {
                points.push((percentile, us(step.value_iterated_to().min(histogram.max()))));
            }
        }
        points
    }
}

/// Nanoseconds as microseconds.
pub fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Rounds to four decimals, which is more than any figure here has; 0 for what is not a finite number.
pub fn rounded(number: f64) -> f64 {
    if number.is_finite() { (number * 1e4).round() / 1e4 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record that is written and read again is the same, with and without the fields that may be absent.
    #[test]
    fn json_round_trip() {
        let mut outcome = Outcome { workload: "a \"mix\"".to_owned(), ..Outcome::default() };
        for server in [None, Some(ServerUse { server_rss_bytes: 7, ..ServerUse::default() })] {
            outcome.server = server;
            outcome.server_fsyncs = server.map(|_| 3);
            let json = serde_json::to_string(&outcome).expect("plain data");
            assert_eq!(json.contains("server_cpu_us_per_op"), server.is_some());
            assert!(json.contains("\"p99_us\":0.0") && json.contains("\"rate\":null"), "{json}");
            assert_eq!(serde_json::from_str::<Outcome>(&json).expect("what was written"), outcome);
        }
    }

    /// The curve rises in both directions and ends at the greatest latency.
    #[test]
    fn curve_rises() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).expect("bounds that fit");
        for ns in 1..=10_000u64 {
            histogram.record(ns * 10).expect("within the bounds");
        }
        let points = Curve::points(&histogram);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{points:?}");
        assert_eq!(points.last().map(|last| last.0), Some(100.0));
        assert!((points.last().expect("a point").1 - 100.0).abs() < 0.1);
        assert!(points.len() > 40 && points.len() < 200, "{}", points.len());
        assert_eq!(Curve::points(&Histogram::new(3).expect("a histogram")), []);
    }
}
