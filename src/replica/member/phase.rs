//! The phases of a member, and the loop that runs what follows from an event.
//!
//! ```text
//!                     ,--------------------------------- elected ---------> Synchronizing ---> Leading
//!   Settling ---> Electing                                                        |               |
//!      ^              `--- another is ---> Connecting <===> Following             |               |
//!      |                                       |                |                 |               |
//!      `--------------------------------- LeaveRole --------------------------------------------- '
//! ```
//!
//! Each phase owns its machines, and a transition consumes one phase and gives the next. An event is taken in by the
//! present phase, which says what is [`Next`]; [`Agenda::run`] is the only loop that runs that, in the order in which calls
//! of functions would: what follows from an output comes before the next output.

use super::common::{Common, Context};
use super::connecting::Connecting;
use super::electing::{Elected, Electing};
use super::event::Event;
use super::following::Following;
use super::install::{AfterMarker, Install, Unfinished};
use super::leading::{Leading, Synchronizing};
use super::log_queue::LogQueue;
use super::next::{Late, Next};
use super::output::Output;
use super::proposer::Proposer;
use super::settings::Standing;
use super::settling::Settling;
use crate::database::Database;
use crate::proto::{Epoch, ServerId, Zxid};
use crate::replica::core::Core;
use crate::replica::follow::Follow;
use crate::zab::LinkId;
use crate::zab::election::Output as ElectionOutput;
use crate::zab::leader::{Leader, LeaderOutput};
use crate::zab::learner::LostLeader;
use std::ops::{Deref, DerefMut};

/// Roles that one event may end, far more than any does: elections that follow from elections would never end.
const ROLES_MAX: usize = 100;

/// What a member does, and the machines that it has for that.
#[derive(Debug)]
pub(super) enum Phase {
    /// It has no leader, and the log is behind: the next election waits for it.
    Settling(Settling),
    /// It has no leader, and an election is held.
    Electing(Electing),
    /// Another server was elected, and is to be connected to.
    Connecting(Connecting),
    /// It is connected to its leader: brought up to date at first, then in step.
    Following(Box<Following>),
    /// It was elected, and waits for a quorum that follows.
    Synchronizing(Synchronizing),
    /// A quorum follows.
    Leading(Leading),
}

/// What is left to do of an event, the next step last; empty between two calls of the replica.
#[derive(Debug, Default)]
pub(super) struct Agenda(Vec<Next>);

impl Agenda {
    /// Does what follows from an event, and what follows from that.
    pub fn run(&mut self, first: Next, slot: &mut Slot, cx: &mut Context<'_>) {
        assert!(self.0.is_empty(), "an event within an event: {:?}", self.0);
        self.0.push(first);
        let mut roles = 0;
        while let Some(next) = self.0.pop() {
            match next {
                Next::Done => {}
                Next::Late(late) => assert!(slot.may_miss(late), "{late:?} while {}", slot.name()),
                Next::Election(mut out) => {
                    match first_step(&mut out, |output| slot.run_election_output(output, cx)) {
                        None => {}
                        Some(Next::LeaveRole(why)) => {
                            // The port has said the rest before it is told to look, and says why only once.
                            let rest = out.map(|output| slot.run_election_output(output, cx));
                            let is_more = |then: &Next| !matches!(then, Next::Done | Next::LeaveRole(_));
                            let more = rest.filter(is_more).last();
                            assert!(more.is_none(), "a role to leave since {why}, and {more:?}");
                            self.0.push(Next::LeaveRole(why));
                        }
                        Some(then) => self.0.extend([Next::Election(out), then]),
                    }
                }
                Next::Leader(mut out) => {
                    let then = first_step(&mut out, |output| slot.run_leader_output(output, cx));
                    if let Some(then) = then {
                        self.0.extend([Next::Leader(out), then]);
                    }
                }
                Next::Learner(mut out) => {
                    let then = first_step(&mut out, |output| slot.following_mut().run_output(output, cx));
                    match then {
                        Some(then) => self.0.extend([Next::Learner(out), then]),
                        None => slot.following_mut().send_packets(cx.common),
                    }
                }
                Next::LeaveRole(why) => {
                    roles += 1;
                    assert!(roles <= ROLES_MAX, "one event ends {roles} roles, now {}: {why}", slot.name());
                    // What else the machine of this phase has said is of no account any more.
                    self.0.retain(|next| matches!(next, Next::Election(_)));
                    slot.change(|phase| (Phase::Settling(phase.leave(&why, cx)), ()));
                    self.0.push(Next::StartElection);
                }
                Next::StartElection => {
                    let then = slot.change(|phase| phase.start_election_if_durable(cx));
                    self.0.push(then);
                }
            }
        }
    }
}

/// Runs outputs until something follows from one.
fn first_step<T>(out: &mut std::vec::IntoIter<T>, run: impl FnMut(T) -> Next) -> Option<Next> {
    out.map(run).find(|then| !matches!(then, Next::Done))
}

/// Where a member's phase is.
#[derive(Debug)]
pub(super) struct Slot(Option<Phase>);

impl Slot {
    pub const fn new(phase: Phase) -> Self {
        Self(Some(phase))
    }

    /// Has a transition consume the phase and give the next one.
    pub fn change<T>(&mut self, transition: impl FnOnce(Phase) -> (Phase, T)) -> T {
        let Some(phase) = self.0.take() else { panic!("a transition within a transition") };
        let (next, result) = transition(phase);
        self.0 = Some(next);
        result
    }
}

impl Deref for Slot {
    type Target = Phase;

    fn deref(&self) -> &Phase {
        self.0.as_ref().expect("no transition is under way")
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Phase {
        self.0.as_mut().expect("no transition is under way")
    }
}

/// What its parts are.
impl Phase {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Settling(_) => "settling",
            Self::Electing(_) => "electing",
            Self::Connecting(_) => "connecting",
            Self::Following(_) => "following",
            Self::Synchronizing(_) => "synchronizing",
            Self::Leading(_) => "leading",
        }
    }

    pub fn standing(&self, is_observer: bool) -> Standing {
        match self {
            Self::Leading(_) => Standing::Leading,
            Self::Following(following) if following.is_up_to_date() => match is_observer {
                true => Standing::Observing,
                false => Standing::Following,
            },
            Self::Settling(_)
            | Self::Electing(_)
            | Self::Connecting(_)
            | Self::Following(_)
            | Self::Synchronizing(_) => Standing::Looking,
        }
    }

    /// The follower's side; a leader has none.
    pub fn follow(&self) -> Option<&Follow> {
        match self {
            Self::Settling(Settling { follow, .. })
            | Self::Electing(Electing { follow, .. })
            | Self::Connecting(Connecting { follow, .. })
            | Self::Synchronizing(Synchronizing { follow, .. }) => Some(follow),
            Self::Following(following) => Some(&following.follow),
            Self::Leading(_) => None,
        }
    }

    /// See [`Self::follow`].
    pub fn follow_mut(&mut self) -> Option<&mut Follow> {
        match self {
            Self::Settling(Settling { follow, .. })
            | Self::Electing(Electing { follow, .. })
            | Self::Connecting(Connecting { follow, .. })
            | Self::Synchronizing(Synchronizing { follow, .. }) => Some(follow),
            Self::Following(following) => Some(&mut following.follow),
            Self::Leading(_) => None,
        }
    }

    pub fn core_mut(&mut self) -> &mut Core {
        match self {
            Self::Settling(Settling { follow, .. })
            | Self::Electing(Electing { follow, .. })
            | Self::Connecting(Connecting { follow, .. })
            | Self::Synchronizing(Synchronizing { follow, .. }) => &mut follow.core,
            Self::Following(following) => &mut following.follow.core,
            Self::Leading(leading) => leading.proposer.commit.core_mut(),
        }
    }

    /// The digest of the tree, of whatever it holds.
    pub fn digest(&self) -> u64 {
        match (self, self.follow()) {
            (_, Some(follow)) => follow.core.tree.digest(),
            (Self::Leading(leading), None) => leading.proposer.commit.digest(),
            (other, None) => unreachable!("no tree while {}", other.name()),
        }
    }

    /// The server that leads in place of this one, where it is known; `None` where this one leads.
    pub fn other_leader(&self) -> Option<Option<ServerId>> {
        match self {
            Self::Leading(_) => None,
            Self::Following(following) => Some(following.is_up_to_date().then_some(following.leader())),
            Self::Settling(_) | Self::Electing(_) | Self::Connecting(_) | Self::Synchronizing(_) => {
                Some(None)
            }
        }
    }

    /// What makes txns; only a leader has it.
    pub fn proposer(&self) -> Option<&Proposer> {
        if let Self::Leading(leading) = self { Some(&leading.proposer) } else { None }
    }

    /// See [`Self::proposer`].
    pub fn proposer_mut(&mut self) -> Option<&mut Proposer> {
        if let Self::Leading(leading) = self { Some(&mut leading.proposer) } else { None }
    }

    /// The leader's machine, if this server was elected.
    pub fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Synchronizing(Synchronizing { leader, .. }) | Self::Leading(Leading { leader, .. }) => {
                Some(leader)
            }
            Self::Settling(_) | Self::Electing(_) | Self::Connecting(_) | Self::Following(_) => None,
        }
    }

    /// See [`Self::leader`].
    pub fn leader_mut(&mut self) -> Option<&mut Leader> {
        match self {
            Self::Synchronizing(Synchronizing { leader, .. }) | Self::Leading(Leading { leader, .. }) => {
                Some(leader)
            }
            Self::Settling(_) | Self::Electing(_) | Self::Connecting(_) | Self::Following(_) => None,
        }
    }

    /// What serves learners: the leader's machine, or that of a follower with observers.
    pub fn learner_master_mut(&mut self) -> Option<&mut Leader> {
        match self {
            Self::Following(following) => following.master.as_deref_mut(),
            other => other.leader_mut(),
        }
    }

    /// See [`Self::learner_master_mut`].
    pub fn learner_master(&self) -> Option<&Leader> {
        match self {
            Self::Following(following) => following.master.as_deref(),
            other => other.leader(),
        }
    }

    /// Whether such an event can be late in this phase; if not, it should have been taken in.
    fn may_miss(&self, late: Late) -> bool {
        match late {
            Late::BytesOfLeftLink | Late::EndOfLeftLink | Late::ImageOfFormerLead | Late::LogOfFormerLead => {
                self.leader().is_none()
            }
            Late::TruncationOfFormerLeader => true,
            Late::AskedBeforeEpoch => matches!(self, Self::Synchronizing(_)),
            Late::AskedByLostLearner => matches!(self, Self::Leading(_)),
        }
    }

    /// The follower whose learner has said something: what it said is dropped when the phase is left.
    fn following_mut(&mut self) -> &mut Following {
        match self {
            Self::Following(following) => following,
            other => panic!("a learner speaks while {}", other.name()),
        }
    }
}

/// What peers do.
impl Phase {
    /// An observer has connected to the port for observers.
    pub fn accepted_observer(&mut self, link: LinkId, cx: &mut Context<'_>) -> Next {
        let Self::Following(following) = self else {
            cx.common.close(link);
            return Next::Done;
        };
        match &mut following.master {
            Some(master) => {
                let mut out = Vec::new();
                master.accepted(link, cx.now.mono_ms(), &mut out);
                Next::leader(out)
            }
            None => {
                cx.common.close(link);
                Next::Done
            }
        }
    }

    /// A peer has connected to the quorum port.
    pub fn accepted(&mut self, link: LinkId, cx: &mut Context<'_>) -> Next {
        let now_ms = cx.now.mono_ms();
        match self {
            Self::Leading(leading) if leading.begins_anew(cx.common) => cx.common.keep_early(link, now_ms),
            Self::Synchronizing(Synchronizing { leader, .. }) | Self::Leading(Leading { leader, .. }) => {
                let mut out = Vec::new();
                leader.accepted(link, now_ms, &mut out);
                return Next::leader(out);
            }
            Self::Settling(_) | Self::Electing(_) => cx.common.keep_early(link, now_ms),
            Self::Connecting(_) | Self::Following(_) => cx.common.close(link),
        }
        Next::Done
    }

    /// A connection to the quorum port is there.
    pub fn connected(self, link: LinkId, cx: &mut Context<'_>) -> (Self, Next) {
        match self {
            Self::Connecting(connecting) if connecting.link == Some(link) => {
                let (following, next) = Following::begin(connecting, link, cx);
                (Self::Following(Box::new(following)), next)
            }
            // The shell was told to give up this attempt, and had succeeded.
            left => {
                cx.common.close(link);
                (left, Next::Done)
            }
        }
    }

    /// Bytes of a peer at the quorum port.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context<'_>) -> Next {
        match self {
            Self::Synchronizing(Synchronizing { leader, .. }) | Self::Leading(Leading { leader, .. }) => {
                let mut out = Vec::new();
                leader.received(link, bytes, cx.now.mono_ms(), &mut cx.common.history, &mut out);
                Next::leader(out)
            }
            Self::Following(following) if following.link == link => following.received(bytes, cx),
            Self::Following(following) if following.has_observer(link) => {
                following.received_of(link, bytes, cx)
            }
            Self::Settling(_) | Self::Electing(_) | Self::Connecting(_) | Self::Following(_) => {
                Next::Late(Late::BytesOfLeftLink)
            }
        }
    }

    /// A connection of the quorum port has ended, or could not be made.
    pub fn closed(self, link: LinkId, cx: &mut Context<'_>) -> (Self, Next) {
        match self {
            Self::Synchronizing(Synchronizing { mut leader, follow }) => {
                leader.closed(link);
                (Self::Synchronizing(Synchronizing { leader, follow }), Next::Done)
            }
            Self::Leading(mut leading) => {
                leading.leader.closed(link);
                let lost = cx.common.lose(link, &"its connection ended");
                // Learners that go to the next leader are not lost.
                let lost = lost.filter(|_| !leading.leader.is_leaving());
                lost.into_iter().for_each(|event| cx.common.push_event(event));
                let left = leading.leader.has_left().map(|why| cx.stop_leading(why));
                (Self::Leading(leading), left.unwrap_or(Next::Done))
            }
            Self::Connecting(mut connecting) if connecting.link == Some(link) => {
                connecting.not_connected(cx);
                (Self::Connecting(connecting), Next::Done)
            }
            Self::Following(following) if following.link == link => {
                match following.reconnect_if_unheard(cx) {
                    Ok(connecting) => (Self::Connecting(connecting), Next::Done),
                    Err(following) => (Self::Following(following), Next::leave_role(&LostLeader::Closed)),
                }
            }
            Self::Following(mut following) if following.has_observer(link) => {
                following.master.iter_mut().for_each(|master| master.closed(link));
                let lost = cx.common.lose(link, &"its connection ended");
                lost.into_iter().for_each(|event| cx.common.push_event(event));
                (Self::Following(following), Next::Done)
            }
            left => (left, Next::Late(Late::EndOfLeftLink)),
        }
    }

    /// The disk has said whether the log can be cut after `to`. See [`Replica::truncate`](super::Replica::truncate).
    pub fn truncate(self, to: Zxid, is_possible: bool, cx: &mut Context<'_>) -> (Self, Next) {
        match self {
            Self::Following(mut following) if following.is_checking(to) => {
                if is_possible {
                    following.truncate(to, cx);
                    (Self::Following(following), Next::Done)
                } else {
                    (Self::Connecting(following.ask_for_all(to, cx)), Next::Done)
                }
            }
            left => (left, Next::Late(Late::TruncationOfFormerLeader)),
        }
    }

    /// Whether bytes of this peer may be received.
    pub fn may_receive(&self, link: LinkId, common: &Common, log: &LogQueue) -> bool {
        match self {
            Self::Following(following) if following.link == link => following.may_receive(log),
            Self::Following(following) if !common.election_links.contains(&link) => following.may_relay(),
            Self::Leading(leading) if !common.election_links.contains(&link) => leading.may_receive(),
            _ => true,
        }
    }
}

/// What the disk and the log carry out, for the leader or for a former one.
impl Phase {
    /// Takes it out, since it has reached its next step.
    pub fn take_unfinished(&mut self, step: &str) -> Unfinished {
        let unfinished = match self {
            Self::Following(following) => following.install.take_unfinished(),
            Self::Settling(settling) => settling.unfinished.take(),
            Self::Electing(_) | Self::Connecting(_) | Self::Synchronizing(_) | Self::Leading(_) => None,
        };
        match unfinished {
            Some(unfinished) => unfinished,
            None => panic!("{step}, and nothing is under way while {}", self.name()),
        }
    }

    /// Puts back what [`Self::take_unfinished`] took, at its next step.
    pub fn put_unfinished(&mut self, next: Unfinished) {
        match self {
            Self::Following(following) => following.install = Install::Unfinished(next),
            Self::Settling(settling) => settling.unfinished = Some(next),
            other => panic!("{next:?} while {}", other.name()),
        }
    }

    /// The log has its marker.
    pub fn on_marker_durable(&mut self, cx: &mut Context<'_>) -> Next {
        match self.take_unfinished("the log has a marker").after_marker(cx.common) {
            AfterMarker::Reload => {
                self.put_unfinished(Unfinished::Reloading);
                Next::Done
            }
            AfterMarker::Adopt(restored) => self.adopt(*restored, cx),
        }
    }

    /// Goes on with another tree, which the log ends with.
    pub fn adopt(&mut self, restored: Database, cx: &mut Context<'_>) -> Next {
        match self {
            Self::Following(following) => following.adopt(restored, cx),
            Self::Settling(settling) => settling.adopt(restored, cx),
            other => panic!("a tree at {} while {}", restored.zxid, other.name()),
        }
    }
}

/// How time passes.
impl Phase {
    /// The phase's machine does what is due.
    pub fn tick(&mut self, cx: &mut Context<'_>) -> Next {
        match self {
            Self::Synchronizing(Synchronizing { leader, .. }) | Self::Leading(Leading { leader, .. }) => {
                let mut out = Vec::new();
                leader.tick(cx.now.mono_ms(), &cx.common.history, &mut out);
                Next::leader(out)
            }
            Self::Following(following) => following.tick(cx),
            Self::Connecting(connecting) => connecting.tick(cx),
            Self::Electing(electing) => {
                electing.tick(cx);
                Next::Done
            }
            Self::Settling(_) => Next::Done,
        }
    }

    /// A follower does what is due for its observers.
    pub fn tick_observers(&mut self, cx: &mut Context<'_>) -> Next {
        match self {
            Self::Following(following) => following.tick_observers(cx),
            _ => Next::Done,
        }
    }

    /// Sessions expire where this server leads. A leader whose zxids are spent, or whose disk hangs, leads no longer:
    /// another server may have a better disk, and would not find out while this one answers pings.
    pub fn tick_lead(&mut self, cx: &mut Context<'_>) -> Next {
        let busy_ms = cx.log.busy_ms(cx.now);
        let Self::Leading(leading) = self else { return Next::Done };
        leading.proposer.commit.tick(cx.now);
        if leading.proposer.commit.is_epoch_spent() && !leading.renew(cx) {
            return Next::leave_role(&"the epoch's zxids are spent");
        }
        match busy_ms {
            Some(busy_ms) if busy_ms > cx.common.settings.membership.sync_ms => {
                Next::LeaveRole(format!("the log has been busy with one group for {busy_ms} ms (syncLimit)"))
            }
            _ => Next::Done,
        }
    }

    /// Sends, publishes and tells what has come to be.
    pub fn finish_tick(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Following(following) => {
                if following.is_up_to_date() {
                    following.follow.expire_local(cx.now);
                }
                following.show_life(cx);
                following.send_packets(cx.common);
                following.tell_of_observers(cx.common);
            }
            Self::Leading(leading) => {
                leading.publish_committed(cx);
                leading.tell_of_learners(cx.common);
            }
            Self::Settling(_) | Self::Electing(_) | Self::Connecting(_) | Self::Synchronizing(_) => {}
        }
        let is_looking = self.standing(cx.common.is_observer()) == Standing::Looking;
        // A server that is being brought up to date has a leader, and says how far it is.
        let is_synchronizing = matches!(self, Self::Following(following) if following.learner.has_begun());
        cx.common.tell_of_quorum(!is_looking || is_synchronizing, cx.now.mono_ms());
    }
}

/// How phases change.
impl Phase {
    /// Leaves whatever role the server has.
    fn leave(self, why: &str, cx: &mut Context<'_>) -> Settling {
        let served = self.standing(cx.common.is_observer()) != Standing::Looking;
        cx.common.in_step.clear();
        match self {
            Self::Connecting(connecting) => connecting.leave(why, cx),
            Self::Following(following) => following.leave(served, why, cx),
            Self::Synchronizing(synchronizing) => synchronizing.leave(why, cx),
            Self::Leading(leading) => leading.leave(why, cx),
            Self::Settling(_) | Self::Electing(_) => {
                panic!("a server that is {} has no role to leave: {why}", self.name())
            }
        }
    }

    /// Begins an election once the log has everything.
    fn start_election_if_durable(self, cx: &mut Context<'_>) -> (Self, Next) {
        match self {
            Self::Settling(settling) if settling.may_vote(cx.log) => {
                let (electing, next) = Electing::begin(settling, cx);
                (Self::Electing(electing), next)
            }
            // The log, or the disk, says when it goes on.
            Self::Settling(settling) => (Self::Settling(settling), Next::Done),
            other => panic!("an election begins while {}", other.name()),
        }
    }
}

impl Slot {
    /// Does what the election port wants.
    fn run_election_output(&mut self, output: ElectionOutput, cx: &mut Context<'_>) -> Next {
        let Some(output) = cx.common.run_election_output(output) else { return Next::Done };
        match output {
            ElectionOutput::Elected { vote, state, .. } => {
                return self.change(|phase| match phase {
                    Phase::Electing(electing) => match electing.elected(vote, state, cx) {
                        Elected::Leader(synchronizing, next) => (Phase::Synchronizing(synchronizing), next),
                        Elected::Follower(connecting) => (Phase::Connecting(connecting), Next::Done),
                    },
                    other => panic!("elected as {state:?} while {}", other.name()),
                });
            }
            ElectionOutput::Looks { sid, peer_epoch } => {
                // Of no account where this server does not lead: then the other one asks for its vote.
                if let Some(leader) = self.leader_mut() {
                    leader.looks(sid, peer_epoch);
                }
            }
            ElectionOutput::LeaderLooks { round } => {
                // One that is connected to finds out by that connection.
                if matches!(**self, Phase::Connecting(_)) {
                    let why = format!("the leader looks for one itself, in round {round}");
                    return Next::LeaveRole(why);
                }
            }
            other => unreachable!("no matter of a role: {other:?}"),
        }
        Next::Done
    }

    /// Does what the leader's machine wants.
    fn run_leader_output(&mut self, output: LeaderOutput, cx: &mut Context<'_>) -> Next {
        let common = &mut *cx.common;
        match output {
            LeaderOutput::Send(link, bytes) => common.push(Output::Send { link, bytes }),
            LeaderOutput::Close(link, why) => {
                let lost = common.lose(link, &why);
                common.push_event(lost.unwrap_or(Event::LearnerLeft { link, why }));
                common.close(link);
            }
            LeaderOutput::SaveEpochs(epochs) => common.save_epochs(epochs),
            LeaderOutput::Configure(configs) => common.configure(configs, cx.now.mono_ms()),
            LeaderOutput::Syncing { is_snap, begins, under_way } => {
                note_syncing(self.core_mut(), is_snap, begins, under_way);
            }
            LeaderOutput::SendImage(link) => common.push(Output::SendImage(link)),
            LeaderOutput::FindInLog(link, zxid) => common.push(Output::FindInLog(link, zxid)),
            LeaderOutput::ReadLog(link, after) => common.push(Output::ReadLog(link, after)),
            LeaderOutput::Lags(lag) => common.push_event(Event::LearnerLags { lag }),
            LeaderOutput::Image(link) => match &mut **self {
                Phase::Synchronizing(synchronizing) => synchronizing.publish_image(link, cx),
                Phase::Leading(leading) => leading.publish_image(link, cx),
                Phase::Following(following) => following.publish_image(link, cx),
                other => panic!("a leader needs an image for {link:?} while {}", other.name()),
            },
            LeaderOutput::Established(Epoch(epoch)) => {
                return self.change(|phase| match phase {
                    Phase::Synchronizing(synchronizing) => {
                        let (leading, next) = synchronizing.established(epoch, cx);
                        (Phase::Leading(leading), next)
                    }
                    other => panic!("epoch {epoch} begins while {}", other.name()),
                });
            }
            LeaderOutput::Asked(learner, asked) => {
                return match &mut **self {
                    Phase::Synchronizing(_) => Next::Late(Late::AskedBeforeEpoch),
                    Phase::Leading(leading) => leading.asked(learner, asked, cx),
                    Phase::Following(following) => following.relay(learner, asked, cx),
                    other => panic!("learner {learner} asks while {}", other.name()),
                };
            }
            LeaderOutput::Lost(why) => return cx.stop_leading(why),
        }
        Next::Done
    }
}

/// Counts a learner that begins or ends to be brought up to date.
fn note_syncing(core: &mut Core, is_snap: bool, begins: bool, under_way: u64) {
    let (counters, sizes) = (&mut core.metrics.counters, &mut core.metrics.sizes);
    let (count, in_flight) = match is_snap {
        true => (&mut counters.snap_count, &mut sizes.inflight_snap_count),
        false => (&mut counters.diff_count, &mut sizes.inflight_diff_count),
    };
    *count += u64::from(begins);
    in_flight.record(under_way);
}
