//! Where a verb's data and words go: data to standard output, words to standard error.

use super::error::CliError;
use serde_json::Value;
use std::io::{self, BufWriter, Write};

/// Bytes of standard output that are written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Standard output, and whether it takes JSON.
pub struct Output {
    out: BufWriter<Box<dyn Write + Send>>,
    /// True if data is written as JSON, one value a line.
    pub json: bool,
}

impl Output {
    /// Standard output.
    pub fn new(json: bool) -> Self {
        Self::to(Box::new(io::stdout()), json)
    }

    /// Any other place.
    pub fn to(out: Box<dyn Write + Send>, json: bool) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, out), json }
    }

    /// Writes `text` and the end of a line.
    ///
    /// # Errors
    /// As all writes here: the output cannot be written, or its reader has gone.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.text(text)?;
        self.text("\n")
    }

    /// Writes `text` as it is.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Writes a JSON value as one line.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn value(&mut self, value: &Value) -> Result<(), CliError> {
        self.line(&value.to_string())
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.out.flush()?)
    }
}

/// Writes a line for a person to standard error, which may be closed.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes an error to standard error, as text or as JSON.
pub fn report(error: &CliError, json: bool) {
    match error {
        CliError::ReaderGone => {}
        error if json => note(&error.json().to_string()),
        error => note(&error.to_string()),
    }
}
