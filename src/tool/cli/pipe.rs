//! Many requests in flight on one session.

use super::error::CliError;
use super::link::Link;
use crate::client::{Reply, Request};
use std::collections::VecDeque;

/// Requests in flight.
const REQUESTS_MAX: usize = 1024;
/// Bytes of a request beside its path and data: frame, header, flags and a short access list.
const REQUEST_BYTES: usize = 64;

/// Bytes of requests in flight whose replies may be large. They fit into the buffers of a socket: a server that waits
/// until its replies are read may leave them there, and the client never waits for room while it should read.
pub const READ_BYTES_MAX: usize = 32 << 10;
/// Bytes of requests in flight whose replies are small.
pub const WRITE_BYTES_MAX: usize = 4 << 20;

/// Requests in flight, each with what its reply is for.
#[derive(Debug)]
pub struct Pipe<'a, T> {
    link: &'a mut Link,
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<'a, T> Pipe<'a, T> {
    /// An empty pipe; `bytes_max` is one of the bounds above.
    pub fn new(link: &'a mut Link, bytes_max: usize) -> Self {
        Self { link, waiting: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// True if the next reply is to be taken before another request is sent.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= REQUESTS_MAX || self.bytes >= self.bytes_max
    }

    /// True if no request is in flight.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The session.
    pub fn link(&mut self) -> &mut Link {
        self.link
    }

    /// Sends a request, at the latest with the next call of [`next`](Self::next).
    ///
    /// # Errors
    /// As [`Link::queue`].
    pub fn send(&mut self, purpose: T, request: &Request) -> Result<(), CliError> {
        self.link.queue(request)?;
        let bytes = REQUEST_BYTES + payload_bytes(request);
        self.bytes += bytes;
        self.waiting.push_back((purpose, bytes));
        Ok(())
    }

    /// The next reply, error codes included; `None` if no request is in flight.
    ///
    /// # Errors
    /// As [`Link::receive`].
    #[allow(clippy::should_implement_trait)] // an iterator would end, this goes on after `send`
    pub fn next(&mut self) -> Result<Option<(T, Reply)>, CliError> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let reply = self.link.receive()?;
        Ok(self.waiting.pop_front().map(|(purpose, bytes)| {
            self.bytes -= bytes;
            (purpose, reply)
        }))
    }
}

/// The session may go on being used, so what is still in flight is taken off it.
impl<T> Drop for Pipe<'_, T> {
    fn drop(&mut self) {
        while self.waiting.pop_front().is_some() {
            if self.link.receive().is_err() {
                return;
            }
        }
    }
}

/// Bytes of paths and data.
fn payload_bytes(request: &Request) -> usize {
    match request {
        Request::Create { path, data, .. } | Request::SetData { path, data, .. } => {
            path.len() + data.as_ref().map_or(0, Vec::len)
        }
        Request::Delete { path, .. }
        | Request::Exists { path, .. }
        | Request::GetData { path, .. }
        | Request::GetAcl { path }
        | Request::SetAcl { path, .. }
        | Request::GetChildren2 { path, .. } => path.len(),
        Request::Multi { ops } => ops.iter().map(|op| REQUEST_BYTES + payload_bytes(op)).sum(),
        _ => 0,
    }
}
