//! What a history leaves: the hash of everything that happened, and counts of it.

use std::collections::BTreeMap;

/// What became of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong first.
    pub violation: Option<String>,
    /// Of everything that happened.
    pub hash: u64,
    /// Simulated time.
    pub simulated_us: u64,
    /// Txns that were committed.
    pub committed: usize,
    /// Epochs that began.
    pub epochs: usize,
    /// Requests that clients had answered.
    pub acknowledged: u64,
    /// Events that clients got.
    pub events: u64,
    /// Sessions that clients found gone.
    pub expired: u64,
    /// How followers were brought up to date.
    pub syncs: BTreeMap<&'static str, u64>,
    /// Starts that found damage.
    pub repairs: u32,
    /// Servers that began anew while clients wrote.
    pub joins: u64,
    /// Attempts to synchronise that came to nothing.
    pub failed_syncs: u64,
    /// How often a learner that was behind got txns from the log.
    pub log_reads: u64,
    /// How often the end of a learner's log was found in the log.
    pub logs_found: u64,
    /// Answers of servers that were read-only.
    pub read_only: u64,
    /// Answers to sessions that began as local ones and are global.
    pub upgrades: u64,
    /// Reconfigurations that clients were told of.
    pub reconfigurations: u64,
    /// Leaders that follow another server since they were asked to.
    pub hand_overs: u64,
    /// Leaders that began another epoch without an election.
    pub renewals: u64,
}

impl Outcome {
    /// Adds another history's numbers.
    pub fn add(&mut self, other: &Self) {
        self.simulated_us += other.simulated_us;
        self.committed += other.committed;
        self.epochs += other.epochs;
        self.acknowledged += other.acknowledged;
        self.events += other.events;
        self.expired += other.expired;
        self.repairs += other.repairs;
        self.joins += other.joins;
        self.failed_syncs += other.failed_syncs;
        self.log_reads += other.log_reads;
        self.logs_found += other.logs_found;
        self.read_only += other.read_only;
        self.upgrades += other.upgrades;
        self.reconfigurations += other.reconfigurations;
        self.hand_overs += other.hand_overs;
        self.renewals += other.renewals;
        for (sync, count) in &other.syncs {
            *self.syncs.entry(sync).or_default() += count;
        }
    }
}

/// What is counted over a history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Leaders that were established.
    pub led: u64,
    /// As in [`Outcome`].
    pub syncs: BTreeMap<&'static str, u64>,
    /// The same.
    pub failed_syncs: u64,
    /// The same.
    pub log_reads: u64,
    /// The same.
    pub logs_found: u64,
    /// The same.
    pub read_only: u64,
    /// The same.
    pub upgrades: u64,
    /// The same.
    pub reconfigurations: u64,
    /// The same.
    pub hand_overs: u64,
    /// The same.
    pub renewals: u64,
    /// When a txn was committed last.
    pub committed_us: u64,
    /// Longest time between two committed txns.
    pub longest_gap_us: u64,
}

/// Notes everything that happens.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Of all of it.
    pub hash: u64,
    /// Hears of it at once, since what comes next may panic.
    pub tell: Option<fn(&str)>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, tell: None }
    }
}

impl Trace {
    /// Adds one line about what happens at `now_us`.
    pub fn line(&mut self, now_us: u64, line: &str) {
        for byte in now_us.to_le_bytes().iter().chain(line.as_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
        }
        if let Some(tell) = self.tell {
            tell(&format!("{now_us:>10} {line}"));
        }
    }
}
