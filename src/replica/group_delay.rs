//! How long the next group waits for more requests.
//!
//! A group costs every server a write, an fdatasync and some wake-ups, however many requests it holds. Clients that wait
//! for a reply before they send the next request return one by one once a group is committed. If the first of them
//! became a group of its own, the others would become a second one, and so on for ever. So the next group waits until as
//! many requests are there as were lately outstanding at once, but at most as long as two groups take. After a wait in
//! vain it expects only as many as came, and for [`PAUSE_GROUPS`] groups no more: where arrivals are independent, the
//! expectation soon falls to one.

/// A group never waits where fewer requests than this are expected.
const RECORDS_MIN: usize = 2;

/// A group of this many requests begins without waiting: its costs are shared well enough.
const RECORDS_ENOUGH: usize = 32;

/// After a wait in vain, the expectation may not rise for this many groups.
const PAUSE_GROUPS: u32 = 16;

/// The longest wait, in durations of a group.
const WAIT_GROUPS_MAX: i64 = 2;

/// The longest wait, in microseconds.
const WAIT_US_MAX: i64 = 1_000;

/// The newest group counts for 1 / this in the average duration of groups.
const AVERAGE_WEIGHT: i64 = 8;

/// Decides when the next group begins; the module's page says why.
#[derive(Debug, Default)]
pub struct GroupDelay {
    /// Requests that were lately waiting or in flight at once.
    expected: usize,
    /// Groups before the expectation may rise again.
    pause: u32,
    /// Average duration of a group, from proposal to commit, in microseconds.
    group_us: i64,
    /// The deadline of the present wait.
    until_us: Option<i64>,
}

impl GroupDelay {
    /// True if the next group may begin now, with `waiting` requests in it and `in_flight` in earlier groups. True if
    /// none is waiting.
    pub fn is_due(&mut self, waiting: usize, in_flight: usize, now_us: i64) -> bool {
        if waiting == 0 {
            self.until_us = None;
            return true;
        }
        if self.pause == 0 {
            self.expected = self.expected.max(waiting + in_flight).min(RECORDS_ENOUGH);
        }
        let mut is_due = waiting >= self.expected || self.expected < RECORDS_MIN;
        if !is_due {
            let wait_us = (WAIT_GROUPS_MAX * self.group_us).min(WAIT_US_MAX);
            is_due = now_us >= *self.until_us.get_or_insert(now_us + wait_us);
            if is_due {
                (self.expected, self.pause) = (waiting, PAUSE_GROUPS + 1);
            }
        }
        if is_due {
            self.until_us = None;
            self.pause = self.pause.saturating_sub(1);
        }
        assert!(self.expected <= RECORDS_ENOUGH, "{} requests are expected", self.expected);
        assert!(self.pause <= PAUSE_GROUPS, "{} groups of pause", self.pause);
        is_due
    }

    /// The deadline of the present wait, if there is one.
    pub fn until_us(&self) -> Option<i64> {
        self.until_us
    }

    /// Records that a group was committed `took_us` microseconds after its proposal.
    pub fn committed(&mut self, took_us: i64) {
        self.group_us += (took_us - self.group_us) / AVERAGE_WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A delay where groups take 400 us.
    fn group_delay() -> GroupDelay {
        GroupDelay { group_us: 400, ..GroupDelay::default() }
    }

    /// A single request never waits, whatever came before.
    #[test]
    fn lone_requests_do_not_wait() {
        let mut delay = group_delay();
        for at in 0..100 {
            assert!(delay.is_due(1, 0, at * 500), "at {at}");
        }
    }

    /// Clients that return one by one become one group, though they began as three.
    #[test]
    fn clients_of_several_groups_become_one() {
        let mut delay = group_delay();
        assert!(delay.is_due(10, 0, 0), "nothing is known yet");
        assert!(!delay.is_due(1, 10, 50), "ten are in flight, and come back");
        assert_eq!(delay.until_us(), Some(850));
        assert!(!delay.is_due(12, 10, 100), "22 at once");
        assert_eq!(delay.until_us(), Some(850), "the deadline of the first request stays");
        assert!(delay.is_due(22, 0, 500));
        assert_eq!(delay.until_us(), None);
        for round in 1..10 {
            let at_us = round * 1_000;
            assert!((1..22).all(|waiting| !delay.is_due(waiting, 0, at_us)), "round {round}");
            assert!(delay.is_due(22, 0, at_us + 200), "round {round}");
        }
    }

    /// Where the expected requests do not come, the wait ends in time, and the next groups wait for fewer.
    #[test]
    fn waiting_in_vain_ends_and_is_not_repeated() {
        let mut delay = group_delay();
        assert!(delay.is_due(20, 0, 0));
        assert!(!delay.is_due(5, 0, 1_000));
        assert!(!delay.is_due(6, 0, 1_799));
        assert!(delay.is_due(7, 0, 1_800));
        assert!(!delay.is_due(3, 9, 2_000));
        assert!(delay.is_due(3, 9, 2_800), "seven did not come either");
        assert!(!delay.is_due(1, 9, 3_000));
        assert!(delay.is_due(1, 9, 3_800), "nor did three");
        for group in 0..i64::from(PAUSE_GROUPS) {
            assert!(delay.is_due(1, 9, 4_000 + group), "group {group}");
        }
        assert!(!delay.is_due(1, 9, 5_000), "the pause is over");
    }

    /// Enough requests do not wait for more, and the longest wait is bounded whatever a group takes.
    #[test]
    fn waits_are_bounded() {
        let mut delay = group_delay();
        assert!(delay.is_due(500, 0, 0));
        assert!(delay.is_due(RECORDS_ENOUGH, 468, 10));
        for _ in 0..100 {
            delay.committed(60_000_000);
        }
        assert!(!delay.is_due(1, 0, 20));
        assert_eq!(delay.until_us(), Some(20 + WAIT_US_MAX));
        assert!(delay.is_due(0, 1, 30), "the request was taken back");
        assert_eq!(delay.until_us(), None);
    }
}
