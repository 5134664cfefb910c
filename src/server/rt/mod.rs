//! The runtime of the shards: executors, sockets, timers, on one of two engines.
//!
//! [`Engine::Epoll`] is our own: a request that comes alone costs it little more than half of what the other takes, and
//! every container allows it. [`Engine::Uring`] is glommio's, on io_uring. Both run one thread a shard; what runs on a
//! shard neither knows nor asks which it is.

#[cfg(test)]
mod tests;

mod epoll;
mod uring;

use crate::config::Engine;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// A running shard.
pub enum Shard {
    Uring(uring::Shard),
    Epoll(epoll::Shard),
}

/// Starts a shard on `core`.
///
/// # Errors
/// The core does not exist, or the kernel refuses another ring, thread or epoll.
pub fn spawn<F>(
    engine: Engine,
    core: usize,
    name: &str,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<Shard>
where
    F: Future<Output = ()> + 'static,
{
    match engine {
        Engine::Uring => uring::spawn(core, name, main).map(Shard::Uring),
        Engine::Epoll => epoll::spawn(core, name, main).map(Shard::Epoll),
    }
}

impl Shard {
    /// Waits for it to end; an error if it panicked.
    pub fn join(self) -> io::Result<()> {
        match self {
            Self::Uring(shard) => shard.join(),
            Self::Epoll(shard) => shard.join(),
        }
    }
}

/// Runs `future` beside the caller, on its shard, to its end.
pub fn spawn_local(future: impl Future<Output = ()> + 'static) {
    match epoll::current() {
        Some(executor) => executor.spawn_local(future),
        None => uring::spawn_local(future),
    }
}

/// Waits.
pub async fn sleep(duration: Duration) {
    match epoll::current() {
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
    match epoll::current() {
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
    match epoll::current() {
        Some(executor) => executor.blocking(work).await,
        None => uring::blocking(work).await,
    }
}

/// A listening socket.
pub enum Listener {
    Uring(uring::Listener),
    Epoll(epoll::Listener),
}

impl Listener {
    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub fn adopt(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(match epoll::current() {
            Some(executor) => Self::Epoll(executor.listen(listener)?),
            None => Self::Uring(uring::Listener::adopt(listener)),
        })
    }

    /// The next connection, for any shard to adopt.
    ///
    /// # Errors
    /// As `accept`: also errors of one connection, or of too many descriptors, after which the next
    /// call may well work.
    pub async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Uring(listener) => Accepted::Uring(listener.accept().await?),
            Self::Epoll(listener) => {
                let (stream, peer) = listener.accept().await?;
                Accepted::Epoll(stream, peer)
            }
        })
    }
}

/// A connection on its way to the shard that will serve it.
pub enum Accepted {
    Uring(uring::Accepted),
    Epoll(std::net::TcpStream, SocketAddr),
}

impl Accepted {
    /// Makes it this shard's, and says who the other side is (an IPv4 address as one).
    ///
    /// # Errors
    /// The kernel does not watch it, or it is gone.
    pub fn adopt(self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = match (self, epoll::current()) {
            (Self::Uring(accepted), _) => {
                let (stream, peer) = accepted.adopt()?;
                (Stream::Uring(stream), peer)
            }
            (Self::Epoll(accepted, peer), Some(executor)) => (Stream::Epoll(executor.adopt(accepted)?), peer),
            (Self::Epoll(..), None) => unreachable!("all shards of a server stand on one engine"),
        };
        Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
    }
}

/// A connection.
pub enum Stream {
    Uring(uring::Stream),
    Epoll(epoll::Stream),
}

impl Stream {
    /// Reads what is there; 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Uring(stream) => stream.poll_read(cx, buffer),
            Self::Epoll(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Writes what goes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Uring(stream) => stream.poll_write(cx, bytes),
            Self::Epoll(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Says that nothing more comes. A client that has sent what was not read any more then finds the end after the last
    /// reply; without, the kernel would only tell it that the connection was reset.
    pub async fn shutdown(&self) {
        match self {
            Self::Uring(stream) => stream.shutdown().await,
            Self::Epoll(stream) => stream.shutdown(),
        }
    }
}
