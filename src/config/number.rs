//! Java's ways to read a number or a boolean, which differ by the place that reads it.

/// `Integer.parseInt`: an optional sign and decimal digits, nothing around them.
/// Digits of other scripts, which Java takes, are refused.
pub(super) fn parse_int(text: &str) -> Option<i32> {
    parse_long(text).and_then(|n| i32::try_from(n).ok())
}

/// `Long.parseLong`.
pub(super) fn parse_long(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// `Integer.decode`, which `Integer.getInteger` calls: `0x`, `0X` or `#` is hexadecimal, a leading 0 octal.
pub(super) fn decode_int(text: &str) -> Option<i32> {
    decode_long(text).and_then(|n| i32::try_from(n).ok())
}

/// `Long.decode`, which `Long.getLong` calls.
pub(super) fn decode_long(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hex) = ["0x", "0X", "#"].iter().find_map(|p| digits.strip_prefix(p)) {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `QuorumPeerConfig.parseBoolean`: `true` or `false` in any case, nothing else.
pub(super) fn strict_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two readers agree with Java 17 on signs, radix prefixes, blanks and overflow.
    #[test]
    fn as_java_reads_numbers() {
        let cases = [
            ("0x10", None, Some(16)),
            ("010", Some(10), Some(8)),
            ("#10", None, Some(16)),
            ("+5", Some(5), Some(5)),
            (" 5", None, None),
            ("5 ", None, None),
            ("1e3", None, None),
            ("08", Some(8), None),
            ("-0x10", None, Some(-16)),
            ("0x-10", None, None),
            ("--1", None, None),
            ("0", Some(0), Some(0)),
            ("-0", Some(0), Some(0)),
            ("", None, None),
            ("-", None, None),
            ("0x", None, None),
            ("5k", None, None),
            ("2147483648", None, None),
            ("-2147483648", Some(i32::MIN), Some(i32::MIN)),
        ];
        for (text, parsed, decoded) in cases {
            assert_eq!(parse_int(text), parsed, "parseInt {text:?}");
            assert_eq!(decode_int(text), decoded, "decode {text:?}");
        }
        assert_eq!(decode_long("-0x8000000000000000"), Some(i64::MIN));
    }
}
