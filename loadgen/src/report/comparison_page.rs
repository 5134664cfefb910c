//! The page of a comparison.

use crate::report::comparison::{Better, Comparison, Round, Row, Side};
use crate::report::format::ratio;
use crate::report::load_page;
use crate::report::outcome::{ClassOutcome, Outcome};
use crate::report::page::{Card, Cell, Page, SameScale, Verdict};
use crate::report::plot::{Chart, Line, Tone};
use crate::report::rounds::Spread;

/// The page of a comparison.
pub fn page(found: &Comparison) -> Page {
    let (a, b) = (&found.a.name, &found.b.name);
    let workload = found.rounds.first().map_or("", |round| &round.a.workload);
    let mut page = Page::new(&format!("{b} and {a}: {workload}"), &lead(found));
    for round in &found.rounds {
        load_page::warnings(&mut page, &round.a, a);
        load_page::warnings(&mut page, &round.b, b);
    }
    page.cards(&cards(found));
    let of = format!("{b} / {a}");
    let headings = ["median of the rounds", a, b, &of, "least to greatest", "ratio, with a line at 1"];
    page.table(&headings, &table(&found.metrics));
    page.paragraph(
        "Ratios are taken within each round, when both services had the machine in the same state. Green: better in \
         every round; red: worse in every round; grey: the rounds disagree, or the ratio means nothing.",
    );
    page.heading("Over time");
    page.figures(&over_time(found), SameScale::No);
    let curves = curves(found);
    if !curves.is_empty() {
        page.heading("Latency by percentile");
        page.figures(&curves, SameScale::Yes);
    }
    let facts: Vec<_> = [&found.a, &found.b].into_iter().flat_map(side_facts).collect();
    load_page::ending(&mut page, &found.machine, &facts, found);
    page
}

fn lead(found: &Comparison) -> String {
    let Some(Round { a, .. }) = found.rounds.first() else { return String::new() };
    let both = Outcome { servers: format!("{} and {}", found.a.servers, found.b.servers), ..a.clone() };
    format!("{} rounds, both in turn: {}", found.rounds.len(), load_page::sentence(&both))
}

fn cards(found: &Comparison) -> Vec<Card> {
    let keys = ["ops_per_s", "p50_us", "p99_us", "p999_us", "server_cpu_us_per_op"];
    let rows = keys.iter().filter_map(|key| found.metrics.iter().find(|row| row.key == **key));
    let card = |row: &Row| {
        let spread = row.ratio?;
        Some(Card {
            label: row.name.clone(),
            value: format!("{} ×", three_digits(spread.median)),
            note: format!("{} instead of {}", row.unit.text(row.b.median), row.unit.text(row.a.median)),
        })
    };
    rows.filter_map(card).collect()
}

fn three_digits(value: f64) -> String {
    let digits = if value >= 10.0 {
        1
    } else if value >= 0.1 {
        2
    } else {
        3
    };
    format!("{value:.digits$}")
}

fn table(rows: &[Row]) -> Vec<Vec<Cell>> {
    // One logarithmic line for all rows, with 1 on it.
    let ends = rows.iter().filter_map(|row| row.ratio).filter(|ratio| ratio.least > 0.0);
    let (low, high) =
        ends.fold((0.5f64, 2.0f64), |(low, high), ratio| (low.min(ratio.least), high.max(ratio.greatest)));
    let at = |value: f64| (value.max(low) / low).ln() / (high / low).ln() * 0.96 + 0.02;
    let row = |row: &Row| {
        let mut cells = vec![
            Cell::Text(row.name.clone()),
            Cell::Number(row.unit.text(row.a.median)),
            Cell::Number(row.unit.text(row.b.median)),
        ];
        if let Some(Spread { median, least, greatest }) = row.ratio {
            cells.push(Cell::Strong(ratio(median)));
            cells.push(Cell::Number(format!("{} to {}", ratio(least), ratio(greatest))));
            cells.push(Cell::Range {
                least: at(least),
                median: at(median),
                greatest: at(greatest),
                mark: at(1.0),
                verdict: verdict(row),
            });
        } else {
            cells.extend([Cell::Number("–".into()), Cell::Number("–".into()), Cell::Text(String::new())]);
        }
        cells
    };
    rows.iter().map(row).collect()
}

/// The verdict of all rounds.
fn verdict(row: &Row) -> Verdict {
    let Some(ratio) = row.ratio else { return Verdict::Open };
    let (more, less) = (ratio.least > 1.0, ratio.greatest < 1.0);
    match row.better {
        Better::More if more => Verdict::Better,
        Better::More if less => Verdict::Worse,
        Better::Less if less => Verdict::Better,
        Better::Less if more => Verdict::Worse,
        _ => Verdict::Open,
    }
}

/// Picks one side of a round.
type SideOf = fn(&Round) -> &Outcome;

/// The rounds of each side one after the other, as if both sides had run at the same time.
fn over_time(found: &Comparison) -> Vec<(&'static str, &'static str, Chart)> {
    let sides: [(&Side, Tone, SideOf); 2] =
        [(&found.a, Tone::A, |round| &round.a), (&found.b, Tone::B, |round| &round.b)];
    let lines = |values: fn(&Outcome) -> &[f64], gap: bool| {
        let line = |(side, tone, of): (&Side, Tone, SideOf)| {
            let (mut points, mut offset) = (Vec::new(), 0.0);
            for outcome in found.rounds.iter().map(of) {
                let series = &outcome.series;
                if gap {
                    points.extend(load_page::latency_points(&series.at_s, values(outcome), offset));
                } else {
                    points.extend(
                        series.at_s.iter().zip(values(outcome)).map(|(at, value)| (at + offset, *value)),
                    );
                }
                // A line ends with its round.
                points.push((offset + outcome.seconds, f64::NAN));
                offset += outcome.seconds;
            }
            Line { name: side.name.clone(), tone, points }
        };
        sides.into_iter().map(line).collect::<Vec<_>>()
    };
    let latency = |values| Chart { x: load_page::SECONDS, y: load_page::LATENCY, lines: lines(values, true) };
    let throughput = Chart {
        x: load_page::SECONDS,
        y: load_page::PER_SECOND,
        lines: lines(|o| &o.series.all.ops_per_s, false),
    };
    let note = "Each piece of a line is a round; both services ran in turn.";
    vec![
        ("Throughput", note, throughput),
        ("Median latency", "", latency(|o| &o.series.all.p50_us)),
        ("p99 latency", "", latency(|o| &o.series.all.p99_us)),
        ("Slowest of each second", "", latency(|o| &o.series.all.max_us)),
    ]
}

type Points = [(f64, f64)];
type CurveKind = (&'static str, fn(&Outcome) -> &Points, fn(&Outcome) -> &Option<ClassOutcome>);

fn curves(found: &Comparison) -> Vec<(&'static str, &'static str, Chart)> {
    let kinds: [CurveKind; 2] =
        [("Reads", |o| &o.curve.read, |o| &o.read), ("Writes", |o| &o.curve.write, |o| &o.write)];
    let chart = |(title, points, class): CurveKind| {
        let line = |side: &Side, tone, of: SideOf| {
            let outcomes = || found.rounds.iter().map(of);
            let all: Vec<&Points> = outcomes().map(points).collect();
            let ops = outcomes().map(|outcome| class(outcome).as_ref().map_or(0, |class| class.ops)).min();
            let median = median_curve(&all);
            (!median.is_empty()).then(|| load_page::curve_line(&side.name, tone, &median, ops.unwrap_or(0)))
        };
        let lines = [line(&found.a, Tone::A, |round| &round.a), line(&found.b, Tone::B, |round| &round.b)];
        let lines: Vec<Line> = lines.into_iter().flatten().collect();
        (!lines.is_empty())
            .then(|| (title, "The median of the rounds at each percentile.", load_page::tail_chart(lines)))
    };
    kinds.into_iter().filter_map(chart).collect()
}

/// At each percentile of the shortest curve, the median of all curves.
pub fn median_curve(curves: &[&Points]) -> Vec<(f64, f64)> {
    let Some(shortest) = curves.iter().min_by_key(|curve| curve.len()) else { return Vec::new() };
    let at = |curve: &Points, percentile: f64| {
        let point = curve.iter().find(|point| point.0 >= percentile).or(curve.last());
        point.map_or(f64::NAN, |point| point.1)
    };
    let point = |&(percentile, _): &(f64, f64)| {
        let values: Vec<f64> = curves.iter().map(|curve| at(curve, percentile)).collect();
        Spread::of(&values).map(|spread| (percentile, spread.median))
    };
    shortest.iter().filter_map(point).collect()
}

/// Version, command and configuration of a side.
fn side_facts(side: &Side) -> Vec<(String, String)> {
    let servers = [side.version.as_str(), &side.servers]
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>();
    let mut facts = vec![(side.name.clone(), servers.join(" at "))];
    if !side.command.is_empty() {
        facts.push((format!("{}, started by", side.name), side.command.clone()));
        facts.push((format!("{}, zoo.cfg", side.name), side.config.trim().replace('\n', "; ")));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::rows;
    use crate::report::machine::Machine;
    use crate::report::outcome::{Band, Curve, Latency, Series};

    fn outcome(ops_per_s: f64, p50_us: f64) -> Outcome {
        let latency = Latency { p50_us, p99_us: 2.0 * p50_us, max_us: 3.0 * p50_us, ..Latency::default() };
        let band = Band {
            ops_per_s: vec![ops_per_s; 2],
            p50_us: vec![p50_us; 2],
            p99_us: vec![2.0 * p50_us, 0.0],
            max_us: vec![3.0 * p50_us, 0.0],
        };
        Outcome {
            workload: "get & <set>".to_owned(),
            seconds: 2.0,
            ops: 1000,
            ops_per_s,
            latency,
            read: Some(ClassOutcome { ops: 1000, name: "read".to_owned(), ops_per_s, latency }),
            series: Series { at_s: vec![1.0, 2.0], read: band.clone(), all: band, ..Series::default() },
            curve: Curve { read: vec![(0.0, p50_us), (50.0, p50_us), (100.0, 3.0 * p50_us)], write: vec![] },
            ..Outcome::default()
        }
    }

    /// The page has the medians, the ratio with its spread, a curve in the colour of each side, and the command.
    #[test]
    fn page_holds_what_was_measured() {
        let round = |a, b| Round { first: "a".to_owned(), a, b };
        let rounds = vec![
            round(outcome(10_000.0, 100.0), outcome(40_000.0, 25.0)),
            round(outcome(5_000.0, 100.0), outcome(30_000.0, 20.0)),
        ];
        let side =
            |name: &str| Side { name: name.to_owned(), version: "3.9.4".to_owned(), ..Side::default() };
        let machine = Machine { command: "loadgen compare --a zookeeper".to_owned(), ..Machine::default() };
        let (a, b) = (side("ZooKeeper"), side("zkfast"));
        let metrics = rows(&rounds);
        let html = page(&Comparison { what: "compare".to_owned(), a, b, metrics, rounds, machine }).html();
        for part in [
            "zkfast and ZooKeeper: get &amp; &lt;set&gt;",
            "<td class=n>7,500</td><td class=n>35,000</td><td class=n><strong>5.000</strong></td>\
             <td class=n>4.000 to 6.000</td>",
            "<td class=n>100 µs</td><td class=n>22.5 µs</td>",
            "class=better",
            "35,000 instead of 7,500",
            "stroke=\"#A00001\"",
            "stroke=\"#B00001\"",
            "<span class=a>ZooKeeper</span><span class=b>zkfast</span>",
            "loadgen compare --a zookeeper",
            "&quot;what&quot;:&quot;compare&quot;",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    /// The median of curves of different lengths, at the percentiles of the shortest.
    #[test]
    fn curves_of_rounds() {
        let (short, long) =
            ([(0.0, 1.0), (50.0, 2.0), (100.0, 9.0)], [(0.0, 3.0), (50.0, 4.0), (75.0, 6.0), (100.0, 11.0)]);
        assert_eq!(median_curve(&[&short, &long]), [(0.0, 2.0), (50.0, 3.0), (100.0, 10.0)]);
        assert_eq!(median_curve(&[&short, &[]]), []);
        assert_eq!(median_curve(&[]), []);
    }

    /// A verdict needs every round, in the direction that is better for the quantity.
    #[test]
    fn verdicts() {
        let rounds = |b| vec![Round { first: "a".to_owned(), a: outcome(100.0, 10.0), b }];
        let of = |b, key: &str| verdict(rows(&rounds(b)).iter().find(|row| row.key == key).expect("a row"));
        assert_eq!(of(outcome(200.0, 5.0), "ops_per_s"), Verdict::Better);
        assert_eq!(of(outcome(50.0, 5.0), "ops_per_s"), Verdict::Worse);
        assert_eq!(of(outcome(200.0, 5.0), "p50_us"), Verdict::Better);
        assert_eq!(of(outcome(200.0, 20.0), "p50_us"), Verdict::Worse);
        assert_eq!(of(outcome(100.0, 20.0), "ops_per_s"), Verdict::Open);
    }
}
