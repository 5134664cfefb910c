//! `zkfast snapshot`: the trees in snapshots of zkfast and of ZooKeeper.

mod args;
mod compare;
mod files;
mod image;
mod list;
mod read;
mod show;
mod sizes;
mod summary;
mod verify;
mod znode;

pub use args::SnapshotArgs;

use super::output::{Form, Output};
use args::SnapshotCommand;
use std::process::ExitCode;

/// Runs the command; returns the exit status.
pub fn run(args: SnapshotArgs) -> ExitCode {
    let mut output = Output::new(Form::of(args.json));
    let written = match args.command {
        SnapshotCommand::List { files } => list::run(&files, &mut output),
        SnapshotCommand::Show(args) => show::run(&args, &mut output),
        SnapshotCommand::Summary(args) => summary::run(&args, &mut output),
        SnapshotCommand::Sizes(args) => sizes::run(&args, &mut output),
        SnapshotCommand::Compare(args) => compare::run(&args, &mut output),
        SnapshotCommand::Verify { files } => verify::run(&files, &mut output),
    };
    output.finish(written)
}
