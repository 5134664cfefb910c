//! The client wire: jute primitives, frames, requests, replies, error codes.
//!
//! Every message is `int length` and `length` bytes, integers big-endian. Nothing here waits,
//! allocates before a length is checked, or knows a session: it turns bytes into records that
//! borrow from them, and records into bytes.
//!
//! Source: `zookeeper.jute` and package `org.apache.zookeeper.proto`, Apache ZooKeeper 3.9.

pub mod acl;
pub mod connect;
pub mod error;
pub mod event;
pub mod jute;
pub mod op;
pub mod path;
pub mod reply;
pub mod request;
pub mod server_id;
pub mod session_id;
pub mod stat;
pub mod zxid;

pub use acl::{Acl, Id, Perms};
pub use connect::{ConnectRequest, ConnectResponse};
pub use error::ErrorCode;
pub use event::{EventType, WatcherEvent};
pub use jute::{JuteWrite, Reader, Short};
pub use op::{OpCode, OpKind};
pub use reply::ReplyHeader;
pub use request::RequestHeader;
pub use server_id::ServerId;
pub use session_id::SessionId;
pub use stat::Stat;
pub use zxid::{Epoch, Zxid};

/// Largest frame a server takes unless `jute.maxbuffer` sets another limit, in bytes after the length.
/// Source: `BinaryInputArchive.maxBuffer`.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 0xFFFFF;

/// xid of a watch notification, server to client.
pub const XID_NOTIFICATION: i32 = -1;
/// xid of a ping and of every ping reply.
pub const XID_PING: i32 = -2;
/// xid that clients give to auth packets.
pub const XID_AUTH: i32 = -4;
/// xid that clients give to setWatches and setWatches2.
pub const XID_SET_WATCHES: i32 = -8;

/// Bytes of a session's password.
pub const PASSWORD_BYTES: usize = 16;
