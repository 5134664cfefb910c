//! Txns in jute, byte for byte as ZooKeeper logs them.

use super::{AclTable, CreateKind, CreateTxn, Txn, TxnHeader};
use crate::proto::acl::{put_acls, read_acls};
use crate::proto::request::path;
use crate::proto::{Acl, Id, JuteWrite, OpCode, Perms, Reader, SessionId, Short, Zxid, jute};
use crate::tree::{AclRef, DIGEST_VERSION};
use bytes::BufMut;

impl TxnHeader {
    /// Appends the 32 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session_id.0);
        out.put_i32(self.cxid);
        out.put_i64(self.zxid.to_wire());
        out.put_i64(self.time_ms);
        out.put_i32(self.op.0);
    }

    /// Reads the 32 bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self {
            session_id: SessionId(reader.long()?),
            cxid: reader.int()?,
            zxid: Zxid::from_wire(reader.long()?),
            time_ms: reader.long()?,
            op: OpCode(reader.int()?),
        })
    }
}

/// When a logged txn was made, in milliseconds since 1970; in the far future for what is none.
pub(crate) fn time_ms(txn: &[u8]) -> i64 {
    TxnHeader::read(&mut Reader::new(txn)).map_or(i64::MAX, |header| header.time_ms)
}

/// The text of the configuration that a logged txn makes; `None` for every other txn, and what is none.
pub fn configuration(txn: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(txn);
    TxnHeader::read(&mut reader).ok().filter(|header| header.op == OpCode::RECONFIG)?;
    reader.string().ok()?;
    reader.buffer().ok()?
}

fn put_acl(out: &mut Vec<u8>, acl: &AclRef) {
    match acl {
        Some(acls) => put_acls(out, acls),
        None => put_acls(out, &[Acl::open()]),
    }
}

/// Reads a stored list: it was checked when it was made, so null strings cannot be in it.
fn read_acl(reader: &mut Reader<'_>, acls: &mut AclTable) -> Result<AclRef, Short> {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let raw = read_acls(reader)?;
    let list = raw.iter().map(|acl| Acl {
        perms: Perms(acl.perms),
        id: Id { scheme: text(acl.scheme).into(), id: text(acl.id).into() },
    });
    Ok(acls.intern(list.collect()))
}

impl Txn<'_> {
    /// Appends the record that a header of `op` announces.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(create) => {
                out.put_string(create.path);
                out.put_buffer(create.data);
                put_acl(out, &create.acl);
                if matches!(create.kind, CreateKind::Persistent | CreateKind::Ephemeral) {
                    out.put_bool(create.kind == CreateKind::Ephemeral);
                }
                out.put_i32(create.parent_cversion);
                if let CreateKind::Ttl(ttl_ms) = create.kind {
                    out.put_i64(ttl_ms);
                }
            }
            Self::Delete { path } => out.put_string(path),
            Self::SetData { path, data, version } => {
                out.put_string(path);
                out.put_buffer(*data);
                out.put_i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.put_string(path);
                put_acl(out, acl);
                out.put_i32(*version);
            }
            Self::Check { path, version } => {
                out.put_string(path);
                out.put_i32(*version);
            }
            Self::CreateSession { timeout_ms } => out.put_i32(*timeout_ms),
            Self::CloseSession { paths: None } => {}
            Self::CloseSession { paths: Some(paths) } => {
                out.put_count(paths.len());
                paths.iter().for_each(|path| out.put_string(path));
            }
            Self::Error { code } => out.put_i32(*code),
            Self::Multi(txns) => {
                out.put_count(txns.len());
                txns.iter().for_each(|(op, txn)| put_sub_txn(out, *op, txn));
            }
        }
    }
}

/// Appends one txn of a multi: its type, and its record after its length. Source: `Txn`.
pub fn put_sub_txn(out: &mut Vec<u8>, op: OpCode, txn: &Txn<'_>) {
    out.put_i32(op.0);
    jute::frame(out, |out| txn.put(out));
}

/// Appends what follows a txn: the tree's digest once it is applied. Source: `TxnDigest`.
pub fn put_digest(out: &mut Vec<u8>, digest: u64) {
    out.put_i32(DIGEST_VERSION);
    out.put_i64(digest as i64);
}

/// Reads a logged txn: header, record, and the digest where there is one of our version.
///
/// # Errors
/// [`Short`] where the bytes do not make a txn of a known type: the server that wrote them is newer or broken.
pub fn read<'a>(bytes: &'a [u8], acls: &mut AclTable) -> Result<(TxnHeader, Txn<'a>, Option<u64>), Short> {
    let mut reader = Reader::new(bytes);
    let header = TxnHeader::read(&mut reader)?;
    let txn = read_record(header.op, &mut reader, acls)?;
    let digest = match reader.int() {
        Ok(DIGEST_VERSION) => Some(reader.long()? as u64),
        _ => None,
    };
    Ok((header, txn, digest))
}

/// A logged txn without what follows its record: the digest that its maker predicted.
///
/// # Errors
/// As [`read`].
pub fn without_digest(bytes: &[u8]) -> Result<&[u8], Short> {
    let mut reader = Reader::new(bytes);
    let op = TxnHeader::read(&mut reader)?.op;
    read_record(op, &mut reader, &mut AclTable::new(0))?;
    Ok(&bytes[..bytes.len() - reader.rest().len()])
}

/// Whether a closeSession's record is there, after which a digest may follow: without one, what follows
/// is the digest, or nothing. Two paths, which the digest's version would mean, are longer than that.
fn lists_paths(rest: &[u8]) -> bool {
    const DIGEST_BYTES: usize = 12;
    let is_digest = rest.len() == DIGEST_BYTES && rest.starts_with(&DIGEST_VERSION.to_be_bytes());
    !rest.is_empty() && !is_digest
}

fn read_record<'a>(op: OpCode, reader: &mut Reader<'a>, acls: &mut AclTable) -> Result<Txn<'a>, Short> {
    Ok(match op {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            let (path, data, acl) = (path(reader)?, reader.buffer()?, read_acl(reader, acls)?);
            let plain = matches!(op, OpCode::CREATE | OpCode::CREATE2);
            let ephemeral = plain && reader.bool()?;
            // Logs of 3.3 and older end before it.
            let is_old = op == OpCode::CREATE && reader.rest().is_empty();
            let parent_cversion = if is_old { -1 } else { reader.int()? };
            let kind = match op {
                OpCode::CREATE_TTL => CreateKind::Ttl(reader.long()?),
                OpCode::CREATE_CONTAINER => CreateKind::Container,
                _ if ephemeral => CreateKind::Ephemeral,
                _ => CreateKind::Persistent,
            };
            Txn::Create(CreateTxn { path, data, acl, kind, parent_cversion })
        }
        OpCode::DELETE | OpCode::DELETE_CONTAINER => Txn::Delete { path: path(reader)? },
        OpCode::SET_DATA | OpCode::RECONFIG => {
            Txn::SetData { path: path(reader)?, data: reader.buffer()?, version: reader.int()? }
        }
        OpCode::SET_ACL => {
            Txn::SetAcl { path: path(reader)?, acl: read_acl(reader, acls)?, version: reader.int()? }
        }
        OpCode::CHECK => Txn::Check { path: path(reader)?, version: reader.int()? },
        OpCode::CREATE_SESSION => Txn::CreateSession { timeout_ms: reader.int()? },
        OpCode::CLOSE_SESSION if !lists_paths(reader.rest()) => Txn::CloseSession { paths: None },
        OpCode::CLOSE_SESSION => {
            let count = reader.count(4)?.unwrap_or(0);
            let paths = (0..count).map(|_| path(reader)).collect::<Result<_, _>>()?;
            Txn::CloseSession { paths: Some(paths) }
        }
        OpCode::ERROR => Txn::Error { code: reader.int()? },
        OpCode::MULTI => {
            let count = reader.count(8)?.unwrap_or(0);
            let mut txns = Vec::with_capacity(count);
            for _ in 0..count {
                let op = OpCode(reader.int()?);
                if op == OpCode::MULTI {
                    return Err(Short::Unknown(op.0));
                }
                let record = reader.buffer()?.unwrap_or_default();
                txns.push((op, read_record(op, &mut Reader::new(record), acls)?));
            }
            Txn::Multi(txns)
        }
        OpCode(unknown) => return Err(Short::Unknown(unknown)),
    })
}
