//! What the views are given: committed entries in zxid order, and whether they serve clients.
//!
//! Invariants: what is published is committed, or the views start anew before a client sees it. Entries that a former
//! lead left behind wait in `held` until a leader confirms them, and nothing of a txn is published meanwhile.

use crate::proto::Zxid;
use crate::replica::core::Core;
use crate::replica::follow::Follow;
use crate::replica::{CnxnId, ControlKind, Deltas, Entry, EntryKind, Origin, Serving};
use std::collections::VecDeque;

/// What goes to the views; see the module's page.
#[derive(Debug)]
pub(super) struct Publisher {
    /// For the views, oldest first.
    published: VecDeque<Deltas>,
    /// Newest entry that was published, and the digest then.
    shown: (Zxid, u64),
    /// Entries of a former lead that no leader has confirmed yet, with no client to answer.
    held: VecDeque<Deltas>,
    service: Service,
    /// A leader has confirmed all that was published.
    is_confirmed: bool,
    /// How often clients were dropped; uplinks of earlier generations are void.
    serving_generation: u32,
}

/// Whether the views serve clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// They do.
    Open,
    /// They do, and end every connection if no leader is followed by then.
    Waiting { until_ms: i64 },
    /// They serve clients that read, as of what they show; there is no leader.
    ReadOnly,
    /// They do not.
    Dropped,
}

impl Publisher {
    /// For views that have everything through `shown.0`, and the digest then.
    pub fn new(shown: (Zxid, u64), is_open: bool) -> Self {
        let service = if is_open { Service::Open } else { Service::Dropped };
        Self {
            published: VecDeque::new(),
            shown,
            held: VecDeque::new(),
            service,
            is_confirmed: is_open,
            serving_generation: 0,
        }
    }

    /// Newest entry that was published, and the digest then.
    pub fn shown(&self) -> (Zxid, u64) {
        self.shown
    }

    /// How often clients were dropped.
    pub fn serving_generation(&self) -> u32 {
        self.serving_generation
    }

    /// Whether entries of a former lead wait for a leader.
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// What the views are to be given next.
    pub fn take(&mut self) -> Option<Deltas> {
        self.published.pop_front()
    }

    /// Whether nothing waits for the views.
    pub fn is_empty(&self) -> bool {
        self.published.is_empty()
    }

    /// Publishes entries, which are in zxid order.
    pub fn publish(&mut self, deltas: Deltas) {
        if let Some(first) = deltas.entries.first() {
            assert!(first.zxid >= self.shown.0, "{} is published after {}", first.zxid, self.shown.0);
        }
        if let Some(last) = deltas.entries.last() {
            self.shown = (last.zxid, last.digest);
            self.published.push_back(deltas);
        }
    }

    /// Publishes one entry that is no txn.
    pub fn publish_control(&mut self, what: ControlKind) {
        let ((zxid, digest), what) = (self.shown, what.into());
        let entry = Entry { zxid, digest, to: None, xid: 0, what, changes_end: 0, results_end: 0 };
        self.publish(Deltas { entries: vec![entry], ..Deltas::default() });
    }

    /// Publishes what four-letter words ask and answer, as of what is shown.
    pub fn publish_words(&mut self, core: &mut Core) {
        let (zxid, digest) = self.shown;
        let words = core.take_words().into_iter();
        let entry = |(to, what): (Option<CnxnId>, _)| {
            let (to, what) = (to.map(Origin::Client), EntryKind::Control(what));
            Entry { zxid, digest, to, xid: 0, what, changes_end: 0, results_end: 0 }
        };
        self.publish(Deltas { entries: words.map(entry).collect(), ..Deltas::default() });
    }

    /// Publishes what a follower may show: all that it has applied, or only what is no txn while txns are held.
    pub fn publish_visible(&mut self, core: &mut Core) {
        while let Some(deltas) = core.take_visible() {
            self.publish(deltas);
        }
    }

    /// Publishes also what no leader has confirmed, for a learner that needs the tree. The views show it to no client:
    /// they serve none from here on, and start anew if it is taken back.
    pub fn publish_unconfirmed(&mut self, follow: &mut Follow) {
        self.publish_visible(&mut follow.core);
        self.drop_clients(follow);
        self.is_confirmed = false;
        std::mem::take(&mut self.held).into_iter().for_each(|deltas| self.publish(deltas));
        if let Some(rest) = follow.core.take_held() {
            self.publish(unaddressed(rest));
        }
        follow.core.hold(self.shown);
    }

    /// Keeps entries of txns back until a leader confirms them; clients wait for that, but no longer than `until_ms`.
    pub fn hold(&mut self, core: &mut Core, until_ms: i64) {
        assert!(!core.is_held(), "txns after {} are held already", self.shown.0);
        core.hold(self.shown);
        match self.service {
            Service::Open => self.service = Service::Waiting { until_ms },
            Service::Dropped | Service::ReadOnly => {}
            Service::Waiting { until_ms: other } => {
                panic!("clients wait until {other} already, not {until_ms}")
            }
        }
    }

    /// Keeps back what a lead has left behind, which no quorum may have.
    pub fn hold_groups(&mut self, groups: impl Iterator<Item = Deltas>) {
        assert!(self.held.is_empty(), "{} groups of an earlier lead are held", self.held.len());
        self.held.extend(groups.map(unaddressed));
    }

    /// Publishes what was held: a leader has confirmed it. Entries that `core` has kept back follow by
    /// [`Self::publish_visible`] once it is released.
    pub fn publish_held(&mut self, core: &mut Core) {
        assert!(core.is_held(), "nothing is held at {}", self.shown.0);
        self.publish_visible(core);
        std::mem::take(&mut self.held).into_iter().for_each(|deltas| self.publish(deltas));
    }

    /// What was held will never be confirmed: another tree takes its place.
    pub fn forget_held(&mut self) {
        self.held.clear();
    }

    /// The views show another tree from here on, as of `shown.0`.
    pub fn restart(&mut self, shown: (Zxid, u64), reset: ControlKind) {
        assert!(self.held.is_empty(), "entries before a tree at {} are held", shown.0);
        (self.shown, self.is_confirmed) = (shown, false);
        self.publish_control(reset);
    }

    /// Clients are served from here on.
    pub fn open(&mut self) {
        assert!(self.held.is_empty(), "clients are served, and {} groups are held", self.held.len());
        assert!(!self.is_read_only(), "clients that read are served by a leader's word");
        self.is_confirmed = true;
        if std::mem::replace(&mut self.service, Service::Open) == Service::Dropped {
            self.publish_control(ControlKind::Serving(Serving::Yes));
        }
    }

    /// Clients that will do with that may read from here on; none is served before.
    pub fn open_read_only(&mut self) {
        assert_eq!(self.service, Service::Dropped, "clients are served already");
        self.service = Service::ReadOnly;
        self.publish_control(ControlKind::Serving(Serving::ReadOnly));
    }

    /// Whether a leader has confirmed all that views show. If not, another one may take the end of it back: what this
    /// server's log held when it started.
    pub fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// Has views show what no leader has confirmed, as if one had: a deliberate bug.
    #[cfg(any(test, feature = "sim"))]
    pub fn confirm_wrongly(&mut self, follow: &mut Follow) {
        let is_confirmed = self.is_confirmed;
        self.publish_unconfirmed(follow);
        self.is_confirmed = is_confirmed;
    }

    /// Whether clients may only read.
    pub fn is_read_only(&self) -> bool {
        self.service == Service::ReadOnly
    }

    /// Drops the clients if they have waited for a leader for too long.
    pub fn drop_late(&mut self, follow: &mut Follow, now_ms: i64) {
        if matches!(self.service, Service::Waiting { until_ms } if now_ms >= until_ms) {
            self.drop_clients(follow);
        }
    }

    /// The same for a server alone, whose clients were answered all that they asked.
    pub fn drop_clients_alone(&mut self, core: &mut Core) {
        assert_eq!(self.service, Service::Open, "clients of a server alone are dropped twice");
        self.publish_words(core);
        self.service = Service::Dropped;
        self.serving_generation += 1;
        self.publish_control(ControlKind::Serving(Serving::No));
    }

    /// Clients are not served from here on, and nothing that they asked for is answered.
    pub fn drop_clients(&mut self, follow: &mut Follow) {
        if self.service == Service::Dropped {
            return;
        }
        // Clients that were answered before get these answers.
        self.publish_words(&mut follow.core);
        self.publish_visible(&mut follow.core);
        self.service = Service::Dropped;
        self.serving_generation += 1;
        follow.drop_clients();
        self.publish_control(ControlKind::Serving(Serving::No));
    }
}

/// The same entries, which answer no client.
fn unaddressed(mut deltas: Deltas) -> Deltas {
    deltas.entries.iter_mut().for_each(|entry| entry.to = None);
    deltas
}
