//! `loadgen zookeeper`: runs Apache ZooKeeper on this machine.

use crate::args;
use crate::failure::Failure;
use crate::report::print;
use crate::servers::children;
use crate::servers::service::{Service, Start};
use crate::servers::target::{SERVERS_MAX, Target};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Options of the command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    loadgen zookeeper --port 2181\n  \
    loadgen zookeeper --servers 3 --for 60 --json\n\n\
    JVMFLAGS is given to the JVM, as zkServer.sh does. ZKFAST_ZOOKEEPER_LIB names a directory of jars to use;\n\
    without it Maven fetches them once into the cache of the user.")]
pub struct Zookeeper {
    /// Which version
    #[arg(long, value_name = "VERSION", default_value = "3.9.4")]
    version: String,
    /// How many servers form the service
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=SERVERS_MAX as i64))]
    servers: u8,
    /// Ports for clients, one per server [default: free ones]
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// How long it runs, in seconds [default: until SIGINT or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = args::seconds)]
    lasts: Option<f64>,
    /// Directory of the data, on the disk to measure [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// CPUs of the servers, as taskset takes them [default: all]
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// One JSON object on one line
    #[arg(long)]
    json: bool,
}

/// How often loadgen checks whether a server has ended.
const CHECK: Duration = Duration::from_millis(100);

/// The record of servers that run.
#[derive(Serialize)]
struct Running<'a> {
    what: &'a str,
    version: &'a str,
    servers: String,
    pids: &'a [u32],
    command: &'a str,
    config: &'a str,
}

impl Zookeeper {
    /// Starts the servers, prints their addresses and waits for the end.
    pub fn run(&self) -> Result<(), Failure> {
        children::end_on_signal_is_success();
        let target = Target::Zookeeper { servers: self.servers.into() };
        let start = Start {
            zookeeper_version: self.version.clone(),
            data_dir: self.data_dir.clone(),
            cores: self.cores.clone(),
            cores_by_server: Vec::new(),
        };
        let service = Service::start(&target, &start, &self.port, &[]).map_err(Failure::Usage)?;
        self.print(&service);
        let until = self.lasts.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
        while until.is_none_or(|until| Instant::now() < until) {
            if let Some(ended) = service.ended() {
                return Err(Failure::Usage(ended));
            }
            std::thread::sleep(CHECK);
        }
        Ok(())
    }

    fn print(&self, service: &Service) {
        let servers = service.addresses.join(",");
        let pids: Vec<String> = service.pids.iter().map(u32::to_string).collect();
        let end = match self.lasts {
            Some(seconds) => format!("for {seconds} s"),
            None => "until Ctrl-C".to_owned(),
        };
        let Service { version, command, config, .. } = service;
        let running = Running { what: "zookeeper", version, servers, pids: &service.pids, command, config };
        print::record(&running, self.json, |running| {
            let pids = pids.join(",");
            format!(
                "Apache ZooKeeper {version} serves, {end}\nloadgen --server {} --server-pid {pids}",
                running.servers
            )
        });
    }
}
