//! Load for anything that speaks ZooKeeper's protocol.
fn main() {}
