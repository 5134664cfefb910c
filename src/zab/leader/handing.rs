//! What a leader knows of its hand-over, and why there is none.

use crate::proto::{ServerId, Zxid};
use crate::zab::LinkId;
use std::collections::BTreeSet;

/// A leader's hand-over.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    pub under_way: Option<UnderWay>,
    /// Connections that were told of it, and when.
    pub told: BTreeSet<LinkId>,
    pub told_ms: i64,
    /// One of a leader to itself came to nothing.
    pub is_renewal_given_up: bool,
}

/// One that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    /// The next leader.
    pub to: ServerId,
    /// When it is given up.
    pub until_ms: i64,
    /// The newest proposal when it began.
    pub from: Zxid,
    /// The ping that the next leader answers first.
    pub round: u64,
    /// Nothing more is to be proposed.
    pub is_barred: bool,
}

/// Why a server does not hand over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// It leads no ensemble.
    #[error("this server does not lead: {}", leads(*.0))]
    NotLeading(Option<ServerId>),
    /// It is asked to hand over to itself.
    #[error("server {0} leads already")]
    LeadsAlready(ServerId),
    /// Another one was asked for before.
    #[error("server {0} is about to lead")]
    UnderWay(ServerId),
    /// No configuration names the server.
    #[error("the configuration names no server {0}")]
    Unknown(ServerId),
    /// It is an observer, or has no weight.
    #[error("server {0} has no vote, or one without weight")]
    NoVote(ServerId),
    /// It does not follow, or is brought up to date.
    #[error("server {0} is not in step")]
    NotInStep(ServerId),
    /// It is ZooKeeper's own server.
    #[error("server {0} is ZooKeeper's own: an election makes it the leader, a hand-over cannot")]
    OfJava(ServerId),
    /// No server was asked for, and none will do.
    #[error("no zkfast follower with a vote is in step")]
    NoFollower,
}

fn leads(leader: Option<ServerId>) -> String {
    leader.map_or_else(|| "no leader is known".to_owned(), |leader| format!("server {leader} does"))
}

/// A hand-over that came to nothing: the leader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The server that was to lead.
    pub to: ServerId,
    /// Whether it went, was given another role, or has not acknowledged all in time.
    pub is_gone: bool,
}
