//! Axes of charts: their range, their ticks and the labels of those.

use crate::report::format;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// The quantity of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero, with short numbers.
    Count,
    /// From zero, seconds.
    Seconds,
    /// From zero, whole numbers: servers, cores.
    Whole,
    /// Logarithmic, microseconds.
    Latency,
    /// Logarithmic, 1 / (1 - p) for the percentile p: each decade is another nine.
    Tail,
}

/// An axis of any scale, so that all charts have one type.
#[derive(Clone, Debug)]
pub struct Axis {
    scale: Scale,
    /// The least value that it shows.
    pub from: f64,
    /// The greatest value that it shows.
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis that shows all `values` and `at_least`.
    pub fn over(scale: Scale, values: impl Iterator<Item = f64>, at_least: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, at_least);
        for value in values {
            low = low.min(value);
            high = high.max(value);
        }
        match scale {
            Scale::Count | Scale::Seconds | Scale::Whole => Self::linear(scale, high),
            Scale::Latency => Self::latency(low, high),
            Scale::Tail => Self::tail(high),
        }
    }

    fn linear(scale: Scale, high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let power = 10f64.powf((high / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| high / step <= 5.0)
            .unwrap_or(10.0 * power);
        let step = if scale == Scale::Whole { step.max(1.0) } else { step };
        let count = (high / step - 1e-9).ceil();
        // A count gets room above it; the other scales end at their greatest value.
        let to = if scale == Scale::Count { count * step } else { high };
        let ticks =
            (0..=count as u32).map(|tick| f64::from(tick) * step).filter(|tick| *tick <= to).collect();
        Self { scale, from: 0.0, to, ticks }
    }

    fn latency(low: f64, high: f64) -> Self {
        let low = if low.is_finite() { low.max(0.1) } else { 1.0 };
        let high = high.max(low);
        let decade = |value: f64| 10f64.powf(value.log10().floor());
        let steps: &[f64] = if high / low > 300.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut ticks = Vec::new();
        let mut power = decade(low);
        while power <= high * 10.0 {
            ticks.extend(steps.iter().map(|step| step * power));
            power *= 10.0;
        }
        // From the last tick below all values to the first one above them.
        let first = ticks.iter().rposition(|tick| *tick <= low).unwrap_or(0);
        let last =
            ticks.iter().position(|tick| *tick >= high && *tick > ticks[first]).unwrap_or(ticks.len() - 1);
        Self {
            scale: Scale::Latency,
            from: ticks[first],
            to: ticks[last],
            ticks: ticks[first..=last].to_vec(),
        }
    }

    fn tail(high: f64) -> Self {
        let to = high.max(10.0);
        // With many decades the labels 0 and 50 % would overlap.
        let mut ticks = if to > 1e4 { vec![2.0] } else { vec![1.0, 2.0] };
        let mut power = 10.0;
        while power <= to {
            ticks.push(power);
            power *= 10.0;
        }
        Self { scale: Scale::Tail, from: 1.0, to, ticks }
    }

    fn is_log(&self) -> bool {
        matches!(self.scale, Scale::Latency | Scale::Tail)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = if self.is_log() {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        format::short(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        match self.scale {
            Scale::Count | Scale::Seconds | Scale::Whole => format::short(*value),
            Scale::Latency => format::round_time(*value),
            Scale::Tail => percentile(*value),
        }
    }
}

/// The percentile that leaves one request in `tail` above it.
fn percentile(tail: f64) -> String {
    let nines = tail.log10().round();
    let digits = (nines - 2.0).max(0.0) as usize;
    if tail < 5.0 {
        format!("{:.0} %", 100.0 * (1.0 - 1.0 / tail))
    } else {
        format!("{:.digits$} %", 100.0 * (1.0 - 1.0 / tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks are round numbers, and the axis covers all values.
    #[test]
    fn ticks() {
        let axis = |scale, values: &[f64]| Axis::over(scale, values.iter().copied(), 0.0);
        let labels = |axis: Axis| axis.ticks.iter().map(|tick| axis.format_ext(tick)).collect::<Vec<_>>();
        assert_eq!(labels(axis(Scale::Count, &[93_000.0])), ["0", "20 k", "40 k", "60 k", "80 k", "100 k"]);
        assert_eq!(labels(axis(Scale::Seconds, &[10.3])), ["0", "5", "10"]);
        assert_eq!(
            labels(axis(Scale::Latency, &[85.0, 1900.0])),
            ["50 µs", "100 µs", "200 µs", "500 µs", "1 ms", "2 ms"]
        );
        assert_eq!(
            labels(axis(Scale::Latency, &[85.0, 190_000.0])),
            ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
        );
        assert_eq!(
            labels(axis(Scale::Tail, &[1.0, 20_000.0])),
            ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
        assert_eq!(axis(Scale::Latency, &[]).ticks.len(), 2);
    }
}
