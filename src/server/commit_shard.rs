//! The commit shard: the thread that drives the replica, or a view's in its place, and the server's [`World`].

use super::about::About;
use super::ensemble::EnsembleIo;
use super::hand_overs::Asked;
use super::log_writer::{LogThread, LogWriter};
use super::logging::Text;
use super::peers::Waiter;
use super::questions::Pending;
use super::restores::Arrived;
use super::signs::Signs;
use super::spsc::{Consumer, Notify, Producer};
use super::{Clock, EXIT_DATA, EXIT_HOST, EXIT_LOG, Phase, Shared, exit, fatal};
use crate::admin::{self, FourLetterWord, Status};
use crate::driver::{self, Driver, Fatal, Notice, TICK_US, Turn, World};
use crate::proto::Zxid;
use crate::replica::{Answered, Deltas, Now, Replica, Uplink};
use crate::storage::{Done, LogError};
use crate::wal::{Batch, Position};
use crate::zab::LinkId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long the shard's thread sleeps at most.
const TICK: Duration = Duration::from_micros(TICK_US as u64);

/// Turns that a view's thread takes in a row after which the shard's own goes on.
const TURNS_HERE: u32 = 2;

/// The channels of the commit shard.
pub struct Channels {
    /// From each view.
    pub uplinks: Vec<Consumer<Uplink>>,
    /// Of each view, beside its uplink: which clients are alive must not wait for the writes that came before.
    pub signs: Vec<Arc<Signs>>,
    /// To each view.
    pub deltas: Vec<Producer<Arc<Deltas>>>,
    /// The log.
    pub log: Log,
    /// From HTTP clients.
    pub from_http: FromHttp,
    /// Wakes this shard.
    pub notify: Notify,
}

/// What HTTP clients have for the commit shard.
pub struct FromHttp {
    /// What they ask.
    pub questions: Pending,
    /// Trees that they bring; a member takes none.
    pub restores: Option<Arrived>,
    /// That this server is to hand over its lead; also of the server itself when it stops.
    pub hand_overs: Asked,
}

/// Where the log is written.
pub enum Log {
    /// On the commit thread: all that waits for that waits for the log.
    Here(Box<LogWriter>),
    /// On another.
    There(LogThread),
    /// Nowhere any more: the server has stopped, and the log's thread ends.
    Ended,
}

/// The commit shard, for its thread and for views that do its work when it sleeps.
pub struct CommitShard {
    state: Mutex<State>,
    /// Its thread's.
    waker: OnceLock<Waker>,
    /// Wakes it.
    notify: Notify,
    /// Where it waits for the others, of a member.
    waiter: Mutex<Option<Waiter>>,
    /// Counts the beginnings and ends of groups that a member's commit thread writes itself; odd while it does.
    writes: AtomicU64,
}

struct State {
    driver: Driver,
    shell: Shell,
}

/// The server's world.
struct Shell {
    channels: Channels,
    /// In an ensemble: the others.
    ensemble: Option<Box<EnsembleIo>>,
    clock: Clock,
    shared: Arc<Shared>,
    about: Arc<About>,
    /// A group that this shard's thread writes itself, without anything of this shard meanwhile.
    aside: Option<(Arc<Batch>, Arc<Mutex<LogWriter>>)>,
}

/// The commit side of a server, whose log is durable through `durable` and ends at `log`.
pub fn new(
    replica: Replica,
    channels: Channels,
    ensemble: Option<EnsembleIo>,
    (durable, log): (Zxid, Position),
    clock: Clock,
    shared: Arc<Shared>,
    about: Arc<About>,
) -> CommitShard {
    let notify = channels.notify.clone();
    let driver = Driver::new(replica, channels.deltas.len(), clock.mono_us(), durable, log);
    let ensemble = ensemble.map(Box::new);
    let shell = Shell { channels, ensemble, clock, shared, about, aside: None };
    CommitShard {
        state: Mutex::new(State { driver, shell }),
        waker: OnceLock::new(),
        notify,
        waiter: Mutex::default(),
        writes: AtomicU64::new(0),
    }
}

impl CommitShard {
    /// Works as a thread, until the server stops and all that was accepted is published. It is woken by a futex, or by
    /// its sockets, which costs a fraction of waking an executor, and is free to block in the log.
    ///
    /// `waiter` tells of the others, where there are any.
    pub fn run(&self, waiter: Option<Waiter>) {
        let waker = match &waiter {
            None => Waker::from(Arc::new(Unpark(thread::current()))),
            Some(waiter) => Waker::from(Arc::new(Poke(waiter.waker()))),
        };
        // The kernel would add 50 us to the wait of a group for more.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let is_member = waiter.is_some();
        *lock(&self.waiter) = waiter;
        let _ = self.waker.set(waker);
        while let Some(timeout) = self.one_turn() {
            if is_member {
                self.wait_for_others(timeout);
            } else if !timeout.is_zero() {
                let parked = Instant::now();
                thread::park_timeout(timeout);
                if parked.elapsed() >= TICK
                    && let Log::Here(writer) = &mut self.state().shell.channels.log
                {
                    writer.idle();
                }
            }
        }
        let mut state = self.state();
        // Views hold this shard as well, and the log's thread waits for as long as it can be given a group.
        state.shell.channels.log = Log::Ended;
        state.shell.shared.set_phase(Phase::Stopped);
    }

    /// Takes a turn, writes the group that it made if that is to be done here, and says for how long there is nothing to do
    /// then; `None` once the server has stopped.
    fn one_turn(&self) -> Option<Duration> {
        let waker = self.waker.get()?;
        let (turn, aside) = {
            let mut state = self.state();
            // The thread that stands in may come after the last turn.
            if state.shell.shared.phase() == Phase::Stopped {
                return None;
            }
            if let Some(ensemble) = &mut state.shell.ensemble
                && let Some(waiter) = &*lock(&self.waiter)
            {
                ensemble.note(waiter);
            }
            (state.turn(waker, false), state.shell.aside.take())
        };
        let Some((batch, writer)) = aside else {
            return match turn {
                Turn::Over => None,
                Turn::Again => Some(Duration::ZERO),
                Turn::Idle => Some(TICK),
                Turn::Wait(us) => Some(Duration::from_micros(us as u64)),
            };
        };
        self.writes.fetch_add(1, Ordering::Release);
        let done = lock(&writer).group(batch);
        self.writes.fetch_add(1, Ordering::Release);
        if done.flushed.took_us >= TICK_US {
            // The thread that stood in may be waiting for the others.
            self.notify.notify();
        }
        self.state().written(done);
        Some(Duration::ZERO)
    }

    fn wait_for_others(&self, timeout: Duration) {
        if let Some(waiter) = &mut *lock(&self.waiter) {
            waiter.wait(timeout);
        }
    }

    /// Does this shard's work whenever its own thread, a member's, is held up by the disk; for a thread of its own.
    ///
    /// That thread writes the log itself while the disk is quick, which saves the wake-ups of another one. A quick disk may
    /// hang for seconds all the same: then the leader's pings are to be answered, and the signs of life of this server's
    /// clients told, or the leader ends their sessions.
    pub fn stand_in(&self) {
        let mut seen = 0;
        loop {
            thread::park_timeout(TICK);
            if self.state().shell.shared.phase() == Phase::Stopped {
                return;
            }
            let write = self.writes.load(Ordering::Acquire);
            let is_held_up = write % 2 == 1 && write == seen;
            seen = write;
            while is_held_up && self.writes.load(Ordering::Acquire) == write {
                // There is one group at a time, and it is being written.
                let timeout = self.one_turn().unwrap_or(TICK);
                self.wait_for_others(timeout);
            }
        }
    }

    /// Has what was sent up handled: `here` on the caller's thread if that can be, else on the shard's own.
    ///
    /// A write that comes alone takes as long as the disk does and two wake-ups of sleeping threads, each a sixth of
    /// that. A view that has nothing else to do may as well do it.
    ///
    /// Where the next group waits for more then, the caller has to come again after so long.
    pub fn submit(&self, here: bool) -> Option<Duration> {
        if here
            && let Some(waker) = self.waker.get()
            && let Ok(mut state) = self.state.try_lock()
            && state.shell.may_block()
        {
            for _ in 0..TURNS_HERE {
                match state.turn(waker, true) {
                    Turn::Again => {}
                    Turn::Wait(us) => return Some(Duration::from_micros(us as u64)),
                    Turn::Idle | Turn::Over => return None,
                }
            }
        }
        self.notify.notify();
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked with it has ended the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Does what there is to do. The log may be written `here` also where it has a thread of its own.
    fn turn(&mut self, waker: &Waker, here: bool) -> Turn {
        let Self { driver, shell } = self;
        shell.channels.notify.register(waker);
        let stopping = shell.shared.phase() != Phase::Running;
        driver.turn(shell, here, stopping).unwrap_or_else(|why| shell.end(&why))
    }

    /// The group that was put aside is written.
    fn written(&mut self, done: Done) {
        let Self { driver, shell } = self;
        driver.written(shell, done).unwrap_or_else(|why| shell.end(&why));
    }
}

impl Shell {
    /// Whether a turn holds up its thread no longer than the disk has lately.
    fn may_block(&self) -> bool {
        let is_quick = match &self.channels.log {
            Log::Here(writer) => writer.is_quick(),
            Log::There(log) => log.is_quick(),
            Log::Ended => false,
        };
        is_quick && self.ensemble.is_none()
    }

    /// Ends the process.
    fn end(&self, why: &Fatal) -> ! {
        match why {
            Fatal::Log(failed) => fatal::log_failed(&self.about.data_log_dir, failed),
            Fatal::Epochs(_) | Fatal::Install(..) => exit(EXIT_LOG, why),
            Fatal::Diverged(_) | Fatal::Reload(_) => exit(EXIT_DATA, why),
            Fatal::NoReload(_) => exit(EXIT_HOST, why),
        }
    }
}

impl World for Shell {
    type Clock = Clock;
    type Log = Self;
    type Views = Self;
    type Member = EnsembleIo;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn log(&mut self) -> &mut Self {
        self
    }

    fn views(&mut self) -> &mut Self {
        self
    }

    fn member(&mut self) -> Option<&mut EnsembleIo> {
        self.ensemble.as_deref_mut()
    }

    fn restores(&mut self) -> Option<&mut dyn driver::Restores> {
        self.channels.from_http.restores.as_mut().map(|arrived| arrived as _)
    }

    fn hand_overs(&mut self) -> Option<&mut dyn driver::HandOvers> {
        Some(&mut self.channels.from_http.hand_overs)
    }

    fn report(&mut self, notice: Notice) {
        match notice {
            Notice::StoodStill(ms) => {
                log::warn!(target: "server", "the commit shard stood still: took_ms={ms}");
            }
            Notice::ViewStoodStill(ms) => {
                log::warn!(target: "server", "a view stood still: took_ms={ms} then={}",
                    Text("sessions are given that time"));
            }
            Notice::TruncationUnknown(to, error) => {
                log::warn!(target: "zab", "not known whether the log can be cut: after={to} error={}", Text(&error));
            }
            Notice::LogUnread(error) => {
                log::warn!(target: "zab", "the log is not read for a learner, which gets a tree: error={}", Text(&error));
            }
        }
    }
}

impl driver::Clock for Clock {
    fn now(&self) -> Now {
        Self::now(self)
    }

    fn mono_us(&self) -> i64 {
        Self::mono_us(self)
    }
}

impl driver::Log for Shell {
    fn write(&mut self, batch: Arc<Batch>, here: bool) -> Result<Option<Done>, LogError> {
        if self.ensemble.is_some()
            && let Log::There(log) = &self.channels.log
            && let Some(writer) = log.quick_writer()
        {
            self.aside = Some((batch, writer));
            return Ok(None);
        }
        self.shared.begin_write();
        let done = match &mut self.channels.log {
            Log::Here(writer) => Some(writer.group(batch)),
            Log::There(log) => log.group(batch, here),
            Log::Ended => unreachable!("no turn is taken after the last"),
        };
        self.shared.end_write();
        Ok(done)
    }

    fn take_done(&mut self) -> Option<Done> {
        match &mut self.channels.log {
            Log::There(log) => log.take_done(),
            Log::Here(_) | Log::Ended => None,
        }
    }
}

impl driver::Views for Shell {
    fn take_uplink(&mut self, view: usize) -> Option<Uplink> {
        self.channels.uplinks[view].take()
    }

    fn take_signs(&mut self, view: usize) -> driver::Signs {
        self.channels.signs[view].take()
    }

    fn has_room(&self, view: usize) -> bool {
        self.channels.deltas[view].has_room()
    }

    fn put(&mut self, view: usize, deltas: Arc<Deltas>) {
        let sent = self.channels.deltas[view].put(deltas);
        assert!(sent.is_ok(), "there was room");
    }

    fn set_durable(&mut self, zxid: Zxid) {
        self.shared.set_durable(zxid);
    }

    fn render(&mut self, mut answered: Answered) -> Vec<u8> {
        self.about.fill_in(answered.word, &mut answered.status, &self.shared);
        if answered.word == FourLetterWord::Srst {
            self.shared.admission.forget_rejected();
        }
        admin::render(answered.word, &answered.status)
    }

    fn take_question(&mut self) -> Option<(u64, FourLetterWord, Option<i64>)> {
        self.channels.from_http.questions.take()
    }

    fn tell(&mut self, number: u64, mut status: Box<Status>) {
        for observer in &mut status.observers {
            let link = LinkId(observer.connection);
            let address = self.ensemble.as_ref().and_then(|ensemble| ensemble.address(link));
            observer.peer = address.map_or_else(String::new, |address| format!("/{address}"));
        }
        self.channels.from_http.questions.tell(number, status);
    }

    fn beat(&mut self) {
        self.shared.beat_commit();
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Wakes a thread that waits for its sockets.
struct Poke(Arc<mio::Waker>);

impl Wake for Poke {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.0.wake();
        assert!(woken.is_ok(), "the commit thread cannot be woken: {woken:?}");
    }
}
