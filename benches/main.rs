//! Benchmarks of the parts, without disk, and only `reactor` with a network, loopback.
//!
//! One file per subject, names as `subject/what/size`, throughput beside the time. Inputs come from [`fixture`] and are
//! the same in every run. `cargo bench -- codec` runs one subject, `cargo bench -- --test` runs each benchmark once. A
//! separate program, `allocations`, counts allocations.

mod apply;
mod codec;
mod election;
mod fixture;
mod log;
#[cfg(feature = "server")]
mod reactor;
mod snapshot;
#[cfg(feature = "server")]
mod spsc;
mod tree;
mod watch;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    codec::benches(&mut criterion);
    tree::benches(&mut criterion);
    apply::benches(&mut criterion);
    watch::benches(&mut criterion);
    log::benches(&mut criterion);
    snapshot::benches(&mut criterion);
    election::benches(&mut criterion);
    #[cfg(feature = "server")]
    {
        spsc::benches(&mut criterion);
        reactor::benches(&mut criterion);
    }
    criterion.final_summary();
}
