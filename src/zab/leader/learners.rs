//! The connections of a leader's learners, and what it knows of each.

use super::output::{LeaderOutput, STRANGERS_MAX};
use super::traffic::Traffic;
use crate::proto::{Epoch, ServerId, Zxid};
use crate::zab::LinkId;
use crate::zab::message::PacketStream;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// All connections to a leader, by link and by number.
#[derive(Debug, Default)]
pub(super) struct Learners {
    strangers: BTreeMap<LinkId, Stranger>,
    handlers: BTreeMap<LinkId, LearnerHandler>,
    /// The handlers' links by their numbers.
    links: BTreeMap<u32, LinkId>,
    next_number: u32,
    observers: usize,
    changes: u64,
}

/// A connection that has not said whose it is.
#[derive(Debug)]
struct Stranger {
    number: u32,
    came_ms: i64,
    stream: PacketStream,
}

/// How a learner takes part. Whether it counts for a quorum its configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LearnerKind {
    /// It acknowledges proposals: a participant, or a server that no configuration names yet or any more.
    Follower,
    /// It came with OBSERVERINFO, as a participant that is being repaired does, too.
    Observer,
}

/// How far a learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for the new epoch.
    AwaitsEpoch,
    /// The epoch was sent to it.
    EpochSent,
    /// It has promised; its log ends at this zxid.
    Promised(Zxid),
    /// The log is being searched for this zxid, where the learner's log ends.
    Searching(Zxid),
    /// A tree is being prepared for it.
    Imaging,
    /// It was sent what it lacks, or is being sent that, and gets every proposal.
    Syncing {
        /// What it lacked came as a tree.
        is_snap: bool,
    },
    /// It has acknowledged NEWLEADER: all of the synchronization is on its disk.
    Synced,
}

/// What a leader knows of one learner. Source: `LearnerHandler`, Apache ZooKeeper 3.9.4.
#[derive(Debug)]
pub(super) struct LearnerHandler {
    pub(super) link: LinkId,
    /// Names the learner in [`LeaderOutput::Asked`]; never used again for another one.
    pub(super) number: u32,
    pub(super) sid: ServerId,
    pub(super) kind: LearnerKind,
    /// It is zkfast's own: ACK and COMMIT stand for all zxids up to theirs.
    pub(super) is_cumulative: bool,
    /// The epoch that it had accepted when it came.
    pub(super) accepted: Epoch,
    pub(super) step: Step,
    stream: PacketStream,
    /// The newest txn that it has on disk.
    pub(super) acked: Zxid,
    /// What it was sent before NEWLEADER, and has on disk since it acknowledged that.
    pub(super) synced_through: Zxid,
    /// The newest ping that it has answered.
    pub(super) round: u64,
    /// When something came from it last, or it took bytes while it is brought up to date.
    pub(super) heard_ms: i64,
    /// When it connected.
    pub(super) came_ms: i64,
    /// Of an observer.
    pub(super) traffic: Option<Box<Traffic>>,
    pub(super) cursor: Cursor,
}

/// What was sent to a learner: `announced <= sent`.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Newest txn that was sent.
    pub(super) sent: Zxid,
    /// Newest txn whose commit was sent.
    pub(super) announced: Zxid,
    /// Txns whose commit was not sent yet, where the learner is a server of ZooKeeper's: it needs a COMMIT of each.
    pub(super) uncommitted: VecDeque<Zxid>,
    /// NEWLEADER goes after the txns through this one; `None` once it has gone.
    pub(super) newleader_after: Option<Zxid>,
    /// Answers to what it asked, oldest first. Each goes after the commits through its zxid.
    pub(super) answers: VecDeque<(Zxid, Bytes)>,
    /// Bytes that wait for its connection, those of a tree not counted.
    pub(super) queued: usize,
    /// Bytes that its connection took since the last time that this showed progress.
    pub(super) taken: usize,
    /// The log is being read for it.
    pub(super) is_reading: bool,
    /// Since when it has been behind.
    pub(super) behind_since_ms: Option<i64>,
}

/// What a connection has said of itself in FOLLOWERINFO or OBSERVERINFO.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) sid: ServerId,
    pub(super) kind: LearnerKind,
    pub(super) is_cumulative: bool,
    pub(super) accepted: Epoch,
}

impl Learners {
    /// The strangers that must go before there is another one: the oldest, if there are [`STRANGERS_MAX`].
    pub(super) fn stranger_to_close(&self) -> Option<LinkId> {
        let is_crowded = self.strangers.len() >= STRANGERS_MAX;
        let oldest = self.strangers.iter().min_by_key(|(_, stranger)| stranger.number);
        oldest.filter(|_| is_crowded).map(|(link, _)| *link)
    }

    /// Adds a connection.
    pub(super) fn accept(&mut self, link: LinkId, now_ms: i64) {
        assert!(!self.contains(link), "{link:?} is accepted twice");
        assert!(self.strangers.len() < STRANGERS_MAX, "{} strangers", self.strangers.len());
        let number = self.next_number;
        self.next_number += 1;
        self.strangers.insert(link, Stranger { number, came_ms: now_ms, stream: PacketStream::default() });
    }

    /// Makes a stranger a learner.
    pub(super) fn introduce(&mut self, link: LinkId, who: Introduction, now_ms: i64) {
        let stranger = self.strangers.remove(&link);
        let stranger = stranger.unwrap_or_else(|| panic!("{link:?} introduces itself, and is no stranger"));
        let Introduction { sid, kind, is_cumulative, accepted } = who;
        let handler = LearnerHandler {
            link,
            number: stranger.number,
            sid,
            kind,
            is_cumulative,
            accepted,
            step: Step::AwaitsEpoch,
            stream: stranger.stream,
            synced_through: Zxid::ZERO,
            acked: Zxid::ZERO,
            round: 0,
            heard_ms: now_ms,
            came_ms: stranger.came_ms,
            traffic: (kind == LearnerKind::Observer).then(Box::default),
            cursor: Cursor::default(),
        };
        self.links.insert(stranger.number, link);
        self.handlers.insert(link, handler);
        self.observers += usize::from(kind == LearnerKind::Observer);
    }

    /// Forgets a connection, if there is one.
    pub(super) fn remove(&mut self, link: LinkId) {
        self.strangers.remove(&link);
        if let Some(handler) = self.handlers.remove(&link) {
            self.links.remove(&handler.number);
            self.changes += 1;
            self.observers -= usize::from(handler.kind == LearnerKind::Observer);
        }
    }

    /// Grows with each learner that comes into step or goes.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// A learner has come into step.
    pub(super) fn in_step_now(&mut self, link: LinkId) {
        self.at_mut(link).step = Step::Synced;
        self.changes += 1;
    }

    /// How many observers there are.
    pub(super) fn observers(&self) -> usize {
        self.observers
    }

    /// True for learners and strangers.
    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.handlers.contains_key(&link) || self.strangers.contains_key(&link)
    }

    /// How many connections there are, strangers among them.
    pub(super) fn connections(&self) -> usize {
        self.handlers.len() + self.strangers.len()
    }

    /// All connections.
    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.handlers.keys().chain(self.strangers.keys()).copied()
    }

    /// Connections that have not said whose they are for longer than `limit_ms`, and for how long.
    pub(super) fn silent_strangers(&self, now_ms: i64, limit_ms: i64) -> Vec<(LinkId, i64)> {
        let since = self.strangers.iter().map(|(link, stranger)| (*link, now_ms - stranger.came_ms));
        since.filter(|(_, silent_ms)| *silent_ms > limit_ms).collect()
    }

    /// Lends a connection's stream, so that a packet can lend its data while the leader acts on it; `None` if there is no
    /// such connection. [`Self::put_stream`] gives it back.
    pub(super) fn take_stream(&mut self, link: LinkId) -> Option<PacketStream> {
        let of_learner = self.handlers.get_mut(&link).map(|handler| &mut handler.stream);
        let stream = of_learner.or_else(|| Some(&mut self.strangers.get_mut(&link)?.stream));
        stream.map(std::mem::take)
    }

    /// See [`Self::take_stream`].
    pub(super) fn put_stream(&mut self, link: LinkId, stream: PacketStream) {
        match (self.handlers.get_mut(&link), self.strangers.get_mut(&link)) {
            (Some(handler), _) => handler.stream = stream,
            (None, Some(stranger)) => stranger.stream = stream,
            (None, None) => panic!("{link:?} ended while its stream was lent"),
        }
    }

    /// The learner on this connection, `None` where it ended or is a stranger's.
    pub(super) fn get(&self, link: LinkId) -> Option<&LearnerHandler> {
        self.handlers.get(&link)
    }

    /// As [`Self::get`].
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut LearnerHandler> {
        self.handlers.get_mut(&link)
    }

    /// The learner on this connection, which must be there: the leader has looked at it within this call.
    pub(super) fn at(&self, link: LinkId) -> &LearnerHandler {
        self.handlers.get(&link).unwrap_or_else(|| panic!("no learner on {link:?}"))
    }

    /// As [`Self::at`].
    pub(super) fn at_mut(&mut self, link: LinkId) -> &mut LearnerHandler {
        self.handlers.get_mut(&link).unwrap_or_else(|| panic!("no learner on {link:?}"))
    }

    /// The learner with this number, while its connection is there.
    pub(super) fn by_number(&self, number: u32) -> Option<&LearnerHandler> {
        self.links.get(&number).map(|link| self.at(*link))
    }

    /// All learners, by link.
    pub(super) fn iter(&self) -> impl Iterator<Item = &LearnerHandler> + Clone {
        self.handlers.values()
    }

    /// As [`Self::iter`].
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut LearnerHandler> {
        self.handlers.values_mut()
    }

    /// The links of learners at a step that fits: a list, so that the leader may act on each.
    pub(super) fn links_where(&self, fits: impl Fn(&LearnerHandler) -> bool) -> Vec<LinkId> {
        self.iter().filter(|handler| fits(handler)).map(|handler| handler.link).collect()
    }

    /// Followers that are in step, also those without a vote.
    pub(super) fn synced_followers(&self) -> impl Iterator<Item = &LearnerHandler> + Clone {
        self.iter().filter(|handler| handler.is_follower() && handler.step == Step::Synced)
    }
}

impl LearnerHandler {
    pub(super) fn is_follower(&self) -> bool {
        self.kind == LearnerKind::Follower
    }

    /// True if its stream has begun: each proposal goes there, at once or in its turn.
    pub(super) fn gets_proposals(&self) -> bool {
        matches!(self.step, Step::Syncing { .. } | Step::Synced)
    }

    /// True while a tree is on its way to it, until it has acknowledged that the tree is on its disk.
    pub(super) fn awaits_tree(&self) -> bool {
        matches!(self.step, Step::Imaging | Step::Syncing { is_snap: true })
    }

    /// True while it waits for this server's log or tree, so that its silence is not its own.
    pub(super) fn waits_for_leader(&self) -> bool {
        matches!(self.step, Step::Searching(_) | Step::Imaging)
    }

    /// True if a ping may be sent to it.
    pub(super) fn may_be_pinged(&self) -> bool {
        match self.step {
            // A server of ZooKeeper's would take it for part of the synchronization before NEWLEADER.
            Step::Syncing { .. } | Step::Synced => {
                self.is_cumulative || self.cursor.newleader_after.is_none()
            }
            // A server of ZooKeeper's wants nothing but the synchronization.
            Step::Searching(_) | Step::Imaging => self.is_cumulative,
            Step::AwaitsEpoch | Step::EpochSent | Step::Promised(_) => false,
        }
    }

    /// Hands bytes to its connection.
    pub(super) fn send(&mut self, bytes: Bytes, out: &mut Vec<LeaderOutput>) {
        assert!(!bytes.is_empty(), "nothing is sent to server {}", self.sid);
        self.cursor.queued += bytes.len();
        if let Some(traffic) = &mut self.traffic {
            traffic.handed(&bytes);
        }
        out.push(LeaderOutput::Send(self.link, bytes));
    }
}
