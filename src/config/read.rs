//! Settings of all sources, each checked by its row of the key table, into a [`Config`].

use core::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::ensemble::{ClientAddress, Ensemble, Role, parse_version, version_of_file_name};
use super::finding::{Finding, Origin, Severity};
use super::keys::{self, Effect, Key, Kind, Source};
use crate::tree::ExtendedTypes;

use super::suggest::suggestion;
use super::{
    AdminConfig, Config, DigestAlgorithm, Engine, FourLetterWords, Loader, MetricsConfig, Overrides,
    QuorumConfig, Sources, cores, number, properties,
};

/// zkfast without a file.
const BUILT_IN: [(&str, &str); 4] = [
    ("tickTime", "2000"),
    ("clientPort", "2181"),
    // Who tries it out does not open a port to the world.
    ("clientPortAddress", "127.0.0.1"),
    ("dataDir", "zkfast-data"),
];
/// `ZooKeeperServer.DEFAULT_TICK_TIME`, ms.
const TICK_TIME_MS_DEFAULT: i32 = 3000;
/// Hours between purges where the key is absent; Java never purges then, and disks fill up.
const PURGE_INTERVAL_HOURS_DEFAULT: i32 = 1;
const SNAP_SYNCS: &str = "leader.maxConcurrentSnapSyncs";
/// `LearnerMaster.DEFAULT_CONCURRENT_SNAPSYNCS`
const SNAP_SYNCS_DEFAULT: i32 = 10;
/// `QuorumPeerConfig.MIN_SNAP_RETAIN_COUNT`
const SNAP_RETAIN_COUNT_MIN: i32 = 3;
/// `ZKDatabase.DEFAULT_COMMIT_LOG_COUNT`
const COMMIT_LOG_COUNT_MIN: i32 = 500;
/// `EphemeralType.MAX_EXTENDED_SERVER_ID`: a TTL znode's owner begins with the byte above it.
const SID_MAX_WITH_TTL: i64 = 254;
const EMULATE_353: &str = "emulate353TTLNodes";
/// The last one whose sessions have positive ids.
const SID_MAX_EMULATING: i64 = 127;
/// `QuorumCnxManager.Listener.DEFAULT_PORT_BIND_MAX_RETRY`
const ELECTION_PORT_TRIES_DEFAULT: i32 = 3;
/// Java classes that 3.9.4 has; a name that begins like these and is none of them is found nowhere.
const JAVA_PACKAGE: &str = "org.apache.zookeeper.";
const CNXN_FACTORIES: [&str; 2] = [
    "org.apache.zookeeper.server.NIOServerCnxnFactory",
    "org.apache.zookeeper.server.NettyServerCnxnFactory",
];
const METRICS_PROVIDERS: [&str; 3] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    PROMETHEUS,
];
/// The one that exports over HTTP.
const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
const AUTH_PROVIDERS: [&str; 6] = [
    "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
    "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
    "org.apache.zookeeper.server.auth.KeyAuthenticationProvider",
    "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
    "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
];
/// Those of them whose schemes zkfast has, always.
const SERVED_AUTH_PROVIDERS: [&str; 2] = [
    "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
];
/// Keys beside `secureClientPort` that ask for TLS where they are true; without any, `ssl.*` does nothing in Java either.
const TLS_SWITCHES: [&str; 5] =
    ["client.portUnification", "sslQuorum", "portUnification", "admin.portUnification", "admin.forceHttps"];
/// Words of `FourLetterCommands`.
const FOUR_LETTER_WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchc", "wchp", "wchs",
];
/// JVM properties that Java reads with and without the prefix `zookeeper.`.
const BOTH_NAMES: [&str; 4] = [
    "fsync.warningthresholdms",
    "learner.asyncSending",
    "learner.closeSocketAsync",
    "leader.closeSocketAsync",
];

/// Headings of the administrator's guide under which the server reads another key.
#[rustfmt::skip]
const GUIDE_NAMES: [(&str, &str); 18] = [
    ("advancedFlowControlEnabled", "netty.advancedFlowControl.enabled"),
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    ("connectionDropIncrease", "connection_throttle_drop_increase"),
    ("connectionDropDecrease", "connection_throttle_drop_decrease"),
    ("connectionDecreaseRatio", "connection_throttle_decrease_ratio"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
    ("outstandingHandshake.limit", "netty.server.outstandingHandshake.limit"),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    ("requestStaleConnectionCheck", "request_stale_connection_check"),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
];

/// Flags that set a key.
const FLAGS: [(&str, &str); 7] = [
    ("--client-port", "clientPort"),
    ("--client-port-address", "clientPortAddress"),
    ("--data-dir", "dataDir"),
    ("--data-log-dir", "dataLogDir"),
    ("--tick-time", "tickTime"),
    ("--max-client-cnxns", "maxClientCnxns"),
    ("--four-letter-words", "4lw.commands.whitelist"),
];

/// What became of one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Does what it does in ZooKeeper.
    Effective,
    /// Known, and without effect.
    NoEffect,
    /// The reason why the server does not start.
    Refused,
    /// No key of 3.9.
    Unknown,
    /// A later setting of the same key counts.
    Overridden,
}

impl Verdict {
    /// In one or two words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::NoEffect => "no effect",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Overridden => "overridden",
        }
    }
}

/// One setting of any source, for `zkfast check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As written.
    pub key: String,
    /// As Java reads it, trimmed; `***` for secrets.
    pub shown: String,
    /// Where it stands.
    pub origin: Origin,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, or what else there is to say.
    pub notes: Vec<String>,
}

/// A [`Config`] and everything that was found on the way.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// To be used only where [`Loaded::is_ok`]; otherwise defaults stand in for what was refused.
    pub config: Config,
    /// Every setting in the order of the sources.
    pub settings: Vec<Setting>,
    /// In the same order.
    pub findings: Vec<Finding>,
}

impl Loaded {
    /// Whether no finding is an error.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|f| f.severity < Severity::Error)
    }
}

/// Reads all sources. Never fails: what is wrong is among the findings.
pub fn load(sources: &Sources<'_>, loader: &dyn Loader) -> Loaded {
    let mut reader = Reader::default();
    if sources.file.is_none() {
        for (key, value) in BUILT_IN {
            reader.push(key, value, Origin::BuiltIn);
        }
    }
    for &(variable, flags) in sources.jvm_flags {
        reader.push_jvm_flags(variable, flags);
    }
    if let Some(path) = sources.file {
        reader.push_file(path, loader);
    }
    if let Some(overrides) = sources.overrides {
        overrides.apply(&mut reader);
    }
    reader.settle();
    let config = reader.config(sources, loader);
    reader.finish(config)
}

impl Overrides {
    /// Adds what is given as the last and therefore winning settings.
    fn apply(&self, reader: &mut Reader) {
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        for (name, key, value) in [
            ("--client-port", "clientPort", number(self.client_port.map(u32::from))),
            ("--client-port-address", "clientPortAddress", self.client_port_address.clone()),
            ("--data-dir", "dataDir", self.data_dir.clone()),
            ("--data-log-dir", "dataLogDir", self.data_log_dir.clone()),
            ("--tick-time", "tickTime", number(self.tick_time_ms)),
            ("--max-client-cnxns", "maxClientCnxns", number(self.max_client_cnxns)),
            ("--four-letter-words", "4lw.commands.whitelist", self.four_letter_words.clone()),
        ] {
            if let Some(value) = value {
                reader.push(key, &value, Origin::Flag { name });
            }
        }
        for setting in &self.set {
            let origin = Origin::Flag { name: "--set" };
            match setting.split_once('=') {
                Some((key, value)) => reader.push(key, value, origin),
                None => reader.note(Severity::Error, Some(origin), setting, "is not KEY=VALUE".to_owned()),
            }
        }
    }
}

/// The text of a setting as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Text,
    Number(i64),
    Bool(bool),
}

struct Entry {
    /// As written.
    raw_key: String,
    /// As written.
    raw_value: String,
    /// Key of the table, or the key itself in families and where it is unknown.
    name: String,
    row: Option<&'static Key>,
    /// Written with a `zookeeper.` that Java does not look for there.
    alias: bool,
    origin: Origin,
    value: Option<Value>,
    verdict: Verdict,
    notes: Vec<String>,
}

impl Entry {
    /// As `QuorumPeerConfig` trims it.
    fn text(&self) -> &str {
        java_trim(&self.raw_value)
    }

    /// A key that Java reads in the file alone, given as a JVM property: nobody looks at it.
    fn file_only_in_jvm(&self) -> bool {
        matches!(self.origin, Origin::Jvm { .. }) && self.row.is_some_and(|row| row.source == Source::File)
    }

    fn secret(&self) -> bool {
        self.row.is_some_and(|row| row.kind == Kind::Secret)
            || self.name.to_ascii_lowercase().contains("password")
            || self.name.to_ascii_lowercase().contains("passwd")
    }
}

/// `String.trim`: everything up to the blank goes.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    findings: Vec<Finding>,
    cores: Option<Vec<usize>>,
    engine: Engine,
    /// The file was not read: what is missing may be in it.
    is_unread: bool,
    /// A server, group or weight line was refused, or the file of them was not read: what is missing may be in it.
    are_lines_refused: bool,
}

impl Reader {
    fn note(&mut self, severity: Severity, origin: Option<Origin>, key: &str, message: String) {
        self.findings.push(Finding { severity, origin, key: key.escape_debug().to_string(), message });
    }

    /// A finding about entry `at`, which also appears beside it in the report.
    fn about(&mut self, at: usize, severity: Severity, message: String) {
        let entry = &mut self.entries[at];
        entry.notes.push(message.clone());
        if severity == Severity::Error {
            entry.verdict = Verdict::Refused;
        }
        let (origin, key) = (entry.origin.clone(), entry.raw_key.clone());
        self.note(severity, Some(origin), java_trim(&key), message);
    }

    fn push(&mut self, raw_key: &str, raw_value: &str, origin: Origin) {
        let trimmed = java_trim(raw_key);
        let bare = trimmed
            .strip_prefix("zookeeper.")
            .filter(|bare| keys::find(bare).is_some_and(|row| row.kind != Kind::Server));
        // Server lines are looked for by the key as it stands, everything else by the trimmed one.
        let row =
            keys::find(bare.unwrap_or(trimmed)).filter(|row| row.kind != Kind::Server || raw_key == trimmed);
        self.entries.push(Entry {
            raw_key: raw_key.to_owned(),
            raw_value: raw_value.to_owned(),
            name: bare.unwrap_or(trimmed).to_owned(),
            row,
            alias: bare.is_some() && matches!(origin, Origin::File { .. } | Origin::Flag { .. }),
            origin,
            value: None,
            verdict: if row.is_some() { Verdict::Effective } else { Verdict::Unknown },
            notes: Vec::new(),
        });
    }

    /// Words of `JVMFLAGS` as zkServer.sh hands them on: split at blanks, quotes mean nothing.
    fn push_jvm_flags(&mut self, variable: &'static str, flags: &str) {
        let mut ignored = Vec::new();
        for word in flags.split_whitespace() {
            let Some(property) = word.strip_prefix("-D") else {
                ignored.push(word);
                continue;
            };
            let (key, value) = property.split_once('=').unwrap_or((property, ""));
            let origin = Origin::Jvm { variable };
            let bare =
                keys::find(key).is_some_and(|row| row.source == Source::Jvm) || BOTH_NAMES.contains(&key);
            if key.starts_with("zookeeper.") || bare {
                self.push(key, value, origin);
            }
        }
        if !ignored.is_empty() {
            let message = format!("{} ignored: there is no JVM", ignored.join(" "));
            self.note(Severity::Warning, Some(Origin::Jvm { variable }), "", message);
        }
    }

    fn push_file(&mut self, path: &str, loader: &dyn Loader) {
        let whole = || Some(Origin::File { path: path.to_owned(), line: 0 });
        let bytes = match loader.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.is_unread = true;
                return self.note(Severity::Error, whole(), "", format!("cannot be read: {error}"));
            }
        };
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            let message =
                "starts with a UTF-8 byte order mark, which Java reads as part of the first key".to_owned();
            self.note(Severity::Warning, whole(), "", message);
        }
        match properties::parse(&bytes) {
            Err(error) => {
                self.is_unread = true;
                let origin = Origin::File { path: path.to_owned(), line: error.line };
                self.note(Severity::Error, Some(origin), "", error.to_string());
            }
            Ok(found) => {
                for property in found {
                    let origin = Origin::File { path: path.to_owned(), line: property.line };
                    self.push(&property.key, &property.value, origin);
                    if property.non_ascii {
                        let at = self.entries.len() - 1;
                        let message =
                            "read as Latin-1, as Java does; write \\uXXXX for anything else".to_owned();
                        self.about(at, Severity::Warning, message);
                    }
                }
            }
        }
    }

    /// Decides which entry counts for each key and reads its text by its row.
    fn settle(&mut self) {
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            let winner = self
                .winner(&entry.name, entry.row.is_some())
                .filter(|winner| *winner != at && !entry.file_only_in_jvm());
            if let Some(winner) = winner {
                let winner = &self.entries[winner];
                let is_lost = layer(&winner.origin) == layer(&entry.origin) && winner.text() != entry.text();
                let message = format!("given again at {}, which counts", winner.origin);
                self.entries[at].verdict = Verdict::Overridden;
                self.about(at, if is_lost { Severity::Warning } else { Severity::Note }, message);
            } else if self.entries[at].row.is_none() {
                let name = &self.entries[at].name;
                let message = if let Some((_, read)) = GUIDE_NAMES.iter().find(|(guide, _)| guide == name) {
                    format!("ignored, as Java does: the guide calls it so, the server reads {read}")
                } else if let Some(near) = near_miss(name) {
                    format!("no key of ZooKeeper 3.9: ignored, as Java does; did you mean {near}?")
                } else {
                    "no key of ZooKeeper 3.9: ignored, as Java does".to_owned()
                };
                self.about(at, Severity::Warning, message);
            } else {
                self.read_value(at);
            }
        }
    }

    /// The entry that counts of those with this name: a later layer wins; within one, the key as Java knows it wins over
    /// its alias, then the last.
    fn winner(&self, name: &str, is_known: bool) -> Option<usize> {
        let same = |e: &Entry| e.name == name && e.row.is_some() == is_known && !e.file_only_in_jvm();
        let all = self.entries.iter().enumerate().filter(|(_, e)| same(e));
        all.max_by_key(|(at, e)| (layer(&e.origin), !e.alias, *at)).map(|(at, _)| at)
    }

    /// True if nobody misses what a key without effect would do: its value asks for what zkfast does anyway, or belongs to
    /// something that is not asked for.
    fn is_nothing_missed(&self, at: usize) -> bool {
        let entry = &self.entries[at];
        let text = entry.text();
        let given = |name: &str| self.winner(name, true).map(|at| self.entries[at].text());
        match entry.name.as_str() {
            // Its default is what is not there.
            "admin.enableServer" => text == "false",
            name if name.starts_with("admin.") && given("admin.enableServer") == Some("false") => true,
            "metricsProvider.className" => text != PROMETHEUS && METRICS_PROVIDERS.contains(&text),
            "metricsProvider.httpHost" | "metricsProvider.httpPort"
                if given("metricsProvider.className") != Some(PROMETHEUS) =>
            {
                true
            }
            name if name.starts_with("authProvider.") => SERVED_AUTH_PROVIDERS.contains(&text),
            name if name.starts_with("ssl.") => {
                let is_true = |name: &&str| given(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
                given("secureClientPort").is_none() && !TLS_SWITCHES.iter().any(is_true)
            }
            _ => entry.row.is_some_and(|row| is_default(row, text)),
        }
    }

    fn read_value(&mut self, at: usize) {
        let entry = &self.entries[at];
        let row = entry.row.expect("only known keys are read");
        let text = entry.text().to_owned();
        let in_file = matches!(entry.origin, Origin::File { .. });
        if entry.file_only_in_jvm() {
            if entry.name != "multiAddress.enabled" {
                self.entries[at].verdict = Verdict::NoEffect;
                let message = "Java reads this key in the file only: no effect here either".to_owned();
                self.about(at, Severity::Warning, message);
                return;
            }
        } else if entry.alias {
            let message = format!("Java wants {} here, without zookeeper.; zkfast takes both", entry.name);
            self.about(at, Severity::Warning, message);
        } else if in_file && row.source == Source::Jvm && row.effect == Effect::Effective {
            let message = format!("Java reads it as -D{} only; zkfast obeys it here as well", row.name);
            let severity = if is_default(row, &text) { Severity::Note } else { Severity::Warning };
            self.about(at, severity, message);
        }
        let hint = if text.contains('#') || text.contains('!') {
            "; a comment stands on a line of its own"
        } else {
            ""
        };
        let shown = shorten(&text);
        let value = match row.kind {
            Kind::Int | Kind::Long => {
                let parsed = if row.kind == Kind::Int {
                    number::parse_int(&text).map(i64::from)
                } else {
                    number::parse_long(&text)
                };
                if parsed.is_none() {
                    let bits = if row.kind == Kind::Int { 32 } else { 64 };
                    let message = format!("{shown} is not a decimal number of {bits} bits{hint}");
                    self.about(at, Severity::Error, message);
                }
                parsed.map(Value::Number)
            }
            Kind::Bool => {
                let parsed = number::strict_bool(&text);
                if parsed.is_none() {
                    self.about(at, Severity::Error, format!("{shown} is neither true nor false{hint}"));
                }
                parsed.map(Value::Bool)
            }
            Kind::PropInt | Kind::PropLong => {
                let parsed = if row.kind == Kind::PropInt {
                    number::decode_int(&text).map(i64::from)
                } else {
                    number::decode_long(&text)
                };
                match parsed {
                    None => {
                        let message = format!(
                            "{shown} is not a number: the default, {}, stays, as in Java{hint}",
                            row.default
                        );
                        self.about(at, Severity::Warning, message);
                    }
                    Some(number) if number.to_string() != text.trim_start_matches('+') => {
                        self.about(at, Severity::Note, format!("read as {number}"));
                    }
                    Some(_) => {}
                }
                parsed.map(Value::Number)
            }
            Kind::PropBool => {
                if number::strict_bool(&text).is_none() {
                    self.about(at, Severity::Warning, format!("{shown} reads as false, as in Java{hint}"));
                }
                Some(Value::Bool(text.eq_ignore_ascii_case("true")))
            }
            Kind::OnlyYes => {
                if text != "yes" && text != "no" {
                    self.about(at, Severity::Warning, format!("{shown} reads as no: only yes is yes{hint}"));
                }
                Some(Value::Bool(text == "yes"))
            }
            Kind::UnlessNo => {
                if text != "yes" && text != "no" {
                    self.about(at, Severity::Warning, format!("{shown} reads as yes: only no is no{hint}"));
                }
                Some(Value::Bool(text != "no"))
            }
            Kind::Text | Kind::Secret => {
                if text.contains(" #") {
                    let message =
                        "the # and what follows are part of the value: a comment stands on a line of its own";
                    self.about(at, Severity::Warning, message.to_owned());
                }
                if text.contains("${") {
                    let message = "${...} stays as it is: the file knows no variables".to_owned();
                    self.about(at, Severity::Warning, message);
                }
                Some(Value::Text)
            }
            Kind::Server => Some(Value::Text),
        };
        self.entries[at].value = value;
        let on = value == Some(Value::Bool(true));
        let off = value == Some(Value::Bool(false));
        let (severity, why) = match row.effect {
            Effect::Effective => return,
            Effect::Moot(why) => (Severity::Note, why),
            Effect::Missing(why) if row.kind == Kind::UnlessNo && !off => (Severity::Note, why),
            Effect::Missing(why) | Effect::MissingWhenTrue(why) if self.is_nothing_missed(at) => {
                (Severity::Note, why)
            }
            Effect::Missing(why) => (Severity::Warning, why),
            Effect::MissingWhenTrue(why) => (if on { Severity::Warning } else { Severity::Note }, why),
            Effect::Refused(why) => (Severity::Error, why),
            Effect::RefusedWhenTrue(why) if on => (Severity::Error, why),
            Effect::RefusedWhenTrue(_) => return,
        };
        if self.entries[at].verdict == Verdict::Effective {
            self.entries[at].verdict = Verdict::NoEffect;
        }
        self.about(at, severity, why.to_owned());
    }

    /// The entry that counts for a key.
    fn at(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|e| {
            e.name == name && e.row.is_some() && e.verdict != Verdict::Overridden && !e.file_only_in_jvm()
        })
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        match self.at(name).and_then(|at| self.entries[at].value) {
            Some(Value::Number(number)) => number,
            _ => default,
        }
    }

    fn int(&self, name: &str, default: i32) -> i32 {
        i32::try_from(self.number(name, i64::from(default))).expect("keys read as int are checked as int")
    }

    fn bool(&self, name: &str, default: bool) -> bool {
        match self.at(name).and_then(|at| self.entries[at].value) {
            Some(Value::Bool(value)) => value,
            _ => default,
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.at(name).map(|at| self.entries[at].text().to_owned())
    }

    /// An error at a key where it is given, or about the file as a whole.
    fn fault(&mut self, name: &str, message: String) {
        self.remark(Severity::Error, name, message);
    }

    fn remark(&mut self, severity: Severity, name: &str, message: String) {
        match self.at(name) {
            Some(at) => self.about(at, severity, message),
            // One cause, one error.
            None if self.is_unread => {}
            None => {
                let flag = FLAGS.iter().find(|(_, key)| *key == name);
                let or_flag = flag.map_or(String::new(), |(flag, _)| format!(" (or give {flag})"));
                self.note(severity, None, name, format!("{message}{or_flag}"));
            }
        }
    }

    /// A number that must be at least `min`: below it the server does not start.
    fn at_least(&mut self, name: &str, default: i32, min: i32) -> u32 {
        let number = self.int(name, default);
        if number < min {
            self.fault(name, format!("{number} is less than {min}"));
        }
        number.max(min).unsigned_abs()
    }

    /// A number below which there is no limit: 0 then.
    fn or_unlimited(&mut self, name: &str, default: i32) -> u32 {
        let number = self.int(name, default);
        if number < 0 {
            self.remark(Severity::Note, name, format!("{number} reads as 0"));
        }
        number.max(0).unsigned_abs()
    }

    fn port(&mut self, name: &str) -> Option<u16> {
        self.at(name)?;
        let number = self.int(name, 0);
        let port = u16::try_from(number);
        if port.is_err() {
            self.fault(name, format!("port {number} is not within 0 to 65535"));
        }
        port.ok()
    }

    fn config(&mut self, sources: &Sources<'_>, loader: &dyn Loader) -> Config {
        if let Some(list) = sources.overrides.and_then(|o| o.cores.as_deref()) {
            match cores::parse_cores(list) {
                Ok(cores) => self.cores = Some(cores),
                Err(error) => {
                    let origin = Origin::Flag { name: "--cores" };
                    self.note(Severity::Error, Some(origin), "", error.to_string());
                }
            }
        }
        if let Some(name) = sources.overrides.and_then(|o| o.engine.as_deref()) {
            match [Engine::Epoll, Engine::Uring].into_iter().find(|engine| engine.name() == name) {
                Some(engine) => self.engine = engine,
                None => {
                    let message = format!("--engine {name:?}: neither epoll nor io_uring");
                    self.note(Severity::Error, Some(Origin::Flag { name: "--engine" }), "", message);
                }
            }
        }
        let (data_dir, data_log_dir) = self.directories();
        let (tick_time_ms, min_session_timeout_ms, max_session_timeout_ms) = self.times();
        let client_port = self.port("clientPort");
        let mut client_port_address =
            self.text("clientPortAddress").map(|text| without_brackets(&text).to_owned());
        if client_port_address.is_some() && self.at("clientPort").is_none() && !self.is_unread {
            self.fault("clientPortAddress", "is set and clientPort is not".to_owned());
        }
        if client_port_address.as_deref() == Some("") {
            // `InetAddress.getByName("")` is the loopback address.
            self.remark(
                Severity::Warning,
                "clientPortAddress",
                "empty reads as 127.0.0.1, as in Java".to_owned(),
            );
            client_port_address = Some("127.0.0.1".to_owned());
        }
        let backlog = self.int("clientPortListenBacklog", -1);
        let read_only_mode_enabled = self.bool("readonlymode.enabled", false);
        let snap_retain_count = self.int("autopurge.snapRetainCount", SNAP_RETAIN_COUNT_MIN);
        if snap_retain_count < SNAP_RETAIN_COUNT_MIN {
            let message = format!("{snap_retain_count} reads as {SNAP_RETAIN_COUNT_MIN}, the least there is");
            self.remark(Severity::Warning, "autopurge.snapRetainCount", message);
        }
        let snap_count = self.int("snapCount", 100_000);
        if snap_count < 2 {
            self.remark(
                Severity::Warning,
                "snapCount",
                format!("{snap_count} reads as 2, the least there is"),
            );
        }
        if self.int("electionAlg", 3) != 3 {
            self.fault(
                "electionAlg",
                format!("{} is not 3, the only one there is", self.int("electionAlg", 3)),
            );
        }
        let digest_auth_enabled = self.bool("DigestAuthenticationProvider.enabled", true);
        let enforce_auth_schemes = self.enforce_auth(digest_auth_enabled);
        let standalone_enabled = self.bool("standaloneEnabled", true);
        self.quorum_sasl();
        self.classes();
        let quorum = self.quorum(standalone_enabled, &data_dir, loader);
        let mut config = Config {
            client_port,
            client_port_address,
            client_port_listen_backlog: u32::try_from(backlog).ok().filter(|&n| n > 0),
            data_dir,
            data_log_dir,
            data_dir_autocreate: self.bool("datadir.autocreate", true),
            tick_time_ms,
            min_session_timeout_ms,
            max_session_timeout_ms,
            max_client_cnxns: self.or_unlimited("maxClientCnxns", 60),
            max_cnxns: self.or_unlimited("maxCnxns", 0),
            sessionless_cnxn_timeout_ms: self.at_least("nio.sessionlessCnxnTimeout", 10_000, 1),
            client_tcp_keep_alive: self.bool("clientTcpKeepAlive", false),
            global_outstanding_limit: self.or_unlimited("globalOutstandingLimit", 1000),
            jute_max_buffer_bytes: self.at_least("jute.maxbuffer", 0xFFFFF, 1),
            snap_count: snap_count.max(2).unsigned_abs(),
            snap_size_limit_kb: self.number("snapSizeLimitInKb", 4_194_304).max(0).unsigned_abs(),
            snap_retain_count: snap_retain_count.max(SNAP_RETAIN_COUNT_MIN).unsigned_abs(),
            purge_interval_hours: self.or_unlimited("autopurge.purgeInterval", PURGE_INTERVAL_HOURS_DEFAULT),
            four_letter_words: self.four_letter_words(read_only_mode_enabled),
            skip_acl: self.bool("skipACL", false),
            extended_types: self.extended_types(),
            enforce_quota: self.bool("enforceQuota", false),
            digest_enabled: self.bool("digest.enabled", true),
            snapshot_trust_empty: self.bool("snapshot.trust.empty", false),
            close_session_txn_enabled: self.bool("closeSessionTxn.enabled", true),
            super_digest: self.super_digest(),
            digest_alg: self.digest_alg(),
            digest_auth_enabled,
            enforce_auth_schemes,
            container_check_interval_ms: self.at_least("znode.container.checkIntervalMs", 60_000, 1),
            container_max_per_minute: self.at_least("znode.container.maxPerMinute", 10_000, 1),
            container_max_never_used_interval_ms: self
                .number("znode.container.maxNeverUsedIntervalMs", 0)
                .max(0)
                .unsigned_abs(),
            standalone_enabled,
            reconfig_enabled: self.bool("reconfigEnabled", false),
            read_only_mode_enabled,
            cores: self.cores.clone(),
            engine: self.engine,
            quorum,
            admin: self.admin(),
            metrics: self.metrics(),
        };
        self.client_address_of_server_line(&mut config);
        if config.client_port.is_none() && self.at("clientPort").is_none() && !self.are_lines_refused {
            match config.is_distributed() {
                true => {
                    let message = "is not set: this member takes no clients, as in Java; it may be set in its own line, \
                                   after a semicolon: server.N=host:port:port;2181";
                    self.remark(Severity::Warning, "clientPort", message.to_owned());
                }
                false => self.fault(
                    "clientPort",
                    "is not set: no client could connect; set clientPort=2181".to_owned(),
                ),
            }
        }
        if let Some(host) = config.client_port_address.as_deref().filter(|host| !is_ip(host))
            && let Err(error) = loader.resolve(host)
        {
            self.fault("clientPortAddress", format!("{host} has no address: {error}"));
        }
        self.member(&config);
        if config.skip_acl {
            self.remark(
                Severity::Warning,
                "skipACL",
                "every client may read, change and delete everything".to_owned(),
            );
        }
        config
    }

    fn directories(&mut self) -> (PathBuf, PathBuf) {
        let mut directory = |name: &str| {
            let text = self.text(name)?;
            if text.is_empty() {
                self.fault(name, "is empty".to_owned());
            } else if text.contains(|c: char| c.is_control()) {
                let message =
                    format!("{text:?} holds a control character: in the file, a backslash is written \\\\");
                self.remark(Severity::Warning, name, message);
            } else if !text.starts_with('/')
                && self.at(name).is_some_and(|at| self.entries[at].origin != Origin::BuiltIn)
            {
                let message = "is relative to the directory the server starts in".to_owned();
                self.remark(Severity::Note, name, message);
            }
            Some(PathBuf::from(text))
        };
        let log = directory("dataLogDir");
        let data = directory("dataDir");
        if data.is_none() {
            self.fault("dataDir", "is not set".to_owned());
        }
        let data = data.unwrap_or_default();
        (data.clone(), log.unwrap_or(data))
    }

    fn times(&mut self) -> (u32, i32, i32) {
        let tick = self.int("tickTime", TICK_TIME_MS_DEFAULT);
        if tick <= 0 {
            self.fault("tickTime", format!("{tick} ms is less than 1 ms"));
            return (1, 2, 20);
        }
        // Java's int arithmetic, so that absurd ticks are refused or taken as there.
        let or_ticks = |given: i32, ticks: i32| if given == -1 { tick.wrapping_mul(ticks) } else { given };
        let min = or_ticks(self.int("minSessionTimeout", -1), 2);
        let max = or_ticks(self.int("maxSessionTimeout", -1), 20);
        if min > max {
            let name = ["minSessionTimeout", "maxSessionTimeout", "tickTime"]
                .into_iter()
                .find(|name| self.at(name).is_some())
                .unwrap_or("minSessionTimeout");
            let message = format!(
                "minSessionTimeout {min} ms is larger than maxSessionTimeout {max} ms (defaults are 2 and 20 ticks of \
                 {tick} ms)"
            );
            self.fault(name, message);
        }
        (tick.unsigned_abs(), min, max)
    }

    /// Source: `FourLetterCommands.isEnabled`; the default is zkfast's.
    fn four_letter_words(&mut self, read_only_mode_enabled: bool) -> FourLetterWords {
        const NAME: &str = "4lw.commands.whitelist";
        let Some(list) = self.text(NAME) else {
            let words = FourLetterWords::DEFAULT.map(str::to_owned).to_vec();
            return FourLetterWords { all: false, words };
        };
        let mut words = vec!["srvr".to_owned()];
        let mut all = false;
        for word in list.split(',').map(java_trim).filter(|w| !w.is_empty()) {
            if word == "*" {
                all = true;
                break;
            }
            if !FOUR_LETTER_WORDS.contains(&word) {
                self.remark(Severity::Warning, NAME, format!("{word:?} is no four-letter word"));
            }
            if !words.iter().any(|w| w == word) {
                words.push(word.to_owned());
            }
        }
        if read_only_mode_enabled && !words.iter().any(|w| w == "isro") {
            words.push("isro".to_owned());
        }
        FourLetterWords { all, words }
    }

    fn super_digest(&mut self) -> Option<String> {
        let text = self.text("DigestAuthenticationProvider.superDigest")?;
        if !text.split_once(':').is_some_and(|(user, hash)| !user.is_empty() && !hash.is_empty()) {
            let message =
                "is not user:base64(hash(user:password)), so nobody can be the super user".to_owned();
            self.remark(Severity::Warning, "DigestAuthenticationProvider.superDigest", message);
        }
        Some(text)
    }

    fn digest_alg(&mut self) -> DigestAlgorithm {
        const NAME: &str = "DigestAuthenticationProvider.digestAlg";
        let Some(text) = self.text(NAME) else { return DigestAlgorithm::default() };
        DigestAlgorithm::from_name(&text).unwrap_or_else(|| {
            self.fault(NAME, format!("{} is not SHA1 or a hash of the SHA-2 family", shorten(&text)));
            DigestAlgorithm::default()
        })
    }

    /// Source: `EphemeralType`.
    fn extended_types(&mut self) -> ExtendedTypes {
        let emulates = self.bool(EMULATE_353, false);
        match self.bool("extendedTypesEnabled", false) {
            true if emulates => ExtendedTypes::Emulate353,
            true => ExtendedTypes::On,
            false => {
                if emulates {
                    let message = "does nothing without extendedTypesEnabled=true, as in Java".to_owned();
                    self.remark(Severity::Warning, EMULATE_353, message);
                }
                ExtendedTypes::Off
            }
        }
    }

    /// Source: `QuorumCnxManager.Listener`.
    fn election_port_tries(&mut self) -> Option<u32> {
        const NAME: &str = "electionPortBindRetry";
        match self.int(NAME, ELECTION_PORT_TRIES_DEFAULT) {
            0 => None,
            tries if tries > 0 => Some(tries.unsigned_abs()),
            tries => {
                let message = format!("{tries} reads as {ELECTION_PORT_TRIES_DEFAULT}, as in Java");
                self.remark(Severity::Warning, NAME, message);
                Some(ELECTION_PORT_TRIES_DEFAULT.unsigned_abs())
            }
        }
    }

    /// Names of Java classes. What 3.9.4 does not find in its own packages, it stumbles over; classes of others it may
    /// have found beside it, and zkfast has no use for them.
    fn classes(&mut self) {
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            if matches!(entry.verdict, Verdict::Overridden | Verdict::Unknown) || entry.file_only_in_jvm() {
                continue;
            }
            let class = entry.text().to_owned();
            let (known, severity): (&[&str], _) = match entry.name.as_str() {
                "serverCnxnFactory" => (&CNXN_FACTORIES, Severity::Error),
                "metricsProvider.className" => (&METRICS_PROVIDERS, Severity::Error),
                name if name.starts_with("authProvider.") => (&AUTH_PROVIDERS, Severity::Warning),
                _ => continue,
            };
            if known.contains(&class.as_str()) {
                continue;
            }
            if !class.starts_with(JAVA_PACKAGE) {
                let message = format!("{} is a Java class that zkfast has no use for", shorten(&class));
                self.about(at, Severity::Warning, message);
                continue;
            }
            let near =
                suggestion(&class, known).map_or(String::new(), |near| format!("; did you mean {near}?"));
            let does = match severity {
                Severity::Error => "3.9.4 does not start with it",
                _ => "3.9.4 warns of it and goes on",
            };
            self.about(at, severity, format!("there is no class {}: {does}{near}", shorten(&class)));
        }
    }

    /// Source: `AuthenticationHelper`.
    fn enforce_auth(&mut self, digest_auth_enabled: bool) -> Option<Vec<String>> {
        const NAME: &str = "enforce.auth.schemes";
        if !self.bool("enforce.auth.enabled", false) {
            return None;
        }
        let Some(list) = self.text(NAME) else {
            self.fault("enforce.auth.enabled", format!("is true, so {NAME} must be set"));
            return None;
        };
        let schemes: Vec<String> = list.split(',').map(|s| java_trim(s).to_owned()).collect();
        for scheme in &schemes {
            if scheme != "ip" && !(scheme == "digest" && digest_auth_enabled) {
                let digest = if digest_auth_enabled { "digest and ip" } else { "ip" };
                self.fault(NAME, format!("scheme {} is not available (there is {digest})", shorten(scheme)));
            }
        }
        Some(schemes)
    }

    /// Source: `QuorumPeerConfig.parseProperties`.
    fn quorum_sasl(&mut self) {
        let enabled = self.bool("quorum.auth.enableSasl", false);
        let server = self.bool("quorum.auth.serverRequireSasl", false);
        let learner = self.bool("quorum.auth.learnerRequireSasl", false);
        if !enabled && server {
            self.fault("quorum.auth.serverRequireSasl", "wants quorum.auth.enableSasl=true".to_owned());
        }
        if !enabled && learner {
            self.fault("quorum.auth.learnerRequireSasl", "wants quorum.auth.enableSasl=true".to_owned());
        }
        if server && !learner {
            self.fault(
                "quorum.auth.serverRequireSasl",
                "wants quorum.auth.learnerRequireSasl=true".to_owned(),
            );
        }
    }

    fn admin(&mut self) -> AdminConfig {
        // The port is a plain property in Java: out of range, Jetty fails.
        let port = self.int("admin.serverPort", 8080);
        if u16::try_from(port).is_err() {
            self.fault("admin.serverPort", format!("port {port} is not within 0 to 65535"));
        }
        AdminConfig {
            enabled: self.text("admin.enableServer").as_deref() != Some("false"),
            address: self.text("admin.serverAddress").unwrap_or_else(|| "0.0.0.0".to_owned()),
            port: u16::try_from(port).unwrap_or(8080),
            command_url: self.text("admin.commandURL").unwrap_or_else(|| "/commands".to_owned()),
        }
    }

    fn metrics(&mut self) -> MetricsConfig {
        let class = self.text("metricsProvider.className").unwrap_or_default();
        let port = self.int("metricsProvider.httpPort", 7000);
        if u16::try_from(port).is_err() {
            self.fault("metricsProvider.httpPort", format!("port {port} is not within 0 to 65535"));
        }
        MetricsConfig {
            prometheus: class.ends_with(".PrometheusMetricsProvider"),
            http_host: self.text("metricsProvider.httpHost").unwrap_or_else(|| "0.0.0.0".to_owned()),
            http_port: u16::try_from(port).unwrap_or(7000),
        }
    }

    fn quorum(&mut self, standalone_enabled: bool, data_dir: &Path, loader: &dyn Loader) -> QuorumConfig {
        let multi_address = self.entries.iter().any(|e| {
            e.name == "multiAddress.enabled"
                && matches!(e.origin, Origin::Jvm { .. })
                && e.text().eq_ignore_ascii_case("true")
        });
        let dynamic_config_file = self.text("dynamicConfigFile");
        let mut ensemble = Ensemble::default();
        let findings = self.findings.len();
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            if entry.row.is_none_or(|row| row.kind != Kind::Server) || entry.verdict != Verdict::Effective {
                continue;
            }
            if dynamic_config_file.is_some() && entry.name != "version" {
                self.about(at, Severity::Error, "belongs into dynamicConfigFile, which is set".to_owned());
            } else if dynamic_config_file.is_none() {
                let (name, value) = (entry.name.clone(), entry.raw_value.clone());
                if let Err(message) = ensemble.take(&name, &value, multi_address) {
                    self.about(at, Severity::Error, message);
                }
            }
        }
        if let Some(path) = &dynamic_config_file {
            self.dynamic_file(path, &mut ensemble, multi_address, loader);
        }
        // What is missing then is no error of its own.
        self.are_lines_refused =
            self.findings[findings..].iter().any(|finding| finding.severity == Severity::Error);
        if !self.are_lines_refused {
            for message in ensemble.check(standalone_enabled) {
                self.note(Severity::Error, None, "", message);
            }
        }
        let is_only = ensemble.servers.len() == 1 && ensemble.participants() == 1;
        if is_only && standalone_enabled && !self.are_lines_refused {
            let sid = ensemble.servers.keys().next().copied().unwrap_or_default();
            let message = "the only server line: this is a standalone server, as in Java".to_owned();
            self.remark(Severity::Warning, &format!("server.{sid}"), message);
        }
        let my_id = self.my_id(data_dir, loader);
        let mut peer_type = Role::default();
        if let Some(text) = self.text("peerType") {
            match Role::parse(&text) {
                Ok(role) => peer_type = role,
                Err(message) => self.fault("peerType", message),
            }
        }
        let by_line = my_id.and_then(|id| ensemble.servers.get(&id)).map_or(Role::Participant, |s| s.role);
        if by_line != peer_type && !self.are_lines_refused {
            let message =
                format!("{peer_type:?} differs from the server lines, which say {by_line:?} and count");
            if self.at("peerType").is_some() {
                self.remark(Severity::Warning, "peerType", message.to_lowercase());
            }
            peer_type = by_line;
        }
        let commit_log_count = self.int("commitLogCount", COMMIT_LOG_COUNT_MIN);
        if commit_log_count < COMMIT_LOG_COUNT_MIN {
            let message = format!("{commit_log_count} reads as {COMMIT_LOG_COUNT_MIN}, the least there is");
            self.remark(Severity::Warning, "commitLogCount", message);
        }
        let commit_log_count = commit_log_count.max(COMMIT_LOG_COUNT_MIN).unsigned_abs();
        QuorumConfig {
            ensemble,
            my_id,
            dynamic_config_file,
            peer_type,
            init_limit_ticks: self.int("initLimit", 0),
            sync_limit_ticks: self.int("syncLimit", 0),
            listen_on_all_ips: self.bool("quorumListenOnAllIPs", false),
            tcp_keep_alive: self.bool("tcpKeepAlive", false),
            commit_log_count,
            max_concurrent_snap_syncs: self.int(SNAP_SYNCS, SNAP_SYNCS_DEFAULT).max(0).unsigned_abs(),
            force_snapshot_sync: self.bool("forceSnapshotSync", false),
            db_autocreate: self.bool("db.autocreate", true),
            election_port_tries: self.election_port_tries(),
        }
    }

    fn dynamic_file(
        &mut self,
        path: &str,
        ensemble: &mut Ensemble,
        multi_address: bool,
        loader: &dyn Loader,
    ) {
        let bytes = match loader.read(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault("dynamicConfigFile", format!("{path} cannot be read: {error}")),
        };
        let found = match properties::parse(&bytes) {
            Ok(found) => found,
            Err(error) => {
                let origin = Origin::File { path: path.to_owned(), line: error.line };
                return self.note(Severity::Error, Some(origin), "", error.to_string());
            }
        };
        ensemble.version = version_of_file_name(path).unwrap_or(0);
        for (at, property) in found.iter().enumerate() {
            let origin = Origin::File { path: path.to_owned(), line: property.line };
            let key = java_trim(&property.key);
            let family = ["server.", "group", "weight"].iter().any(|p| key.starts_with(p));
            let error = if found[at + 1..].iter().any(|later| later.key == property.key) {
                let message = "given again further down, which counts".to_owned();
                self.note(Severity::Warning, Some(origin.clone()), key, message);
                None
            } else if key == "version" {
                let wanted =
                    parse_version(java_trim(&property.value)).map_or("N".to_owned(), |v| format!("{v:x}"));
                Some(format!("belongs into the name of the file: {path}.{wanted}"))
            } else if !family {
                Some("is no server, group or weight line, and only those belong here".to_owned())
            } else if property.key != key {
                // Java accepts the line and then does not find it.
                self.note(
                    Severity::Warning,
                    Some(origin.clone()),
                    key,
                    "blanks before the key: ignored".to_owned(),
                );
                None
            } else {
                ensemble.take(key, &property.value, multi_address).err()
            };
            if let Some(message) = error {
                self.note(Severity::Error, Some(origin), key, message);
            }
        }
    }

    /// First line of `dataDir/myid`, exactly a number. Source: `QuorumPeerConfig.setupMyId`.
    fn my_id(&mut self, data_dir: &Path, loader: &dyn Loader) -> Option<i64> {
        let path = data_dir.join("myid");
        let path = path.to_str()?;
        if data_dir.as_os_str().is_empty() || !loader.is_file(path) {
            return None;
        }
        let origin = || Some(Origin::File { path: path.to_owned(), line: 0 });
        let bytes = match loader.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note(Severity::Error, origin(), "", format!("cannot be read: {error}"));
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let line = text.split(['\n', '\r']).next().unwrap_or_default();
        let id = number::parse_long(line);
        if id.is_none() {
            let message =
                format!("first line {} is not a server number (blanks around it count)", shorten(line));
            self.note(Severity::Error, origin(), "", message);
        }
        // Java's own mark for "no id".
        id.filter(|&id| id != -1)
    }

    /// The client part of this server's own line. Source: `QuorumPeerConfig.setupClientPort`.
    fn client_address_of_server_line(&mut self, config: &mut Config) {
        let servers = &config.quorum.ensemble.servers;
        let own = match config.quorum.my_id {
            Some(id) => servers.get(&id).and_then(|s| s.client.clone()),
            None if servers.len() == 1 && config.client_port.is_none() && !self.are_lines_refused => {
                // Java would listen nowhere.
                let only = servers.values().next().and_then(|s| s.client.clone());
                if only.is_some() {
                    let message = "there is no myid file; the client port is taken from the only server line"
                        .to_owned();
                    self.note(Severity::Warning, None, "", message);
                }
                only
            }
            None => None,
        };
        let Some(ClientAddress { host, port }) = own else { return };
        // A flag of the command line is meant to win, not to be compared.
        if self.at("clientPort").is_some_and(|at| matches!(self.entries[at].origin, Origin::Flag { .. })) {
            return;
        }
        if let Some(static_port) = config.client_port {
            let static_host = config.client_port_address.as_deref().filter(|h| !is_any(h));
            let same_host = match static_host {
                None => true,
                Some(a) => {
                    host.as_deref().is_some_and(|b| a.eq_ignore_ascii_case(b) || !is_ip(a) || !is_ip(b))
                }
            };
            if static_port != port || !same_host {
                let message = format!(
                    "{}:{static_port} differs from the client part of this server's own line, {}:{port}",
                    static_host.unwrap_or("*"),
                    host.as_deref().unwrap_or("*"),
                );
                self.fault("clientPort", message);
            }
        }
        config.client_port = Some(port);
        config.client_port_address = host;
    }

    /// What keeps a server of an ensemble from being one. Source: `QuorumPeerConfig.checkValidity`, `QuorumPeer.start`.
    fn member(&mut self, config: &Config) {
        let QuorumConfig { ensemble, my_id, init_limit_ticks, sync_limit_ticks, .. } = &config.quorum;
        if !config.is_distributed() || ensemble.participants() == 0 {
            return;
        }
        for (name, ticks, usual) in
            [("initLimit", *init_limit_ticks, 10), ("syncLimit", *sync_limit_ticks, 5)]
        {
            let at = self.at(name);
            if ticks < 1 && at.is_none_or(|at| self.entries[at].value.is_some()) {
                let is = at.map_or_else(|| "is not set".to_owned(), |_| format!("{ticks} is less than 1"));
                self.fault(name, format!("{is}: an ensemble wants a number of ticks; {usual} is usual"));
            }
        }
        let syncs = self.int(SNAP_SYNCS, SNAP_SYNCS_DEFAULT);
        if syncs < 1 {
            self.fault(SNAP_SYNCS, format!("{syncs} is less than 1: no observer could be given the tree"));
        }
        self.own_number(config);
        for (sid, message) in ensemble.collisions() {
            self.fault(&format!("server.{sid}"), message);
        }
        if let (Some(port), Some(own)) =
            (config.client_port, my_id.and_then(|sid| ensemble.servers.get(&sid)))
            && own.client.is_none()
            && own
                .addresses
                .iter()
                .any(|address| [address.quorum_port, address.election_port].contains(&port))
        {
            let message = format!("{port} is a port of this server's own line, server.{}, as well", own.sid);
            self.fault("clientPort", message);
        }
        if config.extended_types != ExtendedTypes::Off
            && let Some(sid) = ensemble.servers.keys().find(|sid| **sid > SID_MAX_WITH_TTL)
        {
            let message = format!(
                "true wants server numbers up to {SID_MAX_WITH_TTL}, and there is server.{sid}: its sessions would look \
                 like the marks of TTL znodes; give it another number"
            );
            self.fault("extendedTypesEnabled", message);
        }
        if config.extended_types == ExtendedTypes::Emulate353
            && let Some(sid) = ensemble.servers.keys().find(|sid| **sid > SID_MAX_EMULATING)
        {
            let message = format!(
                "ephemerals of sessions that begin at server.{sid} read as TTL nodes, as in Java: give it a number up to \
                 {SID_MAX_EMULATING}"
            );
            self.remark(Severity::Warning, EMULATE_353, message);
        }
        for (name, what) in [
            ("sslQuorum", "TLS"),
            ("quorum.auth.serverRequireSasl", "SASL"),
            ("quorum.auth.learnerRequireSasl", "SASL"),
        ] {
            if self.bool(name, false) {
                let message =
                    format!("true, and zkfast has no {what} between servers: set it to false on all of them");
                self.fault(name, message);
            }
        }
        let voters = ensemble.participants();
        if self.are_lines_refused {
            // They are not counted.
        } else if voters == 2 {
            let message = "2 servers with a vote serve only while both run: 3 go on without one".to_owned();
            self.note(Severity::Warning, None, "", message);
        } else if voters.is_multiple_of(2) {
            let message =
                format!("{voters} servers with a vote go on without as many as {} would", voters - 1);
            self.note(Severity::Note, None, "", message);
        }
    }

    /// Which of the servers this is.
    fn own_number(&mut self, config: &Config) {
        let file = config.data_dir.join("myid").display().to_string();
        let servers = &config.quorum.ensemble.servers;
        let numbers: Vec<String> = servers.keys().map(i64::to_string).collect();
        let numbers = numbers.join(", ");
        let origin = Some(Origin::File { path: file.clone(), line: 0 });
        match config.quorum.my_id {
            Some(id) if servers.contains_key(&id) => {}
            _ if self.are_lines_refused || config.data_dir.as_os_str().is_empty() => {}
            Some(id) => {
                let message = format!(
                    "says {id}, and there is no server.{id}: write which of {numbers} this server is, or add its line"
                );
                self.note(Severity::Error, origin, "", message);
            }
            // What stands there was refused already.
            None if self.findings.iter().any(|finding| finding.origin == origin) => {}
            None => {
                let message =
                    format!("{file} is missing: write which of {numbers} this server is, in digits alone");
                self.note(Severity::Error, None, "", message);
            }
        }
    }

    fn finish(self, config: Config) -> Loaded {
        let settings = self
            .entries
            .into_iter()
            .map(|entry| Setting {
                key: java_trim(&entry.raw_key).escape_debug().to_string(),
                shown: if entry.secret() {
                    "***".to_owned()
                } else {
                    entry.text().escape_debug().to_string()
                },
                origin: entry.origin,
                verdict: entry.verdict,
                notes: entry.notes,
            })
            .collect();
        Loaded { config, settings, findings: self.findings }
    }
}

fn layer(origin: &Origin) -> u8 {
    match origin {
        Origin::BuiltIn => 0,
        Origin::Jvm { .. } => 1,
        Origin::File { .. } => 2,
        Origin::Flag { .. } => 3,
    }
}

/// A value in quotes, cut where it would fill the screen.
fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// The key that was meant: one that differs in case, blanks or a byte order mark only, or in a few letters.
fn near_miss(name: &str) -> Option<&'static str> {
    let plain = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let plain = plain.strip_prefix("zookeeper.").unwrap_or(plain);
    let names: Vec<&'static str> = keys::KEYS.iter().map(|row| row.name).collect();
    names
        .iter()
        .find(|known| known.eq_ignore_ascii_case(plain))
        .copied()
        .or_else(|| suggestion(plain, &names))
}

/// True if `text` is what the key reads as where it is absent.
fn is_default(row: &Key, text: &str) -> bool {
    let same_number = || row.default.parse().is_ok_and(|default| number::decode_long(text) == Some(default));
    row.default != "none" && (text.eq_ignore_ascii_case(row.default) || same_number())
}

/// An address of IPv6 without the brackets that Java takes around it. Source: `InetAddress.getByName`.
fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // An interface may be named behind it.
    let is_v6 = |inner: &&str| inner.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    inner.filter(is_v6).unwrap_or(host)
}

fn is_ip(host: &str) -> bool {
    host.parse::<core::net::IpAddr>().is_ok()
}

fn is_any(host: &str) -> bool {
    host.parse::<core::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    struct OneFile<'a>(&'a str);

    impl Loader for OneFile<'_> {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            if path == "zoo.cfg" {
                Ok(self.0.as_bytes().to_vec())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        }

        fn is_file(&self, _: &str) -> bool {
            false
        }
    }

    const BASE: &str = "dataDir=/d\nclientPort=2181\n";

    fn with(lines: &str) -> Loaded {
        let text = format!("{BASE}{lines}");
        load(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &OneFile(&text))
    }

    fn ok(lines: &str) -> Config {
        let loaded = with(lines);
        assert!(loaded.is_ok(), "{lines:?}: {:?}", loaded.findings);
        loaded.config
    }

    fn said(loaded: &Loaded, severity: Severity) -> Vec<String> {
        loaded.findings.iter().filter(|f| f.severity == severity).map(ToString::to_string).collect()
    }

    fn refused(lines: &str) -> String {
        let errors = said(&with(lines), Severity::Error);
        assert!(!errors.is_empty(), "{lines:?} is accepted");
        errors.join("\n")
    }

    fn jvm(flags: &str, lines: &str) -> Loaded {
        let text = format!("{BASE}{lines}");
        let sources = Sources { file: Some("zoo.cfg"), jvm_flags: &[("JVMFLAGS", flags)], overrides: None };
        load(&sources, &OneFile(&text))
    }

    /// Without a file zkfast is standalone on 2181 with a tick of 2000 ms, and has nothing to say.
    #[test]
    fn no_file() {
        let loaded = load(&Sources::default(), &OneFile(""));
        assert_eq!(loaded.findings, []);
        let c = loaded.config;
        assert_eq!((c.client_port, c.tick_time_ms), (Some(2181), 2000));
        assert_eq!((c.min_session_timeout_ms, c.max_session_timeout_ms), (4000, 40000));
        assert_eq!(
            (c.data_dir.to_str(), c.data_log_dir.to_str()),
            (Some("zkfast-data"), Some("zkfast-data"))
        );
        assert!(!c.is_distributed());
    }

    /// Every default of a file that says next to nothing.
    #[test]
    fn defaults() {
        let c = ok("");
        assert_eq!(c.tick_time_ms, 3000);
        assert_eq!((c.max_client_cnxns, c.max_cnxns, c.global_outstanding_limit), (60, 0, 1000));
        assert_eq!((c.jute_max_buffer_bytes, c.sessionless_cnxn_timeout_ms), (0xFFFFF, 10_000));
        assert_eq!((c.snap_count, c.snap_size_limit_kb, c.snap_retain_count), (100_000, 4_194_304, 3));
        assert_eq!(c.purge_interval_hours, 1, "purging is on");
        assert_eq!((c.container_check_interval_ms, c.container_max_per_minute), (60_000, 10_000));
        assert_eq!(c.container_max_never_used_interval_ms, 0);
        assert_eq!((c.skip_acl, c.extended_types, c.enforce_quota), (false, ExtendedTypes::Off, false));
        assert_eq!(
            (c.digest_enabled, c.close_session_txn_enabled, c.digest_auth_enabled),
            (true, true, true)
        );
        assert_eq!((c.standalone_enabled, c.reconfig_enabled), (true, false));
        assert_eq!(
            (c.super_digest, c.digest_alg, c.enforce_auth_schemes),
            (None, DigestAlgorithm::Sha1, None)
        );
        assert_eq!((c.client_port_address, c.client_port_listen_backlog, c.cores), (None, None, None));
        for word in FourLetterWords::DEFAULT {
            assert!(c.four_letter_words.allows(word), "{word}");
        }
        assert!(!c.four_letter_words.allows("stat"));
    }

    /// Each key lands in its field.
    #[test]
    fn every_field() {
        let c = ok(
            "tickTime=1000\nminSessionTimeout=3000\nmaxSessionTimeout=9000\nmaxClientCnxns=0\nmaxCnxns=7\n\
             dataLogDir=/l\nclientPortAddress=::1\nclientPortListenBacklog=128\nglobalOutstandingLimit=5\n\
             snapCount=10\nsnapSizeLimitInKb=-1\nautopurge.snapRetainCount=4\nautopurge.purgeInterval=0\n\
             skipACL=yes\nextendedTypesEnabled=true\nenforceQuota=true\ndigest.enabled=false\n\
             closeSessionTxn.enabled=false\nlargeRequestMaxBytes=9\nlargeRequestThreshold=8\n\
             nio.sessionlessCnxnTimeout=6\nclientTcpKeepAlive=true\ndatadir.autocreate=false\nreconfigEnabled=true\n\
             DigestAuthenticationProvider.superDigest=super:x\nDigestAuthenticationProvider.digestAlg=sha-256\n\
             enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\ninitLimit=5\nsyncLimit=2\n\
             admin.serverPort=9090\nadmin.enableServer=false\nmetricsProvider.httpPort=7001\n\
             metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n",
        );
        assert_eq!((c.tick_time_ms, c.min_session_timeout_ms, c.max_session_timeout_ms), (1000, 3000, 9000));
        assert_eq!((c.max_client_cnxns, c.max_cnxns, c.global_outstanding_limit), (0, 7, 5));
        assert_eq!((c.data_dir.to_str(), c.data_log_dir.to_str()), (Some("/d"), Some("/l")));
        assert_eq!(
            (c.client_port_address.as_deref(), c.client_port_listen_backlog),
            (Some("::1"), Some(128))
        );
        assert_eq!(
            (c.snap_count, c.snap_size_limit_kb, c.snap_retain_count, c.purge_interval_hours),
            (10, 0, 4, 0)
        );
        assert_eq!((c.skip_acl, c.extended_types, c.enforce_quota), (true, ExtendedTypes::On, true));
        assert_eq!((c.digest_enabled, c.close_session_txn_enabled, c.reconfig_enabled), (false, false, true));
        assert_eq!(
            (c.sessionless_cnxn_timeout_ms, c.client_tcp_keep_alive, c.data_dir_autocreate),
            (6, true, false)
        );
        assert_eq!((c.super_digest.as_deref(), c.digest_alg), (Some("super:x"), DigestAlgorithm::Sha256));
        assert_eq!(c.enforce_auth_schemes, Some(vec!["digest".to_owned(), "ip".to_owned()]));
        assert_eq!((c.quorum.init_limit_ticks, c.quorum.sync_limit_ticks), (5, 2));
        assert_eq!((c.admin.enabled, c.admin.port), (false, 9090));
        assert_eq!((c.metrics.prometheus, c.metrics.http_port), (true, 7001));
    }

    /// The whitelist follows Java: blanks, `*`, srvr always, an empty list, read-only mode.
    #[test]
    fn four_letter_words() {
        let words = |lines: &str| ok(lines).four_letter_words;
        let list = words("4lw.commands.whitelist= stat , ruok,,\n");
        assert!(list.allows("stat") && list.allows("ruok") && list.allows("srvr"));
        assert!(!list.allows("mntr") && !list.allows("isro") && !list.allows("STAT"));
        assert!(words("4lw.commands.whitelist=stat,*,x\n").allows("wchp"));
        assert_eq!(words("4lw.commands.whitelist=\n").words(), Some(&["srvr".to_owned()][..]));
        assert!(words("4lw.commands.whitelist=ruok\nreadonlymode.enabled=true\n").allows("isro"));
        let odd = with("4lw.commands.whitelist=stats\n");
        assert_eq!(
            said(&odd, Severity::Warning),
            ["zoo.cfg:3: 4lw.commands.whitelist: \"stats\" is no four-letter word"]
        );
    }

    /// Properties that Java reads with `getInteger` take hexadecimal and octal and fall back with a warning.
    #[test]
    fn lenient_numbers() {
        assert_eq!(ok("snapCount=0x10\nglobalOutstandingLimit=010\n").snap_count, 16);
        assert_eq!(ok("snapCount=0x10\nglobalOutstandingLimit=010\n").global_outstanding_limit, 8);
        let many = with("snapCount=many\n");
        assert!(many.is_ok());
        assert_eq!(many.config.snap_count, 100_000);
        assert!(
            said(&many, Severity::Warning)[0]
                .contains("\"many\" is not a number: the default, 100000, stays")
        );
        assert_eq!(ok("snapCount=0\n").snap_count, 2);
        assert!(!ok("skipACL=true\n").skip_acl, "only yes is yes");
        assert!(!ok("enforceQuota=yes\n").enforce_quota, "only true is true");
    }

    /// Errors name file, line, key, value and what would be right.
    #[test]
    fn messages() {
        assert_eq!(
            refused("tickTime=2000 # ms\n"),
            "zoo.cfg:3: tickTime: \"2000 # ms\" is not a decimal number of 32 bits; a comment stands on a line of its own"
        );
        assert_eq!(
            refused("clientPort=70000\n"),
            "zoo.cfg:3: clientPort: port 70000 is not within 0 to 65535"
        );
        assert!(
            refused("minSessionTimeout=90000\n")
                .contains("90000 ms is larger than maxSessionTimeout 60000 ms")
        );
        assert!(
            refused("secureClientPort=2281\n").starts_with("zoo.cfg:3: secureClientPort: TLS is not served")
        );
        assert!(refused("sessionRequireClientSASLAuth=true\n").contains("SASL is not served"));
        assert!(refused("enforce.auth.enabled=true\n").contains("enforce.auth.schemes must be set"));
        assert!(
            refused("enforce.auth.enabled=true\nenforce.auth.schemes=sasl\n")
                .contains("\"sasl\" is not available")
        );
        assert!(refused("DigestAuthenticationProvider.digestAlg=MD5\n").contains("\"MD5\" is not SHA1"));
        assert!(refused("jute.maxbuffer=-1\n").contains("-1 is less than 1"));
        assert!(refused("znode.container.maxPerMinute=0\n").contains("0 is less than 1"));
        assert_eq!(
            refused("dataDir=\\u12\n").lines().next(),
            Some("zoo.cfg:3: \\u is not followed by four hexadecimal digits (a backslash is written \\\\)")
        );
    }

    /// TTL nodes of 3.5.3, a long `jute.maxbuffer`, tries to bind, an empty snapshot: as Java takes them.
    #[test]
    fn taken_as_java_does() {
        let types = |keys: &str| with(keys).config.extended_types;
        assert_eq!(types("emulate353TTLNodes=true\n"), ExtendedTypes::Off);
        assert_eq!(types("extendedTypesEnabled=true\n"), ExtendedTypes::On);
        let both = "emulate353TTLNodes=true\nextendedTypesEnabled=true\n";
        assert_eq!(types(both), ExtendedTypes::Emulate353);
        let alone = said(&with("emulate353TTLNodes=true\n"), Severity::Warning);
        assert!(alone[0].contains("does nothing without extendedTypesEnabled=true"), "{alone:?}");
        let config = with("jute.maxbuffer=134217728\nsnapshot.trust.empty=true\n").config;
        assert_eq!((config.jute_max_buffer_bytes, config.snapshot_trust_empty), (128 << 20, true));
        let tries =
            |value: &str| with(&format!("electionPortBindRetry={value}\n")).config.quorum.election_port_tries;
        assert_eq!(["0", "7", "-1"].map(tries), [None, Some(7), Some(3)]);
        assert_eq!(with("").config.quorum.election_port_tries, Some(3));
    }

    /// Classes of ZooKeeper's that 3.9.4 does not find keep it from starting, or are warned of, as there; of other
    /// people's classes nothing is known.
    #[test]
    fn classes() {
        let factory = "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactry\n";
        assert_eq!(
            refused(factory),
            "zoo.cfg:3: serverCnxnFactory: there is no class \"org.apache.zookeeper.server.NettyServerCnxnFactry\": \
             3.9.4 does not start with it; did you mean org.apache.zookeeper.server.NettyServerCnxnFactory?"
        );
        let metrics = "metricsProvider.className=org.apache.zookeeper.metrics.NoSuch\n";
        assert!(refused(metrics).contains("there is no class \"org.apache.zookeeper.metrics.NoSuch\""));
        for (keys, expected) in [
            ("authProvider.1=org.apache.zookeeper.server.auth.Nope\n", "3.9.4 warns of it and goes on"),
            ("metricsProvider.className=com.example.Metrics\n", "a Java class that zkfast has no use for"),
            ("serverCnxnFactory=com.example.Factory\n", "a Java class that zkfast has no use for"),
        ] {
            let loaded = with(keys);
            assert!(loaded.is_ok(), "{keys}");
            assert!(said(&loaded, Severity::Warning).iter().any(|line| line.contains(expected)), "{keys}");
        }
        let stock = "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
                     authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
        assert!(!said(&with(stock), Severity::Warning).iter().any(|line| line.contains("class")));
    }

    /// A clientPortAddress that has no address is an error, as in Java; a number is not looked up.
    #[test]
    fn client_port_address_without_an_address() {
        struct NoNames;
        impl Loader for NoNames {
            fn read(&self, _: &str) -> io::Result<Vec<u8>> {
                Ok(b"dataDir=/d\nclientPort=1\nclientPortAddress=zk.invalid\n".to_vec())
            }

            fn is_file(&self, _: &str) -> bool {
                false
            }

            fn resolve(&self, host: &str) -> io::Result<()> {
                assert_eq!(host, "zk.invalid");
                Err(io::Error::other("not known"))
            }
        }
        let loaded = load(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &NoNames);
        let expected = "zoo.cfg:3: clientPortAddress: zk.invalid has no address: not known";
        assert_eq!(said(&loaded, Severity::Error), [expected]);
        let overrides =
            Overrides { client_port_address: Some("10.0.0.1".to_owned()), ..Overrides::default() };
        let sources = Sources { file: Some("zoo.cfg"), overrides: Some(&overrides), ..Sources::default() };
        assert!(load(&sources, &NoNames).is_ok());
    }

    /// A file that is not there is an error with its name.
    #[test]
    fn missing_file() {
        let loaded = load(&Sources { file: Some("nowhere.cfg"), ..Sources::default() }, &OneFile(""));
        let errors = said(&loaded, Severity::Error);
        assert!(errors[0].starts_with("nowhere.cfg: cannot be read"));
        // One cause, one error.
        assert_eq!(errors.len(), 1, "{errors:?}");
    }

    /// Unknown keys warn and stop nothing; a slip in case or a byte order mark is recognized.
    #[test]
    fn unknown_keys() {
        let loaded = with("foo=1\nTickTime=5\n");
        assert!(loaded.is_ok());
        assert_eq!(loaded.config.tick_time_ms, 3000);
        let warnings = said(&loaded, Severity::Warning);
        assert_eq!(warnings[0], "zoo.cfg:3: foo: no key of ZooKeeper 3.9: ignored, as Java does");
        assert!(
            warnings[1].ends_with(
                "TickTime: no key of ZooKeeper 3.9: ignored, as Java does; did you mean tickTime?"
            )
        );
        let guide = said(&with("requestThrottleLimit=5\n"), Severity::Warning);
        assert!(guide[0].ends_with("the server reads request_throttle_max_requests"), "{guide:?}");
        assert!(
            GUIDE_NAMES.iter().all(|(guide, read)| keys::find(guide).is_none() && keys::find(read).is_some())
        );
    }

    /// What a user may miss warns, what nobody misses does not.
    #[test]
    fn without_effect() {
        let quiet =
            with("nio.numWorkerThreads=4\njvm.pause.monitor=true\npreAllocSize=100\nsyncEnabled=false\n");
        assert_eq!(said(&quiet, Severity::Warning), Vec::<String>::new());
        assert!(quiet.settings[2..].iter().all(|s| s.verdict == Verdict::NoEffect && !s.notes.is_empty()));
        assert_eq!(said(&with("forceSync=yes\n"), Severity::Warning), Vec::<String>::new());
        let unsafe_sync = said(&with("forceSync=no\n"), Severity::Warning);
        assert_eq!(
            unsafe_sync,
            ["zoo.cfg:3: forceSync: every acknowledged write is on disk: forceSync=no is ignored"]
        );
        let sasl = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
        assert!(said(&with(sasl), Severity::Warning)[0].contains("SASL and x509 are not served yet"));
        assert!(said(&with("audit.enable=true\n"), Severity::Warning)[0].contains("no audit log"));
        assert_eq!(said(&with("audit.enable=false\n"), Severity::Warning), Vec::<String>::new());
    }

    /// A key without effect warns where somebody misses what it asks for, and not where its value changes nothing.
    #[test]
    fn warnings_of_keys_without_effect() {
        const METRICS: &str = "metricsProvider.className=org.apache.zookeeper.metrics";
        let prometheus = format!("{METRICS}.prometheus.PrometheusMetricsProvider\n");
        let default = format!("{METRICS}.impl.DefaultMetricsProvider\n");
        let auth = "authProvider.1=org.apache.zookeeper.server.auth";
        for quiet in [
            "admin.enableServer=false\n",
            "admin.enableServer=false\nadmin.serverPort=9090\nadmin.serverAddress=::1\nadmin.forceHttps=true\n",
            "admin.serverPort=9090\nadmin.commandURL=/c\nadmin.enableServer=true\nadmin.enableServer=false\n",
            "admin.serverPort=8080\nadmin.serverAddress=0.0.0.0\nadmin.commandURL=/commands\n",
            &default,
            &format!("{METRICS}.impl.NullMetricsProvider\n"),
            &format!("metricsProvider.httpPort=7001\nmetricsProvider.httpHost=::1\n{default}"),
            "metricsProvider.httpPort=7000\n",
            "forceSync=yes\nleaderServes=yes\nobserverMasterPort=0\nfsync.warningthresholdms=1000\n",
            "request_throttle_max_requests=0\nthrottled_op_wait_time=0x0\nconnection_throttle_tokens=0\n",
            "localSessionsEnabled=false\nreconfigEnabled=false\naudit.enable=false\nsslQuorum=false\n",
            "ssl.keyStore.location=/k\nssl.clientAuth=need\n",
            &format!("{auth}.DigestAuthenticationProvider\n"),
            &format!("{auth}.IPAuthenticationProvider\n"),
            "jute.maxbuffer=1048575\n",
            "snapCount=7\nsnapCount=7\n",
        ] {
            let mut warnings = said(&with(quiet), Severity::Warning);
            warnings.retain(|line| !line.contains("given again"));
            assert_eq!(warnings, [""; 0], "{quiet}");
        }
        assert_eq!(said(&with("snapCount=7\nsnapCount=7\n"), Severity::Warning), [""; 0]);
        for (missed, expected) in [
            ("admin.enableServer=true\n", 1),
            ("admin.serverPort=9090\n", 1),
            (prometheus.as_str(), 1),
            (&format!("metricsProvider.httpPort=7001\n{prometheus}"), 2),
            ("observerMasterPort=2191\n", 1),
            ("oraclePath=none\n", 1),
            ("ssl.keyStore.location=/k\nclient.portUnification=true\n", 2),
            (&format!("{auth}.SASLAuthenticationProvider\n"), 1),
            ("jute.maxbuffer=1048576\n", 1),
            ("snapCount=7\nsnapCount=8\n", 1),
        ] {
            assert_eq!(said(&with(missed), Severity::Warning).len(), expected, "{missed}");
        }
    }

    /// What cannot be known because a line or a file was refused is no error of its own.
    #[test]
    fn one_cause_one_error() {
        let more = "server.2=b:3:4;22\nserver.3=c:5:6;23\n";
        let port = "clientPort=2181\n";
        let blank = "port \"21 \" is not a number (blanks around it count)";
        let pipes = "2 addresses want -Dzookeeper.multiAddress.enabled=true";
        for (cfg, expected) in [
            (format!("{LIMITS}server.1=a:1:2;21 \n{more}"), format!("zoo.cfg:4: server.1: {blank}")),
            (format!("{LIMITS}server.1=a:1:2|a:3:4;21\n{more}"), format!("zoo.cfg:4: server.1: {pipes}")),
            (format!("{LIMITS}server.1=a:1:2;21 \n"), format!("zoo.cfg:4: server.1: {blank}")),
            (
                format!("{LIMITS}server.1=a:1:2;21 \nserver.2=b:3:4;22\npeerType=observer\n"),
                format!("zoo.cfg:4: server.1: {blank}"),
            ),
            (
                "dataDir=/d\ndynamicConfigFile=/none\n".to_owned(),
                "zoo.cfg:2: dynamicConfigFile: /none cannot be read: entity not found".to_owned(),
            ),
            (
                format!("initLimit=10\nsyncLimit=5\n{THREE}{port}"),
                "dataDir: is not set (or give --data-dir)".to_owned(),
            ),
            (
                "dataDir=/d\nclientPort=70000\nclientPortAddress=127.0.0.1\n".to_owned(),
                "zoo.cfg:2: clientPort: port 70000 is not within 0 to 65535".to_owned(),
            ),
        ] {
            let loaded = member(&cfg, Some("1"));
            assert_eq!(said(&loaded, Severity::Error), [expected], "{cfg}");
            assert_eq!(said(&loaded, Severity::Warning), [""; 0], "{cfg}");
        }
        let overrides = Overrides { client_port_address: Some("::1".to_owned()), ..Overrides::default() };
        let sources = Sources { file: Some("nowhere"), overrides: Some(&overrides), ..Sources::default() };
        let errors = said(&load(&sources, &OneFile("")), Severity::Error);
        assert_eq!(errors, ["nowhere: cannot be read: entity not found"]);
    }

    /// An address of IPv6 may stand in brackets, in the file and as a flag; nothing else may.
    #[test]
    fn client_port_address_in_brackets() {
        let address = |text: &str| ok(&format!("clientPortAddress={text}\n")).client_port_address;
        assert_eq!(address("[::1]").as_deref(), Some("::1"));
        assert_eq!(address("[::]").as_deref(), Some("::"));
        assert_eq!(address("[fe80::1%eth0]").as_deref(), Some("fe80::1%eth0"));
        assert_eq!(address("[127.0.0.1]").as_deref(), Some("[127.0.0.1]"), "which has no address");
        let overrides = Overrides { client_port_address: Some("[::1]".to_owned()), ..Overrides::default() };
        let sources = Sources { file: Some("zoo.cfg"), overrides: Some(&overrides), ..Sources::default() };
        assert_eq!(load(&sources, &OneFile(BASE)).config.client_port_address.as_deref(), Some("::1"));
    }

    /// Keys with `zookeeper.` in front and JVM-only names work in the file, with a remark; the exact key wins.
    #[test]
    fn names_of_the_jvm() {
        let loaded =
            with("zookeeper.skipACL=yes\njute.maxbuffer=4194304\nznode.container.checkIntervalMs=50\n");
        assert!(loaded.is_ok() && loaded.config.skip_acl);
        assert_eq!(loaded.config.jute_max_buffer_bytes, 4_194_304);
        assert_eq!(loaded.config.container_check_interval_ms, 50);
        assert!(said(&loaded, Severity::Warning)[0].contains("Java wants skipACL here"));
        assert!(said(&loaded, Severity::Warning)[1].contains("-Djute.maxbuffer only"));
        assert_eq!(ok("snapCount=7\nzookeeper.snapCount=9\n").snap_count, 7);
    }

    /// `JVMFLAGS` sets what a JVM property sets, the file wins over it, the rest is named and ignored.
    #[test]
    fn jvm_flags() {
        let flags = "-Xmx1g -Dzookeeper.snapCount=5 -Djute.maxbuffer=0x200000 -Dcom.example=1 -Dzookeeper.skipACL=yes";
        let loaded = jvm(flags, "snapCount=6\n");
        assert_eq!((loaded.config.snap_count, loaded.config.jute_max_buffer_bytes), (6, 0x20_0000));
        assert!(loaded.config.skip_acl);
        let warnings = said(&loaded, Severity::Warning);
        assert_eq!(warnings[0], "JVMFLAGS: -Xmx1g ignored: there is no JVM");
        let file_only = jvm("-Dzookeeper.tickTime=5", "");
        assert_eq!(file_only.config.tick_time_ms, 3000);
        assert!(said(&file_only, Severity::Warning)[0].contains("in the file only"));
        let flags = [("JVMFLAGS", "-Dzookeeper.tickTime=5 -Dzookeeper.dataDir=/x")];
        let no_file = load(&Sources { jvm_flags: &flags, ..Sources::default() }, &OneFile(""));
        assert!(no_file.is_ok(), "{:?}", no_file.findings);
        assert_eq!(
            (no_file.config.tick_time_ms, no_file.config.data_dir.to_str()),
            (2000, Some("zkfast-data"))
        );
    }

    /// Several addresses per server want the JVM property, as in 3.9.4.
    #[test]
    fn multi_address() {
        let line = "server.1=a:1:2|b:3:4\n";
        assert!(refused(line).contains("-Dzookeeper.multiAddress.enabled=true"));
        assert!(refused(&format!("multiAddress.enabled=true\n{line}")).contains("2 addresses"));
        let loaded = jvm("-Dzookeeper.multiAddress.enabled=true", line);
        assert!(loaded.is_ok(), "{:?}", loaded.findings);
        assert_eq!(loaded.config.quorum.ensemble.servers[&1].addresses.len(), 2);
    }

    /// Flags win over the file, defaults follow them, and they are checked like the file.
    #[test]
    fn overrides() {
        let load_with = |overrides: &Overrides, text: &str| {
            let sources = Sources { file: Some("zoo.cfg"), jvm_flags: &[], overrides: Some(overrides) };
            load(&sources, &OneFile(text))
        };
        let overrides = Overrides {
            client_port: Some(9999),
            data_dir: Some("/flag".to_owned()),
            tick_time_ms: Some(500),
            cores: Some("0,2-3".to_owned()),
            set: vec!["snapCount=12".to_owned()],
            ..Overrides::default()
        };
        let loaded = load_with(&overrides, BASE);
        assert!(loaded.is_ok(), "{:?}", loaded.findings);
        let c = loaded.config;
        assert_eq!((c.client_port, c.snap_count, c.cores), (Some(9999), 12, Some(vec![0, 2, 3])));
        assert_eq!((c.data_dir.to_str(), c.data_log_dir.to_str()), (Some("/flag"), Some("/flag")));
        assert_eq!((c.min_session_timeout_ms, c.max_session_timeout_ms), (1000, 10_000));
        let only_flags = Overrides { data_dir: Some("/flag".to_owned()), ..Overrides::default() };
        assert!(load_with(&only_flags, "clientPort=1\n").is_ok(), "a flag stands in for a missing key");
        for wrong in [
            Overrides { cores: Some("x".to_owned()), ..Overrides::default() },
            Overrides { set: vec!["snapCount".to_owned()], ..Overrides::default() },
            Overrides { set: vec!["tickTime=x".to_owned()], ..Overrides::default() },
        ] {
            assert!(!load_with(&wrong, BASE).is_ok(), "{wrong:?}");
        }
    }

    /// One server line is a standalone server, with a warning; without a client port nothing starts.
    #[test]
    fn one_server_line() {
        let one = with("server.1=a:1:2\n");
        assert!(one.is_ok() && !one.config.is_distributed());
        assert!(said(&one, Severity::Warning)[0].contains("standalone server"));
        let sources = Sources { file: Some("zoo.cfg"), ..Sources::default() };
        let silent = load(&sources, &OneFile("dataDir=/d\n"));
        let expected =
            "clientPort: is not set: no client could connect; set clientPort=2181 (or give --client-port)";
        assert_eq!(said(&silent, Severity::Error), [expected]);
    }

    /// zoo.cfg and the file myid, if there is one.
    struct Member<'a> {
        cfg: &'a str,
        my_id: Option<&'a str>,
    }

    impl Loader for Member<'_> {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            let text =
                if path == "zoo.cfg" { Some(self.cfg) } else { self.my_id.filter(|_| path == "/d/myid") };
            text.map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn is_file(&self, path: &str) -> bool {
            self.read(path).is_ok()
        }
    }

    fn member(cfg: &str, my_id: Option<&str>) -> Loaded {
        load(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &Member { cfg, my_id })
    }

    const LIMITS: &str = "dataDir=/d\ninitLimit=10\nsyncLimit=5\n";
    const THREE: &str = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

    /// A member takes its client port from its own server line, or from clientPort, and needs no more than that.
    #[test]
    fn member_of_an_ensemble() {
        let lines = "server.1=a:1:2;2181\nserver.2=b:1:2:observer;127.0.0.1:2182\nserver.3=c:1:2;2183\nserver.4=e:1:2;2184\n";
        let loaded = member(&format!("{LIMITS}{lines}"), Some("2\n"));
        assert_eq!(loaded.findings, []);
        let c = loaded.config;
        assert!(c.is_distributed());
        assert_eq!((c.client_port, c.client_port_address.as_deref()), (Some(2182), Some("127.0.0.1")));
        assert_eq!((c.quorum.my_id, c.quorum.peer_type), (Some(2), Role::Observer));
        let loaded = member(
            &format!("{LIMITS}{THREE}clientPort=2181\ntcpKeepAlive=true\ncommitLogCount=900\n"),
            Some("3"),
        );
        assert_eq!(loaded.findings, []);
        assert_eq!(loaded.config.client_port, Some(2181));
        let quorum = loaded.config.quorum;
        assert_eq!((quorum.tcp_keep_alive, quorum.commit_log_count), (true, 900));
        assert_eq!((quorum.max_concurrent_snap_syncs, quorum.force_snapshot_sync), (10, false));
        let more = "clientPort=2181\nleader.maxConcurrentSnapSyncs=3\nforceSnapshotSync=true\n";
        let snaps = member(&format!("{LIMITS}{THREE}{more}"), Some("3"));
        assert_eq!(snaps.findings, []);
        let quorum = snaps.config.quorum;
        assert_eq!((quorum.max_concurrent_snap_syncs, quorum.force_snapshot_sync), (3, true));
        let few = member(&format!("{LIMITS}{THREE}clientPort=2181\ncommitLogCount=7\n"), Some("3"));
        assert_eq!(few.config.quorum.commit_log_count, 500);
        assert_eq!(
            said(&few, Severity::Warning),
            ["zoo.cfg:8: commitLogCount: 7 reads as 500, the least there is"]
        );
    }

    /// Whatever keeps a member from starting is one line: key, value, what to do.
    #[test]
    fn not_a_member() {
        let port = "clientPort=2181\n";
        let three = format!("{LIMITS}{THREE}");
        let refused = |cfg: &str, my_id: Option<&str>, expected: &str| {
            assert_eq!(said(&member(cfg, my_id), Severity::Error), [expected], "{cfg:?} {my_id:?}");
        };
        let with_port = |more: &str| format!("{three}{port}{more}");
        refused(
            &with_port(""),
            None,
            "/d/myid is missing: write which of 1, 2, 3 this server is, in digits alone",
        );
        refused(
            &with_port(""),
            Some("4"),
            "/d/myid: says 4, and there is no server.4: write which of 1, 2, 3 this server is, or add its line",
        );
        refused(
            &with_port(""),
            Some("one"),
            "/d/myid: first line \"one\" is not a server number (blanks around it count)",
        );
        let without = format!("dataDir=/d\n{THREE}{port}");
        refused(
            &format!("{without}syncLimit=5\n"),
            Some("1"),
            "initLimit: is not set: an ensemble wants a number of ticks; 10 is usual",
        );
        refused(
            &format!("{without}initLimit=10\nsyncLimit=0\n"),
            Some("1"),
            "zoo.cfg:7: syncLimit: 0 is less than 1: an ensemble wants a number of ticks; 5 is usual",
        );
        refused(
            &format!("{without}initLimit=-1\nsyncLimit=5\n"),
            Some("1"),
            "zoo.cfg:6: initLimit: -1 is less than 1: an ensemble wants a number of ticks; 10 is usual",
        );
        refused(
            &with_port("leader.maxConcurrentSnapSyncs=0\n"),
            Some("1"),
            "zoo.cfg:8: leader.maxConcurrentSnapSyncs: 0 is less than 1: no observer could be given the tree",
        );
        // A member without a client port serves the ensemble, as in Java.
        let portless = member(&three, Some("1"));
        assert!(portless.is_ok());
        assert_eq!(portless.config.client_port, None);
        assert!(said(&portless, Severity::Warning)[0].contains("this member takes no clients"));
        refused(
            &format!("{three}clientPort=3888\n"),
            Some("2"),
            "zoo.cfg:7: clientPort: 3888 is a port of this server's own line, server.2, as well",
        );
        refused(
            &format!("{LIMITS}{port}server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=A:2888:3888\n"),
            Some("1"),
            "zoo.cfg:7: server.3: quorum port A:2888 is the quorum port of server.1 as well: each server listens on ports \
             of its own",
        );
        refused(
            &format!("{LIMITS}server.1=a:1:2;5\nserver.2=a:3:4;5\nserver.3=b:1:2;5\n"),
            Some("1"),
            "zoo.cfg:5: server.2: client port a:5 is the client port of server.1 as well: each server listens on ports of \
             its own",
        );
        refused(
            &format!("{LIMITS}server.1=a:1:2;2\nserver.2=b:3:4;5\nserver.3=c:1:2;5\n"),
            Some("1"),
            "zoo.cfg:4: server.1: client port a:2 is the election port of server.1 as well: each server listens on ports of \
             its own",
        );
        let far = "server.1=a:1:2\nserver.2=b:1:2\nserver.255=c:1:2\n";
        assert_eq!(said(&member(&format!("{LIMITS}{port}{far}"), Some("1")), Severity::Error), [""; 0]);
        refused(
            &format!("{LIMITS}{port}{far}extendedTypesEnabled=true\n"),
            Some("1"),
            "zoo.cfg:8: extendedTypesEnabled: true wants server numbers up to 254, and there is server.255: its sessions \
             would look like the marks of TTL znodes; give it another number",
        );
        refused(
            &with_port("server.257=d:1:2\n"),
            Some("1"),
            "zoo.cfg:8: server.257: its number ends in the same byte as that of server.1, so that their sessions would get \
             the same ids: use numbers from 0 to 255",
        );
        refused(
            &with_port("sslQuorum=true\n"),
            Some("1"),
            "zoo.cfg:8: sslQuorum: true, and zkfast has no TLS between servers: set it to false on all of them",
        );
    }

    /// Numbers of servers that help nobody are mentioned.
    #[test]
    fn how_many_servers() {
        let of = |servers: usize| {
            let lines: String = (1..=servers).map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect();
            member(&format!("{LIMITS}clientPort=2181\n{lines}"), Some("1"))
        };
        assert_eq!(of(3).findings, []);
        assert_eq!(
            said(&of(2), Severity::Warning),
            ["2 servers with a vote serve only while both run: 3 go on without one"]
        );
        assert_eq!(said(&of(4), Severity::Note), ["4 servers with a vote go on without as many as 3 would"]);
    }

    /// Nothing that is read as a secret appears in settings or findings.
    #[test]
    fn secrets_stay_hidden() {
        let loaded = with(
            "ssl.keyStore.password=hunter2\nDigestAuthenticationProvider.superDigest=hunter2\n\
             zookeeper.ssl.trustStore.password=hunter2\nSASLAuthenticationProvider.superPassword=hunter2\n\
             my.password=hunter2\n",
        );
        assert!(!format!("{:?} {:?}", loaded.settings, loaded.findings).contains("hunter2"));
    }
}
