//! A view: connections, reads, watches, and the committed tree.

use super::cnxn::{CloseReason, Cnxn, CnxnStats, Pending, State};
use super::commit::WRITE_BYTES_MAX;
use super::read::{
    BYTES_PER_WORK, ID_WORK, REQUEST_WORK, Read, WATCH_WORK, answer_bytes, is_long, put_error_result,
};
use super::report::ViewReport;
use super::{
    CnxnId, ControlKind, Deltas, Entry, EntryKind, MultiResult, Now, Request, Restart, SessionKind, TxnKind,
    Uplink, ViewRequest,
};
use crate::admin::{self, Connection, ConnectionSession, FourLetterWord, Metrics, Sizes, Summary, Whitelist};
use crate::auth::{self, AclList, Policy};
use crate::proto::event::{EventType, put_event};
use crate::proto::reply::{MultiHeader, ReplyHeader, put_reply, put_status};
use crate::proto::request::{AuthPacket, WatchCursor, read_multi};
use crate::proto::{
    ConnectRequest, ConnectResponse, ErrorCode, Id, JuteWrite, OpCode, Perms, Reader, RequestHeader,
    XID_PING, Zxid, jute, path,
};
use crate::session;
use crate::tree::{ImageOf, NodeImage, NodeIndex, Tree};
use crate::txn::Change;
use crate::watch::{self, Watches};
use crate::zab::LinkId;
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Unsent bytes at which a connection's requests wait; a single answer may be larger.
const OUT_BYTES_PAUSE: usize = 256 << 10;

/// The same while memory is short.
const OUT_BYTES_PAUSE_SHORT: usize = 16 << 10;

/// Unsent bytes of all connections of a view at which memory is short: requests with large answers wait until it is not,
/// connections may have less unsent, and those that take nothing end. One more answer may come on top.
const OUT_BYTES_ALL_MAX: usize = 256 << 20;

/// An answer that waits while memory is short.
const LARGE_ANSWER_BYTES: usize = 64 << 10;

/// How long a connection may hold much that its client does not take, while memory is short.
const STUCK_MS: i64 = 10_000;

/// Bytes of events that a client has not taken at which its connection ends; answers do not count, since
/// requests wait long before.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// The same while memory is short.
const EVENT_BYTES_MAX_SHORT: usize = 1 << 20;

/// Bytes that are read of a connection whose requests wait: what a client sends while it takes a large answer, or while
/// the log is slow, shows that it lives. They hold a ping a second for an hour.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// Work of one turn, in units of [`REQUEST_WORK`]: some 2 ms. A connection that has more to do goes on in a later turn, and
/// so do deltas; a single request, or entry, may be more.
const WORK_PER_TURN: isize = 1 << 19;

/// Unsent bytes at which a connection ends: only reads in front of a write of their own session get it
/// there, since they cannot wait any longer.
const OUT_BYTES_MAX: usize = 64 << 20;

/// Sent bytes in front of unsent ones at which the latter move up: a connection may never run dry.
const OUT_BYTES_SENT_MAX: usize = 64 << 10;

/// Bytes of the ids that one connection may prove: each request takes them along.
const AUTH_IDS_BYTES_MAX: usize = 1 << 20;

/// Reads behind a connection's own writes at which the connection waits.
const DEFERRED_MAX: usize = 1024;

/// Bytes of those at which it waits.
const DEFERRED_BYTES_MAX: usize = 256 << 10;

/// Reads behind a connection's own writes at which its next write waits. They are answered before that
/// write shows, whether the client takes the answers or not: this bounds what that may cost.
const DEFERRED_BEFORE_WRITE_MAX: usize = 16;

/// Watches of a closed connection that are removed before others have their turn.
const ENDED_WATCHES_PER_TURN: usize = 8192;

/// Tokens of an authentication that never succeeds which are answered.
const SASL_TOKENS_MAX: u32 = 8;

/// Bytes of requests on their way to the commit side at which connections wait.
const UPLINK_BYTES_MAX: usize = 8 << 20;

/// A buffer that is drained is kept for the next connection that needs one, up to this size.
const SPARE_BYTES_MAX: usize = 64 << 10;
const SPARES_MAX: usize = 64;

/// How often sessions that gave a sign of life are reported: what adds to a session's timeout at most.
const TOUCH_INTERVAL_MS: i64 = 100;

/// How a view does its work.
#[derive(Clone, Debug)]
pub struct ViewSettings {
    /// Its number; the commit side answers by it.
    pub number: u16,
    /// Largest frame: `jute.maxbuffer`.
    pub frame_bytes_max: usize,
    /// Writes outstanding in this view at which connections that have some wait:
    /// `globalOutstandingLimit`.
    pub outstanding_max: usize,
    /// How long a connection may go without a connect request.
    pub sessionless_timeout_ms: i64,
    /// Four-letter words that are answered.
    pub whitelist: Whitelist,
    /// Schemes of which a client must have proved one before anything else; empty for none.
    pub enforced_schemes: Vec<String>,
    /// Whether clients are served from the start: not before there is a leader.
    pub serving: bool,
    /// Seeds the hashes of what clients choose.
    pub hash_seed: u64,
}

/// Names a connection of this view towards the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its slot, small numbers that are used again.
    pub slot: u32,
    /// Which of the slot's connections.
    pub generation: u32,
}

/// What the shell should do for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Bytes are there to be sent: [`View::output`].
    pub write: bool,
    /// It takes bytes.
    pub read: bool,
    /// It has more to do once others had their turn: its turn is over.
    pub again: bool,
    /// Once everything is sent the connection ends, for this reason.
    pub close: Option<CloseReason>,
}

/// A view. See the module's page.
#[derive(Debug)]
pub struct View {
    settings: ViewSettings,
    policy: Arc<Policy>,
    tree: Tree,
    /// What replies say: the last txn that the tree has, or the start of the leader's epoch if that is later.
    zxid: Zxid,
    /// The last txn that the tree has.
    last_txn: Zxid,
    /// Whether clients are served.
    serving: bool,
    /// How often the tree was replaced.
    resets: u32,
    /// Learners for which an image is to be taken.
    images_wanted: VecDeque<LinkId>,
    /// The commit side's digest of that tree, 0 where none is kept.
    digest: u64,
    watches: Watches,
    cnxns: Vec<Slot>,
    free: Vec<u32>,
    /// Slots of closed connections that still have watches.
    ending: Vec<u32>,
    by_session: BTreeMap<i64, u32>,
    /// Sessions that are alive, for snapshots.
    sessions: BTreeMap<i64, i32>,
    uplink: Uplink,
    /// Requests with the commit side, and the bytes of those not yet taken.
    outstanding: usize,
    /// Connections that wait for `outstanding` to fall.
    held_up: Vec<u32>,
    /// Connections that the shell should look at.
    listed: Vec<u32>,
    touched: Vec<u32>,
    touched_ms: i64,
    /// Sessions that gave a sign of life and were not reported yet.
    signs: Vec<i64>,
    /// Through when they are all of them, and when time passed last.
    heard_through_us: i64,
    ticked_us: i64,
    /// What is left of this turn's work; below 0 where it was more.
    work: isize,
    /// Unsent bytes of all connections, but for small amounts.
    out_bytes: usize,
    /// Connections whose next request waits for `out_bytes` to fall.
    short: Vec<u32>,
    /// When time passed last, and when those that take nothing were looked for.
    now_ms: i64,
    swept_ms: i64,
    fresh: VecDeque<(i64, CnxnId)>,
    spares: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    received: u64,
    replies: u64,
    /// Reads that were answered as soon as they came, since [`View::measured`]: how long that took is not known yet.
    unmeasured: u64,
    metrics: Metrics,
}

/// How far deltas are taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltasCursor {
    entries: usize,
    changes: usize,
    results: usize,
}

/// Whether a four-letter word was handled.
enum Step {
    Done,
    /// Its argument has not come yet.
    NeedsMore,
}

/// How far deferred reads are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// While the client takes the answers, and a turn at a time.
    AsItGoes,
    /// All of them: what comes next must not show in them.
    Whatever,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// Boxed, so that a slot without connection is small, and taken out while the connection is worked on.
    cnxn: Option<Box<Cnxn>>,
}

impl View {
    /// A view of `tree`, which is as of `zxid`.
    pub fn new(
        settings: ViewSettings,
        policy: Arc<Policy>,
        tree: Tree,
        zxid: Zxid,
        sessions: BTreeMap<i64, i32>,
        tree_digest: u64,
    ) -> Self {
        let watches = Watches::new(settings.hash_seed);
        Self {
            policy,
            tree,
            zxid,
            last_txn: zxid,
            serving: settings.serving,
            resets: 0,
            images_wanted: VecDeque::new(),
            digest: tree_digest,
            watches,
            cnxns: Vec::new(),
            free: Vec::new(),
            ending: Vec::new(),
            by_session: BTreeMap::new(),
            sessions,
            uplink: Uplink::default(),
            outstanding: 0,
            held_up: Vec::new(),
            listed: Vec::new(),
            touched: Vec::new(),
            touched_ms: 0,
            signs: Vec::new(),
            heard_through_us: 0,
            ticked_us: 0,
            work: WORK_PER_TURN,
            out_bytes: 0,
            short: Vec::new(),
            now_ms: 0,
            swept_ms: 0,
            fresh: VecDeque::new(),
            spares: Vec::new(),
            scratch: Vec::new(),
            received: 0,
            replies: 0,
            unmeasured: 0,
            metrics: Metrics::default(),
            settings,
        }
    }

    /// The last txn that its tree has.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Whether clients are served. If not, its tree may hold what no leader has confirmed.
    pub fn is_serving(&self) -> bool {
        self.serving
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.settings.number
    }

    /// Whether there is anything for the commit side.
    pub fn has_uplink(&self) -> bool {
        !self.uplink.items.is_empty()
    }

    #[cfg(test)]
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    #[cfg(test)]
    pub(super) fn sessions(&self) -> &BTreeMap<i64, i32> {
        &self.sessions
    }

    /// Bytes that a connection's output takes, sent ones included.
    #[cfg(test)]
    pub(super) fn buffered_bytes(&self, Place { slot, .. }: Place) -> usize {
        self.cnxns[slot as usize].cnxn.as_ref().map_or(0, |cnxn| cnxn.out.len())
    }

    /// Gives up what a closing connection has not taken.
    pub fn cut(&mut self, place: Place) {
        let id = CnxnId { view: self.settings.number, slot: place.slot, generation: place.generation };
        if let Some(cnxn) = self.cnxn_mut(id)
            && cnxn.state == State::Closing
        {
            (cnxn.out, cnxn.sent) = (Vec::new(), 0);
            let weighed = std::mem::take(&mut cnxn.weighed);
            self.out_bytes -= weighed;
            self.list_id(id);
            self.release_short();
        }
    }

    /// Connections that are open.
    pub fn cnxn_count(&self) -> usize {
        self.cnxns.len() - self.free.len() - self.ending.len()
    }

    /// Takes a connection in.
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.cnxns.push(Slot { generation: 0, cnxn: None });
            (self.cnxns.len() - 1) as u32
        });
        let place = &mut self.cnxns[slot as usize];
        assert!(place.cnxn.is_none(), "slot {slot} is taken");
        place.generation = place.generation.wrapping_add(1);
        let generation = place.generation;
        place.cnxn = Some(Box::new(Cnxn {
            generation,
            peer,
            state: State::Fresh,
            session_id: 0,
            timeout_ms: 0,
            read_only: None,
            ids: Arc::new([Id::new("ip", &ip_text(peer.ip()))]),
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
            sasl_tokens: 0,
            stalled: false,
            listed: false,
            touched: false,
            opened: now,
            asked_us: now.mono_us,
            reason: CloseReason::Done,
            stats: CnxnStats::new(),
        }));
        let deadline_ms = now.mono_ms() + self.settings.sessionless_timeout_ms;
        self.fresh.push_back((deadline_ms, self.id(slot)));
        Place { slot, generation }
    }

    fn id(&self, slot: u32) -> CnxnId {
        CnxnId { view: self.settings.number, slot, generation: self.cnxns[slot as usize].generation }
    }

    /// Forgets a connection: its socket is closed.
    pub fn closed(&mut self, Place { slot, .. }: Place) {
        let Some(cnxn) = self.cnxns[slot as usize].cnxn.take() else { return };
        if cnxn.state != State::Closing {
            self.metrics.counters.connection_drop_count += 1;
        }
        self.silence(slot, &cnxn);
        self.out_bytes -= cnxn.weighed;
        self.release_short();
        // What came last counts although the connection is gone: the session lives on from then.
        if cnxn.touched {
            self.signs.push(cnxn.session_id);
        }
        self.ending.push(slot);
        self.end_some();
        self.spare(cnxn.out);
    }

    /// Takes some of the watches of closed connections away; a slot without any can be used again.
    fn end_some(&mut self) {
        let watches = &mut self.watches;
        if let Some(&slot) = self.ending.last()
            && watches.remove_some(watch::Cnxn(slot), ENDED_WATCHES_PER_TURN)
        {
            self.ending.pop();
            self.free.push(slot);
        }
    }

    /// Takes a connection's session away if that still is here. What it watches goes when it is closed.
    fn silence(&mut self, slot: u32, cnxn: &Cnxn) {
        if self.by_session.get(&cnxn.session_id) == Some(&slot) {
            self.by_session.remove(&cnxn.session_id);
        }
    }

    /// Bytes have arrived. Those that cannot be handled yet are kept; see [`Wants::read`].
    pub fn receive(&mut self, Place { slot, .. }: Place, bytes: &[u8], now: Now) {
        let Some(mut cnxn) = self.cnxns[slot as usize].cnxn.take() else { return };
        self.hear(slot, &mut cnxn);
        if cnxn.input.is_empty() {
            let used = self.pump(slot, &mut cnxn, bytes, now);
            if cnxn.state != State::Closing {
                cnxn.input.extend_from_slice(&bytes[used..]);
            }
        } else {
            cnxn.input.extend_from_slice(bytes);
            self.pump_input(slot, &mut cnxn, now);
        }
        Self::weigh(&mut self.out_bytes, &mut cnxn);
        self.cnxns[slot as usize].cnxn = Some(cnxn);
    }

    /// Notes that a connection's session gave a sign of life.
    fn hear(&mut self, slot: u32, cnxn: &mut Cnxn) {
        if !cnxn.touched && cnxn.state == State::Established {
            cnxn.touched = true;
            self.touched.push(slot);
        }
    }

    /// Counts what a connection has unsent, if that is much or was.
    fn weigh(out_bytes: &mut usize, cnxn: &mut Cnxn) {
        let unsent = cnxn.unsent();
        if unsent >= OUT_BYTES_PAUSE_SHORT || cnxn.weighed > 0 {
            *out_bytes = *out_bytes + unsent - cnxn.weighed;
            cnxn.weighed = unsent;
        }
    }

    /// Whether so much is unsent that large answers wait.
    fn is_short(&self) -> bool {
        self.out_bytes >= OUT_BYTES_ALL_MAX
    }

    /// Whether a read has to wait because its answer is large and memory is short.
    #[inline(always)]
    fn waits_for_room(&mut self, slot: u32, session_id: i64, frame: &[u8]) -> bool {
        self.is_short() && self.is_too_large_for_now(slot, session_id, frame)
    }

    #[cold]
    fn is_too_large_for_now(&mut self, slot: u32, session_id: i64, frame: &[u8]) -> bool {
        let waits = answer_bytes(&self.tree, session_id, frame) > LARGE_ANSWER_BYTES;
        if waits {
            self.short.push(slot);
        }
        waits
    }

    /// Lets those go on that waited for memory, if there is some.
    fn release_short(&mut self) {
        if self.is_short() || self.short.is_empty() {
            return;
        }
        for slot in std::mem::take(&mut self.short) {
            if let Some(cnxn) = &mut self.cnxns[slot as usize].cnxn {
                Self::list(&mut self.listed, slot, cnxn);
            }
        }
    }

    fn pump_input(&mut self, slot: u32, cnxn: &mut Cnxn, now: Now) {
        let mut input = std::mem::take(&mut cnxn.input);
        let used = self.pump(slot, cnxn, &input, now);
        if cnxn.state != State::Closing {
            input.drain(..used);
            if input.is_empty() && input.capacity() > 4096 {
                input = Vec::new();
            }
            cnxn.input = input;
        }
    }

    /// Handles frames until they run out or have to wait; says how many bytes were used.
    fn pump(&mut self, slot: u32, cnxn: &mut Cnxn, bytes: &[u8], now: Now) -> usize {
        let mut used = 0;
        cnxn.stalled = false;
        loop {
            let rest = &bytes[used..];
            let Some((first, body)) = rest.split_first_chunk::<4>() else { return used };
            if self.work <= 0 {
                cnxn.stalled = true;
                return used;
            }
            if self.must_wait(slot, cnxn) {
                cnxn.stalled = cnxn.state != State::Closing;
                return used;
            }
            if cnxn.state == State::Fresh
                && let Some(word) = FourLetterWord::from_code(i32::from_be_bytes(*first))
            {
                return match self.word(slot, cnxn, word, body) {
                    Step::Done => {
                        self.metrics.counters.bytes_received_count += 4;
                        bytes.len()
                    }
                    Step::NeedsMore => used,
                };
            }
            let length = i32::from_be_bytes(*first);
            let limit = self.settings.frame_bytes_max;
            let Some(length) = usize::try_from(length).ok().filter(|length| *length <= limit) else {
                cnxn.close(CloseReason::FrameLength { bytes: length, limit, first: *first });
                return used;
            };
            let Some(frame) = body.get(..length) else { return used };
            if cnxn.deferred >= DEFERRED_BEFORE_WRITE_MAX && frame_is_for_commit_side(frame)
                || cnxn.state == State::Established && self.waits_for_room(slot, cnxn.session_id, frame)
            {
                cnxn.stalled = true;
                return used;
            }
            used += 4 + length;
            self.received += 1;
            self.metrics.counters.bytes_received_count += 4 + length as u64;
            cnxn.stats.received += 1;
            match cnxn.state {
                State::Fresh => self.connect(slot, cnxn, frame, now),
                State::Established => self.frame(slot, cnxn, frame, now),
                State::Waiting | State::Closing => unreachable!("must_wait says so"),
            }
        }
    }

    /// Whether the connection's next frame must wait, and for what.
    fn must_wait(&mut self, slot: u32, cnxn: &Cnxn) -> bool {
        if cnxn.state == State::Waiting
            || cnxn.state == State::Closing
            || cnxn.unsent() >= OUT_BYTES_PAUSE
            || self.is_short() && cnxn.unsent() >= OUT_BYTES_PAUSE_SHORT
            || cnxn.pending.len() >= DEFERRED_MAX
            || cnxn.deferred_bytes >= DEFERRED_BYTES_MAX
        {
            return true;
        }
        let full =
            self.outstanding >= self.settings.outstanding_max || self.uplink.bytes.len() >= UPLINK_BYTES_MAX;
        if full && cnxn.awaited > 0 {
            self.metrics.counters.request_throttle_wait_count += 1;
            self.held_up.push(slot);
            return true;
        }
        false
    }

    fn connect(&mut self, slot: u32, cnxn: &mut Cnxn, frame: &[u8], now: Now) {
        let Ok(request) = ConnectRequest::read(&mut Reader::new(frame)) else {
            return cnxn.close(CloseReason::Malformed("connect request"));
        };
        if !self.serving {
            self.metrics.counters.cnxn_closed_without_zk_server_running += 1;
            return cnxn.close(CloseReason::NotServing);
        }
        self.metrics.counters.connection_request_count += 1;
        cnxn.state = State::Waiting;
        cnxn.read_only = request.read_only;
        cnxn.asked_us = now.mono_us;
        // Only as much of a hostile password as a real one has.
        let password = request.password.unwrap_or_default();
        self.outstanding += 1;
        self.uplink.begin(now);
        self.uplink.items.push(ViewRequest::Connect {
            cnxn: self.id(slot),
            session_id: request.session_id,
            password: password[..password.len().min(64)].into(),
            timeout_ms: request.timeout_ms,
            last_zxid_seen: request.last_zxid_seen,
        });
    }

    /// Takes a four-letter word; `rest` is what follows it.
    fn word(&mut self, slot: u32, cnxn: &mut Cnxn, word: FourLetterWord, rest: &[u8]) -> Step {
        let is_allowed = self.settings.whitelist.allows(word);
        let mask = match word {
            FourLetterWord::Stmk if is_allowed => {
                match rest.first_chunk::<{ FourLetterWord::MASK_BYTES }>() {
                    Some(mask) => Some(i64::from_be_bytes(*mask)),
                    None => return Step::NeedsMore,
                }
            }
            _ => None,
        };
        cnxn.state = State::Waiting;
        // ZooKeeper counts a word as a packet, of its connection and of the server.
        self.received += 1;
        cnxn.stats.received += 1;
        if !is_allowed {
            self.answer_word(cnxn, &word.refusal());
        } else if word == FourLetterWord::Ruok {
            // A liveness probe asks this thread alone.
            self.answer_word(cnxn, &admin::render(word, &admin::Status::default()));
        } else {
            self.uplink.items.push(ViewRequest::FourLetterWord { cnxn: self.id(slot), word, mask });
        }
        Step::Done
    }

    /// Sends the answer to a four-letter word, and ends the connection after it.
    fn answer_word(&mut self, cnxn: &mut Cnxn, text: &[u8]) {
        self.replies += 1;
        cnxn.stats.sent += 1;
        cnxn.out.extend_from_slice(text);
        cnxn.close(CloseReason::Done);
    }

    fn frame(&mut self, slot: u32, cnxn: &mut Cnxn, frame: &[u8], now: Now) {
        let mut reader = Reader::new(frame);
        let Ok(RequestHeader { xid, op }) = RequestHeader::read(&mut reader) else {
            return cnxn.close(CloseReason::Malformed("request header"));
        };
        let body = reader.rest();
        match op {
            OpCode::AUTH | OpCode::SASL => {
                let before = cnxn.out.len();
                match op {
                    OpCode::AUTH => self.authenticate(cnxn, xid, body),
                    _ => self.sasl(cnxn, xid, body),
                }
                self.metrics.counters.auth_failed_count +=
                    u64::from(matches!(cnxn.reason, CloseReason::Auth(_)));
                return self.note_size(cnxn.out.len() - before, now);
            }
            _ => {}
        }
        let enforced = &self.settings.enforced_schemes;
        if !enforced.is_empty()
            && !cnxn.ids.iter().any(|id| enforced.iter().any(|scheme| **scheme == *id.scheme))
        {
            self.take_buffer(cnxn);
            put_status(&mut cnxn.out, xid, 0, ErrorCode::SessionClosedRequireSaslAuth);
            self.metrics.counters.auth_failed_count += 1;
            return cnxn.close(CloseReason::Auth(ErrorCode::SessionClosedRequireSaslAuth));
        }
        match op {
            OpCode::GET_DATA
            | OpCode::EXISTS
            | OpCode::GET_CHILDREN
            | OpCode::GET_CHILDREN2
            | OpCode::PING
            | OpCode::GET_ACL
            | OpCode::GET_ALL_CHILDREN_NUMBER
            | OpCode::GET_EPHEMERALS
            | OpCode::WHO_AM_I
            | OpCode::MULTI_READ
            | OpCode::ADD_WATCH
            | OpCode::CHECK_WATCHES
            | OpCode::REMOVE_WATCHES
            | OpCode::SET_WATCHES
            | OpCode::SET_WATCHES2 => {
                if cnxn.pending.is_empty() && !is_long(op, body) {
                    let ids = cnxn.ids.clone();
                    return self.read(slot, cnxn, frame, &ids, None, now);
                }
                let (ids, came_us) = (cnxn.ids.clone(), now.mono_us);
                cnxn.deferred += 1;
                cnxn.deferred_bytes += frame.len();
                cnxn.pending.push_back(Pending::Deferred { frame: frame.into(), ids, came_us, done: None });
                // What is left after the first turn is done when the shell looks at the connection.
                self.drain_pending(slot, cnxn, Drain::AsItGoes, now);
                Self::list(&mut self.listed, slot, cnxn);
            }
            _ if is_for_commit_side(op) && body.len() > WRITE_BYTES_MAX => {
                cnxn.close(CloseReason::WriteTooLong { bytes: body.len(), limit: WRITE_BYTES_MAX });
            }
            _ if is_for_commit_side(op) => self.send_up(slot, cnxn, xid, op, body, now),
            _ => {
                self.take_buffer(cnxn);
                put_status(&mut cnxn.out, xid, -1, ErrorCode::Unimplemented);
                cnxn.close(CloseReason::UnknownOp(op));
            }
        }
    }

    fn send_up(&mut self, slot: u32, cnxn: &mut Cnxn, xid: i32, op: OpCode, body: &[u8], now: Now) {
        let mut path = Box::default();
        if op == OpCode::SYNC {
            match Reader::new(body).string() {
                Ok(named) => path = named.unwrap_or_default().into(),
                // Java finds out when it answers; nothing else depends on it.
                Err(_) => path = Box::from(&b"\0"[..]),
            }
        }
        self.work -= (REQUEST_WORK + body.len() / BYTES_PER_WORK) as isize;
        let start = self.uplink.bytes.len();
        self.uplink.begin(now);
        self.uplink.bytes.extend_from_slice(body);
        self.uplink.items.push(ViewRequest::Request(Request {
            cnxn: self.id(slot),
            session_id: cnxn.session_id,
            xid,
            op,
            body: start..self.uplink.bytes.len(),
            ids: cnxn.ids.clone(),
        }));
        self.outstanding += 1;
        cnxn.awaited += 1;
        cnxn.pending.push_back(Pending::Awaited { xid, op, sent_us: now.mono_us, path });
    }

    fn authenticate(&mut self, cnxn: &mut Cnxn, xid: i32, body: &[u8]) {
        let Ok(packet) = AuthPacket::read(&mut Reader::new(body)) else {
            return cnxn.close(CloseReason::Malformed("auth packet"));
        };
        self.take_buffer(cnxn);
        match self.policy.authenticate(packet.scheme, packet.auth, &ip_text(cnxn.peer.ip())) {
            Ok(mut earned) => {
                self.work -= (cnxn.ids.len() * REQUEST_WORK / 8 + REQUEST_WORK) as isize;
                earned.retain(|id| !cnxn.ids.contains(id));
                if earned.is_empty() {
                    return put_status(&mut cnxn.out, xid, 0, ErrorCode::Ok);
                }
                let ids = [&cnxn.ids, &earned[..]].concat();
                if ids.iter().map(|id| id.scheme.len() + id.id.len()).sum::<usize>() > AUTH_IDS_BYTES_MAX {
                    put_status(&mut cnxn.out, xid, 0, ErrorCode::AuthFailed);
                    return cnxn.close(CloseReason::Auth(ErrorCode::AuthFailed));
                }
                cnxn.ids = ids.into();
                put_status(&mut cnxn.out, xid, 0, ErrorCode::Ok);
            }
            Err(_) => {
                put_status(&mut cnxn.out, xid, 0, ErrorCode::AuthFailed);
                cnxn.close(CloseReason::Auth(ErrorCode::AuthFailed));
            }
        }
    }

    /// A 3.9 server without a login configuration answers every token with null. There are clients that
    /// go on for ever then (kazoo 2.11): after some tokens they are told that it failed.
    fn sasl(&mut self, cnxn: &mut Cnxn, xid: i32, body: &[u8]) {
        if !matches!(Reader::new(body).buffer(), Ok(Some(_))) {
            return cnxn.close(CloseReason::Malformed("sasl token"));
        }
        cnxn.sasl_tokens += 1;
        self.take_buffer(cnxn);
        if cnxn.sasl_tokens > SASL_TOKENS_MAX {
            put_status(&mut cnxn.out, xid, 0, ErrorCode::AuthFailed);
            return cnxn.close(CloseReason::Auth(ErrorCode::AuthFailed));
        }
        put_reply(&mut cnxn.out, xid, Zxid::ZERO, |out| out.put_buffer(None));
    }

    /// Gives a connection that has nothing to send a buffer to write to.
    fn take_buffer(&mut self, cnxn: &mut Cnxn) {
        if cnxn.out.capacity() == 0
            && let Some(spare) = self.spares.pop()
        {
            cnxn.out = spare;
        }
        self.replies += 1;
        cnxn.stats.sent += 1;
    }

    fn spare(&mut self, mut buffer: Vec<u8>) {
        if (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) && self.spares.len() < SPARES_MAX {
            buffer.clear();
            self.spares.push(buffer);
        }
    }

    /// Answers a read: one that came at `came_us`, or just now.
    fn read(&mut self, slot: u32, cnxn: &mut Cnxn, frame: &[u8], ids: &[Id], came_us: Option<i64>, now: Now) {
        let mut reader = Reader::new(frame);
        let RequestHeader { xid, op } = RequestHeader::read(&mut reader).expect("it was read when it came");
        self.take_buffer(cnxn);
        let (start, zxid) = (cnxn.out.len(), self.zxid);
        if op == OpCode::PING {
            put_status(&mut cnxn.out, XID_PING, zxid.to_wire(), ErrorCode::Ok);
            self.work -= (REQUEST_WORK / 2) as isize;
            // Java's does not count among the bytes of replies.
            self.note_size(cnxn.out.len() - start, now);
            return self.note_read(cnxn, xid, op, came_us, now);
        }
        let (mut failed, mut events) = (None, Vec::new());
        let mut read = self.reading(slot, cnxn.session_id, ids);
        put_reply(&mut cnxn.out, xid, zxid, |out| {
            failed = read.answer(op, reader.rest(), out, &mut events).err();
        });
        let appended = cnxn.out.len() - start + events.len();
        self.work -= (REQUEST_WORK + read.work + appended / BYTES_PER_WORK) as isize;
        if let Some(code) = failed {
            cnxn.out.truncate(start);
            jute::frame(&mut cnxn.out, |out| {
                ReplyHeader { xid, zxid: zxid.to_wire(), err: code.to_wire() }.put(out);
                // The one error with a body: 3.9 has begun the list of results when it finds a write.
                if op == OpCode::MULTI_READ && read_multi(&mut reader).is_ok() {
                    MultiHeader::END.put(out);
                }
            });
        }
        self.note_reply(cnxn.out.len() - start, now);
        if !events.is_empty() {
            // Catch-up events go before the reply of the setWatches that they answer.
            self.note_events(cnxn, &events, now);
            cnxn.out.splice(start..start, events);
        }
        self.note_read(cnxn, xid, op, came_us, now);
    }

    /// What a read of a connection sees of this view, and may leave there.
    fn reading<'v>(&'v mut self, slot: u32, session_id: i64, ids: &'v [Id]) -> Read<'v> {
        Read {
            tree: &self.tree,
            watches: &mut self.watches,
            policy: &self.policy,
            cnxn: watch::Cnxn(slot),
            session_id,
            ids,
            work: 0,
        }
    }

    /// Counts the bytes of a frame that is not the answer to a request; its length is no part of them.
    #[inline]
    fn note_size(&mut self, frame: usize, now: Now) {
        if frame > 0 {
            self.metrics.client_response_size.record(now.mono_us, frame as u64 - 4);
        }
    }

    /// Counts the bytes of a request's answer.
    #[inline]
    fn note_reply(&mut self, frame: usize, now: Now) {
        self.metrics.counters.response_bytes += frame as u64 - 4;
        self.note_size(frame, now);
    }

    /// Counts the events of a setWatches, which are whole frames.
    fn note_events(&mut self, cnxn: &mut Cnxn, mut events: &[u8], now: Now) {
        while let Some((length, rest)) = events.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            events = &rest[length..];
            self.metrics.counters.watch_bytes += length as u64;
            self.note_size(4 + length, now);
            self.replies += 1;
            cnxn.stats.sent += 1;
        }
    }

    /// Counts the answer to a read. How long one took that came just now, [`View::measured`] says.
    #[inline(always)]
    fn note_read(&mut self, cnxn: &mut Cnxn, xid: i32, op: OpCode, came_us: Option<i64>, now: Now) {
        let Some(came_us) = came_us else {
            self.unmeasured += 1;
            return self.note(cnxn, xid, op, None, now);
        };
        let latency_us = (now.mono_us - came_us).max(0) as u64;
        self.metrics.latencies.readlatency.record(latency_us);
        self.note(cnxn, xid, op, Some(latency_us), now);
    }

    /// Whether [`View::measured`] is due.
    pub fn is_unmeasured(&self) -> bool {
        self.unmeasured > 0
    }

    /// What has been received since the last call took so long to answer: for reads, which were answered at once, that
    /// is their latency. One reading of the clock serves all of them.
    pub fn measured(&mut self, Place { slot, .. }: Place, took_us: u64) {
        let reads = std::mem::take(&mut self.unmeasured);
        let Metrics { latencies, .. } = &mut self.metrics;
        latencies.readlatency.record_n(took_us, reads);
        latencies.read_final_proc_time_ms.record_n(took_us / reads.max(1), reads);
        if let Some(cnxn) = &mut self.cnxns[slot as usize].cnxn
            && reads > 0
        {
            cnxn.stats.latency.record_n(took_us, reads);
            cnxn.stats.last_latency_us = took_us;
        }
    }

    /// What this view's shell measures.
    pub fn metrics_mut(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    /// Applying these took so long. The first view speaks for all.
    pub fn applied(&mut self, deltas: &Deltas, took_us: u64) {
        if self.settings.number == 0 && deltas.requests > 0 {
            self.metrics.times.commit_process_time.record(took_us);
            let each_us = took_us / deltas.requests;
            self.metrics.latencies.write_final_proc_time_ms.record_n(each_us, deltas.requests);
        }
    }

    /// Counts an answer, and its latency if that is known.
    #[inline]
    fn note(&mut self, cnxn: &mut Cnxn, xid: i32, op: OpCode, latency_us: Option<u64>, now: Now) {
        let stats = &mut cnxn.stats;
        if let Some(latency_us) = latency_us {
            stats.latency.record(latency_us);
            stats.last_latency_us = latency_us;
        }
        if xid >= 0 {
            stats.last_cxid = xid;
        }
        stats.last_op = Some(op);
        stats.last_zxid = self.zxid;
        stats.last_response = now;
    }

    /// Answers deferred reads up to the next write; `true` if there is more to do once others had their
    /// turn.
    fn drain_pending(&mut self, slot: u32, cnxn: &mut Cnxn, drain: Drain, now: Now) -> bool {
        let limit = match (drain, self.is_short()) {
            (Drain::AsItGoes, true) => OUT_BYTES_PAUSE_SHORT,
            (Drain::AsItGoes, false) | (Drain::Whatever, true) => OUT_BYTES_PAUSE,
            (Drain::Whatever, false) => OUT_BYTES_MAX,
        };
        while cnxn.state == State::Established && cnxn.unsent() < limit {
            let Some(Pending::Deferred { frame, .. }) = cnxn.pending.front() else { return false };
            if drain == Drain::AsItGoes {
                if self.work <= 0 {
                    return true;
                }
                if self.waits_for_room(slot, cnxn.session_id, frame) {
                    return false;
                }
            }
            let Some(Pending::Deferred { frame, ids, came_us, mut done }) = cnxn.pending.pop_front() else {
                unreachable!("looked at above");
            };
            let work = if drain == Drain::Whatever { usize::MAX } else { self.work as usize };
            if !self.catch_up(slot, cnxn, &frame, &mut done, work) {
                cnxn.pending.push_front(Pending::Deferred { frame, ids, came_us, done });
                continue;
            }
            cnxn.deferred -= 1;
            cnxn.deferred_bytes -= frame.len();
            self.read(slot, cnxn, &frame, &ids, Some(came_us), now);
        }
        false
    }

    /// Takes a long setWatches further, for so much work; `true` if the rest of it (or of whatever request this is) can be
    /// answered at once.
    fn catch_up(
        &mut self,
        slot: u32,
        cnxn: &mut Cnxn,
        frame: &[u8],
        done: &mut Option<WatchCursor>,
        work: usize,
    ) -> bool {
        let mut reader = Reader::new(frame);
        let Ok(RequestHeader { op, .. }) = RequestHeader::read(&mut reader) else { return true };
        let body = reader.rest();
        if !is_long(op, body) {
            return true;
        }
        if done.is_none() {
            // One that cannot be read is refused as a whole.
            self.work -= (body.len() / BYTES_PER_WORK) as isize;
            if WatchCursor::check(body, op).is_err() {
                return true;
            }
        }
        let cursor = done.get_or_insert_default();
        let before = cnxn.out.len();
        let mut read = self.reading(slot, cnxn.session_id, &[]);
        let is_done = read.set_watches(op, body, cursor, work, &mut cnxn.out);
        self.work -= (read.work + (cnxn.out.len() - before) / BYTES_PER_WORK) as isize;
        is_done
    }

    /// Answers the reads in front of a write whose turn has come, also those that waited because much is
    /// unsent: what they see must not have the write in it.
    fn answer_reads_before(&mut self, to: CnxnId, now: Now) {
        let is_read = |pending: &Pending| matches!(pending, Pending::Deferred { .. });
        if !self.cnxn_mut(to).is_some_and(|cnxn| cnxn.pending.front().is_some_and(is_read)) {
            return;
        }
        let Some(mut cnxn) = self.take_cnxn(to) else { return };
        self.drain_pending(to.slot, &mut cnxn, Drain::Whatever, now);
        if cnxn.pending.front().is_some_and(is_read) {
            let bytes = cnxn.unsent();
            let limit = if self.is_short() { OUT_BYTES_PAUSE } else { OUT_BYTES_MAX };
            slow_reader(&mut cnxn, bytes, limit);
        }
        Self::weigh(&mut self.out_bytes, &mut cnxn);
        Self::list(&mut self.listed, to.slot, &mut cnxn);
        self.cnxns[to.slot as usize].cnxn = Some(cnxn);
    }

    /// Puts a connection on the list of those that the shell looks at.
    fn list(listed: &mut Vec<u32>, slot: u32, cnxn: &mut Cnxn) {
        if !cnxn.listed {
            cnxn.listed = true;
            listed.push(slot);
        }
    }

    /// The next connection that has something to send, may go on or ends.
    pub fn next_listed(&mut self) -> Option<Place> {
        loop {
            let slot = self.listed.pop()?;
            if let Some(cnxn) = &mut self.cnxns[slot as usize].cnxn {
                cnxn.listed = false;
                return Some(Place { slot, generation: cnxn.generation });
            }
        }
    }

    /// Begins a turn of a connection: lets it go on with what it had to leave, and says what it wants.
    pub fn look_at(&mut self, place: Place, now: Now) -> Wants {
        self.work = WORK_PER_TURN;
        self.look_again(place, now)
    }

    /// The same within a turn.
    pub fn look_again(&mut self, Place { slot, .. }: Place, now: Now) -> Wants {
        let Some(mut cnxn) = self.cnxns[slot as usize].cnxn.take() else {
            return Wants { write: false, read: false, again: false, close: Some(CloseReason::Done) };
        };
        let mut again = cnxn.deferred > 0 && self.drain_pending(slot, &mut cnxn, Drain::AsItGoes, now);
        if cnxn.stalled {
            self.pump_input(slot, &mut cnxn, now);
        }
        Self::weigh(&mut self.out_bytes, &mut cnxn);
        let is_open = matches!(cnxn.state, State::Fresh | State::Established);
        again |= is_open && cnxn.stalled && self.work <= 0;
        let wants = Wants {
            write: cnxn.unsent() > 0,
            again,
            read: is_open && (!cnxn.stalled || cnxn.input.len() < READ_AHEAD_BYTES),
            close: (cnxn.state == State::Closing).then(|| cnxn.reason.clone()),
        };
        self.cnxns[slot as usize].cnxn = Some(cnxn);
        wants
    }

    /// What a connection has to send.
    pub fn output(&self, Place { slot, .. }: Place) -> &[u8] {
        match &self.cnxns[slot as usize].cnxn {
            Some(cnxn) => &cnxn.out[cnxn.sent..],
            None => &[],
        }
    }

    /// So much of it was sent.
    pub fn sent(&mut self, Place { slot, .. }: Place, bytes: usize) {
        let Some(cnxn) = &mut self.cnxns[slot as usize].cnxn else { return };
        // A client that is not read because it takes long over an answer may have no other way to say that it lives. Of
        // less than this the kernel may take all, from a server whose client is long gone.
        if cnxn.unsent() >= OUT_BYTES_PAUSE && cnxn.state == State::Established {
            cnxn.moved_ms = self.now_ms;
            if !cnxn.touched {
                cnxn.touched = true;
                self.touched.push(slot);
            }
        }
        cnxn.sent += bytes;
        cnxn.event_bytes = cnxn.event_bytes.min(cnxn.unsent());
        if cnxn.weighed > 0 {
            Self::weigh(&mut self.out_bytes, cnxn);
        }
        if cnxn.sent == cnxn.out.len() {
            cnxn.sent = 0;
            let buffer = std::mem::take(&mut cnxn.out);
            self.spare(buffer);
        } else if cnxn.sent >= OUT_BYTES_SENT_MAX && cnxn.sent >= cnxn.unsent() {
            cnxn.out.drain(..cnxn.sent);
            cnxn.sent = 0;
        }
        self.release_short();
    }

    /// Sessions that gave a sign of life since the last call. Where nobody asks, [`View::take_uplink`] has them.
    pub fn take_signs(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.signs)
    }

    /// Through when [`View::take_signs`] has told of all of them: what arrived between two ticks is handled before the
    /// second.
    pub fn heard_through_us(&self) -> i64 {
        self.heard_through_us
    }

    /// What is to be sent to the commit side.
    pub fn take_uplink(&mut self) -> Option<Uplink> {
        if !self.signs.is_empty() {
            let signs = self.take_signs();
            self.uplink.items.push(ViewRequest::Touched(signs));
        }
        if self.uplink.items.is_empty() {
            return None;
        }
        if self.uplink.bytes.len() >= UPLINK_BYTES_MAX {
            self.release_held_up();
        }
        let next = Uplink { term: self.uplink.term, ..Uplink::default() };
        Some(std::mem::replace(&mut self.uplink, next))
    }

    /// Whose session a connection is, and where it comes from, for the log.
    pub fn describe(&self, Place { slot, generation }: Place) -> Option<(SocketAddr, i64)> {
        let cnxn = self.cnxns[slot as usize].cnxn.as_ref().filter(|cnxn| cnxn.generation == generation)?;
        Some((cnxn.peer, cnxn.session_id))
    }

    /// The timeout of a session that is alive, in milliseconds.
    pub fn timeout_of(&self, session_id: i64) -> Option<i32> {
        self.sessions.get(&session_id).copied()
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now) {
        self.end_some();
        self.now_ms = now.mono_ms();
        self.end_stuck();
        while self.fresh.front().is_some_and(|(deadline_ms, _)| *deadline_ms <= now.mono_ms())
            && let Some((_, id)) = self.fresh.pop_front()
        {
            let timeout_ms = self.settings.sessionless_timeout_ms;
            if let Some(cnxn) = self.cnxn_mut(id)
                && cnxn.state == State::Fresh
            {
                cnxn.close(CloseReason::Sessionless { timeout_ms });
                self.metrics.counters.sessionless_connections_expired += 1;
                self.list_id(id);
            }
        }
        if now.mono_ms() - self.touched_ms >= TOUCH_INTERVAL_MS {
            self.touched_ms = now.mono_ms();
            self.heard_through_us = self.ticked_us;
            for slot in std::mem::take(&mut self.touched) {
                if let Some(cnxn) = &mut self.cnxns[slot as usize].cnxn {
                    cnxn.touched = false;
                    self.signs.push(cnxn.session_id);
                }
            }
        }
        self.ticked_us = now.mono_us;
    }

    /// While memory is short, ends connections that hold much of it and have not taken anything for long.
    fn end_stuck(&mut self) {
        if !self.is_short() || self.now_ms - self.swept_ms < 1000 {
            return;
        }
        self.swept_ms = self.now_ms;
        for slot in 0..self.cnxns.len() {
            let Some(cnxn) = &mut self.cnxns[slot].cnxn else { continue };
            if cnxn.unsent() >= OUT_BYTES_PAUSE && self.now_ms - cnxn.moved_ms >= STUCK_MS {
                let bytes = cnxn.unsent();
                slow_reader(cnxn, bytes, OUT_BYTES_PAUSE);
                Self::weigh(&mut self.out_bytes, cnxn);
                Self::list(&mut self.listed, slot as u32, cnxn);
            }
        }
        self.release_short();
    }

    fn list_id(&mut self, id: CnxnId) {
        if let Some(cnxn) = &mut self.cnxns[id.slot as usize].cnxn {
            Self::list(&mut self.listed, id.slot, cnxn);
        }
    }

    fn cnxn_mut(&mut self, id: CnxnId) -> Option<&mut Cnxn> {
        let cnxn = self.cnxns.get_mut(id.slot as usize)?.cnxn.as_deref_mut()?;
        (id.view == self.settings.number && cnxn.generation == id.generation).then_some(cnxn)
    }

    /// Takes a connection out to be worked on beside the rest of the view; whoever does puts it back.
    fn take_cnxn(&mut self, id: CnxnId) -> Option<Box<Cnxn>> {
        self.cnxn_mut(id)?;
        self.cnxns[id.slot as usize].cnxn.take()
    }

    /// Takes in what was committed.
    pub fn apply(&mut self, deltas: &Deltas, now: Now) {
        let mut cursor = DeltasCursor::default();
        while !self.apply_some(deltas, &mut cursor, now) {}
    }

    /// Takes in a turn's worth of what was committed, from `cursor` on; `true` if that was all. What comes between two
    /// turns sees the entries that were taken in, whole.
    pub fn apply_some(&mut self, deltas: &Deltas, cursor: &mut DeltasCursor, now: Now) -> bool {
        self.work = WORK_PER_TURN;
        self.now_ms = now.mono_ms();
        while let Some(entry) = deltas.entries.get(cursor.entries) {
            if self.work <= 0 {
                return false;
            }
            let changes = &deltas.changes[cursor.changes..entry.changes_end];
            let results = &deltas.results[cursor.results..entry.results_end];
            (cursor.changes, cursor.results) = (entry.changes_end, entry.results_end);
            cursor.entries += 1;
            self.work -= (REQUEST_WORK * (1 + changes.len()) / 2) as isize;
            self.entry(entry, changes, results, now);
        }
        if self.outstanding < self.settings.outstanding_max {
            self.release_held_up();
        }
        true
    }

    fn release_held_up(&mut self) {
        for slot in std::mem::take(&mut self.held_up) {
            if let Some(cnxn) = &mut self.cnxns[slot as usize].cnxn {
                Self::list(&mut self.listed, slot, cnxn);
            }
        }
    }

    fn entry(&mut self, entry: &Entry, changes: &[Change], results: &[MultiResult], now: Now) {
        if let EntryKind::Control(ControlKind::Reset(restart)) = &entry.what {
            return self.reset(entry, restart);
        }
        assert!(entry.zxid >= self.zxid, "delta goes back: {} after {}", entry.zxid, self.zxid);
        let to = entry.to.filter(|to| to.view == self.settings.number);
        if let Some(to) = to {
            self.answer_reads_before(to, now);
        }
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        let mut changed = None;
        if matches!(entry.what, EntryKind::Txn(TxnKind::Multi)) {
            self.multi(entry.zxid, changes, results, &mut body, now);
        } else {
            changed = self.changes(changes, entry.zxid, now);
        }
        (self.zxid, self.digest) = (entry.zxid, entry.digest);
        // The start of an epoch is nobody's txn, and in no log.
        if entry.zxid.counter() != 0 {
            self.last_txn = entry.zxid;
        }
        match &entry.what {
            EntryKind::Txn(kind) => {
                if let Some(to) = to {
                    self.answer(to, |view, cnxn| {
                        view.answer_request(entry, *kind, to, cnxn, changed, &mut body, now);
                    });
                }
            }
            EntryKind::Session(kind) => {
                self.note_session(entry, *kind);
                if let Some(to) = to {
                    self.answer(to, |view, cnxn| view.answer_session(entry, *kind, to, cnxn, &mut body, now));
                }
            }
            EntryKind::Control(kind) => self.control(kind, to),
        }
        self.scratch = body;
    }

    /// Does what the commit side asks of every view, or tells one connection.
    fn control(&mut self, kind: &ControlKind, to: Option<CnxnId>) {
        match kind {
            ControlKind::Epoch => {}
            ControlKind::Reset(_) => unreachable!("the tree was replaced before"),
            ControlKind::Serving(serving) => self.serve(*serving),
            ControlKind::Image(link) => self.images_wanted.push_back(*link),
            ControlKind::Report { query, word } => {
                let report = Box::new(self.report(*word));
                self.uplink.items.push(ViewRequest::Report { query: *query, report });
            }
            ControlKind::Fence(former) => {
                let Some(to) = to else { return };
                self.with_cnxn(to, |view, cnxn| {
                    cnxn.close(CloseReason::SessionMoved { session_id: cnxn.session_id });
                    view.silence(to.slot, cnxn);
                });
                // A connection that is gone says nothing any more, either.
                self.uplink.items.push(ViewRequest::Fenced(*former));
            }
            ControlKind::Text(text) => {
                if let Some(to) = to {
                    self.with_cnxn(to, |view, cnxn| view.answer_word(cnxn, text));
                }
            }
        }
    }

    /// Keeps the list of sessions that are alive.
    fn note_session(&mut self, entry: &Entry, kind: SessionKind) {
        match kind {
            SessionKind::Created { session_id, timeout_ms } => {
                self.sessions.insert(session_id, timeout_ms);
            }
            SessionKind::Closed { session_id } => self.session_closed(entry, session_id),
            SessionKind::Attached { .. } | SessionKind::Refused { .. } | SessionKind::Ahead { .. } => {}
        }
    }

    /// Begins or ends serving clients. At the end every connection ends, answered or not: what became of its
    /// requests is the next leader's to say.
    fn serve(&mut self, serving: bool) {
        self.serving = serving;
        if serving {
            return;
        }
        for slot in 0..self.cnxns.len() as u32 {
            let id = self.id(slot);
            if let Some(cnxn) = self.cnxn_mut(id)
                && cnxn.state != State::Closing
            {
                cnxn.close(CloseReason::NotServing);
                self.metrics.counters.cnxn_closed_without_zk_server_running += 1;
                self.list_id(id);
            }
        }
        self.outstanding = 0;
        self.uplink.term += 1;
        self.uplink
            .items
            .retain(|item| matches!(item, ViewRequest::FourLetterWord { .. } | ViewRequest::Report { .. }));
        self.release_held_up();
    }

    /// Goes on with another tree, which need not be a later one; no client is connected then.
    fn reset(&mut self, entry: &Entry, restart: &Restart) {
        assert!(!self.serving, "the tree changes under clients");
        self.tree = restart.tree.for_view();
        self.sessions = restart.sessions.clone();
        (self.zxid, self.last_txn, self.digest) = (entry.zxid, entry.zxid, entry.digest);
        self.resets = self.resets.wrapping_add(1);
        self.images_wanted.clear();
    }

    /// An ended session's connection ends, unless it is the one that asked and is to be answered.
    fn session_closed(&mut self, entry: &Entry, session_id: i64) {
        self.sessions.remove(&session_id);
        let Some(&slot) = self.by_session.get(&session_id) else { return };
        let id = self.id(slot);
        if entry.to != Some(id) {
            if let Some(cnxn) = self.cnxn_mut(id) {
                cnxn.close(CloseReason::SessionGone { session_id });
            }
            self.list_id(id);
        }
    }

    /// Makes the changes of one operation; says where its znode is, if it is still there.
    fn changes(&mut self, changes: &[Change], zxid: Zxid, now: Now) -> Option<NodeIndex> {
        let (first, quotas) = changes.split_first()?;
        let index = self.change(first, zxid, now);
        quotas.iter().for_each(|change| _ = self.change(change, zxid, now));
        index
    }

    /// Makes one change and fires its watches; says where the znode is, if it is still there.
    fn change(&mut self, change: &Change, zxid: Zxid, now: Now) -> Option<NodeIndex> {
        let index = change.apply(&mut self.tree, zxid);
        if self.settings.number == 0 {
            self.note_write(change);
        }
        if !self.watches.is_empty() {
            self.fire(change, zxid, now);
        }
        index
    }

    /// Tells those who watch what a change has changed.
    fn fire(&mut self, change: &Change, zxid: Zxid, now: Now) {
        let Self { tree, watches, cnxns, policy, listed, replies, metrics, work, out_bytes, .. } = self;
        let mut fired = Fired::default();
        let mut tell = |slot: u32, kind: EventType, path: &[u8], acl: Option<&AclList>| {
            fired.count(kind);
            let Some(cnxn) = &mut cnxns[slot as usize].cnxn else { return };
            *work -= (WATCH_WORK + Policy::work(acl, &cnxn.ids) * ID_WORK) as isize;
            if cnxn.state == State::Closing || !policy.permits_by(acl, Perms::READ, &cnxn.ids) {
                return;
            }
            let before = cnxn.out.len();
            put_event(&mut cnxn.out, Some(zxid), kind, path);
            let bytes = cnxn.out.len() - before;
            cnxn.event_bytes += bytes;
            metrics.counters.watch_bytes += bytes as u64 - 4;
            metrics.client_response_size.record(now.mono_us, bytes as u64 - 4);
            *replies += 1;
            cnxn.stats.sent += 1;
            let is_short = *out_bytes >= OUT_BYTES_ALL_MAX;
            let limit = if is_short { EVENT_BYTES_MAX_SHORT } else { EVENT_BYTES_MAX };
            if cnxn.event_bytes > limit {
                let bytes = cnxn.event_bytes;
                slow_reader(cnxn, bytes, limit);
            }
            Self::weigh(out_bytes, cnxn);
            Self::list(listed, slot, cnxn);
        };
        match change {
            Change::Created { body, .. } | Change::Deleted { body } => {
                let (parent, _) = path::split(body.path()).expect("not the root");
                let parent_acl = tree.find(parent).map(|parent| tree.body(parent).fixed().acl.clone());
                let parent_acl = parent_acl.flatten();
                // The parent hears by its own ACL, whoever watched the znode by the znode's.
                let mut sink = |watch::Cnxn(slot): watch::Cnxn, kind: EventType, path: &[u8]| {
                    let acl = match kind {
                        EventType::NodeChildrenChanged => parent_acl.as_deref(),
                        _ => body.acl_list(),
                    };
                    tell(slot, kind, path, acl);
                };
                match change {
                    Change::Created { .. } => watches.created(body.path(), parent, &mut sink),
                    _ => watches.deleted(body.path(), parent, &mut sink),
                }
            }
            Change::Data { body } => {
                let mut sink = |watch::Cnxn(slot): watch::Cnxn, kind: EventType, path: &[u8]| {
                    tell(slot, kind, path, body.acl_list());
                };
                watches.data_changed(body.path(), &mut sink);
            }
            Change::Acl { .. } | Change::Quota { .. } => {}
        }
        fired.record(&mut metrics.sizes);
    }

    /// Counts a write's bytes in its namespace; the first view speaks for all.
    fn note_write(&mut self, change: &Change) {
        let namespaces = &mut self.metrics.namespaces;
        match change {
            Change::Created { body, .. } | Change::Data { body } => {
                namespaces.write(body.path(), body.data().map_or(0, <[u8]>::len));
            }
            Change::Deleted { body } => namespaces.write(body.path(), 0),
            Change::Acl { .. } | Change::Quota { .. } => {}
        }
    }

    /// Makes a multi's changes and writes its results as it goes: a Stat in them is of that moment.
    fn multi(
        &mut self,
        zxid: Zxid,
        mut changes: &[Change],
        results: &[MultiResult],
        body: &mut Vec<u8>,
        now: Now,
    ) {
        for result in results {
            let (own, rest) = changes.split_at(result.changes as usize);
            changes = rest;
            let changed = self.changes(own, zxid, now);
            if result.op == OpCode::ERROR {
                put_error_result(body, result.err);
                continue;
            }
            let op = match result.op {
                // All creates that answer a Stat answer as create2.
                OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => OpCode::CREATE2,
                op => op,
            };
            MultiHeader { op, done: false, err: 0 }.put(body);
            self.put_result(op, changed, body);
        }
        MultiHeader::END.put(body);
    }

    /// What a write answers beside its header: the path of what it created, the Stat of what it changed.
    fn put_result(&self, op: OpCode, changed: Option<NodeIndex>, out: &mut Vec<u8>) {
        let Some(changed) = changed else { return };
        let with_stat = match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                out.put_string(self.tree.body(changed).path());
                op != OpCode::CREATE
            }
            OpCode::SET_DATA | OpCode::SET_ACL => true,
            _ => false,
        };
        if with_stat {
            self.tree.stat(changed).put(out);
        }
    }

    /// Works on a connection that is told of something, if it is still there.
    fn with_cnxn(&mut self, to: CnxnId, work: impl FnOnce(&mut Self, &mut Cnxn)) {
        if let Some(mut cnxn) = self.take_cnxn(to) {
            work(self, &mut cnxn);
            Self::weigh(&mut self.out_bytes, &mut cnxn);
            Self::list(&mut self.listed, to.slot, &mut cnxn);
            self.cnxns[to.slot as usize].cnxn = Some(cnxn);
        }
    }

    /// The same, of one whose request is answered.
    fn answer(&mut self, to: CnxnId, work: impl FnOnce(&mut Self, &mut Cnxn)) {
        self.outstanding -= 1;
        let is_stale = self.cnxn_mut(to).is_none_or(|cnxn| cnxn.state == State::Closing);
        self.metrics.counters.stale_replies += u64::from(is_stale);
        self.with_cnxn(to, work);
    }

    #[allow(clippy::too_many_arguments)] // the next commit takes this apart
    fn answer_request(
        &mut self,
        entry: &Entry,
        kind: TxnKind,
        to: CnxnId,
        cnxn: &mut Cnxn,
        changed: Option<NodeIndex>,
        body: &mut Vec<u8>,
        now: Now,
    ) {
        match kind {
            TxnKind::Moved => cnxn.close(CloseReason::SessionMoved { session_id: cnxn.session_id }),
            TxnKind::Dropped => cnxn.close(CloseReason::SessionGone { session_id: cnxn.session_id }),
            TxnKind::Done(op) => {
                self.put_result(op, changed, body);
                self.reply(entry, to, cnxn, ErrorCode::Ok, body, now);
            }
            TxnKind::Multi | TxnKind::Synced => self.reply(entry, to, cnxn, ErrorCode::Ok, body, now),
            TxnKind::Failed(code) => self.reply(entry, to, cnxn, code, body, now),
        }
    }

    fn answer_session(
        &mut self,
        entry: &Entry,
        kind: SessionKind,
        to: CnxnId,
        cnxn: &mut Cnxn,
        body: &mut Vec<u8>,
        now: Now,
    ) {
        match kind {
            SessionKind::Created { session_id, timeout_ms } if cnxn.state == State::Waiting => {
                self.established(to.slot, cnxn, session_id, timeout_ms);
                // As Java: a session that begins is its connection's first request. One that is attached to is none.
                let latency_us = (now.mono_us - cnxn.asked_us).max(0) as u64;
                self.metrics.latencies.updatelatency.record(latency_us);
                self.note(cnxn, 0, OpCode::CREATE_SESSION, Some(latency_us), now);
            }
            SessionKind::Attached { session_id, timeout_ms } if cnxn.state == State::Waiting => {
                self.metrics.counters.connection_revalidate_count += 1;
                self.established(to.slot, cnxn, session_id, timeout_ms);
            }
            SessionKind::Refused { .. } if cnxn.state == State::Waiting => {
                self.metrics.counters.connection_revalidate_count += 1;
                self.take_buffer(cnxn);
                let response = ConnectResponse::expired(cnxn.read_only.map(|_| false));
                jute::frame(&mut cnxn.out, |out| response.put(out));
                cnxn.close(CloseReason::Done);
            }
            // The connection is ending.
            SessionKind::Created { .. } | SessionKind::Attached { .. } | SessionKind::Refused { .. } => {}
            SessionKind::Ahead { seen } => cnxn.close(CloseReason::ZxidAhead { seen, ours: self.zxid }),
            SessionKind::Closed { .. } => {
                self.reply(entry, to, cnxn, ErrorCode::Ok, body, now);
                cnxn.close(CloseReason::Done);
            }
        }
    }

    fn established(&mut self, slot: u32, cnxn: &mut Cnxn, session_id: i64, timeout_ms: i32) {
        cnxn.state = State::Established;
        (cnxn.session_id, cnxn.timeout_ms) = (session_id, timeout_ms);
        self.by_session.insert(session_id, slot);
        self.take_buffer(cnxn);
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session_id,
            password: session::password(session_id),
            read_only: cnxn.read_only.map(|_| false),
        };
        jute::frame(&mut cnxn.out, |out| response.put(out));
    }

    /// Answers the oldest request of `cnxn` that is with the commit side.
    fn reply(
        &mut self,
        entry: &Entry,
        to: CnxnId,
        cnxn: &mut Cnxn,
        code: ErrorCode,
        body: &mut Vec<u8>,
        now: Now,
    ) {
        cnxn.awaited -= 1;
        let (xid, op, sent_us, path) = match cnxn.pending.pop_front() {
            Some(Pending::Awaited { xid, op, sent_us, path }) => (xid, op, sent_us, path),
            Some(Pending::Deferred { .. }) => unreachable!("answered before the entry was"),
            // The connection is ending.
            None => return,
        };
        assert_eq!(xid, entry.xid, "answers of {to:?} are out of order");
        let mut code = code;
        if op == OpCode::SYNC {
            match &*path {
                b"\0" => code = ErrorCode::MarshallingError,
                path => body.put_string(path),
            }
        }
        let zxid = entry.zxid;
        let latency_us = (now.mono_us - sent_us).max(0) as u64;
        let latencies = &mut self.metrics.latencies;
        match op {
            // No txn, and so a read to Java.
            OpCode::SYNC => latencies.readlatency.record(latency_us),
            _ => latencies.updatelatency.record(latency_us),
        }
        self.note(cnxn, xid, op, Some(latency_us), now);
        self.take_buffer(cnxn);
        let start = cnxn.out.len();
        match code {
            ErrorCode::Ok => put_reply(&mut cnxn.out, xid, zxid, |out| out.extend_from_slice(body)),
            code => put_status(&mut cnxn.out, xid, zxid.to_wire(), code),
        }
        self.note_reply(cnxn.out.len() - start, now);
        // Nothing is answered behind a closeSession.
        if op != OpCode::CLOSE_SESSION && cnxn.deferred > 0 {
            self.drain_pending(to.slot, cnxn, Drain::AsItGoes, now);
        }
    }

    /// The next learner that an image is to be taken for.
    pub fn next_image_wanted(&mut self) -> Option<LinkId> {
        self.images_wanted.pop_front()
    }

    /// Begins an image of the tree for a snapshot or a learner: as of which zxid, with which digest and sessions.
    pub fn begin_image(&mut self, of: ImageOf) -> (Zxid, u64, Vec<(i64, i32)>) {
        self.tree.begin_image_of(of);
        let sessions = self.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms));
        (self.last_txn, self.digest, sessions.collect())
    }

    /// How often the tree was replaced; an image that was begun before is of no tree any more.
    pub fn resets(&self) -> u32 {
        self.resets
    }

    /// Some more of the image, of `places` places and `bytes` bytes; `false` once that was all.
    pub fn image_slice(&mut self, of: ImageOf, places: u32, bytes: usize, out: &mut Vec<NodeImage>) -> bool {
        self.tree.image_slice_of(of, places, bytes, out)
    }

    /// Gives the image up.
    pub fn abandon_image(&mut self, of: ImageOf) {
        self.tree.abandon_image(of);
    }

    /// What this view adds to a four-letter word's answer.
    fn report(&mut self, word: FourLetterWord) -> ViewReport {
        let report = ViewReport {
            zxid: self.zxid,
            received: self.received,
            sent: self.replies,
            latency: self.metrics.latencies.of_requests(),
            metrics: match word {
                FourLetterWord::Mntr | FourLetterWord::Srvr | FourLetterWord::Stat => self.metrics.clone(),
                _ => Metrics::default(),
            },
            outstanding: self.outstanding,
            open: self.cnxn_count(),
            watch_count: self.watches.len(),
            watch_summary: self.watches.summary(),
            connections: match word {
                FourLetterWord::Stat | FourLetterWord::Cons | FourLetterWord::Dump => self.connections(),
                _ => Vec::new(),
            },
            watches: match word {
                FourLetterWord::Wchc | FourLetterWord::Wchp => self.watches_by_session(),
                _ => Vec::new(),
            },
        };
        match word {
            FourLetterWord::Srst => {
                (self.received, self.replies) = (0, 0);
                self.metrics = Metrics::default();
            }
            FourLetterWord::Crst => {
                let live = self.cnxns.iter_mut().filter_map(|slot| slot.cnxn.as_mut());
                live.for_each(|cnxn| cnxn.stats = CnxnStats::reset());
            }
            _ => {}
        }
        report
    }

    fn connections(&self) -> Vec<Connection> {
        let sessionless_ms = self.settings.sessionless_timeout_ms;
        let live = self.cnxns.iter().filter_map(|slot| slot.cnxn.as_ref());
        live.map(|cnxn| {
            let (stats, session_id) = (&cnxn.stats, cnxn.session_id);
            let session = ConnectionSession {
                id: session_id,
                last_op: stats.last_op.map_or("null", admin::last_op),
                established_wall_ms: cnxn.opened.wall_ms,
                timeout_ms: cnxn.timeout_ms,
                last_cxid: stats.last_cxid.into(),
                last_zxid: stats.last_zxid.to_wire(),
                last_response_ms: stats.last_response.mono_ms(),
                last_latency_us: stats.last_latency_us,
                latency: stats.latency,
            };
            // Java's selector bits: 1 reads, 4 has something to write. It reads no further from a connection that waits
            // for its session or for the answer to a word.
            let reads = matches!(cnxn.state, State::Fresh | State::Established) && !cnxn.stalled;
            let interest_ops = u8::from(reads) | u8::from(cnxn.unsent() > 0) << 2;
            let timeout_ms = if session_id == 0 { sessionless_ms } else { cnxn.timeout_ms.into() };
            let heard_ms = stats.last_response.wall_ms.max(cnxn.opened.wall_ms);
            Connection {
                peer: address_text(cnxn.peer),
                interest_ops,
                queued: cnxn.awaited.into(),
                received: stats.received,
                sent: stats.sent,
                expires_wall_ms: next_interval(heard_ms + timeout_ms, sessionless_ms),
                session: (session_id != 0).then_some(session),
            }
        })
        .collect()
    }

    fn watches_by_session(&self) -> Vec<(i64, Box<[u8]>)> {
        let session_of =
            |watch::Cnxn(slot)| self.cnxns[slot as usize].cnxn.as_ref().map_or(0, |cnxn| cnxn.session_id);
        let watches = self.watches.by_cnxn().flat_map(|(cnxn, paths)| {
            let session_id = session_of(cnxn);
            paths.map(move |path| (session_id, Box::from(path)))
        });
        watches.collect()
    }
}

/// Watches that one change fires, by event. Source: `WatchManager.triggerWatch`.
#[derive(Debug, Default)]
struct Fired {
    created: u64,
    deleted: u64,
    changed: u64,
    children: u64,
}

impl Fired {
    fn count(&mut self, kind: EventType) {
        *match kind {
            EventType::NodeCreated => &mut self.created,
            EventType::NodeDeleted => &mut self.deleted,
            EventType::NodeDataChanged => &mut self.changed,
            EventType::NodeChildrenChanged => &mut self.children,
        } += 1;
    }

    fn record(self, sizes: &mut Sizes) {
        let add = |summary: &mut Summary, fired: u64| {
            if fired > 0 {
                summary.record(fired);
            }
        };
        add(&mut sizes.node_created_watch_count, self.created);
        add(&mut sizes.node_deleted_watch_count, self.deleted);
        add(&mut sizes.node_changed_watch_count, self.changed);
        add(&mut sizes.node_children_watch_count, self.children);
    }
}

/// True if the commit side handles the request in this frame.
fn frame_is_for_commit_side(frame: &[u8]) -> bool {
    RequestHeader::read(&mut Reader::new(frame)).is_ok_and(|header| is_for_commit_side(header.op))
}

/// True for operations that the commit side handles: writes, sync, closeSession.
fn is_for_commit_side(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::SET_DATA
            | OpCode::SET_ACL
            | OpCode::MULTI
            | OpCode::RECONFIG
            | OpCode::SYNC
            | OpCode::CLOSE_SESSION
    )
}

/// Ends the connection of a client that does not take what waits for it, which is given up.
fn slow_reader(cnxn: &mut Cnxn, bytes: usize, limit: usize) {
    (cnxn.out, cnxn.sent) = (Vec::new(), 0);
    cnxn.close(CloseReason::SlowReader { bytes, limit });
}

fn ip_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => auth::ip_text_v4(v4.octets()),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => auth::ip_text_v4(v4.octets()),
            None => auth::ip_text_v6(v6.octets()),
        },
    }
}

/// An address as Java's `InetSocketAddress` prints it, without the slash before it.
fn address_text(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(_) => format!("{}:{}", ip_text(address.ip()), address.port()),
        IpAddr::V6(_) => format!("[{}]:{}", ip_text(address.ip()), address.port()),
    }
}

/// Connections expire by intervals, rounded up. Source: `ExpiryQueue.roundToNextInterval`.
fn next_interval(at_ms: i64, interval_ms: i64) -> i64 {
    (at_ms.div_euclid(interval_ms.max(1)) + 1) * interval_ms.max(1)
}
