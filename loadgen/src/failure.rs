//! Why loadgen ends early.

use crate::engine::session::NoConnection;
use std::process::ExitCode;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A session could not be opened, or was lost.
    #[error(transparent)]
    NoConnection(#[from] NoConnection),
    /// The arguments ask for what cannot be done here: a file, a process, a limit of the system.
    #[error("{0}")]
    Usage(String),
    /// A server gave a reply that no correct server gives.
    #[error("wrong reply: {0}")]
    Wrong(String),
    /// Replies that were due did not come.
    #[error("{0}")]
    Unanswered(String),
}

impl Failure {
    /// 1 for replies that were wrong or missing, and for sessions that were refused; 2 for usage, 3 for connections.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Wrong(_)
            | Self::Unanswered(_)
            | Self::NoConnection(NoConnection::Login { .. } | NoConnection::RequiresSasl { .. }) => {
                ExitCode::from(1)
            }
            Self::Usage(_) => ExitCode::from(2),
            Self::NoConnection(_) => ExitCode::from(3),
        }
    }
}
