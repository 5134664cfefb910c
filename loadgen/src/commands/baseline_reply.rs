//! The replies of the baseline, without a socket.

use crate::commands::blocks::{Blocks, WRITE_BYTES_MAX};
use crate::engine::wire;
use std::io;
use zkfast::proto::event::put_event;
use zkfast::proto::jute::{JuteWrite, Reader, Short};
use zkfast::proto::reply::{put_reply, put_status};
use zkfast::proto::request::{self, Create, PathWatch, RequestHeader, SetData};
use zkfast::proto::{
    ConnectRequest, ErrorCode, EventType, FRAME_BYTES_MAX_DEFAULT, OpCode, SessionId, Stat, Zxid,
};

/// The least and the most session timeout that it grants, in milliseconds: those of a stock server.
const TIMEOUTS_MS: (i32, i32) = (4_000, 40_000);

const _: () = assert!(FRAME_BYTES_MAX_DEFAULT <= WRITE_BYTES_MAX, "a write fits a group");

/// What ends, and why.
pub enum End {
    /// One connection: its client left, or broke the protocol.
    Connection,
    /// The server: the disk failed.
    Disk(io::Error),
}

impl From<Short> for End {
    fn from(_: Short) -> Self {
        Self::Connection
    }
}

/// The state of a client between its requests.
#[derive(Default)]
pub struct Client {
    /// Replies that are not sent yet.
    pub out: Vec<u8>,
    /// The client has a session.
    pub is_open: bool,
    /// The client has asked for the end of its session.
    pub is_closing: bool,
    /// The client has written data that is not durable yet: no reply may leave before [`Replies::flush`].
    pub is_held: bool,
    /// The client gets an event with the next change.
    pub is_watching: bool,
}

/// Makes replies, and makes writes durable.
pub struct Replies {
    /// Body of every reply to getData; the digits of the key are put in.
    read: Vec<u8>,
    has_digits: bool,
    sessions: i64,
    /// Writes so far, durable or not: zxid and version of the last one.
    writes: i64,
    /// How often the disk was flushed so far.
    pub flushes: u64,
    blocks: Option<Blocks>,
    watched: Watched,
}

/// The one znode that clients watch.
#[derive(Default)]
struct Watched {
    path: Vec<u8>,
    /// What it holds: what was created last, or set since a client watches.
    data: Vec<u8>,
    has_watchers: bool,
    /// It was set since its watchers were told.
    has_changed: bool,
}

impl Replies {
    /// Values have `value_bytes` bytes; `blocks`, if given, make writes durable.
    pub fn new(value_bytes: u32, blocks: Option<Blocks>) -> Self {
        let mut read = Vec::new();
        read.put_buffer(Some(&wire::key_value(0, value_bytes)));
        Stat { data_bytes: value_bytes as i32, ..Stat::default() }.put(&mut read);
        let has_digits = value_bytes as usize >= wire::DIGITS;
        Self { read, has_digits, sessions: 0, writes: 0, flushes: 0, blocks, watched: Watched::default() }
    }

    fn zxid(&self) -> Zxid {
        Zxid::from_wire(self.writes)
    }

    /// The answer to `srvr` and `mntr`, by which loadgen recognizes a server that serves; `None` for other words.
    pub fn four_letter_word(&self, word: &[u8]) -> Option<String> {
        let version = env!("CARGO_PKG_VERSION");
        match word {
            b"srvr" => Some(format!(
                "Zookeeper version: floor-{version}, no ZooKeeper\nZxid: {:#x}\nMode: standalone\n",
                self.writes
            )),
            b"mntr" => Some(format!("zk_version\tfloor-{version}\nzk_cnt_fsynctime\t{}\n", self.flushes)),
            _ => None,
        }
    }

    /// Appends the reply to a frame.
    ///
    /// # Errors
    /// The frame is malformed ([`End::Connection`]), or the disk failed.
    pub fn reply(&mut self, client: &mut Client, frame: &[u8]) -> Result<(), End> {
        let mut reader = Reader::new(frame);
        if !client.is_open {
            let asked = ConnectRequest::read(&mut reader)?;
            self.sessions += i64::from(asked.session_id.is_none());
            let session =
                if asked.session_id.is_none() { SessionId(self.sessions) } else { asked.session_id };
            let timeout_ms = asked.timeout_ms.clamp(TIMEOUTS_MS.0, TIMEOUTS_MS.1);
            wire::put_session(&mut client.out, session, timeout_ms, asked.read_only);
            client.is_open = true;
            return Ok(());
        }
        let RequestHeader { xid, op } = RequestHeader::read(&mut reader)?;
        match op {
            OpCode::GET_DATA => {
                let PathWatch { path, watch } = PathWatch::read(&mut reader)?;
                if watch {
                    self.watch(client, xid, path);
                    return Ok(());
                }
                let (out, zxid) = (&mut client.out, self.zxid());
                put_reply(out, xid, zxid, |out| out.extend_from_slice(&self.read));
                if let (true, Some(digits)) = (self.has_digits, path.last_chunk::<{ wire::DIGITS }>()) {
                    let at = out.len() - self.read.len() + 4;
                    out[at..at + wire::DIGITS].copy_from_slice(digits);
                }
            }
            OpCode::SET_DATA => {
                let data = SetData::read(&mut reader)?.data.unwrap_or_default();
                self.write(client, frame)?;
                if self.watched.has_watchers {
                    self.watched.data = data.to_vec();
                    self.watched.has_changed = true;
                }
                let (mzxid, version, data_bytes) = (self.zxid(), self.writes as i32, data.len() as i32);
                let stat = Stat { mzxid, version, data_bytes, ..Stat::default() };
                put_reply(&mut client.out, xid, mzxid, |out| stat.put(out));
            }
            OpCode::CREATE => {
                let Create { path, data, .. } = Create::read(&mut reader, op)?;
                let path = path.unwrap_or_default();
                self.watched.data = data.unwrap_or_default().to_vec();
                self.write(client, frame)?;
                put_reply(&mut client.out, xid, self.zxid(), |out| out.put_string(path));
            }
            OpCode::SYNC => {
                let path = request::path(&mut reader)?;
                put_reply(&mut client.out, xid, self.zxid(), |out| out.put_string(path));
            }
            OpCode::PING | OpCode::CLOSE_SESSION => {
                put_reply(&mut client.out, xid, self.zxid(), |_| {});
                client.is_closing = op == OpCode::CLOSE_SESSION;
            }
            _ => put_status(&mut client.out, xid, self.writes, ErrorCode::Unimplemented),
        }
        Ok(())
    }

    /// Replies with what the watched znode holds, and notes that the client watches it.
    fn watch(&mut self, client: &mut Client, xid: i32, path: &[u8]) {
        client.is_watching = true;
        let zxid = self.zxid();
        let Watched { path: watched, data, has_watchers, .. } = &mut self.watched;
        *has_watchers = true;
        watched.clear();
        watched.extend_from_slice(path);
        put_reply(&mut client.out, xid, zxid, |out| {
            out.put_buffer(Some(data));
            Stat { data_bytes: data.len() as i32, ..Stat::default() }.put(out);
        });
    }

    /// True if the watched znode has changed: its watchers are to be told, once it is durable.
    pub fn take_change(&mut self) -> bool {
        let has_changed = std::mem::take(&mut self.watched.has_changed);
        self.watched.has_watchers &= !has_changed;
        has_changed
    }

    /// Appends the event of the change.
    pub fn put_event(&self, client: &mut Client) {
        put_event(&mut client.out, Some(self.zxid()), EventType::NodeDataChanged, &self.watched.path);
    }

    /// Counts a write and puts it into the group; a group that is full is flushed first.
    fn write(&mut self, client: &mut Client, frame: &[u8]) -> Result<(), End> {
        self.writes += 1;
        let Some(blocks) = &mut self.blocks else { return Ok(()) };
        client.is_held = true;
        if !blocks.put(frame) {
            self.flush().map_err(End::Disk)?;
            let is_put = self.blocks.as_mut().is_some_and(|blocks| blocks.put(frame));
            assert!(is_put, "{} bytes do not fit an empty group", frame.len());
        }
        Ok(())
    }

    /// Makes the group durable.
    ///
    /// # Errors
    /// The disk failed.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(blocks) = &mut self.blocks {
            blocks.overwrite()?;
            self.flushes += 1;
        }
        Ok(())
    }
}
