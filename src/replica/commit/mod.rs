//! The commit side: checks requests, makes txns, keeps sessions.
//!
//! | file | what it deals with |
//! |---|---|
//! | `mod` | the queue of what views and learners send up, groups, the log's records |
//! | `write` | writes and multis: check, apply, log |
//! | `check` | a write against the tree, in the order in which ZooKeeper's errors win |
//! | `reconfig` | reconfigurations of the ensemble |
//! | `reconfiguring` | what they are checked against |
//! | `session` | sessions: connect, attach, close, expire |
//! | `ended` | sessions that have ended lately |
//! | `containers` | containers and TTL nodes that are due for removal |
//! | `expanded` | the access list that was made last |
//! | `limits` | bytes of writes, access lists and groups |
//!
//! Invariants: `committed <= core.zxid`, the newest txn that was made; each txn's zxid is greater than that of the one
//! before; each request makes one entry of the deltas.

mod check;
mod containers;
mod ended;
mod expanded;
mod limits;
mod reconfig;
mod reconfiguring;
mod session;
mod write;

pub(super) use check::is_readable;
pub(super) use limits::{GROUP_BYTES_MAX, GROUP_FIT_BYTES, SLOW_GROUP_BYTES_MAX, WRITE_BYTES_MAX};

use self::ended::Ended;
use self::expanded::Expanded;
use self::reconfiguring::Reconfiguring;
#[cfg(any(test, feature = "sim"))]
use super::SessionsBug;
use super::core::Core;
use super::fencing::{Attach, Fencing};
use super::local::wants_global;
use super::report::SessionsTold;
use super::{
    CnxnId, CommitSettings, Deltas, EntryKind, GroupTimes, Now, Origin, Request, SessionKind, SessionOwner,
    TxnKind, Uplink, ViewRequest,
};
use crate::auth::Policy;
use crate::database::Database;
use crate::proto::request::Reconfig;
use crate::proto::{ErrorCode, Id, OpCode, Reader, SessionId, Zxid};
use crate::session::Tracker;
#[cfg(test)]
use crate::tree;
use crate::txn::{self, Txn, TxnHeader};
use crate::wal;
use crate::zab::configuration::Configuration;
use bytes::BufMut;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What is to be made durable, and what to publish once it is.
#[derive(Debug)]
pub struct Proposed {
    /// Records for the log; may be empty.
    pub records: wal::Batch,
    /// What the views learn.
    pub deltas: Deltas,
    /// The newest zxid in it.
    pub through: Zxid,
    /// When the first record was made, in microseconds.
    pub since_us: i64,
    /// What the last record makes of the ensemble, if that is a reconfiguration.
    pub configuration: Option<Configuration>,
}

/// Who asks, and when.
struct Asker<'a> {
    /// `None` of what the server does of itself.
    origin: Option<Origin>,
    session_id: SessionId,
    xid: i32,
    ids: &'a [Id],
    now: Now,
}

/// The commit side. See the module's page.
#[derive(Debug)]
pub struct Commit {
    core: Core,
    sessions: Tracker<SessionOwner>,
    /// True if it leads an ensemble.
    leads: bool,
    /// Newest txn that the views were given.
    committed: Zxid,
    records: wal::Batch,
    /// The next txn does not fit the group beside its records.
    next_is_large: bool,
    /// What was submitted while the group was full, in order.
    backlog: VecDeque<Backlog>,
    backlog_bytes: usize,
    /// How many of those are views'.
    views_waiting: usize,
    /// What is left of this turn's work; below 0 where it was more.
    work: Cell<isize>,
    /// The list that `auth` stood for last.
    expanded: Option<Expanded>,
    /// Sessions whose time is over and whose closeSession waits for room.
    expired: VecDeque<SessionId>,
    fencing: Fencing<Origin>,
    ended: Ended,
    /// Of a leader.
    reconfiguring: Option<Reconfiguring>,
    containers_due: VecDeque<Box<[u8]>>,
    containers_checked_ms: i64,
    containers_deleted_ms: i64,
    /// See [`Self::spend_zxids`].
    #[cfg(any(test, feature = "sim"))]
    zxids_left: Option<u32>,
    /// When it was last called with the time.
    now_us: i64,
    /// When the first of `records` was made.
    since_us: i64,
    /// Requests that were checked since [`Commit::checked`], and those of them that close a session.
    checked: u64,
    closed: u64,
    /// How long checking took since the last group was taken, in microseconds.
    check_us: u64,
}

/// What a leader's commit side leaves to the follower that the server becomes.
#[derive(Debug)]
pub(super) struct Parts {
    pub core: Core,
    /// With their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Connections of this server that have a session.
    pub owners: BTreeMap<SessionId, CnxnId>,
    /// Connections that have lost their session and may still send, each with the attachment that waits for that.
    pub fenced: Vec<(CnxnId, Attach<Origin>)>,
    /// What this server's clients have asked and was not handled, oldest first.
    pub waiting: Vec<Uplink>,
}

/// Whether this server's own view, or a former role, has asked that.
fn is_of_client(item: &ViewRequest) -> bool {
    match item {
        ViewRequest::Request(Request { origin: from, .. })
        | ViewRequest::CreateSession { from, .. }
        | ViewRequest::Revalidate { from, .. } => from.client().is_some(),
        ViewRequest::Connect { .. }
        | ViewRequest::Touched(_)
        | ViewRequest::Fenced(_)
        | ViewRequest::FourLetterWord { .. }
        | ViewRequest::Report { .. } => true,
    }
}

/// Zxids of an epoch that are left when its leader steps down: more than the txns of any group.
const COUNTERS_SPARE: u32 = 1 << 20;

/// Work of one turn in units of about 4 ns, some 4 ms: after it pings are answered and time passes. A single request may be
/// more.
const WORK_PER_TURN: isize = 1 << 20;

/// What a request costs beside what the following say.
const REQUEST_WORK: usize = 150;

/// Bytes that cost one unit.
const BYTES_PER_WORK: usize = 16;

/// An uplink of which some was handled.
#[derive(Debug)]
struct Backlog {
    /// It is a view's, not a learner's.
    of_view: bool,
    bytes: Vec<u8>,
    items: std::vec::IntoIter<ViewRequest>,
    since_us: Option<i64>,
}

impl Backlog {
    /// Memory that it takes, about.
    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.items.len() * size_of::<ViewRequest>()
    }
}

impl Commit {
    /// Takes over where the log ends. All sessions get their full timeout from `now` on.
    pub fn new(settings: CommitSettings, policy: Arc<Policy>, restored: Database, now: Now) -> Self {
        let (core, sessions) = Core::new(settings, policy, restored, now);
        Self::of(core, sessions, now)
    }

    /// Takes over from another role.
    pub(super) fn of(core: Core, sessions: BTreeMap<SessionId, i32>, now: Now) -> Self {
        assert!(core.last_txn <= core.zxid, "txn {} is later than {}", core.last_txn, core.zxid);
        assert!(!core.is_held(), "a leader's txns are not held");
        Self {
            sessions: tracker(&core, sessions, now),
            leads: false,
            committed: core.zxid,
            records: wal::Batch::default(),
            next_is_large: false,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            views_waiting: 0,
            work: Cell::new(WORK_PER_TURN),
            expanded: None,
            expired: VecDeque::new(),
            fencing: Fencing::default(),
            ended: Ended::default(),
            reconfiguring: None,
            containers_due: VecDeque::new(),
            containers_checked_ms: now.mono_ms(),
            containers_deleted_ms: now.mono_ms(),
            #[cfg(any(test, feature = "sim"))]
            zxids_left: core.settings.epoch_zxids,
            now_us: now.mono_us,
            since_us: now.mono_us,
            checked: 0,
            closed: 0,
            check_us: 0,
            core,
        }
    }

    /// Goes on with another tree; nothing waits, and no client is served.
    pub(super) fn reset(&mut self, restored: Database, now: Now) {
        assert!(restored.zxid > self.core.zxid, "a tree at {} after {}", restored.zxid, self.core.zxid);
        assert!(self.backlog.is_empty(), "{} uplinks wait while the tree changes", self.backlog.len());
        assert!(self.records.is_empty(), "records wait while the tree changes");
        assert!(!self.has_proposals(), "entries wait while the tree changes");
        self.core.next_session_id = Some(self.sessions.next_session_id());
        let sessions = self.core.reset(restored);
        self.sessions = tracker(&self.core, sessions, now);
        self.committed = self.core.zxid;
        self.expanded = None;
        self.expired.clear();
        self.fencing = Fencing::default();
        self.containers_due.clear();
    }

    /// It leads an ensemble; `owners` are the connections of this server that have a session.
    pub(super) fn lead(&mut self, owners: BTreeMap<SessionId, CnxnId>, now: Now) {
        self.leads = true;
        let session_ms = self.session_ms(now);
        self.core.local.renew(session_ms);
        for (session_id, cnxn) in owners {
            let owned = self.sessions.set_owner(session_id, SessionOwner::Client(cnxn));
            assert_eq!(owned, Ok(()), "session {session_id:#x} has an owner, and is not alive");
        }
    }

    /// True if the epoch's zxids are nearly spent, so that a new one is due (ZOOKEEPER-1277).
    pub(super) fn is_epoch_spent(&self) -> bool {
        self.core.zxid.counter() > u32::MAX - COUNTERS_SPARE
    }

    /// Has the first txn of the epoch pass over zxids, so that only so many are left before the epoch is spent.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn spend_zxids(&mut self, left: u32) {
        self.zxids_left = Some(left);
    }

    /// Gives the role up: what was proposed stays in the tree, what waits is dropped.
    pub(super) fn into_core(mut self) -> (Core, BTreeMap<SessionId, i32>) {
        self.core.next_session_id = Some(self.sessions.next_session_id());
        (self.core, self.sessions.iter().collect())
    }

    /// Gives the role up to another leader, with all that was proposed published: of this server's clients nothing is lost. What
    /// learners have asked, they ask the next leader.
    pub(super) fn into_parts(mut self) -> Parts {
        assert!(self.records.is_empty(), "{} txns were made and not proposed", self.records.records());
        assert!(!self.has_proposals(), "entries were made and not published");
        self.core.next_session_id = Some(self.sessions.next_session_id());
        let owner = |id| match self.sessions.owner(id) {
            Some(SessionOwner::Client(cnxn)) => Some((id, cnxn)),
            Some(SessionOwner::Server { .. }) | None => None,
        };
        let owners = self.sessions.iter().filter_map(|(id, _)| owner(id)).collect();
        let uplink = |waiting: Backlog| Uplink {
            bytes: waiting.bytes,
            items: waiting.items.filter(is_of_client).collect(),
            since_us: waiting.since_us,
            serving_generation: 0,
        };
        Parts {
            owners,
            fenced: self.fencing.into_all().collect(),
            waiting: self.backlog.into_iter().map(uplink).collect(),
            sessions: self.sessions.iter().collect(),
            core: self.core,
        }
    }

    /// Newest txn that was made, durable or not.
    pub fn zxid(&self) -> Zxid {
        self.core.zxid
    }

    /// True if there is room for more; what is submitted without room waits inside.
    pub fn has_room(&self) -> bool {
        self.backlog.is_empty() && !self.is_full()
    }

    /// True if another uplink of a view may be submitted. After what learners have sent, one may wait: they send enough
    /// to fill each group, and clients of this server must have their turn too.
    pub fn takes_uplinks(&self) -> bool {
        self.views_waiting == 0 && (!self.backlog.is_empty() || !self.is_full())
    }

    /// True if there is more to do although the group has room: the turn's work is done.
    pub fn has_more(&self) -> bool {
        !self.backlog.is_empty() && !self.is_full()
    }

    /// The digest of the tree, which is ahead of the log.
    pub(super) fn digest(&self) -> u64 {
        self.core.tree.digest()
    }

    /// True if there is anything to be taken.
    pub(super) fn has_proposals(&self) -> bool {
        !self.core.deltas.entries.is_empty()
    }

    /// Bytes that wait for room.
    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    fn is_full(&self) -> bool {
        self.records.bytes() >= self.core.group_bytes_max
            || self.next_is_large
            || self.core.views_lag
            || self.reconfiguring.as_ref().is_some_and(Reconfiguring::is_barred)
    }

    /// True if the txn of this item fits the group, which other records may fill beyond what a lone txn leaves.
    fn fits(&self, item: Option<&ViewRequest>) -> bool {
        let Some(ViewRequest::Request(request)) = item else { return true };
        // Its access list and header are beside the body: see `WRITE_BYTES_MAX`.
        let txn_bytes = request.body.len() + (wal::TXN_BYTES_MAX - WRITE_BYTES_MAX);
        self.records.is_empty() || self.records.bytes() + txn_bytes <= GROUP_FIT_BYTES
    }

    /// Sessions that are alive.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Takes in what a learner sends up; what the group has no room for waits for [`Commit::proceed`].
    pub fn submit(&mut self, now: Now, uplink: Uplink) {
        self.queue(now, uplink, false);
    }

    /// The same of a view.
    pub fn submit_of_view(&mut self, now: Now, uplink: Uplink) {
        self.queue(now, uplink, true);
    }

    fn queue(&mut self, now: Now, uplink: Uplink, of_view: bool) {
        let Uplink { bytes, mut items, since_us, .. } = uplink;
        let Self { core, sessions, .. } = self;
        core.take_inquiries(now, &mut items, |word| SessionsTold::of(sessions, word));
        let uplink = Backlog { of_view, bytes, items: items.into_iter(), since_us };
        self.backlog_bytes += uplink.held_bytes();
        self.views_waiting += usize::from(of_view);
        self.backlog.push_back(uplink);
        self.go_on(now);
    }

    /// Goes on with what waits, for a turn's work and as far as the group has room: due once a group was taken, or
    /// [`Commit::has_more`].
    pub fn proceed(&mut self, now: Now) {
        self.work.set(WORK_PER_TURN);
        self.go_on(now);
    }

    fn go_on(&mut self, now: Now) {
        self.now_us = now.mono_us;
        while !self.is_full()
            && self.work.get() > 0
            && let Some(session_id) = self.expired.pop_front()
        {
            self.close_session(&Asker { origin: None, session_id, xid: 0, ids: &[], now });
        }
        while !self.is_full()
            && self.work.get() > 0
            && let Some(mut uplink) = self.backlog.pop_front()
        {
            assert!(uplink.held_bytes() <= self.backlog_bytes, "{} bytes of backlog", self.backlog_bytes);
            self.backlog_bytes -= uplink.held_bytes();
            let (waiting, mut taken) = (uplink.items.len(), 0);
            while !self.is_full() && self.work.get() > 0 {
                if !self.fits(uplink.items.as_slice().first()) {
                    self.next_is_large = true;
                    break;
                }
                let Some(item) = uplink.items.next() else { break };
                taken += u64::from(matches!(
                    item,
                    ViewRequest::Request(_) | ViewRequest::Connect { .. } | ViewRequest::CreateSession { .. }
                ));
                self.item(now, item, &uplink.bytes);
            }
            self.note_taken(taken, waiting, uplink.since_us);
            if uplink.items.len() > 0 {
                self.backlog_bytes += uplink.held_bytes();
                self.backlog.push_front(uplink);
            } else {
                self.views_waiting -= usize::from(uplink.of_view);
            }
        }
        let uplinks = self.backlog.len();
        assert!(self.views_waiting <= uplinks, "{} of {uplinks} uplinks are of views", self.views_waiting);
        if uplinks == 0 {
            assert_eq!(self.backlog_bytes, 0, "bytes of backlog, and no uplink waits");
        }
    }

    /// Counts requests that were taken together, of so many that waited since then.
    fn note_taken(&mut self, taken: u64, waiting: usize, since_us: Option<i64>) {
        if taken == 0 {
            return;
        }
        debug_assert!(taken <= waiting as u64, "{taken} requests were taken of {waiting}");
        self.checked += taken;
        let waited_us = since_us.map_or(0, |since_us| (self.now_us - since_us).max(0));
        let metrics = &mut self.core.metrics;
        metrics.counters.prep_processor_request_queued += taken;
        metrics.sizes.prep_processor_queue_size.record(waiting as u64);
        metrics.latencies.prep_processor_queue_time_ms.record_n(waited_us as u64, taken);
    }

    /// True if [`Commit::checked`] is due.
    pub(super) fn is_unmeasured(&self) -> bool {
        self.checked + self.closed > 0
    }

    /// Requests that were checked since the last call took so long: each has its share.
    pub(super) fn checked(&mut self, took_us: u64) {
        let (checked, closed) = (std::mem::take(&mut self.checked), std::mem::take(&mut self.closed));
        self.check_us += took_us;
        let each_us = took_us / checked.max(closed).max(1);
        self.core.metrics.times.prep_process_time.record_n(each_us, checked);
        self.core.metrics.latencies.close_session_prep_time.record_n(each_us, closed);
    }

    fn item(&mut self, now: Now, item: ViewRequest, bytes: &[u8]) {
        match item {
            ViewRequest::Request(request) => self.request(now, &request, &bytes[request.body.clone()]),
            ViewRequest::Connect { cnxn, session_id, password, timeout_ms, last_zxid_seen } => {
                self.connect(now, cnxn.into(), session_id, &password, timeout_ms, last_zxid_seen);
            }
            ViewRequest::CreateSession { from, session_id, timeout_ms } => {
                self.create_session(now, from, session_id, timeout_ms);
            }
            ViewRequest::Revalidate { from, session_id, timeout_ms } => {
                self.attach(now, Attach { cnxn: from, session_id, timeout_ms });
            }
            ViewRequest::Touched(ids) => self.heard(now, &ids),
            ViewRequest::Fenced(former) => self.fenced(former),
            ViewRequest::FourLetterWord { .. } | ViewRequest::Report { .. } => {
                unreachable!("inquiries are taken out before")
            }
        }
    }

    /// Ends sessions whose time is over, and deletes containers and TTL nodes that are due. Call it every 20 ms or so; `now`
    /// never goes back.
    pub fn tick(&mut self, now: Now) {
        let mut expired = Vec::new();
        let judged_ms = self.session_ms(now).min(self.core.session_clock.through_ms);
        self.sessions.take_expired(judged_ms, &mut expired);
        self.core.metrics.counters.stale_sessions_expired += expired.len() as u64;
        self.expired.extend(expired);
        for session_id in self.core.expire_local(now) {
            self.push(None, 0, SessionKind::Ended { session_id });
        }
        self.proceed(now);
        self.sweep(now);
    }

    /// What was proposed since the last call. Once that is committed, call [`Commit::committed`]. `spare` is an empty batch
    /// whose memory is used again.
    pub fn take(&mut self, spare: wal::Batch) -> Option<Proposed> {
        let last = self.core.deltas.entries.last()?;
        assert!(spare.is_empty(), "a spare batch still holds records");
        let (zxid, changes) = (self.core.zxid, self.core.deltas.changes.len());
        assert!(self.committed <= zxid, "committed {} is later than {zxid}", self.committed);
        assert!(last.zxid <= zxid, "an entry of {}, the newest txn is {zxid}", last.zxid);
        assert_eq!(last.changes_end, changes, "changes that are no entry's");
        assert_eq!(last.results_end, self.core.deltas.results.len(), "results that are no entry's");
        if !self.records.is_empty() {
            assert_eq!(self.records.last(), self.core.last_txn, "the group ends before the newest txn");
            assert!(self.records.first() > self.committed, "a txn is committed before it is proposed");
        }
        self.next_is_large = false;
        self.work.set(WORK_PER_TURN);
        self.core.deltas.log_bytes = self.records.bytes();
        self.core.deltas.times = GroupTimes {
            begun_us: if self.records.is_empty() { self.now_us } else { self.since_us },
            check_us: std::mem::take(&mut self.check_us),
            ..GroupTimes::default()
        };
        Some(Proposed {
            records: std::mem::replace(&mut self.records, spare),
            deltas: self.core.deltas.take(),
            through: self.core.zxid,
            since_us: self.since_us,
            configuration: self.reconfiguring.as_mut().and_then(Reconfiguring::take_proposed),
        })
    }

    /// Records that wait for the next group. A request without record, such as a sync, makes no group wait for more.
    pub fn waiting(&self) -> usize {
        self.records.records() as usize
    }

    /// Everything through `zxid` is committed, and about to be published.
    pub fn committed(&mut self, zxid: Zxid) {
        assert!(zxid >= self.committed, "commit goes back: {zxid} after {}", self.committed);
        assert!(zxid <= self.core.zxid, "{zxid} is committed, {} was proposed last", self.core.zxid);
        self.committed = zxid;
    }

    /// Takes so much of the turn's work.
    fn charge(&self, work: usize) {
        self.work.set(self.work.get().saturating_sub_unsigned(work));
    }

    /// Adds an entry for the views.
    fn push(&mut self, to: Option<Origin>, xid: i32, what: impl Into<EntryKind>) {
        debug_assert!(!self.core.is_held(), "a leader's txns are not held");
        self.core.push_in_order(to, xid, what);
    }

    /// Begins the next txn.
    fn next_zxid(&mut self) -> Zxid {
        // 2^32 txns of one epoch are weeks of full load; a new epoch is what an ensemble does then.
        let next = self.core.zxid.next().unwrap_or(Zxid::new(self.core.zxid.epoch() + 1, 1));
        #[cfg(any(test, feature = "sim"))]
        let next = match self.zxids_left {
            Some(left) if next.counter() == 1 => Zxid::new(next.epoch(), u32::MAX - COUNTERS_SPARE - left),
            _ => next,
        };
        self.core.zxid = next;
        next
    }

    /// The header of the newest txn, for a request of `asker`.
    fn header(&self, asker: &Asker<'_>, op: OpCode) -> TxnHeader {
        let Asker { session_id, xid, now, .. } = *asker;
        TxnHeader { session_id, cxid: xid, zxid: self.core.zxid, time_ms: now.wall_ms, op }
    }

    /// Adds the record of a txn that was applied.
    fn log(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        let lists_paths = self.core.settings.close_session_paths;
        // 3.9 leaves the digest out of a failed request's txn: it was never prepared. After a closeSession without its list
        // it would take the digest for the list.
        let has_digest = match txn {
            Txn::Error { .. } => false,
            Txn::CloseSession { paths } => paths.is_some() || !lists_paths,
            _ => true,
        };
        let digest = self.begin_record(header).filter(|_| has_digest);
        self.records.put(header.zxid, |out| {
            header.put(out);
            txn.put(out);
            if let Some(digest) = digest {
                txn::put_digest(out, digest);
            }
        });
    }

    /// The same of a multi, whose body is encoded already.
    fn log_encoded(&mut self, header: &TxnHeader, body: &[u8]) {
        let digest = self.begin_record(header);
        self.records.put(header.zxid, |out| {
            header.put(out);
            out.put_slice(body);
            if let Some(digest) = digest {
                txn::put_digest(out, digest);
            }
        });
    }

    /// A record is about to join the others; gives back the digest of the tree after it, if one is kept.
    #[inline]
    fn begin_record(&mut self, header: &TxnHeader) -> Option<u64> {
        let (zxid, last) = (header.zxid, self.core.last_txn);
        assert!(zxid > last, "zxids go back: {zxid} after {last}");
        assert_eq!(zxid, self.core.zxid, "a txn other than the newest is logged");
        if self.records.is_empty() {
            self.since_us = self.now_us;
        }
        self.core.last_txn = zxid;
        self.core.note_digest()
    }

    /// Answers a request that fails at its place in the order.
    fn fail(&mut self, asker: &Asker<'_>, code: ErrorCode) {
        let header = self.header(asker, OpCode::ERROR);
        self.log(&header, &Txn::Error { code: code.to_wire() });
        let what = if code == ErrorCode::SessionMoved { TxnKind::Moved } else { TxnKind::Failed(code) };
        self.push(asker.origin, asker.xid, what);
    }

    /// Answers a request that fails before it has a place in the order. A learner learns of it by its txn
    /// only, so there it gets one.
    fn refuse(&mut self, asker: &Asker<'_>, code: ErrorCode) {
        if asker.origin.is_some_and(|origin| origin.learner().is_some()) {
            self.next_zxid();
            return self.fail(asker, code);
        }
        let what = if code == ErrorCode::SessionMoved { TxnKind::Moved } else { TxnKind::Failed(code) };
        self.push(asker.origin, asker.xid, what);
    }

    /// Deals with a client's request.
    fn request(&mut self, now: Now, request: &Request, body: &[u8]) {
        let Request { origin, session_id, xid, op, ref ids, .. } = *request;
        let asker = Asker { origin: Some(origin), session_id, xid, ids, now };
        self.charge(REQUEST_WORK + body.len() / BYTES_PER_WORK);
        if op == OpCode::SYNC && origin.learner().is_some() {
            // A learner counts the answers, and knows itself which sessions it has.
            self.heard(now, &[session_id]);
            return self.push(Some(origin), xid, TxnKind::Synced);
        }
        if !self.sessions.heard(session_id, self.session_ms(now)) && !self.hears_local(&asker, op) {
            // A learner waits for a txn, and its client is to hear what became of its session.
            return match origin.learner() {
                Some(_) => self.refuse(&asker, ErrorCode::SessionExpired),
                None => self.push(Some(origin), xid, TxnKind::Dropped),
            };
        }
        if self.core.settings.upgrades_sessions
            && self.core.local.stays_local(session_id)
            && wants_global(op, body)
        {
            self.upgrade(&asker);
        }
        match op {
            OpCode::SYNC => self.push(Some(origin), xid, TxnKind::Synced),
            // Of a client that has moved since it asked: it goes on there.
            OpCode::CLOSE_SESSION if self.check_session(&asker) == Err(ErrorCode::SessionMoved) => {
                self.refuse(&asker, ErrorCode::SessionMoved);
            }
            #[cfg(any(test, feature = "sim"))]
            OpCode::CLOSE_SESSION if self.core.settings.has_bug(SessionsBug::EndLogged) => {
                self.core.local.remove(session_id);
                self.close_session(&asker);
            }
            OpCode::CLOSE_SESSION if self.core.local.remove(session_id).is_some() => {
                self.push(Some(origin), xid, SessionKind::Ended { session_id });
            }
            OpCode::CLOSE_SESSION => self.close_session(&asker),
            OpCode::MULTI => self.multi(&asker, body),
            OpCode::RECONFIG if Reconfig::read(&mut Reader::new(body)).is_err() => {
                self.refuse(&asker, ErrorCode::MarshallingError);
            }
            OpCode::RECONFIG => self.reconfigure(&asker, body),
            _ => self.write(&asker, op, body),
        }
    }

    pub(super) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    #[cfg(test)]
    pub(super) fn tree(&self) -> &tree::Tree {
        &self.core.tree
    }
}

/// All sessions with their full timeouts from `now` on.
fn tracker(core: &Core, sessions: BTreeMap<SessionId, i32>, now: Now) -> Tracker<SessionOwner> {
    let first_id = core.first_session_id(now, &sessions);
    let mut tracker = Tracker::new(core.settings.tick_ms, first_id, core.settings.hash_seed);
    for (id, timeout_ms) in sessions {
        tracker.track(id, timeout_ms, now.mono_ms() + core.session_clock.ahead_ms);
    }
    tracker
}

#[cfg(test)]
mod tests;
