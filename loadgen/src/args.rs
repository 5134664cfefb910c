//! Arguments that several commands take, and the checks of their values.

use crate::engine::wire::NUMBERS;
use clap::{Args, Parser, ValueEnum};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Arguments of every command that talks to servers.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Servers; sessions are spread over them in turn
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "localhost:2181")]
    pub server: Vec<String>,
    /// Processes of the servers: their CPU time, memory, context switches and writes are reported
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// One JSON object on one line instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What sessions ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// getData of keys
    Get,
    /// setData of keys
    Set,
    /// Both, by --read-ratio
    Mix,
    /// sync followed by getData, and setData, by --read-ratio: no read may be older than its sync
    Sync,
    /// Creates below one parent per session
    Create,
    /// Creates and deletes ephemerals, in turn
    Ephemeral,
    /// Transactions of --ops setDatas of neighbouring keys
    Multi,
    /// getChildren of a parent of --children
    List,
    /// The lock recipe on --locks locks: time to acquire; loadgen checks that only one session holds a lock
    Lock,
    /// One session changes a znode, the others watch it: time to each event and to the last
    Watch,
    /// Sessions are opened and closed, --connections at once
    Connect,
}

/// How often a workload uses each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// All keys equally often
    Uniform,
    /// The k-th key in proportion to 1 / k^exponent
    Zipf,
}

/// Arguments of a load: of `loadgen` without a command, of `compare` and of `scenario`.
#[derive(Clone, Debug, Args)]
pub struct Load {
    #[command(flatten)]
    pub common: Common,
    /// Sessions; a watch fan-out has one more, which writes. A server takes 60 from one address (maxClientCnxns) by
    /// default
    #[arg(long, default_value_t = 48, value_parser = at_least_one)]
    pub connections: usize,
    /// Requests in flight per session; with --rate this is the most
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub in_flight: usize,
    /// Threads of loadgen [default: one, and one more for each four cores beyond four]
    #[arg(long, value_parser = at_least_one)]
    pub threads: Option<usize>,
    /// Measured time
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Time before the measured time, in seconds
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub warmup: f64,
    /// Kind of requests
    #[arg(long, value_enum, default_value_t = Workload::Mix)]
    pub workload: Workload,
    /// Share of reads in a mix or a sync
    #[arg(long, default_value_t = 0.9, value_parser = ratio)]
    pub read_ratio: f64,
    /// Bytes of data per znode; LEAST..MOST for sizes between them, all equally likely
    #[arg(long, default_value = "100", value_name = "BYTES", value_parser = value_sizes)]
    pub value_bytes: Sizes,
    /// Znodes that are read and written
    #[arg(long, default_value_t = 1000, value_parser = below_numbers)]
    pub keys: u32,
    /// How often each of them is used
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub distribution: Distribution,
    /// Exponent of zipf: a greater one prefers the first keys more
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
    /// With gets and sets: one that is lost with its connection is sent again on the next one, and others wait for a session
    /// without connection, as an application's would. Latencies include these waits
    #[arg(long)]
    pub retry: bool,
    /// Count what takes longer than this, in milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub slow_ms: Option<u32>,
    /// Delete everything below /loadgen afterwards
    #[arg(long)]
    pub clean: bool,
    /// Write an HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Load {
    /// The load that these words of a command line ask for.
    ///
    /// # Errors
    /// The error of clap for a word that is no argument of a load.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        /// Nothing but a load: the commands, which take loads themselves, are not needed to read one.
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            load: Load,
        }
        Alone::try_parse_from(["loadgen"].into_iter().chain(words)).map(|alone| alone.load)
    }
}

/// The load without any argument.
impl Default for Load {
    fn default() -> Self {
        Self::from_words([]).expect("every argument has a default")
    }
}

/// Sizes of values in bytes, all equally likely.
pub type Sizes = RangeInclusive<u32>;

/// The largest data of a znode that a stock server takes, with room for the rest of the request.
const VALUE_BYTES_MAX: u32 = 1_000_000;

/// Parses a number that is at least 1.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Parses a number that a path can hold; see [`NUMBERS`].
fn below_numbers(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|error| format!("{error}"))?;
    let fits = number > 0 && u64::from(number) < NUMBERS;
    if fits { Ok(number) } else { Err(format!("from 1 to {}", NUMBERS - 1)) }
}

/// Parses the bytes of a value that a stock server takes.
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

/// Parses a time in seconds.
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

    /// Without arguments a load is the mix against this machine.
    #[test]
    fn no_argument_is_enough() {
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
        let reconnect = |words: &[&str]| Load::from_words(words.iter().copied()).map(|load| load.reconnect);
        assert_eq!(reconnect(&["--reconnect"]).expect("a flag"), Some(true));
        assert_eq!(reconnect(&["--reconnect", "false"]).expect("a flag with a value"), Some(false));
    }
}
