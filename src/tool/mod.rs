//! Commands of `zkfast` beside the server.

pub mod dev;
pub mod offline;
pub mod status;
