//! Snapshots: a tree to bytes, bytes to a tree.

use crate::fixture;
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use zkfast::proto::{Acl, Zxid};
use zkfast::snapshot::{ACL_OPEN, Header, Node, SnapshotEncoder, Visitor, decode};
use zkfast::tree::{Body, Digests, Fixed, NodeImage, Owner, Settings, Tree};

pub fn benches(criterion: &mut Criterion) {
    let mut tree = fixture::tree(Digests::Off);
    let (mut images, header) = (Vec::new(), Header { zxid: Zxid(1 << 20), digest: 0, wall_ms: 0 });
    tree.begin_image();
    while tree.image_slice(u32::MAX, &mut images) {}
    let bytes = encode(&header, &images);

    let mut group = criterion.benchmark_group("snapshot");
    group.throughput(Throughput::Elements(images.len() as u64));
    let znodes = fixture::FOLDERS * fixture::FILES;
    group.bench_function(format!("encode/{znodes}"), |b| b.iter(|| black_box(encode(&header, &images))));
    group.bench_function(format!("decode/{znodes}"), |b| {
        b.iter(|| {
            let mut seen = Seen::default();
            black_box(decode(black_box(&bytes), &mut seen).unwrap());
            assert_eq!(seen.znodes, images.len());
        });
    });
    group.bench_function(format!("restore/{znodes}"), |b| {
        b.iter(|| {
            let mut restore = Restore::new();
            decode(black_box(&bytes), &mut restore).unwrap();
            restore.tree.link_restored().unwrap();
            assert_eq!(restore.tree.len(), images.len());
            black_box(restore.tree)
        });
    });
}

fn encode(header: &Header, images: &[NodeImage]) -> Vec<u8> {
    let (mut encoder, mut bytes) = (SnapshotEncoder::new(header), Vec::new());
    for image in images {
        let fixed = image.body.fixed();
        encoder.node(&Node {
            path: image.body.path(),
            data: image.body.data(),
            acl: ACL_OPEN,
            czxid: fixed.czxid,
            mzxid: fixed.mzxid,
            pzxid: image.pzxid,
            ctime_ms: fixed.ctime_ms,
            mtime_ms: fixed.mtime_ms,
            version: fixed.version,
            cversion: image.cversion,
            aversion: fixed.aversion,
            owner: fixed.owner.0,
        });
        if encoder.is_chunk_due() {
            bytes.extend(encoder.take_chunk());
        }
    }
    bytes.extend(encoder.finish().0);
    bytes
}

/// Only looks: what reading and checksums cost.
#[derive(Default)]
struct Seen {
    znodes: usize,
}

impl Visitor for Seen {
    fn header(&mut self, _: &Header) -> Result<(), String> {
        Ok(())
    }

    fn session(&mut self, _: i64, _: i32) -> Result<(), String> {
        Ok(())
    }

    fn acl(&mut self, _: u32, _: Vec<Acl>) -> Result<(), String> {
        Ok(())
    }

    fn node(&mut self, node: Node<'_>) -> Result<(), String> {
        black_box(node);
        self.znodes += 1;
        Ok(())
    }
}

/// Builds the tree, with its digest, as a start of the server does.
struct Restore {
    tree: Tree,
    scratch: Vec<u8>,
}

impl Restore {
    fn new() -> Self {
        let settings = Settings { extended_types: false, digests: Digests::Kept, hash_seed: fixture::SEED };
        Self { tree: Tree::empty(settings), scratch: Vec::new() }
    }
}

impl Visitor for Restore {
    fn header(&mut self, _: &Header) -> Result<(), String> {
        Ok(())
    }

    fn session(&mut self, _: i64, _: i32) -> Result<(), String> {
        Ok(())
    }

    fn acl(&mut self, _: u32, _: Vec<Acl>) -> Result<(), String> {
        Ok(())
    }

    fn node(&mut self, node: Node<'_>) -> Result<(), String> {
        let fixed = Fixed {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime_ms: node.ctime_ms,
            mtime_ms: node.mtime_ms,
            version: node.version,
            aversion: node.aversion,
            owner: Owner(node.owner),
            acl: None,
        };
        let body = Body::new(node.path, node.data, fixed, &mut self.scratch);
        self.tree.restore(NodeImage { body, cversion: node.cversion, pzxid: node.pzxid });
        Ok(())
    }
}
