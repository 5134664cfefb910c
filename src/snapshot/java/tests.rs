use super::*;
use crate::database::{Agreement, Builder, Database, FuzzyError, FuzzyReplay};
use crate::proto::{Acl, Id, JuteWrite, OpCode, Perms, SessionId};
use crate::snapshot::{Header, Node, Refused, Visitor};
use crate::tree::{Digests, ExtendedTypes, NodeImage, Settings, Tree};
use crate::txn::{self, Applied, CreateKind, CreateTxn, Txn, TxnHeader};
use bytes::BufMut;
use std::collections::BTreeMap;
use std::convert::Infallible;

const SETTINGS: Settings =
    Settings { extended_types: ExtendedTypes::On, digests: Digests::Kept, hash_seed: 7 };

/// Counts and forgets.
#[derive(Default)]
struct Ignore(usize);

impl Visitor for Ignore {
    fn header(&mut self, _: &Header) -> Result<(), Refused> {
        panic!("ZooKeeper's snapshots have no such header")
    }
    fn session(&mut self, _: SessionId, _: i32) -> Result<(), Refused> {
        self.0 += 1;
        Ok(())
    }
    fn acl(&mut self, _: u32, _: Vec<Acl>) -> Result<(), Refused> {
        self.0 += 1;
        Ok(())
    }
    fn node(&mut self, _: Node<'_>) -> Result<(), Refused> {
        self.0 += 1;
        Ok(())
    }
}

/// A history, txn by txn, and the trees that it makes.
struct History {
    restored: Database,
    txns: Vec<(Zxid, Vec<u8>)>,
}

impl History {
    fn new() -> Self {
        Self { restored: Database::fresh(SETTINGS), txns: Vec::new() }
    }

    /// Makes the next txn of `session_id`, and logs it with the digest that it leaves.
    fn push(&mut self, session_id: SessionId, op: OpCode, txn: &Txn<'_>) -> Zxid {
        let zxid = self.restored.zxid.next().expect("a small history");
        let header = TxnHeader { session_id, cxid: 1, zxid, time_ms: 1000 + zxid.0 as i64, op };
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        txn.put(&mut bytes);
        let Database { tree, quotas, .. } = &mut self.restored;
        txn::apply(tree, quotas, &header, txn, &mut Applied::default()).expect("it fits");
        match txn {
            Txn::CreateSession { timeout_ms } => {
                self.restored.sessions.insert(session_id, *timeout_ms);
            }
            Txn::CloseSession { .. } => {
                self.restored.sessions.remove(&session_id);
            }
            _ => {}
        }
        self.restored.zxid = zxid;
        txn::put_digest(&mut bytes, self.restored.tree.digest());
        self.txns.push((zxid, bytes));
        zxid
    }

    fn create_as(
        &mut self,
        session_id: SessionId,
        path: &str,
        data: Option<&[u8]>,
        kind: CreateKind,
        acl: Vec<Acl>,
    ) {
        let acl = self.restored.acls.intern(acl);
        self.push(session_id, op_of(kind), &create(&self.restored.tree, path, data, kind, acl));
    }

    fn create(&mut self, path: &str) {
        self.create_as(SessionId::NONE, path, Some(b"data"), CreateKind::Persistent, Vec::new());
    }

    fn delete(&mut self, path: &str) {
        self.push(SessionId::NONE, OpCode::DELETE, &Txn::Delete { path: path.as_bytes() });
    }

    fn set(&mut self, path: &str, data: &[u8]) {
        let index = self.restored.tree.find(path.as_bytes()).expect("is there");
        let version = self.restored.tree.body(index).fixed().version + 1;
        self.push(
            SessionId::NONE,
            OpCode::SET_DATA,
            &Txn::SetData { path: path.as_bytes(), data: Some(data), version },
        );
    }
}

fn op_of(kind: CreateKind) -> OpCode {
    match kind {
        CreateKind::Container => OpCode::CREATE_CONTAINER,
        CreateKind::Ttl(_) => OpCode::CREATE_TTL,
        _ => OpCode::CREATE2,
    }
}

fn create<'a>(
    tree: &Tree,
    path: &'a str,
    data: Option<&'a [u8]>,
    kind: CreateKind,
    acl: crate::tree::AclRef,
) -> Txn<'a> {
    let parent = crate::proto::path::split(path.as_bytes()).expect("has a parent").0;
    let index = tree.find(parent).expect("the parent is there");
    let parent_cversion = tree.child_stat(index).0 + 1;
    Txn::Create(CreateTxn { path: path.as_bytes(), data, acl, kind, parent_cversion })
}

fn read_only() -> Vec<Acl> {
    vec![Acl { perms: Perms::READ, id: Id::new("digest", "user:hash") }, Acl::open()]
}

/// All kinds of znodes, two sessions, lists, null and empty data.
fn history() -> History {
    let mut history = History::new();
    history.push(SessionId(0x10), OpCode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 30_000 });
    history.push(SessionId(0x20), OpCode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 4_000 });
    history.create("/a");
    history.create_as(SessionId::NONE, "/a/null", None, CreateKind::Persistent, read_only());
    history.create_as(SessionId::NONE, "/a/empty", Some(b""), CreateKind::Container, Vec::new());
    history.create_as(SessionId(0x10), "/a/ephemeral", Some(b"e"), CreateKind::Ephemeral, read_only());
    history.create_as(SessionId::NONE, "/ttl", Some(b"t"), CreateKind::Ttl(60_000), Vec::new());
    history.create("/a/b");
    history.create("/a/b/c");
    history.set("/a/b", b"more");
    history.delete("/a/b/c");
    history
}

fn nodes_of(tree: &mut Tree) -> Vec<NodeImage> {
    let mut nodes = Vec::new();
    tree.begin_image();
    while tree.image_slice(64, &mut nodes) {}
    nodes
}

fn encode(form: Form, restored: &mut Database) -> Vec<u8> {
    let nodes = nodes_of(&mut restored.tree);
    let mut encoder = Encoder::new(form, restored.sessions.clone(), nodes);
    let mut bytes = Vec::new();
    while encoder.next_piece(&mut bytes) {}
    if form == Form::File {
        // As a 3.9 with its default settings goes on.
        let zxid = restored.zxid.to_wire();
        bytes.put_i64(zxid);
        bytes.put_i32(2);
        bytes.put_i64(restored.tree.digest() as i64);
        put_seal(&mut bytes);
        bytes.put_i64(zxid);
        put_seal(&mut bytes);
    }
    bytes
}

fn put_seal(bytes: &mut Vec<u8>) {
    let value = Adler::of(bytes);
    bytes.put_i64(value);
    bytes.put_string(b"/");
}

/// Decodes pieces as `cut` cuts them.
fn decode(form: Form, pieces: &[&[u8]]) -> Result<(Builder, Tail), Damage> {
    let mut decoder = Decoder::new(form);
    let mut builder = Builder::new(SETTINGS);
    for piece in pieces {
        decoder.feed(piece, &mut builder)?;
    }
    Ok((builder, decoder.finish()?))
}

fn restore(bytes: &[u8], zxid: Zxid) -> FuzzyReplay {
    let (builder, tail) = decode(Form::File, &[bytes]).expect("whole");
    builder.finish_fuzzy(zxid, tail).expect("a tree")
}

/// Every znode with its data, ACL and Stat, and the sessions.
fn contents(restored: &Database) -> (BTreeMap<String, String>, BTreeMap<SessionId, i32>) {
    let mut tree = restored.tree.clone();
    let nodes = nodes_of(&mut tree).into_iter().map(|node| {
        let index = tree.find(node.body.path()).expect("is there");
        let what = format!("{:?} {:?} {:?}", node.body.data(), node.body.acl(), tree.stat(index));
        (String::from_utf8_lossy(node.body.path()).into_owned(), what)
    });
    (nodes.collect(), restored.sessions.clone())
}

/// A file and a stream give back all of a tree: znodes of every kind, lists, sessions, digest and zxid.
#[test]
fn round_trip() {
    let mut history = history();
    let zxid = history.restored.zxid;
    for form in [Form::File, Form::Stream] {
        let bytes = encode(form, &mut history.restored);
        let (builder, tail) = decode(form, &[&bytes]).expect("whole");
        let digest = history.restored.tree.digest();
        let expected = (form == Form::File).then_some((zxid, digest));
        assert_eq!((tail.digest, tail.last_zxid.is_some()), (expected, form == Form::File));
        assert_eq!((tail.reach(), tail.counts.sessions, tail.counts.acls), (zxid, 2, 2));
        let replay = builder.finish_fuzzy(zxid, tail).expect("a tree");
        assert_eq!(replay.is_exact(), form == Form::File, "the digest block shows that it is");
        let (restored, report) = replay.finish().expect("whole");
        assert_eq!(restored.tree.digest(), digest);
        assert_eq!(contents(&restored), contents(&history.restored));
        assert_eq!((report.txns, report.orphans), (0, 0));
    }
}

/// Cut anywhere, in two or byte by byte, a snapshot decodes the same; what follows a stream is not taken.
#[test]
fn every_cut() {
    let mut history = history();
    for form in [Form::File, Form::Stream] {
        let bytes = encode(form, &mut history.restored);
        let whole = decode(form, &[&bytes]).expect("whole").1;
        for at in 0..=bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(decode(form, &[one, two]).expect("whole").1, whole, "{at}");
        }
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(form, &bytewise).expect("whole").1, whole);
    }
    let mut bytes = encode(Form::Stream, &mut history.restored);
    let used = bytes.len();
    bytes.extend(b"the next packet");
    for at in 0..used {
        let mut decoder = Decoder::new(Form::Stream);
        assert_eq!(decoder.feed(&bytes[..at], &mut Ignore::default()), Ok(Progress::More));
        let progress = decoder.feed(&bytes[at..], &mut Ignore::default());
        assert_eq!(progress, Ok(Progress::Whole { used: used - at }), "{at}");
        assert!(decoder.finish().is_ok());
    }
}

/// A file that ends early is refused, unless it ends where an older ZooKeeper's files end; so is a stream.
#[test]
fn every_length() {
    let mut history = history();
    let bytes = encode(Form::File, &mut history.restored);
    let ends: Vec<usize> =
        (0..bytes.len()).filter(|&length| decode(Form::File, &[&bytes[..length]]).is_ok()).collect();
    // After the tree's seal, and after the digest's.
    assert_eq!(ends, [bytes.len() - 54, bytes.len() - 21]);
    assert_eq!(decode(Form::File, &[&bytes[..ends[0]]]).expect("old").1.digest, None);
    assert_eq!(decode(Form::File, &[&bytes[..ends[1]]]).expect("old").1.last_zxid, None);
    let longer = decode(Form::File, &[&bytes, b"x"]).map(|_| ()).expect_err("longer");
    assert!(matches!(longer.seen, Seen::Trailer { .. }), "{longer}");
    let stream = encode(Form::Stream, &mut history.restored);
    for length in 0..stream.len() {
        let damage = decode(Form::Stream, &[&stream[..length]]).map(|_| ()).expect_err("cut");
        assert_eq!((damage.seen, damage.offset), (Seen::Truncated, length as u64));
    }
}

/// The four forms of what follows the tree are distinguished, and a digest as text is ignored.
#[test]
fn trailers() {
    let mut history = history();
    let bytes = encode(Form::File, &mut history.restored);
    let tree = &bytes[..bytes.len() - 54];
    let seal = |bytes: &mut Vec<u8>| {
        let value = Adler::of(bytes);
        bytes.put_i64(value);
        bytes.put_string(b"/");
    };
    for text in [None, Some(&b"7fffffffffffffff"[..]), Some(b"0"), Some(b"1234")] {
        for has_last in [false, true] {
            let mut file = tree.to_vec();
            file.put_i64(0x99);
            file.put_i32(1);
            file.put_buffer(text);
            seal(&mut file);
            if has_last {
                file.put_i64(0x77);
                seal(&mut file);
            }
            let tail = decode(Form::File, &[&file]).expect("an old digest").1;
            assert_eq!((tail.digest, tail.last_zxid), (None, has_last.then_some(Zxid(0x77))));
        }
    }
    let mut file = tree.to_vec();
    file.put_i64(0x77);
    seal(&mut file);
    let tail = decode(Form::File, &[&file]).expect("no digest").1;
    assert_eq!((tail.digest, tail.last_zxid, tail.reach()), (None, Some(Zxid(0x77)), Zxid(0x77)));
}

/// Every flipped bit of a file is refused.
#[test]
fn every_bit() {
    let mut history = History::new();
    history.push(SessionId(0x10), OpCode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 30_000 });
    history.create_as(SessionId::NONE, "/a", Some(b"x"), CreateKind::Persistent, read_only());
    let mut bytes = encode(Form::File, &mut history.restored);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut decoder = Decoder::new(Form::File);
        let fed = decoder.feed(&bytes, &mut Ignore::default()).map(|_| ());
        let damage = fed.and_then(|()| decoder.finish().map(|_| ())).expect_err("a flipped bit");
        assert!(damage.offset <= bytes.len() as u64, "{damage}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

/// Lengths that promise the world are refused by name before anything is kept for them.
#[test]
fn hostile_lengths() {
    let refused = |bytes: &[u8]| {
        let mut decoder = Decoder::new(Form::Stream);
        let damage = decoder.feed(bytes, &mut Ignore::default()).expect_err("refused");
        (damage.offset, damage.seen.to_string())
    };
    let front = |sessions: i32, acls: i32| {
        let mut bytes = Vec::new();
        bytes.put_i32(sessions);
        bytes.put_i32(acls);
        bytes
    };
    assert_eq!(refused(&front(-1, 0)), (0, "the number of sessions has length -1".into()));
    assert_eq!(refused(&front(0, -5)), (4, "the number of ACLs has length -5".into()));
    let mut acl = front(0, 1);
    acl.put_i64(1);
    acl.put_i32(i32::MAX);
    assert_eq!(refused(&acl), (16, "an ACL has length 2147483647, at most 131072 is taken".into()));
    let mut text = acl[..16].to_vec();
    text.put_i32(1);
    text.put_i32(31);
    text.put_i32(i32::MAX);
    assert!(refused(&text).1.starts_with("an ACL's scheme has length 2147483647"), "{:?}", refused(&text));
    for (length, why) in [(i32::MAX, "a path has length 2147483647"), (-1, "a path has length -1")] {
        let mut path = front(0, 0);
        path.put_i32(length);
        assert!(refused(&path).1.starts_with(why), "{:?}", refused(&path));
    }
    let mut data = front(0, 0);
    data.put_string(b"/a");
    data.put_i32(i32::MAX);
    assert!(refused(&data).1.starts_with("a znode's data has length"), "{:?}", refused(&data));
    for bad in ["a", "/a/", "//", "/a/../b"] {
        let mut path = front(0, 0);
        path.put_string(bad.as_bytes());
        path.put_slice(&[0; 80]);
        assert!(refused(&path).1.contains("no path"), "{bad}");
    }
}

/// A tree without root, or with a znode that has no parent, is refused.
#[test]
fn orphans_are_refused() {
    let stream = |paths: &[&str]| {
        let mut bytes = vec![0; 8];
        for path in paths {
            bytes.put_string(path.as_bytes());
            bytes.put_i32(-1);
            bytes.put_i64(-1);
            bytes.put_slice(&[0; 60]);
        }
        bytes.put_string(b"/");
        bytes.put_string(SIGNATURE);
        let (builder, tail) = decode(Form::Stream, &[&bytes]).expect("decodes");
        builder.finish_fuzzy(Zxid(1), tail).map(|_| ()).map_err(|why| why.to_string())
    };
    assert_eq!(stream(&["", "/a", "/a/b"]), Ok(()));
    assert_eq!(stream(&["", "/a/b"]), Err("/a/b has no parent".into()));
    assert_eq!(stream(&["/a"]), Err("/a has no parent".into()));
    assert_eq!(stream(&[]), Err("the tree has no root".into()));
}

/// TTL nodes are refused by name where they are switched off, from a snapshot and from a log.
#[test]
fn ttl_needs_its_key() {
    let mut history = history();
    let bytes = encode(Form::File, &mut history.restored);
    let off = Settings { extended_types: ExtendedTypes::Off, ..SETTINGS };
    let mut builder = Builder::new(off);
    let mut decoder = Decoder::new(Form::File);
    decoder.feed(&bytes, &mut builder).expect("decodes");
    let tail = decoder.finish().expect("whole");
    let from_snapshot = builder.finish_fuzzy(history.restored.zxid, tail).expect("a tree").finish();
    let mut empty = Database::fresh(off);
    let mut builder = Builder::new(off);
    let mut decoder = Decoder::new(Form::File);
    decoder.feed(&encode(Form::File, &mut empty), &mut builder).expect("decodes");
    let tail = decoder.finish().expect("whole");
    let mut replay = builder.finish_fuzzy(Zxid::ZERO, tail).expect("a tree");
    for (zxid, txn) in &history.txns {
        replay.replay(*zxid, txn).expect("it fits");
    }
    for result in [from_snapshot, replay.finish()] {
        let error = result.map(|_| ()).expect_err("a TTL node");
        assert_eq!(
            error.to_string(),
            "/ttl is a TTL node, which needs extendedTypesEnabled=true (zkfast import: --extended-types)"
        );
    }
}

/// However the history moves on while a snapshot is taken, znode by znode in ZooKeeper's order, replay ends in
/// the exact tree and notices it.
#[test]
fn fuzzy_snapshots() {
    let mut random = 1u64;
    let mut below = move |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    let (mut fuzzy, mut exact) = (0, 0);
    for _ in 0..400 {
        let mut history = history();
        let base = history.restored.zxid;
        let base_txns = history.txns.len();
        let sessions = history.restored.sessions.clone();
        // Lists are written first.
        let mut lists = nodes_of(&mut history.restored.tree);
        lists.retain(|node| node.body.fixed().acl.is_some());
        // Walks down as Java does: a znode with its children's names, then each of these if it is still there.
        let mut todo: Vec<String> = vec!["/".into()];
        let mut taken: Vec<NodeImage> = Vec::new();
        while let Some(path) = todo.pop() {
            for _ in 0..below(3) {
                step(&mut history, &mut below);
            }
            let mut tree = history.restored.tree.clone();
            let Some(index) = tree.find(path.as_bytes()) else { continue };
            for name in tree.children(index) {
                let parent = if path == "/" { "" } else { &path };
                todo.push(format!("{parent}/{}", String::from_utf8_lossy(name)));
            }
            let nodes = nodes_of(&mut tree);
            taken.extend(nodes.into_iter().find(|node| node.body.path() == path.as_bytes()));
        }
        let bytes = fuzzy_file(&history, sessions, &lists, taken);
        for _ in 0..below(4) {
            step(&mut history, &mut below);
        }
        let mut replay = restore(&bytes, base);
        fuzzy += usize::from(!replay.is_exact());
        for (zxid, txn) in &history.txns[base_txns..] {
            replay.replay(*zxid, txn).unwrap_or_else(|error| panic!("{error}"));
        }
        exact += usize::from(replay.is_exact());
        let (restored, report) = replay.finish().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(contents(&restored), contents(&history.restored));
        assert_eq!(report.txns, (history.txns.len() - base_txns) as u64);
    }
    assert!(fuzzy > 200 && exact == 400, "{fuzzy} fuzzy, {exact} exact in the end");
}

/// One random change of the history.
fn step(history: &mut History, below: &mut impl FnMut(usize) -> usize) {
    let mut tree = history.restored.tree.clone();
    let nodes = nodes_of(&mut tree);
    let paths: Vec<String> = nodes
        .iter()
        .map(|node| String::from_utf8_lossy(node.body.path()).into_owned())
        .filter(|path| !path.starts_with("/zookeeper"))
        .collect();
    let path = paths[below(paths.len())].clone();
    let index = tree.find(path.as_bytes()).expect("is there");
    let is_free = path != "/" && tree.child_count(index) == 0;
    let is_ephemeral = tree.stat(index).ephemeral_owner.is_some();
    match below(8) {
        0..=2 if !is_ephemeral => {
            let child = format!("{}/{}", if path == "/" { "" } else { &path }, below(3));
            if tree.find(child.as_bytes()).is_none() {
                let acl = if below(4) == 0 {
                    vec![Acl { perms: Perms(1 + below(30) as i32), id: Id::new("ip", "10.0.0.1") }]
                } else {
                    Vec::new()
                };
                history.create_as(SessionId::NONE, &child, Some(b"new"), CreateKind::Persistent, acl);
            }
        }
        3 | 4 if is_free => history.delete(&path),
        5 => {
            let acl = history.restored.acls.intern(read_only());
            let version = tree.body(index).fixed().aversion + 1;
            history.push(
                SessionId::NONE,
                OpCode::SET_ACL,
                &Txn::SetAcl { path: path.as_bytes(), acl, version },
            );
        }
        6 if is_free => {
            // Made anew in one txn, after which the name's history starts over.
            let parent = crate::proto::path::split(path.as_bytes()).expect("not the root").0;
            let parent = tree.find(parent).expect("is there");
            let create = Txn::Create(CreateTxn {
                path: path.as_bytes(),
                data: None,
                acl: None,
                kind: CreateKind::Persistent,
                parent_cversion: tree.child_stat(parent).0 + 1,
            });
            let delete = Txn::Delete { path: path.as_bytes() };
            history.push(
                SessionId::NONE,
                OpCode::MULTI,
                &Txn::Multi(vec![(OpCode::DELETE, delete), (OpCode::CREATE, create)]),
            );
        }
        7 if is_ephemeral => {
            let owner = tree.stat(index).ephemeral_owner;
            let paths: Vec<Box<[u8]>> = tree.ephemerals(owner).map(Box::from).collect();
            let paths = paths.iter().map(|path| &**path).collect();
            history.push(owner, OpCode::CLOSE_SESSION, &Txn::CloseSession { paths: Some(paths) });
        }
        _ => history.set(&path, b"changed"),
    }
}

/// A snapshot file as Java writes it while the tree changes: only lists that were there at its begin.
fn fuzzy_file(
    history: &History,
    sessions: BTreeMap<SessionId, i32>,
    lists: &[NodeImage],
    taken: Vec<NodeImage>,
) -> Vec<u8> {
    let known = |acl: &[Acl]| lists.iter().position(|node| node.body.acl() == acl);
    let mut bytes = Vec::new();
    bytes.put_i32(SNAPSHOT_MAGIC);
    bytes.put_i32(VERSION);
    bytes.put_i64(SNAPSHOT_DBID);
    bytes.put_count(sessions.len());
    for (id, timeout_ms) in sessions {
        bytes.put_i64(id.0);
        bytes.put_i32(timeout_ms);
    }
    bytes.put_count(lists.len());
    for (id, node) in (1..).zip(lists) {
        bytes.put_i64(id);
        crate::proto::acl::put_acls(&mut bytes, node.body.acl());
    }
    for node in taken {
        let fixed = node.body.fixed();
        bytes.put_string(if node.body.path() == b"/" { b"" } else { node.body.path() });
        bytes.put_buffer(node.body.data());
        bytes.put_i64(match &fixed.acl {
            None => ACL_ID_OPEN,
            Some(acl) => known(acl).map_or(1_000_000, |at| at as i64 + 1),
        });
        for zxid in [fixed.czxid, fixed.mzxid] {
            bytes.put_i64(zxid.to_wire());
        }
        bytes.put_i64(fixed.ctime_ms);
        bytes.put_i64(fixed.mtime_ms);
        for number in [fixed.version, node.cversion, fixed.aversion] {
            bytes.put_i32(number);
        }
        bytes.put_i64(fixed.owner.0);
        bytes.put_i64(node.pzxid.to_wire());
    }
    bytes.put_string(b"/");
    let seal = |bytes: &mut Vec<u8>| {
        let value = Adler::of(bytes);
        bytes.put_i64(value);
        bytes.put_string(b"/");
    };
    seal(&mut bytes);
    bytes.put_i64(history.restored.zxid.to_wire());
    bytes.put_i32(2);
    bytes.put_i64(history.restored.tree.digest() as i64);
    seal(&mut bytes);
    bytes
}

/// A log that ends before what the snapshot holds makes no tree; one with another digest does.
#[test]
fn replay_must_reach() {
    let mut history = history();
    let base = history.restored.zxid;
    history.create("/later");
    let reach = history.restored.zxid;
    let bytes = encode(Form::File, &mut history.restored);
    let replay = restore(&bytes, base);
    match replay.finish().expect_err("the log is missing") {
        FuzzyError::Unreached { reach: wanted, last } => assert_eq!((wanted, last), (reach, base)),
        other => panic!("{other}"),
    }
    let mut replay = restore(&bytes, base);
    let (zxid, mut txn) = history.txns.last().cloned().expect("one");
    let last = txn.len() - 1;
    txn[last] ^= 1;
    replay.replay(zxid, &txn).expect("forgiven for now");
    // The snapshot's own digest agrees.
    assert!(replay.is_exact());
    let plain = bytes.len() - 54;
    let mut replay = restore(&bytes[..plain], base);
    replay.replay(zxid, &txn).expect("forgiven for now");
    let (_, report) = replay.finish().expect("a digest that disagrees proves nothing");
    assert!(report.digest_mismatches == 1 && report.doubt.is_some(), "{report:?}");
}

/// A leader of ZooKeeper's logs wrong digests now and then, and right ones again: they are counted, and the tree is
/// exact. What does not fit the tree is refused once that is known.
#[test]
fn digests_are_hints() {
    let mut history = history();
    let base = history.restored.zxid;
    let bytes = encode(Form::File, &mut history.restored);
    let before = history.txns.len();
    (0..5).for_each(|number| history.create(&format!("/later-{number}")));
    let mut replay = restore(&bytes, base);
    for (number, (zxid, txn)) in history.txns[before..].iter().enumerate() {
        let mut txn = txn.clone();
        if number < 3 {
            *txn.last_mut().expect("a digest") ^= 1;
        }
        replay.replay(*zxid, &txn).expect("it fits");
    }
    let (restored, report) = replay.finish().expect("whole");
    assert_eq!((report.digest_mismatches, report.doubt, report.exact_from), (3, None, Some(base)));
    assert_eq!(contents(&restored), contents(&history.restored));
    let mut replay = restore(&bytes, base);
    let (zxid, _) = history.txns[before];
    let header = TxnHeader { session_id: SessionId::NONE, cxid: 0, zxid, time_ms: 0, op: OpCode::DELETE };
    let mut txn = Vec::new();
    header.put(&mut txn);
    txn.put_string(b"/absent");
    replay.replay(zxid, &txn).expect_err("nothing to delete");
}

/// What is written ends with the tree's seal: every version of Java reads that, whatever its settings are.
#[test]
fn nothing_behind_the_tree() {
    let mut history = history();
    let nodes = nodes_of(&mut history.restored.tree);
    let mut encoder = Encoder::new(Form::File, history.restored.sessions.clone(), nodes);
    let mut bytes = Vec::new();
    while encoder.next_piece(&mut bytes) {}
    let with_blocks = encode(Form::File, &mut history.restored);
    assert_eq!(bytes, with_blocks[..with_blocks.len() - 54]);
    let (_, tail) = decode(Form::File, &[&bytes]).expect("whole");
    assert_eq!((tail.digest, tail.last_zxid), (None, None));
}

/// What a client gets ends with both blocks, as a 3.9 with its default settings writes them; without a digest the place of
/// one is filled.
#[test]
fn both_blocks_behind_the_tree() {
    let mut history = history();
    let expected = encode(Form::File, &mut history.restored);
    let Database { tree, sessions, zxid, .. } = &mut history.restored;
    let digest = tree.digest();
    for digest in [Some(digest), None] {
        let mut encoder =
            Encoder::new(Form::File, sessions.clone(), nodes_of(tree)).with_trailer(*zxid, digest);
        let mut bytes = Vec::new();
        while encoder.next_piece(&mut bytes) {}
        let (_, tail) = decode(Form::File, &[&bytes]).expect("whole");
        assert_eq!((tail.digest, tail.last_zxid), (digest.map(|digest| (*zxid, digest)), Some(*zxid)));
        assert_eq!(bytes == expected, digest.is_some());
        assert_eq!(bytes.len(), expected.len());
    }
}

/// Ephemerals of an unknown session go, as in Java.
#[test]
fn orphans_go() {
    let mut history = history();
    history.restored.sessions.remove(&SessionId(0x10));
    let bytes = encode(Form::File, &mut history.restored);
    let (restored, report) = restore(&bytes, history.restored.zxid).finish().expect("whole");
    assert_eq!(report.orphans, 1);
    assert!(restored.tree.find(b"/a/ephemeral").is_none());
}

/// A create that does not hold its parent's cversion, as 3.3 wrote them, counts it up.
#[test]
fn old_create() {
    let mut restored = Database::fresh(SETTINGS);
    for (number, name) in [(1, "/one"), (2, "/two")] {
        let zxid = Zxid(number);
        let header = TxnHeader { session_id: SessionId::NONE, cxid: 0, zxid, time_ms: 0, op: OpCode::CREATE };
        let mut txn = Vec::new();
        header.put(&mut txn);
        txn.put_string(name.as_bytes());
        txn.put_buffer(None);
        crate::proto::acl::put_acls(&mut txn, &[Acl::open()]);
        txn.put_bool(false);
        assert_eq!(restored.replay_fuzzy(zxid, &txn).expect("old, but good"), Agreement::Unsaid);
    }
    let root = restored.tree.find(b"/").expect("the root");
    assert_eq!(restored.tree.child_stat(root), (2, Zxid(2)));
}

/// A log of txns at these zxids.
fn log_of(zxids: &[Zxid]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_log_header(&mut bytes);
    for &zxid in zxids {
        let header = TxnHeader { session_id: SessionId(1), cxid: 2, zxid, time_ms: 3, op: OpCode::ERROR };
        let mut txn = Vec::new();
        header.put(&mut txn);
        txn.put_i32(-101);
        put_log_entry(&mut bytes, &txn);
    }
    bytes
}

fn zxids(range: std::ops::RangeInclusive<u64>) -> Vec<Zxid> {
    range.map(Zxid).collect()
}

/// The zxids that were given, and what each file's end was.
type LogsRead = (Vec<u64>, Vec<Option<Torn>>);

/// Reads files as one log after `base`: what was read, or the damage and the number of its file.
fn read_logs(base: u64, files: &[Vec<u8>]) -> Result<LogsRead, (usize, LogSeen)> {
    let mut reader = LogReader::new(Zxid(base));
    let (mut seen, mut torn) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().enumerate() {
        let place = if number + 1 == files.len() { Place::Newest } else { Place::Inner };
        let each = |zxid: Zxid, _: &[u8]| {
            seen.push(zxid.0);
            Ok::<(), Infallible>(())
        };
        let end = reader.file(file, place, each).map_err(|error| match error {
            LogError::Damage(damage) => (number, damage.seen),
            LogError::Refused { error, .. } => match error {},
        })?;
        torn.push(end.torn);
    }
    Ok((seen, torn))
}

fn padded(mut file: Vec<u8>) -> Vec<u8> {
    file.resize(file.len() + 500, 0);
    file
}

/// Entries after the snapshot come back, over several padded files and epochs; a file may hold none.
#[test]
fn logs() {
    let epoch = 1 << 32;
    let files = [
        padded(log_of(&zxids(3..=9))),
        log_of(&zxids(10..=12)),
        padded(log_of(&zxids(epoch + 1..=epoch + 2))),
        log_of(&[]),
    ];
    let (seen, torn) = read_logs(5, &files).expect("whole");
    assert_eq!(seen, [6, 7, 8, 9, 10, 11, 12, epoch + 1, epoch + 2]);
    assert_eq!(torn, [None; 4]);
    let last_is_empty = [files[0].clone(), Vec::new()];
    assert_eq!(read_logs(2, &last_is_empty).expect("a crash at its birth").0.len(), 7);
    let middle_is_empty = [files[0].clone(), Vec::new(), files[1].clone()];
    assert_eq!(read_logs(2, &middle_is_empty), Err((1, LogSeen::Empty)));
}

/// What is missing is missed: before the first file, between files, within one, and at an epoch's begin.
#[test]
fn log_gaps() {
    let gap = |before, zxid| LogSeen::Gap { before: Zxid(before), zxid: Zxid(zxid) };
    let epoch = 1 << 32;
    assert_eq!(read_logs(5, &[log_of(&zxids(7..=9))]), Err((0, gap(5, 7))));
    assert_eq!(read_logs(2, &[log_of(&zxids(3..=4)), log_of(&zxids(6..=7))]), Err((1, gap(4, 6))));
    assert_eq!(read_logs(2, &[log_of(&[Zxid(3), Zxid(5)])]), Err((0, gap(3, 5))));
    assert_eq!(read_logs(2, &[log_of(&[Zxid(3), Zxid(epoch + 2)])]), Err((0, gap(3, epoch + 2))));
    let back = LogSeen::Order { before: Zxid(4), zxid: Zxid(4) };
    assert_eq!(read_logs(2, &[log_of(&zxids(3..=4)), log_of(&zxids(4..=5))]), Err((1, back)));
    // What came as a snapshot from a leader is not in the log before it.
    assert_eq!(read_logs(90, &[log_of(&zxids(3..=4)), log_of(&zxids(91..=92))]).expect("whole").0, [91, 92]);
}

/// A header of another file or version is refused.
#[test]
fn log_headers() {
    for (at, is_version) in [(0, false), (3, false), (7, true)] {
        let mut file = log_of(&zxids(3..=4));
        file[at] ^= 1;
        let (_, seen) = read_logs(2, &[file]).expect_err("refused");
        assert_eq!(matches!(seen, LogSeen::Version(3)), is_version, "{seen}");
    }
}

/// The last record of a log, cut or zeroed from any byte on, is left out; one that was whole is never.
#[test]
fn torn_tails() {
    let whole = log_of(&zxids(3..=5));
    let start = log_of(&zxids(3..=4)).len();
    for at in start..whole.len() {
        for zeroes in [0, 200] {
            let mut file = whole[..at].to_vec();
            file.resize(at + zeroes, 0);
            let is_only_mark = at + 1 == whole.len();
            let result = read_logs(2, std::slice::from_ref(&file));
            if is_only_mark && zeroes > 0 {
                // The end mark is a zero: everything of the entry is there.
                assert_eq!(result, Err((0, LogSeen::Frame(36))), "{at}");
                continue;
            }
            let (seen, torn) = result.unwrap_or_else(|error| panic!("{at} {zeroes}: {error:?}"));
            assert_eq!(seen, [3, 4]);
            let shown = file[start..].iter().any(|&byte| byte != 0);
            assert_eq!(torn[0].is_some(), shown, "{at}");
            // The log goes on with the zxid that the torn txn would have had.
            let on = |zxids: Vec<Zxid>| read_logs(2, &[file.clone(), log_of(&zxids)]);
            assert_eq!(on(zxids(5..=6)).expect("goes on").0, [3, 4, 5, 6]);
            assert!(matches!(on(zxids(6..=7)), Err((1, LogSeen::Gap { .. }))));
            let epoch = on(vec![Zxid::new(1, 1)]);
            assert_eq!(epoch.is_err(), shown, "{epoch:?}");
        }
    }
}

/// A flipped bit anywhere in a log's entries is refused, wherever Java would call it the end of the file.
#[test]
fn flipped_bits_in_logs() {
    for padding in [0, 300] {
        let mut file = log_of(&zxids(3..=6));
        file.resize(file.len() + padding, 0);
        let end = log_of(&zxids(3..=6)).len();
        for bit in FILE_HEADER_BYTES * 8..end * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            let result = read_logs(2, std::slice::from_ref(&file));
            assert!(result.is_err(), "bit {bit} of byte {}: {result:?}", bit / 8);
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// An error of the reader of the entries comes back with the place.
#[test]
fn log_visitor_objects() {
    let file = log_of(&zxids(3..=4));
    let refuse = |zxid: Zxid, _: &[u8]| if zxid == Zxid(4) { Err("no") } else { Ok(()) };
    let error = LogReader::new(Zxid(2)).file(&file, Place::Newest, refuse).expect_err("refused");
    assert_eq!(error, LogError::Refused { error: "no", offset: log_of(&zxids(3..=3)).len() });
}

/// Names as ZooKeeper gives them, compressed ones included.
#[test]
fn names() {
    assert_eq!(parse_snapshot_name("snapshot.100000002a"), Some((Zxid(0x10_0000_002a), Packing::Plain)));
    assert_eq!(parse_snapshot_name("snapshot.0.gz"), Some((Zxid(0), Packing::Gzip)));
    assert_eq!(parse_snapshot_name("snapshot.f.snappy"), Some((Zxid(15), Packing::Snappy)));
    for other in
        ["snapshot.", "snapshot.x", "snapshot.1.tmp", "snapshot.+1", "snapshot.1.gz.damaged", "log.1"]
    {
        assert_eq!(parse_snapshot_name(other), None, "{other}");
    }
    assert_eq!(parse_log_name(&log_name(Zxid(0x2a))), Some(Zxid(0x2a)));
    assert_eq!(parse_log_name("log.1.old"), None);
}

/// The checksum is zlib's, also where its sums are folded.
#[test]
fn adler() {
    assert_eq!(Adler::of(b"Wikipedia"), 0x11E6_0398);
    assert_eq!(Adler::of(b""), 1);
    let mut long = Adler::new();
    for _ in 0..100 {
        long.update(&[0xFF; 999]);
    }
    assert_eq!(long.value(), Adler::of(&[0xFF; 99_900]));
}
