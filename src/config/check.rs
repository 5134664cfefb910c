//! `zkfast check FILE`: every setting with its verdict, then what is wrong.

use std::fmt::Write;

use super::finding::{Finding, Origin, Severity};
use super::key::{Fate, Row};
use super::keys;
use super::read::{Loaded, Setting, Verdict, load};
use super::{Loader, Sources};

/// What a start with some sources would make of them.
#[derive(Debug)]
pub struct Checked {
    loaded: Loaded,
}

/// Reads the sources as a start would, and looks at what a start only meets later.
pub fn check(sources: &Sources<'_>, loader: &dyn Loader) -> Checked {
    let mut loaded = load(sources, loader);
    for (key, message) in loader.obstacles(&loaded.config) {
        let counts = |setting: &&mut Setting| {
            !key.is_empty() && setting.key == key && setting.verdict != Verdict::Overridden
        };
        let setting = loaded.settings.iter_mut().rev().find(counts);
        let origin = match &setting {
            Some(setting) => Some(setting.origin.clone()),
            None => key.starts_with("--").then_some(Origin::Flag { name: key }),
        };
        // A flag is the place and the key.
        let key = if key.starts_with("--") { "" } else { key }.to_owned();
        if let Some(setting) = setting {
            setting.verdict = Verdict::Refused;
            setting.notes.push(message.clone());
        }
        loaded.findings.push(Finding { severity: Severity::Error, origin, key, message });
    }
    Checked { loaded }
}

/// The text of [`check`], and true if a server would start.
pub fn check_report(sources: &Sources<'_>, loader: &dyn Loader) -> (String, bool) {
    let checked = check(sources, loader);
    (checked.text(), checked.errors() == 0)
}

impl Checked {
    fn count(&self, severity: Severity) -> usize {
        self.loaded.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// What keeps the server from starting.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// What to look at.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// One line per setting: verdict, key and value, place, notes. Then `error:` and `warning:` lines for what belongs
    /// to no setting or stops the start, and a last line that sums up.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.put_text(&mut out).expect("a String takes everything");
        out
    }

    fn put_text(&self, out: &mut String) -> std::fmt::Result {
        let Loaded { settings, findings, .. } = &self.loaded;
        let wide = |texts: &mut dyn Iterator<Item = String>| {
            texts.map(|t| t.chars().count()).max().unwrap_or(0).min(60)
        };
        let pairs: Vec<String> = settings.iter().map(|s| format!("{} = {}", s.key, s.shown)).collect();
        let pair_width = wide(&mut pairs.iter().cloned());
        let place_width = wide(&mut settings.iter().map(|s| s.origin.to_string()));
        for (setting, pair) in settings.iter().zip(&pairs) {
            let line = format!(
                "{:<10}  {pair:<pair_width$}  {:<place_width$}  {}",
                setting.verdict.name(),
                setting.origin.to_string(),
                setting.notes.join("; "),
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        for finding in findings {
            match finding.severity {
                Severity::Error => writeln!(out, "error: {finding}")?,
                // Warnings about a setting stand beside it.
                Severity::Warning if finding.key.is_empty() || finding.origin.is_none() => {
                    writeln!(out, "warning: {finding}")?;
                }
                Severity::Warning | Severity::Note => {}
            }
        }
        let count = |n: usize, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
        writeln!(
            out,
            "{}: {}, {}, {}",
            if self.errors() == 0 { "ok" } else { "would not start" },
            count(settings.len(), "setting"),
            count(self.errors(), "error"),
            count(self.warnings(), "warning"),
        )
    }

    /// The same as one JSON object: `ok`, `errors`, `warnings`, `settings` (`key`, `value`, `origin`, `verdict`, `notes`)
    /// and `findings` (`severity`, `origin` or null, `key`, `message`).
    pub fn json(&self) -> String {
        let Loaded { settings, findings, .. } = &self.loaded;
        let settings = settings.iter().map(|setting| {
            let notes: Vec<String> = setting.notes.iter().map(|note| json(note)).collect();
            format!(
                "{{\"key\":{},\"value\":{},\"origin\":{},\"verdict\":{},\"notes\":[{}]}}",
                json(&setting.key),
                json(&setting.shown),
                json(&setting.origin.to_string()),
                json(setting.verdict.name()),
                notes.join(",")
            )
        });
        let findings = findings.iter().map(|finding| {
            let origin =
                finding.origin.as_ref().map_or("null".to_owned(), |origin| json(&origin.to_string()));
            format!(
                "{{\"severity\":{},\"origin\":{origin},\"key\":{},\"message\":{}}}",
                json(&finding.severity.to_string()),
                json(&finding.key),
                json(&finding.message)
            )
        });
        format!(
            "{{\"ok\":{},\"errors\":{},\"warnings\":{},\"settings\":[{}],\"findings\":[{}]}}\n",
            self.errors() == 0,
            self.errors(),
            self.warnings(),
            settings.collect::<Vec<_>>().join(","),
            findings.collect::<Vec<_>>().join(",")
        )
    }
}

/// What is in force of each key with an effect that no setting names: key, value, meaning. Without a file some have values of
/// their own.
pub fn defaults(settings: &[Setting], has_file: bool) -> Vec<(&'static str, String, &'static str)> {
    let is_family = |name: &str| name.ends_with(".N") || name.ends_with('*');
    let is_given = |row: &&Row| {
        let row_of = |key: &str| keys::find(key.strip_prefix("zookeeper.").unwrap_or(key));
        settings.iter().any(|setting| row_of(&setting.key).is_some_and(|found| found.name == row.name))
    };
    let rows = keys::KEYS.iter().filter(|row| row.fate == Fate::Effective && !is_family(row.name));
    let unset = rows.filter(|row| !is_given(row));
    unset.map(|row| (row.name, row.default_in_force(has_file), row.about)).collect()
}

/// A string of JSON, quotes included.
fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", control as u32).expect("a String takes everything");
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::keys_as_markdown;

    struct Text(&'static str);

    impl Loader for Text {
        fn read(&self, _: &str) -> io::Result<Vec<u8>> {
            Ok(self.0.as_bytes().to_vec())
        }

        fn is_file(&self, _: &str) -> bool {
            false
        }
    }

    fn check(text: &'static str, expected: &str, expected_ok: bool) {
        let (report, ok) =
            check_report(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &Text(text));
        assert_eq!(report, expected);
        assert_eq!(ok, expected_ok);
    }

    /// The stock file of ZooKeeper is fine and says so in a line per key.
    #[test]
    fn stock_file() {
        check(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/tmp/zookeeper\nclientPort=2181\n",
            "\
effective   tickTime = 2000           zoo.cfg:1
effective   initLimit = 10            zoo.cfg:2
effective   syncLimit = 5             zoo.cfg:3
effective   dataDir = /tmp/zookeeper  zoo.cfg:4
effective   clientPort = 2181         zoo.cfg:5
ok: 5 settings, 0 errors, 0 warnings
",
            true,
        );
    }

    /// Every verdict shows, errors come after the table, and the sum says that the server would not start.
    #[test]
    fn all_verdicts() {
        check(
            "dataDir=/d\nclientPort=1\nclientPort=2181\nclientPortListenBacklog=x\nforceSync=no\nfoo=bar\nssl.quorum.x=s3\n",
            "\
effective   dataDir = /d                 zoo.cfg:1
overridden  clientPort = 1               zoo.cfg:2  given again at zoo.cfg:3, which counts
effective   clientPort = 2181            zoo.cfg:3
refused     clientPortListenBacklog = x  zoo.cfg:4  \"x\" is not a decimal number of 32 bits
no effect   forceSync = no               zoo.cfg:5  every acknowledged write is on disk: forceSync=no is ignored
unknown     foo = bar                    zoo.cfg:6  no key of ZooKeeper 3.9: ignored, as Java does
no effect   ssl.quorum.x = ***           zoo.cfg:7  zkfast has no such setting
error: zoo.cfg:4: clientPortListenBacklog: \"x\" is not a decimal number of 32 bits
would not start: 7 settings, 1 error, 4 warnings
",
            false,
        );
    }

    /// A member's file: what is wrong with the whole stands below the table.
    #[test]
    fn ensemble() {
        check(
            "dataDir=/d\nclientPort=2181\nsyncLimit=5\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=b:1:2\n",
            "\
effective   dataDir = /d       zoo.cfg:1
effective   clientPort = 2181  zoo.cfg:2
effective   syncLimit = 5      zoo.cfg:3
effective   server.1 = a:1:2   zoo.cfg:4
effective   server.2 = b:1:2   zoo.cfg:5
refused     server.3 = b:1:2   zoo.cfg:6  quorum port b:1 is the quorum port of server.2 as well: each server listens on ports of its own
error: initLimit: is not set: an ensemble wants a number of ticks; 10 is usual
error: /d/myid is missing: write which of 1, 2, 3 this server is, in digits alone
error: zoo.cfg:6: server.3: quorum port b:1 is the quorum port of server.2 as well: each server listens on ports of its own
would not start: 6 settings, 3 errors, 0 warnings
",
            false,
        );
    }

    /// The page of documentation holds the key table as the code has it.
    #[test]
    fn documentation_is_current() {
        let page = include_str!("../docs/configuration.md");
        let table = keys_as_markdown();
        assert!(
            page.ends_with(&table),
            "replace the table at the end of src/docs/configuration.md by:\n{table}"
        );
    }

    /// The same as JSON, with quotes and control characters in it.
    #[test]
    fn as_json() {
        let text = Text("dataDir=/a\"b\nclientPort=x");
        let checked = super::check(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &text);
        let expected = [
            r#"{"ok":false,"errors":1,"warnings":0,"settings":["#,
            r#"{"key":"dataDir","value":"/a\\\"b","origin":"zoo.cfg:1","verdict":"effective","notes":[]},"#,
            r#"{"key":"clientPort","value":"x","origin":"zoo.cfg:2","verdict":"refused","#,
            r#""notes":["\"x\" is not a decimal number of 32 bits"]}],"#,
            r#""findings":[{"severity":"error","origin":"zoo.cfg:2","key":"clientPort","#,
            r#""message":"\"x\" is not a decimal number of 32 bits"}]}"#,
        ];
        assert_eq!(checked.json(), expected.concat() + "\n");
        assert_eq!(json("a\tb"), r#""a\u0009b""#);
    }

    /// What the host refuses keeps the server from starting, and stands where the setting does.
    #[test]
    fn obstacles() {
        struct Host;
        impl Loader for Host {
            fn read(&self, _: &str) -> io::Result<Vec<u8>> {
                Ok(b"clientPort=1\ndataDir=/d\ndataLogDir=/file/log\n".to_vec())
            }

            fn is_file(&self, _: &str) -> bool {
                false
            }

            fn obstacles(&self, config: &crate::config::Config) -> Vec<(&'static str, String)> {
                assert_eq!(config.data_log_dir.to_str(), Some("/file/log"));
                vec![("dataLogDir", "/file is a file".to_owned()), ("--cores", "names CPU 9".to_owned())]
            }
        }
        let checked = super::check(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &Host);
        assert_eq!(checked.errors(), 2);
        let text = checked.text();
        assert!(
            text.contains("error: zoo.cfg:3: dataLogDir: /file is a file\nerror: --cores: names CPU 9\n"),
            "{text}"
        );
        assert!(text.contains("refused     dataLogDir = /file/log"), "{text}");
    }
}
