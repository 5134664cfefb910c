//! Znodes by number, in chunks: growing never moves what is there, so it never stalls.

use super::body::Body;

/// Names a znode inside one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub(super) u32);

/// No znode.
pub(super) const NIL: NodeIndex = NodeIndex(u32::MAX);

/// A znode's place in one tree: 24 bytes beside the body it shares.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `None` while the place is free; `next` then links the free ones.
    pub body: Option<Body>,
    /// Its part of the tree's digest.
    pub digest: u32,
    /// Where its children hang; [`super::NO_DIR`] until it has had one.
    pub dir: u32,
    /// Siblings, in no promised order.
    pub next: NodeIndex,
    pub prev: NodeIndex,
}

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

#[derive(Clone, Debug)]
pub(super) struct Slab {
    chunks: Vec<Vec<Entry>>,
    free: NodeIndex,
    live: usize,
}

impl Slab {
    pub fn new() -> Self {
        Self { chunks: Vec::new(), free: NIL, live: 0 }
    }

    pub fn live(&self) -> usize {
        self.live
    }

    /// One past the highest place that was ever taken.
    pub fn end(&self) -> u32 {
        match self.chunks.last() {
            None => 0,
            Some(last) => ((self.chunks.len() - 1) * CHUNK + last.len()) as u32,
        }
    }

    pub fn insert(&mut self, entry: Entry) -> NodeIndex {
        self.live += 1;
        if self.free != NIL {
            let index = self.free;
            let place = self.entry_mut(index);
            let next_free = place.next;
            *place = entry;
            self.free = next_free;
            return index;
        }
        let index = NodeIndex(self.end());
        assert!(index < NIL, "a tree holds at most 2^32 - 1 znodes");
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(entry),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        index
    }

    pub fn remove(&mut self, index: NodeIndex) -> Entry {
        let free = self.free;
        let place = self.entry_mut(index);
        let gone = Entry { body: place.body.take(), ..place.clone() };
        assert!(gone.body.is_some(), "znode {index:?} removed twice");
        place.next = free;
        self.free = index;
        self.live -= 1;
        gone
    }

    pub fn entry(&self, index: NodeIndex) -> &Entry {
        &self.chunks[(index.0 >> CHUNK_BITS) as usize][(index.0 as usize) % CHUNK]
    }

    pub fn entry_mut(&mut self, index: NodeIndex) -> &mut Entry {
        &mut self.chunks[(index.0 >> CHUNK_BITS) as usize][(index.0 as usize) % CHUNK]
    }

    /// The path of what is in a place that was taken once; `None` while it is free.
    pub fn path(&self, index: NodeIndex) -> Option<&[u8]> {
        self.entry(index).body.as_ref().map(Body::path)
    }

    pub fn body(&self, index: NodeIndex) -> &Body {
        self.entry(index).body.as_ref().expect("only live znodes are indexed")
    }
}
