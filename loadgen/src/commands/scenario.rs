//! `loadgen scenario`: measurements that have a name, each over several set-ups of servers that it starts.

use crate::args::{self, Load, Workload};
use crate::commands::page;
use crate::commands::turns::{check_arguments, load_on, measure, progress};
use crate::failure::Failure;
use crate::report::machine::Machine;
use crate::report::outcome::Outcome;
use crate::report::rounds::Spread;
use crate::report::scenario::{Point, ScenarioRecord};
use crate::report::{print, scenario_page};
use crate::servers::service::{Service, Start};
use crate::servers::target::Target;
use clap::{Args, ValueEnum};

/// Options of the command; options of the load that the scenario does not set are the same as without a command.
#[derive(Debug, Args)]
#[command(
    mut_arg("server", |arg| arg.hide(true)),
    mut_arg("server_pid", |arg| arg.hide(true)),
    mut_arg("clean", |arg| arg.hide(true)),
    mut_arg("workload", |arg| arg.hide(true)),
    mut_arg("connections", |arg| arg.hide(true)),
    mut_arg("in_flight", |arg| arg.hide(true)),
    mut_arg("cores", |arg| arg.hide(true)),
    after_help = "Examples:\n  \
        loadgen scenario read-scaling --html scaling.html\n  \
        loadgen scenario quorum-latency --target zookeeper --target zkfast --rounds 5 --json"
)]
pub struct Scenario {
    /// Which scenario
    #[arg(value_enum)]
    name: Name,
    /// What is measured: zkfast[=PATH] or zookeeper; repeat it to measure several in turn
    #[arg(long, value_name = "SERVICE", default_value = "zkfast")]
    target: Vec<Target>,
    /// Runs of each service
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Load on each service before the first round, in seconds, because Java compiles while it runs
    #[arg(long, default_value_t = 5.0, value_parser = args::seconds)]
    first_warmup: f64,
    #[command(flatten)]
    start: Start,
    #[command(flatten)]
    load: Load,
}

/// The scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// getData, 64 x 16, of 1, 2 and 3 servers of one CPU each, then of one server with 1 CPU to all
    ReadScaling,
    /// setData at 1 x 1, 32 x 1 and 64 x 16, of 1 and of 3 servers
    QuorumLatency,
}

/// Servers that are started in the same way, and the loads on them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setup {
    /// Set-ups of the same group are compared with each other.
    group: &'static str,
    servers: usize,
    /// CPUs of each server; empty for all CPUs.
    cores: Vec<String>,
    /// Sessions, and requests in flight on each.
    loads: Vec<(usize, usize)>,
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Self::ReadScaling => "read-scaling",
            Self::QuorumLatency => "quorum-latency",
        }
    }

    fn workload(self) -> Workload {
        match self {
            Self::ReadScaling => Workload::Get,
            Self::QuorumLatency => Workload::Set,
        }
    }

    /// The set-ups on a machine of `cpus` CPUs.
    fn setups(self, cpus: usize) -> Vec<Setup> {
        let list = |count: usize| if count == 1 { "0".to_owned() } else { format!("0-{}", count - 1) };
        match self {
            Self::ReadScaling => {
                let loads = vec![(64, 16)];
                let own = |sid: usize| (sid % cpus).to_string();
                let servers = (1..=3).map(|servers| Setup {
                    group: "servers",
                    servers,
                    cores: (0..servers).map(own).collect(),
                    loads: loads.clone(),
                });
                let cores = (1..=cpus).map(|count| Setup {
                    group: "cores",
                    servers: 1,
                    cores: vec![list(count)],
                    loads: loads.clone(),
                });
                servers.chain(cores).collect()
            }
            Self::QuorumLatency => {
                let loads = vec![(1, 1), (32, 1), (64, 16)];
                let setup =
                    |servers| Setup { group: "quorum", servers, cores: Vec::new(), loads: loads.clone() };
                [1, 3].map(setup).to_vec()
            }
        }
    }
}

impl Scenario {
    /// Runs the scenario and prints its result.
    pub fn run(&self) -> Result<(), Failure> {
        check_arguments(&self.load)?;
        if let Some(running) = self.target.iter().find(|target| matches!(target, Target::Running(_))) {
            return Err(Failure::Usage(format!(
                "{running}: a scenario starts its servers: zookeeper or zkfast[=PATH]"
            )));
        }
        let machine = Machine::here(Some(&self.start.data_directory().map_err(Failure::Usage)?));
        let mut points = Vec::new();
        for setup in self.name.setups(machine.cpus) {
            points.extend(self.measure(&setup)?);
        }
        let (what, scenario) = ("scenario".to_owned(), self.name.word().to_owned());
        let found = ScenarioRecord { what, scenario, points, machine };
        if let Some(file) = &self.load.html {
            page::write(file, &scenario_page::page(&found))?;
        }
        print::record(&found, self.load.common.json, |found| scenario_page::table(found).join("\n"));
        Ok(())
    }

    /// Starts all targets in one set-up and measures them in turn.
    fn measure(&self, setup: &Setup) -> Result<Vec<Point>, Failure> {
        let start = Start { cores_by_server: setup.cores.clone(), ..self.start.clone() };
        let service = |target: &Target| {
            Service::start(&target.with_servers(setup.servers), &start, &[], &[]).map_err(Failure::Usage)
        };
        let services = self.target.iter().map(service).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = self.target.iter().map(|target| target.with_servers(1).name()).collect();
        let mut points = Vec::new();
        for (number, &(connections, in_flight)) in setup.loads.iter().enumerate() {
            let load = Load { workload: self.name.workload(), connections, in_flight, ..self.load.clone() };
            if number == 0 && self.first_warmup > 0.0 {
                for service in &services {
                    measure(&load_on(&load, service, 0, Some(self.first_warmup)))?;
                }
            }
            let mut rounds = vec![Vec::new(); services.len()];
            for round in 0..self.rounds {
                let mut turns: Vec<usize> = (0..services.len()).collect();
                if !round.is_multiple_of(2) {
                    turns.reverse();
                }
                for turn in turns {
                    let outcome = measure(&load_on(&load, &services[turn], round, None))?;
                    let (servers, cores) = (setup.servers, setup.cores.join(" "));
                    let on_cores = if cores.is_empty() { cores } else { format!(" on CPU {cores}") };
                    let name = &names[turn];
                    progress(
                        &format!(
                            "{name}, {servers} server(s){on_cores}, {connections} x {in_flight}, round {}",
                            round + 1
                        ),
                        &outcome,
                    );
                    rounds[turn].push(outcome);
                }
            }
            for ((service, name), rounds) in services.iter().zip(&names).zip(rounds) {
                points.push(point(setup, name, service, (connections, in_flight), rounds));
            }
        }
        Ok(points)
    }
}

fn point(setup: &Setup, name: &str, service: &Service, load: (usize, usize), rounds: Vec<Outcome>) -> Point {
    let spread =
        |of: fn(&Outcome) -> f64| Spread::of(&rounds.iter().map(of).collect::<Vec<_>>()).unwrap_or_default();
    let cores: Option<Vec<f64>> =
        rounds.iter().map(|outcome| outcome.server.as_ref().map(|server| server.server_cores)).collect();
    Point {
        group: setup.group.to_owned(),
        target: name.to_owned(),
        version: service.version.clone(),
        command: service.command.clone(),
        servers: setup.servers as u64,
        cores: setup.cores.clone(),
        connections: load.0 as u64,
        in_flight: load.1 as u64,
        ops_per_s: spread(|outcome| outcome.ops_per_s),
        p50_us: spread(|outcome| outcome.latency.p50_us),
        p99_us: spread(|outcome| outcome.latency.p99_us),
        p999_us: spread(|outcome| outcome.latency.p999_us),
        server_cores: cores.and_then(|cores| Spread::of(&cores)),
        client_cores: spread(|outcome| outcome.client_cpu_us_per_op * outcome.ops_per_s / 1e6),
        rounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        scenario: Scenario,
    }

    /// Reads: servers of one CPU each, then one server with more and more of them; writes: three loads on one server
    /// and on three.
    #[test]
    fn setups() {
        let reads = Name::ReadScaling.setups(2);
        let servers_and_cores: Vec<_> =
            reads.iter().map(|setup| (setup.servers, setup.cores.join(" "))).collect();
        let expected = [(1, "0"), (2, "0 1"), (3, "0 1 0"), (1, "0"), (1, "0-1")];
        assert_eq!(servers_and_cores, expected.map(|(servers, cores)| (servers, cores.to_owned())));
        let writes = Name::QuorumLatency.setups(2);
        assert_eq!(writes.iter().map(|setup| setup.servers).collect::<Vec<_>>(), [1, 3]);
        assert!(
            writes.iter().all(|setup| setup.loads == [(1, 1), (32, 1), (64, 16)] && setup.cores.is_empty())
        );
    }

    /// Servers that run already cannot be set up anew, and an unknown name is answered with those there are.
    #[test]
    fn refusals() {
        let line =
            Line::try_parse_from("x read-scaling --target localhost:2181".split(' ')).expect("a target");
        assert!(
            matches!(line.scenario.run(), Err(Failure::Usage(why)) if why.contains("a scenario starts its servers"))
        );
        let error = Line::try_parse_from(["x", "scaling"]).err().expect("unknown").to_string();
        assert!(error.contains("read-scaling, quorum-latency"), "{error}");
    }
}
