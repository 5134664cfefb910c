//! Scheme `sasl`: who clients prove to be by SASL, and what that is worth.
//!
//! A connection has at most one exchange ([`Exchange`]), from its first token on. Its mechanism is [`digest_md5`], whose users
//! are in the configuration, or [`gssapi`], whose users the Kerberos library knows. Nothing here knows a clock or a source
//! of randomness: a nonce is made of a key that the shell draws at the start and of what makes the exchange one of a kind.
//!
//! Source: `ZooKeeperServer.processSasl`, `SASLAuthenticationProvider`, `SaslServerCallbackHandler`, Apache ZooKeeper 3.9.

pub mod digest_md5;
mod exchange;
mod failure;
pub mod gssapi;
pub mod login;
mod mechanism;
mod name;
pub mod quorum;
mod rules;

pub use exchange::{Exchange, Login, Means, Proved, Response, Step};
pub use failure::Failure;
pub use mechanism::{KerberosLogin, KerberosService, Mechanism};
pub use name::Principal;
pub use rules::{NameRules, RuleError, Rules};

use crate::proto::acl::{Id, SUPER};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The user whose ids match every entry of scheme `sasl`, and whose password has a key of its own.
pub const SUPER_USER: &str = "super";

/// How clients prove who they are by SASL, and what that is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaslPolicy {
    /// `authProvider.*` names `SASLAuthenticationProvider`: lists may have entries of scheme `sasl`, and they match.
    pub is_scheme: bool,
    /// How clients prove who they are; `None` without a section of a JAAS file.
    pub mechanism: Option<Mechanism>,
    /// `superUser`, `superUser.*`: ids that make a connection super
    pub super_users: Vec<String>,
    /// `letAnySaslUserDoX`: entries with this id match every client that has one of scheme `sasl`
    pub any_user: Option<String>,
    /// Clients must prove an id of scheme `sasl` before anything else.
    pub is_required: bool,
    /// `allowSaslFailedClients`: a connection whose exchange fails stays, unless it is required
    pub failed_may_stay: bool,
    /// What of a name the id has.
    pub names: NameRules,
}

/// What nonces are made of: drawn at each start, and known to the server alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NonceKey(pub [u8; 32]);

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl NonceKey {
    /// The nonce of what `parts` name: it cannot be told without the key, and other parts have another one.
    pub fn nonce(&self, parts: &[u64]) -> String {
        let hash = Sha256::new_with_prefix(self.0);
        let hash = parts.iter().fold(hash, |hash, part| hash.chain_update(part.to_be_bytes()));
        STANDARD.encode(hash.finalize())
    }
}

impl SaslPolicy {
    /// The ids of a client that has proved to be `user`.
    ///
    /// # Errors
    /// [`Failure::Name`] where its name is none.
    pub fn ids_of(&self, user: &str) -> Result<Vec<Id>, Failure> {
        let user = self.names.id_of(user).ok_or_else(|| Failure::name(user))?;
        let mut ids = vec![Id::new("sasl", user.as_str())];
        if !user.is_empty() && self.super_users.contains(&user) {
            ids.push(Id::new(SUPER, ""));
        }
        Ok(ids)
    }

    /// Whether the id `user` is one that the entry's `expression` means.
    pub(super) fn matches(&self, user: &str, expression: &str) -> bool {
        user == SUPER_USER || user == expression || self.any_user.as_deref() == Some(expression)
    }
}

/// Whether a list may have an entry with this id.
pub(super) fn is_valid(id: &str) -> bool {
    Principal::parse(id).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has proved a name has its id, and is super where the configuration says so.
    #[test]
    fn ids() {
        let policy = SaslPolicy { super_users: vec!["bob".to_owned()], ..SaslPolicy::default() };
        assert_eq!(policy.ids_of("bob"), Ok(vec![Id::new("sasl", "bob"), Id::new("super", "")]));
        assert_eq!(policy.ids_of("ann"), Ok(vec![Id::new("sasl", "ann")]));
        assert_eq!(policy.ids_of("a@b@c"), Err(Failure::Name("a@b@c".into())));
    }

    /// Nonces differ with every part of what they are of, and with the key.
    #[test]
    fn nonces() {
        let key = NonceKey([1; 32]);
        assert_ne!(key.nonce(&[1, 2]), key.nonce(&[2, 1]));
        assert_ne!(key.nonce(&[1, 2]), NonceKey([2; 32]).nonce(&[1, 2]));
        assert!(key.nonce(&[1]).len() >= 43 && key.nonce(&[1]) == key.nonce(&[1]));
        assert_eq!(format!("{key:?}"), "***");
    }
}
