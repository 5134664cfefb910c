//! One session and its socket, with SASL where the run has it.

use super::socket::Socket;
use crate::engine::wire::{self, Op};
use bytes::BufMut;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use zkfast::auth::sasl::login::{ClientExchange, ClientStep, LoginError};
use zkfast::client::login::Logins;
use zkfast::client::net::host_of;
use zkfast::proto::jute::{JuteWrite, Reader, frame};
use zkfast::proto::{
    ConnectRequest, ConnectResponse, ErrorCode, OpCode, PASSWORD_BYTES, ReplyHeader, SessionId, Zxid,
};

/// The session timeout that loadgen asks for, in milliseconds; a stock server grants 4,000 to 40,000.
const TIMEOUT_MS: i32 = 30_000;

/// A server that answers a session request later than this counts as unreachable.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// Sessions that are opened at once: enough for the server to group their commits, and below the 50 connections that
/// ZooKeeper's listener queues (`clientPortListenBacklog`). The kernel repeats a connect beyond those a second later.
const OPENING_MAX: usize = 32;

/// The largest reply outside the measured load, in bytes: a list of children may be long.
const REPLY_BYTES_MAX: usize = 512 << 20;

/// Who all sessions of this run are by SASL; where it is not set they have no SASL.
static LOGIN: OnceLock<Arc<dyn Logins>> = OnceLock::new();

/// Makes all later sessions prove who they are, on each connection, before they ask anything.
pub fn use_login(login: Arc<dyn Logins>) {
    assert!(LOGIN.set(login).is_ok(), "who sessions are is set once");
}

/// Why a session has no connection.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// The socket failed.
    #[error("{server}: {error}")]
    Io {
        /// Which server, as given.
        server: String,
        /// The error of the system.
        error: io::Error,
    },
    /// The server closed it.
    #[error("{server}: the server closed the connection")]
    Closed {
        /// Which server, as given.
        server: String,
    },
    /// The server closed one of several new connections.
    #[error(
        "{server}: the server closed connection {} of {wanted}: does it have a limit for one address \
         (maxClientCnxns, 60 where zoo.cfg has none)?", .opened + 1
    )]
    Refused {
        /// Which server, as given.
        server: String,
        /// Sessions that were open.
        opened: usize,
        /// Sessions that loadgen wanted to open.
        wanted: usize,
    },
    /// The server no longer knows the session.
    #[error("{server}: the session has expired")]
    Expired {
        /// Which server, as given.
        server: String,
    },
    /// The server does not accept who the session wants to be by SASL.
    #[error("{server}: {error} ({:?})", .error.code())]
    Login {
        /// Which server, as given.
        server: String,
        /// What it says.
        error: LoginError,
    },
    /// The server serves only sessions that have proved who they are, and this one has no way to.
    #[error(
        "{server}: the server serves only clients that prove by SASL who they are: see --jaas \
         (SessionClosedRequireSaslAuth)"
    )]
    RequiresSasl {
        /// Which server, as given.
        server: String,
    },
    /// The server broke the protocol.
    #[error("{server}: {what}")]
    Protocol {
        /// Which server, as given.
        server: String,
        /// What is wrong.
        what: String,
    },
}

/// A request without a reply yet.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When it was due (open loop) or sent (closed loop), in nanoseconds since the run's start.
    pub at_ns: u64,
    /// What it is.
    pub op: Op,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No socket.
    Closed,
    /// The socket is being connected.
    Connecting,
    /// The session request is sent and has no reply.
    Requesting,
    /// The session is granted and proves by SASL who it is: only tokens may be sent.
    Authenticating,
    /// The session is there; requests get replies.
    Open,
}

/// One session. Its socket blocks until [`Session::nonblocking`] is called.
#[derive(Debug)]
pub struct Session {
    /// The server, as given.
    pub server: String,
    /// How far it is.
    pub state: State,
    /// The session's id; [`SessionId::NONE`] before it is granted.
    pub id: SessionId,
    /// The session timeout that the server granted, in milliseconds.
    pub timeout_ms: u64,
    /// The newest zxid of its replies.
    pub zxid: i64,
    /// Requests without a reply, oldest first.
    pub sent: VecDeque<Sent>,
    /// Units of work in progress.
    pub units: usize,
    /// Whether closeSession was sent, so that the end of the connection is expected.
    pub is_closing: bool,
    /// The start of a reply whose end has not arrived.
    pub partial: Vec<u8>,
    /// Bytes that the socket has not taken yet.
    pub unsent: Vec<u8>,
    /// When the session sent last, in nanoseconds since the run's start.
    pub sent_at_ns: u64,
    /// When the session received last, or began to connect, in nanoseconds since the run's start.
    pub received_at_ns: u64,
    /// Number of its sockets so far; distinguishes events of the present socket from those of earlier ones.
    pub generation: u32,
    socket: Option<Socket>,
    exchange: Option<ClientExchange>,
    password: [u8; PASSWORD_BYTES],
    next_xid: i32,
    reply_xid: i32,
}

/// The server's answer to a session request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A new session.
    New,
    /// The session that was asked for, again.
    Again,
    /// No session: the one that was asked for has expired, or the server grants none.
    Refused,
}

impl Session {
    /// A session without a socket.
    pub fn unopened() -> Self {
        Self {
            server: String::new(),
            state: State::Closed,
            id: SessionId::NONE,
            timeout_ms: 0,
            zxid: 0,
            sent: VecDeque::new(),
            units: 0,
            is_closing: false,
            partial: Vec::new(),
            unsent: Vec::new(),
            sent_at_ns: 0,
            received_at_ns: 0,
            generation: 0,
            socket: None,
            exchange: None,
            password: [0; PASSWORD_BYTES],
            next_xid: 1,
            reply_xid: 1,
        }
    }

    /// Opens `count` sessions, spread over `servers` in turn.
    ///
    /// # Errors
    /// A server does not answer, refuses a session, or closes the connection.
    pub fn open_many(servers: &[String], count: usize) -> Result<Vec<Self>, NoConnection> {
        let mut sessions: Vec<Self> = Vec::with_capacity(count);
        while sessions.len() < count {
            let from = sessions.len();
            for index in from..count.min(from + OPENING_MAX) {
                sessions.push(Self::begin(&servers[index % servers.len()])?);
            }
            for (opened, session) in (from..).zip(&mut sessions[from..]) {
                let refused = |server| NoConnection::Refused { server, opened, wanted: count };
                session.finish().map_err(|error| match error {
                    NoConnection::Closed { server } if opened > 0 => refused(server),
                    NoConnection::Io { server, error }
                        if opened > 0 && error.kind() == io::ErrorKind::ConnectionReset =>
                    {
                        refused(server)
                    }
                    error => error,
                })?;
            }
        }
        Ok(sessions)
    }

    /// Opens one session.
    ///
    /// # Errors
    /// The server does not answer, refuses the session, or closes the connection.
    pub fn open(server: &str) -> Result<Self, NoConnection> {
        let mut session = Self::begin(server)?;
        session.finish()?;
        Ok(session)
    }

    fn begin(server: &str) -> Result<Self, NoConnection> {
        let failed = |error| NoConnection::Io { server: server.to_owned(), error };
        let stream = TcpStream::connect(server).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(CONNECT_WAIT)).map_err(failed)?;
        let mut session = Self::unopened();
        let mut socket = Socket::new(stream, server).map_err(failed)?;
        socket.write_all(&session.connect_request()).map_err(failed)?;
        session.server = server.to_owned();
        session.socket = Some(socket);
        session.state = State::Requesting;
        Ok(session)
    }

    fn finish(&mut self) -> Result<(), NoConnection> {
        let reply = self.read_frame()?;
        match self.take_grant(&reply)? {
            Granted::Refused => return Err(self.protocol("the server refused a new session".to_owned())),
            Granted::New | Granted::Again => {}
        }
        while self.state == State::Authenticating {
            let answer = self.read_frame()?;
            self.take_token(&answer)?;
        }
        Ok(())
    }

    /// Begins to connect to `address` without waiting; the socket becomes writable once it is connected.
    ///
    /// # Errors
    /// The system has no socket left, or knows already that the connect fails.
    pub fn connect(&mut self, server: &str, address: SocketAddr) -> io::Result<()> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        match net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        server.clone_into(&mut self.server);
        self.socket = Some(Socket::new(stream, server)?);
        self.state = State::Connecting;
        Ok(())
    }

    /// Asks for the session that it had before, or for a new one, on a socket that is connected.
    ///
    /// # Errors
    /// The connect failed, or the socket did.
    pub fn request_session(&mut self) -> Result<(), NoConnection> {
        if let Some(error) = self.stream().take_error().map_err(|error| self.io(error))? {
            return Err(self.io(error));
        }
        self.state = State::Requesting;
        let request = self.connect_request();
        self.send(&request)
    }

    fn connect_request(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::from_wire(self.zxid),
            timeout_ms: TIMEOUT_MS,
            session_id: self.id,
            password: Some(&self.password),
            read_only: Some(false),
        };
        frame(&mut out, |out| request.put(out));
        out
    }

    /// Takes the answer to the session request. Where the run has SASL, the session sends its first token.
    ///
    /// # Errors
    /// The answer is malformed, or grants another session; the socket failed.
    pub fn take_grant(&mut self, reply: &[u8]) -> Result<Granted, NoConnection> {
        let response = ConnectResponse::read(&mut Reader::new(reply))
            .map_err(|short| self.protocol(short.to_string()))?;
        let asked = std::mem::replace(&mut self.id, response.session_id);
        self.password = response.password;
        self.timeout_ms = u64::try_from(response.timeout_ms).unwrap_or(0);
        if self.id.is_none() || self.timeout_ms == 0 {
            self.forget();
            return Ok(Granted::Refused);
        }
        let granted = match asked {
            SessionId::NONE => Granted::New,
            asked if asked == self.id => Granted::Again,
            asked => return Err(self.protocol(format!("session {:#x} instead of {asked:#x}", self.id))),
        };
        self.begin_login()?;
        Ok(granted)
    }

    /// Opens the session, or begins to prove who it is.
    fn begin_login(&mut self) -> Result<(), NoConnection> {
        let Some(login) = LOGIN.get() else {
            self.state = State::Open;
            return Ok(());
        };
        let mut exchange = login.begin(host_of(&self.server)).map_err(|error| self.not_accepted(error))?;
        let first = exchange.first();
        self.exchange = Some(exchange);
        self.state = State::Authenticating;
        self.send_token(&first)
    }

    fn send_token(&mut self, token: &[u8]) -> Result<(), NoConnection> {
        let mut out = Vec::new();
        wire::put_request(&mut out, self.take_xid(), OpCode::SASL, |out| out.put_buffer(Some(token)));
        self.send(&out)
    }

    /// Takes the answer to a token, after which the session is open or has sent another one.
    ///
    /// # Errors
    /// The server does not accept who the session wants to be, or broke the protocol; the socket failed.
    pub fn take_token(&mut self, reply: &[u8]) -> Result<(), NoConnection> {
        let mut reader = Reader::new(reply);
        let header = ReplyHeader::read(&mut reader).map_err(|short| self.protocol(short.to_string()))?;
        let xid = self.take_reply_xid();
        if header.xid != xid {
            return Err(self.protocol(format!("reply to xid {} instead of {xid}", header.xid)));
        }
        // A server that refuses may leave the token out.
        let token = if header.err == ErrorCode::Ok.to_wire() { reader.buffer() } else { Ok(None) };
        let token = token.map_err(|short| self.protocol(short.to_string()))?;
        let mut exchange = self.exchange.take().expect("a session that authenticates has an exchange");
        match exchange.answer(header.err, token).map_err(|error| self.not_accepted(error))? {
            ClientStep::Done => self.state = State::Open,
            ClientStep::Sends(next) => {
                self.send_token(&next)?;
                self.exchange = Some(exchange);
            }
        }
        Ok(())
    }

    fn not_accepted(&self, error: LoginError) -> NoConnection {
        NoConnection::Login { server: self.server.clone(), error }
    }

    /// Checks the code of a reply: a server that wants SASL first refuses every request without it.
    ///
    /// # Errors
    /// [`NoConnection::RequiresSasl`].
    pub fn check_served(&self, err: i32) -> Result<(), NoConnection> {
        match err == ErrorCode::SessionClosedRequireSaslAuth.to_wire() {
            true => Err(NoConnection::RequiresSasl { server: self.server.clone() }),
            false => Ok(()),
        }
    }

    /// Closes the socket and forgets the requests in flight.
    pub fn disconnect(&mut self) {
        (self.socket, self.exchange) = (None, None);
        self.generation = self.generation.wrapping_add(1);
        self.state = State::Closed;
        self.sent.clear();
        self.units = 0;
        self.is_closing = false;
        self.partial.clear();
        self.unsent.clear();
        // Replies that never came do not count in the order of the next connection.
        self.reply_xid = self.next_xid;
    }

    /// Makes the next connection ask for a new session, as a client that has seen no zxid: a server with an older zxid
    /// would refuse it otherwise.
    pub fn forget(&mut self) {
        (self.id, self.zxid) = (SessionId::NONE, 0);
        self.password = [0; PASSWORD_BYTES];
    }

    /// The socket, past its TLS.
    pub fn stream(&self) -> &TcpStream {
        self.socket.as_ref().expect("only a closed session has no socket").tcp()
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("only a closed session has no socket")
    }

    /// Makes the socket non-blocking.
    pub fn nonblocking(&self) -> Result<(), NoConnection> {
        self.stream().set_nonblocking(true).map_err(|error| self.io(error))
    }

    /// The xid of the next request.
    pub fn take_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid = following(xid);
        xid
    }

    /// The xid that the next reply must have.
    pub fn take_reply_xid(&mut self) -> i32 {
        let xid = self.reply_xid;
        self.reply_xid = following(xid);
        xid
    }

    /// Sends `bytes` and keeps what the socket does not take.
    ///
    /// # Errors
    /// The socket failed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), NoConnection> {
        let written = if self.unsent.is_empty() { self.try_write(bytes)? } else { 0 };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Sends the bytes that the socket did not take before.
    ///
    /// # Errors
    /// The socket failed.
    pub fn send_rest(&mut self) -> Result<(), NoConnection> {
        if !self.socket().send_sealed().map_err(|error| self.io(error))? || self.unsent.is_empty() {
            return Ok(());
        }
        let rest = std::mem::take(&mut self.unsent);
        let written = self.try_write(&rest)?;
        self.unsent = rest;
        self.unsent.drain(..written);
        Ok(())
    }

    /// Writes once: a short write means that the socket is full, and epoll reports when it has room.
    fn try_write(&mut self, bytes: &[u8]) -> Result<usize, NoConnection> {
        loop {
            match self.socket().write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
    }

    /// Reads one frame and waits for it.
    ///
    /// # Errors
    /// The connection ended, no frame came in time, or its length is not one of a reply.
    pub fn read_frame(&mut self) -> Result<Vec<u8>, NoConnection> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = i32::from_be_bytes(length);
        let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= REPLY_BYTES_MAX);
        let bytes = bytes.ok_or_else(|| self.protocol(format!("a frame of {length} bytes")))?;
        let mut reply = vec![0; bytes];
        self.read_exact(&mut reply)?;
        Ok(reply)
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), NoConnection> {
        self.socket().read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.closed(),
            ErrorKind::WouldBlock => self.protocol("no answer within 30 s".to_owned()),
            _ => self.io(error),
        })
    }

    /// Asks the server to end these sessions and waits for that, at most a second each.
    ///
    /// A client that only closes its socket leaves a session that lives until its timeout.
    pub fn close_all(mut sessions: Vec<Self>) {
        let mut close = Vec::new();
        frame(&mut close, |out| {
            out.put_i32(0);
            out.put_i32(OpCode::CLOSE_SESSION.0);
        });
        let open = |session: &Self| session.state == State::Open && !session.is_closing;
        for session in sessions.iter_mut().filter(|session| open(session)) {
            // A connection that fails here has ended already.
            let _ = session.stream().set_nonblocking(false);
            let _ = session.stream().set_read_timeout(Some(Duration::from_secs(1)));
            let _ = session.socket().write_all(&close);
        }
        let mut scratch = [0; 4096];
        for session in sessions.iter_mut().filter(|session| open(session)) {
            while matches!(session.socket().read(&mut scratch), Ok(read) if read > 0) {}
        }
    }

    /// The error of a socket that failed.
    pub fn io(&self, error: io::Error) -> NoConnection {
        NoConnection::Io { server: self.server.clone(), error }
    }

    /// The error of a connection that the server closed.
    pub fn closed(&self) -> NoConnection {
        NoConnection::Closed { server: self.server.clone() }
    }

    /// The error of a session that has expired.
    pub fn expired(&self) -> NoConnection {
        NoConnection::Expired { server: self.server.clone() }
    }

    /// The error of a server that was silent for `silent_ns`.
    pub fn timed_out(&self, silent_ns: u64) -> NoConnection {
        let silent = Duration::from_nanos(silent_ns);
        self.io(io::Error::new(ErrorKind::TimedOut, format!("no answer for {silent:.1?}")))
    }

    /// The error of a server that broke the protocol, so that the rest of its bytes cannot be read.
    pub fn protocol(&self, what: String) -> NoConnection {
        NoConnection::Protocol { server: self.server.clone(), what }
    }
}

/// The xid after `xid`. xids of requests are positive: the protocol uses negative ones for pings and events.
const fn following(xid: i32) -> i32 {
    if xid == i32::MAX { 1 } else { xid + 1 }
}
