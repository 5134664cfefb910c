//! Logs which servers cannot be reached: one line when that begins, and one when it ends.

use super::logging::{Text, provoked};
use crate::replica::Port;
use log::Level;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// Failures shorter than this are not logged: servers start one after the other.
const GRACE: Duration = Duration::from_secs(1);

/// After this long without any answer, "no answer" is logged as the reason. An error of the system or of a name server
/// arrives earlier, if there is one.
const SILENCE: Duration = Duration::from_secs(4);

/// Servers that no configuration names of which failures are remembered.
const STRANGERS_MAX: usize = 64;

/// An attempt to connect.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The server to connect to.
    pub sid: i64,
    /// Which of its ports.
    pub port: Port,
    /// The port's address as configured.
    pub address: String,
}

impl Attempt {
    fn key(&self) -> (i64, &'static str) {
        let port = match self.port {
            Port::Election => "election",
            Port::Quorum => "quorum",
            Port::Observers => "observers",
        };
        (self.sid, port)
    }
}

/// A port that cannot be reached.
#[derive(Debug)]
struct Down {
    since: Instant,
    address: String,
    /// The reason that was logged last, if any.
    logged: Option<String>,
}

/// The ports to which no attempt succeeds.
#[derive(Debug, Default)]
pub struct Reach(BTreeMap<(i64, &'static str), Down>);

impl Reach {
    fn down(&mut self, attempt: &Attempt) -> &mut Down {
        self.0.entry(attempt.key()).or_insert_with(|| Down {
            since: Instant::now(),
            address: attempt.address.clone(),
            logged: None,
        })
    }

    /// Records an attempt that timed out. It is logged only if no other reason was.
    pub fn given_up(&mut self, attempt: &Attempt) {
        let down = self.down(attempt);
        if down.logged.is_none() && down.since.elapsed() >= SILENCE {
            self.failed(attempt, &"no answer");
        }
    }

    /// Records a failed attempt and logs it, if it has lasted or the reason is a new one.
    pub fn failed(&mut self, attempt: &Attempt, why: &dyn Display) {
        let (sid, port) = attempt.key();
        let down = self.down(attempt);
        let why = why.to_string();
        // A new reason is logged, too: for example the name resolves now, and the port is not open yet.
        if down.since.elapsed() < GRACE || down.logged.as_deref() == Some(&*why) {
            return;
        }
        down.address.clone_from(&attempt.address);
        let line =
            format_args!("unreachable: sid={sid} port={port} address={} why={}", attempt.address, Text(&why));
        provoked(Level::Warn, "peers", "unreachable", port, line);
        down.logged = Some(why);
    }

    /// Records a successful attempt.
    pub fn reached(&mut self, attempt: &Attempt) {
        self.end(attempt.key());
    }

    /// Records what is known without an attempt: `is_connected` is true of servers whose election port is connected with
    /// this server's. While this server serves, it makes no attempts at quorum ports.
    pub fn update(&mut self, is_connected: impl Fn(i64) -> bool, is_serving: bool) {
        if self.0.is_empty() {
            return;
        }
        let reached: Vec<_> =
            self.0.keys().copied().filter(|(sid, port)| *port == "election" && is_connected(*sid)).collect();
        reached.into_iter().for_each(|key| self.end(key));
        if is_serving {
            // Whether the port of a former leader can be reached is unknown, and no longer matters.
            self.0.retain(|(_, port), down| *port == "election" && down.logged.is_some());
        }
    }

    /// Forgets servers that are none any more.
    pub fn forget(&mut self, is_gone: impl Fn(i64) -> bool) {
        self.0.retain(|(sid, _), _| !is_gone(*sid));
    }

    /// Forgets the servers that no configuration names and that have failed for longest, where there are many.
    pub fn bound_strangers(&mut self, is_known: impl Fn(i64) -> bool) {
        let strangers = self.0.iter().filter(|((sid, _), _)| !is_known(*sid));
        let mut strangers: Vec<_> = strangers.map(|(key, down)| (down.since, *key)).collect();
        strangers.sort_unstable();
        let excess = strangers.len().saturating_sub(STRANGERS_MAX);
        for (_, key) in &strangers[..excess] {
            self.0.remove(key);
        }
    }

    fn end(&mut self, key: (i64, &'static str)) {
        let Some(Down { since, address, logged: Some(_) }) = self.0.remove(&key) else { return };
        let (sid, port) = key;
        let after_s = since.elapsed().as_secs();
        let line = format_args!("reachable again: sid={sid} port={port} address={address} after_s={after_s}");
        provoked(Level::Info, "peers", "reachable again", port, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(sid: i64, port: Port) -> Attempt {
        Attempt { sid, port, address: format!("zk{sid}:1") }
    }

    /// Servers that are configured no more are forgotten; of those that never were, some are remembered.
    #[test]
    fn strangers() {
        let mut reach = Reach::default();
        for sid in 0..STRANGERS_MAX as i64 + 10 {
            reach.failed(&attempt(sid, Port::Election), &"refused");
        }
        reach.bound_strangers(|sid| sid < 2);
        let left: Vec<i64> = reach.0.keys().map(|(sid, _)| *sid).collect();
        assert_eq!(left.len(), STRANGERS_MAX + 2);
        assert_eq!(left[..3], [0, 1, 10], "the oldest go");
        reach.forget(|sid| sid > 1);
        assert_eq!(reach.0.len(), 2);
    }

    /// A failure is logged once it has lasted, once for each reason; it is forgotten when it ends or is not needed.
    #[test]
    fn begins_and_ends() {
        let mut reach = Reach::default();
        let election = attempt(2, Port::Election);
        let logged = |reach: &Reach| reach.0.get(&(2, "election")).and_then(|down| down.logged.clone());
        reach.failed(&election, &"refused");
        assert_eq!(logged(&reach), None);
        reach.0.values_mut().for_each(|down| down.since -= GRACE);
        reach.failed(&election, &"refused");
        assert_eq!(logged(&reach).as_deref(), Some("refused"));
        reach.failed(&election, &"no address");
        assert_eq!(logged(&reach).as_deref(), Some("no address"));
        reach.given_up(&election);
        assert_eq!(logged(&reach).as_deref(), Some("no address"));
        reach.failed(&attempt(3, Port::Quorum), &"refused");
        reach.failed(&attempt(4, Port::Election), &"refused");
        reach.update(|_| false, true);
        assert_eq!(reach.0.len(), 1, "{reach:?}");
        reach.update(|sid| sid == 2, true);
        assert!(reach.0.is_empty(), "{reach:?}");
        reach.failed(&election, &"refused");
        reach.reached(&election);
        assert!(reach.0.is_empty(), "{reach:?}");
    }
}
