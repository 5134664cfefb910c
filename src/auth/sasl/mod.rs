//! Scheme `sasl`: who clients prove to be by SASL, and what that is worth.
//!
//! A connection has at most one exchange ([`Exchange`]), from its first token on. The mechanism is [`digest_md5`]; its users
//! are in the configuration. Nothing here knows a clock or a source of randomness: a nonce is made of a key that the shell
//! draws at the start and of what makes the exchange one of a kind.
//!
//! Source: `ZooKeeperServer.processSasl`, `SASLAuthenticationProvider`, `SaslServerCallbackHandler`, Apache ZooKeeper 3.9.

pub mod digest_md5;
pub mod login;
mod name;
pub mod quorum;

pub use name::{NameRules, Principal};

use super::secret::Secret;
use crate::proto::acl::{Id, SUPER};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use digest_md5::{Failure, Proved, Server, Service, TOKEN_BYTES_MAX};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The user whose ids match every entry of scheme `sasl`, and whose password has a key of its own.
pub const SUPER_USER: &str = "super";

/// How clients prove who they are by SASL, and what that is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaslPolicy {
    /// `authProvider.*` names `SASLAuthenticationProvider`: lists may have entries of scheme `sasl`, and they match.
    pub is_scheme: bool,
    /// Whom clients may prove to be by DIGEST-MD5, and the passwords; `None` without a section of a JAAS file.
    pub users: Option<BTreeMap<String, Secret>>,
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

/// Where a connection's exchange is.
#[derive(Debug, Default)]
pub enum Exchange {
    /// No token has come.
    #[default]
    New,
    /// It was asked, and its answer is due.
    Asked(Box<Server>),
    /// It has succeeded or failed; no token may follow.
    Over,
}

/// What a token leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The exchange goes on: the client gets this.
    Asks(Vec<u8>),
    /// It has succeeded: the client gets this, and has these ids.
    Proves(Vec<u8>, Vec<Id>),
}

impl Exchange {
    /// Takes the client's next token; `nonce` makes one that no other exchange has.
    ///
    /// # Errors
    /// [`Failure`]: the exchange is over.
    pub fn take(
        &mut self,
        policy: &SaslPolicy,
        token: &[u8],
        nonce: impl FnOnce() -> String,
    ) -> Result<Step, Failure> {
        let asked = std::mem::replace(self, Self::Over);
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Failure::TooLong(token.len()));
        }
        match asked {
            // An initial response would belong to an earlier exchange; a new one begins instead, as in OpenJDK.
            Self::New => {
                let server = Server::new(Service::CLIENTS, nonce());
                let challenge = server.challenge();
                *self = Self::Asked(Box::new(server));
                Ok(Step::Asks(challenge))
            }
            Self::Asked(server) => {
                let Proved { user, token, .. } =
                    server.verify(token, |user| policy.users.as_ref()?.get(user))?;
                let id = policy.names.id_of(&user).ok_or_else(|| Failure::Name(digest_md5::shown(&user)))?;
                Ok(Step::Proves(token, policy.ids_of(&id)))
            }
            Self::Over => Err(Failure::Over),
        }
    }
}

impl SaslPolicy {
    /// The ids of a client that has proved to be `user`.
    fn ids_of(&self, user: &str) -> Vec<Id> {
        let mut ids = vec![Id::new("sasl", user)];
        if !user.is_empty() && self.super_users.iter().any(|super_user| super_user == user) {
            ids.push(Id::new(SUPER, ""));
        }
        ids
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
    use super::digest_md5::Client;
    use super::*;

    fn policy() -> SaslPolicy {
        let users = ["bob", "a@b@c"].map(|user| (user.to_owned(), Secret::new("secret".to_owned())));
        SaslPolicy {
            users: Some(BTreeMap::from(users)),
            super_users: vec!["bob".to_owned()],
            ..SaslPolicy::default()
        }
    }

    /// An exchange with this nonce, in which `user` answers with `password`.
    fn exchange(nonce: &str, user: &str, password: &str) -> (Exchange, Vec<u8>, Result<Step, Failure>) {
        let policy = policy();
        let mut exchange = Exchange::default();
        let Step::Asks(challenge) = exchange.take(&policy, b"", || nonce.to_owned()).unwrap() else {
            panic!("no challenge");
        };
        let password = Secret::new(password.to_owned());
        let (_, answer) =
            Client::respond(Service::CLIENTS, user, &password, "cnonce", &challenge).expect("a challenge");
        let step = exchange.take(&policy, &answer, String::new);
        (exchange, answer, step)
    }

    /// Who proves a password has the id, and is super where the configuration says so.
    #[test]
    fn proves() {
        let (_, _, step) = exchange("1", "bob", "secret");
        let Ok(Step::Proves(token, ids)) = step else { panic!("{step:?}") };
        assert!(token.starts_with(b"rspauth="));
        assert_eq!(ids, [Id::new("sasl", "bob"), Id::new("super", "")]);
        assert_eq!(exchange("2", "bob", "other").2, Err(Failure::WrongPassword("bob".into())));
        assert_eq!(exchange("3", "ann", "secret").2, Err(Failure::UnknownUser("ann".into())));
        assert_eq!(exchange("4", "a@b@c", "secret").2, Err(Failure::Name("a@b@c".into())));
    }

    /// An answer that was right once is worth nothing a second time, in its exchange or in another one.
    #[test]
    fn replayed() {
        let policy = policy();
        let (mut same, answer, step) = exchange("1", "bob", "secret");
        assert!(step.is_ok());
        assert_eq!(same.take(&policy, &answer, String::new), Err(Failure::Over));
        let mut other = Exchange::default();
        assert!(matches!(other.take(&policy, b"", || "2".to_owned()), Ok(Step::Asks(_))));
        assert_eq!(other.take(&policy, &answer, String::new), Err(Failure::Mismatch("nonce")));
        assert_eq!(other.take(&policy, &answer, String::new), Err(Failure::Over));
        let mut long = Exchange::default();
        assert_eq!(long.take(&policy, &[0; 4097], String::new), Err(Failure::TooLong(4097)));
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
