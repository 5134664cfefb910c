//! Listening sockets for clients and for HTTP, before anything watches them.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted, unless `clientPortListenBacklog` says otherwise.
const BACKLOG: i32 = 1024;

/// The pause before the next attempt to bind a port that is taken.
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

/// The same, with one try.
///
/// # Errors
/// What the system says.
pub fn bind_now(
    ip: Option<IpAddr>,
    port: u16,
    backlog: Option<u32>,
    keep_alive: bool,
) -> io::Result<TcpListener> {
    let listen = |address| listen(address, self::backlog(backlog), keep_alive);
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

/// How many connections may wait, as the kernel takes it.
pub fn backlog(configured: Option<u32>) -> i32 {
    configured.map_or(BACKLOG, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX))
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
