//! All of a snapshot in memory, sorted, with what lies below each znode.

use super::super::output::Output;
use super::super::values::Subtree;
use super::files::SnapshotFile;
use super::read::{About, Failure, read};
use super::znode::{Keep, Znode};
use crate::proto::{Acl, SessionId};
use crate::snapshot::{ACL_OPEN, Header, Node, Refused, Visitor};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

/// A snapshot.
#[derive(Debug)]
pub struct Image {
    /// Zxid, digest and counts.
    pub about: About,
    /// Sessions with their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Access lists by their ids in the snapshot.
    pub acls: BTreeMap<u32, Vec<Acl>>,
    /// Znodes, those below one right after it.
    pub nodes: Vec<Znode>,
    /// For each of these, what lies below it.
    pub below: Vec<Below>,
}

/// What lies below a znode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// Direct children.
    pub children: u32,
    /// Bytes of their names.
    pub name_bytes: u64,
    /// Znodes at any depth.
    pub nodes: u64,
    /// Data bytes of these and of the znode itself.
    pub bytes: u64,
    /// Its depth: 0 for the root.
    pub depth: usize,
}

impl Image {
    /// Loads a snapshot; what is wrong with it is reported.
    pub fn load(file: &SnapshotFile, keep: Keep, output: &mut Output) -> Option<Self> {
        let mut loader = Loader { keep, sessions: BTreeMap::new(), acls: BTreeMap::new(), nodes: Vec::new() };
        loader.acls.insert(ACL_OPEN, vec![Acl::open()]);
        match read(file, &mut loader) {
            Ok(about) => Some(Self::new(about, loader)),
            Err(Failure::Unreadable(why)) => {
                output.unreadable(&file.path, why);
                None
            }
            Err(Failure::Damage(offset, why)) => {
                output.damage(&file.path, offset, why);
                None
            }
        }
    }

    fn new(about: About, loader: Loader) -> Self {
        let Loader { sessions, acls, mut nodes, .. } = loader;
        nodes.sort_unstable_by(|one, other| order(&one.path, &other.path));
        let below = sums(&nodes);
        Self { about, sessions, acls, nodes, below }
    }

    /// The access list of a znode; `None` if the snapshot has no such list, as a fuzzy one may.
    pub fn acl(&self, node: &Znode) -> Option<&[Acl]> {
        self.acls.get(&node.acl).map(Vec::as_slice)
    }

    /// Where the znodes of a subtree are.
    pub fn range(&self, subtree: &Subtree) -> Range<usize> {
        let root = subtree.root().as_bytes();
        let start = self.nodes.partition_point(|node| order(&node.path, root) == Ordering::Less);
        let length = self.nodes[start..].partition_point(|node| subtree.contains(&node.path));
        start..start + length
    }
}

/// The order of paths in an image.
pub fn order(one: &[u8], other: &[u8]) -> Ordering {
    Znode::key(one).cmp(Znode::key(other))
}

/// The last name of a path.
fn name_bytes(path: &[u8]) -> u64 {
    path.rsplit(|byte| *byte == b'/').next().map_or(0, |name| name.len() as u64)
}

/// What lies below each of `nodes`, which are sorted.
fn sums(nodes: &[Znode]) -> Vec<Below> {
    let mut below: Vec<Below> =
        nodes.iter().map(|node| Below { bytes: node.data.len() as u64, ..Below::default() }).collect();
    // The znodes above the current one, from the root down.
    let mut above: Vec<usize> = Vec::new();
    let fold = |below: &mut Vec<Below>, above: &mut Vec<usize>| {
        let done = above.pop().expect("one is there");
        if let Some(&parent) = above.last() {
            let Below { nodes, bytes, .. } = below[done];
            below[parent].nodes += nodes + 1;
            below[parent].bytes += bytes;
        }
    };
    for (index, node) in nodes.iter().enumerate() {
        let is_above = |parent: &[u8]| {
            let rest = node.path.strip_prefix(parent);
            parent == b"/" || rest.is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        while above.last().is_some_and(|&parent| !is_above(&nodes[parent].path)) {
            fold(&mut below, &mut above);
        }
        if let Some(&parent) = above.last() {
            below[parent].children += 1;
            below[parent].name_bytes += name_bytes(&node.path);
        }
        below[index].depth = above.len();
        above.push(index);
    }
    while !above.is_empty() {
        fold(&mut below, &mut above);
    }
    below
}

/// Takes a snapshot's entries.
struct Loader {
    keep: Keep,
    sessions: BTreeMap<SessionId, i32>,
    acls: BTreeMap<u32, Vec<Acl>>,
    nodes: Vec<Znode>,
}

impl Visitor for Loader {
    fn header(&mut self, _header: &Header) -> Result<(), Refused> {
        Ok(())
    }

    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), Refused> {
        self.sessions.insert(id, timeout_ms);
        Ok(())
    }

    fn acl(&mut self, id: u32, acls: Vec<Acl>) -> Result<(), Refused> {
        self.acls.insert(id, acls);
        Ok(())
    }

    fn node(&mut self, node: Node<'_>) -> Result<(), Refused> {
        self.nodes.push(Znode::new(&node, self.keep));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Zxid;

    fn node(path: &str, data: &[u8]) -> Znode {
        let zxid = Zxid(1);
        let node = Node {
            path: path.as_bytes(),
            data: Some(data),
            acl: ACL_OPEN,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime_ms: 0,
            mtime_ms: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: 0,
        };
        Znode::new(&node, Keep::Length)
    }

    fn image(paths: &[(&str, &[u8])]) -> Image {
        let nodes = paths.iter().map(|(path, data)| node(path, data)).collect();
        let about = About { zxid: None, wall_ms: None, digest: None, tail: None, counts: Default::default() };
        let (sessions, acls) = (BTreeMap::new(), BTreeMap::new());
        Image::new(about, Loader { keep: Keep::Length, sessions, acls, nodes })
    }

    /// A subtree stands together, though "/a-b" sorts before "/a/b" as text.
    #[test]
    fn subtrees_stand_together() {
        let image = image(&[
            ("/a-b", b""),
            ("/a/b", b"12"),
            ("/", b"1"),
            ("/a", b""),
            ("/a/b/c", b"123"),
            ("/b", b""),
        ]);
        let paths: Vec<_> =
            image.nodes.iter().map(|node| std::str::from_utf8(&node.path).expect("text")).collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/a-b", "/b"]);
        let range = |path: &str| image.range(&path.parse().expect("a path"));
        assert_eq!((range("/a"), range("/"), range("/a/b"), range("/x").len()), (1..4, 0..6, 2..4, 0));
        let sums: Vec<_> = image.below.iter().map(|b| (b.children, b.nodes, b.bytes, b.depth)).collect();
        assert_eq!(
            sums,
            [(3, 5, 6, 0), (1, 2, 5, 1), (1, 1, 5, 2), (0, 0, 3, 3), (0, 0, 0, 1), (0, 0, 0, 1)]
        );
        assert_eq!(image.below[0].name_bytes, 1 + 3 + 1);
    }
}
