//! Log lines: one per event, on stderr, as text or as JSON.
//!
//! A line says what happened, then its fields: `following: leader=3 epoch=2 sync=DIFF`. A value with a space in it stands
//! in quotes ([`Text`]), so that programs find where it ends. What clients and peers can bring about as often as they like
//! goes through [`provoked`], which writes a few of a kind and counts the rest.

pub use crate::admin::Text;

use log::{Level, LevelFilter, Log, Metadata, Record};
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

/// How a line is written.
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
    out: Mutex<Out>,
}

/// How long a line waits for whoever reads stderr. After one that was lost, none waits for a while, so that a reader that
/// is slow holds up no shard again and again.
const READER_PATIENCE: Duration = Duration::from_millis(50);
const READER_DISTRUST: Duration = Duration::from_secs(10);

/// How long an ERROR waits, and what is written at the end: it may be the reason why the process ends.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// What a pipe or a socket takes without blocking once it says that it takes something: `PIPE_BUF`, POSIX pipe(7).
const PIECE_BYTES: usize = 4096;

const NONBLOCKING: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// Where lines go.
#[derive(Debug)]
struct Out {
    /// stderr, opened again so that writing to it does not block, where the system has that: a pipe or a terminal.
    own: Option<File>,
    /// Lines that were not written since the last one that was, and when that began to be so.
    lost: u64,
    lost_at: Option<Instant>,
    /// The last one was begun.
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

    /// Writes a line, unless whoever reads it does not: no request, and no stop, waits for a reader of the log that hangs.
    /// The next line that is written comes after one that says how many were lost: `told`.
    fn write(&mut self, line: &str, is_last: bool, told: impl FnOnce(u64) -> String) {
        let mut text = String::new();
        if self.lost > 0 {
            text = if self.is_torn { "\n".to_owned() } else { String::new() };
            text.push_str(&told(self.lost));
        }
        text.push_str(line);
        let group_delay = match self.lost_at {
            _ if is_last => LAST_PATIENCE,
            Some(at) if at.elapsed() < READER_DISTRUST => Duration::ZERO,
            _ => READER_PATIENCE,
        };
        match self.write_within(text.as_bytes(), group_delay) {
            Ok(()) => (self.lost, self.is_torn) = (0, false),
            Err(written) => {
                self.lost += u64::from(!line.is_empty());
                self.lost_at = Some(Instant::now());
                self.is_torn |= written > 0;
            }
        }
    }

    /// Writes all of it, or says how many bytes were taken in this time.
    fn write_within(&self, text: &[u8], group_delay: Duration) -> Result<(), usize> {
        let stderr = std::io::stderr();
        let out = self.own.as_ref().map_or_else(|| stderr.as_fd(), File::as_fd);
        let (until, mut written) = (Instant::now() + group_delay, 0);
        while written < text.len() {
            if !takes(out, until) {
                return Err(written);
            }
            let end = text.len().min(written + PIECE_BYTES);
            match rustix::io::write(out, &text[written..end]) {
                Ok(bytes) => written += bytes,
                Err(Errno::INTR) => {}
                // A terminal says that it takes something, and then it does not.
                Err(Errno::AGAIN) if Instant::now() >= until => return Err(written),
                Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
                // A log that nobody can read must not end the server.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Whether something can be written without waiting longer than until then.
fn takes(out: BorrowedFd<'_>, until: Instant) -> bool {
    loop {
        let left = until - Instant::now();
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        let mut wanted = [PollFd::from_borrowed_fd(out, PollFlags::OUT)];
        match poll(&mut wanted, Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            // As before there was a poll: it may block.
            Err(_) => return true,
        }
    }
}

impl Stderr {
    /// Writes a line; none, where there is only to be told what was lost.
    fn write(&self, line: &str, is_last: bool) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write(line, is_last, |lost| {
            let told = format!("lines were lost: count={lost} why={}", Text("nobody read them"));
            self.line(Level::Warn, "log", &told)
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
        // glommio's own lines say what preflight said better.
        !metadata.target().starts_with("glommio") || metadata.level() <= Level::Error
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = self.line(record.level(), record.target(), &record.args().to_string());
            self.write(&line, record.level() == Level::Error);
        }
    }

    /// Says what was counted and not written yet.
    fn flush(&self) {
        settle(|_| true);
        self.write("", true);
    }
}

/// Begins to log, at `level` and above.
pub fn init(level: LevelFilter, format: Format) {
    if log::set_boxed_logger(Box::new(Stderr { format, out: Mutex::new(Out::new()) })).is_ok() {
        log::set_max_level(level);
    }
    // What the standard library writes is no JSON, and waits for whoever reads stderr.
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

/// What a line says happened, and its fields in order.
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

/// Where the next `key=` begins, at `from` or behind it.
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

/// A quoted value without its opening quote, and how many bytes it and its closing quote take.
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

fn json(time: &str, level: Level, target: &str, line: &str) -> String {
    let (what, fields) = parts(line);
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
        // A number as others write it, too: not 007, +7 or 1_000.
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

/// How long lines of one kind are counted together, at first.
const WINDOW: Duration = Duration::from_secs(10);

/// And at most: each window in which lines had to be counted is followed by one of twice the length.
const WINDOW_MAX: Duration = Duration::from_secs(320);

/// Lines of one kind that are written in a window; further ones are counted.
const LINES_PER_WINDOW: u32 = 5;

/// What was said of one kind in its window, and what was not.
#[derive(Debug)]
struct Kind {
    level: Level,
    began: Instant,
    window: Duration,
    said: u32,
    unsaid: BTreeMap<&'static str, u64>,
}

/// By target and by what happens.
type Kinds = BTreeMap<(&'static str, &'static str), Kind>;

/// What was provoked lately.
static KINDS: Mutex<Kinds> = Mutex::new(Kinds::new());

fn kinds() -> MutexGuard<'static, Kinds> {
    KINDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line that a client or a peer can bring about as often as it likes: five of a `kind` in 10 s,
/// then one that says how many more there were, for each `cause`. While that goes on, the 10 s become more.
pub fn provoked(
    level: Level,
    target: &'static str,
    kind: &'static str,
    cause: &'static str,
    line: fmt::Arguments<'_>,
) {
    if level > log::max_level() {
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

/// Says what was counted in windows that are over. To be called every second or so.
pub fn settle_due() {
    settle(|kind| kind.began.elapsed() >= kind.window);
}

fn settle(is_due: impl Fn(&Kind) -> bool) {
    let now = Instant::now();
    kinds().retain(|(target, what), kind| {
        if !is_due(kind) {
            return true;
        }
        let was_quiet = kind.said == 0;
        kind.close(target, what, now);
        !was_quiet
    });
}

impl Kind {
    fn new(level: Level, now: Instant) -> Self {
        Self { level, began: now, window: WINDOW, said: 0, unsaid: BTreeMap::new() }
    }

    /// Whether a further line is written; if not, it is counted.
    fn admits(&mut self, cause: &'static str) -> bool {
        let admits = self.said < LINES_PER_WINDOW;
        if admits {
            self.said += 1;
        } else {
            *self.unsaid.entry(cause).or_default() += 1;
        }
        admits
    }

    /// Begins the next window; gives the fields of what this one counted, if anything.
    fn count(&mut self, now: Instant) -> Option<String> {
        let seconds = (now - std::mem::replace(&mut self.began, now)).as_secs();
        self.said = 0;
        let unsaid = std::mem::take(&mut self.unsaid);
        let more: u64 = unsaid.values().sum();
        self.window = if more > 0 { (2 * self.window).min(WINDOW_MAX) } else { WINDOW };
        let causes: Vec<String> = unsaid.iter().map(|(cause, count)| format!("{cause}: {count}")).collect();
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

    /// Fields are found, quoted or not, and what is no field stays in the message.
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

    /// A line of JSON is one line, whatever is in it.
    #[test]
    fn lines_of_json() {
        let line = format!("closed: n=7 id=0x7 ok=true at=007 why={}", Text("a \"b\"\nc\u{1}"));
        assert_eq!(
            json("T", Level::Warn, "cnxn", &line),
            "{\"time\":\"T\",\"level\":\"WARN\",\"target\":\"cnxn\",\"message\":\"closed\",\"fields\":{\"n\":7,\
             \"id\":\"0x7\",\"ok\":true,\"at\":\"007\",\"why\":\"a \\\"b\\\"\\nc?\"}}\n"
        );
    }

    /// Of many alike some are said and the rest is counted, by cause; then it begins anew.
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
