//! Commands that come one a line, from a terminal or from a script.

use super::complete::{Helper, Prompt};
use super::error::{CliError, EXIT_DONE};
use super::lines::{self, Lines};
use super::link::{Attached, Link, Shared, locked};
use super::output::{Output, note, report};
use super::target::Target;
use super::verb::Context;
use super::verbs::{self, SHELL_VERBS};
use super::watches::event_text;
use super::words::cut;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the session is looked after while the prompt waits.
const ATTEND_EVERY: Duration = Duration::from_millis(100);
/// How long a look waits for events.
const LOOK: Duration = Duration::from_millis(1);
/// Commands that `history` shows. Source: `ZooKeeperMain.processZKCmd`.
const HISTORY_SHOWN: usize = 11;
/// Commands that the file of the history keeps.
const HISTORY_KEPT: usize = 1000;
/// A flag that all verbs take.
const JSON_FLAG: &str = "--json";
/// The file of the history, in the user's home.
const HISTORY_FILE: &str = ".zkfast_history";

/// What goes on after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Command,
    End,
}

struct Shell {
    link: Shared,
    out: Output,
    prints_watches: Arc<AtomicBool>,
    history: Vec<String>,
}

/// The help of all verbs, or the usage of one.
pub fn help(out: &mut Output, verb: Option<&str>) -> Result<(), CliError> {
    let of_verbs = verbs::VERBS.iter().map(|verb| (verb.name, verb.usage, verb.about));
    let mut count = 0;
    for (name, usage, about) in of_verbs.chain(SHELL_VERBS) {
        if verb.is_some_and(|wanted| wanted != name) {
            continue;
        }
        count += 1;
        if out.json {
            out.value(&json!({ "verb": name, "usage": usage, "about": about }))?;
        } else {
            out.line(&format!("{}\n    {about}", format!("{name} {usage}").trim_end()))?;
        }
    }
    match verb {
        Some(verb) if count == 0 => Err(unknown(verb)),
        _ => Ok(()),
    }
}

/// The error for a verb that there is not, with the one that may be meant.
pub fn unknown(verb: &str) -> CliError {
    let names: Vec<&str> =
        verbs::VERBS.iter().map(|verb| verb.name).chain(SHELL_VERBS.iter().map(|verb| verb.0)).collect();
    let meant = crate::config::suggestion(verb, &names);
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    CliError::Usage(format!("Command not found: {verb}{meant}"))
}

/// Runs the commands of standard input, all of them. Gives the exit status of the first that failed.
pub fn script(link: Link, out: Output) -> Result<u8, CliError> {
    let mut shell = Shell::new(link, out);
    let commands = Lines::open("-")?;
    let mut status = EXIT_DONE;
    loop {
        match commands.next(lines::WAIT)? {
            lines::Next::Line(line) => match shell.run(&line) {
                Ok(Next::Command) => {}
                Ok(Next::End) => break,
                Err(CliError::ReaderGone) => break,
                Err(error) => {
                    report(&error, shell.out.json);
                    status = if status == EXIT_DONE { error.status() } else { status };
                }
            },
            lines::Next::Wait => attend(&shell.link, &shell.prints_watches, &mut |text| note(&text)),
            lines::Next::End => break,
        }
        attend(&shell.link, &shell.prints_watches, &mut |text| note(&text));
    }
    locked(&shell.link).close();
    Ok(status)
}

/// Takes what has come for the session, and shows it.
fn attend(link: &Shared, prints_watches: &AtomicBool, show: &mut dyn FnMut(String)) {
    let mut texts = Vec::new();
    let mut locked = locked(link);
    if locked.is_connected()
        && let Err(error) = locked.poll(LOOK)
    {
        texts.push(format!("\n{error}; the next command connects again"));
    }
    for event in locked.take_events() {
        if prints_watches.load(Ordering::Relaxed) {
            texts.push(event_text(&event, locked.target()));
        }
    }
    // A slow terminal does not keep the session from a command.
    drop(locked);
    texts.into_iter().for_each(show);
}

/// Runs the commands that a person types.
///
/// # Errors
/// [`CliError::Files`] where the terminal cannot be used.
pub fn terminal(link: Link, out: Output) -> Result<u8, CliError> {
    let mut shell = Shell::new(link, out);
    let broken = |error: ReadlineError| CliError::Files(format!("the terminal cannot be used: {error}"));
    let config = Config::builder().completion_type(CompletionType::List).max_history_size(HISTORY_KEPT);
    let config = config.map_err(broken)?.build();
    let mut editor: Editor<Helper, FileHistory> = Editor::with_config(config).map_err(broken)?;
    let shown = Prompt::default();
    editor.set_helper(Some(Helper::new(shell.link.clone(), shown.clone())));
    let file = history_file();
    if let Some(file) = &file {
        // There is none at the first start.
        let _ = editor.load_history(file);
    }
    let above = shown.clone();
    let (shared, prints_watches) = (shell.link.clone(), shell.prints_watches.clone());
    // It ends with the process: it holds nothing that is to be written.
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(ATTEND_EVERY);
            attend(&shared, &prints_watches, &mut |text| above.print_above(&text));
        }
    });
    let first = locked(&shell.link).attach();
    if let Err(error) = first {
        report(&error, false);
    }
    loop {
        let prompt = shell.prompt();
        if let Some(helper) = editor.helper_mut() {
            helper.prompt.clone_from(&prompt);
        }
        let line = editor.readline(&prompt);
        shown.set(None);
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(broken(error)),
        };
        // Credentials do not belong into a file.
        if !line.trim().is_empty() && !line.trim_start().starts_with("addauth") {
            let _ = editor.add_history_entry(line.as_str());
        }
        match shell.run(&line) {
            Ok(Next::Command) => {}
            Ok(Next::End) => break,
            Err(error) => report(&error, shell.out.json),
        }
    }
    if let Some(file) = &file
        && let Err(error) = editor.save_history(file)
    {
        note(&format!("{}: the history cannot be written: {error}", file.display()));
    }
    locked(&shell.link).close();
    Ok(EXIT_DONE)
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(HISTORY_FILE))
}

impl Shell {
    fn new(link: Link, out: Output) -> Self {
        let link = Arc::new(Mutex::new(link));
        Self { link, out, prints_watches: Arc::new(AtomicBool::new(true)), history: Vec::new() }
    }

    fn prompt(&self) -> String {
        let link = locked(&self.link);
        let state = match (link.is_connected(), link.is_closed()) {
            (true, _) => "CONNECTED",
            (false, true) => "CLOSED",
            (false, false) => "CONNECTING",
        };
        format!("[zk: {}({state}) {}] ", link.target().text, self.history.len())
    }

    /// Runs a line; an empty one does nothing.
    fn run(&mut self, line: &str) -> Result<Next, CliError> {
        let words = cut(line);
        if words.is_empty() {
            return Ok(Next::Command);
        }
        let line = if words[0] == "redo" { self.redo(&words)? } else { line.trim().to_owned() };
        let words = cut(&line);
        self.history.push(line);
        let result = self.execute(&words);
        let flushed = self.out.flush();
        result.and_then(|next| flushed.map(|()| next))
    }

    /// The command that `redo` names, which takes its place in the history.
    fn redo(&self, words: &[String]) -> Result<String, CliError> {
        let number = words.get(1).and_then(|number| number.parse::<usize>().ok());
        let line = number.and_then(|number| self.history.get(number));
        line.cloned().ok_or_else(|| CliError::Usage("Command index out of range".to_owned()))
    }

    fn execute(&mut self, words: &[String]) -> Result<Next, CliError> {
        let Some((name, rest)) = words.split_first() else { return Ok(Next::Command) };
        if SHELL_VERBS.iter().any(|known| known.0 == name) {
            let former = self.out.json;
            self.out.json |= rest.iter().any(|word| word == JSON_FLAG);
            let arguments = rest.iter().map(String::as_str).find(|word| *word != JSON_FLAG);
            let result = self.own(name, arguments);
            self.out.json = former;
            return result;
        }
        let verb = verbs::find(name).ok_or_else(|| unknown(name))?;
        let mut link = locked(&self.link);
        if !link.is_connected() && !link.is_closed() {
            attach(&mut link)?;
        }
        let mut context = Context { link: &mut link, out: &mut self.out, stdin_is_free: false };
        verb.run(&mut context, rest).map(|()| Next::Command)
    }

    /// A verb of the shell alone, with its argument if it has one.
    fn own(&mut self, verb: &str, argument: Option<&str>) -> Result<Next, CliError> {
        match verb {
            "quit" => return Ok(Next::End),
            "history" => self.show_history()?,
            "printwatches" => self.print_watches(argument)?,
            "connect" => self.connect(argument)?,
            "close" => locked(&self.link).close(),
            _ => help(&mut self.out, argument)?,
        }
        Ok(Next::Command)
    }

    fn show_history(&mut self) -> Result<(), CliError> {
        let first = self.history.len().saturating_sub(HISTORY_SHOWN);
        for (number, line) in self.history.iter().enumerate().skip(first) {
            if self.out.json {
                self.out.value(&json!({ "number": number, "command": line }))?;
            } else {
                self.out.line(&format!("{number} - {line}"))?;
            }
        }
        Ok(())
    }

    fn print_watches(&mut self, word: Option<&str>) -> Result<(), CliError> {
        if let Some(word) = word {
            self.prints_watches.store(word == "on", Ordering::Relaxed);
            return Ok(());
        }
        let is_on = self.prints_watches.load(Ordering::Relaxed);
        if self.out.json {
            return self.out.value(&json!({ "printwatches": is_on }));
        }
        self.out.line(&format!("printwatches is {}", if is_on { "on" } else { "off" }))
    }

    fn connect(&self, text: Option<&str>) -> Result<(), CliError> {
        let mut link = locked(&self.link);
        let target = text.map_or_else(|| Ok(link.target().clone()), Target::parse)?;
        let settings = link.settings().clone();
        link.close();
        *link = Link::new(target, settings);
        link.attach().map(drop)
    }
}

/// Connects again, and says so if the session is another one.
fn attach(link: &mut Link) -> Result<(), CliError> {
    let is_first = link.is_first();
    if link.attach()? == Attached::New && !is_first {
        note("the session had expired: this is a new one, without the former one's ephemerals");
    }
    Ok(())
}
