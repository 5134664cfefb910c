//! Seeded inputs, requests as clients send them, and a server that has only its state machines.

use bytes::BufMut;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use zkfast::auth::Policy;
use zkfast::database::Database;
use zkfast::proto::acl::put_acls;
use zkfast::proto::{Acl, ConnectRequest, JuteWrite, OpCode, SessionId, Zxid, jute};
use zkfast::replica::{Commit, CommitSettings, Deltas, Now, Place, Proposed, Uplink, View, ViewSettings};
use zkfast::tree::{self, Digests, Fixed, Owner, Tree};
use zkfast::wal::Batch;

/// Seed of all random inputs.
pub const SEED: u64 = 0x7A6B_6661_7374;

/// Folders of the tree that most benchmarks use.
pub const FOLDERS: usize = 100;

/// Znodes in each folder.
pub const FILES: usize = 100;

/// Bytes of data of each znode: as much as most users of ZooKeeper store.
pub const DATA_BYTES: usize = 100;

/// Random numbers that are the same in every run: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(SEED)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    pub fn data(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| self.bits() as u8).collect()
    }
}

/// Path of a znode of [`tree`].
pub fn path(folder: usize, file: usize) -> Vec<u8> {
    format!("/bench/folder-{folder:03}/file-{file:05}").into_bytes()
}

/// `count` of those paths, in random order.
pub fn paths(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new();
    (0..count).map(|_| path(random.below(FOLDERS), random.below(FILES))).collect()
}

/// The fixed part of a persistent znode that the txn `zxid` made.
pub fn fixed(zxid: Zxid) -> Fixed {
    Fixed {
        czxid: zxid,
        mzxid: zxid,
        ctime_ms: 1_700_000_000_000,
        mtime_ms: 1_700_000_000_000,
        version: 0,
        aversion: 0,
        owner: Owner::PERSISTENT,
        acl: None,
    }
}

/// Puts a znode into `tree`, which has its parent.
pub fn add(tree: &mut Tree, path: &[u8], data: &[u8], zxid: Zxid) {
    let (parent, _) = zkfast::proto::path::split(path).unwrap();
    let parent = tree.find(parent).unwrap();
    let body = tree.make_body(path, Some(data), fixed(zxid));
    tree.insert(parent, body);
}

/// The tree that most benchmarks use: [`FOLDERS`] times [`FILES`] znodes of [`DATA_BYTES`].
pub fn tree(digests: Digests) -> Tree {
    let settings = tree::Settings { extended_types: tree::ExtendedTypes::Off, digests, hash_seed: SEED };
    let (mut tree, mut random, mut zxid) = (Tree::new(settings), Random::new(), Zxid::ZERO);
    let mut add = |path: &[u8]| {
        zxid = zxid.next().unwrap();
        add(&mut tree, path, &random.data(DATA_BYTES), zxid);
    };
    add(b"/bench");
    for folder in 0..FOLDERS {
        add(format!("/bench/folder-{folder:03}").as_bytes());
        (0..FILES).for_each(|file| add(&path(folder, file)));
    }
    tree
}

/// A frame as a client sends it.
pub fn request(xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    jute::frame(&mut out, |out| {
        out.put_i32(xid);
        out.put_i32(op.0);
        body(out);
    });
    out
}

pub fn get_data(xid: i32, path: &[u8]) -> Vec<u8> {
    request(xid, OpCode::GET_DATA, |out| {
        out.put_string(path);
        out.put_bool(false);
    })
}

pub fn put_set_data(out: &mut Vec<u8>, path: &[u8], data: &[u8]) {
    out.put_string(path);
    out.put_buffer(Some(data));
    out.put_i32(-1);
}

pub fn put_create(out: &mut Vec<u8>, path: &[u8], data: &[u8]) {
    out.put_string(path);
    out.put_buffer(Some(data));
    put_acls(out, &[Acl::open()]);
    out.put_i32(0);
}

pub fn set_data(xid: i32, path: &[u8], data: &[u8]) -> Vec<u8> {
    request(xid, OpCode::SET_DATA, |out| put_set_data(out, path, data))
}

pub fn create(xid: i32, path: &[u8], data: &[u8]) -> Vec<u8> {
    request(xid, OpCode::CREATE, |out| put_create(out, path, data))
}

pub fn delete(xid: i32, path: &[u8]) -> Vec<u8> {
    request(xid, OpCode::DELETE, |out| {
        out.put_string(path);
        out.put_i32(-1);
    })
}

/// A server that has only its state machines: one commit side, one view, and connections with sessions. A proposal
/// counts as durable at once.
pub struct Server {
    pub commit: Commit,
    pub view: View,
    pub places: Vec<Place>,
    pub now: Now,
    spare: Batch,
    xid: i32,
}

impl Server {
    /// A server with the tree of [`tree`] and `clients` connections with sessions.
    pub fn new(clients: usize) -> Self {
        let now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
        let settings = tree::Settings {
            extended_types: tree::ExtendedTypes::Off,
            digests: Digests::Kept,
            hash_seed: SEED,
        };
        let restored =
            Database { tree: tree(Digests::Kept), zxid: Zxid(1 << 20), ..Database::fresh(settings) };
        let view_settings = ViewSettings {
            frame_bytes_max: 1 << 20,
            outstanding_max: usize::MAX,
            sessionless_timeout_ms: i64::MAX / 4,
            serving: true,
            hash_seed: SEED,
            ..ViewSettings::new(0)
        };
        let policy = Arc::new(Policy::default());
        let (view_tree, zxid) = (restored.tree.for_view(), restored.zxid);
        let view = View::new(view_settings, policy.clone(), view_tree, zxid, BTreeMap::new(), 0);
        let commit_settings = CommitSettings { hash_seed: SEED, ..CommitSettings::new(1, 2000) };
        let commit = Commit::new(commit_settings, policy, restored, now);
        let mut server = Self { commit, view, places: Vec::new(), now, spare: Batch::default(), xid: 0 };
        for _ in 0..clients {
            server.connect();
        }
        server
    }

    fn connect(&mut self) {
        let place = self.view.open(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 40_000), self.now);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 30_000,
            session_id: SessionId::NONE,
            password: Some(&[0; 16]),
            read_only: Some(false),
        };
        let mut frame = Vec::new();
        jute::frame(&mut frame, |out| request.put(out));
        self.view.receive(place, &frame, self.now);
        self.places.push(place);
        self.pass_on();
        assert!(self.drain() > 0, "a client got no session");
    }

    /// The next xid.
    pub fn next_xid(&mut self) -> i32 {
        self.xid += 1;
        self.xid
    }

    /// Hands frames to the view, one per connection in turn, and returns the uplink.
    pub fn send_up(&mut self, frames: &[Vec<u8>]) -> Uplink {
        let mut places = self.places.iter().cycle();
        for frame in frames {
            self.view.receive(*places.next().unwrap(), frame, self.now);
        }
        self.view.take_uplink().expect("writes go up")
    }

    /// Runs the commit side: it checks the requests and makes records and deltas.
    pub fn commit(&mut self, uplink: Uplink) -> Deltas {
        self.commit.submit(self.now, uplink);
        let Proposed { mut records, deltas, through, .. } =
            self.commit.take(std::mem::take(&mut self.spare)).expect("something was proposed");
        records.clear();
        self.spare = records;
        self.commit.committed(through);
        deltas
    }

    /// Passes frames through both sides and leaves the replies in the connections.
    pub fn pass(&mut self, frames: &[Vec<u8>]) {
        let uplink = self.send_up(frames);
        let deltas = self.commit(uplink);
        self.view.apply(&deltas, self.now);
    }

    fn pass_on(&mut self) {
        let uplink = self.view.take_uplink().expect("something goes up");
        let deltas = self.commit(uplink);
        self.view.apply(&deltas, self.now);
    }

    /// Makes every client watch `path` with a persistent watch.
    pub fn watch(&mut self, path: &[u8]) {
        let watch = request(1, OpCode::ADD_WATCH, |out| {
            out.put_string(path);
            out.put_i32(0);
        });
        for place in self.places.clone() {
            self.view.receive(place, &watch, self.now);
            let bytes = self.view.output(place).len();
            self.view.sent(place, bytes);
        }
    }

    /// Discards the output of all connections and returns its bytes.
    pub fn drain(&mut self) -> usize {
        let mut all = 0;
        while let Some(place) = self.view.next_listed() {
            let bytes = self.view.output(place).len();
            self.view.sent(place, bytes);
            all += bytes;
        }
        all
    }
}
