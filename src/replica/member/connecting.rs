//! A member that connects to the server that was elected.

use super::common::{CONNECT_MS, Context};
use super::next::Next;
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
    pub sid: i64,
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
    /// Connects to the leader again, after a pause: the connection ended before it said anything.
    pub fn after_a_pause(follow: Box<Follow>, sid: i64, until_ms: i64, wants_all: bool, now_ms: i64) -> Self {
        Self { follow, sid, link: None, retry_ms: now_ms + CONNECT_RETRY_MS, until_ms, wants_all }
    }

    /// Connects to the leader again at once, to have everything sent by it.
    pub fn for_all(follow: Box<Follow>, sid: i64, cx: &mut Context<'_>) -> Self {
        let retry_ms = cx.now.mono_ms();
        let until_ms = retry_ms + cx.common.settings.membership.init_ms.min(CONNECT_MS);
        let mut connecting = Self { follow, sid, link: None, retry_ms, until_ms, wants_all: true };
        connecting.connect_if_due(cx);
        connecting
    }

    /// Begins the next attempt if its time has come.
    pub fn connect_if_due(&mut self, cx: &mut Context<'_>) {
        if self.link.is_none() && cx.now.mono_ms() >= self.retry_ms {
            self.link = Some(cx.common.connect(self.sid));
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
    pub fn not_connected(&mut self, now_ms: i64) {
        self.link = None;
        self.retry_ms = now_ms + CONNECT_RETRY_MS;
    }

    /// Gives up.
    pub fn leave(mut self, why: &str, cx: &mut Context<'_>) -> Settling {
        self.link.into_iter().for_each(|link| cx.common.close(link));
        cx.tell_looking(false, why);
        cx.leave_leader(&mut self.follow, false);
        Settling::new(self.follow)
    }
}
