//! Clients that attach to their session while a former connection of it is still open.

use super::{CnxnId, What};

/// A client that attaches to its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attach {
    pub cnxn: CnxnId,
    pub session_id: i64,
    pub timeout_ms: i32,
}

/// Attachments that wait until the session's former connection is silent.
///
/// Invariant: of a session's attachments only the last one to come is granted, after every connection that
/// had the session before has said that it sends nothing any more.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    waiting: Vec<(CnxnId, Attach)>,
}

impl Fencing {
    /// `attach` waits for `former`.
    pub fn wait(&mut self, former: CnxnId, attach: Attach) {
        self.waiting.push((former, attach));
    }

    /// Attachments that still wait.
    pub fn into_waiting(self) -> impl Iterator<Item = Attach> {
        self.waiting.into_iter().map(|(_, attach)| attach)
    }

    /// `former` sends nothing any more: who is to be told what, given each session's `owner`.
    pub fn fenced(
        &mut self,
        former: CnxnId,
        owner: impl Fn(i64) -> Option<CnxnId>,
        mut tell: impl FnMut(CnxnId, What),
    ) {
        while let Some(at) = self.waiting.iter().position(|(waits_for, _)| *waits_for == former) {
            let (_, attach) = self.waiting.swap_remove(at);
            let Attach { cnxn, session_id, timeout_ms } = attach;
            // Views say so in any order: one that was overtaken may still wait for the session's first.
            let of_session = |(_, other): &&(CnxnId, Attach)| other.session_id == session_id;
            if owner(session_id) == Some(cnxn.owner())
                && let Some(&(waits_for, _)) = self.waiting.iter().find(of_session)
            {
                self.waiting.push((waits_for, attach));
                continue;
            }
            let what = match owner(session_id) == Some(cnxn.owner()) {
                true => What::Attached { session_id, timeout_ms },
                false => What::Refused { session_id },
            };
            tell(cnxn, what);
        }
    }
}
