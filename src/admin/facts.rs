//! What the commands of HTTP show and four-letter words do not: settings as they were given, the servers, files.

use super::Status;
use crate::config::Ensemble;
use crate::proto::Zxid;

/// What does not travel in a [`Status`](super::Status). Nothing in it is a
/// secret: the reader of the configuration has hidden those.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The configuration file as it was read; `None` without one.
    pub initial_configuration: Option<String>,
    /// Names and values of what Java has as system properties, by name.
    pub properties: Vec<(String, String)>,
    /// Of a member of an ensemble.
    pub member: Option<Member>,
    /// The newest snapshot, and when it was written in seconds since 1970.
    pub last_snapshot: Option<(Zxid, i64)>,
}

/// A server's place in its ensemble.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its number.
    pub id: i64,
    /// All servers: those of the start, until the server itself says which there are.
    pub ensemble: Ensemble,
}

impl Member {
    /// The same with the servers that there are now.
    pub fn now(&self, status: &Status) -> Self {
        let ensemble = status.ensemble.as_ref().unwrap_or(&self.ensemble);
        Self { id: self.id, ensemble: ensemble.clone() }
    }
}
