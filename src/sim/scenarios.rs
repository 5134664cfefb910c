//! Histories by script: bugs that servers of this kind have had, each of which must not be one of ours.
//!
//! The table in `src/docs/reliability.md` says which is which. Every script ends with [`Script::end`]: faults end, the
//! ensemble works again, and all servers hold what was committed and nothing else.

use super::client::{Client, Phase};
use super::clients::create;
use super::cluster::Cluster;
use super::event::{Event, Machine};
use super::process::Process;
use super::settings::Settings;
use super::stop::{Step, Stop};
use crate::client::session::{Body, Reply, Request};
use crate::replica::Standing;

const SECOND: u64 = 1_000_000;

struct Script(Cluster);

impl std::ops::Deref for Script {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl std::ops::DerefMut for Script {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.0
    }
}

fn get(path: &str) -> Request {
    Request::GetData { path: path.into(), watch: false }
}

fn sync() -> Request {
    Request::Sync { path: b"/".to_vec() }
}

/// How long no txn was committed over each hand-over, in microseconds.
#[derive(Default)]
struct Gaps(Vec<u64>);

impl Gaps {
    fn note(&mut self, cluster: &Cluster) {
        self.0.push(cluster.counts.longest_gap_us);
    }

    /// Views, and with them answers, are late now and then: nine of ten are counted.
    fn check(mut self) {
        self.0.sort_unstable();
        let nine_of_ten = self.0[self.0.len() * 9 / 10];
        assert!(nine_of_ten < 60_000, "{:?}", self.0);
    }
}

impl Script {
    /// Five servers, and a client of each that writes; all have a session.
    fn busy(seed: u64, epoch_zxids: Option<u32>) -> Self {
        let settings = Settings {
            clients: 5,
            act_us: 10_000,
            tick_ms: 1_000,
            keep_replies: false,
            flushes_hang: false,
            epoch_zxids,
            ..Settings::calm(5)
        };
        let mut script = Self(Cluster::new(seed, settings));
        for (number, client) in script.clients.iter_mut().enumerate() {
            client.server = Some(number);
        }
        script.wait("an ensemble", |cluster| cluster.leader().is_some() && cluster.is_settled());
        script.wait("sessions", |cluster| {
            cluster.clients.iter().all(|client| client.phase == Phase::Connected && client.acknowledged > 0)
        });
        script
    }

    /// The round of each server's last election, and how often each client has lost its connection.
    fn rounds(&self) -> Vec<i64> {
        let rounds = self.servers.iter().map(|server| {
            server.process.as_ref().and_then(|process| process.replica().election_round()).unwrap_or_default()
        });
        rounds.chain(self.clients.iter().map(|client| client.lost as i64)).collect()
    }

    /// Asserts that no election was held since, and no client has lost its connection.
    fn goes_on(&self, rounds: &[i64]) {
        assert_eq!(self.rounds(), rounds);
    }
}

impl Script {
    /// An ensemble at work.
    fn new(seed: u64, settings: Settings) -> Self {
        let mut script = Self(Cluster::new(seed, settings));
        script.wait("an ensemble", |cluster| cluster.leader().is_some() && cluster.is_settled());
        script
    }

    fn check(&self) {
        assert_eq!(self.oracle.violation, None);
    }

    fn pass(&mut self, for_us: u64) {
        self.run(for_us);
        self.check();
    }

    /// Waits until something is so.
    fn wait(&mut self, what: &str, done: impl Fn(&Cluster) -> bool) {
        let is_done = self.run_until(20 * SECOND, done);
        self.check();
        assert!(is_done, "waited for {what}");
    }

    fn wait_for_leader(&mut self, but: usize) -> usize {
        self.wait("another leader", |cluster| cluster.leader().is_some_and(|leader| leader != but));
        self.leader().expect("waited for")
    }

    fn the_leader(&self) -> usize {
        self.leader().expect("an ensemble at work")
    }

    fn others(&self, server: usize) -> Vec<Machine> {
        (0..self.servers.len()).filter(|other| *other != server).collect()
    }

    /// A client that asks what it is told, at one server.
    fn client(&mut self, server: usize) -> usize {
        let number = self.clients.len();
        let mut client = Client::new(number);
        (client.is_quiet, client.server) = (true, Some(server));
        self.clients.push(client);
        self.net.after(1, Event::Client(number));
        self.wait("a session", |cluster| {
            cluster.clients[number].session.is_some() && cluster.clients[number].pending() == 0
        });
        number
    }

    /// Asks, and waits for the answer; again where the connection ended.
    fn call(&mut self, client: usize, request: Request) -> Reply {
        loop {
            let is_connected = |cluster: &Cluster| cluster.clients[client].phase == Phase::Connected;
            self.wait("a connection", is_connected);
            let before = self.clients[client].replies.len();
            self.ask(client, request.clone());
            let answer = |cluster: &Cluster| {
                let replies = &cluster.clients[client].replies[before..];
                replies.iter().find(|(asked, _)| *asked == request).map(|(_, reply)| reply.clone())
            };
            self.wait("an answer", |cluster| answer(cluster).is_some() || !is_connected(cluster));
            if let Some(reply) = answer(self) {
                return reply;
            }
        }
    }

    fn write(&mut self, client: usize, count: usize) {
        for _ in 0..count {
            let reply = self.call(client, create(b"/q/n", vec![7; 50], 2));
            assert_eq!(reply.header.err, 0);
        }
    }

    /// Three servers, of which one was stopped before so many writes. What the leader has in memory begins with its own
    /// start, or `history_txns` before.
    fn with_one_late(seed: u64, history_txns: u32, how: Stop, writes: usize) -> (Self, usize) {
        let mut script = Self::new(seed, Settings::calm(3));
        script.history_txns = Some(history_txns);
        let leader = script.the_leader();
        let [late, other] = script.others(leader)[..] else { unreachable!("three servers") };
        script.stop(late, how);
        let client = script.client(leader);
        script.write(client, writes);
        for server in [leader, other] {
            script.stop(server, Stop::Killed);
            script.start_again(server);
        }
        script.wait("a leader", |cluster| cluster.leader().is_some());
        (script, late)
    }

    fn start_again(&mut self, server: usize) {
        self.net.after(1, Event::Start(server));
        self.wait("a start", move |cluster| cluster.servers[server].process.is_some());
    }

    fn end(mut self) -> Cluster {
        self.settle();
        self.check();
        self.0
    }
}

/// A follower that lacks 20 txns is stopped at each step of getting them, by DIFF and by SNAP, and then is needed for
/// the quorum: nothing is missing. (Items 1, 2, 5, 8, 9, 22.)
#[test]
fn stopped_at_each_step_of_a_sync() {
    for (seed, step) in Step::ALL.into_iter().enumerate() {
        for how in [Stop::Killed, Stop::PowerOff] {
            for history_txns in [0, 500] {
                let (mut script, late) = Script::with_one_late(seed as u64, history_txns, how, 20);
                script.stop_at = Some((late, step, how));
                script.net.after(1, Event::Start(late));
                script.pass(SECOND);
                let leader = script.the_leader();
                script.stop_at = None;
                script.stop(leader, Stop::PowerOff);
                script.net.after(1, Event::Start(late));
                script.wait("a leader without it", |cluster| cluster.leader().is_some());
                script.end();
            }
        }
    }
}

/// A tree that comes in is cut off by a loss of power after every operation of the disk: the server starts with what it
/// had, or with all of it. (Item 9.)
#[test]
fn power_lost_while_a_snapshot_comes_in() {
    let mut snaps = 0;
    for operations in 0..24 {
        let (mut script, late) = Script::with_one_late(operations, 0, Stop::Killed, 10);
        script.start_again(late);
        script.servers[late].disk.power_off_after(operations);
        script.pass(SECOND);
        snaps += script.end().counts.syncs.get("SNAP").copied().unwrap_or(0);
    }
    // Where all of it was there, the rest came as a DIFF.
    assert!(snaps > 5, "{snaps} snapshots");
}

/// A leader dies while its tree is on the way: the follower keeps what it had until another one syncs it. (Item 8.)
#[test]
fn leader_dies_behind_its_tree() {
    for seed in 0..10 {
        let (mut script, late) = Script::with_one_late(seed, 0, Stop::Killed, 10);
        let leader = script.the_leader();
        script.stop_at = Some((leader, Step::ImageSent, Stop::PowerOff));
        script.start_again(late);
        script.wait("its end", move |cluster| cluster.servers[leader].process.is_none());
        script.wait("another leader", |cluster| cluster.leader().is_some());
        script.stop(late, Stop::Killed);
        script.start_again(late);
        script.end();
    }
}

/// Proposals of a leader that is cut off reach no follower. Its proposals are in its log, and were never committed: when it comes
/// back it forgets them, also on disk, and whatever snapshots it takes. (Items 10, 13, 15.)
#[test]
fn proposals_of_a_lonely_leader_are_forgotten() {
    for (seed, how) in [(1, Stop::Killed), (2, Stop::PowerOff), (3, Stop::Killed), (4, Stop::PowerOff)] {
        let settings = Settings { snap_count: 4, ..Settings::calm(3) };
        let mut script = Script::new(seed, settings);
        let leader = script.the_leader();
        let others = script.others(leader);
        let client = script.client(leader);
        script.write(client, 5);
        script.cut(Cluster::between(&[leader], &others), 3 * SECOND);
        for _ in 0..5 {
            script.ask(client, create(b"/q/phantom", Vec::new(), 0));
        }
        script.pass(SECOND / 2);
        if seed > 2 {
            script.stop(leader, how);
        }
        let next = script.wait_for_leader(leader);
        let writer = script.client(next);
        script.write(writer, 5);
        if seed > 2 {
            script.start_again(leader);
        }
        script.wait("it to follow", move |cluster| cluster.standing(leader) == Some(Standing::Following));
        assert!(script.counts.syncs.contains_key("TRUNC"), "{:?}", script.counts.syncs);
        script.stop(leader, how);
        script.start_again(leader);
        script.wait("it to follow", move |cluster| cluster.standing(leader) == Some(Standing::Following));
        let cluster = script.end();
        assert!(cluster.oracle.model.at(b"/q/phantom", cluster.oracle.last()).is_none());
    }
}

/// A truncation is stopped at each of its steps. (Items 13, 14.)
#[test]
fn stopped_at_each_step_of_a_truncation() {
    for (seed, step) in Step::ALL.into_iter().enumerate() {
        let mut script = Script::new(seed as u64, Settings::calm(3));
        let leader = script.the_leader();
        let others = script.others(leader);
        let client = script.client(leader);
        script.write(client, 3);
        script.cut(Cluster::between(&[leader], &others), SECOND);
        for _ in 0..3 {
            script.ask(client, create(b"/q/phantom", Vec::new(), 0));
        }
        script.pass(100_000);
        script.stop(leader, Stop::PowerOff);
        script.wait_for_leader(leader);
        script.stop_at = Some((leader, step, Stop::PowerOff));
        script.net.after(SECOND, Event::Start(leader));
        script.pass(3 * SECOND);
        script.end();
    }
}

/// A follower has the tree of a leader that died before it led, with txns that were never committed. The next leader wants
/// them forgotten, and the follower's log does not go back behind that tree: it takes the whole tree of this leader,
/// without being started again, and be it that the leader needs it for its quorum. Stopped at any step of that, it does
/// so at its next start.
#[test]
fn a_truncation_behind_the_tree_that_came() {
    let steps = Step::ALL.into_iter().map(Some).chain([None]);
    let (mut stopped, mut snaps) = (0, 0);
    for (seed, step) in steps.enumerate() {
        for is_needed in [true, false] {
            let (mut script, late) = Script::with_one_late(seed as u64, 0, Stop::Killed, 10);
            let leader = script.the_leader();
            let other = 3 - leader - late;
            let client = script.client(leader);
            script.cut(Cluster::between(&[leader], &[other]), SECOND / 2);
            for _ in 0..3 {
                script.ask(client, create(b"/q/phantom", Vec::new(), 0));
            }
            script.pass(SECOND / 20);
            script.stop(leader, Stop::Killed);
            script.stop(other, Stop::Killed);
            // It gets all that the leader has, and acknowledges none of it.
            script.stop_at = Some((late, Step::Installed, Stop::PowerOff));
            script.start_again(leader);
            script.start_again(late);
            script.wait("its end", move |cluster| cluster.servers[late].process.is_none());
            let started = script.servers[late].incarnation;
            script.stop(leader, Stop::Killed);
            script.stop_at = step.map(|step| (late, step, Stop::PowerOff));
            script.start_again(other);
            script.start_again(late);
            if !is_needed {
                script.start_again(leader);
            }
            if step.is_some() {
                script.pass(SECOND);
                stopped += u32::from(script.servers[late].process.is_none());
                script.stop_at = None;
                script.net.after(1, Event::Start(late));
            }
            let follows = move |cluster: &Cluster| cluster.standing(late) == Some(Standing::Following);
            if is_needed {
                script.wait("it to follow", follows);
            }
            let cluster = script.end();
            assert!(cluster.oracle.model.at(b"/q/phantom", cluster.oracle.last()).is_none() || !is_needed);
            assert!(cluster.servers.iter().all(|server| server.repairs == 0));
            assert!(step.is_some() || !is_needed || cluster.servers[late].incarnation == started + 1);
            snaps += cluster.counts.syncs.get("SNAP").copied().unwrap_or(0);
        }
    }
    assert!(stopped > 8 && snaps > 8, "stopped {stopped} times, {snaps} trees");
}

/// A follower that was just brought up to date leads, and brings up an older one. (Items 6, 12.)
#[test]
fn a_fresh_follower_leads_and_brings_up_others() {
    for seed in 0..6 {
        let mut script = Script::new(seed, Settings::calm(5));
        let leader = script.the_leader();
        let others = script.others(leader);
        let (late, oldest) = (others[3], others[0]);
        script.stop(oldest, Stop::PowerOff);
        let client = script.client(leader);
        script.write(client, 5);
        script.stop(late, Stop::PowerOff);
        script.write(client, 5);
        script.start_again(late);
        script.wait("it to follow", move |cluster| cluster.standing(late) == Some(Standing::Following));
        script.write(client, 5);
        script.stop(leader, Stop::PowerOff);
        script.wait_for_leader(leader);
        script.start_again(oldest);
        script.end();
    }
}

/// Followers and an observer come and go under load: what is proposed between their sync and UPTODATE reaches them,
/// once. (Items 3, 4, 18, 19, 20, 21.)
#[test]
fn joining_under_load() {
    for seed in 0..12 {
        let settings = Settings {
            observers: 1,
            clients: 3,
            act_us: 3_000,
            pipeline: 12,
            delay_us: (200, 6_000),
            keep_replies: false,
            ..Settings::calm(3)
        };
        let mut script = Script::new(seed, settings);
        if seed % 2 == 0 {
            script.history_txns = Some(0);
        }
        for turn in 0..6 {
            let server = [3, 0, 1, 2][turn % 4];
            script.stop(server, if seed % 3 == 0 { Stop::PowerOff } else { Stop::Killed });
            script.pass(100_000);
            script.net.after(1, Event::Start(server));
            script.pass(400_000);
        }
        script.end();
    }
}

/// Everybody loses power again and again right after a promise is durable, or right before: no epoch has two leaders.
/// (Items 22, 23, 25.)
#[test]
fn promises_survive() {
    for seed in 0..16 {
        let mut script = Script::new(seed, Settings { clients: 1, ..Settings::calm(3) });
        for turn in 0..6 {
            let step = if (seed + turn) % 2 == 0 { Step::EpochsSaved } else { Step::SaveEpochs };
            let server = (seed as usize + turn as usize) % 3;
            for other in 0..3 {
                script.stop(other, Stop::PowerOff);
                script.net.after(1 + other as u64 * 1000, Event::Start(other));
            }
            script.stop_at = Some((server, step, Stop::PowerOff));
            script.pass(SECOND / 2);
            script.net.after(1, Event::Start(server));
            script.pass(SECOND / 2);
        }
        script.end();
    }
}

/// The counter of an epoch's zxids comes to its end: a new epoch begins in time. (Item 24.)
#[test]
fn the_counter_ends() {
    let mut script = Script::new(1, Settings::calm(3));
    let leader = script.the_leader();
    let epoch = script.oracle.epochs();
    script.servers[leader].process.as_mut().expect("it leads").driver.replica.spend_zxids(30);
    let client = script.client(leader);
    for _ in 0..60 {
        script.call(client, create(b"/q/n", Vec::new(), 2));
    }
    let counters = script.oracle.committed.keys().map(|zxid| zxid.counter());
    assert!(counters.clone().any(|counter| counter > u32::MAX / 2), "the old epoch was at its end");
    assert!(counters.max().is_some_and(|counter| counter < u32::MAX - 1000));
    assert!(script.oracle.epochs() > epoch);
    script.end();
}

/// The same without an election: all come again to the same leader, and no client loses its connection.
#[test]
fn the_counter_ends_without_an_election() {
    let mut gaps = Gaps::default();
    for seed in 0..10 {
        let mut script = Script::busy(seed, Some(300));
        let (leader, rounds) = (script.the_leader(), script.rounds());
        for _ in 0..3 {
            let (epochs, renewals) = (script.oracle.epochs(), script.counts.renewals);
            script.wait("the epoch's end", move |cluster| cluster.counts.renewals > renewals);
            script.counts.longest_gap_us = 0;
            script.wait("another epoch", |cluster| {
                cluster.oracle.epochs() > epochs && cluster.leader().is_some()
            });
            assert_eq!(script.the_leader(), leader);
            script.pass(SECOND / 20);
            gaps.note(&script);
        }
        script.goes_on(&rounds);
        script.end();
    }
    gaps.check();
}

/// A leader hands over, again and again, while clients write through every server: no election is held, no client loses its
/// connection or waits long, and the one that was asked for leads.
#[test]
fn a_hand_over_that_clients_do_not_notice() {
    let mut gaps = Gaps::default();
    for seed in 0..20 {
        let mut script = Script::busy(seed, None);
        let rounds = script.rounds();
        for turn in 0..6 {
            let leader = script.the_leader();
            let to = script.others(leader)[turn % 4];
            let to = (turn % 2 == 0).then_some(to as i64 + 1);
            script.counts.longest_gap_us = 0;
            script.hand_over(leader, to);
            script.wait("the hand-over", move |cluster| cluster.counts.hand_overs > turn as u64);
            let next = script.the_leader();
            assert!(next != leader && to.is_none_or(|to| to == next as i64 + 1));
            script.pass(SECOND / 20);
            gaps.note(&script);
            script.pass(SECOND / 5);
        }
        script.goes_on(&rounds);
        script.end();
    }
    gaps.check();
}

/// A leader is asked to hand over to a server that is not to be had: it says why, or gives up, and leads on.
#[test]
fn a_hand_over_that_comes_to_nothing() {
    let mut script = Script::busy(3, None);
    let (leader, rounds) = (script.the_leader(), script.rounds());
    let others = script.others(leader);
    let (dead, slow) = (others[0], others[1]);
    script.stop(dead, Stop::Killed);
    script.pass(SECOND / 10);
    script.hand_over(leader, Some(dead as i64 + 1));
    script.hand_over(others[2], None);
    script.pass(SECOND / 10);
    // It acknowledges nothing, and is in step until it is missed.
    script.stall(slow, 3 * SECOND);
    script.hand_over(leader, Some(slow as i64 + 1));
    script.pass(3 * SECOND);
    assert_eq!((script.counts.hand_overs, script.leader()), (0, Some(leader)));
    script.start_again(dead);
    script.pass(SECOND);
    script.hand_over(leader, Some(dead as i64 + 1));
    script.wait("the hand-over", |cluster| cluster.counts.hand_overs == 1);
    assert_eq!(script.the_leader(), dead);
    let round = |script: &Script| script.rounds()[leader];
    assert_eq!(round(&script), rounds[leader]);
    script.end();
}

/// The next leader, or the one before, fails at any moment of a hand-over: an election is held, and nothing is lost.
#[test]
fn servers_fail_during_a_hand_over() {
    for seed in 0..60 {
        let mut script = Script::busy(seed, None);
        let leader = script.the_leader();
        let next = script.others(leader)[seed as usize % 4];
        script.hand_over(leader, Some(next as i64 + 1));
        script.pass(seed * 500);
        let fails = if seed % 3 == 0 { leader } else { next };
        script.stop(fails, Stop::PowerOff);
        script.wait("a leader", |cluster| cluster.leader().is_some());
        script.start_again(fails);
        script.end();
    }
}

/// A leader that is heard and does not hear gives up, and so does one that hears and is not heard; neither tells
/// anybody anything that is not so. (Item 26.)
#[test]
fn a_leader_cut_off_one_way() {
    for (seed, is_heard) in [(1, true), (2, false)] {
        let mut script = Script::new(seed, Settings::calm(3));
        let leader = script.the_leader();
        let others = script.others(leader);
        let client = script.client(leader);
        let mut wires = Cluster::between(&[leader], &others);
        wires.retain(|(from, _)| (*from == leader) != is_heard);
        script.cut(wires, 30 * SECOND);
        script.ask(client, sync());
        let next = script.wait_for_leader(leader);
        assert!(script.net.now_us < 6 * SECOND, "{}", script.net.now_us);
        let writer = script.client(next);
        script.write(writer, 3);
        script.wait("the old one to give up", move |cluster| {
            cluster.standing(leader) != Some(Standing::Leading)
        });
        script.end();
    }
}

/// A leader stands still over a whole election. When it goes on it answers no sync, acknowledges no write and ends no
/// session by what it knew. (Item 29; sync under a pause.)
#[test]
fn a_leader_that_was_paused_knows_nothing() {
    for seed in 0..10 {
        let mut script = Script::new(seed, Settings::calm(3));
        let leader = script.the_leader();
        let (at_old, elsewhere) = (script.client(leader), script.others(leader)[0]);
        let at_new = script.client(elsewhere);
        script.stall(leader, 4 * SECOND);
        // All of this waits in the old leader's sockets, and is read before it hears of anything.
        for _ in 0..3 {
            script.ask(at_old, sync());
            script.ask(at_old, get("/r0"));
            script.ask(at_old, create(b"/q/old", Vec::new(), 2));
        }
        script.wait_for_leader(leader);
        let ended = script.oracle.model.ended_count();
        let reply = script.call(at_new, Request::SetData { path: b"/r0".into(), data: None, version: -1 });
        assert_eq!(reply.header.err, 0);
        script.pass(3 * SECOND);
        let session = script.clients[at_new].session.map(|(id, ..)| id).expect("it has one");
        assert!(script.oracle.model.is_alive(session));
        assert!(
            script.oracle.model.ended_count() <= ended + 1,
            "only the old leader's client may have expired"
        );
        script.end();
    }
}

/// A follower that does not read delays no other server. (Item 28.)
#[test]
fn a_follower_that_does_not_read() {
    let mut script = Script::new(1, Settings::calm(3));
    let leader = script.the_leader();
    let slow = script.others(leader)[0];
    let client = script.client(leader);
    script.stall(slow, 3 * SECOND);
    let begun = script.net.now_us;
    script.write(client, 100);
    assert!(script.net.now_us - begun < 2 * SECOND, "{}", script.net.now_us - begun);
    script.end();
}

/// Flushes take longer than elections: what an old role has on its way to the disk is there before the next one
/// begins. (Items 16, 17.)
#[test]
fn slow_disks_and_quick_elections() {
    for seed in 0..10 {
        let settings = Settings { clients: 3, flush_us: (1_000, 400_000), ..Settings::calm(3) };
        let mut script = Script::new(seed, settings);
        for _ in 0..5 {
            script.pass(300_000);
            for number in script.net.connection_numbers() {
                if script.net.random.one_in(3) {
                    script.net.break_connection(number);
                }
            }
        }
        script.end();
    }
}

/// A flush fails, or the disk is full, on a leader and on a follower: the process ends, and is back by itself once
/// there is room. (Items 16, 37, 41.)
#[test]
fn disks_that_fail() {
    for seed in 0..12 {
        let mut script = Script::new(seed, Settings { clients: 3, ..Settings::calm(3) });
        let leader = script.the_leader();
        let server = if seed % 2 == 0 { leader } else { script.others(leader)[0] };
        script.pass(300_000);
        let disk = script.servers[server].disk.clone();
        match seed % 3 {
            0 => disk.fail_flush_after(seed),
            1 => disk.set_blocks_max(Some(disk.blocks() + 1)),
            _ => disk.power_off_after(3 + seed),
        }
        script.pass(2 * SECOND);
        for server in 0..3 {
            script.stop(server, Stop::PowerOff);
        }
        script.end();
    }
}

/// A bit flips on a server's disk: it says so, does not vote with what it has, and takes everything from its leader.
/// (Items 35, 47.)
#[test]
fn damage_is_repaired() {
    let mut repairs = 0;
    for seed in 0..30 {
        let mut script = Script::new(seed, Settings { clients: 3, disk_faults: true, ..Settings::calm(3) });
        let server = seed as usize % 3;
        script.pass(SECOND);
        script.stop(server, Stop::Killed);
        script.rots(server);
        script.start_again(server);
        script.pass(SECOND);
        let cluster = script.end();
        repairs += cluster.servers[server].repairs;
    }
    assert!(repairs > 5, "{repairs} starts found damage");
}

/// Power is lost everywhere in the first moments of an ensemble: it starts all the same. (Items 35, 37, 42.)
#[test]
fn power_lost_at_the_beginning() {
    for seed in 0..60 {
        let mut script = Script(Cluster::new(seed, Settings { clients: 1, ..Settings::calm(3) }));
        script.pass(seed * 10_000);
        for server in 0..3 {
            script.stop(server, Stop::PowerOff);
        }
        script.pass(10_000);
        script.end();
    }
}

/// A session ends while servers are away, and while one is being brought up: its ephemerals are gone everywhere.
/// (Items 32, 33.)
#[test]
fn ephemerals_go_with_their_session_everywhere() {
    for history_txns in [0, 500] {
        let mut script = Script::new(3, Settings::calm(3));
        script.history_txns = Some(history_txns);
        let leader = script.the_leader();
        let [late, other] = script.others(leader)[..] else { unreachable!("three servers") };
        let owner = script.client(other);
        assert_eq!(script.call(owner, create(b"/e/mine", Vec::new(), 1)).header.err, 0);
        script.stop(late, Stop::Killed);
        // The create and the end of the session race.
        script.ask(owner, create(b"/e/last", Vec::new(), 1));
        script.ask(owner, Request::CloseSession);
        script.ask(owner, create(b"/e/too-late", Vec::new(), 1));
        script.wait("the end", |cluster| cluster.oracle.model.ended_count() > 0);
        script.clients[owner].server = Some(other);
        for server in [leader, other] {
            script.stop(server, Stop::Killed);
            script.start_again(server);
        }
        script.start_again(late);
        let cluster = script.end();
        let last = cluster.oracle.last();
        for path in [&b"/e/mine"[..], b"/e/last", b"/e/too-late"] {
            assert!(cluster.oracle.model.at(path, last).is_none());
        }
    }
}

/// A client with watches is away while what it watches changes, and comes back to another server: each watch that is
/// due fires once, before anything newer is read. (Items 39, 40.)
#[test]
fn watches_over_a_reconnect() {
    for seed in 0..10 {
        let mut script = Script::new(seed, Settings::calm(3));
        let (watcher, writer) = (script.client(0), script.client(1));
        for path in ["/r0", "/r1", "/d/0"] {
            script.call(watcher, Request::GetData { path: path.into(), watch: true });
            script.call(watcher, Request::Exists { path: path.into(), watch: true });
        }
        script.call(watcher, Request::GetChildren2 { path: b"/q".into(), watch: true });
        let events = script.clients[watcher].events;
        script.clients[watcher].server = Some(2);
        script.hang_up(watcher);
        script.call(writer, Request::SetData { path: b"/r0".into(), data: None, version: -1 });
        script.call(writer, create(b"/d/0", Vec::new(), 0));
        script.write(writer, 1);
        script.wait("the session", move |cluster| {
            let client = &cluster.clients[watcher];
            client.pending() == 0 && client.phase == Phase::Connected
        });
        script.call(watcher, sync());
        script.call(watcher, get("/r0"));
        assert_eq!(script.clients[watcher].events - events, 3);
        script.call(writer, Request::SetData { path: b"/r1".into(), data: None, version: -1 });
        script.call(watcher, sync());
        script.call(watcher, get("/r1"));
        assert_eq!(script.clients[watcher].events - events, 4);
        script.end();
    }
}

/// A follower loses its leader's connection with requests on the way, and finds the same leader again: it does none of
/// them twice, and shows nothing that is not committed.
#[test]
fn back_to_the_same_leader() {
    for seed in 0..40 {
        let settings = Settings {
            clients: 4,
            act_us: 2_000,
            pipeline: 16,
            flush_us: (200, 20_000),
            ..Settings::calm(3)
        };
        let mut script = Script::new(seed, settings);
        for _ in 0..5 {
            script.pass(60_000);
            let numbers = script.net.connection_numbers();
            for number in numbers {
                if script.net.random.one_in(8) {
                    script.net.break_connection(number);
                }
            }
        }
        script.end();
    }
}

/// Requests and syncs are on the way when the leader dies: the next one does those that were not done, once and in
/// order, and the clients of followers notice nothing but the time.
#[test]
fn requests_outlive_their_leader() {
    let (mut held, mut lost) = (0, 0);
    for seed in 0..20 {
        let mut script = Script::new(seed, Settings::calm(3));
        let leader = script.the_leader();
        let client = script.client(script.others(leader)[0]);
        script.write(client, 1);
        for n in 0..6 {
            script.ask(client, if n % 3 == 1 { sync() } else { create(b"/q/held", Vec::new(), 2) });
        }
        script.pass(500 + 300 * seed);
        script.stop(leader, Stop::Killed);
        script.wait_for_leader(leader);
        script.pass(SECOND / 2);
        let client = &script.clients[client];
        let created = client
            .replies
            .iter()
            .filter(|(_, reply)| matches!(&reply.body, Body::Path(path) if path.starts_with(b"/q/held")));
        match created.count() {
            4 => held += 1,
            _ => lost += 1,
        }
        script.end();
    }
    assert!(held > lost, "{held} clients kept their requests, {lost} did not");
}

/// A client goes to another server with a request of its former connection still on the way; then the leader dies. What
/// it asked first is not done behind what it asked later.
#[test]
fn a_moved_client_is_not_overtaken_by_its_past() {
    for seed in 0..20 {
        let mut script = Script::new(seed, Settings::calm(5));
        let leader = script.the_leader();
        let others = script.others(leader);
        let (from, to) = (others[0], others[1]);
        let client = script.client(from);
        // The former server hears its leader, and is not heard.
        script.cut([(from, leader)].into(), SECOND / 2);
        script.ask(client, create(b"/q/first", Vec::new(), 2));
        script.pass(5_000);
        script.clients[client].server = Some(to);
        script.hang_up(client);
        script.wait("the session", move |cluster| cluster.clients[client].phase == Phase::Connected);
        script.write(client, 2);
        script.stop(leader, Stop::PowerOff);
        script.wait_for_leader(leader);
        script.pass(SECOND);
        script.end();
    }
}

/// A client gives one server up and goes to another, whose word reaches the leader first: the client is overtaken by
/// its own past, and that while the leader waits for the session's former connection to fall silent. It keeps its
/// session, which lives.
#[test]
fn a_client_is_not_told_that_its_session_is_gone_while_it_lives() {
    for seed in 0..10 {
        let mut script = Script::new(seed, Settings::calm(3));
        let leader = script.the_leader();
        let [given_up, taken] = script.others(leader)[..] else { unreachable!("three servers") };
        let client = script.client(leader);
        let session = script.clients[client].session.map(|(id, ..)| id);
        // What comes meanwhile, the leader takes up in one go.
        script.stall(leader, SECOND / 4);
        script.cut([(given_up, leader)].into(), SECOND / 5);
        for server in [given_up, taken] {
            script.clients[client].server = Some(server);
            script.hang_up(client);
            script.pass(SECOND / 15);
        }
        script.pass(SECOND);
        script.wait("its session", |cluster| cluster.clients[client].phase == Phase::Connected);
        script.write(client, 2);
        assert_eq!(script.clients[client].session.map(|(id, ..)| id), session);
        script.end();
    }
}

/// Whatever a leader has proposed and its busy disk does not have yet is no difference between servers: the comparison
/// at the end of a history waits for it.
#[test]
fn a_leader_ahead_of_its_log_is_not_compared() {
    let (mut compared, mut ahead) = (0, 0);
    for seed in 0..5 {
        let mut script = Script::new(seed, Settings { flush_us: (200, 100_000), ..Settings::calm(3) });
        let leader = script.the_leader();
        let client = script.client(leader);
        for _ in 0..10 {
            script.wait("a connection", |cluster| cluster.clients[client].phase == Phase::Connected);
            script.ask(client, create(b"/q/n", Vec::new(), 2));
            script.pass(5_000);
            // Its last request arrives, and it does not wait for the answer.
            script.ask(client, create(b"/q/n", Vec::new(), 2));
            script.pass(5_000);
            script.hang_up(client);
            for _ in 0..100 {
                script.pass(2_000);
                let is_ahead = |process: &Process| !process.replica().is_idle();
                ahead += usize::from(script.servers[leader].process.as_ref().is_some_and(is_ahead));
                if script.is_quiet() {
                    script.compare();
                    compared += 1;
                }
            }
        }
        script.end();
    }
    assert!(compared > 100 && ahead > 100, "{compared} comparisons, ahead {ahead} times");
}

/// Observers that outnumber the voters by far are served by the followers: the leader has no more to do for them, and when
/// a follower goes its observers go to others. All see what was committed, whatever fails meanwhile.
#[test]
fn a_hundred_observers_of_followers_that_fail() {
    let observers = 100;
    let settings = Settings {
        observers,
        observer_masters: true,
        clients: 3,
        views: 1,
        act_us: 100_000,
        keep_replies: false,
        ..Settings::calm(3)
    };
    let mut script = Script::new(1, settings);
    for turn in 0..4 {
        let leader = script.the_leader();
        let observing = |cluster: &Cluster| {
            (3..3 + observers).all(|server| cluster.standing(server) == Some(Standing::Observing))
        };
        script.wait("all observers", observing);
        assert!(
            script.servers[leader]
                .process
                .as_ref()
                .is_some_and(|process| !process.replica().serves_observers()),
            "the leader serves observers"
        );
        // A follower, then the leader, then a follower that hangs, then an observer.
        let others = script.others(leader);
        let server = [others[0], leader, others[1], 3 + turn][turn];
        match turn {
            2 => script.stall(server, 2 * SECOND),
            _ => {
                script.stop(server, [Stop::Killed, Stop::PowerOff][turn % 2]);
                script.net.after(SECOND / 2, Event::Start(server));
            }
        }
        script.pass(SECOND);
        script.wait("a leader", |cluster| cluster.leader().is_some());
    }
    script.end();
}

/// An observer that takes nothing for a while costs its follower what is kept for it, and no client a write; what it missed it
/// gets from the follower's log.
#[test]
fn an_observer_that_lags_behind_its_follower() {
    let settings = Settings { observers: 2, observer_masters: true, ..Settings::calm(3) };
    let mut script = Script::new(3, settings);
    script.history_txns = Some(0);
    let leader = script.the_leader();
    let client = script.client(leader);
    script.write(client, 5);
    script.stop(4, Stop::PowerOff);
    script.stall(3, SECOND / 2);
    // More than followers keep in memory.
    script.write(client, 150);
    script.start_again(4);
    script.wait("both observers", |cluster| {
        [3, 4].iter().all(|server| cluster.standing(*server) == Some(Standing::Observing))
    });
    let reader = script.client(4);
    script.call(reader, sync());
    let cluster = script.end();
    assert!(cluster.counts.log_reads > 0, "nothing was read from a log");
}
