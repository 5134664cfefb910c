//! Session ids and passwords, timeouts in ticks, and the order in which sessions expire.
//!
//! Invariants: a session is in exactly one bucket until it is taken as expired, and in none after
//! that; buckets are never empty. Only the server of record (standalone, or the leader) expires.
//!
//! Source: `SessionTrackerImpl`, `ExpiryQueue`, `ZooKeeperServer.generatePasswd`, ZooKeeper 3.9.

use crate::proto::{ErrorCode, PASSWORD_BYTES, SessionId};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// The owner of container znodes in the field that names a session elsewhere; no session has it.
/// Source: `EphemeralType.CONTAINER_EPHEMERAL_OWNER`.
const CONTAINER_OWNER: SessionId = SessionId(i64::MIN);

/// Ids that are left out where the clock was set back to before those that are known: a minute's worth, and more sessions
/// than a server opens in its life.
const ENDED_IDS_MAX: i64 = 1 << 32;

/// What stands between a session's id and the seed of its password; the same in every server there
/// is. Source: `ZooKeeperServer.superSecret`.
const PASSWORD_SECRET: i64 = 0xB341_5C00;

/// The password of a session: what `java.util.Random` yields for a seed made of the id. It is
/// computed again whenever it is needed, on any server, and stored nowhere.
pub fn password(session_id: SessionId) -> [u8; PASSWORD_BYTES] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((session_id.0 ^ PASSWORD_SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_BYTES];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

/// Whether `given` is the password of `session_id`. [`SessionId::NONE`] belongs to no client and has none.
pub fn is_password(session_id: SessionId, given: &[u8]) -> bool {
    session_id.is_some() && given == password(session_id)
}

/// The first session id of a server: its number in the high byte, 40 bits of the milliseconds since
/// 1970, and 16 zero bits. Java counts the milliseconds since boot, which repeats ids after one.
///
/// `server_id` is `myid`, and 1 for a standalone server.
pub fn first_session_id(server_id: u8, wall_ms: i64) -> SessionId {
    let started = ((wall_ms as u64) << 24) >> 8;
    usable(SessionId((u64::from(server_id) << 56 | started) as i64))
}

/// The first id that a server gives from `wall_ms` on, given the sessions that there are: its clock may
/// have been set back since those were given out.
pub fn next_session_id<'a>(
    server_id: u8,
    wall_ms: i64,
    known: impl Iterator<Item = &'a SessionId>,
) -> SessionId {
    let highest = known.copied().filter(|id| (id.0 as u64 >> 56) as u8 == server_id).max();
    let first = first_session_id(server_id, wall_ms);
    // After the highest that is alive are others, which have ended, or which the log does not name: their clients
    // must not find another client's. Each start begins elsewhere, so that two in a row do not meet either.
    let beyond = |highest: SessionId| {
        let elsewhere = (wall_ms as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) as i64 & (ENDED_IDS_MAX - 1);
        usable(SessionId((highest.0 | (ENDED_IDS_MAX - 1)).wrapping_add(1).wrapping_add(elsewhere)))
    };
    highest.filter(|highest| *highest >= first).map_or(first, beyond)
}

/// The id to be given after `id`.
pub fn id_after(id: SessionId) -> SessionId {
    usable(SessionId(id.0.wrapping_add(1)))
}

/// `id`, or the next one where no session may have it.
fn usable(id: SessionId) -> SessionId {
    if id.is_none() || id == CONTAINER_OWNER { SessionId(id.0 + 1) } else { id }
}

/// No session, in links between slots.
const NONE: u32 = u32::MAX;

/// A bucket's number for sessions that are in none.
const TAKEN: i64 = i64::MIN;

#[derive(Clone, Copy, Debug)]
struct Session<O> {
    id: SessionId,
    /// Multiple of the tick at which it expires: its bucket.
    bucket: i64,
    timeout_ms: i32,
    /// Neighbours in the bucket; of a free slot, `next` is the next free one.
    prev: u32,
    next: u32,
    closing: bool,
    owner: Option<O>,
}

/// All sessions of a server, by id and by the tick in which they expire. `O` names a connection, or
/// the learner through which a session's requests arrive.
///
/// Times are milliseconds of a clock that never goes back, with any start. A session expires at the
/// first multiple of the tick after `now + timeout`, so between `timeout` and `timeout + tick` after
/// it was last heard of. Costs: one lookup for a touch within the same tick, and a few more steps
/// once per tick.
#[derive(Clone, Debug)]
pub struct Tracker<O> {
    tick_ms: i64,
    next_id: SessionId,
    hasher: FixedState,
    by_id: HashTable<u32>,
    slots: Vec<Session<O>>,
    free: u32,
    /// Head of each bucket's list.
    buckets: BTreeMap<i64, u32>,
    /// The slot that was looked for last, whose session is there: a client's requests tend to come together.
    last: Cell<u32>,
}

impl<O: Copy + Eq> Tracker<O> {
    /// No sessions yet. `tick_ms` is positive, `first_id` comes from [`first_session_id`], `seed`
    /// is arbitrary and keeps clients from choosing ids that collide.
    pub fn new(tick_ms: i32, first_id: SessionId, seed: u64) -> Self {
        assert!(tick_ms > 0, "tickTime is {tick_ms} ms");
        Self {
            tick_ms: i64::from(tick_ms),
            next_id: usable(first_id),
            hasher: FixedState::with_seed(seed),
            by_id: HashTable::new(),
            slots: Vec::new(),
            free: NONE,
            buckets: BTreeMap::new(),
            last: Cell::new(NONE),
        }
    }

    /// An id that no session of this server has had.
    pub fn next_session_id(&mut self) -> SessionId {
        let id = self.next_id;
        self.next_id = id_after(id);
        id
    }

    /// Adds a session, or gives the one that is there a full `timeout_ms`. True if it is new.
    pub fn track(&mut self, id: SessionId, timeout_ms: i32, now_ms: i64) -> bool {
        let bucket = self.bucket_of(now_ms.saturating_add(i64::from(timeout_ms)));
        let (hasher, slots) = (&self.hasher, &mut self.slots);
        let entry = self.by_id.entry(
            hasher.hash_one(id),
            |&slot| slots[slot as usize].id == id,
            |&slot| hasher.hash_one(slots[slot as usize].id),
        );
        let vacant = match entry {
            Entry::Occupied(entry) => {
                let slot = *entry.get();
                self.refile(slot, bucket);
                return false;
            }
            Entry::Vacant(vacant) => vacant,
        };
        let session =
            Session { id, bucket: TAKEN, timeout_ms, prev: NONE, next: NONE, closing: false, owner: None };
        let slot = if self.free == NONE {
            slots.push(session);
            u32::try_from(slots.len() - 1).expect("2^32 sessions do not fit in memory")
        } else {
            let slot = self.free;
            self.free = slots[slot as usize].next;
            slots[slot as usize] = session;
            slot
        };
        vacant.insert(slot);
        self.refile(slot, bucket);
        true
    }

    /// Notes that a session was heard of. False, and nothing happens, if it is not there or closing.
    pub fn touch(&mut self, id: SessionId, timeout_ms: i32, now_ms: i64) -> bool {
        self.defer(id, |_| timeout_ms, now_ms)
    }

    /// [`Self::touch`] with the timeout that the session has.
    pub fn heard(&mut self, id: SessionId, now_ms: i64) -> bool {
        self.defer(id, |session| session.timeout_ms, now_ms)
    }

    fn defer(&mut self, id: SessionId, timeout_ms: impl FnOnce(&Session<O>) -> i32, now_ms: i64) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let session = &self.slots[slot as usize];
        if session.closing {
            return false;
        }
        let expiry_ms = now_ms.saturating_add(i64::from(timeout_ms(session)));
        // Mostly it stays where it is, which is found without a division.
        if session.bucket.wrapping_sub(self.tick_ms) > expiry_ms || expiry_ms >= session.bucket {
            self.refile(slot, self.bucket_of(expiry_ms));
        }
        true
    }

    /// Notes that the session's close is under way: it takes no requests any more. It stays tracked
    /// until [`remove`](Self::remove), and still expires if that does not come.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(slot) = self.slot(id) {
            self.slots[slot as usize].closing = true;
        }
    }

    /// Forgets a session, when its close is committed. False if it was not there.
    pub fn remove(&mut self, id: SessionId) -> bool {
        let slots = &self.slots;
        let found = self.by_id.find_entry(self.hasher.hash_one(id), |&slot| slots[slot as usize].id == id);
        let Ok(entry) = found else { return false };
        let (slot, _) = entry.remove();
        self.last.set(NONE);
        self.unlink(slot);
        self.slots[slot as usize].next = self.free;
        self.free = slot;
        true
    }

    /// The session's timeout in milliseconds, as last negotiated; `None` if it is not there.
    pub fn get(&self, id: SessionId) -> Option<i32> {
        self.session(id).map(|session| session.timeout_ms)
    }

    /// Makes `timeout_ms` the session's timeout: its client attached again and asked for that.
    pub fn set_timeout(&mut self, id: SessionId, timeout_ms: i32) {
        if let Some(slot) = self.slot(id) {
            self.slots[slot as usize].timeout_ms = timeout_ms;
        }
    }

    /// Whether the session is there and closing or expired.
    pub fn is_closing(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| session.closing)
    }

    /// The connection through which the session's requests arrive; `None` until the first does.
    pub fn owner(&self, id: SessionId) -> Option<O> {
        self.session(id)?.owner
    }

    /// Makes `owner` the one whose requests count, when a client attaches its session again.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] if the session is not there or closing.
    pub fn set_owner(&mut self, id: SessionId, owner: O) -> Result<(), ErrorCode> {
        let slot = self.slot(id).ok_or(ErrorCode::SessionExpired)?;
        let session = &mut self.slots[slot as usize];
        if session.closing {
            return Err(ErrorCode::SessionExpired);
        }
        session.owner = Some(owner);
        Ok(())
    }

    /// No one owns a session any more.
    pub fn disown(&mut self) {
        self.slots.iter_mut().for_each(|session| session.owner = None);
    }

    /// Checks that a request may run which arrived through `owner`; the first to ask becomes owner.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] if the session is not there or closing;
    /// [`ErrorCode::SessionMoved`] if its client went elsewhere since.
    pub fn check(&mut self, id: SessionId, owner: O) -> Result<(), ErrorCode> {
        let slot = self.slot(id).ok_or(ErrorCode::SessionExpired)?;
        let session = &mut self.slots[slot as usize];
        if session.closing {
            return Err(ErrorCode::SessionExpired);
        }
        if *session.owner.get_or_insert(owner) == owner { Ok(()) } else { Err(ErrorCode::SessionMoved) }
    }

    /// Appends the sessions whose time is over, the longest overdue first, and marks them closing.
    /// The caller proposes their closeSession; none is returned twice unless it is tracked again.
    pub fn take_expired(&mut self, now_ms: i64, out: &mut Vec<SessionId>) {
        while let Some(bucket) = self.buckets.first_entry()
            && *bucket.key() <= now_ms
        {
            let mut slot = bucket.remove();
            while slot != NONE {
                let session = &mut self.slots[slot as usize];
                out.push(session.id);
                session.closing = true;
                session.bucket = TAKEN;
                slot = session.next;
                (session.prev, session.next) = (NONE, NONE);
            }
        }
    }

    /// When the next sessions expire unless they are touched; `None` while there are none.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.buckets.first_key_value().map(|(&bucket, _)| bucket)
    }

    /// Sessions, closing ones included.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Every session: id and timeout in milliseconds, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.by_id.iter().map(|&slot| {
            let session = &self.slots[slot as usize];
            (session.id, session.timeout_ms)
        })
    }

    /// Time of expiry and ids of the sessions that expire then, soonest first.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, impl Iterator<Item = SessionId>)> {
        self.buckets.iter().map(|(&bucket, &head)| (bucket, self.list(head).map(|session| session.id)))
    }

    fn list(&self, head: u32) -> impl Iterator<Item = &Session<O>> {
        let session = |slot: u32| (slot != NONE).then(|| &self.slots[slot as usize]);
        std::iter::successors(session(head), move |last| session(last.next))
    }

    fn slot(&self, id: SessionId) -> Option<u32> {
        if self.slots.get(self.last.get() as usize).is_some_and(|session| session.id == id) {
            return Some(self.last.get());
        }
        let found = self.by_id.find(self.hasher.hash_one(id), |&slot| self.slots[slot as usize].id == id);
        found.copied().inspect(|slot| self.last.set(*slot))
    }

    fn session(&self, id: SessionId) -> Option<&Session<O>> {
        self.slot(id).map(|slot| &self.slots[slot as usize])
    }

    /// `ExpiryQueue.roundToNextInterval`: a multiple of the tick after the time, never the time.
    fn bucket_of(&self, expiry_ms: i64) -> i64 {
        (expiry_ms.div_euclid(self.tick_ms) + 1) * self.tick_ms
    }

    fn refile(&mut self, slot: u32, bucket: i64) {
        if self.slots[slot as usize].bucket == bucket {
            return;
        }
        self.unlink(slot);
        let head = self.buckets.insert(bucket, slot).unwrap_or(NONE);
        if head != NONE {
            self.slots[head as usize].prev = slot;
        }
        let session = &mut self.slots[slot as usize];
        (session.bucket, session.prev, session.next) = (bucket, NONE, head);
    }

    fn unlink(&mut self, slot: u32) {
        let Session { bucket, prev, next, .. } = self.slots[slot as usize];
        if bucket == TAKEN {
            return;
        }
        if next != NONE {
            self.slots[next as usize].prev = prev;
        }
        if prev != NONE {
            self.slots[prev as usize].next = next;
        } else if next != NONE {
            self.buckets.insert(bucket, next);
        } else {
            self.buckets.remove(&bucket);
        }
        self.slots[slot as usize].bucket = TAKEN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose clock was set back gives no id that it may have given: neither that of a session that is known
    /// nor those after it, which may have ended.
    #[test]
    fn clock_set_back() {
        let wall_ms = 1_700_000_000_000;
        let first = first_session_id(3, wall_ms);
        let known = [SessionId(first.0 + 4), first_session_id(4, wall_ms)];
        assert_eq!(next_session_id(3, wall_ms + 1, known.iter()), first_session_id(3, wall_ms + 1));
        let next = next_session_id(3, wall_ms - 10_000, known.iter());
        assert!(next.0 > first.0 + 1_000_000 && next < first_session_id(3, wall_ms + 140_000), "{next:#x}");
        let again = next_session_id(3, wall_ms - 9_000, known.iter());
        assert!(next.0.abs_diff(again.0) > 1_000_000, "{next:#x} {again:#x}");
        assert_eq!(next_session_id(3, wall_ms - 10_000, [].iter()), first_session_id(3, wall_ms - 10_000));
    }

    const ID: SessionId = SessionId(7);
    const OTHER: SessionId = SessionId(8);

    fn tracker() -> Tracker<u32> {
        Tracker::new(2000, SessionId(5), 1)
    }

    fn expired(tracker: &mut Tracker<u32>, now_ms: i64) -> Vec<SessionId> {
        let mut out = Vec::new();
        tracker.take_expired(now_ms, &mut out);
        out.sort_unstable();
        out
    }

    /// Passwords are those that a JVM computes, so that sessions move between servers of both kinds.
    #[test]
    fn passwords_of_a_jvm() {
        // new Random(id ^ 0xB3415C00L).nextBytes(new byte[16]), printed by JDK 17.
        for (id, expected) in [
            (0, 0xf22acd4a97e69d6d20a49bb638eadb38_u128),
            (1, 0x054cc74a37327db215e702e20c73f005),
            (0x0100_003d_4f2a_0000, 0xc407d8b301983a97426a70afb2d2ce78),
            (i64::MAX, 0x20f62cb5648dc2d771471c8a2486a9ee),
            (0xff01_90a1_b2c3_0005_u64 as i64, 0x7ea5b25ae09231ae5f24fdd12bc33b44),
        ] {
            let id = SessionId(id);
            assert_eq!(password(id), expected.to_be_bytes(), "{id:#x}");
            assert_eq!(is_password(id, &expected.to_be_bytes()), id.is_some());
        }
        assert!(!is_password(SessionId(1), &password(SessionId(2))));
        assert!(!is_password(SessionId(1), &password(SessionId(1))[..15]));
    }

    /// The server's number leads the id, its start follows, and ids that mean something else are
    /// left out.
    #[test]
    fn ids() {
        assert_eq!(first_session_id(1, 0x19_3D4F_2A00), SessionId(0x0119_3D4F_2A00_0000));
        assert_eq!(first_session_id(0xFF, 0x0123_4567_89AB_CDEF).0 as u64, 0xFF67_89AB_CDEF_0000);
        assert_eq!(first_session_id(0, 0), SessionId(1));
        assert_eq!(first_session_id(0x80, 0), SessionId(i64::MIN + 1));
        let mut tracker = Tracker::<u32>::new(1, SessionId(-1), 0);
        assert_eq!([tracker.next_session_id(), tracker.next_session_id()], [SessionId(-1), SessionId(1)]);
    }

    /// A session ends at the first multiple of the tick after its timeout, not before, and once.
    #[test]
    fn expiry_is_rounded_up() {
        let mut tracker = tracker();
        assert!(tracker.track(ID, 3999, 0) && tracker.track(OTHER, 4000, 0));
        assert_eq!(tracker.next_expiry_ms(), Some(4000));
        assert!(expired(&mut tracker, 3999).is_empty());
        assert_eq!(expired(&mut tracker, 4000), [ID]);
        assert!(tracker.is_closing(ID) && !tracker.is_closing(OTHER));
        assert!(expired(&mut tracker, 5999).is_empty());
        assert_eq!(expired(&mut tracker, 9000), [OTHER]);
        assert!(expired(&mut tracker, 90_000).is_empty());
        assert_eq!(tracker.len(), 2, "expired sessions stay until their close is committed");
        assert!(tracker.remove(ID) && tracker.remove(OTHER) && tracker.is_empty());
    }

    /// What is heard of lives on, unless its close is under way or it was never there.
    #[test]
    fn touch() {
        let mut tracker = tracker();
        assert!(tracker.track(ID, 4000, 0) && !tracker.track(ID, 4000, 0));
        for now_ms in (0..100_000).step_by(3000) {
            assert!(expired(&mut tracker, now_ms).is_empty());
            assert!(tracker.touch(ID, 4000, now_ms));
        }
        assert!(!tracker.touch(SessionId(6), 4000, 99_000));
        tracker.set_closing(ID);
        assert!(!tracker.touch(ID, 40_000, 99_000));
        assert_eq!(expired(&mut tracker, 104_000), [ID]);
        assert!(!tracker.touch(ID, 4000, 104_000));
    }

    /// A client that comes back with a shorter timeout expires by the new one.
    #[test]
    fn shorter_timeout_counts() {
        let mut tracker = tracker();
        tracker.track(ID, 40_000, 0);
        assert!(tracker.touch(ID, 1000, 0));
        assert_eq!(tracker.get(ID), Some(40_000));
        assert_eq!(expired(&mut tracker, 2000), [ID]);
    }

    /// The first to ask owns a session, until a client attaches it elsewhere.
    #[test]
    fn owners() {
        let mut tracker = tracker();
        assert_eq!(tracker.check(ID, 1), Err(ErrorCode::SessionExpired));
        tracker.track(ID, 4000, 0);
        assert_eq!((tracker.owner(ID), tracker.check(ID, 1), tracker.owner(ID)), (None, Ok(()), Some(1)));
        assert_eq!(tracker.check(ID, 2), Err(ErrorCode::SessionMoved));
        assert_eq!(tracker.set_owner(ID, 2), Ok(()));
        assert_eq!((tracker.check(ID, 2), tracker.check(ID, 1)), (Ok(()), Err(ErrorCode::SessionMoved)));
        tracker.set_closing(ID);
        assert_eq!(tracker.check(ID, 2), Err(ErrorCode::SessionExpired));
        assert_eq!(tracker.set_owner(ID, 2), Err(ErrorCode::SessionExpired));
    }

    /// Three thousand sessions that come, are touched and go at random, in a hundred thousand steps,
    /// expire exactly as in a plain map.
    #[test]
    fn agrees_with_a_map() {
        let mut tracker = Tracker::<u32>::new(500, SessionId(1), 3);
        let mut model = std::collections::HashMap::<SessionId, (i64, bool, i32)>::new();
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut now_ms = -10_000;
        for _ in 0..100_000 {
            let id = SessionId(random(3000) as i64);
            let timeout_ms = random(20_000) as i32;
            let expires = |timeout_ms| ((now_ms + i64::from(timeout_ms)).div_euclid(500) + 1) * 500;
            match random(10) {
                0..=3 => {
                    assert_eq!(tracker.track(id, timeout_ms, now_ms), !model.contains_key(&id));
                    let fresh = (expires(timeout_ms), false, timeout_ms);
                    model.entry(id).and_modify(|entry| entry.0 = fresh.0).or_insert(fresh);
                }
                4 => {
                    let live = model.get_mut(&id).filter(|entry| !entry.1);
                    assert_eq!(tracker.heard(id, now_ms), live.is_some());
                    if let Some(entry) = live {
                        entry.0 = expires(entry.2);
                    }
                }
                5..=6 => {
                    let live = model.get_mut(&id).filter(|entry| !entry.1);
                    assert_eq!(tracker.touch(id, timeout_ms, now_ms), live.is_some());
                    if let Some(entry) = live {
                        entry.0 = expires(timeout_ms);
                    }
                }
                7 => assert_eq!(tracker.remove(id), model.remove(&id).is_some()),
                _ => {
                    now_ms += random(100) as i64;
                    let mut due = Vec::new();
                    for (&id, entry) in &mut model {
                        if entry.0 <= now_ms {
                            *entry = (i64::MAX, true, entry.2);
                            due.push(id);
                        }
                    }
                    due.sort_unstable();
                    assert_eq!(expired(&mut tracker, now_ms), due);
                }
            }
        }
        assert_eq!(tracker.len(), model.len());
        let filed = tracker.buckets().flat_map(|(at, ids)| ids.map(move |id| (at, id)));
        let mut filed: Vec<_> = filed.collect();
        let mut expected: Vec<_> =
            model.iter().filter(|(_, entry)| entry.0 != i64::MAX).map(|(&id, entry)| (entry.0, id)).collect();
        filed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(filed, expected);
    }
}
