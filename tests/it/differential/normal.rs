//! Turns answers and events into text that must be equal on two servers, byte for byte.
//!
//! | must differ          | becomes                                                                 |
//! |----------------------|-------------------------------------------------------------------------|
//! | zxid                 | its distance from the program's first zxid; 0 and -1 stay               |
//! | ctime, mtime         | `ok` if this txn always has this time, and the time is recent           |
//! | session id           | the number of the session in order of creation                          |
//! | order of children    | sorted, since Java keeps them in a hash table                           |
//! | order of identities, of ephemerals, of entries that `auth` stands for | sorted, likewise       |
//! | order of the deletions of one closeSession | sorted by path, likewise                          |

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};
use zkfast::client::{Body, Event, Incoming, OpResult, Reply};
use zkfast::proto::{Acl, ConnectResponse, SessionId, Stat};

/// How far a server's times may be from the test's own, by the same clock.
const CLOCK_SLACK: Duration = Duration::from_secs(5);
/// Longest data that is shown. Longer data becomes its length and checksum.
const DATA_SHOWN_BYTES: usize = 40;

/// What the text of one server's answers refers to.
#[derive(Debug)]
pub struct Normal {
    /// Zxids from which later ones are counted, oldest first.
    bases: Vec<i64>,
    time_of: HashMap<i64, i64>,
    sessions: HashMap<SessionId, usize>,
    started: SystemTime,
}

impl Normal {
    /// Counts zxids from `zxid_base`.
    pub fn new(zxid_base: i64) -> Self {
        let sessions = HashMap::new();
        Self { bases: vec![zxid_base], time_of: HashMap::new(), sessions, started: SystemTime::now() }
    }

    /// Counts zxids above `zxid_base` from it. After a difference between the servers this keeps later zxids equal.
    /// Zxids up to `zxid_base` keep their former base.
    pub fn rebase(&mut self, zxid_base: i64) {
        self.bases.push(zxid_base);
    }

    fn base(&self) -> i64 {
        *self.bases.last().expect("there is always a base")
    }

    /// A distance from the base as this server's zxid.
    pub fn absolute(&self, distance: i64) -> i64 {
        self.base() + distance
    }

    /// This server's zxid as a distance from the base.
    pub fn distance(&self, zxid: i64) -> i64 {
        zxid - self.base()
    }

    fn zxid(&self, zxid: i64) -> String {
        if zxid <= 0 {
            return zxid.to_string();
        }
        let since = self.bases.iter().rposition(|&base| base < zxid).unwrap_or(0);
        let distance = zxid - self.bases[since];
        if since + 1 == self.bases.len() { format!("{distance:+}") } else { format!("{since}:{distance:+}") }
    }

    fn owner(&self, id: SessionId) -> String {
        match (id, self.sessions.get(&id)) {
            (SessionId::NONE, _) => "0".into(),
            (_, Some(number)) => format!("s{number}"),
            _ => "unknown".into(),
        }
    }

    /// The time of the txn `zxid`, which must be the same in all answers.
    fn time(&mut self, zxid: i64, ms: i64) -> &'static str {
        if zxid == 0 {
            return if ms == 0 { "0" } else { "not 0" };
        }
        if *self.time_of.entry(zxid).or_insert(ms) != ms {
            return "another one before";
        }
        let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let first = since_1970(self.started).saturating_sub(CLOCK_SLACK);
        let last = since_1970(SystemTime::now()) + CLOCK_SLACK;
        if (first..=last).contains(&time) { "ok" } else { "far off" }
    }

    fn stat(&mut self, stat: &Stat) -> String {
        let (czxid, mzxid) = (stat.czxid.to_wire(), stat.mzxid.to_wire());
        format!(
            "[c={} m={} p={} ctime={} mtime={} v={} cv={} av={} owner={} bytes={} children={}]",
            self.zxid(czxid),
            self.zxid(mzxid),
            self.zxid(stat.pzxid.to_wire()),
            self.time(czxid, stat.ctime_ms),
            self.time(mzxid, stat.mtime_ms),
            stat.version,
            stat.cversion,
            stat.aversion,
            self.owner(stat.ephemeral_owner),
            stat.data_bytes,
            stat.children
        )
    }

    /// A connect response. A new session gets the next number.
    pub fn connect(&mut self, response: &ConnectResponse) -> String {
        let next = self.sessions.len();
        if response.session_id.is_some() {
            self.sessions.entry(response.session_id).or_insert(next);
        }
        format!(
            "connected: timeout={} session={} password={} read_only={:?}",
            response.timeout_ms,
            self.owner(response.session_id),
            if response.password == [0; 16] { "zeros" } else { "some" },
            response.read_only
        )
    }

    /// One reply or event.
    pub fn incoming(&mut self, incoming: &Incoming) -> String {
        match incoming {
            Incoming::Event(event) => self.event(event),
            Incoming::Reply(reply) => self.reply(reply),
        }
    }

    fn event(&self, event: &Event) -> String {
        let Event { zxid, kind, state, path } = event;
        format!("event zxid={} kind={kind} state={state} {}", self.zxid(*zxid), path_text(path))
    }

    fn reply(&mut self, reply: &Reply) -> String {
        let header = reply.header;
        let body = self.body(&reply.body);
        format!(
            "reply to {} xid={} zxid={} err={} {body}",
            reply.op.0,
            header.xid,
            self.zxid(header.zxid),
            header.err
        )
    }

    fn body(&mut self, body: &Body) -> String {
        match body {
            Body::Empty => String::new(),
            Body::Path(path) => path_text(path),
            Body::Created { path, stat } => format!("{} {}", path_text(path), self.stat(stat)),
            Body::Stat(stat) => self.stat(stat),
            Body::Data { data, stat } => format!("{} {}", data_text(data.as_deref()), self.stat(stat)),
            Body::Acl { acl, stat } => format!("{} {}", acl_text(acl), self.stat(stat)),
            Body::Paths(paths) => paths_text(paths),
            Body::Children { children, stat } => format!("{} {}", paths_text(children), self.stat(stat)),
            Body::Number(number) => number.to_string(),
            Body::Token(token) => data_text(token.as_deref()),
            Body::Identities(identities) => {
                let mut all: Vec<String> = identities
                    .iter()
                    .map(|(scheme, user)| format!("{}:{}", show(scheme), show(user)))
                    .collect();
                all.sort();
                all.join(" ")
            }
            Body::Multi(results) => {
                let mut text = String::from("multi");
                for OpResult { op, err, body } in results {
                    let _ = write!(text, "\n      {} err={err} {}", op.0, self.body(body));
                }
                text
            }
            Body::Raw(bytes) => format!("{bytes:02x?}"),
        }
    }
}

/// Sorts runs of events of the closeSession with `close_zxid`: Java deletes its ephemerals in the order of a hash set.
pub fn sort_close(items: &mut [(i64, String)], close_zxid: i64) {
    let mut start = 0;
    while start < items.len() {
        let of_close = |item: &(i64, String)| item.0 == close_zxid && item.1.starts_with("event ");
        let run = items[start..].iter().take_while(|item| of_close(item)).count();
        items[start..start + run].sort();
        start += run.max(1);
    }
}

/// Bytes as a quoted string; what is not ASCII is escaped.
pub fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

/// A path as Java would send it. Java decodes a client's bytes, with U+FFFD for invalid ones, and encodes the string
/// again, surrogate by surrogate. zkfast keeps the client's bytes.
fn path_text(path: &[u8]) -> String {
    let mut whole = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        match rest {
            [0xED, a @ 0xA0..=0xAF, b, 0xED, c @ 0xB0..=0xBF, d, tail @ ..] => {
                let bits = |byte: &u8, count: u32| u32::from(*byte) & ((1 << count) - 1);
                let high = bits(a, 4) << 6 | bits(b, 6);
                let low = bits(c, 4) << 6 | bits(d, 6);
                let code = 0x1_0000 + (high << 10) + low;
                let pair = char::from_u32(code).expect("two surrogates are a character");
                whole.extend_from_slice(pair.encode_utf8(&mut [0; 4]).as_bytes());
                rest = tail;
            }
            _ => {
                whole.push(first);
                rest = tail;
            }
        }
    }
    show(String::from_utf8_lossy(&whole).as_bytes())
}

fn data_text(data: Option<&[u8]>) -> String {
    match data {
        None => "null".into(),
        Some(data) if data.len() <= DATA_SHOWN_BYTES => show(data),
        Some(data) => format!("{} bytes, crc {:08x}", data.len(), crc32fast::hash(data)),
    }
}

fn paths_text(paths: &[Vec<u8>]) -> String {
    let mut all: Vec<String> = paths.iter().map(|path| show(path)).collect();
    all.sort();
    format!("{}{{{}}}", all.len(), all.join(" "))
}

fn acl_text(acl: &[Acl]) -> String {
    let mut all: Vec<String> =
        acl.iter().map(|acl| format!("{}={}:{}", acl.perms.0, acl.id.scheme, acl.id.id)).collect();
    all.sort();
    format!("acl({})", all.join(" "))
}
