//! The ports on which this server listens for the others: bound before it starts, and anew when its own line changes.

use super::helper;
use crate::config::PeerAddress;
use crate::replica::Port;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token, Waker};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Connections of one listener that are accepted before others have their turn.
pub const ACCEPTS_PER_TURN: usize = 16;

/// Before a port of this server's own is tried again. Source: `QuorumCnxManager.Listener`.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// Tries after which the log says again what this server waits for.
const BIND_TRIES_A_LINE: u32 = 30;

/// Where one port is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Name or address as configured.
    host: String,
    number: u16,
    port: Port,
    /// It listens on every interface, whatever the host is.
    on_all: bool,
}

impl Place {
    fn bind(&self) -> io::Result<TcpListener> {
        match self.on_all {
            true => bind_all(self.number),
            false => resolve(&self.host, self.number).and_then(TcpListener::bind),
        }
    }

    /// As messages have it.
    fn name(&self) -> &'static str {
        if self.port == Port::Election { "election port" } else { "quorum port" }
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_same_host = self.on_all || self.host == other.host;
        is_same_host && (self.number, self.port, self.on_all) == (other.number, other.port, other.on_all)
    }
}

/// Both ports of each address, or these ports of every interface.
fn places(addresses: &[PeerAddress], on_all: bool) -> Vec<Place> {
    let (mut wanted, mut numbers) = (Vec::new(), BTreeSet::new());
    for PeerAddress { host, quorum_port, election_port } in addresses {
        for (number, port) in [(*election_port, Port::Election), (*quorum_port, Port::Quorum)] {
            if !on_all || numbers.insert(number) {
                wanted.push(Place { host: host.clone(), number, port, on_all });
            }
        }
    }
    wanted
}

/// One of a server's own ports.
struct Listener {
    socket: TcpListener,
    place: Place,
    acceptable: bool,
}

/// The listeners of a server's own ports.
pub struct Bound {
    listeners: Vec<Listener>,
    addresses: Vec<PeerAddress>,
    on_all: bool,
}

impl Bound {
    /// Those of a server that no line names: none, until one does.
    pub fn nowhere(on_all: bool) -> Self {
        Self { listeners: Vec::new(), addresses: Vec::new(), on_all }
    }
}

/// Listens on both ports of each address of a server, or on these ports of every interface.
///
/// A name that has no address yet, and a port that is taken, are tried again. One address of several is enough; the
/// others are left out then. For the election port there are `election_tries`, for the one for followers no end: both as
/// in ZooKeeper, where a leader without it is elected again and again.
///
/// # Errors
/// What the system says of the election port, and of which address, after the last try.
pub fn bind(
    addresses: &[PeerAddress],
    on_all: bool,
    election_tries: Option<u32>,
) -> Result<Bound, (String, io::Error)> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut wanted = places(addresses, on_all);
    for tries in 1.. {
        let mut refused = Vec::new();
        for place in std::mem::take(&mut wanted) {
            match place.bind() {
                Ok(socket) => listeners.push(Listener { socket, place, acceptable: true }),
                Err(error) => refused.push((place, error)),
            }
        }
        let lacks = |port| {
            !listeners.iter().any(|listener| listener.place.port == port)
                && refused.iter().any(|(refused, _)| refused.port == port)
        };
        if !lacks(Port::Election) && !lacks(Port::Quorum) {
            for (place, error) in refused {
                log::warn!(target: "peers", "not listening: {}={}:{} error={error}; this server goes on with its other \
                    addresses until it is started again or its line changes", place.name(), place.host, place.number);
            }
            break;
        }
        if tries == 1 || tries % BIND_TRIES_A_LINE == 0 {
            refused.iter().for_each(|(place, error)| log_waiting(place, error, tries));
        }
        if lacks(Port::Election)
            && election_tries.is_some_and(|most| tries >= most)
            && let Some(at) = refused.iter().position(|(place, _)| place.port == Port::Election)
        {
            let (place, error) = refused.swap_remove(at);
            return Err((format!("{} {}:{}", place.name(), place.host, place.number), error));
        }
        wanted = refused.into_iter().map(|(place, _)| place).collect();
        std::thread::sleep(BIND_PAUSE);
    }
    Ok(Bound { listeners, addresses: addresses.to_vec(), on_all })
}

fn log_waiting(place: &Place, error: &io::Error, tries: u32) {
    log::warn!(target: "peers", "waiting to listen: {}={}:{} error={error} tries={tries}; tried again every second",
        place.name(), place.host, place.number);
}

/// Every interface, of both families where the host has both.
fn bind_all(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        bound => bound,
    }
}

/// The first address of a name, with `port`.
///
/// # Errors
/// What the system says, or that the name has no address.
pub fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    (host, port).to_socket_addrs()?.next().ok_or_else(none)
}

/// See the module's page.
pub struct OwnPorts {
    /// By token, which no other listener or connection ever had.
    listeners: BTreeMap<usize, Listener>,
    /// Those of this server's line, for which it listens.
    addresses: Vec<PeerAddress>,
    on_all: bool,
    binding: Option<Binding>,
}

/// Ports that a thread tries to bind, for as long as this is kept.
struct Binding {
    bound: Receiver<Listener>,
    _wanted: Arc<Vec<Place>>,
}

impl OwnPorts {
    /// Ports that are bound, with tokens from `next_token` on.
    ///
    /// # Errors
    /// `epoll` does not take them.
    pub fn new(bound: Bound, registry: &Registry, next_token: &mut usize) -> io::Result<Self> {
        let Bound { listeners, addresses, on_all } = bound;
        let mut ports = Self { listeners: BTreeMap::new(), addresses, on_all, binding: None };
        for listener in listeners {
            ports.adopt(listener, registry, next_token)?;
        }
        Ok(ports)
    }

    fn adopt(
        &mut self,
        mut listener: Listener,
        registry: &Registry,
        next_token: &mut usize,
    ) -> io::Result<()> {
        let token = *next_token;
        *next_token += 1;
        registry.register(&mut listener.socket, Token(token), Interest::READABLE)?;
        self.listeners.insert(token, listener);
        Ok(())
    }

    /// Listens where `addresses`, those of this server's line, say from now on: what they do not name is closed, and a thread
    /// binds what is missing, however long that takes; then `waker` is called. Connections stay. A server that no line names
    /// stays where it is: it may be named again. True if listeners were closed.
    pub fn follow(&mut self, addresses: &[PeerAddress], registry: &Registry, waker: &Arc<Waker>) -> bool {
        if addresses.is_empty() || addresses == self.addresses {
            return false;
        }
        self.addresses = addresses.to_vec();
        let wanted = places(addresses, self.on_all);
        let is_wanted = |listener: &Listener| wanted.iter().any(|place| place.is_same(&listener.place));
        let before = self.listeners.len();
        for listener in self.listeners.values_mut().filter(|listener| !is_wanted(listener)) {
            // It goes with the descriptor.
            let _ = registry.deregister(&mut listener.socket);
        }
        self.listeners.retain(|_, listener| is_wanted(listener));
        let is_missing =
            |place: &Place| !self.listeners.values().any(|listener| listener.place.is_same(place));
        let missing: Vec<Place> = wanted.iter().filter(|place| is_missing(place)).cloned().collect();
        // What an earlier thread has bound meanwhile is closed with its channel.
        self.binding = None;
        if !missing.is_empty() {
            self.bind(missing, waker.clone());
        }
        self.listeners.len() < before
    }

    fn bind(&mut self, missing: Vec<Place>, waker: Arc<Waker>) {
        let (sender, bound) = mpsc::channel();
        let wanted = Arc::new(missing);
        let weak = Arc::downgrade(&wanted);
        match helper::spawn("zkfast-listen", move || bind_all_of(&weak, &sender, &waker)) {
            Ok(_) => self.binding = Some(Binding { bound, _wanted: wanted }),
            Err(error) => {
                // The next change of the line tries again.
                self.addresses.clear();
                log::warn!(target: "peers", "no thread to listen at another address: error={error}");
            }
        }
    }

    /// Takes over what has been bound; true if there was something.
    pub fn take_bound(&mut self, registry: &Registry, next_token: &mut usize) -> bool {
        let mut has_more = false;
        while let Some(listener) = self.binding.as_ref().and_then(|binding| binding.bound.try_recv().ok()) {
            let Place { host, number, .. } = &listener.place;
            let line = format!("{}={host}:{number}", listener.place.name());
            match self.adopt(listener, registry, next_token) {
                Ok(()) => log::info!(target: "peers", "listening: {line}"),
                Err(error) => log::warn!(target: "peers", "not listening: {line} error={error}"),
            }
            has_more = true;
        }
        has_more
    }

    /// Notes that connections wait at the listener with this token; false if there is none.
    pub fn note(&mut self, token: usize) -> bool {
        let Some(listener) = self.listeners.get_mut(&token) else { return false };
        listener.acceptable = true;
        true
    }

    /// Takes connections that wait, some of each listener, with the port that they came to.
    pub fn accept(&mut self) -> Vec<(TcpStream, SocketAddr, Port)> {
        let mut accepted = Vec::new();
        for listener in self.listeners.values_mut() {
            for _ in 0..ACCEPTS_PER_TURN {
                if !listener.acceptable {
                    break;
                }
                match listener.socket.accept() {
                    Ok((stream, peer)) => accepted.push((stream, peer, listener.place.port)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.acceptable = false,
                    // A connection that was reset before it was accepted, or no descriptor left: the next turn.
                    Err(_) => break,
                }
            }
        }
        accepted
    }

    /// The addresses of the quorum port.
    pub fn quorum_addresses(&self) -> Vec<IpAddr> {
        let quorum = self.listeners.values().filter(|listener| listener.place.port == Port::Quorum);
        let addresses = quorum.filter_map(|listener| listener.socket.local_addr().ok()).map(|at| at.ip());
        addresses.collect::<BTreeSet<IpAddr>>().into_iter().collect()
    }
}

/// Binds ports until all are bound, or they are not wanted any more.
fn bind_all_of(wanted: &Weak<Vec<Place>>, bound: &Sender<Listener>, waker: &Waker) {
    let mut done = BTreeSet::new();
    for tries in 1.. {
        let Some(places) = wanted.upgrade() else { return };
        for (at, place) in places.iter().enumerate().filter(|(at, _)| !done.contains(at)).collect::<Vec<_>>()
        {
            match place.bind() {
                Ok(socket) => {
                    done.insert(at);
                    let listener = Listener { socket, place: place.clone(), acceptable: true };
                    // The line may have changed meanwhile, or the server have stopped.
                    let (_, _) = (bound.send(listener), waker.wake());
                }
                Err(error) if tries == 1 => log_waiting(place, &error, tries),
                Err(_) => {}
            }
        }
        if done.len() == places.len() {
            return;
        }
        drop(places);
        std::thread::sleep(BIND_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Instant;

    /// The ports of a server whose line is at hand, as the commit thread has them.
    struct Own {
        poll: Poll,
        waker: Arc<Waker>,
        ports: OwnPorts,
        next_token: usize,
    }

    impl Own {
        fn new(bound: Bound) -> Self {
            let poll = Poll::new().expect("epoll");
            let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
            let mut next_token = 1;
            let ports = OwnPorts::new(bound, poll.registry(), &mut next_token).expect("epoll");
            Self { poll, waker, ports, next_token }
        }

        fn follow(&mut self, addresses: &[PeerAddress]) -> bool {
            self.ports.follow(addresses, self.poll.registry(), &self.waker)
        }

        /// Waits until so many ports listen.
        fn wait(&mut self, number: usize) {
            let until = Instant::now() + Duration::from_secs(20);
            while self.ports.listeners.len() < number {
                assert!(Instant::now() < until, "{} listen", self.ports.listeners.len());
                self.poll.poll(&mut Events::with_capacity(8), Some(Duration::from_secs(5))).expect("epoll");
                self.ports.take_bound(self.poll.registry(), &mut self.next_token);
            }
        }

        /// The connection that comes next to a port, and where it came to.
        fn accepted(&mut self) -> (TcpStream, Port) {
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                if let Some((stream, _, port)) = self.ports.accept().pop() {
                    return (stream, port);
                }
                assert!(Instant::now() < until, "no connection comes");
                let mut events = Events::with_capacity(8);
                self.poll.poll(&mut events, Some(Duration::from_secs(5))).expect("epoll");
                for event in events.iter().filter(|event| event.token() != Token(0)) {
                    assert!(self.ports.note(event.token().0), "{event:?} of a listener that is closed");
                }
            }
        }
    }

    /// Ports that are free now.
    fn free<const N: usize>() -> [u16; N] {
        let sockets = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        sockets.map(|socket| socket.local_addr().expect("its address").port())
    }

    fn address(quorum_port: u16, election_port: u16) -> PeerAddress {
        PeerAddress { host: "127.0.0.1".to_owned(), quorum_port, election_port }
    }

    fn connects(port: u16) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    }

    /// A server listens on all of its addresses, on every interface if it is told so, and on a taken port not at all.
    #[test]
    fn ports() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("its address").port();
        assert!(bind(&[address(0, 0), address(0, 0)], false, Some(1)).is_ok());
        assert!(bind(&[address(0, 0)], true, Some(1)).is_ok());
        for on_all in [false, true] {
            let refused = bind(&[address(0, port)], on_all, Some(1)).map(drop).expect_err("it is taken");
            assert_eq!(refused.0, format!("election port 127.0.0.1:{port}"));
            assert_eq!(refused.1.kind(), io::ErrorKind::AddrInUse);
        }
        // One address of several is enough.
        let absent = PeerAddress { host: "host.invalid".to_owned(), ..address(0, 0) };
        assert!(bind(&[absent.clone(), address(0, 0)], false, Some(1)).is_ok());
        let refused = bind(&[absent], false, Some(1)).map(drop).expect_err("it has no address");
        assert_eq!(refused.0, "election port host.invalid:0");
    }

    /// Ports that are taken for a moment are waited for, the one for followers without end.
    #[test]
    fn ports_that_come_free() {
        let taken = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [quorum_port, election_port] =
            taken.each_ref().map(|socket| socket.local_addr().expect("its address").port());
        let address = address(quorum_port, election_port);
        let (sender, begun) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            sender.send(()).expect("the test waits");
            bind(&[address], false, None).map(drop)
        });
        begun.recv().expect("it begins");
        drop(taken);
        assert!(waiting.join().expect("no panic").is_ok());
    }

    /// A server whose election port changes listens at the new one and no more at the old one; its other port stays, and so do
    /// connections.
    #[test]
    fn a_port_that_changes() {
        let [quorum, before, after] = free();
        let mut own = Own::new(bind(&[address(quorum, before)], false, Some(1)).expect("free ports"));
        let mut kept = std::net::TcpStream::connect(("127.0.0.1", before)).expect("it listens");
        let (mut accepted, port) = own.accepted();
        assert_eq!(port, Port::Election);
        assert!(!own.follow(&[address(quorum, before)]), "nothing changes");
        let stays: Vec<usize> = own.ports.listeners.keys().copied().collect();
        assert!(own.follow(&[address(quorum, after)]));
        own.wait(2);
        assert!(!connects(before));
        let _new = std::net::TcpStream::connect(("127.0.0.1", after)).expect("it listens");
        assert_eq!(own.accepted().1, Port::Election);
        let _other = std::net::TcpStream::connect(("127.0.0.1", quorum)).expect("it listens");
        assert_eq!(own.accepted().1, Port::Quorum);
        assert!(own.ports.listeners.keys().any(|token| !stays.contains(token)), "a token is used again");
        use std::io::{Read, Write};
        kept.write_all(b"x").expect("the connection stays");
        let mut byte = [0];
        let until = Instant::now() + Duration::from_secs(20);
        while accepted.read(&mut byte).is_err() {
            assert!(Instant::now() < until, "nothing arrives");
        }
        assert_eq!(byte, *b"x");
    }

    /// A server that no line names listens nowhere until one does, and stays where it is when it is removed.
    #[test]
    fn lines_come_and_go() {
        let [quorum, election] = free();
        let mut own = Own::new(Bound::nowhere(false));
        assert!(own.ports.quorum_addresses().is_empty());
        own.follow(&[address(quorum, election)]);
        own.wait(2);
        assert_eq!(own.ports.quorum_addresses(), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        assert!(!own.follow(&[]));
        assert!(connects(quorum) && connects(election));
    }

    /// A port that is taken is tried again until it is free, without the caller waiting.
    #[test]
    fn taken_ports() {
        let [quorum] = free();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let election = taken.local_addr().expect("its address").port();
        let mut own = Own::new(Bound::nowhere(false));
        own.follow(&[address(quorum, election)]);
        own.wait(1);
        assert_eq!(own.ports.listeners.values().map(|it| it.place.port).collect::<Vec<_>>(), [Port::Quorum]);
        drop(taken);
        own.wait(2);
        assert!(connects(election));
    }

    /// On every interface, another host in the line changes nothing.
    #[test]
    fn every_interface() {
        let [quorum, election] = free();
        let mut own = Own::new(bind(&[address(quorum, election)], true, Some(1)).expect("free ports"));
        let moved = PeerAddress { host: "host.invalid".to_owned(), ..address(quorum, election) };
        assert!(!own.follow(&[moved]));
        assert!(own.ports.binding.is_none());
        assert!(connects(quorum) && connects(election));
    }
}
