//! Connections that are to go to other servers: how many, and how fast. An operator orders it, or the server is about to stop.
//! Each view closes its part.

use crate::replica::Shed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pause between two steps of a view.
pub const STEP_MS: i64 = 100;

/// A step closes one of so many connections that there were at the beginning, over all views; and at least one of each view.
/// All connections of a server so take 10 s to go: others take them in at the rate of an election's clients.
const STEP_PART: u64 = 100;

/// A client that was answered within this time is likely to have its next request on its way, and stays for now.
const QUIET_MS: i64 = 100;

/// After this time the clients that never rest so long go as well, at a moment at which the server owes them nothing.
const QUIET_FOR_MS: i64 = 20_000;

/// After this time an order ends, with what it has closed.
const ORDER_MS: i64 = 60_000;

/// An order, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Connections that it is to close.
    pub wanted: u64,
    /// Those that it has closed.
    pub closed: u64,
    /// Whether it goes on.
    pub is_under_way: bool,
    /// Connections of the server when it began.
    connections: u64,
    began_ms: i64,
}

/// The order of a server, for all its views.
#[derive(Debug, Default)]
pub struct Shedding {
    /// As in `order`, to look at without a lock.
    is_under_way: AtomicBool,
    order: Mutex<Progress>,
    /// Whether all are to go, since the server is about to stop.
    is_leaving: AtomicBool,
}

impl Shedding {
    fn order(&self) -> MutexGuard<'_, Progress> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, order: &mut Progress, is_under_way: bool) {
        order.is_under_way = is_under_way;
        self.is_under_way.store(is_under_way, Ordering::Release);
    }

    /// From here on all connections are to go.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    /// Whether all are to go, and none is to come.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// What a view with so many connections closes at its next tick, where all are to go: half of them, so that other servers do
    /// not get all at once.
    pub fn leaving(&self, connections: usize) -> Option<Shed> {
        let all =
            Shed { count: connections.div_ceil(2), opened_before_ms: i64::MAX, answered_before_ms: i64::MAX };
        self.is_leaving().then_some(all)
    }

    /// Begins to close `wanted` of `connections`; an order that is under way ends.
    pub fn begin(&self, wanted: u64, connections: u64, now_ms: i64) {
        let mut order = self.order();
        *order = Progress { wanted, closed: 0, is_under_way: false, connections, began_ms: now_ms };
        self.set(&mut order, wanted > 0);
    }

    /// The last order, and what has become of it.
    pub fn progress(&self) -> Progress {
        *self.order()
    }

    /// Has a view of `views` take a step, and counts what it closes. The last one says how the order ended.
    #[inline]
    pub fn step(&self, now_ms: i64, views: usize, close: impl FnOnce(Shed) -> usize) -> Option<Progress> {
        if !self.is_under_way.load(Ordering::Acquire) {
            return None;
        }
        // The lock is held while a view closes: views take turns, so that together they close no more than is wanted.
        let mut order = self.order();
        let step = order.next(now_ms, views)?;
        order.closed += close(step) as u64;
        assert!(order.closed <= order.wanted, "{} of {} are closed", order.closed, order.wanted);
        let is_over = order.closed == order.wanted || now_ms - order.began_ms >= ORDER_MS;
        if is_over {
            self.set(&mut order, false);
        }
        is_over.then_some(*order)
    }
}

impl Progress {
    fn next(&self, now_ms: i64, views: usize) -> Option<Shed> {
        let left = self.wanted - self.closed;
        let of_view = self.connections.div_ceil(STEP_PART).div_ceil(views as u64).max(1);
        let is_early = now_ms - self.began_ms < QUIET_FOR_MS;
        let step = Shed {
            count: left.min(of_view) as usize,
            opened_before_ms: self.began_ms,
            answered_before_ms: if is_early { now_ms - QUIET_MS } else { i64::MAX },
        };
        self.is_under_way.then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that is about to stop closes all in a few steps, whatever was ordered.
    #[test]
    fn leaving() {
        let shedding = Shedding::default();
        assert_eq!(shedding.leaving(7), None);
        shedding.leave();
        assert_eq!(shedding.leaving(7).map(|shed| shed.count), Some(4));
        assert_eq!(shedding.leaving(1).map(|shed| shed.count), Some(1));
        assert_eq!(shedding.leaving(0).map(|shed| shed.count), Some(0));
    }

    /// An order goes in steps of a hundredth of the connections, spares busy clients for a while, and ends.
    #[test]
    fn steps() {
        let shedding = Shedding::default();
        assert_eq!(shedding.step(0, 2, |_| panic!("no order")), None);
        shedding.begin(7, 1000, 50_000);
        let began = shedding.progress();
        assert_eq!((began.wanted, began.closed, began.is_under_way), (7, 0, true));
        let step = |now_ms, closes: usize| {
            let mut asked = None;
            let ended = shedding.step(now_ms, 2, |shed| {
                asked = Some(shed);
                closes.min(shed.count)
            });
            (asked, ended.map(|order| order.closed))
        };
        let shed =
            |count, answered_before_ms| Some(Shed { count, opened_before_ms: 50_000, answered_before_ms });
        assert_eq!(step(50_000, 5), (shed(5, 49_900), None), "of ten at a time a view of two has five");
        assert_eq!(step(50_100, 1), (shed(2, 50_000), None));
        assert_eq!(step(70_000, 0), (shed(1, i64::MAX), None), "busy clients go when the others have gone");
        assert_eq!(step(70_100, 1), (shed(1, i64::MAX), Some(7)));
        assert_eq!(step(70_200, 1), (None, None), "all are closed");
        assert!(!shedding.progress().is_under_way);
        // One that finds none to close ends as well, and so does one that another takes the place of.
        shedding.begin(3, 10, 80_000);
        assert_eq!(step(139_999, 0).1, None);
        assert_eq!(step(140_000, 1).1, Some(1));
        shedding.begin(3, 10, 200_000);
        shedding.begin(0, 10, 200_000);
        assert_eq!(step(200_000, 1), (None, None));
    }
}
