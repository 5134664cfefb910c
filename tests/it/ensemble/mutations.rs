//! Tests of the checks: each mutation breaks one promise in a good history, and one check must notice it.

use super::history::{
    BAD_VERSION, Call, Check, Entry, FENCE, History, Node, Op, Outcome, QUEUE, check, number_of, register,
};
use zkfast::proto::{SessionId, Zxid};

/// A mutation: its name, the check that must notice it, and a function that makes it. The function gives false if the
/// history has nothing to mutate.
type Mutation = (&'static str, Check, fn(&mut History) -> bool);

const MUTATIONS: &[Mutation] = &[
    ("a read gives another's value", Check::Register, read_another_value),
    ("a write starts after its successor", Check::Register, write_after_successor),
    ("a write that was done was refused", Check::Register, refuse_a_done_write),
    ("a refusal without reason", Check::Register, refuse_without_reason),
    ("the last write is lost", Check::Register, lose_last_write),
    ("a read after a sync is stale", Check::SyncRead, stale_synced_read),
    ("a zxid goes back", Check::Session, zxid_goes_back),
    ("a session reads older data", Check::Session, reads_go_back),
    ("a watch is lost", Check::Watch, lose_event),
    ("an event comes after its change was seen", Check::Watch, late_event),
    ("a watch fires twice", Check::Watch, double_event),
    ("a sequential znode is lost", Check::Sequence, lose_sequential),
    ("a number is given twice", Check::Sequence, same_number),
    ("numbers against time", Check::Sequence, swap_numbers),
    ("a create is done twice", Check::Sequence, double_create),
    ("two clients hold the lock", Check::Lock, two_holders),
    ("a holder's token goes back", Check::Lock, token_goes_back),
    ("an ephemeral of no session", Check::Lock, leftover_ephemeral),
    ("an ephemeral ends before its session", Check::Lock, early_end_of_ephemeral),
    ("one server has another Stat", Check::Trees, other_stat),
    ("one server has a znode less", Check::Trees, missing_znode),
    ("answers out of order", Check::Protocol, out_of_order),
];

/// Names of the mutations of the good `history` that the checks do not notice.
pub fn unnoticed(history: &History) -> Vec<&'static str> {
    let is_unnoticed = |(_, expected, mutate): &&Mutation| {
        let mut changed = history.clone();
        mutate(&mut changed) && !check(&changed).iter().any(|violation| violation.check == *expected)
    };
    MUTATIONS.iter().filter(is_unnoticed).map(|&(name, _, _)| name).collect()
}

fn ops(history: &mut History) -> impl Iterator<Item = &mut Op> {
    history.clients.iter_mut().flatten().filter_map(|entry| match entry {
        Entry::Op(op) => Some(op),
        _ => None,
    })
}

fn read_another_value(history: &mut History) -> bool {
    for op in ops(history) {
        if let Outcome::Read { version: 2.., value, .. } = &mut op.outcome {
            value.id ^= 1 << 20;
            return true;
        }
    }
    false
}

/// Moves a write of register 0 after the end of the last one.
fn write_after_successor(history: &mut History) -> bool {
    let written = |op: &Op| match (op.call, op.outcome) {
        (Call::Write { key: 0, .. }, Outcome::Written { version, .. }) => Some(version),
        _ => None,
    };
    let mut last = None;
    for op in ops(history) {
        if let Some(version) = written(op) {
            last = last.max(Some((version, op.complete)));
        }
    }
    let Some((last, end)) = last else { return false };
    for op in ops(history) {
        if written(op).is_some_and(|version| version < last) {
            (op.invoke, op.complete) = (end + 1, end + 2);
            return true;
        }
    }
    false
}

fn refuse_a_done_write(history: &mut History) -> bool {
    let mut seen = None;
    for op in ops(history) {
        if let (Call::Read { key: 0, .. }, Outcome::Read { value, .. }) = (op.call, op.outcome)
            && value.id != 0
        {
            seen = Some(value);
        }
    }
    for op in ops(history) {
        if let (Call::Write { value, .. }, Outcome::Written { zxid, .. }) = (op.call, op.outcome)
            && Some(value) == seen
        {
            op.outcome = Outcome::Refused { zxid, code: BAD_VERSION };
            return true;
        }
    }
    false
}

fn refuse_without_reason(history: &mut History) -> bool {
    // After the end of all operations no client changes anything.
    let end = ops(history).map(|op| op.complete).max().unwrap_or_default();
    let mut newest = None;
    for op in ops(history) {
        if let (Call::Read { key: 0, synced: true, .. }, Outcome::Read { version, zxid, .. }) =
            (op.call, op.outcome)
        {
            newest = newest.max(Some((version, zxid)));
        }
    }
    let final_version =
        history.trees.first().and_then(|(_, tree)| Some(tree.get(&register(0))?.stat.version));
    let (Some((version, zxid)), Some(entries)) = (newest, history.clients.first_mut()) else { return false };
    if Some(version) != final_version {
        return false;
    }
    let value = super::history::Value { id: u64::MAX, token: 0 };
    entries.push(Entry::Op(Op {
        call: Call::Write { key: 0, value, expected: Some(version) },
        invoke: end + 1,
        complete: end + 2,
        outcome: Outcome::Refused { zxid, code: BAD_VERSION },
    }));
    true
}

fn lose_last_write(history: &mut History) -> bool {
    let mut older = None;
    for op in ops(history) {
        if let (Call::Write { key: 0, value, .. }, Outcome::Written { version, mzxid, .. }) =
            (op.call, op.outcome)
        {
            older = older.min(Some((version, mzxid, value))).or(Some((version, mzxid, value)));
        }
    }
    let Some((version, mzxid, value)) = older else { return false };
    for (_, tree) in &mut history.trees {
        let node = tree.get_mut(&register(0)).expect("a register");
        if node.stat.version == version {
            return false;
        }
        node.data = Some(value.bytes());
        node.stat.version = version;
        node.stat.mzxid = Zxid::from_wire(mzxid);
    }
    true
}

fn stale_synced_read(history: &mut History) -> bool {
    let mut last = None;
    for op in ops(history) {
        if let (Call::Write { key: 0, .. }, Outcome::Written { version, .. }) = (op.call, op.outcome) {
            last = last.max(Some((version, op.complete)));
        }
    }
    let Some((newest, end)) = last else { return false };
    for op in ops(history) {
        if let (Call::Read { key: 0, synced: true, .. }, Outcome::Read { version, .. }) =
            (op.call, op.outcome)
            && version < newest
        {
            (op.invoke, op.complete) = (end + 1, end + 2);
            return true;
        }
    }
    false
}

fn zxid_goes_back(history: &mut History) -> bool {
    for entries in &mut history.clients {
        let mut before = None;
        for entry in entries {
            match entry {
                Entry::Op(op) => {
                    if let (Some(before), Outcome::Read { zxid, mzxid, .. }) = (before, &mut op.outcome)
                        && *mzxid < before
                    {
                        *zxid = before - 1;
                        return true;
                    }
                    before = op.outcome.zxid().or(before);
                }
                Entry::Ended { .. } => before = None,
                _ => {}
            }
        }
    }
    false
}

/// A session may read old data only until it has seen newer data.
fn reads_go_back(history: &mut History) -> bool {
    for entries in &mut history.clients {
        let mut oldest = None;
        let mut newest = 0;
        for entry in entries {
            match entry {
                Entry::Op(Op { call: Call::Read { key: 0, .. }, outcome, .. }) => {
                    let Outcome::Read { version, value, mzxid, .. } = outcome else { continue };
                    let (old, old_value, old_mzxid) = *oldest.get_or_insert((*version, *value, *mzxid));
                    if old < newest {
                        (*version, *value, *mzxid) = (old, old_value, old_mzxid);
                        return true;
                    }
                    newest = *version;
                }
                Entry::Ended { .. } => (oldest, newest) = (None, 0),
                _ => {}
            }
        }
    }
    false
}

/// The place of an event that an answer in the same session follows.
fn event(history: &History) -> Option<(usize, usize)> {
    for (client, entries) in history.clients.iter().enumerate() {
        for (index, pair) in entries.windows(2).enumerate() {
            if let [Entry::Event { .. }, Entry::Op(op)] = pair
                && op.outcome.zxid().is_some()
            {
                return Some((client, index));
            }
        }
    }
    None
}

fn lose_event(history: &mut History) -> bool {
    let Some((client, index)) = event(history) else { return false };
    history.clients[client].remove(index);
    true
}

fn late_event(history: &mut History) -> bool {
    let Some((client, index)) = event(history) else { return false };
    history.clients[client].swap(index, index + 1);
    true
}

fn double_event(history: &mut History) -> bool {
    let Some((client, index)) = event(history) else { return false };
    let again = history.clients[client][index].clone();
    history.clients[client].insert(index, again);
    true
}

fn lose_sequential(history: &mut History) -> bool {
    let mut number = None;
    for op in ops(history) {
        if let (Call::Append { .. }, Outcome::Created { number: n, .. }) = (op.call, op.outcome) {
            number = Some(n);
        }
    }
    let Some(number) = number else { return false };
    for (_, tree) in &mut history.trees {
        tree.remove(&format!("{QUEUE}/s-{number:010}"));
    }
    true
}

/// The numbers of two creates; the second starts after the first has ended.
fn two_creates(history: &mut History) -> Option<[i64; 2]> {
    let mut first: Option<(i64, u64)> = None;
    for op in ops(history) {
        if let (Call::Append { .. }, Outcome::Created { number, .. }) = (op.call, op.outcome) {
            match first {
                Some((before, end)) if end < op.invoke => return Some([before, number]),
                Some(_) => {}
                None => first = Some((number, op.complete)),
            }
        }
    }
    None
}

fn renumber(history: &mut History, give: impl Fn(i64) -> i64) {
    for op in ops(history) {
        if let (Call::Append { .. }, Outcome::Created { number, .. }) = (op.call, &mut op.outcome) {
            *number = give(*number);
        }
    }
}

fn same_number(history: &mut History) -> bool {
    let Some([a, b]) = two_creates(history) else { return false };
    renumber(history, |number| if number == b { a } else { number });
    true
}

fn swap_numbers(history: &mut History) -> bool {
    let Some([a, b]) = two_creates(history) else { return false };
    let swap = |number| match number {
        _ if number == a => b,
        _ if number == b => a,
        _ => number,
    };
    renumber(history, swap);
    for (_, tree) in &mut history.trees {
        let path = |number: i64| format!("{QUEUE}/s-{number:010}");
        let (Some(of_a), Some(of_b)) = (tree.remove(&path(a)), tree.remove(&path(b))) else { return false };
        tree.insert(path(a), of_b);
        tree.insert(path(b), of_a);
    }
    true
}

fn double_create(history: &mut History) -> bool {
    for (_, tree) in &mut history.trees {
        let first = format!("{QUEUE}/s-0000000000");
        let prefix = format!("{QUEUE}/");
        let numbers = tree
            .keys()
            .filter(|path| path.starts_with(&prefix))
            .filter_map(|path| number_of(path.as_bytes()));
        let (Some(node), Some(last)) = (tree.get(&first).cloned(), numbers.max()) else { return false };
        tree.insert(format!("{QUEUE}/s-{:010}", last + 1), node);
    }
    true
}

fn two_holders(history: &mut History) -> bool {
    // A holder that wrote between its grant and its release, and the next holder.
    let mut grants = Vec::new();
    for (client, entries) in history.clients.iter().enumerate() {
        for (index, entry) in entries.iter().enumerate() {
            if let Entry::Granted { at, token } = entry {
                let written = entries[index..].iter().find_map(|entry| match entry {
                    Entry::Op(op) if op.call == (Call::Release { token: *token, again: false }) => {
                        (op.outcome.zxid().is_some()).then_some(op.invoke)
                    }
                    _ => None,
                });
                grants.push((*token, *at, written, client, index));
            }
        }
    }
    grants.sort_unstable();
    for pair in grants.windows(2) {
        let (_, granted, Some(held), ..) = pair[0] else { continue };
        if held > granted + 1 {
            let (_, _, _, client, index) = pair[1];
            if let Entry::Granted { at, .. } = &mut history.clients[client][index] {
                *at = granted + 1;
                return true;
            }
        }
    }
    false
}

fn token_goes_back(history: &mut History) -> bool {
    let mut ids = Vec::new();
    for op in ops(history) {
        if let (Call::Write { key: FENCE, value, .. }, Outcome::Written { version, .. }) =
            (op.call, op.outcome)
        {
            ids.push((version, value.id));
        }
    }
    ids.sort_unstable();
    let Some(&(_, id)) = ids.get(ids.len() / 2).filter(|_| ids.len() > 2) else { return false };
    for op in ops(history) {
        if let Call::Write { value, .. } = &mut op.call
            && value.id == id
        {
            value.token += 1_000_000;
        }
        if let Outcome::Read { value, .. } = &mut op.outcome
            && value.id == id
        {
            value.token += 1_000_000;
        }
    }
    true
}

fn any_node(history: &mut History) -> Option<&mut Node> {
    history.trees.last_mut()?.1.get_mut(&register(1))
}

fn leftover_ephemeral(history: &mut History) -> bool {
    any_node(history).map(|node| node.stat.ephemeral_owner = SessionId(77)).is_some()
}

fn early_end_of_ephemeral(history: &mut History) -> bool {
    for op in ops(history) {
        if let (Call::Release { again: false, .. }, Outcome::Done { zxid }) = (op.call, op.outcome) {
            op.outcome = Outcome::Refused { zxid, code: super::history::NO_NODE };
            return true;
        }
    }
    false
}

fn other_stat(history: &mut History) -> bool {
    any_node(history).map(|node| node.stat.mtime_ms += 1).is_some()
}

fn missing_znode(history: &mut History) -> bool {
    history.trees.last_mut().is_some_and(|(_, tree)| tree.pop_last().is_some())
}

fn out_of_order(history: &mut History) -> bool {
    let Some(entries) = history.clients.first_mut() else { return false };
    entries.push(Entry::Broken { at: 0, what: "reply with xid 2, expected 1".to_owned() });
    true
}

mod tests {
    use super::super::history::{LOCK, REGISTERS, Tree, Value};
    use super::*;
    use crate::harness::Random;
    use zkfast::proto::Stat;

    /// A history of a server that applies every request at once, and of clients with exact clocks.
    struct Ideal {
        random: Random,
        time: u64,
        zxid: i64,
        registers: [(i32, i64, Value); REGISTERS],
        watched: Vec<[bool; REGISTERS]>,
        queue: Vec<Value>,
        tokens: i64,
        ids: u64,
        history: History,
    }

    impl Ideal {
        fn run(seed: u64, steps: usize) -> History {
            let clients = 4;
            let mut ideal = Self {
                random: Random(seed),
                time: 1000,
                zxid: 100,
                registers: [(0, 5, Value::default()); REGISTERS],
                watched: vec![[false; REGISTERS]; clients],
                queue: Vec::new(),
                tokens: 0,
                ids: 0,
                history: History { clients: vec![Vec::new(); clients], trees: Vec::new() },
            };
            for _ in 0..steps {
                ideal.step();
            }
            for client in 0..clients {
                for key in 0..REGISTERS {
                    ideal.read(client, key, false, true);
                }
                ideal.end(client);
            }
            let mut tree = Tree::new();
            let node = |value: Value, stat| Node { data: Some(value.bytes()), stat };
            for (key, (version, mzxid, value)) in ideal.registers.into_iter().enumerate() {
                let stat = Stat { version, mzxid: Zxid::from_wire(mzxid), ..Stat::default() };
                tree.insert(register(key), node(value, stat));
            }
            for (number, value) in ideal.queue.into_iter().enumerate() {
                tree.insert(format!("{QUEUE}/s-{number:010}"), node(value, Stat::default()));
            }
            tree.insert(LOCK.to_owned(), node(Value::default(), Stat::default()));
            ideal.history.trees = (1..=3).map(|server| (server, tree.clone())).collect();
            ideal.history
        }

        fn log(&mut self, client: usize, call: Call, outcome: Outcome) {
            let (before, after) = (self.random.below(25) as u64, self.random.below(25) as u64);
            let op = Op { call, invoke: self.time - before, complete: self.time + after, outcome };
            self.history.clients[client].push(Entry::Op(op));
        }

        fn value(&mut self, token: i64) -> Value {
            self.ids += 1;
            Value { id: self.ids, token }
        }

        fn step(&mut self) {
            self.time += 10;
            let client = self.random.below(self.watched.len());
            let key = self.random.below(FENCE);
            match self.random.below(20) {
                0..6 => {
                    let expected = match self.random.below(4) {
                        0 => Some(self.registers[key].0),
                        1 => Some(self.registers[key].0 - 1),
                        _ => None,
                    };
                    self.write(client, key, 0, expected);
                }
                6..10 => self.append(client),
                10..17 => {
                    let (watch, synced) = (self.random.percent(40), self.random.percent(30));
                    self.read(client, key, watch, synced);
                }
                17 => self.end(client),
                _ => self.lock(client),
            }
        }

        fn write(&mut self, client: usize, key: usize, token: i64, expected: Option<i32>) {
            let value = self.value(token);
            let call = Call::Write { key, value, expected };
            self.zxid += 1;
            let (zxid, register) = (self.zxid, &mut self.registers[key]);
            if expected.is_some_and(|expected| expected != register.0) {
                return self.log(client, call, Outcome::Refused { zxid, code: BAD_VERSION });
            }
            let lost = self.random.percent(5);
            if lost && self.random.percent(50) {
                return self.log(client, call, Outcome::Unknown);
            }
            *register = (register.0 + 1, zxid, value);
            let version = register.0;
            for (watcher, watched) in self.watched.iter_mut().enumerate() {
                if std::mem::take(&mut watched[key]) {
                    self.history.clients[watcher].push(Entry::Event { at: self.time, key, zxid });
                }
            }
            let written = Outcome::Written { zxid, version, mzxid: zxid };
            self.log(client, call, if lost { Outcome::Unknown } else { written });
        }

        fn append(&mut self, client: usize) {
            let value = self.value(0);
            self.zxid += 1;
            self.queue.push(value);
            let number = i64::try_from(self.queue.len()).expect("few") - 1;
            let outcome = Outcome::Created { zxid: self.zxid, number };
            let outcome = if self.random.percent(5) { Outcome::Unknown } else { outcome };
            self.log(client, Call::Append { value }, outcome);
        }

        fn read(&mut self, client: usize, key: usize, watch: bool, synced: bool) {
            let (version, mzxid, value) = self.registers[key];
            let outcome = Outcome::Read { zxid: self.zxid, version, mzxid, value };
            self.log(client, Call::Read { key, watch, synced }, outcome);
            self.watched[client][key] |= watch;
        }

        fn lock(&mut self, client: usize) {
            self.zxid += 1;
            let token = self.tokens;
            self.tokens += 1;
            self.log(client, Call::Enqueue, Outcome::Created { zxid: self.zxid, number: token });
            self.time += 30;
            self.history.clients[client].push(Entry::Granted { at: self.time, token });
            self.time += 30;
            self.write(client, FENCE, token, Some(self.registers[FENCE].0));
            self.time += 30;
            self.zxid += 1;
            self.log(client, Call::Release { token, again: false }, Outcome::Done { zxid: self.zxid });
            self.time += 30;
        }

        fn end(&mut self, client: usize) {
            self.history.clients[client].push(Entry::Ended { at: self.time, session: SessionId(1) });
            self.watched[client] = [false; REGISTERS];
        }
    }

    /// The checks find nothing in histories that keep every promise.
    #[test]
    fn good_histories_pass() {
        for seed in 0..40 {
            let violations = check(&Ideal::run(seed, 400));
            assert!(violations.is_empty(), "seed {seed}: {}", violations[0]);
        }
    }

    /// Each mutation of a good history is noticed by the check for the promise that it breaks.
    #[test]
    fn every_mutation_is_noticed() {
        for seed in 0..20 {
            let history = Ideal::run(seed, 400);
            for (name, _, mutate) in MUTATIONS {
                assert!(mutate(&mut history.clone()), "seed {seed}: nothing to mutate for: {name}");
            }
            let unnoticed = unnoticed(&history);
            assert!(unnoticed.is_empty(), "seed {seed}: {unnoticed:?}");
        }
    }
}
