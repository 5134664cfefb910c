//! ZooKeeper's atomic broadcast between servers: leader election, synchronization, broadcast, quorums.
//!
//! Nothing here owns a socket or a clock. Parsers accept bytes in pieces of any size. State machines take an event and a
//! time (milliseconds since any fixed moment) and append to a list what the caller must do.
//!
//! ```text
//! quorum port    leader     new epoch; DIFF, TRUNC or SNAP; proposals; closes learners that are silent or take nothing
//!                learner    the other end, of followers and observers
//!                history    newest txns in memory: decides between DIFF, TRUNC and SNAP; leader/synchronization
//!                           changes that for Java's learners
//!                message    QuorumPacket, an unframed jute stream, and what its data holds
//! election port  election   fast leader election, over
//!                links      one connection per pair of servers, over
//!                notification  hello and vote in bytes
//! both           quorum     which sets of servers decide
//!                configuration     the active servers and the proposed ones; reconfig_request: which ones a client asks for
//! ```

pub mod configuration;
pub mod election;
pub mod history;
pub mod leader;
pub mod learner;
mod links;
pub mod message;
pub mod notification;
pub mod quorum;
pub mod reconfig_request;

/// A TCP connection between two servers; never used again for another one.
///
/// The side that opens the connection picks the number: the core sets [`LinkId::ASKED`] in those that it asks the shell to
/// open, the shell leaves it clear in those that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// Set in the number of every connection that the core asked for.
    pub const ASKED: u64 = 1 << 63;
    /// Set as well where the election asked, so that its numbers and those of the quorum port never meet.
    pub const ELECTION: u64 = 1 << 62;
}
