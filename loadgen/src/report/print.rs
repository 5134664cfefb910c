//! Results on stdout: JSON for programs, tables for people.

use crate::report::outcome::{ClassOutcome, Outcome, ServerUse, Slow, Trouble};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints a line on stdout. A reader that has closed the pipe is no error of loadgen.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a record as one JSON object on one line, or as the text that `text` makes.
pub fn record<T: Serialize>(record: &T, json: bool, text: impl FnOnce(&T) -> String) {
    if json {
        line(&serde_json::to_string(record).expect("records are plain data"));
    } else {
        line(text(record).trim_end());
    }
}

/// The table of one run.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let sizes = if outcome.value_bytes == outcome.value_bytes_max {
        outcome.value_bytes.to_string()
    } else {
        format!("{} to {}", outcome.value_bytes, outcome.value_bytes_max)
    };
    let _ = writeln!(
        text,
        "{}, {sizes} bytes, {} connections x {} in flight{}, {:.1} s, {} thread(s), {}",
        outcome.workload,
        outcome.connections,
        outcome.in_flight,
        outcome.rate.map(|rate| format!(" at most, {rate}/s arriving")).unwrap_or_default(),
        outcome.seconds,
        outcome.threads,
        outcome.servers,
    );
    put_latencies(&mut text, outcome);
    if let Some(server) = &outcome.server {
        let _ = writeln!(text, "{}", server_line(server));
    }
    if let Some(fsyncs) = outcome.server_fsyncs {
        let per_op = fsyncs as f64 / outcome.ops.max(1) as f64;
        let _ = writeln!(text, "server: {fsyncs} fsyncs, {per_op:.4} per op (mntr)");
    }
    let late = match outcome.rate {
        Some(_) => {
            format!("; late by itself: p99 {:.2} ms, max {:.2} ms", outcome.late_p99_ms, outcome.late_ms)
        }
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "client: {:.2} cores, CPU {:.2} us/op{late}",
        outcome.client_cores(),
        outcome.client_cpu_us_per_op
    );
    if let Some(Slow { limit_ms, reads, writes }) = outcome.slow {
        let classes = [(&outcome.read, reads), (&outcome.write, writes)];
        let slow = classes.into_iter().filter_map(|(class, slow)| {
            let ClassOutcome { name, ops, .. } = class.as_ref()?;
            Some(format!("{slow} of {ops} ({name})"))
        });
        let _ = writeln!(text, "longer than {limit_ms} ms: {}", slow.collect::<Vec<_>>().join(", "));
    }
    put_trouble(&mut text, &outcome.trouble);
    for caution in outcome.cautions() {
        let _ = writeln!(text, "{caution}");
    }
    text
}

/// Appends a line for each class, and one for both together if that is another one.
fn put_latencies(text: &mut String, outcome: &Outcome) {
    let _ = writeln!(
        text,
        "{:>10} {:>12} {:>10} {:>10} {:>10} {:>10}",
        "", "ops/s", "p50 us", "p99 us", "p99.9 us", "max us"
    );
    let all = ClassOutcome {
        name: "all".to_owned(),
        ops: outcome.ops,
        ops_per_s: outcome.ops_per_s,
        latency: outcome.latency,
    };
    // With one class only, the sum adds nothing.
    let both = outcome.read.is_some() && outcome.write.is_some();
    let sums =
        both && outcome.latency != outcome.write.as_ref().map(|write| write.latency).unwrap_or_default();
    for class in [&outcome.read, &outcome.write].into_iter().flatten().chain(sums.then_some(&all)) {
        let latency = &class.latency;
        let _ = writeln!(
            text,
            "{:>10} {:>12.0} {:>10.0} {:>10.0} {:>10.0} {:>10.0}",
            class.name, class.ops_per_s, latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us
        );
    }
}

/// Appends a line about lost connections and errors, if there were some.
fn put_trouble(text: &mut String, trouble: &Trouble) {
    let errors: u64 = trouble.errors.values().sum();
    if trouble.lost + trouble.reconnects + trouble.expired + errors == 0 {
        return;
    }
    let codes: Vec<String> = trouble.errors.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let _ = writeln!(
        text,
        "connections: {} requests lost, {} reconnects, {} sessions expired, errors: {}",
        trouble.lost,
        trouble.reconnects,
        trouble.expired,
        if codes.is_empty() { "none".to_owned() } else { codes.join(", ") },
    );
}

/// What the servers used, as a line of text.
pub fn server_line(server: &ServerUse) -> String {
    format!(
        "server: {:.2} cores, CPU {:.2} us/op (user {:.2}, kernel {:.2}), {:.3} voluntary and {:.3} involuntary \
         switches/op, {:.0} bytes written/op, RSS {:.1} MB",
        server.server_cores,
        server.server_cpu_us_per_op,
        server.server_user_us_per_op,
        server.server_sys_us_per_op,
        server.server_voluntary_switches_per_op,
        server.server_involuntary_switches_per_op,
        server.server_write_bytes_per_op,
        megabytes(server.server_rss_bytes),
    )
}

/// Bytes as millions of bytes.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table names what was measured, and has a line about lost connections only if there were some.
    #[test]
    fn table_says_what_there_is() {
        let mut outcome = Outcome {
            workload: "set".to_owned(),
            write: Some(ClassOutcome {
                name: "write".to_owned(),
                ops_per_s: 1234.0,
                ..ClassOutcome::default()
            }),
            ..Outcome::default()
        };
        let text = table(&outcome);
        assert!(text.contains("write         1234") && !text.contains(" all "), "{text}");
        assert!(!text.contains("lost"), "{text}");
        outcome.trouble.lost = 3;
        outcome.trouble.errors.insert("connect".to_owned(), 2);
        outcome.server_fsyncs = Some(7);
        let text = table(&outcome);
        assert!(text.contains("3 requests lost") && text.contains("2 connect"), "{text}");
        assert!(text.contains("7 fsyncs"), "{text}");
    }
}
