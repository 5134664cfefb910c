//! Histories of clients' operations, and the checks that compare them with ZooKeeper's promises.
//!
//! Clients record every operation with the times of its start and its end. If the connection ends before the answer, the
//! outcome is unknown: the servers may apply the operation at any later time, or never. After the run, [`check`] examines
//! the history together with the trees of all servers.
//!
//! Every write has a unique id as data, and the answer to a setData has the znode's new version. So the order of a
//! register's writes is known, and linearizability needs no search: an operation that starts after another has ended must
//! not precede it in the order of versions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use zkfast::proto::{SessionId, Stat};

/// Code of a setData whose expected version is not the znode's version.
pub const BAD_VERSION: i32 = -103;
/// Code of an operation on a znode that does not exist.
pub const NO_NODE: i32 = -101;
/// Codes that prove that a write was not applied: the session has expired or has moved to another server.
const REFUSALS: [i32; 2] = [-112, -118];

/// Number of registers that clients read and write. Register [`FENCE`] is for holders of the lock.
pub const REGISTERS: usize = 5;
/// The register that the lock guards. It holds the token of its last writer.
pub const FENCE: usize = REGISTERS - 1;
/// Parent of the sequential znodes.
pub const QUEUE: &str = "/queue";
/// Parent of the lock's ephemeral sequential znodes.
pub const LOCK: &str = "/lock";

/// The ensemble's configuration. A Java server writes this znode into its own tree at each start, with its own clock, so
/// the Stats differ between servers (`ZKDatabase.initConfigInZKDatabase` 3.9).
const CONFIG: &str = "/zookeeper/config";

/// Path of a register.
pub fn register(key: usize) -> String {
    format!("/register-{key}")
}

/// The number at the end of a sequential znode's name.
pub fn number_of(path: &[u8]) -> Option<i64> {
    std::str::from_utf8(path.rsplit(|&byte| byte == b'-').next()?).ok()?.parse().ok()
}

/// The data of a write. No two writes have the same id; registers are created with id 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// The write's id.
    pub id: u64,
    /// Number of the writer's znode in the lock; 0 without a lock.
    pub token: i64,
}

impl Value {
    /// The value as a znode's data.
    pub fn bytes(self) -> Vec<u8> {
        format!("{} {}", self.id, self.token).into_bytes()
    }

    /// Parses a znode's data; `None` if no client of this test wrote it.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (id, token) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self { id: id.parse().ok()?, token: token.parse().ok()? })
    }
}

/// An operation that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// getData of a register; `synced` if the client sent a sync right before it.
    Read { key: usize, watch: bool, synced: bool },
    /// setData of a register.
    Write { key: usize, value: Value, expected: Option<i32> },
    /// Sequential create below [`QUEUE`].
    Append { value: Value },
    /// Ephemeral sequential create below [`LOCK`].
    Enqueue,
    /// delete of the client's own znode below [`LOCK`]; `again` if an earlier attempt got no answer.
    Release { token: i64, again: bool },
    /// Any other request. The checks use only its zxid.
    Other,
}

impl Call {
    fn is_write(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Append { .. } | Self::Enqueue | Self::Release { .. })
    }
}

/// The result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection ended before the answer arrived.
    Unknown,
    /// The answer has an error code.
    Refused { zxid: i64, code: i32 },
    /// The answer to a read.
    Read { zxid: i64, version: i32, mzxid: i64, value: Value },
    /// The answer to a setData.
    Written { zxid: i64, version: i32, mzxid: i64 },
    /// The answer to a sequential create, with the number in the name.
    Created { zxid: i64, number: i64 },
    /// The answer to any other request.
    Done { zxid: i64 },
}

impl Outcome {
    /// The zxid in the answer's header; `None` without an answer.
    pub fn zxid(self) -> Option<i64> {
        match self {
            Self::Unknown => None,
            Self::Refused { zxid, .. }
            | Self::Read { zxid, .. }
            | Self::Written { zxid, .. }
            | Self::Created { zxid, .. }
            | Self::Done { zxid } => Some(zxid),
        }
    }
}

/// One operation; times are nanoseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The request.
    pub call: Call,
    /// A time before the request was sent.
    pub invoke: u64,
    /// When the answer arrived, or the client gave up the connection.
    pub complete: u64,
    /// The result.
    pub outcome: Outcome,
}

/// One entry of a client's record, in the order of its observations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An operation, at the time of its answer or of the connection's end.
    Op(Op),
    /// The data watch of a register fired; `zxid` is -1 if the event answers a setWatches.
    Event { at: u64, key: usize, zxid: i64 },
    /// The client got the lock: its znode is the first in the queue.
    Granted { at: u64, token: i64 },
    /// The client connected, with a new session or its former one.
    Attached { at: u64, session: SessionId, server: usize },
    /// The session ended: the client closed or abandoned it, or it expired.
    Ended { at: u64, session: SessionId },
    /// A server broke the wire protocol, with an answer out of order for example.
    Broken { at: u64, what: String },
}

/// A znode as a client reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// The znode's data.
    pub data: Option<Vec<u8>>,
    /// The znode's Stat.
    pub stat: Stat,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.data.as_deref().map(String::from_utf8_lossy);
        write!(f, "{data:?} {:?}", self.stat)
    }
}

/// All znodes of one server, by path.
pub type Tree = BTreeMap<String, Node>;

/// What clients and servers showed in one run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The record of each client.
    pub clients: Vec<Vec<Entry>>,
    /// The tree of each server after all clients have finished, with the server's id.
    pub trees: Vec<(usize, Tree)>,
}

/// Prints one entry per line, client by client.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (client, entries) in self.clients.iter().enumerate() {
            for (index, entry) in entries.iter().enumerate() {
                match entry {
                    Entry::Op(op) => writeln!(f, "{}", Seen { client, index, op })?,
                    other => writeln!(f, "[client {client} entry {index}: {other:?}]")?,
                }
            }
        }
        Ok(())
    }
}

/// The promise that a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Writes of a register are linearizable, and no write is lost, applied twice or made up.
    Register,
    /// A read right after a sync is linearizable.
    SyncRead,
    /// Zxids and versions that a session sees never go back, and it sees its own writes.
    Session,
    /// A watch fires once, after a change and before the client sees anything newer, across reconnects too.
    Watch,
    /// Sequential znodes get the numbers 0, 1, 2 ... in the order of their creation; none is lost or created twice.
    Sequence,
    /// The lock has one holder at a time, ephemerals live as long as their sessions, and tokens never go back.
    Lock,
    /// All servers have the same tree.
    Trees,
    /// Answers are well formed and come in the order of the requests.
    Protocol,
}

/// One broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The promise.
    pub check: Check,
    /// The operations that prove the violation.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}

/// All violations of ZooKeeper's promises in `history`.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Found::default();
    let registers = Registers::learn(history, &mut found);
    registers.check_order(&mut found);
    check_sessions(history, &registers, &mut found);
    check_sequence(history, &mut found);
    check_lock(history, &registers, &mut found);
    check_trees(history, &mut found);
    found.0
}

/// Counts the entries of each kind, as text. A run that did nothing proves nothing.
pub fn summary(history: &History) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in history.clients.iter().flatten() {
        let name = match entry {
            Entry::Op(Op { outcome: Outcome::Unknown, .. }) => "unknown",
            Entry::Op(Op { outcome: Outcome::Refused { .. }, .. }) => "refused",
            Entry::Op(Op { call: Call::Read { synced: true, .. }, .. }) => "synced reads",
            Entry::Op(Op { call: Call::Read { .. }, .. }) => "reads",
            Entry::Op(Op { call: Call::Write { .. }, .. }) => "writes",
            Entry::Op(Op { call: Call::Append { .. }, .. }) => "sequential creates",
            Entry::Op(_) => "others",
            Entry::Event { .. } => "watch events",
            Entry::Granted { .. } => "locks",
            Entry::Attached { .. } => "connections",
            Entry::Ended { .. } => "sessions",
            Entry::Broken { .. } => "protocol errors",
        };
        *counts.entry(name).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    parts.extend(history.trees.first().map(|(_, tree)| format!("{} znodes", tree.len())));
    parts.join(", ")
}

#[derive(Debug, Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, check: Check, what: String) {
        self.0.push(Violation { check, what });
    }
}

/// An operation and its place in the history, for messages.
#[derive(Clone, Copy)]
struct Seen<'a> {
    client: usize,
    index: usize,
    op: &'a Op,
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, index, op } = self;
        let seconds = |ns: u64| ns as f64 / 1e9;
        let (from, to) = (seconds(op.invoke), seconds(op.complete));
        write!(
            f,
            "[client {client} entry {index} from {from:.6} s to {to:.6} s: {:?} -> {:?}]",
            op.call, op.outcome
        )
    }
}

fn operations(history: &History) -> impl Iterator<Item = Seen<'_>> {
    history.clients.iter().enumerate().flat_map(|(client, entries)| {
        entries.iter().enumerate().filter_map(move |(index, entry)| match entry {
            Entry::Op(op) => Some(Seen { client, index, op }),
            _ => None,
        })
    })
}

/// A version of a register that was observed.
#[derive(Clone, Debug)]
struct Fact {
    value: Value,
    mzxid: i64,
    source: String,
}

struct Registers<'a> {
    /// The observed versions of each register.
    facts: Vec<BTreeMap<i32, Fact>>,
    operations: Vec<Vec<Seen<'a>>>,
    /// The operation that tried to write a value, by the value's id.
    writers: HashMap<u64, Seen<'a>>,
    has_trees: bool,
}

impl<'a> Registers<'a> {
    /// Collects the value of each version, and reports contradictions.
    fn learn(history: &'a History, found: &mut Found) -> Self {
        let mut all = Self {
            facts: vec![BTreeMap::new(); REGISTERS],
            operations: vec![Vec::new(); REGISTERS],
            writers: HashMap::new(),
            has_trees: !history.trees.is_empty(),
        };
        for seen in operations(history) {
            match (seen.op.call, seen.op.outcome) {
                (Call::Read { key, .. }, Outcome::Read { version, mzxid, value, .. }) => {
                    all.add_fact(key, version, Fact { value, mzxid, source: seen.to_string() }, found);
                    all.operations[key].push(seen);
                }
                (Call::Write { key, value, .. }, outcome) => {
                    if let Outcome::Written { version, mzxid, .. } = outcome {
                        all.add_fact(key, version, Fact { value, mzxid, source: seen.to_string() }, found);
                    }
                    all.operations[key].push(seen);
                    all.writers.insert(value.id, seen);
                }
                (Call::Read { .. }, Outcome::Refused { code, .. }) if !REFUSALS.contains(&code) => {
                    found.add(Check::Register, format!("a register does not exist: {seen}"));
                }
                _ => {}
            }
        }
        for (server, tree) in &history.trees {
            for key in 0..REGISTERS {
                let node = tree.get(&register(key));
                let value = node.and_then(|node| Value::read(node.data.as_deref()?));
                let (Some(node), Some(value)) = (node, value) else {
                    found.add(Check::Register, format!("server {server} has {}: {node:?}", register(key)));
                    continue;
                };
                let source = format!("[server {server} at the end: {value:?} version {}]", node.stat.version);
                let fact = Fact { value, mzxid: node.stat.mzxid.to_wire(), source };
                if let Some((version, newer)) = all.facts[key].range(node.stat.version + 1..).next_back() {
                    found.add(
                        Check::Register,
                        format!("version {version} is lost: {} and {}", newer.source, fact.source),
                    );
                }
                all.add_fact(key, node.stat.version, fact, found);
            }
        }
        all.check_writers(found);
        all
    }

    fn add_fact(&mut self, key: usize, version: i32, fact: Fact, found: &mut Found) {
        let known = self.facts[key].entry(version).or_insert_with(|| fact.clone());
        if (known.value, known.mzxid) != (fact.value, fact.mzxid) {
            let what = format!("two states of version {version}: {} and {}", known.source, fact.source);
            found.add(Check::Register, what);
        }
    }

    /// Every observed value was written once, by an operation that was not refused.
    fn check_writers(&self, found: &mut Found) {
        for facts in &self.facts {
            let mut before: Option<(i32, &Fact)> = None;
            let mut versions = HashMap::new();
            for (&version, fact) in facts {
                if let Some((_, older)) = before
                    && older.mzxid >= fact.mzxid
                {
                    let what = format!("versions and zxids disagree: {} and {}", older.source, fact.source);
                    found.add(Check::Register, what);
                }
                before = Some((version, fact));
                if let Some(other) = versions.insert(fact.value.id, version) {
                    let what = format!("one write is versions {other} and {version}: {}", fact.source);
                    found.add(Check::Register, what);
                }
                if fact.value.id == 0 {
                    if version != 0 {
                        let what = format!("the first value is back: {}", fact.source);
                        found.add(Check::Register, what);
                    }
                    continue;
                }
                let Some(writer) = self.writers.get(&fact.value.id) else {
                    found.add(Check::Register, format!("no client wrote this: {}", fact.source));
                    continue;
                };
                if let Outcome::Refused { .. } = writer.op.outcome {
                    let what = format!("a refused write was done: {writer} and {}", fact.source);
                    found.add(Check::Register, what);
                }
                if let Call::Write { expected: Some(expected), .. } = writer.op.call
                    && version != expected + 1
                {
                    let what = format!("the expected version was another: {writer} and {}", fact.source);
                    found.add(Check::Register, what);
                }
            }
        }
    }

    /// An operation that has ended before another one starts precedes it.
    fn check_order(&self, found: &mut Found) {
        for (facts, operations) in self.facts.iter().zip(&self.operations) {
            let versions: HashMap<u64, i32> =
                facts.iter().map(|(&version, fact)| (fact.value.id, version)).collect();
            let version = |seen: &Seen<'_>| match (seen.op.outcome, seen.op.call) {
                (Outcome::Read { version, .. } | Outcome::Written { version, .. }, _) => Some(version),
                // A write without an answer that other clients have seen.
                (Outcome::Unknown, Call::Write { value, .. }) => versions.get(&value.id).copied(),
                _ => None,
            };
            let mut by_end: Vec<_> =
                operations.iter().filter(|seen| seen.op.outcome != Outcome::Unknown).collect();
            by_end.sort_by_key(|seen| seen.op.complete);
            let mut by_start: Vec<_> = operations.iter().collect();
            by_start.sort_by_key(|seen| seen.op.invoke);
            let mut ended = by_end.into_iter().peekable();
            let mut newest: Option<(i32, &Seen<'_>)> = None;
            for seen in by_start {
                while let Some(before) = ended.next_if(|before| before.op.complete < seen.op.invoke) {
                    if let Some(version) = version(before)
                        && newest.is_none_or(|(newest, _)| version > newest)
                    {
                        newest = Some((version, before));
                    }
                }
                let own = version(seen);
                match (seen.op.call, own, newest) {
                    (Call::Write { .. }, Some(own), Some((newest, before))) if own <= newest => {
                        let what = format!("a write comes before one that had ended: {before} then {seen}");
                        found.add(Check::Register, what);
                    }
                    (Call::Read { synced: true, .. }, Some(own), Some((newest, before))) if own < newest => {
                        found
                            .add(Check::SyncRead, format!("a stale read after a sync: {before} then {seen}"));
                    }
                    _ => {}
                }
                if let Outcome::Read { value, .. } = seen.op.outcome
                    && let Some(writer) = self.writers.get(&value.id)
                    && writer.op.invoke > seen.op.complete
                {
                    found.add(Check::Register, format!("read before it was written: {seen} then {writer}"));
                }
                self.check_refusal(facts, seen, newest.map(|(version, _)| version), found);
            }
        }
    }

    /// A setData may fail with BADVERSION only if the znode had another version at some time during the operation.
    fn check_refusal(
        &self,
        facts: &BTreeMap<i32, Fact>,
        seen: &Seen<'_>,
        newest: Option<i32>,
        found: &mut Found,
    ) {
        let (Call::Write { expected, .. }, Outcome::Refused { code, .. }) = (seen.op.call, seen.op.outcome)
        else {
            return;
        };
        if REFUSALS.contains(&code) {
            return;
        }
        let (Some(expected), BAD_VERSION) = (expected, code) else {
            found.add(Check::Register, format!("no reason to refuse: {seen}"));
            return;
        };
        if newest != Some(expected) {
            return;
        }
        let changed = match facts.get(&(expected + 1)) {
            Some(fact) => {
                self.writers.get(&fact.value.id).is_some_and(|writer| writer.op.invoke < seen.op.complete)
            }
            // A write without an answer may have made it. The trees would show a later version.
            None => !self.has_trees || facts.range(expected + 1..).next().is_some(),
        };
        if !changed {
            found.add(Check::Register, format!("the znode had the expected version all the time: {seen}"));
        }
    }

    /// The first observed version of a register after `version`.
    fn next_change(&self, key: usize, version: i32) -> Option<&Fact> {
        self.facts[key].range(version + 1..).next().map(|(_, fact)| fact)
    }
}

/// What one session has seen so far.
#[derive(Debug, Default)]
struct SessionView {
    zxid: i64,
    versions: [Option<i32>; REGISTERS],
    /// For each watched register, the version and the entry of the read that set the watch.
    watched: [Option<(i32, usize)>; REGISTERS],
}

fn check_sessions(history: &History, registers: &Registers<'_>, found: &mut Found) {
    for (client, entries) in history.clients.iter().enumerate() {
        let mut view = SessionView::default();
        for (index, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Op(op) => check_reply(&mut view, registers, Seen { client, index, op }, found),
                Entry::Event { key, zxid, .. } => {
                    let place = format!("client {client} entry {index}: {entry:?}");
                    check_event(&mut view, registers, *key, *zxid, &place, found);
                }
                Entry::Ended { .. } => view = SessionView::default(),
                Entry::Broken { what, .. } => {
                    found.add(Check::Protocol, format!("client {client} entry {index}: {what}"));
                }
                Entry::Granted { .. } | Entry::Attached { .. } => {}
            }
        }
    }
}

fn check_reply(view: &mut SessionView, registers: &Registers<'_>, seen: Seen<'_>, found: &mut Found) {
    let Some(zxid) = seen.op.outcome.zxid() else { return };
    if zxid < view.zxid {
        found.add(Check::Session, format!("zxid {zxid:#x} after {:#x}: {seen}", view.zxid));
    }
    for (key, watched) in view.watched.iter().enumerate() {
        if let Some((version, since)) = watched
            && let Some(change) = registers.next_change(key, *version)
            && change.mzxid <= zxid
        {
            let what = format!("no event for entry {since}, watching {key}: {} but {seen}", change.source);
            found.add(Check::Watch, what);
        }
    }
    let (key, version, mzxid) = match (seen.op.call, seen.op.outcome) {
        (Call::Read { key, .. }, Outcome::Read { version, mzxid, .. }) => {
            if let Some(change) = registers.next_change(key, version)
                && change.mzxid <= view.zxid
            {
                let what = format!("older than zxid {:#x}: {seen}, but {}", view.zxid, change.source);
                found.add(Check::Session, what);
            }
            (key, version, mzxid)
        }
        (Call::Write { key, .. }, Outcome::Written { version, mzxid, .. }) => (key, version, mzxid),
        _ => {
            view.zxid = view.zxid.max(zxid);
            return;
        }
    };
    if mzxid > zxid {
        found.add(Check::Session, format!("the state is newer than the answer's zxid: {seen}"));
    }
    if let Some(before) = view.versions[key]
        && version < before
    {
        found.add(Check::Session, format!("version {before} had been seen: {seen}"));
    }
    if let Some((watched, since)) = view.watched[key]
        && version > watched
        && registers.next_change(key, watched).is_none_or(|change| change.mzxid > zxid)
    {
        found.add(Check::Watch, format!("no event for entry {since}, watching {key}: {seen}"));
    }
    view.versions[key] = Some(version);
    view.zxid = view.zxid.max(zxid);
    if let Call::Read { watch: true, .. } = seen.op.call
        && view.watched[key].is_none()
    {
        view.watched[key] = Some((version, seen.index));
    }
}

fn check_event(
    view: &mut SessionView,
    registers: &Registers<'_>,
    key: usize,
    zxid: i64,
    place: &str,
    found: &mut Found,
) {
    let Some((version, since)) = view.watched[key].take() else {
        found.add(Check::Watch, format!("no watch is set: {place}"));
        return;
    };
    let Some(change) = registers.next_change(key, version) else {
        found.add(Check::Watch, format!("nothing changed since entry {since}: {place}"));
        return;
    };
    if zxid <= 0 {
        return;
    }
    // The first observed change may follow others that no client saw.
    let armed_at = registers.facts[key].get(&version).map_or(0, |fact| fact.mzxid);
    if zxid > change.mzxid || zxid <= armed_at {
        found.add(
            Check::Watch,
            format!("not the first change since entry {since}, {}: {place}", change.source),
        );
    }
    if zxid < view.zxid {
        found.add(Check::Watch, format!("event after zxid {:#x}: {place}", view.zxid));
    }
    view.zxid = view.zxid.max(zxid);
}

fn check_sequence(history: &History, found: &mut Found) {
    // Acknowledged creates by the number that they got, and all creates by the id of their value.
    let mut acknowledged: BTreeMap<i64, Seen<'_>> = BTreeMap::new();
    let mut attempts: HashMap<u64, Seen<'_>> = HashMap::new();
    for seen in operations(history) {
        let Call::Append { value } = seen.op.call else { continue };
        attempts.insert(value.id, seen);
        match seen.op.outcome {
            Outcome::Created { number, .. } => {
                if let Some(other) = acknowledged.insert(number, seen) {
                    found.add(Check::Sequence, format!("one number for two: {other} and {seen}"));
                }
            }
            Outcome::Refused { code, .. } if !REFUSALS.contains(&code) => {
                found.add(Check::Sequence, format!("no reason to refuse: {seen}"));
            }
            _ => {}
        }
    }
    let zxid = |seen: &Seen<'_>| seen.op.outcome.zxid().unwrap_or_default();
    for (before, seen) in acknowledged.values().zip(acknowledged.values().skip(1)) {
        if zxid(before) >= zxid(seen) {
            found.add(Check::Sequence, format!("numbers and zxids disagree: {before} and {seen}"));
        }
    }
    for (server, tree) in &history.trees {
        check_queue(*server, &children_of(tree, QUEUE), &acknowledged, &attempts, found);
    }
    check_sequence_order(history, &acknowledged, &attempts, found);
}

/// The queue of one server holds the numbers 0, 1, 2 ..., each from one create that was not refused, and every
/// acknowledged create.
fn check_queue(
    server: usize,
    children: &BTreeMap<i64, &Node>,
    acknowledged: &BTreeMap<i64, Seen<'_>>,
    attempts: &HashMap<u64, Seen<'_>>,
    found: &mut Found,
) {
    let mut add = |what| found.add(Check::Sequence, what);
    let value_of = |node: &Node| Value::read(node.data.as_deref()?);
    let mut values = HashSet::new();
    for (expected, (&number, node)) in (0..).zip(children) {
        if number != expected {
            add(format!("server {server} has no number {expected} but {number}"));
            break;
        }
        let value = value_of(node);
        let Some(seen) = value.and_then(|value| attempts.get(&value.id)) else {
            add(format!("no client created {number} of server {server}: {node:?}"));
            continue;
        };
        if let Outcome::Refused { .. } = seen.op.outcome {
            add(format!("refused, yet {number} of server {server}: {seen}"));
        }
        if !values.insert(value) {
            add(format!("done twice, {number} of server {server}: {seen}"));
        }
    }
    for (number, seen) in acknowledged {
        let there = children.get(number).and_then(|node| value_of(node));
        if Some(seen.op.call) != there.map(|value| Call::Append { value }) {
            add(format!("lost on server {server}, which has {there:?}: {seen}"));
        }
    }
}

/// A create that starts after another one has ended gets a greater number.
fn check_sequence_order(
    history: &History,
    acknowledged: &BTreeMap<i64, Seen<'_>>,
    attempts: &HashMap<u64, Seen<'_>>,
    found: &mut Found,
) {
    let mut by_end: Vec<_> = acknowledged.iter().map(|(&number, &seen)| (number, seen)).collect();
    let mut by_start = by_end.clone();
    // A create without an answer has a place in the order too if its znode exists.
    let children = history.trees.first().map(|(_, tree)| children_of(tree, QUEUE)).unwrap_or_default();
    by_start.extend(children.into_iter().filter_map(|(number, node)| {
        let seen = *attempts.get(&Value::read(node.data.as_deref()?)?.id)?;
        (seen.op.outcome == Outcome::Unknown).then_some((number, seen))
    }));
    by_end.sort_by_key(|(_, seen)| seen.op.complete);
    by_start.sort_by_key(|(_, seen)| seen.op.invoke);
    let mut ended = by_end.into_iter().peekable();
    let mut greatest: Option<(i64, Seen<'_>)> = None;
    for (number, seen) in by_start {
        while let Some(before) = ended.next_if(|(_, before)| before.op.complete < seen.op.invoke) {
            if greatest.is_none_or(|(greatest, _)| before.0 > greatest) {
                greatest = Some(before);
            }
        }
        if let Some((greatest, before)) = greatest
            && number <= greatest
        {
            let what = format!("{number} after {greatest} had been given: {before} then {seen}");
            found.add(Check::Sequence, what);
        }
    }
}

/// The sequential children of `parent`, by number.
fn children_of<'a>(tree: &'a Tree, parent: &str) -> BTreeMap<i64, &'a Node> {
    let prefix = format!("{parent}/");
    tree.range(prefix.clone()..)
        .take_while(|(path, _)| path.starts_with(&prefix))
        .filter_map(|(path, node)| Some((number_of(path.as_bytes())?, node)))
        .collect()
}

/// A time in which one client certainly held the lock.
struct Hold {
    granted: u64,
    /// The last time at which its znode certainly existed.
    held: u64,
    what: String,
}

fn check_lock(history: &History, registers: &Registers<'_>, found: &mut Found) {
    let mut holds: BTreeMap<i64, Hold> = BTreeMap::new();
    for (client, entries) in history.clients.iter().enumerate() {
        collect_holds(client, entries, &mut holds, found);
    }
    let mut longest: Option<&Hold> = None;
    for hold in holds.values() {
        if let Some(before) = longest
            && before.held > hold.granted
        {
            let (from, to) = (hold.granted as f64 / 1e9, before.held as f64 / 1e9);
            let what =
                format!("two holders from {from:.6} s to {to:.6} s: {} and {}", before.what, hold.what);
            found.add(Check::Lock, what);
        }
        if longest.is_none_or(|longest| hold.held > longest.held) {
            longest = Some(hold);
        }
    }
    let fence: Vec<&Fact> = registers.facts[FENCE].values().collect();
    for pair in fence.windows(2) {
        if pair[1].value.token < pair[0].value.token {
            let what = format!("a token goes back: {} and {}", pair[0].source, pair[1].source);
            found.add(Check::Lock, what);
        }
    }
    for (server, tree) in &history.trees {
        for (path, node) in tree.iter().filter(|(_, node)| node.stat.ephemeral_owner.is_some()) {
            let what = format!("all sessions ended, but server {server} has {path}: {:?}", node.stat);
            found.add(Check::Lock, what);
        }
    }
}

/// Adds the times at which one client held the lock, by token.
fn collect_holds(client: usize, entries: &[Entry], holds: &mut BTreeMap<i64, Hold>, found: &mut Found) {
    let mut current: Option<i64> = None;
    for (index, entry) in entries.iter().enumerate() {
        let op = match entry {
            Entry::Granted { at, token } => {
                let what = format!("client {client} entry {index} token {token}");
                let hold = Hold { granted: *at, held: *at, what };
                if let Some(other) = holds.insert(*token, hold) {
                    found.add(Check::Lock, format!("a second holder of token {token}: {}", other.what));
                }
                current = Some(*token);
                continue;
            }
            Entry::Ended { .. } => {
                current = None;
                continue;
            }
            Entry::Op(op) => op,
            Entry::Event { .. } | Entry::Attached { .. } | Entry::Broken { .. } => continue,
        };
        let is_first_release = matches!(op.call, Call::Release { again: false, .. });
        if is_first_release && matches!(op.outcome, Outcome::Refused { code: NO_NODE, .. }) {
            let seen = Seen { client, index, op };
            found.add(Check::Lock, format!("the ephemeral of a live session is gone: {seen}"));
        }
        let Some(hold) = current.and_then(|token| holds.get_mut(&token)) else { continue };
        // An answered write reached the leader while the session was live, after the write's start. A read proves
        // nothing: a follower may not know yet that the session has ended.
        if op.call.is_write() && op.outcome != Outcome::Unknown && !is_refusal(op.outcome) {
            hold.held = hold.held.max(op.invoke);
        }
        if let Call::Release { .. } = op.call {
            current = None;
        }
    }
}

fn is_refusal(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Refused { code, .. } if REFUSALS.contains(&code))
}

fn check_trees(history: &History, found: &mut Found) {
    let Some(((first, reference), others)) = history.trees.split_first() else { return };
    for (server, tree) in others {
        let paths: std::collections::BTreeSet<&String> = reference.keys().chain(tree.keys()).collect();
        for path in paths {
            let (here, there) = (reference.get(path), tree.get(path));
            let same = if path == CONFIG {
                here.map(|node| &node.data) == there.map(|node| &node.data)
            } else {
                here == there
            };
            if !same {
                let what = format!("{path}: server {first} has {here:?}, server {server} has {there:?}");
                found.add(Check::Trees, what);
            }
        }
    }
}
