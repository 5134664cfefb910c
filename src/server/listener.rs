//! Accepts client connections and hands them to the view shards.

use super::client_port::ClientPort;
use super::logging::{Text, provoked};
use super::rt::{Accepted, Listener};
use super::spsc::{Notify, Producer};
use super::tls::Port;
use super::{EXIT_HOST, Phase, Shared, exit, rt};
use log::Level;
use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Connections that are accepted before other tasks of the shard have their turn.
const ACCEPTED_AT_ONCE_MAX: u32 = 64;

/// The pause before the next attempt to accept while no descriptor is left.
const PAUSE: Duration = Duration::from_millis(50);

/// Before a server without a port for clients looks again whether it has one now.
const PORT_PAUSE: Duration = Duration::from_secs(1);

/// Before a port that moves is tried again.
const MOVING_PAUSE: Duration = Duration::from_millis(1);

/// A connection that was accepted.
pub struct Arrival {
    /// The connection.
    pub accepted: Accepted,
    /// What it came through.
    pub port: Port,
}

/// The listener's side of a view shard.
pub struct Target {
    /// Takes the shard's connections.
    pub channel: Producer<Arrival>,
    /// Wakes the shard.
    pub notify: Notify,
}

/// Where connections come from: a socket, and for a port that may move the one that follows it.
pub struct Source {
    listener: Option<Listener>,
    moves: Option<Arc<ClientPort>>,
}

impl Source {
    /// Begins to watch a socket; a port that moves may have none yet.
    pub fn new(socket: Option<TcpListener>, moves: Option<Arc<ClientPort>>) -> Self {
        Self { listener: socket.map(watched), moves }
    }

    /// The next connection; an error of a socket that has ended because the port moves is none.
    async fn accept(&mut self) -> io::Result<Accepted> {
        loop {
            if let Some(socket) = self.moves.as_ref().and_then(|moves| moves.take_next()) {
                self.listener = Some(watched(socket));
            }
            let Some(listener) = &self.listener else {
                rt::sleep(PORT_PAUSE).await;
                continue;
            };
            match listener.accept().await {
                Err(_) if self.moves.as_ref().is_some_and(|moves| moves.is_moving()) => {
                    rt::sleep(MOVING_PAUSE).await
                }
                accepted => return accepted,
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // No descriptor may keep clients waiting that are not accepted any more.
        self.moves.iter().for_each(|moves| moves.end());
    }
}

fn watched(socket: TcpListener) -> Listener {
    Listener::adopt(socket)
        .unwrap_or_else(|error| exit(EXIT_HOST, format_args!("the client port cannot be watched: {error}")))
}

/// Accepts connections of a port until the server stops. Ports share the targets.
pub async fn run(mut source: Source, port: Port, targets: Rc<RefCell<Vec<Target>>>, shared: Arc<Shared>) {
    let mut next = 0;
    let mut accepted_at_once = 0;
    while shared.phase() == Phase::Running {
        // The clients of this shard have their turn, however many connect.
        accepted_at_once += 1;
        if accepted_at_once >= ACCEPTED_AT_ONCE_MAX {
            accepted_at_once = 0;
            rt::let_others().await;
        }
        if !shared.admission.has_descriptor() {
            provoked(
                Level::Warn,
                "listener",
                "connections wait",
                "no descriptors",
                format_args!(
                    "connections wait: why={} do={}",
                    Text("no descriptors are left for them"),
                    Text("raise nofile (ulimit -n, LimitNOFILE=)")
                ),
            );
            rt::sleep(PAUSE).await;
            continue;
        }
        let accepted = match source.accept().await {
            Ok(accepted) => {
                shared.admission.accepted();
                accepted
            }
            Err(error) => {
                // A connection that ended before it was accepted is no fault. A lack of descriptors is, and passes.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    let line = format_args!("accept failed: error={}", Text(&error));
                    provoked(Level::Warn, "listener", "accept failed", "error of the system", line);
                    rt::sleep(PAUSE).await;
                }
                continue;
            }
        };
        if shared.shedding.is_leaving() {
            // Its client tries the next server at once.
            drop(accepted);
            shared.admission.dropped();
            continue;
        }
        // Round robin: connections live long, so each shard gets about as many.
        next = (next + 1) % targets.borrow().len();
        let mut arrival = Arrival { accepted, port: port.clone() };
        loop {
            // Not in the loop's condition: the listener of the other port may borrow while this one waits.
            let put = targets.borrow_mut()[next].channel.put(arrival);
            let Err(back) = put else { break };
            arrival = back;
            targets.borrow()[next].notify.notify();
            rt::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::Admission;
    use super::super::client_port::Options;
    use super::*;
    use crate::config::{ClientAddress, Engine};
    use crate::server::spsc;
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::time::Instant;

    const OPTIONS: Options = Options { backlog: None, keep_alive: false };

    fn address(host: Option<&str>, port: u16) -> ClientAddress {
        ClientAddress { host: host.map(str::to_owned), port }
    }

    /// Waits for the connection of a client to `port`, and gives its far end's address as the shard sees it.
    fn arrives(port: u16, arrivals: &mut spsc::Consumer<Arrival>) -> TcpStream {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < until, "port {port} takes no connection");
            let Ok(client) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let until_again = Instant::now() + Duration::from_secs(2);
            // A connection that the old socket had not accepted yet ends with it, and its client comes again.
            while Instant::now() < until_again {
                if arrivals.take().is_some() {
                    return client;
                }
                std::thread::yield_now();
            }
        }
    }

    /// On each engine, a port for clients moves: to another number, from every interface to one of them with the same number,
    /// and back; one that is taken leaves it where it is until it is free. A server without a port gets one.
    #[test]
    fn a_port_that_moves() {
        for engine in [Engine::Epoll, Engine::Uring] {
            let backend = rt::choose(Some(engine), 1).expect("both engines").backend;
            moves_on(backend);
        }
        moves_on(rt::Backend::Glommio);
    }

    fn moves_on(backend: rt::Backend) {
        let port = Arc::new(ClientPort::new(None, None, OPTIONS).expect("no socket"));
        let shared = Arc::new(Shared::new(Admission::new(0, 0, 1000), 1));
        let (channel, mut arrivals) = spsc::channel(16, Notify::default(), Notify::default());
        let (moves, seen) = (port.clone(), shared.clone());
        let (ended, end) = mpsc::channel();
        let main = move || async move {
            let targets = Rc::new(RefCell::new(vec![Target { channel, notify: Notify::default() }]));
            run(Source::new(None, Some(moves)), Port::Plain, targets, seen).await;
            ended.send(()).expect("the test waits");
        };
        let shard = rt::spawn(backend, None, "test", main).expect("a shard");
        let free = || {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            socket.local_addr().expect("its address").port()
        };
        let (first, second) = (free(), free());
        let mut clients = Vec::new();
        for (host, number) in
            [(None, first), (None, second), (Some("127.0.0.1"), second), (Some("::"), second)]
        {
            port.follow(&address(host, number));
            let until = Instant::now() + Duration::from_secs(20);
            while port.number() != Some(number) || !port.is_settled() {
                assert!(Instant::now() < until, "{backend:?}: {host:?}:{number}");
                std::thread::yield_now();
            }
            clients.push(arrives(number, &mut arrivals));
        }
        assert!(TcpStream::connect(("127.0.0.1", first)).is_err(), "{backend:?}: the old port is open");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let third = taken.local_addr().expect("its address").port();
        port.follow(&address(Some("127.0.0.1"), third));
        clients.push(arrives(second, &mut arrivals));
        drop(taken);
        clients.push(arrives(third, &mut arrivals));
        shared.set_phase(Phase::Stopping);
        // It looks after a connection.
        let _last = TcpStream::connect(("127.0.0.1", third));
        end.recv_timeout(Duration::from_secs(20)).expect("it ends");
        assert!(TcpStream::connect(("127.0.0.1", third)).is_err(), "{backend:?}: nothing accepts there");
        shard.join().expect("no panic");
    }
}
