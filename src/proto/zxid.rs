//! Transaction ids, and the epochs that they begin with.

use std::fmt;

/// Transaction id: the leader's epoch in the high 32 bits, the txn's place in it in the low 32.
/// One number on the wire and in order. Source: `ZxidUtils`, Apache ZooKeeper 3.9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Self = Self(0);

    /// The `counter`-th transaction of `epoch`.
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self(((epoch as u64) << 32) | counter as u64)
    }

    /// The leader's epoch.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The transaction's place in its epoch, from 1.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid of this epoch; `None` once the counter is spent and a new epoch is due.
    pub fn next(self) -> Option<Self> {
        Some(Self::new(self.epoch(), self.counter().checked_add(1)?))
    }

    /// As jute's `long`.
    pub const fn to_wire(self) -> i64 {
        self.0 as i64
    }

    /// From jute's `long`.
    pub const fn from_wire(value: i64) -> Self {
        Self(value as u64)
    }
}

/// The number of a leader's reign: each new leader has a higher one. The high 32 bits of a zxid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// Before every leader.
    pub const ZERO: Self = Self(0);

    /// The epoch of a zxid.
    pub const fn of(zxid: Zxid) -> Self {
        Self(zxid.epoch())
    }

    /// The start of the epoch, which is no txn's zxid: what packets carry that are about the epoch.
    pub const fn start(self) -> Zxid {
        Zxid::new(self.0, 0)
    }

    /// The next epoch.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl From<Epoch> for i64 {
    fn from(epoch: Epoch) -> Self {
        epoch.0.into()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}
