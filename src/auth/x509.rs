//! Scheme x509: names of certificates' subjects in ACLs. The shell reads the certificate.

/// Attribute types that Java's library knows by name. It takes others by number.
const TYPES: [&str; 21] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// What a backslash may make part of a value, beside two hexadecimal digits; between quotes not the blank.
const ESCAPABLE: &str = ",=\n+<>#;\\\" ";

/// What is part of a value only after a backslash, or between quotes.
const RESERVED: &str = ",+<>;\"";

/// True if `id` is a name that an ACL may hold. Source: `X500Principal(String)`, as the Java library behaves.
pub fn is_valid(id: &str) -> bool {
    id.is_empty() || attributes(id).into_iter().all(is_attribute)
}

/// The attributes of a name. As in Java a quote after a backslash counts for none, even if that backslash is escaped.
fn attributes(id: &str) -> Vec<&str> {
    let (mut attributes, mut begin, mut is_quoted, mut backslashes) = (Vec::new(), 0, false, 0);
    for (at, c) in id.char_indices() {
        match c {
            '"' if backslashes == 0 => is_quoted = !is_quoted,
            ',' | ';' | '+' if !is_quoted && backslashes % 2 == 0 => {
                attributes.push(&id[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
    }
    attributes.push(&id[begin..]);
    attributes
}

fn is_attribute(attribute: &str) -> bool {
    let Some((kind, value)) = attribute.split_once('=') else { return false };
    is_type(kind.trim_matches(|c| c <= ' ')) && is_value(value.trim_start_matches([' ', '\n']))
}

fn is_type(kind: &str) -> bool {
    if TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return true;
    }
    let is_prefixed = kind.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("OID."));
    let number = if is_prefixed { &kind[4..] } else { kind };
    let parts: Vec<&str> = number.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let [first, second, ..] = parts[..] else { return false };
    // The first two are one byte of the encoding.
    let is_within = match first.trim_start_matches('0') {
        "" | "1" => second.parse::<u8>().is_ok_and(|second| second < 40),
        first => first == "2",
    };
    is_within && parts.iter().all(is_number)
}

fn is_value(value: &str) -> bool {
    if let Some(digits) = value.strip_prefix('#') {
        return is_der(digits);
    }
    let quoted = value.strip_prefix('"');
    let mut chars = quoted.unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_hexdigit() => {
                    if !chars.next().is_some_and(|digit| digit.is_ascii_hexdigit()) {
                        return false;
                    }
                }
                Some(' ') if quoted.is_some() => return false,
                Some(c) if ESCAPABLE.contains(c) => {}
                _ => return false,
            },
            '"' if quoted.is_some() => return chars.all(|c| matches!(c, ' ' | '\n')),
            c if quoted.is_none() && RESERVED.contains(c) => return false,
            _ => {}
        }
    }
    quoted.is_none()
}

/// True of hexadecimal digits that are one value of DER: tag, length, and so many bytes.
fn is_der(digits: &str) -> bool {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let Some(bytes) = pairs.map(|pair| byte(pair).filter(|_| pair.len() == 2)).collect::<Option<Vec<u8>>>()
    else {
        return false;
    };
    let [tag, first, rest @ ..] = &bytes[..] else { return false };
    if tag & 0x1F == 0x1F {
        // A tag of several bytes.
        return false;
    }
    if *first < 0x80 {
        return rest.len() == usize::from(*first);
    }
    let count = usize::from(first & 0x7F);
    let Some((length, contents)) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count)) else {
        return false;
    };
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    contents.len() == length
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    /// As `new X500Principal(id)` of Java 17 takes them or throws; the compat test `tls` asks both servers for more of them.
    #[test]
    fn validity() {
        for id in [
            "",
            "CN=a",
            "cn=a, o = b",
            "CN=",
            "CN= ",
            "CN=a+O=b;UID=x,DC=y",
            "CN=a\\,b",
            "CN=a\\20",
            "CN=a\\C3\\BC",
            "CN=a\\ ",
            "CN=\\\\",
            "CN=\"a,b\\\"+\" ,O=x",
            "CN=\"\"",
            "CN=#160161",
            "CN=#16810161",
            "CN=a=b",
            "CN=a#b",
            "CN=\u{fc}",
            "1.2=a",
            "0.39=a",
            "2.99999999999999999999999=a",
            "01.02.3=a",
            "Oid.2.5.4.3 =a",
            "1.2.840.113549.1.9.1=#160161",
        ] {
            assert!(is_valid(id), "{id}");
        }
        for id in [
            " ",
            "a",
            "CN",
            "=a",
            "CN=a,b",
            "XY=a",
            "E=a",
            "OID=a",
            "CN=\"a",
            "CN=a\\",
            "CN=a,,O=b",
            "CN=a,",
            "CN=a\"b\"",
            "CN=\"a\"b",
            "CN=\"a\\ b\"",
            "CN=a<b",
            "CN=a\\2",
            "CN=a\\zz",
            "CN=#",
            "CN=#1601",
            "CN=#16016",
            "CN=#160161 ",
            "CN=#1F0100",
            "CN=\"a\\\\\",O=b",
            "CN=#zz",
            "OID.CN=a",
            "3.1.2=a",
            "1.40=a",
            "0.40=a",
            "1=a",
            "1..2=a",
            ".1=a",
            "1.=a",
            "OID. 1.2=a",
        ] {
            assert!(!is_valid(id), "{id}");
        }
    }
}
