//! Named the audit log says of the requests of a view's clients.
//!
//! A request's line is known in two parts: who asked what, when it is sent up, and what became of it, when its entry comes
//! back. The first part waits here. It outlives the connection: a client that asks and hangs up is in the log as well.
//!
//! Source: `AuditHelper`, `DataTree.deleteNodes`, Apache ZooKeeper 3.9.4.

use super::address::ip_text;
use super::cnxn::Cnxn;
use crate::admin::{AuditEvent, AuditResult};
use crate::proto::request::{Create, MultiOp, PathVersion, Reconfig, SetAcl, SetData, read_multi};
use crate::proto::{Id, OpCode, Perms, Reader, SessionId};
use crate::replica::{CnxnId, MultiResult, TxnKind};
use crate::txn::Change;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const CREATE: &str = "create";
const DELETE: &str = "delete";
const SET_DATA: &str = "setData";

/// The audit log of a view, without its file.
#[derive(Debug)]
pub(super) struct Audit {
    /// The user that the server runs as.
    user: Box<str>,
    /// Requests of each connection that are with the commit side, oldest first.
    waiting: BTreeMap<(u32, u32), VecDeque<Option<Asked>>>,
    lines: Vec<String>,
}

/// A request that the log wants to know of: who asks what.
#[derive(Debug)]
struct Asked {
    session_id: SessionId,
    ids: Arc<[Id]>,
    ip: Box<str>,
    named: Named,
}

/// Named is asked, as the log names it.
#[derive(Debug)]
struct Named {
    operation: &'static str,
    znode: Option<Box<[u8]>>,
    znode_type: Option<&'static str>,
    acl: Option<String>,
    /// Of a multi: the modes of its creates by path; those of createTTL are not among them, as in Java.
    modes: BTreeMap<Box<[u8]>, &'static str>,
}

impl Audit {
    /// A log without lines, of a server that runs as `user`.
    pub fn new(user: &str) -> Self {
        Self { user: user.into(), waiting: BTreeMap::new(), lines: Vec::new() }
    }

    /// A client's request is sent up. Each of them is noted, so that the answers, which come in their order, find theirs.
    #[cold]
    pub fn asked(&mut self, id: CnxnId, cnxn: &Cnxn, op: OpCode, body: &[u8]) {
        let asked = Named::of(op, body).map(|named| Asked {
            session_id: cnxn.session_id,
            ids: cnxn.ids.clone(),
            ip: ip_text(cnxn.peer.ip()).into(),
            named,
        });
        self.waiting.entry((id.slot, id.generation)).or_default().push_back(asked);
    }

    /// The oldest request of a connection has its answer, and has made these changes.
    #[cold]
    pub fn answered(&mut self, to: CnxnId, kind: TxnKind, changes: &[Change], results: &[MultiResult]) {
        if let Some(asked) = self.take(to) {
            self.add(asked, kind, changes, results);
        }
    }

    fn add(&mut self, asked: Asked, kind: TxnKind, changes: &[Change], results: &[MultiResult]) {
        let Asked { session_id, ids, ip, named } = asked;
        let user = users(&ids);
        let mut add = |operation, znode, znode_type, acl, result| {
            let (session, user, ip) = (Some(session_id), user.as_deref(), Some(&*ip));
            let event = AuditEvent { session, user, ip, operation, znode, znode_type, acl, result };
            self.lines.push(event.to_string());
        };
        let Named { operation, znode, znode_type, acl, modes } = named;
        match kind {
            TxnKind::Multi if results.iter().all(|result| result.op != OpCode::ERROR) => {
                let mut rest = changes;
                for result in results {
                    let (own, others) = rest.split_at(result.changes as usize);
                    rest = others;
                    let Some(operation) = name_of(result.op) else { continue };
                    let path = own.first().map(Change::path);
                    let mode = path.filter(|_| operation == CREATE).and_then(|path| modes.get(path));
                    add(operation, path, mode.copied(), None, AuditResult::Success);
                }
            }
            TxnKind::Done(_) => {
                // The path of a sequential znode is known only now.
                let path = changes.first().map(Change::path).or(znode.as_deref());
                add(operation, path, znode_type, acl.as_deref(), AuditResult::Success);
            }
            TxnKind::Multi | TxnKind::Failed(_) | TxnKind::Moved | TxnKind::Dropped => {
                add(operation, znode.as_deref(), znode_type, acl.as_deref(), AuditResult::Failure);
            }
            TxnKind::Synced => {}
        }
    }

    /// The request that closes a session has its answer.
    #[cold]
    pub fn closed(&mut self, to: CnxnId) {
        self.take(to);
    }

    /// A session has ended, and these changes with it.
    #[cold]
    pub fn session_ended(&mut self, session_id: SessionId, changes: &[Change]) {
        for change in changes {
            let Change::Deleted { body } = change else { continue };
            let event = AuditEvent {
                session: Some(session_id),
                znode: Some(body.path()),
                ..AuditEvent::of_server(
                    &self.user,
                    "ephemeralZNodeDeletionOnSessionCloseOrExpire",
                    AuditResult::Success,
                )
            };
            self.lines.push(event.to_string());
        }
    }

    /// No request that waits will have an answer.
    pub fn void_requests(&mut self) {
        self.waiting.clear();
    }

    /// The lines since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    fn take(&mut self, CnxnId { slot, generation, .. }: CnxnId) -> Option<Asked> {
        let waiting = self.waiting.get_mut(&(slot, generation))?;
        let asked = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&(slot, generation));
        }
        asked
    }
}

impl Named {
    /// `None` of a request that the log says nothing of, or that it cannot read.
    fn of(op: OpCode, body: &[u8]) -> Option<Self> {
        let reader = &mut Reader::new(body);
        let named = |operation, znode: Option<&[u8]>| Self {
            operation,
            znode: znode.map(Into::into),
            znode_type: None,
            acl: None,
            modes: BTreeMap::new(),
        };
        match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                let create = Create::read(reader, op).ok()?;
                Some(Self { znode_type: Some(mode(create.flags)?), ..named(CREATE, create.path) })
            }
            OpCode::DELETE => Some(named(DELETE, PathVersion::read(reader).ok()?.path)),
            OpCode::SET_DATA => Some(named(SET_DATA, SetData::read(reader).ok()?.path)),
            OpCode::SET_ACL => {
                let SetAcl { path, acl, .. } = SetAcl::read(reader).ok()?;
                let text =
                    |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"null")).into_owned();
                let entries = acl
                    .iter()
                    .map(|entry| format!("{}:{}:{}", text(entry.scheme), text(entry.id), Perms(entry.perms)));
                Some(Self { acl: Some(entries.collect()), ..named("setAcl", path) })
            }
            OpCode::MULTI => {
                let ops = read_multi(reader).unwrap_or_default();
                let modes = ops.iter().filter_map(|op| match op {
                    MultiOp::Create(OpCode::CREATE_TTL, _) => None,
                    MultiOp::Create(_, create) => Some((create.path?.into(), mode(create.flags)?)),
                    _ => None,
                });
                Some(Self { modes: modes.collect(), ..named("multiOperation", None) })
            }
            OpCode::RECONFIG => Reconfig::read(reader).ok().map(|_| named("reconfig", None)),
            _ => None,
        }
    }
}

/// How a multi's operation is named; `None` of a check, which is not in the log.
fn name_of(op: OpCode) -> Option<&'static str> {
    match op {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => Some(CREATE),
        OpCode::DELETE => Some(DELETE),
        OpCode::SET_DATA => Some(SET_DATA),
        _ => None,
    }
}

/// Source: `CreateMode`.
fn mode(flags: i32) -> Option<&'static str> {
    Some(match flags {
        0 => "persistent",
        1 => "ephemeral",
        2 => "persistent_sequential",
        3 => "ephemeral_sequential",
        4 => "container",
        5 => "persistent_with_ttl",
        6 => "persistent_sequential_with_ttl",
        _ => return None,
    })
}

/// Who a client has proved to be, without hashes; `None` if it has no name. Source: `AuthUtil.getUsers`.
fn users(ids: &[Id]) -> Option<String> {
    let names = ids.iter().filter_map(|id| match &*id.scheme {
        "digest" => id.id.split(':').next(),
        "ip" => Some(&*id.id),
        _ => None,
    });
    let names: Vec<&str> = names.filter(|name| !name.trim().is_empty()).collect();
    (!names.is_empty()).then(|| names.join(","))
}
