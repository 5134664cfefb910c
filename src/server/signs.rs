//! Signs of life of clients, from a view shard to the commit shard, past the uplink.

use crate::driver;
use crate::proto::SessionId;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a view tells the commit shard of its clients. The view puts it ten times a second, and the commit shard takes it as
/// often, so that a lock is quick enough.
#[derive(Debug, Default)]
pub struct Signs(Mutex<driver::Signs>);

impl Signs {
    /// Adds sessions; all through `heard_us` are there now.
    pub fn put(&self, sessions: Vec<SessionId>, heard_us: i64) {
        self.lock().put(sessions, heard_us);
    }

    /// What came since the last call.
    pub fn take(&self) -> driver::Signs {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, driver::Signs> {
        // A thread that panicked with it has ended the process.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
