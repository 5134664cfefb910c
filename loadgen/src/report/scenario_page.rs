//! Table and page of a scenario.

use crate::report::axis::Scale;
use crate::report::comparison_page::median_curve;
use crate::report::format::{plain, time};
use crate::report::load_page;
use crate::report::page::{Cell, Page, SameScale};
use crate::report::plot::{Chart, Line, TONES};
use crate::report::scenario::{Point, ScenarioRecord};

/// The table that is printed.
pub fn table(found: &ScenarioRecord) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<28} {:>12} {:>12} {:>9} {:>10} {:>10} {:>10} {:>13}",
        found.scenario, "", "operations/s", "to first", "p50", "p99", "p99.9", "busy CPUs"
    )];
    for point in &found.points {
        let Point { ops_per_s, p50_us, p99_us, p999_us, .. } = point;
        lines.push(format!(
            "{:<28} {:>12} {:>12} {:>9} {:>10} {:>10} {:>10} {:>13}",
            setup(point),
            point.target,
            plain(ops_per_s.median),
            to_first(found, point),
            time(p50_us.median),
            time(p99_us.median),
            time(p999_us.median),
            busy(point)
        ));
    }
    lines.push("Medians of the rounds; busy CPUs: servers + loadgen.".to_owned());
    lines
}

/// The page.
pub fn page(found: &ScenarioRecord) -> Page {
    let title = match found.scenario.as_str() {
        "read-scaling" => "Reads by servers and by cores",
        _ => "Latency of writes by servers",
    };
    let rounds = found.points.first().map_or(0, |point| point.rounds.len());
    let sentence = found.points.first().and_then(|point| point.rounds.first());
    let bytes = sentence.map_or(0, |outcome| outcome.value_bytes);
    let seconds = sentence.map_or(0.0, |outcome| outcome.seconds);
    let lead = format!(
        "Medians of {rounds} rounds of {} s, {bytes} bytes per znode; servers and loadgen share {} CPUs.",
        plain((seconds * 10.0).round() / 10.0),
        found.machine.cpus
    );
    let mut page = Page::new(title, &lead);
    for point in &found.points {
        let name = format!("{}, {}", point.target, setup(point));
        point.rounds.iter().for_each(|outcome| load_page::warnings(&mut page, outcome, &name));
    }
    match found.scenario.as_str() {
        "read-scaling" => page.figures(&scaling(found), SameScale::Yes),
        _ => page.figures(&latencies(found), SameScale::Yes),
    }
    page.heading("Figures");
    let headings =
        ["", "service", "operations/s", "to first", "least to greatest", "p50", "p99", "p99.9", "busy CPUs"];
    page.table(&headings, &rows(found));
    page.paragraph(
        "Busy CPUs: servers + loadgen. If the sum reaches all CPUs of the machine, the machine is the limit: more CPUs, \
         or loadgen on another machine, show more.",
    );
    let mut facts: Vec<(String, String)> = Vec::new();
    for point in &found.points {
        if facts.iter().all(|(name, _)| *name != point.target) {
            facts.push((point.target.clone(), format!("{}, started by {}", point.version, point.command)));
        }
    }
    load_page::ending(&mut page, &found.machine, &facts, found);
    page
}

/// Servers, CPUs and load of a point, as text.
fn setup(point: &Point) -> String {
    let servers =
        if point.servers == 1 { "1 server".to_owned() } else { format!("{} servers", point.servers) };
    match point.group.as_str() {
        "servers" => format!("{servers}, 1 core each"),
        "cores" => format!("{servers}, {}", words(cores(point), "core")),
        _ => format!("{servers}, {} × {}", point.connections, point.in_flight),
    }
}

fn words(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// Number of CPUs in the list of the first server: `0` or `0-3`.
fn cores(point: &Point) -> u64 {
    let list = point.cores.first().map_or("0", String::as_str);
    list.rsplit('-').next().and_then(|last| last.parse::<u64>().ok()).map_or(1, |last| last + 1)
}

/// Throughput relative to the first point that is compared with this one.
fn to_first(found: &ScenarioRecord, point: &Point) -> String {
    let alike = |other: &&Point| {
        let load = |point: &Point| (point.connections, point.in_flight);
        other.group == point.group && other.target == point.target && load(other) == load(point)
    };
    let first = found.points.iter().find(alike).unwrap_or(point);
    format!("{:.2}", point.ops_per_s.median / first.ops_per_s.median)
}

fn busy(point: &Point) -> String {
    let servers = point.server_cores.map_or("?".to_owned(), |cores| format!("{:.2}", cores.median));
    format!("{servers} + {:.2}", point.client_cores.median)
}

fn rows(found: &ScenarioRecord) -> Vec<Vec<Cell>> {
    let row = |point: &Point| {
        let ops = &point.ops_per_s;
        vec![
            Cell::Text(setup(point)),
            Cell::Text(point.target.clone()),
            Cell::Strong(plain(ops.median)),
            Cell::Number(to_first(found, point)),
            Cell::Number(format!("{} to {}", plain(ops.least), plain(ops.greatest))),
            Cell::Number(time(point.p50_us.median)),
            Cell::Number(time(point.p99_us.median)),
            Cell::Number(time(point.p999_us.median)),
            Cell::Number(busy(point)),
        ]
    };
    found.points.iter().map(row).collect()
}

fn targets(found: &ScenarioRecord) -> Vec<&str> {
    let mut targets: Vec<&str> = Vec::new();
    for point in &found.points {
        if !targets.contains(&point.target.as_str()) {
            targets.push(&point.target);
        }
    }
    targets
}

type Figure = (&'static str, &'static str, Chart);

fn scaling(found: &ScenarioRecord) -> Vec<Figure> {
    let chart = |group: &str, below: &'static str, of: fn(&Point) -> u64| {
        let line = |(target, tone): (&str, _)| {
            let points = found.points.iter().filter(|point| point.group == group && point.target == target);
            let points = points.map(|point| (of(point) as f64, point.ops_per_s.median)).collect();
            Line { name: target.to_owned(), tone, points }
        };
        let lines = targets(found).into_iter().zip(TONES).map(line).collect();
        Chart { x: (Scale::Whole, below), y: load_page::PER_SECOND, lines }
    };
    vec![
        ("Reads by servers", "Each server has one CPU.", chart("servers", "servers", |point| point.servers)),
        ("Reads by cores of one server", "", chart("cores", "cores", cores)),
    ]
}

fn latencies(found: &ScenarioRecord) -> Vec<Figure> {
    let loads = [("1 × 1", (1, 1)), ("32 × 1", (32, 1)), ("64 × 16", (64, 16))];
    let chart = |load: (u64, u64)| {
        let points = found.points.iter().filter(|point| (point.connections, point.in_flight) == load);
        let line = |(point, tone): (&Point, _)| {
            let curves: Vec<&[(f64, f64)]> =
                point.rounds.iter().map(|outcome| &outcome.curve.write[..]).collect();
            let ops = point.rounds.iter().map(|outcome| outcome.ops).min().unwrap_or(0);
            let name = format!("{}, {}", point.target, words(point.servers, "server"));
            load_page::curve_line(&name, tone, &median_curve(&curves), ops)
        };
        load_page::tail_chart(points.zip(TONES).map(line).collect())
    };
    let note = "Latency of writes by percentile, the median of the rounds.";
    loads.map(|(title, load)| (title, note, chart(load))).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::machine::Machine;
    use crate::report::outcome::{Curve, Outcome};
    use crate::report::rounds::Spread;

    fn point(group: &str, servers: u64, cores: &[&str], ops_per_s: f64) -> Point {
        let spread = |median| Spread { median, least: median, greatest: median };
        let curve = Curve { write: vec![(0.0, 10.0), (100.0, 20.0)], ..Curve::default() };
        Point {
            group: group.to_owned(),
            target: "zkfast".to_owned(),
            version: "3.9.4-zkfast".to_owned(),
            servers,
            cores: cores.iter().map(|list| (*list).to_owned()).collect(),
            connections: 32,
            in_flight: 1,
            ops_per_s: spread(ops_per_s),
            p50_us: spread(85.0),
            server_cores: Some(spread(0.5)),
            rounds: vec![Outcome { ops: 10, curve, seconds: 5.0, value_bytes: 100, ..Outcome::default() }],
            ..Point::default()
        }
    }

    fn scenery(scenario: &str, points: Vec<Point>) -> ScenarioRecord {
        let machine = Machine { cpus: 2, ..Machine::default() };
        ScenarioRecord { what: "scenario".to_owned(), scenario: scenario.to_owned(), points, machine }
    }

    /// Throughput is relative to the first point of the same group, and each group has its chart.
    #[test]
    fn read_scaling() {
        let points = vec![
            point("servers", 1, &["0"], 1000.0),
            point("servers", 3, &["0", "1", "0"], 2500.0),
            point("cores", 1, &["0"], 2000.0),
            point("cores", 1, &["0-1"], 3000.0),
        ];
        let found = scenery("read-scaling", points);
        let text = table(&found).join("\n");
        for part in [
            "3 servers, 1 core each",
            "2,500      2.50",
            "1 server, 2 cores",
            "3,000      1.50",
            "0.50 + 0.00",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let html = page(&found).html();
        for part in ["Reads by servers", "Reads by cores", "2,500", "share 2 CPUs", "3.9.4-zkfast", "#A00001"]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    /// Each load has a chart with a line per number of servers.
    #[test]
    fn quorum_latency() {
        let found =
            scenery("quorum-latency", vec![point("quorum", 1, &[], 9.0), point("quorum", 3, &[], 6.0)]);
        let html = page(&found).html();
        for part in ["32 × 1", "zkfast, 1 server<", "zkfast, 3 servers<", "stroke=\"#B00001\"", "85.0 µs"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
