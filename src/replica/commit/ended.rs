//! Sessions of the ensemble that have ended lately: what a learner still forwards for one is not taken for a request of a
//! session that only the learner knows.

use crate::proto::SessionId;
use std::collections::{BTreeSet, VecDeque};

/// How many are remembered. A learner forwards nothing of a session once it has applied the txn that ends it, and no
/// learner is so many txns behind and in step.
const ENDED_MAX: usize = 1 << 16;

/// The last sessions that ended, of a leader whose learners may have local ones.
#[derive(Debug, Default)]
pub(super) struct Ended {
    ids: BTreeSet<SessionId>,
    /// Oldest first.
    order: VecDeque<SessionId>,
}

impl Ended {
    /// A session has ended.
    pub fn note(&mut self, session_id: SessionId) {
        if self.ids.insert(session_id) {
            self.order.push_back(session_id);
        }
        if self.order.len() > ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        assert_eq!(self.ids.len(), self.order.len(), "ended sessions are listed once");
    }

    /// Whether it has.
    pub fn contains(&self, session_id: SessionId) -> bool {
        self.ids.contains(&session_id)
    }
}
