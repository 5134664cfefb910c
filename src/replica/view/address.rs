//! Addresses of clients as ZooKeeper writes them.

use crate::auth;
use core::net::{IpAddr, SocketAddr};

/// An address as ZooKeeper writes it in an id of scheme `ip`.
pub(super) fn ip_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => auth::ip_text_v4(v4.octets()),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => auth::ip_text_v4(v4.octets()),
            None => auth::ip_text_v6(v6.octets()),
        },
    }
}

/// An address as Java's `InetSocketAddress` prints it, without the slash before it.
pub(super) fn address_text(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(_) => format!("{}:{}", ip_text(address.ip()), address.port()),
        IpAddr::V6(_) => format!("[{}]:{}", ip_text(address.ip()), address.port()),
    }
}
