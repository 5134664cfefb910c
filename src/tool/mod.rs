//! Commands of `zkfast` beside the server. They belong to the shell: they know sockets, files, the terminal and the clock.

pub mod admin;
pub mod cli;
pub mod dev;
pub mod offline;
pub mod status;

use crate::client::net::Secure;
use crate::config::client_tls;
use crate::tls::Connector;
use std::path::Path;
use std::sync::Arc;

/// What connections have beside plain bytes, as a client's file of properties says.
///
/// # Errors
/// Names the file, the key and what is wrong.
fn secure(path: Option<&Path>) -> Result<Option<Arc<dyn Secure>>, String> {
    Ok(connector(path)?.map(|connector| Arc::new(connector) as Arc<dyn Secure>))
}

/// The same for what speaks TLS by itself.
fn connector(path: Option<&Path>) -> Result<Option<Connector>, String> {
    let Some(path) = path else { return Ok(None) };
    let at = |why: String| format!("{}: {why}", path.display());
    let file = std::fs::read(path).map_err(|error| at(error.to_string()))?;
    let config = client_tls(&file).map_err(at)?;
    config.map(|config| Connector::new(config).map_err(at)).transpose()
}
