//! What the line editor asks: completions of verbs and, from the server, of paths. Also what is typed at the prompt, so that an
//! event can be shown above it.

use super::ask;
use super::link::{Shared, locked};
use super::target::{check_path, child};
use super::verbs::{SHELL_VERBS, VERBS};
use rustyline::Context;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// The prompt and what is typed behind it; `None` while a command runs.
#[derive(Clone, Debug, Default)]
pub struct Prompt(Arc<Mutex<Option<String>>>);

impl Prompt {
    /// Notes what the terminal's line shows.
    pub fn set(&self, shown: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// Writes `text` in place of the prompt, and the prompt again below it. The editor of rustyline 17 has a printer for that,
    /// with which it does not see that more keys have come than one: what is pasted would wait for the next key.
    pub fn print_above(&self, text: &str) {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = io::stdout().lock();
        // The terminal may be gone, and then the prompt ends as well.
        let _ = match shown.as_deref() {
            Some(line) => write!(out, "\r\x1b[J{text}\n{line}"),
            None => writeln!(out, "{text}"),
        };
        let _ = out.flush();
    }
}

/// What the line editor asks.
pub struct Helper {
    link: Shared,
    /// The text of the prompt.
    pub prompt: String,
    shown: Prompt,
}

impl Helper {
    /// Completes paths of this session, and notes in `shown` what is typed.
    pub fn new(link: Shared, shown: Prompt) -> Self {
        Self { link, prompt: String::new(), shown }
    }

    /// The children whose paths begin with `typed`; none without a connection, for then the server is not asked.
    fn paths(&self, typed: &str) -> Vec<String> {
        let Some((above, _)) = typed.rsplit_once('/') else { return Vec::new() };
        let above = if above.is_empty() { "/" } else { above };
        let mut link = locked(&self.link);
        if !link.is_connected() || check_path(above).is_err() {
            return Vec::new();
        }
        let full = link.target().full(above);
        let names = ask::children(&mut link, &full, false).map_or_else(|_| Vec::new(), |(names, _)| names);
        names.iter().map(|name| child(above, name)).filter(|path| path.starts_with(typed)).collect()
    }
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..pos];
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &before[start..];
        if before[..start].trim().is_empty() {
            return Ok((start, verbs(word)));
        }
        Ok((start, self.paths(word)))
    }
}

/// The verbs that begin with `typed`.
fn verbs(typed: &str) -> Vec<String> {
    let names = VERBS.iter().map(|verb| verb.name).chain(SHELL_VERBS.iter().map(|verb| verb.0));
    let mut names: Vec<String> = names.filter(|name| name.starts_with(typed)).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// It hints nothing: the editor shows it each change of the line.
impl Hinter for Helper {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.shown.set(Some(format!("{}{line}", self.prompt)));
        None
    }
}

impl Highlighter for Helper {}

impl Validator for Helper {}

impl rustyline::Helper for Helper {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verb is completed from its beginning; zkCli's and the shell's own are known.
    #[test]
    fn verbs_complete() {
        assert_eq!(verbs("getA"), ["getAcl", "getAllChildrenNumber"]);
        assert_eq!(verbs("hi"), ["history"]);
        assert_eq!(verbs("x"), [""; 0]);
    }
}
