//! The client's side of the wire: what a connection has asked, and what comes back.
//!
//! [`session`] is a state machine without I/O; `net` puts it on a blocking socket. The load
//! generator, `zkfast-cli` and the tests build on both.

pub mod net;
pub mod session;

pub use session::{Body, Event, Incoming, OpResult, Reply, Request, Session, SessionError};
