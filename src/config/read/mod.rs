//! Settings of all sources, each checked by its row of the key table, into a [`Config`].
//!
//! [`sources`] lists them, [`fate`] says what becomes of each, and the other modules take the values that count: one for
//! each subject.

mod classes;
mod entries;
mod fate;
mod lines;
mod member;
mod quorum;
mod sasl;
mod server;
mod session;
mod setting;
mod shown;
mod sources;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod tls_tests;

pub use setting::{Setting, Verdict};

use super::finding::{Finding, Severity};
use super::jaas::Jaas;
use super::{Config, Loader, Sources, keys};
use crate::auth::sasl::SaslPolicy;
use entries::Entries;
use server::Directories;
use session::Timeouts;

/// A [`Config`] and everything that was found on the way.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// To be used only where [`Loaded::is_ok`]; otherwise defaults stand in for what was refused.
    pub config: Config,
    /// Every setting in the order of the sources.
    pub settings: Vec<Setting>,
    /// What was found about single settings, in their order; then what was found about several of them.
    pub findings: Vec<Finding>,
}

impl Loaded {
    /// True if no finding is an error.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|f| f.severity < Severity::Error)
    }
}

/// Reads all sources. Never fails: what is wrong is among the findings.
pub fn load(sources: &Sources<'_>, loader: &dyn Loader) -> Loaded {
    let mut entries = sources::entries(sources, loader);
    fate::settle(&mut entries);
    let mut config = config(&mut entries, sources, loader);
    let (settings, findings) = entries.into_report();
    config.admin.shown.settings.clone_from(&settings);
    Loaded { config, settings, findings }
}

/// Schemes of which a client must prove an id before anything else, the JAAS file, and what it says of clients.
fn authentication(
    entries: &mut Entries,
    loader: &dyn Loader,
) -> (Option<Vec<String>>, Option<Jaas>, SaslPolicy) {
    let enforced = session::enforced_schemes(entries);
    classes::check(entries);
    let jaas = sasl::file(entries, loader);
    let clients = sasl::clients(entries, jaas.as_ref(), loader, enforced.as_deref());
    (enforced, jaas, clients)
}

fn config(entries: &mut Entries, sources: &Sources<'_>, loader: &dyn Loader) -> Config {
    let cores = sources::cores(entries, sources.overrides);
    let engine = sources::engine(entries, sources.overrides);
    let Directories { data: data_dir, log: data_log_dir } = server::directories(entries);
    let Timeouts { tick_ms, min_ms, max_ms } = session::timeouts(entries);
    let client_port_address = server::client_port_address(entries);
    let (enforce_auth_schemes, jaas, sasl) = authentication(entries, loader);
    let client_host = client_port_address.clone().filter(|_| sources.file.is_none());
    let (quorum, lines) = quorum::quorum(entries, &data_dir, loader);
    let backlog = entries.get(&keys::CLIENT_PORT_LISTEN_BACKLOG);
    let mut config = Config {
        client_port: entries.get(&keys::CLIENT_PORT),
        client_port_address,
        secure_client_port: entries.get(&keys::SECURE_CLIENT_PORT),
        secure_client_port_address: server::secure_client_port_address(entries),
        client_port_unification: entries.get(&keys::CLIENT_PORT_UNIFICATION),
        client_tls: tls::clients(entries),
        client_port_listen_backlog: u32::try_from(backlog).ok().filter(|&n| n > 0),
        data_dir,
        data_log_dir,
        data_dir_autocreate: entries.get(&keys::DATA_DIR_AUTOCREATE),
        tick_time_ms: tick_ms,
        min_session_timeout_ms: min_ms,
        max_session_timeout_ms: max_ms,
        max_client_cnxns: entries.get(&keys::MAX_CLIENT_CNXNS),
        max_cnxns: entries.get(&keys::MAX_CNXNS),
        sessionless_cnxn_timeout_ms: entries.get(&keys::SESSIONLESS_CNXN_TIMEOUT),
        client_tcp_keep_alive: entries.get(&keys::CLIENT_TCP_KEEP_ALIVE),
        global_outstanding_limit: entries.get(&keys::GLOBAL_OUTSTANDING_LIMIT),
        jute_max_buffer_bytes: entries.get(&keys::JUTE_MAX_BUFFER),
        snap_count: entries.get(&keys::SNAP_COUNT),
        snap_size_limit_kb: entries.get(&keys::SNAP_SIZE_LIMIT),
        snap_retain_count: entries.get(&keys::SNAP_RETAIN_COUNT),
        purge_interval_hours: entries.get(&keys::PURGE_INTERVAL),
        four_letter_words: server::four_letter_words(entries),
        skip_acl: entries.get(&keys::SKIP_ACL),
        extended_types: server::extended_types(entries),
        enforce_quota: entries.get(&keys::ENFORCE_QUOTA),
        digest_enabled: entries.get(&keys::DIGEST),
        snapshot_trust_empty: entries.get(&keys::SNAPSHOT_TRUST_EMPTY),
        close_session_txn_enabled: entries.get(&keys::CLOSE_SESSION_TXN),
        super_digest: session::super_digest(entries),
        digest_alg: session::digest_alg(entries),
        schemes: session::schemes(entries),
        enforce_auth_schemes,
        sasl,
        kerberos: sasl::kerberos_of_host(entries),
        quorum_sasl: None,
        container_check_interval_ms: entries.get(&keys::CONTAINER_CHECK_INTERVAL),
        container_max_per_minute: entries.get(&keys::CONTAINER_MAX_PER_MINUTE),
        container_max_never_used_interval_ms: entries.get(&keys::CONTAINER_MAX_NEVER_USED),
        standalone_enabled: entries.get(&keys::STANDALONE),
        reconfig_enabled: entries.get(&keys::RECONFIG),
        by_itself: server::by_itself(entries),
        audit_enabled: entries.get(&keys::AUDIT_ENABLED),
        slow_request_ms: entries.get(&keys::SLOW_REQUEST_MS),
        trace_one_in: entries.get(&keys::TRACE_ONE_IN),
        core_dumps_off: server::core_dumps_off(entries),
        cores,
        engine,
        quorum,
        admin: server::admin(entries, client_host.as_deref()),
        metrics: server::metrics(entries),
    };
    config.quorum_sasl = sasl::quorum(entries, jaas.as_ref(), loader, config.is_distributed());
    member::take_own_line(entries, &mut config, lines);
    server::check_client_port(entries, &config, lines, loader);
    member::check(entries, &config, lines);
    config
}
