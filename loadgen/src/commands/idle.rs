//! `loadgen idle`: sessions that only ping, and what they cost a server.

use crate::args::{self, Common};
use crate::engine::session::{NoConnection, Session};
use crate::engine::wire;
use crate::failure::Failure;
use crate::report::outcome::rounded;
use crate::report::print;
use crate::servers::open_files;
use crate::servers::usage::Usage;
use clap::Args;
use serde::Serialize;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

/// Options of the command.
#[derive(Debug, Args)]
pub struct Idle {
    #[command(flatten)]
    common: Common,
    /// Sessions
    #[arg(long, default_value_t = 1000, value_parser = args::at_least_one)]
    sessions: usize,
    /// How long they stay open
    #[arg(long, default_value_t = 10.0, value_parser = args::seconds)]
    seconds: f64,
}

/// Pings of a session within its timeout.
const PINGS_PER_TIMEOUT: u64 = 3;

/// How often loadgen sends the pings that are due.
const TICK: Duration = Duration::from_millis(50);

/// The record of idle sessions.
#[derive(Debug, Serialize)]
struct Held {
    what: &'static str,
    servers: String,
    sessions: u64,
    opened_per_s: f64,
    seconds: f64,
    #[serde(flatten)]
    server: Option<HeldUse>,
}

/// What they cost the servers whose processes are known.
#[derive(Debug, Serialize)]
struct HeldUse {
    rss_before_bytes: u64,
    rss_after_bytes: u64,
    rss_bytes_per_session: f64,
    cores: f64,
    voluntary_switches_per_s: f64,
}

impl Idle {
    /// Opens sessions, keeps them alive for a while, and prints what they cost.
    pub fn run(&self) -> Result<(), Failure> {
        let pids = &self.common.server_pid;
        let usage = || Usage::of(pids).map_err(Failure::Usage);
        open_files::raise_limit(self.sessions).map_err(Failure::Usage)?;
        let before = usage()?;
        let started = Instant::now();
        let mut sessions = Session::open_many(&self.common.server, self.sessions)?;
        let opening = started.elapsed().as_secs_f64();
        let opened = usage()?;
        let started = Instant::now();
        let done = hold(&mut sessions, Duration::from_secs_f64(self.seconds));
        let seconds = started.elapsed().as_secs_f64();
        let after = usage()?;
        Session::close_all(sessions);
        done?;

        let grown = after.rss_bytes as f64 - before.rss_bytes as f64;
        let used = after - opened;
        let held = Held {
            what: "idle",
            servers: self.common.server.join(","),
            sessions: self.sessions as u64,
            opened_per_s: rounded(self.sessions as f64 / opening),
            seconds: rounded(seconds),
            server: (!pids.is_empty()).then(|| HeldUse {
                rss_before_bytes: before.rss_bytes,
                rss_after_bytes: after.rss_bytes,
                rss_bytes_per_session: rounded(grown / self.sessions as f64),
                cores: rounded((used.user_us + used.sys_us) as f64 / 1e6 / seconds),
                voluntary_switches_per_s: rounded(used.switches as f64 / seconds),
            }),
        };
        print::record(&held, self.common.json, text);
        Ok(())
    }
}

fn text(held: &Held) -> String {
    let (sessions, per_s, seconds) = (held.sessions, held.opened_per_s, held.seconds);
    let mut text = format!("{sessions} sessions, opened at {per_s:.0}/s, held for {seconds:.1} s\n");
    if let Some(server) = &held.server {
        text += &format!(
            "server: RSS {:.1} MB before, {:.1} MB with them ({:.1} KB each), {:.4} cores, \
             {:.0} voluntary switches/s while they idle",
            print::megabytes(server.rss_before_bytes),
            print::megabytes(server.rss_after_bytes),
            server.rss_bytes_per_session / 1e3,
            server.cores,
            server.voluntary_switches_per_s,
        );
    }
    text
}

/// Keeps `sessions` alive for `hold` by pings that are spread evenly over time.
///
/// # Errors
/// The connection of a session ended, or a ping was not answered before the next was due.
fn hold(sessions: &mut [Session], hold: Duration) -> Result<(), NoConnection> {
    let mut ping = Vec::new();
    wire::put_ping(&mut ping);
    for session in sessions.iter() {
        session.nonblocking()?;
    }
    let timeout_ms = sessions.iter().map(|session| session.timeout_ms).min().unwrap_or(0);
    let round = Duration::from_millis((timeout_ms / PINGS_PER_TIMEOUT).max(1));
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < hold {
        // Each session pings once a round: this many pings are due since the start.
        let due = (started.elapsed().as_secs_f64() / round.as_secs_f64() * sessions.len() as f64) as usize;
        while done < due {
            let first_round = done < sessions.len();
            let session = &mut sessions[done % sessions.len()];
            if !first_round {
                read_ping_reply(session)?;
            }
            session.send(&ping)?;
            done += 1;
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

fn read_ping_reply(session: &mut Session) -> Result<(), NoConnection> {
    let mut scratch = [0; 256];
    match session.socket().read(&mut scratch) {
        Ok(0) => Err(session.closed()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(session.protocol("a ping was not answered before the next was due".to_owned()))
        }
        Err(error) => Err(session.io(error)),
    }
}
