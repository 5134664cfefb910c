//! An executor on epoll: one thread with its tasks, sockets and timers.
//!
//! A pass runs every task that was runnable when it began, and some that became so meanwhile, then looks at the sockets;
//! a task that woke itself runs again behind that. With nothing to run the thread sleeps in `epoll_wait`. Waking a task of the same thread is a push to a queue; from another thread it is a lock, and a
//! write to an eventfd only where this one sleeps. A socket is watched, edge-triggered, from the first to the last
//! moment, so a request that comes alone costs `epoll_wait`, `recv` and `send`.

use crate::server::alarm::{Alarm, SHORT};
use crate::server::helper;
use async_task::{Runnable, ScheduleInfo, WithInfo};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Registry, Token, event};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Sockets whose news one `epoll_wait` brings at most.
const EVENTS: usize = 1024;

/// Tasks that a pass runs, if there are as many, before it looks at sockets: one wakes the next, and a look in
/// between would cost more than they do.
const TASKS: usize = 32;

/// The eventfd by which other threads end a sleep.
const WAKE: Token = Token(usize::MAX);

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

/// A running shard.
pub struct Shard(JoinHandle<()>);

/// Starts a shard on `core`.
///
/// # Errors
/// The kernel refuses the thread, or an epoll.
pub fn spawn<F>(core: usize, name: &str, main: impl FnOnce() -> F + Send + 'static) -> io::Result<Shard>
where
    F: Future<Output = ()> + 'static,
{
    let (sender, started) = sync_channel(1);
    let what = name.to_owned();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        crate::server::cores::pin(&what, core);
        let made = Executor::new();
        let executor = match made {
            Ok(executor) => Rc::new(executor),
            Err(error) => return drop(sender.send(Err(error))),
        };
        // Who started it waits for nothing else.
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
    /// The thread is in `epoll_wait`, or about to be; the thread that finds this set wakes it.
    is_asleep: AtomicBool,
    waker: mio::Waker,
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
            let woken = self.waker.wake();
            assert!(woken.is_ok(), "a shard cannot be woken: {woken:?}");
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
    watch: RefCell<mio::Poll>,
    registry: Registry,
    gate: Arc<Gate>,
    timers: RefCell<BTreeMap<(Instant, u64), Due>>,
    /// Timers ever set.
    set: Cell<u64>,
    /// Ends sleeps that short timers bound.
    alarm: Alarm,
    sources: RefCell<Sources>,
    /// The thread for what blocks, once there was something.
    helper: RefCell<Option<Sender<Runnable>>>,
}

impl Executor {
    fn new() -> io::Result<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let watch = mio::Poll::new()?;
        let registry = watch.registry().try_clone()?;
        let gate = Gate {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            arrived: Mutex::default(),
            is_asleep: AtomicBool::new(false),
            waker: mio::Waker::new(&registry, WAKE)?,
        };
        let alarm = Alarm::new(&registry, WAKE)?;
        Ok(Self {
            watch: RefCell::new(watch),
            registry,
            alarm,
            gate: Arc::new(gate),
            timers: RefCell::default(),
            set: Cell::new(0),
            sources: RefCell::default(),
            helper: RefCell::default(),
        })
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
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let pass = RUNNABLE.with_borrow(VecDeque::len).max(TASKS);
            for _ in 0..pass {
                let Some(task) = RUNNABLE.with_borrow_mut(VecDeque::pop_front) else { break };
                task.run();
            }
            if is_done.get() {
                break;
            }
            self.look(&mut events);
        }
        self.close();
    }

    /// Takes in what has happened, after waiting for it if there is nothing to run.
    fn look(&self, events: &mut Events) {
        let is_idle = self.take_arrived();
        let timeout = match is_idle {
            false => Some(Duration::ZERO),
            true => self.sleep_at_most(),
        };
        let is_asleep = &self.gate.is_asleep;
        is_asleep.store(is_idle, Ordering::SeqCst);
        // Said before looking again: either this finds what another thread has put, or that one finds this asleep.
        let timeout = if is_idle && !self.take_arrived() { Some(Duration::ZERO) } else { timeout };
        match self.watch.borrow_mut().poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => panic!("epoll_wait: {error}"),
        }
        is_asleep.store(false, Ordering::Relaxed);
        for event in events.iter().filter(|event| event.token() != WAKE) {
            self.sources.borrow().note(event);
        }
        self.fire();
    }

    /// What to give to `epoll_wait`, which rounds up to milliseconds, so that the next timer rings in time, and short ones
    /// right behind it.
    fn sleep_at_most(&self) -> Option<Duration> {
        let timers = self.timers.borrow();
        let (first, _) = *timers.keys().next()?;
        let timeout = first.saturating_duration_since(Instant::now());
        let rounded_to = (first + Duration::from_millis(1), u64::MAX);
        let is_short = timers.range(..=rounded_to).any(|(_, due)| due.is_short);
        Some(if is_short { self.alarm.bound(timeout) } else { timeout })
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

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub fn listen(self: Rc<Self>, listener: std::net::TcpListener) -> io::Result<Listener> {
        let mut socket = TcpListener::from_std(listener);
        let watched = Watched::new(self, &mut socket, Interest::READABLE)?;
        Ok(Listener { socket, watched })
    }

    /// Takes over a connection.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub fn adopt(self: Rc<Self>, accepted: std::net::TcpStream) -> io::Result<Stream> {
        let mut socket = TcpStream::from_std(accepted);
        let watched = Watched::new(self, &mut socket, Interest::READABLE | Interest::WRITABLE)?;
        watched.source.writable.is_ready.set(true);
        Ok(Stream { socket, watched })
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

/// What can be done with a socket, in one direction.
#[derive(Default)]
struct Direction {
    is_ready: Cell<bool>,
    /// Who waits for it.
    waker: RefCell<Option<Waker>>,
}

impl Direction {
    fn ready(&self) {
        self.is_ready.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Does `work` if it may not block, until it would.
    fn poll<T>(&self, cx: &Context<'_>, mut work: impl FnMut() -> io::Result<T>) -> Poll<io::Result<T>> {
        while self.is_ready.get() {
            match work() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// What is known of a socket.
#[derive(Default)]
struct Source {
    readable: Direction,
    writable: Direction,
    /// The other side sends nothing more, so that the end is there to be read.
    is_ended: Cell<bool>,
}

/// Sockets by token.
#[derive(Default)]
struct Sources {
    slots: Vec<Option<Rc<Source>>>,
    free: Vec<usize>,
}

impl Sources {
    fn put(&mut self, source: Rc<Source>) -> Token {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[at] = Some(source);
        Token(at)
    }

    /// News of a socket that was there before in the same slot only make its successor look once more.
    fn note(&self, event: &event::Event) {
        let Some(Some(source)) = self.slots.get(event.token().0) else { return };
        if event.is_read_closed() || event.is_error() {
            source.is_ended.set(true);
        }
        if event.is_readable() || source.is_ended.get() {
            source.readable.ready();
        }
        if event.is_writable() || event.is_error() {
            source.writable.ready();
        }
    }
}

/// A socket's place among the sources.
struct Watched {
    executor: Rc<Executor>,
    token: Token,
    source: Rc<Source>,
}

impl Watched {
    fn new(executor: Rc<Executor>, socket: &mut impl event::Source, interest: Interest) -> io::Result<Self> {
        let source = Rc::new(Source::default());
        let token = executor.sources.borrow_mut().put(source.clone());
        let watched = Self { executor, token, source };
        watched.executor.registry.register(socket, token, interest)?;
        Ok(watched)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Closing the socket, which has no second descriptor, takes it out of the epoll.
        let mut sources = self.executor.sources.borrow_mut();
        sources.slots[self.token.0] = None;
        sources.free.push(self.token.0);
    }
}

/// A listening socket.
pub struct Listener {
    socket: TcpListener,
    watched: Watched,
}

impl Listener {
    /// The next connection, and who the other side is.
    ///
    /// # Errors
    /// Those of `accept`.
    pub async fn accept(&self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        let accepted = poll_fn(|cx| self.watched.source.readable.poll(cx, || self.socket.accept())).await;
        accepted.map(|(socket, peer)| (socket.into(), peer))
    }
}

/// A connection.
pub struct Stream {
    socket: TcpStream,
    watched: Watched,
}

impl Stream {
    /// Reads what is there; 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Source { readable, is_ended, .. } = &*self.watched.source;
        let room = buffer.len();
        let read = readable.poll(cx, || self.socket.read(buffer));
        // Less than there was room for was all there is: asking once more would only say so. The end is told at once.
        if let Poll::Ready(Ok(bytes)) = &read
            && *bytes < room
            && !is_ended.get()
        {
            readable.is_ready.set(false);
        }
        read
    }

    /// Writes what goes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watched.source.writable.poll(cx, || self.socket.write(bytes))
    }

    /// Says that nothing more comes.
    pub fn shutdown(&self) {
        // The other side may be gone already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
