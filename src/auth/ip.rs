//! The ip scheme: the peer's address, and lists that name addresses by prefix.

use std::fmt::Write as _;

/// An address in network order; families never match each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    V4(u32),
    V6(u128),
}

impl Address {
    /// The address that a text names.
    pub fn parse(text: &str) -> Option<Self> {
        address(text)
    }

    fn bits(self) -> u32 {
        match self {
            Self::V4(_) => u32::BITS,
            Self::V6(_) => u128::BITS,
        }
    }

    /// The first `bits` bits, the others 0.
    fn prefix(self, bits: u32) -> Self {
        match self {
            Self::V4(value) => Self::V4(value & u32::MAX.checked_shl(32 - bits).unwrap_or(0)),
            Self::V6(value) => Self::V6(value & u128::MAX.checked_shl(128 - bits).unwrap_or(0)),
        }
    }
}

/// The addresses with one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Range {
    prefix: Address,
    bits: u32,
}

impl Range {
    /// The range that an entry of a list names.
    pub fn parse(expression: &str) -> Option<Self> {
        parse(expression).and_then(|(address, bits)| Self::around(address, bits))
    }

    /// The range of this length that `address` is in, if its family has prefixes that long.
    pub fn around(address: Address, bits: u32) -> Option<Self> {
        (bits <= address.bits()).then(|| Self { prefix: address.prefix(bits), bits })
    }

    /// The prefix's length.
    pub fn bits(&self) -> u32 {
        self.bits
    }
}

/// An IPv4 address as the ip scheme and `Connections` listings write it.
pub fn ip_text_v4(octets: [u8; 4]) -> String {
    let [a, b, c, d] = octets;
    format!("{a}.{b}.{c}.{d}")
}

/// An IPv6 address as Java's `getHostAddress` writes it: eight groups, none of them left out. One
/// that carries an IPv4 address is that address, as for Java.
pub fn ip_text_v6(octets: [u8; 16]) -> String {
    if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d] = octets {
        return ip_text_v4([a, b, c, d]);
    }
    let mut text = String::with_capacity(39);
    for (at, group) in octets.chunks_exact(2).enumerate() {
        let group = u16::from_be_bytes([group[0], group[1]]);
        write!(text, "{}{group:x}", if at == 0 { "" } else { ":" }).expect("a string takes all");
    }
    text
}

/// Whether an entry of a list may have this id: `address` or `address/bits`.
pub fn is_valid(id: &str) -> bool {
    parse(id).is_some()
}

/// Whether the peer at `id` is in the range that `expression` names.
pub fn matches(id: &str, expression: &str) -> bool {
    let (Some(peer), Some((address, bits))) = (address(id), parse(expression)) else { return false };
    peer.bits() == address.bits() && peer.prefix(bits) == address.prefix(bits)
}

fn parse(expression: &str) -> Option<(Address, u32)> {
    let (text, bits) = match expression.split_once('/') {
        Some((text, bits)) => (text, Some(bits)),
        None => (expression, None),
    };
    let address = address(text)?;
    let bits = match bits {
        // Signed, since Java's `Integer.parseInt` takes "-0".
        Some(bits) => u32::try_from(bits.parse::<i32>().ok()?).ok()?,
        None => address.bits(),
    };
    (bits <= address.bits()).then_some((address, bits))
}

fn address(text: &str) -> Option<Address> {
    if text.contains(':') { v6(text).map(Address::V6) } else { v4(text).map(Address::V4) }
}

fn v4(text: &str) -> Option<u32> {
    let mut value = 0;
    let mut count = 0;
    for part in text.split('.') {
        let byte = u8::try_from(part.parse::<i32>().ok()?).ok()?;
        value = value << 8 | u32::from(byte);
        count += 1;
        if count > 4 {
            return None;
        }
    }
    (count == 4).then_some(value)
}

fn v6(text: &str) -> Option<u128> {
    let mut parts = text.split("::");
    let (head, tail) = (parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let (high, high_groups) = groups(head, tail.is_some())?;
    let Some(tail) = tail else { return (high_groups == 8).then_some(high) };
    let (low, low_groups) = groups(tail, true)?;
    if high_groups + low_groups >= 8 {
        return None;
    }
    Some(high.checked_shl(16 * (8 - high_groups)).unwrap_or(0) | low)
}

/// The groups of `text` as one number, and how many there are.
fn groups(text: &str, may_be_empty: bool) -> Option<(u128, u32)> {
    if text.is_empty() && may_be_empty {
        return Some((0, 0));
    }
    let (mut value, mut count) = (0, 0);
    for group in text.split(':') {
        if group.is_empty() || group.len() > 4 || count == 8 {
            return None;
        }
        // Signed, since Java's `Integer.parseInt` is; it keeps the low 16 bits.
        let group = i32::from_str_radix(group, 16).ok()? as u16;
        value = value << 16 | u128::from(group);
        count += 1;
    }
    Some((value, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses and prefixes that `IPAuthenticationProvider` takes, and those that it does not.
    #[test]
    fn validity() {
        for good in [
            "1.2.3.4",
            "0.0.0.0/0",
            "1.2.3.4/32",
            "01.2.3.4",
            "::",
            "::1",
            "1::",
            "::/0",
            "::1/128",
            "1:2:3:4:5:6:7:8",
            "fe80::abcd/10",
            "1:2:3:4:5:6:7::",
        ] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.-1",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/-1",
            "1.2.3.4/8/8",
            "localhost",
            ":",
            ":::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4::5:6:7:8",
            "1::2::3",
            "12345::",
            "g::",
            "::1/129",
            "fe80::1%eth0",
            "::1.2.3.4",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    /// A prefix covers its addresses, to the bit, and never the other family.
    #[test]
    fn prefixes() {
        assert!(matches("10.1.2.3", "10.1.2.3"));
        assert!(!matches("10.1.2.4", "10.1.2.3"));
        assert!(matches("10.1.2.4", "10.1.2.3/29") && !matches("10.1.2.8", "10.1.2.3/29"));
        assert!(matches("255.1.2.4", "0.0.0.0/0"));
        assert!(matches("0:0:0:0:0:0:0:1", "::1"));
        assert!(matches("fe80:0:0:0:1:2:3:4", "fe80::/10") && !matches("fec0:0:0:0:0:0:0:0", "fe80::/10"));
        assert!(matches("1:0:0:0:0:0:0:1", "::/0"));
        assert!(!matches("0.0.0.1", "::/0") && !matches("0:0:0:0:0:0:0:1", "0.0.0.0/0"));
        assert!(!matches("fe80:0:0:0:0:0:0:1%eth0", "::/0"));
    }

    /// Addresses are written as Java writes them.
    #[test]
    fn text() {
        assert_eq!(ip_text_v4([127, 0, 0, 1]), "127.0.0.1");
        let mut octets = [0; 16];
        octets[15] = 1;
        assert_eq!(ip_text_v6(octets), "0:0:0:0:0:0:0:1");
        octets[0] = 0xFE;
        octets[1] = 0x80;
        assert_eq!(ip_text_v6(octets), "fe80:0:0:0:0:0:0:1");
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 1];
        assert_eq!(ip_text_v6(mapped), "10.0.0.1");
    }
}
