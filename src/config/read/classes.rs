//! Names of Java classes in values.

use super::super::finding::Severity;
use super::super::keys;
use super::super::reading::shorten;
use super::super::suggest::suggestion;
use super::entries::{Entries, Entry};
use super::setting::Verdict;

/// Java classes that 3.9.4 has; a name that begins like these and is none of them is found nowhere.
const JAVA_PACKAGE: &str = "org.apache.zookeeper.";
const CNXN_FACTORIES: [&str; 2] = [
    "org.apache.zookeeper.server.NIOServerCnxnFactory",
    "org.apache.zookeeper.server.NettyServerCnxnFactory",
];
/// Those that a metrics provider may be.
pub(super) const METRICS_PROVIDERS: [&str; 3] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    PROMETHEUS,
];
/// The metrics provider that exports over HTTP.
pub(super) const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
pub(super) const DIGEST: &str = "org.apache.zookeeper.server.auth.DigestAuthenticationProvider";
const IP: &str = "org.apache.zookeeper.server.auth.IPAuthenticationProvider";
pub(super) const ENSEMBLE: &str = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
pub(super) const KEY: &str = "org.apache.zookeeper.server.auth.KeyAuthenticationProvider";
pub(super) const SASL: &str = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
pub(super) const X509: &str = "org.apache.zookeeper.server.auth.X509AuthenticationProvider";
/// Those that authenticate; zkfast has all their schemes.
pub(super) const AUTH_PROVIDERS: [&str; 6] = [DIGEST, ENSEMBLE, IP, KEY, SASL, X509];

/// True if an `authProvider.*` that counts names `class`. Source: `ProviderRegistry`.
pub(super) fn has_provider(entries: &Entries, class: &str) -> bool {
    let counts = |verdict| !matches!(verdict, Verdict::Overridden | Verdict::Unknown);
    entries.all.iter().any(|entry| {
        entry.row.is_some_and(|row| row.name == keys::AUTH_PROVIDER)
            && counts(entry.verdict)
            && entry.text() == class
    })
}

/// Looks at every name of a class. What 3.9.4 does not find in its own packages, it stumbles over; classes of others it may
/// have found beside it, and zkfast has no use for them.
pub(super) fn check(entries: &mut Entries) {
    for at in 0..entries.all.len() {
        let entry = &entries.all[at];
        let Some((known, severity)) = known_classes(entry) else { continue };
        let class = entry.text();
        if known.contains(&class) {
            continue;
        }
        let shown = shorten(class);
        if !class.starts_with(JAVA_PACKAGE) {
            let message = format!("{shown} is a Java class that zkfast has no use for");
            entries.report_at(at, Severity::Warning, message);
            continue;
        }
        let near = suggestion(class, known).map_or(String::new(), |near| format!("; did you mean {near}?"));
        let does = match severity {
            Severity::Error => "3.9.4 does not start with it",
            _ => "3.9.4 warns of it and goes on",
        };
        entries.report_at(at, severity, format!("there is no class {shown}: {does}{near}"));
    }
}

/// The classes that an entry may name, and how much another one matters to Java; `None` if the entry names none or does
/// not count.
fn known_classes(entry: &Entry) -> Option<(&'static [&'static str], Severity)> {
    if matches!(entry.verdict, Verdict::Overridden | Verdict::Unknown) || entry.is_file_only_in_jvm() {
        return None;
    }
    match entry.row?.name {
        name if name == keys::SERVER_CNXN_FACTORY.name => Some((&CNXN_FACTORIES, Severity::Error)),
        name if name == keys::METRICS_CLASS.name => Some((&METRICS_PROVIDERS, Severity::Error)),
        keys::AUTH_PROVIDER => Some((&AUTH_PROVIDERS, Severity::Warning)),
        _ => None,
    }
}
