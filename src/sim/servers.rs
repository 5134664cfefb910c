//! Servers: how they start on what their disks hold, what happens to them, and how they end.

use super::cluster::{Cluster, line};
use super::disk::SimDisk;
use super::env::Env;
use super::event::{Event, Inside};
use super::mutation::Mutation;
use super::process::{Process, TICK_US};
use super::settings::tree_settings;
use super::shell::{Shell, ViewSide};
use super::stop::{RESTART_US, Stop};
use super::world::saved;
use crate::auth::Policy;
use crate::config::Role;
use crate::database::Database;
use crate::driver::{self, Driver, SnapshotPlan};
use crate::proto::{ServerId, Zxid};
use crate::replica::{CommitSettings, Duties, MemberSettings, Replica, View, ViewSettings};
use crate::storage::{self, Folder, Recovered, RecoveryError, Storage};
use crate::wal::Position;
use crate::zab::configuration::Configuration;
use crate::zab::history::History;
use crate::zab::leader::Membership;
use std::sync::Arc;

impl Cluster {
    fn sid(server: usize) -> i64 {
        server as i64 + 1
    }

    /// Something happens to a server; it waits while that does nothing.
    pub(super) fn happens_to(&mut self, server: usize, event: Event) {
        let of = &mut self.servers[server];
        if of.stalled_until_us > self.net.now_us || !of.backlog.is_empty() {
            // Time passes once, however long it was.
            if matches!(event, Event::Inside { what: Inside::Tick, .. }) && self.net.random.one_in(2) {
                of.backlog.push_front(event);
            } else {
                of.backlog.push_back(event);
            }
            return;
        }
        self.handle(server, event);
    }

    /// A server does nothing for a while.
    pub fn stall(&mut self, server: usize, for_us: u64) {
        let until_us = self.net.now_us + for_us;
        let of = &mut self.servers[server];
        if until_us > of.stalled_until_us {
            of.stalled_until_us = until_us;
            self.net.at(until_us, Event::Resume(server));
        }
    }

    pub(super) fn resume(&mut self, server: usize) {
        while self.servers[server].stalled_until_us <= self.net.now_us
            && let Some(event) = self.servers[server].backlog.pop_front()
        {
            self.handle(server, event);
        }
    }

    fn handle(&mut self, server: usize, event: Event) {
        match event {
            Event::Inside { incarnation, what, .. } => {
                if self.servers[server].incarnation == incarnation {
                    self.with(server, |process, env| process.happens(what, env));
                }
            }
            Event::Net { socket, arrival } => {
                let Some((_, who)) = self.net.whose(socket) else { return };
                let of = &self.servers[server];
                if of.process.is_some() {
                    self.with(server, |process, env| process.arrives(who, socket, arrival, env));
                } else if of.is_on {
                    self.net.reset(socket);
                }
            }
            other => unreachable!("{other:?} is not for a server"),
        }
    }

    /// Lends the cluster to a server's process, if that runs, for something to happen to it; ends the process if that ends
    /// with this.
    fn with(&mut self, server: usize, act: impl FnOnce(&mut Process, &mut Env<'_>)) {
        if self.oracle.violation.is_some() {
            return;
        }
        let of = &mut self.servers[server];
        let (now, disk) = (of.now(self.net.now_us), of.disk.clone());
        let Some(process) = &mut of.process else { return };
        let mut env = Env {
            server,
            incarnation: of.incarnation,
            now,
            disk,
            settings: self.settings,
            mutation: self.mutation,
            is_rotten: self.rotten == Some(server),
            net: &mut self.net,
            oracle: &mut self.oracle,
            shadows: &mut self.shadows,
            images: &mut self.images,
            counts: &mut self.counts,
            trace: &mut self.trace,
            fuse: &mut of.fuse,
            stop_at: &mut self.stop_at,
            stall_us: 0,
            end: None,
        };
        act(process, &mut env);
        if env.disk.is_off() {
            env.failed(&"the power is off");
        }
        let (stall_us, end) = (env.stall_us, env.end);
        if stall_us > 0 {
            self.stall(server, stall_us);
        }
        if let Some(end) = end {
            self.stop(server, end.how);
            if let Some(back_us) = end.back_us {
                self.net.after(back_us, Event::Start(server));
            }
        }
    }

    /// Starts a process on what the disk holds.
    pub(super) fn start(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            return;
        }
        self.servers[server].is_on = true;
        let recovered = match self.recover_or_repair(server) {
            Ok(recovered) => recovered,
            Err(error) => {
                self.trace(|_| format!("server {} cannot start: {error}", server + 1));
                if error.is_damage() && self.may_not_be_damaged(server) {
                    self.oracle.violate(format!("server {} is damaged: {error}", server + 1));
                }
                return self.net.after(RESTART_US, Event::Start(server));
            }
        };
        let Recovered { restored, epochs, .. } = &recovered;
        if epochs.repairing && restored.zxid == Zxid::ZERO {
            // Moved aside, and the power went before that was said.
            self.shadows[server].lose();
        }
        let (zxid, repairing) = (restored.zxid, if epochs.repairing { ", to be repaired" } else { "" });
        self.oracle.started(server, &mut self.shadows[server], &self.images, zxid);
        self.trace(|_| format!("server {} starts: zxid={zxid} {}{repairing}", server + 1, saved(epochs)));
        let of = &mut self.servers[server];
        of.incarnation += 1;
        // Session ids begin with the wall's time of the start, as Java's do: set back over a start it repeats them.
        let wall_ms = of.now(self.net.now_us).wall_ms;
        of.wall_offset_ms += (of.latest_wall_ms + 1_000 - wall_ms).max(0);
        match self.process(server, recovered) {
            Ok(process) => self.servers[server].process = Some(process),
            Err(error) => {
                self.trace(|_| format!("server {} cannot start: {error}", server + 1));
                return self.net.after(RESTART_US, Event::Start(server));
            }
        }
        let delay_us = self.net.random.below(TICK_US);
        self.with(server, |_, env| env.within(delay_us, Inside::Tick));
    }

    /// What the disk holds. What is damaged, as only what rots may be, is moved aside.
    fn recover_or_repair(&mut self, server: usize) -> Result<Recovered, RecoveryError> {
        let recovered = self.recover(server);
        match recovered {
            Err(error) if error.is_damage() => {
                self.trace(|_| format!("server {} is damaged: {error}", server + 1));
                if self.may_not_be_damaged(server) {
                    self.oracle.violate(format!("server {} is damaged: {error}", server + 1));
                }
                self.servers[server].repairs += 1;
                if storage::move_aside(&self.servers[server].disk).is_err() {
                    return Err(error);
                }
                self.shadows[server].lose();
                self.recover(server)
            }
            recovered => recovered,
        }
    }

    /// A process that begins with what was recovered.
    fn process(&mut self, server: usize, recovered: Recovered) -> std::io::Result<Process> {
        let Recovered { restored, encoder, epochs, replayed, .. } = recovered;
        let (settings, disk) = (self.settings, self.servers[server].disk.clone());
        let (zxid, digest, log) = (restored.zxid, restored.tree.digest(), encoder.position());
        let policy = Arc::new(Policy { skip_acl: settings.reconfigures, ..Policy::default() });
        let views = (0..settings.views).map(|number| ViewSide::new(view(number, &restored, policy.clone())));
        let views = views.collect();
        let seed = self.net.random.draw();
        let plan = (settings.snap_count > 0)
            .then(|| SnapshotPlan::new(settings.snap_count, None, zxid, replayed, seed));
        let shell = Shell::new(views, &disk, encoder, plan, (zxid, digest))?;
        let member = self.member_settings(server, &epochs, &restored);
        let commit = CommitSettings {
            server_id: Self::sid(server) as u8,
            container_never_used_ms: 300_000,
            local_sessions: settings.local_sessions,
            upgrades_sessions: settings.upgrades_sessions,
            reconfig_enabled: settings.reconfigures,
            standalone_enabled: false,
            epoch_zxids: settings.epoch_zxids,
            bug: match self.mutation {
                Some(Mutation::InSessions(bug)) => Some(bug),
                _ => None,
            },
            ..CommitSettings::new(settings.views, settings.tick_ms)
        };
        let (history, now) = (self.history_of(&disk, zxid, log), self.servers[server].now(self.net.now_us));
        let replica = Replica::member(member, commit, policy, restored, (&epochs).into(), history, now);
        let mut replica = replica;
        if self.mutation == Some(Mutation::InformEarly) {
            replica.inform_early();
        }
        let mut driver = Driver::new(replica, usize::from(settings.views), now.mono_us, zxid, log);
        if let Some(Mutation::InDriver(bug)) = self.mutation {
            driver.set_bug(bug);
        }
        Ok(Process { driver, shell })
    }

    fn member_settings(
        &self,
        server: usize,
        epochs: &storage::Epochs,
        restored: &Database,
    ) -> MemberSettings {
        let (sid, mut ensemble) = (Self::sid(server), self.ensemble.clone());
        // One that is to join names itself.
        ensemble.servers.entry(sid).or_insert_with(|| line(sid, Role::Participant));
        if self.mutation == Some(Mutation::DecideAlone) && ensemble.servers[&sid].role == Role::Participant {
            ensemble.servers.retain(|other, _| *other == sid);
        }
        let file = Configuration::new(ensemble).expect("an ensemble");
        let configs = driver::configurations(file, epochs, restored, self.settings.reconfigures);
        let is_observer = configs.active().role(ServerId(sid)) == Some(Role::Observer);
        let configs = match self.mutation {
            Some(Mutation::InConfigurations(bug)) => configs.with_bug(bug),
            _ => configs,
        };
        let tick_ms = i64::from(self.settings.tick_ms);
        MemberSettings {
            membership: Membership {
                sid: ServerId(sid),
                configs,
                reconfig_enabled: self.settings.reconfigures,
                tick_ms,
                init_ms: 10 * tick_ms,
                sync_ms: 5 * tick_ms,
                snaps_max: 10,
                always_snap: false,
                as_java: self.settings.as_java,
            },
            is_observer,
            read_only_mode: self.settings.read_only_mode,
            repairing: epochs.repairing,
            duties: Duties {
                observer_master_bytes: self.settings.observer_masters.then_some(4 << 10),
                ..Duties::default()
            },
            election_address: format!("zk{sid}:3888"),
        }
    }

    /// The end of the log, as far as it is read back.
    fn history_of(&mut self, disk: &SimDisk, last: Zxid, log: Position) -> History {
        let any = [0, 10, 500][self.net.random.below(3) as usize];
        match self.history_txns.unwrap_or(any) {
            0 => History::new(last),
            txns => driver::history(disk, last, log, txns).unwrap_or_else(|_| History::new(last)),
        }
    }

    fn recover(&mut self, server: usize) -> Result<Recovered, RecoveryError> {
        let disk = self.servers[server].disk.clone();
        storage::remove_leftovers(&disk)
            .map_err(|error| RecoveryError::Io { path: disk.path(Folder::Snap, ""), error })?;
        let mut told = Vec::new();
        let recovered = storage::recover(&disk, tree_settings(), &mut |event| told.push(event));
        for event in told {
            self.trace(|_| format!("server {} recovers: {event:?}", server + 1));
        }
        recovered
    }

    /// A process ends.
    pub fn stop(&mut self, server: usize, how: Stop) {
        let of = &mut self.servers[server];
        of.latest_wall_ms = of.latest_wall_ms.max(of.now(self.net.now_us).wall_ms);
        of.fuse = None;
        if of.process.take().is_none() && how == Stop::Killed {
            return;
        }
        of.backlog.clear();
        of.stalled_until_us = 0;
        of.is_on = how == Stop::Killed;
        self.trace(|_| format!("server {} stops: {how:?}", server + 1));
        for socket in self.net.sockets(server) {
            match how {
                Stop::Killed => self.net.close(socket),
                Stop::PowerOff => self.net.vanish(socket),
            }
        }
        let of = &self.servers[server];
        if how == Stop::PowerOff {
            let seed = self.net.random.draw();
            of.disk.crash(seed);
        } else {
            of.disk.call_off();
        }
    }
}

fn view(number: u16, restored: &Database, policy: Arc<Policy>) -> View {
    let settings =
        ViewSettings { outstanding_max: 100, sessionless_timeout_ms: 3_000, ..ViewSettings::new(number) };
    let (tree, sessions) = (restored.tree.for_view(), restored.sessions.clone());
    View::new(settings, policy, tree, restored.zxid, sessions, restored.tree.digest())
}
