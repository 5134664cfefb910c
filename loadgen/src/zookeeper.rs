//! `loadgen zookeeper`: Apache ZooKeeper on this machine, for as long as it is needed.

use crate::report;
use crate::service::{Service, Start};
use crate::target::{SERVERS_MAX, Target};
use crate::{Failure, children};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Options of the command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    loadgen zookeeper --port 2181\n  \
    loadgen zookeeper --servers 3 --for 60 --json\n\n\
    JVMFLAGS is given to the JVM, as zkServer.sh does. ZKFAST_ZOOKEEPER_LIB names a directory of jars that are\n\
    taken as they are; without it Maven fetches them once into the cache of the user.")]
pub struct Zookeeper {
    /// Which one
    #[arg(long, value_name = "VERSION", default_value = "3.9.4")]
    version: String,
    /// How many, as one service
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=SERVERS_MAX as i64))]
    servers: u8,
    /// Ports for clients, one per server [default: free ones]
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Ends after so many seconds [default: at SIGINT or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = crate::cli::seconds)]
    lasts: Option<f64>,
    /// Where the data is, on the disk to measure [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// CPUs that it may use, as taskset takes them [default: all]
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// One JSON object on one line
    #[arg(long)]
    json: bool,
}

/// How often the servers are looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Told<'a> {
    what: &'a str,
    version: &'a str,
    servers: String,
    pids: &'a [u32],
    command: &'a str,
    config: &'a str,
}

impl Zookeeper {
    /// Starts it, tells where it is, and stays until the end.
    pub fn run(&self) -> Result<(), Failure> {
        children::a_signal_is_the_regular_end();
        let target = Target::Zookeeper { servers: self.servers.into() };
        let start = Start {
            zookeeper_version: self.version.clone(),
            data_dir: self.data_dir.clone(),
            cores: self.cores.clone(),
            cores_by_server: Vec::new(),
        };
        let service = Service::start(&target, &start, &self.port, &[]).map_err(Failure::Usage)?;
        self.tell(&service);
        let until = self.lasts.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
        while until.is_none_or(|until| Instant::now() < until) {
            if let Some(ended) = service.ended() {
                return Err(Failure::Usage(ended));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn tell(&self, service: &Service) {
        let servers = service.addresses.join(",");
        let pids: Vec<String> = service.pids.iter().map(u32::to_string).collect();
        let end = match self.lasts {
            Some(seconds) => format!("for {seconds} s"),
            None => "until Ctrl-C".to_owned(),
        };
        let Service { version, command, config, .. } = service;
        let told = Told { what: "zookeeper", version, servers, pids: &service.pids, command, config };
        report::print(&told, self.json, |told| {
            let pids = pids.join(",");
            format!(
                "Apache ZooKeeper {version} serves, {end}\nloadgen --server {} --server-pid {pids}",
                told.servers
            )
        });
    }
}
