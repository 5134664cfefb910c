//! A member without a leader whose log is behind.

use super::common::Context;
use super::install::Unfinished;
use super::log_queue::LogQueue;
use super::next::Next;
use crate::database::Database;
use crate::replica::follow::Follow;

/// It has no leader, and the next election waits for the log.
#[derive(Debug)]
pub(super) struct Settling {
    pub follow: Box<Follow>,
    /// What a former leader wanted and the disk is carrying out.
    pub unfinished: Option<Unfinished>,
}

impl Settling {
    pub fn new(follow: Box<Follow>) -> Self {
        Self { follow, unfinished: None }
    }

    /// True once the log has everything and nothing is under way for a former leader: what this server votes with is
    /// what its log holds.
    pub fn may_vote(&self, log: &LogQueue) -> bool {
        self.unfinished.is_none() && log.is_idle()
    }

    /// Goes on with another tree, which the log ends with.
    pub fn adopt(&mut self, restored: Database, cx: &mut Context<'_>) -> Next {
        cx.adopt(&mut self.follow, restored);
        Next::StartElection
    }
}
