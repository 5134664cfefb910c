//! The lines of the ensemble (server, group, weight, version), from zoo.cfg or from the dynamic file.

use super::super::ensemble::{Ensemble, Role, parse_version, version_of_file_name};
use super::super::finding::{Origin, Severity};
use super::super::properties::java_trim;
use super::super::properties::{self, Property};
use super::super::{Loader, keys};
use super::entries::{Entries, Entry};
use super::setting::Verdict;

/// What became of the server, group and weight lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// All of them were read.
    Taken,
    /// One was refused, or the file of them was not read: what is missing may be in it, and is no error of its own.
    Refused,
}

/// Whether a line may give several addresses. Java 3.9.4 looks for that among the JVM's properties, whatever the file says.
pub(super) fn multi_address(entries: &Entries) -> bool {
    entries.all.iter().any(|e| {
        e.name == keys::MULTI_ADDRESS.name
            && matches!(e.origin, Origin::Jvm { .. })
            && e.text().eq_ignore_ascii_case("true")
    })
}

/// Reads the lines where they belong: in zoo.cfg, or in the dynamic file if there is one.
pub(super) fn ensemble(entries: &mut Entries, loader: &dyn Loader) -> (Ensemble, Lines) {
    let multi_address = multi_address(entries);
    let dynamic_config_file = entries.get(&keys::DYNAMIC_CONFIG_FILE);
    let mut ensemble = Ensemble::default();
    let findings = entries.findings.len();
    for at in 0..entries.all.len() {
        let entry = &entries.all[at];
        if !entry.is_server_line() || entry.verdict != Verdict::Effective {
            continue;
        }
        let taken = match &dynamic_config_file {
            None => {
                let taken = ensemble.take(&entry.name, &entry.raw_value, multi_address);
                taken.map_err(|error| error.to_string())
            }
            Some(_) if entry.name == "version" => Ok(()),
            Some(_) => Err("belongs into dynamicConfigFile, which is set".to_owned()),
        };
        if let Err(message) = taken {
            entries.report_at(at, Severity::Error, message);
        }
    }
    if let Some(path) = &dynamic_config_file {
        dynamic_file(entries, path, &mut ensemble, multi_address, loader);
    }
    let is_refused = entries.findings[findings..].iter().any(|finding| finding.severity == Severity::Error);
    (ensemble, if is_refused { Lines::Refused } else { Lines::Taken })
}

/// The file that has the lines of the ensemble or names the file that does; `None` where something else gives some of them.
pub(super) fn file(entries: &Entries) -> Option<String> {
    let gives = |entry: &&Entry| entry.is_server_line() || entry.name == keys::DYNAMIC_CONFIG_FILE.name;
    let mut file = None;
    for entry in entries.all.iter().filter(gives) {
        let Origin::File { path, .. } = &entry.origin else { return None };
        file = Some(path.clone());
    }
    file
}

/// Reports what all lines together show, once all of them were read.
pub(super) fn check(entries: &mut Entries, ensemble: &Ensemble) {
    let is_standalone = entries.get(&keys::STANDALONE);
    for message in ensemble.check(is_standalone) {
        entries.report(Severity::Error, None, "", message);
    }
    if let Some((sid, Role::Participant)) = ensemble.servers.iter().next().map(|(sid, s)| (sid, s.role))
        && ensemble.servers.len() == 1
        && is_standalone
    {
        let message = "the only server line: this is a standalone server, as in Java";
        entries.warn(&format!("server.{sid}"), message);
    }
}

fn dynamic_file(
    entries: &mut Entries,
    path: &str,
    ensemble: &mut Ensemble,
    multi_address: bool,
    loader: &dyn Loader,
) {
    let bytes = match loader.read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("{path} cannot be read: {error}");
            return entries.fault(keys::DYNAMIC_CONFIG_FILE.name, message);
        }
    };
    let line = |line| Some(Origin::File { path: path.to_owned(), line });
    let found = match properties::parse(&bytes) {
        Ok(found) => found,
        Err(error) => return entries.report(Severity::Error, line(error.line), "", error.to_string()),
    };
    ensemble.version = version_of_file_name(path).unwrap_or(0);
    for (at, property) in found.iter().enumerate() {
        let key = java_trim(&property.key);
        let (severity, message) = if found[at + 1..].iter().any(|later| later.key == property.key) {
            (Severity::Warning, "given again further down, which counts".to_owned())
        } else {
            match dynamic_line(property, key, path) {
                Err(refusal) => refusal,
                Ok(()) => match ensemble.take(key, &property.value, multi_address) {
                    Ok(()) => continue,
                    Err(error) => (Severity::Error, error.to_string()),
                },
            }
        };
        entries.report(severity, line(property.line), key, message);
    }
}

/// Whether a line belongs into the dynamic file.
fn dynamic_line(property: &Property, key: &str, path: &str) -> Result<(), (Severity, String)> {
    if key == "version" {
        let version = parse_version(java_trim(&property.value));
        let wanted = version.map_or("N".to_owned(), |version| format!("{version:x}"));
        return Err((Severity::Error, format!("belongs into the name of the file: {path}.{wanted}")));
    }
    if !["server.", "group", "weight"].iter().any(|family| key.starts_with(family)) {
        let message = "is no server, group or weight line, and only those belong here";
        return Err((Severity::Error, message.to_owned()));
    }
    if property.key != key {
        // Java accepts the line and then does not find it.
        return Err((Severity::Warning, "blanks before the key: ignored".to_owned()));
    }
    Ok(())
}
