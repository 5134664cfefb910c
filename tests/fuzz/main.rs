//! Every decoder that reads what others wrote, with bytes that nobody wrote.
//!
//! ```text
//! cargo test --test fuzz                      the kept inputs, and some thousand changes of them: the same each time
//! cargo test --test fuzz -- log config        some targets
//! cargo test --test fuzz -- log FILE          one input
//! tests/fuzz/run.sh log 3600                  an hour of one target, led by what code an input reaches (libFuzzer)
//! ```
//!
//! `ZKFAST_FUZZ_SECONDS` makes the first form go on for so long with each target, `ZKFAST_FUZZ_SEED` on other ways.
//!
//! A target panics where a decoder breaks a promise. Each shows that nothing panics, that what was read and written again
//! reads the same, and that memory and number of allocations stay in proportion to the input ([`Bounds`]).

#![allow(clippy::print_stdout)] // it is a program
#![cfg_attr(fuzzing, no_main, allow(dead_code, unsafe_code))]

mod client;
mod config;
mod java;
mod log;
mod mutate;
mod quorum;
mod sasl;
mod snapshot;
mod txn;

use mutate::Random;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A decoder and what must hold of it.
struct Target {
    /// On the command line, and of its folder in `corpus`.
    name: &'static str,
    /// Tells whether the decoder took the input. Panics where it breaks a promise.
    check: fn(&[u8]) -> bool,
    /// Inputs that are right, from the encoders: the decoder takes them.
    seeds: fn() -> Vec<Vec<u8>>,
    bounds: Bounds,
    /// Changed inputs, where no time is given.
    runs: u64,
}

/// What a target may allocate: so much, and so much a byte of input.
struct Bounds {
    /// Bytes at any one time.
    bytes: (u64, u64),
    /// Allocations in all, which stand for the time that it takes.
    allocations: (u64, u64),
}

/// Of decoders that keep no more than what they read; the targets hold it three times over, to compare.
const IN_PROPORTION: Bounds = Bounds { bytes: (16 << 10, 128), allocations: (256, 16) };
/// Of those that build a tree, which has tables from the start.
const WITH_A_TREE: Bounds = Bounds { bytes: (4 << 20, 512), allocations: (4096, 64) };

const TARGETS: [Target; 10] = [
    Target { name: "client", check: client::check, seeds: client::seeds, bounds: IN_PROPORTION, runs: RUNS },
    Target {
        name: "quorum",
        check: quorum::packets,
        seeds: quorum::packet_seeds,
        bounds: IN_PROPORTION,
        runs: RUNS,
    },
    Target {
        name: "election",
        check: quorum::votes,
        seeds: quorum::vote_seeds,
        bounds: IN_PROPORTION,
        runs: RUNS,
    },
    Target { name: "txn", check: txn::check, seeds: txn::seeds, bounds: WITH_A_TREE, runs: RUNS },
    Target { name: "log", check: log::check, seeds: log::seeds, bounds: log::BOUNDS, runs: RUNS },
    Target {
        name: "snapshot",
        check: snapshot::check,
        seeds: snapshot::seeds,
        bounds: WITH_A_TREE,
        runs: RUNS,
    },
    Target {
        name: "java_snapshot",
        check: java::snapshot,
        seeds: java::snapshot_seeds,
        bounds: WITH_A_TREE,
        runs: RUNS,
    },
    Target { name: "java_log", check: java::log, seeds: java::log_seeds, bounds: WITH_A_TREE, runs: RUNS },
    Target { name: "sasl", check: sasl::check, seeds: sasl::seeds, bounds: sasl::BOUNDS, runs: RUNS },
    Target { name: "config", check: config::check, seeds: config::seeds, bounds: config::BOUNDS, runs: 100 },
];

/// [`Target::runs`] of most.
const RUNS: u64 = 2_000;
/// Bytes of a changed input.
const BYTES_MAX: usize = 8 << 10;

impl Target {
    /// Checks one input, and what it costs; tells whether the decoder took it.
    fn run(&self, input: &[u8]) -> bool {
        let mut result = Ok(false);
        let cost = allocation_counter::measure(|| {
            result = catch_unwind(AssertUnwindSafe(|| (self.check)(input)));
        });
        let is_taken = result.unwrap_or_else(|panic| resume_unwind(panic));
        let length = input.len() as u64;
        let limit = |(fixed, each): (u64, u64)| fixed + each * length;
        let (bytes, allocations) = (limit(self.bounds.bytes), limit(self.bounds.allocations));
        assert!(cost.bytes_max <= bytes, "{} bytes at a time for {length}, at most {bytes}", cost.bytes_max);
        assert!(
            cost.count_total <= allocations,
            "{} allocations for {length} bytes, at most {allocations}",
            cost.count_total
        );
        is_taken
    }

    /// The inputs that were kept, by name.
    fn corpus(&self) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(self.name);
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static TARGET: std::sync::LazyLock<&Target> = std::sync::LazyLock::new(|| {
        let name = std::env::var("ZKFAST_FUZZ_TARGET").expect("ZKFAST_FUZZ_TARGET names the target");
        TARGETS.iter().find(|target| target.name == name).expect("there is such a target")
    });
    let _ = TARGET.run(input);
});

#[cfg(not(fuzzing))]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|given| !given.starts_with("--")).collect();
    let (files, names): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|given| Path::new(given).is_file());
    let mut failed = 0;
    let wanted = |target: &&Target| names.is_empty() || names.iter().any(|name| name == target.name);
    let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    for target in &targets {
        if let Some(folder) = std::env::var_os("ZKFAST_FUZZ_SEEDS_TO") {
            write_seeds(target, Path::new(&folder));
        } else if !files.is_empty() {
            for file in &files {
                let is_taken = target.run(&std::fs::read(file).unwrap());
                println!("{file}: {}", if is_taken { "taken" } else { "refused" });
            }
        } else if !fuzz(target) {
            failed += 1;
        }
    }
    let (verdict, passed) = (if failed == 0 { "ok" } else { "FAILED" }, targets.len() - failed);
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    std::process::exit(i32::from(failed > 0));
}

/// Writes what the encoders give, for libFuzzer to begin with.
fn write_seeds(target: &Target, folder: &Path) {
    let folder = folder.join(target.name);
    std::fs::create_dir_all(&folder).unwrap();
    for (number, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
    }
}

/// Replays what is kept, then changes it; `false` if an input broke a promise.
fn fuzz(target: &Target) -> bool {
    let mut inputs = (target.seeds)();
    let kept = target.corpus();
    inputs.extend(kept.iter().map(|path| std::fs::read(path).unwrap()));
    for (number, input) in inputs.iter().enumerate() {
        let name = || match number.checked_sub(inputs.len() - kept.len()) {
            Some(kept_number) => kept[kept_number].display().to_string(),
            None => format!("seed {number}"),
        };
        let is_seed = number < inputs.len() - kept.len();
        if !passes(target, input, &name, is_seed) {
            return false;
        }
    }
    let setting = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seed = setting("ZKFAST_FUZZ_SEED").unwrap_or(1);
    let limit = setting("ZKFAST_FUZZ_SECONDS").map(Duration::from_secs);
    let (mut random, begun, mut runs) = (Random::new(seed), Instant::now(), 0);
    while limit.map_or(runs < target.runs, |limit| begun.elapsed() < limit) {
        let input = random.changed(&inputs, BYTES_MAX);
        runs += 1;
        if !passes(target, &input, &|| format!("run {runs} of ZKFAST_FUZZ_SEED={seed}"), false) {
            return false;
        }
    }
    println!("test {} ... ok ({} inputs, {runs} changes, seed {seed})", target.name, inputs.len());
    true
}

/// Checks one input, which the decoder may have to take; one that fails is kept for another run.
fn passes(target: &Target, input: &[u8], name: &dyn Fn() -> String, must_take: bool) -> bool {
    match catch_unwind(AssertUnwindSafe(|| target.run(input))) {
        Ok(is_taken) if is_taken || !must_take => return true,
        Ok(_) => println!("what the encoder gives is refused"),
        Err(_) => {}
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    std::fs::write(&path, input).unwrap();
    let (target, name, path) = (target.name, name(), path.display());
    println!("test {target} ... FAILED: {name}; again: cargo test --test fuzz -- {target} {path}");
    false
}
