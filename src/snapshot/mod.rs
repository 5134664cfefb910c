//! Snapshots: all of a tree and its sessions as they are after one zxid.
//!
//! A snapshot is exact: it holds what every txn up to its zxid made, and nothing of a later one, so
//! that replay starts right after it and has nothing to forgive. (ZooKeeper's own are fuzzy.) The
//! bytes are made here, the files by the shell; the format is in `src/docs/wal.md`.
//!
//! ```text
//! chunk   length, checksum, and entries, each of which lies in one chunk
//!   header    magic, version, zxid, tree digest, wall clock; first entry of the first chunk
//!   session   one a session
//!   acl       one an ACL list, anywhere before the first znode that names its id
//!   node      one a znode, in any order: a parent may follow its children
//!   footer    counts and a checksum over all chunks; last entry of the last chunk
//! ```
//!
//! ZooKeeper's own formats are in [`java`]; `src/server/java_data` reads its files for an import.
//!
//! Invariant: [`decode`] gives back what was encoded, all of it, or refuses.

mod decode;
mod encode;
pub mod java;
mod retention;

pub use decode::{Damage, ReadError, Refused, Seen, Source, Visitor, decode, decode_from};
pub use encode::SnapshotEncoder;
pub use retention::{Purge, RETAIN_MIN, purge};

use crate::proto::Zxid;
use hashbrown::HashSet;

/// Version of the format; another one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Payload after which a chunk is due to be taken: large enough for a disk to be busy, small enough
/// for the tree's shard to go on between two. One znode may make a chunk as much longer as it is.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Length of the payload (4), crc32 (4).
const CHUNK_HEADER_BYTES: usize = 8;

const MAGIC: [u8; 8] = *b"ZKFASTSN";
const END_MAGIC: [u8; 8] = *b"NSTSAFKZ";

/// What an entry is: its first byte.
mod tag {
    pub const HEADER: u8 = 1;
    pub const SESSION: u8 = 2;
    pub const ACL: u8 = 3;
    pub const NODE: u8 = 4;
    pub const FOOTER: u8 = 5;
}

/// A snapshot's first entry: what it is as of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last txn that the snapshot holds.
    pub zxid: Zxid,
    /// The tree's digest after that txn; the reader compares it with that of the tree it built.
    pub digest: u64,
    /// When the snapshot was begun, in milliseconds since 1970.
    pub wall_ms: i64,
}

/// The ACL id of a znode that grants everything to everybody, or has no list. It is never defined.
pub const ACL_OPEN: u32 = 0;

/// One znode, everything that is not derived from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// The full path, `/` for the root.
    pub path: &'a [u8],
    /// Its data; `None` is null, which is not empty.
    pub data: Option<&'a [u8]>,
    /// Id of its ACL list in this snapshot, [`ACL_OPEN`] if there is none.
    pub acl: u32,
    /// Txn that created it.
    pub czxid: Zxid,
    /// Txn that last set its data.
    pub mzxid: Zxid,
    /// Txn that last created or deleted a child.
    pub pzxid: Zxid,
    /// When it was created, in milliseconds since 1970.
    pub ctime_ms: i64,
    /// When its data was last set.
    pub mtime_ms: i64,
    /// Times that its data was set.
    pub version: i32,
    /// Children ever created in it: the tree's own count, not the one in a `Stat`.
    pub cversion: i32,
    /// Times that its ACL was set.
    pub aversion: i32,
    /// Owner as stored: a session, or the mark of a container or TTL znode; 0 for none.
    pub owner: i64,
}

/// How many entries a snapshot has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions.
    pub sessions: u64,
    /// ACL lists.
    pub acls: u64,
    /// Znodes.
    pub nodes: u64,
}

/// The ACL ids that were defined; writer and reader hold every znode against them.
type AclIds = HashSet<u32, foldhash::fast::FixedState>;

/// A chunk's checksum, started from its index, so that chunks do not change places.
fn checksum(index: u32, length: [u8; 4], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(index);
    crc.update(&length);
    crc.update(payload);
    crc.finalize()
}

/// Name of the file that holds the snapshot at `zxid`, as ZooKeeper names its own.
pub fn file_name(zxid: Zxid) -> String {
    format!("snapshot.{:x}", zxid.0)
}

/// The zxid in a name that [`file_name`] gives; `None` for every other name.
pub fn parse_file_name(name: &str) -> Option<Zxid> {
    let zxid = Zxid(u64::from_str_radix(name.strip_prefix("snapshot.")?, 16).ok()?);
    (file_name(zxid) == name).then_some(zxid)
}

#[cfg(test)]
mod tests {
    use super::decode::Seen;
    use super::*;
    use crate::proto::{Acl, Id, Perms, SessionId};

    /// What the tests put in and get back.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Image {
        header: Option<Header>,
        sessions: Vec<(SessionId, i32)>,
        acls: Vec<(u32, Vec<Acl>)>,
        nodes: Vec<OwnedNode>,
    }

    #[derive(Clone, Debug, PartialEq)]
    struct OwnedNode {
        path: Vec<u8>,
        data: Option<Vec<u8>>,
        /// Without path and data.
        rest: Node<'static>,
    }

    impl Visitor for Image {
        fn header(&mut self, header: &Header) -> Result<(), Refused> {
            assert_eq!(self.header.replace(*header), None);
            Ok(())
        }
        fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), Refused> {
            self.sessions.push((id, timeout_ms));
            Ok(())
        }
        fn acl(&mut self, id: u32, acls: Vec<Acl>) -> Result<(), Refused> {
            self.acls.push((id, acls));
            Ok(())
        }
        fn node(&mut self, node: Node<'_>) -> Result<(), Refused> {
            let rest = Node { path: b"", data: None, ..node };
            // A visitor's own complaint.
            if node.path == b"/refused" {
                return Err(Refused::NodeTwice("/refused".into()));
            }
            self.nodes.push(OwnedNode { path: node.path.into(), data: node.data.map(Into::into), rest });
            Ok(())
        }
    }

    fn node(path: &str, data: Option<Vec<u8>>, acl: u32) -> OwnedNode {
        let n = path.len() as i64;
        let rest = Node {
            path: b"",
            data: None,
            acl,
            czxid: Zxid(1 << 60 | n as u64),
            mzxid: Zxid(2 << 40 | n as u64),
            pzxid: Zxid(3 + n as u64),
            ctime_ms: 4 - n,
            mtime_ms: i64::MAX - n,
            version: -1,
            cversion: i32::MAX,
            aversion: 7,
            owner: i64::MIN + n,
        };
        OwnedNode { path: path.into(), data, rest }
    }

    /// Children before parents, null and empty data, ACLs met late, with holes in their ids.
    fn image() -> Image {
        let acl = |n| vec![Acl { perms: Perms(n), id: Id::new("digest", "user:hash=") }, Acl::open()];
        Image {
            header: Some(Header { zxid: Zxid(0x1_0000_002a), digest: 0xDEAD_BEEF_0123, wall_ms: -5 }),
            sessions: vec![(SessionId(0x1234_5678_9ABC), 40_000), (SessionId(i64::MIN), -1)],
            acls: vec![(7, acl(1)), (u32::MAX, vec![]), (2, acl(31))],
            nodes: vec![
                node("/a/b", None, 7),
                node("/a", Some(vec![]), ACL_OPEN),
                node("/é", Some(vec![1, 2, 3]), 2),
                node("/", Some(vec![9; 1000]), u32::MAX),
            ],
        }
    }

    /// Encodes with the chunks as the encoder wants them, or one an entry.
    fn encode(image: &Image, is_chunk_per_entry: bool) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = SnapshotEncoder::new(&image.header.expect("has one"));
        let mut step = |encoder: &mut SnapshotEncoder| {
            if is_chunk_per_entry || encoder.is_chunk_due() {
                file.extend(encoder.take_chunk());
            }
        };
        for &(id, timeout_ms) in &image.sessions {
            encoder.session(id, timeout_ms);
            step(&mut encoder);
        }
        let mut acls = image.acls.iter();
        for node in &image.nodes {
            while !encoder.has_acl(node.rest.acl) {
                let (id, acl) = acls.next().expect("is defined");
                encoder.acl(*id, acl);
                step(&mut encoder);
            }
            encoder.node(&Node { path: &node.path, data: node.data.as_deref(), ..node.rest });
            step(&mut encoder);
        }
        let (last, counts) = encoder.finish();
        assert_eq!(counts.nodes, image.nodes.len() as u64);
        file.extend(last);
        file
    }

    fn read(file: &[u8]) -> Result<Image, Damage> {
        let mut image = Image::default();
        let (header, counts) = decode(file, &mut image)?;
        assert_eq!(Some(header), image.header);
        assert_eq!((counts.sessions, counts.nodes), (image.sessions.len() as u64, image.nodes.len() as u64));
        Ok(image)
    }

    /// Everything comes back, in order, however it is cut into chunks; so does an empty tree.
    #[test]
    fn round_trip() {
        let image = image();
        for is_chunk_per_entry in [false, true] {
            assert_eq!(read(&encode(&image, is_chunk_per_entry)), Ok(image.clone()));
        }
        let empty = Image { header: image.header, ..Image::default() };
        assert_eq!(read(&encode(&empty, false)), Ok(empty));
    }

    /// Many znodes stream in chunks of the stated size; one large one makes a chunk of its own size.
    #[test]
    fn streams_in_chunks() {
        let mut encoder = SnapshotEncoder::new(&image().header.expect("has one"));
        let mut chunks = Vec::new();
        for i in 0..2000 {
            let data = vec![3; if i == 1000 { 3 << 20 } else { 300 }];
            let path = format!("/node-{i}");
            encoder.node(&Node { path: path.as_bytes(), data: Some(&data), ..node("", None, 0).rest });
            if encoder.is_chunk_due() {
                chunks.push(encoder.take_chunk());
            }
        }
        chunks.push(encoder.finish().0);
        let long: Vec<_> = chunks.iter().filter(|chunk| chunk.len() > CHUNK_BYTES + 500).collect();
        assert!(chunks.len() > 3 && long.len() == 1, "{} chunks, {} long", chunks.len(), long.len());
        let image = read(&chunks.concat()).expect("whole");
        assert_eq!((image.nodes.len(), image.nodes[1000].data.as_ref().map(Vec::len)), (2000, Some(3 << 20)));
    }

    /// A flipped bit in any byte is refused, with the place of the chunk it is in, and is not called a
    /// cut.
    #[test]
    fn every_byte_flipped() {
        for is_chunk_per_entry in [false, true] {
            let mut file = encode(&image(), is_chunk_per_entry);
            for bit in 0..file.len() * 8 {
                file[bit / 8] ^= 1 << (bit % 8);
                let damage = read(&file).expect_err("a flipped bit is seen");
                assert!(damage.offset <= bit as u64 / 8, "{damage}");
                assert!(!matches!(damage.seen, Seen::Truncated { .. }), "{bit}: {damage}");
                file[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    /// A file cut at any length is refused as cut off; so is one that has more than its end.
    #[test]
    fn every_length() {
        let file = encode(&image(), true);
        for length in 0..file.len() {
            let damage = read(&file[..length]).expect_err("cut");
            assert!(matches!(damage.seen, Seen::Truncated { .. }), "{length}: {damage}");
            assert!(damage.offset <= length as u64);
        }
        let longer = [&file[..], &[0]].concat();
        assert_eq!(read(&longer).expect_err("longer").seen, Seen::Surplus { bytes: 1 });
    }

    /// Chunks left out, doubled, exchanged, or from another snapshot of the same form are refused.
    #[test]
    fn chunks_mixed_up() {
        let chunks_of = |image: &Image| {
            let file = encode(image, true);
            let mut chunks = Vec::new();
            let mut rest = &file[..];
            while let Some(length) = rest.get(..4) {
                let length = u32::from_be_bytes(length.try_into().expect("four")) as usize;
                let (chunk, following) = rest.split_at(length + CHUNK_HEADER_BYTES);
                chunks.push(chunk.to_vec());
                rest = following;
            }
            chunks
        };
        let chunks = chunks_of(&image());
        assert!(read(&chunks.concat()).is_ok() && chunks.len() == 10, "{}", chunks.len());
        for i in 0..chunks.len() {
            let mut changed = chunks.clone();
            changed.remove(i);
            assert!(read(&changed.concat()).is_err(), "{i} left out");
            changed = chunks.clone();
            changed.insert(i, chunks[i].clone());
            assert!(read(&changed.concat()).is_err(), "{i} twice");
            changed = chunks.clone();
            changed.swap(i, (i + 1) % chunks.len());
            let damage = read(&changed.concat()).expect_err("exchanged");
            assert!(i == 9 || matches!(damage.seen, Seen::Magic | Seen::Checksum { .. }), "{i} {damage}");
        }
        let mut other = image();
        other.nodes[1].rest.version += 1;
        for (i, chunk) in chunks_of(&other).into_iter().enumerate() {
            let mut changed = chunks.clone();
            let is_same = changed[i] == chunk;
            changed[i] = chunk;
            assert_eq!(read(&changed.concat()).is_ok(), is_same, "{i} of another snapshot");
        }
    }

    /// An error of the reader of the entries is damage, and comes back with the place.
    #[test]
    fn visitor_objects() {
        let mut image = image();
        image.nodes.push(node("/refused", None, 0));
        let damage = read(&encode(&image, false)).expect_err("refused");
        assert_eq!(damage.seen, Seen::Refused(Refused::NodeTwice("/refused".into())));
        assert!(damage.to_string().contains("/refused is there twice"), "{damage}");
    }

    /// A znode whose ACL is not there would be open to everybody: the writer never makes one.
    #[test]
    #[should_panic(expected = "before acl 5")]
    fn acl_comes_first() {
        let mut encoder = SnapshotEncoder::new(&image().header.expect("has one"));
        encoder.node(&node("", None, 5).rest);
    }

    /// The same from the reader's side, under valid checksums.
    #[test]
    fn acl_is_missing() {
        let mut encoder = SnapshotEncoder::new(&image().header.expect("has one"));
        let header = encoder.take_chunk();
        encoder.node(&Node { path: b"/a", ..node("", None, ACL_OPEN).rest });
        let mut chunk = encoder.take_chunk();
        let acl_at = CHUNK_HEADER_BYTES + 1 + (4 + 2) + 4;
        chunk[acl_at + 3] = 5;
        let (length, payload) = (chunk[..4].try_into().expect("four"), &chunk[CHUNK_HEADER_BYTES..]);
        let crc = checksum(1, length, payload);
        chunk[4..8].copy_from_slice(&crc.to_be_bytes());
        let damage = read(&[&header[..], &chunk].concat()).expect_err("acl 5 is missing");
        assert_eq!(damage.seen, Seen::Malformed("a znode's acl is not defined"));
        assert_eq!(damage.offset, (header.len() + CHUNK_HEADER_BYTES) as u64);
    }

    /// Only the names that zkfast itself gives are snapshots: not those that are still being written.
    #[test]
    fn names() {
        for zxid in [0, 0x1_0000_002a, u64::MAX] {
            assert_eq!(parse_file_name(&file_name(Zxid(zxid))), Some(Zxid(zxid)));
        }
        assert_eq!(file_name(Zxid(0x1_0000_002a)), "snapshot.10000002a");
        for other in
            ["snapshot.", "snapshot.0a", "snapshot.A", "snapshot.a.tmp", "snapshot.+a", "log.0000000a"]
        {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
