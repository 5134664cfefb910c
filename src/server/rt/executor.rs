//! One thread's tasks and timers, over the reactor of an engine, which knows what its sockets did.
//!
//! A pass runs every task that was runnable when it began, and some that became so meanwhile, then looks at the sockets;
//! a task that woke itself runs again after that. With nothing to run the thread sleeps in the reactor. Waking a task of
//! the same thread is a push to a queue; from another thread it is a lock, and a write to an eventfd only where this one
//! sleeps.

use super::probe::Refused;
use super::wait::Wait;
use super::{epoll, ring};
use crate::server::alarm::SHORT;
use crate::server::cores::{Cpu, pin};
use crate::server::helper;
use async_task::{Runnable, ScheduleInfo, WithInfo};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Tasks that a pass runs, if there are as many, before it looks at sockets: one wakes the next, and a look in
/// between would cost more than they do.
const TASKS: usize = 32;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
    /// Number of the executor that runs here; no executor has number 0.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static RUNNABLE: RefCell<VecDeque<Runnable>> = const { RefCell::new(VecDeque::new()) };
    /// Tasks that have let others go first: they run again after the next look at the sockets.
    static YIELDED: RefCell<VecDeque<Runnable>> = const { RefCell::new(VecDeque::new()) };
}

/// The executor of this thread.
pub fn current() -> Option<Rc<Executor>> {
    CURRENT.with_borrow(Clone::clone)
}

/// What sockets did, by one of the kernel's two ways to say it.
pub enum Reactor {
    /// Readiness.
    Epoll(Rc<epoll::Reactor>),
    /// Completion.
    Ring(Rc<ring::Reactor>),
}

/// Ends the sleep of a reactor, from any thread.
pub enum Wake {
    Epoll(mio::Waker),
    Ring(ring::Wake),
}

impl Reactor {
    /// On epoll, and what ends its sleep.
    ///
    /// # Errors
    /// The kernel refuses a descriptor.
    pub fn epoll() -> io::Result<(Self, Wake)> {
        let (reactor, waker) = epoll::Reactor::open()?;
        Ok((Self::Epoll(Rc::new(reactor)), Wake::Epoll(waker)))
    }

    /// On io_uring, and what ends its sleep. Belongs to the calling thread.
    ///
    /// # Errors
    /// The kernel is older than 6.1, or refuses.
    pub fn ring() -> io::Result<(Self, Wake)> {
        let opened = ring::Reactor::open();
        let (reactor, wake) =
            opened.map_err(|error| io::Error::other(Refused::new("a ring for each view", error)))?;
        Ok((Self::Ring(Rc::new(reactor)), Wake::Ring(wake)))
    }

    fn wait(&self, wait: Wait) {
        match self {
            Self::Epoll(reactor) => reactor.wait(wait),
            Self::Ring(reactor) => reactor.wait(wait),
        }
    }
}

impl Wake {
    fn wake(&self) {
        let woken = match self {
            Self::Epoll(waker) => waker.wake(),
            Self::Ring(wake) => wake.wake(),
        };
        assert!(woken.is_ok(), "a shard cannot be woken: {woken:?}");
    }
}

/// A running shard.
pub struct Shard(JoinHandle<()>);

/// Starts a shard that stays on `cpu`, if there is one; `reactor` makes its reactor, on its thread.
///
/// # Errors
/// The kernel refuses the thread, or the reactor.
pub fn spawn<F>(
    cpu: Cpu,
    name: &str,
    reactor: impl FnOnce() -> io::Result<(Reactor, Wake)> + Send + 'static,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<Shard>
where
    F: Future<Output = ()> + 'static,
{
    let (sender, started) = sync_channel(1);
    let what = name.to_owned();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        pin(&what, cpu);
        let executor = match reactor() {
            Ok((reactor, wake)) => Rc::new(Executor::new(reactor, wake)),
            Err(error) => return drop(sender.send(Err(error))),
        };
        // The caller waits for nothing else.
        let _ = sender.send(Ok(()));
        executor.run(main);
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")))?;
    Ok(Shard(thread))
}

impl Shard {
    /// Waits for it to end; an error if it panicked.
    pub fn join(self) -> io::Result<()> {
        self.0.join().map_err(|_| io::Error::other("its thread panicked"))
    }
}

/// Where other threads put tasks that they wake.
struct Gate {
    number: u64,
    arrived: Mutex<Arrived>,
    /// The thread sleeps in its reactor, or is about to; the thread that finds this set wakes it.
    is_asleep: AtomicBool,
    wake: Wake,
}

#[derive(Default)]
struct Arrived {
    tasks: VecDeque<Runnable>,
    is_closed: bool,
}

impl Gate {
    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, task: Runnable, info: ScheduleInfo) {
        if NUMBER.get() == self.number {
            let queue = if info.woken_while_running { &YIELDED } else { &RUNNABLE };
            return queue.with_borrow_mut(|queue| queue.push_back(task));
        }
        let mut arrived = self.arrived();
        if arrived.is_closed {
            // Only its own thread may drop what it holds, and that has ended: the process is about to.
            return std::mem::forget(task);
        }
        arrived.tasks.push_back(task);
        drop(arrived);
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            self.wake.wake();
        }
    }
}

/// What a timer is for.
struct Due {
    waker: Waker,
    /// A millisecond more would matter.
    is_short: bool,
}

/// One thread's tasks.
pub struct Executor {
    reactor: Reactor,
    gate: Arc<Gate>,
    timers: RefCell<BTreeMap<(Instant, u64), Due>>,
    /// Timers ever set.
    set: Cell<u64>,
    /// The thread for what blocks, once there was something.
    helper: RefCell<Option<Sender<Runnable>>>,
}

impl Executor {
    fn new(reactor: Reactor, wake: Wake) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let gate = Gate {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            arrived: Mutex::default(),
            is_asleep: AtomicBool::new(false),
            wake,
        };
        Self {
            reactor,
            gate: Arc::new(gate),
            timers: RefCell::default(),
            set: Cell::new(0),
            helper: RefCell::default(),
        }
    }

    /// What its sockets are registered with.
    pub fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    fn run<F: Future<Output = ()> + 'static>(self: Rc<Self>, main: impl FnOnce() -> F) {
        NUMBER.set(self.gate.number);
        CURRENT.set(Some(self.clone()));
        let is_done = Rc::new(Cell::new(false));
        let (main, done) = (main(), is_done.clone());
        self.spawn_local(async move {
            main.await;
            done.set(true);
        });
        loop {
            let pass = RUNNABLE.with_borrow(VecDeque::len).max(TASKS);
            for _ in 0..pass {
                let Some(task) = RUNNABLE.with_borrow_mut(VecDeque::pop_front) else { break };
                task.run();
            }
            if is_done.get() {
                break;
            }
            self.take_in();
        }
        // What was written last goes to the kernel, and what did not go at once waits there for its client.
        self.reactor.wait(Wait::Poll);
        self.reactor.wait(Wait::Poll);
        self.close();
    }

    /// Takes in what has happened, after waiting for it if there is nothing to run.
    fn take_in(&self) {
        let is_idle = self.take_arrived();
        let wait = if is_idle { self.sleep_at_most() } else { Wait::Poll };
        let is_asleep = &self.gate.is_asleep;
        is_asleep.store(is_idle, Ordering::SeqCst);
        // Stored before the second look: either this finds what another thread has put, or that one finds this asleep.
        let wait = if is_idle && !self.take_arrived() { Wait::Poll } else { wait };
        self.reactor.wait(wait);
        is_asleep.store(false, Ordering::Relaxed);
        self.fire();
    }

    /// Until the next timer is due.
    fn sleep_at_most(&self) -> Wait {
        let timers = self.timers.borrow();
        let Some((first, _)) = timers.keys().next() else { return Wait::Event };
        let time = first.saturating_duration_since(Instant::now());
        // One that follows within a millisecond counts as well.
        let rounded_to = (*first + Duration::from_millis(1), u64::MAX);
        let is_precise = timers.range(..=rounded_to).any(|(_, due)| due.is_short);
        Wait::AtMost { time, is_precise }
    }

    /// Takes over what other threads have woken; `true` if nothing is runnable.
    fn take_arrived(&self) -> bool {
        RUNNABLE.with_borrow_mut(|runnable| {
            YIELDED.with_borrow_mut(|yielded| runnable.append(yielded));
            runnable.append(&mut self.gate.arrived().tasks);
            runnable.is_empty()
        })
    }

    fn fire(&self) {
        let mut timers = self.timers.borrow_mut();
        let Some((first, _)) = timers.keys().next() else { return };
        let now = Instant::now();
        if *first > now {
            return;
        }
        let later = timers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut *timers, later);
        drop(timers);
        due.into_values().for_each(|due| due.waker.wake());
    }

    /// Lets go of all tasks while their thread is there to drop them.
    fn close(&self) {
        CURRENT.set(None);
        loop {
            let mut left = RUNNABLE.take();
            left.append(&mut YIELDED.take());
            let mut arrived = self.gate.arrived();
            let tasks = std::mem::take(&mut arrived.tasks);
            arrived.is_closed = left.is_empty() && tasks.is_empty();
            if arrived.is_closed {
                return;
            }
            // What they hold may wake others.
            drop(arrived);
        }
    }

    /// Runs `future` as a task.
    pub fn spawn_local(&self, future: impl Future<Output = ()> + 'static) {
        let gate = self.gate.clone();
        let (task, handle) =
            async_task::spawn_local(future, WithInfo(move |task, info| gate.put(task, info)));
        handle.detach();
        task.schedule();
    }

    /// Waits.
    pub async fn sleep(self: Rc<Self>, duration: Duration) {
        let key = (Instant::now() + duration, self.set.get());
        self.set.set(key.1 + 1);
        let is_short = duration < SHORT;
        let timer = Timer { executor: self, key };
        poll_fn(|cx| {
            if Instant::now() >= key.0 {
                return Poll::Ready(());
            }
            timer.executor.timers.borrow_mut().insert(key, Due { waker: cx.waker().clone(), is_short });
            Poll::Pending
        })
        .await;
    }

    /// Runs `work` on the thread for what blocks, one after the other.
    pub async fn blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        let jobs = {
            let mut helper = self.helper.borrow_mut();
            if helper.is_none() {
                *helper = start_helper();
            }
            helper.clone()
        };
        // Without a thread the work is done here: others wait meanwhile, and the next time there may be one.
        let Some(jobs) = jobs else { return work() };
        let (job, done) = async_task::spawn(async move { work() }, move |job| {
            // It takes jobs as long as there is a sender.
            let sent = jobs.send(job);
            assert!(sent.is_ok(), "the helper thread has ended");
        });
        job.schedule();
        done.await
    }
}

/// A thread that runs what blocks, until this executor ends; `None` where the system has none to give.
fn start_helper() -> Option<Sender<Runnable>> {
    let (sender, jobs) = mpsc::channel::<Runnable>();
    let main = move || {
        jobs.into_iter().for_each(|job| {
            job.run();
        });
    };
    match helper::spawn("zkfast-files", main) {
        Ok(_) => Some(sender),
        Err(error) => {
            log::warn!(target: "server", "no thread for files: {error}; a view writes them itself and its clients wait");
            None
        }
    }
}

/// A timer that is set, until it is dropped.
struct Timer {
    executor: Rc<Executor>,
    key: (Instant, u64),
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.executor.timers.borrow_mut().remove(&self.key);
    }
}
