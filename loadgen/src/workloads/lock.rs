//! The lock recipe without a herd: a session that wants the lock creates a sequential ephemeral, lists the queue, and
//! watches only the znode just before its own.
//!
//! Latency lasts from the wish to the acquisition. Two checks show that only one session holds a lock: loadgen knows
//! all holders, and each holder changes the lock's znode, whose version must be the one that the previous holder left.

use crate::engine::driver::{Begun, Driver, Reply, Turn};
use crate::engine::session::{Granted, Sent, Session, State};
use crate::engine::tally::Class;
use crate::engine::wire::{self, Kind, Op, Wrong};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use zkfast::proto::jute::Reader;
use zkfast::proto::{ErrorCode, EventType, OpCode, Stat, WatcherEvent};

/// Digits that a server appends to the path of a sequential znode.
const SEQUENCE_DIGITS: usize = 10;
/// The version of a lock if its last change may or may not have been made; setData takes it as any version.
const UNKNOWN: i32 = -1;

/// A lock, shared by all threads.
#[derive(Debug)]
pub struct Lock {
    /// Path of its znode, the parent of the queue.
    path: String,
    /// Number of the session that holds it, plus 1; 0 if none does.
    holder: AtomicU32,
    /// Version of its znode after the last holder's change.
    version: AtomicI32,
}

impl Lock {
    /// A free lock on the znode `path`.
    pub fn new(path: String) -> Self {
        Self { path, holder: AtomicU32::new(0), version: AtomicI32::new(UNKNOWN) }
    }
}

/// How far a session is on its way to a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// It does not want the lock.
    Idle,
    /// It waits for a reply: to its create, to a list of the queue, to its change of the lock's znode, or to its
    /// delete.
    Asking,
    /// It waits until the znode before its own is deleted.
    Waiting { previous: Vec<u8> },
}

/// A session that acquires and releases its lock again and again.
#[derive(Debug)]
struct Contender {
    stage: Stage,
    /// Path of its znode in the queue.
    own: Vec<u8>,
    /// When it began to want the lock.
    since_ns: u64,
    /// Whether it holds the lock.
    is_holder: bool,
}

/// One thread's part of the workload.
#[derive(Debug)]
pub struct LockDriver<'a> {
    locks: &'a [Lock],
    contenders: Vec<Contender>,
    /// Number of this thread's first session in the run.
    first: usize,
}

impl<'a> LockDriver<'a> {
    /// A driver of `sessions` sessions, spread over `locks` in turn.
    pub fn new(locks: &'a [Lock], first: usize, sessions: usize) -> Self {
        let contender = || Contender { stage: Stage::Idle, own: Vec::new(), since_ns: 0, is_holder: false };
        Self { locks, contenders: (0..sessions).map(|_| contender()).collect(), first }
    }

    fn number(&self, index: usize) -> u32 {
        (self.first + index) as u32
    }

    fn lock(&self, index: usize) -> (u32, &'a Lock) {
        let lock = (self.first + index) % self.locks.len();
        (lock as u32, &self.locks[lock])
    }

    /// Path of a session's znodes in the queue, without the digits of the server.
    fn prefix(&self, index: usize) -> Vec<u8> {
        format!("{}/c{:08}-", self.lock(index).1.path, self.number(index)).into_bytes()
    }

    fn op(&self, index: usize, kind: Kind) -> Op {
        Op { kind, group: self.lock(index).0, leaf: self.number(index), ..Op::default() }
    }

    fn list_queue(&self, turn: &mut Turn<'_>) {
        let path = self.lock(turn.index).1.path.as_bytes();
        turn.ask(turn.now_ns, self.op(turn.index, Kind::Queue), |out, xid| {
            wire::put_read(out, xid, OpCode::GET_CHILDREN, path, false);
        });
    }

    /// Deletes the session's znode in the queue, which releases the lock.
    fn leave(&mut self, turn: &mut Turn<'_>) {
        self.forget_holder(turn.index);
        let own = &self.contenders[turn.index].own;
        turn.ask(turn.now_ns, self.op(turn.index, Kind::Leave), |out, xid| wire::put_delete(out, xid, own));
    }

    fn forget_holder(&mut self, index: usize) {
        if std::mem::take(&mut self.contenders[index].is_holder) {
            self.lock(index).1.holder.store(0, Ordering::Release);
        }
    }

    fn on_joined(&mut self, turn: &mut Turn<'_>, body: &[u8]) -> Result<(), Wrong> {
        let mut reader = Reader::new(body);
        let path = reader.string()?.unwrap_or_default();
        let sequence = path.strip_prefix(&self.prefix(turn.index)[..]).ok_or(Wrong::Path)?;
        if sequence.len() != SEQUENCE_DIGITS || !sequence.iter().all(u8::is_ascii_digit) {
            return Err(Wrong::Path);
        }
        wire::ended(&reader)?;
        self.contenders[turn.index].own = path.to_vec();
        self.list_queue(turn);
        Ok(())
    }

    /// Finds the znode before the session's own, and watches it; takes the lock if there is none.
    fn on_queue(&mut self, turn: &mut Turn<'_>, body: &[u8]) -> Result<(), Wrong> {
        let directory = self.lock(turn.index).1.path.len() + 1;
        let own = &self.contenders[turn.index].own[directory..];
        let (name, own_sequence) = own.split_at(own.len() - SEQUENCE_DIGITS);
        let mut reader = Reader::new(body);
        let (mut previous, mut found): (Option<&[u8]>, bool) = (None, false);
        for _ in 0..reader.count(4)?.unwrap_or_default() {
            let child = reader.string()?.unwrap_or_default();
            let sequence_at = child.len().checked_sub(SEQUENCE_DIGITS).ok_or(Wrong::Path)?;
            let (other, sequence) = child.split_at(sequence_at);
            if other == name && sequence != own_sequence {
                // A lost connection left it: its create was executed, and the reply never came.
                let path = [&self.contenders[turn.index].own[..directory], child].concat();
                let op = self.op(turn.index, Kind::Sweep);
                turn.ask(turn.now_ns, op, |out, xid| wire::put_delete(out, xid, &path));
                continue;
            }
            found |= sequence == own_sequence;
            if sequence < own_sequence
                && previous.is_none_or(|previous| previous[previous.len() - SEQUENCE_DIGITS..] < *sequence)
            {
                previous = Some(child);
            }
        }
        wire::ended(&reader)?;
        if !found {
            return Err(Wrong::NotQueued);
        }
        let Some(previous) = previous else { return self.take_lock(turn) };
        let previous = [&self.contenders[turn.index].own[..directory], previous].concat();
        turn.ask(turn.now_ns, self.op(turn.index, Kind::Previous), |out, xid| {
            wire::put_read(out, xid, OpCode::GET_DATA, &previous, true);
        });
        self.contenders[turn.index].stage = Stage::Waiting { previous };
        Ok(())
    }

    fn take_lock(&mut self, turn: &mut Turn<'_>) -> Result<(), Wrong> {
        let (number, (group, lock)) = (self.number(turn.index), self.lock(turn.index));
        let taken = lock.holder.compare_exchange(0, number + 1, Ordering::AcqRel, Ordering::Acquire);
        if let Err(holder) = taken {
            self.leave(turn);
            return Err(Wrong::TwoHolders { lock: group, one: holder - 1, other: number });
        }
        self.contenders[turn.index].is_holder = true;
        turn.record(Class::Write, self.contenders[turn.index].since_ns);
        let version = lock.version.load(Ordering::Acquire);
        let op = Op { since: version.into(), ..self.op(turn.index, Kind::Claim) };
        turn.ask(turn.now_ns, op, |out, xid| {
            wire::put_set(out, xid, lock.path.as_bytes(), &wire::digits(number), version);
        });
        Ok(())
    }

    fn on_claimed(&mut self, turn: &mut Turn<'_>, version: i64, reply: Reply<'_>) -> Result<(), Wrong> {
        let checked = reply.ok().and_then(|body| {
            let mut reader = Reader::new(body);
            let stat = Stat::read(&mut reader)?;
            let want = version as i32 + 1;
            if version != i64::from(UNKNOWN) && stat.version != want {
                return Err(Wrong::Version { want, have: stat.version });
            }
            wire::ended(&reader)?;
            Ok(stat.version)
        });
        let lock = self.lock(turn.index).1;
        lock.version.store(*checked.as_ref().unwrap_or(&UNKNOWN), Ordering::Release);
        // Only after the version is stored: the next holder reads it.
        self.leave(turn);
        checked.map(drop)
    }
}

impl Driver for LockDriver<'_> {
    fn has_room(&self, index: usize, session: &Session) -> bool {
        session.state == State::Open && self.contenders[index].stage == Stage::Idle
    }

    fn begin(&mut self, turn: &mut Turn<'_>, at_ns: u64) -> Begun {
        let contender = &mut self.contenders[turn.index];
        contender.stage = Stage::Asking;
        contender.since_ns = at_ns;
        let prefix = self.prefix(turn.index);
        turn.ask(at_ns, self.op(turn.index, Kind::Join), |out, xid| wire::put_sequential(out, xid, &prefix));
        Begun::Sent
    }

    fn on_reply(&mut self, turn: &mut Turn<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), Wrong> {
        let checked = match sent.op.kind {
            Kind::Join => match reply.ok().and_then(|body| self.on_joined(turn, body)) {
                Ok(()) => return Ok(()),
                wrong => wrong,
            },
            Kind::Queue => match reply.ok().and_then(|body| self.on_queue(turn, body)) {
                Err(wrong @ Wrong::TwoHolders { .. }) => return Err(wrong),
                Ok(()) => return Ok(()),
                wrong => wrong,
            },
            Kind::Previous if reply.err == ErrorCode::NoNode.to_wire() => {
                self.contenders[turn.index].stage = Stage::Asking;
                self.list_queue(turn);
                return Ok(());
            }
            Kind::Previous => match reply.ok() {
                Ok(_) => return Ok(()),
                Err(wrong) => Err(wrong),
            },
            Kind::Claim => return self.on_claimed(turn, sent.op.since, reply),
            Kind::Sweep if reply.err == ErrorCode::NoNode.to_wire() => return Ok(()),
            Kind::Sweep => return reply.empty(),
            _ => reply.empty(),
        };
        // The lock is released, or the reply is so wrong that the session begins again.
        self.forget_holder(turn.index);
        self.contenders[turn.index].stage = Stage::Idle;
        turn.end_unit();
        checked
    }

    fn on_event(&mut self, turn: &mut Turn<'_>, event: &WatcherEvent) -> Result<(), Wrong> {
        let contender = &mut self.contenders[turn.index];
        let Stage::Waiting { previous } = &contender.stage else {
            return Err(Wrong::Event { kind: event.kind });
        };
        if event.kind != EventType::NodeDeleted as i32 || event.path != *previous {
            return Err(Wrong::Event { kind: event.kind });
        }
        contender.stage = Stage::Asking;
        self.list_queue(turn);
        Ok(())
    }

    fn on_open(&mut self, turn: &mut Turn<'_>, _: Granted) {
        self.contenders[turn.index].stage = Stage::Idle;
    }

    /// The znode in the queue may exist, may be gone or may still be created: the next list of the queue shows it.
    fn on_lost(&mut self, turn: &mut Turn<'_>) -> usize {
        if turn.session.sent.iter().any(|sent| sent.op.kind == Kind::Claim) {
            self.lock(turn.index).1.version.store(UNKNOWN, Ordering::Release);
        }
        self.forget_holder(turn.index);
        self.contenders[turn.index].stage = Stage::Asking;
        0
    }

    /// A session waits for the one before it in the queue.
    fn waits_for_others(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tally::Tally;
    use zkfast::proto::jute::JuteWrite;

    /// Two sessions that each see themselves at the head of the queue: the second is noticed, by its number, and
    /// leaves.
    #[test]
    fn second_holder_is_noticed() {
        let locks = [Lock::new("/lock".to_owned())];
        let mut driver = LockDriver::new(&locks, 10, 2);
        let mut tally = Tally::new();
        let mut listed = Vec::new();
        for index in 0..2 {
            let (mut session, mut out) = (Session::unopened(), Vec::new());
            let (session, tally, out_ref) = (&mut session, &mut tally, &mut out);
            let mut turn = Turn { index, session, now_ns: 5, counts_from_ns: Some(0), tally, out: out_ref };
            assert_eq!(driver.begin(&mut turn, 0), Begun::Sent);
            turn.session.units = 1;
            let name = format!("c{:08}-{:010}", 10 + index, index);
            let mut body = Vec::new();
            body.put_string(format!("/lock/{name}").as_bytes());
            let join = turn.session.sent.pop_front().expect("a create");
            assert_eq!(driver.on_reply(&mut turn, join, Reply { err: 0, zxid: 0, body: &body }), Ok(()));
            let mut body = Vec::new();
            body.put_count(1);
            body.put_string(name.as_bytes());
            let list = turn.session.sent.pop_front().expect("a list of the queue");
            listed.push(driver.on_reply(&mut turn, list, Reply { err: 0, zxid: 0, body: &body }));
            let next = turn.session.sent.pop_front().map(|sent| sent.op.kind);
            assert_eq!(next, Some(if index == 0 { Kind::Claim } else { Kind::Leave }));
        }
        assert_eq!(listed, [Ok(()), Err(Wrong::TwoHolders { lock: 0, one: 10, other: 11 })]);
        assert_eq!(tally.ops(), 1);
    }

    /// Only the znode just before the own one is watched, and one that a lost connection left is deleted, not waited
    /// for.
    #[test]
    fn only_the_previous_is_watched() {
        let locks = [Lock::new("/lock".to_owned())];
        let mut driver = LockDriver::new(&locks, 0, 1);
        let (mut session, mut tally, mut out) = (Session::unopened(), Tally::new(), Vec::new());
        let (session, tally, out) = (&mut session, &mut tally, &mut out);
        let mut turn = Turn { index: 0, session, now_ns: 5, counts_from_ns: None, tally, out };
        driver.begin(&mut turn, 0);
        driver.contenders[0].own = b"/lock/c00000000-0000000009".to_vec();
        let mut body = Vec::new();
        let names =
            ["c00000003-0000000007", "c00000000-0000000008", "c00000000-0000000009", "c00000002-0000000001"];
        body.put_count(names.len());
        names.iter().for_each(|name| body.put_string(name.as_bytes()));
        assert_eq!(driver.on_queue(&mut turn, &body), Ok(()));
        let asked: Vec<Kind> = turn.session.sent.iter().map(|sent| sent.op.kind).collect();
        assert_eq!(asked, [Kind::Join, Kind::Sweep, Kind::Previous]);
        let front = b"/lock/c00000003-0000000007".to_vec();
        assert_eq!(driver.contenders[0].stage, Stage::Waiting { previous: front.clone() });
        let event = |kind, path: &[u8]| WatcherEvent { kind, state: 3, path: path.to_vec() };
        let deleted = EventType::NodeDeleted as i32;
        assert!(driver.on_event(&mut turn, &event(deleted, b"/lock/c00000002-0000000001")).is_err());
        assert!(driver.on_event(&mut turn, &event(EventType::NodeDataChanged as i32, &front)).is_err());
        assert_eq!(driver.on_event(&mut turn, &event(deleted, &front)), Ok(()));
        assert!(driver.on_event(&mut turn, &event(deleted, &front)).is_err(), "the same event twice");
    }
}
