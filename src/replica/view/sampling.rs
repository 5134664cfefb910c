//! Which requests are sampled, and which paths most of them name.
//!
//! Every 256th request or so is sampled: a sample costs some 500 instructions. The gaps are drawn by chance: of clients that
//! ask for two paths in turn, each 256th request would always name the same one.

use crate::admin::{HotPath, TRACE_PATH_BYTES_MAX};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Requests of which one is sampled, on average.
const SAMPLE_ONE_IN: u32 = 256;

/// Paths that are counted.
const PATHS_MAX: usize = 64;

/// After so long a count is worth half.
const HALF_LIFE_MS: i64 = 60_000;

/// How a request treats the znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Chooses requests.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Requests until the next that is sampled; at least 1.
    until: u32,
    /// Requests of which one is sampled, on average.
    one_in: u32,
    /// Requests of which one is traced; 0 for none.
    trace_one_in: u32,
    /// Requests that the samples since the last trace stand for.
    untraced: u64,
    random: u64,
    pub hot: HotPaths,
}

impl Sampler {
    /// Traces one of `trace_one_in` requests, none if that is 0.
    pub fn new(trace_one_in: u32, seed: u64) -> Self {
        let one_in = if trace_one_in == 0 { SAMPLE_ONE_IN } else { SAMPLE_ONE_IN.min(trace_one_in) };
        let mut sampler =
            Self { until: 1, one_in, trace_one_in, untraced: 0, random: seed | 1, hot: HotPaths::new(seed) };
        sampler.until = sampler.gap();
        sampler
    }

    /// Counts a request; true if it is sampled.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        self.until -= 1;
        self.until == 0
    }

    /// Takes a sample: a request that is due, and names `path`. True if it is to be traced.
    pub fn add(&mut self, path: Option<&[u8]>, access: Access) -> bool {
        self.until = self.gap();
        if let Some(path) = path {
            self.hot.add(path, access, self.one_in);
        }
        if self.trace_one_in == 0 {
            return false;
        }
        self.untraced += u64::from(self.one_in);
        let is_traced = self.untraced >= u64::from(self.trace_one_in);
        if is_traced {
            self.untraced -= u64::from(self.trace_one_in);
        }
        is_traced
    }

    /// A gap from 1 to twice the average, which is an average one.
    fn gap(&mut self) -> u32 {
        // xorshift64, Marsaglia 2003.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        1 + (self.random >> 32) as u32 % (2 * self.one_in - 1)
    }
}

/// The paths that most samples name, by "space-saving": a path that is not counted takes the place of the one with the
/// least count, and that count for its possible past. So a path with more than a 64th of all requests is in the list.
///
/// Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005.
#[derive(Debug)]
pub(super) struct HotPaths {
    /// Of the paths, at the same places.
    hashes: Vec<u64>,
    paths: Vec<HotPath>,
    hasher: FixedState,
    halved_ms: i64,
}

impl HotPaths {
    fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { hashes: Vec::new(), paths: Vec::new(), hasher, halved_ms: 0 }
    }

    /// Counts `requests` that name a path; one that is too long to be kept is not counted.
    fn add(&mut self, path: &[u8], access: Access, requests: u32) {
        if path.len() > TRACE_PATH_BYTES_MAX {
            return;
        }
        let hash = self.hasher.hash_one(path);
        let known = self.hashes.iter().position(|known| *known == hash);
        let at = known.filter(|at| *self.paths[*at].path == *path).unwrap_or_else(|| self.begin(path, hash));
        let hot = &mut self.paths[at];
        match access {
            Access::Read => hot.reads += u64::from(requests),
            Access::Write => hot.writes += u64::from(requests),
        }
    }

    /// Gives a path a place.
    fn begin(&mut self, path: &[u8], hash: u64) -> usize {
        let hot = |uncertain| HotPath { path: path.into(), reads: 0, writes: 0, uncertain };
        if self.paths.len() < PATHS_MAX {
            self.hashes.push(hash);
            self.paths.push(hot(0));
            return self.paths.len() - 1;
        }
        let least = (0..self.paths.len()).min_by_key(|at| self.paths[*at].total()).unwrap_or(0);
        (self.hashes[least], self.paths[least]) = (hash, hot(self.paths[least].total()));
        least
    }

    /// Halves all counts if that is due.
    pub fn tick(&mut self, now_ms: i64) {
        if now_ms - self.halved_ms < HALF_LIFE_MS {
            return;
        }
        self.halved_ms = now_ms;
        for at in (0..self.paths.len()).rev() {
            let hot = &mut self.paths[at];
            (hot.reads, hot.writes, hot.uncertain) = (hot.reads / 2, hot.writes / 2, hot.uncertain / 2);
            if hot.total() == 0 {
                self.hashes.swap_remove(at);
                self.paths.swap_remove(at);
            }
        }
    }

    /// The paths, in any order.
    pub fn paths(&self) -> &[HotPath] {
        &self.paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of ever new paths two stand out that others alternate with, with about as many requests as they have; memory is
    /// bounded, and what is not asked for any more goes.
    #[test]
    fn hot_paths_stand_out() {
        const ROUNDS: u64 = 200_000;
        let mut sampler = Sampler::new(0, 7);
        for round in 0..ROUNDS {
            let other = format!("/other/{round}");
            let asked =
                [(&b"/read"[..], Access::Read), (b"/write", Access::Write), (other.as_bytes(), Access::Read)];
            for (path, access) in asked {
                if sampler.is_due() {
                    assert!(!sampler.add(Some(path), access), "nothing is traced");
                }
            }
        }
        let found =
            |hot: &HotPaths, path: &str| hot.paths().iter().find(|p| *p.path == *path.as_bytes()).cloned();
        assert_eq!(sampler.hot.paths().len(), PATHS_MAX);
        let (read, write) = (found(&sampler.hot, "/read"), found(&sampler.hot, "/write"));
        let (read, write) = (read.expect("it is hot"), write.expect("it is hot"));
        for (count, none) in [(read.reads, read.writes), (write.writes, write.reads)] {
            assert!(count.abs_diff(ROUNDS) < ROUNDS / 10, "{count} of {ROUNDS}");
            assert_eq!(none, 0);
        }
        sampler.hot.tick(HALF_LIFE_MS);
        assert_eq!(found(&sampler.hot, "/read").map(|hot| hot.reads), Some(read.reads / 2));
        (2..40).for_each(|minute| sampler.hot.tick(minute * HALF_LIFE_MS));
        assert_eq!(sampler.hot.paths().len(), 0);
        sampler.hot.add(&[b'x'; TRACE_PATH_BYTES_MAX + 1], Access::Read, 1);
        assert_eq!(sampler.hot.paths().len(), 0, "a path that is too long is not kept");
    }

    /// As many requests are traced as are asked for: all, or one of so many on average.
    #[test]
    fn traces() {
        for (one_in, requests, expected) in
            [(1, 1000, 1000..=1000), (10, 10_000, 900..=1100), (1000, 1 << 20, 940..=1160)]
        {
            let mut sampler = Sampler::new(one_in, 3);
            let traced =
                (0..requests).filter(|_| sampler.is_due() && sampler.add(None, Access::Read)).count();
            assert!(expected.contains(&traced), "{traced} of {requests}, one of {one_in}");
        }
    }
}
