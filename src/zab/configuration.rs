//! The ensemble's configuration, which a reconfiguration changes while all servers run.
//!
//! A server has one configuration that is active and, from the proposal of a reconfiguration until its commit, a next one.
//! While there is a next one, every decision takes a quorum of both: a new epoch, a leader's support, an election, the
//! reconfiguration itself and what is proposed after it. So no two leaders decide by quorums that share no server, whatever of
//! the reconfiguration they know. A configuration's version is the zxid of the reconfiguration that made it, or the start of
//! the epoch in which a leader gave the servers' file its first version.
//!
//! A server also hears of a next configuration by votes, before its log has it: it may have a vote by that one alone, so it votes
//! and answers, and knows where the servers are. It counts no quorum by what it has only heard of, and forgets it over a restart.
//!
//! Invariants: `active.version < next.version`. The next configuration follows the active one directly: a leader proposes none
//! before the one before it is committed, so a proposal says that the one before it is. The active configuration is durable before
//! the next one is acknowledged; the next one is what the log's last reconfiguration makes, and a start reads it from there.
//!
//! Source: Shraer, Reed, Malkhi, Junqueira, "Dynamic Reconfiguration of Primary/Backup Clusters", USENIX ATC 2012;
//! `QuorumPeer.getQuorumVerifier`, `getLastSeenQuorumVerifier`, Apache ZooKeeper 3.9.4.

use super::notification::NOTIFICATION_BYTES_MAX;
use super::quorum::{Quorum, QuorumError, SidSet, config_text};
use crate::config::{Ensemble, ParseError, Role};
use crate::proto::{ServerId, Zxid};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One configuration: servers, the quorums of those that vote, and the text by which it is passed on.
#[derive(Clone, Debug)]
pub struct Configuration {
    ensemble: Ensemble,
    quorum: Quorum,
    text: Box<[u8]>,
}

impl PartialEq for Configuration {
    /// The text says all.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Configuration {}

/// Why a text is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// A line that cannot be read, or what is missing.
    #[error(transparent)]
    Text(#[from] ParseError),
    /// Bytes that are no text.
    #[error(transparent)]
    Encoding(#[from] std::str::Utf8Error),
    /// The voters form no quorums.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// No server votes.
    #[error("it has no participant")]
    NoVoter,
    /// Votes carry two of them.
    #[error("it has {0} bytes, more than {CONFIG_BYTES_MAX}")]
    TooLong(usize),
    /// A name longer than the ones that hellos hold.
    #[error("a host has {0} bytes, more than {HOST_BYTES_MAX}")]
    Host(usize),
}

/// Most bytes of a configuration's text.
pub const CONFIG_BYTES_MAX: usize = NOTIFICATION_BYTES_MAX / 2 - 64;

/// Most bytes of a host's name, as in DNS.
const HOST_BYTES_MAX: usize = 255;

impl Configuration {
    /// That of a checked ensemble.
    ///
    /// # Errors
    /// [`ConfigurationError::Quorum`], [`ConfigurationError::TooLong`], [`ConfigurationError::Host`].
    pub fn new(ensemble: Ensemble) -> Result<Self, ConfigurationError> {
        let quorum = Quorum::new(&ensemble)?;
        let text: Box<[u8]> = config_text(&ensemble).into_bytes().into();
        if text.len() > CONFIG_BYTES_MAX {
            return Err(ConfigurationError::TooLong(text.len()));
        }
        let hosts = ensemble.servers.values().flat_map(|server| {
            let client = server.client.iter().filter_map(|client| client.host.as_ref());
            server.addresses.iter().map(|address| &address.host).chain(client)
        });
        match hosts.map(String::len).max() {
            Some(bytes) if bytes > HOST_BYTES_MAX => Err(ConfigurationError::Host(bytes)),
            _ => Ok(Self { ensemble, quorum, text }),
        }
    }

    /// Reads what another server, the log or a client says.
    ///
    /// # Errors
    /// See [`ConfigurationError`].
    pub fn parse(text: &[u8]) -> Result<Self, ConfigurationError> {
        let configuration = Self::new(Ensemble::parse(std::str::from_utf8(text)?)?)?;
        match configuration.quorum.voters().count() {
            0 => Err(ConfigurationError::NoVoter),
            _ => Ok(configuration),
        }
    }

    /// The same servers with another version.
    pub fn with_version(&self, version: i64) -> Self {
        let ensemble = Ensemble { version, ..self.ensemble.clone() };
        let text = config_text(&ensemble).into_bytes().into();
        Self { ensemble, quorum: self.quorum.clone(), text }
    }

    /// The same with an oracle that decides between two voters.
    pub fn with_oracle(self) -> Self {
        Self { quorum: self.quorum.with_oracle(), ..self }
    }

    /// Its servers, groups and weights.
    pub fn ensemble(&self) -> &Ensemble {
        &self.ensemble
    }

    /// Which sets of servers decide.
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// As `/zookeeper/config`, NEWLEADER and votes hold it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The zxid of its reconfiguration, or what stands for one; 0 for none.
    pub fn version(&self) -> i64 {
        self.ensemble.version
    }

    /// What a server is in it; `None` where it is not named.
    pub fn role(&self, sid: ServerId) -> Option<Role> {
        self.ensemble.servers.get(&sid.0).map(|server| server.role)
    }

    /// Whether both name the same servers with the same roles, whatever their addresses are.
    pub fn has_same_members(&self, other: &Self) -> bool {
        let members = |of: &Self| -> Vec<(i64, Role)> {
            of.ensemble.servers.values().map(|server| (server.sid, server.role)).collect()
        };
        members(self) == members(other)
    }

    /// Whether this server is named.
    pub fn names(&self, sid: ServerId) -> bool {
        self.ensemble.servers.contains_key(&sid.0)
    }

    /// Whether the followers of a server that leads in `self` find it at the same address in `other`, and it votes there.
    pub fn keeps_leader(&self, other: &Self, leader: ServerId) -> bool {
        let address = |of: &Self| {
            let server = of.ensemble.servers.get(&leader.0)?;
            Some(server.addresses.iter().map(|at| (at.host.clone(), at.quorum_port)).collect::<Vec<_>>())
        };
        other.quorum.votes(leader) && address(self) == address(other)
    }

    /// Whether a quorum is among these servers.
    pub fn decides(&self, sids: impl Iterator<Item = ServerId>) -> bool {
        let mut set = SidSet::EMPTY;
        for sid in sids {
            self.quorum.add(&mut set, sid);
        }
        self.quorum.contains_quorum(&set)
    }
}

/// The active configuration, and the next one while a reconfiguration is proposed and not known to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configurations {
    active: Arc<Configuration>,
    next: Option<Arc<Configuration>>,
    /// In a peer's log, and not in this server's.
    heard: Option<Arc<Configuration>>,
    /// Whether an oracle decides between two voters.
    has_oracle: bool,
    #[cfg(any(test, feature = "sim"))]
    bug: Option<ConfigurationsBug>,
}

/// A deliberate bug, to see that seeds notice it.
#[cfg(any(test, feature = "sim"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationsBug {
    /// A reconfiguration is decided by quorums of the active configuration alone.
    OldQuorum,
    /// A configuration is active as soon as it is proposed.
    ActiveEarly,
    /// What the log proposes is forgotten at a start.
    NextForgotten,
    /// A leader hands over before all that it has proposed is committed.
    HandOverEarly,
}

impl Configurations {
    /// An active one alone.
    pub fn new(active: Configuration) -> Self {
        Self::restored(active, None)
    }

    /// The same with a deliberate bug.
    #[cfg(any(test, feature = "sim"))]
    pub fn with_bug(self, bug: ConfigurationsBug) -> Self {
        let next = self.next.filter(|_| bug != ConfigurationsBug::NextForgotten);
        Self { bug: Some(bug), next, ..self }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn has_bug(&self, bug: ConfigurationsBug) -> bool {
        self.bug == Some(bug)
    }

    /// What a server had before its end. A next one that is not later than the active one is committed, or was given up.
    pub fn restored(active: Configuration, next: Option<Configuration>) -> Self {
        let next = next.filter(|next| next.version() > active.version());
        Self {
            active: Arc::new(active),
            next: next.map(Arc::new),
            heard: None,
            has_oracle: false,
            #[cfg(any(test, feature = "sim"))]
            bug: None,
        }
    }

    /// The newest that is known to be committed.
    pub fn active(&self) -> &Configuration {
        &self.active
    }

    /// The one that is proposed.
    pub fn next(&self) -> Option<&Configuration> {
        self.next.as_deref()
    }

    /// The newest that this server knows of. Source: `getLastSeenQuorumVerifier`.
    pub fn last_seen(&self) -> &Configuration {
        self.next().unwrap_or(&self.active)
    }

    /// The one that a peer knows as proposed.
    pub fn heard(&self) -> Option<&Configuration> {
        self.heard.as_deref()
    }

    /// The active one, and those that may follow it.
    fn known(&self) -> impl Iterator<Item = &Configuration> + Clone {
        [Some(self.active()), self.next(), self.heard.as_deref()].into_iter().flatten()
    }

    /// Those by which quorums are counted, the active one first.
    fn all(&self) -> impl Iterator<Item = &Configuration> + Clone {
        let next = self.next();
        #[cfg(any(test, feature = "sim"))]
        let next = next.filter(|_| !self.has_bug(ConfigurationsBug::OldQuorum));
        [Some(self.active()), next].into_iter().flatten()
    }

    /// Whether the server has a vote, be it in a configuration that is not active yet.
    pub fn votes(&self, sid: ServerId) -> bool {
        self.known().any(|configuration| configuration.quorum.votes(sid))
    }

    /// Whether the server may be elected: it has a vote, as above, and that counts.
    pub fn can_lead(&self, sid: ServerId) -> bool {
        self.known().any(|configuration| configuration.quorum.can_lead(sid))
    }

    /// The servers with a vote, as above, each once: those of the active configuration by sid, then those of the others.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.known().enumerate().flat_map(move |(place, configuration)| {
            let is_new = move |sid: &ServerId| !self.known().take(place).any(|of| of.quorum.votes(*sid));
            configuration.quorum.voters().filter(is_new)
        })
    }

    /// All servers that are named.
    pub fn members(&self) -> BTreeSet<ServerId> {
        let sids = self.known().flat_map(|configuration| configuration.ensemble.servers.keys());
        sids.copied().map(ServerId).collect()
    }

    /// Whether these servers decide: a quorum of each is among them.
    pub fn decides(&self, sids: impl Iterator<Item = ServerId> + Clone) -> bool {
        self.all().all(|configuration| configuration.decides(sids.clone()))
    }

    /// Whether these servers decide on what has this zxid: only from a reconfiguration on its own quorums are asked.
    pub fn decides_on(&self, zxid: Zxid, sids: impl Iterator<Item = ServerId> + Clone) -> bool {
        let counts = |of: &&Configuration| of.version() <= zxid.to_wire() || std::ptr::eq(*of, self.active());
        self.all().filter(counts).all(|configuration| configuration.decides(sids.clone()))
    }

    /// What the oracle of two voters says; `None` without one, and while a reconfiguration is under way.
    pub fn oracle(&self) -> Option<bool> {
        self.active.quorum.oracle().filter(|_| self.next.is_none())
    }

    /// Takes what the oracle says, where there is one.
    pub fn set_oracle(&mut self, allows: bool) {
        Arc::make_mut(&mut self.active).quorum.set_oracle(allows);
    }

    /// Whether these servers decide by the oracle's word. The caller knows that the other voter is not there.
    pub fn decides_by_oracle(&self, sids: impl Iterator<Item = ServerId>) -> bool {
        self.next.is_none() && self.active.quorum.decides_by_oracle(&self.active.quorum.set(sids))
    }

    /// A leader has given the servers of the active configuration this version.
    pub fn set_version(&mut self, version: i64) {
        assert!(version > self.active.version(), "version {version:#x} after {:#x}", self.active.version());
        self.active = Arc::new(self.with_oracle_if_any(self.active.with_version(version)));
        self.next.take_if(|next| next.version() <= version);
    }

    /// A reconfiguration is proposed, so that the one before it is committed. False for one that is known already.
    pub fn propose(&mut self, configuration: Configuration) -> bool {
        if configuration.version() <= self.last_seen().version() {
            return false;
        }
        if let Some(committed) = self.next.take() {
            self.active = committed;
        }
        let next = Arc::new(self.with_oracle_if_any(configuration));
        #[cfg(any(test, feature = "sim"))]
        if self.has_bug(ConfigurationsBug::ActiveEarly) {
            self.active = next;
            return true;
        }
        self.next = Some(next);
        true
    }

    /// Everything through this zxid is committed. True if the next configuration became active by that.
    pub fn commit(&mut self, through: Zxid) -> bool {
        let Some(next) = self.next.take_if(|next| next.version() <= through.to_wire()) else { return false };
        self.active = next;
        true
    }

    /// Takes over a configuration that is active at another server. True if that changes anything.
    pub fn adopt(&mut self, configuration: Configuration) -> bool {
        if configuration.version() <= self.active.version() {
            return false;
        }
        self.next.take_if(|next| next.version() <= configuration.version());
        self.heard = None;
        self.active = Arc::new(self.with_oracle_if_any(configuration));
        true
    }

    /// A peer with the active configuration of this version has a later one in its log, proposed. True if that is news. What is
    /// before the end of this server's log, `last`, was given up, since it is not there.
    pub fn hear_of(&mut self, active_version: i64, next: Configuration, last: Zxid) -> bool {
        let newest = self.known().map(Configuration::version).max();
        let is_news = Some(next.version()) > newest
            && next.version() > last.to_wire()
            && active_version == self.active.version();
        if is_news {
            self.heard = Some(Arc::new(self.with_oracle_if_any(next)));
        }
        is_news
    }

    /// Forgets what it has only heard of.
    pub fn forget_heard(&mut self) {
        self.heard = None;
    }

    /// The log ends at this zxid now. True if a reconfiguration after it is given up by that.
    pub fn retreat(&mut self, to: Zxid) -> bool {
        self.next.take_if(|next| next.version() > to.to_wire()).is_some()
    }

    /// What is proposed is given up, since the log does not hold it any more. True if anything was.
    pub fn give_up(&mut self) -> bool {
        self.next.take().is_some()
    }

    /// A leader begins its epoch with a configuration that this server does not know of.
    pub fn begin_with(&mut self, configuration: Configuration) {
        let (version, before) = (configuration.version(), self.last_seen().version());
        assert!(version > before, "configuration {version:#x} after {before:#x}");
        self.next = Some(Arc::new(self.with_oracle_if_any(configuration)));
    }

    /// Takes over a leader's, with its tree. True if that changes anything; what is older than the active one does not.
    pub fn replace(&mut self, active: Configuration, next: Option<Configuration>) -> bool {
        let ours = (self.active.version(), self.next().map(Configuration::version));
        if active.version() < ours.0 || (active.version(), next.as_ref().map(Configuration::version)) == ours
        {
            return false;
        }
        self.active = Arc::new(self.with_oracle_if_any(active));
        self.next = next.filter(|next| next.version() > self.active.version()).map(Arc::new);
        true
    }

    fn with_oracle_if_any(&self, configuration: Configuration) -> Configuration {
        if self.has_oracle { configuration.with_oracle() } else { configuration }
    }

    /// The same with an oracle that decides between two voters, whenever there are two.
    pub fn with_oracle(mut self) -> Self {
        self.has_oracle = true;
        let with =
            |configuration: &Arc<Configuration>| Arc::new(Configuration::clone(configuration).with_oracle());
        Self { active: with(&self.active), next: self.next.as_ref().map(with), ..self }
    }

    /// Whether an oracle is asked.
    pub fn has_oracle(&self) -> bool {
        self.has_oracle
    }
}
