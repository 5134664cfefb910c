//! SIGKILL at random moments: the server keeps every acknowledged write, and no half of a multi.
//!
//! Each writer pipelines writes on znodes of its own. So it knows what its part of the tree may be after a crash: the
//! state after some number of its requests, in their order, and at least after the last acknowledged one.
//! `ZKFAST_CRASH_ROUNDS` and `ZKFAST_CRASH_SEED` change the run.

use crate::harness::{ANSWER_TIMEOUT, Deadline, Random, Server, alone, setting, under_test};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::client::{Body, Incoming, Reply, Request};
use zkfast::proto::{Acl, OpCode, Stat};

const ROUNDS: u64 = 200;
const WRITERS: usize = 4;
/// Writes of one writer in flight.
const IN_FLIGHT: usize = 64;
/// A writer deletes znodes of a kind while it has more than so many.
const KEPT: usize = 12;
/// The longest time between the last writer's start and the kill.
const WRITING_MS_MAX: usize = 80;
/// How long writers may take to attach after a restart. If the server has lost a zxid that a writer saw, that writer
/// never attaches.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// Sessions outlive every crash of this test: a missing ephemeral was lost.
const SESSION_TIMEOUT_MS: i32 = 600_000;

/// Keys of the server's `zoo.cfg`. Snapshots are frequent, so that crashes hit them.
const KEYS: &[(&str, &str)] = &[("maxSessionTimeout", "900000"), ("snapCount", "2000")];

/// Two hundred crashes under load lose no acknowledged write and leave no half of a multi.
#[test]
fn sigkill_under_load() {
    let _alone = alone();
    let rounds = setting("ZKFAST_CRASH_ROUNDS", ROUNDS);
    let seed = setting("ZKFAST_CRASH_SEED", 1);
    eprintln!("again: ZKFAST_CRASH_SEED={seed} cargo test --release --test it crash");
    let mut random = Random(seed);
    let mut server = Server::start(under_test(), KEYS);
    let address = server.address();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, address)).collect();
    let mut visitor = Visitor::new(address);
    let mut acknowledged = 0;
    let started = Instant::now();
    for round in 0..rounds {
        let writing = Duration::from_millis(random.below(WRITING_MS_MAX) as u64);
        // Usually all writers write before the kill; in one round of eight some may still attach and check.
        let quorum = if random.below(8) == 0 { 0 } else { WRITERS };
        let busy = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in &mut writers {
                scope.spawn(|| writer.round(round, &busy));
            }
            scope.spawn(|| visitor.round(round));
            let mut deadline = Deadline::new(ATTACH_TIMEOUT);
            while busy.load(Ordering::Relaxed) < quorum && !deadline.is_over() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(writing);
            server.kill();
        });
        let busy = busy.into_inner();
        assert!(
            busy >= quorum,
            "round {round}: only {busy} of {WRITERS} sessions came back\n{}",
            server.output()
        );
        acknowledged = writers.iter().map(|writer| writer.acknowledged).sum();
        // One start in eight is killed too: recovery must survive its own crash.
        if random.below(8) == 0 {
            server.spawn();
            std::thread::sleep(Duration::from_millis(random.below(40) as u64));
            server.kill();
        }
        server.start_again();
    }
    for writer in &mut writers {
        writer.attach_and_check(rounds);
    }
    assert!(acknowledged > rounds, "only {acknowledged} writes in {rounds} rounds: nothing was tested");
    eprintln!("{rounds} crashes, {acknowledged} acknowledged writes, {:?}", started.elapsed());
}

/// One write. `n` is the number of the write, and the data that it leaves.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Sets `d` to n.
    Set,
    /// Sets `m1` and `m2` to n and creates `mc/n`, all or nothing.
    Multi,
    /// Creates the next `seq/s-`, with data n.
    Sequential,
    /// Creates `eph/n`.
    Ephemeral,
    /// Deletes `mc/...`.
    DeleteMulti(u64),
    /// Deletes `seq/s-...`.
    DeleteSequential(u64),
    /// Deletes `eph/...`.
    DeleteEphemeral(u64),
}

/// A znode that the writer only sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Register {
    value: u64,
    version: i32,
}

impl Register {
    fn set(&mut self, value: u64) {
        *self = Self { value, version: self.version + 1 };
    }
}

/// A writer's part of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    d: Register,
    m1: Register,
    m2: Register,
    multi: BTreeSet<u64>,
    multi_cversion: i32,
    /// Data by the number in the name.
    sequential: BTreeMap<i32, u64>,
    sequential_cversion: i32,
    ephemeral: BTreeSet<u64>,
    ephemeral_cversion: i32,
}

/// The number of znodes ever created below a parent. `cversion` counts each create and each delete.
fn ever_created(cversion: i32, children: usize) -> i32 {
    i32::midpoint(cversion, i32::try_from(children).expect("few children"))
}

impl Model {
    fn apply(&mut self, n: u64, op: Op) {
        match op {
            Op::Set => self.d.set(n),
            Op::Multi => {
                self.m1.set(n);
                self.m2.set(n);
                self.multi.insert(n);
                self.multi_cversion += 1;
            }
            Op::Sequential => {
                let number = ever_created(self.sequential_cversion, self.sequential.len());
                self.sequential.insert(number, n);
                self.sequential_cversion += 1;
            }
            Op::Ephemeral => {
                self.ephemeral.insert(n);
                self.ephemeral_cversion += 1;
            }
            Op::DeleteMulti(n) => {
                assert!(self.multi.remove(&n));
                self.multi_cversion += 1;
            }
            Op::DeleteSequential(n) => {
                self.sequential.retain(|_, &mut data| data != n);
                self.sequential_cversion += 1;
            }
            Op::DeleteEphemeral(n) => {
                assert!(self.ephemeral.remove(&n));
                self.ephemeral_cversion += 1;
            }
        }
    }

    /// Draws a write that succeeds in this state.
    fn draw(&self, random: &mut Random) -> Op {
        match random.below(7) {
            0 if self.multi.len() > KEPT => Op::DeleteMulti(*self.multi.first().expect("some")),
            1 if self.sequential.len() > KEPT => {
                // The newest, because its number must not be given again.
                Op::DeleteSequential(*self.sequential.values().next_back().expect("some"))
            }
            2 if self.ephemeral.len() > KEPT => Op::DeleteEphemeral(*self.ephemeral.first().expect("some")),
            0 | 3 if self.multi.len() <= 2 * KEPT => Op::Multi,
            1 | 4 if self.sequential.len() <= 2 * KEPT => Op::Sequential,
            2 | 5 if self.ephemeral.len() <= 2 * KEPT => Op::Ephemeral,
            _ => Op::Set,
        }
    }
}

/// One session, what it wrote, and what it may find after a crash.
#[derive(Debug)]
struct Writer {
    root: String,
    connect: Connect,
    address: SocketAddr,
    random: Random,
    next: u64,
    /// The tree after the last acknowledged write.
    model: Model,
    /// Writes without an answer, in order.
    unanswered: VecDeque<(u64, Op)>,
    /// The newest zxid in an answer to a write.
    last_zxid: i64,
    /// The last acknowledged Set, with its zxid.
    last_set: (u64, i64),
    acknowledged: u64,
}

impl Writer {
    fn new(number: usize, address: SocketAddr) -> Self {
        let root = format!("/w{number}");
        let connect = Connect { timeout_ms: SESSION_TIMEOUT_MS, ..Connect::default() };
        let mut connection = Connection::connect(address, &connect, ANSWER_TIMEOUT).expect("a new session");
        for name in ["", "/d", "/m1", "/m2", "/mc", "/seq", "/eph"] {
            let made = connection.call(&create(&format!("{root}{name}"), 0, 0), &mut Vec::new());
            assert_eq!(made.expect("an answer").header.err, 0, "{root}{name}");
        }
        let connect = Connect {
            session: Some(connection.identity()),
            last_zxid_seen: connection.session().last_zxid(),
            ..connect
        };
        Self {
            root,
            connect,
            address,
            random: Random(number as u64),
            next: 1,
            model: Model::default(),
            unanswered: VecDeque::new(),
            last_zxid: 0,
            last_set: (0, 0),
            acknowledged: 0,
        }
    }

    /// Checks what the last crash left, then writes until the next crash.
    fn round(&mut self, round: u64, busy: &AtomicUsize) {
        // The server may be killed before or during the check; then the next round checks.
        let Ok(mut connection) = self.attach() else { return };
        let Ok(()) = self.check(round, &mut connection) else { return };
        busy.fetch_add(1, Ordering::Relaxed);
        let end = self.write(&mut connection);
        self.connect.last_zxid_seen = connection.session().last_zxid();
        assert!(matches!(end, ClientError::Closed), "{} in round {round}: {end}", self.root);
    }

    fn attach_and_check(&mut self, round: u64) {
        let mut connection = self.attach().expect("a server that is not killed answers");
        self.check(round, &mut connection).expect("a server that is not killed answers");
    }

    /// Attaches to the same session. A server that has lost a zxid that this writer saw would close the connection, one
    /// that has lost the session would refuse it.
    fn attach(&mut self) -> Result<Connection, ClientError> {
        let attached = Connection::connect(self.address, &self.connect, ANSWER_TIMEOUT);
        assert!(!matches!(attached, Err(ClientError::Refused)), "{}: the session is lost", self.root);
        attached
    }

    /// Checks that the tree is a state that it may have, and takes it as the new model.
    fn check(&mut self, round: u64, connection: &mut Connection) -> Result<(), ClientError> {
        let found = self.read_tree(connection)?;
        let before = self.model.clone();
        let unanswered = self.unanswered.len();
        loop {
            if self.model == found {
                break;
            }
            let Some((n, op)) = self.unanswered.pop_front() else {
                panic!(
                    "{} in round {round}: found\n{found:#?}\nwhich is not what was acknowledged\n{before:#?}\n\
                     nor that and some of {unanswered} further writes, which end at\n{:#?}",
                    self.root, self.model
                );
            };
            self.model.apply(n, op);
        }
        self.unanswered.clear();
        self.connect.last_zxid_seen = connection.session().last_zxid();
        Ok(())
    }

    fn read_tree(&self, connection: &mut Connection) -> Result<Model, ClientError> {
        let mut model = Model::default();
        let mut data = |name: &str| -> Result<(u64, Stat), ClientError> {
            let path = format!("{}/{name}", self.root).into_bytes();
            let reply = connection.call(&Request::GetData { path, watch: false }, &mut Vec::new())?;
            let Body::Data { data: Some(data), stat } = reply.body else { panic!("{name}: {reply:?}") };
            let text = String::from_utf8(data).expect("a number");
            Ok((text.parse().expect("a number"), stat))
        };
        let register = |(value, stat): (u64, Stat)| Register { value, version: stat.version };
        let (value, stat) = data("d")?;
        // The Stat in an answer must not change: the last Set still has the zxid of its answer.
        let (last, zxid) = self.last_set;
        assert!(value != last || last == 0 || stat.mzxid.to_wire() == zxid, "{}/d: {stat:?}", self.root);
        model.d = register((value, stat));
        let (m1, m2) = (data("m1")?, data("m2")?);
        assert_eq!(m1.0, m2.0, "{}: half a multi", self.root);
        assert!(m1.0 == 0 || m1.1.mzxid == m2.1.mzxid, "{}: a multi of two zxids", self.root);
        (model.m1, model.m2) = (register(m1), register(m2));

        self.read_children(connection, &mut model)?;
        Ok(model)
    }

    /// Reads the znodes below `mc`, `seq` and `eph`.
    fn read_children(&self, connection: &mut Connection, model: &mut Model) -> Result<(), ClientError> {
        let mut children = |name: &str| -> Result<(Vec<String>, i32), ClientError> {
            let path = format!("{}/{name}", self.root).into_bytes();
            let reply = connection.call(&Request::GetChildren2 { path, watch: false }, &mut Vec::new())?;
            let Body::Children { children, stat } = reply.body else { panic!("{name}: {reply:?}") };
            let children = children.into_iter().map(|name| String::from_utf8(name).expect("ASCII"));
            Ok((children.collect(), stat.cversion))
        };
        let number = |name: &String| name.parse::<u64>().expect("a number");
        let (names, cversion) = children("mc")?;
        (model.multi, model.multi_cversion) = (names.iter().map(number).collect(), cversion);
        let (names, cversion) = children("eph")?;
        (model.ephemeral, model.ephemeral_cversion) = (names.iter().map(number).collect(), cversion);
        let (names, cversion) = children("seq")?;
        model.sequential_cversion = cversion;
        for name in names {
            let number: i32 = name[2..].parse().expect("s- and a number");
            let path = format!("{}/seq/{name}", self.root).into_bytes();
            let reply = connection.call(&Request::GetData { path, watch: false }, &mut Vec::new())?;
            let Body::Data { data: Some(data), .. } = reply.body else { panic!("{name}: {reply:?}") };
            model.sequential.insert(number, String::from_utf8_lossy(&data).parse().expect("a number"));
        }
        let own = self.connect.session.expect("attached").0;
        for n in &model.ephemeral {
            let path = format!("{}/eph/{n}", self.root).into_bytes();
            let reply = connection.call(&Request::Exists { path, watch: false }, &mut Vec::new())?;
            let Body::Stat(stat) = reply.body else { panic!("eph/{n}: {reply:?}") };
            assert_eq!(stat.ephemeral_owner, own, "{}/eph/{n}: owner", self.root);
        }
        Ok(())
    }

    /// Writes without pause until the connection ends. Gives the reason.
    fn write(&mut self, connection: &mut Connection) -> ClientError {
        // The tree once all writes in flight are applied.
        let mut ahead = self.model.clone();
        loop {
            while connection.session().pending() < IN_FLIGHT {
                let op = ahead.draw(&mut self.random);
                let n = self.next;
                self.next += 1;
                connection.queue(&self.request(n, op, &ahead));
                ahead.apply(n, op);
                self.unanswered.push_back((n, op));
            }
            if let Err(error) = connection.flush() {
                // The socket may still hold answers that arrived before the end.
                while let Ok(incoming) = connection.receive() {
                    self.answered(incoming);
                }
                return error;
            }
            while connection.session().pending() > IN_FLIGHT / 2 {
                match connection.receive() {
                    Ok(incoming) => self.answered(incoming),
                    Err(error) => return error,
                }
            }
        }
    }

    fn answered(&mut self, incoming: Incoming) {
        let Incoming::Reply(Reply { header, body, .. }) = incoming else {
            panic!("an event without a watch")
        };
        let (n, op) = self.unanswered.pop_front().expect("an answer to something");
        assert_eq!(header.err, 0, "{}: {op:?}", self.root);
        assert!(header.zxid > self.last_zxid, "{}: zxid {} after {}", self.root, header.zxid, self.last_zxid);
        self.last_zxid = header.zxid;
        self.acknowledged += 1;
        match (op, &body) {
            (Op::Set, Body::Stat(stat)) => {
                self.last_set = (n, stat.mzxid.to_wire());
                assert_eq!(stat.version, self.model.d.version + 1, "{}/d", self.root);
            }
            (Op::Sequential, Body::Path(path)) => {
                let number = ever_created(self.model.sequential_cversion, self.model.sequential.len());
                let expected = format!("{}/seq/s-{number:010}", self.root);
                assert_eq!(String::from_utf8_lossy(path), expected, "a number skipped or repeated");
            }
            (Op::Multi, Body::Multi(results)) => {
                assert!(results.iter().all(|result| result.err == 0), "{}: {results:?}", self.root);
            }
            _ => {}
        }
        self.model.apply(n, op);
    }

    fn request(&self, n: u64, op: Op, ahead: &Model) -> Request {
        let root = &self.root;
        match op {
            Op::Set => set(&format!("{root}/d"), n),
            Op::Multi => Request::Multi {
                ops: vec![
                    set(&format!("{root}/m1"), n),
                    create(&format!("{root}/mc/{n}"), n, 0),
                    set(&format!("{root}/m2"), n),
                ],
            },
            Op::Sequential => create(&format!("{root}/seq/s-"), n, 2),
            Op::Ephemeral => create(&format!("{root}/eph/{n}"), n, 1),
            Op::DeleteMulti(n) => delete(&format!("{root}/mc/{n}")),
            Op::DeleteSequential(n) => {
                let number = ahead.sequential.iter().find(|&(_, &data)| data == n).expect("it is there").0;
                delete(&format!("{root}/seq/s-{number:010}"))
            }
            Op::DeleteEphemeral(n) => delete(&format!("{root}/eph/{n}")),
        }
    }
}

/// A client that opens a session with an ephemeral in each round and closes it in half of them. A closed session must
/// stay closed after the crash, an open one must stay open.
#[derive(Debug)]
struct Visitor {
    address: SocketAddr,
    random: Random,
    /// The last round's session: its znode, how to attach to it, and what the server acknowledged.
    last: Option<(String, Connect, Acknowledged)>,
}

/// What a visitor sent, and what the server acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    created: bool,
    close_sent: bool,
    closed: bool,
}

impl Visitor {
    fn new(address: SocketAddr) -> Self {
        Self { address, random: Random(77), last: None }
    }

    fn round(&mut self, round: u64) {
        let fresh = Connect { timeout_ms: SESSION_TIMEOUT_MS, ..Connect::default() };
        let Ok(mut connection) = Connection::connect(self.address, &fresh, ANSWER_TIMEOUT) else { return };
        if let Some((path, connect, acknowledged)) = &self.last {
            let stat = Request::Exists { path: path.clone().into_bytes(), watch: false };
            let Ok(reply) = connection.call(&stat, &mut Vec::new()) else { return };
            let there = reply.header.err == 0;
            if acknowledged.closed {
                assert!(!there, "{path}: the ephemeral of a closed session, round {round}");
                let attached = Connection::connect(self.address, connect, ANSWER_TIMEOUT);
                let lives = attached.is_ok();
                assert!(!lives, "{path}: a closed session lives again, round {round}");
            } else if !acknowledged.close_sent {
                assert!(
                    there || !acknowledged.created,
                    "{path}: an ephemeral of a live session is gone, round {round}"
                );
                let attached = Connection::connect(self.address, connect, ANSWER_TIMEOUT);
                assert!(
                    !matches!(attached, Err(ClientError::Refused)),
                    "{path}: session lost, round {round}"
                );
            }
        }
        let path = format!("/visitor-{round}");
        let mut acknowledged = Acknowledged::default();
        let made = connection.call(&create(&path, 0, 1), &mut Vec::new());
        acknowledged.created = made.is_ok();
        if acknowledged.created && self.random.percent(50) {
            acknowledged.close_sent = true;
            acknowledged.closed = connection.call(&Request::CloseSession, &mut Vec::new()).is_ok();
        }
        let connect = Connect { session: Some(connection.identity()), ..fresh };
        self.last = Some((path, connect, acknowledged));
    }
}

fn create(path: &str, n: u64, flags: i32) -> Request {
    Request::Create {
        op: OpCode::CREATE,
        path: path.into(),
        data: Some(n.to_string().into_bytes()),
        acl: vec![Acl::open()],
        flags,
        ttl_ms: -1,
    }
}

fn set(path: &str, n: u64) -> Request {
    Request::SetData { path: path.into(), data: Some(n.to_string().into_bytes()), version: -1 }
}

fn delete(path: &str) -> Request {
    Request::Delete { path: path.into(), version: -1 }
}
