//! A connection to another server: plain, with TLS, or not yet known which. Nothing of it waits.

use crate::config::TlsConfig;
use crate::tls::{Acceptor, Connector, HANDSHAKE, PLAIN_BYTES_MIN, SEALED_BYTES, Session, Stores};
use mio::net::TcpStream;
use rustls::pki_types::CertificateDer;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Plain bytes that are sealed before what is sealed is sent.
const SEALED_AT_ONCE_MAX: usize = 64 << 10;

/// How servers connect to each other.
#[derive(Clone, Default)]
pub struct PeerTls {
    /// Those that connect may, or must, speak TLS.
    acceptor: Option<Arc<Acceptor>>,
    /// This server speaks TLS where it connects.
    connector: Option<Arc<Connector>>,
    /// Those that connect may also speak without.
    is_either: bool,
    /// Hosts of all server lines.
    hosts: Vec<String>,
}

impl PeerTls {
    /// With `connects` this server speaks TLS where it connects; with `is_either` others may connect without.
    ///
    /// # Errors
    /// Names the key of the configuration, the file, and what is wrong.
    pub fn new(
        config: TlsConfig,
        connects: bool,
        is_either: bool,
        hosts: Vec<String>,
    ) -> Result<Self, String> {
        let connector = match connects {
            true => Some(Arc::new(Connector::new(config.clone())?)),
            false => None,
        };
        Ok(Self { acceptor: Some(Arc::new(Acceptor::new(config)?)), connector, is_either, hosts })
    }

    /// Follows a change of the server lines.
    pub fn set_hosts(&mut self, hosts: Vec<String>) {
        self.hosts = hosts;
    }

    /// What begins connections, for those who look after files.
    pub fn stores(&self) -> (Option<&Arc<Acceptor>>, Option<&Arc<Connector>>) {
        (self.acceptor.as_ref(), self.connector.as_ref())
    }

    /// How long a handshake may take.
    pub fn handshake_timeout(&self) -> Duration {
        let config = self.acceptor.as_ref().map(|acceptor| acceptor.config());
        Duration::from_millis(config.map_or(0, |config| config.handshake_timeout_ms).into())
    }

    /// A connection that another server has made.
    ///
    /// # Errors
    /// What rustls says.
    pub fn accepted(&self, tcp: TcpStream) -> io::Result<PeerStream> {
        let state = match &self.acceptor {
            None => State::Plain,
            Some(_) if self.is_either => State::Unknown,
            Some(acceptor) => State::Tls(Box::new(acceptor.begin()?)),
        };
        Ok(PeerStream { tcp, state })
    }

    /// A connection that this server makes to `host`.
    ///
    /// # Errors
    /// `host` is no name that a certificate can have.
    pub fn connected(&self, tcp: TcpStream, host: &str) -> io::Result<PeerStream> {
        let state = match &self.connector {
            None => State::Plain,
            Some(connector) => State::Tls(Box::new(connector.begin(host)?)),
        };
        Ok(PeerStream { tcp, state })
    }

    /// Goes on with the handshake as far as that goes now; true once the connection is open.
    ///
    /// # Errors
    /// The connection is lost, or the other side is not who it must be.
    pub fn open(&self, stream: &mut PeerStream) -> io::Result<bool> {
        if matches!(stream.state, State::Unknown) {
            let mut first = [0];
            match stream.tcp.peek(&mut first) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            stream.state = match &self.acceptor {
                Some(acceptor) if first[0] == HANDSHAKE => State::Tls(Box::new(acceptor.begin()?)),
                _ => State::Plain,
            };
        }
        let PeerStream { tcp, state: State::Tls(session) } = stream else { return Ok(true) };
        if !shake_hands(tcp, session)? {
            return Ok(false);
        }
        if session.is_server()
            && let (Some(acceptor), Some(certificate)) = (&self.acceptor, session.certificate())
        {
            let address = tcp.peer_addr()?.ip();
            self.check(acceptor, certificate, address)
                .map_err(|why| io::Error::new(ErrorKind::PermissionDenied, why))?;
        }
        Ok(true)
    }

    /// Whether the certificate of a server that connects names its address, or the host of a server line, where it must.
    fn check(
        &self,
        acceptor: &Acceptor,
        certificate: &CertificateDer<'_>,
        address: IpAddr,
    ) -> Result<(), String> {
        let hosts = self.hosts.iter().map(String::as_str);
        match !acceptor.config().verify_client_host || acceptor.names(certificate, address, hosts) {
            true => Ok(()),
            false => Err(format!("its certificate names neither {address} nor the host of a server line")),
        }
    }
}

/// True once both sides are sure of each other, and this one has sent all that the other needs for it.
fn shake_hands(tcp: &mut TcpStream, session: &mut Session) -> io::Result<bool> {
    // What comes behind the handshake is not read here: a session keeps 16 KiB of plain bytes at most.
    let mut sealed = [0; 4096];
    loop {
        let is_sent = match session.send(tcp) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        if !session.is_handshaking() {
            return Ok(is_sent);
        }
        match tcp.read(&mut sealed) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it ended within the handshake")),
            Ok(bytes) => {
                if let Err(error) = session.take(&sealed[..bytes]) {
                    // The other side is told why, as far as that goes.
                    let _ = session.send(tcp);
                    return Err(error);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// See the module's page.
pub struct PeerStream {
    tcp: TcpStream,
    state: State,
}

enum State {
    Plain,
    /// The first byte tells whether the other side speaks TLS.
    Unknown,
    Tls(Box<Session>),
}

impl PeerStream {
    /// The socket.
    pub fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// Where the other end is.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// True if nothing comes before the bytes of the protocol.
    pub fn is_plain(&self) -> bool {
        matches!(self.state, State::Plain)
    }

    /// True if less than there was room for is not all that there is.
    pub fn may_hold_more(&self) -> bool {
        !self.is_plain()
    }

    /// Reads into `out`; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; else the connection is lost.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let State::Tls(session) = &mut self.state else { return self.tcp.read(out) };
        assert!(out.len() >= PLAIN_BYTES_MIN, "there is room for {} bytes", out.len());
        let mut sealed = [0; SEALED_BYTES];
        loop {
            let held = session.read(out)?;
            if held > 0 {
                return Ok(held);
            }
            if session.is_ended() {
                return Ok(0);
            }
            // Keys that change, and alerts.
            match session.send(&mut self.tcp) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            match self.tcp.read(&mut sealed)? {
                0 => return Ok(0),
                bytes => {
                    let opened = session.open(&sealed[..bytes], out)?;
                    if opened > 0 {
                        return Ok(opened);
                    }
                }
            }
        }
    }

    /// Takes of `slices` what can be sent now, or sealed; says how much.
    ///
    /// # Errors
    /// `WouldBlock` where nothing can; else the connection is lost.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let State::Tls(session) = &mut self.state else { return self.tcp.write_vectored(slices) };
        session.send(&mut self.tcp)?;
        let mut taken = 0;
        for slice in slices {
            let bytes = slice.len().min(SEALED_AT_ONCE_MAX - taken);
            session.seal(&slice[..bytes])?;
            taken += bytes;
        }
        match session.send(&mut self.tcp) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// True if something is sealed and not sent.
    pub fn has_unsent(&self) -> bool {
        match &self.state {
            State::Tls(session) => session.has_unsent(),
            State::Plain | State::Unknown => false,
        }
    }

    /// Sends what is sealed.
    ///
    /// # Errors
    /// `WouldBlock` where not all of it goes; else the connection is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Tls(session) => session.send(&mut self.tcp),
            State::Plain | State::Unknown => Ok(()),
        }
    }

    /// The other side is to hear that this is the end.
    pub fn end(&mut self) {
        if let State::Tls(session) = &mut self.state {
            session.end();
            // As far as there is room: the connection ends all the same.
            let (_, _) = (session.send(&mut self.tcp), self.tcp.shutdown(Shutdown::Write));
        }
    }
}
