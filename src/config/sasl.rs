//! Settings of SASL between servers, and of Kerberos.

use crate::auth::Secret;
use crate::auth::sasl::{KerberosLogin, Mechanism};

/// What Kerberos finds on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KerberosConfig {
    /// `java.security.krb5.conf`: its configuration; `None` for the host's
    pub krb5_conf: Option<String>,
    /// `requireKerberosConfig`: that must name a default realm
    pub is_required: bool,
}

/// SASL between servers: `quorum.auth.enableSasl`. What serves clients is
/// [`SaslPolicy`](crate::auth::sasl::SaslPolicy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumSasl {
    /// `quorum.auth.serverRequireSasl`: a server that does not prove who it is is kept out.
    pub server_requires: bool,
    /// `quorum.auth.learnerRequireSasl`: this server proves who it is where it connects to another one.
    pub learner_requires: bool,
    /// How others prove who they are: section `quorum.auth.server.saslLoginContext`.
    pub mechanism: Mechanism,
    /// Who this server proves to be: section `quorum.auth.learner.saslLoginContext`.
    pub login: QuorumLogin,
}

/// Who a server proves to be to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumLogin {
    /// A user, by its password.
    Password(String, Secret),
    /// A principal, by a ticket for the other server.
    Ticket {
        /// The principal.
        login: KerberosLogin,
        /// The other server's principal, where `_HOST` stands for its host: `quorum.auth.kerberos.servicePrincipal`.
        service: String,
        /// `server.realm`: its realm, where the principal names none; `None` for the realm of this server.
        realm: Option<String>,
    },
}

impl QuorumLogin {
    /// The principal of the server with this host. Source: `SecurityUtils.getServerPrincipal`.
    pub fn service_of(service: &str, host: &str) -> String {
        match service.strip_suffix("/_HOST") {
            Some(name) if !name.contains('/') => format!("{name}/{}", host.to_lowercase()),
            _ => service.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `_HOST` stands for the host as it is in the configuration, in small letters.
    #[test]
    fn host_pattern() {
        assert_eq!(QuorumLogin::service_of("zkquorum/_HOST", "ZK1.example"), "zkquorum/zk1.example");
        assert_eq!(QuorumLogin::service_of("zkquorum/localhost", "zk1"), "zkquorum/localhost");
        assert_eq!(QuorumLogin::service_of("zkquorum/_HOST@R", "zk1"), "zkquorum/_HOST@R");
    }
}
