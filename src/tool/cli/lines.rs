//! Lines of a file or of standard input, read ahead by a thread, so that a session does not expire while none comes.

use super::error::CliError;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How long to wait for a line before the session is looked after.
pub const WAIT: Duration = Duration::from_millis(200);
/// Lines that go to the reader's other side at once.
const BATCH_LINES: usize = 64;
/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 4;
/// The longest line, in bytes: base64 of more than any server takes.
const LINE_BYTES_MAX: u64 = 128 << 20;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A line without its end.
    Line(String),
    /// None has come yet.
    Wait,
    /// No other will come.
    End,
}

type Batch = Result<Vec<String>, String>;

/// The lines of one source.
#[derive(Debug)]
pub struct Lines {
    source: String,
    batches: Receiver<Batch>,
    batch: RefCell<std::vec::IntoIter<String>>,
}

impl Lines {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// [`CliError::Files`] where it cannot be opened.
    pub fn open(source: &str) -> Result<Self, CliError> {
        let named = |error: io::Error| CliError::Files(format!("{source}: {error}"));
        let reader: Box<dyn Read + Send> =
            if source == "-" { Box::new(io::stdin()) } else { Box::new(File::open(source).map_err(named)?) };
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        std::thread::spawn(move || read(reader, &sender));
        Ok(Self { source: source.to_owned(), batches, batch: RefCell::default() })
    }

    /// The next line, for which it waits no longer than `wait`.
    ///
    /// # Errors
    /// [`CliError::Files`] where the source cannot be read, or is no text.
    pub fn next(&self, wait: Duration) -> Result<Next, CliError> {
        loop {
            if let Some(line) = self.batch.borrow_mut().next() {
                return Ok(Next::Line(line));
            }
            match self.batches.recv_timeout(wait) {
                Ok(Ok(lines)) => *self.batch.borrow_mut() = lines.into_iter(),
                Ok(Err(why)) => return Err(CliError::Files(format!("{}: {why}", self.source))),
                Err(RecvTimeoutError::Timeout) => return Ok(Next::Wait),
                Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
            }
        }
    }
}

/// Reads until the end, an error, or until no one takes lines.
fn read(reader: Box<dyn Read + Send>, sender: &SyncSender<Batch>) {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    loop {
        let mut lines = Vec::with_capacity(BATCH_LINES);
        let ended = loop {
            match line(&mut reader) {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break Some(None),
                Err(why) => break Some(Some(why)),
            }
            // What is buffered belongs to this batch; no line waits for one that has not come yet.
            if lines.len() == BATCH_LINES || !reader.buffer().contains(&b'\n') {
                break None;
            }
        };
        if sender.send(Ok(lines)).is_err() {
            return;
        }
        match ended {
            None => {}
            Some(None) => return,
            Some(Some(why)) => {
                // The receiver may be gone, and then knows enough.
                let _ = sender.send(Err(why));
                return;
            }
        }
    }
}

/// A line without its end; `None` at the end of the source.
fn line(reader: &mut BufReader<Box<dyn Read + Send>>) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let read = reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() as u64 == LINE_BYTES_MAX {
        return Err(format!("a line has more than {LINE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| "a line is not UTF-8".to_owned())
}
