//! The commands of the AdminServer and their answers in JSON, with the names and types of Apache ZooKeeper 3.9.4.
//!
//! Source: `Commands`, `CommandResponse`, `ZooKeeperServerConf`, `ServerStats`, `BufferStats`, `ServerCnxn`, Apache
//! ZooKeeper 3.9.4.

use super::figures::{Figure, MILLISECOND, figures};
use super::json::{self, List, Object};
use super::top;
use super::{Connection, Facts, FourLetterWord, LastMinMax, Member, Mode, Status};
use crate::config::{PeerAddress, Role, Server};
use crate::proto::{SessionId, Zxid};
use std::collections::BTreeMap;

/// Version of the way in which digests are made. Source: `DigestCalculator`.
const DIGEST_VERSION: i32 = 2;

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are ZooKeeper's; the page on HTTP says what each shows
pub enum Command {
    ConnectionStatReset,
    Configuration,
    Connections,
    Dirs,
    Dump,
    Environment,
    GetTraceMask,
    /// zkfast's own.
    HandOver,
    Hash,
    InitialConfiguration,
    IsReadOnly,
    LastSnapshot,
    Leader,
    Monitor,
    ObserverConnectionStatReset,
    Observers,
    Restore,
    Ruok,
    ServerStats,
    SetTraceMask,
    /// Of later versions of ZooKeeper.
    ShedConnections,
    /// zkfast's own.
    SlowRequests,
    Snapshot,
    StatReset,
    Stats,
    SystemProperties,
    /// zkfast's own.
    Top,
    VotingView,
    WatchSummary,
    Watches,
    WatchesByPath,
    Zabstate,
}

/// What becomes of an order to shed connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shedding {
    /// Client connections now.
    pub connections: u64,
    /// Those that are to be closed.
    pub to_shed: u64,
    /// Those that are closed.
    pub shed: u64,
    /// Whether more of them will be.
    pub is_under_way: bool,
}

impl Command {
    /// Every command, by name.
    pub const ALL: [Self; 32] = [
        Self::Configuration,
        Self::ConnectionStatReset,
        Self::Connections,
        Self::Dirs,
        Self::Dump,
        Self::Environment,
        Self::GetTraceMask,
        Self::HandOver,
        Self::Hash,
        Self::InitialConfiguration,
        Self::IsReadOnly,
        Self::LastSnapshot,
        Self::Leader,
        Self::Monitor,
        Self::ObserverConnectionStatReset,
        Self::Observers,
        Self::Restore,
        Self::Ruok,
        Self::ServerStats,
        Self::SetTraceMask,
        Self::ShedConnections,
        Self::SlowRequests,
        Self::Snapshot,
        Self::StatReset,
        Self::Stats,
        Self::SystemProperties,
        Self::Top,
        Self::VotingView,
        Self::WatchSummary,
        Self::Watches,
        Self::WatchesByPath,
        Self::Zabstate,
    ];

    /// Its names: the first is the one in its answer.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Configuration => &["configuration", "conf", "config"],
            Self::ConnectionStatReset => &["connection_stat_reset", "crst"],
            Self::Connections => &["connections", "cons"],
            Self::Dirs => &["dirs"],
            Self::Dump => &["dump"],
            Self::Environment => &["environment", "env", "envi"],
            Self::GetTraceMask => &["get_trace_mask", "gtmk"],
            Self::HandOver => &["hand_over"],
            Self::Hash => &["hash"],
            Self::InitialConfiguration => &["initial_configuration", "icfg"],
            Self::IsReadOnly => &["is_read_only", "isro"],
            Self::LastSnapshot => &["last_snapshot", "lsnp"],
            Self::Leader => &["leader", "lead"],
            Self::Monitor => &["monitor", "mntr"],
            Self::ObserverConnectionStatReset => &["observer_connection_stat_reset", "orst"],
            Self::Observers => &["observers", "obsr"],
            Self::Restore => &["restore", "rest"],
            Self::Ruok => &["ruok"],
            Self::ServerStats => &["server_stats", "srvr"],
            Self::SetTraceMask => &["set_trace_mask", "stmk"],
            Self::ShedConnections => &["shed_connections", "shed"],
            Self::SlowRequests => &["slow_requests"],
            Self::Snapshot => &["snapshot", "snap"],
            Self::StatReset => &["stat_reset", "srst"],
            Self::Stats => &["stats", "stat"],
            Self::SystemProperties => &["system_properties", "sysp"],
            Self::Top => &["top"],
            Self::VotingView => &["voting_view"],
            Self::WatchSummary => &["watch_summary", "wchs"],
            Self::Watches => &["watches", "wchc"],
            Self::WatchesByPath => &["watches_by_path", "wchp"],
            Self::Zabstate => &["zabstate"],
        }
    }

    /// The command of this name; case matters.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.names().contains(&name))
    }

    /// The four-letter word that gathers what it shows, and does what it does.
    pub const fn word(self) -> FourLetterWord {
        match self {
            Self::Configuration => FourLetterWord::Conf,
            Self::ConnectionStatReset => FourLetterWord::Crst,
            Self::Connections | Self::Top => FourLetterWord::Cons,
            Self::Dirs => FourLetterWord::Dirs,
            Self::Dump => FourLetterWord::Dump,
            Self::Environment => FourLetterWord::Envi,
            Self::Hash => FourLetterWord::Hash,
            Self::Monitor => FourLetterWord::Mntr,
            Self::SetTraceMask => FourLetterWord::Stmk,
            Self::StatReset => FourLetterWord::Srst,
            Self::ServerStats => FourLetterWord::Srvr,
            Self::Stats => FourLetterWord::Stat,
            Self::WatchSummary => FourLetterWord::Wchs,
            Self::Watches => FourLetterWord::Wchc,
            Self::WatchesByPath => FourLetterWord::Wchp,
            Self::GetTraceMask
            | Self::HandOver
            | Self::InitialConfiguration
            | Self::IsReadOnly
            | Self::LastSnapshot
            | Self::Leader
            | Self::ObserverConnectionStatReset
            | Self::Observers
            | Self::Restore
            | Self::Ruok
            | Self::ShedConnections
            | Self::SlowRequests
            | Self::Snapshot
            | Self::SystemProperties
            | Self::VotingView
            | Self::Zabstate => FourLetterWord::Gtmk,
        }
    }

    /// True if the answer may be as long as there are connections, sessions or watches.
    pub const fn is_long(self) -> bool {
        matches!(
            self,
            Self::Connections
                | Self::Dump
                | Self::Hash
                | Self::Stats
                | Self::Top
                | Self::Watches
                | Self::WatchesByPath
        )
    }

    /// True if it is refused while the server has no leader.
    const fn wants_serving(self) -> bool {
        !matches!(
            self,
            Self::Environment
                | Self::GetTraceMask
                | Self::SetTraceMask
                | Self::SlowRequests
                | Self::SystemProperties
                | Self::Zabstate
        )
    }

    /// The mask that the query of `set_trace_mask` gives.
    ///
    /// # Errors
    /// The answer that says what is wrong with it.
    pub fn trace_mask(value: Option<&str>) -> Result<i64, Vec<u8>> {
        let wanted = "setTraceMask requires long traceMask argument";
        let mask = value
            .ok_or_else(|| wanted.to_owned())
            .and_then(|text| text.parse::<i64>().map_err(|_| format!("{wanted}, got {text}")));
        mask.map_err(|error| {
            json::object(|o| {
                o.set("error", error);
                o.set("command", Self::SetTraceMask.names()[0]);
            })
        })
    }

    /// The answer; `typed` is the name that the client gave.
    pub fn answer(self, typed: &str, status: &Status, facts: &Facts) -> Vec<u8> {
        if self.wants_serving() && !status.serving {
            return failed(typed, NOT_SERVING);
        }
        json::object(|o| {
            let error = self.members(status, facts, o);
            o.set("command", self.names()[0]);
            if !error {
                o.set("error", None::<&str>);
            }
        })
    }

    /// The answer to one that brings or gives a tree; `last_zxid` is what it shows.
    pub fn done(self, last_zxid: Option<Zxid>) -> Vec<u8> {
        json::object(|o| {
            if let Some(zxid) = last_zxid {
                o.set("last_zxid", zxid.to_wire());
            }
            o.set("command", self.names()[0]);
            o.set("error", None::<&str>);
        })
    }

    /// The answer to one that sheds connections.
    pub fn shed(shed: Shedding) -> Vec<u8> {
        json::object(|o| {
            o.set("connections", shed.connections);
            o.set("to_shed", shed.to_shed);
            o.set("connections_shed", shed.shed);
            o.set("under_way", shed.is_under_way);
            o.set("command", Self::ShedConnections.names()[0]);
            o.set("error", None::<&str>);
        })
    }

    /// The answer to one that hands over: the server that leads, where it is known, and why that is no other than before.
    pub fn handed_over(leader: Option<i64>, why: Option<&str>) -> Vec<u8> {
        json::object(|o| {
            o.set("leader", leader);
            o.set("command", Self::HandOver.names()[0]);
            o.set("error", why);
        })
    }

    /// The answer where it is refused or fails; `why` is a sentence for people.
    pub fn refused(self, why: &str) -> Vec<u8> {
        failed(self.names()[0], why)
    }

    /// Writes what the command shows. Returns true if `error` is among it.
    fn members(self, status: &Status, facts: &Facts, o: &mut Object<'_>) -> bool {
        match self {
            // The shell answers those that no shard is asked for.
            Self::ConnectionStatReset
            | Self::HandOver
            | Self::ObserverConnectionStatReset
            | Self::Restore
            | Self::Ruok
            | Self::ShedConnections
            | Self::SlowRequests
            | Self::Snapshot
            | Self::StatReset => {}
            Self::Configuration => configuration(status, o),
            Self::Connections => {
                connections(status, false, o);
            }
            Self::Dirs => {
                o.set("datadir_size", status.conf.data_dir_bytes);
                o.set("logdir_size", status.conf.data_log_bytes);
            }
            Self::Dump => dump(status, o),
            Self::Environment => {
                o.set("zookeeper.version", status.version.as_str());
                status.environment.iter().for_each(|(name, value)| o.set(name, value.as_str()));
            }
            Self::GetTraceMask | Self::SetTraceMask => o.set("tracemask", status.trace_mask),
            Self::Hash => o.list("digests", |l| digests(status, l)),
            Self::InitialConfiguration => {
                o.set("initial_configuration", facts.initial_configuration.as_deref());
            }
            Self::IsReadOnly => o.set("read_only", status.mode == Mode::ReadOnly),
            Self::LastSnapshot => last_snapshot(facts, o),
            Self::Leader => return leader(status, facts.member.as_ref(), o),
            Self::Monitor => figures(status, &mut |name, value| match value {
                Figure::Text(text) => o.set(name, text),
                Figure::Whole(number) => o.set(name, number),
                Figure::Real(number) => o.set(name, number),
            }),
            Self::Observers => observers(status, o),
            Self::ServerStats => server_stats(status, o),
            Self::Stats => {
                server_stats(status, o);
                connections(status, true, o);
            }
            Self::SystemProperties => {
                facts.properties.iter().for_each(|(name, value)| o.set(name, value.as_str()));
            }
            Self::Top => top::top(status, o),
            Self::VotingView => voting_view(facts.member.as_ref(), o),
            Self::WatchSummary => {
                o.set("num_connections", status.watches.connections);
                o.set("num_paths", status.watches.paths);
                o.set("num_total_watches", status.watches.watches);
            }
            Self::Watches => o.object("session_id_to_watched_paths", |o| {
                for (session, paths) in &status.watches_by_session {
                    o.list(&session.0.to_string(), |l| paths.iter().for_each(|path| l.push(&**path)));
                }
            }),
            Self::WatchesByPath => o.object("path_to_session_ids", |o| {
                for (path, sessions) in &status.watches_by_path {
                    o.list(&String::from_utf8_lossy(path), |l| sessions.iter().for_each(|id| l.push(id.0)));
                }
            }),
            Self::Zabstate => zabstate(status, facts.member.as_ref(), o),
        }
        false
    }
}

fn last_snapshot(facts: &Facts, o: &mut Object<'_>) {
    let (zxid, timestamp) = facts.last_snapshot.map_or((-1, -1), |(zxid, s)| (zxid.to_wire(), s));
    o.set("zxid", format!("{zxid:x}"));
    o.set("timestamp", timestamp);
}

/// The links of the page that lists the commands below `url`, such as `/commands`. Source: `JettyAdminServer.commandLinks`.
pub fn links(url: &str) -> String {
    let mut names = Command::ALL.map(|command| command.names()[0]);
    names.sort_unstable();
    names.iter().map(|name| format!("<a href=\"{url}/{name}\">{name}</a>\n<br/>\n")).collect()
}

/// The answer to a command that is none.
pub fn unknown(typed: &str) -> Vec<u8> {
    failed(typed, &format!("Unknown command: {typed}"))
}

/// The answer where the server gives none; `why` is a sentence for people.
pub fn no_answer(typed: &str, why: Option<&str>) -> Vec<u8> {
    failed(typed, why.unwrap_or(NOT_SERVING))
}

fn failed(typed: &str, error: &str) -> Vec<u8> {
    json::object(|o| {
        o.set("command", typed);
        o.set("error", error);
    })
}

fn digests(status: &Status, l: &mut List<'_>) {
    for (zxid, digest) in &status.digests {
        l.object(|o| {
            o.set("zxid", zxid.to_wire());
            o.set("digest", *digest as i64);
            o.set("digest_version", DIGEST_VERSION);
        });
    }
}

fn configuration(status: &Status, o: &mut Object<'_>) {
    let conf = &status.conf;
    o.set("client_port", conf.client_port);
    o.set("data_dir", conf.data_dir.as_str());
    o.set("data_log_dir", conf.data_log_dir.as_str());
    o.set("tick_time", conf.tick_time_ms);
    o.set("max_client_cnxns", conf.max_client_cnxns);
    o.set("min_session_timeout", conf.min_session_timeout_ms);
    o.set("max_session_timeout", conf.max_session_timeout_ms);
    o.set("server_id", conf.server_id);
    o.set("client_port_listen_backlog", conf.client_port_listen_backlog);
}

fn connections(status: &Status, is_brief: bool, o: &mut Object<'_>) {
    o.list("connections", |l| {
        status.connections.iter().for_each(|connection| l.object(|o| describe(connection, is_brief, o)));
    });
    o.list("secure_connections", |_| {});
}

fn describe(connection: &Connection, is_brief: bool, o: &mut Object<'_>) {
    let Connection { peer, interest_ops, queued, received, sent, established_wall_ms, session, .. } =
        connection;
    o.set("remote_socket_address", peer.as_str());
    o.set("interest_ops", u32::from(*interest_ops));
    o.set("outstanding_requests", *queued);
    o.set("packets_received", *received);
    o.set("packets_sent", *sent);
    if is_brief {
        return;
    }
    let known = session.unwrap_or_default();
    let latency = &known.latency;
    // Java's has none before the first answer.
    let last_op = match known.last_op {
        "null" => None,
        "" => session.map(|_| "NA"),
        name => Some(name),
    };
    o.set("session_id", known.id.0);
    o.set("last_operation", last_op);
    o.set("established", *established_wall_ms);
    o.set("session_timeout", known.timeout_ms);
    o.set("last_cxid", known.last_cxid);
    o.set("last_zxid", known.last_zxid);
    o.set("last_response_time", known.last_response_ms);
    o.set("last_latency", known.last_latency_us / MILLISECOND);
    o.set("min_latency", latency.min() / MILLISECOND);
    o.set("avg_latency", latency.sum() / latency.count().max(1) / MILLISECOND);
    o.set("max_latency", latency.max() / MILLISECOND);
}

fn dump(status: &Status, o: &mut Object<'_>) {
    // A leader's, local ones as well; a learner tells none.
    let local = status.local_sessions.iter().flatten().filter(|_| status.learner_sessions.is_none());
    let mut by_expiry: BTreeMap<i64, Vec<SessionId>> = BTreeMap::new();
    for (expires_wall_ms, ids) in status.sessions.iter().chain(local) {
        by_expiry.entry(*expires_wall_ms).or_default().extend(ids);
    }
    o.object("expiry_time_to_session_ids", |o| {
        for (expires_wall_ms, sessions) in &by_expiry {
            o.list(&expires_wall_ms.to_string(), |l| sessions.iter().for_each(|id| l.push(id.0)));
        }
    });
    o.object("session_id_to_ephemeral_paths", |o| {
        for (session, paths) in &status.ephemerals {
            o.list(&session.0.to_string(), |l| paths.iter().for_each(|path| l.push(&**path)));
        }
    });
}

fn leader(status: &Status, member: Option<&Member>, o: &mut Object<'_>) -> bool {
    let Some(Member { ensemble, .. }) = member else {
        o.set("error", "server is not initialized");
        return true;
    };
    o.set("is_leader", status.mode == Mode::Leader);
    o.set("leader_id", status.leader_id.unwrap_or(-1));
    let server = status.leader_id.and_then(|id| ensemble.servers.get(&id));
    o.set("leader_ip", server.map_or_else(String::new, |server| hosts(server).join("|")));
    false
}

fn hosts(server: &Server) -> Vec<&str> {
    let mut hosts: Vec<&str> = Vec::new();
    for PeerAddress { host, .. } in &server.addresses {
        if !hosts.contains(&host.as_str()) {
            hosts.push(host);
        }
    }
    hosts
}

/// A leader's, or those that a follower serves.
fn observers(status: &Status, o: &mut Object<'_>) {
    o.set("synced_observers", status.synced_observers.unwrap_or(0));
    o.list("observers", |l| {
        for observer in &status.observers {
            l.object(|o| {
                o.set("remote_socket_address", observer.peer.as_str());
                o.set("sid", observer.sid);
                o.set("established", observer.established_wall_ms);
                o.set("queued_packets", observer.queued);
                o.set("queued_packets_size", observer.queued_bytes);
                o.set("packets_received", observer.received);
                o.set("packets_sent", observer.sent);
                o.set("requests", observer.requests);
                o.set("last_zxid", observer.last_zxid);
            });
        }
    });
}

fn server_stats(status: &Status, o: &mut Object<'_>) {
    let Status { gauges, latency, metrics, .. } = status;
    o.set("version", status.version.as_str());
    o.set("read_only", status.mode == Mode::ReadOnly);
    o.object("server_stats", |o| {
        o.set("packets_sent", gauges.packets_sent);
        o.set("packets_received", gauges.packets_received);
        o.set("fsync_threshold_exceed_count", metrics.counters.fsync_threshold_exceed_count);
        sizes("client_response_stats", metrics.client_response_size, o);
        // Connections by TLS without a certificate: there is no TLS.
        o.set("non_mtlsremote_conn_count", 0);
        o.set("non_mtlslocal_conn_count", 0);
        o.set("auth_failed_count", metrics.counters.auth_failed_count);
        o.set("provider_null", false);
        o.set("avg_latency", latency.average(MILLISECOND));
        o.set("max_latency", latency.max() / MILLISECOND);
        o.set("min_latency", latency.min() / MILLISECOND);
        o.set("outstanding_requests", gauges.outstanding_requests);
        o.set("last_processed_zxid", status.zxid.to_wire());
        o.set("data_dir_size", status.conf.data_dir_bytes);
        o.set("log_dir_size", status.conf.data_log_bytes);
        o.set("server_state", status.mode.name());
        o.set("num_alive_client_connections", gauges.num_alive_connections);
        o.set("uptime", status.uptime_ms);
    });
    sizes("client_response", metrics.client_response_size, o);
    if status.leader.is_some() {
        sizes("proposal_stats", metrics.proposal_size, o);
    }
    o.set("node_count", gauges.znode_count);
}

/// The last size, the smallest and the largest one; -1 before the first.
fn sizes(name: &str, sizes: LastMinMax, o: &mut Object<'_>) {
    let value = |at: usize| sizes.values().map_or(-1, |values| values[at] as i64);
    o.object(name, |o| {
        o.set("last_buffer_size", value(0));
        o.set("min_buffer_size", value(1));
        o.set("max_buffer_size", value(2));
    });
}

fn voting_view(member: Option<&Member>, o: &mut Object<'_>) {
    let servers = member.iter().flat_map(|member| member.ensemble.servers.values());
    o.object("current_config", |o| {
        for server in servers.filter(|server| server.role == Role::Participant) {
            o.object(&server.sid.to_string(), |o| {
                let addresses = &server.addresses;
                o.list("server_addresses", |l| {
                    addresses.iter().for_each(|at| l.push(place(&at.host, at.quorum_port)));
                });
                o.list("election_addresses", |l| {
                    addresses.iter().for_each(|at| l.push(place(&at.host, at.election_port)));
                });
                o.set("client_address", client_address(server));
                o.set("learner_type", "participant");
            });
        }
    });
}

/// Empty where the server's line has none.
pub(super) fn client_address(server: &Server) -> String {
    let address = |client: &crate::config::ClientAddress| {
        place(client.host.as_deref().unwrap_or("0.0.0.0"), client.port)
    };
    server.client.as_ref().map_or_else(String::new, address)
}

pub(super) fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn zabstate(status: &Status, member: Option<&Member>, o: &mut Object<'_>) {
    let Some((Member { id, ensemble }, true)) = member.map(|member| (member, status.serving)) else {
        o.set("voting", false);
        o.set("zabstate", "");
        return;
    };
    let server = ensemble.servers.get(id);
    o.set("myid", *id);
    o.set("is_leader", status.mode == Mode::Leader);
    let addresses = server.map_or(&[][..], |server| server.addresses.as_slice());
    let ports = |port: fn(&PeerAddress) -> u16| {
        addresses.iter().map(|at| (at.host.as_str(), port(at))).collect::<Vec<_>>()
    };
    reachable("quorum_address", &ports(|at| at.quorum_port), o);
    reachable("election_address", &ports(|at| at.election_port), o);
    o.set("client_address", server.map(client_address));
    o.set("voting", server.is_some_and(|server| server.role == Role::Participant));
    o.set("last_zxid", format!("{}", status.zxid));
    o.set("zab_epoch", i64::from(status.zxid.epoch()));
    o.set("zab_counter", i64::from(status.zxid.counter()));
    o.set("zabstate", "broadcast");
}

/// The addresses of one port. Java's are the getters of a class, four of which try to reach the addresses; here all are
/// what the configuration says.
fn reachable(name: &str, addresses: &[(&str, u16)], o: &mut Object<'_>) {
    let places: Vec<String> = addresses.iter().map(|(host, port)| place(host, *port)).collect();
    let mut hosts: Vec<&str> = addresses.iter().map(|(host, _)| *host).collect();
    let mut ports: Vec<u16> = addresses.iter().map(|(_, port)| *port).collect();
    hosts.dedup();
    ports.dedup();
    let all = |name: &str, o: &mut Object<'_>| {
        o.list(name, |l| places.iter().for_each(|place| l.push(place.as_str())));
    };
    o.object(name, |o| {
        all("all_addresses", o);
        all("all_reachable_addresses", o);
        all("all_reachable_addresses_or_all", o);
        o.list("wildcard_addresses", |l| ports.iter().for_each(|port| l.push(place("0.0.0.0", *port))));
        o.list("all_ports", |l| ports.iter().for_each(|port| l.push(*port)));
        o.list("all_host_strings", |l| hosts.iter().for_each(|host| l.push(*host)));
        for name in ["reachable_address", "reachable_or_one", "one"] {
            o.set(name, places.first().map(String::as_str));
        }
        o.set("empty", places.is_empty());
    });
}

#[cfg(test)]
mod tests;
