//! Tests with real processes: `zkfast` and Apache ZooKeeper on loopback ports of their own.

mod harness;

mod crash;
mod differential;
mod ensemble;
mod hostile;
mod java_data;
mod pause;
mod settings;
mod words;
