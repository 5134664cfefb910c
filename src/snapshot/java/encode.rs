//! The writing side: a tree as ZooKeeper writes it, in pieces.

use super::{ACL_ID_OPEN, Adler, Form, SIGNATURE, SNAPSHOT_DBID, SNAPSHOT_MAGIC, VERSION};
use crate::proto::acl::put_acls;
use crate::proto::{JuteWrite, SessionId};
use crate::snapshot::{CHUNK_BYTES, Counts};
use crate::tree::{AclRef, NodeImage};
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
    began: bool,
    is_whole: bool,
}

impl Encoder {
    /// A snapshot of `nodes`, which come in any order: they are sorted by path here, which puts parents before children.
    /// A file ends with the tree's seal. It has neither a digest nor a last zxid: Java looks for these by its own settings,
    /// not by what is there, and only a file with neither is read by every version and setting.
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
        Self { form, sessions, nodes, next: 0, acls, lists, adler, began: false, is_whole: false }
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

    fn put_end(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::Stream => out.put_string(SIGNATURE),
            Form::File => {
                out.put_i64(self.adler.value());
                out.put_string(b"/");
            }
        }
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
