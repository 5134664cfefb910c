//! What is exchanged with an observer, for admin.

use crate::proto::Zxid;
use crate::zab::message::{Packet, PacketType};
use std::collections::VecDeque;

/// Counts of an observer's connection, those of a tree that is sent over it left out. Source:
/// `LearnerHandler.getLearnerHandlerInfo`, Apache ZooKeeper 3.9.4.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Packets that came.
    pub(super) received: u64,
    /// Of those, requests of clients.
    pub(super) requests: u64,
    /// Packets that its connection has taken.
    pub(super) sent: u64,
    /// The zxid of the newest of them that has one.
    pub(super) last_zxid: Option<Zxid>,
    /// What its connection has not taken, oldest first.
    waiting: VecDeque<Waiting>,
}

/// Bytes that were handed to a connection at once.
#[derive(Debug)]
struct Waiting {
    bytes: usize,
    packets: u64,
    last_zxid: Option<Zxid>,
}

impl Traffic {
    /// Counts a packet that came.
    pub(super) fn came(&mut self, kind: PacketType) {
        self.received += 1;
        self.requests += u64::from(kind == PacketType::REQUEST);
    }

    /// Counts whole packets that are handed to the connection.
    pub(super) fn handed(&mut self, bytes: &[u8]) {
        let mut waiting = Waiting { bytes: bytes.len(), packets: 0, last_zxid: None };
        let mut rest = bytes;
        while let Ok(Some((packet, length))) = Packet::read(rest) {
            waiting.packets += 1;
            if packet.zxid.to_wire() > 0 {
                waiting.last_zxid = Some(packet.zxid);
            }
            rest = &rest[length..];
        }
        debug_assert!(rest.is_empty(), "{} bytes after the last whole packet", rest.len());
        self.waiting.push_back(waiting);
    }

    /// The connection has taken so many bytes.
    pub(super) fn taken(&mut self, mut bytes: usize) {
        while let Some(first) = self.waiting.front_mut() {
            if bytes < first.bytes {
                first.bytes -= bytes;
                return;
            }
            bytes -= first.bytes;
            self.sent += first.packets;
            self.last_zxid = first.last_zxid.or(self.last_zxid);
            self.waiting.pop_front();
        }
    }

    /// Packets that the connection has not taken whole.
    pub(super) fn queued(&self) -> u64 {
        self.waiting.iter().map(|waiting| waiting.packets).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zab::message::{put_commit, put_inform, put_ping};

    /// Packets count as sent once the connection has taken the bytes that they were handed over with.
    #[test]
    fn packets_in_both_directions() {
        let mut traffic = Traffic::default();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        put_inform(&mut first, Zxid::new(1, 7), b"txn");
        put_commit(&mut first, Zxid::new(1, 8));
        put_ping(&mut second, Zxid::ZERO);
        traffic.handed(&first);
        traffic.handed(&second);
        assert_eq!((traffic.queued(), traffic.sent, traffic.last_zxid), (3, 0, None));
        traffic.taken(first.len() - 1);
        assert_eq!((traffic.queued(), traffic.sent), (3, 0));
        traffic.taken(1);
        assert_eq!((traffic.queued(), traffic.sent, traffic.last_zxid), (1, 2, Some(Zxid::new(1, 8))));
        traffic.taken(second.len());
        assert_eq!((traffic.queued(), traffic.sent, traffic.last_zxid), (0, 3, Some(Zxid::new(1, 8))));
        traffic.came(PacketType::PING);
        traffic.came(PacketType::REQUEST);
        assert_eq!((traffic.received, traffic.requests), (2, 1));
    }
}
