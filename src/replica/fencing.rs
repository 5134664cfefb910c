//! Clients that attach to their session while a former connection of it is still open.

use super::{CnxnId, SessionKind};
use crate::proto::{ErrorCode, OpCode, Reader, SessionId};

/// A client that attaches to its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attach<O = CnxnId> {
    /// Where it comes from: a leader's may come from learners.
    pub cnxn: O,
    pub session_id: SessionId,
    pub timeout_ms: i32,
}

/// The cxid of the txn by which a client attaches to its session through the server `sid`: negative, as no client's and
/// none of ZooKeeper's servers is.
pub(super) fn attachment_cxid(sid: u32) -> i32 {
    i32::MIN | (sid & SID_MASK) as i32
}

/// The server of [`attachment_cxid`]; `None` of a txn that a server made which did not tell.
pub(super) fn attachment_sid(cxid: i32) -> Option<u32> {
    (cxid < 0).then_some(cxid as u32 & SID_MASK)
}

/// Ids of servers have fewer bits.
const SID_MASK: u32 = i32::MAX as u32;

/// Whether a txn refuses a request since its session has moved; `txn` comes after its header.
pub(super) fn is_refused_as_moved(op: OpCode, mut txn: Reader<'_>) -> bool {
    let is_moved =
        |txn: &mut Reader<'_>| txn.int().is_ok_and(|code| code == ErrorCode::SessionMoved.to_wire());
    match op {
        OpCode::ERROR => is_moved(&mut txn),
        OpCode::MULTI => {
            let count = txn.count(8).ok().flatten().unwrap_or(0);
            (0..count).any(|_| {
                let (op, record) = (txn.int(), txn.buffer());
                op == Ok(OpCode::ERROR.0)
                    && is_moved(&mut Reader::new(record.ok().flatten().unwrap_or_default()))
            })
        }
        _ => false,
    }
}

/// Attachments that wait until the session's former connection is silent.
///
/// Invariant: of a session's attachments only the last one to come is granted, after the views of all connections that
/// had the session before have said that these send nothing any more. A learner is granted one that was overtaken, too:
/// nothing is done that comes through it.
#[derive(Debug)]
pub(super) struct Fencing<O = CnxnId> {
    waiting: Vec<(CnxnId, Attach<O>)>,
}

impl<O> Default for Fencing<O> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<O: Copy> Fencing<O> {
    /// `attach` waits for `former`.
    pub fn wait(&mut self, former: CnxnId, attach: Attach<O>) {
        self.waiting.push((former, attach));
    }

    /// The same, each with the connection that it waits for.
    pub fn into_all(self) -> impl Iterator<Item = (CnxnId, Attach<O>)> {
        self.waiting.into_iter()
    }

    /// Attachments that still wait.
    pub fn into_waiting(self) -> impl Iterator<Item = Attach<O>> {
        self.waiting.into_iter().map(|(_, attach)| attach)
    }

    /// `former` sends nothing any more: calls `answer` with each connection that has waited for it and its answer. `is_owner` is
    /// true if the session still belongs to the one that attaches, `is_valid` if the answer is yes even so.
    pub fn fenced(
        &mut self,
        former: CnxnId,
        is_owner: impl Fn(&Attach<O>) -> bool,
        is_valid: impl Fn(&Attach<O>) -> bool,
        mut answer: impl FnMut(O, SessionKind),
    ) {
        while let Some(at) = self.waiting.iter().position(|(waits_for, _)| *waits_for == former) {
            let (_, attach) = self.waiting.swap_remove(at);
            let Attach { cnxn, session_id, timeout_ms } = attach;
            // Views say so in any order: an attachment that was overtaken may still wait for the session's first connection.
            let of_session = |(_, other): &&(CnxnId, Attach<O>)| other.session_id == session_id;
            let is_owner = is_owner(&attach);
            if is_owner && let Some(&(waits_for, _)) = self.waiting.iter().find(of_session) {
                self.waiting.push((waits_for, attach));
                continue;
            }
            // A connection of this server was fenced when it was overtaken. A learner's was not, and a learner can only
            // be told that the session is gone, which it is not. So it hears yes. It has seen the txn of the attachment
            // that came later, if that was another server's, and ends the connection; a Java server refuses what it asks.
            // Source: `Leader.revalidateSession`, which says yes to every server that asks while the session lives.
            let what = match is_owner || is_valid(&attach) {
                true => SessionKind::Attached { session_id, timeout_ms },
                false => SessionKind::Refused { session_id },
            };
            answer(cnxn, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Origin, SessionOwner};

    /// The cxid of an attachment tells the server, is none that a client sends, and is told from the 0 of other servers.
    #[test]
    fn cxid_of_an_attachment() {
        for sid in [0, 1, 255] {
            assert!(attachment_cxid(sid) < -8);
            assert_eq!(attachment_sid(attachment_cxid(sid)), Some(sid));
        }
        assert_eq!(attachment_sid(0), None);
    }

    /// An attachment that was overtaken by one through another server hears no "gone" while its session lives; there
    /// is no other answer for a learner. Its own server's connections were fenced when they were overtaken.
    #[test]
    fn overtaken_is_not_gone() {
        let former = CnxnId { view: 0, slot: 1, generation: 1 };
        let (here, there) =
            (Origin::Client(CnxnId { slot: 2, ..former }), Origin::Learner { learner: 1, sid: 6 });
        let winner = Origin::Learner { learner: 2, sid: 7 };
        let told = |cnxn: Origin, owner: Option<SessionOwner>, is_alive: bool| {
            let mut fencing = Fencing::default();
            fencing.wait(former, Attach { cnxn, session_id: SessionId(5), timeout_ms: 800 });
            let mut told = Vec::new();
            fencing.fenced(
                former,
                |attach| owner == Some(attach.cnxn.owner()),
                |attach| attach.cnxn.learner().is_some() && is_alive,
                |cnxn, what| told.push((cnxn, format!("{what:?}"))),
            );
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].0, cnxn);
            told[0].1.clone()
        };
        let attached = |cnxn, owner, is_alive| told(cnxn, owner, is_alive).starts_with("Attached");
        assert!(attached(there, Some(there.owner()), true));
        assert!(attached(there, Some(winner.owner()), true));
        assert!(!attached(there, Some(winner.owner()), false));
        assert!(!attached(there, None, false));
        assert!(!attached(here, Some(winner.owner()), true));
    }
}
