//! The log's bytes: encodes groups, reads a segment back, replays txns.

use crate::fixture::{self, DATA_BYTES, Random};
use criterion::{BatchSize, Criterion, Throughput};
use std::hint::black_box;
use zkfast::database::Database;
use zkfast::proto::{OpCode, SessionId, Zxid};
use zkfast::tree::{self, Digests};
use zkfast::txn::{Txn, TxnHeader, put_digest};
use zkfast::wal::{BLOCK_BYTES, Batch, Entry, GroupEncoder, Place, Recovery, SEGMENT_BYTES};

/// Records in a group: of one client, of many, and of a commit shard under full load.
const BATCHES: [u32; 3] = [1, 64, 1024];

/// Bytes of the segment that is read back; a real one is longer.
const READ_BYTES: usize = 4 << 20;

/// Number of replayed txns.
const REPLAYED: u32 = 10_000;

pub fn benches(criterion: &mut Criterion) {
    encode(criterion);
    recover(criterion);
    replay(criterion);
}

/// The txn of a setData as the commit side logs it.
fn put_txn(out: &mut Vec<u8>, zxid: Zxid, path: &[u8], data: &[u8], version: i32) {
    let header = TxnHeader {
        session_id: SessionId(1),
        cxid: 1,
        zxid,
        time_ms: 1_700_000_000_000,
        op: OpCode::SET_DATA,
    };
    header.put(out);
    Txn::SetData { path, data: Some(data), version }.put(out);
}

fn batch(records: u32, zxid: &mut Zxid) -> Batch {
    let mut random = Random::new();
    let (paths, data) = (fixture::paths(64), random.data(DATA_BYTES));
    let mut batch = Batch::default();
    for (_, path) in (0..records).zip(paths.iter().cycle()) {
        *zxid = zxid.next().unwrap();
        batch.put(*zxid, |out| {
            put_txn(out, *zxid, path, &data, 1);
            put_digest(out, random.bits());
        });
    }
    batch
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/encode");
    for records in BATCHES {
        let batch = batch(records, &mut { Zxid::ZERO });
        let fresh = || GroupEncoder::new(SEGMENT_BYTES, 1, Zxid::ZERO);
        let mut out = vec![0; fresh().group_bytes(&batch)];
        group.throughput(Throughput::Bytes(batch.bytes() as u64));
        group.bench_function(format!("batch={records}"), |b| {
            // Each group is the first of a log, so that the work stays the same and zxids do not run out.
            b.iter(|| {
                let written = fresh().encode(black_box(&batch), &mut out);
                black_box((written, &out));
            });
        });
    }
}

fn recover(criterion: &mut Criterion) {
    let mut segment = vec![0; READ_BYTES];
    let mut encoder = GroupEncoder::new(READ_BYTES, 1, Zxid::ZERO);
    let (mut zxid, mut written) = (Zxid::ZERO, 0);
    loop {
        let batch = batch(64, &mut zxid);
        if !encoder.fits(&batch) {
            break;
        }
        written += u64::from(batch.records());
        let offset = encoder.offset();
        encoder.encode(&batch, &mut segment[offset..]);
    }
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Bytes(READ_BYTES as u64));
    group.bench_function("recover/4MiB", |b| {
        b.iter(|| {
            let (mut recovery, mut bytes) = (Recovery::new(READ_BYTES), 0);
            let each = |entry: Entry<'_>| match entry {
                Entry::Txn(_, txn) => bytes += txn.len(),
                Entry::Marker { .. } => {}
            };
            let end = recovery.segment(&segment, 1, Place::Newest, each).unwrap();
            assert!(end.torn.is_none() && end.offset.is_multiple_of(BLOCK_BYTES));
            assert_eq!(recovery.records(), written);
            black_box(bytes);
        });
    });
}

fn replay(criterion: &mut Criterion) {
    let settings = tree::Settings {
        extended_types: tree::ExtendedTypes::Off,
        digests: Digests::Kept,
        hash_seed: fixture::SEED,
    };
    let base = Zxid(1 << 20);
    let restored =
        || Database { tree: fixture::tree(Digests::Kept), zxid: base, ..Database::fresh(settings) };
    let (paths, data) = (fixture::paths(64), Random::new().data(DATA_BYTES));
    let txns: Vec<_> = (1..=REPLAYED)
        .zip(paths.iter().cycle())
        .map(|(number, path)| {
            let zxid = Zxid(base.0 + u64::from(number));
            let mut txn = Vec::new();
            put_txn(&mut txn, zxid, path, &data, number as i32);
            (zxid, txn)
        })
        .collect();
    let mut group = criterion.benchmark_group("log/replay");
    group.throughput(Throughput::Elements(REPLAYED.into()));
    group.bench_function("set_data", |b| {
        b.iter_batched(
            restored,
            |mut restored| {
                txns.iter().for_each(|(zxid, txn)| restored.replay(*zxid, txn).unwrap());
                restored
            },
            BatchSize::PerIteration,
        );
    });
}
