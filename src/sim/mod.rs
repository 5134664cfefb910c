//! What stands in for the world in tests: a seed is a whole history.
//!
//! ```text
//! cluster   what happens next, and the faults          oracle   what must hold   model   the tree, plainly
//!   server  a machine: clocks, starts and ends           ^
//!     process  the driver of a replica, and views        |
//!     world    what the driver asks for, done by         |
//!     disk     which forgets, tears, fills up, rots      |  every txn that is shown, every reply
//!   client  sessions, requests, watches  ----------------+
//!   net     connections, delays, cut wires, and time
//! ```
//!
//! What is checked and how to run it: `src/docs/reliability.md`.

#[allow(dead_code)] // scripts use more of it than seeds do; so below
mod client;
#[allow(dead_code)]
mod cluster;
pub mod disk;
mod env;
mod event;
mod image;
#[allow(dead_code)]
mod model;
mod mutation;
#[allow(dead_code)]
mod net;
mod oracle;
mod outcome;
#[allow(dead_code)]
mod process;
#[cfg(test)]
mod scenarios;
#[allow(dead_code)]
mod server;
#[allow(dead_code)]
mod settings;
mod shell;
#[allow(dead_code)]
mod stop;
#[cfg(test)]
mod tests;
mod world;

pub use cluster::history;
pub use mutation::Mutation;
pub use outcome::Outcome;

/// A seeded generator (splitmix64).
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// Whether one chance in `of` came.
    pub fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}
