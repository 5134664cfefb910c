//! Tests with real processes: `zkfast` and Apache ZooKeeper on loopback ports of their own.

mod harness;

mod crash;
mod differential;
mod ensemble;
mod hostile;
mod java_data;
mod log_lines;
mod pause;
mod settings;
mod slow_disk;
mod stalls;
mod taken;
mod words;
