//! The exposition format of Prometheus, version 0.0.4, laid out as its client for Java does. Source: `TextFormat`, simpleclient
//! 0.9.0.

use std::fmt::Write as _;

/// The media type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    Gauge,
    /// Count, sum, quantiles.
    Summary,
    /// Count, sum, values up to bounds.
    Histogram,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as the page on metrics has it.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: &'static str,
    /// What it is, in a sentence.
    pub meaning: &'static str,
}

impl Family {
    /// The row of the page.
    pub fn as_markdown(&self) -> String {
        format!("| `{}` | {} | {} | {} |\n", self.name, self.kind.name(), self.unit, self.meaning)
    }
}

/// A page that is being written.
#[derive(Debug)]
pub(super) struct Page<'a> {
    out: String,
    /// The samples that are asked for; all of them if there are none.
    names: &'a [String],
    /// The lines before the first sample of the family.
    head: String,
    family: String,
}

impl<'a> Page<'a> {
    pub fn new(names: &'a [String]) -> Self {
        Self { out: String::with_capacity(64 << 10), names, head: String::new(), family: String::new() }
    }

    /// Begins a family of ZooKeeper's, whose help is its name.
    pub fn begin_zookeeper(&mut self, name: &str, kind: Kind) {
        self.begin(name, kind, name);
    }

    pub fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = kind.name();
        self.head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.family = name.to_owned();
        // A family without samples has a head all the same, unless samples were asked for by name.
        if self.names.is_empty() {
            self.put_head();
        }
    }

    /// Adds a sample of the family, whose name goes on with `suffix`.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let start = self.out.len();
        self.put_head();
        let name = self.out.len();
        self.out.push_str(&self.family);
        self.out.push_str(suffix);
        if !self.names.is_empty() && !self.names.iter().any(|wanted| *wanted == self.out[name..]) {
            self.head = self.out[start..name].to_owned();
            self.out.truncate(start);
            return;
        }
        if !labels.is_empty() {
            self.out.push('{');
            for (label, text) in labels {
                self.put(format_args!("{label}=\"{}\",", escaped(text)));
            }
            self.out.push('}');
        }
        self.out.push(' ');
        match value {
            f64::INFINITY => self.out.push_str("+Inf"),
            f64::NEG_INFINITY => self.out.push_str("-Inf"),
            // Debug of a whole number has a point, as in Java.
            value => self.put(format_args!("{value:?}")),
        }
        self.out.push('\n');
    }

    pub fn finish(self) -> String {
        self.out
    }

    fn put_head(&mut self) {
        self.out.push_str(&std::mem::take(&mut self.head));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a string takes all");
    }
}

/// A label's value with what would end it taken apart.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as simpleclient 0.9.0 lays it out, with numbers of every kind and a label that needs escapes.
    #[test]
    fn layout() {
        let page = |names: &[String]| {
            let mut page = Page::new(names);
            page.begin_zookeeper("a", Kind::Gauge);
            page.sample("", &[], -1.0);
            page.begin_zookeeper("empty", Kind::Counter);
            page.begin("b", Kind::Summary, "Some.");
            page.sample("", &[("key", "x\"\\\n"), ("quantile", "0.5")], f64::NAN);
            page.sample("_count", &[("key", "x")], 12_345_678.0);
            page.sample("_sum", &[], f64::INFINITY);
            page.finish()
        };
        let a = "# HELP a a\n# TYPE a gauge\na -1.0\n";
        let b = "# HELP b Some.\n# TYPE b summary\n";
        let quantile = "b{key=\"x\\\"\\\\\\n\",quantile=\"0.5\",} NaN\n";
        let (count, sum) = ("b_count{key=\"x\",} 12345678.0\n", "b_sum +Inf\n");
        let empty = "# HELP empty empty\n# TYPE empty counter\n";
        assert_eq!(page(&[]), [a, empty, b, quantile, count, sum].concat());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(page(&names(&["b_sum", "b_count"])), [b, count, sum].concat());
        assert_eq!(page(&names(&["a", "none"])), a);
    }
}
