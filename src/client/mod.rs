//! The client's side of the wire: what a connection has asked, and what comes back.
//!
//! [`session`] is a state machine without I/O; `net` puts it on a blocking socket, and `login` knows who the client proves
//! to be. The load generator and the tests build on all of them.
//!
//! # A session
//! Bytes go to and come from a socket, a file or a test:
//! ```
//! use zkfast::client::{Incoming, Request, Session};
//! use zkfast::proto::reply::put_status;
//! use zkfast::proto::{ErrorCode, Zxid};
//!
//! let (mut session, mut to_server) = (Session::default(), Vec::new());
//! let xid = session.put(&Request::Delete { path: b"/lock".to_vec(), version: -1 }, &mut to_server);
//!
//! // The server answers that there is no such znode.
//! let mut from_server = Vec::new();
//! put_status(&mut from_server, xid, 7, ErrorCode::NoNode);
//! session.feed(&from_server[..5]);
//! assert_eq!(session.next(), Ok(None), "part of a frame");
//! session.feed(&from_server[5..]);
//! let Ok(Some(Incoming::Reply(reply))) = session.next() else { panic!("a whole frame is a reply") };
//! assert_eq!((reply.header.xid, reply.header.err), (xid, ErrorCode::NoNode.to_wire()));
//! assert_eq!(session.last_zxid(), Zxid(7), "to show to the next server");
//! ```

pub mod login;
pub mod net;
pub mod session;

pub use session::{Body, Event, Incoming, OpResult, Reply, Request, Session, SessionError};
