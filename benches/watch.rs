//! Watches: set and fire them, and put the events of a change into the connections that watch.

use crate::fixture::{self, DATA_BYTES, Random, Server};
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use std::time::{Duration, Instant};
use zkfast::proto::EventType;
use zkfast::watch::{Cnxn, Table, Watches};

/// Connections that watch a znode.
const WATCHERS: [u32; 2] = [1, 1000];

pub fn benches(criterion: &mut Criterion) {
    table(criterion);
    fan_out(criterion);
}

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watch");
    let path = fixture::path(7, 42);
    for watchers in WATCHERS {
        group.throughput(Throughput::Elements(watchers.into()));
        let mut fired = 0u64;
        let mut sink = |cnxn: Cnxn, kind: EventType, path: &[u8]| {
            black_box((cnxn, kind, path));
            fired += 1;
        };
        let mut watches = Watches::new(fixture::SEED);
        group.bench_function(format!("one_shot/set_and_fire/{watchers}"), |b| {
            b.iter(|| {
                (0..watchers).for_each(|cnxn| watches.add(Table::Data, &path, Cnxn(cnxn)));
                watches.data_changed(&path, &mut sink);
            });
        });
        (0..watchers).for_each(|cnxn| watches.add_persistent(&path, Cnxn(cnxn)));
        group.bench_function(format!("persistent/fire/{watchers}"), |b| {
            b.iter(|| watches.data_changed(&path, &mut sink));
        });
        black_box(fired);
    }
}

/// One set of a znode that [`WATCHERS`] connections watch: from the delta to the events in their buffers.
fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watch/fan_out");
    let (path, data) = (fixture::path(7, 42), Random::new().data(DATA_BYTES));
    for watchers in WATCHERS {
        let mut server = Server::new(watchers as usize);
        server.watch(&path);
        group.throughput(Throughput::Elements(watchers.into()));
        group.bench_function(watchers.to_string(), |b| {
            b.iter_custom(|iters| {
                let mut took = Duration::ZERO;
                for _ in 0..iters {
                    let frame = fixture::set_data(server.next_xid(), &path, &data);
                    let uplink = server.send_up(&[frame]);
                    let deltas = server.commit(uplink);
                    let started = Instant::now();
                    server.view.apply(&deltas, server.now);
                    took += started.elapsed();
                    let bytes = server.drain();
                    assert!(bytes > watchers as usize * path.len(), "every watcher gets an event");
                }
                took
            });
        });
    }
}
