//! A text read by its row of the key table: the value, and what there is to say of the way it reads.

use super::finding::Severity;
use super::key::{Kind, Limit, Row, Value};
use super::number;

/// What a text reads as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading<'a> {
    /// `None` where the text is no value of the key: the default stays, unless a remark stops the start.
    pub(crate) value: Option<Value<'a>>,
    /// How bad, and value, limit, what to do.
    pub(crate) remarks: Vec<(Severity, String)>,
}

impl Row {
    /// Reads a trimmed text.
    pub(crate) fn read<'a>(&self, text: &'a str) -> Reading<'a> {
        let value = self.kind.parse(text);
        let mut remarks = self.oddities(text, value);
        let value = match value {
            Some(Value::Number(number)) => {
                let (value, remark) = self.within(number);
                remarks.extend(remark);
                value.map(Value::Number)
            }
            other => other,
        };
        Reading { value, remarks }
    }

    /// True if `text` is the default.
    pub(crate) fn is_default(&self, text: &str) -> bool {
        match (self.default, self.kind.parse(text)) {
            (Some(Value::Text(default)), Some(Value::Text(text))) => default.eq_ignore_ascii_case(text),
            (default, value) => default.is_some() && default == value,
        }
    }

    /// What is to be said of a text that does not read as it looks, or not at all.
    fn oddities(&self, text: &str, value: Option<Value<'_>>) -> Vec<(Severity, String)> {
        let comment = "a comment stands on a line of its own";
        let hint = if text.contains(['#', '!']) { format!("; {comment}") } else { String::new() };
        let shown = shorten(text);
        let [on, off] = self.kind.words();
        let is_word = text == on || text == off;
        let (severity, message) = match self.kind {
            Kind::Int if value.is_none() => {
                (Severity::Error, format!("{shown} is not a decimal number of 32 bits{hint}"))
            }
            Kind::Long if value.is_none() => {
                (Severity::Error, format!("{shown} is not a decimal number of 64 bits{hint}"))
            }
            Kind::Bool if value.is_none() => {
                (Severity::Error, format!("{shown} is neither true nor false{hint}"))
            }
            Kind::PropInt | Kind::PropLong => match value {
                Some(Value::Number(number)) if number.to_string() != text.trim_start_matches('+') => {
                    (Severity::Note, format!("read as {number}"))
                }
                Some(_) => return Vec::new(),
                None => {
                    let default = self.default_text();
                    let message =
                        format!("{shown} is not a number: the default, {default}, stays, as in Java{hint}");
                    (Severity::Warning, message)
                }
            },
            Kind::PropBool if number::strict_bool(text).is_none() => {
                (Severity::Warning, format!("{shown} reads as false, as in Java{hint}"))
            }
            Kind::OnlyYes if !is_word => {
                (Severity::Warning, format!("{shown} reads as {off}: only {on} is {on}{hint}"))
            }
            Kind::UnlessNo | Kind::UnlessFalse if !is_word => {
                (Severity::Warning, format!("{shown} reads as {on}: only {off} is {off}{hint}"))
            }
            Kind::Text | Kind::Secret => {
                let hash = format!("the # and what follows are part of the value: {comment}");
                let variable = "${...} stays as it is: the file knows no variables".to_owned();
                let found = [(text.contains(" #"), hash), (text.contains("${"), variable)];
                let said = found.into_iter().filter(|(is_there, _)| *is_there);
                return said.map(|(_, message)| (Severity::Warning, message)).collect();
            }
            _ => return Vec::new(),
        };
        vec![(severity, message)]
    }

    /// What the key's limit makes of a number.
    fn within(&self, number: i64) -> (Option<i64>, Option<(Severity, String)>) {
        let reads_as = |other: i64, severity, why: &str| {
            (Some(other), Some((severity, format!("{number} reads as {other}{why}"))))
        };
        let refused = |message| (None, Some((Severity::Error, message)));
        match self.limit {
            Limit::AtLeast(least) if number < least => refused(format!("{number} is less than {least}")),
            Limit::RaisedTo(least) if number < least => {
                reads_as(least, Severity::Warning, ", the least there is")
            }
            Limit::NotNegative if number < 0 => reads_as(0, Severity::Note, ""),
            Limit::DefaultIfNegative if number < 0 => match self.default {
                Some(Value::Number(default)) => reads_as(default, Severity::Warning, ", as in Java"),
                other => panic!("{} has no number as its default: {other:?}", self.name),
            },
            Limit::Port if u16::try_from(number).is_err() => {
                refused(format!("port {number} is not within 0 to {}", u16::MAX))
            }
            Limit::Only(only) if number != only => {
                refused(format!("{number} is not {only}, the only one there is"))
            }
            _ => (Some(number), None),
        }
    }
}

impl Kind {
    /// The value in Java; `None` where Java stops or takes the default.
    fn parse(self, text: &str) -> Option<Value<'_>> {
        Some(match self {
            Self::Int => Value::Number(number::parse_int(text)?.into()),
            Self::Long => Value::Number(number::parse_long(text)?),
            Self::PropInt => Value::Number(number::decode_int(text)?.into()),
            Self::PropLong => Value::Number(number::decode_long(text)?),
            Self::Bool => Value::Bool(number::strict_bool(text)?),
            Self::PropBool => Value::Bool(text.eq_ignore_ascii_case("true")),
            Self::OnlyYes => Value::Bool(text == "yes"),
            Self::UnlessNo => Value::Bool(text != "no"),
            Self::UnlessFalse => Value::Bool(text != "false"),
            Self::Text | Self::Secret | Self::Server => Value::Text(text),
        })
    }
}

/// A value in quotes, cut where it would fill the screen.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::{
        absent, boolean, file, int, only_yes, prop_int, property, unless_false, unless_no,
    };

    fn check(row: Row, text: &str, value: Option<Value<'_>>, remark: Option<&str>) {
        let reading = row.read(text);
        let said: Vec<&str> = reading.remarks.iter().map(|(_, message)| message.as_str()).collect();
        assert_eq!((reading.value, said), (value, Vec::from_iter(remark)), "{row:?} {text:?}");
    }

    /// A number outside of the limits is refused, or reads as the number that the limit names.
    #[test]
    fn limits() {
        let number = |number| Some(Value::Number(number));
        let row = file("key", int(5));
        check(row, "-7", number(-7), None);
        check(row.at_least(1), "1", number(1), None);
        check(row.at_least(1), "0", None, Some("0 is less than 1"));
        check(row.at_least_in_ensemble(1, "why"), "0", number(0), None);
        check(row.raised_to(3), "3", number(3), None);
        check(row.raised_to(3), "2", number(3), Some("2 reads as 3, the least there is"));
        check(row.not_negative(), "-1", number(0), Some("-1 reads as 0"));
        check(row.default_if_negative(), "-1", number(5), Some("-1 reads as 5, as in Java"));
        check(row.default_if_negative(), "0", number(0), None);
        check(row.port(), "65535", number(65535), None);
        check(row.port(), "65536", None, Some("port 65536 is not within 0 to 65535"));
        check(row.only(3), "4", None, Some("4 is not 3, the only one there is"));
    }

    /// Text that is no value of the kind is an error, or the default, or one of the two words.
    #[test]
    fn kinds() {
        let is = |value| Some(Value::Bool(value));
        check(file("key", boolean(true)), "yes", None, Some("\"yes\" is neither true nor false"));
        check(property("key", only_yes()), "YES", is(false), Some("\"YES\" reads as no: only yes is yes"));
        check(property("key", unless_no()), "NO", is(true), Some("\"NO\" reads as yes: only no is no"));
        let message = "\"0\" reads as true: only false is false";
        check(property("key", unless_false()), "0", is(true), Some(message));
        check(property("key", unless_false()), "false", is(false), None);
        check(property("key", prop_int(5)), "0x10", Some(Value::Number(16)), Some("read as 16"));
        let message = "\"5 # a\" is not a number: the default, 5, stays, as in Java; a comment stands on a line of its own";
        check(property("key", prop_int(5)), "5 # a", None, Some(message));
        let message = "${...} stays as it is: the file knows no variables";
        check(file("key", absent(Kind::Text)), "${HOME}", Some(Value::Text("${HOME}")), Some(message));
    }

    /// The default is recognized by its value, however it is written.
    #[test]
    fn defaults() {
        assert!(property("key", prop_int(16)).is_default("0x10"));
        assert!(!property("key", prop_int(16)).is_default("many"));
        assert!(property("key", unless_no()).is_default("yes"));
        assert!(!file("key", absent(Kind::Text)).is_default("none"));
    }
}
