//! What becomes of sessions, at DEBUG: who made one, attached to it, was refused it, and why one ended.

use super::logging::Text;
use crate::replica::{Deltas, Entry, EntryKind, Origin, Place, SessionKind, View};
use std::net::SocketAddr;

/// Logs what becomes of sessions in `batch`, which `view` is about to apply. The view whose client caused it writes the line;
/// of an end that no client of this server asked for, the first view does.
pub fn log_sessions(batch: &Deltas, view: &View) {
    if !log::log_enabled!(target: "session", log::Level::Debug) {
        return;
    }
    for Entry { to, xid, what, .. } in &batch.entries {
        let EntryKind::Session(what) = *what else { continue };
        let client = to.and_then(Origin::client).filter(|to| to.view == view.number());
        let is_ours = client.is_some();
        let place = client.map(|to| Place { slot: to.slot, generation: to.generation });
        let peer = place.and_then(|place| view.describe(place)).map(|(peer, _)| peer);
        match what {
            SessionKind::Created { session_id, timeout_ms } if is_ours => {
                log::debug!(target: "session", "made: session={session_id:#x} peer={} timeout_ms={timeout_ms}",
                    Peer(peer));
            }
            SessionKind::Attached { session_id, timeout_ms } if is_ours => {
                log::debug!(target: "session", "attached: session={session_id:#x} peer={} timeout_ms={timeout_ms}",
                    Peer(peer));
            }
            SessionKind::Refused { session_id } if is_ours => {
                log::debug!(target: "session", "refused: session={session_id:#x} peer={} why={}", Peer(peer),
                    Text("it has ended, never was, or has another password"));
            }
            SessionKind::Opened { session_id, timeout_ms } if is_ours => {
                log::debug!(target: "session", "made: session={session_id:#x} peer={} timeout_ms={timeout_ms} local=true",
                    Peer(peer));
            }
            SessionKind::Ended { session_id } if is_ours || view.number() == 0 && to.is_none() => {
                let (event, why) = match is_ours {
                    true => ("closed", "its client asked for it"),
                    false => ("expired", "nothing was heard of its client for the timeout"),
                };
                log::debug!(target: "session", "{event}: session={session_id:#x} peer={} local=true why={}", Peer(peer),
                    Text(why));
            }
            SessionKind::Closed { session_id }
                if is_ours || (view.number() == 0 && to.is_none_or(|to| to.client().is_none())) =>
            {
                let timeout_ms = view.timeout_of(session_id).unwrap_or(0);
                // The txn of an end by time answers no request.
                let (event, why) = match (xid, is_ours) {
                    (0, false) => ("expired", "nothing was heard of its client for the timeout"),
                    (_, true) => ("closed", "its client asked for it"),
                    (_, false) => ("closed", "its client asked another server for it"),
                };
                log::debug!(target: "session", "{event}: session={session_id:#x} peer={} timeout_ms={timeout_ms} why={}",
                    Peer(peer), Text(why));
            }
            SessionKind::Created { .. }
            | SessionKind::Closed { .. }
            | SessionKind::Attached { .. }
            | SessionKind::Refused { .. }
            | SessionKind::Overtaken { .. }
            | SessionKind::Ahead { .. }
            | SessionKind::Opened { .. }
            | SessionKind::Ended { .. }
            | SessionKind::Global { .. } => {}
        }
    }
}

/// Where a client is, if it is still there.
struct Peer(Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(peer) => peer.fmt(f),
            None => f.write_str("none"),
        }
    }
}
