//! Workloads in which the next request does not depend on any reply.

use crate::engine::driver::{Begun, Driver, Reply, Turn};
use crate::engine::session::{Granted, Sent, Session, State};
use crate::engine::tally::Class;
use crate::engine::wire::{self, Kind, Op, Requests, Wrong};
use crate::random::{Keys, Random};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use zkfast::proto::OpCode;
use zkfast::proto::jute::Reader;

/// The requests of such a workload.
#[derive(Clone, Debug)]
pub enum Independent {
    /// getData with this probability, otherwise setData.
    Mix {
        /// 0 to 1.
        read_ratio: f64,
    },
    /// sync and then getData with this probability, otherwise setData.
    Sync {
        /// 0 to 1.
        read_ratio: f64,
        /// By key, the zxid of the newest write that was acknowledged to any session.
        acknowledged: Arc<[AtomicI64]>,
    },
    /// Creates, below one parent per session.
    Create,
    /// create of an ephemeral and its delete in turn, below one parent per session.
    Ephemeral,
    /// multis of setDatas.
    Multi {
        /// Operations of each multi.
        ops: u32,
    },
    /// getChildren of one parent.
    List {
        /// Number of its children.
        children: u32,
        /// Path of the parent.
        path: String,
    },
    /// A fixed number of creates.
    Fill {
        /// Znodes to create.
        znodes: u64,
        /// Znodes below each parent.
        fanout: u64,
    },
}

impl Independent {
    /// [`Independent::Sync`] on `keys` keys.
    pub fn sync(read_ratio: f64, keys: u32) -> Self {
        Self::Sync { read_ratio, acknowledged: (0..keys).map(|_| AtomicI64::new(0)).collect() }
    }
}

/// One thread's part of the workload.
#[derive(Debug)]
pub struct IndependentDriver {
    /// Which requests it sends.
    pub kind: Independent,
    /// Units in flight per session.
    pub in_flight: usize,
    /// Random numbers of this thread.
    pub random: Random,
    /// How often each key is used.
    pub keys: Keys,
    /// Number of keys.
    pub key_count: u32,
    /// Templates of requests, and checks of replies.
    pub requests: Requests,
    /// Number of this thread's first session in the run.
    pub first: usize,
    /// Creates and deletes so far, by session.
    pub turns: Vec<u32>,
    /// By session, what is sent once it has a connection again; none if what is lost stays lost.
    pub waiting: Option<Vec<VecDeque<Sent>>>,
    /// Number of the next znode of a fill.
    pub fill_next: u64,
    /// Distance to the znode after it: the number of threads.
    pub fill_step: u64,
    /// Scratch for the check of a list.
    pub seen: Vec<u64>,
}

impl IndependentDriver {
    fn mixed(&mut self, read_ratio: f64, read: Kind) -> Op {
        let leaf = self.keys.draw(&mut self.random);
        if self.random.unit() < read_ratio {
            Op { kind: read, leaf, ..Op::default() }
        } else {
            Op { kind: Kind::Set, leaf, bytes: self.size(), ..Op::default() }
        }
    }

    fn size(&mut self) -> u32 {
        self.requests.values().size(&mut self.random)
    }

    fn own(&self, turn: &Turn<'_>, kind: Kind, leaf: u32, bytes: u32) -> Op {
        Op { kind, group: (self.first + turn.index) as u32, leaf, bytes, since: 0 }
    }

    fn take_turn(&mut self, index: usize) -> u32 {
        let turn = self.turns[index];
        self.turns[index] += 1;
        turn
    }

    fn put(&mut self, turn: &mut Turn<'_>, at_ns: u64, op: Op) {
        match &mut self.waiting {
            Some(waiting) if turn.session.state != State::Open => {
                waiting[turn.index].push_back(Sent { at_ns, op });
            }
            _ => turn.ask(at_ns, op, |out, xid| self.requests.put(out, xid, op)),
        }
    }

    /// Checks a reply.
    fn check(&mut self, turn: &Turn<'_>, op: Op, reply: Reply<'_>) -> Result<(), Wrong> {
        let body = reply.ok()?;
        match op.kind {
            Kind::Get => self.requests.check_get(body, op.leaf).map(drop),
            Kind::SyncedGet => {
                let mzxid = self.requests.check_get(body, op.leaf)?;
                if mzxid < op.since {
                    return Err(Wrong::Stale { want: op.since, have: mzxid });
                }
                Ok(())
            }
            Kind::Set => {
                let stat = self.requests.check_set(body, op.bytes)?;
                // Java's header has the newest txn, which may be a later one of another session.
                let mzxid = stat.mzxid.to_wire();
                if !(1..=reply.zxid).contains(&mzxid) {
                    return Err(Wrong::Txn { want: reply.zxid, have: mzxid });
                }
                if let Independent::Sync { acknowledged, .. } = &self.kind {
                    acknowledged[op.leaf as usize].fetch_max(stat.mzxid.to_wire(), Ordering::AcqRel);
                }
                Ok(())
            }
            Kind::Create => self.requests.check_create(body, op),
            Kind::Ephemeral => self.requests.check_ephemeral(body, op, turn.session.id),
            Kind::Multi => self.requests.check_multi(body, op.group, op.bytes),
            Kind::Sync => {
                let mut reader = Reader::new(body);
                if reader.string()? != Some(b"/") {
                    return Err(Wrong::Path);
                }
                wire::ended(&reader)
            }
            Kind::List => wire::check_list(body, op.leaf, &mut self.seen),
            _ => reply.empty(),
        }
    }
}

impl Driver for IndependentDriver {
    fn has_room(&self, _: usize, session: &Session) -> bool {
        (session.state == State::Open || self.waiting.is_some()) && session.units < self.in_flight
    }

    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun {
        match &self.kind {
            Independent::Mix { read_ratio } => {
                let op = self.mixed(*read_ratio, Kind::Get);
                self.put(turn, at_ns, op);
            }
            Independent::Sync { read_ratio, acknowledged } => {
                let acknowledged = Arc::clone(acknowledged);
                let mut op = self.mixed(*read_ratio, Kind::SyncedGet);
                if op.kind == Kind::SyncedGet {
                    op.since = acknowledged[op.leaf as usize].load(Ordering::Acquire);
                    turn.ask(at_ns, Op { kind: Kind::Sync, ..op }, wire::put_sync);
                }
                self.put(turn, at_ns, op);
            }
            Independent::Create => {
                let leaf = self.take_turn(turn.index);
                let bytes = self.size();
                let op = self.own(turn, Kind::Create, leaf, bytes);
                self.put(turn, at_ns, op);
            }
            Independent::Ephemeral => {
                let number = self.take_turn(turn.index);
                let kind = if number.is_multiple_of(2) { Kind::Ephemeral } else { Kind::Delete };
                let bytes = self.size();
                let op = self.own(turn, kind, number / 2, bytes);
                self.put(turn, at_ns, op);
            }
            Independent::Multi { ops } => {
                let (ops, keys) = (*ops, self.key_count);
                let (leaf, bytes) = (self.keys.draw(&mut self.random), self.size());
                let op = Op { kind: Kind::Multi, group: ops, leaf, bytes, since: 0 };
                let keys = (0..ops).map(|at| ((u64::from(leaf) + u64::from(at)) % u64::from(keys)) as u32);
                turn.ask(at_ns, op, |out, xid| self.requests.put_multi(out, xid, bytes, keys));
            }
            Independent::List { children, path } => {
                let op = Op { kind: Kind::List, leaf: *children, ..Op::default() };
                turn.ask(at_ns, op, |out, xid| {
                    wire::put_read(out, xid, OpCode::GET_CHILDREN, path.as_bytes(), false);
                });
            }
            Independent::Fill { znodes, fanout } => {
                let number = self.fill_next;
                if number >= *znodes {
                    return Begun::Nothing;
                }
                let (group, leaf) = ((number / fanout) as u32, number as u32);
                self.fill_next += self.fill_step;
                let op = Op { kind: Kind::Create, group, leaf, bytes: self.size(), since: 0 };
                self.put(turn, at_ns, op);
            }
        }
        Begun::Sent
    }

    fn on_reply(&mut self, turn: &mut Turn<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), Wrong> {
        let class = match sent.op.kind {
            Kind::Get | Kind::SyncedGet | Kind::List => Class::Read,
            // Half of a unit: the get after it ends the unit.
            Kind::Sync => return self.check(turn, sent.op, reply),
            _ => Class::Write,
        };
        turn.end_unit();
        self.check(turn, sent.op, reply)?;
        turn.record(class, sent.at_ns);
        Ok(())
    }

    /// Whether a lost create was executed is unknown: the next number is a fresh create.
    fn on_open(&mut self, turn: &mut Turn<'_>, _: Granted) {
        let number = &mut self.turns[turn.index];
        *number = number.next_multiple_of(2);
        let waiting = self.waiting.as_mut().map(|waiting| std::mem::take(&mut waiting[turn.index]));
        for Sent { at_ns, op } in waiting.into_iter().flatten() {
            self.put(turn, at_ns, op);
        }
    }

    fn on_lost(&mut self, turn: &mut Turn<'_>) -> usize {
        let Some(waiting) = &mut self.waiting else { return 0 };
        let waiting = &mut waiting[turn.index];
        for sent in turn.session.sent.drain(..).rev() {
            waiting.push_front(sent);
        }
        waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tally::Tally;
    use crate::engine::wire::Values;

    /// What waits for a connection is sent on it in the order in which it was due: first what the one before has lost.
    #[test]
    fn requests_wait_for_a_connection() {
        let mut driver = IndependentDriver {
            kind: Independent::Mix { read_ratio: 0.5 },
            in_flight: 3,
            random: Random::new(1, 0),
            keys: Keys::Uniform(100),
            key_count: 100,
            requests: Requests::new(Values::new(100..=100), "/base"),
            first: 0,
            turns: vec![0],
            waiting: Some(vec![VecDeque::new()]),
            fill_next: 0,
            fill_step: 1,
            seen: Vec::new(),
        };
        let (mut session, mut tally, mut out) = (Session::unopened(), Tally::new(), Vec::new());
        let (session, tally, out) = (&mut session, &mut tally, &mut out);
        let mut turn = Turn { index: 0, session, now_ns: 50, counts_from_ns: Some(0), tally, out };
        let ops =
            |sent: &VecDeque<Sent>| sent.iter().map(|sent| (sent.at_ns, sent.op.leaf)).collect::<Vec<_>>();
        turn.session.state = State::Open;
        driver.begin(&mut turn, 10);
        driver.begin(&mut turn, 20);
        turn.session.units = 2;
        let lost = ops(&turn.session.sent);
        assert_eq!(driver.on_lost(&mut turn), 2);
        turn.session.state = State::Connecting;
        turn.out.clear();
        assert!(driver.has_room(0, turn.session));
        driver.begin(&mut turn, 30);
        turn.session.units = 3;
        assert!(turn.out.is_empty() && turn.session.sent.is_empty(), "there is no connection");
        assert!(!driver.has_room(0, turn.session));
        turn.session.state = State::Open;
        driver.on_open(&mut turn, Granted::Again);
        let again = ops(&turn.session.sent);
        assert_eq!((&again[..2], again[2].0, again.len()), (&lost[..], 30, 3));
        assert!(!turn.out.is_empty());
    }
}
