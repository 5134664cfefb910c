//! When a group of requests came through each stage on its way to the views.

/// Moments in microseconds of the monotonic clock; 0 where a stage is not known, as on a follower, whose leader has most of
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTimes {
    /// The commit side took the first request of the group.
    pub begun_us: i64,
    /// How long it took to check its requests, in microseconds.
    pub check_us: u64,
    /// The log took the group.
    pub logging_us: i64,
    /// It was durable here.
    pub durable_us: i64,
    /// It was committed, and given to the views.
    pub published_us: i64,
}

impl GroupTimes {
    /// How long a request of the group that was sent up at `sent_us` was in each stage until `answered_us`, by the stage's
    /// name. The sum is the whole time. The names are those of the metric `zkfast_write_stage_duration_seconds`; a
    /// follower knows `forwarded` in place of all before the last.
    pub fn stages(&self, sent_us: i64, answered_us: i64) -> Vec<(&'static str, u64)> {
        let mut at_us = sent_us;
        let mut through = |until_us: i64| {
            // A request may join a group that was begun before it came; a quorum may be faster than the own log.
            let took_us = (until_us - at_us).max(0);
            at_us += took_us;
            took_us as u64
        };
        if self.begun_us == 0 {
            let forwarded = through(self.published_us.min(answered_us));
            return vec![("forwarded", forwarded), ("apply", through(answered_us))];
        }
        let queue = through(self.begun_us);
        let gathered = through(self.logging_us);
        let check = self.check_us.min(gathered);
        let log = through(self.durable_us);
        vec![
            ("queue", queue),
            ("check", check),
            ("log_queue", gathered - check),
            ("log", log),
            ("quorum", through(self.published_us)),
            ("apply", through(answered_us)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(times: &GroupTimes, sent_us: i64, answered_us: i64) -> String {
        let stages = times.stages(sent_us, answered_us);
        let sum: u64 = stages.iter().map(|(_, us)| us).sum();
        assert_eq!(sum, (answered_us - sent_us) as u64, "{stages:?}");
        stages.iter().map(|(name, us)| format!("{name}={us}")).collect::<Vec<_>>().join(" ")
    }

    /// Stages add up to the whole time, also of a request that came after its group was begun, of a group that a quorum
    /// committed before this server had it, and of one without a record.
    #[test]
    fn add_up() {
        let times =
            GroupTimes { begun_us: 120, check_us: 5, logging_us: 150, durable_us: 1150, published_us: 1400 };
        assert_eq!(stages(&times, 100, 1410), "queue=20 check=5 log_queue=25 log=1000 quorum=250 apply=10");
        assert_eq!(stages(&times, 148, 1410), "queue=0 check=2 log_queue=0 log=1000 quorum=250 apply=10");
        let quorum_first = GroupTimes { durable_us: 0, published_us: 900, ..times };
        assert_eq!(
            stages(&quorum_first, 100, 910),
            "queue=20 check=5 log_queue=25 log=0 quorum=750 apply=10"
        );
        let sync = GroupTimes { logging_us: 0, durable_us: 0, ..times };
        assert_eq!(stages(&sync, 100, 1410), "queue=20 check=0 log_queue=0 log=0 quorum=1280 apply=10");
        let followed = GroupTimes { published_us: 900, ..GroupTimes::default() };
        assert_eq!(stages(&followed, 100, 1000), "forwarded=800 apply=100");
    }
}
