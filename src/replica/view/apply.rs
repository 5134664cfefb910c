//! How a view takes in what was committed: changes, then the events of those who watch, then the answer.

use super::View;
use super::cnxn::{CloseReason, Cnxn, State};
use super::pool::WORK_PER_TURN;
use super::read::{ID_WORK, REQUEST_WORK, WATCH_WORK, put_error_result};
use super::turn::Turn;
use crate::admin::{Histogram, Sizes};
use crate::auth::{AclList, Policy};
use crate::proto::event::{EventType, put_event};
use crate::proto::reply::MultiHeader;
use crate::proto::{OpCode, Perms, SessionId, Zxid, path};
use crate::replica::{
    CnxnId, ControlKind, Deltas, Entry, EntryKind, MultiResult, Now, Origin, Serving, SessionKind, TxnKind,
    ViewRequest,
};
use crate::tree::NodeIndex;
use crate::txn::Change;
use crate::watch;

/// Bytes of events that a client has not taken at which its connection ends; answers do not count, since requests wait
/// long before.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// The same while memory is short.
const EVENT_BYTES_MAX_SHORT: usize = 1 << 20;

/// How far deltas are taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltasCursor {
    entries: usize,
    changes: usize,
    results: usize,
}

impl View {
    /// Takes in what was committed.
    pub fn apply(&mut self, deltas: &Deltas, now: Now) {
        let mut cursor = DeltasCursor::default();
        while !self.apply_some(deltas, &mut cursor, now) {}
    }

    /// Takes in a turn's worth of what was committed, from `cursor` on; true if that was all. What comes between two turns
    /// sees the entries that were taken in, whole.
    pub fn apply_some(&mut self, deltas: &Deltas, cursor: &mut DeltasCursor, now: Now) -> bool {
        self.connections.pool.work = WORK_PER_TURN;
        self.now_ms = now.mono_ms();
        self.tally.tracer.group = deltas.times;
        while let Some(entry) = deltas.entries.get(cursor.entries) {
            if self.connections.pool.work <= 0 {
                return false;
            }
            let changes = &deltas.changes[cursor.changes..entry.changes_end];
            let results = &deltas.results[cursor.results..entry.results_end];
            (cursor.changes, cursor.results) = (entry.changes_end, entry.results_end);
            cursor.entries += 1;
            self.connections.pool.charge(REQUEST_WORK * (1 + changes.len()) / 2);
            self.entry(entry, changes, results, now);
        }
        debug_assert_eq!(cursor.changes, deltas.changes.len(), "changes that are no entry's");
        debug_assert_eq!(cursor.results, deltas.results.len(), "results that are no entry's");
        if !self.outbox.has_outstanding_max() {
            self.connections.release_held_up();
        }
        true
    }

    /// Applying these took so long. The first view counts for all.
    pub fn applied(&mut self, deltas: &Deltas, took_us: u64) {
        if self.settings.number == 0 && deltas.requests > 0 {
            let metrics = &mut self.tally.metrics;
            metrics.times.commit_process_time.record(took_us);
            let each_us = took_us / deltas.requests;
            metrics.latencies.write_final_proc_time_ms.record_n(each_us, deltas.requests);
        }
    }

    fn entry(&mut self, entry: &Entry, changes: &[Change], results: &[MultiResult], now: Now) {
        if let EntryKind::Control(ControlKind::Reset(restart)) = &entry.what {
            return self.data.reset(entry.zxid, entry.digest, restart);
        }
        let to = entry.to.and_then(Origin::client).filter(|to| to.view == self.settings.number);
        if let Some(to) = to {
            self.answer_reads_before(to, now);
        }
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        match &entry.what {
            EntryKind::Txn(kind) => {
                match *kind {
                    TxnKind::Multi => self.multi(entry.zxid, changes, results, &mut body, now),
                    TxnKind::Done(op) => {
                        let changed = self.changes(changes, entry.zxid, now);
                        if to.is_some() {
                            self.data.put_result(op, changed, &mut body);
                        }
                    }
                    TxnKind::Failed(_) | TxnKind::Synced | TxnKind::Dropped | TxnKind::Moved => {
                        debug_assert!(changes.is_empty(), "{kind:?} changes the tree");
                    }
                }
                self.data.advance(entry.zxid, entry.digest);
                if let Some(to) = to {
                    if let Some(audit) = &mut self.tally.audit {
                        audit.answered(to, *kind, changes, results);
                    }
                    self.answer(to, now, |turn| turn.answer_txn(entry, *kind, &mut body));
                }
            }
            EntryKind::Session(kind) => {
                // The ephemerals of a session that ended.
                self.changes(changes, entry.zxid, now);
                self.data.advance(entry.zxid, entry.digest);
                self.note_session(entry, *kind);
                self.audit_session(to, *kind, changes);
                if let Some(to) = to {
                    self.answer(to, now, |turn| turn.answer_session(entry, *kind, &mut body));
                }
            }
            EntryKind::Control(kind) => {
                // The text of the ensemble's configuration.
                self.changes(changes, entry.zxid, now);
                self.data.advance(entry.zxid, entry.digest);
                self.control(kind, to, now);
            }
        }
        if self.tally.tracer.unfinished.is_some() {
            self.tally.tracer.finish(changes, now);
        }
        self.scratch = body;
    }

    /// Answers the reads before a request of the same connection.
    #[inline]
    fn answer_reads_before(&mut self, to: CnxnId, now: Now) {
        let is_due = |cnxn: &Cnxn| cnxn.deferred > 0 && cnxn.first_deferred().is_some();
        if self.connections.find_id(to).is_some_and(|(cnxn, _)| is_due(cnxn))
            && let Some(mut turn) = self.turn_of(to, now)
        {
            turn.answer_reads_before_write();
            turn.finish_listed();
        }
    }

    /// Answers a request, if its connection is still there.
    #[inline]
    fn answer(&mut self, to: CnxnId, now: Now, answer: impl FnOnce(&mut Turn<'_>)) {
        self.outbox.answered();
        let Some(mut turn) = self.turn_of(to, now) else {
            self.tally.metrics.counters.stale_replies += 1;
            return;
        };
        turn.tally.metrics.counters.stale_replies += u64::from(turn.cnxn.state == State::Closing);
        answer(&mut turn);
        turn.finish_listed();
    }

    /// Does what the commit side asks of every view, or tells one connection.
    fn control(&mut self, kind: &ControlKind, to: Option<CnxnId>, now: Now) {
        match kind {
            ControlKind::Epoch => {}
            ControlKind::Reset(_) => unreachable!("the tree was replaced before"),
            ControlKind::Serving(serving) => self.serve(*serving),
            ControlKind::Image(link) => self.data.images_wanted.push_back(*link),
            ControlKind::Report { query, word } => {
                let report = Box::new(self.report(*word, now));
                self.outbox.push_control(ViewRequest::Report { query: *query, report });
            }
            ControlKind::Fence(former) => {
                let Some(to) = to else { return };
                if let Some(mut turn) = self.turn_of(to, now) {
                    turn.fence();
                    turn.finish_listed();
                }
                // A connection that is gone says nothing any more, either.
                self.outbox.push_control(ViewRequest::Fenced(*former));
            }
            ControlKind::Text(text) => {
                if let Some(to) = to
                    && let Some(mut turn) = self.turn_of(to, now)
                {
                    turn.answer_word(text);
                    turn.finish_listed();
                }
            }
        }
    }

    /// Keeps the list of sessions that are alive. The connection of one that ended ends, unless it is the one that asked
    /// and is to be answered.
    fn note_session(&mut self, entry: &Entry, kind: SessionKind) {
        match kind {
            SessionKind::Created { session_id, timeout_ms } => {
                self.data.sessions.insert(session_id, timeout_ms);
            }
            SessionKind::Closed { session_id } => {
                self.data.sessions.remove(&session_id);
                self.end_cnxn_of(session_id, entry);
            }
            SessionKind::Ended { session_id } => self.end_cnxn_of(session_id, entry),
            SessionKind::Opened { .. }
            | SessionKind::Global { .. }
            | SessionKind::Attached { .. }
            | SessionKind::Refused { .. }
            | SessionKind::Overtaken { .. }
            | SessionKind::Ahead { .. } => {}
        }
    }

    /// Ends the connection of a session that has ended, unless it is the one that asked and is to be answered.
    fn end_cnxn_of(&mut self, session_id: SessionId, entry: &Entry) {
        if let Some(id) = self.connections.id_of_session(session_id)
            && entry.to != Some(Origin::Client(id))
            && let Some((cnxn, pool)) = self.connections.find_id(id)
        {
            cnxn.close(CloseReason::SessionGone { session_id });
            pool.list(id.slot, cnxn);
        }
    }

    /// Adds the end of a session to the audit log. The first view does that for all.
    fn audit_session(&mut self, to: Option<CnxnId>, kind: SessionKind, changes: &[Change]) {
        if let (SessionKind::Ended { .. }, Some(to), Some(audit)) = (kind, to, &mut self.tally.audit) {
            audit.closed(to);
        }
        if let SessionKind::Closed { session_id } = kind
            && let Some(audit) = &mut self.tally.audit
        {
            if let Some(to) = to {
                audit.closed(to);
            }
            if self.settings.number == 0 {
                audit.session_ended(session_id, changes);
            }
        }
    }

    /// Begins or ends serving clients. At the end every connection ends, answered or not: the next leader says what became
    /// of its requests.
    fn serve(&mut self, serving: Serving) {
        self.data.serving = serving;
        if serving != Serving::No {
            return;
        }
        let counters = &mut self.tally.metrics.counters;
        self.connections.for_each(|slot, cnxn, pool| {
            if cnxn.state != State::Closing {
                cnxn.close(CloseReason::NotServing);
                counters.cnxn_closed_without_zk_server_running += 1;
                pool.list(slot, cnxn);
            }
        });
        self.outbox.void_requests();
        if let Some(audit) = &mut self.tally.audit {
            audit.void_requests();
        }
        self.connections.release_held_up();
    }

    /// Makes the changes of one operation; says where its znode is, if it is still there.
    fn changes(&mut self, changes: &[Change], zxid: Zxid, now: Now) -> Option<NodeIndex> {
        let (first, quotas) = changes.split_first()?;
        let index = self.change(first, zxid, now);
        quotas.iter().for_each(|change| _ = self.change(change, zxid, now));
        index
    }

    /// Makes one change and notifies those who watch it; says where the znode is, if it is still there.
    fn change(&mut self, change: &Change, zxid: Zxid, now: Now) -> Option<NodeIndex> {
        let index = change.apply(&mut self.data.tree, zxid);
        // The first view counts for all.
        if self.settings.number == 0 {
            self.tally.note_write(change);
        }
        if !self.data.watches.is_empty() {
            self.notify(change, zxid, now);
        }
        index
    }

    /// Notifies those who watch what a change has changed, and may read it.
    fn notify(&mut self, change: &Change, zxid: Zxid, now: Now) {
        let Self { data, connections, tally, .. } = self;
        let mut fired = Fired::default();
        let mut send =
            |watch::Cnxn(slot): watch::Cnxn, kind: EventType, path: &[u8], acl: Option<&AclList>| {
                fired.count(kind);
                let Some((cnxn, pool)) = connections.in_slot(slot) else { return };
                pool.charge(WATCH_WORK + Policy::work(acl, &cnxn.ids) * ID_WORK);
                if cnxn.state == State::Closing || !data.policy.permits_by(acl, Perms::READ, &cnxn.ids) {
                    return;
                }
                let before = cnxn.out.len();
                put_event(&mut cnxn.out, Some(zxid), kind, path);
                let bytes = cnxn.out.len() - before;
                cnxn.event_bytes += bytes;
                tally.note_event(&mut cnxn.stats, bytes, now);
                let limit = if pool.is_short() { EVENT_BYTES_MAX_SHORT } else { EVENT_BYTES_MAX };
                if cnxn.event_bytes > limit {
                    cnxn.give_up_output(cnxn.event_bytes, limit);
                }
                pool.weigh(cnxn);
                pool.list(slot, cnxn);
            };
        match change {
            Change::Created { body, .. } | Change::Deleted { body } => {
                let (parent, _) = path::split(body.path()).expect("not the root");
                let parent_index = data.tree.find(parent);
                let parent_acl = parent_index.and_then(|parent| data.tree.body(parent).fixed().acl.clone());
                // Who watches the parent's children is notified by the parent's ACL, who watches the znode by its own.
                let mut sink = |cnxn: watch::Cnxn, kind: EventType, path: &[u8]| {
                    let acl = match kind {
                        EventType::NodeChildrenChanged => parent_acl.as_deref(),
                        _ => body.acl_list(),
                    };
                    send(cnxn, kind, path, acl);
                };
                match change {
                    Change::Created { .. } => data.watches.created(body.path(), parent, &mut sink),
                    _ => data.watches.deleted(body.path(), parent, &mut sink),
                }
            }
            Change::Data { body } => {
                let mut sink = |cnxn: watch::Cnxn, kind: EventType, path: &[u8]| {
                    send(cnxn, kind, path, body.acl_list());
                };
                data.watches.data_changed(body.path(), &mut sink);
            }
            Change::Acl { .. } | Change::Quota { .. } => {}
        }
        fired.record(&mut tally.metrics.sizes);
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
            self.data.put_result(op, changed, body);
        }
        debug_assert!(changes.is_empty(), "{} changes of multi {zxid} belong to no operation", changes.len());
        MultiHeader::END.put(body);
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
        let add = |size: &mut Histogram, fired: u64| {
            if fired > 0 {
                size.record(fired);
            }
        };
        add(&mut sizes.node_created_watch_count, self.created);
        add(&mut sizes.node_deleted_watch_count, self.deleted);
        add(&mut sizes.node_changed_watch_count, self.changed);
        add(&mut sizes.node_children_watch_count, self.children);
    }
}
