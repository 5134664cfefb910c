//! Log lines of an ensemble for its operator: each change is logged once, at the right level, with its fields.

use super::CALM_KEYS;
use super::cluster::{Cluster, START_TIMEOUT, Shape};
use crate::harness::{Kind, alone, wait_for};
use crate::log_lines::Line;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A server's log, read up to some line.
struct Log {
    sid: usize,
    /// Lines that were read.
    seen: usize,
}

impl Log {
    /// The lines that the server writes from now on.
    fn from_now(cluster: &Cluster, sid: usize) -> Self {
        Self { sid, seen: cluster.whole_output(sid).lines().count() }
    }

    /// Waits for the next line with the message `what` and these fields, and reads on after it.
    fn next(&mut self, cluster: &Cluster, level: &str, what: &str, fields: &[(&str, &str)]) -> Line {
        let (at, line) = wait_for(START_TIMEOUT, || {
            let output = cluster.whole_output(self.sid);
            let lines = output.lines().enumerate().skip(self.seen);
            let mut lines = lines.filter_map(|(at, line)| Some((at, Line::of_text(line)?)));
            let found = lines.find(|(_, line)| {
                line.what == what && fields.iter().all(|(key, value)| line.field(key) == Some(value))
            });
            found.ok_or_else(|| format!("server {} does not log {what:?} {fields:?}:\n{output}", self.sid))
        });
        assert_eq!(line.level, level, "{line:?}");
        self.seen = at + 1;
        line
    }
}

/// The leader logs a follower that is lost and comes back, and a quorum that is lost and comes back.
#[test]
fn losses_and_returns_are_logged() {
    let _alone = alone();
    let shapes: [Shape; 3] = std::array::from_fn(|_| Shape::voter(Kind::Zkfast));
    let mut cluster = Cluster::start(&shapes, CALM_KEYS, None);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    let followers: Vec<usize> = cluster.sids().filter(|sid| *sid != leader).collect();
    let [one, two] = [followers[0], followers[1]].map(|sid| sid.to_string());
    let mut log = Log { sid: leader, seen: 0 };
    let whole = [("voter", "true"), ("in_step", "3"), ("of", "3"), ("may_lose_one", "true")];
    log.next(&cluster, "INFO", "leading", &[]);
    log.next(&cluster, "INFO", "learner in step", &whole);

    let mut log = Log::from_now(&cluster, leader);
    cluster.kill(followers[0]);
    let narrow = [("sid", &*one), ("voter", "true"), ("in_step", "2"), ("may_lose_one", "false")];
    let lost = log.next(&cluster, "WARN", "learner lost", &narrow);
    assert!(lost.field("why").is_some_and(|why| !why.is_empty()), "{lost:?}");
    cluster.spawn(followers[0]);
    log.next(&cluster, "INFO", "learner in step", &[&[("sid", &*one)], &whole[..]].concat());

    for sid in &followers {
        cluster.kill(*sid);
    }
    log.next(&cluster, "WARN", "looking for a leader", &[("served", "true")]);
    let mut places = Vec::new();
    for sid in [&one, &two] {
        let mut log = Log { sid: leader, seen: log.seen };
        let line = log.next(&cluster, "WARN", "unreachable", &[("sid", &**sid), ("port", "election")]);
        assert!(line.field("why").is_some_and(|why| !why.is_empty()), "{line:?}");
        places.push(line.field("address").expect("an address").to_owned());
    }
    assert_ne!(places[0], places[1]);
    let mut log = Log::from_now(&cluster, leader);
    for sid in &followers {
        cluster.spawn(*sid);
    }
    cluster.wait_until_all_serve(START_TIMEOUT);
    for (sid, place) in [&one, &two].into_iter().zip(&places) {
        let mut log = Log { sid: leader, seen: log.seen };
        log.next(&cluster, "INFO", "reachable again", &[("sid", &**sid), ("address", &**place)]);
    }
    let leads = cluster.wait_for_leader(START_TIMEOUT) == leader;
    log.next(&cluster, "INFO", if leads { "leading" } else { "following" }, &[]);
}

/// A server's quorum port (`which` is 0) or election port (1), from its configuration file.
fn port_of(cluster: &Cluster, sid: usize, which: usize) -> SocketAddr {
    let file = cluster.directory().join(format!("server-{sid}/zoo.cfg"));
    let text = fs::read_to_string(file).expect("its file");
    let key = format!("server.{sid}=");
    let line = text.lines().find_map(|line| line.strip_prefix(&key)).expect("its line");
    let fields: Vec<&str> = line.split([':', ';']).collect();
    format!("{}:{}", fields[0], fields[1 + which]).parse().expect("an address")
}

/// A server logs the address of each connection to its quorum or election port that does not come from a member.
#[test]
fn strangers_are_logged() {
    let _alone = alone();
    let shapes: [Shape; 3] = std::array::from_fn(|_| Shape::voter(Kind::Zkfast));
    let mut cluster = Cluster::start(&shapes, CALM_KEYS, None);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    let connect_as_stranger = |which, bytes: &[u8]| {
        let mut stream = TcpStream::connect(port_of(&cluster, leader, which)).expect("a listening port");
        stream.write_all(bytes).expect("room for a few bytes");
        let peer = stream.local_addr().expect("an address").to_string();
        // Waits until the server closes the connection.
        let _ = stream.read_to_end(&mut Vec::new());
        peer
    };
    let mut log = Log::from_now(&cluster, leader);
    let peer = connect_as_stranger(1, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    let ended = "connection to the election port ended";
    log.next(&cluster, "WARN", ended, &[("peer", &peer)]);
    let peer = connect_as_stranger(1, &(leader as i64).to_be_bytes());
    let line = log.next(&cluster, "WARN", ended, &[("peer", &peer)]);
    assert!(line.field("why").is_some_and(|why| why.contains("myid")), "{line:?}");
    let peer = connect_as_stranger(0, &[0xff; 64]);
    log.next(&cluster, "WARN", "learner turned away", &[("peer", &peer)]);
}
