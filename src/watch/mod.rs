//! One-shot, persistent and recursive watches; which connection is notified of which change.
//!
//! Invariants: a connection is notified of one trigger at most once; the lists by path and by connection
//! hold the same watches; a path or connection without watches takes no space.
//!
//! Source: `DataTree`, `watch/WatchManager`, Apache ZooKeeper 3.9. Java has two managers, one for
//! data and one for child watches; here one record per path and connection carries the bits of both,
//! so that a persistent watch is stored once and a delete takes one pass over the path's watchers.

use crate::proto::EventType;
use crate::proto::path::ancestors;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::BuildHasher;

/// A connection, by its slot in the shard that owns the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cnxn(pub u32);

/// What a watch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Creation, deletion and data: set by getData and exists.
    Data,
    /// Deletion and children: set by getChildren and getChildren2.
    Child,
}

/// How long a watch lasts and how far it reaches. A connection may have each of them on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Gone when it fires.
    Standard,
    /// Stays. In both tables: see [`Watches::add_persistent`].
    Persistent,
    /// Stays, and is notified of everything below the path, though not of lists of children. In the
    /// data table only: see [`Watches::add_recursive`].
    Recursive,
}

/// Which watches checkWatches and removeWatches mean. Source: `Watcher.WatcherType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs)] // ZooKeeper's names
pub enum WatcherType {
    Children = 1,
    Data = 2,
    /// Every watch on the path, whatever its table and mode.
    Any = 3,
    Persistent = 4,
    PersistentRecursive = 5,
}

impl WatcherType {
    /// The type with this number; where there is none 3.9 answers a marshalling error.
    pub fn from_wire(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::PersistentRecursive,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Children => bit(Table::Child, Mode::Standard),
            Self::Data => bit(Table::Data, Mode::Standard),
            Self::Any => DATA | CHILD,
            Self::Persistent => bit(Table::Data, Mode::Persistent) | bit(Table::Child, Mode::Persistent),
            Self::PersistentRecursive => RECURSIVE,
        }
    }
}

const fn bit(table: Table, mode: Mode) -> u8 {
    let mode = match mode {
        Mode::Standard => 1,
        Mode::Persistent => 2,
        Mode::Recursive => 4,
    };
    match table {
        Table::Data => mode,
        Table::Child => mode << 3,
    }
}

const DATA: u8 = 0b000_111;
const CHILD: u8 = 0b011_000;
const STANDARD: u8 = bit(Table::Data, Mode::Standard) | bit(Table::Child, Mode::Standard);
const RECURSIVE: u8 = bit(Table::Data, Mode::Recursive);

/// Empty tables up to this size keep their memory, so that a watch set and fired again and again
/// does not allocate.
const KEPT_SLOTS: usize = 1024;

/// No slot, in links.
const NONE: u32 = u32::MAX;

/// A connection's watches on a path; 28 bytes. Slots are linked into the path's list and into the
/// connection's.
#[derive(Clone, Copy, Debug)]
struct Watch {
    path: u32,
    watcher: u32,
    path_prev: u32,
    path_next: u32,
    watcher_prev: u32,
    watcher_next: u32,
    /// Never 0 while the slot is used.
    bits: u8,
}

#[derive(Clone, Debug)]
struct Path {
    name: Box<[u8]>,
    head: u32,
    /// Watches in the data table.
    data: u32,
    /// Watches in the child table.
    child: u32,
}

#[derive(Clone, Copy, Debug)]
struct Watcher {
    cnxn: Cnxn,
    head: u32,
    /// Watches in the data table.
    data: u32,
    /// The last trigger that this connection was notified of.
    notified: u64,
}

/// Slots that are used again; a free slot is one that no list leads to.
#[derive(Clone, Debug)]
struct Slots<T> {
    slots: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = value;
            return slot;
        }
        self.slots.push(value);
        u32::try_from(self.slots.len() - 1).expect("2^32 watches do not fit in memory")
    }

    /// Gives much memory back with the last slot: a burst of watches leaves no memory in use.
    fn remove(&mut self, slot: u32) {
        self.free.push(slot);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT_SLOTS {
            *self = Self::new();
        }
    }
}

impl<T> std::ops::Index<u32> for Slots<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.slots[slot as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slots[slot as usize]
    }
}

/// What `wchs` answers. It counts the data table only, as Java does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Connections that have watches.
    pub connections: usize,
    /// Paths that are watched.
    pub paths: usize,
    /// Pairs of both.
    pub watches: usize,
}

/// The watches of one shard's connections.
///
/// A trigger calls its `sink` once for each connection to notify, with the event's path, and clears
/// the one-shot watches that it meets whether or not the sink lets the event through. Which ACL
/// decides about that follows from the event: the parent's for [`EventType::NodeChildrenChanged`],
/// whose path is the parent; the znode's for the others, for [`EventType::NodeDeleted`] as it was
/// before. Events of one connection come in the order in which Java sends them; the order between
/// connections is arbitrary.
///
/// Costs: a change of an unwatched path is one lookup per path named, and one more per ancestor
/// while anybody has a recursive watch. Adding, removing and finding a watch take constant time.
#[derive(Clone, Debug)]
pub struct Watches {
    hasher: FixedState,
    paths: Slots<Path>,
    by_path: HashTable<u32>,
    watchers: Slots<Watcher>,
    by_cnxn: HashTable<u32>,
    watches: Slots<Watch>,
    /// By path slot and watcher slot.
    by_pair: HashTable<u32>,
    summary: Summary,
    child_watches: usize,
    recursive: usize,
    /// Counts triggers, so that a connection with watches on several ancestors is notified once.
    trigger: u64,
}

impl Watches {
    /// No watches. `seed` is arbitrary and keeps clients from choosing paths that collide.
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            paths: Slots::new(),
            by_path: HashTable::new(),
            watchers: Slots::new(),
            by_cnxn: HashTable::new(),
            watches: Slots::new(),
            by_pair: HashTable::new(),
            summary: Summary::default(),
            child_watches: 0,
            recursive: 0,
            trigger: 0,
        }
    }

    /// Adds a one-shot watch; the same once more is no other watch.
    pub fn add(&mut self, table: Table, path: &[u8], cnxn: Cnxn) {
        self.add_bits(path, cnxn, bit(table, Mode::Standard));
    }

    /// Adds a persistent watch: addWatch mode 0, and the fourth list of setWatches2.
    pub fn add_persistent(&mut self, path: &[u8], cnxn: Cnxn) {
        self.add_bits(path, cnxn, bit(Table::Data, Mode::Persistent) | bit(Table::Child, Mode::Persistent));
    }

    /// Adds a persistent recursive watch: addWatch mode 1, and the fifth list of setWatches2.
    pub fn add_recursive(&mut self, path: &[u8], cnxn: Cnxn) {
        self.add_bits(path, cnxn, RECURSIVE);
    }

    /// Whether `cnxn` has such a watch on `path`: checkWatches.
    pub fn contains(&self, path: &[u8], which: WatcherType, cnxn: Cnxn) -> bool {
        // Java asks for persistent watches in the data table only, where each of them is.
        self.find(path, cnxn).is_some_and(|watch| self.watches[watch].bits & which.bits() != 0)
    }

    /// Removes such watches of `cnxn` on `path`, and returns whether there were any: removeWatches.
    pub fn remove(&mut self, path: &[u8], which: WatcherType, cnxn: Cnxn) -> bool {
        let Some(watch) = self.find(path, cnxn) else { return false };
        let before = self.watches[watch].bits;
        self.set_bits(watch, before & !which.bits());
        before & which.bits() != 0
    }

    /// Removes up to `max` of what a connection has, when it ends; `true` once nothing is left.
    pub fn remove_some(&mut self, cnxn: Cnxn, max: usize) -> bool {
        let Some(watcher) = self.watcher(cnxn) else { return true };
        let mut watch = self.watchers[watcher].head;
        for _ in 0..max {
            if watch == NONE {
                return true;
            }
            let next = self.watches[watch].watcher_next;
            self.set_bits(watch, 0);
            watch = next;
        }
        watch == NONE
    }

    /// A znode came to be.
    pub fn created(&mut self, path: &[u8], parent: &[u8], sink: &mut impl FnMut(Cnxn, EventType, &[u8])) {
        if self.by_path.is_empty() {
            return;
        }
        self.fire(path, DATA, EventType::NodeCreated, sink);
        self.fire(parent, CHILD, EventType::NodeChildrenChanged, sink);
    }

    /// A znode is gone.
    pub fn deleted(&mut self, path: &[u8], parent: &[u8], sink: &mut impl FnMut(Cnxn, EventType, &[u8])) {
        if self.by_path.is_empty() {
            return;
        }
        self.fire(path, DATA | CHILD, EventType::NodeDeleted, sink);
        self.fire(parent, CHILD, EventType::NodeChildrenChanged, sink);
    }

    /// A znode's data was set.
    pub fn data_changed(&mut self, path: &[u8], sink: &mut impl FnMut(Cnxn, EventType, &[u8])) {
        if self.by_path.is_empty() {
            return;
        }
        self.fire(path, DATA, EventType::NodeDataChanged, sink);
    }

    /// All watches of both tables, one for each path, connection and table: `watch_count`.
    pub fn len(&self) -> usize {
        self.summary.watches + self.child_watches
    }

    /// Whether there are no watches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `wchs` answers.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Each connection with the paths that it has in the data table: `wchc`.
    pub fn by_cnxn(&self) -> impl Iterator<Item = (Cnxn, impl Iterator<Item = &[u8]>)> {
        let live = self.by_cnxn.iter().map(|&watcher| &self.watchers[watcher]);
        live.filter(|watcher| watcher.data > 0).map(|watcher| {
            let watches = self.list(watcher.head, |watch| watch.watcher_next);
            let data = watches.filter(|watch| watch.bits & DATA != 0);
            (watcher.cnxn, data.map(|watch| &*self.paths[watch.path].name))
        })
    }

    /// Each path with the connections that watch it in the data table: `wchp`.
    pub fn by_path(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = Cnxn>)> {
        let live = self.by_path.iter().map(|&path| &self.paths[path]);
        live.filter(|path| path.data > 0).map(|path| {
            let watches = self.list(path.head, |watch| watch.path_next);
            let data = watches.filter(|watch| watch.bits & DATA != 0);
            (&*path.name, data.map(|watch| self.watchers[watch.watcher].cnxn))
        })
    }

    /// Notifies the connections with any of `tables` on `path`, then those with a recursive watch above
    /// if this is a trigger of data watches.
    fn fire(
        &mut self,
        path: &[u8],
        tables: u8,
        event: EventType,
        sink: &mut impl FnMut(Cnxn, EventType, &[u8]),
    ) {
        self.trigger += 1;
        if let Some(slot) = self.path(path) {
            let Path { mut head, data, child, .. } = self.paths[slot];
            if (tables & DATA == 0 || data == 0) && (tables & CHILD == 0 || child == 0) {
                head = NONE;
            }
            let mut next = head;
            while next != NONE {
                let watch = next;
                let Watch { bits, path_next, watcher, .. } = self.watches[watch];
                next = path_next;
                if bits & tables != 0 {
                    let watcher = &mut self.watchers[watcher];
                    watcher.notified = self.trigger;
                    sink(watcher.cnxn, event, path);
                    // This may end the path, whose list is then at its end.
                    self.set_bits(watch, bits & !(tables & STANDARD));
                }
            }
        }
        if tables & DATA == 0 || self.recursive == 0 {
            return;
        }
        for above in ancestors(path).skip(1) {
            let Some(slot) = self.path(above) else { continue };
            let mut next = self.paths[slot].head;
            while next != NONE {
                let Watch { bits, path_next, watcher, .. } = self.watches[next];
                next = path_next;
                let watcher = &mut self.watchers[watcher];
                if bits & RECURSIVE != 0 && watcher.notified != self.trigger {
                    watcher.notified = self.trigger;
                    sink(watcher.cnxn, event, path);
                }
            }
        }
    }

    fn list(&self, head: u32, next: impl Fn(&Watch) -> u32) -> impl Iterator<Item = &Watch> {
        let watch = |slot: u32| (slot != NONE).then(|| &self.watches[slot]);
        std::iter::successors(watch(head), move |last| watch(next(last)))
    }

    fn path(&self, path: &[u8]) -> Option<u32> {
        self.by_path.find(self.hasher.hash_one(path), |&slot| *self.paths[slot].name == *path).copied()
    }

    fn watcher(&self, cnxn: Cnxn) -> Option<u32> {
        self.by_cnxn.find(self.hasher.hash_one(cnxn), |&slot| self.watchers[slot].cnxn == cnxn).copied()
    }

    fn find(&self, path: &[u8], cnxn: Cnxn) -> Option<u32> {
        let pair = (self.path(path)?, self.watcher(cnxn)?);
        self.by_pair.find(self.hasher.hash_one(pair), |&slot| pair_of(&self.watches[slot]) == pair).copied()
    }

    fn add_bits(&mut self, path: &[u8], cnxn: Cnxn, bits: u8) {
        let path = self.path_or_insert(path);
        let watcher = self.watcher_or_insert(cnxn);
        let (hasher, watches) = (&self.hasher, &mut self.watches);
        let entry = self.by_pair.entry(
            hasher.hash_one((path, watcher)),
            |&slot| pair_of(&watches[slot]) == (path, watcher),
            |&slot| hasher.hash_one(pair_of(&watches[slot])),
        );
        let vacant = match entry {
            Entry::Occupied(entry) => {
                let watch = *entry.get();
                let bits = bits | self.watches[watch].bits;
                return self.set_bits(watch, bits);
            }
            Entry::Vacant(vacant) => vacant,
        };
        let (path_next, watcher_next) = (self.paths[path].head, self.watchers[watcher].head);
        let watch = watches.insert(Watch {
            path,
            watcher,
            path_prev: NONE,
            path_next,
            watcher_prev: NONE,
            watcher_next,
            bits: 0,
        });
        vacant.insert(watch);
        if path_next != NONE {
            watches[path_next].path_prev = watch;
        }
        if watcher_next != NONE {
            watches[watcher_next].watcher_prev = watch;
        }
        self.paths[path].head = watch;
        self.watchers[watcher].head = watch;
        self.set_bits(watch, bits);
    }

    fn path_or_insert(&mut self, path: &[u8]) -> u32 {
        let (hasher, paths) = (&self.hasher, &mut self.paths);
        let entry = self.by_path.entry(
            hasher.hash_one(path),
            |&slot| *paths[slot].name == *path,
            |&slot| hasher.hash_one(&*paths[slot].name),
        );
        match entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(vacant) => {
                let slot = paths.insert(Path { name: path.into(), head: NONE, data: 0, child: 0 });
                vacant.insert(slot);
                slot
            }
        }
    }

    fn watcher_or_insert(&mut self, cnxn: Cnxn) -> u32 {
        let (hasher, watchers) = (&self.hasher, &mut self.watchers);
        let entry = self.by_cnxn.entry(
            hasher.hash_one(cnxn),
            |&slot| watchers[slot].cnxn == cnxn,
            |&slot| hasher.hash_one(watchers[slot].cnxn),
        );
        match entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(vacant) => {
                let slot = watchers.insert(Watcher { cnxn, head: NONE, data: 0, notified: 0 });
                vacant.insert(slot);
                slot
            }
        }
    }

    /// The one place where watches change: keeps the counts, and drops what has no bits left.
    fn set_bits(&mut self, watch: u32, bits: u8) {
        let Watch { path, watcher, bits: before, .. } = self.watches[watch];
        self.watches[watch].bits = bits;
        let (had, has) = (before & DATA != 0, bits & DATA != 0);
        if had != has {
            count(has, &mut self.summary.watches);
            if step(has, &mut self.paths[path].data) {
                count(has, &mut self.summary.paths);
            }
            if step(has, &mut self.watchers[watcher].data) {
                count(has, &mut self.summary.connections);
            }
        }
        let (had, has) = (before & CHILD != 0, bits & CHILD != 0);
        if had != has {
            count(has, &mut self.child_watches);
            step(has, &mut self.paths[path].child);
        }
        let (had, has) = (before & RECURSIVE != 0, bits & RECURSIVE != 0);
        if had != has {
            count(has, &mut self.recursive);
        }
        if bits == 0 {
            self.drop_watch(watch);
        }
    }

    fn drop_watch(&mut self, watch: u32) {
        let Watch { path, watcher, path_prev, path_next, watcher_prev, watcher_next, .. } =
            self.watches[watch];
        let hash = self.hasher.hash_one((path, watcher));
        take(&mut self.by_pair, hash, watch);
        self.watches.remove(watch);
        if path_next != NONE {
            self.watches[path_next].path_prev = path_prev;
        }
        if path_prev != NONE {
            self.watches[path_prev].path_next = path_next;
        } else {
            self.paths[path].head = path_next;
        }
        if watcher_next != NONE {
            self.watches[watcher_next].watcher_prev = watcher_prev;
        }
        if watcher_prev != NONE {
            self.watches[watcher_prev].watcher_next = watcher_next;
        } else {
            self.watchers[watcher].head = watcher_next;
        }
        if self.paths[path].head == NONE {
            let hash = self.hasher.hash_one(&*self.paths[path].name);
            take(&mut self.by_path, hash, path);
            self.paths[path].name = Box::default();
            self.paths.remove(path);
        }
        if self.watchers[watcher].head == NONE {
            let hash = self.hasher.hash_one(self.watchers[watcher].cnxn);
            take(&mut self.by_cnxn, hash, watcher);
            self.watchers.remove(watcher);
        }
    }
}

fn pair_of(watch: &Watch) -> (u32, u32) {
    (watch.path, watch.watcher)
}

fn count(up: bool, total: &mut usize) {
    if up {
        *total += 1;
    } else {
        *total -= 1;
    }
}

/// Counts a watch in or out, and returns whether it is the first, or was the last.
fn step(up: bool, watches: &mut u32) -> bool {
    if up {
        *watches += 1;
        *watches == 1
    } else {
        *watches -= 1;
        *watches == 0
    }
}

/// Removes `slot` from the table, and much memory with the last slot.
fn take(table: &mut HashTable<u32>, hash: u64, slot: u32) {
    table.find_entry(hash, |&other| other == slot).expect("what is linked is in the table").remove();
    if table.is_empty() && table.capacity() > KEPT_SLOTS {
        *table = HashTable::new();
    }
}

#[cfg(test)]
mod tests;
