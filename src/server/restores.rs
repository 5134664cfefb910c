//! Trees that operators bring by HTTP, on their way to the commit side of a server alone.

use super::files::DataDir;
use super::logging::Text;
use super::mailbox::{self, Deliver};
use super::spsc::Notify;
use crate::database::Database;
use crate::driver;
use crate::proto::Zxid;
use crate::storage::{self, Epochs, Incoming};
use crate::wal::Position;
use std::fmt;
use std::io;

/// Trees that may wait for the one that is being restored.
const WAITING_MAX: usize = 1;

/// A tree that is to take the place of what there is.
pub struct Restore {
    /// The tree. Its zxid is above all that the server makes until it has it.
    pub tree: Box<Database>,
    /// Its snapshot, written and flushed.
    pub incoming: Incoming<DataDir>,
    /// Gets what became of it, on the commit thread.
    pub answer: Deliver<io::Result<()>>,
}

impl fmt::Debug for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore").field("zxid", &self.tree.zxid).finish_non_exhaustive()
    }
}

/// Brings trees.
pub type Restores = mailbox::Sender<Restore>;

/// The commit shard's end.
pub struct Arrived {
    receiver: mailbox::Receiver<Restore>,
    dir: DataDir,
    /// The snapshot of the tree that is being restored, until it is named, and who wants to hear of it.
    incoming: Option<Incoming<DataDir>>,
    answer: Option<Deliver<io::Result<()>>>,
    /// Of the tree's zxid.
    epoch: u32,
}

impl Arrived {
    /// Where the server was a member of an ensemble before, and may become one again: its epochs keep up with the zxids of
    /// the tree, so that the next leader's are above these. Without a file, a start takes them from the tree.
    fn raise_epochs(&self) -> io::Result<()> {
        let Some(epochs) = Epochs::read(&self.dir).map_err(io::Error::other)? else { return Ok(()) };
        let (accepted, current) = (epochs.accepted.max(self.epoch), epochs.current.max(self.epoch));
        Epochs { accepted, current, ..epochs }.write(&self.dir)
    }
}

impl driver::Restores for Arrived {
    fn next(&mut self) -> Option<Box<Database>> {
        let Restore { tree, incoming, answer } = self.receiver.take()?;
        (self.incoming, self.answer) = (Some(incoming), Some(answer));
        self.epoch = tree.zxid.epoch();
        Some(tree)
    }

    fn store(&mut self, log: Position) -> io::Result<()> {
        self.raise_epochs()?;
        self.incoming.take().expect("a tree came with its snapshot").finish(log)
    }

    fn adopt(&mut self, zxid: Zxid, base: Position) -> io::Result<()> {
        storage::adopt(&self.dir, zxid, base)
    }

    fn tell(&mut self, restored: io::Result<()>) {
        // The client that brought it may be gone.
        if restored.is_ok() {
            log::warn!(target: "snapshot", "tree replaced: epoch={} clients={}", self.epoch, Text("dropped, they come again"));
        }
        let answer = self.answer.take().expect("a tree came from someone");
        answer(restored);
    }
}

/// Both ends; `notify` wakes the commit shard, and `dir` has the server's files.
pub fn channel(notify: Notify, dir: DataDir) -> (Restores, Arrived) {
    let (restores, receiver) = mailbox::channel("restore", WAITING_MAX, notify);
    (restores, Arrived { receiver, dir, incoming: None, answer: None, epoch: 0 })
}
