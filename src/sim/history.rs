//! A history: one event after the other, and what must hold once its faults have ended.

use super::cluster::Cluster;
use super::event::{Arrival, Event};
use super::mutation::Mutation;
use super::outcome::Outcome;
use super::settings::Settings;
use super::stop::Stop;
use crate::proto::{ServerId, Zxid};
use crate::zab::configuration::ConfigurationsBug;
use std::collections::BTreeMap;

/// A whole history: faults, and the end of them.
pub fn history(seed: u64, mutation: Option<Mutation>, tell: Option<fn(&str)>) -> Outcome {
    let mut settings = Settings::of(seed);
    if matches!(mutation, Some(Mutation::InSessions(_))) {
        (settings.local_sessions, settings.upgrades_sessions, settings.read_only_mode) = (true, true, true);
    }
    if matches!(mutation, Some(Mutation::InConfigurations(_))) {
        settings.reconfigures = true;
    }
    if mutation == Some(Mutation::InConfigurations(ConfigurationsBug::HandOverEarly)) {
        (settings.hand_over_every_us, settings.as_java) = (300_000, false);
    }
    let mut cluster = Cluster::new(seed, settings);
    cluster.mutation = mutation;
    cluster.trace.tell = tell;
    cluster.run(cluster.settings.faults_us);
    cluster.settle();
    cluster.outcome()
}

impl Cluster {
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
            Event::HandOver => self.hand_over_some(),
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

    /// Faults end, and within a bound everything works again: there is a leader, clients write, and all servers hold
    /// the same.
    pub fn settle(&mut self) {
        self.calm_down();
        self.may_reconfigure = false;
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
        let version = self.oracle.config().version();
        for server in 0..self.servers.len() {
            let Some(process) = &self.servers[server].process else { continue };
            let ours = process.replica().configs().map_or(0, |configs| configs.active().version());
            if ours != version && self.settings.reconfigures && version != 0 {
                self.oracle.violate(format!(
                    "server {} ends with configuration {ours:x}, committed is {version:x}",
                    server + 1
                ));
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
        // The others are a quorum without it, also of a configuration that is proposed.
        let configs = leader.and_then(|leader| self.servers[leader].process.as_ref()?.replica().configs());
        let is_spared = |server: &usize| {
            let rest = (0..self.servers.len()).filter(|other| other != server);
            let rest = rest.map(|other| ServerId(other as i64 + 1));
            configs.is_some_and(|configs| configs.decides(rest))
        };
        let others = (0..self.servers.len()).filter(|server| Some(*server) != leader);
        let others: Vec<usize> = others.filter(is_spared).collect();
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
        let mut tries_max = if self.settings.as_java { 1 } else { 0 };
        // It may be in another role than the one that it begins with, or a reconfiguration may change that meanwhile.
        tries_max += if self.settings.reconfigures { 2 } else { 0 };
        // Observers that are ahead of their follower come again, and count among these.
        if self.settings.observer_masters {
            return;
        }
        if self.counts.led == led && tries > tries_max {
            self.oracle.violate(format!("server {} failed {tries} times before it joined", server + 1));
        }
    }
}
