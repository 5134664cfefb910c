//! Zxids, sessions, times and paths as people write them on a command line, and times as they read them.

use crate::proto::{SessionId, Zxid};
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

/// The last millisecond of the year 9999, which a date still shows.
const DATE_MS_MAX: i64 = 253_402_300_799_999;

/// A date in UTC, to the millisecond; the number itself where it is no date.
pub fn time_text(time_ms: i64) -> String {
    match u64::try_from(time_ms) {
        Ok(since_1970) if time_ms <= DATE_MS_MAX => {
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(since_1970)).to_string()
        }
        _ => time_ms.to_string(),
    }
}

/// A time: `2026-11-29`, `2026-11-29 14:35:02`, `2026-11-29T14:35:02.123Z` (all UTC), or milliseconds since 1970.
///
/// # Errors
/// The text is none of these.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(time_ms) = text.parse::<i64>() {
        return Ok(time_ms);
    }
    let is_date = text.len() == "2026-11-29".len();
    let whole = if is_date { format!("{text} 00:00:00") } else { text.to_owned() };
    let time = humantime::parse_rfc3339_weak(&whole).map_err(|error| {
        format!("{error}: write 2026-11-29, 2026-11-29T14:35:02 (both UTC) or milliseconds since 1970")
    })?;
    let since_1970 = time.duration_since(UNIX_EPOCH).map_err(|_| "it is before 1970")?;
    i64::try_from(since_1970.as_millis()).map_err(|error| error.to_string())
}

/// A number in decimal, or in hex after `0x`.
fn parse_number(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|error| format!("{error}: write a decimal number, or 0x and hex digits"))
}

/// A session: `0x` and hex digits, as ZooKeeper shows it, or a decimal number.
///
/// # Errors
/// The text is no number.
pub fn parse_session(text: &str) -> Result<SessionId, String> {
    match text.parse::<i64>() {
        Ok(id) => Ok(SessionId(id)),
        Err(_) => parse_number(text).map(|id| SessionId(id.cast_signed())),
    }
}

/// A zxid: `0x` and hex digits, or a decimal number.
///
/// # Errors
/// The text is no number.
pub fn parse_zxid(text: &str) -> Result<Zxid, String> {
    parse_number(text).map(Zxid)
}

/// Zxids from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZxidRange {
    first: Zxid,
    last: Zxid,
}

impl ZxidRange {
    /// True if `zxid` is in it.
    pub fn contains(self, zxid: Zxid) -> bool {
        (self.first..=self.last).contains(&zxid)
    }
}

/// `A..B`, `A..`, `..B`, or one zxid.
impl FromStr for ZxidRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((first, last)) = text.split_once("..") else {
            let only = parse_zxid(text)?;
            return Ok(Self { first: only, last: only });
        };
        let end = |text: &str, open| if text.is_empty() { Ok(Zxid(open)) } else { parse_zxid(text) };
        let range = Self { first: end(first, 0)?, last: end(last.trim_start_matches('='), u64::MAX)? };
        if range.first > range.last {
            return Err(format!("{} is above {}", range.first, range.last));
        }
        Ok(range)
    }
}

/// A path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtree(String);

impl Subtree {
    /// True if `path` is the subtree's root or below it.
    pub fn contains(&self, path: &[u8]) -> bool {
        let rest = path.strip_prefix(self.0.as_bytes());
        self.0 == "/" || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The path of its root.
    pub fn root(&self) -> &str {
        &self.0
    }
}

/// A znode's path; a slash at its end means nothing.
impl FromStr for Subtree {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("a path begins with /".to_owned());
        }
        let root = text.trim_end_matches('/');
        Ok(Self(if root.is_empty() { "/" } else { root }.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges are closed, and open where an end is left out.
    #[test]
    fn ranges() {
        let holds = |range: &str, zxid| range.parse::<ZxidRange>().expect("a range").contains(Zxid(zxid));
        assert!(holds("0x10..0x20", 16) && holds("0x10..0x20", 32));
        assert!(!holds("0x10..0x20", 15) && !holds("16..32", 33));
        assert!(holds("..5", 0) && holds("5..", u64::MAX) && holds("7", 7) && !holds("7", 8));
        for bad in ["b", "0x", "9..8", "1..x", ""] {
            assert!(bad.parse::<ZxidRange>().is_err(), "{bad:?}");
        }
    }

    /// Dates are UTC; a number is milliseconds since 1970.
    #[test]
    fn times() {
        for text in ["2023-11-14T22:13:20.123Z", "2023-11-14 22:13:20.123", "1700000000123"] {
            assert_eq!(parse_time(text), Ok(1_700_000_000_123), "{text}");
        }
        assert_eq!(parse_time("1970-01-02"), Ok(86_400_000));
        assert!(parse_time("yesterday").expect_err("no date").contains("write 2026"));
        assert_eq!(time_text(-1), "-1");
        assert_eq!(time_text(i64::MAX), i64::MAX.to_string());
        assert_eq!(time_text(DATE_MS_MAX), "9999-12-31T23:59:59.999Z");
    }

    /// Sessions of servers with a number above 127 are negative, and read back as they are shown.
    #[test]
    fn sessions() {
        let negative = SessionId(i64::MIN + 5);
        assert_eq!(parse_session(&negative.to_string()), Ok(negative));
        assert_eq!(parse_session(&negative.0.to_string()), Ok(negative));
        assert!(parse_session("10000ab").is_err());
    }

    /// A subtree ends at a slash: /ab is not below /a.
    #[test]
    fn subtrees() {
        let holds = |root: &str, path: &[u8]| root.parse::<Subtree>().expect("a path").contains(path);
        assert!(holds("/a", b"/a") && holds("/a/", b"/a/b") && holds("/", b"/x") && holds("/", b"/"));
        assert!(!holds("/a", b"/ab") && !holds("/a/b", b"/a"));
        assert!("a".parse::<Subtree>().is_err());
    }
}
