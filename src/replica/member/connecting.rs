//! A member that connects to the server that was elected.

use super::common::{CONNECT_MS, Context};
use super::next::Next;
use super::output::Port;
use super::settling::Settling;
use crate::replica::follow::Follow;
use crate::zab::LinkId;
use crate::zab::learner::LostLeader;

/// Pause between two attempts to connect to the leader, which may not know yet that it is one.
const CONNECT_RETRY_MS: i64 = 10;

/// Another server was elected, and is to be connected to.
#[derive(Debug)]
pub(super) struct Connecting {
    pub follow: Box<Follow>,
    /// The leader.
    pub leader: i64,
    /// The server that is connected to: the leader, or the follower that serves this observer.
    pub sid: i64,
    /// Which of its ports.
    pub port: Port,
    /// The attempt that is under way.
    pub link: Option<LinkId>,
    /// When the next attempt begins.
    pub retry_ms: i64,
    /// When it gives up.
    pub until_ms: i64,
    /// See [`Learner::wanting_all`](crate::zab::learner::Learner::wanting_all).
    pub wants_all: bool,
}

impl Connecting {
    /// Connects to the elected `leader`, or to the follower that serves this observer, not before `retry_ms`.
    pub fn begin(follow: Box<Follow>, leader: i64, retry_ms: i64, cx: &mut Context<'_>) -> Self {
        let (sid, port, delay_ms) = cx.common.next_master(leader);
        let retry_ms = retry_ms.saturating_add(delay_ms);
        let until_ms = retry_ms.saturating_add(cx.common.settings.membership.init_ms.min(CONNECT_MS));
        let mut connecting =
            Self { follow, leader, sid, port, link: None, retry_ms, until_ms, wants_all: false };
        connecting.connect_if_due(cx);
        connecting
    }

    /// Connects again, after a pause: the connection ended before it said anything.
    pub fn after_a_pause(mut self, cx: &mut Context<'_>) -> Self {
        self.not_connected(cx);
        self
    }

    /// Connects again at once, to have everything sent.
    pub fn for_all(mut self, cx: &mut Context<'_>) -> Self {
        self.retry_ms = cx.now.mono_ms();
        self.until_ms = self.retry_ms + cx.common.settings.membership.init_ms.min(CONNECT_MS);
        self.wants_all = true;
        self.connect_if_due(cx);
        self
    }

    /// Begins the next attempt if its time has come.
    pub fn connect_if_due(&mut self, cx: &mut Context<'_>) {
        if self.link.is_none() && cx.now.mono_ms() >= self.retry_ms {
            self.link = Some(cx.common.connect(self.sid, self.port));
        }
    }

    /// Begins the next attempt, or gives up.
    pub fn tick(&mut self, cx: &mut Context<'_>) -> Next {
        if cx.now.mono_ms() >= self.until_ms {
            return Next::leave_role(&LostLeader::Unreachable);
        }
        self.connect_if_due(cx);
        Next::Done
    }

    /// The attempt has failed.
    pub fn not_connected(&mut self, cx: &mut Context<'_>) {
        self.link = None;
        self.retry_ms = cx.now.mono_ms() + CONNECT_RETRY_MS;
        if self.port == Port::Observers {
            let (sid, _, delay_ms) = cx.common.next_master(self.leader);
            self.sid = sid;
            self.retry_ms = self.retry_ms.saturating_add(delay_ms);
            self.until_ms = self.until_ms.saturating_add(delay_ms);
        }
    }

    /// Gives up.
    pub fn leave(mut self, why: &str, cx: &mut Context<'_>) -> Settling {
        self.link.into_iter().for_each(|link| cx.common.close(link));
        cx.tell_looking(false, why);
        cx.leave_leader(&mut self.follow, false);
        Settling::new(self.follow)
    }
}
