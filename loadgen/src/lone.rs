//! One durable write at a time: the disk alone, and a server's set next to it.

use crate::cli::{Disk, LoneSet};
use crate::disk::Blocks;
use crate::outcome::rounded;
use crate::session::Caller;
use crate::{Failure, prepare, report, wire};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};
use zkfast::proto::OpCode;
use zkfast::proto::jute::JuteWrite;

/// Rounds of a lone set that are not counted.
const WARMUP: usize = 100;

/// What bare writes take.
#[derive(Debug, Serialize)]
struct Writes {
    what: &'static str,
    dir: String,
    writes: u64,
    p50_us: f64,
    p99_us: f64,
}

/// What sets take, and bare writes between them.
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

/// Measures the disk.
pub fn disk(disk: &Disk) -> Result<(), Failure> {
    let failed = failed(&disk.dir);
    let mut blocks = Blocks::create(&disk.dir).map_err(&failed)?;
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < disk.seconds || times.is_empty() {
        times.push(blocks.overwrite().map_err(&failed)?);
    }
    let [p50_us, p99_us] = [0.5, 0.99].map(|quantile| quantile_us(&mut times, quantile));
    let dir = disk.dir.display().to_string();
    let writes = Writes { what: "disk", dir, writes: times.len() as u64, p50_us, p99_us };
    report::print(&writes, disk.json, |writes| {
        let Writes { writes, p50_us, p99_us, .. } = writes;
        format!("4 KiB overwrite + fdatasync, {writes} times: p50 {p50_us:.0} us, p99 {p99_us:.0} us")
    });
    Ok(())
}

/// Measures sets and writes in turn.
pub fn set(lone: &LoneSet) -> Result<(), Failure> {
    let failed = failed(&lone.dir);
    let server = &lone.common.server[0];
    prepare::keys(server, 1, lone.value_bytes..=lone.value_bytes)?;
    let mut blocks = Blocks::create(&lone.dir).map_err(&failed)?;
    let mut caller = Caller::open(server)?;
    let (path, value) = (wire::key_path(0), wire::key_value(0, lone.value_bytes));
    let (mut sets, mut writes) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed().as_secs_f64() < lone.seconds || rounds <= WARMUP {
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
        dir: lone.dir.display().to_string(),
        pairs: sets.len() as u64,
        set_p50_us,
        set_p99_us,
        write_p50_us,
        write_p99_us,
        ratio_p50: rounded(set_p50_us / write_p50_us),
        value_bytes: lone.value_bytes,
    };
    report::print(&pairs, lone.common.json, text);
    Ok(())
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
