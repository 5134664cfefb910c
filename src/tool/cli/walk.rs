//! All znodes of a subtree, parents before their children, with many requests in flight.

use super::ask::{sorted, unexpected};
use super::error::{CliError, code_name};
use super::link::Link;
use super::pipe::{Pipe, READ_BYTES_MAX};
use super::target::child;
use super::watches::Kind;
use crate::client::{Body, Reply, Request};
use crate::proto::{Acl, ErrorCode, Stat};
use std::collections::VecDeque;

/// The subtree of ZooKeeper itself, which a walk from the root leaves out.
const SYSTEM: &str = "zookeeper";

/// What to read of each znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Its Stat.
    Stat,
    /// Its Stat, data and access list.
    Whole,
}

/// Which znodes, and what of them.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// What to read.
    pub read: Read,
    /// Levels below the root of the walk; `None` for all.
    pub depth_max: Option<usize>,
    /// True to leave a watch on the children of each znode; with [`Read::Stat`] only.
    pub watch: bool,
    /// True to go into `/zookeeper` as well.
    pub system: bool,
}

impl Walk {
    /// All znodes but those of `/zookeeper`.
    pub fn all(read: Read) -> Self {
        Self { read, depth_max: None, watch: false, system: false }
    }
}

/// A znode as the walk found it.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// From the chroot on.
    pub path: String,
    /// Levels below the root of the walk.
    pub depth: usize,
    /// Its Stat.
    pub stat: Stat,
    /// Its data; `None` is null, or was not asked for.
    pub data: Option<Vec<u8>>,
    /// Its access list; empty if it was not asked for.
    pub acl: Vec<Acl>,
}

/// Requests still to be sent.
#[derive(Debug)]
enum Ask {
    Node { path: String, depth: usize },
    Children { path: String, depth: usize },
}

/// What a reply is for.
#[derive(Debug)]
enum Step {
    /// Children and Stat, of a walk that reads Stats.
    Listing {
        path: String,
        depth: usize,
    },
    Data {
        path: String,
        depth: usize,
    },
    Acl,
    Children {
        path: String,
        depth: usize,
    },
}

/// Calls `visit` for `root` and the znodes below it. Znodes that vanish meanwhile are left out. Gives how many could not be
/// read for lack of permission; each is named on standard error.
///
/// # Errors
/// [`CliError::Refused`] where `root` cannot be read, or for any other error code; what `visit` gives;
/// [`CliError::Lost`].
pub fn walk(
    link: &mut Link,
    root: &str,
    walk: Walk,
    visit: &mut dyn FnMut(Node) -> Result<(), CliError>,
) -> Result<usize, CliError> {
    let is_server_root = link.target().full(root) == "/";
    let mut walker = Walker {
        pipe: Pipe::new(link, READ_BYTES_MAX),
        walk,
        root,
        skips_system: is_server_root && !walk.system,
        todo: VecDeque::from([Ask::Node { path: root.to_owned(), depth: 0 }]),
        half: None,
        unreadable: 0,
    };
    loop {
        while !walker.pipe.is_full()
            && let Some(ask) = walker.todo.pop_front()
        {
            walker.send(ask)?;
        }
        let Some((step, reply)) = walker.pipe.next()? else { return Ok(walker.unreadable) };
        if let Some(node) = walker.take(step, reply)? {
            visit(node)?;
            walker.pipe.link().keep_alive()?;
        }
    }
}

/// The znodes of [`walk`] in a list.
///
/// # Errors
/// As [`walk`]; [`CliError::Failed`] if one could not be read.
pub fn collect(link: &mut Link, root: &str, how: Walk) -> Result<Vec<Node>, CliError> {
    let mut nodes = Vec::new();
    let unreadable = walk(link, root, how, &mut |node| {
        nodes.push(node);
        Ok(())
    })?;
    complete(unreadable)?;
    Ok(nodes)
}

/// An error unless a walk could read all.
///
/// # Errors
/// [`CliError::Failed`] with the number.
pub fn complete(unreadable: usize) -> Result<(), CliError> {
    match unreadable {
        0 => Ok(()),
        count => Err(CliError::Failed(format!(
            "{count} znodes could not be read, nor what is below them (NoAuth)"
        ))),
    }
}

struct Walker<'a> {
    pipe: Pipe<'a, Step>,
    walk: Walk,
    root: &'a str,
    skips_system: bool,
    todo: VecDeque<Ask>,
    /// Data has come, the access list comes next.
    half: Option<Node>,
    unreadable: usize,
}

impl Walker<'_> {
    fn send(&mut self, ask: Ask) -> Result<(), CliError> {
        let (Ask::Node { path, .. } | Ask::Children { path, .. }) = &ask;
        let full = self.pipe.link().target().full(path);
        let bytes = || full.clone().into_bytes();
        match ask {
            Ask::Node { path, depth } if self.walk.read == Read::Stat => {
                if self.walk.watch {
                    self.pipe.link().watches.add(Kind::Child, &full);
                }
                let request = Request::GetChildren2 { path: bytes(), watch: self.walk.watch };
                self.pipe.send(Step::Listing { path, depth }, &request)
            }
            Ask::Node { path, depth } => {
                self.pipe
                    .send(Step::Data { path, depth }, &Request::GetData { path: bytes(), watch: false })?;
                self.pipe.send(Step::Acl, &Request::GetAcl { path: bytes() })
            }
            Ask::Children { path, depth } => {
                let request = Request::GetChildren2 { path: bytes(), watch: false };
                self.pipe.send(Step::Children { path, depth }, &request)
            }
        }
    }

    /// Takes a reply; gives a znode of which all has come.
    fn take(&mut self, step: Step, reply: Reply) -> Result<Option<Node>, CliError> {
        if reply.header.err != ErrorCode::Ok.to_wire() {
            self.refused(&step, reply.header.err)?;
            return Ok(None);
        }
        match (step, reply.body) {
            (Step::Listing { path, depth }, Body::Children { children, stat }) => {
                self.below(&path, depth, children);
                Ok(Some(Node { path, depth, stat, ..Node::default() }))
            }
            (Step::Data { path, depth }, Body::Data { data, stat }) => {
                if stat.children > 0 && self.is_deeper(depth) {
                    self.todo.push_front(Ask::Children { path: path.clone(), depth });
                }
                self.half = Some(Node { path, depth, stat, data, acl: Vec::new() });
                Ok(None)
            }
            (Step::Acl, Body::Acl { acl, .. }) => Ok(self.half.take().map(|node| Node { acl, ..node })),
            (Step::Children { path, depth }, Body::Children { children, .. }) => {
                self.below(&path, depth, children);
                Ok(None)
            }
            (_, _) => Err(unexpected(reply.op)),
        }
    }

    fn is_deeper(&self, depth: usize) -> bool {
        self.walk.depth_max.is_none_or(|depth_max| depth < depth_max)
    }

    fn below(&mut self, path: &str, depth: usize, children: Vec<Vec<u8>>) {
        if !self.is_deeper(depth) {
            return;
        }
        let is_skipped = |name: &String| depth == 0 && self.skips_system && name == SYSTEM;
        let names = sorted(children).into_iter().filter(|name| !is_skipped(name));
        self.todo.extend(names.map(|name| Ask::Node { path: child(path, &name), depth: depth + 1 }));
    }

    /// An error code for one znode: what has vanished is left out, what may not be read is counted.
    fn refused(&mut self, step: &Step, code: i32) -> Result<(), CliError> {
        let (path, is_root) = match step {
            Step::Listing { path, depth } | Step::Data { path, depth } | Step::Children { path, depth } => {
                (path.clone(), *depth == 0)
            }
            // The data has come: the error is that znode's, or the data's error has been counted.
            Step::Acl => match self.half.take() {
                Some(node) => (node.path, node.depth == 0),
                None => return Ok(()),
            },
        };
        match ErrorCode::from_wire(code) {
            _ if is_root => Err(CliError::refused(code, self.root)),
            Some(ErrorCode::NoNode) => Ok(()),
            Some(ErrorCode::NoAuth) => {
                super::output::note(&format!("not read: {path} ({})", code_name(code)));
                self.unreadable += 1;
                Ok(())
            }
            _ => Err(CliError::refused(code, &path)),
        }
    }
}
