//! `java.util.Properties`, the syntax of zoo.cfg: bytes in, keys and values with their lines out.
//!
//! | in the file                          | read as                                                  |
//! |--------------------------------------|----------------------------------------------------------|
//! | `key=value`, `key: value`, `key value` | the first unescaped `=`, `:` or blank ends the key     |
//! | `#` or `!` first on a line           | a comment; later on the line it is part of the value     |
//! | `\` before the end of a line         | the next line, without its leading blanks, continues     |
//! | LF, CR, CR LF                        | each ends a line                                         |
//! | `\t \n \r \f \uXXXX`                 | that character; any other `\c` is `c`                    |
//! | bytes over 0x7F                      | Latin-1, whatever the editor meant; a BOM joins the key  |
//! | blanks after the value               | part of the value                                        |
//!
//! Source: `Properties.load(InputStream)`, Java 17.

use core::ops::Range;

/// One key and its value as the file has them, nothing trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Left of the separator, escapes resolved.
    pub key: String,
    /// Right of the separator, escapes resolved, trailing blanks kept.
    pub value: String,
    /// Line of the key, counted from 1; lone CRs count as ends of lines.
    pub line: u32,
    /// A byte over 0x7F was read as Latin-1.
    pub non_ascii: bool,
    /// Its bytes: whole lines, with blanks before the key and the end of the last line.
    pub span: Range<usize>,
}

/// `\u` without four hexadecimal digits: Java refuses the whole file, and so does zkfast.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\\u is not followed by four hexadecimal digits (a backslash is written \\\\)")]
pub struct MalformedEscape {
    /// Line where the property starts, counted from 1.
    pub line: u32,
}

/// `String.trim`: everything up to the blank goes.
pub(super) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Reads every property in file order; of a key given twice the last one counts, and the caller sees both.
///
/// # Errors
/// [`MalformedEscape`], for the first one found.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, MalformedEscape> {
    let mut lines = Lines { bytes, at: 0, line: 1, begin: 0 };
    let mut out = Vec::new();
    while let Some((text, line)) = lines.next_logical() {
        let span = lines.span_to_here();
        out.push(Property { span, ..split(&text, line)? });
    }
    Ok(out)
}

/// A value as text that [`parse`] reads back, whatever is in it.
pub fn escaped(value: &str) -> String {
    let mut out = String::new();
    for unit in value.encode_utf16() {
        match char::from_u32(unit.into()) {
            Some(c)
                if c.is_ascii() && !c.is_ascii_control() && c != '\\' && !(c == ' ' && out.is_empty()) =>
            {
                out.push(c);
            }
            _ => out.push_str(&format!("\\u{unit:04X}")),
        }
    }
    out
}

/// Logical lines: comments and blank lines gone, continuations joined, escapes still in place.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
    /// Where the text of the last logical line begins.
    begin: usize,
}

impl Lines<'_> {
    /// The bytes of the last logical line, from the start of its first line to the end of its last one.
    fn span_to_here(&self) -> Range<usize> {
        let blanks = self.bytes[..self.begin].iter().rev().take_while(|c| is_blank(**c)).count();
        let is_within_end =
            self.at > 0 && self.bytes[self.at - 1] == b'\r' && self.bytes.get(self.at) == Some(&b'\n');
        self.begin - blanks..self.at + usize::from(is_within_end)
    }

    /// Takes a byte and counts ends of lines; CR LF counts once.
    fn take(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == b'\r' || (byte == b'\n' && (self.at < 2 || self.bytes[self.at - 2] != b'\r')) {
            self.line += 1;
        }
        Some(byte)
    }

    fn next_logical(&mut self) -> Option<(Vec<u8>, u32)> {
        let mut text = Vec::new();
        let mut start = self.line;
        let mut skip_blanks = true;
        let mut continued = false;
        let mut backslash = false;
        loop {
            let line = self.line;
            let Some(c) = self.take() else {
                if text.is_empty() {
                    return None;
                }
                if backslash {
                    text.pop();
                }
                return Some((text, start));
            };
            let ends_line = c == b'\n' || c == b'\r';
            if skip_blanks {
                if is_blank(c) || (!continued && ends_line) {
                    continue;
                }
                skip_blanks = false;
                continued = false;
            }
            if text.is_empty() && (c == b'#' || c == b'!') {
                // A backslash at the end of a comment continues nothing.
                while let Some(c) = self.take() {
                    if c == b'\n' || c == b'\r' {
                        break;
                    }
                }
                skip_blanks = true;
                continue;
            }
            if !ends_line {
                if text.is_empty() {
                    (start, self.begin) = (line, self.at - 1);
                }
                text.push(c);
                backslash = c == b'\\' && !backslash;
            } else if text.is_empty() {
                skip_blanks = true;
            } else if backslash {
                text.pop();
                skip_blanks = true;
                continued = true;
                backslash = false;
                if c == b'\r' && self.bytes.get(self.at) == Some(&b'\n') {
                    self.take();
                }
            } else {
                return Some((text, start));
            }
        }
    }
}

fn is_blank(c: u8) -> bool {
    c == b' ' || c == b'\t' || c == 0x0C
}

fn split(text: &[u8], line: u32) -> Result<Property, MalformedEscape> {
    let mut key_end = 0;
    let mut value_start = text.len();
    let mut separated = false;
    let mut backslash = false;
    while key_end < text.len() {
        let c = text[key_end];
        if !backslash && (c == b'=' || c == b':' || is_blank(c)) {
            separated = !is_blank(c);
            value_start = key_end + 1;
            break;
        }
        backslash = c == b'\\' && !backslash;
        key_end += 1;
    }
    while value_start < text.len() {
        let c = text[value_start];
        if !is_blank(c) {
            if separated || (c != b'=' && c != b':') {
                break;
            }
            separated = true;
        }
        value_start += 1;
    }
    Ok(Property {
        key: unescape(&text[..key_end], line)?,
        value: unescape(&text[value_start..], line)?,
        line,
        non_ascii: !text.is_ascii(),
        // The caller knows it.
        span: 0..0,
    })
}

/// Resolves escapes. UTF-16 code units, because `\uD83D\uDE00` is one character in two escapes.
fn unescape(text: &[u8], line: u32) -> Result<String, MalformedEscape> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&c) = rest.next() {
        if c != b'\\' {
            units.push(u16::from(c));
            continue;
        }
        let Some(&c) = rest.next() else { break };
        units.push(match c {
            b't' => 0x09,
            b'n' => 0x0A,
            b'r' => 0x0D,
            b'f' => 0x0C,
            b'u' => {
                let mut unit = 0u16;
                for _ in 0..4 {
                    let digit = rest.next().and_then(|&d| char::from(d).to_digit(16));
                    unit = unit << 4 | digit.ok_or(MalformedEscape { line })? as u16;
                }
                unit
            }
            other => u16::from(other),
        });
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, u32)]) {
        let got = parse(text.as_bytes()).unwrap();
        let got: Vec<_> = got.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
        assert_eq!(got, expected, "{text:?}");
    }

    /// Lines are counted through comments, continuations, CR LF and lone CRs.
    #[test]
    fn line_numbers() {
        check(
            "# c\n\na=1\\\n  2\nb=3\r\nc=4\rd=5",
            &[("a", "12", 3), ("b", "3", 5), ("c", "4", 6), ("d", "5", 7)],
        );
        check("a=1\\\r\n\r\nb=2\n", &[("a", "1", 1), ("b", "2", 3)]);
        check("# c \\\na=1", &[("a", "1", 2)]);
    }

    /// A property's bytes are whole lines: without them, the others read as before.
    #[test]
    fn spans() {
        let text = b"# c\n a=1\\\n  2\r\n\nb=3\r\n# d\rc=4";
        let all = parse(text).unwrap();
        let bytes: Vec<_> = all.iter().map(|p| &text[p.span.clone()]).collect();
        assert_eq!(bytes, [b" a=1\\\n  2\r\n".as_slice(), b"b=3\r\n", b"c=4"]);
        for property in &all {
            let left = [&text[..property.span.start], &text[property.span.end..]].concat();
            let others = all.iter().filter(|p| p.key != property.key).map(|p| (&p.key, &p.value));
            assert!(parse(&left).unwrap().iter().map(|p| (&p.key, &p.value)).eq(others), "{property:?}");
        }
    }

    /// Any value is read back as it was.
    #[test]
    fn escapes() {
        for value in ["/etc/zoo.cfg", " a", "a b ", "a\\b=#\n:!", "/zoé/\u{1F600}"] {
            let text = format!("k={}\n", escaped(value));
            assert_eq!(parse(text.as_bytes()).unwrap()[0].value, value, "{text:?}");
        }
    }

    /// A malformed escape is reported with the line of its property.
    #[test]
    fn malformed_escape() {
        assert_eq!(parse(b"a=1\nb=C:\\user\n"), Err(MalformedEscape { line: 2 }));
        assert_eq!(parse(b"a=\\u12"), Err(MalformedEscape { line: 1 }));
        assert_eq!(parse(b"a=\\u00E9").unwrap()[0].value, "é");
    }

    /// Every byte string either parses or is refused; nothing panics on short or odd input.
    #[test]
    fn any_bytes() {
        let alphabet = b"a=\\u0:# \n\r\xFF";
        let mut text = [0u8; 5];
        for n in 0..alphabet.len().pow(5) {
            let mut rest = n;
            for byte in &mut text {
                *byte = alphabet[rest % alphabet.len()];
                rest /= alphabet.len();
            }
            for property in parse(&text).unwrap_or_default() {
                assert!(property.line >= 1 && property.line <= 6, "{text:?}: {property:?}");
            }
        }
    }
}
