//! Services to measure.
//!
//! | file | what it is |
//! |---|---|
//! | `target` | which service an argument names |
//! | `service` | a service that runs: its addresses, processes and version |
//! | `jars` | Apache ZooKeeper's jars, fetched with Maven |
//! | `children` | processes that loadgen started, and their end |
//! | `usage` | what processes used, from `/proc`, and flushes from `mntr` |
//! | `four_letter_word` | asks a server for `srvr` or `mntr` |
//! | `open_files` | raises the limit of sockets |

pub mod children;
mod four_letter_word;
mod jars;
pub mod open_files;
pub mod service;
pub mod target;
pub mod usage;
