//! One connection's TLS without its socket: sealed bytes in, plain bytes out, and the reverse.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, Error, PeerIncompatible,
    ServerConfig, ServerConnection,
};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Sealed bytes that [`Session::open`] takes at a time at most.
pub const SEALED_BYTES: usize = 32 << 10;

/// Room for plain bytes that it needs: what was left of a record before makes 16 KiB more.
pub const PLAIN_BYTES_MIN: usize = SEALED_BYTES + (17 << 10);

/// The first byte of a connection that begins with TLS: a record of the handshake.
pub const HANDSHAKE: u8 = 0x16;

/// See the module's page.
pub struct Session {
    tls: Connection,
    /// What the keys begin with that its settings come from.
    prefix: &'static str,
    /// Something came.
    is_begun: bool,
    /// Plain bytes that were opened and not taken.
    held: usize,
    /// The other side has said that it sends nothing more.
    has_ended: bool,
}

impl Session {
    /// The side that was connected to.
    ///
    /// # Errors
    /// What rustls says.
    pub(super) fn server(config: Arc<ServerConfig>, prefix: &'static str) -> io::Result<Self> {
        Ok(Self::of(ServerConnection::new(config).map_err(io::Error::other)?.into(), prefix))
    }

    /// The side that has connected to `name`.
    ///
    /// # Errors
    /// What rustls says.
    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        prefix: &'static str,
    ) -> io::Result<Self> {
        Ok(Self::of(ClientConnection::new(config, name).map_err(io::Error::other)?.into(), prefix))
    }

    fn of(mut tls: Connection, prefix: &'static str) -> Self {
        // The caller bounds what is to be sent.
        tls.set_buffer_limit(None);
        Self { tls, prefix, is_begun: false, held: 0, has_ended: false }
    }

    /// True until both sides are sure of each other.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// True of the side that was connected to.
    pub fn is_server(&self) -> bool {
        matches!(self.tls, Connection::Server(_))
    }

    /// The certificate of the other side, if it has shown one.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Takes in what was read, [`SEALED_BYTES`] at most; gives the number of plain bytes that it held.
    ///
    /// # Errors
    /// What is wrong with it; then the reason for the other side is to be sent.
    pub fn open(&mut self, mut sealed: &[u8], out: &mut [u8]) -> io::Result<usize> {
        assert!(
            sealed.len() <= SEALED_BYTES && out.len() >= PLAIN_BYTES_MIN,
            "{} into {}",
            sealed.len(),
            out.len()
        );
        let mut opened = 0;
        while !sealed.is_empty() {
            self.take_some(&mut sealed)?;
            opened += self.read(&mut out[opened..])?;
        }
        Ok(opened)
    }

    /// Takes in what was read of a handshake, 4 KiB at most; plain bytes behind it are kept.
    ///
    /// # Errors
    /// What is wrong with it; then the reason for the other side is to be sent.
    pub fn take(&mut self, mut sealed: &[u8]) -> io::Result<()> {
        while !sealed.is_empty() {
            self.take_some(&mut sealed)?;
        }
        Ok(())
    }

    fn take_some(&mut self, sealed: &mut &[u8]) -> io::Result<()> {
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let is_tls = !is_first || sealed.first() == Some(&HANDSHAKE);
        if self.tls.read_tls(sealed)? == 0 {
            // The other side has said that it sends nothing more: what follows is ignored.
            *sealed = &[];
            return Ok(());
        }
        let state = self.tls.process_new_packets().map_err(|error| {
            let why = match is_tls {
                true => explained(&error, self.prefix),
                false => "it does not begin with TLS".to_owned(),
            };
            let kind = match error {
                Error::AlertReceived(AlertDescription::CloseNotify) => io::ErrorKind::UnexpectedEof,
                _ => io::ErrorKind::InvalidData,
            };
            io::Error::new(kind, why)
        })?;
        self.held = state.plaintext_bytes_to_read();
        self.has_ended |= state.peer_has_closed();
        Ok(())
    }

    /// What was opened before and not taken.
    ///
    /// # Errors
    /// What rustls says.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.held == 0 {
            return Ok(0);
        }
        let read = self.tls.reader().read(out)?;
        self.held -= read;
        Ok(read)
    }

    /// True once the other side has said that it sends nothing more, and all that it sent is taken.
    pub fn is_ended(&self) -> bool {
        self.has_ended && self.held == 0
    }

    /// Seals `bytes` behind what is to be sent.
    ///
    /// # Errors
    /// What rustls says.
    pub fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)
    }

    /// The other side is to hear that this one sends nothing more.
    pub fn end(&mut self) {
        self.tls.send_close_notify();
    }

    /// True if something is to be sent.
    pub fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Sends to `wire` what is to be sent, in as few pieces as it takes.
    ///
    /// # Errors
    /// Those of `wire`: what it has not taken is still to be sent.
    pub fn send(&mut self, wire: &mut dyn Write) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(wire) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Why a handshake failed, and which key decides that.
fn explained(error: &Error, prefix: &str) -> String {
    let hint = match error {
        Error::NoCertificatesPresented => format!("{prefix}clientAuth=need wants one"),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("nothing in {prefix}trustStore.location has signed it")
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("UnsupportedCertVersion") =>
        {
            "it is of version 1 of X.509, and 3 is taken".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            format!("it is an authority's, and not in {prefix}trustStore.location")
        }
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            format!("see {prefix}ciphersuites")
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => format!("see {prefix}enabledProtocols"),
        _ => return format!("TLS: {error}"),
    };
    format!("TLS: {error}: {hint}")
}
