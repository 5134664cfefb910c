//! A context of one exchange, by the library.

use super::library::{Credential, Name, SecurityContext};
use crate::auth::sasl::gssapi::{Context, Stepped};
use std::sync::Arc;

/// One side's context.
#[derive(Debug)]
pub struct GssContext {
    side: Side,
    context: SecurityContext,
}

#[derive(Debug)]
enum Side {
    Accepts,
    /// Connects to this server.
    Initiates(Name),
}

impl GssContext {
    /// That of a server.
    pub fn acceptor(keys: Arc<Credential>) -> Self {
        Self { side: Side::Accepts, context: SecurityContext::new(keys) }
    }

    /// That of who connects to the server `target`.
    pub fn initiator(tickets: Arc<Credential>, target: Name) -> Self {
        Self { side: Side::Initiates(target), context: SecurityContext::new(tickets) }
    }
}

impl Context for GssContext {
    fn step(&mut self, token: &[u8]) -> Result<Stepped, String> {
        let (token, is_established) = match &self.side {
            Side::Accepts => self.context.accept(token)?,
            Side::Initiates(target) => self.context.initiate(target, token)?,
        };
        Ok(Stepped { token, is_established })
    }

    fn peer(&self) -> Result<String, String> {
        self.context.peer()
    }

    fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.context.wrap(message)
    }

    fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, String> {
        self.context.unwrap(sealed)
    }
}
