//! Synchronization: a learner that has promised gets what it lacks, at the pace at which it takes it.

use super::activations::{put_commit_of, put_commits, put_inform_of};
use super::learners::{Cursor, LearnerHandler, LearnerKind, Step};
use super::output::{CloseLearner, LeaderOutput, LostLead};
use super::reconfiguration::newleader_config;
use super::{DISCOVERY_MS, Leader, OBSERVER_READS_MAX, OBSERVERS_BYTES, Phase};
use crate::proto::Zxid;
use crate::wal::Batch;
use crate::zab::LinkId;
use crate::zab::configuration::Configuration;
use crate::zab::history::{History, Sync};
use crate::zab::message::{PacketType, put_bare, put_commit, put_proposal, put_snap, put_with};

/// Bytes of proposals that are put together for a learner that is behind.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// Bytes taken since the last time that show a learner at work. Pings alone are less, and the kernel takes those for a
/// peer that is gone.
const PROGRESS_BYTES: usize = 4 << 10;

/// Largest txn that one of ZooKeeper's servers reads with its default settings, `jute.maxbuffer` and as much extra, less
/// what a packet has around it.
const JAVA_TXN_BYTES_MAX: usize = 2 * 0xF_FFFF - 1024;

impl Leader {
    /// Brings a learner that has promised up to date.
    pub(super) fn synchronize(&mut self, link: LinkId, history: &mut History, out: &mut Vec<LeaderOutput>) {
        let handler = self.learners.at_mut(link);
        let Step::Promised(last) = handler.step else {
            unreachable!("server {} is synchronized at {:?}", handler.sid, handler.step)
        };
        if self.membership.always_snap {
            self.begin_sync(link, Sync::Snap, history, out);
        } else if history.holds(last) || last == Zxid::ZERO {
            let sync = history.sync(last);
            self.begin_sync(link, sync, history, out);
        } else {
            handler.step = Step::Searching(last);
            out.push(LeaderOutput::FindInLog(link, last));
        }
    }

    /// The answer to [`LeaderOutput::FindInLog`]: the log's newest txn that is not above the zxid, where it goes back so
    /// far and what follows is less than a tree.
    pub fn found(
        &mut self,
        link: LinkId,
        floor: Option<Zxid>,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        // Its connection ended while the log was searched.
        let Some(handler) = self.learners.get_mut(link) else { return };
        let Step::Searching(last) = handler.step else {
            unreachable!("the log was searched for server {} at {:?}", handler.sid, handler.step)
        };
        assert!(floor.is_none_or(|floor| floor <= last), "{floor:?} was found for {last}");
        handler.heard_ms = now_ms;
        let sync = history.sync_from(last, floor);
        self.begin_sync(link, sync, history, out);
    }

    fn begin_sync(&mut self, link: LinkId, sync: Sync, history: &mut History, out: &mut Vec<LeaderOutput>) {
        let handler = self.learners.at(link);
        let sync = if handler.is_cumulative { sync } else { for_java(sync, self.committed, history) };
        let mut bytes = Vec::new();
        let after = match sync {
            Sync::Diff { after } => {
                put_bare(&mut bytes, PacketType::DIFF, history.last());
                after
            }
            Sync::Trunc { to } => {
                put_bare(&mut bytes, PacketType::TRUNC, to);
                to
            }
            Sync::Snap => {
                let sid = handler.sid;
                let snaps = self.learners.iter().filter(|handler| handler.awaits_tree()).count();
                // A voter may be needed for the quorum. Source: `LearnerHandler.run`, `LearnerSyncThrottler`.
                if !self.votes(handler) && snaps >= self.membership.snaps_max {
                    return self.close(link, CloseLearner::Throttled { sid, snaps }, out);
                }
                self.learners.at_mut(link).step = Step::Imaging;
                out.push(LeaderOutput::Image(link));
                return;
            }
        };
        self.learners.at_mut(link).send(bytes.into(), out);
        self.stream_from(link, after, history, out);
    }

    /// The tree that [`LeaderOutput::Image`] asked for will be as of `zxid`.
    pub fn image_begun(
        &mut self,
        link: LinkId,
        zxid: Zxid,
        now_ms: i64,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        // Its connection ended while the tree was prepared.
        let Some(handler) = self.learners.get_mut(link) else { return };
        assert_eq!(handler.step, Step::Imaging, "a tree for server {}, which needs none", handler.sid);
        // That the tree was not to be had sooner was not the learner's fault.
        handler.heard_ms = now_ms;
        let (mut bytes, configs) = (Vec::new(), &self.membership.configs);
        match handler.is_cumulative {
            true => {
                let next = configs.next().map(Configuration::text);
                put_snap(&mut bytes, zxid, configs.active().text(), next);
            }
            false => put_bare(&mut bytes, PacketType::SNAP, zxid),
        }
        handler.send(bytes.into(), out);
        out.push(LeaderOutput::SendImage(link));
        self.stream_from(link, zxid, history, out);
    }

    /// From here on the learner gets what comes after `after`, at the pace at which it takes it.
    fn stream_from(&mut self, link: LinkId, after: Zxid, history: &History, out: &mut Vec<LeaderOutput>) {
        let announced = self.announced;
        let epoch = self.epochs.accepted.start();
        assert!(after <= self.proposed.max(epoch), "goes on after {after}, proposed is {}", self.proposed);
        let handler = self.learners.at_mut(link);
        // An observer gets a txn when it is committed.
        let through = if handler.is_follower() { history.last() } else { announced };
        // A zkfast learner is sent what is committed also where all of that is in its log: it cannot know.
        let already = if handler.is_cumulative { Zxid::ZERO } else { after };
        handler.cursor = Cursor {
            sent: after,
            announced: already,
            newleader_after: Some(through.max(after)),
            ..std::mem::take(&mut handler.cursor)
        };
        handler.synced_through = through.max(after);
        let is_snap = handler.step == Step::Imaging;
        handler.step = Step::Syncing { is_snap };
        out.push(self.count_syncing(is_snap, true));
        self.pump(link, history, out);
    }

    pub(super) fn count_syncing(&self, is_snap: bool, begins: bool) -> LeaderOutput {
        let is_one = |handler: &&LearnerHandler| handler.step == Step::Syncing { is_snap };
        let under_way = self.learners.iter().filter(is_one).count() as u64;
        LeaderOutput::Syncing { is_snap, begins, under_way }
    }

    /// A learner's connection has taken `bytes` of what was to be sent; `messages` of them belong to no tree.
    pub fn taken(
        &mut self,
        link: LinkId,
        bytes: usize,
        messages: usize,
        now_ms: i64,
        history: &History,
        out: &mut Vec<LeaderOutput>,
    ) {
        // Bytes of a connection that the leader has closed, or of one that was not sent anything.
        let Some(handler) = self.learners.get_mut(link) else { return };
        let cursor = &mut handler.cursor;
        assert!(messages <= cursor.queued, "took {messages} bytes of {}", cursor.queued);
        assert!(messages <= bytes, "took {bytes} bytes, {messages} of them messages");
        cursor.queued -= messages;
        if let Some(traffic) = &mut handler.traffic {
            traffic.taken(messages);
        }
        cursor.taken += bytes;
        // Its socket was full and took more: the other side has taken bytes. A socket with room shows nothing.
        if cursor.queued > 0 && handler.step == Step::Synced {
            handler.heard_ms = now_ms;
        }
        if cursor.taken >= PROGRESS_BYTES && matches!(handler.step, Step::Syncing { .. }) {
            cursor.taken = 0;
            handler.heard_ms = now_ms;
            if handler.is_follower() {
                self.progress_ms = now_ms;
            }
        }
        self.pump(link, history, out);
    }

    /// What the log gave for [`LeaderOutput::ReadLog`]: txns right after the cursor, or why there are none.
    pub fn log_read(
        &mut self,
        link: LinkId,
        read: Result<&Batch, String>,
        history: &mut History,
        out: &mut Vec<LeaderOutput>,
    ) {
        // Its connection ended while the log was read.
        let Some(handler) = self.learners.get_mut(link) else { return };
        let (sid, after) = (handler.sid, handler.cursor.sent);
        assert!(std::mem::take(&mut handler.cursor.is_reading), "the log was read unasked for server {sid}");
        let goes_on = |batch: &&Batch| {
            let first = batch.iter().map(|(zxid, _)| zxid).find(|zxid| *zxid > after);
            first.is_some_and(|first| is_next(after, first))
        };
        match read {
            Ok(batch) if goes_on(&batch) => {
                let limit = self.limit(link, history);
                let txns = batch.iter().skip_while(|(zxid, _)| *zxid <= after);
                self.send_txns(link, txns, limit, usize::MAX, out);
                self.pump(link, history, out);
            }
            // The learner would notice the gap, and leave.
            read => {
                let why = read.err().unwrap_or_else(|| "it has others next".to_owned());
                self.close(link, CloseLearner::LogGone { sid, after, why }, out);
            }
        }
    }

    /// The newest txn that may be sent to a learner now. An answer goes between two commits, and an observer gets a txn
    /// and its commit at once.
    fn limit(&self, link: LinkId, history: &History) -> Zxid {
        assert!(history.last() <= self.proposed, "history {}, proposed {}", history.last(), self.proposed);
        let handler = self.learners.at(link);
        let cursor = &handler.cursor;
        let limit = match handler.is_follower() {
            true => history.last(),
            false => cursor.answers.front().map_or(self.announced, |(zxid, _)| self.announced.min(*zxid)),
        };
        cursor.newleader_after.map_or(limit, |after| limit.min(after))
    }

    /// Sends a learner what it lacks, as much as its connection may hold.
    pub(super) fn pump(&mut self, link: LinkId, history: &History, out: &mut Vec<LeaderOutput>) {
        loop {
            let handler = self.learners.at(link);
            let cursor = &handler.cursor;
            let (is_observer, window) = (handler.kind == LearnerKind::Observer, self.window(handler.kind));
            if !handler.gets_proposals() || cursor.is_reading || cursor.queued >= window {
                return;
            }
            let (sent, limit) = (cursor.sent, self.limit(link, history));
            if self.send_control(link, out) {
                continue;
            }
            if sent >= limit {
                return;
            }
            if !history.holds(sent) {
                // The next tick goes on with those that wait.
                if is_observer && !self.may_read_for_observer() {
                    return;
                }
                self.learners.at_mut(link).cursor.is_reading = true;
                out.push(LeaderOutput::ReadLog(link, sent));
                return;
            }
            self.send_txns(link, history.after(sent), limit, PIECE_BYTES.min(window), out);
        }
    }

    /// Whether the log may be read for one more observer: not for too many at once, nor while too much of what was read
    /// waits for their connections.
    fn may_read_for_observer(&self) -> bool {
        let observers = || self.learners.iter().filter(|handler| handler.kind == LearnerKind::Observer);
        let reading = observers().filter(|handler| handler.cursor.is_reading).count();
        let queued: usize = observers().map(|handler| handler.cursor.queued).sum();
        reading < OBSERVER_READS_MAX && queued < OBSERVERS_BYTES
    }

    /// Goes on with observers that wait for others to be read for.
    pub(super) fn pump_readers(&mut self, history: &History, out: &mut Vec<LeaderOutput>) {
        let waits = |handler: &LearnerHandler| {
            handler.kind == LearnerKind::Observer
                && handler.gets_proposals()
                && !history.holds(handler.cursor.sent)
        };
        for link in self.learners.links_where(waits) {
            self.pump(link, history, out);
        }
    }

    /// Sends a learner txns through `limit`, about `bytes_max` bytes of them. `txns` go on from its cursor.
    fn send_txns<'a>(
        &mut self,
        link: LinkId,
        txns: impl Iterator<Item = (Zxid, &'a [u8])>,
        limit: Zxid,
        bytes_max: usize,
        out: &mut Vec<LeaderOutput>,
    ) {
        let (announced, activations) = (self.announced, &self.activations);
        assert!(limit <= self.proposed, "txns through {limit} are sent, proposed is {}", self.proposed);
        let handler = self.learners.at_mut(link);
        // Before NEWLEADER a configuration is what that says.
        let is_after_newleader = handler.cursor.newleader_after.is_none();
        let is_informed = !handler.is_follower() && is_after_newleader;
        let cursor = &mut handler.cursor;
        // An answer goes between two commits.
        let border = cursor.answers.front().map_or(announced, |(zxid, _)| announced.min(*zxid));
        let mut bytes = Vec::new();
        for (zxid, txn) in txns {
            if zxid > limit || bytes.len() >= bytes_max {
                break;
            }
            assert!(is_next(cursor.sent, zxid), "txn {zxid} is sent after {}", cursor.sent);
            cursor.sent = zxid;
            // ZooKeeper's own servers, observers too, get proposal and commit before NEWLEADER.
            if is_informed {
                put_inform_of(&mut bytes, activations, zxid, txn);
                cursor.announced = zxid;
                continue;
            }
            put_proposal(&mut bytes, zxid, txn);
            if handler.is_cumulative {
                continue;
            }
            // Not what will be announced: ZooKeeper's own servers need a COMMIT of each txn, and only one.
            if zxid <= border {
                match is_after_newleader {
                    true => put_commit_of(&mut bytes, activations, zxid),
                    false => put_commit(&mut bytes, zxid),
                }
                cursor.announced = zxid;
            } else {
                cursor.uncommitted.push_back(zxid);
            }
        }
        assert!(!bytes.is_empty(), "no txn after {}, and {limit} is to be sent", cursor.sent);
        handler.send(bytes.into(), out);
    }

    /// Sends a learner one thing that goes before its next txn: COMMIT, NEWLEADER or an answer; `false` if there is none.
    fn send_control(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) -> bool {
        let (announced, epoch) = (self.announced, self.epochs.accepted.start());
        let newleader = newleader_config(self.phase, &self.membership.configs);
        let (handler, activations) = (self.learners.at_mut(link), &self.activations);
        let is_cumulative = handler.is_cumulative;
        let cursor = &mut handler.cursor;
        let mut bytes = Vec::new();
        let border = cursor.answers.front().map_or(announced, |(zxid, _)| *zxid);
        let through = announced.min(cursor.sent).min(border);
        let is_due = |zxid: &Zxid| *zxid <= through;
        if is_cumulative && through > cursor.announced && through.counter() != 0 {
            put_commits(&mut bytes, activations, cursor.announced, through);
            cursor.announced = through;
        } else if !is_cumulative && cursor.uncommitted.front().is_some_and(is_due) {
            while let Some(zxid) = cursor.uncommitted.front().copied().filter(is_due) {
                cursor.uncommitted.pop_front();
                match cursor.newleader_after {
                    None => put_commit_of(&mut bytes, activations, zxid),
                    Some(_) => put_commit(&mut bytes, zxid),
                }
                cursor.announced = zxid;
            }
        } else if cursor.newleader_after.is_some_and(|after| cursor.sent >= after) {
            put_with(&mut bytes, PacketType::NEWLEADER, epoch, newleader.text());
            cursor.newleader_after = None;
        } else if cursor.answers.front().is_some_and(|(zxid, _)| *zxid <= cursor.sent)
            && let Some((_, answer)) = cursor.answers.pop_front()
        {
            handler.send(answer, out);
            return true;
        } else {
            return false;
        }
        assert!(
            cursor.announced <= cursor.sent,
            "announced {}, sent through {}",
            cursor.announced,
            cursor.sent
        );
        handler.send(bytes.into(), out);
        true
    }

    /// A learner has acknowledged NEWLEADER: it is in step.
    pub(super) fn in_step_now(&mut self, link: LinkId, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let handler = self.learners.at_mut(link);
        let Step::Syncing { is_snap } = handler.step else {
            unreachable!("server {} acknowledges NEWLEADER at {:?}", handler.sid, handler.step)
        };
        self.learners.in_step_now(link);
        let handler = self.learners.at_mut(link);
        // It has what it was sent to get in step.
        handler.acked = handler.acked.max(self.elected.1);
        if handler.is_follower() {
            self.supporters.insert(handler.sid);
        }
        out.push(self.count_syncing(is_snap, false));
        match self.phase {
            Phase::Broadcast => self.send_up_to_date(link, out),
            Phase::Synchronizing => self.check_support(now_ms, out),
            Phase::Discovery | Phase::Promises => unreachable!("in step in phase {:?}", self.phase),
        }
    }

    /// Begins the epoch once a quorum is in step.
    pub(super) fn check_support(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        assert_eq!(self.phase, Phase::Synchronizing, "the epoch begins twice");
        if !self.decides(self.supporters.iter().copied()) {
            return;
        }
        self.phase = Phase::Broadcast;
        self.pinged_ms = now_ms;
        self.activate_at_start(out);
        out.push(LeaderOutput::Established(self.epochs.accepted));
        for link in self.learners.links_where(|handler| handler.step == Step::Synced) {
            self.send_up_to_date(link, out);
        }
    }

    fn send_up_to_date(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::UPTODATE, Zxid::from_wire(-1));
        self.learners.at_mut(link).send(bytes.into(), out);
    }

    /// Gives up where the quorum does not get in step. A tree takes as long as it takes, as long as it goes on, and as
    /// long as the voters that are connected would do.
    pub(super) fn check_progress(&mut self, now_ms: i64, out: &mut Vec<LeaderOutput>) {
        let init_ms = self.membership.init_ms;
        let voters = || self.learners.iter().filter(|handler| self.votes(handler));
        let may_succeed = self.decides(voters().map(|handler| handler.sid).chain([self.membership.sid]));
        if voters().any(LearnerHandler::waits_for_leader) {
            self.progress_ms = now_ms;
        }
        // Voters that have left look for a leader, and cannot join this one.
        let hopeless_ms = now_ms - *self.hopeless_since_ms.get_or_insert(now_ms);
        if may_succeed {
            self.hopeless_since_ms = None;
        }
        if now_ms - self.progress_ms > init_ms || !may_succeed && hopeless_ms > init_ms.min(DISCOVERY_MS) {
            out.push(LeaderOutput::Lost(LostLead::NotEstablished(now_ms - self.began_ms)));
        }
    }
}

/// `sync` as a server of ZooKeeper's can carry it out.
fn for_java(mut sync: Sync, committed: Zxid, history: &History) -> Sync {
    // A follower of ZooKeeper's takes all of its log for committed. What is has to stay there, since it may be one of the
    // quorum that has it, also where no learner was sent the commit.
    if let Sync::Diff { after } = sync
        && after > committed
    {
        sync = match history.sync(committed) {
            Sync::Diff { after } => Sync::Trunc { to: after },
            other => other,
        };
    }
    // Java cuts after the first record at or above the zxid of TRUNC, and the start of an epoch is no record: it would
    // keep a txn that was never committed. Source: `FileTxnLog.truncate`.
    if let Sync::Trunc { to } = sync
        && to.counter() == 0
    {
        sync = Sync::Snap;
    }
    // A txn that Java refuses to read would be in the way each time the learner comes.
    if let Sync::Diff { after } | Sync::Trunc { to: after } = sync
        && history.holds(after)
        && history.after(after).any(|(_, txn)| txn.len() > JAVA_TXN_BYTES_MAX)
    {
        sync = Sync::Snap;
    }
    sync
}

/// True if no txn can be missing between these two. An epoch may begin with any.
fn is_next(before: Zxid, zxid: Zxid) -> bool {
    zxid > before && (zxid.epoch() > before.epoch() || before.counter() == 0 || before.next() == Some(zxid))
}
