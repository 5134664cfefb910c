//! The first message of each direction.

use super::PASSWORD_BYTES;
use super::jute::{JuteWrite, Reader, Short};
use super::session_id::SessionId;
use super::zxid::Zxid;
use bytes::BufMut;

/// What a client opens with; it has no request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// 0 from every client there is.
    pub protocol_version: i32,
    /// Newest zxid that the client saw an answer from; a server whose newest is older must refuse.
    pub last_zxid_seen: Zxid,
    /// Session timeout that the client would like, in milliseconds.
    pub timeout_ms: i32,
    /// [`SessionId::NONE`] for a new session.
    pub session_id: SessionId,
    /// The session's password, of any length from a hostile client.
    pub password: Option<&'a [u8]>,
    /// Whether a read-only server will do. `None` from clients before 3.4, which do not send the byte
    /// and do not expect one back.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads the frame's 44 or 45 bytes.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(Self {
            protocol_version: reader.int()?,
            last_zxid_seen: Zxid::from_wire(reader.long()?),
            timeout_ms: reader.int()?,
            session_id: SessionId(reader.long()?),
            password: reader.buffer()?,
            read_only: reader.bool().ok(),
        })
    }

    /// Appends the record, without a frame length.
    pub fn put<B: BufMut + ?Sized>(&self, out: &mut B) {
        out.put_i32(self.protocol_version);
        out.put_i64(self.last_zxid_seen.to_wire());
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session_id.0);
        out.put_buffer(self.password);
        if let Some(read_only) = self.read_only {
            out.put_bool(read_only);
        }
    }
}

/// The server's answer. A refused session is timeout 0, session 0 and sixteen zero bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// 0.
    pub protocol_version: i32,
    /// Negotiated timeout in milliseconds; 0 means that the session is gone.
    pub timeout_ms: i32,
    /// The session; [`SessionId::NONE`] if it is gone.
    pub session_id: SessionId,
    /// What the client shows to attach again.
    pub password: [u8; PASSWORD_BYTES],
    /// Present only if the request had the byte.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a client whose session is not, or no longer, known.
    pub fn expired(read_only: Option<bool>) -> Self {
        Self {
            protocol_version: 0,
            timeout_ms: 0,
            session_id: SessionId::NONE,
            password: [0; PASSWORD_BYTES],
            read_only,
        }
    }

    /// Appends the record, without a frame length.
    pub fn put<B: BufMut + ?Sized>(&self, out: &mut B) {
        out.put_i32(self.protocol_version);
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session_id.0);
        out.put_buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.put_bool(read_only);
        }
    }

    /// Reads the frame's 36 or 37 bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let protocol_version = reader.int()?;
        let timeout_ms = reader.int()?;
        let session_id = SessionId(reader.long()?);
        let given = reader.buffer()?.unwrap_or_default();
        let password =
            given.try_into().map_err(|_| Short::Ends { have: given.len(), need: PASSWORD_BYTES })?;
        Ok(Self { protocol_version, timeout_ms, session_id, password, read_only: reader.bool().ok() })
    }
}
