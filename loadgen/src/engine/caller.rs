//! A session whose caller waits for each reply: for what comes before and after a measurement.

use crate::engine::session::{NoConnection, Session};
use crate::engine::wire;
use std::io::Write;
use zkfast::proto::OpCode;
use zkfast::proto::jute::Reader;

/// Bytes of requests that are sent before their replies are read.
const CALL_BYTES_MAX: usize = 64 << 10;

/// A session whose caller waits for each reply.
#[derive(Debug)]
pub struct Caller {
    session: Session,
    out: Vec<u8>,
}

impl Caller {
    /// Opens a session on `server`.
    ///
    /// # Errors
    /// Those of [`Session::open`].
    pub fn open(server: &str) -> Result<Self, NoConnection> {
        Ok(Self { session: Session::open(server)?, out: Vec::new() })
    }

    /// Sends one request and returns the error code and body of its reply.
    ///
    /// # Errors
    /// The connection was lost, or the server broke the protocol.
    pub fn call(
        &mut self,
        op: OpCode,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(i32, Vec<u8>), NoConnection> {
        let xid = self.session.take_xid();
        self.out.clear();
        wire::put_request(&mut self.out, xid, op, body);
        self.write()?;
        self.reply()
    }

    /// Sends a request for each of `items`, many at a time, and calls `each` with the error code and body of each
    /// reply.
    ///
    /// # Errors
    /// The connection was lost, or the server broke the protocol.
    pub fn pipeline<T: Copy>(
        &mut self,
        items: &[T],
        put: impl Fn(&mut Vec<u8>, i32, T),
        mut each: impl FnMut(T, i32, &[u8]),
    ) -> Result<(), NoConnection> {
        let mut rest = items;
        while !rest.is_empty() {
            self.out.clear();
            let mut count = 0;
            while count < rest.len() && self.out.len() < CALL_BYTES_MAX {
                let xid = self.session.take_xid();
                put(&mut self.out, xid, rest[count]);
                count += 1;
            }
            self.write()?;
            for item in &rest[..count] {
                let (err, body) = self.reply()?;
                each(*item, err, &body);
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Ends the session.
    pub fn close(self) {
        Session::close_all(vec![self.session]);
    }

    /// The error of a reply with which the caller cannot go on.
    pub fn refused(&self, what: String) -> NoConnection {
        self.session.protocol(what)
    }

    fn write(&mut self) -> Result<(), NoConnection> {
        self.session.socket().write_all(&self.out).map_err(|error| self.session.io(error))
    }

    fn reply(&mut self) -> Result<(i32, Vec<u8>), NoConnection> {
        let mut reply = self.session.read_frame()?;
        let want = self.session.take_reply_xid();
        let header = zkfast::proto::ReplyHeader::read(&mut Reader::new(&reply))
            .map_err(|short| self.session.protocol(short.to_string()))?;
        if header.xid != want {
            return Err(self.session.protocol(format!("reply to xid {} instead of {want}", header.xid)));
        }
        self.session.check_served(header.err)?;
        reply.drain(..16);
        Ok((header.err, reply))
    }
}
