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
    let kerberos = wanted(config).then(|| library(config)).transpose();
    kerberos.unwrap_or_else(|(key, why)| exit(EXIT_HOST, format_args!("{key}: {why}")))
}

/// This server's keys for those who log in by `mechanism`, or ends the process.
pub fn keys(
    kerberos: Option<&Kerberos>,
    mechanism: Option<&Mechanism>,
    data_dir: &Path,
) -> Option<Arc<dyn Acceptor>> {
    let login = login(mechanism)?;
    let keys = kerberos?.acceptor(login, Some(&data_dir.join(REPLAYS)));
    let keys = keys.unwrap_or_else(|why| exit(EXIT_USAGE, format_args!("{JAAS}: {why}")));
    Some(Arc::new(keys))
}

/// Why a start with `config` would find no Kerberos, with the key that wants it.
pub fn obstacle(config: &Config) -> Option<(&'static str, String)> {
    if !wanted(config) {
        return None;
    }
    let kerberos = match library(config) {
        Ok(kerberos) => kerberos,
        Err(why) => return Some(why),
    };
    let of_servers = config.quorum_sasl.as_ref().map(|sasl| &sasl.mechanism);
    let logins = [config.sasl.mechanism.as_ref(), of_servers].into_iter().filter_map(login);
    let refused = logins.map(|login| kerberos.acceptor(login, None)).find_map(Result::err)?;
    Some((JAAS, refused.to_string()))
}

/// The key whose file has the sections of Kerberos.
const JAAS: &str = "java.security.auth.login.config";

fn login(mechanism: Option<&Mechanism>) -> Option<&KerberosLogin> {
    match mechanism? {
        Mechanism::Gssapi(login) => Some(login),
        Mechanism::DigestMd5(_) => None,
    }
}

fn wanted(config: &Config) -> bool {
    let between_servers =
        config.quorum_sasl.as_ref().is_some_and(|QuorumSasl { mechanism, login: own, .. }| {
            login(Some(mechanism)).is_some() || matches!(own, QuorumLogin::Ticket { .. })
        });
    login(config.sasl.mechanism.as_ref()).is_some() || between_servers || config.kerberos.is_required
}

/// The library, with a default realm where one is wanted.
fn library(config: &Config) -> Result<Kerberos, (&'static str, String)> {
    let said = |why: KerberosError| (JAAS, why.to_string());
    let kerberos = Kerberos::load(config.kerberos.krb5_conf.as_deref()).map_err(said)?;
    if config.kerberos.is_required && kerberos.default_realm().is_none() {
        let why = "true, and krb5.conf names no default_realm".to_owned();
        return Err(("requireKerberosConfig", why));
    }
    Ok(kerberos)
}
