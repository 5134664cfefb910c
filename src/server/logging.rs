//! Log lines: one per event, on stderr, as text or as JSON.
//!
//! A line names the event, then its fields: `following: leader=3 epoch=2 sync=DIFF`. A value that contains a space is
//! quoted ([`Text`]), so that programs find its end. Lines that clients or peers can cause as often as they like go
//! through [`provoked`], which writes a few of each kind and counts the rest.

pub use super::levels::Levels;
pub use crate::admin::Text;

use crate::admin::AUDIT_TARGET;
use log::{Level, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `TIME LEVEL target: what: key=value ...`
    #[default]
    Text,
    /// An object with time, level, target, message and fields.
    Json,
}

struct Stderr {
    format: Format,
    levels: Levels,
    out: Mutex<Out>,
}

/// How long a line waits for the reader of stderr. After a lost line none waits for [`STALLED_FOR`], so that a slow reader
/// does not delay a shard again and again.
const WAIT_MAX: Duration = Duration::from_millis(50);
const STALLED_FOR: Duration = Duration::from_secs(10);

/// How long an ERROR and the last lines of the process wait: they may give the reason why the process ends.
const LAST_WAIT_MAX: Duration = Duration::from_secs(1);

/// Bytes that a writable pipe takes without blocking: `PIPE_BUF`, POSIX pipe(7).
const PIECE_BYTES: usize = 4096;

const NONBLOCKING: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// The destination of lines.
#[derive(Debug)]
struct Out {
    /// stderr, opened a second time as non-blocking, if it is a pipe or a terminal.
    own: Option<File>,
    /// Lines lost since the last one that was written, and when the newest was lost.
    lost: u64,
    lost_at: Option<Instant>,
    /// Part of the last lost line was written.
    is_torn: bool,
}

impl Out {
    fn new() -> Self {
        let open = || {
            OpenOptions::new()
                .write(true)
                .custom_flags(NONBLOCKING.bits().cast_signed())
                .open("/proc/self/fd/2")
                .ok()
        };
        let is_stream = rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| {
            matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::CharacterDevice)
        });
        Self { own: is_stream.then(open).flatten(), lost: 0, lost_at: None, is_torn: false }
    }

    /// Writes a line, or loses it if the reader of stderr takes nothing: neither a request nor a stop waits for a reader that
    /// hangs. The next line that can be written follows a line with the count of lost ones, which `lost_line` makes.
    fn write(&mut self, line: &str, is_last: bool, lost_line: impl FnOnce(u64) -> String) {
        let mut text = String::new();
        if self.lost > 0 {
            text = if self.is_torn { "\n".to_owned() } else { String::new() };
            text.push_str(&lost_line(self.lost));
        }
        text.push_str(line);
        let wait_max = match self.lost_at {
            _ if is_last => LAST_WAIT_MAX,
            Some(at) if at.elapsed() < STALLED_FOR => Duration::ZERO,
            _ => WAIT_MAX,
        };
        match self.write_within(text.as_bytes(), wait_max) {
            Ok(()) => (self.lost, self.is_torn) = (0, false),
            Err(written) => {
                self.lost += u64::from(!line.is_empty());
                self.lost_at = Some(Instant::now());
                self.is_torn |= written > 0;
            }
        }
    }

    /// Writes all of `text` within `wait_max`.
    ///
    /// # Errors
    /// The number of bytes that were written in that time.
    fn write_within(&self, text: &[u8], wait_max: Duration) -> Result<(), usize> {
        let stderr = std::io::stderr();
        let out = self.own.as_ref().map_or_else(|| stderr.as_fd(), File::as_fd);
        let (until, mut written) = (Instant::now() + wait_max, 0);
        while written < text.len() {
            if !is_writable_by(out, until) {
                return Err(written);
            }
            let end = text.len().min(written + PIECE_BYTES);
            match rustix::io::write(out, &text[written..end]) {
                Ok(bytes) => written += bytes,
                Err(Errno::INTR) => {}
                // A terminal may be reported writable and then take nothing.
                Err(Errno::AGAIN) if Instant::now() >= until => return Err(written),
                Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
                // A log that cannot be written must not end the server.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Waits until `out` takes bytes; false if it does not by the deadline `until`.
fn is_writable_by(out: BorrowedFd<'_>, until: Instant) -> bool {
    loop {
        let left = until - Instant::now();
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        let mut wanted = [PollFd::from_borrowed_fd(out, PollFlags::OUT)];
        match poll(&mut wanted, Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            // Without a poll the write may block.
            Err(_) => return true,
        }
    }
}

impl Stderr {
    /// Writes a line; an empty one writes only the count of lost lines, if there are any.
    fn write(&self, line: &str, is_last: bool) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write(line, is_last, |lost| {
            let text =
                format!("lines were lost: count={lost} why={}", Text("the reader of stderr took none"));
            self.line(Level::Warn, "log", &text)
        });
    }

    fn line(&self, level: Level, target: &str, text: &str) -> String {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        match self.format {
            Format::Text => format!("{now} {level} {target}: {text}\n"),
            Format::Json => json(&now.to_string(), level, target, text),
        }
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The checks of `preflight` explain better what glommio's warnings are about.
        let is_ours = !metadata.target().starts_with("glommio") || metadata.level() <= Level::Error;
        is_ours && self.levels.allows(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = self.line(record.level(), record.target(), &record.args().to_string());
            self.write(&line, record.level() == Level::Error);
        }
    }

    /// Writes the counts that are not written yet.
    fn flush(&self) {
        flush_kinds(|_| true);
        self.write("", true);
    }
}

/// Starts logging.
pub fn init(levels: Levels, format: Format) {
    let max = levels.max();
    if log::set_boxed_logger(Box::new(Stderr { format, levels, out: Mutex::new(Out::new()) })).is_ok() {
        log::set_max_level(max);
    }
    // The standard library's own message is not JSON, and blocks where the reader of stderr hangs.
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let why = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(|s| &**s));
        let why = why.unwrap_or("unknown");
        log::error!(target: "server", "panicked: at={at} why={}", Text(why));
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            log::error!(target: "server", "panicked: backtrace={}", Text(backtrace));
        }
    }));
}

/// Splits a line into the event and its fields, in order.
fn parts(line: &str) -> (&str, Vec<(&str, String)>) {
    let Some(first) = next_key(line, 0) else { return (line.trim_end(), Vec::new()) };
    let what = line[..first].trim_end().trim_end_matches(':');
    let (mut fields, mut at) = (Vec::new(), first);
    loop {
        let equals = at + line[at..].find('=').unwrap_or(0);
        let (key, rest) = (&line[at..equals], &line[equals + 1..]);
        let (value, end) = match rest.strip_prefix('"').and_then(unquoted) {
            Some((value, bytes)) => (value, equals + 2 + bytes),
            None => {
                let end = next_key(line, equals + 1).unwrap_or(line.len());
                (line[equals + 1..end].trim_end().to_owned(), end)
            }
        };
        fields.push((key, value));
        match next_key(line, end) {
            Some(next) => at = next,
            None => return (what, fields),
        }
    }
}

/// The position of the next `key=`, at `from` or after it.
fn next_key(line: &str, from: usize) -> Option<usize> {
    let is_key = |word: &str| {
        let key = word.split('=').next().filter(|key| key.len() < word.len())?;
        let mut chars = key.chars();
        let first = chars.next()?;
        let is_name = first.is_ascii_alphabetic()
            && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        is_name.then_some(())
    };
    let mut at = from;
    for word in line[from..].split_inclusive(' ') {
        let begins_here = at == 0 || line.as_bytes()[at - 1] == b' ';
        if begins_here && is_key(word).is_some() {
            return Some(at);
        }
        at += word.len();
    }
    None
}

/// Unquotes a value whose opening quote was taken off; also returns its length with the closing quote, in bytes.
fn unquoted(text: &str) -> Option<(String, usize)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

/// The fields of a line of the audit log, between which are tabs.
fn audited(line: &str) -> (&str, Vec<(&str, String)>) {
    let fields = line.split('\t').filter_map(|field| field.split_once('='));
    ("audited", fields.map(|(key, value)| (key, value.to_owned())).collect())
}

fn json(time: &str, level: Level, target: &str, line: &str) -> String {
    let (what, fields) = if target == AUDIT_TARGET { audited(line) } else { parts(line) };
    let mut out = format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"target\":");
    put_string(&mut out, target);
    out.push_str(",\"message\":");
    put_string(&mut out, what);
    out.push_str(",\"fields\":{");
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        put_string(&mut out, key);
        out.push(':');
        // Only numbers as JSON writes them: not 007, +7 or 1_000.
        let is_number = value.parse::<i64>().is_ok_and(|number| number.to_string() == *value);
        if is_number || matches!(value.as_str(), "true" | "false") {
            out.push_str(value);
        } else {
            put_string(&mut out, value);
        }
    }
    out.push_str("}}\n");
    out
}

fn put_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The first window in which lines of one kind are counted together.
const WINDOW: Duration = Duration::from_secs(10);

/// The longest window: each window in which lines were counted doubles the next.
const WINDOW_MAX: Duration = Duration::from_secs(320);

/// Lines of one kind that are written in a window; further ones are counted.
const LINES_PER_WINDOW: u32 = 5;

/// Lines of one kind in the present window: the number written, and those counted by cause.
#[derive(Debug)]
struct Kind {
    level: Level,
    began: Instant,
    window: Duration,
    written: u32,
    counted: BTreeMap<&'static str, u64>,
}

/// Kinds by target and event.
type Kinds = BTreeMap<(&'static str, &'static str), Kind>;

/// Kinds that occurred lately.
static KINDS: Mutex<Kinds> = Mutex::new(Kinds::new());

fn kinds() -> MutexGuard<'static, Kinds> {
    KINDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line that a client or a peer can cause as often as it likes: at most five of a `kind` in 10 s, then one line
/// with the number of further ones for each `cause`. While that continues, the window grows up to 320 s.
pub fn provoked(
    level: Level,
    target: &'static str,
    kind: &'static str,
    cause: &'static str,
    line: fmt::Arguments<'_>,
) {
    if !log::log_enabled!(target: target, level) {
        return;
    }
    let mut kinds = kinds();
    let now = Instant::now();
    let counted = kinds.entry((target, kind)).or_insert_with(|| Kind::new(level, now));
    if now - counted.began >= counted.window {
        counted.close(target, kind, now);
    }
    counted.level = level;
    if counted.admits(cause) {
        log::log!(target: target, level, "{line}");
    }
}

/// Writes the counts of windows that are over. Call it about once a second.
pub fn flush_due() {
    flush_kinds(|kind| kind.began.elapsed() >= kind.window);
}

fn flush_kinds(is_due: impl Fn(&Kind) -> bool) {
    let now = Instant::now();
    kinds().retain(|(target, what), kind| {
        if !is_due(kind) {
            return true;
        }
        let was_quiet = kind.written == 0;
        kind.close(target, what, now);
        !was_quiet
    });
}

impl Kind {
    fn new(level: Level, now: Instant) -> Self {
        Self { level, began: now, window: WINDOW, written: 0, counted: BTreeMap::new() }
    }

    /// True if one more line may be written; if not, it is counted.
    fn admits(&mut self, cause: &'static str) -> bool {
        let admits = self.written < LINES_PER_WINDOW;
        if admits {
            self.written += 1;
        } else {
            *self.counted.entry(cause).or_default() += 1;
        }
        admits
    }

    /// Begins the next window; returns the fields with this one's counts, if there are any.
    fn count(&mut self, now: Instant) -> Option<String> {
        let seconds = (now - std::mem::replace(&mut self.began, now)).as_secs();
        self.written = 0;
        let counted = std::mem::take(&mut self.counted);
        let more: u64 = counted.values().sum();
        self.window = if more > 0 { (2 * self.window).min(WINDOW_MAX) } else { WINDOW };
        let causes: Vec<String> = counted.iter().map(|(cause, count)| format!("{cause}: {count}")).collect();
        (more > 0).then(|| format!("more={more} within_s={seconds} causes={}", Text(causes.join(", "))))
    }

    fn close(&mut self, target: &'static str, kind: &'static str, now: Instant) {
        if let Some(fields) = self.count(now) {
            log::log!(target: target, self.level, "{kind}, and more like it: {fields}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields are found, quoted or not; the rest stays in the message.
    #[test]
    fn parts_of_lines() {
        let fields = |line: &str| {
            let (what, fields) = parts(line);
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}|{value}")).collect();
            (what.to_owned(), fields)
        };
        let of = |what: &str, fields: &[&str]| {
            (what.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            fields("following: leader=3 zxid=0x10 sync=DIFF"),
            of("following", &["leader|3", "zxid|0x10", "sync|DIFF"])
        );
        let why = Text("length 7 is over jute.maxbuffer=5: \"GET \"");
        assert_eq!(
            fields(&format!("closed: peer=[::1]:5 why={why} n=1")),
            of("closed", &["peer|[::1]:5", "why|length 7 is over jute.maxbuffer=5: \"GET \"", "n|1"])
        );
        assert_eq!(
            fields("started: views=[0, 1] engine=epoll"),
            of("started", &["views|[0, 1]", "engine|epoll"])
        );
        assert_eq!(fields("a = b, x=== and more"), of("a = b,", &["x|== and more"]));
        assert_eq!(fields("nothing but words"), of("nothing but words", &[]));
        assert_eq!(fields("unended: why=\"never"), of("unended", &["why|\"never"]));
    }

    /// A JSON line has no line break, whatever its values contain.
    #[test]
    fn lines_of_json() {
        let line = format!("closed: n=7 id=0x7 ok=true at=007 why={}", Text("a \"b\"\nc\u{1}"));
        assert_eq!(
            json("T", Level::Warn, "cnxn", &line),
            "{\"time\":\"T\",\"level\":\"WARN\",\"target\":\"cnxn\",\"message\":\"closed\",\"fields\":{\"n\":7,\
             \"id\":\"0x7\",\"ok\":true,\"at\":\"007\",\"why\":\"a \\\"b\\\"\\nc?\"}}\n"
        );
    }

    /// The fields of an audit line may contain blanks and equals signs.
    #[test]
    fn audit_lines_of_json() {
        let line = "session=0x1\tznode=/a b=c\tresult=success";
        assert_eq!(
            json("T", Level::Info, "audit", line),
            "{\"time\":\"T\",\"level\":\"INFO\",\"target\":\"audit\",\"message\":\"audited\",\"fields\":{\"session\":\"0x1\",\
             \"znode\":\"/a b=c\",\"result\":\"success\"}}\n"
        );
    }

    /// Of many lines of a kind five are written and the rest counted by cause; then a new window begins.
    #[test]
    fn many_alike_are_counted() {
        let began = Instant::now();
        let mut kind = Kind::new(Level::Info, began);
        let causes = ["TLS", "HTTP", "HTTP"].into_iter().cycle().take(170);
        assert_eq!(causes.filter(|cause| kind.admits(cause)).count(), LINES_PER_WINDOW as usize);
        let counted = kind.count(began + WINDOW);
        assert_eq!(counted.as_deref(), Some("more=165 within_s=10 causes=\"HTTP: 110, TLS: 55\""));
        assert_eq!(kind.window, 2 * WINDOW);
        assert!(kind.admits("TLS"));
        assert_eq!((kind.count(began + 3 * WINDOW), kind.window), (None, WINDOW));
    }
}
