//! The reading side: a snapshot in pieces of any length.

use super::{
    ACL_ENTRIES_MAX, ACL_ID_OPEN, ACL_TEXT_BYTES_MAX, Adler, DATA_BYTES_MAX, FILE_HEADER_BYTES, Form,
    PATH_BYTES_MAX, SIGNATURE, SNAPSHOT_MAGIC, VERSION,
};
use crate::proto::{Acl, Id, Perms, SessionId, Zxid, path};
use crate::snapshot::{ACL_OPEN, Counts, Node, Refused, Visitor};
use hashbrown::HashMap;

/// A snapshot that must not be used; an older one, with the log from there on, may serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {seen}")]
pub struct Damage {
    /// Where, in the uncompressed bytes.
    pub offset: u64,
    /// What was found there.
    pub seen: Seen,
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Seen {
    /// It is over before it is whole.
    #[error("the snapshot ends here, in the middle: it was cut off")]
    Truncated,
    /// Not a snapshot of ZooKeeper.
    #[error("this is no snapshot of ZooKeeper: it begins with {0:#010x}")]
    Magic(i32),
    /// Another version's.
    #[error("the file has format version {0}, only version {VERSION} is known")]
    Version(i32),
    /// A length below 0 where none may be, or a null.
    #[error("{what} has length {length}")]
    Length {
        /// Of what.
        what: &'static str,
        /// As read.
        length: i32,
    },
    /// A length over a limit.
    #[error("{what} has length {length}, at most {limit} is taken")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// As read.
        length: i32,
        /// The limit.
        limit: usize,
    },
    /// A path that names no znode.
    #[error("{0:?} is no path of a znode")]
    Path(String),
    /// An ACL id twice.
    #[error("ACL {0} is there twice")]
    AclTwice(i64),
    /// A seal does not fit what is before it.
    #[error("the checksum is {stored:#x}, that of the bytes before is {computed:#x}: some of them changed")]
    Checksum {
        /// In the file.
        stored: i64,
        /// Of the bytes.
        computed: i64,
    },
    /// Something else where a seal or the signature ends.
    #[error("{0} is not where it should be")]
    Mark(&'static str),
    /// What follows the first seal is of no known form.
    #[error("{bytes} bytes follow the tree: neither a digest nor a last zxid")]
    Trailer {
        /// The bytes after the tree.
        bytes: usize,
    },
    /// The visitor refuses an entry.
    #[error("{0}")]
    Refused(#[from] Refused),
}

/// How far the decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for more bytes; of a file it takes all there are.
    More,
    /// A stream is whole. The rest of what was fed is not the snapshot's.
    Whole {
        /// Bytes of the last piece that are.
        used: usize,
    },
}

/// What follows the tree, and what is known of all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The tree's digest once the txn of that zxid is replayed; `None` where there is none of our version.
    pub digest: Option<(Zxid, u64)>,
    /// Newest txn of which the snapshot may hold something, where the file holds it.
    pub last_zxid: Option<Zxid>,
    /// Newest txn that a znode shows, but for the one that shows the ensemble's configuration.
    pub newest: Zxid,
    /// What there was.
    pub counts: Counts,
}

impl Tail {
    /// Newest txn of which the snapshot is known to hold something: replay must come as far.
    pub fn reach(&self) -> Zxid {
        let digest = self.digest.map_or(Zxid::ZERO, |(zxid, _)| zxid);
        self.newest.max(digest).max(self.last_zxid.unwrap_or_default())
    }
}

/// Decodes one snapshot. Sessions, ACL lists and znodes go to a [`Visitor`] (its `header` is not called) as
/// soon as they are there; what it got is only good once the snapshot is whole.
///
/// A znode may name an ACL that was never given: the list came while a fuzzy snapshot was taken. The visitor
/// sees an id it does not know, and replay brings the list.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    part: Part,
    /// An item that began and is not all there.
    held: Vec<u8>,
    /// Bytes that `held` needs before it is worth another look.
    need: usize,
    /// Of the next item.
    offset: u64,
    adler: Adler,
    /// Ours for theirs, which are longs.
    acls: HashMap<i64, u32, foldhash::fast::FixedState>,
    tail: Tail,
}

#[derive(Debug)]
enum Part {
    Header,
    SessionCount,
    Sessions { left: u32 },
    AclCount,
    Acls { left: u32 },
    AclEntries { id: u32, left: u32, list: Vec<Acl>, lists_left: u32 },
    Nodes,
    Signature,
    Trailer,
    Whole,
}

/// Most bytes after the first seal: a digest as text, a last zxid, and their seals.
const TRAILER_BYTES_MAX: usize = 128;
/// Checksum (8) and the string "/".
const SEAL_BYTES: usize = 13;
/// A zxid and its seal.
const LAST_ZXID_BYTES: usize = 8 + SEAL_BYTES;

/// Why an item cannot be read.
enum Stop {
    /// It has this many bytes at least.
    Need(usize),
    /// At this byte of it.
    Bad(usize, Seen),
}

/// Reads an item that may not be all there.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let end = self.at + length;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Need(end))?;
        self.at = end;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, Stop> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn long(&mut self) -> Result<i64, Stop> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    fn zxid(&mut self) -> Result<Zxid, Stop> {
        Ok(Zxid::from_wire(self.long()?))
    }

    /// A number of items.
    fn count(&mut self, what: &'static str, limit: usize) -> Result<u32, Stop> {
        let at = self.at;
        let length = self.int()?;
        match u32::try_from(length) {
            Ok(count) if count as usize <= limit => Ok(count),
            Ok(_) => Err(Stop::Bad(at, Seen::TooLong { what, length, limit })),
            Err(_) => Err(Stop::Bad(at, Seen::Length { what, length })),
        }
    }

    fn buffer(&mut self, what: &'static str, limit: usize) -> Result<Option<&'a [u8]>, Stop> {
        let at = self.at;
        if self.int()? == -1 {
            return Ok(None);
        }
        self.at = at;
        let length = self.count(what, limit)?;
        self.take(length as usize).map(Some)
    }

    fn string(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], Stop> {
        let at = self.at;
        self.buffer(what, limit)?.ok_or(Stop::Bad(at, Seen::Length { what, length: -1 }))
    }

    fn text(&mut self, what: &'static str, limit: usize) -> Result<Box<str>, Stop> {
        Ok(String::from_utf8_lossy(self.string(what, limit)?).into())
    }
}

impl Decoder {
    /// A decoder of one snapshot.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            part: if form == Form::File { Part::Header } else { Part::SessionCount },
            held: Vec::new(),
            need: 0,
            offset: 0,
            adler: Adler::new(),
            acls: HashMap::default(),
            tail: Tail::default(),
        }
    }

    /// How many entries there were so far.
    pub fn counts(&self) -> Counts {
        self.tail.counts
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The first damage; the decoder is of no use afterwards.
    pub fn feed(&mut self, piece: &[u8], visitor: &mut impl Visitor) -> Result<Progress, Damage> {
        let mut rest = piece;
        loop {
            match self.part {
                Part::Whole => return Ok(Progress::Whole { used: piece.len() - rest.len() }),
                Part::Trailer => {
                    let bytes = self.held.len() + rest.len();
                    if bytes > TRAILER_BYTES_MAX {
                        return Err(self.damage(0, Seen::Trailer { bytes }));
                    }
                    self.held.extend_from_slice(rest);
                    return Ok(Progress::More);
                }
                _ => {}
            }
            if self.held.is_empty() {
                match self.item(rest, visitor) {
                    Ok(bytes) => rest = &rest[bytes..],
                    Err(Stop::Need(need)) => {
                        self.held.extend_from_slice(rest);
                        self.need = need;
                        return Ok(Progress::More);
                    }
                    Err(Stop::Bad(at, seen)) => return Err(self.damage(at, seen)),
                }
                continue;
            }
            let taken = (self.need - self.held.len()).min(rest.len());
            self.held.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if self.held.len() < self.need {
                return Ok(Progress::More);
            }
            let held = std::mem::take(&mut self.held);
            match self.item(&held, visitor) {
                Ok(bytes) => assert_eq!(bytes, held.len(), "no item is shorter than it needs"),
                Err(Stop::Need(need)) => {
                    self.held = held;
                    self.need = need;
                }
                Err(Stop::Bad(at, seen)) => return Err(self.damage(at, seen)),
            }
        }
    }

    /// There is no more: returns what follows the tree.
    ///
    /// # Errors
    /// The snapshot is not whole, or its seals do not fit.
    pub fn finish(mut self) -> Result<Tail, Damage> {
        match self.part {
            Part::Whole => Ok(self.tail),
            Part::Trailer => {
                let held = std::mem::take(&mut self.held);
                let mut cursor = Cursor { bytes: &held, at: 0 };
                match self.trailer(&mut cursor) {
                    Ok(()) => Ok(self.tail),
                    Err(Stop::Need(_)) => Err(self.damage(held.len(), Seen::Truncated)),
                    Err(Stop::Bad(at, seen)) => Err(self.damage(at, seen)),
                }
            }
            _ => Err(self.damage(self.held.len(), Seen::Truncated)),
        }
    }

    fn damage(&self, at: usize, seen: Seen) -> Damage {
        Damage { offset: self.offset + at as u64, seen }
    }

    /// Reads one item at the start of `bytes`: its length.
    fn item(&mut self, bytes: &[u8], visitor: &mut impl Visitor) -> Result<usize, Stop> {
        let mut cursor = Cursor { bytes, at: 0 };
        let next = self.read(&mut cursor, visitor)?;
        if let Some(next) = next {
            self.part = next;
        }
        if self.form == Form::File {
            self.adler.update(&bytes[..cursor.at]);
        }
        self.offset += cursor.at as u64;
        Ok(cursor.at)
    }

    /// Reads one item; the part that follows, if it is another one. Changes nothing unless the item is whole.
    fn read(&mut self, cursor: &mut Cursor<'_>, visitor: &mut impl Visitor) -> Result<Option<Part>, Stop> {
        match &mut self.part {
            Part::Header => header(cursor).map(Some),
            Part::SessionCount => {
                let left = cursor.count("the number of sessions", usize::MAX)?;
                Ok(Some(if left == 0 { Part::AclCount } else { Part::Sessions { left } }))
            }
            Part::Sessions { left } => {
                let (id, timeout_ms) = (SessionId(cursor.long()?), cursor.int()?);
                visitor.session(id, timeout_ms).map_err(refused)?;
                self.tail.counts.sessions += 1;
                *left -= 1;
                Ok((*left == 0).then_some(Part::AclCount))
            }
            Part::AclCount => {
                let left = cursor.count("the number of ACLs", usize::MAX)?;
                Ok(Some(if left == 0 { Part::Nodes } else { Part::Acls { left } }))
            }
            Part::Acls { left } => {
                let lists_left = *left - 1;
                self.acl(cursor, lists_left, visitor).map(Some)
            }
            Part::AclEntries { id, left, list, lists_left } => {
                list.push(acl_entry(cursor)?);
                *left -= 1;
                if *left > 0 {
                    return Ok(None);
                }
                visitor.acl(*id, std::mem::take(list)).map_err(refused)?;
                self.tail.counts.acls += 1;
                Ok(Some(after_acl(*lists_left)))
            }
            Part::Nodes => self.node(cursor, visitor),
            Part::Signature => {
                let signature = cursor.string("the signature", SIGNATURE.len())?;
                if signature != SIGNATURE {
                    return Err(Stop::Bad(0, Seen::Mark("the signature")));
                }
                Ok(Some(Part::Whole))
            }
            Part::Trailer | Part::Whole => unreachable!("they have no items"),
        }
    }

    /// Reads the id of an ACL and the number of its entries. `lists_left` more ACLs follow it.
    fn acl(
        &mut self,
        cursor: &mut Cursor<'_>,
        lists_left: u32,
        visitor: &mut impl Visitor,
    ) -> Result<Part, Stop> {
        let theirs = cursor.long()?;
        let entries = cursor.count("an ACL", ACL_ENTRIES_MAX)?;
        if theirs == ACL_ID_OPEN || self.acls.contains_key(&theirs) {
            return Err(Stop::Bad(0, Seen::AclTwice(theirs)));
        }
        let id = number(&mut self.acls, theirs);
        if entries == 0 {
            visitor.acl(id, Vec::new()).map_err(refused)?;
            self.tail.counts.acls += 1;
            return Ok(after_acl(lists_left));
        }
        Ok(Part::AclEntries { id, left: entries, list: Vec::new(), lists_left })
    }

    /// Reads a znode, or the path "/" that ends the tree.
    fn node(&mut self, cursor: &mut Cursor<'_>, visitor: &mut impl Visitor) -> Result<Option<Part>, Stop> {
        let path = cursor.string("a path", PATH_BYTES_MAX)?;
        if path == b"/" {
            let next = if self.form == Form::File { Part::Trailer } else { Part::Signature };
            return Ok(Some(next));
        }
        let path = if path.is_empty() { b"/" } else { path };
        if !path::is_valid(path) {
            return Err(Stop::Bad(0, Seen::Path(String::from_utf8_lossy(path).into())));
        }
        let data = cursor.buffer("a znode's data", DATA_BYTES_MAX)?;
        let theirs = cursor.long()?;
        let (czxid, mzxid) = (cursor.zxid()?, cursor.zxid()?);
        let (ctime_ms, mtime_ms) = (cursor.long()?, cursor.long()?);
        let (version, cversion, aversion) = (cursor.int()?, cursor.int()?, cursor.int()?);
        let (owner, pzxid) = (cursor.long()?, cursor.zxid()?);
        // Only now is it known to be whole.
        let acl = if theirs == ACL_ID_OPEN { ACL_OPEN } else { number(&mut self.acls, theirs) };
        let node = Node {
            path,
            data,
            acl,
            czxid,
            mzxid,
            pzxid,
            ctime_ms,
            mtime_ms,
            version,
            cversion,
            aversion,
            owner,
        };
        visitor.node(node).map_err(refused)?;
        self.tail.counts.nodes += 1;
        // The ensemble's configuration shows its version as a zxid, which may be above all txns.
        if path != b"/zookeeper/config" {
            self.tail.newest = self.tail.newest.max(czxid).max(mzxid).max(pzxid);
        }
        Ok(None)
    }

    /// Reads what follows a file's tree. Which blocks are there shows in what is left.
    fn trailer(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        self.seal(cursor, 0)?;
        let left = |cursor: &Cursor<'_>| cursor.bytes.len() - cursor.at;
        if left(cursor) != 0 && left(cursor) != LAST_ZXID_BYTES {
            let start = cursor.at;
            let (zxid, version) = (cursor.zxid()?, cursor.int()?);
            let digest = if version < crate::tree::DIGEST_VERSION {
                // Text in hexadecimal of a digest that no version computes any more.
                cursor.buffer("a digest", 16)?;
                None
            } else {
                let digest = cursor.long()? as u64;
                (version == crate::tree::DIGEST_VERSION && zxid != Zxid::ZERO).then_some((zxid, digest))
            };
            self.seal(cursor, start)?;
            self.tail.digest = digest;
        }
        if left(cursor) == LAST_ZXID_BYTES {
            let start = cursor.at;
            let zxid = cursor.zxid()?;
            self.seal(cursor, start)?;
            self.tail.last_zxid = Some(zxid);
        }
        match left(cursor) {
            0 => Ok(()),
            bytes => Err(Stop::Bad(cursor.at, Seen::Trailer { bytes })),
        }
    }

    /// Reads a seal over everything before it, of which the bytes from `from` on are not counted yet.
    fn seal(&mut self, cursor: &mut Cursor<'_>, from: usize) -> Result<(), Stop> {
        let at = cursor.at;
        self.adler.update(&cursor.bytes[from..at]);
        let computed = self.adler.value();
        let stored = cursor.long()?;
        if stored != computed {
            return Err(Stop::Bad(at, Seen::Checksum { stored, computed }));
        }
        if cursor.take(5)? != [0, 0, 0, 1, b'/'] {
            return Err(Stop::Bad(at + 8, Seen::Mark("a seal's end")));
        }
        self.adler.update(&cursor.bytes[at..cursor.at]);
        Ok(())
    }
}

/// The visitor refuses the item.
fn refused(why: Refused) -> Stop {
    Stop::Bad(0, Seen::Refused(why))
}

/// Reads what a file begins with; the part that follows.
fn header(cursor: &mut Cursor<'_>) -> Result<Part, Stop> {
    let (magic, version, _dbid) = (cursor.int()?, cursor.int()?, cursor.long()?);
    debug_assert_eq!(cursor.at, FILE_HEADER_BYTES);
    if magic != SNAPSHOT_MAGIC {
        return Err(Stop::Bad(0, Seen::Magic(magic)));
    }
    if version != VERSION {
        return Err(Stop::Bad(4, Seen::Version(version)));
    }
    Ok(Part::SessionCount)
}

/// Reads one entry of an ACL.
fn acl_entry(cursor: &mut Cursor<'_>) -> Result<Acl, Stop> {
    let perms = Perms(cursor.int()?);
    let scheme = cursor.text("an ACL's scheme", ACL_TEXT_BYTES_MAX)?;
    let id = cursor.text("an ACL's id", ACL_TEXT_BYTES_MAX)?;
    Ok(Acl { perms, id: Id { scheme, id } })
}

fn after_acl(lists_left: u32) -> Part {
    if lists_left == 0 { Part::Nodes } else { Part::Acls { left: lists_left } }
}

/// Our id for theirs; a new one if it was not seen yet.
fn number(acls: &mut HashMap<i64, u32, foldhash::fast::FixedState>, theirs: i64) -> u32 {
    let next = acls.len() as u32 + 1;
    *acls.entry(theirs).or_insert(next)
}

const _: () = assert!(ACL_OPEN == 0, "our ids begin at 1");
