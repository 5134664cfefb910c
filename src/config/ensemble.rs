//! The lines `server.N`, `group.N`, `weight.N` and `version`, from zoo.cfg or the dynamic file.
//!
//! Source: `QuorumPeer.QuorumServer`, `QuorumMaj`, `QuorumHierarchical`, Apache ZooKeeper 3.9.4.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::number::{parse_int, parse_long};

/// Why a line of the ensemble was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("{0:?} is not a server or group number")]
    Number(String),
    #[error("server {0} has more than one line")]
    TwoLines(i64),
    #[error("server {0} is in more than one group")]
    TwoGroups(i64),
    #[error("weight {0:?} is not a number")]
    Weight(String),
    #[error("version {0:?} is not a hexadecimal number from 0 to 7ffffffeffffffff")]
    Version(String),
    #[error("{text:?} is not host:quorumPort:electionPort[:role][;[address:]clientPort]{}", third(text))]
    Shape { text: String },
    #[error("{0} addresses want -Dzookeeper.multiAddress.enabled=true")]
    ManyAddresses(usize),
    #[error("quorum and election port are both {0}")]
    SamePort(u16),
    #[error("role {0:?} is neither participant nor observer")]
    Role(String),
    #[error("the addresses of one server have different roles")]
    TwoRoles,
    #[error("port {text:?} is not a number{}", blanks(text))]
    PortText { text: String },
    #[error("port {0} is not within 0 to 65535")]
    PortRange(i32),
    #[error("{0:?} has [ and no ]")]
    OpenBracket(String),
    #[error("{0:?} has no port after its address")]
    NoPort(String),
}

/// Why a text is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong with it.
    pub message: String,
    /// Whether Java takes it for a request that cannot be read, and not for one with wrong arguments.
    pub is_unreadable: bool,
}

impl From<LineError> for ParseError {
    fn from(error: LineError) -> Self {
        use LineError::{Number, PortRange, Weight};
        let is_unreadable = matches!(error, Number(_) | Weight(_) | PortRange(_));
        Self { message: error.to_string(), is_unreadable }
    }
}

/// Remark on a server line with more than two halves.
fn third(text: &str) -> &'static str {
    let is_long = text.contains(";secure") || java_split(text, ';').len() > 2;
    if is_long { "; a third part is not in 3.9" } else { "" }
}

/// Remark on a port that has blanks around it.
fn blanks(text: &str) -> &'static str {
    if text.trim() == text { "" } else { " (blanks around it count)" }
}

/// What a server is to the ensemble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    #[default]
    Participant,
    /// Follows without a vote.
    Observer,
}

impl Role {
    pub(super) fn parse(text: &str) -> Result<Self, LineError> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Ok(Self::Participant),
            "observer" => Ok(Self::Observer),
            _ => Err(LineError::Role(text.to_owned())),
        }
    }
}

/// Where a server's peers find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name or address, without brackets; looked up anew at each connection.
    pub host: String,
    /// Followers connect here to their leader.
    pub quorum_port: u16,
    /// Votes go here.
    pub election_port: u16,
}

/// Where clients find a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// Name or address; `None` is every interface.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The N.
    pub sid: i64,
    /// One address, or several where `-Dzookeeper.multiAddress.enabled=true`.
    pub addresses: Vec<PeerAddress>,
    /// Participant unless the line says otherwise.
    pub role: Role,
    /// What follows the semicolon.
    pub client: Option<ClientAddress>,
}

impl Server {
    /// What it listens on: which port that is, host, number.
    fn sockets(&self) -> Vec<(&'static str, &str, u16)> {
        let is_any = |host: &&str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        let mut sockets = Vec::new();
        for PeerAddress { host, quorum_port, election_port } in &self.addresses {
            sockets.push(("quorum port", host.as_str(), *quorum_port));
            sockets.push(("election port", host.as_str(), *election_port));
            if let Some(client) = &self.client {
                let client_host = client.host.as_deref().filter(|host| !is_any(host));
                sockets.push(("client port", client_host.unwrap_or(host), client.port));
            }
        }
        sockets
    }
}

/// All servers and how their votes count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ensemble {
    /// By sid.
    pub servers: BTreeMap<i64, Server>,
    /// Sid to group; empty is a plain majority.
    pub groups: BTreeMap<i64, i64>,
    /// Sid to weight where a line gives one; 1 otherwise.
    pub weights: BTreeMap<i64, i64>,
    /// Version of this configuration.
    pub version: i64,
    /// A `group` or `weight` line was there.
    pub hierarchical: bool,
}

impl Ensemble {
    /// The numbers of the servers that vote.
    pub fn voters(&self) -> impl Iterator<Item = i64> {
        self.servers.values().filter(|server| server.role == Role::Participant).map(|server| server.sid)
    }

    /// How many servers vote.
    pub fn participants(&self) -> usize {
        self.voters().count()
    }

    /// Servers that do not.
    pub fn observers(&self) -> usize {
        self.servers.len() - self.participants()
    }

    /// Takes one line; key and value untrimmed, as Java does here.
    ///
    /// # Errors
    /// [`LineError`], with the part that is wrong.
    pub(super) fn take(&mut self, key: &str, value: &str, multi_address: bool) -> Result<(), LineError> {
        if let Some(id) = key.strip_prefix("server.") {
            let sid = sid(id)?;
            let server = parse_server(sid, value, multi_address)?;
            if self.servers.insert(sid, server).is_some() {
                return Err(LineError::TwoLines(sid));
            }
        } else if key.starts_with("group") {
            self.hierarchical = true;
            let gid = sid(&key[key.find('.').map_or(0, |dot| dot + 1)..])?;
            for member in java_split(value, ':') {
                let member = sid(member)?;
                if self.groups.insert(member, gid).is_some() {
                    return Err(LineError::TwoGroups(member));
                }
            }
        } else if key.starts_with("weight") {
            self.hierarchical = true;
            let sid = sid(&key[key.find('.').map_or(0, |dot| dot + 1)..])?;
            let weight = parse_long(value).ok_or_else(|| LineError::Weight(value.to_owned()))?;
            self.weights.insert(sid, weight);
        } else {
            assert_eq!(key, "version", "a key that no ensemble has");
            self.version = parse_version(value)?;
        }
        Ok(())
    }

    /// A configuration as servers send it to each other, lines `key=value`, or as a client gives it to a reconfiguration.
    ///
    /// # Errors
    /// A line that is none of an ensemble's, or what the lines lack together.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let wrong = |message| ParseError { message, is_unreadable: false };
        let mut ensemble = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) =
                line.split_once('=').ok_or_else(|| wrong(format!("{line:?} is not key=value")))?;
            let (key, value) = (key.trim(), value.trim());
            if !["server.", "group", "weight"].iter().any(|start| key.starts_with(start)) && key != "version"
            {
                return Err(wrong(format!("{key:?} is not server.N, group.N, weight.N or version")));
            }
            ensemble.take(key, value, true)?;
        }
        if ensemble.hierarchical
            && let Some(message) = ensemble.ungrouped().next().or_else(|| ensemble.strangers().next())
        {
            return Err(ParseError { message, is_unreadable: ensemble.ungrouped().next().is_none() });
        }
        Ok(ensemble)
    }

    /// What can only be seen with all lines read, apart from limits and myid.
    pub fn check(&self, standalone_enabled: bool) -> Vec<String> {
        let mut errors = if self.hierarchical { self.check_groups() } else { Vec::new() };
        match (self.participants(), self.observers()) {
            (0, _) if !standalone_enabled => {
                errors.push("standaloneEnabled=false wants at least one participant".to_owned());
            }
            (0, observers) if observers > 0 => {
                errors.push(format!("{observers} observers, and no participant they could follow"));
            }
            (1, observers) if standalone_enabled && observers > 0 => {
                errors.push(format!("{observers} observers of one participant want standaloneEnabled=false"));
            }
            _ => {}
        }
        errors
    }

    /// Every participant is in a group, and every member of a group is one or has a weight.
    fn check_groups(&self) -> Vec<String> {
        self.ungrouped().chain(self.strangers()).collect()
    }

    fn has_vote(&self, sid: i64) -> bool {
        self.servers.get(&sid).is_some_and(|server| server.role == Role::Participant)
    }

    /// Participants that are in no group.
    fn ungrouped(&self) -> impl Iterator<Item = String> {
        let ungrouped =
            self.servers.keys().filter(|sid| self.has_vote(**sid) && !self.groups.contains_key(sid));
        ungrouped.map(|sid| format!("server {sid} is in no group, and there are group or weight lines"))
    }

    /// Members of groups that are no participants. Java ends with a null pointer there.
    fn strangers(&self) -> impl Iterator<Item = String> {
        let strangers =
            self.groups.iter().filter(|(sid, _)| !self.has_vote(**sid) && !self.weights.contains_key(sid));
        strangers.map(|(sid, gid)| format!("group {gid} names server {sid}, which is no participant"))
    }

    /// Servers that cannot be beside one with a smaller number, and why; one reason for each pair.
    pub fn collisions(&self) -> Vec<(i64, String)> {
        let mut found: BTreeMap<(i64, i64), String> = BTreeMap::new();
        let mut taken: BTreeMap<(String, u16), (i64, &str)> = BTreeMap::new();
        let mut bytes: BTreeMap<u8, i64> = BTreeMap::new();
        for server in self.servers.values() {
            let sid = server.sid;
            // The highest byte of a session id is the server's number. Source: `SessionTrackerImpl.initializeNextSession`.
            let other = *bytes.entry(sid as u8).or_insert(sid);
            if other != sid {
                let message = format!(
                    "its number ends in the same byte as that of server.{other}, so that their sessions would get the same \
                     ids: use numbers from 0 to 255"
                );
                found.insert((sid, other), message);
            }
            for (what, host, port) in server.sockets() {
                let (other, its) = *taken.entry((host.to_lowercase(), port)).or_insert((sid, what));
                if (other, its) != (sid, what) {
                    found.entry((sid, other)).or_insert_with(|| {
                        format!(
                            "{what} {host}:{port} is the {its} of server.{other} as well: each server listens on ports of its \
                             own"
                        )
                    });
                }
            }
        }
        found.into_iter().map(|((sid, _), message)| (sid, message)).collect()
    }
}

fn sid(text: &str) -> Result<i64, LineError> {
    parse_long(text).ok_or_else(|| LineError::Number(text.to_owned()))
}

/// Versions are below this one: they begin with an epoch, and the next one must be greater.
const VERSION_MAX: i64 = 0x7fff_ffff << 32;

/// Hexadecimal, as in `zoo.cfg.dynamic.1a`.
pub(super) fn parse_version(text: &str) -> Result<i64, LineError> {
    let version = i64::from_str_radix(text, 16).ok().filter(|version| (0..VERSION_MAX).contains(version));
    version.ok_or_else(|| LineError::Version(text.to_owned()))
}

fn parse_server(sid: i64, text: &str, multi_address: bool) -> Result<Server, LineError> {
    let shape = || LineError::Shape { text: text.to_owned() };
    let halves = java_split(text, ';');
    let (peers, client) = match halves.as_slice() {
        [peers] => (*peers, None),
        [peers, client] => (*peers, Some(parse_client(client)?.ok_or_else(shape)?)),
        _ => return Err(shape()),
    };
    let parts = java_split(peers, '|');
    if parts.len() > 1 && !multi_address {
        return Err(LineError::ManyAddresses(parts.len()));
    }
    let mut addresses = Vec::new();
    let mut role = None;
    for part in parts {
        let fields = host_and_rest(part)?;
        let [host, quorum, election, rest @ ..] = fields.as_slice() else { return Err(shape()) };
        if rest.len() > 1 {
            return Err(shape());
        }
        let (quorum_port, election_port) = (port(quorum)?, port(election)?);
        if quorum_port == election_port {
            return Err(LineError::SamePort(quorum_port));
        }
        addresses.push(PeerAddress { host: or_localhost(host), quorum_port, election_port });
        if let [text] = rest {
            let this = Role::parse(text)?;
            if *role.get_or_insert(this) != this {
                return Err(LineError::TwoRoles);
            }
        }
    }
    if addresses.is_empty() {
        return Err(shape());
    }
    Ok(Server { sid, addresses, role: role.unwrap_or_default(), client })
}

/// `port` or `host:port`; `None` for more fields than these.
fn parse_client(text: &str) -> Result<Option<ClientAddress>, LineError> {
    Ok(match host_and_rest(text)?.as_slice() {
        [only] => Some(ClientAddress { host: None, port: port(only)? }),
        [host, last] => Some(ClientAddress { host: Some(or_localhost(host)), port: port(last)? }),
        _ => None,
    })
}

/// An empty name is the own machine, to Java.
fn or_localhost(host: &str) -> String {
    if host.is_empty() { "localhost" } else { host }.to_owned()
}

fn port(text: &str) -> Result<u16, LineError> {
    let number = parse_int(text).ok_or_else(|| LineError::PortText { text: text.to_owned() })?;
    u16::try_from(number).map_err(|_| LineError::PortRange(number))
}

/// `host:a:b` or `[v6]:a:b` into its fields. Source: `ConfigUtils.getHostAndPort`.
fn host_and_rest(text: &str) -> Result<Vec<&str>, LineError> {
    let Some(inner) = text.strip_prefix('[') else { return Ok(java_split(text, ':')) };
    let (host, rest) = inner.split_once(']').ok_or_else(|| LineError::OpenBracket(text.to_owned()))?;
    let mut after = rest.chars();
    if after.next().is_none() {
        return Ok(vec![host]);
    }
    // The character after the bracket is not looked at, as in Java.
    let rest = after.as_str();
    if rest.is_empty() {
        return Err(LineError::NoPort(text.to_owned()));
    }
    let mut fields = vec![host];
    fields.extend(java_split(rest, ':'));
    Ok(fields)
}

/// `String.split`: empty strings at the end are dropped, an empty text is one empty string.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    if text.is_empty() {
        return vec![text];
    }
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

/// The version at the end of a dynamic file's name, `zoo.cfg.dynamic.1a`; `None` without one.
pub(super) fn version_of_file_name(path: &str) -> Option<i64> {
    let (_, suffix) = path.rsplit_once('.')?;
    i64::from_str_radix(suffix, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(line: &str) -> Result<Server, LineError> {
        parse_server(1, line, false)
    }

    /// Every part of a server line lands where it belongs.
    #[test]
    fn parts() {
        let s = server("zk1.example:2888:3888:observer;10.0.0.1:2181").unwrap();
        assert_eq!(s.addresses[0].host, "zk1.example");
        assert_eq!((s.addresses[0].quorum_port, s.addresses[0].election_port), (2888, 3888));
        assert_eq!(s.role, Role::Observer);
        assert_eq!(s.client, Some(ClientAddress { host: Some("10.0.0.1".to_owned()), port: 2181 }));
        let s = server("[fe80::1]:2888:3888;2181").unwrap();
        assert_eq!(s.addresses[0].host, "fe80::1");
        assert_eq!(s.client, Some(ClientAddress { host: None, port: 2181 }));
        for empty in ["a:1:2;:2181", "a:1:2;[]:2181"] {
            let client = ClientAddress { host: Some("localhost".to_owned()), port: 2181 };
            assert_eq!(server(empty).unwrap().client, Some(client), "{empty}");
        }
        let s = parse_server(1, "a:1:2|b:3:4:observer", true).unwrap();
        assert_eq!((s.addresses.len(), s.role), (2, Role::Observer));
    }

    /// Addresses of one server that disagree about its role are refused.
    #[test]
    fn roles_disagree() {
        let roles = parse_server(1, "a:1:2:observer|b:3:4:participant", true);
        assert_eq!(roles, Err(LineError::TwoRoles));
    }

    /// Groups take their members, a member in two groups is refused.
    #[test]
    fn groups() {
        let mut e = Ensemble::default();
        e.take("group.1", "1:2", false).unwrap();
        e.take("weight.1", "3", false).unwrap();
        assert_eq!(e.groups, BTreeMap::from([(1, 1), (2, 1)]));
        assert_eq!(e.weights, BTreeMap::from([(1, 3)]));
        assert_eq!(e.take("group.2", "2", false), Err(LineError::TwoGroups(2)));
    }

    /// Versions in file names are hexadecimal, other suffixes are none.
    #[test]
    fn file_names() {
        assert_eq!(version_of_file_name("conf/zoo.cfg.dynamic.1a"), Some(0x1a));
        assert_eq!(version_of_file_name("conf/zoo.cfg.dynamic"), None);
        assert_eq!(version_of_file_name("dyn"), None);
    }
}
