//! What a server is without regard to others: directories, the port for clients, four-letter words, kinds of znodes.

use core::net::Ipv6Addr;
use std::path::PathBuf;

use super::super::finding::{Origin, Severity};
use super::super::key::{Key, Row};
use super::super::properties::java_trim;
use super::super::{AdminConfig, ByItself, Config, FourLetterWords, Loader, MetricsConfig, Restore, keys};
use super::classes;
use super::entries::Entries;
use super::lines::Lines;
use super::{shown, tls};
use crate::tree::ExtendedTypes;

/// Words of `FourLetterCommands`.
const FOUR_LETTER_WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchc", "wchp", "wchs",
];

/// Where the data is.
pub(super) struct Directories {
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
}

pub(super) fn directories(entries: &mut Entries) -> Directories {
    let log = directory(entries, &keys::DATA_LOG_DIR);
    let data = directory(entries, &keys::DATA_DIR);
    if data.is_none() {
        entries.fault(keys::DATA_DIR.name, "is not set");
    }
    let data = data.unwrap_or_default();
    Directories { log: log.unwrap_or_else(|| data.clone()), data }
}

fn directory(entries: &mut Entries, key: &Key<Option<String>>) -> Option<PathBuf> {
    let text = entries.get(key)?;
    let is_built_in = entries.entry(key.name).is_some_and(|entry| entry.origin == Origin::BuiltIn);
    if text.is_empty() {
        entries.fault(key.name, "is empty");
    } else if text.contains(|c: char| c.is_control()) {
        let message = format!("{text:?} holds a control character: in the file, a backslash is written \\\\");
        entries.warn(key.name, message);
    } else if !text.starts_with('/') && !is_built_in {
        entries.remark(Severity::Note, key.name, "is relative to the directory the server starts in");
    }
    Some(PathBuf::from(text))
}

/// The name or address that clients connect to; `None` is every interface.
pub(super) fn client_port_address(entries: &mut Entries) -> Option<String> {
    address(entries, &keys::CLIENT_PORT_ADDRESS, &keys::CLIENT_PORT)
}

/// The same of clients with TLS.
pub(super) fn secure_client_port_address(entries: &mut Entries) -> Option<String> {
    address(entries, &keys::SECURE_CLIENT_PORT_ADDRESS, &keys::SECURE_CLIENT_PORT)
}

fn address(entries: &mut Entries, key: &Key<Option<String>>, port: &Row) -> Option<String> {
    let text = entries.get(key)?;
    if !entries.is_given(port) && !entries.is_unread {
        entries.fault(key.name, format!("is set and {} is not", port.name));
    }
    if text.is_empty() {
        // `InetAddress.getByName("")` is the loopback address.
        entries.warn(key.name, "empty reads as 127.0.0.1, as in Java");
        return Some("127.0.0.1".to_owned());
    }
    Some(without_brackets(&text).to_owned())
}

/// Says what keeps clients from connecting: no port, or a name without an address.
pub(super) fn check_client_port(entries: &mut Entries, config: &Config, lines: Lines, loader: &dyn Loader) {
    let is_given = entries.is_given(&keys::CLIENT_PORT) || entries.is_given(&keys::SECURE_CLIENT_PORT);
    let is_missing = config.client_port.is_none() && !is_given;
    if is_missing && lines == Lines::Taken {
        if config.is_distributed() {
            let message = "is not set: this member takes no clients, as in Java; it may be set in its own line, after a \
                           semicolon: server.N=host:port:port;2181";
            entries.warn(keys::CLIENT_PORT.name, message);
        } else {
            let message = "is not set: no client could connect; set clientPort=2181";
            entries.fault(keys::CLIENT_PORT.name, message);
        }
    }
    for (key, host) in [
        (&keys::CLIENT_PORT_ADDRESS, &config.client_port_address),
        (&keys::SECURE_CLIENT_PORT_ADDRESS, &config.secure_client_port_address),
    ] {
        if let Some(host) = host.as_deref().filter(|host| !is_ip(host))
            && let Err(error) = loader.resolve(host)
        {
            entries.fault(key.name, format!("{host} has no address: {error}"));
        }
    }
}

/// Source: `FourLetterCommands.isEnabled`; the default is zkfast's.
pub(super) fn four_letter_words(entries: &mut Entries) -> FourLetterWords {
    let list = entries.get(&keys::FOUR_LETTER_WORDS);
    let mut words = vec!["srvr".to_owned()];
    let mut all = false;
    for word in list.split(',').map(java_trim).filter(|w| !w.is_empty()) {
        if word == "*" {
            all = true;
            break;
        }
        if !FOUR_LETTER_WORDS.contains(&word) {
            entries.warn(keys::FOUR_LETTER_WORDS.name, format!("{word:?} is no four-letter word"));
        }
        if !words.iter().any(|w| w == word) {
            words.push(word.to_owned());
        }
    }
    if entries.get(&keys::READ_ONLY_MODE) && !words.iter().any(|w| w == "isro") {
        words.push("isro".to_owned());
    }
    FourLetterWords { all, words }
}

/// What a member of an ensemble does by itself.
pub(super) fn by_itself(entries: &Entries) -> ByItself {
    ByItself {
        local_sessions: entries.get(&keys::LOCAL_SESSIONS),
        upgrades_sessions: entries.get(&keys::LOCAL_SESSIONS_UPGRADING),
        read_only_mode: entries.get(&keys::READ_ONLY_MODE),
    }
}

/// Source: `EphemeralType`.
pub(super) fn extended_types(entries: &mut Entries) -> ExtendedTypes {
    match (entries.get(&keys::EXTENDED_TYPES), entries.get(&keys::EMULATE_353)) {
        (true, true) => ExtendedTypes::Emulate353,
        (true, false) => ExtendedTypes::On,
        (false, false) => ExtendedTypes::Off,
        (false, true) => {
            let message = "does nothing without extendedTypesEnabled=true, as in Java";
            entries.warn(keys::EMULATE_353.name, message);
            ExtendedTypes::Off
        }
    }
}

/// `client_host` is the address for clients of a server without a file, on which HTTP is served as well.
pub(super) fn admin(entries: &mut Entries, client_host: Option<&str>) -> AdminConfig {
    let client_host = client_host.filter(|_| !entries.is_given(&keys::ADMIN_ADDRESS));
    let address = client_host.map_or_else(|| entries.get(&keys::ADMIN_ADDRESS), str::to_owned);
    let url = entries.get(&keys::ADMIN_COMMAND_URL);
    if !url.starts_with('/') {
        let message = "does not begin with a slash: it reads as if it did; Java serves no HTTP with it";
        entries.warn(keys::ADMIN_COMMAND_URL.name, message);
    }
    AdminConfig {
        enabled: entries.get(&keys::ADMIN_ENABLED),
        tls: tls::admin(entries),
        force_https: entries.get(&keys::ADMIN_FORCE_HTTPS),
        address: without_brackets(&address).to_owned(),
        port: entries.get(&keys::ADMIN_PORT),
        command_url: format!("/{}", url.trim_matches('/')),
        idle_timeout_ms: entries.get(&keys::ADMIN_IDLE_TIMEOUT),
        snapshot_enabled: entries.get(&keys::ADMIN_SNAPSHOT_ENABLED),
        restore: match entries.get(&keys::ADMIN_RESTORE_ENABLED) {
            false => Restore::Off,
            true if entries.is_given(&keys::ADMIN_RESTORE_ENABLED) => Restore::On,
            true => Restore::UnlessOpen,
        },
        rate_limiter_interval_ms: entries.get(&keys::ADMIN_RATE_LIMITER_INTERVAL),
        trusts_forwarded_for: entries.get(&keys::USE_FORWARDED_FOR),
        console: entries.get(&keys::ADMIN_CONSOLE),
        shown: shown::shown(entries),
    }
}

pub(super) fn metrics(entries: &Entries) -> MetricsConfig {
    MetricsConfig {
        prometheus: entries.get(&keys::METRICS_CLASS).as_deref() == Some(classes::PROMETHEUS),
        http_host: entries.get(&keys::METRICS_HOST),
        http_port: entries.get(&keys::METRICS_PORT),
        export_jvm_info: entries.get(&keys::METRICS_JVM_INFO),
    }
}

/// An address of IPv6 without the brackets that Java takes around it. Source: `InetAddress.getByName`.
fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // An interface may be named after it.
    let is_v6 = |inner: &&str| inner.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    inner.filter(is_v6).unwrap_or(host)
}

/// True for an address, false for a name.
pub(super) fn is_ip(host: &str) -> bool {
    host.parse::<core::net::IpAddr>().is_ok()
}

/// Whether the process must leave no core dump: it holds private keys or passwords.
pub(super) fn core_dumps_off(entries: &Entries) -> bool {
    let holds_secrets = entries.is_given(&keys::JAAS_FILE)
        || tls::serves_clients(entries)
        || tls::takes_quorum_stores(entries);
    holds_secrets && !entries.get(&keys::ALLOW_CORE_DUMPS)
}
