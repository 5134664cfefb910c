//! Checks a write against the tree, and makes it a txn.

use super::expanded::Expanded;
use super::limits::ACL_BYTES_MAX;
use super::{Asker, Commit};
use crate::auth::Policy;
use crate::proto::acl::RawAcl;
use crate::proto::request::{Create, MultiOp, PathVersion, Reconfig, SetAcl, SetData, read_multi};
use crate::proto::{ErrorCode, Id, OpCode, Perms, Reader, Short, path};
use crate::tree::{self, AclRef, NodeIndex, Owner, OwnerKind};
use crate::txn::{self, CreateKind, CreateTxn, Limits, Txn};

/// What it costs to look for an id in an access list, or to index an entry of it.
const ID_WORK: usize = 12;

/// What it costs to make an entry of an access list.
const ENTRY_WORK: usize = 40;

/// Entries times ids from which on a list that was made is kept for the next request with the same.
const EXPANDED_MIN: usize = 64;

/// `CreateMode`'s numbers, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CreateMode {
    sequential: bool,
    ephemeral: bool,
    ttl: bool,
}

impl CreateMode {
    fn from_flags(flags: i32) -> Option<Self> {
        let (sequential, ephemeral, ttl) = match flags {
            0 | 4 => (false, false, false),
            1 => (false, true, false),
            2 => (true, false, false),
            3 => (true, true, false),
            5 => (false, false, true),
            6 => (true, false, true),
            _ => return None,
        };
        Some(Self { sequential, ephemeral, ttl })
    }
}

impl Commit {
    /// Checks one operation against the tree, in the order in which 3.9's errors win
    /// (`PrepRequestProcessor.pRequest2Txn`). `sequential` is where a sequence number's path is built.
    pub(super) fn check<'a>(
        &mut self,
        asker: &Asker<'_>,
        op: &WriteOp<'a>,
        sequential: &'a mut Vec<u8>,
    ) -> Result<Txn<'a>, ErrorCode> {
        match op {
            WriteOp::Create(op, create) => self.check_create(asker, *op, create, sequential),
            WriteOp::Delete(PathVersion { path, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::MarshallingError)?;
                if path.contains(&0) || tree::is_special(path) {
                    return Err(ErrorCode::BadArguments);
                }
                let (parent, _) = path::split(path).ok_or(ErrorCode::BadArguments)?;
                let parent = self.core.tree.find(parent).ok_or(ErrorCode::NoNode)?;
                self.permit(parent, Perms::DELETE, asker.ids)?;
                let index = self.core.tree.find(path).ok_or(ErrorCode::NoNode)?;
                next_version(self.core.tree.body(index).fixed().version, *version)?;
                if self.core.tree.child_count(index) > 0 {
                    return Err(ErrorCode::NotEmpty);
                }
                Ok(Txn::Delete { path })
            }
            WriteOp::SetData(SetData { path, data, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::BadArguments)?;
                let index = self.valid(path)?;
                self.permit(index, Perms::WRITE, asker.ids)?;
                let bytes = |data: Option<&[u8]>| data.map_or(0, <[u8]>::len) as i64;
                let body = self.core.tree.body(index);
                let (added, current) = (bytes(*data) - bytes(body.data()), body.fixed().version);
                self.check_quota(path, added, 0)?;
                let version = next_version(current, *version)?;
                self.core.tree.remember(index);
                Ok(Txn::SetData { path, data: *data, version })
            }
            WriteOp::SetAcl(SetAcl { path, acl, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::BadArguments)?;
                if !path::is_valid(path) {
                    return Err(ErrorCode::BadArguments);
                }
                let acl = self.stored_acl(acl, asker.ids)?;
                let index = self.core.tree.find(path).ok_or(ErrorCode::NoNode)?;
                self.permit(index, Perms::ADMIN, asker.ids)?;
                let version = next_version(self.core.tree.body(index).fixed().aversion, *version)?;
                Ok(Txn::SetAcl { path, acl, version })
            }
            WriteOp::Check(PathVersion { path, version }) => {
                self.check_session(asker)?;
                let path = path.ok_or(ErrorCode::BadArguments)?;
                let index = self.valid(path)?;
                self.permit(index, Perms::READ, asker.ids)?;
                let version = next_version(self.core.tree.body(index).fixed().version, *version)?;
                Ok(Txn::Check { path, version })
            }
        }
    }

    /// The same of a create.
    fn check_create<'a>(
        &mut self,
        asker: &Asker<'_>,
        op: OpCode,
        create: &Create<'a>,
        sequential: &'a mut Vec<u8>,
    ) -> Result<Txn<'a>, ErrorCode> {
        let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.ttl && !self.core.settings.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        // Only createTTL's record has one; for the others it is -1.
        let ttl_ms = if op == OpCode::CREATE_TTL { create.ttl_ms } else { -1 };
        if if mode.ttl { Owner::ttl(ttl_ms).is_none() } else { ttl_ms >= 0 } {
            return Err(ErrorCode::BadArguments);
        }
        match mode.ephemeral {
            true => self.check_global_session(asker)?,
            false => self.check_session(asker)?,
        }
        let named = create.path.ok_or(ErrorCode::MarshallingError)?;
        if named.contains(&0) {
            return Err(ErrorCode::BadArguments);
        }
        let (parent, _) = path::split(named).ok_or(ErrorCode::BadArguments)?;
        let acl = self.stored_acl(&create.acl, asker.ids)?;
        let parent = self.core.tree.find(parent).ok_or(ErrorCode::NoNode)?;
        self.permit(parent, Perms::CREATE, asker.ids)?;
        let (cversion, _) = self.core.tree.child_stat(parent);
        let path = match mode.sequential {
            false => named,
            true => {
                sequential.extend_from_slice(named);
                sequential.extend_from_slice(format!("{cversion:010}").as_bytes());
                &*sequential
            }
        };
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.core.tree.find(path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(self.core.tree.owner_kind(parent), OwnerKind::Ephemeral { .. }) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_quota(path, create.data.map_or(0, <[u8]>::len) as i64, 1)?;
        let kind = match op {
            OpCode::CREATE_CONTAINER => CreateKind::Container,
            OpCode::CREATE_TTL if mode.ttl => CreateKind::Ttl(ttl_ms),
            // A createTTL without a TTL mode has nothing that Java could store.
            OpCode::CREATE_TTL => return Err(ErrorCode::BadArguments),
            _ if mode.ephemeral => CreateKind::Ephemeral,
            _ => CreateKind::Persistent,
        };
        self.core.tree.remember(parent);
        let parent_cversion = cversion.wrapping_add(1);
        Ok(Txn::Create(CreateTxn { path, data: create.data, acl, kind, parent_cversion }))
    }

    /// The access list to store for one that a client sent.
    fn stored_acl(&mut self, raw: &[RawAcl<'_>], ids: &[Id]) -> Result<AclRef, ErrorCode> {
        if let [RawAcl { perms: 31, scheme: Some(b"world"), id: Some(b"anyone") }] = raw {
            return Ok(None);
        }
        let is_long = raw.len().saturating_mul(ids.len()) >= EXPANDED_MIN;
        if is_long {
            self.charge((raw.len() + ids.len()) * ID_WORK);
            if let Some(known) = self.expanded.as_ref().filter(|known| known.is_of(raw, ids)) {
                return Ok(known.stored.clone());
            }
        }
        let id_bytes = |id: &Id| 12 + id.scheme.len() + id.id.len();
        let auth_entries = raw.iter().filter(|acl| acl.scheme == Some(b"auth")).count();
        if auth_entries.saturating_mul(ids.iter().map(id_bytes).sum()) > ACL_BYTES_MAX {
            return Err(ErrorCode::InvalidAcl);
        }
        let acls = self.core.policy.fix_up(raw, ids)?;
        if acls.iter().map(|acl| id_bytes(&acl.id)).sum::<usize>() > ACL_BYTES_MAX {
            return Err(ErrorCode::InvalidAcl);
        }
        self.charge(acls.len() * ENTRY_WORK);
        let stored = self.core.acls.intern(acls);
        if is_long {
            self.expanded = Some(Expanded::new(raw, ids, stored.clone()));
        }
        Ok(stored)
    }

    /// Checks that one of `ids` may do what is wanted.
    pub(super) fn permit(&self, index: NodeIndex, wanted: Perms, ids: &[Id]) -> Result<(), ErrorCode> {
        let list = self.core.tree.body(index).acl_list();
        if list.is_some() {
            self.charge(Policy::work(list, ids) * ID_WORK);
        }
        match self.core.policy.permits_by(list, wanted, ids) {
            true => Ok(()),
            false => Err(ErrorCode::NoAuth),
        }
    }

    /// The znode of a path.
    fn valid(&self, path: &[u8]) -> Result<NodeIndex, ErrorCode> {
        match self.core.tree.find(path) {
            // What there is has a valid path. Only the tree takes the empty one for the root's.
            Some(index) if !path.is_empty() => Ok(index),
            _ if path::is_valid(path) => Err(ErrorCode::NoNode),
            _ => Err(ErrorCode::BadArguments),
        }
    }

    /// Checks that hard limits allow `bytes` and `count` more at `path`. Source: `ZooKeeperServer.checkQuota`.
    fn check_quota(&mut self, path: &[u8], bytes: i64, count: i64) -> Result<(), ErrorCode> {
        if !self.core.settings.enforce_quota {
            return Ok(());
        }
        let Some(limited) = self.core.quotas.nearest(path) else { return Ok(()) };
        // Of a text that does not parse Java makes a failed request.
        let parse = |path: Vec<u8>| match self.core.tree.find(&path) {
            None => Ok(None),
            Some(index) => match Limits::parse_strictly(self.core.tree.body(index).data()) {
                None => Err(ErrorCode::MarshallingError),
                limits => Ok(limits),
            },
        };
        let Some(limits) = parse(txn::limits_path(limited))? else { return Ok(()) };
        // Usage is looked at only where something limits it.
        let is_limited = |change: i64, soft: i64, hard: i64| change != 0 && (soft > -1 || hard > -1);
        if !is_limited(count, limits.count, limits.count_hard())
            && !is_limited(bytes, limits.bytes, limits.bytes_hard())
        {
            return Ok(());
        }
        let Some(usage) = parse(txn::stats_path(limited))? else { return Ok(()) };
        let over =
            |change: i64, used: i64, hard: i64| change != 0 && hard > -1 && used.wrapping_add(change) > hard;
        if over(count, usage.count, limits.count_hard()) || over(bytes, usage.bytes, limits.bytes_hard()) {
            self.core.metrics.namespaces.quota_exceeded(path);
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }
}

/// The version after a change, if the one expected is there or any will do.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}

/// True if a request that makes a txn can be read. A leader of ZooKeeper's proposes one that cannot under a zxid that it
/// has used already, and commits nothing more.
pub(in crate::replica) fn is_readable(op: OpCode, body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    match op {
        OpCode::SYNC | OpCode::CLOSE_SESSION => true,
        OpCode::MULTI => read_multi(&mut reader).is_ok(),
        OpCode::RECONFIG => Reconfig::read(&mut reader).is_ok(),
        _ => WriteOp::read(op, &mut reader).is_ok(),
    }
}

/// A write's body.
pub(super) enum WriteOp<'a> {
    Create(OpCode, Create<'a>),
    Delete(PathVersion<'a>),
    SetData(SetData<'a>),
    SetAcl(SetAcl<'a>),
    Check(PathVersion<'a>),
}

impl<'a> WriteOp<'a> {
    #[inline(always)]
    pub(super) fn read(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                Self::Create(op, Create::read(reader, op)?)
            }
            OpCode::DELETE => Self::Delete(PathVersion::read(reader)?),
            OpCode::SET_DATA => Self::SetData(SetData::read(reader)?),
            OpCode::SET_ACL => Self::SetAcl(SetAcl::read(reader)?),
            OpCode(unknown) => return Err(Short::Unknown(unknown)),
        })
    }

    pub(super) fn of_multi(op: &MultiOp<'a>) -> (OpCode, Self) {
        match op {
            MultiOp::Create(op, create) => (*op, Self::Create(*op, create.clone())),
            MultiOp::Delete(delete) => (OpCode::DELETE, Self::Delete(*delete)),
            MultiOp::SetData(set) => (OpCode::SET_DATA, Self::SetData(*set)),
            MultiOp::Check(check) => (OpCode::CHECK, Self::Check(*check)),
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => unreachable!("reads were refused before"),
        }
    }
}
