//! What follows from an event, and what comes late.

use crate::zab::election::Output as ElectionOutput;
use crate::zab::leader::LeaderOutput;
use crate::zab::learner::LearnerOutput;

/// What follows from an event.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing.
    Done,
    /// Nothing: the event is of something that has ended.
    Late(Late),
    /// The election port has said this.
    Election(std::vec::IntoIter<ElectionOutput>),
    /// The leader's machine has said this.
    Leader(std::vec::IntoIter<LeaderOutput>),
    /// The learner's machine has said this.
    Learner(std::vec::IntoIter<LearnerOutput>),
    /// The server leaves its leader, or leads no longer: why.
    LeaveRole(String),
    /// The log, or the disk, may be done with what the next election waits for.
    StartElection,
}

/// What comes legally late. An event crosses the message that ends what it is about: the shell carries out outputs in their
/// order, and only after the call that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Bytes of a connection that this server has left: its end is on the way to the shell.
    BytesOfLeftLink,
    /// The end of a connection that this server has left.
    EndOfLeftLink,
    /// A view has begun an image for a learner of a lead that is over.
    ImageOfFormerLead,
    /// The log has searched or read for a learner of a lead that is over.
    LogOfFormerLead,
    /// The disk was asked about a truncation that a former leader wanted.
    TruncationOfFormerLeader,
    /// A learner asks for something before the epoch begins. A zkfast server sends signs of life then, and all sessions get
    /// their full time once the epoch has begun; others send nothing.
    AskedBeforeEpoch,
    /// A learner that is gone has asked; it asks again if it comes back.
    AskedByLostLearner,
}

impl Next {
    pub fn election(out: Vec<ElectionOutput>) -> Self {
        if out.is_empty() { Self::Done } else { Self::Election(out.into_iter()) }
    }

    pub fn leader(out: Vec<LeaderOutput>) -> Self {
        if out.is_empty() { Self::Done } else { Self::Leader(out.into_iter()) }
    }

    /// Also without an output: the follower's packets to its leader go after them.
    pub fn learner(out: Vec<LearnerOutput>) -> Self {
        Self::Learner(out.into_iter())
    }

    pub fn leave_role(why: &dyn std::fmt::Display) -> Self {
        Self::LeaveRole(why.to_string())
    }
}
