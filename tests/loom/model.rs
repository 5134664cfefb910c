//! What `src/server/spsc.rs` uses of `std` and `atomic_waker`, as loom has it.
//!
//! Loom takes `SeqCst` of a load or a store for `AcqRel`, and would find missed wake-ups that cannot be. Its fences are
//! right. So here a fence comes before a `SeqCst` load if the thread's last store was `SeqCst` too: that orders the flag and
//! the position of the two sides as `SeqCst` does, and nothing where the source asks for less of either.

pub use loom::sync::Arc;

use loom::sync::atomic::fence;
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::task::Waker;

loom::thread_local! {
    /// The last store of the thread was `SeqCst`, and no fence came since.
    static IS_FENCE_DUE: Cell<bool> = Cell::new(false);
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub struct $name(loom::sync::atomic::$name);

        impl $name {
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub fn load(&self, ordering: Ordering) -> $value {
                if ordering != Ordering::SeqCst {
                    return self.0.load(ordering);
                }
                if IS_FENCE_DUE.with(|due| due.replace(false)) {
                    fence(Ordering::SeqCst);
                }
                self.0.load(Ordering::Acquire)
            }

            pub fn store(&self, value: $value, ordering: Ordering) {
                let is_ordered = ordering == Ordering::SeqCst;
                IS_FENCE_DUE.with(|due| due.set(is_ordered));
                self.0.store(value, if is_ordered { Ordering::Release } else { ordering });
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicUsize, usize);

/// A cell whose accesses loom checks at the moment when the pointer is taken. The caller uses it before anything else
/// happens in the model, so that is the moment of the access.
#[derive(Debug)]
pub struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    pub fn get(&self) -> *mut T {
        self.0.with_mut(|pointer| pointer)
    }

    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the exclusive reference to the cell is one to its content.
        #[allow(unsafe_code)]
        self.0.with_mut(|pointer| unsafe { &mut *pointer })
    }
}

/// Its waker stands under a lock of loom's.
#[derive(Debug, Default)]
pub struct AtomicWaker(loom::future::AtomicWaker);

impl AtomicWaker {
    pub fn register(&self, waker: &Waker) {
        self.0.register_by_ref(waker);
    }

    pub fn wake(&self) {
        self.0.wake();
    }
}
