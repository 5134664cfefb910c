//! The sources as people may see them over HTTP: everything but secrets.

use super::super::Shown;
use super::super::finding::Origin;
use super::super::key::Place;
use super::super::properties;
use super::entries::{Entries, Entry, HIDDEN, is_secret};
use std::collections::BTreeMap;

/// The file and the properties, secrets hidden.
pub(super) fn shown(entries: &Entries) -> Shown {
    let file = entries.file.as_deref().map(without_secrets);
    let mut properties = BTreeMap::new();
    for (at, entry) in entries.all.iter().enumerate() {
        if let Some(name) = property(entry)
            && entries.overriding(at).is_none()
        {
            let value = if entry.is_secret() { HIDDEN } else { entry.text() };
            properties.insert(name, value.to_owned());
        }
    }
    // All of them are known once everything is read.
    Shown { file, properties: properties.into_iter().collect(), settings: Vec::new() }
}

/// The name that an entry has among Java's system properties, if it is one: what the file sets becomes one unless Java
/// knows it by name. Source: `QuorumPeerConfig.parseProperties`.
fn property(entry: &Entry) -> Option<String> {
    let with_prefix = || match entry.name.strip_prefix("zookeeper.") {
        Some(_) => entry.name.clone(),
        None => format!("zookeeper.{}", entry.name),
    };
    if entry.is_server_line() {
        return Some(format!("zookeeper.{}", entry.raw_key));
    }
    match entry.row.map(|row| row.place) {
        Some(Place::File) => None,
        Some(Place::Jvm) => Some(entry.name.clone()),
        Some(Place::PropertyOrBare) if entry.raw_key == entry.name && is_of_jvm(entry) => {
            Some(entry.name.clone())
        }
        Some(Place::Property | Place::PropertyOrBare) | None => Some(with_prefix()),
    }
}

fn is_of_jvm(entry: &Entry) -> bool {
    matches!(entry.origin, Origin::Jvm { .. })
}

/// The file's text, in which [`HIDDEN`] stands for the value of each secret, also where the line is a comment.
fn without_secrets(bytes: &[u8]) -> String {
    // The reader refuses a file that has no properties, and no server starts with it.
    let found = properties::parse(bytes).unwrap_or_default();
    let secret: BTreeMap<u32, String> = found
        .into_iter()
        .filter(|property| is_secret(property.key.trim()))
        .map(|property| (property.line, property.key))
        .collect();
    let (mut out, mut is_hidden) = (String::new(), false);
    for (number, line) in (1..).zip(lines(bytes)) {
        let text = String::from_utf8_lossy(line);
        let goes_on =
            text.trim_end_matches(['\r', '\n']).chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
        if let Some(key) = secret.get(&number) {
            out.push_str(&format!("{key}={HIDDEN}\n"));
            is_hidden = goes_on;
        } else if is_hidden {
            is_hidden = goes_on;
        } else {
            out.push_str(&comment_without_secret(&text).unwrap_or_else(|| text.into_owned()));
        }
    }
    out
}

/// A comment that holds what would be the value of a secret, without it.
fn comment_without_secret(line: &str) -> Option<String> {
    let comment = line.trim_start();
    let rest = comment.trim_start_matches(['#', '!', ' ', '\t']);
    let at = rest.find(['=', ':']).filter(|_| comment.starts_with(['#', '!']))?;
    is_secret(rest[..at].trim()).then(|| format!("#{}={HIDDEN}\n", rest[..at].trim()))
}

/// The lines with their ends, counted as [`properties::parse`] counts them: a lone CR ends one.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_end =
        move |at: usize| bytes[at] == b'\n' || bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n');
    let mut from = 0;
    let ends = (0..bytes.len()).filter(move |&at| is_end(at) || at + 1 == bytes.len());
    ends.map(move |at| &bytes[std::mem::replace(&mut from, at + 1)..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No secret of a file is shown: not over several lines, not under another spelling, not in a comment.
    #[test]
    fn secrets_are_hidden() {
        let file = b"tickTime=2000\n# why\nssl.keyStore.password = s3c\\\n   ret1\\\n\n\
                     zookeeper.DigestAuthenticationProvider.superDigest:s3cret2\r\
                     #ssl.trustStore.password=s3cret3\n  ! superDigest s=x\n\
                     my.passwd s3cret4\nssl.other=/s3cret5\n\
                     dataDir=/d\r\n#clientPort=2181";
        let shown = without_secrets(file);
        assert!(!shown.contains("s3c") && !shown.contains("ret1"), "{shown}");
        assert_eq!(
            shown,
            "tickTime=2000\n# why\nssl.keyStore.password=***\n\
             zookeeper.DigestAuthenticationProvider.superDigest=***\n#ssl.trustStore.password=***\n\
             #superDigest s=***\nmy.passwd=***\nssl.other=***\ndataDir=/d\r\n#clientPort=2181"
        );
    }

    /// Lines are counted as the reader of properties counts them.
    #[test]
    fn line_numbers() {
        let text = b"a=1\r\nb=2\rc=3\n\n\rd=4";
        let starts: Vec<&[u8]> = lines(text).collect();
        for property in properties::parse(text).expect("properties") {
            let line = starts[property.line as usize - 1];
            assert!(line.starts_with(property.key.as_bytes()), "{property:?} {line:?}");
        }
        assert_eq!(starts.concat(), text);
    }
}
