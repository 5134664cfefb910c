//! Faults of servers and network: a seed gives a sequence of faults and pauses.

use super::cluster::{Cluster, START_TIMEOUT};
use crate::harness::Random;
use std::fmt;
use std::time::{Duration, Instant};

/// Which kinds of faults a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// SIGKILL, SIGSTOP and SIGTERM, also one after the other.
    Processes,
    /// Network cuts, and now and then a fault of processes.
    Network,
}

/// The longest pause between two faults.
const CALM_MS: usize = 1200;
/// Shortest and longest duration of a fault. A short one ends before any server gives up its leader, a long one lasts
/// until another server leads. After a duration between the two, a leader that was cut off leads again with all that it
/// wrote alone, and the checks have nothing to find.
const SHORT_MS: (usize, usize) = (200, 1500);
const LONG_MS: (usize, usize) = (3000, 5500);
/// How long a leader is without followers before all are killed: less than `syncLimit`.
const ALONE_MS: usize = 800;

/// One fault, from its beginning to its end.
#[derive(Clone, Debug)]
enum Fault {
    /// SIGKILL of all at once; they start when the fault ends.
    Kill(Vec<usize>),
    /// SIGTERM, a planned stop; the server starts when the fault ends.
    Stop(usize),
    /// SIGKILL and an immediate start.
    Restart(usize),
    /// SIGSTOP; SIGCONT when the fault ends.
    Pause(Vec<usize>),
    /// SIGSTOP of the followers, and after [`ALONE_MS`] SIGKILL of all: some proposals are only on the leader's disk. The
    /// followers start at once, the leader when the fault ends.
    Strand(usize, Vec<usize>),
    /// What the first server of a pair sends to the second is lost.
    Cut(Vec<(usize, usize)>),
}

/// Summary of a sequence of faults.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Number of faults.
    pub faults: usize,
    /// Longest time from the end of a fault until all servers served again, where the run waited for that.
    pub recovery_max: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults, all serve again after at most {:.1?}", self.faults, self.recovery_max)
    }
}

/// Makes faults for `time`, then ends the last one and waits until all servers serve.
pub fn unleash(cluster: &mut Cluster, means: Means, seed: u64, time: Duration) -> Report {
    let mut random = Random(seed);
    let begun = Instant::now();
    let mut report = Report::default();
    while begun.elapsed() < time {
        sleep_ms(100 + random.below(CALM_MS));
        let Some((name, fault)) = draw(cluster, means, &mut random) else { continue };
        let (from, to) = if random.percent(50) { SHORT_MS } else { LONG_MS };
        let duration = from + random.below(to - from);
        eprintln!("{:8.3} s  {name} for {duration} ms", begun.elapsed().as_secs_f64());
        begin(cluster, &fault);
        sleep_ms(duration);
        end(cluster, &fault);
        report.faults += 1;
        // In the other cases the next fault hits an ensemble that still recovers.
        if random.percent(70) {
            report.recovery_max = report.recovery_max.max(cluster.wait_until_all_serve(START_TIMEOUT));
        }
    }
    let recovery = cluster.wait_until_all_serve(START_TIMEOUT);
    report.recovery_max = report.recovery_max.max(recovery);
    eprintln!("{:8.3} s  all faults are over, all servers serve", begun.elapsed().as_secs_f64());
    report
}

fn sleep_ms(ms: usize) {
    std::thread::sleep(Duration::from_millis(ms as u64));
}

/// A random fault for the ensemble in its present state; `None` without a leader.
fn draw(cluster: &mut Cluster, means: Means, random: &mut Random) -> Option<(String, Fault)> {
    let leader = cluster.leader()?;
    let all: Vec<usize> = cluster.sids().collect();
    let others: Vec<usize> = all.iter().copied().filter(|&sid| sid != leader).collect();
    let follower = *random.pick(&others);
    let majority = |random: &mut Random| {
        let mut sids = all.clone();
        while sids.len() > all.len() / 2 + 1 {
            sids.remove(random.below(sids.len()));
        }
        sids
    };
    let cut = |from: &[usize], to: &[usize]| -> Vec<(usize, usize)> {
        from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to))).collect()
    };
    let both = |a: &[usize], b: &[usize]| [cut(a, b), cut(b, a)].concat();
    let but_follower: Vec<usize> = all.iter().copied().filter(|&sid| sid != follower).collect();
    let processes = means == Means::Processes || random.percent(20);
    Some(if processes {
        match random.below(13) {
            0..2 => (format!("kill leader {leader}"), Fault::Kill(vec![leader])),
            2 => (format!("restart leader {leader}"), Fault::Restart(leader)),
            3 => (format!("kill follower {follower}"), Fault::Kill(vec![follower])),
            4..6 => (format!("pause leader {leader}"), Fault::Pause(vec![leader])),
            6 => (format!("pause follower {follower}"), Fault::Pause(vec![follower])),
            7 => {
                let sids = majority(random);
                (format!("kill majority {sids:?}"), Fault::Kill(sids))
            }
            8 => (format!("stop leader {leader}"), Fault::Stop(leader)),
            9 => {
                let sids = majority(random);
                (format!("pause majority {sids:?}"), Fault::Pause(sids))
            }
            10 => (format!("kill all {all:?}"), Fault::Kill(all)),
            _ => (format!("strand leader {leader}"), Fault::Strand(leader, others)),
        }
    } else {
        match random.below(8) {
            0..2 => (format!("cut off leader {leader}"), Fault::Cut(both(&[leader], &others))),
            2 => (format!("leader {leader} cannot send"), Fault::Cut(cut(&[leader], &others))),
            3 => (format!("leader {leader} cannot receive"), Fault::Cut(cut(&others, &[leader]))),
            4 => (format!("cut off follower {follower}"), Fault::Cut(both(&[follower], &but_follower))),
            5 => (format!("follower {follower} cannot receive"), Fault::Cut(cut(&but_follower, &[follower]))),
            6 => {
                let name = format!("cut between leader {leader} and follower {follower}");
                (name, Fault::Cut(both(&[leader], &[follower])))
            }
            _ => (format!("cut between all: {all:?}"), Fault::Cut(both(&all, &all))),
        }
    })
}

fn begin(cluster: &mut Cluster, fault: &Fault) {
    match fault {
        Fault::Kill(sids) => sids.iter().for_each(|&sid| cluster.kill(sid)),
        Fault::Stop(sid) => cluster.stop(*sid),
        Fault::Restart(sid) => {
            cluster.kill(*sid);
            cluster.spawn(*sid);
        }
        Fault::Pause(sids) => sids.iter().for_each(|&sid| cluster.pause(sid)),
        Fault::Strand(leader, others) => {
            others.iter().for_each(|&sid| cluster.pause(sid));
            sleep_ms(ALONE_MS);
            // The leader goes last. It notices that the followers' connections end, which does no harm.
            others.iter().for_each(|&sid| cluster.kill(sid));
            cluster.kill(*leader);
            others.iter().for_each(|&sid| cluster.spawn(sid));
        }
        Fault::Cut(cuts) => {
            let network = cluster.network().expect("a network to cut");
            for &(from, to) in cuts.iter().filter(|(from, to)| from != to) {
                network.cut(from, to);
            }
        }
    }
}

fn end(cluster: &mut Cluster, fault: &Fault) {
    match fault {
        Fault::Kill(sids) => sids.iter().for_each(|&sid| cluster.spawn(sid)),
        Fault::Stop(sid) | Fault::Strand(sid, _) => cluster.spawn(*sid),
        Fault::Restart(_) => {}
        Fault::Pause(sids) => sids.iter().for_each(|&sid| cluster.resume(sid)),
        Fault::Cut(_) => cluster.network().expect("a network to cut").heal(),
    }
}
