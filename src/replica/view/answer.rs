//! A connection's turn when the commit side has answered: replies to writes, syncs and connect requests.

use super::cnxn::{CloseReason, Pending, State};
use super::traces::Unfinished;
use super::turn::{Drain, Turn, UNREADABLE_PATH};
use crate::admin::ATTACH_SESSION;
use crate::proto::reply::{put_reply, put_status};
use crate::proto::{ConnectResponse, ErrorCode, JuteWrite, OpCode, SessionId, jute};
use crate::replica::{Entry, Serving, SessionKind, TxnKind};
use crate::session;

impl Turn<'_> {
    /// Answers a request: `body` is what follows the header of a reply that is a success.
    #[inline]
    pub fn answer_txn(&mut self, entry: &Entry, kind: TxnKind, body: &mut Vec<u8>) {
        match kind {
            TxnKind::Done(_) | TxnKind::Multi | TxnKind::Synced => self.reply(entry, ErrorCode::Ok, body),
            TxnKind::Failed(code) => self.reply(entry, code, body),
            TxnKind::Moved => {
                self.cnxn.close(CloseReason::SessionMoved { session_id: self.cnxn.session_id });
            }
            TxnKind::Dropped => {
                self.cnxn.close(CloseReason::SessionGone { session_id: self.cnxn.session_id });
            }
        }
    }

    /// Answers a connect request, or a closeSession.
    pub fn answer_session(&mut self, entry: &Entry, kind: SessionKind, body: &mut Vec<u8>) {
        let is_waiting = self.cnxn.state == State::Waiting;
        match kind {
            SessionKind::Created { session_id, timeout_ms }
            | SessionKind::Opened { session_id, timeout_ms }
                if is_waiting =>
            {
                self.establish(session_id, timeout_ms);
                // As Java: a session that begins is its connection's first request. One that is attached to is none.
                let latency_us = (self.now.mono_us - self.cnxn.asked_us).max(0) as u64;
                self.tally.metrics.operations.record(OpCode::CREATE_SESSION, latency_us);
                let (stats, zxid) = (&mut self.cnxn.stats, self.data.zxid);
                stats.note_answer(0, OpCode::CREATE_SESSION, zxid, Some(latency_us), self.now);
                self.note_slow(0, OpCode::CREATE_SESSION, self.cnxn.asked_us, None);
            }
            SessionKind::Attached { session_id, timeout_ms } if is_waiting => {
                self.tally.metrics.counters.connection_revalidate_count += 1;
                let latency_us = (self.now.mono_us - self.cnxn.asked_us).max(0) as u64;
                self.tally.metrics.operations.record(ATTACH_SESSION, latency_us);
                self.establish(session_id, timeout_ms);
                self.note_slow(0, ATTACH_SESSION, self.cnxn.asked_us, None);
            }
            SessionKind::Refused { .. } if is_waiting => {
                self.tally.metrics.counters.connection_revalidate_count += 1;
                self.begin_answer();
                let response = ConnectResponse::expired(self.read_only_byte());
                jute::frame(&mut self.cnxn.out, |out| response.put(out));
                self.cnxn.close(CloseReason::Done);
            }
            SessionKind::Created { .. }
            | SessionKind::Opened { .. }
            | SessionKind::Attached { .. }
            | SessionKind::Refused { .. } => {
                debug_assert_eq!(
                    self.cnxn.state,
                    State::Closing,
                    "the answer to no connect request: {kind:?}"
                );
            }
            SessionKind::Overtaken { session_id } => {
                self.cnxn.close(CloseReason::SessionMoved { session_id });
            }
            SessionKind::Ahead { seen } => {
                self.cnxn.close(CloseReason::ZxidAhead { seen, ours: self.data.zxid });
            }
            SessionKind::Global { session_id } => {
                self.cnxn.close(CloseReason::GlobalSession { session_id });
            }
            SessionKind::Closed { .. } | SessionKind::Ended { .. } => {
                self.reply(entry, ErrorCode::Ok, body);
                self.cnxn.close(CloseReason::Done);
            }
        }
    }

    /// Ends the connection, whose session attaches elsewhere: nothing is sent for the session from here on.
    pub fn fence(&mut self) {
        self.cnxn.close(CloseReason::SessionMoved { session_id: self.cnxn.session_id });
        self.pool.silence(self.id.slot, self.cnxn);
    }

    /// What a client that asked for it is told about the server: whether it is read-only.
    fn read_only_byte(&self) -> Option<bool> {
        self.cnxn.read_only.map(|_| self.data.serving == Serving::ReadOnly)
    }

    fn establish(&mut self, session_id: SessionId, timeout_ms: i32) {
        self.begin_answer();
        let read_only = self.read_only_byte();
        let cnxn = &mut *self.cnxn;
        assert_eq!(cnxn.session_id, SessionId::NONE, "{:?} gets a second session, {session_id:#x}", self.id);
        assert_ne!(session_id, SessionId::NONE, "{:?} gets a session without an id", self.id);
        cnxn.state = State::Established;
        (cnxn.session_id, cnxn.timeout_ms) = (session_id, timeout_ms);
        self.pool.by_session.insert(session_id, self.id.slot);
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session_id,
            password: session::password(session_id),
            read_only,
        };
        jute::frame(&mut cnxn.out, |out| response.put(out));
    }

    /// Remembers a request that took long or is traced; [`super::traces::Tracer::finish`] adds what its entry says.
    #[inline]
    fn note_slow(&mut self, xid: i32, op: OpCode, sent_us: i64, sampled: Option<Box<[u8]>>) {
        let tracer = &mut self.tally.tracer;
        if tracer.is_slow((self.now.mono_us - sent_us).max(0) as u64) || sampled.is_some() {
            let session_id = self.cnxn.session_id;
            tracer.unfinished = Some(Unfinished { session_id, xid, op, sent_us, sampled });
        }
    }

    /// Answers the oldest request of the connection that is with the commit side.
    fn reply(&mut self, entry: &Entry, mut code: ErrorCode, body: &mut Vec<u8>) {
        assert!(self.cnxn.awaited > 0, "an answer to no request of {:?}: {entry:?}", self.id);
        self.cnxn.awaited -= 1;
        let (xid, op, sent_us, path, is_traced) = match self.cnxn.pending.pop_front() {
            Some(Pending::Awaited { xid, op, sent_us, path, is_traced }) => {
                (xid, op, sent_us, path, is_traced)
            }
            Some(Pending::Deferred(_)) => unreachable!("answered before the entry was"),
            None => {
                assert_eq!(self.cnxn.state, State::Closing, "what {:?} asked for is forgotten", self.id);
                return;
            }
        };
        assert_eq!(xid, entry.xid, "answers of {:?} are out of order", self.id);
        if op == OpCode::SYNC {
            match &*path {
                UNREADABLE_PATH => code = ErrorCode::MarshallingError,
                path => body.put_string(path),
            }
        }
        let zxid = entry.zxid;
        let latency_us = (self.now.mono_us - sent_us).max(0) as u64;
        self.tally.metrics.operations.record(op, latency_us);
        self.cnxn.stats.note_answer(xid, op, self.data.zxid, Some(latency_us), self.now);
        self.note_slow(xid, op, sent_us, is_traced.then_some(path));
        self.begin_answer();
        let out = &mut self.cnxn.out;
        let start = out.len();
        match code {
            ErrorCode::Ok => put_reply(out, xid, zxid, |out| out.extend_from_slice(body)),
            code => put_status(out, xid, zxid.to_wire(), code),
        }
        self.tally.note_reply(out.len() - start, self.now);
        // Nothing is answered after a closeSession.
        if op != OpCode::CLOSE_SESSION && self.cnxn.deferred > 0 {
            self.drain_deferred(Drain::UntilBackpressure);
        }
    }
}
