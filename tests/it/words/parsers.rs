//! Parsers of monitoring tools, written anew: the formats that these tools expect, and the lines that they ignore.
//!
//! | tool | words |
//! |---|---|
//! | Datadog agent, `zk` | `ruok`, `stat`, `mntr` |
//! | Metricbeat, `zookeeper` | `srvr`, `cons`, `mntr` |
//! | Telegraf, `inputs.zookeeper` | `mntr` |
//! | Netdata, `zookeeper` | `mntr` |
//! | go-zookeeper, `FLWSrvr`, `FLWCons`, `FLWRuok` | `srvr`, `cons`, `ruok` |
//! | OpenTelemetry collector, `zookeeperreceiver` | `mntr`, `ruok` |

use super::ANSWER_TIMEOUT;
use std::net::SocketAddr;
use zkfast::client::net::four_letter_word;

/// Runs all parsers on one server; `mode` is the server's mode.
pub fn all(address: SocketAddr, mode: &str) {
    let word = |word| four_letter_word(address, word, ANSWER_TIMEOUT).expect("an answer");
    assert_eq!(word("ruok"), "imok");
    datadog(&word("stat"), &word("mntr"), mode);
    metricbeat(&word("srvr"), &word("cons"), mode);
    // Telegraf and the collector send a line end after the word.
    telegraf(&word("mntr\n"), mode);
    netdata(&word("mntr"), mode);
    go_zookeeper(&word("srvr"), &word("cons"), mode);
    open_telemetry(&word("mntr\n"), mode);
}

/// The value after `key: `.
fn after_colon<'a>(line: Option<&'a str>, key: &str) -> &'a str {
    let line = line.unwrap_or_else(|| panic!("no line for {key}"));
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line}: no colon"));
    assert_eq!(name, key);
    value.trim()
}

fn int(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no integer"))
}

/// Datadog expects lines at fixed places: the version, clients up to an empty line, then the figures in one order.
fn datadog(stat: &str, mntr: &str, mode: &str) {
    let mut lines = stat.lines();
    let version = lines.next().expect("the version");
    let numbers = version.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let version = numbers.map(|part| part.trim_matches('.')).find(|part| part.split('.').count() == 3);
    assert_eq!(version, Some("3.9.4"));
    assert_eq!(lines.next(), Some("Clients:"));
    let clients = lines.by_ref().take_while(|line| !line.trim().is_empty()).count();
    let latency = after_colon(lines.next(), "Latency min/avg/max");
    let figures: Vec<f64> = latency.split('/').map(|part| part.parse().expect("a number")).collect();
    assert!(figures.len() == 3 && figures[0] <= figures[1] && figures[1] <= figures[2], "{latency}");
    let received = int(after_colon(lines.next(), "Received"));
    let sent = int(after_colon(lines.next(), "Sent"));
    assert!(received > 0 && sent > 0, "{stat}");
    assert_eq!(int(after_colon(lines.next(), "Connections")), clients as i64, "{stat}");
    int(after_colon(lines.next(), "Outstanding"));
    let zxid = after_colon(lines.next(), "Zxid").strip_prefix("0x").expect("hexadecimal");
    assert!(u64::from_str_radix(zxid, 16).is_ok_and(|zxid| zxid > 0), "{stat}");
    assert_eq!(after_colon(lines.next(), "Mode").to_lowercase(), mode);
    assert!(int(after_colon(lines.next(), "Node count")) > 0);

    // Two words per line. The agent skips other lines and values that are no integers, with a warning.
    let mut lines = mntr.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("zk_version\t")), "{mntr}");
    let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('\t')).collect();
    assert!(pairs.iter().filter(|(_, value)| !value.contains(' ')).count() > 20, "{mntr}");
    assert!(pairs.contains(&("zk_server_state", mode)), "{mntr}");
    for key in ["zk_packets_received", "zk_packets_sent", "zk_num_alive_connections", "zk_znode_count"] {
        let value = pairs.iter().find(|(name, _)| *name == key).unwrap_or_else(|| panic!("no {key}")).1;
        assert!(int(value) > 0, "{key}={value}");
    }
}

/// Metricbeat finds keys by what a line contains, and connections by a format that only those without a session have.
fn metricbeat(srvr: &str, cons: &str, mode: &str) {
    let first = srvr.lines().next().expect("the version");
    let (_, rest) = first.split_once(": ").expect("a colon");
    let (version, date) = rest.rsplit_once(", built on ").or_else(|| rest.rsplit_once(',')).expect("a comma");
    assert!(version.starts_with("3.9.4") && !date.is_empty(), "{first}");
    let line = |what: &str| {
        srvr.lines().skip(1).find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}"))
    };
    let zxid = line("Zxid").split(' ').nth(1).expect("a zxid");
    assert!(i64::from_str_radix(&zxid[2..], 16).is_ok(), "{zxid}");
    assert_eq!(line("Mode").split(' ').nth(1), Some(mode));
    assert_eq!(line("Latency").split(' ').nth(2).map(|figures| figures.split('/').count()), Some(3));
    for key in ["Received", "Sent", "Connections", "Outstanding", "Node count"] {
        int(line(key).split_once(": ").expect("a colon").1);
    }
    assert_eq!(mode == "leader", srvr.contains("Proposal sizes"), "{srvr}");
    if mode == "leader" {
        let sizes = line("Proposal sizes").split(' ').nth(3).expect("sizes");
        assert_eq!(sizes.split('/').map(int).count(), 3);
    }

    let shape = |line: &str| -> Option<[i64; 5]> {
        let rest = line.split_once('/')?.1;
        let (address, rest) = rest.split_once('[')?;
        let (ip, port) = address.rsplit_once(':')?;
        assert!(!ip.starts_with('/'), "{line}: the address has one slash");
        let (interest, rest) = rest.split_once("](queued=")?;
        let (queued, rest) = rest.split_once(",recved=")?;
        let (received, rest) = rest.split_once(",sent=")?;
        let sent = rest.strip_suffix(')')?;
        Some([port, interest, queued, received, sent].map(|field| field.parse().unwrap_or(-1)))
    };
    let found: Vec<[i64; 5]> = cons.lines().filter_map(shape).filter(|fields| fields[4] >= 0).collect();
    // The connection that sent `cons` is among them, and has received that word.
    assert!(found.iter().any(|fields| fields[1..] == [0, 0, 1, 0]), "{cons}");
    assert!(found.iter().flatten().all(|field| *field >= 0), "{cons}");
}

/// Each line must be `zk_`, word characters, points and hyphens, blanks, and the same characters again.
fn word_pairs(mntr: &str) -> Vec<(String, String)> {
    let is_word = |letter: char| letter.is_alphanumeric() || "_.-".contains(letter);
    mntr.lines()
        .map(|line| {
            let rest = line.strip_prefix("zk_").unwrap_or_else(|| panic!("{line:?} does not begin with zk_"));
            let (key, value) =
                rest.split_once(char::is_whitespace).unwrap_or_else(|| panic!("{line:?}: one word"));
            // The tool takes the first word of a value: the version has `, built on` after it.
            let value: String = value.trim_start().chars().take_while(|&letter| is_word(letter)).collect();
            assert!(key.chars().all(is_word) && !value.is_empty(), "{line:?}");
            (key.to_owned(), value)
        })
        .collect()
}

/// For Telegraf, a line of another format is an error, after which it reads nothing more from this server.
fn telegraf(mntr: &str, mode: &str) {
    let pairs = word_pairs(mntr);
    assert!(pairs.iter().any(|(key, value)| key == "server_state" && value == mode), "{mntr}");
    assert!(pairs.iter().any(|(key, value)| key == "version" && value.starts_with("3.9.4")), "{mntr}");
    assert!(pairs.iter().filter(|(_, value)| value.parse::<i64>().is_ok()).count() > 20, "{mntr}");
}

/// Netdata reads these keys, as integers or decimal numbers.
fn netdata(mntr: &str, mode: &str) {
    const KEYS: [&str; 13] = [
        "num_alive_connections",
        "outstanding_requests",
        "min_latency",
        "avg_latency",
        "max_latency",
        "packets_received",
        "packets_sent",
        "open_file_descriptor_count",
        "max_file_descriptor_count",
        "znode_count",
        "ephemerals_count",
        "watch_count",
        "approximate_data_size",
    ];
    assert!(mntr.lines().count() < 2000, "more lines are not read");
    let value = |key: &str| {
        mntr.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.len() == 2 && fields[0].strip_prefix("zk_") == Some(key)).then(|| fields[1].to_owned())
        })
    };
    for key in KEYS {
        let value = value(key).unwrap_or_else(|| panic!("no zk_{key}"));
        assert!(value.parse::<f64>().is_ok(), "zk_{key}={value}");
    }
    assert_eq!(value("server_state").as_deref(), Some(mode));
}

/// go-zookeeper has one expression for all of `srvr`, and one for a line of `cons` with a session and an answered
/// request.
fn go_zookeeper(srvr: &str, cons: &str, mode: &str) {
    let mut lines = srvr.lines();
    let version = after_colon(lines.next(), "Zookeeper version");
    let (version, date) = version.split_once(", built on ").expect("a date");
    assert!(
        version.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-".contains(letter)),
        "{version}"
    );
    let shape: String =
        date.chars().map(|letter| if letter.is_ascii_digit() { '9' } else { letter }).collect();
    assert_eq!(shape, "9999-99-99 99:99 UTC");
    let latency = after_colon(lines.next(), "Latency min/avg/max");
    let figures: Vec<&str> = latency.split('/').collect();
    assert!(int(figures[0]) >= 0 && figures[1].parse::<f64>().is_ok() && int(figures[2]) >= 0, "{latency}");
    for key in ["Received", "Sent", "Connections", "Outstanding"] {
        assert!(int(after_colon(lines.next(), key)) >= 0);
    }
    assert!(after_colon(lines.next(), "Zxid").starts_with("0x"));
    assert_eq!(after_colon(lines.next(), "Mode"), mode);
    assert!(int(after_colon(lines.next(), "Node count")) > 0);

    let client = |line: &str| -> Option<i64> {
        let rest = line.strip_prefix(" /")?;
        let (address, rest) = rest.split_once('[')?;
        address.parse::<std::net::SocketAddrV4>().ok()?;
        let (interest, fields) = rest.split_once("](")?;
        interest.parse::<u8>().ok()?;
        let mut fields = fields.strip_suffix(')')?.split(',');
        let mut session_id = 0;
        for key in [
            "queued", "recved", "sent", "sid", "lop", "est", "to", "lcxid", "lzxid", "lresp", "llat",
            "minlat", "avglat", "maxlat",
        ] {
            let value = fields.next()?.strip_prefix(key)?.strip_prefix('=')?;
            match key {
                "sid" => session_id = i64::from_str_radix(value.strip_prefix("0x")?, 16).ok()?,
                "lop" => assert!(value.chars().all(char::is_alphanumeric), "{line}"),
                "lcxid" | "lzxid" => _ = u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()?,
                _ => _ = value.parse::<i64>().ok()?,
            }
        }
        fields.next().is_none().then_some(session_id)
    };
    // Java shows a new session with `lcxid=0x0`, and after `crst` without `lcxid`.
    let with_session = cons.lines().filter(|line| line.contains("sid=") && line.contains("lcxid=")).count();
    assert_eq!(cons.lines().filter_map(client).filter(|id| *id != 0).count(), with_session, "{cons}");
}

/// The collector warns about each line of another format, and skips values that are no integers.
fn open_telemetry(mntr: &str, mode: &str) {
    let pairs = word_pairs(mntr);
    let value = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    assert_eq!(value("server_state"), Some(mode));
    for key in [
        "approximate_data_size",
        "open_file_descriptor_count",
        "max_file_descriptor_count",
        "znode_count",
        "ephemerals_count",
        "watch_count",
        "num_alive_connections",
        "outstanding_requests",
        "max_latency",
        "min_latency",
        "packets_received",
        "packets_sent",
        "fsync_threshold_exceed_count",
    ] {
        // Not every version has the last one.
        if let Some(value) = value(key) {
            int(value);
        } else {
            assert_eq!(key, "fsync_threshold_exceed_count", "no zk_{key}");
        }
    }
    let leader_only = ["learners", "synced_followers", "pending_syncs"];
    assert!(leader_only.iter().all(|key| value(key).is_some() == (mode == "leader")), "{mntr}");
}
