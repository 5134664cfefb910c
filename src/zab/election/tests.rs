//! One port against peers that the test plays, and a few servers in the simulated net.

use super::super::notification::{put_hello, read_frame};
use super::simulation::{Net, Stop, ensemble};
use super::*;

/// A port and the other ends of its connections, held by the test.
struct Bench {
    port: ElectionPort,
    now: u64,
    links: u64,
    out: Vec<Output>,
}

impl Bench {
    fn new(me: i64, participants: &[i64], observers: &[i64], round: i64) -> Self {
        let ensemble = ensemble(participants, observers);
        let configs = Configurations::new(Configuration::new(ensemble).unwrap());
        let port = ElectionPort::new(configs, ServerId(me), "zk:3888", round);
        Self { port, now: 1_000, links: 0, out: Vec::new() }
    }

    fn look(&mut self, peer_epoch: u32, zxid: Zxid) {
        self.port.look_for_leader(
            self.now,
            Some(Candidate { zxid, peer_epoch: Epoch(peer_epoch) }),
            &mut self.out,
        );
    }

    /// A connection from outside, introduced as that server's.
    fn call_from(&mut self, sid: i64) -> LinkId {
        let link = self.accept();
        let mut hello = Vec::new();
        put_hello(&mut hello, ServerId(sid), "peer:3888");
        self.port.received(self.now, link, &hello, &mut self.out);
        link
    }

    fn accept(&mut self) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        self.port.accepted(self.now, link, &mut self.out);
        link
    }

    fn say(&mut self, link: LinkId, state: ServerState, vote: Vote) {
        let mut bytes = Vec::new();
        put_notification(&mut bytes, state, vote.round, Some(&vote), b"version=0", None);
        self.port.received(self.now, link, &bytes, &mut self.out);
    }

    /// That server looks for a leader and votes for no server.
    fn say_none(&mut self, link: LinkId, round: i64) {
        let mut bytes = Vec::new();
        put_notification(&mut bytes, ServerState::Looking, round, None, b"version=0", None);
        self.port.received(self.now, link, &bytes, &mut self.out);
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms;
        self.port.tick(self.now, &mut self.out);
    }

    fn elected(&mut self) -> Option<(ServerState, Vote)> {
        let found = self.out.iter().find_map(|output| match output {
            Output::Elected { state, vote, .. } => Some((*state, *vote)),
            _ => None,
        });
        self.out.clear();
        found
    }

    /// The attempt to call that server, connected.
    fn connect(&mut self, to: i64) -> LinkId {
        let is = |output: &Output| matches!(output, Output::Connect { sid, .. } if sid.0 == to);
        let Some(Output::Connect { link, .. }) = self.out.iter().find(|output| is(output)) else {
            panic!("{to} is not called: {:?}", self.out);
        };
        let link = *link;
        self.port.connected(self.now, link, &mut self.out);
        link
    }

    /// What was said on that connection, hello aside.
    fn said(&mut self, link: LinkId) -> Vec<(ServerState, Vote)> {
        let sent = self.out.iter().filter_map(|output| match output {
            Output::Send { link: to, bytes } if *to == link => Some(bytes),
            _ => None,
        });
        let vote = |bytes: &Vec<u8>| {
            let (frame, _) = read_frame(bytes).ok()??;
            let n = super::super::notification::Notification::read(frame).ok()?;
            Some((n.state, n.vote?))
        };
        sent.filter_map(vote).collect()
    }

    fn closes(&self, link: LinkId) -> bool {
        self.out.contains(&Output::Close { link })
    }
}

fn vote(leader: i64, zxid: Zxid, round: i64, peer_epoch: i64) -> Vote {
    Vote { leader: ServerId(leader), zxid, round, peer_epoch }
}

const Z: Zxid = Zxid::new(1, 1);
use ServerState::{Following, Leading, Looking, Observing};

/// Servers that start together elect the best log, and none waits: all have voted.
#[test]
fn the_best_log_leads_at_once() {
    let mut net = Net::new(1, ensemble(&[1, 2, 3, 4, 5], &[]));
    net.candidate(2, 1, Zxid::new(1, 9));
    net.candidate(1, 1, Zxid::new(1, 9));
    net.candidate(5, 1, Zxid::new(1, 8));
    net.start_all();
    let took = net.until(1_000, |net| net.leader() == Some(2));
    assert!(took < 60, "{took} ms");
}

/// The order is epoch, then zxid, then sid: a longer log of an older epoch does not win.
#[test]
fn epoch_goes_before_zxid() {
    let mut net = Net::new(2, ensemble(&[1, 2, 3], &[]));
    net.candidate(3, 4, Zxid::new(4, 900));
    net.candidate(1, 5, Zxid::new(4, 1));
    net.candidate(2, 5, Zxid::new(4, 1));
    net.start_all();
    net.until(1_000, |net| net.leader() == Some(2));
}

/// ZOOKEEPER-2164, 3828: peers without power, on which attempts hang, cost the 200 ms wait and no more; peers whose
/// ports refuse cost nothing.
#[test]
fn dead_peers_do_not_delay_an_election() {
    for (how, limit) in [(Stop::Killed, 60), (Stop::PowerOff, FINALIZE_MS + 60)] {
        let mut net = Net::new(3, ensemble(&[1, 2, 3, 4, 5], &[]));
        for sid in [4, 5] {
            net.start(sid);
            net.stop(sid, how);
        }
        for sid in [1, 2, 3] {
            net.start(sid);
        }
        let took = net.until(1_000, |net| net.leader() == Some(3));
        assert!(took < limit, "{took} ms");
    }
}

/// When the leader is killed, the others have a new one as soon as they notice; that they notice one after the other
/// does not cost a repetition.
#[test]
fn failover_waits_for_nobody() {
    for seed in 0..20 {
        let mut net = Net::new(seed, ensemble(&[1, 2, 3, 4, 5], &[]));
        net.start_all();
        net.until(1_000, |net| net.leader() == Some(5));
        net.run(500);
        net.stop(5, Stop::Killed);
        let took = net.until(1_000, |net| net.leader().is_some_and(|leader| leader != 5));
        assert!(took < 80, "{took} ms with seed {seed}");
    }
}

/// ZOOKEEPER-1732: a server that comes late joins although the others joined their leader in different rounds and
/// with different zxids; leader and epoch are the same.
#[test]
fn joins_by_leader_and_epoch() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(9, Zxid::new(9, 9));
    let (two, three) = (bench.call_from(2), bench.call_from(3));
    bench.say(three, Leading, vote(3, Zxid::new(4, 8), 7, 5));
    assert_eq!(bench.elected(), None, "a leader alone is no quorum");
    bench.say(two, Following, vote(3, Zxid::new(2, 1), 2, 5));
    let (state, vote) = bench.elected().unwrap();
    assert_eq!((state, vote.leader, vote.peer_epoch, vote.round), (Following, ServerId(3), 5, 7));
}

/// ZOOKEEPER-1818: votes for one leader in different epochs are no quorum, until the one that lags is up to date;
/// against a server so old that it sends no version only the leader counts.
#[test]
fn inconsistent_epochs() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let (two, three) = (bench.call_from(2), bench.call_from(3));
    bench.say(three, Leading, vote(3, Z, 7, 5));
    bench.say(two, Following, vote(3, Z, 7, 4));
    assert_eq!(bench.elected(), None);
    bench.say(two, Following, vote(3, Z, 7, 5));
    assert_eq!(bench.elected().map(|(state, _)| state), Some(Following));

    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let (two, three) = (bench.call_from(2), bench.call_from(3));
    bench.say(three, Leading, vote(3, Z, 7, 5));
    let mut old = vec![0, 0, 0, 40, 0, 0, 0, 1];
    for field in [3, Z.to_wire(), 7, 4] {
        old.extend(field.to_be_bytes());
    }
    old.extend([0; 4]);
    bench.port.received(bench.now, two, &old, &mut bench.out);
    assert_eq!(bench.elected().map(|(state, _)| state), Some(Following));
}

/// A quorum that still follows a leader which does not answer itself that it leads is not joined.
#[test]
fn followers_of_a_dead_leader() {
    let mut bench = Bench::new(1, &[1, 2, 3, 4, 5], &[], 0);
    bench.look(1, Z);
    for sid in [2, 3, 4] {
        let link = bench.call_from(sid);
        bench.say(link, Following, vote(5, Z, 7, 5));
    }
    bench.wait(1_000);
    assert_eq!(bench.elected(), None);
    let five = bench.call_from(5);
    bench.say(five, Leading, vote(5, Z, 7, 5));
    assert_eq!(bench.elected().map(|(state, _)| state), Some(Following));
}

/// What a settled peer said is forgotten with its connection: leader and follower must be there together.
#[test]
fn old_answers_are_forgotten() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let (two, three) = (bench.call_from(2), bench.call_from(3));
    bench.say(three, Leading, vote(3, Z, 7, 5));
    bench.port.closed(bench.now, three, &mut bench.out);
    bench.say(two, Following, vote(3, Z, 7, 5));
    assert_eq!(bench.elected(), None);
}

/// A leader that restarts does not take those who have not noticed for voters of its new round; in its own round it
/// does.
#[test]
fn a_restarted_leader_is_not_elected_by_the_past() {
    let mut bench = Bench::new(3, &[1, 2, 3], &[], 5 << 20);
    bench.look(5, Z);
    let one = bench.connect(1);
    let two = bench.connect(2);
    for link in [one, two] {
        bench.say(link, Following, vote(3, Z, 1, 5));
    }
    bench.wait(1_000);
    assert_eq!(bench.elected(), None);
    bench.say(one, Following, vote(3, Z, (5 << 20) + 1, 5));
    assert_eq!(bench.elected().map(|(state, _)| state), Some(Leading));
}

/// A quorum is not enough while a voter may still have a better log: 200 ms, or until that voter is heard or refuses.
#[test]
fn the_wait_for_a_better_vote() {
    let mut bench = Bench::new(2, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let one = bench.connect(1);
    bench.say(one, Looking, vote(2, Z, 1, 1));
    bench.wait(FINALIZE_MS - 1);
    assert_eq!(bench.elected(), None);
    bench.wait(1);
    assert_eq!(bench.elected().map(|(state, _)| state), Some(Leading));

    let mut bench = Bench::new(2, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let one = bench.connect(1);
    bench.say(one, Looking, vote(2, Z, 1, 1));
    let three = bench.call_from(3);
    bench.say(three, Looking, vote(3, Zxid::new(1, 2), 1, 1));
    let (state, vote) = bench.elected().expect("all have voted, 2 and 3 are a quorum");
    assert_eq!((state, vote.leader), (Following, ServerId(3)));
}

/// A candidate that is gone before it is elected is not waited for: the others vote anew.
#[test]
fn a_candidate_that_dies() {
    let mut net = Net::new(4, ensemble(&[1, 2, 3], &[]));
    net.delay_max = 1;
    net.candidate(3, 9, Zxid::new(9, 9));
    net.start_all();
    net.run(5);
    net.stop(3, Stop::Killed);
    let took = net.until(4_000, |net| net.leader() == Some(2));
    assert!(took < 1_500, "{took} ms: at most one attempt to follow it");
}

/// A server in an earlier round gets the round and the better vote at once; one in a later round is joined.
#[test]
fn rounds_meet() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 10);
    bench.look(1, Z);
    let two = bench.call_from(2);
    bench.out.clear();
    bench.say(two, Looking, vote(2, Z, 3, 1));
    assert_eq!(bench.said(two), [(Looking, vote(1, Z, 11, 1))]);
    bench.out.clear();
    bench.say(two, Looking, vote(2, Zxid::ZERO, 20, 1));
    assert_eq!(bench.said(two), [(Looking, vote(1, Z, 20, 1))]);
    bench.out.clear();
    bench.say(two, Looking, vote(2, Zxid::ZERO, 20, 1));
    assert_eq!(bench.said(two), [(Looking, vote(1, Z, 20, 1))], "it may have missed it");
}

/// A server with a leader answers those who look, voters and observers, with what it was last set to.
#[test]
fn settled_servers_answer() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[4], 0);
    bench.look(1, Z);
    let (three, four) = (bench.call_from(3), bench.call_from(4));
    bench.port.set_state(Following, vote(2, Z, 6, 8), &mut bench.out);
    bench.out.clear();
    bench.say(three, Looking, vote(3, Z, 99, 1));
    bench.say_none(four, 99);
    assert_eq!(bench.said(three), [(Following, vote(2, Z, 6, 8))]);
    assert_eq!(bench.said(four), [(Following, vote(2, Z, 6, 8))]);
    bench.out.clear();
    bench.say(three, Following, vote(2, Z, 6, 8));
    assert_eq!(bench.said(three), [], "who has a leader is not answered");
}

/// An observer finds the leader, is not counted for one, and gets the next one without asking again.
#[test]
fn an_observer_finds_its_leader() {
    let mut net = Net::new(5, ensemble(&[1, 2, 3], &[4, 5]));
    for sid in [4, 5, 1] {
        net.start(sid);
    }
    net.run(3_000);
    assert!(net.nodes.values().all(|node| node.vote.is_none()), "{}", net.describe());
    net.start(2);
    let took = net.until(1_000, |net| net.leader() == Some(2));
    assert!(took < 1_100, "{took} ms, of them up to one second until the observers call again");
    assert_eq!(net.nodes[&4].state, Some(Observing));
    net.start(3);
    net.until(1_000, |net| net.leader() == Some(2));
    net.stop(2, Stop::Killed);
    net.until(1_500, |net| net.leader() == Some(3));
}

/// Four of nine elect where they are two of three groups; five of nine do not where they are one.
#[test]
fn hierarchical_quorums() {
    let mut grouped = ensemble(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]);
    grouped.hierarchical = true;
    grouped.groups = (1..=9).map(|sid| (sid, (sid - 1) / 3)).collect();
    let mut net = Net::new(6, grouped);
    for sid in [1, 2, 3, 4, 7] {
        net.start(sid);
    }
    net.run(3_000);
    assert!(net.nodes.values().all(|node| node.vote.is_none()), "{}", net.describe());
    for sid in [3, 7] {
        net.stop(sid, Stop::Killed);
    }
    net.start(5);
    let took = net.until(2_000, |net| net.leader() == Some(5));
    assert!(took < 500, "{took} ms");
}

/// A server of weight 0 is not elected, however good its log, and follows who is.
#[test]
fn weight_zero_does_not_lead() {
    let mut weighted = ensemble(&[1, 2, 3], &[]);
    weighted.hierarchical = true;
    weighted.groups = (1..=3).map(|sid| (sid, 1)).collect();
    weighted.weights.insert(3, 0);
    let mut net = Net::new(7, weighted);
    net.candidate(3, 9, Zxid::new(9, 9));
    net.start_all();
    let took = net.until(1_000, |net| net.leader() == Some(2));
    assert!(took < 60, "{took} ms");
}

/// A voter with a damaged log is in no quorum, delays no other voter and observes the leader the others elect.
#[test]
fn a_damaged_voter_only_listens() {
    let mut net = Net::new(8, ensemble(&[1, 2, 3], &[]));
    net.nodes.get_mut(&3).unwrap().own = None;
    net.start(3);
    net.start(1);
    net.run(3_000);
    assert!(net.nodes.values().all(|node| node.vote.is_none()), "{}", net.describe());
    net.start(2);
    let took = net.until(1_000, |net| net.nodes[&2].state == Some(Leading));
    assert!(took < 60, "{took} ms");
    net.until(300, |net| net.nodes[&3].state == Some(Observing));
    net.until(1_000, |net| net.nodes[&3].state == Some(Following));
}

/// A follower learns that the leader it was to follow has gone on to a later round.
#[test]
fn a_leader_that_looks_is_left() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let two = bench.call_from(2);
    bench.port.set_state(Following, vote(2, Z, 6, 8), &mut bench.out);
    bench.say(two, Looking, vote(2, Z, 6, 8));
    assert!(!bench.out.iter().any(|output| matches!(output, Output::LeaderLooks { .. })), "an old message");
    bench.say(two, Looking, vote(3, Z, 7, 8));
    assert!(bench.out.contains(&Output::LeaderLooks { round: 7 }));
}

/// A leader learns who looks for it, and with what epoch; a follower does not.
#[test]
fn who_looks_for_the_leader() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let three = bench.call_from(3);
    for (state, leader, looks) in [(Following, 2, false), (Leading, 1, true)] {
        bench.port.set_state(state, vote(leader, Z, 6, 8), &mut bench.out);
        bench.say(three, Looking, vote(3, Z, 6, 9));
        assert_eq!(
            bench.out.contains(&Output::Looks { sid: ServerId(3), peer_epoch: Some(9) }),
            looks,
            "{state:?}"
        );
    }
}

/// A single voter elects itself within the call.
#[test]
fn alone() {
    let mut bench = Bench::new(1, &[1], &[], 0);
    bench.look(1, Z);
    assert_eq!(bench.elected(), Some((Leading, vote(1, Z, 1, 1))));
}

/// The larger sid hangs up on the smaller one's call and calls back; the smaller one waits for that.
#[test]
fn the_larger_sid_calls() {
    let mut bench = Bench::new(2, &[1, 2, 3], &[], 0);
    let call = bench.call_from(1);
    assert!(bench.closes(call));
    let back = bench.connect(1);
    bench.out.clear();
    bench.look(1, Z);
    assert_eq!(bench.said(back).len(), 1, "the vote is sent over what is there");
    let hello = bench.connect(3);
    assert!(bench.said(hello).is_empty() && !bench.closes(hello), "only hello: {:?}", bench.out);
    bench.port.closed(bench.now, hello, &mut bench.out);
    let three = bench.call_from(3);
    assert_eq!(bench.said(three), [(Looking, vote(2, Z, 1, 1))]);
}

/// Of two connections from the larger sid the newer stays.
#[test]
fn the_newest_connection_stays() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let old = bench.call_from(3);
    let new = bench.call_from(3);
    assert!(bench.closes(old) && !bench.closes(new));
    bench.out.clear();
    bench.say(old, Leading, vote(3, Z, 1, 1));
    bench.port.closed(bench.now, old, &mut bench.out);
    bench.say(new, Looking, vote(3, Z, 1, 1));
    assert!(!bench.said(new).is_empty() || !bench.out.is_empty());
}

/// While a peer is not connected only the newest vote is kept for it.
#[test]
fn one_vote_waits_for_a_connection() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let two = bench.call_from(2);
    bench.say(two, Looking, vote(2, Z, 1, 1));
    bench.say(two, Looking, vote(2, Z, 5, 1));
    let three = bench.call_from(3);
    assert_eq!(bench.said(three), [(Looking, vote(2, Z, 5, 1))]);
}

/// Strangers that send nothing, nonsense, our own sid or a frame without end lose their connection, and there are
/// never more than a limit of them.
#[test]
fn hostile_connections() {
    let mut bench = Bench::new(2, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let silent = bench.accept();
    let http = bench.accept();
    bench.port.received(bench.now, http, b"\xFFET / HTTP/1.1\r\n", &mut bench.out);
    assert!(bench.closes(http));
    let own = bench.call_from(2);
    assert!(bench.closes(own));
    let three = bench.call_from(3);
    bench.port.received(bench.now, three, &[0, 0x10, 0, 0], &mut bench.out);
    assert!(bench.closes(three));
    assert!(!bench.closes(silent));
    bench.wait(5_000);
    assert!(bench.closes(silent));
    bench.out.clear();
    for _ in 0..100 {
        bench.accept();
    }
    let closed = bench.out.iter().filter(|output| matches!(output, Output::Close { .. })).count();
    assert_eq!(closed, 36);
}

/// A frame that holds no vote is ignored, and the next one counts.
#[test]
fn malformed_votes_are_ignored() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let two = bench.call_from(2);
    bench.port.received(bench.now, two, &[0, 0, 0, 1, 7], &mut bench.out);
    bench.say(two, Leading, vote(2, Z, 4, 1));
    let three = bench.call_from(3);
    bench.say(three, Following, vote(2, Z, 4, 1));
    assert_eq!(bench.elected().map(|(_, vote)| vote.leader), Some(ServerId(2)));
}

/// Attempts at a peer that refuses come with growing pauses, up to a second, and at once when a round begins.
#[test]
fn back_off() {
    let mut bench = Bench::new(1, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let mut times = Vec::new();
    for _ in 0..10_000 {
        for output in std::mem::take(&mut bench.out) {
            if let Output::Connect { link, sid, .. } = output {
                if sid == ServerId(2) {
                    times.push(bench.now);
                }
                bench.port.closed(bench.now, link, &mut bench.out);
            }
        }
        bench.wait(1);
    }
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..5], [100, 200, 400, 800, 1_000]);
    assert!(pauses[5..].iter().all(|pause| *pause == 1_000), "{pauses:?}");
    bench.look(1, Z);
    assert!(bench.out.iter().any(|output| matches!(output, Output::Connect { sid: ServerId(2), .. })));
}

/// A voter that is connected and sends nothing, as after a cut that went unnoticed, gets a new connection.
#[test]
fn a_silent_connection_is_opened_anew() {
    let mut bench = Bench::new(3, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let one = bench.connect(1);
    let two = bench.connect(2);
    for _ in 0..SILENT_MS / 100 {
        bench.wait(100);
        bench.say(two, Looking, vote(2, Z, 0, 1));
    }
    bench.out.clear();
    bench.wait(100);
    assert!(bench.closes(one) && !bench.closes(two));
    assert_ne!(bench.connect(1), one);
}

/// Where both sides connected at once, the smaller one's late hello does not end the connection that is there; once
/// that is older, a hello means that the smaller side has lost it.
#[test]
fn both_connect_at_once() {
    let mut bench = Bench::new(2, &[1, 2, 3], &[], 0);
    bench.look(1, Z);
    let one = bench.connect(1);
    let hello = bench.call_from(1);
    assert!(bench.closes(hello) && !bench.closes(one));
    bench.out.clear();
    bench.wait(1_000);
    let hello = bench.call_from(1);
    assert!(bench.closes(hello) && bench.closes(one));
    assert_ne!(bench.connect(1), one);
}

/// Connections that do not belong on the election port are reported: what is no server, the own number, and a second
/// server with the number of one whose connection works.
#[test]
fn who_is_unwelcome() {
    let mut bench = Bench::new(2, &[1, 2, 3], &[], 0);
    let unwelcome = |bench: &mut Bench| -> Vec<Unwelcome> {
        let reported = std::mem::take(&mut bench.out).into_iter();
        reported
            .filter_map(|output| match output {
                Output::Unwelcome { why, .. } => Some(why),
                _ => None,
            })
            .collect()
    };
    let link = bench.accept();
    bench.port.received(bench.now, link, &[0xff; 64], &mut bench.out);
    assert_eq!(unwelcome(&mut bench), [Unwelcome::NoServer]);
    let link = bench.accept();
    bench.port.received(bench.now, link, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", &mut bench.out);
    assert_eq!(unwelcome(&mut bench), [Unwelcome::NoServer]);
    bench.call_from(2);
    assert_eq!(unwelcome(&mut bench), [Unwelcome::OwnSid]);
    // One that comes back is no second one.
    for times in 1..=4 {
        let link = bench.call_from(3);
        bench.say(link, Looking, vote(3, Z, 1, 1));
        bench.wait(1_000);
        let reported = unwelcome(&mut bench);
        let expected = if times > 3 {
            vec![Unwelcome::Twice { sid: ServerId(3), times: times - 1 }]
        } else {
            Vec::new()
        };
        assert_eq!(reported, expected, "after {times}");
    }
    bench.wait(60_000);
    let link = bench.call_from(3);
    bench.say(link, Looking, vote(3, Z, 1, 1));
    assert_eq!(unwelcome(&mut bench), []);
}
