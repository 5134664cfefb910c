//! Load for any server that speaks ZooKeeper's protocol.
//!
//! `loadgen --read-ratio 0.9` measures the server on this machine; `--help` shows the rest. loadgen checks every reply,
//! and one wrong reply makes its exit status 1, at any speed.
//!
//! Each row uses only rows above it:
//!
//! | module | what it is |
//! |---|---|
//! | `random` | the seeded generator, and how often each key is drawn |
//! | `report` | records of what was measured, and the tables, JSON and HTML pages made of them |
//! | `engine` | sessions on sockets, requests and checks of replies, threads that send and record latencies |
//! | `failure` | why loadgen ends early, with its exit status |
//! | `args` | the arguments that several commands take |
//! | `servers` | services to measure: started here or running already, and what their processes used |
//! | `workloads` | what sessions ask for: independent requests, the lock recipe, a watch fan-out, a connect storm |
//! | `commands` | the command line: one file per command, which joins the above |

mod args;
mod commands;
mod engine;
mod failure;
mod random;
mod report;
mod servers;
mod workloads;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            failure.exit_code()
        }
    }
}
