//! The servers of an ensemble: which there are, which vote, where each is asked.

use super::super::http::{Http, Method};
use super::super::status::{Asking, members_in, word};
use crate::config::{Ensemble, Role};
use crate::proto::ServerId;
use crate::zab::quorum::Quorum;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

/// A server of the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its `myid`.
    pub id: i64,
    /// Where clients connect, as host:port.
    pub address: String,
    /// Its HTTP port, as host:port, where known.
    pub http: Option<String>,
    /// Whether it counts for a quorum.
    pub is_voter: bool,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (server {})", self.address, self.id)
    }
}

/// All servers, by id, and how their votes count.
#[derive(Clone, Debug)]
pub struct Members {
    /// By id.
    pub all: Vec<Member>,
    quorum: Quorum,
}

/// Where servers are asked by HTTP.
#[derive(Clone, Debug)]
pub enum HttpPorts {
    /// Each at this port of its host.
    All(u16),
    /// As host:port, in the order in which the operator has named the servers.
    Each(Vec<String>),
}

impl HttpPorts {
    /// Reads the flag.
    ///
    /// # Errors
    /// It is neither a port nor as many addresses as there are servers.
    pub fn new(flag: &[String], servers: usize) -> Result<Self, String> {
        let one = flag.first().and_then(|port| port.parse().ok()).filter(|port| *port > 0);
        match (flag, one) {
            ([_], Some(port)) => Ok(Self::All(port)),
            (each, _) if each.len() == servers && each.iter().all(|address| address.contains(':')) => {
                Ok(Self::Each(each.to_vec()))
            }
            _ => Err(format!(
                "--http {}: it is one port for all servers, or HOST:PORT for each of {servers}",
                flag.join(",")
            )),
        }
    }

    /// That of a server which is named at `place`, if it is.
    fn of(&self, address: &str, place: Option<usize>) -> Option<String> {
        match self {
            Self::All(port) => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                Some(format!("{host}:{port}"))
            }
            Self::Each(each) => each.get(place?).cloned(),
        }
    }
}

/// What a server says of itself and of all.
struct Configured {
    id: i64,
    ensemble: Ensemble,
    /// Client addresses, by id.
    addresses: BTreeMap<i64, String>,
    /// Whether observers, groups and weights are among it: not by HTTP.
    is_whole: bool,
}

impl Members {
    /// Asks the servers that are named for their numbers, and one of them for all others. Others are asked where the
    /// configuration says that clients reach them, but not where clients use TLS, whose ports it does not name.
    ///
    /// # Errors
    /// No server says what the ensemble is, or a voter's address is not known.
    pub fn find(
        named: &[String],
        ports: &HttpPorts,
        http: &Http,
        asking: Asking<'_>,
    ) -> Result<Self, String> {
        let mut ids = BTreeMap::new();
        let mut found: Option<Configured> = None;
        let mut silent = Vec::new();
        for (place, address) in named.iter().enumerate() {
            match configured(address, ports.of(address, Some(place)).as_deref(), http, asking) {
                Ok(configured) => {
                    if let Some(other) = ids.insert(configured.id, (place, address.clone())) {
                        return Err(format!("{} and {address} are both server {}", other.1, configured.id));
                    }
                    if found.as_ref().is_none_or(|found| configured.is_whole && !found.is_whole) {
                        found = Some(configured);
                    }
                }
                Err(why) => silent.push(format!("{address}: {why}")),
            }
        }
        let found = found.filter(|_| silent.is_empty()).ok_or_else(|| silent.join("; "))?;
        let quorum = Quorum::new(&found.ensemble).map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        for server in found.ensemble.servers.values() {
            let (place, address) = match ids.remove(&server.sid) {
                Some((place, address)) => (Some(place), Some(address)),
                None => (None, found.addresses.get(&server.sid).filter(|_| asking.secure.is_none()).cloned()),
            };
            let is_voter = server.role == Role::Participant;
            match address {
                Some(address) => {
                    all.push(Member { id: server.sid, http: ports.of(&address, place), address, is_voter })
                }
                None if is_voter => {
                    let id = server.sid;
                    return Err(format!(
                        "server {id} has a vote, and its client address is not known: name it by --server"
                    ));
                }
                // Without a vote it matters to no other.
                None => {}
            }
        }
        // Those that the configuration does not name have no vote.
        all.extend(ids.into_iter().map(|(id, (place, address))| Member {
            id,
            http: ports.of(&address, Some(place)),
            address,
            is_voter: false,
        }));
        Ok(Self { all, quorum })
    }

    /// Checks that each of these servers is the one that answers at its HTTP port: what is asked there is asked of it.
    ///
    /// # Errors
    /// Another one answers, or none for one with a vote.
    pub fn check_http<'a>(
        mut members: impl Iterator<Item = &'a Member>,
        http: &Http,
        timeout: Duration,
    ) -> Result<(), String> {
        members.try_for_each(|member| {
            let Some(port) = &member.http else { return Ok(()) };
            match http.json(port, Method::Get, "configuration", timeout) {
                Ok((_, answer)) => match answer["server_id"].as_i64() {
                    Some(id) if id != member.id => {
                        Err(format!("{member}: server {id} answers at {port}: --http says where each one is"))
                    }
                    _ => Ok(()),
                },
                Err(error) if member.is_voter => Err(format!(
                    "{member}: its HTTP port {port} does not answer: {error} (--http says where it is, --no-hand-over \
                     --no-shed do without)"
                )),
                // Nothing depends on it.
                Err(_) => Ok(()),
            }
        })
    }

    /// The servers with a vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.all.iter().filter(|member| member.is_voter)
    }

    /// Whether the others are a quorum without this server.
    pub fn can_lose(&self, id: i64) -> bool {
        let others = self.voters().filter(|member| member.id != id).map(|member| ServerId(member.id));
        self.quorum.contains_quorum(&self.quorum.set(others))
    }
}

/// What a server says of its configuration: by `conf`, or by HTTP where its whitelist leaves that out.
fn configured(
    address: &str,
    port: Option<&str>,
    http: &Http,
    asking: Asking<'_>,
) -> Result<Configured, String> {
    let conf = word(address, "conf", asking)?;
    let line = |name: &str| conf.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (id, servers) = match (line("serverId="), conf.split_once("membership:"), port) {
        (Some(id), Some((_, servers)), _) => (id.parse().ok(), servers.to_owned()),
        (Some(_), None, _) => return Err("it is no member of an ensemble: a restart is an outage".to_owned()),
        (None, _, Some(port)) => by_http(address, port, http, asking)?,
        (None, _, None) => (None, String::new()),
    };
    let said = conf.lines().next().unwrap_or("nothing");
    let id = id.ok_or_else(|| format!("it does not say which server it is, but: {said}"))?;
    let ensemble = Ensemble::parse(&servers).map_err(|error| error.to_string())?;
    let addresses =
        members_in(&servers, address).into_iter().filter_map(|(at, id)| Some((id?, at))).collect();
    Ok(Configured { id, ensemble, addresses, is_whole: line("serverId=").is_some() })
}

/// The number of the server whose clients connect to `address`, and the lines of all that have a vote.
fn by_http(
    address: &str,
    port: &str,
    http: &Http,
    asking: Asking<'_>,
) -> Result<(Option<i64>, String), String> {
    let ask = |command| {
        let (_, answer) = http.json(port, Method::Get, command, asking.timeout).map_err(|error| {
            format!("4lw.commands.whitelist lacks conf, and {port} does not answer: {error}")
        })?;
        Ok::<Value, String>(answer)
    };
    let (own, voters) = (ask("configuration")?, ask("voting_view")?);
    let client_ports = ["client_port", "secure_client_port"].map(|name| own[name].as_i64());
    let asked = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    if client_ports.iter().any(Option::is_some) && !client_ports.contains(&asked) {
        return Err(format!(
            "the server that answers at {port} has clientPort={}: --http says where each one is",
            client_ports[0].unwrap_or_default()
        ));
    }
    let mut lines = String::new();
    for (id, server) in voters["current_config"].as_object().into_iter().flatten() {
        let first = |name: &str| server[name][0].as_str().unwrap_or_default().to_owned();
        let election = first("election_addresses");
        let election_port = election.rsplit_once(':').map_or("", |(_, port)| port);
        let client = server["client_address"].as_str().unwrap_or_default();
        let client = if client.is_empty() { String::new() } else { format!(";{client}") };
        // Writing into a String does not fail.
        let _ =
            writeln!(lines, "server.{id}={}:{election_port}:participant{client}", first("server_addresses"));
    }
    Ok((own["server_id"].as_i64(), lines))
}
