//! Tests of commit side and views together, by subject.
//!
//! | file | what |
//! |---|---|
//! | `net` | a server with its views, its log and its clients: what all tests drive |
//! | `order` | order and framing: replies in the order of the requests, events before what shows the change |
//! | `multi` | multis: all or nothing, results of their moment, bounded sizes |
//! | `sessions` | sessions: clients open them, attach to them, close them or let them expire |
//! | `audit` | lines of the audit log: when, and by which view |
//! | `auth` | what clients prove, and who may do what then |
//! | `traces` | requests that take long, and sampled ones |
//! | `writes` | writes: which error wins, sequence numbers, quotas, and what becomes of containers and TTL nodes |
//! | `groups` | groups of the log: their bytes are bounded, and so is each txn in them |
//! | `connections` | connections of a view: slots, buffers, turns, signs of life |
//! | `browse` | what the console asks of the tree |
//! | `restart` | a server that begins again, with its log or with an image of its tree |

mod audit;
mod auth;
mod browse;
mod connections;
mod groups;
mod multi;
mod net;
mod order;
mod restart;
mod sessions;
mod traces;
mod writes;

pub(super) use net::{settings, tree_settings};
