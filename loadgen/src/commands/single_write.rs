//! One durable write at a time: `loadgen disk` measures the disk alone, `loadgen lone-set` a server's set and then a
//! write to the same disk, in turn.

use crate::args::{self, Common};
use crate::commands::blocks::Blocks;
use crate::engine::caller::Caller;
use crate::engine::wire;
use crate::failure::Failure;
use crate::report::outcome::rounded;
use crate::report::print;
use crate::workloads::prepare;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zkfast::proto::OpCode;
use zkfast::proto::jute::JuteWrite;

/// Options of `disk`.
#[derive(Debug, Args)]
pub struct Disk {
    /// Directory on the disk in question
    #[arg(long)]
    dir: PathBuf,
    /// Measured time
    #[arg(long, default_value_t = 5.0, value_parser = args::seconds)]
    seconds: f64,
    /// One JSON object on one line
    #[arg(long)]
    json: bool,
}

/// Options of `lone-set`.
#[derive(Debug, Args)]
pub struct SingleSet {
    #[command(flatten)]
    common: Common,
    /// Directory on the disk of the server's log
    #[arg(long)]
    dir: PathBuf,
    /// Measured time
    #[arg(long, default_value_t = 10.0, value_parser = args::seconds)]
    seconds: f64,
    /// Bytes of data
    #[arg(long, default_value_t = 100, value_parser = args::value_bytes)]
    value_bytes: u32,
}

/// Pairs at the start that are not counted.
const WARMUP: usize = 100;

/// The record of bare writes.
#[derive(Debug, Serialize)]
struct Writes {
    what: &'static str,
    dir: String,
    writes: u64,
    p50_us: f64,
    p99_us: f64,
}

/// The record of sets with bare writes between them.
#[derive(Debug, Serialize)]
struct Pairs {
    what: &'static str,
    server: String,
    dir: String,
    pairs: u64,
    set_p50_us: f64,
    set_p99_us: f64,
    write_p50_us: f64,
    write_p99_us: f64,
    ratio_p50: f64,
    #[serde(skip)]
    value_bytes: u32,
}

fn failed(dir: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    |error| Failure::Usage(format!("{}: {error}", dir.display()))
}

impl Disk {
    /// Overwrites blocks one after the other and prints how long that takes.
    pub fn run(&self) -> Result<(), Failure> {
        let failed = failed(&self.dir);
        let mut blocks = Blocks::create(&self.dir).map_err(&failed)?;
        let mut times = Vec::new();
        let started = Instant::now();
        while started.elapsed().as_secs_f64() < self.seconds || times.is_empty() {
            times.push(blocks.overwrite().map_err(&failed)?);
        }
        let [p50_us, p99_us] = [0.5, 0.99].map(|quantile| quantile_us(&mut times, quantile));
        let dir = self.dir.display().to_string();
        let writes = Writes { what: "disk", dir, writes: times.len() as u64, p50_us, p99_us };
        print::record(&writes, self.json, |writes| {
            let Writes { writes, p50_us, p99_us, .. } = writes;
            format!("4 KiB overwrite + fdatasync, {writes} times: p50 {p50_us:.0} us, p99 {p99_us:.0} us")
        });
        Ok(())
    }
}

impl SingleSet {
    /// Sends a set and overwrites a block, in turn, and prints how long both take.
    pub fn run(&self) -> Result<(), Failure> {
        let failed = failed(&self.dir);
        let server = &self.common.server[0];
        prepare::make_keys(server, 1, self.value_bytes..=self.value_bytes)?;
        let mut blocks = Blocks::create(&self.dir).map_err(&failed)?;
        let mut caller = Caller::open(server)?;
        let (path, value) = (wire::key_path(0), wire::key_value(0, self.value_bytes));
        let (mut sets, mut writes) = (Vec::new(), Vec::new());
        let started = Instant::now();
        let mut rounds = 0;
        while started.elapsed().as_secs_f64() < self.seconds || rounds <= WARMUP {
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
            let write = blocks.overwrite().map_err(&failed)?;
            rounds += 1;
            if rounds > WARMUP {
                sets.push(set);
                writes.push(write);
            }
        }
        caller.close();
        let [set_p50_us, set_p99_us] = [0.5, 0.99].map(|quantile| quantile_us(&mut sets, quantile));
        let [write_p50_us, write_p99_us] = [0.5, 0.99].map(|quantile| quantile_us(&mut writes, quantile));
        let pairs = Pairs {
            what: "lone-set",
            server: server.clone(),
            dir: self.dir.display().to_string(),
            pairs: sets.len() as u64,
            set_p50_us,
            set_p99_us,
            write_p50_us,
            write_p99_us,
            ratio_p50: rounded(set_p50_us / write_p50_us),
            value_bytes: self.value_bytes,
        };
        print::record(&pairs, self.common.json, text);
        Ok(())
    }
}

fn text(pairs: &Pairs) -> String {
    format!(
        "{} pairs, one after the other\n\
         set of {} bytes:             p50 {:.0} us, p99 {:.0} us\n\
         4 KiB overwrite + fdatasync:  p50 {:.0} us, p99 {:.0} us\n\
         ratio of the medians:         {:.2}",
        pairs.pairs,
        pairs.value_bytes,
        pairs.set_p50_us,
        pairs.set_p99_us,
        pairs.write_p50_us,
        pairs.write_p99_us,
        pairs.ratio_p50,
    )
}

fn quantile_us(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * quantile).round() as usize;
    rounded(times[at].as_secs_f64() * 1e6)
}
