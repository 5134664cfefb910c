//! Verbs that carry a subtree out of an ensemble, into one, and from one to another.

use super::super::error::CliError;
use super::super::importer::{Importer, Plan};
use super::super::lines::{self, Lines};
use super::super::output::{Output, note};
use super::super::record::{self, Record};
use super::super::target::is_within;
use super::super::verb::Context;
use super::super::walk::{self, Read, Walk};
use super::super::words::Words;
use std::fs;
use std::time::{Duration, Instant};

/// How often the file of `--resume` is written.
const RESUME_EVERY: Duration = Duration::from_secs(1);

/// `export`: a line of JSON for each znode of a subtree, parents before their children.
pub fn export(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    context.full(path)?;
    let how = Walk { system: words.has("system"), ..Walk::all(Read::Whole) };
    let mut count = 0_u64;
    let mut write = |out: &mut Output| {
        walk::walk(context.link, path, how, &mut |node| {
            count += 1;
            out.value(&record::line(&node))
        })
    };
    let unreadable = match words.value("out") {
        None => write(context.out)?,
        Some(file) => {
            let named = |error: std::io::Error| CliError::Files(format!("{file}: {error}"));
            let mut out = Output::to(Box::new(fs::File::create(file).map_err(named)?), true);
            let unreadable = write(&mut out)?;
            out.flush()?;
            unreadable
        }
    };
    note(&format!("exported: {count} znodes"));
    walk::complete(unreadable)
}

/// `import`: creates the znodes of an export.
pub fn import(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let source = if words.arguments.is_empty() { "-" } else { words.argument(0) };
    if source == "-" && !context.stdin_is_free {
        return Err(CliError::Usage("- reads standard input, from which the commands come".to_owned()));
    }
    let plan = Plan::read(words)?;
    let to = words.value("to").map(str::to_owned);
    if let Some(to) = &to {
        context.full(to)?;
    }
    let mut resume = Resume::read(words.value("resume"))?;
    let lines = Lines::open(source)?;
    let mut importer = Importer::new(context.link, plan, to);
    let result = take_lines(&lines, &mut importer, &mut resume);
    let done = importer.done();
    match &result {
        Ok(()) => resume.finish()?,
        Err(error) => {
            resume.write(done)?;
            if !matches!(error, CliError::Failed(_)) {
                note(&format!("stopped: the first {done} lines are done"));
            }
        }
    }
    importer.report(context.out)?;
    result
}

fn take_lines(lines: &Lines, importer: &mut Importer<'_>, resume: &mut Resume) -> Result<(), CliError> {
    let mut number = 0;
    loop {
        match lines.next(lines::WAIT)? {
            lines::Next::Line(line) => {
                number += 1;
                let parse = || {
                    Record::parse(&line).map_err(|error| CliError::Usage(format!("line {number}: {error}")))
                };
                if number <= resume.done {
                    let first = if number == 1 { Some(parse()?) } else { None };
                    importer.skip(first.as_ref());
                    continue;
                }
                importer.put(parse()?)?;
                resume.note(importer.done())?;
            }
            lines::Next::Wait => importer.idle()?,
            lines::Next::End => return importer.finish(),
        }
    }
}

/// How many lines of an export are done, in a file.
struct Resume {
    file: Option<String>,
    done: u64,
    written: Instant,
}

impl Resume {
    fn read(file: Option<&str>) -> Result<Self, CliError> {
        let named = |file: &str, why: String| CliError::Files(format!("{file}: {why}"));
        let done = match file.map(|file| (file, fs::read_to_string(file))) {
            None => 0,
            Some((_, Err(error))) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Some((file, Err(error))) => return Err(named(file, error.to_string())),
            Some((file, Ok(text))) => {
                text.trim().parse().map_err(|_| named(file, "holds no count of lines".to_owned()))?
            }
        };
        Ok(Self { file: file.map(str::to_owned), done, written: Instant::now() })
    }

    /// Writes the count if it has not been written for a while.
    fn note(&mut self, done: u64) -> Result<(), CliError> {
        if self.file.is_none() || self.written.elapsed() < RESUME_EVERY {
            return Ok(());
        }
        self.written = Instant::now();
        self.write(done)
    }

    /// The count replaces the former one as a whole, so that a kill leaves one or the other.
    fn write(&self, done: u64) -> Result<(), CliError> {
        let Some(file) = &self.file else { return Ok(()) };
        let new = format!("{file}.new");
        let written = fs::write(&new, format!("{done}\n")).and_then(|()| fs::rename(&new, file));
        written.map_err(|error| CliError::Files(format!("{file}: {error}")))
    }

    /// All is imported: a later import with this file is a new one.
    fn finish(&self) -> Result<(), CliError> {
        let Some(file) = &self.file else { return Ok(()) };
        match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CliError::Files(format!("{file}: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// `copy`: an export and its import at once, without a file between.
pub fn copy(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let plan = Plan::read(words)?;
    let (mut source, from) = context.place(words.argument(0))?;
    let (mut destination, to) = context.place(words.argument(1))?;
    if is_within(&source.target().full(&from), &destination.target().full(&to))
        && source.target().hosts == destination.target().hosts
    {
        return Err(CliError::Usage(
            "the copy would be below what is copied, and be copied again".to_owned(),
        ));
    }
    destination.attach()?;
    let mut importer = Importer::new(&mut destination, plan, Some(to));
    let how = Walk { system: words.has("system"), ..Walk::all(Read::Whole) };
    let walked = walk::walk(&mut source, &from, how, &mut |node| importer.put(node.into()));
    let result = walked.and_then(|unreadable| {
        importer.finish()?;
        walk::complete(unreadable)
    });
    importer.report(context.out)?;
    drop(importer);
    source.close();
    destination.close();
    result
}
