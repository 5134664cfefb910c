//! Commands of `zkfast` beside the server.

pub mod offline;
