//! Requests through the state machines of commit side and view, without log, rings and sockets.

use crate::fixture::{self, DATA_BYTES, Random, Server};
use criterion::{Criterion, Throughput};
use std::time::{Duration, Instant};

/// Requests in a batch, one of each connection: as many as a busy server finds waiting.
const BATCHES: [usize; 2] = [1, 64];

/// Reads that one connection has in flight.
const PIPELINED: usize = 16;

pub fn benches(criterion: &mut Criterion) {
    writes(criterion);
    reads(criterion);
}

/// The requests of a batch, and how to undo them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    SetData,
    Create,
}

impl Kind {
    fn frames(self, server: &mut Server, batch: usize, data: &[u8]) -> Vec<Vec<u8>> {
        let paths = fixture::paths(batch);
        let frame = |(number, path): (usize, &Vec<u8>)| match self {
            Self::SetData => fixture::set_data(server.next_xid(), path, data),
            Self::Create => fixture::create(server.next_xid(), &fresh(number), data),
        };
        paths.iter().enumerate().map(frame).collect()
    }

    /// Deletes what `frames` created.
    fn take_back(self, server: &mut Server, batch: usize) {
        if self == Self::Create {
            let frames: Vec<_> =
                (0..batch).map(|number| fixture::delete(server.next_xid(), &fresh(number))).collect();
            server.pass(&frames);
        }
        server.drain();
    }
}

fn fresh(number: usize) -> Vec<u8> {
    format!("/bench/folder-{:03}/fresh-{number:05}", number % fixture::FOLDERS).into_bytes()
}

/// Runs `iters` batches and returns the time of one stage: 0 decodes requests and sends them up, 1 checks them and
/// makes txns, 2 applies them and replies, 3 is all of these.
fn time(server: &mut Server, kind: Kind, batch: usize, stage: usize, iters: u64) -> Duration {
    let data = Random::new().data(DATA_BYTES);
    let mut took = [Duration::ZERO; 4];
    for _ in 0..iters {
        let frames = kind.frames(server, batch, &data);
        let begun = Instant::now();
        let uplink = server.send_up(&frames);
        let sent = Instant::now();
        let deltas = server.commit(uplink);
        let committed = Instant::now();
        server.view.apply(&deltas, server.now);
        let applied = Instant::now();
        let stages = [sent - begun, committed - sent, applied - committed, applied - begun];
        took.iter_mut().zip(stages).for_each(|(sum, stage)| *sum += stage);
        kind.take_back(server, batch);
    }
    took[stage]
}

fn writes(criterion: &mut Criterion) {
    let mut server = Server::new(64);
    let mut group = criterion.benchmark_group("apply");
    for (stage, name) in ["view_receive", "commit", "view_apply", "whole"].into_iter().enumerate() {
        for (kind, what) in [(Kind::SetData, "set_data"), (Kind::Create, "create")] {
            for batch in BATCHES {
                group.throughput(Throughput::Elements(batch as u64));
                group.bench_function(format!("{name}/{what}/batch={batch}"), |b| {
                    b.iter_custom(|iters| time(&mut server, kind, batch, stage, iters));
                });
            }
        }
    }
}

fn reads(criterion: &mut Criterion) {
    let mut server = Server::new(1);
    let place = server.places[0];
    let paths = fixture::paths(PIPELINED);
    let mut group = criterion.benchmark_group("apply/view_receive");
    for pipelined in [1, PIPELINED] {
        let frames: Vec<u8> = paths[..pipelined].iter().flat_map(|path| fixture::get_data(1, path)).collect();
        group.throughput(Throughput::Elements(pipelined as u64));
        group.bench_function(format!("get_data/pipelined={pipelined}"), |b| {
            b.iter(|| {
                server.view.receive(place, &frames, server.now);
                let bytes = server.view.output(place).len();
                assert!(bytes > pipelined * DATA_BYTES, "a read has its reply at once");
                server.view.sent(place, bytes);
            });
        });
    }
}
