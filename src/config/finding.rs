//! What reading a configuration has to say: where, how bad, in one line.

use std::fmt;

/// Where a setting came from. Later ones win: built in, JVM flags, file, command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// zkfast's own settings for a start without a file.
    BuiltIn,
    /// `-Dname=value` in the environment variable of this name.
    Jvm {
        /// `JVMFLAGS` or `SERVER_JVMFLAGS`.
        variable: &'static str,
    },
    /// A line of zoo.cfg, of the dynamic file, or a whole file (line 0).
    File {
        /// The path as given.
        path: String,
        /// Counted from 1; 0 is the file as a whole.
        line: u32,
    },
    /// A flag of the command line, with its dashes.
    Flag {
        /// As typed: `--client-port`.
        name: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Jvm { variable } => f.write_str(variable),
            Self::File { path, line: 0 } => f.write_str(path),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Flag { name } => f.write_str(name),
        }
    }
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a line in `zkfast check`, not in the log of a start.
    Note,
    /// Something to look at; the server starts.
    Warning,
    /// The server does not start.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One remark about one setting. Shown as `zoo.cfg:5: tickTime: "0x7d0" is not a decimal number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where to look; `None` for what is missing everywhere.
    pub origin: Option<Origin>,
    /// The key as written, or empty.
    pub key: String,
    /// Value, limit and what to do. Secrets stay out.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}
