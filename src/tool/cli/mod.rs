//! `zkfast cli`: zkCli's verbs for a person at a terminal and for scripts, and verbs for whole subtrees.
//!
//! Data goes to standard output, all else to standard error. The page [cli](crate::docs::cli) is for its users.

mod ask;
mod complete;
mod error;
mod glob;
mod importer;
mod lines;
mod link;
mod output;
mod pipe;
mod record;
mod shell;
mod target;
mod text;
mod verb;
mod verbs;
mod walk;
mod watches;
mod words;

use super::{ClientArgs, credential_lines};
use error::{CliError, EXIT_DONE};
use link::{Credential, Link, Settings};
use output::{Output, note, report};
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;
use target::Target;
use verb::Context;

/// Arguments of `zkfast cli`.
#[derive(Debug, clap::Args)]
pub struct CliArgs {
    /// Servers, tried in this order, and the znode that is to be /. The port is 2181 unless given.
    #[arg(short, long, value_name = "HOST:PORT[,...][/CHROOT]", default_value = "localhost:2181")]
    server: String,
    /// Session timeout to ask for, in milliseconds; also the longest wait for one answer.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(i32).range(1..))]
    timeout: i32,
    /// A server without a quorum that serves reads will do.
    #[arg(short, long)]
    read_only: bool,
    /// Try the servers again until --timeout has passed.
    #[arg(long)]
    wait_for_connection: bool,
    /// A credential, as digest:user:password. The list of processes shows it: see --auth-file.
    #[arg(long, value_name = "SCHEME:AUTH")]
    auth: Vec<String>,
    /// A file with a credential a line. The variable ZKFAST_AUTH is read in the same way.
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
    /// JSON in place of text, on standard output and for errors.
    #[arg(long)]
    json: bool,
    /// A verb and its arguments. Without it, a shell, or a command a line from standard input.
    #[arg(value_name = "VERB", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// What `zkfast cli --help` says after the options.
pub fn after_help() -> String {
    let mut text = String::from("Verbs:\n");
    for verb in &verbs::VERBS {
        // Writing into a String does not fail.
        let _ = writeln!(text, "  {} {}", verb.name, verb.usage);
    }
    text + "Each takes --json; `zkfast cli help` says what they do.\n\n\
            Exit status:\n  \
            0  done\n  \
            1  the server refused, and the message names its error code; diff found differences\n  \
            2  the command line cannot be used\n  \
            4  no server answers, or the connection is lost\n  \
            5  a file, standard input or standard output cannot be read or written\n\n\
            Examples:\n  \
            zkfast cli -s zk1:2181,zk2:2181 ls /\n  \
            zkfast cli get --raw /app/config > config\n  \
            zkfast cli set /app/config - < config\n  \
            zkfast cli export /app | gzip > app.jsonl.gz\n  \
            zkfast cli copy old:2181/app new:2181/app --rate 1000"
}

/// Runs `zkfast cli`. Gives the exit status.
pub fn run(args: &CliArgs) -> u8 {
    let is_json = args.json || args.command.iter().any(|word| word == "--json");
    match start(args) {
        Ok(status) => status,
        Err(error) => {
            report(&error, is_json);
            error.status()
        }
    }
}

fn start(args: &CliArgs) -> Result<u8, CliError> {
    if args.server == "erver" {
        return Err(CliError::Usage("-server is zkCli's spelling: write -s or --server".to_owned()));
    }
    let timeout = Duration::from_millis(u64::from(args.timeout.unsigned_abs()));
    let (security, warning) = args.client.security().map_err(CliError::Usage)?;
    if let Some(warning) = warning {
        note(&format!("warning: {warning}"));
    }
    let settings = Settings {
        timeout,
        read_only: args.read_only,
        wait: args.wait_for_connection,
        credentials: credentials(args)?,
        security,
    };
    let link = Link::new(Target::parse(&args.server)?, settings);
    let out = Output::new(args.json);
    match args.command.split_first() {
        Some((verb, words)) => once(link, out, verb, words),
        None if std::io::stdin().is_terminal() => shell::terminal(link, out),
        None => shell::script(link, out),
    }
}

/// Runs one verb.
fn once(mut link: Link, mut out: Output, verb: &str, words: &[String]) -> Result<u8, CliError> {
    if verb == "help" {
        out.json |= words.iter().any(|word| word == "--json");
        shell::help(&mut out, words.iter().map(String::as_str).find(|word| !word.starts_with('-')))?;
        out.flush()?;
        return Ok(EXIT_DONE);
    }
    if verb.starts_with('-') {
        return Err(CliError::Usage(format!("unknown option {verb}: zkfast cli --help lists them")));
    }
    let verb =
        verbs::find(verb).ok_or_else(|| match verbs::SHELL_VERBS.iter().any(|known| known.0 == verb) {
            true => {
                CliError::Usage(format!("{verb} is a verb of the shell: zkfast cli without a verb starts it"))
            }
            false => shell::unknown(verb),
        })?;
    let result = verb.run(&mut Context { link: &mut link, out: &mut out, stdin_is_free: true }, words);
    // What a verb wrote before it failed is data all the same.
    let flushed = out.flush();
    link.close();
    result.and(flushed).map(|()| EXIT_DONE)
}

/// Credentials of the variable, the file and the flags, in this order.
fn credentials(args: &CliArgs) -> Result<Vec<Credential>, CliError> {
    let lines = credential_lines(args.auth_file.as_deref()).map_err(CliError::Files)?;
    lines.iter().chain(&args.auth).map(|line| credential(line)).collect()
}

fn credential(text: &str) -> Result<Credential, CliError> {
    // The message does not repeat it: it may hold a password.
    let (scheme, auth) = text.split_once(':').ok_or_else(|| {
        CliError::Usage("a credential has the form scheme:auth, as digest:user:password".to_owned())
    })?;
    Ok(Credential { scheme: scheme.to_owned(), auth: auth.as_bytes().to_vec() })
}
