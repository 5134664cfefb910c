//! Sessions that only this server knows: no txn begins or ends them, and no other server has heard of them.
//!
//! Such a session is in here until it ends or becomes global: a client that wants an ephemeral has it upgraded, if the
//! configuration allows it. Until the txn that begins the global session is applied, the session is upgrading: it still
//! counts as one of this server's, and does not expire.
//!
//! Source: `LocalSessionTracker`, `UpgradeableSessionTracker`, ZooKeeper 3.9.

use super::CnxnId;
use crate::proto::request::{Create, MultiOp, read_multi};
use crate::proto::{ErrorCode, OpCode, Reader, SessionId};
use crate::session::Tracker;
use std::collections::BTreeMap;

/// Local sessions of a server at which clients that want one are turned away: each costs some 100 bytes until its time is
/// over, and no disk slows clients down that open one after the other.
const LOCAL_SESSIONS_MAX: usize = 1 << 20;

/// The local sessions of a server. Times are milliseconds of the clock by which sessions live.
///
/// Invariant: a session is in one of both parts at most.
#[derive(Debug)]
pub(super) struct LocalSessions {
    tracker: Tracker<CnxnId>,
    upgrading: BTreeMap<SessionId, Upgrading>,
}

/// A session that is about to be global.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upgrading {
    pub timeout_ms: i32,
    /// The connection that acts for it, if one does.
    pub owner: Option<CnxnId>,
}

impl LocalSessions {
    /// None yet. `seed` keeps clients from choosing ids that collide.
    pub fn new(tick_ms: i32, seed: u64) -> Self {
        // Ids come from the role, which has one sequence for both kinds.
        Self { tracker: Tracker::new(tick_ms, SessionId(1), seed), upgrading: BTreeMap::new() }
    }

    /// Whether no other session may begin.
    pub fn is_full(&self) -> bool {
        self.len() >= LOCAL_SESSIONS_MAX
    }

    /// Begins a session for a client of this server.
    pub fn open(&mut self, session_id: SessionId, timeout_ms: i32, cnxn: CnxnId, now_ms: i64) {
        let is_new = self.tracker.track(session_id, timeout_ms, now_ms);
        assert!(is_new, "local session {session_id:#x} begins twice");
        let owned = self.tracker.set_owner(session_id, cnxn);
        assert_eq!(owned, Ok(()), "local session {session_id:#x} ends as it begins");
    }

    /// Whether it is one.
    pub fn contains(&self, session_id: SessionId) -> bool {
        self.tracker.get(session_id).is_some() || self.upgrading.contains_key(&session_id)
    }

    /// Whether it is one that no txn is to make global.
    pub fn stays_local(&self, session_id: SessionId) -> bool {
        self.tracker.get(session_id).is_some()
    }

    /// Notes that a session was heard of; false if it is none.
    pub fn heard(&mut self, session_id: SessionId, now_ms: i64) -> bool {
        self.tracker.heard(session_id, now_ms) || self.upgrading.contains_key(&session_id)
    }

    /// The connection that acts for the session.
    pub fn owner(&self, session_id: SessionId) -> Option<CnxnId> {
        match self.upgrading.get(&session_id) {
            Some(upgrading) => upgrading.owner,
            None => self.tracker.owner(session_id),
        }
    }

    /// Checks that a request may run which arrived through `cnxn`.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] if there is no such session; [`ErrorCode::SessionMoved`] if its client came again
    /// over another connection since.
    pub fn check(&self, session_id: SessionId, cnxn: CnxnId) -> Result<(), ErrorCode> {
        match self.owner(session_id) {
            _ if !self.contains(session_id) => Err(ErrorCode::SessionExpired),
            Some(owner) if owner == cnxn => Ok(()),
            _ => Err(ErrorCode::SessionMoved),
        }
    }

    /// A client attaches to its session, which must be one: gives back the connection that acted for it before.
    pub fn attach(
        &mut self,
        session_id: SessionId,
        timeout_ms: i32,
        cnxn: CnxnId,
        now_ms: i64,
    ) -> Option<CnxnId> {
        if let Some(upgrading) = self.upgrading.get_mut(&session_id) {
            return upgrading.owner.replace(cnxn);
        }
        let former = self.tracker.owner(session_id);
        self.tracker.set_timeout(session_id, timeout_ms);
        let is_alive = self.tracker.touch(session_id, timeout_ms, now_ms);
        assert!(is_alive, "a client attaches to local session {session_id:#x}, which has ended");
        let owned = self.tracker.set_owner(session_id, cnxn);
        assert_eq!(owned, Ok(()), "local session {session_id:#x} has ended");
        former
    }

    /// Forgets a session, which has ended or is global now; what it was.
    pub fn remove(&mut self, session_id: SessionId) -> Option<Upgrading> {
        if let Some(upgrading) = self.upgrading.remove(&session_id) {
            return Some(upgrading);
        }
        let (timeout_ms, owner) = (self.tracker.get(session_id)?, self.tracker.owner(session_id));
        self.tracker.remove(session_id);
        Some(Upgrading { timeout_ms, owner })
    }

    /// Begins to make a session global; its timeout.
    pub fn begin_upgrade(&mut self, session_id: SessionId) -> Option<i32> {
        if self.upgrading.contains_key(&session_id) {
            return None;
        }
        let upgrading = self.remove(session_id)?;
        self.upgrading.insert(session_id, upgrading);
        Some(upgrading.timeout_ms)
    }

    /// Sessions that are about to be global, with their timeouts in ms.
    pub fn upgrading(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.upgrading.iter().map(|(id, upgrading)| (*id, upgrading.timeout_ms))
    }

    /// What was asked for is asked no more: the sessions are local again. Where the txn was made nevertheless, they become
    /// global once it comes.
    pub fn give_upgrades_up(&mut self, now_ms: i64) {
        for (session_id, Upgrading { timeout_ms, owner }) in std::mem::take(&mut self.upgrading) {
            self.tracker.track(session_id, timeout_ms, now_ms);
            if let Some(cnxn) = owner {
                let owned = self.tracker.set_owner(session_id, cnxn);
                assert_eq!(owned, Ok(()), "local session {session_id:#x} has ended");
            }
        }
    }

    /// No connection acts for any session any more: all have ended.
    pub fn disown(&mut self) {
        self.tracker.disown();
        self.upgrading.values_mut().for_each(|upgrading| upgrading.owner = None);
    }

    /// Gives every session its full timeout: clients could not be heard.
    pub fn renew(&mut self, now_ms: i64) {
        let ids: Vec<SessionId> = self.tracker.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| _ = self.tracker.heard(id, now_ms));
    }

    /// Takes out the sessions whose time is over.
    pub fn take_expired(&mut self, now_ms: i64) -> Vec<SessionId> {
        let mut expired = Vec::new();
        self.tracker.take_expired(now_ms, &mut expired);
        expired.iter().for_each(|id| _ = self.tracker.remove(*id));
        expired
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        let ids: Vec<SessionId> = self.tracker.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| _ = self.tracker.remove(id));
        self.upgrading.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tracker.len() + self.upgrading.len()
    }

    /// All that are not about to be global, with their timeouts in ms.
    #[cfg(test)]
    pub fn ids(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.tracker.iter()
    }

    /// When sessions expire, and which then, soonest first.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, Vec<SessionId>)> {
        self.tracker.buckets().map(|(at_ms, ids)| (at_ms, ids.collect()))
    }
}

/// Whether a request wants a session that the ensemble knows: it creates an ephemeral.
/// Source: `QuorumZooKeeperServer.checkUpgradeSession`.
pub(super) fn wants_global(op: OpCode, body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    match op {
        OpCode::CREATE | OpCode::CREATE2 => {
            Create::read(&mut reader, op).is_ok_and(|read| is_ephemeral(&read))
        }
        OpCode::MULTI => read_multi(&mut reader).is_ok_and(|ops| ops.iter().any(op_wants_global)),
        _ => false,
    }
}

/// The same of an operation in a multi.
pub(super) fn op_wants_global(op: &MultiOp<'_>) -> bool {
    match op {
        MultiOp::Create(OpCode::CREATE | OpCode::CREATE2, create) => is_ephemeral(create),
        _ => false,
    }
}

/// `CreateMode`: EPHEMERAL, EPHEMERAL_SEQUENTIAL.
fn is_ephemeral(create: &Create<'_>) -> bool {
    matches!(create.flags, 1 | 3)
}
