//! Files with keys and certificates: PEM, PKCS12, JKS. Source: `FileKeyStoreLoader` and its kinds.

use super::contents::{Contents, Identity};
use super::{der, jks};
use crate::config::{Password, Secret, StoreConfig, StoreKind};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine};
use p12_keystore::{CertificateBag, Pkcs12Archive};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a store that are read at most: one of all public authorities has some hundred thousand.
const STORE_BYTES_MAX: u64 = 16 << 20;

/// Reads the certificate and the private key of a store: the first of several.
///
/// # Errors
/// Names the key of the configuration, the file, and what is wrong.
pub fn key_store(config: &StoreConfig) -> Result<Identity, String> {
    match &config.private_key {
        Some((key, path)) => warn_if_shared(key, path),
        None => warn_if_shared(config.key, &config.path),
    }
    let first = read(config)?.identities.into_iter().next();
    first.ok_or_else(|| at(config, "it has no private key with a certificate"))
}

/// Reads the certificates of a store.
///
/// # Errors
/// Names the key of the configuration, the file, and what is wrong.
pub fn trust_store(config: &StoreConfig) -> Result<Vec<CertificateDer<'static>>, String> {
    let contents = read(config)?;
    let mut certificates = contents.certificates;
    if config.kind == StoreKind::Pem {
        // Java takes all of them, whether there is a key beside them or not.
        certificates.extend(contents.identities.into_iter().flat_map(|identity| identity.chain));
    }
    if certificates.is_empty() {
        return Err(at(config, "it has no certificate without a private key"));
    }
    Ok(certificates)
}

/// Warns where others than the file's owner may read a secret.
fn warn_if_shared(key: &str, path: &Path) {
    // One that cannot be seen cannot be read either, which is an error of its own.
    let Ok(file) = std::fs::metadata(path) else { return };
    let mode = file.permissions().mode() & 0o7777;
    // Kubernetes gives a secret to the pod's group, which is the server's.
    let of_others = if file.gid() == rustix::process::getegid().as_raw() { 0o004 } else { 0o044 };
    if mode & of_others != 0 {
        log::warn!(target: "tls", "a secret that others may read: key={key} path={} mode={mode:04o} remedy={:?}",
            path.display(), "chmod 600, or 640 with a group of the server's alone");
    }
}

/// A message about a store.
fn at(config: &StoreConfig, why: impl std::fmt::Display) -> String {
    format!("{}: {}: {why}", config.key, config.path.display())
}

fn read(config: &StoreConfig) -> Result<Contents, String> {
    let password = password(config)?;
    let mut bytes = bytes_of(&config.path).map_err(|why| at(config, why))?;
    if let Some((key, path)) = &config.private_key {
        let private_key = bytes_of(path).map_err(|why| format!("{key}: {}: {why}", path.display()))?;
        // A copy that grows would leave its former bytes behind.
        bytes = Zeroizing::new([&bytes[..], b"\n", &private_key].concat());
    }
    let contents = match config.kind {
        StoreKind::Pem => pem(&bytes, password.reveal()),
        StoreKind::Pkcs12 => pkcs12(&bytes, password.reveal()),
        StoreKind::Jks => jks::read(&bytes, password.reveal()),
    };
    contents.map_err(|why| at(config, why))
}

fn bytes_of(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > STORE_BYTES_MAX {
        return Err(format!("it has {length} bytes, and {STORE_BYTES_MAX} are the most"));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(|error| error.to_string())
}

/// The password of a store: what its file has up to the end of the first line. Source: `SecretUtils.readSecret`.
fn password(config: &StoreConfig) -> Result<Secret, String> {
    match &config.password {
        Password::Given(secret) => Ok(secret.clone()),
        Password::InFile(path) => {
            warn_if_shared(&config.key.replace(".location", ".passwordPath"), path);
            let text = bytes_of(path).map_err(|why| {
                format!("{}: {}: {why}", config.key.replace(".location", ".passwordPath"), path.display())
            })?;
            let first = text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
            Ok(Secret::new(String::from_utf8_lossy(first).into_owned()))
        }
    }
}

/// PEM: all certificates in their order, and the first private key, which may be encrypted.
fn pem(bytes: &[u8], password: &str) -> Result<Contents, String> {
    const LEGACY: &[u8] = b"Proc-Type: 4,ENCRYPTED";
    if bytes.windows(LEGACY.len()).any(|window| window == LEGACY) {
        return Err("its private key is encrypted in the form of before PKCS8: \
            `openssl pkcs8 -topk8` makes one of PKCS8"
            .to_owned());
    }
    let (mut certificates, mut key) = (Vec::new(), None);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|error| format!("it is no PEM: {error}"))?;
        match kind {
            SectionKind::Certificate => certificates.push(CertificateDer::from(der)),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                let parsed =
                    PrivateKeyDer::from_pem(kind, der).ok_or("its private key has no form that is known")?;
                key.get_or_insert(parsed);
            }
            _ => {}
        }
    }
    if key.is_none() {
        key = encrypted_pem(bytes, password)?;
    }
    if certificates.is_empty() && key.is_none() {
        return Err("it has neither a certificate nor a private key in PEM".to_owned());
    }
    Ok(match key {
        Some(_) if certificates.is_empty() => {
            return Err("it has a private key and no certificate".to_owned());
        }
        Some(key) => {
            Contents { identities: vec![Identity { chain: certificates, key }], certificates: Vec::new() }
        }
        None => Contents { identities: Vec::new(), certificates },
    })
}

/// The first private key of PKCS8 that is encrypted.
fn encrypted_pem(bytes: &[u8], password: &str) -> Result<Option<PrivateKeyDer<'static>>, String> {
    const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let text = String::from_utf8_lossy(bytes);
    let Some((_, rest)) = text.split_once(BEGIN) else { return Ok(None) };
    let (body, _) = rest.split_once(END).ok_or("its encrypted private key has no end")?;
    let body: String = body.split_ascii_whitespace().collect();
    let sealed = BASE64.decode(body).map_err(|error| format!("its encrypted private key: {error}"))?;
    if password.is_empty() {
        return Err("its private key is encrypted, and no key gives a password".to_owned());
    }
    let archive = Pkcs12Archive::from_pkcs12(&as_pkcs12(&sealed), password);
    let keys =
        archive.map_err(|error| format!("its private key does not open with the password: {error}"))?.keys;
    let first = keys.first().ok_or("its encrypted private key has no form that is known")?;
    Ok(Some(PrivatePkcs8KeyDer::from(first.key.as_der().to_vec()).into()))
}

/// An encrypted private key as the only one in a file of PKCS12: the library for that knows all ways to encrypt one, those
/// that Java's can read from PEM among them (PBE-SHA1-3DES). Source: RFC 7292, section 4.
fn as_pkcs12(sealed: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const EXPLICIT: u8 = 0xA0;
    const DATA: [u8; 11] = [0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01];
    const SHROUDED_KEY: [u8; 13] =
        [0x06, 0x0B, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x0C, 0x0A, 0x01, 0x02];
    const VERSION: [u8; 3] = [0x02, 0x01, 3];
    let sequence = |parts: &[&[u8]]| der::value(SEQUENCE, &parts.concat());
    let data = |contents: &[u8]| sequence(&[&DATA, &der::value(EXPLICIT, &der::value(0x04, contents))]);
    let bag = sequence(&[&SHROUDED_KEY, &der::value(EXPLICIT, sealed)]);
    let safe = sequence(&[&data(&sequence(&[&bag]))]);
    sequence(&[&VERSION, &data(&safe)])
}

/// PKCS12. In a store of trust every certificate that belongs to no key counts, also where it lacks Java's mark of trust:
/// `openssl pkcs12` sets none.
fn pkcs12(bytes: &[u8], password: &str) -> Result<Contents, String> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password)
        .map_err(|error| format!("it is no PKCS12, or does not open with the password: {error}"))?;
    let mut contents = Contents::default();
    for key in &archive.keys {
        let id: Option<&[u8]> = key.local_key_id.as_ref().map(AsRef::as_ref);
        let is_same = |bag: &&CertificateBag| id.is_some() && bag.local_key_id.as_deref() == id;
        let of_key = archive.certs.iter().find(is_same);
        // A file of one key and one certificate needs no mark.
        let of_key = of_key.or_else(|| archive.certs.first().filter(|_| archive.keys.len() == 1));
        let Some(of_key) = of_key else { continue };
        let mut chain = vec![CertificateDer::from(of_key.cert.as_der().to_vec())];
        let mut last = &of_key.cert;
        while last.issuer() != last.subject()
            && let Some(issuer) = archive.certs.iter().find(|bag| bag.cert.subject() == last.issuer())
            && chain.iter().all(|known| known.as_ref() != issuer.cert.as_der())
        {
            chain.push(CertificateDer::from(issuer.cert.as_der().to_vec()));
            last = &issuer.cert;
        }
        let key = PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into();
        contents.identities.push(Identity { chain, key });
    }
    let free = archive.certs.iter().filter(|bag| bag.local_key_id.is_none());
    contents.certificates = free.map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(kind: StoreKind, path: &Path) -> StoreConfig {
        let password = Password::Given(Secret::new(String::new()));
        StoreConfig { key: "ssl.keyStore.location", path: path.to_owned(), kind, password, private_key: None }
    }

    /// Bytes of any kind are refused in words that name key and file, cut at any place.
    #[test]
    fn garbage() {
        let jks = [&[0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1][..], &[0; 40]].concat();
        let p12 = as_pkcs12(&der::value(0x30, &[1, 2, 3]));
        let sealed =
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_vec();
        let legacy = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n".to_vec();
        for whole in [jks, p12, sealed, legacy, vec![0xFF; 64]] {
            for length in 0..=whole.len() {
                for kind in [StoreKind::Pem, StoreKind::Pkcs12, StoreKind::Jks] {
                    let bytes = &whole[..length];
                    let read = match kind {
                        StoreKind::Pem => pem(bytes, "x"),
                        StoreKind::Pkcs12 => pkcs12(bytes, "x"),
                        StoreKind::Jks => jks::read(bytes, "x"),
                    };
                    let is_empty = read.as_ref().is_ok_and(|contents| contents.identities.is_empty());
                    assert!(read.is_err() || is_empty, "{kind:?}, {length} bytes");
                }
            }
        }
        let missing = store(StoreKind::Pem, Path::new("/nowhere/k.pem"));
        let why = key_store(&missing).err().expect("no file");
        assert!(why.starts_with("ssl.keyStore.location: /nowhere/k.pem: No such file"), "{why}");
        assert!(trust_store(&missing).is_err());
    }

    /// A password's file counts up to the end of its first line; its key is named where it cannot be read.
    #[test]
    fn password_files() {
        let path = std::env::temp_dir().join(format!("zkfast-password-{}", std::process::id()));
        let config = |path: &Path| StoreConfig {
            password: Password::InFile(path.to_owned()),
            ..store(StoreKind::Pem, Path::new("/k.pem"))
        };
        for (text, expected) in [("a b", "a b"), ("a\n", "a"), ("a\r\nb\n", "a"), ("", ""), ("\na", "")] {
            std::fs::write(&path, text).expect("a file");
            assert_eq!(password(&config(&path)).expect("a password").reveal(), expected);
        }
        std::fs::remove_file(&path).expect("a file");
        let why = password(&config(&path)).expect_err("no file");
        assert!(why.starts_with(&format!("ssl.keyStore.passwordPath: {}: No such", path.display())), "{why}");
    }

    /// A length that no file has is refused before anything of that length is made.
    #[test]
    fn lengths_that_lie() {
        for length in [[0xFF; 4], [0x7F, 0xFF, 0xFF, 0xFF]] {
            let header = [&[0x30, 0x84][..], &length].concat();
            assert!(pkcs12(&header, "").is_err());
        }
    }
}
