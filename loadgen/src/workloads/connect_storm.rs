//! Connect storm: sessions are opened and closed again, a fixed number at once.
//!
//! A unit is a TCP connect, a session that is granted, its closeSession and the end of the connection. Latency lasts
//! from the connect to the grant.

use crate::engine::driver::{Begun, Driver, Reply, Turn};
use crate::engine::session::{Granted, Sent, Session, State};
use crate::engine::tally::Class;
use crate::engine::wire::{self, Kind, Op, Wrong};
use std::collections::HashSet;
use std::sync::Mutex;
use zkfast::proto::{OpCode, SessionId};

/// Ids of all sessions that the servers of a run have given out.
pub type SessionIds = Mutex<HashSet<SessionId>>;

/// One thread's part of the workload.
#[derive(Debug)]
pub struct StormDriver<'a> {
    ids: &'a SessionIds,
    /// When the unit of each session was due.
    since_ns: Vec<u64>,
}

impl<'a> StormDriver<'a> {
    /// Keeps `sessions` sessions opening at once.
    pub fn new(ids: &'a SessionIds, sessions: usize) -> Self {
        Self { ids, since_ns: vec![0; sessions] }
    }
}

impl Driver for StormDriver<'_> {
    fn has_room(&self, _: usize, session: &Session) -> bool {
        session.state == State::Closed && session.units == 0
    }

    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun {
        self.since_ns[turn.index] = at_ns;
        Begun::Connect
    }

    fn on_open(&mut self, turn: &mut Turn<'_>, _: Granted) {
        let id = turn.session.id;
        let op = Op { kind: Kind::Close, ..Op::default() };
        if self.ids.lock().expect("no thread of loadgen panics").insert(id) {
            turn.record(Class::Write, self.since_ns[turn.index]);
        } else {
            turn.tally.wrong(op, &Wrong::SessionTwice(id));
        }
        turn.session.is_closing = true;
        turn.ask(turn.now_ns, op, |out, xid| {
            wire::put_request(out, xid, OpCode::CLOSE_SESSION, |_| {});
        });
    }

    fn on_reply(&mut self, _: &mut Turn<'_>, _: Sent, reply: Reply<'_>) -> Result<(), Wrong> {
        reply.empty()
    }

    /// A connect that fails is tried again, and its latency counts from the first try.
    fn on_lost(&mut self, turn: &mut Turn<'_>) -> usize {
        if turn.session.is_closing {
            // That session was opened and measured: the next try belongs to another one.
            self.since_ns[turn.index] = turn.now_ns;
        }
        turn.session.forget();
        1
    }
}
