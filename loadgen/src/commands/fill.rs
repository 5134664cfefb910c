//! `loadgen fill`: creates znodes, and what they cost a server.

use crate::args::{self, Common};
use crate::commands::conduct::{conduct, server_use};
use crate::commands::load;
use crate::engine::wire;
use crate::failure::Failure;
use crate::random::Keys;
use crate::report::outcome::{ServerUse, rounded};
use crate::report::print;
use crate::servers::usage::Usage;
use crate::workloads::independent::Independent;
use crate::workloads::plan::{Plan, Work};
use crate::workloads::{prepare, run};
use clap::Args;
use serde::Serialize;

/// Options of the command.
#[derive(Debug, Args)]
pub struct Fill {
    #[command(flatten)]
    common: Common,
    /// Znodes to create
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..wire::NUMBERS))]
    znodes: u64,
    /// Bytes of data per znode
    #[arg(long, default_value_t = 100, value_parser = args::value_bytes)]
    value_bytes: u32,
    /// Znodes per parent
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    fanout: u64,
}

/// Sessions, and requests in flight on each: enough for every server to group its commits.
const CONNECTIONS: usize = 8;

const IN_FLIGHT: usize = 64;

/// The record of a fill.
#[derive(Debug, Serialize)]
struct Filled {
    what: &'static str,
    servers: String,
    znodes: u64,
    value_bytes: u32,
    fanout: u64,
    seconds: f64,
    znodes_per_s: f64,
    #[serde(flatten)]
    server: Option<FilledUse>,
    #[serde(skip)]
    base: String,
}

/// What it cost the servers whose processes are known.
#[derive(Debug, Serialize)]
struct FilledUse {
    rss_before_bytes: u64,
    rss_bytes_per_znode: f64,
    #[serde(flatten)]
    server: ServerUse,
}

impl Fill {
    /// Creates the znodes and prints what they cost.
    pub fn run(&self) -> Result<(), Failure> {
        let pids = &self.common.server_pid;
        let groups =
            u32::try_from(self.znodes.div_ceil(self.fanout)).expect("fewer parents than wire::NUMBERS");
        let plan = Plan {
            servers: self.common.server.clone(),
            connections: CONNECTIONS,
            in_flight: IN_FLIGHT,
            threads: 1,
            work: Work::Independent(Independent::Fill { znodes: self.znodes, fanout: self.fanout }),
            value_bytes: self.value_bytes..=self.value_bytes,
            key_count: 1,
            keys: Keys::Uniform(1),
            base: format!("{}/fill-{:08x}", wire::ROOT, load::run_number()),
            rate: None,
            seed: 0,
            reconnect: false,
            retry: false,
        };
        let before = Usage::of(pids).map_err(Failure::Usage)?;
        prepare::make_groups(&plan.servers[0], &plan.base, groups)?;
        let ran = run::run(&plan, |shared| {
            let measured = conduct(shared, &plan, pids, 0.0, f64::from(u32::MAX));
            (measured.as_ref().map_or(0.0, |measured| measured.seconds), measured)
        })?;
        let measured = ran.conducted?;
        if let Some(first) = ran.tally.trouble.first_wrong {
            return Err(Failure::Wrong(format!("{} in all, the first: {first}", ran.tally.trouble.wrong)));
        }
        let created = ran.tally.ops();
        if created != self.znodes {
            return Err(Failure::Unanswered(format!("{created} of {} znodes were created", self.znodes)));
        }
        let filled = Filled {
            what: "fill",
            servers: plan.servers.join(","),
            znodes: self.znodes,
            value_bytes: self.value_bytes,
            fanout: self.fanout,
            seconds: rounded(measured.seconds),
            znodes_per_s: rounded(self.znodes as f64 / measured.seconds),
            server: measured.server.map(|server| FilledUse {
                rss_before_bytes: before.rss_bytes,
                rss_bytes_per_znode: rounded(
                    (server.rss_bytes as f64 - before.rss_bytes as f64) / self.znodes as f64,
                ),
                server: server_use(&server, self.znodes, measured.seconds),
            }),
            base: plan.base,
        };
        print::record(&filled, self.common.json, text);
        Ok(())
    }
}

fn text(filled: &Filled) -> String {
    let mut text = format!(
        "{} znodes of {} bytes below {}, {:.0}/s\n",
        filled.znodes, filled.value_bytes, filled.base, filled.znodes_per_s
    );
    if let Some(server) = &filled.server {
        text += &format!(
            "RSS {:.1} MB before, {:.1} MB after: {:.0} bytes per znode\n{}",
            print::megabytes(server.rss_before_bytes),
            print::megabytes(server.server.server_rss_bytes),
            server.rss_bytes_per_znode,
            print::server_line(&server.server),
        );
    }
    text
}
