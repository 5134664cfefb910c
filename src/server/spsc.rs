//! Bounded channels between shards: one producer, one consumer, no lock.
//!
//! A shard that is idle sleeps; [`Notify`] wakes its task. A message is a batch, so a channel
//! has few slots, and a batch costs one wake-up.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::task::Waker;
#[cfg(not(loom))]
use {
    atomic_waker::AtomicWaker,
    std::cell::UnsafeCell,
    std::sync::Arc,
    std::sync::atomic::{AtomicBool, AtomicUsize},
};

// A model checker compiles this file with its own atomics (`tests/loom`).
#[cfg(loom)]
use crate::model::{Arc, AtomicBool, AtomicUsize, AtomicWaker, UnsafeCell};

/// Wakes one task, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Notify(Arc<AtomicWaker>);

impl Notify {
    /// Registers the task to wake. A later [`Self::notify`] wakes it; the caller checks for work after this call,
    /// since an earlier notification may have found no task.
    pub fn register(&self, waker: &Waker) {
        self.0.register(waker);
    }

    /// Wakes the task.
    pub fn notify(&self) {
        self.0.wake();
    }
}

/// Keeps what one side writes out of the other side's cache line.
#[repr(align(128))]
struct Padded<T>(T);

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Messages ever taken; written by the consumer.
    head: Padded<AtomicUsize>,
    /// Messages ever put; written by the producer.
    tail: Padded<AtomicUsize>,
    /// The producer found no free slot and waits for a notification.
    starved: AtomicBool,
    /// Notified when a message is there.
    filled: Notify,
    /// Notified when a slot is free and the producer waits for one: a wake-up across cores is expensive.
    drained: Notify,
}

// SAFETY: a slot is touched by one side at a time: by the producer while `tail - head < slots`, by the
// consumer once `tail` has passed it. The Release store and Acquire load of `tail` (and of `head`, on
// the way back) order what each side did to the slot. Messages cross threads, hence `T: Send`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        for at in head..tail {
            let slots = self.slots.len();
            // SAFETY: this is the last reference; slots from head to tail hold messages.
            #[allow(unsafe_code)]
            unsafe {
                self.slots[at % slots].get_mut().assume_init_drop();
            }
        }
    }
}

/// The sending end.
pub struct Producer<T>(Arc<Shared<T>>);

/// The receiving end.
pub struct Consumer<T>(Arc<Shared<T>>);

/// Makes a channel of `slots` messages. `filled` wakes the consumer, `drained` the producer.
///
/// # Panics
/// If `slots` is 0.
pub fn channel<T: Send>(slots: usize, filled: Notify, drained: Notify) -> (Producer<T>, Consumer<T>) {
    assert!(slots > 0, "a channel has slots");
    let slots = (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let (head, tail) = (Padded(AtomicUsize::new(0)), Padded(AtomicUsize::new(0)));
    let shared = Arc::new(Shared { slots, head, tail, starved: AtomicBool::new(false), filled, drained });
    (Producer(shared.clone()), Consumer(shared))
}

impl<T: Send> Producer<T> {
    /// True if a slot is free. If not, `drained` is notified once one is.
    pub fn has_room(&self) -> bool {
        let shared = &*self.0;
        let tail = shared.tail.0.load(Ordering::Relaxed);
        let has_room = || tail - shared.head.0.load(Ordering::SeqCst) < shared.slots.len();
        if has_room() {
            return true;
        }
        // Stored before the second check: either the check sees the consumer's step, or the consumer sees the flag.
        shared.starved.store(true, Ordering::SeqCst);
        has_room()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The message itself, if no slot is free.
    pub fn put(&mut self, message: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(message);
        }
        let shared = &*self.0;
        let tail = shared.tail.0.load(Ordering::Relaxed);
        let slot = &shared.slots[tail % shared.slots.len()];
        // SAFETY: this is the only producer (`&mut self`), and the consumer does not read this slot
        // before the store to `tail` below.
        #[allow(unsafe_code)]
        unsafe {
            (*slot.get()).write(message);
        }
        shared.tail.0.store(tail + 1, Ordering::Release);
        shared.filled.notify();
        Ok(())
    }
}

impl<T: Send> Consumer<T> {
    /// Receives the oldest message, if there is one.
    pub fn take(&mut self) -> Option<T> {
        let shared = &*self.0;
        let head = shared.head.0.load(Ordering::Relaxed);
        if head == shared.tail.0.load(Ordering::Acquire) {
            return None;
        }
        let slot = &shared.slots[head % shared.slots.len()];
        // SAFETY: this is the only consumer (`&mut self`), and `tail` says that the slot is filled.
        #[allow(unsafe_code)]
        let message = unsafe { (*slot.get()).assume_init_read() };
        shared.head.0.store(head + 1, Ordering::SeqCst);
        if shared.starved.load(Ordering::SeqCst) {
            shared.starved.store(false, Ordering::SeqCst);
            shared.drained.notify();
        }
        Some(message)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Messages come out once each, in order, across threads, and what is left is dropped.
    #[test]
    fn across_threads() {
        let (mut producer, mut consumer) = channel::<Box<usize>>(3, Notify::default(), Notify::default());
        let writer = std::thread::spawn(move || {
            for n in 0..20_000 {
                let mut message = Box::new(n);
                while let Err(back) = producer.put(message) {
                    message = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 19_998 {
            match consumer.take() {
                Some(n) => {
                    assert_eq!(*n, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        writer.join().unwrap();
        assert!(consumer.take().is_some());
    }

    /// A full channel gives the message back.
    #[test]
    fn full() {
        let (mut producer, mut consumer) = channel(1, Notify::default(), Notify::default());
        assert_eq!(producer.put(1), Ok(()));
        assert!(!producer.has_room());
        assert_eq!(producer.put(2), Err(2));
        assert_eq!(consumer.take(), Some(1));
        assert_eq!(consumer.take(), None);
    }
}
