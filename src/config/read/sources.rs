//! What each source has to say: built in, JVM flags, file, command line.

use super::super::finding::{Origin, Severity};
use super::super::key::{Place, Row};
use super::super::{Engine, Loader, Overrides, Sources, cores, keys, properties};
use super::entries::Entries;

/// Settings of all sources, the winning ones last.
pub(super) fn entries(sources: &Sources<'_>, loader: &dyn Loader) -> Entries {
    let mut entries = Entries::default();
    if sources.file.is_none() {
        for row in keys::KEYS {
            if let Some(text) = row.without_file {
                entries.push(row.name, text, Origin::BuiltIn);
            }
        }
    }
    for &(variable, flags) in sources.jvm_flags {
        jvm_flags(&mut entries, variable, flags);
    }
    if let Some(path) = sources.file {
        file(&mut entries, path, loader);
    }
    if let Some(overrides) = sources.overrides {
        command_line(&mut entries, overrides);
    }
    entries
}

/// Words of `JVMFLAGS` as zkServer.sh hands them on: split at blanks, quotes mean nothing.
fn jvm_flags(entries: &mut Entries, variable: &'static str, flags: &str) {
    let mut ignored = Vec::new();
    for word in flags.split_whitespace() {
        let Some(property) = word.strip_prefix("-D") else {
            ignored.push(word);
            continue;
        };
        let (key, value) = property.split_once('=').unwrap_or((property, ""));
        let is_bare = |row: &Row| matches!(row.place, Place::Jvm | Place::PropertyOrBare);
        if key.starts_with("zookeeper.") || keys::find(key).is_some_and(is_bare) {
            entries.push(key, value, Origin::Jvm { variable });
        }
    }
    if !ignored.is_empty() {
        let message = format!("{} ignored: there is no JVM", ignored.join(" "));
        entries.report(Severity::Warning, Some(Origin::Jvm { variable }), "", message);
    }
}

fn file(entries: &mut Entries, path: &str, loader: &dyn Loader) {
    let line = |line| Some(Origin::File { path: path.to_owned(), line });
    let bytes = match loader.read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            entries.is_unread = true;
            return entries.report(Severity::Error, line(0), "", format!("cannot be read: {error}"));
        }
    };
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        let message = "starts with a UTF-8 byte order mark, which Java reads as part of the first key";
        entries.report(Severity::Warning, line(0), "", message);
    }
    let found = match properties::parse(&bytes) {
        Ok(found) => found,
        Err(error) => {
            entries.is_unread = true;
            return entries.report(Severity::Error, line(error.line), "", error.to_string());
        }
    };
    for property in found {
        let origin = Origin::File { path: path.to_owned(), line: property.line };
        entries.push(&property.key, &property.value, origin);
        if property.non_ascii {
            let message = "read as Latin-1, as Java does; write \\uXXXX for anything else";
            entries.report_at(entries.all.len() - 1, Severity::Warning, message);
        }
    }
    entries.file = Some(bytes);
}

fn command_line(entries: &mut Entries, overrides: &Overrides) {
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    let flags: [(&Row, Option<String>); 7] = [
        (&keys::CLIENT_PORT, number(overrides.client_port.map(u32::from))),
        (&keys::CLIENT_PORT_ADDRESS, overrides.client_port_address.clone()),
        (&keys::DATA_DIR, overrides.data_dir.clone()),
        (&keys::DATA_LOG_DIR, overrides.data_log_dir.clone()),
        (&keys::TICK_TIME, number(overrides.tick_time_ms)),
        (&keys::MAX_CLIENT_CNXNS, number(overrides.max_client_cnxns)),
        (&keys::FOUR_LETTER_WORDS, overrides.four_letter_words.clone()),
    ];
    for (row, value) in flags {
        if let Some(value) = value {
            let name = row.flag.expect("a flag of the command line stands in the row of its key");
            entries.push(row.name, &value, Origin::Flag { name });
        }
    }
    for setting in &overrides.set {
        let origin = Origin::Flag { name: "--set" };
        match setting.split_once('=') {
            Some((key, value)) => entries.push(key, value, origin),
            None => entries.report(Severity::Error, Some(origin), setting, "is not KEY=VALUE"),
        }
    }
}

/// The CPUs that `--cores` lists; `None` without the flag, or where it was refused.
pub(super) fn cores(entries: &mut Entries, overrides: Option<&Overrides>) -> Option<Vec<usize>> {
    match cores::parse_cores(overrides?.cores.as_deref()?) {
        Ok(cores) => Some(cores),
        Err(error) => {
            let origin = Origin::Flag { name: "--cores" };
            entries.report(Severity::Error, Some(origin), "", error.to_string());
            None
        }
    }
}

/// The engine that `--engine` names; `None` without the flag, or where it was refused.
pub(super) fn engine(entries: &mut Entries, overrides: Option<&Overrides>) -> Option<Engine> {
    let name = overrides?.engine.as_deref()?;
    let known = [Engine::Epoll, Engine::Uring].into_iter().find(|engine| engine.name() == name);
    if known.is_none() {
        let message = format!("--engine {name:?}: neither epoll nor io_uring");
        entries.report(Severity::Error, Some(Origin::Flag { name: "--engine" }), "", message);
    }
    known
}
