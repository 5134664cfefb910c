//! Histories of a server's files on a disk that crashes, fills up, fails and rots.

use super::*;
use crate::proto::OpCode;
use crate::replica::Restored;
use crate::sim::Random;
use crate::sim::disk::SimDisk;
use crate::tree::{self, Digests, Tree};
use crate::txn::{CreateKind, CreateTxn, Txn, TxnHeader};
use crate::wal::{Batch, Marker, Position};
use std::collections::BTreeSet;

const SEGMENT_BYTES: usize = 64 << 10;

fn settings() -> tree::Settings {
    tree::Settings { extended_types: false, digests: Digests::Kept, hash_seed: 1 }
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
        let header = TxnHeader { session_id: 0, cxid: 0, zxid: self.zxid, time_ms: 0, op: OpCode::CREATE };
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
        let mut restored = Restored::fresh(settings());
        for record in &self.records {
            restored.replay(record.zxid, &record.txn()).expect("fits");
        }
        ImageEncoder::whole(&mut restored.tree, &restored.sessions, self.last, 0)
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

/// A server's storage side, and what it was told is durable.
struct Server {
    disk: SimDisk,
    random: Random,
    log: Option<LogFile<SimDisk>>,
    /// Where the log is durable.
    durable: Position,
    state: State,
    /// What an operation that fails may have made of it.
    after: Option<State>,
    /// Never truncated, and so what snapshots are of.
    committed: Zxid,
    /// What the file says; `None` while there is none.
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
            self.disk.crash(self.random.next());
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
        assert!([self.epochs, self.epochs_after].contains(&file), "{file:?} should be {:?}", self.epochs);
        let derived = Epochs { accepted: zxid.epoch(), current: zxid.epoch(), repairing: false };
        assert_eq!(recovered.epochs, file.unwrap_or(derived));
        (self.epochs, self.epochs_after) = (file, file);
        self.committed = self.committed.min(zxid);
        self.durable = recovered.encoder.position();
        self.log = Some(LogFile::new(self.disk.clone(), recovered.encoder));
    }

    fn log(&mut self) -> &mut LogFile<SimDisk> {
        self.log.as_mut().expect("it runs")
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
        self.durable = self.log().append(&batch)?;
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        let zxids = self.state.records.iter().map(|record| record.zxid);
        let may: Vec<_> = zxids.filter(|zxid| *zxid >= self.committed).collect();
        let Some(&to) = may.get(self.random.below(may.len().max(1) as u64) as usize) else { return Ok(()) };
        if !can_truncate(&self.disk, to)? {
            return Ok(());
        }
        self.after = Some(self.state.up_to(to));
        self.durable = self.log().append(&Batch::marker(Marker::Truncate { to }))?;
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
        self.durable = self.log().append(&Batch::marker(Marker::Base { at }))?;
        adopt(&self.disk, at, self.durable)
    }

    fn snapshot(&mut self) -> io::Result<()> {
        let zxids = self.state.records.iter().map(|record| record.zxid).chain([self.committed]);
        let may: Vec<_> = zxids.filter(|zxid| *zxid >= self.committed).collect();
        self.committed = may[self.random.below(may.len() as u64) as usize];
        // Nothing below a base can be told from the log any more.
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
        let before = self.epochs.unwrap_or_default();
        let accepted = before.accepted.max(self.state.last.epoch()) + self.random.below(2) as u32;
        let current = before.current.max(self.random.below(u64::from(accepted) + 1) as u32);
        let epochs = Epochs { accepted, current, repairing: false };
        self.epochs_after = Some(epochs);
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
                    self.disk.crash(self.random.next());
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
                self.epochs_after = self.epochs;
            }
            Err(_) => {
                // A full disk or a failed flush ends the process, and the machine may go on.
                if self.disk.is_off() || self.random.one_in(2) {
                    self.disk.crash(self.random.next());
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

/// A flipped bit anywhere: a start finds what it should all the same, or says that it is damage. Moved aside, the
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
        let (state, epochs, disk) = (server.state.clone(), server.epochs, server.disk.clone());
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
        let promised = epochs.unwrap_or_default().accepted;
        assert!(is_lost || recovered.epochs.accepted >= promised, "{epochs:?}");
        let mut log = LogFile::new(disk.clone(), recovered.encoder);
        let mut incoming = Incoming::create(disk.clone(), state.last).expect("power");
        incoming.write(&state.snapshot()).expect("power");
        incoming.finish(log.encoder().position()).expect("power");
        let base = log.append(&Batch::marker(Marker::Base { at: state.last })).expect("power");
        adopt(&disk, state.last, base).expect("power");
        disk.crash(seed + 2);
        let (recovered, _) = start(&disk).expect("the leader's state");
        assert_eq!(paths(&recovered.restored.tree), state.paths());
    }
    assert!(found > 50 && unharmed > 20, "{found} found, {unharmed} unharmed");
}

fn fresh_len() -> usize {
    Restored::fresh(settings()).tree.len()
}
