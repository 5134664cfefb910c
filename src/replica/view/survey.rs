//! Which znodes are largest: a walk through the whole tree, some places at each tick.
//!
//! The first view walks, when it is asked and the last walk is over. Nothing is kept on the fly: writes would pay for lists
//! that are seldom asked for, and a list of the largest ones that only grows is wrong once these shrink.

use crate::admin::LargeZnodes;
use crate::replica::Now;
use crate::tree::Tree;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Places of the tree that are visited at each tick, of 20 ms: about 0.2 ms of work, and a million in 20 s.
const PLACES_PER_TICK: u32 = 1024;

/// Znodes of each list.
const ZNODES_MAX: usize = 16;

/// The walk, and what the last one has found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    walk: Option<Walk>,
    found: Option<LargeZnodes>,
}

#[derive(Debug)]
struct Walk {
    began: Now,
    /// Of the tree; another one has other places.
    resets: u32,
    next_place: u32,
    znodes: u64,
    data: Largest,
    children: Largest,
}

/// The znodes with the greatest number, the least of them on top.
#[derive(Debug, Default)]
struct Largest(BinaryHeap<Reverse<(u64, Box<[u8]>)>>);

impl Largest {
    fn add(&mut self, number: u64, path: &[u8]) {
        let is_full = self.0.len() == ZNODES_MAX;
        if number == 0 || is_full && self.0.peek().is_some_and(|Reverse((least, _))| *least >= number) {
            return;
        }
        if is_full {
            self.0.pop();
        }
        self.0.push(Reverse((number, path.into())));
    }

    fn into_list(self) -> Vec<(Box<[u8]>, u64)> {
        self.0.into_sorted_vec().into_iter().map(|Reverse((number, path))| (path, number)).collect()
    }
}

impl Survey {
    /// What the last walk has found; begins another, unless one is under way.
    pub fn ask(&mut self, resets: u32, now: Now) -> Option<LargeZnodes> {
        self.walk.get_or_insert_with(|| Walk {
            began: now,
            resets,
            next_place: 0,
            znodes: 0,
            data: Largest::default(),
            children: Largest::default(),
        });
        self.found.clone()
    }

    /// Goes on with the walk, if there is one.
    pub fn tick(&mut self, tree: &Tree, resets: u32, now: Now) {
        // What was found in another tree is of no use.
        if let Some(walk) = self.walk.take().filter(|walk| walk.resets == resets) {
            self.walk_on(walk, tree, now);
        }
    }

    fn walk_on(&mut self, mut walk: Walk, tree: &Tree, now: Now) {
        let end = walk.next_place.saturating_add(PLACES_PER_TICK).min(tree.places());
        for place in walk.next_place..end {
            if let Some(index) = tree.at_place(place) {
                let body = tree.body(index);
                walk.znodes += 1;
                walk.data.add(body.data().map_or(0, <[u8]>::len) as u64, body.path());
                walk.children.add(tree.child_count(index).into(), body.path());
            }
        }
        walk.next_place = end;
        if end < tree.places() {
            self.walk = Some(walk);
            return;
        }
        let Walk { began, znodes, data, children, .. } = walk;
        self.found = Some(LargeZnodes {
            wall_ms: now.wall_ms,
            took_ms: (now.mono_ms() - began.mono_ms()).max(0) as u64,
            znodes,
            data: data.into_list(),
            children: children.into_list(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list has the greatest ones in order, and no more than so many.
    #[test]
    fn largest() {
        let mut largest = Largest::default();
        for number in [7, 0, 3, 100, 5].into_iter().chain(10..10 + ZNODES_MAX as u64) {
            largest.add(number, format!("/{number}").as_bytes());
        }
        let list = largest.into_list();
        let numbers: Vec<u64> = list.iter().map(|(_, number)| *number).collect();
        let expected: Vec<u64> = std::iter::once(100).chain((11..10 + ZNODES_MAX as u64).rev()).collect();
        assert_eq!(numbers, expected);
        assert_eq!(&*list[0].0, b"/100");
    }
}
