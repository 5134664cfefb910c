//! A [`Status`] as metrics for Prometheus: ZooKeeper's own, as its `PrometheusMetricsProvider` shows them, and zkfast's.
//!
//! | file | what |
//! |---|---|
//! | `text` | the exposition format |
//! | `zookeeper` | ZooKeeper's metrics, by its names and in its units |
//! | `own` | what is named `zkfast_` and `process_` |
//! | `window`, `series` | quantiles of the last ten minutes |
//!
//! The page on metrics lists all of them; a test compares it with [`metrics_as_markdown`].

mod own;
mod series;
mod text;
mod window;
mod zookeeper;

pub use text::CONTENT_TYPE;

use super::Status;
use text::Page;
use window::Window;

/// Makes a page of metrics from each [`Status`], and remembers what quantiles of the last minutes need.
///
/// Quantiles come from the values of the last 8 to 10 minutes, as in Java, where a client of Prometheus keeps them: from the
/// difference between now and an earlier page. So one exporter serves all who ask, and the threads that measure keep one
/// histogram for each metric. Where no page was asked for in 10 minutes, quantiles reach back to the page before that.
/// It keeps six states of all summaries: half a MiB, and at most 3 MiB where writes go to 256 namespaces.
#[derive(Debug, Default)]
pub struct Exporter {
    window: Window,
}

impl Exporter {
    /// The page of a status that was taken at `now_us`, in microseconds of a clock that never goes back.
    ///
    /// If `names` has any, the page has the samples with these names only, as with the parameter `name[]` in Java. While the
    /// server does not serve, gauges of its tree and clients are missing, as in Java; counters and summaries go on.
    pub fn render(&mut self, status: &Status, now_us: i64, names: &[String]) -> String {
        let metrics = status.metrics.since_start();
        let summaries = zookeeper::summaries(&metrics);
        let mut page = Page::new(names);
        zookeeper::gauges(status, &mut page);
        zookeeper::counters(&metrics, &mut page);
        zookeeper::put_summaries(&summaries, &self.window.opened(now_us), &mut page);
        own::server(status, &mut page);
        own::measured(&metrics, &mut page);
        own::load(status, &mut page);
        own::process(status, &mut page);
        self.window.pass(now_us, &summaries);
        page.finish()
    }
}

/// The tables of the page on metrics: ZooKeeper's, then zkfast's.
pub fn metrics_as_markdown() -> [String; 2] {
    let head = "| name | type | unit | meaning |\n|---|---|---|---|\n".to_owned();
    [zookeeper::described(), own::described()]
        .map(|families| families.iter().fold(head.clone(), |out, family| out + &family.as_markdown()))
}

#[cfg(test)]
mod tests;
