//! How users prove who they are, and how Kerberos knows both sides: what sections of a JAAS file say.

use super::{digest_md5, gssapi};
use crate::auth::secret::Secret;
use std::collections::BTreeMap;

/// How others prove to a server who they are: what a section of a JAAS file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// By a password of these.
    DigestMd5(BTreeMap<String, Secret>),
    /// By a ticket for this server's key.
    Gssapi(KerberosLogin),
}

/// How a server or a client is known to Kerberos: the options of `Krb5LoginModule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KerberosLogin {
    /// The principal, with or without its realm; `None` for whichever has a key, or a ticket.
    pub principal: Option<String>,
    /// The file of keys; `None` for the one that krb5.conf names.
    pub keytab: Option<String>,
    /// Tickets come out of a cache and not by a key; an empty path means the cache that the environment names.
    pub ticket_cache: Option<String>,
}

/// The server that a ticket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KerberosService {
    /// Its principal; one without a realm is of `realm`, or of that of the client's own principal.
    Principal {
        /// The principal, with or without its realm.
        name: String,
        /// Its realm.
        realm: Option<String>,
    },
    /// `service@host`, of which krb5.conf makes a principal.
    OfHost(String),
}

impl Mechanism {
    /// Longest token that a server takes, bytes.
    pub fn token_bytes_max(&self) -> usize {
        match self {
            Self::DigestMd5(_) => digest_md5::TOKEN_BYTES_MAX,
            Self::Gssapi(_) => gssapi::TOKEN_BYTES_MAX,
        }
    }
}
