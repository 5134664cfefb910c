//! A learner's dealings with its leader: who it is, what it lacks, then what is proposed and committed.
//!
//! ```text
//! FOLLOWERINFO -> LEADERINFO -> (accepted epoch durable) ACKEPOCH -> DIFF | TRUNC | SNAP tree -> PROPOSAL, COMMIT ..
//!   -> NEWLEADER -> (all of it durable, then current epoch durable) ACK -> UPTODATE -> served
//! ```
//!
//! Invariants: a promise leaves after the epoch is durable, an acknowledgement after the txns are; the order is data,
//! epoch, acknowledgement. Proposals come without a gap within an epoch. A leader of ZooKeeper's gets nothing between
//! ACKEPOCH and the ACK of NEWLEADER: it takes any other packet for the end of the synchronisation and closes.
//! Bytes of the leader stay in one queue until they are used, those after a tree as well.
//!
//! Source: Junqueira, Reed, Serafini, "Zab", DSN 2011; `Learner`, `Follower`, `Observer`, Apache ZooKeeper 3.9.4.

use super::leader::{Epochs, Membership};
use super::message::{
    LearnerInfo, MessageError, PROTOCOL_VERSION_CUMULATIVE, Packet, PacketStream, PacketType, Revalidated,
    put_ack, put_ack_epoch, put_bare, put_with, read_leader_info,
};
use super::quorum::{same_servers, version_in};
use crate::proto::Zxid;
use bytes::Bytes;

/// What must happen, in this order.
#[derive(Debug)]
pub enum LearnerOutput {
    /// These bytes go to the leader.
    Send(Bytes),
    /// Must be durable before anything that comes after it.
    SaveEpochs(Epochs),
    /// What the log holds behind this zxid is forgotten; [`Learner::restored`] once it is. Where it cannot be, a learner
    /// that is [`Learner::wanting_all`] takes this one's place, over a new connection.
    Trunc(Zxid),
    /// A tree as of this zxid comes in place of everything: the caller decodes [`Learner::tree_bytes`] and reports with
    /// [`Learner::take_tree`] and [`Learner::tree_ended`]; [`Learner::restored`] once the tree is durable.
    Snap(Zxid),
    /// A txn for the log: header, txn, digest.
    Propose(Zxid, Bytes),
    /// All txns of the synchronisation have come: nothing else is to be made durable before NEWLEADER is acknowledged.
    SyncEnds,
    /// Everything through this zxid is committed.
    Commit(Zxid),
    /// The leader has all that this server has, and a quorum has it: clients are served, in this epoch.
    UpToDate(u32),
    /// The leader's ping, to be answered with the sessions that live.
    Ping(Zxid),
    /// The leader's answer about a session.
    Revalidated(Revalidated),
    /// The leader's answer to the oldest sync.
    Synced,
    /// The leader is followed no longer.
    Lost(LostLeader),
}

/// Why a learner leaves its leader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostLeader {
    /// The connection ended.
    #[error("the connection to the leader ended")]
    Closed,
    /// Nothing could be connected to.
    #[error("the leader cannot be reached")]
    Unreachable,
    /// It says what nobody says.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// It says what it should not say now.
    #[error("packet of type {0} is not expected now")]
    Unexpected(i32),
    /// It leads an epoch older than one promised.
    #[error("the leader's epoch {theirs} is older than the accepted one, {accepted}")]
    OldEpoch {
        /// The leader's.
        theirs: u32,
        /// The one promised.
        accepted: u32,
    },
    /// A proposal is missing.
    #[error("proposal {zxid} follows {last}")]
    Gap {
        /// The one before.
        last: Zxid,
        /// The one that came.
        zxid: Zxid,
    },
    /// Something is committed that was never proposed.
    #[error("commit of {zxid}, and the last proposal is {last}")]
    Unproposed {
        /// What is committed.
        zxid: Zxid,
        /// The last proposal.
        last: Zxid,
    },
    /// It was told that there is nothing here, and does not send everything.
    #[error("the leader does not send the whole tree")]
    NotAll,
    /// It was silent.
    #[error("nothing heard of the leader for {0} ms")]
    Silent(i64),
    /// The tree that came cannot be used, or a txn does not fit the tree.
    #[error("{0}")]
    Tree(String),
}

/// Where the learner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has said who it is, and waits for the epoch.
    Info,
    /// It has promised, and waits for what it lacks.
    Promised,
    /// A tree is coming in.
    Tree,
    /// Proposals of the sync are coming in.
    Syncing,
    /// NEWLEADER came: everything in front of it becomes durable.
    Flushing,
    /// That was acknowledged.
    Acknowledged,
    /// It is up to date.
    Serving,
}

/// See the module's page.
#[derive(Debug)]
pub struct Learner {
    membership: Membership,
    epochs: Epochs,
    epoch: u32,
    step: Step,
    is_cumulative: bool,
    is_observer: bool,
    /// TRUNC is being carried out; what comes meanwhile waits.
    is_truncating: bool,
    /// The tree that came is not durable yet.
    is_installing: bool,
    /// See [`Learner::wanting_all`].
    wants_all: bool,
    stream: PacketStream,
    /// Newest txn that is in the log, or on its way there.
    logged: Zxid,
    /// Newest txn that came before NEWLEADER: what the acknowledgement of NEWLEADER waits for.
    sync_end: Zxid,
    durable: Zxid,
    committed: Zxid,
    heard_ms: i64,
    /// When it last showed that it lives, see [`Learner::show_life`].
    shown_ms: i64,
}

impl Learner {
    /// A learner that is connected to its leader; `last` is where its log ends, all of it durable.
    pub fn new(
        membership: Membership,
        is_observer: bool,
        epochs: Epochs,
        last: Zxid,
        now_ms: i64,
        out: &mut Vec<LearnerOutput>,
    ) -> Self {
        let kind = if is_observer { PacketType::OBSERVERINFO } else { PacketType::FOLLOWERINFO };
        let info = LearnerInfo::bytes(membership.sid, PROTOCOL_VERSION_CUMULATIVE, membership.config_version);
        let mut bytes = Vec::new();
        put_with(&mut bytes, kind, Zxid::new(epochs.accepted, 0), &info);
        out.push(LearnerOutput::Send(bytes.into()));
        Self {
            membership,
            epochs,
            epoch: 0,
            step: Step::Info,
            is_cumulative: false,
            is_observer,
            is_truncating: false,
            is_installing: false,
            wants_all: false,
            stream: PacketStream::default(),
            logged: last,
            sync_end: last,
            durable: last,
            committed: Zxid::ZERO,
            heard_ms: now_ms,
            shown_ms: now_ms,
        }
    }

    /// Whether it asks for the whole tree, since it could not truncate as this leader said: it tells the leader whose
    /// epoch it has promised that it has nothing. What it has it keeps, and votes with, until all of the tree is here.
    pub fn wanting_all(self, wants_all: bool) -> Self {
        Self { wants_all, ..self }
    }

    /// See [`Self::wanting_all`].
    pub fn wants_all(&self) -> bool {
        self.wants_all
    }

    /// Epochs as they are, or are about to be, on disk.
    pub fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// Whether the leader has said nothing yet: it may not know that it is one.
    pub fn is_unheard(&self) -> bool {
        self.step == Step::Info
    }

    /// True while the leader sends txns of the synchronisation, until NEWLEADER.
    pub fn is_syncing(&self) -> bool {
        self.step == Step::Syncing
    }

    /// The newest txn that is known to be committed.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Whether the leader is ZooKeeper's own server.
    pub fn has_java_leader(&self) -> bool {
        self.step != Step::Info && !self.is_cumulative
    }

    /// Whether the digest of this txn is the leader's own, and the leader zkfast's: then it is what the tree must leave.
    /// Txns of former epochs may be of a leader of ZooKeeper's, which predicts wrong ones.
    pub fn vouches_for(&self, zxid: Zxid) -> bool {
        self.is_cumulative && zxid.epoch() == self.epoch
    }

    /// True if the leader must get nothing now, whatever there is to say: a leader of ZooKeeper's closes the connection
    /// at any packet other than the ACK of NEWLEADER. Source: `LearnerHandler.run`, "Next packet was supposed to be an ACK".
    pub fn must_be_silent(&self) -> bool {
        match self.step {
            Step::Info | Step::Acknowledged | Step::Serving => false,
            Step::Promised | Step::Tree | Step::Syncing | Step::Flushing => !self.is_cumulative,
        }
    }

    /// True once the leader has said how it brings this server up to date.
    pub fn has_begun(&self) -> bool {
        !matches!(self.step, Step::Info | Step::Promised)
    }

    /// Bytes of the leader, at most one read of them. The caller empties [`Self::tree_bytes`] before it brings more.
    pub fn received(&mut self, bytes: &[u8], now_ms: i64, out: &mut Vec<LearnerOutput>) {
        self.heard_ms = now_ms;
        self.stream.feed(bytes);
        self.proceed(out);
    }

    /// What has come of the tree and was not taken; `None` unless a tree is coming in. The bytes after the end of the tree
    /// are among them and stay here.
    pub fn tree_bytes(&self) -> Option<&[u8]> {
        (self.step == Step::Tree).then(|| self.stream.rest())
    }

    /// The first `count` bytes of [`Self::tree_bytes`] are decoded.
    pub fn take_tree(&mut self, count: usize) {
        assert_eq!(self.step, Step::Tree, "bytes of a tree are taken where none comes in");
        self.stream.skip(count);
    }

    fn proceed(&mut self, out: &mut Vec<LearnerOutput>) {
        // Taken out, so that a packet can lend its data while the learner acts on it.
        let mut stream = std::mem::take(&mut self.stream);
        while !self.is_truncating && self.step != Step::Tree {
            let result = match stream.next_packet() {
                Ok(None) => break,
                Ok(Some(packet)) => self.packet(&packet, out),
                Err(error) => Err(error.into()),
            };
            if let Err(why) = result {
                out.push(LearnerOutput::Lost(why));
                return;
            }
        }
        self.stream = stream;
    }

    /// The tree has ended, which is as of `zxid`, and all its bytes were taken: packets go on after it. Nothing is durable
    /// until [`Self::restored`].
    pub fn tree_ended(&mut self, zxid: Zxid, out: &mut Vec<LearnerOutput>) {
        assert_eq!(self.step, Step::Tree, "a tree ends that never began");
        self.step = Step::Syncing;
        (self.logged, self.committed, self.durable) = (zxid, zxid, Zxid::ZERO);
        self.is_installing = true;
        self.proceed(out);
    }

    /// TRUNC or SNAP is carried out and durable; the log ends at `last`, and what was received since comes behind.
    pub fn restored(&mut self, last: Zxid, out: &mut Vec<LearnerOutput>) {
        assert!(self.is_truncating || self.is_installing, "restored unasked");
        assert!(self.is_installing || last <= self.logged, "truncated to {last}, after {}", self.logged);
        self.durable = last;
        self.is_installing = false;
        if std::mem::replace(&mut self.is_truncating, false) {
            (self.logged, self.committed) = (last, last);
        }
        self.check_flushed(out);
        self.proceed(out);
    }

    fn packet(&mut self, packet: &Packet<'_>, out: &mut Vec<LearnerOutput>) -> Result<(), LostLeader> {
        let zxid = packet.zxid;
        match (self.step, packet.kind) {
            (Step::Info, PacketType::LEADERINFO) => {
                let version = read_leader_info(packet.data)?;
                // Not above: what a later version of ZooKeeper's says means something else.
                self.is_cumulative = version == PROTOCOL_VERSION_CUMULATIVE;
                self.promise(zxid.epoch(), out)
            }
            (Step::Promised, PacketType::DIFF | PacketType::TRUNC) if self.wants_all => {
                Err(LostLeader::NotAll)
            }
            (Step::Promised, PacketType::DIFF) => {
                self.step = Step::Syncing;
                // What this log holds is in the leader's as well. A leader of ZooKeeper's has a learner truncate what
                // is not committed; others say what is.
                if !self.is_cumulative {
                    self.committed = self.logged;
                }
                Ok(())
            }
            (Step::Promised, PacketType::TRUNC) => {
                self.step = Step::Syncing;
                self.is_truncating = true;
                out.push(LearnerOutput::Trunc(zxid));
                Ok(())
            }
            (Step::Promised, PacketType::SNAP) => {
                self.step = Step::Tree;
                out.push(LearnerOutput::Snap(zxid));
                Ok(())
            }
            // A zkfast leader whose tree, or log, is not to be had yet says that it lives. Only then, see `is_cumulative`.
            (Step::Promised, PacketType::PING) if self.is_cumulative => {
                out.push(LearnerOutput::Ping(zxid));
                Ok(())
            }
            (Step::Syncing, PacketType::NEWLEADER) if zxid.epoch() == self.epoch => {
                self.step = Step::Flushing;
                self.sync_end = self.logged;
                out.push(LearnerOutput::SyncEnds);
                let (text, ours) = (packet.data.unwrap_or_default(), &self.membership.config_text);
                let version = version_in(text);
                // The version of other servers than this one knows of is not for this one to pass on.
                if version > self.epochs.config_version.max(self.membership.config_version)
                    && same_servers(text, ours)
                {
                    self.epochs.config_version = version;
                }
                self.check_flushed(out);
                Ok(())
            }
            (Step::Acknowledged, PacketType::UPTODATE) => {
                self.step = Step::Serving;
                out.push(LearnerOutput::UpToDate(self.epoch));
                // Java's leader expects one more; it counts for nothing.
                self.ack(Zxid::new(self.epoch, 0), out);
                Ok(())
            }
            (Step::Syncing | Step::Flushing | Step::Acknowledged | Step::Serving, kind) => {
                self.broadcast(kind, packet, out)
            }
            (_, PacketType(kind)) => Err(LostLeader::Unexpected(kind)),
        }
    }

    fn promise(&mut self, epoch: u32, out: &mut Vec<LearnerOutput>) -> Result<(), LostLeader> {
        let accepted = self.epochs.accepted;
        // -1: this epoch was promised before, and a promise counts once.
        let current = match epoch.cmp(&accepted) {
            std::cmp::Ordering::Less => return Err(LostLeader::OldEpoch { theirs: epoch, accepted }),
            std::cmp::Ordering::Equal => -1,
            std::cmp::Ordering::Greater => {
                // Another leader, which may need to know what is here, and do with less.
                self.wants_all = false;
                self.epochs.accepted = epoch;
                out.push(LearnerOutput::SaveEpochs(self.epochs));
                self.epochs.current as i32
            }
        };
        self.epoch = epoch;
        self.step = Step::Promised;
        let mut bytes = Vec::new();
        let last = if self.wants_all { Zxid::ZERO } else { self.logged };
        put_ack_epoch(&mut bytes, last, current);
        out.push(LearnerOutput::Send(bytes.into()));
        Ok(())
    }

    fn broadcast(
        &mut self,
        kind: PacketType,
        packet: &Packet<'_>,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), LostLeader> {
        let zxid = packet.zxid;
        match kind {
            PacketType::PROPOSAL => self.propose(zxid, packet.data, out),
            PacketType::INFORM => {
                self.propose(zxid, packet.data, out)?;
                self.commit(zxid, out)
            }
            PacketType::COMMIT => self.commit(zxid, out),
            // That it came shows that the leader lives; the answer would end the synchronisation.
            PacketType::PING if self.must_be_silent() => Ok(()),
            PacketType::PING => {
                out.push(LearnerOutput::Ping(zxid));
                Ok(())
            }
            PacketType::REVALIDATE => {
                out.push(LearnerOutput::Revalidated(Revalidated::read(packet.data)?));
                Ok(())
            }
            PacketType::SYNC => {
                out.push(LearnerOutput::Synced);
                Ok(())
            }
            PacketType(kind) => Err(LostLeader::Unexpected(kind)),
        }
    }

    fn propose(
        &mut self,
        zxid: Zxid,
        txn: Option<&[u8]>,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), LostLeader> {
        // In the history and broadcast as well: a leader that began to propose meanwhile sends it twice.
        if zxid <= self.logged {
            return Ok(());
        }
        let last = self.logged;
        if zxid.epoch() == last.epoch() && Some(zxid) != last.next() {
            return Err(LostLeader::Gap { last, zxid });
        }
        self.logged = zxid;
        out.push(LearnerOutput::Propose(zxid, Bytes::copy_from_slice(txn.unwrap_or_default())));
        Ok(())
    }

    fn commit(&mut self, zxid: Zxid, out: &mut Vec<LearnerOutput>) -> Result<(), LostLeader> {
        if zxid > self.logged {
            return Err(LostLeader::Unproposed { zxid, last: self.logged });
        }
        if zxid > self.committed {
            self.committed = zxid;
            out.push(LearnerOutput::Commit(zxid));
        }
        Ok(())
    }

    /// These txns are durable, oldest first.
    pub fn durable(&mut self, zxids: impl Iterator<Item = Zxid>, out: &mut Vec<LearnerOutput>) {
        let acknowledges = matches!(self.step, Step::Acknowledged | Step::Serving) && !self.is_observer;
        let mut bytes = Vec::new();
        for zxid in zxids {
            self.durable = self.durable.max(zxid);
            if acknowledges && !self.is_cumulative {
                put_ack(&mut bytes, zxid);
            }
        }
        if acknowledges && self.is_cumulative {
            put_ack(&mut bytes, self.durable);
        }
        if !bytes.is_empty() {
            out.push(LearnerOutput::Send(bytes.into()));
        }
        self.check_flushed(out);
    }

    /// Acknowledges NEWLEADER once everything that came before it is durable. What came after it may take as long as it
    /// likes: under steady writes the log never has all of that.
    fn check_flushed(&mut self, out: &mut Vec<LearnerOutput>) {
        if self.step != Step::Flushing || self.is_installing || self.durable < self.sync_end {
            return;
        }
        self.step = Step::Acknowledged;
        self.epochs.current = self.epoch;
        out.push(LearnerOutput::SaveEpochs(self.epochs));
        self.ack(Zxid::new(self.epoch, 0), out);
        // What is proposed and not committed yet was logged along with the rest, and counts once it is durable.
        if self.durable > self.committed && !self.is_observer {
            if self.is_cumulative {
                return self.ack(self.durable, out);
            }
            // ZooKeeper's own leader counts each; what it still waits for is of its own epoch.
            let epoch = self.durable.epoch();
            let committed = if self.committed.epoch() == epoch { self.committed.counter() } else { 0 };
            let uncommitted = committed + 1..=self.durable.counter();
            uncommitted.for_each(|counter| self.ack(Zxid::new(epoch, counter), out));
        }
    }

    fn ack(&self, zxid: Zxid, out: &mut Vec<LearnerOutput>) {
        let mut bytes = Vec::new();
        put_ack(&mut bytes, zxid);
        out.push(LearnerOutput::Send(bytes.into()));
    }

    /// The leader is not listened to for now: that it is not heard is not its fault.
    pub fn excuse(&mut self, now_ms: i64) {
        self.heard_ms = now_ms;
    }

    /// Tells a zkfast leader that this server is at work while it does not answer pings: it stores what it was sent, or has
    /// no room for more and does not read. Every half tick.
    pub fn show_life(&mut self, now_ms: i64, out: &mut Vec<LearnerOutput>) {
        let is_due = now_ms - self.shown_ms >= self.membership.tick_ms / 2;
        if self.is_cumulative && is_due && !matches!(self.step, Step::Info | Step::Serving) {
            self.shown_ms = now_ms;
            let mut bytes = Vec::new();
            put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
            out.push(LearnerOutput::Send(bytes.into()));
        }
    }

    /// Lets time pass.
    pub fn tick(&self, now_ms: i64, out: &mut Vec<LearnerOutput>) {
        let silent_ms = now_ms - self.heard_ms;
        // A leader that waits for the other followers of its quorum has nothing to say to this one. Source:
        // `Learner.connectToLeader` and `syncWithLeader`, which shorten the time-out after UPTODATE.
        let limit_ms = match self.step {
            Step::Serving => self.membership.sync_ms,
            _ => self.membership.init_ms,
        };
        // While a sync is carried out here, it is the leader who waits.
        if silent_ms > limit_ms && !self.is_truncating && !self.is_installing {
            out.push(LearnerOutput::Lost(LostLeader::Silent(silent_ms)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{PROTOCOL_VERSION, put_bare, put_leader_info, put_proposal};
    use super::*;

    /// What a learner of epoch 4 does with what a leader of epoch 5 sends, given to it in pieces that end at these places;
    /// a tree is `TREE`, and is durable at once.
    fn outcome(version: i32, stream: &[u8], cuts: &[usize]) -> Vec<String> {
        let (_, membership) = Membership::of_three(1);
        let (last, mut out) = (Zxid::new(4, 7), Vec::new());
        let epochs = Epochs { accepted: 4, current: 4, config_version: 0 };
        let mut learner = Learner::new(membership, false, epochs, last, 0, &mut out);
        let mut leader_info = Vec::new();
        put_leader_info(&mut leader_info, 5, version);
        learner.received(&leader_info, 0, &mut out);
        let (mut done, mut tree, mut from) = (Vec::new(), Vec::new(), 0);
        for to in cuts.iter().copied().chain([stream.len()]) {
            learner.received(&stream[from..to], 0, &mut out);
            from = to;
            while let Some(bytes) = learner.tree_bytes().map(<[u8]>::to_vec)
                && !bytes.is_empty()
            {
                let wanted = bytes.len().min(TREE.len() - tree.len());
                tree.extend_from_slice(&bytes[..wanted]);
                learner.take_tree(wanted);
                if tree.len() == TREE.len() {
                    assert_eq!(tree, TREE);
                    learner.tree_ended(Zxid::new(5, 2), &mut out);
                    learner.restored(Zxid::new(5, 2), &mut out);
                }
            }
            done.extend(out.drain(..).map(|output| format!("{output:?}")));
        }
        done
    }

    const TREE: &[u8] = b"a tree, which is anything but packets";

    /// However a leader's bytes are cut, the learner does the same: nothing that follows a tree is lost, or taken for part
    /// of it.
    #[test]
    fn cut_at_every_byte() {
        let mut stream = Vec::new();
        put_bare(&mut stream, PacketType::SNAP, Zxid::new(5, 2));
        stream.extend_from_slice(TREE);
        (3..=5).for_each(|counter| put_proposal(&mut stream, Zxid::new(5, counter), b"a txn"));
        put_bare(&mut stream, PacketType::PING, Zxid::ZERO);
        put_bare(&mut stream, PacketType::NEWLEADER, Zxid::new(5, 0));
        put_proposal(&mut stream, Zxid::new(5, 6), b"another");
        for version in [PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE] {
            let whole = outcome(version, &stream, &[]);
            assert_eq!(whole.iter().filter(|output| output.starts_with("Propose")).count(), 4, "{whole:?}");
            for first in 0..stream.len() {
                assert_eq!(outcome(version, &stream, &[first]), whole, "cut at {first}");
                for second in (first..stream.len()).step_by(7) {
                    assert_eq!(
                        outcome(version, &stream, &[first, second]),
                        whole,
                        "cut at {first} and {second}"
                    );
                }
            }
        }
    }

    /// A leader of ZooKeeper's closes at any packet between ACKEPOCH and the ACK of NEWLEADER: its pings stay unanswered
    /// till then. A zkfast leader is answered, to know that the learner is at work.
    #[test]
    fn silent_before_newleader_is_acknowledged() {
        for (version, pings) in [(PROTOCOL_VERSION, 1), (PROTOCOL_VERSION_CUMULATIVE, 3)] {
            let (_, membership) = Membership::of_three(1);
            let mut out = Vec::new();
            let epochs = Epochs { accepted: 4, current: 4, config_version: 0 };
            let mut learner = Learner::new(membership, false, epochs, Zxid::new(4, 7), 0, &mut out);
            let mut bytes = Vec::new();
            put_leader_info(&mut bytes, 5, version);
            put_bare(&mut bytes, PacketType::DIFF, Zxid::new(4, 8));
            put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
            put_proposal(&mut bytes, Zxid::new(4, 8), b"txn");
            put_bare(&mut bytes, PacketType::NEWLEADER, Zxid::new(5, 0));
            put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
            learner.received(&bytes, 0, &mut out);
            assert_eq!(learner.must_be_silent(), version == PROTOCOL_VERSION);
            learner.durable([Zxid::new(4, 8)].into_iter(), &mut out);
            assert!(learner.step == Step::Acknowledged && !learner.must_be_silent());
            let mut bytes = Vec::new();
            put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
            learner.received(&bytes, 0, &mut out);
            let answered = out.iter().filter(|output| matches!(output, LearnerOutput::Ping(_))).count();
            assert_eq!(answered, pings);
        }
    }

    /// What is acknowledged to the leader, which is sent nothing else.
    fn acks(out: Vec<LearnerOutput>) -> Vec<Zxid> {
        let mut stream = PacketStream::default();
        for output in out {
            if let LearnerOutput::Send(bytes) = output {
                stream.feed(&bytes);
            }
        }
        let mut acked = Vec::new();
        while let Some(packet) = stream.next_packet().expect("well formed") {
            assert_eq!(packet.kind, PacketType::ACK);
            acked.push(packet.zxid);
        }
        acked
    }

    /// NEWLEADER is acknowledged once what came before it is durable, however much comes after it; each txn after it is
    /// acknowledged when that is durable.
    #[test]
    fn newleader_does_not_wait_for_what_follows_it() {
        for version in [PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE] {
            let (_, membership) = Membership::of_three(1);
            let mut out = Vec::new();
            let epochs = Epochs { accepted: 4, current: 4, config_version: 0 };
            let mut learner = Learner::new(membership, false, epochs, Zxid::new(4, 7), 0, &mut out);
            let mut bytes = Vec::new();
            put_leader_info(&mut bytes, 5, version);
            put_bare(&mut bytes, PacketType::DIFF, Zxid::new(4, 8));
            put_proposal(&mut bytes, Zxid::new(4, 8), b"txn");
            put_bare(&mut bytes, PacketType::NEWLEADER, Zxid::new(5, 0));
            put_proposal(&mut bytes, Zxid::new(5, 1), b"txn");
            put_proposal(&mut bytes, Zxid::new(5, 2), b"txn");
            learner.received(&bytes, 0, &mut out);
            out.clear();
            let acked = |zxid, learner: &mut Learner| {
                let mut out = Vec::new();
                learner.durable([zxid].into_iter(), &mut out);
                acks(out)
            };
            let first = acked(Zxid::new(4, 8), &mut learner);
            assert_eq!(first[0], Zxid::new(5, 0), "{first:?}");
            assert!(
                first.iter().all(|zxid| *zxid == Zxid::new(5, 0) || *zxid <= Zxid::new(4, 8)),
                "{first:?}"
            );
            assert_eq!(acked(Zxid::new(5, 1), &mut learner), [Zxid::new(5, 1)]);
            assert_eq!(acked(Zxid::new(5, 2), &mut learner), [Zxid::new(5, 2)]);
        }
    }

    /// A leader of ZooKeeper's that waits for a quorum for the first txns of its epoch gets an acknowledgement of each:
    /// it counts one by one, and would wait for ever.
    #[test]
    fn acknowledges_what_an_epoch_begins_with() {
        let (_, membership) = Membership::of_three(1);
        let (last, mut out) = (Zxid::new(4, 7), Vec::new());
        let epochs = Epochs { accepted: 4, current: 4, config_version: 0 };
        let mut learner = Learner::new(membership, false, epochs, last, 0, &mut out);
        let mut bytes = Vec::new();
        put_leader_info(&mut bytes, 5, PROTOCOL_VERSION);
        put_bare(&mut bytes, PacketType::DIFF, last);
        let proposed = (1..=3).map(|counter| Zxid::new(5, counter));
        proposed.clone().for_each(|zxid| put_proposal(&mut bytes, zxid, b"txn"));
        put_bare(&mut bytes, PacketType::NEWLEADER, Zxid::new(5, 0));
        learner.received(&bytes, 0, &mut out);
        out.clear();
        learner.durable(proposed, &mut out);
        assert_eq!(acks(out), (0..=3).map(|counter| Zxid::new(5, counter)).collect::<Vec<_>>());
    }
}
