//! Random programs: the steps of several sessions, drawn from a seed and from the answers so far.

use super::pair::{Attach, Step};
use crate::harness::Random;
use std::collections::VecDeque;
use zkfast::client::{Body, Reply, Request};
use zkfast::proto::{Acl, OpCode, Perms, Zxid, acl::Id};

/// Sessions of a program.
pub const PLACES: usize = 5;
/// Sequential znodes that a program remembers for later requests.
const REMEMBERED: usize = 24;
/// Watched paths that a program remembers per session.
const WATCHED: usize = 12;
/// Most requests of a burst.
const BURST_MAX: usize = 40;
/// The subtree with a quota. Java checks quotas against the applied state and not against requests in flight, so only
/// single requests have a predictable answer here.
const QUOTA_ROOT: &[u8] = b"/q";

const NAMES: &[&str] = &["a", "b", "c", "n-", "...", "ä€"];

/// Invalid paths: creates refuse them, and for reads such a znode does not exist.
const BAD_PATHS: &[&[u8]] = &[
    b"a",
    b"/a/",
    b"//",
    b"/a//b",
    b"/.",
    b"/a/../b",
    b"/a\0b",
    b"/a/\x1f",
    b"/a/\x7f",
    b"/a/\xc2\x85",
    b"/a/\xee\x80\x80",
    b"/a/\xef\xbf\xbf",
    b"/a/\xf0\x90\x80\x80",
    b"/missing/x/y",
    b"/zookeeper",
    b"/zookeeper/quota",
    b"/zookeeper/config",
];

/// A seeded generator of steps.
#[derive(Debug)]
pub struct Program {
    random: Random,
    remembered: Vec<Vec<u8>>,
    /// The place of the session that makes the next step.
    place: usize,
    /// The last paths that each session asked to watch.
    watched: [VecDeque<Vec<u8>>; PLACES],
    /// Steps that must come before any other step in their place.
    owed: Option<(usize, Step)>,
    newest_zxid: i64,
}

impl Program {
    /// The program of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            remembered: Vec::new(),
            place: 0,
            watched: Default::default(),
            owed: None,
            newest_zxid: 0,
        }
    }

    /// The first step of every program: some znodes, and a quota.
    pub fn opening() -> Step {
        let create = |path: &[u8], data: &[u8]| plain_create(path, Some(data));
        Step::Burst(vec![
            create(b"/a", b"1"),
            create(b"/a/a", b""),
            create(b"/b", b"x"),
            create(QUOTA_ROOT, b"12345"),
            create(b"/zookeeper/quota/q", b""),
            create(
                b"/zookeeper/quota/q/zookeeper_limits",
                b"count=4,bytes=-1=;byteHardLimit=300;countHardLimit=6",
            ),
            create(b"/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0"),
        ])
    }

    /// Gives the next step and the place of its session. The step has at most `left` requests.
    pub fn next(&mut self, left: usize) -> (usize, Step) {
        if let Some(owed) = self.owed.take() {
            return owed;
        }
        let place = self.random.below(PLACES);
        self.place = place;
        let step = match self.random.below(100) {
            0..72 => self.burst(left),
            72..86 => Step::Burst(vec![self.single_request()]),
            86..90 => Step::Burst(vec![self.auth()]),
            90 => {
                let mut requests = self.requests(self.random.clone().below(5));
                requests.push(Request::CloseSession);
                self.owed = Some((place, Step::Attach(Attach::New { timeout_ms: 600_000 })));
                Step::Burst(requests)
            }
            91..93 => {
                self.owed = Some((place, Step::Attach(Attach::Again { read_only: Some(false) })));
                self.breaking()
            }
            93..98 => {
                let read_only = *self.random.pick(&[None, Some(false), Some(true)]);
                Step::Attach(*self.random.pick(&[
                    Attach::Again { read_only },
                    Attach::Again { read_only },
                    Attach::Steal,
                    Attach::WrongPassword,
                    Attach::FromTheFuture,
                ]))
            }
            _ => {
                // A client sets its watches again after it has connected again.
                let watches = Step::Burst(vec![self.set_watches()]);
                self.owed = Some((place, watches));
                Step::Attach(Attach::Again { read_only: Some(false) })
            }
        };
        (place, step)
    }

    /// Learns from the replies to the last step, which are the same on both servers.
    pub fn learn(&mut self, replies: &[Reply], distance_of: impl Fn(i64) -> i64) {
        for reply in replies {
            if reply.header.zxid > 0 {
                self.newest_zxid = distance_of(reply.header.zxid);
            }
            let (Body::Path(path) | Body::Created { path, .. }) = &reply.body else { continue };
            if path.len() > 10 && !path.starts_with(b"/zookeeper/") && reply.op != OpCode::SYNC {
                if self.remembered.len() == REMEMBERED {
                    let at = self.random.below(REMEMBERED);
                    self.remembered.swap_remove(at);
                }
                self.remembered.push(path.clone());
            }
        }
    }

    fn burst(&mut self, left: usize) -> Step {
        let most = if self.random.percent(50) { 8 } else { BURST_MAX };
        let count = 1 + self.random.below(most);
        Step::Burst(self.requests(count.min(left.max(1))))
    }

    /// At most `count` requests, with a setACL only at the end: Java checks later requests against the old ACL until the
    /// new one is applied, so their answers are not predictable (`PrepRequestProcessor` keeps the old list in its change
    /// record).
    fn requests(&mut self, count: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        while requests.len() < count
            && requests.last().is_none_or(|last: &Request| last.op() != OpCode::SET_ACL)
        {
            let request = self.request();
            if let Request::Exists { path, watch: true }
            | Request::GetData { path, watch: true }
            | Request::GetChildren { path, watch: true }
            | Request::GetChildren2 { path, watch: true }
            | Request::AddWatch { path, mode: 0 | 1 } = &request
            {
                let watched = &mut self.watched[self.place];
                watched.truncate(WATCHED - 1);
                watched.push_front(path.clone());
            }
            requests.push(request);
        }
        requests
    }

    fn request(&mut self) -> Request {
        match self.random.below(100) {
            0..16 => self.create(),
            16..24 => Request::Delete { path: self.path(), version: self.version() },
            24..34 => Request::SetData { path: self.path(), data: self.data(), version: self.version() },
            34..40 => Request::Exists { path: self.read_path(), watch: self.random.percent(60) },
            40..48 => Request::GetData { path: self.read_path(), watch: self.random.percent(50) },
            48..52 => Request::GetChildren { path: self.read_path(), watch: self.random.percent(50) },
            52..57 => Request::GetChildren2 { path: self.read_path(), watch: self.random.percent(50) },
            57..60 => Request::GetAcl { path: self.read_path() },
            60..64 => {
                // The root's ACL stays open. Otherwise half of all requests would fail because of it.
                let path = self.path();
                let acl = if path == b"/" { vec![Acl::open()] } else { self.acl() };
                Request::SetAcl { path, acl, version: self.version() }
            }
            64..66 => Request::Sync { path: self.path() },
            66..68 => Request::Ping,
            68..78 => self.multi(),
            78..81 => self.multi_read(),
            81..83 => Request::CheckWatches { path: self.watched_path(), kind: self.watcher_type() },
            83..86 => Request::RemoveWatches { path: self.watched_path(), kind: self.watcher_type() },
            86..90 => Request::AddWatch {
                path: self.read_path(),
                mode: *self.random.pick(&[0, 0, 0, 1, 1, 1, 2, -1]),
            },
            90..92 => self.set_watches(),
            92 => Request::GetEphemerals { prefix: self.prefix() },
            93 => Request::GetAllChildrenNumber { path: self.read_path() },
            94 => Request::WhoAmI,
            95 => Request::Reconfig {
                joining: Some(b"server.9=127.0.0.1:1:2".to_vec()),
                leaving: None,
                new_members: None,
                config_id: -1,
            },
            _ => self.malformed(),
        }
    }

    /// A request that must be the only one in flight: with a quota, or with much data.
    fn single_request(&mut self) -> Request {
        let child = [QUOTA_ROOT, b"/", self.random.pick(NAMES).as_bytes()].concat();
        let bytes = *self.random.pick(&[0, 10, 60, 120, 290]);
        let data = Some(vec![b'q'; bytes]);
        match self.random.below(12) {
            0..3 => plain_create(&child, data.as_deref()),
            3..5 => Request::SetData { path: child, data, version: -1 },
            5 => Request::SetData { path: QUOTA_ROOT.to_vec(), data, version: -1 },
            6 => Request::Delete { path: child, version: -1 },
            7 => Request::GetData { path: b"/zookeeper/quota/q/zookeeper_stats".to_vec(), watch: true },
            8 => Request::Multi {
                ops: vec![
                    plain_create(&child, data.as_deref()),
                    Request::SetData { path: child, data, version: 0 },
                ],
            },
            9 => {
                let limits = *self.random.pick(&[
                    &b"count=4,bytes=-1=;byteHardLimit=300;countHardLimit=6"[..],
                    b"count=2,bytes=100=;byteHardLimit=-1;countHardLimit=-1",
                    b"count=-1,bytes=-1=;byteHardLimit=500;countHardLimit=3",
                ]);
                Request::SetData {
                    path: b"/zookeeper/quota/q/zookeeper_limits".to_vec(),
                    data: Some(limits.to_vec()),
                    version: -1,
                }
            }
            10 => Request::SetData {
                path: self.path(),
                data: Some(vec![b'B'; *self.random.pick(&[70_000, 300_000, 1_048_000])]),
                version: -1,
            },
            _ => Request::GetAllChildrenNumber { path: b"/".to_vec() },
        }
    }

    /// An auth request, also the only one in flight: it affects later requests and, in Java, overtakes requests in
    /// flight.
    fn auth(&mut self) -> Request {
        let auth = *self.random.pick(&[&b"u1:p1"[..], b"u1:p1", b"u2:p2", b"super:admin", b"a:b:c"]);
        Request::Auth { scheme: b"digest".to_vec(), auth: Some(auth.to_vec()) }
    }

    /// A step after which the server closes the connection.
    fn breaking(&mut self) -> Step {
        match self.random.below(7) {
            0 => Step::Last(Request::Raw {
                op: OpCode(*self.random.pick(&[10, 99, 108, 500])),
                body: Vec::new(),
            }),
            1 => Step::Last(Request::Check { path: self.path(), version: -1 }),
            2 => Step::Last(Request::Auth { scheme: b"nothing".to_vec(), auth: Some(b"x".to_vec()) }),
            3 => Step::Break((-5i32).to_be_bytes().to_vec()),
            4 => Step::Break(0x0010_0000i32.to_be_bytes().to_vec()),
            5 => Step::Break(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            _ => Step::Break([&7i32.to_be_bytes()[..], b"1234567"].concat()),
        }
    }

    fn create(&mut self) -> Request {
        let (op, flags, ttl_ms) = match self.random.below(20) {
            0..5 => (OpCode::CREATE, 0, -1),
            5..8 => (OpCode::CREATE2, 0, -1),
            8..10 => (*self.random.pick(&[OpCode::CREATE, OpCode::CREATE2]), 1, -1),
            10..13 => (*self.random.pick(&[OpCode::CREATE, OpCode::CREATE2]), 2, -1),
            13..15 => (*self.random.pick(&[OpCode::CREATE, OpCode::CREATE2]), 3, -1),
            15 => (OpCode::CREATE_CONTAINER, 4, -1),
            16 => (OpCode::CREATE_TTL, *self.random.pick(&[5, 6]), 100_000_000),
            // Modes with the wrong opcode, unknown modes, invalid TTLs.
            17 => (OpCode::CREATE2, *self.random.pick(&[4, 5, 6, 7, -1, 127]), -1),
            18 => (OpCode::CREATE_CONTAINER, *self.random.pick(&[0, 1, 2, 3, 5, 9]), -1),
            _ => {
                // A createTTL with a mode without TTL passes Java's checks if its ttl is negative, and ends the server
                // when the txn is applied (`EphemeralType.TTL.toEphemeralOwner`).
                let flags = *self.random.pick(&[0, 1, 4, 5, 6, 8]);
                let none = if matches!(flags, 5 | 6) { -1 } else { 7 };
                let ttl = *self.random.pick(&[0, none, 1 << 40, (1 << 40) - 1, i64::MAX, 50]);
                (OpCode::CREATE_TTL, flags, ttl)
            }
        };
        let mut path = self.path();
        if self.random.percent(4) {
            path.push(b'/');
        }
        Request::Create { op, path, data: self.data(), acl: self.acl(), flags, ttl_ms }
    }

    /// A multi that usually succeeds, on a znode of its own, with the right versions.
    fn careful_multi(&mut self) -> Request {
        let path = [b"/w", &self.random.next().to_string().as_bytes()[..6]].concat();
        let flags = *self.random.pick(&[0, 0, 1, 4, 5]);
        let op = match flags {
            4 => OpCode::CREATE_CONTAINER,
            5 => OpCode::CREATE_TTL,
            _ => *self.random.pick(&[OpCode::CREATE, OpCode::CREATE2]),
        };
        let acl = vec![Acl::open()];
        let ttl_ms = if flags == 5 { 99_000_000 } else { -1 };
        let create =
            Request::Create { op, path: path.clone(), data: self.data(), acl: acl.clone(), flags, ttl_ms };
        let mut ops = vec![create];
        let mut version = 0;
        for _ in 0..self.random.below(5) {
            let path = path.clone();
            ops.push(match self.random.below(5) {
                0 => {
                    version += 1;
                    Request::SetData { path, data: self.data(), version: version - 1 }
                }
                1 => Request::Check { path, version },
                2 => Request::Create {
                    op: OpCode::CREATE2,
                    path: [&path[..3], b"-"].concat(),
                    data: None,
                    acl: acl.clone(),
                    flags: *self.random.pick(&[2, 3]),
                    ttl_ms: -1,
                },
                3 if flags != 1 => {
                    plain_create(&[&path[..], b"/", &ops.len().to_string().into_bytes()].concat(), None)
                }
                _ => Request::SetData { path: b"/a".to_vec(), data: self.data(), version: -1 },
            });
        }
        if self.random.percent(30) {
            ops.push(Request::Delete { path, version });
        }
        Request::Multi { ops }
    }

    fn multi(&mut self) -> Request {
        if self.random.percent(50) {
            return self.careful_multi();
        }
        let count = *self.random.pick(&[0, 1, 2, 2, 3, 3, 4, 6]);
        let mut ops = Vec::new();
        // On one path, so that later operations depend on earlier ones.
        let path = self.path();
        let fresh = [b"/m", &self.random.next().to_string().as_bytes()[..4]].concat();
        for _ in 0..count {
            let path = match self.random.below(4) {
                0 => path.clone(),
                1 | 2 => fresh.clone(),
                _ => self.path(),
            };
            ops.push(match self.random.below(24) {
                0..8 => match self.create() {
                    Request::Create { op, data, acl, flags, ttl_ms, .. } => {
                        Request::Create { op, path, data, acl, flags, ttl_ms }
                    }
                    other => other,
                },
                8..12 => plain_create(&path, self.data().as_deref()),
                12..16 => Request::SetData { path, data: self.data(), version: self.version() },
                16..20 => Request::Delete { path, version: self.version() },
                20..23 => Request::Check { path, version: self.version() },
                _ if self.random.percent(20) => Request::GetData { path, watch: false },
                _ => Request::Check { path, version: -1 },
            });
        }
        Request::Multi { ops }
    }

    fn multi_read(&mut self) -> Request {
        let count = self.random.below(5);
        let mut ops = Vec::new();
        for _ in 0..count {
            let (path, watch) = (self.read_path(), self.random.percent(50));
            ops.push(match self.random.below(40) {
                0..20 => Request::GetData { path, watch },
                20..39 => Request::GetChildren { path, watch },
                _ => Request::Check { path, version: -1 },
            });
        }
        Request::MultiRead { ops }
    }

    fn set_watches(&mut self) -> Request {
        let back = self.random.below(200) as i64;
        let relative_zxid = Zxid::from_wire((self.newest_zxid - back).max(0));
        let mut list = || -> Vec<Vec<u8>> {
            let count = self.random.below(4);
            (0..count).map(|_| self.read_path()).collect()
        };
        let lists = [list(), list(), list(), list(), list()];
        if self.random.percent(50) {
            return Request::SetWatches2 { relative_zxid, lists };
        }
        let [data, exist, child, ..] = lists;
        Request::SetWatches { relative_zxid, lists: [data, exist, child] }
    }

    /// A request whose body is cut, too long, or without its path.
    fn malformed(&mut self) -> Request {
        let whole = loop {
            let request = self.request();
            let op = request.op();
            // These have no body to damage, or their answer contains what the server could not read.
            if !matches!(request, Request::Raw { .. })
                && ![OpCode::PING, OpCode::WHO_AM_I, OpCode::AUTH].contains(&op)
            {
                break request;
            }
        };
        let (op, mut body) = (whole.op(), Vec::new());
        whole.put_body(&mut body);
        match self.random.below(8) {
            0 => body.extend_from_slice(b"more"),
            1 if body.len() > 4 && matches!(op.0, 1..=8 | 12 | 15 | 19 | 21) => {
                let length = i32::from_be_bytes(body[..4].try_into().expect("four bytes"));
                let end = 4 + usize::try_from(length).expect("a path");
                body.splice(..end, (-1i32).to_be_bytes());
            }
            _ => body.truncate(self.random.below(body.len().max(1))),
        }
        Request::Raw { op, body }
    }

    fn path(&mut self) -> Vec<u8> {
        match self.random.below(100) {
            0..6 => self.random.pick(BAD_PATHS).to_vec(),
            6..8 => b"/".to_vec(),
            8..20 if !self.remembered.is_empty() => self.random.pick(&self.remembered).clone(),
            _ => {
                let depth = *self.random.pick(&[1, 1, 2, 2, 2, 3]);
                let mut path = Vec::new();
                for _ in 0..depth {
                    path.push(b'/');
                    path.extend_from_slice(self.random.pick(NAMES).as_bytes());
                }
                path
            }
        }
    }

    fn read_path(&mut self) -> Vec<u8> {
        if self.random.percent(3) { b"/zookeeper".to_vec() } else { self.path() }
    }

    fn watched_path(&mut self) -> Vec<u8> {
        match self.watched[self.place].len() {
            0 => self.read_path(),
            count => self.watched[self.place][self.random.below(count)].clone(),
        }
    }

    fn prefix(&mut self) -> Vec<u8> {
        self.random.pick(&[&b"/"[..], b"", b" ", b"/a", b"/a/", b"/b/c", b"x"]).to_vec()
    }

    fn version(&mut self) -> i32 {
        *self.random.pick(&[-1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 1, 2, -2, i32::MAX])
    }

    fn watcher_type(&mut self) -> i32 {
        *self.random.pick(&[1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 6, -1])
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.random.below(20) {
            0 | 1 => None,
            2 | 3 => Some(Vec::new()),
            4 => Some(vec![b'd'; 3_000]),
            _ => Some(self.random.next().to_string().into_bytes()),
        }
    }

    fn acl(&mut self) -> Vec<Acl> {
        let entry = |perms: i32, scheme: &str, id: &str| Acl { perms: Perms(perms), id: Id::new(scheme, id) };
        let u1 = "u1:fpT/y03U+EjItKZOSLGvjnJlyng=";
        match self.random.below(60) {
            0..38 => vec![Acl::open()],
            38 => vec![entry(1, "world", "anyone")],
            39 => vec![entry(30, "world", "anyone")],
            40..43 => vec![entry(31, "auth", ""), entry(1, "world", "anyone")],
            43 => vec![entry(31, "auth", "whatever")],
            44..47 => vec![entry(31, "digest", u1)],
            47 => vec![entry(1, "digest", u1), entry(16, "digest", "u2:o9NxcCGDPOlcV7JVhmKHOf5ctVE=")],
            48 => vec![entry(31, "ip", "127.0.0.1")],
            49 => vec![entry(31, "ip", "127.0.0.0/8"), entry(2, "ip", "10.1.2.3")],
            50 => vec![entry(
                31,
                "ip",
                self.random.pick::<&str>(&["10.0.0.0/8", "127.0.0.1/33", "::1", "1.2.3", "::/0"]),
            )],
            51 => vec![Acl::open(), Acl::open(), entry(1, "digest", u1)],
            52 => Vec::new(),
            53 => vec![entry(31, "world", "bob")],
            54 => vec![entry(31, "nothing", "x")],
            55 => vec![entry(31, "digest", self.random.pick::<&str>(&["u1", "", "a:b:c", "a:"]))],
            56 => vec![entry(31, "super", "")],
            57 => vec![entry(*self.random.pick(&[0, 32, -1, 64]), "world", "anyone")],
            58 => vec![entry(31, "x509", "CN=x"), Acl::open()],
            _ => vec![entry(31, "sasl", "bob"), Acl::open()],
        }
    }
}

/// A create of a persistent znode with an open ACL.
pub fn plain_create(path: &[u8], data: Option<&[u8]>) -> Request {
    Request::Create {
        op: OpCode::CREATE,
        path: path.to_vec(),
        data: data.map(<[u8]>::to_vec),
        acl: vec![Acl::open()],
        flags: 0,
        ttl_ms: -1,
    }
}
