//! The audit log: lines of a target of their own, and the events of the server itself. Those of requests a view makes.
//!
//! All are INFO, failures too: an ERROR is for operators, and a client that finds a znode missing is no concern of theirs.
//! Java writes failures at ERROR.

use super::environment;
use crate::admin::{AUDIT_TARGET, AuditEvent, AuditResult};
use std::sync::atomic::{AtomicU8, Ordering};

/// No audit log, or no server yet.
const OFF: u8 = 0;
const STARTING: u8 = 1;
const STARTED: u8 = 2;

/// How far the server is. One process runs one server.
static STATE: AtomicU8 = AtomicU8::new(OFF);

/// A server starts; it has an audit log if `is_enabled`.
pub fn begin(is_enabled: bool) {
    STATE.store(if is_enabled { STARTING } else { OFF }, Ordering::Relaxed);
}

/// The server has started.
pub fn started() {
    if STATE.compare_exchange(STARTING, STARTED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        of_server("serverStart", AuditResult::Success);
    }
}

/// The server has been told to stop.
pub fn stopping() {
    if STATE.swap(OFF, Ordering::Relaxed) == STARTED {
        of_server("serverStop", AuditResult::Invoked);
    }
}

/// The process ends for an error.
pub fn ended() {
    match STATE.swap(OFF, Ordering::Relaxed) {
        STARTING => of_server("serverStart", AuditResult::Failure),
        STARTED => of_server("serverStop", AuditResult::Invoked),
        _ => {}
    }
}

/// Writes a line.
pub fn write(line: &str) {
    log::info!(target: AUDIT_TARGET, "{line}");
}

fn of_server(operation: &'static str, result: AuditResult) {
    write(&AuditEvent::of_server(&environment::user_name(), operation, result).to_string());
}
