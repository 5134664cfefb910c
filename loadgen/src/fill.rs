//! Znodes that are created once: what they cost a server.

use crate::cli::Fill;
use crate::flow::Flow;
use crate::outcome::{ServerUse, rounded};
use crate::process::Usage;
use crate::random::Keys;
use crate::run::{self, Plan, Work};
use crate::{Failure, load, prepare, report, wire};
use serde::Serialize;

/// Sessions and requests on their way: enough for every server to group its commits.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 64;

/// What a fill came to.
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

/// Creates the znodes and tells what that cost.
pub fn run(fill: &Fill) -> Result<(), Failure> {
    let pids = &fill.common.server_pid;
    let groups = u32::try_from(fill.znodes.div_ceil(fill.fanout)).expect("fewer than NUMBERS");
    let plan = Plan {
        servers: fill.common.server.clone(),
        connections: CONNECTIONS,
        in_flight: IN_FLIGHT,
        threads: 1,
        work: Work::Flow(Flow::Fill { znodes: fill.znodes, fanout: fill.fanout }),
        value_bytes: fill.value_bytes..=fill.value_bytes,
        key_count: 1,
        keys: Keys::Uniform(1),
        base: format!("{}/fill-{:08x}", wire::ROOT, load::run_number()),
        rate: None,
        seed: 0,
        reconnect: false,
    };
    let before = Usage::of(pids).map_err(Failure::Usage)?;
    prepare::groups(&plan.servers[0], &plan.base, groups)?;
    let ran = run::run(&plan, |shared| {
        let measured = load::conduct(shared, &plan, pids, 0.0, f64::from(u32::MAX));
        (measured.as_ref().map_or(0.0, |measured| measured.seconds), measured)
    })?;
    let measured = ran.conducted?;
    if let Some(first) = ran.tally.trouble.first_wrong {
        return Err(Failure::Wrong(format!("{} in all, the first: {first}", ran.tally.trouble.wrong)));
    }
    let created = ran.tally.ops();
    if created != fill.znodes {
        return Err(Failure::Unanswered(format!("{created} of {} znodes were created", fill.znodes)));
    }
    let filled = Filled {
        what: "fill",
        servers: plan.servers.join(","),
        znodes: fill.znodes,
        value_bytes: fill.value_bytes,
        fanout: fill.fanout,
        seconds: rounded(measured.seconds),
        znodes_per_s: rounded(fill.znodes as f64 / measured.seconds),
        server: measured.server.map(|server| FilledUse {
            rss_before_bytes: before.rss_bytes,
            rss_bytes_per_znode: rounded(
                (server.rss_bytes as f64 - before.rss_bytes as f64) / fill.znodes as f64,
            ),
            server: load::server_use(&server, fill.znodes, measured.seconds),
        }),
        base: plan.base,
    };
    report::print(&filled, fill.common.json, text);
    Ok(())
}

fn text(filled: &Filled) -> String {
    let mut text = format!(
        "{} znodes of {} bytes below {}, {:.0}/s\n",
        filled.znodes, filled.value_bytes, filled.base, filled.znodes_per_s
    );
    if let Some(server) = &filled.server {
        text += &format!(
            "RSS {:.1} MB before, {:.1} MB after: {:.0} bytes per znode\n{}",
            report::megabytes(server.rss_before_bytes),
            report::megabytes(server.server.server_rss_bytes),
            server.rss_bytes_per_znode,
            report::server_line(&server.server),
        );
    }
    text
}
