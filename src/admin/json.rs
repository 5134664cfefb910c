//! Writes JSON in the layout that Jackson gives it with indentation: `"name" : value`, two spaces for each level, `[ a, b ]`.
//!
//! Source: `JsonOutputter`, Apache ZooKeeper 3.9.4; `DefaultPrettyPrinter`, jackson-core 2.15.

use std::fmt::{Display, Write as _};

/// The text of an object whose members `fill` adds.
pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut text = Text { bytes: Vec::new(), depth: 0 };
    text.object(fill);
    text.bytes
}

/// What has been written, and how deep in objects the next byte is.
#[derive(Debug)]
pub struct Text {
    bytes: Vec<u8>,
    depth: usize,
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Text {
    fn plain(&mut self, value: impl Display) {
        write!(self, "{value}").expect("a vector takes all");
    }

    fn new_line(&mut self) {
        self.bytes.push(b'\n');
        self.bytes.resize(self.bytes.len() + 2 * self.depth, b' ');
    }

    fn quoted(&mut self, value: &str) {
        self.bytes.push(b'"');
        let mut rest = value.as_bytes();
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
            self.bytes.extend_from_slice(&rest[..at]);
            match rest[at] {
                b'\n' => self.plain("\\n"),
                b'\r' => self.plain("\\r"),
                b'\t' => self.plain("\\t"),
                0x8 => self.plain("\\b"),
                0xC => self.plain("\\f"),
                byte @ ..b' ' => self.plain(format_args!("\\u{byte:04X}")),
                byte => self.bytes.extend_from_slice(&[b'\\', byte]),
            }
            rest = &rest[at + 1..];
        }
        self.bytes.extend_from_slice(rest);
        self.bytes.push(b'"');
    }

    fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        self.bytes.push(b'{');
        self.depth += 1;
        let mut object = Object { text: self, is_empty: true };
        fill(&mut object);
        let is_empty = object.is_empty;
        self.depth -= 1;
        if is_empty {
            self.bytes.push(b' ');
        } else {
            self.new_line();
        }
        self.bytes.push(b'}');
    }

    fn list(&mut self, fill: impl FnOnce(&mut List<'_>)) {
        self.bytes.push(b'[');
        let mut list = List { text: self, is_empty: true };
        fill(&mut list);
        self.bytes.extend_from_slice(b" ]");
    }
}

/// An object that is being written. A name that is set twice stands there twice.
#[derive(Debug)]
pub struct Object<'a> {
    text: &'a mut Text,
    is_empty: bool,
}

impl Object<'_> {
    /// Adds a member.
    pub fn set(&mut self, name: &str, value: impl Value) {
        value.put(self.name(name));
    }

    /// Adds a member that is an object.
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name).object(fill);
    }

    /// Adds a member that is a list.
    pub fn list(&mut self, name: &str, fill: impl FnOnce(&mut List<'_>)) {
        self.name(name).list(fill);
    }

    fn name(&mut self, name: &str) -> &mut Text {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.text.bytes.push(b',');
        }
        self.text.new_line();
        self.text.quoted(name);
        self.text.plain(" : ");
        self.text
    }
}

/// A list that is being written.
#[derive(Debug)]
pub struct List<'a> {
    text: &'a mut Text,
    is_empty: bool,
}

impl List<'_> {
    /// Adds an element.
    pub fn push(&mut self, value: impl Value) {
        value.put(self.next());
    }

    /// Adds an element that is an object.
    pub fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        self.next().object(fill);
    }

    fn next(&mut self) -> &mut Text {
        let is_first = std::mem::replace(&mut self.is_empty, false);
        self.text.plain(if is_first { " " } else { ", " });
        self.text
    }
}

/// What is neither an object nor a list.
pub trait Value {
    /// Appends it.
    fn put(&self, text: &mut Text);
}

impl Value for &str {
    fn put(&self, text: &mut Text) {
        text.quoted(self);
    }
}

impl Value for String {
    fn put(&self, text: &mut Text) {
        text.quoted(self);
    }
}

/// Paths need not be UTF-8: what is not stands there as U+FFFD.
impl Value for &[u8] {
    fn put(&self, text: &mut Text) {
        text.quoted(&String::from_utf8_lossy(self));
    }
}

/// As Java prints a double of ordinary size; JSON has no infinite numbers.
impl Value for f64 {
    fn put(&self, text: &mut Text) {
        if self.is_finite() { text.plain(format_args!("{self:?}")) } else { text.plain("null") }
    }
}

/// `None` is null.
impl<T: Value> Value for Option<T> {
    fn put(&self, text: &mut Text) {
        match self {
            Some(value) => value.put(text),
            None => text.plain("null"),
        }
    }
}

macro_rules! plain_values {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn put(&self, text: &mut Text) {
                text.plain(self);
            }
        }
    )*};
}

plain_values!(bool, u16, u32, i32, u64, i64, usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fill: impl FnOnce(&mut Object<'_>)) -> String {
        String::from_utf8(object(fill)).expect("UTF-8")
    }

    /// The layout is Jackson's: this text was printed by Apache ZooKeeper 3.9.4, but for the names.
    #[test]
    fn layout() {
        let written = text(|o| {
            o.set("a", 1u64);
            o.list("none", |_| {});
            o.object("empty", |_| {});
            o.list("numbers", |l| [1i64, -2].into_iter().for_each(|n| l.push(n)));
            o.list("objects", |l| {
                l.object(|o| o.set("x", 0.5));
                l.object(|o| o.set("y", true));
            });
            o.set("error", None::<&str>);
        });
        assert_eq!(
            written,
            "{\n  \"a\" : 1,\n  \"none\" : [ ],\n  \"empty\" : { },\n  \"numbers\" : [ 1, -2 ],\n  \
             \"objects\" : [ {\n    \"x\" : 0.5\n  }, {\n    \"y\" : true\n  } ],\n  \"error\" : null\n}"
        );
        assert_eq!(text(|_| {}), "{ }");
    }

    /// No text can end its quotes or its line, and paths that are no text do not spoil the document.
    #[test]
    fn escapes() {
        let value = "a\"b\\c\nd\r\t\u{8}\u{C}\u{1}\u{1f}/\u{7f}ä\u{2028}";
        let written = text(|o| o.set("k\"", value));
        assert_eq!(
            written,
            "{\n  \"k\\\"\" : \"a\\\"b\\\\c\\nd\\r\\t\\b\\f\\u0001\\u001F/\u{7f}ä\u{2028}\"\n}"
        );
        assert_eq!(text(|o| o.set("p", &b"/\xFFx"[..])), "{\n  \"p\" : \"/\u{FFFD}x\"\n}");
        assert_eq!(text(|o| o.set("n", f64::NAN)), "{\n  \"n\" : null\n}");
    }
}
