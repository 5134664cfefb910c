//! What clients asked and what they saw, and whether ZooKeeper's promises allow it.
//!
//! Clients write down every operation with the times of its start and its end; an operation whose
//! connection ended first has an unknown outcome: it may have been done, now, later or never. After
//! the run [`check`] looks at all of it together with the trees that the servers hold at the end.
//!
//! Every write carries an id of its own as data, and a setData is answered with the znode's new
//! version. So the order of a register's writes is known, and linearizability needs no search: an
//! operation that starts after another has ended must not come before it in the order of versions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use zkfast::proto::Stat;

/// Code of setData with an expected version that is not the znode's.
pub const BAD_VERSION: i32 = -103;
/// Code of an operation on a znode that is not there.
pub const NO_NODE: i32 = -101;
/// Codes with which a write has certainly not been done: the session has ended or has moved away.
const REFUSALS: [i32; 2] = [-112, -118];

/// Registers that clients read and write; number [`FENCE`] is the one that lock holders write.
pub const REGISTERS: usize = 5;
/// What the lock guards: it holds the token of the holder that wrote last.
pub const FENCE: usize = REGISTERS - 1;
/// Parent of the sequential znodes.
pub const QUEUE: &str = "/queue";
/// Parent of the lock's ephemeral sequential znodes.
pub const LOCK: &str = "/lock";

/// Holds who the servers are. Java writes it at each start into its own tree, at its own time: a server
/// that has not been restarted for as long has another Stat there (`ZKDatabase.initConfigInZKDatabase` 3.9).
const CONFIG: &str = "/zookeeper/config";

/// Path of a register.
pub fn register(key: usize) -> String {
    format!("/register-{key}")
}

/// Number in the name of a sequential znode.
pub fn number_of(path: &[u8]) -> Option<i64> {
    std::str::from_utf8(path.rsplit(|&byte| byte == b'-').next()?).ok()?.parse().ok()
}

/// The data of a write: no two writes have the same id. 0 is what a register is created with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// Which write.
    pub id: u64,
    /// Number of the writer's znode in the lock; 0 where no lock is involved.
    pub token: i64,
}

impl Value {
    /// As it lies in the znode.
    pub fn bytes(self) -> Vec<u8> {
        format!("{} {}", self.id, self.token).into_bytes()
    }

    /// What lies in a znode; `None` where no client of ours wrote it.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (id, token) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self { id: id.parse().ok()?, token: token.parse().ok()? })
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// getData of a register; `synced` if a sync went right before it, on the same connection.
    Read { key: usize, watch: bool, synced: bool },
    /// setData of a register.
    Write { key: usize, value: Value, expected: Option<i32> },
    /// Sequential create below [`QUEUE`].
    Append { value: Value },
    /// Ephemeral sequential create below [`LOCK`].
    Enqueue,
    /// delete of the own znode below [`LOCK`]; `again` if an attempt before had no answer.
    Release { token: i64, again: bool },
    /// Anything that only its zxid is looked at of.
    Other,
}

impl Call {
    fn is_write(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Append { .. } | Self::Enqueue | Self::Release { .. })
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection ended before the answer.
    Unknown,
    /// An answer with an error code.
    Refused { zxid: i64, code: i32 },
    /// Of a read.
    Read { zxid: i64, version: i32, mzxid: i64, value: Value },
    /// Of a write.
    Written { zxid: i64, version: i32, mzxid: i64 },
    /// Of the creates: number in the name.
    Created { zxid: i64, number: i64 },
    /// Of all else.
    Done { zxid: i64 },
}

impl Outcome {
    /// What the answer's header said; `None` without an answer.
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
    /// What was asked.
    pub call: Call,
    /// When, at the latest, before it was sent.
    pub invoke: u64,
    /// When its answer was there, or the connection was given up.
    pub complete: u64,
    /// What came back.
    pub outcome: Outcome,
}

/// What happened to one client, in the order in which it saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An operation, where its answer came or its connection ended.
    Op(Op),
    /// The data watch of a register fired; `zxid` is -1 where setWatches caught up.
    Event { at: u64, key: usize, zxid: i64 },
    /// The own znode is the first of the lock's.
    Granted { at: u64, token: i64 },
    /// Connected, with a new session or an old one.
    Attached { at: u64, session: i64, server: usize },
    /// The session is over: closed or abandoned by the client, or given up by the servers.
    Ended { at: u64, session: i64 },
    /// A server broke the wire protocol, an answer out of order for example.
    Broken { at: u64, what: String },
}

/// A znode as a client reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// Its data.
    pub data: Option<Vec<u8>>,
    /// Its Stat.
    pub stat: Stat,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.data.as_deref().map(String::from_utf8_lossy);
        write!(f, "{data:?} {:?}", self.stat)
    }
}

/// All znodes of one server by path.
pub type Tree = BTreeMap<String, Node>;

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What each client saw.
    pub clients: Vec<Vec<Entry>>,
    /// The tree of each server at the end, when no client is left.
    pub trees: Vec<(usize, Tree)>,
}

/// One entry a line, a client after the other.
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

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Registers are linearizable in their writes, and no write is lost, doubled or made up.
    Register,
    /// A read right behind a sync is linearizable.
    SyncRead,
    /// A session's zxids and versions never go back, and its own writes are seen.
    Session,
    /// A watch fires once, after a change, before anything newer is seen, across reconnects too.
    Watch,
    /// Sequential znodes are numbered 0, 1, 2 in the order of their creation; none is lost or doubled.
    Sequence,
    /// One holder at a time; ephemeral znodes live as long as their session; tokens never go back.
    Lock,
    /// All servers hold the same tree.
    Trees,
    /// Answers come in the order of the requests and are well formed.
    Protocol,
}

/// One broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub check: Check,
    /// The operations that show it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}

/// Everything in `history` that ZooKeeper's promises do not allow.
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

/// How much of each kind a history holds: a run that did nothing shows nothing.
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

/// Where an entry stands, and the operation in it; for messages.
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

/// What is known of one version of a register.
#[derive(Clone, Debug)]
struct Fact {
    value: Value,
    mzxid: i64,
    source: String,
}

struct Registers<'a> {
    /// By version.
    facts: Vec<BTreeMap<i32, Fact>>,
    operations: Vec<Vec<Seen<'a>>>,
    /// Who tried to write a value.
    writers: HashMap<u64, Seen<'a>>,
    has_trees: bool,
}

impl<'a> Registers<'a> {
    /// Collects which version held which value, and reports what contradicts itself.
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
                    all.fact(key, version, Fact { value, mzxid, source: seen.to_string() }, found);
                    all.operations[key].push(seen);
                }
                (Call::Write { key, value, .. }, outcome) => {
                    if let Outcome::Written { version, mzxid, .. } = outcome {
                        all.fact(key, version, Fact { value, mzxid, source: seen.to_string() }, found);
                    }
                    all.operations[key].push(seen);
                    all.writers.insert(value.id, seen);
                }
                (Call::Read { .. }, Outcome::Refused { code, .. }) if !REFUSALS.contains(&code) => {
                    found.add(Check::Register, format!("a register is not there: {seen}"));
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
                all.fact(key, node.stat.version, fact, found);
            }
        }
        all.check_writers(found);
        all
    }

    fn fact(&mut self, key: usize, version: i32, fact: Fact, found: &mut Found) {
        let known = self.facts[key].entry(version).or_insert_with(|| fact.clone());
        if (known.value, known.mzxid) != (fact.value, fact.mzxid) {
            let what = format!("two states of version {version}: {} and {}", known.source, fact.source);
            found.add(Check::Register, what);
        }
    }

    /// Every value that was seen was written, once, by an operation that was not refused.
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
                    found.add(Check::Register, format!("nobody wrote this: {}", fact.source));
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

    /// What has ended before an operation starts comes before it.
    fn check_order(&self, found: &mut Found) {
        for (facts, operations) in self.facts.iter().zip(&self.operations) {
            let versions: HashMap<u64, i32> =
                facts.iter().map(|(&version, fact)| (fact.value.id, version)).collect();
            let version = |seen: &Seen<'_>| match (seen.op.outcome, seen.op.call) {
                (Outcome::Read { version, .. } | Outcome::Written { version, .. }, _) => Some(version),
                // Not answered, but seen by others.
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
                        found.add(
                            Check::SyncRead,
                            format!("a stale read behind a sync: {before} then {seen}"),
                        );
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

    /// A setData may fail for its version only if the znode had another one at some time meanwhile.
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
            // Somebody without an answer may have written it, unless the register never went on.
            None => !self.has_trees || facts.range(expected + 1..).next().is_some(),
        };
        if !changed {
            found.add(Check::Register, format!("the expected version was right all the time: {seen}"));
        }
    }

    /// The first change of a register behind `version` that anybody knows of.
    fn next_change(&self, key: usize, version: i32) -> Option<&Fact> {
        self.facts[key].range(version + 1..).next().map(|(_, fact)| fact)
    }
}

/// What one session has seen so far.
#[derive(Debug, Default)]
struct View {
    zxid: i64,
    versions: [Option<i32>; REGISTERS],
    /// Registers under a watch: version and entry of the read that set it.
    watched: [Option<(i32, usize)>; REGISTERS],
}

fn check_sessions(history: &History, registers: &Registers<'_>, found: &mut Found) {
    for (client, entries) in history.clients.iter().enumerate() {
        let mut view = View::default();
        for (index, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Op(op) => check_reply(&mut view, registers, Seen { client, index, op }, found),
                Entry::Event { key, zxid, .. } => {
                    let place = format!("client {client} entry {index}: {entry:?}");
                    check_event(&mut view, registers, *key, *zxid, &place, found);
                }
                Entry::Ended { .. } => view = View::default(),
                Entry::Broken { what, .. } => {
                    found.add(Check::Protocol, format!("client {client} entry {index}: {what}"));
                }
                Entry::Granted { .. } | Entry::Attached { .. } => {}
            }
        }
    }
}

fn check_reply(view: &mut View, registers: &Registers<'_>, seen: Seen<'_>, found: &mut Found) {
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
    view: &mut View,
    registers: &Registers<'_>,
    key: usize,
    zxid: i64,
    place: &str,
    found: &mut Found,
) {
    let Some((version, since)) = view.watched[key].take() else {
        found.add(Check::Watch, format!("nobody watches: {place}"));
        return;
    };
    let Some(change) = registers.next_change(key, version) else {
        found.add(Check::Watch, format!("nothing changed since entry {since}: {place}"));
        return;
    };
    if zxid <= 0 {
        return;
    }
    // Changes that nobody saw may lie before the first that is known.
    let armed_at = registers.facts[key].get(&version).map_or(0, |fact| fact.mzxid);
    if zxid > change.mzxid || zxid <= armed_at {
        found.add(
            Check::Watch,
            format!("not the first change since entry {since}, {}: {place}", change.source),
        );
    }
    if zxid < view.zxid {
        found.add(Check::Watch, format!("event behind zxid {:#x}: {place}", view.zxid));
    }
    view.zxid = view.zxid.max(zxid);
}

fn check_sequence(history: &History, found: &mut Found) {
    let mut numbers: BTreeMap<i64, Seen<'_>> = BTreeMap::new();
    let mut attempts: HashMap<u64, Seen<'_>> = HashMap::new();
    for seen in operations(history) {
        let Call::Append { value } = seen.op.call else { continue };
        attempts.insert(value.id, seen);
        match seen.op.outcome {
            Outcome::Created { number, .. } => {
                if let Some(other) = numbers.insert(number, seen) {
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
    for (before, seen) in numbers.values().zip(numbers.values().skip(1)) {
        if zxid(before) >= zxid(seen) {
            found.add(Check::Sequence, format!("numbers and zxids disagree: {before} and {seen}"));
        }
    }
    for (server, tree) in &history.trees {
        let children = children_of(tree, QUEUE);
        let mut ids = HashSet::new();
        for (expected, (&number, node)) in (0..).zip(&children) {
            if number != expected {
                found.add(Check::Sequence, format!("server {server} has no number {expected} but {number}"));
                break;
            }
            let value = node.data.as_deref().and_then(Value::read);
            match value.and_then(|value| attempts.get(&value.id)) {
                None => found
                    .add(Check::Sequence, format!("nobody created {number} of server {server}: {node:?}")),
                Some(seen) => {
                    if let Outcome::Refused { .. } = seen.op.outcome {
                        found.add(
                            Check::Sequence,
                            format!("refused, yet {number} of server {server}: {seen}"),
                        );
                    }
                    if !ids.insert(value) {
                        found
                            .add(Check::Sequence, format!("done twice, {number} of server {server}: {seen}"));
                    }
                }
            }
        }
        for (number, seen) in &numbers {
            let there = children.get(number).and_then(|node| Value::read(node.data.as_deref()?));
            if Some(seen.op.call) != there.map(|value| Call::Append { value }) {
                found.add(Check::Sequence, format!("lost on server {server}, which has {there:?}: {seen}"));
            }
        }
    }
    // Those without an answer that are there have a place in the order as well.
    let mut all: Vec<(i64, Seen<'_>)> = numbers.iter().map(|(&number, &seen)| (number, seen)).collect();
    let ended: Vec<(i64, Seen<'_>)> = {
        let mut ended = all.clone();
        ended.sort_by_key(|(_, seen)| seen.op.complete);
        ended
    };
    if let Some((_, tree)) = history.trees.first() {
        for (number, node) in children_of(tree, QUEUE) {
            if let Some(value) = node.data.as_deref().and_then(Value::read)
                && let Some(seen) = attempts.get(&value.id)
                && seen.op.outcome == Outcome::Unknown
            {
                all.push((number, *seen));
            }
        }
    }
    all.sort_by_key(|(_, seen)| seen.op.invoke);
    let mut ended = ended.into_iter().peekable();
    let mut greatest: Option<(i64, Seen<'_>)> = None;
    for (number, seen) in all {
        while let Some(before) = ended.next_if(|(_, before)| before.op.complete < seen.op.invoke) {
            if greatest.is_none_or(|(greatest, _)| before.0 > greatest) {
                greatest = Some(before);
            }
        }
        if let Some((greatest, before)) = greatest
            && number <= greatest
        {
            found.add(
                Check::Sequence,
                format!("{number} after {greatest} had been given: {before} then {seen}"),
            );
        }
    }
}

/// Children of `parent` whose names end in a number, by it.
fn children_of<'a>(tree: &'a Tree, parent: &str) -> BTreeMap<i64, &'a Node> {
    let prefix = format!("{parent}/");
    tree.range(prefix.clone()..)
        .take_while(|(path, _)| path.starts_with(&prefix))
        .filter_map(|(path, node)| Some((number_of(path.as_bytes())?, node)))
        .collect()
}

/// A time at which somebody certainly held the lock.
struct Hold {
    granted: u64,
    /// The last time at which its znode was certainly there.
    held: u64,
    what: String,
}

fn check_lock(history: &History, registers: &Registers<'_>, found: &mut Found) {
    let mut holds: BTreeMap<i64, Hold> = BTreeMap::new();
    for (client, entries) in history.clients.iter().enumerate() {
        let mut current: Option<i64> = None;
        for (index, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Granted { at, token } => {
                    let what = format!("client {client} entry {index} token {token}");
                    let hold = Hold { granted: *at, held: *at, what };
                    if let Some(other) = holds.insert(*token, hold) {
                        found.add(Check::Lock, format!("a second holder of token {token}: {}", other.what));
                    }
                    current = Some(*token);
                }
                Entry::Ended { .. } => current = None,
                Entry::Op(op) => {
                    let seen = Seen { client, index, op };
                    if let (Call::Release { again: false, .. }, Outcome::Refused { code: NO_NODE, .. }) =
                        (op.call, op.outcome)
                    {
                        found.add(Check::Lock, format!("the ephemeral of a live session is gone: {seen}"));
                    }
                    // A write that has an answer met a live session at the leader after its start. A read
                    // says nothing: a follower may not know yet that the session is over.
                    let alive =
                        op.call.is_write() && op.outcome != Outcome::Unknown && !is_refusal(op.outcome);
                    if let Some(hold) = current.and_then(|token| holds.get_mut(&token)) {
                        if alive {
                            hold.held = hold.held.max(op.invoke);
                        }
                        if let Call::Release { .. } = op.call {
                            current = None;
                        }
                    }
                }
                _ => {}
            }
        }
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
        for (path, node) in tree.iter().filter(|(_, node)| node.stat.ephemeral_owner != 0) {
            found.add(
                Check::Lock,
                format!("all sessions ended, but server {server} has {path}: {:?}", node.stat),
            );
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
