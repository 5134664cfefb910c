//! A member that is connected to its leader: it is brought up to date, then it logs what is proposed and applies what is
//! committed.
//!
//! Invariants: `applied <= committed <= logged` once it is up to date, and before that no client sees what it applies.
//! What comes after a tree that is not installed yet waits for that, up to [`TO_LOG_BYTES_MAX`].

use super::common::{Common, Context};
use super::connecting::Connecting;
use super::event::Event;
use super::install::{Behind, Install, LostTree, Receiving, Unfinished};
use super::log_queue::{LogQueue, since};
use super::next::Next;
use super::output::{Output, Port};
use super::settling::Settling;
use crate::admin::Metrics;
use crate::database::{Builder, Database};
use crate::proto::{Epoch, OpCode, ServerId, Zxid};
use crate::replica::ControlKind;
use crate::replica::follow::{Follow, Logged};
use crate::replica::relay::Relayed;
use crate::snapshot::java::{Decoder, Form, Progress};
use crate::txn;
use crate::wal::Marker;
use crate::zab::LinkId;
use crate::zab::configuration::Configurations;
use crate::zab::leader::{Asked, Leader};
use crate::zab::learner::{Activation, Learner, LearnerOutput};
use crate::zab::message::ForwardedRequest;
use crate::zab::notification::ServerState;
use bytes::Bytes;

/// Bytes of txns that wait for the log at which the leader is not listened to.
const TO_LOG_BYTES_MAX: usize = 16 << 20;

/// Bytes of txns that become one group of the log before this server is up to date: it has many to write until then, and
/// each flush adds to the time.
const SYNC_GROUP_BYTES: usize = 16 << 20;

/// The limit of [`TO_LOG_BYTES_MAX`] before this server is up to date: one group is gathered while another one waits.
const SYNC_TO_LOG_BYTES_MAX: usize = 2 * SYNC_GROUP_BYTES;

/// Bytes that wait for the leader at which this server's observers are not listened to.
const RELAYED_BYTES_MAX: usize = 8 << 20;

/// How often a synchronisation says how far it is.
const PROGRESS_MS: i64 = 3_000;

/// It is connected to its leader.
#[derive(Debug)]
pub(super) struct Following {
    pub follow: Box<Follow>,
    pub learner: Learner,
    /// The server that it is connected to: the leader, or the follower that serves this observer.
    pub sid: i64,
    pub link: LinkId,
    /// How it was connected to.
    connected: Connected,
    /// It serves observers.
    pub master: Option<Box<Leader>>,
    /// Bytes that the connection to the leader has not taken.
    unsent: usize,
    service: Service,
    pub install: Install,
    /// Txns that come after the tree that is being installed.
    behind: Behind,
    /// How the leader brings this server up to date.
    sync: &'static str,
    /// When it was connected to, and when it last said how far it is.
    began_ms: i64,
    said_ms: i64,
    /// Bytes that came.
    bytes: u64,
    /// When the leader was last told which sessions live.
    answered_ms: i64,
}

/// How a server was connected to, for the case that it has to be again.
#[derive(Clone, Copy, Debug)]
struct Connected {
    /// The server that was elected.
    leader: i64,
    port: Port,
    /// Until when the other side may be silent about who it is.
    until_ms: i64,
}

/// Whether clients are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// The leader brings this server up to date.
    Synchronizing,
    /// The leader has said that clients may be served, in this epoch, and not all of the tree is committed.
    Announced { epoch: u32 },
    /// They are.
    UpToDate,
}

impl Following {
    /// Connected to the leader: the learner says who it is.
    pub fn begin(connecting: Connecting, link: LinkId, cx: &mut Context<'_>) -> (Self, Next) {
        let Connecting { follow, leader, sid, port, until_ms, wants_all, .. } = connecting;
        let (common, now_ms) = (&*cx.common, cx.now.mono_ms());
        let (membership, last) = (common.settings.membership.clone(), common.history.last());
        let mut out = Vec::new();
        let learner = Learner::new(membership, common.is_observer(), common.epochs, last, now_ms, &mut out)
            .wanting_all(wants_all);
        let following = Self {
            follow,
            learner,
            sid,
            link,
            connected: Connected { leader, port, until_ms },
            master: None,
            unsent: 0,
            service: Service::Synchronizing,
            install: Install::Idle,
            behind: Behind::new(),
            sync: "DIFF",
            began_ms: now_ms,
            said_ms: now_ms,
            bytes: 0,
            answered_ms: now_ms,
        };
        (following, Next::learner(out))
    }

    /// Whether clients are served.
    pub fn is_up_to_date(&self) -> bool {
        self.service == Service::UpToDate
    }

    /// The server that leads.
    pub fn leader(&self) -> ServerId {
        ServerId(self.connected.leader)
    }

    /// How this server is brought up to date, once the leader has said so.
    fn sync(&self) -> &'static str {
        if self.learner.has_begun() { self.sync } else { "none" }
    }

    /// How far the synchronisation is.
    fn progress(&self, now_ms: i64, attempt: u32) -> Event {
        let Self { sid, bytes, began_ms, .. } = *self;
        let (sync, took_ms) = (self.sync(), now_ms - began_ms);
        let rate = bytes * 1000 / took_ms.max(1) as u64;
        Event::Synchronising { sid, sync, bytes, took_ms, rate, attempt }
    }

    /// Whether bytes of the leader may be received: what waits for the log, and for views, is bounded.
    pub fn may_receive(&self, log: &LogQueue) -> bool {
        if self.follow.core.views_lag {
            return false;
        }
        match &self.install {
            // The learner does not look at it before that is done.
            Install::Checking(_) | Install::Unfinished(Unfinished::Truncating(_) | Unfinished::Reloading) => {
                false
            }
            Install::Unfinished(Unfinished::Storing(_) | Unfinished::Basing(_)) => {
                self.behind.bytes() < TO_LOG_BYTES_MAX
            }
            Install::Idle | Install::Receiving(_) | Install::Replaying(_) => {
                let limit = if self.is_up_to_date() { TO_LOG_BYTES_MAX } else { SYNC_TO_LOG_BYTES_MAX };
                log.bytes() < limit
            }
        }
    }

    /// Sends the leader what the follower's side has for it.
    pub fn send_packets(&mut self, common: &mut Common) {
        if self.learner.must_be_silent() {
            return;
        }
        let packets = self.follow.take_packets();
        if !packets.is_empty() {
            self.unsent += packets.len();
            common.push(Output::Send { link: self.link, bytes: packets.into() });
        }
    }

    /// Bytes of the leader.
    pub fn received(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Next {
        self.bytes += bytes.len() as u64;
        let mut out = Vec::new();
        self.learner.received(bytes, cx.now.mono_ms(), &mut out);
        Next::learner(out)
    }

    /// A group of the log is durable.
    pub fn durable(&mut self, zxids: impl Iterator<Item = Zxid>) -> Next {
        let mut out = Vec::new();
        self.learner.durable(zxids, &mut out);
        Next::learner(out)
    }

    /// The learner does what is due. A leader that this server does not listen to is not silent.
    pub fn tick(&mut self, cx: &mut Context<'_>) -> Next {
        let (now_ms, mut out) = (cx.now.mono_ms(), Vec::new());
        let is_listening = self.may_receive(cx.log);
        if is_listening {
            self.learner.tick(now_ms, &mut out);
        } else {
            self.learner.excuse(now_ms);
        }
        self.learner.show_life(now_ms, &mut out);
        if is_listening && !self.is_up_to_date() && now_ms - self.said_ms >= PROGRESS_MS {
            self.said_ms = now_ms;
            let attempt = cx.common.failed_syncs + 1;
            cx.common.push_event(self.progress(now_ms, attempt));
        }
        Next::learner(out)
    }

    /// Tells a zkfast leader which sessions live where none of its pings came for a while: they may stand after all that
    /// this server has not read, or wait for its connection.
    pub fn show_life(&mut self, cx: &mut Context<'_>) {
        let is_due = cx.now.mono_ms() - self.answered_ms > cx.common.settings.membership.tick_ms;
        if is_due && self.is_up_to_date() && !self.learner.has_java_leader() {
            self.answered_ms = cx.now.mono_ms();
            // The number of no ping: it confirms nothing.
            self.follow.answer_ping(Zxid::ZERO);
        }
    }

    /// Does what the learner wants.
    pub fn run_output(&mut self, output: LearnerOutput, cx: &mut Context<'_>) -> Next {
        match output {
            LearnerOutput::Send(bytes) => {
                self.unsent += bytes.len();
                cx.common.push(Output::Send { link: self.link, bytes });
            }
            LearnerOutput::SaveEpochs(epochs) => cx.common.save_epochs(epochs),
            LearnerOutput::Configure(configs, activation) => self.configure(configs, activation, cx),
            LearnerOutput::Activated(activation) => return self.take_role(activation, cx),
            LearnerOutput::Trunc(to) => self.begin_truncation(to, cx),
            LearnerOutput::Snap(zxid) => self.begin_tree(zxid),
            LearnerOutput::Propose(zxid, txn) => self.log(zxid, txn, cx),
            LearnerOutput::SyncEnds => cx.append_gathered(),
            LearnerOutput::Commit(zxid) if self.install.is_installing() => {
                self.behind.commit(zxid);
                return self.finish_fuzzy_snapshot(cx);
            }
            LearnerOutput::Commit(zxid) => {
                cx.commit_logged(&mut self.follow, zxid);
                self.tell_observers(cx);
                return self.check_up_to_date(cx);
            }
            LearnerOutput::UpToDate(Epoch(epoch)) => {
                assert_eq!(self.service, Service::Synchronizing, "up to date twice, in epoch {epoch}");
                self.service = Service::Announced { epoch };
                return self.check_up_to_date(cx);
            }
            LearnerOutput::Ping(zxid) => {
                self.answered_ms = cx.now.mono_ms();
                self.follow.answer_ping(zxid);
            }
            LearnerOutput::Revalidated(answer) => {
                self.follow.revalidated(answer.session, answer.valid);
                self.answer_observers(cx);
            }
            LearnerOutput::Synced => {
                self.follow.synced();
                self.answer_observers(cx);
            }
            LearnerOutput::HandedOver(leader) => {
                cx.common.designated = Some(leader);
                return Next::LeaveRole(format!("the leader hands over to server {leader}"));
            }
            LearnerOutput::Lost(why) => return Next::leave_role(&why),
        }
        Next::Done
    }

    /// A txn that the leader proposed goes to the log, or waits for the tree that is being installed.
    fn log(&mut self, zxid: Zxid, txn: Bytes, cx: &mut Context<'_>) {
        // An observer hears of it when it is committed; what a sync brings was proposed before.
        if !cx.common.is_observer() && !self.follow.core.is_held() {
            let Metrics { counters, latencies, .. } = &mut self.follow.core.metrics;
            counters.learner_proposal_received_count += 1;
            latencies.proposal_latency.record_since(cx.now.wall_ms, txn::time_ms(&txn));
        }
        let logged = Logged { zxid, txn, is_hint: !self.learner.vouches_for(zxid) };
        if self.install.is_installing() {
            return self.behind.push(logged);
        }
        if !cx.log.fits_gathered(logged.txn.len()) {
            cx.append_gathered();
        }
        cx.log.gather(zxid, logged.record(), cx.now);
        self.follow.log(logged);
        let limit = if self.is_up_to_date() { self.follow.core.group_bytes_max } else { SYNC_GROUP_BYTES };
        if cx.log.gathered_bytes() >= limit {
            cx.append_gathered();
        }
    }

    /// Goes on once the leader has said so, and has committed all that the tree holds: a log that was the leader's
    /// before may end with what is being committed still.
    fn check_up_to_date(&mut self, cx: &mut Context<'_>) -> Next {
        let Service::Announced { epoch } = self.service else { return Next::Done };
        // The start of an epoch is no txn: a leader's tree that was as of that was committed.
        let last = self.follow.core.last_txn;
        if last > self.learner.committed() && last.counter() != 0 {
            return Next::Done;
        }
        self.service = Service::UpToDate;
        cx.common.failed_syncs = 0;
        let took_us = (cx.now.mono_ms() - self.began_ms).max(0) as u64 * 1000;
        let times = &mut self.follow.core.metrics.times;
        match cx.common.is_observer() {
            true => times.observer_sync_time.record(took_us),
            false => times.follower_sync_time.record(took_us),
        }
        self.begin_service(epoch, cx)
    }

    /// Clients are served from here on, unless the server has only been repaired and has a vote now.
    fn begin_service(&mut self, epoch: u32, cx: &mut Context<'_>) -> Next {
        if std::mem::replace(&mut cx.common.repairing, false) {
            // What a quorum has is on this disk: from here on it counts again.
            cx.common.save_epochs(cx.common.epochs);
            if !cx.common.settings.is_observer {
                return Next::leave_role(&"repaired, and now with a vote");
            }
        }
        cx.release_held(&mut self.follow, epoch, true);
        if let Some(since_us) = cx.common.take_unavailable() {
            self.follow.core.metrics.times.unavailable_time.record(since(since_us, cx.now));
        }
        let via = (self.connected.port == Port::Observers).then_some(self.sid as u32);
        self.follow.connect(epoch, self.learner.has_java_leader(), via, cx.now);
        let (sid, zxid, sync) = (self.sid, self.follow.core.last_txn, self.sync);
        cx.common.push_event(Event::Following { sid, epoch, zxid, sync });
        let state = match cx.common.is_observer() {
            true => ServerState::Observing,
            false => ServerState::Following,
        };
        Next::election(cx.settle_election(state, epoch))
    }

    /// The connection to the leader has ended. A leader that has said nothing may not know yet that it leads, and is
    /// connected to again; one that was heard is lost.
    pub fn reconnect_if_unheard(self: Box<Self>, cx: &mut Context<'_>) -> Result<Connecting, Box<Self>> {
        match self.learner.is_unheard() {
            true => Ok(self.into_connecting().after_a_pause(cx)),
            false => Err(self),
        }
    }

    fn into_connecting(self: Box<Self>) -> Connecting {
        let wants_all = self.learner.wants_all();
        let Self { follow, sid, connected: Connected { leader, port, until_ms }, .. } = *self;
        Connecting { follow, leader, sid, port, link: None, retry_ms: 0, until_ms, wants_all }
    }

    /// Leaves the leader.
    pub fn leave(mut self: Box<Self>, served: bool, why: &str, cx: &mut Context<'_>) -> Settling {
        if !self.is_up_to_date() && !self.learner.is_unheard() {
            let now_ms = cx.now.mono_ms();
            cx.common.sync_failed(now_ms);
            let (sid, bytes, sync, took_ms) = (self.sid, self.bytes, self.sync(), now_ms - self.began_ms);
            let (attempt, why) = (cx.common.failed_syncs, why.to_owned());
            cx.common.push_event(Event::SyncFailed { sid, sync, bytes, took_ms, attempt, why });
        }
        cx.common.close(self.link);
        self.close_observers(cx.common);
        cx.tell_looking(served, why);
        // What an observer's clients asked may still be on its way through the follower that served it.
        let of_java = self.learner.has_java_leader() || self.connected.port == Port::Observers;
        cx.leave_leader(&mut self.follow, of_java);
        Settling { follow: self.follow, unfinished: self.install.leave() }
    }
}

/// Reconfiguration.
impl Following {
    /// Other configurations count from here on.
    fn configure(&mut self, configs: Configurations, activation: Activation, cx: &mut Context<'_>) {
        if let Some(master) = &mut self.master {
            let zxid = Zxid::from_wire(configs.active().version());
            let activated = match activation {
                Activation::Led(leader) => Some((zxid, leader)),
                Activation::None | Activation::Committed => None,
            };
            master.follow_configurations(configs.clone(), activated);
        }
        cx.common.configure(configs, cx.now.mono_ms());
    }

    /// A configuration has become active, and everything before it is applied. Where this server has another role in it, or
    /// another leader, it leaves this one: it knows which one leads, and no election is held.
    ///
    /// Source: `QuorumPeer.processReconfig`.
    fn take_role(&mut self, activation: Activation, cx: &mut Context<'_>) -> Next {
        cx.common.tell_of_configuration();
        let leader = ServerId(self.connected.leader);
        let next = if let Activation::Led(next) = activation { next } else { leader };
        if next == leader && cx.common.is_observer() == self.learner.is_observer() {
            return Next::Done;
        }
        cx.common.designated = Some(next);
        Next::LeaveRole(match next == leader {
            true => "a reconfiguration gives this server another role".to_owned(),
            false => format!("a reconfiguration makes server {next} the leader"),
        })
    }
}

/// Observers that this follower serves.
impl Following {
    /// Begins to serve observers, once that is possible.
    fn begin_observers(&mut self, cx: &mut Context<'_>) {
        let Common { settings, epochs, history, .. } = &*cx.common;
        let is_due = self.master.is_none()
            && self.is_up_to_date()
            && settings.duties.observer_master_bytes.is_some()
            && !cx.common.is_observer()
            && self.follow.is_connected();
        let (last, committed) = (history.last(), self.follow.core.last_txn.min(history.last()));
        // The rest of a synchronisation that is larger than what is kept: the next commits go past it.
        if !is_due || !history.holds(committed) {
            return;
        }
        let membership = settings.membership.clone();
        let master = Leader::observer_master(membership, *epochs, last, committed, cx.now.mono_ms());
        cx.common.observed = Some(committed);
        self.master = Some(Box::new(master));
    }

    /// Says which observers have come into step.
    pub fn tell_of_observers(&self, common: &mut Common) {
        if let Some(master) = &self.master {
            common.tell_of_learners(master);
        }
    }

    /// Whether observers may connect.
    pub fn serves_observers(&self) -> bool {
        self.master.is_some()
    }

    /// Whether that is an observer's connection.
    pub fn has_observer(&self, link: LinkId) -> bool {
        self.master.as_ref().is_some_and(|master| master.has(link))
    }

    /// Bytes of an observer.
    pub fn received_of(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context<'_>) -> Next {
        let mut out = Vec::new();
        if let Some(master) = &mut self.master {
            master.received(link, bytes, cx.now.mono_ms(), &mut cx.common.history, &mut out);
        }
        Next::leader(out)
    }

    /// Tells observers what is committed, as far as the history has it.
    pub fn tell_observers(&mut self, cx: &mut Context<'_>) {
        if let Some(master) = &mut self.master {
            let (history, mut out) = (&cx.common.history, Vec::new());
            let committed = self.follow.core.last_txn.min(history.last());
            #[cfg(any(test, feature = "sim"))]
            let committed = if cx.common.informs_early { history.last() } else { committed };
            master.committed_elsewhere(committed, history, &mut out);
            cx.common.observed = Some(master.announced());
            cx.common.send_of_leader(out, cx.now);
            cx.common.trim_history(cx.log.durable());
        }
    }

    /// Passes on the leader's answers, each after the commits that came before it.
    fn answer_observers(&mut self, cx: &mut Context<'_>) {
        while let Some(answer) = self.follow.relay.take() {
            // Its place is after what was committed before, which may not be a group yet.
            cx.append_gathered();
            self.tell_observers(cx);
            let Some(master) = &mut self.master else { continue };
            let (history, mut out) = (&cx.common.history, Vec::new());
            match answer {
                Relayed::Synced { observer } => master.synced(observer, history, &mut out),
                Relayed::Revalidated { observer, session_id, valid } => {
                    master.revalidated(observer, session_id, valid, history, &mut out);
                }
            }
            cx.common.send_of_leader(out, cx.now);
        }
    }

    /// An observer asks for something: the leader is asked.
    pub fn relay(&mut self, observer: u32, asked: Asked, cx: &mut Context<'_>) -> Next {
        match asked {
            Asked::Request { session_id, cxid, op, body, ids } => {
                let request = ForwardedRequest { session: session_id, cxid, op, body: &body };
                self.follow.relay_request(observer, &request, &ids);
            }
            Asked::CreateSession { session_id, timeout_ms } => {
                let (op, body) = (OpCode::CREATE_SESSION, timeout_ms.to_be_bytes());
                let request = ForwardedRequest { session: session_id, cxid: 0, op, body: &body };
                self.follow.relay_request(observer, &request, &[]);
            }
            Asked::Revalidate { session_id, timeout_ms } => {
                self.follow.core.metrics.counters.revalidate_count += 1;
                self.follow.relay_revalidate(observer, session_id, timeout_ms);
            }
            Asked::Touched(sessions) => self.follow.heard(&sessions, cx.now),
        }
        self.send_packets(cx.common);
        Next::Done
    }

    /// Whether bytes of an observer may be received: what waits for the leader is bounded.
    pub fn may_relay(&self) -> bool {
        self.unsent < RELAYED_BYTES_MAX
    }

    /// The connection to the leader has taken bytes.
    pub fn sent(&mut self, bytes: usize) {
        assert!(bytes <= self.unsent, "the leader took {bytes} bytes of {}", self.unsent);
        self.unsent -= bytes;
    }

    /// This server does not follow any more: its observers look for another.
    fn close_observers(&mut self, common: &mut Common) {
        common.observed = None;
        if let Some(master) = self.master.take() {
            master.links().for_each(|link| common.close(link));
        }
    }

    /// Does what is due for observers.
    pub fn tick_observers(&mut self, cx: &mut Context<'_>) -> Next {
        self.begin_observers(cx);
        self.tell_observers(cx);
        let mut out = Vec::new();
        if let Some(master) = &mut self.master {
            master.tick(cx.now.mono_ms(), &cx.common.history, &mut out);
        }
        Next::leader(out)
    }

    /// An observer's tree: a view takes an image of it.
    pub fn publish_image(&mut self, link: LinkId, cx: &mut Context<'_>) {
        cx.publisher.publish_visible(&mut self.follow.core);
        cx.publisher.publish_control(ControlKind::Image(link));
    }
}

/// TRUNC and SNAP.
impl Following {
    /// The leader wants the log cut after `to`.
    fn begin_truncation(&mut self, to: Zxid, cx: &mut Context<'_>) {
        assert!(matches!(self.install, Install::Idle), "TRUNC to {to} while {:?}", self.install);
        self.sync = "TRUNC";
        self.install = Install::Checking(to);
        cx.common.push(Output::CheckTruncation(to));
    }

    /// The leader sends its tree, as of `zxid`.
    fn begin_tree(&mut self, zxid: Zxid) {
        assert!(matches!(self.install, Install::Idle), "SNAP at {zxid} while {:?}", self.install);
        self.sync = "SNAP";
        let builder = Builder::new(self.follow.core.tree.settings());
        let receiving = Receiving { zxid, decoder: Decoder::new(Form::Stream), builder };
        self.install = Install::Receiving(Box::new(receiving));
    }

    /// Decodes what has come of a tree. The bytes after its end stay with the learner, whose packets they are.
    ///
    /// A leader of ZooKeeper's goes on committing while it sends its tree, so that the tree holds some of what it sends
    /// after it. What was committed by then makes it exact, and comes without being waited for.
    pub fn take_tree(&mut self, cx: &mut Context<'_>) -> Next {
        let mut receiving = match std::mem::replace(&mut self.install, Install::Idle) {
            Install::Receiving(receiving) => receiving,
            // No tree comes in.
            other => {
                self.install = other;
                return Next::Done;
            }
        };
        let Some(bytes) = self.learner.tree_bytes() else {
            panic!("a tree at {} comes in that the learner does not know of", receiving.zxid)
        };
        let used = match receiving.decoder.feed(bytes, &mut receiving.builder) {
            Ok(Progress::More) => {
                self.learner.take_tree(bytes.len());
                self.install = Install::Receiving(receiving);
                return Next::Done;
            }
            Ok(Progress::Whole { used }) => used,
            Err(damage) => return Next::leave_role(&LostTree::from(damage)),
        };
        self.learner.take_tree(used);
        let Receiving { zxid, decoder, builder } = *receiving;
        let tail = decoder.finish().map_err(LostTree::from);
        let tree = match tail.and_then(|tail| Ok(builder.finish_fuzzy(zxid, tail)?)) {
            Ok(tree) => tree,
            Err(why) => return Next::leave_role(&why),
        };
        self.install = Install::Replaying(Box::new(tree));
        let mut out = Vec::new();
        self.learner.tree_ended(zxid, &mut out);
        match self.finish_fuzzy_snapshot(cx) {
            Next::Done => Next::learner(out),
            // What came after the tree is of no account any more.
            left => left,
        }
    }

    /// Has a tree stored once it is exact.
    fn finish_fuzzy_snapshot(&mut self, cx: &mut Context<'_>) -> Next {
        let Install::Replaying(tree) = &mut self.install else {
            // It is exact, and on its way to the disk: what is committed meanwhile waits.
            assert!(self.install.is_installing(), "a tree is to be exact while {:?}", self.install);
            return Next::Done;
        };
        if let Err(why) = self.behind.replay(tree) {
            return Next::leave_role(&LostTree::from(why));
        }
        if !tree.is_reached() {
            return Next::Done;
        }
        let Install::Replaying(tree) = std::mem::replace(&mut self.install, Install::Idle) else {
            unreachable!("looked at above")
        };
        let (restored, report) = match tree.finish() {
            Ok(finished) => finished,
            Err(why) => return Next::leave_role(&LostTree::from(why)),
        };
        let (sid, took_ms) = (self.sid, cx.now.mono_ms() - self.began_ms);
        let (znodes, attempt) = (restored.tree.len(), cx.common.failed_syncs + 1);
        cx.common.push_event(Event::Storing { sid, znodes, took_ms, attempt });
        self.install = Install::Unfinished(Unfinished::Storing(restored.zxid));
        cx.common.push(Output::StoreTree(Box::new(restored)));
        self.follow.core.metrics.counters.digest_mismatches_count += report.digest_mismatches;
        Next::Done
    }

    /// Whether the disk was asked if the log can be cut after `to`.
    pub fn is_checking(&self, to: Zxid) -> bool {
        matches!(self.install, Install::Checking(asked) if asked == to)
    }

    /// The log can be cut after `to`, and is told to.
    pub fn truncate(&mut self, to: Zxid, cx: &mut Context<'_>) {
        assert!(self.is_checking(to), "the log is cut after {to} while {:?}", self.install);
        self.install = Install::Unfinished(Unfinished::Truncating(to));
        cx.log.append_marker(Marker::Truncate { to });
    }

    /// The log cannot be cut after `to`: the leader is asked for everything, over a new connection.
    pub fn ask_for_all(self: Box<Self>, to: Zxid, cx: &mut Context<'_>) -> Connecting {
        assert!(self.is_checking(to), "the log cannot be cut after {to} while {:?}", self.install);
        cx.common.push_event(Event::CannotTruncate { sid: self.sid, to });
        cx.common.close(self.link);
        self.into_connecting().for_all(cx)
    }

    /// Goes on with another tree, which the log ends with, and with what has come after it.
    pub fn adopt(&mut self, restored: Database, cx: &mut Context<'_>) -> Next {
        assert!(!self.is_up_to_date(), "a tree at {} while clients are served", restored.zxid);
        let last = restored.zxid;
        cx.adopt(&mut self.follow, restored);
        let mut out = Vec::new();
        self.learner.restored(last, &mut out);
        let (txns, committed) = self.behind.take();
        for Logged { zxid, txn, .. } in txns.into_iter().filter(|logged| logged.zxid > last) {
            self.log(zxid, txn, cx);
        }
        cx.commit_logged(&mut self.follow, committed);
        Next::learner(out)
    }
}

impl Following {
    /// Asserts what must hold after every call.
    pub fn check(&self, log: &LogQueue) {
        let (applied, committed) = (self.follow.core.last_txn, self.learner.committed());
        let logged = log.gathered_last();
        assert_eq!(self.follow.core.is_held(), !self.is_up_to_date(), "held, and clients are served");
        if self.is_up_to_date() {
            assert!(matches!(self.install, Install::Idle), "up to date while {:?}", self.install);
            // The start of an epoch is no txn.
            let is_committed = applied <= committed || applied.counter() == 0;
            assert!(is_committed, "applied {applied}, committed {committed}");
        }
        if matches!(self.install, Install::Idle) {
            assert!(committed <= logged, "committed {committed}, logged {logged}");
        }
        if !self.install.is_installing() {
            assert!(self.behind.is_empty(), "{:?} waits for no tree", self.behind.last());
            assert!(applied <= logged, "applied {applied}, logged {logged}");
        }
    }
}
