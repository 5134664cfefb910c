//! The commit side: checks requests, makes txns, keeps sessions.

use super::core::Core;
use super::fencing::{Attach, Fencing};
use super::report::SessionsTold;
use super::{
    CnxnId, ControlKind, Deltas, EntryKind, MultiResult, Now, Request, SessionKind, TxnKind, Uplink,
    ViewRequest,
};
use crate::auth::Policy;
use crate::database::Database;
use crate::proto::acl::RawAcl;
use crate::proto::request::{Create, MultiOp, PathVersion, Reconfig, SetAcl, SetData, read_multi};
use crate::proto::{ErrorCode, Id, JuteWrite, OpCode, Perms, Reader, Short, Zxid, path};
use crate::session::{self, Tracker};
use crate::tree::{self, AclRef, NodeIndex, Owner, OwnerKind};
use crate::txn::{self, Applied, CreateKind, CreateTxn, Limits, Txn, TxnHeader};
use crate::wal;
use bytes::BufMut;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How the commit side does its work.
#[derive(Clone, Debug)]
pub struct CommitSettings {
    /// How many views there are.
    pub views: u16,
    /// Length of a tick: sessions end in steps of it.
    pub tick_ms: i32,
    /// Bounds of what clients may ask for as a session timeout.
    pub min_session_timeout_ms: i32,
    /// See `min_session_timeout_ms`.
    pub max_session_timeout_ms: i32,
    /// The server's id, the high byte of the ids of its sessions.
    pub server_id: u8,
    /// Whether TTL nodes may be made.
    pub extended_types: bool,
    /// Whether hard quotas refuse.
    pub enforce_quota: bool,
    /// Whether reconfig is refused as disabled, or as standalone.
    pub reconfig_enabled: bool,
    /// Whether txns carry the tree's digest.
    pub digest_enabled: bool,
    /// Whether a closeSession's txn lists the ephemerals that go with it.
    pub close_session_paths: bool,
    /// How often containers and TTL nodes are looked through.
    pub container_check_interval_ms: i64,
    /// Most of them to delete in a minute.
    pub container_max_per_minute: u32,
    /// Age at which a container goes that never had a child; 0 for never.
    pub container_never_used_ms: i64,
    /// Seeds the hashes of what clients choose.
    pub hash_seed: u64,
}

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
}

/// Who asks, and when.
struct Asker<'a> {
    cnxn: Option<CnxnId>,
    session_id: i64,
    xid: i32,
    ids: &'a [Id],
    now: Now,
}

/// The commit side. See the module's page.
#[derive(Debug)]
pub struct Commit {
    core: Core,
    sessions: Tracker<CnxnId>,
    /// Others follow.
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
    expired: VecDeque<i64>,
    fencing: Fencing,
    containers_due: VecDeque<Box<[u8]>>,
    containers_checked_ms: i64,
    containers_deleted_ms: i64,
    /// When this was last told to do something.
    now_us: i64,
    /// When the first of `records` was made.
    since_us: i64,
    /// Requests that were checked since [`Commit::checked`], and those of them that close a session.
    checked: u64,
    closed: u64,
}

/// Bytes of paths up to which a closeSession's txn lists them. ZooKeeper's servers read no txn that is longer than their
/// `jute.maxbuffer` and some extra, neither from their leader nor from their own log: 1 MiB and as much by default, 1 MiB
/// and 1 KiB at least.
const CLOSE_SESSION_PATHS_BYTES_MAX: usize = 1_000_000;

/// Bytes of records at which the rest of what was submitted waits for the next group: what is in a
/// group beyond that is one txn, so that every group fits a segment.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;

/// The same where the log's flushes take longer than its writes: see [`Replica::set_group_bytes`](super::Replica).
pub(super) const SLOW_GROUP_BYTES_MAX: usize = 16 << 20;

/// Bytes of records that fit a segment, whatever its header is: a txn that would not fit begins the next group.
pub(super) const GROUP_FIT_BYTES: usize = wal::SEGMENT_PAYLOAD_BYTES - wal::BLOCK_BYTES;

const _: () = assert!(GROUP_BYTES_MAX + wal::TXN_BYTES_MAX <= GROUP_FIT_BYTES);

/// Bytes of a stored access list. A client chooses how many ids `auth` stands for and how often it names
/// it: the product must fit a txn.
const ACL_BYTES_MAX: usize = 1 << 20;

/// Zxids of an epoch that are left when its leader steps down: more than the txns of any group.
const COUNTERS_SPARE: u32 = 1 << 20;

/// Bytes of a write's body: its txn has an access list and a header beside, and must fit the log.
pub(super) const WRITE_BYTES_MAX: usize = wal::TXN_BYTES_MAX - (2 << 20);

const _: () = assert!(WRITE_BYTES_MAX + ACL_BYTES_MAX + 4096 <= wal::TXN_BYTES_MAX);

/// Bytes of a multi's sub-txns; beside them a txn holds its header and the digest.
const MULTI_BYTES_MAX: usize = wal::TXN_BYTES_MAX - 64;

/// Work of one turn in units of about 4 ns, some 4 ms: after it pings are answered and time passes. A single request may be
/// more.
const WORK_PER_TURN: isize = 1 << 20;

/// What a request costs beside what the following say.
const REQUEST_WORK: usize = 150;

/// What a change of the tree costs.
const CHANGE_WORK: usize = 150;

/// What it costs to look for an id in an access list, or to index an entry of it.
const ID_WORK: usize = 12;

/// What it costs to make an entry of an access list.
const ENTRY_WORK: usize = 40;

/// Bytes that cost one unit.
const BYTES_PER_WORK: usize = 16;

/// Entries times ids from which on a list that was made is kept for the next request with the same.
const EXPANDED_MIN: usize = 64;

/// One entry of a list as a client sent it: permissions, scheme, id.
type SentAcl = (i32, Option<Box<[u8]>>, Option<Box<[u8]>>);

/// An access list as a client sent it, who it was, and what is stored: one client's requests tend to have the same, and a
/// list of thousands takes a millisecond to make.
#[derive(Debug)]
struct Expanded {
    raw: Vec<SentAcl>,
    ids: Vec<Id>,
    stored: AclRef,
}

impl Expanded {
    fn is_of(&self, raw: &[RawAcl<'_>], ids: &[Id]) -> bool {
        let same = |(known, raw): (&SentAcl, &RawAcl<'_>)| {
            known.0 == raw.perms && known.1.as_deref() == raw.scheme && known.2.as_deref() == raw.id
        };
        self.raw.len() == raw.len() && self.raw.iter().zip(raw).all(same) && self.ids == ids
    }
}

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

/// `CreateMode`'s numbers, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CreateMode {
    sequential: bool,
    ephemeral: bool,
    ttl: bool,
}

impl CreateMode {
    fn from_flags(flags: i32) -> Option<Self> {
        let (sequential, ephemeral, ttl) = match flags {
            0 | 4 => (false, false, false),
            1 => (false, true, false),
            2 => (true, false, false),
            3 => (true, true, false),
            5 => (false, false, true),
            6 => (true, false, true),
            _ => return None,
        };
        Some(Self { sequential, ephemeral, ttl })
    }
}

impl Commit {
    /// Takes over where the log ends. All sessions get their full timeout from `now` on.
    pub fn new(settings: CommitSettings, policy: Arc<Policy>, restored: Database, now: Now) -> Self {
        let (core, sessions) = Core::new(settings, policy, restored, now);
        Self::of(core, sessions, now)
    }

    /// Takes over from another role.
    pub(super) fn of(core: Core, sessions: BTreeMap<i64, i32>, now: Now) -> Self {
        let first_id = core.first_session_id(now, &sessions);
        let mut tracker = Tracker::new(core.settings.tick_ms, first_id, core.settings.hash_seed);
        for (id, timeout_ms) in sessions {
            tracker.track(id, timeout_ms, now.mono_ms() + core.session_clock.ahead_ms);
        }
        Self {
            sessions: tracker,
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
            containers_due: VecDeque::new(),
            containers_checked_ms: now.mono_ms(),
            containers_deleted_ms: now.mono_ms(),
            now_us: now.mono_us,
            since_us: now.mono_us,
            checked: 0,
            closed: 0,
            core,
        }
    }

    /// It leads an ensemble; `owners` are the connections of this server that have a session.
    pub(super) fn lead(&mut self, owners: BTreeMap<i64, CnxnId>) {
        self.leads = true;
        for (session_id, cnxn) in owners {
            let owned = self.sessions.set_owner(session_id, cnxn);
            assert_eq!(owned, Ok(()), "session {session_id:#x} has an owner, and is not alive");
        }
    }

    /// Whether the epoch's zxids are nearly spent, so that a new one is due (ZOOKEEPER-1277).
    pub(super) fn is_epoch_spent(&self) -> bool {
        self.core.zxid.counter() > u32::MAX - COUNTERS_SPARE
    }

    /// Passes over zxids, so that only so many are left before the epoch is spent.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn spend_zxids(&mut self, left: u32) {
        self.core.zxid = Zxid::new(self.core.zxid.epoch(), u32::MAX - COUNTERS_SPARE - left);
    }

    /// Gives the role up: what was proposed stays in the tree, what waits is dropped.
    pub(super) fn into_core(mut self) -> (Core, BTreeMap<i64, i32>) {
        self.core.next_session_id = Some(self.sessions.next_session_id());
        (self.core, self.sessions.iter().collect())
    }

    /// Newest txn that was made, durable or not.
    pub fn zxid(&self) -> Zxid {
        self.core.zxid
    }

    /// Whether there is room for more; what is submitted without waits inside.
    pub fn has_room(&self) -> bool {
        self.backlog.is_empty() && !self.is_full()
    }

    /// Whether another uplink of a view may be submitted. Behind what learners have sent, one may wait: they send enough
    /// to fill each group, and clients of this server must have their turn too.
    pub fn takes_uplinks(&self) -> bool {
        self.views_waiting == 0 && (!self.backlog.is_empty() || !self.is_full())
    }

    /// Whether there is more to do although the group has room: the turn's work is done.
    pub fn has_more(&self) -> bool {
        !self.backlog.is_empty() && !self.is_full()
    }

    /// The digest of the tree, which is ahead of the log.
    pub(super) fn digest(&self) -> u64 {
        self.core.tree.digest()
    }

    /// Whether there is anything to be taken.
    pub(super) fn has_proposals(&self) -> bool {
        !self.core.deltas.entries.is_empty()
    }

    /// Bytes that wait for room.
    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    fn is_full(&self) -> bool {
        self.records.bytes() >= self.core.group_bytes_max || self.next_is_large || self.core.views_lag
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
            self.close_session(&Asker { cnxn: None, session_id, xid: 0, ids: &[], now });
        }
        while !self.is_full()
            && self.work.get() > 0
            && let Some(mut uplink) = self.backlog.pop_front()
        {
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
    }

    /// Counts requests that were taken together, of so many that waited since then.
    fn note_taken(&mut self, taken: u64, waiting: usize, since_us: Option<i64>) {
        if taken == 0 {
            return;
        }
        self.checked += taken;
        let waited_us = since_us.map_or(0, |since_us| (self.now_us - since_us).max(0));
        let metrics = &mut self.core.metrics;
        metrics.counters.prep_processor_request_queued += taken;
        metrics.sizes.prep_processor_queue_size.record(waiting as u64);
        metrics.latencies.prep_processor_queue_time_ms.record_n(waited_us as u64, taken);
    }

    /// Whether [`Commit::checked`] has something to say.
    pub(super) fn is_unmeasured(&self) -> bool {
        self.checked + self.closed > 0
    }

    /// Requests that were checked since the last call took so long: each has its share.
    pub(super) fn checked(&mut self, took_us: u64) {
        let (checked, closed) = (std::mem::take(&mut self.checked), std::mem::take(&mut self.closed));
        let each_us = took_us / checked.max(closed).max(1);
        self.core.metrics.times.prep_process_time.record_n(each_us, checked);
        self.core.metrics.latencies.close_session_prep_time.record_n(each_us, closed);
    }

    /// A record is about to join the others.
    fn note_logged(&mut self) {
        if self.records.is_empty() {
            self.since_us = self.now_us;
        }
    }

    fn item(&mut self, now: Now, item: ViewRequest, bytes: &[u8]) {
        match item {
            ViewRequest::Request(request) => self.request(now, &request, &bytes[request.body.clone()]),
            ViewRequest::Connect { cnxn, session_id, password, timeout_ms, last_zxid_seen } => {
                self.connect(now, cnxn, session_id, &password, timeout_ms, last_zxid_seen);
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

    /// These sessions gave a sign of life.
    pub fn heard(&mut self, now: Now, sessions: &[i64]) {
        let now_ms = self.session_ms(now);
        sessions.iter().for_each(|id| _ = self.sessions.heard(*id, now_ms));
    }

    /// The time by which sessions live.
    fn session_ms(&self, now: Now) -> i64 {
        now.mono_ms() + self.core.session_clock.ahead_ms
    }

    /// Lets time pass: ends sessions, deletes containers and TTL nodes.
    pub fn tick(&mut self, now: Now) {
        let mut expired = Vec::new();
        let judged_ms = self.session_ms(now).min(self.core.session_clock.through_ms);
        self.sessions.take_expired(judged_ms, &mut expired);
        self.core.metrics.counters.stale_sessions_expired += expired.len() as u64;
        self.expired.extend(expired);
        self.proceed(now);
        self.sweep(now);
    }

    /// What was proposed since the last call. `committed` must be told once it is. `spare` is an empty
    /// batch whose memory is used again.
    pub fn take(&mut self, spare: wal::Batch) -> Option<Proposed> {
        if self.core.deltas.entries.is_empty() {
            return None;
        }
        assert!(spare.is_empty(), "a spare batch still holds records");
        self.next_is_large = false;
        self.work.set(WORK_PER_TURN);
        self.core.deltas.log_bytes = self.records.bytes();
        Some(Proposed {
            records: std::mem::replace(&mut self.records, spare),
            deltas: self.core.deltas.take(),
            through: self.core.zxid,
            since_us: self.since_us,
        })
    }

    /// Records that wait for the next group. What waits without one, such as a sync, is nothing to wait with.
    pub fn waiting(&self) -> usize {
        self.records.records() as usize
    }

    /// Everything through `zxid` is committed, and about to be published.
    pub fn committed(&mut self, zxid: Zxid) {
        assert!(zxid >= self.committed, "commit goes back: {zxid} after {}", self.committed);
        self.committed = zxid;
    }

    fn charge(&self, work: usize) {
        self.work.set(self.work.get().saturating_sub_unsigned(work));
    }

    /// Adds an entry for the views.
    fn push(&mut self, to: Option<CnxnId>, xid: i32, what: impl Into<EntryKind>) {
        debug_assert!(!self.core.is_held(), "a leader's txns are not held");
        self.core.push_in_order(to, xid, what);
    }

    fn next_zxid(&mut self) -> Zxid {
        // 2^32 txns of one epoch are weeks of full load; a new epoch is what an ensemble does then.
        let next = self.core.zxid.next().unwrap_or(Zxid::new(self.core.zxid.epoch() + 1, 1));
        self.core.zxid = next;
        next
    }

    fn header(&self, asker: &Asker<'_>, op: OpCode) -> TxnHeader {
        let Asker { session_id, xid, now, .. } = *asker;
        TxnHeader { session_id, cxid: xid, zxid: self.core.zxid, time_ms: now.wall_ms, op }
    }

    fn log(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        self.note_logged();
        self.core.last_txn = header.zxid;
        let digest = self.core.note_digest();
        let lists_paths = self.core.settings.close_session_paths;
        self.records.put(header.zxid, |out| {
            header.put(out);
            txn.put(out);
            // 3.9 leaves the digest out of a failed request's txn: it was never prepared. Behind a closeSession without
            // its list it would take the digest for the list.
            let has_digest = match txn {
                Txn::Error { .. } => false,
                Txn::CloseSession { paths } => paths.is_some() || !lists_paths,
                _ => true,
            };
            if let (Some(digest), true) = (digest, has_digest) {
                txn::put_digest(out, digest);
            }
        });
    }

    fn fail(&mut self, asker: &Asker<'_>, code: ErrorCode) {
        let header = self.header(asker, OpCode::ERROR);
        self.log(&header, &Txn::Error { code: code.to_wire() });
        let what = if code == ErrorCode::SessionMoved { TxnKind::Moved } else { TxnKind::Failed(code) };
        self.push(asker.cnxn, asker.xid, what);
    }

    /// Answers a request that fails before it has a place in the order. A learner learns of it by its txn
    /// only, so there it gets one.
    fn refuse(&mut self, asker: &Asker<'_>, code: ErrorCode) {
        if asker.cnxn.is_some_and(|cnxn| cnxn.learner().is_some()) {
            self.next_zxid();
            return self.fail(asker, code);
        }
        let what = if code == ErrorCode::SessionMoved { TxnKind::Moved } else { TxnKind::Failed(code) };
        self.push(asker.cnxn, asker.xid, what);
    }

    fn request(&mut self, now: Now, request: &Request, body: &[u8]) {
        let Request { cnxn, session_id, xid, op, ref ids, .. } = *request;
        let asker = Asker { cnxn: Some(cnxn), session_id, xid, ids, now };
        self.charge(REQUEST_WORK + body.len() / BYTES_PER_WORK);
        if op == OpCode::SYNC && cnxn.learner().is_some() {
            // A learner counts the answers, and knows itself which sessions it has.
            self.heard(now, &[session_id]);
            return self.push(Some(cnxn), xid, TxnKind::Synced);
        }
        if !self.sessions.heard(session_id, self.session_ms(now)) {
            // A learner waits for a txn, and its client is to hear what became of its session.
            return match cnxn.learner() {
                Some(_) => self.refuse(&asker, ErrorCode::SessionExpired),
                None => self.push(Some(cnxn), xid, TxnKind::Dropped),
            };
        }
        match op {
            OpCode::SYNC => self.push(Some(cnxn), xid, TxnKind::Synced),
            // Of a client that has moved since it asked: it goes on there.
            OpCode::CLOSE_SESSION if self.check_session(&asker) == Err(ErrorCode::SessionMoved) => {
                self.refuse(&asker, ErrorCode::SessionMoved);
            }
            OpCode::CLOSE_SESSION => self.close_session(&asker),
            OpCode::MULTI => self.multi(&asker, body),
            OpCode::RECONFIG if Reconfig::read(&mut Reader::new(body)).is_err() => {
                self.refuse(&asker, ErrorCode::MarshallingError);
            }
            OpCode::RECONFIG => {
                self.next_zxid();
                let code = match self.core.settings.reconfig_enabled {
                    false => ErrorCode::ReconfigDisabled,
                    true => self.check_session(&asker).err().unwrap_or(ErrorCode::Unimplemented),
                };
                self.fail(&asker, code);
            }
            _ => self.write(&asker, op, body),
        }
    }

    fn check_session(&mut self, asker: &Asker<'_>) -> Result<(), ErrorCode> {
        match asker.cnxn {
            Some(cnxn) => self.sessions.check(asker.session_id, cnxn.owner()),
            None => Ok(()),
        }
    }

    fn write(&mut self, asker: &Asker<'_>, op: OpCode, body: &[u8]) {
        let Ok(op_read) = WriteOp::read(op, &mut Reader::new(body)) else {
            return self.refuse(asker, ErrorCode::MarshallingError);
        };
        self.next_zxid();
        let mut sequential = Vec::new();
        match self.check(asker, &op_read, &mut sequential) {
            Err(code) => self.fail(asker, code),
            Ok(txn) => {
                let header = self.header(asker, op);
                self.apply(&header, &txn, None);
                self.log(&header, &txn);
                self.push(asker.cnxn, asker.xid, TxnKind::Done(op));
            }
        }
    }

    fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, undo: Option<&mut Vec<txn::Undo>>) {
        let changes = std::mem::take(&mut self.core.deltas.changes);
        let before = changes.len();
        let mut applied = Applied { changes, undo: undo.is_some().then(Vec::new) };
        let result = txn::apply(&mut self.core.tree, &mut self.core.quotas, header, txn, &mut applied);
        self.core.deltas.changes = applied.changes;
        self.charge((self.core.deltas.changes.len() - before) * CHANGE_WORK);
        if let (Some(all), Some(steps)) = (undo, applied.undo) {
            all.extend(steps);
        }
        assert_eq!(result, Ok(()), "txn {} was checked and does not apply: {txn:?}", header.zxid);
    }

    fn multi(&mut self, asker: &Asker<'_>, body: &[u8]) {
        self.next_zxid();
        let ops = match read_multi(&mut Reader::new(body)) {
            Ok(ops) if !ops.iter().any(|op| matches!(op, MultiOp::GetData(_) | MultiOp::GetChildren(_))) => {
                ops
            }
            // Reads in a multi are told as what 3.9 makes of them: nothing it can make a txn of.
            _ => return self.fail(asker, ErrorCode::MarshallingError),
        };
        let header = self.header(asker, OpCode::MULTI);
        let (first_change, first_result) = (self.core.deltas.changes.len(), self.core.deltas.results.len());
        let mut undo = Vec::new();
        let (mut failed, mut unreadable) = (None, false);
        // Each operation is checked against what the ones before it did, and encoded right away.
        let mut encoded = Vec::with_capacity(body.len() + 64);
        encoded.put_count(ops.len());
        for op in &ops {
            let (op, read) = WriteOp::of_multi(op);
            let mut sequential = Vec::new();
            let checked = match failed {
                Some(_) => Err(ErrorCode::RuntimeInconsistency),
                None => self.check(asker, &read, &mut sequential),
            };
            match checked {
                Ok(txn) => {
                    let before = self.core.deltas.changes.len();
                    self.apply(&TxnHeader { op, ..header }, &txn, Some(&mut undo));
                    let changes = (self.core.deltas.changes.len() - before) as u32;
                    self.core.deltas.results.push(MultiResult { op, err: 0, changes });
                    txn::put_sub_txn(&mut encoded, op, &txn);
                }
                Err(code) => {
                    let err = code.to_wire();
                    self.core.deltas.results.push(MultiResult { op: OpCode::ERROR, err, changes: 0 });
                    txn::put_sub_txn(&mut encoded, OpCode::ERROR, &Txn::Error { code: err });
                    failed = failed.or(Some(code));
                }
            }
            // A null in an access list fails the whole request in Java, and so does what no log takes.
            if failed == Some(ErrorCode::MarshallingError) || encoded.len() > MULTI_BYTES_MAX {
                unreadable = true;
                break;
            }
        }
        if failed.is_some() || unreadable {
            txn::undo(&mut self.core.tree, &mut self.core.quotas, undo);
            self.core.deltas.changes.truncate(first_change);
            if unreadable {
                self.core.deltas.results.truncate(first_result);
                return self.fail(asker, ErrorCode::MarshallingError);
            }
            for result in &mut self.core.deltas.results[first_result..] {
                (result.op, result.changes) = (OpCode::ERROR, 0);
            }
        }
        self.note_logged();
        self.core.last_txn = header.zxid;
        let digest = self.core.note_digest();
        self.records.put(header.zxid, |out| {
            header.put(out);
            out.put_slice(&encoded);
            if let Some(digest) = digest {
                txn::put_digest(out, digest);
            }
        });
        let what = if failed == Some(ErrorCode::SessionMoved) { TxnKind::Moved } else { TxnKind::Multi };
        self.push(asker.cnxn, asker.xid, what);
    }

    fn close_session(&mut self, asker: &Asker<'_>) {
        self.closed += 1;
        self.next_zxid();
        let header = self.header(asker, OpCode::CLOSE_SESSION);
        let paths: Vec<Box<[u8]>> = self.core.tree.ephemerals(asker.session_id).map(Box::from).collect();
        // Without the list, replicas delete what their trees say: the same, and never too long for anybody to read.
        let listed = self.core.settings.close_session_paths
            && paths.iter().map(|path| path.len() + 4).sum::<usize>() < CLOSE_SESSION_PATHS_BYTES_MAX;
        let listed = listed.then(|| paths.iter().map(|path| &**path).collect());
        let txn = Txn::CloseSession { paths: listed };
        self.apply(&header, &txn, None);
        self.log(&header, &txn);
        self.sessions.remove(asker.session_id);
        self.push(asker.cnxn, asker.xid, SessionKind::Closed { session_id: asker.session_id });
    }

    fn connect(
        &mut self,
        now: Now,
        cnxn: CnxnId,
        session_id: i64,
        password: &[u8],
        timeout_ms: i32,
        seen: Zxid,
    ) {
        // Signed, as in Java: -1 is before everything.
        if seen.to_wire() > self.committed.to_wire() {
            return self.push(Some(cnxn), 0, SessionKind::Ahead { seen });
        }
        let (min_ms, max_ms) =
            (self.core.settings.min_session_timeout_ms, self.core.settings.max_session_timeout_ms);
        let timeout_ms = timeout_ms.max(min_ms).min(max_ms);
        if session_id == 0 {
            let session_id = self.sessions.next_session_id();
            return self.create_session(now, cnxn, session_id, timeout_ms);
        }
        // The password first: who only guesses an id must not end its owner's connection.
        match session::is_password(session_id, password) {
            true => self.attach(now, Attach { cnxn, session_id, timeout_ms }),
            false => self.push(Some(cnxn), 0, SessionKind::Refused { session_id }),
        }
    }

    fn create_session(&mut self, now: Now, cnxn: CnxnId, session_id: i64, timeout_ms: i32) {
        self.sessions.track(session_id, timeout_ms, self.session_ms(now));
        if self.sessions.set_owner(session_id, cnxn.owner()).is_err() {
            // A learner names one that is being closed: it hears of that.
            return;
        }
        self.next_zxid();
        let header =
            self.header(&Asker { cnxn: None, session_id, xid: 0, ids: &[], now }, OpCode::CREATE_SESSION);
        self.log(&header, &Txn::CreateSession { timeout_ms });
        self.push(Some(cnxn), 0, SessionKind::Created { session_id, timeout_ms });
    }

    fn attach(&mut self, now: Now, attach: Attach) {
        let Attach { cnxn, session_id, timeout_ms } = attach;
        let known = !self.sessions.is_closing(session_id)
            && self.sessions.touch(session_id, timeout_ms, self.session_ms(now));
        if !known {
            return self.push(Some(cnxn), 0, SessionKind::Refused { session_id });
        }
        // From here on its client pings by what it is told now.
        self.sessions.set_timeout(session_id, timeout_ms);
        let former = self.sessions.owner(session_id).filter(|former| *former != cnxn.owner());
        if self.sessions.set_owner(session_id, cnxn.owner()).is_err() {
            return self.push(Some(cnxn), 0, SessionKind::Refused { session_id });
        }
        if self.leads {
            // A txn, so that its former server knows of it whoever leads next: what that still holds for the client
            // must not be done any more. To ZooKeeper's own servers it is a session that they know.
            self.next_zxid();
            let header =
                self.header(&Asker { cnxn: None, session_id, xid: 0, ids: &[], now }, OpCode::CREATE_SESSION);
            self.log(&header, &Txn::CreateSession { timeout_ms });
            self.push(None, 0, SessionKind::Created { session_id, timeout_ms });
        }
        // An attachment that still waits was overtaken: its connection is fenced like any other. What a learner
        // still forwards for a connection that it lost is refused by its origin, and needs no fence.
        match former.filter(|former| former.learner().is_none()) {
            None => self.push(Some(cnxn), 0, SessionKind::Attached { session_id, timeout_ms }),
            Some(former) => {
                self.fencing.wait(former, attach);
                self.push(Some(former), 0, ControlKind::Fence(former));
            }
        }
    }

    fn fenced(&mut self, former: CnxnId) {
        let Self { core, sessions, fencing, .. } = self;
        let lives = |id| sessions.get(id).is_some() && !sessions.is_closing(id);
        fencing.fenced(
            former,
            |id| sessions.owner(id),
            lives,
            |cnxn, what| core.push_in_order(Some(cnxn), 0, what),
        );
    }

    /// Deletes containers and TTL nodes that are due, not too many at once.
    fn sweep(&mut self, now: Now) {
        if now.mono_ms() - self.containers_checked_ms >= self.core.settings.container_check_interval_ms {
            self.containers_checked_ms = now.mono_ms();
            let due = self.core.tree.due_for_removal(now.wall_ms, self.core.settings.container_never_used_ms);
            self.containers_due = due.into();
            self.containers_deleted_ms = now.mono_ms();
        }
        let per_minute = i64::from(self.core.settings.container_max_per_minute).max(1);
        // A pause, or a high limit, may make more of them due than a group has room for.
        while !self.containers_due.is_empty() && !self.is_full() {
            let spacing_ms = 60_000 / per_minute;
            if now.mono_ms() - self.containers_deleted_ms < spacing_ms {
                return;
            }
            self.containers_deleted_ms += spacing_ms;
            let Some(path) = self.containers_due.pop_front() else { return };
            self.delete_container(now, &path);
        }
    }

    fn delete_container(&mut self, now: Now, path: &[u8]) {
        let Some(index) = self.core.tree.find(path) else { return };
        let is_session =
            matches!(self.owner_kind(index), OwnerKind::Ephemeral { .. } | OwnerKind::Persistent);
        if self.core.tree.child_count(index) > 0 || is_session {
            return;
        }
        self.next_zxid();
        let asker = Asker { cnxn: None, session_id: 0, xid: 0, ids: &[], now };
        let header = self.header(&asker, OpCode::DELETE_CONTAINER);
        let txn = Txn::Delete { path };
        self.apply(&header, &txn, None);
        self.log(&header, &txn);
        self.push(None, 0, TxnKind::Done(OpCode::DELETE_CONTAINER));
    }

    fn owner_kind(&self, index: NodeIndex) -> OwnerKind {
        self.core.tree.owner_kind(index)
    }

    fn permit(&self, index: NodeIndex, wanted: Perms, ids: &[Id]) -> Result<(), ErrorCode> {
        let list = self.core.tree.body(index).acl_list();
        if list.is_some() {
            self.charge(Policy::work(list, ids) * ID_WORK);
        }
        match self.core.policy.permits_by(list, wanted, ids) {
            true => Ok(()),
            false => Err(ErrorCode::NoAuth),
        }
    }

    fn stored_acl(&mut self, raw: &[RawAcl<'_>], ids: &[Id]) -> Result<AclRef, ErrorCode> {
        if let [RawAcl { perms: 31, scheme: Some(b"world"), id: Some(b"anyone") }] = raw {
            return Ok(None);
        }
        let is_long = raw.len().saturating_mul(ids.len()) >= EXPANDED_MIN;
        if is_long {
            self.charge((raw.len() + ids.len()) * ID_WORK);
            if let Some(known) = self.expanded.as_ref().filter(|known| known.is_of(raw, ids)) {
                return Ok(known.stored.clone());
            }
        }
        let id_bytes = |id: &Id| 12 + id.scheme.len() + id.id.len();
        let auth_entries = raw.iter().filter(|acl| acl.scheme == Some(b"auth")).count();
        if auth_entries.saturating_mul(ids.iter().map(id_bytes).sum()) > ACL_BYTES_MAX {
            return Err(ErrorCode::InvalidAcl);
        }
        let acls = self.core.policy.fix_up(raw, ids)?;
        if acls.iter().map(|acl| id_bytes(&acl.id)).sum::<usize>() > ACL_BYTES_MAX {
            return Err(ErrorCode::InvalidAcl);
        }
        self.charge(acls.len() * ENTRY_WORK);
        let stored = self.core.acls.intern(acls);
        if is_long {
            let owned = |bytes: Option<&[u8]>| bytes.map(Box::from);
            let raw = raw.iter().map(|acl| (acl.perms, owned(acl.scheme), owned(acl.id))).collect();
            self.expanded = Some(Expanded { raw, ids: ids.to_vec(), stored: stored.clone() });
        }
        Ok(stored)
    }

    /// Checks one operation against the tree, in the order in which 3.9's errors win
    /// (`PrepRequestProcessor.pRequest2Txn`). `sequential` is where a sequence number's path is built.
    fn check<'a>(
        &mut self,
        asker: &Asker<'_>,
        op: &WriteOp<'a>,
        sequential: &'a mut Vec<u8>,
    ) -> Result<Txn<'a>, ErrorCode> {
        match op {
            WriteOp::Create(op, create) => self.check_create(asker, *op, create, sequential),
            WriteOp::Delete(PathVersion { path, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::MarshallingError)?;
                if path.contains(&0) || tree::is_special(path) {
                    return Err(ErrorCode::BadArguments);
                }
                let (parent, _) = path::split(path).ok_or(ErrorCode::BadArguments)?;
                let parent = self.core.tree.find(parent).ok_or(ErrorCode::NoNode)?;
                self.permit(parent, Perms::DELETE, asker.ids)?;
                let index = self.core.tree.find(path).ok_or(ErrorCode::NoNode)?;
                next_version(self.core.tree.body(index).fixed().version, *version)?;
                if self.core.tree.child_count(index) > 0 {
                    return Err(ErrorCode::NotEmpty);
                }
                Ok(Txn::Delete { path })
            }
            WriteOp::SetData(SetData { path, data, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::BadArguments)?;
                let index = self.valid(path)?;
                self.permit(index, Perms::WRITE, asker.ids)?;
                let bytes = |data: Option<&[u8]>| data.map_or(0, <[u8]>::len) as i64;
                let body = self.core.tree.body(index);
                let (added, current) = (bytes(*data) - bytes(body.data()), body.fixed().version);
                self.check_quota(path, added, 0)?;
                let version = next_version(current, *version)?;
                self.core.tree.remember(index);
                Ok(Txn::SetData { path, data: *data, version })
            }
            WriteOp::SetAcl(SetAcl { path, acl, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::BadArguments)?;
                if !path::is_valid(path) {
                    return Err(ErrorCode::BadArguments);
                }
                let acl = self.stored_acl(acl, asker.ids)?;
                let index = self.core.tree.find(path).ok_or(ErrorCode::NoNode)?;
                self.permit(index, Perms::ADMIN, asker.ids)?;
                let version = next_version(self.core.tree.body(index).fixed().aversion, *version)?;
                Ok(Txn::SetAcl { path, acl, version })
            }
            WriteOp::Check(PathVersion { path, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::BadArguments)?;
                let index = self.valid(path)?;
                self.permit(index, Perms::READ, asker.ids)?;
                let version = next_version(self.core.tree.body(index).fixed().version, *version)?;
                Ok(Txn::Check { path, version })
            }
        }
    }

    fn valid(&self, path: &[u8]) -> Result<NodeIndex, ErrorCode> {
        match self.core.tree.find(path) {
            // What there is has a valid path. Only the tree takes the empty one for the root's.
            Some(index) if !path.is_empty() => Ok(index),
            _ if path::is_valid(path) => Err(ErrorCode::NoNode),
            _ => Err(ErrorCode::BadArguments),
        }
    }

    fn check_create<'a>(
        &mut self,
        asker: &Asker<'_>,
        op: OpCode,
        create: &Create<'a>,
        sequential: &'a mut Vec<u8>,
    ) -> Result<Txn<'a>, ErrorCode> {
        let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.ttl && !self.core.settings.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        // Only createTTL's record has one; for the others it is -1.
        let ttl_ms = if op == OpCode::CREATE_TTL { create.ttl_ms } else { -1 };
        if if mode.ttl { Owner::ttl(ttl_ms).is_none() } else { ttl_ms >= 0 } {
            return Err(ErrorCode::BadArguments);
        }
        match self.check_session(asker) {
            Err(ErrorCode::UnknownSession) if mode.ephemeral => return Err(ErrorCode::SessionExpired),
            checked => checked?,
        }
        let named = create.path.ok_or(ErrorCode::MarshallingError)?;
        if named.contains(&0) {
            return Err(ErrorCode::BadArguments);
        }
        let (parent, _) = path::split(named).ok_or(ErrorCode::BadArguments)?;
        let acl = self.stored_acl(&create.acl, asker.ids)?;
        let parent = self.core.tree.find(parent).ok_or(ErrorCode::NoNode)?;
        self.permit(parent, Perms::CREATE, asker.ids)?;
        let (cversion, _) = self.core.tree.child_stat(parent);
        let path = match mode.sequential {
            false => named,
            true => {
                sequential.extend_from_slice(named);
                sequential.extend_from_slice(format!("{cversion:010}").as_bytes());
                &*sequential
            }
        };
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.core.tree.find(path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(self.owner_kind(parent), OwnerKind::Ephemeral { .. }) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_quota(path, create.data.map_or(0, <[u8]>::len) as i64, 1)?;
        let kind = match op {
            OpCode::CREATE_CONTAINER => CreateKind::Container,
            OpCode::CREATE_TTL if mode.ttl => CreateKind::Ttl(ttl_ms),
            // A createTTL without a TTL mode has nothing that Java could store.
            OpCode::CREATE_TTL => return Err(ErrorCode::BadArguments),
            _ if mode.ephemeral => CreateKind::Ephemeral,
            _ => CreateKind::Persistent,
        };
        self.core.tree.remember(parent);
        let parent_cversion = cversion.wrapping_add(1);
        Ok(Txn::Create(CreateTxn { path, data: create.data, acl, kind, parent_cversion }))
    }

    /// Whether hard limits allow `bytes` and `count` more at `path`. Source: `ZooKeeperServer.checkQuota`.
    fn check_quota(&mut self, path: &[u8], bytes: i64, count: i64) -> Result<(), ErrorCode> {
        if !self.core.settings.enforce_quota {
            return Ok(());
        }
        let Some(limited) = self.core.quotas.nearest(path) else { return Ok(()) };
        // Of a text that does not parse Java makes a failed request.
        let parse = |path: Vec<u8>| match self.core.tree.find(&path) {
            None => Ok(None),
            Some(index) => match Limits::parse_strictly(self.core.tree.body(index).data()) {
                None => Err(ErrorCode::MarshallingError),
                limits => Ok(limits),
            },
        };
        let Some(limits) = parse(txn::limits_path(limited))? else { return Ok(()) };
        // Usage is looked at only where something limits it.
        let is_limited = |change: i64, soft: i64, hard: i64| change != 0 && (soft > -1 || hard > -1);
        if !is_limited(count, limits.count, limits.count_hard())
            && !is_limited(bytes, limits.bytes, limits.bytes_hard())
        {
            return Ok(());
        }
        let Some(usage) = parse(txn::stats_path(limited))? else { return Ok(()) };
        let over =
            |change: i64, used: i64, hard: i64| change != 0 && hard > -1 && used.wrapping_add(change) > hard;
        if over(count, usage.count, limits.count_hard()) || over(bytes, usage.bytes, limits.bytes_hard()) {
            self.core.metrics.namespaces.quota_exceeded(path);
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }

    pub(super) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    #[cfg(test)]
    pub(super) fn tree(&self) -> &tree::Tree {
        &self.core.tree
    }
}

/// The version after a change, if the one expected is there or any will do.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}

/// Whether a request that makes a txn can be read. A leader of ZooKeeper's proposes one that cannot under a zxid that it
/// has used already, and commits nothing more.
pub(super) fn is_readable(op: OpCode, body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    match op {
        OpCode::SYNC | OpCode::CLOSE_SESSION => true,
        OpCode::MULTI => read_multi(&mut reader).is_ok(),
        OpCode::RECONFIG => Reconfig::read(&mut reader).is_ok(),
        _ => WriteOp::read(op, &mut reader).is_ok(),
    }
}

/// A write's body.
enum WriteOp<'a> {
    Create(OpCode, Create<'a>),
    Delete(PathVersion<'a>),
    SetData(SetData<'a>),
    SetAcl(SetAcl<'a>),
    Check(PathVersion<'a>),
}

impl<'a> WriteOp<'a> {
    #[inline(always)]
    fn read(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                Self::Create(op, Create::read(reader, op)?)
            }
            OpCode::DELETE => Self::Delete(PathVersion::read(reader)?),
            OpCode::SET_DATA => Self::SetData(SetData::read(reader)?),
            OpCode::SET_ACL => Self::SetAcl(SetAcl::read(reader)?),
            OpCode(unknown) => return Err(Short::Unknown(unknown)),
        })
    }

    fn of_multi(op: &MultiOp<'a>) -> (OpCode, Self) {
        match op {
            MultiOp::Create(op, create) => (*op, Self::Create(*op, create.clone())),
            MultiOp::Delete(delete) => (OpCode::DELETE, Self::Delete(*delete)),
            MultiOp::SetData(set) => (OpCode::SET_DATA, Self::SetData(*set)),
            MultiOp::Check(check) => (OpCode::CHECK, Self::Check(*check)),
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => unreachable!("reads were refused before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::core::SessionClock;
    use super::super::tests::{settings, tree_settings};
    use super::*;

    fn commit() -> Commit {
        Commit::new(settings(), Arc::default(), Database::fresh(tree_settings()), Now::default())
    }

    /// No session is judged beyond what views have told, whatever the time is; and by a clock of its own.
    #[test]
    fn sessions_are_judged_by_what_was_heard() {
        let at = |ms: i64| Now { mono_us: ms * 1000, wall_ms: 1_700_000_000_000 + ms };
        let mut commit = commit();
        let from = CnxnId { view: 0, slot: 1, generation: 1 };
        commit.create_session(at(0), from, 7, 4000);
        let mut tick = |now, ahead_ms, through_ms| {
            commit.core_mut().session_clock = SessionClock { ahead_ms, through_ms };
            commit.tick(now);
            commit.sessions.get(7).is_some()
        };
        assert!(tick(at(60_000), 0, 3000), "views have told of three seconds");
        assert!(tick(at(60_000), -57_000, i64::MAX), "a view stood still for 57 seconds");
        assert!(!tick(at(60_000), 0, 59_900), "it was silent");
    }

    /// Learners that fill every group, and more, do not keep clients of this server from theirs.
    #[test]
    fn views_have_their_turn_beside_learners() {
        let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
        let mut commit = commit();
        let learner = CnxnId::of_learner(0, 2);
        let set = |cnxn: CnxnId, session_id: i64, count: i32| {
            let mut bytes = Vec::new();
            bytes.put_string(b"/");
            bytes.put_buffer(Some(&vec![7; 1 << 20]));
            bytes.put_i32(-1);
            let request = |xid| {
                let (op, body, ids) = (OpCode::SET_DATA, 0..bytes.len(), Arc::from([]));
                ViewRequest::Request(Request { cnxn, session_id, xid, op, body, ids })
            };
            let items = (0..count).map(request).collect();
            Uplink { bytes: bytes.clone(), items, ..Uplink::default() }
        };
        let client = CnxnId { view: 0, slot: 1, generation: 1 };
        commit.create_session(now, learner, 2 << 56, 4000);
        commit.create_session(now, client, 1 << 56, 4000);
        commit.submit(now, set(learner, 2 << 56, 20));
        assert!(!commit.has_room() && commit.takes_uplinks(), "one may wait behind the learner's");
        commit.submit_of_view(now, set(client, 1 << 56, 1));
        assert!(!commit.takes_uplinks(), "one, and no more");
        let mut groups = 0;
        let is_clients = |entry: &super::super::Entry| {
            entry.to == Some(client) && matches!(entry.what, EntryKind::Txn(TxnKind::Done(_)))
        };
        loop {
            // The learner goes on sending.
            commit.submit(now, set(learner, 2 << 56, 5));
            let proposed = commit.take(wal::Batch::default()).expect("a group");
            groups += 1;
            if proposed.deltas.entries.iter().any(is_clients) {
                break;
            }
            assert!(groups < 10, "the client waits for good");
            commit.proceed(now);
        }
        assert!(commit.takes_uplinks());
    }

    /// A learner that asks once more for a session that is about to end stops nobody.
    #[test]
    fn creating_a_session_that_ends() {
        let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
        let mut commit = Commit::new(settings(), Arc::default(), Database::fresh(tree_settings()), now);
        let session_id = 0x0200_0000_0000_0001;
        let create = || {
            let from = CnxnId::of_learner(0, 2);
            let items = vec![ViewRequest::CreateSession { from, session_id, timeout_ms: 4000 }];
            Uplink { items, ..Uplink::default() }
        };
        commit.submit(now, create());
        commit.sessions.set_closing(session_id);
        commit.submit(now, create());
        let proposed = commit.take(wal::Batch::default()).expect("one session");
        assert_eq!(proposed.records.records(), 1);
    }
}
