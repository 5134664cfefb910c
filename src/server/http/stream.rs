//! A socket that notes when bytes moved, and a body that is handed out in pieces.

use super::export::Sending;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a body that are with the connection at once.
const PIECE_BYTES: usize = 64 << 10;

/// A client's socket.
#[derive(Debug)]
pub struct Watched {
    stream: TcpStream,
    /// When bytes were received or sent last.
    moved: Rc<Cell<Instant>>,
}

impl Watched {
    /// `moved` is kept up to date.
    pub fn new(stream: TcpStream, moved: Rc<Cell<Instant>>) -> Self {
        Self { stream, moved }
    }

    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.moved.set(Instant::now());
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(polled)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where a body comes from.
enum Source {
    Memory(Bytes),
    /// What comes, and how much of it is still to come.
    File(Sending, u64),
}

/// A body. What is held with it is let go once its last piece is with the connection.
pub struct Pieces {
    source: Source,
    held: Vec<Box<dyn Any>>,
}

impl Pieces {
    /// All of a body.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { source: Source::Memory(bytes.into()), held: Vec::new() }
    }

    /// A body of `bytes` bytes that come from a file.
    pub fn of_file(sending: Sending, bytes: u64) -> Self {
        Self { source: Source::File(sending, bytes), held: Vec::new() }
    }

    /// Bytes that are still to be handed out.
    fn left(&self) -> u64 {
        match &self.source {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(_, left) => *left,
        }
    }

    /// Holds `guard` as well.
    pub fn hold(&mut self, guard: impl Any) {
        self.held.push(Box::new(guard));
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("bytes", &self.left()).finish_non_exhaustive()
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.source {
            Source::Memory(bytes) => {
                let length = bytes.len().min(PIECE_BYTES);
                let piece = bytes.split_to(length);
                Poll::Ready((length > 0).then_some(Ok(Frame::data(piece))))
            }
            Source::File(_, 0) => Poll::Ready(None),
            Source::File(sending, left) => sending.poll_recv(cx).map(|piece| {
                let piece = piece?;
                Some(piece.map(|piece| {
                    *left -= piece.len() as u64;
                    Frame::data(piece)
                }))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
