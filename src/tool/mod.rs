//! Commands of `zkfast` beside the server. They belong to the shell: they know sockets, files, the terminal and the clock.

pub mod admin;
pub mod cli;
pub mod dev;
mod http;
pub mod offline;
pub mod rolling;
pub mod status;

use crate::client::login::login;
use crate::client::net::{Secure, Security};
use crate::config::{ClientConfig, client_config};
use crate::server::random;
use crate::tls::Connector;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The variable with credentials, one a line, that the list of processes does not show.
const AUTH_VARIABLE: &str = "ZKFAST_AUTH";

/// Credentials of the variable and of a file, as they stand there, in this order.
///
/// # Errors
/// The file cannot be read.
fn credential_lines(file: Option<&Path>) -> Result<Vec<String>, String> {
    let mut text = std::env::var(AUTH_VARIABLE).unwrap_or_default();
    if let Some(file) = file {
        let read = std::fs::read_to_string(file);
        text += "\n";
        text += &read.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Flags of what connects as ZooKeeper's clients do.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClientArgs {
    /// A client's file of properties, as zkCli.sh takes it: TLS by zookeeper.client.secure and zookeeper.ssl.*, SASL by
    /// zookeeper.sasl.* and java.security.auth.login.config
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    /// A JAAS file: who to be by SASL, in its section Client. It wins over the one that the client's file names
    #[arg(long, value_name = "FILE")]
    jaas: Option<PathBuf>,
}

impl ClientArgs {
    /// What connections have, and warnings.
    ///
    /// # Errors
    /// Names the file, the key and what is wrong.
    fn security(&self) -> Result<(Security, Option<String>), String> {
        let ClientConfig { tls, sasl } = config(self.client_configuration.as_deref(), self.jaas.clone())?;
        let secure = match tls {
            Some(tls) => Some(Arc::new(Connector::new(tls)?) as Arc<dyn Secure>),
            None => None,
        };
        let Some(sasl) = sasl else { return Ok((Security { secure, login: None }, None)) };
        let (login, warning) = login(&sasl, random::key())?;
        Ok((Security { secure, login: Some(login) }, warning))
    }
}

/// What connections without SASL have beside plain bytes, as a client's file of properties says.
///
/// # Errors
/// Names the file, the key and what is wrong.
fn secure(path: Option<&Path>) -> Result<Option<Arc<dyn Secure>>, String> {
    Ok(connector(path)?.map(|connector| Arc::new(connector) as Arc<dyn Secure>))
}

/// The same for what speaks TLS by itself.
fn connector(path: Option<&Path>) -> Result<Option<Connector>, String> {
    config(path, None)?.tls.map(Connector::new).transpose()
}

/// A client's file of properties; without one, what counts where there are no keys.
fn config(path: Option<&Path>, jaas: Option<PathBuf>) -> Result<ClientConfig, String> {
    let Some(path) = path else { return client_config(b"", jaas) };
    let at = |why: String| format!("{}: {why}", path.display());
    let file = std::fs::read(path).map_err(|error| at(error.to_string()))?;
    client_config(&file, jaas).map_err(at)
}
