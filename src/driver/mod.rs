//! The driver of a replica: who is called in which order, and what is durable when. The server and the simulator run it,
//! each over its own [`World`].
//!
//! # A turn
//!
//! [`Driver::turn`] does all there is to do. It waits for nothing but the log, and for that only if the world allows it:
//!
//! | | step | the world's part |
//! |--:|---|---|
//! | 1 | a group that became durable is reported: [`Replica::durable`] | [`Log::take_done`] |
//! | 2 | connections that came, were made or ended; results of [jobs](Job); bytes of peers, as far as [`Replica::may_receive`] allows | [`Network::next_event`], [`Disk::next_arrival`], [`Network::receive`] |
//! | 3 | a restore goes on, if there is one, or a hand-over; then uplinks of views, in turn, unless a view is far behind | [`Restores`], [`HandOvers`], [`Views::take_uplink`] |
//! | 4 | every [`TICK_US`] timers fire; signs of life are taken in first, so that no session expires whose sign has arrived | [`Views::take_signs`] |
//! | 5 | the next group, if the replica says that it is due (`replica/group_delay.rs`): in an ensemble outputs go out and what is committed is published first; then the log gets it | [`Log::write`] |
//! | 6 | outputs, in the order in which the replica gave them | [`Network`], [`Disk`] |
//! | 7 | what is committed goes to every view, in order; what a view has no room for waits here | [`Views::put`] |
//!
//! # What is durable when
//!
//! - A **group** is durable when [`Log`] says so, and the replica is informed only then. So no acknowledgement of it, to a
//!   leader, a learner or a client, exists before. There is one group in flight; outputs that were made before it go out
//!   while it is written.
//! - **Epochs** are on disk before any output that follows [`Output::SaveEpochs`] is carried out: a promise is sent after
//!   it is durable.
//! - A **tree** from the leader is whole, flushed, and named as incoming ([`Job::StoreTree`]) before the replica hears of
//!   it and has its base logged. Once the base is durable the tree gets its name ([`Output::FinishInstall`]), before the
//!   next group is written. A failed try is cleaned up, and the next one starts from nothing.
//! - A tree that a server alone is **restored** to goes the same way ([`Restores`]): the snapshot is flushed before the driver
//!   hears of it, and named as incoming once nothing waits for the log and no client is served any more.
//! - A **truncation** is durable in the log before snapshots above it are set aside and the disk is read again
//!   ([`Job::Reload`]); no group is written meanwhile.
//! - What is **read from the log** for a learner ends where the log was durable when the job began.
//!
//! # Errors
//!
//! A failed write or flush of the log or the epochs, and every other error after which it is not known what is on disk, is
//! a [`Fatal`]: the driver is not called again, and the process ends. A tree that cannot be stored, and a log that cannot
//! be read for a learner, are reported to the replica, which tries again or sends a tree. If no thread can be started for
//! a job, that counts as an error of its files.

mod hand_over;
mod jobs;
mod outputs;
mod restore;
mod snapshot;
mod snapshot_plan;
mod stages;
mod time;
mod turn;

pub use hand_over::{HandOvers, NotHandedOver};
pub use jobs::{Job, JobResult};
pub use outputs::{configurations, history};
pub use restore::Restores;
pub use snapshot::{ImageOrigin, Replaced, SnapshotSlices};
pub use snapshot_plan::SnapshotPlan;
pub use time::Signs;
pub use turn::{Driver, FSYNC_WARN_US, TICK_US, Turn};

use crate::admin::{FourLetterWord, Status};
use crate::config::Ensemble;
use crate::database::ReplayError;
use crate::proto::Zxid;
use crate::replica::{Answered, Deltas, Event, Now, Output, Port, Replica, Uplink};
use crate::storage::{self, Done, LogError, ReadError, RecoveryError};
use crate::wal::{Batch, Position};
use crate::zab::LinkId;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// What a driver runs in. Each part is asked for when it is needed; all may be the same value.
pub trait World {
    /// The clocks.
    type Clock: Clock;
    /// The log.
    type Log: Log;
    /// The views.
    type Views: Views;
    /// What only a member of an ensemble has.
    type Member: Network + Disk;

    /// The clocks.
    fn clock(&self) -> &Self::Clock;
    /// The log.
    fn log(&mut self) -> &mut Self::Log;
    /// The views.
    fn views(&mut self) -> &mut Self::Views;
    /// The other servers and this one's files; `None` for a server alone.
    fn member(&mut self) -> Option<&mut Self::Member>;
    /// Where trees come from that a server alone is restored to; `None` where it is to be restored to none.
    fn restores(&mut self) -> Option<&mut dyn Restores> {
        None
    }
    /// Where it comes from that a member is to hand over its lead; `None` where that cannot be asked for.
    fn hand_overs(&mut self) -> Option<&mut dyn HandOvers> {
        None
    }
    /// Writes what happened to the driver where an operator sees it.
    fn report(&mut self, notice: Notice);
}

/// Both clocks of a machine.
pub trait Clock {
    /// What both say.
    fn now(&self) -> Now;

    /// What the clock says that never goes back, in microseconds.
    fn mono_us(&self) -> i64 {
        self.now().mono_us
    }
}

/// Where groups become durable, one after the other.
pub trait Log {
    /// Has a group written and flushed. Gives it back where that is done already; else [`take_done`](Self::take_done) does.
    /// `here` says that the caller may wait for the disk.
    ///
    /// # Errors
    /// The log ends.
    fn write(&mut self, batch: Arc<Batch>, here: bool) -> Result<Option<Done>, LogError>;

    /// The group in flight, once it is durable.
    fn take_done(&mut self) -> Option<Done>;
}

/// The channels to and from views. They are numbered from 0 on.
pub trait Views {
    /// The next that a view has sent up.
    fn take_uplink(&mut self, view: usize) -> Option<Uplink>;

    /// Which clients of a view gave a sign of life since the last call.
    fn take_signs(&mut self, view: usize) -> Signs;

    /// Whether [`put`](Self::put) has room.
    fn has_room(&self, view: usize) -> bool;

    /// Gives a view what was committed, after what it was given before.
    ///
    /// # Panics
    /// Where there is no room.
    fn put(&mut self, view: usize, deltas: Arc<Deltas>);

    /// The log is durable through `zxid`: a snapshot as of it may have its name.
    fn set_durable(&mut self, zxid: Zxid);

    /// The text of a four-letter word's answer.
    fn render(&mut self, answered: Answered) -> Vec<u8>;

    /// The next question of the world's own: its number, the word that says what is wanted, and the mask that `stmk`
    /// brings.
    fn take_question(&mut self) -> Option<(u64, FourLetterWord, Option<i64>)>;

    /// The answer to one of these.
    fn tell(&mut self, number: u64, status: Box<Status>);

    /// Time has passed in the driver: a sign of life for what watches it.
    fn beat(&mut self) {}
}

/// The connections to the other servers.
pub trait Network {
    /// The ensemble's configuration is this one; `next` is proposed in this server's log, `heard` in another one's. Servers of all may be
    /// connected to.
    fn configure(&mut self, active: &Ensemble, next: Option<&Ensemble>, heard: Option<&Ensemble>);

    /// Connects to a port of a server; [`LinkEvent::Connected`] or [`LinkEvent::Closed`] follows.
    fn connect(&mut self, link: LinkId, sid: i64, port: Port);

    /// The same for the election port of a server that no configuration names, which says that it is at `at`, host and
    /// port.
    fn connect_at(&mut self, link: LinkId, sid: i64, at: (String, u16));

    /// Sends bytes after all that was sent before; does nothing where the connection is gone.
    fn send(&mut self, link: LinkId, bytes: Bytes);

    /// Sends the tree that [`Disk::make_tree`] makes for this learner, as it is made; nothing goes past it. Where there is
    /// none any more the connection ends, or has ended.
    fn send_tree(&mut self, link: LinkId);

    /// Ends a connection, or gives an attempt up, and with it the tree that is made for it.
    fn close(&mut self, link: LinkId);

    /// Whether there is that connection.
    fn has(&self, link: LinkId) -> bool;

    /// Has what was sent taken by the connections, as far as they take it now.
    fn flush(&mut self);

    /// A connection that has taken bytes.
    fn next_taken(&mut self) -> Option<Taken>;

    /// The next connection that came, was made or ended.
    fn next_event(&mut self) -> Option<LinkEvent>;

    /// Whether [`next_event`](Self::next_event) has something that no wait tells of.
    fn has_news(&self) -> bool;

    /// Gives the replica what has come, asking [`Replica::may_receive`] before each piece; says whether there is more.
    fn receive(&mut self, replica: &mut Replica, now: Now) -> bool;

    /// What the oracle of two voters says: whether this server may lead without the other one; `None` without an oracle.
    fn oracle(&self) -> Option<bool> {
        None
    }

    /// All outputs of a turn were carried out; `replica` is as it stays until the next one.
    fn turn_ended(&mut self, _replica: &Replica) {}

    /// Writes what happened to this member where an operator sees it: in the log, or in the simulator's trace.
    fn report(&mut self, event: &Event);
}

/// A member's files, and the helpers that work on them beside the driver.
///
/// # Errors
/// Those of the system.
pub trait Disk {
    /// The files.
    type Storage: storage::Storage;
    /// A view's image of its tree, for a learner.
    type Image;

    /// The files.
    fn storage(&self) -> &Self::Storage;

    /// Makes durable what this server promises.
    fn save_epochs(&mut self, epochs: &storage::Epochs) -> io::Result<()> {
        epochs.write(self.storage())
    }

    /// Gives the incoming snapshot at `zxid` its name; its base in the log ends at `base`.
    fn adopt(&mut self, zxid: Zxid, base: Position) -> io::Result<()> {
        storage::adopt(self.storage(), zxid, base)
    }

    /// Begins a job; [`Arrival::Done`] follows with what came of it ([`Job::run`]).
    ///
    /// # Errors
    /// The system has no thread to give: nothing follows.
    fn begin(&mut self, job: Job) -> io::Result<()>;

    /// Begins to make the bytes of a tree for a learner; [`Arrival::TreeReady`] follows once the first of them are there,
    /// or where there will be none.
    fn make_tree(&mut self, link: LinkId, image: Self::Image);

    /// What others have for the driver.
    fn next_arrival(&mut self) -> Option<Arrival<Self::Image>>;
}

/// Something a connection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A peer connected to this port.
    Accepted(LinkId, Port),
    /// A peer was reached.
    Connected(LinkId),
    /// The connection ended, or the attempt failed.
    Closed(LinkId),
}

/// What a connection has taken of what was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub link: LinkId,
    /// All bytes.
    pub bytes: usize,
    /// Those that belong to no tree.
    pub messages: usize,
}

/// What others have for the driver.
#[derive(Debug)]
pub enum Arrival<Image> {
    /// A view has begun an image for this learner.
    Image(LinkId, Image),
    /// The bytes of a tree for this learner begin to be there; it is as of that zxid.
    TreeReady(LinkId, Zxid),
    /// A job is done; it took so many microseconds.
    Done(JobResult, u64),
}

/// Something for people.
#[derive(Debug)]
pub enum Notice {
    /// The driver was not called for so long, in milliseconds.
    StoodStill(i64),
    /// A view did nothing for so long, in milliseconds; sessions are given that time.
    ViewStoodStill(i64),
    /// It is not known whether the log can be cut after this zxid, so the leader is told that it cannot.
    TruncationUnknown(Zxid, io::Error),
    /// The log cannot be read for a learner, which gets a tree.
    LogUnread(ReadError),
}

/// Why a replica cannot be driven on. The process ends, and the next start finds what is on disk.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What is promised cannot be made durable.
    #[error("epochs cannot be written: {0}: nothing may be promised without")]
    Epochs(#[source] io::Error),
    /// The log begins with a tree that cannot be given its name.
    #[error("the snapshot at {0}, with which the log begins, cannot be given its name: {1}")]
    Install(Zxid, #[source] io::Error),
    /// The log holds what does not fit the tree.
    #[error("{0}: this server's tree is not its leader's; remove its data, and it takes the leader's")]
    Diverged(ReplayError),
    /// What is on disk after a truncation cannot be read.
    #[error(transparent)]
    Reload(#[from] RecoveryError),
    /// The same, for lack of a thread.
    #[error("no thread to read the disk again: {0}")]
    NoReload(#[source] io::Error),
}

/// A deliberate bug of the driver, to see that seeds notice it.
#[cfg(any(test, feature = "sim"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A group counts as durable in the turn after it was given to the log: what acknowledges it goes out before the flush.
    DurableNextTurn,
    /// Epochs are written one change late: a promise is sent before it is on disk.
    EpochsLate,
    /// A tree from the leader counts as stored, and is not on disk.
    TreeNotKept,
    /// What a view has no room for is overtaken by what comes later.
    BacklogOvertaken,
}
