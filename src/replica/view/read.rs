//! Answers to reads, straight from a view's tree.

use crate::auth::{self, Policy};
use crate::proto::acl::put_acls;
use crate::proto::event::{EventType, put_event};
use crate::proto::reply::MultiHeader;
use crate::proto::request::{MultiOp, PathInt, PathWatch, WatchCursor, path, read_multi};
use crate::proto::{Acl, ErrorCode, Id, JuteWrite, OpCode, Perms, Reader, SessionId};
use crate::tree::{NodeIndex, Tree};
use crate::watch::{self, Table, WatcherType, Watches};
use bytes::BufMut;

/// What a read sees and leaves.
pub(super) struct Read<'v> {
    pub tree: &'v Tree,
    pub watches: &'v mut Watches,
    pub policy: &'v Policy,
    pub cnxn: watch::Cnxn,
    pub session_id: SessionId,
    pub ids: &'v [Id],
    /// What it has cost beside the bytes that it appended, in units of [`REQUEST_WORK`].
    pub work: usize,
}

/// What a request costs that finds one znode and answers some bytes: the unit is about 4 ns. A turn is bounded in such
/// units, for a packet of 13 KB can ask 600 times for what takes a millisecond.
pub(super) const REQUEST_WORK: usize = 100;

/// What it costs to find one znode among others.
const FIND_WORK: usize = 30;

/// What it costs to name a child: its entry and its path are elsewhere in memory.
const NAME_WORK: usize = 12;

/// What it costs to look for an id in a list, or to index an entry of it.
pub(super) const ID_WORK: usize = 12;

/// What it costs to add a watch.
pub(super) const WATCH_WORK: usize = 50;

/// Bytes that cost one unit to append.
pub(super) const BYTES_PER_WORK: usize = 16;

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
            OpCode::GET_ACL => self.get_acl(path(reader)?, out)?,
            OpCode::GET_ALL_CHILDREN_NUMBER => {
                let index = self.readable(path(reader)?, Perms::READ)?;
                out.put_i32(self.tree.descendants(index) as i32);
            }
            OpCode::GET_EPHEMERALS => self.get_ephemerals(reader.string()?.unwrap_or_default(), out),
            OpCode::WHO_AM_I => self.who_am_i(out),
            OpCode::MULTI_READ => self.multi_read(reader, out)?,
            OpCode::ADD_WATCH => {
                self.add_watch(PathInt::read(reader)?)?;
                // An ErrorResponse of 0: without these four bytes Java clients hang up.
                out.put_i32(0);
            }
            OpCode::CHECK_WATCHES | OpCode::REMOVE_WATCHES => self.named_watch(op, PathInt::read(reader)?)?,
            OpCode::SET_WATCHES | OpCode::SET_WATCHES2 => {
                WatchCursor::check(body, op)?;
                // The view has dealt with a long one, turn by turn.
                if !is_long(op, body) {
                    self.set_watches(op, body, &mut WatchCursor::default(), usize::MAX, events);
                }
            }
            _ => return Err(ErrorCode::Unimplemented),
        }
        Ok(())
    }

    /// Appends an access list, masked for clients that may not change it.
    fn get_acl(&mut self, path: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let index = self.readable(path, Perms::READ.or(Perms::ADMIN))?;
        let list = self.tree.body(index).acl_list();
        match list {
            None => put_acls(out, &[Acl::open()]),
            Some(acl) if acl.is_empty() => put_acls(out, &[Acl::open()]),
            Some(acl) if self.policy.permits_by(list, Perms::ADMIN, self.ids) => put_acls(out, acl),
            Some(acl) => {
                self.work += acl.len() * NAME_WORK;
                put_acls(out, &auth::mask(acl));
            }
        }
        self.tree.stat(index).put(out);
        Ok(())
    }

    /// Appends the paths of the session's ephemerals that begin with `prefix`.
    fn get_ephemerals(&mut self, prefix: &[u8], out: &mut Vec<u8>) {
        let everything = matches!(prefix.trim_ascii(), b"" | b"/");
        let prefix = if everything { b"" } else { prefix };
        let count = put_strings(out, self.tree.ephemerals_below(self.session_id, prefix));
        self.work += count * NAME_WORK;
    }

    /// Appends who the client has proved to be.
    fn who_am_i(&mut self, out: &mut Vec<u8>) {
        let infos = self.policy.client_infos(self.ids);
        self.work += infos.len() * NAME_WORK;
        out.put_count(infos.len());
        for (scheme, user) in infos {
            out.put_string(scheme.as_bytes());
            out.put_string(user.as_bytes());
        }
    }

    /// Leaves a watch that stays.
    fn add_watch(&mut self, PathInt { path, number }: PathInt<'_>) -> Result<(), ErrorCode> {
        match number {
            ADD_WATCH_PERSISTENT => self.watches.add_persistent(path, self.cnxn),
            ADD_WATCH_RECURSIVE => self.watches.add_recursive(path, self.cnxn),
            _ => return Err(ErrorCode::MarshallingError),
        }
        Ok(())
    }

    /// Looks for a watch that the client names, or removes it.
    fn named_watch(&mut self, op: OpCode, PathInt { path, number }: PathInt<'_>) -> Result<(), ErrorCode> {
        let which = WatcherType::from_wire(number).ok_or(ErrorCode::MarshallingError)?;
        let found = match op {
            OpCode::CHECK_WATCHES => self.watches.contains(path, which, self.cnxn),
            _ => self.watches.remove(path, which, self.cnxn),
        };
        if found { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// The znode of a path, if the client may do what is wanted.
    fn readable(&mut self, path: &[u8], wanted: Perms) -> Result<NodeIndex, ErrorCode> {
        let index = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        let list = self.tree.body(index).acl_list();
        if list.is_some() {
            self.work += Policy::work(list, self.ids) * ID_WORK;
        }
        match self.policy.permits_by(list, wanted, self.ids) {
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

    fn put_children(&mut self, index: NodeIndex, out: &mut Vec<u8>) {
        self.work += put_strings(out, self.tree.children(index)) * NAME_WORK;
    }

    /// Each operation fails for itself; the watch flags inside are dropped. An answer that grows over
    /// [`MULTI_READ_BYTES_MAX`] fails as a whole.
    fn multi_read(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let start = out.len();
        for op in read_multi(reader)? {
            if out.len() - start > MULTI_READ_BYTES_MAX {
                // What was appended is taken back, and was work all the same.
                self.work += (out.len() - start) / BYTES_PER_WORK;
                return Err(ErrorCode::MarshallingError);
            }
            self.work += FIND_WORK;
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
    /// is told at once, the rest is watched again. Goes on from `cursor` for so much `work`; `true` if that was all.
    /// Source: `DataTree.setWatches`.
    ///
    /// The body is one that [`WatchCursor::check`] has read.
    pub fn set_watches(
        &mut self,
        op: OpCode,
        body: &[u8],
        cursor: &mut WatchCursor,
        work: usize,
        events: &mut Vec<u8>,
    ) -> bool {
        // Signed, as in Java: -1 is before everything.
        let since = Reader::new(body).long().unwrap_or_default();
        let (work_before, events_before) = (self.work, events.len());
        while self.work - work_before + (events.len() - events_before) / BYTES_PER_WORK < work {
            let Ok(Some(path)) = cursor.next(body, op) else { return true };
            self.work += WATCH_WORK;
            let list = cursor.list();
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
        false
    }
}

/// Bytes about that the answer to a read will have, as far as that is many. Only asked when memory is short.
pub(super) fn answer_bytes(tree: &Tree, session_id: SessionId, op: OpCode, body: &[u8]) -> usize {
    let mut reader = Reader::new(body);
    let data = |path: &[u8]| tree.find(path).map_or(0, |index| tree.body(index).bytes().len());
    let children = |path: &[u8]| tree.find(path).map_or(0, |index| tree.child_count(index) as usize * 16);
    match op {
        OpCode::GET_DATA => PathWatch::read(&mut reader).map_or(0, |read| data(read.path)),
        OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => {
            PathWatch::read(&mut reader).map_or(0, |read| children(read.path))
        }
        OpCode::GET_EPHEMERALS => tree.ephemerals_of(session_id) * 32,
        OpCode::MULTI_READ => read_multi(&mut reader).map_or(0, |ops| {
            let bytes = ops.iter().map(|op| match op {
                MultiOp::GetData(path) => data(path),
                MultiOp::GetChildren(path) => children(path),
                _ => 0,
            });
            bytes.fold(0, usize::saturating_add)
        }),
        _ => 0,
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

/// Appends a vector of strings whose number only counting tells, and tells it.
fn put_strings<'a>(out: &mut Vec<u8>, strings: impl Iterator<Item = &'a [u8]>) -> usize {
    let start = out.len();
    out.put_i32(0);
    let mut count = 0i32;
    for string in strings {
        out.put_string(string);
        count += 1;
    }
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    count as usize
}
