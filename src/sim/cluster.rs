//! Servers, clients, and what happens to them.

use super::Random;
use super::client::Client;
use super::event::{Arrival, Event, Fault, Machine};
use super::mutation::Mutation;
use super::net::Net;
use super::oracle::{Oracle, Shadow};
use super::outcome::{Counts, Outcome, Trace};
use super::server::Server;
use super::settings::Settings;
use super::stop::{Step, Stop};
use crate::config::{Ensemble, PeerAddress, Role};
use crate::proto::Zxid;
use crate::replica::Standing;
use std::collections::{BTreeMap, BTreeSet};

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub settings: Settings,
    pub ensemble: Ensemble,
    pub net: Net,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    /// What each server's log holds.
    pub shadows: Vec<Shadow>,
    pub oracle: Oracle,
    /// What a tree that was sent holds, by the zxid it is of.
    pub(super) images: BTreeMap<Zxid, Shadow>,
    pub mutation: Option<Mutation>,
    /// Which server stops, at what, and how.
    pub stop_at: Option<(usize, Step, Stop)>,
    /// Txns of its log that a server starts with in memory; any number if it is not said.
    pub history_txns: Option<u32>,
    /// What is counted.
    pub counts: Counts,
    /// As in [`Outcome`].
    pub joins: u64,
    /// The server whose disk rots.
    pub(super) rotten: Option<usize>,
    /// Everything that happened.
    pub trace: Trace,
}

impl Cluster {
    /// An ensemble that is about to start.
    pub fn new(seed: u64, settings: Settings) -> Self {
        let mut random = Random(seed);
        let count = settings.voters + settings.observers;
        let mut ensemble = Ensemble::default();
        let mut servers = Vec::new();
        for index in 0..count {
            let (sid, is_observer) = (index as i64 + 1, index >= settings.voters);
            let address = PeerAddress { host: format!("zk{sid}"), quorum_port: 2888, election_port: 3888 };
            let role = if is_observer { Role::Observer } else { Role::Participant };
            let server = crate::config::Server { sid, addresses: vec![address], role, client: None };
            ensemble.servers.insert(sid, server);
            let mut server = Server::new(random.draw(), is_observer);
            if settings.fault_every_us > 0 {
                server.drift_ppm = random.below(20_000) as i64 - 10_000;
                server.wall_offset_ms = random.below(4_000) as i64 - 2_000;
            }
            servers.push(server);
        }
        let mut net = Net::new(random, settings.delay_us);
        for server in 0..count {
            let at_us = net.random.below(200_000);
            net.at(at_us, Event::Start(server));
        }
        for client in 0..settings.clients {
            net.at(1 + client as u64, Event::Client(client));
        }
        if settings.fault_every_us > 0 {
            net.at(settings.fault_every_us, Event::Fault);
        }
        Self {
            ensemble,
            net,
            servers,
            clients: (0..settings.clients).map(Client::new).collect(),
            shadows: vec![Shadow::default(); count],
            oracle: Oracle::default(),
            images: BTreeMap::new(),
            mutation: None,
            stop_at: None,
            history_txns: None,
            counts: Counts::default(),
            joins: 0,
            rotten: None,
            trace: Trace::default(),
            settings,
        }
    }

    /// Notes that something happened.
    pub fn trace(&mut self, what: impl FnOnce(&Self) -> String) {
        let line = what(self);
        self.trace.line(self.net.now_us, &line);
    }

    pub(super) fn may_not_be_damaged(&self, server: usize) -> bool {
        self.rotten != Some(server)
    }

    /// Lets `for_us` pass; ends early where something is wrong.
    pub fn run(&mut self, for_us: u64) {
        let until_us = self.net.now_us + for_us;
        while self.oracle.violation.is_none()
            && let Some(event) = self.net.next(until_us)
        {
            self.happen(event);
        }
    }

    /// Runs the cluster until `done`, for at most `for_us` microseconds of simulated time; false if it is not done then.
    pub fn run_until(&mut self, for_us: u64, done: impl Fn(&Self) -> bool) -> bool {
        let until_us = self.net.now_us + for_us;
        while self.oracle.violation.is_none() && !done(self) {
            let Some(event) = self.net.next(until_us) else { return done(self) };
            self.happen(event);
        }
        self.oracle.violation.is_none()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Net { socket, ref arrival } => {
                if self.net.passes(socket, arrival) {
                    self.arrives_at(event);
                }
            }
            Event::Unstick(socket) => {
                while let Some(arrival) = self.net.unstick(socket) {
                    self.arrives_at(Event::Net { socket, arrival });
                }
            }
            Event::Inside { server, incarnation, .. } => {
                if self.servers[server].incarnation == incarnation {
                    self.happens_to(server, event);
                }
            }
            Event::Client(client) => self.act(client),
            Event::Start(server) => self.start(server),
            Event::Resume(server) => self.resume(server),
            Event::Heal(fault) => self.heal(fault),
            Event::Fault => self.fault(),
        }
    }

    /// The kernel takes connections, whether the process is at work or not.
    fn arrives_at(&mut self, event: Event) {
        let Event::Net { socket, ref arrival } = event else { return };
        let Some((server, _)) = self.net.whose(socket) else { return };
        if let Some(client) = server.checked_sub(self.servers.len()) {
            return self.client_hears(client, socket, arrival.clone());
        }
        let of = &self.servers[server];
        match arrival {
            Arrival::Dial if of.process.is_some() => {
                self.net.accept(socket);
                self.happens_to(server, event);
            }
            Arrival::Dial => {
                if of.is_on {
                    self.net.refuse(socket);
                }
            }
            _ => self.happens_to(server, event),
        }
    }

    fn heal(&mut self, fault: Fault) {
        self.trace(|_| format!("ends: {fault:?}"));
        match fault {
            Fault::Cut(_) if self.mutation == Some(Mutation::StayCut) => {}
            Fault::Cut(wires) => self.net.heal(&wires),
            Fault::Slow => self.net.delay_us = self.settings.delay_us,
            Fault::FullDisk(server) => self.servers[server].disk.set_blocks_max(None),
        }
    }

    /// Cuts wires, for a while.
    pub fn cut(&mut self, wires: BTreeSet<(Machine, Machine)>, for_us: u64) {
        self.trace(|_| format!("cut for {for_us}: {wires:?}"));
        self.net.cut.extend(&wires);
        self.net.after(for_us, Event::Heal(Fault::Cut(wires)));
    }

    /// The wires between two groups of machines, both ways.
    pub fn between(a: &[Machine], b: &[Machine]) -> BTreeSet<(Machine, Machine)> {
        let ways = a.iter().flat_map(|a| b.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
        ways.filter(|(a, b)| a != b).collect()
    }

    /// Something goes wrong.
    fn fault(&mut self) {
        let every_us = self.settings.fault_every_us;
        if self.net.now_us >= self.settings.faults_us {
            return;
        }
        let next_us = self.net.random.below(2 * every_us);
        self.net.after(1 + next_us, Event::Fault);
        let servers = self.servers.len() as u64;
        let machines = (self.servers.len() + self.clients.len()) as u64;
        let random = &mut self.net.random;
        let server = random.below(servers) as usize;
        // The leader is where it hurts.
        let leader = self.leader().filter(|_| self.net.random.one_in(3));
        let server = leader.unwrap_or(server);
        let random = &mut self.net.random;
        let how = if random.one_in(2) { Stop::Killed } else { Stop::PowerOff };
        let back_us = 20_000 + random.below(1_500_000);
        let long_us = 50_000 + {
            let longest_us = [200_000, 1_000_000, 4_000_000][random.below(3) as usize];
            random.below(longest_us)
        };
        let kinds = if self.settings.disk_faults { 17 } else { 13 };
        match random.below(kinds) {
            0 => {
                self.stop(server, how);
                self.net.after(back_us, Event::Start(server));
            }
            1..=3 => {
                let steps = random.below(60);
                self.servers[server].fuse = Some((steps, how));
            }
            4 => {
                self.trace(|_| format!("server {} stands still for {long_us}", server + 1));
                self.stall(server, long_us);
            }
            5 => {
                // One server from all others, both ways or one.
                let others: Vec<Machine> = (0..servers as usize).filter(|other| *other != server).collect();
                let mut wires = Self::between(&[server], &others);
                match self.net.random.below(3) {
                    0 => wires.retain(|(from, _)| *from == server),
                    1 => wires.retain(|(_, to)| *to == server),
                    _ => {}
                }
                self.cut(wires, long_us);
            }
            6 => {
                let (a, b): (Vec<Machine>, Vec<Machine>) =
                    (0..machines as usize).partition(|_| self.net.random.one_in(2));
                self.cut(Self::between(&a, &b), long_us);
            }
            7 => {
                let other = random.below(servers) as usize;
                let mut wires = Self::between(&[server], &[other]);
                if random.one_in(2) {
                    wires.retain(|(from, _)| *from == server);
                }
                self.cut(wires, long_us);
            }
            8..=9 => {
                let numbers = self.net.connection_numbers();
                if !numbers.is_empty() {
                    let number = numbers[self.net.random.below(numbers.len() as u64) as usize];
                    self.trace(|_| format!("connection {number} breaks"));
                    self.net.break_connection(number);
                }
            }
            10 => {
                let (min, max) = self.settings.delay_us;
                self.net.delay_us = (min, max * (2 + random.below(20)));
                self.net.after(long_us, Event::Heal(Fault::Slow));
            }
            11 => {
                let jump_ms = random.below(20_000) as i64 - 10_000;
                let of = &mut self.servers[server];
                of.latest_wall_ms = of.latest_wall_ms.max(of.now(self.net.now_us).wall_ms);
                of.wall_offset_ms += jump_ms;
            }
            12 => {
                // Everybody at once.
                for server in 0..servers as usize {
                    self.stop(server, how);
                    let back_us = 20_000 + self.net.random.below(500_000);
                    self.net.after(back_us, Event::Start(server));
                }
            }
            13 => {
                let disk = &self.servers[server].disk;
                let blocks = disk.blocks() + random.below(10) as usize;
                disk.set_blocks_max(Some(blocks));
                self.trace(|_| format!("the disk of server {} has {blocks} blocks", server + 1));
                self.net.after(back_us, Event::Heal(Fault::FullDisk(server)));
            }
            14 => {
                let flushes = random.below(20);
                self.servers[server].disk.fail_flush_after(flushes);
            }
            15 => {
                let operations = random.below(30);
                self.servers[server].disk.power_off_after(operations);
            }
            _ => {
                // One server's at most: what is on one disk only is not durable.
                let server = self.rotten.unwrap_or(server);
                self.stop(server, Stop::Killed);
                self.rots(server);
                self.net.after(back_us, Event::Start(server));
            }
        }
    }

    /// A bit flips on a server's disk, while it is down.
    pub fn rots(&mut self, server: usize) {
        self.rotten = Some(server);
        let seed = self.net.random.draw();
        let damaged = self.servers[server].disk.damage(seed);
        self.trace(|_| format!("the disk of server {} rots: {damaged:?}", server + 1));
    }

    /// The server that leads, of the newest epoch.
    pub fn leader(&self) -> Option<usize> {
        let leading =
            (0..self.servers.len()).filter(|server| self.standing(*server) == Some(Standing::Leading));
        leading.max_by_key(|server| {
            self.servers[*server].process.as_ref().map(|process| process.replica().epochs().accepted)
        })
    }

    /// What a server is, if it runs.
    pub fn standing(&self, server: usize) -> Option<Standing> {
        self.servers[server].process.as_ref().map(|process| process.standing())
    }

    /// All faults end.
    pub fn calm_down(&mut self) {
        self.trace(|_| "faults end".to_owned());
        self.settings.fault_every_us = 0;
        let cut = self.net.cut.clone();
        if self.mutation != Some(Mutation::StayCut) {
            self.net.heal(&cut);
        }
        self.net.delay_us = self.settings.delay_us;
        self.stop_at = None;
        for server in 0..self.servers.len() {
            self.servers[server].fuse = None;
            self.servers[server].disk.set_blocks_max(None);
            self.servers[server].disk.call_off();
            if self.servers[server].process.is_none() {
                self.net.after(1, Event::Start(server));
            }
        }
    }

    /// Whether every server serves and shows the newest committed txn.
    pub fn is_settled(&self) -> bool {
        let last = self.oracle.last();
        let shows = |server: &Server| {
            server.process.as_ref().is_some_and(|process| {
                let (zxid, is_serving) = process.published();
                is_serving && (zxid >= last) && process.standing() != Standing::Looking
            })
        };
        self.servers.iter().all(shows)
    }

    /// Whether nothing is under way: nobody waits, and every log ends with the newest committed txn. No server has
    /// proposed more, either: while a leader's disk is busy its tree is ahead of the log, and a quorum may have committed
    /// all that is in this.
    pub fn is_quiet(&self) -> bool {
        let is_idle =
            |server: &Server| server.process.as_ref().is_some_and(|process| process.replica().is_idle());
        self.clients.iter().all(|client| client.pending() == 0)
            && self.is_settled()
            && self.servers.iter().all(is_idle)
            && self.shadows.iter().all(|shadow| shadow.last() == self.oracle.last())
    }

    /// Faults end, and within a bound everything works again: there is a leader, clients write, and all servers hold
    /// the same.
    pub fn settle(&mut self) {
        self.calm_down();
        let bound_us = 20_000_000;
        let begun = self.oracle.last();
        let serves = |cluster: &Self| cluster.is_settled() && cluster.leader().is_some();
        if !self.run_until(bound_us, serves) {
            let standings: Vec<_> = (0..self.servers.len()).map(|server| self.standing(server)).collect();
            return self
                .oracle
                .violate(format!("no ensemble {bound_us} us after the last fault: {standings:?}"));
        }
        for client in &mut self.clients {
            (client.is_quiet, client.server) = (false, None);
        }
        if !self.clients.is_empty() && !self.run_until(bound_us, |cluster| cluster.oracle.last() > begun) {
            return self.oracle.violate("no write after the last fault".to_owned());
        }
        self.join_under_load();
        self.clients.iter_mut().for_each(|client| client.is_quiet = true);
        if !self.run_until(bound_us, Self::is_quiet) {
            return self.oracle.violate("clients wait for ever".to_owned());
        }
        self.compare();
    }

    /// All servers hold what was committed, and nothing else.
    pub fn compare(&mut self) {
        let last = self.oracle.last();
        let shown: BTreeMap<usize, Option<(Zxid, bool)>> = (0..self.servers.len())
            .map(|server| (server, self.servers[server].process.as_ref().map(|process| process.published())))
            .collect();
        for (server, shown) in shown {
            let Some((zxid, _)) = shown else { continue };
            if zxid.counter() != 0 && zxid != last {
                self.oracle.violate(format!("server {} ends at {zxid}, committed is {last}", server + 1));
            }
        }
        let expected = self.oracle.last_digest();
        for server in 0..self.servers.len() {
            let Some(process) = &self.servers[server].process else { continue };
            let log_end = self.shadows[server].last();
            if let (Some(expected), digest) = (expected, process.replica().digest())
                && (digest != expected || log_end != last)
            {
                self.oracle.violate(format!(
                    "server {} ends with digest {digest:x} and a log to {log_end}; committed are {expected:x}, {last}",
                    server + 1
                ));
            }
        }
    }

    /// A server loses all that it had and joins again while clients write, and nothing fails: it gets in at the first
    /// try, whatever it takes. Where the leader does as ZooKeeper's own, which waits for a learner's disk no longer than
    /// initLimit and syncLimit, a second try may be needed: it goes on with what the first has stored.
    fn join_under_load(&mut self) {
        let leader = self.leader();
        let others: Vec<usize> = (0..self.servers.len()).filter(|server| Some(*server) != leader).collect();
        if others.is_empty() || !self.settings.joins {
            return;
        }
        let server = others[self.net.random.below(others.len() as u64) as usize];
        self.trace(|_| format!("server {} begins anew", server + 1));
        self.stop(server, Stop::Killed);
        if crate::storage::move_aside(&self.servers[server].disk).is_err() {
            return;
        }
        self.shadows[server].lose();
        let (led, failed) = (self.counts.led, self.counts.failed_syncs);
        self.net.after(1, Event::Start(server));
        let bound_us = 20_000_000;
        let joined = |cluster: &Self| cluster.servers[server].process.is_some() && cluster.is_settled();
        if !self.run_until(bound_us, joined) {
            return self.oracle.violate(format!("server {} does not join within {bound_us} us", server + 1));
        }
        self.joins += 1;
        let tries = self.counts.failed_syncs - failed;
        let tries_max = if self.settings.as_java { 1 } else { 0 };
        if self.counts.led == led && tries > tries_max {
            self.oracle.violate(format!("server {} failed {tries} times before it joined", server + 1));
        }
    }

    /// What became of it.
    pub fn outcome(&self) -> Outcome {
        Outcome {
            violation: self.oracle.violation.clone(),
            hash: self.trace.hash,
            simulated_us: self.net.now_us,
            committed: self.oracle.committed.len(),
            epochs: self.oracle.epochs(),
            acknowledged: self.clients.iter().map(|client| client.acknowledged).sum(),
            events: self.clients.iter().map(|client| client.events).sum(),
            expired: self.clients.iter().map(|client| client.expired).sum(),
            syncs: self.counts.syncs.clone(),
            repairs: self.servers.iter().map(|server| server.repairs).sum(),
            joins: self.joins,
            failed_syncs: self.counts.failed_syncs,
            log_reads: self.counts.log_reads,
            logs_found: self.counts.logs_found,
        }
    }
}

/// A whole history: faults, and the end of them.
pub fn history(seed: u64, mutation: Option<Mutation>, tell: Option<fn(&str)>) -> Outcome {
    let mut cluster = Cluster::new(seed, Settings::of(seed));
    cluster.mutation = mutation;
    cluster.trace.tell = tell;
    cluster.run(cluster.settings.faults_us);
    cluster.settle();
    cluster.outcome()
}
