//! What sessions ask for, and the run of it on several threads.
//!
//! | file | what it is |
//! |---|---|
//! | `independent` | requests that do not depend on replies: get, set, mix, sync, create, ephemeral, multi, list, fill |
//! | `lock` | the lock recipe |
//! | `fan_out` | one session changes a znode that all others watch |
//! | `connect_storm` | sessions are opened and closed |
//! | `plan` | what a run does |
//! | `prepare` | makes the znodes that a run needs, and deletes them |
//! | `run` | puts sessions and drivers on threads |

mod connect_storm;
#[cfg(test)]
pub mod fake;
mod fan_out;
pub mod independent;
mod lock;
pub mod plan;
pub mod prepare;
pub mod run;
