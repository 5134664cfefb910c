//! One connection per pair of servers on the election port.
//!
//! The server with the larger sid owns the connection. When the smaller one wants to talk it connects and sends a hello;
//! the larger closes that connection and calls back. So there is one rule for which of two connections stays: the
//! newest that the larger opened.
//!
//! No peer waits for another: each has its own attempts, back-off and deadlines. At most one attempt and one
//! connection per peer exist at a time.
//!
//! Source: `QuorumCnxManager`, Apache ZooKeeper 3.9.4.

use std::collections::{BTreeMap, BTreeSet};

use super::LinkId;
use super::election::{Output, Unwelcome};
use super::message::MessageError;
use super::notification::{
    NOTIFICATION_BYTES_MAX, Notification, ServerState, Vote, address_in_hello, put_hello, read_frame,
    read_hello,
};
use super::quorum::version_in;
use crate::proto::ServerId;

/// An attempt that has not connected after this long is given up.
const DIAL_MS: u64 = 2_000;
/// How long the larger side may take to hang up on the smaller one's hello before the smaller does.
const HANG_UP_MS: u64 = 2_000;
/// How long the hello of an accepted connection may take.
const HELLO_MS: u64 = 5_000;
/// Pauses between attempts: doubled from the first to the second.
const RETRY_MS_MIN: u64 = 100;
const RETRY_MS_MAX: u64 = 1_000;
/// A connection this young is not given up for the smaller side's hello: both sides had connected at once.
const FRESH_MS: u64 = 300;
/// A peer whose connection is replaced so often within this time, while it works, is two servers with one number.
const REPLACED_MAX: u32 = 3;
const REPLACED_MS: u64 = 60_000;
/// Most accepted connections without a hello; the oldest is closed when there is another.
pub(super) const STRANGERS_MAX: usize = 64;
/// Most peers that are not in the configuration.
pub(super) const UNKNOWN_PEERS_MAX: usize = 64;

/// What a connection is used for.
#[derive(Debug)]
enum Use {
    /// Accepted; its hello has not come yet.
    Stranger { bytes: Vec<u8>, since_ms: u64 },
    /// Not connected yet.
    Dialing { sid: ServerId, since_ms: u64 },
    /// This server has said hello to a larger sid, which hangs up and calls back.
    Calling { sid: ServerId, since_ms: u64 },
    /// The connection to that peer.
    Open { sid: ServerId },
}

/// What the election must know of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There is a new connection to this peer; what was sent on an older one may be lost.
    Opened(ServerId),
    /// There is none any more.
    Lost(ServerId),
    /// An attempt failed.
    Refused(ServerId),
}

#[derive(Debug, Default)]
struct Peer {
    /// The configuration names it, with its address.
    known: bool,
    /// Where it says itself that it is, of one that the configuration does not name.
    at: Option<(String, u16)>,
    link: Option<LinkId>,
    bytes: Vec<u8>,
    opened_ms: u64,
    /// When something came from it last, on this connection.
    heard_ms: Option<u64>,
    attempt: Option<LinkId>,
    retry_ms: u64,
    pause_ms: u64,
    refused: bool,
    /// How often a connection that worked was replaced by another one since this time.
    replaced: u32,
    replaced_since_ms: u64,
}

impl Peer {
    /// Notes that a server connects as this peer. `Some(times)` if connections that worked were replaced so often lately
    /// that two servers must have the same number.
    fn is_replaced(&mut self, now_ms: u64) -> Option<u32> {
        if self.link.is_none() || self.heard_ms.is_none() || now_ms < self.opened_ms + FRESH_MS {
            return None;
        }
        if now_ms >= self.replaced_since_ms + REPLACED_MS {
            (self.replaced, self.replaced_since_ms) = (0, now_ms);
        }
        self.replaced += 1;
        (self.replaced >= REPLACED_MAX).then_some(self.replaced)
    }
}

/// A notification as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub state: ServerState,
    pub round: i64,
    pub vote: Option<Vote>,
    pub version: i32,
    /// The texts of the sender's active and proposed configurations, if either is later than what was asked for.
    pub configs: Option<Told>,
}

/// The texts of a peer's active and proposed configurations.
pub(super) type Told = (Box<[u8]>, Option<Box<[u8]>>);

/// All connections of the election port.
#[derive(Debug)]
pub(super) struct Links {
    me: ServerId,
    hello: Vec<u8>,
    peers: BTreeMap<ServerId, Peer>,
    uses: BTreeMap<LinkId, Use>,
    asked: u64,
    /// Whether servers are called back that the configuration does not name.
    calls_unknown: bool,
}

impl Links {
    pub(super) fn new(me: ServerId, address: &str, known: impl Iterator<Item = ServerId>) -> Self {
        let mut hello = Vec::new();
        put_hello(&mut hello, me, address);
        let peer = || Peer { known: true, pause_ms: RETRY_MS_MIN, ..Peer::default() };
        let peers = known.filter(|sid| *sid != me).map(|sid| (sid, peer())).collect();
        Self { me, hello, peers, uses: BTreeMap::new(), asked: 0, calls_unknown: false }
    }

    /// Calls servers back that the configuration does not name, where they say that they are: they may be about to join.
    pub(super) fn set_calls_unknown(&mut self, calls_unknown: bool) {
        self.calls_unknown = calls_unknown;
    }

    /// From here on the configuration names these servers, and this one listens for votes at `address`, if that is known.
    pub(super) fn set_known(
        &mut self,
        sids: &BTreeSet<ServerId>,
        address: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        if let Some(address) = address {
            self.hello.clear();
            put_hello(&mut self.hello, self.me, address);
        }
        for sid in sids.iter().filter(|sid| **sid != self.me) {
            let peer =
                self.peers.entry(*sid).or_insert_with(|| Peer { pause_ms: RETRY_MS_MIN, ..Peer::default() });
            (peer.known, peer.at) = (true, None);
        }
        // What they have to say they say over a new connection.
        let unknown = |(sid, peer): (&ServerId, &Peer)| (peer.known && !sids.contains(sid)).then_some(*sid);
        let removed: Vec<ServerId> = self.peers.iter().filter_map(unknown).collect();
        for sid in removed {
            let Some(peer) = self.peers.remove(&sid) else { continue };
            for link in [peer.link, peer.attempt].into_iter().flatten() {
                self.uses.remove(&link);
                out.push(Output::Close { link });
            }
        }
    }

    pub(super) fn is_open(&self, sid: ServerId) -> bool {
        self.peers.get(&sid).is_some_and(|peer| peer.link.is_some())
    }

    /// True if the last attempt failed and nothing came from it since.
    pub(super) fn is_down(&self, sid: ServerId) -> bool {
        self.peers.get(&sid).is_some_and(|peer| peer.link.is_none() && peer.refused)
    }

    pub(super) fn is_known(&self, sid: ServerId) -> bool {
        self.peers.get(&sid).is_some_and(|peer| peer.known)
    }

    /// Forgets failures: the next attempts are made at once.
    pub(super) fn try_anew(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            peer.refused = false;
            peer.retry_ms = now_ms;
            peer.pause_ms = RETRY_MS_MIN;
        }
    }

    /// Sends to the peer; false without a connection.
    pub(super) fn send(&self, sid: ServerId, bytes: &[u8], out: &mut Vec<Output>) -> bool {
        let Some(link) = self.peers.get(&sid).and_then(|peer| peer.link) else { return false };
        out.push(Output::Send { link, bytes: bytes.to_vec() });
        true
    }

    pub(super) fn accepted(&mut self, now_ms: u64, link: LinkId, out: &mut Vec<Output>) {
        assert_eq!(link.0 & LinkId::ASKED, 0, "accepted {link:?} has the number of one that was asked for");
        let strangers = self.uses.iter().filter_map(|(link, this)| match this {
            Use::Stranger { since_ms, .. } => Some((*since_ms, *link)),
            _ => None,
        });
        if strangers.clone().count() >= STRANGERS_MAX
            && let Some((_, oldest)) = strangers.min()
        {
            self.close(oldest, out);
        }
        self.uses.insert(link, Use::Stranger { bytes: Vec::new(), since_ms: now_ms });
    }

    pub(super) fn connected(&mut self, now_ms: u64, link: LinkId, out: &mut Vec<Output>) -> Option<Change> {
        // Late: the attempt was given up, and the shell has not carried that out yet.
        let Some(Use::Dialing { sid, .. }) = self.uses.get(&link) else { return None };
        let sid = *sid;
        out.push(Output::Send { link, bytes: self.hello.clone() });
        if sid > self.me {
            self.uses.insert(link, Use::Calling { sid, since_ms: now_ms });
            return None;
        }
        Some(self.open(now_ms, link, sid, Vec::new(), out))
    }

    /// Takes bytes, and gives the peer that they are of, once it is known; [`Links::next`] then gives its votes.
    pub(super) fn received(
        &mut self,
        now_ms: u64,
        link: LinkId,
        bytes: &[u8],
        out: &mut Vec<Output>,
    ) -> (Option<ServerId>, Option<Change>) {
        match self.uses.get_mut(&link) {
            Some(Use::Open { sid }) => {
                let sid = *sid;
                let peer = self.peers.get_mut(&sid).expect("an open link has its peer");
                assert_eq!(
                    peer.link,
                    Some(link),
                    "server {sid} has another connection than the one that is open"
                );
                peer.bytes.extend_from_slice(bytes);
                peer.heard_ms = Some(now_ms);
                (Some(sid), None)
            }
            Some(Use::Stranger { bytes: held, .. }) => {
                held.extend_from_slice(bytes);
                match read_hello(held) {
                    Ok(None) => (None, None),
                    Err(_) => {
                        out.push(Output::Unwelcome { link, why: Unwelcome::NoServer });
                        self.close(link, out);
                        (None, None)
                    }
                    Ok(Some((sid, length))) => {
                        let (rest, at) = (held.split_off(length), address_in_hello(held));
                        let change = self.introduced(now_ms, link, sid, rest, at, out);
                        (change.map(|_| sid), change)
                    }
                }
            }
            // A larger server does not answer a hello, and what comes late over a connection that was given up is void.
            Some(Use::Calling { .. } | Use::Dialing { .. }) | None => (None, None),
        }
    }

    /// An accepted connection has named its server by a hello.
    fn introduced(
        &mut self,
        now_ms: u64,
        link: LinkId,
        sid: ServerId,
        rest: Vec<u8>,
        at: Option<(String, u16)>,
        out: &mut Vec<Output>,
    ) -> Option<Change> {
        let unknown = self.peers.values().filter(|peer| !peer.known).count();
        if sid == self.me || (!self.peers.contains_key(&sid) && unknown >= UNKNOWN_PEERS_MAX) {
            // The own sid: two servers with one myid, or a server that called itself (ZOOKEEPER-2164).
            let why = if sid == self.me { Unwelcome::OwnSid } else { Unwelcome::NoServer };
            out.push(Output::Unwelcome { link, why });
            self.close(link, out);
            return None;
        }
        if let Some(peer) = self.peers.get_mut(&sid)
            && let Some(times) = peer.is_replaced(now_ms)
        {
            out.push(Output::Unwelcome { link, why: Unwelcome::Twice { sid, times } });
        }
        if sid > self.me {
            return Some(self.open(now_ms, link, sid, rest, out));
        }
        self.close(link, out);
        let at = at.filter(|_| self.calls_unknown);
        let older = match self.peers.get(&sid) {
            Some(peer) if peer.link.is_some() && now_ms < peer.opened_ms + FRESH_MS => return None,
            Some(peer) if peer.known || at.is_some() => peer.link,
            None if at.is_some() => None,
            _ => return None,
        };
        // It would not call over a connection that works.
        if let Some(older) = older {
            self.close(older, out);
        }
        let peer = self.peers.entry(sid).or_default();
        peer.retry_ms = now_ms;
        peer.pause_ms = peer.pause_ms.max(RETRY_MS_MIN);
        peer.at = at.filter(|_| !peer.known);
        self.dial(now_ms, sid, out);
        None
    }

    /// Makes `link` the connection to `sid`, in place of any other.
    fn open(
        &mut self,
        now_ms: u64,
        link: LinkId,
        sid: ServerId,
        rest: Vec<u8>,
        out: &mut Vec<Output>,
    ) -> Change {
        assert_ne!(sid, self.me, "a connection of this server to itself");
        let peer = self.peers.entry(sid).or_default();
        let others = [peer.link.replace(link), peer.attempt.take()];
        peer.bytes = rest;
        peer.opened_ms = now_ms;
        peer.heard_ms = None;
        peer.refused = false;
        for other in others.into_iter().flatten().filter(|other| *other != link) {
            self.uses.remove(&other);
            out.push(Output::Close { link: other });
        }
        self.uses.insert(link, Use::Open { sid });
        Change::Opened(sid)
    }

    /// The next notification of the peer; `None` when there is no more to read, or its connection ended by the last one.
    ///
    /// Configurations come with it if one is later than those that are known. Frames that hold no vote are ignored; a length that cannot be ends the connection.
    pub(super) fn next(
        &mut self,
        sid: ServerId,
        known: KnownVersions,
        out: &mut Vec<Output>,
    ) -> Option<Heard> {
        loop {
            let peer = self.peers.get_mut(&sid)?;
            let link = peer.link?;
            match read_frame(&peer.bytes) {
                Ok(None) => {
                    debug_assert!(peer.bytes.len() <= 4 + NOTIFICATION_BYTES_MAX, "a frame is too long");
                    return None;
                }
                Ok(Some((frame, length))) => {
                    let heard = Notification::read(frame).map(|n| Heard {
                        state: n.state,
                        round: n.round,
                        vote: n.vote,
                        version: n.version,
                        configs: later(&n, known),
                    });
                    peer.bytes.drain(..length);
                    // It sends votes: were the connection lost now, the next attempt would be at once.
                    peer.pause_ms = RETRY_MS_MIN;
                    if let Ok(heard) = heard {
                        return Some(heard);
                    }
                }
                Err(
                    MessageError::Negative { .. } | MessageError::TooLong { .. } | MessageError::Data { .. },
                ) => {
                    peer.retry_ms = peer.retry_ms.max(peer.opened_ms + RETRY_MS_MAX);
                    out.push(Output::Unwelcome { link, why: Unwelcome::NoServer });
                    self.close(link, out);
                    return None;
                }
            }
        }
    }

    /// The shell reports that a connection or attempt ended; one that this server has given up is forgotten already.
    pub(super) fn closed(&mut self, now_ms: u64, link: LinkId) -> Option<Change> {
        match self.uses.remove(&link)? {
            Use::Stranger { .. } => None,
            Use::Dialing { sid, .. } => {
                self.failed(now_ms, sid);
                Some(Change::Refused(sid))
            }
            Use::Calling { sid, .. } => {
                // As it should be. If no call comes back, the next attempt is after the pause.
                self.paused(now_ms, sid);
                None
            }
            Use::Open { sid } => {
                let peer = self.peers.get_mut(&sid).expect("an open link has its peer");
                let spoke = peer.heard_ms.take().is_some();
                assert_eq!(
                    peer.link.take(),
                    Some(link),
                    "server {sid} has another connection than the one that ends"
                );
                peer.bytes = Vec::new();
                if !peer.known && peer.attempt.is_none() {
                    self.peers.remove(&sid);
                } else if spoke {
                    peer.retry_ms = now_ms;
                } else {
                    // The peer accepts and hangs up, time and again: that is no reason to hurry.
                    self.paused(now_ms, sid);
                }
                Some(Change::Lost(sid))
            }
        }
    }

    fn failed(&mut self, now_ms: u64, sid: ServerId) {
        self.paused(now_ms, sid);
        // One that the configuration does not name is gone.
        if let Some(peer) = self.peers.get_mut(&sid) {
            peer.refused = true;
        }
    }

    fn paused(&mut self, now_ms: u64, sid: ServerId) {
        let peer = self.peers.get_mut(&sid).expect("a server that is called is a peer");
        peer.attempt = None;
        peer.retry_ms = now_ms + peer.pause_ms;
        peer.pause_ms = (peer.pause_ms * 2).min(RETRY_MS_MAX);
        if !peer.known && peer.link.is_none() {
            self.peers.remove(&sid);
        }
    }

    /// Gives a connection up.
    fn close(&mut self, link: LinkId, out: &mut Vec<Output>) {
        if let Some(Use::Open { sid }) = self.uses.remove(&link) {
            let peer = self.peers.get_mut(&sid).expect("an open link has its peer");
            assert_eq!(
                peer.link.take(),
                Some(link),
                "server {sid} has another connection than the one given up"
            );
            peer.heard_ms = None;
            peer.bytes = Vec::new();
            if !peer.known && peer.attempt.is_none() {
                self.peers.remove(&sid);
            }
        }
        out.push(Output::Close { link });
    }

    fn dial(&mut self, now_ms: u64, sid: ServerId, out: &mut Vec<Output>) {
        let peer = self.peers.get_mut(&sid).expect("a server that is to be called is a peer");
        let is_somewhere = peer.known || peer.at.is_some();
        if !is_somewhere || peer.link.is_some() || peer.attempt.is_some() || now_ms < peer.retry_ms {
            return;
        }
        let at = peer.at.clone();
        self.asked += 1;
        let link = LinkId(LinkId::ASKED | LinkId::ELECTION | self.asked);
        peer.attempt = Some(link);
        self.uses.insert(link, Use::Dialing { sid, since_ms: now_ms });
        out.push(Output::Connect { link, sid, at });
    }

    /// Ends what took too long and calls the peers that are wanted, each when its pause is over.
    ///
    /// `silent_since_ms` gives the time from which a connected peer that sends nothing is taken to be gone; its connection
    /// is opened anew.
    pub(super) fn tick(
        &mut self,
        now_ms: u64,
        wanted: impl Fn(ServerId) -> bool,
        silent_since_ms: Option<u64>,
        out: &mut Vec<Output>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let late: Vec<LinkId> =
            self.uses.iter().filter(|(_, this)| this.deadline() <= now_ms).map(|(link, _)| *link).collect();
        for link in late {
            out.push(Output::Close { link });
            changes.extend(self.closed(now_ms, link));
        }
        let sids: Vec<ServerId> = self.peers.keys().copied().filter(|sid| wanted(*sid)).collect();
        for sid in sids {
            let peer = &self.peers[&sid];
            if let (Some(link), Some(since_ms)) = (peer.link, silent_since_ms)
                && peer.known
                && peer.heard_ms.unwrap_or(0).max(peer.opened_ms) < since_ms
            {
                self.close(link, out);
                changes.push(Change::Lost(sid));
            }
            self.dial(now_ms, sid, out);
        }
        changes
    }

    /// Asserts what holds between two events: each connection has one use, and its peer knows it.
    pub(super) fn check(&self) {
        let (mut open, mut attempts, mut strangers) = (0, 0, 0);
        for (link, this) in &self.uses {
            let peer = |sid: &ServerId| self.peers.get(sid).expect("a connection to a server has its peer");
            match this {
                Use::Stranger { .. } => strangers += 1,
                Use::Open { sid } => {
                    assert_eq!(peer(sid).link, Some(*link), "server {sid} has another open connection");
                    open += 1;
                }
                Use::Dialing { sid, .. } | Use::Calling { sid, .. } => {
                    assert_eq!(peer(sid).attempt, Some(*link), "server {sid} has another attempt");
                    attempts += 1;
                }
            }
        }
        let links = self.peers.values().filter(|peer| peer.link.is_some()).count();
        let tried = self.peers.values().filter(|peer| peer.attempt.is_some()).count();
        assert_eq!((links, tried), (open, attempts), "a peer has a connection that is gone");
        assert!(strangers <= STRANGERS_MAX, "{strangers} connections without a hello, limit {STRANGERS_MAX}");
        let unknown = self.peers.values().filter(|peer| !peer.known).count();
        assert!(
            unknown <= UNKNOWN_PEERS_MAX,
            "{unknown} servers that are not configured, limit {UNKNOWN_PEERS_MAX}"
        );
        assert!(!self.peers.contains_key(&self.me), "this server is a peer of itself");
    }

    /// When [`Links::tick`] has something to do next.
    pub(super) fn deadline(&self, wanted: impl Fn(ServerId) -> bool) -> Option<u64> {
        let ends = self.uses.values().map(Use::deadline).filter(|at| *at != u64::MAX);
        let idle = |peer: &Peer| peer.known && peer.link.is_none() && peer.attempt.is_none();
        let calls = self
            .peers
            .iter()
            .filter(|(sid, peer)| idle(peer) && wanted(**sid))
            .map(|(_, peer)| peer.retry_ms);
        ends.chain(calls).min()
    }
}

/// Versions of the configurations that a server knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownVersions {
    pub active: i64,
    pub last_seen: i64,
}

/// The configurations of a notification, if one is later than those that are known.
fn later(n: &Notification<'_>, known: KnownVersions) -> Option<Told> {
    let active = n.config?;
    let is_later = version_in(active) > known.active
        || n.next_config.is_some_and(|next| version_in(next) > known.last_seen);
    is_later.then(|| (active.into(), n.next_config.map(Into::into)))
}

impl Use {
    fn deadline(&self) -> u64 {
        match self {
            Self::Stranger { since_ms, .. } => since_ms + HELLO_MS,
            Self::Dialing { since_ms, .. } => since_ms + DIAL_MS,
            Self::Calling { since_ms, .. } => since_ms + HANG_UP_MS,
            Self::Open { .. } => u64::MAX,
        }
    }
}
