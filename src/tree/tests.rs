use super::*;
use crate::proto::SessionId;

fn settings() -> Settings {
    Settings { extended_types: ExtendedTypes::On, digests: Digests::Kept, hash_seed: 1 }
}

fn fixed(zxid: u64, owner: Owner) -> Fixed {
    let zxid = Zxid(zxid);
    Fixed { czxid: zxid, mzxid: zxid, ctime_ms: 5, mtime_ms: 5, version: 0, aversion: 0, owner, acl: None }
}

fn create(tree: &mut Tree, path: &str, zxid: u64, owner: Owner) -> NodeIndex {
    let parent = tree.find(path::split(path.as_bytes()).unwrap().0).unwrap();
    let body = tree.make_body(path.as_bytes(), Some(b"data"), fixed(zxid, owner));
    let index = tree.insert(parent, body);
    let (cversion, _) = tree.child_stat(parent);
    tree.set_child_stat(parent, cversion + 1, Zxid(zxid));
    index
}

fn delete(tree: &mut Tree, path: &str, zxid: u64) {
    let parent = tree.find(path::split(path.as_bytes()).unwrap().0).unwrap();
    let index = tree.find(path.as_bytes()).unwrap();
    tree.remove(parent, index);
    let (cversion, _) = tree.child_stat(parent);
    tree.set_child_stat(parent, cversion, Zxid(zxid));
}

fn image_paths(tree: &mut Tree, mut between: impl FnMut(&mut Tree, usize)) -> Vec<(String, i32, u64)> {
    let mut out = Vec::new();
    tree.begin_image();
    let mut slice = 0;
    while tree.image_slice(2, &mut out) {
        between(tree, slice);
        slice += 1;
    }
    let mut rows: Vec<_> = out
        .iter()
        .map(|node| (String::from_utf8_lossy(node.body.path()).into_owned(), node.cversion, node.pzxid.0))
        .collect();
    rows.sort();
    rows
}

/// A fresh tree looks as a fresh 3.9 server's, stats included.
#[test]
fn fresh_tree() {
    let tree = Tree::new(settings());
    let root = tree.find(b"/").unwrap();
    assert_eq!(tree.find(b""), Some(root));
    assert_eq!(tree.stat(root), Stat { cversion: -1, children: 1, ..Stat::default() });
    let zookeeper = tree.find(b"/zookeeper").unwrap();
    assert_eq!(tree.stat(zookeeper), Stat { cversion: -2, children: 2, ..Stat::default() });
    let config = tree.find(b"/zookeeper/config").unwrap();
    assert_eq!(tree.stat(config).aversion, -1);
    assert_eq!(tree.descendants(root), 3);
}

/// cversion on the wire counts creations and deletions; the internal one only creations.
#[test]
fn cversion_counts_both() {
    let mut tree = Tree::new(settings());
    let parent = create(&mut tree, "/p", 1, Owner::PERSISTENT);
    create(&mut tree, "/p/a", 2, Owner::PERSISTENT);
    create(&mut tree, "/p/b", 3, Owner::PERSISTENT);
    delete(&mut tree, "/p/a", 4);
    assert_eq!(tree.child_stat(parent), (2, Zxid(4)));
    let stat = tree.stat(parent);
    assert_eq!((stat.cversion, stat.children, stat.pzxid), (3, 1, Zxid(4)));
    assert_eq!(tree.children(parent).collect::<Vec<_>>(), [b"b"]);
}

/// The owner of a container or TTL node is stored and not shown; an ephemeral's is both.
#[test]
fn owners() {
    let mut tree = Tree::new(settings());
    let ephemeral = create(&mut tree, "/e", 1, Owner(77));
    let container = create(&mut tree, "/c", 2, Owner::CONTAINER);
    let ttl = create(&mut tree, "/t", 3, Owner::ttl(100).unwrap());
    assert_eq!(tree.stat(ephemeral).ephemeral_owner, SessionId(77));
    assert_eq!(tree.stat(container).ephemeral_owner, SessionId::NONE);
    assert_eq!(tree.stat(ttl).ephemeral_owner, SessionId::NONE);
    assert_eq!(tree.ephemerals(SessionId(77)).collect::<Vec<_>>(), [b"/e"]);
    assert_eq!(Owner::ttl(0), None);
    assert_eq!(Owner::ttl(TTL_MS_MAX + 1), None);
    assert_eq!(tree.due_for_removal(104, 0), Vec::<Box<[u8]>>::new());
    assert_eq!(tree.due_for_removal(106, 0), [Box::from(&b"/t"[..])]);
    assert_eq!(tree.due_for_removal(106, 100).len(), 2);
}

/// Owners as 3.5.3 wrote them are TTL nodes' only where they are emulated; containers and sessions stay what they are.
#[test]
fn owners_of_353() {
    const OLD_TTL: i64 = i64::MIN | 100;
    let kinds = |owner: i64| {
        [ExtendedTypes::Off, ExtendedTypes::On, ExtendedTypes::Emulate353]
            .map(|types| Owner(owner).kind(types))
    };
    let (ttl, session) =
        (OwnerKind::Ttl { ttl_ms: 100 }, OwnerKind::Ephemeral { session_id: SessionId(OLD_TTL) });
    assert_eq!(kinds(OLD_TTL), [session, session, ttl]);
    let new = Owner::ttl(100).unwrap().0;
    assert_eq!(kinds(new), [OwnerKind::Ephemeral { session_id: SessionId(new) }, ttl, ttl]);
    assert_eq!(kinds(i64::MIN), [OwnerKind::Container; 3]);
    assert_eq!(kinds(77), [OwnerKind::Ephemeral { session_id: SessionId(77) }; 3]);
    assert_eq!(kinds(0), [OwnerKind::Persistent; 3]);

    let mut tree = Tree::new(Settings { extended_types: ExtendedTypes::Emulate353, ..settings() });
    let index = create(&mut tree, "/t", 3, Owner(OLD_TTL));
    assert_eq!(tree.stat(index).ephemeral_owner, SessionId::NONE);
    assert_eq!(tree.ephemeral_count(), 0);
    assert_eq!(tree.due_for_removal(106, 0), [Box::from(&b"/t"[..])]);
}

/// A counter of creations only goes forward, and pzxid with it.
#[test]
fn counter_at_its_end() {
    let mut tree = Tree::new(settings());
    let parent = create(&mut tree, "/p", 1, Owner::PERSISTENT);
    tree.set_child_stat(parent, i32::MAX, Zxid(7));
    let fixed = tree.body(parent).fixed().clone();
    let body = tree.make_body(b"/p/a", None, fixed);
    let change = crate::txn::Change::Created { body, parent_cversion: i32::MIN };
    change.apply(&mut tree, Zxid(9));
    assert_eq!(tree.child_stat(parent), (i32::MAX, Zxid(7)));
}

/// The digest is a function of the tree alone: whatever way led there, and back, gives the same.
#[test]
fn digest_forgets_the_way() {
    let mut tree = Tree::new(settings());
    create(&mut tree, "/p", 1, Owner::PERSISTENT);
    let before = tree.digest();
    create(&mut tree, "/p/a", 2, Owner::PERSISTENT);
    assert_ne!(tree.digest(), before);
    delete(&mut tree, "/p/a", 3);
    tree.set_child_stat(tree.find(b"/p").unwrap(), 0, Zxid(1));
    assert_eq!(tree.digest(), before);
    create(&mut tree, "/zookeeper/quota/x", 0, Owner::PERSISTENT);
    tree.set_child_stat(tree.find(b"/zookeeper/quota").unwrap(), 0, Zxid(0));
    assert_eq!(tree.digest(), before, "what is below /zookeeper/ does not count");
}

/// An image shows the tree as it was when it began, whatever happens while it is taken: changes of
/// stats, deletions, places reused and children that come later.
#[test]
fn image_is_of_one_moment() {
    let mut tree = Tree::new(settings());
    for n in 0..20 {
        create(&mut tree, &format!("/n{n:02}"), n + 1, Owner::PERSISTENT);
    }
    let expected = image_paths(&mut tree.clone(), |_, _| ());
    assert_eq!(expected.len(), 24);
    let taken = image_paths(&mut tree, |tree, slice| match slice {
        0 => delete(tree, "/n19", 100),
        1 => {
            create(tree, "/n19", 101, Owner::PERSISTENT);
            create(tree, "/n00/late", 102, Owner::PERSISTENT);
            create(tree, "/n18/late", 103, Owner::PERSISTENT);
        }
        2 => delete(tree, "/n01", 104),
        3 => delete(tree, "/n17", 105),
        4 => {
            create(tree, "/later", 106, Owner::PERSISTENT);
        }
        _ => {
            let index = tree.find(b"/n16").unwrap();
            let body = tree.make_body(b"/n16", Some(b"new"), fixed(107, Owner::PERSISTENT));
            tree.replace(index, body);
        }
    });
    assert_eq!(taken, expected);
}

/// A tree restored from an image, znodes in any order, is the same tree.
#[test]
fn restored_from_image() {
    let mut tree = Tree::new(settings());
    create(&mut tree, "/p", 1, Owner::PERSISTENT);
    create(&mut tree, "/p/a", 2, Owner::PERSISTENT);
    create(&mut tree, "/p/e", 3, Owner(9));
    delete(&mut tree, "/p/a", 4);
    let mut nodes = Vec::new();
    tree.begin_image();
    while tree.image_slice(100, &mut nodes) {}
    let mut copy = Tree::empty(settings());
    nodes.iter().rev().for_each(|node| copy.restore(node.clone()));
    assert_eq!(copy.link_restored(), Ok(()));
    assert_eq!(
        (copy.digest(), copy.len(), copy.data_bytes()),
        (tree.digest(), tree.len(), tree.data_bytes())
    );
    let stat = |tree: &Tree| tree.stat(tree.find(b"/p").unwrap());
    assert_eq!(stat(&copy), stat(&tree));
    let mut orphan = Tree::empty(settings());
    nodes.iter().filter(|node| node.body.path() != b"/p").for_each(|node| orphan.restore(node.clone()));
    assert_eq!(orphan.link_restored(), Err(b"/p/e".to_vec()));
}

/// What is counted below each znode is what is there, whatever came, went and changed its size, and in a restored tree.
#[test]
fn sums_of_subtrees() {
    fn walk(tree: &Tree, path: &str) -> (usize, u64) {
        let index = tree.find(path.as_bytes()).unwrap();
        let mut sum = (1, tree.body(index).bytes().len() as u64);
        let names: Vec<_> =
            tree.children(index).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        for name in names {
            let below = walk(tree, &format!("{}/{name}", path.trim_end_matches('/')));
            sum = (sum.0 + below.0, sum.1 + below.1);
        }
        sum
    }
    fn check(tree: &Tree) {
        for place in 0..tree.slab.end() {
            let Some(body) = tree.slab.entry(NodeIndex(place)).body.clone() else { continue };
            let path = std::str::from_utf8(body.path()).unwrap();
            assert_eq!(tree.subtree(NodeIndex(place)), walk(tree, path), "{path}");
            assert_eq!(tree.descendants(NodeIndex(place)), walk(tree, path).0 - 1, "{path}");
        }
    }
    let mut tree = Tree::new(settings());
    let mut paths: Vec<String> = vec!["/".to_owned()];
    let mut random = 7u64;
    for zxid in 1..1500 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) as usize % paths.len();
        let path = paths[at].clone();
        let index = tree.find(path.as_bytes()).unwrap();
        match (random >> 20) % 4 {
            0 if path != "/" && tree.child_count(index) == 0 => {
                delete(&mut tree, &path, zxid);
                paths.swap_remove(at);
            }
            1 => {
                let data = vec![7; (random >> 40) as usize % 50];
                let body = tree.make_body_like(index, Some(&data), tree.body(index).fixed().clone());
                tree.replace(index, body);
            }
            _ => {
                let child = format!("{}/{zxid}", path.trim_end_matches('/'));
                create(&mut tree, &child, zxid, Owner::PERSISTENT);
                paths.push(child);
            }
        }
        if zxid % 100 == 0 {
            check(&tree);
        }
    }
    let mut nodes = Vec::new();
    tree.begin_image();
    while tree.image_slice(100, &mut nodes) {}
    let mut restored = Tree::empty(settings());
    // Children come before their parents here.
    nodes.into_iter().rev().for_each(|node| restored.restore(node));
    restored.link_restored().unwrap();
    check(&restored);
    create(&mut restored, "/last", 9000, Owner::PERSISTENT);
    check(&restored);
}

/// Ephemerals below a prefix are those whose paths begin with it, also once their data has changed.
#[test]
fn ephemerals_by_prefix() {
    let mut tree = Tree::new(settings());
    for (zxid, path) in ["/a", "/ab", "/b", "/aa"].into_iter().enumerate() {
        create(&mut tree, path, zxid as u64 + 1, Owner(5));
    }
    create(&mut tree, "/ac", 9, Owner(6));
    let index = tree.find(b"/ab").unwrap();
    let body = tree.make_body_like(index, Some(b"other"), tree.body(index).fixed().clone());
    tree.replace(index, body);
    let below = |tree: &Tree, prefix: &'static [u8]| -> Vec<String> {
        let paths = tree.ephemerals_below(SessionId(5), prefix);
        paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    };
    assert_eq!(below(&tree, b"/a"), ["/a", "/aa", "/ab"]);
    assert_eq!(below(&tree, b""), ["/a", "/aa", "/ab", "/b"]);
    assert_eq!(below(&tree, b"/c"), [""; 0]);
    delete(&mut tree, "/ab", 10);
    assert_eq!(below(&tree, b"/ab"), [""; 0]);
    assert_eq!(tree.ephemerals_of(SessionId(5)), 3);
}

/// A slice has so many bytes and one znode at most, also of what changed meanwhile; an image for a learner is taken beside
/// one for a snapshot, each of its own moment.
#[test]
fn slices_are_bounded_by_bytes() {
    const DATA: usize = 1000;
    let mut tree = Tree::new(settings());
    for zxid in 1..=100 {
        create(&mut tree, &format!("/{zxid:03}"), zxid, Owner::PERSISTENT);
    }
    let set_all = |tree: &mut Tree, byte: u8| {
        for zxid in 1..=100 {
            let index = tree.find(format!("/{zxid:03}").as_bytes()).unwrap();
            let body = tree.make_body_like(index, Some(&[byte; DATA]), tree.body(index).fixed().clone());
            tree.replace(index, body);
        }
    };
    set_all(&mut tree, 1);
    tree.begin_image_of(ImageOf::Snapshot);
    set_all(&mut tree, 2);
    tree.begin_image_of(ImageOf::Learner);
    set_all(&mut tree, 3);
    let mut images = [Vec::new(), Vec::new()];
    for (of, all) in [ImageOf::Learner, ImageOf::Snapshot].into_iter().zip(&mut images) {
        let mut more = true;
        while more {
            let mut slice = Vec::new();
            more = tree.image_slice_of(of, 1000, 5 * DATA, &mut slice);
            let bytes: usize = slice.iter().map(|node| node.body.path_and_data().len()).sum();
            assert!(bytes < 6 * DATA + 100, "{bytes} bytes in a slice");
            all.append(&mut slice);
        }
    }
    for (all, byte) in images.iter().zip([2, 1]) {
        assert_eq!(all.len(), 104);
        let set = all.iter().filter(|node| node.body.bytes() == [byte; DATA]).count();
        assert_eq!(set, 100);
    }
}
