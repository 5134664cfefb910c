//! The engine: it opens sessions, sends what a [`driver::Driver`] asks for, checks the order of replies and records
//! latencies. It knows no workload and no command.
//!
//! | file | what it is |
//! |---|---|
//! | `wire` | requests and replies in bytes, and their checks |
//! | `session` | one session and its socket |
//! | `caller` | a session whose caller waits for each reply |
//! | `address` | where servers are |
//! | `timer` | wakes an open loop for its next arrival |
//! | `tally` | counts and latencies, over all and second by second |
//! | `shared` | what the threads of a run share: the phase and the seconds |
//! | `driver` | the interface of a workload |
//! | `worker` | one thread of a run |

pub mod address;
pub mod caller;
pub mod driver;
pub mod session;
pub mod shared;
pub mod socket;
pub mod tally;
pub mod timer;
pub mod wire;
pub mod worker;
