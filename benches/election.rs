//! An election: the work of the servers' ports, without sockets and without waiting.

use criterion::{BatchSize, Criterion, Throughput};
use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use zkfast::config::{Ensemble, PeerAddress, Role, Server};
use zkfast::proto::{Epoch, ServerId, Zxid};
use zkfast::zab::LinkId;
use zkfast::zab::configuration::{Configuration, Configurations};
use zkfast::zab::election::{Candidate, ElectionPort, Output};
use zkfast::zab::notification::ServerState;

/// Sizes of ensembles.
const SERVERS: [i64; 3] = [3, 5, 7];

/// The time of all calls: nothing here waits for the clock.
const NOW_MS: u64 = 1_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("election");
    for servers in SERVERS {
        group.throughput(Throughput::Elements(servers as u64));
        group.bench_function(format!("connect_and_decide/servers={servers}"), |b| {
            b.iter_batched_ref(|| Ports::new(servers), Ports::elect, BatchSize::SmallInput);
        });
        let mut ports = Ports::new(servers);
        ports.elect();
        group.bench_function(format!("decide/servers={servers}"), |b| {
            b.iter(|| {
                ports.elect();
                black_box(&ports);
            });
        });
    }
}

/// What a port receives.
#[derive(Debug)]
enum Event {
    Accepted,
    Connected,
    Received(Vec<u8>),
    Closed,
}

/// The election ports of all servers, and a network that delivers everything at once and in order.
#[derive(Debug)]
pub struct Ports {
    ports: BTreeMap<i64, ElectionPort>,
    /// The other end of each connection.
    ends: BTreeMap<(i64, LinkId), (i64, LinkId)>,
    events: VecDeque<(i64, LinkId, Event)>,
    accepted: u64,
    leaders: BTreeMap<i64, i64>,
    out: Vec<Output>,
}

impl Ports {
    /// Ports of servers 1 to `servers`, none of them connected.
    pub fn new(servers: i64) -> Self {
        let mut ensemble = Ensemble::default();
        for sid in 1..=servers {
            let address = PeerAddress { host: format!("zk{sid}"), quorum_port: 2888, election_port: 3888 };
            let server = Server { sid, addresses: vec![address], role: Role::Participant, client: None };
            ensemble.servers.insert(sid, server);
        }
        let configs = Configurations::new(Configuration::new(ensemble).unwrap());
        let port = |sid| {
            let address = format!("zk{sid}:3888");
            (sid, ElectionPort::new(configs.clone(), ServerId(sid), &address, 1 << 20))
        };
        Self {
            ports: (1..=servers).map(port).collect(),
            ends: BTreeMap::new(),
            events: VecDeque::new(),
            accepted: 0,
            leaders: BTreeMap::new(),
            out: Vec::new(),
        }
    }

    /// All servers look for a leader, with logs that end at the same zxid; returns once all have the same leader.
    pub fn elect(&mut self) {
        self.leaders.clear();
        let own = Candidate { zxid: Zxid::new(7, 1000), peer_epoch: Epoch(7) };
        let servers = self.ports.len() as i64;
        for sid in 1..=servers {
            self.call(sid, |port, out| port.look_for_leader(NOW_MS, Some(own), out));
        }
        while let Some((sid, link, event)) = self.events.pop_front() {
            self.call(sid, |port, out| match event {
                Event::Accepted => port.accepted(NOW_MS, link, out),
                Event::Connected => port.connected(NOW_MS, link, out),
                Event::Received(bytes) => port.received(NOW_MS, link, &bytes, out),
                Event::Closed => port.closed(NOW_MS, link, out),
            });
        }
        assert_eq!(self.leaders.len() as i64, servers, "a server has no leader: {:?}", self.leaders);
        assert!(self.leaders.values().all(|&leader| leader == servers), "the greatest number wins");
    }

    fn call(&mut self, sid: i64, call: impl FnOnce(&mut ElectionPort, &mut Vec<Output>)) {
        let mut out = std::mem::take(&mut self.out);
        call(self.ports.get_mut(&sid).unwrap(), &mut out);
        for output in out.drain(..) {
            match output {
                Output::Unwelcome { .. } | Output::Configure(_) => {}
                Output::Connect { link, sid: ServerId(peer), .. } => {
                    self.accepted += 1;
                    let there = LinkId(self.accepted);
                    self.ends.insert((sid, link), (peer, there));
                    self.ends.insert((peer, there), (sid, link));
                    self.events.push_back((peer, there, Event::Accepted));
                    self.events.push_back((sid, link, Event::Connected));
                }
                Output::Send { link, bytes } => {
                    if let Some(&(peer, there)) = self.ends.get(&(sid, link)) {
                        self.events.push_back((peer, there, Event::Received(bytes)));
                    }
                }
                Output::Close { link } => {
                    if let Some((peer, there)) = self.ends.remove(&(sid, link)) {
                        self.ends.remove(&(peer, there));
                        // The side that closed no longer reads what is in flight to it.
                        self.events.retain(|(to, on, _)| (*to, *on) != (sid, link));
                        self.events.push_back((peer, there, Event::Closed));
                    }
                }
                Output::Elected { state, vote, .. } => {
                    assert_eq!(
                        state == ServerState::Leading,
                        vote.leader == ServerId(sid),
                        "a server leads if it was elected"
                    );
                    self.leaders.insert(sid, vote.leader.0);
                }
                Output::Looks { .. } | Output::LeaderLooks { .. } => {}
            }
        }
        self.out = out;
    }
}
