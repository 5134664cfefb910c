//! Sockets by completion, on io_uring.
//!
//! A connection has one request in the kernel for all that it receives: bytes come in buffers that the ring lends
//! (`buffers`), and go back as soon as their task has read them. What tasks write in a pass is gathered for each
//! connection and handed over at its end, with the one system call in which the thread also waits. So one
//! `io_uring_enter` sends all answers of a pass and receives the requests of the next.
//!
//! **Sending.** A piece is sent with `MSG_DONTWAIT`, so that the kernel has copied it when the call returns, or has not.
//! Only a piece that did not go has a completion (`IOSQE_CQE_SKIP_SUCCESS`; `MSG_WAITALL` makes a part of a piece one that
//! did not go). It is sent again without `MSG_DONTWAIT`, which completes when the client has read, and until then the
//! connection takes no more. So a stream holds up to [`OUT_BYTES_MAX`] beyond what the kernel's socket holds.
//!
//! **Receiving.** The kernel goes on receiving until it is told not to: a connection whose task does not read is stopped
//! after [`PIECES_MAX`] pieces, and then fills its socket as on epoll. The kernel may put in up to 32 pieces before it sees
//! that; so the next requests of such a connection receive once each, until one finds less than a buffer holds. If the
//! buffers run out, what waits in them is copied aside.
//!
//! **Accepting.** `accept4` until no client waits, and then a request that tells when one does: clients that connect
//! together are served together, and their sessions share a flush of the log.
//!
//! **Ends.** A socket's place is given away when the last of its requests has ended; each request names its place. A task
//! waits for that, for a while, so that a connection's descriptor is free when it is counted as closed.
//!
//! Needs Linux 6.1: completions are delivered only when the thread asks for them, which saves it interrupts, and a send of
//! which a part went says how much that was. Older kernels lack one or the other.

use super::buffers::{self, Buffers};
use super::wait::Wait;
use io_uring::types::{self, CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Requests that are handed over together at most; more take more calls.
const ENTRIES: u32 = 256;

/// Completions that the kernel keeps before it must put them elsewhere.
const COMPLETIONS: u32 = 4096;

/// Pieces that may wait for a connection's task before the kernel is told to receive no more.
const PIECES_MAX: usize = 8;

/// Bytes that a stream takes before the end of the pass.
const OUT_BYTES_MAX: usize = 32 << 10;

/// Vectors that are kept for later output.
const SPARE_MAX: usize = 64;

/// How long the kernel may take to count the memory of a ring that was closed as free again.
const RETURNED: Duration = Duration::from_millis(500);

/// How long the end of a reactor waits for its last requests.
const END: Duration = Duration::from_secs(2);

/// Sends what goes, and gives the number of bytes.
const NOW: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// `MSG_WAITALL`: a send goes on until the last byte, and fails if it may not wait for that.
const LATER: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::from_bits_retain(0x100));
/// Sends all, or fails with the number of bytes that went.
pub const TRY: SendFlags = LATER.union(SendFlags::DONTWAIT);
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;

/// What a request is for, in the low byte of its user data; the number of the socket is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum For {
    Wake,
    Receive,
    Send,
    Accept,
    Cancel,
}

impl For {
    fn user_data(self, number: u32) -> u64 {
        u64::from(number) << 8 | self as u64
    }

    fn of(user_data: u64) -> (Self, u32) {
        let number = (user_data >> 8) as u32;
        let all = [Self::Wake, Self::Receive, Self::Send, Self::Accept, Self::Cancel];
        (all[usize::from(user_data as u8)], number)
    }
}

/// Bytes that were received and not read yet.
struct Piece {
    place: Place,
    /// Where in it the bytes begin and end.
    start: usize,
    end: usize,
}

enum Place {
    /// A buffer of the ring.
    Lent(u16),
    /// Copied aside, when the buffers had run out.
    Own(Vec<u8>),
}

impl Piece {
    fn bytes<'a>(&'a self, buffers: &'a Buffers) -> &'a [u8] {
        match &self.place {
            Place::Lent(number) => buffers.bytes(*number, self.start, self.end),
            Place::Own(bytes) => &bytes[self.start..self.end],
        }
    }

    /// Lets go of its buffer.
    fn free(self, buffers: &Buffers) {
        if let Place::Lent(number) = self.place {
            buffers.give_back(number);
        }
    }
}

/// The lasting request of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    /// There is none.
    Idle,
    /// The kernel has it.
    Armed,
    /// The kernel was told to end it.
    Ending,
}

/// What becomes of the bytes in `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// There are none.
    Idle,
    /// They go at the end of the pass.
    Gathered,
    /// The kernel has them, and says before the call returns if not all went.
    Tried,
    /// The kernel has them, and answers when the client has read.
    Waiting,
}

/// A socket, and what the kernel has of it.
struct Socket {
    number: u32,
    file: OwnedFd,
    /// Requests that the kernel has, but for cancellations.
    requests: Cell<u32>,
    is_dropped: Cell<bool>,
    /// What its lasting request is for: to receive, or to learn of clients to accept.
    receives: For,
    receiving: Cell<Receiving>,
    /// The kernel was stopped, and has found its socket full each time since.
    is_flooding: Cell<bool>,
    pieces: RefCell<VecDeque<Piece>>,
    /// Nothing more comes: 0, or the error's number.
    end: Cell<Option<i32>>,
    reader: Cell<Option<Waker>>,
    sending: Cell<Sending>,
    out: RefCell<Vec<u8>>,
    /// Bytes of `out` that the kernel has taken.
    sent: Cell<usize>,
    send_error: Cell<Option<i32>>,
    writer: Cell<Option<Waker>>,
}

impl Socket {
    fn descriptor(&self) -> types::Fd {
        types::Fd(self.file.as_raw_fd())
    }

    fn send_now(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::net::send(&self.file, bytes, NOW)
    }

    /// True if a task waits until what was written is sent.
    fn is_awaited(&self) -> bool {
        let writer = self.writer.take();
        let is_awaited = writer.is_some();
        self.writer.set(writer);
        is_awaited
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// Sockets by number.
#[derive(Default)]
struct Sockets {
    places: Vec<Option<Rc<Socket>>>,
    free: Vec<u32>,
}

/// Ends the sleep of a reactor, from any thread.
pub struct Wake(Arc<OwnedFd>);

impl Wake {
    /// # Errors
    /// None that are known.
    pub fn wake(&self) -> io::Result<()> {
        match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            // Full: it was not read for 2^64 wakes, and is readable.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The sockets of one thread.
pub struct Reactor {
    // Dropped first: the kernel holds pointers into what follows.
    ring: RefCell<IoUring>,
    buffers: Rc<Buffers>,
    sockets: RefCell<Sockets>,
    /// Sockets whose output goes at the end of the pass.
    gathered: RefCell<Vec<Rc<Socket>>>,
    /// Empty vectors, to be used again.
    spare: RefCell<Vec<Vec<u8>>>,
    wake: Arc<OwnedFd>,
    /// The kernel watches `wake`.
    is_wake_armed: Cell<bool>,
}

impl Reactor {
    /// No sockets yet, and what ends its sleep. Belongs to the calling thread.
    ///
    /// # Errors
    /// Those of [`open_ring`], or there is no memory or descriptor.
    pub fn open() -> io::Result<(Self, Wake)> {
        let ring = open_ring()?;
        let buffers = Rc::new(Buffers::register(&ring)?);
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let reactor = Self {
            ring: RefCell::new(ring),
            buffers,
            sockets: RefCell::default(),
            gathered: RefCell::default(),
            spare: RefCell::default(),
            wake: wake.clone(),
            is_wake_armed: Cell::new(false),
        };
        Ok((reactor, Wake(wake)))
    }

    /// Hands over what was gathered, and wakes the tasks to whose sockets something has happened.
    pub fn wait(&self, wait: Wait) {
        if !self.is_wake_armed.replace(true) {
            // POLLIN, edge-triggered: the eventfd need not be read.
            const IN_AND_EDGE: u32 = 0x1 | 1 << 31;
            let poll = opcode::PollAdd::new(types::Fd(self.wake.as_raw_fd()), IN_AND_EDGE).multi(true);
            self.push(&poll.build().user_data(For::Wake.user_data(0)));
        }
        let is_awaited = self.push_gathered();
        // A task that waits for a send runs once that is made.
        self.enter(if is_awaited { Wait::Poll } else { wait });
        self.take_completions();
        // Where more came than the queue holds, the kernel hands over the rest now, and takes the requests that it left.
        while self.has_more_to_hand_over() {
            self.enter(Wait::Poll);
            self.take_completions();
        }
        self.end_gathered();
    }

    fn has_more_to_hand_over(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        let queue = ring.submission();
        queue.cq_overflow() || !queue.is_empty()
    }

    /// Hands requests over, and waits for a completion if it waits. A call that is interrupted may leave requests.
    fn enter(&self, wait: Wait) {
        let mut ring = self.ring.borrow_mut();
        let (queued, must_run) = {
            let queue = ring.submission();
            (queue.len() as u32, queue.taskrun() || queue.cq_overflow())
        };
        let submitter = ring.submitter();
        let result = match wait {
            Wait::Poll if queued == 0 && !must_run => return,
            // SAFETY: no argument is passed, so there is none that could be wrong.
            #[allow(unsafe_code)]
            Wait::Poll => unsafe { submitter.enter::<()>(queued, 0, GET_EVENTS, None) },
            Wait::Event => submitter.submit_and_wait(1),
            Wait::AtMost { time, .. } => {
                let time = Timespec::from(time);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match result {
            Ok(_) => {}
            // Its time is over, a signal came, or completions must be taken first.
            Err(error) if is_one_of(&error, &[Errno::TIME, Errno::INTR, Errno::BUSY, Errno::AGAIN]) => {}
            Err(error) => panic!("io_uring_enter: {error}"),
        }
    }

    /// Makes requests that send what the pass has gathered; `true` if a task waits for that.
    fn push_gathered(&self) -> bool {
        let mut is_awaited = false;
        for socket in self.gathered.borrow().iter() {
            is_awaited |= socket.is_awaited();
            assert_eq!(socket.sending.replace(Sending::Tried), Sending::Gathered, "output is gathered once");
            self.push_send(socket, TRY, squeue::Flags::SKIP_SUCCESS);
        }
        is_awaited
    }

    /// Of what the pass has gathered and the kernel has taken over, all is sent that has no completion by now.
    fn end_gathered(&self) {
        // One that the kernel has dropped, for lack of memory, may have been of a send that did not go.
        assert_eq!(self.ring.borrow_mut().completion().overflow(), 0, "completions are lost");
        let mut gathered = std::mem::take(&mut *self.gathered.borrow_mut());
        for socket in gathered.drain(..) {
            if socket.sending.get() == Sending::Tried {
                let rest = socket.out.borrow().len() - socket.sent.get();
                self.sent(&socket, rest as i32);
                self.end(&socket);
            }
        }
        // No task runs meanwhile that could have gathered more.
        *self.gathered.borrow_mut() = gathered;
    }

    fn push_send(&self, socket: &Socket, flags: SendFlags, entry_flags: squeue::Flags) {
        let out = socket.out.borrow();
        let rest = &out[socket.sent.get()..];
        let send = opcode::Send::new(socket.descriptor(), rest.as_ptr(), rest.len() as u32);
        self.begin(socket, For::Send, send.flags(flags.bits() as i32).build().flags(entry_flags));
    }

    /// Makes the lasting request of a socket, if there is none.
    fn begin_receiving(&self, socket: &Socket, entry: impl FnOnce() -> squeue::Entry) {
        if socket.receiving.get() == Receiving::Idle {
            socket.receiving.set(Receiving::Armed);
            self.begin(socket, socket.receives, entry());
        }
    }

    /// Makes a request of a socket, whose place is kept until it has ended.
    fn begin(&self, socket: &Socket, what: For, entry: squeue::Entry) {
        socket.requests.set(socket.requests.get() + 1);
        self.push(&entry.user_data(what.user_data(socket.number)));
    }

    /// A request of a socket has ended.
    fn end(&self, socket: &Socket) {
        socket.requests.set(socket.requests.get() - 1);
        self.forget_if_over(socket);
    }

    /// Puts a request where the kernel takes it with the next call.
    fn push(&self, entry: &squeue::Entry) {
        let mut ring = self.ring.borrow_mut();
        loop {
            // SAFETY: what a request points to stays until its completion was taken: buffers of the ring live in the
            // reactor, and output in its socket, which keeps its place and is not changed while `sending` says that the
            // kernel has it.
            #[allow(unsafe_code)]
            let pushed = unsafe { ring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
            match ring.submit() {
                Ok(_) => {}
                Err(error) if is_one_of(&error, &[Errno::INTR, Errno::BUSY, Errno::AGAIN]) => {}
                Err(error) => panic!("io_uring_enter: {error}"),
            }
        }
    }

    fn take_completions(&self) {
        // What a completion does may push requests, which borrows the ring.
        loop {
            let entry = self.ring.borrow_mut().completion().next();
            let Some(entry) = entry else { return };
            self.complete(&entry);
        }
    }

    fn complete(&self, entry: &cqueue::Entry) {
        let (what, number) = For::of(entry.user_data());
        let is_last = !cqueue::more(entry.flags());
        match what {
            For::Cancel => return,
            For::Wake => return self.is_wake_armed.set(!is_last),
            For::Receive | For::Send | For::Accept => {}
        }
        let socket = self.sockets.borrow().places[number as usize].clone();
        let socket = socket.expect("a socket keeps its place until its last request has ended");
        match what {
            For::Receive => self.received(&socket, entry, is_last),
            For::Accept => {
                socket.receiving.set(Receiving::Idle);
                socket.wake_reader();
            }
            _ => self.sent(&socket, entry.result()),
        }
        if is_last {
            self.end(&socket);
        }
    }

    fn received(&self, socket: &Rc<Socket>, entry: &cqueue::Entry, is_last: bool) {
        let result = entry.result();
        if let Some(number) = cqueue::buffer_select(entry.flags()) {
            self.buffers.take(number);
            if result > 0 && !socket.is_dropped.get() {
                let piece = Piece { place: Place::Lent(number), start: 0, end: result as usize };
                socket.pieces.borrow_mut().push_back(piece);
            } else {
                self.buffers.give_back(number);
            }
        }
        if is_last {
            socket.receiving.set(Receiving::Idle);
        }
        match result {
            1.. => {}
            0 => socket.end.set(Some(0)),
            error => match Errno::from_raw_os_error(-error) {
                Errno::NOBUFS => self.set_aside(),
                // It was told to end, or has nothing to say: it begins again when the task reads.
                Errno::CANCELED | Errno::AGAIN | Errno::INTR => {}
                _ => socket.end.set(Some(-error)),
            },
        }
        if result > 0 && (result as usize) < buffers::BYTES {
            socket.is_flooding.set(false);
        }
        if socket.pieces.borrow().len() >= PIECES_MAX {
            socket.is_flooding.set(true);
            self.end_receiving(socket);
        }
        socket.wake_reader();
    }

    /// Copies what waits in buffers, so that the kernel has some again.
    fn set_aside(&self) {
        if !self.buffers.are_used_up() {
            return;
        }
        for socket in self.sockets.borrow().places.iter().flatten() {
            for piece in socket.pieces.borrow_mut().iter_mut() {
                if matches!(piece.place, Place::Lent(_)) {
                    let bytes = piece.bytes(&self.buffers).to_vec();
                    let own = Piece { start: 0, end: bytes.len(), place: Place::Own(bytes) };
                    std::mem::replace(piece, own).free(&self.buffers);
                }
            }
        }
    }

    fn sent(&self, socket: &Rc<Socket>, result: i32) {
        let before = socket.sending.get();
        assert!(
            matches!(before, Sending::Tried | Sending::Waiting),
            "a send ends that was not begun: {before:?}"
        );
        let is_error = result < 0 && !matches!(Errno::from_raw_os_error(-result), Errno::AGAIN | Errno::INTR);
        socket.sent.set(socket.sent.get() + result.max(0) as usize);
        let length = socket.out.borrow().len();
        assert!(socket.sent.get() <= length, "{} bytes of {length} are sent", socket.sent.get());
        if is_error || socket.is_dropped.get() || socket.sent.get() == length {
            if is_error {
                socket.send_error.set(Some(-result));
            }
            socket.sending.set(Sending::Idle);
            socket.sent.set(0);
            let mut out = std::mem::take(&mut *socket.out.borrow_mut());
            out.clear();
            let mut spare = self.spare.borrow_mut();
            if spare.len() < SPARE_MAX && out.capacity() <= 2 * OUT_BYTES_MAX {
                spare.push(out);
            }
            drop(spare);
            socket.wake_writer();
        } else {
            socket.sending.set(Sending::Waiting);
            self.push_send(socket, LATER, squeue::Flags::empty());
        }
    }

    fn end_receiving(&self, socket: &Socket) {
        if socket.receiving.get() == Receiving::Armed {
            socket.receiving.set(Receiving::Ending);
            self.push_cancel(socket, socket.receives);
        }
    }

    fn push_cancel(&self, socket: &Socket, what: For) {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(what.user_data(socket.number)));
        self.push(&cancel.build().user_data(For::Cancel.user_data(0)));
    }

    fn put(self: &Rc<Self>, file: OwnedFd, receives: For) -> Registered {
        let mut sockets = self.sockets.borrow_mut();
        let number = sockets.free.pop().unwrap_or_else(|| {
            sockets.places.push(None);
            u32::try_from(sockets.places.len() - 1).expect("there are fewer descriptors")
        });
        let socket = Rc::new(Socket {
            number,
            file,
            requests: Cell::new(0),
            is_dropped: Cell::new(false),
            receives,
            receiving: Cell::new(Receiving::Idle),
            is_flooding: Cell::new(false),
            pieces: RefCell::default(),
            end: Cell::new(None),
            reader: Cell::new(None),
            sending: Cell::new(Sending::Idle),
            out: RefCell::default(),
            sent: Cell::new(0),
            send_error: Cell::new(None),
            writer: Cell::new(None),
        });
        sockets.places[number as usize] = Some(socket.clone());
        Registered { reactor: self.clone(), socket }
    }

    /// Gives the place of a socket away that is dropped and has nothing in the kernel.
    fn forget_if_over(&self, socket: &Socket) {
        let is_idle = socket.requests.get() == 0 && socket.sending.get() == Sending::Idle;
        if socket.is_dropped.get() && is_idle {
            let mut sockets = self.sockets.borrow_mut();
            assert!(sockets.places[socket.number as usize].take().is_some(), "a place is given away twice");
            sockets.free.push(socket.number);
        }
    }

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// The kernel does not let it be asked without blocking.
    pub fn listen(self: &Rc<Self>, listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        Ok(Listener(self.put(listener.into(), For::Accept)))
    }

    /// Takes over a connection that a [`Listener`] has accepted: it blocks, or the kernel would not wait until there is
    /// something to receive.
    pub fn adopt(self: &Rc<Self>, accepted: TcpStream) -> Stream {
        Stream(self.put(accepted.into(), For::Receive))
    }
}

impl Drop for Reactor {
    /// Waits until the kernel has let go of all memory.
    fn drop(&mut self) {
        let until = Instant::now() + END;
        loop {
            let has_requests = {
                let sockets = self.sockets.borrow();
                sockets.places.iter().flatten().any(|socket| socket.requests.get() > 0)
            };
            if !has_requests {
                return;
            }
            if Instant::now() >= until {
                log::error!(target: "server", "the kernel keeps requests that were cancelled; their memory stays");
                std::mem::forget(std::mem::take(&mut *self.sockets.borrow_mut()));
                return std::mem::forget(self.buffers.clone());
            }
            self.wait(Wait::AtMost { time: Duration::from_millis(10), is_precise: false });
        }
    }
}

/// The ring of a thread, with what saves work.
///
/// # Errors
/// The kernel has no io_uring, or is older than 6.1, or does not allow it.
pub fn open_ring() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS).setup_submit_all().setup_single_issuer();
    builder.setup_defer_taskrun().setup_taskrun_flag();
    let until = Instant::now() + RETURNED;
    loop {
        match builder.build(ENTRIES) {
            Err(error) if is_one_of(&error, &[Errno::NOMEM]) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn is_one_of(error: &io::Error, known: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|raw| known.iter().any(|known| known.raw_os_error() == raw))
}

/// A socket's place in its reactor.
struct Registered {
    reactor: Rc<Reactor>,
    socket: Rc<Socket>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Self { reactor, socket } = self;
        socket.is_dropped.set(true);
        drop((socket.reader.take(), socket.writer.take()));
        socket.pieces.borrow_mut().drain(..).for_each(|piece| piece.free(&reactor.buffers));
        let is_sending = socket.sending.get() == Sending::Waiting;
        if is_sending || socket.receives == For::Accept {
            // Ends these requests also in the moment in which a cancellation would not find them.
            let _ = rustix::net::shutdown(&socket.file, rustix::net::Shutdown::Both);
        }
        reactor.end_receiving(socket);
        if is_sending {
            reactor.push_cancel(socket, For::Send);
        }
        reactor.forget_if_over(socket);
    }
}

/// A listening socket.
pub struct Listener(Registered);

impl Listener {
    /// The next connection, and the address of the other side. The kernel is asked to wait only once none is left, so that
    /// clients that come together are served together.
    ///
    /// # Errors
    /// Those of `accept`, or the connection is gone already.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let Registered { reactor, socket } = &self.0;
        let accepted = poll_fn(|cx| {
            match rustix::net::acceptfrom_with(&socket.file, SocketFlags::CLOEXEC) {
                Err(Errno::AGAIN) => {}
                accepted => return Poll::Ready(accepted),
            }
            reactor.begin_receiving(socket, || {
                opcode::PollAdd::new(socket.descriptor(), PollFlags::IN.bits().into()).build()
            });
            set_waker(&socket.reader, cx);
            Poll::Pending
        });
        let (file, peer) = accepted.await?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        // Without an address the client has reset it already.
        let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((file.into(), peer))
    }
}

/// A connection.
pub struct Stream(Registered);

impl Stream {
    /// Reads what is there; 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Registered { reactor, socket } = &self.0;
        let mut pieces = socket.pieces.borrow_mut();
        if let Some(piece) = pieces.front_mut() {
            let unread = piece.bytes(&reactor.buffers);
            let bytes = unread.len().min(buffer.len());
            buffer[..bytes].copy_from_slice(&unread[..bytes]);
            piece.start += bytes;
            if piece.start == piece.end
                && let Some(piece) = pieces.pop_front()
            {
                piece.free(&reactor.buffers);
            }
            return Poll::Ready(Ok(bytes));
        }
        match socket.end.get() {
            Some(0) => return Poll::Ready(Ok(0)),
            Some(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            None => {}
        }
        reactor.begin_receiving(socket, || {
            if socket.is_flooding.get() {
                let once = opcode::Recv::new(socket.descriptor(), std::ptr::null_mut(), 0);
                once.buf_group(buffers::GROUP).build().flags(squeue::Flags::BUFFER_SELECT)
            } else {
                opcode::RecvMulti::new(socket.descriptor(), buffers::GROUP).build()
            }
        });
        set_waker(&socket.reader, cx);
        Poll::Pending
    }

    /// Writes what goes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Registered { reactor, socket } = &self.0;
        if let Some(error) = socket.send_error.get() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
        }
        let mut out = socket.out.borrow_mut();
        let room = OUT_BYTES_MAX - out.len().min(OUT_BYTES_MAX);
        match socket.sending.get() {
            Sending::Idle => {
                if bytes.len() > OUT_BYTES_MAX {
                    // Much goes without a copy.
                    match socket.send_now(bytes) {
                        Ok(bytes) => return Poll::Ready(Ok(bytes)),
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        Err(error) => return Poll::Ready(Err(error.into())),
                    }
                }
                if out.capacity() == 0 {
                    *out = reactor.spare.borrow_mut().pop().unwrap_or_default();
                }
                socket.sending.set(Sending::Gathered);
                reactor.gathered.borrow_mut().push(socket.clone());
            }
            Sending::Gathered if room > 0 => {}
            Sending::Gathered | Sending::Tried | Sending::Waiting => {
                set_waker(&socket.writer, cx);
                return Poll::Pending;
            }
        }
        let taken = bytes.len().min(room);
        out.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// True if all that was written is with the kernel, or never will be.
    fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        let socket = &self.0.socket;
        if socket.sending.get() == Sending::Idle {
            return Poll::Ready(());
        }
        set_waker(&socket.writer, cx);
        Poll::Pending
    }

    /// Ends the connection after what was written, which waits for a client that does not read.
    pub async fn close(self) {
        let Registered { reactor, socket } = &self.0;
        poll_fn(|cx| self.poll_sent(cx)).await;
        // The other side may be gone already.
        let _ = rustix::net::shutdown(&socket.file, rustix::net::Shutdown::Write);
        reactor.end_receiving(socket);
        poll_fn(|cx| {
            if socket.requests.get() == 0 {
                return Poll::Ready(());
            }
            set_waker(&socket.reader, cx);
            Poll::Pending
        })
        .await;
    }
}

fn set_waker(place: &Cell<Option<Waker>>, cx: &Context<'_>) {
    let waker = match place.take() {
        Some(waker) if waker.will_wake(cx.waker()) => waker,
        _ => cx.waker().clone(),
    };
    place.set(Some(waker));
}
