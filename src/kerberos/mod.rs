//! Kerberos, by the library of MIT that the host has: loaded when the configuration asks for it, so that a host without it runs
//! everything else.
//!
//! | file | |
//! |---|---|
//! | `library` | the functions of the library, and nothing else that is unsafe |
//! | `context` | a context of one exchange |
//!
//! The library reads krb5.conf, keys and tickets by itself, and writes its cache of tickets that were shown. Only the side
//! that begins an exchange asks the KDC, and may wait for it. Source: RFC 2743, RFC 2744, RFC 4121.

mod context;
mod library;

use crate::auth::sasl::gssapi::{Acceptor, Context};
use crate::auth::sasl::{KerberosLogin, KerberosService};
use context::GssContext;
use library::{Credential, Library, Name, NameKind, Usage};
use std::path::Path;
use std::sync::Arc;

/// Why there is no Kerberos: what is wrong, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KerberosError {
    /// The library is not there, or not the one of MIT.
    #[error("{0}; on Debian: apt-get install libgssapi-krb5-2; on Fedora: krb5-libs")]
    Library(String),
    /// What the library says.
    #[error("{doing}: {why}")]
    Gss {
        /// What was asked of it.
        doing: String,
        /// Its answer.
        why: String,
    },
}

impl KerberosError {
    fn gss(doing: impl Into<String>) -> impl FnOnce(String) -> Self {
        let doing = doing.into();
        move |why| Self::Gss { doing, why }
    }
}

/// The library.
#[derive(Clone, Debug)]
pub struct Kerberos(Arc<Library>);

impl Kerberos {
    /// Loads it, 1.18 or later. It reads the configuration `krb5_conf`, or the one that the environment or the host names. Call
    /// this before the process has threads that read its environment.
    ///
    /// # Errors
    /// [`KerberosError::Library`] where the host has none.
    pub fn load(krb5_conf: Option<&str>) -> Result<Self, KerberosError> {
        if let Some(file) = krb5_conf {
            library::use_configuration(file);
        }
        Library::load().map(|library| Self(Arc::new(library))).map_err(KerberosError::Library)
    }

    /// The realm of names that have none; `None` where krb5.conf names none.
    pub fn default_realm(&self) -> Option<String> {
        self.0.default_realm()
    }

    /// The keys of a server: its principal must be in the keytab. `replays` is the file of tickets that were shown, which the
    /// first ticket makes.
    ///
    /// # Errors
    /// [`KerberosError::Gss`] where the keytab cannot be read, or has no key of the principal.
    pub fn acceptor(&self, login: &KerberosLogin, replays: &Path) -> Result<Keys, KerberosError> {
        let principal = login.principal.as_deref();
        let name = principal.map(|principal| self.name(principal)).transpose()?;
        let replays = format!("file2:{}", replays.display());
        let mut store = vec![("rcache", replays.as_str())];
        store.extend(login.keytab.as_deref().map(|keytab| ("keytab", keytab)));
        let doing = || {
            let (whose, keytab) = (principal.unwrap_or("any principal"), login.keytab.as_deref());
            format!("keys of {whose} in {}", keytab.unwrap_or("the keytab of krb5.conf"))
        };
        let credential = Credential::acquire(&self.0, name.as_ref(), Usage::Accept, &store)
            .map_err(|why| KerberosError::gss(doing())(why))?;
        Ok(Keys(Arc::new(credential)))
    }

    /// A context with a server, as the principal of `login`, and that principal. The context's first step waits for the KDC
    /// where there is no ticket yet.
    ///
    /// # Errors
    /// [`KerberosError::Gss`] where the keytab or the cache cannot be read, or the KDC gives no ticket.
    pub fn initiate(
        &self,
        login: &KerberosLogin,
        service: &KerberosService,
    ) -> Result<(Box<dyn Context>, String), KerberosError> {
        let name = login.principal.as_deref().map(|principal| self.name(principal)).transpose()?;
        let mut store = Vec::new();
        // Tickets of a key are kept in memory: the library gets new ones before they expire.
        let of_keytab = format!("MEMORY:zkfast-{}", login.principal.as_deref().unwrap_or_default());
        match (&login.keytab, &login.ticket_cache) {
            (Some(keytab), _) => store.extend([("ccache", of_keytab.as_str()), ("client_keytab", keytab)]),
            (None, Some(cache)) if !cache.is_empty() => store.push(("ccache", cache)),
            (None, _) => {}
        }
        let doing =
            || format!("a ticket of {}", login.principal.as_deref().unwrap_or("the cache's principal"));
        let credential = Credential::acquire(&self.0, name.as_ref(), Usage::Initiate, &store)
            .map_err(|why| KerberosError::gss(doing())(why))?;
        // The library forgets why a KDC gave no ticket when it is asked whose the credential is.
        let own = name.map_or_else(|| credential.principal(), |name| name.text());
        let own = own.map_err(|why| KerberosError::gss(doing())(why))?;
        let own_realm = own.rsplit_once('@').map_or("", |(_, realm)| realm);
        let target = match service {
            KerberosService::Principal { name, .. } if name.contains('@') => self.name(name),
            KerberosService::Principal { name, realm } => {
                self.name(&format!("{name}@{}", realm.as_deref().unwrap_or(own_realm)))
            }
            KerberosService::OfHost(name) => {
                let imported = Name::import(&self.0, name, NameKind::ServiceOfHost);
                imported.map_err(KerberosError::gss(format!("service {name:?}")))
            }
        };
        let context = GssContext::initiator(Arc::new(credential), target?);
        Ok((Box::new(context), own))
    }

    fn name(&self, principal: &str) -> Result<Name, KerberosError> {
        Name::import(&self.0, principal, NameKind::Principal)
            .map_err(KerberosError::gss(format!("principal {principal:?}")))
    }
}

/// What tickets of clients are for.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Credential>);

impl Acceptor for Keys {
    fn accept(&self) -> Box<dyn Context> {
        Box::new(GssContext::acceptor(self.0.clone()))
    }
}
