//! What a cluster lends to one of its processes while something happens to it.

use super::disk::SimDisk;
use super::event::{Event, Inside};
use super::mutation::Mutation;
use super::net::Net;
use super::oracle::{Oracle, Shadow};
use super::outcome::{Counts, Trace};
use super::settings::Settings;
use super::stop::{End, RESTART_US, Step, Stop};
use crate::proto::Zxid;
use crate::replica::Now;
use std::collections::BTreeMap;

/// See the module's page.
pub(crate) struct Env<'a> {
    pub server: usize,
    pub incarnation: u64,
    pub now: Now,
    pub disk: SimDisk,
    pub settings: Settings,
    pub mutation: Option<Mutation>,
    /// Its disk rots.
    pub is_rotten: bool,
    pub net: &'a mut Net,
    pub oracle: &'a mut Oracle,
    pub shadows: &'a mut [Shadow],
    pub images: &'a mut BTreeMap<Zxid, Shadow>,
    pub counts: &'a mut Counts,
    pub trace: &'a mut Trace,
    pub fuse: &'a mut Option<(u64, Stop)>,
    pub stop_at: &'a mut Option<(usize, Step, Stop)>,
    /// The process stands still for so long after this.
    pub stall_us: u64,
    /// The process has ended: nothing that it still does has an effect.
    pub end: Option<End>,
}

impl Env<'_> {
    /// Notes that something happened.
    pub fn trace(&mut self, what: impl FnOnce(usize) -> String) {
        let line = what(self.server + 1);
        self.trace.line(self.net.now_us, &line);
    }

    pub fn at(&mut self, at_us: u64, what: Inside) {
        let Self { server, incarnation, .. } = *self;
        self.net.at(at_us, Event::Inside { server, incarnation, what });
    }

    pub fn within(&mut self, delay_us: u64, what: Inside) {
        self.at(self.net.now_us + delay_us, what);
    }

    /// A delay below `bound_us`.
    pub fn some_us(&mut self, bound_us: u64) -> u64 {
        self.net.random.below(bound_us)
    }

    /// True as long as the process runs, which may end before each step.
    pub fn step(&mut self) -> bool {
        match self.fuse {
            Some((0, how)) if self.end.is_none() => {
                let how = *how;
                self.end = Some(End { how, back_us: Some(self.net.random.below(2_000_000)) });
            }
            Some((left, _)) => *left = left.saturating_sub(1),
            None => {}
        }
        self.end.is_none()
    }

    /// Whether the process ends at this step; it stays down.
    pub fn stops_at(&mut self, step: Step) -> bool {
        let server = self.server;
        if let Some((_, _, how)) = self.stop_at.take_if(|(who, at, _)| (*who, *at) == (server, step)) {
            self.trace(|server| format!("server {server} is stopped at {step:?}"));
            self.end = Some(End { how, back_us: None });
        }
        self.end.is_some()
    }

    /// The process cannot go on, and is started again by a supervisor.
    pub fn failed(&mut self, why: &dyn std::fmt::Display) {
        if self.end.is_none() {
            self.trace(|server| format!("server {server} fails: {why}"));
            let how = if self.disk.is_off() { Stop::PowerOff } else { Stop::Killed };
            self.end = Some(End { how, back_us: Some(RESTART_US + self.net.random.below(RESTART_US)) });
        }
    }

    /// Says what the server does wrong, whose number `what` is given.
    pub fn violate(&mut self, what: impl FnOnce(usize) -> String) {
        let what = what(self.server + 1);
        self.oracle.violate(what);
    }
}
