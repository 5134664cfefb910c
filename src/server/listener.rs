//! Takes connections in and hands them to the view shards.

use super::logging::{Text, provoked};
use super::rt::{Accepted, Listener};
use super::spsc::{Notify, Producer};
use super::{EXIT_HOST, Phase, Shared, exit, rt};
use log::Level;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted, unless `clientPortListenBacklog` says otherwise.
const BACKLOG: i32 = 1024;

/// Before the next try: of a port that is taken, of accepting where no descriptor is left.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a port may be taken: a server that was killed holds its own for a moment after it is gone,
/// until the kernel has taken its io_uring apart.
const TAKEN_MAX: Duration = Duration::from_secs(3);

/// Listens on `ip`, or on every address of both families. Connections inherit the options of the socket.
///
/// # Errors
/// The port is taken, also by a second server of the same user: the port is not shared.
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
            // A host without IPv6.
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
    // Small messages go at once.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(keep_alive)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A view shard as the listener sees it.
pub struct Target {
    /// Where its connections go.
    pub channel: Producer<Accepted>,
    /// Wakes it.
    pub notify: Notify,
}

/// Accepts until the server stops.
pub async fn run(listener: TcpListener, mut targets: Vec<Target>, shared: Arc<Shared>) {
    let listener = match Listener::adopt(listener) {
        Ok(listener) => listener,
        Err(error) => exit(EXIT_HOST, format_args!("the client port cannot be watched: {error}")),
    };
    let mut next = 0;
    while shared.phase() == Phase::Running {
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
                // One connection that is gone already is nothing; no descriptors is, and passes.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    let line = format_args!("accept failed: error={}", Text(&error));
                    provoked(Level::Warn, "listener", "accept failed", "error of the system", line);
                    rt::sleep(PAUSE).await;
                }
                continue;
            }
        };
        // In turn: connections live long, and their number per shard stays even.
        next = (next + 1) % targets.len();
        let mut message = accepted;
        while let Err(back) = targets[next].channel.put(message) {
            message = back;
            targets[next].notify.notify();
            rt::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;

    #[test]
    fn connections_inherit_options() {
        for keep_alive in [false, true] {
            let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0, None, keep_alive).expect("a port");
            let address = listener.local_addr().expect("its address");
            let _client = std::net::TcpStream::connect(address).expect("connected");
            let (accepted, _) = listener.accept().expect("it waits already");
            let options = SockRef::from(&accepted);
            assert!(options.tcp_nodelay().expect("told"));
            assert_eq!(options.keepalive().expect("told"), keep_alive);
        }
    }
}
