//! How long the next group waits for more.
//!
//! A group costs every server a write, an fdatasync and some wake-ups, whatever is in it. Clients that wait for their
//! replies before they ask again come back one by one once a group is committed; were the first of them a group, the
//! others would be one too, and so on for ever. So the next group waits for as many as were lately on their way at once,
//! no longer than two groups take. Where it waited in vain, it expects what came and for a while no more: where arrivals
//! have nothing to do with each other, that soon is one.

/// Fewer requests than this are not worth waiting for.
const FEW: usize = 2;

/// As many as this share a group's costs well enough.
const ENOUGH: usize = 32;

/// Groups after one that waited in vain before more are expected again.
const PAUSE: u32 = 16;

/// How many times as long as a group takes the next one waits at most.
const GROUPS: i64 = 2;

/// A group is never waited for longer than this, in microseconds.
const WAIT_US_MAX: i64 = 1_000;

/// Weight of the newest group in the time that groups take, as a divisor.
const WEIGHT: i64 = 8;

/// See the module's page.
#[derive(Debug, Default)]
pub struct Patience {
    /// Requests that wait or are in flight at once, lately.
    expected: usize,
    /// Groups yet to be made before more are expected than came.
    pause: u32,
    /// How long groups take lately, from being proposed to being committed, in microseconds.
    group_us: i64,
    /// Until when the next group waits.
    until_us: Option<i64>,
}

impl Patience {
    /// Whether the next group may begin now, with `waiting` requests while `in_flight` are in earlier ones. With none
    /// it may: there is nothing to wait with.
    pub fn is_over(&mut self, waiting: usize, in_flight: usize, now_us: i64) -> bool {
        if waiting == 0 {
            self.until_us = None;
            return true;
        }
        if self.pause == 0 {
            self.expected = self.expected.max(waiting + in_flight).min(ENOUGH);
        }
        let mut is_over = waiting >= self.expected || self.expected < FEW;
        if !is_over {
            let wait_us = (GROUPS * self.group_us).min(WAIT_US_MAX);
            is_over = now_us >= *self.until_us.get_or_insert(now_us + wait_us);
            if is_over {
                (self.expected, self.pause) = (waiting, PAUSE + 1);
            }
        }
        if is_over {
            self.until_us = None;
            self.pause = self.pause.saturating_sub(1);
        }
        is_over
    }

    /// Until when the next group waits, if it does.
    pub fn until_us(&self) -> Option<i64> {
        self.until_us
    }

    /// A group was committed after so many microseconds.
    pub fn committed(&mut self, took_us: i64) {
        self.group_us += (took_us - self.group_us) / WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has had a group committed that took 400 us.
    fn patience() -> Patience {
        Patience { group_us: 400, ..Patience::default() }
    }

    /// Who comes alone never waits, whatever was before.
    #[test]
    fn lone_requests_do_not_wait() {
        let mut patience = patience();
        for at in 0..100 {
            assert!(patience.is_over(1, 0, at * 500), "at {at}");
        }
    }

    /// Clients that come back one by one become one group, though they began as three.
    #[test]
    fn clients_of_several_groups_become_one() {
        let mut patience = patience();
        assert!(patience.is_over(10, 0, 0), "nothing is known yet");
        assert!(!patience.is_over(1, 10, 50), "ten are in flight, and come back");
        assert_eq!(patience.until_us(), Some(850));
        assert!(!patience.is_over(12, 10, 100), "22 at once");
        assert_eq!(patience.until_us(), Some(850), "the first who waits is not put off");
        assert!(patience.is_over(22, 0, 500));
        assert_eq!(patience.until_us(), None);
        for round in 1..10 {
            let at_us = round * 1_000;
            assert!((1..22).all(|waiting| !patience.is_over(waiting, 0, at_us)), "round {round}");
            assert!(patience.is_over(22, 0, at_us + 200), "round {round}");
        }
    }

    /// Where those who are waited for stay away, the wait ends in time, and the next groups wait for fewer.
    #[test]
    fn waiting_in_vain_ends_and_is_not_repeated() {
        let mut patience = patience();
        assert!(patience.is_over(20, 0, 0));
        assert!(!patience.is_over(5, 0, 1_000));
        assert!(!patience.is_over(6, 0, 1_799));
        assert!(patience.is_over(7, 0, 1_800));
        assert!(!patience.is_over(3, 9, 2_000));
        assert!(patience.is_over(3, 9, 2_800), "seven did not come either");
        assert!(!patience.is_over(1, 9, 3_000));
        assert!(patience.is_over(1, 9, 3_800), "nor did three");
        for group in 0..i64::from(PAUSE) {
            assert!(patience.is_over(1, 9, 4_000 + group), "group {group}");
        }
        assert!(!patience.is_over(1, 9, 5_000), "by now it is worth a try");
    }

    /// Enough requests do not wait for more, and the longest wait is bounded whatever a group takes.
    #[test]
    fn waits_are_bounded() {
        let mut patience = patience();
        assert!(patience.is_over(500, 0, 0));
        assert!(patience.is_over(ENOUGH, 468, 10));
        for _ in 0..100 {
            patience.committed(60_000_000);
        }
        assert!(!patience.is_over(1, 0, 20));
        assert_eq!(patience.until_us(), Some(20 + WAIT_US_MAX));
        assert!(patience.is_over(0, 1, 30), "it was taken away");
        assert_eq!(patience.until_us(), None);
    }
}
