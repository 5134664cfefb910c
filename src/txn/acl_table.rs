//! One copy of each access control list. Source: `ReferenceCountedACLCache`.

use crate::proto::{Acl, Perms};
use crate::tree::AclRef;
use hashbrown::HashSet;
use std::sync::Arc;

/// Interns access control lists: a million znodes with one list hold it once.
#[derive(Debug)]
pub struct AclTable {
    known: HashSet<Arc<Vec<Acl>>, foldhash::fast::FixedState>,
    /// Lists at which the next sweep looks for those that no znode has any more.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1024;

impl AclTable {
    /// `seed` keeps clients from choosing lists that collide.
    pub fn new(seed: u64) -> Self {
        let known = HashSet::with_hasher(foldhash::fast::FixedState::with_seed(seed));
        Self { known, sweep_at: SWEEP_MIN }
    }

    /// The shared copy of `acls`; an empty list and the open one are `None`.
    pub fn intern(&mut self, acls: Vec<Acl>) -> AclRef {
        if acls.is_empty() || is_open(&acls) {
            return None;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|acls| Arc::strong_count(acls) > 1);
            self.sweep_at = (2 * self.known.len()).max(SWEEP_MIN);
        }
        Some(self.known.get_or_insert_with(&acls, |acls| Arc::new(acls.clone())).clone())
    }
}

fn is_open(acls: &[Acl]) -> bool {
    matches!(acls, [acl] if acl.perms == Perms::ALL && &*acl.id.scheme == "world" && &*acl.id.id == "anyone")
}
