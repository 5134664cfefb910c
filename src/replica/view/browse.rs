//! What the console asks of a view's tree: one znode, or a page of the names below one.
//!
//! A page is in the order of names, and the tree has none: every child is looked at, and the first names after a given one
//! are kept. A znode may have hundreds of thousands, so that goes in turns, between which clients are served and children
//! come and go. A page shows each child that was there all the time, and perhaps some that came or went meanwhile.

use super::View;
use crate::auth::{self, AclList};
use crate::proto::{Acl, ErrorCode, Id, Perms, Stat, Zxid, path};
use crate::replica::Serving;
use crate::tree::{Body, NodeIndex, OwnerKind, Tree};
/// Children that one turn looks at: about 2 ms where none is in the processor's cache.
const CHILDREN_PER_TURN: usize = 8 << 10;

/// How often a page begins again because the child with which it was to go on is gone, or all of the parent.
const RESTARTS_MAX: u32 = 8;

/// Names on a page at most.
pub const PAGE_MAX: usize = 1000;

/// A question about the tree.
#[derive(Clone, Debug)]
pub struct Browse {
    /// The znode that it is about.
    pub path: Box<[u8]>,
    /// Who asks: what the lists of znodes are compared with.
    pub ids: Vec<Id>,
    /// What is asked of it.
    pub wanted: Wanted,
}

/// What is asked of a znode.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Itself.
    Znode,
    /// Some of its children.
    Children(NameRange),
}

/// Which children a page shows.
#[derive(Clone, Debug, Default)]
pub struct NameRange {
    /// Names that sort after this one, all if it is empty.
    pub after: Box<[u8]>,
    /// Names that begin so.
    pub prefix: Box<[u8]>,
    /// So many at most, of 1 to [`PAGE_MAX`].
    pub limit: usize,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBrowsed {
    /// What a client would be answered: `NoNode` or `NoAuth`.
    #[error("{0:?}")]
    Refused(ErrorCode),
    /// No client is served now, so the tree may hold what was never confirmed.
    #[error("the server serves no clients now")]
    NotServing,
    /// The children that were looked at keep going.
    #[error("children come and go too quickly for a list; try again")]
    Changing,
}

/// The answer.
#[derive(Clone, Debug)]
pub enum Browsed {
    /// To [`Wanted::Znode`].
    Znode(Box<ZnodeFound>),
    /// To [`Wanted::Children`].
    Children(Page),
}

/// A znode, as far as the one who asks may see it.
#[derive(Clone, Debug)]
pub struct ZnodeFound {
    /// As of which zxid.
    pub zxid: Zxid,
    /// Its stat.
    pub stat: Stat,
    /// What its owner means.
    pub kind: OwnerKind,
    /// All of it. [`ZnodeFound::data`] and [`ZnodeFound::acl`] say what may be shown.
    body: Body,
    /// The one who asks has READ.
    reads: bool,
    /// The one who asks has ADMIN.
    administers: bool,
}

impl ZnodeFound {
    /// Its data, null as empty; `None` without READ.
    pub fn data(&self) -> Option<&[u8]> {
        self.reads.then(|| self.body.bytes())
    }

    /// Its list; digests are masked without ADMIN.
    pub fn acl(&self) -> Vec<Acl> {
        match self.body.acl() {
            [] => vec![Acl::open()],
            acl if self.administers => acl.to_vec(),
            acl => auth::mask(acl),
        }
    }
}

/// Some children of a znode, by name.
#[derive(Clone, Debug)]
pub struct Page {
    /// As of which zxid the page was finished.
    pub zxid: Zxid,
    /// All children that the znode has.
    pub children_all: u32,
    /// Those of the page.
    pub children: Vec<Child>,
    /// Whether more names follow the last one.
    pub has_more: bool,
}

/// A child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name, without the parent's path.
    pub name: Box<[u8]>,
    /// What its own stat says; `None` where the one who asks may not read it.
    pub shown: Option<ChildShown>,
}

/// What a list shows of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildShown {
    /// Its direct children.
    pub children: u32,
    /// Bytes of its data.
    pub data_bytes: usize,
    /// What its owner means.
    pub kind: OwnerKind,
}

/// A question under way.
#[derive(Debug)]
pub struct Browsing {
    browse: Browse,
    /// The first names of the range among the children that were looked at, one more than the page has: that one says
    /// whether another page follows.
    names: Vec<Box<[u8]>>,
    place: Place,
    restarts: u32,
}

/// Where a list goes on.
#[derive(Debug)]
enum Place {
    /// At the newest child.
    Start,
    /// At this child, if it is still the one that was created by `child_czxid`, and its parent the one of `parent_czxid`.
    At { child: Box<[u8]>, child_czxid: Zxid, parent_czxid: Zxid },
}

/// The first names of a range, in any order.
struct First<'t> {
    range: &'t NameRange,
    names: Vec<&'t [u8]>,
    /// No name after this one is among the first.
    last: Option<&'t [u8]>,
}

impl<'t> First<'t> {
    /// Keeps a name if it may be among them.
    fn note(&mut self, name: &'t [u8]) {
        let NameRange { after, prefix, limit } = self.range;
        if name <= &**after || !name.starts_with(prefix) || self.last.is_some_and(|last| name > last) {
            return;
        }
        self.names.push(name);
        // Rarely, so that it costs each name little, in whatever order they come.
        if self.names.len() > 2 * (limit + 1) {
            self.cut();
        }
    }

    /// Drops what is not among the first.
    fn cut(&mut self) {
        let limit = self.range.limit;
        if self.names.len() > limit + 1 {
            let (_, last, _) = self.names.select_nth_unstable(limit);
            self.last = Some(*last);
            self.names.truncate(limit + 1);
        }
    }
}

impl Browsing {
    /// Begins; [`View::browse`] does the work.
    pub fn new(browse: Browse) -> Self {
        Self { browse, names: Vec::new(), place: Place::Start, restarts: 0 }
    }

    /// The child to go on with; `None` at the end. Begins again where the former one is gone.
    fn next(&mut self, tree: &Tree, parent: NodeIndex) -> Result<Option<NodeIndex>, NotBrowsed> {
        let found = match &self.place {
            Place::Start => return Ok(tree.newest_child(parent)),
            Place::At { child, child_czxid, parent_czxid } => {
                let is_same = |index: &NodeIndex| tree.body(*index).fixed().czxid == *child_czxid;
                tree.find(child).filter(is_same).filter(|_| tree.body(parent).fixed().czxid == *parent_czxid)
            }
        };
        if found.is_some() {
            return Ok(found);
        }
        self.restarts += 1;
        self.names.clear();
        match self.restarts > RESTARTS_MAX {
            true => Err(NotBrowsed::Changing),
            false => Ok(tree.newest_child(parent)),
        }
    }
}

impl View {
    /// Goes on with a question for a turn; `None` if it is to be called again.
    pub fn browse(&self, browsing: &mut Browsing) -> Option<Result<Browsed, NotBrowsed>> {
        self.browse_some(browsing, CHILDREN_PER_TURN).transpose()
    }

    /// The same for a turn of so many children.
    pub(in crate::replica) fn browse_some(
        &self,
        browsing: &mut Browsing,
        children: usize,
    ) -> Result<Option<Browsed>, NotBrowsed> {
        if self.data.serving == Serving::No {
            return Err(NotBrowsed::NotServing);
        }
        let tree = &self.data.tree;
        let index = tree.find(&browsing.browse.path).ok_or(NotBrowsed::Refused(ErrorCode::NoNode))?;
        let ids = &browsing.browse.ids;
        let Wanted::Children(range) = &browsing.browse.wanted else {
            return Ok(Some(Browsed::Znode(Box::new(self.znode(index, ids)?))));
        };
        // Asked in each turn: the list may be another one by now.
        if !self.permits(tree.body(index).acl_list(), Perms::READ, ids) {
            return Err(NotBrowsed::Refused(ErrorCode::NoAuth));
        }
        let range = range.clone();
        let next = browsing.next(tree, index)?;
        let mut first = First { range: &range, names: Vec::new(), last: None };
        browsing.names.iter().for_each(|name| first.note(name));
        let mut siblings = next.into_iter().flat_map(|next| tree.older_siblings(next));
        siblings.by_ref().take(children).for_each(|(_, name)| first.note(name));
        first.cut();
        let names = first.names.into_iter().map(Box::from).collect();
        let place = siblings.next().map(|(child, _)| tree.body(child));
        browsing.names = names;
        let Some(child) = place else { return Ok(Some(self.page(index, browsing, range.limit))) };
        browsing.place = Place::At {
            child: child.path().into(),
            child_czxid: child.fixed().czxid,
            parent_czxid: tree.body(index).fixed().czxid,
        };
        Ok(None)
    }

    fn permits(&self, list: Option<&AclList>, wanted: Perms, ids: &[Id]) -> bool {
        self.data.policy.permits_by(list, wanted, ids)
    }

    /// As getData and getACL together. Source: `FinalRequestProcessor`, Apache ZooKeeper 3.9.
    fn znode(&self, index: NodeIndex, ids: &[Id]) -> Result<ZnodeFound, NotBrowsed> {
        let (tree, body) = (&self.data.tree, self.data.tree.body(index));
        let list = body.acl_list();
        let (reads, administers) =
            (self.permits(list, Perms::READ, ids), self.permits(list, Perms::ADMIN, ids));
        if !reads && !administers {
            return Err(NotBrowsed::Refused(ErrorCode::NoAuth));
        }
        Ok(ZnodeFound {
            zxid: self.data.zxid,
            stat: tree.stat(index),
            kind: tree.owner_kind(index),
            body: body.clone(),
            reads,
            administers,
        })
    }

    fn page(&self, parent: NodeIndex, browsing: &mut Browsing, limit: usize) -> Browsed {
        let mut names = std::mem::take(&mut browsing.names);
        names.sort_unstable();
        let has_more = names.len() > limit;
        names.truncate(limit);
        let children = names.into_iter().map(|name| {
            let shown = self.child_shown(&path::join(&browsing.browse.path, &name), &browsing.browse.ids);
            Child { name, shown }
        });
        Browsed::Children(Page {
            zxid: self.data.zxid,
            children_all: self.data.tree.child_count(parent),
            children: children.collect(),
            has_more,
        })
    }

    /// What exists would show of a child.
    fn child_shown(&self, path: &[u8], ids: &[Id]) -> Option<ChildShown> {
        let tree = &self.data.tree;
        let index = tree.find(path)?;
        let body = tree.body(index);
        self.permits(body.acl_list(), Perms::READ, ids).then(|| ChildShown {
            children: tree.child_count(index),
            data_bytes: body.bytes().len(),
            kind: tree.owner_kind(index),
        })
    }
}
