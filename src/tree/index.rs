//! Path to znode.

use super::slab::{NodeIndex, Slab};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Tables that the index is split into, so that one that grows stalls for a 256th of the tree.
const TABLES: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Half of the path's hash: enough to move the slot when the table grows without touching the znode.
    hash: u32,
    node: NodeIndex,
}

/// Finds znodes by path: 8 bytes and a control byte a slot, the path itself is the body's.
#[derive(Clone, Debug)]
pub(super) struct PathIndex {
    tables: Box<[HashTable<Slot>]>,
    hasher: FixedState,
}

/// A path's hash, split.
#[derive(Clone, Copy)]
struct PathHash {
    table: usize,
    hash: u32,
}

/// hashbrown takes its control byte from the top bits: spread the 32 over 64.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl PathIndex {
    /// `seed` keeps clients from choosing paths that collide.
    pub fn new(seed: u64) -> Self {
        Self { tables: (0..TABLES).map(|_| HashTable::new()).collect(), hasher: FixedState::with_seed(seed) }
    }

    fn hash(&self, path: &[u8]) -> PathHash {
        let hash = self.hasher.hash_one(path);
        PathHash { table: (hash >> 32) as usize % TABLES, hash: hash as u32 }
    }

    pub fn find(&self, slab: &Slab, path: &[u8]) -> Option<NodeIndex> {
        let PathHash { table, hash } = self.hash(path);
        let is_it = |slot: &Slot| slot.hash == hash && slab.body(slot.node).path() == path;
        self.tables[table].find(spread(hash), is_it).map(|slot| slot.node)
    }

    /// The caller has made sure that the path is not there.
    pub fn insert(&mut self, path: &[u8], node: NodeIndex) {
        let PathHash { table, hash } = self.hash(path);
        self.tables[table].insert_unique(spread(hash), Slot { hash, node }, |slot| spread(slot.hash));
    }

    pub fn remove(&mut self, path: &[u8], node: NodeIndex) {
        let PathHash { table, hash } = self.hash(path);
        let found = self.tables[table].find_entry(spread(hash), |slot| slot.node == node);
        found.unwrap_or_else(|_| panic!("znode {node:?} is not in the index")).remove();
    }
}
