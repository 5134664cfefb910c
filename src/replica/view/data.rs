//! What a view knows: the committed tree, its sessions, and who watches what.

use super::read::Read;
use crate::auth::Policy;
use crate::proto::{Id, JuteWrite, OpCode, SessionId, Zxid};
use crate::replica::{Restart, Serving};
use crate::tree::{NodeIndex, Tree};
use crate::watch::{self, Watches};
use crate::zab::LinkId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The committed state of a view.
///
/// Invariant: `last_txn <= zxid`; both only grow while clients are served.
#[derive(Debug)]
pub(super) struct Data {
    pub policy: Arc<Policy>,
    pub tree: Tree,
    pub watches: Watches,
    /// Sessions that are alive, with their timeouts in ms: for snapshots.
    pub sessions: BTreeMap<SessionId, i32>,
    /// What replies say: the last txn that the tree has, or the start of the leader's epoch if that is later.
    pub zxid: Zxid,
    /// The last txn that the tree has.
    pub last_txn: Zxid,
    /// The commit side's digest of that tree, 0 where none is kept.
    pub digest: u64,
    /// How clients are served; without a leader the tree may hold what none has confirmed.
    pub serving: Serving,
    /// How often the tree was replaced.
    pub resets: u32,
    /// Learners for which an image is to be taken.
    pub images_wanted: VecDeque<LinkId>,
}

impl Data {
    /// What a read of the connection in `slot` sees, and where it may leave a watch.
    #[inline]
    pub fn read<'v>(&'v mut self, slot: u32, session_id: SessionId, ids: &'v [Id]) -> Read<'v> {
        Read {
            tree: &self.tree,
            watches: &mut self.watches,
            policy: &self.policy,
            cnxn: watch::Cnxn(slot),
            session_id,
            ids,
            work: 0,
        }
    }

    /// Notes that the tree is as of an entry of the deltas.
    #[inline]
    pub fn advance(&mut self, zxid: Zxid, digest: u64) {
        assert!(zxid >= self.zxid, "delta goes back: {zxid} after {}", self.zxid);
        (self.zxid, self.digest) = (zxid, digest);
        // The start of an epoch is no txn, and in no log.
        if zxid.counter() != 0 {
            self.last_txn = zxid;
        }
        debug_assert!(self.last_txn <= self.zxid, "txn {} is later than {}", self.last_txn, self.zxid);
    }

    /// Goes on with another tree, which need not be a later one; no client is connected then.
    pub fn reset(&mut self, zxid: Zxid, digest: u64, restart: &Restart) {
        assert_eq!(self.serving, Serving::No, "the tree changes under clients");
        self.tree = restart.tree.for_view();
        self.sessions = restart.sessions.clone();
        (self.zxid, self.last_txn, self.digest) = (zxid, zxid, digest);
        self.resets = self.resets.wrapping_add(1);
        self.images_wanted.clear();
    }

    /// Appends what a write answers after its header: the path of what it created, the Stat of what it changed.
    #[inline]
    pub fn put_result(&self, op: OpCode, changed: Option<NodeIndex>, out: &mut Vec<u8>) {
        let Some(changed) = changed else { return };
        let with_stat = match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                out.put_string(self.tree.body(changed).path());
                op != OpCode::CREATE
            }
            OpCode::RECONFIG => {
                out.put_buffer(self.tree.body(changed).data());
                true
            }
            OpCode::SET_DATA | OpCode::SET_ACL => true,
            _ => false,
        };
        if with_stat {
            self.tree.stat(changed).put(out);
        }
    }
}
