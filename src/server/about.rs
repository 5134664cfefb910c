//! What four-letter words show of the server as a whole: version, settings, directories, environment.

use super::client_port::ClientPort;
use super::files::{self, DataDir};
use super::process::descriptors;
use super::{Shared, environment};
use crate::admin::{self, Conf, FourLetterWord, Status};
use crate::config::{Config, Ensemble, QuorumConfig, Role};
use crate::proto::Zxid;
use crate::tls::{Acceptor, Stores};
use crate::zab::quorum::config_text;
use crate::{snapshot, storage};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The date of the build as it follows the version, in the form that tools parse: `2026-11-23 00:00 UTC`. See
/// `src/build.rs`.
const BUILT_ON: &str = env!("ZKFAST_BUILT_ON");

/// What only the shell can fill in.
#[derive(Debug)]
pub struct About {
    version: String,
    conf: Conf,
    dir: DataDir,
    /// The folder of the log.
    pub data_log_dir: PathBuf,
    environment: Vec<(String, String)>,
    acceptor: Option<Arc<Acceptor>>,
    /// The port for plain clients, where it may move.
    client_port: Option<Arc<ClientPort>>,
    /// Of a member of an ensemble.
    quorum: Option<QuorumConfig>,
}

impl About {
    /// The facts that do not change while the server runs; the ports are those for plain clients and for clients with TLS;
    /// `client_port` is the former where it may move.
    pub fn new(
        config: &Config,
        dir: &DataDir,
        [port, secure_port]: [Option<u16>; 2],
        client_port: Option<Arc<ClientPort>>,
        acceptor: Option<Arc<Acceptor>>,
    ) -> Self {
        let text = |path: &std::path::Path| path.display().to_string();
        Self {
            version: admin::version(BUILT_ON),
            conf: Conf {
                client_port: port.map_or(-1, i32::from),
                secure_client_port: secure_port.map_or(-1, i32::from),
                data_dir: text(&dir.snap),
                data_dir_bytes: 0,
                data_log_dir: text(&dir.log),
                data_log_bytes: 0,
                tick_time_ms: config.tick_time_ms as i32,
                max_client_cnxns: config.max_client_cnxns as i32,
                min_session_timeout_ms: config.min_session_timeout_ms,
                max_session_timeout_ms: config.max_session_timeout_ms,
                client_port_listen_backlog: config
                    .client_port_listen_backlog
                    .map_or(-1, |backlog| backlog as i32),
                server_id: config.quorum.my_id.filter(|_| config.is_distributed()).unwrap_or(0),
                member: Vec::new(),
            },
            dir: dir.clone(),
            data_log_dir: dir.log.clone(),
            environment: environment::fixed(),
            acceptor,
            client_port,
            quorum: config.is_distributed().then(|| config.quorum.clone()),
        }
    }

    /// ZooKeeper's version and zkfast's.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The newest snapshot, and when it was written in seconds since 1970; `None` where there is none.
    pub fn last_snapshot(&self) -> Option<(Zxid, i64)> {
        let zxid = *storage::snapshots(&self.dir).ok()?.last()?;
        let path = self.dir.snap.join(snapshot::file_name(zxid));
        Some((zxid, std::fs::metadata(path).ok()?.mtime()))
    }

    /// Adds to `status` what the answer to `word` shows of them, and the sizes and limits of now.
    pub fn fill_in(&self, word: FourLetterWord, status: &mut Status, shared: &Shared) {
        status.version.clone_from(&self.version);
        status.conf = self.conf.clone();
        if let (Some(quorum), FourLetterWord::Conf) = (&self.quorum, word) {
            status.conf.member = member_lines(quorum, status.ensemble.as_ref().unwrap_or(&quorum.ensemble));
        }
        if let Some(port) = self.client_port.as_ref().and_then(|port| port.number()) {
            status.conf.client_port = port.into();
        }
        // Metrics show neither, and are asked for every second.
        if word != FourLetterWord::Mntr {
            status.conf.data_dir_bytes = files::dir_bytes(&self.dir.snap);
            status.conf.data_log_bytes = files::dir_bytes(&self.data_log_dir);
        }
        if word == FourLetterWord::Envi {
            status.environment.clone_from(&self.environment);
            status.environment.extend(environment::memory());
        }
        status.metrics.counters.connection_rejected += shared.admission.rejected();
        status.certificate_expires_s = self
            .acceptor
            .as_ref()
            .and_then(|acceptor| acceptor.certificate())
            .map(|certificate| certificate.expires_s);
        let gauges = &mut status.gauges;
        (gauges.open_file_descriptor_count, gauges.max_file_descriptor_count) = descriptors();
    }
}

/// The lines of `conf` about the ensemble. Source: `QuorumZooKeeperServer.dumpConf`.
fn member_lines(quorum: &QuorumConfig, ensemble: &Ensemble) -> Vec<String> {
    let own = quorum.my_id.and_then(|sid| ensemble.servers.get(&sid));
    let address = own.and_then(|own| own.addresses.first());
    let (election, follow) = address.map_or((0, 0), |own| (own.election_port, own.quorum_port));
    let role = own.map_or(quorum.peer_type, |own| own.role);
    let mut lines = vec![
        format!("initLimit={}", quorum.init_limit_ticks),
        format!("syncLimit={}", quorum.sync_limit_ticks),
        "electionAlg=3".to_owned(),
        format!("electionPort={election}"),
        format!("quorumPort={follow}"),
        format!("peerType={}", u8::from(role == Role::Observer)),
        "membership: ".to_owned(),
    ];
    lines.extend(config_text(ensemble).lines().map(str::to_owned));
    lines
}
