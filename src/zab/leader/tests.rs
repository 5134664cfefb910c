use super::output::STRANGERS_MAX;
use super::synchronization::PIECE_BYTES;
use super::*;
use crate::wal::Batch;
use crate::zab::configuration::{Configuration, Configurations};
use crate::zab::message::{
    LearnerInfo, PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE, PacketStream, put_ack_epoch, put_bare,
    put_with, read_activation,
};
use std::sync::Arc;

fn packets(out: &mut Vec<LeaderOutput>, to: LinkId) -> Vec<(PacketType, Zxid)> {
    let mut stream = PacketStream::default();
    let mut got = Vec::new();
    for output in out.drain(..) {
        if let LeaderOutput::Send(link, bytes) = output
            && link == to
        {
            stream.feed(&bytes);
        }
    }
    while let Some(packet) = stream.next_packet().expect("well formed") {
        got.push((packet.kind, packet.zxid));
    }
    got
}

/// Of two voters with an oracle, the one that may lead alone leads and commits without the other one; while that is in step,
/// what is committed is on both.
#[test]
fn alone_by_an_oracle() {
    let two = || {
        let (mut ensemble, mut membership) = Membership::of_three(1);
        ensemble.servers.remove(&3);
        let two = Configuration::new(ensemble).expect("two voters");
        membership.configs = Configurations::new(two).with_oracle();
        membership.configs.set_oracle(true);
        membership
    };
    let last = Zxid::new(4, 7);
    let mut history = History::new(last);
    let (mut leader, mut out) = (Leader::new(two(), EPOCHS, last, 0), Vec::new());
    leader.discover(0, &mut history, &mut out);
    assert!(leader.is_established());
    let first = Zxid::new(5, 1);
    leader.propose([(first, &b"txn"[..])].into_iter(), &mut out);
    leader.durable(first);
    assert_eq!(leader.committed(), first, "it is alone");
    leader.set_oracle(false);
    out.clear();
    leader.tick(1_000, &history, &mut out);
    assert!(matches!(out.last(), Some(LeaderOutput::Lost(LostLead::NoQuorum(_)))), "{out:?}");

    let mut history = History::new(last);
    let (mut leader, mut out) = (Leader::new(two(), EPOCHS, last, 0), Vec::new());
    leader.discover(0, &mut history, &mut out);
    let mut bytes = Vec::new();
    let info = LearnerInfo::bytes(ServerId(2), PROTOCOL_VERSION_CUMULATIVE, 0);
    put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
    put_ack_epoch(&mut bytes, last, 4);
    crate::zab::message::put_ack(&mut bytes, Zxid::new(5, 0));
    leader.accepted(LinkId(2), 0, &mut out);
    leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
    leader.propose([(first, &b"txn"[..])].into_iter(), &mut out);
    leader.durable(first);
    assert!(leader.committed() < first, "the other one is in step, and has not acknowledged it");
    leader.closed(LinkId(2));
    leader.tick(1_000, &history, &mut out);
    assert_eq!(leader.committed(), first, "it is alone again");
}

/// The packets of a server that comes to be brought up to date, up to its promise.
fn introduction(kind: PacketType, sid: i64, last: Zxid) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_with(
        &mut bytes,
        kind,
        Zxid::new(4, 0),
        &LearnerInfo::bytes(ServerId(sid), PROTOCOL_VERSION_CUMULATIVE, 0),
    );
    put_ack_epoch(&mut bytes, last, 4);
    bytes
}

/// A follower brings an observer up to date with what is committed, and tells it of the rest as its leader commits it. No
/// quorum is asked for: it goes on without any other server.
#[test]
fn observers_of_a_follower() {
    let (_, membership) = Membership::of_three(1);
    let (last, committed) = (Zxid::new(4, 3), Zxid::new(4, 2));
    let mut history = History::new(Zxid::new(4, 0));
    for counter in 1..=3 {
        let mut batch = Batch::default();
        batch.put(Zxid::new(4, counter), |txn| txn.extend_from_slice(b"txn"));
        history.push(Arc::new(batch));
    }
    let mut master = Leader::observer_master(membership, EPOCHS, last, committed, 0);
    let (link, mut out) = (LinkId(7), Vec::new());
    master.accepted(link, 0, &mut out);
    let bytes = introduction(PacketType::OBSERVERINFO, 9, Zxid::new(4, 1));
    master.received(link, &bytes, 0, &mut history, &mut out);
    let sent: Vec<(PacketType, Zxid)> = packets(&mut out, link);
    let kinds: Vec<PacketType> = sent.iter().map(|(kind, _)| *kind).collect();
    let expected = [
        PacketType::LEADERINFO,
        PacketType::DIFF,
        // Of what it has.
        PacketType::COMMIT,
        PacketType::PROPOSAL,
        PacketType::COMMIT,
        PacketType::NEWLEADER,
    ];
    assert_eq!(kinds, expected, "{sent:?}");
    assert_eq!(sent[3], (PacketType::PROPOSAL, committed));
    let mut ack = Vec::new();
    crate::zab::message::put_ack(&mut ack, Zxid::new(4, 0));
    master.received(link, &ack, 0, &mut history, &mut out);
    assert_eq!(packets(&mut out, link)[0].0, PacketType::UPTODATE);
    for second in 1..=4 {
        master.received(link, &[], second * 1_000, &mut history, &mut out);
        master.tick(second * 1_000, &history, &mut out);
        assert!(!out.iter().any(|output| matches!(output, LeaderOutput::Lost(_))), "{out:?}");
    }
    assert!(packets(&mut out, link).iter().all(|(kind, _)| *kind == PacketType::PING));
    master.committed_elsewhere(last, &history, &mut out);
    assert_eq!(packets(&mut out, link), [(PacketType::INFORM, last)]);
    assert_eq!(master.status(5_000).synced_observers, 1);
}

/// A follower sends servers with a vote away, and observers that have more than it knows to be committed: they would have
/// to take back what a quorum has.
#[test]
fn who_a_follower_does_not_serve() {
    let committed = Zxid::new(4, 2);
    for (kind, last, expected) in [
        (PacketType::OBSERVERINFO, committed, None),
        (PacketType::OBSERVERINFO, Zxid::new(3, 9), None),
        (
            PacketType::OBSERVERINFO,
            Zxid::new(4, 3),
            Some(CloseLearner::AheadOfMaster { zxid: Zxid::new(4, 3), committed }),
        ),
        (PacketType::FOLLOWERINFO, committed, Some(CloseLearner::Unexpected(PacketType::FOLLOWERINFO.0))),
    ] {
        let (_, membership) = Membership::of_three(1);
        let mut history = History::new(committed);
        let mut master = Leader::observer_master(membership, EPOCHS, committed, committed, 0);
        let (link, mut out) = (LinkId(7), Vec::new());
        master.accepted(link, 0, &mut out);
        master.received(link, &introduction(kind, 2, last), 0, &mut history, &mut out);
        let closed = out.iter().find_map(|output| match output {
            LeaderOutput::Close(_, why) => Some(why.clone()),
            _ => None,
        });
        assert_eq!(closed, expected, "{kind:?} at {last}");
    }
}

/// The more observers there are, the less each may have waiting, so that slow ones cost a bounded amount of memory.
#[test]
fn windows_of_many_observers() {
    let (_, membership) = Membership::of_three(1);
    let mut history = History::new(Zxid::new(4, 2));
    let mut master = Leader::observer_master(membership, EPOCHS, Zxid::new(4, 2), Zxid::new(4, 2), 0);
    let mut out = Vec::new();
    for number in 0..400 {
        let link = LinkId(number);
        master.accepted(link, 0, &mut out);
        let bytes = introduction(PacketType::OBSERVERINFO, 10 + number as i64, Zxid::new(4, 2));
        master.received(link, &bytes, 0, &mut history, &mut out);
        let (count, window) = (number as usize + 1, master.window(LearnerKind::Observer));
        assert!(window <= WINDOW_BYTES && window * count <= OBSERVERS_BYTES.max(WINDOW_BYTES * count.min(8)));
        assert_eq!(master.window(LearnerKind::Follower), WINDOW_BYTES);
    }
    (0..400).for_each(|number| master.closed(LinkId(number)));
    assert_eq!(master.window(LearnerKind::Observer), WINDOW_BYTES);
}

const EPOCHS: Epochs = Epochs { accepted: Epoch(4), current: Epoch(4) };

/// A leader gives a configuration without a version the one of its epoch, where its settings ask for that; otherwise it takes the
/// one that a learner has from such a leader, and refuses one that a reconfiguration made.
#[test]
fn configuration_versions() {
    let sent = |versions_config, theirs: i64| {
        let (mut leader, mut history) = leader(|membership| membership.reconfig_enabled = versions_config);
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        leader.accepted(LinkId(2), 0, &mut out);
        let info = LearnerInfo::bytes(ServerId(2), PROTOCOL_VERSION, theirs);
        put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
        put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
        leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
        let ahead = CloseLearner::ConfigAhead { theirs, ours: 0 };
        if out.iter().any(|output| matches!(output, LeaderOutput::Close(_, why) if *why == ahead)) {
            return None;
        }
        // It is durable before any learner hears of it.
        let saved = out.iter().rev().find_map(|output| match output {
            LeaderOutput::Configure(configs) => Some(configs.active().version()),
            _ => None,
        });
        let text = out.iter().find_map(|output| match output {
            LeaderOutput::Send(_, bytes) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                text.split_once("version=").map(|(_, version)| version.to_owned())
            }
            _ => None,
        });
        let text = text.expect("NEWLEADER");
        let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
        let version = i64::from_str_radix(&digits, 16).expect("a number");
        assert_eq!(saved.unwrap_or_default(), version);
        Some(version)
    };
    assert_eq!(sent(false, 0), Some(0));
    assert_eq!(sent(true, 0), Some(5 << 32));
    assert_eq!(sent(false, 3 << 32), Some(3 << 32));
    assert_eq!(sent(true, 3 << 32), Some(3 << 32));
    assert_eq!(sent(true, (3 << 32) + 9), None);
}

/// ZooKeeper's servers cut after the first record at or above the zxid of TRUNC: where that is none, and for txns
/// that they do not read, they get the tree. A later version of theirs is not taken for zkfast.
#[test]
fn what_java_can_carry_out() {
    let how = |version, last: Zxid, batch: Option<Batch>| {
        let (mut leader, _) = leader(|_| {});
        let mut history = History::new(Zxid::new(4, 0));
        batch.into_iter().for_each(|batch| history.push(Arc::new(batch)));
        let mut out = Vec::new();
        leader.accepted(LinkId(2), 0, &mut out);
        let mut bytes = Vec::new();
        let info = LearnerInfo::bytes(ServerId(2), version, 0);
        put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
        put_ack_epoch(&mut bytes, last, 3);
        leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
        if out.iter().any(|output| matches!(output, LeaderOutput::Image(_))) {
            return PacketType::SNAP;
        }
        packets(&mut out, LinkId(2)).into_iter().map(|(kind, _)| kind).nth(1).expect("a sync")
    };
    let batch = |bytes| {
        let mut batch = Batch::default();
        batch.put(Zxid::new(4, 1), |out| out.resize(out.len() + bytes, 0));
        Some(batch)
    };
    for (version, trunc) in [
        (PROTOCOL_VERSION, PacketType::SNAP),
        (PROTOCOL_VERSION_CUMULATIVE, PacketType::TRUNC),
        (PROTOCOL_VERSION_CUMULATIVE + 1, PacketType::SNAP),
    ] {
        assert_eq!(how(version, Zxid::new(4, 1), None), trunc);
        assert_eq!(how(version, Zxid::new(4, 2), batch(9)), PacketType::TRUNC);
        assert_eq!(how(version, Zxid::new(4, 0), batch(9)), PacketType::DIFF);
        let long = if trunc == PacketType::SNAP { PacketType::SNAP } else { PacketType::DIFF };
        assert_eq!(how(version, Zxid::new(4, 0), batch(3 << 20)), long);
    }
}

/// Server 1 leads three servers with a vote; its log ends at 4, 7.
fn leader(change: impl FnOnce(&mut Membership)) -> (Leader, History) {
    let (_, mut membership) = Membership::of_three(1);
    change(&mut membership);
    let last = Zxid::new(4, 7);
    (Leader::new(membership, EPOCHS, last, 0), History::new(last))
}

/// Connections that send nothing, or half a packet now and then, end after initLimit, and the oldest earlier where there
/// are many; a learner that has said who it is stays.
#[test]
fn strangers() {
    let (mut leader, mut history) = leader(|_| {});
    let mut out = promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
    acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
    for link in 0..STRANGERS_MAX as u64 {
        leader.accepted(LinkId(100 + link), 1_000, &mut out);
    }
    let closed = |out: &mut Vec<LeaderOutput>| -> Vec<(u64, CloseLearner)> {
        let each = |output| match output {
            LeaderOutput::Close(link, why) => Some((link.0, why)),
            _ => None,
        };
        out.drain(..).filter_map(each).collect()
    };
    assert_eq!(closed(&mut out), []);
    leader.accepted(LinkId(1_000), 2_000, &mut out);
    assert_eq!(closed(&mut out), [(100, CloseLearner::Crowded)]);
    for now_ms in (3_000..=11_000).step_by(1_000) {
        // One byte a second is no packet for a while, and the follower answers.
        leader.received(LinkId(101), &[0], now_ms, &mut history, &mut out);
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::PING, Zxid::ZERO);
        leader.received(LinkId(2), &bytes, now_ms, &mut history, &mut out);
        leader.tick(now_ms, &history, &mut out);
    }
    assert_eq!(closed(&mut out), []);
    leader.tick(11_001, &history, &mut out);
    let silent: Vec<_> = (101..100 + STRANGERS_MAX as u64).collect();
    let gone = closed(&mut out);
    assert_eq!(gone.iter().map(|(link, _)| *link).collect::<Vec<_>>(), silent);
    assert!(gone.iter().all(|(_, why)| *why == CloseLearner::Silent(10_001)), "{gone:?}");
    assert!(leader.is_established());
}

/// A follower that no server line names has no vote, and is no observer either.
#[test]
fn kinds_of_learners() {
    let (mut leader, mut history) = leader(|_| {});
    promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
    acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
    for (sid, kind) in [(8, PacketType::FOLLOWERINFO), (9, PacketType::OBSERVERINFO)] {
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        leader.accepted(LinkId(sid), 0, &mut out);
        let info = LearnerInfo::bytes(ServerId(sid as i64), PROTOCOL_VERSION_CUMULATIVE, 0);
        put_with(&mut bytes, kind, Zxid::new(4, 0), &info);
        put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
        leader.received(LinkId(sid), &bytes, 0, &mut history, &mut out);
        acks(&mut leader, &mut history, LinkId(sid), Zxid::new(5, 0));
    }
    let status = leader.status(0);
    let synced = [status.synced_followers, status.synced_non_voting_followers, status.synced_observers];
    // Followers in step are also those without a vote.
    assert_eq!((status.learners, synced), (3, [2, 1, 1]));
    assert_eq!([2, 8, 9].map(|link| leader.is_non_voting_follower(LinkId(link))), [false, true, false]);
}

/// Only so many trees are on their way to observers at a time; followers get theirs at once. One that has its tree on
/// disk makes room.
#[test]
fn trees_at_a_time() {
    let (mut leader, mut history) = leader(|membership| membership.snaps_max = 1);
    promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
    acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
    let join = |leader: &mut Leader, history: &mut History, sid: u64, kind| {
        let mut out = Vec::new();
        leader.accepted(LinkId(sid), 0, &mut out);
        let mut bytes = Vec::new();
        let info = LearnerInfo::bytes(ServerId(sid as i64), PROTOCOL_VERSION_CUMULATIVE, 0);
        put_with(&mut bytes, kind, Zxid::new(4, 0), &info);
        put_ack_epoch(&mut bytes, Zxid::new(3, 1), 3);
        leader.received(LinkId(sid), &bytes, 0, history, &mut out);
        assert!(matches!(out.pop(), Some(LeaderOutput::FindInLog(..))), "its log ends before the history");
        leader.found(LinkId(sid), None, 0, history, &mut out);
        out.pop().expect("an answer")
    };
    let is_image = |output: &LeaderOutput| matches!(output, LeaderOutput::Image(_));
    let first = join(&mut leader, &mut history, 11, PacketType::OBSERVERINFO);
    assert!(is_image(&first), "{first:?}");
    let second = join(&mut leader, &mut history, 12, PacketType::OBSERVERINFO);
    let waits = CloseLearner::Throttled { sid: ServerId(12), snaps: 1 };
    assert!(matches!(&second, LeaderOutput::Close(LinkId(12), why) if *why == waits), "{second:?}");
    let voter = join(&mut leader, &mut history, 3, PacketType::FOLLOWERINFO);
    assert!(is_image(&voter), "{voter:?}");
    for link in [LinkId(11), LinkId(3)] {
        leader.image_begun(link, Zxid::new(4, 7), 0, &mut history, &mut Vec::new());
        acks(&mut leader, &mut history, link, Zxid::new(5, 0));
    }
    let again = join(&mut leader, &mut history, 12, PacketType::OBSERVERINFO);
    assert!(is_image(&again), "{again:?}");
}

/// A voter that has promised a later epoch, to a leader that never led, can follow no leader of this one: the leader
/// makes way for a newer epoch, after a tick, also where the voter is being repaired; not for an observer, which the
/// quorum does not miss, and neither on the word of a server without a vote nor for the data of another ensemble.
#[test]
fn later_promise() {
    let come = |sid, kind, now_ms, looks: Option<i64>| {
        let (mut leader, mut history) = leader(|_| {});
        promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        assert!(leader.is_established());
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        let info = LearnerInfo::bytes(ServerId(sid), PROTOCOL_VERSION_CUMULATIVE, 0);
        put_with(&mut bytes, kind, Zxid::new(9, 0), &info);
        if let Some(peer_epoch) = looks {
            leader.looks(ServerId(sid), (peer_epoch != i64::MIN).then_some(peer_epoch));
        }
        leader.accepted(LinkId(3), now_ms, &mut out);
        leader.received(LinkId(3), &bytes, now_ms, &mut history, &mut out);
        let foreign = CloseLearner::Foreign { sid: ServerId(sid), theirs: 6, ours: Epoch(5) };
        let is_foreign =
            |output: &LeaderOutput| matches!(output, LeaderOutput::Close(_, why) if *why == foreign);
        assert_eq!(out.iter().any(is_foreign), looks == Some(6));
        let lost = LostLead::Promised { sid: ServerId(sid), promised: Epoch(9), epoch: Epoch(5) };
        let [LeaderOutput::SaveEpochs(epochs), LeaderOutput::Lost(why)] = &out[..] else { return false };
        assert_eq!((epochs.accepted, epochs.current), (Epoch(9), Epoch(5)));
        *why == lost
    };
    assert!(come(3, PacketType::FOLLOWERINFO, 1_001, Some(5)));
    assert!(come(3, PacketType::OBSERVERINFO, 1_001, Some(i64::MIN)));
    assert!(!come(3, PacketType::FOLLOWERINFO, 999, Some(5)));
    assert!(!come(11, PacketType::OBSERVERINFO, 1_001, None));
    assert!(!come(3, PacketType::FOLLOWERINFO, 1_001, None), "it has not looked for a leader");
    assert!(!come(3, PacketType::FOLLOWERINFO, 1_001, Some(6)), "it has data that this ensemble never had");
}

/// A leader with that setting sends the tree also to a learner that lacks nothing.
#[test]
fn always_the_tree() {
    for always_snap in [false, true] {
        let (mut leader, mut history) = leader(|membership| membership.always_snap = always_snap);
        let out = promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        assert_eq!(out.iter().any(|output| matches!(output, LeaderOutput::Image(_))), always_snap);
    }
}

fn promise(leader: &mut Leader, history: &mut History, link: LinkId, version: i32) -> Vec<LeaderOutput> {
    let mut out = Vec::new();
    leader.accepted(link, 0, &mut out);
    let mut bytes = Vec::new();
    let info = LearnerInfo::bytes(ServerId(link.0 as i64), version, 0);
    put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
    put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
    leader.received(link, &bytes, 0, history, &mut out);
    out
}

fn acks(leader: &mut Leader, history: &mut History, link: LinkId, zxid: Zxid) {
    acks_into(leader, history, link, zxid, &mut Vec::new());
}

fn acks_into(
    leader: &mut Leader,
    history: &mut History,
    link: LinkId,
    zxid: Zxid,
    out: &mut Vec<LeaderOutput>,
) {
    let mut bytes = Vec::new();
    put_bare(&mut bytes, PacketType::ACK, zxid);
    leader.received(link, &bytes, 0, history, out);
}

/// The txns of [`learner_that_lags`], of 1 MiB each.
const LARGE_TXNS: u32 = 64;

/// A batch of txns of 1 MiB, one for each of these counters in epoch 5.
fn large_txns(counters: std::ops::RangeInclusive<u32>) -> Batch {
    let mut batch = Batch::default();
    counters.for_each(|counter| {
        batch.put(Zxid::new(5, counter), |out| out.resize(out.len() + (1 << 20), 0));
    });
    batch
}

/// Bytes that wait for this learner.
fn queued_bytes(out: &[LeaderOutput], to: LinkId) -> usize {
    let sizes = out.iter().filter_map(|output| match output {
        LeaderOutput::Send(link, bytes) if *link == to => Some(bytes.len()),
        _ => None,
    });
    sizes.sum()
}

/// Commits all large txns, of which the learner of link 3 takes none. It sends a sync on the way: returns after which commit.
fn commit_large_txns(leader: &mut Leader, history: &mut History, out: &mut Vec<LeaderOutput>) -> Zxid {
    let asked_after = Zxid::new(5, 40);
    for counter in 1..=LARGE_TXNS {
        let zxid = Zxid::new(5, counter);
        let batch = Arc::new(large_txns(counter..=counter));
        leader.propose(batch.iter(), out);
        history.push(batch);
        leader.durable(zxid);
        acks(leader, history, LinkId(2), zxid);
        leader.commit(zxid, history, out);
        history.trim(leader.announced());
        if zxid == asked_after {
            leader.synced(leader.learners.at(LinkId(3)).number, history, out);
        }
    }
    asked_after
}

/// What the learner of link 3 has taken, and how often the log was read for it.
#[derive(Default)]
struct Lagging {
    stream: PacketStream,
    /// Counter of the newest proposal.
    proposed: u32,
    /// Counter of the newest commit.
    committed: u32,
    /// The newest commit before the answer to its sync.
    answered: Option<Zxid>,
    log_reads: usize,
}

impl Lagging {
    /// Takes what the leader has for it, and reads the log where the leader asks: the bytes taken.
    fn take(&mut self, leader: &mut Leader, history: &mut History, out: &mut Vec<LeaderOutput>) -> usize {
        let mut taken = 0;
        for output in std::mem::take(out) {
            match output {
                LeaderOutput::Send(LinkId(3), bytes) => {
                    taken += bytes.len();
                    self.stream.feed(&bytes);
                }
                LeaderOutput::ReadLog(LinkId(3), after) => {
                    self.log_reads += 1;
                    let batch = large_txns(after.counter() + 1..=(after.counter() + 3).min(LARGE_TXNS));
                    leader.log_read(LinkId(3), Ok(&batch), history, out);
                }
                LeaderOutput::Send(..) | LeaderOutput::Syncing { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        taken
    }

    /// Reads the packets that it has taken; a learner of the plain protocol gets every commit.
    fn read(&mut self, version: i32) {
        while let Some(packet) = self.stream.next_packet().expect("well formed") {
            match packet.kind {
                PacketType::PROPOSAL => {
                    self.proposed += 1;
                    assert_eq!(packet.zxid, Zxid::new(5, self.proposed));
                }
                PacketType::COMMIT if packet.zxid.epoch() == 5 => {
                    let counter = packet.zxid.counter();
                    assert!(counter <= self.proposed, "a commit of what was not proposed");
                    assert!(version != PROTOCOL_VERSION || counter == self.committed + 1);
                    self.committed = counter;
                }
                PacketType::SYNC => self.answered = Some(Zxid::new(5, self.committed)),
                _ => {}
            }
        }
    }
}

/// A learner that takes nothing costs no more than its window, and gets what it lacks in its turn: from the history,
/// from the log where the history begins later, with commits and answers in their places.
#[test]
fn learner_that_lags() {
    for version in [PROTOCOL_VERSION, PROTOCOL_VERSION_CUMULATIVE] {
        let (mut leader, mut history) = leader(|_| {});
        promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        let mut out = promise(&mut leader, &mut history, LinkId(3), version);
        acks(&mut leader, &mut history, LinkId(3), Zxid::new(5, 0));
        let asked_after = commit_large_txns(&mut leader, &mut history, &mut out);
        let queued = queued_bytes(&out, LinkId(3));
        assert!(queued < WINDOW_BYTES + PIECE_BYTES + (2 << 20), "{queued} bytes wait");
        assert!(!history.holds(Zxid::new(5, 20)), "the history was trimmed");
        let mut lagging = Lagging::default();
        for _ in 0..1000 {
            let taken = lagging.take(&mut leader, &mut history, &mut out);
            lagging.read(version);
            if taken == 0 && out.is_empty() {
                break;
            }
            leader.taken(LinkId(3), taken, taken, 0, &history, &mut out);
        }
        let Lagging { proposed, committed, answered, log_reads, .. } = lagging;
        assert_eq!((proposed, committed), (LARGE_TXNS, LARGE_TXNS));
        assert_eq!(
            answered,
            Some(asked_after),
            "the answer stands after the commits that came before the question"
        );
        assert!(log_reads > 5, "{log_reads} reads of the log");
    }
}

/// A leader that waits for its quorum goes on waiting while a follower stores what it was sent, and not where those
/// who are left would not do: the others have found another leader meanwhile.
#[test]
fn waits_for_those_who_may_bring_the_quorum() {
    for is_in_step in [false, true] {
        let (mut leader, mut history) = leader(|membership| membership.configs = five_voters());
        let info = |sid| LearnerInfo::bytes(ServerId(sid), PROTOCOL_VERSION_CUMULATIVE, 0);
        for sid in [2, 3] {
            let mut bytes = Vec::new();
            put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info(sid as i64));
            leader.accepted(LinkId(sid), 0, &mut Vec::new());
            leader.received(LinkId(sid), &bytes, 0, &mut history, &mut Vec::new());
        }
        for sid in [2, 3] {
            let mut bytes = Vec::new();
            put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
            leader.received(LinkId(sid), &bytes, 0, &mut history, &mut Vec::new());
        }
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        if is_in_step {
            leader.closed(LinkId(3));
        }
        let (mut ping, mut out) = (Vec::new(), Vec::new());
        put_bare(&mut ping, PacketType::PING, Zxid::ZERO);
        for now_ms in (1_000..=40_000).step_by(1_000) {
            for link in [LinkId(2), LinkId(3)] {
                leader.received(link, &ping, now_ms, &mut history, &mut out);
            }
            leader.tick(now_ms, &history, &mut out);
        }
        let is_lost = out.iter().any(|output| matches!(output, LeaderOutput::Lost(_)));
        assert_eq!(is_lost, is_in_step);
    }
}

fn five_voters() -> Configurations {
    use crate::config::{Ensemble, Role, Server};
    let server = |sid| (sid, Server { sid, addresses: Vec::new(), role: Role::Participant, client: None });
    let ensemble = Ensemble { servers: (1..=5).map(server).collect(), ..Ensemble::default() };
    Configurations::new(Configuration::new(ensemble).expect("five voters"))
}

/// An acknowledgement of what was never proposed counts for nothing, and ends its connection.
#[test]
fn acknowledges_too_much() {
    // A txn of this epoch, of a later one, and the start of a later one, which looks like an answer to UPTODATE.
    for zxid in [Zxid::new(5, 9), Zxid::new(9, 1), Zxid::new(6, 0), Zxid(u64::MAX)] {
        let (mut leader, mut history) = leader(|_| {});
        promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
        acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
        let mut out = Vec::new();
        acks_into(&mut leader, &mut history, LinkId(2), zxid, &mut out);
        let why = CloseLearner::Unproposed { sid: ServerId(2), zxid, last: Zxid::new(4, 7) };
        assert!(
            out.iter().any(|output| matches!(output, LeaderOutput::Close(_, closed) if *closed == why)),
            "{out:?}"
        );
        assert_eq!(leader.committed(), Zxid::new(4, 7));
    }
}

/// The newest proposal may be acknowledged, and the one after it not; what was acknowledged before stays committed.
#[test]
fn acknowledges_one_more_than_is_proposed() {
    let (mut leader, mut history) = leader(|_| {});
    promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
    acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
    let mut batch = Batch::default();
    (1..=2).for_each(|counter| batch.put(Zxid::new(5, counter), |out| out.push(0)));
    let batch = Arc::new(batch);
    let mut out = Vec::new();
    leader.propose(batch.iter(), &mut out);
    history.push(batch);
    leader.durable(Zxid::new(5, 2));
    acks_into(&mut leader, &mut history, LinkId(2), Zxid::new(5, 2), &mut out);
    assert!(!out.iter().any(|output| matches!(output, LeaderOutput::Close(..))), "{out:?}");
    assert_eq!(leader.committed(), Zxid::new(5, 2));
    acks_into(&mut leader, &mut history, LinkId(2), Zxid::new(5, 3), &mut out);
    let why = CloseLearner::Unproposed { sid: ServerId(2), zxid: Zxid::new(5, 3), last: Zxid::new(5, 2) };
    assert!(
        out.iter().any(|output| matches!(output, LeaderOutput::Close(_, closed) if *closed == why)),
        "{out:?}"
    );
    assert_eq!(leader.committed(), Zxid::new(5, 2));
}

/// NEWLEADER cannot be acknowledged before it was sent: the learner does not have what comes before it, and would make
/// the quorum.
#[test]
fn acknowledges_newleader_too_early() {
    let (mut leader, _) = leader(|_| {});
    // More than its connection holds, so that NEWLEADER has to wait.
    let mut history = History::new(Zxid::new(4, 1));
    for counter in 2..=7 {
        let mut batch = Batch::default();
        batch.put(Zxid::new(4, counter), |out| out.resize(out.len() + (2 << 20), 0));
        history.push(Arc::new(batch));
    }
    let mut out = Vec::new();
    leader.accepted(LinkId(2), 0, &mut out);
    let mut bytes = Vec::new();
    let info = LearnerInfo::bytes(ServerId(2), PROTOCOL_VERSION_CUMULATIVE, 0);
    put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
    put_ack_epoch(&mut bytes, Zxid::new(4, 1), 4);
    leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
    acks_into(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0), &mut out);
    let why = CloseLearner::Unexpected(PacketType::ACK.0);
    assert!(
        out.iter().any(|output| matches!(output, LeaderOutput::Close(_, closed) if *closed == why)),
        "{out:?}"
    );
    assert!(!leader.is_established());
}

/// A leader never sends the commit of what no quorum has.
#[test]
#[should_panic(expected = "committed is 0x400000007")]
fn commits_what_is_not_committed() {
    let (mut leader, mut history) = leader(|_| {});
    promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
    acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
    let mut batch = Batch::default();
    batch.put(Zxid::new(5, 1), |out| out.push(0));
    let batch = Arc::new(batch);
    leader.propose(batch.iter(), &mut Vec::new());
    history.push(batch);
    leader.commit(Zxid::new(5, 1), &history, &mut Vec::new());
}

/// This server's disk cannot have what was never proposed.
#[test]
#[should_panic(expected = "durable is 0x500000001, proposed 0x400000007")]
fn durable_beyond_what_is_proposed() {
    let (mut leader, _) = leader(|_| {});
    leader.durable(Zxid::new(5, 1));
}

/// A learner whose log ends before the history begins gets what the log holds, if the log goes back so far; while
/// the log is asked, and while bytes move, its silence is not held against it.
#[test]
fn found_in_the_log() {
    for floor in [None, Some(Zxid::new(4, 2)), Some(Zxid::new(4, 1))] {
        let (mut leader, mut history) = leader(|_| {});
        leader.accepted(LinkId(2), 0, &mut Vec::new());
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        let info = LearnerInfo::bytes(ServerId(2), PROTOCOL_VERSION, 0);
        put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
        put_ack_epoch(&mut bytes, Zxid::new(4, 2), 4);
        leader.received(LinkId(2), &bytes, 0, &mut history, &mut out);
        let asks = |output: &LeaderOutput| matches!(output, LeaderOutput::FindInLog(LinkId(2), last) if *last == Zxid::new(4, 2));
        assert!(out.iter().any(asks), "{out:?}");
        out.clear();
        leader.found(LinkId(2), floor, 5_000, &mut history, &mut out);
        let is_image = out.iter().any(|output| matches!(output, LeaderOutput::Image(_)));
        let kind = packets(&mut out, LinkId(2)).first().map(|(kind, _)| *kind);
        match floor {
            None => assert!(is_image && kind.is_none()),
            Some(zxid) if zxid == Zxid::new(4, 2) => assert_eq!(kind, Some(PacketType::DIFF)),
            Some(_) => assert_eq!(kind, Some(PacketType::TRUNC)),
        }
    }
}

/// A follower of ZooKeeper's that comes while commits wait for a sync to be confirmed hears of each once: at a
/// second time it would end its process.
#[test]
fn one_commit_each() {
    let (mut leader, mut history) = leader(|_| {});
    promise(&mut leader, &mut history, LinkId(2), PROTOCOL_VERSION_CUMULATIVE);
    acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 0));
    assert!(leader.is_established());
    let mut batch = Batch::default();
    (1..=3).for_each(|counter| batch.put(Zxid::new(5, counter), |out| out.push(0)));
    let batch = Arc::new(batch);
    leader.propose(batch.iter(), &mut Vec::new());
    history.push(batch);
    leader.durable(Zxid::new(5, 3));
    acks(&mut leader, &mut history, LinkId(2), Zxid::new(5, 3));
    assert_eq!(leader.committed(), Zxid::new(5, 3));

    let mut out = Vec::new();
    leader.commit(Zxid::new(5, 1), &history, &mut out);
    out.extend(promise(&mut leader, &mut history, LinkId(3), PROTOCOL_VERSION));
    leader.commit(Zxid::new(5, 2), &history, &mut out);
    leader.commit(Zxid::new(5, 3), &history, &mut out);
    let got = packets(&mut out, LinkId(3));
    let of = |wanted| {
        let zxids = got.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, zxid)| *zxid);
        zxids.collect::<Vec<_>>()
    };
    let each: Vec<_> = (1..=3).map(|counter| Zxid::new(5, counter)).collect();
    assert_eq!(of(PacketType::PROPOSAL), each);
    assert_eq!(of(PacketType::COMMIT), each);
}

/// A leader of five that is established by followers 2 and 3, which are zkfast's, and 4, which is ZooKeeper's own.
fn leader_of_five() -> (Leader, History) {
    let (mut leader, mut history) = leader(|membership| membership.configs = five_voters());
    for (sid, version) in
        [(2, PROTOCOL_VERSION_CUMULATIVE), (3, PROTOCOL_VERSION_CUMULATIVE), (4, PROTOCOL_VERSION)]
    {
        let mut bytes = Vec::new();
        let info = LearnerInfo::bytes(ServerId(sid as i64), version, 0);
        put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(4, 0), &info);
        leader.accepted(LinkId(sid), 0, &mut Vec::new());
        leader.received(LinkId(sid), &bytes, 0, &mut history, &mut Vec::new());
    }
    for sid in 2..=4 {
        let mut bytes = Vec::new();
        put_ack_epoch(&mut bytes, Zxid::new(4, 7), 4);
        leader.received(LinkId(sid), &bytes, 0, &mut history, &mut Vec::new());
    }
    (2..=4).for_each(|sid| acks(&mut leader, &mut history, LinkId(sid), Zxid::new(5, 0)));
    assert!(leader.is_established());
    (leader, history)
}

/// Proposes the next txn, which is on the disks of the leader and of these followers, and announced.
fn commit_one(leader: &mut Leader, history: &mut History, counter: u32, sids: &[u64]) {
    let zxid = Zxid::new(5, counter);
    let mut batch = Batch::default();
    batch.put(zxid, |out| out.push(0));
    let batch = Arc::new(batch);
    leader.propose(batch.iter(), &mut Vec::new());
    history.push(batch);
    leader.durable(zxid);
    sids.iter().for_each(|sid| acks(leader, history, LinkId(*sid), zxid));
    leader.commit(zxid, history, &mut Vec::new());
    assert_eq!(leader.announced(), zxid);
}

/// The follower answers the newest ping.
fn answer_ping(leader: &mut Leader, history: &mut History, link: u64) {
    let mut bytes = Vec::new();
    put_with(&mut bytes, PacketType::PING, Zxid(u64::MAX), &[]);
    leader.received(LinkId(link), &bytes, 0, history, &mut Vec::new());
}

/// Who is told by COMMITANDACTIVATE, and of which leader.
fn told(out: &[LeaderOutput]) -> Vec<(u64, ServerId)> {
    let mut told = Vec::new();
    for output in out {
        let LeaderOutput::Send(link, bytes) = output else { continue };
        let mut stream = PacketStream::default();
        stream.feed(bytes);
        while let Some(packet) = stream.next_packet().expect("well formed") {
            if packet.kind == PacketType::COMMITANDACTIVATE {
                told.push((link.0, read_activation(packet.data).expect("a leader").0));
            }
        }
    }
    told
}

/// A leader hands over once the next leader is at work and has all that was proposed, and not before. ZooKeeper's own learners
/// are told nothing.
#[test]
fn hands_over_to_one_that_has_all() {
    let (mut leader, mut history) = leader_of_five();
    commit_one(&mut leader, &mut history, 1, &[2, 4]);
    let mut out = Vec::new();
    assert_eq!(leader.begin_hand_over(Some(ServerId(3)), 0, &mut out), Ok(ServerId(3)));
    assert_eq!(leader.begin_hand_over(None, 0, &mut out), Ok(ServerId(3)), "it is under way");
    let other = leader.begin_hand_over(Some(ServerId(2)), 0, &mut out);
    assert_eq!(other, Err(HandOverError::UnderWay(ServerId(3))));
    out.clear();
    let go_on = |leader: &mut Leader, out: &mut Vec<LeaderOutput>| {
        (0..3).for_each(|_| assert_eq!(leader.go_on_handing_over(true, 10, out), None));
        (leader.is_barred(), told(out))
    };
    assert_eq!(go_on(&mut leader, &mut out), (false, vec![]), "its disk is behind");
    acks(&mut leader, &mut history, LinkId(3), Zxid::new(5, 1));
    assert_eq!(go_on(&mut leader, &mut out), (false, vec![]), "it may be dead");
    answer_ping(&mut leader, &mut history, 3);
    assert_eq!(leader.go_on_handing_over(false, 10, &mut out), None);
    assert!(leader.is_barred());
    // What was checked before comes still.
    commit_one(&mut leader, &mut history, 2, &[2, 4]);
    assert_eq!(leader.go_on_handing_over(true, 10, &mut out), None);
    assert_eq!(told(&out), []);
    acks(&mut leader, &mut history, LinkId(3), Zxid::new(5, 2));
    assert_eq!(leader.go_on_handing_over(false, 10, &mut out), None);
    assert_eq!(told(&out), [], "something is not announced");
    assert!(!leader.has_handed_over());
    assert_eq!(go_on(&mut leader, &mut out), (true, vec![(2, ServerId(3)), (3, ServerId(3))]));
    assert!(leader.has_handed_over() && leader.is_leaving_for(ServerId(3)));
    // It stays until they have gone.
    assert_eq!(leader.has_left(), None);
    leader.closed(LinkId(3));
    assert_eq!(leader.has_left(), None);
    leader.closed(LinkId(2));
    assert_eq!(leader.has_left(), Some(LostLead::HandedOver(ServerId(3))));
}

/// A leader that has handed over proposes nothing: its followers have another one.
#[test]
#[should_panic(expected = "a leader proposes after it has handed over")]
fn proposes_after_a_hand_over() {
    let (mut leader, mut history) = leader_of_five();
    leader.begin_hand_over(Some(ServerId(2)), 0, &mut Vec::new()).expect("in step");
    answer_ping(&mut leader, &mut history, 2);
    (0..2).for_each(|_| _ = leader.go_on_handing_over(true, 0, &mut Vec::new()));
    assert!(leader.has_handed_over());
    commit_one(&mut leader, &mut history, 1, &[2, 3]);
}

/// Who may lead next, and who does where none is asked for: the one that has the most.
#[test]
fn who_leads_next() {
    let asked = |to: Option<i64>| {
        let (mut leader, mut history) = leader_of_five();
        commit_one(&mut leader, &mut history, 1, &[2, 4]);
        leader.begin_hand_over(to.map(ServerId), 0, &mut Vec::new())
    };
    assert_eq!(asked(None), Ok(ServerId(2)));
    assert_eq!(asked(Some(3)), Ok(ServerId(3)));
    assert_eq!(asked(Some(1)), Err(HandOverError::LeadsAlready(ServerId(1))));
    assert_eq!(asked(Some(4)), Err(HandOverError::OfJava(ServerId(4))));
    assert_eq!(asked(Some(5)), Err(HandOverError::NotInStep(ServerId(5))));
    assert_eq!(asked(Some(9)), Err(HandOverError::Unknown(ServerId(9))));
    let (mut leader, _) = leader_of_five();
    [2, 3].into_iter().for_each(|link| leader.closed(LinkId(link)));
    assert_eq!(leader.begin_hand_over(None, 0, &mut Vec::new()), Err(HandOverError::NoFollower));
}

/// A hand-over to a server that goes, or is too slow, comes to nothing, once; writes go on.
#[test]
fn hand_overs_that_come_to_nothing() {
    for (is_gone, at_ms) in [(true, 10), (false, 2_000)] {
        let (mut leader, mut history) = leader_of_five();
        leader.begin_hand_over(Some(ServerId(3)), 0, &mut Vec::new()).expect("in step");
        if is_gone {
            leader.closed(LinkId(3));
        }
        let (mut out, to) = (Vec::new(), ServerId(3));
        assert_eq!(leader.go_on_handing_over(true, at_ms, &mut out), Some(GivenUp { to, is_gone }));
        assert_eq!(leader.go_on_handing_over(true, at_ms, &mut out), None);
        assert!(!leader.is_handing_over() && out.is_empty());
        commit_one(&mut leader, &mut history, 1, &[2, 4]);
    }
}

/// A leader whose epoch is spent hands over to itself, where all voters in step know what that means.
#[test]
fn hands_over_to_itself() {
    let (mut leader, mut history) = leader_of_five();
    assert!(!leader.begin_renewal(0, &mut Vec::new()), "server 4 is ZooKeeper's own");
    leader.closed(LinkId(4));
    commit_one(&mut leader, &mut history, 1, &[2, 3]);
    assert!(leader.begin_renewal(0, &mut Vec::new()));
    let mut out = Vec::new();
    assert_eq!(leader.go_on_handing_over(true, 10, &mut out), None);
    assert!(!leader.is_barred(), "no quorum has answered");
    [2, 3].into_iter().for_each(|link| answer_ping(&mut leader, &mut history, link));
    (0..2).for_each(|_| assert_eq!(leader.go_on_handing_over(true, 10, &mut out), None));
    assert_eq!(told(&out), [(2, ServerId(1)), (3, ServerId(1))]);
    // A learner that is still here does not keep it long from going where a quorum has left.
    leader.closed(LinkId(2));
    leader.tick(20, &history, &mut out);
    assert!(!out.iter().any(|output| matches!(output, LeaderOutput::Lost(_))));
    leader.closed(LinkId(3));
    assert_eq!(leader.has_left(), Some(LostLead::HandedOver(ServerId(1))));
}
