//! Frames written field by field, and frames taken apart.

use crate::engine::wire::wrong::Wrong;
use bytes::BufMut;
use zkfast::proto::jute::{JuteWrite, Reader, frame};
use zkfast::proto::{Acl, ConnectResponse, OpCode, PASSWORD_BYTES, SessionId, Stat, XID_PING, acl};

/// Flags of a create. The znode stays until it is deleted. Source: `CreateMode` of ZooKeeper.
pub const PERSISTENT: i32 = 0;

/// The znode ends with the session that creates it.
pub const EPHEMERAL: i32 = 1;

/// The znode ends with its session, and the server appends a number to its path.
const EPHEMERAL_SEQUENTIAL: i32 = 3;

/// Appends the frame of a request; `body` appends the part after the header.
pub fn put_request(out: &mut Vec<u8>, xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) {
    frame(out, |out| {
        out.put_i32(xid);
        out.put_i32(op.0);
        body(out);
    });
}

/// Appends the frame of a create of a persistent znode whose ACL is open to all.
pub fn put_create(out: &mut Vec<u8>, xid: i32, path: &[u8], data: &[u8]) {
    put_request(out, xid, OpCode::CREATE, |out| {
        out.put_string(path);
        out.put_buffer(Some(data));
        acl::put_acls(out, &[Acl::open()]);
        out.put_i32(PERSISTENT);
    });
}

/// Appends the frame of a create of a sequential ephemeral without data.
pub fn put_sequential(out: &mut Vec<u8>, xid: i32, path: &[u8]) {
    put_request(out, xid, OpCode::CREATE, |out| {
        out.put_string(path);
        out.put_buffer(Some(b""));
        acl::put_acls(out, &[Acl::open()]);
        out.put_i32(EPHEMERAL_SEQUENTIAL);
    });
}

/// Appends the frame of a getData or getChildren, with or without a watch.
pub fn put_read(out: &mut Vec<u8>, xid: i32, op: OpCode, path: &[u8], watch: bool) {
    put_request(out, xid, op, |out| {
        out.put_string(path);
        out.put_bool(watch);
    });
}

/// Appends the frame of a setData that expects `version`, or any version if it is -1.
pub fn put_set(out: &mut Vec<u8>, xid: i32, path: &[u8], data: &[u8], version: i32) {
    put_request(out, xid, OpCode::SET_DATA, |out| {
        out.put_string(path);
        out.put_buffer(Some(data));
        out.put_i32(version);
    });
}

/// Appends the frame of a delete of any version.
pub fn put_delete(out: &mut Vec<u8>, xid: i32, path: &[u8]) {
    put_request(out, xid, OpCode::DELETE, |out| {
        out.put_string(path);
        out.put_i32(-1);
    });
}

/// Appends the frame of a sync of the whole tree.
pub fn put_sync(out: &mut Vec<u8>, xid: i32) {
    put_request(out, xid, OpCode::SYNC, |out| out.put_string(b"/"));
}

/// Appends the frame of a ping.
pub fn put_ping(out: &mut Vec<u8>) {
    put_request(out, XID_PING, OpCode::PING, |_| {});
}

/// Appends the frame that grants a session.
pub fn put_session(out: &mut Vec<u8>, session_id: SessionId, timeout_ms: i32, read_only: Option<bool>) {
    let password = [1; PASSWORD_BYTES];
    let read_only = read_only.map(|_| false);
    let response = ConnectResponse { protocol_version: 0, timeout_ms, session_id, password, read_only };
    frame(out, |out| response.put(out));
}

/// The body of a frame, and the bytes after it.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits the first frame off `bytes`; `None` if its end has not arrived.
///
/// # Errors
/// The length of the frame, if it is negative or above `bytes_max`.
pub fn split_frame(bytes: &[u8], bytes_max: usize) -> Result<Option<Split<'_>>, i32> {
    let Some((length, after)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let body = usize::try_from(length).ok().filter(|body| *body <= bytes_max).ok_or(length)?;
    Ok(after.split_at_checked(body))
}

/// Reads a Stat whose data length must be `bytes`.
///
/// # Errors
/// The Stat ends early, or has another length.
pub fn read_stat(reader: &mut Reader<'_>, bytes: usize) -> Result<Stat, Wrong> {
    let stat = Stat::read(reader)?;
    if usize::try_from(stat.data_bytes) != Ok(bytes) {
        return Err(Wrong::StatLength { want: bytes, have: stat.data_bytes });
    }
    Ok(stat)
}

/// Checks that `reader` is at the end.
///
/// # Errors
/// [`Wrong::Rest`] if bytes follow.
pub fn ended(reader: &Reader<'_>) -> Result<(), Wrong> {
    if reader.rest().is_empty() { Ok(()) } else { Err(Wrong::Rest { bytes: reader.rest().len() }) }
}
