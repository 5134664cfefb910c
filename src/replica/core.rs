//! What the commit side has in every role: the tree, what the views are to learn, and answers for people.

use super::commit::GROUP_BYTES_MAX;
use super::local::LocalSessions;
use super::report::{self, Answered, CommitReport, Queries, SessionsTold};
use super::{
    CnxnId, CommitSettings, ControlKind, Deltas, Entry, EntryKind, MultiResult, Now, Origin, SessionKind,
    TxnKind, ViewReport, ViewRequest,
};
use crate::admin::{FourLetterWord, Metrics, TRACE_MASK_DEFAULT};
use crate::auth::Policy;
use crate::database::{CONFIG_PATH, note_session, read_next};
use crate::database::{Database, ReplayError};
use crate::proto::{ErrorCode, OpCode, SessionId, Zxid};
use crate::session;
use crate::tree::{Fixed, Tree};
use crate::txn::{self, AclTable, Applied, Change, Quotas, Txn, TxnHeader};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Txns between two digests that are remembered for `hash`. Source: `DataTree.DIGEST_LOG_INTERVAL`.
const DIGEST_INTERVAL: u64 = 128;

/// Digests that are remembered. Source: `DataTree.DIGEST_LOG_LIMIT`.
const DIGESTS_MAX: usize = 1024;

/// By which clock sessions live, where it is not that of everything else.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionClock {
    /// How far it is ahead.
    pub ahead_ms: i64,
    /// Through when, by that clock, the views have said who gave a sign of life: no session is judged beyond.
    pub through_ms: i64,
}

/// What a commit side and a follower's side share, and hand to each other when the role changes.
///
/// Invariants: `last_txn <= zxid`; entries in `deltas` are in zxid order, and each change in it is of an entry.
#[derive(Debug)]
pub(super) struct Core {
    pub settings: CommitSettings,
    pub policy: Arc<Policy>,
    pub tree: Tree,
    pub quotas: Quotas,
    pub acls: AclTable,
    /// What replies say: the newest txn that the tree has, or the start of the leader's epoch if that is later.
    pub zxid: Zxid,
    /// Newest txn that the tree has, which is what a log holds and a vote says.
    pub last_txn: Zxid,
    /// What the views are to learn next.
    pub deltas: Deltas,
    /// While [`Self::deltas`] may not be shown: as of which zxid and digest views are, for entries that go past them.
    held: Option<(Zxid, u64)>,
    /// Entries that go past the deltas while those are held.
    asides: Deltas,
    /// Questions of four-letter words to views, and answers to clients: they have no place among txns, and wait for none.
    words: Vec<(Option<CnxnId>, ControlKind)>,
    pub metrics: Metrics,
    queries: Queries,
    answered: Vec<Answered>,
    digests: VecDeque<(Zxid, u64)>,
    /// What `stmk` has set.
    pub trace_mask: i64,
    started_ms: i64,
    pub session_clock: SessionClock,
    /// Sessions that only this server knows.
    pub local: LocalSessions,
    /// The id of this server's next session as the former role left it.
    pub next_session_id: Option<SessionId>,
    /// Bytes of records at which the rest waits for the next group.
    pub group_bytes_max: usize,
    /// True while a view is so far behind that no more txns are to be made.
    pub views_lag: bool,
}

impl Core {
    /// Takes over a server's state, but for its sessions, which are the role's.
    pub fn new(
        settings: CommitSettings,
        policy: Arc<Policy>,
        restored: Database,
        now: Now,
    ) -> (Self, BTreeMap<SessionId, i32>) {
        let Database { tree, quotas, acls, sessions, zxid } = restored;
        let core = Self {
            policy,
            tree,
            quotas,
            acls,
            zxid,
            last_txn: zxid,
            deltas: Deltas::default(),
            held: None,
            asides: Deltas::default(),
            words: Vec::new(),
            metrics: Metrics::default(),
            queries: Queries::new(settings.views),
            answered: Vec::new(),
            digests: VecDeque::new(),
            trace_mask: TRACE_MASK_DEFAULT,
            started_ms: now.mono_ms(),
            session_clock: SessionClock { ahead_ms: 0, through_ms: i64::MAX },
            local: LocalSessions::new(settings.tick_ms, settings.hash_seed),
            next_session_id: None,
            group_bytes_max: GROUP_BYTES_MAX,
            views_lag: false,
            settings,
        };
        (core, sessions)
    }

    /// The first id that a role gives to a session. Ids go on where the former role's ended: by the clock alone, which
    /// may be set back, one could come twice.
    pub fn first_session_id(&self, now: Now, sessions: &BTreeMap<SessionId, i32>) -> SessionId {
        let by_clock = session::next_session_id(self.settings.server_id, now.wall_ms, sessions.keys());
        self.next_session_id.map_or(by_clock, |next| by_clock.max(next))
    }

    /// Takes another tree; no client waits for anything then.
    pub fn reset(&mut self, restored: Database) -> BTreeMap<SessionId, i32> {
        let Database { tree, quotas, acls, sessions, zxid } = restored;
        assert!(self.asides.entries.is_empty(), "entries before the tree at {zxid} are not published");
        (self.tree, self.quotas, self.acls) = (tree, quotas, acls);
        (self.zxid, self.last_txn) = (zxid, zxid);
        self.deltas = Deltas::default();
        self.digests.clear();
        sessions
    }

    /// From here on entries of txns are held back; views were given everything through `shown`.
    pub fn hold(&mut self, shown: (Zxid, u64)) {
        assert!(shown.0 <= self.zxid, "views were given {}, the tree is as of {}", shown.0, self.zxid);
        self.held = Some(shown);
    }

    /// What views show once they have taken in all that they are given now.
    pub fn shown_zxid(&self) -> Zxid {
        self.held.map_or(self.zxid, |(zxid, _)| zxid)
    }

    /// The time by which sessions live.
    pub fn session_ms(&self, now: Now) -> i64 {
        now.mono_ms() + self.session_clock.ahead_ms
    }

    /// Local sessions whose time is over; they are gone.
    pub fn expire_local(&mut self, now: Now) -> Vec<SessionId> {
        let judged_ms = self.session_ms(now).min(self.session_clock.through_ms);
        let expired = self.local.take_expired(judged_ms);
        self.metrics.counters.stale_sessions_expired += expired.len() as u64;
        expired
    }

    /// True while entries of txns are held back.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Entries of txns are not held back any more.
    pub fn release(&mut self) {
        assert!(self.is_held(), "nothing is held at {}", self.zxid);
        assert!(self.asides.entries.is_empty(), "what went past the held entries comes first");
        self.held = None;
    }

    /// No client waits for an answer any more, but those that asked a four-letter word.
    pub fn unaddress(&mut self) {
        for entry in self.deltas.entries.iter_mut().chain(&mut self.asides.entries) {
            if !matches!(entry.what, EntryKind::Control(ControlKind::Text(_))) {
                entry.to = None;
            }
        }
    }

    /// Entries of four-letter words, to be published as of now.
    pub fn take_words(&mut self) -> Vec<(Option<CnxnId>, ControlKind)> {
        std::mem::take(&mut self.words)
    }

    /// What may be shown.
    pub fn take_visible(&mut self) -> Option<Deltas> {
        let visible = if self.is_held() { &mut self.asides } else { &mut self.deltas };
        (!visible.entries.is_empty()).then(|| std::mem::take(visible))
    }

    /// What is held back.
    pub fn take_held(&mut self) -> Option<Deltas> {
        (!self.deltas.entries.is_empty()).then(|| std::mem::take(&mut self.deltas))
    }

    /// A leader's epoch begins: from here on replies say its zxids.
    pub fn begin_epoch(&mut self, epoch: u32) {
        assert!(!self.is_held(), "epoch {epoch} begins before what is held was published");
        let start = Zxid::new(epoch, 0);
        if start > self.zxid {
            self.zxid = start;
            self.push_at_once(None::<Origin>, 0, ControlKind::Epoch);
        }
    }

    /// The ensemble's configuration has another version: clients that read or watch it see that.
    pub fn show_config(&mut self, text: &[u8], version: i64) {
        assert!(!self.is_held(), "the configuration changes before what is held was published");
        let (path, mzxid) = (CONFIG_PATH, Zxid::from_wire(version));
        let Some(index) = self.tree.find(path) else { return };
        let before = self.tree.body(index).fixed().clone();
        if before.mzxid == mzxid {
            return;
        }
        let body = self.tree.make_body(path, Some(text), Fixed { mzxid, ..before });
        self.tree.replace(index, body.clone());
        self.deltas.changes.push(Change::Data { body });
        self.push_at_once(None::<Origin>, 0, ControlKind::Epoch);
    }

    /// Adds an entry for the views that has no place among txns: while those are held, it goes past them.
    pub fn push_at_once(&mut self, to: Option<impl Into<Origin>>, xid: i32, what: impl Into<EntryKind>) {
        let (to, what) = (to.map(Into::into), what.into());
        if let Some((zxid, digest)) = self.held {
            let entry = Entry { zxid, digest, to, xid, what, changes_end: 0, results_end: 0 };
            return self.asides.entries.push(entry);
        }
        self.push_in_order(to, xid, what);
    }

    /// Adds an entry for the views after the txns that were applied: that of the last one, or one that must not pass it.
    pub fn push_in_order(&mut self, to: Option<impl Into<Origin>>, xid: i32, what: impl Into<EntryKind>) {
        let (to, what) = (to.map(Into::into), what.into());
        let (changes_end, results_end) = (self.deltas.changes.len(), self.deltas.results.len());
        let (zxid, digest) = (self.zxid, self.tree.digest());
        debug_assert!(self.last_txn <= zxid, "txn {} is later than {zxid}", self.last_txn);
        debug_assert!(
            self.deltas
                .entries
                .last()
                .is_none_or(|last| last.zxid <= zxid && last.changes_end <= changes_end),
            "entries go back to {zxid}"
        );
        self.deltas.requests += u64::from(what.is_request());
        self.deltas.entries.push(Entry { zxid, digest, to, xid, what, changes_end, results_end });
    }

    /// The tree's digest as of now, remembered from time to time.
    pub fn note_digest(&mut self) -> Option<u64> {
        let digest = self.settings.digest_enabled.then(|| self.tree.digest())?;
        if self.zxid.0.is_multiple_of(DIGEST_INTERVAL) {
            if self.digests.len() == DIGESTS_MAX {
                self.digests.pop_front();
            }
            let last = self.digests.back().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
            assert!(last < self.zxid, "the digest of {} comes after that of {last}", self.zxid);
            self.digests.push_back((self.zxid, digest));
            assert!(self.digests.len() <= DIGESTS_MAX, "{} digests are kept", self.digests.len());
        }
        Some(digest)
    }

    /// Applies a txn that another server has checked, if it fits; gives back its entry's kind for the views, and how its digest
    /// differs from the one it should leave. `sessions` are kept up to date.
    ///
    /// # Errors
    /// As [`Database::replay`], but for the digest.
    pub fn apply_logged(
        &mut self,
        sessions: &mut BTreeMap<SessionId, i32>,
        zxid: Zxid,
        bytes: &[u8],
    ) -> Result<(TxnHeader, EntryKind, Option<ReplayError>), ReplayError> {
        let (header, txn, digest) = read_next(bytes, zxid, self.last_txn, &mut self.acls)?;
        note_session(sessions, &header, &txn);
        let session_id = header.session_id;
        let what = match &txn {
            Txn::Multi(txns) => return self.apply_multi(header, txns, digest),
            Txn::Error { code } => failed(*code).into(),
            Txn::CreateSession { timeout_ms } => {
                SessionKind::Created { session_id, timeout_ms: *timeout_ms }.into()
            }
            Txn::CloseSession { .. } => SessionKind::Closed { session_id }.into(),
            _ => TxnKind::Done(header.op).into(),
        };
        self.apply_one(&header, &txn)?;
        Ok((header, what, self.applied(&header, digest)))
    }

    fn apply_multi(
        &mut self,
        header: TxnHeader,
        txns: &[(OpCode, Txn<'_>)],
        digest: Option<u64>,
    ) -> Result<(TxnHeader, EntryKind, Option<ReplayError>), ReplayError> {
        // The one that failed: the results after it say so, those before it say nothing.
        let culprit = txns.iter().find_map(|(_, txn)| match txn {
            Txn::Error { code } if !matches!(ErrorCode::from_wire(*code), Some(ErrorCode::Ok)) => Some(*code),
            _ => None,
        });
        let is_failed = txns.iter().any(|(op, _)| *op == OpCode::ERROR);
        for (op, txn) in txns {
            if is_failed {
                let err = if let Txn::Error { code } = txn { *code } else { 0 };
                self.deltas.results.push(MultiResult { op: OpCode::ERROR, err, changes: 0 });
                continue;
            }
            let before = self.deltas.changes.len();
            self.apply_one(&TxnHeader { op: *op, ..header }, txn)?;
            let changes = (self.deltas.changes.len() - before) as u32;
            self.deltas.results.push(MultiResult { op: *op, err: 0, changes });
        }
        let is_moved = culprit.map(failed) == Some(TxnKind::Moved);
        let what = if is_moved { TxnKind::Moved } else { TxnKind::Multi };
        Ok((header, what.into(), self.applied(&header, digest)))
    }

    fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), ReplayError> {
        let mut applied = Applied { changes: std::mem::take(&mut self.deltas.changes), undo: None };
        let result = txn::apply(&mut self.tree, &mut self.quotas, header, txn, &mut applied);
        self.deltas.changes = applied.changes;
        result.map_err(|code| ReplayError::Impossible { zxid: header.zxid, code })
    }

    /// Notes a txn that was applied; gives back how its digest differs from the one it should leave.
    fn applied(&mut self, header: &TxnHeader, digest: Option<u64>) -> Option<ReplayError> {
        assert!(header.zxid > self.last_txn, "txns go back: {} after {}", header.zxid, self.last_txn);
        (self.zxid, self.last_txn) = (header.zxid, header.zxid);
        let tree = self.note_digest()?;
        let logged = digest.filter(|logged| *logged != tree)?;
        Some(ReplayError::Digest { zxid: header.zxid, logged, tree })
    }

    /// Takes out and handles what is about the server itself, in every role alike: four-letter words, and the reports of views
    /// for them. They wait for nothing else.
    pub fn take_inquiries(
        &mut self,
        now: Now,
        items: &mut Vec<ViewRequest>,
        sessions: impl Fn(FourLetterWord) -> SessionsTold,
    ) {
        let is_inquiry = |item: &ViewRequest| {
            matches!(item, ViewRequest::FourLetterWord { .. } | ViewRequest::Report { .. })
        };
        if !items.iter().any(is_inquiry) {
            return;
        }
        for item in items.extract_if(.., |item| is_inquiry(item)) {
            match item {
                ViewRequest::FourLetterWord { asker, word, mask } => {
                    self.trace_mask = mask.unwrap_or(self.trace_mask);
                    let query = self.queries.ask(asker, word);
                    self.words.push((None, ControlKind::Report { query, word }));
                }
                ViewRequest::Report { query, report } => self.report(now, query, *report, &sessions),
                other => unreachable!("{other:?} is no inquiry"),
            }
        }
    }

    fn report(
        &mut self,
        now: Now,
        query: u64,
        report: ViewReport,
        sessions: impl FnOnce(FourLetterWord) -> SessionsTold,
    ) {
        let Some((asker, word, reports)) = self.queries.answered(query, report) else { return };
        let commit = CommitReport {
            tree: &self.tree,
            quotas: &self.quotas,
            metrics: &self.metrics,
            digests: self.digests().collect(),
            trace_mask: self.trace_mask,
            uptime_ms: self.uptime_ms(now),
            sessions: sessions(word).with_local(&self.local, self.settings.local_sessions, word),
        };
        let status = Box::new(report::status(word, reports, commit, now));
        if word == FourLetterWord::Srst {
            self.metrics.reset();
        }
        self.answered.push(Answered { asker, word, status });
    }

    /// Four-letter words that only lack what the shell knows.
    pub fn take_answered(&mut self) -> Vec<Answered> {
        std::mem::take(&mut self.answered)
    }

    /// The answer to a four-letter word.
    pub fn answer_four_letter_word(&mut self, cnxn: CnxnId, text: Vec<u8>) {
        self.words.push((Some(cnxn), ControlKind::Text(text.into())));
    }

    /// Digests of the past, one every [`DIGEST_INTERVAL`] txns: what `hash` shows.
    pub fn digests(&self) -> impl Iterator<Item = (Zxid, u64)> {
        self.digests.iter().copied()
    }

    pub fn uptime_ms(&self, now: Now) -> i64 {
        now.mono_ms() - self.started_ms
    }
}

/// What the txn of a failed request says.
fn failed(code: i32) -> TxnKind {
    match ErrorCode::from_wire(code) {
        Some(ErrorCode::SessionMoved) => TxnKind::Moved,
        known => TxnKind::Failed(known.unwrap_or(ErrorCode::SystemError)),
    }
}
