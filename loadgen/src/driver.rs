//! What a workload is to the loop that serves its sockets.

use crate::session::{Granted, Sent, Session};
use crate::tally::{Class, Tally};
use crate::wire::{Op, Wrong};
use zkfast::proto::WatcherEvent;

/// A workload's part on one thread: says what is asked next, and whether what came is right.
///
/// Work comes in units: one request, or as many as belong together. A session is at most at so many units
/// as [`room`](Self::room) says; a closed loop keeps it there, an open loop begins a unit per arrival.
pub trait Driver: Send {
    /// Whether a session can begin one more unit.
    fn room(&self, index: usize, session: &Session) -> bool;

    /// Begins a unit that was due at `at_ns`, on a session that has room.
    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun;

    /// Takes the reply to `sent`, and asks for what follows from it.
    ///
    /// # Errors
    /// What is wrong with the reply. The unit is over all the same, or goes on as if it were right.
    fn reply(&mut self, turn: &mut Turn<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), Wrong>;

    /// Takes a notification.
    ///
    /// # Errors
    /// Where it was not asked for.
    fn event(&mut self, _: &mut Turn<'_>, event: &WatcherEvent) -> Result<(), Wrong> {
        Err(Wrong::Event { kind: event.kind })
    }

    /// A session is open: at the start of the run, and whenever it was connected again.
    fn opened(&mut self, _: &mut Turn<'_>, _: Granted) {}

    /// A connection ended that should not; what it had not answered is `turn.session.sent`. Returns how
    /// many units the session is still at.
    fn lost(&mut self, _: &mut Turn<'_>) -> usize {
        0
    }

    /// Whether a unit is over that ends with what other sessions are told; it is that session's which this
    /// returns, once.
    fn is_over(&mut self) -> Option<usize> {
        None
    }

    /// The session that may have room now that something came for session `index`.
    fn next(&self, index: usize) -> usize {
        index
    }
}

/// What became of a unit that was to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Its first request is on its way.
    Sent,
    /// It begins with a connection.
    Connect,
    /// There is nothing left to do.
    Nothing,
}

/// A reply behind its place in the order, which is right.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its code.
    pub err: i32,
    /// Its zxid: that of the txn which it answers, or up to which it shows the tree.
    pub zxid: i64,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The body of a reply without error.
    pub fn ok(self) -> Result<&'a [u8], Wrong> {
        if self.err == 0 { Ok(self.body) } else { Err(Wrong::Err { code: self.err }) }
    }

    /// Of a reply without error and without body.
    pub fn empty(self) -> Result<(), Wrong> {
        let body = self.ok()?;
        if body.is_empty() { Ok(()) } else { Err(Wrong::Rest { bytes: body.len() }) }
    }
}

/// One session's turn: what a [`Driver`] may change.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Number of the session on this thread.
    pub index: usize,
    /// The session.
    pub session: &'a mut Session,
    /// Now, in nanoseconds since the run's start.
    pub now_ns: u64,
    /// What counts among what is done now: what began at this time or later, if anything.
    pub counts_from_ns: Option<u64>,
    /// What came of the run so far.
    pub tally: &'a mut Tally,
    /// What is written to the socket at the end of the turn.
    pub out: &'a mut Vec<u8>,
}

impl Turn<'_> {
    /// Asks for `op`, whose frame `put` appends; `at_ns` is when it was due.
    pub fn ask(&mut self, at_ns: u64, op: Op, put: impl FnOnce(&mut Vec<u8>, i32)) {
        let xid = self.session.take_xid();
        put(self.out, xid);
        self.session.sent.push_back(Sent { at_ns, op });
    }

    /// One unit is over.
    pub fn done(&mut self) {
        assert!(self.session.units > 0, "session {} ends a unit that did not begin", self.index);
        self.session.units -= 1;
    }

    /// Counts what began at `since_ns` and has come to its end now.
    pub fn record(&mut self, class: Class, since_ns: u64) {
        if self.counts_from_ns.is_some_and(|from_ns| since_ns >= from_ns) {
            self.tally.record(class, self.now_ns.saturating_sub(since_ns));
        }
    }
}
