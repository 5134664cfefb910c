//! What the election asks of the shell, and what it finds wrong with connections.

use crate::proto::ServerId;
use crate::zab::LinkId;
use crate::zab::configuration::Configurations;
use crate::zab::notification::{ServerState, Vote};
use std::collections::BTreeSet;

/// What is wrong with a connection to the election port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// What came over it is no election message.
    #[error("what came is no message of another server's")]
    NoServer,
    /// Its hello has this server's number.
    #[error("it has this server's number: is there a second server with this myid?")]
    OwnSid,
    /// Connections of one server that work are replaced time and again.
    #[error(
        "server {sid} has connected {times} times while its connection works: are there two with this myid?"
    )]
    Twice {
        /// The number that it has.
        sid: ServerId,
        /// Replaced connections within a minute.
        times: u32,
    },
}

impl Unwelcome {
    /// The kind of reason, without its values: events of one kind are counted together.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoServer => "no message of a server",
            Self::OwnSid => "this server's number",
            Self::Twice { .. } => "two servers with one number",
        }
    }
}

/// What the shell must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the election port of that server; `connected` or `closed` follows.
    Connect {
        /// The number of the connection from now on.
        link: LinkId,
        /// The server to connect to.
        sid: ServerId,
        /// Where it is, host and port, if no configuration names it.
        at: Option<(String, u16)>,
    },
    /// A peer has a later configuration active than this server had: make these durable before anything that comes after.
    Configure(Configurations),
    /// Send bytes, after those sent before. The shell closes a connection that does not take them.
    Send {
        /// The connection.
        link: LinkId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close the connection, or give up the attempt; no output names it again.
    Close {
        /// The connection.
        link: LinkId,
    },
    /// A connection to the election port is about to be closed for what came over it: an event for the log.
    Unwelcome {
        /// The connection.
        link: LinkId,
        /// What is wrong with it.
        why: Unwelcome,
    },
    /// The round is over. Other servers get this state and vote from here on.
    Elected {
        /// What this server is now: leading if the vote names it, else following, or observing without a vote.
        state: ServerState,
        /// The leader, and the vote that elected it.
        vote: Vote,
        /// Voters that wanted the same in one round, this server among them; empty where it joined a leader that
        /// others have already.
        by: BTreeSet<ServerId>,
    },
    /// The leader this server follows looks for one itself, in a later round: following it leads nowhere, and the
    /// replica looks as well. Without this it would try until its time to connect is over: a leader can leave the round in
    /// which it is elected for a later one that it learns of in the same moment.
    LeaderLooks {
        /// The round in which it looks.
        round: i64,
    },
    /// A voter looks for the leader that this server is.
    Looks {
        /// The voter.
        sid: ServerId,
        /// The epoch of its vote: its own current one, or a later one that it has heard of; `None` if it votes for no server.
        peer_epoch: Option<i64>,
    },
}
