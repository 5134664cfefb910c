//! `zkfast admin`: a command of the HTTP port, for scripts and for who has no browser.

use super::http::{Http, HttpArgs, Method, check};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The server answered with an error.
const REFUSED: u8 = 1;
/// No server answers.
const NONE_ANSWERS: u8 = 4;

/// Arguments of `zkfast admin`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zkfast admin top
  zkfast admin slow_requests --server zk1:8080
  zkfast admin set_trace_mask --query traceMask=306
  zkfast admin shed_connections --post --query percent=20 --auth-file FILE
  zkfast admin hand_over --server zk2:8080 --post --query to=3 --auth-file FILE

`zkfast admin commands` lists the commands. The answer is printed as it comes, JSON.

Exit status: 0 done, 1 the server answered with an error, 2 a flag is wrong, 4 no server answers,
5 standard output could not be written")]
pub struct AdminArgs {
    /// Which command: top, slow_requests, monitor, connections ...
    command: String,
    /// The HTTP port of a server.
    #[arg(short, long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    server: String,
    #[command(flatten)]
    http: HttpArgs,
    /// Asks by POST: for commands that do something, such as shed_connections and hand_over.
    #[arg(long)]
    post: bool,
    /// A parameter of the command, as name=value.
    #[arg(long, value_name = "NAME=VALUE")]
    query: Vec<String>,
    /// A client's file of properties, as zkCli.sh takes it: HTTPS by zookeeper.client.secure and zookeeper.ssl.*
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    /// Longest wait for the answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 15_000)]
    timeout: u64,
}

/// Asks. Gives what is to be printed, and the exit status.
///
/// # Errors
/// A flag cannot be used.
pub fn run(args: &AdminArgs) -> Result<(Vec<u8>, u8), String> {
    args.query.iter().chain([&args.command]).try_for_each(|text| check(text))?;
    let http = Http::new(&args.http, args.client_configuration.as_deref())?;
    let command = match args.command.as_str() {
        "commands" => "",
        command => command,
    };
    let query = if args.query.is_empty() { String::new() } else { format!("?{}", args.query.join("&")) };
    let method = if args.post { Method::Post } else { Method::GetAs };
    let timeout = Duration::from_millis(args.timeout.max(1));
    Ok(match http.ask(&args.server, method, &format!("{command}{query}"), timeout) {
        Ok((200, body)) => {
            // Java answers 200 with an error for a name that is none, and while it does not serve.
            let is_done = args.command == "commands" || ends_without_error(&body);
            (body, if is_done { 0 } else { REFUSED })
        }
        Ok((_, body)) => (body, REFUSED),
        Err(error) => return Ok((report(&args.server, &error), NONE_ANSWERS)),
    })
}

/// Whether the last member of an answer is `"error" : null`.
fn ends_without_error(body: &[u8]) -> bool {
    let answer: Result<serde_json::Value, _> = serde_json::from_slice(body);
    answer.is_ok_and(|answer| answer.get("error").is_none_or(serde_json::Value::is_null))
}

/// Says on standard error why there is no answer; nothing is printed.
fn report(server: &str, error: &io::Error) -> Vec<u8> {
    // A closed standard error is no reason to fail otherwise.
    let _ = io::Write::write_all(&mut io::stderr(), format!("error: {server}: {error}\n").as_bytes());
    Vec::new()
}
