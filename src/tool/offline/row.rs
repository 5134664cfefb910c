//! One result of a command: named fields, as a line of text or as a JSON object.

use super::values::time_text;
use crate::proto::Acl;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text; paths too. Bytes that are not UTF-8 are replaced.
    Text(String),
    /// A number.
    Int(i64),
    /// Zxids, sessions, digests: `0x` and hex digits, in JSON as text, since they exceed what a number holds there.
    Hex(u64),
    /// Milliseconds since 1970: a date in text, the number with `_ms` after its key in JSON.
    Time(i64),
    /// A znode's data: quoted in text, base64 in JSON, null where it is null.
    Data(Option<Vec<u8>>),
    /// An access list.
    Acl(Vec<Acl>),
    /// Several texts.
    List(Vec<String>),
    /// Rows that belong to this one: indented lines in text.
    Rows(Vec<Row>),
    /// Nothing: left out in text, null in JSON.
    Null,
}

/// How a field is shown in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    /// The value alone.
    Bare,
    /// `key=value`.
    Key,
    /// In JSON only.
    Hidden,
}

/// Named fields in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Begins the line of text.
    prefix: String,
    fields: Vec<(&'static str, Label, Value)>,
}

impl Row {
    /// A row without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field that text shows without its key.
    pub fn bare(mut self, key: &'static str, value: Value) -> Self {
        self.fields.push((key, Label::Bare, value));
        self
    }

    /// Adds a field.
    pub fn with(mut self, key: &'static str, value: Value) -> Self {
        self.fields.push((key, Label::Key, value));
        self
    }

    /// Adds a field before all others; text shows it without its key.
    pub fn first(mut self, key: &'static str, value: Value) -> Self {
        self.fields.insert(0, (key, Label::Bare, value));
        self
    }

    /// Begins the line of text with `prefix`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Adds a field that only JSON shows.
    pub fn hidden(mut self, key: &'static str, value: Value) -> Self {
        self.fields.push((key, Label::Hidden, value));
        self
    }

    /// The row as a line for people; rows within it follow, each on a line of its own.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.put_text(&mut out, 0);
        out
    }

    fn put_text(&self, out: &mut String, indent: usize) {
        let mut within = Vec::new();
        out.push_str(&self.prefix);
        let mut is_first = true;
        for (key, label, value) in &self.fields {
            let text = match value {
                Value::Rows(rows) => {
                    within.extend(rows);
                    continue;
                }
                Value::Null => continue,
                value => value.text(),
            };
            let gap = if is_first { "" } else { " " };
            match label {
                Label::Hidden => continue,
                Label::Bare => _ = write!(out, "{gap}{text}"),
                Label::Key => _ = write!(out, "{gap}{key}={text}"),
            }
            is_first = false;
        }
        for row in within {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', 2 * (indent + 1)));
            row.put_text(out, indent + 1);
        }
    }

    /// The row as a JSON object in one line.
    pub fn json(&self) -> String {
        let mut out = String::from("{");
        for (number, (key, _, value)) in self.fields.iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            let unit = if matches!(value, Value::Time(_)) { "_ms" } else { "" };
            _ = write!(out, "\"{key}{unit}\":");
            value.put_json(&mut out);
        }
        out.push('}');
        out
    }
}

impl Value {
    /// Text of bytes that should be UTF-8.
    pub fn path(bytes: &[u8]) -> Self {
        Self::Text(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A count.
    pub fn count(number: impl TryInto<i64>) -> Self {
        Self::Int(number.try_into().unwrap_or(i64::MAX))
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => word(text),
            Self::Int(number) => number.to_string(),
            Self::Hex(number) => format!("{number:#x}"),
            Self::Time(time_ms) => time_text(*time_ms),
            Self::Data(None) => "null".to_owned(),
            Self::Data(Some(data)) => format!("\"{}\"", data.escape_ascii()),
            Self::Acl(acl) => word(&acl.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
            Self::List(list) => word(&list.join(",")),
            Self::Rows(_) | Self::Null => String::new(),
        }
    }

    fn put_json(&self, out: &mut String) {
        match self {
            Self::Text(text) => put_json_text(out, text),
            Self::Int(number) | Self::Time(number) => _ = write!(out, "{number}"),
            Self::Hex(number) => _ = write!(out, "\"{number:#x}\""),
            Self::Data(None) | Self::Null => out.push_str("null"),
            Self::Data(Some(data)) => put_json_text(out, &STANDARD.encode(data)),
            Self::Acl(acl) => put_list(out, acl, |out, acl| put_json_text(out, &acl.to_string())),
            Self::List(list) => put_list(out, list, |out, text| put_json_text(out, text)),
            Self::Rows(rows) => put_list(out, rows, |out, row| out.push_str(&row.json())),
        }
    }
}

fn put_list<T>(out: &mut String, items: &[T], put: impl Fn(&mut String, &T)) {
    out.push('[');
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        put(out, item);
    }
    out.push(']');
}

/// `text` as it is, or quoted where a reader would not see where it ends.
fn word(text: &str) -> String {
    let is_plain =
        !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}

fn put_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Id, Perms};

    fn row() -> Row {
        let read = Acl { perms: Perms::READ.or(Perms::ADMIN), id: Id::new("ip", "10.0.0.1") };
        let sub = Row::new().bare("type", Value::Text("delete".into())).bare("path", Value::path(b"/a"));
        Row::new()
            .bare("zxid", Value::Hex(0x1_0000_0002))
            .bare("time", Value::Time(1_700_000_000_123))
            .with("path", Value::path("/a b\"\u{e9}".as_bytes()))
            .with("bytes", Value::count(3u64))
            .with("data", Value::Data(Some(b"a\"\n\xff".to_vec())))
            .with("acl", Value::Acl(vec![Acl::open(), read]))
            .with("none", Value::Null)
            .hidden("file", Value::Text("f".into()))
            .with("txns", Value::Rows(vec![sub]))
    }

    /// Text quotes what has spaces, leaves out what is null or for programs, and indents rows within a row.
    #[test]
    fn as_text() {
        assert_eq!(
            row().text(),
            "0x100000002 2023-11-14T22:13:20.123Z path=\"/a b\\\"\u{e9}\" bytes=3 data=\"a\\\"\\n\\xff\" \
             acl=world:anyone:cdrwa,ip:10.0.0.1:ra\n  delete /a"
        );
    }

    /// JSON has all fields in one line; what JavaScript's numbers do not hold is text.
    #[test]
    fn as_json() {
        assert_eq!(
            row().json(),
            "{\"zxid\":\"0x100000002\",\"time_ms\":1700000000123,\"path\":\"/a b\\\"\u{e9}\",\"bytes\":3,\
             \"data\":\"YSIK/w==\",\"acl\":[\"world:anyone:cdrwa\",\"ip:10.0.0.1:ra\"],\"none\":null,\"file\":\"f\",\
             \"txns\":[{\"type\":\"delete\",\"path\":\"/a\"}]}"
        );
        assert_eq!(Row::new().with("a", Value::Text("\u{1}\\".into())).json(), r#"{"a":"\u0001\\"}"#);
    }
}
