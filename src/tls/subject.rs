//! The subject of a certificate as scheme x509 names it. Source: `X500Principal.getName`, RFC 2253.

use super::der;
use std::borrow::Cow;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

/// The attribute types that Java writes by name; all others by number, with the value in hexadecimal.
const NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The name in RFC 2253: the last part first.
pub(super) fn rfc2253(name: &X509Name<'_>) -> String {
    let part =
        |part: &RelativeDistinguishedName<'_>| part.iter().map(attribute).collect::<Vec<_>>().join("+");
    let mut parts: Vec<String> = name.iter_rdn().map(part).collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = number(attribute.attr_type().as_bytes());
    let value = attribute.attr_value();
    let named = NAMES.iter().find(|(number, _)| *number == kind);
    match (named, text(value)) {
        (Some((_, name)), Some(text)) => format!("{name}={}", escaped(&text)),
        (Some((_, name)), None) => format!("{name}=#{}", hexadecimal(value)),
        (None, _) => format!("{kind}=#{}", hexadecimal(value)),
    }
}

/// An attribute type as numbers with dots; the library's own way has no first number with a second one over 39.
fn number(der: &[u8]) -> String {
    let (mut parts, mut part) = (Vec::new(), 0u128);
    for byte in der {
        part = part << 7 | u128::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            if parts.is_empty() {
                let first = (part / 40).min(2);
                parts.push(first.to_string());
                part -= first * 40;
            }
            parts.push(part.to_string());
            part = 0;
        }
    }
    parts.join(".")
}

/// The text of a value that is a text, a universal one is none: Java takes the bytes of each kind for UTF-8.
fn text<'a>(value: &'a Any<'_>) -> Option<Cow<'a, str>> {
    let is_text = matches!(
        value.tag(),
        Tag::Utf8String
            | Tag::PrintableString
            | Tag::Ia5String
            | Tag::T61String
            | Tag::GeneralString
            | Tag::BmpString
    );
    is_text.then(|| String::from_utf8_lossy(value.data))
}

/// The DER of a value: tag, length, contents.
fn hexadecimal(value: &Any<'_>) -> String {
    let der = der::value(value.tag().0 as u8, value.data);
    der.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Source: `AVA.toRFC2253String`, as the Java library behaves.
fn escaped(text: &str) -> String {
    let is_blank = |c: char| matches!(c, ' ' | '\r');
    let inner = text.trim_matches(is_blank);
    // A text of blanks has no inner part: all of it leads.
    let leading = text.len() - text.trim_start_matches(is_blank).len();
    let end = leading + inner.len();
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c == '\0' {
            out.push_str("\\00");
            continue;
        }
        let is_edge = at < leading || at >= end;
        if is_edge || matches!(c, ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{der, number, rfc2253};
    use x509_parser::prelude::{FromDer, X509Name};

    /// Type, tag and bytes.
    type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

    fn name(parts: &[&[Attribute<'_>]]) -> String {
        let attribute = |(kind, tag, value): &Attribute<'_>| {
            der::value(0x30, &[der::value(0x06, kind), der::value(*tag, value)].concat())
        };
        let part = |part: &&[Attribute<'_>]| {
            der::value(0x31, &part.iter().map(attribute).collect::<Vec<_>>().concat())
        };
        let name = der::value(0x30, &parts.iter().map(part).collect::<Vec<_>>().concat());
        rfc2253(&X509Name::from_der(&name).expect("a name").1)
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];
    const EMAIL: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1];
    const UTF8: u8 = 0x0C;

    /// Values as `X500Principal.getName` of Java 17 writes them; the compat test `tls` has more of them.
    #[test]
    fn values() {
        for (value, expected) in [
            (&b"a"[..], "CN=a"),
            (b"", "CN="),
            (b" a  ", "CN=\\ a\\ \\ "),
            (b"  ", "CN=\\ \\ "),
            (b"a,b+c=d;e<f>g#", "CN=a\\,b\\+c\\=d\\;e\\<f\\>g\\#"),
            (b"q\"b\\", "CN=q\\\"b\\\\"),
            (b"a\0b", "CN=a\\00b"),
            (b"\ra\r", "CN=\\\ra\\\r"),
            ("\u{fc}\u{20ac}".as_bytes(), "CN=\u{fc}\u{20ac}"),
            (b"\xFF\xFE", "CN=\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(name(&[&[(CN, UTF8, value)]]), expected);
        }
    }

    /// Order, several attributes in one part, types without a name, values that are no text.
    #[test]
    fn names() {
        assert_eq!(name(&[]), "");
        assert_eq!(name(&[&[(O, UTF8, b"x")], &[(CN, UTF8, b"b"), (O, UTF8, b"a")]]), "CN=b+O=a,O=x");
        assert_eq!(name(&[&[(EMAIL, 0x16, b"a")]]), "1.2.840.113549.1.9.1=#160161");
        assert_eq!(name(&[&[(CN, 0x1C, b"a")]]), "CN=#1c0161", "a universal text");
        assert_eq!(name(&[&[(CN, 0x1E, b"\0a")]]), "CN=\\00a", "two bytes a character");
        assert_eq!(name(&[&[(CN, 0x02, &[5])]]), "CN=#020105");
    }

    /// The first two numbers are one of the encoding.
    #[test]
    fn numbers() {
        for (der, expected) in [
            (&[0x55, 4, 3][..], "2.5.4.3"),
            (&[0x2A, 3], "1.2.3"),
            (&[0x27], "0.39"),
            (&[0x88, 0x37, 1], "2.999.1"),
            (&[], ""),
        ] {
            assert_eq!(number(der), expected);
        }
    }
}
