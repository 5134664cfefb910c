//! TLS for clients: ports, stores, versions, cipher suites.

use super::super::key::Key;
use super::super::keys;
use super::super::properties::java_trim;
use super::super::reading::shorten;
use super::super::tls::{
    ClientAuth, NoKind, NoVersion, Password, StoreConfig, StoreKind, TlsConfig, TlsVersions, words,
};
use super::entries::Entries;
use std::path::PathBuf;

/// The keys of one store.
struct StoreKeys {
    location: &'static Key<Option<String>>,
    kind: &'static Key<Option<String>>,
    password: &'static Key<Option<String>>,
    password_path: &'static Key<Option<String>>,
    /// Of a key store.
    private_key: Option<&'static Key<Option<String>>>,
}

/// The keys of one family.
struct Family {
    prefix: &'static str,
    key_store: StoreKeys,
    trust_store: StoreKeys,
    client_auth: &'static Key<String>,
    protocol: &'static Key<Option<String>>,
    enabled_protocols: &'static Key<Option<String>>,
    cipher_suites: &'static Key<Option<String>>,
    hostname_verification: &'static Key<bool>,
    client_hostname_verification: &'static Key<bool>,
    reload: &'static Key<bool>,
}

static CLIENTS: Family = Family {
    prefix: "ssl.",
    key_store: StoreKeys {
        location: &keys::SSL_KEY_STORE,
        kind: &keys::SSL_KEY_STORE_TYPE,
        password: &keys::SSL_KEY_STORE_PASSWORD,
        password_path: &keys::SSL_KEY_STORE_PASSWORD_PATH,
        private_key: Some(&keys::SSL_PRIVATE_KEY),
    },
    trust_store: StoreKeys {
        location: &keys::SSL_TRUST_STORE,
        kind: &keys::SSL_TRUST_STORE_TYPE,
        password: &keys::SSL_TRUST_STORE_PASSWORD,
        password_path: &keys::SSL_TRUST_STORE_PASSWORD_PATH,
        private_key: None,
    },
    client_auth: &keys::SSL_CLIENT_AUTH,
    protocol: &keys::SSL_PROTOCOL,
    enabled_protocols: &keys::SSL_ENABLED_PROTOCOLS,
    cipher_suites: &keys::SSL_CIPHER_SUITES,
    hostname_verification: &keys::SSL_HOSTNAME_VERIFICATION,
    client_hostname_verification: &keys::SSL_CLIENT_HOSTNAME_VERIFICATION,
    reload: &keys::CLIENT_CERT_RELOAD,
};

static SERVERS: Family = Family {
    prefix: "ssl.quorum.",
    key_store: StoreKeys {
        location: &keys::QUORUM_KEY_STORE,
        kind: &keys::QUORUM_KEY_STORE_TYPE,
        password: &keys::QUORUM_KEY_STORE_PASSWORD,
        password_path: &keys::QUORUM_KEY_STORE_PASSWORD_PATH,
        private_key: Some(&keys::QUORUM_PRIVATE_KEY),
    },
    trust_store: StoreKeys {
        location: &keys::QUORUM_TRUST_STORE,
        kind: &keys::QUORUM_TRUST_STORE_TYPE,
        password: &keys::QUORUM_TRUST_STORE_PASSWORD,
        password_path: &keys::QUORUM_TRUST_STORE_PASSWORD_PATH,
        private_key: None,
    },
    client_auth: &keys::QUORUM_CLIENT_AUTH,
    protocol: &keys::QUORUM_PROTOCOL,
    enabled_protocols: &keys::QUORUM_ENABLED_PROTOCOLS,
    cipher_suites: &keys::QUORUM_CIPHER_SUITES,
    hostname_verification: &keys::QUORUM_HOSTNAME_VERIFICATION,
    client_hostname_verification: &keys::QUORUM_CLIENT_HOSTNAME_VERIFICATION,
    reload: &keys::SSL_QUORUM_RELOAD,
};

/// True if a port for clients is served with TLS.
pub(super) fn serves_clients(entries: &Entries) -> bool {
    entries.is_given(&keys::SECURE_CLIENT_PORT) || entries.get(&keys::CLIENT_PORT_UNIFICATION)
}

/// True if connections between servers have TLS, or may.
fn serves_servers(entries: &Entries) -> bool {
    entries.get(&keys::SSL_QUORUM) || entries.get(&keys::PORT_UNIFICATION)
}

/// True if HTTP is served with TLS, or may be.
fn serves_admin(entries: &Entries) -> bool {
    let is_asked = entries.get(&keys::ADMIN_FORCE_HTTPS) || entries.get(&keys::ADMIN_PORT_UNIFICATION);
    is_asked && entries.get(&keys::ADMIN_ENABLED)
}

/// True if anything takes the stores of `ssl.quorum.*`.
pub(super) fn takes_quorum_stores(entries: &Entries) -> bool {
    serves_servers(entries) || serves_admin(entries)
}

/// What clients' ports need for TLS; `None` where none has it, or where something is wrong.
pub(super) fn clients(entries: &mut Entries) -> Option<TlsConfig> {
    if !serves_clients(entries) {
        return None;
    }
    let provider = entries.get(&keys::SSL_AUTH_PROVIDER);
    if java_trim(&provider) != "x509" {
        let message = format!("{} is not x509, the only one that checks certificates", shorten(&provider));
        entries.fault(keys::SSL_AUTH_PROVIDER.name, message);
    }
    let checks_addresses =
        entries.get(CLIENTS.hostname_verification) && entries.get(CLIENTS.client_hostname_verification);
    if checks_addresses && entries.get(&keys::SSL_REVERSE_DNS) {
        let message = "no name is looked up for a client's address, so clients whose certificates have only names would be \
                       turned away: let certificates name addresses, or set ssl.clientHostnameVerification=false";
        entries.fault(keys::SSL_REVERSE_DNS.name, message.to_owned());
    }
    let is_port = entries.is_given(&keys::SECURE_CLIENT_PORT);
    let asks = if is_port { keys::SECURE_CLIENT_PORT.name } else { keys::CLIENT_PORT_UNIFICATION.name };
    let client_auth = client_auth(entries, CLIENTS.client_auth);
    of_family(entries, &CLIENTS, asks, client_auth)
}

/// What HTTPS needs; `None` where it is not asked for, or where something is wrong. Source: `JettyAdminServer`.
pub(super) fn admin(entries: &mut Entries) -> Option<TlsConfig> {
    if !serves_admin(entries) {
        return None;
    }
    let is_forced = entries.get(&keys::ADMIN_FORCE_HTTPS);
    let asks = if is_forced { keys::ADMIN_FORCE_HTTPS.name } else { keys::ADMIN_PORT_UNIFICATION.name };
    let client_auth =
        if entries.get(&keys::ADMIN_NEED_CLIENT_AUTH) { ClientAuth::Need } else { ClientAuth::None };
    of_family(entries, &SERVERS, asks, client_auth)
}

/// What connections between servers need for TLS; `None` where none has it, or where something is wrong.
pub(super) fn servers(entries: &mut Entries) -> Option<TlsConfig> {
    if !serves_servers(entries) {
        return None;
    }
    let asks =
        if entries.get(&keys::SSL_QUORUM) { keys::SSL_QUORUM.name } else { keys::PORT_UNIFICATION.name };
    let client_auth = client_auth(entries, SERVERS.client_auth);
    of_family(entries, &SERVERS, asks, client_auth)
}

/// `asks` is the key that asks for TLS.
fn of_family(
    entries: &mut Entries,
    family: &Family,
    asks: &'static str,
    client_auth: ClientAuth,
) -> Option<TlsConfig> {
    let key_store = store(entries, &family.key_store);
    if !entries.is_given(family.key_store.location) {
        let name = family.key_store.location.name;
        entries.fault(asks, format!("{name} is not set: a server with TLS needs a certificate and its key"));
    }
    let trust_store = store(entries, &family.trust_store);
    if client_auth != ClientAuth::None && !entries.is_given(family.trust_store.location) {
        let message = format!(
            "{} is not set: no certificate of another side could be checked; set it, or {}=none",
            family.trust_store.location.name, family.client_auth.name
        );
        entries.fault(asks, message);
    }
    let verify_host = entries.get(family.hostname_verification);
    let suites = entries.get(family.cipher_suites).unwrap_or_default();
    Some(TlsConfig {
        prefix: family.prefix,
        versions: versions(entries, family),
        cipher_suites: words(&suites).map(str::to_owned).collect(),
        client_auth,
        verify_host,
        verify_client_host: verify_host && entries.get(family.client_hostname_verification),
        super_user: entries.get(&keys::X509_SUPER_USER),
        reload: entries.get(family.reload),
        handshake_timeout_ms: entries.get(&keys::QUORUM_HANDSHAKE_TIMEOUT),
        trust_store,
        key_store: Some(key_store?),
    })
}

fn store(entries: &mut Entries, keys: &StoreKeys) -> Option<StoreConfig> {
    let path = entries.get(keys.location)?;
    let name = entries.get(keys.kind);
    let kind = StoreKind::of(name.as_deref().map(java_trim), &path);
    if let Err(why) = kind {
        let (key, message) = match why {
            NoKind::Name => {
                (keys.kind.name, format!("{} is not PEM, PKCS12 or JKS", shorten(&name.unwrap_or_default())))
            }
            NoKind::Path => {
                let message = format!(
                    "{} does not end in .pem, .p12, .pfx or .jks: set {} to PEM, PKCS12 or JKS",
                    shorten(&path),
                    keys.kind.name
                );
                (keys.location.name, message)
            }
        };
        entries.fault(key, message);
    }
    let (password_path, password) = (entries.get(keys.password_path), entries.get(keys.password));
    let password = Password::of(password_path.as_deref(), password.as_deref());
    let kind = kind.ok()?;
    let private_key = private_key(entries, keys, kind);
    Some(StoreConfig { key: keys.location.name, path: PathBuf::from(path), kind, password, private_key })
}

/// The file with a store's private key, where that is one of its own.
fn private_key(entries: &mut Entries, keys: &StoreKeys, kind: StoreKind) -> Option<(&'static str, PathBuf)> {
    let key = keys.private_key?;
    let path = entries.get(key)?;
    if kind != StoreKind::Pem {
        let message = format!("{} is no PEM, and has the private key in it", keys.location.name);
        entries.fault(key.name, message);
    }
    Some((key.name, PathBuf::from(path)))
}

fn client_auth(entries: &mut Entries, key: &Key<String>) -> ClientAuth {
    let text = entries.get(key);
    match text.to_ascii_lowercase().as_str() {
        "none" => ClientAuth::None,
        "want" => ClientAuth::Want,
        "need" | "" => ClientAuth::Need,
        _ => {
            let message = format!("{} is not none, want or need", shorten(&text));
            entries.fault(key.name, message);
            ClientAuth::Need
        }
    }
}

/// Versions of TLS; those of before 1.2 are left out with a warning.
fn versions(entries: &mut Entries, family: &Family) -> TlsVersions {
    let is_list = entries.is_given(family.enabled_protocols);
    let key = if is_list { family.enabled_protocols } else { family.protocol };
    let Some(text) = entries.get(key) else { return TlsVersions::ALL };
    let mut versions = TlsVersions::NONE;
    for word in words(&text) {
        match versions.add(word) {
            Ok(()) => {}
            Err(NoVersion::Old) => {
                entries.warn(key.name, format!("{word} is not served: there are TLSv1.2 and TLSv1.3"));
            }
            Err(NoVersion::Unknown) => {
                let message =
                    format!("{} is no version of TLS: there are TLSv1.2 and TLSv1.3", shorten(word));
                entries.fault(key.name, message);
            }
        }
    }
    if versions == TlsVersions::NONE && !entries.is_refused(key) {
        let message = format!("{} leaves no version: there are TLSv1.2 and TLSv1.3", shorten(&text));
        entries.fault(key.name, message);
    }
    versions
}
