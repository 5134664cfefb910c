//! The time as a replica sees it: without that in which the driver, or a view, stood still.

use super::{Clock, Notice, World};
use crate::proto::SessionId;
use crate::replica::{Now, Replica};

/// A gap between two turns, or two ticks of a view, that is not work but standing still: the process was paused, or the
/// disk hung.
const STALL_US: i64 = 500_000;

/// How long ago views have said whom they heard, at most, unless one stands still. Beyond, time does not pass for sessions
/// until it is known whether one does.
const HEARD_WITHIN_US: i64 = 200_000;

/// What a view tells the driver beside its requests: which clients are alive must not wait for the writes that came before.
#[derive(Debug, Default)]
pub struct Signs {
    /// Sessions that gave a sign of life.
    pub sessions: Vec<SessionId>,
    /// Through when these are all of them, by the clock that never goes back.
    pub heard_us: i64,
    /// From when to when the view stood still.
    pub gaps_us: Vec<(i64, i64)>,
}

impl Signs {
    /// Adds sessions; all through `heard_us` are there now.
    pub fn put(&mut self, sessions: Vec<SessionId>, heard_us: i64) {
        self.sessions.extend(sessions);
        if heard_us - self.heard_us >= STALL_US {
            self.gaps_us.push((self.heard_us, heard_us));
        }
        self.heard_us = heard_us;
    }

    /// What came since the last call.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self { heard_us: self.heard_us, ..Self::default() })
    }
}

/// What the clocks do not say.
#[derive(Debug)]
pub(super) struct Time {
    /// When the last turn began, or a group was written, by the clock.
    turned_us: i64,
    /// How long the driver has stood still in all. For other servers that time has not passed: what they sent was not
    /// looked at.
    stalled_us: i64,
    /// How long some view stood still, in all, and until when last. For sessions that time has not passed: their clients
    /// were not heard.
    deaf_us: i64,
    deaf_until_us: i64,
    /// Through when all views have said whose clients are alive.
    heard_us: i64,
}

impl Time {
    /// Begins now.
    pub fn new(mono_us: i64) -> Self {
        let (turned_us, deaf_until_us, heard_us) = (mono_us, mono_us, mono_us);
        Self { turned_us, stalled_us: 0, deaf_us: 0, deaf_until_us, heard_us }
    }

    /// When the last turn began, or a group was written, by the clock.
    pub fn turned_us(&self) -> i64 {
        self.turned_us
    }

    /// How far the replica's clock is behind the clock: the time for which the driver stood still.
    pub fn stalled_us(&self) -> i64 {
        self.stalled_us
    }

    /// The time, for all but the log. Sessions live by a clock of their own, which does not pass while a view stands still,
    /// and are judged as of when all views have said whom they heard. That the driver waits for the disk makes no
    /// difference to them, since their clients are heard meanwhile.
    pub fn now<W: World>(&mut self, world: &mut W, replica: &mut Replica) -> Now {
        let clock = world.clock().now();
        let gap_us = clock.mono_us - std::mem::replace(&mut self.turned_us, clock.mono_us);
        assert!(gap_us >= 0, "the clock goes back: {} after {}", clock.mono_us, clock.mono_us - gap_us);
        if gap_us >= STALL_US {
            self.stalled_us += gap_us;
            world.report(Notice::StoodStill(gap_us / 1000));
        }
        let now = Now { mono_us: clock.mono_us - self.stalled_us, ..clock };
        let session_us = clock.mono_us.min(self.heard_us + HEARD_WITHIN_US) - self.deaf_us;
        let through_us = self.heard_us - self.deaf_us;
        replica.set_session_clock((session_us - now.mono_us) / 1000, through_us / 1000);
        now
    }

    /// Takes in which clients are alive, as all views report it; gives the time as it is then.
    pub fn hear<W: World>(&mut self, signs: &[Signs], world: &mut W, replica: &mut Replica) -> Now {
        let mut gaps_us: Vec<_> = signs.iter().flat_map(|signs| signs.gaps_us.iter().copied()).collect();
        // A pause of the process is each view's, and counts once.
        gaps_us.sort_unstable();
        for (from_us, until_us) in gaps_us {
            let gap_us = until_us - from_us.max(self.deaf_until_us);
            if gap_us > 0 {
                self.deaf_us += gap_us;
                self.deaf_until_us = until_us;
                world.report(Notice::ViewStoodStill(gap_us / 1000));
            }
        }
        let heard_us = signs.iter().map(|signs| signs.heard_us).min();
        // Before its first report a view has heard all, for it has just begun.
        self.heard_us = self.heard_us.max(heard_us.unwrap_or_default());
        let now = self.now(world, replica);
        signs.iter().for_each(|signs| replica.heard(now, &signs.sessions));
        now
    }
}
