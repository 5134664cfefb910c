//! One client connection as a view keeps it.

use crate::admin::Summary;
use crate::auth::sasl::{Exchange, Failure};
use crate::proto::request::WatchCursor;
use crate::proto::{ErrorCode, Id, OpCode, SessionId, Zxid};
use crate::replica::Now;
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing complete has arrived: a connect request or a four-letter word.
    Fresh,
    /// The connect request is on its way, or a four-letter word's answer: nothing more is read.
    Waiting,
    /// It has a session.
    Established,
    /// What is in `out` is still sent, nothing is read.
    Closing,
}

/// Why the server ended a connection, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said closeSession, or hung up, or asked a four-letter word: nothing to log.
    Done,
    /// A frame's length is out of bounds; `first` are the bytes that were read as the length.
    FrameLength {
        /// The length.
        bytes: i32,
        /// `jute.maxbuffer`.
        limit: usize,
        /// As they came.
        first: [u8; 4],
    },
    /// A write is within `jute.maxbuffer`, and longer than the log takes.
    WriteTooLong {
        /// Of its body.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// The connect request or a request header does not decode.
    Malformed(&'static str),
    /// An operation that does not exist, or not for clients.
    UnknownOp(OpCode),
    /// The client's session is gone.
    SessionGone {
        /// Its id.
        session_id: SessionId,
    },
    /// The session attached elsewhere.
    SessionMoved {
        /// Its id.
        session_id: SessionId,
    },
    /// The client has seen what this server has not.
    ZxidAhead {
        /// What it has seen.
        seen: Zxid,
        /// What this server has.
        ours: Zxid,
    },
    /// The server is without a leader.
    NotServing,
    /// The server is read-only, and the client has not asked for one that may be.
    NotReadOnlyClient,
    /// The session is the ensemble's, and the server is read-only.
    GlobalSession {
        /// Its id.
        session_id: SessionId,
    },
    /// An auth packet failed, or one was due.
    Auth(ErrorCode),
    /// A SASL exchange failed.
    Sasl {
        /// What the client was told.
        code: ErrorCode,
        /// What was wrong.
        failure: Failure,
    },
    /// The client means another ensemble.
    OtherEnsemble {
        /// The beginning of its name.
        name: String,
    },
    /// No connect request within the time for one.
    Sessionless {
        /// `zookeeper.nio.sessionlessCnxnTimeout`.
        timeout_ms: i64,
    },
    /// The client does not take what it asked for and was notified of.
    SlowReader {
        /// Bytes that wait.
        bytes: usize,
        /// How many may.
        limit: usize,
    },
    /// An operator wants fewer clients here: this one takes its session to another server.
    Shed,
}

impl CloseReason {
    /// A name for counts of its kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "expected",
            Self::FrameLength { first, .. } => match Other::of(first) {
                Some(Other::Http) => "HTTP",
                Some(Other::Tls) => "TLS",
                None => "frame length",
            },
            Self::WriteTooLong { .. } => "write too long",
            Self::Malformed(_) => "malformed",
            Self::UnknownOp(_) => "unknown operation",
            Self::SessionGone { .. } => "session gone",
            Self::SessionMoved { .. } => "session moved",
            Self::ZxidAhead { .. } => "zxid ahead",
            Self::NotServing => "not serving",
            Self::NotReadOnlyClient => "read-only, client is not",
            Self::GlobalSession { .. } => "read-only, session is not",
            Self::Auth(_) => "authentication",
            Self::Sasl { .. } => "SASL",
            Self::OtherEnsemble { .. } => "other ensemble",
            Self::Sessionless { .. } => "no connect request",
            Self::SlowReader { .. } => "slow reader",
            Self::Shed => "shed",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "closed"),
            Self::NotServing => write!(f, "this server is not currently serving requests"),
            Self::NotReadOnlyClient => {
                write!(f, "this server has no leader and is read-only, and the client has not asked for that")
            }
            Self::GlobalSession { session_id } => {
                write!(
                    f,
                    "this server has no leader and is read-only, and session {session_id:#x} is the ensemble's"
                )
            }
            Self::FrameLength { bytes, limit, first } => {
                write!(f, "frame length {bytes} is not within 0 to jute.maxbuffer={limit}{}", hint(first))
            }
            Self::WriteTooLong { bytes, limit } => {
                write!(
                    f,
                    "a write of {bytes} bytes: the log takes {limit} at most, whatever jute.maxbuffer is"
                )
            }
            Self::Malformed(what) => write!(f, "{what} does not decode"),
            Self::UnknownOp(op) => write!(f, "operation {} is not one for clients", op.0),
            Self::SessionGone { session_id } => write!(f, "session {session_id:#x} is gone"),
            Self::SessionMoved { session_id } => write!(f, "session {session_id:#x} attached elsewhere"),
            Self::ZxidAhead { seen, ours } => {
                write!(f, "client has seen zxid {seen}, this server has {ours}: it must try another server")
            }
            Self::Auth(code) => write!(f, "authentication failed: {code:?}"),
            Self::Sasl { code, failure } => write!(f, "SASL failed: {failure}; the client got {code:?}"),
            Self::OtherEnsemble { name } => {
                write!(f, "client means ensemble {name:?}, which ensembleAuthName does not list")
            }
            Self::Sessionless { timeout_ms } => {
                write!(f, "no connect request within nio.sessionlessCnxnTimeout={timeout_ms} ms")
            }
            Self::SlowReader { bytes, limit } => {
                write!(f, "client does not read: {bytes} bytes wait for it, the limit is {limit}")
            }
            Self::Shed => write!(f, "shed: the client goes on with its session at another server"),
        }
    }
}

/// Another protocol, of which a length that is none most likely is the beginning.
enum Other {
    Http,
    Tls,
}

impl Other {
    fn of(first: &[u8; 4]) -> Option<Self> {
        match first {
            b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" | b"DELE" | b"PRI " | b"CONN" => Some(Self::Http),
            [0x16, 0x03, ..] => Some(Self::Tls),
            _ => None,
        }
    }
}

/// What an operator is told of it.
fn hint(first: &[u8; 4]) -> &'static str {
    match Other::of(first) {
        Some(Other::Http) => ": these are bytes of HTTP; is a probe or a proxy pointed at the client port?",
        Some(Other::Tls) => ": this is a TLS hello; the client port speaks plain text",
        None => "",
    }
}

/// A request as it arrived, its header read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming<'a> {
    pub xid: i32,
    pub op: OpCode,
    /// What follows the header.
    pub body: &'a [u8],
}

/// A request that cannot be answered yet, in the order in which answers are due.
#[derive(Debug)]
pub(super) enum Pending {
    /// A write or sync that is with the commit side.
    Awaited {
        xid: i32,
        op: OpCode,
        sent_us: i64,
        /// A sync echoes it. Of other requests only those that are traced have theirs.
        path: Box<[u8]>,
        is_traced: bool,
    },
    /// A read after a write of the same session.
    Deferred(Deferred),
}

/// A read that waits for a write of the same session.
#[derive(Debug)]
pub(super) struct Deferred {
    pub xid: i32,
    pub op: OpCode,
    pub body: Box<[u8]>,
    /// Who the connection had proved to be when it asked.
    pub ids: Arc<[Id]>,
    pub came_us: i64,
    /// How far a long setWatches is dealt with; `None` before its first turn.
    pub done: Option<WatchCursor>,
}

/// What `cons` shows of a connection. Source: `ServerCnxn.dumpConnectionInfo`.
#[derive(Clone, Debug)]
pub(super) struct CnxnStats {
    pub received: u64,
    pub sent: u64,
    /// `None` before the first, which Java prints as `null`.
    pub last_op: Option<OpCode>,
    pub last_cxid: i32,
    pub last_zxid: Zxid,
    pub last_response: Now,
    pub last_latency_us: u64,
    pub latency: Summary,
}

impl CnxnStats {
    /// What `crst` leaves: Java tells that apart from a connection without a request.
    pub fn reset() -> Self {
        Self { last_op: Some(OpCode::ERROR), last_cxid: -1, last_zxid: Zxid(u64::MAX), ..Self::new() }
    }

    pub fn new() -> Self {
        Self {
            received: 0,
            sent: 0,
            last_op: None,
            last_cxid: 0,
            last_zxid: Zxid::ZERO,
            last_response: Now::default(),
            last_latency_us: 0,
            latency: Summary::default(),
        }
    }
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Cnxn {
    pub peer: SocketAddr,
    pub state: State,
    pub session_id: SessionId,
    pub timeout_ms: i32,
    /// True if the client has asked for a server that may be read-only; `None` for clients that do not expect that byte.
    pub read_only: Option<bool>,
    /// Who the client has proved to be.
    pub ids: Arc<[Id]>,
    /// Bytes that have arrived and are not handled: part of a frame, or what had to wait.
    pub input: Vec<u8>,
    /// Bytes to send; those before `sent` are gone already.
    pub out: Vec<u8>,
    pub sent: usize,
    pub pending: VecDeque<Pending>,
    /// Deferred reads in `pending`.
    pub deferred: usize,
    /// Bytes of their bodies.
    pub deferred_bytes: usize,
    /// Bytes of events in `out`, no less than those that are unsent.
    pub event_bytes: usize,
    /// Unsent bytes that the view counts for it; see [`super::pool::Pool::weigh`].
    pub weighed: usize,
    /// When bytes of it were sent last, while many waited.
    pub moved_ms: i64,
    /// Requests that are with the commit side.
    pub awaited: u32,
    /// When its connect request came.
    pub asked_us: i64,
    /// Tokens of an authentication that were answered.
    pub sasl_tokens: u32,
    /// The exchange that they are of, where clients may prove a user.
    pub sasl: Exchange,
    /// Input is left although it may hold whole frames.
    pub stalled: bool,
    /// It is in the view's list of connections to poll.
    pub listed: bool,
    /// It is in the view's list of connections that gave a sign of life.
    pub touched: bool,
    pub opened: Now,
    /// Why it ends, once its state is [`State::Closing`].
    pub reason: CloseReason,
    pub stats: CnxnStats,
}

impl Cnxn {
    /// A connection from which nothing has arrived.
    pub fn new(peer: SocketAddr, id: Id, now: Now) -> Self {
        Self {
            peer,
            state: State::Fresh,
            session_id: SessionId::NONE,
            timeout_ms: 0,
            read_only: None,
            ids: Arc::new([id]),
            input: Vec::new(),
            out: Vec::new(),
            sent: 0,
            pending: VecDeque::new(),
            deferred: 0,
            deferred_bytes: 0,
            event_bytes: 0,
            weighed: 0,
            moved_ms: now.mono_ms(),
            awaited: 0,
            asked_us: now.mono_us,
            sasl_tokens: 0,
            sasl: Exchange::default(),
            stalled: false,
            listed: false,
            touched: false,
            opened: now,
            reason: CloseReason::Done,
            stats: CnxnStats::new(),
        }
    }

    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// True if frames are read from it: it has a session, or may still ask for one.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Fresh | State::Established)
    }

    /// True if nothing of it is on its way here: no request or part of one, no answer, no event.
    pub fn is_at_rest(&self) -> bool {
        self.state == State::Established
            && self.pending.is_empty()
            && self.input.is_empty()
            && self.unsent() == 0
    }

    /// The read whose answer is due next, if it is one.
    pub fn first_deferred(&self) -> Option<&Deferred> {
        match self.pending.front() {
            Some(Pending::Deferred(deferred)) => Some(deferred),
            Some(Pending::Awaited { .. }) | None => None,
        }
    }

    /// Takes the read whose answer is due next; [`Self::first_deferred`] says whether it is one.
    pub fn take_deferred(&mut self) -> Option<Deferred> {
        match self.pending.pop_front() {
            Some(Pending::Deferred(deferred)) => {
                self.deferred -= 1;
                self.deferred_bytes -= deferred.body.len();
                Some(deferred)
            }
            Some(awaited) => {
                self.pending.push_front(awaited);
                None
            }
            None => None,
        }
    }

    /// Puts a read first that needs another turn.
    pub fn put_back(&mut self, deferred: Deferred) {
        self.deferred += 1;
        self.deferred_bytes += deferred.body.len();
        self.pending.push_front(Pending::Deferred(deferred));
    }

    /// Puts a read after the requests that wait already.
    pub fn defer(&mut self, Incoming { xid, op, body }: Incoming<'_>, came_us: i64) {
        self.deferred += 1;
        self.deferred_bytes += body.len();
        let (body, ids) = (body.into(), self.ids.clone());
        self.pending.push_back(Pending::Deferred(Deferred { xid, op, body, ids, came_us, done: None }));
    }

    /// Ends the connection once `out` is sent.
    pub fn close(&mut self, reason: CloseReason) {
        if self.state != State::Closing {
            self.state = State::Closing;
            self.reason = reason;
            self.input = Vec::new();
            self.pending.clear();
            (self.deferred, self.deferred_bytes) = (0, 0);
        }
    }

    /// Ends the connection of a client that does not take what waits for it, which is given up.
    pub fn give_up_output(&mut self, bytes: usize, limit: usize) {
        assert!(
            bytes >= limit,
            "the output of {} is given up at {bytes} bytes, and may have {limit}",
            self.peer
        );
        (self.out, self.sent) = (Vec::new(), 0);
        self.close(CloseReason::SlowReader { bytes, limit });
    }

    /// Checks that the counters are those of what they count. It goes through all that is pending: for debug builds.
    pub fn check(&self) {
        let deferred = || {
            self.pending.iter().filter_map(|pending| match pending {
                Pending::Deferred(deferred) => Some(deferred.body.len()),
                Pending::Awaited { .. } => None,
            })
        };
        debug_assert_eq!(self.deferred, deferred().count(), "deferred reads");
        debug_assert_eq!(self.deferred_bytes, deferred().sum::<usize>(), "bytes of deferred reads");
        debug_assert!(self.sent <= self.out.len(), "sent {} of {} bytes", self.sent, self.out.len());
        // What a closing connection has asked for is forgotten here, and still answered by the commit side.
        let awaited = self.pending.len() - self.deferred;
        debug_assert!(
            self.state == State::Closing || self.awaited as usize == awaited,
            "{} requests are awaited, {awaited} are pending",
            self.awaited
        );
    }
}
