//! Connections with TLS: those of clients, those between servers, and the files that both read.

mod channel;
mod peer_stream;
mod reload;
mod turns;

pub use channel::{Channel, Port};
pub use peer_stream::{PeerStream, PeerTls};
pub use reload::watch;
