//! Accepts client connections and hands them to the view shards.

use super::logging::{Text, provoked};
use super::rt::{Accepted, Listener};
use super::spsc::{Notify, Producer};
use super::tls::Port;
use super::{EXIT_HOST, Phase, Shared, exit, rt};
use log::Level;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted, unless `clientPortListenBacklog` says otherwise.
const BACKLOG: i32 = 1024;

/// Connections that are accepted before other tasks of the shard have their turn.
const ACCEPTED_AT_ONCE_MAX: u32 = 64;

/// The pause before the next attempt to bind a port that is taken, or to accept while no descriptor is left.
const PAUSE: Duration = Duration::from_millis(50);

/// How long [`bind`] waits for a port that is taken: the kernel keeps the port of a killed server until it has released
/// that server's io_uring.
const TAKEN_MAX: Duration = Duration::from_secs(3);

/// The first address of a name, one of IPv4 before those of IPv6: `localhost` is 127.0.0.1. Source:
/// `InetAddress.getByName`.
///
/// # Errors
/// What the system says.
pub fn resolve(name: &str) -> io::Result<Option<IpAddr>> {
    let found: Vec<IpAddr> = (name, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    Ok(found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied())
}

/// Listens on `ip`, or on every address of both families. Connections inherit the options of the socket.
///
/// # Errors
/// The port is still taken after 3 s (a second server of the same user does not share it), or the system refuses.
pub fn bind(
    ip: Option<IpAddr>,
    port: u16,
    backlog: Option<u32>,
    keep_alive: bool,
) -> io::Result<TcpListener> {
    let since = Instant::now();
    loop {
        match bind_now(ip, port, backlog, keep_alive) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && since.elapsed() < TAKEN_MAX => {
                std::thread::sleep(PAUSE);
            }
            bound => return bound,
        }
    }
}

fn bind_now(
    ip: Option<IpAddr>,
    port: u16,
    backlog: Option<u32>,
    keep_alive: bool,
) -> io::Result<TcpListener> {
    let backlog = backlog.map_or(BACKLOG, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX));
    let listen = |address| listen(address, backlog, keep_alive);
    match ip {
        Some(ip) => listen(SocketAddr::new(ip, port)),
        None => match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            // The host has no IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            bound => bound,
        },
    }
}

fn listen(address: SocketAddr, backlog: i32, keep_alive: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // The kernel sends small messages at once.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(keep_alive)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

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

/// Accepts connections of a port until the server stops. Ports share the targets.
pub async fn run(listener: TcpListener, port: Port, targets: Rc<RefCell<Vec<Target>>>, shared: Arc<Shared>) {
    let listener = match Listener::adopt(listener) {
        Ok(listener) => listener,
        Err(error) => exit(EXIT_HOST, format_args!("the client port cannot be watched: {error}")),
    };
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
        let accepted = match listener.accept().await {
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
    use super::*;
    use socket2::SockRef;

    /// An accepted connection has the options of the listening socket.
    #[test]
    fn connections_inherit_options() {
        for keep_alive in [false, true] {
            let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0, None, keep_alive).expect("a port");
            let address = listener.local_addr().expect("its address");
            let _client = std::net::TcpStream::connect(address).expect("connected");
            let (accepted, _) = listener.accept().expect("a connection is waiting");
            let options = SockRef::from(&accepted);
            assert!(options.tcp_nodelay().expect("an option"));
            assert_eq!(options.keepalive().expect("an option"), keep_alive);
        }
    }
}
