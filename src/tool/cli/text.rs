//! How a Stat, an ACL and data are written, as text of zkCli and as JSON.

use super::error::CliError;
use crate::admin::date::date_of;
use crate::proto::{Acl, Id, Perms, Stat};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Bytes in a line of a hex dump.
const DUMP_BYTES: usize = 16;

/// The eleven lines of a Stat, each with its end. Times are in UTC.
///
/// Source: `StatPrinter`.
pub fn stat_lines(stat: &Stat) -> String {
    format!(
        "cZxid = {}\nctime = {}\nmZxid = {}\nmtime = {}\npZxid = {}\ncversion = {}\ndataVersion = {}\naclVersion = {}\n\
         ephemeralOwner = {}\ndataLength = {}\nnumChildren = {}\n",
        stat.czxid,
        java_date(stat.ctime_ms),
        stat.mzxid,
        java_date(stat.mtime_ms),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_bytes,
        stat.children,
    )
}

/// A Stat under the names of `zookeeper.jute`. Zxids and the owner are strings of hex digits: as numbers, programs that
/// read JSON into floating point would round them.
pub fn stat_json(stat: &Stat) -> Value {
    json!({
        "czxid": stat.czxid.to_string(),
        "mzxid": stat.mzxid.to_string(),
        "pzxid": stat.pzxid.to_string(),
        "ctime": stat.ctime_ms,
        "mtime": stat.mtime_ms,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeralOwner": stat.ephemeral_owner.to_string(),
        "dataLength": stat.data_bytes,
        "numChildren": stat.children,
    })
}

/// Milliseconds since 1970 as `java.util.Date` shows them in UTC: `Sun Nov 29 14:35:00 UTC 2026`.
fn java_date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date_of(days);
    // Both are in range: of seven, and from 1 to 12.
    let (weekday, month) = (DAYS[days.rem_euclid(7) as usize], MONTHS[(month - 1) as usize]);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{:02} UTC {year}", second % 60)
}

/// Adds `data` (a string, or null where it is not UTF-8 or there is none) and `base64` (null where there is none).
pub fn put_data_json(object: &mut Map<String, Value>, data: Option<&[u8]>) {
    let text = data.and_then(|data| std::str::from_utf8(data).ok());
    object.insert("data".to_owned(), text.map_or(Value::Null, Value::from));
    object.insert("base64".to_owned(), data.map_or(Value::Null, |data| Value::from(STANDARD.encode(data))));
}

/// Data in base64.
pub fn base64(data: &[u8]) -> String {
    STANDARD.encode(data)
}

/// Reads base64.
///
/// # Errors
/// [`CliError::Usage`] if it is none.
pub fn from_base64(text: &str) -> Result<Vec<u8>, CliError> {
    STANDARD.decode(text).map_err(|error| CliError::Usage(format!("not base64: {error}")))
}

/// Hex digits without spaces.
pub fn hex(data: &[u8]) -> String {
    data.iter().fold(String::with_capacity(data.len() * 2), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The table of zkCli's `get -x`; empty for no bytes.
///
/// Source: `ByteBufUtil.prettyHexDump` of Netty 4.1.
pub fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let border = format!("+--------+{}+{}+", "-".repeat(49), "-".repeat(16));
    let mut dump = format!("         +{}+\n         | ", "-".repeat(49));
    for column in 0..DUMP_BYTES {
        let _ = write!(dump, " {column:x} ");
    }
    let _ = write!(dump, "|\n{border}\n");
    for (row, bytes) in data.chunks(DUMP_BYTES).enumerate() {
        let digits = bytes.iter().fold(String::new(), |digits, byte| format!("{digits} {byte:02x}"));
        let shown = |&byte: &u8| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' };
        let letters: String = bytes.iter().map(shown).collect();
        let _ = writeln!(dump, "|{:08x}|{digits:48} |{letters:16}|", row * DUMP_BYTES);
    }
    dump + &border
}

/// Reads the letters of permissions.
///
/// # Errors
/// [`CliError::Usage`] for another letter. zkCli warns and goes on, which grants less than was asked for.
pub fn parse_perms(text: &str) -> Result<Perms, CliError> {
    text.chars().try_fold(Perms(0), |perms, letter| {
        Ok(perms.or(match letter {
            'c' => Perms::CREATE,
            'd' => Perms::DELETE,
            'r' => Perms::READ,
            'w' => Perms::WRITE,
            'a' => Perms::ADMIN,
            other => return Err(CliError::Usage(format!("{other:?} is no permission: c, d, r, w or a"))),
        }))
    })
}

/// Reads `scheme:id:perms[,scheme:id:perms...]`. The scheme ends at the first colon, the id at the last.
///
/// # Errors
/// [`CliError::Usage`] where an entry has another form.
///
/// Source: `AclParser`.
pub fn parse_acl(text: &str) -> Result<Vec<Acl>, CliError> {
    text.split(',').map(parse_entry).collect()
}

fn parse_entry(text: &str) -> Result<Acl, CliError> {
    let bad = || CliError::Usage(format!("{text:?} does not have the form scheme:id:perms"));
    let (scheme, rest) = text.split_once(':').ok_or_else(bad)?;
    let (id, perms) = rest.rsplit_once(':').ok_or_else(bad)?;
    Ok(Acl { perms: parse_perms(perms)?, id: Id::new(scheme, id) })
}

/// An ACL as a list of `{"scheme", "id", "perms"}`.
pub fn acl_json(acl: &[Acl]) -> Value {
    let entry =
        |acl: &Acl| json!({ "scheme": &*acl.id.scheme, "id": &*acl.id.id, "perms": acl.perms.to_string() });
    acl.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a Stat, with times as Java shows them.
    #[test]
    fn stats() {
        let stat = Stat { ctime_ms: 1_796_049_300_123, mtime_ms: -1, version: 3, ..Stat::default() };
        let lines = stat_lines(&stat);
        assert!(lines.contains("\nctime = Mon Nov 30 14:35:00 UTC 2026\n"), "{lines}");
        assert!(lines.contains("\nmtime = Wed Dec 31 23:59:59 UTC 1969\n"), "{lines}");
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(1_709_164_800_000), "Thu Feb 29 00:00:00 UTC 2024");
        assert_eq!(stat_json(&stat)["version"], 3);
        assert_eq!(stat_json(&stat)["czxid"], "0x0");
    }

    /// A dump as Netty makes it.
    #[test]
    fn dumps() {
        let dump = hex_dump(b"hello\nworld 12345");
        let lines: Vec<&str> = dump.lines().collect();
        assert_eq!(lines[1], "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |");
        assert_eq!(lines[3], "|00000000| 68 65 6c 6c 6f 0a 77 6f 72 6c 64 20 31 32 33 34 |hello.world 1234|");
        assert_eq!(lines[4], "|00000010| 35                                              |5               |");
        assert_eq!((lines.len(), lines[0].len()), (6, 60));
        assert_eq!(hex_dump(b""), "");
        assert_eq!(hex(b"\x00\xff"), "00ff");
    }

    /// Access lists are read and written; an id may have colons, and a mistake is refused.
    #[test]
    fn acls() {
        let acl = parse_acl("world:anyone:r,digest:bob:x=:cdrwa").expect("good");
        assert_eq!((&*acl[1].id.scheme, &*acl[1].id.id, acl[1].perms), ("digest", "bob:x=", Perms::ALL));
        assert_eq!([&acl[0], &acl[1]].map(|acl| acl.perms.to_string()), ["r", "cdrwa"]);
        assert_eq!(acl_json(&acl)[0], json!({ "scheme": "world", "id": "anyone", "perms": "r" }));
        for bad in ["world", "world:anyone", "world:anyone:x", ""] {
            assert!(parse_acl(bad).is_err(), "{bad}");
        }
    }

    /// Data that is not UTF-8 is in JSON as base64 only; no data is null.
    #[test]
    fn data() {
        let object = |data: Option<&[u8]>| {
            let mut object = Map::new();
            put_data_json(&mut object, data);
            Value::Object(object)
        };
        assert_eq!(object(Some(b"a")), json!({ "data": "a", "base64": "YQ==" }));
        assert_eq!(object(Some(b"\xff")), json!({ "data": null, "base64": "/w==" }));
        assert_eq!(object(None), json!({ "data": null, "base64": null }));
    }
}
