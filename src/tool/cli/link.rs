//! One session with an ensemble: connects to whichever server answers, and goes on at another one.

use super::error::{CliError, code_name};
use super::target::Target;
use super::watches::Watches;
use crate::client::net::{ClientError, Connect, Connection, Security};
use crate::client::{Event, Incoming, Reply, Request};
use crate::proto::{ErrorCode, OpCode, PASSWORD_BYTES, SessionId, Zxid};
use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pause between two rounds over all servers while waiting for a connection.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// How long a look for events waits on the socket.
const LOOK: Duration = Duration::from_millis(1);
/// A connection that has sent nothing for this part of the session's timeout sends a ping.
const PINGS_PER_TIMEOUT: u32 = 3;

/// Who the session is, beside its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// `digest`, `ip` ...
    pub scheme: String,
    /// What the scheme takes; for digest `user:password`.
    pub auth: Vec<u8>,
}

/// How sessions are opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Session timeout to ask for; also the longest wait for one answer.
    pub timeout: Duration,
    /// True if a server that has lost its quorum and serves reads will do.
    pub read_only: bool,
    /// True to try all servers again until `timeout` has passed, not once.
    pub wait: bool,
    /// Presented to each server, in this order.
    pub credentials: Vec<Credential>,
    /// What connections have beside plain bytes, and who the session proves to be by SASL.
    pub security: Security,
}

/// What became of the session when it was attached to another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// It goes on, with its ephemerals and watches.
    Same,
    /// It had expired: a new one is open, and watches are set again.
    New,
}

/// A session and its connection.
#[derive(Debug)]
pub struct Link {
    target: Target,
    settings: Settings,
    connection: Option<Connection>,
    identity: Option<(SessionId, [u8; PASSWORD_BYTES])>,
    last_zxid: Zxid,
    last_sent: Instant,
    events: VecDeque<Event>,
    is_closed: bool,
    /// What is set again on another server.
    pub watches: Watches,
}

impl Link {
    /// A session that is opened by its first request, or by [`attach`](Self::attach).
    pub fn new(target: Target, settings: Settings) -> Self {
        Self {
            target,
            settings,
            connection: None,
            identity: None,
            last_zxid: Zxid::ZERO,
            last_sent: Instant::now(),
            events: VecDeque::new(),
            is_closed: false,
            watches: Watches::default(),
        }
    }

    /// The servers and the chroot.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How this session, and others beside it, are opened.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// True while a connection is there and no error of it has been seen.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// True until a session has been opened.
    pub fn is_first(&self) -> bool {
        self.identity.is_none()
    }

    /// True after [`close`](Self::close), until the session is attached again.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Connects the session again, or opens one if there is none or it has expired. Credentials and watches follow it.
    ///
    /// # Errors
    /// [`CliError::Lost`] where no server answers; [`CliError::Refused`] where a credential is not accepted, and
    /// [`CliError::Login`] where that of SASL is not.
    pub fn attach(&mut self) -> Result<Attached, CliError> {
        (self.connection, self.is_closed) = (None, false);
        let had_session = self.identity.is_some();
        let attached = match self.connect_any() {
            Err(ClientError::Refused) if had_session => {
                (self.identity, self.last_zxid) = (None, Zxid::ZERO);
                self.connect_any().map(|connection| (connection, Attached::New))
            }
            other => {
                other.map(|connection| (connection, if had_session { Attached::Same } else { Attached::New }))
            }
        };
        let (connection, attached) = attached.map_err(|error| match error {
            ClientError::Login(error) => CliError::Login(error),
            error => CliError::Lost(format!("cannot connect to {}: {error}", self.target.text)),
        })?;
        self.identity = Some(connection.identity());
        self.connection = Some(connection);
        self.last_sent = Instant::now();
        for credential in self.settings.credentials.clone() {
            self.authenticate(&credential)?;
        }
        if let Some(request) = self.watches.again(self.last_zxid) {
            self.call(&request, "")?;
        }
        Ok(attached)
    }

    /// Presents a credential on this connection.
    fn authenticate(&mut self, credential: &Credential) -> Result<(), CliError> {
        let auth = Some(credential.auth.clone()).filter(|auth| !auth.is_empty());
        let request = Request::Auth { scheme: credential.scheme.clone().into_bytes(), auth };
        self.call(&request, &credential.scheme).map(drop)
    }

    /// Presents a credential now and on later connections of this session.
    ///
    /// # Errors
    /// [`CliError::Refused`] where the server does not accept it.
    pub fn add_credential(&mut self, credential: Credential) -> Result<(), CliError> {
        self.authenticate(&credential)?;
        self.settings.credentials.push(credential);
        Ok(())
    }

    fn connect_any(&self) -> Result<Connection, ClientError> {
        let end = Instant::now() + self.settings.timeout;
        loop {
            let error = match self.connect_once() {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let is_final = matches!(error, ClientError::Refused | ClientError::Login(_));
            if is_final || !self.settings.wait || Instant::now() + ROUND_PAUSE >= end {
                return Err(error);
            }
            std::thread::sleep(ROUND_PAUSE);
        }
    }

    /// Tries each address of each server once, in order. Gives the last error.
    fn connect_once(&self) -> Result<Connection, ClientError> {
        let connect = Connect {
            timeout_ms: i32::try_from(self.settings.timeout.as_millis()).unwrap_or(i32::MAX),
            session: self.identity,
            last_zxid_seen: self.last_zxid,
            read_only: Some(self.settings.read_only),
        };
        let share = self.settings.timeout / u32::try_from(self.target.hosts.len()).unwrap_or(1).max(1);
        let mut last = ClientError::Closed;
        for (host, port) in &self.target.hosts {
            let addresses: Vec<SocketAddr> = match (host.as_str(), *port).to_socket_addrs() {
                Ok(addresses) => addresses.collect(),
                Err(error) => {
                    last = ClientError::Io(error);
                    continue;
                }
            };
            for address in addresses {
                let security = &self.settings.security;
                match Connection::connect_secured(address, (security, host), &connect, share) {
                    Ok(mut connection) => {
                        connection.set_timeout(self.settings.timeout)?;
                        return Ok(connection);
                    }
                    Err(error @ (ClientError::Refused | ClientError::Login(_))) => return Err(error),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    /// Adds a request to what the next [`receive`](Self::receive) sends. The first one opens the session.
    ///
    /// # Errors
    /// As [`attach`](Self::attach); [`CliError::Lost`] once the connection is lost or the session closed.
    pub fn queue(&mut self, request: &Request) -> Result<(), CliError> {
        if self.connection.is_none() && self.identity.is_none() && !self.is_closed {
            self.attach()?;
        }
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        connection.queue(request);
        Ok(())
    }

    /// The next reply that is not a ping's. Requests leave only once all replies that have come are taken, so that many
    /// of them share a call of the system. Events on the way are kept for [`take_events`](Self::take_events).
    ///
    /// # Errors
    /// [`CliError::Lost`] where the connection is lost.
    pub fn receive(&mut self) -> Result<Reply, CliError> {
        loop {
            let timeout = self.settings.timeout;
            let incoming =
                self.with_connection(|connection| match connection.receive_within(Duration::ZERO) {
                    Err(ClientError::Timeout(_)) => {
                        connection.flush()?;
                        connection.receive_within(timeout).map(|incoming| (incoming, true))
                    }
                    other => other.map(|incoming| (incoming, false)),
                });
            let (incoming, is_flushed) = incoming?;
            if is_flushed {
                self.last_sent = Instant::now();
            }
            if let Some(reply) = self.sort(incoming) {
                return Ok(reply);
            }
        }
    }

    /// Keeps an event, drops a ping's reply, gives any other reply.
    fn sort(&mut self, incoming: Incoming) -> Option<Reply> {
        match incoming {
            Incoming::Event(event) => {
                self.watches.fired(&event);
                self.events.push_back(event);
                None
            }
            Incoming::Reply(reply) if reply.op == OpCode::PING => None,
            Incoming::Reply(reply) => Some(reply),
        }
    }

    /// Sends `request` and gives its reply. `path` is for the error's text, from the chroot on.
    ///
    /// # Errors
    /// [`CliError::Refused`] where the server answers with an error code; [`CliError::Lost`].
    pub fn call(&mut self, request: &Request, path: &str) -> Result<Reply, CliError> {
        self.queue(request)?;
        let reply = self.receive()?;
        if reply.header.err != ErrorCode::Ok.to_wire() {
            return Err(CliError::refused(reply.header.err, path));
        }
        Ok(reply)
    }

    /// Takes what the server has sent without being asked, and sends a ping if one is due. No request may be in flight.
    ///
    /// # Errors
    /// [`CliError::Lost`] where the connection is lost.
    pub fn poll(&mut self, wait: Duration) -> Result<(), CliError> {
        self.keep_alive()?;
        let mut wait = wait.max(LOOK);
        loop {
            let incoming = self.with_connection(|connection| match connection.receive_within(wait) {
                Err(ClientError::Timeout(_)) => Ok(None),
                other => other.map(Some),
            })?;
            let Some(incoming) = incoming else { return Ok(()) };
            if let Some(reply) = self.sort(incoming) {
                let name = code_name(reply.header.err);
                return Err(CliError::Lost(format!("a reply to no request came: {:?} {name}", reply.op)));
            }
            wait = LOOK;
        }
    }

    /// Sends a ping if the session has sent nothing for a third of its timeout.
    ///
    /// # Errors
    /// [`CliError::Lost`] where the connection is lost.
    pub fn keep_alive(&mut self) -> Result<(), CliError> {
        if self.last_sent.elapsed() < self.ping_after() {
            return Ok(());
        }
        self.queue(&Request::Ping)?;
        self.with_connection(Connection::flush)?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// How long the session may be silent until a ping is due.
    pub fn ping_after(&self) -> Duration {
        let agreed = self.connection.as_ref().map_or(0, |connection| connection.response().timeout_ms);
        Duration::from_millis(u64::try_from(agreed).unwrap_or(0)) / PINGS_PER_TIMEOUT
    }

    /// The events that have come since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Ends the session: its ephemerals go at once. Errors do not matter, for the timeout ends it as well.
    pub fn close(&mut self) {
        if self.connection.is_some() {
            let _ = self.call(&Request::CloseSession, "");
        }
        (self.connection, self.identity, self.is_closed) = (None, None, true);
    }

    /// Runs `act` on the connection, which is given up at its first error.
    fn with_connection<T>(
        &mut self,
        act: impl FnOnce(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<T, CliError> {
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let result = act(connection);
        self.last_zxid = self.last_zxid.max(connection.session().last_zxid());
        result.map_err(|error| {
            self.connection = None;
            CliError::Lost(format!("{}: {error}", self.target.text))
        })
    }
}

/// A session that the prompt's thread shares with the one that looks after it.
pub type Shared = Arc<Mutex<Link>>;

/// The session, for as long as one command takes.
pub fn locked(link: &Shared) -> MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_connected() -> CliError {
    CliError::Lost("not connected".to_owned())
}
