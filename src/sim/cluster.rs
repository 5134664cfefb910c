//! All there is in a history: servers, clients, the net between them, and what is known of each.

use super::Random;
use super::client::Client;
use super::event::Event;
use super::mutation::Mutation;
use super::net::Net;
use super::oracle::{Oracle, Shadow};
use super::outcome::{Counts, Outcome, Trace};
use super::server::Server;
use super::settings::Settings;
use super::stop::{Step, Stop};
use crate::config::{ClientAddress, Ensemble, PeerAddress, Role};
use crate::proto::Zxid;
use crate::replica::Standing;
use std::collections::BTreeMap;

/// The line of a server.
pub(super) fn line(sid: i64, role: Role) -> crate::config::Server {
    let address = PeerAddress { host: format!("zk{sid}"), quorum_port: 2888, election_port: 3888 };
    let client = ClientAddress { host: None, port: 2181 };
    crate::config::Server { sid, addresses: vec![address], role, client: Some(client) }
}

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
    /// Clients reconfigure the ensemble. Not any more once faults have ended: a server that loses all that it had then may be one that a
    /// reconfiguration under way cannot do without.
    pub may_reconfigure: bool,
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
        let count = settings.voters + settings.observers + settings.spares;
        let mut ensemble = Ensemble::default();
        let mut servers = Vec::new();
        for index in 0..count {
            let is_spare = index >= settings.voters + settings.observers;
            let (sid, is_observer) = (index as i64 + 1, index >= settings.voters && !is_spare);
            if !is_spare {
                let role = if is_observer { Role::Observer } else { Role::Participant };
                ensemble.servers.insert(sid, line(sid, role));
            }
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
        if settings.hand_over_every_us > 0 {
            net.at(settings.hand_over_every_us, Event::HandOver);
        }
        let mut oracle = Oracle::new(&ensemble);
        oracle.model.has_local_sessions = settings.local_sessions;
        Self {
            ensemble,
            net,
            servers,
            clients: (0..settings.clients)
                .map(|number| Client {
                    is_reader: settings.read_only_mode && number % 2 == 0,
                    ..Client::new(number)
                })
                .collect(),
            shadows: vec![Shadow::default(); count],
            oracle,
            images: BTreeMap::new(),
            mutation: None,
            may_reconfigure: settings.reconfigures,
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

    /// Whether every server serves and shows the newest committed txn.
    pub fn is_settled(&self) -> bool {
        let last = self.oracle.last();
        let shows = |server: &Server| {
            server.process.as_ref().is_some_and(|process| {
                let (zxid, is_serving) = process.published();
                is_serving
                    && (zxid >= last)
                    && !matches!(process.standing(), Standing::Looking | Standing::ReadOnly)
            })
        };
        self.servers.iter().all(shows)
    }

    /// Whether nothing is under way: no client waits, and every log ends with the newest committed txn. No server has
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
            read_only: self.counts.read_only,
            upgrades: self.counts.upgrades,
            reconfigurations: self.counts.reconfigurations,
            hand_overs: self.counts.hand_overs,
            renewals: self.counts.renewals,
        }
    }
}
