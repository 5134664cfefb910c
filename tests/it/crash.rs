//! SIGKILL at any moment: what was acknowledged is there, and nothing is there by half.
//!
//! Writers pipeline writes on znodes of their own, so that each knows exactly what its part of the
//! tree may look like after a crash: as it was after some number of its requests, in their order,
//! and not before the last acknowledged one. `ZKFAST_CRASH_ROUNDS` and `ZKFAST_CRASH_SEED` make
//! other runs.

use crate::harness::{ANSWER_TIMEOUT, GroupDelay, Random, Server, alone, setting, under_test};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::client::{Body, Incoming, Reply, Request};
use zkfast::proto::{Acl, OpCode, Stat};

const ROUNDS: u64 = 200;
const WRITERS: usize = 4;
/// Writes of one writer on their way at once.
const IN_FLIGHT: usize = 64;
/// Znodes of each kind that a writer keeps.
const KEPT: usize = 12;
/// Longest time that writers write before the kill.
const WRITING_MS_MAX: usize = 80;
/// Until when all writers are back after a restart; a writer whose zxid the server has lost never is.
const COME_BACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Sessions outlive every crash here: an ephemeral that is missing was lost.
const SESSION_TIMEOUT_MS: i32 = 600_000;

/// What the server's `zoo.cfg` says: snapshots often, so that crashes meet them.
const KEYS: &[(&str, &str)] = &[("maxSessionTimeout", "900000"), ("snapCount", "2000")];

/// Two hundred crashes under load lose nothing that was acknowledged and leave no half of a multi.
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
        // Mostly once all write; now and then while they still attach and look.
        let quorum = if random.below(8) == 0 { 0 } else { WRITERS };
        let busy = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in &mut writers {
                scope.spawn(|| writer.round(round, &busy));
            }
            scope.spawn(|| visitor.round(round));
            let mut group_delay = GroupDelay::new(COME_BACK_TIMEOUT);
            while busy.load(Ordering::Relaxed) < quorum && !group_delay.is_over() {
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
        // One start in eight is cut short as well: recovery must survive its own crash.
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

/// One write; `n` numbers a writer's writes and is the data that they leave behind.
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

/// A znode that is only ever set.
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
    /// Number in the name, to data.
    sequential: BTreeMap<i32, u64>,
    sequential_cversion: i32,
    ephemeral: BTreeSet<u64>,
    ephemeral_cversion: i32,
}

/// How many znodes a parent has ever had, from its Stat: each create and each delete counts once.
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

    /// A write that makes sense in this state.
    fn draw(&self, random: &mut Random) -> Op {
        match random.below(7) {
            0 if self.multi.len() > KEPT => Op::DeleteMulti(*self.multi.first().expect("some")),
            1 if self.sequential.len() > KEPT => {
                // The newest: its number must not come back.
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

/// One session, what it wrote, and what it may find.
#[derive(Debug)]
struct Writer {
    root: String,
    connect: Connect,
    address: SocketAddr,
    random: Random,
    next: u64,
    /// The tree after the last acknowledged write.
    model: Model,
    /// Writes without an answer yet, in order.
    unanswered: VecDeque<(u64, Op)>,
    /// The newest zxid that a write was answered with.
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

    /// Checks what the last crash left, then writes until the next one.
    fn round(&mut self, round: u64, busy: &AtomicUsize) {
        // The server may be killed before, or while, we look: then the next round looks.
        let Ok(mut connection) = self.attach() else { return };
        let Ok(()) = self.check(round, &mut connection) else { return };
        busy.fetch_add(1, Ordering::Relaxed);
        let end = self.write(&mut connection);
        self.connect.last_zxid_seen = connection.session().last_zxid();
        assert!(matches!(end, ClientError::Closed), "{} in round {round}: {end}", self.root);
    }

    fn attach_and_check(&mut self, round: u64) {
        let mut connection = self.attach().expect("a server that nobody kills answers");
        self.check(round, &mut connection).expect("a server that nobody kills answers");
    }

    /// The same session with the same password. A server that has lost a zxid that was seen would
    /// close the connection, one that has lost the session would refuse it.
    fn attach(&mut self) -> Result<Connection, ClientError> {
        let attached = Connection::connect(self.address, &self.connect, ANSWER_TIMEOUT);
        assert!(!matches!(attached, Err(ClientError::Refused)), "{}: the session is lost", self.root);
        attached
    }

    /// Compares the tree with what it may be, and goes on from there.
    fn check(&mut self, round: u64, connection: &mut Connection) -> Result<(), ClientError> {
        let found = self.look(connection)?;
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

    fn look(&self, connection: &mut Connection) -> Result<Model, ClientError> {
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
        // A Stat that was told does not change: the last Set shows the zxid that its answer had.
        let (last, zxid) = self.last_set;
        assert!(value != last || last == 0 || stat.mzxid.to_wire() == zxid, "{}/d: {stat:?}", self.root);
        model.d = register((value, stat));
        let (m1, m2) = (data("m1")?, data("m2")?);
        assert_eq!(m1.0, m2.0, "{}: half a multi", self.root);
        assert!(m1.0 == 0 || m1.1.mzxid == m2.1.mzxid, "{}: a multi of two zxids", self.root);
        (model.m1, model.m2) = (register(m1), register(m2));

        let mut numbers: Vec<i32> = Vec::new();
        for name in ["mc", "seq", "eph"] {
            let path = format!("{}/{name}", self.root).into_bytes();
            let reply = connection.call(&Request::GetChildren2 { path, watch: false }, &mut Vec::new())?;
            let Body::Children { children, stat } = reply.body else { panic!("{name}: {reply:?}") };
            let children = children.into_iter().map(|name| String::from_utf8(name).expect("a number"));
            match name {
                "mc" => {
                    model.multi = children.map(|name| name.parse().expect("a number")).collect();
                    model.multi_cversion = stat.cversion;
                }
                "seq" => {
                    numbers = children.map(|name| name[2..].parse().expect("s- and a number")).collect();
                    model.sequential_cversion = stat.cversion;
                }
                _ => {
                    model.ephemeral = children.map(|name| name.parse().expect("a number")).collect();
                    model.ephemeral_cversion = stat.cversion;
                }
            }
        }
        for number in numbers {
            let path = format!("{}/seq/s-{number:010}", self.root).into_bytes();
            let reply = connection.call(&Request::GetData { path, watch: false }, &mut Vec::new())?;
            let Body::Data { data: Some(data), .. } = reply.body else { panic!("s-{number}: {reply:?}") };
            model.sequential.insert(number, String::from_utf8_lossy(&data).parse().expect("a number"));
        }
        let own = self.connect.session.expect("attached").0;
        for n in &model.ephemeral {
            let path = format!("{}/eph/{n}", self.root).into_bytes();
            let reply = connection.call(&Request::Exists { path, watch: false }, &mut Vec::new())?;
            let Body::Stat(stat) = reply.body else { panic!("eph/{n}: {reply:?}") };
            assert_eq!(stat.ephemeral_owner, own, "{}/eph/{n}: owner", self.root);
        }
        Ok(model)
    }

    /// Writes without pause until the connection ends; says why it ended.
    fn write(&mut self, connection: &mut Connection) -> ClientError {
        // What the tree is once everything on its way has been done.
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
                // Answers that came before the end are in the socket still.
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
        let Incoming::Reply(Reply { header, body, .. }) = incoming else { panic!("nobody watches here") };
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

/// Opens a session with an ephemeral znode each round and closes it in some: a closed session stays
/// closed, an open one stays open.
#[derive(Debug)]
struct Visitor {
    address: SocketAddr,
    random: Random,
    /// The session of the round before: its znode, how to attach, and what was acknowledged.
    last: Option<(String, Connect, Told)>,
}

/// What the server said to a visitor.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
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
        if let Some((path, connect, told)) = &self.last {
            let stat = Request::Exists { path: path.clone().into_bytes(), watch: false };
            let Ok(reply) = connection.call(&stat, &mut Vec::new()) else { return };
            let there = reply.header.err == 0;
            if told.closed {
                assert!(!there, "{path}: the ephemeral of a closed session, round {round}");
                let attached = Connection::connect(self.address, connect, ANSWER_TIMEOUT);
                let lives = attached.is_ok();
                assert!(!lives, "{path}: a closed session lives again, round {round}");
            } else if !told.close_sent {
                assert!(
                    there || !told.created,
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
        let mut told = Told::default();
        let made = connection.call(&create(&path, 0, 1), &mut Vec::new());
        told.created = made.is_ok();
        if told.created && self.random.percent(50) {
            told.close_sent = true;
            told.closed = connection.call(&Request::CloseSession, &mut Vec::new()).is_ok();
        }
        let connect = Connect { session: Some(connection.identity()), ..fresh };
        self.last = Some((path, connect, told));
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
