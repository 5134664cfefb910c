//! How a process ends, and at which step of its work a script ends it.

/// How soon a process whose disk failed is started again.
pub(super) const RESTART_US: u64 = 300_000;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process alone: its connections are closed, its files are as it wrote them.
    Killed,
    /// The machine: the other sides are not told, and what was not flushed may be gone.
    PowerOff,
}

/// A place in what a server does at which it may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Before epochs are saved.
    SaveEpochs,
    /// They are durable, and nothing that follows is done.
    EpochsSaved,
    /// Before a group is written.
    Write,
    /// It is written and not flushed.
    Written,
    /// It is durable, and the driver does not know.
    Flushed,
    /// The same of a marker.
    Marked,
    /// A tree has come in whole, and is not on disk.
    StoreTree,
    /// It is, and the log knows nothing of it.
    TreeStored,
    /// The log begins with it, and it has no name.
    FinishInstall,
    /// It has its name.
    Installed,
    /// The log is truncated, and the tree is not read again.
    Reload,
    /// An image goes to a learner, and what follows it does not.
    ImageSent,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SaveEpochs,
        Self::EpochsSaved,
        Self::Write,
        Self::Written,
        Self::Flushed,
        Self::Marked,
        Self::StoreTree,
        Self::TreeStored,
        Self::FinishInstall,
        Self::Installed,
        Self::Reload,
        Self::ImageSent,
    ];
}

/// How a process ends, and after how long it is started again; not at all for `None`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub how: Stop,
    pub back_us: Option<u64>,
}
