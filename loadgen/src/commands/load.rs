//! `loadgen` without a command: one run of a workload, from its arguments to its outcome.

use crate::args::{Distribution, Load, Workload};
use crate::commands::conduct::{Measured, conduct, server_use};
use crate::commands::page;
use crate::engine::wire;
use crate::failure::Failure;
use crate::random::{Keys, Zipf};
use crate::report::machine::Machine;
use crate::report::outcome::{ClassOutcome, Curve, Latency, Outcome, Slow, rounded, us};
use crate::report::{load_page, print};
use crate::servers::open_files;
use crate::servers::usage::Usage;
use crate::workloads::independent::Independent;
use crate::workloads::plan::{Plan, Work};
use crate::workloads::prepare;
use crate::workloads::run::{self, Ran};
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs `load`, prints its outcome and writes its page.
pub fn run(load: &Load) -> Result<(), Failure> {
    page::check_writable(load.html.as_deref())?;
    let machine = load.html.is_some().then(|| Machine::here(None));
    let outcome = measure(load)?;
    print::record(&outcome, load.common.json, print::table);
    if let (Some(file), Some(machine)) = (&load.html, machine) {
        page::write(file, &load_page::page(&outcome, &machine))?;
    }
    verdict(&outcome)
}

/// Runs `load` and returns its outcome, which counts wrong replies and keeps the first; see [`verdict`].
///
/// # Errors
/// The run could not begin, or ended early: an argument, a process or a connection is the reason.
pub fn measure(load: &Load) -> Result<Outcome, Failure> {
    let plan = plan(load)?;
    open_files::raise_limit(plan.connections).map_err(Failure::Usage)?;
    let pids = &load.common.server_pid;
    Usage::of(pids).map_err(Failure::Usage)?;
    prepare::for_plan(&plan)?;
    let ran = run::run(&plan, |shared| {
        let measured = conduct(shared, &plan, pids, load.warmup, load.seconds);
        (measured.as_ref().map_or(0.0, |measured| measured.seconds), measured)
    })?;
    let outcome = outcome(load, &plan, ran)?;
    match plan.work {
        _ if load.clean => drop(prepare::clean(&plan.servers, wire::ROOT)?),
        // No later run uses these znodes. If no server takes a session to delete them, the result stands all the same.
        Work::Independent(Independent::Ephemeral) | Work::Lock { .. } | Work::Watch => {
            let _ = prepare::clean(&plan.servers, &plan.base);
        }
        Work::Independent(_) | Work::Connect => {}
    }
    Ok(outcome)
}

/// Fails if a reply of the run was wrong or missing: its figures then mean nothing.
///
/// # Errors
/// [`Failure::Wrong`] with the first wrong reply, [`Failure::Unanswered`] if replies are missing.
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
        Workload::Get => Work::Independent(Independent::Mix { read_ratio: 1.0 }),
        Workload::Set => Work::Independent(Independent::Mix { read_ratio: 0.0 }),
        Workload::Mix => Work::Independent(Independent::Mix { read_ratio: load.read_ratio }),
        Workload::Sync => Work::Independent(Independent::sync(load.read_ratio, load.keys)),
        Workload::Create => Work::Independent(Independent::Create),
        Workload::Ephemeral => Work::Independent(Independent::Ephemeral),
        Workload::Multi => Work::Independent(Independent::Multi { ops: load.ops }),
        Workload::List => Work::Independent(Independent::List {
            children: load.children,
            path: format!("{}/list-{:08}", wire::ROOT, load.children),
        }),
        Workload::Lock => Work::Lock { locks: load.locks.min(connections as u32) },
        Workload::Watch => Work::Watch,
        Workload::Connect => Work::Connect,
    };
    let retries = matches!(load.workload, Workload::Get | Workload::Set | Workload::Mix);
    if load.retry && !retries {
        return Err(Failure::Usage("--retry is for the workloads get, set and mix".to_owned()));
    }
    if load.retry && load.reconnect == Some(false) {
        return Err(Failure::Usage("--retry needs connections again, and --reconnect is false".to_owned()));
    }
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
        reconnect: reconnect || load.retry,
        retry: load.retry,
    })
}

fn outcome(load: &Load, plan: &Plan, ran: Ran<Result<Measured, Failure>>) -> Result<Outcome, Failure> {
    let Ran { tally, series, conducted } = ran;
    let measured = conducted?;
    let latencies = &tally.latencies;
    let (reads, writes) = (&latencies.reads, &latencies.writes);
    let (read_name, write_name) = names(load.workload);
    // The last event of a fan-out is one of its events: they are not counted twice.
    let watch = load.workload == Workload::Watch;
    let (ops, all) = if watch { (reads.len(), writes.clone()) } else { (tally.ops(), latencies.all()) };
    let client_us = measured.client.user_us + measured.client.sys_us;
    Ok(Outcome {
        what: "load".to_owned(),
        workload: workload_name(load),
        servers: plan.servers.join(","),
        connections: load.connections as u64,
        in_flight: match plan.work {
            Work::Independent(_) => plan.in_flight as u64,
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
        read: ClassOutcome::of(read_name, reads, measured.seconds),
        write: ClassOutcome::of(write_name, writes, measured.seconds),
        trouble: tally.trouble,
        behind_ms: rounded(tally.behind.as_secs_f64() * 1e3),
        unsent: tally.unsent,
        late_ms: rounded(us(tally.late.max()) / 1e3),
        slow: load.slow_ms.map(|ms| Slow::of(ms, &latencies.reads, &latencies.writes)),
        late_p99_ms: rounded(us(tally.late.value_at_quantile(0.99)) / 1e3),
        client_cpu_us_per_op: rounded(client_us as f64 / ops as f64),
        server: measured.server.map(|server| server_use(&server, ops, measured.seconds)),
        server_fsyncs: measured.fsyncs,
        series,
        curve: Curve { read: Curve::points(reads), write: Curve::points(writes) },
    })
}

/// Names of the reads and of the writes of a workload; empty if it has none of them.
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

/// A number that distinguishes the znodes of this run from those of earlier runs.
pub fn run_number() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u32)
}
