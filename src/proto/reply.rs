//! Reply headers and the few bodies that are more than one field.

use super::jute::{self, JuteWrite, Reader, Short};
use super::zxid::Zxid;
use super::{ErrorCode, OpCode};
use bytes::BufMut;

/// Begins every reply; 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's xid.
    pub xid: i32,
    /// The server's last processed zxid when it answered; -1 for an unknown opcode, 0 for auth.
    pub zxid: i64,
    /// An [`ErrorCode`]'s number; no body follows unless it is 0.
    pub err: i32,
}

impl ReplyHeader {
    /// Appends the 16 bytes.
    // Every read pays for a call: 36 instructions of 900 where the compiler made one.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_i32(self.xid);
        out.put_i64(self.zxid);
        out.put_i32(self.err);
    }

    /// Reads the 16 bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self { xid: reader.int()?, zxid: reader.long()?, err: reader.int()? })
    }
}

/// Appends the frame of a successful reply with the body that `body` writes.
#[inline(always)] // a get is little more than this
pub fn put_reply(out: &mut Vec<u8>, xid: i32, zxid: Zxid, body: impl FnOnce(&mut Vec<u8>)) {
    jute::frame(out, |out| {
        ReplyHeader { xid, zxid: zxid.to_wire(), err: 0 }.put(out);
        body(out);
    });
}

/// Appends the frame of a reply without body: an error, or an operation that answers nothing else.
pub fn put_status(out: &mut Vec<u8>, xid: i32, zxid: i64, code: ErrorCode) {
    jute::frame(out, |out| ReplyHeader { xid, zxid, err: code.to_wire() }.put(out));
}

/// Begins each operation and each result of a multi; 9 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiHeader {
    /// Type of what follows; -1 for a failed result and for the end.
    pub op: OpCode,
    /// Set in the header that ends the list.
    pub done: bool,
    /// -1 in requests and at the end, the result's code in replies.
    pub err: i32,
}

impl MultiHeader {
    /// The header that ends a list.
    pub const END: Self = Self { op: OpCode::ERROR, done: true, err: -1 };

    /// Appends the 9 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_i32(self.op.0);
        out.put_bool(self.done);
        out.put_i32(self.err);
    }

    /// Reads the 9 bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self { op: OpCode(reader.int()?), done: reader.bool()?, err: reader.int()? })
    }
}
