//! Pages as files, and `loadgen page`: the page of a result that was kept as JSON.

use crate::failure::Failure;
use crate::report::comparison::Comparison;
use crate::report::machine::Machine;
use crate::report::outcome::Outcome;
use crate::report::page::Page;
use crate::report::scenario::ScenarioRecord;
use crate::report::{comparison_page, load_page, scenario_page};
use clap::Args;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Options of the command.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  loadgen --json > run.json && loadgen page run.json --html run.html")]
pub struct MakePage {
    /// A file with what --json printed: a run, a comparison or a scenario
    #[arg(value_name = "JSON")]
    result: PathBuf,
    /// Where the page is written
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
}

impl MakePage {
    /// Reads the result and writes its page.
    pub fn run(&self) -> Result<(), Failure> {
        let failed = |why: String| Failure::Usage(format!("{}: {why}", self.result.display()));
        let text = std::fs::read_to_string(&self.result).map_err(|error| failed(error.to_string()))?;
        write(&self.html, &page(&text).map_err(failed)?)
    }
}

/// Refuses a file that cannot be written, before the measurement begins.
pub fn check_writable(file: Option<&Path>) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

/// Writes a page and prints where it is, on stderr.
pub fn write(file: &Path, page: &Page) -> Result<(), Failure> {
    std::fs::write(file, page.html())
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    eprintln!("loadgen: the page is {}", file.display());
    Ok(())
}

fn page(text: &str) -> Result<Page, String> {
    fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
    #[derive(serde::Deserialize)]
    struct Kind {
        what: String,
    }
    let kind: Kind = read(text)?;
    match kind.what.as_str() {
        // The record of a run does not say on which machine it was made.
        "load" => Ok(load_page::page(&read::<Outcome>(text)?, &Machine::default())),
        "compare" => Ok(comparison_page::page(&read::<Comparison>(text)?)),
        "scenario" => Ok(scenario_page::page(&read::<ScenarioRecord>(text)?)),
        what => Err(format!("a record of {what:?} has no page")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of record that has a page gets its own; others are refused by name.
    #[test]
    fn kinds() {
        let load = Outcome { what: "load".to_owned(), workload: "get".to_owned(), ..Outcome::default() };
        let json = serde_json::to_string(&load).expect("plain data");
        assert!(page(&json).expect("a run").html().contains("<title>get: 0 operations/s</title>"));
        let compare = Comparison { what: "compare".to_owned(), ..Comparison::default() };
        let json = serde_json::to_string(&compare).expect("plain data");
        assert_eq!(serde_json::from_str::<Comparison>(&json).expect("what was written"), compare);
        assert!(page(&json).is_ok());
        assert!(page("{\"what\":\"disk\"}").is_err_and(|error| error.contains("\"disk\" has no page")));
        assert!(page("no").is_err());
    }
}
