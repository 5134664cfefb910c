//! The record of a scenario.

use crate::report::machine::Machine;
use crate::report::outcome::Outcome;
use crate::report::rounds::Spread;
use serde::{Deserialize, Serialize};

/// The record of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScenarioRecord {
    /// Kind of the record: `scenario`.
    pub what: String,
    /// Its name.
    pub scenario: String,
    /// The points in the order of their measurement.
    pub points: Vec<Point>,
    /// The machine, and the command.
    pub machine: Machine,
}

/// One service in one set-up under one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// Points of the same group are compared with each other: `servers`, `cores` or `quorum`.
    pub group: String,
    /// Name of the service.
    pub target: String,
    /// Version of its first server, by `srvr`.
    pub version: String,
    /// Command line of its first server.
    pub command: String,
    /// Number of servers.
    pub servers: u64,
    /// CPUs of each server, as its command line has them; empty for all.
    pub cores: Vec<String>,
    /// Sessions.
    pub connections: u64,
    /// Requests in flight on each session.
    pub in_flight: u64,
    /// Units of work per second, over the rounds.
    pub ops_per_s: Spread,
    /// Median latency over the rounds.
    pub p50_us: Spread,
    /// 99th percentile of the latency over the rounds.
    pub p99_us: Spread,
    /// 99.9th percentile of the latency over the rounds.
    pub p999_us: Spread,
    /// CPUs that all servers together kept busy; null if unknown.
    pub server_cores: Option<Spread>,
    /// CPUs that loadgen kept busy.
    pub client_cores: Spread,
    /// The rounds in their order.
    pub rounds: Vec<Outcome>,
}
