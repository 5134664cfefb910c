//! Reads ZooKeeper's txn logs in pieces.

use super::files::{Log, LogFile};
use super::item::{Each, Flow, Found, Item};
use crate::proto::Zxid;
use crate::snapshot::java::{
    LOG_ENTRY_BYTES_MAX, LOG_FRAME_BYTES, LOG_HEADER_BYTES, LogNext, LogSeen, check_log_header, log_end,
    next_log_entry,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are read at once; a longer entry is read as a whole.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes that are searched for a whole entry where the entries end in something that is not zeroes.
const SEARCHED_BYTES_MAX: u64 = 2 * LOG_ENTRY_BYTES_MAX as u64;

/// Reads the files of `log`.
///
/// # Errors
/// Those of `each`.
pub fn read(log: &Log, each: Each<'_>) -> io::Result<Flow> {
    let mut order = Order::default();
    for (index, file) in log.files.iter().enumerate() {
        let is_inner = index + 1 < log.files.len() || log.is_followed;
        match entries(file, is_inner, &mut order, each) {
            Ok(Flow::Continue) => {}
            Ok(Flow::Stop) => return Ok(Flow::Stop),
            Err(Stop::Taker(error)) => return Err(error),
            Err(Stop::File(error)) => {
                order = Order::default();
                let found = Found::Unreadable { why: error.to_string() };
                if each(Item { file, offset: None, found })? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
        }
    }
    Ok(Flow::Continue)
}

/// Why the reading of a file ends early.
enum Stop {
    /// What takes the items fails.
    Taker(io::Error),
    /// The file cannot be read.
    File(io::Error),
}

/// Sees whether zxids follow each other.
#[derive(Debug, Default)]
struct Order {
    last: Option<Zxid>,
}

impl Order {
    /// Notes the next txn; tells what is wrong with its place. Within an epoch no zxid is left out. Source: `LogChopper`.
    fn follow(&mut self, zxid: Zxid) -> Option<LogSeen> {
        let before = self.last.replace(zxid)?;
        let begins_epoch = zxid.epoch() > before.epoch() && zxid.counter() == 1;
        match before.next() == Some(zxid) || begins_epoch {
            true => None,
            false if zxid <= before => Some(LogSeen::Order { before, zxid }),
            false => Some(LogSeen::Gap { before, zxid }),
        }
    }
}

/// Hands out what stands at `offset`.
fn give(each: Each<'_>, file: &LogFile, offset: u64, found: Found<'_>) -> Result<Flow, Stop> {
    each(Item { file, offset: Some(offset), found }).map_err(Stop::Taker)
}

/// Reads one file.
fn entries(file: &LogFile, is_inner: bool, order: &mut Order, each: Each<'_>) -> Result<Flow, Stop> {
    let mut window = Window::open(file).map_err(Stop::File)?;
    let (length, header) = (window.bytes, window.from(0, LOG_HEADER_BYTES).map_err(Stop::File)?);
    let (offset, found) = match header.first_chunk().map(check_log_header) {
        Some(Ok(())) => {
            let mut scan = Scan { file, window, at: LOG_HEADER_BYTES as u64, txns: 0 };
            loop {
                match scan.step(order, each)? {
                    Step::Read => {}
                    Step::Over => return give(each, file, scan.at, Found::End { txns: scan.txns }),
                    Step::Stopped => return Ok(Flow::Stop),
                }
            }
        }
        Some(Err(damage)) if matches!(damage.seen, LogSeen::Version(_)) => {
            let why = damage.seen.to_string();
            return give(each, file, damage.offset as u64, Found::Unreadable { why });
        }
        Some(Err(damage)) => {
            (damage.offset as u64, Found::Damage { why: damage.seen.to_string(), entry: None })
        }
        // A crash right after the file was made.
        None if !is_inner => (0, Found::Torn { bytes: length }),
        None => (length, Found::Damage { why: LogSeen::Empty.to_string(), entry: None }),
    };
    match give(each, file, offset, found)? {
        Flow::Continue => give(each, file, offset, Found::End { txns: 0 }),
        Flow::Stop => Ok(Flow::Stop),
    }
}

/// What became of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more.
    Read,
    /// The file is over.
    Over,
    /// What takes the items wants no more.
    Stopped,
}

impl Step {
    fn after(flow: Flow, step: Self) -> Self {
        if flow == Flow::Stop { Self::Stopped } else { step }
    }
}

/// A file whose header was read.
struct Scan<'f> {
    file: &'f LogFile,
    window: Window,
    /// Where the next entry begins.
    at: u64,
    txns: u64,
}

impl Scan<'_> {
    /// Reads the next entry, or what stands in its place.
    fn step(&mut self, order: &mut Order, each: Each<'_>) -> Result<Step, Stop> {
        let Self { file, window, at: next, txns } = self;
        let at = *next;
        let need = entry_bytes(window, at).map_err(Stop::File)?;
        match next_log_entry(window.from(at, need).map_err(Stop::File)?) {
            LogNext::Entry { zxid, txn, bytes } => {
                *next += bytes as u64;
                *txns += 1;
                if let Some(seen) = order.follow(zxid)
                    && give(each, file, at, Found::Damage { why: seen.to_string(), entry: None })?
                        == Flow::Stop
                {
                    return Ok(Step::Stopped);
                }
                Ok(Step::after(give(each, file, at, Found::Txn { zxid, bytes: txn })?, Step::Read))
            }
            LogNext::Bad { seen, txn, bytes } => {
                *next += bytes as u64;
                // Its zxid may be what changed.
                *order = Order::default();
                let found = Found::Damage { why: seen.to_string(), entry: Some(txn) };
                Ok(Step::after(give(each, file, at, found)?, Step::Read))
            }
            LogNext::Cut { .. } | LogNext::End => self.end(order, each),
        }
    }

    /// Judges what follows the last entry.
    fn end(&mut self, order: &mut Order, each: Each<'_>) -> Result<Step, Stop> {
        let at = self.at;
        match judge(&mut self.window, at, order.last).map_err(Stop::File)? {
            End::Clean => Ok(Step::Over),
            End::Torn { bytes } => {
                Ok(Step::after(give(each, self.file, at, Found::Torn { bytes })?, Step::Over))
            }
            End::Damage { why, next } => {
                *order = Order::default();
                let step = if next.is_some() { Step::Read } else { Step::Over };
                self.at = next.unwrap_or(at);
                Ok(Step::after(give(each, self.file, at, Found::Damage { why, entry: None })?, step))
            }
        }
    }
}

/// Bytes of the entry at `at`, as far as the file has them.
fn entry_bytes(window: &mut Window, at: u64) -> io::Result<usize> {
    let (length, mut need) = (window.bytes, 1);
    loop {
        match next_log_entry(window.from(at, need)?) {
            LogNext::Cut { bytes } if bytes > need && at + need as u64 <= length => need = bytes,
            _ => return Ok(need),
        }
    }
}

/// How the entries of a file end.
enum End {
    /// In nothing or zeroes.
    Clean,
    /// In a write that was never complete.
    Torn { bytes: u64 },
    /// In damage; a whole entry stands at `next`.
    Damage { why: String, next: Option<u64> },
}

/// Judges what follows the last entry, `last`, from `at` to the end of the file.
fn judge(window: &mut Window, at: u64, last: Option<Zxid>) -> io::Result<End> {
    let Some(end) = window.end_of_bytes(at)? else { return Ok(End::Clean) };
    let left = end - at;
    let searched = left.min(SEARCHED_BYTES_MAX);
    let rest = window.from(at, searched as usize)?;
    Ok(match log_end(rest, last) {
        Ok(_) if left <= SEARCHED_BYTES_MAX => End::Torn { bytes: left },
        Ok(_) => End::Damage { why: format!("{left} bytes follow that are no entries"), next: None },
        Err(seen) => {
            let next = match seen {
                LogSeen::Followed { offset, .. } => Some(at + offset as u64),
                LogSeen::Frame(bytes) => Some((at + (bytes + LOG_FRAME_BYTES) as u64).min(window.bytes)),
                _ => None,
            };
            // Offsets in its text count from here.
            let why = match (&seen, next) {
                (LogSeen::Followed { zxid, .. }, Some(next)) => {
                    LogSeen::Followed { zxid: *zxid, offset: next as usize }.to_string()
                }
                _ => seen.to_string(),
            };
            End::Damage { why, next }
        }
    })
}

/// A file that is read from its start to its end, of which a piece is held.
#[derive(Debug)]
struct Window {
    file: File,
    /// Length of the file when it was opened.
    bytes: u64,
    /// Where in the file the held bytes begin.
    start: u64,
    held: Vec<u8>,
}

impl Window {
    fn open(file: &LogFile) -> io::Result<Self> {
        let file = File::open(&file.path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes, start: 0, held: Vec::new() })
    }

    /// The bytes from `offset` on, which never goes back: `need` of them or more, fewer where the file ends before.
    fn from(&mut self, offset: u64, need: usize) -> io::Result<&[u8]> {
        assert!(offset >= self.start && offset <= self.bytes, "byte {offset} of {}", self.bytes);
        let left = usize::try_from(self.bytes - offset).unwrap_or(usize::MAX);
        let skipped = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.held.len());
        if self.held.len() - skipped < need.min(left) {
            self.held.drain(..skipped);
            if self.start + skipped as u64 != offset {
                self.held.clear();
            }
            self.start = offset;
            let have = self.held.len();
            self.held.resize(need.max(PIECE_BYTES).min(left).max(have), 0);
            self.file.read_exact_at(&mut self.held[have..], offset + have as u64)?;
        }
        Ok(&self.held[(offset - self.start) as usize..])
    }

    /// Where the last byte from `offset` on ends that is not zero; `None` if all are.
    fn end_of_bytes(&self, offset: u64) -> io::Result<Option<u64>> {
        let (mut at, mut end) = (offset, None);
        let mut piece = vec![0; PIECE_BYTES];
        while at < self.bytes {
            let bytes = (self.bytes - at).min(PIECE_BYTES as u64) as usize;
            self.file.read_exact_at(&mut piece[..bytes], at)?;
            if let Some(last) = piece[..bytes].iter().rposition(|byte| *byte != 0) {
                end = Some(at + last as u64 + 1);
            }
            at += bytes as u64;
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::Kind;
    use super::*;
    use crate::snapshot::java::{put_log_entry, put_log_header};
    use std::fs;

    fn txn(zxid: u64, data_bytes: usize) -> Vec<u8> {
        let mut txn = vec![7; 32 + data_bytes];
        txn[12..20].copy_from_slice(&zxid.to_be_bytes());
        txn
    }

    /// Reads `bytes` as a file; each item as text.
    fn items(name: &str, bytes: &[u8]) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("zkfast-offline-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("a file");
        let file = LogFile { path: path.clone(), kind: Kind::Java, order: None };
        let log = Log { kind: Kind::Java, files: vec![file], is_followed: false };
        let mut items = Vec::new();
        read(&log, &mut |item: Item<'_>| {
            let at = item.offset.expect("a place");
            items.push(match item.found {
                Found::Txn { zxid, .. } => format!("{at}: {zxid}"),
                Found::Damage { why, entry } => format!("{at}: {why} ({})", entry.is_some()),
                Found::Torn { bytes } => format!("{at}: torn {bytes}"),
                Found::End { txns } => format!("end {txns}"),
                other => format!("{other:?}"),
            });
            Ok(Flow::Continue)
        })
        .expect("taken");
        fs::remove_file(&path).expect("removed");
        items
    }

    fn log(txns: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_log_header(&mut bytes);
        txns.iter().for_each(|txn| put_log_entry(&mut bytes, txn));
        bytes
    }

    /// Entries longer than a piece, and many short ones over several pieces, are read with their places.
    #[test]
    fn pieces() {
        let txns: Vec<_> =
            (1..3000).map(|zxid| txn(zxid, if zxid == 7 { 3 * PIECE_BYTES } else { 900 })).collect();
        let mut bytes = log(&txns);
        bytes.resize(bytes.len() + 2 * PIECE_BYTES + 5, 0);
        let found = items("pieces", &bytes);
        assert_eq!((found.len(), found[0].as_str()), (3000, "16: 0x1"));
        assert_eq!(found[2999], "end 2999");
    }

    /// A cut file is torn where the record began; a changed byte is damage, and what follows it is read.
    #[test]
    fn cut_and_changed() {
        let whole = log(&[txn(1, 10), txn(2, 20), txn(3, 30)]);
        let second = 16 + 12 + 42 + 1;
        let third = second + 12 + 52 + 1;
        let cut = items("cut", &whole[..whole.len() - 5]);
        assert_eq!(cut[2..], [format!("{third}: torn {}", whole.len() - 5 - third), "end 2".to_owned()]);
        let mut changed = whole.clone();
        changed[second + 40] ^= 1;
        let found = items("changed", &changed);
        assert!(found[1].starts_with(&format!("{second}: the checksum is")), "{found:?}");
        assert!(found[1].ends_with("(true)"), "{found:?}");
        assert_eq!(found[2..], [format!("{third}: 0x3"), "end 2".to_owned()]);
        // Of a length that changed the entry ends elsewhere, and the next entry is found.
        let mut length = whole;
        length[second + 10] ^= 0x40;
        let found = items("length", &length);
        assert!(
            found[1].starts_with(&format!("{second}: an entry of 52 bytes is here in full")),
            "{found:?}"
        );
        assert_eq!(found[2..], [format!("{third}: 0x3"), "end 2".to_owned()]);
    }

    /// Zxids that go back or are left out are named; a new epoch begins with 1.
    #[test]
    fn order() {
        let epoch = 1 << 32;
        let txns = [1, 2, 4, epoch + 1, epoch + 1].map(|zxid| txn(zxid, 1));
        let found = items("order", &log(&txns)).join("\n");
        assert!(found.contains("txn 0x4 follows 0x2"), "{found}");
        assert!(found.contains("txn 0x100000001 follows 0x100000001"), "{found}");
        assert_eq!(found.lines().count(), 8, "{found}");
    }
}
