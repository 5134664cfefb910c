//! Answers to reads, straight from a view's tree.

use crate::auth::{self, Policy};
use crate::proto::acl::put_acls;
use crate::proto::event::{EventType, put_event};
use crate::proto::reply::MultiHeader;
use crate::proto::request::{MultiOp, PathInt, PathWatch, SetWatches, path, read_multi};
use crate::proto::{Acl, ErrorCode, Id, JuteWrite, OpCode, Perms, Reader};
use crate::tree::{NodeIndex, Tree};
use crate::watch::{self, Table, WatcherType, Watches};
use bytes::BufMut;
use std::ops::Range;

/// What a read sees and leaves.
pub(super) struct Read<'v> {
    pub tree: &'v Tree,
    pub watches: &'v mut Watches,
    pub policy: &'v Policy,
    pub cnxn: watch::Cnxn,
    pub session_id: i64,
    pub ids: &'v [Id],
}

/// Bytes of a multiRead's answer: one frame may name a large znode fifty thousand times.
const MULTI_READ_BYTES_MAX: usize = 64 << 20;

/// `AddWatchMode`'s numbers.
const ADD_WATCH_PERSISTENT: i32 = 0;
const ADD_WATCH_RECURSIVE: i32 = 1;

impl Read<'_> {
    /// Appends the body of the reply to `out`; on an error the caller takes back what was appended.
    /// setWatches appends its catch-up events to `events`, whole frames that go out before the reply.
    pub fn answer(
        &mut self,
        op: OpCode,
        body: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let reader = &mut Reader::new(body);
        match op {
            OpCode::GET_DATA => {
                let PathWatch { path, watch } = PathWatch::read(reader)?;
                let index = self.readable(path, Perms::READ)?;
                self.leave(watch, Table::Data, path);
                self.put_data(index, out);
            }
            OpCode::EXISTS => {
                let PathWatch { path, watch } = PathWatch::read(reader)?;
                if path.contains(&0) {
                    return Err(ErrorCode::BadArguments);
                }
                let index = match self.readable(path, Perms::READ) {
                    Err(ErrorCode::NoNode) => None,
                    readable => Some(readable?),
                };
                self.leave(watch, Table::Data, path);
                self.tree.stat(index.ok_or(ErrorCode::NoNode)?).put(out);
            }
            OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => {
                let PathWatch { path, watch } = PathWatch::read(reader)?;
                let index = self.readable(path, Perms::READ)?;
                self.leave(watch, Table::Child, path);
                self.put_children(index, out);
                if op == OpCode::GET_CHILDREN2 {
                    self.tree.stat(index).put(out);
                }
            }
            OpCode::GET_ACL => {
                let index = self.readable(path(reader)?, Perms::READ.or(Perms::ADMIN))?;
                let acl = self.tree.body(index).acl();
                match acl {
                    [] => put_acls(out, &[Acl::open()]),
                    _ if self.policy.permits(acl, Perms::ADMIN, self.ids) => put_acls(out, acl),
                    _ => put_acls(out, &auth::mask(acl)),
                }
                self.tree.stat(index).put(out);
            }
            OpCode::GET_ALL_CHILDREN_NUMBER => {
                let index = self.readable(path(reader)?, Perms::READ)?;
                out.put_i32(self.tree.descendants(index) as i32);
            }
            OpCode::GET_EPHEMERALS => {
                let prefix = reader.string()?.unwrap_or_default();
                let everything = matches!(prefix.trim_ascii(), b"" | b"/");
                let owned = self.tree.ephemerals(self.session_id);
                put_strings(out, owned.filter(|path| everything || path.starts_with(prefix)));
            }
            OpCode::WHO_AM_I => {
                let infos = self.policy.client_infos(self.ids);
                out.put_count(infos.len());
                for (scheme, user) in infos {
                    out.put_string(scheme.as_bytes());
                    out.put_string(user.as_bytes());
                }
            }
            OpCode::MULTI_READ => self.multi_read(reader, out)?,
            OpCode::ADD_WATCH => {
                let PathInt { path, number } = PathInt::read(reader)?;
                match number {
                    ADD_WATCH_PERSISTENT => self.watches.add_persistent(path, self.cnxn),
                    ADD_WATCH_RECURSIVE => self.watches.add_recursive(path, self.cnxn),
                    _ => return Err(ErrorCode::MarshallingError),
                }
                // An ErrorResponse of 0: without these four bytes Java clients hang up.
                out.put_i32(0);
            }
            OpCode::CHECK_WATCHES | OpCode::REMOVE_WATCHES => {
                let PathInt { path, number } = PathInt::read(reader)?;
                let which = WatcherType::from_wire(number).ok_or(ErrorCode::MarshallingError)?;
                let found = match op {
                    OpCode::CHECK_WATCHES => self.watches.contains(path, which, self.cnxn),
                    _ => self.watches.remove(path, which, self.cnxn),
                };
                if !found {
                    return Err(ErrorCode::NoWatcher);
                }
            }
            OpCode::SET_WATCHES | OpCode::SET_WATCHES2 => {
                let request = SetWatches::read(reader, op)?;
                // The view has dealt with a long one, turn by turn.
                if !is_long(op, body) {
                    self.set_watches(&request, 0..request.paths(), events);
                }
            }
            _ => return Err(ErrorCode::Unimplemented),
        }
        Ok(())
    }

    fn readable(&self, path: &[u8], wanted: Perms) -> Result<NodeIndex, ErrorCode> {
        let index = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        match self.policy.permits(self.tree.body(index).acl(), wanted, self.ids) {
            true => Ok(index),
            false => Err(ErrorCode::NoAuth),
        }
    }

    fn leave(&mut self, watch: bool, table: Table, path: &[u8]) {
        if watch {
            self.watches.add(table, path, self.cnxn);
        }
    }

    fn put_data(&self, index: NodeIndex, out: &mut Vec<u8>) {
        out.put_buffer(self.tree.body(index).data());
        self.tree.stat(index).put(out);
    }

    fn put_children(&self, index: NodeIndex, out: &mut Vec<u8>) {
        put_strings(out, self.tree.children(index));
    }

    /// Each operation fails for itself; the watch flags inside are dropped. An answer that grows over
    /// [`MULTI_READ_BYTES_MAX`] fails as a whole.
    fn multi_read(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let start = out.len();
        for op in read_multi(reader)? {
            if out.len() - start > MULTI_READ_BYTES_MAX {
                return Err(ErrorCode::MarshallingError);
            }
            let (op, path) = match op {
                MultiOp::GetData(path) => (OpCode::GET_DATA, path),
                MultiOp::GetChildren(path) => (OpCode::GET_CHILDREN, path),
                _ => return Err(ErrorCode::MarshallingError),
            };
            match self.readable(path, Perms::READ) {
                Ok(index) => {
                    MultiHeader { op, done: false, err: 0 }.put(out);
                    match op {
                        OpCode::GET_DATA => self.put_data(index, out),
                        _ => self.put_children(index, out),
                    }
                }
                Err(code) => put_error_result(out, code.to_wire()),
            }
        }
        MultiHeader::END.put(out);
        Ok(())
    }

    /// A client is back and says what it watched, and the newest zxid that it saw: what changed since
    /// is told at once, the rest is watched again. Deals with the `range` of its paths, all lists being
    /// one. Source: `DataTree.setWatches`.
    pub fn set_watches(&mut self, request: &SetWatches<'_>, range: Range<usize>, events: &mut Vec<u8>) {
        // Signed, as in Java: -1 is before everything.
        let since = request.relative_zxid.to_wire();
        let all = request
            .lists
            .iter()
            .enumerate()
            .flat_map(|(list, paths)| paths.iter().map(move |path| (list, *path)));
        for (list, path) in all.skip(range.start).take(range.len()) {
            let found = self.tree.find(path);
            let event = match (list, found) {
                (DATA, None) | (CHILD, None) => Some(EventType::NodeDeleted),
                (DATA, Some(index)) => (self.tree.body(index).fixed().mzxid.to_wire() > since)
                    .then_some(EventType::NodeDataChanged),
                (EXIST, found) => found.map(|_| EventType::NodeCreated),
                (CHILD, Some(index)) => (self.tree.child_stat(index).1.to_wire() > since)
                    .then_some(EventType::NodeChildrenChanged),
                _ => None,
            };
            match (event, list) {
                (Some(kind), _) => put_event(events, None, kind, path),
                (None, DATA | EXIST) => self.watches.add(Table::Data, path, self.cnxn),
                (None, CHILD) => self.watches.add(Table::Child, path, self.cnxn),
                (None, PERSISTENT) => self.watches.add_persistent(path, self.cnxn),
                (None, _) => self.watches.add_recursive(path, self.cnxn),
            }
        }
    }
}

/// The lists of a setWatches2, by number; the fifth is of recursive watches.
const DATA: usize = 0;
const EXIST: usize = 1;
const CHILD: usize = 2;
const PERSISTENT: usize = 3;

/// Bytes of a setWatches up to which it is dealt with at once.
const WATCHES_BYTES_AT_ONCE: usize = 16 << 10;

/// Whether a request is one that must not be dealt with at once: a setWatches of thousands of paths.
pub(super) fn is_long(op: OpCode, body: &[u8]) -> bool {
    matches!(op, OpCode::SET_WATCHES | OpCode::SET_WATCHES2) && body.len() > WATCHES_BYTES_AT_ONCE
}

/// Appends the result of an operation that failed in a multi.
pub(super) fn put_error_result(out: &mut Vec<u8>, err: i32) {
    MultiHeader { op: OpCode::ERROR, done: false, err }.put(out);
    out.put_i32(err);
}

/// Appends a vector of strings whose number only counting tells.
fn put_strings<'a>(out: &mut Vec<u8>, strings: impl Iterator<Item = &'a [u8]>) {
    let start = out.len();
    out.put_i32(0);
    let mut count = 0i32;
    for string in strings {
        out.put_string(string);
        count += 1;
    }
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
}
