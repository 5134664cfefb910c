//! The interface of a workload to the threads that serve its sockets.

use crate::engine::session::{Granted, Sent, Session};
use crate::engine::tally::{Class, Tally};
use crate::engine::wire::{Op, Wrong};
use zkfast::proto::WatcherEvent;

/// A workload's part on one thread: it decides what a session asks for next, and checks each reply.
///
/// Work comes in units: one request, or several that belong together. A session works on as many units at once as
/// [`has_room`](Self::has_room) allows; a closed loop always has that many, an open loop begins a unit per arrival.
pub trait Driver: Send {
    /// Whether a session can begin one more unit.
    fn has_room(&self, index: usize, session: &Session) -> bool;

    /// Begins a unit that was due at `at_ns`, on a session that has room.
    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun;

    /// Takes the reply to `sent`, and asks for what follows from it.
    ///
    /// # Errors
    /// The reply is wrong. The unit ends all the same, or goes on as if the reply were right.
    fn on_reply(&mut self, turn: &mut Turn<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), Wrong>;

    /// Takes an event of a watch.
    ///
    /// # Errors
    /// The session has no watch that can have caused it.
    fn on_event(&mut self, _: &mut Turn<'_>, event: &WatcherEvent) -> Result<(), Wrong> {
        Err(Wrong::Event { kind: event.kind })
    }

    /// A session is open: at the start of the run, and each time that it has connected again.
    fn on_open(&mut self, _: &mut Turn<'_>, _: Granted) {}

    /// A connection ended that should not; `turn.session.sent` has the requests without a reply. Returns the number of
    /// units that the session still works on.
    fn on_lost(&mut self, _: &mut Turn<'_>) -> usize {
        0
    }

    /// Takes the session whose unit ended by what other sessions received, if any, once.
    fn take_finished(&mut self) -> Option<usize> {
        None
    }

    /// The session that may have room after session `index` received something.
    fn next_session(&self, index: usize) -> usize {
        index
    }

    /// Whether sessions wait for each other, so that a session without a connection can hold up the rest.
    fn waits_for_others(&self) -> bool {
        false
    }
}

/// How a unit began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Its first request is sent.
    Sent,
    /// Its session connects first.
    Connect,
    /// It did not begin: the workload has nothing left to do.
    Nothing,
}

/// A reply whose place in the order is checked already.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its error code.
    pub err: i32,
    /// Its zxid: that of the txn it confirms, or of the last one that the tree it shows has.
    pub zxid: i64,
    /// The bytes after the header.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The body of a reply that must have no error.
    pub fn ok(self) -> Result<&'a [u8], Wrong> {
        if self.err == 0 { Ok(self.body) } else { Err(Wrong::Err { code: self.err }) }
    }

    /// Checks a reply that must have no error and no body.
    pub fn empty(self) -> Result<(), Wrong> {
        let body = self.ok()?;
        if body.is_empty() { Ok(()) } else { Err(Wrong::Rest { bytes: body.len() }) }
    }
}

/// One session's turn: what a [`Driver`] may read and change.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Number of the session on this thread.
    pub index: usize,
    /// The session.
    pub session: &'a mut Session,
    /// The time, in nanoseconds since the run's start.
    pub now_ns: u64,
    /// Work that began at this time or later is measured; none if nothing is.
    pub counts_from_ns: Option<u64>,
    /// Counts and latencies of this thread.
    pub tally: &'a mut Tally,
    /// Bytes that are written to the socket at the end of the turn.
    pub out: &'a mut Vec<u8>,
}

impl Turn<'_> {
    /// Sends `op`, whose frame `put` appends; `at_ns` is when it was due.
    pub fn ask(&mut self, at_ns: u64, op: Op, put: impl FnOnce(&mut Vec<u8>, i32)) {
        let xid = self.session.take_xid();
        put(self.out, xid);
        self.session.sent.push_back(Sent { at_ns, op });
    }

    /// Ends one unit.
    pub fn end_unit(&mut self) {
        assert!(self.session.units > 0, "session {} ends a unit that did not begin", self.index);
        self.session.units -= 1;
    }

    /// Measures work that began at `since_ns` and ends now.
    pub fn record(&mut self, class: Class, since_ns: u64) {
        if self.counts_from_ns.is_some_and(|from_ns| since_ns >= from_ns) {
            self.tally.record(class, self.now_ns.saturating_sub(since_ns));
        }
    }
}
