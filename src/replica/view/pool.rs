//! What the connections of a view share: the work of a turn, memory for answers, and lists of those with something to do.

use super::cnxn::{Cnxn, State};
use super::data::Data;
use super::read::answer_bytes;
use crate::proto::{OpCode, SessionId};
use std::collections::BTreeMap;

/// Unsent bytes at which a connection's requests wait; a single answer may be larger.
pub(super) const OUT_BYTES_PAUSE: usize = 256 << 10;

/// The same while memory is short.
pub(super) const OUT_BYTES_PAUSE_SHORT: usize = 16 << 10;

/// Unsent bytes of all connections of a view at which memory is short: requests with large answers wait until it is not,
/// connections may have less unsent, and those that take nothing end. One more answer may come on top.
const OUT_BYTES_ALL_MAX: usize = 256 << 20;

/// An answer of more bytes waits while memory is short.
const LARGE_ANSWER_BYTES: usize = 64 << 10;

/// Work of one turn, in units of [`REQUEST_WORK`](super::read::REQUEST_WORK): some 2 ms. A connection that has more to do
/// goes on in a later turn, and so do deltas; a single request, or entry, may be more.
pub(super) const WORK_PER_TURN: isize = 1 << 19;

/// Sent bytes before unsent ones at which the latter move up: a connection may never run dry.
const OUT_BYTES_SENT_MAX: usize = 64 << 10;

/// A buffer that is drained is kept for the next connection that needs one, up to this size.
const SPARE_BYTES_MAX: usize = 64 << 10;

/// Buffers that are kept.
const SPARES_MAX: usize = 64;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Pool {
    /// What is left of this turn's work; below 0 where it was more.
    pub work: isize,
    /// Unsent bytes of all connections, but for small amounts.
    unsent_bytes: usize,
    /// Connections that the shell should poll.
    pub listed: Vec<u32>,
    /// Connections of sessions that gave a sign of life since that was last reported.
    pub touched: Vec<u32>,
    /// Connections whose next request waits for `unsent_bytes` to fall.
    pub short: Vec<u32>,
    /// Connections whose next request waits for the commit side.
    pub held_up: Vec<u32>,
    /// Which connection a session has.
    pub by_session: BTreeMap<SessionId, u32>,
    /// Empty buffers.
    spares: Vec<Vec<u8>>,
}

impl Pool {
    pub fn new() -> Self {
        Self {
            work: WORK_PER_TURN,
            unsent_bytes: 0,
            listed: Vec::new(),
            touched: Vec::new(),
            short: Vec::new(),
            held_up: Vec::new(),
            by_session: BTreeMap::new(),
            spares: Vec::new(),
        }
    }

    /// Takes so much of the turn's work.
    #[inline]
    pub fn charge(&mut self, work: usize) {
        self.work -= work as isize;
    }

    /// Counts what a connection has unsent, if that is much or was.
    pub fn weigh(&mut self, cnxn: &mut Cnxn) {
        let unsent = cnxn.unsent();
        if unsent >= OUT_BYTES_PAUSE_SHORT || cnxn.weighed > 0 {
            let all = self.unsent_bytes + unsent;
            assert!(cnxn.weighed <= all, "{} bytes of one connection, {all} of all", cnxn.weighed);
            self.unsent_bytes = all - cnxn.weighed;
            cnxn.weighed = unsent;
        }
    }

    /// Counts nothing any more of a connection that is gone.
    pub fn unweigh(&mut self, cnxn: &mut Cnxn) {
        let weighed = std::mem::take(&mut cnxn.weighed);
        assert!(
            weighed <= self.unsent_bytes,
            "{weighed} bytes of one connection, {} of all",
            self.unsent_bytes
        );
        self.unsent_bytes -= weighed;
    }

    /// True if so much is unsent that large answers wait.
    pub fn is_short(&self) -> bool {
        self.unsent_bytes >= OUT_BYTES_ALL_MAX
    }

    /// Unsent bytes at which the requests of a connection wait now.
    pub fn pause_bytes(&self) -> usize {
        if self.is_short() { OUT_BYTES_PAUSE_SHORT } else { OUT_BYTES_PAUSE }
    }

    /// True if a read has to wait because its answer is large and memory is short.
    #[inline(always)]
    pub fn waits_for_room(
        &mut self,
        slot: u32,
        data: &Data,
        session_id: SessionId,
        op: OpCode,
        body: &[u8],
    ) -> bool {
        self.is_short() && self.is_too_large_for_now(slot, data, session_id, op, body)
    }

    #[cold]
    fn is_too_large_for_now(
        &mut self,
        slot: u32,
        data: &Data,
        session_id: SessionId,
        op: OpCode,
        body: &[u8],
    ) -> bool {
        let waits = answer_bytes(&data.tree, session_id, op, body) > LARGE_ANSWER_BYTES;
        if waits {
            self.short.push(slot);
        }
        waits
    }

    /// Puts a connection on the list of those that the shell polls.
    pub fn list(&mut self, slot: u32, cnxn: &mut Cnxn) {
        if !cnxn.listed {
            cnxn.listed = true;
            self.listed.push(slot);
        }
    }

    /// Notes that the session of a connection gave a sign of life.
    #[inline]
    pub fn hear(&mut self, slot: u32, cnxn: &mut Cnxn) {
        if !cnxn.touched && cnxn.state == State::Established {
            debug_assert_ne!(
                cnxn.session_id,
                SessionId::NONE,
                "slot {slot} is established without a session"
            );
            cnxn.touched = true;
            self.touched.push(slot);
        }
    }

    /// Notes that the client has taken so many bytes.
    #[inline]
    pub fn sent(&mut self, slot: u32, cnxn: &mut Cnxn, bytes: usize, now_ms: i64) {
        assert!(bytes <= cnxn.unsent(), "{bytes} bytes were sent of {}", cnxn.unsent());
        // A client that is not read because it takes long over an answer may have no other way to say that it lives. Of
        // less than this the kernel may take all, from a server whose client is long gone.
        if cnxn.unsent() >= OUT_BYTES_PAUSE && cnxn.state == State::Established {
            cnxn.moved_ms = now_ms;
            self.hear(slot, cnxn);
        }
        cnxn.sent += bytes;
        cnxn.event_bytes = cnxn.event_bytes.min(cnxn.unsent());
        if cnxn.weighed > 0 {
            self.weigh(cnxn);
        }
        if cnxn.sent == cnxn.out.len() {
            cnxn.sent = 0;
            self.keep_buffer(std::mem::take(&mut cnxn.out));
        } else if cnxn.sent >= OUT_BYTES_SENT_MAX && cnxn.sent >= cnxn.unsent() {
            cnxn.out.drain(..cnxn.sent);
            cnxn.sent = 0;
        }
    }

    /// Takes a connection's session away if that still is here. What it watches goes when it is closed.
    pub fn silence(&mut self, slot: u32, cnxn: &Cnxn) {
        if self.by_session.get(&cnxn.session_id) == Some(&slot) {
            self.by_session.remove(&cnxn.session_id);
        }
    }

    /// Gives a connection that has nothing to send a buffer to write to.
    #[inline]
    pub fn lend_buffer(&mut self, cnxn: &mut Cnxn) {
        if cnxn.out.capacity() == 0
            && let Some(spare) = self.spares.pop()
        {
            debug_assert!(spare.is_empty(), "a spare buffer has {} bytes of another connection", spare.len());
            debug_assert_eq!(cnxn.sent, 0, "bytes were sent of no buffer");
            cnxn.out = spare;
        }
    }

    /// Keeps a buffer for the next connection that needs one.
    pub fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        if (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) && self.spares.len() < SPARES_MAX {
            buffer.clear();
            self.spares.push(buffer);
        }
    }
}
