//! The `zkfast` command.
fn main() {}
