//! Tasks of a view shard: one takes in deltas and connections, one sends what the view has for the commit shard, one ticks.

use super::browse;
use super::commit_shard::CommitShard;
use super::ensemble::Inbox;
use super::listener::Arrival;
use super::orders::Placed;
use super::rt;
use super::signs::Signs;
use super::spsc::{Consumer, Notify, Producer};
use super::view_shard::ViewShard;
use super::{Clock, Phase, Shared, session_log, snapshots};
use crate::replica::{Deltas, DeltasCursor, Uplink, View};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The most requests that the commit shard handles on a view's thread at a time.
const REQUESTS_HERE_MAX: usize = 32;

/// Batches of deltas after which connections have their turn.
const BATCHES_PER_TURN: u32 = 8;

/// How often time passes for a shard; also what bounds a stall of its executor.
const TICK: Duration = Duration::from_millis(20);

/// The channels of a view shard.
pub struct Channels {
    /// To the commit shard.
    pub uplink: Producer<Uplink>,
    /// To it as well, past what waits in the other.
    pub signs: Arc<Signs>,
    /// From the commit shard.
    pub deltas: Consumer<Arc<Deltas>>,
    /// From the listener.
    pub accepted: Consumer<Arrival>,
    /// Wakes the task that takes deltas and connections.
    pub inbound: Notify,
    /// Wakes the task that sends up.
    pub outbound: Notify,
    /// What the console asks about the tree: one view answers it.
    pub browse: Option<browse::Pending>,
}

/// Serves until the server stops.
pub async fn run(
    view: View,
    channels: Channels,
    clock: Clock,
    shared: Arc<Shared>,
    commit: Arc<CommitShard>,
    snapshots: Option<(snapshots::Plan, Placed)>,
    inbox: Option<Inbox>,
) {
    let Channels { uplink, signs, deltas, accepted, inbound, outbound, browse } = channels;
    let shard = Rc::new(ViewShard::new(view, clock, shared, outbound, signs, inbox));
    rt::spawn_local(send_up(shard.clone(), commit, uplink));
    rt::spawn_local(tick(shard.clone(), inbound.clone(), browse));
    let snapshots = snapshots.map(|(plan, placed)| {
        rt::spawn_local(plan.serve(&shard, placed));
        plan
    });
    take_in(&shard, deltas, accepted, inbound, snapshots).await;
    // What was answered last is on its way to the sockets: give each connection's task a turn.
    for _ in 0..16 {
        rt::yield_now().await;
    }
}

/// Sends what the view has for the commit shard; while the ring is full the view gathers.
async fn send_up(shard: Rc<ViewShard>, commit: Arc<CommitShard>, mut uplink: Producer<Uplink>) {
    // Ends the wait of a group for more that began here.
    let mut waiting = pin!(None);
    poll_fn(|cx| {
        shard.uplink_notify().register(cx.waker());
        let mut items = 0;
        while uplink.has_room() {
            let Some(batch) = shard.view().borrow_mut().take_uplink() else { break };
            items += batch.items.len();
            let sent = uplink.put(batch);
            assert!(sent.is_ok(), "there was room");
        }
        while items > 0 || waiting.as_mut().as_pin_mut().is_some_and(|wait| Future::poll(wait, cx).is_ready())
        {
            // A thread that waits for the disk serves no reads: it waits only where it had few of them.
            let is_lone = items <= REQUESTS_HERE_MAX && shard.take_arrivals() <= 2 * items;
            waiting.set(commit.submit(is_lone).map(rt::sleep));
            items = 0;
        }
        shard.wake_listed();
        Poll::<()>::Pending
    })
    .await;
}

/// Gives the shard its ticks.
async fn tick(shard: Rc<ViewShard>, inbound: Notify, mut browse: Option<browse::Pending>) {
    loop {
        rt::sleep(TICK).await;
        shard.tick();
        if let Some(browse) = &mut browse {
            browse.turn(&shard.view().borrow());
        }
        shard.uplink_notify().notify();
        inbound.notify();
        shard.wake_listed();
    }
}

/// Takes in deltas and connections until the commit shard is done.
async fn take_in(
    shard: &Rc<ViewShard>,
    mut deltas: Consumer<Arc<Deltas>>,
    mut accepted: Consumer<Arrival>,
    inbound: Notify,
    mut snapshots: Option<snapshots::Plan>,
) {
    let mut taken = 0;
    loop {
        let batch = poll_fn(|cx| {
            inbound.register(cx.waker());
            while let Some(arrival) = accepted.take() {
                shard.clone().adopt(arrival);
            }
            // Asked first: what was published before the end is still taken in.
            let stopped = shard.shared().phase() == Phase::Stopped;
            match deltas.take() {
                Some(batch) => Poll::Ready(Some(batch)),
                None if stopped => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await;
        let Some(batch) = batch else { return };
        session_log::log_sessions(&batch, &shard.view().borrow());
        let mut cursor = DeltasCursor::default();
        // Only its own turns count: between two of them others have theirs.
        let mut took_us = 0;
        loop {
            let now = shard.clock().now();
            let is_done = shard.view().borrow_mut().apply_some(&batch, &mut cursor, now);
            took_us += shard.clock().mono_us() - now.mono_us;
            shard.write_lines();
            if is_done {
                shard.view().borrow_mut().applied(&batch, took_us.max(0) as u64);
            }
            shard.wake_listed();
            shard.uplink_notify().notify();
            if is_done {
                break;
            }
            rt::let_others().await;
        }
        if let Some(plan) = &mut snapshots {
            plan.count(&batch, shard);
            while let Some(link) = shard.next_image_wanted() {
                rt::spawn_local(snapshots::image_for(shard.clone(), link));
            }
        }
        // Where batches come faster than they are taken in, connections have their turn too.
        taken += 1;
        if taken == BATCHES_PER_TURN {
            taken = 0;
            rt::let_others().await;
        }
    }
}
