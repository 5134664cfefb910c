//! The runtime of the shards: executors, sockets, timers, on one of two engines.
//!
//! ```text
//! executor  a thread's tasks and timers, over
//!   epoll   sockets by readiness: works everywhere
//!   ring    sockets by completion, on io_uring from Linux 6.1 on, which receives into
//!     buffers  what the kernel fills and lends
//! uring     glommio's executor and sockets, where io_uring is older than that
//! choice    which of the three serves, after
//!   probe   has tried whether the ring works
//! ```
//!
//! What runs on a shard neither knows nor asks which it is.

#[cfg(test)]
mod tests;

mod buffers;
mod choice;
mod epoll;
mod executor;
mod probe;
mod ring;
mod uring;
mod wait;

use super::cores::Cpu;
use crate::config::Engine;
pub use choice::{Choice, choose};
use executor::Reactor;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long the end of a connection waits for a client that does not take the last bytes.
const LAST: Duration = Duration::from_secs(1);

/// A running shard.
pub enum Shard {
    Uring(uring::Shard),
    Own(executor::Shard),
}

/// What shards stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// epoll.
    Epoll,
    /// io_uring, by a ring of our own.
    Ring,
    /// io_uring, through glommio.
    Glommio,
}

impl Backend {
    /// The engine that it is, as `--engine` and the log name it.
    pub fn engine(self) -> Engine {
        match self {
            Self::Epoll => Engine::Epoll,
            Self::Ring | Self::Glommio => Engine::Uring,
        }
    }
}

/// Starts a shard that stays on `cpu`, if there is one.
///
/// # Errors
/// The CPU does not exist, or the kernel refuses another ring, thread or epoll.
pub fn spawn<F>(
    backend: Backend,
    cpu: Cpu,
    name: &str,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<Shard>
where
    F: Future<Output = ()> + 'static,
{
    match backend {
        Backend::Epoll => executor::spawn(cpu, name, Reactor::epoll, main).map(Shard::Own),
        Backend::Ring => executor::spawn(cpu, name, Reactor::ring, main).map(Shard::Own),
        Backend::Glommio => uring::spawn(cpu, name, main).map(Shard::Uring),
    }
}

impl Shard {
    /// Waits for it to end; an error if it panicked.
    pub fn join(self) -> io::Result<()> {
        match self {
            Self::Uring(shard) => shard.join(),
            Self::Own(shard) => shard.join(),
        }
    }
}

/// Runs `future` beside the caller, on its shard, to its end.
pub fn spawn_local(future: impl Future<Output = ()> + 'static) {
    match executor::current() {
        Some(executor) => executor.spawn_local(future),
        None => uring::spawn_local(future),
    }
}

/// Waits.
pub async fn sleep(duration: Duration) {
    match executor::current() {
        Some(executor) => executor.sleep(duration).await,
        None => uring::sleep(duration).await,
    }
}

/// Lets every other runnable task of this shard run once.
pub async fn yield_now() {
    futures_lite::future::yield_now().await;
}

/// Has the caller's task, which has more to do and returns, run again once sockets and timers were looked at.
pub fn again(cx: &Context<'_>) {
    match executor::current() {
        Some(_) => cx.waker().wake_by_ref(),
        None => uring::again(cx.waker().clone()),
    }
}

/// Lets other tasks have their turn, once sockets and timers were looked at.
pub async fn let_others() {
    let mut is_over = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return std::task::Poll::Ready(());
        }
        again(cx);
        std::task::Poll::Pending
    })
    .await;
}

/// Runs what blocks (files, names) on the shard's helper thread.
pub async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match executor::current() {
        Some(executor) => executor.blocking(work).await,
        None => uring::blocking(work).await,
    }
}

/// A listening socket.
pub enum Listener {
    Uring(uring::Listener),
    Epoll(epoll::Listener),
    Ring(ring::Listener),
}

impl Listener {
    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub fn adopt(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(match executor::current().as_ref().map(|executor| executor.reactor()) {
            Some(Reactor::Epoll(reactor)) => Self::Epoll(reactor.listen(listener)?),
            Some(Reactor::Ring(reactor)) => Self::Ring(reactor.listen(listener)?),
            None => Self::Uring(uring::Listener::adopt(listener)),
        })
    }

    /// The next connection, for any shard to adopt.
    ///
    /// # Errors
    /// As `accept`: also errors of one connection, or of too many descriptors, after which the next
    /// call may well work.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = match self {
            Self::Uring(listener) => return Ok(Accepted::Uring(listener.accept().await?)),
            Self::Epoll(listener) => listener.accept().await?,
            Self::Ring(listener) => listener.accept().await?,
        };
        Ok(Accepted::Own(stream, peer))
    }
}

/// A connection on its way to the shard that will serve it.
pub enum Accepted {
    Uring(uring::Accepted),
    Own(std::net::TcpStream, SocketAddr),
}

impl Accepted {
    /// Makes it this shard's, and says who the other side is (an IPv4 address as one).
    ///
    /// # Errors
    /// The kernel does not watch it, or it is gone.
    pub fn adopt(self) -> io::Result<(Stream, SocketAddr)> {
        let executor = executor::current();
        let (stream, peer) = match (self, executor.as_ref().map(|executor| executor.reactor())) {
            (Self::Uring(accepted), _) => {
                let (stream, peer) = accepted.adopt()?;
                (Stream::Uring(stream), peer)
            }
            (Self::Own(accepted, peer), Some(Reactor::Epoll(reactor))) => {
                (Stream::Epoll(reactor.adopt(accepted)?), peer)
            }
            (Self::Own(accepted, peer), Some(Reactor::Ring(reactor))) => {
                (Stream::Ring(reactor.adopt(accepted)), peer)
            }
            (Self::Own(..), None) => unreachable!("all shards of a server stand on one engine"),
        };
        Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
    }
}

/// A connection.
pub enum Stream {
    Uring(uring::Stream),
    Epoll(epoll::Stream),
    Ring(ring::Stream),
}

impl Stream {
    /// Reads what is there; 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Uring(stream) => stream.poll_read(cx, buffer),
            Self::Epoll(stream) => stream.poll_read(cx, buffer),
            Self::Ring(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Writes what goes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Uring(stream) => stream.poll_write(cx, bytes),
            Self::Epoll(stream) => stream.poll_write(cx, bytes),
            Self::Ring(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Ends the connection after what was written, and frees its descriptor. A client that has sent what was not read any
    /// more then finds the end after the last reply. If the stream is dropped instead, the last bytes that were written
    /// may not go, and the kernel may only tell the client that the connection was reset.
    pub async fn close(self) {
        match self {
            Self::Uring(stream) => stream.close().await,
            Self::Epoll(stream) => stream.close(),
            Self::Ring(stream) => futures_lite::future::or(stream.close(), sleep(LAST)).await,
        }
    }
}
