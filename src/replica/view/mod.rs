//! A view: connections, reads, watches, and the committed tree.
//!
//! Three parts that know nothing of each other, each in a file of its own:
//!
//! | part | what it has |
//! |---|---|
//! | [`Connections`] | the connections by slot, and what they share: buffers, the work of a turn, lists |
//! | [`Data`] | the committed tree, its sessions, who watches what |
//! | [`Outbox`] | what goes to the commit side, and how much of it is not answered |
//!
//! A [`Turn`] borrows one connection beside the rest, takes its requests in (`turn`) and answers them (`turn`, `answer`).
//! `browse` shows the tree to the console, a turn's worth at a time.
//! What was committed comes in through [`View::apply_some`] (`apply`). `cnxn` is a connection's own state, `read` answers
//! reads from the tree, `pool` has the limits of memory, `tally` counts, `sampling` and `traces` remember single requests,
//! `survey` finds large znodes, `audit` has lines for the audit log, `report` answers four-letter words, `address` is an
//! address as text.
//!
//! # Driving a view
//!
//! ```text
//! place = view.open(peer, now)
//! when the connection may have something to do, and whenever view.next_listed() names it:
//!     wants = view.poll_connection(place, now)
//!     loop
//!         wants.write: send from view.output(place), then wants = view.sent(place, bytes) or view.resume(place, now)
//!         wants.close: once all is sent, view.closed(place), and the place is gone
//!         wants.again: let others have their turn, then poll again
//!         wants.read:  wants = view.receive(place, bytes, now)
//! after each of these, and after apply_some: view.take_uplink() goes to the commit side
//! every 20 ms or so: view.tick(now)
//! ```
//!
//! Invariants: an event is sent before every reply that shows its change; the replies of a connection have the order of its
//! requests; a turn, also of deltas, does a bounded amount of work and one request or entry more.

mod address;
mod answer;
mod apply;
mod audit;
pub mod browse;
mod cnxn;
mod connections;
mod data;
mod outbox;
mod pool;
mod read;
mod report;
mod sampling;
mod survey;
mod tally;
mod traces;
mod turn;

pub use apply::DeltasCursor;
pub use cnxn::CloseReason;
pub use connections::Place;
pub use turn::Wants;

use self::address::ip_text;
use self::audit::Audit;
use self::cnxn::{Cnxn, State};
use self::connections::Connections;
use self::data::Data;
use self::outbox::Outbox;
use self::pool::WORK_PER_TURN;
use self::sampling::Sampler;
use self::survey::Survey;
use self::tally::Tally;
use self::traces::Tracer;
use self::turn::{Turn, wants};
use super::{CnxnId, Now, Serving, Uplink, ViewSettings};
use crate::admin::{Metrics, Trace};
use crate::auth::Policy;
use crate::proto::{Acl, Id, SessionId, Zxid};
use crate::tree::{ImageOf, NodeImage, Tree};
use crate::watch::Watches;
use crate::zab::LinkId;
use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Which connections are to go; times are of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// At most so many.
    pub count: usize,
    /// A client that has come later may have come back already, and stays.
    pub opened_before_ms: i64,
    /// A client that was answered later is likely to have its next request on its way, and stays.
    pub answered_before_ms: i64,
}

/// A thread's connections and its copy of the committed tree. See the module's page.
#[derive(Debug)]
pub struct View {
    settings: ViewSettings,
    connections: Connections,
    data: Data,
    outbox: Outbox,
    tally: Tally,
    /// Which znodes are largest; of the first view alone.
    survey: Survey,
    /// When time passed last.
    now_ms: i64,
    /// Where the body of a reply is written.
    scratch: Vec<u8>,
}

impl View {
    /// A view of `tree`, which is as of `zxid`.
    pub fn new(
        settings: ViewSettings,
        policy: Arc<Policy>,
        tree: Tree,
        zxid: Zxid,
        sessions: BTreeMap<SessionId, i32>,
        tree_digest: u64,
    ) -> Self {
        let data = Data {
            policy,
            tree,
            watches: Watches::new(settings.hash_seed),
            sessions,
            zxid,
            last_txn: zxid,
            digest: tree_digest,
            serving: if settings.serving { Serving::Yes } else { Serving::No },
            resets: 0,
            images_wanted: VecDeque::new(),
        };
        let sampler = Sampler::new(settings.trace_one_in, settings.hash_seed);
        let tracer = Tracer::new(settings.slow_request_us, sampler);
        let audit = settings.audit_user.as_deref().map(|user| Box::new(Audit::new(user)));
        Self {
            connections: Connections::new(settings.number),
            data,
            outbox: Outbox::new(settings.outstanding_max),
            tally: Tally::new(tracer, audit),
            survey: Survey::default(),
            now_ms: 0,
            scratch: Vec::new(),
            settings,
        }
    }

    /// What replies say: the last txn that the tree has, or the start of the leader's epoch if that is later.
    pub fn zxid(&self) -> Zxid {
        self.data.zxid
    }

    /// True while clients are served by a leader's word. If not, its tree may hold what no leader has confirmed.
    pub fn is_serving(&self) -> bool {
        self.data.serving == Serving::Yes
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.settings.number
    }

    /// True if there is anything for the commit side.
    pub fn has_uplink(&self) -> bool {
        !self.outbox.is_empty()
    }

    #[cfg(test)]
    pub(super) fn tree(&self) -> &Tree {
        &self.data.tree
    }

    #[cfg(test)]
    pub(super) fn sessions(&self) -> &BTreeMap<SessionId, i32> {
        &self.data.sessions
    }

    /// Bytes that a connection's output takes, sent ones included.
    #[cfg(test)]
    pub(super) fn buffered_bytes(&self, place: Place) -> usize {
        self.connections.get(place).out.len()
    }

    /// Connections that are open.
    pub fn cnxn_count(&self) -> usize {
        self.connections.count()
    }

    /// Takes a connection in.
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> Place {
        let cnxn = Cnxn::new(peer, Id::new("ip", &ip_text(peer.ip())), now);
        self.connections.open(cnxn, now.mono_ms() + self.settings.sessionless_timeout_ms)
    }

    /// Adds ids that the shell has proved a client to have, by its certificate.
    pub fn prove(&mut self, place: Place, ids: Vec<Id>) {
        let (cnxn, _) = self.connections.at(place);
        cnxn.ids = [&cnxn.ids, &ids[..]].concat().into();
    }

    /// Forgets a connection: its socket is closed.
    pub fn closed(&mut self, place: Place) {
        let cnxn = self.connections.close(place, &mut self.data.watches);
        if cnxn.state != State::Closing {
            self.tally.metrics.counters.connection_drop_count += 1;
        }
        // What came last counts although the connection is gone: the session lives on from then.
        if cnxn.touched {
            self.outbox.signs_mut().push(cnxn.session_id);
        }
        self.connections.pool.keep_buffer(cnxn.out);
    }

    /// Ends connections whose clients lose nothing by it, so that these go to other servers with their sessions; says how
    /// many. Those with local sessions stay, which no other server knows, and all of a server without a leader.
    pub fn shed(&mut self, shed: Shed) -> usize {
        if !self.is_serving() {
            return 0;
        }
        let sessions = &self.data.sessions;
        let shed = self.connections.shed_some(shed.count, |cnxn| {
            let may_go = cnxn.is_at_rest()
                && cnxn.opened.mono_ms() < shed.opened_before_ms
                && cnxn.stats.last_response.mono_ms() < shed.answered_before_ms
                && sessions.contains_key(&cnxn.session_id);
            if may_go {
                cnxn.close(CloseReason::Shed);
            }
            may_go
        });
        self.tally.metrics.counters.connections_shed += shed as u64;
        shed
    }

    /// Gives up what a closing connection has not taken. One that is gone already, or not closing, stays as it is.
    pub fn cut(&mut self, place: Place) {
        let id = self.connections.id_of(place);
        if let Some((cnxn, pool)) = self.connections.find_id(id)
            && cnxn.state == State::Closing
        {
            (cnxn.out, cnxn.sent) = (Vec::new(), 0);
            pool.unweigh(cnxn);
            pool.list(place.slot, cnxn);
            self.connections.release_short();
        }
    }

    /// A turn of the connection that the shell has open at `place`.
    #[inline]
    fn turn(&mut self, place: Place, now: Now) -> Turn<'_> {
        let Self { settings, connections, data, outbox, tally, .. } = self;
        let id = connections.id_of(place);
        let (cnxn, pool) = connections.at(place);
        Turn { id, now, cnxn, pool, data, outbox, tally, settings }
    }

    /// A turn of the connection that the commit side means by `id`, if it is still there.
    #[inline]
    fn turn_of(&mut self, id: CnxnId, now: Now) -> Option<Turn<'_>> {
        let Self { settings, connections, data, outbox, tally, .. } = self;
        let (cnxn, pool) = connections.find_id(id)?;
        Some(Turn { id, now, cnxn, pool, data, outbox, tally, settings })
    }

    /// Begins a turn of a connection: lets it go on with what had to wait, and says what it wants.
    pub fn poll_connection(&mut self, place: Place, now: Now) -> Wants {
        self.connections.pool.work = WORK_PER_TURN;
        self.resume(place, now)
    }

    /// The same within a turn.
    pub fn resume(&mut self, place: Place, now: Now) -> Wants {
        let mut turn = self.turn(place, now);
        turn.go_on();
        turn.finish()
    }

    /// Bytes have arrived, within a turn. Those that cannot be handled yet are kept; see [`Wants::read`].
    pub fn receive(&mut self, place: Place, bytes: &[u8], now: Now) -> Wants {
        let mut turn = self.turn(place, now);
        turn.receive(bytes);
        turn.finish()
    }

    /// What a connection has to send.
    pub fn output(&self, place: Place) -> &[u8] {
        let cnxn = self.connections.get(place);
        &cnxn.out[cnxn.sent..]
    }

    /// So much of [`Self::output`] was sent. `None` if requests of the connection wait, perhaps for just that:
    /// [`Self::resume`] lets them go on.
    pub fn sent(&mut self, place: Place, bytes: usize) -> Option<Wants> {
        let now_ms = self.now_ms;
        let (cnxn, pool) = self.connections.at(place);
        pool.sent(place.slot, cnxn, bytes, now_ms);
        let wants = (!cnxn.stalled && cnxn.deferred == 0).then(|| wants(cnxn, pool));
        self.connections.release_short();
        wants
    }

    /// The next connection that has something to send, may go on or ends.
    pub fn next_listed(&mut self) -> Option<Place> {
        self.connections.next_listed()
    }

    /// Whose session a connection is, and where it comes from, for the log; `None` if it is gone.
    pub fn describe(&self, place: Place) -> Option<(SocketAddr, SessionId)> {
        self.connections.find(place).map(|cnxn| (cnxn.peer, cnxn.session_id))
    }

    /// The timeout of a session that is alive, in milliseconds.
    pub fn timeout_of(&self, session_id: SessionId) -> Option<i32> {
        self.data.sessions.get(&session_id).copied()
    }

    /// True if [`Self::measured`] is due.
    pub fn is_unmeasured(&self) -> bool {
        !self.tally.unmeasured.is_empty()
    }

    /// What has been received from a connection since the last call took so long to answer.
    pub fn measured(&mut self, place: Place, took_us: u64) {
        let (cnxn, _) = self.connections.at(place);
        let reads = self.tally.measured(&mut cnxn.stats, took_us);
        if self.tally.tracer.wants(took_us) {
            self.tally.tracer.reads(cnxn, reads, took_us);
        }
    }

    /// What this view's shell measures.
    pub fn metrics_mut(&mut self) -> &mut Metrics {
        &mut self.tally.metrics
    }

    /// Lines for the audit log since the last call.
    #[inline]
    pub fn take_audit_lines(&mut self) -> Vec<String> {
        self.tally.audit.as_mut().map(|audit| audit.take_lines()).unwrap_or_default()
    }

    /// Requests that took long or were sampled, since the last call.
    #[inline]
    pub fn take_traces(&mut self) -> VecDeque<Trace> {
        self.tally.tracer.take()
    }

    /// What is to be sent to the commit side.
    pub fn take_uplink(&mut self) -> Option<Uplink> {
        let was_full = self.outbox.is_uplink_full();
        let uplink = self.outbox.take()?;
        if was_full {
            self.connections.release_held_up();
        }
        Some(uplink)
    }

    /// Sessions that gave a sign of life since the last call. If it is not called, [`View::take_uplink`] has them.
    pub fn take_signs(&mut self) -> Vec<SessionId> {
        self.outbox.take_signs()
    }

    /// Through when [`View::take_signs`] has told of all of them, in microseconds of the monotonic clock.
    pub fn heard_through_us(&self) -> i64 {
        self.outbox.heard_through_us()
    }

    /// Ends connections whose time is over, and collects signs of life. Call it every 20 ms or so; `now` never goes back.
    pub fn tick(&mut self, now: Now) {
        debug_assert!(
            now.mono_ms() >= self.now_ms,
            "time goes back: {} after {} ms",
            now.mono_ms(),
            self.now_ms
        );
        self.now_ms = now.mono_ms();
        self.tally.tracer.sampler.hot.tick(now.mono_ms());
        self.survey.tick(&self.data.tree, self.data.resets, now);
        self.connections.end_some(&mut self.data.watches);
        self.connections.end_stuck(now.mono_ms());
        let timeout_ms = self.settings.sessionless_timeout_ms;
        while let Some(id) = self.connections.take_overdue(now.mono_ms()) {
            if let Some((cnxn, pool)) = self.connections.find_id(id)
                && cnxn.state == State::Fresh
            {
                cnxn.close(CloseReason::Sessionless { timeout_ms });
                self.tally.metrics.counters.sessionless_connections_expired += 1;
                pool.list(id.slot, cnxn);
            }
        }
        if self.outbox.is_report_due(now) {
            self.connections.take_touched(self.outbox.signs_mut());
        }
    }

    /// The next learner that an image is to be taken for.
    pub fn next_image_wanted(&mut self) -> Option<LinkId> {
        self.data.images_wanted.pop_front()
    }

    /// Begins an image of the tree for a snapshot or a learner: as of which zxid, with which digest and sessions.
    pub fn begin_image(&mut self, of: ImageOf) -> (Zxid, u64, Vec<(SessionId, i32)>) {
        self.data.tree.begin_image_of(of);
        let sessions = self.data.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms));
        (self.data.last_txn, self.data.digest, sessions.collect())
    }

    /// The access list of the root; empty where it is open.
    pub fn root_acl(&self) -> Vec<Acl> {
        let tree = &self.data.tree;
        let root = tree.find(b"/").expect("every tree has a root");
        tree.body(root).fixed().acl.as_ref().map_or_else(Vec::new, |list| list.to_vec())
    }

    /// How often the tree was replaced; an image that was begun before is of no tree any more.
    pub fn resets(&self) -> u32 {
        self.data.resets
    }

    /// Some more of the image, of `places` places and `bytes` bytes; false once that was all.
    pub fn image_slice(&mut self, of: ImageOf, places: u32, bytes: usize, out: &mut Vec<NodeImage>) -> bool {
        self.data.tree.image_slice_of(of, places, bytes, out)
    }

    /// Gives the image up.
    pub fn abandon_image(&mut self, of: ImageOf) {
        self.data.tree.abandon_image(of);
    }
}
