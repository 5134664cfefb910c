//! What systemd hears of a server: `NOTIFY_SOCKET` and `WATCHDOG_USEC`, as for a unit with `Type=notify`.

use crate::harness::{Kind, Server, alone};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a message may take: a busy machine starts a server within this.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);

/// systemd's end of the socket, and the name under which a server finds it.
struct Systemd {
    socket: UnixDatagram,
    name: String,
}

impl Systemd {
    /// A socket without a file; `test` tells those of this process apart.
    fn new(test: &str) -> Self {
        let name = format!("zkfast-{test}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        socket.set_read_timeout(Some(MESSAGE_TIMEOUT)).expect("a time-out");
        Self { socket, name: format!("@{name}") }
    }

    /// The environment of the unit's process.
    fn environment(&self, watchdog: Duration) -> Vec<(&'static str, String)> {
        vec![("NOTIFY_SOCKET", self.name.clone()), ("WATCHDOG_USEC", watchdog.as_micros().to_string())]
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message of the server");
        String::from_utf8(bytes[..length].to_vec()).expect("UTF-8")
    }

    /// The first message from here on that begins so.
    fn first(&self, begin: &str) -> String {
        loop {
            let message = self.next();
            if message.starts_with(begin) {
                return message;
            }
            assert!(!message.starts_with("READY=1"), "{message:?} before {begin:?}");
        }
    }
}

/// A server is ready once it listens, then gives signs of life, and says that it stops.
#[test]
fn a_server_tells_systemd() {
    let _alone = alone();
    let systemd = Systemd::new("tells");
    let mut server = Server::new(Kind::Zkfast, &[]);
    server.set_environment(systemd.environment(Duration::from_secs(4)));
    server.spawn();
    let ready = systemd.first("READY=1");
    let port = server.address().port();
    assert_eq!(ready, format!("READY=1\nSTATUS=started: mode=standalone clientPort={port}"));
    TcpStream::connect(server.address()).expect("a server that is ready listens");
    (0..2).for_each(|_| assert_eq!(systemd.next(), "WATCHDOG=1"));
    server.pause();
    server.resume();
    assert_eq!(systemd.first("WATCHDOG"), "WATCHDOG=1");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(systemd.first("STOPPING"), "STOPPING=1\nSTATUS=stopping");
}

/// `systemctl status` says why a server has ended.
#[test]
fn systemd_hears_why_a_start_failed() {
    let _alone = alone();
    let systemd = Systemd::new("failed");
    let mut server = Server::new(Kind::Zkfast, &[]);
    let _other = TcpListener::bind(server.address()).expect("the server's port");
    server.set_environment(systemd.environment(Duration::ZERO));
    assert_eq!(server.start_and_fail(), Some(4));
    let status = systemd.first("STATUS=ended");
    assert!(status.contains(&format!("clientPort={}", server.address().port())), "{status}");
}
