//! The tree of znodes: the operations of a view's copy and of the commit side's.

use crate::fixture::{self, DATA_BYTES, FILES, FOLDERS, Random};
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use std::time::{Duration, Instant};
use zkfast::proto::{JuteWrite, Zxid};
use zkfast::tree::{Digests, NodeIndex, Tree};

/// Number of paths that reads and writes use in turn.
const PATHS: usize = 4096;

/// Places of the tree in one slice of an image, as in the server.
const SLICE: u32 = 128;

pub fn benches(criterion: &mut Criterion) {
    let paths = fixture::paths(PATHS);
    let data = Random::new().data(DATA_BYTES);
    let (mut kept, mut off) = (fixture::tree(Digests::Kept), fixture::tree(Digests::Off));
    let zxid = Zxid(1 << 20);

    let mut group = criterion.benchmark_group("tree");
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |b| {
        let mut paths = paths.iter().cycle();
        b.iter(|| {
            let index = off.find(paths.next().unwrap()).unwrap();
            black_box((off.body(index).data(), off.stat(index)));
        });
    });
    // The commit side keeps digests, a view does not.
    for (name, tree) in [("set_data/digest", &mut kept), ("set_data/view", &mut off)] {
        group.bench_function(name, |b| {
            let mut paths = paths.iter().cycle();
            b.iter(|| {
                let path = paths.next().unwrap();
                let index = tree.find(path).unwrap();
                let body = tree.make_body(path, Some(&data), fixture::fixed(zxid));
                black_box(tree.replace(index, body));
            });
        });
    }
    for (name, tree) in [("digest", &mut kept), ("view", &mut off)] {
        let fresh = Fresh::new(&paths);
        group.bench_function(format!("create/{name}"), |b| {
            b.iter_custom(|iters| fresh.rounds(tree, iters, &data).0);
        });
        group.bench_function(format!("delete/{name}"), |b| {
            b.iter_custom(|iters| fresh.rounds(tree, iters, &data).1);
        });
    }
    for count in [10, 1000] {
        let parent = format!("/children-{count}").into_bytes();
        fixture::add(&mut off, &parent, b"", zxid);
        for file in 0..count {
            let path = format!("/children-{count}/file-{file:05}");
            fixture::add(&mut off, path.as_bytes(), &data, zxid);
        }
        let mut out = Vec::new();
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("list/{count}"), |b| {
            b.iter(|| {
                out.clear();
                let index = off.find(&parent).unwrap();
                off.children(index).for_each(|name| out.put_string(name));
                black_box(&out);
            });
        });
    }
    let mut images = Vec::new();
    group.throughput(Throughput::Elements(SLICE.into()));
    off.begin_image();
    group.bench_function(format!("image_slice/{SLICE}"), |b| {
        b.iter(|| {
            images.clear();
            if !off.image_slice(SLICE, &mut images) {
                off.begin_image();
            }
            black_box(&images);
        });
    });
    let znodes = kept.len() as u64;
    group.throughput(Throughput::Elements(znodes));
    group.bench_function(format!("for_view/{}", FOLDERS * FILES), |b| b.iter(|| black_box(kept.for_view())));
}

/// Znodes that are created and deleted again in rounds, so that the tree keeps its size.
struct Fresh(Vec<(Vec<u8>, Vec<u8>)>);

impl Fresh {
    /// A fresh znode beside each of `paths`.
    fn new(paths: &[Vec<u8>]) -> Self {
        let fresh = paths.iter().enumerate().map(|(number, path)| {
            let (parent, _) = zkfast::proto::path::split(path).unwrap();
            (parent.to_vec(), [parent, format!("/fresh-{number:05}").as_bytes()].concat())
        });
        Self(fresh.collect())
    }

    /// The time to create and the time to delete `iters` znodes.
    fn rounds(&self, tree: &mut Tree, iters: u64, data: &[u8]) -> (Duration, Duration) {
        let mut took = (Duration::ZERO, Duration::ZERO);
        let mut left = iters as usize;
        while left > 0 {
            let round = &self.0[..left.min(self.0.len())];
            left -= round.len();
            let started = Instant::now();
            for (parent, path) in round {
                let parent = tree.find(parent).unwrap();
                let (cversion, zxid) = tree.child_stat(parent);
                let body = tree.make_body(path, Some(data), fixture::fixed(zxid));
                tree.insert(parent, body);
                tree.set_child_stat(parent, cversion.wrapping_add(1), zxid);
            }
            took.0 += started.elapsed();
            let started = Instant::now();
            for (parent, path) in round {
                let (parent, index): (NodeIndex, NodeIndex) =
                    (tree.find(parent).unwrap(), tree.find(path).unwrap());
                black_box(tree.remove(parent, index));
                let (cversion, zxid) = tree.child_stat(parent);
                tree.set_child_stat(parent, cversion, zxid);
            }
            took.1 += started.elapsed();
        }
        took
    }
}
