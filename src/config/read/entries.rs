//! The settings of all sources in their order: which of them counts for a key, and what was found about them.

use super::super::finding::{Finding, Origin, Severity};
use super::super::key::{Key, Kind, Place, Row, Taken, Value};
use super::super::keys;
use super::super::properties::java_trim;
use super::setting::{Setting, Verdict};

/// What stands in place of a secret.
pub(super) const HIDDEN: &str = "***";

/// One setting as its source has it.
pub(super) struct Entry {
    /// As written.
    pub(super) raw_key: String,
    /// As written.
    pub(super) raw_value: String,
    /// Key of the table, or the key itself in families and where it is unknown.
    pub(super) name: String,
    pub(super) row: Option<&'static Row>,
    /// Written with a `zookeeper.` that Java does not look for there.
    pub(super) is_alias: bool,
    pub(super) origin: Origin,
    pub(super) verdict: Verdict,
    notes: Vec<String>,
}

impl Entry {
    /// As `QuorumPeerConfig` trims it.
    pub(super) fn text(&self) -> &str {
        java_trim(&self.raw_value)
    }

    /// `None` where the text is no value of the key, or one outside of its limits.
    pub(super) fn value(&self) -> Option<Value<'_>> {
        self.row?.read(self.text()).value
    }

    /// A key that Java reads in the file alone, given as a JVM property, which has no effect.
    pub(super) fn is_file_only_in_jvm(&self) -> bool {
        matches!(self.origin, Origin::Jvm { .. }) && self.row.is_some_and(|row| row.place == Place::File)
    }

    /// True for a server, group, weight or version line.
    pub(super) fn is_server_line(&self) -> bool {
        self.row.is_some_and(|row| row.kind == Kind::Server)
    }

    /// True if no report may show the value.
    pub(super) fn is_secret(&self) -> bool {
        is_secret(&self.name)
    }
}

/// True if no report may show the value of this key. Names of no key are judged by what they look like.
pub(super) fn is_secret(name: &str) -> bool {
    let bare = name.strip_prefix("zookeeper.").unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    keys::find(bare).is_some_and(|row| row.kind == Kind::Secret)
        || ["password", "passwd", "secret", "superdigest"].iter().any(|word| lower.contains(word))
}

/// Settings, least important source first, with what was found about them.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) all: Vec<Entry>,
    pub(super) findings: Vec<Finding>,
    /// The file's bytes.
    pub(super) file: Option<Vec<u8>>,
    /// The file was not read: what is missing may be in it.
    pub(super) is_unread: bool,
}

impl Entries {
    pub(super) fn push(&mut self, raw_key: &str, raw_value: &str, origin: Origin) {
        let trimmed = java_trim(raw_key);
        let bare = trimmed
            .strip_prefix("zookeeper.")
            .filter(|bare| keys::find(bare).is_some_and(|row| row.kind != Kind::Server));
        // Java looks for server lines by the key as it stands, for everything else by the trimmed one.
        let row =
            keys::find(bare.unwrap_or(trimmed)).filter(|row| row.kind != Kind::Server || raw_key == trimmed);
        self.all.push(Entry {
            raw_key: raw_key.to_owned(),
            raw_value: raw_value.to_owned(),
            name: bare.unwrap_or(trimmed).to_owned(),
            row,
            is_alias: bare.is_some() && matches!(origin, Origin::File { .. } | Origin::Flag { .. }),
            origin,
            verdict: if row.is_some() { Verdict::Effective } else { Verdict::Unknown },
            notes: Vec::new(),
        });
    }

    /// The entry that counts of those with this name: a later source wins; within one, the key as Java knows it wins over
    /// its alias, then the last.
    fn winner(&self, name: &str, is_known: bool) -> Option<usize> {
        let same = |e: &Entry| e.name == name && e.row.is_some() == is_known && !e.is_file_only_in_jvm();
        let all = self.all.iter().enumerate().filter(|(_, e)| same(e));
        all.max_by_key(|(at, e)| (layer(&e.origin), !e.is_alias, *at)).map(|(at, _)| at)
    }

    /// The entry that counts instead of the one at `at`.
    pub(super) fn overriding(&self, at: usize) -> Option<&Entry> {
        let entry = &self.all[at];
        let winner = self.winner(&entry.name, entry.row.is_some())?;
        (winner != at && !entry.is_file_only_in_jvm()).then(|| &self.all[winner])
    }

    /// The place of the entry that counts for a key.
    pub(super) fn at(&self, name: &str) -> Option<usize> {
        self.winner(name, true)
    }

    /// The entry that counts for a key.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.at(name).map(|at| &self.all[at])
    }

    /// True if a source has the key, whatever its value.
    pub(super) fn is_given(&self, row: &Row) -> bool {
        self.at(row.name).is_some()
    }

    /// True if the value of the key was refused.
    pub(super) fn is_refused(&self, row: &Row) -> bool {
        self.entry(row.name).is_some_and(|entry| entry.verdict == Verdict::Refused)
    }

    /// The value of a key, or its default where it is absent or was refused.
    pub(super) fn get<T: Taken>(&self, key: &Key<T>) -> T {
        T::take(self.entry(key.name).and_then(Entry::value).or(key.default))
    }

    /// A finding about a place, or about what is missing in all of them.
    pub(super) fn report(
        &mut self,
        severity: Severity,
        origin: Option<Origin>,
        key: &str,
        message: impl Into<String>,
    ) {
        let (key, message) = (key.escape_debug().to_string(), message.into());
        self.findings.push(Finding { severity, origin, key, message });
    }

    /// A finding about the entry at `at`, which also appears beside it in the report.
    pub(super) fn report_at(&mut self, at: usize, severity: Severity, message: impl Into<String>) {
        let (entry, message) = (&mut self.all[at], message.into());
        entry.notes.push(message.clone());
        if severity == Severity::Error {
            entry.verdict = Verdict::Refused;
        }
        let (origin, key) = (entry.origin.clone(), entry.raw_key.clone());
        self.report(severity, Some(origin), java_trim(&key), message);
    }

    /// A finding about a key, at the entry that counts for it if there is one.
    pub(super) fn remark(&mut self, severity: Severity, name: &str, message: impl Into<String>) {
        match self.at(name) {
            Some(at) => self.report_at(at, severity, message),
            // One cause, one error.
            None if self.is_unread => {}
            None => {
                let flag = keys::find(name).and_then(|row| row.flag);
                let or_flag = flag.map_or(String::new(), |flag| format!(" (or give {flag})"));
                self.report(severity, None, name, message.into() + &or_flag);
            }
        }
    }

    /// An error about a key.
    pub(super) fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.remark(Severity::Error, name, message);
    }

    /// A warning about a key.
    pub(super) fn warn(&mut self, name: &str, message: impl Into<String>) {
        self.remark(Severity::Warning, name, message);
    }

    /// A note about a key.
    pub(super) fn note(&mut self, name: &str, message: impl Into<String>) {
        self.remark(Severity::Note, name, message);
    }

    /// All of them for `zkfast check`, and the findings.
    pub(super) fn into_report(self) -> (Vec<Setting>, Vec<Finding>) {
        let shown = |entry: &Entry| {
            if entry.is_secret() { HIDDEN.to_owned() } else { entry.text().escape_debug().to_string() }
        };
        let settings = self.all.into_iter().map(|entry| Setting {
            key: java_trim(&entry.raw_key).escape_debug().to_string(),
            shown: shown(&entry),
            origin: entry.origin,
            verdict: entry.verdict,
            notes: entry.notes,
        });
        (settings.collect(), self.findings)
    }
}

/// Rank of a source: the greatest counts.
pub(super) fn layer(origin: &Origin) -> u8 {
    match origin {
        Origin::BuiltIn => 0,
        Origin::Jvm { .. } => 1,
        Origin::File { .. } => 2,
        Origin::Flag { .. } => 3,
    }
}
