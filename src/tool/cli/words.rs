//! The words of one command: how a line is cut, and which words are flags.

use super::error::CliError;

/// A flag that a verb takes. One of one letter is written `-s`, a longer one `-name` or `--name`.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// True if the next word, or what follows `=`, is its value.
    pub has_value: bool,
}

/// A flag without a value.
pub const fn flag(name: &'static str) -> Flag {
    Flag { name, has_value: false }
}

/// A flag with a value.
pub const fn value(name: &'static str) -> Flag {
    Flag { name, has_value: true }
}

/// Flags that every verb takes.
const COMMON: [Flag; 2] = [flag("json"), flag("help")];

/// The words after a verb.
#[derive(Debug, Default)]
pub struct Words {
    flags: Vec<(&'static str, String)>,
    /// What is no flag, in order.
    pub arguments: Vec<String>,
}

impl Words {
    /// Tells `words` apart by the flags that the verb takes. After `--` no word is a flag; `-` alone is none.
    ///
    /// # Errors
    /// [`CliError::Usage`] for a flag that the verb does not take, or one without its value.
    pub fn parse(words: &[String], flags: &[Flag]) -> Result<Self, CliError> {
        let mut parsed = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word == "--" {
                parsed.arguments.extend(rest.cloned());
                break;
            }
            if word == "-" || !word.starts_with('-') {
                parsed.arguments.push(word.clone());
                continue;
            }
            let (name, given) = match word.split_once('=') {
                Some((name, given)) => (name, Some(given)),
                None => (word.as_str(), None),
            };
            for flag in find(name, flags)? {
                let text = match (flag.has_value, given) {
                    (false, None) => String::new(),
                    (false, Some(_)) => return Err(CliError::Usage(format!("{name} takes no value"))),
                    (true, Some(given)) => given.to_owned(),
                    (true, None) => {
                        let next =
                            rest.next().ok_or_else(|| CliError::Usage(format!("{word} lacks its value")))?;
                        next.clone()
                    }
                };
                parsed.flags.push((flag.name, text));
            }
        }
        Ok(parsed)
    }

    /// True if the flag is given.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of a flag; the last one counts.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// The value of a flag as a number.
    ///
    /// # Errors
    /// [`CliError::Usage`] if it is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, CliError> {
        let number = |text: &str| {
            text.parse().map_err(|_| CliError::Usage(format!("-{name} takes a number, not {text:?}")))
        };
        self.value(name).map(number).transpose()
    }

    /// The argument at `at`, which the verb's count of arguments guarantees, or an empty one.
    pub fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }
}

/// The flag of that name, or the flags of one letter each of which a word like `-sw` is made.
fn find(word: &str, flags: &[Flag]) -> Result<Vec<Flag>, CliError> {
    let all = || flags.iter().chain(&COMMON);
    let name = word.trim_start_matches('-');
    let is_long = word.starts_with("--");
    if let Some(flag) = all().find(|flag| flag.name == name && !(is_long && name.len() == 1)) {
        return Ok(vec![*flag]);
    }
    let letter = |letter: char| {
        let mut name = [0; 4];
        let name = letter.encode_utf8(&mut name);
        all().find(|flag| flag.name == name && !flag.has_value).copied()
    };
    let letters: Option<Vec<Flag>> = if is_long { None } else { name.chars().map(letter).collect() };
    letters
        .filter(|letters| !letters.is_empty())
        .ok_or_else(|| CliError::Usage(format!("unrecognized option {word}")))
}

/// Cuts a line at white space; what stands in single or double quotes is one word.
///
/// As in zkCli, a quote counts only at the beginning of a word, and there are no escapes.
///
/// Source: `ZooKeeperMain.MyCommandOptions.ARGS_PATTERN`.
pub fn cut(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = (first == '"' || first == '\'').then(|| rest[1..].split_once(first)).flatten();
        let (word, after) = match quoted {
            Some((inside, after)) => (inside, after),
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Words, CliError> {
        Words::parse(&cut(line), &[flag("s"), flag("w"), value("v"), value("members"), flag("raw")])
    }

    /// Flags stand anywhere, together in one word, with one or two dashes, and with their value after `=`.
    #[test]
    fn flags() {
        let words = parse("/a -sw -v 3 data --members=x=1 -raw --json").expect("good");
        assert_eq!(words.arguments, ["/a", "data"]);
        assert!(["s", "w", "raw", "json"].iter().all(|name| words.has(name)));
        assert_eq!((words.value("v"), words.value("members")), (Some("3"), Some("x=1")));
        assert_eq!(words.number::<i32>("v").expect("a number"), Some(3));
        assert_eq!(parse("-v 1 -v -1 /a").expect("good").value("v"), Some("-1"), "the last one counts");
        assert_eq!(parse("/a - -- -s").expect("good").arguments, ["/a", "-", "-s"]);
        for bad in ["-x", "-sx", "--s", "-v", "--wide", "-s=1", "-sv 1"] {
            assert!(matches!(parse(bad), Err(CliError::Usage(_))), "{bad}");
        }
        assert!(parse("-v one").expect("a value").number::<i32>("v").is_err());
    }

    /// Quotes hold a word together; elsewhere, or without an end, they are letters.
    #[test]
    fn lines() {
        assert_eq!(
            cut(r#" set /a "two words" 'and "more"' "" "#),
            ["set", "/a", "two words", "and \"more\"", ""]
        );
        assert_eq!(cut(r#"a"b c" "open"#), ["a\"b", "c\"", "\"open"]);
        assert_eq!(cut("  "), [""; 0]);
    }
}
