//! What the console asks of the tree: pages that are put together in turns, while children come and go, and access lists.

use super::net::{Net, create, delete, put_create_acl, request};
use crate::proto::{Acl, ErrorCode, Id, OpCode, Perms};
use crate::replica::browse::{Browse, Browsed, Browsing, NameRange, NotBrowsed, Page, Wanted, ZnodeFound};

/// Children that a turn looks at here.
const TURN: usize = 7;

fn children(path: &str, after: &str, prefix: &str, limit: usize) -> Browsing {
    let range = NameRange { after: after.as_bytes().into(), prefix: prefix.as_bytes().into(), limit };
    Browsing::new(Browse { path: path.as_bytes().into(), ids: Vec::new(), wanted: Wanted::Children(range) })
}

fn page_of(browsed: Browsed) -> Page {
    match browsed {
        Browsed::Children(page) => page,
        other => panic!("not a page: {other:?}"),
    }
}

/// The page, and the turns that it took.
fn page(net: &Net, mut browsing: Browsing) -> (Page, usize) {
    for turns in 1..1000 {
        if let Some(browsed) = net.views[0].browse_some(&mut browsing, TURN).expect("an answer") {
            return (page_of(browsed), turns);
        }
    }
    panic!("no end");
}

fn names(page: &Page) -> Vec<String> {
    page.children.iter().map(|child| String::from_utf8_lossy(&child.name).into_owned()).collect()
}

fn znode(net: &Net, path: &str, ids: &[Id]) -> Result<ZnodeFound, NotBrowsed> {
    let browse = Browse { path: path.as_bytes().into(), ids: ids.to_vec(), wanted: Wanted::Znode };
    match net.views[0].browse_some(&mut Browsing::new(browse), 0)? {
        Some(Browsed::Znode(found)) => Ok(*found),
        other => panic!("not a znode: {other:?}"),
    }
}

/// 100 children, created in another order than that of their names.
fn many() -> (Net, usize) {
    let mut net = Net::new();
    let client = net.connect(0);
    net.ok(client, create(1, "/many", 0));
    for number in 0..100 {
        net.ok(client, create(1, &format!("/many/n{:02}", number * 37 % 100), 0));
    }
    (net, client)
}

/// Pages follow each other in the order of names without a gap or an overlap, each in turns of bounded work.
#[test]
fn pages_in_order() {
    let (net, _) = many();
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let (page, turns) = page(&net, children("/many", &after, "", 30));
        assert!((100 / TURN..=100 / TURN + 1).contains(&turns), "{turns} turns");
        assert_eq!(page.children_all, 100);
        all.extend(names(&page));
        after = all.last().expect("a name").clone();
        if !page.has_more {
            break;
        }
        assert_eq!(all.len() % 30, 0, "a page that another follows is full");
    }
    assert_eq!(all, (0..100).map(|number| format!("n{number:02}")).collect::<Vec<_>>());
    let (tens, _) = page(&net, children("/many", "n13", "n1", 3));
    assert_eq!((names(&tens), tens.has_more), (vec!["n14".into(), "n15".into(), "n16".into()], true));
    let (last, _) = page(&net, children("/many", "n98", "", 1));
    assert_eq!((names(&last), last.has_more), (vec!["n99".into()], false));
    let (none, _) = page(&net, children("/many/n00", "", "", 5));
    assert_eq!((names(&none), none.children_all), (Vec::new(), 0));
}

/// Where the child with which a page was to go on is deleted meanwhile, the page begins again: each child that stays is on
/// it once, and none that went before the last turn. Where that happens again and again the question ends with an error.
#[test]
fn children_that_go_meanwhile() {
    let (mut net, client) = many();
    let mut browsing = children("/many", "", "", 1000);
    assert!(net.views[0].browse_some(&mut browsing, TURN).expect("a turn").is_none());
    // The newest children are looked at first; this is the next one.
    let next = format!("/many/n{:02}", (99 - TURN) * 37 % 100);
    net.ok(client, delete(2, &next, -1));
    net.ok(client, create(3, "/many/new", 0));
    let (whole, _) = page(&net, browsing);
    let mut expected: Vec<_> = (0..100).map(|number| format!("n{number:02}")).collect();
    expected.retain(|name| !next.ends_with(name.as_str()));
    expected.push("new".to_owned());
    expected.sort();
    assert_eq!(names(&whole), expected);

    let mut browsing = children("/many", "", "", 1000);
    // With one child a turn, the page stands at the newest but one, which is the last of the loop that made them.
    let paths = (0..100).rev().map(|number| format!("/many/n{:02}", number * 37 % 100));
    let mut doomed = paths.filter(|path| *path != next);
    let end = loop {
        match net.views[0].browse_some(&mut browsing, 1) {
            Ok(None) => {}
            end => break end.map(|_| ()),
        }
        net.ok(client, delete(4, &doomed.next().expect("children are left"), -1));
    };
    assert_eq!(end, Err(NotBrowsed::Changing));
    net.ok(client, create(5, "/gone", 0));
    let mut gone = children("/gone", "", "", 1);
    net.ok(client, delete(6, "/gone", -1));
    let end = net.views[0].browse_some(&mut gone, TURN).map(|_| ());
    assert_eq!(end, Err(NotBrowsed::Refused(ErrorCode::NoNode)));
}

/// Without READ and ADMIN there is nothing to see; with READ the list is masked, with ADMIN alone there are no data, and a
/// name that may be listed says nothing else of a child that may not be read.
#[test]
fn access_lists() {
    let mut net = Net::new();
    let client = net.connect(0);
    let alice = Id::new("digest", "alice:hash");
    let entry = |perms, id: &Id| Acl { perms, id: id.clone() };
    let anyone = Id::new("world", "anyone");
    for (path, acl) in [
        ("/closed", vec![entry(Perms::ALL, &Id::new("digest", "bob:hash"))]),
        ("/read", vec![entry(Perms::READ, &anyone), entry(Perms::ADMIN, &alice)]),
        ("/list", vec![entry(Perms::ADMIN, &anyone), entry(Perms::READ, &alice)]),
    ] {
        net.ok(client, request(1, OpCode::CREATE, |out| put_create_acl(out, path, b"data", &acl, 0)));
    }
    let refused = Some(NotBrowsed::Refused(ErrorCode::NoAuth));
    let shown = |found: &ZnodeFound| found.acl().iter().map(Acl::to_string).collect::<Vec<_>>();
    assert_eq!(znode(&net, "/closed", &[]).err(), refused);
    assert_eq!(znode(&net, "/closed", std::slice::from_ref(&alice)).err(), refused);
    assert_eq!(net.views[0].browse_some(&mut children("/closed", "", "", 1), 1).err(), refused);
    let read = znode(&net, "/read", &[]).expect("READ");
    assert_eq!(
        (read.data(), shown(&read)),
        (Some(&b"data"[..]), vec!["world:anyone:r".into(), "digest:alice:x:a".into()])
    );
    let read = znode(&net, "/read", &[alice]).expect("ADMIN");
    assert_eq!(shown(&read), ["world:anyone:r", "digest:alice:hash:a"]);
    let list = znode(&net, "/list", &[]).expect("ADMIN");
    assert_eq!(
        (list.data(), shown(&list)),
        (None, vec!["world:anyone:a".into(), "digest:alice:hash:r".into()])
    );
    let (root, _) = page(&net, children("/", "", "", 10));
    let readable: Vec<_> = root.children.iter().map(|child| child.shown.is_some()).collect();
    assert_eq!(names(&root), ["closed", "list", "read", "zookeeper"]);
    assert_eq!(readable, [false, false, true, true]);
}
