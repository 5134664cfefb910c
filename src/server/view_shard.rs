//! A view shard: the view of one thread, and its clients' connections. Its tasks are in `view_tasks`.

use super::audit;
use super::ensemble::Inbox;
use super::listener::Arrival;
use super::logging::{Text, provoked};
use super::rt;
use super::shed;
use super::signs::Signs;
use super::spsc::Notify;
use super::tls::Channel;
use super::{Clock, Shared};
use crate::admin::Trace;
use crate::proto::SessionId;
use crate::replica::{CloseReason, Now, Place, View};
use crate::zab::LinkId;
use log::Level;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Bytes that one read takes at most; one buffer serves all connections of the shard.
const READ_BYTES: usize = 64 << 10;

/// Reads after which a connection lets others have theirs; the view bounds the work that they ask for.
const READS_PER_TURN: usize = 4;

/// How long a connection that is to end may take for its last bytes.
const LINGER_MS: i64 = 5_000;

/// What a view shard is made of.
pub struct ViewShard {
    view: RefCell<View>,
    /// Reads from sockets since [`Self::take_arrivals`].
    arrivals: Cell<usize>,
    clock: Clock,
    shared: Arc<Shared>,
    /// Tasks of the connections, by slot.
    wakers: RefCell<Vec<Option<Waker>>>,
    scratch: RefCell<Vec<u8>>,
    uplink_notify: Notify,
    /// Which clients are alive.
    signs: Arc<Signs>,
    /// Connections that are to end, and when they will whatever they have not taken.
    lingering: RefCell<VecDeque<(i64, Place)>>,
    /// The view's tree has one image for a learner at a time.
    is_imaging: Cell<bool>,
    /// Where images for learners go, in an ensemble.
    inbox: Option<Inbox>,
    /// Both clocks at the last tick: between two, what is read of the wall's follows the other.
    ticked: Cell<Now>,
    /// When the shard sheds connections next, if it is to.
    shed_next_ms: Cell<i64>,
}

impl ViewShard {
    /// A shard without connections. `uplink_notify` wakes the task that sends what the view has for the commit shard.
    pub fn new(
        view: View,
        clock: Clock,
        shared: Arc<Shared>,
        uplink_notify: Notify,
        signs: Arc<Signs>,
        inbox: Option<Inbox>,
    ) -> Self {
        Self {
            view: RefCell::new(view),
            arrivals: Cell::new(0),
            clock,
            shared,
            wakers: RefCell::default(),
            scratch: RefCell::new(vec![0; READ_BYTES]),
            uplink_notify,
            signs,
            lingering: RefCell::default(),
            is_imaging: Cell::new(false),
            inbox,
            ticked: Cell::new(clock.now()),
            shed_next_ms: Cell::new(0),
        }
    }

    /// Reads both clocks, gives the view its tick, tells the commit shard which clients are alive, and ends connections
    /// whose time for their last bytes is over.
    pub fn tick(&self) {
        let now = self.clock.now();
        self.ticked.set(now);
        self.shared.beat(self.view.borrow().number());
        self.tell_signs(now);
        self.write_lines();
        self.cut_lingering(now.mono_ms());
        self.shed(now.mono_ms());
    }

    /// Closes some connections where an operator wants that, or the server is about to stop.
    fn shed(&self, now_ms: i64) {
        let mut view = self.view.borrow_mut();
        if let Some(shed) = self.shared.shedding.leaving(view.cnxn_count()) {
            view.shed(shed);
            return;
        }
        drop(view);
        if now_ms < self.shed_next_ms.get() {
            return;
        }
        self.shed_next_ms.set(now_ms + shed::STEP_MS);
        let Shared { shedding, .. } = &*self.shared;
        let ended = shedding.step(now_ms, self.shared.views(), |shed| self.view.borrow_mut().shed(shed));
        if let Some(shed::Progress { closed, wanted, .. }) = ended {
            log::info!(target: "cnxn", "shed: connections={closed} of={wanted}");
        }
    }

    fn tell_signs(&self, now: Now) {
        let mut view = self.view.borrow_mut();
        view.tick(now);
        self.signs.put(view.take_signs(), view.heard_through_us());
    }

    /// The number of reads from sockets since the last call.
    pub fn take_arrivals(&self) -> usize {
        self.arrivals.take()
    }

    /// Wakes the task that sends what the view has for the commit shard.
    pub fn uplink_notify(&self) -> &Notify {
        &self.uplink_notify
    }

    /// The next learner that wants an image of the tree.
    pub fn next_image_wanted(&self) -> Option<LinkId> {
        self.view.borrow_mut().next_image_wanted()
    }

    /// Whether an image of the tree is being taken for a learner.
    pub fn is_imaging(&self) -> &Cell<bool> {
        &self.is_imaging
    }

    /// Where images for learners go.
    pub fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    /// The view, for what runs beside the connections.
    pub fn view(&self) -> &RefCell<View> {
        &self.view
    }

    /// What all shards share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The shard's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Now, for one reading of a clock: what the wall's says is right to a millisecond and what it was set since the
    /// last tick.
    fn now(&self) -> Now {
        let (mono_us, ticked) = (self.clock.mono_us(), self.ticked.get());
        Now { mono_us, wall_ms: ticked.wall_ms + (mono_us - ticked.mono_us) / 1000 }
    }

    /// Wakes the tasks of the connections that the view has listed.
    pub fn wake_listed(&self) {
        let mut view = self.view.borrow_mut();
        let wakers = self.wakers.borrow();
        while let Some(Place { slot, .. }) = view.next_listed() {
            if let Some(Some(waker)) = wakers.get(slot as usize) {
                waker.wake_by_ref();
            }
        }
    }

    /// Writes what the view has for the log: events of the audit log, before the clients have their answers, and requests
    /// that took long.
    #[inline]
    pub fn write_lines(&self) {
        let mut view = self.view.borrow_mut();
        let (lines, traces) = (view.take_audit_lines(), view.take_traces());
        drop(view);
        lines.iter().for_each(|line| audit::write(line));
        if !traces.is_empty() {
            self.write_traces(traces);
        }
    }

    #[cold]
    fn write_traces(&self, traces: VecDeque<Trace>) {
        for trace in traces {
            if trace.is_slow {
                let line = format_args!("slow request: {trace}");
                provoked(Level::Warn, "slow", "slow request", trace.op, line);
            }
            self.shared.traces().push(trace);
        }
    }

    /// Serves a connection that the listener has accepted, in a task of its own.
    pub fn adopt(self: Rc<Self>, Arrival { accepted, port }: Arrival) {
        let admission = &self.shared.admission;
        // A connection without a peer is gone before it began.
        let Ok((stream, peer)) = accepted.adopt() else { return admission.dropped() };
        if let Err(limit) = admission.enter(peer.ip()) {
            let line = format_args!("connection turned away: peer={peer} limit={limit}");
            provoked(Level::Warn, "listener", "connection turned away", "over a limit", line);
            return admission.dropped();
        }
        let Ok(channel) = Channel::new(stream, port, peer.ip()) else {
            admission.leave(peer.ip());
            return admission.dropped();
        };
        let place = self.view.borrow_mut().open(peer, self.clock.now());
        rt::spawn_local(async move { self.serve(channel, place, peer).await });
    }

    async fn serve(&self, mut channel: Channel, place: Place, peer: SocketAddr) {
        let mut closing = false;
        let result = poll_fn(|cx| {
            self.listen(place, cx);
            self.turn(&mut channel, place, &mut closing, cx)
        })
        .await;
        self.forget(place);
        let session =
            self.view.borrow().describe(place).map_or(SessionId::NONE, |(_, session_id)| session_id);
        match result {
            Ok(CloseReason::Done) => {}
            Ok(CloseReason::Shed) => log::debug!(target: "cnxn", "shed: peer={peer} session={session:#x}"),
            Ok(reason) => {
                let line = format_args!("closed: peer={peer} session={session:#x} why={}", Text(&reason));
                provoked(Level::Info, "cnxn", "closed", reason.name(), line);
            }
            // What a client's certificate or its TLS lacks is for the operator, too.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied) =>
            {
                let line = format_args!("closed: peer={peer} session={session:#x} why={}", Text(&error));
                provoked(Level::Warn, "cnxn", "closed", "TLS failed", line);
            }
            Err(error) => {
                log::debug!(target: "cnxn", "lost: peer={peer} session={session:#x} error={}", Text(&error));
            }
        }
        self.view.borrow_mut().closed(place);
        channel.close().await;
        self.shared.admission.leave(peer.ip());
        self.shared.admission.dropped();
    }

    fn listen(&self, Place { slot, .. }: Place, cx: &Context<'_>) {
        let mut wakers = self.wakers.borrow_mut();
        if wakers.len() <= slot as usize {
            wakers.resize(slot as usize + 1, None);
        }
        match &mut wakers[slot as usize] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }

    fn forget(&self, Place { slot, .. }: Place) {
        self.wakers.borrow_mut()[slot as usize] = None;
    }

    /// Sends and reads as far as that goes now; ready once the connection has ended.
    fn turn(
        &self,
        channel: &mut Channel,
        place: Place,
        closing: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<CloseReason>> {
        let mut reads = 0;
        let now = self.now();
        let mut view = self.view.borrow_mut();
        let mut wants = view.poll_connection(place, now);
        loop {
            self.measure(&mut view, place, now);
            if view.has_uplink() {
                self.uplink_notify.notify();
            }
            if reads == READS_PER_TURN {
                rt::again(cx);
                return Poll::Pending;
            }
            let mut blocked = false;
            if wants.write {
                match channel.poll_write(cx, view.output(place)) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(bytes)) => {
                        wants = match view.sent(place, bytes) {
                            Some(wants) => wants,
                            None => view.resume(place, now),
                        };
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => blocked = true,
                }
            }
            if let Some(reason) = wants.close {
                if !blocked {
                    return Poll::Ready(Ok(reason));
                }
                if !std::mem::replace(closing, true) {
                    let until_ms = now.mono_ms() + LINGER_MS;
                    self.lingering.borrow_mut().push_back((until_ms, place));
                }
                return Poll::Pending;
            }
            if wants.again {
                rt::again(cx);
                return Poll::Pending;
            }
            if !wants.read {
                return Poll::Pending;
            }
            let mut scratch = self.scratch.borrow_mut();
            match channel.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(0)) => return Poll::Ready(hung_up(&view, place)),
                Poll::Ready(Ok(bytes)) => {
                    if let Some(ids) = channel.take_ids() {
                        view.prove(place, ids?);
                    }
                    wants = view.receive(place, &scratch[..bytes], now);
                    self.arrivals.update(|arrivals| arrivals + 1);
                    reads += 1;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Says how long it took to answer the reads that came together: one reading of the clock for all of them.
    #[inline]
    fn measure(&self, view: &mut View, place: Place, began: Now) {
        if view.is_unmeasured() {
            let took_us = self.clock.mono_us() - began.mono_us;
            view.measured(place, took_us.max(0) as u64);
        }
    }

    /// Ends connections that have not taken their last bytes in time.
    fn cut_lingering(&self, now_ms: i64) {
        let mut lingering = self.lingering.borrow_mut();
        while lingering.front().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            if let Some((_, place)) = lingering.pop_front() {
                self.view.borrow_mut().cut(place);
            }
        }
    }
}

/// What it means that a client has ended its connection: nothing, unless it had a session.
fn hung_up(view: &View, place: Place) -> io::Result<CloseReason> {
    match view.describe(place) {
        Some((_, session_id)) if session_id.is_some() => {
            let why = "the client has ended the connection, and not its session";
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
        }
        _ => Ok(CloseReason::Done),
    }
}
