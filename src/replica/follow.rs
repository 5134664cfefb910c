//! A learner's commit side: forwards its clients' writes to the leader, applies what the leader commits.
//!
//! A request is kept until its txn comes back, found by session and cxid. So it outlives a leader: once a new
//! one is followed, every txn of the old one that will ever count has been applied, and a request that was not among
//! them is sent again without ever being done twice. That its client has not moved to another server meanwhile, and
//! asked for more there, the log tells as well: a client that attaches to its session is a txn.
//!
//! Clients may number their requests anew over each connection. That txn is the border: what a former connection asked,
//! here or elsewhere, is in the log before it, or was refused because the session has moved, which is never the answer to
//! what is asked after the border. A leader of ZooKeeper's makes no such txn: there each request gets a number of this
//! server's, [`Follow::own_cxids`].
//!
//! Invariants: a session's requests are with the leader in the order its client sent them, and those of a former
//! connection before the session's next attachment; the tree holds what the leader has committed, and nothing that the
//! log does not hold.

mod roles;

#[cfg(any(test, feature = "sim"))]
use super::SessionsBug;

use super::commit::is_readable;
use super::core::Core;
use super::fencing::{Attach, Fencing, attachment_sid, is_refused_as_moved};
use super::local::{op_wants_global, wants_global};
use super::relay::Relay;
use super::report::SessionsTold;
use super::{
    CnxnId, ControlKind, EntryKind, MultiResult, Now, Request, SessionKind, TxnKind, Uplink, ViewRequest,
};
use crate::admin::Metrics;
use crate::database::{Database, ReplayError};
use crate::proto::request::read_multi;
use crate::proto::{ErrorCode, Id, OpCode, Reader, SessionId, Zxid};
use crate::session;
use crate::txn::{self, TxnHeader};
use crate::zab::message::{ForwardedRequest, Revalidate, put_ping_answer};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A client's request that is with the leader, or waits for its turn here.
#[derive(Debug)]
struct Forwarded {
    cnxn: CnxnId,
    xid: i32,
    op: OpCode,
    body: Box<[u8]>,
    ids: Arc<[Id]>,
    /// Tells it from every other.
    number: u64,
    /// What it is called between servers.
    cxid: i32,
    /// It is not with the leader, and is answered in its turn.
    here: Option<Here>,
}

/// What this server answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// The request cannot be read.
    Unreadable,
    /// It creates an ephemeral, and the session is local and stays so.
    OfLocal,
    /// It closes a local session.
    Close,
    /// It comes after that: the session's end answers it.
    AfterClose,
}

/// Bits of the numbers of a server's requests. As many are never on their way at once.
const CXID_NUMBER_BITS: u32 = 23;

/// A txn that is in the log, or on its way there, and not yet committed.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub zxid: Zxid,
    /// Header, txn and digest.
    pub txn: Bytes,
    /// Whether its digest is a hint: another server predicted it than the leader of zkfast's that sent it.
    pub is_hint: bool,
}

impl Logged {
    /// What goes to the log: a digest only where it proves something.
    pub fn record(&self) -> &[u8] {
        match self.is_hint {
            // One that does not decode is refused once it is committed.
            true => txn::without_digest(&self.txn).unwrap_or(&self.txn),
            false => &self.txn,
        }
    }
}

/// A txn that left another digest than the one that came with it.
#[derive(Debug)]
pub(super) struct Differs {
    pub why: ReplayError,
    /// See [`Logged::is_hint`]; of these one is told for each leader, and all are counted.
    pub is_hint: bool,
}

/// The commit side of a server that does not lead; the module's page says what it does.
#[derive(Debug)]
pub(super) struct Follow {
    pub core: Core,
    /// All sessions of the ensemble, with their timeouts in milliseconds.
    sessions: BTreeMap<SessionId, i32>,
    /// Connections of this server that have a session.
    owners: BTreeMap<SessionId, CnxnId>,
    next_session_id: SessionId,
    /// By session, oldest first.
    forwarded: BTreeMap<SessionId, VecDeque<Forwarded>>,
    /// Syncs in the order in which the leader answers them, session and number; some may not be in
    /// [`Self::forwarded`] any more.
    syncs: VecDeque<(SessionId, u64)>,
    next_number: u64,
    /// Sessions that are being created for these connections.
    creating: BTreeMap<SessionId, Attach>,
    /// Clients that attach: their password was right, the leader has yet to say that the session lives.
    attaching: VecDeque<Attach>,
    /// Of the sessions of [`Self::attaching`] those that attached through another server since.
    overtaken: BTreeSet<SessionId>,
    fencing: Fencing,
    /// Connections that have lost their session, and may still send: their views have not said [`ViewRequest::Fenced`].
    leaving: Vec<(SessionId, CnxnId)>,
    /// Sessions that gave a sign of life since the leader was told last.
    touched: BTreeMap<SessionId, i32>,
    /// In zxid order.
    logged: VecDeque<Logged>,
    /// A hint that disagreed was told of, of the leader that there is.
    hint_told: bool,
    /// Packets for the leader.
    packets: Vec<u8>,
    /// Whether there is a leader to send them to.
    connected: bool,
    /// The epoch of the leader that there was last.
    epoch: u32,
    /// Whether that is ZooKeeper's own server.
    of_java: bool,
    /// The sync whose answer everything waits for.
    barrier: Option<u64>,
    /// There is no leader, and clients may read.
    read_only: bool,
    /// What is asked for observers, and through whom this one asks.
    pub relay: Relay,
}

impl Follow {
    pub fn of(core: Core, sessions: BTreeMap<SessionId, i32>, now: Now) -> Self {
        let next_session_id = core.first_session_id(now, &sessions);
        Self {
            core,
            sessions,
            owners: BTreeMap::new(),
            next_session_id,
            forwarded: BTreeMap::new(),
            syncs: VecDeque::new(),
            next_number: 0,
            creating: BTreeMap::new(),
            attaching: VecDeque::new(),
            overtaken: BTreeSet::new(),
            fencing: Fencing::default(),
            leaving: Vec::new(),
            touched: BTreeMap::new(),
            logged: VecDeque::new(),
            hint_told: false,
            packets: Vec::new(),
            connected: false,
            epoch: 0,
            of_java: false,
            barrier: None,
            read_only: false,
            relay: Relay::default(),
        }
    }

    /// Replaces the tree by what a leader sent or the disk holds.
    pub fn reset(&mut self, restored: Database, shown: (Zxid, u64)) {
        assert!(self.owners.is_empty(), "{} clients are connected to the tree before", self.owners.len());
        assert!(self.forwarded.is_empty(), "{} sessions wait for a leader", self.forwarded.len());
        self.sessions = self.core.reset(restored);
        self.core.hold(shown);
        self.logged.clear();
    }

    /// Packets for the leader, in order.
    pub fn take_packets(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.packets)
    }

    /// The leader of `epoch` is there: whatever no leader has answered is sent, again where it was sent before.
    ///
    /// A leader that was followed before may have got some of it over the former connection, and be about to do it. So
    /// this server first sends a sync that no client asked for, and the rest waits for its answer: a request that is not
    /// applied when the answer comes has never reached the leader.
    ///
    /// An observer is connected to the leader `via` a follower, and does not know whose the leader is: it numbers its
    /// requests as for ZooKeeper's.
    pub fn connect(&mut self, epoch: u32, of_java: bool, via: Option<u32>, now: Now) {
        assert!(epoch >= self.epoch, "the leader of epoch {epoch} comes after that of {}", self.epoch);
        let of_java = of_java || via.is_some();
        self.relay.via = via;
        self.packets.clear();
        self.syncs.clear();
        self.relay.forget_asked();
        self.of_java = of_java;
        let session_ms = self.core.session_ms(now);
        self.core.local.renew(session_ms);
        let own_cxid = self.own_cxids();
        for request in self.forwarded.values_mut().flatten() {
            request.cxid = if of_java { own_cxid(request.number) } else { request.xid };
        }
        let is_known = std::mem::replace(&mut self.epoch, epoch) == epoch;
        if is_known && !(self.forwarded.is_empty() && self.creating.is_empty()) {
            let number = self.next_number;
            self.next_number += 1;
            self.barrier = Some(number);
            self.syncs.push_back((SessionId::NONE, number));
            let sync = ForwardedRequest { session: SessionId::NONE, cxid: 0, op: OpCode::SYNC, body: &[] };
            return sync.write(&mut self.packets, &[]);
        }
        self.send_again();
    }

    fn send_again(&mut self) {
        assert!(self.syncs.is_empty(), "{} syncs wait for a former leader", self.syncs.len());
        self.barrier = None;
        self.connected = true;
        // What they ask for comes after the txn that lets them.
        for (session_id, timeout_ms) in self.core.local.upgrading() {
            put_create(&mut self.packets, session_id, timeout_ms);
        }
        for (&session_id, requests) in &self.forwarded {
            for request in requests.iter().filter(|request| request.here.is_none()) {
                put_request(&mut self.packets, session_id, request);
            }
        }
        // The syncs of one session come in their order; between sessions any order will do.
        for (&session_id, requests) in &self.forwarded {
            let syncs = requests.iter().filter(|request| request.op == OpCode::SYNC);
            self.syncs.extend(syncs.map(|request| (session_id, request.number)));
        }
        for attach in self.creating.values() {
            put_create(&mut self.packets, attach.session_id, attach.timeout_ms);
        }
        // They ask again, and so come last.
        self.overtaken.clear();
        self.relay.forget_seen();
        for Attach { session_id, timeout_ms, .. } in &self.attaching {
            self.relay.ask(*session_id, None);
            Revalidate { session: *session_id, timeout: *timeout_ms }.write(&mut self.packets);
        }
        let is_due =
            |requests: &VecDeque<Forwarded>| requests.front().is_some_and(|first| first.here.is_some());
        let due = self.forwarded.iter().filter(|(_, requests)| is_due(requests));
        let due: Vec<SessionId> = due.map(|(session_id, _)| *session_id).collect();
        due.into_iter().for_each(|session_id| self.answer_here(session_id));
    }

    /// What a leader of ZooKeeper's gets in place of a client's own number. It is negative, as no client's is, and has the
    /// number of this server in it, so that a txn of another connection, through whatever server, is never taken for the
    /// answer.
    fn own_cxids(&self) -> impl Fn(u64) -> i32 + use<> {
        const { assert!(CXID_NUMBER_BITS + u8::BITS + 1 == i32::BITS) };
        let server = i32::from(self.core.settings.server_id) << CXID_NUMBER_BITS;
        move |number| i32::MIN | server | (number & ((1 << CXID_NUMBER_BITS) - 1)) as i32
    }

    /// Answers those requests whose turn has come and that no leader answers.
    fn answer_here(&mut self, session_id: SessionId) {
        while let Some(requests) = self.forwarded.get_mut(&session_id)
            && requests.front().is_some_and(|first| first.here.is_some())
        {
            let request = requests.pop_front();
            if requests.is_empty() {
                self.forwarded.remove(&session_id);
            }
            request.into_iter().for_each(|request| self.answer_one_here(session_id, &request));
        }
    }

    fn answer_one_here(&mut self, session_id: SessionId, request: &Forwarded) {
        let Forwarded { cnxn, xid, op, here, ref body, .. } = *request;
        let what = match here {
            Some(Here::Close) => {
                #[cfg(any(test, feature = "sim"))]
                if self.connected && self.core.settings.has_bug(SessionsBug::EndLogged) {
                    put_request(&mut self.packets, session_id, request);
                }
                self.core.local.remove(session_id);
                let ended = SessionKind::Ended { session_id };
                match self.read_only {
                    // Clients of a former leader are gone, and with them what waits for one.
                    true => self.core.push_at_once(Some(cnxn), xid, ended),
                    false => self.core.push_in_order(Some(cnxn), xid, ended),
                }
                return self.give_up(session_id, TxnKind::Dropped);
            }
            Some(Here::OfLocal) if op == OpCode::MULTI => {
                self.core.deltas.results.extend(results_of_local(body));
                TxnKind::Multi
            }
            Some(Here::OfLocal) => TxnKind::Failed(ErrorCode::EphemeralOnLocalSession),
            Some(Here::Unreadable | Here::AfterClose) | None => TxnKind::Failed(ErrorCode::MarshallingError),
        };
        self.core.push_in_order(Some(cnxn), xid, what);
    }

    /// There is no leader for now: requests wait.
    pub fn disconnect(&mut self) {
        self.connected = false;
        self.hint_told = false;
        self.barrier = None;
        self.packets.clear();
        self.relay.forget_answers();
    }

    /// Forwards a request of an observer's client.
    pub fn relay_request(&mut self, observer: u32, request: &ForwardedRequest<'_>, ids: &[Id]) {
        assert!(self.connected, "an observer asks a server without a leader");
        request.write(&mut self.packets, ids);
        if request.op == OpCode::SYNC {
            self.relay.sync(self.next_number, observer);
            self.syncs.push_back((SessionId::NONE, self.next_number));
            self.next_number += 1;
        }
    }

    /// Forwards an observer's question whether a session lives, to which a client of it attaches.
    pub fn relay_revalidate(&mut self, observer: u32, session: SessionId, timeout: i32) {
        assert!(self.connected, "an observer asks a server without a leader");
        Revalidate { session, timeout }.write(&mut self.packets);
        self.relay.ask(session, Some(observer));
    }

    /// Whether requests go to the leader at once.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Clients are not served any more: none of them waits for anything.
    pub fn drop_clients(&mut self) {
        self.owners.clear();
        self.forwarded.clear();
        self.syncs.clear();
        self.relay.forget_asked();
        self.creating.clear();
        self.attaching.clear();
        self.overtaken.clear();
        self.relay.forget_seen();
        self.fencing = Fencing::default();
        self.leaving.clear();
        self.touched.clear();
        self.core.unaddress();
        self.core.local.disown();
    }

    /// Clients may read, by sessions that are local; none is connected yet.
    pub fn begin_read_only(&mut self, now: Now) {
        assert!(!self.connected, "clients may only read, and there is a leader");
        let session_ms = self.core.session_ms(now);
        self.core.local.give_upgrades_up(session_ms);
        self.core.local.renew(session_ms);
        self.read_only = true;
    }

    /// No client reads any more. What was local for lack of a leader ends.
    pub fn end_read_only(&mut self) {
        self.read_only = false;
        if !self.core.settings.local_sessions {
            self.core.local.clear();
        }
    }

    /// Ends local sessions whose time is over.
    pub fn expire_local(&mut self, now: Now) {
        for session_id in self.core.expire_local(now) {
            self.core.push_at_once(None::<CnxnId>, 0, SessionKind::Ended { session_id });
            self.give_up(session_id, TxnKind::Dropped);
        }
    }

    /// Takes in what a view sends up.
    pub fn submit(&mut self, now: Now, uplink: Uplink) {
        let Uplink { bytes, mut items, .. } = uplink;
        let Self { core, sessions, .. } = self;
        core.take_inquiries(now, &mut items, |word| SessionsTold::of_learner(sessions, word));
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            if matches!(item, ViewRequest::Request(_)) {
                self.core.metrics.sizes.learner_request_processor_queue_size.record(items.len() as u64);
            }
            match item {
                ViewRequest::Request(request) => self.request(&request, &bytes[request.body.clone()], now),
                ViewRequest::Connect { cnxn, session_id, password, timeout_ms, last_zxid_seen } => {
                    // Signed, as in Java: -1 is before everything.
                    let is_at_once = self.read_only || self.core.settings.local_sessions;
                    let newest = if is_at_once { self.core.shown_zxid() } else { self.core.zxid };
                    if last_zxid_seen.to_wire() > newest.to_wire() {
                        self.core.push_at_once(Some(cnxn), 0, SessionKind::Ahead { seen: last_zxid_seen });
                        continue;
                    }
                    let settings = &self.core.settings;
                    let (min_ms, max_ms) = (settings.min_session_timeout_ms, settings.max_session_timeout_ms);
                    let timeout_ms = timeout_ms.max(min_ms).min(max_ms);
                    self.open(Attach { cnxn, session_id, timeout_ms }, &password, now);
                }
                ViewRequest::Touched(sessions) => self.heard(&sessions, now),
                ViewRequest::Fenced(former) => self.fenced(former),
                ViewRequest::FourLetterWord { .. } | ViewRequest::Report { .. } => {
                    unreachable!("inquiries are taken out before")
                }
                // No view sends these: this server was to lead when its clients wanted that, and it waited.
                ViewRequest::CreateSession { from, session_id, timeout_ms } => {
                    let cnxn = from.client().expect("learners ask the leader");
                    self.create(Attach { cnxn, session_id, timeout_ms });
                }
                ViewRequest::Revalidate { from, session_id, timeout_ms } => {
                    let cnxn = from.client().expect("learners ask the leader");
                    self.attach(Attach { cnxn, session_id, timeout_ms });
                }
            }
        }
    }

    /// These sessions gave a sign of life.
    pub fn heard(&mut self, sessions: &[SessionId], now: Now) {
        sessions.iter().for_each(|id| self.touch(*id, now));
    }

    fn touch(&mut self, session_id: SessionId, now: Now) {
        if let Some(&timeout_ms) = self.sessions.get(&session_id) {
            self.touched.insert(session_id, timeout_ms);
        } else {
            let session_ms = self.core.session_ms(now);
            self.core.local.heard(session_id, session_ms);
        }
    }

    fn request(&mut self, request: &Request, body: &[u8], now: Now) {
        let Request { origin, session_id, xid, op, ref ids, .. } = *request;
        let cnxn = origin.client().expect("learners ask the leader");
        let is_global = self.sessions.contains_key(&session_id);
        if !is_global && !self.core.local.contains(session_id) {
            return self.core.push_at_once(Some(cnxn), xid, TxnKind::Dropped);
        }
        if self.owner(session_id) != Some(cnxn) {
            return self.core.push_at_once(Some(cnxn), xid, TxnKind::Moved);
        }
        self.touch(session_id, now);
        let number = self.next_number;
        self.next_number += 1;
        let cxid = if self.of_java { self.own_cxids()(number) } else { xid };
        let here = self.answers_here(session_id, is_global, op, body);
        let (body, ids) = (body.into(), ids.clone());
        let request = Forwarded { cnxn, xid, op, body, ids, number, cxid, here };
        if self.connected && here.is_none() {
            put_request(&mut self.packets, session_id, &request);
            if op == OpCode::SYNC {
                self.syncs.push_back((session_id, number));
            }
        }
        self.forwarded.entry(session_id).or_default().push_back(request);
        if self.connected || self.read_only {
            self.answer_here(session_id);
        }
    }

    /// The connection that acts for a session.
    fn owner(&self, session_id: SessionId) -> Option<CnxnId> {
        self.owners.get(&session_id).copied().or_else(|| self.core.local.owner(session_id))
    }

    /// What this server answers by itself of a request; begins to make the session global if the request wants that.
    fn answers_here(
        &mut self,
        session_id: SessionId,
        is_global: bool,
        op: OpCode,
        body: &[u8],
    ) -> Option<Here> {
        if !is_readable(op, body) {
            return Some(Here::Unreadable);
        }
        if is_global || !self.core.local.stays_local(session_id) {
            return None;
        }
        let last = self.forwarded.get(&session_id).and_then(VecDeque::back);
        if last.is_some_and(|last| matches!(last.here, Some(Here::Close | Here::AfterClose))) {
            return Some(Here::AfterClose);
        }
        if op == OpCode::CLOSE_SESSION {
            return Some(Here::Close);
        }
        if !wants_global(op, body) {
            return None;
        }
        if !self.core.settings.upgrades_sessions {
            return Some(Here::OfLocal);
        }
        let timeout_ms = self.core.local.begin_upgrade(session_id)?;
        #[cfg(any(test, feature = "sim"))]
        if self.core.settings.has_bug(SessionsBug::UpgradeNotLogged) {
            return None;
        }
        if self.connected {
            put_create(&mut self.packets, session_id, timeout_ms);
        }
        None
    }

    fn open(&mut self, attach: Attach, password: &[u8], now: Now) {
        let Attach { cnxn, session_id, timeout_ms } = attach;
        let session_ms = self.core.session_ms(now);
        if session_id.is_none() {
            let session_id = self.next_session_id;
            self.next_session_id = session::id_after(session_id);
            if self.read_only || self.core.settings.local_sessions {
                if self.core.local.is_full() {
                    self.core.metrics.counters.connection_rejected += 1;
                    return self.core.push_at_once(Some(cnxn), 0, TxnKind::Dropped);
                }
                self.core.local.open(session_id, timeout_ms, cnxn, session_ms);
                return self.core.push_at_once(Some(cnxn), 0, SessionKind::Opened { session_id, timeout_ms });
            }
            self.create(Attach { session_id, ..attach });
        } else if self.read_only && self.sessions.contains_key(&session_id) {
            self.core.push_at_once(Some(cnxn), 0, SessionKind::Global { session_id });
        } else if !session::is_password(session_id, password) {
            self.core.push_at_once(Some(cnxn), 0, SessionKind::Refused { session_id });
        } else if self.core.local.contains(session_id) {
            self.attach_local(attach, session_ms);
        } else if self.read_only {
            self.core.push_at_once(Some(cnxn), 0, SessionKind::Refused { session_id });
        } else {
            self.attach(attach);
        }
    }

    /// Has the leader begin a session, whose id this server has given out.
    fn create(&mut self, attach: Attach) {
        if self.connected {
            put_create(&mut self.packets, attach.session_id, attach.timeout_ms);
        }
        self.creating.insert(attach.session_id, attach);
    }

    /// Asks the leader whether a client may attach to its session; the password was right.
    fn attach(&mut self, attach: Attach) {
        let Attach { session_id, timeout_ms, .. } = attach;
        if self.connected {
            Revalidate { session: session_id, timeout: timeout_ms }.write(&mut self.packets);
            self.relay.ask(session_id, None);
        }
        self.attaching.push_back(attach);
        // What the former connection asks from here on would come to the leader after the attachment.
        if let Some(former) = self.owners.remove(&session_id) {
            self.leaving.push((session_id, former));
            self.core.push_at_once(Some(former), 0, ControlKind::Fence(former));
        }
    }

    /// A client attaches to a session that only this server knows, once its former connection is silent.
    fn attach_local(&mut self, attach: Attach, session_ms: i64) {
        let Attach { cnxn, session_id, timeout_ms } = attach;
        let former = self.core.local.attach(session_id, timeout_ms, cnxn, session_ms);
        if let Some(former) = former.filter(|former| *former != cnxn) {
            self.leaving.push((session_id, former));
            self.core.push_at_once(Some(former), 0, ControlKind::Fence(former));
        }
        match self.leaving.iter().rev().find(|(left, _)| *left == session_id) {
            None => self.core.push_at_once(Some(cnxn), 0, SessionKind::Attached { session_id, timeout_ms }),
            Some((_, former)) => self.fencing.wait(*former, attach),
        }
    }

    /// The leader's answer to the oldest attachment of `session_id`.
    pub fn revalidated(&mut self, session_id: SessionId, valid: bool) {
        if self.relay.revalidated(session_id, valid) {
            return;
        }
        let oldest = self.attaching.iter().position(|attach| attach.session_id == session_id);
        // The client that asked was dropped since.
        let Some(attach) = oldest.and_then(|at| self.attaching.remove(at)) else { return };
        let Attach { cnxn, timeout_ms, .. } = attach;
        let waiting = self.attaching.iter().filter(|attach| attach.session_id == session_id).count();
        let is_overtaken =
            self.relay.is_overtaken(session_id, waiting) || self.overtaken.contains(&session_id);
        if !self.attaching.iter().any(|attach| attach.session_id == session_id) {
            self.overtaken.remove(&session_id);
        }
        if !valid {
            return self.core.push_at_once(Some(cnxn), 0, SessionKind::Refused { session_id });
        }
        // The leader refuses what would come through this connection, in txns that do not tell it from former ones. A
        // client that is still there attaches once more.
        if is_overtaken {
            return self.core.push_at_once(Some(cnxn), 0, SessionKind::Overtaken { session_id });
        }
        self.sessions.entry(session_id).and_modify(|known_ms| *known_ms = timeout_ms);
        let former = self.owners.insert(session_id, cnxn).filter(|former| *former != cnxn);
        if let Some(former) = former {
            self.leaving.push((session_id, former));
            self.core.push_at_once(Some(former), 0, ControlKind::Fence(former));
        }
        match self.leaving.iter().rev().find(|(left, _)| *left == session_id) {
            None => self.core.push_at_once(Some(cnxn), 0, SessionKind::Attached { session_id, timeout_ms }),
            Some((_, former)) => self.fencing.wait(*former, attach),
        }
    }

    fn fenced(&mut self, former: CnxnId) {
        let Self { core, owners, fencing, leaving, .. } = self;
        leaving.retain(|(_, left)| *left != former);
        let mut answers = Vec::new();
        let is_owner = |attach: &Attach| {
            let owner = owners.get(&attach.session_id).copied();
            owner.or_else(|| core.local.owner(attach.session_id)) == Some(attach.cnxn)
        };
        fencing.fenced(former, is_owner, |_| false, |cnxn, what| answers.push((cnxn, what)));
        answers.into_iter().for_each(|(cnxn, what)| core.push_at_once(Some(cnxn), 0, what));
    }

    /// The leader's answer to the oldest sync: everything before it was committed before.
    pub fn synced(&mut self) {
        // The clients that asked were dropped since.
        let Some((session_id, number)) = self.syncs.pop_front() else { return };
        if self.barrier == Some(number) {
            return self.send_again();
        }
        if self.relay.synced(number) {
            return;
        }
        // A client whose session has ended or moved since was told so.
        let Some(request) = self.take_forwarded(session_id, number) else { return };
        assert_eq!(
            request.op,
            OpCode::SYNC,
            "request {number} of session {session_id:#x} is answered as a sync"
        );
        self.core.metrics.counters.request_commit_queued += 1;
        self.core.push_at_once(Some(request.cnxn), request.xid, TxnKind::Synced);
        self.answer_here(session_id);
    }

    /// Takes back one request of a session, unless it was answered or given up.
    fn take_forwarded(&mut self, session_id: SessionId, number: u64) -> Option<Forwarded> {
        let requests = self.forwarded.get_mut(&session_id)?;
        let at = requests.iter().position(|request| request.number == number)?;
        let request = requests.remove(at);
        if requests.is_empty() {
            self.forwarded.remove(&session_id);
        }
        request
    }

    /// Answers the syncs before a request whose txn is about to be applied: their leader is gone, or it would have
    /// answered them before. A new leader has the txn, so no other server led in between, and all that was committed when they
    /// were asked comes before it. What cannot be read is refused.
    fn pass_syncs(&mut self, session_id: SessionId, cxid: i32) {
        let Some(requests) = self.forwarded.get_mut(&session_id) else { return };
        let makes_txn = |request: &Forwarded| request.op != OpCode::SYNC && request.here.is_none();
        let Some(at) = requests.iter().position(makes_txn) else { return };
        if requests[at].cxid != cxid {
            return;
        }
        // Syncs of a former leader, and what was never sent.
        let passed: Vec<Forwarded> = requests.drain(..at).collect();
        for request in passed {
            match request.here {
                Some(_) => self.answer_one_here(session_id, &request),
                None => self.core.push_in_order(Some(request.cnxn), request.xid, TxnKind::Synced),
            }
        }
    }

    /// Answers the leader's ping: these sessions live.
    pub fn answer_ping(&mut self, zxid: Zxid) {
        let touched = std::mem::take(&mut self.touched);
        put_ping_answer(&mut self.packets, zxid, touched.into_iter());
    }

    /// A txn goes to the log.
    pub fn log(&mut self, logged: Logged) {
        let last = self.logged.back().map_or(self.core.last_txn, |last| last.zxid);
        assert!(logged.zxid > last, "the log goes back: {} after {last}", logged.zxid);
        self.logged.push_back(logged);
    }

    /// Everything through `zxid` is committed, `now`. Txns that leave another digest than the leader says are given
    /// back: they were applied.
    ///
    /// # Errors
    /// A txn that cannot be applied: this tree is not what it should be, and nothing can be built on it.
    pub fn commit(&mut self, through: Zxid, now: Now) -> Result<Vec<Differs>, ReplayError> {
        let mut differ = Vec::new();
        let is_in_step = !self.core.is_held();
        while self.logged.front().is_some_and(|first| first.zxid <= through)
            && let Some(first) = self.logged.pop_front()
        {
            // What a sync brings was committed before.
            if is_in_step {
                self.note_committed(&first, now);
            }
            let Some(why) = self.apply(&first)? else { continue };
            self.core.metrics.counters.digest_mismatches_count += 1;
            let is_hint = first.is_hint;
            if !is_hint || !std::mem::replace(&mut self.hint_told, true) {
                differ.push(Differs { why, is_hint });
            }
        }
        Ok(differ)
    }

    fn note_committed(&mut self, logged: &Logged, now: Now) {
        let made_ms = txn::time_ms(&logged.txn);
        let Metrics { counters, latencies, .. } = &mut self.core.metrics;
        counters.learner_commit_received_count += 1;
        counters.request_commit_queued += 1;
        latencies.commit_propagation_latency.record_since(now.wall_ms, made_ms);
        latencies.propagation_latency.record_since(now.wall_ms, made_ms);
    }

    fn apply(&mut self, logged: &Logged) -> Result<Option<ReplayError>, ReplayError> {
        let mut reader = Reader::new(&logged.txn);
        let TxnHeader { session_id, cxid, op, .. } = TxnHeader::read(&mut reader)?;
        // Of what was asked before the session was attached here. What this server waits for is refused so only after the
        // txn that attaches the session elsewhere, which gave it up.
        let is_of_former = !self.of_java && is_refused_as_moved(op, reader);
        if !is_of_former && op != OpCode::CREATE_SESSION {
            self.pass_syncs(session_id, cxid);
        }
        let is_known = self.sessions.contains_key(&session_id);
        let (header, what, differs) = self.core.apply_logged(&mut self.sessions, logged.zxid, &logged.txn)?;
        debug_assert_eq!(self.core.last_txn, logged.zxid, "the tree is as of another txn than the last one");
        let to = match what {
            EntryKind::Session(SessionKind::Created { .. }) if is_known => {
                self.attached_somewhere(session_id, attachment_sid(cxid));
                None
            }
            EntryKind::Session(SessionKind::Created { .. }) => {
                // A local session that is global now: its connection waits for no answer.
                if let Some(owner) = self.core.local.remove(session_id).and_then(|local| local.owner) {
                    self.owners.insert(session_id, owner);
                }
                self.creating.remove(&session_id).map(|attach| {
                    self.owners.insert(session_id, attach.cnxn);
                    (attach.cnxn, 0)
                })
            }
            _ if is_of_former => None,
            _ => self.answered(session_id, header.cxid),
        };
        let is_closed = matches!(what, EntryKind::Session(SessionKind::Closed { .. }));
        let (to, xid) = to.unzip();
        self.core.push_in_order(to, xid.unwrap_or(header.cxid), what);
        self.answer_here(session_id);
        if is_closed {
            self.owners.remove(&session_id);
            self.touched.remove(&session_id);
            self.give_up(session_id, TxnKind::Dropped);
        }
        Ok(differs)
    }

    /// A client is attached to its session, here or elsewhere: the connection that had it before, if it was one of this
    /// server's, has it no longer, and what it asked for and is not done will never be done. If the client is here, the
    /// leader's answer follows. `sid` is the server that it is attached to, if the leader tells.
    fn attached_somewhere(&mut self, session_id: SessionId, sid: Option<u32>) {
        let is_here = sid.is_none_or(|sid| sid == u32::from(self.core.settings.server_id));
        let is_via = sid.is_some() && sid == self.relay.via;
        let attaches = self.attaching.iter().any(|attach| attach.session_id == session_id);
        if is_here || is_via {
            self.overtaken.remove(&session_id);
        } else if attaches {
            self.overtaken.insert(session_id);
        }
        if is_via && attaches {
            self.relay.saw_via(session_id);
        }
        self.give_up(session_id, TxnKind::Moved);
        if let Some(former) = self.owners.remove(&session_id) {
            self.leaving.push((session_id, former));
            self.core.push_in_order(Some(former), 0, ControlKind::Fence(former));
        }
    }

    /// What a session asked for will not be done. Views count what they wait for, so each request is answered.
    fn give_up(&mut self, session_id: SessionId, what: TxnKind) {
        for Forwarded { cnxn, xid, .. } in self.forwarded.remove(&session_id).into_iter().flatten() {
            self.core.push_in_order(Some(cnxn), xid, what);
        }
    }

    /// The connection and the xid of the request whose txn came back, if a client of this server asked for it.
    fn answered(&mut self, session_id: SessionId, cxid: i32) -> Option<(CnxnId, i32)> {
        let requests = self.forwarded.get_mut(&session_id)?;
        let front = requests.front()?;
        if front.cxid != cxid || front.op == OpCode::SYNC {
            return None;
        }
        let request = requests.pop_front()?;
        if requests.is_empty() {
            self.forwarded.remove(&session_id);
        }
        Some((request.cnxn, request.xid))
    }
}

fn put_request(out: &mut Vec<u8>, session_id: SessionId, request: &Forwarded) {
    let Forwarded { cxid, op, ref body, ref ids, .. } = *request;
    ForwardedRequest { session: session_id, cxid, op, body }.write(out, ids);
}

fn put_create(out: &mut Vec<u8>, session: SessionId, timeout_ms: i32) {
    let (op, body) = (OpCode::CREATE_SESSION, timeout_ms.to_be_bytes());
    ForwardedRequest { session, cxid: 0, op, body: &body }.write(out, &[]);
}

/// What a multi answers that wants an ephemeral of a session that stays local: its first ephemeral fails it.
fn results_of_local(body: &[u8]) -> impl Iterator<Item = MultiResult> {
    let ops = read_multi(&mut Reader::new(body)).unwrap_or_default();
    let culprit = ops.iter().position(|op| op_wants_global(op)).unwrap_or(0);
    (0..ops.len()).map(move |at| {
        let err = match at.cmp(&culprit) {
            Ordering::Less => 0,
            Ordering::Equal => ErrorCode::EphemeralOnLocalSession.to_wire(),
            Ordering::Greater => ErrorCode::RuntimeInconsistency.to_wire(),
        };
        MultiResult { op: OpCode::ERROR, err, changes: 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::super::fencing::attachment_cxid;
    use super::super::tests::{settings, tree_settings};
    use super::*;
    use crate::replica::{CommitSettings, Origin};
    use crate::txn::Txn;

    const SESSION: SessionId = SessionId(0x0100_0000_0000_0001);
    const CNXN: CnxnId = CnxnId { view: 0, slot: 4, generation: 1 };

    /// A follower whose client has asked for two things.
    fn asked() -> Follow {
        let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
        let (core, _) = Core::new(settings(), Arc::default(), Database::fresh(tree_settings()), now);
        let mut follow = Follow::of(core, BTreeMap::from([(SESSION, 4000)]), now);
        follow.owners.insert(SESSION, CNXN);
        follow.connect(1, false, None, Now::default());
        ask(&mut follow, CNXN, 1, OpCode::DELETE, &delete_body());
        ask(&mut follow, CNXN, 2, OpCode::SYNC, b"");
        follow
    }

    /// What the views hear of a txn of the session that no client of this server asked for.
    fn after(mut follow: Follow, op: OpCode, txn: &Txn<'_>) -> Vec<(Option<CnxnId>, i32, String)> {
        heard(&mut follow);
        commit(&mut follow, 0, op, txn)
    }

    /// Has the leader commit a txn of the session; what the views hear then.
    fn commit(
        follow: &mut Follow,
        cxid: i32,
        op: OpCode,
        txn: &Txn<'_>,
    ) -> Vec<(Option<CnxnId>, i32, String)> {
        let zxid = follow.core.last_txn.next().unwrap_or(Zxid::new(1, 1));
        let header = TxnHeader { session_id: SESSION, cxid, zxid, time_ms: 0, op };
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        txn.put(&mut bytes);
        follow.log(Logged { zxid: header.zxid, txn: bytes.into(), is_hint: false });
        follow.commit(header.zxid, Now::default()).expect("applies");
        heard(follow)
    }

    fn heard(follow: &mut Follow) -> Vec<(Option<CnxnId>, i32, String)> {
        let told = std::mem::take(&mut follow.core.deltas).entries;
        told.into_iter()
            .map(|entry| (entry.to.and_then(Origin::client), entry.xid, format!("{:?}", entry.what)))
            .collect()
    }

    /// What goes to the leader of what these views send: op and cxid.
    fn sent(follow: &mut Follow) -> Vec<(OpCode, i32)> {
        let mut stream = crate::zab::message::PacketStream::default();
        stream.feed(&follow.take_packets());
        let mut sent = Vec::new();
        while let Some(packet) = stream.next_packet().expect("well formed") {
            match packet.kind {
                crate::zab::message::PacketType::REQUEST => {
                    let request = ForwardedRequest::read(packet.data).expect("well formed");
                    sent.push((request.op, request.cxid));
                }
                _ => sent.push((OpCode(0), 0)),
            }
        }
        sent
    }

    fn ask(follow: &mut Follow, cnxn: CnxnId, xid: i32, op: OpCode, body: &[u8]) {
        let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
        let request = Request {
            origin: cnxn.into(),
            session_id: SESSION,
            xid,
            op,
            body: 0..body.len(),
            ids: Arc::from([]),
        };
        follow.submit(
            now,
            Uplink { bytes: body.into(), items: vec![ViewRequest::Request(request)], ..Uplink::default() },
        );
    }

    fn delete_body() -> Vec<u8> {
        let mut body = Vec::new();
        crate::proto::JuteWrite::put_string(&mut body, b"/absent");
        body.extend((-1_i32).to_be_bytes());
        body
    }

    /// A client attaches again through another connection while requests of its former one are under way, and counts its
    /// requests anew. Each gets the answer to its own. What the former one asks from then on is refused, and does not go
    /// behind the attachment.
    #[test]
    fn numbers_that_come_again() {
        for of_java in [false, true] {
            let mut follow = asked();
            follow.forwarded.clear();
            follow.connect(2, of_java, None, Now::default());
            let error = |code: ErrorCode| Txn::Error { code: code.to_wire() };
            let body = delete_body();
            sent(&mut follow);
            heard(&mut follow);
            ask(&mut follow, CNXN, 1, OpCode::DELETE, &body);
            let first = sent(&mut follow)[0].1;
            let next = CnxnId { slot: 5, ..CNXN };
            let attach = Attach { cnxn: next, session_id: SESSION, timeout_ms: 4000 };
            follow.open(attach, &session::password(SESSION), Now::default());
            assert_eq!(heard(&mut follow), [(Some(CNXN), 0, format!("Fence({CNXN:?})"))]);
            assert_eq!(sent(&mut follow), [(OpCode(0), 0)], "the leader is asked");
            ask(&mut follow, CNXN, 2, OpCode::DELETE, &body);
            assert_eq!(heard(&mut follow), [(Some(CNXN), 2, "Moved".to_owned())]);
            assert_eq!(sent(&mut follow), []);
            if !of_java {
                let told = commit(&mut follow, first, OpCode::ERROR, &error(ErrorCode::NoNode));
                assert_eq!(told, [(Some(CNXN), 1, "Failed(NoNode)".to_owned())]);
                commit(&mut follow, 0, OpCode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 4000 });
            }
            follow.revalidated(SESSION, true);
            follow.fenced(CNXN);
            assert!(heard(&mut follow)[0].2.starts_with("Attached"));
            ask(&mut follow, next, 9, OpCode::SYNC, b"");
            ask(&mut follow, next, 1, OpCode::DELETE, &body);
            let second = sent(&mut follow)[1].1;
            assert_eq!((first != second, second < 0), (of_java, of_java));
            // What the client asked for through another server, which has lost the session: in that server's numbers, or,
            // if that is Java's, in the client's.
            for cxid in [second ^ (i32::from(of_java) << CXID_NUMBER_BITS), 1] {
                let multi = Txn::Multi(vec![
                    (OpCode::ERROR, error(ErrorCode::SessionMoved)),
                    (OpCode::ERROR, error(ErrorCode::RuntimeInconsistency)),
                ]);
                for (op, txn) in [(OpCode::ERROR, error(ErrorCode::SessionMoved)), (OpCode::MULTI, multi)] {
                    let told = commit(&mut follow, cxid, op, &txn);
                    assert!(told.len() == 1 && told[0].0.is_none(), "{cxid:#x}: {told:?}");
                }
            }
            if of_java {
                let told = commit(&mut follow, first, OpCode::ERROR, &error(ErrorCode::NoNode));
                assert_eq!(told, [(Some(CNXN), 1, "Failed(NoNode)".to_owned())]);
            }
            let told = commit(&mut follow, second, OpCode::ERROR, &error(ErrorCode::NoNode));
            let synced = (Some(next), 9, "Synced".to_owned());
            assert_eq!(told, [synced, (Some(next), 1, "Failed(NoNode)".to_owned())]);
        }
    }

    /// A client that attached through another server since it asked here gets no session here: the leader would refuse its
    /// writes and answer its syncs, and no txn would tell that the refusals are its own.
    #[test]
    fn attachment_that_was_overtaken() {
        let here = u32::from(settings().server_id);
        let elsewhere = here + 1;
        let next = CnxnId { slot: 5, ..CNXN };
        let attached = format!("{:?}", SessionKind::Attached { session_id: SESSION, timeout_ms: 4000 });
        let overtaken = format!("{:?}", SessionKind::Overtaken { session_id: SESSION });
        for (cxids, expected) in [
            (vec![attachment_cxid(elsewhere), attachment_cxid(here)], &attached),
            (vec![attachment_cxid(here), attachment_cxid(elsewhere)], &overtaken),
            // A leader that does not tell, and one that makes no such txn.
            (vec![0, 0], &attached),
            (vec![], &attached),
        ] {
            let mut follow = asked();
            follow.forwarded.clear();
            follow.open(
                Attach { cnxn: next, session_id: SESSION, timeout_ms: 4000 },
                &session::password(SESSION),
                Now::default(),
            );
            follow.fenced(CNXN);
            for cxid in &cxids {
                commit(&mut follow, *cxid, OpCode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 4000 });
            }
            heard(&mut follow);
            follow.revalidated(SESSION, true);
            assert_eq!(heard(&mut follow), [(Some(next), 0, expected.clone())], "{cxids:x?}");
            assert_eq!(follow.owners.get(&SESSION), (*expected == attached).then_some(&next));
            assert!(follow.overtaken.is_empty());
            ask(&mut follow, next, 2, OpCode::DELETE, &delete_body());
            ask(&mut follow, next, 3, OpCode::SYNC, b"");
            assert_eq!(follow.forwarded.is_empty(), *expected == overtaken);
        }
    }

    /// A request that cannot be read does not go to the leader, and is refused in its turn, also over a change of leaders.
    #[test]
    fn unreadable_requests() {
        let mut follow = asked();
        follow.forwarded.clear();
        let (error, body) = (Txn::Error { code: ErrorCode::NoNode.to_wire() }, delete_body());
        sent(&mut follow);
        heard(&mut follow);
        let refused = |xid| (Some(CNXN), xid, "Failed(MarshallingError)".to_owned());
        ask(&mut follow, CNXN, 1, OpCode::MULTI, b"");
        assert_eq!(heard(&mut follow), [refused(1)]);
        for (xid, length) in [(2, 0), (3, 1), (4, 2), (5, 0)] {
            ask(&mut follow, CNXN, xid, OpCode::DELETE, &body[..body.len() - length]);
        }
        assert_eq!(heard(&mut follow), []);
        let cxids = sent(&mut follow);
        assert_eq!(cxids.len(), 2);
        let told = commit(&mut follow, cxids[0].1, OpCode::ERROR, &error);
        assert_eq!(told, [(Some(CNXN), 2, "Failed(NoNode)".to_owned()), refused(3), refused(4)]);
        follow.disconnect();
        ask(&mut follow, CNXN, 6, OpCode::DELETE, &body[..1]);
        assert_eq!(heard(&mut follow), []);
        follow.connect(2, false, None, Now::default());
        assert_eq!(sent(&mut follow), cxids[1..], "it keeps its number, and what cannot be read stays");
        let told = commit(&mut follow, cxids[1].1, OpCode::ERROR, &error);
        assert_eq!(told, [(Some(CNXN), 5, "Failed(NoNode)".to_owned()), refused(6)]);
        assert!(follow.forwarded.is_empty());
    }

    /// A follower with a local session, which has a leader.
    fn with_local(upgrades_sessions: bool) -> (Follow, SessionId) {
        let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
        let settings = CommitSettings { local_sessions: true, upgrades_sessions, ..settings() };
        let (core, _) = Core::new(settings, Arc::default(), Database::fresh(tree_settings()), now);
        let mut follow = Follow::of(core, BTreeMap::new(), now);
        follow.connect(1, false, None, now);
        follow.open(Attach { cnxn: CNXN, session_id: SessionId::NONE, timeout_ms: 4000 }, &[], now);
        let told = heard(&mut follow);
        assert!(told.len() == 1 && told[0].2.starts_with("Opened"), "{told:?}");
        let (session_id, _) = follow.core.local.ids().next().expect("a local session");
        (follow, session_id)
    }

    fn ask_of(follow: &mut Follow, session_id: SessionId, xid: i32, op: OpCode, body: &[u8]) {
        let (origin, ids) = (CNXN.into(), Arc::from([]));
        let request = Request { origin, session_id, xid, op, body: 0..body.len(), ids };
        let items = vec![ViewRequest::Request(request)];
        follow.submit(Now::default(), Uplink { bytes: body.into(), items, ..Uplink::default() });
    }

    fn create_body(flags: i32) -> Vec<u8> {
        let mut body = Vec::new();
        crate::proto::JuteWrite::put_string(&mut body, b"/e");
        crate::proto::JuteWrite::put_buffer(&mut body, Some(b""));
        crate::proto::acl::put_acls(&mut body, &[crate::proto::Acl::open()]);
        body.extend(flags.to_be_bytes());
        body
    }

    /// A local session becomes global by a createSession that comes after what its client asked before, and before what
    /// wants it. It is done once, and again where the leader is another one by then. No ping names the session before.
    #[test]
    fn upgrade_in_its_place() {
        let (mut follow, session_id) = with_local(true);
        assert_eq!(sent(&mut follow), [], "no txn begins a local session");
        follow.heard(&[session_id], Now::default());
        assert!(follow.touched.is_empty(), "a ping would name a local session");
        ask_of(&mut follow, session_id, 1, OpCode::DELETE, &delete_body());
        ask_of(&mut follow, session_id, 2, OpCode::CREATE, &create_body(1));
        ask_of(&mut follow, session_id, 3, OpCode::CREATE, &create_body(3));
        let expected =
            [(OpCode::DELETE, 1), (OpCode::CREATE_SESSION, 0), (OpCode::CREATE, 2), (OpCode::CREATE, 3)];
        assert_eq!(sent(&mut follow), expected);
        follow.disconnect();
        follow.connect(2, false, None, Now::default());
        let again =
            [(OpCode::CREATE_SESSION, 0), (OpCode::DELETE, 1), (OpCode::CREATE, 2), (OpCode::CREATE, 3)];
        assert_eq!(sent(&mut follow), again);
        let header =
            TxnHeader { session_id, cxid: 0, zxid: Zxid::new(2, 1), time_ms: 0, op: OpCode::CREATE_SESSION };
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        Txn::CreateSession { timeout_ms: 4000 }.put(&mut bytes);
        follow.log(Logged { zxid: header.zxid, txn: bytes.into(), is_hint: false });
        follow.commit(header.zxid, Now::default()).expect("applies");
        let told = heard(&mut follow);
        assert!(told.len() == 1 && told[0].0.is_none(), "its connection waits for no session: {told:?}");
        assert_eq!((follow.core.local.len(), follow.owners.get(&session_id)), (0, Some(&CNXN)));
        follow.heard(&[session_id], Now::default());
        assert!(follow.touched.contains_key(&session_id), "the leader expires it from here on");
    }

    /// Without upgrading an ephemeral is refused in its turn, and what comes after a local session's end is not done.
    #[test]
    fn local_session_that_stays_local() {
        let (mut follow, session_id) = with_local(false);
        ask_of(&mut follow, session_id, 1, OpCode::SYNC, b"");
        ask_of(&mut follow, session_id, 2, OpCode::CREATE, &create_body(1));
        ask_of(&mut follow, session_id, 3, OpCode::CLOSE_SESSION, b"");
        ask_of(&mut follow, session_id, 4, OpCode::DELETE, &delete_body());
        assert_eq!(sent(&mut follow), [(OpCode::SYNC, 0)].map(|(op, _)| (op, 1)));
        assert_eq!(heard(&mut follow), [], "the sync comes first");
        follow.synced();
        let told: Vec<(i32, String)> =
            heard(&mut follow).into_iter().map(|(_, xid, what)| (xid, what)).collect();
        let ended = format!("{:?}", SessionKind::Ended { session_id });
        let refused = "Failed(EphemeralOnLocalSession)".to_owned();
        let expected = [(1, "Synced".to_owned()), (2, refused), (3, ended), (4, "Dropped".to_owned())];
        assert_eq!(told, expected);
        assert_eq!((follow.core.local.len(), sent(&mut follow)), (0, Vec::new()));
    }

    /// Without a leader a session is local, writes never come here, and a session of the ensemble is sent elsewhere.
    #[test]
    fn read_only_sessions() {
        let mut follow = asked();
        follow.disconnect();
        follow.drop_clients();
        follow.begin_read_only(Now::default());
        heard(&mut follow);
        follow.open(Attach { cnxn: CNXN, session_id: SESSION, timeout_ms: 4000 }, &[], Now::default());
        assert_eq!(heard(&mut follow)[0].2, format!("{:?}", SessionKind::Global { session_id: SESSION }));
        follow.open(
            Attach { cnxn: CNXN, session_id: SessionId::NONE, timeout_ms: 4000 },
            &[],
            Now::default(),
        );
        let (session_id, _) = follow.core.local.ids().next().expect("a local session");
        heard(&mut follow);
        ask_of(&mut follow, session_id, 1, OpCode::CLOSE_SESSION, b"");
        assert_eq!(heard(&mut follow)[0].2, format!("{:?}", SessionKind::Ended { session_id }));
        follow.open(
            Attach { cnxn: CNXN, session_id: SessionId::NONE, timeout_ms: 4000 },
            &[],
            Now::default(),
        );
        follow.end_read_only();
        assert_eq!(follow.core.local.len(), 0, "without localSessionsEnabled they end with it");
    }

    /// Every request is answered, also those of a session that ends or moves before they are done: a view that waits
    /// for more and more of them lets its clients send one at a time in the end.
    #[test]
    fn requests_that_will_not_be_done() {
        let told = after(asked(), OpCode::CLOSE_SESSION, &Txn::CloseSession { paths: None });
        let dropped = |xid| (Some(CNXN), xid, "Dropped".to_owned());
        assert_eq!(told[1..], [dropped(1), dropped(2)], "{told:?}");
        let told = after(asked(), OpCode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 4000 });
        let moved = |xid| (Some(CNXN), xid, "Moved".to_owned());
        assert_eq!(told[..2], [moved(1), moved(2)], "{told:?}");
        assert!(told[2].2.starts_with("Fence"), "{told:?}");
    }
}
