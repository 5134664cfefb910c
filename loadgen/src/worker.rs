//! One thread's part of a run: an epoll instance, some sessions, and a loop.
//!
//! Per wake-up of a session there is one read, one look at the clock and one write, however many
//! replies came.

use crate::alarm::Alarm;
use crate::driver::{Begun, Driver, Reply, Turn};
use crate::random::Random;
use crate::run::{DRAINING, MEASURE, Plan, Shared, Target, Work};
use crate::session::{Granted, NoConnection, Session, State};
use crate::tally::Tally;
use crate::wire::{self, Op, Wrong};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use zkfast::proto::jute::Reader;
use zkfast::proto::{ReplyHeader, WatcherEvent, XID_NOTIFICATION, XID_PING};

/// What is read from a socket at once, at least.
const SCRATCH_BYTES: usize = 256 << 10;
/// Events that are taken at once.
const EVENTS: usize = 256;
/// How often a thread looks whether the run is over when nothing happens.
const TICK: Duration = Duration::from_millis(50);
/// How long replies may take after the last request; tests wait for some that never come.
const DRAIN: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });
/// How often it is looked for sessions that need a ping or wait too long.
const LOOK: Duration = Duration::from_secs(1);
/// How long a connection may take to be had again, until the next server is tried.
const CONNECT_NS: u64 = 5_000_000_000;
/// Time between two rounds over all servers while none of them takes a session.
const RETRY_NS: u64 = 100_000_000;
/// A session that no server takes for so long ends the run.
const GIVE_UP_NS: u64 = 60_000_000_000;

/// What is kept of a session while it has no connection.
#[derive(Clone, Copy, Debug, Default)]
struct Away {
    /// When its connection ended; 0 where it has one.
    since_ns: u64,
    /// Whether it was open before: having it again is a reconnect.
    was_open: bool,
    /// When the next try is due; 0 where one is under way.
    retry_ns: u64,
    /// Tries since then.
    tries: usize,
    /// The server that is tried next.
    target: usize,
}

/// What the system refused to the thread itself.
fn refused(error: rustix::io::Errno) -> NoConnection {
    NoConnection::Io { server: "epoll".to_owned(), error: error.into() }
}

/// One thread's part of a run.
pub struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    targets: &'a [Target],
    epoll: OwnedFd,
    sessions: Vec<Session>,
    away: Vec<Away>,
    driver: Box<dyn Driver + 'a>,
    tally: Tally,
    /// What sockets are read into; a frame is looked at where it is.
    scratch: Vec<u8>,
    /// What is written to one socket at once.
    out: Vec<u8>,
    /// Draws arrivals.
    random: Random,
    /// When the next request of an open loop arrives, in nanoseconds since the run's start.
    due_ns: f64,
    /// Mean time between a thread's arrivals; none in a closed loop.
    gap_ns: Option<f64>,
    /// Rings then.
    alarm: Alarm,
    /// Whether a request that has arrived waits for room, which a reply makes.
    is_full: bool,
    /// Sessions to which requests have come that are to be sent.
    arrived: Vec<usize>,
    /// The session that an arrival is offered first.
    turn: usize,
    phase: u8,
    /// Whether there is nothing left to begin.
    exhausted: bool,
    /// Whether some session has no connection.
    any_away: bool,
}

impl<'a> Worker<'a> {
    /// The `index`-th of `plan.threads`; `sessions` is its share, the first of which has the number `first`.
    pub fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        targets: &'a [Target],
        (index, first): (usize, usize),
        mut sessions: Vec<Session>,
        driver: Box<dyn Driver + 'a>,
    ) -> Result<Self, NoConnection> {
        for session in sessions.iter_mut().filter(|session| session.state == State::Open) {
            // A follower may not have what was prepared elsewhere; behind a sync it has.
            let mut out = Vec::new();
            wire::put_sync(&mut out, session.take_xid());
            session.send(&out)?;
        }
        for session in sessions.iter_mut().filter(|session| session.state == State::Open) {
            session.read_frame()?;
            session.take_reply_xid();
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused)?;
        let alarm = Alarm::new(&epoll).map_err(refused)?;
        let worker = Self {
            plan,
            shared,
            targets,
            epoll,
            away: (0..sessions.len())
                .map(|session| Away { target: first + session + 1, ..Away::default() })
                .collect(),
            driver,
            tally: Tally::new(),
            scratch: vec![0; SCRATCH_BYTES.max(2 * plan.reply_bytes_max())],
            out: Vec::new(),
            random: Random::new(!plan.seed, index as u64),
            due_ns: 0.0,
            gap_ns: plan.rate.map(|rate| 1e9 * plan.threads as f64 / rate),
            alarm,
            is_full: false,
            arrived: Vec::new(),
            turn: 0,
            phase: 0,
            exhausted: false,
            any_away: false,
            sessions,
        };
        for (index, session) in worker.sessions.iter().enumerate() {
            if session.state == State::Open {
                session.nonblocking()?;
                worker.register(index)?;
            }
        }
        Ok(worker)
    }

    /// Tells epoll of a session's socket.
    fn register(&self, index: usize) -> Result<(), NoConnection> {
        let session = &self.sessions[index];
        let data = EventData::new_u64(index as u64 | u64::from(session.generation) << 32);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, session.stream(), data, flags).map_err(|error| session.io(error.into()))
    }

    /// Runs until [`Shared::drain`], or until there is nothing left to send.
    pub fn run(mut self) -> Result<Tally, NoConnection> {
        let result = self.serve();
        self.shared.finish();
        Session::close_all(self.sessions);
        result.map(|()| self.tally)
    }

    fn serve(&mut self) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        self.due_ns = now as f64;
        for index in 0..self.sessions.len() {
            self.sessions[index].heard_at_ns = now;
            if self.sessions[index].state == State::Open {
                self.driver.opened(
                    &mut Turn {
                        index,
                        session: &mut self.sessions[index],
                        now_ns: now,
                        counts_from_ns: None,
                        tally: &mut self.tally,
                        out: &mut self.out,
                    },
                    Granted::New,
                );
            }
            let done = self.flush(index, now).and_then(|()| self.refill(index, now));
            self.hold(index, done)?;
        }
        if let Some(gap_ns) = self.gap_ns {
            self.arrivals(gap_ns)?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        let mut drain_until = None;
        let mut look_at = Instant::now() + LOOK;
        loop {
            let wait = self.wait();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(refused(error)),
            }
            let was = std::mem::replace(&mut self.phase, self.shared.phase());
            // Nobody connects again while the last replies are waited for: what such a session has left in a lock's
            // queue, others wait for in vain.
            let is_queue = matches!(self.plan.work, Work::Lock { .. });
            if self.phase == DRAINING
                && was != DRAINING
                && is_queue
                && self.away.iter().any(|away| away.since_ns > 0)
            {
                self.shared.lose_draining();
            }
            if self.phase == MEASURE {
                self.tally.roll(self.shared.measured_ns(), self.shared.seconds());
            }
            for event in events.iter().filter(|event| event.data.u64() != Alarm::DATA) {
                let data = event.data.u64();
                let (index, generation) = (data as u32 as usize, (data >> 32) as u32);
                if self.sessions[index].generation == generation {
                    let done = self.ready(index, event.flags);
                    self.hold(index, done)?;
                }
            }
            if self.phase == DRAINING {
                let until = *drain_until.get_or_insert_with(|| {
                    self.end_arrivals();
                    Instant::now() + DRAIN
                });
                let unanswered: usize =
                    self.sessions.iter().map(|session| session.units.max(session.sent.len())).sum();
                if unanswered == 0 || Instant::now() > until {
                    if self.shared.has_lost_draining() {
                        self.tally.lose(unanswered as u64);
                    } else {
                        self.tally.trouble.unanswered = unanswered as u64;
                    }
                    self.tally.hand_over(self.shared.seconds());
                    return Ok(());
                }
                continue;
            }
            if let Some(gap_ns) = self.gap_ns {
                self.arrivals(gap_ns)?;
            } else if self.exhausted && self.sessions.iter().all(|session| session.units == 0) {
                self.tally.hand_over(self.shared.seconds());
                return Ok(());
            }
            if self.any_away {
                self.connect_again()?;
            }
            if events.len() < EVENTS && Instant::now() > look_at {
                self.look()?;
                look_at = Instant::now() + LOOK;
            }
        }
    }

    /// What begins while it is measured counts, however late it ends: what a server that stalls at the end owes is not
    /// forgiven.
    fn counts_from_ns(&self) -> Option<u64> {
        matches!(self.phase, MEASURE | DRAINING).then(|| self.shared.measure_at_ns())
    }

    /// How long nothing can happen that neither the sockets nor the alarm would say.
    fn wait(&self) -> Timespec {
        let mut wait = TICK;
        if self.phase != DRAINING && self.any_away {
            let now = self.shared.now_ns();
            for away in self.away.iter().filter(|away| away.retry_ns > 0) {
                wait = wait.min(Duration::from_nanos(away.retry_ns.saturating_sub(now)));
            }
        }
        Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as _ }
    }

    /// Does what a session's socket is ready for.
    fn ready(&mut self, index: usize, flags: EventFlags) -> Result<(), NoConnection> {
        let session = &mut self.sessions[index];
        let ends = flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR);
        if session.state == State::Connecting && (ends || flags.contains(EventFlags::OUT)) {
            session.ask_session()?;
        } else if flags.contains(EventFlags::OUT) && !session.unsent.is_empty() {
            session.send_rest()?;
        }
        if ends || flags.contains(EventFlags::IN) {
            self.receive(index, ends)?;
        }
        Ok(())
    }

    /// Reads all that a session has, checks it, and in a closed loop asks for as much again.
    fn receive(&mut self, index: usize, ends: bool) -> Result<(), NoConnection> {
        loop {
            let session = &mut self.sessions[index];
            let kept = session.partial.len();
            self.scratch[..kept].copy_from_slice(&session.partial);
            let read = match session.stream().read(&mut self.scratch[kept..]) {
                Ok(0) => return Err(session.closed()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(session.io(error)),
            };
            let now = self.shared.now_ns();
            session.heard_at_ns = now;
            self.replies(index, kept + read, now)?;
            if let Some(over) = self.driver.is_over() {
                self.sessions[over].units -= 1;
            }
            let next = self.driver.next(index);
            if next != index {
                self.flush(index, now)?;
            }
            self.refill(next, now)?;
            if next == index {
                self.flush(index, now)?;
            }
            // A short read took all there was. What comes later is a new event, but the end of the
            // stream may have been told together with the last bytes.
            if kept + read < self.scratch.len() && !ends {
                return Ok(());
            }
        }
    }

    /// Takes the frames at the start of the scratch buffer.
    fn replies(&mut self, index: usize, end: usize, now_ns: u64) -> Result<(), NoConnection> {
        let counts_from_ns = self.counts_from_ns();
        let Self { sessions, scratch, driver, tally, out, away, .. } = self;
        let session = &mut sessions[index];
        let mut turn = Turn { index, session, now_ns, counts_from_ns, tally, out };
        let mut rest = &scratch[..end];
        while let Some((frame, after)) = wire::split_frame(rest, scratch.len() - 4)
            .map_err(|length| turn.session.protocol(format!("a frame of {length} bytes")))?
        {
            rest = after;
            if turn.session.state == State::Asking {
                granted(&mut turn, &mut away[index], driver.as_mut(), frame)?;
            } else {
                take(&mut turn, driver.as_mut(), frame)?;
            }
        }
        turn.session.partial.clear();
        turn.session.partial.extend_from_slice(rest);
        Ok(())
    }

    /// In a closed loop, begins as much on a session as it has room for, and sends it.
    fn refill(&mut self, index: usize, now: u64) -> Result<(), NoConnection> {
        if self.gap_ns.is_some() || self.phase == DRAINING {
            return Ok(());
        }
        while self.driver.room(index, &self.sessions[index]) {
            if !self.begin(index, now, now) {
                break;
            }
        }
        self.flush(index, now)
    }

    /// Begins a unit; says whether there was one.
    fn begin(&mut self, index: usize, at_ns: u64, now_ns: u64) -> bool {
        let counts_from_ns = self.counts_from_ns();
        let Self { sessions, driver, tally, out, .. } = self;
        let session = &mut sessions[index];
        let mut turn = Turn { index, session, now_ns, counts_from_ns, tally, out };
        match driver.begin(&mut turn, at_ns) {
            Begun::Sent => {}
            Begun::Connect => {
                self.away[index].retry_ns = now_ns;
                self.any_away = true;
            }
            Begun::Nothing => {
                self.exhausted = true;
                return false;
            }
        }
        self.sessions[index].units += 1;
        true
    }

    /// Sends what has arrived by now, as far as sessions have room, and has the next arrival announced.
    fn arrivals(&mut self, gap_ns: f64) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        let count = self.sessions.len();
        let was_full = std::mem::take(&mut self.is_full);
        while self.due_ns <= now as f64 && !self.exhausted {
            let free = (0..count)
                .map(|offset| (self.turn + offset) % count)
                .find(|index| self.driver.room(*index, &self.sessions[*index]));
            let Some(index) = free else {
                self.is_full = true;
                break;
            };
            if !was_full && self.phase == MEASURE {
                self.tally.late.saturating_record((now as f64 - self.due_ns) as u64);
            }
            self.turn = index + 1;
            self.begin(index, self.due_ns as u64, now);
            self.due_ns += self.random.exponential(gap_ns);
            let session = &mut self.sessions[index];
            session.sent_at_ns = now;
            session.unsent.append(&mut self.out);
            if self.arrived.last() != Some(&index) {
                self.arrived.push(index);
            }
        }
        // What a session got in the meantime goes at once, as it does in a closed loop.
        let mut arrived = std::mem::take(&mut self.arrived);
        for index in arrived.drain(..) {
            let session = &mut self.sessions[index];
            if !session.unsent.is_empty() {
                let sent = session.send_rest();
                self.hold(index, sent)?;
            }
        }
        self.arrived = arrived;
        if self.exhausted || self.is_full {
            return Ok(());
        }
        self.alarm.set(self.due_ns, self.shared.now_ns()).map_err(refused)
    }

    /// Nothing arrives any more, and nobody connects.
    fn end_arrivals(&mut self) {
        if let Some(gap_ns) = self.gap_ns {
            let behind_ns = (self.shared.now_ns() as f64 - self.due_ns).max(0.0);
            self.tally.behind = Duration::from_nanos(behind_ns as u64);
            self.tally.unsent = if self.is_full { (behind_ns / gap_ns) as u64 + 1 } else { 0 };
        }
        // A storm's next try, which is nobody's debt.
        for session in self.sessions.iter_mut().filter(|session| session.state == State::Closed) {
            session.units = 0;
        }
    }

    fn flush(&mut self, index: usize, now: u64) -> Result<(), NoConnection> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = self.sessions[index].send(&self.out);
        self.sessions[index].sent_at_ns = now;
        self.out.clear();
        sent
    }

    /// Deals with a connection that failed, if it did.
    ///
    /// # Errors
    /// The same, where connections are not to be had again.
    fn hold(&mut self, index: usize, done: Result<(), NoConnection>) -> Result<(), NoConnection> {
        let Err(error) = done else { return Ok(()) };
        self.out.clear();
        let now_ns = self.shared.now_ns();
        let counts_from_ns = self.counts_from_ns();
        let session = &mut self.sessions[index];
        if session.closing && session.sent.is_empty() {
            session.disconnect();
            session.forget();
            return self.refill(index, now_ns);
        }
        if !self.plan.reconnect {
            return Err(error);
        }
        if let NoConnection::Protocol { what, .. } = &error {
            self.tally.wrong(Op::default(), &Wrong::Protocol { what: what.clone() });
        }
        self.tally.lose(session.sent.len() as u64);
        let was_open = session.state == State::Open;
        if !was_open && !matches!(error, NoConnection::Expired { .. }) {
            self.tally.error("connect");
        }
        let (tally, out) = (&mut self.tally, &mut self.out);
        let units = self.driver.lost(&mut Turn { index, session, now_ns, counts_from_ns, tally, out });
        let session = &mut self.sessions[index];
        session.disconnect();
        session.units = units;
        if self.phase == DRAINING {
            session.units = 0;
            self.shared.lose_draining();
        }
        let away = &mut self.away[index];
        away.was_open |= was_open;
        if away.since_ns == 0 {
            *away = Away { since_ns: now_ns, tries: 0, ..*away };
        } else if now_ns - away.since_ns > GIVE_UP_NS {
            return Err(error);
        }
        // All servers are tried at once, one after the other, and again a little later.
        let round_is_over = away.tries > 0 && away.tries.is_multiple_of(self.targets.len());
        away.retry_ns = now_ns + if round_is_over { RETRY_NS } else { 0 };
        self.any_away = true;
        if let Some(over) = self.driver.is_over() {
            self.sessions[over].units -= 1;
        }
        Ok(())
    }

    /// Connects the sessions whose time has come.
    fn connect_again(&mut self) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        let mut any_away = false;
        for index in 0..self.sessions.len() {
            let away = &mut self.away[index];
            if away.retry_ns == 0 || away.retry_ns > now {
                any_away |= away.retry_ns > 0;
                continue;
            }
            let target = &self.targets[away.target % self.targets.len()];
            away.retry_ns = 0;
            away.target += 1;
            away.tries += 1;
            let session = &mut self.sessions[index];
            session.heard_at_ns = now;
            let connected = match session.connect(&target.name, target.address) {
                Ok(()) => self.register(index),
                Err(error) => Err(NoConnection::Io { server: target.name.clone(), error }),
            };
            self.hold(index, connected)?;
            any_away |= self.away[index].retry_ns > 0;
        }
        self.any_away = any_away;
        Ok(())
    }

    /// Keeps sessions alive that had nothing to ask for a third of their timeout, and gives up on servers
    /// that say nothing for two thirds of it, as the Java client does.
    fn look(&mut self) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            let silent_ns = now.saturating_sub(session.heard_at_ns);
            let third_ns = session.timeout_ms * 1_000_000 / 3;
            let done = match session.state {
                State::Closed => Ok(()),
                State::Connecting | State::Asking if silent_ns > CONNECT_NS => {
                    Err(session.timed_out(silent_ns))
                }
                State::Connecting | State::Asking => Ok(()),
                State::Open
                    if self.plan.reconnect
                        && session.sent_at_ns > session.heard_at_ns
                        && silent_ns > 2 * third_ns =>
                {
                    Err(session.timed_out(silent_ns))
                }
                State::Open if now.saturating_sub(session.sent_at_ns) > third_ns => {
                    wire::put_ping(&mut self.out);
                    self.flush(index, now)
                }
                State::Open => Ok(()),
            };
            self.hold(index, done)?;
        }
        Ok(())
    }
}

/// Takes the answer to a connect request.
fn granted(
    turn: &mut Turn<'_>,
    away: &mut Away,
    driver: &mut dyn Driver,
    frame: &[u8],
) -> Result<(), NoConnection> {
    let had_session = turn.session.id != 0;
    let granted = turn.session.granted(frame)?;
    if granted == Granted::Refused {
        turn.tally.trouble.expired += u64::from(had_session);
        return Err(if had_session { turn.session.expired() } else { turn.session.closed() });
    }
    turn.tally.trouble.reconnects += u64::from(away.was_open);
    *away = Away { target: away.target, ..Away::default() };
    driver.opened(turn, granted);
    Ok(())
}

/// Takes a frame of an open session.
fn take(turn: &mut Turn<'_>, driver: &mut dyn Driver, frame: &[u8]) -> Result<(), NoConnection> {
    let mut reader = Reader::new(frame);
    let header = ReplyHeader::read(&mut reader).map_err(|short| turn.session.protocol(short.to_string()))?;
    if header.xid == XID_PING {
        return Ok(());
    }
    if header.xid == XID_NOTIFICATION {
        let event = WatcherEvent::read(&header, &mut reader)
            .map_err(|short| turn.session.protocol(short.to_string()))?;
        if let Err(wrong) = driver.event(turn, &event) {
            turn.tally.wrong(Op::default(), &wrong);
        }
        return Ok(());
    }
    let Some(sent) = turn.session.sent.pop_front() else {
        return Err(turn.session.protocol("a reply that nothing asked for".to_owned()));
    };
    let xid = turn.session.take_reply_xid();
    if header.xid != xid {
        turn.tally.wrong(sent.op, &Wrong::Xid { want: xid, have: header.xid });
    }
    if header.zxid < turn.session.zxid {
        turn.tally.wrong(sent.op, &Wrong::Zxid { want: turn.session.zxid, have: header.zxid });
    } else {
        turn.session.zxid = header.zxid;
    }
    let reply = Reply { err: header.err, zxid: header.zxid, body: reader.rest() };
    if let Err(wrong) = driver.reply(turn, sent, reply) {
        turn.tally.wrong(sent.op, &wrong);
    }
    Ok(())
}
