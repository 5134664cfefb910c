//! Settings of SASL between servers.

use crate::auth::Secret;
use std::collections::BTreeMap;

/// SASL between servers by DIGEST-MD5: `quorum.auth.enableSasl`. What serves clients is
/// [`SaslPolicy`](crate::auth::sasl::SaslPolicy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumSasl {
    /// `quorum.auth.serverRequireSasl`: a server that does not prove a user is kept out.
    pub server_requires: bool,
    /// `quorum.auth.learnerRequireSasl`: this server proves its user where it connects to another one.
    pub learner_requires: bool,
    /// Whom others may prove to be, and the passwords: section `quorum.auth.server.saslLoginContext`.
    pub users: BTreeMap<String, Secret>,
    /// Whom this server proves to be: section `quorum.auth.learner.saslLoginContext`.
    pub user: String,
    /// Its password.
    pub password: Secret,
}
