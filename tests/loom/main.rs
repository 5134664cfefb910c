//! The channel between shards in every order that two threads can run in, and with every value that the memory model lets
//! a thread read: loom runs the same few steps some ten thousand times. Only with `RUSTFLAGS="--cfg loom"`; the step `loom`
//! of `tests/run.sh` does it.
//!
//! What it finds: a slot that both sides touch at once, a message that is lost, doubled, out of order or never dropped, and
//! a wake-up that is missed (then both threads sleep for ever).
#![cfg(loom)]

mod model;
#[allow(dead_code)]
#[path = "../../src/server/spsc.rs"]
mod spsc;

use loom::future::block_on;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use spsc::{Consumer, Notify, Producer, channel};
use std::future::poll_fn;
use std::task::Poll;

/// How often a thread may be interrupted where it could go on. Bugs that need more are rare, and each more costs ten times
/// as many runs; `LOOM_MAX_PREEMPTIONS` sets it.
const PREEMPTIONS: usize = 3;

/// A message that loom knows: one that is dropped twice or never fails the run.
type Message = Arc<usize>;

/// Runs `scene` in every order.
fn check(scene: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.check(scene);
}

/// The sending task: puts 0 to `count`, and sleeps while there is no room.
async fn send(mut producer: Producer<Message>, drained: Notify, count: usize) {
    let mut next = 0;
    poll_fn(move |cx| {
        drained.register(cx.waker());
        while next < count {
            if producer.put(Arc::new(next)).is_err() {
                return Poll::Pending;
            }
            next += 1;
        }
        Poll::Ready(())
    })
    .await;
}

/// The receiving task: takes 0 to `count`, and sleeps while there is nothing.
async fn receive(mut consumer: Consumer<Message>, filled: Notify, count: usize) {
    let mut next = 0;
    poll_fn(move |cx| {
        filled.register(cx.waker());
        while let Some(message) = consumer.take() {
            assert_eq!(*message, next, "out of order");
            next += 1;
        }
        if next < count { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// `count` messages through `slots`, each side on its own thread.
fn transfer(slots: usize, count: usize) {
    let (filled, drained) = (Notify::default(), Notify::default());
    let (producer, consumer) = channel(slots, filled.clone(), drained.clone());
    let sender = thread::spawn(move || block_on(send(producer, drained, count)));
    block_on(receive(consumer, filled, count));
    sender.join().unwrap();
}

/// With one slot each side waits for the other at each message.
#[test]
fn one_slot() {
    check(|| transfer(1, 3));
}

/// With two slots a slot is used again while the other one is in use.
#[test]
fn two_slots() {
    check(|| transfer(2, 3));
}

/// What was not taken is dropped with the channel, whichever side goes last.
#[test]
fn the_rest_is_dropped() {
    check(|| {
        let (mut producer, mut consumer) = channel(2, Notify::default(), Notify::default());
        let sender = thread::spawn(move || {
            assert!(producer.put(Arc::new(0)).is_ok());
            assert!(producer.put(Arc::new(1)).is_ok());
        });
        if let Some(first) = consumer.take() {
            assert_eq!(*first, 0);
        }
        drop(consumer);
        sender.join().unwrap();
    });
}
