//! `zkfast log` and `zkfast snapshot`: what is in files of zkfast's and of ZooKeeper's, without a server.
//!
//! The kind of a file shows in its content. Files are only read; `zkfast log recover` writes a new one. The page is
//! `src/docs/offline.md`.
//!
//! | what | files |
//! |---|---|
//! | the log | `log/`: `args`, `types` (of txns), `files` (which, in which order), `item` (what they hold), `java` and `segments` (the two kinds), `read` (both), `record` (a txn as a row), and a file for each command |
//! | snapshots | `snapshot/`: `args`, `files`, `read` (both kinds), `znode`, `image` (all of one, sorted), and a file for each command |
//! | both | `output` (stdout, stderr, exit status), `row` (fields as text or JSON), `values` (zxids, sessions, times as people write them), `names` (a folder's files) |
//!
//! Source: `TxnLogToolkit`, `SnapshotFormatter`, `SnapshotComparer`, `SnapshotRecursiveSummary`, Apache ZooKeeper 3.9.

mod log;
mod names;
mod output;
mod row;
mod snapshot;
mod values;

pub use log::{LogArgs, run as run_log};
pub use snapshot::{SnapshotArgs, run as run_snapshot};
