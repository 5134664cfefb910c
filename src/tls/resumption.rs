//! Sessions that clients may take up again. Each holds the certificates that its client has shown, of which a client that is
//! trusted may show 64 KiB, at every handshake: those are left out.

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use std::sync::Arc;

/// Sessions that are kept; the oldest goes.
const SESSIONS_MAX: usize = 4096;

/// A session that is kept has at most so many bytes. A chain of three certificates with RSA has some 4 KiB.
const SESSION_BYTES_MAX: usize = 8 << 10;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Sessions(Arc<ServerSessionMemoryCache>);

impl Sessions {
    /// None yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(ServerSessionMemoryCache::new(SESSIONS_MAX)))
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        value.len() <= SESSION_BYTES_MAX && self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}
