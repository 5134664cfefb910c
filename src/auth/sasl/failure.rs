//! Why an exchange failed.

/// Characters of a user that a failure shows.
const USER_CHARS_SHOWN: usize = 64;

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A token is too long.
    #[error("a token of {bytes} bytes, where {limit} may be")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What the mechanism takes.
        limit: usize,
    },
    /// A token is not in the form that the mechanism has for it.
    #[error("a token that is no {0}")]
    Malformed(&'static str),
    /// A directive stands there twice.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// A directive that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A directive has a value that was not offered, or belongs to another exchange.
    #[error("{0} is not what was offered")]
    Mismatch(&'static str),
    /// No such user.
    #[error("unknown user {0:?}")]
    UnknownUser(Box<str>),
    /// The response is that of another password.
    #[error("wrong password of user {0:?}")]
    WrongPassword(Box<str>),
    /// The name of a user is none that Kerberos has, or no rule has an id for it.
    #[error("user {0:?} has no name that an id may have")]
    Name(Box<str>),
    /// The other side went on after the exchange was over.
    #[error("a token after the end of the exchange")]
    Over,
    /// The server does not know the password either.
    #[error("the server does not know the password")]
    Impostor,
    /// What the library of Kerberos says.
    #[error("Kerberos: {0}")]
    Kerberos(Box<str>),
}

impl Failure {
    /// That of a user whose name is of no use.
    pub(super) fn name(user: &str) -> Self {
        Self::Name(shown(user))
    }
}

/// A name for a log line, not all of a long one.
pub(super) fn shown(user: &str) -> Box<str> {
    user.chars().take(USER_CHARS_SHOWN).collect()
}
