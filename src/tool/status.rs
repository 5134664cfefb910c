//! `zkfast status`: a table of an ensemble's servers, with exit statuses for scripts.

use crate::client::net::{Secure, four_letter_word, four_letter_word_secured, host_of};
use serde_json::{Value, json};
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// All servers serve.
const ALL_SERVE: u8 = 0;
/// A leader serves, and a server of those asked does not.
const SOME_DO_NOT: u8 = 1;
/// Servers answer, and none leads.
const NO_LEADER: u8 = 3;
/// No server answers.
const NONE_ANSWERS: u8 = 4;

/// Arguments of `zkfast status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zkfast status
  zkfast status --server zk1:2181 --json
  zkfast status --server zk1:2181,zk2:2181,zk3:2181 && echo all serve

Asks by four-letter words: srvr, which every server answers, and conf and mntr where 4lw.commands.whitelist has them.
conf names the other servers of the ensemble; without it only those are asked that are named.

Exit status: 0 all servers serve, 1 one of them does not, 2 a flag is wrong, 3 none leads, 4 none answers,
5 standard output could not be written")]
pub struct StatusArgs {
    /// Servers to ask, as host:port, with commas between.
    #[arg(short, long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181", value_delimiter = ',')]
    server: Vec<String>,
    /// A client's file of properties, as zkCli.sh takes it: TLS by zookeeper.client.secure and zookeeper.ssl.*
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    /// Prints one JSON object in place of a table.
    #[arg(long)]
    json: bool,
    /// Asks only the servers that are named.
    #[arg(long)]
    only: bool,
    /// Longest wait for a server, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    timeout: u64,
}

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct Server {
    /// As it was named, or as the configuration names it.
    pub address: String,
    /// Its `myid`, where known.
    pub id: Option<i64>,
    /// What `srvr` answered, or why there is no answer.
    pub told: Result<Told, String>,
}

#[derive(Debug, Default)]
pub(super) struct Told {
    pub mode: String,
    pub zxid: u64,
    pub version: String,
    /// Milliseconds, since the start of the server.
    pub latency_ms: f64,
    pub connections: u64,
    pub outstanding: u64,
    pub znodes: u64,
    /// From `mntr`.
    pub uptime_ms: Option<u64>,
    /// From the `mntr` of a leader.
    pub synced_followers: Option<u64>,
}

/// How servers are asked.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub timeout: Duration,
    pub secure: Option<&'a dyn Secure>,
}

/// Asks. Gives what is to be printed, and the exit status.
///
/// # Errors
/// The client's file cannot be used.
pub fn run(args: &StatusArgs) -> Result<(String, ExitCode), String> {
    let secure = super::secure(args.client_configuration.as_deref())?;
    let asking = Asking { timeout: Duration::from_millis(args.timeout.max(1)), secure: secure.as_deref() };
    let mut addresses: Vec<(String, Option<i64>)> =
        args.server.iter().map(|address| (address.clone(), None)).collect();
    // conf names ports without TLS.
    if !args.only
        && asking.secure.is_none()
        && let Some(members) = args.server.iter().find_map(|address| members(address, asking))
    {
        addresses = members;
    }
    let servers = ask_all(addresses, asking);
    let status = exit_status(&servers);
    let text = if args.json { as_json(&servers, status) } else { as_table(&servers) };
    Ok((text, ExitCode::from(status)))
}

/// The servers of the ensemble that a server's `conf` names; `None` where it names none.
fn members(address: &str, asking: Asking<'_>) -> Option<Vec<(String, Option<i64>)>> {
    let found = members_in(&word(address, "conf", asking).ok()?, address);
    if found.is_empty() { None } else { Some(found) }
}

/// The servers of the ensemble that the answer of `address` to `conf` names with client addresses.
pub(super) fn members_in(conf: &str, address: &str) -> Vec<(String, Option<i64>)> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    conf.lines().filter_map(|line| member(line, host)).collect()
}

/// The client address in a line as `server.1=host:2888:3888:participant;0.0.0.0:2181`. A server that listens on every
/// address is reached where the others reach it.
fn member(line: &str, asked: &str) -> Option<(String, Option<i64>)> {
    let (id, rest) = line.strip_prefix("server.")?.split_once('=')?;
    let (peer, client) = rest.split_once(';')?;
    let first = peer.split('|').next()?;
    let host = match first.strip_prefix('[') {
        Some(rest) => format!("[{}]", rest.split_once(']')?.0),
        None => first.split_once(':')?.0.to_owned(),
    };
    let (bound, port) = client.rsplit_once(':').unwrap_or(("0.0.0.0", client));
    let host = match bound {
        "0.0.0.0" | "[::]" | "::" | "[0:0:0:0:0:0:0:0]" => host,
        bound => bound.to_owned(),
    };
    // An ensemble on one machine names itself by an address that may not lead there from elsewhere.
    let host = if matches!(host.as_str(), "0.0.0.0") { asked.to_owned() } else { host };
    Some((format!("{host}:{port}"), id.parse().ok()))
}

/// Asks all servers at once.
pub(super) fn ask_all(addresses: Vec<(String, Option<i64>)>, asking: Asking<'_>) -> Vec<Server> {
    thread::scope(|scope| {
        let asked: Vec<_> = addresses
            .into_iter()
            .map(|(address, id)| {
                let of = address.clone();
                (address, id, scope.spawn(move || told(&of, asking)))
            })
            .collect();
        let join = |(address, id, thread): (String, Option<i64>, thread::ScopedJoinHandle<'_, _>)| {
            let told = thread.join().unwrap_or_else(|_| Err("asking it failed".to_owned()));
            Server { address, id, told }
        };
        asked.into_iter().map(join).collect()
    })
}

/// What a server answers to `srvr` and, where it does, to `mntr`.
fn told(address: &str, asking: Asking<'_>) -> Result<Told, String> {
    let srvr = word(address, "srvr", asking)?;
    let mut told = parse_srvr(&srvr)?;
    let mntr = word(address, "mntr", asking).unwrap_or_default();
    let figure = |name| {
        let of = |line: &str| {
            line.strip_prefix("zk_")?.strip_prefix(name)?.strip_prefix('\t')?.trim().parse().ok()
        };
        mntr.lines().find_map(of)
    };
    (told.uptime_ms, told.synced_followers) = (figure("uptime"), figure("synced_followers"));
    Ok(told)
}

/// Reads the answer to `srvr`. Source: `StatCommand`.
fn parse_srvr(text: &str) -> Result<Told, String> {
    let mut told = Told::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let value = value.trim();
        match name {
            "Zookeeper version" => {
                told.version = value.split(',').next().unwrap_or_default().to_owned();
            }
            "Mode" => told.mode = value.to_owned(),
            "Zxid" => told.zxid = u64::from_str_radix(value.trim_start_matches("0x"), 16).unwrap_or_default(),
            "Connections" => told.connections = value.parse().unwrap_or_default(),
            "Outstanding" => told.outstanding = value.parse().unwrap_or_default(),
            "Node count" => told.znodes = value.parse().unwrap_or_default(),
            "Latency min/avg/max" => {
                told.latency_ms =
                    value.split('/').nth(1).and_then(|avg| avg.parse().ok()).unwrap_or_default();
            }
            _ => {}
        }
    }
    match told.mode.is_empty() {
        false => Ok(told),
        true => Err(text.lines().next().unwrap_or("it answers nothing").trim().to_owned()),
    }
}

/// Sends a four-letter word to the first address of a name that answers.
pub(super) fn word(address: &str, word: &str, asking: Asking<'_>) -> Result<String, String> {
    let found = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    let mut why = format!("{address}: the name has no address");
    for socket in found {
        let answer = match asking.secure {
            Some(secure) => {
                four_letter_word_secured(socket, (secure, host_of(address)), word, asking.timeout)
            }
            None => four_letter_word(socket, word, asking.timeout),
        };
        match answer {
            Ok(text) => return Ok(text),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn exit_status(servers: &[Server]) -> u8 {
    let told = || servers.iter().filter_map(|server| server.told.as_ref().ok());
    let leads = |told: &Told| matches!(told.mode.as_str(), "leader" | "standalone");
    // A follower that serves has a leader, also where only that follower was asked.
    let follows = |told: &Told| matches!(told.mode.as_str(), "follower" | "observer");
    let has_answer = |server: &Server| match &server.told {
        Ok(_) => true,
        Err(why) => why.contains("not currently serving"),
    };
    if !servers.iter().any(has_answer) {
        NONE_ANSWERS
    } else if !told().any(leads) && !told().any(follows) {
        NO_LEADER
    } else if servers
        .iter()
        .any(|server| !server.told.as_ref().is_ok_and(|told| leads(told) || follows(told)))
    {
        SOME_DO_NOT
    } else {
        ALL_SERVE
    }
}

/// The newest zxid of all.
fn newest(servers: &[Server]) -> u64 {
    servers.iter().filter_map(|server| server.told.as_ref().ok()).map(|told| told.zxid).max().unwrap_or(0)
}

/// Txns that a server lacks of the newest; `None` where they are of another epoch.
fn lag(zxid: u64, newest: u64) -> Option<u64> {
    (zxid >> 32 == newest >> 32).then(|| newest - zxid)
}

const HEADS: [&str; 9] =
    ["ID", "SERVER", "ROLE", "EPOCH", "ZXID", "LAG", "LATENCY MS", "CONNECTIONS", "VERSION"];

fn as_table(servers: &[Server]) -> String {
    let newest = newest(servers);
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    for Server { address, id, told } in servers {
        let id = id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        rows.push(match told {
            Err(why) => vec![id, address.clone(), format!("does not serve: {why}")],
            Ok(told) => vec![
                id,
                address.clone(),
                told.mode.clone(),
                (told.zxid >> 32).to_string(),
                format!("{:#x}", told.zxid),
                lag(told.zxid, newest).map_or_else(|| "old epoch".to_owned(), |lag| lag.to_string()),
                format!("{:.3}", told.latency_ms),
                told.connections.to_string(),
                told.version.clone(),
            ],
        });
    }
    let width = |column: usize| {
        let whole = rows.iter().filter(|row| row.len() == HEADS.len());
        whole.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    widths[1] = rows.iter().map(|row| row[1].chars().count()).max().unwrap_or(0);
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

fn as_json(servers: &[Server], status: u8) -> String {
    let newest = newest(servers);
    let one = |Server { address, id, told }: &Server| match told {
        Err(why) => json!({"id": id, "address": address, "serving": false, "why": why}),
        Ok(told) => json!({
            "id": id,
            "address": address,
            "serving": true,
            "role": told.mode,
            "epoch": told.zxid >> 32,
            "zxid": format!("{:#x}", told.zxid),
            "lag": lag(told.zxid, newest),
            "latency_avg_ms": told.latency_ms,
            "connections": told.connections,
            "outstanding": told.outstanding,
            "znodes": told.znodes,
            "uptime_ms": told.uptime_ms,
            "version": told.version,
        }),
    };
    let all: Value = json!({"status": status, "servers": servers.iter().map(one).collect::<Vec<_>>()});
    format!("{all}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(mode: Result<&str, &str>, zxid: u64) -> Server {
        let told = mode.map(|mode| Told { mode: mode.to_owned(), zxid, ..Told::default() });
        Server { address: "zk:2181".to_owned(), id: Some(1), told: told.map_err(str::to_owned) }
    }

    /// Lines of a configuration lead to client addresses; those of peers alone lead nowhere.
    #[test]
    fn members_of_a_configuration() {
        for (line, found) in [
            ("server.1=zk1:2888:3888:participant;2181", Some(("zk1:2181", 1))),
            ("server.2=zk2:2888:3888:observer;0.0.0.0:2182", Some(("zk2:2182", 2))),
            ("server.3=zk3:2888:3888|other:2888:3888;10.0.0.3:2181", Some(("10.0.0.3:2181", 3))),
            ("server.4=[::1]:2888:3888:participant;[0:0:0:0:0:0:0:0]:2181", Some(("[::1]:2181", 4))),
            ("server.5=zk5:2888:3888", None),
            ("electionPort=3888", None),
        ] {
            let found = found.map(|(address, id)| (address.to_owned(), Some(id)));
            assert_eq!(member(line, "asked"), found, "{line}");
        }
    }

    /// Exit statuses tell apart what a script does something else about.
    #[test]
    fn statuses() {
        const LOOKING: Result<&str, &str> = Err("This ZooKeeper instance is not currently serving requests");
        const DEAD: Result<&str, &str> = Err("Connection refused");
        for (modes, status) in [
            (vec![Ok("standalone")], ALL_SERVE),
            (vec![Ok("leader"), Ok("follower")], ALL_SERVE),
            (vec![Ok("follower")], ALL_SERVE),
            (vec![Ok("leader"), DEAD], SOME_DO_NOT),
            (vec![Ok("leader"), LOOKING], SOME_DO_NOT),
            (vec![Ok("leader"), Ok("read-only")], SOME_DO_NOT),
            (vec![Ok("read-only"), DEAD], NO_LEADER),
            (vec![LOOKING, DEAD], NO_LEADER),
            (vec![DEAD, DEAD], NONE_ANSWERS),
        ] {
            let servers: Vec<Server> = modes.iter().map(|mode| server(*mode, 1)).collect();
            assert_eq!(exit_status(&servers), status, "{modes:?}");
        }
    }

    /// A table has a line for each server, and one that lags says by how much.
    #[test]
    fn table() {
        let servers = [
            server(Ok("leader"), 0x2_0000_0010),
            server(Ok("follower"), 0x2_0000_000c),
            server(Ok("observer"), 0x1_0000_0010),
            server(Err("Connection refused"), 0),
        ];
        let table = as_table(&servers);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 5, "{table}");
        assert!(lines[2].contains("follower") && lines[2].contains("  4  "), "{table}");
        assert!(lines[3].contains("old epoch"), "{table}");
        assert!(lines[4].contains("does not serve: Connection refused"), "{table}");
    }

    /// What a server that is looking says is no mode.
    #[test]
    fn srvr() {
        let told = parse_srvr(
            "Zookeeper version: 3.9.4-x, built on y\nLatency min/avg/max: 0/0.25/7\nReceived: 9\nSent: 8\n\
             Connections: 2\nOutstanding: 1\nZxid: 0x10000000f\nMode: leader\nNode count: 5\n",
        );
        let told = told.expect("it serves");
        assert_eq!((told.mode.as_str(), told.zxid, told.znodes), ("leader", 0x1_0000_000f, 5));
        assert_eq!((told.version.as_str(), told.latency_ms, told.connections), ("3.9.4-x", 0.25, 2));
        let looking = "This ZooKeeper instance is not currently serving requests\n";
        assert_eq!(parse_srvr(looking).err().as_deref(), Some(looking.trim()));
    }
}
