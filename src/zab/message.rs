//! The quorum port's packets and what their data holds.
//!
//! A packet is `int type`, `long zxid`, `buffer data`, `vector<Id> authinfo`, one after the other without frames.
//! After [`PacketType::SNAP`] the stream is a tree until its signature; the reader of the stream knows that and takes
//! the bytes with [`PacketStream::rest`].
//!
//! | type | from | zxid | data |
//! |---|---|---|---|
//! | FOLLOWERINFO, OBSERVERINFO | learner | accepted epoch, counter 0 | [`LearnerInfo`] |
//! | LEADERINFO | leader | new epoch, counter 0 | [`put_leader_info`] |
//! | ACKEPOCH | learner | last in the log | [`put_ack_epoch`] |
//! | DIFF, TRUNC, SNAP | leader | last of the sync | none; in SNAP to a zkfast learner [`put_snap`] |
//! | NEWLEADER | leader | new epoch, counter 0 | text of the configuration |
//! | PROPOSAL, INFORM | leader | of the txn | header, txn, digest |
//! | ACK, COMMIT | either | of the txn | none |
//! | PING | both | the leader's number of the ping, returned; Java's leader sends its last zxid | none; in the answer [`Touched`] |
//! | REVALIDATE | both | any | [`Revalidate`], [`Revalidated`] |
//! | REQUEST | learner | any | [`ForwardedRequest`]; the client's ids in authinfo |
//! | SYNC | leader | any | none |
//! | COMMITANDACTIVATE | leader | of a reconfiguration | sid of the server that leads from then on |
//! | INFORMANDACTIVATE | leader | of a reconfiguration | the same, then header, txn, digest |
//!
//! Source: `zookeeper.jute`, `Leader`, `Learner`, `LearnerHandler`, Apache ZooKeeper 3.9.4.

use bytes::BufMut;

use crate::proto::{Epoch, Id, JuteWrite, OpCode, Reader, ServerId, SessionId, Short, Zxid};
use crate::wal::TXN_BYTES_MAX;

/// Most bytes of a packet's data: the largest txn the log takes, with room for what stands around it.
pub const DATA_BYTES_MAX: usize = TXN_BYTES_MAX + 1024;
/// Most ids of one packet; a connection has one per scheme that it passed, and one per `auth` packet.
pub const IDS_MAX: usize = 4096;
/// Most bytes of all ids of one packet, lengths included.
pub const IDS_BYTES_MAX: usize = 1 << 20;

/// The learner protocol that every server since 3.4 speaks.
pub const PROTOCOL_VERSION: i32 = 0x10000;
/// The same between two zkfast servers, where ACK and COMMIT stand for all zxids up to theirs.
pub const PROTOCOL_VERSION_CUMULATIVE: i32 = 0x10001;

/// Ends the tree after SNAP, as a `ustring`. Source: `LearnerHandler`.
pub const SNAP_SIGNATURE: &[u8] = b"BenWasHere";

/// What a packet is. A number, not an enumeration: a peer may send any.
///
/// A packet of an unknown type, or of one that the protocol does not allow at that point, ends the connection
/// ([`CloseLearner::Unexpected`](super::leader::CloseLearner::Unexpected),
/// [`LostLeader::Unexpected`](super::learner::LostLeader::Unexpected)).
///
/// Source: `Leader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketType(pub i32);

#[allow(missing_docs)] // ZooKeeper's names
impl PacketType {
    pub const REQUEST: Self = Self(1);
    pub const PROPOSAL: Self = Self(2);
    pub const ACK: Self = Self(3);
    pub const COMMIT: Self = Self(4);
    pub const PING: Self = Self(5);
    pub const REVALIDATE: Self = Self(6);
    pub const SYNC: Self = Self(7);
    pub const INFORM: Self = Self(8);
    pub const COMMITANDACTIVATE: Self = Self(9);
    pub const NEWLEADER: Self = Self(10);
    pub const FOLLOWERINFO: Self = Self(11);
    pub const UPTODATE: Self = Self(12);
    pub const DIFF: Self = Self(13);
    pub const TRUNC: Self = Self(14);
    pub const SNAP: Self = Self(15);
    pub const OBSERVERINFO: Self = Self(16);
    pub const LEADERINFO: Self = Self(17);
    pub const ACKEPOCH: Self = Self(18);
    pub const INFORMANDACTIVATE: Self = Self(19);
}

/// What is wrong with a peer's bytes. Its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A length or count over its limit.
    #[error("{field} of {have} is over the limit of {limit}")]
    TooLong {
        /// What has the length.
        field: &'static str,
        /// The length.
        have: usize,
        /// The limit.
        limit: usize,
    },
    /// A length below -1.
    #[error("{field} has the negative length {have}")]
    Negative {
        /// What has the length.
        field: &'static str,
        /// The length.
        have: i32,
    },
    /// A message whose data does not hold the fields of its type.
    #[error("{message}: {error}")]
    Data {
        /// The message's name.
        message: &'static str,
        /// What is wrong with the data.
        error: Short,
    },
}

/// One packet; the data stays where it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: PacketType,
    /// What it is about.
    pub zxid: Zxid,
    /// Its data; null and empty differ.
    pub data: Option<&'a [u8]>,
    /// Who asks, in a REQUEST.
    pub ids: Vec<Id>,
}

impl<'a> Packet<'a> {
    /// A packet without data and ids.
    pub const fn bare(kind: PacketType, zxid: Zxid) -> Self {
        Self { kind, zxid, data: None, ids: Vec::new() }
    }

    /// A packet with data and without ids.
    pub const fn with(kind: PacketType, zxid: Zxid, data: &'a [u8]) -> Self {
        Self { kind, zxid, data: Some(data), ids: Vec::new() }
    }

    /// The packet at the start of `bytes` and its length; `None` while it has not all come.
    ///
    /// Asking again costs nothing that grows with the data, so a caller that receives a large packet in pieces may ask at
    /// each.
    ///
    /// # Errors
    /// A length that no packet has, as soon as it is seen.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, MessageError> {
        let mut reader = Reader::new(bytes);
        let Some((kind, zxid)) = read_head(&mut reader) else { return Ok(None) };
        let Some(data) = bounded(&mut reader, "data", DATA_BYTES_MAX)? else { return Ok(None) };
        // Twice over the ids: what is not all there yet is not allocated for.
        let count = match reader.int() {
            Err(_) => return Ok(None),
            Ok(-1) => 0,
            Ok(count) => {
                let have = usize::try_from(count)
                    .map_err(|_| MessageError::Negative { field: "authinfo", have: count })?;
                if have > IDS_MAX {
                    return Err(MessageError::TooLong { field: "authinfo", have, limit: IDS_MAX });
                }
                have
            }
        };
        let mut walk = reader.clone();
        for _ in 0..2 * count {
            if bounded(&mut walk, "id", IDS_BYTES_MAX)?.is_none() {
                let have = reader.rest().len();
                if have > IDS_BYTES_MAX {
                    return Err(MessageError::TooLong { field: "authinfo", have, limit: IDS_BYTES_MAX });
                }
                return Ok(None);
            }
        }
        let have = reader.rest().len() - walk.rest().len();
        if have > IDS_BYTES_MAX {
            return Err(MessageError::TooLong { field: "authinfo", have, limit: IDS_BYTES_MAX });
        }
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(Id { scheme: text(&mut reader)?, id: text(&mut reader)? });
        }
        let length = bytes.len() - reader.rest().len();
        Ok(Some((Self { kind, zxid, data, ids }, length)))
    }

    /// Appends the packet.
    ///
    /// Without ids it is null, except in a REQUEST: Java's leader walks over them unasked.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_head(out, self.kind, self.zxid);
        out.put_buffer(self.data);
        put_ids(out, self.kind, &self.ids);
    }
}

fn read_head(reader: &mut Reader<'_>) -> Option<(PacketType, Zxid)> {
    Some((PacketType(reader.int().ok()?), Zxid::from_wire(reader.long().ok()?)))
}

/// A buffer, with its length checked before anything of it came; the outer `None` is "not all there".
#[allow(clippy::option_option)] // jute's null is a value
fn bounded<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    limit: usize,
) -> Result<Option<Option<&'a [u8]>>, MessageError> {
    let Ok(length) = reader.clone().int() else { return Ok(None) };
    if length < -1 {
        return Err(MessageError::Negative { field, have: length });
    }
    match usize::try_from(length) {
        Ok(have) if have > limit => Err(MessageError::TooLong { field, have, limit }),
        _ => Ok(reader.buffer().ok()),
    }
}

fn text(reader: &mut Reader<'_>) -> Result<Box<str>, MessageError> {
    let of_id = |error| MessageError::Data { message: "authinfo", error };
    let bytes = reader.string().map_err(of_id)?.ok_or(of_id(Short::Null))?;
    Ok(String::from_utf8_lossy(bytes).into())
}

fn put_head(out: &mut Vec<u8>, kind: PacketType, zxid: Zxid) {
    out.put_i32(kind.0);
    out.put_i64(zxid.to_wire());
}

fn put_ids(out: &mut Vec<u8>, kind: PacketType, ids: &[Id]) {
    if ids.is_empty() && kind != PacketType::REQUEST {
        out.put_i32(-1);
        return;
    }
    out.put_count(ids.len());
    for id in ids {
        out.put_string(id.scheme.as_bytes());
        out.put_string(id.id.as_bytes());
    }
}

/// Bytes of a packet with null data and null ids.
pub const BARE_BYTES: usize = 20;

/// Appends a packet with null data and null ids.
pub fn put_bare(out: &mut Vec<u8>, kind: PacketType, zxid: Zxid) {
    let mut bytes = [0xFF; BARE_BYTES];
    bytes[..4].copy_from_slice(&kind.0.to_be_bytes());
    bytes[4..12].copy_from_slice(&zxid.to_wire().to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends an ACK.
pub fn put_ack(out: &mut Vec<u8>, zxid: Zxid) {
    put_bare(out, PacketType::ACK, zxid);
}

/// Appends a COMMIT.
pub fn put_commit(out: &mut Vec<u8>, zxid: Zxid) {
    put_bare(out, PacketType::COMMIT, zxid);
}

/// Appends the leader's PING.
pub fn put_ping(out: &mut Vec<u8>, zxid: Zxid) {
    put_bare(out, PacketType::PING, zxid);
}

/// Appends a PROPOSAL: `txn` is header, txn and digest, as the log holds them.
pub fn put_proposal(out: &mut Vec<u8>, zxid: Zxid, txn: &[u8]) {
    put_with(out, PacketType::PROPOSAL, zxid, txn);
}

/// Appends an INFORM: what an observer gets in place of PROPOSAL and COMMIT.
pub fn put_inform(out: &mut Vec<u8>, zxid: Zxid, txn: &[u8]) {
    put_with(out, PacketType::INFORM, zxid, txn);
}

/// Appends a packet with data and null ids.
pub fn put_with(out: &mut Vec<u8>, kind: PacketType, zxid: Zxid, data: &[u8]) {
    out.reserve(BARE_BYTES + data.len());
    put_head(out, kind, zxid);
    out.put_buffer(Some(data));
    out.put_i32(-1);
}

/// Collects a connection's bytes, however they were cut, and gives back its packets.
///
/// It holds at most what was fed and not yet taken. The caller takes packets until `None` before feeding more,
/// so that it grows to one packet and one read.
#[derive(Debug, Default)]
pub struct PacketStream {
    bytes: Vec<u8>,
    taken: usize,
}

impl PacketStream {
    /// Appends what was received.
    pub fn feed(&mut self, bytes: &[u8]) {
        assert!(self.taken <= self.bytes.len(), "{} of {} bytes are taken", self.taken, self.bytes.len());
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken >= self.bytes.len() - self.taken {
            // At least half is gone: moving the rest costs no more than what was read since the last time.
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next packet, `None` while it has not all come.
    ///
    /// # Errors
    /// As [`Packet::read`]; the connection must end.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, MessageError> {
        Ok(Packet::read(&self.bytes[self.taken..])?.map(|(packet, length)| {
            self.taken += length;
            packet
        }))
    }

    /// What has not been taken: after SNAP, the start of the tree.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Takes `count` bytes off the front of [`PacketStream::rest`].
    pub fn skip(&mut self, count: usize) {
        assert!(count <= self.rest().len(), "skips {count} of {}", self.rest().len());
        self.taken += count;
    }
}

/// A learner's own account of itself: the data of FOLLOWERINFO and OBSERVERINFO. Source: `LearnerInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    /// The learner's sid; `None` from servers before 3.3, which sent no data.
    pub sid: Option<ServerId>,
    /// 0 where it was not sent: a server before 3.4, which knows no LEADERINFO.
    pub protocol_version: i32,
    /// 0 where it was not sent: a server before 3.5.
    pub config_version: i64,
}

impl LearnerInfo {
    /// Reads as much as there is, as `LearnerHandler` does: 8, 12 or 20 bytes.
    pub fn read(data: Option<&[u8]>) -> Self {
        let mut reader = Reader::new(data.unwrap_or_default());
        Self {
            sid: reader.long().ok().map(ServerId),
            protocol_version: reader.int().unwrap_or(0),
            config_version: reader.long().unwrap_or(0),
        }
    }

    /// The 20 bytes of a server with that sid.
    pub fn bytes(sid: ServerId, protocol_version: i32, config_version: i64) -> [u8; 20] {
        let mut bytes = [0; 20];
        let mut out = &mut bytes[..];
        out.put_i64(sid.0);
        out.put_i32(protocol_version);
        out.put_i64(config_version);
        bytes
    }
}

fn in_data<'a, T>(
    message: &'static str,
    data: Option<&'a [u8]>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Short>,
) -> Result<T, MessageError> {
    let data = data.ok_or(MessageError::Data { message, error: Short::Null })?;
    read(&mut Reader::new(data)).map_err(|error| MessageError::Data { message, error })
}

/// The leader's protocol version: the data of LEADERINFO.
///
/// # Errors
/// Fewer than 4 bytes.
pub fn read_leader_info(data: Option<&[u8]>) -> Result<i32, MessageError> {
    in_data("LEADERINFO", data, Reader::int)
}

/// Appends a LEADERINFO.
pub fn put_leader_info(out: &mut Vec<u8>, epoch: Epoch, protocol_version: i32) {
    let data = protocol_version.to_be_bytes();
    put_with(out, PacketType::LEADERINFO, epoch.start(), &data);
}

/// The learner's current epoch: the data of ACKEPOCH.
///
/// -1 means that the learner had accepted the new epoch before, so that this is no promise to be counted.
///
/// # Errors
/// Fewer than 4 bytes.
pub fn read_ack_epoch(data: Option<&[u8]>) -> Result<i32, MessageError> {
    in_data("ACKEPOCH", data, Reader::int)
}

/// Appends an ACKEPOCH: the last zxid of the log and [`read_ack_epoch`]'s number.
pub fn put_ack_epoch(out: &mut Vec<u8>, last: Zxid, current_epoch: i32) {
    put_with(out, PacketType::ACKEPOCH, last, &current_epoch.to_be_bytes());
}

/// The sessions that gave a sign of life to a learner since its last PING, with their timeouts in milliseconds.
#[derive(Clone, Debug)]
pub struct Touched<'a> {
    rest: &'a [u8],
}

/// Bytes of one session in a PING's data.
const TOUCHED_BYTES: usize = 12;

impl<'a> Touched<'a> {
    /// The sessions of a PING's data.
    ///
    /// # Errors
    /// Data that ends inside a session.
    pub fn read(data: Option<&'a [u8]>) -> Result<Self, MessageError> {
        let rest = data.unwrap_or_default();
        match rest.len() % TOUCHED_BYTES {
            0 => Ok(Self { rest }),
            have => {
                Err(MessageError::Data { message: "PING", error: Short::Ends { have, need: TOUCHED_BYTES } })
            }
        }
    }
}

impl Iterator for Touched<'_> {
    type Item = (SessionId, i32);

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new(self.rest);
        let item = (SessionId(reader.long().ok()?), reader.int().ok()?);
        self.rest = reader.rest();
        Some(item)
    }
}

/// Appends the commit of a reconfiguration: `leader` leads from here on.
pub fn put_commit_and_activate(out: &mut Vec<u8>, zxid: Zxid, leader: ServerId) {
    put_with(out, PacketType::COMMITANDACTIVATE, zxid, &leader.0.to_be_bytes());
}

/// Appends a reconfiguration for an observer, committed: `leader` leads from here on.
pub fn put_inform_and_activate(out: &mut Vec<u8>, zxid: Zxid, leader: ServerId, txn: &[u8]) {
    put_head(out, PacketType::INFORMANDACTIVATE, zxid);
    out.put_count(8 + txn.len());
    out.put_i64(leader.0);
    out.put_slice(txn);
    out.put_i32(-1);
}

/// Appends, for a zkfast learner, that `leader` leads from here on without a reconfiguration; everything through `zxid` is
/// committed. What follows the leader's number tells it from the commit of a reconfiguration, which a learner may know of
/// already.
pub fn put_hand_over(out: &mut Vec<u8>, zxid: Zxid, leader: ServerId) {
    let mut data = Vec::from(leader.0.to_be_bytes());
    data.extend(HAND_OVER);
    put_with(out, PacketType::COMMITANDACTIVATE, zxid, &data);
}

/// What comes after the leader's number in [`put_hand_over`].
const HAND_OVER: [u8; 4] = *b"over";

/// Whether what comes after the leader's number in COMMITANDACTIVATE says that it is a hand-over.
pub fn is_hand_over(rest: &[u8]) -> bool {
    rest == HAND_OVER
}

/// The server that leads from a reconfiguration on, and the txn where the packet has it.
///
/// # Errors
/// Fewer than 8 bytes.
pub fn read_activation(data: Option<&[u8]>) -> Result<(ServerId, &[u8]), MessageError> {
    in_data("COMMITANDACTIVATE", data, |r| Ok((ServerId(r.long()?), r.rest())))
}

/// Appends SNAP for a zkfast learner: with the leader's configurations, the active one and the proposed one or nothing. What
/// a tree holds does not tell which of them is active.
pub fn put_snap(out: &mut Vec<u8>, zxid: Zxid, active: &[u8], next: Option<&[u8]>) {
    let mut data = Vec::with_capacity(active.len() + 8);
    data.put_buffer(Some(active));
    data.put_buffer(next);
    put_with(out, PacketType::SNAP, zxid, &data);
}

/// The texts of the active configuration and of the proposed one.
pub type ConfigTexts<'a> = (&'a [u8], Option<&'a [u8]>);

/// The texts of the active and of the proposed configuration in SNAP; `None` from ZooKeeper's own leader.
///
/// # Errors
/// Data that ends early.
pub fn read_snap(data: Option<&[u8]>) -> Result<Option<ConfigTexts<'_>>, MessageError> {
    if data.is_none_or(<[u8]>::is_empty) {
        return Ok(None);
    }
    in_data("SNAP", data, |r| Ok(Some((r.buffer()?.ok_or(Short::Null)?, r.buffer()?))))
}

/// Appends a learner's PING with the sessions that were touched, and their timeouts in milliseconds.
pub fn put_ping_answer(
    out: &mut Vec<u8>,
    zxid: Zxid,
    touched: impl ExactSizeIterator<Item = (SessionId, i32)>,
) {
    put_head(out, PacketType::PING, zxid);
    let bytes = touched.len() * TOUCHED_BYTES;
    out.put_count(bytes);
    out.reserve(bytes + 4);
    for (session, timeout) in touched {
        out.put_i64(session.0);
        out.put_i32(timeout);
    }
    out.put_i32(-1);
}

/// A learner asks whether a session that came to it still is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revalidate {
    /// The session.
    pub session: SessionId,
    /// Its timeout in milliseconds.
    pub timeout: i32,
}

impl Revalidate {
    /// From the data of a learner's REVALIDATE.
    ///
    /// # Errors
    /// Fewer than 12 bytes.
    pub fn read(data: Option<&[u8]>) -> Result<Self, MessageError> {
        in_data("REVALIDATE", data, |r| Ok(Self { session: SessionId(r.long()?), timeout: r.int()? }))
    }

    /// Appends the packet.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut data = [0; 12];
        data[..8].copy_from_slice(&self.session.0.to_be_bytes());
        data[8..].copy_from_slice(&self.timeout.to_be_bytes());
        put_with(out, PacketType::REVALIDATE, Zxid::from_wire(-1), &data);
    }
}

/// The leader's answer to [`Revalidate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revalidated {
    /// The session.
    pub session: SessionId,
    /// Whether it lives; then it belongs to the learner that asked.
    pub valid: bool,
}

impl Revalidated {
    /// From the data of the leader's REVALIDATE.
    ///
    /// # Errors
    /// Fewer than 9 bytes.
    pub fn read(data: Option<&[u8]>) -> Result<Self, MessageError> {
        in_data("REVALIDATE", data, |r| Ok(Self { session: SessionId(r.long()?), valid: r.bool()? }))
    }

    /// Appends the packet.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut data = [0; 9];
        data[..8].copy_from_slice(&self.session.0.to_be_bytes());
        data[8] = self.valid.into();
        put_with(out, PacketType::REVALIDATE, Zxid::from_wire(-1), &data);
    }
}

/// A client's request on its way to the leader; the client's ids are the packet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedRequest<'a> {
    /// The client's session.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// The request's record, without header.
    pub body: &'a [u8],
}

impl<'a> ForwardedRequest<'a> {
    /// From the data of a REQUEST.
    ///
    /// # Errors
    /// Fewer than 16 bytes.
    pub fn read(data: Option<&'a [u8]>) -> Result<Self, MessageError> {
        in_data("REQUEST", data, |r| {
            Ok(Self { session: SessionId(r.long()?), cxid: r.int()?, op: OpCode(r.int()?), body: r.rest() })
        })
    }

    /// Appends the packet.
    pub fn write(&self, out: &mut Vec<u8>, ids: &[Id]) {
        put_head(out, PacketType::REQUEST, Zxid::from_wire(-1));
        out.put_count(16 + self.body.len());
        out.put_i64(self.session.0);
        out.put_i32(self.cxid);
        out.put_i32(self.op.0);
        out.put_slice(self.body);
        put_ids(out, PacketType::REQUEST, ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(value: i64) -> [u8; 8] {
        value.to_be_bytes()
    }

    /// What Java writes for `new QuorumPacket(type, zxid, data, authinfo)`, by hand.
    fn java(kind: u8, zxid: i64, data: Option<&[u8]>, ids: Option<&[(&str, &str)]>) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, kind];
        bytes.extend(long(zxid));
        let buffer = |bytes: &mut Vec<u8>, value: &[u8]| {
            bytes.extend((value.len() as u32).to_be_bytes());
            bytes.extend(value);
        };
        match data {
            None => bytes.extend([0xFF; 4]),
            Some(data) => buffer(&mut bytes, data),
        }
        match ids {
            None => bytes.extend([0xFF; 4]),
            Some(ids) => {
                bytes.extend((ids.len() as u32).to_be_bytes());
                for (scheme, id) in ids {
                    buffer(&mut bytes, scheme.as_bytes());
                    buffer(&mut bytes, id.as_bytes());
                }
            }
        }
        bytes
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    /// Every writer gives the bytes of the Java class that builds the same packet.
    #[test]
    fn packets_as_java_writes_them() {
        let z = Zxid::new(5, 7);
        let wire = 0x5_0000_0007;
        assert_eq!(written(|out| put_ack(out, z)), java(3, wire, None, None));
        assert_eq!(written(|out| put_commit(out, z)), java(4, wire, None, None));
        assert_eq!(written(|out| put_ping(out, z)), java(5, wire, None, None));
        assert_eq!(written(|out| put_proposal(out, z, b"txn")), java(2, wire, Some(b"txn"), None));
        assert_eq!(written(|out| put_inform(out, z, b"")), java(8, wire, Some(b""), None));
        assert_eq!(
            written(|out| put_leader_info(out, Epoch(6), PROTOCOL_VERSION)),
            java(17, 6 << 32, Some(&[0, 1, 0, 0]), None)
        );
        assert_eq!(written(|out| put_ack_epoch(out, z, -1)), java(18, wire, Some(&[0xFF; 4]), None));
        let info = [&long(3)[..], &[0, 1, 0, 0], &long(9)].concat();
        let ours = LearnerInfo::bytes(ServerId(3), PROTOCOL_VERSION, 9);
        assert_eq!(
            written(|out| put_with(out, PacketType::FOLLOWERINFO, Zxid::new(5, 0), &ours)),
            java(11, 5 << 32, Some(&info), None)
        );
        let touched = [&long(0x11)[..], &[0, 0, 0x75, 0x30], &long(0x12), &[0, 0, 0x0F, 0xA0]].concat();
        let sessions = [(SessionId(0x11), 30_000), (SessionId(0x12), 4_000)];
        assert_eq!(
            written(|out| put_ping_answer(out, z, sessions.into_iter())),
            java(5, wire, Some(&touched), None)
        );
        let asks = [&long(0x11)[..], &[0, 0, 0x75, 0x30]].concat();
        let revalidate = Revalidate { session: SessionId(0x11), timeout: 30_000 };
        assert_eq!(written(|out| revalidate.write(out)), java(6, -1, Some(&asks), None));
        let answer = [&long(0x11)[..], &[1]].concat();
        let revalidated = Revalidated { session: SessionId(0x11), valid: true };
        assert_eq!(written(|out| revalidated.write(out)), java(6, -1, Some(&answer), None));
        let request =
            ForwardedRequest { session: SessionId(0x11), cxid: 2, op: OpCode::SET_DATA, body: b"body" };
        let data = [&long(0x11)[..], &[0, 0, 0, 2, 0, 0, 0, 5], b"body"].concat();
        let ids = [Id::new("ip", "::1"), Id::new("digest", "u:p")];
        assert_eq!(
            written(|out| request.write(out, &ids)),
            java(1, -1, Some(&data), Some(&[("ip", "::1"), ("digest", "u:p")]))
        );
        assert_eq!(written(|out| request.write(out, &[])), java(1, -1, Some(&data), Some(&[])));
        assert_eq!(written(|out| put_bare(out, PacketType::SYNC, Zxid::ZERO)), java(7, 0, None, None));
    }

    /// Packets come back whole from a stream however it was cut, and none too early.
    #[test]
    fn every_cut() {
        let packets = [
            Packet::bare(PacketType::DIFF, Zxid::new(1, 2)),
            Packet::with(PacketType::PROPOSAL, Zxid::new(1, 3), b"a txn"),
            Packet {
                kind: PacketType::REQUEST,
                zxid: Zxid::from_wire(-1),
                data: Some(b""),
                ids: vec![Id::new("digest", "u:p"), Id::new("world", "anyone")],
            },
            Packet::bare(PacketType(99), Zxid::ZERO),
        ];
        let bytes = written(|out| packets.iter().for_each(|packet| packet.write(out)));
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut stream = PacketStream::default();
                let mut seen = 0;
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    stream.feed(piece);
                    while let Some(packet) = stream.next_packet().unwrap() {
                        assert_eq!(packet, packets[seen]);
                        seen += 1;
                    }
                }
                assert_eq!((seen, stream.rest().len()), (packets.len(), 0), "cut at {first} and {second}");
            }
        }
        let mut lengths = Vec::new();
        let mut rest = &bytes[..];
        while let Some((packet, length)) = Packet::read(rest).unwrap() {
            for cut in 0..length {
                assert_eq!(Packet::read(&rest[..cut]), Ok(None), "{packet:?} cut at {cut}");
            }
            lengths.push(length);
            rest = &rest[length..];
        }
        assert_eq!(lengths.iter().sum::<usize>(), bytes.len());
    }

    /// A length over its limit is refused before any of what it announces has come; the limits themselves are not.
    #[test]
    fn hostile_lengths() {
        let head = |length: i32| [&[0, 0, 0, 2][..], &long(1), &length.to_be_bytes()].concat();
        assert_eq!(Packet::read(&head(DATA_BYTES_MAX as i32)), Ok(None));
        for length in [DATA_BYTES_MAX as i32 + 1, i32::MAX] {
            assert!(matches!(
                Packet::read(&head(length)),
                Err(MessageError::TooLong { field: "data", limit: DATA_BYTES_MAX, .. })
            ));
        }
        for length in [-2, i32::MIN] {
            assert_eq!(
                Packet::read(&head(length)),
                Err(MessageError::Negative { field: "data", have: length })
            );
        }
        let ids = |count: i32, rest: &[u8]| [&head(-1)[..], &count.to_be_bytes(), rest].concat();
        assert_eq!(Packet::read(&ids(IDS_MAX as i32, &[])), Ok(None));
        assert!(Packet::read(&ids(IDS_MAX as i32 + 1, &[])).is_err());
        assert!(Packet::read(&ids(-2, &[])).is_err());
        assert!(Packet::read(&ids(1, &[0x7F, 0, 0, 0])).is_err());
        assert!(Packet::read(&ids(1, &[0xFF, 0xFF, 0xFF, 0xFE])).is_err());
        assert!(Packet::read(&ids(1, &[0xFF; 8])).is_err(), "a scheme is never null");
        // Each id within the limit, all of them not.
        let half = [&(IDS_BYTES_MAX as i32 / 2).to_be_bytes()[..], &vec![b'x'; IDS_BYTES_MAX / 2]].concat();
        let too_many = [half.as_slice(), &half, &half].concat();
        assert!(matches!(
            Packet::read(&ids(2, &too_many)),
            Err(MessageError::TooLong { field: "authinfo", .. })
        ));
    }

    /// The largest txn of the log travels, in pieces.
    #[test]
    fn the_largest_txn() {
        let txn = vec![7; TXN_BYTES_MAX];
        let bytes = written(|out| put_proposal(out, Zxid::new(1, 1), &txn));
        let mut stream = PacketStream::default();
        for piece in bytes[..bytes.len() - 1].chunks(1 << 20) {
            stream.feed(piece);
            assert_eq!(stream.next_packet(), Ok(None));
        }
        stream.feed(&bytes[bytes.len() - 1..]);
        assert_eq!(stream.next_packet().unwrap().unwrap().data, Some(&txn[..]));
        assert_eq!(stream.next_packet(), Ok(None));
    }

    /// After SNAP the bytes are given out as they are, and packets go on after them.
    #[test]
    fn a_tree_in_the_stream() {
        let bytes = written(|out| {
            put_bare(out, PacketType::SNAP, Zxid::new(1, 1));
            out.extend_from_slice(b"\xFF\xFF\xFF\xFFtree");
            put_commit(out, Zxid::new(1, 2));
        });
        let mut stream = PacketStream::default();
        stream.feed(&bytes);
        assert_eq!(stream.next_packet().unwrap().unwrap().kind, PacketType::SNAP);
        assert!(stream.rest().starts_with(b"\xFF\xFF\xFF\xFFtree"));
        stream.skip(8);
        assert_eq!(stream.next_packet().unwrap().unwrap().zxid, Zxid::new(1, 2));
    }

    /// A learner may send less of itself: the forms of 0, 8, 12 and 20 bytes.
    #[test]
    fn forms_of_learner_info() {
        let all = LearnerInfo::bytes(ServerId(3), PROTOCOL_VERSION, 9);
        let info =
            |sid, protocol_version, config_version| LearnerInfo { sid, protocol_version, config_version };
        assert_eq!(LearnerInfo::read(None), info(None, 0, 0));
        assert_eq!(LearnerInfo::read(Some(&all[..8])), info(Some(ServerId(3)), 0, 0));
        assert_eq!(LearnerInfo::read(Some(&all[..12])), info(Some(ServerId(3)), PROTOCOL_VERSION, 0));
        assert_eq!(LearnerInfo::read(Some(&all)), info(Some(ServerId(3)), PROTOCOL_VERSION, 9));
    }

    /// What writers put into data, readers find; data that is missing or ends early is an error of that message.
    #[test]
    fn data_of_packets() {
        let sessions = [(SessionId(1), 2), (SessionId(-3), 4)];
        let touched = written(|out| put_ping_answer(out, Zxid::ZERO, sessions.into_iter()));
        let (packet, _) = Packet::read(&touched).unwrap().unwrap();
        assert_eq!(Touched::read(packet.data).unwrap().collect::<Vec<_>>(), sessions);
        assert_eq!(Touched::read(None).unwrap().count(), 0);
        assert!(Touched::read(Some(&[0; 13])).is_err());
        for (length, refused) in [(0, true), (15, true), (16, false), (17, false)] {
            assert_eq!(ForwardedRequest::read(Some(&[0; 17][..length])).is_err(), refused, "{length} bytes");
        }
        assert!(ForwardedRequest::read(None).is_err());
        assert!(Revalidate::read(Some(&[0; 11])).is_err() && Revalidate::read(Some(&[0; 12])).is_ok());
        assert!(Revalidated::read(Some(&[0; 8])).is_err());
        assert_eq!(
            Revalidated::read(Some(&[0, 0, 0, 0, 0, 0, 0, 5, 1])),
            Ok(Revalidated { session: SessionId(5), valid: true })
        );
        assert_eq!(read_leader_info(Some(&[0, 1, 0, 1])), Ok(PROTOCOL_VERSION_CUMULATIVE));
        assert!(read_leader_info(None).is_err() && read_leader_info(Some(&[0, 1, 0])).is_err());
        assert_eq!(read_ack_epoch(Some(&[0xFF; 4])), Ok(-1));
    }
}
