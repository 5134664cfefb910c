//! The command line of `zkfast log`.

use super::super::output::STATUSES;
use super::super::values::{Subtree, ZxidRange, parse_session, parse_time, parse_zxid};
use super::types::TYPES;
use crate::proto::{SessionId, Zxid};
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;

/// What `zkfast log` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub struct LogArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LogCommand,
    /// One JSON object a line in place of text.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands of `zkfast log`.
#[derive(Debug, clap::Subcommand)]
pub enum LogCommand {
    /// Lists txns, one a line, oldest first.
    #[command(
        after_help = "Examples:\n  zkfast log list /var/lib/zkfast --path /locks --since 2026-11-29T14:00:00\n  \
                            zkfast log list --zxid 0x100000000.. --json log.00000007\n  \
                            zkfast log list --session 0x1000abcd0000 --data /var/lib/zookeeper\n\n\
                            What is damaged is reported on standard error and left out; see zkfast log verify"
    )]
    List(ListArgs),
    /// Checks checksums, the order of zxids and the end of each file; tells an incomplete last write from damage.
    #[command(after_help = "Example:\n  zkfast log verify /var/lib/zkfast && echo sound")]
    Verify {
        /// Logs, or directories of them: a dataDir, a dataLogDir, or version-2 or zkfast-1 in it.
        #[arg(required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
    },
    /// Counts txns and bytes by type, by path and by session.
    #[command(after_help = "Example:\n  zkfast log summary /var/lib/zkfast --depth 2 --top 20")]
    Summary(SummaryArgs),
    /// Copies the sound part of a log of ZooKeeper into a new file. Never changes the file itself.
    #[command(
        after_help = "Examples:\n  zkfast log recover version-2/log.100000001 --out log.100000001.sound\n  \
                            zkfast log recover log.100000001 --out new --through 0x1000000ff\n  \
                            zkfast log recover log.100000001 --out new --fix-checksums\n\n\
                            The first cuts before the first damage. The second is zkTxnLogToolkit.sh -c -z, the third \
                            zkTxnLogToolkit.sh -r -y. Txns after a cut are lost: a member of an ensemble should rather be \
                            given an empty directory. zkfast's own log needs no such repair"
    )]
    Recover(RecoverArgs),
}

/// What `zkfast log list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Logs, or directories of them: a dataDir, a dataLogDir, or version-2 or zkfast-1 in it.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// Which txns.
    #[command(flatten)]
    pub filter: Filter,
    /// Show data: quoted in text, base64 in JSON.
    #[arg(long)]
    pub data: bool,
    /// Stop after so many txns.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// Which txns a command looks at; all conditions must hold.
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Only txns of this znode and those below it; of a multi or closeSession, one is enough.
    #[arg(long, value_name = "PATH")]
    pub path: Option<Subtree>,
    /// Only txns of this session: 0x and hex digits, or a decimal number.
    #[arg(long, value_name = "ID", value_parser = parse_session, allow_hyphen_values = true)]
    pub session: Option<SessionId>,
    /// Only zxids of this range, ends included: A..B, A.., ..B or one.
    #[arg(long, value_name = "A..B")]
    pub zxid: Option<ZxidRange>,
    /// Only txns made at this time or later: 2026-11-29, 2026-11-29T14:35:02 (both UTC), or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<i64>,
    /// Only txns made before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<i64>,
    /// Only txns of these types; of a multi, one is enough.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', ignore_case = true, value_parser = PossibleValuesParser::new(TYPES.iter().map(|(_, name)| *name)))]
    pub types: Vec<String>,
}

/// What `zkfast log summary` takes.
#[derive(Debug, clap::Args)]
pub struct SummaryArgs {
    /// Logs, or directories of them: a dataDir, a dataLogDir, or version-2 or zkfast-1 in it.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// Which txns.
    #[command(flatten)]
    pub filter: Filter,
    /// Names of a path that count as one: 1 is /a for /a/b/c.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub depth: u8,
    /// Paths and sessions to show, those with the most txns.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
}

/// What `zkfast log recover` takes.
#[derive(Debug, clap::Args)]
pub struct RecoverArgs {
    /// A log of ZooKeeper.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The file to make, which must not exist.
    #[arg(long, value_name = "NEW")]
    pub out: PathBuf,
    /// Cut after this txn, which must be in the log.
    #[arg(long, value_name = "ZXID", value_parser = parse_zxid)]
    pub through: Option<Zxid>,
    /// Keep entries whose checksum is wrong, with a new checksum. What changed in them is not known.
    #[arg(long)]
    pub fix_checksums: bool,
}
