//! What a run does, as the command asked for it.

use crate::engine::wire::Values;
use crate::engine::worker::Settings;
use crate::random::Keys;
use crate::workloads::independent::Independent;
use std::ops::RangeInclusive;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `host:port` of each server; sessions are spread over them in turn.
    pub servers: Vec<String>,
    /// Sessions; in a connect storm those that are being opened at once.
    pub connections: usize,
    /// Units of work in flight per session: always (closed loop) or at most (open loop).
    pub in_flight: usize,
    /// Threads of loadgen.
    pub threads: usize,
    /// What sessions ask for.
    pub work: Work,
    /// Sizes of values in bytes, all equally likely.
    pub value_bytes: RangeInclusive<u32>,
    /// Number of prepared keys.
    pub key_count: u32,
    /// How often each of them is used.
    pub keys: Keys,
    /// Path of the parent of all znodes that the run creates.
    pub base: String,
    /// Arrivals per second of an open loop; none in a closed loop.
    pub rate: Option<f64>,
    /// Seed of keys, mix, values and arrivals.
    pub seed: u64,
    /// Whether a session whose connection ends connects again.
    pub reconnect: bool,
    /// Whether a get or set that is lost with its connection is sent again, and others wait for a session without one.
    pub retry: bool,
}

impl Plan {
    /// The most bytes of a correct reply.
    fn reply_bytes_max(&self) -> usize {
        /// Bytes of a listed child, of a result of a multi, and of everything else in a reply.
        const CHILD_BYTES: usize = 32;
        const RESULT_BYTES: usize = 128;
        const OTHER_BYTES: usize = 1024;
        let variable = match &self.work {
            Work::Independent(Independent::List { children, .. }) => *children as usize * CHILD_BYTES,
            // Twice, because lost connections may have left a znode each.
            Work::Lock { .. } => 2 * self.connections * CHILD_BYTES,
            Work::Independent(Independent::Multi { ops }) => *ops as usize * RESULT_BYTES,
            _ => *self.value_bytes.end() as usize,
        };
        variable + OTHER_BYTES
    }

    /// What the data of znodes looks like.
    pub fn values(&self) -> Values {
        Values::new(self.value_bytes.clone())
    }

    /// How the run's threads send.
    pub fn settings(&self) -> Settings {
        Settings {
            threads: self.threads,
            rate: self.rate,
            seed: self.seed,
            reconnect: self.reconnect,
            reply_bytes_max: self.reply_bytes_max(),
        }
    }
}

/// The workload of a run.
#[derive(Clone, Debug)]
pub enum Work {
    /// Requests that do not depend on replies.
    Independent(Independent),
    /// The lock recipe, on locks `0..locks` below the base.
    Lock {
        /// Number of locks.
        locks: u32,
    },
    /// One writer and `connections - 1` watchers of the znode 0 below the base.
    Watch,
    /// Sessions that are opened and closed.
    Connect,
}
