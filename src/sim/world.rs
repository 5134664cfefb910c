//! The world of a simulated process: what [`crate::driver`] asks of it, done by a simulated disk and net.

use super::disk::SimDisk;
use super::env::Env;
use super::event::{Inside, Who};
use super::image::{Gathered, Image};
use super::mutation::Mutation;
use super::settings::tree_settings;
use super::shell::{Making, Shell, Tree};
use super::stop::Step;
use crate::admin::{FourLetterWord, Status};
use crate::config::Ensemble;
use crate::driver::{
    self, Arrival, Clock, Disk, HandOvers, Job, JobResult, LinkEvent, Network, NotHandedOver, Notice, Signs,
    Taken, Views,
};
use crate::proto::Zxid;
use crate::replica::{
    Answered, ControlKind, Deltas, EntryKind, Event as MemberEvent, Now, Port, Replica, Serving, Uplink,
};
use crate::snapshot::java::{Encoder, Form};
use crate::storage::{self, Done, Flushed, LogError, RecoveryError};
use crate::wal::{Batch, Marker};
use crate::zab::LinkId;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// Deltas that are on their way to a view at most.
const CHANNEL_SLOTS: usize = 2;

/// A process's own part, and what it was lent.
pub(super) struct World<'a, 'b> {
    pub shell: &'a mut Shell,
    pub env: &'a mut Env<'b>,
}

impl driver::World for World<'_, '_> {
    type Clock = Self;
    type Log = Self;
    type Views = Self;
    type Member = Self;

    fn clock(&self) -> &Self {
        self
    }

    fn log(&mut self) -> &mut Self {
        self
    }

    fn views(&mut self) -> &mut Self {
        self
    }

    fn member(&mut self) -> Option<&mut Self> {
        Some(self)
    }

    fn hand_overs(&mut self) -> Option<&mut dyn HandOvers> {
        Some(self)
    }

    fn report(&mut self, notice: Notice) {
        self.env.trace(|server| format!("server {server}: {notice:?}"));
    }
}

impl HandOvers for World<'_, '_> {
    fn next(&mut self) -> Option<Option<i64>> {
        self.shell.hand_overs.pop_front()
    }

    fn tell(&mut self, handed_over: Result<i64, NotHandedOver>) {
        self.env.counts.hand_overs += u64::from(handed_over.is_ok());
        self.env.trace(|server| format!("server {server} has handed over: {handed_over:?}"));
    }
}

impl Clock for World<'_, '_> {
    fn now(&self) -> Now {
        self.env.now
    }
}

impl driver::Log for World<'_, '_> {
    /// Now and then a group is flushed at once, as one is that the commit thread writes; else later.
    fn write(&mut self, batch: Arc<Batch>, _here: bool) -> Result<Option<Done>, LogError> {
        let Self { shell, env } = self;
        if !env.step() || env.stops_at(Step::Write) {
            return Ok(None);
        }
        let is_early = env.mutation == Some(Mutation::AcknowledgeEarly);
        if env.mutation == Some(Mutation::SkipTruncation)
            && matches!(batch.as_marker(), Some(Marker::Truncate { .. }))
        {
            return Ok(Some(shell.claimed(batch)));
        }
        if is_early && shell.is_unflushed {
            // Only the next group waits for it.
            shell.log.flush()?;
            env.shadows[env.server].records.values_mut().for_each(|(_, is_durable)| *is_durable = true);
        }
        shell.note_written(&batch, env);
        if env.mutation != Some(Mutation::LoseWrites) || batch.is_marker() {
            shell.log.files_mut().clock_us = env.now.mono_us;
            shell.log.write(&batch)?;
            shell.is_unflushed = true;
        }
        if env.stops_at(Step::Written) {
            return Ok(None);
        }
        if is_early && !batch.is_marker() {
            return Ok(Some(shell.claimed(batch)));
        }
        if env.net.random.one_in(8) {
            return shell.flush(batch, env);
        }
        let (min, max) = env.settings.flush_us;
        let mut delay_us = min + env.some_us(max - min + 1);
        if env.settings.flushes_hang && env.net.random.one_in(100) {
            delay_us += env.some_us(300_000);
        }
        env.within(delay_us, Inside::Flush(batch));
        Ok(None)
    }

    fn take_done(&mut self) -> Option<Done> {
        self.shell.done.take()
    }
}

impl Shell {
    /// A group that is said to be durable.
    fn claimed(&self, batch: Arc<Batch>) -> Done {
        let end = self.log.encoder().position();
        Done { batch, flushed: Flushed { took_us: 0, fsync_us: 0, bytes: 0, end, balanced_bytes: 0 } }
    }

    /// A group is about to be written.
    fn note_written(&mut self, batch: &Batch, env: &mut Env<'_>) {
        match batch.as_marker() {
            Some(marker) => {
                let is_base = matches!(marker, Marker::Base { .. });
                let may_be_late = is_base || env.settings.as_java;
                env.oracle.taken_back(env.server, env.shadows, marker.zxid(), may_be_late);
                env.shadows[env.server].marker = Some((marker.zxid(), is_base));
            }
            None => {
                for (zxid, txn) in batch.iter() {
                    // The log of a server that did not follow the leader which made a txn has it without the digest.
                    let txn = crate::txn::without_digest(txn).unwrap_or(txn);
                    env.oracle.written(env.server, self.confirmed, zxid, txn);
                    let records = &mut env.shadows[env.server].records;
                    records.insert(zxid, (Bytes::copy_from_slice(txn), false));
                }
            }
        }
        env.trace(|server| {
            let first = batch.iter().next().map(|(zxid, _)| zxid);
            format!("server {server} writes {first:?} to {} {:?}", batch.last(), batch.as_marker())
        });
    }

    /// Makes the group in flight durable; `None` where the process ends with that.
    pub fn flush(&mut self, batch: Arc<Batch>, env: &mut Env<'_>) -> Result<Option<Done>, LogError> {
        let is_lost = env.mutation == Some(Mutation::LoseWrites) && !batch.is_marker();
        let flushed = if is_lost {
            self.claimed(batch.clone()).flushed
        } else {
            self.log.files_mut().clock_us = env.now.mono_us;
            self.log.flush()?
        };
        self.is_unflushed = false;
        let shadow = &mut env.shadows[env.server];
        match batch.is_marker() {
            true => shadow.mark(env.images),
            false if is_lost => {}
            false => batch.iter().for_each(|(zxid, _)| {
                if let Some((_, is_durable)) = shadow.records.get_mut(&zxid) {
                    *is_durable = true;
                }
            }),
        }
        let step = if batch.is_marker() { Step::Marked } else { Step::Flushed };
        Ok((!env.stops_at(step)).then_some(Done { batch, flushed }))
    }

    /// Sends what there is of a tree to its learner, and what waits for its end once that was all.
    fn pump(&mut self, link: LinkId, env: &mut Env<'_>) {
        let (Some(tree), Some(peer)) = (self.trees.get_mut(&link), self.peers.get_mut(&link)) else { return };
        if !tree.is_sending || env.end.is_some() {
            return;
        }
        for piece in tree.pieces.drain(..) {
            self.sent.push(Taken { link, bytes: piece.len(), messages: 0 });
            env.net.send(peer.socket, piece);
        }
        match &tree.making {
            Making::Gathering(_) | Making::Encoding(_) => {}
            Making::Whole => {
                let after = std::mem::take(&mut tree.after);
                self.trees.remove(&link);
                for bytes in after {
                    self.sent.push(Taken { link, bytes: bytes.len(), messages: bytes.len() });
                    env.net.send(peer.socket, bytes);
                }
            }
            Making::Broken => peer.lose(link, &mut self.events),
        }
    }

    /// Makes some more of the tree for a learner.
    pub fn make_some(&mut self, link: LinkId, env: &mut Env<'_>) {
        let Some(tree) = self.trees.get_mut(&link) else { return };
        let is_done = match &mut tree.making {
            Making::Gathering(image) => match &mut *image.gathered.borrow_mut() {
                Gathered::Some(_) => false,
                Gathered::GivenUp => true,
                Gathered::All(_) => true,
            },
            Making::Encoding(_) | Making::Whole | Making::Broken => false,
        };
        if is_done && let Making::Gathering(image) = std::mem::replace(&mut tree.making, Making::Broken) {
            self.arrivals.push_back(Arrival::TreeReady(link, image.zxid));
            if let Gathered::All(nodes) = &mut *image.gathered.borrow_mut() {
                let mut encoder = Encoder::new(Form::Stream, image.sessions, std::mem::take(nodes));
                let (mut pieces, mut more) = (Vec::new(), true);
                while more {
                    let mut piece = Vec::new();
                    more = encoder.next_piece(&mut piece);
                    pieces.push(Bytes::from(piece));
                }
                tree.making = Making::Encoding(pieces.into());
            }
        }
        if let Making::Encoding(rest) = &mut tree.making {
            tree.pieces.extend(rest.pop_front());
            if rest.is_empty() {
                tree.making = Making::Whole;
            }
        }
        if matches!(tree.making, Making::Gathering(_) | Making::Encoding(_)) {
            let delay_us = 1 + env.some_us(3_000);
            env.within(delay_us, Inside::MakeTree(link));
        }
        self.pump(link, env);
    }

    /// The first view is shown what was committed.
    fn note_published(&mut self, deltas: &Deltas, env: &mut Env<'_>) {
        let before = env.oracle.committed.len();
        for entry in &deltas.entries {
            match &entry.what {
                EntryKind::Control(ControlKind::Reset(restart)) => {
                    self.tentative.clear();
                    self.confirmed = Zxid::ZERO;
                    self.published = entry.zxid;
                    self.tentative.push((entry.zxid, restart.tree.digest()));
                    continue;
                }
                EntryKind::Control(ControlKind::Serving(serving)) => {
                    self.is_serving = *serving == Serving::Yes;
                }
                _ => {}
            }
            self.published = entry.zxid;
            if entry.zxid.counter() != 0 {
                self.tentative.push((entry.zxid, entry.digest));
            }
            if self.is_serving
                && let Some(&(zxid, _)) = self.tentative.last()
            {
                env.oracle.committed(env.server, self.confirmed, zxid, env.shadows);
                for (zxid, digest) in std::mem::take(&mut self.tentative) {
                    env.oracle.digest(env.server, zxid, digest);
                }
                self.confirmed = zxid;
            }
        }
        if env.oracle.committed.len() > before {
            let gap_us = env.net.now_us - std::mem::replace(&mut env.counts.committed_us, env.net.now_us);
            env.counts.longest_gap_us = env.counts.longest_gap_us.max(gap_us);
        }
        env.trace(|server| {
            let entries = deltas.entries.iter().map(|entry| format!("{} {}", entry.zxid, brief(&entry.what)));
            format!("server {server} publishes {}", entries.collect::<Vec<_>>().join(", "))
        });
    }
}

fn brief(what: &EntryKind) -> String {
    match what {
        EntryKind::Control(ControlKind::Reset(_)) => "Reset".to_owned(),
        other => format!("{other:?}"),
    }
}

impl Views for World<'_, '_> {
    fn take_uplink(&mut self, view: usize) -> Option<Uplink> {
        self.shell.views[view].uplinks.pop_front()
    }

    fn take_signs(&mut self, view: usize) -> Signs {
        self.shell.views[view].signs.take()
    }

    fn has_room(&self, view: usize) -> bool {
        self.shell.views[view].deltas < CHANNEL_SLOTS
    }

    fn put(&mut self, view: usize, deltas: Arc<Deltas>) {
        let Self { shell, env } = self;
        if !env.step() {
            return;
        }
        let side = &mut shell.views[view];
        side.deltas += 1;
        side.given += 1;
        let delay_us = env.net.random.below(env.settings.channel_us + 1);
        // Now and then a view has other things to do.
        let late_us = if env.net.random.one_in(500) { env.net.random.below(400_000) } else { 0 };
        side.due_us = side.due_us.max(env.net.now_us + delay_us + late_us);
        let (due_us, is_first) = (side.due_us, side.given > shell.published_count);
        if is_first {
            shell.published_count += 1;
            shell.note_published(&deltas, env);
        }
        env.at(due_us, Inside::Deltas { view: view as u16, deltas });
    }

    fn set_durable(&mut self, zxid: Zxid) {
        self.shell.durable = zxid;
    }

    fn render(&mut self, answered: Answered) -> Vec<u8> {
        crate::admin::render(answered.word, &answered.status)
    }

    fn take_question(&mut self) -> Option<(u64, FourLetterWord, Option<i64>)> {
        None
    }

    fn tell(&mut self, number: u64, _: Box<Status>) {
        unreachable!("the simulator asked no question {number}")
    }
}

impl Network for World<'_, '_> {
    fn configure(&mut self, active: &Ensemble, next: Option<&Ensemble>, heard: Option<&Ensemble>) {
        let text = |of: Option<&Ensemble>| of.map(|of| (of.version, of.voters().collect::<Vec<_>>()));
        let all = [Some(active), next, heard].map(text);
        self.env.trace(|server| format!("server {server} is configured: {all:x?}"));
    }

    fn connect_at(&mut self, link: LinkId, sid: i64, (host, port): (String, u16)) {
        assert_eq!((host, port), (format!("zk{sid}"), 3888), "server {sid} says that it is elsewhere");
        self.connect(link, sid, Port::Election);
    }

    fn connect(&mut self, link: LinkId, sid: i64, port: Port) {
        let Self { shell, env } = self;
        if env.step() {
            let (from, to) = ((env.server, Who::Peer(port)), ((sid - 1) as usize, Who::Peer(port)));
            let socket = env.net.dial(from, to);
            shell.add_peer(link, socket);
        }
    }

    fn send(&mut self, link: LinkId, bytes: Bytes) {
        let Self { shell, env } = self;
        let Some(peer) = shell.peers.get_mut(&link) else { return };
        if !env.step() {
            return;
        }
        if peer.is_ended {
            // A write to a connection that the other side has left.
            return peer.lose(link, &mut shell.events);
        }
        let is_twice = env.mutation == Some(Mutation::ForwardTwice) && bytes.starts_with(&1i32.to_be_bytes());
        for copy in 0..if is_twice { 2 } else { 1 } {
            match shell.trees.get_mut(&link) {
                Some(tree) if tree.is_sending => tree.after.push(bytes.clone()),
                _ => {
                    let taken = Taken { link, bytes: bytes.len(), messages: bytes.len() };
                    // The server knows of the first alone.
                    shell.sent.extend((copy == 0).then_some(taken));
                    env.net.send(peer.socket, bytes.clone());
                }
            }
        }
    }

    fn send_tree(&mut self, link: LinkId) {
        let Self { shell, env } = self;
        if !env.step() {
            return;
        }
        if let Some(tree) = shell.trees.get_mut(&link) {
            tree.is_sending = true;
            shell.pump(link, env);
        }
        env.stops_at(Step::ImageSent);
    }

    fn close(&mut self, link: LinkId) {
        let Self { shell, env } = self;
        if !env.step() {
            return;
        }
        shell.trees.remove(&link);
        if let Some(peer) = shell.peers.remove(&link) {
            shell.sockets.remove(&peer.socket);
            match peer.is_ended {
                true => env.net.vanish(peer.socket),
                false => env.net.close(peer.socket),
            }
        }
    }

    fn has(&self, link: LinkId) -> bool {
        self.shell.peers.contains_key(&link)
    }

    fn flush(&mut self) {}

    fn next_taken(&mut self) -> Option<Taken> {
        self.shell.taken.pop_front()
    }

    fn next_event(&mut self) -> Option<LinkEvent> {
        self.shell.events.pop_front()
    }

    fn has_news(&self) -> bool {
        !self.shell.events.is_empty()
    }

    fn receive(&mut self, replica: &mut Replica, now: Now) -> bool {
        let Self { shell, env } = self;
        let mut more = false;
        let random = &mut env.net.random;
        for (&link, peer) in shell.peers.iter_mut().filter(|(_, peer)| peer.is_readable()) {
            // Some reads of a turn, before anything that they lead to is done.
            for _ in 0..1 + random.below(4) {
                if !replica.may_receive(link) {
                    break;
                }
                let Some(bytes) = peer.inbox.pop_front() else {
                    if peer.is_ended {
                        peer.lose(link, &mut shell.events);
                    }
                    break;
                };
                // What came in several pieces may be read at once.
                let mut read = bytes.to_vec();
                while random.one_in(2)
                    && let Some(more) = peer.inbox.pop_front()
                {
                    read.extend_from_slice(&more);
                }
                replica.received(link, &read, now);
            }
            more |= peer.is_readable() && replica.may_receive(link);
        }
        more
    }

    fn report(&mut self, event: &MemberEvent) {
        let env = &mut *self.env;
        if env.end.is_some() {
            return;
        }
        env.trace(|server| format!("server {server}: {event}"));
        match event {
            MemberEvent::Leading { epoch, .. } => {
                env.counts.led += 1;
                env.oracle.leads(env.server, env.incarnation, *epoch);
            }
            MemberEvent::HandsOver { sid } if *sid == env.server as i64 + 1 => env.counts.renewals += 1,
            MemberEvent::Following { sync, .. } => *env.counts.syncs.entry(sync).or_default() += 1,
            MemberEvent::SyncFailed { .. } => env.counts.failed_syncs += 1,
            // Here every leader's digests are right.
            MemberEvent::Digest { why } | MemberEvent::DigestHint { why } => {
                env.violate(|server| format!("server {server}: {why}"));
            }
            _ => {}
        }
    }
}

/// What an operation of a process gives that has ended.
fn ended() -> io::Error {
    io::Error::other("the process has ended")
}

impl Disk for World<'_, '_> {
    type Storage = SimDisk;
    type Image = Image;

    fn storage(&self) -> &SimDisk {
        &self.env.disk
    }

    fn save_epochs(&mut self, epochs: &storage::Epochs) -> io::Result<()> {
        let env = &mut *self.env;
        if !env.step() || env.stops_at(Step::SaveEpochs) {
            return Err(ended());
        }
        env.trace(|server| format!("server {server} saves {}", saved(epochs)));
        if env.mutation == Some(Mutation::ForgetEpochs) {
            return Ok(());
        }
        epochs.write(&env.disk)?;
        if env.stops_at(Step::EpochsSaved) {
            return Err(ended());
        }
        if env.net.random.one_in(4) {
            env.stall_us = env.some_us(20_000);
        }
        Ok(())
    }

    fn adopt(&mut self, zxid: Zxid, base: crate::wal::Position) -> io::Result<()> {
        let env = &mut *self.env;
        if !env.step() || env.stops_at(Step::FinishInstall) {
            return Err(ended());
        }
        storage::adopt(&env.disk, zxid, base)?;
        if env.stops_at(Step::Installed) { Err(ended()) } else { Ok(()) }
    }

    /// A tree is written at once, and the driver hears of it later; the rest is done later.
    fn begin(&mut self, job: Job) -> io::Result<()> {
        let Self { shell, env } = self;
        if !env.step() {
            return Ok(());
        }
        let job = match job {
            job @ Job::FindInLog(..) => job,
            Job::ReadLog(link, after, reader, durable, _) => {
                Job::ReadLog(link, after, reader, durable, 1 + env.some_us(20_000) as usize)
            }
            job @ Job::Reload(_) => {
                if env.stops_at(Step::Reload) {
                    return Ok(());
                }
                job
            }
            job @ Job::StoreTree(..) => {
                if env.stops_at(Step::StoreTree) {
                    return Ok(());
                }
                let done = shell.run(job, env);
                if !env.stops_at(Step::TreeStored) {
                    // Now and then longer than any time-out.
                    let slow_us = [20_000, 20_000, 400_000, 5_000_000][env.some_us(4) as usize];
                    let delay_us = env.some_us(slow_us);
                    env.within(delay_us, Inside::JobDone(done, delay_us));
                }
                return Ok(());
            }
        };
        let delay_us = env.some_us(30_000);
        env.within(delay_us, Inside::Job(job, delay_us));
        Ok(())
    }

    fn make_tree(&mut self, link: LinkId, image: Image) {
        let Self { shell, env } = self;
        let making = Making::Gathering(image);
        let tree = Tree { making, pieces: Vec::new(), is_sending: false, after: Vec::new() };
        shell.trees.insert(link, tree);
        let delay_us = 1 + env.some_us(1_000);
        env.within(delay_us, Inside::MakeTree(link));
    }

    fn next_arrival(&mut self) -> Option<Arrival<Image>> {
        self.shell.arrivals.pop_front()
    }
}

impl Shell {
    /// Does a job.
    pub fn run(&mut self, job: Job, env: &mut Env<'_>) -> JobResult {
        let mut told = Vec::new();
        let done = job.run(&env.disk, tree_settings(), &mut |event| told.push(event));
        for event in told {
            env.trace(|server| format!("server {server} recovers: {event:?}"));
        }
        match done {
            JobResult::LogFound(link, found, why) => {
                let found = found.filter(|_| !env.net.random.one_in(3));
                env.counts.logs_found += u64::from(found.is_some());
                JobResult::LogFound(link, found, why)
            }
            JobResult::LogRead(..) => {
                env.counts.log_reads += 1;
                done
            }
            JobResult::Reloaded(ref restored) => {
                let shadow = &mut env.shadows[env.server];
                env.oracle.started(env.server, shadow, env.images, restored.zxid);
                done
            }
            JobResult::NotReloaded(ref error) => {
                let is_expected =
                    matches!(error, RecoveryError::Io { .. }) || error.is_damage() && env.is_rotten;
                if !is_expected {
                    env.violate(|server| format!("server {server} cannot read again: {error}"));
                }
                done
            }
            JobResult::Stored(_) | JobResult::NotStored(_) => {
                env.trace(|server| format!("server {server} has a tree stored: {}", stored(&done)));
                done
            }
        }
    }
}

/// Epochs, and the active configuration in one line.
pub(super) fn saved(epochs: &storage::Epochs) -> String {
    let storage::Epochs { accepted, current, repairing, config, .. } = epochs;
    let config = String::from_utf8_lossy(config.as_deref().unwrap_or_default());
    let config = config.replace(":2888:3888:", ":").replace('\n', " ");
    format!("accepted={accepted} current={current} repairing={repairing} active={config}")
}

fn stored(done: &JobResult) -> String {
    match done {
        JobResult::NotStored(error) => error.to_string(),
        _ => "all of it".to_owned(),
    }
}
