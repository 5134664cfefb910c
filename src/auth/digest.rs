//! The digest scheme: `user:base64(hash of "user:password")`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Digest as _;

/// Hash of the digest scheme; all servers of an ensemble and all stored lists share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of the hashes
pub enum DigestAlgorithm {
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512Trunc224,
    Sha512Trunc256,
}

impl DigestAlgorithm {
    /// The hash that `digestAlg` names, in the spellings that Java's `MessageDigest` takes; `None`
    /// for one that is not here (MD5, SHA3).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "SHA" | "SHA1" | "SHA-1" => Self::Sha1,
            "SHA224" | "SHA-224" => Self::Sha224,
            "SHA256" | "SHA-256" => Self::Sha256,
            "SHA384" | "SHA-384" => Self::Sha384,
            "SHA512" | "SHA-512" => Self::Sha512,
            "SHA512/224" | "SHA-512/224" => Self::Sha512Trunc224,
            "SHA512/256" | "SHA-512/256" => Self::Sha512Trunc256,
            _ => return None,
        })
    }

    fn base64(self, bytes: &[u8]) -> String {
        match self {
            Self::Sha1 => STANDARD.encode(sha1::Sha1::digest(bytes)),
            Self::Sha224 => STANDARD.encode(sha2::Sha224::digest(bytes)),
            Self::Sha256 => STANDARD.encode(sha2::Sha256::digest(bytes)),
            Self::Sha384 => STANDARD.encode(sha2::Sha384::digest(bytes)),
            Self::Sha512 => STANDARD.encode(sha2::Sha512::digest(bytes)),
            Self::Sha512Trunc224 => STANDARD.encode(sha2::Sha512_224::digest(bytes)),
            Self::Sha512Trunc256 => STANDARD.encode(sha2::Sha512_256::digest(bytes)),
        }
    }
}

/// The id of the user in `auth`, `user:password`. Bytes that are not UTF-8 are hashed as the replacement characters that
/// Java reads them as.
pub fn id(algorithm: DigestAlgorithm, auth: &[u8]) -> String {
    let text = String::from_utf8_lossy(auth);
    let user = text.split(':').next().unwrap_or_default();
    format!("{user}:{}", algorithm.base64(text.as_bytes()))
}

/// Whether an entry of a list may have this id: two parts, where Java's `split` does not count empty
/// ones at the end.
pub fn is_valid(id: &str) -> bool {
    id.trim_end_matches(':').bytes().filter(|&byte| byte == b':').count() == 1
}

/// What stands before the first colon.
pub fn user(id: &str) -> &str {
    id.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts are counted as `String.split` counts them.
    #[test]
    fn parts() {
        for good in ["a:b", ":b", "a:b:", "a:b::"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", ":", "::", "a", "a:", "a:b:c", "a::b"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    /// Other hashes are named as in Java and give what it gives.
    #[test]
    fn other_hashes() {
        let sha256 = DigestAlgorithm::from_name("sha-256").expect("known");
        assert_eq!(id(sha256, b"super:test"), "super:wjySwxg860UATFtciuZ1lpzrCHrPeov6SPu/ZD56uig=");
        assert_eq!(DigestAlgorithm::from_name("SHA1"), Some(DigestAlgorithm::Sha1));
        assert_eq!(DigestAlgorithm::from_name("MD5"), None);
    }
}
