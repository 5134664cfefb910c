//! What stands in for the world in tests: a seed is a whole history.
//!
//! ```text
//! history   what happens next, until all works again      outcome   its hash, and counts
//!   faults    what goes wrong, and how it ends
//!   servers   their starts and ends                       oracle    what must hold
//!   clients   what they ask, and may be told              model     the tree, plainly
//!     cluster   all there is                                ^
//!       server    a machine and its clocks                  |  every txn that is shown, every reply
//!         process   what happens to a driver and its views -+
//!         world     what the driver asks for
//!         env       what a process is lent for that       mutation  deliberate bugs
//!         shell     what it has beside its driver         settings  what a history is like
//!         disk      which forgets, tears, fills up, rots  stop      how a process ends
//!       client    sessions, requests, watches
//!       net       connections, delays, cut wires, and time
//!         event     what may happen
//!         image     what a view takes of its tree
//! ```
//!
//! No file uses one that stands above it.
//!
//! What is checked and how to run it: `src/docs/reliability.md`.

#[allow(dead_code)] // scripts use more of it than seeds do; so below
mod client;
#[allow(dead_code)]
mod clients;
#[allow(dead_code)]
mod cluster;
pub mod disk;
mod env;
mod event;
#[allow(dead_code)]
mod faults;
#[allow(dead_code)]
mod history;
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
mod servers;
#[allow(dead_code)]
mod settings;
mod shell;
#[allow(dead_code)]
mod stop;
#[cfg(test)]
mod tests;
mod world;

pub use history::history;
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
