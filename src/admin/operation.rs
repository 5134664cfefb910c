//! What clients ask for, as latencies tell it apart.

use super::histogram::{Histogram, Merge, Summary};
use crate::proto::OpCode;

/// Which of ZooKeeper's two latencies counts an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// `readlatency`: no txn comes of it. `sync` is one of these to Java.
    Read,
    /// `updatelatency`.
    Update,
    /// Neither: Java measures no handshake of a client that has a session.
    Nowhere,
}

/// The operation of a handshake with a session that the client has already. No client sends this number.
pub(crate) const ATTACH_SESSION: OpCode = OpCode(-12);

use Counted::{Nowhere, Read, Update};

/// Each operation that is answered: its code, its name, and where ZooKeeper counts it. Source: `Request.op2String`,
/// `FinalRequestProcessor`.
const OPERATIONS: [(OpCode, &str, Counted); 28] = [
    (OpCode::GET_DATA, "getData", Read),
    (OpCode::EXISTS, "exists", Read),
    (OpCode::GET_CHILDREN, "getChildren", Read),
    (OpCode::GET_CHILDREN2, "getChildren2", Read),
    (OpCode::PING, "ping", Read),
    (OpCode::GET_ACL, "getACL", Read),
    (OpCode::GET_ALL_CHILDREN_NUMBER, "getAllChildrenNumber", Read),
    (OpCode::GET_EPHEMERALS, "getEphemerals", Read),
    (OpCode::WHO_AM_I, "whoAmI", Read),
    (OpCode::MULTI_READ, "multiRead", Read),
    (OpCode::ADD_WATCH, "addWatch", Read),
    (OpCode::CHECK_WATCHES, "checkWatches", Read),
    (OpCode::REMOVE_WATCHES, "removeWatches", Read),
    (OpCode::SET_WATCHES, "setWatches", Read),
    (OpCode::SET_WATCHES2, "setWatches2", Read),
    (OpCode::SYNC, "sync", Read),
    (OpCode::CREATE, "create", Update),
    (OpCode::CREATE2, "create2", Update),
    (OpCode::CREATE_CONTAINER, "createContainer", Update),
    (OpCode::CREATE_TTL, "createTTL", Update),
    (OpCode::DELETE, "delete", Update),
    (OpCode::SET_DATA, "setData", Update),
    (OpCode::SET_ACL, "setACL", Update),
    (OpCode::MULTI, "multi", Update),
    (OpCode::RECONFIG, "reconfig", Update),
    (OpCode::CREATE_SESSION, "createSession", Update),
    (OpCode::CLOSE_SESSION, "closeSession", Update),
    (ATTACH_SESSION, "attachSession", Nowhere),
];

/// Places for operations: a power of two, so that a place needs no check of its bounds.
const PLACES: usize = 32;

/// The place of each operation by the low bits of its code, which differ from those of all others. Other codes have the
/// last place, which is no operation's.
static PLACE_OF: [u8; CODES] = {
    let mut places = [PLACES as u8 - 1; CODES];
    let mut at = 0;
    while at < OPERATIONS.len() {
        let code = code_bits(OPERATIONS[at].0);
        assert!(places[code] == PLACES as u8 - 1, "two operations end in the same bits");
        places[code] = at as u8;
        at += 1;
    }
    places
};

/// Codes are told apart by so many values.
const CODES: usize = 128;

const _: () = assert!(OPERATIONS.len() < PLACES);

/// The name of an operation; that of one that clients do not have is `unknown`.
pub(crate) fn operation_name(op: OpCode) -> &'static str {
    OPERATIONS.iter().find(|(code, ..)| *code == op).map_or("unknown", |(_, name, _)| name)
}

const fn code_bits(op: OpCode) -> usize {
    op.0 as usize & (CODES - 1)
}

#[inline]
fn place_of(op: OpCode) -> usize {
    usize::from(PLACE_OF[code_bits(op)]) % PLACES
}

/// How long requests took, by operation: from the request's arrival until its reply is made.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    each: [Histogram; PLACES],
}

impl Operations {
    /// Adds one request that took so long.
    #[inline]
    pub fn record(&mut self, op: OpCode, took_us: u64) {
        self.each[place_of(op)].record(took_us);
    }

    /// Takes requests that were answered together, each of which took so long; says how many there were.
    #[inline]
    pub fn take_in(&mut self, answered: &mut Unmeasured, took_us: u64) -> u64 {
        let mut all = u64::from(std::mem::take(&mut answered.run));
        self.each[place_of(answered.last)].record_n(took_us, all);
        let mut places = std::mem::take(&mut answered.places);
        while places != 0 {
            let place = places.trailing_zeros() as usize % PLACES;
            places &= places - 1;
            let requests = u64::from(std::mem::take(&mut answered.by_place[place]));
            self.each[place].record_n(took_us, requests);
            all += requests;
        }
        all
    }

    /// Latencies by the operation's name; those that no client asked for are empty.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        OPERATIONS.iter().zip(&self.each).map(|((_, name, _), histogram)| (*name, histogram))
    }

    /// ZooKeeper's `readlatency`.
    pub fn reads(&self) -> Histogram {
        self.sum_of(Read)
    }

    /// ZooKeeper's `updatelatency`.
    pub fn updates(&self) -> Histogram {
        self.sum_of(Update)
    }

    /// What `srvr` shows: reads and updates, without percentiles.
    pub fn requests(&self) -> Summary {
        let mut all = Summary::default();
        for ((.., counted), histogram) in OPERATIONS.iter().zip(&self.each) {
            if *counted != Nowhere {
                all.merge(histogram.summary());
            }
        }
        all
    }

    /// Requests of every operation.
    pub fn answered(&self) -> u64 {
        self.each.iter().map(|histogram| histogram.summary().count()).sum()
    }

    fn sum_of(&self, wanted: Counted) -> Histogram {
        let mut sum = Histogram::default();
        for ((.., counted), histogram) in OPERATIONS.iter().zip(&self.each) {
            if *counted == wanted {
                sum.merge(histogram);
            }
        }
        sum
    }
}

impl Merge for Operations {
    fn merge(&mut self, other: &Self) {
        self.each.iter_mut().zip(&other.each).for_each(|(mine, theirs)| mine.merge(theirs));
    }
}

/// Requests that were answered as soon as they came: how long that took is measured once for all of them.
///
/// Most requests ask for what the one before them asked for: one comparison and one addition count those. A place looked up
/// for each of them would make a get 2 % more expensive.
#[derive(Debug)]
pub struct Unmeasured {
    last: OpCode,
    /// Requests of `last` since another operation came; 0 only if there are no requests at all.
    run: u32,
    /// Those before it: a bit for each place that has any.
    places: u32,
    by_place: [u32; PLACES],
}

impl Default for Unmeasured {
    fn default() -> Self {
        Self { last: OpCode::GET_DATA, run: 0, places: 0, by_place: [0; PLACES] }
    }
}

impl Unmeasured {
    /// Adds a request.
    #[inline]
    pub fn add(&mut self, op: OpCode) {
        if op != self.last {
            self.begin_run(op);
        }
        self.run += 1;
    }

    #[inline(never)]
    fn begin_run(&mut self, op: OpCode) {
        let place = place_of(self.last);
        if self.run > 0 {
            self.places |= 1 << place;
            self.by_place[place] += self.run;
        }
        (self.last, self.run) = (op, 0);
    }

    /// True if there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.run == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::OpKind;

    /// Every operation that a client may send has a place of its own, and a name.
    #[test]
    fn all_that_is_answered_is_measured() {
        let of_clients =
            (-20..200).map(OpCode).filter(|op| matches!(op.kind(), OpKind::Read | OpKind::Ordered));
        let mut names = Vec::new();
        for op in of_clients.chain([OpCode::CREATE_SESSION, ATTACH_SESSION]) {
            let mut operations = Operations::default();
            operations.record(op, 7);
            let found: Vec<&str> =
                operations.each().filter(|(_, h)| h.summary().count() > 0).map(|(name, _)| name).collect();
            assert_eq!(found.len(), 1, "{op:?}");
            names.extend(found);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPERATIONS.len(), "{names:?}");
    }

    /// Reads of a turn have one duration and are counted by operation; reads and updates add up to the requests.
    #[test]
    fn taken_in() {
        let (mut operations, mut answered) = (Operations::default(), Unmeasured::default());
        let ops = [OpCode::GET_DATA, OpCode::PING, OpCode::PING, OpCode::GET_DATA];
        ops.into_iter().for_each(|op| answered.add(op));
        assert!(!answered.is_empty());
        assert_eq!(operations.take_in(&mut answered, 50), 4);
        assert!(answered.is_empty());
        assert_eq!(operations.take_in(&mut answered, 60), 0);
        for (op, took_us) in [(OpCode::SET_DATA, 400), (OpCode::SYNC, 100), (ATTACH_SESSION, 900)] {
            operations.record(op, took_us);
        }
        let count_and_sum = |summary: &Summary| (summary.count(), summary.sum());
        assert_eq!(count_and_sum(operations.reads().summary()), (5, 300));
        assert_eq!(count_and_sum(operations.updates().summary()), (1, 400));
        assert_eq!(count_and_sum(&operations.requests()), (6, 700));
        let get = operations.each().find(|(name, _)| *name == "getData").expect("an operation").1;
        assert_eq!(count_and_sum(get.summary()), (2, 100));
    }
}
