//! Which servers cannot be reached: said once when that begins, and once when it is over.

use super::logging::{Text, provoked};
use crate::replica::Port;
use log::Level;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// Attempts that fail for less time than this are no news: servers start one after the other.
const GRACE: Duration = Duration::from_secs(1);

/// How long attempts are given up without an answer until that is said; by then the system, or a name server, has said
/// why, if it ever does.
const SILENCE: Duration = Duration::from_secs(4);

/// An attempt to connect.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// To whom.
    pub sid: i64,
    /// To which port.
    pub port: Port,
    /// Where that is, as the configuration says.
    pub address: String,
}

impl Attempt {
    fn key(&self) -> (i64, &'static str) {
        let port = match self.port {
            Port::Election => "election",
            Port::Quorum => "quorum",
        };
        (self.sid, port)
    }
}

/// Since when a port cannot be reached.
#[derive(Debug)]
struct Down {
    since: Instant,
    address: String,
    /// The reason that was said last, if any.
    said: Option<String>,
}

/// The ports to which no attempt succeeds.
#[derive(Debug, Default)]
pub struct Reach(BTreeMap<(i64, &'static str), Down>);

impl Reach {
    fn down(&mut self, attempt: &Attempt) -> &mut Down {
        self.0.entry(attempt.key()).or_insert_with(|| Down {
            since: Instant::now(),
            address: attempt.address.clone(),
            said: None,
        })
    }

    /// An attempt was given up, which is a reason only where there is no better one.
    pub fn given_up(&mut self, attempt: &Attempt) {
        let down = self.down(attempt);
        if down.said.is_none() && down.since.elapsed() >= SILENCE {
            self.failed(attempt, &"no answer");
        }
    }

    /// An attempt has failed.
    pub fn failed(&mut self, attempt: &Attempt, why: &dyn Display) {
        let (sid, port) = attempt.key();
        let down = self.down(attempt);
        let why = why.to_string();
        // Another reason, such as a name that is known now and a port that is not open yet, is news as well.
        if down.since.elapsed() < GRACE || down.said.as_deref() == Some(&*why) {
            return;
        }
        down.address.clone_from(&attempt.address);
        let line =
            format_args!("unreachable: sid={sid} port={port} address={} why={}", attempt.address, Text(&why));
        provoked(Level::Warn, "peers", "unreachable", port, line);
        down.said = Some(why);
    }

    /// An attempt has succeeded.
    pub fn reached(&mut self, attempt: &Attempt) {
        self.end(attempt.key());
    }

    /// Takes in what is known without an attempt: whose election port `hears` this server's or is heard, and whether
    /// this server serves, so that no attempts follow.
    pub fn settle(&mut self, hears: impl Fn(i64) -> bool, is_serving: bool) {
        if self.0.is_empty() {
            return;
        }
        let heard: Vec<_> =
            self.0.keys().copied().filter(|(sid, port)| *port == "election" && hears(*sid)).collect();
        heard.into_iter().for_each(|key| self.end(key));
        if is_serving {
            // Nobody knows whether the port of a former leader can be reached: it is not needed any more.
            self.0.retain(|(_, port), down| *port == "election" && down.said.is_some());
        }
    }

    fn end(&mut self, key: (i64, &'static str)) {
        let Some(Down { since, address, said: Some(_) }) = self.0.remove(&key) else { return };
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

    /// A failure is said once it has lasted, once for each reason; what is over, or not wanted any more, is forgotten.
    #[test]
    fn begins_and_ends() {
        let mut reach = Reach::default();
        let election = attempt(2, Port::Election);
        let said = |reach: &Reach| reach.0.get(&(2, "election")).and_then(|down| down.said.clone());
        reach.failed(&election, &"refused");
        assert_eq!(said(&reach), None);
        reach.0.values_mut().for_each(|down| down.since -= GRACE);
        reach.failed(&election, &"refused");
        assert_eq!(said(&reach).as_deref(), Some("refused"));
        reach.failed(&election, &"no address");
        assert_eq!(said(&reach).as_deref(), Some("no address"));
        reach.given_up(&election);
        assert_eq!(said(&reach).as_deref(), Some("no address"));
        reach.failed(&attempt(3, Port::Quorum), &"refused");
        reach.failed(&attempt(4, Port::Election), &"refused");
        reach.settle(|_| false, true);
        assert_eq!(reach.0.len(), 1, "{reach:?}");
        reach.settle(|sid| sid == 2, true);
        assert!(reach.0.is_empty(), "{reach:?}");
        reach.failed(&election, &"refused");
        reach.reached(&election);
        assert!(reach.0.is_empty(), "{reach:?}");
    }
}
