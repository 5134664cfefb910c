//! `zkfast log`: the txns in logs of zkfast and of ZooKeeper.

mod args;
mod files;
mod item;
mod java;
mod list;
mod read;
mod record;
mod recover;
mod segments;
mod summary;
mod types;
mod verify;

pub use args::LogArgs;

use super::output::{Form, Output};
use args::LogCommand;
use std::process::ExitCode;

/// Runs the command; returns the exit status.
pub fn run(args: LogArgs) -> ExitCode {
    let form = Form::of(args.json);
    let mut output = Output::new(form);
    let written = match args.command {
        LogCommand::List(args) => list::run(&args, &mut output),
        LogCommand::Verify { files } => verify::run(&files, &mut output),
        LogCommand::Summary(args) => summary::run(&args, &mut output),
        LogCommand::Recover(args) => recover::run(&args, &mut output),
    };
    output.finish(written)
}
