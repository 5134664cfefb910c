//! What a view sends to the commit side, and how much of it is not answered yet.

use crate::proto::{ConnectRequest, Id, OpCode, SessionId};
use crate::replica::commit::WRITE_BYTES_MAX;
use crate::replica::{CnxnId, Now, Request, Uplink, ViewRequest};
use std::sync::Arc;

/// Bytes of requests on their way to the commit side at which connections wait.
const UPLINK_BYTES_MAX: usize = 8 << 20;

/// How often sessions that gave a sign of life are reported: what adds to a session's timeout at most.
const TOUCH_INTERVAL_MS: i64 = 100;

/// Bytes of a password that are sent up: as many as a real one has, and some.
const PASSWORD_BYTES_MAX: usize = 64;

/// What a view has for the commit side.
///
/// Invariant: each request that is sent up is answered by one entry of the deltas, or voided with all others when clients
/// are dropped.
#[derive(Debug)]
pub(super) struct Outbox {
    /// What was not taken yet.
    uplink: Uplink,
    /// Requests that the commit side has not answered.
    outstanding: usize,
    /// Requests outstanding at which connections that have some wait.
    outstanding_max: usize,
    /// Sessions that gave a sign of life and were not reported yet.
    signs: Vec<SessionId>,
    /// Through when `signs` are all of them.
    heard_through_us: i64,
    /// When [`Self::is_report_due`] was asked last, and when it last said yes.
    ticked_us: i64,
    reported_ms: i64,
}

impl Outbox {
    pub fn new(outstanding_max: usize) -> Self {
        Self {
            uplink: Uplink::default(),
            outstanding: 0,
            outstanding_max,
            signs: Vec::new(),
            heard_through_us: 0,
            ticked_us: 0,
            reported_ms: 0,
        }
    }

    /// True if there is nothing to be taken but signs of life.
    pub fn is_empty(&self) -> bool {
        self.uplink.items.is_empty()
    }

    /// Requests that the commit side has not answered.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// True if connections that have a request with the commit side wait.
    pub fn is_full(&self) -> bool {
        self.outstanding >= self.outstanding_max || self.is_uplink_full()
    }

    /// True if so many bytes wait to be taken that connections wait as well.
    pub fn is_uplink_full(&self) -> bool {
        self.uplink.bytes.len() >= UPLINK_BYTES_MAX
    }

    /// True if as many requests as there may be wait for an answer.
    pub fn has_outstanding_max(&self) -> bool {
        self.outstanding >= self.outstanding_max
    }

    /// Adds a request that the commit side gives a place in the order.
    #[allow(clippy::too_many_arguments)] // the fields of a request
    #[inline]
    pub fn push_request(
        &mut self,
        cnxn: CnxnId,
        session_id: SessionId,
        xid: i32,
        op: OpCode,
        body: &[u8],
        ids: Arc<[Id]>,
        now: Now,
    ) {
        debug_assert!(body.len() <= WRITE_BYTES_MAX, "a write of {} bytes is sent up", body.len());
        self.begin(now);
        let start = self.uplink.bytes.len();
        self.uplink.bytes.extend_from_slice(body);
        let (origin, body) = (cnxn.into(), start..self.uplink.bytes.len());
        self.uplink.items.push(ViewRequest::Request(Request { origin, session_id, xid, op, body, ids }));
    }

    /// Adds a client's wish to open a session, or to attach to one.
    pub fn push_connect(&mut self, cnxn: CnxnId, request: &ConnectRequest<'_>, now: Now) {
        self.begin(now);
        let password = request.password.unwrap_or_default();
        self.uplink.items.push(ViewRequest::Connect {
            cnxn,
            session_id: request.session_id,
            password: password[..password.len().min(PASSWORD_BYTES_MAX)].into(),
            timeout_ms: request.timeout_ms,
            last_zxid_seen: request.last_zxid_seen,
        });
    }

    /// Adds what needs no answer, or none that is counted: four-letter words, reports, fences.
    pub fn push_control(&mut self, item: ViewRequest) {
        debug_assert!(
            !matches!(item, ViewRequest::Request(_) | ViewRequest::Connect { .. }),
            "its answer is counted: {item:?}"
        );
        self.uplink.items.push(item);
    }

    fn begin(&mut self, now: Now) {
        self.uplink.since_us.get_or_insert(now.mono_us);
        self.outstanding += 1;
    }

    /// The commit side has answered one request.
    #[inline]
    pub fn answered(&mut self) {
        assert!(self.outstanding > 0, "an answer to no request");
        self.outstanding -= 1;
    }

    /// What is to be sent to the commit side; signs of life go along if [`Self::take_signs`] has left them.
    pub fn take(&mut self) -> Option<Uplink> {
        if !self.signs.is_empty() {
            let signs = self.take_signs();
            self.uplink.items.push(ViewRequest::Touched(signs));
        }
        if self.uplink.items.is_empty() {
            return None;
        }
        let is_counted =
            |item: &&ViewRequest| matches!(item, ViewRequest::Request(_) | ViewRequest::Connect { .. });
        debug_assert!(
            self.uplink.items.iter().filter(is_counted).count() <= self.outstanding,
            "the uplink has more requests than the {} that wait for an answer",
            self.outstanding
        );
        let next = Uplink { serving_generation: self.uplink.serving_generation, ..Uplink::default() };
        Some(std::mem::replace(&mut self.uplink, next))
    }

    /// Clients are dropped: their requests are void, and a new generation begins.
    pub fn void_requests(&mut self) {
        self.outstanding = 0;
        self.uplink.serving_generation += 1;
        self.uplink
            .items
            .retain(|item| matches!(item, ViewRequest::FourLetterWord { .. } | ViewRequest::Report { .. }));
    }

    /// Advances the time; true every [`TOUCH_INTERVAL_MS`], when sessions are to be added with [`Self::signs_mut`].
    pub fn is_report_due(&mut self, now: Now) -> bool {
        debug_assert!(
            now.mono_us >= self.ticked_us,
            "time goes back: {} after {} us",
            now.mono_us,
            self.ticked_us
        );
        let is_due = now.mono_ms() - self.reported_ms >= TOUCH_INTERVAL_MS;
        if is_due {
            self.reported_ms = now.mono_ms();
            // What arrived between two ticks is handled before the second.
            self.heard_through_us = self.ticked_us;
        }
        self.ticked_us = now.mono_us;
        is_due
    }

    /// Sessions that gave a sign of life and were not reported yet.
    pub fn signs_mut(&mut self) -> &mut Vec<SessionId> {
        &mut self.signs
    }

    pub fn take_signs(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.signs)
    }

    pub fn heard_through_us(&self) -> i64 {
        self.heard_through_us
    }
}
