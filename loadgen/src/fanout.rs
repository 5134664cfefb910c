//! Watch fan-out: one session changes a znode that all others watch.
//!
//! A unit is one change: it is over when every watcher was told, has read the new data and watches again.
//! A watch is told once, so that reading and watching again are one getData.

use crate::driver::{Begun, Driver, Reply, Turn};
use crate::session::{Granted, Sent, Session, State};
use crate::tally::Class;
use crate::wire::{self, DIGITS, Kind, Op, Values, Wrong};
use zkfast::proto::jute::Reader;
use zkfast::proto::{EventType, OpCode, Stat, WatcherEvent};

/// `KeeperState.SyncConnected`, the state of every event that a server sends.
const STATE_SYNC_CONNECTED: i32 = 3;
/// The session that writes; all others watch.
const WRITER: usize = 0;

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its connection.
    Away,
    /// The reply to its first getData.
    Arming,
    /// The event of a change behind the one that it has seen.
    Armed,
    /// The reply to its getData, after it was told of a change.
    Told,
}

#[derive(Clone, Copy, Debug)]
struct Watcher {
    stage: Stage,
    /// The round whose data it has read.
    seen: u32,
    /// Whether the present round must be told to it.
    due: bool,
}

/// The writer and all watchers; they are on one thread, which knows the last event from its own count.
#[derive(Debug)]
pub struct FanOutDriver {
    path: String,
    values: Values,
    bytes: u32,
    /// By session; that of the writer is not used.
    watchers: Vec<Watcher>,
    /// Number of the last change; its data says so.
    round: u32,
    /// When it was due.
    since_ns: u64,
    /// Watchers to be told of it.
    untold: usize,
    /// Watchers that have read it and watch again.
    ready: usize,
    /// Whether the change was acknowledged.
    written: bool,
    /// Whether a change is under way.
    running: bool,
    /// Whether it is not known if a change was made, so that watchers may be told once more.
    uncertain: bool,
}

impl FanOutDriver {
    /// Of `sessions` sessions, the first of which writes; `path` holds the value 0 of `bytes` bytes.
    ///
    /// `bytes` is at least [`DIGITS`], for data must say of which round it is.
    pub fn new(path: String, bytes: u32, sessions: usize) -> Self {
        assert!(bytes as usize >= DIGITS, "{bytes} bytes do not hold the number of a round");
        Self {
            path,
            values: Values::new(bytes..=bytes),
            bytes,
            watchers: vec![Watcher { stage: Stage::Away, seen: 0, due: false }; sessions],
            round: 0,
            since_ns: 0,
            untold: 0,
            ready: 0,
            written: true,
            running: false,
            uncertain: false,
        }
    }

    fn all(&self) -> usize {
        self.watchers.len() - 1
    }

    fn arm(&self, turn: &mut Turn<'_>) {
        turn.ask(turn.now_ns, Op { kind: Kind::Arm, leaf: self.round, ..Op::default() }, |out, xid| {
            wire::put_read(out, xid, OpCode::GET_DATA, self.path.as_bytes(), true);
        });
    }

    /// A watcher that had to be told was, or cannot be any more; says whether it was the last.
    fn settle(&mut self, index: usize) -> bool {
        let due = std::mem::take(&mut self.watchers[index].due);
        self.untold -= usize::from(due);
        due && self.untold == 0
    }

    fn armed(&mut self, index: usize, body: &[u8]) -> Result<(), Wrong> {
        let mut reader = Reader::new(body);
        let data = reader.buffer()?.unwrap_or_default();
        let seen = data.get(..DIGITS).and_then(wire::number).ok_or(Wrong::Data)?;
        self.values.check(data, seen)?;
        Stat::read(&mut reader)?;
        wire::ended(&reader)?;
        let told = self.watchers[index].stage == Stage::Told;
        if seen > self.round || (told && seen < self.round && !self.uncertain) {
            return Err(Wrong::Stale { want: self.round.into(), have: seen.into() });
        }
        self.ready += usize::from(seen == self.round);
        self.watchers[index] = Watcher { stage: Stage::Armed, seen, ..self.watchers[index] };
        Ok(())
    }
}

impl Driver for FanOutDriver {
    fn room(&self, index: usize, session: &Session) -> bool {
        index == WRITER
            && session.state == State::Open
            && !self.running
            && (self.ready == self.all()
                || (self.uncertain && self.watchers[1..].iter().all(|watcher| watcher.stage != Stage::Away)))
    }

    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun {
        if u64::from(self.round) + 1 == wire::NUMBERS {
            return Begun::Nothing;
        }
        self.round += 1;
        self.since_ns = at_ns;
        (self.running, self.written) = (true, false);
        (self.ready, self.untold) = (0, 0);
        for watcher in &mut self.watchers[1..] {
            watcher.due = watcher.stage == Stage::Armed;
            self.untold += usize::from(watcher.due);
        }
        let op = Op { kind: Kind::Notify, leaf: self.round, bytes: self.bytes, ..Op::default() };
        let mut value = Vec::new();
        self.values.put(&mut value, op.leaf, op.bytes);
        turn.ask(at_ns, op, |out, xid| wire::put_set(out, xid, self.path.as_bytes(), &value, -1));
        Begun::Sent
    }

    fn reply(&mut self, turn: &mut Turn<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), Wrong> {
        let checked = if sent.op.kind == Kind::Notify {
            self.written = true;
            reply.ok().and_then(|body| {
                let mut reader = Reader::new(body);
                wire::read_stat(&mut reader, self.bytes as usize)?;
                wire::ended(&reader)
            })
        } else {
            reply.ok().and_then(|body| self.armed(turn.index, body))
        };
        if checked.is_err() && sent.op.kind == Kind::Arm {
            // Asked again, so that one wrong reply does not end the run.
            self.arm(turn);
        }
        checked
    }

    fn event(&mut self, turn: &mut Turn<'_>, event: &WatcherEvent) -> Result<(), Wrong> {
        let watcher = &mut self.watchers[turn.index];
        let is_change = event.kind == EventType::NodeDataChanged as i32
            && event.state == STATE_SYNC_CONNECTED
            && event.path == self.path.as_bytes();
        // Whoever has read the last change cannot be told of one.
        if turn.index == WRITER || !is_change || watcher.stage != Stage::Armed || watcher.seen == self.round {
            return Err(Wrong::Event { kind: event.kind });
        }
        watcher.stage = Stage::Told;
        let counts = watcher.due && !self.uncertain;
        let is_last = self.settle(turn.index);
        if counts {
            turn.record(Class::Read, self.since_ns);
        }
        if counts && is_last {
            turn.record(Class::Write, self.since_ns);
        }
        self.arm(turn);
        Ok(())
    }

    fn opened(&mut self, turn: &mut Turn<'_>, _: Granted) {
        if turn.index != WRITER {
            self.watchers[turn.index].stage = Stage::Arming;
            self.arm(turn);
        }
    }

    fn lost(&mut self, turn: &mut Turn<'_>) -> usize {
        if turn.index == WRITER {
            if std::mem::take(&mut self.running) {
                self.uncertain = true;
            }
        } else {
            // It is not told, and the change counts without it.
            self.settle(turn.index);
            let watcher = &mut self.watchers[turn.index];
            self.ready -= usize::from(watcher.stage == Stage::Armed && watcher.seen == self.round);
            watcher.stage = Stage::Away;
        }
        0
    }

    fn is_over(&mut self) -> Option<usize> {
        let over = self.running && self.written && self.ready == self.all();
        if over {
            (self.running, self.uncertain) = (false, false);
        }
        over.then_some(WRITER)
    }

    fn next(&self, _: usize) -> usize {
        WRITER
    }
}
