//! Where servers are: their names as given, and the addresses that answer.

use crate::engine::session::{NoConnection, Session};
use std::net::{SocketAddr, ToSocketAddrs};

/// The name of a server and its address.
#[derive(Clone, Debug)]
pub struct ServerAddress {
    /// `host:port`, as given.
    pub name: String,
    /// The address that answers.
    pub address: SocketAddr,
}

impl ServerAddress {
    /// The address of each server. `sessions`, if any, are open on `servers` in turn: the address is then the one that
    /// answered.
    ///
    /// # Errors
    /// A name has no address.
    pub fn all(servers: &[String], sessions: &[Session]) -> Result<Vec<Self>, NoConnection> {
        let find = |index: usize, name: &String| {
            let failed = |error| NoConnection::Io { server: name.clone(), error };
            let address = match sessions.get(index) {
                Some(session) => session.stream().peer_addr().map_err(failed)?,
                None => name
                    .to_socket_addrs()
                    .map_err(failed)?
                    .next()
                    .ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?,
            };
            Ok(Self { name: name.clone(), address })
        };
        servers.iter().enumerate().map(|(index, name)| find(index, name)).collect()
    }
}
