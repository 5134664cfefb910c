//! Connect storm: sessions are opened and closed again, so many at once.
//!
//! A unit is a TCP connect, a session that is granted, its closeSession and the end of the connection.
//! Latency is that of the grant.

use crate::driver::{Begun, Driver, Reply, Turn};
use crate::session::{Granted, Sent, Session, State};
use crate::tally::Class;
use crate::wire::{self, Kind, Op, Wrong};
use std::collections::HashSet;
use std::sync::Mutex;
use zkfast::proto::OpCode;

/// Ids of all sessions of a run, over its threads.
pub type SessionIds = Mutex<HashSet<i64>>;

/// One thread's part.
#[derive(Debug)]
pub struct StormDriver<'a> {
    ids: &'a SessionIds,
    /// When the unit of a session was due.
    since_ns: Vec<u64>,
}

impl<'a> StormDriver<'a> {
    /// Of `sessions` at once.
    pub fn new(ids: &'a SessionIds, sessions: usize) -> Self {
        Self { ids, since_ns: vec![0; sessions] }
    }
}

impl Driver for StormDriver<'_> {
    fn room(&self, _: usize, session: &Session) -> bool {
        session.state == State::Closed && session.units == 0
    }

    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun {
        self.since_ns[turn.index] = at_ns;
        Begun::Connect
    }

    fn opened(&mut self, turn: &mut Turn<'_>, _: Granted) {
        let id = turn.session.id;
        let op = Op { kind: Kind::Close, ..Op::default() };
        if self.ids.lock().expect("no thread of ours panics").insert(id) {
            turn.record(Class::Write, self.since_ns[turn.index]);
        } else {
            turn.tally.wrong(op, &Wrong::SessionTwice(id));
        }
        turn.session.closing = true;
        turn.ask(turn.now_ns, op, |out, xid| {
            wire::put_request(out, xid, OpCode::CLOSE_SESSION, |_| {});
        });
    }

    fn reply(&mut self, _: &mut Turn<'_>, _: Sent, reply: Reply<'_>) -> Result<(), Wrong> {
        reply.empty()
    }

    /// A connection that fails is tried again, and its time goes on.
    fn lost(&mut self, turn: &mut Turn<'_>) -> usize {
        if turn.session.closing {
            // That session was opened, and counted: the next one is another.
            self.since_ns[turn.index] = turn.now_ns;
        }
        turn.session.forget();
        1
    }
}
