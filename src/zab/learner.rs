//! A learner's dealings with its leader: who it is, what it lacks, then what is proposed and committed.
//!
//! ```text
//! FOLLOWERINFO -> LEADERINFO -> (accepted epoch durable) ACKEPOCH -> DIFF | TRUNC | SNAP tree -> PROPOSAL, COMMIT ..
//!   -> NEWLEADER -> (all of it durable, then current epoch durable) ACK -> UPTODATE -> served
//! ```
//!
//! Invariants: a promise leaves after the epoch is durable, an acknowledgement after the txns are; the order is data,
//! epoch, acknowledgement. Proposals come without a gap within an epoch.
//!
//! Source: Junqueira, Reed, Serafini, "Zab", DSN 2011; `Learner`, `Follower`, `Observer`, Apache ZooKeeper 3.9.4.

use super::leader::{Epochs, Membership};
use super::message::{
    LearnerInfo, MessageError, PROTOCOL_VERSION_CUMULATIVE, Packet, PacketStream, PacketType, Revalidated,
    put_ack, put_ack_epoch, put_with, read_leader_info,
};
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
    /// A tree as of this zxid comes in place of everything.
    Snap(Zxid),
    /// Bytes of that tree; [`Learner::tree_ended`] where it ends, [`Learner::restored`] once it is durable.
    Tree(Bytes),
    /// A txn for the log: header, txn, digest.
    Propose(Zxid, Bytes),
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
    durable: Zxid,
    committed: Zxid,
    heard_ms: i64,
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
            durable: last,
            committed: Zxid::ZERO,
            heard_ms: now_ms,
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

    /// The newest txn that is known to be committed.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Whether the leader is ZooKeeper's own server.
    pub fn has_java_leader(&self) -> bool {
        self.step != Step::Info && !self.is_cumulative
    }

    /// Bytes of the leader.
    pub fn received(&mut self, bytes: &[u8], now_ms: i64, out: &mut Vec<LearnerOutput>) {
        self.heard_ms = now_ms;
        self.stream.feed(bytes);
        self.proceed(out);
    }

    fn proceed(&mut self, out: &mut Vec<LearnerOutput>) {
        // Taken out, so that a packet can lend its data while the learner acts on it.
        let mut stream = std::mem::take(&mut self.stream);
        while !self.is_truncating {
            if self.step == Step::Tree {
                let bytes = Bytes::copy_from_slice(stream.rest());
                stream.skip(bytes.len());
                if !bytes.is_empty() {
                    out.push(LearnerOutput::Tree(bytes));
                }
                break;
            }
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

    /// The tree has ended, which is as of `zxid`; `rest` was given as part of it and is what comes behind. Nothing
    /// is durable until [`Self::restored`].
    pub fn tree_ended(&mut self, zxid: Zxid, rest: &[u8], out: &mut Vec<LearnerOutput>) {
        assert_eq!(self.step, Step::Tree, "a tree ends that never began");
        self.step = Step::Syncing;
        (self.logged, self.committed, self.durable) = (zxid, zxid, Zxid::ZERO);
        self.is_installing = true;
        self.stream.feed(rest);
        self.proceed(out);
    }

    /// TRUNC or SNAP is carried out and durable; the log ends at `last`, and what was received since comes behind.
    pub fn restored(&mut self, last: Zxid, out: &mut Vec<LearnerOutput>) {
        assert!(self.is_truncating || self.is_installing, "restored unasked");
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
                self.is_cumulative = version >= PROTOCOL_VERSION_CUMULATIVE;
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
            (Step::Syncing, PacketType::NEWLEADER) if zxid.epoch() == self.epoch => {
                self.step = Step::Flushing;
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

    /// Acknowledges NEWLEADER once everything in front of it is durable.
    fn check_flushed(&mut self, out: &mut Vec<LearnerOutput>) {
        if self.step != Step::Flushing || self.is_installing || self.durable < self.logged {
            return;
        }
        self.step = Step::Acknowledged;
        self.epochs.current = self.epoch;
        out.push(LearnerOutput::SaveEpochs(self.epochs));
        self.ack(Zxid::new(self.epoch, 0), out);
        // What is proposed and not committed yet was logged along with the rest, and counts.
        if self.logged > self.committed && !self.is_observer {
            if self.is_cumulative {
                return self.ack(self.logged, out);
            }
            // ZooKeeper's own leader counts each; what it still waits for is of its own epoch.
            let epoch = self.logged.epoch();
            let committed = if self.committed.epoch() == epoch { self.committed.counter() } else { 0 };
            let uncommitted = committed + 1..=self.logged.counter();
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

    /// Lets time pass.
    pub fn tick(&self, now_ms: i64, out: &mut Vec<LearnerOutput>) {
        let silent_ms = now_ms - self.heard_ms;
        let limit_ms = match self.step {
            Step::Acknowledged | Step::Serving => self.membership.sync_ms,
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

    /// A leader of ZooKeeper's that waits for a quorum for the first txns of its epoch gets an acknowledgement of each:
    /// it counts one by one, and would wait for ever.
    #[test]
    fn acknowledges_what_an_epoch_begins_with() {
        let (_, membership) = Membership::of_three(1);
        let (last, mut out) = (Zxid::new(4, 7), Vec::new());
        let epochs = Epochs { accepted: 4, current: 4 };
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
        assert_eq!(acked, (0..=3).map(|counter| Zxid::new(5, counter)).collect::<Vec<_>>());
    }
}
