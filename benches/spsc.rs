//! A message from one shard to another: the channel alone, without threads that sleep.

use criterion::{Criterion, Throughput};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};
use zkfast::server::spsc::{Notify, channel};

/// Slots of a channel, as many as between the server's shards.
const SLOTS: usize = 8;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spsc");
    group.throughput(Throughput::Elements(1));
    group.bench_function("hop/one_thread", |b| {
        let (mut producer, mut consumer) = channel(SLOTS, Notify::default(), Notify::default());
        b.iter(|| {
            producer.put(black_box(Box::new(1u64))).unwrap();
            black_box(consumer.take().unwrap());
        });
    });
    group.bench_function("stream/two_threads", |b| b.iter_custom(stream));
    group.bench_function("round_trip/two_threads", |b| b.iter_custom(round_trip));
}

/// Sends `iters` messages one way as fast as possible.
fn stream(iters: u64) -> Duration {
    let (mut producer, mut consumer) = channel(SLOTS, Notify::default(), Notify::default());
    let reader = thread::spawn(move || {
        for _ in 0..iters {
            while consumer.take().is_none() {
                thread::yield_now();
            }
        }
    });
    let started = Instant::now();
    for number in 0..iters {
        let mut message = Box::new(number);
        while let Err(back) = producer.put(message) {
            message = back;
            thread::yield_now();
        }
    }
    reader.join().unwrap();
    started.elapsed()
}

/// Sends one message there and back, `iters` times.
fn round_trip(iters: u64) -> Duration {
    let (mut there_in, mut there_out) = channel(SLOTS, Notify::default(), Notify::default());
    let (mut back_in, mut back_out) = channel::<Box<u64>>(SLOTS, Notify::default(), Notify::default());
    let echo = thread::spawn(move || {
        for _ in 0..iters {
            let message = take(&mut there_out);
            assert!(back_in.put(message).is_ok(), "one message is in flight");
        }
    });
    let started = Instant::now();
    let mut message = Box::new(0);
    for _ in 0..iters {
        assert!(there_in.put(message).is_ok(), "one message is in flight");
        message = take(&mut back_out);
    }
    let took = started.elapsed();
    echo.join().unwrap();
    took
}

fn take<T: Send>(consumer: &mut zkfast::server::spsc::Consumer<T>) -> T {
    loop {
        match consumer.take() {
            Some(message) => return message,
            None => thread::yield_now(),
        }
    }
}
