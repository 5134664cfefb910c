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
    /// The credential that was given.
    credential: Option<String>,
}

/// How a command is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// For what a server shows to everybody.
    Get,
    /// For what a server may show to some only: with the credential, if there is one.
    GetAs,
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
        // The message does not repeat it: it may hold a password.
        let header = |line: &String| {
            let parts = line.split_once(':').map(|(scheme, auth)| format!("{scheme} {auth}"));
            parts.ok_or_else(|| "a credential has the form scheme:auth, as digest:user:password".to_owned())
        };
        let credential = credential_lines(args.auth_file.as_deref())?.first().map(header).transpose()?;
        let url = args.url.trim_end_matches('/').to_owned();
        Ok(Self { connector: connector(client_configuration)?, url, credential })
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
        let credential = self.credential.as_deref();
        let by = match method {
            Method::Get => None,
            Method::GetAs => credential,
            Method::Post => credential.or(Some(BY_ADDRESS)),
        };
        let asked = HttpAsked { path: &path, is_post: method == Method::Post, by };
        server::http_ask(server, secured, asked, timeout)
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
