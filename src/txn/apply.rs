//! What a txn does to the tree.

use super::change::Change;
use super::quota::{self, Limits, QuotaKind};
use super::{CreateKind, Quotas, Txn, TxnHeader};
use crate::proto::{ErrorCode, OpCode, Zxid, path};
use crate::tree::{Body, Fixed, NodeIndex, Owner, Removed, Tree};

/// What applying txns has changed so far, for the other copies of the tree.
#[derive(Debug, Default)]
pub struct Applied {
    /// In the order they were made.
    pub changes: Vec<Change>,
    /// How to take the changes back; collected only while the caller may have to.
    pub undo: Option<Vec<Undo>>,
}

/// How to take one change back.
#[derive(Debug)]
pub enum Undo {
    /// A znode came: the parent's internal cversion and pzxid before.
    Created {
        /// The znode.
        body: Body,
        /// The parent's.
        before: (i32, Zxid),
    },
    /// A znode went.
    Deleted {
        /// It, and what its children had left on it.
        removed: Removed,
        /// The parent's internal cversion and pzxid before.
        before: (i32, Zxid),
    },
    /// A body was replaced by another.
    Replaced {
        /// The one before.
        body: Body,
    },
    /// Limits came or went with the znode.
    Limits {
        /// Of this path.
        limited: Box<[u8]>,
        /// Whether they were there before.
        were_there: bool,
    },
}

/// Applies one txn.
///
/// # Errors
/// The code that makes it impossible, with the tree as it was: never for a txn that was checked
/// against this tree. Only single txns can fail; a multi is applied after all of it was checked.
pub fn apply(
    tree: &mut Tree,
    quotas: &mut Quotas,
    header: &TxnHeader,
    txn: &Txn<'_>,
    out: &mut Applied,
) -> Result<(), ErrorCode> {
    let mut apply = Apply { tree, quotas, zxid: header.zxid, out };
    apply.txn(header, txn)
}

/// Counts the usage of every limited path from the tree, as ZooKeeper does when it loads a snapshot.
pub fn recount_quotas(tree: &mut Tree, quotas: &mut Quotas) {
    let limited: Vec<Box<[u8]>> = quotas.limited().map(Box::from).collect();
    let mut apply = Apply { tree, quotas, zxid: Zxid::ZERO, out: &mut Applied::default() };
    limited.iter().for_each(|limited| apply.recount(limited));
}

/// Takes back what was applied since `undo` began to be collected.
pub fn undo(tree: &mut Tree, quotas: &mut Quotas, undo: Vec<Undo>) {
    for step in undo.into_iter().rev() {
        match step {
            Undo::Created { body, before } => {
                let (parent, index) = (parent_of(tree, body.path()), tree.find(body.path()));
                let (parent, index) = (parent.expect("it was there"), index.expect("it was made"));
                tree.remove(parent, index);
                tree.set_child_stat(parent, before.0, before.1);
            }
            Undo::Deleted { removed, before } => {
                let parent = parent_of(tree, removed.body.path()).expect("it was there");
                let czxid = removed.body.fixed().czxid;
                let index = tree.insert(parent, removed.body);
                if removed.cversion != 0 || removed.pzxid != czxid {
                    tree.set_child_stat(index, removed.cversion, removed.pzxid);
                }
                tree.set_child_stat(parent, before.0, before.1);
            }
            Undo::Replaced { body } => {
                let index = tree.find(body.path()).expect("it was there");
                tree.replace(index, body);
            }
            Undo::Limits { limited, were_there: true } => quotas.add(&limited),
            Undo::Limits { limited, were_there: false } => quotas.remove(&limited),
        }
    }
}

fn parent_of(tree: &Tree, node: &[u8]) -> Option<NodeIndex> {
    tree.find_again(path::split(node)?.0)
}

struct Apply<'t> {
    tree: &'t mut Tree,
    quotas: &'t mut Quotas,
    zxid: Zxid,
    out: &'t mut Applied,
}

impl Apply<'_> {
    fn txn(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), ErrorCode> {
        match txn {
            Txn::Create(create) => {
                let owner = match create.kind {
                    CreateKind::Persistent => Owner::PERSISTENT,
                    CreateKind::Ephemeral => Owner::ephemeral(header.session_id),
                    CreateKind::Container => Owner::CONTAINER,
                    CreateKind::Ttl(ttl_ms) => Owner::ttl(ttl_ms).ok_or(ErrorCode::BadArguments)?,
                };
                let fixed = Fixed {
                    czxid: header.zxid,
                    mzxid: header.zxid,
                    ctime_ms: header.time_ms,
                    mtime_ms: header.time_ms,
                    version: 0,
                    aversion: 0,
                    owner,
                    acl: create.acl.clone(),
                };
                self.create(create.path, create.data, fixed, create.parent_cversion)
            }
            Txn::Delete { path } => self.delete(path),
            Txn::SetData { path, data, version } => self.set_data(path, *data, *version, header.time_ms),
            Txn::SetAcl { path, acl, version } => {
                let index = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
                let before = self.tree.body(index).clone();
                let fixed = Fixed { acl: acl.clone(), aversion: *version, ..before.fixed().clone() };
                let body = self.tree.make_body_like(index, before.data(), fixed);
                self.replace(index, body, |body| Change::Acl { body });
                Ok(())
            }
            Txn::CloseSession { paths } => {
                let owned =
                    |tree: &Tree| tree.ephemerals(header.session_id).map(Box::from).collect::<Vec<_>>();
                let paths = match paths {
                    Some(paths) => paths.iter().map(|path| Box::from(*path)).collect(),
                    None => owned(self.tree),
                };
                // A path that is already gone is not an error: the delete came first.
                for path in &paths {
                    let (Ok(()) | Err(_)) = self.delete(path);
                }
                Ok(())
            }
            Txn::Multi(txns) => {
                if txns.iter().any(|(op, _)| *op == OpCode::ERROR) {
                    return Ok(());
                }
                txns.iter().try_for_each(|(op, txn)| self.txn(&TxnHeader { op: *op, ..*header }, txn))
            }
            Txn::Check { .. } | Txn::CreateSession { .. } | Txn::Error { .. } => Ok(()),
        }
    }

    fn make(&mut self, change: Change) {
        change.apply(self.tree, self.zxid);
        self.out.changes.push(change);
    }

    fn note(&mut self, step: impl FnOnce() -> Undo) {
        if let Some(undo) = &mut self.out.undo {
            undo.push(step());
        }
    }

    /// As [`Self::make`], where the znode was found already.
    fn replace(&mut self, index: NodeIndex, body: Body, change: impl FnOnce(Body) -> Change) {
        let before = self.tree.replace(index, body.clone());
        self.out.changes.push(change(body));
        self.note(|| Undo::Replaced { body: before });
    }

    fn create(
        &mut self,
        node: &[u8],
        data: Option<&[u8]>,
        fixed: Fixed,
        parent_cversion: i32,
    ) -> Result<(), ErrorCode> {
        let parent = parent_of(self.tree, node).ok_or(ErrorCode::NoNode)?;
        if self.tree.find(node).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        let before = self.tree.child_stat(parent);
        // Logs of 3.3 and older do not hold it.
        let parent_cversion = if parent_cversion == -1 { before.0.wrapping_add(1) } else { parent_cversion };
        let body = self.tree.make_body(node, data, fixed);
        self.make(Change::Created { body: body.clone(), parent_cversion });
        self.note(|| Undo::Created { body, before });
        match quota::kind(node) {
            Some(QuotaKind::Limits(limited)) => {
                self.quotas.add(limited);
                self.note(|| Undo::Limits { limited: limited.into(), were_there: false });
            }
            Some(QuotaKind::Stats(limited)) => self.recount(limited),
            None => {}
        }
        self.count_usage(node, data.map_or(0, <[u8]>::len) as i64, 1);
        Ok(())
    }

    fn delete(&mut self, node: &[u8]) -> Result<(), ErrorCode> {
        let parent = parent_of(self.tree, node).ok_or(ErrorCode::NoNode)?;
        let index = self.tree.find(node).ok_or(ErrorCode::NoNode)?;
        if self.tree.child_count(index) > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        let before = self.tree.child_stat(parent);
        let body = self.tree.body(index).clone();
        let (cversion, pzxid) = self.tree.child_stat(index);
        self.make(Change::Deleted { body: body.clone() });
        let bytes = body.bytes().len() as i64;
        self.note(|| Undo::Deleted { removed: Removed { body, cversion, pzxid }, before });
        if let Some(QuotaKind::Limits(limited)) = quota::kind(node) {
            self.quotas.remove(limited);
            self.note(|| Undo::Limits { limited: limited.into(), were_there: true });
        }
        self.count_usage(node, -bytes, -1);
        Ok(())
    }

    fn set_data(
        &mut self,
        node: &[u8],
        data: Option<&[u8]>,
        version: i32,
        time_ms: i64,
    ) -> Result<(), ErrorCode> {
        let index = self.tree.find_again(node).ok_or(ErrorCode::NoNode)?;
        let before = self.tree.body(index);
        let bytes_before = before.bytes().len();
        let fixed = Fixed { mzxid: self.zxid, mtime_ms: time_ms, version, ..before.fixed().clone() };
        let body = self.tree.make_body_like(index, data, fixed);
        let grown = body.bytes().len() as i64 - bytes_before as i64;
        self.replace(index, body, |body| Change::Data { body });
        self.count_usage(node, grown, 0);
        Ok(())
    }

    /// Moves the usage of the nearest limited path along.
    fn count_usage(&mut self, node: &[u8], bytes: i64, count: i64) {
        let Some(limited) = self.quotas.nearest(node) else { return };
        self.set_usage(limited, |usage| {
            usage.count = usage.count.wrapping_add(count);
            usage.bytes = usage.bytes.wrapping_add(bytes);
        });
    }

    /// Counts the usage of `limited` from the tree.
    fn recount(&mut self, limited: &[u8]) {
        let (count, bytes) = self.tree.find(limited).map_or((0, 0), |index| self.tree.subtree(index));
        self.set_usage(limited, |usage| {
            *usage = Limits::parse(b"");
            (usage.count, usage.bytes) = (count as i64, bytes as i64);
        });
    }

    fn set_usage(&mut self, limited: &[u8], update: impl FnOnce(&mut Limits)) {
        let Some(index) = self.tree.find(&quota::stats_path(limited)) else { return };
        let before = self.tree.body(index);
        let mut usage = Limits::parse(before.bytes());
        update(&mut usage);
        let body = self.tree.make_body_like(index, Some(&usage.text()), before.fixed().clone());
        self.replace(index, body, |body| Change::Quota { body });
    }
}
