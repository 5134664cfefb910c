//! The command line: one file per command.
//!
//! | file | command |
//! |---|---|
//! | `load` | none: one run of a workload |
//! | `compare` | `compare` |
//! | `scenario` | `scenario` |
//! | `zookeeper` | `zookeeper` |
//! | `page` | `page`, and the files of all pages |
//! | `idle` | `idle` |
//! | `fill` | `fill` |
//! | `clean` | `clean` |
//! | `single_write` | `disk` and `lone-set` |
//! | `baseline` | `floor`; `baseline_reply` makes its replies |
//!
//! `conduct` measures a run for `load` and `fill`, `turns` runs loads in turn for `compare` and `scenario`, `blocks` is
//! the file that `single_write` and `baseline` overwrite.

mod baseline;
mod baseline_reply;
mod blocks;
mod clean;
mod compare;
mod conduct;
mod fill;
mod idle;
mod load;
mod page;
mod scenario;
mod single_write;
mod turns;
mod zookeeper;

use crate::args::Load;
use crate::engine::{session, socket};
use crate::failure::Failure;
use clap::{Parser, Subcommand};
use rustix::rand::{GetRandomFlags, getrandom};
use std::path::{Path, PathBuf};
use zkfast::client::login;
use zkfast::config::client_config;
use zkfast::tls::Connector;

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
        Exit status: 0, 1 (a reply was wrong, or none came, or SASL was refused), 2 (usage), 3 (no connection)."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// A client's file of properties, as zkCli.sh takes it: TLS by zookeeper.client.secure and zookeeper.ssl.*, SASL by
    /// zookeeper.sasl.* and java.security.auth.login.config
    #[arg(long, global = true, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    /// A JAAS file: who sessions are by SASL, in its section Client. It wins over the one that the client's file names
    #[arg(long, global = true, value_name = "FILE")]
    jaas: Option<PathBuf>,
    #[command(flatten)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts the same load on two services in turn and shows their ratios.
    Compare(Box<compare::Compare>),
    /// Runs a measurement that has a name, on servers that it starts.
    Scenario(Box<scenario::Scenario>),
    /// Fetches Apache ZooKeeper and runs it.
    Zookeeper(zookeeper::Zookeeper),
    /// Makes the page of a result that was kept as JSON.
    Page(page::MakePage),
    /// Opens sessions that do nothing, keeps them alive by pings and shows what they cost.
    Idle(idle::Idle),
    /// Creates znodes and shows what they cost.
    Fill(fill::Fill),
    /// Deletes everything below /loadgen.
    Clean(clean::Clean),
    /// Measures one durable 4 KiB overwrite at a time, without a server.
    Disk(single_write::Disk),
    /// Alternates single sets with bare durable 4 KiB overwrites in the same directory.
    #[command(name = "lone-set")]
    SingleSet(single_write::SingleSet),
    /// Serves the least that this load needs, as a yardstick: no tree, no ZooKeeper.
    #[command(name = "floor")]
    Baseline(baseline::Baseline),
}

impl Cli {
    /// Runs the command, or the load without one.
    pub fn run(&self) -> Result<(), Failure> {
        use_security(self.client_configuration.as_deref(), self.jaas.clone()).map_err(Failure::Usage)?;
        match &self.command {
            None => load::run(&self.load),
            Some(Command::Compare(compare)) => compare.run(),
            Some(Command::Scenario(scenario)) => scenario.run(),
            Some(Command::Zookeeper(zookeeper)) => zookeeper.run(),
            Some(Command::Page(page)) => page.run(),
            Some(Command::Idle(idle)) => idle.run(),
            Some(Command::Fill(fill)) => fill.run(),
            Some(Command::Clean(clean)) => clean.run(),
            Some(Command::Disk(disk)) => disk.run(),
            Some(Command::SingleSet(set)) => set.run(),
            Some(Command::Baseline(baseline)) => baseline.run(),
        }
    }
}

/// Gives connections the TLS and sessions the user of a client's file and of a JAAS file, as far as these ask for it.
fn use_security(path: Option<&Path>, jaas: Option<PathBuf>) -> Result<(), String> {
    let at = |path: &Path, why: String| format!("{}: {why}", path.display());
    let config = match path {
        Some(path) => std::fs::read(path)
            .map_err(|error| error.to_string())
            .and_then(|file| client_config(&file, jaas))
            .map_err(|why| at(path, why))?,
        None => client_config(b"", jaas)?,
    };
    if let Some(tls) = config.tls {
        socket::use_tls(Connector::new(tls)?);
    }
    if let Some(sasl) = config.sasl {
        let mut key = [0; 32];
        let drawn = getrandom(&mut key[..], GetRandomFlags::empty());
        if drawn != Ok(key.len()) {
            return Err(format!("getrandom: {drawn:?}"));
        }
        let (login, warning) = login::login(&sasl, key)?;
        if let Some(warning) = warning {
            eprintln!("loadgen: warning: {warning}");
        }
        session::use_login(login);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The definition of the command line is consistent, and a load's arguments work without a command.
    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["loadgen"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.load.common.server, Load::default().common.server);
    }
}
