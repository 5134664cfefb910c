//! The page of one run, and parts that other pages share.

use crate::report::axis::Scale;
use crate::report::format::{bytes, plain, time};
use crate::report::machine::Machine;
use crate::report::outcome::{Band, ClassOutcome, Latency, Outcome, Series};
use crate::report::page::{Card, Cell, Page, SameScale};
use crate::report::plot::{Chart, Line, TONES, Tone};

/// Headings of [`latency_cells`].
const LATENCY_HEADINGS: [&str; 6] = ["mean", "p50", "p90", "p99", "p99.9", "max"];

/// The page of one run.
pub fn page(outcome: &Outcome, machine: &Machine) -> Page {
    let title = format!("{}: {} operations/s", outcome.workload, plain(outcome.ops_per_s));
    let mut page = Page::new(&title, &sentence(outcome));
    warnings(&mut page, outcome, "");
    page.cards(&cards(outcome));
    let mut headings = vec!["", "operations", "per second"];
    headings.extend(LATENCY_HEADINGS);
    page.table(&headings, &class_rows(outcome));
    page.heading("Over time");
    page.figures(&over_time(&outcome.series, &kind_names(outcome)), SameScale::No);
    page.heading("Latency by percentile");
    let kinds = kind_names(outcome);
    let lines =
        [(&outcome.curve.read, &outcome.read, kinds.0), (&outcome.curve.write, &outcome.write, kinds.1)];
    let lines = lines.into_iter().zip(TONES).filter(|((points, ..), _)| !points.is_empty());
    let lines = lines.map(|((points, class, name), tone)| curve_line(name, tone, points, operations(class)));
    let note = "Each step to the right is another nine: the slowest of ten, of a hundred, of a thousand.";
    page.figures(&[(&outcome.workload, note, tail_chart(lines.collect()))], SameScale::No);
    if outcome.server.is_some() {
        page.heading("What the servers used");
        page.facts(&use_of_servers(outcome));
    }
    ending(&mut page, machine, &[], outcome);
    page
}

/// Appends what every page ends with: machine, command and the record itself.
pub fn ending(page: &mut Page, machine: &Machine, more: &[(String, String)], record: &impl serde::Serialize) {
    page.heading("Machine and command");
    page.facts(&[machine.facts(), more.to_vec()].concat());
    let json = serde_json::to_string(record).expect("plain data");
    page.folded("The record, as --json prints it", &json);
}

/// The load in one sentence.
pub fn sentence(outcome: &Outcome) -> String {
    let size = if outcome.value_bytes_max > outcome.value_bytes {
        format!("{} to {} bytes", plain(outcome.value_bytes as f64), plain(outcome.value_bytes_max as f64))
    } else {
        format!("{} bytes", plain(outcome.value_bytes as f64))
    };
    let arriving = match outcome.rate {
        Some(rate) => format!(" at most, {} arriving per second", plain(rate)),
        None => String::new(),
    };
    format!(
        "{} connections × {} in flight{arriving}, {size} per znode, {} keys, {} s, servers {}",
        plain(outcome.connections as f64),
        outcome.in_flight,
        plain(outcome.keys as f64),
        plain((outcome.seconds * 10.0).round() / 10.0),
        outcome.servers
    )
}

/// Appends warnings about the figures of a run; `name` is that of the service, or empty.
pub fn warnings(page: &mut Page, outcome: &Outcome, name: &str) {
    let of = if name.is_empty() { String::new() } else { format!("{name}: ") };
    let mut warn = |count: u64, what: &str| {
        if count > 0 {
            page.warning(&format!("{of}{} {what}", plain(count as f64)));
        }
    };
    let first = outcome.trouble.first_wrong.as_deref().unwrap_or_default();
    warn(outcome.trouble.wrong, &format!("wrong replies, the first: {first}"));
    warn(outcome.trouble.unanswered, "requests without a reply");
    warn(outcome.trouble.lost, "requests whose connection ended before their reply");
    for (code, count) in &outcome.trouble.errors {
        warn(*count, &format!("errors: {code}"));
    }
    for caution in outcome.cautions() {
        page.warning(&format!("{of}{caution}"));
    }
}

fn cards(outcome: &Outcome) -> Vec<Card> {
    let card = |label: &str, value: String, note: String| Card { label: label.to_owned(), value, note };
    let Latency { p50_us, p99_us, p999_us, max_us, .. } = outcome.latency;
    let since = match outcome.rate {
        Some(_) => "from the intended send time".to_owned(),
        None => format!("mean {}", time(outcome.latency.mean_us)),
    };
    let mut cards = vec![
        card(
            "throughput",
            format!("{}/s", plain(outcome.ops_per_s)),
            format!("{} in all", plain(outcome.ops as f64)),
        ),
        card("median latency", time(p50_us), format!("p90 {}", time(outcome.latency.p90_us))),
        card("p99", time(p99_us), format!("p99.9 {}", time(p999_us))),
        card("slowest", time(max_us), since),
    ];
    if let Some(server) = &outcome.server {
        let cpu = time(server.server_cpu_us_per_op);
        cards.push(card(
            "server CPU per operation",
            cpu,
            format!("{} cores busy", plain(server.server_cores)),
        ));
    }
    cards
}

/// Cells below [`LATENCY_HEADINGS`].
fn latency_cells(latency: &Latency) -> Vec<Cell> {
    let Latency { p50_us, p90_us, p99_us, p999_us, max_us, mean_us } = *latency;
    [mean_us, p50_us, p90_us, p99_us, p999_us, max_us].map(|us| Cell::Number(time(us))).to_vec()
}

fn class_rows(outcome: &Outcome) -> Vec<Vec<Cell>> {
    let row = |name: &str, ops: u64, per_s: f64, latency: &Latency| {
        let mut row =
            vec![Cell::Text(name.to_owned()), Cell::Number(plain(ops as f64)), Cell::Strong(plain(per_s))];
        row.extend(latency_cells(latency));
        row
    };
    let classes: Vec<&ClassOutcome> = outcome.read.iter().chain(&outcome.write).collect();
    let mut rows: Vec<_> =
        classes.iter().map(|class| row(&class.name, class.ops, class.ops_per_s, &class.latency)).collect();
    if classes.len() != 1 {
        rows.push(row("all", outcome.ops, outcome.ops_per_s, &outcome.latency));
    }
    rows
}

fn use_of_servers(outcome: &Outcome) -> Vec<(String, String)> {
    let Some(server) = &outcome.server else { return Vec::new() };
    let mut rows = vec![
        ("CPU time per operation", time(server.server_cpu_us_per_op)),
        ("of it in user mode", time(server.server_user_us_per_op)),
        ("of it in the kernel", time(server.server_sys_us_per_op)),
        ("cores busy", plain(server.server_cores)),
        ("voluntary context switches per operation", plain(server.server_voluntary_switches_per_op)),
        ("involuntary context switches per operation", plain(server.server_involuntary_switches_per_op)),
        ("bytes written per operation", plain(server.server_write_bytes_per_op)),
        ("resident memory", bytes(server.server_rss_bytes as f64)),
    ];
    if let Some(fsyncs) = outcome.server_fsyncs {
        rows.push(("log flushes (fsync)", plain(fsyncs as f64)));
    }
    rows.push(("loadgen's own CPU time per operation", time(outcome.client_cpu_us_per_op)));
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Names of reads and writes.
fn kind_names(outcome: &Outcome) -> (&str, &str) {
    (
        outcome.read.as_ref().map_or("read", |class| &class.name),
        outcome.write.as_ref().map_or("write", |class| &class.name),
    )
}

fn operations(class: &Option<ClassOutcome>) -> u64 {
    class.as_ref().map_or(0, |class| class.ops)
}

fn over_time<'a>(series: &Series, kinds: &(&str, &str)) -> Vec<(&'a str, &'a str, Chart)> {
    let is_used = |band: &Band| band.ops_per_s.iter().any(|ops| *ops > 0.0);
    let bands = [("all", &series.all), (kinds.0, &series.read), (kinds.1, &series.write)];
    let mut bands: Vec<_> = bands.into_iter().filter(|(_, band)| is_used(band)).collect();
    // With one class only, it is the same as all.
    if bands.len() == 2 {
        bands.remove(0);
    }
    let lines = bands.iter().zip(TONES).map(|((name, band), tone)| {
        let points = series.at_s.iter().copied().zip(band.ops_per_s.iter().copied()).collect();
        Line { name: (*name).to_owned(), tone, points }
    });
    let throughput = Chart { x: SECONDS, y: PER_SECOND, lines: lines.collect() };
    let percentiles = [("max", &series.all.max_us), ("p99", &series.all.p99_us), ("p50", &series.all.p50_us)];
    let lines = percentiles.into_iter().zip([Tone::C, Tone::B, Tone::A]).map(|((name, values), tone)| {
        let points = latency_points(&series.at_s, values, 0.0);
        Line { name: name.to_owned(), tone, points }
    });
    let latency = Chart { x: SECONDS, y: LATENCY, lines: lines.collect() };
    vec![("Throughput", "", throughput), ("Latency", "", latency)]
}

/// The time axis of charts of runs.
pub const SECONDS: (Scale, &str) = (Scale::Seconds, "seconds of measured time");
/// The axis of throughput.
pub const PER_SECOND: (Scale, &str) = (Scale::Count, "operations per second");
/// The axis of latency.
pub const LATENCY: (Scale, &str) = (Scale::Latency, "latency");

/// Latencies over time, `offset_s` seconds later; a second without an operation is a gap.
pub fn latency_points(at_s: &[f64], values: &[f64], offset_s: f64) -> Vec<(f64, f64)> {
    let known = |us: f64| if us > 0.0 { us } else { f64::NAN };
    at_s.iter().zip(values).map(|(at, us)| (at + offset_s, known(*us))).collect()
}

/// A chart of latency by percentile.
pub fn tail_chart(lines: Vec<Line>) -> Chart {
    Chart { x: (Scale::Tail, "percentile"), y: LATENCY, lines }
}

/// A curve over 1 / (1 - p). Its last point is the slowest of `ops` requests, at one in `ops`.
pub fn curve_line(name: &str, tone: Tone, points: &[(f64, f64)], ops: u64) -> Line {
    let last = (ops as f64).max(1.0);
    let at = |percentile: f64| (1.0 / (1.0 - percentile / 100.0)).min(last);
    let points = points.iter().map(|(percentile, us)| (at(*percentile), *us)).collect();
    Line { name: name.to_owned(), tone, points }
}
