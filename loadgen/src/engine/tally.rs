//! Counts and latencies of a run, over all of it and second by second.

use crate::engine::wire::{Op, Wrong};
use crate::report::outcome::{Band, Series, Trouble, rounded, us};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use zkfast::proto::ErrorCode;

/// The longest latency that is measured, in nanoseconds; longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Decimal digits of a latency over the whole run.
const DIGITS: u8 = 3;
/// Decimal digits of a latency within a single second.
const SECOND_DIGITS: u8 = 2;
/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// The two classes of work whose latencies are kept apart. The workload decides what they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads, or the events of a fan-out.
    Read,
    /// Everything else.
    Write,
}

/// Latencies in nanoseconds by [`Class`].
#[derive(Clone)]
pub struct Latencies {
    /// Of [`Class::Read`].
    pub reads: Histogram<u64>,
    /// Of [`Class::Write`].
    pub writes: Histogram<u64>,
}

/// Prints counts: the buckets would be thousands of numbers.
impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} reads, {} writes", self.reads.len(), self.writes.len())
    }
}

impl Latencies {
    fn new(digits: u8) -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, digits).expect("bounds that fit");
        Self { reads: histogram(), writes: histogram() }
    }

    /// Both classes together.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        all.add(&self.writes).expect("the same bounds");
        all
    }

    fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads).expect("the same bounds");
        self.writes.add(&other.writes).expect("the same bounds");
    }

    fn record(&mut self, class: Class, latency_ns: u64) {
        match class {
            Class::Read => self.reads.saturating_record(latency_ns),
            Class::Write => self.writes.saturating_record(latency_ns),
        }
    }

    fn clear(&mut self) {
        // `clear` of a histogram keeps its greatest value, which would then be that of the next second.
        self.reads.reset();
        self.writes.reset();
    }
}

/// Counts and latencies of one thread, or of the whole run.
#[derive(Debug)]
pub struct Tally {
    /// Latencies of the measured units of work.
    pub latencies: Latencies,
    /// What went wrong.
    pub trouble: Trouble,
    /// How long the oldest unsent arrival of an open loop had waited at the end.
    pub behind: Duration,
    /// Arrivals of an open loop that found no room by the end. Their latency is unknown.
    pub unsent: u64,
    /// How late loadgen itself sent requests of an open loop that had room, in nanoseconds.
    pub late: Histogram<u64>,
    /// Latencies of the second in progress.
    current: Latencies,
    /// Lost requests of the second in progress.
    current_lost: u64,
    /// Number of the second in progress.
    second: u32,
}

impl Tally {
    /// An empty tally.
    pub fn new() -> Self {
        Self {
            latencies: Latencies::new(DIGITS),
            trouble: Trouble::default(),
            behind: Duration::ZERO,
            unsent: 0,
            late: Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("bounds that fit"),
            current: Latencies::new(SECOND_DIGITS),
            current_lost: 0,
            second: 0,
        }
    }

    /// Adds the tally of another thread.
    pub fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.trouble.add(&other.trouble);
        self.behind = self.behind.max(other.behind);
        self.unsent += other.unsent;
        self.late.add(&other.late).expect("the same bounds");
    }

    /// Number of measured units of work.
    pub fn ops(&self) -> u64 {
        self.latencies.reads.len() + self.latencies.writes.len()
    }

    /// Measures one unit of work.
    pub fn record(&mut self, class: Class, latency_ns: u64) {
        self.latencies.record(class, latency_ns);
        self.current.record(class, latency_ns);
    }

    /// Counts requests whose connection ended before their reply.
    pub fn lose(&mut self, requests: u64) {
        self.trouble.lost += requests;
        self.current_lost += requests;
    }

    /// Counts a wrong reply to `op`; error codes of a server in trouble count as errors instead.
    pub fn wrong(&mut self, op: Op, wrong: &Wrong) {
        if let Wrong::Err { code } = wrong
            && let Some(code) = excused(*code)
        {
            return self.error(code);
        }
        self.trouble.wrong += 1;
        self.trouble.first_wrong.get_or_insert_with(|| format!("{op:?}: {wrong}"));
    }

    /// Counts an error of a server in trouble.
    pub fn error(&mut self, what: &str) {
        match self.trouble.errors.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.trouble.errors.insert(what.to_owned(), 1)),
        }
    }

    /// Hands over the seconds that are complete `measured_ns` after measuring began.
    pub fn roll(&mut self, measured_ns: u64, seconds: &Mutex<Seconds>) {
        let now = u32::try_from(measured_ns / SECOND_NS).unwrap_or(u32::MAX);
        while self.second < now {
            self.hand_over(seconds);
        }
    }

    /// Hands over the second in progress; at the end of a run it is the last one.
    pub fn hand_over(&mut self, seconds: &Mutex<Seconds>) {
        let mut seconds = seconds.lock().expect("no thread of loadgen panics");
        seconds.add(self.second, &self.current, self.current_lost);
        self.second += 1;
        self.current.clear();
        self.current_lost = 0;
    }
}

/// The name of an error code that reports a server in trouble or a session that ended; `None` for codes of the request.
fn excused(code: i32) -> Option<&'static str> {
    const CODES: [(ErrorCode, &str); 4] = [
        (ErrorCode::ConnectionLoss, "ConnectionLoss"),
        (ErrorCode::SessionExpired, "SessionExpired"),
        (ErrorCode::SessionMoved, "SessionMoved"),
        (ErrorCode::ThrottledOp, "ThrottledOp"),
    ];
    CODES.iter().find(|(excused, _)| excused.to_wire() == code).map(|(_, name)| *name)
}

/// One second of one class of work, or of both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassSecond {
    /// Number of units of work.
    pub ops: u64,
    /// Median latency.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Longest latency.
    pub max_us: f64,
}

impl ClassSecond {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        Self { ops: histogram.len(), p50_us: at(0.5), p99_us: at(0.99), max_us: us(histogram.max()) }
    }
}

/// One second of all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    /// Both classes.
    pub all: ClassSecond,
    /// Reads.
    pub read: ClassSecond,
    /// Writes.
    pub write: ClassSecond,
    /// Requests whose connection ended.
    pub lost: u64,
}

/// The seconds of a run, collected from its threads while it lasts.
#[derive(Debug)]
pub struct Seconds {
    threads: usize,
    /// Seconds that some threads have not handed over yet: the number of threads that have, their latencies, lost
    /// requests.
    open: BTreeMap<u32, (usize, Latencies, u64)>,
    done: Vec<Second>,
}

impl Seconds {
    /// The seconds of `threads` threads.
    pub const fn new(threads: usize) -> Self {
        Self { threads, open: BTreeMap::new(), done: Vec::new() }
    }

    fn add(&mut self, second: u32, latencies: &Latencies, lost: u64) {
        let (given, sum, sum_lost) =
            self.open.entry(second).or_insert_with(|| (0, Latencies::new(SECOND_DIGITS), 0));
        sum.add(latencies);
        *sum_lost += lost;
        *given += 1;
        while self.open.first_key_value().is_some_and(|(_, (given, ..))| *given == self.threads) {
            self.close();
        }
    }

    /// Completes the oldest open second. Threads hand over their seconds in order, so that it is the next one to
    /// complete.
    fn close(&mut self) {
        if let Some((_, (_, sum, lost))) = self.open.pop_first() {
            self.done.push(Second {
                all: ClassSecond::of(&sum.all()),
                read: ClassSecond::of(&sum.reads),
                write: ClassSecond::of(&sum.writes),
                lost,
            });
        }
    }

    /// The number of complete seconds, and the last of them; `None` before the first is complete.
    pub fn last(&self) -> Option<(usize, Second)> {
        self.done.last().map(|last| (self.done.len(), *last))
    }

    /// All seconds of a run that measured for `seconds`; a rest of less than a tenth of a second is left out.
    pub fn series(mut self, seconds: f64) -> Series {
        while !self.open.is_empty() {
            self.close();
        }
        let mut series = Series::default();
        for (index, second) in self.done.iter().enumerate() {
            let width = (seconds - index as f64).min(1.0);
            if width < 0.1 {
                break;
            }
            series.at_s.push(rounded(index as f64 + width));
            series.lost.push(second.lost);
            push(&mut series.all, &second.all, width);
            push(&mut series.read, &second.read, width);
            push(&mut series.write, &second.write, width);
        }
        series
    }
}

fn push(band: &mut Band, point: &ClassSecond, width: f64) {
    band.ops_per_s.push(rounded(point.ops as f64 / width));
    band.p50_us.push(point.p50_us);
    band.p99_us.push(point.p99_us);
    band.max_us.push(point.max_us);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two threads' seconds become one series: sums per second, a stalled second with zeros, and a last second that is
    /// scaled by its length.
    #[test]
    fn seconds_of_two_threads() {
        let seconds = Mutex::new(Seconds::new(2));
        let (mut one, mut two) = (Tally::new(), Tally::new());
        for _ in 0..100 {
            one.record(Class::Read, 1_000_000);
            two.record(Class::Write, 3_000_000);
        }
        one.roll(SECOND_NS, &seconds);
        assert_eq!(seconds.lock().expect("a lock").last(), None);
        two.lose(7);
        two.roll(2 * SECOND_NS, &seconds);
        let (count, last) = seconds.lock().expect("a lock").last().expect("a second that is over");
        assert_eq!((count, last.all.ops, last.read.ops, last.lost), (1, 200, 100, 7));
        one.roll(2 * SECOND_NS, &seconds);
        one.record(Class::Read, 5_000_000);
        one.hand_over(&seconds);
        two.hand_over(&seconds);
        let series = seconds.into_inner().expect("a lock").series(2.5);
        assert_eq!(series.at_s, [1.0, 2.0, 2.5]);
        assert_eq!(series.all.ops_per_s, [200.0, 0.0, 2.0]);
        assert_eq!(series.read.ops_per_s, [100.0, 0.0, 2.0]);
        assert_eq!(series.lost, [7, 0, 0]);
        assert!((990.0..1010.0).contains(&series.all.p50_us[0]), "{series:?}");
        assert!((2970.0..3030.0).contains(&series.all.max_us[0]), "{series:?}");
        assert_eq!((series.all.max_us[1], one.ops(), two.ops()), (0.0, 101, 100));
    }

    /// The slowest request of a second does not show in the seconds after it.
    #[test]
    fn max_of_each_second() {
        let seconds = Mutex::new(Seconds::new(1));
        let mut tally = Tally::new();
        tally.record(Class::Read, 9_000_000);
        tally.roll(SECOND_NS, &seconds);
        tally.record(Class::Read, 1_000_000);
        tally.roll(2 * SECOND_NS, &seconds);
        tally.hand_over(&seconds);
        let max_us = seconds.into_inner().expect("a lock").series(2.0).read.max_us;
        assert!(max_us[0] > 8_900.0 && max_us[1] < 1_100.0, "{max_us:?}");
    }

    /// An error code of a server in trouble is not a wrong reply; NoNode is one.
    #[test]
    fn trouble_is_not_wrong() {
        let mut tally = Tally::new();
        let op = Op::default();
        tally.wrong(op, &Wrong::Err { code: ErrorCode::SessionExpired.to_wire() });
        assert_eq!((tally.trouble.wrong, tally.trouble.errors.get("SessionExpired")), (0, Some(&1)));
        tally.wrong(op, &Wrong::Err { code: ErrorCode::NoNode.to_wire() });
        assert_eq!((tally.trouble.wrong, tally.trouble.errors.len()), (1, 1));
    }
}
