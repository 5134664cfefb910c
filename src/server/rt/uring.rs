//! Executors, sockets and timers of glommio.
//!
//! Used in a restricted way: the default task queue only, no latency class and no short preempt timer
//! (an executor may park while a task is runnable), a timer that ticks in every executor (bounds such
//! a stall to a tick), the smallest registered memory (it is charged against memlock three times over).

use crate::server::cores::Cpu;
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{AcceptedTcpStream, TcpListener, TcpStream};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Smallest registered memory that glommio takes.
const IO_MEMORY_BYTES: usize = 64 << 10;
const RING_DEPTH: usize = 128;
/// Out of reach: shards bound their own work.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// A running shard.
pub struct Shard(ExecutorJoinHandle<()>);

/// Starts a shard that stays on `cpu`, if there is one.
///
/// # Errors
/// The CPU does not exist, or the kernel refuses another ring.
pub fn spawn<F>(cpu: Cpu, name: &str, main: impl FnOnce() -> F + Send + 'static) -> io::Result<Shard>
where
    F: Future<Output = ()> + 'static,
{
    let builder = LocalExecutorBuilder::new(cpu.map_or(Placement::Unbound, Placement::Fixed))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER);
    builder.spawn(main).map(Shard).map_err(io::Error::from)
}

impl Shard {
    /// Waits for it to end; an error if it panicked.
    pub fn join(self) -> io::Result<()> {
        self.0.join().map_err(io::Error::from)
    }
}

/// Runs `future` beside the caller, on its shard, to its end.
pub fn spawn_local(future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(future).detach();
}

/// Waits.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Wakes a task once the channels were looked at: where one wakes itself the queue never runs dry, and glommio looks at
/// nothing else for seconds.
pub fn again(waker: std::task::Waker) {
    spawn_local(async move {
        sleep(Duration::from_micros(20)).await;
        waker.wake();
    });
}

/// Runs what blocks (files, names) on the shard's helper thread.
pub fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> impl Future<Output = R> {
    glommio::executor().spawn_blocking(work)
}

/// A listening socket.
pub struct Listener(TcpListener);

impl Listener {
    /// Takes over a socket that listens already. glommio's own `bind` would share the port with
    /// another server (SO_REUSEPORT) instead of saying that it is taken.
    pub fn adopt(listener: std::net::TcpListener) -> Self {
        // SAFETY: `into_raw_fd` gives the descriptor away, and it is a listening socket.
        #[allow(unsafe_code)]
        Self(unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) })
    }

    /// The next connection, for any shard to adopt.
    ///
    /// # Errors
    /// As `accept`: also errors of one connection, or of too many descriptors, after which the next
    /// call may well work.
    pub async fn accept(&self) -> io::Result<Accepted> {
        self.0.shared_accept().await.map(Accepted).map_err(io::Error::from)
    }
}

/// A connection on its way to the shard that will serve it.
pub struct Accepted(AcceptedTcpStream);

impl Accepted {
    /// Makes it this shard's, and says who the other side is.
    ///
    /// # Errors
    /// It is gone.
    pub fn adopt(self) -> io::Result<(Stream, SocketAddr)> {
        let stream = self.0.bind_to_executor();
        let peer = stream.peer_addr()?;
        Ok((Stream(stream), peer))
    }
}

/// A connection.
pub struct Stream(TcpStream);

impl Stream {
    /// Reads what is there; 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }

    /// Writes what goes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    /// Ends the connection after what was written.
    pub async fn close(self) {
        // The other side may be gone already.
        let _ = self.0.shutdown(std::net::Shutdown::Write).await;
    }
}
