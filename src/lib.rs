//! ZooKeeper's protocol and guarantees in one native process, a thread per core on io_uring.
pub mod admin;
pub mod auth;
pub mod client;
pub mod config;
pub mod proto;
pub mod replica;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
pub mod snapshot;
pub mod tree;
pub mod txn;
pub mod wal;
pub mod watch;
