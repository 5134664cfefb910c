//! Settings of TLS, as one family of keys has them: `ssl.*` for clients.

use super::properties::java_trim;
use std::path::PathBuf;

pub use crate::auth::Secret;

/// How a file keeps keys and certificates. Source: `KeyStoreFileType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// `*.pem`: one text after the other.
    Pem,
    /// `*.p12`, `*.pfx`: what `keytool` and `openssl pkcs12` write.
    Pkcs12,
    /// `*.jks`: what `keytool` wrote before Java 9.
    Jks,
}

impl StoreKind {
    /// The kind that a key's value names, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "PEM" => Some(Self::Pem),
            "PKCS12" => Some(Self::Pkcs12),
            "JKS" => Some(Self::Jks),
            _ => None,
        }
    }

    /// The kind of a file whose key names none.
    pub fn from_path(path: &str) -> Option<Self> {
        let ends = |end: &str| path.ends_with(end);
        match () {
            () if ends(".jks") => Some(Self::Jks),
            () if ends(".pem") => Some(Self::Pem),
            () if ends(".p12") || ends(".pfx") => Some(Self::Pkcs12),
            () => None,
        }
    }

    /// The kind of a store at `path`, which `name` names where its key has a value.
    ///
    /// # Errors
    /// [`NoKind`] says which of the two keys is wrong.
    pub(super) fn of(name: Option<&str>, path: &str) -> Result<Self, NoKind> {
        match name {
            Some(name) => Self::from_name(name).ok_or(NoKind::Name),
            None => Self::from_path(path).ok_or(NoKind::Path),
        }
    }
}

/// Why the kind of a store is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKind {
    /// What the key of its type says is no kind.
    Name,
    /// There is no such key, and the end of the path says nothing.
    Path,
}

/// Where the password of a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// In the configuration; empty where no key gives one.
    Given(Secret),
    /// In this file, up to the end of its first line.
    InFile(PathBuf),
}

impl Password {
    /// That of a store whose keys name a file, or have the password itself, or neither; the file wins.
    pub(super) fn of(path: Option<&str>, text: Option<&str>) -> Self {
        match path.filter(|path| !path.is_empty()) {
            Some(path) => Self::InFile(PathBuf::from(path)),
            None => Self::Given(Secret::new(text.unwrap_or_default().to_owned())),
        }
    }
}

/// A file with keys or certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The key that names the file, for messages.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// How it keeps them.
    pub kind: StoreKind,
    /// Its password.
    pub password: Password,
    /// Of a key store in PEM: the file with the private key, where that is not in the store itself, and the key that names it.
    pub private_key: Option<(&'static str, PathBuf)>,
}

/// Whether a server asks for a client's certificate. Source: `X509Util.ClientAuth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It does not.
    None,
    /// It does, and takes clients without one.
    Want,
    /// It does, and ends the connections of clients without one.
    Need,
}

/// Versions of TLS that a server speaks; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// 1.2
    pub tls12: bool,
    /// 1.3
    pub tls13: bool,
}

impl TlsVersions {
    /// All that there are.
    pub(super) const ALL: Self = Self { tls12: true, tls13: true };
    /// None, to begin a list with.
    pub(super) const NONE: Self = Self { tls12: false, tls13: false };

    /// Adds what a word of a list names.
    ///
    /// # Errors
    /// [`NoVersion`]: the word adds nothing.
    pub(super) fn add(&mut self, word: &str) -> Result<(), NoVersion> {
        match word {
            "TLSv1.2" => self.tls12 = true,
            "TLSv1.3" => self.tls13 = true,
            "TLS" => *self = Self::ALL,
            "TLSv1.1" | "TLSv1" | "SSLv3" | "SSLv2Hello" => return Err(NoVersion::Old),
            _ => return Err(NoVersion::Unknown),
        }
        Ok(())
    }
}

/// Why a word adds no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoVersion {
    /// It names one of before 1.2.
    Old,
    /// It names none.
    Unknown,
}

/// The words of a list with commas.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(java_trim).filter(|word| !word.is_empty())
}

/// What a server needs for TLS, with clients or with other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// What its keys begin with: `ssl.` or `ssl.quorum.`
    pub prefix: &'static str,
    /// `ssl.keyStore.*`: the own certificate and its private key; a server has one
    pub key_store: Option<StoreConfig>,
    /// `ssl.trustStore.*`: what clients' certificates are checked against
    pub trust_store: Option<StoreConfig>,
    /// `ssl.enabledProtocols`, or `ssl.protocol`
    pub versions: TlsVersions,
    /// `ssl.ciphersuites`, as Java names them; empty for all that there are
    pub cipher_suites: Vec<String>,
    /// `ssl.clientAuth`
    pub client_auth: ClientAuth,
    /// `ssl.hostnameVerification`: the certificate of a server that is connected to must name its host
    pub verify_host: bool,
    /// That and `ssl.clientHostnameVerification`: a client's certificate must name its address
    pub verify_client_host: bool,
    /// `ssl.handshakeDetectionTimeoutMillis`, between servers
    pub handshake_timeout_ms: u32,
    /// `X509AuthenticationProvider.superUser`: the subject whose certificate makes its client super
    pub super_user: Option<String>,
    /// `client.certReload`: files are read again when they change
    pub reload: bool,
}
