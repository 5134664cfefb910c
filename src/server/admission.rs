//! The limits on client connections of the whole server: `maxCnxns`, `maxClientCnxns` and descriptors.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The limit that a connection would exceed, as its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// Of connections in all.
    #[error("maxCnxns={0}")]
    MaxCnxns(u32),
    /// Of connections from one address.
    #[error("maxClientCnxns={0}")]
    MaxClientCnxns(u32),
}

/// Counts connections. Its lock is taken twice in a connection's life: when it begins and when it ends.
#[derive(Debug)]
pub struct Admission {
    max_cnxns: u32,
    max_client_cnxns: u32,
    /// Connections for which there are descriptors.
    descriptors: u32,
    /// Connections that hold a descriptor, also those on their way to a view.
    open: AtomicU32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_ip: HashMap<IpAddr, u32>,
    rejected: u64,
}

impl Admission {
    /// Limits of `max_cnxns` connections in all and `max_client_cnxns` from one address, 0 for none; `descriptors` is the
    /// number of connections for which the process has descriptors.
    pub fn new(max_cnxns: u32, max_client_cnxns: u32, descriptors: u32) -> Self {
        Self { max_cnxns, max_client_cnxns, descriptors, open: AtomicU32::new(0), counts: Mutex::default() }
    }

    /// True if a descriptor is left for one more connection. The remaining ones are reserved for the log: a server that
    /// cannot open its next segment ends, and clients must not be able to cause that.
    pub fn has_descriptor(&self) -> bool {
        self.open() < self.descriptors
    }

    /// Connections that hold a descriptor.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts an accepted connection; [`Admission::dropped`] must follow when its descriptor is closed.
    pub fn accepted(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the closed descriptor of an accepted connection.
    pub fn dropped(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection from `ip`; [`Admission::leave`] must follow when it ends.
    ///
    /// # Errors
    /// The limit that one more connection would exceed; it is counted as rejected.
    pub fn enter(&self, ip: IpAddr) -> Result<(), OverLimit> {
        let mut counts = self.counts();
        let of_ip = counts.by_ip.get(&ip).copied().unwrap_or(0);
        let over = match () {
            () if self.max_cnxns > 0 && counts.total >= self.max_cnxns => OverLimit::MaxCnxns(self.max_cnxns),
            () if self.max_client_cnxns > 0 && of_ip >= self.max_client_cnxns => {
                OverLimit::MaxClientCnxns(self.max_client_cnxns)
            }
            () => {
                counts.total += 1;
                counts.by_ip.insert(ip, of_ip + 1);
                return Ok(());
            }
        };
        counts.rejected += 1;
        Err(over)
    }

    /// Counts the end of a connection that [`Admission::enter`] let in.
    pub fn leave(&self, ip: IpAddr) {
        let mut counts = self.counts();
        counts.total -= 1;
        match counts.by_ip.get_mut(&ip) {
            Some(of_ip) if *of_ip > 1 => *of_ip -= 1,
            _ => {
                counts.by_ip.remove(&ip);
            }
        }
    }

    /// Connections that were rejected since the start, or since [`Admission::forget_rejected`].
    pub fn rejected(&self) -> u64 {
        self.counts().rejected
    }

    /// Sets the count of rejected connections to 0.
    pub fn forget_rejected(&self) {
        self.counts().rejected = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// Both limits hold, and a connection that leaves makes room.
    #[test]
    fn limits() {
        let ip = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let admission = Admission::new(3, 2, 9);
        assert_eq!(admission.enter(ip(1)), Ok(()));
        assert_eq!(admission.enter(ip(1)), Ok(()));
        assert_eq!(admission.enter(ip(1)), Err(OverLimit::MaxClientCnxns(2)));
        assert_eq!(admission.enter(ip(2)), Ok(()));
        assert_eq!(admission.enter(ip(3)), Err(OverLimit::MaxCnxns(3)));
        admission.leave(ip(1));
        assert_eq!(admission.enter(ip(1)), Ok(()));
        assert_eq!(admission.rejected(), 2);
    }
}
