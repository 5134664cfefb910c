//! A client: its session, its requests without answer, its watches, and what it has seen.

use super::event::Socket;
use super::model::WatchKind;
use crate::client::session::{Reply, Request, Session};
use crate::proto::{PASSWORD_BYTES, SessionId, Zxid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A request without answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub xid: i32,
    pub request: Request,
    /// The newest zxid that any client had been told when it was sent.
    pub newest: Zxid,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The state it was left on.
    pub since: Zxid,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Away,
    Connecting,
    Connected,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) number: usize,
    pub(super) socket: Option<Socket>,
    pub phase: Phase,
    pub(super) began_us: u64,
    /// The newest committed txn when it connected last.
    pub(super) committed: Zxid,
    pub(super) heard_us: u64,
    pub(super) sent_us: u64,
    pub(super) wire: Session,
    /// Id, password and timeout.
    pub session: Option<(SessionId, [u8; PASSWORD_BYTES], i32)>,
    /// Newest zxid of a reply.
    pub seen: Zxid,
    pub(super) next_xid: i32,
    pub(super) asked: VecDeque<Asked>,
    pub(super) watches: BTreeMap<(WatchKind, Vec<u8>), Watch>,
    /// The watches of the former connection are being set again.
    pub(super) is_rearming: bool,
    pub(super) salt: u64,
    /// Versions that were seen, to set with.
    pub(super) versions: BTreeMap<Vec<u8>, i32>,
    pub(super) mine: BTreeSet<Vec<u8>>,
    /// Asks nothing of its own accord.
    pub is_quiet: bool,
    /// It will do with a server that is read-only, and creates no ephemerals.
    pub is_reader: bool,
    /// The server that it is connected to, and what that has said: it is read-only.
    pub(super) at: usize,
    pub(super) is_read_only: bool,
    /// That server shows what no leader has confirmed since it started.
    pub(super) is_tentative: bool,
    /// Its session has asked for an ephemeral.
    pub(super) wants_global: bool,
    /// The only server it goes to.
    pub server: Option<usize>,
    pub acknowledged: u64,
    /// Connections that its server has ended.
    pub lost: u64,
    pub expired: u64,
    pub events: u64,
    /// Replies, oldest first, for scripts.
    pub replies: Vec<(Request, Reply)>,
}

impl Client {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            socket: None,
            phase: Phase::Away,
            began_us: 0,
            committed: Zxid::ZERO,
            heard_us: 0,
            sent_us: 0,
            wire: Session::default(),
            session: None,
            seen: Zxid::ZERO,
            next_xid: 1,
            asked: VecDeque::new(),
            watches: BTreeMap::new(),
            is_rearming: false,
            salt: 0,
            versions: BTreeMap::new(),
            mine: BTreeSet::new(),
            is_quiet: false,
            is_reader: false,
            at: 0,
            is_read_only: false,
            is_tentative: false,
            wants_global: false,
            server: None,
            acknowledged: 0,
            lost: 0,
            expired: 0,
            events: 0,
            replies: Vec::new(),
        }
    }

    /// Requests without answer.
    pub fn pending(&self) -> usize {
        self.asked.len()
    }

    /// Its session has ended: the next one begins anew.
    pub(super) fn forget_session(&mut self) {
        self.session = None;
        self.next_xid = 1;
        self.watches.clear();
        self.seen = Zxid::ZERO;
        self.mine.clear();
        self.wants_global = false;
    }
}
