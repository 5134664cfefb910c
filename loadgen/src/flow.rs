//! Workloads in which what is asked next does not depend on what was answered.

use crate::driver::{Begun, Driver, Reply, Turn};
use crate::random::{Keys, Random};
use crate::session::{Granted, Sent, Session};
use crate::tally::Class;
use crate::wire::{self, Kind, Op, Requests, Wrong};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use zkfast::proto::OpCode;
use zkfast::proto::jute::Reader;

/// Which requests a flow is made of.
#[derive(Clone, Debug)]
pub enum Flow {
    /// getData with this probability, otherwise setData.
    Mix {
        /// 0 to 1.
        read_ratio: f64,
    },
    /// sync and getData behind it with this probability, otherwise setData.
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
    /// multis of so many setDatas.
    Multi {
        /// Operations.
        ops: u32,
    },
    /// getChildren of a parent of so many.
    List {
        /// Children.
        children: u32,
        /// The parent.
        path: String,
    },
    /// So many creates and no more, so many to a parent.
    Fill {
        /// Znodes.
        znodes: u64,
        /// Znodes of one parent.
        fanout: u64,
    },
}

impl Flow {
    /// Acknowledged zxids of so many keys, for [`Flow::Sync`].
    pub fn sync(read_ratio: f64, keys: u32) -> Self {
        Self::Sync { read_ratio, acknowledged: (0..keys).map(|_| AtomicI64::new(0)).collect() }
    }
}

/// One thread's part of a flow.
#[derive(Debug)]
pub struct FlowDriver {
    /// Which requests.
    pub flow: Flow,
    /// Units on their way per session.
    pub in_flight: usize,
    /// This thread's stream.
    pub random: Random,
    /// How often which key.
    pub keys: Keys,
    /// How many there are.
    pub key_count: u32,
    /// Templates and checks.
    pub requests: Requests,
    /// Number of this thread's first session, over all threads.
    pub first: usize,
    /// Creates and deletes so far, by session.
    pub turns: Vec<u32>,
    /// Next znode of a fill, and how far it is to the one after.
    pub fill_next: u64,
    /// Number of threads.
    pub fill_step: u64,
    /// Scratch for the check of a list.
    pub seen: Vec<u64>,
}

impl FlowDriver {
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

    fn put(&self, turn: &mut Turn<'_>, at_ns: u64, op: Op) {
        turn.ask(at_ns, op, |out, xid| self.requests.put(out, xid, op));
    }

    /// Checks a reply without regard to what it ends.
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
                // Java's header names the newest txn, which may be another session's behind this one.
                let mzxid = stat.mzxid.to_wire();
                if !(1..=reply.zxid).contains(&mzxid) {
                    return Err(Wrong::Txn { want: reply.zxid, have: mzxid });
                }
                if let Flow::Sync { acknowledged, .. } = &self.flow {
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

impl Driver for FlowDriver {
    fn room(&self, _: usize, session: &Session) -> bool {
        session.state == crate::session::State::Open && session.units < self.in_flight
    }

    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun {
        match &self.flow {
            Flow::Mix { read_ratio } => {
                let op = self.mixed(*read_ratio, Kind::Get);
                self.put(turn, at_ns, op);
            }
            Flow::Sync { read_ratio, acknowledged } => {
                let acknowledged = Arc::clone(acknowledged);
                let mut op = self.mixed(*read_ratio, Kind::SyncedGet);
                if op.kind == Kind::SyncedGet {
                    op.since = acknowledged[op.leaf as usize].load(Ordering::Acquire);
                    turn.ask(at_ns, Op { kind: Kind::Sync, ..op }, wire::put_sync);
                }
                self.put(turn, at_ns, op);
            }
            Flow::Create => {
                let leaf = self.take_turn(turn.index);
                let bytes = self.size();
                let op = self.own(turn, Kind::Create, leaf, bytes);
                self.put(turn, at_ns, op);
            }
            Flow::Ephemeral => {
                let number = self.take_turn(turn.index);
                let kind = if number.is_multiple_of(2) { Kind::Ephemeral } else { Kind::Delete };
                let bytes = self.size();
                let op = self.own(turn, kind, number / 2, bytes);
                self.put(turn, at_ns, op);
            }
            Flow::Multi { ops } => {
                let (ops, keys) = (*ops, self.key_count);
                let (leaf, bytes) = (self.keys.draw(&mut self.random), self.size());
                let op = Op { kind: Kind::Multi, group: ops, leaf, bytes, since: 0 };
                let keys = (0..ops).map(|at| ((u64::from(leaf) + u64::from(at)) % u64::from(keys)) as u32);
                turn.ask(at_ns, op, |out, xid| self.requests.put_multi(out, xid, bytes, keys));
            }
            Flow::List { children, path } => {
                let op = Op { kind: Kind::List, leaf: *children, ..Op::default() };
                turn.ask(at_ns, op, |out, xid| {
                    wire::put_read(out, xid, OpCode::GET_CHILDREN, path.as_bytes(), false);
                });
            }
            Flow::Fill { znodes, fanout } => {
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

    fn reply(&mut self, turn: &mut Turn<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), Wrong> {
        let class = match sent.op.kind {
            Kind::Get | Kind::SyncedGet | Kind::List => Class::Read,
            // Half of a unit: the get behind it ends it.
            Kind::Sync => return self.check(turn, sent.op, reply),
            _ => Class::Write,
        };
        turn.done();
        self.check(turn, sent.op, reply)?;
        turn.record(class, sent.at_ns);
        Ok(())
    }

    /// What a lost create made is not known: a flow goes on behind it.
    fn opened(&mut self, turn: &mut Turn<'_>, _: Granted) {
        let number = &mut self.turns[turn.index];
        *number = number.next_multiple_of(2);
    }
}
