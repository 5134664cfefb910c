//! Tests of real processes: `zkfast` and Apache ZooKeeper, each on its own loopback ports.

mod harness;

mod cli;
mod console;
mod crash;
mod differential;
mod engines;
mod ensemble;
mod hostile;
mod http;
mod inputs;
mod java_data;
mod log_lines;
mod moves;
mod offline;
mod pause;
mod preload;
mod sessions;
mod settings;
mod slow_disk;
mod stalls;
mod systemd;
mod tls;
mod tools;
mod words;
