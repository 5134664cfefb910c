//! Load for anything that speaks ZooKeeper's protocol.
//!
//! `loadgen --read-ratio 0.9` measures the server on this machine; `--help` shows the rest. Every
//! reply is checked, and one wrong reply is an exit status of 1, whatever the speed was.

mod alarm;
mod answers;
mod axis;
mod children;
mod cli;
mod compare;
mod comparison;
mod comparison_view;
mod disk;
mod driver;
#[cfg(test)]
mod fake;
mod fanout;
mod fill;
mod floor;
mod flow;
mod idle;
mod jars;
mod load;
mod lock;
mod lone;
mod machine;
mod number;
mod outcome;
mod page;
mod plot;
mod prepare;
mod process;
mod random;
mod render;
mod report;
mod run;
mod scenario;
mod scenario_view;
mod service;
mod session;
mod spread;
mod storm;
mod tally;
mod target;
mod view;
mod wire;
mod worker;
mod zookeeper;

use clap::Parser;
use cli::{Cli, Command, Common, Load};
use serde::Serialize;
use session::NoConnection;
use std::process::ExitCode;

/// Why loadgen ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    NoConnection(#[from] NoConnection),
    #[error("{0}")]
    Usage(String),
    #[error("wrong reply: {0}")]
    Wrong(String),
    #[error("{0}")]
    Unanswered(String),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => measure(&cli.load),
        Some(Command::Compare(compare)) => compare.run(),
        Some(Command::Scenario(scenario)) => scenario.run(),
        Some(Command::Zookeeper(zookeeper)) => zookeeper.run(),
        Some(Command::Page(page)) => page.run(),
        Some(Command::Idle(idle)) => idle::run(&idle),
        Some(Command::Fill(fill)) => fill::run(&fill),
        Some(Command::Clean(common)) => clean(&common),
        Some(Command::Disk(disk)) => lone::disk(&disk),
        Some(Command::LoneSet(lone)) => lone::set(&lone),
        Some(Command::Floor(floor)) => floor.run(),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    eprintln!("loadgen: {failure}");
    match failure {
        Failure::Wrong(_) | Failure::Unanswered(_) => ExitCode::from(1),
        Failure::Usage(_) => ExitCode::from(2),
        Failure::NoConnection(_) => ExitCode::from(3),
    }
}

fn measure(load: &Load) -> Result<(), Failure> {
    render::writable(load.html.as_deref())?;
    let machine = load.html.is_some().then(|| machine::Machine::here(None));
    let outcome = load::measure(load)?;
    report::print(&outcome, load.common.json, report::table);
    if let (Some(file), Some(machine)) = (&load.html, machine) {
        render::write(file, &view::page(&outcome, &machine))?;
    }
    load::verdict(&outcome)
}

fn clean(common: &Common) -> Result<(), Failure> {
    /// What a clean came to.
    #[derive(Serialize)]
    struct Cleaned {
        what: &'static str,
        deleted: u64,
    }
    let cleaned = Cleaned { what: "clean", deleted: prepare::clean(&common.server, wire::ROOT)? };
    report::print(&cleaned, common.json, |cleaned| format!("{} znodes deleted", cleaned.deleted));
    Ok(())
}
