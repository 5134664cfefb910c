//! One session and its socket.

use crate::wire::{self, Op};
use bytes::BufMut;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use zkfast::proto::jute::{Reader, frame};
use zkfast::proto::{ConnectRequest, ConnectResponse, OpCode, PASSWORD_BYTES, Zxid};

/// Session timeout that is asked for, in milliseconds; a stock server grants 4,000 to 40,000.
const TIMEOUT_MS: i32 = 30_000;
/// A server that answers a connect request later than this is taken as not there.
const CONNECT_WAIT: Duration = Duration::from_secs(30);
/// Sessions that are being opened at once: enough for the server to group their commits, and below the
/// 50 connections that ZooKeeper's listener queues (`clientPortListenBacklog`); those beyond are sent
/// again by the kernel a second later.
const OPENING_MAX: usize = 32;
/// Largest reply that is read outside the measured loop: a list of children may be long.
const REPLY_BYTES_MAX: usize = 512 << 20;

/// No connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// The socket failed.
    #[error("{server}: {error}")]
    Io {
        /// Which server, as given.
        server: String,
        /// What the system says.
        error: io::Error,
    },
    /// The server ended it.
    #[error("{server}: the server closed the connection")]
    Closed {
        /// Which server, as given.
        server: String,
    },
    /// The server ended one of several as they began.
    #[error(
        "{server}: the server closed connection {} of {wanted}: does it have a limit for one address \
         (maxClientCnxns, 60 where zoo.cfg has none)?", .opened + 1
    )]
    Refused {
        /// Which server, as given.
        server: String,
        /// Sessions that there were.
        opened: usize,
        /// Sessions that were to be.
        wanted: usize,
    },
    /// The server does not know the session any more.
    #[error("{server}: the session has expired")]
    Expired {
        /// Which server, as given.
        server: String,
    },
    /// The server sent what is not this protocol.
    #[error("{server}: {what}")]
    Protocol {
        /// Which server, as given.
        server: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When it was sent, or was meant to be, in nanoseconds since the run's start.
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
    /// The server has not said whether the session is granted.
    Asking,
    /// Requests are answered.
    Open,
}

/// One session, on a socket that does not block once [`Session::nonblocking`] was called.
#[derive(Debug)]
pub struct Session {
    /// The server, as given.
    pub server: String,
    /// How far it is.
    pub state: State,
    /// The session's id; 0 where there is none.
    pub id: i64,
    /// Session timeout that the server granted, in milliseconds.
    pub timeout_ms: u64,
    /// The newest zxid that a reply told of.
    pub zxid: i64,
    /// Requests without a reply, oldest first.
    pub sent: VecDeque<Sent>,
    /// Units of work that are not done.
    pub units: usize,
    /// Whether closeSession was sent: the end of the connection is what was asked for.
    pub closing: bool,
    /// The start of a reply whose end has not come.
    pub partial: Vec<u8>,
    /// What the socket did not take yet.
    pub unsent: Vec<u8>,
    /// When something was sent last, in nanoseconds since the run's start.
    pub sent_at_ns: u64,
    /// When something came last, or the connection was begun, likewise.
    pub heard_at_ns: u64,
    /// Sockets that it has had; tells events of the present one from those of the one before.
    pub generation: u32,
    stream: Option<TcpStream>,
    password: [u8; PASSWORD_BYTES],
    next_xid: i32,
    reply_xid: i32,
}

/// What a server said to a connect request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A new session.
    New,
    /// The session that was asked for.
    Again,
    /// That session is no more, or no session is to be had here.
    Refused,
}

impl Session {
    /// A session that is not open, without a socket.
    pub fn unopened() -> Self {
        Self {
            server: String::new(),
            state: State::Closed,
            id: 0,
            timeout_ms: 0,
            zxid: 0,
            sent: VecDeque::new(),
            units: 0,
            closing: false,
            partial: Vec::new(),
            unsent: Vec::new(),
            sent_at_ns: 0,
            heard_at_ns: 0,
            generation: 0,
            stream: None,
            password: [0; PASSWORD_BYTES],
            next_xid: 1,
            reply_xid: 1,
        }
    }

    /// Opens `count` sessions, spread over `servers` in turn.
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
    pub fn open(server: &str) -> Result<Self, NoConnection> {
        let mut session = Self::begin(server)?;
        session.finish()?;
        Ok(session)
    }

    fn begin(server: &str) -> Result<Self, NoConnection> {
        let failed = |error| NoConnection::Io { server: server.to_owned(), error };
        let mut stream = TcpStream::connect(server).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(CONNECT_WAIT)).map_err(failed)?;
        let mut session = Self::unopened();
        stream.write_all(&session.connect_request()).map_err(failed)?;
        session.server = server.to_owned();
        session.stream = Some(stream);
        session.state = State::Asking;
        Ok(session)
    }

    fn finish(&mut self) -> Result<(), NoConnection> {
        let reply = self.read_frame()?;
        match self.granted(&reply)? {
            Granted::Refused => Err(self.protocol("the server refused a new session".to_owned())),
            Granted::New | Granted::Again => Ok(()),
        }
    }

    /// Begins to connect to `address` without waiting; the socket says when it is writable.
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
        self.stream = Some(stream);
        self.state = State::Connecting;
        Ok(())
    }

    /// Takes the socket as connected and asks for the session that was had before, or for a new one.
    pub fn ask_session(&mut self) -> Result<(), NoConnection> {
        if let Some(error) = self.stream().take_error().map_err(|error| self.io(error))? {
            return Err(self.io(error));
        }
        self.state = State::Asking;
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

    /// Takes the answer to the connect request.
    pub fn granted(&mut self, reply: &[u8]) -> Result<Granted, NoConnection> {
        let response = ConnectResponse::read(&mut Reader::new(reply))
            .map_err(|short| self.protocol(short.to_string()))?;
        let asked = std::mem::replace(&mut self.id, response.session_id);
        self.password = response.password;
        self.timeout_ms = u64::try_from(response.timeout_ms).unwrap_or(0);
        if self.id == 0 || self.timeout_ms == 0 {
            self.forget();
            return Ok(Granted::Refused);
        }
        self.state = State::Open;
        match asked {
            0 => Ok(Granted::New),
            asked if asked == self.id => Ok(Granted::Again),
            asked => Err(self.protocol(format!("session {:#x} instead of {asked:#x}", self.id))),
        }
    }

    /// Lets go of the socket, and of all that was on its way over it.
    pub fn disconnect(&mut self) {
        self.stream = None;
        self.generation = self.generation.wrapping_add(1);
        self.state = State::Closed;
        self.sent.clear();
        self.units = 0;
        self.closing = false;
        self.partial.clear();
        self.unsent.clear();
        // A reply that never came has no place in the order any more.
        self.reply_xid = self.next_xid;
    }

    /// Forgets who it was: the next connection asks for a new session, as a client that has seen nothing yet. A server
    /// that is behind would refuse it else.
    pub fn forget(&mut self) {
        (self.id, self.zxid) = (0, 0);
        self.password = [0; PASSWORD_BYTES];
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.stream.as_ref().expect("only a session that is closed has no socket")
    }

    /// Takes the socket out of blocking mode.
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

    /// Sends `bytes`, keeping for later what the socket does not take.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), NoConnection> {
        let written = if self.unsent.is_empty() { self.try_write(bytes)? } else { 0 };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Sends what was kept.
    pub fn send_rest(&mut self) -> Result<(), NoConnection> {
        let rest = std::mem::take(&mut self.unsent);
        let written = self.try_write(&rest)?;
        self.unsent = rest;
        self.unsent.drain(..written);
        Ok(())
    }

    /// Once is enough: a short write means that the socket is full, and it will say when it is not.
    fn try_write(&mut self, bytes: &[u8]) -> Result<usize, NoConnection> {
        loop {
            match self.stream().write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
    }

    /// Reads one frame, waiting for it.
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
        self.stream().read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.closed(),
            ErrorKind::WouldBlock => self.protocol("no answer within 30 s".to_owned()),
            _ => self.io(error),
        })
    }

    /// Asks the server to end these sessions and waits until it did, or for a second.
    ///
    /// Who only closes the socket leaves a session that lives until its timeout.
    pub fn close_all(sessions: Vec<Self>) {
        let mut close = Vec::new();
        frame(&mut close, |out| {
            out.put_i32(0);
            out.put_i32(OpCode::CLOSE_SESSION.0);
        });
        let open = |session: &Self| session.state == State::Open && !session.closing;
        for stream in sessions.iter().filter(|session| open(session)).map(Self::stream) {
            // A connection that fails here is at its end already.
            let _ = stream.set_nonblocking(false);
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = (&*stream).write_all(&close);
        }
        let mut scratch = [0; 4096];
        for session in sessions.iter().filter(|session| open(session)) {
            while matches!(session.stream().read(&mut scratch), Ok(read) if read > 0) {}
        }
    }

    /// The error of this socket.
    pub fn io(&self, error: io::Error) -> NoConnection {
        NoConnection::Io { server: self.server.clone(), error }
    }

    /// The server hung up.
    pub fn closed(&self) -> NoConnection {
        NoConnection::Closed { server: self.server.clone() }
    }

    /// The session is no more.
    pub fn expired(&self) -> NoConnection {
        NoConnection::Expired { server: self.server.clone() }
    }

    /// The server said nothing for so long.
    pub fn timed_out(&self, silent_ns: u64) -> NoConnection {
        let silent = Duration::from_nanos(silent_ns);
        self.io(io::Error::new(ErrorKind::TimedOut, format!("no answer for {silent:.1?}")))
    }

    /// The server broke the protocol in a way that leaves nothing to read on.
    pub fn protocol(&self, what: String) -> NoConnection {
        NoConnection::Protocol { server: self.server.clone(), what }
    }
}

/// xids of requests are positive: the negative ones mean something else.
const fn following(xid: i32) -> i32 {
    if xid == i32::MAX { 1 } else { xid + 1 }
}

/// A session whose caller waits: for what comes before and after a measurement.
#[derive(Debug)]
pub struct Caller {
    session: Session,
    out: Vec<u8>,
}

/// Bytes that are sent before their replies are read.
const CALL_BYTES_MAX: usize = 64 << 10;

impl Caller {
    /// Opens a session on `server`.
    pub fn open(server: &str) -> Result<Self, NoConnection> {
        Ok(Self { session: Session::open(server)?, out: Vec::new() })
    }

    /// Sends one request and returns its reply's code and body.
    pub fn call(
        &mut self,
        op: OpCode,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(i32, Vec<u8>), NoConnection> {
        let xid = self.session.take_xid();
        self.out.clear();
        wire::put_request(&mut self.out, xid, op, body);
        self.write()?;
        self.reply()
    }

    /// Sends a request for each of `items`, many at a time, and gives each reply's code and body to `each`.
    pub fn pipeline<T: Copy>(
        &mut self,
        items: &[T],
        put: impl Fn(&mut Vec<u8>, i32, T),
        mut each: impl FnMut(T, i32, &[u8]),
    ) -> Result<(), NoConnection> {
        let mut rest = items;
        while !rest.is_empty() {
            self.out.clear();
            let mut count = 0;
            while count < rest.len() && self.out.len() < CALL_BYTES_MAX {
                let xid = self.session.take_xid();
                put(&mut self.out, xid, rest[count]);
                count += 1;
            }
            self.write()?;
            for item in &rest[..count] {
                let (err, body) = self.reply()?;
                each(*item, err, &body);
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Ends the session.
    pub fn close(self) {
        Session::close_all(vec![self.session]);
    }

    /// An answer that the caller cannot go on with.
    pub fn refused(&self, what: String) -> NoConnection {
        self.session.protocol(what)
    }

    fn write(&mut self) -> Result<(), NoConnection> {
        self.session.stream().write_all(&self.out).map_err(|error| self.session.io(error))
    }

    fn reply(&mut self) -> Result<(i32, Vec<u8>), NoConnection> {
        let mut reply = self.session.read_frame()?;
        let want = self.session.take_reply_xid();
        let header = zkfast::proto::ReplyHeader::read(&mut Reader::new(&reply))
            .map_err(|short| self.session.protocol(short.to_string()))?;
        if header.xid != want {
            return Err(self.session.protocol(format!("reply to xid {} instead of {want}", header.xid)));
        }
        reply.drain(..16);
        Ok((header.err, reply))
    }
}
