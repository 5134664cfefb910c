//! What a server of an ensemble says to the others, and how long it waits for them.

use std::path::Path;

use super::super::ensemble::{Ensemble, Role};
use super::super::{Loader, QuorumConfig, keys};
use super::entries::Entries;
use super::lines::{self, Lines};
use super::{member, tls};

pub(super) fn quorum(entries: &mut Entries, data_dir: &Path, loader: &dyn Loader) -> (QuorumConfig, Lines) {
    let (ensemble, lines) = lines::ensemble(entries, loader);
    if lines == Lines::Taken {
        lines::check(entries, &ensemble);
    }
    let my_id = member::my_id(entries, data_dir, loader);
    let peer_type = peer_type(entries, &ensemble, my_id, lines);
    let is_member = !entries.get(&keys::STANDALONE) || ensemble.participants() > 1;
    let tls = if is_member { tls::servers(entries) } else { None };
    let quorum = QuorumConfig {
        ensemble,
        my_id,
        dynamic_config_file: entries.get(&keys::DYNAMIC_CONFIG_FILE),
        multi_address: lines::multi_address(entries),
        lines_file: lines::file(entries),
        peer_type,
        init_limit_ticks: entries.get(&keys::INIT_LIMIT),
        sync_limit_ticks: entries.get(&keys::SYNC_LIMIT),
        listen_on_all_ips: entries.get(&keys::LISTEN_ON_ALL_IPS),
        ssl: entries.get(&keys::SSL_QUORUM),
        port_unification: entries.get(&keys::PORT_UNIFICATION),
        tls,
        tcp_keep_alive: entries.get(&keys::TCP_KEEP_ALIVE),
        commit_log_count: entries.get(&keys::COMMIT_LOG_COUNT),
        max_concurrent_snap_syncs: entries.get(&keys::SNAP_SYNCS).max(0).unsigned_abs(),
        force_snapshot_sync: entries.get(&keys::FORCE_SNAPSHOT_SYNC),
        db_autocreate: entries.get(&keys::DB_AUTOCREATE),
        observer_master_port: Some(entries.get(&keys::OBSERVER_MASTER_PORT)).filter(|port| *port != 0),
        observer_master_bytes: entries.get(&keys::OBSERVER_MASTER_BYTES),
        observer_reconnect_delay_ms: entries.get(&keys::OBSERVER_RECONNECT_DELAY),
        leader_serves: entries.get(&keys::LEADER_SERVES),
        oracle_path: entries.get(&keys::ORACLE_PATH),
        // Source: `QuorumCnxManager.Listener`.
        election_port_tries: match entries.get(&keys::ELECTION_PORT_BIND_RETRY) {
            0 => None,
            tries => Some(tries),
        },
    };
    (quorum, lines)
}

/// The server's role: its own line counts.
fn peer_type(entries: &mut Entries, ensemble: &Ensemble, my_id: Option<i64>, lines: Lines) -> Role {
    let name = keys::PEER_TYPE.name;
    let peer_type = Role::parse(&entries.get(&keys::PEER_TYPE)).unwrap_or_else(|error| {
        entries.fault(name, error.to_string());
        Role::default()
    });
    let by_line = my_id.and_then(|id| ensemble.servers.get(&id)).map_or(Role::Participant, |s| s.role);
    if by_line == peer_type || lines == Lines::Refused {
        return peer_type;
    }
    if entries.is_given(&keys::PEER_TYPE) {
        let message = format!("{peer_type:?} differs from the server lines, which say {by_line:?} and count");
        entries.warn(name, message.to_lowercase());
    }
    by_line
}
