//! Requests that took long, and every so many-th: what is remembered of them.
//!
//! A request that is answered at once costs a comparison more, and one that the commit side answers two. What is slow or
//! sampled goes the way of the functions here.

use super::cnxn::{Cnxn, Incoming};
use super::sampling::{Access, Sampler};
use crate::admin::{TRACE_PATH_BYTES_MAX, Trace, operation_name};
use crate::proto::reply::MultiHeader;
use crate::proto::{OpCode, OpKind, Reader, SessionId};
use crate::replica::{GroupTimes, Now};
use crate::txn::Change;
use std::collections::VecDeque;

/// Work of a read, in units of [`super::pool::WORK_PER_TURN`] and about 0.2 ms, from which on it is remembered until it is
/// known how long the reads of its turn took.
pub(super) const HEAVY_WORK: usize = 1 << 16;

/// Traces that wait to be taken; the oldest make room. The shell takes them every 20 ms at least.
const TRACES_MAX: usize = 4096;

/// What a view remembers of single requests.
#[derive(Debug)]
pub(super) struct Tracer {
    /// Requests that take as long are slow, in microseconds.
    slow_us: u64,
    pub sampler: Sampler,
    /// The stages of the group that is applied.
    pub group: GroupTimes,
    /// The request that was answered just now: what its entry changes is not known where it is answered.
    pub unfinished: Option<Unfinished>,
    /// The read of this turn that is remembered.
    noted: Option<Noted>,
    traces: VecDeque<Trace>,
}

/// A request that was answered, without its path.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub session_id: SessionId,
    pub xid: i32,
    pub op: OpCode,
    pub sent_us: i64,
    /// The path that it asked for, of one that is sampled.
    pub sampled: Option<Box<[u8]>>,
}

/// A read whose time is not known yet.
#[derive(Debug)]
struct Noted {
    session_id: SessionId,
    xid: i32,
    op: OpCode,
    path: Option<Box<[u8]>>,
    /// [`usize::MAX`] of one that is sampled.
    work: usize,
    is_sampled: bool,
}

impl Tracer {
    /// Requests that take `slow_us` are slow.
    pub fn new(slow_us: u64, sampler: Sampler) -> Self {
        let (group, traces) = (GroupTimes::default(), VecDeque::new());
        Self { slow_us, sampler, group, unfinished: None, noted: None, traces }
    }

    /// True if a request that takes so long is slow.
    #[inline]
    pub fn is_slow(&self, took_us: u64) -> bool {
        took_us >= self.slow_us
    }

    /// True if reads that took so long together are to be remembered.
    #[inline]
    pub fn wants(&self, took_us: u64) -> bool {
        self.is_slow(took_us) || self.noted.is_some()
    }

    /// A write or sync is sent up that is sampled; true if it is to be traced. Its path is `kept_path` then, but for a
    /// sync, which has it already.
    #[cold]
    pub fn sampled(&mut self, op: OpCode, body: &[u8], kept_path: &mut Box<[u8]>) -> bool {
        let path = path_of(op, body);
        let is_traced = self.sampler.add(path, Access::Write);
        if is_traced && op != OpCode::SYNC {
            *kept_path = kept(path.unwrap_or_default());
        }
        is_traced
    }

    /// A read is about to be answered that is due to be sampled, or had to wait since `came_us`.
    #[cold]
    pub fn read(&mut self, cnxn: &Cnxn, request: Incoming<'_>, is_due: bool, came_us: Option<i64>, now: Now) {
        let Incoming { xid, op, body } = request;
        let path = path_of(op, body);
        let is_sampled = is_due && self.sampler.add(path, Access::Read);
        if let Some(came_us) = came_us {
            let total_us = (now.mono_us - came_us).max(0) as u64;
            let is_slow = self.is_slow(total_us);
            if is_slow || is_sampled {
                self.push(Trace {
                    wall_ms: now.wall_ms,
                    session_id: cnxn.session_id,
                    cxid: xid,
                    op: operation_name(op),
                    path: path.map(kept),
                    requests: 1,
                    total_us,
                    stages: vec![("queue", total_us)],
                    is_slow,
                    is_sampled,
                });
            }
        } else if is_sampled {
            let (session_id, path) = (cnxn.session_id, path.map(kept));
            self.noted = Some(Noted { session_id, xid, op, path, work: usize::MAX, is_sampled });
        }
    }

    /// A read that was answered at once is so much work: it is remembered unless another of the turn is more, or sampled.
    #[cold]
    pub fn heavy_read(&mut self, cnxn: &Cnxn, request: Incoming<'_>, work: usize) {
        if self.noted.as_ref().is_none_or(|before| before.work < work) {
            let Incoming { xid, op, body } = request;
            let (session_id, path) = (cnxn.session_id, path_of(op, body).map(kept));
            self.noted = Some(Noted { session_id, xid, op, path, work, is_sampled: false });
        }
    }

    /// So many reads were answered together in that time, of which one may be noted.
    #[cold]
    pub fn reads(&mut self, cnxn: &Cnxn, requests: u64, total_us: u64) {
        let is_slow = self.is_slow(total_us);
        let noted = self.noted.take();
        let is_sampled = noted.as_ref().is_some_and(|noted| noted.is_sampled);
        if is_slow || is_sampled {
            let stats = &cnxn.stats;
            let (session_id, cxid, op, path) = match noted {
                Some(Noted { session_id, xid, op, path, .. }) => (session_id, xid, Some(op), path),
                None => (cnxn.session_id, stats.last_cxid, stats.last_op, None),
            };
            self.push(Trace {
                wall_ms: stats.last_response.wall_ms,
                session_id,
                cxid,
                op: op.map_or("unknown", operation_name),
                path,
                requests,
                total_us,
                stages: vec![("read", total_us)],
                is_slow,
                is_sampled,
            });
        }
    }

    /// The entry of the request that was answered just now has made these changes.
    #[cold]
    pub fn finish(&mut self, changes: &[Change], now: Now) {
        if let Some(Unfinished { session_id, xid, op, sent_us, sampled }) = self.unfinished.take() {
            let total_us = (now.mono_us - sent_us).max(0) as u64;
            let is_sampled = sampled.is_some();
            // What was done may have another name than what was asked for.
            let path = changes.first().map(|change| kept(change.path())).or(sampled);
            self.push(Trace {
                wall_ms: now.wall_ms,
                session_id,
                cxid: xid,
                op: operation_name(op),
                path: path.filter(|path| !path.is_empty()),
                requests: 1,
                total_us,
                stages: self.group.stages(sent_us, now.mono_us.max(sent_us)),
                is_slow: self.is_slow(total_us),
                is_sampled,
            });
        }
    }

    /// What was remembered since the last call.
    pub fn take(&mut self) -> VecDeque<Trace> {
        std::mem::take(&mut self.traces)
    }

    fn push(&mut self, trace: Trace) {
        if self.traces.len() == TRACES_MAX {
            self.traces.pop_front();
        }
        self.traces.push_back(trace);
    }
}

/// The part of a path that is remembered.
fn kept(path: &[u8]) -> Box<[u8]> {
    path[..path.len().min(TRACE_PATH_BYTES_MAX)].into()
}

/// The path that a request names, of a multi the first one; `None` if it names none.
fn path_of(op: OpCode, body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    match op {
        OpCode::SET_WATCHES | OpCode::SET_WATCHES2 | OpCode::WHO_AM_I | OpCode::RECONFIG => return None,
        OpCode::CLOSE_SESSION => return None,
        OpCode::MULTI | OpCode::MULTI_READ if MultiHeader::read(&mut reader).ok()?.done => return None,
        _ if !matches!(op.kind(), OpKind::Read | OpKind::Ordered) => return None,
        _ => {}
    }
    reader.string().ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::JuteWrite;

    /// A request's path is found where its operation has it; an operation without one has none.
    #[test]
    fn paths() {
        let mut get = Vec::new();
        get.put_string(b"/a");
        get.push(0);
        assert_eq!(path_of(OpCode::GET_DATA, &get), Some(&b"/a"[..]));
        let mut multi = Vec::new();
        MultiHeader { op: OpCode::DELETE, done: false, err: -1 }.put(&mut multi);
        multi.put_string(b"/m");
        assert_eq!(path_of(OpCode::MULTI, &multi), Some(&b"/m"[..]));
        let mut empty = Vec::new();
        MultiHeader::END.put(&mut empty);
        assert_eq!(path_of(OpCode::MULTI, &empty), None);
        for op in [OpCode::SET_WATCHES, OpCode::CLOSE_SESSION, OpCode::WHO_AM_I] {
            assert_eq!(path_of(op, &get), None, "{op:?}");
        }
        assert_eq!(path_of(OpCode::GET_DATA, &[0, 0]), None);
        assert_eq!(kept(&[b'x'; 5000]).len(), TRACE_PATH_BYTES_MAX);
    }
}
