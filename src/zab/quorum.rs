//! Quorums: the sets of servers that decide.
//!
//! Without `group` lines more than half of the participants; with them more than half of the groups, each by more than
//! half of its weight. Observers are in no set. Any two quorums of one configuration share a server.
//!
//! Source: `QuorumMaj`, `QuorumHierarchical`, `SyncedLearnerTracker`, Apache ZooKeeper 3.9.4.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::config::{Ensemble, Role};
use crate::proto::ServerId;

/// Most voters of an ensemble: a sid is the high byte of a session id.
pub const VOTERS_MAX: usize = 256;

/// A set of voters of one [`Quorum`], as bits: it is copied and compared, never allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SidSet([u64; VOTERS_MAX / 64]);

impl SidSet {
    /// No voter.
    pub const EMPTY: Self = Self([0; VOTERS_MAX / 64]);

    fn set(&mut self, place: usize, member: bool) {
        let bit = 1 << (place % 64);
        if member {
            self.0[place / 64] |= bit;
        } else {
            self.0[place / 64] &= !bit;
        }
    }

    fn has(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    /// How many voters it holds.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }
}

/// Why an ensemble has no quorums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// More participants than sets can hold.
    #[error("{0} participants are over the limit of {VOTERS_MAX}")]
    TooMany(usize),
}

#[derive(Clone, Debug)]
struct Voter {
    sid: ServerId,
    weight: i64,
    /// Place in `Quorum::groups`; not used by a plain majority.
    group: usize,
}

/// The voters of one configuration and how their votes count.
#[derive(Clone, Debug)]
pub struct Quorum {
    /// By sid; a voter's place here is its bit in a [`SidSet`].
    voters: Vec<Voter>,
    /// Weight of each group, those of its members together that do not vote included; empty is a plain majority.
    groups: Vec<i64>,
    /// What the oracle says, of two voters that have one: whether this server decides without the other voter.
    oracle: Option<bool>,
}

impl Quorum {
    /// The quorums of a checked configuration.
    ///
    /// # Errors
    /// More than [`VOTERS_MAX`] participants.
    pub fn new(ensemble: &Ensemble) -> Result<Self, QuorumError> {
        if ensemble.participants() > VOTERS_MAX {
            return Err(QuorumError::TooMany(ensemble.participants()));
        }
        let weight = |sid: i64| match ensemble.hierarchical {
            true => ensemble.weights.get(&sid).copied().unwrap_or(1),
            false => 1,
        };
        let gids: BTreeSet<i64> = match ensemble.hierarchical {
            true => ensemble.groups.values().copied().collect(),
            false => BTreeSet::new(),
        };
        let places: BTreeMap<i64, usize> =
            gids.iter().enumerate().map(|(place, gid)| (*gid, place)).collect();
        let mut groups = vec![0_i64; gids.len()];
        for (sid, gid) in ensemble.groups.iter().filter(|_| ensemble.hierarchical) {
            let group = &mut groups[places[gid]];
            *group = group.saturating_add(weight(*sid));
        }
        let voters: Vec<Voter> = ensemble
            .servers
            .values()
            .filter(|server| server.role == Role::Participant)
            .map(|server| Voter {
                sid: ServerId(server.sid),
                weight: weight(server.sid),
                group: ensemble
                    .groups
                    .get(&server.sid)
                    .map_or(0, |gid| places.get(gid).copied().unwrap_or(0)),
            })
            .collect();
        assert!(
            voters.is_sorted_by(|one, next| one.sid < next.sid),
            "voters are found by their sids: {voters:?}"
        );
        Ok(Self { voters, groups, oracle: None })
    }

    /// The same with an oracle, which has said no so far. It decides between two voters without groups, and nothing else.
    ///
    /// Source: `QuorumOracleMaj`.
    pub fn with_oracle(mut self) -> Self {
        self.oracle = (self.voters.len() == 2 && self.groups.is_empty()).then_some(false);
        self
    }

    /// What the oracle says; `None` without one.
    pub fn oracle(&self) -> Option<bool> {
        self.oracle
    }

    /// Takes what the oracle says, where there is one.
    pub fn set_oracle(&mut self, allows: bool) {
        self.oracle = self.oracle.map(|_| allows);
    }

    /// Whether the set decides by the oracle's word. The caller knows that the other voter is not there.
    pub fn decides_by_oracle(&self, set: &SidSet) -> bool {
        self.oracle == Some(true) && set.len() == 1
    }

    fn place(&self, sid: ServerId) -> Option<usize> {
        self.voters.binary_search_by_key(&sid, |voter| voter.sid).ok()
    }

    /// The voters, by sid.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.voters.iter().map(|voter| voter.sid)
    }

    /// Whether the server is a participant.
    pub fn votes(&self, sid: ServerId) -> bool {
        self.place(sid).is_some()
    }

    /// How much the server's vote counts; 0 without one.
    pub fn weight(&self, sid: ServerId) -> i64 {
        self.place(sid).map_or(0, |place| self.voters[place].weight)
    }

    /// Whether the server may be elected: it votes, and its vote counts.
    pub fn can_lead(&self, sid: ServerId) -> bool {
        self.weight(sid) != 0
    }

    /// Adds the server to the set if it votes; whether it does.
    pub fn add(&self, set: &mut SidSet, sid: ServerId) -> bool {
        self.place(sid).inspect(|place| set.set(*place, true)).is_some()
    }

    /// Takes the server out of the set.
    pub fn remove(&self, set: &mut SidSet, sid: ServerId) {
        if let Some(place) = self.place(sid) {
            set.set(place, false);
        }
    }

    /// Whether the server is in the set.
    pub fn has(&self, set: &SidSet, sid: ServerId) -> bool {
        self.place(sid).is_some_and(|place| set.has(place))
    }

    /// The voters among those servers.
    pub fn set(&self, sids: impl IntoIterator<Item = ServerId>) -> SidSet {
        let mut set = SidSet::EMPTY;
        for sid in sids {
            self.add(&mut set, sid);
        }
        set
    }

    /// Whether the set decides.
    pub fn contains_quorum(&self, set: &SidSet) -> bool {
        assert!(set.len() <= self.voters.len(), "{} of {} voters", set.len(), self.voters.len());
        if self.groups.is_empty() {
            return set.len() > self.voters.len() / 2;
        }
        let won = |(place, total): (usize, &i64)| {
            let weight: i64 = self
                .voters
                .iter()
                .enumerate()
                .filter(|(at, voter)| voter.group == place && set.has(*at))
                .fold(0, |sum, (_, voter)| sum.saturating_add(voter.weight));
            weight > total / 2
        };
        let counted = self.groups.iter().filter(|total| **total != 0).count();
        self.groups.iter().enumerate().filter(|group| won(*group)).count() > counted / 2
    }
}

/// The configuration as servers send it to each other, in NEWLEADER and with their votes.
///
/// Source: `QuorumMaj.toString`, `QuorumHierarchical.toString`, `QuorumServer.toString`.
pub fn config_text(ensemble: &Ensemble) -> String {
    let mut text = String::new();
    for server in ensemble.servers.values() {
        let _ = write!(text, "server.{}=", server.sid);
        for (place, address) in server.addresses.iter().enumerate() {
            let between = if place == 0 { "" } else { "|" };
            let host = in_brackets(&address.host);
            let _ = write!(text, "{between}{host}:{}:{}", address.quorum_port, address.election_port);
        }
        text.push_str(match server.role {
            Role::Participant => ":participant",
            Role::Observer => ":observer",
        });
        if let Some(client) = &server.client {
            let host = in_brackets(client.host.as_deref().unwrap_or("0.0.0.0"));
            let _ = write!(text, ";{host}:{}", client.port);
        }
        text.push('\n');
    }
    if ensemble.hierarchical {
        let mut groups = BTreeMap::<i64, Vec<String>>::new();
        for (sid, gid) in &ensemble.groups {
            groups.entry(*gid).or_default().push(sid.to_string());
        }
        for (gid, members) in groups {
            let _ = writeln!(text, "group.{gid}={}", members.join(":"));
        }
        for sid in ensemble.groups.keys() {
            let _ = writeln!(text, "weight.{sid}={}", ensemble.weights.get(sid).copied().unwrap_or(1));
        }
    }
    let _ = write!(text, "version={:x}", ensemble.version);
    text
}

/// A configuration's text, with another version.
pub fn with_version(text: &[u8], version: i64) -> Vec<u8> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(VERSION_KEY));
    let mut out = Vec::with_capacity(text.len() + 16);
    for line in lines.filter(|line| !line.is_empty()) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(VERSION_KEY);
    out.extend_from_slice(format!("{version:x}").as_bytes());
    out
}

/// The version in a configuration's text; 0 where it has none, as in Java.
pub fn version_in(text: &[u8]) -> i64 {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(VERSION_KEY));
    let number = line.and_then(|line| std::str::from_utf8(line).ok());
    number.and_then(|number| i64::from_str_radix(number.trim(), 16).ok()).unwrap_or(0)
}

/// Whether two configurations' texts name the same servers in the same roles.
pub fn same_servers(one: &[u8], other: &[u8]) -> bool {
    let servers = |text: &[u8]| -> BTreeMap<i64, bool> {
        let text = String::from_utf8_lossy(text);
        let server = |line: &str| {
            let (sid, rest) = line.trim().strip_prefix("server.")?.split_once('=')?;
            Some((sid.parse().ok()?, rest.contains(":observer")))
        };
        text.lines().filter_map(server).collect()
    };
    servers(one) == servers(other)
}

const VERSION_KEY: &[u8] = b"version=";

pub(crate) fn in_brackets(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version is replaced and read, and none is 0; servers are compared by number and role, whatever the addresses and
    /// client ports stand there.
    #[test]
    fn versions() {
        let ours = b"server.1=a:1:2:participant\nserver.2=b:1:2:observer\nversion=0";
        let theirs = b"server.2=b:1:2:observer;0.0.0.0:2181\nserver.1=c:1:2:participant\nversion=100000000";
        assert_eq!((version_in(ours), version_in(theirs), version_in(b"server.1=a:1:2")), (0, 1 << 32, 0));
        let moved = with_version(ours, 1 << 32);
        assert_eq!(moved, b"server.1=a:1:2:participant\nserver.2=b:1:2:observer\nversion=100000000");
        assert!(same_servers(ours, theirs));
        assert!(!same_servers(ours, b"server.1=a:1:2:participant\nserver.2=b:1:2:participant"));
        assert!(!same_servers(ours, b"server.1=a:1:2:participant"));
    }
    use crate::config::{ClientAddress, PeerAddress, Server};

    fn ensemble(participants: &[i64], observers: &[i64]) -> Ensemble {
        let server = |sid: i64, role| {
            let address = PeerAddress { host: format!("zk{sid}"), quorum_port: 2888, election_port: 3888 };
            (sid, Server { sid, addresses: vec![address], role, client: None })
        };
        let participants = participants.iter().map(|sid| server(*sid, Role::Participant));
        let observers = observers.iter().map(|sid| server(*sid, Role::Observer));
        Ensemble { servers: participants.chain(observers).collect(), ..Ensemble::default() }
    }

    fn decides(quorum: &Quorum, sids: &[i64]) -> bool {
        quorum.contains_quorum(&quorum.set(sids.iter().copied().map(ServerId)))
    }

    /// An oracle decides between two voters, where it says yes; it is not asked by any other ensemble.
    #[test]
    fn oracle_of_two() {
        let mut two = Quorum::new(&ensemble(&[1, 2], &[3])).unwrap().with_oracle();
        let by_oracle = |quorum: &Quorum, sids: &[i64]| {
            quorum.decides_by_oracle(&quorum.set(sids.iter().copied().map(ServerId)))
        };
        assert!(!by_oracle(&two, &[1]));
        two.set_oracle(true);
        assert!(by_oracle(&two, &[1]) && !by_oracle(&two, &[]) && !by_oracle(&two, &[3]));
        assert!(!decides(&two, &[1]) && decides(&two, &[1, 2]));
        let mut three = Quorum::new(&ensemble(&[1, 2, 3], &[])).unwrap().with_oracle();
        three.set_oracle(true);
        assert_eq!(three.oracle(), None);
        assert!(!by_oracle(&three, &[1]));
    }

    /// More than half of the participants decide, observers and strangers never count.
    #[test]
    fn majority() {
        let quorum = Quorum::new(&ensemble(&[1, 2, 3, 200], &[4, 5])).unwrap();
        assert!(!decides(&quorum, &[]));
        assert!(!decides(&quorum, &[1, 200]));
        assert!(decides(&quorum, &[1, 2, 200]));
        assert!(!decides(&quorum, &[1, 2, 4, 5, 77]));
        assert!(
            !quorum.votes(ServerId(4)) && !quorum.can_lead(ServerId(4)) && quorum.can_lead(ServerId(200))
        );
        assert_eq!(quorum.voters().collect::<Vec<_>>(), [1, 2, 3, 200].map(ServerId));
    }

    /// A set gives back what was added and forgets what was removed, at either end of its words.
    #[test]
    fn sets() {
        let sids: Vec<i64> = (0..256).collect();
        let quorum = Quorum::new(&ensemble(&sids, &[])).unwrap();
        let mut set = SidSet::EMPTY;
        for sid in [0, 63, 64, 255] {
            assert!(quorum.add(&mut set, ServerId(sid)));
        }
        assert!(!quorum.add(&mut set, ServerId(256)));
        assert_eq!(set.len(), 4);
        quorum.remove(&mut set, ServerId(63));
        assert!(
            quorum.has(&set, ServerId(64))
                && !quorum.has(&set, ServerId(63))
                && !quorum.has(&set, ServerId(999))
        );
        assert!(!decides(&quorum, &sids[..128]) && decides(&quorum, &sids[..129]));
        let sids: Vec<i64> = (0..257).collect();
        assert_eq!(Quorum::new(&ensemble(&sids, &[])).unwrap_err(), QuorumError::TooMany(257));
    }

    fn grouped(groups: &[(i64, &[i64])], weights: &[(i64, i64)]) -> Quorum {
        let sids: Vec<i64> = groups.iter().flat_map(|(_, members)| members.iter().copied()).collect();
        let mut ensemble = ensemble(&sids, &[]);
        ensemble.hierarchical = true;
        for (gid, members) in groups {
            ensemble.groups.extend(members.iter().map(|sid| (*sid, *gid)));
        }
        ensemble.weights.extend(weights.iter().copied());
        Quorum::new(&ensemble).unwrap()
    }

    /// Groups decide by more than half of them, each by more than half of its weight.
    #[test]
    fn hierarchical_groups() {
        let groups: [(i64, &[i64]); 3] = [(1, &[1, 2, 3]), (2, &[4, 5, 6]), (3, &[7, 8, 9])];
        let quorum = grouped(&groups, &[]);
        assert!(decides(&quorum, &[1, 2, 4, 5]), "four of nine, two of three groups");
        assert!(!decides(&quorum, &[1, 2, 3, 4, 7]), "five of nine, one group");
        let quorum = grouped(&groups, &[(1, 5)]);
        assert!(decides(&quorum, &[1, 4, 5]), "1 is more than half of its group");
        assert!(!decides(&quorum, &[2, 3, 4, 5]));
    }

    /// A group of weight 0 is not counted, and its members cannot lead; a sum of half is not enough.
    #[test]
    fn weights_of_zero() {
        let quorum = grouped(&[(1, &[1, 2]), (2, &[3])], &[(3, 0)]);
        assert!(!quorum.can_lead(ServerId(3)) && quorum.votes(ServerId(3)));
        assert!(decides(&quorum, &[1, 2]));
        assert!(!decides(&quorum, &[1, 3]));
    }

    /// The text is the one a Java server writes and reads.
    #[test]
    fn text() {
        let mut ensemble = ensemble(&[1, 2], &[3]);
        ensemble.version = 0x1a;
        ensemble.servers.get_mut(&1).unwrap().client = Some(ClientAddress { host: None, port: 2181 });
        ensemble.servers.get_mut(&2).unwrap().addresses[0].host = "fe80::1".to_owned();
        assert_eq!(
            config_text(&ensemble),
            "server.1=zk1:2888:3888:participant;0.0.0.0:2181\nserver.2=[fe80::1]:2888:3888:participant\n\
             server.3=zk3:2888:3888:observer\nversion=1a"
        );
        ensemble.hierarchical = true;
        ensemble.groups = BTreeMap::from([(1, 7), (2, 7)]);
        ensemble.weights = BTreeMap::from([(2, 4)]);
        assert!(
            config_text(&ensemble).ends_with("observer\ngroup.7=1:2\nweight.1=1\nweight.2=4\nversion=1a")
        );
    }
}
