//! Single requests with the replies that belong to them. Paths are the server's, the chroot included.

use super::error::CliError;
use super::link::Link;
use crate::client::{Body, Request};
use crate::proto::{Acl, ErrorCode, OpCode, Stat};

/// What to create.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// The server's path.
    pub full: String,
    /// Its data; `None` is null.
    pub data: Option<Vec<u8>>,
    /// Its access list.
    pub acl: Vec<Acl>,
    /// A `CreateMode`'s number.
    pub mode: i32,
    /// Milliseconds, for the modes that have a time to live.
    pub ttl_ms: i64,
}

/// Numbers of `CreateMode`.
pub const PERSISTENT: i32 = 0;
/// A container.
pub const CONTAINER: i32 = 4;
/// Persistent with a time to live; one more with a sequence number.
pub const PERSISTENT_WITH_TTL: i32 = 5;

impl NewNode {
    /// A persistent znode that all may use.
    pub fn open(full: &str, data: Option<Vec<u8>>) -> Self {
        Self { full: full.to_owned(), data, acl: vec![Acl::open()], mode: PERSISTENT, ttl_ms: 0 }
    }

    /// The request. Its reply has the Stat.
    pub fn request(self) -> Request {
        let op = match self.mode {
            CONTAINER => OpCode::CREATE_CONTAINER,
            PERSISTENT_WITH_TTL.. => OpCode::CREATE_TTL,
            _ => OpCode::CREATE2,
        };
        let (path, data) = (self.full.into_bytes(), self.data);
        Request::Create { op, path, data, acl: self.acl, flags: self.mode, ttl_ms: self.ttl_ms }
    }
}

/// Sends `request` about `full` and takes the body that `take` accepts.
fn ask<T>(
    link: &mut Link,
    full: &str,
    request: &Request,
    take: impl FnOnce(Body) -> Option<T>,
) -> Result<T, CliError> {
    let shown = link.target().within(full.as_bytes());
    let body = link.call(request, &shown)?.body;
    take(body).ok_or_else(|| unexpected(request.op()))
}

/// The error of a reply that does not belong to its request; [`Session`](crate::client::Session) excludes it.
pub fn unexpected(op: OpCode) -> CliError {
    CliError::Lost(format!("the reply to {op:?} is another request's"))
}

/// Data and Stat of a znode.
///
/// # Errors
/// As [`Link::call`].
pub fn data(link: &mut Link, full: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat), CliError> {
    let request = Request::GetData { path: full.into(), watch };
    ask(link, full, &request, |body| match body {
        Body::Data { data, stat } => Some((data, stat)),
        _ => None,
    })
}

/// The Stat of a znode; `None` where there is no such znode.
///
/// # Errors
/// As [`Link::call`].
pub fn exists(link: &mut Link, full: &str, watch: bool) -> Result<Option<Stat>, CliError> {
    let request = Request::Exists { path: full.into(), watch };
    match ask(link, full, &request, stat) {
        Err(error) if error.is(ErrorCode::NoNode) => Ok(None),
        other => other.map(Some),
    }
}

/// Names of a znode's children, sorted, and its Stat.
///
/// # Errors
/// As [`Link::call`].
pub fn children(link: &mut Link, full: &str, watch: bool) -> Result<(Vec<String>, Stat), CliError> {
    let request = Request::GetChildren2 { path: full.into(), watch };
    ask(link, full, &request, |body| match body {
        Body::Children { children, stat } => Some((sorted(children), stat)),
        _ => None,
    })
}

/// Names as text, sorted.
pub fn sorted(names: Vec<Vec<u8>>) -> Vec<String> {
    let mut names: Vec<String> =
        names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort_unstable();
    names
}

/// The access list of a znode, and its Stat.
///
/// # Errors
/// As [`Link::call`].
pub fn acl(link: &mut Link, full: &str) -> Result<(Vec<Acl>, Stat), CliError> {
    let request = Request::GetAcl { path: full.into() };
    ask(link, full, &request, |body| match body {
        Body::Acl { acl, stat } => Some((acl, stat)),
        _ => None,
    })
}

/// Creates a znode; gives the path that it got, and its Stat.
///
/// # Errors
/// As [`Link::call`].
pub fn create(link: &mut Link, node: NewNode) -> Result<(String, Stat), CliError> {
    let full = node.full.clone();
    ask(link, &full, &node.request(), |body| match body {
        Body::Created { path, stat } => Some((String::from_utf8_lossy(&path).into_owned(), stat)),
        _ => None,
    })
}

/// Creates a persistent znode unless there is one.
///
/// # Errors
/// As [`Link::call`], but for `NodeExists`.
pub fn create_if_absent(link: &mut Link, full: &str, data: Option<Vec<u8>>) -> Result<(), CliError> {
    match create(link, NewNode::open(full, data)) {
        Err(error) if error.is(ErrorCode::NodeExists) => Ok(()),
        other => other.map(drop),
    }
}

/// Sets a znode's data; gives its new Stat.
///
/// # Errors
/// As [`Link::call`].
pub fn set_data(link: &mut Link, full: &str, data: Vec<u8>, version: i32) -> Result<Stat, CliError> {
    ask(link, full, &Request::SetData { path: full.into(), data: Some(data), version }, stat)
}

/// Sets a znode's access list; gives its new Stat.
///
/// # Errors
/// As [`Link::call`].
pub fn set_acl(link: &mut Link, full: &str, acl: Vec<Acl>, version: i32) -> Result<Stat, CliError> {
    ask(link, full, &Request::SetAcl { path: full.into(), acl, version }, stat)
}

fn stat(body: Body) -> Option<Stat> {
    if let Body::Stat(stat) = body { Some(stat) } else { None }
}

/// Deletes a znode.
///
/// # Errors
/// As [`Link::call`].
pub fn delete(link: &mut Link, full: &str, version: i32) -> Result<(), CliError> {
    ask(link, full, &Request::Delete { path: full.into(), version }, |_| Some(()))
}

/// Sends a request whose reply is a list of paths.
///
/// # Errors
/// As [`Link::call`].
pub fn paths(link: &mut Link, full: &str, request: &Request) -> Result<Vec<Vec<u8>>, CliError> {
    ask(link, full, request, |body| if let Body::Paths(paths) = body { Some(paths) } else { None })
}

/// Sends a request whose reply is a number.
///
/// # Errors
/// As [`Link::call`].
pub fn number(link: &mut Link, full: &str, request: &Request) -> Result<i32, CliError> {
    ask(link, full, request, |body| if let Body::Number(number) = body { Some(number) } else { None })
}
