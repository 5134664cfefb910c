//! Connections of the whole server against its limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts connections. A lock, but taken once in a connection's life at either end.
#[derive(Debug)]
pub struct Admission {
    max_cnxns: u32,
    max_client_cnxns: u32,
    /// Connections for which there are descriptors, and how many hold one: also those on their way to a view.
    descriptors: u32,
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
    /// `maxCnxns` in all and `maxClientCnxns` from one address; 0 is no limit. There are descriptors for
    /// `descriptors` connections.
    pub fn new(max_cnxns: u32, max_client_cnxns: u32, descriptors: u32) -> Self {
        Self { max_cnxns, max_client_cnxns, descriptors, open: AtomicU32::new(0), counts: Mutex::default() }
    }

    /// Whether one more may be accepted. The descriptors beyond are the log's: a server that cannot open
    /// its next segment would end, and clients must not be able to bring that about.
    pub fn has_descriptor(&self) -> bool {
        self.open.load(Ordering::Relaxed) < self.descriptors
    }

    /// A connection was accepted; [`Admission::dropped`] must follow when its descriptor is given back.
    pub fn accepted(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// An accepted connection's descriptor is given back.
    pub fn dropped(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more from `ip` may stay; [`Admission::leave`] must follow when it goes.
    ///
    /// # Errors
    /// The limit that it is over.
    pub fn enter(&self, ip: IpAddr) -> Result<(), String> {
        let mut counts = self.counts();
        let of_ip = counts.by_ip.get(&ip).copied().unwrap_or(0);
        let over = match () {
            () if self.max_cnxns > 0 && counts.total >= self.max_cnxns => {
                format!("maxCnxns={}", self.max_cnxns)
            }
            () if self.max_client_cnxns > 0 && of_ip >= self.max_client_cnxns => {
                format!("maxClientCnxns={}", self.max_client_cnxns)
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

    /// A connection that was let in is gone.
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

    /// Connections that were turned away since the start, or since [`Admission::forget_rejected`].
    pub fn rejected(&self) -> u64 {
        self.counts().rejected
    }

    /// Begins to count them anew.
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
        assert_eq!(admission.enter(ip(1)), Err("maxClientCnxns=2".to_owned()));
        assert_eq!(admission.enter(ip(2)), Ok(()));
        assert_eq!(admission.enter(ip(3)), Err("maxCnxns=3".to_owned()));
        admission.leave(ip(1));
        assert_eq!(admission.enter(ip(1)), Ok(()));
        assert_eq!(admission.rejected(), 2);
    }
}
