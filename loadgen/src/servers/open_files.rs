//! The limit of open files, which sockets count against.

/// Raises the limit of open files so that `sockets` fit: a shell grants 1,024.
///
/// # Errors
/// The system allows no more; the message has the number and the command that shows the limit.
pub fn raise_limit(sockets: usize) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Open files beside the sockets.
    const OTHERS: u64 = 64;
    let limit = getrlimit(Resource::Nofile);
    let need = sockets as u64 + OTHERS;
    if limit.current.is_none_or(|current| current >= need) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(need), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("{need} open files are too many here (ulimit -Hn): {error}"))
}
