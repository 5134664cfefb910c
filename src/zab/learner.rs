//! A learner's dealings with its leader: who it is, what it lacks, then what is proposed and committed.
//!
//! ```text
//! FOLLOWERINFO -> LEADERINFO -> (accepted epoch durable) ACKEPOCH -> DIFF | TRUNC | SNAP tree -> PROPOSAL, COMMIT ..
//!   -> NEWLEADER -> (all of it durable, then current epoch durable) ACK -> UPTODATE -> served
//! ```
//!
//! Invariants: `durable <= logged` and `committed <= logged`. A promise leaves after the epoch is durable, an
//! acknowledgement after the txns are; the order is data, epoch, acknowledgement. Proposals come without a gap within an
//! epoch. A leader of ZooKeeper's gets nothing between ACKEPOCH and the ACK of NEWLEADER: it takes any other packet for the
//! end of the synchronization and closes. Bytes of the leader stay in one queue until they are used, those after a tree as
//! well.
//!
//! Source: Junqueira, Reed, Serafini, "Zab", DSN 2011; `Learner`, `Follower`, `Observer`, Apache ZooKeeper 3.9.4.

use super::configuration::{Configuration, ConfigurationError, Configurations};
use super::leader::{Epochs, Membership};
use super::message::{
    LearnerInfo, MessageError, PROTOCOL_VERSION_CUMULATIVE, Packet, PacketStream, PacketType, Revalidated,
    is_hand_over, put_ack, put_ack_epoch, put_bare, put_with, read_activation, read_leader_info, read_snap,
};
use crate::proto::{Epoch, ServerId, Zxid};
use crate::txn;
use bytes::Bytes;

/// What the caller must do, in this order.
#[derive(Debug)]
pub enum LearnerOutput {
    /// Send these bytes to the leader.
    Send(Bytes),
    /// Make these durable before anything that comes after.
    SaveEpochs(Epochs),
    /// The same, and elections are held with these from here on.
    Configure(Configurations, Activation),
    /// The active one is another, and everything through its reconfiguration was committed by a former output.
    Activated(Activation),
    /// Forget what the log holds after this zxid, then call [`Learner::restored`]. Where that is impossible, a learner that
    /// is [`Learner::wanting_all`] takes this one's place, over a new connection.
    Trunc(Zxid),
    /// A tree as of this zxid comes in place of everything: the caller decodes [`Learner::tree_bytes`] and reports with
    /// [`Learner::take_tree`] and [`Learner::tree_ended`]; [`Learner::restored`] once the tree is durable.
    Snap(Zxid),
    /// Write this txn to the log: header, txn, digest.
    Propose(Zxid, Bytes),
    /// All txns of the synchronization have come: nothing else is to be made durable before NEWLEADER is acknowledged.
    SyncEnds,
    /// Everything through this zxid is committed.
    Commit(Zxid),
    /// A quorum has all that this server has: serve clients, in this epoch.
    UpToDate(Epoch),
    /// Answer the leader's ping with the sessions that live.
    Ping(Zxid),
    /// The leader's answer about a session.
    Revalidated(Revalidated),
    /// The leader's answer to the oldest sync.
    Synced,
    /// The leader hands over: this server leads from here on, and it may be the leader itself, in another epoch.
    HandedOver(ServerId),
    /// This server follows the leader no longer.
    Lost(LostLeader),
}

/// What has changed in a server's configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The active one is the same: another one is proposed, or given up.
    None,
    /// The next one is active.
    Committed,
    /// The same, and this server leads from here on.
    Led(ServerId),
}

/// Why a learner leaves its leader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostLeader {
    /// The connection ended.
    #[error("the connection to the leader ended")]
    Closed,
    /// No connection to the leader could be made.
    #[error("the leader cannot be reached")]
    Unreachable,
    /// The bytes are no packet.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// A packet came that the protocol does not allow at this point.
    #[error("packet of type {0} is not expected now")]
    Unexpected(i32),
    /// Its epoch is older than one that this server has promised.
    #[error("the leader's epoch {theirs} is older than the accepted one, {accepted}")]
    OldEpoch {
        /// The leader's epoch.
        theirs: Epoch,
        /// The promised epoch.
        accepted: Epoch,
    },
    /// A proposal is missing.
    #[error("proposal {zxid} follows {last}")]
    Gap {
        /// The proposal before.
        last: Zxid,
        /// The proposal that came.
        zxid: Zxid,
    },
    /// A proposal is of an epoch that the leader does not lead in.
    #[error("proposal {zxid} of a leader of epoch {epoch}")]
    OtherEpoch {
        /// The proposal.
        zxid: Zxid,
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// A commit came for a txn that was never proposed.
    #[error("commit of {zxid}, and the last proposal is {last}")]
    Unproposed {
        /// The zxid of the commit.
        zxid: Zxid,
        /// The last proposal.
        last: Zxid,
    },
    /// What it says of the ensemble cannot be read.
    #[error("its configuration cannot be read: {0}")]
    Configuration(#[from] ConfigurationError),
    /// This server has asked for the whole tree, and the leader does not send it.
    #[error("the leader does not send the whole tree")]
    NotAll,
    /// Nothing came from the leader.
    #[error("nothing heard of the leader for {0} ms")]
    Silent(i64),
}

/// How far the learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has said who it is, and waits for the epoch.
    AwaitsEpoch {
        /// See [`Learner::wanting_all`].
        wants_all: bool,
    },
    /// It has promised the epoch, and waits for what it lacks.
    Promised {
        /// See [`Learner::wanting_all`].
        wants_all: bool,
    },
    /// TRUNC is being carried out; packets that come meanwhile wait.
    Truncating,
    /// A tree is coming in.
    Tree,
    /// Proposals of the synchronization are coming in.
    Syncing {
        /// The tree that came is not durable yet.
        is_installing: bool,
    },
    /// NEWLEADER came: everything before it is being made durable.
    Flushing {
        /// Newest txn that came before NEWLEADER.
        sync_end: Zxid,
        /// The tree that came is not durable yet.
        is_installing: bool,
    },
    /// NEWLEADER is acknowledged.
    Acknowledged,
    /// UPTODATE came: clients are served.
    Serving,
}

/// The learner's side of the protocol over one connection: bytes of the leader and the log's progress in,
/// [`LearnerOutput`]s out.
///
/// Each call appends to `out` what the caller must do, in that order. `now_ms` is in milliseconds since any fixed moment
/// and never goes back. After [`LearnerOutput::Lost`] the caller drops the learner.
#[derive(Debug)]
pub struct Learner {
    membership: Membership,
    epochs: Epochs,
    /// The leader's epoch, once it has said it.
    epoch: Epoch,
    step: Step,
    /// The leader is zkfast's: ACK and COMMIT stand for all zxids up to theirs.
    is_cumulative: bool,
    is_observer: bool,
    stream: PacketStream,
    /// Newest txn that is in the log, or on its way there.
    logged: Zxid,
    /// Newest txn on this server's disk; zero while a tree that came is not durable.
    durable: Zxid,
    /// Newest txn that is known to be committed.
    committed: Zxid,
    /// The version of the configuration in NEWLEADER: it is active once a quorum supports the leader.
    newleader_version: i64,
    heard_ms: i64,
    /// When it last showed that it lives, see [`Learner::show_life`].
    shown_ms: i64,
}

impl Learner {
    /// A learner that is connected to its leader; `last` is where its log ends, all of it durable.
    pub fn new(
        mut membership: Membership,
        is_observer: bool,
        epochs: Epochs,
        last: Zxid,
        now_ms: i64,
        out: &mut Vec<LearnerOutput>,
    ) -> Self {
        membership.configs.forget_heard();
        let kind = if is_observer { PacketType::OBSERVERINFO } else { PacketType::FOLLOWERINFO };
        let info = LearnerInfo::bytes(
            membership.sid,
            PROTOCOL_VERSION_CUMULATIVE,
            membership.configs.active().version(),
        );
        let mut bytes = Vec::new();
        put_with(&mut bytes, kind, epochs.accepted.start(), &info);
        out.push(LearnerOutput::Send(bytes.into()));
        Self {
            membership,
            epochs,
            epoch: Epoch::ZERO,
            step: Step::AwaitsEpoch { wants_all: false },
            is_cumulative: false,
            is_observer,
            stream: PacketStream::default(),
            logged: last,
            durable: last,
            committed: Zxid::ZERO,
            newleader_version: 0,
            heard_ms: now_ms,
            shown_ms: now_ms,
        }
    }

    /// The learner as it was made, asking for the whole tree if `wants_all`: for a server that could not truncate as this
    /// leader had asked. To the leader whose epoch it has promised it claims to have nothing. What it has it keeps, and
    /// votes with, until all of the tree is here.
    pub fn wanting_all(self, wants_all: bool) -> Self {
        assert!(self.is_unheard(), "the whole tree is asked for at {:?}", self.step);
        Self { step: Step::AwaitsEpoch { wants_all }, ..self }
    }

    /// See [`Self::wanting_all`].
    pub fn wants_all(&self) -> bool {
        matches!(self.step, Step::AwaitsEpoch { wants_all: true } | Step::Promised { wants_all: true })
    }

    /// Epochs as they are, or are about to be, on disk.
    pub fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// True until the leader has sent its epoch: it may not know yet that it leads.
    pub fn is_unheard(&self) -> bool {
        matches!(self.step, Step::AwaitsEpoch { .. })
    }

    /// True while the leader sends txns of the synchronization, until NEWLEADER.
    pub fn is_syncing(&self) -> bool {
        matches!(self.step, Step::Truncating | Step::Syncing { .. })
    }

    /// Whether it has said that it is an observer.
    pub fn is_observer(&self) -> bool {
        self.is_observer
    }

    /// The newest txn that is known to be committed.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// True if the leader is ZooKeeper's own server.
    pub fn has_java_leader(&self) -> bool {
        !self.is_unheard() && !self.is_cumulative
    }

    /// True if the digest of this txn is the leader's own, and the leader zkfast's: then the tree must have it after the
    /// txn. Txns of former epochs may be of a leader of ZooKeeper's, which predicts wrong ones.
    pub fn vouches_for(&self, zxid: Zxid) -> bool {
        self.is_cumulative && Epoch::of(zxid) == self.epoch
    }

    /// True if nothing may be sent to the leader now, whatever waits: a leader of ZooKeeper's closes the connection
    /// at any packet other than the ACK of NEWLEADER. Source: `LearnerHandler.run`, "Next packet was supposed to be an ACK".
    pub fn must_be_silent(&self) -> bool {
        match self.step {
            Step::AwaitsEpoch { .. } | Step::Acknowledged | Step::Serving => false,
            Step::Promised { .. }
            | Step::Truncating
            | Step::Tree
            | Step::Syncing { .. }
            | Step::Flushing { .. } => !self.is_cumulative,
        }
    }

    /// True once the leader has said how it brings this server up to date.
    pub fn has_begun(&self) -> bool {
        !matches!(self.step, Step::AwaitsEpoch { .. } | Step::Promised { .. })
    }

    /// Bytes of the leader, at most one read of them. The caller empties [`Self::tree_bytes`] before it brings more.
    pub fn received(&mut self, bytes: &[u8], now_ms: i64, out: &mut Vec<LearnerOutput>) {
        self.heard_ms = now_ms;
        self.stream.feed(bytes);
        self.proceed(out);
        self.check();
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
        while self.step != Step::Truncating && self.step != Step::Tree {
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
        self.step = Step::Syncing { is_installing: true };
        (self.logged, self.committed, self.durable) = (zxid, zxid, Zxid::ZERO);
        self.proceed(out);
        self.check();
    }

    /// TRUNC or SNAP is carried out and durable; the log ends at `last`, and what was received since comes after.
    pub fn restored(&mut self, last: Zxid, out: &mut Vec<LearnerOutput>) {
        assert!(last <= self.logged, "restored to {last}, after {}", self.logged);
        match &mut self.step {
            Step::Truncating => {
                (self.logged, self.committed) = (last, last);
                self.step = Step::Syncing { is_installing: false };
                if self.membership.configs.retreat(last) {
                    let configs = self.membership.configs.clone();
                    out.push(LearnerOutput::Configure(configs, Activation::None));
                }
            }
            Step::Syncing { is_installing } | Step::Flushing { is_installing, .. } if *is_installing => {
                *is_installing = false;
            }
            step => unreachable!("restored to {last} unasked, at {step:?}"),
        }
        self.durable = last;
        self.check_flushed(out);
        self.proceed(out);
        self.check();
    }

    fn packet(&mut self, packet: &Packet<'_>, out: &mut Vec<LearnerOutput>) -> Result<(), LostLeader> {
        let zxid = packet.zxid;
        match (self.step, packet.kind) {
            (Step::AwaitsEpoch { wants_all }, PacketType::LEADERINFO) => {
                let version = read_leader_info(packet.data)?;
                // Not above: what a later version of ZooKeeper's means by its number is something else.
                self.is_cumulative = version == PROTOCOL_VERSION_CUMULATIVE;
                self.promise(Epoch::of(zxid), wants_all, out)
            }
            (Step::Promised { wants_all: true }, PacketType::DIFF | PacketType::TRUNC) => {
                Err(LostLeader::NotAll)
            }
            (Step::Promised { .. }, PacketType::DIFF) => {
                self.step = Step::Syncing { is_installing: false };
                // What this log holds is in the leader's as well. A leader of ZooKeeper's has a learner truncate what
                // is not committed; a zkfast leader sends what is.
                if !self.is_cumulative {
                    self.committed = self.logged;
                }
                Ok(())
            }
            (Step::Promised { .. }, PacketType::TRUNC) => {
                self.step = Step::Truncating;
                out.push(LearnerOutput::Trunc(zxid));
                Ok(())
            }
            (Step::Promised { .. }, PacketType::SNAP) => {
                self.take_configs(packet, out)?;
                self.step = Step::Tree;
                out.push(LearnerOutput::Snap(zxid));
                Ok(())
            }
            // A zkfast leader whose tree, or log, is not to be had yet shows that it lives. Only then, see `is_cumulative`.
            (Step::Promised { .. }, PacketType::PING) if self.is_cumulative => {
                out.push(LearnerOutput::Ping(zxid));
                Ok(())
            }
            (Step::Syncing { is_installing }, PacketType::NEWLEADER) if Epoch::of(zxid) == self.epoch => {
                self.step = Step::Flushing { sync_end: self.logged, is_installing };
                out.push(LearnerOutput::SyncEnds);
                self.take_newleader(packet.data.unwrap_or_default(), out)?;
                self.check_flushed(out);
                Ok(())
            }
            (Step::Acknowledged, PacketType::UPTODATE) => {
                self.step = Step::Serving;
                // A quorum of it supports the leader. One of ZooKeeper's also says what is only proposed: that is committed by
                // a packet of its own. Before clients are served, so that they see it.
                let version = Zxid::from_wire(self.newleader_version);
                let is_sure = self.is_cumulative || version.counter() == 0;
                let through = if is_sure { version.max(self.committed) } else { self.committed };
                self.activate(through, Activation::Committed, out);
                out.push(LearnerOutput::Activated(Activation::Committed));
                out.push(LearnerOutput::UpToDate(self.epoch));
                // Java's leader expects one more; it counts for nothing.
                self.ack(self.epoch.start(), out);
                Ok(())
            }
            (Step::Syncing { .. } | Step::Flushing { .. } | Step::Acknowledged | Step::Serving, kind) => {
                self.broadcast(kind, packet, out)
            }
            (_, PacketType(kind)) => Err(LostLeader::Unexpected(kind)),
        }
    }

    /// Takes what a zkfast leader says of its configurations with its tree: from here on they are this server's. A leader of
    /// ZooKeeper's says it with NEWLEADER. What this server's log proposes goes with the log; a start before the tree is durable
    /// finds it there again.
    fn take_configs(&mut self, packet: &Packet<'_>, out: &mut Vec<LearnerOutput>) -> Result<(), LostLeader> {
        let Membership { reconfig_enabled, configs, .. } = &mut self.membership;
        let told = if self.is_cumulative { read_snap(packet.data)? } else { None };
        let is_changed = match told.filter(|_| *reconfig_enabled) {
            Some((active, next)) => {
                let next = next.map(Configuration::parse).transpose()?;
                configs.replace(Configuration::parse(active)?, next)
            }
            None => configs.give_up(),
        };
        if is_changed {
            out.push(LearnerOutput::Configure(configs.clone(), Activation::None));
        }
        Ok(())
    }

    /// Takes the configuration in NEWLEADER. One that reconfigurations do not change is the file's, but for its version; that of
    /// other servers than this one knows of is not for this one to pass on then.
    fn take_newleader(&mut self, text: &[u8], out: &mut Vec<LearnerOutput>) -> Result<(), LostLeader> {
        let Membership { reconfig_enabled, configs, .. } = &mut self.membership;
        // Servers before 3.5 send none.
        if text.len() <= 1 {
            return Ok(());
        }
        let configuration = match Configuration::parse(text) {
            Ok(configuration) => configuration,
            Err(_) if !*reconfig_enabled => return Ok(()),
            Err(why) => return Err(why.into()),
        };
        let version = configuration.version();
        let is_newer = version > configs.last_seen().version();
        if *reconfig_enabled {
            self.newleader_version = version;
            if is_newer {
                configs.begin_with(configuration);
                out.push(LearnerOutput::Configure(configs.clone(), Activation::None));
            }
        } else if is_newer && configuration.has_same_members(configs.active()) {
            configs.set_version(version);
            out.push(LearnerOutput::Configure(configs.clone(), Activation::None));
        }
        Ok(())
    }

    fn promise(
        &mut self,
        epoch: Epoch,
        mut wants_all: bool,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), LostLeader> {
        let accepted = self.epochs.accepted;
        // -1: this epoch was promised before, and a promise counts once.
        let current = match epoch.cmp(&accepted) {
            std::cmp::Ordering::Less => return Err(LostLeader::OldEpoch { theirs: epoch, accepted }),
            std::cmp::Ordering::Equal => -1,
            std::cmp::Ordering::Greater => {
                // Another leader, which may need to know what is here, and do with less.
                wants_all = false;
                self.epochs.accepted = epoch;
                out.push(LearnerOutput::SaveEpochs(self.epochs));
                self.epochs.current.0 as i32
            }
        };
        self.epoch = epoch;
        assert_eq!(self.epoch, self.epochs.accepted, "an epoch is promised that is not the accepted one");
        self.step = Step::Promised { wants_all };
        let mut bytes = Vec::new();
        let last = if wants_all { Zxid::ZERO } else { self.logged };
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
                self.commit(zxid, Activation::Committed, out)
            }
            PacketType::INFORMANDACTIVATE => {
                let (leader, txn) = read_activation(packet.data)?;
                self.propose(zxid, Some(txn), out)?;
                self.commit(zxid, Activation::Led(leader), out)
            }
            PacketType::COMMIT => self.commit(zxid, Activation::Committed, out),
            PacketType::COMMITANDACTIVATE => {
                let (leader, rest) = read_activation(packet.data)?;
                self.commit(zxid, Activation::Led(leader), out)?;
                if self.is_cumulative && is_hand_over(rest) {
                    out.push(LearnerOutput::HandedOver(leader));
                }
                Ok(())
            }
            // That it came shows that the leader lives; the answer would end the synchronization.
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
        // A proposal that is logged already: a leader that began to propose meanwhile sends it twice, from the history and
        // as broadcast.
        if zxid <= self.logged {
            return Ok(());
        }
        // What a leader proposes is of its epoch; before NEWLEADER it also sends what the learner lacks of earlier ones.
        let is_broadcast = matches!(self.step, Step::Flushing { .. } | Step::Acknowledged | Step::Serving);
        let epoch = Epoch::of(zxid);
        if epoch > self.epoch || (is_broadcast && epoch != self.epoch) {
            return Err(LostLeader::OtherEpoch { zxid, epoch: self.epoch });
        }
        let last = self.logged;
        if zxid.epoch() == last.epoch() && Some(zxid) != last.next() {
            return Err(LostLeader::Gap { last, zxid });
        }
        assert!(zxid > self.committed, "proposal {zxid}, committed is {}", self.committed);
        self.logged = zxid;
        // Durable before the proposal is acknowledged.
        if self.membership.reconfig_enabled
            && let Some(text) = txn::configuration(txn.unwrap_or_default())
            && self.membership.configs.propose(Configuration::parse(text)?.with_version(zxid.to_wire()))
        {
            out.push(LearnerOutput::Configure(self.membership.configs.clone(), Activation::None));
        }
        out.push(LearnerOutput::Propose(zxid, Bytes::copy_from_slice(txn.unwrap_or_default())));
        Ok(())
    }

    fn commit(
        &mut self,
        zxid: Zxid,
        activation: Activation,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), LostLeader> {
        if zxid > self.logged {
            return Err(LostLeader::Unproposed { zxid, last: self.logged });
        }
        if zxid > self.committed {
            self.committed = zxid;
            // Before UPTODATE a leader says of all of its log that it is committed, which it is once a quorum has it.
            let is_activated = self.step == Step::Serving && self.activate(zxid, activation, out);
            out.push(LearnerOutput::Commit(zxid));
            if is_activated {
                out.push(LearnerOutput::Activated(activation));
            }
        }
        Ok(())
    }

    /// Everything through this zxid is committed; whether a reconfiguration is by that.
    fn activate(&mut self, through: Zxid, activation: Activation, out: &mut Vec<LearnerOutput>) -> bool {
        let is_activated = self.membership.configs.commit(through);
        if is_activated {
            out.push(LearnerOutput::Configure(self.membership.configs.clone(), activation));
        }
        is_activated
    }

    /// These txns are durable, oldest first.
    pub fn durable(&mut self, zxids: impl Iterator<Item = Zxid>, out: &mut Vec<LearnerOutput>) {
        let acknowledges = matches!(self.step, Step::Acknowledged | Step::Serving) && !self.is_observer;
        let mut bytes = Vec::new();
        for zxid in zxids {
            assert!(zxid <= self.logged, "durable is {zxid}, logged {}", self.logged);
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
        match self.step {
            Step::Flushing { sync_end, is_installing: false } if self.durable >= sync_end => {}
            _ => return,
        }
        assert!(self.epochs.current <= self.epoch, "epoch {} after {}", self.epoch, self.epochs.current);
        self.step = Step::Acknowledged;
        self.epochs.current = self.epoch;
        out.push(LearnerOutput::SaveEpochs(self.epochs));
        self.ack(self.epoch.start(), out);
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

    /// The caller does not read from the leader for now, so that its silence does not count.
    pub fn excuse(&mut self, now_ms: i64) {
        self.heard_ms = now_ms;
    }

    /// Shows a zkfast leader, every half tick, that this server is at work while it does not answer pings: it stores what
    /// it was sent, or has no room for more and does not read.
    pub fn show_life(&mut self, now_ms: i64, out: &mut Vec<LearnerOutput>) {
        let is_due = now_ms - self.shown_ms >= self.membership.tick_ms / 2;
        if self.is_cumulative && is_due && !matches!(self.step, Step::AwaitsEpoch { .. } | Step::Serving) {
            self.shown_ms = now_ms;
            let mut bytes = Vec::new();
            put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
            out.push(LearnerOutput::Send(bytes.into()));
        }
    }

    /// Leaves a leader that is silent for too long. Call it every 20 ms or so.
    pub fn tick(&self, now_ms: i64, out: &mut Vec<LearnerOutput>) {
        let silent_ms = now_ms - self.heard_ms;
        // A leader that waits for the other followers of its quorum sends nothing to this one. Source:
        // `Learner.connectToLeader` and `syncWithLeader`, which shorten the time-out after UPTODATE.
        let limit_ms = match self.step {
            Step::Serving => self.membership.sync_ms,
            // The leader waits for this server's disk.
            Step::Truncating
            | Step::Syncing { is_installing: true }
            | Step::Flushing { is_installing: true, .. } => return,
            _ => self.membership.init_ms,
        };
        if silent_ms > limit_ms {
            out.push(LearnerOutput::Lost(LostLeader::Silent(silent_ms)));
        }
    }

    /// The invariants of the module's page that cost nothing to look at.
    fn check(&self) {
        let Self { durable, committed, logged, .. } = *self;
        assert!(durable <= logged, "durable is {durable}, logged {logged}");
        assert!(committed <= logged, "committed is {committed}, logged {logged}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{
        PROTOCOL_VERSION, put_bare, put_commit_and_activate, put_hand_over, put_leader_info, put_proposal,
    };
    use super::*;

    /// The newest txn of [`of_epoch_4`].
    const LAST: Zxid = Zxid::new(4, 7);

    /// A learner whose log ends with [`LAST`], and what it has to send first.
    fn of_epoch_4() -> (Learner, Vec<LearnerOutput>) {
        let (_, membership) = Membership::of_three(1);
        let epochs = Epochs { accepted: Epoch(4), current: Epoch(4) };
        let mut out = Vec::new();
        (Learner::new(membership, false, epochs, LAST, 0, &mut out), out)
    }

    /// What a learner of epoch 4 does with what a leader of epoch 5 sends, given to it in pieces that end at these places;
    /// a tree is `TREE`, and is durable at once.
    fn outcome(version: i32, stream: &[u8], cuts: &[usize]) -> Vec<String> {
        let (mut learner, mut out) = of_epoch_4();
        let mut leader_info = Vec::new();
        put_leader_info(&mut leader_info, Epoch(5), version);
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
            let (mut learner, mut out) = of_epoch_4();
            let mut bytes = Vec::new();
            put_leader_info(&mut bytes, Epoch(5), version);
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
            let (mut learner, mut out) = of_epoch_4();
            let mut bytes = Vec::new();
            put_leader_info(&mut bytes, Epoch(5), version);
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
        let (mut learner, mut out) = of_epoch_4();
        let mut bytes = Vec::new();
        put_leader_info(&mut bytes, Epoch(5), PROTOCOL_VERSION);
        put_bare(&mut bytes, PacketType::DIFF, LAST);
        let proposed = (1..=3).map(|counter| Zxid::new(5, counter));
        proposed.clone().for_each(|zxid| put_proposal(&mut bytes, zxid, b"txn"));
        put_bare(&mut bytes, PacketType::NEWLEADER, Zxid::new(5, 0));
        learner.received(&bytes, 0, &mut out);
        out.clear();
        learner.durable(proposed, &mut out);
        assert_eq!(acks(out), (0..=3).map(|counter| Zxid::new(5, counter)).collect::<Vec<_>>());
    }

    /// A zkfast leader that hands over says so by COMMITANDACTIVATE with a word of its own; that of a reconfiguration which this
    /// server knows already, or of a leader of ZooKeeper's, moves no learner.
    #[test]
    fn leader_that_hands_over() {
        let next = ServerId(1);
        for (version, is_hand_over, is_moved) in [
            (PROTOCOL_VERSION_CUMULATIVE, true, true),
            (PROTOCOL_VERSION_CUMULATIVE, false, false),
            (PROTOCOL_VERSION, true, false),
        ] {
            let (mut learner, mut out) = of_epoch_4();
            let mut bytes = Vec::new();
            put_leader_info(&mut bytes, Epoch(5), version);
            put_bare(&mut bytes, PacketType::DIFF, LAST);
            put_bare(&mut bytes, PacketType::NEWLEADER, Zxid::new(5, 0));
            put_bare(&mut bytes, PacketType::UPTODATE, Zxid::from_wire(-1));
            put_proposal(&mut bytes, Zxid::new(5, 1), b"a txn");
            learner.received(&bytes, 0, &mut out);
            out.clear();
            let mut bytes = Vec::new();
            match is_hand_over {
                true => put_hand_over(&mut bytes, Zxid::new(5, 1), next),
                false => put_commit_and_activate(&mut bytes, Zxid::new(5, 1), next),
            }
            learner.received(&bytes, 0, &mut out);
            assert!(matches!(out[0], LearnerOutput::Commit(zxid) if zxid == Zxid::new(5, 1)), "{out:?}");
            let moved = matches!(out[1..], [LearnerOutput::HandedOver(leader)] if leader == next);
            assert_eq!(moved, is_moved, "{out:?}");
        }
    }

    /// A commit of what was never proposed ends the connection: by a leader whose proposals this server did not get it would
    /// show what it does not have.
    #[test]
    fn commit_of_what_was_not_proposed() {
        let (mut learner, mut out) = of_epoch_4();
        let mut bytes = Vec::new();
        put_leader_info(&mut bytes, Epoch(5), PROTOCOL_VERSION_CUMULATIVE);
        put_bare(&mut bytes, PacketType::DIFF, LAST);
        put_bare(&mut bytes, PacketType::COMMIT, Zxid::new(5, 1));
        learner.received(&bytes, 0, &mut out);
        let why = LostLeader::Unproposed { zxid: Zxid::new(5, 1), last: LAST };
        assert!(matches!(out.last(), Some(LearnerOutput::Lost(lost)) if *lost == why), "{out:?}");
        assert_eq!(learner.committed(), Zxid::ZERO);
    }

    /// A proposal of another epoch than the leader's ends the connection: after NEWLEADER the views show that epoch, and
    /// would have to go back.
    #[test]
    fn proposals_of_another_epoch() {
        let earlier = Zxid::new(4, 8);
        for (zxid, comes_after, is_lost) in [
            (earlier, false, false),
            (earlier, true, true),
            (Zxid::new(5, 1), true, false),
            (Zxid::new(6, 1), false, true),
            (Zxid::new(6, 1), true, true),
        ] {
            let (mut learner, mut out) = of_epoch_4();
            let mut bytes = Vec::new();
            put_leader_info(&mut bytes, Epoch(5), PROTOCOL_VERSION);
            put_bare(&mut bytes, PacketType::DIFF, LAST);
            if comes_after {
                put_bare(&mut bytes, PacketType::NEWLEADER, Zxid::new(5, 0));
            }
            put_proposal(&mut bytes, zxid, b"txn");
            learner.received(&bytes, 0, &mut out);
            let why = LostLeader::OtherEpoch { zxid, epoch: Epoch(5) };
            let lost = matches!(out.last(), Some(LearnerOutput::Lost(lost)) if *lost == why);
            assert_eq!(lost, is_lost, "{zxid} after NEWLEADER: {comes_after}: {out:?}");
        }
    }

    /// The log cannot have what was never proposed.
    #[test]
    #[should_panic(expected = "durable is 0x500000001, logged 0x400000007")]
    fn durable_beyond_what_is_logged() {
        let (mut learner, mut out) = of_epoch_4();
        learner.durable([Zxid::new(5, 1)].into_iter(), &mut out);
    }
}
