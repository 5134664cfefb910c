//! The connections of a view, by slot.

use super::cnxn::{Cnxn, CnxnStats};
use super::pool::{OUT_BYTES_PAUSE, Pool};
use crate::proto::SessionId;
use crate::replica::CnxnId;
use crate::watch::{self, Watches};
use std::collections::VecDeque;

/// How long a connection may hold much that its client does not take, while memory is short.
const STUCK_MS: i64 = 10_000;

/// How often such connections are looked for.
const SWEEP_MS: i64 = 1_000;

/// Slots that one look for connections to shed goes through.
const SHED_LOOKS_MAX: usize = 4096;

/// Watches of a closed connection that are removed before others have their turn.
const ENDED_WATCHES_PER_TURN: usize = 8192;

/// Names a connection of this view for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its slot, small numbers that are used again.
    pub slot: u32,
    /// Which of the slot's connections.
    pub generation: u32,
}

/// Connections, each in a slot of its own, and what they share. A slot is used again once the watches of its last
/// connection are gone.
#[derive(Debug)]
pub(super) struct Connections {
    /// The number of the view.
    view: u16,
    slots: Vec<Slot>,
    /// Slots without connection and watches.
    free: Vec<u32>,
    /// Slots of closed connections that still have watches.
    ending: Vec<u32>,
    /// Until when connections must have sent a connect request, by the monotonic clock in ms; oldest first.
    fresh: VecDeque<(i64, CnxnId)>,
    /// When [`Self::end_stuck`] last looked.
    swept_ms: i64,
    /// The slot at which the next look for connections to shed begins.
    shed_next: u32,
    /// What they share.
    pub pool: Pool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// Boxed, so that a slot without connection is small.
    cnxn: Option<Box<Cnxn>>,
}

impl Connections {
    pub fn new(view: u16) -> Self {
        Self {
            view,
            slots: Vec::new(),
            free: Vec::new(),
            ending: Vec::new(),
            fresh: VecDeque::new(),
            swept_ms: 0,
            shed_next: 0,
            pool: Pool::new(),
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        let unused = self.free.len() + self.ending.len();
        assert!(unused <= self.slots.len(), "{unused} of {} slots have no connection", self.slots.len());
        self.slots.len() - unused
    }

    /// Those that are open.
    pub fn iter(&self) -> impl Iterator<Item = &Cnxn> {
        self.slots.iter().filter_map(|slot| slot.cnxn.as_deref())
    }

    /// Takes a connection in, which has until `deadline_ms` to send a connect request.
    pub fn open(&mut self, cnxn: Cnxn, deadline_ms: i64) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, cnxn: None });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        assert!(place.cnxn.is_none(), "slot {slot} is taken");
        place.generation = place.generation.wrapping_add(1);
        place.cnxn = Some(Box::new(cnxn));
        let place = Place { slot, generation: place.generation };
        debug_assert!(
            self.fresh.back().is_none_or(|(last_ms, _)| *last_ms <= deadline_ms),
            "the deadline of slot {slot}, {deadline_ms} ms, is earlier than that of the connection before"
        );
        self.fresh.push_back((deadline_ms, self.id_of(place)));
        place
    }

    /// The connection that the shell has open at `place`, and what it shares with others.
    #[inline]
    pub fn at(&mut self, place: Place) -> (&mut Cnxn, &mut Pool) {
        let slot = &mut self.slots[place.slot as usize];
        assert_eq!(slot.generation, place.generation, "slot {} has another connection", place.slot);
        let cnxn = slot.cnxn.as_deref_mut().expect("the shell has said that it is closed");
        (cnxn, &mut self.pool)
    }

    /// The same, to read from.
    #[inline]
    pub fn get(&self, place: Place) -> &Cnxn {
        let slot = &self.slots[place.slot as usize];
        assert_eq!(slot.generation, place.generation, "slot {} has another connection", place.slot);
        slot.cnxn.as_deref().expect("the shell has said that it is closed")
    }

    /// The connection at `place`, unless it is closed.
    pub fn find(&self, place: Place) -> Option<&Cnxn> {
        let slot = self.slots.get(place.slot as usize)?;
        slot.cnxn.as_deref().filter(|_| slot.generation == place.generation)
    }

    /// The connection that the commit side means by `id`, unless it is closed or another view's.
    #[inline]
    pub fn find_id(&mut self, id: CnxnId) -> Option<(&mut Cnxn, &mut Pool)> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let is_it = id.view == self.view && slot.generation == id.generation;
        let cnxn = slot.cnxn.as_deref_mut().filter(|_| is_it)?;
        Some((cnxn, &mut self.pool))
    }

    /// The connection of a slot, if one is open there.
    pub fn in_slot(&mut self, slot: u32) -> Option<(&mut Cnxn, &mut Pool)> {
        let cnxn = self.slots[slot as usize].cnxn.as_deref_mut()?;
        Some((cnxn, &mut self.pool))
    }

    /// The connection of a slot, to read from.
    pub fn peek(&self, slot: u32) -> Option<&Cnxn> {
        self.slots[slot as usize].cnxn.as_deref()
    }

    /// How the commit side names a connection.
    pub fn id_of(&self, Place { slot, generation }: Place) -> CnxnId {
        CnxnId { view: self.view, slot, generation }
    }

    /// How the commit side names the connection that has a session.
    pub fn id_of_session(&self, session_id: SessionId) -> Option<CnxnId> {
        let slot = *self.pool.by_session.get(&session_id)?;
        debug_assert_eq!(
            self.peek(slot).map(|cnxn| cnxn.session_id),
            Some(session_id),
            "slot {slot} is listed for a session that it does not have"
        );
        Some(self.id_of(Place { slot, generation: self.slots[slot as usize].generation }))
    }

    /// Does something with each connection that is open.
    pub fn for_each(&mut self, mut each: impl FnMut(u32, &mut Cnxn, &mut Pool)) {
        for (slot, Slot { cnxn, .. }) in self.slots.iter_mut().enumerate() {
            if let Some(cnxn) = cnxn {
                each(slot as u32, cnxn, &mut self.pool);
            }
        }
    }

    /// Forgets the connection at `place`; its watches go over some turns.
    pub fn close(&mut self, place: Place, watches: &mut Watches) -> Box<Cnxn> {
        let slot = &mut self.slots[place.slot as usize];
        assert_eq!(slot.generation, place.generation, "slot {} has another connection", place.slot);
        let mut cnxn = slot.cnxn.take().expect("a connection is closed once");
        self.pool.silence(place.slot, &cnxn);
        self.pool.unweigh(&mut cnxn);
        self.release_short();
        self.ending.push(place.slot);
        self.end_some(watches);
        cnxn
    }

    /// Removes some of the watches of closed connections; a slot without any can be used again.
    pub fn end_some(&mut self, watches: &mut Watches) {
        if let Some(&slot) = self.ending.last()
            && watches.remove_some(watch::Cnxn(slot), ENDED_WATCHES_PER_TURN)
        {
            assert!(
                self.slots[slot as usize].cnxn.is_none(),
                "slot {slot} is freed while a connection has it"
            );
            debug_assert!(!self.free.contains(&slot), "slot {slot} is freed twice");
            self.ending.pop();
            self.free.push(slot);
        }
    }

    /// Lists connections that waited for memory, if there is some.
    pub fn release_short(&mut self) {
        if !self.pool.short.is_empty() && !self.pool.is_short() {
            let slots = std::mem::take(&mut self.pool.short);
            self.list_all(slots);
        }
    }

    /// Lists connections that waited for the commit side.
    pub fn release_held_up(&mut self) {
        let slots = std::mem::take(&mut self.pool.held_up);
        self.list_all(slots);
    }

    fn list_all(&mut self, slots: Vec<u32>) {
        for slot in slots {
            if let Some((cnxn, pool)) = self.in_slot(slot) {
                pool.list(slot, cnxn);
            }
        }
    }

    /// The next connection that has something to send, may go on or ends.
    pub fn next_listed(&mut self) -> Option<Place> {
        loop {
            let slot = self.pool.listed.pop()?;
            let Slot { generation, cnxn } = &mut self.slots[slot as usize];
            if let Some(cnxn) = cnxn {
                cnxn.listed = false;
                return Some(Place { slot, generation: *generation });
            }
        }
    }

    /// The sessions that gave a sign of life since the last call.
    pub fn take_touched(&mut self, signs: &mut Vec<SessionId>) {
        for slot in std::mem::take(&mut self.pool.touched) {
            if let Some((cnxn, _)) = self.in_slot(slot) {
                cnxn.touched = false;
                signs.push(cnxn.session_id);
            }
        }
    }

    /// The next connection whose time for a connect request is over.
    pub fn take_overdue(&mut self, now_ms: i64) -> Option<CnxnId> {
        self.fresh.front().filter(|(deadline_ms, _)| *deadline_ms <= now_ms)?;
        self.fresh.pop_front().map(|(_, id)| id)
    }

    /// While memory is short, ends connections that hold much of it and have not taken anything for long.
    pub fn end_stuck(&mut self, now_ms: i64) {
        if !self.pool.is_short() || now_ms - self.swept_ms < SWEEP_MS {
            return;
        }
        self.swept_ms = now_ms;
        self.for_each(|slot, cnxn, pool| {
            let bytes = cnxn.unsent();
            if bytes >= OUT_BYTES_PAUSE && now_ms - cnxn.moved_ms >= STUCK_MS {
                cnxn.give_up_output(bytes, OUT_BYTES_PAUSE);
                pool.weigh(cnxn);
                pool.list(slot, cnxn);
            }
        });
        self.release_short();
    }

    /// Goes through slots, from where the last call ended, and tells those that have a connection to `shed` until that has
    /// taken `count` of them; says how many it took. It looks at a bounded number of slots.
    pub fn shed_some(&mut self, count: usize, mut shed: impl FnMut(&mut Cnxn) -> bool) -> usize {
        let mut taken = 0;
        for _ in 0..self.slots.len().min(SHED_LOOKS_MAX) {
            if taken == count {
                break;
            }
            let slot = self.shed_next % self.slots.len() as u32;
            self.shed_next = slot + 1;
            if let Some(cnxn) = self.slots[slot as usize].cnxn.as_deref_mut()
                && shed(cnxn)
            {
                self.pool.list(slot, cnxn);
                taken += 1;
            }
        }
        taken
    }

    /// Begins the statistics of every connection anew.
    pub fn reset_stats(&mut self) {
        self.for_each(|_, cnxn, _| cnxn.stats = CnxnStats::reset());
    }
}
