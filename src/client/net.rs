//! A client connection on a blocking socket.

use super::login::Logins;
use super::session::{Body, Incoming, Reply, Request, Session, SessionError};
use crate::auth::sasl::login::{ClientStep, LoginError};
use crate::proto::{ConnectRequest, ConnectResponse, PASSWORD_BYTES, SessionId, Zxid};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server closed it.
    #[error("connection closed by the server")]
    Closed,
    /// Nothing, or not all of a frame, came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server does not know the session, or not with this password.
    #[error("session is expired, unknown or has another password")]
    Refused,
    /// The server does not accept who the client wants to be.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The server broke the protocol.
    #[error(transparent)]
    Protocol(#[from] SessionError),
    /// Any other trouble of the socket.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How to open a session.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Session timeout to ask for, in milliseconds.
    pub timeout_ms: i32,
    /// Id and password of a session to attach to again; `None` for a new one.
    pub session: Option<(SessionId, [u8; PASSWORD_BYTES])>,
    /// Newest zxid seen so far.
    pub last_zxid_seen: Zxid,
    /// Whether a read-only server will do; `None` sends the 44 bytes of clients before 3.4.
    pub read_only: Option<bool>,
}

impl Default for Connect {
    fn default() -> Self {
        Self { timeout_ms: 30_000, session: None, last_zxid_seen: Zxid::ZERO, read_only: Some(false) }
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
pub fn host_of(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']'])
}

/// What goes over a socket beside plain bytes: TLS.
pub trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// Puts what goes over it on a socket that is connected to `host`. [`crate::tls`] has one, with its feature.
pub trait Secure: std::fmt::Debug + Send + Sync {
    /// The socket's own timeouts bound each read and write.
    ///
    /// # Errors
    /// `host` is no name that a certificate can have. That the server is not who it must be shows at the first read or write.
    fn secure(&self, socket: TcpStream, host: &str) -> io::Result<Box<dyn Wire>>;
}

/// What protects a client's connections, and who it proves to be on each.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Puts what goes over it on a socket; `None` for plain bytes.
    pub secure: Option<Arc<dyn Secure>>,
    /// Proves by SASL who the client is, before it asks anything; `None` for a client without SASL.
    pub login: Option<Arc<dyn Logins>>,
}

/// Bytes read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// One TCP connection and what is in flight on it.
///
/// Requests are collected by [`queue`](Self::queue) and leave with [`flush`](Self::flush); what comes
/// back is taken with [`receive`](Self::receive), replies and events in the order in which they came.
pub struct Connection {
    stream: TcpStream,
    /// What goes over the socket, where that is not plain bytes.
    wire: Option<Box<dyn Wire>>,
    session: Session,
    output: Vec<u8>,
    scratch: Box<[u8]>,
    timeout: Duration,
    response: ConnectResponse,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stream, wire, session, .. } = self;
        let is_secured = wire.is_some();
        f.debug_struct("Connection")
            .field("stream", stream)
            .field("is_secured", &is_secured)
            .field("session", session)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to `address` without opening a session. `timeout` bounds the connect, and later each
    /// wait for one answer and each write.
    pub fn open(address: SocketAddr, timeout: Duration) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self {
            stream,
            wire: None,
            session: Session::default(),
            output: Vec::new(),
            scratch: vec![0; READ_BYTES].into(),
            timeout,
            response: ConnectResponse::expired(None),
        })
    }

    /// Sets the bound of each wait for one answer and of each write from now on.
    ///
    /// # Errors
    /// The socket does not take it, as it does not take zero.
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.stream.set_write_timeout(Some(timeout))?;
        self.timeout = timeout;
        Ok(())
    }

    /// Connects and opens, or attaches to, a session.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where the server does not know the session;
    /// [`ClientError::Closed`] where it has not seen `last_zxid_seen` itself.
    pub fn connect(address: SocketAddr, connect: &Connect, timeout: Duration) -> Result<Self, ClientError> {
        let mut connection = Self::open(address, timeout)?;
        connection.handshake(connect)?;
        if connection.response.timeout_ms <= 0 { Err(ClientError::Refused) } else { Ok(connection) }
    }

    /// As [`connect`](Self::connect), with what `security` has; `host` is whom `address` is of. The client has proved who it
    /// is when this returns, so that no request comes before.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), [`ClientError::Io`] where the server is not who it must be, and
    /// [`ClientError::Login`].
    pub fn connect_secured(
        address: SocketAddr,
        (security, host): (&Security, &str),
        connect: &Connect,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let mut connection = Self::open(address, timeout)?;
        if let Some(secure) = &security.secure {
            connection.stream.set_read_timeout(Some(timeout))?;
            connection.wire = Some(secure.secure(connection.stream.try_clone()?, host)?);
        }
        connection.handshake(connect)?;
        if connection.response.timeout_ms <= 0 {
            return Err(ClientError::Refused);
        }
        if let Some(login) = &security.login
            && let Err(error) = connection.log_in(&**login, host)
        {
            // A server that lets such clients stay need not keep the session.
            connection.queue(&Request::CloseSession);
            let _ = connection.flush();
            return Err(error);
        }
        Ok(connection)
    }

    /// Proves who the client is. Nothing but tokens is sent until that is over.
    fn log_in(&mut self, login: &dyn Logins, host: &str) -> Result<(), ClientError> {
        let mut exchange = login.begin(host)?;
        let mut token = exchange.first();
        loop {
            // A new connection has no watches, so that nothing comes before the answer.
            let reply = self.call(&Request::Sasl { token }, &mut Vec::new())?;
            let answer = match &reply.body {
                Body::Token(token) => token.as_deref(),
                _ => None,
            };
            match exchange.answer(reply.header.err, answer)? {
                ClientStep::Sends(next) => token = next,
                ClientStep::Done => return Ok(()),
            }
        }
    }

    /// Sends the connect request and waits for the response, a refusal included.
    pub fn handshake(&mut self, connect: &Connect) -> Result<&ConnectResponse, ClientError> {
        let (session_id, password) = connect.session.unwrap_or_default();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: connect.last_zxid_seen,
            timeout_ms: connect.timeout_ms,
            session_id,
            password: Some(&password),
            read_only: connect.read_only,
        };
        Session::put_connect(&request, &mut self.output);
        self.flush()?;
        self.response = self.wait(self.timeout, Session::next_connect)?;
        Ok(&self.response)
    }

    /// What the server answered to the connect request.
    pub fn response(&self) -> &ConnectResponse {
        &self.response
    }

    /// Id and password, to attach to this session again.
    pub fn identity(&self) -> (SessionId, [u8; PASSWORD_BYTES]) {
        (self.response.session_id, self.response.password)
    }

    /// Requests in flight, and the newest zxid seen.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Adds `request` to what the next flush sends; gives its xid.
    pub fn queue(&mut self, request: &Request) -> i32 {
        self.session.put(request, &mut self.output)
    }

    /// Adds bytes as they are; no answer is expected.
    pub fn queue_bytes(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let sent = match &mut self.wire {
            Some(wire) => wire.write_all(&self.output).and_then(|()| wire.flush()),
            None => self.stream.write_all(&self.output),
        };
        self.output.clear();
        sent.map_err(|error| self.explain(error, self.timeout))
    }

    /// The next reply or event, waiting for it.
    pub fn receive(&mut self) -> Result<Incoming, ClientError> {
        self.receive_within(self.timeout)
    }

    /// As [`receive`](Self::receive), with a bound of its own.
    pub fn receive_within(&mut self, timeout: Duration) -> Result<Incoming, ClientError> {
        self.wait(timeout, Session::next)
    }

    /// Sends one request and gives its reply; what came before it goes to `before`.
    pub fn call(&mut self, request: &Request, before: &mut Vec<Incoming>) -> Result<Reply, ClientError> {
        let xid = self.queue(request);
        self.flush()?;
        loop {
            match self.receive()? {
                Incoming::Reply(reply) if reply.header.xid == xid => return Ok(reply),
                other => before.push(other),
            }
        }
    }

    /// A second handle of the socket, for a thread that only writes where nothing else is on it, or to end it from elsewhere.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Ends the connection; the session lives on until its timeout.
    pub fn shut_down(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn wait<T>(
        &mut self,
        timeout: Duration,
        next: fn(&mut Session) -> Result<Option<T>, SessionError>,
    ) -> Result<T, ClientError> {
        let mut deadline = None;
        loop {
            if let Some(item) = next(&mut self.session)? {
                return Ok(item);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::Timeout(timeout));
            }
            self.stream.set_read_timeout(Some(left))?;
            let read = match &mut self.wire {
                Some(wire) => wire.read(&mut self.scratch),
                None => self.stream.read(&mut self.scratch),
            };
            match read {
                Ok(0) => return Err(ClientError::Closed),
                Ok(bytes) => self.session.feed(&self.scratch[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(error, timeout)),
            }
        }
    }

    fn explain(&self, error: io::Error, timeout: Duration) -> ClientError {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, WouldBlock};
        match error.kind() {
            WouldBlock | TimedOut => ClientError::Timeout(timeout),
            // A server that closes with our bytes unread makes the kernel send a reset.
            BrokenPipe | ConnectionAborted | ConnectionReset => ClientError::Closed,
            _ => ClientError::Io(error),
        }
    }
}

/// Sends a four-letter word and gives all that the server sends before it closes.
pub fn four_letter_word(address: SocketAddr, word: &str, timeout: Duration) -> Result<String, ClientError> {
    ask_word(address, None, word, timeout)
}

/// As [`four_letter_word`], with `secure` on the socket; `host` is whom `address` is of.
pub fn four_letter_word_secured(
    address: SocketAddr,
    (secure, host): (&dyn Secure, &str),
    word: &str,
    timeout: Duration,
) -> Result<String, ClientError> {
    ask_word(address, Some((secure, host)), word, timeout)
}

fn ask_word(
    address: SocketAddr,
    secure: Option<(&dyn Secure, &str)>,
    word: &str,
    timeout: Duration,
) -> Result<String, ClientError> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut wire: Box<dyn Wire> = match secure {
        Some((secure, host)) => secure.secure(stream, host)?,
        None => Box::new(stream),
    };
    wire.write_all(word.as_bytes())?;
    wire.flush()?;
    let mut answer = Vec::new();
    wire.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
