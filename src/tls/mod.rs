//! TLS without sockets: stores with keys and certificates, who trusts whom, and the bytes of one connection.
//!
//! ```text
//! zoo.cfg ─▶ TlsConfig ─▶ stores (PEM, PKCS12, JKS) ─▶ Acceptor, Connector ─▶ Session of each connection
//!                              ▲ read again when a file changes
//! ```
//!
//! rustls has the protocol, ring the cryptography. Source: `X509Util`, `NettyServerCnxnFactory`.

mod contents;
mod der;
mod files;
mod jks;
mod resumption;
mod session;
mod store;
mod subject;
mod verifier;

pub use files::{Stamp, stamps};
pub use session::{HANDSHAKE, PLAIN_BYTES_MIN, SEALED_BYTES, Session};

use crate::client::net::{Secure, Wire};
use crate::config::{ClientAuth, StoreConfig, TlsConfig};
use crate::proto::Id;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, StreamOwned, SupportedCipherSuite, SupportedProtocolVersion,
};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What an operator may want to know of the own certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Seconds since 1970.
    pub expires_s: i64,
    /// The store that it is in.
    pub path: PathBuf,
}

/// What was read last of the stores of a configuration, made into a `C`.
#[derive(Debug)]
struct Kept<C> {
    config: TlsConfig,
    current: Mutex<Current<C>>,
    /// The files as they were before they were read first.
    first: Vec<Stamp>,
}

/// What stores are made into, and the certificate that they have.
type Made<C> = (C, Option<Certificate>);

#[derive(Debug)]
struct Current<C> {
    made: Arc<C>,
    certificate: Option<Certificate>,
}

impl<C> Kept<C> {
    fn new(config: TlsConfig, make: fn(&TlsConfig) -> Result<Made<C>, String>) -> Result<Self, String> {
        let first = stamps(&config);
        let current = Mutex::new(Current::of(make(&config)?));
        Ok(Self { config, current, first })
    }

    fn current(&self) -> MutexGuard<'_, Current<C>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Current<C> {
    fn of((made, certificate): Made<C>) -> Self {
        Self { made: Arc::new(made), certificate }
    }
}

/// What connections of clients, or of other servers, are begun with; new ones see what was read last.
#[derive(Debug)]
pub struct Acceptor(Kept<ServerConfig>);

impl Acceptor {
    /// Reads the stores that the configuration names.
    ///
    /// # Errors
    /// Names the key of the configuration, the file, and what is wrong.
    pub fn new(config: TlsConfig) -> Result<Self, String> {
        Kept::new(config, server_config).map(Self)
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// What rustls says.
    pub fn begin(&self) -> io::Result<Session> {
        Session::server(self.server_config(), self.0.config.prefix)
    }

    /// For what speaks TLS by itself.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.0.current().made.clone()
    }

    /// Whom a client's certificate proves it to be: ids of scheme x509, and super. Source:
    /// `X509AuthenticationProvider.handleAuthentication`.
    ///
    /// # Errors
    /// Why its connection must end.
    pub fn ids(&self, certificate: &CertificateDer<'_>, peer: IpAddr) -> Result<Vec<Id>, String> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("its certificate cannot be read: {error}"))?;
        let subject = subject::rfc2253(parsed.subject());
        if self.0.config.verify_client_host && !self.names(certificate, peer, [].into_iter()) {
            return Err(format!("its certificate, of {subject}, does not name its address {peer}"));
        }
        let mut ids = Vec::new();
        if self.0.config.super_user.as_deref() == Some(&subject) {
            ids.push(Id::new("super", &subject));
        }
        ids.push(Id::new("x509", &subject));
        Ok(ids)
    }
}

impl Acceptor {
    /// True if the certificate names the address, or one of the hosts.
    pub fn names<'a>(
        &self,
        certificate: &CertificateDer<'_>,
        address: IpAddr,
        hosts: impl Iterator<Item = &'a str>,
    ) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
        let names = hosts.filter_map(|host| ServerName::try_from(host).ok());
        let address = ServerName::IpAddress(address.to_canonical().into());
        names.chain([address]).any(|name| verify_server_name(&parsed, &name).is_ok())
    }
}

/// Who has read stores.
pub trait Stores: Send + Sync {
    /// The configuration that names them.
    fn config(&self) -> &TlsConfig;

    /// Their files as they were before they were read first.
    fn first(&self) -> &[Stamp];

    /// The certificate that others see, where no other part tells of it.
    fn certificate(&self) -> Option<Certificate>;

    /// Reads them again; connections that there are stay.
    ///
    /// # Errors
    /// What is wrong with them: then what was read before is kept.
    fn reload(&self) -> Result<(), String>;
}

impl Stores for Acceptor {
    fn config(&self) -> &TlsConfig {
        &self.0.config
    }

    fn first(&self) -> &[Stamp] {
        &self.0.first
    }

    fn certificate(&self) -> Option<Certificate> {
        self.0.current().certificate.clone()
    }

    fn reload(&self) -> Result<(), String> {
        let fresh = Current::of(server_config(&self.0.config)?);
        *self.0.current() = fresh;
        Ok(())
    }
}

/// What connections to servers are begun with; new ones see what was read last.
#[derive(Debug)]
pub struct Connector(Kept<ClientConfig>);

impl Connector {
    /// Reads the stores that the configuration names.
    ///
    /// # Errors
    /// Names the key of the configuration, the file, and what is wrong.
    pub fn new(config: TlsConfig) -> Result<Self, String> {
        Kept::new(config, client_config).map(Self)
    }

    /// For what speaks TLS by itself.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.0.current().made.clone()
    }
}

impl Connector {
    /// Begins a connection to `host`, a name or an address.
    ///
    /// # Errors
    /// `host` is no name that a certificate can have.
    pub fn begin(&self, host: &str) -> io::Result<Session> {
        let name = server_name(host)?;
        Session::client(self.client_config(), name, self.0.config.prefix)
    }
}

impl Secure for Connector {
    fn secure(&self, socket: TcpStream, host: &str) -> io::Result<Box<dyn Wire>> {
        let name = server_name(host)?;
        let session = ClientConnection::new(self.client_config(), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, socket)))
    }
}

impl Stores for Connector {
    fn config(&self) -> &TlsConfig {
        &self.0.config
    }

    fn first(&self) -> &[Stamp] {
        &self.0.first
    }

    fn certificate(&self) -> Option<Certificate> {
        // It is the acceptor's.
        None
    }

    fn reload(&self) -> Result<(), String> {
        let fresh = Current::of(client_config(&self.0.config)?);
        *self.0.current() = fresh;
        Ok(())
    }
}

/// What the certificate of `host`, a name or an address, must name.
///
/// # Errors
/// No certificate can name it.
pub fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn server_config(config: &TlsConfig) -> Result<Made<ServerConfig>, String> {
    let provider = Arc::new(provider(config)?);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(config))
        .map_err(|_| no_version(config))?;
    let builder = match (config.client_auth, &config.trust_store) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (_, None) => return Err(format!("{}trustStore.location is not set", config.prefix)),
        (auth, Some(store)) => {
            let trusted = store::trust_store(store)?;
            let verifier = verifier::of_clients(trusted, auth == ClientAuth::Need, provider.clone());
            builder.with_client_cert_verifier(verifier.map_err(|why| format!("{}: {why}", store.key))?)
        }
    };
    let store = config.key_store.as_ref();
    let store = store.ok_or_else(|| format!("{}keyStore.location is not set", config.prefix))?;
    let (certified, certificate) = certified(store, &provider)?;
    let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    server.session_storage = resumption::Sessions::new();
    Ok((server, Some(certificate)))
}

fn client_config(config: &TlsConfig) -> Result<Made<ClientConfig>, String> {
    let provider = Arc::new(provider(config)?);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(config))
        .map_err(|_| no_version(config))?;
    let store = config.trust_store.as_ref();
    let store = store.ok_or_else(|| format!("{}trustStore.location is not set", config.prefix))?;
    let verifier = verifier::of_servers(store::trust_store(store)?, config.verify_host, provider.clone());
    let verifier = verifier.map_err(|why| format!("{}: {why}", store.key))?;
    // Its one danger is a verifier that trusts everybody.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some(store) = &config.key_store else { return Ok((builder.with_no_client_auth(), None)) };
    let (certified, certificate) = certified(store, &provider)?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    Ok((builder.with_client_cert_resolver(resolver), Some(certificate)))
}

/// The versions of TLS that are on.
fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let versions = [(config.versions.tls13, &TLS13), (config.versions.tls12, &TLS12)];
    versions.into_iter().filter_map(|(is_on, version)| is_on.then_some(version)).collect()
}

fn no_version(config: &TlsConfig) -> String {
    let (suites, prefix) = (config.cipher_suites.join(","), config.prefix);
    format!("{prefix}ciphersuites: {suites}: they fit no version of TLS that {prefix}enabledProtocols names")
}

/// The certificate and the private key of a store.
fn certified(store: &StoreConfig, provider: &CryptoProvider) -> Result<(CertifiedKey, Certificate), String> {
    let identity = store::key_store(store)?;
    let at = |why: String| format!("{}: {}: {why}", store.key, store.path.display());
    let key = provider.key_provider.load_private_key(identity.key);
    let key = key.map_err(|error| at(format!("its private key cannot be used: {error}")))?;
    let certified = CertifiedKey::new(identity.chain, key);
    let (subject, expires_s) = check_pair(&certified).map_err(at)?;
    Ok((certified, Certificate { subject, expires_s, path: store.path.clone() }))
}

/// Checks that a certificate is of its private key; gives its subject, and when it expires. rustls does it for certificates
/// of version 3 only.
fn check_pair(certified: &CertifiedKey) -> Result<(String, i64), String> {
    let certificate = certified.end_entity_cert().map_err(|error| error.to_string())?;
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("its certificate cannot be read: {error}"))?;
    let subject = subject::rfc2253(parsed.subject());
    match certified.key.public_key() {
        Some(key) if *key != *parsed.public_key().raw => {
            Err(format!("its private key is not that of its certificate, of {subject}"))
        }
        _ => Ok((subject, parsed.validity().not_after.timestamp())),
    }
}

/// The cryptography, with the cipher suites that the configuration names.
fn provider(config: &TlsConfig) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if config.cipher_suites.is_empty() {
        return Ok(provider);
    }
    // rustls writes TLS13_AES..., Java TLS_AES...
    let java_name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    let there: Vec<String> = provider.cipher_suites.iter().map(java_name).collect();
    provider.cipher_suites.retain(|suite| config.cipher_suites.contains(&java_name(suite)));
    let key = format!("{}ciphersuites", config.prefix);
    if provider.cipher_suites.is_empty() {
        let named = config.cipher_suites.join(",");
        return Err(format!("{key}: none of {named} is there: there are {}", there.join(",")));
    }
    let is_missing = |name: &&String| !there.contains(name);
    let missing: Vec<&str> = config.cipher_suites.iter().filter(is_missing).map(String::as_str).collect();
    if !missing.is_empty() {
        log::warn!(target: "tls", "cipher suites left out, they are not there: {key}={}", missing.join(","));
    }
    Ok(provider)
}
