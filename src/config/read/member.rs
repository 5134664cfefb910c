//! Which server of the ensemble this one is, and what keeps it from being one.

use std::path::Path;

use super::super::ensemble::{ClientAddress, Server};
use super::super::finding::{Finding, Origin, Severity};
use super::super::key::{Limit, Row, Value};
use super::super::reading::shorten;
use super::super::{Config, Loader, keys, number};
use super::entries::Entries;
use super::lines::Lines;
use super::server::is_ip;
use crate::tree::ExtendedTypes;

/// `EphemeralType.MAX_EXTENDED_SERVER_ID`: a TTL znode's owner begins with the byte above it.
const SID_MAX_WITH_TTL: i64 = 254;
/// The last one whose sessions have positive ids.
const SID_MAX_EMULATING: i64 = 127;

fn whole_file(path: &str) -> Option<Origin> {
    Some(Origin::File { path: path.to_owned(), line: 0 })
}

/// First line of `dataDir/myid`, exactly a number. Source: `QuorumPeerConfig.setupMyId`.
pub(super) fn my_id(entries: &mut Entries, data_dir: &Path, loader: &dyn Loader) -> Option<i64> {
    let path = data_dir.join("myid");
    let path = path.to_str()?;
    if data_dir.as_os_str().is_empty() || !loader.is_file(path) {
        return None;
    }
    let bytes = match loader.read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            entries.report(Severity::Error, whole_file(path), "", format!("cannot be read: {error}"));
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let id = number::parse_long(line);
    if id.is_none() {
        let message = format!("first line {} is not a server number (blanks around it count)", shorten(line));
        entries.report(Severity::Error, whole_file(path), "", message);
    }
    // Java's own mark for "no id".
    id.filter(|&id| id != -1)
}

/// Takes the client part of this server's own line. Source: `QuorumPeerConfig.setupClientPort`.
pub(super) fn take_own_line(entries: &mut Entries, config: &mut Config, lines: Lines) {
    let servers = &config.quorum.ensemble.servers;
    let client = |server: &Server| server.client.clone();
    let own = match config.quorum.my_id {
        Some(id) => servers.get(&id).and_then(client),
        None if servers.len() == 1 && config.client_port.is_none() && lines == Lines::Taken => {
            // Java would listen nowhere.
            let only = servers.values().next().and_then(client);
            if only.is_some() {
                let message = "there is no myid file; the client port is taken from the only server line";
                entries.report(Severity::Warning, None, "", message);
            }
            only
        }
        None => None,
    };
    let Some(ClientAddress { host, port }) = own else { return };
    // A flag of the command line is meant to win, not to be compared.
    let static_port = entries.entry(keys::CLIENT_PORT.name);
    if static_port.is_some_and(|entry| matches!(entry.origin, Origin::Flag { .. })) {
        return;
    }
    if let Some(static_port) = config.client_port {
        let is_any = |host: &&str| host.parse::<core::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        let static_host = config.client_port_address.as_deref().filter(|host| !is_any(host));
        // Two names, or a name and an address, may be the same host.
        let is_same_host = static_host.is_none_or(|a| {
            host.as_deref().is_some_and(|b| a.eq_ignore_ascii_case(b) || !is_ip(a) || !is_ip(b))
        });
        if static_port != port || !is_same_host {
            let message = format!(
                "{}:{static_port} differs from the client part of this server's own line, {}:{port}",
                static_host.unwrap_or("*"),
                host.as_deref().unwrap_or("*"),
            );
            entries.fault(keys::CLIENT_PORT.name, message);
        }
    }
    config.client_port = Some(port);
    // ZooKeeper writes every interface as that of IPv4 into the lines.
    config.client_port_address = host.filter(|host| host != "0.0.0.0");
}

/// What keeps a server of an ensemble from being one. Source: `QuorumPeerConfig.checkValidity`, `QuorumPeer.start`.
pub(super) fn check(entries: &mut Entries, config: &Config, lines: Lines) {
    if !config.is_distributed() || config.quorum.ensemble.participants() == 0 {
        return;
    }
    limits(entries);
    own_number(entries, config, lines);
    for (sid, message) in config.quorum.ensemble.collisions() {
        entries.fault(&format!("server.{sid}"), message);
    }
    own_ports(entries, config);
    numbers_of_ttl_znodes(entries, config);
    if lines == Lines::Taken {
        votes(entries, config.quorum.ensemble.participants());
    }
}

/// Limits that an ensemble has and a standalone server has not.
fn limits(entries: &mut Entries) {
    let limited = |row: &'static Row| match row.limit {
        Limit::AtLeastInEnsemble(least, why) => Some((row, least, why)),
        _ => None,
    };
    for (row, least, why) in keys::KEYS.iter().filter_map(limited) {
        let given = entries.entry(row.name);
        let (value, is_given) = (given.map_or(row.default, |entry| entry.value()), given.is_some());
        // Where there is no number, the text was refused or the default stays.
        let Some(Value::Number(number)) = value else { continue };
        if number < least {
            let is =
                if is_given { format!("{number} is less than {least}") } else { "is not set".to_owned() };
            entries.fault(row.name, format!("{is}: {why}"));
        }
    }
}

/// Which of the servers this is.
fn own_number(entries: &mut Entries, config: &Config, lines: Lines) {
    let file = config.data_dir.join("myid").display().to_string();
    let servers = &config.quorum.ensemble.servers;
    if lines == Lines::Refused || config.data_dir.as_os_str().is_empty() {
        return;
    }
    let numbers: Vec<String> = servers.keys().map(i64::to_string).collect();
    let numbers = numbers.join(", ");
    let origin = whole_file(&file);
    match config.quorum.my_id {
        Some(id) if servers.contains_key(&id) => {}
        Some(id) if config.reconfig_enabled => joins_later(entries, id, origin),
        Some(id) => {
            let message = format!(
                "says {id}, and there is no server.{id}: write which of {numbers} this server is, or add its line"
            );
            entries.report(Severity::Error, origin, "", message);
        }
        // What stands there was refused already.
        None if entries.findings.iter().any(|finding: &Finding| finding.origin == origin) => {}
        None => {
            let message =
                format!("{file} is missing: write which of {numbers} this server is, in digits alone");
            entries.report(Severity::Error, None, "", message);
        }
    }
}

/// A server that no line names waits for the reconfiguration that adds it. Others call back those with smaller numbers that
/// connect to them, so it hears only of those with smaller numbers than its own, or with a line for it: the highest is best.
fn joins_later(entries: &mut Entries, id: i64, origin: Option<Origin>) {
    let message = format!(
        "says {id}, and there is no server.{id}: this server joins without a vote, and a reconfiguration may add it. Without a \
         line of its own it is not reached by servers with higher numbers: with server.{id} beside the others it is"
    );
    entries.report(Severity::Warning, origin, "", message);
}

/// The port for clients must not be one that the server needs for its peers.
fn own_ports(entries: &mut Entries, config: &Config) {
    let own = config.quorum.my_id.and_then(|sid| config.quorum.ensemble.servers.get(&sid));
    let (Some(port), Some(own)) = (config.client_port, own) else { return };
    let is_taken = own.addresses.iter().any(|a| [a.quorum_port, a.election_port].contains(&port));
    if own.client.is_none() && is_taken {
        let message = format!("{port} is a port of this server's own line, server.{}, as well", own.sid);
        entries.fault(keys::CLIENT_PORT.name, message);
    }
}

/// Session ids begin with the server's number, and marks of TTL znodes look like some of them.
fn numbers_of_ttl_znodes(entries: &mut Entries, config: &Config) {
    let over = |most: i64| config.quorum.ensemble.servers.keys().find(|sid| **sid > most);
    if config.extended_types != ExtendedTypes::Off
        && let Some(sid) = over(SID_MAX_WITH_TTL)
    {
        let message = format!(
            "true wants server numbers up to {SID_MAX_WITH_TTL}, and there is server.{sid}: its sessions would look like \
             the marks of TTL znodes; give it another number"
        );
        entries.fault(keys::EXTENDED_TYPES.name, message);
    }
    if config.extended_types == ExtendedTypes::Emulate353
        && let Some(sid) = over(SID_MAX_EMULATING)
    {
        let message = format!(
            "ephemerals of sessions that begin at server.{sid} read as TTL nodes, as in Java: give it a number up to \
             {SID_MAX_EMULATING}"
        );
        entries.warn(keys::EMULATE_353.name, message);
    }
}

/// Numbers of voters that bring no safety.
fn votes(entries: &mut Entries, voters: usize) {
    if voters == 2 {
        let message = "2 servers with a vote serve only while both run: 3 go on without one";
        entries.report(Severity::Warning, None, "", message);
    } else if voters.is_multiple_of(2) {
        let message = format!("{voters} servers with a vote go on without as many as {} would", voters - 1);
        entries.report(Severity::Note, None, "", message);
    }
}
