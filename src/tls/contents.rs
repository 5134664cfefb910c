//! What a store of any kind holds.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate, what leads from it to its authority, and its private key.
pub struct Identity {
    /// The certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// In any of the forms that rustls reads.
    pub key: PrivateKeyDer<'static>,
}

/// What a store holds.
#[derive(Default)]
pub(super) struct Contents {
    /// Private keys with their certificates.
    pub identities: Vec<Identity>,
    /// Certificates without a key.
    pub certificates: Vec<CertificateDer<'static>>,
}
