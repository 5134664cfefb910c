//! Load for anything that speaks ZooKeeper's protocol.
//!
//! `loadgen --read-ratio 0.9` measures the server on this machine; `--help` shows the rest. Every
//! reply is checked, and one wrong reply is an exit status of 1, whatever the speed was.

mod disk;
#[cfg(test)]
mod fake;
mod idle;
mod prepare;
mod process;
mod random;
mod report;
mod run;
mod session;
mod wire;

use clap::{Args, Parser, Subcommand, ValueEnum};
use process::Usage;
use report::Json;
use run::{Plan, Shared, Tally, Work};
use session::{Caller, NoConnection, Session};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zkfast::proto::OpCode;
use zkfast::proto::jute::JuteWrite;

/// Measures servers that speak ZooKeeper's protocol, checking every reply.
///
/// Without a command it runs reads and writes of 100-byte znodes below /loadgen.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        loadgen --read-ratio 0.9\n  \
        loadgen --workload set --connections 1 --in-flight 1 --seconds 5\n  \
        loadgen --rate 5000 --connections 32 --server-pid $(pgrep -x zkfast)\n  \
        loadgen fill --znodes 100000 --server-pid $(pgrep -x zkfast)\n\n\
        Exit status: 0, 1 (a reply was wrong), 2 (usage), 3 (no connection)."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Opens sessions that do nothing, holds them by pings, and tells what they cost.
    Idle(Idle),
    /// Creates znodes and tells what they cost.
    Fill(Fill),
    /// Deletes everything below /loadgen.
    Clean(Common),
    /// Measures one durable 4 KiB overwrite at a time, without a server.
    Disk(Disk),
    /// Alternates single sets with bare durable 4 KiB overwrites in the same directory.
    LoneSet(LoneSet),
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// Servers; sessions are spread over them in turn
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "localhost:2181")]
    server: Vec<String>,
    /// Processes of the servers, whose CPU time, memory and writes are told
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// One JSON object on one line instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Workload {
    /// getData of random keys
    Get,
    /// setData of random keys
    Set,
    /// Both, by --read-ratio
    Mix,
    /// Creates below one parent per session
    Create,
}

#[derive(Debug, Args)]
struct Load {
    #[command(flatten)]
    common: Common,
    /// Sessions
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    connections: usize,
    /// Requests on their way per session; at most so many with --rate
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    in_flight: usize,
    /// Threads of loadgen [default: one, and one more for each four cores beyond four]
    #[arg(long, value_parser = at_least_one)]
    threads: Option<usize>,
    /// Measured time
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// Time before it, in seconds
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    warmup: f64,
    /// Kind of requests
    #[arg(long, value_enum, default_value_t = Workload::Mix)]
    workload: Workload,
    /// Share of reads in a mix
    #[arg(long, default_value_t = 0.9, value_parser = ratio)]
    read_ratio: f64,
    /// Bytes of data per znode
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    value_bytes: usize,
    /// Znodes that are read and written
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..wire::NUMBERS as i64))]
    keys: u32,
    /// Open loop: requests per second, arriving at random (Poisson)
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Seed of keys, mix and arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Delete everything below /loadgen afterwards
    #[arg(long)]
    clean: bool,
}

#[derive(Debug, Args)]
struct Idle {
    #[command(flatten)]
    common: Common,
    /// Sessions
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    sessions: usize,
    /// How long to hold them
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct Fill {
    #[command(flatten)]
    common: Common,
    /// Znodes
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..wire::NUMBERS))]
    znodes: u64,
    /// Bytes of data per znode
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    value_bytes: usize,
    /// Znodes per parent
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    fanout: u64,
}

#[derive(Debug, Args)]
struct Disk {
    /// Directory on the disk in question
    #[arg(long)]
    dir: PathBuf,
    /// Measured time
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// One JSON object on one line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LoneSet {
    #[command(flatten)]
    common: Common,
    /// Directory on the disk of the server's log
    #[arg(long)]
    dir: PathBuf,
    /// Measured time
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// Bytes of data
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    value_bytes: usize,
}

/// Why loadgen ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    NoConnection(#[from] NoConnection),
    #[error("{0}")]
    Usage(String),
    #[error("wrong reply: {0}")]
    Wrong(String),
}

/// Largest data of a znode that a stock server takes, with room for the rest of the request.
const VALUE_BYTES_MAX: usize = 1_000_000;
/// Sessions and requests on their way of a fill: enough for every server to group its commits.
const FILL_CONNECTIONS: usize = 8;
const FILL_IN_FLIGHT: usize = 64;
/// Rounds of a lone set that are not counted.
const LONE_WARMUP: usize = 100;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => load(&cli.load),
        Some(Command::Idle(idle)) => hold_idle(&idle),
        Some(Command::Fill(fill)) => fill_tree(&fill),
        Some(Command::Clean(common)) => clean(&common),
        Some(Command::Disk(disk)) => measure_disk(&disk),
        Some(Command::LoneSet(lone)) => lone_set(&lone),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    eprintln!("loadgen: {failure}");
    match failure {
        Failure::Wrong(_) => ExitCode::from(1),
        Failure::Usage(_) => ExitCode::from(2),
        Failure::NoConnection(_) => ExitCode::from(3),
    }
}

/// What the servers and we used while something was measured.
struct Measured {
    seconds: f64,
    server: Usage,
    client: Usage,
}

/// Waits for the warm-up, then for `seconds`; ends early where the threads did.
fn conduct(
    shared: &Shared,
    pids: &[u32],
    warmup: f64,
    seconds: f64,
    threads: usize,
) -> Result<Measured, String> {
    let wait = |seconds: f64, enough: usize| {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while shared.finished() < enough {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    };
    wait(warmup, 1);
    let own = [std::process::id()];
    let (server, client) = (Usage::of(pids)?, Usage::of(&own)?);
    let started = Instant::now();
    shared.measure();
    wait(seconds, threads);
    shared.drain();
    let seconds = started.elapsed().as_secs_f64();
    Ok(Measured { seconds, server: Usage::of(pids)? - server, client: Usage::of(&own)? - client })
}

fn load(load: &Load) -> Result<(), Failure> {
    let common = &load.common;
    let threads = load.threads.unwrap_or_else(default_threads).min(load.connections);
    let plan = Plan {
        servers: common.server.clone(),
        connections: load.connections,
        in_flight: load.in_flight,
        threads,
        work: match load.workload {
            Workload::Get => Work::Mix { read_ratio: 1.0 },
            Workload::Set => Work::Mix { read_ratio: 0.0 },
            Workload::Mix => Work::Mix { read_ratio: load.read_ratio },
            Workload::Create => Work::Create,
        },
        value_bytes: load.value_bytes,
        keys: load.keys,
        base: format!("{}/new-{:08x}", wire::ROOT, run_number()),
        rate: load.rate,
        seed: load.seed,
    };
    raise_open_files(load.connections)?;
    Usage::of(&common.server_pid).map_err(Failure::Usage)?;
    if plan.work == Work::Create {
        prepare::groups(&plan.servers[0], &plan.base, plan.connections as u32)?;
    } else {
        prepare::keys(&plan.servers[0], plan.keys, plan.value_bytes)?;
    }
    let (tally, measured) =
        run::run(&plan, |shared| conduct(shared, &common.server_pid, load.warmup, load.seconds, threads))?;
    let measured = measured.map_err(Failure::Usage)?;
    if common.json {
        report::line(&load_json(load, &plan, &tally, &measured));
    } else {
        load_table(load, &plan, &tally, &measured);
    }
    if load.clean {
        prepare::clean(&plan.servers[0])?;
    }
    verdict(&tally)
}

/// A run with one wrong reply has no figures worth having.
fn verdict(tally: &Tally) -> Result<(), Failure> {
    match &tally.first_wrong {
        Some(first) => Err(Failure::Wrong(format!("{} in all, the first: {first}", tally.wrong))),
        None if tally.unanswered > 0 => {
            Err(Failure::Wrong(format!("{} requests without a reply", tally.unanswered)))
        }
        None => Ok(()),
    }
}

fn load_json(load: &Load, plan: &Plan, tally: &Tally, measured: &Measured) -> String {
    let mut json = Json::new("load");
    json.text("workload", &workload_name(load));
    json.text("servers", &plan.servers.join(","));
    json.int("connections", plan.connections as u64);
    json.int("in_flight", plan.in_flight as u64);
    json.int("threads", plan.threads as u64);
    json.int("value_bytes", plan.value_bytes as u64);
    json.int("keys", plan.keys.into());
    json.int("seed", plan.seed);
    json.number("rate", plan.rate.unwrap_or(f64::NAN));
    json.number("seconds", measured.seconds);
    json.int("ops", tally.ops());
    json.int("reads", tally.reads.len());
    json.number("ops_per_s", tally.ops() as f64 / measured.seconds);
    json.latency("", &tally.all());
    json.latency("read_", &tally.reads);
    json.latency("write_", &tally.writes);
    json.int("wrong", tally.wrong);
    json.int("unanswered", tally.unanswered);
    json.number("behind_ms", tally.behind.as_secs_f64() * 1e3);
    json.number("client_cpu_us_per_op", client_us_per_op(measured, tally.ops()));
    if !load.common.server_pid.is_empty() {
        json.usage(&measured.server, tally.ops());
    }
    json.end()
}

fn load_table(load: &Load, plan: &Plan, tally: &Tally, measured: &Measured) {
    report::line(&format!(
        "{}, {} bytes, {} connections x {} in flight{}, {:.1} s, {} thread(s), {}",
        workload_name(load),
        plan.value_bytes,
        plan.connections,
        plan.in_flight,
        plan.rate.map(|rate| format!(" at most, {rate}/s arriving")).unwrap_or_default(),
        measured.seconds,
        plan.threads,
        plan.servers.join(","),
    ));
    report::line(&report::latency_heading());
    for (name, histogram) in [("read", &tally.reads), ("write", &tally.writes), ("all", &tally.all())] {
        if !histogram.is_empty() {
            report::line(&report::latency_row(name, histogram, measured.seconds));
        }
    }
    if !load.common.server_pid.is_empty() {
        report::line(&report::usage_line(&measured.server, tally.ops()));
    }
    report::line(&format!("client: CPU {:.2} us/op", client_us_per_op(measured, tally.ops())));
    if tally.behind > Duration::from_millis(10) {
        report::line(&format!(
            "the last requests left {:.0} ms after their arrival: the rate is more than was served",
            tally.behind.as_secs_f64() * 1e3
        ));
    }
}

fn client_us_per_op(measured: &Measured, ops: u64) -> f64 {
    (measured.client.user_us + measured.client.sys_us) as f64 / ops as f64
}

fn workload_name(load: &Load) -> String {
    match load.workload {
        Workload::Get => "get".to_owned(),
        Workload::Set => "set".to_owned(),
        Workload::Mix => format!("mix with {} reads", load.read_ratio),
        Workload::Create => "create".to_owned(),
    }
}

fn hold_idle(idle: &Idle) -> Result<(), Failure> {
    let pids = &idle.common.server_pid;
    let usage = || Usage::of(pids).map_err(Failure::Usage);
    raise_open_files(idle.sessions)?;
    let before = usage()?;
    let started = Instant::now();
    let mut sessions = Session::open_many(&idle.common.server, idle.sessions)?;
    let opening = started.elapsed().as_secs_f64();
    let opened = usage()?;
    let started = Instant::now();
    let held = idle::hold(&mut sessions, Duration::from_secs_f64(idle.seconds));
    let seconds = started.elapsed().as_secs_f64();
    let after = usage()?;
    Session::close_all(sessions);
    held?;

    let grown = (after.rss_bytes as f64 - before.rss_bytes as f64) / idle.sessions as f64;
    let used = after - opened;
    let cores = (used.user_us + used.sys_us) as f64 / 1e6 / seconds;
    if idle.common.json {
        let mut json = Json::new("idle");
        json.text("servers", &idle.common.server.join(","));
        json.int("sessions", idle.sessions as u64);
        json.number("opened_per_s", idle.sessions as f64 / opening);
        json.number("seconds", seconds);
        if !pids.is_empty() {
            json.int("rss_before_bytes", before.rss_bytes);
            json.int("rss_after_bytes", after.rss_bytes);
            json.number("rss_bytes_per_session", grown);
            json.number("cores", cores);
            json.number("voluntary_switches_per_s", used.switches as f64 / seconds);
        }
        report::line(&json.end());
        return Ok(());
    }
    report::line(&format!(
        "{} sessions, opened at {:.0}/s, held for {seconds:.1} s",
        idle.sessions,
        idle.sessions as f64 / opening
    ));
    if !pids.is_empty() {
        report::line(&format!(
            "server: RSS {:.1} MB before, {:.1} MB with them ({:.1} KB each), {cores:.4} cores, \
             {:.0} voluntary switches/s while they idle",
            report::megabytes(before.rss_bytes),
            report::megabytes(after.rss_bytes),
            grown / 1e3,
            used.switches as f64 / seconds
        ));
    }
    Ok(())
}

fn fill_tree(fill: &Fill) -> Result<(), Failure> {
    let pids = &fill.common.server_pid;
    let groups = u32::try_from(fill.znodes.div_ceil(fill.fanout)).expect("fewer than NUMBERS");
    let plan = Plan {
        servers: fill.common.server.clone(),
        connections: FILL_CONNECTIONS,
        in_flight: FILL_IN_FLIGHT,
        threads: 1,
        work: Work::Fill { znodes: fill.znodes, fanout: fill.fanout },
        value_bytes: fill.value_bytes,
        keys: 1,
        base: format!("{}/fill-{:08x}", wire::ROOT, run_number()),
        rate: None,
        seed: 0,
    };
    let before = Usage::of(pids).map_err(Failure::Usage)?;
    prepare::groups(&plan.servers[0], &plan.base, groups)?;
    let (tally, measured) = run::run(&plan, |shared| conduct(shared, pids, 0.0, f64::from(u32::MAX), 1))?;
    let measured = measured.map_err(Failure::Usage)?;
    verdict(&tally)?;

    let after = measured.server.rss_bytes;
    let per_znode = (after as f64 - before.rss_bytes as f64) / fill.znodes as f64;
    let per_s = fill.znodes as f64 / measured.seconds;
    if fill.common.json {
        let mut json = Json::new("fill");
        json.text("servers", &plan.servers.join(","));
        json.int("znodes", fill.znodes);
        json.int("value_bytes", fill.value_bytes as u64);
        json.int("fanout", fill.fanout);
        json.number("seconds", measured.seconds);
        json.number("znodes_per_s", per_s);
        if !pids.is_empty() {
            json.int("rss_before_bytes", before.rss_bytes);
            json.number("rss_bytes_per_znode", per_znode);
            json.usage(&measured.server, fill.znodes);
        }
        report::line(&json.end());
        return Ok(());
    }
    report::line(&format!(
        "{} znodes of {} bytes below {}, {per_s:.0}/s",
        fill.znodes, fill.value_bytes, plan.base
    ));
    if !pids.is_empty() {
        report::line(&format!(
            "RSS {:.1} MB before, {:.1} MB after: {per_znode:.0} bytes per znode",
            report::megabytes(before.rss_bytes),
            report::megabytes(after)
        ));
        report::line(&report::usage_line(&measured.server, fill.znodes));
    }
    Ok(())
}

fn clean(common: &Common) -> Result<(), Failure> {
    let deleted = prepare::clean(&common.server[0])?;
    if common.json {
        let mut json = Json::new("clean");
        json.int("deleted", deleted);
        report::line(&json.end());
    } else {
        report::line(&format!("{deleted} znodes deleted"));
    }
    Ok(())
}

fn measure_disk(disk: &Disk) -> Result<(), Failure> {
    let failed = |error| Failure::Usage(format!("{}: {error}", disk.dir.display()));
    let mut blocks = disk::Blocks::create(&disk.dir).map_err(failed)?;
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < disk.seconds || times.is_empty() {
        times.push(blocks.overwrite().map_err(failed)?);
    }
    let [p50, p99] = [0.5, 0.99].map(|quantile| quantile_us(&mut times, quantile));
    if disk.json {
        let mut json = Json::new("disk");
        json.text("dir", &disk.dir.display().to_string());
        json.int("writes", times.len() as u64);
        json.number("p50_us", p50);
        json.number("p99_us", p99);
        report::line(&json.end());
    } else {
        report::line(&format!(
            "4 KiB overwrite + fdatasync, {} times: p50 {p50:.0} us, p99 {p99:.0} us",
            times.len()
        ));
    }
    Ok(())
}

fn lone_set(lone: &LoneSet) -> Result<(), Failure> {
    let failed = |error| Failure::Usage(format!("{}: {error}", lone.dir.display()));
    let server = &lone.common.server[0];
    prepare::keys(server, 1, lone.value_bytes)?;
    let mut blocks = disk::Blocks::create(&lone.dir).map_err(failed)?;
    let mut caller = Caller::open(server)?;
    let (path, value) = (wire::key_path(0), wire::key_value(0, lone.value_bytes));
    let (mut sets, mut writes) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed().as_secs_f64() < lone.seconds || rounds <= LONE_WARMUP {
        let sent = Instant::now();
        let (err, _) = caller.call(OpCode::SET_DATA, |out| {
            out.put_string(path.as_bytes());
            out.put_buffer(Some(&value));
            bytes::BufMut::put_i32(out, -1);
        })?;
        let set = sent.elapsed();
        if err != 0 {
            return Err(Failure::Wrong(format!("set {path}: error {err}")));
        }
        let write = blocks.overwrite().map_err(failed)?;
        rounds += 1;
        if rounds > LONE_WARMUP {
            sets.push(set);
            writes.push(write);
        }
    }
    caller.close();
    let [set_p50, set_p99] = [0.5, 0.99].map(|quantile| quantile_us(&mut sets, quantile));
    let [write_p50, write_p99] = [0.5, 0.99].map(|quantile| quantile_us(&mut writes, quantile));
    if lone.common.json {
        let mut json = Json::new("lone-set");
        json.text("server", server);
        json.text("dir", &lone.dir.display().to_string());
        json.int("pairs", sets.len() as u64);
        json.number("set_p50_us", set_p50);
        json.number("set_p99_us", set_p99);
        json.number("write_p50_us", write_p50);
        json.number("write_p99_us", write_p99);
        json.number("ratio_p50", set_p50 / write_p50);
        report::line(&json.end());
    } else {
        report::line(&format!("{} pairs, one after the other", sets.len()));
        report::line(&format!(
            "set of {} bytes:             p50 {set_p50:.0} us, p99 {set_p99:.0} us",
            lone.value_bytes
        ));
        report::line(&format!("4 KiB overwrite + fdatasync:  p50 {write_p50:.0} us, p99 {write_p99:.0} us"));
        report::line(&format!("ratio of the medians:         {:.2}", set_p50 / write_p50));
    }
    Ok(())
}

fn quantile_us(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * quantile).round() as usize;
    times[at].as_secs_f64() * 1e6
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1))
}

/// Tells the znodes of this run from those of the runs before it.
fn run_number() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u32)
}

/// Sockets are open files, of which a shell grants 1,024.
fn raise_open_files(sockets: usize) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Files beside the sockets.
    const OTHERS: u64 = 64;
    let limit = getrlimit(Resource::Nofile);
    let need = sockets as u64 + OTHERS;
    if limit.current.is_none_or(|current| current >= need) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(need), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| Failure::Usage(format!("{need} open files are too many here (ulimit -Hn): {error}")))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|error| format!("{error}"))?;
    if bytes <= VALUE_BYTES_MAX { Ok(bytes) } else { Err(format!("at most {VALUE_BYTES_MAX}")) }
}

fn number_in(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (low..=high).contains(&number) { Ok(number) } else { Err(format!("from {low} to {high}")) }
}

fn seconds(text: &str) -> Result<f64, String> {
    number_in(text, 0.0, 1e6)
}

fn ratio(text: &str) -> Result<f64, String> {
    number_in(text, 0.0, 1.0)
}

fn rate(text: &str) -> Result<f64, String> {
    number_in(text, 0.001, 1e9)
}
