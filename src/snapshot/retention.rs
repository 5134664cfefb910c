//! What of the data directory is not needed any more.

use crate::proto::Zxid;
use crate::wal::Segment;

/// Snapshots that are kept at least, whatever is configured. Source: `PurgeTxnLog`.
pub const RETAIN_MIN: usize = 3;

/// What [`purge`] lets go, each oldest first. Snapshots are deleted before segments, in this order:
/// a crash in between then leaves no snapshot without its log, and no log with a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Snapshots, by their zxid.
    pub snapshots: Vec<Zxid>,
    /// Segments, by their number.
    pub segments: Vec<u32>,
}

/// Keeps the newest `retain` snapshots, [`RETAIN_MIN`] at least, and every segment with a record
/// after the oldest of them, so that each kept snapshot with the log gives the newest state.
///
/// `snapshots` are complete ones only (written to their end and flushed, or read to their end): one
/// that cannot be read must not count as kept (ZOOKEEPER-3231). Segments without any snapshot all stay,
/// and so does the newest one that has a durable group, which carries the log's end.
pub fn purge(snapshots: &[Zxid], segments: &[Segment], retain: usize) -> Purge {
    let mut snapshots = snapshots.to_vec();
    snapshots.sort_unstable();
    snapshots.dedup();
    let spare = snapshots.len().saturating_sub(retain.max(RETAIN_MIN));
    let kept = snapshots.split_off(spare);
    let Some(&oldest) = kept.first() else { return Purge::default() };

    let mut segments = segments.to_vec();
    segments.sort_unstable_by_key(|segment| segment.number);
    // Around a hole nothing is touched.
    let whole = segments.windows(2).take_while(|pair| pair[1].number == pair[0].number + 1).count() + 1;
    segments.truncate(whole);
    if let Some(newest) = segments.last_mut().filter(|newest| newest.is_base) {
        // Who looks while the log is written may see a base that is not durable yet.
        newest.after = None;
    }
    // Starts may go back, after a marker: replay of any kept snapshot starts at the last one that is not above.
    let start = segments.iter().rposition(|segment| segment.after.is_some_and(|after| after <= oldest));
    let unneeded = segments[..start.unwrap_or(0)].iter().map(|segment| segment.number).collect();
    Purge { snapshots, segments: unneeded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(snapshots: &[u64], segments: &[(u32, Option<u64>)], retain: usize) -> (Vec<u64>, Vec<u32>) {
        let snapshots: Vec<_> = snapshots.iter().map(|&zxid| Zxid(zxid)).collect();
        let segments: Vec<_> = segments
            .iter()
            .map(|&(number, after)| Segment { number, after: after.map(Zxid), is_base: false })
            .collect();
        let purge = purge(&snapshots, &segments, retain);
        (purge.snapshots.iter().map(|zxid| zxid.0).collect(), purge.segments)
    }

    const LOG: [(u32, Option<u64>); 4] = [(1, Some(0)), (2, Some(10)), (3, Some(20)), (4, Some(30))];

    /// The newest ones stay, and the segment that the oldest of them ends in, to the last zxid.
    #[test]
    fn keeps_what_the_oldest_needs() {
        assert_eq!(run(&[5, 9, 25, 30, 40], &LOG, 3), (vec![5, 9], vec![1, 2]));
        assert_eq!(run(&[40, 9, 30, 20, 5], &LOG, 3), (vec![5, 9], vec![1, 2]), "any order");
        assert_eq!(run(&[5, 19, 30, 40], &LOG, 3), (vec![5], vec![1]));
        assert_eq!(run(&[5, 10, 30, 40], &LOG, 3), (vec![5], vec![1]));
        assert_eq!(run(&[5, 9, 30, 40], &LOG, 3), (vec![5], vec![]));
        assert_eq!(run(&[5, 9, 25, 30, 40], &LOG, 4), (vec![5], vec![]));
    }

    /// Three snapshots are kept at least, and all while there are not more.
    #[test]
    fn keeps_three() {
        assert_eq!(run(&[5, 15, 25, 35], &LOG, 0), (vec![5], vec![1]));
        assert_eq!(run(&[15, 25, 35], &LOG, 1), (vec![], vec![1]));
        assert_eq!(run(&[99, 99, 99, 99], &LOG, 3).0, vec![0; 0], "one, named four times");
        assert_eq!(run(&[], &LOG, 3), (vec![], vec![]), "a log without a snapshot is all there is");
    }

    /// The log's last durable group stays: after it the log goes on.
    #[test]
    fn keeps_the_end() {
        assert_eq!(run(&[97, 98, 99], &LOG, 3).1, [1, 2, 3]);
        assert_eq!(run(&[97, 98, 99], &[(1, Some(0)), (2, None)], 3).1, [0; 0]);
        assert_eq!(run(&[97, 98, 99], &[(2, None)], 3).1, [0; 0]);
    }

    /// Where zxids went back, by a truncation or a base, what the oldest snapshot starts with stays; and a base that
    /// may not be durable yet costs nothing.
    #[test]
    fn keeps_what_a_log_that_went_back_needs() {
        let log = [(1, Some(0)), (2, Some(10)), (3, Some(30)), (4, Some(20)), (5, Some(25))];
        assert_eq!(run(&[15, 16, 17], &log, 3).1, [1]);
        assert_eq!(run(&[22, 23, 24], &log, 3).1, [1, 2, 3]);
        assert_eq!(run(&[35, 36, 37], &log, 3).1, [1, 2, 3, 4]);
        let segment = |number, after, is_base| Segment { number, after: Some(Zxid(after)), is_base };
        let mut log = vec![segment(1, 0, false), segment(2, 50, true)];
        let snapshots = [Zxid(60), Zxid(61), Zxid(62)];
        assert_eq!(purge(&snapshots, &log, 3).segments, [0; 0]);
        log.push(segment(3, 55, false));
        assert_eq!(purge(&snapshots, &log, 3).segments, [1, 2]);
    }

    /// Around a segment that is missing nothing is touched: someone may yet put it back.
    #[test]
    fn keeps_around_a_hole() {
        assert_eq!(
            run(&[97, 98, 99], &[(1, Some(0)), (2, Some(10)), (4, Some(30)), (5, Some(40))], 3).1,
            [1]
        );
    }

    /// After any purge of a seeded log, each snapshot that is left finds all records after it.
    #[test]
    fn every_kept_snapshot_replays() {
        let mut state = 1u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..2000 {
            let mut after = 0;
            let mut segments = Vec::new();
            for number in 1..2 + below(8) as u32 {
                segments.push(Segment { number, after: Some(Zxid(after)), is_base: false });
                after += 1 + below(10);
            }
            let snapshots: Vec<_> = (0..below(8)).map(|_| Zxid(below(after + 5))).collect();
            let gone = purge(&snapshots, &segments, below(6) as usize);
            segments.retain(|segment| !gone.segments.contains(&segment.number));
            for snapshot in snapshots.iter().filter(|zxid| !gone.snapshots.contains(zxid)) {
                let start = crate::wal::replay_start(&segments, *snapshot);
                assert!(start.is_some(), "{snapshot} {segments:?} {gone:?}");
            }
        }
    }
}
