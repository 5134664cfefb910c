//! The arguments.

use crate::{compare, floor, render, scenario, wire, zookeeper};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Measures servers that speak ZooKeeper's protocol, checking every reply.
///
/// Without a command it runs reads and writes of 100-byte znodes below /loadgen.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        loadgen --read-ratio 0.9\n  \
        loadgen --workload set --connections 1 --in-flight 1 --seconds 5\n  \
        loadgen --html page.html --seconds 30\n  \
        loadgen compare --a zookeeper --b zkfast --html page.html\n  \
        loadgen --rate 5000 --connections 32 --server-pid $(pgrep -x zkfast)\n  \
        loadgen --workload lock --connections 32 --locks 4\n  \
        loadgen --workload watch --connections 1000\n  \
        loadgen --server a:2181,b:2181,c:2181 --distribution zipf --value-bytes 100..1000\n  \
        loadgen fill --znodes 100000 --server-pid $(pgrep -x zkfast)\n\n\
        Exit status: 0, 1 (a reply was wrong, or none came), 2 (usage), 3 (no connection)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub load: Load,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Puts the same load on two services in turn, and tells their ratios.
    Compare(Box<compare::Compare>),
    /// Runs a measurement that has a name, on servers that are started for it.
    Scenario(Box<scenario::Scenario>),
    /// Fetches Apache ZooKeeper and runs it.
    Zookeeper(zookeeper::Zookeeper),
    /// Makes the page of a result that was kept as JSON.
    Page(render::Render),
    /// Opens sessions that do nothing, holds them by pings, and tells what they cost.
    Idle(Idle),
    /// Creates znodes and tells what they cost.
    Fill(Fill),
    /// Deletes everything below /loadgen.
    Clean(Common),
    /// Measures one durable 4 KiB overwrite at a time, without a server.
    Disk(Disk),
    /// Alternates single sets with bare durable 4 KiB overwrites in the same directory.
    LoneSet(LoneSet),
    /// Serves the least that this load can be put on: no tree, no ZooKeeper, a yardstick.
    Floor(floor::Floor),
}

#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Servers; sessions are spread over them in turn
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "localhost:2181")]
    pub server: Vec<String>,
    /// Processes of the servers, whose CPU time, memory, switches and writes are told
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// One JSON object on one line instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// getData of keys
    Get,
    /// setData of keys
    Set,
    /// Both, by --read-ratio
    Mix,
    /// sync and getData behind it, and setData, by --read-ratio: no read may be older than the sync
    Sync,
    /// Creates below one parent per session
    Create,
    /// Creates and deletes ephemerals, in turn
    Ephemeral,
    /// Transactions of --ops setDatas of neighbouring keys
    Multi,
    /// getChildren of a parent of --children
    List,
    /// The lock recipe on --locks locks: time to acquire; that only one holds it is checked
    Lock,
    /// One session changes a znode, the others watch it: time to each event and to the last
    Watch,
    /// Sessions are opened and closed, --connections at once
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// Each key as often
    Uniform,
    /// The k-th key as often as 1 / k^exponent
    Zipf,
}

#[derive(Clone, Debug, Args)]
pub struct Load {
    #[command(flatten)]
    pub common: Common,
    /// Sessions; of a watch fan-out one more, which writes. A server takes 60 from one address (maxClientCnxns) by default
    #[arg(long, default_value_t = 48, value_parser = at_least_one)]
    pub connections: usize,
    /// Requests on their way per session; at most so many with --rate
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub in_flight: usize,
    /// Threads of loadgen [default: one, and one more for each four cores beyond four]
    #[arg(long, value_parser = at_least_one)]
    pub threads: Option<usize>,
    /// Measured time
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Time before it, in seconds
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub warmup: f64,
    /// Kind of requests
    #[arg(long, value_enum, default_value_t = Workload::Mix)]
    pub workload: Workload,
    /// Share of reads in a mix or a sync
    #[arg(long, default_value_t = 0.9, value_parser = ratio)]
    pub read_ratio: f64,
    /// Bytes of data per znode; LEAST..MOST for sizes between, each as likely
    #[arg(long, default_value = "100", value_name = "BYTES", value_parser = value_sizes)]
    pub value_bytes: Sizes,
    /// Znodes that are read and written
    #[arg(long, default_value_t = 1000, value_parser = below_numbers)]
    pub keys: u32,
    /// How often which of them
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub distribution: Distribution,
    /// Exponent of zipf: the greater, the more alike the keys
    #[arg(long, default_value_t = 0.99, value_name = "EXPONENT", value_parser = zipf_exponent)]
    pub zipf: f64,
    /// Operations of a multi
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub ops: u32,
    /// Children of the parent that is listed
    #[arg(long, default_value_t = 1000, value_parser = below_numbers)]
    pub children: u32,
    /// Locks; sessions are spread over them in turn
    #[arg(long, default_value_t = 1, value_parser = below_numbers)]
    pub locks: u32,
    /// Open loop: requests per second, arriving at random (Poisson)
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// Seed of keys, mix, values and arrivals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Whether a session whose connection ends connects again, to the next server
    /// [default: true with several servers and for connect, otherwise false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub reconnect: Option<bool>,
    /// Delete everything below /loadgen afterwards
    #[arg(long)]
    pub clean: bool,
    /// One page with plots, for a browser
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// As without any argument.
impl Default for Load {
    fn default() -> Self {
        Cli::parse_from(["loadgen"]).load
    }
}

#[derive(Debug, Args)]
pub struct Idle {
    #[command(flatten)]
    pub common: Common,
    /// Sessions
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub sessions: usize,
    /// How long to hold them
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
}

#[derive(Debug, Args)]
pub struct Fill {
    #[command(flatten)]
    pub common: Common,
    /// Znodes
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..wire::NUMBERS))]
    pub znodes: u64,
    /// Bytes of data per znode
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: u32,
    /// Znodes per parent
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub fanout: u64,
}

#[derive(Debug, Args)]
pub struct Disk {
    /// Directory on the disk in question
    #[arg(long)]
    pub dir: PathBuf,
    /// Measured time
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,
    /// One JSON object on one line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct LoneSet {
    #[command(flatten)]
    pub common: Common,
    /// Directory on the disk of the server's log
    #[arg(long)]
    pub dir: PathBuf,
    /// Measured time
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Bytes of data
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: u32,
}

/// Sizes of values, each as likely.
pub type Sizes = RangeInclusive<u32>;

/// Largest data of a znode that a stock server takes, with room for the rest of the request.
const VALUE_BYTES_MAX: u32 = 1_000_000;

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn below_numbers(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|error| format!("{error}"))?;
    let fits = number > 0 && u64::from(number) < wire::NUMBERS;
    if fits { Ok(number) } else { Err(format!("from 1 to {}", wire::NUMBERS - 1)) }
}

/// Bytes of a value that a stock server takes.
pub fn value_bytes(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if bytes <= VALUE_BYTES_MAX { Ok(bytes) } else { Err(format!("at most {VALUE_BYTES_MAX}")) }
}

fn value_sizes(text: &str) -> Result<Sizes, String> {
    let (least, most) = match text.split_once("..") {
        Some((least, most)) => (value_bytes(least)?, value_bytes(most)?),
        None => (value_bytes(text)?, value_bytes(text)?),
    };
    if least <= most { Ok(least..=most) } else { Err(format!("{least} is more than {most}")) }
}

fn number_in(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (low..=high).contains(&number) { Ok(number) } else { Err(format!("from {low} to {high}")) }
}

/// A time that can be measured.
pub fn seconds(text: &str) -> Result<f64, String> {
    number_in(text, 0.0, 1e6)
}

fn ratio(text: &str) -> Result<f64, String> {
    number_in(text, 0.0, 1.0)
}

fn rate(text: &str) -> Result<f64, String> {
    number_in(text, 0.001, 1e9)
}

fn zipf_exponent(text: &str) -> Result<f64, String> {
    number_in(text, 0.01, 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The definition is consistent, and without arguments it is the mix against this machine.
    #[test]
    fn no_argument_is_enough() {
        Cli::command().debug_assert();
        let load = Load::default();
        assert_eq!((load.workload, load.read_ratio, load.value_bytes), (Workload::Mix, 0.9, 100..=100));
        assert_eq!((&load.common.server[..], load.reconnect), (&["localhost:2181".to_owned()][..], None));
    }

    /// Sizes are one number or two in order; reconnecting is a flag that takes a value.
    #[test]
    fn sizes_and_flags() {
        assert_eq!(value_sizes("100..1000"), Ok(100..=1000));
        assert_eq!(value_sizes("0"), Ok(0..=0));
        assert!(
            value_sizes("10..9").is_err() && value_sizes("1000001").is_err() && value_sizes("..").is_err()
        );
        let load = |args: &[&str]| Cli::parse_from([&["loadgen"], args].concat()).load.reconnect;
        assert_eq!(load(&["--reconnect"]), Some(true));
        assert_eq!(load(&["--reconnect", "false"]), Some(false));
    }
}
