//! `zkfast rolling-restart`: restarts the servers of an ensemble one after the other, so that clients do not notice.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the steps, and what is said of them |
//! | `members.rs` | which servers there are |
//! | `survey.rs` | what they say at a moment, and whether they are in step |
//! | `command.rs` | the operator's command |

mod command;
mod members;
mod survey;

use super::http::{Http, HttpArgs, Method};
use super::status::Asking;
use command::Template;
use members::{HttpPorts, Member, Members};
use serde_json::Value;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use survey::Survey;

/// A step failed; later ones were not begun.
const STOPPED: u8 = 1;

/// How often servers are asked while something is waited for.
const POLL: Duration = Duration::from_millis(100);

/// How long servers may take before a step until all voters have what the leader has.
const CHECK: Duration = Duration::from_secs(10);

/// How long clients of the server that was restarted last may take until all are connected again.
const CLIENTS: Duration = Duration::from_secs(10);

/// A process that seems to have begun so long before the command is an old one, however old it was: clocks of two hosts
/// measure.
const CLOCKS: Duration = Duration::from_secs(1);

/// One of so many connections more than its share a server may keep.
const EXCESS_PART: u64 = 10;

/// Arguments of `zkfast rolling-restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zkfast rolling-restart --server zk1:2181 --command 'ssh {host} systemctl restart zkfast' --dry-run
  zkfast rolling-restart --server zk1:2181,zk2:2181,zk3:2181 --http zk1:8080,zk2:8080,zk3:8080 \\
    --command 'ssh {host} systemctl restart zkfast' --auth-file FILE
  zkfast rolling-restart --server zk1:2181 --command 'kubectl delete pod zk-{id}' --only 2,3

Observers come first, then followers, the leader last, after it has handed over to another server where it can. Before each
server all voters must be in step, and be a quorum without it; after each it must be in step again. At the end servers with
more than their share of the connections are asked to shed the excess. Each step is one line. The command asks nothing on the
terminal. Ctrl-C lets it end, and begins no further step; a second one ends all at once.

Exit status: 0 done, 1 a step failed and no later one was begun, 2 a flag is wrong, 5 standard output could not be written")]
pub struct RollingArgs {
    /// Servers, as host:port of their client ports, with commas between. One leads to all others by its `conf`.
    #[arg(short, long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181", value_delimiter = ',')]
    server: Vec<String>,
    /// Restarts only servers with these numbers, as myid, with commas between.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<i64>,
    /// The HTTP port of all servers, or HOST:PORT of each that --server names, in that order.
    #[arg(long = "http", value_name = "[HOST:]PORT", default_value = "8080", value_delimiter = ',')]
    ports: Vec<String>,
    /// What restarts a server: a command for sh, with {host}, {port} or {server} of its client address, or its {id}. It ends
    /// once the server is told to start.
    #[arg(long, value_name = "COMMAND")]
    command: String,
    /// Longest time for the command, and for the server to be in step after it, in seconds.
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    wait_s: u64,
    /// Asks servers and says what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Restarts the leader without asking it to hand over.
    #[arg(long)]
    no_hand_over: bool,
    /// Leaves connections where they are at the end.
    #[arg(long)]
    no_shed: bool,
    #[command(flatten)]
    http: HttpArgs,
    /// A client's file of properties, as zkCli.sh takes it: TLS by zookeeper.client.secure and zookeeper.ssl.*
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    /// Longest wait for one answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    timeout: u64,
}

/// Why the steps ended.
#[derive(Debug)]
enum Failure {
    /// A step failed.
    Stopped(String),
    /// The operator would not see what happens.
    Output(io::Error),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Stopped(why)
    }
}

/// Restarts. Gives the exit status.
///
/// # Errors
/// A flag cannot be used.
pub fn run(args: &RollingArgs) -> Result<u8, String> {
    let ports = HttpPorts::new(&args.ports, args.server.len())?;
    let template = Template::new(&args.command)?;
    let http = Http::new(&args.http, args.client_configuration.as_deref())?;
    let secure = super::secure(args.client_configuration.as_deref())?;
    let asking = Asking { timeout: Duration::from_millis(args.timeout.max(1)), secure: secure.as_deref() };
    let members = match Members::find(&args.server, &ports, &http, asking) {
        Ok(members) => members,
        Err(why) => {
            complain(&format!("error: {why}\nno server was restarted\n"));
            return Ok(STOPPED);
        }
    };
    let is_interrupted = interruption().map_err(|error| format!("signals: {error}"))?;
    let wait = Duration::from_secs(args.wait_s);
    let roll = Roll { args, members, http, asking, template, wait, is_interrupted };
    let mut restarted = Vec::new();
    Ok(match roll.run(&mut restarted) {
        Ok(()) => 0,
        Err(Failure::Stopped(why)) => {
            complain(&format!("error: {why}\n{}", roll.state(&restarted)));
            STOPPED
        }
        Err(Failure::Output(error)) => {
            complain(&format!(
                "error: standard output cannot be written: {error}\n{}",
                roll.state(&restarted)
            ));
            crate::server::EXIT_HOST as u8
        }
    })
}

/// Is set by the first signal that asks for the end. The second one ends the process.
fn interruption() -> io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, STOPPED.into(), is_interrupted.clone())?;
        signal_hook::flag::register(signal, is_interrupted.clone())?;
    }
    Ok(is_interrupted)
}

/// Says on standard error what went wrong.
fn complain(text: &str) {
    // A closed standard error is no reason to fail otherwise.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Says what is done, as one line.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::Output)
}

/// A restart of all servers that are to be.
struct Roll<'a> {
    args: &'a RollingArgs,
    members: Members,
    http: Http,
    asking: Asking<'a>,
    template: Template,
    wait: Duration,
    is_interrupted: Arc<AtomicBool>,
}

impl Roll<'_> {
    fn run(&self, restarted: &mut Vec<i64>) -> Result<(), Failure> {
        let began = Instant::now();
        if let Some(id) =
            self.args.only.iter().find(|id| self.members.all.iter().all(|member| member.id != **id))
        {
            return Err(Failure::Stopped(format!("--only {id}: the ensemble has no such server")));
        }
        self.targets().try_for_each(|member| self.may_go(member))?;
        // Which of them leads when its turn has come is not known yet.
        if !self.args.no_hand_over || !self.args.no_shed {
            Members::check_http(self.members.all.iter(), &self.http, self.asking.timeout)?;
        }
        let mut survey = self.in_step(CHECK, None, |_| None)?;
        let clients = survey.connections();
        say(&format!(
            "in step: {} voters of {} servers; {}",
            self.members.voters().count(),
            self.members.all.len(),
            survey.summary()
        ))?;
        while let Some(member) = self.next(&survey, restarted) {
            self.go_on()?;
            match self.args.dry_run {
                true => self.would_restart(member, &survey)?,
                false => self.restart(member, &survey)?,
            }
            restarted.push(member.id);
            survey = self.in_step(CHECK, None, |_| None)?;
        }
        match self.args.no_shed {
            true => {}
            false => self.shed(clients)?,
        }
        let verb = if self.args.dry_run { "would be restarted" } else { "restarted" };
        say(&format!("done: {} servers {verb} in {:.1} s", restarted.len(), began.elapsed().as_secs_f64()))
    }

    /// The servers to restart.
    fn targets(&self) -> impl Iterator<Item = &Member> {
        let only = &self.args.only;
        self.members.all.iter().filter(move |member| only.is_empty() || only.contains(&member.id))
    }

    /// The one to restart next: observers come first, the leader last.
    fn next(&self, survey: &Survey<'_>, restarted: &[i64]) -> Option<&Member> {
        let rank = |member: &Member| match survey.role(member.id) {
            "leader" => 2,
            _ => u8::from(member.is_voter),
        };
        let left = self.targets().filter(|member| !restarted.contains(&member.id));
        left.min_by_key(|member| (rank(member), member.id))
    }

    fn may_go(&self, member: &Member) -> Result<(), String> {
        self.template.of(member)?;
        match !member.is_voter || self.members.can_lose(member.id) {
            true => Ok(()),
            false => Err(format!(
                "without {member} there is no quorum of {} voters: its restart is an outage",
                self.members.voters().count()
            )),
        }
    }

    /// Waits until all voters and server `also` are in step, and `lacks` finds no more to wait for.
    fn in_step(
        &self,
        limit: Duration,
        also: Option<i64>,
        lacks: impl Fn(&Survey<'_>) -> Option<String>,
    ) -> Result<Survey<'_>, String> {
        let began = Instant::now();
        let mut goal = None;
        loop {
            let survey = Survey::take(&self.members, &self.http, self.asking);
            let mut faults = survey.faults(&mut goal, also);
            faults.extend(lacks(&survey));
            if faults.is_empty() {
                return Ok(survey);
            }
            self.go_on()?;
            if began.elapsed() >= limit {
                return Err(format!("not in step within {} s: {}", limit.as_secs(), faults.join("; ")));
            }
            thread::sleep(POLL);
        }
    }

    /// Fails once a signal has asked for the end.
    fn go_on(&self) -> Result<(), String> {
        match self.is_interrupted.load(Ordering::Relaxed) {
            true => Err("interrupted by a signal".to_owned()),
            false => Ok(()),
        }
    }

    fn would_restart(&self, member: &Member, survey: &Survey<'_>) -> Result<(), Failure> {
        let (role, command) = (survey.role(member.id), self.template.of(member)?);
        if role == "leader" && !self.args.no_hand_over {
            say(&format!("would ask {member}, leader, to hand over"))?;
        }
        say(&format!("would restart {member}, {role}: {command}"))
    }

    fn restart(&self, member: &Member, survey: &Survey<'_>) -> Result<(), Failure> {
        let mut role = survey.role(member.id).to_owned();
        if role == "leader" && !self.args.no_hand_over {
            role = self.hand_over(member)?;
        }
        self.go_on()?;
        let command = self.template.of(member)?;
        say(&format!("restarting {member}, {role}: {command}"))?;
        let began = Instant::now();
        command::run(&command, self.wait).map_err(|why| format!("{member}: {why}"))?;
        let before = survey.told(member.id).and_then(|told| told.uptime_ms);
        let has_begun = |now: &Survey<'_>| {
            not_restarted(member, before?, now.told(member.id)?.uptime_ms?, began.elapsed())
        };
        let survey = self.in_step(self.wait, Some(member.id), has_begun)?;
        let is_known = survey.told(member.id).is_some_and(|told| told.uptime_ms.is_some());
        let doubt = if is_known { "" } else { " (that its process is a new one, no mntr and no HTTP says)" };
        say(&format!(
            "in step after {:.1} s: {member}, {}{doubt}",
            began.elapsed().as_secs_f64(),
            survey.role(member.id)
        ))
    }

    /// Asks the leader to let another server lead; gives what it is afterwards. One that cannot is restarted as it is.
    fn hand_over(&self, member: &Member) -> Result<String, Failure> {
        let asked = match &member.http {
            Some(port) => {
                let answered = self.http.json(port, Method::Post, "hand_over", self.wait);
                answered.map_err(|error| format!("{port}: {error}"))
            }
            None => Err("its HTTP address is not known".to_owned()),
        };
        match asked.map(|(status, answer)| handed_over(status, &answer)) {
            Err(why) | Ok(Handed::Unknown(why)) => {
                say(&format!("without a hand-over: {member} does not have the command ({why})"))?;
                return Ok("leader".to_owned());
            }
            Ok(Handed::Refused(why)) => {
                let hint = "--no-hand-over restarts it without, --auth-file FILE says who asks";
                return Err(Failure::Stopped(format!("{member} does not hand over: {why} ({hint})")));
            }
            Ok(Handed::Over) => {}
        }
        let still_leads = |survey: &Survey<'_>| {
            let leader = survey.leader().filter(|(leader, _)| leader.id == member.id);
            leader.map(|_| format!("{member} still leads"))
        };
        let survey = self.in_step(self.wait, None, still_leads)?;
        if let Some((leader, _)) = survey.leader() {
            say(&format!("handed over: {member} to {leader}"))?;
        }
        Ok(survey.role(member.id).to_owned())
    }

    /// Asks servers with more than their share of the connections to shed the excess, once there are as many as before.
    fn shed(&self, clients: u64) -> Result<(), Failure> {
        let began = Instant::now();
        let survey = loop {
            let survey = Survey::take(&self.members, &self.http, self.asking);
            if survey.connections() >= clients || began.elapsed() >= CLIENTS {
                break survey;
            }
            thread::sleep(POLL);
        };
        let told = survey
            .servers
            .iter()
            .filter_map(|(member, told)| Some((*member, told.as_ref().ok()?.connections)));
        // The question is a connection as well: a server without one takes no clients.
        let serving: Vec<(&Member, u64)> = told.filter(|(_, connections)| *connections > 0).collect();
        let share = survey.connections().div_ceil(serving.len().max(1) as u64);
        for (member, connections) in serving {
            if connections > share + (share / EXCESS_PART).max(1) {
                say(&self.shed_down(member, connections, share))?;
            }
        }
        Ok(())
    }

    /// Asks a server to keep no more than its share of connections; says what comes of it.
    fn shed_down(&self, member: &Member, connections: u64, share: u64) -> String {
        let what = format!("{} of {connections} connections", connections - share);
        if self.args.dry_run {
            return format!("would ask {member} to shed {what}");
        }
        let Some(port) = &member.http else {
            return format!("not shed: {member}, {what}: its HTTP address is not known");
        };
        let command = format!("shed_connections?to={share}");
        match self.http.json(port, Method::Post, &command, self.asking.timeout) {
            // The question was a connection as well.
            Ok((200, answer)) if answer["error"].is_null() => {
                format!("sheds: {member}, {} of {} connections", answer["to_shed"], answer["connections"])
            }
            Ok((status, answer)) => {
                let why = answer["error"].as_str().unwrap_or("it does not say why");
                format!("not shed: {member}, {what}: {status} {why}")
            }
            Err(error) => format!("not shed: {member}, {what}: {port}: {error}"),
        }
    }

    /// For people, where a step failed: what is done, how the ensemble is, and how to go on.
    fn state(&self, restarted: &[i64]) -> String {
        let ids = |is_done: bool| -> String {
            let some = self.targets().filter(|member| restarted.contains(&member.id) == is_done);
            let ids: Vec<String> = some.map(|member| member.id.to_string()).collect();
            if ids.is_empty() { "none".to_owned() } else { ids.join(",") }
        };
        let summary = Survey::take(&self.members, &self.http, self.asking).summary();
        let (done, left) = (ids(true), ids(false));
        let how = match left.as_str() {
            "none" => String::new(),
            left => format!("to go on once all voters are in step: the same command with --only {left}\n"),
        };
        format!("restarted: {done}; not restarted, or not in step after it: {left}\nnow: {summary}\n{how}")
    }
}

/// What came of asking a leader to hand over.
#[derive(Debug, PartialEq, Eq)]
enum Handed {
    Over,
    /// It does not have the command.
    Unknown(String),
    Refused(String),
}

fn handed_over(status: u16, answer: &Value) -> Handed {
    match (status, answer["error"].as_str(), answer["leader"].as_i64()) {
        (404 | 405 | 501, why, _) => Handed::Unknown(format!("{status} {}", why.unwrap_or_default())),
        (_, Some(why), _) if why.starts_with("Unknown command") => Handed::Unknown(why.to_owned()),
        (_, Some(why), _) => Handed::Refused(format!("{status} {why}")),
        (200, None, Some(_)) => Handed::Over,
        (_, None, _) => Handed::Refused(format!("{status}, without a new leader")),
    }
}

/// Says that a server is still the process that had run for `before_ms` when the command began, `since` ago.
fn not_restarted(member: &Member, before_ms: u64, now_ms: u64, since: Duration) -> Option<String> {
    let (before, now) = (Duration::from_millis(before_ms), Duration::from_millis(now_ms));
    let is_old = now > since + (before / 2).min(CLOCKS);
    is_old.then(|| format!("{member} has run for {} s: the command has not restarted it", now.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A server without the command is told apart from one that will not.
    #[test]
    fn hand_overs() {
        let unknown = json!({"command": "hand_over", "error": "Unknown command: hand_over"});
        assert!(matches!(handed_over(200, &unknown), Handed::Unknown(_)));
        assert!(matches!(handed_over(404, &json!({})), Handed::Unknown(_)));
        assert_eq!(handed_over(200, &json!({"leader": 3, "error": null})), Handed::Over);
        assert!(matches!(handed_over(401, &json!({"error": "Not authenticated"})), Handed::Refused(_)));
        assert!(matches!(handed_over(200, &json!({"error": "no follower is in step"})), Handed::Refused(_)));
        assert!(matches!(handed_over(200, &json!({"error": null})), Handed::Refused(_)));
    }

    /// A process that began before the command is no restarted one.
    #[test]
    fn restarts_are_seen() {
        let member = Member { id: 1, address: "zk1:2181".to_owned(), http: None, is_voter: true };
        let second = Duration::from_secs(1);
        let is_old = |before_ms, now_ms| not_restarted(&member, before_ms, now_ms, second).is_some();
        assert!(is_old(3_600_000, 3_601_000) && is_old(100, 1_100));
        assert!(!is_old(3_600_000, 900) && !is_old(100, 1_000) && !is_old(10_000, 1_500));
    }
}
