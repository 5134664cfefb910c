//! What people and programs read of a result.

use crate::process::Usage;
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints a line on stdout. Who reads it may have gone; that is no error of ours.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// One flat JSON object, on one line.
#[derive(Debug)]
pub struct Json(String);

impl Json {
    /// An object about `what`.
    pub fn new(what: &str) -> Self {
        let mut json = Self("{".to_owned());
        json.text("what", what);
        json
    }

    /// A string.
    pub fn text(&mut self, key: &str, value: &str) {
        let mut quoted = String::new();
        for letter in value.chars() {
            match letter {
                '"' | '\\' => quoted.extend(['\\', letter]),
                ' '.. => quoted.push(letter),
                _ => quoted.push(' '),
            }
        }
        self.raw(key, &format!("\"{quoted}\""));
    }

    /// An integer.
    pub fn int(&mut self, key: &str, value: u64) {
        self.raw(key, &value.to_string());
    }

    /// A number with four digits behind the point; null where there is none to tell.
    pub fn number(&mut self, key: &str, value: f64) {
        self.raw(key, &if value.is_finite() { format!("{value:.4}") } else { "null".to_owned() });
    }

    /// p50, p99, p99.9 and max of latencies in nanoseconds, as microseconds.
    pub fn latency(&mut self, prefix: &str, histogram: &Histogram<u64>) {
        for (name, value) in quantiles_us(histogram) {
            self.number(&format!("{prefix}{name}_us"), value);
        }
    }

    /// What the servers used, per operation.
    pub fn usage(&mut self, usage: &Usage, ops: u64) {
        let per_op = |value: u64| value as f64 / ops as f64;
        self.number("server_cpu_us_per_op", per_op(usage.user_us + usage.sys_us));
        self.number("server_user_us_per_op", per_op(usage.user_us));
        self.number("server_sys_us_per_op", per_op(usage.sys_us));
        self.number("server_voluntary_switches_per_op", per_op(usage.switches));
        self.number("server_write_bytes_per_op", per_op(usage.write_bytes));
        self.int("server_rss_bytes", usage.rss_bytes);
    }

    /// The whole object.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn raw(&mut self, key: &str, value: &str) {
        let comma = if self.0.len() > 1 { "," } else { "" };
        let _ = write!(self.0, "{comma}\"{key}\":{value}");
    }
}

/// The quantiles that are shown, in microseconds.
fn quantiles_us(histogram: &Histogram<u64>) -> [(&'static str, f64); 4] {
    let us = |ns: u64| ns as f64 / 1e3;
    [
        ("p50", us(histogram.value_at_quantile(0.5))),
        ("p99", us(histogram.value_at_quantile(0.99))),
        ("p999", us(histogram.value_at_quantile(0.999))),
        ("max", us(histogram.max())),
    ]
}

/// The heading over [`latency_row`]s.
pub fn latency_heading() -> String {
    format!("{:>8} {:>12} {:>10} {:>10} {:>10} {:>10}", "", "ops/s", "p50 us", "p99 us", "p99.9 us", "max us")
}

/// A row of the table of latencies.
pub fn latency_row(name: &str, histogram: &Histogram<u64>, seconds: f64) -> String {
    let mut row = format!("{name:>8} {:>12.0}", histogram.len() as f64 / seconds);
    for (_, value) in quantiles_us(histogram) {
        let _ = write!(row, " {value:>10.0}");
    }
    row
}

/// What the servers used, as a sentence.
pub fn usage_line(usage: &Usage, ops: u64) -> String {
    let per_op = |value: u64| value as f64 / ops as f64;
    format!(
        "server: CPU {:.2} us/op (user {:.2}, kernel {:.2}), {:.3} voluntary switches/op, \
         {:.0} bytes written/op, RSS {:.1} MB",
        per_op(usage.user_us + usage.sys_us),
        per_op(usage.user_us),
        per_op(usage.sys_us),
        per_op(usage.switches),
        per_op(usage.write_bytes),
        megabytes(usage.rss_bytes),
    )
}

/// Bytes as millions of bytes.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The object is valid JSON: strings are escaped and what is no number is null.
    #[test]
    fn json_is_valid() {
        let mut json = Json::new("a \"b\" \\ c\n");
        json.int("n", 7);
        json.number("x", 1.0 / 3.0);
        json.number("nan", f64::NAN);
        assert_eq!(json.end(), r#"{"what":"a \"b\" \\ c ","n":7,"x":0.3333,"nan":null}"#);
    }
}
