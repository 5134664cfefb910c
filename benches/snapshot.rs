//! Snapshots: from a tree to bytes and back.

use crate::fixture;
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use zkfast::proto::{Acl, SessionId, Zxid};
use zkfast::snapshot::{Header, Node, Refused, Visitor, decode};
use zkfast::storage::{self, ImageEncoder};
use zkfast::tree::{Digests, ExtendedTypes, NodeImage, Settings};

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
    // The tree with its digest, as the server builds it when it starts.
    let settings =
        Settings { extended_types: ExtendedTypes::Off, digests: Digests::Kept, hash_seed: fixture::SEED };
    group.bench_function(format!("restore/{znodes}"), |b| {
        b.iter(|| {
            let restored = storage::decode(black_box(&bytes), settings).unwrap();
            assert_eq!(restored.tree.len(), images.len());
            black_box(restored)
        });
    });
}

fn encode(header: &Header, images: &[NodeImage]) -> Vec<u8> {
    let (mut encoder, mut bytes) = (ImageEncoder::new(header, []), Vec::new());
    for image in images {
        encoder.put(image);
        if encoder.is_chunk_due() {
            bytes.extend(encoder.take_chunk());
        }
    }
    bytes.extend(encoder.finish().0);
    bytes
}

/// Counts znodes and keeps nothing, so that only reading and checksums cost time.
#[derive(Default)]
struct Seen {
    znodes: usize,
}

impl Visitor for Seen {
    fn header(&mut self, _: &Header) -> Result<(), Refused> {
        Ok(())
    }

    fn session(&mut self, _: SessionId, _: i32) -> Result<(), Refused> {
        Ok(())
    }

    fn acl(&mut self, _: u32, _: Vec<Acl>) -> Result<(), Refused> {
        Ok(())
    }

    fn node(&mut self, node: Node<'_>) -> Result<(), Refused> {
        black_box(node);
        self.znodes += 1;
        Ok(())
    }
}
