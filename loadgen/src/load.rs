//! A run of a workload, from its arguments to its outcome.

use crate::Failure;
use crate::cli::{Distribution, Load, Workload};
use crate::flow::Flow;
use crate::outcome::{Class, Curve, Latency, Outcome, ServerUse, rounded, us};
use crate::process::{self, Usage};
use crate::random::{Keys, Zipf};
use crate::run::{self, Plan, Ran, Shared, Work};
use crate::session::NoConnection;
use crate::{prepare, wire};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the servers and we used while something was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// For how long.
    pub seconds: f64,
    /// The servers; none where one of their processes has ended.
    pub server: Option<Usage>,
    /// Flushes of the servers' logs; none where one of them does not tell.
    pub fsyncs: Option<u64>,
    /// We.
    pub client: Usage,
}

/// Runs `load` and returns what came of it; a wrong reply is part of it.
///
/// # Errors
/// Where the run could not be made, or not to its end.
pub fn measure(load: &Load) -> Result<Outcome, Failure> {
    let plan = plan(load)?;
    process::raise_open_files(plan.connections).map_err(Failure::Usage)?;
    let pids = &load.common.server_pid;
    Usage::of(pids).map_err(Failure::Usage)?;
    prepare(&plan)?;
    let ran = run::run(&plan, |shared| {
        let measured = conduct(shared, &plan, pids, load.warmup, load.seconds);
        (measured.as_ref().map_or(0.0, |measured| measured.seconds), measured)
    })?;
    let outcome = outcome(load, &plan, ran)?;
    match plan.work {
        _ if load.clean => drop(prepare::clean(&plan.servers, wire::ROOT)?),
        // Nobody comes back to these. That a server cannot be had for it takes nothing from the result.
        Work::Flow(Flow::Ephemeral) | Work::Lock { .. } | Work::Watch => {
            let _ = prepare::clean(&plan.servers, &plan.base);
        }
        Work::Flow(_) | Work::Connect => {}
    }
    Ok(outcome)
}

/// A run with one wrong reply has no figures worth having.
pub fn verdict(outcome: &Outcome) -> Result<(), Failure> {
    match &outcome.trouble.first_wrong {
        Some(first) => Err(Failure::Wrong(format!("{} in all, the first: {first}", outcome.trouble.wrong))),
        None if outcome.trouble.unanswered > 0 => {
            Err(Failure::Unanswered(format!("{} requests without a reply", outcome.trouble.unanswered)))
        }
        None if outcome.ops == 0 => {
            Err(Failure::Unanswered("nothing that began while it was measured was answered".to_owned()))
        }
        None => Ok(()),
    }
}

fn plan(load: &Load) -> Result<Plan, Failure> {
    let watch = load.workload == Workload::Watch;
    let connections = load.connections + usize::from(watch);
    let threads = load.threads.unwrap_or_else(default_threads).min(connections);
    if watch && load.threads.is_some_and(|threads| threads > 1) {
        return Err(Failure::Usage("a fan-out is measured by one thread".to_owned()));
    }
    let least = if watch { wire::DIGITS as u32 } else { 0 };
    let mut value_bytes = load.value_bytes.clone();
    if *value_bytes.start() < least {
        value_bytes = least..=least.max(*value_bytes.end());
    }
    let work = match load.workload {
        Workload::Get => Work::Flow(Flow::Mix { read_ratio: 1.0 }),
        Workload::Set => Work::Flow(Flow::Mix { read_ratio: 0.0 }),
        Workload::Mix => Work::Flow(Flow::Mix { read_ratio: load.read_ratio }),
        Workload::Sync => Work::Flow(Flow::sync(load.read_ratio, load.keys)),
        Workload::Create => Work::Flow(Flow::Create),
        Workload::Ephemeral => Work::Flow(Flow::Ephemeral),
        Workload::Multi => Work::Flow(Flow::Multi { ops: load.ops }),
        Workload::List => Work::Flow(Flow::List {
            children: load.children,
            path: format!("{}/list-{:08}", wire::ROOT, load.children),
        }),
        Workload::Lock => Work::Lock { locks: load.locks.min(connections as u32) },
        Workload::Watch => Work::Watch,
        Workload::Connect => Work::Connect,
    };
    let servers = load.common.server.clone();
    let reconnect = load.reconnect.unwrap_or(servers.len() > 1 || load.workload == Workload::Connect);
    Ok(Plan {
        servers,
        connections,
        in_flight: load.in_flight,
        threads: if watch { 1 } else { threads },
        work,
        value_bytes,
        key_count: load.keys,
        keys: match load.distribution {
            Distribution::Uniform => Keys::Uniform(load.keys),
            Distribution::Zipf => Keys::Zipf(Zipf::new(load.keys, load.zipf)),
        },
        base: format!("{}/new-{:08x}", wire::ROOT, run_number()),
        rate: load.rate,
        seed: load.seed,
        reconnect,
    })
}

/// Makes the znodes that a run needs.
pub fn prepare(plan: &Plan) -> Result<(), NoConnection> {
    let server = &plan.servers[0];
    match &plan.work {
        Work::Flow(Flow::Create | Flow::Ephemeral) => {
            prepare::groups(server, &plan.base, plan.connections as u32)?;
        }
        Work::Flow(Flow::List { children, path }) => prepare::children(server, path, *children)?,
        Work::Flow(_) => prepare::keys(server, plan.key_count, plan.value_bytes.clone())?,
        Work::Lock { locks } => prepare::groups(server, &plan.base, *locks)?,
        Work::Watch => {
            prepare::groups(server, &plan.base, 0)?;
            prepare::watched(server, &wire::group_path(&plan.base, 0), *plan.value_bytes.end())?;
        }
        Work::Connect => {}
    }
    Ok(())
}

/// Waits for the warm-up, then for `seconds`; ends early where the threads did.
pub fn conduct(
    shared: &Shared,
    plan: &Plan,
    pids: &[u32],
    warmup: f64,
    seconds: f64,
) -> Result<Measured, Failure> {
    let mut progress = Progress::new(seconds);
    let mut wait = |seconds: f64, enough: usize| {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while shared.finished() < enough {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
            progress.show(shared);
        }
    };
    wait(warmup, 1);
    let own = [std::process::id()];
    let fsyncs = process::fsyncs(&plan.servers);
    let (server, client) = (Usage::of(pids), Usage::of(&own).map_err(Failure::Usage)?);
    let started = Instant::now();
    shared.measure();
    wait(seconds, plan.threads);
    shared.drain();
    let seconds = started.elapsed().as_secs_f64();
    progress.end();
    // A server that has ended in the meantime has no figures; the run has.
    let server = server.ok().zip(Usage::of(pids).ok()).map(|(before, after)| after - before);
    let client = Usage::of(&own).map_err(Failure::Usage)? - client;
    let fsyncs = fsyncs.and_then(|before| process::fsyncs(&plan.servers)?.checked_sub(before));
    Ok(Measured { seconds, server: server.filter(|_| !pids.is_empty()), fsyncs, client })
}

/// The line that a terminal shows while a run lasts.
struct Progress {
    seconds: f64,
    shown: Option<usize>,
}

impl Progress {
    /// Shows nothing where stderr is no terminal.
    fn new(seconds: f64) -> Self {
        Self { seconds, shown: std::io::stderr().is_terminal().then_some(0) }
    }

    fn show(&mut self, shared: &Shared) {
        let Some(shown) = self.shown else { return };
        let last = shared.seconds().lock().expect("no thread of ours panics").last();
        let Some((count, second)) = last.filter(|(count, _)| *count > shown) else { return };
        self.shown = Some(count);
        let lost = if second.lost > 0 { format!(", {} lost", second.lost) } else { String::new() };
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{count} of {:.0} s: {}/s, p50 {:.0} us, p99 {:.0} us, max {:.0} us{lost}",
            self.seconds,
            second.all.ops,
            second.all.p50_us,
            second.all.p99_us,
            second.all.max_us,
        );
    }

    fn end(&self) {
        if self.shown.is_some_and(|shown| shown > 0) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn outcome(load: &Load, plan: &Plan, ran: Ran<Result<Measured, Failure>>) -> Result<Outcome, Failure> {
    let Ran { tally, series, conducted } = ran;
    let measured = conducted?;
    let latencies = &tally.latencies;
    let (reads, writes) = (&latencies.reads, &latencies.writes);
    let (read_name, write_name) = names(load.workload);
    // The last event of a fan-out is one of its events.
    let watch = load.workload == Workload::Watch;
    let (ops, all) = if watch { (reads.len(), writes.clone()) } else { (tally.ops(), latencies.all()) };
    let client_us = measured.client.user_us + measured.client.sys_us;
    Ok(Outcome {
        what: "load".to_owned(),
        workload: workload_name(load),
        servers: plan.servers.join(","),
        connections: load.connections as u64,
        in_flight: match plan.work {
            Work::Flow(_) => plan.in_flight as u64,
            _ => 1,
        },
        threads: plan.threads as u64,
        value_bytes: (*plan.value_bytes.start()).into(),
        value_bytes_max: (*plan.value_bytes.end()).into(),
        keys: plan.key_count.into(),
        distribution: match load.distribution {
            Distribution::Uniform => "uniform".to_owned(),
            Distribution::Zipf => format!("zipf {}", load.zipf),
        },
        seed: plan.seed,
        rate: plan.rate,
        seconds: rounded(measured.seconds),
        ops,
        reads: reads.len(),
        ops_per_s: rounded(ops as f64 / measured.seconds),
        latency: Latency::of(&all),
        read: Class::of(read_name, reads, measured.seconds),
        write: Class::of(write_name, writes, measured.seconds),
        trouble: tally.trouble,
        behind_ms: rounded(tally.behind.as_secs_f64() * 1e3),
        unsent: tally.unsent,
        late_ms: rounded(us(tally.late.max()) / 1e3),
        late_p99_ms: rounded(us(tally.late.value_at_quantile(0.99)) / 1e3),
        client_cpu_us_per_op: rounded(client_us as f64 / ops as f64),
        server: measured.server.map(|server| server_use(&server, ops, measured.seconds)),
        server_fsyncs: measured.fsyncs,
        series,
        curve: Curve { read: Curve::points(reads), write: Curve::points(writes) },
    })
}

/// What the servers used, per operation.
pub fn server_use(usage: &Usage, ops: u64, seconds: f64) -> ServerUse {
    let per_op = |value: u64| rounded(value as f64 / ops as f64);
    ServerUse {
        server_cpu_us_per_op: per_op(usage.user_us + usage.sys_us),
        server_user_us_per_op: per_op(usage.user_us),
        server_sys_us_per_op: per_op(usage.sys_us),
        server_cores: rounded((usage.user_us + usage.sys_us) as f64 / 1e6 / seconds),
        server_voluntary_switches_per_op: per_op(usage.switches),
        server_involuntary_switches_per_op: per_op(usage.preemptions),
        server_write_bytes_per_op: per_op(usage.write_bytes),
        server_rss_bytes: usage.rss_bytes,
    }
}

/// What the two classes of a workload are.
fn names(workload: Workload) -> (&'static str, &'static str) {
    match workload {
        Workload::List => ("list", ""),
        Workload::Sync => ("sync+read", "write"),
        Workload::Multi => ("", "multi"),
        Workload::Lock => ("", "acquire"),
        Workload::Watch => ("event", "last event"),
        Workload::Connect => ("", "connect"),
        Workload::Get | Workload::Set | Workload::Mix | Workload::Create | Workload::Ephemeral => {
            ("read", "write")
        }
    }
}

fn workload_name(load: &Load) -> String {
    let keys = match load.distribution {
        Distribution::Uniform => String::new(),
        Distribution::Zipf => format!(", zipf {}", load.zipf),
    };
    match load.workload {
        Workload::Get => format!("get{keys}"),
        Workload::Set => format!("set{keys}"),
        Workload::Mix => format!("mix with {} reads{keys}", load.read_ratio),
        Workload::Sync => format!("sync and get with {} reads{keys}", load.read_ratio),
        Workload::Create => "create".to_owned(),
        Workload::Ephemeral => "ephemeral create and delete".to_owned(),
        Workload::Multi => format!("multi of {} sets{keys}", load.ops),
        Workload::List => format!("list of {} children", load.children),
        Workload::Lock => format!("lock recipe on {} lock(s)", load.locks),
        Workload::Watch => format!("watch fan-out to {} watchers", load.connections),
        Workload::Connect => "connect and close".to_owned(),
    }
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1))
}

/// Tells the znodes of this run from those of the runs before it.
pub fn run_number() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u32)
}
