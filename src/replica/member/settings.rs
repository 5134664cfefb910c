//! How a server is a member, and what it is to its ensemble.

use crate::zab::leader::Membership;

/// How a server is a member.
#[derive(Clone, Debug)]
pub struct MemberSettings {
    /// What leaders and learners are told.
    pub membership: Membership,
    /// Whether it follows without a vote.
    pub is_observer: bool,
    /// Where its election port is, for the others: `host:port`.
    pub election_address: String,
    /// Whether clients may read while it has no leader: `readonlymode.enabled`.
    pub read_only_mode: bool,
    /// Whether its data was lost or damaged: it may have acknowledged what it does not know any more. It does not vote
    /// until a leader has given it everything.
    pub repairing: bool,
    /// What it does beside voting, leading and following.
    pub duties: Duties,
}

/// What a member does beside voting, leading and following.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duties {
    /// `leaderServes`: clients are served also while it leads.
    pub leader_serves: bool,
    /// `observerMasterPort` is set: a follower serves observers, and an observer connects to followers. These are the bytes
    /// of txns that a follower keeps for them.
    pub observer_master_bytes: Option<usize>,
    /// `observer.reconnectDelayMs`
    pub reconnect_delay_ms: i64,
}

impl Default for Duties {
    fn default() -> Self {
        Self { leader_serves: true, observer_master_bytes: None, reconnect_delay_ms: 0 }
    }
}

/// What a server is to its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no ensemble.
    Alone,
    /// Without a leader.
    Looking,
    /// Without a leader, and clients may read.
    ReadOnly,
    /// Leads, and clients are served.
    Leading,
    /// Follows, and clients are served.
    Following,
    /// The same without a vote.
    Observing,
}
