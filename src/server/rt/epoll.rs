//! Sockets by readiness, on epoll.
//!
//! A socket is watched, edge-triggered, from the first to the last moment, so a request that comes alone costs
//! `epoll_wait`, `recv` and `send`.

use super::wait::Wait;
use crate::server::alarm::Alarm;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Registry, Token, event};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Sockets whose news one `epoll_wait` brings at most.
const EVENTS: usize = 1024;

/// The eventfd by which other threads end a sleep.
const WAKE: Token = Token(usize::MAX);

/// The sockets of one thread.
pub struct Reactor {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    registry: Registry,
    /// Ends sleeps that must be precise.
    alarm: Alarm,
    sources: RefCell<Sources>,
}

impl Reactor {
    /// No sockets yet, and what ends its sleep.
    ///
    /// # Errors
    /// The kernel refuses an epoll, an eventfd or a timer.
    pub fn open() -> io::Result<(Self, mio::Waker)> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let wake = mio::Waker::new(&registry, WAKE)?;
        let alarm = Alarm::new(&registry, WAKE)?;
        let reactor = Self {
            poll: RefCell::new(poll),
            events: RefCell::new(Events::with_capacity(EVENTS)),
            registry,
            alarm,
            sources: RefCell::default(),
        };
        Ok((reactor, wake))
    }

    /// Wakes the tasks whose sockets have become ready.
    pub fn wait(&self, wait: Wait) {
        let timeout = match wait {
            Wait::Poll => Some(Duration::ZERO),
            Wait::Event => None,
            // `epoll_wait` counts milliseconds, and mio rounds up to them.
            Wait::AtMost { time, is_precise: false } => Some(time),
            Wait::AtMost { time, is_precise: true } => Some(self.alarm.bound(time)),
        };
        let mut events = self.events.borrow_mut();
        match self.poll.borrow_mut().poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => panic!("epoll_wait: {error}"),
        }
        for event in events.iter().filter(|event| event.token() != WAKE) {
            self.sources.borrow().note(event);
        }
    }

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub fn listen(self: &Rc<Self>, listener: std::net::TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(listener);
        let watched = Watched::new(self.clone(), &mut socket, Interest::READABLE)?;
        Ok(Listener { socket, watched })
    }

    /// Takes over a connection.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub fn adopt(self: &Rc<Self>, accepted: std::net::TcpStream) -> io::Result<Stream> {
        let mut socket = TcpStream::from_std(accepted);
        let watched = Watched::new(self.clone(), &mut socket, Interest::READABLE | Interest::WRITABLE)?;
        watched.source.writable.is_ready.set(true);
        Ok(Stream { socket, watched })
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
    reactor: Rc<Reactor>,
    token: Token,
    source: Rc<Source>,
}

impl Watched {
    fn new(reactor: Rc<Reactor>, socket: &mut impl event::Source, interest: Interest) -> io::Result<Self> {
        let source = Rc::new(Source::default());
        let token = reactor.sources.borrow_mut().put(source.clone());
        let watched = Self { reactor, token, source };
        watched.reactor.registry.register(socket, token, interest)?;
        Ok(watched)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Closing the socket, which has no second descriptor, takes it out of the epoll.
        let mut sources = self.reactor.sources.borrow_mut();
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

    /// Ends the connection after what was written.
    pub fn close(self) {
        // The other side may be gone already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
