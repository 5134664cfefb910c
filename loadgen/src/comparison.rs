//! Two services under the same load in turn, and what their rounds come to.

use crate::machine::Machine;
use crate::outcome::{Class, Outcome, ServerUse};
use crate::service::Service;
use crate::spread::Spread;
use serde::{Deserialize, Serialize};

/// The record of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// Kind of the record: `compare`.
    pub what: String,
    /// The side that is divided by.
    pub a: Side,
    /// The side that is divided.
    pub b: Side,
    /// One row per quantity that both sides tell.
    pub metrics: Vec<Row>,
    /// As they were run.
    pub rounds: Vec<Round>,
    /// Where.
    pub machine: Machine,
}

/// One of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// `host:port` of each server, with commas.
    pub servers: String,
    /// What the first says it is.
    pub version: String,
    /// How it was started; empty where it ran already.
    pub command: String,
    /// What it was told; empty where it ran already.
    pub config: String,
}

impl Side {
    /// A service under a name.
    pub fn of(name: &str, service: &Service) -> Self {
        Self {
            name: name.to_owned(),
            servers: service.addresses.join(","),
            version: service.version.clone(),
            command: service.command.clone(),
            config: service.config.clone(),
        }
    }
}

/// One run on each side, right after each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Round {
    /// Which side had its turn first: `a` or `b`.
    pub first: String,
    /// What came of it.
    pub a: Outcome,
    /// Likewise.
    pub b: Outcome,
}

/// One quantity on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its key in the record of a run.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// How its figures are written.
    pub unit: Unit,
    /// What one hopes for.
    pub better: Better,
    /// Over the rounds of `a`.
    pub a: Spread,
    /// Over the rounds of `b`.
    pub b: Spread,
    /// Of `b / a`, taken inside each round; null where a round has nothing to divide by.
    pub ratio: Option<Spread>,
}

/// How figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A number.
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
            Self::Plain => crate::number::plain(value),
            Self::Us => crate::number::time(value),
            Self::Bytes => crate::number::bytes(value),
        }
    }
}

/// What one hopes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The greater the better.
    More,
    /// The less the better.
    Less,
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The side that is divided by.
    A,
    /// The side that is divided.
    B,
}

/// Runs `count` rounds: `measure` is told the side and the number of the round. Who has the first turn
/// changes from round to round, so that a drift of the machine is to nobody's advantage.
pub fn rounds<E>(
    count: u64,
    mut measure: impl FnMut(Which, u64) -> Result<Outcome, E>,
) -> Result<Vec<Round>, E> {
    let mut round = |number: u64| {
        if number.is_multiple_of(2) {
            let a = measure(Which::A, number)?;
            Ok(Round { first: "a".to_owned(), a, b: measure(Which::B, number)? })
        } else {
            let b = measure(Which::B, number)?;
            Ok(Round { first: "b".to_owned(), a: measure(Which::A, number)?, b })
        }
    };
    (0..count).map(&mut round).collect()
}

type Of = fn(&Outcome) -> Option<f64>;

/// The quantities, in the order in which they are shown.
const METRICS: [(&str, &str, Unit, Better, Of); 22] = {
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

/// Of one kind of requests, where there is another one: it is told with all of them else.
fn class(outcome: &Outcome, class: &Option<Class>, of: fn(&Class) -> f64) -> Option<f64> {
    (outcome.read.is_some() && outcome.write.is_some()).then_some(class.as_ref().map(of)).flatten()
}

fn server(outcome: &Outcome, of: fn(&ServerUse) -> f64) -> Option<f64> {
    outcome.server.as_ref().map(of)
}

/// What the rounds come to. A quantity that a side does not tell in every round has no row, nor has one that is nothing
/// on both sides.
pub fn rows(rounds: &[Round]) -> Vec<Row> {
    let row = |&(key, name, unit, better, of): &(&str, &str, Unit, Better, Of)| {
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
                    [ratio.median, ratio.least, ratio.greatest].map(crate::number::ratio);
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
    use crate::outcome::Latency;

    fn outcome(ops_per_s: f64, p99_us: f64) -> Outcome {
        let latency = Latency { p99_us, ..Latency::default() };
        Outcome { ops: 100, ops_per_s, latency, ..Outcome::default() }
    }

    /// Sides change who is first, both get the same round's number, and a failure ends it all.
    #[test]
    fn turns() {
        let mut turns = Vec::new();
        let found = rounds(3, |side, number| {
            turns.push((side, number));
            Ok::<_, ()>(outcome(if side == Which::A { 1.0 } else { 2.0 }, 0.0))
        });
        let found = found.expect("no failure");
        use Which::{A, B};
        assert_eq!(turns, [(A, 0), (B, 0), (B, 1), (A, 1), (A, 2), (B, 2)]);
        assert!(found.iter().all(|round| round.a.ops_per_s == 1.0 && round.b.ops_per_s == 2.0));
        assert_eq!(found.iter().map(|round| round.first.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
        assert_eq!(
            rounds(9, |_, number| if number == 1 { Err("no") } else { Ok(Outcome::default()) }),
            Err("no")
        );
    }

    /// Rows hold medians and the ratios of rounds; what one side does not tell is no row, nor is what neither has, but
    /// errors that only one has are one.
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
        let ops = row("ops_per_s").expect("always told");
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
