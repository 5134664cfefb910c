//! A txn as a row, and whether it is one of those that were asked for.

use super::super::row::{Row, Value};
use super::args::Filter;
use super::types::type_name;
use crate::proto::{Acl, ErrorCode, OpCode, Short, Zxid};
use crate::tree::{AclRef, acl_entries};
use crate::txn::{self, AclTable, CreateKind, CreateTxn, Txn, TxnHeader};

/// A logged txn, decoded as far as it can be.
#[derive(Debug)]
pub struct Record<'a> {
    /// Before every txn.
    pub header: TxnHeader,
    /// The record; or why it cannot be read.
    pub txn: Result<Txn<'a>, Short>,
    /// The tree's digest after it, where it carries one.
    pub digest: Option<u64>,
    /// Bytes of header, record and digest.
    pub bytes: usize,
}

impl<'a> Record<'a> {
    /// Decodes a logged txn; an error where not even the header is there.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Short> {
        let header = TxnHeader::read(&mut crate::proto::Reader::new(bytes))?;
        // A table of its own for each: lists of all txns together have no bound.
        Ok(match txn::read(bytes, &mut AclTable::new(0)) {
            Ok((header, txn, digest)) => Self { header, txn: Ok(txn), digest, bytes: bytes.len() },
            Err(why) => Self { header, txn: Err(why), digest: None, bytes: bytes.len() },
        })
    }

    /// The znodes that the txn names, in its order.
    pub fn paths(&self) -> Vec<&[u8]> {
        self.txn.as_ref().map(paths).unwrap_or_default()
    }

    /// True if all conditions hold.
    pub fn matches(&self, filter: &Filter) -> bool {
        let Filter { path, session, zxid, since, until, types } = filter;
        let header = &self.header;
        let is_type = |op: OpCode| types.iter().any(|name| name.eq_ignore_ascii_case(&type_name(op)));
        let has_type = || match &self.txn {
            Ok(Txn::Multi(txns)) => is_type(header.op) || txns.iter().any(|(op, _)| is_type(*op)),
            _ => is_type(header.op),
        };
        session.is_none_or(|session| session == header.session_id)
            && zxid.is_none_or(|range| range.contains(header.zxid))
            && since.is_none_or(|since| header.time_ms >= since)
            && until.is_none_or(|until| header.time_ms < until)
            && (types.is_empty() || has_type())
            && path.as_ref().is_none_or(|path| self.paths().iter().any(|one| path.contains(one)))
    }

    /// The txn as a row.
    pub fn row(&self, data: ShowData) -> Row {
        let header = &self.header;
        let row = Row::new()
            .bare("zxid", Value::Hex(header.zxid.0))
            .bare("time", Value::Time(header.time_ms))
            .with("session", Value::Hex(header.session_id.0 as u64))
            .with("cxid", Value::Hex(u64::from(header.cxid.cast_unsigned())))
            .bare("type", Value::Text(type_name(header.op)));
        let row = match &self.txn {
            Ok(txn) => fields(row, txn, data),
            Err(why) => row.with("undecodable", Value::Text(why.to_string())),
        };
        row.with("txn_bytes", Value::count(self.bytes))
            .with("digest", self.digest.map_or(Value::Null, Value::Hex))
    }
}

/// A row for a place where earlier records no longer count.
pub fn marker_row(marker: crate::wal::Marker, from: Zxid) -> Row {
    let name = match marker {
        crate::wal::Marker::Truncate { .. } => "truncate",
        crate::wal::Marker::Base { .. } => "base",
    };
    Row::new()
        .bare("zxid", Value::Hex(marker.zxid().0))
        .bare("marker", Value::Text(name.to_owned()))
        .with("from", Value::Hex(from.0))
}

/// Whether rows show data, or its length only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowData {
    /// They do.
    Yes,
    /// They show how many bytes there are.
    No,
}

fn paths<'t>(txn: &'t Txn<'_>) -> Vec<&'t [u8]> {
    match txn {
        Txn::Create(CreateTxn { path, .. })
        | Txn::Delete { path }
        | Txn::SetData { path, .. }
        | Txn::SetAcl { path, .. }
        | Txn::Check { path, .. } => vec![path],
        Txn::CloseSession { paths: Some(paths) } => paths.clone(),
        Txn::CloseSession { paths: None } | Txn::CreateSession { .. } | Txn::Error { .. } => Vec::new(),
        Txn::Multi(txns) => txns.iter().flat_map(|(_, txn)| paths(txn)).collect(),
    }
}

/// Adds what a record holds.
fn fields(row: Row, txn: &Txn<'_>, data: ShowData) -> Row {
    match txn {
        Txn::Create(create) => create_fields(row, create, data),
        Txn::Delete { path } => row.bare("path", Value::path(path)),
        Txn::SetData { path, data: bytes, version } => {
            let row = row.bare("path", Value::path(path));
            data_fields(row, *bytes, data).with("version", Value::Int((*version).into()))
        }
        Txn::SetAcl { path, acl, version } => row
            .bare("path", Value::path(path))
            .with("acl", acl_value(acl))
            .with("version", Value::Int((*version).into())),
        Txn::Check { path, version } => {
            row.bare("path", Value::path(path)).with("version", Value::Int((*version).into()))
        }
        Txn::CreateSession { timeout_ms } => row.with("timeout_ms", Value::Int((*timeout_ms).into())),
        Txn::CloseSession { paths } => match paths {
            Some(paths) => {
                let list = paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
                row.with("ephemerals", Value::count(paths.len())).hidden("paths", Value::List(list))
            }
            None => row,
        },
        Txn::Error { code } => {
            row.with("error", Value::Text(error_name(*code))).with("code", Value::Int((*code).into()))
        }
        Txn::Multi(txns) => {
            let rows = txns
                .iter()
                .map(|(op, txn)| fields(Row::new().bare("type", Value::Text(type_name(*op))), txn, data));
            let rows: Vec<Row> = rows.collect();
            row.with("count", Value::count(rows.len())).with("txns", Value::Rows(rows))
        }
    }
}

fn create_fields(row: Row, create: &CreateTxn<'_>, data: ShowData) -> Row {
    let (kind, ttl_ms) = match create.kind {
        CreateKind::Persistent => ("persistent", None),
        CreateKind::Ephemeral => ("ephemeral", None),
        CreateKind::Container => ("container", None),
        CreateKind::Ttl(ttl_ms) => ("ttl", Some(ttl_ms)),
    };
    let row = row.bare("path", Value::path(create.path)).with("kind", Value::Text(kind.to_owned()));
    let row = match ttl_ms {
        Some(ttl_ms) => row.with("ttl_ms", Value::Int(ttl_ms)),
        None => row,
    };
    data_fields(row, create.data, data)
        .with("acl", acl_value(&create.acl))
        .with("parent_cversion", Value::Int(create.parent_cversion.into()))
}

fn data_fields(row: Row, bytes: Option<&[u8]>, data: ShowData) -> Row {
    let row = row.with("bytes", Value::count(bytes.map_or(0, <[u8]>::len)));
    match data {
        ShowData::Yes => row.with("data", Value::Data(bytes.map(Into::into))),
        ShowData::No => row,
    }
}

/// An access list; the open one is stored as none.
pub fn acl_value(acl: &AclRef) -> Value {
    match acl {
        Some(_) => Value::Acl(acl_entries(acl).to_vec()),
        None => Value::Acl(vec![Acl::open()]),
    }
}

/// The name of an error's code.
pub fn error_name(code: i32) -> String {
    ErrorCode::from_wire(code).map_or_else(|| "unknown".to_owned(), |code| format!("{code:?}"))
}
