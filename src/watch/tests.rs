use super::*;
use std::collections::{BTreeMap, BTreeSet};

const A: Cnxn = Cnxn(1);
const B: Cnxn = Cnxn(2);

type Notified = Vec<(u32, EventType, String)>;

/// Runs a trigger, and gives what the sink was given, sorted by connection.
fn notified(run: impl FnOnce(&mut dyn FnMut(Cnxn, EventType, &[u8]))) -> Notified {
    let mut notified = Notified::new();
    run(&mut |cnxn, event, path| notified.push((cnxn.0, event, String::from_utf8_lossy(path).into_owned())));
    notified.sort_by_key(|event| event.0);
    notified
}

fn created(watches: &mut Watches, path: &str) -> Notified {
    let parent = crate::proto::path::split(path.as_bytes()).expect("absolute").0;
    notified(|mut sink| watches.created(path.as_bytes(), parent, &mut sink))
}

fn deleted(watches: &mut Watches, path: &str) -> Notified {
    let parent = crate::proto::path::split(path.as_bytes()).expect("absolute").0;
    notified(|mut sink| watches.deleted(path.as_bytes(), parent, &mut sink))
}

fn changed(watches: &mut Watches, path: &str) -> Notified {
    notified(|mut sink| watches.data_changed(path.as_bytes(), &mut sink))
}

fn event(cnxn: Cnxn, event: EventType, path: &str) -> (u32, EventType, String) {
    (cnxn.0, event, path.to_owned())
}

/// A one-shot watch fires once, however often it was set, and for what its table waits for.
#[test]
fn standard_fires_once() {
    let mut watches = Watches::new(1);
    watches.add(Table::Data, b"/a", A);
    watches.add(Table::Data, b"/a", A);
    watches.add(Table::Child, b"/a", B);
    assert_eq!(watches.len(), 2);
    assert_eq!(changed(&mut watches, "/a"), [event(A, EventType::NodeDataChanged, "/a")]);
    assert_eq!(changed(&mut watches, "/a"), []);
    assert_eq!(created(&mut watches, "/a/x"), [event(B, EventType::NodeChildrenChanged, "/a")]);
    assert_eq!(created(&mut watches, "/a/y"), []);
    assert!(watches.is_empty());
}

/// A created znode tells its own watchers and then its parent's, the root's children too.
#[test]
fn create_tells_the_parent() {
    let mut watches = Watches::new(1);
    watches.add(Table::Data, b"/a", A);
    watches.add(Table::Child, b"/", A);
    let expected = [event(A, EventType::NodeCreated, "/a"), event(A, EventType::NodeChildrenChanged, "/")];
    assert_eq!(created(&mut watches, "/a"), expected);
}

/// One NodeDeleted for a connection that watches data, children and for good; then the parent.
#[test]
fn delete_tells_once() {
    let mut watches = Watches::new(1);
    watches.add(Table::Data, b"/a/b", A);
    watches.add(Table::Child, b"/a/b", A);
    watches.add_persistent(b"/a/b", A);
    watches.add_recursive(b"/a", A);
    watches.add_recursive(b"/", A);
    watches.add(Table::Child, b"/a", A);
    watches.add(Table::Child, b"/a/b", B);
    let expected = [
        event(A, EventType::NodeDeleted, "/a/b"),
        event(A, EventType::NodeChildrenChanged, "/a"),
        event(B, EventType::NodeDeleted, "/a/b"),
    ];
    assert_eq!(deleted(&mut watches, "/a/b"), expected);
    // The one-shot child watch is spent although its event was the other watches'.
    assert!(!watches.contains(b"/a/b", WatcherType::Children, A));
    assert!(!watches.contains(b"/a/b", WatcherType::Data, A));
    assert!(watches.contains(b"/a/b", WatcherType::Persistent, A));
    assert_eq!(deleted(&mut watches, "/a/b"), expected[..1]);
}

/// A recursive watch sees znodes at and below its path, never lists of children, and no siblings.
#[test]
fn recursive_sees_descendants() {
    let mut watches = Watches::new(1);
    watches.add_recursive(b"/a", A);
    assert_eq!(created(&mut watches, "/a"), [event(A, EventType::NodeCreated, "/a")]);
    assert_eq!(created(&mut watches, "/a/b/c"), [event(A, EventType::NodeCreated, "/a/b/c")]);
    assert_eq!(changed(&mut watches, "/a/b/c"), [event(A, EventType::NodeDataChanged, "/a/b/c")]);
    assert_eq!(deleted(&mut watches, "/a/b"), [event(A, EventType::NodeDeleted, "/a/b")]);
    assert_eq!(created(&mut watches, "/ab"), []);
    assert_eq!(changed(&mut watches, "/"), []);
    watches.add_recursive(b"/", B);
    assert_eq!(changed(&mut watches, "/"), [event(B, EventType::NodeDataChanged, "/")]);
    assert_eq!(changed(&mut watches, "/x/y"), [event(B, EventType::NodeDataChanged, "/x/y")]);
}

/// A persistent watch sees both tables' events and stays.
#[test]
fn persistent_stays() {
    let mut watches = Watches::new(1);
    watches.add_persistent(b"/a", A);
    assert_eq!(watches.len(), 2);
    for _ in 0..2 {
        assert_eq!(created(&mut watches, "/a/b"), [event(A, EventType::NodeChildrenChanged, "/a")]);
        assert_eq!(changed(&mut watches, "/a"), [event(A, EventType::NodeDataChanged, "/a")]);
        assert_eq!(deleted(&mut watches, "/a"), [event(A, EventType::NodeDeleted, "/a")]);
    }
}

/// Each type removes its own mode and returns whether there was one; `Any` removes them all.
#[test]
fn remove_by_type() {
    use WatcherType::*;
    let mut watches = Watches::new(1);
    let fill = |watches: &mut Watches| {
        watches.add(Table::Data, b"/a", A);
        watches.add(Table::Child, b"/a", A);
        watches.add_persistent(b"/a", A);
        watches.add_recursive(b"/a", A);
        watches.add(Table::Data, b"/a", B);
    };
    fill(&mut watches);
    for which in [Children, Data, Persistent, PersistentRecursive] {
        assert!(watches.contains(b"/a", which, A), "{which:?}");
        assert!(watches.remove(b"/a", which, A), "{which:?}");
        assert!(!watches.contains(b"/a", which, A), "{which:?}");
        assert!(!watches.remove(b"/a", which, A), "{which:?}");
    }
    assert!(!watches.contains(b"/a", Any, A) && !watches.remove(b"/a", Any, A));
    fill(&mut watches);
    assert!(watches.contains(b"/a", Any, A) && watches.remove(b"/a", Any, A));
    assert!(!watches.contains(b"/a", Any, A) && watches.contains(b"/a", Any, B));
    assert_eq!(watches.len(), 1);
}

/// `wchs` and its details count the data table only; a connection's end takes all it had.
#[test]
fn summary_and_end() {
    let mut watches = Watches::new(1);
    watches.add(Table::Data, b"/a", A);
    watches.add_persistent(b"/b", A);
    watches.add_recursive(b"/b", B);
    watches.add(Table::Child, b"/c", B);
    assert_eq!(watches.summary(), Summary { connections: 2, paths: 2, watches: 3 });
    assert_eq!(watches.len(), 5);
    let mut by_cnxn: Vec<_> = watches
        .by_cnxn()
        .map(|(cnxn, paths)| {
            let mut paths: Vec<_> = paths.collect();
            paths.sort_unstable();
            (cnxn, paths)
        })
        .collect();
    by_cnxn.sort();
    assert_eq!(by_cnxn, [(A, vec![&b"/a"[..], b"/b"]), (B, vec![&b"/b"[..]])]);
    let mut by_path: Vec<_> = watches.by_path().map(|(path, cnxns)| (path, cnxns.count())).collect();
    by_path.sort_unstable();
    assert_eq!(by_path, [(&b"/a"[..], 1), (b"/b", 2)]);

    assert!(watches.remove_some(B, usize::MAX));
    assert_eq!(watches.summary(), Summary { connections: 1, paths: 2, watches: 2 });
    assert!(watches.remove_some(A, usize::MAX));
    assert!(watches.remove_some(A, usize::MAX));
    assert_eq!((watches.len(), watches.summary()), (0, Summary::default()));
    assert_eq!(changed(&mut watches, "/b/x"), []);
}

/// After a burst nothing is left of it.
#[test]
fn a_burst_leaves_no_memory() {
    let mut watches = Watches::new(1);
    for at in 0..20_000_u32 {
        watches.add(Table::Data, format!("/{at}").as_bytes(), Cnxn(at % 5000));
    }
    for cnxn in 0..5000 {
        assert!(watches.remove_some(Cnxn(cnxn), usize::MAX));
    }
    assert!(watches.is_empty());
    assert_eq!(watches.watches.slots.capacity() + watches.watches.free.capacity(), 0);
    assert_eq!(watches.by_pair.capacity() + watches.by_path.capacity() + watches.by_cnxn.capacity(), 0);
    assert_eq!(watches.paths.slots.capacity() + watches.watchers.slots.capacity(), 0);
}

/// Two managers after Java's `WatchManager`, as plainly as they can be written.
#[derive(Default)]
struct Model {
    tables: [BTreeMap<(String, u32), u8>; 2],
}

const STANDARD_BIT: u8 = 1;
const PERSISTENT_BIT: u8 = 2;
const RECURSIVE_BIT: u8 = 4;

impl Model {
    fn trigger(&mut self, table: usize, path: &str, skip: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut notified = BTreeSet::new();
        self.tables[table].retain(|(watched, cnxn), bits| {
            if watched == path {
                notified.insert(*cnxn);
                *bits &= !STANDARD_BIT;
            } else if *bits & RECURSIVE_BIT != 0
                && (watched == "/" || path.strip_prefix(watched.as_str()).is_some_and(|r| r.starts_with('/')))
            {
                notified.insert(*cnxn);
            }
            *bits != 0
        });
        notified.difference(skip).copied().collect()
    }

    fn remove(&mut self, table: usize, path: &str, cnxn: u32, bits: u8) -> bool {
        let key = (path.to_owned(), cnxn);
        let Some(before) = self.tables[table].get(&key).copied() else { return false };
        self.tables[table].insert(key, before & !bits);
        self.tables[table].retain(|_, bits| *bits != 0);
        before & bits != 0
    }

    /// Removes what a client's request of type `number` removes: true if there was some of it.
    fn remove_number(&mut self, number: i32, path: &str, cnxn: u32) -> bool {
        match number {
            1 => self.remove(1, path, cnxn, STANDARD_BIT),
            2 => self.remove(0, path, cnxn, STANDARD_BIT),
            3 => self.remove(1, path, cnxn, 7) | self.remove(0, path, cnxn, 7),
            4 => self.remove(1, path, cnxn, PERSISTENT_BIT) | self.remove(0, path, cnxn, PERSISTENT_BIT),
            _ => self.remove(0, path, cnxn, RECURSIVE_BIT),
        }
    }

    /// Events of a znode that is made or removed, in the order of their connections.
    fn change(&mut self, own: EventType, path: &str) -> Notified {
        let parent = std::str::from_utf8(crate::proto::path::split(path.as_bytes()).unwrap().0).unwrap();
        let mut expected: Notified = Vec::new();
        let data = self.trigger(0, path, &BTreeSet::new());
        expected.extend(data.iter().map(|&cnxn| event(Cnxn(cnxn), own, path)));
        if own == EventType::NodeDeleted {
            let child = self.trigger(1, path, &data);
            expected.extend(child.iter().map(|&cnxn| event(Cnxn(cnxn), own, path)));
        }
        let child = self.trigger(1, parent, &BTreeSet::new());
        let children = EventType::NodeChildrenChanged;
        expected.extend(child.iter().map(|&cnxn| event(Cnxn(cnxn), children, parent)));
        expected.sort_by_key(|event| event.0);
        expected
    }

    fn add(&mut self, table: usize, path: &str, cnxn: u32, bits: u8) {
        *self.tables[table].entry((path.to_owned(), cnxn)).or_default() |= bits;
    }

    fn summary(&self) -> Summary {
        let data = &self.tables[0];
        Summary {
            connections: data.keys().map(|key| key.1).collect::<BTreeSet<_>>().len(),
            paths: data.keys().map(|key| &key.0).collect::<BTreeSet<_>>().len(),
            watches: data.len(),
        }
    }
}

/// The watches and their model, which take the same changes.
struct Both {
    watches: Watches,
    model: Model,
}

impl Both {
    /// Makes the change of this kind to both, and compares the events that it causes.
    fn change(
        &mut self,
        round: u32,
        kind: u64,
        (path, cnxn): (&str, u32),
        random: &mut impl FnMut(u64) -> u64,
    ) {
        let Self { watches, model } = self;
        match kind {
            0 | 1 => {
                watches.add(Table::Data, path.as_bytes(), Cnxn(cnxn));
                model.add(0, path, cnxn, STANDARD_BIT);
            }
            2 | 3 => {
                watches.add(Table::Child, path.as_bytes(), Cnxn(cnxn));
                model.add(1, path, cnxn, STANDARD_BIT);
            }
            4 => {
                watches.add_persistent(path.as_bytes(), Cnxn(cnxn));
                model.add(0, path, cnxn, PERSISTENT_BIT);
                model.add(1, path, cnxn, PERSISTENT_BIT);
            }
            5 => {
                watches.add_recursive(path.as_bytes(), Cnxn(cnxn));
                model.add(0, path, cnxn, RECURSIVE_BIT);
            }
            6 if random(4) == 0 => {
                assert!(watches.remove_some(Cnxn(cnxn), usize::MAX));
                model.tables.iter_mut().for_each(|table| table.retain(|key, _| key.1 != cnxn));
            }
            7 | 8 => {
                let number = 1 + random(5) as i32;
                let removed = model.remove_number(number, path, cnxn);
                let which = WatcherType::from_wire(number).expect("1 to 5");
                assert_eq!(watches.contains(path.as_bytes(), which, Cnxn(cnxn)), removed);
                assert_eq!(watches.remove(path.as_bytes(), which, Cnxn(cnxn)), removed);
            }
            9 => {
                let expected = model.trigger(0, path, &BTreeSet::new());
                let got = changed(watches, path);
                let events = expected.iter().map(|&cnxn| event(Cnxn(cnxn), EventType::NodeDataChanged, path));
                assert_eq!(got, events.collect::<Vec<_>>());
            }
            10 | 11 if path != "/" => {
                let (own, mut got) = if kind == 10 {
                    (EventType::NodeCreated, created(watches, path))
                } else {
                    (EventType::NodeDeleted, deleted(watches, path))
                };
                got.sort_by_key(|event| event.0);
                assert_eq!(got, model.change(own, path), "round {round}");
            }
            _ => {}
        }
    }
}

/// Random changes tell the same connections the same events as Java's two tables do, and leave the
/// same watches.
#[test]
fn agrees_with_two_managers() {
    let mut state = 11_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let names = ["/", "/a", "/a/b", "/a/b/c", "/a/bb", "/d", "/d/e"];
    let mut both = Both { watches: Watches::new(5), model: Model::default() };
    for round in 0..50_000 {
        let path = names[random(7) as usize];
        let cnxn = random(6) as u32;
        let kind = random(12);
        both.change(round, kind, (path, cnxn), &mut random);
        let Both { watches, model } = &both;
        assert_eq!(watches.len(), model.tables[0].len() + model.tables[1].len(), "round {round}");
        assert_eq!(watches.summary(), model.summary(), "round {round}");
    }
}
