//! What systemd hears of this process: that it has started, what it does, that it lives, that it stops.
//!
//! One datagram for each message, to the socket that `NOTIFY_SOCKET` names; without that variable nothing is sent.
//! Source: sd_notify(3), sd_watchdog_enabled(3).

use std::fmt::Display;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// How long a message waits for room in systemd's socket.
const SEND_WITHIN: Duration = Duration::from_secs(1);

/// The server has started: its ports are open.
pub fn ready(what: impl Display) {
    tell(&format!("READY=1\nSTATUS={}", one_line(what)));
}

/// What the server does now; `systemctl status` shows it.
pub fn status(what: impl Display) {
    tell(&format!("STATUS={}", one_line(what)));
}

/// The server stops: systemd counts the time from here.
pub fn stopping() {
    tell("STOPPING=1\nSTATUS=stopping");
}

/// A message of several lines would be several messages.
fn one_line(what: impl Display) -> String {
    what.to_string().replace('\n', " ")
}

fn tell(message: &str) {
    let Ok(socket) = std::env::var("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, message) {
        log::debug!(target: "server", "systemd was not told: socket={socket} error={error}");
    }
}

/// Sends a datagram to a path, or to a name without a file, which begins with `@`.
fn send(socket: &str, message: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagrams = UnixDatagram::unbound()?;
    datagrams.set_write_timeout(Some(SEND_WITHIN))?;
    datagrams.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// The sign of life that a unit with `WatchdogSec=` waits for.
#[derive(Debug)]
pub struct Watchdog {
    /// Time between two signs; `None` if none is waited for.
    every: Option<Duration>,
    last: Instant,
}

impl Watchdog {
    /// The watchdog that systemd has asked this process for, if it has.
    pub fn of_process() -> Self {
        let variable = |name| std::env::var(name).ok();
        let every = interval(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Self { every, last: Instant::now() }
    }

    /// Tells systemd that all threads make progress. Call it about once a second while they do.
    pub fn feed(&mut self) {
        if self.every.is_some_and(|every| self.last.elapsed() >= every) {
            self.last = Instant::now();
            tell("WATCHDOG=1");
        }
    }
}

/// Time between two signs of life of process `own`: a quarter of the limit, so that a late one does no harm.
fn interval(limit_us: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    if process.is_some_and(|process| process.parse() != Ok(own)) {
        return None;
    }
    let limit_us: u64 = limit_us?.parse().ok()?;
    (limit_us > 0).then(|| Duration::from_micros(limit_us) / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit counts where it is for this process, or for no process in particular.
    #[test]
    fn intervals() {
        let quarter = Some(Duration::from_secs(5));
        assert_eq!(interval(Some("20000000"), None, 7), quarter);
        assert_eq!(interval(Some("20000000"), Some("7"), 7), quarter);
        assert_eq!(interval(Some("20000000"), Some("8"), 7), None);
        assert_eq!(interval(Some("0"), None, 7), None);
        assert_eq!(interval(Some("soon"), None, 7), None);
        assert_eq!(interval(None, Some("7"), 7), None);
    }

    /// A message arrives whole at a name without a file; a socket that is not there is an error.
    #[test]
    fn messages() {
        let name = format!("zkfast-supervisor-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let mut message = [0; 64];
        send(&format!("@{name}"), &format!("STATUS={}", one_line("a\nb"))).unwrap();
        let bytes = systemd.recv(&mut message).unwrap();
        assert_eq!(&message[..bytes], b"STATUS=a b");
        drop(systemd);
        assert!(send(&format!("@{name}"), "READY=1").is_err());
        assert!(send("", "READY=1").is_err());
    }
}
