//! The end of the process on an error: one log line with the reason, and one exit status for each kind.

use super::logging::Text;
use super::{audit, supervisor};
use crate::storage::{self, LogError};
use std::fmt::Display;
use std::path::Path;

/// The configuration or the command line cannot be used.
pub const EXIT_USAGE: i32 = 2;
/// The data directory cannot be used: it is in use, not writable, damaged, or ZooKeeper's.
pub const EXIT_DATA: i32 = 3;
/// The port is taken, or the address is not this host's.
pub const EXIT_PORT: i32 = 4;
/// The host refuses what the server needs: io_uring where it is asked for, a core, locked memory.
pub const EXIT_HOST: i32 = 5;
/// The log could not be written: unanswered writes may be lost, answered ones are safe.
pub const EXIT_LOG: i32 = 10;
/// A shard panicked or made no progress.
pub const EXIT_BUG: i32 = 11;

/// Logs why, and ends the process with this exit status.
pub fn exit(code: i32, why: impl Display) -> ! {
    log::error!(target: "server", "ended: status={code} why={}", Text(&why));
    audit::ended();
    supervisor::status(format_args!("ended: {why}"));
    log::logger().flush();
    std::process::exit(code)
}

/// Ends the process because the log cannot be written. A failed write or flush is never tried again: the kernel may have
/// dropped the page.
pub fn log_failed(dir: &Path, LogError { segment, what, error }: &LogError) -> ! {
    let file = dir.join(crate::wal::file_name(*segment));
    let hint = match storage::is_full(error) {
        true => ": free some space and start again; nothing acknowledged is lost",
        false => ": nothing acknowledged is lost; check the disk before starting again",
    };
    exit(EXIT_LOG, format_args!("log {}: {what}: {error}{hint}", file.display()))
}
