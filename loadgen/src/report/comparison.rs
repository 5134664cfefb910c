//! The record of a comparison: two services under the same load in turn.

use crate::report::format;
use crate::report::machine::Machine;
use crate::report::outcome::{ClassOutcome, Outcome, ServerUse};
use crate::report::rounds::Spread;
use serde::{Deserialize, Serialize};

/// The record of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// Kind of the record: `compare`.
    pub what: String,
    /// The first side: the denominator of the ratios.
    pub a: Side,
    /// The second side: the numerator of the ratios.
    pub b: Side,
    /// One row per quantity that both sides have.
    pub metrics: Vec<Row>,
    /// The rounds in their order.
    pub rounds: Vec<Round>,
    /// The machine, and the command.
    pub machine: Machine,
}

/// One of the two services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Side {
    /// Its name in the results.
    pub name: String,
    /// `host:port` of each server, separated by commas.
    pub servers: String,
    /// Version of the first server, by `srvr`.
    pub version: String,
    /// Command line of the first server; empty if it ran already.
    pub command: String,
    /// Configuration of the first server; empty if it ran already.
    pub config: String,
}

/// One run on each side, one directly after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Round {
    /// The side that began: `a` or `b`.
    pub first: String,
    /// The run on the first side.
    pub a: Outcome,
    /// The run on the second side.
    pub b: Outcome,
}

/// One quantity on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its field in the record of a run.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: Unit,
    /// Which values are better.
    pub better: Better,
    /// Its values in the rounds of `a`.
    pub a: Spread,
    /// Its values in the rounds of `b`.
    pub b: Spread,
    /// `b / a`, taken within each round; null if `a` is 0 in a round.
    pub ratio: Option<Spread>,
}

/// Units of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A number without a unit.
    Plain,
    /// Microseconds.
    Us,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// A figure with its unit.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Plain => format::plain(value),
            Self::Us => format::time(value),
            Self::Bytes => format::bytes(value),
        }
    }
}

/// Which values of a quantity are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Greater ones.
    More,
    /// Smaller ones.
    Less,
}

type Value = fn(&Outcome) -> Option<f64>;

/// The quantities, in the order in which they are shown.
const METRICS: [(&str, &str, Unit, Better, Value); 22] = {
    use Better::{Less, More};
    use Unit::{Bytes, Plain, Us};
    [
        ("ops_per_s", "operations/s", Plain, More, |o| Some(o.ops_per_s)),
        ("p50_us", "p50", Us, Less, |o| Some(o.latency.p50_us)),
        ("p90_us", "p90", Us, Less, |o| Some(o.latency.p90_us)),
        ("p99_us", "p99", Us, Less, |o| Some(o.latency.p99_us)),
        ("p999_us", "p99.9", Us, Less, |o| Some(o.latency.p999_us)),
        ("max_us", "max", Us, Less, |o| Some(o.latency.max_us)),
        ("read.p50_us", "read p50", Us, Less, |o| class(o, &o.read, |class| class.latency.p50_us)),
        ("read.p99_us", "read p99", Us, Less, |o| class(o, &o.read, |class| class.latency.p99_us)),
        ("write.p50_us", "write p50", Us, Less, |o| class(o, &o.write, |class| class.latency.p50_us)),
        ("write.p99_us", "write p99", Us, Less, |o| class(o, &o.write, |class| class.latency.p99_us)),
        ("server_cpu_us_per_op", "server CPU/op", Us, Less, |o| server(o, |s| s.server_cpu_us_per_op)),
        ("server_user_us_per_op", "of it user mode", Us, Less, |o| server(o, |s| s.server_user_us_per_op)),
        ("server_sys_us_per_op", "of it kernel", Us, Less, |o| server(o, |s| s.server_sys_us_per_op)),
        ("server_voluntary_switches_per_op", "context switches/op", Plain, Less, |o| {
            server(o, |s| s.server_voluntary_switches_per_op)
        }),
        ("server_write_bytes_per_op", "bytes written/op", Plain, Less, |o| {
            server(o, |s| s.server_write_bytes_per_op)
        }),
        ("server_fsyncs_per_op", "fsyncs/op", Plain, Less, |o| {
            o.server_fsyncs.map(|fsyncs| fsyncs as f64 / o.ops as f64)
        }),
        ("server_rss_bytes", "resident memory", Bytes, Less, |o| server(o, |s| s.server_rss_bytes as f64)),
        ("errors", "errors and lost", Plain, Less, |o| {
            Some((o.trouble.errors.values().sum::<u64>() + o.trouble.lost) as f64)
        }),
        ("unsent", "arrived, not sent", Plain, Less, |o| Some(o.unsent as f64)),
        ("late_p99_us", "loadgen late, p99", Us, Less, |o| o.rate.map(|_| o.late_p99_ms * 1e3)),
        ("client_cores", "loadgen's cores", Plain, Less, |o| Some(o.client_cores())),
        ("client_cpu_us_per_op", "loadgen's CPU/op", Us, Less, |o| Some(o.client_cpu_us_per_op)),
    ]
};

/// A value of one class, if the run has the other class too; otherwise the row of all requests has it already.
fn class(outcome: &Outcome, class: &Option<ClassOutcome>, of: fn(&ClassOutcome) -> f64) -> Option<f64> {
    (outcome.read.is_some() && outcome.write.is_some()).then_some(class.as_ref().map(of)).flatten()
}

fn server(outcome: &Outcome, of: fn(&ServerUse) -> f64) -> Option<f64> {
    outcome.server.as_ref().map(of)
}

/// One row per quantity. A quantity that a side lacks in a round has no row, nor has one that is 0 in all rounds.
pub fn rows(rounds: &[Round]) -> Vec<Row> {
    let row = |&(key, name, unit, better, of): &(&str, &str, Unit, Better, Value)| {
        let of_all = |side: fn(&Round) -> &Outcome| {
            rounds
                .iter()
                .map(|round| of(side(round)).filter(|value| value.is_finite()))
                .collect::<Option<Vec<f64>>>()
        };
        let (a, b) = (of_all(|round| &round.a)?, of_all(|round| &round.b)?);
        if a.iter().chain(&b).all(|value| *value == 0.0) {
            return None;
        }
        let (key, name) = (key.to_owned(), name.to_owned());
        let ratio = Spread::of_ratios(&a, &b);
        Some(Row { key, name, unit, better, a: Spread::of(&a)?, b: Spread::of(&b)?, ratio })
    };
    METRICS.iter().filter_map(row).collect()
}

impl Comparison {
    /// The table that is printed.
    pub fn table(&self) -> Vec<String> {
        let (a, b) = (&self.a.name, &self.b.name);
        let width = a.chars().count().max(b.chars().count()).max(12);
        let mut lines = vec![format!(
            "{:<20} {a:>width$} {b:>width$}   {b} / {a} (least to greatest of a round)",
            "median of rounds"
        )];
        for Row { name, unit, a, b, ratio, .. } in &self.metrics {
            let (a, b) = (unit.text(a.median), unit.text(b.median));
            let ratio = ratio.map_or_else(String::new, |ratio| {
                let [median, least, greatest] =
                    [ratio.median, ratio.least, ratio.greatest].map(format::ratio);
                format!("   {median} ({least} to {greatest})")
            });
            lines.push(format!("{name:<20} {a:>width$} {b:>width$}{ratio}"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::outcome::Latency;

    fn outcome(ops_per_s: f64, p99_us: f64) -> Outcome {
        let latency = Latency { p99_us, ..Latency::default() };
        Outcome { ops: 100, ops_per_s, latency, ..Outcome::default() }
    }

    /// Rows have medians and the ratios of rounds. A quantity that one side lacks, or that is 0 on both, has no row;
    /// errors of one side have one.
    #[test]
    fn rows_of_rounds() {
        let round = |a, b| Round { first: "a".to_owned(), a, b };
        let mut with_server = outcome(300.0, 5.0);
        with_server.server = Some(ServerUse::default());
        with_server.trouble.lost = 3;
        let rounds =
            [round(outcome(100.0, 10.0), with_server.clone()), round(outcome(50.0, 20.0), with_server)];
        let rows = rows(&rounds);
        let row = |key: &str| rows.iter().find(|row| row.key == key);
        let ops = row("ops_per_s").expect("always there");
        assert_eq!((ops.a.median, ops.b.median), (75.0, 300.0));
        assert_eq!(ops.ratio, Some(Spread { median: 4.5, least: 3.0, greatest: 6.0 }));
        assert_eq!(row("p99_us").and_then(|row| row.ratio).map(|ratio| ratio.greatest), Some(0.5));
        assert!(row("p50_us").is_none(), "nothing on both sides");
        let errors = row("errors").expect("one side has some");
        assert_eq!((errors.a.median, errors.b.median, errors.ratio), (0.0, 3.0, None));
        assert_eq!((row("server_rss_bytes"), row("read.p50_us")), (None, None));
        let a = Side { name: "ZooKeeper".to_owned(), ..Side::default() };
        let b = Side { name: "zkfast".to_owned(), ..Side::default() };
        let table = Comparison { a, b, metrics: rows, ..Comparison::default() }.table().join("\n");
        assert!(table.contains("zkfast / ZooKeeper (least to greatest"), "{table}");
        assert!(table.contains("75          300   4.500 (3.000 to 6.000)"), "{table}");
    }
}
