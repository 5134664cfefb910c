//! What a server needs of Kerberos: the library, loaded if a section of the JAAS file asks for it, and this server's keys.

use super::{EXIT_HOST, EXIT_USAGE, exit};
use crate::auth::sasl::gssapi::Acceptor;
use crate::auth::sasl::{KerberosLogin, Mechanism};
use crate::config::{Config, QuorumLogin, QuorumSasl};
use crate::kerberos::{Kerberos, KerberosError};
use std::path::Path;
use std::sync::Arc;

/// The file of tickets that were shown to this server, in its data directory: one that is shown again is refused.
const REPLAYS: &str = "krb5.rcache";

/// Loads the library if `config` has a use for it, or ends the process.
pub fn load(config: &Config) -> Option<Kerberos> {
    let kerberos = wanted(config).map(|key| library(config, key)).transpose();
    kerberos.unwrap_or_else(|(key, why)| exit(EXIT_HOST, format_args!("{key}: {why}")))
}

/// This server's keys for those who log in by `mechanism`, or ends the process.
pub fn keys(
    kerberos: Option<&Kerberos>,
    mechanism: Option<&Mechanism>,
    data_dir: &Path,
) -> Option<Arc<dyn Acceptor>> {
    let login = login(mechanism)?;
    let keys = kerberos?.acceptor(login, &data_dir.join(REPLAYS));
    let keys = keys.unwrap_or_else(|why| exit(EXIT_USAGE, format_args!("{JAAS}: {why}")));
    Some(Arc::new(keys))
}

/// Why a start with `config` would find no Kerberos, with the key that wants it.
pub fn obstacle(config: &Config) -> Option<(&'static str, String)> {
    let kerberos = match library(config, wanted(config)?) {
        Ok(kerberos) => kerberos,
        Err(why) => return Some(why),
    };
    let servers = config.quorum_sasl.as_ref();
    let accepting = [config.sasl.mechanism.as_ref(), servers.map(|sasl| &sasl.mechanism)];
    let own = servers.and_then(|sasl| match &sasl.login {
        // Only the KDC knows whether a cache is of use.
        QuorumLogin::Ticket { login, .. } => Some(login).filter(|login| login.keytab.is_some()),
        QuorumLogin::Password(..) => None,
    });
    let logins = accepting.into_iter().filter_map(login).chain(own);
    let replays = config.data_dir.join(REPLAYS);
    let refused = logins.map(|login| kerberos.acceptor(login, &replays)).find_map(Result::err)?;
    Some((JAAS, refused.to_string()))
}

/// The key whose file has the sections of Kerberos.
const JAAS: &str = "java.security.auth.login.config";
const REQUIRED: &str = "requireKerberosConfig";

fn login(mechanism: Option<&Mechanism>) -> Option<&KerberosLogin> {
    match mechanism? {
        Mechanism::Gssapi(login) => Some(login),
        Mechanism::DigestMd5(_) => None,
    }
}

/// The key that wants the library.
fn wanted(config: &Config) -> Option<&'static str> {
    let between_servers =
        config.quorum_sasl.as_ref().is_some_and(|QuorumSasl { mechanism, login: own, .. }| {
            login(Some(mechanism)).is_some() || matches!(own, QuorumLogin::Ticket { .. })
        });
    match login(config.sasl.mechanism.as_ref()).is_some() || between_servers {
        true => Some(JAAS),
        false => config.kerberos.is_required.then_some(REQUIRED),
    }
}

/// The library, with a default realm where one is wanted.
fn library(config: &Config, key: &'static str) -> Result<Kerberos, (&'static str, String)> {
    let said = |why: KerberosError| (key, why.to_string());
    let kerberos = Kerberos::load(config.kerberos.krb5_conf.as_deref()).map_err(said)?;
    if config.kerberos.is_required && kerberos.default_realm().is_none() {
        let why = "true, and krb5.conf names no default_realm".to_owned();
        return Err((REQUIRED, why));
    }
    Ok(kerberos)
}
