//! How far a restore of a server alone is; [`restore`](super::restore) says how it goes.

use crate::database::Database;
use crate::proto::Zxid;

/// How far a restore is.
#[derive(Debug)]
pub(super) enum Restoring {
    /// What was proposed becomes durable.
    Draining(Box<Database>),
    /// The shell gives the tree's snapshot the name under which it waits for its base.
    Drained(Box<Database>),
    /// The log is being told where it begins.
    Basing(Box<Database>),
    /// It was told.
    Based(Box<Database>),
}

/// What the shell is to do next for a restore, with the tree at this zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreStep {
    /// The tree is not above all that the server has made since it was asked how far it is: it is refused, and nothing has
    /// happened. The tree's zxid, and the log's last one.
    Refuse(Zxid, Zxid),
    /// Name its snapshot as incoming, where the log ends now. [`Replica::restore_stored`](super::Replica::restore_stored) or
    /// [`Replica::restore_failed`](super::Replica::restore_failed) follows.
    Store(Zxid),
    /// Give the snapshot its own name. [`Replica::finish_restore`](super::Replica::finish_restore) follows.
    Adopt(Zxid),
}
