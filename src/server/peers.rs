//! Connections to the other servers of the ensemble, on the commit thread: one `epoll` for all of them.
//!
//! It knows bytes and addresses; what they mean is the replica's. Names are looked up anew at each attempt, by a thread
//! of their own, so that a name server that does not answer holds up no other work.

use super::addresses::{Other, Whereabouts};
use super::alarm::Alarm;
use super::gate::{self, Gate, Gates, Passage};
use super::helper;
use super::logging::{Text, provoked};
use super::own_ports::{ACCEPTS_PER_TURN, Bound, OwnPorts, resolve};
use super::reach::{Attempt, Reach};
use super::tls::{PeerStream, PeerTls};
use crate::config::{Ensemble, Server};
use crate::driver::{LinkEvent, Taken};
use crate::replica::{Now, Port, Replica, Standing};
use crate::zab::LinkId;
use bytes::{Buf, Bytes};
use log::Level;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use socket2::SockRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 256 << 10;

/// Reads of one connection after which others have their turn.
const READS_PER_TURN: usize = 4;

/// With this many bytes not taken a peer's connection is closed, so that it costs no more memory. This is the last resort:
/// the leader closes a learner that takes nothing sooner (`zab::leader`).
const OUT_BYTES_MAX: usize = 512 << 20;

/// How long the answer of a name server stays good that came after its attempt was given up: an attempt lasts 1 to 2 s,
/// and a name server that takes longer would never lead to a connection.
const LATE_LOOK_UP: Duration = Duration::from_secs(30);

/// Names that are looked up at once; with so many, servers that no configuration names are not called.
const LOOK_UPS_MAX: usize = 64;

/// Pieces of one write.
const SLICES_MAX: usize = 64;

/// Connections of one address that may be within their handshake, and those of all.
const OPENING_OF_ADDRESS_MAX: usize = 32;
pub const OPENING_MAX: usize = 64;

/// Time that handshakes have in one turn.
const HANDSHAKES_PER_TURN: Duration = Duration::from_millis(2);

/// How long an attempt to connect lasts, at most: the replica gives it up sooner.
const CONNECTING_MAX: Duration = Duration::from_secs(5);

/// Between two tries to listen for observers.
const OBSERVERS_PAUSE: Duration = Duration::from_secs(1);

const WAKE: Token = Token(0);
/// Tokens of the listeners for observers begin here; no link's comes so far.
const FIRST_OBSERVER_LISTENER: usize = usize::MAX / 2;
/// Tokens of the other listeners and of links begin here. None is used twice.
const FIRST_TOKEN: usize = 1;

/// What stands in a connection's way out.
enum Chunk {
    /// Of an exchange by SASL, which the replica does not know of.
    Gate(Bytes),
    Bytes(Bytes),
    /// A tree, made while it is sent.
    Stream(Receiver<Piece>),
    /// What has been made of a tree.
    Piece(Bytes),
}

/// Part of a tree on its way to a learner.
#[derive(Debug)]
pub enum Piece {
    /// So far.
    Bytes(Bytes),
    /// That was all.
    End,
}

struct Link {
    id: LinkId,
    stream: PeerStream,
    is_connecting: bool,
    /// What is being tried, until it is known how that went.
    attempt: Option<Attempt>,
    /// Both sides make sure of each other; the replica does not know of the connection yet.
    opening: Option<Opening>,
    readable: bool,
    writable: bool,
    /// The other side sends nothing more, or the connection failed: the end is there to be read.
    is_ended: bool,
    out: VecDeque<Chunk>,
    out_bytes: usize,
    /// Bytes that were sent and not reported, and how many of them belong to no tree.
    taken: (usize, usize),
    failed: bool,
    /// An exchange by SASL, after TLS: the replica does not know of the connection until it is over.
    gate: Option<Gate>,
    /// What came right after the exchange.
    held: Vec<u8>,
    /// The exchange began with the hello that the replica is about to say.
    has_said_hello: bool,
}

/// What must happen before the replica hears of a connection.
struct Opening {
    /// The port that was connected to, and by whom; `None` where this server connects.
    from: Option<(Port, SocketAddr)>,
    /// When it is given up.
    until: Instant,
}

/// See the module's page.
pub struct Peers {
    registry: Registry,
    waker: Arc<Waker>,
    ports: OwnPorts,
    observers: Option<ObserverPort>,
    others: BTreeMap<i64, Other>,
    whereabouts: Whereabouts,
    keep_alive: bool,
    tls: PeerTls,
    gates: Option<Gates>,
    /// By token.
    links: BTreeMap<usize, Link>,
    tokens: BTreeMap<LinkId, usize>,
    next_token: usize,
    next_accepted: u64,
    resolved: Receiver<(String, io::Result<IpAddr>)>,
    resolving: Sender<(String, io::Result<IpAddr>)>,
    /// Names that are being looked up, each with the attempt that asked.
    looking_up: BTreeMap<String, Attempt>,
    /// Answers of name servers that came after their attempt was given up, and when.
    late: BTreeMap<String, (Instant, IpAddr)>,
    /// Attempts that were asked for and have no connection yet.
    dialing: BTreeMap<LinkId, Dialing>,
    reach: Reach,
    happened: VecDeque<LinkEvent>,
    /// Handshakes wait for the next turn.
    has_handshakes: bool,
    taken: Vec<Taken>,
    scratch: Vec<u8>,
}

/// Where the commit thread sleeps until a peer or another thread wants something of it. It is not the peers' own, since
/// others may work with them meanwhile.
pub struct Waiter {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    alarm: Alarm,
}

impl Waiter {
    /// Waits until something happens, or the time is over; [`Peers::note`] takes in what did.
    pub fn wait(&mut self, timeout: Duration) {
        let timeout = self.alarm.bound(timeout);
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout)) {
            // EINTR is as good as a wake-up.
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "epoll failed: {error}");
            self.events.clear();
        }
    }

    /// Ends a [`Self::wait`] from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }
}

/// An attempt that has no connection yet.
struct Dialing {
    attempt: Attempt,
    host: String,
    port: u16,
}

/// Where a follower listens for observers, and observers find followers.
#[derive(Debug)]
struct ObserverPort {
    port: u16,
    /// Where this server listens: the addresses of its quorum port.
    addresses: Vec<IpAddr>,
    listeners: Vec<TcpListener>,
    acceptable: bool,
    /// When it is tried again.
    retry: Instant,
}

impl ObserverPort {
    /// Listens at these addresses from now on.
    fn follow(&mut self, addresses: Vec<IpAddr>) {
        if addresses != self.addresses {
            self.addresses = addresses;
            self.listeners.clear();
            self.retry = Instant::now();
        }
    }

    /// Listens, or does so no more.
    fn update(&mut self, is_wanted: bool, registry: &Registry) {
        if !is_wanted {
            self.listeners.clear();
            return;
        }
        if !self.listeners.is_empty() || Instant::now() < self.retry {
            return;
        }
        self.retry = Instant::now() + OBSERVERS_PAUSE;
        for ip in &self.addresses {
            let socket = TcpListener::bind(SocketAddr::new(*ip, self.port));
            let token = Token(FIRST_OBSERVER_LISTENER + self.listeners.len());
            let registered = socket.and_then(|mut socket| {
                registry.register(&mut socket, token, Interest::READABLE)?;
                Ok(socket)
            });
            match registered {
                Ok(socket) => {
                    self.listeners.push(socket);
                    self.acceptable = true;
                }
                Err(error) => {
                    let line = format_args!(
                        "no observers are served: observerMasterPort={} error={}; tried again every second",
                        self.port,
                        Text(&error)
                    );
                    provoked(Level::Warn, "peers", "no observers are served", "observerMasterPort", line);
                }
            }
        }
    }
}

/// What connections begin with, before the replica hears of them.
pub struct Guards {
    /// TLS, or none.
    pub tls: PeerTls,
    /// SASL, within TLS.
    pub gates: Option<Gates>,
}

impl Peers {
    /// The connections of a server whose ports are `bound`, and what tells of them.
    ///
    /// # Errors
    /// The system has no `epoll` to give.
    pub fn new(
        bound: Bound,
        ensemble: &Ensemble,
        keep_alive: bool,
        Guards { tls, gates }: Guards,
    ) -> io::Result<(Self, Waiter)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut next_token = FIRST_TOKEN;
        let ports = OwnPorts::new(bound, poll.registry(), &mut next_token)?;
        let (resolving, resolved) = mpsc::channel();
        let mut whereabouts = Whereabouts::default();
        let others =
            whereabouts.of(ensemble, None).into_iter().map(|(sid, addresses)| (sid, Other::at(addresses)));
        let alarm = Alarm::new(poll.registry(), WAKE)?;
        let waiter = Waiter { poll, events: Events::with_capacity(256), waker: waker.clone(), alarm };
        let peers = Self {
            registry,
            waker,
            next_token,
            ports,
            observers: None,
            others: others.collect(),
            whereabouts,
            keep_alive,
            tls,
            gates,
            links: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_accepted: 0,
            resolved,
            resolving,
            looking_up: BTreeMap::new(),
            late: BTreeMap::new(),
            dialing: BTreeMap::new(),
            reach: Reach::default(),
            happened: VecDeque::new(),
            has_handshakes: false,
            taken: Vec::new(),
            scratch: vec![0; READ_BYTES],
        };
        Ok((peers, waiter))
    }

    /// The same with the lines of this server's file, where those are not the ones of the active configuration, which is later:
    /// servers are also called at the addresses in them, until a still later configuration is known.
    pub fn with_written(mut self, lines: Ensemble, active: &Ensemble) -> Self {
        self.whereabouts = Whereabouts::with_written(lines, active.version);
        self.locate(active, None);
        self
    }

    /// The same with a port for observers, at the addresses of the quorum port.
    pub fn with_observers(mut self, port: u16) -> Self {
        self.observers = Some(ObserverPort {
            port,
            addresses: self.ports.quorum_addresses(),
            listeners: Vec::new(),
            acceptable: false,
            retry: Instant::now(),
        });
        self
    }

    /// Listens for observers while the replica serves them.
    pub fn update_observers(&mut self, replica: &Replica) {
        if let Some(observers) = &mut self.observers {
            observers.update(replica.serves_observers(), &self.registry);
        }
    }

    /// Follows a change of the configurations: the active one, and the one that is proposed. `own` is this server's line, if
    /// one names it. Connections stay: the replica ends those that it does not need any more.
    pub fn configure(&mut self, own: Option<&Server>, active: &Ensemble, next: Option<&Ensemble>) {
        self.locate(active, next);
        let own = own.map_or(&[][..], |own| &own.addresses);
        if self.ports.follow(own, &self.registry, &self.waker) {
            self.move_observers();
        }
    }

    /// Takes in where other servers are.
    fn locate(&mut self, active: &Ensemble, next: Option<&Ensemble>) {
        let all = self.whereabouts.of(active, next);
        self.others.retain(|sid, _| all.contains_key(sid));
        self.reach.forget(|sid| !all.contains_key(&sid));
        let hosts: BTreeSet<String> = all.values().flatten().map(|address| address.host.clone()).collect();
        self.tls.set_hosts(hosts.iter().cloned().collect());
        if let Some(gates) = &mut self.gates {
            gates.set_hosts(hosts);
        }
        for (sid, addresses) in all {
            match self.others.get_mut(&sid) {
                Some(other) if other.addresses == addresses => {}
                _ => {
                    self.others.insert(sid, Other::at(addresses));
                }
            }
        }
    }

    /// Follows a change of what this server says first on election ports.
    pub fn set_hello(&mut self, hello: Vec<u8>) {
        if let Some(gates) = &mut self.gates {
            gates.set_hello(hello);
        }
    }

    /// Has the port for observers follow the quorum port.
    fn move_observers(&mut self) {
        let addresses = self.ports.quorum_addresses();
        // While the quorum port moves, there is none.
        if let Some(observers) = self.observers.as_mut().filter(|_| !addresses.is_empty()) {
            observers.follow(addresses);
        }
    }

    /// Ends a [`Waiter::wait`] from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Takes in what a wait has brought.
    pub fn note(&mut self, waiter: &Waiter) {
        for event in &waiter.events {
            match event.token() {
                WAKE => {}
                Token(FIRST_OBSERVER_LISTENER..) => {
                    self.observers.iter_mut().for_each(|observers| observers.acceptable = true);
                }
                Token(token) => {
                    if !self.ports.note(token)
                        && let Some(link) = self.links.get_mut(&token)
                    {
                        link.is_ended |= event.is_read_closed() || event.is_error();
                        link.readable |= event.is_readable() || link.is_ended;
                        link.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
                    }
                }
            }
        }
    }

    /// Whether [`Self::next_event`] has something that no wait tells of.
    pub fn has_news(&self) -> bool {
        !self.happened.is_empty() || self.has_handshakes
    }

    /// The next connection that came, was made or ended.
    pub fn next_event(&mut self) -> Option<LinkEvent> {
        if let Some(event) = self.happened.pop_front() {
            return Some(event);
        }
        self.accept();
        self.accept_observers();
        self.dial();
        self.finish_connects();
        self.open();
        self.take_tickets();
        self.close_strangers();
        self.happened.pop_front()
    }

    fn accept(&mut self) {
        if self.ports.take_bound(&self.registry, &mut self.next_token) {
            self.move_observers();
        }
        for (stream, peer, port) in self.ports.accept() {
            self.adopt_accepted(stream, peer, port);
        }
    }

    fn accept_observers(&mut self) {
        let Some(observers) = self.observers.as_mut().filter(|observers| observers.acceptable) else {
            return;
        };
        observers.acceptable = false;
        let mut accepted = Vec::new();
        for listener in &observers.listeners {
            while accepted.len() < ACCEPTS_PER_TURN {
                match listener.accept() {
                    Ok(connection) => accepted.push(connection),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A connection that was reset before it was accepted, or no descriptor left: the next turn.
                    Err(_) => {
                        observers.acceptable = true;
                        break;
                    }
                }
            }
        }
        observers.acceptable |= accepted.len() == ACCEPTS_PER_TURN;
        accepted.into_iter().for_each(|(stream, peer)| self.adopt_accepted(stream, peer, Port::Observers));
    }

    fn adopt_accepted(&mut self, stream: TcpStream, peer: SocketAddr, port: Port) {
        let Ok(stream) = self.tls.accepted(stream) else { return };
        let opening = match stream.is_plain() {
            true => None,
            false => Some(Opening {
                from: Some((port, peer)),
                until: Instant::now() + self.tls.handshake_timeout(),
            }),
        };
        let is_opening = opening.is_some();
        if is_opening {
            self.make_room(peer.ip());
        }
        let id = LinkId(self.next_accepted);
        self.next_accepted += 1;
        if self.adopt(id, stream, None, opening).is_ok() && !is_opening {
            let Self { links, tokens, gates, reach, happened, waker, .. } = self;
            let link = links.get_mut(&tokens[&id]).expect("adopted just now");
            happened.extend(link.enter(Some(port), gates.as_ref(), reach, waker));
        }
    }

    /// Goes on with exchanges whose tickets the KDC has given.
    fn take_tickets(&mut self) {
        let Self { links, gates: Some(gates), reach, .. } = self else { return };
        let mut refused = Vec::new();
        for link in links.values_mut() {
            let Some(gate) = &mut link.gate else { continue };
            match gates.take_ticket(gate) {
                Ok(None) => {}
                Ok(Some(first)) => link.out.push_back(Chunk::Gate(first.into())),
                Err(why) => {
                    link.refuse(&why.to_string(), reach);
                    refused.push(link.id);
                }
            }
        }
        self.lose(refused);
    }

    /// Closes accepted connections that do not authenticate in time, and some where there are too many.
    fn close_strangers(&mut self) {
        if self.gates.is_none() {
            return;
        }
        let is_stranger = |link: &&Link| link.gate.as_ref().is_some_and(Gate::is_accepted);
        // Tokens, and so links, are in the order in which they were made.
        let strangers: Vec<&Link> = self.links.values().filter(is_stranger).collect();
        let is_late = |link: &&&Link| link.gate.as_ref().is_some_and(Gate::is_late);
        let mut late: BTreeSet<LinkId> = strangers.iter().filter(is_late).map(|link| link.id).collect();
        if strangers.len() > gate::STRANGERS_MAX {
            let address = |link: &&Link| link.stream.peer_addr().ok().map(|peer| peer.ip());
            let addresses: Vec<Option<IpAddr>> = strangers.iter().map(address).collect();
            late.extend(gate::crowded_out(&addresses).into_iter().map(|at| strangers[at].id));
        }
        for id in late {
            gate::log_kept_out(self.address(id), "it has not authenticated in time");
            self.close(id);
        }
    }

    /// Closes the oldest connection that another server has made and that is within its handshake, where there would be too
    /// many from `address` or in all. The newest may be a server's that was refused before.
    fn make_room(&mut self, address: IpAddr) {
        let opening = |link: &Link| Some((link.id, link.opening.as_ref()?.from?.1.ip()));
        // Tokens, and so links, are in the order in which they were made.
        let all: Vec<(LinkId, IpAddr)> = self.links.values().filter_map(opening).collect();
        let of_address: Vec<LinkId> =
            all.iter().filter(|(_, ip)| *ip == address).map(|(id, _)| *id).collect();
        let oldest = if of_address.len() >= OPENING_OF_ADDRESS_MAX {
            of_address.first().copied()
        } else if all.len() >= OPENING_MAX {
            all.first().map(|(id, _)| *id)
        } else {
            None
        };
        if let Some(id) = oldest {
            let line = format_args!(
                "handshake given up for a later one: address={address} limit={OPENING_OF_ADDRESS_MAX} in_all={OPENING_MAX}"
            );
            provoked(Level::Warn, "peers", "handshake given up for a later one", "handshakes", line);
            self.close(id);
        }
    }

    /// Goes on with handshakes.
    fn open(&mut self) {
        let (mut lost, now) = (Vec::new(), Instant::now());
        self.has_handshakes = false;
        for link in self.links.values_mut().filter(|link| !link.is_connecting) {
            let Some(opening) = &link.opening else { continue };
            let (from, until) = (opening.from, opening.until);
            if !link.readable && !link.writable && now < until {
                continue;
            }
            // A handshake costs a signature, before anything is known of the other side: the next turn goes on.
            if now.elapsed() > HANDSHAKES_PER_TURN {
                self.has_handshakes = true;
                break;
            }
            let why = match self.tls.open(&mut link.stream) {
                Ok(true) => {
                    (link.opening, link.readable, link.writable) = (None, true, true);
                    let port = from.map(|(port, _)| port);
                    let entered = link.enter(port, self.gates.as_ref(), &mut self.reach, &self.waker);
                    self.happened.extend(entered);
                    continue;
                }
                Ok(false) if now < until => {
                    (link.readable, link.writable) = (false, false);
                    continue;
                }
                Ok(false) => io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"),
                Err(error) => error,
            };
            link.attempt.take().iter().for_each(|attempt| self.reach.failed(attempt, &why));
            // One that ends it gave its attempt up.
            if let Some((_, peer)) = from
                && why.kind() != io::ErrorKind::UnexpectedEof
            {
                let line = format_args!("connection refused: peer={peer} why={}", Text(&why));
                provoked(Level::Warn, "peers", "connection refused", "TLS failed", line);
            }
            lost.push((link.id, from));
        }
        for (id, from) in lost {
            self.close(id);
            // The replica knows of what it asked for, not of what others did.
            if from.is_none() {
                self.happened.push_back(LinkEvent::Closed(id));
            }
        }
    }

    fn adopt(
        &mut self,
        id: LinkId,
        mut stream: PeerStream,
        attempt: Option<Attempt>,
        opening: Option<Opening>,
    ) -> io::Result<()> {
        let tcp = stream.tcp();
        // Slower without, and no less right.
        let _ = tcp.set_nodelay(true);
        if self.keep_alive {
            SockRef::from(&*tcp).set_keepalive(true)?;
        }
        let token = self.next_token;
        self.next_token += 1;
        self.registry.register(tcp, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        let link = Link {
            id,
            stream,
            is_connecting: attempt.is_some(),
            attempt,
            readable: opening.is_some(),
            writable: false,
            opening,
            is_ended: false,
            out: VecDeque::new(),
            out_bytes: 0,
            taken: (0, 0),
            failed: false,
            gate: None,
            held: Vec::new(),
            has_said_hello: false,
        };
        self.links.insert(token, link);
        self.tokens.insert(id, token);
        Ok(())
    }

    /// Connects to a port of a server; [`LinkEvent::Connected`] or [`LinkEvent::Closed`] follows.
    pub fn connect(&mut self, id: LinkId, sid: i64, port: Port) {
        let Some(other) = self.others.get_mut(&sid).filter(|other| !other.addresses.is_empty()) else {
            return self.happened.push_back(LinkEvent::Closed(id));
        };
        let attempts = &mut other.attempts[port as usize];
        // One after the other, where there are several.
        let address = &other.addresses[*attempts % other.addresses.len()];
        *attempts += 1;
        let number = match port {
            Port::Election => address.election_port,
            Port::Quorum => address.quorum_port,
            Port::Observers => self.observers.as_ref().map_or(0, |observers| observers.port),
        };
        let host = address.host.clone();
        self.begin(id, sid, port, host, number);
    }

    /// Connects to the election port of a server that no configuration names, where it says that this is; the same follows.
    pub fn connect_at(&mut self, id: LinkId, sid: i64, host: &str, port: u16) {
        // Anyone may say so, of any server: what is kept and asked for has limits.
        let others = &self.others;
        self.reach.bound_strangers(|sid| others.contains_key(&sid));
        if self.looking_up.len() >= LOOK_UPS_MAX && !self.looking_up.contains_key(host) {
            return self.happened.push_back(LinkEvent::Closed(id));
        }
        self.begin(id, sid, Port::Election, host.to_owned(), port);
    }

    /// Begins an attempt.
    fn begin(&mut self, id: LinkId, sid: i64, port: Port, host: String, number: u16) {
        let attempt = Attempt { sid, port, address: format!("{host}:{number}") };
        self.dialing.insert(id, Dialing { attempt: attempt.clone(), host: host.clone(), port: number });
        let known = host.parse::<IpAddr>().ok().or_else(|| {
            let (at, ip) = self.late.remove(&host)?;
            (at.elapsed() < LATE_LOOK_UP).then_some(ip)
        });
        if let Some(ip) = known {
            // Sent to this very thread, which has both ends.
            let _ = self.resolving.send((host, Ok(ip)));
            return;
        }
        if self.looking_up.contains_key(&host) {
            // The look-up of an earlier attempt is this one's as well.
            return;
        }
        self.looking_up.insert(host.clone(), attempt);
        let (waker, resolving, name) = (self.waker.clone(), self.resolving.clone(), host.clone());
        let spawned = helper::spawn("zkfast-resolve", move || {
            let result = resolve(&name, number).map(|address| address.ip());
            // The server may have stopped meanwhile.
            let (_, _) = (resolving.send((name, result)), waker.wake());
        });
        if let Err(error) = spawned {
            // Sent to this very thread, which has both ends.
            let _ = self.resolving.send((host, Err(error)));
        }
    }

    /// Connects where a name has been looked up.
    fn dial(&mut self) {
        while let Ok((host, result)) = self.resolved.try_recv() {
            let asked = self.looking_up.remove(&host);
            let is_of_host = |(id, dialing): (&LinkId, &Dialing)| (dialing.host == host).then_some(*id);
            let ids: Vec<LinkId> = self.dialing.iter().filter_map(is_of_host).collect();
            // The attempt was given up before a slow name server answered: the next one has the answer, or people the reason.
            match &result {
                _ if !ids.is_empty() => {}
                Ok(ip) => {
                    self.late.retain(|_, (at, _)| at.elapsed() < LATE_LOOK_UP);
                    self.late.insert(host.clone(), (Instant::now(), *ip));
                }
                Err(error) => asked.iter().for_each(|attempt| self.reach.failed(attempt, error)),
            }
            for id in ids {
                let Some(Dialing { attempt, port, .. }) = self.dialing.remove(&id) else { continue };
                let address = match &result {
                    Ok(ip) => Ok(SocketAddr::new(*ip, port)),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                let connected = address
                    .and_then(TcpStream::connect)
                    .and_then(|stream| self.tls.connected(stream, &host))
                    .and_then(|stream| {
                        // Until the connection is there, its attempt bounds it.
                        let until = Instant::now() + CONNECTING_MAX + self.tls.handshake_timeout();
                        let opening = (!stream.is_plain()).then_some(Opening { from: None, until });
                        self.adopt(id, stream, Some(attempt.clone()), opening)
                    });
                if let Err(error) = connected {
                    self.reach.failed(&attempt, &error);
                    self.happened.push_back(LinkEvent::Closed(id));
                }
            }
        }
    }

    fn finish_connects(&mut self) {
        let mut failed = Vec::new();
        for link in self.links.values_mut().filter(|link| link.is_connecting && link.writable) {
            let mut refused = link.stream.tcp().take_error().ok().flatten();
            match link.stream.peer_addr() {
                Err(error) if refused.is_none() && error.kind() == io::ErrorKind::NotConnected => {
                    link.writable = false;
                    continue;
                }
                Err(error) => refused = refused.or(Some(error)),
                Ok(_) => {}
            }
            match refused {
                Some(error) => {
                    link.attempt.take().iter().for_each(|attempt| self.reach.failed(attempt, &error));
                    failed.push(link.id);
                }
                // What is to be sent first is there.
                None if link.opening.is_some() => (link.is_connecting, link.readable) = (false, true),
                None => {
                    link.is_connecting = false;
                    let entered = link.enter(None, self.gates.as_ref(), &mut self.reach, &self.waker);
                    self.happened.extend(entered);
                }
            }
        }
        self.lose(failed);
    }

    /// Ends a connection, or gives an attempt up. Bytes that were not sent are lost.
    pub fn close(&mut self, id: LinkId) {
        let mut attempt = self.dialing.remove(&id).map(|dialing| dialing.attempt);
        if let Some(mut link) = self.tokens.remove(&id).and_then(|token| self.links.remove(&token)) {
            if link.gate.as_ref().is_some_and(Gate::awaits_ticket)
                && let Some(attempt) = link.attempt.take()
            {
                self.reach.failed(&attempt, &gate::KDC_IS_SILENT);
            }
            attempt = attempt.or(link.attempt.take());
            link.stream.end();
            // What is left of it goes with the descriptor.
            let _ = self.registry.deregister(link.stream.tcp());
        }
        attempt.iter().for_each(|attempt| self.reach.given_up(attempt));
    }

    /// Ends the complaints about servers that the replica hears again.
    pub fn update_reach(&mut self, replica: &Replica) {
        self.reach.update(
            |sid| replica.hears(sid),
            !matches!(replica.standing(), Standing::Looking | Standing::ReadOnly),
        );
    }

    /// Ends connections that are no use any more, and says so.
    fn lose(&mut self, ids: Vec<LinkId>) {
        for id in ids {
            let gate = self.link_mut(id).and_then(|link| link.gate.as_ref());
            let is_stranger = gate.is_some_and(Gate::is_accepted);
            self.close(id);
            if !is_stranger {
                self.happened.push_back(LinkEvent::Closed(id));
            }
        }
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(self.tokens.get(&id)?)
    }

    /// Whether there is that connection.
    pub fn has(&self, id: LinkId) -> bool {
        self.tokens.contains_key(&id)
    }

    /// Sends bytes, after those sent before.
    pub fn send(&mut self, id: LinkId, bytes: Bytes) {
        let Self { links, tokens, gates, .. } = self;
        let Some(link) = tokens.get(&id).and_then(|token| links.get_mut(token)) else { return };
        // Nothing to write looks like a connection that takes nothing.
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut link.has_said_hello) {
            let is_hello = gates.as_ref().is_some_and(|gates| gates.is_own_hello(&bytes));
            assert!(is_hello, "{} bytes are sent to an election port before the hello", bytes.len());
            link.taken = (bytes.len(), bytes.len());
            return;
        }
        link.out_bytes += bytes.len();
        link.out.push_back(Chunk::Bytes(bytes));
        link.failed |= link.out_bytes > OUT_BYTES_MAX;
    }

    /// Sends a tree that is being made, after what was sent before; nothing goes past it.
    pub fn send_stream(&mut self, id: LinkId, pieces: Receiver<Piece>) {
        if let Some(link) = self.link_mut(id) {
            link.out.push_back(Chunk::Stream(pieces));
        }
    }

    /// Writes what can be written now.
    pub fn flush(&mut self) {
        let mut lost = Vec::new();
        for link in self.links.values_mut().filter(|link| link.is_open()) {
            if link.failed {
                let line = format_args!(
                    "connection given up: bytes_not_taken={} limit={OUT_BYTES_MAX}",
                    link.out_bytes
                );
                provoked(Level::Warn, "peers", "connection given up", "bytes not taken", line);
                lost.push(link.id);
            } else if (!link.out.is_empty() || link.stream.has_unsent())
                && let Err(error) = link.write()
            {
                log::debug!(target: "peers", "connection lost: error={}", Text(&error));
                lost.push(link.id);
            }
            let (bytes, messages) = std::mem::take(&mut link.taken);
            if bytes > 0 {
                self.taken.push(Taken { link: link.id, bytes, messages });
            }
        }
        self.lose(lost);
    }

    /// The next connection that has taken bytes since it was last asked for.
    pub fn next_taken(&mut self) -> Option<Taken> {
        self.taken.pop()
    }

    /// Where the other end of a connection is.
    pub fn address(&self, link: LinkId) -> Option<SocketAddr> {
        self.links.get(self.tokens.get(&link)?)?.stream.peer_addr().ok()
    }

    /// Gives the replica what has come, as far as it takes it; says whether there may be more.
    pub fn receive(&mut self, replica: &mut Replica, now: Now) -> bool {
        let (mut lost, mut more) = (Vec::new(), false);
        let Self { links, gates, scratch, reach, happened, .. } = self;
        let begun = gates.is_some().then(Instant::now);
        for link in links.values_mut().filter(|link| link.readable && link.is_open()) {
            if let (Some(gates), Some(_)) = (&*gates, &link.gate) {
                // A ticket is read with files of the host, before anything is known of the other side.
                if begun.is_some_and(|begun| begun.elapsed() > HANDSHAKES_PER_TURN) {
                    more = true;
                    continue;
                }
                match link.pass(gates, scratch) {
                    Ok(Passage::Waits) => {}
                    Ok(Passage::Open(held)) => happened.push_back(link.open(held, reach)),
                    Err(why) => {
                        link.refuse(&why, reach);
                        lost.push(link.id);
                    }
                }
                more |= link.readable;
                continue;
            }
            // The replica hears of a connection before it gets bytes of it.
            if !link.held.is_empty() && happened.is_empty() && replica.may_receive(link.id) {
                replica.received(link.id, &std::mem::take(&mut link.held), now);
            }
            for _ in 0..READS_PER_TURN {
                if !link.held.is_empty() || !replica.may_receive(link.id) {
                    break;
                }
                match link.stream.read(scratch) {
                    Ok(0) => lost.push(link.id),
                    Ok(bytes) => {
                        replica.received(link.id, &scratch[..bytes], now);
                        // Less than there was room for was all there is: asking once more would only say so.
                        link.readable =
                            bytes == scratch.len() || link.is_ended || link.stream.may_hold_more();
                        if link.readable {
                            continue;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => link.readable = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => lost.push(link.id),
                }
                break;
            }
            more |= link.readable && replica.may_receive(link.id);
        }
        self.lose(lost);
        more
    }
}

impl Link {
    /// Whether bytes go both ways: of an exchange by SASL, or the replica's.
    fn is_open(&self) -> bool {
        !self.is_connecting && self.opening.is_none()
    }

    /// The connection is there, with TLS if it has that: an exchange by SASL is next, or the replica hears of it. `accepted`
    /// is the port that another server has connected to.
    fn enter(
        &mut self,
        accepted: Option<Port>,
        gates: Option<&Gates>,
        reach: &mut Reach,
        waker: &Arc<Waker>,
    ) -> Option<LinkEvent> {
        match (accepted, &self.attempt) {
            (Some(port), _) => match gates {
                Some(gates) => self.gate = Some(gates.accepted(port)),
                None => return Some(LinkEvent::Accepted(self.id, port)),
            },
            (None, attempt) => {
                let connected = |attempt: &Attempt| gates?.connected(attempt, waker);
                let exchange = attempt.as_ref().and_then(connected);
                let Some((gate, first)) = exchange else {
                    self.attempt.take().iter().for_each(|attempt| reach.reached(attempt));
                    return Some(LinkEvent::Connected(self.id));
                };
                self.gate = Some(gate);
                if !first.is_empty() {
                    self.out.push_back(Chunk::Gate(first.into()));
                }
            }
        }
        None
    }

    /// Reads for the exchange by SASL.
    fn pass(&mut self, gates: &Gates, scratch: &mut [u8]) -> Result<Passage, String> {
        let gate = self.gate.as_mut().expect("looked at by the caller");
        match self.stream.read(scratch) {
            Ok(0) => match gates.end(gate) {
                Some(held) => Ok(Passage::Open(held)),
                None => Err("it closed the connection before it had authenticated".to_owned()),
            },
            Ok(bytes) => {
                let mut out = Vec::new();
                let passage = gates.receive(gate, &scratch[..bytes], &mut out);
                if !out.is_empty() {
                    self.out.push_back(Chunk::Gate(out.into()));
                }
                passage.map_err(|why| why.to_string())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Passage::Waits)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Passage::Waits),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends the exchange: the replica is to hear of the connection, then to get what is held.
    fn open(&mut self, held: Vec<u8>, reach: &mut Reach) -> LinkEvent {
        let gate = self.gate.take().expect("looked at by the caller");
        self.held = held;
        if gate.is_accepted() {
            return LinkEvent::Accepted(self.id, gate.port());
        }
        self.attempt.take().iter().for_each(|attempt| reach.reached(attempt));
        self.has_said_hello = gate.port() == Port::Election;
        LinkEvent::Connected(self.id)
    }

    /// Says why the connection ends, to the other side as far as its socket takes it, and to the log.
    fn refuse(&mut self, why: &str, reach: &mut Reach) {
        // It ends anyway.
        let _ = self.write();
        match self.attempt.take() {
            Some(attempt) => reach.failed(&attempt, &why),
            None => gate::log_kept_out(self.stream.peer_addr().ok(), why),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.writable {
            // What has been made of a tree goes before what will be.
            while let Some(Chunk::Stream(pieces)) = self.out.front_mut() {
                match pieces.try_recv() {
                    Ok(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                    Ok(Piece::Bytes(bytes)) => {
                        self.out_bytes += bytes.len();
                        self.out.push_front(Chunk::Piece(bytes));
                    }
                    Ok(Piece::End) => {
                        self.out.pop_front();
                    }
                    Err(TryRecvError::Empty) => return self.flush_sealed(),
                    Err(TryRecvError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
            let bytes = |chunk: &'_ Chunk| match chunk {
                Chunk::Gate(bytes) | Chunk::Bytes(bytes) | Chunk::Piece(bytes) => Some(bytes.clone()),
                Chunk::Stream(_) => None,
            };
            let chunks: Vec<Bytes> = self.out.iter().map_while(bytes).take(SLICES_MAX).collect();
            if chunks.is_empty() {
                return self.flush_sealed();
            }
            let slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
            match self.stream.write(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.sent(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what is sealed, as far as there is room.
    fn flush_sealed(&mut self) -> io::Result<()> {
        match self.stream.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(())
            }
            flushed => flushed,
        }
    }

    fn sent(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let (front, is_known, is_message) = match self.out.front_mut() {
                Some(Chunk::Gate(front)) => (front, false, false),
                Some(Chunk::Bytes(front)) => (front, true, true),
                Some(Chunk::Piece(front)) => (front, true, false),
                Some(Chunk::Stream(_)) | None => unreachable!("{bytes} bytes more were sent than there were"),
            };
            let taken = bytes.min(front.len());
            front.advance(taken);
            bytes -= taken;
            if is_known {
                self.out_bytes -= taken;
                self.taken.0 += taken;
            }
            if is_message {
                self.taken.1 += taken;
            }
            if front.is_empty() {
                self.out.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The connections of server 1, which listens nowhere.
    struct Own {
        peers: Peers,
        waiter: Waiter,
        links: u64,
    }

    impl Own {
        fn new(ensemble: &Ensemble) -> Self {
            let guards = Guards { tls: PeerTls::default(), gates: None };
            let (peers, waiter) = Peers::new(Bound::nowhere(false), ensemble, false, guards).expect("epoll");
            Self { peers, waiter, links: 0 }
        }

        /// What comes of an attempt: true for a connection.
        fn outcome(&mut self, connect: impl FnOnce(&mut Peers, LinkId)) -> bool {
            self.links += 1;
            let id = LinkId(LinkId::ASKED | self.links);
            connect(&mut self.peers, id);
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                match self.peers.next_event() {
                    Some(LinkEvent::Connected(link)) if link == id => return true,
                    Some(LinkEvent::Closed(link)) if link == id => return false,
                    Some(_) => {}
                    None => {
                        assert!(Instant::now() < until, "nothing comes of it");
                        self.waiter.wait(Duration::from_secs(1));
                        self.peers.note(&self.waiter);
                    }
                }
            }
        }

        fn connects(&mut self, sid: i64) -> bool {
            self.outcome(|peers, id| peers.connect(id, sid, Port::Election))
        }
    }

    fn listen() -> (std::net::TcpListener, u16) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("a socket");
        let port = socket.local_addr().expect("its address").port();
        (socket, port)
    }

    fn ensemble(text: &str) -> Ensemble {
        Ensemble::parse(text).expect("a configuration")
    }

    /// While a server moves it is called at its old and at its new address, then at the new one only; a server that leaves is
    /// not called at all, unless it says itself where it is.
    #[test]
    fn addresses_follow() {
        let ((old, before), (new, after)) = (listen(), listen());
        let is_called = |socket: &std::net::TcpListener| socket.accept().is_ok();
        let [active, moved] = [before, after].map(|port| ensemble(&format!("server.2=127.0.0.1:1:{port}")));
        let mut own = Own::new(&active);
        own.peers.configure(None, &active, Some(&moved));
        for (calls_old, calls_new) in [(true, false), (false, true), (true, false)] {
            assert!(own.connects(2));
            assert_eq!((is_called(&old), is_called(&new)), (calls_old, calls_new));
        }
        own.peers.configure(None, &moved, None);
        for _ in 0..2 {
            assert!(own.connects(2));
            assert_eq!((is_called(&old), is_called(&new)), (false, true));
        }
        let others = ensemble("server.3=127.0.0.1:1:2");
        own.peers.configure(None, &others, None);
        assert!(!own.connects(2));
        assert!(own.outcome(|peers, id| peers.connect_at(id, 2, "127.0.0.1", before)));
        assert!(is_called(&old));
        drop(old);
        assert!(!own.outcome(|peers, id| peers.connect_at(id, 2, "127.0.0.1", before)));
    }

    /// A server that joins begins to listen, and hears others.
    #[test]
    fn listens_once_it_has_a_line() {
        let [(first, quorum), (second, election)] = [listen(), listen()];
        drop((first, second));
        let next = ensemble(&format!("server.1=127.0.0.1:{quorum}:{election}"));
        let mut own = Own::new(&Ensemble::default());
        own.peers.configure(next.servers.get(&1), &Ensemble::default(), Some(&next));
        let mut connected = Vec::new();
        let mut came = BTreeSet::new();
        let until = Instant::now() + Duration::from_secs(20);
        while came.len() < 2 {
            assert!(Instant::now() < until, "{came:?}");
            if connected.is_empty() {
                connected.extend(
                    [quorum, election]
                        .map(|port| std::net::TcpStream::connect(("127.0.0.1", port)).ok())
                        .into_iter()
                        .collect::<Option<Vec<_>>>()
                        .unwrap_or_default(),
                );
            }
            self::note(&mut own);
            while let Some(event) = own.peers.next_event() {
                if let LinkEvent::Accepted(_, port) = event {
                    came.insert(port as usize);
                }
            }
        }
        assert_eq!(came, BTreeSet::from([Port::Election as usize, Port::Quorum as usize]));
    }

    fn note(own: &mut Own) {
        own.waiter.wait(Duration::from_millis(20));
        own.peers.note(&own.waiter);
    }
}
