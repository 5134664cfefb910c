//! The HTTP port of servers, as commands of `zkfast` ask it.

use super::{connector, credential_lines};
use crate::client::net::host_of;
use crate::server::{self, HttpAsked};
use crate::tls::Connector;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What a POST says of who sends it where no credential is given: its address.
const BY_ADDRESS: &str = "ip";

/// Flags of what asks the HTTP port.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpArgs {
    /// Path of the commands, as admin.commandURL.
    #[arg(long, value_name = "PATH", default_value = "/commands")]
    url: String,
    /// A file with a credential, as digest:user:password, for what is not for everybody. The variable ZKFAST_AUTH is read in
    /// the same way. Without one a server knows the address of this host.
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
}

/// Asks servers.
#[derive(Debug)]
pub struct Http {
    connector: Option<Connector>,
    url: String,
    by: String,
}

/// How a command is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// For what a server only shows.
    Get,
    /// For what a server does.
    Post,
}

impl Http {
    /// As flags and a client's file of properties say.
    ///
    /// # Errors
    /// Names the flag or the file, and what is wrong.
    pub fn new(args: &HttpArgs, client_configuration: Option<&std::path::Path>) -> Result<Self, String> {
        check(&args.url)?;
        let by = match credential_lines(args.auth_file.as_deref())?.first() {
            // The message does not repeat it: it may hold a password.
            Some(line) => line
                .split_once(':')
                .map(|(scheme, auth)| format!("{scheme} {auth}"))
                .ok_or_else(|| "a credential has the form scheme:auth, as digest:user:password".to_owned())?,
            None => BY_ADDRESS.to_owned(),
        };
        let url = args.url.trim_end_matches('/').to_owned();
        Ok(Self { connector: connector(client_configuration)?, url, by })
    }

    /// Asks the server at `host:port` for a command, with its query; an empty one asks for the list.
    ///
    /// # Errors
    /// No answer comes.
    pub fn ask(
        &self,
        server: &str,
        method: Method,
        command: &str,
        timeout: Duration,
    ) -> io::Result<(u16, Vec<u8>)> {
        let secured = self.connector.as_ref().map(|connector| (connector, host_of(server)));
        let path = match command {
            "" => self.url.clone(),
            command => format!("{}/{command}", self.url),
        };
        let post_by = (method == Method::Post).then_some(self.by.as_str());
        server::http_ask(server, secured, HttpAsked { path: &path, post_by }, timeout)
    }

    /// As [`Self::ask`], for an answer in JSON.
    ///
    /// # Errors
    /// No answer comes, or it is not JSON.
    pub fn json(
        &self,
        server: &str,
        method: Method,
        command: &str,
        timeout: Duration,
    ) -> io::Result<(u16, Value)> {
        let (status, body) = self.ask(server, method, command, timeout)?;
        Ok((status, serde_json::from_slice(&body).map_err(io::Error::other)?))
    }
}

/// Checks what becomes part of a path.
///
/// # Errors
/// It holds what is not taken.
pub fn check(text: &str) -> Result<(), String> {
    let is_taken = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.=-/:%".contains(&byte));
    if is_taken { Ok(()) } else { Err(format!("{text:?}: letters, digits and _.=-/:% are taken")) }
}
