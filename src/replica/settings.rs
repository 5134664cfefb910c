//! Settings of views and of the commit side: ZooKeeper's defaults, and what a configuration says.

use crate::admin::Whitelist;
use crate::auth::sasl::NonceKey;
use crate::auth::sasl::gssapi::Acceptor;
use crate::config::Config;
use crate::tree::ExtendedTypes;
use std::sync::Arc;

/// How the commit side does its work.
#[derive(Clone, Debug)]
pub struct CommitSettings {
    /// How many views there are.
    pub views: u16,
    /// Length of a tick: sessions end in steps of it.
    pub tick_ms: i32,
    /// Bounds of what clients may ask for as a session timeout.
    pub min_session_timeout_ms: i32,
    /// See `min_session_timeout_ms`.
    pub max_session_timeout_ms: i32,
    /// The server's id, the high byte of the ids of its sessions.
    pub server_id: u8,
    /// Whether TTL nodes may be made.
    pub extended_types: bool,
    /// Whether hard quotas refuse.
    pub enforce_quota: bool,
    /// Whether reconfig is refused as disabled: `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// Whether a reconfiguration must leave at least two voters: `standaloneEnabled`.
    pub standalone_enabled: bool,
    /// Whether a server may have several addresses: `multiAddress.enabled`.
    pub multi_address: bool,
    /// Whether a client's session begins as one that only its server knows: `localSessionsEnabled`.
    pub local_sessions: bool,
    /// Whether such a session becomes the ensemble's when its client creates an ephemeral:
    /// `localSessionsUpgradingEnabled`.
    pub upgrades_sessions: bool,
    /// Whether txns carry the tree's digest.
    pub digest_enabled: bool,
    /// Whether a closeSession's txn lists the ephemerals that go with it.
    pub close_session_paths: bool,
    /// How often containers and TTL nodes are looked through.
    pub container_check_interval_ms: i64,
    /// Most of them to delete in a minute.
    pub container_max_per_minute: u32,
    /// Age at which a container goes that never had a child; 0 for never.
    pub container_never_used_ms: i64,
    /// Seeds the hashes of what clients choose.
    pub hash_seed: u64,
    /// Zxids of an epoch: the first txn passes over the others.
    #[cfg(any(test, feature = "sim"))]
    pub epoch_zxids: Option<u32>,
    /// A deliberate bug.
    #[cfg(any(test, feature = "sim"))]
    pub bug: Option<SessionsBug>,
}

/// A deliberate bug of local sessions or of read-only mode, to see that seeds notice it.
#[cfg(any(test, feature = "sim"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionsBug {
    /// A session that is upgraded has no txn.
    UpgradeNotLogged,
    /// The end of a local session has one.
    EndLogged,
    /// A read-only server shows what no leader has confirmed.
    UnconfirmedRead,
}

impl CommitSettings {
    /// Whether it has this deliberate bug.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn has_bug(&self, bug: SessionsBug) -> bool {
        self.bug == Some(bug)
    }

    /// The defaults, for so many views and a tick of so many milliseconds.
    pub fn new(views: u16, tick_ms: i32) -> Self {
        Self {
            views,
            tick_ms,
            min_session_timeout_ms: 2 * tick_ms,
            max_session_timeout_ms: 20 * tick_ms,
            server_id: 1,
            extended_types: false,
            enforce_quota: false,
            reconfig_enabled: false,
            standalone_enabled: true,
            multi_address: false,
            local_sessions: false,
            upgrades_sessions: false,
            digest_enabled: true,
            close_session_paths: true,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_never_used_ms: 0,
            hash_seed: 1,
            #[cfg(any(test, feature = "sim"))]
            epoch_zxids: None,
            #[cfg(any(test, feature = "sim"))]
            bug: None,
        }
    }

    /// What a configuration says, for so many views. `sid` is the server's id in its ensemble, if it has one.
    pub fn of(config: &Config, views: u16, sid: Option<i64>, hash_seed: u64) -> Self {
        Self {
            views,
            tick_ms: config.tick_time_ms as i32,
            min_session_timeout_ms: config.min_session_timeout_ms,
            max_session_timeout_ms: config.max_session_timeout_ms,
            server_id: sid.map_or(1, |sid| sid as u8),
            extended_types: config.extended_types != ExtendedTypes::Off,
            enforce_quota: config.enforce_quota,
            reconfig_enabled: config.reconfig_enabled,
            standalone_enabled: config.standalone_enabled,
            multi_address: config.quorum.multi_address,
            // Of a server alone all sessions are global, in Java too.
            local_sessions: sid.is_some() && config.by_itself.local_sessions,
            upgrades_sessions: config.by_itself.upgrades_sessions,
            digest_enabled: config.digest_enabled,
            close_session_paths: config.close_session_txn_enabled,
            container_check_interval_ms: config.container_check_interval_ms.into(),
            container_max_per_minute: config.container_max_per_minute,
            container_never_used_ms: config.container_max_never_used_interval_ms as i64,
            hash_seed,
            #[cfg(any(test, feature = "sim"))]
            epoch_zxids: None,
            #[cfg(any(test, feature = "sim"))]
            bug: None,
        }
    }
}

/// How a view does its work.
#[derive(Clone, Debug)]
pub struct ViewSettings {
    /// Its number; the commit side answers by it.
    pub number: u16,
    /// Largest frame: `jute.maxbuffer`.
    pub frame_bytes_max: usize,
    /// Writes outstanding in this view at which connections that have some wait:
    /// `globalOutstandingLimit`.
    pub outstanding_max: usize,
    /// How long a connection may go without a connect request.
    pub sessionless_timeout_ms: i64,
    /// Four-letter words that are answered.
    pub whitelist: Whitelist,
    /// Schemes of which a client must have proved one before anything else; empty for none.
    pub enforced_schemes: Vec<String>,
    /// True if clients are served from the start; a member serves none before there is a leader.
    pub serving: bool,
    /// Seeds the hashes of what clients choose.
    pub hash_seed: u64,
    /// Requests that take as long are remembered, in microseconds; `u64::MAX` for none.
    pub slow_request_us: u64,
    /// Of so many requests one is remembered, too; 0 for none.
    pub trace_one_in: u32,
    /// The user that the server runs as, if there is an audit log.
    pub audit_user: Option<String>,
    /// What nonces of SASL are made of.
    pub nonce_key: NonceKey,
    /// This server's key of Kerberos, if clients show tickets.
    pub kerberos: Option<Arc<dyn Acceptor>>,
}

impl ViewSettings {
    /// The defaults of a view that answers every four-letter word and serves once there is a leader.
    pub fn new(number: u16) -> Self {
        Self {
            number,
            frame_bytes_max: 0xFFFFF,
            outstanding_max: 1000,
            sessionless_timeout_ms: 10_000,
            whitelist: Whitelist::parse("*", false),
            enforced_schemes: Vec::new(),
            serving: false,
            hash_seed: 1,
            slow_request_us: u64::MAX,
            trace_one_in: 0,
            audit_user: None,
            nonce_key: NonceKey::default(),
            kerberos: None,
        }
    }

    /// What a configuration says. The shell adds what only it knows: [`Self::audit_user`] and
    /// [`Self::kerberos`].
    pub fn of(config: &Config, number: u16, hash_seed: u64, nonce_key: NonceKey) -> Self {
        let words = config.four_letter_words.words().map_or_else(|| "*".to_owned(), |words| words.join(","));
        Self {
            number,
            frame_bytes_max: config.jute_max_buffer_bytes as usize,
            outstanding_max: config.global_outstanding_limit.max(1) as usize,
            sessionless_timeout_ms: config.sessionless_cnxn_timeout_ms.into(),
            whitelist: Whitelist::parse(&words, config.by_itself.read_only_mode),
            enforced_schemes: config.enforce_auth_schemes.clone().unwrap_or_default(),
            serving: !config.is_distributed(),
            hash_seed,
            slow_request_us: match config.slow_request_ms {
                0 => u64::MAX,
                ms => 1000 * u64::from(ms),
            },
            trace_one_in: config.trace_one_in,
            audit_user: None,
            nonce_key,
            kerberos: None,
        }
    }
}
