//! Histories of a server's files on a disk that crashes, fills up, fails and rots.

use super::*;
use crate::database::Database;
use crate::proto::{OpCode, SessionId};
use crate::sim::Random;
use crate::sim::disk::SimDisk;
use crate::tree::{self, Digests, Tree};
use crate::txn::{self, CreateKind, CreateTxn, Txn, TxnHeader};
use crate::wal::{Batch, GroupEncoder, Marker, Position};
use std::collections::BTreeSet;

const SEGMENT_BYTES: usize = 64 << 10;

fn settings() -> tree::Settings {
    tree::Settings { extended_types: tree::ExtendedTypes::Off, digests: Digests::Kept, hash_seed: 1 }
}

/// One record of a history: a znode that is created, whose name tells it from others of the same zxid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    zxid: Zxid,
    salt: u32,
    data_bytes: usize,
}

impl Record {
    fn path(&self) -> String {
        format!("/n{:x}-{}", self.zxid.0, self.salt)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let header = TxnHeader {
            session_id: SessionId::NONE,
            cxid: 0,
            zxid: self.zxid,
            time_ms: 0,
            op: OpCode::CREATE,
        };
        header.put(out);
        let (path, data) = (self.path(), vec![7; self.data_bytes]);
        let create = CreateTxn {
            path: path.as_bytes(),
            data: Some(&data),
            acl: None,
            kind: CreateKind::Persistent,
            parent_cversion: 1,
        };
        Txn::Create(create).put(out);
    }

    fn txn(&self) -> Vec<u8> {
        let mut txn = Vec::new();
        self.put(&mut txn);
        txn
    }
}

/// What a server should know: all that counts, in order, and where it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    records: Vec<Record>,
    last: Zxid,
}

impl State {
    fn up_to(&self, zxid: Zxid) -> Self {
        let records: Vec<_> = self.records.iter().filter(|record| record.zxid <= zxid).cloned().collect();
        Self { records, last: zxid }
    }

    /// The state as a snapshot's bytes.
    fn snapshot(&self) -> Vec<u8> {
        let mut restored = Database::fresh(settings());
        for record in &self.records {
            restored.replay(record.zxid, &record.txn()).expect("fits");
        }
        let mut bytes = Vec::new();
        restored.zxid = self.last;
        let written = ImageEncoder::all(&mut restored, 0, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        written.expect("nothing refuses");
        bytes
    }

    fn paths(&self) -> BTreeSet<String> {
        self.records.iter().map(Record::path).collect()
    }
}

fn paths(tree: &Tree) -> BTreeSet<String> {
    let root = tree.find(b"/").expect("a root");
    let names = tree.children(root).map(|name| format!("/{}", String::from_utf8_lossy(name)));
    names.filter(|path| path.starts_with("/n")).collect()
}

type Log = LogWriter<LogFile<SimDisk>>;

fn writer(disk: &SimDisk, encoder: GroupEncoder) -> Log {
    LogFile::writer(disk.clone(), encoder).expect("a segment")
}

/// Writes a group and makes it durable.
fn append(log: &mut Log, batch: &Batch) -> Position {
    log.write(batch).expect("power");
    log.flush().expect("power").end
}

/// A server's storage side, and what it knows to be durable.
struct Server {
    disk: SimDisk,
    random: Random,
    log: Option<Log>,
    /// Where the log is durable.
    durable: Position,
    state: State,
    /// What an operation that fails may have made of it.
    after: Option<State>,
    /// Never truncated, and so what snapshots are of.
    committed: Zxid,
    /// What the file holds; `None` while there is none.
    epochs: Option<Epochs>,
    epochs_after: Option<Epochs>,
    salt: u32,
    again: u32,
    slices: u32,
}

fn start(disk: &SimDisk) -> Result<(Recovered, u32), RecoveryError> {
    let mut again = 0;
    let mut count = |event| again += u32::from(matches!(event, Event::Again { .. }));
    remove_leftovers(disk).map_err(|error| RecoveryError::Io { path: PathBuf::new(), error })?;
    let recovered = recover(disk, settings(), &mut count)?;
    Ok((recovered, again))
}

impl Server {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(SEGMENT_BYTES, seed);
        let mut server = Self {
            disk,
            random: Random(seed),
            log: None,
            durable: Position { segment: 1, offset: 0 },
            state: State::default(),
            after: None,
            committed: Zxid::ZERO,
            epochs: None,
            epochs_after: None,
            salt: 0,
            again: 0,
            slices: 0,
        };
        server.restart();
        server
    }

    /// Starts, through any number of crashes of the start itself, and holds what it finds against what it should.
    fn restart(&mut self) {
        self.log = None;
        while self.random.one_in(4) {
            self.disk.power_off_after(self.random.below(12));
            match start(&self.disk) {
                Ok(_) | Err(RecoveryError::Io { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            self.disk.crash(self.random.draw());
        }
        self.disk.call_off();
        let (recovered, again) = start(&self.disk).unwrap_or_else(|error| panic!("{error}"));
        self.again += again;
        let (found, zxid) = (paths(&recovered.restored.tree), recovered.restored.zxid);
        let is = |state: &State| state.paths() == found && state.last == zxid;
        if let Some(after) = self.after.take().filter(|after| is(after) && !is(&self.state)) {
            self.state = after;
        }
        assert!(is(&self.state), "found {found:?} at {zxid}, should be {:?}", self.state.paths());
        assert_eq!(recovered.encoder.last(), zxid);
        let file = Epochs::read(&self.disk).expect("whole");
        assert!([&self.epochs, &self.epochs_after].contains(&&file), "{file:?} should be {:?}", self.epochs);
        let derived = Epochs { accepted: zxid.epoch(), current: zxid.epoch(), ..Epochs::default() };
        assert_eq!(recovered.epochs, file.clone().unwrap_or(derived));
        (self.epochs, self.epochs_after) = (file.clone(), file);
        self.committed = self.committed.min(zxid);
        self.durable = recovered.encoder.position();
        self.log = Some(writer(&self.disk, recovered.encoder));
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it runs")
    }

    /// Appends, unless the process is killed between write and flush.
    fn log_append(&mut self, batch: &Batch) -> io::Result<()> {
        self.log().write(batch)?;
        if self.random.one_in(20) {
            return Err(io::Error::other("killed"));
        }
        self.durable = self.log().flush()?.end;
        Ok(())
    }

    fn record(&mut self, after: Zxid) -> Record {
        self.salt += 1;
        let zxid = match self.random.below(12) {
            0 => Zxid::new(after.epoch() + 1, 1),
            n => Zxid(after.0 + 1 + n % 2),
        };
        let data_bytes = if self.random.one_in(6) { self.random.below(9000) } else { self.random.below(200) };
        Record { zxid, salt: self.salt, data_bytes: data_bytes as usize }
    }

    fn extended(&mut self, mut state: State, count: u64) -> State {
        for _ in 0..count {
            let record = self.record(state.last);
            state.last = record.zxid;
            state.records.push(record);
        }
        state
    }

    fn append(&mut self) -> io::Result<()> {
        let count = 1 + self.random.below(5);
        let after = self.extended(self.state.clone(), count);
        let mut batch = Batch::default();
        for record in &after.records[self.state.records.len()..] {
            batch.put(record.zxid, |out| record.put(out));
        }
        self.after = Some(after);
        self.log_append(&batch)
    }

    fn truncate(&mut self) -> io::Result<()> {
        let zxids = self.state.records.iter().map(|record| record.zxid);
        let may: Vec<_> = zxids.filter(|zxid| *zxid >= self.committed).collect();
        let Some(&to) = may.get(self.random.below(may.len().max(1) as u64) as usize) else { return Ok(()) };
        if !can_truncate(&self.disk, to)? {
            return Ok(());
        }
        self.after = Some(self.state.up_to(to));
        self.log_append(&Batch::marker(Marker::Truncate { to }))?;
        truncated(&self.disk, to)
    }

    fn base(&mut self) -> io::Result<()> {
        let keep = self.random.below(self.state.records.len() as u64 + 1) as usize;
        let mut leader = self.state.clone();
        if self.random.one_in(2) {
            leader.records.truncate(keep);
            leader.last = leader.records.last().map_or(Zxid::ZERO, |record| record.zxid);
        }
        let count = self.random.below(4);
        let leader = self.extended(leader, count);
        let mut incoming = Incoming::create(self.disk.clone(), leader.last)?;
        leader.snapshot().chunks(3000).try_for_each(|bytes| incoming.write(bytes))?;
        incoming.finish(self.durable)?;
        if self.random.one_in(5) {
            return Ok(());
        }
        let at = leader.last;
        self.committed = self.committed.min(at);
        self.after = Some(leader);
        self.log_append(&Batch::marker(Marker::Base { at }))?;
        adopt(&self.disk, at, self.durable)
    }

    fn snapshot(&mut self) -> io::Result<()> {
        let zxids = self.state.records.iter().map(|record| record.zxid).chain([self.committed]);
        let may: Vec<_> = zxids.filter(|zxid| *zxid >= self.committed).collect();
        self.committed = may[self.random.below(may.len() as u64) as usize];
        // Nothing below a base can be learned from the log any more.
        let state = self.state.up_to(self.committed);
        write_whole(
            &self.disk,
            Folder::Snap,
            SNAPSHOT_TMP,
            &snapshot::file_name(self.committed),
            &state.snapshot(),
        )
    }

    fn promise(&mut self) -> io::Result<()> {
        let before = self.epochs.clone().unwrap_or_default();
        let accepted = before.accepted.max(self.state.last.epoch()) + self.random.below(2) as u32;
        let current = before.current.max(self.random.below(u64::from(accepted) + 1) as u32);
        let epochs = Epochs { accepted, current, ..Epochs::default() };
        self.epochs_after = Some(epochs.clone());
        epochs.write(&self.disk)?;
        self.epochs = Some(epochs);
        Ok(())
    }

    /// Reads a stretch of the log back, as for a learner.
    fn diff(&mut self) -> io::Result<()> {
        let zxids: Vec<_> = self.state.records.iter().map(|record| record.zxid).collect();
        let mut pick = || match zxids.len() {
            0 => Zxid::ZERO,
            n => Zxid(zxids[self.random.below(n as u64) as usize].0 + self.random.below(2)),
        };
        let (after, through) = (pick(), pick().min(self.state.last));
        let found = records(&self.disk, after, through, self.durable).expect("a whole log");
        let Some(mut slices) = found else { return Ok(()) };
        let floor = self.state.up_to(after).records.last().map_or(Zxid::ZERO, |record| record.zxid);
        assert_eq!(slices.floor(), floor, "{after} in {zxids:?}");
        let mut read = Vec::new();
        while slices.slice(&self.disk, |zxid, txn| read.push((zxid, txn.to_vec()))).expect("a whole log") {}
        let wanted = self.state.records.iter().filter(|record| after < record.zxid && record.zxid <= through);
        let wanted: Vec<_> = wanted.map(|record| (record.zxid, record.txn())).collect();
        assert_eq!(read, wanted, "after {after} through {through}");
        self.slices += u32::from(!read.is_empty());
        Ok(())
    }

    /// One operation, which may be cut short by a loss of power, a failing flush or a full disk.
    fn step(&mut self) {
        match self.random.below(24) {
            0 => self.disk.power_off_after(self.random.below(16)),
            1 => self.disk.fail_flush_after(self.random.below(4)),
            2 => self.disk.set_blocks_max(Some(self.disk.blocks() + self.random.below(4) as usize)),
            _ => {}
        }
        let done = match self.random.below(20) {
            0..8 => self.append(),
            8..10 => self.truncate(),
            10 => self.base(),
            11..14 => self.snapshot(),
            14 => purge(&self.disk, 3).map(|_| ()),
            15..17 => self.promise(),
            17..19 => self.diff(),
            _ => {
                if self.random.one_in(2) {
                    self.disk.crash(self.random.draw());
                }
                self.restart();
                Ok(())
            }
        };
        self.disk.set_blocks_max(None);
        match done {
            Ok(()) => {
                // Acknowledged: nothing less will do from here on.
                if let Some(after) = self.after.take() {
                    self.state = after;
                }
                self.epochs_after = self.epochs.clone();
            }
            Err(_) => {
                // A full disk or a failed flush ends the process, and the machine may go on.
                if self.disk.is_off() || self.random.one_in(2) {
                    self.disk.crash(self.random.draw());
                }
                self.restart();
            }
        }
        self.disk.call_off();
    }
}

/// Appends, truncations, bases, snapshots, purges, epochs, crashes at any operation, failing flushes, full disks:
/// every start finds what was acknowledged, or all of the one operation that was not; what the log is read back to
/// is what counts.
#[test]
fn histories() {
    let (mut again, mut slices) = (0, 0);
    for seed in 0..400 {
        let mut server = Server::new(seed);
        for _ in 0..60 {
            server.step();
        }
        server.restart();
        (again, slices) = (again + server.again, slices + server.slices);
    }
    assert!(again > 50 && slices > 500, "{again} replays taken back, {slices} stretches read");
}

/// A flipped bit anywhere: a start finds what it should all the same, or reports damage. Moved aside, the
/// server starts with nothing, does not vote, keeps its promises, and takes a leader's state.
#[test]
fn damage() {
    let (mut found, mut unharmed) = (0, 0);
    for seed in 0..300 {
        let mut server = Server::new(seed);
        for _ in 0..40 {
            server.step();
        }
        server.restart();
        let damaged = server.disk.damage(seed).expect("has blocks");
        let (state, epochs, disk) = (server.state.clone(), server.epochs.clone(), server.disk.clone());
        match start(&disk) {
            Ok((recovered, _)) => {
                unharmed += 1;
                assert_eq!(paths(&recovered.restored.tree), state.paths(), "{damaged:?}");
                assert_eq!(recovered.restored.zxid, state.last, "{damaged:?}");
                continue;
            }
            Err(error) => {
                found += 1;
                assert!(error.is_damage(), "{damaged:?} {error}");
                assert!(start(&disk).is_err(), "nothing was changed");
            }
        }
        // A crash in between leads to the same.
        disk.power_off_after(server.random.below(30));
        if move_aside(&disk).is_err() {
            disk.crash(seed);
            if let Err(error) = start(&disk) {
                assert!(error.is_damage(), "{error}");
            }
            move_aside(&disk).expect("power");
        }
        disk.crash(seed + 1);
        let (recovered, _) = start(&disk).expect("nothing is left");
        assert_eq!((recovered.restored.zxid, recovered.restored.tree.len()), (Zxid::ZERO, fresh_len()));
        assert!(recovered.epochs.repairing, "it must not vote");
        let is_lost = damaged.name == EPOCHS;
        let promised = epochs.clone().unwrap_or_default().accepted;
        assert!(is_lost || recovered.epochs.accepted >= promised, "{epochs:?}");
        let mut log = writer(&disk, recovered.encoder);
        let mut incoming = Incoming::create(disk.clone(), state.last).expect("power");
        incoming.write(&state.snapshot()).expect("power");
        incoming.finish(log.encoder().position()).expect("power");
        let base = append(&mut log, &Batch::marker(Marker::Base { at: state.last }));
        adopt(&disk, state.last, base).expect("power");
        disk.crash(seed + 2);
        let (recovered, _) = start(&disk).expect("the leader's state");
        assert_eq!(paths(&recovered.restored.tree), state.paths());
    }
    assert!(found > 50 && unharmed > 20, "{found} found, {unharmed} unharmed");
}

fn fresh_len() -> usize {
    Database::fresh(settings()).tree.len()
}

/// A server that has just begun, with records 1 to `count`, each a group.
fn begun(count: u64) -> (SimDisk, Log) {
    let disk = SimDisk::new(SEGMENT_BYTES, 1);
    let (recovered, _) = start(&disk).expect("nothing is there");
    let mut log = writer(&disk, recovered.encoder);
    (1..=count).for_each(|zxid| put(&mut log, zxid, 0));
    (disk, log)
}

fn put(log: &mut Log, zxid: u64, salt: u32) {
    let record = Record { zxid: Zxid(zxid), salt, data_bytes: 10 };
    let mut batch = Batch::default();
    batch.put(record.zxid, |out| record.put(out));
    append(log, &batch);
}

fn mark(log: &mut Log, marker: Marker) -> Position {
    append(log, &Batch::marker(marker))
}

/// Zxids and salts of what a start finds.
fn found(disk: &SimDisk) -> Vec<String> {
    let (recovered, _) = start(disk).expect("whole");
    paths(&recovered.restored.tree).into_iter().collect()
}

/// The state of records 1 to `last`, with this salt from `from` on, as a snapshot.
fn image(last: u64, from: u64, salt: u32) -> Vec<u8> {
    let salt = |zxid| if zxid < from { 0 } else { salt };
    let record = |zxid| Record { zxid: Zxid(zxid), salt: salt(zxid), data_bytes: 10 };
    State { records: (1..=last).map(record).collect(), last: Zxid(last) }.snapshot()
}

fn write_snapshot(disk: &SimDisk, zxid: u64, bytes: &[u8]) {
    let name = snapshot::file_name(Zxid(zxid));
    write_whole(disk, Folder::Snap, SNAPSHOT_TMP, &name, bytes).expect("power");
}

/// Records that were truncated lie before others of the same zxids, and a snapshot's zxid is between: none of the
/// first is replayed on top of it, though they are above it, and all of the second are.
#[test]
fn snapshot_within_what_was_truncated() {
    let (disk, mut log) = begun(9);
    mark(&mut log, Marker::Truncate { to: Zxid(4) });
    (5..=8).for_each(|zxid| put(&mut log, zxid, 1));
    write_snapshot(&disk, 6, &image(6, 5, 1));
    let expected = ["/n1-0", "/n2-0", "/n3-0", "/n4-0", "/n5-1", "/n6-1", "/n7-1", "/n8-1"];
    assert_eq!(found(&disk), expected);
    // The same without that snapshot, from the beginning.
    disk.remove(Folder::Snap, "snapshot.6").expect("there");
    assert_eq!(found(&disk), expected);
}

/// A start tells how much of a snapshot it has read, piece by piece.
#[test]
fn reading_is_told() {
    let (disk, _) = begun(9);
    let record = |zxid| Record { zxid: Zxid(zxid), salt: 0, data_bytes: 100_000 };
    let state = State { records: (1..=8).map(record).collect(), last: Zxid(8) };
    write_snapshot(&disk, 8, &state.snapshot());
    let length = disk.length(Folder::Snap, "snapshot.8").expect("power");
    let mut offsets = Vec::new();
    let mut note = |event| match event {
        Event::Reading { snapshot, offset, bytes } => {
            assert_eq!((snapshot, bytes), (Zxid(8), length));
            offsets.push(offset);
        }
        Event::SnapshotRead => offsets.push(length),
        _ => {}
    };
    recover(&disk, settings(), &mut note).expect("whole");
    // Within a part its length is read before and after its bytes.
    let percents = offsets.iter().map(|offset| offset * 100 / length);
    assert!(percents.is_sorted() && offsets.first() == Some(&0), "{offsets:?}");
    let largest = offsets.windows(2).map(|pair| pair[1].abs_diff(pair[0])).max();
    assert!(largest <= Some(length / 2), "{offsets:?} of {length}");
}

/// A snapshot above a truncation, left by a crash right after the marker, is set aside; if records follow the marker,
/// it is no crash, and the log has lost its end.
#[test]
fn snapshot_above_a_truncation() {
    let (disk, mut log) = begun(9);
    write_snapshot(&disk, 8, &image(8, 99, 0));
    mark(&mut log, Marker::Truncate { to: Zxid(2) });
    assert_eq!(found(&disk), ["/n1-0", "/n2-0"]);
    assert!(disk.names(Folder::Snap).expect("power").contains(&"snapshot.8.superseded".to_owned()));

    let (disk, mut log) = begun(9);
    write_snapshot(&disk, 8, &image(8, 99, 0));
    mark(&mut log, Marker::Truncate { to: Zxid(2) });
    put(&mut log, 3, 1);
    let error = start(&disk).expect_err("records up to 8 are missing");
    assert!(error.is_damage() && error.to_string().contains("0x8"), "{error}");
}

/// A log can be cut where a start finds a snapshot below, or its own beginning; not below the tree that it begins with.
#[test]
fn where_a_log_can_be_cut() {
    let can = |disk: &SimDisk, to: u64| can_truncate(disk, Zxid(to)).expect("power");
    let (disk, mut log) = begun(9);
    assert!(can(&disk, 0) && can(&disk, 5));
    write_snapshot(&disk, 4, &image(4, 1, 0));
    assert!(can(&disk, 4) && can(&disk, 9));
    let mut incoming = Incoming::create(disk.clone(), Zxid(7)).expect("power");
    incoming.write(&image(7, 1, 2)).expect("power");
    incoming.finish(log.encoder().position()).expect("power");
    let base = mark(&mut log, Marker::Base { at: Zxid(7) });
    adopt(&disk, Zxid(7), base).expect("power");
    put(&mut log, 8, 2);
    assert!(can(&disk, 7) && can(&disk, 8));
    assert!(!can(&disk, 6) && !can(&disk, 4) && !can(&disk, 0));
}

/// A base goes with its snapshot: without one, there is nothing to start from, and older ones are of no use.
#[test]
fn base_without_a_snapshot() {
    let (disk, mut log) = begun(3);
    let mut incoming = Incoming::create(disk.clone(), Zxid(7)).expect("power");
    incoming.write(&image(7, 1, 2)).expect("power");
    incoming.finish(log.encoder().position()).expect("power");
    mark(&mut log, Marker::Base { at: Zxid(7) });
    put(&mut log, 8, 2);
    // The start finishes what was interrupted.
    let expected: Vec<_> = (1..=8).map(|zxid| format!("/n{zxid}-2")).collect();
    assert_eq!(found(&disk), expected);
    disk.remove(Folder::Snap, "snapshot.7").expect("there");
    let error = start(&disk).expect_err("the older snapshot is not the base's");
    assert!(error.is_damage() && error.to_string().contains("restarts at zxid 0x7"), "{error}");
    assert!(!can_truncate(&disk, Zxid(7)).expect("power"));
    // Moved aside, the server has nothing, and reports that it must not vote, after every start.
    assert_eq!(move_aside(&disk).expect("power"), "damaged.1");
    for _ in 0..2 {
        let (recovered, _) = start(&disk).expect("nothing is left");
        assert!(recovered.epochs.repairing && recovered.restored.zxid == Zxid::ZERO);
    }
    assert_eq!(move_aside(&disk).expect("power"), "damaged.2");
}

/// A log that is not there at all is no damage that a leader could mend: the folder may be another one's.
#[test]
fn log_elsewhere() {
    let (disk, _) = begun(3);
    disk.remove(Folder::Log, "log.00000001").expect("there");
    let error = start(&disk).expect_err("no log");
    assert!(matches!(error, RecoveryError::NoLog { .. }) && !error.is_damage());
    // Unless the server itself was moving it away.
    Epochs { repairing: true, ..Epochs::default() }.write(&disk).expect("power");
    assert!(start(&disk).expect_err("no log").is_damage());
}

/// What a learner lacks is read back over a truncation, also while the writer goes on; not over a base, nor from where
/// the log does not go back to. The floor tells a learner with other records where to truncate.
#[test]
fn reading_back() {
    let (disk, mut log) = begun(9);
    mark(&mut log, Marker::Truncate { to: Zxid(4) });
    (6..=40).for_each(|zxid| put(&mut log, zxid, 1));
    let durable = log.encoder().position();
    let mut slices = records(&disk, Zxid(5), Zxid(20), durable).expect("whole").expect("all there");
    assert_eq!(slices.floor(), Zxid(4));
    (41..=60).for_each(|zxid| put(&mut log, zxid, 1));
    let mut read = Vec::new();
    while slices.slice(&disk, |zxid, _| read.push(zxid.0)).expect("whole") {}
    assert_eq!(read, (6..=20).collect::<Vec<_>>());
    assert!(records(&disk, Zxid(5), Zxid(41), durable).expect("whole").is_none(), "not durable then");
    mark(&mut log, Marker::Base { at: Zxid(30) });
    put(&mut log, 31, 2);
    let durable = log.encoder().position();
    let is_there = |after| records(&disk, Zxid(after), Zxid(31), durable).expect("whole").is_some();
    assert_eq!([5, 29, 30, 31].map(is_there), [false, false, true, true]);
}

/// The process dies with the base written and not flushed, and the machine dies while the next start takes the received
/// snapshot over: the base is durable before the snapshot has its name, wherever the power goes.
#[test]
fn killed_before_the_base_was_flushed() {
    for operations in 0..16 {
        for seed in 0..20 {
            let (disk, mut log) = begun(5);
            // As new as the log's end, and of another history.
            let mut incoming = Incoming::create(disk.clone(), Zxid(3)).expect("power");
            incoming.write(&image(3, 1, 2)).expect("power");
            incoming.finish(log.encoder().position()).expect("power");
            log.write(&Batch::marker(Marker::Base { at: Zxid(3) })).expect("power");
            disk.power_off_after(operations);
            let _ = start(&disk);
            disk.crash(seed);
            let names = found(&disk);
            let of = |count: u64, salt: u32| {
                (1..=count).map(|zxid| format!("/n{zxid}-{salt}")).collect::<Vec<_>>()
            };
            assert!(names == of(5, 0) || names == of(3, 2), "{operations} {seed}: {names:?}");
        }
    }
}

/// The first group of a segment, torn, right after a snapshot at the log's end: the log goes on from the segment before,
/// so that an older snapshot still finds it in one piece.
#[test]
fn torn_segment_behind_a_snapshot() {
    let mut torn = 0;
    for seed in 0..40 {
        let (disk, mut log) = begun(1);
        let mut last = 1;
        while log.encoder().offset() < SEGMENT_BYTES {
            last += 1;
            put(&mut log, last, 0);
        }
        write_snapshot(&disk, last, &image(last, 99, 0));
        let mut batch = Batch::default();
        let record = Record { zxid: Zxid(last + 1), salt: 1, data_bytes: 9000 };
        batch.put(record.zxid, |out| record.put(out));
        log.write(&batch).expect("power");
        disk.crash(seed);
        let (recovered, _) = start(&disk).expect("torn at most");
        torn += u32::from(recovered.restored.zxid == Zxid(last));
        let next = recovered.restored.zxid.0 + 1;
        let mut log = writer(&disk, recovered.encoder);
        put(&mut log, next, 2);
        disk.remove(Folder::Snap, &snapshot::file_name(Zxid(last))).expect("there");
        assert_eq!(found(&disk).len() as u64, next);
    }
    assert!(torn > 10, "{torn}");
}

/// All files, with what they hold.
fn all_files(disk: &SimDisk) -> Vec<(Folder, String, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in [Folder::Snap, Folder::Log] {
        for name in disk.names(folder).expect("power") {
            let bytes = disk.read(folder, &name).expect("power");
            files.push((folder, name, bytes));
        }
    }
    files
}

/// A log of three segments, and the snapshot of an empty tree.
fn three_segments() -> SimDisk {
    let (disk, mut log) = begun(1);
    let mut last = 1;
    while log.encoder().segment() < 3 {
        last += 1;
        put(&mut log, last, 0);
    }
    disk
}

const EACCES: i32 = 13;
const EIO: i32 = 5;

/// A segment, or the only snapshot, that the system does not let us read is no damage: the start names the file and
/// changes nothing, and is whole once the file can be read. (A member once moved all of it aside and stopped voting.)
#[test]
fn what_cannot_be_read_is_not_damaged() {
    let disk = three_segments();
    let (files, whole) = (all_files(&disk), found(&disk));
    let logs = (1..=3).map(|number| (Folder::Log, wal::file_name(number)));
    for (folder, name) in logs.chain([(Folder::Snap, "snapshot.0".to_owned())]) {
        for errno in [EACCES, EIO] {
            // An empty tree, and all of the log, is a state as well.
            if folder == Folder::Snap && errno == EIO {
                continue;
            }
            disk.set_unreadable(folder, &name, Some(errno));
            let error = start(&disk).expect_err("a file cannot be read");
            assert!(
                matches!(error, RecoveryError::Unreadable { .. }) && !error.is_damage(),
                "{name}: {error}"
            );
            assert!(error.to_string().contains(&name), "{name}: {error}");
            disk.set_unreadable(folder, &name, None);
            assert_eq!(all_files(&disk), files, "{name}: something was changed");
        }
    }
    assert_eq!(found(&disk), whole);
}

/// The newest snapshot lies on blocks that the disk does not give: the log after an older one leads to the same state,
/// and the file keeps its name, for the disk may be mended. Without such a log the start names what it cannot read.
#[test]
fn snapshot_on_a_bad_block() {
    let disk = three_segments();
    let whole = found(&disk);
    let last = whole.len() as u64;
    let name = snapshot::file_name(Zxid(last));
    write_snapshot(&disk, last, &image(last, 1, 0));
    disk.set_unreadable(Folder::Snap, &name, Some(EIO));
    let mut reported = Vec::new();
    let recovered =
        recover(&disk, settings(), &mut |event| reported.push(event)).expect("the log has it all");
    assert_eq!(recovered.restored.zxid, Zxid(last));
    assert_eq!(found(&disk), whole);
    let left_out = |event: &Event| matches!(event, Event::LeftOut { is_damaged: false, path, .. } if path.ends_with(&name));
    assert!(reported.iter().any(left_out), "{reported:?}");
    disk.remove(Folder::Log, &wal::file_name(1)).expect("there");
    let error = start(&disk).expect_err("records are missing");
    assert!(matches!(error, RecoveryError::Unreadable { .. }) && !error.is_damage(), "{error}");
    disk.set_unreadable(Folder::Snap, &name, None);
    assert_eq!(found(&disk), whole);
}

/// Files of a later version are whole, and not for this one: the start refuses them by name, and changes nothing.
#[test]
fn later_versions_are_not_damaged() {
    let disk = three_segments();
    let last = found(&disk).len() as u64;
    let mut bytes = image(last, 1, 0);
    // Length, checksum, the entry's kind, magic; then the version.
    bytes[8 + 1 + 8..][..4].copy_from_slice(&99u32.to_be_bytes());
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("four")) as usize;
    let mut crc = crc32fast::Hasher::new_with_initial(0);
    crc.update(&bytes[..4]);
    crc.update(&bytes[8..][..length]);
    bytes[4..8].copy_from_slice(&crc.finalize().to_be_bytes());
    write_snapshot(&disk, last, &bytes);
    let files = all_files(&disk);
    let error = start(&disk).expect_err("a later version's");
    assert!(matches!(error, RecoveryError::Version { .. }) && !error.is_damage(), "{error}");
    assert!(
        error.to_string().contains("version 99") && error.to_string().contains("start the one"),
        "{error}"
    );
    assert_eq!(all_files(&disk), files, "something was changed");

    // All of the log is: what it begins with is not known.
    disk.remove(Folder::Snap, &snapshot::file_name(Zxid(last))).expect("there");
    for number in 1..=3 {
        let name = wal::file_name(number);
        let mut sector = vec![0; 512];
        disk.read_at(Folder::Log, &name, 0, &mut sector).expect("there");
        sector[16 + 8..][..4].copy_from_slice(&99u32.to_be_bytes());
        let mut crc = crc32fast::Hasher::new_with_initial(0);
        crc.update(&sector[4..]);
        sector[..4].copy_from_slice(&crc.finalize().to_be_bytes());
        disk.write_at(Folder::Log, &name, 0, &sector).expect("power");
        disk.flush(Folder::Log, &name).expect("power");
    }
    let files = all_files(&disk);
    let error = start(&disk).expect_err("a later version's");
    assert!(!error.is_damage() && error.to_string().contains("version 99"), "{error}");
    assert_eq!(all_files(&disk), files, "something was changed");
}

/// A digest that is not the tree's proves damage in a log of the present version. In one of an older version a leader of
/// ZooKeeper's may have predicted it: it is counted and reported, and the log is taken.
#[test]
fn digests_of_older_logs() {
    let recovered = |version: Option<u8>, wrong: &[u64]| {
        let disk = SimDisk::new(SEGMENT_BYTES, 1);
        let (recovered, _) = start(&disk).expect("nothing is there");
        let mut log = writer(&disk, recovered.encoder);
        let (mut restored, mut batch) = (Database::fresh(settings()), Batch::default());
        for zxid in 1..=4 {
            let record = Record { zxid: Zxid(zxid), salt: 0, data_bytes: 10 };
            restored.replay(record.zxid, &record.txn()).expect("fits");
            let digest = restored.tree.digest() ^ u64::from(wrong.contains(&zxid));
            batch.put(record.zxid, |out| {
                record.put(out);
                txn::put_digest(out, digest);
            });
        }
        append(&mut log, &batch);
        if let Some(version) = version {
            // The group's first sector: its header of 16 bytes, the magic, the version. Nothing follows that group.
            let (name, mut sector) = (wal::file_name(1), vec![0; 512]);
            disk.read_at(Folder::Log, &name, 0, &mut sector).expect("power");
            sector[27] = version;
            let crc = crc32fast::hash(&sector[4..]);
            sector[..4].copy_from_slice(&crc.to_be_bytes());
            disk.write_at(Folder::Log, &name, 0, &sector).expect("power");
        }
        let mut reported = Vec::new();
        let recovered = recover(&disk, settings(), &mut |event| {
            if let Event::Digests { mismatches, is_refuted, .. } = event {
                reported.push((mismatches, is_refuted));
            }
        });
        (recovered, reported)
    };
    for version in [None, Some(2)] {
        let (right, reported) = recovered(version, &[]);
        assert_eq!((right.expect("whole").digest_mismatches, reported), (0, vec![]));
    }
    let (refused, reported) = recovered(None, &[2]);
    let error = refused.expect_err("damage");
    assert!(error.is_damage() && error.to_string().contains("0x2 leaves digest"), "{error}");
    assert!(reported.is_empty());
    for (wrong, is_refuted) in [(&[2, 3][..], true), (&[2, 4], false)] {
        let (taken, reported) = recovered(Some(2), wrong);
        let taken = taken.expect("whole");
        assert_eq!((taken.digest_mismatches, taken.restored.zxid, taken.replayed), (2, Zxid(4), 4));
        assert_eq!(reported, [(2, is_refuted)]);
    }
}
