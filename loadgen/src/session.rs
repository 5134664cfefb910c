//! One session and its socket.

use crate::wire::{self, Op};
use bytes::BufMut;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
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

/// One session, on a socket that does not block once [`Session::nonblocking`] was called.
#[derive(Debug)]
pub struct Session {
    /// The server, as given.
    pub server: String,
    /// The socket.
    pub stream: TcpStream,
    /// Session timeout that the server granted, in milliseconds.
    pub timeout_ms: u64,
    /// Requests without a reply, oldest first.
    pub sent: VecDeque<Sent>,
    /// The start of a reply whose end has not come.
    pub partial: Vec<u8>,
    /// What the socket did not take yet.
    pub unsent: Vec<u8>,
    /// When something was sent last, in nanoseconds since the run's start.
    pub sent_at_ns: u64,
    next_xid: i32,
    reply_xid: i32,
}

impl Session {
    /// Opens `count` sessions, spread over `servers` in turn.
    pub fn open_many(servers: &[String], count: usize) -> Result<Vec<Self>, NoConnection> {
        let mut sessions: Vec<Self> = Vec::with_capacity(count);
        while sessions.len() < count {
            let from = sessions.len();
            for index in from..count.min(from + OPENING_MAX) {
                sessions.push(Self::begin(&servers[index % servers.len()])?);
            }
            for session in &mut sessions[from..] {
                session.finish()?;
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
        let mut out = Vec::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: TIMEOUT_MS,
            session_id: 0,
            password: Some(&[0; PASSWORD_BYTES]),
            read_only: Some(false),
        };
        frame(&mut out, |out| request.put(out));
        stream.write_all(&out).map_err(failed)?;
        Ok(Self {
            server: server.to_owned(),
            stream,
            timeout_ms: 0,
            sent: VecDeque::new(),
            partial: Vec::new(),
            unsent: Vec::new(),
            sent_at_ns: 0,
            next_xid: 1,
            reply_xid: 1,
        })
    }

    fn finish(&mut self) -> Result<(), NoConnection> {
        let reply = self.read_frame()?;
        let response = ConnectResponse::read(&mut Reader::new(&reply))
            .map_err(|short| self.protocol(short.to_string()))?;
        if response.session_id == 0 {
            return Err(self.protocol("the server refused a new session".to_owned()));
        }
        self.timeout_ms = u64::try_from(response.timeout_ms).unwrap_or(0);
        Ok(())
    }

    /// Takes the socket out of blocking mode.
    pub fn nonblocking(&self) -> Result<(), NoConnection> {
        self.stream.set_nonblocking(true).map_err(|error| self.io(error))
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
            match self.stream.write(bytes) {
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
        self.stream.read_exact(into).map_err(|error| match error.kind() {
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
        for session in &sessions {
            // A connection that fails here is at its end already.
            let _ = session.stream.set_nonblocking(false);
            let _ = session.stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = (&session.stream).write_all(&close);
        }
        let mut scratch = [0; 4096];
        for mut session in sessions {
            while matches!(session.stream.read(&mut scratch), Ok(read) if read > 0) {}
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
        self.session.stream.write_all(&self.out).map_err(|error| self.session.io(error))
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
