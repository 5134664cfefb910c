//! What a verb is.

use super::error::CliError;
use super::link::Link;
use super::output::Output;
use super::target::{Target, check_path};
use super::words::{Flag, Words};
use std::io::Read;

/// The largest data that is read from standard input, in bytes: more than any server takes.
const DATA_BYTES_MAX: u64 = 64 << 20;

/// Where a verb works.
pub struct Context<'a> {
    /// The session.
    pub link: &'a mut Link,
    /// Where data goes.
    pub out: &'a mut Output,
    /// True if standard input holds no commands, so that a verb may read data there.
    pub stdin_is_free: bool,
}

impl Context<'_> {
    /// The server's path of an argument.
    ///
    /// # Errors
    /// [`CliError::Usage`] if it is no path.
    pub fn full(&self, path: &str) -> Result<String, CliError> {
        check_path(path)?;
        Ok(self.link.target().full(path))
    }

    /// A session beside this one, at other servers, with the same settings and credentials.
    pub fn other(&self, target: Target) -> Link {
        Link::new(target, self.link.settings().clone())
    }

    /// The session and path of an argument: `/path` is of this session, `host:port[,...]/path` of another one.
    ///
    /// # Errors
    /// [`CliError::Usage`] where it is neither.
    pub fn place(&self, text: &str) -> Result<(Link, String), CliError> {
        if text.starts_with('/') {
            check_path(text)?;
            return Ok((self.other(self.link.target().clone()), text.to_owned()));
        }
        let (target, path) = Target::parse_with_path(text)?;
        Ok((self.other(target), path))
    }

    /// All of standard input.
    ///
    /// # Errors
    /// [`CliError::Usage`] where commands come from there; [`CliError::Files`].
    pub fn stdin(&self) -> Result<Vec<u8>, CliError> {
        if !self.stdin_is_free {
            return Err(CliError::Usage("- reads standard input, from which the commands come".to_owned()));
        }
        let mut data = Vec::new();
        let read = std::io::stdin().lock().take(DATA_BYTES_MAX + 1).read_to_end(&mut data);
        read.map_err(|error| CliError::Files(format!("standard input cannot be read: {error}")))?;
        if data.len() as u64 > DATA_BYTES_MAX {
            return Err(CliError::Usage(format!("standard input has more than {DATA_BYTES_MAX} bytes")));
        }
        Ok(data)
    }
}

/// A command of the shell.
#[derive(Debug)]
pub struct Verb {
    /// As it is typed.
    pub name: &'static str,
    /// What follows the name.
    pub usage: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// The flags that it takes.
    pub flags: &'static [Flag],
    /// How many arguments it takes beside flags: at least, at most.
    pub arguments: (usize, usize),
    /// Does it.
    pub run: fn(&mut Context<'_>, &Words) -> Result<(), CliError>,
}

impl Verb {
    /// Runs the verb with the words after its name.
    ///
    /// # Errors
    /// [`CliError::Usage`] where the words do not fit; what the verb gives.
    pub fn run(&self, context: &mut Context<'_>, words: &[String]) -> Result<(), CliError> {
        let usage = |why: String| {
            CliError::Usage(format!("{}: {why}\nusage: {} {}", self.name, self.name, self.usage))
        };
        let words = Words::parse(words, self.flags).map_err(|error| usage(error.to_string()))?;
        if words.has("help") {
            return context.out.line(&format!("{} {}\n    {}", self.name, self.usage, self.about));
        }
        let (least, most) = self.arguments;
        if words.arguments.len() < least {
            return Err(usage("an argument is missing".to_owned()));
        }
        if words.arguments.len() > most {
            return Err(usage(format!("{:?} is one argument too many", words.argument(most))));
        }
        let former = context.out.json;
        context.out.json |= words.has("json");
        let result = (self.run)(context, &words);
        context.out.json = former;
        match result {
            Err(CliError::Usage(why)) => Err(usage(why)),
            other => other,
        }
    }
}
