//! One request, as the engine remembers it until its reply comes.

/// Kinds of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// getData of a prepared key.
    #[default]
    Get,
    /// setData of a prepared key.
    Set,
    /// create of a znode that does not exist.
    Create,
    /// create2 of an ephemeral that does not exist.
    Ephemeral,
    /// delete of that ephemeral.
    Delete,
    /// multi of setDatas of neighbouring keys.
    Multi,
    /// sync, before a get.
    Sync,
    /// getData after a sync.
    SyncedGet,
    /// getChildren of a prepared parent.
    List,
    /// Joins the queue of a lock: create of a sequential ephemeral.
    Join,
    /// Lists the queue of a lock: getChildren.
    Queue,
    /// Watches the previous znode in the queue of a lock: getData.
    Previous,
    /// Changes the znode of a lock: setData with the version that it must have.
    Claim,
    /// Releases a lock: delete.
    Leave,
    /// Deletes a znode that a lost connection left in the queue of a lock.
    Sweep,
    /// Reads and watches the znode of a fan-out: getData.
    Arm,
    /// Changes the znode of a fan-out: setData.
    Notify,
    /// closeSession.
    Close,
}

/// One request: its kind, its znode, and what its reply must show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Op {
    /// Its kind.
    pub kind: Kind,
    /// Number of the parent or of the lock; operations of a multi.
    pub group: u32,
    /// Number of the znode, or of a fan-out's change.
    pub leaf: u32,
    /// Bytes of data that it writes.
    pub bytes: u32,
    /// The oldest zxid that the reply may show; for [`Kind::Claim`] the version that the znode must have.
    pub since: i64,
}
