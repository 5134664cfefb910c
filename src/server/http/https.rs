//! HTTPS, beside HTTP on the same port or alone. Source: `JettyAdminServer`, `UnifiedConnectionFactory`.

use super::super::tls;
use super::stream::Watched;
use crate::config::AdminConfig;
use crate::tls::{Acceptor, HANDSHAKE};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// See the module's page.
#[derive(Debug)]
pub struct Https {
    acceptor: Arc<Acceptor>,
    /// No client without TLS is served.
    is_forced: bool,
}

impl Https {
    /// What the configuration asks for; `None` where that is HTTP alone.
    ///
    /// # Errors
    /// Names the key, the file, and what is wrong.
    pub fn new(admin: &AdminConfig) -> Result<Option<Self>, String> {
        let Some(config) = admin.tls.clone() else { return Ok(None) };
        let acceptor = Arc::new(Acceptor::new(config)?);
        tls::watch(&acceptor).map_err(|error| format!("thread tls: {error}"))?;
        Ok(Some(Self { acceptor, is_forced: admin.force_https }))
    }

    /// Whether a client that has connected speaks TLS: its first byte tells.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn is_for(&self, stream: &TcpStream) -> io::Result<bool> {
        let mut first = [0];
        let bytes = stream.peek(&mut first).await?;
        Ok(self.is_forced || first[..bytes] == [HANDSHAKE])
    }

    /// The handshake.
    ///
    /// # Errors
    /// What is wrong with the client, or its connection is lost.
    pub async fn accept(&self, stream: Watched) -> io::Result<TlsStream<Watched>> {
        TlsAcceptor::from(self.acceptor.server_config()).accept(stream).await
    }
}
