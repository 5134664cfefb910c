//! zkfast and Apache ZooKeeper give the same replies, errors, Stats and events in the same order to the same requests.
//!
//! `ZKFAST_DIFF_SEED` runs one seed, `ZKFAST_DIFF_SEEDS` sets the number of seeds without it, `ZKFAST_DIFF_OPS` limits
//! the requests of each, and `ZKFAST_DIFF_TRACE` prints every step. `normal` defines what counts as the same.

mod cases;
mod normal;
mod pair;
mod program;

use crate::harness::{Kind, alone, setting, under_test};
use pair::{Difference, Pair, Step};
use program::{PLACES, Program};
use std::time::Instant;

/// Seeds of a run, and requests per seed.
const SEEDS: u64 = 8;
const OPS: u64 = 12_500;

/// zkfast answers random programs of five sessions, with all kinds of requests, as ZooKeeper 3.9.4 does.
#[test]
fn random_programs() {
    let _alone = alone();
    let ops = setting("ZKFAST_DIFF_OPS", OPS);
    let seeds = match setting("ZKFAST_DIFF_SEED", 0) {
        0 => 1..=setting("ZKFAST_DIFF_SEEDS", SEEDS),
        seed => seed..=seed,
    };
    let failures: Vec<String> =
        seeds.filter_map(|seed| run([Kind::Java, under_test()], seed, ops).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Two ZooKeeper servers never differ: `normal` leaves out enough.
#[test]
fn real_servers_agree() {
    let _alone = alone();
    let ops = setting("ZKFAST_DIFF_SELF_OPS", 4_000);
    if let Err(failure) = run([Kind::Java, Kind::Java], 1_000_003, ops) {
        panic!("{failure}");
    }
}

/// Runs the program of `seed` for `ops` requests.
fn run(kinds: [Kind; 2], seed: u64, ops: u64) -> Result<(), String> {
    let started = Instant::now();
    let mut pair = Pair::new(kinds, PLACES);
    let mut program = Program::new(seed);
    let (mut place, mut step) = (0, Program::opening());
    let (mut made, mut steps) = (0u64, 0);
    loop {
        steps += 1;
        if std::env::var_os("ZKFAST_DIFF_TRACE").is_some() {
            eprintln!("{place}: {}", pair::show_step(&step));
        }
        made += match &step {
            Step::Burst(requests) => requests.len() as u64,
            _ => 1,
        };
        pair.step(place, &step).map_err(|Difference { text }| {
            let names = pair.names();
            format!(
                "seed {seed}, step {steps}, request {made}: {names:?} differ: {text}\nagain: \
                 ZKFAST_DIFF_SEED={seed} ZKFAST_DIFF_OPS={made} cargo test --release --test it \
                 differential::random_programs"
            )
        })?;
        if made >= ops {
            break;
        }
        pair.teach(&mut program);
        (place, step) = program.next(usize::try_from(ops - made).unwrap_or(usize::MAX));
    }
    eprintln!("seed {seed}: {made} requests in {steps} steps, equal, {:?}", started.elapsed());
    Ok(())
}
