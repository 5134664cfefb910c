//! Commands of `zkfast` beside the server. They belong to the shell: they know sockets, files, the terminal and the clock.

pub mod cli;
pub mod dev;
pub mod offline;
pub mod status;
