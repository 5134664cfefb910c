//! What histograms were some minutes ago, so that quantiles tell of the last minutes only.

use super::series::Series;
use std::collections::{BTreeMap, VecDeque};

/// Quantiles are of no less than this: Java's client keeps five buckets of two minutes for the values of ten, and drops one
/// every two minutes. Source: `TimeWindowQuantiles`, `Summary` (simpleclient 0.9.0).
const WINDOW_US_MIN: i64 = 480_000_000;

/// How often a state is kept.
const INTERVAL_US: i64 = 120_000_000;

/// States of all histograms, oldest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    states: VecDeque<State>,
}

/// All histograms' buckets at one time.
#[derive(Debug)]
struct State {
    at_us: i64,
    buckets: BTreeMap<(&'static str, String), Vec<u64>>,
}

impl Window {
    /// The state from which on values count.
    pub fn opened(&self, now_us: i64) -> Opened<'_> {
        let is_old = |state: &&State| state.at_us <= now_us - WINDOW_US_MIN;
        Opened(self.states.iter().rev().find(is_old))
    }

    /// Takes note of the present state when that is due, and forgets states that no window will begin with.
    pub fn pass(&mut self, now_us: i64, all: &[Series<'_>]) {
        if self.states.back().is_some_and(|last| now_us - last.at_us < INTERVAL_US) {
            return;
        }
        while self.states.get(1).is_some_and(|second| second.at_us <= now_us - WINDOW_US_MIN) {
            self.states.pop_front();
        }
        let buckets = all
            .iter()
            .filter(|series| !series.values.buckets().is_empty())
            .map(|series| ((series.name, series.key.clone()), series.values.buckets().to_vec()));
        self.states.push_back(State { at_us: now_us, buckets: buckets.collect() });
    }
}

/// The beginning of a window; that of the server if there is no state.
#[derive(Debug)]
pub(super) struct Opened<'w>(Option<&'w State>);

impl Opened<'_> {
    /// The value that `part` per thousand of a series' values in the window do not exceed; `None` if there are none.
    pub fn per_mille(&self, series: &Series<'_>, part: u64) -> Option<u64> {
        let state = self.0.and_then(|state| state.buckets.get(&(series.name, series.key.clone())));
        series.values.per_mille_since(state.map_or(&[], Vec::as_slice), part)
    }
}

#[cfg(test)]
mod tests {
    use super::super::zookeeper::summaries;
    use super::*;
    use crate::admin::Metrics;

    const MINUTE_US: i64 = 60_000_000;

    /// A value counts for 8 to 10 minutes, and no more than six states are kept, however often a page is asked for.
    #[test]
    fn values_leave() {
        let (mut metrics, mut window) = (Metrics::default(), Window::default());
        metrics.times.fsynctime.record(5000);
        let mut seen = Vec::new();
        for second in 0..3600 {
            let now_us = 7 + second * MINUTE_US / 60;
            if second == 60 {
                metrics.times.fsynctime.record(90);
            }
            let all = summaries(&metrics);
            let series = all.iter().find(|series| series.name == "fsynctime").expect("a summary");
            let opened = window.opened(now_us);
            seen.push((opened.per_mille(series, 0), opened.per_mille(series, 1000)));
            window.pass(now_us, &all);
            assert!(window.states.len() <= 6, "{} states after {second} s", window.states.len());
        }
        assert_eq!(seen[0], (Some(5000), Some(5000)));
        let (lowest, highest) = seen[61];
        assert!((90..=95).contains(&lowest.expect("a value")) && highest.expect("a value") >= 5000);
        // The first state is of the first page, and has the first value.
        assert_eq!(seen[479].1, highest);
        assert_eq!(seen[481].1, lowest);
        let gone = seen.iter().position(|seen| *seen == (None, None)).expect("values leave");
        assert!((60 + 480..=60 + 600).contains(&gone), "after {gone} s");
    }

    /// After a time without pages the window reaches back to the last page before it.
    #[test]
    fn without_pages() {
        let (mut metrics, mut window) = (Metrics::default(), Window::default());
        metrics.namespaces.write(b"/a", 8);
        window.pass(0, &summaries(&metrics));
        metrics.namespaces.write(b"/a", 998);
        let all = summaries(&metrics);
        let series = all.iter().find(|series| series.key == "a").expect("a namespace");
        let median = |now_us| window.opened(now_us).per_mille(series, 1);
        assert_eq!((median(7 * MINUTE_US), median(60 * MINUTE_US)), (Some(10), Some(1000)));
    }
}
