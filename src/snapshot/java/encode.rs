//! The writing side: a tree as ZooKeeper writes it, in pieces.

use super::{ACL_ID_OPEN, Adler, Form, SIGNATURE, SNAPSHOT_DBID, SNAPSHOT_MAGIC, VERSION};
use crate::proto::acl::put_acls;
use crate::proto::{JuteWrite, SessionId, Zxid};
use crate::snapshot::{CHUNK_BYTES, Counts};
use crate::tree::{AclRef, DIGEST_VERSION, NodeImage};
use bytes::BufMut;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Encodes one snapshot. It owns the znodes, which share their bodies with the tree, so that it can go on
/// piece by piece as a file or a socket takes them.
#[derive(Debug)]
pub struct Encoder {
    form: Form,
    sessions: BTreeMap<SessionId, i32>,
    nodes: Vec<NodeImage>,
    next: usize,
    /// Ids of lists, which are known by where they are: they are interned, and `nodes` hold them.
    acls: BTreeMap<usize, i64>,
    lists: Vec<AclRef>,
    adler: Adler,
    /// What follows the seal of a file, if anything does: the last zxid, and the digest.
    trailer: Option<(Zxid, Option<u64>)>,
    began: bool,
    is_whole: bool,
}

impl Encoder {
    /// A snapshot of `nodes`, which come in any order: they are sorted by path here, which puts parents before children.
    /// A file ends with the tree's seal, unless it [has a trailer](Self::with_trailer).
    pub fn new(form: Form, sessions: BTreeMap<SessionId, i32>, mut nodes: Vec<NodeImage>) -> Self {
        nodes.sort_unstable_by(|one, other| one.body.path().cmp(other.body.path()));
        let (mut acls, mut lists) = (BTreeMap::new(), Vec::new());
        for node in &nodes {
            if let Some(list) = &node.body.fixed().acl {
                acls.entry(Arc::as_ptr(list) as usize).or_insert_with(|| {
                    lists.push(Some(list.clone()));
                    lists.len() as i64
                });
            }
        }
        let adler = Adler::new();
        Self {
            form,
            sessions,
            nodes,
            next: 0,
            acls,
            lists,
            adler,
            trailer: None,
            began: false,
            is_whole: false,
        }
    }

    /// Has a file end with the tree's `digest` and its last zxid, each with a seal. Java looks for these by its own settings
    /// (`digest.enabled`, `serializeLastProcessedZxid.enabled`), not by what is there: a file without them is read whatever
    /// these say, and `restore` wants both, because a stream has no name that shows its zxid. Without a digest the place of
    /// one is filled with what Java writes while it has none. Source: `FileSnap.serialize`.
    pub fn with_trailer(self, last_zxid: Zxid, digest: Option<u64>) -> Self {
        assert_eq!(self.form, Form::File, "a trailer at {last_zxid} after a stream");
        Self { trailer: Some((last_zxid, digest)), ..self }
    }

    /// What it writes.
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len() as u64,
            acls: self.lists.len() as u64,
            nodes: self.nodes.len() as u64,
        }
    }

    /// Appends the next piece to `out`, about [`CHUNK_BYTES`] and the last znode's; `false` once that was the last.
    pub fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        if self.is_whole {
            return false;
        }
        let start = out.len();
        if !self.began {
            self.began = true;
            self.put_front(out);
        }
        while let Some(node) = self.nodes.get(self.next) {
            if out.len() - start >= CHUNK_BYTES {
                break;
            }
            self.next += 1;
            put_node(out, node, &self.acls);
        }
        let is_last = self.next == self.nodes.len();
        if is_last {
            out.put_string(b"/");
        }
        if self.form == Form::File {
            self.adler.update(&out[start..]);
        }
        if is_last {
            self.put_end(out);
            self.is_whole = true;
        }
        !is_last
    }

    fn put_front(&self, out: &mut Vec<u8>) {
        if self.form == Form::File {
            out.put_i32(SNAPSHOT_MAGIC);
            out.put_i32(VERSION);
            out.put_i64(SNAPSHOT_DBID);
        }
        out.put_count(self.sessions.len());
        for (&id, &timeout_ms) in &self.sessions {
            out.put_i64(id.0);
            out.put_i32(timeout_ms);
        }
        out.put_count(self.lists.len());
        for (list, id) in self.lists.iter().flatten().zip(1..) {
            out.put_i64(id);
            put_acls(out, list);
        }
    }

    fn put_end(&mut self, out: &mut Vec<u8>) {
        if self.form == Form::Stream {
            return out.put_string(SIGNATURE);
        }
        self.put_seal(out);
        let Some((last_zxid, digest)) = self.trailer else { return };
        let digest_start = out.len();
        out.put_i64(if digest.is_some() { last_zxid } else { Zxid::ZERO }.to_wire());
        out.put_i32(DIGEST_VERSION);
        out.put_i64(digest.unwrap_or_default() as i64);
        self.adler.update(&out[digest_start..]);
        self.put_seal(out);
        let zxid_start = out.len();
        out.put_i64(last_zxid.to_wire());
        self.adler.update(&out[zxid_start..]);
        self.put_seal(out);
    }

    /// Puts the checksum of all bytes before it, which itself counts for the next one.
    fn put_seal(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_i64(self.adler.value());
        out.put_string(b"/");
        self.adler.update(&out[start..]);
    }
}

fn put_node(out: &mut Vec<u8>, node: &NodeImage, acls: &BTreeMap<usize, i64>) {
    let fixed = node.body.fixed();
    let path = node.body.path();
    out.put_string(if path == b"/" { b"" } else { path });
    out.put_buffer(node.body.data());
    out.put_i64(fixed.acl.as_ref().map_or(ACL_ID_OPEN, |list| acls[&(Arc::as_ptr(list) as usize)]));
    out.put_i64(fixed.czxid.to_wire());
    out.put_i64(fixed.mzxid.to_wire());
    out.put_i64(fixed.ctime_ms);
    out.put_i64(fixed.mtime_ms);
    out.put_i32(fixed.version);
    out.put_i32(node.cversion);
    out.put_i32(fixed.aversion);
    out.put_i64(fixed.owner.0);
    out.put_i64(node.pzxid.to_wire());
}
