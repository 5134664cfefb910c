//! What becomes of each setting: overridden, unknown, refused, without effect, effective.

use super::super::finding::{Origin, Severity};
use super::super::key::{Fate, Place, Row, Value};
use super::super::keys;
use super::classes;
use super::entries::{Entries, layer};
use super::setting::Verdict;
use super::tls;

/// Gives every entry its verdict, and says why.
pub(super) fn settle(entries: &mut Entries) {
    for at in 0..entries.all.len() {
        let entry = &entries.all[at];
        if let Some(winner) = entries.overriding(at) {
            let is_lost = layer(&winner.origin) == layer(&entry.origin) && winner.text() != entry.text();
            let message = format!("given again at {}, which counts", winner.origin);
            entries.all[at].verdict = Verdict::Overridden;
            entries.report_at(at, if is_lost { Severity::Warning } else { Severity::Note }, message);
        } else if let Some(row) = entry.row {
            known(entries, at, row);
        } else {
            let name = &entry.name;
            let message = if let Some(read) = keys::of_guide(name) {
                format!("ignored, as Java does: the guide calls it so, the server reads {read}")
            } else if let Some(near) = keys::near_miss(name) {
                format!("no key of ZooKeeper 3.9: ignored, as Java does; did you mean {near}?")
            } else {
                "no key of ZooKeeper 3.9: ignored, as Java does".to_owned()
            };
            entries.report_at(at, Severity::Warning, message);
        }
    }
}

/// A key of the table, in the entry that counts for it.
fn known(entries: &mut Entries, at: usize, row: &Row) {
    let entry = &entries.all[at];
    let text = entry.text().to_owned();
    let is_in_file = matches!(entry.origin, Origin::File { .. });
    if entry.is_file_only_in_jvm() {
        // Java has this one on both sides.
        if entry.name != keys::MULTI_ADDRESS.name {
            entries.all[at].verdict = Verdict::NoEffect;
            let message = "Java reads this key in the file only: no effect here either";
            return entries.report_at(at, Severity::Warning, message);
        }
    } else if entry.is_alias {
        let message = format!("Java wants {} here, without zookeeper.; zkfast takes both", entry.name);
        entries.report_at(at, Severity::Warning, message);
    } else if is_in_file && row.place == Place::Jvm && row.fate == Fate::Effective {
        let message = format!("Java reads it as -D{} only; zkfast obeys it here as well", row.name);
        let severity = if row.is_default(&text) { Severity::Note } else { Severity::Warning };
        entries.report_at(at, severity, message);
    }
    let reading = row.read(&text);
    let is_unread = is_of_absent_provider(entries, row);
    let is_without_port = is_of_absent_tls(entries, row);
    for (severity, message) in reading.remarks {
        entries.report_at(at, if is_unread { Severity::Note } else { severity }, message);
    }
    let is_on = reading.value == Some(Value::Bool(true));
    let warning_if = |is_missed| if is_missed { Severity::Warning } else { Severity::Note };
    let (severity, why) = match row.fate {
        Fate::Effective if is_unread => {
            (Severity::Note, "metricsProvider.className names no provider that reads it".to_owned())
        }
        _ if is_without_port => (Severity::Note, "nothing asks for TLS there".to_owned()),
        Fate::Effective => return,
        Fate::Missing(_) if row.name == keys::AUTH_PROVIDER && text == classes::KEY => {
            let message = "an example of ZooKeeper's, which every client passes that sends 0";
            return entries.report_at(at, Severity::Warning, message);
        }
        Fate::Missing(_)
            if row.name == keys::AUTH_PROVIDER && classes::AUTH_PROVIDERS.contains(&text.as_str()) =>
        {
            return;
        }
        Fate::RefusedWhenTrue(_) if !is_on => return,
        Fate::Refused(why) | Fate::RefusedWhenTrue(why) => (Severity::Error, why.to_owned()),
        Fate::Moot(why) => (Severity::Note, why.to_owned()),
        Fate::Missing(why) => (warning_if(!is_nothing_missed(entries, at, row)), why.to_owned()),
        Fate::MissingWhenTrue(why) => {
            (warning_if(is_on && !is_nothing_missed(entries, at, row)), why.to_owned())
        }
    };
    if entries.all[at].verdict == Verdict::Effective {
        entries.all[at].verdict = Verdict::NoEffect;
    }
    entries.report_at(at, severity, why);
}

/// True if the metrics provider is the one that exports over HTTP.
fn exports_metrics(entries: &Entries) -> bool {
    entries.get(&keys::METRICS_CLASS).as_deref() == Some(classes::PROMETHEUS)
}

/// True for a setting of the metrics provider that exports over HTTP, where another one is there: Java hands the text over, and
/// the other providers do not look at it. Source: `PrometheusMetricsProvider.configure`.
fn is_of_absent_provider(entries: &Entries, row: &Row) -> bool {
    let is_setting = row.name.starts_with("metricsProvider.") && row.name != keys::METRICS_CLASS.name;
    is_setting && !exports_metrics(entries)
}

/// True for a setting of TLS that nothing asks for, with clients or between servers.
fn is_of_absent_tls(entries: &Entries, row: &Row) -> bool {
    match row.name {
        keys::SSL => false,
        name if name.starts_with("ssl.quorum.") => !tls::takes_quorum_stores(entries),
        name => name.starts_with("ssl.") && !tls::serves_clients(entries),
    }
}

/// True if no user misses what a key without effect would do: its value asks for what zkfast does anyway, or belongs to
/// something that is not asked for.
fn is_nothing_missed(entries: &Entries, at: usize, row: &Row) -> bool {
    let text = entries.all[at].text();
    match row.name {
        name if name.starts_with("admin.") && !entries.get(&keys::ADMIN_ENABLED) => true,
        _ if is_of_absent_provider(entries, row) => true,
        _ => row.is_default(text),
    }
}
