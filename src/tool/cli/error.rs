//! Why a verb ended without success, and the exit status for it.

use crate::auth::sasl::login::LoginError;
use crate::client::net::ClientError;
use crate::proto::ErrorCode;
use serde_json::{Value, json};
use std::fmt;
use std::io;

/// Exit status of a verb that is done.
pub const EXIT_DONE: u8 = 0;
/// Exit status where the server refused, or a comparison found differences.
pub const EXIT_REFUSED: u8 = 1;
/// Exit status of a command line that cannot be used.
pub const EXIT_USAGE: u8 = 2;
/// Exit status where no server answers, or the connection is lost.
pub const EXIT_CONNECTION: u8 = 4;
/// Exit status where a file, standard input or standard output cannot be read or written.
pub const EXIT_FILES: u8 = 5;

/// Why a verb ended without success.
#[derive(Debug)]
pub enum CliError {
    /// The server answered with an error code.
    Refused {
        /// The code in the reply's header.
        code: i32,
        /// The znode that was asked for, from the chroot on; may be empty.
        path: String,
        /// What is known of the reason beside that; may be empty.
        why: String,
    },
    /// The server does not accept who the client wants to be by SASL.
    Login(LoginError),
    /// The verb itself found that it cannot go on, or a difference; the text says why.
    Failed(String),
    /// The words of the command cannot be used.
    Usage(String),
    /// No server answers, or the connection or the session is lost.
    Lost(String),
    /// A file, standard input or standard output cannot be read or written.
    Files(String),
    /// The reader of standard output has closed its end: no error, and nothing is left to do.
    ReaderGone,
}

impl CliError {
    /// The server's answer `code` to a request for `path`.
    pub fn refused(code: i32, path: &str) -> Self {
        Self::Refused { code, path: path.to_owned(), why: String::new() }
    }

    /// The same with the reason for the code, where the server refused.
    pub fn because(self, reason: String) -> Self {
        match self {
            Self::Refused { code, path, .. } => Self::Refused { code, path, why: reason },
            other => other,
        }
    }

    /// True if the server answered with `wanted`.
    pub fn is(&self, wanted: ErrorCode) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted.to_wire())
    }

    /// The exit status of a process that ends with this.
    pub fn status(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Login(_) | Self::Failed(_) => EXIT_REFUSED,
            Self::Usage(_) => EXIT_USAGE,
            Self::Lost(_) => EXIT_CONNECTION,
            Self::Files(_) => EXIT_FILES,
            Self::ReaderGone => EXIT_DONE,
        }
    }

    /// `{"error": NAME, "code": N, "path": PATH, "message": TEXT}`; `code` and `path` only where the server refused,
    /// `path` only where it refused a request.
    pub fn json(&self) -> Value {
        let message = self.to_string();
        match self {
            Self::Refused { code, path, .. } => {
                json!({ "error": code_name(*code), "code": code, "path": path, "message": message })
            }
            Self::Login(error) => {
                let code = error.code();
                json!({ "error": format!("{code:?}"), "code": code.to_wire(), "message": message })
            }
            Self::Failed(_) => json!({ "error": "Failed", "message": message }),
            Self::Usage(_) => json!({ "error": "Usage", "message": message }),
            Self::Lost(_) => json!({ "error": "ConnectionLoss", "message": message }),
            Self::Files(_) | Self::ReaderGone => json!({ "error": "Files", "message": message }),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, path, why } => {
                let colon = if why.is_empty() { "" } else { ": " };
                write!(f, "{} ({}){colon}{why}", refusal(*code, path), code_name(*code))
            }
            Self::Failed(text) | Self::Usage(text) | Self::Files(text) => f.write_str(text),
            Self::Login(error) => write!(f, "{error} ({:?})", error.code()),
            Self::Lost(text) => write!(f, "{text} (ConnectionLoss)"),
            Self::ReaderGone => f.write_str("standard output is closed"),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Login(error) => Self::Login(error),
            error => Self::Lost(error.to_string()),
        }
    }
}

/// Errors of standard output; those of files say which file where they arise.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::Files(format!("standard output cannot be written: {error}"))
    }
}

/// The name of an error code, as `KeeperException.Code` says it in a message: `NoNode`.
pub fn code_name(code: i32) -> String {
    ErrorCode::from_wire(code).map_or_else(|| format!("code {code}"), |known| format!("{known:?}"))
}

/// The sentence of zkCli for an error code.
///
/// Source: `CliWrapperException.getMessage`.
fn refusal(code: i32, path: &str) -> String {
    let sentence = match ErrorCode::from_wire(code) {
        Some(ErrorCode::NoNode) => "Node does not exist:",
        Some(ErrorCode::NoChildrenForEphemerals) => "Ephemerals cannot have children:",
        Some(ErrorCode::NodeExists) => "Node already exists:",
        Some(ErrorCode::NotEmpty) => "Node not empty:",
        Some(ErrorCode::NotReadOnly) => "Not a read-only call:",
        Some(ErrorCode::InvalidAcl) => "Acl is not valid :",
        Some(ErrorCode::NoAuth) => "Insufficient permission :",
        Some(ErrorCode::BadArguments) => "Arguments are not valid :",
        Some(ErrorCode::BadVersion) => "version No is not valid :",
        Some(ErrorCode::QuotaExceeded) => "Quota has exceeded :",
        Some(ErrorCode::AuthFailed) => "The server did not accept the credentials:",
        Some(ErrorCode::SessionClosedRequireSaslAuth) => {
            "The server serves only clients that prove by SASL who they are (see --jaas):"
        }
        Some(ErrorCode::ReconfigInProgress) => "Another reconfiguration is in progress",
        Some(ErrorCode::ReconfigDisabled) => "Reconfig is disabled",
        Some(ErrorCode::NewConfigNoQuorum) => {
            "No quorum of the new configuration is connected and up to date; start its servers, then try again"
        }
        Some(ErrorCode::NoWatcher) => "No such watcher for",
        _ => "The server refused",
    };
    if path.is_empty() {
        sentence.trim_end_matches([':', ' ']).to_owned()
    } else {
        format!("{sentence} {path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal has zkCli's sentence, the path and the name of the code; the status tells the kinds apart.
    #[test]
    fn texts_and_statuses() {
        let refused = CliError::refused(-101, "/a");
        assert_eq!(refused.to_string(), "Node does not exist: /a (NoNode)");
        assert_eq!(
            refused.json(),
            json!({ "error": "NoNode", "code": -101, "path": "/a", "message": "Node does not exist: /a (NoNode)" })
        );
        assert_eq!(
            CliError::refused(-115, "").to_string(),
            "The server did not accept the credentials (AuthFailed)"
        );
        let login = CliError::from(ClientError::Login(LoginError::NotServed));
        assert!(login.to_string().ends_with("section for clients (AuthFailed)"), "{login}");
        assert_eq!((&login.json()["error"], &login.json()["code"]), (&json!("AuthFailed"), &json!(-115)));
        assert_eq!(login.status(), EXIT_REFUSED);
        assert_eq!(CliError::refused(-77, "/a").to_string(), "The server refused /a (code -77)");
        let statuses = [
            refused.status(),
            CliError::Usage(String::new()).status(),
            CliError::from(ClientError::Closed).status(),
            CliError::from(io::Error::from(io::ErrorKind::StorageFull)).status(),
            CliError::from(io::Error::from(io::ErrorKind::BrokenPipe)).status(),
        ];
        assert_eq!(statuses, [1, 2, 4, 5, 0]);
    }
}
