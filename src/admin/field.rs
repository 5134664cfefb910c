//! Values of fields in lines for people and programs.

use std::fmt::{self, Display, Write as _};

/// A value of a field that may have spaces: in quotes if it needs them.
#[derive(Clone, Copy, Debug)]
pub struct Text<T>(pub T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
        if !text.is_empty() && text.chars().all(is_plain) {
            return f.write_str(&text);
        }
        f.write_char('"')?;
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => f.write_char('?')?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could be taken for the end of a value, or for a field, stands in quotes.
    #[test]
    fn quotes_where_needed() {
        for (value, shown) in [
            ("plain", "plain"),
            ("[::1]:2181", "[::1]:2181"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("a\nINFO forged", "\"a\\nINFO forged\""),
            ("\u{1b}[31m\"", "\"?[31m\\\"\""),
        ] {
            assert_eq!(Text(value).to_string(), shown);
        }
    }
}
