//! A simulated process: what happens to its driver and its views, one event at a time.

use super::env::Env;
use super::event::{Arrival, Inside, Socket, Who};
use super::image::{Image, Imaging};
use super::mutation::{Mutation, mutate, sync_at_once};
use super::oracle::Shadow;
use super::shell::Shell;
use super::world::World;
use crate::driver::{self, Driver, JobResult, LinkEvent, Replaced, SnapshotSlices, Turn};
use crate::proto::Zxid;
use crate::replica::{ControlKind, Deltas, EntryKind, Place, Replica, Standing};
use crate::snapshot;
use crate::storage::{self, Folder, NewFile, Storage};
use crate::tree::ImageOf;
use crate::zab::LinkId;
use core::net::SocketAddr;

/// How often views are given the time.
pub(super) const TICK_US: u64 = 10_000;

/// Snapshots that are kept.
const RETAIN: usize = 2;

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub driver: Driver,
    pub shell: Shell,
}

impl Process {
    /// What it is driven for.
    pub fn replica(&self) -> &Replica {
        &self.driver.replica
    }

    /// What it is to its ensemble.
    pub fn standing(&self) -> Standing {
        self.replica().standing()
    }

    /// Newest zxid that was published, and whether clients are served.
    pub fn published(&self) -> (Zxid, bool) {
        (self.shell.published, self.shell.is_serving)
    }

    /// Something happens inside.
    pub(super) fn happens(&mut self, what: Inside, env: &mut Env<'_>) {
        match what {
            Inside::Tick => self.tick(env),
            Inside::Turn => {
                self.shell.is_turn_due = false;
                self.turn(env);
            }
            Inside::Wake => self.turn(env),
            Inside::Flush(batch) => match self.shell.flush(batch, env) {
                Ok(done) => {
                    self.shell.done = done;
                    self.wake(env);
                }
                Err(failed) => env.failed(&failed),
            },
            Inside::Deltas { view, deltas } => self.apply(usize::from(view), &deltas, env),
            Inside::Uplink { view, uplink } => {
                self.shell.views[usize::from(view)].uplinks.push_back(uplink);
                self.wake(env);
            }
            Inside::LookAt { view, place } => {
                self.look_at(usize::from(view), place, env);
                self.serve(usize::from(view), env);
            }
            Inside::Image(link, image) => {
                self.shell.arrivals.push_back(driver::Arrival::Image(link, image));
                self.wake(env);
            }
            Inside::ImageSlice(of) => self.image_slice(of, env),
            Inside::MakeTree(link) => {
                self.shell.make_some(link, env);
                self.wake(env);
            }
            Inside::StoreSnapshot => self.store_snapshot(env),
            Inside::Taken(taken) => {
                self.shell.taken.push_back(taken);
                self.wake(env);
            }
            Inside::HandOver(to) => {
                self.shell.hand_overs.push_back(to);
                self.wake(env);
            }
            Inside::Job(job, took_us) => {
                let done = self.shell.run(job, env);
                self.done(done, took_us, env);
            }
            Inside::JobDone(done, took_us) => self.done(done, took_us, env),
        }
    }

    fn done(&mut self, done: JobResult, took_us: u64, env: &mut Env<'_>) {
        self.shell.arrivals.push_back(driver::Arrival::Done(done, took_us));
        self.wake(env);
    }

    /// Has a turn taken: now, or a little later with what comes until then.
    fn wake(&mut self, env: &mut Env<'_>) {
        if self.shell.is_turn_due {
            return;
        }
        match env.net.random.one_in(3) {
            true => self.turn_within(3_000, env),
            false => self.turn(env),
        }
    }

    fn turn_within(&mut self, bound_us: u64, env: &mut Env<'_>) {
        if !std::mem::replace(&mut self.shell.is_turn_due, true) {
            let delay_us = 1 + env.some_us(bound_us);
            env.within(delay_us, Inside::Turn);
        }
    }

    /// Takes a turn.
    fn turn(&mut self, env: &mut Env<'_>) {
        if !env.step() {
            return;
        }
        let Self { driver, shell } = self;
        let turned = driver.turn(&mut World { shell, env }, false, false);
        for taken in std::mem::take(&mut self.shell.sent) {
            // A peer that is slow to take what it is sent.
            let slow_us = if env.net.random.one_in(20) { 400_000 } else { 500 };
            let delay_us = env.some_us(slow_us);
            env.within(delay_us, Inside::Taken(taken));
        }
        match turned {
            Ok(Turn::Idle) => {}
            Ok(Turn::Wait(us)) => env.within(us as u64, Inside::Wake),
            Ok(Turn::Again) => self.turn_within(50, env),
            Ok(Turn::Over) => unreachable!("it was not told to stop"),
            Err(_) if env.end.is_some() => {}
            Err(why) => {
                if let driver::Fatal::Diverged(why) = &why {
                    env.oracle.violate(format!("server {} diverged: {why}", env.server + 1));
                }
                env.failed(&why);
            }
        }
    }

    fn tick(&mut self, env: &mut Env<'_>) {
        for view in 0..self.shell.views.len() {
            let side = &mut self.shell.views[view];
            side.view.tick(env.now);
            side.signs.put(side.view.take_signs(), side.view.heard_through_us());
            self.serve(view, env);
        }
        if !self.shell.is_unflushed && env.net.random.one_in(4) {
            self.shell.log.files_mut().clock_us = env.now.mono_us;
            match self.shell.log.idle() {
                Ok(None) => {}
                Ok(Some(left)) => {
                    env.trace(|server| format!("server {server}: the disk is full, {left} left"))
                }
                Err(failed) => return env.failed(&failed),
            }
        }
        self.turn(env);
        env.within(TICK_US, Inside::Tick);
    }

    /// A view applies what was committed.
    fn apply(&mut self, view: usize, deltas: &Deltas, env: &mut Env<'_>) {
        let shell = &mut self.shell;
        let side = &mut shell.views[view];
        side.deltas -= 1;
        side.view.apply(deltas, env.now);
        if view == 0 {
            if deltas
                .entries
                .iter()
                .any(|entry| matches!(entry.what, EntryKind::Control(ControlKind::Reset(_))))
            {
                // Of a tree that is no more.
                shell.wanted.clear();
            }
            if let Some(plan) = &mut shell.plan {
                plan.count(deltas);
                let is_running = shell.snapshot.is_some() || shell.whole_snapshot.is_some();
                if plan.begins(side.view.is_serving(), is_running) {
                    shell.snapshot = Some((SnapshotSlices::begin(&mut side.view, 0), Vec::new()));
                    env.within(1, Inside::ImageSlice(ImageOf::Snapshot));
                }
            }
        }
        while let Some(link) = side.view.next_image_wanted() {
            if view == 0 {
                shell.wanted.push_back(link);
            }
        }
        self.begin_learners_image(env);
        self.serve(view, env);
        self.wake(env);
    }

    /// Begins an image for the next learner that wants one.
    fn begin_learners_image(&mut self, env: &mut Env<'_>) {
        let shell = &mut self.shell;
        if shell.for_learner.is_some() {
            return;
        }
        let Some(link) = shell.wanted.pop_front() else { return };
        let imaging = Imaging::begin(&mut shell.views[0].view);
        let zxid = imaging.origin.zxid;
        env.trace(|server| format!("server {server} takes an image at {zxid} for {link:?}"));
        let mut held: Shadow = env.shadows[env.server].clone();
        held.records.retain(|known, record| {
            record.1 = true;
            *known <= zxid
        });
        held.marker = None;
        // A follower's views show what is committed before its own log is given it.
        let last = held.last();
        let rest = env.oracle.committed.range(last..=zxid.max(last)).filter(|(known, _)| **known > last);
        held.records.extend(rest.map(|(known, committed)| (*known, (committed.txn.clone(), true))));
        let known = env.images.entry(zxid).or_insert_with(|| held.clone());
        if known.records != held.records {
            env.oracle.violate(format!("server {} has another tree at {zxid}", env.server + 1));
        }
        let (sessions, gathered) = (imaging.sessions.clone(), imaging.gathered.clone());
        shell.for_learner = Some(imaging);
        let delay_us = 1 + env.some_us(env.settings.channel_us + 1);
        env.within(delay_us, Inside::Image(link, Image { zxid, sessions, gathered }));
        env.within(delay_us, Inside::ImageSlice(ImageOf::Learner));
    }

    /// A slice of an image is taken, and what comes after it is set.
    fn image_slice(&mut self, of: ImageOf, env: &mut Env<'_>) {
        let places = 1 + env.some_us(20) as u32;
        let delay_us = 1 + env.some_us(3_000);
        let slice = match of {
            ImageOf::Learner => self.learners_slice(places),
            ImageOf::Snapshot => self.snapshot_slice(places),
        };
        match (slice, of) {
            (Ok(true), _) => env.within(delay_us, Inside::ImageSlice(of)),
            (_, ImageOf::Learner) => {
                self.shell.for_learner = None;
                self.begin_learners_image(env);
            }
            (Ok(false), ImageOf::Snapshot) => {
                let (slices, mut bytes) = self.shell.snapshot.take().expect("its last slice was taken");
                let (rest, origin, _) = slices.finish();
                bytes.extend(rest);
                self.shell.whole_snapshot = Some((origin, bytes));
                env.within(delay_us, Inside::StoreSnapshot);
            }
            (Err(Replaced), ImageOf::Snapshot) => self.shell.snapshot = None,
        }
    }

    fn learners_slice(&mut self, places: u32) -> Result<bool, Replaced> {
        let imaging = self.shell.for_learner.as_mut().expect("slices are taken of an image that was begun");
        imaging.next_slice(&mut self.shell.views[0].view, places)
    }

    fn snapshot_slice(&mut self, places: u32) -> Result<bool, Replaced> {
        let snapshot = self.shell.snapshot.as_mut();
        let (slices, bytes) = snapshot.expect("slices are taken of a snapshot that was begun");
        let more = slices.next_slice(&mut self.shell.views[0].view, places, usize::MAX)?;
        while let Some(chunk) = slices.next_chunk() {
            bytes.extend(chunk);
        }
        Ok(more)
    }

    /// Writes a snapshot once the log is durable as far: it must not know what the log does not.
    fn store_snapshot(&mut self, env: &mut Env<'_>) {
        let shell = &mut self.shell;
        let (origin, bytes) = shell.whole_snapshot.take().expect("a snapshot is stored that was taken");
        match origin.may_be_stored(&shell.views[0].view, shell.durable) {
            Ok(true) => {}
            Ok(false) => {
                shell.whole_snapshot = Some((origin, bytes));
                return env.within(5_000, Inside::StoreSnapshot);
            }
            Err(Replaced) => return,
        }
        let zxid = origin.zxid;
        let disk = &env.disk;
        let stored = disk.create(Folder::Snap, storage::SNAPSHOT_TMP).and_then(|mut file| {
            file.write(&bytes)?;
            file.finish(&snapshot::file_name(zxid))
        });
        // One that fails is tried again later: the log keeps everything.
        let left = match &stored {
            Ok(()) => storage::purge(disk, RETAIN).map(|_| ()),
            Err(_) => disk.remove(Folder::Snap, storage::SNAPSHOT_TMP),
        };
        env.trace(|server| format!("server {server} has snapshot {zxid}: {stored:?}, {left:?}"));
    }

    /// What arrives at a running process.
    pub(super) fn arrives(&mut self, who: Who, socket: Socket, arrival: Arrival, env: &mut Env<'_>) {
        match who {
            Who::Peer(port) => self.peer_arrives(port, socket, arrival, env),
            Who::View(view) => self.client_arrives(usize::from(view), socket, arrival, env),
            Who::Client => unreachable!("a server is no client"),
        }
    }

    fn peer_arrives(
        &mut self,
        port: crate::replica::Port,
        socket: Socket,
        arrival: Arrival,
        env: &mut Env<'_>,
    ) {
        let shell = &mut self.shell;
        let link = shell.sockets.get(&socket).copied();
        let peer = link.and_then(|link| shell.peers.get_mut(&link));
        match (arrival, link, peer) {
            (Arrival::Dial, ..) => {
                shell.accepted += 1;
                let link = LinkId(shell.accepted);
                shell.add_peer(link, socket);
                shell.events.push_back(LinkEvent::Accepted(link, port));
            }
            (Arrival::Connected, Some(link), _) => shell.events.push_back(LinkEvent::Connected(link)),
            (Arrival::Bytes(bytes), _, Some(peer)) => peer.inbox.push_back(bytes),
            (Arrival::Closed, Some(link), Some(peer)) => {
                peer.is_ended = true;
                // What was not read is lost with a connection that is reset.
                if env.net.random.one_in(2) {
                    peer.inbox.clear();
                    peer.lose(link, &mut shell.events);
                }
            }
            (Arrival::Bytes(_), ..) => return env.net.reset(socket),
            // Of a connection that this server has left.
            (Arrival::Connected | Arrival::Closed, ..) => return,
        }
        self.wake(env);
    }

    fn client_arrives(&mut self, view: usize, socket: Socket, arrival: Arrival, env: &mut Env<'_>) {
        let side = &mut self.shell.views[view];
        let place = side.sockets.get(&socket).copied();
        match (arrival, place) {
            (Arrival::Dial, _) => {
                let place = side.view.open(SocketAddr::from(([127, 0, 0, 1], 1)), env.now);
                side.sockets.insert(socket, place);
                side.places.insert(place.slot, socket);
            }
            (Arrival::Bytes(bytes), Some(place)) => _ = side.view.receive(place, &bytes, env.now),
            (Arrival::Closed, Some(place)) => {
                side.sockets.remove(&socket);
                side.places.remove(&place.slot);
                env.net.vanish(socket);
                side.view.closed(place);
            }
            (Arrival::Bytes(_), None) => env.net.reset(socket),
            (Arrival::Connected | Arrival::Closed, _) => {}
        }
        // `receive` lists nothing: its caller looks.
        if let Some(place) = place {
            self.look_at(view, place, env);
        }
        self.serve(view, env);
    }

    /// Does what a view wants for a connection, if that is there still.
    fn look_at(&mut self, view: usize, place: Place, env: &mut Env<'_>) {
        let side = &mut self.shell.views[view];
        let Some(&socket) = side.places.get(&place.slot) else { return };
        if side.sockets.get(&socket) != Some(&place) {
            return;
        }
        let wants = side.view.poll_connection(place, env.now);
        if wants.write {
            let bytes = side.view.output(place).to_vec();
            side.view.sent(place, bytes.len());
            let bytes = mutate(env.mutation, bytes, &mut env.net.random);
            env.net.send(socket, bytes.into());
        }
        if wants.close.is_some() {
            env.net.close(socket);
            side.sockets.remove(&socket);
            side.places.remove(&place.slot);
            side.view.closed(place);
        } else if wants.again {
            env.within(100, Inside::LookAt { view: view as u16, place });
        }
    }

    /// Lets a view's connections and requests go on.
    fn serve(&mut self, view: usize, env: &mut Env<'_>) {
        loop {
            while let Some(place) = self.shell.views[view].view.next_listed() {
                self.look_at(view, place, env);
            }
            let side = &mut self.shell.views[view];
            let Some(mut uplink) = side.view.take_uplink() else { return };
            if env.mutation == Some(Mutation::SyncAtOnce) {
                sync_at_once(&mut side.view, &mut uplink, env.now);
            }
            let delay_us = env.net.random.below(env.settings.channel_us + 1);
            side.uplinks_due_us = side.uplinks_due_us.max(env.net.now_us + delay_us);
            env.at(side.uplinks_due_us, Inside::Uplink { view: view as u16, uplink });
        }
    }
}
