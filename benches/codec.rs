//! Decodes requests and encodes replies.

use crate::fixture::{self, Random};
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use zkfast::proto::event::put_event;
use zkfast::proto::reply::{MultiHeader, put_reply};
use zkfast::proto::request::{Create, PathWatch, read_multi};
use zkfast::proto::{EventType, JuteWrite, OpCode, Reader, RequestHeader, Stat, Zxid};

/// Operations of the multi.
const MULTI_OPS: usize = 16;

/// Names and bytes of the data of a znode.
const SIZES: [(&str, usize); 3] = [("100B", 100), ("1KiB", 1 << 10), ("64KiB", 64 << 10)];

pub fn benches(criterion: &mut Criterion) {
    decode(criterion);
    encode(criterion);
}

/// A frame without the four bytes of its length.
fn payload(frame: &[u8]) -> &[u8] {
    &frame[4..]
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/decode");
    let mut random = Random::new();
    let path = fixture::path(7, 42);

    let frame = fixture::get_data(1, &path);
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("get_data", |b| {
        b.iter(|| {
            let mut reader = Reader::new(black_box(payload(&frame)));
            let header = RequestHeader::read(&mut reader).unwrap();
            black_box((header, PathWatch::read(&mut reader).unwrap()));
        });
    });
    for (name, bytes) in SIZES {
        let frame = fixture::create(1, &path, &random.data(bytes));
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(format!("create/{name}"), |b| {
            b.iter(|| {
                let mut reader = Reader::new(black_box(payload(&frame)));
                let header = RequestHeader::read(&mut reader).unwrap();
                black_box(Create::read(&mut reader, header.op).unwrap());
            });
        });
    }
    let frame = fixture::request(1, OpCode::MULTI, |out| {
        for file in 0..MULTI_OPS {
            let (path, data) = (fixture::path(1, file), random.data(fixture::DATA_BYTES));
            let op = if file % 2 == 0 { OpCode::CREATE } else { OpCode::SET_DATA };
            MultiHeader { op, done: false, err: -1 }.put(out);
            match op {
                OpCode::CREATE => fixture::put_create(out, &path, &data),
                _ => fixture::put_set_data(out, &path, &data),
            }
        }
        MultiHeader::END.put(out);
    });
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function(format!("multi/{MULTI_OPS}"), |b| {
        b.iter(|| {
            let mut reader = Reader::new(black_box(payload(&frame)));
            RequestHeader::read(&mut reader).unwrap();
            black_box(read_multi(&mut reader).unwrap());
        });
    });
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/encode");
    let stat = Stat { czxid: Zxid(7), mzxid: Zxid(9), data_bytes: 100, ..Stat::default() };
    let mut out = Vec::with_capacity(128 << 10);
    for (name, bytes) in SIZES {
        let data = Random::new().data(bytes);
        let mut encode = || {
            out.clear();
            put_reply(&mut out, black_box(1), black_box(Zxid(9)), |out| {
                out.put_buffer(Some(black_box(&data)));
                stat.put(out);
            });
            black_box(&out).len() as u64
        };
        group.throughput(Throughput::Bytes(encode()));
        group.bench_function(format!("get_data/{name}"), |b| b.iter(&mut encode));
    }
    for count in [10, 1000] {
        let names: Vec<_> = (0..count).map(|file| format!("file-{file:05}").into_bytes()).collect();
        let mut encode = || {
            out.clear();
            put_reply(&mut out, black_box(1), black_box(Zxid(9)), |out| {
                out.put_count(names.len());
                names.iter().for_each(|name| out.put_string(name));
            });
            black_box(&out).len() as u64
        };
        group.throughput(Throughput::Bytes(encode()));
        group.bench_function(format!("get_children/{count}"), |b| b.iter(&mut encode));
    }
    let path = fixture::path(7, 42);
    let mut encode = || {
        out.clear();
        put_event(&mut out, Some(black_box(Zxid(9))), EventType::NodeDataChanged, black_box(&path));
        black_box(&out).len() as u64
    };
    group.throughput(Throughput::Bytes(encode()));
    group.bench_function("event", |b| b.iter(&mut encode));
}
