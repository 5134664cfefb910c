//! How a server alone replaces what it has by a tree that an operator brings.
//!
//! ```text
//! Draining --> Drained ---> Basing --> Based ---> the tree is adopted
//!                 `--- the disk does not take it: the server goes on with what it had
//! ```
//!
//! Draining ends once everything that was proposed is durable and published: clients have their answers. Then they are
//! dropped, and no txn is made before the end. The tree is on disk before the log begins anew with it, which decides: a
//! start after a crash finds the former tree until then, and the new one from then on.

use super::publisher::Publisher;
use super::restoring::{RestoreStep, Restoring};
use super::{LogQueue, Proposer, Replica, Role};
use crate::database::Database;
use crate::replica::core::Core;
use crate::replica::{ControlKind, Now, Restart};
use crate::wal::Marker;
use std::sync::Arc;

impl Replica {
    /// Begins to replace what there is by `restored`, whose zxid is above all that this server, alone, makes before; else it
    /// is refused.
    /// [`Replica::next_restore_step`] says what is to be done, and when.
    pub fn restore(&mut self, restored: Box<Database>) {
        assert!(matches!(self.role, Role::Alone(_)), "a member is restored to {}", restored.zxid);
        assert!(self.restoring.is_none(), "two restores at once, to {}", restored.zxid);
        self.restoring = Some(Restoring::Draining(restored));
    }

    /// Whether a restore is under way.
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// Whether txns may be made.
    pub(super) fn makes_txns(&self) -> bool {
        matches!(self.restoring, None | Some(Restoring::Draining(_)))
    }

    /// What the shell is to do now; to be called in each turn of a restore.
    pub fn next_restore_step(&mut self) -> Option<RestoreStep> {
        match self.restoring.take()? {
            Restoring::Draining(restored) if self.is_drained() => {
                let (zxid, last) = (restored.zxid, self.log.appended());
                if zxid <= last {
                    return Some(RestoreStep::Refuse(zxid, last));
                }
                self.publisher.drop_clients_alone(self.role.core_mut());
                self.restoring = Some(Restoring::Drained(restored));
                Some(RestoreStep::Store(zxid))
            }
            Restoring::Based(restored) => {
                let zxid = restored.zxid;
                self.restoring = Some(Restoring::Based(restored));
                Some(RestoreStep::Adopt(zxid))
            }
            other => {
                self.restoring = Some(other);
                None
            }
        }
    }

    /// Whether all that was submitted is durable and published.
    fn is_drained(&self) -> bool {
        let is_checked = self.proposer().is_some_and(|proposer| proposer.commit.has_room());
        is_checked && self.proposer().is_none_or(Proposer::is_idle) && self.is_logged()
    }

    /// The snapshot is durable as an incoming one.
    pub fn restore_stored(&mut self) {
        let Some(Restoring::Drained(restored)) = self.restoring.take() else {
            panic!("a tree is stored that is not waited for")
        };
        self.log.append_marker(Marker::Base { at: restored.zxid });
        self.restoring = Some(Restoring::Basing(restored));
    }

    /// The snapshot could not be named: the server goes on with what it has.
    pub fn restore_failed(&mut self) {
        let failed = self.restoring.take();
        assert!(matches!(failed, Some(Restoring::Drained(_))), "a restore fails that is not at the disk");
        self.publisher.open();
    }

    /// The log has the marker.
    pub(super) fn restore_based(&mut self) {
        let Some(Restoring::Basing(restored)) = self.restoring.take() else {
            panic!("a marker in the log of a server alone, which restores nothing")
        };
        self.restoring = Some(Restoring::Based(restored));
    }

    /// The snapshot has its name: the server goes on with its tree. Its sessions begin with their full timeouts.
    pub fn finish_restore(&mut self, now: Now) {
        let Some(Restoring::Based(restored)) = self.restoring.take() else {
            panic!("a restore ends that is not in the log")
        };
        let Self { role: Role::Alone(proposer), log, publisher, .. } = self else {
            panic!("a member is restored to {}", restored.zxid)
        };
        adopt(proposer, log, publisher, *restored, now);
        self.check();
    }
}

/// Goes on with another tree, which the log begins with.
fn adopt(
    proposer: &mut Proposer,
    log: &mut LogQueue,
    publisher: &mut Publisher,
    restored: Database,
    now: Now,
) {
    let shown = (restored.zxid, restored.tree.digest());
    let sessions = restored.sessions.clone();
    log.restart_at(restored.zxid);
    // Of the tree before.
    publisher.publish_words(proposer.commit.core_mut());
    proposer.commit.reset(restored, now);
    let core: &mut Core = proposer.commit.core_mut();
    let restart = Restart { tree: core.tree.for_view(), sessions };
    publisher.restart(shown, ControlKind::Reset(Arc::new(restart)));
    publisher.open();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{SessionId, Zxid};
    use crate::replica::tests::{settings, tree_settings};
    use crate::replica::{CnxnId, Deltas, EntryKind, SessionKind, Uplink, ViewRequest};
    use std::collections::BTreeMap;

    fn at(ms: i64) -> Now {
        Now { mono_us: ms * 1000, wall_ms: 1_700_000_000_000 + ms }
    }

    fn connect(slot: u32, generation: u32) -> Uplink {
        let cnxn = CnxnId { view: 0, slot, generation: 1 };
        let (password, last_zxid_seen) = (Box::from([]), Zxid::ZERO);
        let session_id = SessionId::NONE;
        let item = ViewRequest::Connect { cnxn, session_id, password, timeout_ms: 9_000, last_zxid_seen };
        Uplink { items: vec![item], serving_generation: generation, ..Uplink::default() }
    }

    fn published(replica: &mut Replica) -> Vec<String> {
        let all: Vec<Deltas> = std::iter::from_fn(|| replica.take_published()).collect();
        let entries = all.iter().flat_map(|deltas| &deltas.entries);
        let name = |what: &EntryKind| match what {
            EntryKind::Session(SessionKind::Created { .. }) => "created".to_owned(),
            EntryKind::Control(ControlKind::Serving(serving)) => format!("serving {serving:?}"),
            EntryKind::Control(ControlKind::Reset(restart)) => format!("{} sessions", restart.sessions.len()),
            other => format!("{other:?}"),
        };
        entries.map(|entry| format!("{} {}", entry.zxid, name(&entry.what))).collect()
    }

    fn write(replica: &mut Replica, now: Now) -> bool {
        let Some(group) = replica.take_group(now) else { return false };
        replica.durable(group, now);
        true
    }

    fn restored() -> Box<Database> {
        let sessions = BTreeMap::from([(SessionId(0x77), 9_000)]);
        Box::new(Database { zxid: Zxid::new(3, 1), sessions, ..Database::fresh(tree_settings()) })
    }

    /// What was asked before is answered, what comes meanwhile is not; then views have the other tree, and zxids go on after
    /// it.
    #[test]
    fn answers_drop_replace() {
        let mut replica = Replica::alone(settings(), Arc::default(), Database::fresh(tree_settings()), at(0));
        replica.submit(at(1), connect(0, 0));
        replica.restore(restored());
        assert_eq!(replica.next_restore_step(), None, "a session is not durable yet");
        assert!(!replica.takes_uplinks());
        assert!(write(&mut replica, at(2)));
        assert_eq!(replica.next_restore_step(), Some(RestoreStep::Store(Zxid::new(3, 1))));
        assert_eq!(published(&mut replica), ["0x1 created", "0x1 serving No"]);
        replica.restore_stored();
        assert_eq!((replica.next_restore_step(), replica.is_idle()), (None, false));
        assert!(write(&mut replica, at(3)), "the base");
        assert_eq!(replica.next_restore_step(), Some(RestoreStep::Adopt(Zxid::new(3, 1))));
        replica.finish_restore(at(4));
        assert_eq!(published(&mut replica), ["0x300000001 1 sessions", "0x300000001 serving Yes"]);
        assert!(replica.is_idle() && replica.takes_uplinks());
        replica.submit(at(5), connect(1, 0));
        assert!(!write(&mut replica, at(6)), "its view had not heard that clients were dropped");
        replica.submit(at(7), connect(1, 1));
        assert!(write(&mut replica, at(8)));
        assert_eq!(published(&mut replica), ["0x300000002 created"]);
        replica.tick(at(30_000));
        assert!(write(&mut replica, at(30_001)), "the sessions of the tree end, too");
    }

    /// Where the disk does not take the snapshot, the server goes on with what it had.
    #[test]
    fn not_stored() {
        let mut replica = Replica::alone(settings(), Arc::default(), Database::fresh(tree_settings()), at(0));
        replica.restore(restored());
        assert_eq!(replica.next_restore_step(), Some(RestoreStep::Store(Zxid::new(3, 1))));
        replica.restore_failed();
        assert_eq!(published(&mut replica), ["0x0 serving No", "0x0 serving Yes"]);
        replica.submit(at(1), connect(0, 1));
        assert!(write(&mut replica, at(2)));
        assert_eq!(published(&mut replica), ["0x1 created"]);
        replica.restore(restored());
        assert!(replica.next_restore_step().is_some(), "the next try");
    }
}
