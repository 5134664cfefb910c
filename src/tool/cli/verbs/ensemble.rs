//! Verbs of the session and the ensemble.

use super::super::ask;
use super::super::error::CliError;
use super::super::link::Credential;
use super::super::text::{stat_json, stat_lines};
use super::super::verb::Context;
use super::super::watches::Kind;
use super::super::words::Words;
use crate::client::{Body, Request};
use crate::config::Ensemble;
use crate::proto::ErrorCode;
use crate::proto::request::Reconfig;
use crate::zab::reconfig_request::{Rules, asked, check_numbers};
use serde_json::{Value, json};

/// The znode of the configuration. Source: `ZooDefs.CONFIG_NODE`.
const CONFIG: &str = "/zookeeper/config";

/// `version`: of this program.
pub fn version(context: &mut Context<'_>, _: &Words) -> Result<(), CliError> {
    let version = env!("ZKFAST_VERSION");
    if context.out.json {
        return context.out.value(&json!({ "version": version }));
    }
    context.out.line(&format!("ZooKeeper CLI version: zkfast {version}"))
}

/// `sync`: waits until this server has all that the leader has committed.
pub fn sync(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    context.link.call(&Request::Sync { path: full.into() }, path)?;
    if context.out.json {
        return context.out.value(&json!({ "path": path, "sync": true }));
    }
    context.out.line("Sync is OK")
}

/// `whoami`: the identities of this connection.
pub fn whoami(context: &mut Context<'_>, _: &Words) -> Result<(), CliError> {
    let reply = context.link.call(&Request::WhoAmI, "")?;
    let Body::Identities(identities) = reply.body else { return Err(ask::unexpected(reply.op)) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if context.out.json {
        let object =
            |(scheme, user): &(Vec<u8>, Vec<u8>)| json!({ "scheme": text(scheme), "user": text(user) });
        let list: Value = identities.iter().map(object).collect();
        return context.out.value(&list);
    }
    context.out.line("Auth scheme: User")?;
    identities
        .iter()
        .try_for_each(|(scheme, user)| context.out.line(&format!("{}: {}", text(scheme), text(user))))
}

/// `addauth`: presents a credential. Where it is `-`, it is read from standard input, without the end of its line.
pub fn add_auth(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let scheme = words.argument(0).to_owned();
    let auth = match words.argument(1) {
        "-" => {
            let text = context.stdin()?;
            text.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(text)
        }
        text => text.as_bytes().to_vec(),
    };
    context.link.add_credential(Credential { scheme: scheme.clone(), auth })?;
    if context.out.json { context.out.value(&json!({ "scheme": scheme })) } else { Ok(()) }
}

/// `config`: the ensemble's configuration.
pub fn config(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let watch = words.has("w");
    let (data, stat) = ask::data(context.link, CONFIG, watch)?;
    if watch {
        context.link.watches.add(Kind::Data, CONFIG);
    }
    let text = data.map_or_else(|| "null".to_owned(), |data| String::from_utf8_lossy(&data).into_owned());
    if context.out.json {
        let clients = client_addresses(&text);
        return context.out.value(&json!({
            "config": text, "version": version_of(&text), "clients": clients, "stat": stat_json(&stat),
        }));
    }
    if words.has("c") {
        context.out.line(&format!("{} {}", version_of(&text), client_addresses(&text).join(",")))?;
    } else {
        context.out.line(&text)?;
    }
    if words.has("s") { context.out.text(&stat_lines(&stat)) } else { Ok(()) }
}

/// The lines `key=value` of a configuration.
fn lines(config: &str) -> impl Iterator<Item = (&str, &str)> {
    config.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

fn version_of(config: &str) -> &str {
    lines(config).filter(|(key, _)| *key == "version").last().map_or("", |(_, version)| version)
}

/// Where clients connect, of each server that says it after the semicolon; a port alone is of all addresses.
///
/// Source: `ConfigUtils.getClientConfigStr`.
fn client_addresses(config: &str) -> Vec<String> {
    let servers = lines(config).filter(|(key, _)| key.starts_with("server."));
    let clients = servers.filter_map(|(_, server)| server.split_once(';'));
    let address = |(_, client): (&str, &str)| {
        let client = client.trim();
        if client.contains(':') { client.to_owned() } else { format!("0.0.0.0:{client}") }
    };
    clients.map(address).collect()
}

/// `reconfig`: changes the ensemble's members.
///
/// Source: `ReconfigCommand`.
pub fn reconfig(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let usage = |why: &str| Err(CliError::Usage(why.to_owned()));
    let [add, remove, members, file] = ["add", "remove", "members", "file"].map(|name| words.value(name));
    if add.or(remove).or(members).or(file).is_none() {
        return usage("-add, -remove, -members or -file is missing");
    }
    if members.or(file).is_some() && add.or(remove).is_some() {
        return usage("-file and -members name all servers, -add and -remove some: they do not go together");
    }
    if members.is_some() && file.is_some() {
        return usage("-file and -members do not go together");
    }
    let config_id = match words.value("v") {
        None => -1,
        Some(text) => i64::from_str_radix(text, 16)
            .map_err(|_| CliError::Usage("-v takes the configuration's version in hex digits".to_owned()))?,
    };
    let new_members = match file {
        Some(file) => Some(members_of(file)?),
        None => members.map(str::to_lowercase),
    };
    let bytes = |text: Option<String>| text.map(String::into_bytes);
    let request = Request::Reconfig {
        joining: bytes(add.map(str::to_lowercase)),
        leaving: bytes(remove.map(str::to_lowercase)),
        new_members: bytes(new_members),
        config_id,
    };
    let reply = match context.link.call(&request, "") {
        Err(error) if error.is(ErrorCode::BadArguments) || error.is(ErrorCode::MarshallingError) => {
            return Err(match reason(context, &request) {
                Some(reason) => error.because(reason),
                None => error,
            });
        }
        answered => answered?,
    };
    let Body::Data { data, stat } = reply.body else { return Err(ask::unexpected(reply.op)) };
    let config = String::from_utf8_lossy(&data.unwrap_or_default()).into_owned();
    if context.out.json {
        return context.out.value(&json!({ "config": config, "stat": stat_json(&stat) }));
    }
    context.out.line(&format!("Committed new configuration:\n{config}"))?;
    if words.has("s") { context.out.text(&stat_lines(&stat)) } else { Ok(()) }
}

/// Why a server refuses a reconfiguration, which its answer has no room for, as far as it can be seen from here.
fn reason(context: &mut Context<'_>, request: &Request) -> Option<String> {
    let Request::Reconfig { joining, leaving, new_members, config_id } = request else { return None };
    let request = Reconfig {
        joining: joining.as_deref(),
        leaving: leaving.as_deref(),
        new_members: new_members.as_deref(),
        config_id: *config_id,
    };
    let (data, _) = ask::data(context.link, CONFIG, false).ok()?;
    let active = Ensemble::parse(std::str::from_utf8(&data?).ok()?).ok()?;
    // What the server allows is not known here: what no server allows comes first.
    let rules = [false, true].map(|strict| Rules { standalone_enabled: strict, multi_address: !strict });
    let refused = rules.into_iter().find_map(|rules| {
        asked(&active, &request, rules).and_then(|configuration| check_numbers(&configuration)).err()
    });
    refused.map(|refused| refused.why)
}

/// The members in a file: its lines of servers, groups and weights.
fn members_of(file: &str) -> Result<String, CliError> {
    let text = std::fs::read_to_string(file).map_err(|error| CliError::Files(format!("{file}: {error}")))?;
    let is_member = |key: &str| ["server.", "group.", "weight."].iter().any(|start| key.starts_with(start));
    let members: Vec<String> =
        lines(&text).filter(|(key, _)| is_member(key)).map(|(key, value)| format!("{key}={value}")).collect();
    if members.is_empty() {
        return Err(CliError::Usage(format!("{file} has no line server.N=...")));
    }
    Ok(members.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version and client addresses of a configuration, as `config -c` shows them.
    #[test]
    fn clients() {
        let config = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888;2182\n\
                      server.3=c:2888:3888\nversion=100000000";
        assert_eq!(
            (version_of(config), client_addresses(config)),
            ("100000000", vec!["0.0.0.0:2181".into(), "0.0.0.0:2182".into()])
        );
        assert_eq!((version_of(""), client_addresses("").len()), ("", 0));
    }
}
