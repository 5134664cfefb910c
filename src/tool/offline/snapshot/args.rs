//! The command line of `zkfast snapshot`.

use super::super::output::STATUSES;
use super::super::values::{Subtree, ZxidRange, parse_session};
use crate::proto::SessionId;
use std::path::PathBuf;

/// What `zkfast snapshot` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub struct SnapshotArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SnapshotCommand,
    /// One JSON object a line in place of text.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands of `zkfast snapshot`.
#[derive(Debug, clap::Subcommand)]
pub enum SnapshotCommand {
    /// Lists snapshots, oldest first, with what they hold.
    #[command(after_help = "Example:\n  zkfast snapshot list /var/lib/zkfast")]
    List {
        /// Snapshots, or directories of them: a dataDir, or version-2 or zkfast-1 in it.
        #[arg(required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
    },
    /// Shows what a snapshot holds: sessions, access lists, and znodes in the order of their paths.
    #[command(after_help = "Examples:\n  zkfast snapshot show /var/lib/zkfast --path /config --data\n  \
                            zkfast snapshot show --session 0x1000abcd0000 snapshot.1000000ff\n  \
                            zkfast snapshot show --part sessions --json /var/lib/zookeeper\n\n\
                            cversion is the count of children ever created, as the file and ZooKeeper's tools have it; a \
                            client's Stat shows twice that less the number of children")]
    Show(ShowArgs),
    /// Sums up znodes and data bytes below each znode that has children.
    #[command(after_help = "Example:\n  zkfast snapshot summary /var/lib/zkfast --path /kafka --depth 2")]
    Summary(SummaryArgs),
    /// Shows the znodes with the most data and those with the most children.
    #[command(after_help = "Example:\n  zkfast snapshot sizes /var/lib/zkfast --top 20")]
    Sizes(SizesArgs),
    /// Shows what differs between two snapshots, which may be zkfast's and ZooKeeper's; exit status 1 if something does.
    #[command(after_help = "Examples:\n  zkfast snapshot compare snapshot.100000000 snapshot.1000000ff\n  \
                            zkfast snapshot compare before after --path /config --ignore mtime,mzxid\n  \
                            zkfast snapshot compare before after --bytes 100000 --nodes 1000\n\n\
                            The first shows each znode that was added (+), removed (-) or changed (~). The last is \
                            zkSnapshotComparer.sh: subtrees that differ by more bytes or znodes than that")]
    Compare(CompareArgs),
    /// Checks checksums, that each znode has its parent and access list, and the tree's digest where there is one.
    #[command(after_help = "Example:\n  zkfast snapshot verify /var/lib/zkfast && echo sound")]
    Verify {
        /// Snapshots, or directories of them: a dataDir, or version-2 or zkfast-1 in it.
        #[arg(required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
    },
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Kind, zxid, counts.
    Header,
    /// Sessions that were alive.
    Sessions,
    /// Access lists.
    Acls,
    /// Znodes.
    Znodes,
}

/// What `zkfast snapshot show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// A snapshot, or a directory, of which the newest is taken.
    #[arg(value_name = "FILE|DIR")]
    pub file: PathBuf,
    /// Parts to show; by default all, or znodes alone where a flag selects some.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub part: Vec<Part>,
    /// Only this znode and those below it.
    #[arg(long, value_name = "PATH")]
    pub path: Option<Subtree>,
    /// Only ephemerals of this session: 0x and hex digits, or a decimal number.
    #[arg(long, value_name = "ID", value_parser = parse_session, allow_hyphen_values = true)]
    pub session: Option<SessionId>,
    /// Only znodes that a txn of this range created or changed, or whose children it changed: A..B, A.., ..B or one.
    #[arg(long, value_name = "A..B")]
    pub zxid: Option<ZxidRange>,
    /// Show data: quoted in text, base64 in JSON.
    #[arg(long)]
    pub data: bool,
    /// Stop after so many znodes.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// What `zkfast snapshot summary` takes.
#[derive(Debug, clap::Args)]
pub struct SummaryArgs {
    /// A snapshot, or a directory, of which the newest is taken.
    #[arg(value_name = "FILE|DIR")]
    pub file: PathBuf,
    /// Where to begin.
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: Subtree,
    /// Levels below that to show; all of them are counted. 0 shows all.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub depth: usize,
}

/// What `zkfast snapshot sizes` takes.
#[derive(Debug, clap::Args)]
pub struct SizesArgs {
    /// A snapshot, or a directory, of which the newest is taken.
    #[arg(value_name = "FILE|DIR")]
    pub file: PathBuf,
    /// Only this znode and those below it.
    #[arg(long, value_name = "PATH")]
    pub path: Option<Subtree>,
    /// Znodes to show of each kind.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
}

/// A field of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Field {
    /// Its data.
    Data,
    /// Its access list.
    Acl,
    /// Txn that created it.
    Czxid,
    /// Txn that last set its data.
    Mzxid,
    /// Txn that last created or deleted a child.
    Pzxid,
    /// When it was created.
    Ctime,
    /// When its data was last set.
    Mtime,
    /// Times that its data was set.
    Version,
    /// Children ever created in it.
    Cversion,
    /// Times that its access list was set.
    Aversion,
    /// Its owner.
    Owner,
}

/// What `zkfast snapshot compare` takes.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// The earlier snapshot, or a directory, of which the newest is taken.
    #[arg(value_name = "LEFT")]
    pub left: PathBuf,
    /// The later one.
    #[arg(value_name = "RIGHT")]
    pub right: PathBuf,
    /// Only this znode and those below it.
    #[arg(long, value_name = "PATH")]
    pub path: Option<Subtree>,
    /// Fields of znodes that may differ.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub ignore: Vec<Field>,
    /// Show subtrees whose data, their own included, differs by more than so many bytes.
    #[arg(long, value_name = "N")]
    pub bytes: Option<u64>,
    /// Show subtrees whose number of znodes below them differs by more than so many.
    #[arg(long, value_name = "N")]
    pub nodes: Option<u64>,
}
