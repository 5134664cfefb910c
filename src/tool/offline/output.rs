//! Standard output for data, standard error for what is wrong, and the exit status.

use super::row::Row;
use crate::server::EXIT_HOST;
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;

/// What `--help` says of exit statuses.
pub const STATUSES: &str = "Exit status: 0 all is well, 1 damage or a difference was found, 2 a flag is wrong, 3 a file cannot \
                            be read, 5 standard output could not be written";

/// A difference or damage was found.
const EXIT_FOUND: u8 = 1;
/// A file cannot be read.
const EXIT_UNREADABLE: u8 = 3;

/// The form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Form {
    /// The form that `--json` asks for.
    pub fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Where a command writes, and what it has found.
#[derive(Debug)]
pub struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    form: Form,
    found: bool,
    unreadable: bool,
}

impl Output {
    /// An output in this form.
    pub fn new(form: Form) -> Self {
        let stdout = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        Self { stdout, form, found: false, unreadable: false }
    }

    /// The form of rows.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        let text = match self.form {
            Form::Text => row.text(),
            Form::Json => row.json(),
        };
        self.line(&text)
    }

    /// Writes a line of text.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.write_all(b"\n")
    }

    /// Something differs: the exit status is 1, unless a file could not be read.
    pub fn set_found(&mut self) {
        self.found = true;
    }

    /// Reports damage of a file.
    pub fn damage(&mut self, path: &Path, offset: Option<u64>, why: impl fmt::Display) {
        self.found = true;
        match offset {
            Some(offset) => self.say(format_args!("damaged: {}: byte {offset}: {why}", path.display())),
            None => self.say(format_args!("damaged: {}: {why}", path.display())),
        }
    }

    /// Reports a file that cannot be read: its bytes may be sound.
    pub fn unreadable(&mut self, path: &Path, why: impl fmt::Display) {
        self.unreadable = true;
        self.say(format_args!("error: {}: {why}", path.display()));
    }

    /// Reports what an operator may want to know, and is no damage.
    pub fn note(&mut self, path: &Path, what: impl fmt::Display) {
        self.say(format_args!("note: {}: {what}", path.display()));
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        // What was found so far comes first where both go to one terminal. An error of either shows at the end, or cannot
        // be shown at all.
        let _ = self.stdout.flush();
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// The exit status of a command that ended with `written`. A reader that has closed its end is no error.
    pub fn finish(mut self, written: io::Result<()>) -> ExitCode {
        match written.and_then(|()| self.stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let _ = writeln!(io::stderr(), "error: standard output cannot be written: {error}");
                ExitCode::from(EXIT_HOST as u8)
            }
            _ if self.unreadable => ExitCode::from(EXIT_UNREADABLE),
            _ if self.found => ExitCode::from(EXIT_FOUND),
            _ => ExitCode::SUCCESS,
        }
    }
}
