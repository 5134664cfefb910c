//! Sessions that do nothing but live: what they cost a server.

use crate::session::{NoConnection, Session};
use crate::wire;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

/// A session pings so many times within its timeout.
const PINGS_PER_TIMEOUT: u64 = 3;
/// How often pings are sent; those that are due are spread evenly over these.
const TICK: Duration = Duration::from_millis(50);

/// Holds `sessions` for `hold` by pings that are spread evenly over time.
///
/// # Errors
/// A session whose connection ended, or whose ping was not answered before the next was due.
pub fn hold(sessions: &mut [Session], hold: Duration) -> Result<(), NoConnection> {
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
        // As many pings as the time since the start is worth.
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
    match session.stream.read(&mut scratch) {
        Ok(0) => Err(session.closed()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(session.protocol("a ping without an answer until the next".to_owned()))
        }
        Err(error) => Err(session.io(error)),
    }
}
