//! Allocations of the parts, counted: `cargo bench --bench allocations`.
//!
//! Prints a table of allocations and bytes per operation: the median of [`ROUNDS`] after a warm-up, so that a hash
//! table that grows now and then does not count. The limits are the counts of the day they were set: only a change of
//! the code exceeds one, and with `--test` that fails. It is a program of its own, because counting costs time, which
//! the other program measures. Arguments are parts of names: only rows with one of them run.

#![allow(clippy::print_stdout, reason = "the program prints a table")]

#[expect(dead_code, reason = "the other program uses the rest")]
mod election;
mod fixture;

use allocation_counter::measure;
use election::Ports;
use fixture::{DATA_BYTES, Random, Server};
use std::hint::black_box;
use zkfast::proto::event::put_event;
use zkfast::proto::reply::put_reply;
use zkfast::proto::request::{Create, PathWatch, SetData};
use zkfast::proto::{EventType, JuteWrite, Reader, RequestHeader, Stat, Zxid};
use zkfast::tree::{Digests, ExtendedTypes, Settings, Tree};

/// Counted passes of each row.
const ROUNDS: usize = 51;

/// Passes before those, in which maps and buffers grow to the size they need.
const WARM_UP: usize = 200;

/// Znodes of the large tree.
const ZNODES: u64 = 1_000_000;

fn main() {
    let mut table = Table::from_arguments();
    println!("{:<46} {:>14} {:>14} {:>9}", "per operation", "allocations", "bytes", "limit");
    codec(&mut table);
    reads(&mut table);
    writes(&mut table);
    fan_out(&mut table);
    elections(&mut table);
    znodes(&mut table);
    assert!(table.over.is_empty(), "more allocations than the limit: {}", table.over.join(", "));
}

/// Prints rows and, with `--test`, compares them with their limits.
#[derive(Default)]
struct Table {
    wanted: Vec<String>,
    tests: bool,
    over: Vec<String>,
}

impl Table {
    fn from_arguments() -> Self {
        let mut table = Self::default();
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--test" => table.tests = true,
                // cargo adds flags, and users pass those of the other program.
                flag if flag.starts_with("--") => {}
                name => table.wanted.push(name.to_owned()),
            }
        }
        table
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| name.contains(part.as_str()))
    }

    /// Prints one row: `round` prepares and runs `operations` operations, and returns what [`measure`] counted for
    /// them.
    fn row(&mut self, name: &str, operations: usize, limit: f64, mut round: impl FnMut() -> (u64, u64)) {
        if !self.wants(name) {
            return;
        }
        for _ in 0..WARM_UP {
            round();
        }
        let (mut counts, mut bytes): (Vec<u64>, Vec<u64>) = (0..ROUNDS).map(|_| round()).unzip();
        counts.sort_unstable();
        bytes.sort_unstable();
        let per_operation = |sorted: &[u64]| sorted[ROUNDS / 2] as f64 / operations as f64;
        let count = per_operation(&counts);
        println!("{name:<46} {count:>14.2} {:>14.1} {limit:>9.2}", per_operation(&bytes));
        if self.tests && count > limit {
            self.over.push(format!("{name}: {count:.2} > {limit}"));
        }
    }
}

/// The memory of a znode of [`DATA_BYTES`]: bytes that the code asked for and did not free, without the allocator's
/// rounding and gaps. The second tree is a view's.
fn znodes(table: &mut Table) {
    let settings =
        Settings { extended_types: ExtendedTypes::Off, digests: Digests::Kept, hash_seed: fixture::SEED };
    let data = Random::new().data(DATA_BYTES);
    let (mut tree, mut view) = (Tree::new(settings), None);
    if !table.wants("tree/live_bytes") {
        return;
    }
    let first = measure(|| {
        (1..=ZNODES).for_each(|n| fixture::add(&mut tree, format!("/{n:09}").as_bytes(), &data, Zxid(n)));
    });
    let second = measure(|| view = Some(tree.for_view()));
    let per_znode = |bytes: i64| bytes as f64 / ZNODES as f64;
    let (first, further) = (per_znode(first.bytes_current), per_znode(second.bytes_current));
    for (what, bytes, limit) in [("two_trees", first + further, 300.0), ("each_further_tree", further, 48.0)]
    {
        let name = format!("tree/live_bytes/{what}");
        println!("{name:<46} {:>14} {bytes:>14.1} {limit:>9.2}", "-");
        if table.tests && bytes > limit {
            table.over.push(format!("{name}: {bytes:.1} > {limit}"));
        }
    }
}

/// Number and bytes of the allocations of `work`.
fn count(work: impl FnOnce()) -> (u64, u64) {
    let counted = measure(work);
    (counted.count_total, counted.bytes_total)
}

fn codec(table: &mut Table) {
    let (path, data) = (fixture::path(7, 42), Random::new().data(DATA_BYTES));
    let get = fixture::get_data(1, &path);
    table.row("codec/decode/get_data", 1, 0.0, || {
        count(|| {
            let mut reader = Reader::new(black_box(&get[4..]));
            let header = RequestHeader::read(&mut reader).unwrap();
            black_box((header, PathWatch::read(&mut reader).unwrap()));
        })
    });
    let set = fixture::set_data(1, &path, &data);
    table.row("codec/decode/set_data", 1, 0.0, || {
        count(|| {
            let mut reader = Reader::new(black_box(&set[4..]));
            let header = RequestHeader::read(&mut reader).unwrap();
            black_box((header, SetData::read(&mut reader).unwrap()));
        })
    });
    let create = fixture::create(1, &path, &data);
    // The one allocation is the list of ACLs.
    table.row("codec/decode/create", 1, 1.0, || {
        count(|| {
            let mut reader = Reader::new(black_box(&create[4..]));
            let header = RequestHeader::read(&mut reader).unwrap();
            black_box(Create::read(&mut reader, header.op).unwrap());
        })
    });
    let stat = Stat { czxid: Zxid(7), mzxid: Zxid(9), data_bytes: 100, ..Stat::default() };
    let mut out = Vec::with_capacity(1 << 10);
    table.row("codec/encode/get_data", 1, 0.0, || {
        out.clear();
        count(|| {
            put_reply(&mut out, black_box(1), black_box(Zxid(9)), |out| {
                out.put_buffer(Some(black_box(&data)));
                stat.put(out);
            });
        })
    });
    table.row("codec/encode/set_data", 1, 0.0, || {
        out.clear();
        count(|| put_reply(&mut out, black_box(1), black_box(Zxid(9)), |out| stat.put(out)))
    });
    table.row("codec/encode/event", 1, 0.0, || {
        out.clear();
        count(|| put_event(&mut out, Some(black_box(Zxid(9))), EventType::NodeDataChanged, black_box(&path)))
    });
}

fn reads(table: &mut Table) {
    let mut server = Server::new(1);
    let place = server.places[0];
    for pipelined in [1, 16] {
        let paths = fixture::paths(pipelined);
        let frames: Vec<u8> = paths.iter().flat_map(|path| fixture::get_data(1, path)).collect();
        let name = format!("apply/view_receive/get_data/pipelined={pipelined}");
        table.row(&name, pipelined, 0.0, || {
            let counted = count(|| _ = server.view.receive(place, &frames, server.now));
            let bytes = server.view.output(place).len();
            assert!(bytes > pipelined * DATA_BYTES, "a read has its reply at once");
            server.view.sent(place, bytes);
            counted
        });
    }
}

/// A write, stage by stage: a batch of 1 shows the cost of a batch, one of 64 the cost of a write.
fn writes(table: &mut Table) {
    let data = Random::new().data(DATA_BYTES);
    let fresh = |number: usize| format!("/bench/folder-{number:03}/fresh").into_bytes();
    let mut server = Server::new(64);
    for create in [false, true] {
        for batch in [1, 64] {
            let paths = fixture::paths(batch);
            for (stage, name) in ["view_receive", "commit", "view_apply"].into_iter().enumerate() {
                let what = if create { "create" } else { "set_data" };
                let limit = WRITE_LIMITS[stage][usize::from(create)][usize::from(batch > 1)];
                table.row(&format!("apply/{name}/{what}/batch={batch}"), batch, limit, || {
                    let frames: Vec<_> = (0..batch)
                        .map(|number| match create {
                            true => fixture::create(server.next_xid(), &fresh(number), &data),
                            false => fixture::set_data(server.next_xid(), &paths[number], &data),
                        })
                        .collect();
                    let (mut uplink, mut deltas) = (None, None);
                    let stages = [
                        count(|| uplink = Some(server.send_up(&frames))),
                        count(|| deltas = Some(server.commit(uplink.take().unwrap()))),
                        count(|| server.view.apply(deltas.as_ref().unwrap(), server.now)),
                    ];
                    server.drain();
                    if create {
                        let frames: Vec<_> =
                            (0..batch).map(|n| fixture::delete(server.next_xid(), &fresh(n))).collect();
                        server.pass(&frames);
                        server.drain();
                    }
                    stages[stage]
                });
            }
        }
    }
}

/// Limits by stage, then by set_data and create, then by batches of 1 and of 64: the counts, rounded up.
const WRITE_LIMITS: [[[f64; 2]; 2]; 3] =
    [[[2.0, 0.2], [2.0, 0.2]], [[3.0, 1.2], [6.0, 4.2]], [[0.0, 0.0], [0.0, 0.0]]];

/// One set of a znode that 1,000 connections watch, per event.
fn fan_out(table: &mut Table) {
    const WATCHERS: usize = 1000;
    let (path, data) = (fixture::path(7, 42), Random::new().data(DATA_BYTES));
    let mut server = Server::new(WATCHERS);
    server.watch(&path);
    table.row("watch/fan_out/1000", WATCHERS, 4.1, || {
        let frame = fixture::set_data(server.next_xid(), &path, &data);
        let uplink = server.send_up(&[frame]);
        let deltas = server.commit(uplink);
        let counted = count(|| server.view.apply(&deltas, server.now));
        server.drain();
        counted
    });
}

/// An election of five connected servers, per server; it includes the buffers of the network here.
fn elections(table: &mut Table) {
    let mut ports = Ports::new(5);
    table.row("election/decide/servers=5", 5, 63.0, || count(|| ports.elect()));
}
