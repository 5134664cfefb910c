//! Watch fan-out: one session changes a znode that all others watch.
//!
//! A unit is one change: it ends when every watcher has its event, has read the new data and watches again. A watch
//! fires once, so that one getData reads and watches again.

use crate::engine::driver::{Begun, Driver, Reply, Turn};
use crate::engine::session::{Granted, Sent, Session, State};
use crate::engine::tally::Class;
use crate::engine::wire::{self, DIGITS, Kind, Op, Values, Wrong};
use zkfast::proto::jute::Reader;
use zkfast::proto::{EventType, OpCode, Stat, WatcherEvent};

/// `KeeperState.SyncConnected`, the state of every event that a server sends.
const STATE_SYNC_CONNECTED: i32 = 3;
/// Index of the session that writes; all others watch.
const WRITER: usize = 0;

/// What a watcher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A connection.
    Away,
    /// The reply to its first getData.
    Arming,
    /// The event of a change after the one that it has read.
    Armed,
    /// The reply to its getData, after the event of a change.
    Notified,
}

/// A session that watches.
#[derive(Clone, Copy, Debug)]
struct Watcher {
    stage: Stage,
    /// Number of the change whose data it read last.
    seen: u32,
    /// Whether the server owes it the event of the last change.
    is_due: bool,
}

/// The writer and all watchers. They are on one thread, which finds the last event by counting.
#[derive(Debug)]
pub struct FanOutDriver {
    path: String,
    values: Values,
    bytes: u32,
    /// By session; the writer's is unused.
    watchers: Vec<Watcher>,
    /// Number of the last change, which its data has.
    round: u32,
    /// When the last change was due.
    since_ns: u64,
    /// Watchers whose event of it is missing.
    unnotified: usize,
    /// Watchers that have read its data and watch again.
    ready: usize,
    /// Whether the writer has its reply.
    written: bool,
    /// Whether a change is in progress.
    running: bool,
    /// Whether an earlier change may or may not have been made, so that watchers may get one event more.
    uncertain: bool,
}

impl FanOutDriver {
    /// A driver of `sessions` sessions, the first of which writes; the znode `path` has the value 0 of `bytes` bytes.
    ///
    /// `bytes` is at least [`DIGITS`], because the data has the number of the change.
    pub fn new(path: String, bytes: u32, sessions: usize) -> Self {
        assert!(bytes as usize >= DIGITS, "{bytes} bytes do not hold the number of a change");
        Self {
            path,
            values: Values::new(bytes..=bytes),
            bytes,
            watchers: vec![Watcher { stage: Stage::Away, seen: 0, is_due: false }; sessions],
            round: 0,
            since_ns: 0,
            unnotified: 0,
            ready: 0,
            written: true,
            running: false,
            uncertain: false,
        }
    }

    fn watcher_count(&self) -> usize {
        self.watchers.len() - 1
    }

    fn arm(&self, turn: &mut Turn<'_>) {
        turn.ask(turn.now_ns, Op { kind: Kind::Arm, leaf: self.round, ..Op::default() }, |out, xid| {
            wire::put_read(out, xid, OpCode::GET_DATA, self.path.as_bytes(), true);
        });
    }

    /// A watcher has its event, or lost its connection; returns whether its event was the last one missing.
    fn count_notified(&mut self, index: usize) -> bool {
        let was_due = std::mem::take(&mut self.watchers[index].is_due);
        self.unnotified -= usize::from(was_due);
        was_due && self.unnotified == 0
    }

    fn on_armed(&mut self, index: usize, body: &[u8]) -> Result<(), Wrong> {
        let mut reader = Reader::new(body);
        let data = reader.buffer()?.unwrap_or_default();
        let seen = data.get(..DIGITS).and_then(wire::number).ok_or(Wrong::Data)?;
        self.values.check(data, seen)?;
        Stat::read(&mut reader)?;
        wire::ended(&reader)?;
        let is_notified = self.watchers[index].stage == Stage::Notified;
        if seen > self.round || (is_notified && seen < self.round && !self.uncertain) {
            return Err(Wrong::Stale { want: self.round.into(), have: seen.into() });
        }
        self.ready += usize::from(seen == self.round);
        self.watchers[index] = Watcher { stage: Stage::Armed, seen, ..self.watchers[index] };
        Ok(())
    }
}

impl Driver for FanOutDriver {
    fn has_room(&self, index: usize, session: &Session) -> bool {
        index == WRITER
            && session.state == State::Open
            && !self.running
            && (self.ready == self.watcher_count()
                || (self.uncertain && self.watchers[1..].iter().all(|watcher| watcher.stage != Stage::Away)))
    }

    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun {
        if u64::from(self.round) + 1 == wire::NUMBERS {
            return Begun::Nothing;
        }
        self.round += 1;
        self.since_ns = at_ns;
        (self.running, self.written) = (true, false);
        (self.ready, self.unnotified) = (0, 0);
        for watcher in &mut self.watchers[1..] {
            watcher.is_due = watcher.stage == Stage::Armed;
            self.unnotified += usize::from(watcher.is_due);
        }
        let op = Op { kind: Kind::Notify, leaf: self.round, bytes: self.bytes, ..Op::default() };
        let mut value = Vec::new();
        self.values.put(&mut value, op.leaf, op.bytes);
        turn.ask(at_ns, op, |out, xid| wire::put_set(out, xid, self.path.as_bytes(), &value, -1));
        Begun::Sent
    }

    fn on_reply(&mut self, turn: &mut Turn<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), Wrong> {
        let checked = if sent.op.kind == Kind::Notify {
            self.written = true;
            reply.ok().and_then(|body| {
                let mut reader = Reader::new(body);
                wire::read_stat(&mut reader, self.bytes as usize)?;
                wire::ended(&reader)
            })
        } else {
            reply.ok().and_then(|body| self.on_armed(turn.index, body))
        };
        if checked.is_err() && sent.op.kind == Kind::Arm {
            // Reads again, so that one wrong reply does not end the run.
            self.arm(turn);
        }
        checked
    }

    fn on_event(&mut self, turn: &mut Turn<'_>, event: &WatcherEvent) -> Result<(), Wrong> {
        let watcher = &mut self.watchers[turn.index];
        let is_change = event.kind == EventType::NodeDataChanged as i32
            && event.state == STATE_SYNC_CONNECTED
            && event.path == self.path.as_bytes();
        // A watcher that has read the last change cannot get an event.
        if turn.index == WRITER || !is_change || watcher.stage != Stage::Armed || watcher.seen == self.round {
            return Err(Wrong::Event { kind: event.kind });
        }
        watcher.stage = Stage::Notified;
        let counts = watcher.is_due && !self.uncertain;
        let is_last = self.count_notified(turn.index);
        if counts {
            turn.record(Class::Read, self.since_ns);
        }
        if counts && is_last {
            turn.record(Class::Write, self.since_ns);
        }
        self.arm(turn);
        Ok(())
    }

    fn on_open(&mut self, turn: &mut Turn<'_>, _: Granted) {
        if turn.index != WRITER {
            self.watchers[turn.index].stage = Stage::Arming;
            self.arm(turn);
        }
    }

    fn on_lost(&mut self, turn: &mut Turn<'_>) -> usize {
        if turn.index == WRITER {
            if std::mem::take(&mut self.running) {
                self.uncertain = true;
            }
        } else {
            // It gets no event, and the change counts without it.
            self.count_notified(turn.index);
            let watcher = &mut self.watchers[turn.index];
            self.ready -= usize::from(watcher.stage == Stage::Armed && watcher.seen == self.round);
            watcher.stage = Stage::Away;
        }
        0
    }

    fn take_finished(&mut self) -> Option<usize> {
        let is_over = self.running && self.written && self.ready == self.watcher_count();
        if is_over {
            (self.running, self.uncertain) = (false, false);
        }
        is_over.then_some(WRITER)
    }

    fn next_session(&self, _: usize) -> usize {
        WRITER
    }
}
