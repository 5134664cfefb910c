//! The reading side: a whole snapshot, or the reason why not.

use super::{
    ACL_OPEN, AclIds, CHUNK_HEADER_BYTES, Counts, END_MAGIC, FORMAT_VERSION, Header, MAGIC, Node, checksum,
    tag,
};
use crate::proto::jute::{Reader, Short};
use crate::proto::{Acl, Id, Perms, SessionId, Zxid, acl};
use std::io;

/// A snapshot that must not be used. The one before it, with the log from there on, may serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {seen}")]
pub struct Damage {
    /// Where in the file: the start of the chunk, or of the entry in it.
    pub offset: u64,
    /// What was found there.
    pub seen: Seen,
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Seen {
    /// The file ends before the snapshot does: it was cut, or copied before it was complete.
    #[error("the file ends here, {have} of {need} bytes into the next part: it was cut off")]
    Truncated {
        /// Bytes that are left.
        have: usize,
        /// Bytes that the part has at least.
        need: usize,
    },
    /// Bytes changed after they were written.
    #[error("checksum of the chunk of {bytes} bytes is wrong: bytes of it changed after they were written")]
    Checksum {
        /// Of the chunk's payload.
        bytes: usize,
    },
    /// The file goes on after the footer.
    #[error("{bytes} bytes lie after the snapshot's end")]
    Surplus {
        /// The bytes after the footer.
        bytes: usize,
    },
    /// Not a snapshot of zkfast.
    #[error("this is no snapshot of zkfast")]
    Magic,
    /// Another version's snapshot.
    #[error(
        "the snapshot has format version {0}, this zkfast reads version {FORMAT_VERSION}: start the one that \
         wrote it"
    )]
    Version(u32),
    /// A valid checksum over what no version of the writer writes.
    #[error("an entry cannot be read: {0}")]
    Malformed(&'static str),
    /// An entry ends early.
    #[error("an entry cannot be read: {0}")]
    Short(#[from] Short),
    /// The footer counts other entries or chunks than there are.
    #[error("the footer does not fit what is before it: chunks or entries are missing")]
    Footer,
    /// The visitor refuses an entry.
    #[error("{0}")]
    Refused(#[from] Refused),
}

/// Why a [`Visitor`] refuses an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A session's id came before.
    #[error("session {0:#x} is there twice")]
    SessionTwice(SessionId),
    /// A znode's path came before.
    #[error("{0} is there twice")]
    NodeTwice(String),
}

/// Why a snapshot that is read piece by piece cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system gives no bytes: they may be sound.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are no snapshot that this version reads.
    #[error(transparent)]
    Damage(#[from] Damage),
}

/// A file that holds a snapshot.
pub trait Source {
    /// Length of the file.
    fn bytes(&self) -> u64;

    /// Fills `out` from `offset` on. What is asked for lies within the file.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Source for &[u8] {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self[offset as usize..][..out.len()]);
        Ok(())
    }
}

/// Takes the entries of a snapshot in the order of the file: the header first, each ACL list before
/// the first znode that names it, znodes in any order.
///
/// What it is given is only good once [`decode`] has returned `Ok`. That paths are there once and
/// have parents, that sessions are there once, and that the tree's digest is the header's is for the
/// visitor to see; an `Err` ends the decoding.
#[allow(missing_docs)] // one method an entry, and the entries are in the module's table
pub trait Visitor {
    fn header(&mut self, header: &Header) -> Result<(), Refused>;
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), Refused>;
    fn acl(&mut self, id: u32, acls: Vec<Acl>) -> Result<(), Refused>;
    fn node(&mut self, node: Node<'_>) -> Result<(), Refused>;
}

/// Reads the snapshot in `bytes`, a whole file.
///
/// # Errors
/// See [`Damage`].
pub fn decode(mut bytes: &[u8], visitor: &mut impl Visitor) -> Result<(Header, Counts), Damage> {
    decode_from(&mut bytes, visitor).map_err(|error| match error {
        ReadError::Damage(damage) => damage,
        ReadError::Io(error) => unreachable!("memory can be read: {error}"),
    })
}

/// Reads a snapshot chunk by chunk, with the memory of one of them.
///
/// # Errors
/// See [`ReadError`].
pub fn decode_from(
    source: &mut impl Source,
    visitor: &mut impl Visitor,
) -> Result<(Header, Counts), ReadError> {
    let file_bytes = source.bytes();
    let mut payload = Vec::new();
    let mut state = State {
        visitor,
        header: None,
        counts: Counts::default(),
        acls: AclIds::default(),
        total: crc32fast::Hasher::new(),
    };
    let mut offset = 0u64;
    for index in 0.. {
        let crc = match chunk(source, offset, index, &mut payload)? {
            Ok(crc) => crc,
            Err(seen) => {
                let seen = match seen {
                    // A file that has its end was not cut: then it is the length that changed.
                    Seen::Truncated { need, .. } if has_end(source)? => Seen::Checksum { bytes: need },
                    seen => seen,
                };
                return Err(Damage { offset, seen }.into());
            }
        };
        offset += (CHUNK_HEADER_BYTES + payload.len()) as u64;
        let mut reader = Reader::new(&payload);
        while !reader.rest().is_empty() {
            let at = offset - reader.rest().len() as u64;
            let damage = |seen| Damage { offset: at, seen };
            if !state.entry(&mut reader, index).map_err(damage)? {
                continue;
            }
            let surplus = (file_bytes - offset) as usize + reader.rest().len();
            return match (surplus, state.header) {
                (0, Some(header)) => Ok((header, state.counts)),
                (0, None) => Err(damage(Seen::Magic).into()),
                (bytes, _) => Err(Damage { offset, seen: Seen::Surplus { bytes } }.into()),
            };
        }
        state.total.update(&crc.to_be_bytes());
    }
    unreachable!("2^32 chunks of one byte at least in one file, each of them checked")
}

/// Whether the file ends as every snapshot does.
fn has_end(source: &mut impl Source) -> io::Result<bool> {
    let mut end = [0; END_MAGIC.len()];
    let Some(at) = source.bytes().checked_sub(end.len() as u64) else { return Ok(false) };
    source.read_at(at, &mut end)?;
    Ok(end == END_MAGIC)
}

/// Reads the payload of the chunk at `offset`; gives its checksum.
fn chunk(
    source: &mut impl Source,
    offset: u64,
    index: u32,
    payload: &mut Vec<u8>,
) -> io::Result<Result<u32, Seen>> {
    let have = usize::try_from(source.bytes() - offset).unwrap_or(usize::MAX);
    let Some(rest) = have.checked_sub(CHUNK_HEADER_BYTES) else {
        return Ok(Err(Seen::Truncated { have, need: CHUNK_HEADER_BYTES }));
    };
    let mut header = [0; CHUNK_HEADER_BYTES];
    source.read_at(offset, &mut header)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let (length, crc) = ([l0, l1, l2, l3], u32::from_be_bytes([c0, c1, c2, c3]));
    let need = u32::from_be_bytes(length) as usize;
    let start = offset + CHUNK_HEADER_BYTES as u64;
    // A file of something else has no length in its first bytes.
    if index == 0 && rest > MAGIC.len() {
        let mut magic = MAGIC;
        source.read_at(start + 1, &mut magic)?;
        if magic != MAGIC {
            return Ok(Err(Seen::Magic));
        }
    }
    if need > rest {
        return Ok(Err(Seen::Truncated { have, need: need.saturating_add(CHUNK_HEADER_BYTES) }));
    }
    payload.resize(need, 0);
    source.read_at(start, payload)?;
    Ok(if crc != checksum(index, length, payload) {
        Err(Seen::Checksum { bytes: need })
    } else if payload.is_empty() {
        Err(Seen::Malformed("a chunk is empty"))
    } else {
        Ok(crc)
    })
}

struct State<'v, V> {
    visitor: &'v mut V,
    header: Option<Header>,
    counts: Counts,
    acls: AclIds,
    /// Over the checksums of the chunks that were read to their end.
    total: crc32fast::Hasher,
}

impl<V: Visitor> State<'_, V> {
    /// Reads one entry of the `index`-th chunk; true once it was the footer.
    fn entry(&mut self, reader: &mut Reader<'_>, index: u32) -> Result<bool, Seen> {
        let tag = byte(reader)?;
        if self.header.is_none() != (tag == tag::HEADER) {
            return Err(Seen::Malformed("the header is the first entry, once"));
        }
        let result = match tag {
            tag::HEADER => {
                let header = header(reader)?;
                self.header = Some(header);
                self.visitor.header(&header)
            }
            tag::SESSION => {
                self.counts.sessions += 1;
                self.visitor.session(SessionId(reader.long()?), reader.int()?)
            }
            tag::ACL => {
                let id = reader.int()? as u32;
                if id == ACL_OPEN || !self.acls.insert(id) {
                    return Err(Seen::Malformed("an acl is defined twice"));
                }
                self.counts.acls += 1;
                self.visitor.acl(id, acls(reader)?)
            }
            tag::NODE => {
                let node = node(reader)?;
                if node.acl != ACL_OPEN && !self.acls.contains(&node.acl) {
                    return Err(Seen::Malformed("a znode's acl is not defined"));
                }
                self.counts.nodes += 1;
                self.visitor.node(node)
            }
            tag::FOOTER => return self.footer(reader, index).map(|()| true),
            _ => return Err(Seen::Malformed("an entry of no known kind")),
        };
        result?;
        Ok(false)
    }

    fn footer(&self, reader: &mut Reader<'_>, index: u32) -> Result<(), Seen> {
        let counts = Counts {
            sessions: reader.long()? as u64,
            acls: reader.long()? as u64,
            nodes: reader.long()? as u64,
        };
        let (chunks, total) = (reader.int()? as u32, reader.int()? as u32);
        if (counts, chunks, total) != (self.counts, index, self.total.clone().finalize()) {
            return Err(Seen::Footer);
        }
        if reader.long()?.to_be_bytes() != END_MAGIC {
            return Err(Seen::Malformed("the end is not marked as such"));
        }
        Ok(())
    }
}

fn byte(reader: &mut Reader<'_>) -> Result<u8, Seen> {
    let (&byte, rest) = reader.rest().split_first().ok_or(Short::Ends { have: 0, need: 1 })?;
    *reader = Reader::new(rest);
    Ok(byte)
}

fn header(reader: &mut Reader<'_>) -> Result<Header, Seen> {
    if reader.long()?.to_be_bytes() != MAGIC {
        return Err(Seen::Magic);
    }
    match reader.int()? as u32 {
        FORMAT_VERSION => {}
        version => return Err(Seen::Version(version)),
    }
    Ok(Header {
        zxid: Zxid::from_wire(reader.long()?),
        digest: reader.long()? as u64,
        wall_ms: reader.long()?,
    })
}

fn acls(reader: &mut Reader<'_>) -> Result<Vec<Acl>, Seen> {
    let text = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
        Some(Ok(text)) => Ok(Box::from(text)),
        _ => Err(Seen::Malformed("an acl's scheme or id is no text")),
    };
    let raw = acl::read_acls(reader)?;
    let acl = |raw: acl::RawAcl<'_>| {
        Ok(Acl { perms: Perms(raw.perms), id: Id { scheme: text(raw.scheme)?, id: text(raw.id)? } })
    };
    raw.into_iter().map(acl).collect()
}

fn node<'a>(reader: &mut Reader<'a>) -> Result<Node<'a>, Seen> {
    Ok(Node {
        path: reader.string()?.ok_or(Seen::Malformed("a znode has no path"))?,
        data: reader.buffer()?,
        acl: reader.int()? as u32,
        czxid: Zxid::from_wire(reader.long()?),
        mzxid: Zxid::from_wire(reader.long()?),
        pzxid: Zxid::from_wire(reader.long()?),
        ctime_ms: reader.long()?,
        mtime_ms: reader.long()?,
        version: reader.int()?,
        cversion: reader.int()?,
        aversion: reader.int()?,
        owner: reader.long()?,
    })
}
