//! Reads ZooKeeper's data: the newest whole snapshot and the log after it.

use super::epochs::Epochs;
use super::error::{JavaDataError, at};
use super::imported::{Imported, Options};
use super::source::Source;
use super::unpack::unpack;
use crate::database::{Builder, Database, FuzzyError, FuzzyReplay, FuzzyReport};
use crate::proto::Zxid;
use crate::server::logging::Text;
use crate::snapshot::java::{
    Decoder, Form, LogError, LogReader, Packing, Place, parse_log_name, parse_snapshot_name,
};
use memmap2::Mmap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The maximum of snapshots that are tried, newest first. Source: `FileSnap.deserialize`.
const SNAPSHOTS_TRIED_MAX: usize = 100;

/// Bytes of a snapshot that are decoded in one step.
const PIECE_BYTES: usize = 256 << 10;

/// The interval between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

struct SnapshotFile {
    zxid: Zxid,
    packing: Packing,
    path: PathBuf,
}

/// A log file with its first zxid.
type LogFile = (Zxid, PathBuf);

/// Reads all data of `source`.
pub(super) fn read(source: &Source, options: Options) -> Result<(Database, Imported), JavaDataError> {
    let started = Instant::now();
    let (snapshots, logs) = list(source)?;
    let newest = newest(source, &snapshots, &logs, options)?;
    let epochs = Epochs::read(&source.snap)?;
    let reader = Reader { source, options, logs, newest, epochs, started };
    let mut why = Vec::new();
    let mut doubtful: Option<(Database, Imported)> = None;
    // Without a snapshot there is one attempt, which starts with an empty tree.
    let from_nothing = snapshots.is_empty().then_some(None);
    for snapshot in snapshots.iter().take(SNAPSHOTS_TRIED_MAX).map(Some).chain(from_nothing) {
        let (restored, imported) = match reader.attempt(snapshot, &why) {
            Ok(done) => done,
            Err(_) if doubtful.is_some() => break,
            Err(Attempt::Over(error)) => return Err(*error),
            Err(Attempt::Next(reason)) => {
                leave_out(&mut why, snapshot, reason);
                continue;
            }
        };
        let doubt = imported.report.doubt.clone();
        match (doubtful.take(), doubt) {
            (None, Some(doubt)) => {
                // Either the log ends with a digest that its server predicted wrongly, or the snapshot is incomplete. An
                // older snapshot with more of the log shows which. One more attempt is enough, since each takes time.
                let name = name(snapshot);
                log::warn!(target: "import", "snapshot {name}: {doubt}: an older snapshot is looked at as well");
                doubtful = Some((restored, imported));
            }
            (None, None) => return Ok(explained(restored, imported)),
            (Some((newer, of_newer)), Some(_)) => return Ok(explained(newer, of_newer)),
            (Some((_, of_newer)), None) => {
                let left_out = of_newer.snapshot.as_deref().map(|path| path.display().to_string());
                let left_out = left_out.unwrap_or_default();
                log::warn!(target: "import", "snapshot {left_out} is left out: from an older one the log's digests agree");
                return Ok(explained(
                    restored,
                    Imported { passed_over: imported.passed_over + 1, ..imported },
                ));
            }
        }
    }
    if let Some((restored, imported)) = doubtful {
        return Ok(explained(restored, imported));
    }
    Err(JavaDataError::Unusable { folder: source.snap.clone(), why })
}

/// The zxid of the newest snapshot; 0 if the options allow a log alone and there is no snapshot.
fn newest(
    source: &Source,
    snapshots: &[SnapshotFile],
    logs: &[LogFile],
    options: Options,
) -> Result<Zxid, JavaDataError> {
    let newest = match snapshots.first() {
        Some(snapshot) => snapshot.zxid,
        None if logs.is_empty() => return Err(JavaDataError::Nothing(source.snap.clone())),
        None if options.trust_empty => Zxid::ZERO,
        None => return Err(JavaDataError::NoSnapshot { log: source.log.clone(), snap: source.snap.clone() }),
    };
    // A server that has never logged a txn has a snapshot at zxid 0.
    if logs.is_empty() && newest != Zxid::ZERO && !options.without_log {
        return Err(JavaDataError::NoLog { log: source.log.clone(), snap: source.snap.clone() });
    }
    Ok(newest)
}

/// What all attempts at one source share.
struct Reader<'a> {
    source: &'a Source,
    options: Options,
    /// The logs in their order.
    logs: Vec<LogFile>,
    /// The zxid of the newest snapshot.
    newest: Zxid,
    epochs: Option<Epochs>,
    started: Instant,
}

impl Reader<'_> {
    /// Reads one snapshot, or starts with an empty tree if there is none, and replays the log after it. `why` says why newer
    /// snapshots cannot be used.
    fn attempt(
        &self,
        snapshot: Option<&SnapshotFile>,
        why: &[String],
    ) -> Result<(Database, Imported), Attempt> {
        let over = |error| Attempt::Over(Box::new(error));
        let base = snapshot.map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
        let begun = match snapshot {
            Some(snapshot) => decode(snapshot, self.options)?,
            None => FuzzyReplay::from_nothing(self.options.settings),
        };
        let (mut replay, torn) = follow(begun, base, &self.logs)?;
        if self.logs.is_empty() {
            replay.take_as_it_is();
        }
        let (restored, report) = replay.finish().map_err(|error| match error {
            // The snapshot is right: a setting is missing.
            FuzzyError::TtlOff { .. } => {
                let path = snapshot.map_or_else(|| self.source.log.clone(), |snapshot| snapshot.path.clone());
                over(JavaDataError::Tree { path, error })
            }
            error => Attempt::Next(error.to_string()),
        })?;
        let (folder, last, newest) = (self.source.log.clone(), restored.zxid, self.newest);
        if last < newest {
            return Err(over(JavaDataError::Behind { folder, last, newest, why: why.to_vec() }));
        }
        let imported = Imported {
            zxid: restored.zxid,
            snapshot: snapshot.map(|snapshot| snapshot.path.clone()),
            passed_over: why.len(),
            report,
            znodes: restored.tree.len(),
            sessions: restored.sessions.len(),
            torn,
            without_log: self.logs.is_empty() && newest != Zxid::ZERO,
            epochs: self.epochs,
            took: self.started.elapsed(),
        };
        Ok((restored, imported))
    }
}

/// Logs the meaning of digests that disagreed.
fn explained(restored: Database, imported: Imported) -> (Database, Imported) {
    let FuzzyReport { digest_mismatches, doubt, .. } = &imported.report;
    if *digest_mismatches > 0 {
        let end = match doubt {
            None => "later ones agree, so the tree is the right one".to_owned(),
            Some(doubt) => {
                format!("the last one disagrees, so that no digest proves the end of the tree ({doubt})")
            }
        };
        log::warn!(target: "import", "{digest_mismatches} digests of the log are not those of the tree: {end}. A leader \
            of ZooKeeper's predicts wrong ones while it has a write of / and creates below it in flight; the log's \
            checksums are right, and all of it is taken. --no-digest compares none");
    }
    (restored, imported)
}

fn name(snapshot: Option<&SnapshotFile>) -> String {
    snapshot.map_or_else(|| "none".to_owned(), |snapshot| snapshot.path.display().to_string())
}

fn leave_out(why: &mut Vec<String>, snapshot: Option<&SnapshotFile>, reason: String) {
    let name = name(snapshot);
    log::warn!(target: "import", "snapshot left out: file={} why={}", Text(&name), Text(&reason));
    why.push(format!("{name}: {reason}"));
}

/// The snapshots, newest first, and the logs in their order.
fn list(source: &Source) -> Result<(Vec<SnapshotFile>, Vec<LogFile>), JavaDataError> {
    let (mut snapshots, mut logs) = (Vec::new(), Vec::new());
    let folders = [&source.snap, &source.log];
    for folder in &folders[..if source.log == source.snap { 1 } else { 2 }] {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => at(folder, entries)?,
        };
        for entry in entries {
            let path = at(folder, entry)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let misplaced = |other: &Path| JavaDataError::Misplaced {
                folder: (*folder).clone(),
                name: name.to_owned(),
                other: other.to_owned(),
            };
            if let Some((zxid, packing)) = parse_snapshot_name(name) {
                if **folder != source.snap {
                    return Err(misplaced(&source.snap));
                }
                snapshots.push(SnapshotFile { zxid, packing, path });
            } else if let Some(zxid) = parse_log_name(name) {
                if **folder != source.log {
                    return Err(misplaced(&source.log));
                }
                logs.push((zxid, path));
            }
        }
    }
    snapshots.sort_by(|one, other| other.zxid.cmp(&one.zxid).then_with(|| one.path.cmp(&other.path)));
    logs.sort();
    Ok((snapshots, logs))
}

/// Why a snapshot cannot be used.
enum Attempt {
    /// An older snapshot may be usable.
    Next(String),
    /// No snapshot is usable.
    Over(Box<JavaDataError>),
}

fn decode(snapshot: &SnapshotFile, options: Options) -> Result<FuzzyReplay, Attempt> {
    let file =
        at(&snapshot.path, File::open(&snapshot.path)).map_err(|error| Attempt::Over(Box::new(error)))?;
    let mut input = unpack(file, snapshot.packing);
    let mut decoder = Decoder::new(Form::File);
    let mut builder = Builder::new(options.settings);
    let mut piece = vec![0; PIECE_BYTES];
    let mut progress = Instant::now();
    loop {
        let bytes = match input.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Attempt::Next(error.to_string())),
        };
        decoder.feed(&piece[..bytes], &mut builder).map_err(|damage| Attempt::Next(damage.to_string()))?;
        if progress.elapsed() >= PROGRESS_EVERY {
            progress = Instant::now();
            log::info!(target: "import", "reading: snapshot={} znodes={}", Text(snapshot.path.display()),
                decoder.counts().nodes);
        }
    }
    let tail = decoder.finish().map_err(|damage| Attempt::Next(damage.to_string()))?;
    builder.finish_fuzzy(snapshot.zxid, tail).map_err(|why| Attempt::Next(why.to_string()))
}

/// Replays the log; true if its last record was incomplete.
fn follow(mut replay: FuzzyReplay, base: Zxid, logs: &[LogFile]) -> Result<(FuzzyReplay, bool), Attempt> {
    // The newest file that can hold the first txn after the snapshot, and all later files.
    let behind = |(first, _): &LogFile| first.0 <= base.0.saturating_add(1);
    let start = logs.iter().rposition(behind).unwrap_or(0);
    let mut reader = LogReader::new(base);
    let mut progress = Instant::now();
    let (mut txns, mut torn) = (0u64, false);
    for (number, (_, path)) in logs.iter().enumerate().skip(start) {
        let place = if number + 1 == logs.len() { Place::Newest } else { Place::Inner };
        let bytes = map(path).map_err(|error| Attempt::Over(Box::new(error)))?;
        let each = |zxid, txn: &[u8]| {
            txns += 1;
            if progress.elapsed() >= PROGRESS_EVERY {
                progress = Instant::now();
                log::info!(target: "import", "replaying: log={} zxid={zxid} txns={txns}", Text(path.display()));
            }
            replay.replay(zxid, txn)
        };
        let end = match reader.file(bytes.as_deref().unwrap_or_default(), place, each) {
            Ok(end) => end,
            // The snapshot may be the cause.
            Err(why @ LogError::Refused { .. }) => {
                return Err(Attempt::Next(format!("{}: {why}", path.display())));
            }
            Err(LogError::Damage(damage)) => {
                return Err(Attempt::Over(Box::new(JavaDataError::Log { path: path.clone(), damage })));
            }
        };
        if let Some(left) = end.torn {
            torn = place == Place::Newest;
            log::warn!(target: "import", "torn end of the log left out: file={} offset={} bytes={}", Text(path.display()),
                left.offset, left.bytes);
        }
    }
    Ok((replay, torn))
}

fn map(path: &Path) -> Result<Option<Mmap>, JavaDataError> {
    let mut file = at(path, File::open(path))?;
    if at(path, file.metadata())?.len() == 0 {
        return Ok(None);
    }
    // A block that the disk cannot read is an error here; through the mapping it would be a signal.
    let mut piece = vec![0; PIECE_BYTES];
    while at(path, file.read(&mut piece))? > 0 {}
    // SAFETY: a server that still writes to the file appends, and the bytes are checked as they are read. A process that
    // shortens the file ends this process by a signal, and nothing remains in the target.
    #[allow(unsafe_code)]
    let bytes = at(path, unsafe { Mmap::map(&file) })?;
    Ok(Some(bytes))
}
