//! Runs simulated histories of many seeds: `ZKFAST_SIM_SEEDS=0..1000 cargo test --no-default-features --features sim
//! --test sim`.
//!
//! Without the variable it runs 50 seeds. For a seed that fails it prints the command that replays it with all events.

#![allow(clippy::print_stdout)] // this is a program

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use zkfast::sim::{Outcome, history};

/// Seeds between two lines about progress.
const SEEDS_PER_LINE: u64 = 100;

fn main() {
    let seeds = std::env::var("ZKFAST_SIM_SEEDS").unwrap_or_else(|_| "0..50".to_owned());
    let (from, to) = match seeds.split_once("..") {
        Some((from, to)) => (from.parse().expect("a seed"), to.parse().expect("a seed")),
        None => {
            let seed: u64 = seeds.parse().expect("a seed, or FROM..TO");
            (seed, seed + 1)
        }
    };
    let is_traced = std::env::var_os("ZKFAST_SIM_TRACE").is_some();
    let threads = std::env::var("ZKFAST_SIM_THREADS").map_or(2, |threads| threads.parse().expect("a number"));
    let (next, total) = (AtomicU64::new(from), Mutex::new(Outcome::default()));
    let failed = Mutex::new(Vec::new());
    let done = AtomicU64::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < to);
                while let Some(seed) = take() {
                    let violation = run(seed, is_traced, &total);
                    failed.lock().expect("no poison").extend(violation.map(|violation| (seed, violation)));
                    // tests/run.sh ends a step without progress.
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(SEEDS_PER_LINE) {
                        println!("{done} of {} seeds", to - from);
                    }
                }
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let total = total.into_inner().expect("no poison");
    let failed = failed.into_inner().expect("no poison");
    for (seed, violation) in &failed {
        println!(
            "seed {seed}: {violation}\n  ZKFAST_SIM_TRACE=1 ZKFAST_SIM_SEEDS={seed} cargo test --no-default-features --features sim --test sim"
        );
    }
    let count = to - from;
    println!(
        "{count} seeds, {} failed, {took:.1} s: {:.1} seeds/s, {:.0} simulated seconds a second\n{total:?}",
        failed.len(),
        count as f64 / took,
        total.simulated_us as f64 / 1e6 / took
    );
    if !failed.is_empty() {
        std::process::exit(1);
    }
}

/// Runs the history of one seed and adds its outcome to `total`. Gives the violation, if there is one.
fn run(seed: u64, is_traced: bool, total: &Mutex<Outcome>) -> Option<String> {
    let print = is_traced.then_some((|line: &str| println!("{line}")) as fn(&str));
    let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| history(seed, None, print))) else {
        return Some("panic".to_owned());
    };
    total.lock().expect("no poison").add(&outcome);
    if let Some(violation) = &outcome.violation {
        println!("seed {seed}: {violation}");
    }
    outcome.violation
}
