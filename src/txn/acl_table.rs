//! One copy of each access control list. Source: `ReferenceCountedACLCache`.

use crate::auth::AclList;
use crate::proto::{Acl, Perms};
use crate::tree::AclRef;
use hashbrown::{Equivalent, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Interns access control lists: a million znodes with one list hold it once.
#[derive(Debug)]
pub struct AclTable {
    known: HashSet<Arc<AclList>, foldhash::fast::FixedState>,
    /// Lists at which the next sweep looks for those that no znode has any more.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1024;

/// Entries that are looked for.
struct Wanted<'a>(&'a [Acl]);

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Arc<AclList>> for Wanted<'_> {
    fn equivalent(&self, known: &Arc<AclList>) -> bool {
        *self.0 == ***known
    }
}

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
        let known = self.known.get(&Wanted(&acls)).cloned();
        Some(known.unwrap_or_else(|| {
            let list = Arc::new(AclList::from(acls));
            self.known.insert(list.clone());
            list
        }))
    }
}

fn is_open(acls: &[Acl]) -> bool {
    matches!(acls, [acl] if acl.perms == Perms::ALL && &*acl.id.scheme == "world" && &*acl.id.id == "anyone")
}
