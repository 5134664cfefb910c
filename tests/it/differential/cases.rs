//! Tables of requests whose answers must be the same on both servers: precedence of errors, watches and sessions.
//!
//! `expected` is the code that Apache ZooKeeper 3.9.4 gives. The tests also compare the whole replies.

use super::pair::{Attach, Difference, Pair, Step};
use super::program::plain_create;
use crate::harness::{Kind, alone, under_test};
use zkfast::client::{Body, Request};
use zkfast::proto::{Acl, OpCode, Perms, Zxid, acl::Id};

fn path(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn make(op: OpCode, at: &str, acl: Vec<Acl>, flags: i32, ttl_ms: i64) -> Request {
    Request::Create { op, path: path(at), data: Some(path("d")), acl, flags, ttl_ms }
}

fn create(at: &str) -> Request {
    plain_create(at.as_bytes(), Some(b"d"))
}

fn ephemeral(at: &str) -> Request {
    make(OpCode::CREATE, at, open(), 1, -1)
}

fn open() -> Vec<Acl> {
    vec![Acl::open()]
}

fn only(perms: i32) -> Vec<Acl> {
    vec![Acl { perms: Perms(perms), id: Id::new("world", "anyone") }]
}

fn bad_acl() -> Vec<Acl> {
    vec![Acl { perms: Perms::ALL, id: Id::new("nothing", "x") }]
}

fn set(at: &str, version: i32) -> Request {
    Request::SetData { path: path(at), data: Some(path("new")), version }
}

fn delete(at: &str, version: i32) -> Request {
    Request::Delete { path: path(at), version }
}

fn check(at: &str, version: i32) -> Request {
    Request::Check { path: path(at), version }
}

fn set_acl(at: &str, acl: Vec<Acl>, version: i32) -> Request {
    Request::SetAcl { path: path(at), acl, version }
}

fn get(at: &str) -> Request {
    Request::GetData { path: path(at), watch: false }
}

fn exists(at: &str, watch: bool) -> Request {
    Request::Exists { path: path(at), watch }
}

/// Creates the znodes that the tables use.
fn initial_znodes() -> Vec<Request> {
    vec![
        create("/p"),
        create("/p/full"),
        create("/p/full/child"),
        ephemeral("/p/e"),
        make(OpCode::CREATE, "/p/closed", only(0), 0, -1),
        make(OpCode::CREATE, "/p/read", only(1), 0, -1),
        make(OpCode::CREATE, "/p/admin", only(16), 0, -1),
        make(OpCode::CREATE, "/p/write", only(2), 0, -1),
    ]
}

/// A request and the code of its answer.
type Case = (Request, i32);

/// Checks of create in their order: mode, path, ACL, parent, permission, full path, existence, ephemeral parent.
fn create_cases() -> Vec<Case> {
    use OpCode as Op;
    let ttl_max = (1 << 40) - 1;
    vec![
        (make(Op::CREATE, "bad", bad_acl(), 7, -1), -8),
        (make(Op::CREATE, "/missing/x", bad_acl(), 5, -1), -8),
        (make(Op::CREATE2, "/p/five", open(), 5, -1), -8),
        (make(Op::CREATE_TTL, "/p/ttl", open(), 5, 0), -8),
        (make(Op::CREATE_TTL, "/p/ttl", open(), 5, ttl_max + 1), -8),
        (make(Op::CREATE_TTL, "/p/ttl", open(), 5, ttl_max), 0),
        (make(Op::CREATE_TTL, "/p/ttl2", open(), 0, 1), -8),
        (make(Op::CREATE, "bad", bad_acl(), 0, -1), -8),
        (make(Op::CREATE, "/missing/x", bad_acl(), 0, -1), -114),
        (make(Op::CREATE, "/missing/x", Vec::new(), 0, -1), -114),
        (make(Op::CREATE, "/p/full", bad_acl(), 0, -1), -114),
        (create("/missing//x"), -101),
        (create("/missing/\u{1}"), -101),
        (create("/p/closed//x"), -101),
        (create("/p/closed/\u{1}"), -102),
        (create("/p/closed/x"), -102),
        (create("/p/\u{1}"), -8),
        (create("/p/full/"), -8),
        (create("/p/./x"), -101),
        (create("/p/."), -8),
        (create("/"), -110),
        (create(""), -8),
        (create("/p/full"), -110),
        (create("/p/e/x"), -108),
        (create("/p/e/."), -8),
        (make(Op::CREATE, "/p/e/s", open(), 2, -1), -108),
        (make(Op::CREATE, "/p/", open(), 2, -1), 0),
        (make(Op::CREATE, "/p/four", open(), 4, -1), 0),
        (make(Op::CREATE_CONTAINER, "/p/zero", open(), 0, -1), 0),
        (make(Op::CREATE_CONTAINER, "/p/eight", open(), 8, -1), -8),
        (create("/zookeeper/mine"), 0),
    ]
}

/// Checks of delete in their order: path, parent, permission on the parent, znode, version, children.
fn delete_cases() -> Vec<Case> {
    vec![
        (delete("/", 5), -8),
        (delete("", 5), -8),
        (delete("/zookeeper", 5), -8),
        (delete("/zookeeper/quota", -1), -8),
        (delete("/zookeeper/config", -1), -8),
        (delete("/p/a\0", -1), -8),
        (delete("/missing/x", 5), -101),
        (delete("/p/closed/x", 5), -102),
        (delete("/p/x", 5), -101),
        (delete("/p/full", 5), -103),
        (delete("/p/full", 0), -111),
        (delete("/p/full/", 0), -101),
        (delete("/p/zero", -2), -103),
    ]
}

/// Checks of setData and setACL in their order: path, ACL, znode, permission, version.
fn set_cases() -> Vec<Case> {
    vec![
        // setData: path, node, permission, version.
        (set("p", 5), -8),
        (set("/p/\u{1}", 5), -8),
        (set("/p/x", 5), -101),
        (set("/p/closed", 5), -102),
        (set("/p/read", 5), -102),
        (set("/p/write", 5), -103),
        (set("/p/write", 0), 0),
        (set("/zookeeper/config", -1), -102),
        (set("/zookeeper", -1), 0),
        // setACL: path, ACL, node, permission, version.
        (set_acl("p", bad_acl(), 5), -8),
        (set_acl("/p/x", bad_acl(), 5), -114),
        (set_acl("/p/x", Vec::new(), 5), -114),
        (set_acl("/p/x", open(), 5), -101),
        (set_acl("/p/closed", open(), 5), -102),
        (set_acl("/p/admin", open(), 5), -103),
        (set_acl("/p/admin", only(16), 0), 0),
        (set_acl("/p/admin", only(17), 0), -103),
    ]
}

/// Reads look a path up and do not check its form.
fn read_cases() -> Vec<Case> {
    vec![
        (get("p"), -101),
        (get("/p/"), -101),
        (get("/p/\0"), -101),
        (exists("/p/\0", false), -8),
        (exists("/p/x", true), -101),
        (exists("/p/closed", false), -102),
        (get("/p/closed"), -102),
        (get("/p/write"), -102),
        (Request::GetChildren { path: path("/p/closed"), watch: true }, -102),
        (Request::GetChildren2 { path: path("/p/x"), watch: true }, -101),
        (Request::GetAllChildrenNumber { path: path("/p/closed") }, -102),
        (Request::GetAllChildrenNumber { path: path("/zookeeper") }, 0),
        (Request::GetAcl { path: path("/p/closed") }, -102),
        (Request::GetAcl { path: path("/p/admin") }, 0),
        (Request::GetAcl { path: path("/p/x") }, -101),
        (Request::Sync { path: path("/nothing/here") }, 0),
        (Request::Sync { path: path("") }, 0),
    ]
}

/// Watch modes and types that do not exist, watches that are not set, and requests that cannot be parsed.
fn other_cases() -> Vec<Case> {
    vec![
        // Unknown modes and types, and watches that are not set.
        (Request::AddWatch { path: path("/p"), mode: 2 }, -5),
        (Request::CheckWatches { path: path("/p"), kind: 0 }, -5),
        (Request::RemoveWatches { path: path("/p"), kind: 9 }, -5),
        (Request::CheckWatches { path: path("/p"), kind: 3 }, -121),
        (Request::RemoveWatches { path: path("/p/x"), kind: 1 }, -121),
        (Request::RemoveWatches { path: path("/p/x"), kind: 2 }, 0),
        (Request::Reconfig { joining: None, leaving: None, new_members: None, config_id: -1 }, -123),
        (Request::Raw { op: OpCode::CREATE, body: Vec::new() }, -5),
        (Request::Raw { op: OpCode::CREATE, body: (-1i32).to_be_bytes().to_vec() }, -5),
        (Request::Raw { op: OpCode::MULTI, body: vec![0; 3] }, -5),
        (Request::Raw { op: OpCode::GET_DATA, body: vec![0; 3] }, -5),
        (Request::Raw { op: OpCode::SET_WATCHES, body: vec![0; 9] }, -5),
        (Request::WhoAmI, 0),
        (Request::GetEphemerals { prefix: path("/p") }, 0),
        (Request::GetEphemerals { prefix: path(" / ") }, 0),
    ]
}

/// Single requests with the codes of their answers, one after the other on one session.
fn single_requests() -> Vec<Case> {
    [create_cases(), delete_cases(), set_cases(), read_cases(), other_cases()].concat()
}

/// Multis, the code of the answer and the codes of its results. An empty list stands for an answer without results.
fn multis() -> Vec<(Vec<Request>, i32, Vec<i32>)> {
    vec![
        (vec![], 0, vec![]),
        (vec![create("/p/m"), set("/p/m", 0), check("/p/m", 1), delete("/p/m", 1)], 0, vec![0; 4]),
        (vec![create("/p/m"), check("/p/m", 1), set("/p/m", 0)], 0, vec![0, -103, -2]),
        (vec![check("/p/x", -1), create("/p/m")], 0, vec![-101, -2]),
        (vec![check("/p/x", -2), create("/p/m")], 0, vec![-101, -2]),
        (vec![check("p", -1)], 0, vec![-8]),
        (vec![check("/p/write", 0)], 0, vec![-102]),
        (vec![create("/p/m"), create("/p/m")], 0, vec![0, -110]),
        (vec![create("/p/m"), create("/p/m/c"), delete("/p/m", -1)], 0, vec![0, 0, -111]),
        (vec![create("/p/m"), create("/p/m/c"), delete("/p/m/c", -1), delete("/p/m", -1)], 0, vec![0; 4]),
        (vec![ephemeral("/p/m"), create("/p/m/c")], 0, vec![0, -108]),
        (
            vec![make(OpCode::CREATE, "/p/s-", open(), 2, -1), make(OpCode::CREATE2, "/p/s-", open(), 3, -1)],
            0,
            vec![0; 2],
        ),
        (vec![make(OpCode::CREATE, "/p/c4", open(), 4, -1), delete("/p/c4", 0)], 0, vec![0; 2]),
        (vec![make(OpCode::CREATE_CONTAINER, "/p/c5", open(), 4, -1), delete("/p/c5", 0)], 0, vec![0; 2]),
        (vec![make(OpCode::CREATE_TTL, "/p/t5", open(), 5, 99_999_999), set("/p/t5", 0)], 0, vec![0; 2]),
        (vec![create("/p/m"), make(OpCode::CREATE, "/p/n", open(), 7, -1)], -5, vec![]),
        (vec![create("/p/m"), get("/p")], -5, vec![]),
        (vec![create("/p/m"), set_acl("/p", open(), -1)], -5, vec![]),
        (vec![create("/p/m"), Request::Multi { ops: vec![] }], -5, vec![]),
        (vec![delete("/p/e", -1), ephemeral("/p/e"), set("/p/e", 0)], 0, vec![0; 3]),
        (
            vec![set("/p/full", -1), set("/p/full", -1), set("/p/closed", -1), create("/p/m")],
            0,
            vec![0, 0, -102, -2],
        ),
    ]
}

/// If several errors apply to a request, both servers answer with the same one, for single requests and in multis.
#[test]
fn precedence_of_errors() {
    let _alone = alone();
    let mut table = Table::new(2);
    table.step("initial znodes", 0, Step::Burst(initial_znodes()));
    for (request, expected) in single_requests() {
        let name = super::pair::show_request(&request);
        table.step(&name, 0, Step::Burst(vec![request]));
        let got = table.pair.replies.first().map(|reply| reply.header.err);
        table.expect(&name, got == Some(expected), &format!("{got:?} instead of {expected}"));
    }
    for (ops, err, codes) in multis() {
        let request = Request::Multi { ops };
        let name = super::pair::show_request(&request);
        table.step(
            &name,
            0,
            Step::Burst(vec![request, Request::GetChildren2 { path: path("/p"), watch: false }]),
        );
        let got = table.pair.replies.first().map(|reply| match &reply.body {
            Body::Multi(results) => (reply.header.err, results.iter().map(|result| result.err).collect()),
            _ => (reply.header.err, Vec::new()),
        });
        let expected = Some((err, codes));
        table.expect(&name, got == expected, &format!("{got:?} instead of {expected:?}"));
    }
    // The server checks a request against those in flight: the same path several times, without waiting.
    let name = "a pipelined create, delete, create";
    table.step(name, 0, Step::Burst(vec![create("/p/k"), delete("/p/k", 0), create("/p/k"), set("/p/k", 1)]));
    let codes: Vec<i32> = table.pair.replies.iter().map(|reply| reply.header.err).collect();
    table.expect(name, codes == [0, 0, 0, -103], &format!("{codes:?}"));
    table.finish();
}

/// For each kind of watch and each kind of change, both servers send the same events, in the same order, once.
#[test]
fn watches_and_changes() {
    let _alone = alone();
    let mut table = Table::new(3);
    table.step("the watched", 0, Step::Burst(vec![create("/w"), create("/v")]));
    let kinds: Vec<(&str, Vec<Request>)> = vec![
        ("none", vec![]),
        ("one-shot on the parent", watch_once("/w")),
        ("one-shot on the child", watch_once("/w/c")),
        ("one-shot on both", [watch_once("/w"), watch_once("/w/c")].concat()),
        ("persistent on the parent", vec![watch("/w", 0)]),
        ("recursive on the parent", vec![watch("/w", 1)]),
        ("recursive on the root", vec![watch("/", 1)]),
        (
            "all modes on one path",
            [watch_once("/w/c"), vec![watch("/w/c", 0), watch("/w/c", 1), watch("/w", 1)]].concat(),
        ),
    ];
    for (name, watches) in kinds {
        table.step(name, 1, Step::Burst(watches.clone()));
        table.step(name, 2, Step::Burst(watches));
        // By a session without watches, and by one of the watchers.
        table.step(name, 0, Step::Burst(watched_changes()));
        table.step(name, 2, Step::Burst(watched_changes()));
        for at in ["/w", "/w/c", "/"] {
            let remove = |kind| Request::RemoveWatches { path: path(at), kind };
            table.step(name, 1, Step::Burst(vec![remove(4), remove(5), remove(1), remove(2), remove(3)]));
            table.step(name, 2, Step::Burst(vec![remove(3), remove(3)]));
        }
    }
    // Only a session that may read a znode gets its events; a one-shot watch is used up all the same.
    table.step("closed", 1, Step::Burst(vec![watch("/", 1), exists("/w/secret", true)]));
    table.step("closed", 0, Step::Burst(vec![make(OpCode::CREATE, "/w/secret", only(30), 0, -1)]));
    table.step("closed", 0, Step::Burst(vec![set("/w/secret", -1)]));
    table.step("closed", 0, Step::Burst(vec![set_acl("/w/secret", open(), -1)]));
    table.step("closed", 0, Step::Burst(vec![set("/w/secret", -1), delete("/w/secret", -1)]));
    // The end of a session deletes its ephemerals, and the session itself gets these events.
    table.step("close", 2, Step::Burst(vec![ephemeral("/w/e1"), ephemeral("/v/e2"), ephemeral("/e3")]));
    let close = [watch_once("/w"), vec![watch("/w/e1", 0), Request::CloseSession]].concat();
    table.step("close", 2, Step::Burst(close));
    table.step("close", 2, Step::Attach(Attach::New { timeout_ms: 600_000 }));
    catch_up(&mut table);
    table.finish();
}

fn watch(at: &str, mode: i32) -> Request {
    Request::AddWatch { path: path(at), mode }
}

/// Sets all one-shot watches on a path.
fn watch_once(at: &str) -> Vec<Request> {
    vec![
        Request::GetData { path: path(at), watch: true },
        Request::GetChildren { path: path(at), watch: true },
        exists(at, true),
    ]
}

/// Every kind of change of `/w` and `/w/c`.
fn watched_changes() -> Vec<Request> {
    vec![
        create("/w/c"),
        set("/w/c", -1),
        create("/w/c/d"),
        set("/w", -1),
        set_acl("/w/c", open(), -1),
        delete("/w/c/d", -1),
        delete("/w/c", -1),
        Request::Multi { ops: vec![create("/w/c"), set("/w/c", 0), create("/w/c/d"), delete("/w/c/d", 0)] },
        Request::Multi { ops: vec![set("/w/c", -1), check("/w", 77)] },
        delete("/w/c", -1),
    ]
}

/// setWatches gives events for changes after a zxid, and sets the other watches.
fn catch_up(table: &mut Table) {
    table.pair.rebase();
    table.step("catch-up", 0, Step::Burst(vec![create("/w/new"), set("/v", -1), delete("/w/new", -1)]));
    let lists = || {
        let list = || vec![path("/w"), path("/v"), path("/gone"), path("/w/new")];
        [list(), list(), list(), vec![path("/v")], vec![path("/w")]]
    };
    for relative in [0, 1, 2, 3, 100] {
        let relative_zxid = Zxid(relative);
        table.step("catch-up", 1, Step::Burst(vec![Request::SetWatches2 { relative_zxid, lists: lists() }]));
        let [data, exist, child, ..] = lists();
        let old = Request::SetWatches { relative_zxid, lists: [data, exist, child] };
        table.step("catch-up", 2, Step::Burst(vec![old]));
    }
    let changes = vec![create("/gone"), set("/v", -1), set("/w", -1), create("/w/new")];
    table.step("catch-up", 0, Step::Burst(changes));
}

/// Both servers give the same answers to handshakes (new, attached again, stolen, refused, of old clients, with
/// negotiated timeouts), auth, unknown operations and large frames, and at expiry.
#[test]
fn sessions() {
    let _alone = alone();
    let mut table = Table::new(3);
    for timeout_ms in [-1, 0, 1, 3_999, 4_000, 5_000, 40_001, 899_999, 900_000, i32::MAX] {
        table.step("negotiation", 1, Step::Attach(Attach::New { timeout_ms }));
        // The session is closed at once, since its expiry would take a zxid at any time.
        table.step("negotiation", 1, Step::Burst(vec![Request::CloseSession]));
    }
    table.step("owner", 1, Step::Attach(Attach::New { timeout_ms: 600_000 }));
    table.step("owner", 1, Step::Burst(vec![ephemeral("/mine")]));
    let stat = || Step::Burst(vec![exists("/mine", false), Request::GetEphemerals { prefix: path("/") }]);
    for attach in [
        Attach::Again { read_only: Some(false) },
        Attach::Again { read_only: Some(true) },
        Attach::Again { read_only: None },
        Attach::Steal,
        Attach::WrongPassword,
        Attach::FromTheFuture,
    ] {
        table.step("attach", 1, Step::Attach(attach));
        table.step("attach", 1, stat());
        table.step("attach", 0, stat());
    }
    table.step("auth", 1, Step::Burst(vec![auth("digest", b"u:p"), Request::WhoAmI]));
    table.step("auth", 1, Step::Burst(vec![auth("digest", b"u:p:q")]));
    table.step("auth", 1, Step::Burst(vec![auth("digest", b"nocolon")]));
    table.step("auth", 1, Step::Burst(vec![auth("digest", b"super:admin")]));
    table.step("auth", 1, Step::Burst(vec![Request::WhoAmI]));
    for (scheme, bytes) in [("nothing", &b"x"[..]), ("world", b"anyone")] {
        table.step("auth refused", 1, Step::Last(auth(scheme, bytes)));
        table.step("auth refused", 1, Step::Attach(Attach::Again { read_only: Some(false) }));
        table.step("auth refused", 1, Step::Burst(vec![Request::WhoAmI]));
    }
    table.step("ip", 1, Step::Burst(vec![auth("ip", b"")]));
    for op in [10, 13, 23, 99, 108, 500, -1, 0, i32::MAX, i32::MIN] {
        let name = format!("opcode {op}");
        table.step(&name, 1, Step::Last(Request::Raw { op: OpCode(op), body: Vec::new() }));
        table.step(&name, 1, Step::Attach(Attach::Again { read_only: Some(false) }));
    }
    // Frames at the limit of jute.maxbuffer, and one byte above it.
    let overhead = 8 + 4 + 4 + 4 + 4;
    let big = |bytes: usize| Request::SetData { path: path("/big"), data: Some(vec![7; bytes]), version: -1 };
    table.step("big", 1, Step::Burst(vec![create("/big")]));
    table.step("big", 1, Step::Burst(vec![big(0xF_FFFF - overhead)]));
    table.step("big", 1, Step::Burst(vec![get("/big")]));
    table.step("too big", 1, Step::Last(big(0xF_FFFF - overhead + 1)));
    table.step("too big", 1, Step::Attach(Attach::Again { read_only: Some(false) }));
    table.step("close", 1, Step::Burst(vec![Request::CloseSession]));
    table.step("close", 1, Step::Attach(Attach::New { timeout_ms: 8_000 }));
    // Expiry is one txn, and watchers get its events.
    table.step("expiry", 1, Step::Burst(vec![ephemeral("/expires"), Request::Ping]));
    table.step("expiry", 0, Step::Burst(vec![exists("/expires", true)]));
    let waited = table.pair.wait_for_event(0);
    table.note("expiry", waited);
    table.step("expiry", 0, Step::Burst(vec![exists("/expires", false), get("/big")]));
    table.finish();
}

fn auth(scheme: &str, bytes: &[u8]) -> Request {
    Request::Auth { scheme: path(scheme), auth: Some(bytes.to_vec()) }
}

/// Runs steps and collects differences, so that one run shows all of them.
struct Table {
    pair: Pair,
    failures: Vec<String>,
}

impl Table {
    fn new(places: usize) -> Self {
        Self { pair: Pair::new([Kind::Java, under_test()], places), failures: Vec::new() }
    }

    fn step(&mut self, name: &str, place: usize, step: Step) {
        let made = self.pair.step(place, &step);
        self.note(name, made);
    }

    fn note(&mut self, name: &str, made: Result<(), Difference>) {
        if let Err(Difference { text }) = made {
            self.failures.push(format!("{name}: {text}"));
            // Without this, all later zxids would differ by one.
            self.pair.rebase();
        }
    }

    fn expect(&mut self, name: &str, holds: bool, text: &str) {
        if !holds {
            self.failures.push(format!("{name}: the first server answers {text}"));
        }
    }

    fn finish(self) {
        let count = self.failures.len();
        assert!(count == 0, "{count} failures\n{}", self.failures.join("\n"));
    }
}
