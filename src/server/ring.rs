//! Bounded queues between shards: one producer, one consumer, no lock.
//!
//! A shard that is idle sleeps; [`Bell`] wakes its task. A message is a batch, so a ring
//! is short and a wake is paid once per batch.

use atomic_waker::AtomicWaker;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

/// Wakes one task, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<AtomicWaker>);

impl Bell {
    /// Whom to wake from now on. What is rung after this is heard; the caller looks for work after it.
    pub fn listen(&self, waker: &Waker) {
        self.0.register(waker);
    }

    /// Wakes the task.
    pub fn ring(&self) {
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
    /// The producer found no place and waits to be told of one.
    starved: AtomicBool,
    /// Rung when a message is there.
    filled: Bell,
    /// Rung when a place is free and somebody waits for it: a wake across cores is dear.
    drained: Bell,
}

// SAFETY: a slot is touched by one side at a time: by the producer while `tail - head < slots`, by the
// consumer once `tail` has passed it. The Release store and Acquire load of `tail` (and of `head`, on
// the way back) order what each side did to the slot. Messages cross threads, hence `T: Send`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (head, tail) = (*self.head.0.get_mut(), *self.tail.0.get_mut());
        for at in head..tail {
            let slots = self.slots.len();
            // SAFETY: nobody else is left; slots from head to tail hold messages.
            #[allow(unsafe_code)]
            unsafe {
                self.slots[at % slots].get_mut().assume_init_drop();
            }
        }
    }
}

/// The end that puts.
pub struct Producer<T>(Arc<Shared<T>>);

/// The end that takes.
pub struct Consumer<T>(Arc<Shared<T>>);

/// A ring of `slots` messages. `filled` is rung for the consumer, `drained` for the producer.
pub fn ring<T: Send>(slots: usize, filled: Bell, drained: Bell) -> (Producer<T>, Consumer<T>) {
    assert!(slots > 0, "a ring has slots");
    let slots = (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let (head, tail) = (Padded(AtomicUsize::new(0)), Padded(AtomicUsize::new(0)));
    let shared = Arc::new(Shared { slots, head, tail, starved: AtomicBool::new(false), filled, drained });
    (Producer(shared.clone()), Consumer(shared))
}

impl<T: Send> Producer<T> {
    /// Whether there is a place; if not, `drained` is rung once there is.
    pub fn has_room(&self) -> bool {
        let shared = &*self.0;
        let tail = shared.tail.0.load(Ordering::Relaxed);
        let has_room = || tail - shared.head.0.load(Ordering::SeqCst) < shared.slots.len();
        if has_room() {
            return true;
        }
        // Said before looking again: either this sees the consumer's step, or the consumer sees this.
        shared.starved.store(true, Ordering::SeqCst);
        has_room()
    }

    /// Puts a message; gives it back if there is no place.
    pub fn put(&mut self, message: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(message);
        }
        let shared = &*self.0;
        let tail = shared.tail.0.load(Ordering::Relaxed);
        let slot = &shared.slots[tail % shared.slots.len()];
        // SAFETY: this is the only producer (`&mut self`), and the consumer does not look at this slot
        // before the store to `tail` below.
        #[allow(unsafe_code)]
        unsafe {
            (*slot.get()).write(message);
        }
        shared.tail.0.store(tail + 1, Ordering::Release);
        shared.filled.ring();
        Ok(())
    }
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest message.
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
            shared.drained.ring();
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages come out once each, in order, across threads, and what is left is dropped.
    #[test]
    fn across_threads() {
        let (mut producer, mut consumer) = ring::<Box<usize>>(3, Bell::default(), Bell::default());
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

    /// A full ring gives the message back.
    #[test]
    fn full() {
        let (mut producer, mut consumer) = ring(1, Bell::default(), Bell::default());
        assert_eq!(producer.put(1), Ok(()));
        assert!(!producer.has_room());
        assert_eq!(producer.put(2), Err(2));
        assert_eq!(consumer.take(), Some(1));
        assert_eq!(consumer.take(), None);
    }
}
