//! What a member's replica wants done, in order, and what comes of it.

use super::jobs::Durable;
use super::{
    Arrival, Disk, Fatal, Job, JobResult, LinkEvent, Network, Notice, Now, Output, Replica, Taken, World,
};
use crate::database::Database;
use crate::proto::{Epoch, Zxid};
use crate::storage::{self, LogReader, ReadError, Storage};
use crate::wal::{Batch, Position};
use crate::zab::LinkId;
use crate::zab::configuration::{Configuration, Configurations};
use crate::zab::history::History;
use crate::zab::leader::{Epochs, WINDOW_BYTES};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often in a turn learners that are behind get more of what they lack.
const SENDS_PER_TURN: usize = 4;

/// The end of the log, which ends at `log` with `last`: `txns` of it, as many bytes as a history keeps. Without it,
/// others that lack anything get the whole tree. Source: `ZKDatabase.commitLogCount`.
///
/// # Errors
/// Why the log is not read back; the history is [`History::new`] then.
pub fn history<S: Storage>(storage: &S, last: Zxid, log: Position, txns: u32) -> Result<History, ReadError> {
    let after = Zxid::new(last.epoch(), last.counter().saturating_sub(txns));
    let Some(mut slices) = storage::records(storage, after, last, log)? else {
        return Ok(History::new(last));
    };
    let mut history = History::new(slices.floor());
    let mut more = true;
    while more {
        let mut batch = Batch::default();
        more = slices.slice(storage, |zxid, txn| batch.put(zxid, |out| out.extend_from_slice(txn)))?;
        history.push(Arc::new(batch));
        history.trim(last);
    }
    Ok(if history.last() == last { history } else { History::new(last) })
}

/// What a replica starts with of what is on disk. That the server repairs itself is a setting of the member.
impl From<&storage::Epochs> for Epochs {
    fn from(&storage::Epochs { accepted, current, .. }: &storage::Epochs) -> Self {
        Self { accepted: Epoch(accepted), current: Epoch(current) }
    }
}

/// The configurations that a server starts with: the file's, or a later active one on disk if reconfigurations are enabled; and
/// what a reconfiguration in the log proposes, which the tree shows that was read back. Without reconfigurations the file's servers
/// have the version that a leader has given them.
pub fn configurations(
    file: Configuration,
    saved: &storage::Epochs,
    restored: &Database,
    reconfig_enabled: bool,
) -> Configurations {
    let parse = |text: Option<&[u8]>| Configuration::parse(text?).ok();
    let version = saved.former_config_version.max(file.version());
    let active = match parse(saved.config.as_deref()) {
        Some(active) if active.version() > file.version() && reconfig_enabled => active,
        Some(active) if active.version() > file.version() && active.has_same_members(&file) => {
            file.with_version(active.version())
        }
        _ => file.with_version(version),
    };
    let next = parse(restored.config()).filter(|_| reconfig_enabled);
    Configurations::restored(active, next)
}

/// Carries out the outputs of a member's replica.
#[derive(Debug)]
pub(super) struct Outputs {
    /// How far the log is durable.
    durable: Durable,
    /// What reads the log for a learner, while it is not reading.
    readers: BTreeMap<LinkId, Box<LogReader>>,
    /// A tree is being written.
    is_storing: bool,
    /// The replica wants more done, in the next turn.
    has_more: bool,
    /// Versions of the configurations that the network was told of.
    configured: [Option<i64>; 3],
    #[cfg(any(test, feature = "sim"))]
    pub bug: Option<super::Bug>,
    #[cfg(any(test, feature = "sim"))]
    late: Option<storage::Epochs>,
}

impl Outputs {
    pub fn new(durable: Zxid, log: Position) -> Self {
        Self {
            durable: (durable, log),
            readers: BTreeMap::new(),
            is_storing: false,
            has_more: false,
            configured: [None; 3],
            #[cfg(any(test, feature = "sim"))]
            bug: None,
            #[cfg(any(test, feature = "sim"))]
            late: None,
        }
    }

    /// The log is durable through `zxid` and ends there.
    pub fn logged(&mut self, zxid: Zxid, end: Position) {
        self.durable = (zxid, end);
    }

    /// Where the log ends, durable.
    pub fn log_end(&self) -> Position {
        self.durable.1
    }

    /// Whether there is more to do at once.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Tells the replica what happened; says whether there is more of it already.
    pub fn take_in<W: World>(
        &mut self,
        world: &mut W,
        replica: &mut Replica,
        now: Now,
    ) -> Result<bool, Fatal> {
        let Some(member) = world.member() else { return Ok(false) };
        while let Some(event) = member.next_event() {
            match event {
                LinkEvent::Accepted(link, port) => replica.accepted(link, port, now),
                LinkEvent::Connected(link) => replica.connected(link, now),
                LinkEvent::Closed(link) => {
                    self.close(member, link);
                    replica.closed(link, now);
                }
            }
        }
        let mut unread = Vec::new();
        while let Some(arrival) = member.next_arrival() {
            match arrival {
                // Of one that is gone, it would wait for ever.
                Arrival::Image(link, _) if !member.has(link) => {}
                Arrival::Image(link, image) => member.make_tree(link, image),
                Arrival::TreeReady(link, zxid) => replica.image_begun(link, zxid, now),
                Arrival::Done(done, took_us) => {
                    unread.extend(self.done(done, took_us, member, replica, now)?);
                }
            }
        }
        let has_more = member.receive(replica, now);
        unread.into_iter().for_each(|error| world.report(Notice::LogUnread(error)));
        Ok(has_more)
    }

    /// A job is done; gives why the log cannot be read for a learner.
    fn done<M: Network>(
        &mut self,
        done: JobResult,
        took_us: u64,
        member: &M,
        replica: &mut Replica,
        now: Now,
    ) -> Result<Option<ReadError>, Fatal> {
        match done {
            JobResult::Stored(restored) => {
                self.is_storing = false;
                replica.metrics_mut().times.snapshottime.record(took_us);
                replica.tree_stored(*restored);
            }
            JobResult::NotStored(error) => {
                self.is_storing = false;
                replica.tree_not_stored(error, now);
            }
            JobResult::Reloaded(restored) => replica.reloaded(*restored, now),
            JobResult::NotReloaded(error) => return Err(error.into()),
            // Of a learner that has gone.
            JobResult::LogFound(link, ..) | JobResult::LogRead(link, _) if !member.has(link) => {}
            JobResult::LogFound(link, found, why) => {
                let floor = found.map(|(floor, reader)| {
                    self.readers.insert(link, reader);
                    floor
                });
                replica.log_found(link, floor, now);
                return Ok(why);
            }
            JobResult::LogRead(link, Ok((batch, reader))) => {
                self.readers.insert(link, reader);
                replica.log_read(link, Ok(&batch), now);
            }
            JobResult::LogRead(link, Err(why)) => replica.log_read(link, Err(why), now),
        }
        Ok(None)
    }

    /// Does what the replica wants done. What a learner's connection takes makes room for more of what that lacks.
    pub fn give_out<W: World>(
        &mut self,
        world: &mut W,
        replica: &mut Replica,
        now: Now,
    ) -> Result<(), Fatal> {
        if world.member().is_none() {
            return Ok(());
        }
        self.configure(world, replica);
        for _ in 0..SENDS_PER_TURN {
            while let Some(output) = replica.take_output() {
                self.carry_out(output, world, replica, now)?;
            }
            let Some(member) = world.member() else { unreachable!("a member stays one") };
            member.flush();
            while let Some(Taken { link, bytes, messages }) = member.next_taken() {
                replica.taken(link, bytes, messages, now);
            }
            self.has_more = replica.has_output();
            if !self.has_more {
                break;
            }
        }
        if let Some(member) = world.member() {
            member.turn_ended(replica);
        }
        Ok(())
    }

    /// Tells the network of other configurations than before.
    fn configure<W: World>(&mut self, world: &mut W, replica: &Replica) {
        let (Some(member), Some(configs)) = (world.member(), replica.configs()) else { return };
        let version = |of: &Configuration| of.version();
        let versions = [Some(configs.active()), configs.next(), configs.heard()].map(|of| of.map(version));
        if std::mem::replace(&mut self.configured, versions) != versions {
            let [next, heard] = [configs.next(), configs.heard()].map(|of| of.map(Configuration::ensemble));
            member.configure(configs.active().ensemble(), next, heard);
        }
    }

    fn carry_out<W: World>(
        &mut self,
        output: Output,
        world: &mut W,
        replica: &mut Replica,
        now: Now,
    ) -> Result<(), Fatal> {
        let Some(member) = world.member() else { unreachable!("a server alone has no outputs: {output:?}") };
        match output {
            Output::Connect { link, sid, port } => member.connect(link, sid, port),
            Output::ConnectAt { link, sid, at } => member.connect_at(link, sid, at),
            Output::Send { link, bytes } => member.send(link, bytes),
            Output::Close { link } => self.close(member, link),
            Output::SaveEpochs { epochs, configs, repairing } => {
                self.save(member, epochs, &configs, repairing)?;
            }
            Output::SendImage(link) => member.send_tree(link),
            Output::FindInLog(link, zxid) => {
                self.begin(Job::FindInLog(link, zxid, self.durable), member, replica, now)?;
            }
            Output::ReadLog(link, after) => {
                let reader = self.readers.remove(&link);
                let job = Job::ReadLog(link, after, reader, self.durable, WINDOW_BYTES);
                self.begin(job, member, replica, now)?;
            }
            Output::StoreTree(restored) => {
                #[cfg(any(test, feature = "sim"))]
                if self.bug == Some(super::Bug::TreeNotKept) {
                    replica.tree_stored(*restored);
                    return Ok(());
                }
                assert!(!std::mem::replace(&mut self.is_storing, true), "two trees are stored at once");
                self.begin(Job::StoreTree(restored, self.durable.1), member, replica, now)?;
            }
            Output::FinishInstall(zxid) => self.finish_install(member, zxid)?,
            Output::CheckTruncation(to) => match storage::can_truncate(member.storage(), to) {
                Ok(is_possible) => replica.truncate(to, is_possible, now),
                Err(error) => {
                    replica.truncate(to, false, now);
                    world.report(Notice::TruncationUnknown(to, error));
                }
            },
            Output::Reload(to) => self.begin(Job::Reload(to), member, replica, now)?,
            Output::Diverged(why) => return Err(Fatal::Diverged(why)),
            Output::Event(event) => Network::report(member, &event),
        }
        Ok(())
    }

    /// Begins a job. For lack of a thread it fails as if its files did.
    fn begin<M: Network + Disk>(
        &mut self,
        job: Job,
        member: &mut M,
        replica: &mut Replica,
        now: Now,
    ) -> Result<(), Fatal> {
        let kind = job.kind();
        if let Err(error) = member.begin(job) {
            self.done(kind.refused(error)?, 0, member, replica, now)?;
        }
        Ok(())
    }

    /// A connection ends.
    fn close<M: Network>(&mut self, member: &mut M, link: LinkId) {
        self.readers.remove(&link);
        member.close(link);
    }

    /// Makes durable what is promised with the outputs that follow.
    fn save<M: Disk>(
        &mut self,
        member: &mut M,
        epochs: Epochs,
        configs: &Configurations,
        repairing: bool,
    ) -> Result<(), Fatal> {
        let Epochs { accepted: Epoch(accepted), current: Epoch(current) } = epochs;
        // The file's own needs none.
        let is_kept = configs.last_seen().version() != 0;
        let text = |of: &Configuration| Box::from(of.text());
        let epochs = storage::Epochs {
            accepted,
            current,
            repairing,
            config: is_kept.then(|| text(configs.active())),
            former_config_version: 0,
        };
        #[cfg(any(test, feature = "sim"))]
        let epochs = match self.bug {
            Some(super::Bug::EpochsLate) => match self.late.replace(epochs) {
                Some(before) => before,
                None => return Ok(()),
            },
            _ => epochs,
        };
        member.save_epochs(&epochs).map_err(Fatal::Epochs)
    }

    /// Gives the tree at which the log begins its name, before anything else goes to the log.
    fn finish_install<M: Disk>(&self, member: &mut M, zxid: Zxid) -> Result<(), Fatal> {
        #[cfg(any(test, feature = "sim"))]
        if self.bug == Some(super::Bug::TreeNotKept) {
            return Ok(());
        }
        assert_eq!(self.durable.0, zxid, "a tree is installed at which the log does not begin");
        member.adopt(zxid, self.durable.1).map_err(|error| Fatal::Install(zxid, error))
    }
}
