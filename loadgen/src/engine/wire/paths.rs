//! Paths of the znodes that loadgen makes, and the digits in them.

/// All znodes of loadgen are below this path.
pub const ROOT: &str = "/loadgen";

/// Digits of every number in a path.
pub const DIGITS: usize = 8;

/// Numbers in a path are below this.
pub const NUMBERS: u64 = 100_000_000;

/// What the path of a prepared key begins with; the key's digits follow.
pub const KEY_PREFIX: &str = "/loadgen/k";

/// Path of a prepared key.
pub fn key_path(key: u32) -> String {
    format!("{KEY_PREFIX}{key:08}")
}

/// Path of a parent of created znodes.
pub fn group_path(base: &str, group: u32) -> String {
    format!("{base}/g{group:08}")
}

/// Path of a znode below a parent.
pub fn leaf_path(parent: &str, leaf: u32) -> String {
    format!("{parent}/n{leaf:08}")
}

/// The digits of a number in a path.
pub fn digits(number: u32) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// The number that `digits` stand for; `None` if they are not [`DIGITS`] decimal digits.
pub fn number(digits: &[u8]) -> Option<u32> {
    let ok = digits.len() == DIGITS && digits.iter().all(u8::is_ascii_digit);
    ok.then(|| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}
