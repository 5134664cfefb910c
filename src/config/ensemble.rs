//! The lines `server.N`, `group.N`, `weight.N` and `version`, from zoo.cfg or the dynamic file.
//!
//! Source: `QuorumPeer.QuorumServer`, `QuorumMaj`, `QuorumHierarchical`, Apache ZooKeeper 3.9.4.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::number::{parse_int, parse_long};

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
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Ok(Self::Participant),
            "observer" => Ok(Self::Observer),
            _ => Err(format!("role {text:?} is neither participant nor observer")),
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
    /// Servers that vote.
    pub fn participants(&self) -> usize {
        self.servers.values().filter(|s| s.role == Role::Participant).count()
    }

    /// Servers that do not.
    pub fn observers(&self) -> usize {
        self.servers.len() - self.participants()
    }

    /// Takes one line; key and value untrimmed, as Java does here.
    pub(super) fn take(&mut self, key: &str, value: &str, multi_address: bool) -> Result<(), String> {
        if let Some(id) = key.strip_prefix("server.") {
            let sid = sid(id)?;
            let server = parse_server(sid, value, multi_address)?;
            if self.servers.insert(sid, server).is_some() {
                return Err(format!("server {sid} has more than one line"));
            }
        } else if key.starts_with("group") {
            self.hierarchical = true;
            let gid = sid(&key[key.find('.').map_or(0, |dot| dot + 1)..])?;
            for member in java_split(value, ':') {
                let member = sid(member)?;
                if self.groups.insert(member, gid).is_some() {
                    return Err(format!("server {member} is in more than one group"));
                }
            }
        } else if key.starts_with("weight") {
            self.hierarchical = true;
            let sid = sid(&key[key.find('.').map_or(0, |dot| dot + 1)..])?;
            let weight = parse_long(value).ok_or_else(|| format!("weight {value:?} is not a number"))?;
            self.weights.insert(sid, weight);
        } else {
            assert_eq!(key, "version", "a key that no ensemble has");
            self.version = parse_version(value)?;
        }
        Ok(())
    }

    /// What can only be seen with all lines read, apart from limits and myid.
    pub(super) fn check(&self, standalone_enabled: bool) -> Vec<String> {
        let mut errors = Vec::new();
        if self.hierarchical {
            for server in self.servers.values().filter(|s| s.role == Role::Participant) {
                if !self.groups.contains_key(&server.sid) {
                    errors.push(format!(
                        "server {} is in no group, and there are group or weight lines",
                        server.sid
                    ));
                }
            }
            for (sid, gid) in &self.groups {
                // Java ends with a null pointer here.
                let votes = self.servers.get(sid).is_some_and(|s| s.role == Role::Participant);
                if !votes && !self.weights.contains_key(sid) {
                    errors.push(format!("group {gid} names server {sid}, which is no participant"));
                }
            }
        }
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

    /// Servers that cannot be beside one with a smaller number, and why; one reason for each pair.
    pub(super) fn collisions(&self) -> Vec<(i64, String)> {
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
            for address in &server.addresses {
                let mut ports = vec![
                    ("quorum port", &address.host, address.quorum_port),
                    ("election port", &address.host, address.election_port),
                ];
                if let Some(ClientAddress { host, port }) = &server.client {
                    let is_any = |host: &&String| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
                    let host = host.as_ref().filter(|host| !is_any(host)).unwrap_or(&address.host);
                    ports.push(("client port", host, *port));
                }
                for (what, host, port) in ports {
                    let (other, its) = *taken.entry((host.to_lowercase(), port)).or_insert((sid, what));
                    if (other, its) != (sid, what) {
                        found.entry((sid, other)).or_insert_with(|| {
                            format!(
                                "{what} {host}:{port} is the {its} of server.{other} as well: each server listens on ports of \
                                 its own"
                            )
                        });
                    }
                }
            }
        }
        found.into_iter().map(|((sid, _), message)| (sid, message)).collect()
    }
}

fn sid(text: &str) -> Result<i64, String> {
    parse_long(text).ok_or_else(|| format!("{text:?} is not a server or group number"))
}

/// Hexadecimal, as in `zoo.cfg.dynamic.1a`.
pub(super) fn parse_version(text: &str) -> Result<i64, String> {
    i64::from_str_radix(text, 16).map_err(|_| format!("version {text:?} is not a hexadecimal number"))
}

fn parse_server(sid: i64, text: &str, multi_address: bool) -> Result<Server, String> {
    let shape = || {
        format!(
            "{text:?} is not host:quorumPort:electionPort[:role][;[address:]clientPort]{}",
            if text.contains(";secure") || java_split(text, ';').len() > 2 {
                "; a third part is not in 3.9"
            } else {
                ""
            }
        )
    };
    let halves = java_split(text, ';');
    if halves.is_empty() || halves.len() > 2 {
        return Err(shape());
    }
    let client = match halves.get(1) {
        None => None,
        Some(client) => Some(match host_and_rest(client)?.as_slice() {
            [only] => ClientAddress { host: None, port: port(only)? },
            // An empty name is the own machine here as well.
            ["", last] => ClientAddress { host: Some("localhost".to_owned()), port: port(last)? },
            [host, last] => ClientAddress { host: Some((*host).to_owned()), port: port(last)? },
            _ => return Err(shape()),
        }),
    };
    let parts = java_split(halves[0], '|');
    if parts.len() > 1 && !multi_address {
        return Err(format!("{} addresses want -Dzookeeper.multiAddress.enabled=true", parts.len()));
    }
    let mut addresses = Vec::new();
    let mut role = None;
    for part in parts {
        let fields = host_and_rest(part)?;
        let [host, quorum, election, rest @ ..] = fields.as_slice() else { return Err(shape()) };
        if rest.len() > 1 {
            return Err(shape());
        }
        let address = PeerAddress {
            // An empty name is the own machine, to Java.
            host: if host.is_empty() { "localhost" } else { host }.to_owned(),
            quorum_port: port(quorum)?,
            election_port: port(election)?,
        };
        if address.quorum_port == address.election_port {
            return Err(format!("quorum and election port are both {}", address.quorum_port));
        }
        addresses.push(address);
        if let [text] = rest {
            let this = Role::parse(text)?;
            if *role.get_or_insert(this) != this {
                return Err("the addresses of one server have different roles".to_owned());
            }
        }
    }
    if addresses.is_empty() {
        return Err(shape());
    }
    Ok(Server { sid, addresses, role: role.unwrap_or_default(), client })
}

fn port(text: &str) -> Result<u16, String> {
    let number = parse_int(text).ok_or_else(|| {
        let blank = if text.trim() == text { "" } else { " (blanks around it count)" };
        format!("port {text:?} is not a number{blank}")
    })?;
    u16::try_from(number).map_err(|_| format!("port {number} is not within 0 to 65535"))
}

/// `host:a:b` or `[v6]:a:b` into its fields. Source: `ConfigUtils.getHostAndPort`.
fn host_and_rest(text: &str) -> Result<Vec<&str>, String> {
    let Some(inner) = text.strip_prefix('[') else { return Ok(java_split(text, ':')) };
    let Some((host, rest)) = inner.split_once(']') else {
        return Err(format!("{text:?} has [ and no ]"));
    };
    let mut after = rest.chars();
    if after.next().is_none() {
        return Ok(vec![host]);
    }
    // The character after the bracket is not looked at, as in Java.
    let rest = after.as_str();
    if rest.is_empty() {
        return Err(format!("{text:?} has no port after its address"));
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

    fn server(line: &str) -> Result<Server, String> {
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
        assert!(parse_server(1, "a:1:2:observer|b:3:4:participant", true).is_err());
    }

    /// Groups take their members, a member in two groups is refused.
    #[test]
    fn groups() {
        let mut e = Ensemble::default();
        e.take("group.1", "1:2", false).unwrap();
        e.take("weight.1", "3", false).unwrap();
        assert_eq!(e.groups, BTreeMap::from([(1, 1), (2, 1)]));
        assert_eq!(e.weights, BTreeMap::from([(1, 3)]));
        assert!(e.take("group.2", "2", false).unwrap_err().contains("more than one group"));
    }

    /// Versions in file names are hexadecimal, other suffixes are none.
    #[test]
    fn file_names() {
        assert_eq!(version_of_file_name("conf/zoo.cfg.dynamic.1a"), Some(0x1a));
        assert_eq!(version_of_file_name("conf/zoo.cfg.dynamic"), None);
        assert_eq!(version_of_file_name("dyn"), None);
    }
}
