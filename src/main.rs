//! The `zkfast` command.

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, Parser, Subcommand};
use log::LevelFilter;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zkfast::config::{self, Config, Finding, Loaded, Loader, Overrides, Severity, Sources, suggestion};
use zkfast::server::logging::{Format, Levels, Text};
use zkfast::server::{self, EXIT_DATA, EXIT_HOST, EXIT_USAGE, java_data};
use zkfast::tool::admin::{self, AdminArgs};
use zkfast::tool::cli;
use zkfast::tool::dev::{self, DevArgs};
use zkfast::tool::offline::{self, LogArgs, SnapshotArgs};
use zkfast::tool::rolling::{self, RollingArgs};
use zkfast::tool::status::{self, StatusArgs};
use zkfast::tree::{Digests, ExtendedTypes};

const STATUSES: &str = "Exit status:
   0  stopped by TERM or INT; the command did what it was told
   1  zkfast check: the server would not start; zkfast log, zkfast snapshot: damage or a difference was found;
      zkfast rolling-restart: a step failed
   2  a flag or the configuration cannot be used
   3  the data directory cannot be used
   4  a port or an address is taken, or not this host's
   5  the host refuses io_uring, descriptors, locked memory or a thread; standard output could not be written
  10  the log cannot be written
  11  a bug of zkfast
zkfast cli has statuses of its own: zkfast cli --help

Examples:
  zkfast -p 2181 --data-dir /var/lib/zkfast --client-port-address 0.0.0.0
  zkfast /etc/zookeeper/conf/zoo.cfg
  zkfast check zoo.cfg --data-dir /var/lib/zkfast
  zkfast man check > zkfast-check.1";

/// A ZooKeeper server in one native process.
///
/// Without a configuration file: standalone on 127.0.0.1:2181, data in ./zkfast-data. Flags win over the file; JVMFLAGS
/// and SERVER_JVMFLAGS are read as zkServer.sh hands them to Java.
#[derive(Debug, Parser)]
#[command(name = "zkfast", version = env!("ZKFAST_VERSION"), after_help = STATUSES)]
#[command(override_usage = "zkfast [OPTIONS] [ZOO_CFG]\n       zkfast <COMMAND>")]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    flags: Flags,
    /// Log lines of this level and above: off, error, warn, info, debug, trace. By default info, and of `zkfast dev` warn. A
    /// target may have a level of its own: info,cnxn=debug,audit=off.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = levels)]
    log_level: Option<String>,
    /// Format of log lines.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

/// Checks a value of `--log-level`.
fn levels(text: &str) -> Result<String, String> {
    Levels::parse(text, LevelFilter::Info).map(|_| text.to_owned())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows what zkfast does with each key of a configuration file and each of the server's flags; exit status 1 if it
    /// cannot start.
    #[command(
        override_usage = "zkfast check [OPTIONS] [ZOO_CFG]",
        after_help = "Examples:\n  zkfast check zoo.cfg\n  \
                      zkfast check zoo.cfg --client-port 2182 --data-dir /var/lib/zkfast\n\n\
                      Exit status: 0 the server would start, 1 it would not (with --strict: or something is warned of), \
                      2 a flag is wrong, 5 standard output could not be written. Makes nothing. Looks at the directories \
                      as this user, and neither into data files nor for ports or data that another server uses now"
    )]
    Check(Box<CheckArgs>),
    /// Imports the data of a stopped Apache ZooKeeper into a new data directory; the old files stay as they are.
    #[command(
        override_usage = "zkfast import [OPTIONS] <SRC> <DST>\n       zkfast import [OPTIONS] --config <ZOO_CFG> <DST>",
        after_help = "Examples:\n  zkfast import /var/lib/zookeeper /var/lib/zkfast\n  \
                      zkfast import --config /etc/zookeeper/conf/zoo.cfg /var/lib/zkfast\n\n\
                      Exit status: 0 done, 2 a flag or the file is wrong, 3 the data cannot be taken over, \
                      5 standard output could not be written"
    )]
    Import(ImportArgs),
    /// Writes the data of a stopped zkfast as a data directory on which Apache ZooKeeper 3.9 starts.
    #[command(
        override_usage = "zkfast export [OPTIONS] <SRC> <DST>\n       zkfast export [OPTIONS] --config <ZOO_CFG> <DST>",
        after_help = "Examples:\n  zkfast export /var/lib/zkfast /var/lib/zookeeper\n  \
                      zkfast export --config /etc/zkfast/zoo.cfg /var/lib/zookeeper\n\n\
                      Exit status: 0 done, 2 a flag or the file is wrong, 3 the data cannot be read or written, \
                      5 standard output could not be written"
    )]
    Export(ExportArgs),
    /// Shows, checks and repairs logs of zkfast and of ZooKeeper: list, verify, summary, recover.
    Log(LogArgs),
    /// Shows, checks and compares snapshots of zkfast and of ZooKeeper: list, show, summary, sizes, compare, verify.
    Snapshot(SnapshotArgs),
    /// Runs a server for tests: in memory, on a free port of 127.0.0.1, which it prints as one line once clients may
    /// connect. Nothing remains of it.
    #[command(after_help = "Examples:\n  zkfast dev\n  zkfast dev --port 2181 --with-parent --json\n\n\
                            The files are in /dev/shm, where files are memory, and go with the server, or with the next \
                            `zkfast dev` after one that was killed.")]
    Dev(DevArgs),
    /// Shows a table of an ensemble's servers: role, epoch, zxid and lag, latency, connections.
    Status(StatusArgs),
    /// Asks the HTTP port of a server for a command of the AdminServer, or one more: top, slow_requests, shed_connections, hand_over.
    Admin(AdminArgs),
    /// Restarts the servers of an ensemble one after the other, the leader last, by a command of yours.
    RollingRestart(Box<RollingArgs>),
    /// ZooKeeper's command line: a shell, or one verb for scripts, against servers that run.
    #[command(override_usage = "zkfast cli [OPTIONS] [VERB [ARGS]...]", after_help = cli::after_help())]
    Cli(cli::CliArgs),
    /// Prints a script with which a shell completes zkfast's arguments.
    #[command(after_help = "Example:\n  zkfast completion bash > /etc/bash_completion.d/zkfast")]
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, or that of a command.
    #[command(after_help = "Examples:\n  zkfast man > /usr/local/share/man/man1/zkfast.1\n  \
                            zkfast man check > /usr/local/share/man/man1/zkfast-check.1")]
    Man {
        /// Which command; without it, zkfast itself.
        #[arg(value_name = "COMMAND", value_parser = PossibleValuesParser::new(COMMANDS))]
        command: Option<String>,
    },
}

/// Names of [`Command`].
const COMMANDS: [&str; 12] = [
    "check",
    "import",
    "export",
    "cli",
    "log",
    "snapshot",
    "dev",
    "status",
    "admin",
    "rolling-restart",
    "completion",
    "man",
];

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// zoo.cfg. Without it, the flags and defaults are used.
    #[arg(value_name = "ZOO_CFG")]
    file: Option<String>,
    /// The same as the positional argument.
    #[arg(long, value_name = "ZOO_CFG", conflicts_with = "file")]
    config: Option<String>,
}

impl ConfigFile {
    fn path(self) -> Option<String> {
        self.file.or(self.config)
    }
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// ZooKeeper's dataDir, which holds version-2, and the data directory to create; with --config only the latter.
    #[arg(value_name = "DIR", num_args = 1..=2, required = true)]
    directories: Vec<PathBuf>,
    /// ZooKeeper's zoo.cfg, which gives dataDir, dataLogDir, extendedTypesEnabled, snapshot.trust.empty and
    /// digest.enabled.
    #[arg(long, value_name = "ZOO_CFG")]
    config: Option<String>,
    /// ZooKeeper's dataLogDir, if it is another directory.
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Import TTL nodes; the server then needs extendedTypesEnabled=true.
    #[arg(long)]
    extended_types: bool,
    /// Do not compare the tree with the digests in the log.
    #[arg(long)]
    no_digest: bool,
    /// Accept a snapshot without any log, as a server with --config does.
    #[arg(long)]
    without_log: bool,
    /// Accept a log without any snapshot, if it begins with the first txn.
    #[arg(long)]
    trust_empty: bool,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// zkfast's data directory, and the dataDir in which to create version-2; with --config only the latter.
    #[arg(value_name = "DIR", num_args = 1..=2, required = true)]
    directories: Vec<PathBuf>,
    /// zkfast's zoo.cfg, which gives dataDir and dataLogDir.
    #[arg(long, value_name = "ZOO_CFG")]
    config: Option<String>,
    /// zkfast's dataLogDir, if it is another directory.
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    flags: Flags,
    /// Exit status 1 for warnings as well.
    #[arg(long)]
    strict: bool,
    /// One JSON object in place of text.
    #[arg(long)]
    json: bool,
}

/// Flags win over the file, and are checked by the same rules.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
struct Flags {
    /// CPUs to stay on, as 0-3 or 0,2-3. The first handles writes and, up to three CPUs, the log; the others serve clients.
    /// By default threads for up to four CPUs, as many as the CPU quota allows, on any of them.
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// Engine of the shards. By default io_uring where the kernel and the container allow it, else epoll.
    #[arg(long, value_name = "ENGINE", value_parser = ["epoll", "io_uring"])]
    engine: Option<String>,
    /// Port for clients, 0 to 65535; 0 lets the system choose.
    #[arg(short = 'p', long, visible_alias = "port", value_name = "PORT")]
    client_port: Option<u16>,
    /// Address to listen on; by default every address, or 127.0.0.1 without a configuration file.
    #[arg(long, value_name = "ADDRESS")]
    client_port_address: Option<String>,
    /// Directory of the snapshots and the log.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Directory of the log, if it is another one.
    #[arg(long, value_name = "DIR")]
    data_log_dir: Option<String>,
    /// Length of a tick in milliseconds.
    #[arg(long, value_name = "MS")]
    tick_time: Option<u32>,
    /// Connections from one address; 0 for no limit.
    #[arg(long, value_name = "N")]
    max_client_cnxns: Option<u32>,
    /// Four-letter words to answer: a list, or *.
    #[arg(long, value_name = "WORDS")]
    four_letter_words: Option<String>,
    /// Any key of zoo.cfg.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Flags {
    /// These flags, with those of `defaults` where a flag is absent.
    fn or(self, defaults: Self) -> Self {
        Self {
            cores: self.cores.or(defaults.cores),
            engine: self.engine.or(defaults.engine),
            client_port: self.client_port.or(defaults.client_port),
            client_port_address: self.client_port_address.or(defaults.client_port_address),
            data_dir: self.data_dir.or(defaults.data_dir),
            data_log_dir: self.data_log_dir.or(defaults.data_log_dir),
            tick_time: self.tick_time.or(defaults.tick_time),
            max_client_cnxns: self.max_client_cnxns.or(defaults.max_client_cnxns),
            four_letter_words: self.four_letter_words.or(defaults.four_letter_words),
            // The last value of a key counts.
            set: defaults.set.into_iter().chain(self.set).collect(),
        }
    }
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

/// The file system, name resolution and host checks for the reader of the configuration.
struct Files;

impl Loader for Files {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn is_file(&self, path: &str) -> bool {
        Path::new(path).is_file()
    }

    fn is_private(&self, path: &str) -> bool {
        use std::os::unix::fs::MetadataExt;
        // Kubernetes gives a secret to the pod's group, which is the server's.
        let is_own = |gid| gid == rustix::process::getegid().as_raw();
        let of_others = |gid| if is_own(gid) { 0o037 } else { 0o077 };
        std::fs::metadata(path).is_ok_and(|file| file.mode() & of_others(file.gid()) == 0)
    }

    fn resolve(&self, host: &str) -> io::Result<()> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        (host, 0).to_socket_addrs()?.next().map(drop).ok_or_else(none)
    }

    fn obstacles(&self, config: &Config) -> Vec<(&'static str, String)> {
        server::obstacles(config)
    }
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            if let Some(message) = mistyped_command(std::env::args().nth(1).as_deref()) {
                return usage(&message);
            }
            if error.use_stderr() {
                error.exit();
            }
            // The user asked for help or the version.
            return printed(error.print().and_then(|()| io::stdout().flush()), ExitCode::SUCCESS);
        }
    };
    let variables =
        ["JVMFLAGS", "SERVER_JVMFLAGS"].map(|name| (name, std::env::var(name).unwrap_or_default()));
    let jvm_flags = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let is_named = args.file.config.is_some();
    let file = args.file.path();
    if let Some(Command::Check(check)) = args.command {
        return self::check(*check, file, args.flags, &jvm_flags);
    }
    if args.command.is_some() && (file.is_some() || args.flags != Flags::default()) {
        return usage(
            "the server's flags and its file are for a server and for `zkfast check`; what a command takes stands \
             after its name",
        );
    }
    let default =
        if matches!(args.command, Some(Command::Dev(_))) { LevelFilter::Warn } else { LevelFilter::Info };
    // The parser of arguments has read it once.
    let levels = args.log_level.and_then(|text| Levels::parse(&text, default).ok());
    server::logging::init(levels.unwrap_or(Levels::all(default)), args.log_format);
    // Data and passwords are the server's alone: directories get 0700 and files 0600, or less where umask says so.
    server::hide_new_files();
    match args.command {
        Some(Command::Check(_)) => unreachable!("returned above"),
        Some(Command::Dev(args)) => {
            dev::run(args, &Files);
            ExitCode::SUCCESS
        }
        Some(Command::Status(args)) => {
            status::run(&args).map_or_else(|why| usage(&why), |(text, status)| print(text, status))
        }
        Some(Command::Admin(args)) => match admin::run(&args) {
            Ok((text, status)) => print(text, ExitCode::from(status)),
            Err(why) => usage(&why),
        },
        Some(Command::RollingRestart(args)) => {
            rolling::run(&args).map_or_else(|why| usage(&why), ExitCode::from)
        }
        Some(Command::Import(args)) => import(args, &jvm_flags),
        Some(Command::Export(args)) => export(args, &jvm_flags),
        Some(Command::Log(args)) => offline::run_log(args),
        Some(Command::Snapshot(args)) => offline::run_snapshot(args),
        Some(Command::Cli(args)) => ExitCode::from(cli::run(&args)),
        Some(Command::Completion { shell }) => completion(shell),
        Some(Command::Man { command }) => man(command.as_deref()),
        None => {
            if !is_named && let Some(message) = mistyped_command(file.as_deref()) {
                return usage(&message);
            }
            let overrides = args.flags.into();
            let sources =
                Sources { file: file.as_deref(), jvm_flags: &jvm_flags, overrides: Some(&overrides) };
            server::run(&load(&sources), |_| ());
            ExitCode::SUCCESS
        }
    }
}

/// `zkfast check`; flags and file may precede or follow the command's name.
fn check(
    args: CheckArgs,
    file: Option<String>,
    flags: Flags,
    jvm_flags: &[(&'static str, &str)],
) -> ExitCode {
    let file = match (file, args.file.path()) {
        (Some(one), Some(other)) => {
            return usage(&format!("{one:?} and {other:?} are two configuration files: name one"));
        }
        (one, other) => one.or(other),
    };
    let overrides = args.flags.or(flags).into();
    let sources = Sources { file: file.as_deref(), jvm_flags, overrides: Some(&overrides) };
    let checked = config::check(&sources, &Files);
    let is_fine = checked.errors() == 0 && !(args.strict && checked.warnings() > 0);
    let status = if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    print(if args.json { checked.json() } else { checked.text() }, status)
}

/// An error message for a word that is neither a command nor a file but resembles a command.
fn mistyped_command(word: Option<&str>) -> Option<String> {
    let word = word.filter(|word| !word.starts_with('-') && !Path::new(word).exists())?;
    let command = Args::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    if names.contains(&word) {
        return None;
    }
    let near = suggestion(word, &names)?;
    Some(format!("{word:?} is neither a command nor a file; did you mean `zkfast {near}`?"))
}

/// Prints an error of the command line; returns the exit status for one.
fn usage(message: &str) -> ExitCode {
    // stderr may be closed.
    let _ = writeln!(io::stderr(), "error: {message}\n\nFor more information, try '--help'.");
    ExitCode::from(EXIT_USAGE as u8)
}

/// Prints `text`; returns `status`, or [`EXIT_HOST`] if standard output cannot be written.
fn print(text: impl AsRef<[u8]>, status: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    printed(stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()), status)
}

/// The exit status after writing to standard output. A reader that has closed its end is no error.
fn printed(written: io::Result<()>, status: ExitCode) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            // stderr may be closed.
            let _ = writeln!(io::stderr(), "error: standard output cannot be written: {error}");
            ExitCode::from(EXIT_HOST as u8)
        }
        _ => status,
    }
}

/// Prints a script that completes the arguments of `zkfast`.
fn completion(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "zkfast", &mut script);
    print(script, ExitCode::SUCCESS)
}

/// Prints the manual page of a command, or of `zkfast` itself.
fn man(command: Option<&str>) -> ExitCode {
    // A page of the command `help` would repeat the other pages.
    let mut all = Args::command().disable_help_subcommand(true);
    all.build();
    let of_command = command.and_then(|name| all.find_subcommand(name).cloned());
    let mut page = Vec::new();
    match clap_mangen::Man::new(of_command.unwrap_or(all)).render(&mut page) {
        Ok(()) => print(page, ExitCode::SUCCESS),
        Err(error) => usage(&format!("the manual page cannot be made: {error}")),
    }
}

/// Source and target of an import or export.
struct Places {
    data_dir: PathBuf,
    log_dir: PathBuf,
    target: PathBuf,
    /// The settings of `--config`.
    config: Option<Config>,
}

impl Places {
    /// The places that `directories`, `--config` and `--log-dir` name.
    ///
    /// # Errors
    /// Which argument is missing or too many, or why the file gives no dataDir.
    fn new(
        directories: Vec<PathBuf>,
        config: Option<&str>,
        log_dir: Option<PathBuf>,
        jvm_flags: &[(&'static str, &str)],
    ) -> Result<Self, String> {
        let mut directories = directories.into_iter();
        let (first, second) = (directories.next().ok_or("no directory")?, directories.next());
        match (config, second) {
            (None, Some(target)) => {
                let log_dir = log_dir.unwrap_or_else(|| first.clone());
                Ok(Self { data_dir: first, log_dir, target, config: None })
            }
            (None, None) => Err(
                "two directories are wanted: where the data is, and the one to make; or --config ZOO_CFG, \
                     which says where the data is"
                    .to_owned(),
            ),
            (Some(_), Some(_)) => {
                Err("--config says where the data is: name only the directory to make".to_owned())
            }
            (Some(file), None) => {
                let config = data_config(file, jvm_flags)?;
                let log_dir = log_dir.unwrap_or_else(|| config.data_log_dir.clone());
                Ok(Self { data_dir: config.data_dir.clone(), log_dir, target: first, config: Some(config) })
            }
        }
    }
}

/// Reads a configuration file for its dataDir. Other errors that keep a server from starting do not matter here.
///
/// # Errors
/// Why the file gives no dataDir.
fn data_config(file: &str, jvm_flags: &[(&'static str, &str)]) -> Result<Config, String> {
    let Loaded { config, findings, .. } =
        config::load(&Sources { file: Some(file), jvm_flags, overrides: None }, &Files);
    if !config.data_dir.as_os_str().is_empty() {
        return Ok(config);
    }
    let is_why = |finding: &&Finding| {
        finding.severity == Severity::Error
            && finding.origin.is_some()
            && (finding.key.is_empty() || finding.key == "dataDir")
    };
    let why: Vec<String> = findings.iter().filter(is_why).map(ToString::to_string).collect();
    Err(if why.is_empty() { format!("{file} says no dataDir") } else { why.join("; ") })
}

/// Imports ZooKeeper's data into a data directory of zkfast.
fn import(args: ImportArgs, jvm_flags: &[(&'static str, &str)]) -> ExitCode {
    let places = Places::new(args.directories, args.config.as_deref(), args.log_dir, jvm_flags);
    let Places { data_dir, log_dir, target, config } = match places {
        Ok(places) => places,
        Err(message) => return usage(&message),
    };
    let source = match java_data::Source::named(&data_dir, &log_dir) {
        Ok(source) => source,
        Err(error) => server::exit(EXIT_DATA, error),
    };
    let config = config.as_ref();
    let digests = match args.no_digest || config.is_some_and(|config| !config.digest_enabled) {
        true => Digests::Off,
        false => Digests::Kept,
    };
    let extended_types = match config.map_or(ExtendedTypes::Off, |config| config.extended_types) {
        ExtendedTypes::Off if args.extended_types => ExtendedTypes::On,
        configured => configured,
    };
    let options = java_data::Options {
        settings: server::tree_settings(extended_types, digests),
        without_log: args.without_log || config.is_some(),
        trust_empty: args.trust_empty || config.is_some_and(|config| config.snapshot_trust_empty),
    };
    match java_data::import(&source, &target, &target, options) {
        Ok(done) => {
            done.warnings().for_each(|warning| log::warn!(target: "import", "{warning}"));
            print(format!("imported: {done}\n"), ExitCode::SUCCESS)
        }
        Err(error) => server::exit(EXIT_DATA, error),
    }
}

/// Exports zkfast's data as a data directory of ZooKeeper.
fn export(args: ExportArgs, jvm_flags: &[(&'static str, &str)]) -> ExitCode {
    let places = Places::new(args.directories, args.config.as_deref(), args.log_dir, jvm_flags);
    let Places { data_dir, log_dir, target, config } = match places {
        Ok(places) => places,
        Err(message) => return usage(&message),
    };
    // The owner of a TTL node must not be taken for a session, so the tree knows TTL nodes in any case.
    let extended_types = match config.map_or(ExtendedTypes::On, |config| config.extended_types) {
        ExtendedTypes::Off => ExtendedTypes::On,
        configured => configured,
    };
    match java_data::export(
        &data_dir,
        &log_dir,
        &target,
        server::tree_settings(extended_types, Digests::Kept),
    ) {
        Ok(done) => print(format!("exported: {done}\n"), ExitCode::SUCCESS),
        Err(error) => server::exit(EXIT_DATA, error),
    }
}

/// Loads the configuration and logs the findings; ends the process if the server cannot start.
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
        // The lines above say why.
        std::process::exit(EXIT_USAGE);
    }
    loaded.config
}
