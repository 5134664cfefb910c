//! `loadgen compare`: the same load on two services in turn.

use crate::args::{self, Load};
use crate::commands::page;
use crate::commands::turns::{Which, check_arguments, load_on, measure, progress, rounds, side};
use crate::failure::Failure;
use crate::report::comparison::{Comparison, rows};
use crate::report::machine::Machine;
use crate::report::{comparison_page, print};
use crate::servers::service::{Service, Start};
use crate::servers::target::Target;
use clap::Args;

/// Options of the command; those of the load are the same as without a command.
#[derive(Debug, Args)]
#[command(
    mut_arg("server", |arg| arg.hide(true)),
    mut_arg("server_pid", |arg| arg.hide(true)),
    mut_arg("clean", |arg| arg.hide(true)),
    after_help = "A service is one of\n  \
        HOST:PORT[,HOST:PORT..]    servers that run already\n  \
        zookeeper[:SERVERS]        Apache ZooKeeper, fetched with Maven and started here\n  \
        zkfast[:SERVERS][=PATH]    zkfast, started from PATH or from beside loadgen\n\n\
        Examples:\n  \
        loadgen compare --a zookeeper --b zkfast --html page.html\n  \
        loadgen compare --a zookeeper:3 --b zkfast:3 --workload set --connections 32 --in-flight 1\n  \
        loadgen compare --a localhost:2181 --b localhost:2182 --a-pid 100 --b-pid 200 --read-ratio 0.5"
)]
pub struct Compare {
    /// The first service: the denominator of the ratios
    #[arg(long, value_name = "SERVICE", default_value = "zookeeper")]
    a: Target,
    /// The second service: the numerator of the ratios
    #[arg(long, value_name = "SERVICE", default_value = "zkfast")]
    b: Target,
    /// Name of the first service in the results
    #[arg(long, value_name = "NAME")]
    a_name: Option<String>,
    /// Name of the second service in the results
    #[arg(long, value_name = "NAME")]
    b_name: Option<String>,
    /// Processes of the first service, if it runs already
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    a_pid: Vec<u32>,
    /// Processes of the second service, if it runs already
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    b_pid: Vec<u32>,
    /// Runs of each service; the service that begins changes from round to round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Load on each service before the first round, in seconds, because Java compiles while it runs
    #[arg(long, default_value_t = 10.0, value_parser = args::seconds)]
    first_warmup: f64,
    #[command(flatten)]
    start: Start,
    #[command(flatten)]
    load: Load,
}

impl Compare {
    /// Runs the comparison and prints its result.
    pub fn run(&self) -> Result<(), Failure> {
        check_arguments(&self.load)?;
        let started = [&self.a, &self.b].iter().any(|target| !matches!(target, Target::Running(_)));
        let data = if started { Some(self.start.data_directory().map_err(Failure::Usage)?) } else { None };
        let machine = Machine::here(data.as_deref());
        let service = |target, pids| Service::start(target, &self.start, &[], pids).map_err(Failure::Usage);
        let services = [service(&self.a, &self.a_pid)?, service(&self.b, &self.b_pid)?];
        let names = self.names();
        if self.first_warmup > 0.0 && started {
            for (service, name) in services.iter().zip(&names) {
                eprintln!("loadgen: {name}: {} s that are not counted", self.first_warmup);
                measure(&load_on(&self.load, service, 0, Some(self.first_warmup)))?;
            }
        }
        let found = rounds(self.rounds, |side, number| {
            let index = usize::from(side == Which::B);
            let outcome = measure(&load_on(&self.load, &services[index], number, None))?;
            progress(&format!("round {} of {}, {}", number + 1, self.rounds, names[index]), &outcome);
            Ok::<_, Failure>(outcome)
        })?;
        let [a, b] = [0, 1].map(|index| side(&names[index], &services[index]));
        drop(services);
        let metrics = rows(&found);
        let found = Comparison { what: "compare".to_owned(), a, b, metrics, rounds: found, machine };
        if let Some(file) = &self.load.html {
            page::write(file, &comparison_page::page(&found))?;
        }
        print::record(&found, self.load.common.json, |found| found.table().join("\n"));
        Ok(())
    }

    /// Names of the sides; two of the same kind get different ones.
    fn names(&self) -> [String; 2] {
        let [mut a, mut b] = [self.a.name(), self.b.name()];
        if a == b {
            a.push_str(", a");
            b.push_str(", b");
        }
        [self.a_name.clone().unwrap_or(a), self.b_name.clone().unwrap_or(b)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::fake::{Fake, Lie};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        compare: Compare,
    }

    /// Two servers that run already are compared with load options of any kind; the page has their figures.
    #[test]
    fn two_servers() {
        let page = std::env::temp_dir().join(format!("loadgen-compare-{}.html", std::process::id()));
        let [a, b] = [(), ()].map(|()| Fake::new(Lie::None, 1).listen());
        let words = format!(
            "x --a {a} --b {b} --b-name second --rounds 2 --seconds 0.2 --warmup 0.05 --connections 2 --in-flight 4 \
             --keys 10 --workload get --html {}",
            page.display()
        );
        let line = Line::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        line.compare.run().expect("two servers that serve");
        let html = std::fs::read_to_string(&page).expect("the page");
        std::fs::remove_file(&page).expect("ours");
        for part in ["2 rounds", "second", &a, "2 connections × 4 in flight", "operations/s", "<svg"] {
            assert!(html.contains(part), "{part}");
        }
    }

    /// An option of a single run is refused, not ignored.
    #[test]
    fn server_is_refused() {
        let line = Line::try_parse_from("x --server localhost:9".split(' '))
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(line.compare.run(), Err(Failure::Usage(why)) if why.contains("--server")));
    }

    /// A wrong reply ends the comparison with an error.
    #[test]
    fn wrong_replies() {
        let [a, b] = [Lie::None, Lie::ShortData].map(|lie| Fake::new(lie, 100).listen());
        let words =
            format!("x --a {a} --b {b} --rounds 1 --seconds 2 --warmup 0 --connections 1 --workload get");
        let line = Line::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(line.compare.run(), Err(Failure::Wrong(_))));
    }

    /// Names are those of the services, with a letter if they are alike; a word that names no service is refused.
    #[test]
    fn names_and_refusals() {
        let names = |words: &str| {
            Line::try_parse_from(words.split(' '))
                .map(|line| line.compare.names())
                .map_err(|error| error.to_string())
        };
        assert_eq!(names("x"), Ok(["ZooKeeper".to_owned(), "zkfast".to_owned()]));
        let alike = names("x --a zkfast:3 --b zkfast:3");
        assert_eq!(alike, Ok(["zkfast (3), a".to_owned(), "zkfast (3), b".to_owned()]));
        assert_eq!(names("x --a a:1 --a-name old --b b:2"), Ok(["old".to_owned(), "b:2".to_owned()]));
        assert!(
            names("x --a zookeper").is_err_and(|error| error.contains("neither HOST:PORT nor zookeeper"))
        );
    }
}
