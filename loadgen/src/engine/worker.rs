//! One thread of a run: an epoll instance, some sessions, and a loop.
//!
//! Each time that a session's socket is ready the thread reads once, looks at the clock once and writes once, however
//! many replies came.

use crate::engine::address::ServerAddress;
use crate::engine::driver::{Begun, Driver, Reply, Turn};
use crate::engine::session::{Granted, NoConnection, Session, State};
use crate::engine::shared::{Phase, Shared};
use crate::engine::tally::Tally;
use crate::engine::timer::Timer;
use crate::engine::wire::{self, Op, Wrong};
use crate::random::Random;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::time::Timespec;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use zkfast::proto::jute::Reader;
use zkfast::proto::{ReplyHeader, WatcherEvent, XID_NOTIFICATION, XID_PING};

/// The least room of one read, in bytes.
const SCRATCH_BYTES: usize = 256 << 10;
/// Events that one wait takes.
const EVENTS: usize = 256;
/// How often an idle thread checks whether the run is over.
const TICK: Duration = Duration::from_millis(50);
/// How long a thread waits for the last replies. It is shorter in tests, which wait for some that never come.
const DRAIN: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });
/// How often a thread checks for sessions that need a ping or wait too long.
const KEEPALIVE_CHECK: Duration = Duration::from_secs(1);
/// How long a connect and its session request may take before the next server is tried.
const CONNECT_NS: u64 = 5_000_000_000;
/// Pause between two rounds over all servers while none of them takes a session.
const RETRY_NS: u64 = 100_000_000;
/// The run fails if no server takes a session for this long.
const GIVE_UP_NS: u64 = 60_000_000_000;

/// The state of a session while it has no connection.
#[derive(Clone, Copy, Debug, Default)]
struct Away {
    /// When its connection ended; 0 while it has one.
    since_ns: u64,
    /// Whether it was open before, so that opening it again counts as a reconnect.
    was_open: bool,
    /// When the next try is due; 0 while one is in progress.
    retry_ns: u64,
    /// Tries since its connection ended.
    tries: usize,
    /// The server that it had.
    server: usize,
    /// The server that is being tried, or was tried last.
    tried: usize,
    /// Its number in the run, which says in what order it tries the servers.
    number: usize,
    /// What the server granted, while the session proves who it is.
    granted: Option<Granted>,
}

impl Away {
    /// The state once it is open.
    fn opened(self) -> Self {
        Self { server: self.tried, tried: self.tried, number: self.number, ..Self::default() }
    }

    /// The server to try next, of so many: all others first, then the one that it had. The sessions of one server spread over the
    /// others, as those of clients do that have shuffled their lists.
    fn next_server(&self, servers: usize) -> usize {
        let (tries, others) = (self.tries % servers, servers - 1);
        match tries < others {
            true => (self.server + 1 + (self.number / servers + tries) % others) % servers,
            false => self.server,
        }
    }
}

/// The error of a system call that serves no session in particular.
fn refused(error: rustix::io::Errno) -> NoConnection {
    NoConnection::Io { server: "epoll".to_owned(), error: error.into() }
}

/// How the threads of a run send.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of threads.
    pub threads: usize,
    /// Arrivals per second over all threads, of an open loop; none in a closed loop.
    pub rate: Option<f64>,
    /// Seed of the arrivals.
    pub seed: u64,
    /// Whether a session whose connection ends connects again.
    pub reconnect: bool,
    /// The most bytes of a correct reply.
    pub reply_bytes_max: usize,
}

/// One thread of a run.
pub struct Worker<'a> {
    settings: Settings,
    shared: &'a Shared,
    servers: &'a [ServerAddress],
    epoll: OwnedFd,
    sessions: Vec<Session>,
    away: Vec<Away>,
    driver: Box<dyn Driver + 'a>,
    tally: Tally,
    /// Sockets are read into this; a frame is decoded in place.
    scratch: Vec<u8>,
    /// Bytes for one socket, written at once.
    out: Vec<u8>,
    /// Draws arrivals.
    random: Random,
    /// When the next request of an open loop arrives, in nanoseconds since the run's start.
    due_ns: f64,
    /// Mean time between the thread's arrivals, in nanoseconds; none in a closed loop.
    gap_ns: Option<f64>,
    /// Fires at `due_ns`.
    timer: Timer,
    /// Whether a request that has arrived waits for a session with room.
    is_full: bool,
    /// Sessions with requests that have arrived and are not sent yet.
    arrived: Vec<usize>,
    /// The session that gets the next arrival, if it has room.
    turn: usize,
    /// The phase at the last wake-up.
    phase: Phase,
    /// Whether the workload has nothing left to begin.
    exhausted: bool,
    /// Whether some session has no connection.
    any_away: bool,
}

impl<'a> Worker<'a> {
    /// The thread number `index`; `sessions` is its share, the first of which has the number `first` in the run.
    ///
    /// # Errors
    /// A session was lost, or the system has no descriptor left.
    pub fn new(
        settings: Settings,
        shared: &'a Shared,
        servers: &'a [ServerAddress],
        (index, first): (usize, usize),
        mut sessions: Vec<Session>,
        driver: Box<dyn Driver + 'a>,
    ) -> Result<Self, NoConnection> {
        for session in sessions.iter_mut().filter(|session| session.state == State::Open) {
            // A follower may lack znodes that were prepared on another server; after a sync it has them.
            let mut out = Vec::new();
            wire::put_sync(&mut out, session.take_xid());
            session.send(&out)?;
        }
        for session in sessions.iter_mut().filter(|session| session.state == State::Open) {
            let reply = session.read_frame()?;
            session.take_reply_xid();
            let header = ReplyHeader::read(&mut Reader::new(&reply));
            session.check_served(header.map_err(|short| session.protocol(short.to_string()))?.err)?;
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused)?;
        let timer = Timer::new(&epoll).map_err(refused)?;
        let worker = Self {
            settings,
            shared,
            servers,
            epoll,
            away: (0..sessions.len())
                .map(|session| first + session)
                .map(|number| Away { tried: number % servers.len(), number, ..Away::default() }.opened())
                .collect(),
            driver,
            tally: Tally::new(),
            scratch: vec![0; SCRATCH_BYTES.max(2 * settings.reply_bytes_max)],
            out: Vec::new(),
            random: Random::new(!settings.seed, index as u64),
            due_ns: 0.0,
            gap_ns: settings.rate.map(|rate| 1e9 * settings.threads as f64 / rate),
            timer,
            is_full: false,
            arrived: Vec::new(),
            turn: 0,
            phase: Phase::WarmUp,
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

    /// Adds a session's socket to the epoll instance.
    fn register(&self, index: usize) -> Result<(), NoConnection> {
        let session = &self.sessions[index];
        let data = EventData::new_u64(index as u64 | u64::from(session.generation) << 32);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, session.stream(), data, flags).map_err(|error| session.io(error.into()))
    }

    /// Runs until [`Shared::drain`], or until there is nothing left to send.
    ///
    /// # Errors
    /// A connection was lost that may not or cannot be opened again.
    pub fn run(mut self) -> Result<Tally, NoConnection> {
        let result = self.serve();
        self.shared.finish();
        Session::close_all(self.sessions);
        result.map(|()| self.tally)
    }

    fn serve(&mut self) -> Result<(), NoConnection> {
        self.open_all()?;
        if let Some(gap_ns) = self.gap_ns {
            self.send_arrivals(gap_ns)?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        let mut drain_until = None;
        let mut check_at = Instant::now() + KEEPALIVE_CHECK;
        loop {
            let wait = self.wait();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(refused(error)),
            }
            self.enter_phase(self.shared.phase());
            self.serve_events(&events)?;
            if self.phase == Phase::Drain {
                let until = *drain_until.get_or_insert_with(|| {
                    self.end_arrivals();
                    Instant::now() + DRAIN
                });
                if self.is_drained(until) {
                    return Ok(());
                }
                continue;
            }
            if let Some(gap_ns) = self.gap_ns {
                self.send_arrivals(gap_ns)?;
            } else if self.exhausted && self.sessions.iter().all(|session| session.units == 0) {
                self.tally.hand_over(self.shared.seconds());
                return Ok(());
            }
            if self.any_away {
                self.connect_again()?;
            }
            if events.len() < EVENTS && Instant::now() > check_at {
                self.check_keepalives()?;
                check_at = Instant::now() + KEEPALIVE_CHECK;
            }
        }
    }

    /// Tells the driver which sessions are open, and in a closed loop begins their first units.
    fn open_all(&mut self) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        self.due_ns = now as f64;
        for index in 0..self.sessions.len() {
            let Self { sessions, driver, tally, out, .. } = self;
            let session = &mut sessions[index];
            session.received_at_ns = now;
            if session.state == State::Open {
                let mut turn = Turn { index, session, now_ns: now, counts_from_ns: None, tally, out };
                driver.on_open(&mut turn, Granted::New);
            }
            let done = self.flush(index, now).and_then(|()| self.refill(index, now));
            self.handle_loss(index, done)?;
        }
        Ok(())
    }

    /// Takes note of the run's phase, and hands over the seconds that are complete.
    fn enter_phase(&mut self, phase: Phase) {
        let before = std::mem::replace(&mut self.phase, phase);
        // No session connects again while the run drains, so others wait in vain for a znode that such a session has
        // left.
        if phase == Phase::Drain
            && before != Phase::Drain
            && self.driver.waits_for_others()
            && self.away.iter().any(|away| away.since_ns > 0)
        {
            self.shared.note_lost_draining();
        }
        if phase == Phase::Measure {
            self.tally.roll(self.shared.measured_ns(), self.shared.seconds());
        }
    }

    fn serve_events(&mut self, events: &[Event]) -> Result<(), NoConnection> {
        for event in events.iter().filter(|event| event.data.u64() != Timer::DATA) {
            let data = event.data.u64();
            let (index, generation) = (data as u32 as usize, (data >> 32) as u32);
            // An event of a socket that was closed meanwhile says nothing about the next one.
            if self.sessions[index].generation == generation {
                let done = self.on_ready(index, event.flags);
                self.handle_loss(index, done)?;
            }
        }
        Ok(())
    }

    /// Whether all replies have come, or `until` has passed; counts what is missing then.
    fn is_drained(&mut self, until: Instant) -> bool {
        let unanswered: usize =
            self.sessions.iter().map(|session| session.units.max(session.sent.len())).sum();
        if unanswered > 0 && Instant::now() <= until {
            return false;
        }
        if self.shared.has_lost_draining() {
            self.tally.lose(unanswered as u64);
        } else {
            self.tally.trouble.unanswered = unanswered as u64;
        }
        self.tally.hand_over(self.shared.seconds());
        true
    }

    /// Work that begins in the measured time counts, however late it ends, so that a server that stalls at the end does
    /// not look better.
    fn counts_from_ns(&self) -> Option<u64> {
        matches!(self.phase, Phase::Measure | Phase::Drain).then(|| self.shared.measure_at_ns())
    }

    /// How long the thread may sleep: what happens earlier wakes it by a socket or the timer.
    fn wait(&self) -> Timespec {
        let mut wait = TICK;
        if self.phase != Phase::Drain && self.any_away {
            let now = self.shared.now_ns();
            for away in self.away.iter().filter(|away| away.retry_ns > 0) {
                wait = wait.min(Duration::from_nanos(away.retry_ns.saturating_sub(now)));
            }
        }
        Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as _ }
    }

    /// Connects, sends and receives what a session's socket is ready for.
    fn on_ready(&mut self, index: usize, flags: EventFlags) -> Result<(), NoConnection> {
        let session = &mut self.sessions[index];
        let ends = flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR);
        if session.state == State::Connecting && (ends || flags.contains(EventFlags::OUT)) {
            session.request_session()?;
        } else if flags.contains(EventFlags::OUT) && session.state != State::Connecting {
            session.send_rest()?;
        }
        if ends || flags.contains(EventFlags::IN) {
            self.receive(index, ends)?;
        }
        Ok(())
    }

    /// Reads all that a socket has, checks the replies, and in a closed loop begins as many units again.
    fn receive(&mut self, index: usize, ends: bool) -> Result<(), NoConnection> {
        loop {
            let session = &mut self.sessions[index];
            let kept = session.partial.len();
            self.scratch[..kept].copy_from_slice(&session.partial);
            let read = match session.socket().read(&mut self.scratch[kept..]) {
                Ok(0) => return Err(session.closed()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(session.io(error)),
            };
            let now = self.shared.now_ns();
            session.received_at_ns = now;
            self.take_frames(index, kept + read, now)?;
            if let Some(over) = self.driver.take_finished() {
                self.sessions[over].units -= 1;
            }
            let next = self.driver.next_session(index);
            if next != index {
                self.flush(index, now)?;
            }
            self.refill(next, now)?;
            if next == index {
                self.flush(index, now)?;
            }
            // A short read emptied the socket. Bytes that arrive later are a new event, but the event of the end of the
            // stream may be the same as that of the last bytes.
            let is_sealed = self.sessions[index].socket().is_sealed();
            if kept + read < self.scratch.len() && !ends && !is_sealed {
                return Ok(());
            }
        }
    }

    /// Takes the frames in the first `end` bytes of the scratch buffer.
    fn take_frames(&mut self, index: usize, end: usize, now_ns: u64) -> Result<(), NoConnection> {
        let counts_from_ns = self.counts_from_ns();
        let Self { sessions, scratch, driver, tally, out, away, .. } = self;
        let session = &mut sessions[index];
        let mut turn = Turn { index, session, now_ns, counts_from_ns, tally, out };
        let mut rest = &scratch[..end];
        while let Some((frame, after)) = wire::split_frame(rest, scratch.len() - 4)
            .map_err(|length| turn.session.protocol(format!("a frame of {length} bytes")))?
        {
            rest = after;
            match turn.session.state {
                State::Requesting => on_granted(&mut turn, &mut away[index], driver.as_mut(), frame)?,
                State::Authenticating => {
                    turn.session.take_token(frame)?;
                    on_open(&mut turn, &mut away[index], driver.as_mut());
                }
                State::Closed | State::Connecting | State::Open => {
                    on_frame(&mut turn, driver.as_mut(), frame)?
                }
            }
        }
        turn.session.partial.clear();
        turn.session.partial.extend_from_slice(rest);
        Ok(())
    }

    /// In a closed loop, begins as many units on a session as it has room for, and sends them.
    fn refill(&mut self, index: usize, now: u64) -> Result<(), NoConnection> {
        if self.gap_ns.is_some() || self.phase == Phase::Drain {
            return Ok(());
        }
        while self.driver.has_room(index, &self.sessions[index]) {
            if !self.begin(index, now, now) {
                break;
            }
        }
        self.flush(index, now)
    }

    /// Begins a unit; false if the workload has none left.
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

    /// Sends the requests that have arrived by now, as far as sessions have room, and sets the timer to the next
    /// arrival.
    fn send_arrivals(&mut self, gap_ns: f64) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        let count = self.sessions.len();
        let was_full = std::mem::take(&mut self.is_full);
        while self.due_ns <= now as f64 && !self.exhausted {
            let free = (0..count)
                .map(|offset| (self.turn + offset) % count)
                .find(|index| self.driver.has_room(*index, &self.sessions[*index]));
            let Some(index) = free else {
                self.is_full = true;
                break;
            };
            // An arrival that waited for room is late because of the server.
            if !was_full && self.phase == Phase::Measure {
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
        // All requests of a session leave in one write, as in a closed loop.
        let mut arrived = std::mem::take(&mut self.arrived);
        for index in arrived.drain(..) {
            let session = &mut self.sessions[index];
            if !session.unsent.is_empty() {
                let sent = session.send_rest();
                self.handle_loss(index, sent)?;
            }
        }
        self.arrived = arrived;
        if self.exhausted || self.is_full {
            return Ok(());
        }
        self.timer.set(self.due_ns, self.shared.now_ns()).map_err(refused)
    }

    /// Ends the arrivals and the connects, and counts the arrivals that found no room.
    fn end_arrivals(&mut self) {
        if let Some(gap_ns) = self.gap_ns {
            let behind_ns = (self.shared.now_ns() as f64 - self.due_ns).max(0.0);
            self.tally.behind = Duration::from_nanos(behind_ns as u64);
            self.tally.unsent = if self.is_full { (behind_ns / gap_ns) as u64 + 1 } else { 0 };
        }
        // The next try of a connect storm has not begun, so no reply is due.
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

    /// Closes a connection that failed and plans the next try.
    ///
    /// # Errors
    /// The failure itself, if sessions do not connect again or no server took this one for too long.
    fn handle_loss(&mut self, index: usize, done: Result<(), NoConnection>) -> Result<(), NoConnection> {
        let Err(error) = done else { return Ok(()) };
        self.out.clear();
        let now_ns = self.shared.now_ns();
        let counts_from_ns = self.counts_from_ns();
        let session = &mut self.sessions[index];
        if session.is_closing && session.sent.is_empty() {
            session.disconnect();
            session.forget();
            return self.refill(index, now_ns);
        }
        // Another server of the ensemble refuses it as well.
        let is_refused = matches!(error, NoConnection::Login { .. } | NoConnection::RequiresSasl { .. });
        if is_refused || !self.settings.reconnect {
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
        let units = self.driver.on_lost(&mut Turn { index, session, now_ns, counts_from_ns, tally, out });
        let session = &mut self.sessions[index];
        session.disconnect();
        session.units = units;
        if self.phase == Phase::Drain {
            session.units = 0;
            self.shared.note_lost_draining();
        }
        let away = &mut self.away[index];
        away.was_open |= was_open;
        if away.since_ns == 0 {
            *away = Away { since_ns: now_ns, tries: 0, ..*away };
        } else if now_ns - away.since_ns > GIVE_UP_NS {
            return Err(error);
        }
        // All servers are tried without a pause, one after the other, then all again after a pause.
        let round_is_over = away.tries > 0 && away.tries.is_multiple_of(self.servers.len());
        away.retry_ns = now_ns + if round_is_over { RETRY_NS } else { 0 };
        self.any_away = true;
        if let Some(over) = self.driver.take_finished() {
            self.sessions[over].units -= 1;
        }
        Ok(())
    }

    /// Connects the sessions whose next try is due.
    fn connect_again(&mut self) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        let mut any_away = false;
        for index in 0..self.sessions.len() {
            let away = &mut self.away[index];
            if away.retry_ns == 0 || away.retry_ns > now {
                any_away |= away.retry_ns > 0;
                continue;
            }
            away.tried = away.next_server(self.servers.len());
            let server = &self.servers[away.tried];
            away.retry_ns = 0;
            away.tries += 1;
            let session = &mut self.sessions[index];
            session.received_at_ns = now;
            let connected = match session.connect(&server.name, server.address) {
                Ok(()) => self.register(index),
                Err(error) => Err(NoConnection::Io { server: server.name.clone(), error }),
            };
            self.handle_loss(index, connected)?;
            any_away |= self.away[index].retry_ns > 0;
        }
        self.any_away = any_away;
        Ok(())
    }

    /// Pings for sessions that sent nothing for a third of their timeout, and gives up on servers that are silent for
    /// two thirds of it, as the Java client does.
    fn check_keepalives(&mut self) -> Result<(), NoConnection> {
        let now = self.shared.now_ns();
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            let silent_ns = now.saturating_sub(session.received_at_ns);
            let third_ns = session.timeout_ms * 1_000_000 / 3;
            let done = match session.state {
                State::Closed => Ok(()),
                State::Connecting | State::Requesting | State::Authenticating if silent_ns > CONNECT_NS => {
                    Err(session.timed_out(silent_ns))
                }
                State::Connecting | State::Requesting | State::Authenticating => Ok(()),
                State::Open
                    if self.settings.reconnect
                        && session.sent_at_ns > session.received_at_ns
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
            self.handle_loss(index, done)?;
        }
        Ok(())
    }
}

/// Takes the reply to a session request.
fn on_granted(
    turn: &mut Turn<'_>,
    away: &mut Away,
    driver: &mut dyn Driver,
    frame: &[u8],
) -> Result<(), NoConnection> {
    let had_session = turn.session.id.is_some();
    let granted = turn.session.take_grant(frame)?;
    if granted == Granted::Refused {
        turn.tally.trouble.expired += u64::from(had_session);
        return Err(if had_session { turn.session.expired() } else { turn.session.closed() });
    }
    away.granted = Some(granted);
    on_open(turn, away, driver);
    Ok(())
}

/// Tells the driver of a session that is open, which one that still authenticates is not.
fn on_open(turn: &mut Turn<'_>, away: &mut Away, driver: &mut dyn Driver) {
    if turn.session.state == State::Authenticating {
        return;
    }
    let granted = away.granted.take().expect("a session is granted before it is open");
    turn.tally.trouble.reconnects += u64::from(away.was_open);
    *away = away.opened();
    driver.on_open(turn, granted);
}

/// Takes a reply or an event of an open session.
fn on_frame(turn: &mut Turn<'_>, driver: &mut dyn Driver, frame: &[u8]) -> Result<(), NoConnection> {
    let mut reader = Reader::new(frame);
    let header = ReplyHeader::read(&mut reader).map_err(|short| turn.session.protocol(short.to_string()))?;
    if header.xid == XID_PING {
        return Ok(());
    }
    if header.xid == XID_NOTIFICATION {
        let event = WatcherEvent::read(&header, &mut reader)
            .map_err(|short| turn.session.protocol(short.to_string()))?;
        if let Err(wrong) = driver.on_event(turn, &event) {
            turn.tally.wrong(Op::default(), &wrong);
        }
        return Ok(());
    }
    turn.session.check_served(header.err)?;
    let Some(sent) = turn.session.sent.pop_front() else {
        return Err(turn.session.protocol("a reply without a request".to_owned()));
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
    if let Err(wrong) = driver.on_reply(turn, sent, reply) {
        turn.tally.wrong(sent.op, &wrong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions of one server go to all others, and each tries every server once in a round.
    #[test]
    fn servers_are_tried_in_turn() {
        const SERVERS: usize = 5;
        let order = |number: usize| -> Vec<usize> {
            let away = Away { tried: number % SERVERS, number, ..Away::default() }.opened();
            (0..SERVERS).map(|tries| Away { tries, ..away }.next_server(SERVERS)).collect()
        };
        let orders: Vec<Vec<usize>> = (0..4).map(|nth| order(2 + nth * SERVERS)).collect();
        for order in &orders {
            let mut servers = order.clone();
            servers.sort_unstable();
            assert_eq!((servers, order[4]), (vec![0, 1, 2, 3, 4], 2), "{orders:?}");
        }
        let firsts: Vec<usize> = orders.iter().map(|order| order[0]).collect();
        assert_eq!(firsts, [3, 4, 0, 1]);
        assert_eq!(Away::default().next_server(1), 0);
    }
}
