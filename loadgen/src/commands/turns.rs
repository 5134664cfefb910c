//! What `compare` and `scenario` share: the same load on one service after the other.

use crate::args::Load;
use crate::commands::{load, page};
use crate::failure::Failure;
use crate::report::comparison::{Round, Side};
use crate::report::format;
use crate::report::outcome::Outcome;
use crate::servers::service::Service;

/// Refuses arguments that would be ignored, and a page that could not be written at the end.
pub fn check_arguments(load: &Load) -> Result<(), Failure> {
    if load.common.server != Load::default().common.server || !load.common.server_pid.is_empty() {
        return Err(Failure::Usage(
            "--server and --server-pid are for a single run; --help shows the arguments of this command"
                .to_owned(),
        ));
    }
    page::check_writable(load.html.as_deref())
}

/// The load of one round on one service: a seed per round, the same for all services.
pub fn load_on(load: &Load, service: &Service, round: u64, seconds: Option<f64>) -> Load {
    let mut load = load.clone();
    load.common.server.clone_from(&service.addresses);
    load.common.server_pid.clone_from(&service.pids);
    load.seed = load.seed.wrapping_add(round);
    load.seconds = seconds.unwrap_or(load.seconds);
    load
}

/// Measures one run; a wrong reply ends the whole command.
pub fn measure(load: &Load) -> Result<Outcome, Failure> {
    let outcome = load::measure(load)?;
    load::verdict(&outcome)?;
    Ok(outcome)
}

/// Prints one line about a run on stderr, as progress.
pub fn progress(name: &str, outcome: &Outcome) {
    let (per_s, p50) = (format::plain(outcome.ops_per_s), format::time(outcome.latency.p50_us));
    let p99 = format::time(outcome.latency.p99_us);
    eprintln!("loadgen: {name}: {per_s}/s, p50 {p50}, p99 {p99}");
}

/// The record of a service under a name.
pub fn side(name: &str, service: &Service) -> Side {
    Side {
        name: name.to_owned(),
        servers: service.addresses.join(","),
        version: service.version.clone(),
        command: service.command.clone(),
        config: service.config.clone(),
    }
}

/// One of the two sides of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The denominator of the ratios.
    A,
    /// The numerator of the ratios.
    B,
}

/// Runs `count` rounds: `measure` gets the side and the number of the round. The side that begins changes from round to
/// round, so that neither gains from a drift of the machine.
pub fn rounds<E>(
    count: u64,
    mut measure: impl FnMut(Which, u64) -> Result<Outcome, E>,
) -> Result<Vec<Round>, E> {
    let mut round = |number: u64| {
        if number.is_multiple_of(2) {
            let a = measure(Which::A, number)?;
            Ok(Round { first: "a".to_owned(), a, b: measure(Which::B, number)? })
        } else {
            let b = measure(Which::B, number)?;
            Ok(Round { first: "b".to_owned(), a: measure(Which::A, number)?, b })
        }
    };
    (0..count).map(&mut round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ops_per_s: f64) -> Outcome {
        Outcome { ops_per_s, ..Outcome::default() }
    }

    /// The side that begins changes from round to round, both get the number of the round, and a failure ends all
    /// rounds.
    #[test]
    fn turns() {
        let mut turns = Vec::new();
        let found = rounds(3, |side, number| {
            turns.push((side, number));
            Ok::<_, ()>(outcome(if side == Which::A { 1.0 } else { 2.0 }))
        });
        let found = found.expect("no failure");
        use Which::{A, B};
        assert_eq!(turns, [(A, 0), (B, 0), (B, 1), (A, 1), (A, 2), (B, 2)]);
        assert!(found.iter().all(|round| round.a.ops_per_s == 1.0 && round.b.ops_per_s == 2.0));
        assert_eq!(found.iter().map(|round| round.first.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
        assert_eq!(
            rounds(9, |_, number| if number == 1 { Err("no") } else { Ok(Outcome::default()) }),
            Err("no")
        );
    }
}
