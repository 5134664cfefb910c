//! A few servers' election ports in a net that delays, cuts and kills, from a seed.
//!
//! A connection is TCP's: bytes arrive in order or not at all, a killed process closes it, a machine without power or a
//! cut wire does not. What uses the port is as small as it can be: a leader is established once a quorum
//! follows it, everybody else looks again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::config::{Ensemble, PeerAddress, Role, Server};
use crate::zab::quorum::Quorum;

/// splitmix64.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How a server stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its connections are closed, new ones refused.
    Killed,
    /// Nothing comes from it.
    PowerOff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Looking,
    /// Elected, or follows a server that was; until when it tries.
    Trying {
        until: u64,
    },
    /// Its leader and a quorum are together.
    Joined,
    /// A voter without a log of its own gets one; until when that takes.
    Repairing {
        until: u64,
    },
}

pub(super) struct Node {
    pub port: Option<ElectionPort>,
    pub own: Option<Candidate>,
    pub standing: Standing,
    pub state: Option<ServerState>,
    pub vote: Option<Vote>,
    pub elected_ms: u64,
    stopped: Stop,
    incarnation: u64,
    accepted_epoch: u32,
    /// What it went to the vote with.
    went_with: Option<Candidate>,
}

#[derive(Clone, Copy)]
struct End {
    sid: i64,
    incarnation: u64,
    link: LinkId,
    /// When the last bytes to it arrive.
    last_ms: u64,
}

struct Connection {
    ends: [End; 2],
    open: [bool; 2],
}

enum Event {
    Dial { connection: usize },
    Connected { connection: usize },
    Bytes { connection: usize, to: usize, bytes: Vec<u8> },
    Closed { connection: usize, to: usize },
}

pub(super) struct Net {
    pub now: u64,
    pub random: Random,
    pub nodes: BTreeMap<i64, Node>,
    pub ensemble: Ensemble,
    pub quorum: Quorum,
    events: BTreeMap<(u64, u64), Event>,
    connections: Vec<Connection>,
    sequence: u64,
    accepted: u64,
    pub delay_max: u64,
    /// From, to: packets vanish.
    pub cut: BTreeSet<(i64, i64)>,
    /// From, to: connections are refused.
    pub refused: BTreeSet<(i64, i64)>,
    /// Failures of what must always hold.
    pub violations: Vec<String>,
    /// Calls of one port within one millisecond, to find loops.
    calls: (u64, u64),
    /// Bytes are handed over one by one.
    pub drip: bool,
    pub sent: u64,
}

pub(super) fn ensemble(participants: &[i64], observers: &[i64]) -> Ensemble {
    let mut ensemble = Ensemble::default();
    for sid in participants.iter().chain(observers) {
        let address = PeerAddress { host: format!("zk{sid}"), quorum_port: 2888, election_port: 3888 };
        let role = if observers.contains(sid) { Role::Observer } else { Role::Participant };
        ensemble.servers.insert(*sid, Server { sid: *sid, addresses: vec![address], role, client: None });
    }
    ensemble
}

/// How long a server tries with the leader it has, before it looks again.
const TRY_MS: u64 = 1_000;

impl Net {
    pub(super) fn new(seed: u64, ensemble: Ensemble) -> Self {
        let quorum = Quorum::new(&ensemble).unwrap();
        let node = |sid: &i64| {
            let node = Node {
                port: None,
                own: Some(Candidate { zxid: Zxid::new(1, 1), peer_epoch: Epoch(1) }),
                standing: Standing::Looking,
                state: None,
                vote: None,
                elected_ms: 0,
                stopped: Stop::Killed,
                incarnation: 0,
                accepted_epoch: 1,
                went_with: None,
            };
            (*sid, node)
        };
        let nodes = ensemble.servers.keys().map(node).collect();
        Self {
            now: 1_000,
            random: Random(seed),
            nodes,
            ensemble,
            quorum,
            events: BTreeMap::new(),
            connections: Vec::new(),
            sequence: 0,
            accepted: 0,
            delay_max: 2,
            cut: BTreeSet::new(),
            refused: BTreeSet::new(),
            violations: Vec::new(),
            calls: (0, 0),
            drip: false,
            sent: 0,
        }
    }

    pub(super) fn candidate(&mut self, sid: i64, peer_epoch: u32, zxid: Zxid) {
        let node = self.nodes.get_mut(&sid).unwrap();
        node.own = Some(Candidate { zxid, peer_epoch: Epoch(peer_epoch) });
        node.accepted_epoch = node.accepted_epoch.max(peer_epoch);
    }

    pub(super) fn start(&mut self, sid: i64) {
        let configs = Configurations::new(Configuration::new(self.ensemble.clone()).unwrap());
        let node = self.nodes.get_mut(&sid).unwrap();
        assert!(node.port.is_none());
        node.incarnation += 1;
        let round = i64::from(node.accepted_epoch) << 20;
        node.port = Some(ElectionPort::new(configs, ServerId(sid), "zk:3888", round));
        self.look(sid);
    }

    pub(super) fn start_all(&mut self) {
        let down: Vec<i64> =
            self.nodes.iter().filter(|(_, node)| node.port.is_none()).map(|(sid, _)| *sid).collect();
        for sid in down {
            self.start(sid);
        }
    }

    pub(super) fn stop(&mut self, sid: i64, how: Stop) {
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.port.take().is_none() {
            return;
        }
        node.stopped = how;
        node.state = None;
        node.vote = None;
        node.standing = Standing::Looking;
        for at in 0..self.connections.len() {
            for end in 0..2 {
                if self.connections[at].ends[end].sid == sid {
                    self.connections[at].open[end] = false;
                    if how == Stop::Killed {
                        self.close_other(at, end);
                    }
                }
            }
        }
    }

    pub(super) fn look(&mut self, sid: i64) {
        let votes = self.quorum.votes(ServerId(sid));
        let node = self.nodes.get_mut(&sid).unwrap();
        node.standing = Standing::Looking;
        node.state = Some(ServerState::Looking);
        node.vote = None;
        let own = node.own;
        node.went_with = own.filter(|_| votes);
        self.call(sid, |port, now, out| port.look_for_leader(now, own, out));
    }

    fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn delay(&mut self) -> u64 {
        self.random.below(self.delay_max) + 1
    }

    fn close_other(&mut self, connection: usize, end: usize) {
        let at = (self.now + self.delay()).max(self.connections[connection].ends[1 - end].last_ms);
        self.at(at, Event::Closed { connection, to: 1 - end });
    }

    pub(super) fn call(&mut self, sid: i64, call: impl FnOnce(&mut ElectionPort, u64, &mut Vec<Output>)) {
        if self.calls.0 != self.now {
            self.calls = (self.now, 0);
        }
        self.calls.1 += 1;
        assert!(self.calls.1 < 100_000, "the port never rests");
        let now = self.now;
        let Some(port) = self.nodes.get_mut(&sid).unwrap().port.as_mut() else { return };
        let mut out = Vec::new();
        call(port, now, &mut out);
        for output in out {
            self.output(sid, output);
        }
    }

    fn end(&self, sid: i64, link: LinkId) -> Option<(usize, usize)> {
        let incarnation = self.nodes[&sid].incarnation;
        self.connections.iter().enumerate().rev().find_map(|(at, connection)| {
            let is = |end: &End| end.sid == sid && end.link == link && end.incarnation == incarnation;
            connection.ends.iter().position(is).map(|end| (at, end))
        })
    }

    fn output(&mut self, sid: i64, output: Output) {
        match output {
            Output::Unwelcome { .. } => {}
            Output::Configure(configs) => unreachable!("there is one configuration: {configs:?}"),
            Output::Connect { link, sid: ServerId(to), .. } => {
                assert_ne!(sid, to, "called itself");
                let incarnation = self.nodes[&sid].incarnation;
                self.accepted += 1;
                let ends = [
                    End { sid, incarnation, link, last_ms: 0 },
                    End { sid: to, incarnation: 0, link: LinkId(self.accepted), last_ms: 0 },
                ];
                self.connections.push(Connection { ends, open: [true, false] });
                let at = self.now + self.delay();
                self.at(at, Event::Dial { connection: self.connections.len() - 1 });
            }
            Output::Send { link, bytes } => {
                self.sent += 1;
                let Some((connection, end)) = self.end(sid, link) else { return };
                assert!(self.connections[connection].open[end], "sends on a closed link");
                let at = (self.now + self.delay()).max(self.connections[connection].ends[1 - end].last_ms);
                self.connections[connection].ends[1 - end].last_ms = at;
                self.at(at, Event::Bytes { connection, to: 1 - end, bytes });
            }
            Output::Close { link } => {
                let (connection, end) = self.end(sid, link).expect("closes what is not there");
                assert!(self.connections[connection].open[end], "closes twice");
                self.connections[connection].open[end] = false;
                self.close_other(connection, end);
            }
            Output::Looks { .. } => {}
            Output::LeaderLooks { .. } => {
                let until = self.now;
                let node = self.nodes.get_mut(&sid).unwrap();
                assert!(node.state.is_some_and(|state| state != ServerState::Looking));
                node.standing = Standing::Trying { until };
            }
            Output::Elected { state, vote, by } => {
                self.check(sid, vote, &by);
                let now = self.now;
                let node = self.nodes.get_mut(&sid).unwrap();
                node.state = Some(state);
                node.vote = Some(vote);
                node.elected_ms = now;
                node.standing = Standing::Trying { until: now + TRY_MS };
                assert!(self.quorum.can_lead(vote.leader), "{vote:?} cannot lead");
                assert_eq!(state == ServerState::Leading, vote.leader == ServerId(sid));
            }
        }
    }

    fn is_cut(&self, a: i64, b: i64) -> bool {
        self.cut.contains(&(a, b))
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Dial { connection } => {
                let [from, to] = self.connections[connection].ends;
                let silent = self.is_cut(from.sid, to.sid) || self.is_cut(to.sid, from.sid);
                let target = &self.nodes[&to.sid];
                let (up, stopped) = (target.port.is_some(), target.stopped);
                if silent || (!up && stopped == Stop::PowerOff) {
                    return;
                }
                if !up || self.refused.contains(&(from.sid, to.sid)) {
                    let at = self.now + self.delay();
                    return self.at(at, Event::Closed { connection, to: 0 });
                }
                if !self.connections[connection].open[0] {
                    return;
                }
                self.connections[connection].ends[1].incarnation = target.incarnation;
                self.connections[connection].open[1] = true;
                self.call(to.sid, |port, now, out| port.accepted(now, to.link, out));
                let at = self.now + self.delay();
                self.connections[connection].ends[0].last_ms = at;
                self.at(at, Event::Connected { connection });
            }
            Event::Connected { connection } => {
                let end = self.connections[connection].ends[0];
                if self.connections[connection].open[0] {
                    self.call(end.sid, |port, now, out| port.connected(now, end.link, out));
                }
            }
            Event::Bytes { connection, to, bytes } => {
                let Connection { ends, open } = &self.connections[connection];
                let (from, end) = (ends[1 - to], ends[to]);
                if self.is_cut(from.sid, end.sid) || self.is_cut(end.sid, from.sid) {
                    if open[0] || open[1] {
                        self.connections[connection].ends[to].last_ms = self.now + 100;
                        self.at(self.now + 100, Event::Bytes { connection, to, bytes });
                    }
                } else if open[to] {
                    let pieces = if self.drip { 1 } else { bytes.len() };
                    for piece in bytes.chunks(pieces.max(1)) {
                        if self.connections[connection].open[to] {
                            self.call(end.sid, |port, now, out| port.received(now, end.link, piece, out));
                        }
                    }
                } else if self.nodes[&end.sid].port.is_some() {
                    // A machine that is back knows nothing of the connection.
                    self.at(self.now + 1, Event::Closed { connection, to: 1 - to });
                }
            }
            Event::Closed { connection, to } => {
                let end = self.connections[connection].ends[to];
                if std::mem::take(&mut self.connections[connection].open[to]) {
                    self.call(end.sid, |port, now, out| port.closed(now, end.link, out));
                }
            }
        }
    }

    /// Ends one connection in the net, with what is on its way.
    fn reset_one(&mut self) {
        let open: Vec<usize> =
            (0..self.connections.len()).filter(|at| self.connections[*at].open == [true; 2]).collect();
        if open.is_empty() {
            return;
        }
        let connection = open[self.random.below(open.len() as u64) as usize];
        self.events
            .retain(|_, event| !matches!(event, Event::Bytes { connection: at, .. } if *at == connection));
        for to in 0..2 {
            self.at(self.now + 1, Event::Closed { connection, to });
        }
    }

    /// Whether the two can talk on the quorum port.
    fn together(&self, a: i64, b: i64) -> bool {
        a == b || !(self.is_cut(a, b) || self.is_cut(b, a) || self.refused.contains(&(a, b)))
    }

    /// Servers that follow a leader and can reach it, itself included.
    fn followers(&self, leader: i64) -> Vec<i64> {
        let follows = |sid: i64, node: &Node| {
            let counts = node.state.is_some_and(|state| state != ServerState::Observing);
            let following = counts && node.standing != Standing::Looking && self.together(sid, leader);
            node.port.is_some() && following && node.vote.is_some_and(|vote| vote.leader == ServerId(leader))
        };
        self.nodes.iter().filter(|(sid, node)| follows(**sid, node)).map(|(sid, _)| *sid).collect()
    }

    /// What a replica would do with the port's outputs; run every few milliseconds.
    fn replicas(&mut self) {
        let sids: Vec<i64> = self.nodes.keys().copied().collect();
        for sid in sids {
            let node = &self.nodes[&sid];
            let (Some(vote), Some(state)) = (node.vote, node.state) else { continue };
            if node.port.is_none() || node.standing == Standing::Looking {
                continue;
            }
            let until = match node.standing {
                Standing::Trying { until } | Standing::Repairing { until } => until,
                _ => u64::MAX,
            };
            let joined = node.standing == Standing::Joined;
            let repairing = matches!(node.standing, Standing::Repairing { .. });
            if state == ServerState::Leading {
                let followers = self.followers(sid);
                let quorum =
                    self.quorum.contains_quorum(&self.quorum.set(followers.iter().copied().map(ServerId)));
                match (quorum, joined) {
                    (true, false) => self.establish(vote, &followers),
                    (false, true) => {
                        self.nodes.get_mut(&sid).unwrap().standing =
                            Standing::Trying { until: self.now + 500 }
                    }
                    (false, false) if self.now >= until => self.look(sid),
                    _ => {}
                }
            } else {
                let leader = &self.nodes[&vote.leader.0];
                let leads = leader.port.is_some()
                    && leader.state == Some(ServerState::Leading)
                    && self.together(sid, vote.leader.0);
                let standing = leader.own.filter(|_| leader.standing == Standing::Joined);
                match (leads, joined) {
                    (true, false) if standing.is_some() && !repairing => {
                        let own = standing.expect("just seen");
                        self.join(sid, vote, own.peer_epoch.0, own.zxid);
                    }
                    (false, true) => {
                        let until = self.now + self.random.below(20);
                        self.nodes.get_mut(&sid).unwrap().standing = Standing::Trying { until };
                    }
                    (_, false) if self.now >= until => self.look(sid),
                    _ => {}
                }
            }
        }
    }

    /// No server whose vote counted went into that round with a better log than the one that is elected.
    fn check(&mut self, sid: i64, vote: Vote, by: &BTreeSet<ServerId>) {
        let by_quorum = self.quorum.contains_quorum(&self.quorum.set(by.iter().copied()));
        assert!(by.is_empty() || by_quorum, "{sid} decides without a quorum");
        for (voter, node) in &self.nodes {
            let same_round = node.port.as_ref().is_some_and(|port| port.round() == vote.round);
            if let Some(own) = node.went_with.filter(|_| same_round && by.contains(&ServerId(*voter)))
                && self.quorum.can_lead(ServerId(*voter))
                && (i64::from(own.peer_epoch.0), own.zxid) > (vote.peer_epoch, vote.zxid)
            {
                self.violations.push(format!("{sid} elects {vote:?}, {voter} had {own:?}"));
            }
        }
    }

    fn establish(&mut self, vote: Vote, followers: &[i64]) {
        let mut epoch = 0;
        for sid in followers {
            epoch = epoch.max(self.nodes[sid].accepted_epoch);
        }
        epoch += 1;
        let zxid = Zxid::new(epoch, self.random.below(5) as u32);
        for sid in followers {
            self.join(*sid, vote, epoch, zxid);
        }
    }

    fn join(&mut self, sid: i64, vote: Vote, epoch: u32, zxid: Zxid) {
        let node = self.nodes.get_mut(&sid).unwrap();
        node.standing = Standing::Joined;
        node.accepted_epoch = node.accepted_epoch.max(epoch);
        let repaired = node.own.replace(Candidate { zxid, peer_epoch: Epoch(epoch) }).is_none();
        if repaired && self.quorum.votes(ServerId(sid)) {
            node.standing = Standing::Repairing { until: self.now + 300 };
        }
        let own_round = node.vote.unwrap().round;
        let state = node.state.unwrap();
        let sent = Vote { peer_epoch: i64::from(epoch), round: own_round, ..vote };
        node.vote = Some(sent);
        self.call(sid, |port, _, out| port.set_state(state, sent, out));
    }

    /// Runs for that long.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let event = entry.remove();
                self.event(event);
            }
            let sids: Vec<i64> = self.nodes.keys().copied().collect();
            for sid in sids {
                let due = self.nodes[&sid].port.as_ref().and_then(ElectionPort::deadline);
                if due.is_some_and(|due| due <= self.now) {
                    self.call(sid, |port, now, out| port.tick(now, out));
                    let due = self.nodes[&sid].port.as_ref().and_then(ElectionPort::deadline);
                    assert!(due.is_none_or(|due| due > self.now), "{sid} is due again at once");
                }
            }
            if self.now.is_multiple_of(5) {
                self.replicas();
            }
            self.now += 1;
        }
    }

    /// Runs until it holds, for at most that long; how long it took.
    pub(super) fn until(&mut self, ms: u64, what: impl Fn(&Self) -> bool) -> u64 {
        let start = self.now;
        while !what(self) {
            assert!(self.now < start + ms, "after {ms} ms: {}", self.describe());
            self.run(1);
        }
        self.now - start
    }

    /// The leader, if all servers that run are with the same one.
    pub(super) fn leader(&self) -> Option<i64> {
        let mut running = self.nodes.values().filter(|node| node.port.is_some());
        let first = running.next()?.vote?.leader;
        let joined = |node: &Node| {
            node.standing == Standing::Joined && node.vote.is_some_and(|vote| vote.leader == first)
        };
        self.nodes.values().filter(|node| node.port.is_some()).all(joined).then_some(first.0)
    }

    pub(super) fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|(sid, node)| {
            format!("{sid}: up={} {:?} {:?} {:?}", node.port.is_some(), node.state, node.standing, node.vote)
        });
        nodes.collect::<Vec<_>>().join("\n")
    }
}

/// Histories of one test run, a few milliseconds each.
const SEEDS: u64 = 200;

/// One history: random logs, kills, losses of power, cuts in one or both directions, resets; then all is repaired.
fn history(seed: u64) {
    let mut random = Random(seed ^ 0xE1EC);
    let mut net = some_net(seed, &mut random);
    start_some(&mut net, &mut random);
    for _ in 0..20 {
        net.run(random.below(1_000));
        fault(&mut net, &mut random);
    }
    net.cut.clear();
    net.refused.clear();
    net.start_all();
    let took = net.until(20_000, |net| net.leader().is_some());
    assert!(took <= 15_000, "seed {seed}: {took} ms");
    assert_eq!(net.violations, Vec::<String>::new(), "seed {seed}");
    // And it stays that way.
    let leader = net.leader();
    net.run(2_000);
    let sent = net.sent;
    net.run(3_000);
    assert_eq!(net.leader(), leader, "seed {seed}: {}", net.describe());
    assert!(net.sent - sent < 4, "seed {seed}: {} messages while no server looks", net.sent - sent);
}

/// An ensemble of 3 to 7 voters and up to one observer with random logs, at a random delay; no server runs yet.
fn some_net(seed: u64, random: &mut Random) -> Net {
    let voters = 3 + random.below(5) as i64;
    let observers = random.below(2) as i64;
    let participants: Vec<i64> = (1..=voters).collect();
    let others: Vec<i64> = (voters + 1..=voters + observers).collect();
    let mut ensemble = ensemble(&participants, &others);
    if voters >= 5 && random.one_in(3) {
        ensemble.hierarchical = true;
        ensemble.groups = participants.iter().map(|sid| (*sid, sid % 3)).collect();
        if random.one_in(2) {
            ensemble.weights.insert(voters, 0);
        }
    }
    let mut net = Net::new(seed, ensemble);
    net.delay_max = [1, 2, 20, 150][random.below(4) as usize];
    net.drip = random.one_in(4);
    for sid in &participants {
        let epoch = 1 + random.below(3) as u32;
        let zxid = Zxid::new(1 + random.below(u64::from(epoch)) as u32, random.below(4) as u32);
        net.candidate(*sid, epoch, zxid);
    }
    net
}

/// Starts three of four servers, one after another.
fn start_some(net: &mut Net, random: &mut Random) {
    let all: Vec<i64> = net.nodes.keys().copied().collect();
    for sid in &all {
        if !random.one_in(4) {
            net.start(*sid);
        }
        net.run(random.below(50) * random.below(2));
    }
}

/// One fault, or the repair of one.
fn fault(net: &mut Net, random: &mut Random) {
    let all: Vec<i64> = net.nodes.keys().copied().collect();
    let sid = all[random.below(all.len() as u64) as usize];
    let other = all[random.below(all.len() as u64) as usize];
    match random.below(9) {
        0 | 1 => net.stop(sid, Stop::Killed),
        2 => net.stop(sid, Stop::PowerOff),
        3 | 4 if net.nodes[&sid].port.is_none() => {
            // One at a time comes back with a damaged log.
            if random.one_in(4) && net.nodes.values().all(|node| node.own.is_some()) {
                net.nodes.get_mut(&sid).unwrap().own = None;
            }
            net.start(sid);
        }
        5 if sid != other => {
            net.cut.insert((sid, other));
        }
        6 if sid != other => {
            net.refused.insert((sid, other));
        }
        7 => {
            net.cut.clear();
            net.refused.clear();
        }
        8 => net.reset_one(),
        _ => {}
    }
}

/// After any history of faults, once they end, all servers agree on one leader in bounded time and stay with it; no
/// leader ever began with a worse log than a server of the quorum that voted for it.
#[test]
fn agreement_after_faults() {
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| history(seed));
        assert!(result.is_ok(), "history({seed}) shows it again");
    }
}
