//! What the report of `zkfast check` says of one setting.

use super::super::finding::Origin;

/// What became of one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Does what it does in ZooKeeper.
    Effective,
    /// Known, and without effect.
    NoEffect,
    /// The reason why the server does not start.
    Refused,
    /// No key of 3.9.
    Unknown,
    /// A later setting of the same key counts.
    Overridden,
}

impl Verdict {
    /// In one or two words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::NoEffect => "no effect",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Overridden => "overridden",
        }
    }
}

/// One setting of any source, for `zkfast check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As written.
    pub key: String,
    /// As Java reads it, trimmed; `***` for secrets.
    pub shown: String,
    /// Where it stands.
    pub origin: Origin,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, or what else there is to say.
    pub notes: Vec<String>,
}
