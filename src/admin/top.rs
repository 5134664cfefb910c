//! What is used most, and what is largest.

/// A path that many requests name, as a view estimates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotPath {
    /// The path.
    pub path: Box<[u8]>,
    /// Reads of it since it is counted.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Requests that it may have had before: no more than so many.
    pub uncertain: u64,
}

impl HotPath {
    /// All requests, at most.
    pub const fn total(&self) -> u64 {
        self.reads + self.writes + self.uncertain
    }
}
