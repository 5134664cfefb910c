//! SASL on connections between servers, before the replica hears of them: a server that must authenticate and does not is
//! closed here, and what the replica knows of connections stays as it is without SASL.
//!
//! On the election port the side that connects says its hello first, so that this module knows where a hello ends; on the
//! other port SASL comes first. The exchange itself is [`crate::auth::sasl::quorum`].

use super::logging::provoked;
use super::random;
use crate::auth::sasl::NonceKey;
use crate::auth::sasl::quorum::{self, Accepts, Connects, Progress, QuorumFailure};
use crate::config::QuorumSasl;
use crate::proto::ServerId;
use crate::replica::Port;
use crate::zab::notification::read_hello;
use log::Level;
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a connection that was accepted may take to authenticate.
const ACCEPTED_TIME: Duration = Duration::from_secs(5);

/// Most accepted connections that have not authenticated yet; the oldest is closed when there is another.
pub const STRANGERS_MAX: usize = 64;

/// What this server asks of others, and shows to them.
pub struct Gates {
    sasl: QuorumSasl,
    /// What this server says first on election ports.
    hello: Vec<u8>,
    nonce_key: NonceKey,
    nonces: Cell<u64>,
}

/// One connection's exchange.
pub struct Gate {
    port: Port,
    /// What the replica gets of what came before the exchange: a hello.
    before: Vec<u8>,
    side: Side,
    since: Instant,
}

enum Side {
    /// Accepted on the election port; its hello is due.
    Hello,
    Accepts(Accepts),
    Connects(Connects),
}

/// What bytes of a connection lead to.
pub enum Passage {
    /// The exchange goes on.
    Waits,
    /// It is over: the replica gets these bytes, which may be none.
    Open(Vec<u8>),
}

impl Gates {
    /// Those of a server whose hello is `hello`.
    pub fn new(sasl: QuorumSasl, hello: Vec<u8>) -> Self {
        Self { sasl, hello, nonce_key: NonceKey(random::key()), nonces: Cell::new(0) }
    }

    /// What a server says first on election ports.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    fn own_sid(&self) -> ServerId {
        let own = read_hello(&self.hello);
        own.ok().flatten().expect("this server's own hello").0
    }

    fn nonce(&self) -> String {
        let number = self.nonces.replace(self.nonces.get() + 1);
        quorum::nonce(self.own_sid(), &self.nonce_key.nonce(&[number]))
    }

    /// The exchange of a connection that was accepted.
    pub fn accepted(&self, port: Port) -> Gate {
        let side = if port == Port::Election { Side::Hello } else { Side::Accepts(Accepts::default()) };
        Gate { port, before: Vec::new(), side, since: Instant::now() }
    }

    /// The exchange of a connection that was made to server `to`, and what to send first; `None` where this server does not
    /// authenticate.
    pub fn connected(&self, port: Port, to: ServerId) -> Option<(Gate, Vec<u8>)> {
        if !self.sasl.learner_requires {
            return None;
        }
        let mut first = if port == Port::Election { self.hello.clone() } else { Vec::new() };
        let side = Side::Connects(Connects::begin(to, &mut first));
        Some((Gate { port, before: Vec::new(), side, since: Instant::now() }, first))
    }

    /// Takes bytes of a connection, and appends what to send.
    ///
    /// # Errors
    /// [`QuorumFailure`]: the connection is to be closed, once `out` is sent.
    pub fn receive(
        &self,
        gate: &mut Gate,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Passage, QuorumFailure> {
        let QuorumSasl { users, user, password, server_requires, .. } = &self.sasl;
        let Gate { before, side, .. } = gate;
        let mut bytes = bytes.to_vec();
        if matches!(side, Side::Hello) {
            before.extend_from_slice(&bytes);
            let Some((sid, length)) = read_hello(before).map_err(|_| QuorumFailure::Malformed)? else {
                return Ok(Passage::Waits);
            };
            bytes = before.split_off(length);
            // A smaller server says no more where it does not authenticate: it waits for the larger one to hang up and call
            // back. One that is about to is called back as well.
            if bytes.is_empty() && !*server_requires && sid < self.own_sid() {
                return Ok(Passage::Open(std::mem::take(before)));
            }
            *side = Side::Accepts(Accepts::default());
        }
        let nonce = || self.nonce();
        let progress = match side {
            Side::Accepts(accepts) => accepts.receive(users, *server_requires, &bytes, nonce, out)?,
            Side::Connects(connects) => connects.receive(user, password, &bytes, nonce, out)?,
            Side::Hello => Progress::Waits,
        };
        Ok(match progress {
            Progress::Waits => Passage::Waits,
            Progress::Done { user, rest } => {
                if let Some(user) = user {
                    log::debug!(target: "peers", "authenticated: user={user:?}");
                }
                before.extend_from_slice(&rest);
                Passage::Open(std::mem::take(before))
            }
        })
    }

    /// The other side sends nothing more: what it sent, if it need not authenticate and has not begun to.
    pub fn end(&self, gate: &mut Gate) -> Option<Vec<u8>> {
        let Side::Accepts(accepts) = &mut gate.side else { return None };
        let rest = accepts.end(self.sasl.server_requires)?;
        Some([std::mem::take(&mut gate.before), rest].concat())
    }
}

impl Gate {
    /// Which port it is of.
    pub fn port(&self) -> Port {
        self.port
    }

    /// True for a connection that was accepted.
    pub fn is_accepted(&self) -> bool {
        !matches!(self.side, Side::Connects(_))
    }

    /// True if an accepted connection has taken its time.
    pub fn is_late(&self) -> bool {
        self.is_accepted() && self.since.elapsed() >= ACCEPTED_TIME
    }
}

/// Says that a connection was not let in.
pub fn log_kept_out(peer: Option<SocketAddr>, why: &str) {
    let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    provoked(Level::Warn, "peers", "kept out", "SASL", format_args!("kept out: peer={peer} why={why:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;
    use crate::zab::notification::put_hello;
    use std::collections::BTreeMap;

    fn hello(sid: i64) -> Vec<u8> {
        let mut hello = Vec::new();
        put_hello(&mut hello, ServerId(sid), "zk:3888");
        hello
    }

    /// Gates of server 2.
    fn gates(server_requires: bool) -> Gates {
        let password = Secret::new("secret".to_owned());
        let sasl = QuorumSasl {
            server_requires,
            learner_requires: true,
            users: BTreeMap::from([("zk".to_owned(), password.clone())]),
            user: "zk".to_owned(),
            password,
        };
        Gates::new(sasl, hello(2))
    }

    /// What the replica gets of these bytes of a connection to the election port, and what is sent.
    fn passes(gates: &Gates, bytes: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
        let (mut gate, mut out) = (gates.accepted(Port::Election), Vec::new());
        match gates.receive(&mut gate, bytes, &mut out).unwrap() {
            Passage::Waits => (None, out),
            Passage::Open(bytes) => (Some(bytes), out),
        }
    }

    /// A smaller server that need not authenticate gets in by its hello alone, a larger one once its next bytes show that it does
    /// not authenticate: it always has some. Where it must, neither does.
    #[test]
    fn those_that_need_not() {
        let free = gates(false);
        assert_eq!(passes(&free, &hello(1)).0, Some(hello(1)));
        assert_eq!(passes(&free, &hello(3)).0, None);
        let notified = [hello(3), vec![0, 0, 0, 40, 0, 0, 0, 0]].concat();
        assert_eq!(passes(&free, &notified).0, Some(notified.clone()));
        let strict = gates(true);
        assert_eq!(passes(&strict, &hello(1)).0, None);
        let mut gate = strict.accepted(Port::Election);
        let refused = strict.receive(&mut gate, &notified, &mut Vec::new());
        assert_eq!(refused.err(), Some(QuorumFailure::Anonymous));
    }

    /// Two servers authenticate on the election port, where the replica gets the hello and nothing of the exchange.
    #[test]
    fn hello_and_exchange() {
        let (larger, smaller) = (gates(true), Gates { hello: hello(1), ..gates(true) });
        let mut accepted = larger.accepted(Port::Election);
        let (mut connected, mut to_larger) = smaller.connected(Port::Election, ServerId(2)).unwrap();
        let (mut to_smaller, mut got) = (Vec::new(), [None, None]);
        for _ in 0..3 {
            if let Passage::Open(bytes) =
                larger.receive(&mut accepted, &std::mem::take(&mut to_larger), &mut to_smaller).unwrap()
            {
                got[0] = Some(bytes);
            }
            if let Passage::Open(bytes) =
                smaller.receive(&mut connected, &std::mem::take(&mut to_smaller), &mut to_larger).unwrap()
            {
                got[1] = Some(bytes);
                break;
            }
        }
        assert_eq!(got, [Some(hello(1)), Some(Vec::new())]);
    }

    /// What a server asks is of no use to who passes it on to that very server, which takes it for another one.
    #[test]
    fn reflected() {
        let own = gates(true);
        let (mut accepted, mut asked) = (own.accepted(Port::Quorum), Vec::new());
        let (mut connected, first) = own.connected(Port::Quorum, ServerId(1)).unwrap();
        assert!(matches!(own.receive(&mut accepted, &first, &mut asked), Ok(Passage::Waits)));
        let mut answer = Vec::new();
        let refused = own.receive(&mut connected, &asked, &mut answer);
        assert!(matches!(refused, Err(QuorumFailure::PassedOn { .. })));
        assert!(answer.is_empty());
    }
}
