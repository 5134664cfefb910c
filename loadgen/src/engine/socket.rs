//! A session's socket, with TLS where the run has it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use zkfast::client::net::host_of;
use zkfast::tls::{Connector, PLAIN_BYTES_MIN, SEALED_BYTES, Session};

/// What all connections of this run are begun with; none has TLS where it is not set.
static TLS: OnceLock<Connector> = OnceLock::new();

/// Gives all later connections TLS.
pub fn use_tls(connector: Connector) {
    assert!(TLS.set(connector).is_ok(), "TLS is set once");
}

/// See the module's page.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    tls: Option<Box<Secured>>,
}

struct Secured {
    session: Session,
    sealed: Box<[u8]>,
    /// Plain bytes that had no room when they were opened, and how many of them were taken.
    opened: Box<[u8]>,
    taken: usize,
    held: usize,
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Socket {
    /// A socket that is or will be connected to `server`, as `host:port`.
    ///
    /// # Errors
    /// The host is no name that a certificate can have.
    pub fn new(tcp: TcpStream, server: &str) -> io::Result<Self> {
        let Some(connector) = TLS.get() else { return Ok(Self { tcp, tls: None }) };
        let session = connector.begin(host_of(server))?;
        let sealed = vec![0; SEALED_BYTES].into();
        let opened = vec![0; PLAIN_BYTES_MIN].into();
        Ok(Self { tcp, tls: Some(Box::new(Secured { session, sealed, opened, taken: 0, held: 0 })) })
    }

    /// The socket itself.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// True if a read that fills less than there was room for may leave something behind.
    pub fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends what is sealed, as far as the socket takes it; says whether that was all.
    ///
    /// # Errors
    /// The socket failed.
    pub fn send_sealed(&mut self) -> io::Result<bool> {
        let Self { tcp, tls: Some(tls) } = self else { return Ok(true) };
        match tls.session.send(tcp) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.tcp.read(out);
        }
        loop {
            // The handshake goes on with what is received.
            self.send_sealed()?;
            let Self { tcp, tls: Some(tls) } = self else { unreachable!("seen above") };
            if tls.held > tls.taken {
                let bytes = out.len().min(tls.held - tls.taken);
                out[..bytes].copy_from_slice(&tls.opened[tls.taken..tls.taken + bytes]);
                tls.taken += bytes;
                return Ok(bytes);
            }
            let bytes = tcp.read(&mut tls.sealed)?;
            if bytes == 0 {
                return Ok(0);
            }
            // Straight to where it is wanted, if there is room for all that may come.
            if out.len() >= PLAIN_BYTES_MIN {
                let opened = tls.session.open(&tls.sealed[..bytes], out)?;
                if opened > 0 {
                    return Ok(opened);
                }
                continue;
            }
            (tls.taken, tls.held) = (0, tls.session.open(&tls.sealed[..bytes], &mut tls.opened)?);
        }
    }
}

impl Write for Socket {
    /// With TLS all of `bytes` is sealed at once, and sent as far as the socket takes it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.write(bytes) };
        tls.session.seal(bytes)?;
        self.send_sealed()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_sealed().map(drop)
    }
}
