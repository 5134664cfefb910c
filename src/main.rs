//! The `zkfast` command.

use clap::{Parser, Subcommand};
use log::LevelFilter;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use zkfast::config::{self, Config, Loader, Overrides, Severity, Sources};
use zkfast::server::logging::{Format, Text};
use zkfast::server::{self, EXIT_DATA, EXIT_USAGE, java_data};
use zkfast::tree::{self, Digests};

/// A ZooKeeper server in one native process. Without arguments: standalone on port 2181, data in
/// ./zkfast-data.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  zkfast --cores 0-3\n  zkfast /etc/zookeeper/conf/zoo.cfg\n  zkfast check zoo.cfg"
)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file, as zkServer.sh takes it.
    #[arg(value_name = "ZOO_CFG")]
    file: Option<String>,
    /// The same as the positional argument.
    #[arg(long, value_name = "ZOO_CFG", conflicts_with = "file")]
    config: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// Least severe lines to log.
    #[arg(long, default_value = "info")]
    log_level: LevelFilter,
    /// How log lines are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says of every key of a configuration file what zkfast does with it; exit status 1 if it cannot start.
    Check {
        /// Configuration file.
        #[arg(value_name = "ZOO_CFG")]
        file: String,
    },
    /// Takes the data of a stopped Apache ZooKeeper over into a new data directory; the old files stay as they are.
    #[command(after_help = "Example:\n  zkfast import /var/lib/zookeeper /var/lib/zkfast")]
    Import {
        /// dataDir of ZooKeeper: the folder that holds version-2.
        #[arg(value_name = "SRC")]
        source: PathBuf,
        /// Data directory to make.
        #[arg(value_name = "DST")]
        target: PathBuf,
        /// dataLogDir of ZooKeeper, if apart.
        #[arg(long, value_name = "DIR")]
        log_dir: Option<PathBuf>,
        /// Takes TTL nodes over; the server needs extendedTypesEnabled=true then.
        #[arg(long)]
        extended_types: bool,
        /// Does not compare the tree with the digests in the log.
        #[arg(long)]
        no_digest: bool,
        /// Takes a snapshot without any log for all there is.
        #[arg(long)]
        without_log: bool,
        /// Takes a log without any snapshot, if it begins with the first txn.
        #[arg(long)]
        trust_empty: bool,
    },
    /// Writes the data of a stopped zkfast as a data directory on which Apache ZooKeeper 3.9 starts.
    #[command(after_help = "Example:\n  zkfast export /var/lib/zkfast /var/lib/zookeeper")]
    Export {
        /// Data directory of zkfast.
        #[arg(value_name = "SRC")]
        source: PathBuf,
        /// dataDir to make version-2 in.
        #[arg(value_name = "DST")]
        target: PathBuf,
        /// dataLogDir of zkfast, if apart.
        #[arg(long, value_name = "DIR")]
        log_dir: Option<PathBuf>,
    },
}

/// Flags win over the file, and are checked by the same rules.
#[derive(Debug, clap::Args)]
struct Flags {
    /// CPUs to use: commit and log first, then the views; 0-3, 0,2-3, 0,0,1.
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// What the shards stand on: epoll (default), or io_uring.
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// Port for clients.
    #[arg(long, value_name = "PORT")]
    client_port: Option<u16>,
    /// Address to listen on; every address without it.
    #[arg(long, value_name = "ADDRESS")]
    client_port_address: Option<String>,
    /// Where snapshots are kept, and the log.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where the log is kept, if apart.
    #[arg(long, value_name = "DIR")]
    data_log_dir: Option<String>,
    /// Length of a tick in milliseconds.
    #[arg(long, value_name = "MS")]
    tick_time: Option<u32>,
    /// Connections from one address; 0 for no limit.
    #[arg(long, value_name = "N")]
    max_client_cnxns: Option<u32>,
    /// Four-letter words that are answered: a list, or *.
    #[arg(long, value_name = "WORDS")]
    four_letter_words: Option<String>,
    /// Any key of zoo.cfg.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl From<Flags> for Overrides {
    fn from(flags: Flags) -> Self {
        Self {
            client_port: flags.client_port,
            client_port_address: flags.client_port_address,
            data_dir: flags.data_dir,
            data_log_dir: flags.data_log_dir,
            tick_time_ms: flags.tick_time,
            max_client_cnxns: flags.max_client_cnxns,
            four_letter_words: flags.four_letter_words,
            cores: flags.cores,
            engine: flags.engine,
            set: flags.set,
        }
    }
}

/// Files as the system has them.
struct Files;

impl Loader for Files {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn is_file(&self, path: &str) -> bool {
        std::path::Path::new(path).is_file()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let variables =
        ["JVMFLAGS", "SERVER_JVMFLAGS"].map(|name| (name, std::env::var(name).unwrap_or_default()));
    let jvm_flags = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    if let Some(Command::Check { file }) = &args.command {
        let (report, ok) = config::check_report(
            &Sources { file: Some(file), jvm_flags: &jvm_flags, overrides: None },
            &Files,
        );
        // A reader that went away has seen enough.
        let _ = io::stdout().write_all(report.as_bytes());
        return if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    server::logging::init(args.log_level, args.log_format);
    if let Some(command) = args.command {
        return convert(command);
    }
    let file = args.file.or(args.config);
    let overrides = args.flags.into();
    let config = load(&Sources { file: file.as_deref(), jvm_flags: &jvm_flags, overrides: Some(&overrides) });
    server::run(&config);
    ExitCode::SUCCESS
}

/// Data of ZooKeeper into data of zkfast, or the other way round.
fn convert(command: Command) -> ExitCode {
    let settings = |extended_types, digests| tree::Settings {
        extended_types,
        digests,
        hash_seed: RandomState::new().hash_one(0u8),
    };
    let done = match command {
        Command::Check { .. } => unreachable!("was handled"),
        Command::Import { source, target, log_dir, extended_types, no_digest, without_log, trust_empty } => {
            let source = java_data::Source::new(&source, log_dir.as_ref().unwrap_or(&source));
            let digests = if no_digest { Digests::Off } else { Digests::Kept };
            let settings = settings(extended_types, digests);
            let options = java_data::Options { settings, without_log, trust_empty };
            java_data::import(&source, &target, &target, options).map(|done| format!("imported: {done}\n"))
        }
        Command::Export { source, target, log_dir } => {
            let log_dir = log_dir.as_ref().unwrap_or(&source);
            let exported = java_data::export(&source, log_dir, &target, settings(true, Digests::Kept));
            exported.map(|done| format!("exported: {done}\n"))
        }
    };
    match done {
        Ok(text) => {
            // A reader that went away has seen enough.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => server::exit(EXIT_DATA, error),
    }
}

/// The configuration, or the end of the process.
fn load(sources: &Sources<'_>) -> Config {
    let loaded = config::load(sources, &Files);
    for finding in &loaded.findings {
        match finding.severity {
            Severity::Error => log::error!(target: "config", "refused: why={}", Text(finding)),
            Severity::Warning => log::warn!(target: "config", "to be looked at: why={}", Text(finding)),
            Severity::Note => log::debug!(target: "config", "noted: why={}", Text(finding)),
        }
    }
    if !loaded.is_ok() {
        server::exit(EXIT_USAGE, "the configuration cannot be used");
    }
    loaded.config
}
