//! SASL: the sections of the JAAS file, for clients and between servers, and what ids by it are worth.

use super::super::jaas::{self, Class, Jaas, Module};
use super::super::key::Key;
use super::super::properties::java_trim;
use super::super::reading::shorten;
use super::super::sasl::{KerberosConfig, QuorumLogin, QuorumSasl};
use super::super::{Loader, keys};
use super::classes;
use super::entries::Entries;
use super::setting::Verdict;
use crate::auth::Secret;
use crate::auth::sasl::{KerberosLogin, Mechanism, NameRules, Rules, SUPER_USER, SaslPolicy};

/// The scheme's name.
pub(super) const SCHEME: &str = "sasl";

/// True if lists may have entries of scheme `sasl`. Source: `ProviderRegistry`.
pub(super) fn is_scheme(entries: &Entries) -> bool {
    classes::has_provider(entries, classes::SASL)
}

/// The JAAS file, if one is named and can be read.
pub(super) fn file(entries: &mut Entries, loader: &dyn Loader) -> Option<Jaas> {
    let key = &keys::JAAS_FILE;
    let text = entries.get(key)?;
    let path = jaas::path(&text);
    let read = loader.read(path).map_err(|error| format!("{}: {error}", shorten(path)));
    let text = read
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", shorten(path))));
    let jaas = text.and_then(|text| {
        let text = Secret::new(text);
        Jaas::parse(text.reveal()).map_err(|error| format!("{}: {error}", shorten(path)))
    });
    let jaas = jaas.map_err(|message| entries.fault(key.name, message)).ok()?;
    if !loader.is_private(path) {
        let message = format!("{} has passwords, and other users may read it: chmod 600", shorten(path));
        entries.warn(key.name, message);
    }
    Some(jaas)
}

/// How clients prove who they are, and what that is worth.
pub(super) fn clients(
    entries: &mut Entries,
    jaas: Option<&Jaas>,
    loader: &dyn Loader,
    enforced: Option<&[String]>,
) -> SaslPolicy {
    let mechanism = mechanism_of_clients(entries, jaas, loader);
    let is_required = enforced.is_some_and(|schemes| schemes.iter().any(|scheme| scheme == SCHEME));
    if mechanism.is_none() && enforced.is_some_and(|schemes| schemes.iter().all(|scheme| scheme == SCHEME)) {
        let key = match entries.get(&keys::SESSION_REQUIRES_SASL) {
            true => keys::SESSION_REQUIRES_SASL.name,
            false => keys::ENFORCE_AUTH_SCHEMES.name,
        };
        let section = entries.get(&keys::SERVER_SECTION);
        let message = format!(
            "no client could do anything: {} names no file with a section {}",
            keys::JAAS_FILE.name,
            shorten(&section)
        );
        entries.fault(key, message);
    }
    SaslPolicy {
        is_scheme: is_scheme(entries),
        mechanism,
        super_users: super_users(entries),
        any_user: entries.get(&keys::ANY_SASL_USER),
        is_required,
        failed_may_stay: entries.get(&keys::ALLOW_SASL_FAILED),
        names: NameRules {
            remove_host: entries.get(&keys::REMOVE_HOST),
            remove_realm: entries.get(&keys::REMOVE_REALM),
            rules: rules(entries),
            default_realm: String::new(),
        },
    }
}

/// What Kerberos finds on the host.
pub(super) fn kerberos_of_host(entries: &Entries) -> KerberosConfig {
    KerberosConfig {
        krb5_conf: entries.get(&keys::KRB5_CONF),
        is_required: entries.get(&keys::REQUIRES_KERBEROS),
    }
}

/// `security.auth_to_local`
fn rules(entries: &mut Entries) -> Rules {
    let key = &keys::AUTH_TO_LOCAL;
    let rules = Rules::parse(&entries.get(key));
    rules.unwrap_or_else(|error| {
        entries.fault(key.name, error.to_string());
        Rules::default()
    })
}

/// How clients prove who they are; `None` where they cannot.
fn mechanism_of_clients(
    entries: &mut Entries,
    jaas: Option<&Jaas>,
    loader: &dyn Loader,
) -> Option<Mechanism> {
    let section = &keys::SERVER_SECTION;
    let name = entries.get(section);
    let Some(modules) = jaas?.section(&name) else {
        let message = format!("has no section {}: clients cannot use SASL", shorten(&name));
        match entries.is_given(section) || is_scheme(entries) {
            true => entries.warn(keys::JAAS_FILE.name, message),
            false => entries.note(keys::JAAS_FILE.name, message),
        }
        return None;
    };
    let mut mechanism = mechanism(entries, &name, modules, loader)?;
    // Java asks for the password by its key where the file has the user, too.
    if let Some(password) = entries.get(&keys::SASL_SUPER_PASSWORD) {
        let kept = match &mut mechanism {
            Mechanism::DigestMd5(users) => users.get_mut(SUPER_USER),
            Mechanism::Gssapi(_) => None,
        };
        match kept {
            Some(kept) => *kept = Secret::new(password),
            None => {
                let message = format!("does nothing: section {} has no user_{SUPER_USER}", shorten(&name));
                entries.warn(keys::SASL_SUPER_PASSWORD.name, message);
            }
        }
    }
    Some(mechanism)
}

/// How others prove to this server who they are, by a section for servers.
fn mechanism(
    entries: &mut Entries,
    name: &str,
    modules: &[Module],
    loader: &dyn Loader,
) -> Option<Mechanism> {
    if let Class::Kerberos(module) = class(entries, name, modules)? {
        return accepting(entries, name, module, loader).map(Mechanism::Gssapi);
    }
    let users = jaas::users(modules);
    if users.is_empty() {
        let message = format!(
            "section {} has no user_NAME=\"PASSWORD\": no client and no server gets in",
            shorten(name)
        );
        entries.warn(keys::JAAS_FILE.name, message);
    }
    Some(Mechanism::DigestMd5(users))
}

fn class<'a>(entries: &mut Entries, name: &str, modules: &'a [Module]) -> Option<Class<'a>> {
    let class = jaas::class(modules);
    let fault = |why| entries.fault(keys::JAAS_FILE.name, format!("section {}: {why}", shorten(name)));
    class.map_err(fault).ok()
}

/// The options of a section of Kerberos, whose keytab can be read.
fn kerberos(
    entries: &mut Entries,
    name: &str,
    module: &Module,
    loader: &dyn Loader,
) -> Option<KerberosLogin> {
    let login = jaas::kerberos(module);
    let fault = |why| entries.fault(keys::JAAS_FILE.name, format!("section {} {why}", shorten(name)));
    let login = login.map_err(fault).ok()?;
    if let Some(path) = &login.keytab {
        if let Err(error) = loader.read(path) {
            let message = format!("section {}: keyTab {}: {error}", shorten(name), shorten(path));
            entries.fault(keys::JAAS_FILE.name, message);
            return None;
        }
        if !loader.is_private(path) {
            let message = format!("{} has keys, and other users may read it: chmod 600", shorten(path));
            entries.warn(keys::JAAS_FILE.name, message);
        }
    }
    Some(login)
}

/// How this server is known to those who connect.
fn accepting(
    entries: &mut Entries,
    name: &str,
    module: &Module,
    loader: &dyn Loader,
) -> Option<KerberosLogin> {
    let login = kerberos(entries, name, module, loader)?;
    let lacks = match (&login.ticket_cache, module.options.get("principal")) {
        (Some(_), _) => "useKeyTab=true and keyTab=\"FILE\" in place of useTicketCache: a server has a key",
        (None, None) => "principal=\"SERVICE/HOST@REALM\"",
        (None, Some(_)) => return Some(login),
    };
    entries.fault(keys::JAAS_FILE.name, format!("section {} lacks {lacks}", shorten(name)));
    None
}

/// Ids that make a connection super.
fn super_users(entries: &Entries) -> Vec<String> {
    let is_one = |name: &str| name == keys::SASL_SUPER_USER || name == keys::SASL_SUPER_USERS;
    let counting = entries.all.iter().filter(|entry| {
        entry.row.is_some_and(|row| is_one(row.name)) && entry.verdict != Verdict::Overridden
    });
    counting.map(|entry| entry.text().to_owned()).filter(|user| !user.is_empty()).collect()
}

/// SASL between the servers of an ensemble; `None` for a server alone, where it is off, or where something is wrong.
pub(super) fn quorum(
    entries: &mut Entries,
    jaas: Option<&Jaas>,
    loader: &dyn Loader,
    is_member: bool,
) -> Option<QuorumSasl> {
    check_quorum(entries);
    if !is_member || !entries.get(&keys::QUORUM_SASL) {
        return None;
    }
    if jaas.is_none() {
        if !entries.is_refused(&keys::JAAS_FILE) {
            let message = format!("wants {}: a JAAS file", keys::JAAS_FILE.name);
            entries.fault(keys::QUORUM_SASL.name, message);
        }
        return None;
    }
    let server = section(entries, jaas, &keys::QUORUM_SERVER_SECTION);
    let mechanism = server.and_then(|(name, modules)| mechanism(entries, &name, modules, loader));
    let learner = section(entries, jaas, &keys::QUORUM_LEARNER_SECTION);
    let login = learner.and_then(|(name, modules)| own_login(entries, &name, modules, loader));
    Some(QuorumSasl {
        server_requires: entries.get(&keys::SERVER_REQUIRES_SASL),
        learner_requires: entries.get(&keys::LEARNER_REQUIRES_SASL),
        mechanism: mechanism?,
        login: login?,
    })
}

/// A section that must be there, by its key.
fn section<'a>(
    entries: &mut Entries,
    jaas: Option<&'a Jaas>,
    key: &'static Key<String>,
) -> Option<(String, &'a [Module])> {
    let name = entries.get(key);
    let name = java_trim(&name).to_owned();
    if let Some(modules) = jaas?.section(&name) {
        return Some((name, modules));
    }
    let message = format!("the JAAS file has no section {}", shorten(&name));
    entries.fault(key.name, message);
    None
}

/// Who this server proves to be to others. Source: `DigestLoginModule`, `SaslQuorumAuthLearner`.
fn own_login(
    entries: &mut Entries,
    name: &str,
    modules: &[Module],
    loader: &dyn Loader,
) -> Option<QuorumLogin> {
    if let Class::Kerberos(module) = class(entries, name, modules)? {
        let login = kerberos(entries, name, module, loader)?;
        let (service, realm) = (entries.get(&keys::QUORUM_SERVICE), entries.get(&keys::SERVER_REALM));
        if service.contains("/_HOST@") {
            let message = format!(
                "{}: _HOST must be its end; {} names the realm",
                shorten(&service),
                keys::SERVER_REALM.name
            );
            entries.fault(keys::QUORUM_SERVICE.name, message);
        }
        return Some(QuorumLogin::Ticket { login, service, realm });
    }
    let Some((user, password)) = jaas::user_and_password(modules) else {
        let message = format!("section {} lacks username and password", shorten(name));
        entries.fault(keys::JAAS_FILE.name, message);
        return None;
    };
    Some(QuorumLogin::Password(user, password))
}

/// Refuses keys that want others. Source: `QuorumPeerConfig.parseProperties`.
fn check_quorum(entries: &mut Entries) {
    let enabled = &keys::QUORUM_SASL;
    let (server, learner) = (&keys::SERVER_REQUIRES_SASL, &keys::LEARNER_REQUIRES_SASL);
    for (key, wanted) in [(server, enabled), (learner, enabled), (server, learner)] {
        if entries.get(key) && !entries.get(wanted) {
            entries.fault(key.name, format!("wants {}=true", wanted.name));
        }
    }
}
