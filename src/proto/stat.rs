//! `Stat`, what a client sees of a znode beside its data.

use super::jute::{Reader, Short};
use super::session_id::SessionId;
use super::zxid::Zxid;
use bytes::BufMut;

/// A znode's bookkeeping as clients see it; 68 bytes on the wire.
///
/// Times are milliseconds since 1970 by the leader's clock. Source: `data.Stat`, `DataNode.copyStat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Txn that created the znode.
    pub czxid: Zxid,
    /// Txn that last set its data.
    pub mzxid: Zxid,
    /// When it was created.
    pub ctime_ms: i64,
    /// When its data was last set.
    pub mtime_ms: i64,
    /// Times that its data was set.
    pub version: i32,
    /// Children created plus children deleted.
    pub cversion: i32,
    /// Times that its ACL was set.
    pub aversion: i32,
    /// Session that owns it; [`SessionId::NONE`] unless ephemeral.
    pub ephemeral_owner: SessionId,
    /// Bytes of data; 0 where there is none.
    pub data_bytes: i32,
    /// Direct children.
    pub children: i32,
    /// Txn that last created or deleted a child, the creating one at first.
    pub pzxid: Zxid,
}

/// Bytes of a [`Stat`] on the wire.
pub const STAT_BYTES: usize = 68;

impl Stat {
    /// Appends the 68 bytes.
    #[inline]
    pub fn put<B: BufMut + ?Sized>(&self, out: &mut B) {
        // One look for room in `out`, not eleven.
        let mut bytes = [0; STAT_BYTES];
        let mut rest = &mut bytes[..];
        rest.put_i64(self.czxid.to_wire());
        rest.put_i64(self.mzxid.to_wire());
        rest.put_i64(self.ctime_ms);
        rest.put_i64(self.mtime_ms);
        rest.put_i32(self.version);
        rest.put_i32(self.cversion);
        rest.put_i32(self.aversion);
        rest.put_i64(self.ephemeral_owner.0);
        rest.put_i32(self.data_bytes);
        rest.put_i32(self.children);
        rest.put_i64(self.pzxid.to_wire());
        out.put_slice(&bytes);
    }

    /// Reads the 68 bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self {
            czxid: Zxid::from_wire(reader.long()?),
            mzxid: Zxid::from_wire(reader.long()?),
            ctime_ms: reader.long()?,
            mtime_ms: reader.long()?,
            version: reader.int()?,
            cversion: reader.int()?,
            aversion: reader.int()?,
            ephemeral_owner: SessionId(reader.long()?),
            data_bytes: reader.int()?,
            children: reader.int()?,
            pzxid: Zxid::from_wire(reader.long()?),
        })
    }
}
