//! Looks whether the kernel has what the ring needs, by doing it: versions say little where a distribution has its own
//! kernel, and a container's filter may allow a part.

use super::buffers::{self, Buffers};
use super::ring::{TRY, open_ring};
use crate::server::preflight;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a completion may take that is there at once.
const COMPLETION_TIME_MAX: Duration = Duration::from_secs(1);

/// What arrives in a part.
const WORD: &[u8] = b"ruok";

/// What the socket keeps for the other side, and much more than that.
const LITTLE: usize = 4 << 10;
const MUCH: usize = 256 << 10;

/// What io_uring does not do here, with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("io_uring does not work here ({step}: {error}): {remedy}")]
pub struct Refused {
    step: &'static str,
    error: io::Error,
    remedy: &'static str,
}

impl Refused {
    /// `step` has failed.
    pub fn new(step: &'static str, error: io::Error) -> Self {
        let remedy = preflight::io_uring_remedy(&error);
        Self { step, error, remedy }
    }

    /// True if the kernel has an io_uring, from before what the ring needs.
    pub fn is_old_kernel(&self) -> bool {
        self.error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
    }
}

/// Opens as many rings as `shards` will, since the kernel may count their memory against the user's limit, and has one more
/// receive and send on a pair of sockets.
///
/// # Errors
/// What does not work.
pub fn probe(shards: usize) -> Result<(), Refused> {
    let failed = |step| move |error| Refused::new(step, error);
    let mut ring = open_ring().map_err(failed("io_uring_setup"))?;
    let buffers = Buffers::register(&ring).map_err(failed("to register buffers"))?;
    let rings: io::Result<Vec<_>> = (0..shards).map(|_| open_ring()).collect();
    let rings = rings.map_err(failed("a ring for each view"))?;
    let works = works(&mut ring, &buffers);
    drop((ring, rings));
    works.map_err(|(step, error)| {
        // A request that did not end may still fill them.
        std::mem::forget(buffers);
        Refused::new(step, error)
    })
}

fn works(ring: &mut IoUring, buffers: &Buffers) -> Result<(), (&'static str, io::Error)> {
    let failed = |step| move |error| (step, error);
    let (own, other) = UnixStream::pair().map_err(failed("socketpair"))?;
    receives(ring, buffers, &own, &other).map_err(failed("to receive many times with one request"))?;
    sends(ring, &own, &other).map_err(failed("to send without waiting"))
}

/// One request receives twice, into buffers of the ring.
fn receives(
    ring: &mut IoUring,
    buffers: &Buffers,
    own: &UnixStream,
    mut other: &UnixStream,
) -> io::Result<()> {
    push(ring, &opcode::RecvMulti::new(Fd(own.as_raw_fd()), buffers::GROUP).build())?;
    for _ in 0..2 {
        other.write_all(WORD)?;
        let entry = next(ring)?.ok_or(Errno::TIMEDOUT)?;
        let length = check(entry.result())?;
        let number = cqueue::buffer_select(entry.flags()).ok_or_else(wrong)?;
        buffers.take(number);
        let is_right = cqueue::more(entry.flags()) && buffers.bytes(number, 0, length) == WORD;
        buffers.give_back(number);
        if !is_right {
            return Err(wrong());
        }
    }
    Ok(())
}

/// What is sent whole has no completion, and what is sent in part says how much went.
fn sends(ring: &mut IoUring, own: &UnixStream, mut other: &UnixStream) -> io::Result<()> {
    other.set_nonblocking(true)?;
    rustix::net::sockopt::set_socket_send_buffer_size(own, LITTLE)?;
    let mut received = vec![0; MUCH];
    send(ring, own, WORD)?;
    // The second one's completion comes first.
    send(ring, own, &received)?;
    let sent = check(next(ring)?.ok_or(Errno::TIMEDOUT)?.result())?;
    let mut arrived = 0;
    loop {
        match other.read(&mut received) {
            Ok(0) => return Err(Errno::PIPE.into()),
            Ok(length) => arrived += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    if sent == 0 || sent >= MUCH || arrived != WORD.len() + sent {
        return Err(wrong());
    }
    Ok(())
}

/// Sends `bytes` as far as they go at once.
fn send(ring: &mut IoUring, own: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    let send = opcode::Send::new(Fd(own.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32);
    push(ring, &send.flags(TRY.bits() as i32).build().flags(squeue::Flags::SKIP_SUCCESS))?;
    ring.submit()?;
    Ok(())
}

/// It works, and differently.
fn wrong() -> io::Error {
    io::Error::other("the kernel does something else")
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: a receive names a group of buffers that the ring is dropped before, and a send has ended when `submit`, which
    // follows it, returns.
    #[allow(unsafe_code)]
    let pushed = unsafe { ring.submission().push(entry) };
    pushed.map_err(io::Error::other)
}

/// The next completion; `None` if there is none in time.
fn next(ring: &mut IoUring) -> io::Result<Option<cqueue::Entry>> {
    let time_max = Timespec::from(COMPLETION_TIME_MAX);
    match ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time_max)) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(Errno::TIME.raw_os_error()) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(ring.completion().next())
}

/// The length that a completion gives, or its error.
fn check(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
