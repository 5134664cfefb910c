//! One server: alone, or a member of an ensemble in whatever role it has at the moment.
//!
//! ```text
//!            views            disk                        other servers
//!   submit | ^ take_published | take_group, durable       accepted, connected, received, closed
//!          v |                v ^                         v ^ take_output
//!   +---------------------------------------------------------------------+
//!   | Replica:  Alone (Commit)  |  Member: one phase at a time            |
//!   |           LogQueue           Leading (Leader, Commit)               |
//!   |           Publisher          Following (Learner, Follow) ...        |
//!   +---------------------------------------------------------------------+
//! ```
//!
//! Nothing here knows a file, a socket or a clock: the server's shell and the simulator drive the same code.
//!
//! ```text
//! what a server is    peers          what only a member has: other servers, and what it wants of its shell
//!                     phase          the phases of a member, and the loop that runs what follows from an event
//!                     settling       without a leader, and the log is behind
//!                     electing       without a leader
//!                     connecting     to the server that was elected
//!                     following      the leader; how a tree or a truncation is carried out stands in
//!                     install        SNAP and TRUNC, step by step
//!                     leading        Synchronizing, Leading
//!                     proposer       the commit side and its groups: alone, or leading
//!                     next           what follows from an event, and what comes late
//! what it has always  common         a member's election port, history, connections, and what it has for the shell
//!                     log_queue      groups that wait for the log
//!                     publisher      what the views are given
//! what others see     settings       how it is a member, and what it is to its ensemble
//!                     output, event  what the shell must do, and what people are told
//! ```
//!
//! Invariants: what views are given is committed. The tree is never ahead of the log when this server votes, and
//! what is voted with is what the log holds. Entries that may still be taken back are held until a leader confirms
//! them; if it does not, views start anew. Positions are asserted after each call, [`Replica::check`].

mod common;
mod connecting;
mod electing;
mod event;
mod following;
mod install;
mod leading;
mod log_queue;
mod next;
mod output;
mod peers;
mod phase;
mod proposer;
mod publisher;
mod restore;
mod restoring;
mod settings;
mod settling;

pub use event::{Event, Redundancy, Weight};
pub use output::{Output, Port};
pub use settings::{Duties, MemberSettings, Standing};

use super::commit::{GROUP_BYTES_MAX, SLOW_GROUP_BYTES_MAX};
use super::core::{Core, SessionClock};
use super::follow::Follow;
use super::report::{Answered, Asker};
use super::{CnxnId, Commit, CommitSettings, Deltas, Now, Uplink, ViewRequest};
use crate::admin::{FourLetterWord, Leading as LeadingStatus, Metrics, Mode};
use crate::auth::Policy;
use crate::database::Database;
use crate::proto::{ServerId, SessionId, Zxid};
use crate::txn;
use crate::wal::Batch;
use crate::zab::configuration::Configurations;
use crate::zab::election::ElectionPort;
use crate::zab::history::History;
use crate::zab::leader::{Epochs, HandOverError, Membership};
use common::{Common, Context};
use log_queue::{LogQueue, Taken};
use next::Next;
use phase::{Agenda, Phase, Slot};
use proposer::Proposer;
use publisher::Publisher;
pub use restoring::RestoreStep;
use restoring::Restoring;
use settling::Settling;
use std::sync::Arc;

/// A server without its files, sockets and clocks.
///
/// # Driving a replica
///
/// The caller owns the log, the sockets and the clock, and makes calls in turns. Within a turn the calls come in this order;
/// a server alone has no other servers, so that its turn is without (2) and (6):
///
/// 1. [`durable`](Self::durable) for a group that the log has finished since the last turn. One group at a time is with the
///    log.
/// 2. What other servers did: [`accepted`](Self::accepted), [`connected`](Self::connected), [`closed`](Self::closed),
///    [`received`](Self::received) while [`may_receive`](Self::may_receive) allows it; and what the disk says to outputs of
///    former turns.
/// 3. [`proceed`](Self::proceed), then [`submit`](Self::submit) of one uplink after the other while
///    [`takes_uplinks`](Self::takes_uplinks) allows it.
/// 4. Every 20 ms [`heard`](Self::heard), then [`tick`](Self::tick). Then four-letter words:
///    [`take_answered`](Self::take_answered), and [`answer_word`](Self::answer_word) for each.
/// 5. [`take_group`](Self::take_group): what is to be written and flushed next. Where it gives nothing,
///    [`waits_until_us`](Self::waits_until_us) says when to come again at the latest.
/// 6. [`take_output`](Self::take_output) until it gives nothing, each output carried out before the next, and
///    [`taken`](Self::taken) for what connections take. The followers get a group before this server's own log does, so
///    that all disks work at once.
/// 7. The group is written and flushed, in this turn or beside later ones. If it is in this turn, [`durable`](Self::durable)
///    follows, and the outputs (6) of that.
/// 8. [`take_published`](Self::take_published) until it gives nothing: each goes to every view, in this order.
///
/// The first error of the log is the last call: a group that may not be durable is never said to be.
///
/// ```
/// # use std::sync::Arc;
/// # use zkfast::proto::{acl::put_acls, Acl, JuteWrite, OpCode, Reader, SessionId, Zxid};
/// # use zkfast::replica::{CnxnId, CommitSettings, Deltas, Now, Origin, Replica, Request, Uplink, ViewRequest};
/// # use zkfast::{database::Database, tree, txn::TxnHeader, wal::Batch};
/// # let settings = CommitSettings { extended_types: true, ..CommitSettings::new(1, 2_000) };
/// # let tree_settings =
/// #     tree::Settings { extended_types: tree::ExtendedTypes::On, digests: tree::Digests::Kept, hash_seed: 1 };
/// # let at = |ms: i64| Now { mono_us: ms * 1_000, wall_ms: 1_700_000_000_000 + ms };
/// /// One turn of a server alone, whose log is a list of groups: what its views are given.
/// fn turn(replica: &mut Replica, uplink: Uplink, log: &mut Vec<Arc<Batch>>, now: Now) -> Vec<Deltas> {
///     replica.proceed(now);
///     if replica.takes_uplinks() {
///         replica.submit(now, uplink);
///     }
///     replica.tick(now);
///     if let Some(group) = replica.take_group(now) {
///         log.push(group.clone()); // A disk writes and flushes it here.
///         replica.durable(group, now);
///     }
///     std::iter::from_fn(|| replica.take_published()).collect()
/// }
///
/// let mut replica = Replica::alone(settings, Arc::default(), Database::fresh(tree_settings), at(0));
/// let mut log = Vec::new();
///
/// // A client opens a session.
/// let cnxn = CnxnId { view: 0, slot: 0, generation: 1 };
/// let (password, last_zxid_seen) = (Box::from([]), Zxid::ZERO);
/// let connect = ViewRequest::Connect { cnxn, session_id: SessionId::NONE, password, timeout_ms: 9_000, last_zxid_seen };
/// let uplink = Uplink { items: vec![connect], ..Uplink::default() };
/// let published = turn(&mut replica, uplink, &mut log, at(1));
/// assert_eq!(published[0].entries[0].to, Some(Origin::Client(cnxn)));
/// let (_, txn) = log[0].iter().next().expect("a txn");
/// let session_id = TxnHeader::read(&mut Reader::new(txn)).expect("a header").session_id;
///
/// // It creates a znode.
/// let mut body = Vec::new();
/// body.put_string(b"/config");
/// body.put_buffer(Some(b"data"));
/// put_acls(&mut body, &[Acl::open()]);
/// body.extend(0_i32.to_be_bytes());
/// let (op, range, ids) = (OpCode::CREATE, 0..body.len(), Arc::from([]));
/// let origin = Origin::Client(cnxn);
/// let create = ViewRequest::Request(Request { origin, session_id, xid: 7, op, body: range, ids });
/// let uplink = Uplink { bytes: body, items: vec![create], ..Uplink::default() };
/// let published = turn(&mut replica, uplink, &mut log, at(2));
///
/// // Its view answers request 7 with what was published, and that is durable.
/// let created = &published[0].entries[0];
/// assert_eq!((created.to, created.xid, created.zxid), (Some(origin), 7, Zxid::new(0, 2)));
/// assert_eq!(published[0].changes.len(), 1);
/// assert_eq!(replica.durable_through(), Zxid::new(0, 2));
/// ```
#[derive(Debug)]
pub struct Replica {
    role: Role,
    log: LogQueue,
    publisher: Publisher,
    /// Of a server alone.
    restoring: Option<Restoring>,
}

#[derive(Debug)]
enum Role {
    /// There is no ensemble: what is durable here is committed.
    Alone(Proposer),
    Member(Box<Member>),
}

impl Role {
    fn core_mut(&mut self) -> &mut Core {
        match self {
            Self::Alone(proposer) => proposer.commit.core_mut(),
            Self::Member(member) => member.phase.core_mut(),
        }
    }
}

#[derive(Debug)]
struct Member {
    common: Common,
    phase: Slot,
    agenda: Agenda,
}

/// How a server comes to be.
impl Replica {
    /// A server on its own.
    pub fn alone(settings: CommitSettings, policy: Arc<Policy>, restored: Database, now: Now) -> Self {
        let shown = (restored.zxid, restored.tree.digest());
        let commit = Commit::new(settings, policy, restored, now);
        let role = Role::Alone(Proposer::new(commit, false));
        Self { role, log: LogQueue::new(shown.0), publisher: Publisher::new(shown, true), restoring: None }
    }

    /// A member of an ensemble: it looks for a leader. Views begin without serving. `history` is the end of the log,
    /// as far as it is known.
    pub fn member(
        member: MemberSettings,
        settings: CommitSettings,
        policy: Arc<Policy>,
        restored: Database,
        epochs: Epochs,
        history: History,
        now: Now,
    ) -> Self {
        let last = restored.zxid;
        assert_eq!(history.last(), last, "the history ends elsewhere than the log");
        let shown = (last, restored.tree.digest());
        let (core, sessions) = Core::new(settings, policy, restored, now);
        let mut follow = Follow::of(core, sessions, now);
        let Membership { sid, ref configs, reconfig_enabled, .. } = member.membership;
        // Beyond every round of this server's past, which followers of then may still name.
        let round = i64::from(epochs.accepted) << 20;
        let election = ElectionPort::new(configs.clone(), sid, &member.election_address, round)
            .with_reconfiguration(reconfig_enabled);
        let mut common = Common::new(member, election, epochs, history);
        let (mut log, mut publisher) = (LogQueue::new(last), Publisher::new(shown, false));
        Context { common: &mut common, log: &mut log, publisher: &mut publisher, now }
            .hold_unconfirmed(&mut follow);
        let phase = Slot::new(Phase::Settling(Settling::new(Box::new(follow))));
        let member = Member { common, phase, agenda: Agenda::default() };
        let mut replica = Self { role: Role::Member(Box::new(member)), log, publisher, restoring: None };
        replica.step(now, |_, _| Next::StartElection);
        replica
    }
}

/// What it is, and what it measures.
impl Replica {
    /// What this server is to its ensemble.
    pub fn standing(&self) -> Standing {
        match &self.role {
            Role::Alone(_) => Standing::Alone,
            Role::Member(_) if self.publisher.is_read_only() => Standing::ReadOnly,
            Role::Member(member) => member.phase.standing(member.common.is_observer()),
        }
    }

    /// Whether a leader has confirmed all that views show.
    pub fn shows_confirmed(&self) -> bool {
        self.publisher.is_confirmed()
    }

    /// Whether observers may connect to it: a follower with `observerMasterPort`, in step with its leader.
    pub fn serves_observers(&self) -> bool {
        match &self.role {
            Role::Alone(_) => false,
            Role::Member(member) => match &*member.phase {
                Phase::Following(following) => following.serves_observers(),
                _ => false,
            },
        }
    }

    /// Whether its role lets it serve clients: not that of a leader with `leaderServes=no`.
    fn serves_clients(&self) -> bool {
        match &self.role {
            Role::Alone(_) => true,
            Role::Member(member) => {
                member.phase.proposer().is_none() || member.common.settings.duties.leader_serves
            }
        }
    }

    /// What the oracle of an ensemble of two voters says: whether this server may lead without the other one. Of no account
    /// where the ensemble has no oracle.
    pub fn set_oracle(&mut self, allows: bool) {
        let Role::Member(member) = &mut self.role else { panic!("a server alone asks no oracle") };
        let Member { common, phase, .. } = &mut **member;
        if common.configs().oracle().is_none_or(|before| before == allows) {
            return;
        }
        common.settings.membership.configs.set_oracle(allows);
        common.election.set_oracle(allows);
        if let Some(leader) = phase.leader_mut() {
            leader.set_oracle(allows);
        }
        common.push_event(Event::Oracle { allows });
    }

    /// Has another server lead, in place of this one and without an election: `to`, or the follower that has the most. Gives that
    /// server. Until it leads, writes wait; clients stay connected. Where it does not have all that was proposed within
    /// 2 s, or syncLimit, this server leads on, and an [`Event`] says so.
    ///
    /// # Errors
    /// See [`HandOverError`]. Nothing happens.
    pub fn hand_over(&mut self, now: Now, to: Option<i64>) -> Result<i64, HandOverError> {
        let Role::Member(member) = &self.role else { return Err(HandOverError::NotLeading(None)) };
        if let Some(leader) = member.phase.other_leader() {
            return Err(HandOverError::NotLeading(leader));
        }
        let mut result = Err(HandOverError::NotLeading(None));
        self.step(now, |slot, cx| {
            if let Phase::Leading(leading) = &mut **slot {
                result = leading.hand_over(to.map(ServerId), cx);
            }
            Next::Done
        });
        result.map(|ServerId(sid)| sid)
    }

    /// Whether this leader proposes no more, since another server is to lead.
    pub fn is_handing_over(&self) -> bool {
        match &self.role {
            Role::Alone(_) => false,
            Role::Member(member) => {
                matches!(&*member.phase, Phase::Leading(leading) if leading.leader.is_handing_over())
            }
        }
    }

    /// The server that leads, if this one is in step with it.
    pub fn leader(&self) -> Option<i64> {
        let Role::Member(member) = &self.role else { return None };
        match member.phase.other_leader() {
            None => Some(member.common.settings.membership.sid.0),
            Some(other) => other.map(|ServerId(sid)| sid),
        }
    }

    /// The round of the last election.
    #[cfg(any(test, feature = "sim"))]
    pub fn election_round(&self) -> Option<i64> {
        match &self.role {
            Role::Alone(_) => None,
            Role::Member(member) => Some(member.common.election.round()),
        }
    }

    /// Epochs as they are on disk, or about to be.
    pub fn epochs(&self) -> Epochs {
        match &self.role {
            Role::Alone(_) => Epochs::default(),
            Role::Member(member) => member.common.epochs,
        }
    }

    /// The ensemble's configurations, as this server knows them; a server alone has none.
    pub fn configs(&self) -> Option<&Configurations> {
        match &self.role {
            Role::Alone(_) => None,
            Role::Member(member) => Some(member.common.configs()),
        }
    }

    /// The digest of the tree, of whatever it holds.
    pub fn digest(&self) -> u64 {
        match &self.role {
            Role::Alone(proposer) => proposer.commit.digest(),
            Role::Member(member) => member.phase.digest(),
        }
    }

    /// Whether that server's election port is heard, or hears this one.
    pub fn hears(&self, sid: i64) -> bool {
        match &self.role {
            Role::Alone(_) => false,
            Role::Member(member) => member.common.election.hears(ServerId(sid)),
        }
    }

    /// What the shell measures on this side: the log, snapshots, recovery.
    pub fn metrics_mut(&mut self) -> &mut Metrics {
        &mut self.core().metrics
    }

    /// Whether [`Replica::checked`] has something to say.
    pub fn is_unmeasured(&self) -> bool {
        self.proposer().is_some_and(|proposer| proposer.commit.is_unmeasured())
    }

    /// Requests that were checked since the last call took so long together.
    pub fn checked(&mut self, took_us: u64) {
        if let Some(proposer) = self.proposer_mut() {
            proposer.commit.checked(took_us);
        }
    }

    /// As many requests that were checked here are with the log and the followers; handing them over took so long.
    pub fn handed(&mut self, requests: u64, took_us: u64) {
        if let Some(proposer) = self.proposer_mut() {
            let times = &mut proposer.commit.core_mut().metrics.times;
            times.proposal_process_time.record_n(took_us / requests.max(1), requests);
        }
    }

    /// Has a group take so many bytes before the rest waits for the next one; the limits are 4 and 16 MiB. The shell says
    /// how many the disk writes in twice the time of a flush. A flush costs what it costs, whatever it makes durable: with
    /// smaller groups a disk with slow flushes would do little else, and with larger ones a group of a quick disk
    /// would keep those waiting that come after it.
    pub fn set_group_bytes(&mut self, bytes: usize) {
        self.core().group_bytes_max = bytes.clamp(GROUP_BYTES_MAX, SLOW_GROUP_BYTES_MAX);
    }

    /// For a leader: passes over zxids, so that only so many are left. Does nothing once the epoch has a txn.
    #[cfg(any(test, feature = "sim"))]
    pub fn spend_zxids(&mut self, left: u32) {
        if let Some(proposer) = self.proposer_mut() {
            proposer.commit.spend_zxids(left);
        }
    }

    /// A deliberate bug, to see that it is noticed: a follower tells its observers of what is proposed, before it is committed.
    #[cfg(any(test, feature = "sim"))]
    pub fn inform_early(&mut self) {
        if let Role::Member(member) = &mut self.role {
            member.common.informs_early = true;
        }
    }

    fn core(&mut self) -> &mut Core {
        self.role.core_mut()
    }

    /// What makes txns; a follower, or a server without a leader, has none.
    fn proposer(&self) -> Option<&Proposer> {
        match &self.role {
            Role::Alone(proposer) => Some(proposer),
            Role::Member(member) => member.phase.proposer(),
        }
    }

    /// See [`Self::proposer`].
    fn proposer_mut(&mut self) -> Option<&mut Proposer> {
        match &mut self.role {
            Role::Alone(proposer) => Some(proposer),
            Role::Member(member) => member.phase.proposer_mut(),
        }
    }
}

/// What views send up, and are given.
impl Replica {
    /// Whether there is room for more of what views send up.
    pub fn has_room(&self) -> bool {
        self.proposer().is_none_or(|proposer| proposer.commit.has_room())
    }

    /// Whether another uplink of a view may be submitted.
    pub fn takes_uplinks(&self) -> bool {
        !self.is_restoring() && self.proposer().is_none_or(|proposer| proposer.commit.takes_uplinks())
    }

    /// Whether [`Self::proceed`] has more to do at once.
    pub fn has_more(&self) -> bool {
        self.proposer().is_some_and(|proposer| proposer.commit.has_more())
    }

    /// Takes in what a view sends up. Of an uplink of an earlier generation only what is about the server itself counts: the
    /// clients of then are gone.
    pub fn submit(&mut self, now: Now, mut uplink: Uplink) {
        if uplink.serving_generation != self.publisher.serving_generation() {
            uplink.items.retain(|item| {
                matches!(item, ViewRequest::FourLetterWord { .. } | ViewRequest::Report { .. })
            });
        }
        match &mut self.role {
            Role::Alone(proposer) => proposer.commit.submit_of_view(now, uplink),
            Role::Member(member) => member.submit(now, uplink),
        }
        self.check();
    }

    /// Goes on with what waits for room.
    pub fn proceed(&mut self, now: Now) {
        if self.makes_txns()
            && let Some(proposer) = self.proposer_mut()
        {
            proposer.commit.proceed(now);
        }
    }

    /// These sessions of this server's clients gave a sign of life.
    pub fn heard(&mut self, now: Now, sessions: &[SessionId]) {
        match &mut self.role {
            Role::Alone(proposer) => proposer.commit.heard(now, sessions),
            Role::Member(member) => match &mut *member.phase {
                Phase::Leading(leading) => leading.proposer.commit.heard(now, sessions),
                phase => phase.follow_mut().into_iter().for_each(|follow| follow.heard(sessions, now)),
            },
        }
    }

    /// Sessions live by a clock that is so far ahead of the one that the caller tells with everything else; by that clock,
    /// all signs of life through `through_ms` were told with [`Self::heard`], and no session is judged beyond.
    pub fn set_session_clock(&mut self, ahead_ms: i64, through_ms: i64) {
        self.core().session_clock = SessionClock { ahead_ms, through_ms };
    }

    /// Tells the replica whether a view is so far behind that nothing more is to be made for it, which bounds what waits for
    /// views. Until it has caught up a follower does not read what its leader sends, and a leader, or a server alone, makes
    /// no txns.
    pub fn set_views_lag(&mut self, lag: bool) {
        self.core().views_lag = lag;
    }

    /// What the views are to be given next, in order.
    pub fn take_published(&mut self) -> Option<Deltas> {
        self.publisher.publish_words(self.role.core_mut());
        if self.publisher.is_empty()
            && let Role::Member(member) = &mut self.role
            && let Some(follow) = member.phase.follow_mut()
        {
            self.publisher.publish_visible(&mut follow.core);
        }
        self.publisher.take()
    }

    /// Asks as a four-letter word does, for the shell, which has given the question this number;
    /// [`take_answered`](Self::take_answered) has the answer once all views have reported.
    pub fn ask(&mut self, now: Now, number: u64, word: FourLetterWord, mask: Option<i64>) {
        let items = vec![ViewRequest::FourLetterWord { asker: Asker::Shell(number), word, mask }];
        self.submit(now, Uplink { items, ..Uplink::default() });
    }

    /// Questions that only lack what the shell knows; for that of a client [`Replica::answer_word`] must follow.
    pub fn take_answered(&mut self, now: Now) -> Vec<Answered> {
        let mut answered = self.core().take_answered();
        let standing = self.standing();
        for Answered { status, asker, .. } in &mut answered {
            // Java gives clients' ports no server to speak for where a leader serves none; HTTP has it all the same.
            let is_hidden = matches!(asker, Asker::Cnxn(_)) && !self.serves_clients();
            status.serving = standing != Standing::Looking && !is_hidden;
            status.mode = match standing {
                Standing::Alone | Standing::Looking => Mode::Standalone,
                Standing::Leading => Mode::Leader,
                Standing::ReadOnly => Mode::ReadOnly,
                Standing::Following => Mode::Follower,
                Standing::Observing => Mode::Observer,
            };
            let Role::Member(member) = &self.role else { continue };
            let Member { common, phase, .. } = &**member;
            status.ensemble = Some(common.configs().active().ensemble().clone());
            // Source: `ReadOnlyZooKeeperServer` has no gauges of an ensemble.
            let is_member = standing != Standing::ReadOnly;
            status.quorum_size =
                is_member.then_some(common.configs().active().quorum().voters().count() as u64);
            status.leader_id = match (standing, &**phase) {
                (Standing::Leading, _) => Some(common.settings.membership.sid.0),
                (_, Phase::Following(following)) => Some(following.sid),
                _ => None,
            };
            if let (Standing::Observing, Phase::Following(following)) = (standing, &**phase) {
                status.observer_master_id = Some(following.sid);
            }
            if let Some(master) = phase.learner_master() {
                status.observers = master.observers(now.mono_ms(), now.wall_ms);
                status.synced_observers = Some(master.status(now.mono_ms()).synced_observers);
            }
            if let Some(leader) = phase.leader() {
                let pending_syncs = phase.proposer().map_or(0, Proposer::pending_syncs);
                status.learners = leader.learners_seen(now.mono_ms());
                status.leader = Some(LeadingStatus { pending_syncs, ..leader.status(now.mono_ms()) });
            }
        }
        answered
    }

    /// Sends the text of a four-letter word to the client that asked.
    pub fn answer_word(&mut self, cnxn: CnxnId, text: Vec<u8>) {
        self.core().answer_four_letter_word(cnxn, text);
    }
}

/// The log.
impl Replica {
    /// What is to be written to the log next and made durable; `None` while the last group is not, or waits for more.
    pub fn take_group(&mut self, now: Now) -> Option<Arc<Batch>> {
        if self.log.is_writing() {
            return None;
        }
        if !self.log.has_waiting() {
            let (waiting, in_flight) = match self.proposer() {
                Some(proposer) => (proposer.waiting(), proposer.in_flight()),
                // Its leader gathers groups.
                None => (0, 0),
            };
            if !self.log.is_due(waiting, in_flight, now) {
                return None;
            }
            self.gather(now);
            self.check();
        }
        let Taken { batch, waited_us, records_behind } = self.log.take(now)?;
        if !batch.is_marker() {
            let records = batch.records().into();
            let Metrics { counters, sizes, latencies, .. } = self.metrics_mut();
            sizes.sync_processor_queue_size.record(records_behind);
            counters.sync_processor_request_queued += records;
            latencies.sync_processor_queue_time_ms.record_n(waited_us, records);
        }
        Some(batch)
    }

    /// Until when what is there for the next group waits for more, where it does: [`Self::take_group`] is to be called
    /// then, if not before.
    pub fn waits_until_us(&self) -> Option<i64> {
        self.log.waits_until_us()
    }

    /// Makes the next group of what was proposed since.
    fn gather(&mut self, now: Now) {
        let Self { role, log, publisher, .. } = self;
        match role {
            Role::Alone(proposer) => {
                if let Some(proposed) = proposer.gather(log)
                    && proposer.queue(proposed, None, log, now).is_none()
                {
                    self.publish_committed(now);
                }
            }
            Role::Member(member) => {
                let Member { common, phase, .. } = &mut **member;
                let mut cx = Context { common, log, publisher, now };
                match &mut **phase {
                    Phase::Leading(leading) => {
                        if let Some(proposed) = leading.proposer.gather(cx.log) {
                            leading.propose(proposed, &mut cx);
                        }
                    }
                    // More of the synchronisation is on its way.
                    Phase::Following(following) if following.learner.is_syncing() => {}
                    Phase::Following(following) => {
                        cx.append_gathered();
                        following.tell_observers(&mut cx);
                    }
                    Phase::Settling(_)
                    | Phase::Electing(_)
                    | Phase::Connecting(_)
                    | Phase::Synchronizing(_) => {
                        let bytes = cx.log.gathered_bytes();
                        assert_eq!(bytes, 0, "bytes of proposals while {}", phase.name());
                    }
                }
            }
        }
    }

    /// A group is durable, or a marker: the one that [`Self::take_group`] has given last.
    pub fn durable(&mut self, batch: Arc<Batch>, now: Now) {
        let took_us = self.log.written(&batch, now);
        if batch.is_marker() && matches!(self.role, Role::Alone(_)) {
            return self.restore_based();
        }
        if batch.is_marker() {
            self.step(now, |slot, cx| slot.on_marker_durable(cx));
            return;
        }
        self.note_durable(&batch, took_us, now);
        if let Role::Member(_) = &self.role {
            self.step(now, |slot, cx| match &mut **slot {
                Phase::Leading(leading) => {
                    leading.leader.durable(cx.log.durable());
                    Next::Done
                }
                Phase::Following(following) => following.durable(batch.iter().map(|(zxid, _)| zxid)),
                Phase::Settling(_) => Next::StartElection,
                other => panic!("{} is durable while {}", batch.last(), other.name()),
            });
        }
        // The history of a member shares it.
        if let Ok(batch) = Arc::try_unwrap(batch) {
            self.log.put_spare(batch);
        }
        self.publish_committed(now);
        self.check();
    }

    /// Counts a group that is durable here, so long after its first txn.
    fn note_durable(&mut self, batch: &Batch, took_us: u64, now: Now) {
        let records = batch.records().into();
        // What a sync brings is acknowledged as a whole.
        let (acknowledges, proposes) = match &self.role {
            Role::Alone(_) => (false, false),
            Role::Member(member) => {
                let is_voter = !member.common.is_observer();
                let is_in_step = member.phase.follow().is_none_or(|follow| !follow.core.is_held());
                (is_voter && is_in_step, member.phase.proposer().is_some())
            }
        };
        let latencies = &mut self.metrics_mut().latencies;
        latencies.sync_processor_queue_and_flush_time_ms.record_n(took_us, records);
        let ack = &mut latencies.proposal_ack_creation_latency;
        match (acknowledges, proposes) {
            (true, true) => ack.record_n(took_us, records),
            (true, false) => {
                batch.iter().for_each(|(_, txn)| ack.record_since(now.wall_ms, txn::time_ms(txn)));
            }
            (false, _) => {}
        }
    }

    /// Publishes what is committed, where this server says what is.
    fn publish_committed(&mut self, now: Now) {
        let Self { role, log, publisher, .. } = self;
        match role {
            Role::Alone(proposer) => {
                while let Some((deltas, _)) = proposer.take_committed(log.durable(), 0, log, now) {
                    publisher.publish(deltas);
                }
            }
            Role::Member(member) => {
                let Member { common, phase, .. } = &mut **member;
                if let Phase::Leading(leading) = &mut **phase {
                    leading.publish_committed(&mut Context { common, log, publisher, now });
                }
            }
        }
    }

    /// Whether everything that was proposed is published, or is another leader's to commit.
    pub fn is_idle(&self) -> bool {
        !self.is_restoring() && self.proposer().is_none_or(Proposer::is_idle) && self.is_logged()
    }

    /// Newest txn that the log has, durable.
    pub fn durable_through(&self) -> Zxid {
        self.log.durable()
    }

    /// Whether the log has everything that it was given, and no group waits for more.
    pub fn is_logged(&self) -> bool {
        self.log.is_idle() && self.waits_until_us().is_none()
    }
}

/// Time, and what must hold.
impl Replica {
    /// Does what is due. To be called every 20 ms or so; `now` never goes back.
    pub fn tick(&mut self, now: Now) {
        match &mut self.role {
            // What a tree that goes holds does not matter any more.
            Role::Alone(_) if self.restoring.is_some() => {}
            Role::Alone(proposer) => proposer.commit.tick(now),
            Role::Member(_) => self.tick_member(now),
        }
    }

    /// Asserts the positions of the log, the history and the views against each other; cheap, and done after each call.
    pub fn check(&self) {
        self.log.check();
        let shown = self.publisher.shown().0;
        match &self.role {
            Role::Alone(proposer) => {
                proposer.check(&self.log);
                // The start of an epoch is no txn.
                let is_durable = shown <= self.log.durable() || shown.counter() == 0;
                assert!(is_durable, "views were given {shown}, durable {}", self.log.durable());
                assert!(!self.publisher.has_held(), "a server alone waits for no leader");
            }
            Role::Member(member) => member.check(&self.log, &self.publisher),
        }
    }
}

impl Member {
    fn submit(&mut self, now: Now, uplink: Uplink) {
        match &mut *self.phase {
            Phase::Leading(leading) => leading.proposer.commit.submit_of_view(now, uplink),
            Phase::Following(following) => {
                following.follow.submit(now, uplink);
                following.send_packets(&mut self.common);
            }
            // What clients ask waits for a leader.
            Phase::Settling(Settling { follow, .. })
            | Phase::Electing(electing::Electing { follow, .. })
            | Phase::Connecting(connecting::Connecting { follow, .. })
            | Phase::Synchronizing(leading::Synchronizing { follow, .. }) => follow.submit(now, uplink),
        }
    }

    /// See [`Replica::check`].
    fn check(&self, log: &LogQueue, publisher: &Publisher) {
        let (history, appended) = (self.common.history.last(), log.appended());
        assert_eq!(history, appended, "the history ends elsewhere than the log, while {}", self.phase.name());
        if let Some(follow) = self.phase.follow()
            && !matches!(*self.phase, Phase::Following(_))
        {
            let applied = follow.core.last_txn;
            assert!(follow.core.is_held(), "entries are shown while {}", self.phase.name());
            assert!(applied <= appended, "applied {applied}, appended {appended}");
            assert_eq!(log.gathered_bytes(), 0, "gathered while {}", self.phase.name());
        }
        match &*self.phase {
            Phase::Leading(leading) => {
                leading.proposer.check(log);
                leading.check(&self.common.history, publisher.shown().0);
                assert!(!publisher.has_held(), "a leader waits for no other");
            }
            Phase::Following(following) => following.check(log),
            Phase::Electing(_) | Phase::Connecting(_) | Phase::Synchronizing(_) => {
                assert!(log.is_idle(), "the log is busy while {}", self.phase.name());
            }
            Phase::Settling(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
