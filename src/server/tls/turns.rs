//! Handshakes wait for the shard's other clients: one costs a signature, half a millisecond where the key is RSA, and clients
//! may come back by the thousand at once.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Time that handshakes have in one pass of a shard's executor.
const SPENT_MAX: Duration = Duration::from_millis(2);

thread_local! {
    static PASS: RefCell<Pass> = RefCell::default();
}

#[derive(Default)]
struct Pass {
    spent: Duration,
    /// The first that was sent back. Once it is asked for again every other task has had its turn: the next pass.
    first_back: Option<u64>,
    last: u64,
}

/// A connection's place among the handshakes of its shard.
pub(super) struct Turn(u64);

impl Turn {
    /// For a new connection.
    pub(super) fn new() -> Self {
        PASS.with_borrow_mut(|pass| {
            pass.last += 1;
            Self(pass.last)
        })
    }

    /// False where the connection must let others go first: it is to wake itself.
    pub(super) fn is_come(&self) -> bool {
        PASS.with_borrow_mut(|pass| {
            if pass.first_back == Some(self.0) {
                pass.renew();
            }
            let is_come = pass.spent < SPENT_MAX;
            if !is_come {
                pass.first_back.get_or_insert(self.0);
            }
            is_come
        })
    }

    /// Does a part of a handshake, and counts its time.
    pub(super) fn count<T>(part: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = part();
        PASS.with_borrow_mut(|pass| pass.spent += begun.elapsed());
        done
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // No other connection would begin the next pass.
        PASS.with_borrow_mut(|pass| {
            if pass.first_back == Some(self.0) {
                pass.renew();
            }
        });
    }
}

impl Pass {
    fn renew(&mut self) {
        (self.spent, self.first_back) = (Duration::ZERO, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{SPENT_MAX, Turn};

    /// Once the time is over all wait, until the first of them is asked for again, or is gone.
    #[test]
    fn passes() {
        let [a, b, c] = [(); 3].map(|()| Turn::new());
        assert!(a.is_come() && b.is_come());
        Turn::count(|| std::thread::sleep(SPENT_MAX));
        assert!(!b.is_come() && !c.is_come() && !a.is_come());
        assert!(b.is_come() && c.is_come() && a.is_come(), "the next pass");
        Turn::count(|| std::thread::sleep(SPENT_MAX));
        assert!(!c.is_come() && !a.is_come());
        drop(c);
        assert!(a.is_come(), "the first is gone");
    }
}
