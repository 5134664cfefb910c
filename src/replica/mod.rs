//! A server's state machines, without its sockets, files and clocks.
//!
//! ```text
//!            Uplink (requests, in arrival order)
//!   View  ----------------------------------------->  Commit  --> records for the log
//!   View  <-----------------------------------------  Commit  <-- "committed through zxid"
//!            Deltas (what was committed, in zxid order)
//! ```
//!
//! [`Commit`] checks each write once against a tree that is ahead of the log, makes it a txn and
//! hands out [`Proposed`]: the records to make durable and the [`Deltas`] to publish after that. How
//! they become durable in between (one disk, or a quorum) is up to the caller.
//!
//! A [`View`] owns connections and a copy of the tree that holds only what is committed. It answers
//! reads at once, sends writes up, and applies deltas in order: watches fire and replies go out as it
//! does, so an event always precedes what shows the change, and no client sees half a multi.
//!
//! | file | what |
//! |---|---|
//! | `commit` | checks writes (BadVersion ...), opens and attaches sessions, refuses clients that have seen more than is committed, makes txns: alone or as leader |
//! | `follow` | the same place on a follower: forwards writes, refuses clients that have seen more than this server |
//! | `member` | [`Replica`]: the phases of a server, its queue for the log, what views get |
//! | `local` | sessions that only this server knows |
//! | `group_delay` | how long the next group waits for more requests |
//! | `fencing` | a client attaches while its former connection is open |
//! | `core` | what both sides have: tree, deltas, answers |
//! | `view` | connections, reads, watches, the committed tree; back-pressure (`view/turn`, its limits in `view/pool`), which the shell follows by [`Wants`] |
//! | `report` | what the views and the commit side know for a four-letter word |
//! | `times` | when a group came through each stage |
//! | `settings` | settings of views and commit side, from a configuration |
//!
//! Invariants: `view.zxid <= committed <= proposed = commit.zxid`; every request that a view sends up
//! comes back as exactly one [`Entry`]; entries of one view keep its order.

mod commit;
mod core;
mod fencing;
mod follow;
mod group_delay;
mod local;
mod member;
mod relay;
mod report;
mod settings;
mod times;
mod view;

pub use crate::zab::leader::HandOverError;
pub use commit::{Commit, Proposed};
pub use member::{
    Duties, Event, MemberSettings, Output, Port, Redundancy, Replica, RestoreStep, Standing, Weight,
};
pub use report::{Answered, Asker, ViewReport};
#[cfg(any(test, feature = "sim"))]
pub use settings::SessionsBug;
pub use settings::{CommitSettings, ViewSettings};
pub use times::GroupTimes;
pub use view::{CloseReason, DeltasCursor, Place, Shed, View, Wants, browse};

use crate::admin::FourLetterWord;

use crate::proto::{ErrorCode, Id, OpCode, SessionId, Zxid};
use crate::tree::Tree;
use crate::txn::Change;
use crate::zab::LinkId;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A point in time, as the caller's clocks have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds of a clock that never goes back: timeouts, latencies.
    pub mono_us: i64,
    /// Milliseconds since 1970: ctime, mtime.
    pub wall_ms: i64,
}

impl Now {
    /// Milliseconds of the clock that never goes back.
    pub const fn mono_ms(self) -> i64 {
        self.mono_us / 1000
    }
}

/// Names a connection over all views and all time: a slot is reused, its generation is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CnxnId {
    /// Which view.
    pub view: u16,
    /// Which of its slots.
    pub slot: u32,
    /// Which of the slot's connections.
    pub generation: u32,
}

/// Where a request comes from, and its answer goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client of this server.
    Client(CnxnId),
    /// A client of another server, which forwards its requests to this one, the leader.
    Learner {
        /// Which of the leader's connections to learners.
        learner: u32,
        /// The learner's server id.
        sid: u32,
    },
}

/// Which connection, or which other server, may act for a session. A learner's sessions are its own over its next connection,
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SessionOwner {
    Client(CnxnId),
    Server { sid: u32 },
}

impl Origin {
    /// The connection, of a client of this server.
    pub fn client(self) -> Option<CnxnId> {
        match self {
            Self::Client(cnxn) => Some(cnxn),
            Self::Learner { .. } => None,
        }
    }

    /// The learner, of a client of another server.
    pub(crate) fn learner(self) -> Option<u32> {
        match self {
            Self::Client(_) => None,
            Self::Learner { learner, .. } => Some(learner),
        }
    }

    /// The owner of a session that is opened or attached to from here.
    pub(crate) fn owner(self) -> SessionOwner {
        match self {
            Self::Client(cnxn) => SessionOwner::Client(cnxn),
            Self::Learner { sid, .. } => SessionOwner::Server { sid },
        }
    }
}

impl From<CnxnId> for Origin {
    fn from(cnxn: CnxnId) -> Self {
        Self::Client(cnxn)
    }
}

// Every entry has one, or none, and every view goes through all entries.
const _: () = assert!(size_of::<Option<Origin>>() == size_of::<Option<CnxnId>>());

/// What a view sends up, oldest first.
#[derive(Debug, Default)]
pub struct Uplink {
    /// Bodies of the requests, one behind the other.
    pub bytes: Vec<u8>,
    /// What is asked.
    pub items: Vec<ViewRequest>,
    /// When the first request of it came, by the view's clock.
    pub since_us: Option<i64>,
    /// Increases each time the view drops its clients: what they asked before is void.
    pub serving_generation: u32,
}

/// One thing that a view asks of the commit side.
#[derive(Debug)]
pub enum ViewRequest {
    /// A write, sync or closeSession.
    Request(Request),
    /// A client opens a session, or attaches to one.
    Connect {
        /// Where to answer.
        cnxn: CnxnId,
        /// 0 for a new session.
        session_id: SessionId,
        /// What proves the client's right to `session_id`.
        password: Box<[u8]>,
        /// What the client would like.
        timeout_ms: i32,
        /// The newest zxid that the client has seen.
        last_zxid_seen: Zxid,
    },
    /// A learner's client opens a session, whose id the learner chose.
    CreateSession {
        /// The learner.
        from: Origin,
        /// The new session.
        session_id: SessionId,
        /// Negotiated.
        timeout_ms: i32,
    },
    /// A learner's client attaches to its session; the learner has seen the password.
    Revalidate {
        /// The learner.
        from: Origin,
        /// Which session.
        session_id: SessionId,
        /// Negotiated anew.
        timeout_ms: i32,
    },
    /// These sessions gave a sign of life.
    Touched(Vec<SessionId>),
    /// A connection sends nothing any more; see [`ControlKind::Fence`].
    Fenced(CnxnId),
    /// A four-letter word that wants more than a view knows.
    FourLetterWord {
        /// Who asks.
        asker: Asker,
        /// The word.
        word: FourLetterWord,
        /// The mask that `stmk` brings.
        mask: Option<i64>,
    },
    /// A view's part of the answer to one; see [`ControlKind::Report`].
    Report {
        /// Which question.
        query: u64,
        /// The view's part.
        report: Box<ViewReport>,
    },
}

/// A request for the commit side.
#[derive(Debug)]
pub struct Request {
    /// Where it comes from, and its answer goes to.
    pub origin: Origin,
    /// Whose.
    pub session_id: SessionId,
    /// The client's number for it.
    pub xid: i32,
    /// What is asked.
    pub op: OpCode,
    /// Where its body is in [`Uplink::bytes`].
    pub body: Range<usize>,
    /// Who the connection has proved to be when it was sent.
    pub ids: Arc<[Id]>,
}

/// What was committed, for every view, in order.
#[derive(Debug, Default)]
pub struct Deltas {
    /// What happened.
    pub entries: Vec<Entry>,
    /// Changes of all entries, one behind the other.
    pub changes: Vec<Change>,
    /// Results of all multis, one behind the other.
    pub results: Vec<MultiResult>,
    /// Bytes of the records in the log.
    pub log_bytes: usize,
    /// Entries that are txns or syncs.
    pub requests: u64,
    /// When they came through each stage.
    pub times: GroupTimes,
}

/// Entries, and changes, up to which room is made for as many as there were last.
const ROOM_MAX: usize = 4096;

impl Deltas {
    /// All that is there, and leaves room for as much.
    fn take(&mut self) -> Self {
        let next = Self {
            entries: Vec::with_capacity(self.entries.len().min(ROOM_MAX)),
            changes: Vec::with_capacity(self.changes.len().min(ROOM_MAX)),
            ..Self::default()
        };
        std::mem::replace(self, next)
    }
}

/// One thing that happened.
#[derive(Debug)]
pub struct Entry {
    /// The last processed zxid once this is done.
    pub zxid: Zxid,
    /// The tree's digest then, 0 where none is kept: snapshots carry it.
    pub digest: u64,
    /// Where its answer goes, if it answers a request.
    pub to: Option<Origin>,
    /// The request's xid.
    pub xid: i32,
    /// What it was.
    pub what: EntryKind,
    /// Where its changes end in [`Deltas::changes`].
    pub changes_end: usize,
    /// Where its results end in [`Deltas::results`].
    pub results_end: usize,
}

/// What an entry says.
pub enum EntryKind {
    /// What became of a request.
    Txn(TxnKind),
    /// What became of a session, or of a client's wish for one.
    Session(SessionKind),
    /// What the commit side asks of views, or tells them: no client waits for it as the answer to a request.
    Control(ControlKind),
}

/// What became of a request. The view answers it, if the client is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnKind {
    /// A write succeeded.
    Done(OpCode),
    /// A request failed.
    Failed(ErrorCode),
    /// A multi was done, or failed as a whole; its results say which.
    Multi,
    /// A sync's turn has come.
    Synced,
    /// The request was of a session that is gone: no answer, the connection is about to end.
    Dropped,
    /// The request came through a connection that its session has left: that connection ends.
    Moved,
}

/// What became of a session, or of a client's wish for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A session began.
    Created {
        /// Its id.
        session_id: SessionId,
        /// Negotiated.
        timeout_ms: i32,
    },
    /// A session ended, because its client asked for it (`Entry::to`) or because it expired.
    Closed {
        /// Its id.
        session_id: SessionId,
    },
    /// A client is attached to its session again.
    Attached {
        /// Its id.
        session_id: SessionId,
        /// Negotiated anew.
        timeout_ms: i32,
    },
    /// There is no such session any more, or the password is not its.
    Refused {
        /// The one that was asked for.
        session_id: SessionId,
    },
    /// The client attached through another server since it asked: this connection is not its last.
    Overtaken {
        /// The one that was asked for.
        session_id: SessionId,
    },
    /// The client has seen what this server has not: it must try another.
    Ahead {
        /// What it has seen.
        seen: Zxid,
    },
    /// A session began that only this server knows.
    Opened {
        /// Its id.
        session_id: SessionId,
        /// Negotiated.
        timeout_ms: i32,
    },
    /// Such a session ended, because its client asked for it (`Entry::to`) or because it expired.
    Ended {
        /// Its id.
        session_id: SessionId,
    },
    /// The session is the ensemble's, and this server is read-only: its client must try another.
    Global {
        /// The one that was asked for.
        session_id: SessionId,
    },
}

/// What the commit side asks of views, or tells them.
#[derive(Debug)]
pub enum ControlKind {
    /// A leader's epoch begins: from here on its zxids count. Also: the ensemble's configuration has another version.
    Epoch,
    /// How clients are served from here on; if not at all, every connection ends.
    Serving(Serving),
    /// A learner needs the tree as it is now: the first view takes an image of it.
    Image(LinkId),
    /// The tree is another from here on, and so are the sessions.
    Reset(Arc<Restart>),
    /// The session of this connection attaches elsewhere: it sends nothing from here on. The view says
    /// [`ViewRequest::Fenced`], and only then does the new connection hear that it is attached.
    Fence(CnxnId),
    /// Every view reports.
    Report {
        /// Which question.
        query: u64,
        /// How much of it.
        word: FourLetterWord,
    },
    /// The answer to a four-letter word.
    Text(Box<[u8]>),
}

/// How clients are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// They are not.
    No,
    /// Clients that will do with that may read; there is no leader.
    ReadOnly,
    /// They may read and write.
    Yes,
}

impl EntryKind {
    /// True for a txn or a sync: what clients ask of the commit side.
    pub(crate) fn is_request(&self) -> bool {
        match self {
            Self::Txn(kind) => *kind != TxnKind::Dropped,
            Self::Session(SessionKind::Created { .. } | SessionKind::Closed { .. }) => true,
            Self::Session(
                SessionKind::Attached { .. }
                | SessionKind::Refused { .. }
                | SessionKind::Overtaken { .. }
                | SessionKind::Ahead { .. }
                | SessionKind::Opened { .. }
                | SessionKind::Ended { .. }
                | SessionKind::Global { .. },
            ) => false,
            Self::Control(_) => false,
        }
    }
}

impl From<TxnKind> for EntryKind {
    fn from(kind: TxnKind) -> Self {
        Self::Txn(kind)
    }
}

impl From<SessionKind> for EntryKind {
    fn from(kind: SessionKind) -> Self {
        Self::Session(kind)
    }
}

impl From<ControlKind> for EntryKind {
    fn from(kind: ControlKind) -> Self {
        Self::Control(kind)
    }
}

/// As its kind: which of the three it is, the kind says.
impl fmt::Debug for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Txn(kind) => kind.fmt(f),
            Self::Session(kind) => kind.fmt(f),
            Self::Control(kind) => kind.fmt(f),
        }
    }
}

// Views go through many entries: a kind is a tag and two words.
const _: () = assert!(size_of::<EntryKind>() <= 24);

/// What a view begins with, or begins again with.
#[derive(Clone, Debug)]
pub struct Restart {
    /// The tree; each view makes its own of it.
    pub tree: Tree,
    /// Sessions that are alive, with their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
}

/// The result of one operation of a multi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiResult {
    /// What it was; [`OpCode::ERROR`] in a multi that failed.
    pub op: OpCode,
    /// Its code in a multi that failed; 0 before the operation that failed it.
    pub err: i32,
    /// How many changes it made.
    pub changes: u32,
}

#[cfg(test)]
mod tests;
