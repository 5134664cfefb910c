//! Values in short: how many, their sum and extremes, and how they are spread.

/// Number of values, their sum and extremes. Source: `AvgMinMaxCounter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Summary {
    /// Adds a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds a value `times` times.
    #[inline]
    pub fn record_n(&mut self, value: u64, times: u64) {
        if times > 0 {
            self.count += times;
            self.sum = self.sum.wrapping_add(value.wrapping_mul(times));
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }

    /// Values so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The smallest; 0 if there is none.
    pub const fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The largest; 0 if there is none.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The mean of the values, each divided by `unit`, to four places as Java shows it.
    pub fn average(&self, unit: u64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let average = self.sum as f64 / (self.count as f64 * unit as f64);
        (average * 10_000.0).round() / 10_000.0
    }
}

/// A [`Summary`] with percentiles. Values are microseconds or amounts; they are distinguished to 1/16 of their size, and those
/// above 2^36 (19 hours) are not distinguished. It takes 8 bytes for each bucket up to the largest value, 4 KiB at most.
///
/// Java keeps 4,096 values drawn at random since the start; here all count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    summary: Summary,
    buckets: Vec<u64>,
}

/// Buckets of a [`Histogram`] within each power of two.
const STEPS: u64 = 16;
/// Largest power of two that has buckets.
const EXPONENT_MAX: u64 = 36;
const BUCKETS: usize = ((EXPONENT_MAX - 4 + 1) * STEPS) as usize;
/// Buckets are added by so many, so that values which grow slowly seldom allocate.
const BUCKETS_ADDED: usize = 64;

impl Histogram {
    /// Adds a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.summary.record(value);
        self.count(bucket(value), 1);
    }

    /// Adds a value `times` times.
    #[inline]
    pub fn record_n(&mut self, value: u64, times: u64) {
        if times > 0 {
            self.summary.record_n(value, times);
            self.count(bucket(value), times);
        }
    }

    #[inline]
    fn count(&mut self, bucket: usize, times: u64) {
        match self.buckets.get_mut(bucket) {
            Some(count) => *count += times,
            None => self.grow(bucket, times),
        }
    }

    #[cold]
    fn grow(&mut self, bucket: usize, times: u64) {
        debug_assert!(bucket < BUCKETS, "bucket {bucket} of {BUCKETS}");
        self.buckets.resize((bucket / BUCKETS_ADDED + 1) * BUCKETS_ADDED, 0);
        self.buckets[bucket] = times;
    }

    /// Adds how long ago `wall_ms` is, in milliseconds since 1970: a time between two servers, whose clocks may differ.
    /// What comes out negative is no time, and left out. Source: `Request.logLatency`.
    #[inline]
    pub fn record_since(&mut self, now_ms: i64, wall_ms: i64) {
        if let Ok(ms) = u64::try_from(now_ms.saturating_sub(wall_ms)) {
            self.record(ms.saturating_mul(1000));
        }
    }

    /// Count, sum and extremes.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The value that `part` per thousand of all values do not exceed; 0 if there are none. It is
    /// the upper end of its bucket, though never above the largest value.
    pub fn per_mille(&self, part: u64) -> u64 {
        self.per_mille_since(&[], part).unwrap_or(0)
    }

    /// The same of the values that came after `earlier`, an older state of these [buckets](Self::buckets); `None` if there are
    /// none. Extremes are those of all values.
    pub fn per_mille_since(&self, earlier: &[u64], part: u64) -> Option<u64> {
        let before = earlier.iter().copied().chain(std::iter::repeat(0));
        let since =
            || self.buckets.iter().zip(before.clone()).map(|(now, before)| now.saturating_sub(before));
        let count: u64 = since().sum();
        let rank = (count * part).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in since().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_end(at).clamp(self.summary.min(), self.summary.max));
            }
        }
        None
    }

    /// Values by bucket.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// Values that are less than each of `bounds`, which rise. A bound must be the least value of a bucket: any up to 16, above
    /// that what has no more than five significant bits.
    pub fn below(&self, bounds: &[u64]) -> Vec<u64> {
        let mut counts = Vec::with_capacity(bounds.len());
        let (mut next, mut sum) = (0, 0);
        for &bound in bounds {
            let end = bucket(bound);
            debug_assert!(end == 0 || upper_end(end - 1) == bound - 1, "{bound} is within a bucket");
            while next < end {
                sum += self.buckets.get(next).unwrap_or(&0);
                next += 1;
            }
            counts.push(sum);
        }
        counts
    }
}

fn bucket(value: u64) -> usize {
    let value = value.min((1 << EXPONENT_MAX) - 1);
    if value < STEPS {
        return value as usize;
    }
    let exponent = u64::from(value.ilog2());
    ((exponent - 3) * STEPS + (value >> (exponent - 4)) - STEPS) as usize
}

fn upper_end(bucket: usize) -> u64 {
    let (row, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if row == 0 { step } else { ((STEPS + step + 1) << (row - 1)) - 1 }
}

/// Adding up what the shards measured.
pub trait Merge {
    /// Adds `other`, as if its values had been recorded here.
    fn merge(&mut self, other: &Self);
}

impl Merge for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl Merge for Summary {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Merge for Histogram {
    fn merge(&mut self, other: &Self) {
        self.summary.merge(&other.summary);
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets follow each other without gap or overlap, and are at most 1/16 of their values wide.
    #[test]
    fn buckets_touch() {
        let mut next = 0;
        for at in 0..BUCKETS {
            let end = upper_end(at);
            assert_eq!((bucket(next), bucket(end)), (at, at), "{next}..={end}");
            assert!(end - next <= next / 16);
            next = end + 1;
        }
        assert_eq!(next, 1 << EXPONENT_MAX);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    /// Percentiles are right to a bucket's width, also of what two shards measured.
    #[test]
    fn percentiles() {
        let (mut odd, mut even) = (Histogram::default(), Histogram::default());
        assert_eq!(odd.per_mille(500), 0);
        for value in 1..=100_000 {
            if value % 2 == 0 { &mut even } else { &mut odd }.record(value);
        }
        let mut all = Histogram::default();
        all.merge(&odd);
        all.merge(&even);
        assert_eq!(all.summary().sum(), 5_000_050_000);
        for (part, exact) in [(500, 50_000), (950, 95_000), (990, 99_000), (999, 99_900)] {
            let found = all.per_mille(part);
            assert!((exact..=exact + exact / 16).contains(&found), "{part}: {found}");
        }
        assert_eq!(all.per_mille(1000), 100_000);
        let mut one = Histogram::default();
        one.record(7777);
        assert_eq!([one.per_mille(0), one.per_mille(500), one.per_mille(999)], [7777; 3]);
    }

    /// Values below a bound, and those that came after an older state.
    #[test]
    fn parts_of_a_histogram() {
        let mut all = Histogram::default();
        (0..1000).for_each(|value| all.record(value));
        assert_eq!(all.below(&[1, 7, 16, 32, 512, 1024, 4096]), [1, 7, 16, 32, 512, 1000, 1000]);
        assert_eq!(Histogram::default().below(&[1, 16]), [0, 0]);
        let earlier = all.buckets().to_vec();
        assert_eq!(all.per_mille_since(&earlier, 500), None);
        (0..10).for_each(|_| all.record(20_000));
        all.record(3);
        let after = |part| all.per_mille_since(&earlier, part);
        assert_eq!([after(10), after(500), after(1000)], [Some(3), Some(20_000), Some(20_000)]);
        assert_eq!(all.per_mille(500), 511);
    }

    /// A summary without values is all zero, and averages have four places.
    #[test]
    fn summaries() {
        let mut summary = Summary::default();
        assert_eq!((summary.min(), summary.max(), summary.average(1)), (0, 0, 0.0));
        for value in [70, 71, 71] {
            summary.record(value);
        }
        assert_eq!((summary.min(), summary.max(), summary.average(1)), (70, 71, 70.6667));
        assert_eq!(summary.average(1000), 0.0707);
        let mut other = Summary::default();
        other.merge(&summary);
        assert_eq!(other, summary);
    }
}
