//! `zkfast check FILE`: every setting with its verdict, then what is wrong.

use std::fmt::Write;

use super::finding::Severity;
use super::read::{Verdict, load};
use super::{Loader, Sources};

/// Renders what a start with these sources would make of them, and whether it would start.
///
/// One line per setting: verdict, key and value, place, notes. Then `error:` and `warning:` lines for
/// what belongs to no setting or stops the start, and a last line that sums up.
pub fn check_report(sources: &Sources<'_>, loader: &dyn Loader) -> (String, bool) {
    let loaded = load(sources, loader);
    let mut out = String::new();
    let write_all = |out: &mut String| -> std::fmt::Result {
        let wide = |texts: &mut dyn Iterator<Item = String>| {
            texts.map(|t| t.chars().count()).max().unwrap_or(0).min(60)
        };
        let pairs: Vec<String> = loaded.settings.iter().map(|s| format!("{} = {}", s.key, s.shown)).collect();
        let pair_width = wide(&mut pairs.iter().cloned());
        let place_width = wide(&mut loaded.settings.iter().map(|s| s.origin.to_string()));
        for (setting, pair) in loaded.settings.iter().zip(&pairs) {
            let verdict = match setting.verdict {
                Verdict::Effective => "effective",
                Verdict::NoEffect => "no effect",
                Verdict::Refused => "refused",
                Verdict::Unknown => "unknown",
                Verdict::Overridden => "overridden",
            };
            let line = format!(
                "{verdict:<10}  {pair:<pair_width$}  {:<place_width$}  {}",
                setting.origin.to_string(),
                setting.notes.join("; "),
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        let mut errors = 0;
        let mut warnings = 0;
        for finding in &loaded.findings {
            match finding.severity {
                Severity::Error => {
                    errors += 1;
                    writeln!(out, "error: {finding}")?;
                }
                Severity::Warning => {
                    warnings += 1;
                    // Warnings about a setting stand beside it.
                    if finding.key.is_empty() {
                        writeln!(out, "warning: {finding}")?;
                    }
                }
                Severity::Note => {}
            }
        }
        let count = |n: u32, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
        writeln!(
            out,
            "{}: {}, {}, {}",
            if errors == 0 { "ok" } else { "would not start" },
            count(u32::try_from(loaded.settings.len()).unwrap_or(u32::MAX), "setting"),
            count(errors, "error"),
            count(warnings, "warning"),
        )?;
        Ok(())
    };
    write_all(&mut out).expect("a String takes everything");
    let ok = loaded.is_ok();
    (out, ok)
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
            "dataDir=/d\nclientPort=1\nclientPort=2181\nsecureClientPort=2281\nforceSync=no\nfoo=bar\nssl.quorum.x=s3\n",
            "\
effective   dataDir = /d             zoo.cfg:1
overridden  clientPort = 1           zoo.cfg:2  given again at zoo.cfg:3, which counts
effective   clientPort = 2181        zoo.cfg:3
refused     secureClientPort = 2281  zoo.cfg:4  TLS is not served yet; a client that expects TLS must not be given a plain port
no effect   forceSync = no           zoo.cfg:5  every acknowledged write is on disk: forceSync=no is ignored
unknown     foo = bar                zoo.cfg:6  no key of ZooKeeper 3.9: ignored, as Java does
no effect   ssl.quorum.x = ***       zoo.cfg:7  TLS is not served yet
error: zoo.cfg:4: secureClientPort: TLS is not served yet; a client that expects TLS must not be given a plain port
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
}
