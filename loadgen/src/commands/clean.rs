//! `loadgen clean`: deletes what other commands left.

use crate::args::Common;
use crate::engine::wire::ROOT;
use crate::failure::Failure;
use crate::report::print;
use crate::workloads::prepare;
use clap::Args;
use serde::Serialize;

/// Options of the command.
#[derive(Debug, Args)]
pub struct Clean {
    #[command(flatten)]
    common: Common,
}

/// The record of a clean.
#[derive(Serialize)]
struct Cleaned {
    what: &'static str,
    deleted: u64,
}

impl Clean {
    /// Deletes everything below [`ROOT`] and prints how many znodes that were.
    pub fn run(&self) -> Result<(), Failure> {
        let cleaned = Cleaned { what: "clean", deleted: prepare::clean(&self.common.server, ROOT)? };
        print::record(&cleaned, self.common.json, |cleaned| format!("{} znodes deleted", cleaned.deleted));
        Ok(())
    }
}
