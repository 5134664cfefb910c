//! The writing side: entries into chunks.

use super::{
    ACL_OPEN, AclIds, CHUNK_BYTES, CHUNK_HEADER_BYTES, Counts, END_MAGIC, FORMAT_VERSION, Header, MAGIC,
    Node, checksum, tag,
};
use crate::proto::{Acl, JuteWrite, SessionId, acl};
use bytes::BufMut;

/// Encodes a snapshot piece by piece; the caller takes a chunk whenever one is due and appends it to
/// the file, so that a snapshot needs the memory of one chunk.
#[derive(Debug)]
pub struct SnapshotEncoder {
    /// The chunk being filled, with room for its header in front.
    chunk: Vec<u8>,
    chunks: u32,
    /// Over the checksums of the chunks that were taken.
    total: crc32fast::Hasher,
    counts: Counts,
    acls: AclIds,
}

impl SnapshotEncoder {
    /// Begins with the header.
    pub fn new(header: &Header) -> Self {
        let mut encoder = Self {
            chunk: Vec::new(),
            chunks: 0,
            total: crc32fast::Hasher::new(),
            counts: Counts::default(),
            acls: AclIds::default(),
        };
        let out = encoder.entry(tag::HEADER);
        out.put_slice(&MAGIC);
        out.put_u32(FORMAT_VERSION);
        out.put_u64(header.zxid.0);
        out.put_u64(header.digest);
        out.put_i64(header.wall_ms);
        encoder
    }

    /// Adds a session and its timeout.
    pub fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.counts.sessions += 1;
        let out = self.entry(tag::SESSION);
        out.put_i64(id.0);
        out.put_i32(timeout_ms);
    }

    /// Whether znodes may name the ACL list `id`: it was added, or is [`ACL_OPEN`].
    pub fn has_acl(&self, id: u32) -> bool {
        id == ACL_OPEN || self.acls.contains(&id)
    }

    /// Adds the ACL list `id`, once, before the first znode that names it. Ids are the caller's and
    /// need not be dense.
    pub fn acl(&mut self, id: u32, acls: &[Acl]) {
        assert!(id != ACL_OPEN, "acl {ACL_OPEN} is never defined");
        assert!(self.acls.insert(id), "acl {id} is defined twice");
        self.counts.acls += 1;
        let out = self.entry(tag::ACL);
        out.put_u32(id);
        acl::put_acls(out, acls);
    }

    /// Adds a znode, each path once, in any order.
    pub fn node(&mut self, node: &Node<'_>) {
        assert!(self.has_acl(node.acl), "znode before acl {}", node.acl);
        self.counts.nodes += 1;
        let out = self.entry(tag::NODE);
        out.put_string(node.path);
        out.put_buffer(node.data);
        out.put_u32(node.acl);
        for zxid in [node.czxid, node.mzxid, node.pzxid] {
            out.put_u64(zxid.0);
        }
        for time_ms in [node.ctime_ms, node.mtime_ms] {
            out.put_i64(time_ms);
        }
        for version in [node.version, node.cversion, node.aversion] {
            out.put_i32(version);
        }
        out.put_i64(node.owner);
    }

    /// Whether the chunk being filled has reached [`CHUNK_BYTES`].
    pub fn is_chunk_due(&self) -> bool {
        self.chunk.len() >= CHUNK_HEADER_BYTES + CHUNK_BYTES
    }

    /// The chunk filled so far, ready for the file; nothing if it is empty.
    pub fn take_chunk(&mut self) -> Vec<u8> {
        if self.chunk.is_empty() {
            return Vec::new();
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        let (header, payload) = chunk.split_at_mut(CHUNK_HEADER_BYTES);
        let length =
            u32::try_from(payload.len()).expect("a chunk exceeds its limit by one znode only").to_be_bytes();
        let crc = checksum(self.chunks, length, payload).to_be_bytes();
        header[..4].copy_from_slice(&length);
        header[4..].copy_from_slice(&crc);
        self.total.update(&crc);
        self.chunks += 1;
        chunk
    }

    /// The end of the file, and what the snapshot holds.
    pub fn finish(mut self) -> (Vec<u8>, Counts) {
        // The footer has a chunk of its own, so that its checksum covers all others.
        let mut end = self.take_chunk();
        let (chunks, total, counts) = (self.chunks, self.total.clone().finalize(), self.counts);
        let out = self.entry(tag::FOOTER);
        out.put_u64(counts.sessions);
        out.put_u64(counts.acls);
        out.put_u64(counts.nodes);
        out.put_u32(chunks);
        out.put_u32(total);
        out.put_slice(&END_MAGIC);
        end.extend(self.take_chunk());
        (end, counts)
    }

    /// Begins an entry.
    fn entry(&mut self, tag: u8) -> &mut Vec<u8> {
        if self.chunk.is_empty() {
            self.chunk.reserve(CHUNK_HEADER_BYTES + CHUNK_BYTES + CHUNK_BYTES / 16);
            self.chunk.put_bytes(0, CHUNK_HEADER_BYTES);
        }
        self.chunk.put_u8(tag);
        &mut self.chunk
    }
}
