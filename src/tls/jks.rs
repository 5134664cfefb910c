//! Java's own key stores, as `keytool` wrote them before Java 9.
//!
//! ```text
//! FEEDFEED  version (2)  number of entries
//! 1: alias  date  encrypted private key  certificates of its chain
//! 2: alias  date  certificate
//! SHA-1 of the password in UTF-16, "Mighty Aphrodite", and all bytes before
//! ```
//!
//! A private key is XORed with a stream of SHA-1 hashes that begins with the password and a salt. Source:
//! `sun.security.provider.JavaKeyStore` and `KeyProtector`, as the Java library behaves.

use super::contents::{Contents, Identity};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha1::{Digest, Sha1};
use x509_parser::asn1_rs::{Any, FromDer, OctetString, Sequence};
use zeroize::Zeroizing;

const MAGIC: u32 = 0xFEED_FEED;
const WHITENER: &[u8] = b"Mighty Aphrodite";
const HASH_BYTES: usize = 20;

/// Reads a store of JKS.
///
/// # Errors
/// What is wrong with it, in words that follow the name of the file.
pub(super) fn read(bytes: &[u8], password: &str) -> Result<Contents, String> {
    let password: Zeroizing<Vec<u8>> =
        Zeroizing::new(password.encode_utf16().flat_map(u16::to_be_bytes).collect());
    let Some((body, seal)) = bytes.split_last_chunk::<HASH_BYTES>() else {
        return Err("it is too short for JKS".to_owned());
    };
    let mut rest = Rest(body);
    if rest.int()? != MAGIC {
        return Err("it is no JKS: it does not begin with FEEDFEED".to_owned());
    }
    let hash = Sha1::new().chain_update(&*password).chain_update(WHITENER).chain_update(body).finalize();
    if hash[..] != seal[..] {
        return Err("it is damaged, or has another password".to_owned());
    }
    let version = rest.int()?;
    if !(1..=2).contains(&version) {
        return Err(format!("it is JKS of version {version}, and 1 and 2 are known"));
    }
    let mut contents = Contents::default();
    for _ in 0..rest.int()? {
        let tag = rest.int()?;
        let _alias = rest.text()?;
        let _date = rest.take(8)?;
        match tag {
            1 => {
                let encrypted = rest.block()?;
                let key = private_key(encrypted, &password)?;
                let count = rest.int()?;
                let chain = (0..count).map(|_| rest.certificate(version)).collect::<Result<Vec<_>, _>>()?;
                contents.identities.push(Identity { chain, key: PrivatePkcs8KeyDer::from(key).into() });
            }
            2 => contents.certificates.push(rest.certificate(version)?),
            tag => return Err(format!("it has an entry of kind {tag}, and 1 and 2 are known")),
        }
    }
    Ok(contents)
}

/// Decrypts a private key: DER of PKCS8.
fn private_key(encrypted: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let malformed = |_| "its private key is malformed".to_owned();
    let (_, info) = Sequence::from_der(encrypted).map_err(malformed)?;
    let (rest, _algorithm) = Any::from_der(&info.content).map_err(malformed)?;
    let (_, sealed) = OctetString::from_der(rest).map_err(malformed)?;
    let sealed = sealed.as_cow();
    let Some((salt, rest)) = sealed.split_first_chunk::<HASH_BYTES>() else {
        return Err("its private key is too short".to_owned());
    };
    let Some((body, check)) = rest.split_last_chunk::<HASH_BYTES>() else {
        return Err("its private key is too short".to_owned());
    };
    let mut plain = Vec::with_capacity(body.len());
    let mut block = salt.to_vec();
    for chunk in body.chunks(HASH_BYTES) {
        block = Sha1::new().chain_update(password).chain_update(&block).finalize().to_vec();
        plain.extend(chunk.iter().zip(&block).map(|(byte, mask)| byte ^ mask));
    }
    let hash = Sha1::new().chain_update(password).chain_update(&plain).finalize();
    if hash[..] != check[..] {
        return Err("its private key does not open with the password of the store".to_owned());
    }
    Ok(plain)
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(bytes.try_into().expect("four bytes")))
    }

    fn block(&mut self) -> Result<&'a [u8], String> {
        let length = self.int()?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        let bytes = self.take(2)?;
        self.take(u16::from_be_bytes(bytes.try_into().expect("two bytes")).into())
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, String> {
        if version == 2 {
            let kind = self.text()?;
            if kind != b"X.509" {
                return Err("it has a certificate that is not X.509".to_owned());
            }
        }
        Ok(CertificateDer::from(self.block()?.to_vec()))
    }
}
