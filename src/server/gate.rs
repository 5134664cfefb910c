//! SASL on connections between servers, before the replica hears of them: a server that must authenticate and does not is
//! closed here, and what the replica knows of connections stays as it is without SASL.
//!
//! On the election port the side that connects says its hello first, so that this module knows where a hello ends; on the
//! other port SASL comes first. The exchange itself is [`crate::auth::sasl::quorum`].

use super::logging::provoked;
use super::reach::Attempt;
use super::{helper, random};
use crate::auth::sasl::digest_md5::Service;
use crate::auth::sasl::gssapi::Acceptor;
use crate::auth::sasl::quorum::{self, Accepts, Connects, Demands, Progress, QuorumFailure};
use crate::auth::sasl::{Failure, KerberosLogin, KerberosService, Login, Means, NonceKey};
use crate::client::net::host_of;
use crate::config::{QuorumLogin, QuorumSasl};
use crate::kerberos::Kerberos;
use crate::proto::ServerId;
use crate::replica::Port;
use crate::zab::notification::read_hello;
use log::Level;
use mio::Waker;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// How long a connection that was accepted may take to authenticate.
const ACCEPTED_TIME: Duration = Duration::from_secs(5);

/// Most accepted connections that have not authenticated yet; [`crowded_out`] says which are closed when there are more.
pub const STRANGERS_MAX: usize = 64;

/// How long a ticket is good for an exchange that has not begun: it has the time at which it was made, and servers whose clocks
/// differ by 5 minutes are to take it.
const TICKET_TIME: Duration = Duration::from_secs(60);

/// What a connection that was given up had waited for.
pub const KDC_IS_SILENT: &str = "the KDC has not answered yet";

/// What this server asks of others, and shows to them.
pub struct Gates {
    sasl: QuorumSasl,
    /// The hosts of all server lines: whose principals get in.
    hosts: BTreeSet<String>,
    /// What tickets of others are for.
    keys: Option<Arc<dyn Acceptor>>,
    kerberos: Option<Kerberos>,
    /// Tickets that were asked for and not taken: one for each port of a server, so that a KDC that does not answer keeps
    /// no more threads than these.
    tickets: RefCell<BTreeMap<Target, Receiver<(Instant, Ticket)>>>,
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
    /// Was connected to this port; the KDC is asked for a ticket.
    Ticket(Target),
}

/// A port of a server that this one connects to; true for the election port.
type Target = (ServerId, bool);

/// An exchange by a ticket, and what to send first.
type Ticket = Result<(Login, Vec<u8>), Failure>;

/// What bytes of a connection lead to.
pub enum Passage {
    /// The exchange goes on.
    Waits,
    /// It is over: the replica gets these bytes, which may be none.
    Open(Vec<u8>),
}

impl Gates {
    /// Those of a server whose hello is `hello`, in an ensemble with these hosts.
    pub fn new(
        sasl: QuorumSasl,
        hello: Vec<u8>,
        hosts: BTreeSet<String>,
        keys: Option<Arc<dyn Acceptor>>,
        kerberos: Option<Kerberos>,
    ) -> Self {
        let nonce_key = NonceKey(random::key());
        Self {
            sasl,
            hosts,
            keys,
            kerberos,
            tickets: RefCell::default(),
            hello,
            nonce_key,
            nonces: Cell::new(0),
        }
    }

    /// Follows a change of the hosts.
    pub fn set_hosts(&mut self, hosts: BTreeSet<String>) {
        self.hosts = hosts;
    }

    /// Follows a change of this server's own hello.
    pub fn set_hello(&mut self, hello: Vec<u8>) {
        self.hello = hello;
    }

    /// True for a hello of this server, with whatever address: the replica may say one that is older or newer than the hello
    /// that was said before the exchange.
    pub fn is_own_hello(&self, bytes: &[u8]) -> bool {
        read_hello(bytes).ok().flatten() == Some((self.own_sid(), bytes.len()))
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

    /// The exchange of a connection that was made, and what to send first; `None` where this server does not authenticate.
    /// Where it needs a ticket, `waker` tells when to look for it.
    pub fn connected(&self, attempt: &Attempt, waker: &Arc<Waker>) -> Option<(Gate, Vec<u8>)> {
        if !self.sasl.learner_requires {
            return None;
        }
        let (port, to, mut first) = (attempt.port, ServerId(attempt.sid), Vec::new());
        let target = (to, port == Port::Election);
        let side = match &self.sasl.login {
            QuorumLogin::Password(user, password) => {
                let login = Login::by_password(Service::QUORUM, user.clone(), password.clone());
                Side::Connects(self.begin(port, to, login, &mut first))
            }
            QuorumLogin::Ticket { login, service, realm } => {
                let name = QuorumLogin::service_of(service, host_of(&attempt.address));
                let service = KerberosService::Principal { name, realm: realm.clone() };
                let ask = || self.ask(login.clone(), service, waker.clone());
                self.tickets.borrow_mut().entry(target).or_insert_with(ask);
                // The ticket of an earlier connection may be there, of which no event tells.
                let _ = waker.wake();
                Side::Ticket(target)
            }
        };
        Some((Gate { port, before: Vec::new(), side, since: Instant::now() }, first))
    }

    /// Begins an exchange; appends what to send.
    fn begin(
        &self,
        port: Port,
        to: ServerId,
        (login, token): (Login, Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Connects {
        if port == Port::Election {
            out.extend_from_slice(&self.hello);
        }
        Connects::begin(to, login, &token, out)
    }

    /// Asks the KDC for a ticket for `service`, on a thread of its own.
    fn ask(
        &self,
        login: KerberosLogin,
        service: KerberosService,
        waker: Arc<Waker>,
    ) -> Receiver<(Instant, Ticket)> {
        let (sender, ticket) = mpsc::channel();
        let kerberos = self.kerberos.clone().expect("loaded at the start: tickets are configured");
        let refused = sender.clone();
        let spawned = helper::spawn("zkfast-ticket", move || {
            let said = |why: crate::kerberos::KerberosError| Failure::Kerberos(why.to_string().into());
            let begun = kerberos.initiate(&login, &service).map_err(said);
            let begun = begun.and_then(|(context, own)| Login::by_ticket(context, own));
            // The server may have stopped meanwhile.
            let (_, _) = (sender.send((Instant::now(), begun)), waker.wake());
        });
        if let Err(error) = spawned {
            // Sent to this very thread, which has both ends.
            let _ = refused.send((Instant::now(), Err(Failure::Kerberos(error.to_string().into()))));
        }
        ticket
    }

    /// What to send first on a connection whose ticket is there now; `None` while the KDC is asked.
    ///
    /// # Errors
    /// Why there is no ticket.
    pub fn take_ticket(&self, gate: &mut Gate) -> Result<Option<Vec<u8>>, Failure> {
        let Side::Ticket(target) = gate.side else { return Ok(None) };
        let failed = |why: &str| Err(Failure::Kerberos(why.into()));
        let mut tickets = self.tickets.borrow_mut();
        let Some(ticket) = tickets.get(&target) else { return failed("another connection has the ticket") };
        let taken = match ticket.try_recv() {
            Err(TryRecvError::Empty) => return Ok(None),
            taken => taken,
        };
        tickets.remove(&target);
        let login = match taken {
            Ok((made, _)) if made.elapsed() > TICKET_TIME => return failed("the ticket has waited too long"),
            Ok((_, ticket)) => ticket?,
            Err(_) => return failed("the thread has failed"),
        };
        let (to, mut first) = (target.0, Vec::new());
        gate.side = Side::Connects(self.begin(gate.port, to, login, &mut first));
        Ok(Some(first))
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
        let QuorumSasl { mechanism, server_requires, .. } = &self.sasl;
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
            Side::Accepts(accepts) => {
                let (service, kerberos) = (Service::QUORUM, self.keys.as_deref());
                let means = Means { service, mechanism, nonce: &nonce, kerberos };
                let is_host = |host: &str| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
                let demands = Demands { means, is_required: *server_requires, is_host: &is_host };
                accepts.receive(&demands, &bytes, out)?
            }
            Side::Connects(connects) => connects.receive(&bytes, nonce, out)?,
            Side::Hello => Progress::Waits,
            // Nothing was said to it yet.
            Side::Ticket(..) => return Err(QuorumFailure::Malformed),
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
        !matches!(self.side, Side::Connects(_) | Side::Ticket(..))
    }

    /// True while the KDC is asked for a ticket.
    pub fn awaits_ticket(&self) -> bool {
        matches!(self.side, Side::Ticket(_))
    }

    /// True if an accepted connection has taken its time.
    pub fn is_late(&self) -> bool {
        self.is_accepted() && self.since.elapsed() >= ACCEPTED_TIME
    }
}

/// Which connections, of addresses given oldest first, are closed because there are more than [`STRANGERS_MAX`]: the oldest of
/// the address that has the most, so that a host which connects without end does not keep the servers of other hosts out.
pub fn crowded_out(addresses: &[Option<IpAddr>]) -> Vec<usize> {
    let mut places: BTreeMap<Option<IpAddr>, VecDeque<usize>> = BTreeMap::new();
    for (place, address) in addresses.iter().enumerate() {
        places.entry(*address).or_default().push_back(place);
    }
    let excess = STRANGERS_MAX..addresses.len();
    excess.filter_map(|_| places.values_mut().max_by_key(|places| places.len())?.pop_front()).collect()
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
    use crate::auth::sasl::Mechanism;
    use crate::zab::notification::put_hello;
    use mio::{Poll, Token};

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
            mechanism: Mechanism::DigestMd5(BTreeMap::from([("zk".to_owned(), password.clone())])),
            login: QuorumLogin::Password("zk".to_owned(), password),
        };
        Gates::new(sasl, hello(2), BTreeSet::new(), None, None)
    }

    /// The exchange of a connection to this server, and what is sent first.
    fn connect(gates: &Gates, sid: i64, port: Port) -> (Gate, Vec<u8>) {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        gates.connected(&Attempt { sid, port, address: "zk:3888".to_owned() }, &waker).unwrap()
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
        let (mut connected, mut to_larger) = connect(&smaller, 2, Port::Election);
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

    /// A host that connects without end crowds itself out, and not a server that is slow.
    #[test]
    fn crowds() {
        let host = |last| Some(IpAddr::from([10, 0, 0, last]));
        let crowd = |number| std::iter::repeat_n(host(9), number);
        let servers = || [host(1), host(2)].into_iter();
        let full: Vec<_> = servers().chain(crowd(STRANGERS_MAX - 2)).collect();
        assert!(crowded_out(&full).is_empty());
        let crowded: Vec<_> = servers().chain(crowd(STRANGERS_MAX)).collect();
        assert_eq!(crowded_out(&crowded), [2, 3]);
        let lone: Vec<_> = crowd(STRANGERS_MAX + 2).collect();
        assert_eq!(crowded_out(&lone), [0, 1]);
    }

    /// What a server asks is of no use to who passes it on to that very server, which takes it for another one.
    #[test]
    fn reflected() {
        let own = gates(true);
        let (mut accepted, mut asked) = (own.accepted(Port::Quorum), Vec::new());
        let (mut connected, first) = connect(&own, 1, Port::Quorum);
        assert!(matches!(own.receive(&mut accepted, &first, &mut asked), Ok(Passage::Waits)));
        let mut answer = Vec::new();
        let refused = own.receive(&mut connected, &asked, &mut answer);
        assert!(matches!(refused, Err(QuorumFailure::PassedOn { .. })));
        assert!(answer.is_empty());
    }
}
