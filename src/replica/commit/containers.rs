//! Containers and TTL nodes that are due for removal.

use super::{Asker, Commit};
use crate::proto::{OpCode, SessionId};
use crate::replica::{Now, TxnKind};
use crate::tree::OwnerKind;
use crate::txn::Txn;

impl Commit {
    /// Deletes containers and TTL nodes that are due, not too many at once.
    pub(super) fn sweep(&mut self, now: Now) {
        if now.mono_ms() - self.containers_checked_ms >= self.core.settings.container_check_interval_ms {
            self.containers_checked_ms = now.mono_ms();
            let due = self.core.tree.due_for_removal(now.wall_ms, self.core.settings.container_never_used_ms);
            self.containers_due = due.into();
            self.containers_deleted_ms = now.mono_ms();
        }
        let per_minute = i64::from(self.core.settings.container_max_per_minute).max(1);
        // A pause, or a high limit, may make more of them due than a group has room for.
        while !self.containers_due.is_empty() && !self.is_full() {
            let spacing_ms = 60_000 / per_minute;
            if now.mono_ms() - self.containers_deleted_ms < spacing_ms {
                return;
            }
            self.containers_deleted_ms += spacing_ms;
            let Some(path) = self.containers_due.pop_front() else { return };
            self.delete_container(now, &path);
        }
    }

    /// Deletes a container or TTL node, if it still is one and has no children.
    fn delete_container(&mut self, now: Now, path: &[u8]) {
        let Some(index) = self.core.tree.find(path) else { return };
        let is_session =
            matches!(self.core.tree.owner_kind(index), OwnerKind::Ephemeral { .. } | OwnerKind::Persistent);
        if self.core.tree.child_count(index) > 0 || is_session {
            return;
        }
        self.next_zxid();
        let asker = Asker { origin: None, session_id: SessionId::NONE, xid: 0, ids: &[], now };
        let header = self.header(&asker, OpCode::DELETE_CONTAINER);
        let txn = Txn::Delete { path };
        self.apply(&header, &txn, None);
        self.log(&header, &txn);
        self.push(None, 0, TxnKind::Done(OpCode::DELETE_CONTAINER));
    }
}
